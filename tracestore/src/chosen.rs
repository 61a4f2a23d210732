//! Which spans of blocks a query needs, found by its look at columns: once for each block.
//!
//! Invariant: a trace without a chosen span anywhere cannot match.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use obs_model::{Budget, HeldBytes, TraceId};
use obs_storage::Snapshot;

use crate::blockwise;
use crate::error::SelectError;
use crate::kind::Spans;
use crate::part::Part;
use crate::scan::Choose;
use crate::source::Source;

/// Which rows of blocks were chosen.
pub(crate) struct Chosen<'a, 'b> {
    choose: &'a mut Choose<'b>,
    /// By part and block.
    blocks: HashMap<(usize, usize), Vec<bool>>,
    held: HeldBytes<'a>,
}

impl<'a, 'b> Chosen<'a, 'b> {
    pub(crate) fn new(choose: &'a mut Choose<'b>, budget: &'a Budget) -> Self {
        Self {
            choose,
            blocks: HashMap::new(),
            held: budget.holding(),
        }
    }

    /// The chosen rows of a block of a part that has these traces whole.
    pub(crate) fn of_block(
        &mut self,
        part: &Part,
        number: usize,
        block: usize,
        whole: &[Range<usize>],
    ) -> Result<&[bool], SelectError> {
        Ok(match self.blocks.entry((number, block)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(empty) => {
                let rows = (self.choose)(&blockwise::open(part, block, None)?, whole)?;
                self.held.add(rows.len() as u64)?;
                empty.insert(rows)
            }
        })
    }

    /// Whether a trace has a chosen span, wherever.
    pub(crate) fn has(
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
                        let rows = (self.choose)(&blockwise::of_held(&held, None), &[])?;
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
            for row in source.standing(number, place)?.1 {
                let (block, row) = part.block_of(row);
                let rows = self.of_block(part, number, block, &[])?;
                if rows.get(row).copied().unwrap_or(true) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
