//! Which traces lie in more than one place, so that a span may be there twice or a trace is only
//! whole when all places are read.
//!
//! Parts do not change: what two of them share is found once, by walking along both sorted lists
//! of ids, and remembered by the one that was opened later. Invariant: no shared trace is missed.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};

use obs_model::{Budget, TimeRange, TraceId};
use obs_storage::{Corrupt, Snapshot};
use parking_lot::Mutex;

use crate::error::SelectError;
use crate::kind::Spans;
use crate::part::Part;

/// Others of which a part remembers what it shares with them; parts that are gone are among them.
const KNOWN_MAX: usize = 1024;
/// A list so many times as long as the other is searched instead of walked.
const SEARCHED_RATIO: usize = 32;

/// What a part shares with others that were opened before it.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Tells opened parts apart: each opening has its own.
    number: u64,
    known: Mutex<HashMap<u64, Arc<[TraceId]>>>,
}

impl Default for Shared {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NEXT.fetch_add(1, atomic::Ordering::Relaxed),
            known: Mutex::default(),
        }
    }
}

/// The traces that are in both parts.
fn between(one: &Part, other: &Part) -> Result<Arc<[TraceId]>, Corrupt> {
    let (older, newer) = if one.shared().number < other.shared().number {
        (one, other)
    } else {
        (other, one)
    };
    let key = older.shared().number;
    if let Some(known) = newer.shared().known.lock().get(&key) {
        return Ok(Arc::clone(known));
    }
    let (small, large) = if one.trace_count() < other.trace_count() {
        (one, other)
    } else {
        (other, one)
    };
    let mut found = Vec::new();
    let (few, many) = (small.ids()?, large.ids()?);
    if small.trace_count() * SEARCHED_RATIO < large.trace_count() {
        for index in 0..small.trace_count() {
            if large.find(few.id(index))?.is_some() {
                found.push(few.id(index));
            }
        }
    } else {
        let (mut at, mut beside) = (0, 0);
        while at < small.trace_count() && beside < large.trace_count() {
            let id = few.id(at);
            match id.cmp(&many.id(beside)) {
                Ordering::Less => at += 1,
                Ordering::Greater => beside += 1,
                Ordering::Equal => {
                    found.push(id);
                    (at, beside) = (at + 1, beside + 1);
                }
            }
        }
    }
    let found: Arc<[TraceId]> = found.into();
    let mut known = newer.shared().known.lock();
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(key, Arc::clone(&found));
    Ok(found)
}

/// Traces near the range that lie in more than one of the places that a span which arrives again
/// may be in: it starts when it started.
pub(crate) fn near(
    snapshot: &Snapshot<Spans>,
    range: TimeRange,
    budget: &Budget,
) -> Result<HashSet<TraceId>, SelectError> {
    find(snapshot, range, budget, true)
}

/// Traces near the range that lie in more than one place, wherever.
pub(crate) fn anywhere(
    snapshot: &Snapshot<Spans>,
    range: TimeRange,
    budget: &Budget,
) -> Result<HashSet<TraceId>, SelectError> {
    find(snapshot, range, budget, false)
}

fn find(
    snapshot: &Snapshot<Spans>,
    range: TimeRange,
    budget: &Budget,
    overlapping: bool,
) -> Result<HashSet<TraceId>, SelectError> {
    let mut found = HashSet::new();
    let parts: Vec<&Part> = snapshot.parts.iter().map(|p| &p.part).collect();
    for (number, part) in parts.iter().enumerate() {
        for other in &parts[number + 1..] {
            let is_near = [part, other].map(|p| p.hull().overlaps(range));
            let wanted = if overlapping {
                is_near == [true, true] && part.hull().overlaps(other.hull())
            } else {
                is_near.contains(&true)
            };
            if wanted {
                found.extend(between(part, other)?.iter());
                budget.check()?;
            }
        }
    }
    for (number, memory) in snapshot.memories.iter().enumerate() {
        for (id, hull) in memory.hulls() {
            // A late span may be far from the others of its trace.
            if overlapping && !hull.overlaps(range) {
                continue;
            }
            let others = &snapshot.memories[number + 1..];
            let mut elsewhere = others.iter().any(|m| m.hull(id).is_some());
            for part in &parts {
                let may = !overlapping || part.hull().overlaps(range);
                elsewhere = elsewhere || may && part.find(id)?.is_some();
            }
            if elsewhere {
                found.insert(id);
            }
        }
        budget.check()?;
    }
    // Held as long as the query runs.
    budget.bytes(found.len() as u64 * 32)?;
    Ok(found)
}
