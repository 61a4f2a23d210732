//! What a search wants of a trace, as hints that prune: tests on one row, and on the filter of
//! terms that every block has.
//!
//! Invariant: a hint may keep what the query will refuse; it never drops what the query may want.

use obs_model::TimeRange;
use obs_model::spans::{Attribute, AttributeValue, SpanKind, StatusCode, attribute};
use xxhash_rust::xxh3::xxh3_64;

use crate::attributes::{self, Attributes, Cells};
use crate::block::Block;
use crate::row::{Row, SERVICE_NAME};
use crate::words::Words;
use crate::{bloom, value};

/// Where an attribute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// On the producer.
    Resource,
    /// On the span.
    Span,
    /// On an event of the span.
    Event,
    /// On a link of the span.
    Link,
    /// On the instrumentation.
    Instrumentation,
}

impl Scope {
    /// All scopes, in Tempo's order.
    pub const ALL: [Self; 5] = [
        Self::Resource,
        Self::Span,
        Self::Event,
        Self::Link,
        Self::Instrumentation,
    ];

    /// As TraceQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Span => "span",
            Self::Event => "event",
            Self::Link => "link",
            Self::Instrumentation => "instrumentation",
        }
    }
}

/// Something that at least one span of a trace has.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The text of resource attribute service.name.
    Service(String),
    /// The name of the span.
    Name(String),
    /// The status of the span.
    Status(StatusCode),
    /// The kind of the span.
    Kind(SpanKind),
    /// The name of an event of the span.
    EventName(String),
    /// It took at least so many nanoseconds.
    DurationAtLeast(i64),
    /// An attribute equals a value; integers and floats compare as numbers, and an array has what
    /// one of its elements has.
    Attribute {
        /// Where; `None` is on the span or its resource.
        scope: Option<Scope>,
        /// Its name.
        key: String,
        /// Its value. A value that is neither text, number, truth nor bytes prunes nothing.
        value: AttributeValue,
    },
}

/// Which traces to read. A trace belongs to the range when one of its spans, from start to end,
/// has a point in common with it.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanFilter {
    /// When.
    pub range: TimeRange,
    /// All must hold; each may hold by another span of the trace.
    pub conditions: Vec<Condition>,
}

/// More conditions than a mask has bits prune nothing.
const CONDITIONS_MAX: usize = 64;

const NAME: u8 = 16;
const STATUS: u8 = 17;
const KIND: u8 = 18;
const EVENT_NAME: u8 = 19;

/// What the hashed bytes of all terms of a scope and key begin with.
fn term_head(scope: u8, key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + key.len());
    bytes.push(scope);
    bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// The hash of a scope, key and simple value; `None` for a value that is not simple.
fn term(scope: u8, key: &str, value: &AttributeValue) -> Option<u64> {
    let mut bytes = term_head(scope, key);
    // Numbers are one type here: beyond 2^53 different integers may share a term, which is safe.
    let number = |number: f64| (number + 0.0).to_bits().to_le_bytes();
    match value {
        AttributeValue::String(text) => {
            bytes.push(b's');
            bytes.extend_from_slice(text.as_bytes());
        }
        AttributeValue::Bool(truth) => bytes.extend_from_slice(&[b't', u8::from(*truth)]),
        AttributeValue::Int(value) => {
            bytes.push(b'n');
            bytes.extend_from_slice(&number(*value as f64));
        }
        AttributeValue::Double(value) => {
            bytes.push(b'n');
            bytes.extend_from_slice(&number(*value));
        }
        AttributeValue::Bytes(value) => {
            bytes.push(b'b');
            bytes.extend_from_slice(value);
        }
        AttributeValue::Empty | AttributeValue::Array(_) | AttributeValue::Map(_) => return None,
    }
    Some(xxh3_64(&bytes))
}

fn attribute_terms(scope: Scope, attributes: &[Attribute], visit: &mut dyn FnMut(u64)) {
    for attribute in attributes {
        value_terms(scope, &attribute.key, &attribute.value, visit);
    }
}

