//! What the trace store tells the storage engine about itself.
//!
//! Invariant: flush and merge write every row that starts in their range, each identity once.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use obs_model::{TimeRange, Timestamp};
use obs_storage::{Corrupt, Kind, MemoryBytes, PartReader, PartWriter};

use crate::memory::Memory;
use crate::part::Part;
use crate::write::Writer;
use crate::{merge, record};

/// The signal "spans".
#[derive(Clone, Copy, Debug)]
pub enum Spans {}

impl Kind for Spans {
    const NAME: &'static str = "spans";
    type Memory = Memory;
    type Part = Part;
    type Selector = Infallible;

    fn apply(memory: &Memory, _segment: u64, record: &[u8]) -> Result<(), Corrupt> {
        memory.push(record::read(record)?);
        Ok(())
    }

    fn bytes(memory: &Memory) -> MemoryBytes {
        MemoryBytes::from(memory.bytes())
    }

    fn range(memory: &Memory) -> Option<TimeRange> {
        memory.range()
    }

    fn first_row(memory: &Memory, from: Timestamp) -> Option<Timestamp> {
        memory.first_row(from)
    }

    fn days(memory: &Memory) -> BTreeSet<i64> {
        memory.days()
    }

    fn flush(memory: &Memory, range: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
        let mut writer = Writer::new(out);
        let blocks = memory.blocks();
        for (_, id, places) in memory.starting_in(range) {
            let row = |(block, row): (u32, u32)| {
                (Arc::clone(&blocks[block as usize].block), row as usize)
            };
            let mut rows: Vec<_> = places.into_iter().map(row).collect();
            rows.sort_by_key(|(block, row)| block.order(*row));
            writer.trace(id, &rows);
        }
        writer.finish();
        Ok(())
    }

    fn open(part: PartReader) -> Result<Part, Corrupt> {
        Part::open(part)
    }

    fn merge(parts: &[&Part], keep: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
        merge::merge(parts, keep, out)
    }
}
