//! Reads whole traces: one by id, or all that may match, newest first.
//!
//! Invariants: a trace is given with all its spans from all memories and parts, whatever the
//! range; each trace once; what is held is the list of candidates and a few blocks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;

use obs_model::{Budget, BudgetError, HeldBytes, SpanBatch, TimeRange, Timestamp, TraceId};
use obs_storage::Snapshot;

use crate::columns::{self, Columns};
use crate::error::SelectError;
use crate::filter::{Hints, SpanFilter};
use crate::kind::Spans;
use crate::memory::weight_of;
use crate::row::{Row, batch, keep_first};
use crate::source::Source;

/// Bytes that a candidate takes in the list.
const CANDIDATE_BYTES: u64 = 64;

/// What takes the traces of a scan; `Break` ends it.
pub type Visit<'a> = dyn FnMut(TraceId, SpanBatch) -> Result<ControlFlow<()>, BudgetError> + 'a;

/// One whole trace, duplicates removed, grouped by resource and scope; `None` when no span of it
/// is there.
pub fn trace(
    snapshot: &Snapshot<Spans>,
    id: TraceId,
    budget: &Budget,
) -> Result<Option<SpanBatch>, SelectError> {
    budget.series(1)?;
    let mut source = source_of(snapshot);
    let (rows, held) = rows_of(snapshot, &mut source, id, budget, &mut budget.holding())?;
    held.keep();
    Ok((!rows.is_empty()).then(|| batch(rows)))
}

/// Says for each row of a block whether it is a span that a trace must have one of.
pub type Choose<'a> = dyn FnMut(&Columns<'_>) -> Result<Vec<bool>, SelectError> + 'a;

/// Gives the whole traces that may match, newest first by their first start (equal ones by id).
pub fn scan(
    snapshot: &Snapshot<Spans>,
    filter: &SpanFilter,
    budget: &Budget,
    visit: &mut Visit<'_>,
) -> Result<(), SelectError> {
    scan_chosen(snapshot, filter, None, budget, visit)
}

/// As [`scan`].
/// Where `choose` is given, traces in parts without a span that it chooses are left out before
/// they are read: it looks at columns of a block, once for each block.
/// A retried span counts with all its starts until a merge drops the later arrivals; sources
/// retry with the same start.
pub fn scan_chosen(
    snapshot: &Snapshot<Spans>,
    filter: &SpanFilter,
    choose: Option<&mut Choose<'_>>,
    budget: &Budget,
    visit: &mut Visit<'_>,
) -> Result<(), SelectError> {
    let mut chosen = choose.map(|choose| Chosen {
        choose,
        blocks: HashMap::new(),
        held: budget.holding(),
    });
    let hints = Hints::new(&filter.conditions);
    let mut source = source_of(snapshot);
    let mut read = budget.holding();
    let candidates = candidates(
        snapshot,
        &mut source,
        filter.range,
        &hints,
        budget,
        &mut read,
    )?;
    let mut listed = budget.holding();
    listed.add(candidates.len() as u64 * CANDIDATE_BYTES)?;
    for (_, id) in candidates {
        budget.check()?;
        if let Some(chosen) = &mut chosen
            && !chosen.has(snapshot, &mut source, id)?
        {
            continue;
        }
        // Until the visitor is done with the trace; what it keeps it charges itself.
        let (rows, _held) = rows_of(snapshot, &mut source, id, budget, &mut read)?;
        let in_range = rows.iter().any(|row| row.range().overlaps(filter.range));
        if !in_range || hints.of_rows(&rows) != hints.all() {
            continue;
        }
        if visit(id, batch(rows))?.is_break() {
            break;
        }
    }
    Ok(())
}

fn source_of(snapshot: &Snapshot<Spans>) -> Source<'_> {
    Source::new(snapshot.parts.iter().map(|p| &p.part).collect())
}

/// The rows of a trace, each identity once, and the charge for them. `read` follows what the source
/// holds.
fn rows_of<'b>(
    snapshot: &Snapshot<Spans>,
    source: &mut Source<'_>,
    id: TraceId,
    budget: &'b Budget,
    read: &mut HeldBytes<'_>,
) -> Result<(Vec<Row>, HeldBytes<'b>), SelectError> {
    budget.check()?;
    let mut rows = Vec::new();
    source.trace(id, &mut rows)?;
    read.set(source.bytes())?;
    for memory in &snapshot.memories {
        rows.extend(memory.trace(id));
    }
    keep_first(&mut rows);
    budget.samples(rows.len() as u64)?;
    let mut held = budget.holding();
    held.add(weight_of(&rows) as u64)?;
    Ok((rows, held))
}

/// The rows of a trace in the parts of a source and all memories, each identity once: the first arrival.
pub(crate) fn rows_everywhere(
    snapshot: &Snapshot<Spans>,
    source: &mut Source<'_>,
    id: TraceId,
) -> Result<Vec<Row>, SelectError> {
    let mut rows = Vec::new();
    source.trace(id, &mut rows)?;
    for memory in &snapshot.memories {
        rows.extend(memory.trace(id));
    }
    keep_first(&mut rows);
    Ok(rows)
}

/// Which rows of blocks were chosen.
struct Chosen<'a, 'b> {
    choose: &'a mut Choose<'b>,
    /// By part and block.
    blocks: HashMap<(usize, usize), Vec<bool>>,
    held: HeldBytes<'a>,
}

