//! The traces that may match a search, newest first, found as they are asked for.
//!
//! Blocks of parts and memories are looked at from the one that ends last to the one that ends
//! first, and only at as many as are needed to be sure that no newer trace follows. Invariants: a
//! trace with a span near the range and, for each condition, a block where it may hold, is given
//! once; they come by their first start, the latest first, equal ones by id.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use obs_model::{Budget, HeldBytes, TimeRange, Timestamp, TraceId};
use obs_storage::{Corrupt, Snapshot};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::blockwise::{self, miscounted};
use crate::chosen::Chosen;
use crate::confined::Sight;
use crate::error::SelectError;
use crate::filter::Hints;
use crate::kind::Spans;
use crate::memory::Held;
use crate::shared;
use crate::source::Source;

/// Bytes that a trace takes that was seen.
const CANDIDATE_BYTES: u64 = 64;

/// Where traces are looked for.
#[derive(Clone, Copy)]
enum Place {
    /// A block of a part.
    Block(usize, usize),
    /// A block of a memory.
    Held(usize, usize),
}

/// Where a trace is that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Where {
    /// Maybe in many places.
    Anywhere,
    /// In one block of a part alone: part, block, first row, number of rows. It has a chosen span.
    Block(usize, usize, usize, usize),
}

/// The search for traces.
pub(crate) struct Candidates<'a, 'b> {
    snapshot: &'a Snapshot<Spans>,
    range: TimeRange,
    /// The mask in which every condition holds.
    all: u64,
    /// Of each part the conditions that may hold in each block, and in any.
    masks: Vec<(Vec<u64>, u64)>,
    /// The same of each memory.
    held_masks: Vec<(Vec<u64>, u64)>,
    held: Vec<Vec<Held>>,
    /// By the end of what they hold, the last first.
    places: Vec<(Timestamp, Place)>,
    /// Traces in more than one place.
    several: HashSet<TraceId>,
    seen: HashSet<TraceId, Xxh3DefaultBuilder>,
    found: BinaryHeap<(Timestamp, Reverse<TraceId>, Where)>,
    budget: &'b Budget,
    charged: HeldBytes<'b>,
    read: HeldBytes<'b>,
}

impl<'a, 'b> Candidates<'a, 'b> {
    pub(crate) fn new(
        snapshot: &'a Snapshot<Spans>,
        source: &Source<'a>,
        range: TimeRange,
        hints: &Hints<'_>,
        budget: &'b Budget,
    ) -> Result<Self, SelectError> {
        let any = |masks: Vec<u64>| {
            let any = masks.iter().fold(0, |any, mask| any | mask);
            (masks, any)
        };
        let mut masks = Vec::with_capacity(source.parts().len());
        for part in source.parts() {
            masks.push(any(part.masks(hints)?));
            budget.check()?;
        }
        let held: Vec<Vec<Held>> = snapshot.memories.iter().map(|m| m.blocks()).collect();
        let of_held =
            |held: &Vec<Held>| any(held.iter().map(|h| hints.of_held(&h.block)).collect());
        let mut candidates = Self {
            snapshot,
            range,
            all: hints.all(),
            masks,
            held_masks: held.iter().map(of_held).collect(),
            held,
            places: Vec::new(),
            several: shared::anywhere(snapshot, range, budget)?,
            seen: HashSet::default(),
            found: BinaryHeap::new(),
            budget,
            charged: budget.holding(),
            read: budget.holding(),
        };
        candidates.list(source);
        Ok(candidates)
    }

    /// Where traces may be that match.
    fn list(&mut self, source: &Source<'_>) {
        let any_part = self.masks.iter().map(|(_, any)| *any);
        let anys: Vec<u64> = any_part
            .chain(self.held_masks.iter().map(|(_, any)| *any))
            .collect();
        // Whether a trace with nothing in this block may have what is wanted somewhere else.
        let elsewhere = |own: usize| {
            let mut others = anys.iter().enumerate();
            others.any(|(number, any)| number != own && *any != 0)
        };
        let may = |mask: u64, own: usize| mask != 0 || self.all == 0 || elsewhere(own);
        for (number, part) in source.parts().iter().enumerate() {
            for (block, mask) in self.masks[number].0.iter().enumerate() {
                let hull = part.block_hull(block);
                if hull.overlaps(self.range) && may(*mask, number) {
                    self.places.push((hull.end, Place::Block(number, block)));
                }
            }
        }
        for (number, blocks) in self.held.iter().enumerate() {
            for (block, held) in blocks.iter().enumerate() {
                let mask = self.held_masks[number].0[block];
                let own = source.parts().len() + number;
                if held.hull.overlaps(self.range) && may(mask, own) {
                    self.places
                        .push((held.hull.end, Place::Held(number, block)));
                }
            }
        }
        // The last one is taken first.
        self.places.sort_by_key(|(end, _)| *end);
    }

