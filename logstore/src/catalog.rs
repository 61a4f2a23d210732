//! Reads what there is without reading lines: streams, label names and values, sizes.
//!
//! Invariant: a stream is told when it may have a record in the range. In parts that is decided by
//! the ranges of its blocks, so a stream with a gap over the whole range may be told too.

use std::collections::{BTreeSet, HashSet};

use obs_model::{Budget, BudgetError, Labels, Matcher, TimeRange};
use obs_storage::Snapshot;
use roaring::RoaringBitmap;

use crate::admit::KnownStreams;
use crate::error::SelectError;
use crate::extents::extents;
use crate::kind::Logs;
use crate::part::{Block, Group, Part};
use crate::postings::resolve;

/// A block of an index page that a query wants.
pub(crate) struct BlockPlace<'a> {
    pub(crate) group: &'a Group,
    /// Rows of all blocks of the group.
    pub(crate) group_rows: usize,
    pub(crate) block: Block,
    /// The how-manieth of its group it is.
    pub(crate) nth: usize,
    /// The block's first row in the group.
    pub(crate) first_row: usize,
}

/// Calls `visit` for every block of a matching stream that overlaps the range, in order of stream
/// and time.
pub(crate) fn part_blocks(
    part: &Part,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
    visit: &mut dyn FnMut(BlockPlace<'_>) -> Result<(), SelectError>,
) -> Result<(), SelectError> {
    if !part.range().overlaps(range) {
        return Ok(());
    }
    let streams = resolve(part, matchers)?;
    for head in part.pages() {
        budget.check()?;
        let wanted = streams.range_cardinality(head.streams.clone()) > 0;
        if !wanted || !crate::part::nanos(head.min, head.max).overlaps(range) {
            continue;
        }
        let page = part.page(head)?;
        for group in &page.groups {
            let blocks = &page.blocks[group.blocks.clone()];
            let group_rows = blocks.iter().map(|b| b.rows).sum();
            let mut first_row = 0;
            for (nth, block) in blocks.iter().enumerate() {
                if block.range().overlaps(range) && streams.contains(block.stream) {
                    visit(BlockPlace {
                        group,
                        group_rows,
                        block: *block,
                        nth,
                        first_row,
                    })?;
                }
                first_row += block.rows;
            }
        }
    }
    Ok(())
}

/// The streams of a part that may have records in the range.
fn part_streams(
    part: &Part,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<RoaringBitmap, SelectError> {
    // Every stream of a part has a row, so one that lies inside the range needs no index.
    if covers(range, part.range()) {
        return Ok(resolve(part, matchers)?);
    }
    let mut found = RoaringBitmap::new();
    part_blocks(part, matchers, range, budget, &mut |place| {
        found.insert(place.block.stream);
        Ok(())
    })?;
    Ok(found)
}

fn covers(outer: TimeRange, inner: TimeRange) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// The labels of the streams that may have records in the range, ascending.
pub fn streams(
    snapshot: &Snapshot<Logs>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<Labels>, SelectError> {
    let matchers = &*snapshot.confine(matchers);
    let mut found: BTreeSet<Labels> = BTreeSet::new();
    let mut add = |labels: Labels| -> Result<(), BudgetError> {
        let bytes = labels.packed().len() as u64;
        if found.insert(labels) {
            budget.series(1)?;
            budget.bytes(bytes)?;
        }
        Ok(())
    };
    for part in &snapshot.parts {
        let streams = part_streams(&part.part, matchers, range, budget)?;
        let mut result = Ok(());
        part.part.labels(&streams, |_, labels| {
            if result.is_ok() {
                result = add(labels);
            }
        })?;
        result?;
    }
    for memory in &snapshot.memories {
        memory.read(|inner| {
            for stream in resolve(&inner.postings, matchers)? {
                let rows = &inner.streams[stream as usize];
                if rows.range.overlaps(range) {
                    add(rows.labels.clone())?;
                }
            }
            Ok::<(), SelectError>(())
        })?;
    }
    Ok(found.into_iter().collect())
}

/// The label names of matching streams, ascending.
pub fn label_names(
    snapshot: &Snapshot<Logs>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<String>, SelectError> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut rest = snapshot.clone();
    if matchers.is_empty() && snapshot.confined.is_empty() {
        // The directory answers for parts that lie inside the range.
        for part in &snapshot.parts {
            if covers(range, part.part.range()) {
                found.extend(part.part.label_names().iter().cloned());
            }
        }
        rest.parts.retain(|part| !covers(range, part.part.range()));
    }
    for labels in streams(&rest, matchers, range, budget)? {
        for (name, _) in &labels {
            if !found.contains(name) {
                found.insert(name.to_owned());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The values of a label of matching streams, ascending.
pub fn label_values(
    snapshot: &Snapshot<Logs>,
    name: &str,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<String>, SelectError> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut rest = snapshot.clone();
    if matchers.is_empty() && snapshot.confined.is_empty() {
        // The postings answer for parts that lie inside the range.
        for part in &snapshot.parts {
            if covers(range, part.part.range()) {
                for value in part.part.label_values(name)? {
                    if !found.contains(&value) {
                        budget.bytes(value.len() as u64)?;
                        found.insert(value);
                    }
                }
            }
        }
        rest.parts.retain(|part| !covers(range, part.part.range()));
    }
    for labels in streams(&rest, matchers, range, budget)? {
        if let Some(value) = labels.get(name)
            && !found.contains(value)
        {
            found.insert(value.to_owned());
        }
    }
    Ok(found.into_iter().collect())
}

/// How much there is, as Loki's `index/stats` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Streams with records in the range.
    pub streams: u64,
    /// Blocks and runs that hold them.
    pub chunks: u64,
    /// Records; of minutes that reach out of the range the share inside it.
    pub entries: u64,
    /// Bytes of their lines.
    pub bytes: u64,
}

/// How much matching streams have in the range: exact but for the minutes at its ends.
pub fn stats(
    snapshot: &Snapshot<Logs>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<LogStats, SelectError> {
    let mut total = LogStats::default();
    let mut found: HashSet<Labels> = HashSet::new();
    let mut held = budget.holding();
    let chunks = extents(snapshot, matchers, range, budget, &mut |extent| {
        total.entries += share(extent.records, extent.range, range);
        total.bytes += share(extent.bytes, extent.range, range);
        if !found.contains(extent.labels) {
            held.add(extent.labels.packed().len() as u64)?;
            found.insert(extent.labels.clone());
        }
        Ok(())
    })?;
    (total.streams, total.chunks) = (found.len() as u64, chunks);
    Ok(total)
}

/// The part of `amount` that lies inside `range` when it is spread evenly over `spread`; at least
/// one where there is any.
fn share(amount: u64, spread: TimeRange, range: TimeRange) -> u64 {
    let width = |r: TimeRange| i128::from(r.end.nanos()) - i128::from(r.start.nanos()) + 1;
    let inside = width(spread.intersect(range)).max(0);
    let share = i128::from(amount) * inside / width(spread).max(1);
    // A share of an amount of 64 bits fits in 64 bits.
    (share as u64).max(u64::from(amount > 0))
}

/// The streams in the memories of a snapshot, for [`crate::admit`].
#[derive(Debug)]
pub struct MemoryStreams<'a>(pub &'a Snapshot<Logs>);

impl KnownStreams for MemoryStreams<'_> {
    fn count(&self) -> usize {
        // Sealed memories have mostly the same streams; the largest is close to the number.
        let counts = self.0.memories.iter().map(|memory| memory.stream_count());
        counts.max().unwrap_or(0)
    }

    fn has(&self, labels: &Labels) -> bool {
        self.0.memories.iter().any(|memory| memory.has(labels))
    }
}
