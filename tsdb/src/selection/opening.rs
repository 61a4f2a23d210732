//! A selection while its sources are searched.
//!
//! Invariant: what is found in memory is frozen under the lock under which it was found.

use std::borrow::Cow;
use std::collections::HashMap;

use obs_model::{Budget, Matcher, TimeRange};
use obs_storage::Snapshot;

use super::{Found, Place, Selection, find_in_part, sorted};
use crate::column::MilliRange;
use crate::deletion::Mask;
use crate::error::SelectError;
use crate::head::{Frozen, HeadReader};
use crate::kind::Metrics;
use crate::select::{Source, find_visible, sources_at};
use crate::tier::Resolution;

/// A selection while its sources are searched.
pub(super) struct Opening<'a, 'b> {
    matchers: Cow<'b, [Matcher]>,
    range: TimeRange,
    resolution: Resolution,
    found: Found<'b>,
    sources: Vec<Source<'a>>,
    masks: Vec<Mask>,
    frozen: Vec<Frozen>,
    rough: Vec<bool>,
}

impl<'a, 'b> Opening<'a, 'b> {
    pub(super) fn new(
        snapshot: &Snapshot<Metrics>,
        (matchers, range, resolution): (&'b [Matcher], TimeRange, Resolution),
        budget: &'b Budget,
    ) -> Self {
        Self {
            matchers: snapshot.confine(matchers),
            range,
            resolution,
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
            rough: Vec::new(),
        }
    }

    pub(super) fn parts(&mut self, snapshot: &'a Snapshot<Metrics>) -> Result<(), SelectError> {
        let range = MilliRange::of(self.range);
        let (chosen, rough) = sources_at(snapshot, &self.matchers, self.range, self.resolution)?;
        for (source, rough) in chosen.into_iter().zip(rough) {
            let Source::Part(part, hidden) = source else {
                continue;
            };
            let (set, mask) = find_visible(part, hidden, &self.matchers, range)?;
            let at = self.add(source, mask, Frozen::default(), rough);
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
            let (set, mask) = find_visible(head, hidden, &self.matchers, range)?;
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
            self.add(Source::Memory(memory, hidden), mask, frozen, false);
        }
        Ok(())
    }

    fn add(&mut self, source: Source<'a>, mask: Mask, frozen: Frozen, rough: bool) -> u32 {
        self.sources.push(source);
        self.masks.push(mask);
        self.frozen.push(frozen);
        self.rough.push(rough);
        self.sources.len() as u32 - 1
    }

    pub(super) fn finish(self) -> Selection<'a> {
        let (labels, starts, places) = sorted(self.found.labels, &self.found.places);
        let ranges = self.sources.iter().map(Source::range).collect();
        Selection {
            rough: self.rough,
            ranges,
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