fn value_terms(scope: Scope, key: &str, value: &AttributeValue, visit: &mut dyn FnMut(u64)) {
    let values = match value {
        AttributeValue::Array(values) => values,
        one => std::slice::from_ref(one),
    };
    for value in values {
        if let Some(term) = term(scope as u8, key, value) {
            visit(term);
        }
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::String(value.to_owned())
}

/// The terms of all rows of a block, some of them several times.
pub(crate) fn block_terms(block: &Block, visit: &mut dyn FnMut(u64)) {
    for resource in &block.resources {
        attribute_terms(Scope::Resource, &resource.attributes, visit);
    }
    for scope in &block.scopes {
        attribute_terms(Scope::Instrumentation, &scope.attributes, visit);
    }
    column_terms(Scope::Span, &block.attributes, visit);
    column_terms(Scope::Event, &block.events.attributes, visit);
    column_terms(Scope::Link, &block.links.attributes, visit);
    word_terms(NAME, "", &block.names, visit);
    word_terms(EVENT_NAME, "", &block.events.names, visit);
    for (scope, numbers) in [(STATUS, &block.statuses), (KIND, &block.kinds)] {
        let mut seen = [false; 256];
        numbers.iter().for_each(|n| seen[usize::from(*n)] = true);
        for number in (0..256i64).filter(|n| seen[*n as usize]) {
            if let Some(term) = term(scope, "", &AttributeValue::Int(number)) {
                visit(term);
            }
        }
    }
}

/// The terms of the texts of a column.
fn word_terms(scope: u8, key: &str, words: &Words, visit: &mut dyn FnMut(u64)) {
    let mut bytes = term_head(scope, key);
    bytes.push(b's');
    let head = bytes.len();
    for word in words.all() {
        bytes.truncate(head);
        bytes.extend_from_slice(word);
        visit(xxh3_64(&bytes));
    }
}

fn column_terms(scope: Scope, attributes: &Attributes, visit: &mut dyn FnMut(u64)) {
    for (key, tag, cells) in attributes.columns() {
        match cells {
            Cells::Empty(_) => {}
            Cells::Words(words) if tag == value::STRING => {
                word_terms(scope as u8, key, words, visit);
            }
            Cells::Words(words) => {
                for word in words.all() {
                    let value = attributes::word(tag, word);
                    value_terms(scope, key, &value, visit);
                }
            }
            Cells::Ints(_) | Cells::Doubles(_) => {
                for index in cells.firsts() {
                    value_terms(scope, key, &cells.get(tag, index), visit);
                }
            }
        }
    }
}

/// A condition as blocks are asked.
enum Test {
    /// One of these terms.
    Terms(Vec<u64>),
    /// A span that took so long.
    Duration(i64),
    /// Everything passes.
    Nothing,
}

/// The conditions of a search, ready to be asked.
pub(crate) struct Hints<'a> {
    conditions: &'a [Condition],
    tests: Vec<Test>,
}

impl<'a> Hints<'a> {
    pub(crate) fn new(conditions: &'a [Condition]) -> Self {
        let conditions = &conditions[..conditions.len().min(CONDITIONS_MAX)];
        let tests = conditions.iter().map(test).collect();
        Self { conditions, tests }
    }

    /// The mask in which every condition holds.
    pub(crate) fn all(&self) -> u64 {
        (0..self.tests.len()).fold(0, |mask, bit| mask | 1 << bit)
    }

    /// Which conditions a block may fulfil.
    pub(crate) fn of_block(&self, filter: &[u8], duration_max: i64) -> u64 {
        let may = |test: &Test| match test {
            Test::Terms(terms) => terms.iter().any(|t| bloom::may_have(filter, *t)),
            Test::Duration(least) => duration_max >= *least,
            Test::Nothing => true,
        };
        mask(self.tests.iter().map(may))
    }

    /// Which conditions the rows of a block in memory may fulfil.
    pub(crate) fn of_held(&self, block: &Block) -> u64 {
        mask(self.conditions.iter().map(|c| may_hold(c, block)))
    }

    /// Which conditions rows fulfil.
    pub(crate) fn of_rows(&self, rows: &[Row]) -> u64 {
        mask(
            self.conditions
                .iter()
                .map(|c| rows.iter().any(|row| holds(c, row))),
        )
    }
}

fn mask(bits: impl Iterator<Item = bool>) -> u64 {
    bits.enumerate()
        .fold(0, |mask, (bit, set)| mask | u64::from(set) << bit)
}

fn test(condition: &Condition) -> Test {
    let one = |term: Option<u64>| term.map_or(Test::Nothing, |t| Test::Terms(vec![t]));
    match condition {
        Condition::Service(name) => one(term(Scope::Resource as u8, SERVICE_NAME, &text(name))),
        Condition::Name(name) => one(term(NAME, "", &text(name))),
        Condition::EventName(name) => one(term(EVENT_NAME, "", &text(name))),
        Condition::Status(status) => one(term(
            STATUS,
            "",
            &AttributeValue::Int(status.number().into()),
        )),
        Condition::Kind(kind) => one(term(KIND, "", &AttributeValue::Int(kind.number().into()))),
        Condition::DurationAtLeast(nanos) => Test::Duration(*nanos),
        Condition::Attribute { scope, key, value } => {
            let scopes = match scope {
                Some(scope) => vec![*scope],
                None => vec![Scope::Span, Scope::Resource],
            };
            let terms: Option<Vec<u64>> = scopes
                .into_iter()
                .map(|s| term(s as u8, key, value))
                .collect();
            terms.map_or(Test::Nothing, Test::Terms)
        }
    }
}

