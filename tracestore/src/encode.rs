//! Writes a block that was built: as one frame for the journal, in pieces for parts.
//!
//! Invariant: what is written depends on the rows and their order alone, not on where they came
//! from. Bytes: `docs/formats/span-record.md`.

use std::cell::RefCell;

use hashbrown::HashTable;
use obs_storage::codec::{bytes, dense, ints, strings, varint};
use xxhash_rust::xxh3::xxh3_64;

use crate::block::piece::{EVENT_NAMES, EVENT_TIMES, LINK_SPANS, LINK_TRACES, OF_EVENTS, OF_LINKS};
use crate::block::{Block, PARENT_APART, PARENT_NONE, PARENT_ROW, ROWS_MAX};
use crate::value::{resource_bytes, scope_bytes};

/// Frames live until the next flush, and much of them are random ids: below level 1 zstd passes over
/// what does not repeat.
const FRAME_LEVEL: i32 = -3;
/// A piece is compressed where that saves at least one byte of this many: what saves less costs
/// more to read than it saves.
const SAVES_ONE_OF: usize = 16;

thread_local! {
    /// What compresses frames of the journal: its tables are made once, not once a record.
    static FRAMES: RefCell<bytes::Encoder> =
        const { RefCell::new(bytes::Encoder::new(FRAME_LEVEL)) };
}

/// Appends the block as one frame. At most [`ROWS_MAX`] rows.
pub(crate) fn frame(block: &Block, out: &mut Vec<u8>) {
    let content = pieces(block, dense::encode_plain).concat();
    FRAMES.with_borrow_mut(|encoder| encoder.encode(&content, out));
}

/// Appends the block in pieces that are read apart.
pub(crate) fn in_pieces(block: &Block, encoder: &mut bytes::Encoder, out: &mut Vec<u8>) {
    let pieces = pieces(block, dense::encode);
    let all = [
        &block.attributes,
        &block.events.attributes,
        &block.links.attributes,
    ];
    all.into_iter()
        .for_each(|a| varint::put(a.column_count() as u64, out));
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

/// Writes a column of integers that scatter.
type Scattered = fn(&[i64], &mut Vec<u8>);

/// The content of a block, cut where it may be read apart.
fn pieces(block: &Block, scattered: Scattered) -> Vec<Vec<u8>> {
    assert!(
        block.len() <= ROWS_MAX,
        "a block has at most {ROWS_MAX} rows"
    );
    let mut first = Vec::new();
    varint::put(block.len() as u64, &mut first);
    let resources = block.resources.iter().map(|r| resource_bytes(r));
    put_group(resources, &block.of_resource, &mut first);
    let mut second = Vec::new();
    let scopes = block.scopes.iter().map(|s| scope_bytes(s));
    put_group(scopes, &block.of_scope, &mut second);
    let mut all = vec![first, second];
    all.extend(put_ids(block));
    all.extend(put_fields(block, scattered));
    all.extend(block.attributes.pieces());
    all.extend(put_events(block));
    all.extend(put_links(block));
    all
}

fn put_ints<T: Copy + Into<i64>>(values: &[T], out: &mut Vec<u8>) {
    let wide: Vec<i64> = values.iter().map(|v| (*v).into()).collect();
    ints::encode_aligned(&wide, out);
}

/// Distinct things as bytes, and which one each row has.
fn put_group(things: impl Iterator<Item = Vec<u8>>, of_rows: &[u32], out: &mut Vec<u8>) {
    let things: Vec<Vec<u8>> = things.collect();
    varint::put(things.len() as u64, out);
    strings::encode_open(&things, out);
    let numbers: Vec<i64> = of_rows.iter().map(|n| i64::from(*n)).collect();
    ints::encode(&numbers, out);
}

/// Traces, span ids and parents.
fn put_ids(block: &Block) -> [Vec<u8>; 3] {
    let mut pieces = [Vec::new(), Vec::new(), Vec::new()];
    let [traces, spans, parents] = &mut pieces;
    varint::put(block.traces.len() as u64, traces);
    block
        .traces
        .iter()
        .for_each(|t| traces.extend_from_slice(&t.0));
    put_ints(&block.of_trace, traces);
    block
        .span_ids
        .iter()
        .for_each(|s| spans.extend_from_slice(&s.0));
    let key = |row: usize, id: &[u8; 8]| {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&block.of_trace[row].to_le_bytes());
        bytes[4..].copy_from_slice(id);
        bytes
    };
    // The first row of each span of each trace.
    let mut rows: HashTable<(u64, u32)> = HashTable::with_capacity(block.len());
    let find = |row: usize, id: &[u8; 8], other: u32| {
        let other = other as usize;
        block.of_trace[other] == block.of_trace[row] && block.span_ids[other].0 == *id
    };
    for (row, id) in block.span_ids.iter().enumerate() {
        let hash = xxh3_64(&key(row, &id.0));
        let same = |(_, other): &(u64, u32)| find(row, &id.0, *other);
        rows.entry(hash, same, |(hash, _)| *hash)
            .or_insert((hash, row as u32));
    }
    let mut codes = Vec::with_capacity(block.len());
    let mut apart = Vec::new();
    for (row, parent) in block.parents.iter().enumerate() {
        if parent.is_zero() {
            codes.push(PARENT_NONE);
            continue;
        }
        let hash = xxh3_64(&key(row, &parent.0));
        match rows.find(hash, |(_, other)| find(row, &parent.0, *other)) {
            Some((_, at)) => {
                let distance = row as i64 - i64::from(*at);
                codes.push(PARENT_ROW + varint::zigzag(distance) as i64);
            }
            None => {
                apart.extend_from_slice(&parent.0);
                codes.push(PARENT_APART);
            }
        }
    }
    ints::encode_aligned(&codes, parents);
    parents.extend_from_slice(&apart);
    pieces
}

