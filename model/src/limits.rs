//! The one table of limits: everything that comes in or is asked has a bound with a name.
//!
//! Errors name the limit by its field name here; the configuration sets it under `obs.limits`.

/// Bounds on what is taken in and asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request body as it arrives.
    pub body_bytes_max: usize,
    /// Bytes of one request body or scrape after decompression.
    pub decompressed_bytes_max: usize,
    /// Nesting of JSON, attribute values and query expressions.
    pub depth_max: usize,
    /// Labels of one series or stream.
    pub labels_max: usize,
    /// Bytes of one label name.
    pub label_name_bytes_max: usize,
    /// Bytes of one label value.
    pub label_value_bytes_max: usize,
    /// Bytes of one log line.
    pub line_bytes_max: usize,
    /// Pairs of structured metadata of one log record.
    pub metadata_max: usize,
    /// Attributes of one span, event, link, resource or scope.
    pub attributes_max: usize,
    /// Bytes of a name or text of an attribute of spans; what is longer is cut. 0 cuts nothing.
    pub attribute_bytes_max: usize,
    /// Bytes of one trace as OTLP, of what came for it lately; further spans are refused. 0 is no bound.
    pub trace_bytes_max: usize,
    /// Active series of one tenant; known series go on when it is reached.
    pub series_max: usize,
    /// Active series of all tenants together; known series go on when it is reached.
    pub series_total_max: usize,
    /// Active log streams of one tenant.
    pub streams_max: usize,
    /// Distinct days (UTC) in which the rows lie that a tenant has in memory: each becomes a part.
    /// Rows of further days are refused until a flush has made room.
    pub memory_days_max: usize,
    /// Samples that one query may hold at one time.
    pub query_samples_max: u64,
    /// Bytes that one query may hold at one time.
    pub query_bytes_max: u64,
    /// Series that one query may touch.
    pub query_series_max: u64,
    /// Milliseconds that one query may take.
    pub query_time_ms_max: u64,
    /// Points per series of one range query.
    pub query_steps_max: u64,
    /// Lines of one answer; exports have no such bound.
    pub query_lines_max: usize,
    /// Bytes of one query text.
    pub query_text_bytes_max: usize,
    /// Requests that wait for one store's writer.
    pub write_queue_max: usize,
    /// Bytes of batches of one signal that wait to be put into the buffer of what is sent on; one
    /// that is larger than half of it counts as half.
    pub buffer_waiting_bytes_max: usize,
    /// Queries that run or wait at one time.
    pub query_queue_max: usize,
    /// Bytes of answers that are kept for the next time; 0 keeps none.
    pub query_cache_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            decompressed_bytes_max: 256 << 20,
            depth_max: 64,
            labels_max: 256,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 64 << 10,
            line_bytes_max: 1 << 20,
            metadata_max: 256,
            attributes_max: 1024,
            attribute_bytes_max: 2048,    // as Tempo's max_attribute_bytes
            trace_bytes_max: 100_000_000, // Tempo: 5 MB
            series_max: 10_000_000,
            series_total_max: 20_000_000,
            streams_max: 1_000_000,
            memory_days_max: 512,
            query_samples_max: 50_000_000, // as Prometheus' query.max-samples
            query_bytes_max: 1 << 30,
            query_series_max: 2_000_000,
            query_time_ms_max: 120_000, // as Prometheus' query.timeout
            query_steps_max: 11_000,    // as Prometheus
            query_lines_max: 1_000_000,
            query_text_bytes_max: 128 << 10, // as Loki
            write_queue_max: 1024,
            buffer_waiting_bytes_max: 64 << 20,
            query_queue_max: 256,
            query_cache_bytes_max: 32 << 20,
        }
    }
}