fn holds(condition: &Condition, row: &Row) -> bool {
    let span = &row.span;
    match condition {
        Condition::Service(name) => {
            let service = attribute(&row.resource.attributes, SERVICE_NAME);
            service.is_some() && has(&row.resource.attributes, SERVICE_NAME, &text(name))
        }
        Condition::Name(name) => span.name == *name,
        Condition::EventName(name) => span.events.iter().any(|e| e.name == *name),
        Condition::Status(status) => span.status == *status,
        Condition::Kind(kind) => span.kind == *kind,
        Condition::DurationAtLeast(nanos) => span.duration_nanos() >= *nanos,
        Condition::Attribute { scope, key, value } => {
            let in_scope = |scope| match scope {
                Scope::Resource => has(&row.resource.attributes, key, value),
                Scope::Span => has(&span.attributes, key, value),
                Scope::Event => span.events.iter().any(|e| has(&e.attributes, key, value)),
                Scope::Link => span.links.iter().any(|l| has(&l.attributes, key, value)),
                Scope::Instrumentation => has(&row.scope.attributes, key, value),
            };
            match scope {
                Some(scope) => in_scope(*scope),
                None => in_scope(Scope::Span) || in_scope(Scope::Resource),
            }
        }
    }
}

/// Whether one of the rows of a block may fulfil a condition.
fn may_hold(condition: &Condition, block: &Block) -> bool {
    let number = |n: i32| u8::try_from(n).unwrap_or(u8::MAX);
    match condition {
        Condition::Service(name) => {
            let wanted = text(name);
            let mut resources = block.resources.iter();
            resources.any(|r| has(&r.attributes, SERVICE_NAME, &wanted))
        }
        Condition::Name(name) => block.names.all().any(|n| n == name.as_bytes()),
        Condition::EventName(name) => block.events.names.all().any(|n| n == name.as_bytes()),
        Condition::Status(status) => block.statuses.contains(&number(status.number())),
        Condition::Kind(kind) => block.kinds.contains(&number(kind.number())),
        Condition::DurationAtLeast(nanos) => {
            (0..block.len()).any(|row| block.duration(row) >= *nanos)
        }
        Condition::Attribute { scope, key, value } => {
            let in_scope = |scope| match scope {
                Scope::Resource => {
                    let mut resources = block.resources.iter();
                    resources.any(|r| has(&r.attributes, key, value))
                }
                Scope::Span => column_has(&block.attributes, key, value),
                Scope::Event => column_has(&block.events.attributes, key, value),
                Scope::Link => column_has(&block.links.attributes, key, value),
                Scope::Instrumentation => {
                    block.scopes.iter().any(|s| has(&s.attributes, key, value))
                }
            };
            match scope {
                Some(scope) => in_scope(*scope),
                None => in_scope(Scope::Span) || in_scope(Scope::Resource),
            }
        }
    }
}

/// Whether a column of this key has a value.
fn column_has(attributes: &Attributes, key: &str, wanted: &AttributeValue) -> bool {
    if !is_simple(wanted) {
        return true;
    }
    let mut columns = attributes.columns().filter(|(k, ..)| *k == key);
    columns.any(|(_, tag, cells)| match (cells, wanted) {
        (Cells::Words(words), AttributeValue::String(text)) if tag == value::STRING => {
            words.all().any(|word| word == text.as_bytes())
        }
        (Cells::Words(_), _) if tag == value::STRING => false,
        (Cells::Words(words), _) => words
            .all()
            .any(|word| is_or_has(&attributes::word(tag, word), wanted)),
        (cells, _) => (0..cells.len()).any(|index| is_or_has(&cells.get(tag, index), wanted)),
    })
}

/// Whether a value prunes at all.
fn is_simple(value: &AttributeValue) -> bool {
    term(0, "", value).is_some()
}

/// Whether a value, or an element of it, is the one that is wanted.
fn is_or_has(found: &AttributeValue, wanted: &AttributeValue) -> bool {
    let equal = |found: &AttributeValue| match (found, wanted) {
        (AttributeValue::Int(a), AttributeValue::Double(b)) => *a as f64 == *b,
        (AttributeValue::Double(a), AttributeValue::Int(b)) => *a == *b as f64,
        (a, b) => a == b,
    };
    match found {
        AttributeValue::Array(values) => values.iter().any(equal),
        value => equal(value),
    }
}

fn has(attributes: &[Attribute], key: &str, wanted: &AttributeValue) -> bool {
    let mut named = attributes.iter().filter(|a| a.key == key);
    !is_simple(wanted) || named.any(|a| is_or_has(&a.value, wanted))
}
