//! Rows as columns, compressed together: the unit of a journal record and of a part.
//!
//! Invariants: `Block::read(encode(rows)) == rows`, field by field and in order; after `read` all
//! columns have the lengths that they must have, so taking a row out cannot fail.
//! Bytes: `docs/formats/span-record.md`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use obs_model::spans::{Resource, Scope, SpanEvent, SpanKind, SpanLink, StatusCode};
use obs_model::{Span, SpanId, Timestamp, TraceId};
use obs_storage::Corrupt;
use obs_storage::codec::strings::Texts;
use obs_storage::codec::{Reader, bytes, ints, strings, varint};

use crate::attributes::{self, Attributes, read_ints, read_strings, read_texts};
use crate::row::{Numbers, Row, weigh, weigh_resource, weigh_scope};
use crate::value::{read_resource, read_scope};

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
const PARENT_APART: i64 = 1;
/// A parent in the block: this plus the zigzag distance of its row.
const PARENT_ROW: i64 = 2;

/// The pieces of a block in parts, by number. Behind them stand the columns of attributes, one
/// piece each, then events, then links.
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
}

/// Most pieces of a block that is read: a column of attributes has at least one entry.
const PIECES_MAX: usize = piece::COLUMNS + 2 + BLOCK_ENTRIES_MAX;
/// A piece is compressed where that saves at least one byte of this many: what saves less costs
/// more to read than it saves.
const SAVES_ONE_OF: usize = 16;

/// Appends the rows as one block of one frame, as the journal has it. At most [`ROWS_MAX`] rows.
pub(crate) fn encode(rows: &[Row], level: i32, out: &mut Vec<u8>) {
    bytes::encode(&pieces(rows).concat(), level, out);
}

/// Appends the rows as one block of pieces that are read apart, as parts have it.
pub(crate) fn encode_pieces(rows: &[Row], level: i32, out: &mut Vec<u8>) {
    let pieces = pieces(rows);
    varint::put(pieces.len() as u64, out);
    let mut encoder = bytes::Encoder::new(level);
    let mut packed = Vec::new();
    for piece in pieces {
        packed.clear();
        encoder.encode(&piece, &mut packed);
        if packed.len() + piece.len() / SAVES_ONE_OF < piece.len() {
            out.extend_from_slice(&packed);
        } else {
            bytes::encode_raw(&piece, out);
        }
    }
}

/// The content of a block, cut where it may be read apart.
fn pieces(rows: &[Row]) -> Vec<Vec<u8>> {
    assert!(
        rows.len() <= ROWS_MAX,
        "a block has at most {ROWS_MAX} rows"
    );
    let mut all = put_groups(rows);
    all.extend(put_ids(rows));
    all.extend(put_fields(rows));
    let mut attributes = attributes::Writer::default();
    rows.iter()
        .for_each(|r| attributes.push(&r.span.attributes));
    all.extend(attributes.pieces());
    let (mut events, mut links) = (Vec::new(), Vec::new());
    put_events(rows, &mut events);
    put_links(rows, &mut links);
    all.extend([events, links]);
    all
}

/// The pieces of a block in a part, compressed.
#[derive(Clone, Debug)]
pub(crate) struct Pieces<'a> {
    all: Vec<Reader<'a>>,
}

impl<'a> Pieces<'a> {
    /// Finds the pieces; leaves the reader after them.
    pub(crate) fn read(outer: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let place = outer.clone();
        // A piece takes at least two bytes.
        let count = outer.count(PIECES_MAX.min(outer.remaining()))?;
        if count < piece::COLUMNS + 2 {
            return Err(place.corrupt(format!("at least {} pieces", piece::COLUMNS + 2)));
        }
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(outer.clone());
            bytes::skip(outer)?;
        }
        Ok(Self { all })
    }

    /// Appends a piece to a content.
    fn append(&self, number: usize, content: &mut Vec<u8>) -> Result<(), Corrupt> {
        let mut reader = self.all[number].clone();
        let piece = bytes::decode(&mut reader, CONTENT_BYTES_MAX - content.len())?;
        content.extend_from_slice(&piece);
        Ok(())
    }

    /// The content of a piece.
    pub(crate) fn content(&self, number: usize) -> Result<Vec<u8>, Corrupt> {
        bytes::decode(&mut self.all[number].clone(), CONTENT_BYTES_MAX)
    }

    /// Number of columns of attributes.
    pub(crate) fn columns(&self) -> usize {
        self.all.len() - piece::COLUMNS - 2
    }
}

fn put_ints(values: impl Iterator<Item = i64>, out: &mut Vec<u8>) {
    ints::encode_aligned(&values.collect::<Vec<_>>(), out);
}

