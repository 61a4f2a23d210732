//! Reads whole traces: one by id, or all that may match, newest first.
//!
//! Invariants: a trace is given with all its spans from all memories and parts, whatever the
//! range; each trace once; what is held is the list of candidates and a few blocks.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use obs_model::{Budget, BudgetError, HeldBytes, SpanBatch, TraceId};
use obs_storage::Snapshot;

use crate::blockwise;
use crate::candidates::{Candidates, Where};
use crate::chosen::Chosen;
use crate::columns::Columns;
use crate::confined::Sight;
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

/// Says for each row of a block whether it is a span that a trace must have one of. The ranges of
/// rows are traces that are whole in this block: those without a chosen row are left out.
pub type Choose<'a> =
    dyn FnMut(&Columns<'_>, &[Range<usize>]) -> Result<Vec<bool>, SelectError> + 'a;

/// A trace of a scan.
#[derive(Debug)]
pub enum Found<'a> {
    /// Put together from wherever its spans are.
    Whole(SpanBatch),
    /// All of its spans: these rows of a block, one of them in the range. Hints were not asked
    /// span by span.
    Rows(&'a Columns<'a>, Range<usize>),
}

/// What takes what was found; `Break` ends the scan.
pub type Take<'a> = dyn FnMut(TraceId, Found<'_>) -> Result<ControlFlow<()>, SelectError> + 'a;

/// Gives the whole traces that may match, newest first by their first start (equal ones by id).
/// A retried span counts with all its starts until a merge drops the later arrivals; sources
/// retry with the same start.
pub fn scan(
    snapshot: &Snapshot<Spans>,
    filter: &SpanFilter,
    budget: &Budget,
    visit: &mut Visit<'_>,
) -> Result<(), SelectError> {
    let hints = Hints::new(&filter.conditions);
    let mut source = source_of(snapshot);
    let mut read = budget.holding();
    let mut candidates = Candidates::new(snapshot, &source, filter.range, &hints, budget)?;
    while let Some((id, place)) = candidates.next(&mut source, &mut None)? {
        budget.check()?;
        // Until the visitor is done with the trace; what it keeps it charges itself.
        let (rows, _held) = rows_at(snapshot, &mut source, (id, place), budget, &mut read)?;
        if wanted(&rows, filter, &hints) && visit(id, batch(rows))?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Whether a span is in the range and the hints hold.
fn wanted(rows: &[Row], filter: &SpanFilter, hints: &Hints<'_>) -> bool {
    let in_range = rows.iter().any(|row| row.range().overlaps(filter.range));
    in_range && hints.of_rows(rows) == hints.all()
}

/// As [`scan`], but traces that are in one block alone are given as its rows.
/// Where `choose` is given, traces in parts without a span that it chooses are left out before
/// they are read: it looks at columns of a block, once for each block.
pub fn scan_found(
    snapshot: &Snapshot<Spans>,
    filter: &SpanFilter,
    choose: Option<&mut Choose<'_>>,
    budget: &Budget,
    take: &mut Take<'_>,
) -> Result<(), SelectError> {
    let mut chosen = choose.map(|choose| Chosen::new(choose, budget));
    let hints = Hints::new(&filter.conditions);
    let mut source = source_of(snapshot);
    let mut read = budget.holding();
    let mut candidates = Candidates::new(snapshot, &source, filter.range, &hints, budget)?;
    // Of a block of which one trace is wanted columns are read, of others it is cheaper to have all.
    let mut looked: HashSet<(usize, usize)> = HashSet::new();
    while let Some((id, place)) = candidates.next(&mut source, &mut chosen)? {
        budget.check()?;
        if let Where::Block(part, block, first, count) = place
            && looked.insert((part, block))
        {
            let columns = blockwise::open(source.parts()[part], block, None)?;
            let own = first..first + count;
            if columns.touches(&own, filter.range)? {
                budget.samples(count as u64)?;
                let flow = take(id, Found::Rows(&columns, own))?;
                budget.release_samples(count as u64);
                if flow.is_break() {
                    break;
                }
            }
            continue;
        }
        if place == Where::Anywhere
            && let Some(chosen) = &mut chosen
            && !chosen.has(snapshot, &mut source, id)?
        {
            continue;
        }
        // Until the taker is done with the trace; what it keeps it charges itself.
        let (rows, _held) = rows_at(snapshot, &mut source, (id, place), budget, &mut read)?;
        if wanted(&rows, filter, &hints) && take(id, Found::Whole(batch(rows)))?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The rows of a trace that was found.
fn rows_at<'b>(
    snapshot: &Snapshot<Spans>,
    source: &mut Source<'_>,
    (id, place): (TraceId, Where),
    budget: &'b Budget,
    read: &mut HeldBytes<'_>,
) -> Result<(Vec<Row>, HeldBytes<'b>), SelectError> {
    match place {
        Where::Anywhere => rows_of(snapshot, source, id, budget, read),
        Where::Block(part, block, first, count) => {
            let mut rows = Vec::with_capacity(count);
            source.rows((part, block), first..first + count, id, &mut rows)?;
            read.set(source.bytes())?;
            charge(rows, budget)
        }
    }
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
    // The first arrival counts also where it is not seen, so that merges change no answer.
    keep_first(&mut rows);
    Sight::of(snapshot).keep(&mut rows);
    charge(rows, budget)
}

/// Charges rows to the budget.
fn charge(rows: Vec<Row>, budget: &Budget) -> Result<(Vec<Row>, HeldBytes<'_>), SelectError> {
    budget.samples(rows.len() as u64)?;
    let mut held = budget.holding();
    held.add(weight_of(&rows) as u64)?;
    Ok((rows, held))
}
