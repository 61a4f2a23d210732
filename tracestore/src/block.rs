//! Rows as columns, compressed together: the unit of memory, of a journal record and of a part.
//!
//! Invariants: what was put in comes back, field by field and in order, also from bytes; after
//! `read` all columns have the lengths that they must have, so taking a row out cannot fail.
//! Bytes: `docs/formats/span-record.md`. How a block is made: `build`; how it is written: `encode`.

use std::borrow::Cow;
use std::sync::Arc;

use obs_model::spans::{Resource, Scope, SpanEvent, SpanKind, SpanLink, StatusCode};
use obs_model::{Span, SpanId, TimeRange, Timestamp, TraceId};
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bytes, dense, varint};

use crate::attributes::{Attributes, read_ints, read_strings, read_texts};
use crate::row::{Identity, Row};
use crate::value::{read_resource, read_scope};
use crate::words::Words;

/// Rows after which a block is closed: large enough for zstd, small enough to read for one trace.
pub(crate) const ROWS_MAX: usize = 8192;
/// Bytes in memory after which a block is closed.
pub(crate) const BYTES_MAX: usize = 8 << 20;
/// Attributes, events and links after which a block is closed.
pub(crate) const ENTRIES_MAX: usize = 1 << 19;
/// Attributes (nested ones too), events and links of one span that is let in, see `admit`.
pub(crate) const SPAN_ENTRIES_MAX: usize = 1 << 19;
/// A block is closed after the span that crosses `ENTRIES_MAX`, so it never holds more than this.
/// (A resource or scope counts towards closing but is not among these.)
pub(crate) const BLOCK_ENTRIES_MAX: usize = ENTRIES_MAX + SPAN_ENTRIES_MAX;
/// Largest content of a block that is read: above what one span within its limits can bring.
const CONTENT_BYTES_MAX: usize = 256 << 20;

/// A parent that is "none".
pub(crate) const PARENT_NONE: i64 = 0;
/// A parent outside the block: its id follows in the list of ids.
pub(crate) const PARENT_APART: i64 = 1;
/// A parent in the block: this plus the zigzag distance of its row.
pub(crate) const PARENT_ROW: i64 = 2;

/// The pieces of a block in parts, by number. Behind them stand the columns of attributes, one
/// piece each, then the pieces of events, then those of links.
pub(crate) mod piece {
    pub(crate) const RESOURCES: usize = 0;
    pub(crate) const SCOPES: usize = 1;
    pub(crate) const TRACES: usize = 2;
    pub(crate) const SPAN_IDS: usize = 3;
    pub(crate) const PARENTS: usize = 4;
    pub(crate) const STARTS: usize = 5;
    pub(crate) const DURATIONS: usize = 6;
    pub(crate) const KINDS: usize = 7;
    pub(crate) const STATUSES: usize = 8;
    // 9: flags and counts of what was dropped.
    pub(crate) const NAMES: usize = 10;
    pub(crate) const MESSAGES: usize = 11;
    // 12: trace states.
    pub(crate) const SHAPES: usize = 13;
    /// The first column of attributes.
    pub(crate) const COLUMNS: usize = 14;
    /// Of events: how many each row has, times, names, what was dropped, shapes.
    pub(crate) const OF_EVENTS: usize = 5;
    pub(crate) const EVENT_TIMES: usize = 1;
    pub(crate) const EVENT_NAMES: usize = 2;
    /// Of links: how many each row has, traces, spans, states, flags, what was dropped, shapes.
    pub(crate) const OF_LINKS: usize = 7;
    pub(crate) const LINK_TRACES: usize = 1;
    pub(crate) const LINK_SPANS: usize = 2;
}

/// Whose attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Span,
    Event,
    Link,
}

/// The pieces of a block in a part, compressed.
#[derive(Clone, Debug)]
pub(crate) struct Pieces<'a> {
    all: Vec<Reader<'a>>,
    /// Columns of attributes of spans, events, links.
    columns: [usize; 3],
}

