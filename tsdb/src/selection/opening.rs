//! A selection while its sources are searched.
//!
//! Invariant: what is found in memory is frozen under the lock under which it was found.

use std::collections::HashMap;

use obs_model::{Budget, Matcher, TimeRange};
use obs_storage::Snapshot;

use super::{Found, Place, Selection, find_in_part, sorted};
use crate::column::MilliRange;
use crate::deletion::Mask;
use crate::error::SelectError;
use crate::head::{Frozen, HeadReader};
use crate::kind::Metrics;
use crate::select::{Source, find_visible};

/// A selection while its sources are searched.
pub(super) struct Opening<'a, 'b> {
    matchers: &'b [Matcher],
    range: TimeRange,
    found: Found<'b>,
    sources: Vec<Source<'a>>,
    masks: Vec<Mask>,
    frozen: Vec<Frozen>,
}

impl<'a, 'b> Opening<'a, 'b> {
    pub(super) fn new(
        snapshot: &Snapshot<Metrics>,
        (matchers, range): (&'b [Matcher], TimeRange),
        budget: &'b Budget,
    ) -> Self {
        Self {
            matchers,
            range,
            found: Found {
                budget,
                numbers: HashMap::default(),
                labels: Vec::new(),
                places: Vec::new(),
                several: snapshot.parts.len() + snapshot.memories.len() > 1,
            },
            sources: Vec::new(),
            masks: Vec::new(),
            frozen: Vec::new(),
        }
    }

    pub(super) fn parts(&mut self, snapshot: &'a Snapshot<Metrics>) -> Result<(), SelectError> {
        let range = MilliRange::of(self.range);
        for (index, open) in snapshot.parts.iter().enumerate() {
            let (part, hidden) = (&open.part, snapshot.hidden.in_part(index));
            if !part.range().overlaps(self.range) {
                continue;
            }
            let (set, mask) = find_visible(part, hidden, self.matchers, range)?;
            let at = self.add(Source::Part(part, hidden), mask, Frozen::default());
            find_in_part(part, at, &set, range, &mut self.found)?;
        }
        Ok(())
    }

    pub(super) fn memories(
        &mut self,
        snapshot: &'a Snapshot<Metrics>,
        heads: &[HeadReader<'_>],
    ) -> Result<(), SelectError> {
        let range = MilliRange::of(self.range);
        for (index, (memory, head)) in snapshot.memories.iter().zip(heads).enumerate() {
            let held = head.time_range();
            if !held.is_some_and(|held| held.overlaps(self.range)) {
                continue;
            }
            let hidden = snapshot.hidden.in_memory(index);
            let (set, mask) = find_visible(head, hidden, self.matchers, range)?;
            let (mut frozen, at) = (Frozen::default(), self.sources.len() as u32);
            for number in set {
                self.found.budget.check()?;
                if head.has_samples(number, range)? {
                    let labels = head.labels(number);
                    self.found.add(labels, Place { source: at, number })?;
                    let bytes = head.freeze(number, &mut frozen);
                    self.found.budget.bytes(bytes as u64)?;
                }
            }
            self.add(Source::Memory(memory, hidden), mask, frozen);
        }
        Ok(())
    }

    fn add(&mut self, source: Source<'a>, mask: Mask, frozen: Frozen) -> u32 {
        self.sources.push(source);
        self.masks.push(mask);
        self.frozen.push(frozen);
        self.sources.len() as u32 - 1
    }

    pub(super) fn finish(self) -> Selection<'a> {
        let (labels, starts, places) = sorted(self.found.labels, &self.found.places);
        Selection {
            sources: self.sources,
            masks: self.masks,
            frozen: self.frozen,
            range: MilliRange::of(self.range),
            labels,
            starts,
            places,
        }
    }
}
