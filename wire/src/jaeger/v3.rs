//! Writers for Jaeger's `/api/v3`, which speaks OTLP/JSON.
//!
//! Invariant: lists are there even when they are empty.

use std::collections::HashSet;

use obs_model::spans::{SpanKind, StatusCode};
use obs_model::{SpanBatch, SpanId, Timestamp, TraceId};

use super::ui::{Dependency, kind_text, service};
use crate::json::Writer;
use crate::otlp::json::{Dialect, write_spans};

/// `{"result":{"resourceSpans":[…]}}`
pub fn traces(batch: &SpanBatch, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"result\":");
    write_spans(out, "resourceSpans", batch, Dialect::Otlp);
    out.push(b'}');
}

/// `{"services":[…]}`
pub fn services(names: &[String], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("services");
    json.strings(names);
    json.end_object();
}

/// `{"operations":[…]}`; a kind that is not told is internal here.
pub fn operations(operations: &[(String, SpanKind)], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("operations");
    json.array();
    for (name, kind) in operations {
        let kind = match kind_text(*kind) {
            "" => "internal",
            kind => kind,
        };
        json.object();
        json.field("name", name);
        json.field("spanKind", kind);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

/// `{"error":{"httpCode":…,"message":…}}`
pub fn error(code: u16, message: &str, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("error");
    json.object();
    json.key("httpCode");
    json.unsigned(u64::from(code));
    json.field("message", message);
    json.end_object();
    json.end_object();
}

/// Spans of one service in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OfService<'a> {
    pub(super) name: &'a str,
    pub(super) spans: u64,
    pub(super) errors: u64,
}

/// What a trace is in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary<'a> {
    pub(super) id: TraceId,
    pub(super) service: &'a str,
    pub(super) operation: &'a str,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// Spans whose parent is not in the trace.
    pub(super) orphans: u64,
    pub(super) services: Vec<OfService<'a>>,
}

impl<'a> Summary<'a> {
    /// None of a trace without spans.
    pub(super) fn of(batch: &'a SpanBatch) -> Option<Self> {
        let mut services: Vec<OfService<'_>> = Vec::new();
        let mut root: Option<(bool, Timestamp, &str, &str)> = None;
        let (mut start, mut end) = (Timestamp::MAX, Timestamp::MIN);
        let (mut id, mut orphans) = (TraceId::default(), 0);
        let known: HashSet<SpanId> = batch.iter().map(|(_, _, span)| span.span_id).collect();
        for (resource, _, span) in batch.iter() {
            id = span.trace_id;
            start = start.min(span.start);
            end = end.max(span.start.max(span.end));
            let child = !span.parent_id.is_zero();
            orphans += u64::from(child && !known.contains(&span.parent_id));
            let name = service(resource);
            // The root, else the first span.
            let candidate = (child, span.start, name, span.name.as_str());
            if root.is_none_or(|known| (candidate.0, candidate.1) < (known.0, known.1)) {
                root = Some(candidate);
            }
            let failed = u64::from(span.status == StatusCode::Error);
            match services.iter_mut().find(|s| s.name == name) {
                Some(known) => {
                    known.spans += 1;
                    known.errors += failed;
                }
                None => services.push(OfService {
                    name,
                    spans: 1,
                    errors: failed,
                }),
            }
        }
        let (_, _, service, operation) = root?;
        services.sort_by_key(|s| s.name);
        Some(Self {
            id,
            service,
            operation,
            start,
            end,
            orphans,
            services,
        })
    }

    pub(super) fn spans(&self) -> u64 {
        self.services.iter().map(|s| s.spans).sum()
    }

    pub(super) fn errors(&self) -> u64 {
        self.services.iter().map(|s| s.errors).sum()
    }
}

/// `{"summaries":[…]}`: what each trace is in one line.
pub fn summaries(traces: &[SpanBatch], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("summaries");
    json.array();
    for summary in traces.iter().filter_map(Summary::of) {
        write_summary(&mut json, &summary);
    }
    json.end_array();
    json.end_object();
}

fn write_summary(json: &mut Writer<'_>, summary: &Summary<'_>) {
    json.object();
    json.field("traceId", &summary.id.to_string());
    json.field("rootServiceName", summary.service);
    json.field("rootOperationName", summary.operation);
    let nanos = |time: Timestamp| time.nanos().max(0).to_string();
    json.field("minStartTimeUnixNano", &nanos(summary.start));
    json.field("maxEndTimeUnixNano", &nanos(summary.end));
    counts(json, summary.spans(), summary.errors());
    if summary.orphans > 0 {
        json.key("orphanSpanCount");
        json.unsigned(summary.orphans);
    }
    json.key("services");
    json.array();
    for one in &summary.services {
        json.object();
        json.field("name", one.name);
        counts(json, one.spans, one.errors);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

/// Zero is the default, which is left out.
fn counts(json: &mut Writer<'_>, spans: u64, errors: u64) {
    json.key("spanCount");
    json.unsigned(spans);
    if errors > 0 {
        json.key("errorSpanCount");
        json.unsigned(errors);
    }
}

/// `{"dependencies":[…]}`
pub fn dependencies(all: &[Dependency], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("dependencies");
    json.array();
    for one in all {
        json.object();
        json.field("parent", &one.parent);
        json.field("child", &one.child);
        // 64 bits are a text.
        json.field("callCount", &one.calls.to_string());
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::Span;
    use obs_model::spans::{Attribute, Resource, ResourceSpans, ScopeSpans};

    #[test]
    fn shapes() {
        let span = |id: u8, parent: u8, status| Span {
            trace_id: TraceId::from_hex("1").unwrap(),
            span_id: SpanId([id; 8]),
            parent_id: SpanId([parent; 8]),
            name: format!("op{id}"),
            start: Timestamp::from_nanos(i64::from(10 - id)),
            end: Timestamp::from_nanos(20),
            status,
            ..Span::default()
        };
        let batch = SpanBatch {
            resources: vec![ResourceSpans {
                resource: Resource {
                    attributes: vec![Attribute::string("service.name", "shop")],
                    ..Resource::default()
                },
                scopes: vec![ScopeSpans {
                    spans: vec![span(1, 0, StatusCode::Unset), span(2, 1, StatusCode::Error)],
                    ..ScopeSpans::default()
                }],
            }],
        };
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(&|out| summaries(&[batch.clone(), SpanBatch::default()], out)),
            concat!(
                r#"{"summaries":[{"traceId":"00000000000000000000000000000001","rootServiceName":"shop","#,
                r#""rootOperationName":"op1","minStartTimeUnixNano":"8","maxEndTimeUnixNano":"20","#,
                r#""spanCount":2,"errorSpanCount":1,"services":[{"name":"shop","spanCount":2,"errorSpanCount":1}]}]}"#
            )
        );
        assert!(text(&|out| traces(&batch, out)).starts_with(
            r#"{"result":{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name""#
        ));
        assert_eq!(text(&|out| services(&[], out)), r#"{"services":[]}"#);
        assert_eq!(
            text(&|out| operations(&[("a".to_owned(), SpanKind::Unspecified)], out)),
            r#"{"operations":[{"name":"a","spanKind":"internal"}]}"#
        );
        assert_eq!(
            text(&|out| error(404, "No traces found", out)),
            r#"{"error":{"httpCode":404,"message":"No traces found"}}"#
        );
    }
}
