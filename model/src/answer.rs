//! What a query gives back, before any protocol's shape.

use std::collections::BTreeSet;

use crate::labels::Labels;
use crate::logs::LogStream;
use crate::sample::{Samples, Value};
use crate::spans::{Attribute, SpanId, TraceId};
use crate::time::Timestamp;

/// One element of an instant vector.
#[derive(Clone, Debug)]
pub struct VectorSample {
    /// Its labels.
    pub labels: Labels,
    /// Its time.
    pub time: Timestamp,
    /// Its value.
    pub value: Value,
}

/// One series of a range of time.
#[derive(Clone, Debug)]
pub struct MatrixSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its points, in order of time.
    pub samples: Samples,
}

/// A span in a search result.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundSpan {
    /// Its id.
    pub span_id: SpanId,
    /// Its name.
    pub name: String,
    /// Begin.
    pub start: Timestamp,
    /// Nanoseconds from begin to end.
    pub duration_nanos: i64,
    /// The attributes that the query spoke of or selected.
    pub attributes: Vec<Attribute>,
}

/// The spans of one trace that a query matched, possibly one group of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanSet {
    /// How many matched, also where fewer are listed.
    pub matched: u32,
    /// The first of them by time.
    pub spans: Vec<FoundSpan>,
    /// Values of `by()` and aggregates.
    pub attributes: Vec<Attribute>,
}

/// Spans and errors of one service in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStats {
    /// service.name
    pub service: String,
    /// Its spans.
    pub spans: u32,
    /// Its spans with the status error.
    pub errors: u32,
}

/// A trace in a search result.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundTrace {
    /// Its id.
    pub trace_id: TraceId,
    /// service.name of the root span; `None` until it arrives.
    pub root_service: Option<String>,
    /// Name of the root span.
    pub root_name: Option<String>,
    /// Begin of the earliest span.
    pub start: Timestamp,
    /// From the earliest begin to the latest end.
    pub duration_nanos: i64,
    /// What matched.
    pub span_sets: Vec<SpanSet>,
    /// Spans per service, in order of name.
    pub services: Vec<ServiceStats>,
}

/// A series of numbers about spans. Labels keep the types of the attributes that they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanSeries {
    /// Its labels, in the order of the query.
    pub labels: Vec<Attribute>,
    /// Its values by time, ascending. No value is NaN.
    pub samples: Vec<(Timestamp, f64)>,
    /// Some of its spans, ascending in time.
    pub exemplars: Vec<SpanExemplar>,
}

/// A span that stands for others in a series.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanExemplar {
    /// `trace:id`, `span:id` and what the query speaks of.
    pub labels: Vec<Attribute>,
    /// Begin of the span.
    pub time: Timestamp,
    /// The measured value, or the series' value at its time.
    pub value: f64,
}

/// The value of a query.
#[derive(Clone, Debug)]
pub enum Answer {
    /// One number.
    Scalar(Timestamp, f64),
    /// One text.
    String(Timestamp, String),
    /// Series at one point of time.
    Vector(Vec<VectorSample>),
    /// Series over a range of time.
    Matrix(Vec<MatrixSeries>),
    /// Log lines. Each record's `metadata` holds the labels that are not the stream's own.
    Streams(Vec<LogLines>),
    /// Traces, newest first.
    Traces(Vec<FoundTrace>),
    /// Series of numbers about spans.
    SpanSeries(Vec<SpanSeries>),
}

/// Lines of one stream in an answer, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLines {
    /// Index labels and records with their structured metadata.
    pub stream: LogStream,
    /// Labels that the query's parsers made, one set per record (empty where there are none).
    pub parsed: Vec<Labels>,
}

/// What a user should know about an answer. Sets, so that each is told once and in stable order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// The answer may be wrong or cut.
    pub warnings: BTreeSet<String>,
    /// Good to know.
    pub infos: BTreeSet<String>,
}

impl Annotations {
    /// Adds a warning.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.warnings.insert(text.into());
    }

    /// Adds an info.
    pub fn info(&mut self, text: impl Into<String>) {
        self.infos.insert(text.into());
    }

    /// Takes over all of another's.
    pub fn merge(&mut self, other: Self) {
        self.warnings.extend(other.warnings);
        self.infos.extend(other.infos);
    }
}

/// An answer with what belongs to it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The value.
    pub answer: Answer,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// Samples, rows or spans read.
    pub samples_read: u64,
    /// Bytes decoded.
    pub bytes_read: u64,
    /// Samples that each step looked at, where that was asked for.
    pub samples_by_step: Option<Vec<(Timestamp, u64)>>,
}