impl<'a> Pieces<'a> {
    /// Finds the pieces; leaves the reader after them.
    pub(crate) fn read(outer: &mut Reader<'a>) -> Result<Self, Corrupt> {
        // A column of attributes has at least one entry, a piece takes at least two bytes.
        let mut columns = [0; 3];
        for count in &mut columns {
            *count = outer.count(BLOCK_ENTRIES_MAX.min(outer.remaining()))?;
        }
        let fixed = piece::COLUMNS + piece::OF_EVENTS + piece::OF_LINKS;
        let count = fixed + columns.iter().sum::<usize>();
        if count > outer.remaining() {
            return Err(outer.corrupt(format!("{count} pieces")));
        }
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(outer.clone());
            bytes::skip(outer)?;
        }
        Ok(Self { all, columns })
    }

    /// Appends a piece to a content.
    fn append(&self, number: usize, content: &mut Vec<u8>) -> Result<(), Corrupt> {
        let mut reader = self.all[number].clone();
        let piece = bytes::read(&mut reader, CONTENT_BYTES_MAX - content.len())?;
        content.extend_from_slice(&piece);
        Ok(())
    }

    /// The content of a piece.
    pub(crate) fn content(&self, number: usize) -> Result<Cow<'a, [u8]>, Corrupt> {
        bytes::read(&mut self.all[number].clone(), CONTENT_BYTES_MAX)
    }

    /// Number of columns of attributes.
    pub(crate) fn columns(&self, owner: Owner) -> usize {
        self.columns[owner as usize]
    }

    /// The piece that says how many events or links each row has.
    pub(crate) fn counts(&self, owner: Owner) -> usize {
        let events = piece::COLUMNS + self.columns[0];
        match owner {
            Owner::Span | Owner::Event => events,
            Owner::Link => events + piece::OF_EVENTS + self.columns[1],
        }
    }

    /// The piece that says which attributes owners have; their columns follow it.
    pub(crate) fn shapes(&self, owner: Owner) -> usize {
        match owner {
            Owner::Span => piece::SHAPES,
            Owner::Event => self.counts(owner) + piece::OF_EVENTS - 1,
            Owner::Link => self.counts(owner) + piece::OF_LINKS - 1,
        }
    }
}

/// The columns of some spans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) of_resource: Vec<u32>,
    pub(crate) scopes: Vec<Arc<Scope>>,
    pub(crate) of_scope: Vec<u32>,
    /// The distinct traces, and which one each row has.
    pub(crate) traces: Vec<TraceId>,
    pub(crate) of_trace: Vec<u32>,
    pub(crate) span_ids: Vec<SpanId>,
    pub(crate) parents: Vec<SpanId>,
    pub(crate) starts: Vec<i64>,
    /// End − start, wrapping.
    pub(crate) durations: Vec<i64>,
    pub(crate) kinds: Vec<u8>,
    pub(crate) statuses: Vec<u8>,
    /// Flags, dropped attributes, dropped events, dropped links.
    pub(crate) numbers: [Vec<u32>; 4],
    pub(crate) names: Words,
    pub(crate) messages: Words,
    pub(crate) states: Words,
    pub(crate) attributes: Attributes,
    pub(crate) events: Events,
    pub(crate) links: Links,
}

/// The events of all rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    /// Where those of each row end.
    pub(crate) ends: Vec<u32>,
    /// Time − start of the span, wrapping.
    pub(crate) times: Vec<i64>,
    pub(crate) names: Words,
    pub(crate) dropped: Vec<u32>,
    pub(crate) attributes: Attributes,
}

/// The links of all rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// Where those of each row end.
    pub(crate) ends: Vec<u32>,
    pub(crate) traces: Vec<TraceId>,
    pub(crate) spans: Vec<SpanId>,
    pub(crate) states: Words,
    pub(crate) flags: Vec<u32>,
    pub(crate) dropped: Vec<u32>,
    pub(crate) attributes: Attributes,
}

impl Block {
    /// Reads a block of one frame; leaves the reader after it.
    pub(crate) fn read(outer: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let content = bytes::decode(outer, CONTENT_BYTES_MAX)?;
        Self::of_content(outer.place(), &content)
    }