fn put_texts<'a>(values: impl Iterator<Item = &'a String>, out: &mut Vec<u8>) {
    strings::encode_open(&values.collect::<Vec<_>>(), out);
}

/// Resources behind the number of rows, and scopes.
fn put_groups(rows: &[Row]) -> Vec<Vec<u8>> {
    let mut first = Vec::new();
    varint::put(rows.len() as u64, &mut first);
    let mut pieces = vec![first, Vec::new()];
    let mut resources = Numbers::of_resources();
    let mut scopes = Numbers::of_scopes();
    let of_rows: Vec<i64> = rows
        .iter()
        .map(|r| resources.number(&r.resource) as i64)
        .collect();
    let of_scopes: Vec<i64> = rows
        .iter()
        .map(|r| scopes.number(&r.scope) as i64)
        .collect();
    let both = [
        (of_rows, resources.into_bytes()),
        (of_scopes, scopes.into_bytes()),
    ];
    for (out, (numbers, all)) in pieces.iter_mut().zip(both) {
        varint::put(all.len() as u64, out);
        strings::encode_open(&all, out);
        ints::encode(&numbers, out);
    }
    pieces
}

/// Traces, span ids and parents.
fn put_ids(rows: &[Row]) -> [Vec<u8>; 3] {
    let mut pieces = [Vec::new(), Vec::new(), Vec::new()];
    let [out, spans, parents_out] = &mut pieces;
    let mut traces: Vec<TraceId> = Vec::new();
    let mut numbers: HashMap<TraceId, i64> = HashMap::new();
    let mut of_rows = Vec::with_capacity(rows.len());
    let mut by_id: HashMap<(TraceId, SpanId), usize> = HashMap::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let id = row.span.trace_id;
        by_id.entry((id, row.span.span_id)).or_insert(index);
        of_rows.push(*numbers.entry(id).or_insert_with(|| {
            traces.push(id);
            traces.len() as i64 - 1
        }));
    }
    varint::put(traces.len() as u64, out);
    traces.iter().for_each(|t| out.extend_from_slice(&t.0));
    ints::encode_aligned(&of_rows, out);
    rows.iter()
        .for_each(|r| spans.extend_from_slice(&r.span.span_id.0));
    let mut apart = Vec::new();
    let parents = rows.iter().enumerate().map(|(index, row)| {
        let parent = row.span.parent_id;
        if parent.is_zero() {
            return PARENT_NONE;
        }
        match by_id.get(&(row.span.trace_id, parent)) {
            Some(at) => PARENT_ROW + varint::zigzag(index as i64 - *at as i64) as i64,
            None => {
                apart.extend_from_slice(&parent.0);
                PARENT_APART
            }
        }
    });
    put_ints(parents, parents_out);
    parents_out.extend_from_slice(&apart);
    pieces
}

/// Starts, durations, kinds, statuses, other numbers, names, messages, states.
fn put_fields(rows: &[Row]) -> [Vec<u8>; 8] {
    let spans = || rows.iter().map(|r| &r.span);
    let mut pieces: [Vec<u8>; 8] = Default::default();
    let [
        starts,
        durations,
        kinds,
        statuses,
        numbers,
        names,
        messages,
        states,
    ] = &mut pieces;
    put_ints(spans().map(|s| s.start.nanos()), starts);
    // Random enough that packed bits are as small as what zstd makes of bytes, and read faster.
    let lengths = spans().map(|s| s.end.nanos().wrapping_sub(s.start.nanos()));
    ints::encode(&lengths.collect::<Vec<_>>(), durations);
    put_ints(spans().map(|s| i64::from(s.kind.number())), kinds);
    put_ints(spans().map(|s| i64::from(s.status.number())), statuses);
    put_ints(spans().map(|s| i64::from(s.flags)), numbers);
    put_ints(spans().map(|s| i64::from(s.dropped_attributes)), numbers);
    put_ints(spans().map(|s| i64::from(s.dropped_events)), numbers);
    put_ints(spans().map(|s| i64::from(s.dropped_links)), numbers);
    put_texts(spans().map(|s| &s.name), names);
    put_texts(spans().map(|s| &s.status_message), messages);
    put_texts(spans().map(|s| &s.trace_state), states);
    pieces
}

