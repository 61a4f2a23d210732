//! Writers for Jaeger's first JSON, which its UI and Grafana's data source read.
//!
//! Invariants: times and durations are whole microseconds; the envelope always has all its fields;
//! integers that JavaScript would round are texts.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use obs_model::spans::{
    Attribute, AttributeValue, Resource, Scope, SpanEvent, SpanKind, SpanLink, StatusCode,
    attribute,
};
use obs_model::{Span, SpanBatch, SpanId, TraceId};

use crate::json::Writer;
use crate::otlp::attributes::to_text;

/// What a resource without `service.name` is called, as in Jaeger.
pub const NO_SERVICE: &str = "OTLPResourceNoServiceName";
/// Beyond this JavaScript rounds integers.
const SAFE_INTEGER: i64 = (1 << 53) - 1;

/// A fault in an envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The HTTP status; none where the rest of the answer is right.
    pub code: Option<u16>,
    /// What is wrong.
    pub message: String,
    /// The trace that it is about.
    pub trace_id: Option<TraceId>,
}

/// A trace id as Jaeger writes it: 16 digits where the upper half is zero.
pub fn trace_id_text(id: TraceId) -> String {
    let text = id.to_string();
    match text.strip_prefix("0000000000000000") {
        Some(low) => low.to_owned(),
        None => text,
    }
}

/// A trace id of 8 or 16 bytes in base64, of both alphabets, with or without padding.
pub fn trace_id_base64(text: &str) -> Option<TraceId> {
    if text.len() > 24 {
        return None;
    }
    let plain = text
        .trim_end_matches('=')
        .replace('-', "+")
        .replace('_', "/");
    let bytes = STANDARD_NO_PAD.decode(plain).ok()?;
    let mut id = [0; 16];
    if bytes.len() != 8 && bytes.len() != 16 {
        return None;
    }
    id[16 - bytes.len()..].copy_from_slice(&bytes);
    Some(TraceId(id))
}

/// The service of a resource.
pub fn service(resource: &Resource) -> &str {
    match attribute(&resource.attributes, "service.name") {
        Some(AttributeValue::String(name)) if !name.is_empty() => name,
        _ => NO_SERVICE,
    }
}

/// `{"data":…,"total":…,"limit":0,"offset":0,"errors":…}`; without `data` it is null.
pub fn envelope(
    data: Option<&mut dyn FnMut(&mut Writer<'_>)>,
    total: usize,
    faults: &[Fault],
    out: &mut Vec<u8>,
) {
    let mut json = Writer::new(out);
    json.object();
    json.key("data");
    match data {
        Some(write) => write(&mut json),
        None => json.null(),
    }
    json.key("total");
    json.unsigned(total as u64);
    json.key("limit");
    json.unsigned(0);
    json.key("offset");
    json.unsigned(0);
    json.key("errors");
    if faults.is_empty() {
        json.null();
    } else {
        json.array();
        for fault in faults {
            json.object();
            if let Some(code) = fault.code {
                json.key("code");
                json.unsigned(u64::from(code));
            }
            json.field("msg", &fault.message);
            if let Some(id) = fault.trace_id {
                json.field("traceID", &trace_id_text(id));
            }
            json.end_object();
        }
        json.end_array();
    }
    json.end_object();
}

/// Names as data.
pub fn names(names: &[String], out: &mut Vec<u8>) {
    let mut write = |json: &mut Writer<'_>| json.strings(names);
    envelope(Some(&mut write), names.len(), &[], out);
}

/// Operations and their kinds as data.
pub fn operations(operations: &[(String, SpanKind)], out: &mut Vec<u8>) {
    let mut write = |json: &mut Writer<'_>| {
        json.array();
        for (name, kind) in operations {
            json.object();
            json.field("name", name);
            json.field("spanKind", kind_text(*kind));
            json.end_object();
        }
        json.end_array();
    };
    envelope(Some(&mut write), operations.len(), &[], out);
}

/// A kind as Jaeger's tag `span.kind` has it; empty where it is not told.
pub fn kind_text(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "",
        kind => kind.as_str(),
    }
}

/// Calls between two services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Who calls.
    pub parent: String,
    /// Who is called.
    pub child: String,
    /// How often.
    pub calls: u64,
}

