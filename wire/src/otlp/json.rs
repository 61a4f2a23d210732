//! Spans as proto3-JSON, straight from the model.
//!
//! Two dialects: OTLP/JSON (ids in hex, enums as numbers) and Tempo's (ids in base64, enums by
//! name). Invariant: fields with their default value are left out, 64-bit integers are texts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use obs_model::Timestamp;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanBatch,
    SpanEvent, SpanLink,
};

use super::attributes::hex_id;
use super::lenient::{SPAN_KINDS, STATUS_CODES};

/// How ids and enums are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Hex and numbers.
    Otlp,
    /// Base64 and names.
    Tempo,
}

/// Writes an object of proto3-JSON field by field; defaults are left out.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes the name; the caller writes the value.
    pub(crate) fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write_text(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// A text, left out when empty.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            write_text(self.key(name), text);
        }
    }

    /// An integer of at most 32 bits, left out when zero.
    pub(crate) fn number(&mut self, name: &str, number: impl Into<i64>) {
        let number = number.into();
        if number != 0 {
            let text = number.to_string();
            self.key(name).extend_from_slice(text.as_bytes());
        }
    }

    /// An integer of 64 bits as text, left out when zero.
    pub(crate) fn long(&mut self, name: &str, number: impl Into<i128>) {
        let number = number.into();
        if number != 0 {
            write_text(self.key(name), &number.to_string());
        }
    }

    /// A list, left out when empty.
    pub(crate) fn list<T>(&mut self, name: &str, items: &[T], write: impl FnMut(&mut Vec<u8>, &T)) {
        if !items.is_empty() {
            write_list(self.key(name), items, write);
        }
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }
}

/// A quoted, escaped text.
pub(crate) use crate::json::escape as write_text;

/// A list.
pub(crate) fn write_list<T>(
    out: &mut Vec<u8>,
    items: &[T],
    mut write: impl FnMut(&mut Vec<u8>, &T),
) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// A float; proto3 writes what JSON cannot say as text.
pub(crate) fn write_double(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        serde_json::to_writer(out, &number).expect("memory takes every number");
    } else if number.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if number > 0.0 {
        out.extend_from_slice(b"\"Infinity\"");
    } else {
        out.extend_from_slice(b"\"-Infinity\"");
    }
}

/// An `AnyValue`.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &AttributeValue) {
    let mut object = Object::open(out);
    match value {
        AttributeValue::Empty => {}
        AttributeValue::String(text) => write_text(object.key("stringValue"), text),
        AttributeValue::Bool(truth) => {
            let word: &[u8] = if *truth { b"true" } else { b"false" };
            object.key("boolValue").extend_from_slice(word);
        }
        AttributeValue::Int(number) => write_text(object.key("intValue"), &number.to_string()),
        AttributeValue::Double(number) => write_double(object.key("doubleValue"), *number),
        AttributeValue::Bytes(bytes) => {
            write_text(object.key("bytesValue"), &STANDARD.encode(bytes));
        }
        AttributeValue::Array(values) => {
            let mut inner = Object::open(object.key("arrayValue"));
            write_list(inner.key("values"), values, write_value);
            inner.close();
        }
        AttributeValue::Map(pairs) => {
            let mut inner = Object::open(object.key("kvlistValue"));
            write_list(inner.key("values"), pairs, write_attribute);
            inner.close();
        }
    }
    object.close();
}

/// A `KeyValue`.
pub(crate) fn write_attribute(out: &mut Vec<u8>, attribute: &Attribute) {
    let mut object = Object::open(out);
    write_text(object.key("key"), &attribute.key);
    write_value(object.key("value"), &attribute.value);
    object.close();
}

/// `{"<key>": [ResourceSpans…]}`.
pub(crate) fn write_spans(out: &mut Vec<u8>, key: &str, batch: &SpanBatch, dialect: Dialect) {
    let mut object = Object::open(out);
    write_list(object.key(key), &batch.resources, |out, resource| {
        write_resource_spans(out, resource, dialect);
    });
    object.close();
}

fn write_resource_spans(out: &mut Vec<u8>, spans: &ResourceSpans, dialect: Dialect) {
    let mut object = Object::open(out);
    write_resource(object.key("resource"), &spans.resource);
    object.list("scopeSpans", &spans.scopes, |out, scope| {
        write_scope_spans(out, scope, dialect);
    });
    object.text("schemaUrl", &spans.resource.schema_url);
    object.close();
}

