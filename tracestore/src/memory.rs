//! Spans that are in the journal but not in a part yet, by trace.
//!
//! Invariants: a record enters as a whole; within a memory each identity is held once, the first
//! arrival; equal resources and scopes are held once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use obs_model::spans::{Resource, Scope};
use obs_model::time::{NANOS_PER_DAY, NANOS_PER_SECOND};
use obs_model::{TimeRange, Timestamp, TraceId};
use parking_lot::RwLock;

use crate::row::{self, Identity, Row};
use crate::value::{Weight, resource_bytes, scope_bytes};

/// What a trace takes beside its rows: map entry, vector, set.
const TRACE_BYTES: usize = 200;
/// Spans of a trace that are searched one by one; larger traces have a set of identities.
const SEARCHED_MAX: usize = 16;
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
    traces: HashMap<TraceId, Trace>,
    resources: HashMap<Vec<u8>, Arc<Resource>>,
    scopes: HashMap<Vec<u8>, Arc<Scope>>,
    /// Steps of time that have the start of a span.
    steps: BTreeSet<i64>,
    bytes: usize,
    range: Option<TimeRange>,
}

#[derive(Debug)]
struct Trace {
    rows: Vec<Row>,
    /// Filled once there are more than `SEARCHED_MAX` rows.
    identities: HashSet<Identity>,
    /// Holds the ranges of all rows.
    hull: TimeRange,
}

impl Trace {
    fn has(&self, identity: Identity) -> bool {
        if self.identities.is_empty() {
            return self.rows.iter().any(|r| r.identity() == identity);
        }
        self.identities.contains(&identity)
    }

    fn push(&mut self, row: Row) {
        self.hull = self.hull.union(row.range());
        self.rows.push(row);
        if self.rows.len() > SEARCHED_MAX {
            let known = self.identities.len();
            self.identities
                .extend(self.rows[known..].iter().map(Row::identity));
        }
    }
}

impl Memory {
    /// Takes the rows of one record.
    pub(crate) fn push(&self, rows: Vec<Row>) {
        let mut guard = self.inner.write();
        let inner = &mut *guard;
        // A record numbers its resources and scopes already: one look-up for each address.
        let mut resources: HashMap<usize, Arc<Resource>> = HashMap::new();
        let mut scopes: HashMap<usize, Arc<Scope>> = HashMap::new();
        for mut row in rows {
            let trace = inner.traces.entry(row.span.trace_id).or_insert_with(|| {
                inner.bytes += TRACE_BYTES;
                Trace {
                    rows: Vec::new(),
                    identities: HashSet::new(),
                    hull: row.range(),
                }
            });
            if trace.has(row.identity()) {
                continue;
            }
            let address = Arc::as_ptr(&row.resource).addr();
            let shared = resources.entry(address).or_insert_with(|| {
                intern(
                    &mut inner.resources,
                    &row.resource,
                    resource_bytes,
                    &mut inner.bytes,
                )
            });
            // Later rows hold their own: an address that is seen again is the same thing.
            let held = std::mem::replace(&mut row.resource, Arc::clone(shared));
            let address = Arc::as_ptr(&row.scope).addr();
            let shared = scopes.entry(address).or_insert_with(|| {
                intern(&mut inner.scopes, &row.scope, scope_bytes, &mut inner.bytes)
            });
            let scope = std::mem::replace(&mut row.scope, Arc::clone(shared));
            drop((held, scope));
            let start = row.span.start;
            let at = TimeRange::new(start, start);
            inner.range = Some(inner.range.map_or(at, |r| r.including(start)));
            inner.steps.insert(start.nanos().div_euclid(STEP_NANOS));
            inner.bytes += row::weigh(&row.span).bytes;
            trace.push(row);
        }
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

    /// The rows of one trace.
    pub(crate) fn trace(&self, id: TraceId) -> Vec<Row> {
        let inner = self.inner.read();
        inner.traces.get(&id).map_or(Vec::new(), |t| t.rows.clone())
    }

    /// Every trace with a range that holds its spans.
    pub(crate) fn hulls(&self) -> Vec<(TraceId, TimeRange)> {
        let inner = self.inner.read();
        inner
            .traces
            .iter()
            .map(|(id, trace)| (*id, trace.hull))
            .collect()
    }

    /// The range of one trace.
    pub(crate) fn hull(&self, id: TraceId) -> Option<TimeRange> {
        self.inner.read().traces.get(&id).map(|t| t.hull)
    }

    /// The traces with a span that starts inside `range`, in order of their first such start.
    pub(crate) fn starting_in(&self, range: TimeRange) -> Vec<(Timestamp, TraceId)> {
        let inner = self.inner.read();
        let mut found: Vec<(Timestamp, TraceId)> = inner
            .traces
            .iter()
            .filter(|(_, trace)| trace.hull.overlaps(range))
            .filter_map(|(id, trace)| {
                let starts = trace.rows.iter().map(|r| r.span.start);
                starts
                    .filter(|s| range.contains(*s))
                    .min()
                    .map(|s| (s, *id))
            })
            .collect();
        found.sort_unstable();
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
    *bytes += if known.contains_key(&key) {
        0
    } else {
        4 * key.len() + size_of::<T>()
    };
    Arc::clone(known.entry(key).or_insert_with(|| Arc::clone(thing)))
}

/// Bytes of a resource or scope in memory, for reports of what a query holds.
pub(crate) fn weight_of(rows: &[Row]) -> usize {
    let mut weight = Weight::default();
    for row in rows {
        weight.bytes += row::weigh(&row.span).bytes;
    }
    weight.bytes
}