/// Dependencies as data.
pub fn dependencies(all: &[Dependency], out: &mut Vec<u8>) {
    let mut write = |json: &mut Writer<'_>| {
        json.array();
        for one in all {
            json.object();
            json.field("parent", &one.parent);
            json.field("child", &one.child);
            json.key("callCount");
            json.unsigned(one.calls);
            json.end_object();
        }
        json.end_array();
    };
    envelope(Some(&mut write), 0, &[], out);
}

/// Whole traces as data, one in each batch; faults tell of those that are not there.
pub fn traces(traces: &[SpanBatch], faults: &[Fault], out: &mut Vec<u8>) {
    let mut write = |json: &mut Writer<'_>| {
        json.array();
        for batch in traces {
            write_trace(json, batch);
        }
        json.end_array();
    };
    envelope(Some(&mut write), 0, faults, out);
}

/// Processes of a trace, numbered in order of appearance.
struct Processes<'a> {
    by_service: HashMap<&'a str, Vec<usize>>,
    all: Vec<&'a Resource>,
}

impl<'a> Processes<'a> {
    fn number(&mut self, resource: &'a Resource) -> usize {
        let same = self.by_service.entry(service(resource)).or_default();
        let known = same.iter().find(|number| {
            let known: &Resource = self.all[**number];
            std::ptr::eq(known, resource) || known.attributes == resource.attributes
        });
        if let Some(number) = known {
            return *number;
        }
        let number = self.all.len();
        same.push(number);
        self.all.push(resource);
        number
    }
}

fn write_trace(json: &mut Writer<'_>, batch: &SpanBatch) {
    let mut spans: Vec<_> = batch.iter().collect();
    spans.sort_by_key(|(_, _, span)| (span.start, span.span_id));
    let mut processes = Processes {
        by_service: HashMap::new(),
        all: Vec::new(),
    };
    json.object();
    let id = spans.first().map(|(_, _, span)| span.trace_id);
    json.field("traceID", &id.map(trace_id_text).unwrap_or_default());
    json.key("spans");
    json.array();
    for (resource, scope, span) in spans {
        write_span(json, scope, span, processes.number(resource));
    }
    json.end_array();
    json.key("processes");
    json.object();
    for (number, resource) in processes.all.iter().enumerate() {
        json.key(&format!("p{}", number + 1));
        json.object();
        json.field("serviceName", service(resource));
        json.key("tags");
        json.array();
        let tags = resource.attributes.iter();
        for tag in tags.filter(|tag| tag.key != "service.name") {
            write_tag(json, tag);
        }
        json.end_array();
        json.end_object();
    }
    json.end_object();
    json.key("warnings");
    json.null();
    json.end_object();
}

fn micros(nanos: i64) -> u64 {
    u64::try_from(nanos / 1000).unwrap_or(0)
}

fn write_span(json: &mut Writer<'_>, scope: &Scope, span: &Span, process: usize) {
    json.object();
    json.field("traceID", &trace_id_text(span.trace_id));
    json.field("spanID", &span.span_id.to_string());
    let flags = span.flags & 0xff;
    if flags != 0 {
        json.key("flags");
        json.unsigned(u64::from(flags));
    }
    json.field("operationName", &span.name);
    json.key("references");
    json.array();
    if !span.parent_id.is_zero() {
        write_reference(json, "CHILD_OF", span.trace_id, span.parent_id);
    }
    for link in &span.links {
        let kind = if is_child_of(link) {
            "CHILD_OF"
        } else {
            "FOLLOWS_FROM"
        };
        write_reference(json, kind, link.trace_id, link.span_id);
    }
    json.end_array();
    json.key("startTime");
    json.unsigned(micros(span.start.nanos()));
    json.key("duration");
    json.unsigned(micros(span.duration_nanos()));
    json.key("tags");
    json.array();
    each_tag(scope, span, &mut |tag| write_tag(json, tag));
    json.end_array();
    json.key("logs");
    json.array();
    for event in &span.events {
        write_log(json, event);
    }
    json.end_array();
    json.field("processID", &format!("p{}", process + 1));
    json.key("warnings");
    json.null();
    json.end_object();
}

fn write_reference(json: &mut Writer<'_>, kind: &str, trace: TraceId, span: SpanId) {
    json.object();
    json.field("refType", kind);
    json.field("traceID", &trace_id_text(trace));
    json.field("spanID", &span.to_string());
    json.end_object();
}

