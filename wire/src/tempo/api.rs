//! Writers for Tempo's `/api/*`: searches, traces, tags.
//!
//! Invariants: proto3-JSON as Tempo's gogo/jsonpb writes it: 64-bit integers are texts, defaults
//! are left out, span and trace ids inside traces are base64 (unlike OTLP/JSON), ids in search
//! results are hex, trace ids there without leading zeroes.

use std::fmt::Write as _;

use obs_model::answer::{FoundSpan, FoundTrace, ServiceStats, SpanSet};
use obs_model::spans::{AttributeValue, SpanBatch, TraceId};
use prost::Message;

use super::proto::{TraceByIdMetrics, TraceByIdResponse};
use crate::otlp::json::{Dialect, Object, write_attribute, write_list, write_spans, write_text};
use crate::otlp::traces;

/// What Tempo shows for a trace whose root span has not come in.
pub const NO_ROOT: &str = "<root span not yet received>";

/// What a search cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchMetrics {
    /// Traces looked at.
    pub inspected_traces: u32,
    /// Spans looked at.
    pub inspected_spans: u64,
    /// Bytes read.
    pub inspected_bytes: u64,
    /// Parts in the range of time.
    pub total_blocks: u32,
    /// Pieces of work done.
    pub completed_jobs: u32,
    /// Pieces of work planned.
    pub total_jobs: u32,
}

/// A value of a tag, as `/api/v2/search/tag/…/values` tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum TagValue {
    /// A text.
    String(String),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A truth.
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// A word of TraceQL, such as `server` or `error`.
    Keyword(String),
}

