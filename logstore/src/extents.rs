//! Where the bytes of streams lie in time, from the index alone: what volumes are made of.
//!
//! Invariant: what is told of a stream adds up to what [`crate::stats`] tells of it, but for blocks
//! that reach out of the range, which are told whole.

use std::collections::HashMap;

use obs_model::{Budget, BudgetError, Labels, Matcher, TimeRange, Timestamp};
use obs_storage::Snapshot;
use roaring::RoaringBitmap;

use crate::catalog::part_blocks;
use crate::error::SelectError;
use crate::kind::Logs;
use crate::part::{Block, Part};
use crate::postings::resolve;

/// Records of one stream that stand together.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// The stream.
    pub labels: &'a Labels,
    /// From the first to the last of them.
    pub range: TimeRange,
    /// How many.
    pub records: u64,
    /// Bytes of their lines.
    pub bytes: u64,
}

/// Takes what [`extents`] finds.
pub type VisitExtent<'a> = dyn FnMut(Extent<'_>) -> Result<(), BudgetError> + 'a;

/// Tells where matching streams have records in the range. Retries that are not merged yet count.
pub fn extents(
    snapshot: &Snapshot<Logs>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
    visit: &mut VisitExtent<'_>,
) -> Result<(), SelectError> {
    for part in &snapshot.parts {
        of_part(&part.part, matchers, range, budget, visit)?;
    }
    for memory in &snapshot.memories {
        memory.read(|inner| {
            for stream in resolve(&inner.postings, matchers)? {
                let rows = &inner.streams[stream as usize];
                if !rows.range.overlaps(range) {
                    continue;
                }
                budget.check()?;
                for timed in rows.ordered(range).iter() {
                    let at = Timestamp::from_nanos(timed.time);
                    visit(Extent {
                        labels: &rows.labels,
                        range: TimeRange::new(at, at),
                        records: 1,
                        bytes: rows.row(timed.row).0.len() as u64,
                    })?;
                }
            }
            Ok::<(), SelectError>(())
        })?;
    }
    Ok(())
}

fn of_part(
    part: &Part,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
    visit: &mut VisitExtent<'_>,
) -> Result<(), SelectError> {
    let mut held = budget.holding();
    let mut blocks: Vec<Block> = Vec::new();
    let mut streams = RoaringBitmap::new();
    part_blocks(part, matchers, range, budget, &mut |place| {
        held.add(size_of::<Block>() as u64)?;
        streams.insert(place.block.stream);
        blocks.push(place.block);
        Ok(())
    })?;
    let mut labels: HashMap<u32, Labels> = HashMap::new();
    let mut charged = Ok(());
    part.labels(&streams, |stream, own| {
        if charged.is_ok() {
            charged = held.add(own.packed().len() as u64);
            labels.insert(stream, own);
        }
    })?;
    charged?;
    for block in blocks {
        let Some(labels) = labels.get(&block.stream) else {
            continue;
        };
        visit(Extent {
            labels,
            range: block.range(),
            records: block.rows as u64,
            bytes: block.bytes,
        })?;
    }
    Ok(())
}