    /// Reads a block of pieces; leaves the reader after it.
    pub(crate) fn read_pieces(outer: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let pieces = Pieces::read(outer)?;
        let mut content = Vec::new();
        for number in 0..pieces.all.len() {
            pieces.append(number, &mut content)?;
        }
        Self::of_content(outer.place(), &content)
    }

    fn of_content(place: &str, content: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(place, content);
        let r = &mut reader;
        let rows = r.count(ROWS_MAX)?;
        let (resources, of_resource) = read_group(r, rows, read_resource)?;
        let (scopes, of_scope) = read_group(r, rows, read_scope)?;
        let (traces, of_trace) = read_traces(r, rows)?;
        let span_ids = read_ids(r, rows)?;
        let parents = read_parents(r, &span_ids)?;
        let block = Self {
            resources,
            of_resource: narrow(&of_resource),
            scopes,
            of_scope: narrow(&of_scope),
            traces,
            of_trace,
            span_ids,
            parents,
            starts: dense::decode(r, rows)?,
            durations: dense::decode(r, rows)?,
            kinds: read_small(r, rows, 6)?,
            statuses: read_small(r, rows, 3)?,
            numbers: [
                read_u32s(r, rows)?,
                read_u32s(r, rows)?,
                read_u32s(r, rows)?,
                read_u32s(r, rows)?,
            ],
            names: read_texts(r, rows)?.into_strings().into(),
            messages: read_texts(r, rows)?.into_strings().into(),
            states: read_texts(r, rows)?.into_strings().into(),
            attributes: Attributes::read(r, rows, BLOCK_ENTRIES_MAX)?,
            events: Events::read(r, rows)?,
            links: Links::read(r, rows)?,
        };
        reader.finish()?;
        Ok(block)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.span_ids.len()
    }

    /// Bytes in memory, without resources and scopes.
    pub(crate) fn bytes(&self) -> usize {
        // Resource, scope, trace, id, parent, start, duration, kind, status, four numbers.
        let fixed = 3 * 4 + 4 * 8 + 2 + 4 * 4;
        let words = [&self.names, &self.messages, &self.states];
        let events = &self.events;
        let links = &self.links;
        self.len() * fixed
            + 16 * self.traces.len()
            + words.into_iter().map(Words::bytes).sum::<usize>()
            + self.attributes.bytes()
            + 4 * events.ends.len()
            + 12 * events.times.len()
            + events.names.bytes()
            + events.attributes.bytes()
            + 4 * links.ends.len()
            + 32 * links.traces.len()
            + links.states.bytes()
            + links.attributes.bytes()
    }

    /// The trace of a row.
    pub(crate) fn trace_id(&self, row: usize) -> TraceId {
        self.traces[self.of_trace[row] as usize]
    }

    /// What makes a row the same span within its trace.
    pub(crate) fn identity(&self, row: usize) -> Identity {
        let kind = SpanKind::from_number(i32::from(self.kinds[row]));
        (self.span_ids[row], kind)
    }

    /// From start to end of a row; the start alone where the end lies before it.
    pub(crate) fn range(&self, row: usize) -> TimeRange {
        let start = self.starts[row];
        let end = start.wrapping_add(self.durations[row]).max(start);
        TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
    }

    /// From the first start to the last end; `None` without rows.
    pub(crate) fn hull(&self) -> Option<TimeRange> {
        (0..self.len())
            .map(|r| self.range(r))
            .reduce(TimeRange::union)
    }

    /// Nanoseconds that a row took; as `Span::duration_nanos`.
    pub(crate) fn duration(&self, row: usize) -> i64 {
        let start = self.starts[row];
        let end = start.wrapping_add(self.durations[row]);
        (Timestamp::from_nanos(end) - Timestamp::from_nanos(start)).max(0)
    }

    /// Where a row stands in order of storage.
    pub(crate) fn order(&self, row: usize) -> (i64, Identity) {
        (self.starts[row], self.identity(row))
    }

    /// The events of a row, as numbers within the block.
    pub(crate) fn event_rows(&self, row: usize) -> std::ops::Range<usize> {
        of_row(&self.events.ends, row)
    }

