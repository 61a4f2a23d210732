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

    /// The length of the longest text or key of an attribute, nested values left out.
    pub fn longest_text(&self) -> usize {
        let texts = self
            .attributes
            .iter()
            .map(|attribute| match attribute.value {
                PackedValue::Text(cut) => cut.len(),
                _ => 0,
            });
        let keys = self.keys.iter().map(String::len);
        texts.chain(keys).max().unwrap_or(0)
    }

    /// All nested values.
    pub fn all_nested(&self) -> &[AttributeValue] {
        &self.nested
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

    /// Makes a batch the same request, with the memory that the batch has: nothing is taken where a
    /// request is like the one before.
    pub fn copy_to(&self, batch: &mut SpanBatch) {
        fill(
            &mut batch.resources,
            &self.resources,
            |into: &mut ResourceSpans, from| {
                into.resource.clone_from(&from.resource);
                fill(
                    &mut into.scopes,
                    &from.scopes,
                    |into: &mut ScopeSpans, from| {
                        into.scope.clone_from(&from.scope);
                        fill(&mut into.spans, &from.spans, |into, from| {
                            self.copy_span(from, into);
                        });
                    },
                );
            },
        );
    }

    fn copy_text(&self, cut: Cut, into: &mut String) {
        into.clear();
        into.push_str(self.text(cut));
    }

    fn copy_attributes(&self, cut: Cut, into: &mut Vec<Attribute>) {
        fill(into, self.attributes(cut), |into: &mut Attribute, from| {
            self.keys[from.key as usize].clone_into(&mut into.key);
            match (from.value, &mut into.value) {
                (PackedValue::Text(cut), AttributeValue::String(text)) => self.copy_text(cut, text),
                (PackedValue::Text(cut), value) => {
                    *value = AttributeValue::String(self.text(cut).to_owned());
                }
                (PackedValue::Empty, value) => *value = AttributeValue::Empty,
                (PackedValue::Bool(truth), value) => *value = AttributeValue::Bool(truth),
                (PackedValue::Int(number), value) => *value = AttributeValue::Int(number),
                (PackedValue::Double(number), value) => *value = AttributeValue::Double(number),
                (PackedValue::Nested(number), value) => self.nested(number).clone_into(value),
            }
        });
    }

    fn copy_span(&self, from: &PackedSpan, into: &mut Span) {
        into.trace_id = from.trace_id;
        into.span_id = from.span_id;
        into.parent_id = from.parent_id;
        self.copy_text(from.trace_state, &mut into.trace_state);
        into.flags = from.flags;
        self.copy_text(from.name, &mut into.name);
        into.kind = from.kind;
        into.start = from.start;
        into.end = from.end;
        self.copy_attributes(from.attributes, &mut into.attributes);
        into.dropped_attributes = from.dropped_attributes;
        fill(
            &mut into.events,
            self.events(from.events),
            |into: &mut SpanEvent, from| {
                into.time = from.time;
                self.copy_text(from.name, &mut into.name);
                self.copy_attributes(from.attributes, &mut into.attributes);
                into.dropped_attributes = from.dropped_attributes;
            },
        );
        into.dropped_events = from.dropped_events;
        fill(
            &mut into.links,
            self.links(from.links),
            |into: &mut SpanLink, from| {
                into.trace_id = from.trace_id;
                into.span_id = from.span_id;
                self.copy_text(from.trace_state, &mut into.trace_state);
                self.copy_attributes(from.attributes, &mut into.attributes);
                into.dropped_attributes = from.dropped_attributes;
                into.flags = from.flags;
            },
        );
        into.dropped_links = from.dropped_links;
        into.status = from.status;
        self.copy_text(from.status_message, &mut into.status_message);
    }

    /// One span put together.
    pub fn span(&self, from: &PackedSpan) -> Span {
        let mut span = Span::default();
        self.copy_span(from, &mut span);
        span
    }

    /// The same request with every span put together.
    pub fn to_batch(&self) -> SpanBatch {
        let mut batch = SpanBatch::default();
        self.copy_to(&mut batch);
        batch
    }
}

/// Makes a list as long as another one, and each of its things from that of the other.
fn fill<A: Default, B>(into: &mut Vec<A>, from: &[B], mut each: impl FnMut(&mut A, &B)) {
    into.truncate(from.len());
    into.reserve_exact(from.len() - into.len());
    for (index, from) in from.iter().enumerate() {
        if index == into.len() {
            into.push(A::default());
        }
        each(&mut into[index], from);
    }
}

/// Spans on their way to the store, as their protocol gives them.
#[derive(Clone, Debug)]
pub enum Arriving {
    /// Each put together.
    Whole(SpanBatch),
    /// In a few pieces of memory.
    Packed(Box<PackedSpans>),
}

impl From<SpanBatch> for Arriving {
    fn from(batch: SpanBatch) -> Self {
        Self::Whole(batch)
    }
}

impl From<PackedSpans> for Arriving {
    fn from(packed: PackedSpans) -> Self {
        Self::Packed(Box::new(packed))
    }
}

impl From<Arriving> for SpanBatch {
    fn from(batch: Arriving) -> Self {
        batch.into_batch()
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
