//! Log records and batches of them.

use crate::labels::Labels;
use crate::time::Timestamp;

/// One log line. The bytes of the line come back exactly as they came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When it happened.
    pub time: Timestamp,
    /// The line, without a trailing newline; usually but not always UTF-8.
    pub line: Vec<u8>,
    /// Structured metadata: trace_id, detected_level, fields of any cardinality.
    pub metadata: Labels,
}

/// Records of one stream; order among equal timestamps is order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStream {
    /// The index labels (few values each).
    pub labels: Labels,
    /// The records, in any order of time.
    pub records: Vec<LogRecord>,
}

/// What one request brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// The streams; the same labels may occur more than once.
    pub streams: Vec<LogStream>,
}

impl LogBatch {
    /// Number of records in all streams.
    pub fn record_count(&self) -> usize {
        self.streams.iter().map(|s| s.records.len()).sum()
    }
}