impl TagValue {
    /// From an attribute; none for what TraceQL cannot compare.
    pub fn from_attribute(value: &AttributeValue) -> Option<Self> {
        match value {
            AttributeValue::String(text) => Some(Self::String(text.clone())),
            AttributeValue::Int(number) => Some(Self::Int(*number)),
            AttributeValue::Double(number) => Some(Self::Float(*number)),
            AttributeValue::Bool(truth) => Some(Self::Bool(*truth)),
            AttributeValue::Empty
            | AttributeValue::Bytes(_)
            | AttributeValue::Array(_)
            | AttributeValue::Map(_) => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::Duration(_) => "duration",
            Self::Keyword(_) => "keyword",
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::String(text) | Self::Keyword(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(truth) => truth.to_string(),
            Self::Duration(nanos) => duration_text(*nanos),
        }
    }
}

/// Nanoseconds as Go writes durations: `1h2m3.5s`, `1.5ms`, `0s`.
fn duration_text(nanos: i64) -> String {
    let size = nanos.unsigned_abs();
    let mut text = String::new();
    if nanos < 0 {
        text.push('-');
    }
    let fraction = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let mut text = (value / unit).to_string();
        if !value.is_multiple_of(unit) {
            let rest = format!(".{:0digits$}", value % unit);
            text.push_str(rest.trim_end_matches('0'));
        }
        text
    };
    let written = match size {
        0 => write!(text, "0s"),
        1..1_000 => write!(text, "{size}ns"),
        1_000..1_000_000 => write!(text, "{}µs", fraction(size, 1_000)),
        1_000_000..1_000_000_000 => write!(text, "{}ms", fraction(size, 1_000_000)),
        _ => {
            let minutes = size / 60_000_000_000;
            let seconds = fraction(size % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => write!(text, "{seconds}s"),
                (0, minutes) => write!(text, "{minutes}m{seconds}s"),
                (hours, minutes) => write!(text, "{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    written.expect("a String takes every text");
    text
}

/// `/api/search`.
pub fn search(traces: &[FoundTrace], metrics: &SearchMetrics, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    // Written even when empty: clients iterate over it.
    write_list(object.key("traces"), traces, write_found_trace);
    write_metrics(object.key("metrics"), metrics);
    object.close();
}

pub(super) fn write_metrics(out: &mut Vec<u8>, metrics: &SearchMetrics) {
    let mut inner = Object::open(out);
    inner.number("inspectedTraces", metrics.inspected_traces);
    inner.long("inspectedBytes", metrics.inspected_bytes);
    inner.number("totalBlocks", metrics.total_blocks);
    inner.number("completedJobs", metrics.completed_jobs);
    inner.number("totalJobs", metrics.total_jobs);
    inner.long("inspectedSpans", metrics.inspected_spans);
    inner.close();
}

/// A trace id without its leading zeroes.
pub(super) fn short_hex(id: TraceId) -> String {
    id.to_string().trim_start_matches('0').to_owned()
}

fn write_found_trace(out: &mut Vec<u8>, trace: &FoundTrace) {
    let mut object = Object::open(out);
    object.text("traceID", &short_hex(trace.trace_id));
    object.text(
        "rootServiceName",
        trace.root_service.as_deref().unwrap_or(NO_ROOT),
    );
    object.text(
        "rootTraceName",
        trace.root_name.as_deref().unwrap_or_default(),
    );
    object.long("startTimeUnixNano", trace.start.nanos().max(0));
    object.number("durationMs", trace.duration_nanos.max(0) / 1_000_000);
    if let Some(first) = trace.span_sets.first() {
        write_span_set(object.key("spanSet"), first);
    }
    object.list("spanSets", &trace.span_sets, write_span_set);
    if !trace.services.is_empty() {
        let mut services = Object::open(object.key("serviceStats"));
        for stats in &trace.services {
            write_service(services.key(&stats.service), stats);
        }
        services.close();
    }
    object.close();
}

fn write_service(out: &mut Vec<u8>, stats: &ServiceStats) {
    let mut object = Object::open(out);
    object.number("spanCount", stats.spans);
    object.number("errorCount", stats.errors);
    object.close();
}

fn write_span_set(out: &mut Vec<u8>, set: &SpanSet) {
    let mut object = Object::open(out);
    object.list("spans", &set.spans, write_found_span);
    object.number("matched", set.matched);
    object.list("attributes", &set.attributes, write_attribute);
    object.close();
}

fn write_found_span(out: &mut Vec<u8>, span: &FoundSpan) {
    let mut object = Object::open(out);
    object.text("spanID", &span.span_id.to_string());
    object.text("name", &span.name);
    object.long("startTimeUnixNano", span.start.nanos().max(0));
    object.long("durationNanos", span.duration_nanos.max(0));
    object.list("attributes", &span.attributes, write_attribute);
    object.close();
}

/// `/api/traces/{id}` in JSON.
pub fn trace_v1_json(trace: &SpanBatch, out: &mut Vec<u8>) {
    write_spans(out, "batches", trace, Dialect::Tempo);
}

/// `/api/traces/{id}` in protobuf.
pub fn trace_v1_protobuf(trace: &SpanBatch, out: &mut Vec<u8>) {
    traces::encode_protobuf(trace, out);
}

/// What `/api/v2/traces/{id}` tells besides the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceNotes {
    /// Bytes read.
    pub inspected_bytes: u64,
    /// Why spans are missing from the answer; none when it is complete.
    pub partial: Option<String>,
}

/// `/api/v2/traces/{id}` in JSON.
pub fn trace_v2_json(trace: &SpanBatch, notes: &TraceNotes, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    write_spans(object.key("trace"), "resourceSpans", trace, Dialect::Tempo);
    write_inspected(object.key("metrics"), notes.inspected_bytes);
    let status = if notes.partial.is_some() {
        "PARTIAL"
    } else {
        "COMPLETE"
    };
    object.text("status", status);
    object.text("message", notes.partial.as_deref().unwrap_or_default());
    object.close();
}

/// `/api/v2/traces/{id}` in protobuf: `TraceByIDResponse`.
pub fn trace_v2_protobuf(trace: &SpanBatch, notes: &TraceNotes, out: &mut Vec<u8>) {
    let response = TraceByIdResponse {
        trace: Some(traces::to_proto(trace)),
        metrics: Some(TraceByIdMetrics {
            inspected_bytes: notes.inspected_bytes,
        }),
        status: i32::from(notes.partial.is_some()),
        message: notes.partial.clone().unwrap_or_default(),
    };
    response
        .encode(out)
        .expect("a vector has room for every message");
}

fn write_inspected(out: &mut Vec<u8>, bytes: u64) {
    let mut object = Object::open(out);
    object.long("inspectedBytes", bytes);
    object.close();
}

fn write_string(out: &mut Vec<u8>, text: impl AsRef<str>) {
    write_text(out, text.as_ref());
}

/// `/api/search/tags`.
pub fn tags_v1(names: &[String], out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    write_list(object.key("tagNames"), names, |out, name| {
        write_string(out, name);
    });
    object.close();
}

/// `/api/v2/search/tags`: names by scope (`resource`, `span`, `intrinsic`, …).
pub fn tags_v2(scopes: &[(&str, Vec<String>)], inspected_bytes: u64, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    write_list(object.key("scopes"), scopes, |out, (scope, names)| {
        let mut inner = Object::open(out);
        inner.text("name", scope);
        write_list(inner.key("tags"), names, |out, name| {
            write_string(out, name);
        });
        inner.close();
    });
    write_inspected(object.key("metrics"), inspected_bytes);
    object.close();
}

/// `/api/search/tag/{name}/values`.
pub fn tag_values_v1(values: &[TagValue], out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    write_list(object.key("tagValues"), values, |out, value| {
        write_string(out, value.text());
    });
    object.close();
}

/// `/api/v2/search/tag/{identifier}/values`.
pub fn tag_values_v2(values: &[TagValue], inspected_bytes: u64, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    write_list(object.key("tagValues"), values, |out, value| {
        let mut inner = Object::open(out);
        inner.text("type", value.kind());
        write_text(inner.key("value"), &value.text());
        inner.close();
    });
    write_inspected(object.key("metrics"), inspected_bytes);
    object.close();
}

#[cfg(test)]
mod tests;
