//! Messages of `tempopb`, written by hand after the published schema.
//!
//! Invariant: `Trace` has the bytes of OTLP's `TracesData`.

use crate::otlp::proto::trace::TracesData;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) trace: Option<TracesData>,
    #[prost(message, optional, tag = "2")]
    pub(crate) metrics: Option<TraceByIdMetrics>,
    /// 0 complete, 1 partial.
    #[prost(int32, tag = "3")]
    pub(crate) status: i32,
    #[prost(string, tag = "4")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TraceByIdMetrics {
    #[prost(uint64, tag = "1")]
    pub(crate) inspected_bytes: u64,
}
