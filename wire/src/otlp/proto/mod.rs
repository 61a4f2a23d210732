//! The messages of OTLP 1.x, written by hand after the published schema. One set of structs is
//! read from protobuf by prost and from OTLP/JSON by serde.
//!
//! Invariant: these structs stay inside `wire`; every decoder turns them into nouns of the model.
//! Requests are read as the data messages (`ExportTraceServiceRequest` and `TracesData` have the
//! same bytes). Schema: <https://github.com/open-telemetry/opentelemetry-proto>.

pub(crate) mod collector;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod trace;
pub(crate) mod values;
