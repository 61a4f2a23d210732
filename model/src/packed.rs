//! Spans of one request in a few pieces of memory: texts one behind the other in one buffer, keys
//! of attributes once, lists as ranges.
//!
//! A span with its fifteen attributes is some forty pieces of memory as [`Span`]; most of intake
//! would be taking and giving back those. Invariants: every cut lies inside what it cuts, at the
//! borders of characters; [`PackedSpans::to_batch`] is the same request.

use std::collections::HashMap;
use std::sync::Arc;

use crate::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanBatch,
    SpanEvent, SpanId, SpanKind, SpanLink, StatusCode, TraceId,
};
use crate::time::Timestamp;

/// Nothing is known yet.
const UNKNOWN: u32 = u32::MAX;

/// From where to where: of the texts, or of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    start: u32,
    end: u32,
}

impl Cut {
    fn new(start: usize, end: usize) -> Self {
        let fits = |at| u32::try_from(at).expect("a request has fewer than 4 GiB");
        Self {
            start: fits(start),
            end: fits(end),
        }
    }

    /// As a range.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// How much it cuts.
    pub fn len(self) -> usize {
        self.range().len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PackedValue {
    /// No value set.
    Empty,
    /// Text.
    Text(Cut),
    /// Truth.
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Float.
    Double(f64),
    /// Anything else: its number among [`PackedSpans::nested`].
    Nested(u32),
}

/// A named value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackedAttribute {
    /// The number of its name among [`PackedSpans::keys`].
    pub key: u32,
    /// The value.
    pub value: PackedValue,
}

/// As [`SpanEvent`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackedEvent {
    /// When.
    pub time: Timestamp,
    /// What.
    pub name: Cut,
    /// Details.
    pub attributes: Cut,
    /// Details that the source dropped.
    pub dropped_attributes: u32,
}

/// As [`SpanLink`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackedLink {
    /// The other trace.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// W3C trace state of the other span.
    pub trace_state: Cut,
    /// Details.
    pub attributes: Cut,
    /// Details that the source dropped.
    pub dropped_attributes: u32,
    /// W3C trace flags.
    pub flags: u32,
}

/// As [`Span`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PackedSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// Its parent; zero for a root.
    pub parent_id: SpanId,
    /// W3C trace state.
    pub trace_state: Cut,
    /// W3C trace flags.
    pub flags: u32,
    /// What it does.
    pub name: Cut,
    /// What it does for its trace.
    pub kind: SpanKind,
    /// Begin.
    pub start: Timestamp,
    /// End.
    pub end: Timestamp,
    /// Details.
    pub attributes: Cut,
    /// Details that the source dropped.
    pub dropped_attributes: u32,
    /// What happened meanwhile.
    pub events: Cut,
    /// Events that the source dropped.
    pub dropped_events: u32,
    /// References.
    pub links: Cut,
    /// References that the source dropped.
    pub dropped_links: u32,
    /// How it ended.
    pub status: StatusCode,
    /// Why it ended so.
    pub status_message: Cut,
    /// All of its texts, those of events and links too, but not the nested ones.
    pub texts: Cut,
}

/// Spans of one scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PackedScope {
    /// The instrumentation.
    pub scope: Arc<Scope>,
    /// Its spans.
    pub spans: Vec<PackedSpan>,
}

/// Spans of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PackedResource {
    /// The producer.
    pub resource: Arc<Resource>,
    /// Its spans by scope.
    pub scopes: Vec<PackedScope>,
}

/// What one request brought.
#[derive(Clone, Debug, Default)]
pub struct PackedSpans {
    /// Spans by resource.
    pub resources: Vec<PackedResource>,
    text: String,
    keys: Vec<String>,
    numbers: HashMap<String, u32>,
    /// The key that followed each key last: attributes mostly come in the same order.
    followers: Vec<u32>,
    nested: Vec<AttributeValue>,
    attributes: Vec<PackedAttribute>,
    events: Vec<PackedEvent>,
    links: Vec<PackedLink>,
}