fn write_resource(out: &mut Vec<u8>, resource: &Resource) {
    let mut object = Object::open(out);
    object.list("attributes", &resource.attributes, write_attribute);
    object.number("droppedAttributesCount", resource.dropped_attributes);
    object.close();
}

fn write_scope_spans(out: &mut Vec<u8>, spans: &ScopeSpans, dialect: Dialect) {
    let mut object = Object::open(out);
    write_scope(object.key("scope"), &spans.scope);
    object.list("spans", &spans.spans, |out, span| {
        write_span(out, span, dialect);
    });
    object.text("schemaUrl", &spans.scope.schema_url);
    object.close();
}

fn write_scope(out: &mut Vec<u8>, scope: &Scope) {
    let mut object = Object::open(out);
    object.text("name", &scope.name);
    object.text("version", &scope.version);
    object.list("attributes", &scope.attributes, write_attribute);
    object.number("droppedAttributesCount", scope.dropped_attributes);
    object.close();
}

fn write_id(object: &mut Object<'_>, name: &str, bytes: &[u8], dialect: Dialect) {
    if bytes.iter().all(|b| *b == 0) {
        return;
    }
    let text = match dialect {
        Dialect::Otlp => hex_id(bytes),
        Dialect::Tempo => STANDARD.encode(bytes),
    };
    object.text(name, &text);
}

fn write_enum(
    object: &mut Object<'_>,
    name: &str,
    number: i32,
    names: (&str, &[&str]),
    d: Dialect,
) {
    let known = usize::try_from(number).ok().and_then(|n| names.1.get(n));
    match (d, known) {
        (Dialect::Tempo, Some(word)) if number != 0 => {
            object.text(name, &format!("{}{word}", names.0));
        }
        (Dialect::Otlp | Dialect::Tempo, _) => object.number(name, number),
    }
}

fn write_time(object: &mut Object<'_>, name: &str, time: Timestamp) {
    // OTLP's times are unsigned.
    object.long(name, time.nanos().max(0));
}

fn write_span(out: &mut Vec<u8>, span: &Span, dialect: Dialect) {
    let mut object = Object::open(out);
    write_id(&mut object, "traceId", &span.trace_id.0, dialect);
    write_id(&mut object, "spanId", &span.span_id.0, dialect);
    object.text("traceState", &span.trace_state);
    write_id(&mut object, "parentSpanId", &span.parent_id.0, dialect);
    object.number("flags", span.flags);
    object.text("name", &span.name);
    let kinds = ("SPAN_KIND_", &SPAN_KINDS[..]);
    write_enum(&mut object, "kind", span.kind.number(), kinds, dialect);
    write_time(&mut object, "startTimeUnixNano", span.start);
    write_time(&mut object, "endTimeUnixNano", span.end);
    object.list("attributes", &span.attributes, write_attribute);
    object.number("droppedAttributesCount", span.dropped_attributes);
    object.list("events", &span.events, write_event);
    object.number("droppedEventsCount", span.dropped_events);
    object.list("links", &span.links, |out, link| {
        write_link(out, link, dialect);
    });
    object.number("droppedLinksCount", span.dropped_links);
    let mut status = Object::open(object.key("status"));
    status.text("message", &span.status_message);
    let codes = ("STATUS_CODE_", &STATUS_CODES[..]);
    write_enum(&mut status, "code", span.status.number(), codes, dialect);
    status.close();
    object.close();
}

fn write_event(out: &mut Vec<u8>, event: &SpanEvent) {
    let mut object = Object::open(out);
    write_time(&mut object, "timeUnixNano", event.time);
    object.text("name", &event.name);
    object.list("attributes", &event.attributes, write_attribute);
    object.number("droppedAttributesCount", event.dropped_attributes);
    object.close();
}

fn write_link(out: &mut Vec<u8>, link: &SpanLink, dialect: Dialect) {
    let mut object = Object::open(out);
    write_id(&mut object, "traceId", &link.trace_id.0, dialect);
    write_id(&mut object, "spanId", &link.span_id.0, dialect);
    object.text("traceState", &link.trace_state);
    object.list("attributes", &link.attributes, write_attribute);
    object.number("droppedAttributesCount", link.dropped_attributes);
    object.number("flags", link.flags);
    object.close();
}