fn put_events(rows: &[Row], out: &mut Vec<u8>) {
    put_ints(rows.iter().map(|r| r.span.events.len() as i64), out);
    let events = || {
        rows.iter().flat_map(|r| {
            let start = r.span.start.nanos();
            r.span.events.iter().map(move |e| (start, e))
        })
    };
    put_ints(
        events().map(|(start, e)| e.time.nanos().wrapping_sub(start)),
        out,
    );
    put_texts(events().map(|(_, e)| &e.name), out);
    put_ints(events().map(|(_, e)| i64::from(e.dropped_attributes)), out);
    let mut attributes = attributes::Writer::default();
    events().for_each(|(_, e)| attributes.push(&e.attributes));
    attributes.finish(out);
}

fn put_links(rows: &[Row], out: &mut Vec<u8>) {
    put_ints(rows.iter().map(|r| r.span.links.len() as i64), out);
    let links = || rows.iter().flat_map(|r| &r.span.links);
    links().for_each(|l| out.extend_from_slice(&l.trace_id.0));
    links().for_each(|l| out.extend_from_slice(&l.span_id.0));
    put_texts(links().map(|l| &l.trace_state), out);
    put_ints(links().map(|l| i64::from(l.flags)), out);
    put_ints(links().map(|l| i64::from(l.dropped_attributes)), out);
    let mut attributes = attributes::Writer::default();
    links().for_each(|l| attributes.push(&l.attributes));
    attributes.finish(out);
}

/// Columns that were read.
#[derive(Debug)]
pub(crate) struct Block {
    resources: Vec<Arc<Resource>>,
    scopes: Vec<Arc<Scope>>,
    of_resource: Vec<i64>,
    of_scope: Vec<i64>,
    trace_ids: Vec<TraceId>,
    span_ids: Vec<SpanId>,
    parents: Vec<SpanId>,
    starts: Vec<i64>,
    durations: Vec<i64>,
    kinds: Vec<i64>,
    statuses: Vec<i64>,
    flags: Vec<u32>,
    dropped_attributes: Vec<u32>,
    dropped_events: Vec<u32>,
    dropped_links: Vec<u32>,
    names: Texts,
    messages: Texts,
    states: Texts,
    attributes: Attributes,
    events: Events,
    links: Links,
    /// Bytes of the content as stored before compression: what a reader is charged.
    bytes: usize,
}

#[derive(Debug)]
struct Events {
    ends: Vec<usize>,
    times: Vec<i64>,
    names: Texts,
    dropped: Vec<u32>,
    attributes: Attributes,
}

#[derive(Debug)]
struct Links {
    ends: Vec<usize>,
    traces: Vec<TraceId>,
    spans: Vec<SpanId>,
    states: Texts,
    flags: Vec<u32>,
    dropped: Vec<u32>,
    attributes: Attributes,
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
        let trace_ids = read_traces(r, rows)?;
        let span_ids = read_ids(r, rows)?;
        let parents = read_parents(r, &span_ids)?;
        let block = Self {
            resources,
            scopes,
            of_resource,
            of_scope,
            trace_ids,
            span_ids,
            parents,
            starts: read_ints(r, rows)?,
            durations: read_ints(r, rows)?,
            kinds: read_below(r, rows, 6)?,
            statuses: read_below(r, rows, 3)?,
            flags: read_u32s(r, rows)?,
            dropped_attributes: read_u32s(r, rows)?,
            dropped_events: read_u32s(r, rows)?,
            dropped_links: read_u32s(r, rows)?,
            names: read_texts(r, rows)?,
            messages: read_texts(r, rows)?,
            states: read_texts(r, rows)?,
            attributes: Attributes::read(r, rows, BLOCK_ENTRIES_MAX)?,
            events: Events::read(r, rows)?,
            links: Links::read(r, rows)?,
            bytes: content.len(),
        };
        reader.finish()?;
        Ok(block)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.span_ids.len()
    }

    /// Bytes of the columns.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The trace of a row.
    pub(crate) fn trace_id(&self, row: usize) -> TraceId {
        self.trace_ids[row]
    }

    /// Puts a row together.
    pub(crate) fn row(&self, row: usize) -> Row {
        let start = self.starts[row];
        let span = Span {
            trace_id: self.trace_ids[row],
            span_id: self.span_ids[row],
            parent_id: self.parents[row],
            trace_state: self.states.get(row).to_owned(),
            flags: self.flags[row],
            name: self.names.get(row).to_owned(),
            kind: SpanKind::from_number(self.kinds[row] as i32),
            start: Timestamp::from_nanos(start),
            end: Timestamp::from_nanos(start.wrapping_add(self.durations[row])),
            attributes: self.attributes.get(row),
            dropped_attributes: self.dropped_attributes[row],
            events: self.events.get(row, start),
            dropped_events: self.dropped_events[row],
            links: self.links.get(row),
            dropped_links: self.dropped_links[row],
            status: StatusCode::from_number(self.statuses[row] as i32),
            status_message: self.messages.get(row).to_owned(),
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
        let count = ends.last().copied().unwrap_or(0);
        Ok(Self {
            ends,
            times: read_ints(reader, count)?,
            names: read_texts(reader, count)?,
            dropped: read_u32s(reader, count)?,
            attributes: Attributes::read(reader, count, BLOCK_ENTRIES_MAX)?,
        })
    }

    fn get(&self, row: usize, start: i64) -> Vec<SpanEvent> {
        let event = |index: usize| SpanEvent {
            time: Timestamp::from_nanos(start.wrapping_add(self.times[index])),
            name: self.names.get(index).to_owned(),
            attributes: self.attributes.get(index),
            dropped_attributes: self.dropped[index],
        };
        of_row(&self.ends, row).map(event).collect()
    }
}

