//! The JSON of Prometheus' HTTP API v1: one envelope around every answer.
//!
//! Invariants: floats are strings, times are seconds with at most three decimals; a series prints
//! its floats under `values` and its histograms under `histograms`, and neither when it has none.
//! Reference: <https://prometheus.io/docs/prometheus/latest/querying/api/>

use std::collections::BTreeMap;

use obs_model::answer::{MatrixSeries, VectorSample};
use obs_model::metrics::{Exemplar, Metadata};
use obs_model::{Annotations, Answer, Labels, Reply, Timestamp, Value};

use super::native::{histogram, quoted};
use crate::error::WireError;
use crate::json::Writer;
use crate::number;

/// The media type of all answers.
pub const CONTENT_TYPE: &str = "application/json";

/// What kind of error a request ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The request is wrong.
    BadData,
    /// The query failed.
    Execution,
    /// The client left.
    Canceled,
    /// The query took too long.
    Timeout,
    /// The server cannot answer now.
    Unavailable,
    /// The server is at fault.
    Internal,
    /// There is no such thing.
    NotFound,
    /// No format that the client accepts.
    NotAcceptable,
}

impl ErrorType {
    /// As written in the envelope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::NotAcceptable => "not_acceptable",
        }
    }

    /// The HTTP status that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadData => 400,
            Self::Execution => 422,
            Self::Canceled => 499,
            Self::Timeout | Self::Unavailable => 503,
            Self::Internal => 500,
            Self::NotFound => 404,
            Self::NotAcceptable => 406,
        }
    }
}

/// Writes an error.
pub fn error(kind: ErrorType, text: &str, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.field("status", "error");
    json.field("errorType", kind.as_str());
    json.field("error", text);
    json.end_object();
}

/// Writes the envelope of a success around the data that the callback writes.
pub fn success(annotations: &Annotations, out: &mut Vec<u8>, data: impl FnOnce(&mut Writer<'_>)) {
    let mut json = Writer::new(out);
    json.object();
    json.field("status", "success");
    json.key("data");
    data(&mut json);
    if !annotations.warnings.is_empty() {
        json.key("warnings");
        json.strings(&annotations.warnings);
    }
    if !annotations.infos.is_empty() {
        json.key("infos");
        json.strings(&annotations.infos);
    }
    json.end_object();
}

/// How long the stages of a query took, in seconds, and what it read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueryStats {
    /// Waiting for a place in the pool.
    pub queue: f64,
    /// Parsing and planning.
    pub preparation: f64,
    /// Reading and computing.
    pub evaluation: f64,
    /// Samples read.
    pub samples: u64,
    /// Whether the samples of each step are told, where the reply knows them.
    pub per_step: bool,
}

/// Writes the answer of a query, with its statistics where they are asked for. Log lines and
/// traces have no shape in this API.
pub fn query(
    reply: &Reply,
    stats: Option<&QueryStats>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let (kind, write): (_, &dyn Fn(&mut Writer<'_>)) = match &reply.answer {
        Answer::Scalar(time, value) => ("scalar", &|json: &mut Writer<'_>| {
            // Unlike a sample, never with an exponent.
            json.array();
            json.value(|out| short_seconds(out, *time));
            json.string(&plain_float(*value));
            json.end_array();
        }),
        Answer::String(time, text) => ("string", &|json: &mut Writer<'_>| {
            json.array();
            json.value(|out| short_seconds(out, *time));
            json.string(text);
            json.end_array();
        }),
        Answer::Vector(samples) => ("vector", &|json: &mut Writer<'_>| {
            json.array();
            samples
                .iter()
                .for_each(|sample| vector_sample(json, sample));
            json.end_array();
        }),
        Answer::Matrix(series) => ("matrix", &|json: &mut Writer<'_>| {
            json.array();
            series.iter().for_each(|series| matrix_series(json, series));
            json.end_array();
        }),
        Answer::Streams(_) => return Err(no_shape("an answer of log lines")),
        Answer::Traces(_) => return Err(no_shape("an answer of traces")),
        Answer::SpanSeries(_) => return Err(no_shape("an answer of series of spans")),
    };
    success(&reply.annotations, out, |json| {
        json.object();
        json.field("resultType", kind);
        json.key("result");
        write(json);
        if let Some(stats) = stats {
            json.key("stats");
            query_stats(json, reply, stats);
        }
        json.end_object();
    });
    Ok(())
}