/// Starts, durations, kinds, statuses, other numbers, names, messages, states.
fn put_fields(block: &Block, scattered: Scattered) -> [Vec<u8>; 8] {
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
    scattered(&block.starts, starts);
    scattered(&block.durations, durations);
    put_ints(&block.kinds, kinds);
    put_ints(&block.statuses, statuses);
    block.numbers.iter().for_each(|n| put_ints(n, numbers));
    block.names.encode(names);
    block.messages.encode(messages);
    block.states.encode(states);
    pieces
}

/// How many entries each row has.
fn put_counts(ends: &[u32], out: &mut Vec<u8>) {
    let mut start = 0;
    let counts: Vec<i64> = ends
        .iter()
        .map(|end| i64::from(*end - std::mem::replace(&mut start, *end)))
        .collect();
    ints::encode_aligned(&counts, out);
}

fn put_events(block: &Block) -> Vec<Vec<u8>> {
    let events = &block.events;
    let mut pieces = vec![Vec::new(); OF_EVENTS - 1];
    put_counts(&events.ends, &mut pieces[0]);
    ints::encode_aligned(&events.times, &mut pieces[EVENT_TIMES]);
    events.names.encode(&mut pieces[EVENT_NAMES]);
    put_ints(&events.dropped, &mut pieces[3]);
    pieces.extend(events.attributes.pieces());
    pieces
}

fn put_links(block: &Block) -> Vec<Vec<u8>> {
    let links = &block.links;
    let mut pieces = vec![Vec::new(); OF_LINKS - 1];
    put_counts(&links.ends, &mut pieces[0]);
    let [traces, spans] = [LINK_TRACES, LINK_SPANS];
    links
        .traces
        .iter()
        .for_each(|t| pieces[traces].extend_from_slice(&t.0));
    links
        .spans
        .iter()
        .for_each(|s| pieces[spans].extend_from_slice(&s.0));
    links.states.encode(&mut pieces[3]);
    put_ints(&links.flags, &mut pieces[4]);
    put_ints(&links.dropped, &mut pieces[5]);
    pieces.extend(links.attributes.pieces());
    pieces
}