/// Attributes, and what OTLP has fields for.
pub(super) fn each_tag(scope: &Scope, span: &Span, tell: &mut dyn FnMut(&Attribute)) {
    let told = |key: &str| attribute(&span.attributes, key).is_some();
    let text = |tell: &mut dyn FnMut(&Attribute), key: &str, value: &str| {
        if !value.is_empty() && !told(key) {
            tell(&Attribute::string(key, value));
        }
    };
    text(tell, "otel.scope.name", &scope.name);
    text(tell, "otel.scope.version", &scope.version);
    span.attributes.iter().for_each(&mut *tell);
    text(tell, "span.kind", kind_text(span.kind));
    match span.status {
        StatusCode::Unset => {}
        StatusCode::Ok => text(tell, "otel.status_code", "OK"),
        StatusCode::Error => text(tell, "otel.status_code", "ERROR"),
    }
    text(tell, "otel.status_description", &span.status_message);
    text(tell, "w3c.tracestate", &span.trace_state);
    if span.status == StatusCode::Error && !told("error") {
        tell(&Attribute {
            key: "error".to_owned(),
            value: AttributeValue::Bool(true),
        });
    }
}

/// Whether a link says that it is a child's reference to a parent.
pub(super) fn is_child_of(link: &SpanLink) -> bool {
    let kind = attribute(&link.attributes, "opentracing.ref_type");
    matches!(kind, Some(AttributeValue::String(kind)) if kind == "child_of")
}

fn write_log(json: &mut Writer<'_>, event: &SpanEvent) {
    json.object();
    json.key("timestamp");
    json.unsigned(micros(event.time.nanos()));
    json.key("fields");
    json.array();
    if !event.name.is_empty() && attribute(&event.attributes, "event").is_none() {
        write_tag(json, &Attribute::string("event", &event.name));
    }
    for field in &event.attributes {
        write_tag(json, field);
    }
    json.end_array();
    json.end_object();
}

fn write_tag(json: &mut Writer<'_>, tag: &Attribute) {
    json.object();
    json.field("key", &tag.key);
    match &tag.value {
        AttributeValue::Bool(truth) => {
            json.field("type", "bool");
            json.key("value");
            json.bool(*truth);
        }
        AttributeValue::Int(number) => {
            json.field("type", "int64");
            json.key("value");
            if number.unsigned_abs() > SAFE_INTEGER.unsigned_abs() {
                json.string(&number.to_string());
            } else {
                json.integer(*number);
            }
        }
        AttributeValue::Double(number) => {
            json.field("type", "float64");
            json.key("value");
            json.number(*number);
        }
        AttributeValue::Bytes(bytes) => {
            json.field("type", "binary");
            json.field("value", &STANDARD.encode(bytes));
        }
        AttributeValue::String(text) => {
            json.field("type", "string");
            json.field("value", text);
        }
        value @ (AttributeValue::Empty | AttributeValue::Array(_) | AttributeValue::Map(_)) => {
            json.field("type", "string");
            json.field("value", &to_text(value));
        }
    }
    json.end_object();
}

/// A series of Jaeger's service performance monitoring.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitored {
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// Milliseconds and values.
    pub points: Vec<(i64, f64)>,
}

