//! Spans as columns: what a query reads that does not need whole spans.
//!
//! A column is decoded when it is asked for, and texts come as their distinct values with a number
//! for each row, so that a condition is decided once for each value. How columns are found:
//! [`crate::blockwise`]. Invariant: what is held is one block's columns.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;
use obs_model::spans::{Attribute, AttributeValue, Resource, Scope as Library, attribute};
use obs_model::{SpanId, TimeRange, Timestamp, TraceId};
use obs_storage::Corrupt;
use obs_storage::codec::strings::Texts;
use obs_storage::codec::varint;
use xxhash_rust::xxh3::xxh3_64;

use crate::attributes::Attributes;
use crate::block::{self, Block, Group, Owner, piece};
use crate::error::SelectError;
use crate::filter::Scope;
use crate::opened::{Open, code};
use crate::words;

/// Values of a column: a number for each row, and the value of each number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Coded {
    /// The number of each row's value; below the number of values.
    pub codes: Vec<u32>,
    /// The values; those that are not there are empty. Equal values may have several numbers.
    pub values: Vec<AttributeValue>,
}

/// Values of the events or links of spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// Where those of each row end.
    pub ends: Vec<u32>,
    /// The value of each event or link.
    pub entries: Coded,
}

/// Columns of whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Begin, in nanoseconds since 1970.
    Start,
    /// End, which may lie before the begin.
    End,
    /// Nanoseconds from begin to end; not below 0.
    Duration,
    /// OTLP's number of the kind.
    Kind,
    /// OTLP's number of the status.
    Status,
}

/// Columns of texts that every span has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// The span's name.
    Name,
    /// Why it ended as it did.
    StatusMessage,
    /// The instrumentation's name.
    Instrumentation,
    /// The instrumentation's version.
    Version,
}

/// Columns of events and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists<'a> {
    /// Names of events.
    EventName,
    /// Nanoseconds from the begin of the span to the event.
    EventTime,
    /// An attribute of events.
    EventAttribute(&'a str),
    /// The traces of links, in hexadecimal digits.
    LinkTrace,
    /// The spans of links.
    LinkSpan,
    /// An attribute of links.
    LinkAttribute(&'a str),
}

/// The parents of spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parents {
    /// The row of the first span of the trace that has the parent's id, if it is in this block. It
    /// may be the row itself.
    pub rows: Vec<Option<u32>>,
    /// The ids; zero for roots.
    pub ids: Vec<SpanId>,
}

/// Some spans as columns.
#[derive(Debug)]
pub struct Columns<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) len: usize,
    pub(crate) hull: TimeRange,
    /// Rows that are given elsewhere.
    pub(crate) apart: Option<Vec<bool>>,
}

#[derive(Debug)]
pub(crate) enum Source<'a> {
    Block(Box<Open<'a>>),
    Held(Arc<Block>),
}

/// The values of an attribute of all owners: of several with one key, the first.
fn held_attribute(attributes: &Attributes, key: &str) -> Coded {
    let mut values = vec![AttributeValue::Empty];
    let mut columns: HashMap<usize, Vec<u32>> = HashMap::new();
    let firsts = attributes.firsts(key);
    let mut codes = Vec::with_capacity(firsts.len());
    for first in firsts {
        codes.push(first.map_or(0, |(column, index)| {
            let known = columns.entry(column).or_insert_with(|| {
                let (tag, cells) = attributes.column(column);
                code(tag, cells, &mut values)
            });
            known[index]
        }));
    }
    Coded { codes, values }
}

