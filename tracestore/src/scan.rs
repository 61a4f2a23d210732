//! Reads whole traces: one by id, or all that may match, newest first.
//!
//! Invariants: a trace is given with all its spans from all memories and parts, whatever the
//! range; each trace once; what is held is the list of candidates and a few blocks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;

use obs_model::{Budget, BudgetError, HeldBytes, SpanBatch, TraceId};
use obs_storage::Snapshot;

use crate::candidates::Candidates;
use crate::columns::{self, Columns};
use crate::error::SelectError;
use crate::filter::{Hints, SpanFilter};
use crate::kind::Spans;
use crate::memory::weight_of;
use crate::row::{Row, batch, keep_first};
use crate::source::Source;

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
    let mut candidates = Candidates::new(snapshot, &source, filter.range, &hints, budget)?;
    while let Some(id) = candidates.next(&mut source)? {
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