/// `/api/metrics/{latencies,calls,errors}`: one family of gauges, without an envelope.
pub fn family(name: &str, help: &str, series: &[Monitored], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.field("name", name);
    json.field("type", "GAUGE");
    json.field("help", help);
    json.key("metrics");
    json.array();
    for one in series {
        json.object();
        json.key("labels");
        json.array();
        for (name, value) in &one.labels {
            json.object();
            json.field("name", name);
            json.field("value", value);
            json.end_object();
        }
        json.end_array();
        json.key("metricPoints");
        json.array();
        for (millis, value) in &one.points {
            json.object();
            json.key("gaugeValue");
            json.object();
            json.key("doubleValue");
            if value.is_nan() {
                json.string("NaN");
            } else {
                json.number(*value);
            }
            json.end_object();
            let time = obs_model::Timestamp::from_millis(*millis);
            json.field("timestamp", &time.to_string());
            json.end_object();
        }
        json.end_array();
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;
    use obs_model::spans::{ResourceSpans, ScopeSpans, SpanLink};

    use super::*;

    #[test]
    fn a_trace() {
        let int = |key: &str, value| Attribute {
            key: key.to_owned(),
            value: AttributeValue::Int(value),
        };
        let span = Span {
            trace_id: TraceId::from_hex("ab").unwrap(),
            span_id: SpanId([0, 0, 0, 0, 0, 0, 0, 2]),
            parent_id: SpanId([0, 0, 0, 0, 0, 0, 0, 1]),
            flags: 0x101,
            name: "get".to_owned(),
            kind: SpanKind::Client,
            start: Timestamp::from_nanos(5_001_999),
            end: Timestamp::from_nanos(9_001_999),
            attributes: vec![int("n", 3), int("big", i64::MAX)],
            events: vec![SpanEvent {
                time: Timestamp::from_nanos(6_000_000),
                name: "e".to_owned(),
                attributes: vec![Attribute::string("a", "b")],
                dropped_attributes: 0,
            }],
            links: vec![SpanLink {
                trace_id: TraceId([1; 16]),
                span_id: SpanId([3; 8]),
                ..SpanLink::default()
            }],
            status: StatusCode::Error,
            status_message: "no".to_owned(),
            ..Span::default()
        };
        let resource = Resource {
            attributes: vec![
                Attribute::string("service.name", "shop"),
                Attribute::string("host", "h"),
            ],
            ..Resource::default()
        };
        let batch = SpanBatch {
            resources: vec![ResourceSpans {
                resource,
                scopes: vec![ScopeSpans {
                    scope: Scope {
                        name: "lib".to_owned(),
                        ..Scope::default()
                    },
                    spans: vec![span],
                }],
            }],
        };
        let mut out = Vec::new();
        traces(&[batch], &[], &mut out);
        let expect = concat!(
            r#"{"data":[{"traceID":"00000000000000ab","spans":[{"traceID":"00000000000000ab","#,
            r#""spanID":"0000000000000002","flags":1,"operationName":"get","references":["#,
            r#"{"refType":"CHILD_OF","traceID":"00000000000000ab","spanID":"0000000000000001"},"#,
            r#"{"refType":"FOLLOWS_FROM","traceID":"01010101010101010101010101010101","#,
            r#""spanID":"0303030303030303"}],"startTime":5001,"duration":4000,"tags":["#,
            r#"{"key":"otel.scope.name","type":"string","value":"lib"},"#,
            r#"{"key":"n","type":"int64","value":3},"#,
            r#"{"key":"big","type":"int64","value":"9223372036854775807"},"#,
            r#"{"key":"span.kind","type":"string","value":"client"},"#,
            r#"{"key":"otel.status_code","type":"string","value":"ERROR"},"#,
            r#"{"key":"otel.status_description","type":"string","value":"no"},"#,
            r#"{"key":"error","type":"bool","value":true}],"logs":[{"timestamp":6000,"fields":["#,
            r#"{"key":"event","type":"string","value":"e"},{"key":"a","type":"string","value":"b"}]}],"#,
            r#""processID":"p1","warnings":null}],"processes":{"p1":{"serviceName":"shop","tags":["#,
            r#"{"key":"host","type":"string","value":"h"}]}},"warnings":null}],"#,
            r#""total":0,"limit":0,"offset":0,"errors":null}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn envelopes_and_families() {
        let mut out = Vec::new();
        let fault = Fault {
            code: Some(404),
            message: "trace not found".to_owned(),
            trace_id: None,
        };
        envelope(None, 0, &[fault], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"data":null,"total":0,"limit":0,"offset":0,"errors":[{"code":404,"msg":"trace not found"}]}"#
        );
        let mut out = Vec::new();
        operations(&[("get".to_owned(), SpanKind::Server)], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"data":[{"name":"get","spanKind":"server"}],"total":1,"limit":0,"offset":0,"errors":null}"#
        );
        let mut out = Vec::new();
        let one = Monitored {
            labels: vec![("service_name".to_owned(), "shop".to_owned())],
            points: vec![(1500, 0.5)],
        };
        family("service_call_rate", "calls/sec", &[one], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"name":"service_call_rate","type":"GAUGE","help":"calls/sec","metrics":[{"labels":["#,
                r#"{"name":"service_name","value":"shop"}],"metricPoints":[{"gaugeValue":"#,
                r#"{"doubleValue":0.5},"timestamp":"1970-01-01T00:00:01.500Z"}]}]}"#
            )
        );
    }
}