fn coded_words(words: &words::Words) -> Coded {
    let value = |word: &[u8]| text(words::text(word));
    Coded {
        codes: words.codes().to_vec(),
        values: words.all().map(value).collect(),
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::String(text.to_owned())
}

fn coded_texts(texts: &Texts) -> Coded {
    Coded {
        codes: (0..texts.len())
            .map(|r| texts.stored_index(r) as u32)
            .collect(),
        values: (0..texts.stored_len())
            .map(|i| text(texts.stored(i)))
            .collect(),
    }
}

/// A value of each group, and each row's group.
fn of_groups<T>((groups, numbers): &Group<T>, value: impl Fn(&T) -> AttributeValue) -> Coded {
    // Checked to be below the number of groups when they were read.
    of_held_groups(groups, &block::narrow(numbers), value)
}

fn of_held_groups<T>(
    groups: &[Arc<T>],
    numbers: &[u32],
    value: impl Fn(&T) -> AttributeValue,
) -> Coded {
    Coded {
        codes: numbers.to_vec(),
        values: groups.iter().map(|group| value(group)).collect(),
    }
}

/// Each its own number.
fn numbered(values: Vec<AttributeValue>) -> Coded {
    // A block has far fewer entries than 2^32.
    let codes = (0..values.len() as u32).collect();
    Coded { codes, values }
}

fn find(all: &[Attribute], key: &str) -> AttributeValue {
    attribute(all, key)
        .cloned()
        .unwrap_or(AttributeValue::Empty)
}

/// Times of events since the begin of their span, as they come out of subtracting.
fn since_start(ends: &[u32], starts: &[i64], times: &[i64]) -> Vec<AttributeValue> {
    let mut values = Vec::with_capacity(times.len());
    for (end, start) in ends.iter().zip(starts) {
        for time in &times[values.len()..*end as usize] {
            let at = Timestamp::from_nanos(start.wrapping_add(*time));
            values.push(AttributeValue::Int(at - Timestamp::from_nanos(*start)));
        }
    }
    values
}

/// The rows of parents of a block in memory.
fn held_parents(block: &Block) -> Vec<Option<u32>> {
    let key = |row: usize, id: &SpanId| {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&block.of_trace[row].to_le_bytes());
        bytes[4..].copy_from_slice(&id.0);
        xxh3_64(&bytes)
    };
    let mut rows: HashTable<(u64, u32)> = HashTable::with_capacity(block.len());
    let same = |row: usize, id: &SpanId, other: u32| {
        let other = other as usize;
        block.of_trace[other] == block.of_trace[row] && block.span_ids[other] == *id
    };
    for (row, id) in block.span_ids.iter().enumerate() {
        let hash = key(row, id);
        rows.entry(hash, |(_, other)| same(row, id, *other), |(hash, _)| *hash)
            .or_insert((hash, row as u32));
    }
    let parents = block.parents.iter().enumerate();
    parents
        .map(|(row, id)| {
            if id.is_zero() {
                return None;
            }
            let found = rows.find(key(row, id), |(_, other)| same(row, id, *other));
            found.map(|(_, row)| *row)
        })
        .collect()
}