/// How much there was of everything.
#[derive(Clone, Copy, Debug)]
pub struct Mark([usize; 5]);

impl PackedSpans {
    /// Keeps a text.
    pub fn add_text(&mut self, text: &str) -> Cut {
        let start = self.text.len();
        self.text.push_str(text);
        Cut::new(start, self.text.len())
    }

    /// Keeps a value that is neither text nor number nor truth.
    pub fn add_nested(&mut self, value: AttributeValue) -> PackedValue {
        self.nested.push(value);
        PackedValue::Nested(Cut::new(0, self.nested.len() - 1).end)
    }

    /// The number of a key that comes after another one.
    pub fn key(&mut self, after: Option<u32>, key: &str) -> u32 {
        let guess = after.map_or(UNKNOWN, |a| self.followers[a as usize]);
        if guess != UNKNOWN && self.keys[guess as usize] == key {
            return guess;
        }
        let number = match self.numbers.get(key) {
            Some(number) => *number,
            None => {
                let number = Cut::new(0, self.keys.len()).end;
                self.keys.push(key.to_owned());
                self.followers.push(UNKNOWN);
                self.numbers.insert(key.to_owned(), number);
                number
            }
        };
        if let Some(after) = after {
            self.followers[after as usize] = number;
        }
        number
    }

    /// Keeps a list of attributes.
    pub fn add_attributes(&mut self, list: &[PackedAttribute]) -> Cut {
        let start = self.attributes.len();
        self.attributes.extend_from_slice(list);
        Cut::new(start, self.attributes.len())
    }

    /// Keeps the events of a span.
    pub fn add_events(&mut self, list: &[PackedEvent]) -> Cut {
        let start = self.events.len();
        self.events.extend_from_slice(list);
        Cut::new(start, self.events.len())
    }

    /// Keeps the links of a span.
    pub fn add_links(&mut self, list: &[PackedLink]) -> Cut {
        let start = self.links.len();
        self.links.extend_from_slice(list);
        Cut::new(start, self.links.len())
    }

    /// How much there is, for [`PackedSpans::rewind`].
    pub fn mark(&self) -> Mark {
        Mark([
            self.text.len(),
            self.nested.len(),
            self.attributes.len(),
            self.events.len(),
            self.links.len(),
        ])
    }

    /// Forgets what was kept since, but for keys.
    pub fn rewind(&mut self, Mark([text, nested, attributes, events, links]): Mark) {
        self.text.truncate(text);
        self.nested.truncate(nested);
        self.attributes.truncate(attributes);
        self.events.truncate(events);
        self.links.truncate(links);
    }

    /// The texts that were kept since.
    pub fn texts_since(&self, Mark([text, ..]): Mark) -> Cut {
        Cut::new(text, self.text.len())
    }

    /// A text.
    pub fn text(&self, cut: Cut) -> &str {
        &self.text[cut.range()]
    }

    /// The keys of attributes, by number.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// A nested value.
    pub fn nested(&self, number: u32) -> &AttributeValue {
        &self.nested[number as usize]
    }

    /// Whether any value is nested.
    pub fn has_nested(&self) -> bool {
        !self.nested.is_empty()
    }

    /// Attributes of a span, event or link.
    pub fn attributes(&self, cut: Cut) -> &[PackedAttribute] {
        &self.attributes[cut.range()]
    }

    /// Events of a span.
    pub fn events(&self, cut: Cut) -> &[PackedEvent] {
        &self.events[cut.range()]
    }

    /// Links of a span.
    pub fn links(&self, cut: Cut) -> &[PackedLink] {
        &self.links[cut.range()]
    }

    /// Number of spans.
    pub fn span_count(&self) -> usize {
        let scopes = self.resources.iter().flat_map(|r| &r.scopes);
        scopes.map(|s| s.spans.len()).sum()
    }