impl Links {
    fn read(reader: &mut Reader<'_>, rows: usize) -> Result<Self, Corrupt> {
        let ends = read_ends(reader, rows)?;
        let count = ends.last().copied().unwrap_or(0);
        let traces = reader.slice(16 * count)?.chunks_exact(16);
        let traces = traces.map(|c| TraceId(array(c))).collect();
        Ok(Self {
            ends,
            traces,
            spans: read_ids(reader, count)?,
            states: read_texts(reader, count)?,
            flags: read_u32s(reader, count)?,
            dropped: read_u32s(reader, count)?,
            attributes: Attributes::read(reader, count, BLOCK_ENTRIES_MAX)?,
        })
    }

    fn get(&self, row: usize) -> Vec<SpanLink> {
        let link = |index: usize| SpanLink {
            trace_id: self.traces[index],
            span_id: self.spans[index],
            trace_state: self.states.get(index).to_owned(),
            attributes: self.attributes.get(index),
            dropped_attributes: self.dropped[index],
            flags: self.flags[index],
        };
        of_row(&self.ends, row).map(link).collect()
    }
}

fn of_row(ends: &[usize], row: usize) -> std::ops::Range<usize> {
    row.checked_sub(1).map_or(0, |r| ends[r])..ends[row]
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

pub(crate) fn read_traces(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<TraceId>, Corrupt> {
    let count = reader.count(rows)?;
    let ids = reader.slice(16 * count)?;
    let numbers = read_below(reader, rows, count)?;
    Ok(numbers
        .into_iter()
        .map(|n| TraceId(array(&ids[16 * n as usize..][..16])))
        .collect())
}

fn read_parents(reader: &mut Reader<'_>, ids: &[SpanId]) -> Result<Vec<SpanId>, Corrupt> {
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
    if !values
        .iter()
        .all(|v| usize::try_from(*v).is_ok_and(|v| v < bound))
    {
        return Err(place.corrupt(format!("numbers below {bound}")));
    }
    Ok(values)
}

fn read_u32s(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, Corrupt> {
    let place = reader.clone();
    let values = read_ints(reader, count)?.into_iter().map(u32::try_from);
    values
        .collect::<Result<_, _>>()
        .map_err(|_| place.corrupt("numbers of 32 bits"))
}

/// Reads how many each row has; gives where those of each row end.
fn read_ends(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<usize>, Corrupt> {
    let place = reader.clone();
    let mut end = 0usize;
    let mut ends = Vec::with_capacity(rows);
    for count in read_ints(reader, rows)? {
        end = usize::try_from(count).map_or(usize::MAX, |c| end.saturating_add(c));
        if end > BLOCK_ENTRIES_MAX {
            return Err(place.corrupt(format!("at most {BLOCK_ENTRIES_MAX} entries")));
        }
        ends.push(end);
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

/// Says when a block is full.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    rows: usize,
    entries: usize,
    bytes: usize,
    /// Addresses of resources and scopes that were counted; the rows keep them alive.
    groups: HashSet<usize>,
}

impl Filling {
    /// Counts a row; whether the block must be closed after it.
    pub(crate) fn add(&mut self, row: &Row) -> bool {
        let weight = weigh(&row.span);
        if self.groups.insert(Arc::as_ptr(&row.resource).addr()) {
            let more = weigh_resource(&row.resource);
            self.entries += more.entries;
            self.bytes += more.bytes;
        }
        if self.groups.insert(Arc::as_ptr(&row.scope).addr()) {
            let more = weigh_scope(&row.scope);
            self.entries += more.entries;
            self.bytes += more.bytes;
        }
        self.rows += 1;
        self.entries += weight.entries;
        self.bytes += weight.bytes;
        self.rows >= ROWS_MAX || self.entries >= ENTRIES_MAX || self.bytes >= BYTES_MAX
    }
}
