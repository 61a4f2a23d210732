//! Spans that are in the journal but not in a part yet: the columns of each record as they came,
//! and where the rows of each trace are.
//!
//! Invariants: a record enters as a whole; within a memory each identity counts once, the first
//! arrival; equal resources and scopes are held once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use hashbrown::HashTable;
use obs_model::spans::{Resource, Scope};
use obs_model::time::{NANOS_PER_DAY, NANOS_PER_SECOND};
use obs_model::{TimeRange, Timestamp, TraceId};
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64;

use crate::block::Block;
use crate::row::{self, Identity, Row};
use crate::value::{Weight, resource_bytes, scope_bytes};

/// What a trace takes beside its rows: its entry and the list of rows.
const TRACE_BYTES: usize = 160;
/// What a row takes in the list of its trace.
const PLACE_BYTES: usize = 8;
/// Spans of a trace that are searched one by one; larger traces have a set of identities.
const SEARCHED_MAX: usize = 64;
/// Spans are looked up by time in steps of this: a window is hours to days.
const STEP_NANOS: i64 = 600 * NANOS_PER_SECOND;
const STEPS_PER_DAY: i64 = NANOS_PER_DAY / STEP_NANOS;

/// Spans in memory. Readers and the writer share it.
#[derive(Debug, Default)]
pub struct Memory {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    blocks: Vec<Held>,
    traces: HashTable<Trace>,
    resources: HashMap<Vec<u8>, Arc<Resource>>,
    scopes: HashMap<Vec<u8>, Arc<Scope>>,
    /// Steps of time that have the start of a span.
    steps: BTreeSet<i64>,
    bytes: usize,
    range: Option<TimeRange>,
}

/// A block in memory.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) block: Arc<Block>,
    /// From the first start to the last end.
    pub(crate) hull: TimeRange,
    /// Rows that do not count, because their span was there before.
    pub(crate) again: Arc<HashSet<u32>>,
}

/// Block and row.
type Place = (u32, u32);

#[derive(Debug)]
struct Trace {
    id: TraceId,
    /// In order of arrival.
    places: Vec<Place>,
    /// Filled once there are more than `SEARCHED_MAX` rows.
    identities: HashSet<Identity>,
    /// Holds the ranges of all rows.
    hull: TimeRange,
}

fn hash(id: TraceId) -> u64 {
    xxh3_64(&id.0)
}

impl Inner {
    fn trace(&self, id: TraceId) -> Option<&Trace> {
        self.traces.find(hash(id), |trace| trace.id == id)
    }

    fn push(&mut self, mut block: Block) {
        let Some(hull) = block.hull() else {
            return;
        };
        for resource in &mut block.resources {
            let known = &mut self.resources;
            *resource = intern(known, resource, resource_bytes, &mut self.bytes);
        }
        for scope in &mut block.scopes {
            *scope = intern(&mut self.scopes, scope, scope_bytes, &mut self.bytes);
        }
        self.bytes += block.bytes() + size_of::<Block>();
        let mut step = None;
        for start in &block.starts {
            let at = TimeRange::new(Timestamp::from_nanos(*start), Timestamp::from_nanos(*start));
            self.range = Some(self.range.map_or(at, |r| r.union(at)));
            let next = start.div_euclid(STEP_NANOS);
            if step != Some(next) {
                self.steps.insert(next);
                step = Some(next);
            }
        }
        let again = self.enter(&block);
        self.blocks.push(Held {
            block: Arc::new(block),
            hull,
            again: Arc::new(again),
        });
    }

    /// Notes where the rows of each trace of the next block are; gives the rows that are there
    /// already.
    fn enter(&mut self, block: &Block) -> HashSet<u32> {
        let number = self.blocks.len() as u32;
        let mut again = HashSet::new();
        let Self {
            blocks,
            traces,
            bytes,
            ..
        } = self;
        for (trace, rows) in by_trace(block) {
            let id = block.traces[trace];
            let entry = traces.entry(hash(id), |t| t.id == id, |t| hash(t.id));
            let mut entry = entry.or_insert_with(|| {
                *bytes += TRACE_BYTES;
                Trace {
                    id,
                    places: Vec::with_capacity(rows.len()),
                    identities: HashSet::new(),
                    hull: block.range(rows[0] as usize),
                }
            });
            let trace = entry.get_mut();
            let identity = |(other, row): &Place| match blocks.get(*other as usize) {
                Some(held) => held.block.identity(*row as usize),
                None => block.identity(*row as usize),
            };
            for row in rows {
                let own = block.identity(row as usize);
                let known = if trace.identities.is_empty() {
                    trace.places.iter().any(|place| identity(place) == own)
                } else {
                    trace.identities.contains(&own)
                };
                if known {
                    again.insert(row);
                    continue;
                }
                trace.hull = trace.hull.union(block.range(row as usize));
                trace.places.push((number, row));
                *bytes += PLACE_BYTES;
                if trace.places.len() > SEARCHED_MAX {
                    let known = trace.identities.len();
                    let new = trace.places[known..].iter().map(identity);
                    trace.identities.extend(new);
                }
            }
        }
        again
    }
}

