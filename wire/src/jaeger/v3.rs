//! Writers for Jaeger's `/api/v3`, which speaks OTLP/JSON.
//!
//! Invariant: lists are there even when they are empty.

use obs_model::spans::{SpanKind, StatusCode};
use obs_model::{SpanBatch, Timestamp, TraceId};

use super::ui::{kind_text, service};
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

/// Spans of one service.
struct OfService<'a> {
    name: &'a str,
    spans: u64,
    errors: u64,
}

/// `{"summaries":[…]}`: what each trace is in one line.
pub fn summaries(traces: &[SpanBatch], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("summaries");
    json.array();
    for batch in traces {
        summary(&mut json, batch);
    }
    json.end_array();
    json.end_object();
}

fn summary(json: &mut Writer<'_>, batch: &SpanBatch) {
    let mut services: Vec<OfService<'_>> = Vec::new();
    let mut root: Option<(bool, Timestamp, &str, &str)> = None;
    let (mut start, mut end) = (Timestamp::MAX, Timestamp::MIN);
    let mut id = TraceId::default();
    for (resource, _, span) in batch.iter() {
        id = span.trace_id;
        start = start.min(span.start);
        end = end.max(span.start.max(span.end));
        let name = service(resource);
        // The root, else the first span.
        let candidate = (
            !span.parent_id.is_zero(),
            span.start,
            name,
            span.name.as_str(),
        );
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
    let Some((_, _, service, operation)) = root else {
        return;
    };
    services.sort_by_key(|s| s.name);
    json.object();
    json.field("traceId", &id.to_string());
    json.field("rootServiceName", service);
    json.field("rootOperationName", operation);
    json.field("minStartTimeUnixNano", &start.nanos().max(0).to_string());
    json.field("maxEndTimeUnixNano", &end.nanos().max(0).to_string());
    counts(
        json,
        services.iter().map(|s| s.spans).sum(),
        services.iter().map(|s| s.errors).sum(),
    );
    json.key("services");
    json.array();
    for one in &services {
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

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::spans::{Attribute, Resource, ResourceSpans, ScopeSpans};
    use obs_model::{Span, SpanId};

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
