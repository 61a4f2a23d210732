//! The nouns of obs: time, labels, matchers, samples, histograms, log records, spans, batches
//! and answers. No I/O, no clock, no serde: every other room speaks in these words.
//!
//! Invariant: a value that exists is valid. Constructors check, everything after them trusts.

pub mod answer;
pub mod automaton;
pub mod budget;
pub mod duration;
pub mod family;
pub mod histogram;
pub mod labels;
pub mod limits;
pub mod logs;
pub mod machine;
pub mod matcher;
pub mod metrics;
pub mod numbers;
pub mod packed;
pub mod pattern;
pub mod re2;
pub mod resource;
pub mod sample;
pub mod spans;
pub mod target;
pub mod tenant;
pub mod time;

pub use answer::{Annotations, Answer, Reply};
pub use budget::{Budget, BudgetError, HeldBytes};
pub use histogram::Histogram;
pub use labels::{Labels, LabelsBuilder};
pub use logs::{LogBatch, LogRecord, LogStream};
pub use matcher::{MatchOp, Matcher};
pub use metrics::{MetricBatch, Series};
pub use pattern::Pattern;
pub use sample::{Samples, Value};
pub use spans::{Span, SpanBatch, SpanId, TraceId};
pub use target::TargetGroup;
pub use tenant::Tenant;
pub use time::{TimeRange, Timestamp};
