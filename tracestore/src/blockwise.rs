//! Scans by columns: block by block where spans stand alone, or by whole traces.
//!
//! Invariants: every span that starts in the range is given once, the first arrival of each
//! identity; a scan of traces gives all rows of a trace together, one behind the other in order of
//! storage. What is held is one block's columns, and what several places have of the traces that
//! lie in more than one.

use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use obs_model::{Budget, TimeRange, TraceId};
use obs_storage::{Corrupt, Snapshot};

use crate::block::{self, Block};
use crate::build::{Builder, Map};
use crate::columns::{Columns, Source};
use crate::confined::Sight;
use crate::error::SelectError;
use crate::filter::{Condition, Hints};
use crate::kind::Spans;
use crate::memory::Held;
use crate::opened::Open;
use crate::part::Part;
use crate::row::Identity;
use crate::shared;
use crate::source;

/// Rows of traces from several places that are given together.
const GATHERED_ROWS: usize = block::ROWS_MAX;
/// Estimate of what a gathered row takes while it is held.
const ROW_BYTES: u64 = 400;

/// What takes the columns of a scan; `Break` ends it.
pub type Look<'a> = dyn FnMut(&Columns<'_>) -> Result<ControlFlow<()>, SelectError> + 'a;

/// What takes whole traces as columns: the rows of each; other rows are not to be looked at.
pub type LookTraces<'a> =
    dyn FnMut(&Columns<'_>, &[Range<usize>]) -> Result<ControlFlow<()>, SelectError> + 'a;

/// Gives all spans of memories and parts that may start in the range and of which one may meet all
/// conditions, in no particular order. Spans outside the range or the conditions are among them.
pub fn scan_columns(
    snapshot: &Snapshot<Spans>,
    range: TimeRange,
    conditions: &[Condition],
    budget: &Budget,
    look: &mut Look<'_>,
) -> Result<(), SelectError> {
    let hints = Hints::new(conditions);
    let sight = Sight::of(snapshot);
    let near: Vec<&Part> = parts_of(snapshot)
        .filter(|p| p.hull().overlaps(range))
        .collect();
    // A span that arrives again starts when it started.
    let several = shared::near(snapshot, range, budget)?;
    for part in &near {
        let asked = (range, &hints, sight);
        if blocks(part, asked, &several, budget, look)?.is_break() {
            return Ok(());
        }
    }
    for memory in &snapshot.memories {
        for held in memory.blocks() {
            if !held.hull.overlaps(range) || hints.of_held(&held.block) != hints.all() {
                continue;
            }
            budget.check()?;
            let mut columns = of_held(&held, Some(&several));
            if !sight.narrow(&mut columns)? {
                continue;
            }
            if charged(&columns, budget, |c| look(c))?.is_break() {
                return Ok(());
            }
        }
    }
    let mut gathering = Gathering::new(snapshot, near, budget);
    for id in gathering.in_order(several)? {
        gathering.add(id)?;
        if gathering.is_full() && gathering.give(|columns, _| look(columns))?.is_break() {
            return Ok(());
        }
    }
    gathering.give(|columns, _| look(columns)).map(|_| ())
}

/// Gives all traces of memories and parts of which a span may touch the range and, for each
/// condition, a span may meet it, in no particular order.
pub fn scan_traces(
    snapshot: &Snapshot<Spans>,
    range: TimeRange,
    conditions: &[Condition],
    budget: &Budget,
    look: &mut LookTraces<'_>,
) -> Result<(), SelectError> {
    let hints = Hints::new(conditions);
    let sight = Sight::of(snapshot);
    // A late span may lie in any part.
    let mut several = shared::anywhere(snapshot, range, budget)?;
    for part in parts_of(snapshot).filter(|p| p.hull().overlaps(range)) {
        for (number, mask) in part.masks(&hints)?.into_iter().enumerate() {
            budget.check()?;
            if !part.block_hull(number).overlaps(range) {
                continue;
            }
            let rows = part.block_rows(number);
            let columns = open(part, number, None)?;
            let seen = sight.seen(&columns)?;
            let ids = columns.traces()?;
            let table = part.table(number)?;
            let carried = usize::from(part.carried(number) > 0);
            if table.len() + carried != ids.len() {
                return Err(miscounted(part, number, table.len() + carried).into());
            }
            several.extend(&ids[..carried]);
            let mut whole = Vec::with_capacity(table.len());
            for (index, id) in ids.into_iter().skip(carried).enumerate() {
                let own = table.rows(index);
                if !table.hull(index).overlaps(range) {
                    continue;
                }
                if own.end > rows.end {
                    several.insert(id);
                } else if mask == hints.all() && !several.contains(&id) {
                    let own = own.start - rows.start..own.end - rows.start;
                    match seen.of(&own) {
                        Some(true) => whole.push(own),
                        Some(false) => {}
                        None => drop(several.insert(id)),
                    }
                }
            }
            if whole.is_empty() {
                continue;
            }
            if charged(&columns, budget, |c| look(c, &whole))?.is_break() {
                return Ok(());
            }
        }
    }
    for memory in &snapshot.memories {
        let masks: Vec<u64> = {
            let held = memory.blocks();
            held.iter().map(|h| hints.of_held(&h.block)).collect()
        };
        for (id, hull) in memory.hulls() {
            // What came after the blocks were listed may hold.
            let mask = |(block, _): (u32, u32)| masks.get(block as usize).copied();
            let any = |found: u64, place| found | mask(place).unwrap_or(hints.all());
            let may = || memory.places(id).into_iter().fold(0, any) == hints.all();
            if hull.overlaps(range) && (hints.all() == 0 || may()) {
                several.insert(id);
            }
        }
        budget.check()?;
    }
    let mut gathering = Gathering::new(snapshot, parts_of(snapshot).collect(), budget);
    for id in gathering.in_order(several)? {
        gathering.add(id)?;
        if gathering.is_full() && gathering.give(&mut *look)?.is_break() {
            return Ok(());
        }
    }
    gathering.give(look).map(|_| ())
}

fn parts_of(snapshot: &Snapshot<Spans>) -> impl Iterator<Item = &Part> {
    snapshot.parts.iter().map(|p| &p.part)
}

/// A block that has other traces than the table of its part says.
pub(crate) fn miscounted(part: &Part, block: usize, traces: usize) -> Corrupt {
    let place = format!("block {block} of {}", part.name());
    Corrupt::new(place, 0, format!("{traces} traces"))
}

/// Lets columns be looked at while they are charged to the budget.
fn charged(
    columns: &Columns<'_>,
    budget: &Budget,
    look: impl FnOnce(&Columns<'_>) -> Result<ControlFlow<()>, SelectError>,
) -> Result<ControlFlow<()>, SelectError> {
    let rows = columns.len() as u64;
    budget.samples(rows)?;
    let mut held = budget.holding();
    held.add(rows * 16)?;
    let flow = look(columns)?;
    budget.release_samples(rows);
    Ok(flow)
}

/// Traces that lie in several places, put together as blocks.
struct Gathering<'a, 'b> {
    snapshot: &'a Snapshot<Spans>,
    source: source::Source<'a>,
    budget: &'b Budget,
    read: obs_model::HeldBytes<'b>,
    builder: Builder,
    maps: HashMap<usize, (Arc<Block>, Map)>,
    traces: Vec<Range<usize>>,
}

impl<'a, 'b> Gathering<'a, 'b> {
    fn new(snapshot: &'a Snapshot<Spans>, parts: Vec<&'a Part>, budget: &'b Budget) -> Self {
        Self {
            snapshot,
            source: source::Source::new(parts),
            budget,
            read: budget.holding(),
            builder: Builder::default(),
            maps: HashMap::new(),
            traces: Vec::new(),
        }
    }

    /// Traces in order of their starts in parts: those that are near in time share blocks.
    fn in_order(&mut self, ids: HashSet<TraceId>) -> Result<Vec<TraceId>, SelectError> {
        let mut order = Vec::with_capacity(ids.len());
        for id in ids {
            let mut start = i64::MAX;
            for part in 0..self.source.parts().len() {
                if let Some(place) = self.source.parts()[part].find(id)? {
                    let (hull, _) = self.source.standing(part, place)?;
                    start = start.min(hull.start.nanos());
                }
            }
            order.push((start, id));
        }
        order.sort_unstable();
        Ok(order.into_iter().map(|(_, id)| id).collect())
    }

    /// Adds the rows of a trace, each identity once: the first arrival.
    fn add(&mut self, id: TraceId) -> Result<(), SelectError> {
        let mut rows = Vec::new();
        self.source.places(id, &mut rows)?;
        for memory in &self.snapshot.memories {
            rows.extend(memory.rows(id));
        }
        let mut seen: HashSet<Identity> = HashSet::with_capacity(rows.len());
        rows.retain(|(block, row)| seen.insert(block.identity(*row)));
        Sight::of(self.snapshot).keep_places(&mut rows);
        rows.sort_by_key(|(block, row)| block.order(*row));
        let begin = self.builder.len();
        for (block, row) in rows {
            let address = Arc::as_ptr(&block).addr();
            let entry = self.maps.entry(address);
            let (block, map) = entry.or_insert_with(|| (block, Map::default()));
            self.builder.copy(block, row, map);
        }
        self.traces.push(begin..self.builder.len());
        let held = self.builder.len() as u64 * ROW_BYTES;
        self.read.set(self.source.bytes() + held)?;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.builder.len() >= GATHERED_ROWS
    }

    /// Gives what was gathered, and begins anew.
    fn give(
        &mut self,
        look: impl FnOnce(&Columns<'_>, &[Range<usize>]) -> Result<ControlFlow<()>, SelectError>,
    ) -> Result<ControlFlow<()>, SelectError> {
        self.budget.check()?;
        self.maps.clear();
        let block = std::mem::take(&mut self.builder).finish();
        let mut traces = std::mem::take(&mut self.traces);
        traces.retain(|rows| !rows.is_empty());
        let Some(hull) = block.hull() else {
            return Ok(ControlFlow::Continue(()));
        };
        let columns = Columns {
            len: block.len(),
            hull,
            source: Source::Held(Arc::new(block)),
            apart: None,
        };
        charged(&columns, self.budget, |c| look(c, &traces))
    }
}

/// Gives the blocks of a part.
fn blocks(
    part: &Part,
    (range, hints, sight): (TimeRange, &Hints<'_>, Sight<'_>),
    several: &HashSet<TraceId>,
    budget: &Budget,
    look: &mut Look<'_>,
) -> Result<ControlFlow<()>, SelectError> {
    let masks = part.masks(hints)?;
    let apart = apart(part, several)?;
    for (number, mask) in masks.iter().enumerate() {
        budget.check()?;
        if *mask != hints.all() || !part.block_hull(number).overlaps(range) {
            continue;
        }
        let rows = part.block_rows(number);
        let mut columns = open(part, number, apart.as_ref().map(|a| a[rows].to_vec()))?;
        if !sight.narrow(&mut columns)? {
            continue;
        }
        let flow = charged(&columns, budget, |c| look(c))?;
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A block of memory as columns; rows of `several` traces are given elsewhere.
pub(crate) fn of_held(held: &Held, several: Option<&HashSet<TraceId>>) -> Columns<'static> {
    let block = &held.block;
    let elsewhere: Vec<bool> = several.map_or(Vec::new(), |several| {
        block.traces.iter().map(|id| several.contains(id)).collect()
    });
    let mut apart = None;
    if !held.again.is_empty() || elsewhere.contains(&true) {
        let is_apart = |(row, trace): (usize, &u32)| {
            let elsewhere = elsewhere.get(*trace as usize).copied().unwrap_or(false);
            elsewhere || held.again.contains(&(row as u32))
        };
        apart = Some(block.of_trace.iter().enumerate().map(is_apart).collect());
    }
    Columns {
        len: block.len(),
        hull: held.hull,
        source: Source::Held(Arc::clone(block)),
        apart,
    }
}

/// A block as columns.
pub(crate) fn open(
    part: &Part,
    number: usize,
    apart: Option<Vec<bool>>,
) -> Result<Columns<'_>, Corrupt> {
    Ok(Columns {
        len: part.block_rows(number).len(),
        hull: part.block_hull(number),
        source: Source::Block(Box::new(Open::new(part, number)?)),
        apart,
    })
}

/// For each row of a part whether its trace is given elsewhere; `None` where none is.
fn apart(part: &Part, several: &HashSet<TraceId>) -> Result<Option<Vec<bool>>, SelectError> {
    if several.is_empty() {
        return Ok(None);
    }
    let mut source = source::Source::new(vec![part]);
    let mut apart = None;
    // Neighbours share a table.
    let mut places = Vec::new();
    for id in several {
        places.extend(part.find(*id)?);
    }
    places.sort_unstable();
    for place in places {
        {
            let (_, rows) = source.standing(0, place)?;
            let all = part.block_rows(part.block_count() - 1).end;
            apart.get_or_insert_with(|| vec![false; all])[rows].fill(true);
        }
    }
    Ok(apart)
}
