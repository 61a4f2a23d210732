//! The parts of one read, with what was read of them so far.
//!
//! Invariant: holds at most `BLOCKS_MAX` blocks, so that a read of any size has bounded memory.

use std::ops::Range;
use std::sync::Arc;

use obs_model::{TimeRange, TraceId};
use obs_storage::Corrupt;

use crate::block::Block;
use crate::part::{Part, Traces};
use crate::row::Row;

/// Blocks that are held: traces that are near in time share blocks, and parts overlap in time.
const BLOCKS_MAX: usize = 24;

/// Parts in order of arrival.
pub(crate) struct Source<'a> {
    parts: Vec<&'a Part>,
    /// Of each part the table that was read last, and of which block.
    tables: Vec<Option<(usize, Traces)>>,
    /// The least recently used one first.
    blocks: Vec<(usize, usize, Arc<Block>)>,
    /// Of blocks.
    bytes: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(parts: Vec<&'a Part>) -> Self {
        let tables = parts.iter().map(|_| None).collect();
        Self {
            parts,
            tables,
            blocks: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn parts(&self) -> &[&'a Part] {
        &self.parts
    }

    /// Bytes that are held now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// The traces that begin in a block of a part.
    pub(crate) fn table(&mut self, part: usize, block: usize) -> Result<&Traces, Corrupt> {
        let slot = &mut self.tables[part];
        let known = match slot.take() {
            Some((known, table)) if known == block => (known, table),
            _ => (block, self.parts[part].table(block)?),
        };
        Ok(&slot.insert(known).1)
    }

    /// The range and the rows of a trace of a part, by its place.
    pub(crate) fn standing(
        &mut self,
        part: usize,
        place: usize,
    ) -> Result<(TimeRange, Range<usize>), Corrupt> {
        let block = self.parts[part].block_of_trace(place);
        let table = self.table(part, block)?;
        match table.number(place) {
            Some(number) => Ok((table.hull(number), table.rows(number))),
            None => {
                let wanted = format!("a trace at place {place}");
                Err(Corrupt::new(self.parts[part].name(), 0, wanted))
            }
        }
    }

    /// Appends the rows of a trace, in order of arrival of the parts.
    pub(crate) fn trace(&mut self, id: TraceId, rows: &mut Vec<Row>) -> Result<(), Corrupt> {
        let mut places = Vec::new();
        self.places(id, &mut places)?;
        rows.extend(places.into_iter().map(|(block, row)| block.row(row)));
        Ok(())
    }

    /// The same, as blocks and numbers of rows.
    pub(crate) fn places(
        &mut self,
        id: TraceId,
        rows: &mut Vec<(Arc<Block>, usize)>,
    ) -> Result<(), Corrupt> {
        for part in 0..self.parts.len() {
            let Some(place) = self.parts[part].find(id)? else {
                continue;
            };
            for number in self.standing(part, place)?.1 {
                let (number, row) = self.parts[part].block_of(number);
                let block = self.block(part, number)?;
                self.check(&block, (part, number, row), id)?;
                rows.push((block, row));
            }
        }
        Ok(())
    }

    /// Appends the rows of a trace that is in one block alone.
    pub(crate) fn rows(
        &mut self,
        (part, number): (usize, usize),
        own: Range<usize>,
        id: TraceId,
        rows: &mut Vec<Row>,
    ) -> Result<(), Corrupt> {
        let block = self.block(part, number)?;
        for row in own {
            self.check(&block, (part, number, row), id)?;
            rows.push(block.row(row));
        }
        Ok(())
    }

    fn check(
        &self,
        block: &Block,
        (part, number, row): (usize, usize, usize),
        id: TraceId,
    ) -> Result<(), Corrupt> {
        if row < block.len() && block.trace_id(row) == id {
            return Ok(());
        }
        let place = format!("block {number} of {:?}", self.parts[part]);
        let wanted = format!("a row of trace {id}");
        Err(Corrupt::new(place, row as u64, wanted))
    }

    fn block(&mut self, part: usize, number: usize) -> Result<Arc<Block>, Corrupt> {
        let found = self
            .blocks
            .iter()
            .rposition(|(p, n, _)| (*p, *n) == (part, number));
        if let Some(index) = found {
            let last = self.blocks.len() - 1;
            if index != last {
                self.blocks[index..].rotate_left(1);
            }
            return Ok(Arc::clone(&self.blocks[last].2));
        }
        let block = Arc::new(self.parts[part].block(number)?);
        self.bytes += block.bytes();
        if self.blocks.len() >= BLOCKS_MAX {
            let (_, _, oldest) = self.blocks.remove(0);
            self.bytes -= oldest.bytes();
        }
        self.blocks.push((part, number, Arc::clone(&block)));
        Ok(block)
    }
}