    /// The links of a row, as numbers within the block.
    pub(crate) fn link_rows(&self, row: usize) -> std::ops::Range<usize> {
        of_row(&self.links.ends, row)
    }

    /// Puts a row together.
    pub(crate) fn row(&self, row: usize) -> Row {
        let start = self.starts[row];
        let [flags, attributes, events, links] = &self.numbers;
        let span = Span {
            trace_id: self.trace_id(row),
            span_id: self.span_ids[row],
            parent_id: self.parents[row],
            trace_state: self.states.text(row).to_owned(),
            flags: flags[row],
            name: self.names.text(row).to_owned(),
            kind: SpanKind::from_number(i32::from(self.kinds[row])),
            start: Timestamp::from_nanos(start),
            end: Timestamp::from_nanos(start.wrapping_add(self.durations[row])),
            attributes: self.attributes.get(row),
            dropped_attributes: attributes[row],
            events: self.events.get(self.event_rows(row), start),
            dropped_events: events[row],
            links: self.links.get(self.link_rows(row)),
            dropped_links: links[row],
            status: StatusCode::from_number(i32::from(self.statuses[row])),
            status_message: self.messages.text(row).to_owned(),
        };
        Row {
            resource: Arc::clone(&self.resources[self.of_resource[row] as usize]),
            scope: Arc::clone(&self.scopes[self.of_scope[row] as usize]),
            span: Arc::new(span),
        }
    }
}

impl Events {
    fn read(reader: &mut Reader<'_>, rows: usize) -> Result<Self, Corrupt> {
        let ends = read_ends(reader, rows)?;
        let count = ends.last().map_or(0, |end| *end as usize);
        Ok(Self {
            ends,
            times: read_ints(reader, count)?,
            names: read_texts(reader, count)?.into_strings().into(),
            dropped: read_u32s(reader, count)?,
            attributes: Attributes::read(reader, count, BLOCK_ENTRIES_MAX)?,
        })
    }

    fn get(&self, rows: std::ops::Range<usize>, start: i64) -> Vec<SpanEvent> {
        let event = |index: usize| SpanEvent {
            time: Timestamp::from_nanos(start.wrapping_add(self.times[index])),
            name: self.names.text(index).to_owned(),
            attributes: self.attributes.get(index),
            dropped_attributes: self.dropped[index],
        };
        rows.map(event).collect()
    }
}

impl Links {
    fn read(reader: &mut Reader<'_>, rows: usize) -> Result<Self, Corrupt> {
        let ends = read_ends(reader, rows)?;
        let count = ends.last().map_or(0, |end| *end as usize);
        let traces = read_trace_ids(reader, count)?;
        Ok(Self {
            ends,
            traces,
            spans: read_ids(reader, count)?,
            states: read_texts(reader, count)?.into_strings().into(),
            flags: read_u32s(reader, count)?,
            dropped: read_u32s(reader, count)?,
            attributes: Attributes::read(reader, count, BLOCK_ENTRIES_MAX)?,
        })
    }

    fn get(&self, rows: std::ops::Range<usize>) -> Vec<SpanLink> {
        let link = |index: usize| SpanLink {
            trace_id: self.traces[index],
            span_id: self.spans[index],
            trace_state: self.states.text(index).to_owned(),
            attributes: self.attributes.get(index),
            dropped_attributes: self.dropped[index],
            flags: self.flags[index],
        };
        rows.map(link).collect()
    }
}

/// Numbers that were checked to be small.
pub(crate) fn narrow(numbers: &[i64]) -> Vec<u32> {
    numbers.iter().map(|n| *n as u32).collect()
}

fn of_row(ends: &[u32], row: usize) -> std::ops::Range<usize> {
    let start = row.checked_sub(1).map_or(0, |r| ends[r]);
    start as usize..ends[row] as usize
}

/// The bytes of a chunk whose length is `N`.
fn array<const N: usize>(chunk: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(chunk);
    array
}