    fn list(&self, cut: Cut) -> Vec<Attribute> {
        let one = |attribute: &PackedAttribute| Attribute {
            key: self.keys[attribute.key as usize].clone(),
            value: match attribute.value {
                PackedValue::Empty => AttributeValue::Empty,
                PackedValue::Text(cut) => AttributeValue::String(self.text(cut).to_owned()),
                PackedValue::Bool(truth) => AttributeValue::Bool(truth),
                PackedValue::Int(number) => AttributeValue::Int(number),
                PackedValue::Double(number) => AttributeValue::Double(number),
                PackedValue::Nested(number) => self.nested(number).clone(),
            },
        };
        self.attributes(cut).iter().map(one).collect()
    }

    /// One span put together.
    pub fn span(&self, from: &PackedSpan) -> Span {
        let event = |event: &PackedEvent| SpanEvent {
            time: event.time,
            name: self.text(event.name).to_owned(),
            attributes: self.list(event.attributes),
            dropped_attributes: event.dropped_attributes,
        };
        let link = |link: &PackedLink| SpanLink {
            trace_id: link.trace_id,
            span_id: link.span_id,
            trace_state: self.text(link.trace_state).to_owned(),
            attributes: self.list(link.attributes),
            dropped_attributes: link.dropped_attributes,
            flags: link.flags,
        };
        Span {
            trace_id: from.trace_id,
            span_id: from.span_id,
            parent_id: from.parent_id,
            trace_state: self.text(from.trace_state).to_owned(),
            flags: from.flags,
            name: self.text(from.name).to_owned(),
            kind: from.kind,
            start: from.start,
            end: from.end,
            attributes: self.list(from.attributes),
            dropped_attributes: from.dropped_attributes,
            events: self.events(from.events).iter().map(event).collect(),
            dropped_events: from.dropped_events,
            links: self.links(from.links).iter().map(link).collect(),
            dropped_links: from.dropped_links,
            status: from.status,
            status_message: self.text(from.status_message).to_owned(),
        }
    }

    /// The same request with every span put together.
    pub fn to_batch(&self) -> SpanBatch {
        let scope = |from: &PackedScope| ScopeSpans {
            scope: (*from.scope).clone(),
            spans: from.spans.iter().map(|s| self.span(s)).collect(),
        };
        let resource = |from: &PackedResource| ResourceSpans {
            resource: (*from.resource).clone(),
            scopes: from.scopes.iter().map(scope).collect(),
        };
        SpanBatch {
            resources: self.resources.iter().map(resource).collect(),
        }
    }
}

/// Spans on their way to the store, as their protocol gives them.
#[derive(Clone, Debug)]
pub enum Arriving {
    /// Each put together.
    Whole(SpanBatch),
    /// In a few pieces of memory.
    Packed(PackedSpans),
}

impl From<SpanBatch> for Arriving {
    fn from(batch: SpanBatch) -> Self {
        Self::Whole(batch)
    }
}

impl From<PackedSpans> for Arriving {
    fn from(packed: PackedSpans) -> Self {
        Self::Packed(packed)
    }
}

impl Arriving {
    /// Number of spans.
    pub fn span_count(&self) -> usize {
        match self {
            Self::Whole(batch) => batch.span_count(),
            Self::Packed(packed) => packed.span_count(),
        }
    }

    /// Whether there is not even a resource.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Whole(batch) => batch.resources.is_empty(),
            Self::Packed(packed) => packed.resources.is_empty(),
        }
    }

    /// Takes out the spans that begin at times that are not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(Timestamp) -> bool) {
        match self {
            Self::Whole(batch) => {
                for scope in batch.resources.iter_mut().flat_map(|r| &mut r.scopes) {
                    scope.spans.retain(|s| keep(s.start));
                }
            }
            Self::Packed(packed) => {
                for scope in packed.resources.iter_mut().flat_map(|r| &mut r.scopes) {
                    scope.spans.retain(|s| keep(s.start));
                }
            }
        }
    }

    /// Every span put together.
    pub fn into_batch(self) -> SpanBatch {
        match self {
            Self::Whole(batch) => batch,
            Self::Packed(packed) => packed.to_batch(),
        }
    }
}
