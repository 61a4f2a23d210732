//! What one signal says about itself to the engine: how a record enters memory, how memory becomes
//! a part, how parts are opened and merged.
//!
//! Invariant: every function is deterministic in its inputs, so that replay rebuilds what was lost.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use obs_model::time::NANOS_PER_DAY;
use obs_model::{TimeRange, Timestamp};

use crate::deletion::Hidden;
use crate::error::Corrupt;
use crate::part::{PartReader, PartWriter};

/// A part that is merged, and what of it is to be left out.
pub struct Input<'a, K: Kind> {
    /// The part.
    pub part: &'a K::Part,
    /// Rows that go.
    pub hidden: &'a [Hidden<K>],
}

impl<K: Kind> fmt::Debug for Input<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({:?})", self.hidden)
    }
}

/// Where a [`Draft`] is going to.
#[derive(Debug)]
pub struct Target<'a, K: Kind> {
    /// The memory that the record will be applied to, now and at replay.
    pub memory: &'a K::Memory,
    /// Memories of the tenant that wait to become parts, oldest first.
    pub sealed: Vec<Arc<K::Memory>>,
    /// The journal segment that the record will be in. Each memory's first segment is its own.
    pub segment: u64,
}

/// What arrived for one tenant, on its way through the journal into memory. Unlike a finished
/// record it is encoded for the very memory that it goes to, and applied without being decoded.
pub trait Draft<K: Kind> {
    /// Appends the record.
    fn encode(&mut self, target: &Target<'_, K>, record: &mut Vec<u8>);

    /// Does to memory what [`Kind::apply`] of the record does; called when it is durable.
    fn apply(&mut self, memory: &K::Memory) -> Result<(), Corrupt>;

    /// Called instead of `apply` when the record did not get into the journal.
    fn abort(&mut self, memory: &K::Memory);
}

/// What memory takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBytes {
    /// Estimate of all resident bytes.
    pub all: usize,
    /// Of those, the ones that a flush does not give back, because what follows needs them again:
    /// they do not make a flush due.
    pub fixed: usize,
}

impl From<usize> for MemoryBytes {
    fn from(all: usize) -> Self {
        Self { all, fixed: 0 }
    }
}

/// A signal: metrics, logs or spans. Memory and parts are per tenant.
pub trait Kind: Send + Sync + Sized + 'static {
    /// The folder of the signal and the kind that its files carry, at most 32 bytes of `a-z`.
    const NAME: &'static str;

    /// Records that are not in a part yet. Locked inside: readers read while the writer applies.
    type Memory: Default + Send + Sync;

    /// An opened part: what is worth keeping in memory about it.
    type Part: Send + Sync;

    /// Which rows a deletion or a rule of retention takes; `Infallible` where there is neither.
    type Selector: Send + Sync;

    /// Whether it has tiers; without, none are made and retention is by rows.
    const TIERS: bool = false;

    /// Reads a selector; the default reads none.
    fn selector(bytes: &[u8]) -> Result<Self::Selector, Corrupt> {
        let _ = bytes;
        let expected = format!("no selector: {} are not deleted by one", Self::NAME);
        Err(Corrupt::new("selector", 0, expected))
    }

    /// Whether a part may have rows that the selector takes. `true` costs a rewrite of the part;
    /// `false` where there are some would keep them.
    fn may_select(part: &Self::Part, selector: &Self::Selector) -> Result<bool, Corrupt> {
        let _ = (part, selector);
        Ok(true)
    }

    /// Puts one record into memory, at replay and wherever a record is written as it is. A record
    /// may lean on earlier ones of the same journal `segment` and tenant, never on others: memory
    /// can be flushed between two segments. It must find out itself when one of those is missing. A
    /// record that is refused changes nothing that is read.
    fn apply(memory: &Self::Memory, segment: u64, record: &[u8]) -> Result<(), Corrupt>;

    /// The memory that takes records after this one was sealed. It may share with it what both
    /// need; it has no rows.
    fn follow(memory: &Self::Memory) -> Self::Memory {
        let _ = memory;
        Self::Memory::default()
    }

    /// Estimate of the resident bytes of memory; cheap, it is asked after every write.
    fn bytes(memory: &Self::Memory) -> MemoryBytes;

    /// The smallest range that holds every row; `None` when there is none.
    fn range(memory: &Self::Memory) -> Option<TimeRange>;

    /// The time of the earliest row at or after `from`; `None` when there is none.
    ///
    /// Flush asks it to skip windows without rows. An answer that is too early costs an empty
    /// window; one that is too late would lose rows. The default answers `from` itself.
    fn first_row(memory: &Self::Memory, from: Timestamp) -> Option<Timestamp> {
        let range = Self::range(memory)?;
        (from <= range.end).then_some(from.max(range.start))
    }

    /// The days (UTC, counted from the epoch) that rows lie in; asked before a batch is taken in.
    /// The default walks from row to row.
    fn days(memory: &Self::Memory) -> BTreeSet<i64> {
        let mut days = BTreeSet::new();
        let mut next = Self::range(memory).and_then(|r| Self::first_row(memory, r.start));
        while let Some(row) = next {
            let day = row.nanos().div_euclid(NANOS_PER_DAY);
            if !days.insert(day) {
                break; // the last day of time has no next one
            }
            let from = (day + 1).saturating_mul(NANOS_PER_DAY);
            next = Self::first_row(memory, Timestamp::from_nanos(from));
        }
        days
    }

    /// Writes the rows inside `range` as sections, then tells their number with
    /// [`PartWriter::rows`]. Writing nothing is fine: then there is no part.
    fn flush(memory: &Self::Memory, range: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt>;

    /// Opens a part: checks the sections that it needs at once, leaves the rest for later.
    fn open(part: PartReader) -> Result<Self::Part, Corrupt>;

    /// Writes the rows of all parts that are inside `keep` as one part, duplicates removed.
    /// Parts come in order of arrival: where the first arrival wins, the first part wins.
    fn merge(parts: &[&Self::Part], keep: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt>;

    /// The same, of each part without what is hidden in it. The default is for signals that have no
    /// selectors.
    fn merge_visible(
        inputs: &[Input<'_, Self>],
        keep: TimeRange,
        out: &mut PartWriter,
    ) -> Result<(), Corrupt> {
        let parts: Vec<&Self::Part> = inputs.iter().map(|input| input.part).collect();
        Self::merge(&parts, keep, out)
    }

    /// Writes what stands for the rows of all parts that are inside `keep`, one row for about so
    /// many nanoseconds. Writing nothing is fine: then there is no such part.
    fn downsample(
        inputs: &[Input<'_, Self>],
        keep: TimeRange,
        resolution: i64,
        out: &mut PartWriter,
    ) -> Result<(), Corrupt> {
        let _ = (inputs, keep, resolution, out);
        Ok(())
    }
}