/// The rows of each trace of a block.
fn by_trace(block: &Block) -> Vec<(usize, Vec<u32>)> {
    let mut rows: Vec<(usize, Vec<u32>)> =
        (0..block.traces.len()).map(|t| (t, Vec::new())).collect();
    for (row, trace) in block.of_trace.iter().enumerate() {
        rows[*trace as usize].1.push(row as u32);
    }
    // A block that was read may list a trace twice, or one without rows.
    rows.retain(|(_, rows)| !rows.is_empty());
    rows
}

impl Memory {
    /// Takes the blocks of one record.
    pub(crate) fn push(&self, blocks: Vec<Block>) {
        let mut inner = self.inner.write();
        blocks.into_iter().for_each(|block| inner.push(block));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.inner.read().bytes
    }

    pub(crate) fn range(&self) -> Option<TimeRange> {
        self.inner.read().range
    }

    /// The earliest start at or after `from`, or a little before it.
    pub(crate) fn first_row(&self, from: Timestamp) -> Option<Timestamp> {
        let inner = self.inner.read();
        let range = inner.range?;
        let step = inner
            .steps
            .range(from.nanos().div_euclid(STEP_NANOS)..)
            .next()?;
        let at = from.max(Timestamp::from_nanos(step.saturating_mul(STEP_NANOS)));
        let at = at.max(range.start);
        (at <= range.end).then_some(at)
    }

    /// The days (UTC, since the epoch) in which spans start.
    pub(crate) fn days(&self) -> BTreeSet<i64> {
        let inner = self.inner.read();
        let steps = inner.steps.iter();
        steps.map(|s| s.div_euclid(STEPS_PER_DAY)).collect()
    }

    /// The rows of one trace, put together outside of the lock: writers do not wait for that.
    pub(crate) fn trace(&self, id: TraceId) -> Vec<Row> {
        let rows = self.rows(id).into_iter();
        rows.map(|(block, row)| block.row(row)).collect()
    }

    /// The same, as blocks and numbers of rows.
    pub(crate) fn rows(&self, id: TraceId) -> Vec<(Arc<Block>, usize)> {
        let inner = self.inner.read();
        let places = inner.trace(id).map_or(&[][..], |t| &t.places);
        let row = |(block, row): &Place| {
            let held = &inner.blocks[*block as usize];
            (Arc::clone(&held.block), *row as usize)
        };
        places.iter().map(row).collect()
    }

    /// The blocks, in order of arrival.
    pub(crate) fn blocks(&self) -> Vec<Held> {
        self.inner.read().blocks.clone()
    }

    /// The rows of one trace as numbers of blocks and rows.
    pub(crate) fn places(&self, id: TraceId) -> Vec<Place> {
        let inner = self.inner.read();
        inner.trace(id).map_or(Vec::new(), |t| t.places.clone())
    }

    /// A block by its number.
    pub(crate) fn block(&self, number: u32) -> Option<Held> {
        self.inner.read().blocks.get(number as usize).cloned()
    }

    /// Every trace with a range that holds its spans.
    pub(crate) fn hulls(&self) -> Vec<(TraceId, TimeRange)> {
        let inner = self.inner.read();
        inner.traces.iter().map(|t| (t.id, t.hull)).collect()
    }

    /// The range of one trace.
    pub(crate) fn hull(&self, id: TraceId) -> Option<TimeRange> {
        self.inner.read().trace(id).map(|t| t.hull)
    }

    /// The traces with a span that starts inside `range`, in order of their first such start, each
    /// with those spans.
    pub(crate) fn starting_in(&self, range: TimeRange) -> Vec<(Timestamp, TraceId, Vec<Place>)> {
        let inner = self.inner.read();
        let mut found = Vec::new();
        for trace in inner.traces.iter().filter(|t| t.hull.overlaps(range)) {
            let mut first = None;
            let mut places = Vec::with_capacity(trace.places.len());
            for (block, row) in &trace.places {
                let start = inner.blocks[*block as usize].block.starts[*row as usize];
                let start = Timestamp::from_nanos(start);
                if range.contains(start) {
                    first = Some(first.map_or(start, |f: Timestamp| f.min(start)));
                    places.push((*block, *row));
                }
            }
            if let Some(first) = first {
                found.push((first, trace.id, places));
            }
        }
        found.sort_unstable_by_key(|(start, id, _)| (*start, *id));
        found
    }
}

fn intern<T>(
    known: &mut HashMap<Vec<u8>, Arc<T>>,
    thing: &Arc<T>,
    bytes_of: fn(&T) -> Vec<u8>,
    bytes: &mut usize,
) -> Arc<T> {
    let key = bytes_of(thing);
    if let Some(known) = known.get(&key) {
        return Arc::clone(known);
    }
    *bytes += 4 * key.len() + size_of::<T>();
    known.insert(key, Arc::clone(thing));
    Arc::clone(thing)
}

/// Bytes of rows in memory, for reports of what a query holds.
pub(crate) fn weight_of(rows: &[Row]) -> usize {
    let mut weight = Weight::default();
    for row in rows {
        weight.bytes += row::weigh(&row.span).bytes;
    }
    weight.bytes
}