    /// The next trace.
    pub(crate) fn next(
        &mut self,
        source: &mut Source<'a>,
        chosen: &mut Option<Chosen<'_, '_>>,
    ) -> Result<Option<(TraceId, Where)>, SelectError> {
        loop {
            let next = self.places.last().map(|(end, _)| *end);
            if let Some((start, Reverse(id), place)) = self.found.peek()
                && next.is_none_or(|end| *start > end)
            {
                let found = (*id, *place);
                self.found.pop();
                return Ok(Some(found));
            }
            let Some((_, place)) = self.places.pop() else {
                return Ok(None);
            };
            self.budget.check()?;
            let scattered = match place {
                Place::Block(part, block) => self.of_block(source, part, block, chosen)?,
                Place::Held(memory, block) => self.of_held(memory, block),
            };
            for id in scattered {
                if self.seen.contains(&id) {
                    continue;
                }
                if let Some(start) = self.start(source, id)? {
                    self.budget.series(1)?;
                    self.found.push((start, Reverse(id), Where::Anywhere));
                }
                self.charged.add(CANDIDATE_BYTES)?;
                self.seen.insert(id);
            }
            self.read.set(source.bytes())?;
        }
    }

    /// Notes the traces of a block of a part that are nowhere else, may match and of which a span
    /// is near the range; gives those that may be elsewhere too.
    fn of_block(
        &mut self,
        source: &mut Source<'a>,
        number: usize,
        block: usize,
        chosen: &mut Option<Chosen<'_, '_>>,
    ) -> Result<Vec<TraceId>, SelectError> {
        let part = source.parts()[number];
        let holds = self.masks[number].0[block] & self.all == self.all;
        let columns = blockwise::open(part, block, None)?;
        let ids = columns.traces()?;
        let seen = Sight::of(self.snapshot).seen(&columns)?;
        let rows = part.block_rows(block);
        let carried = usize::from(part.carried(block) > 0);
        let table = source.table(number, block)?;
        if table.len() + carried != ids.len() {
            return Err(miscounted(part, block, table.len() + carried).into());
        }
        let mut scattered = ids[..carried].to_vec();
        let mut whole = Vec::new();
        for (index, id) in ids.into_iter().skip(carried).enumerate() {
            let (own, hull) = (table.rows(index), table.hull(index));
            if !hull.overlaps(self.range) {
                continue;
            }
            if own.end > rows.end || self.several.contains(&id) {
                scattered.push(id);
            } else if holds {
                let own = own.start - rows.start..own.end - rows.start;
                match seen.of(&own) {
                    Some(true) => whole.push((id, hull.start, own)),
                    Some(false) => {}
                    None => scattered.push(id),
                }
            }
        }
        let marks = match chosen {
            Some(chosen) if !whole.is_empty() => {
                let own: Vec<_> = whole.iter().map(|(.., own)| own.clone()).collect();
                Some(chosen.of_block(part, number, block, &own)?)
            }
            _ => None,
        };
        for (id, start, own) in whole {
            let is_chosen = |marks: &[bool]| marks[own.clone()].contains(&true);
            if marks.is_none_or(is_chosen) {
                self.budget.series(1)?;
                self.charged.add(CANDIDATE_BYTES)?;
                let place = Where::Block(number, block, own.start, own.len());
                self.found.push((start, Reverse(id), place));
            }
        }
        Ok(scattered)
    }

    /// The traces of a block of memory of which a span may be near the range.
    fn of_held(&self, number: usize, block: usize) -> Vec<TraceId> {
        let memory = &self.snapshot.memories[number];
        let ids = self.held[number][block].block.traces.iter().copied();
        let near = |id: &TraceId| memory.hull(*id).is_some_and(|h| h.overlaps(self.range));
        ids.filter(near).collect()
    }

    /// The first start of a trace, if all conditions may hold. A late span may lie anywhere: every
    /// source is asked.
    fn start(&self, source: &mut Source<'a>, id: TraceId) -> Result<Option<Timestamp>, Corrupt> {
        let mut start = Timestamp::MAX;
        let mut found = 0;
        for (number, (masks, _)) in self.masks.iter().enumerate() {
            let part = source.parts()[number];
            let Some(place) = part.find(id)? else {
                continue;
            };
            let (hull, rows) = source.standing(number, place)?;
            start = start.min(hull.start);
            if rows.is_empty() {
                continue;
            }
            let (first, _) = part.block_of(rows.start);
            let (last, _) = part.block_of(rows.end - 1);
            for mask in &masks[first..=last] {
                found |= mask;
            }
        }
        for (memory, (masks, _)) in self.snapshot.memories.iter().zip(&self.held_masks) {
            if let Some(hull) = memory.hull(id) {
                start = start.min(hull.start);
                for (block, _) in memory.places(id) {
                    // What came after the blocks were listed may hold.
                    found |= masks.get(block as usize).copied().unwrap_or(self.all);
                }
            }
        }
        if found & self.all != self.all {
            return Ok(None);
        }
        match Sight::of(self.snapshot).is_whole() {
            true => Ok(Some(start)),
            false => self.seen_start(source, id),
        }
    }

    /// The first start of the spans of a trace that are seen.
    fn seen_start(
        &self,
        source: &mut Source<'a>,
        id: TraceId,
    ) -> Result<Option<Timestamp>, Corrupt> {
        let mut rows = Vec::new();
        source.places(id, &mut rows)?;
        for memory in &self.snapshot.memories {
            rows.extend(memory.rows(id));
        }
        let mut known = HashSet::with_capacity(rows.len());
        rows.retain(|(block, row)| known.insert(block.identity(*row)));
        Sight::of(self.snapshot).keep_places(&mut rows);
        let starts = rows.iter().map(|(block, row)| block.starts[*row]);
        Ok(starts.min().map(Timestamp::from_nanos))
    }
}
