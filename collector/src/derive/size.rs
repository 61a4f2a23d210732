//! The length of a span as OTLP's protobuf has it, without writing it.
//!
//! Invariant: it is what `obs_wire` would write, field by field; a test compares the two.

use obs_model::Span;
use obs_model::spans::{Attribute, AttributeValue, SpanEvent, SpanLink};

/// Bytes of a number as a varint.
fn varint(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A field of bytes, with its tag of one byte; nothing where it is empty.
fn optional(length: usize) -> usize {
    if length == 0 { 0 } else { field(length) }
}

/// A field of bytes, with its tag of one byte.
fn field(length: usize) -> usize {
    1 + varint(length as u64) + length
}

/// A field of a number, with its tag of one byte; nothing where it is zero.
fn number(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint(value) }
}

/// A field of a fixed width, with its tag; nothing where it is zero.
fn fixed(value: u64, tag: usize, width: usize) -> usize {
    if value == 0 { 0 } else { tag + width }
}

/// An id with its tag; nothing where it is none.
fn id(bytes: &[u8]) -> usize {
    let none = bytes.iter().all(|b| *b == 0);
    if none { 0 } else { field(bytes.len()) }
}

fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::Empty => 0,
        AttributeValue::String(text) => field(text.len()),
        AttributeValue::Bool(_) => 2,
        AttributeValue::Int(value) => 1 + varint(*value as u64),
        AttributeValue::Double(_) => 9,
        AttributeValue::Bytes(bytes) => field(bytes.len()),
        AttributeValue::Array(values) => field(values.iter().map(|v| field(value_bytes(v))).sum()),
        AttributeValue::Map(entries) => field(attributes_bytes(entries)),
    }
}

/// All attributes, each as a field with a tag of one byte.
fn attributes_bytes(attributes: &[Attribute]) -> usize {
    let entry = |a: &Attribute| field(optional(a.key.len()) + field(value_bytes(&a.value)));
    attributes.iter().map(entry).sum()
}

fn event_bytes(event: &SpanEvent) -> usize {
    fixed(event.time.nanos() as u64, 1, 8)
        + optional(event.name.len())
        + attributes_bytes(&event.attributes)
        + number(event.dropped_attributes.into())
}

fn link_bytes(link: &SpanLink) -> usize {
    id(&link.trace_id.0)
        + id(&link.span_id.0)
        + optional(link.trace_state.len())
        + attributes_bytes(&link.attributes)
        + number(link.dropped_attributes.into())
        + fixed(link.flags.into(), 1, 4)
}

/// The length of a span's message.
pub fn span_bytes(span: &Span) -> usize {
    let status = optional(span.status_message.len()) + number(span.status.number() as u64);
    id(&span.trace_id.0)
        + id(&span.span_id.0)
        + optional(span.trace_state.len())
        + id(&span.parent_id.0)
        + optional(span.name.len())
        + number(span.kind.number() as u64)
        + fixed(span.start.nanos() as u64, 1, 8)
        + fixed(span.end.nanos() as u64, 1, 8)
        + attributes_bytes(&span.attributes)
        + number(span.dropped_attributes.into())
        + span.events.iter().map(|e| field(event_bytes(e))).sum::<usize>()
        + number(span.dropped_events.into())
        + span.links.iter().map(|l| field(link_bytes(l))).sum::<usize>()
        + number(span.dropped_links.into())
        + field(status)
        // Field 16: its tag takes two bytes.
        + fixed(span.flags.into(), 2, 4)
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{ResourceSpans, ScopeSpans, SpanKind, StatusCode};
    use obs_model::{SpanBatch, SpanId, Timestamp, TraceId};

    use super::*;

    fn batch(spans: Vec<Span>) -> SpanBatch {
        let scopes = vec![ScopeSpans {
            spans,
            ..ScopeSpans::default()
        }];
        let resources = vec![ResourceSpans {
            scopes,
            ..ResourceSpans::default()
        }];
        SpanBatch { resources }
    }

    /// A span takes its own length more in a message, and what stands around it.
    fn check(span: Span) {
        let written = |spans| {
            let mut bytes = Vec::new();
            obs_wire::otlp::traces::encode_protobuf(&batch(spans), &mut bytes);
            bytes.len()
        };
        let own = span_bytes(&span);
        let empty = Span {
            name: "x".repeat(300),
            ..span.clone()
        };
        // Two of one kind more than one: the lengths around them take as many bytes in both.
        let base = written(vec![empty.clone(), empty.clone(), empty.clone()]);
        let more = written(vec![empty.clone(), empty.clone(), empty, span.clone()]);
        let around = more - base - own;
        assert!((2..=4).contains(&around), "{around} around {own}: {span:?}");
        let exact = 1 + varint(own as u64);
        assert!(around - exact <= 1, "{around} {exact}");
    }

    #[test]
    fn lengths_are_those_of_the_encoding() {
        check(Span::default());
        let attributes = vec![
            Attribute::string("k", "v".repeat(200)),
            Attribute {
                key: "n".into(),
                value: AttributeValue::Int(-1),
            },
            Attribute {
                key: "a".into(),
                value: AttributeValue::Array(vec![
                    AttributeValue::Bool(false),
                    AttributeValue::Double(0.0),
                    AttributeValue::Empty,
                    AttributeValue::Map(vec![Attribute::string("", "")]),
                    AttributeValue::Bytes(vec![1; 3]),
                ]),
            },
        ];
        check(Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent_id: SpanId([3; 8]),
            trace_state: "a=b".into(),
            flags: 257,
            name: "GET /".into(),
            kind: SpanKind::Server,
            start: Timestamp::from_seconds(1),
            end: Timestamp::from_seconds(2),
            attributes: attributes.clone(),
            dropped_attributes: 1,
            events: vec![SpanEvent {
                time: Timestamp::from_seconds(1),
                name: "exception".into(),
                attributes: attributes.clone(),
                dropped_attributes: 300,
            }],
            dropped_events: 2,
            links: vec![SpanLink {
                trace_id: TraceId([4; 16]),
                attributes,
                flags: 1,
                ..SpanLink::default()
            }],
            dropped_links: 3,
            status: StatusCode::Error,
            status_message: "no".into(),
        });
    }
}