impl Chosen<'_, '_> {
    /// Whether a trace has a chosen span.
    fn has(
        &mut self,
        snapshot: &Snapshot<Spans>,
        source: &mut Source<'_>,
        id: TraceId,
    ) -> Result<bool, SelectError> {
        for (number, memory) in snapshot.memories.iter().enumerate() {
            for (block, row) in memory.places(id) {
                // Behind those of the parts.
                let key = (source.parts().len() + number, block as usize);
                let rows = match self.blocks.entry(key) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(empty) => {
                        let Some(held) = memory.block(block) else {
                            return Ok(true);
                        };
                        let rows = (self.choose)(&columns::of_held(&held, None))?;
                        self.held.add(rows.len() as u64)?;
                        empty.insert(rows)
                    }
                };
                if rows.get(row as usize).copied().unwrap_or(true) {
                    return Ok(true);
                }
            }
        }
        for number in 0..source.parts().len() {
            let part = source.parts()[number];
            let Some(place) = part.find(id)? else {
                continue;
            };
            for row in source.table(number)?.rows(place) {
                let (block, row) = part.block_of(row);
                let rows = match self.blocks.entry((number, block)) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(empty) => {
                        let rows = (self.choose)(&columns::open(part, block, None)?)?;
                        self.held.add(rows.len() as u64)?;
                        empty.insert(rows)
                    }
                };
                if rows.get(row).copied().unwrap_or(true) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// What is known of a trace before it is read.
struct Candidate {
    start: Timestamp,
    /// Conditions that may hold.
    mask: u64,
}

/// The traces with a span near the range that may fulfil all conditions, newest first.
fn candidates(
    snapshot: &Snapshot<Spans>,
    source: &mut Source<'_>,
    range: TimeRange,
    hints: &Hints<'_>,
    budget: &Budget,
    read: &mut HeldBytes<'_>,
) -> Result<Vec<(Timestamp, TraceId)>, SelectError> {
    let mut found: HashMap<TraceId, Candidate> = HashMap::new();
    let mut held = budget.holding();
    let mut enter = |id: TraceId| {
        if let Entry::Vacant(entry) = found.entry(id) {
            budget.series(1)?;
            held.add(CANDIDATE_BYTES)?;
            entry.insert(Candidate {
                start: Timestamp::MAX,
                mask: 0,
            });
        }
        Ok::<(), BudgetError>(())
    };
    for number in 0..source.parts().len() {
        let part = source.parts()[number];
        if !part.hull().overlaps(range) {
            continue;
        }
        let ids = part.ids()?;
        let table = source.table(number)?;
        for index in 0..part.trace_count() {
            if table.hull(ids.place(index)?).overlaps(range) {
                enter(ids.id(index))?;
            }
        }
        read.set(source.bytes())?;
    }
    for memory in &snapshot.memories {
        for (id, _) in memory
            .hulls()
            .into_iter()
            .filter(|(_, hull)| hull.overlaps(range))
        {
            enter(id)?;
        }
    }
    // A late span may lie anywhere: every source is asked about every candidate.
    for number in 0..source.parts().len() {
        complete_from_part(source, number, hints, &mut found)?;
        read.set(source.bytes())?;
        budget.check()?;
    }
    for memory in &snapshot.memories {
        let blocks = memory.blocks();
        let masks: Vec<u64> = blocks.iter().map(|h| hints.of_held(&h.block)).collect();
        memory.each(|id, hull, places| {
            if let Some(candidate) = found.get_mut(&id) {
                candidate.start = candidate.start.min(hull.start);
                for (block, _) in places {
                    // What came after the list of blocks was made may hold.
                    let mask = masks.get(*block as usize).copied();
                    candidate.mask |= mask.unwrap_or_else(|| hints.all());
                }
            }
        });
        budget.check()?;
    }
    found.retain(|_, candidate| candidate.mask == hints.all());
    let mut order: Vec<(Timestamp, TraceId)> = found
        .into_iter()
        .map(|(id, candidate)| (candidate.start, id))
        .collect();
    order.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    Ok(order)
}

/// Adds what one part knows about the candidates: start and conditions that may hold.
fn complete_from_part(
    source: &mut Source<'_>,
    number: usize,
    hints: &Hints<'_>,
    found: &mut HashMap<TraceId, Candidate>,
) -> Result<(), SelectError> {
    let part = source.parts()[number];
    let masks = part.masks(hints)?;
    let mut places = Vec::new();
    if part.trace_count() < found.len() {
        let ids = part.ids()?;
        for index in 0..part.trace_count() {
            let id = ids.id(index);
            if found.contains_key(&id) {
                places.push((id, ids.place(index)?));
            }
        }
    } else {
        for id in found.keys() {
            if let Some(place) = part.find(*id)? {
                places.push((*id, place));
            }
        }
    }
    if places.is_empty() {
        return Ok(());
    }
    let table = source.table(number)?;
    for (id, place) in places {
        let Some(candidate) = found.get_mut(&id) else {
            continue;
        };
        candidate.start = candidate.start.min(table.hull(place).start);
        let rows = table.rows(place);
        if rows.is_empty() {
            continue;
        }
        let (first, _) = part.block_of(rows.start);
        let (last, _) = part.block_of(rows.end - 1);
        for mask in &masks[first..=last] {
            candidate.mask |= mask;
        }
    }
    Ok(())
}