pub(crate) fn read_ids(reader: &mut Reader<'_>, count: usize) -> Result<Vec<SpanId>, Corrupt> {
    let ids = reader.slice(8 * count)?.chunks_exact(8);
    Ok(ids.map(|c| SpanId(array(c))).collect())
}

/// Reads the distinct traces, and which one each row has.
pub(crate) fn read_traces(
    reader: &mut Reader<'_>,
    rows: usize,
) -> Result<(Vec<TraceId>, Vec<u32>), Corrupt> {
    let count = reader.count(rows)?;
    let ids = read_trace_ids(reader, count)?;
    Ok((ids, narrow(&read_below(reader, rows, count)?)))
}

/// Reads so many ids of traces.
pub(crate) fn read_trace_ids(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<TraceId>, Corrupt> {
    let ids = reader.slice(16 * count)?.chunks_exact(16);
    Ok(ids.map(|c| TraceId(array(c))).collect())
}

pub(crate) fn read_parents(
    reader: &mut Reader<'_>,
    ids: &[SpanId],
) -> Result<Vec<SpanId>, Corrupt> {
    let place = reader.clone();
    let codes = read_ints(reader, ids.len())?;
    let mut parents = Vec::with_capacity(codes.len());
    for (row, code) in codes.into_iter().enumerate() {
        parents.push(match code {
            PARENT_NONE => SpanId::default(),
            PARENT_APART => SpanId(reader.array()?),
            code => {
                let distance = varint::unzigzag(code.wrapping_sub(PARENT_ROW) as u64);
                let parent = (row as i64).checked_sub(distance);
                let parent = parent.and_then(|p| ids.get(usize::try_from(p).ok()?));
                *parent.ok_or_else(|| place.corrupt("parents inside the block"))?
            }
        });
    }
    Ok(parents)
}

pub(crate) fn read_below(
    reader: &mut Reader<'_>,
    count: usize,
    bound: usize,
) -> Result<Vec<i64>, Corrupt> {
    let place = reader.clone();
    let values = read_ints(reader, count)?;
    // Below 0 is beyond all bounds then. No way out of the loop, so that many are compared at once.
    let beyond = |any: bool, value: &i64| any | (value.cast_unsigned() >= bound as u64);
    if values.iter().fold(false, beyond) {
        return Err(place.corrupt(format!("numbers below {bound}")));
    }
    Ok(values)
}

fn read_small(reader: &mut Reader<'_>, count: usize, bound: usize) -> Result<Vec<u8>, Corrupt> {
    let values = read_below(reader, count, bound)?;
    Ok(values.into_iter().map(|v| v as u8).collect())
}

fn read_u32s(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, Corrupt> {
    let place = reader.clone();
    let values = read_ints(reader, count)?.into_iter().map(u32::try_from);
    values
        .collect::<Result<_, _>>()
        .map_err(|_| place.corrupt("numbers of 32 bits"))
}

/// Reads how many each row has; gives where those of each row end.
pub(crate) fn read_ends(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<u32>, Corrupt> {
    let place = reader.clone();
    let mut end = 0usize;
    let mut ends = Vec::with_capacity(rows);
    for count in read_ints(reader, rows)? {
        end = usize::try_from(count).map_or(usize::MAX, |c| end.saturating_add(c));
        if end > BLOCK_ENTRIES_MAX {
            return Err(place.corrupt(format!("at most {BLOCK_ENTRIES_MAX} entries")));
        }
        ends.push(end as u32);
    }
    Ok(ends)
}

pub(crate) type Group<T> = (Vec<Arc<T>>, Vec<i64>);

pub(crate) fn read_group<T>(
    reader: &mut Reader<'_>,
    rows: usize,
    read: fn(&str, &[u8]) -> Result<T, Corrupt>,
) -> Result<Group<T>, Corrupt> {
    let count = reader.count(rows)?;
    let stored = read_strings(reader, count)?;
    let mut things = Vec::with_capacity(count);
    for bytes in stored.iter() {
        things.push(Arc::new(read(reader.place(), bytes)?));
    }
    let numbers = read_below(reader, rows, count)?;
    Ok((things, numbers))
}