/// The order of the answer is part of its evaluation here, and one query holds all its samples at
/// one time, so that the peak is their number.
fn query_stats(json: &mut Writer<'_>, reply: &Reply, stats: &QueryStats) {
    json.object();
    json.key("timings");
    json.object();
    let total = stats.preparation + stats.evaluation;
    for (name, seconds) in [
        ("evalTotalTime", total),
        ("resultSortTime", 0.0),
        ("queryPreparationTime", stats.preparation),
        ("innerEvalTime", stats.evaluation),
        ("execQueueTime", stats.queue),
        ("execTotalTime", stats.queue + total),
    ] {
        json.key(name);
        json.number(seconds);
    }
    json.end_object();
    json.key("samples");
    json.object();
    let by_step = reply.samples_by_step.as_ref();
    if let Some(steps) = by_step.filter(|_| stats.per_step) {
        json.key("totalQueryableSamplesPerStep");
        json.array();
        for (time, count) in steps {
            json.array();
            json.value(|out| number::seconds(out, *time));
            json.unsigned(*count);
            json.end_array();
        }
        json.end_array();
    }
    let looked_at = by_step.map_or(stats.samples, |steps| steps.iter().map(|(_, n)| n).sum());
    for (name, count) in [
        ("totalQueryableSamples", looked_at),
        ("peakSamples", stats.samples),
    ] {
        json.key(name);
        json.unsigned(count);
    }
    json.end_object();
    json.end_object();
}

fn no_shape(what: &str) -> WireError {
    WireError::Unsupported {
        what: format!("{what} in Prometheus' API"),
        expected: "a query for metrics",
    }
}

/// Seconds without zeros at the end of their fraction.
fn short_seconds(out: &mut Vec<u8>, time: Timestamp) {
    let from = out.len();
    number::seconds(out, time);
    if out[from..].contains(&b'.') {
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// As Go's `FormatFloat(value, 'f', -1, 64)`.
fn plain_float(value: f64) -> String {
    match value {
        value if value.is_infinite() && value > 0.0 => "+Inf".to_owned(),
        value if value.is_infinite() => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

fn point(json: &mut Writer<'_>, time: Timestamp, value: f64) {
    json.array();
    json.value(|out| number::seconds(out, time));
    quoted(json, value);
    json.end_array();
}

fn vector_sample(json: &mut Writer<'_>, sample: &VectorSample) {
    json.object();
    json.key("metric");
    json.pairs(&sample.labels);
    match &sample.value {
        Value::Float(value) => {
            json.key("value");
            point(json, sample.time, *value);
        }
        Value::Histogram(value) => {
            json.key("histogram");
            json.array();
            json.value(|out| number::seconds(out, sample.time));
            histogram(json, value);
            json.end_array();
        }
    }
    json.end_object();
}

fn matrix_series(json: &mut Writer<'_>, series: &MatrixSeries) {
    let samples = &series.samples;
    json.object();
    json.key("metric");
    json.pairs(&series.labels);
    if samples.histograms.len() < samples.times.len() {
        json.key("values");
        json.array();
        let mut skip = samples.histograms.iter().peekable();
        for (index, (time, value)) in samples.times.iter().zip(&samples.floats).enumerate() {
            match skip.next_if(|(at, _)| *at as usize == index) {
                Some(_) => {}
                None => point(json, *time, *value),
            }
        }
        json.end_array();
    }
    if !samples.histograms.is_empty() {
        json.key("histograms");
        json.array();
        for (index, value) in &samples.histograms {
            json.array();
            json.value(|out| number::seconds(out, samples.times[*index as usize]));
            histogram(json, value);
            json.end_array();
        }
        json.end_array();
    }
    json.end_object();
}

/// Writes a list of texts: label names or values.
pub fn strings<S: AsRef<str>>(texts: &[S], annotations: &Annotations, out: &mut Vec<u8>) {
    success(annotations, out, |json| json.strings(texts));
}

/// Writes a list of label sets.
pub fn series(series: &[Labels], annotations: &Annotations, out: &mut Vec<u8>) {
    success(annotations, out, |json| {
        json.array();
        for labels in series {
            json.pairs(labels);
        }
        json.end_array();
    });
}

/// Writes metadata by family, in order of name; one family may have several entries.
pub fn metadata(metadata: &[Metadata], annotations: &Annotations, out: &mut Vec<u8>) {
    let mut families: BTreeMap<&str, Vec<&Metadata>> = BTreeMap::new();
    for entry in metadata {
        families.entry(&entry.family).or_default().push(entry);
    }
    success(annotations, out, |json| {
        json.object();
        for (family, entries) in families {
            json.key(family);
            json.array();
            for entry in entries {
                json.object();
                json.field("type", entry.kind.as_str());
                json.field("unit", &entry.unit);
                json.field("help", &entry.help);
                json.end_object();
            }
            json.end_array();
        }
        json.end_object();
    });
}

/// Writes exemplars by series.
pub fn exemplars(series: &[(Labels, Vec<Exemplar>)], out: &mut Vec<u8>) {
    success(&Annotations::default(), out, |json| {
        json.array();
        for (labels, exemplars) in series {
            json.object();
            json.key("seriesLabels");
            json.pairs(labels);
            json.key("exemplars");
            json.array();
            for exemplar in exemplars {
                json.object();
                json.key("labels");
                json.pairs(&exemplar.labels);
                json.key("value");
                quoted(json, exemplar.value);
                json.key("timestamp");
                json.value(|out| number::seconds(out, exemplar.time));
                json.end_object();
            }
            json.end_array();
            json.end_object();
        }
        json.end_array();
    });
}

#[cfg(test)]
mod tests;
