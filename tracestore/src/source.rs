//! The parts of one read, with what was read of them so far.
//!
//! Invariant: holds at most `BLOCKS_MAX` blocks, so that a read of any size has bounded memory.

use std::sync::Arc;

use obs_model::TraceId;
use obs_storage::Corrupt;

use crate::block::Block;
use crate::part::{Part, Traces};
use crate::row::Row;

/// Blocks that are held: traces that are near in time share blocks, and parts overlap in time.
const BLOCKS_MAX: usize = 24;

/// Parts in order of arrival.
pub(crate) struct Source<'a> {
    parts: Vec<&'a Part>,
    traces: Vec<Option<Traces>>,
    /// The least recently used one first.
    blocks: Vec<(usize, usize, Arc<Block>)>,
    /// Of tables and blocks.
    bytes: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(parts: Vec<&'a Part>) -> Self {
        let traces = parts.iter().map(|_| None).collect();
        Self {
            parts,
            traces,
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

    /// The table of traces of a part.
    pub(crate) fn table(&mut self, part: usize) -> Result<&Traces, Corrupt> {
        let slot = &mut self.traces[part];
        let table = match slot.take() {
            Some(table) => table,
            None => {
                let table = self.parts[part].traces()?;
                self.bytes += table.bytes();
                table
            }
        };
        Ok(slot.insert(table))
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
            for number in self.table(part)?.rows(place) {
                let (number, row) = self.parts[part].block_of(number);
                let block = self.block(part, number)?;
                if block.trace_id(row) != id {
                    let place = format!("block {number} of {:?}", self.parts[part]);
                    return Err(Corrupt::new(
                        place,
                        row as u64,
                        format!("a row of trace {id}"),
                    ));
                }
                rows.push((block, row));
            }
        }
        Ok(())
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
