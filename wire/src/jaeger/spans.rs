//! Spans as `jaeger.api_v2.Span`, which Jaeger's first query service over gRPC tells.
//!
//! Invariant: the tags are those of the JSON of the same generation ([`super::ui`]).

use obs_model::spans::{Attribute, AttributeValue, Resource, Scope, SpanEvent, attribute};
use obs_model::{Span, SpanBatch, SpanId, TraceId};

use super::ui::{each_tag, is_child_of, service};
use crate::otlp::attributes::to_text;
use crate::protobuf::put;

/// Bytes after which a message of spans is full: clients take 4 MiB.
const CHUNK_BYTES: usize = 1 << 20;

/// A trace as messages of `SpansResponseChunk`.
pub(super) fn chunks(batch: &SpanBatch) -> Vec<Vec<u8>> {
    let (mut all, mut chunk) = (Vec::new(), Vec::new());
    for (resource, scope, span) in batch.iter() {
        put::message(&mut chunk, 1, |out| write_span(out, resource, scope, span));
        if chunk.len() >= CHUNK_BYTES {
            all.push(std::mem::take(&mut chunk));
        }
    }
    if !chunk.is_empty() {
        all.push(chunk);
    }
    all
}

fn write_span(out: &mut Vec<u8>, resource: &Resource, scope: &Scope, span: &Span) {
    put::bytes(out, 1, &span.trace_id.0);
    put::bytes(out, 2, &span.span_id.0);
    put::bytes(out, 3, span.name.as_bytes());
    if !span.parent_id.is_zero() {
        write_reference(out, span.trace_id, span.parent_id, false);
    }
    for link in &span.links {
        write_reference(out, link.trace_id, link.span_id, !is_child_of(link));
    }
    put::uint(out, 5, u64::from(span.flags & 0xff));
    put::message(out, 6, |out| write_nanos(out, span.start.nanos()));
    put::message(out, 7, |out| write_nanos(out, span.duration_nanos()));
    each_tag(scope, span, &mut |tag| {
        put::message(out, 8, |out| write_tag(out, tag));
    });
    for event in &span.events {
        put::message(out, 9, |out| write_log(out, event));
    }
    put::message(out, 10, |out| {
        put::bytes(out, 1, service(resource).as_bytes());
        for tag in &resource.attributes {
            if tag.key != "service.name" {
                put::message(out, 2, |out| write_tag(out, tag));
            }
        }
    });
}

fn write_reference(out: &mut Vec<u8>, trace: TraceId, span: SpanId, follows: bool) {
    put::message(out, 4, |out| {
        put::bytes(out, 1, &trace.0);
        put::bytes(out, 2, &span.0);
        put::uint(out, 3, u64::from(follows));
    });
}

/// `google.protobuf.Timestamp` and `Duration`.
pub(super) fn write_nanos(out: &mut Vec<u8>, nanos: i64) {
    put::uint(out, 1, nanos.div_euclid(1_000_000_000) as u64);
    put::uint(out, 2, nanos.rem_euclid(1_000_000_000) as u64);
}

fn write_log(out: &mut Vec<u8>, event: &SpanEvent) {
    put::message(out, 1, |out| write_nanos(out, event.time.nanos()));
    let mut field = |tag: &Attribute| put::message(out, 2, |out| write_tag(out, tag));
    if !event.name.is_empty() && attribute(&event.attributes, "event").is_none() {
        field(&Attribute::string("event", &event.name));
    }
    event.attributes.iter().for_each(field);
}

fn write_tag(out: &mut Vec<u8>, tag: &Attribute) {
    put::bytes(out, 1, tag.key.as_bytes());
    match &tag.value {
        AttributeValue::String(text) => put::bytes(out, 3, text.as_bytes()),
        AttributeValue::Bool(truth) => {
            put::uint(out, 2, 1);
            put::uint(out, 4, u64::from(*truth));
        }
        AttributeValue::Int(number) => {
            put::uint(out, 2, 2);
            put::uint(out, 5, *number as u64);
        }
        AttributeValue::Double(number) => {
            put::uint(out, 2, 3);
            put::double(out, 6, *number);
        }
        AttributeValue::Bytes(bytes) => {
            put::uint(out, 2, 4);
            put::bytes(out, 7, bytes);
        }
        value @ (AttributeValue::Empty | AttributeValue::Array(_) | AttributeValue::Map(_)) => {
            put::bytes(out, 3, to_text(value).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;
    use obs_model::limits::Limits;
    use obs_model::spans::{ResourceSpans, ScopeSpans, SpanKind, SpanLink, StatusCode};

    use super::*;

    /// What is told reads back as what was there.
    #[test]
    fn spans_read_back() {
        let value = |key: &str, value| Attribute {
            key: key.to_owned(),
            value,
        };
        let span = Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent_id: SpanId([3; 8]),
            name: "get".into(),
            kind: SpanKind::Server,
            status: StatusCode::Error,
            status_message: "no".into(),
            flags: 1,
            start: Timestamp::from_nanos(5_000_000_007),
            end: Timestamp::from_nanos(6_000_000_009),
            attributes: vec![
                Attribute::string("text", "a"),
                value("whole", AttributeValue::Int(-7)),
                value("real", AttributeValue::Double(0.5)),
                value("yes", AttributeValue::Bool(true)),
                value("bytes", AttributeValue::Bytes(vec![0, 255])),
            ],
            events: vec![SpanEvent {
                time: Timestamp::from_nanos(5_500_000_000),
                name: "look".into(),
                attributes: vec![Attribute::string("k", "v")],
                ..SpanEvent::default()
            }],
            links: vec![SpanLink {
                trace_id: TraceId([9; 16]),
                span_id: SpanId([8; 8]),
                attributes: vec![Attribute::string("opentracing.ref_type", "follows_from")],
                ..SpanLink::default()
            }],
            ..Span::default()
        };
        let batch = SpanBatch {
            resources: vec![ResourceSpans {
                resource: Resource {
                    attributes: vec![
                        Attribute::string("service.name", "shop"),
                        Attribute::string("zone", "a"),
                    ],
                    ..Resource::default()
                },
                scopes: vec![ScopeSpans {
                    scope: Scope {
                        name: "lib".into(),
                        ..Scope::default()
                    },
                    spans: vec![span],
                }],
            }],
        };
        let all = chunks(&batch);
        assert_eq!(all.len(), 1);
        // A batch of Jaeger's collector has its spans in the same field.
        let mut request = Vec::new();
        put::bytes(&mut request, 1, &all[0]);
        let decoded = super::super::decode_protobuf(&request, &Limits::default()).unwrap();
        assert_eq!(decoded.batch, batch);
        assert_eq!(chunks(&SpanBatch::default()), Vec::<Vec<u8>>::new());
    }
}