impl Columns<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A range that holds all spans from begin to end.
    pub fn hull(&self) -> TimeRange {
        self.hull
    }

    /// For each row whether it is not to be counted, because it is given elsewhere; `None` where
    /// all count.
    pub fn apart(&self) -> Option<&[bool]> {
        self.apart.as_deref()
    }

    /// A column of whole numbers.
    pub fn numbers(&self, column: Numbers) -> Result<Vec<i64>, SelectError> {
        let open = match &self.source {
            Source::Block(open) => open,
            Source::Held(block) => {
                let wide = |all: &[u8]| all.iter().map(|n| i64::from(*n)).collect();
                return Ok(match column {
                    Numbers::Start => block.starts.clone(),
                    Numbers::End => ends(&block.starts, &block.durations),
                    Numbers::Duration => (0..self.len).map(|row| block.duration(row)).collect(),
                    Numbers::Kind => wide(&block.kinds),
                    Numbers::Status => wide(&block.statuses),
                });
            }
        };
        Ok(match column {
            Numbers::Start => open.scattered(piece::STARTS)?,
            Numbers::End => ends(
                &open.scattered(piece::STARTS)?,
                &open.scattered(piece::DURATIONS)?,
            ),
            Numbers::Duration => {
                let mut values = open.scattered(piece::DURATIONS)?;
                values.iter_mut().for_each(|v| *v = (*v).max(0));
                values
            }
            Numbers::Kind => open.below(piece::KINDS, 6)?,
            Numbers::Status => open.below(piece::STATUSES, 3)?,
        })
    }

    /// A column of texts.
    pub fn words(&self, column: Words) -> Result<Coded, SelectError> {
        let open = match &self.source {
            Source::Block(open) => open,
            Source::Held(block) => {
                let scopes = |value: fn(&Library) -> AttributeValue| {
                    of_held_groups(&block.scopes, &block.of_scope, value)
                };
                return Ok(match column {
                    Words::Name => coded_words(&block.names),
                    Words::StatusMessage => coded_words(&block.messages),
                    Words::Instrumentation => scopes(|s| text(&s.name)),
                    Words::Version => scopes(|s| text(&s.version)),
                });
            }
        };
        Ok(match column {
            Words::Name => coded_texts(&open.texts(piece::NAMES)?),
            Words::StatusMessage => coded_texts(&open.texts(piece::MESSAGES)?),
            Words::Instrumentation => of_groups(open.scopes()?, |s| text(&s.name)),
            Words::Version => of_groups(open.scopes()?, |s| text(&s.version)),
        })
    }

    /// The values of an attribute of spans, resources or instrumentations; `None` for events and
    /// links, of which a span has many: see [`Columns::lists`].
    pub fn attribute(&self, scope: Scope, key: &str) -> Result<Option<Coded>, SelectError> {
        Ok(match (&self.source, scope) {
            (_, Scope::Event | Scope::Link) => None,
            (Source::Block(open), Scope::Span) => Some(open.attribute(Owner::Span, key)?),
            (Source::Block(open), Scope::Resource) => Some(open.resource_attribute(key)?),
            (Source::Block(open), Scope::Instrumentation) => {
                Some(of_groups(open.scopes()?, |s| find(&s.attributes, key)))
            }
            (Source::Held(block), Scope::Span) => Some(held_attribute(&block.attributes, key)),
            (Source::Held(block), Scope::Resource) => {
                let find = |r: &Resource| find(&r.attributes, key);
                Some(of_held_groups(&block.resources, &block.of_resource, find))
            }
            (Source::Held(block), Scope::Instrumentation) => {
                let find = |s: &Library| find(&s.attributes, key);
                Some(of_held_groups(&block.scopes, &block.of_scope, find))
            }
        })
    }

    /// Whether any span has events.
    pub fn has_events(&self) -> Result<bool, SelectError> {
        Ok(match &self.source {
            Source::Block(open) => open.ends(Owner::Event)?.last().is_some_and(|end| *end > 0),
            Source::Held(block) => !block.events.times.is_empty(),
        })
    }

    /// Values of the events or links of spans.
    pub fn lists(&self, what: Lists<'_>) -> Result<Listed, SelectError> {
        let owner = match what {
            Lists::EventName | Lists::EventTime | Lists::EventAttribute(_) => Owner::Event,
            Lists::LinkTrace | Lists::LinkSpan | Lists::LinkAttribute(_) => Owner::Link,
        };
        let hex =
            |all: Vec<String>| numbered(all.into_iter().map(AttributeValue::String).collect());
        let open = match &self.source {
            Source::Block(open) => open,
            Source::Held(block) => {
                let (events, links) = (&block.events, &block.links);
                let entries = match what {
                    Lists::EventName => coded_words(&events.names),
                    Lists::EventTime => {
                        numbered(since_start(&events.ends, &block.starts, &events.times))
                    }
                    Lists::EventAttribute(key) => held_attribute(&events.attributes, key),
                    Lists::LinkTrace => hex(links.traces.iter().map(ToString::to_string).collect()),
                    Lists::LinkSpan => hex(links.spans.iter().map(ToString::to_string).collect()),
                    Lists::LinkAttribute(key) => held_attribute(&links.attributes, key),
                };
                let ends = match owner {
                    Owner::Link => links.ends.clone(),
                    _ => events.ends.clone(),
                };
                return Ok(Listed { ends, entries });
            }
        };
        let ends = open.ends(owner)?;
        let entries = match what {
            Lists::EventName => coded_texts(&open.event_names()?),
            Lists::EventTime => {
                let starts = open.scattered(piece::STARTS)?;
                numbered(since_start(ends, &starts, &open.event_times()?))
            }
            Lists::LinkTrace => hex(open
                .link_traces()?
                .iter()
                .map(ToString::to_string)
                .collect()),
            Lists::LinkSpan => hex(open.link_spans()?.iter().map(ToString::to_string).collect()),
            Lists::EventAttribute(key) | Lists::LinkAttribute(key) => open.attribute(owner, key)?,
        };
        let ends = ends.to_vec();
        Ok(Listed { ends, entries })
    }

    /// The keys of the attributes of spans, resources or instrumentations, sorted, each once.
    pub fn keys(&self, scope: Scope) -> Result<Vec<String>, SelectError> {
        let of = |all: &[Attribute]| all.iter().map(|a| a.key.clone()).collect::<Vec<_>>();
        let mut keys: Vec<String> = match (&self.source, scope) {
            (_, Scope::Event | Scope::Link) => Vec::new(),
            (Source::Block(open), Scope::Span) => open.keys(Owner::Span)?,
            (Source::Block(open), Scope::Resource) => {
                let (all, _) = open.resources()?;
                all.iter().flat_map(|r| of(&r.attributes)).collect()
            }
            (Source::Block(open), Scope::Instrumentation) => {
                let (all, _) = open.scopes()?;
                all.iter().flat_map(|s| of(&s.attributes)).collect()
            }
            (Source::Held(block), Scope::Span) => {
                let columns = block.attributes.columns();
                columns.map(|(key, ..)| key.to_owned()).collect()
            }
            (Source::Held(block), Scope::Resource) => {
                let all = block.resources.iter();
                all.flat_map(|r| of(&r.attributes)).collect()
            }
            (Source::Held(block), Scope::Instrumentation) => {
                let all = block.scopes.iter();
                all.flat_map(|s| of(&s.attributes)).collect()
            }
        };
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// For each row whether it has no parent.
    pub fn roots(&self) -> Result<Vec<bool>, SelectError> {
        match &self.source {
            Source::Block(open) => {
                let codes = open.parent_codes()?.into_iter();
                Ok(codes.map(|c| c == block::PARENT_NONE).collect())
            }
            Source::Held(block) => Ok(block.parents.iter().map(|p| p.is_zero()).collect()),
        }
    }

    /// The parents of all rows. Where all spans of a trace are in these columns this is how they
    /// hang together; otherwise a parent may be elsewhere.
    pub fn parents(&self) -> Result<Parents, SelectError> {
        let open = match &self.source {
            Source::Block(open) => open,
            Source::Held(block) => {
                return Ok(Parents {
                    rows: held_parents(block),
                    ids: block.parents.clone(),
                });
            }
        };
        let ids = open.parent_ids()?;
        let codes = open.parent_codes()?.into_iter().enumerate();
        let row = |(row, code): (usize, i64)| {
            let distance = code.checked_sub(block::PARENT_ROW).filter(|d| *d >= 0)?;
            // Reading the ids has checked that it lies in the block.
            u32::try_from(row as i64 - varint::unzigzag(distance.cast_unsigned())).ok()
        };
        Ok(Parents {
            rows: codes.map(row).collect(),
            ids,
        })
    }

    /// Whether one of some rows has a point in common with a range.
    pub(crate) fn touches(
        &self,
        rows: &Range<usize>,
        range: TimeRange,
    ) -> Result<bool, SelectError> {
        if range.contains(self.hull.start) && range.contains(self.hull.end) {
            return Ok(true);
        }
        let (starts, ends) = (self.numbers(Numbers::Start)?, self.numbers(Numbers::End)?);
        let at = Timestamp::from_nanos;
        Ok(rows.clone().any(|row| {
            let own = TimeRange::new(at(starts[row]), at(starts[row].max(ends[row])));
            own.overlaps(range)
        }))
    }

    /// The distinct traces; of a block of a part in order of rows.
    pub(crate) fn traces(&self) -> Result<Vec<TraceId>, Corrupt> {
        Ok(match &self.source {
            Source::Block(open) => open.ids_of_traces()?,
            Source::Held(block) => block.traces.clone(),
        })
    }

    /// The trace and span of a row.
    pub fn ids(&self, row: usize) -> Result<(TraceId, SpanId), SelectError> {
        match &self.source {
            Source::Block(open) => {
                let (traces, of_rows, spans) = open.ids()?;
                Ok((traces[of_rows[row] as usize], spans[row]))
            }
            Source::Held(block) => Ok((block.trace_id(row), block.span_ids[row])),
        }
    }
}

/// The ends of spans.
fn ends(starts: &[i64], durations: &[i64]) -> Vec<i64> {
    let both = starts.iter().zip(durations);
    both.map(|(start, d)| start.wrapping_add(*d)).collect()
}
