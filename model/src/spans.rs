//! Spans with the full content of OTLP: what came in goes out.

use std::fmt;

use crate::time::{TimeRange, Timestamp};

/// The id of a trace.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// The id of a span; all zeroes means "none".
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0u8; N];
    if text.is_empty() || text.len() > 2 * N {
        return None;
    }
    // From the right, so that a text without its leading zeroes still reads.
    for (index, c) in text.bytes().rev().enumerate() {
        let digit = char::from(c).to_digit(16)? as u8;
        bytes[N - 1 - index / 2] |= digit << (4 * (index % 2));
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

impl TraceId {
    /// From 1 to 32 hexadecimal digits; missing leading zeroes are added.
    pub fn from_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }

    /// Whether it is the invalid id.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 16]
    }
}

impl SpanId {
    /// From 1 to 16 hexadecimal digits; missing leading zeroes are added.
    pub fn from_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }

    /// Whether it is "none".
    pub fn is_zero(self) -> bool {
        self.0 == [0; 8]
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

/// A value of an attribute, as OTLP's AnyValue.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AttributeValue {
    /// No value set.
    #[default]
    Empty,
    /// Text.
    String(String),
    /// Truth.
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Float.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    Array(Vec<AttributeValue>),
    /// Keyed values in order.
    Map(Vec<Attribute>),
}

/// A named value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribute {
    /// The name.
    pub key: String,
    /// The value.
    pub value: AttributeValue,
}

impl Attribute {
    /// A text attribute.
    pub fn string(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: AttributeValue::String(value.into()),
        }
    }
}

/// The value of an attribute by name.
pub fn attribute<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a AttributeValue> {
    attributes.iter().find(|a| a.key == key).map(|a| &a.value)
}

/// What a span does for its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpanKind {
    /// Not told.
    #[default]
    Unspecified,
    /// Inside one process.
    Internal,
    /// Answers a remote call.
    Server,
    /// Makes a remote call.
    Client,
    /// Sends a message.
    Producer,
    /// Receives a message.
    Consumer,
}

impl SpanKind {
    /// From OTLP's number; unknown numbers are unspecified.
    pub fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }

    /// OTLP's number.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// As TraceQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// How a span ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusCode {
    /// Not told.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// With an error.
    Error,
}

impl StatusCode {
    /// From OTLP's number; unknown numbers are unset.
    pub fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }

    /// OTLP's number.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// As TraceQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// Something that happened during a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub time: Timestamp,
    /// What.
    pub name: String,
    /// Details.
    pub attributes: Vec<Attribute>,
    /// Details that the source dropped.
    pub dropped_attributes: u32,
}

/// A reference to another span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanLink {
    /// The other trace.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// W3C trace state of the other span.
    pub trace_state: String,
    /// Details.
    pub attributes: Vec<Attribute>,
    /// Details that the source dropped.
    pub dropped_attributes: u32,
    /// W3C trace flags.
    pub flags: u32,
}

/// One operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// Its parent; zero for a root.
    pub parent_id: SpanId,
    /// W3C trace state.
    pub trace_state: String,
    /// W3C trace flags.
    pub flags: u32,
    /// What it does.
    pub name: String,
    /// What it does for its trace.
    pub kind: SpanKind,
    /// Begin.
    pub start: Timestamp,
    /// End; a source's clock may put it before the begin.
    pub end: Timestamp,
    /// Details.
    pub attributes: Vec<Attribute>,
    /// Details that the source dropped.
    pub dropped_attributes: u32,
    /// What happened meanwhile.
    pub events: Vec<SpanEvent>,
    /// Events that the source dropped.
    pub dropped_events: u32,
    /// References.
    pub links: Vec<SpanLink>,
    /// References that the source dropped.
    pub dropped_links: u32,
    /// How it ended.
    pub status: StatusCode,
    /// Why it ended so.
    pub status_message: String,
}

impl Span {
    /// From start to end; the start alone where the end lies before it.
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.start, self.start.max(self.end))
    }

    /// Nanoseconds from begin to end; 0 where the end lies before the begin.
    pub fn duration_nanos(&self) -> i64 {
        (self.end - self.start).max(0)
    }
}

/// What produced spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// service.name, k8s.pod.name, …
    pub attributes: Vec<Attribute>,
    /// Details that the source dropped.
    pub dropped_attributes: u32,
    /// Schema of the attributes.
    pub schema_url: String,
}

/// The instrumentation that produced spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Library name.
    pub name: String,
    /// Library version.
    pub version: String,
    /// Details.
    pub attributes: Vec<Attribute>,
    /// Details that the source dropped.
    pub dropped_attributes: u32,
    /// Schema of the spans.
    pub schema_url: String,
}

/// Spans of one scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeSpans {
    /// The instrumentation.
    pub scope: Scope,
    /// Its spans.
    pub spans: Vec<Span>,
}

/// Spans of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceSpans {
    /// The producer.
    pub resource: Resource,
    /// Its spans by scope.
    pub scopes: Vec<ScopeSpans>,
}

/// What one request brought, or one whole trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanBatch {
    /// Spans by resource.
    pub resources: Vec<ResourceSpans>,
}

impl SpanBatch {
    /// Every span with its resource and scope.
    pub fn iter(&self) -> impl Iterator<Item = (&Resource, &Scope, &Span)> {
        self.resources.iter().flat_map(|r| {
            r.scopes.iter().flat_map(move |s| {
                s.spans
                    .iter()
                    .map(move |span| (&r.resource, &s.scope, span))
            })
        })
    }

    /// Number of spans.
    pub fn span_count(&self) -> usize {
        self.resources
            .iter()
            .flat_map(|r| &r.scopes)
            .map(|s| s.spans.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_without_leading_zeroes() {
        let id = TraceId::from_hex("a1b").unwrap();
        assert_eq!(id.to_string(), "00000000000000000000000000000a1b");
        assert_eq!(TraceId::from_hex(&id.to_string().to_uppercase()), Some(id));
        assert_eq!(SpanId::from_hex("xyz"), None);
        assert_eq!(SpanId::from_hex(""), None);
        assert_eq!(SpanId::from_hex("00112233445566778"), None);
    }
}
