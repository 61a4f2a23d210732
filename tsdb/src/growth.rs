//! Which series are new: what makes the number of series grow, by metric and by label.
//!
//! Invariant: a series is new when it has samples in the later range and none in the earlier one;
//! times of samples decide, not those of blocks or parts, so that merges change no answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use obs_model::{Budget, Labels, Matcher, TimeRange};
use obs_storage::Snapshot;

use crate::cardinality::top;
use crate::column::MilliRange;
use crate::error::SelectError;
use crate::kind::Metrics;
use crate::part::TimesCache;
use crate::select::{Source, find_visible, for_groups, sources};

/// How the series of a later range differ from those of an earlier one; each list has the largest
/// entries first, equal ones by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Series with samples in the earlier range.
    pub before: u64,
    /// Series with samples in the later range only.
    pub new: u64,
    /// Series with samples in the earlier range only.
    pub gone: u64,
    /// New series by metric name.
    pub new_by_metric: Vec<(String, u64)>,
    /// New series by the label names whose value no earlier series had: what makes them new.
    pub new_by_label: Vec<(String, u64)>,
}

/// In which of the two ranges a series has samples.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    before: bool,
    after: bool,
}

/// Compares the series of two ranges; lists have at most `limit` entries.
pub fn growth(
    snapshot: &Snapshot<Metrics>,
    before: TimeRange,
    after: TimeRange,
    limit: usize,
    budget: &Budget,
) -> Result<Growth, SelectError> {
    let mut gathered = Gathered {
        before: MilliRange::of(before),
        after: MilliRange::of(after),
        confined: &snapshot.confined,
        budget,
        series: HashMap::new(),
    };
    for source in sources(snapshot, before.union(after)) {
        gathered.add(&source)?;
    }
    Ok(gathered.growth(limit))
}

struct Gathered<'a> {
    before: MilliRange,
    after: MilliRange,
    /// What series must meet to be seen.
    confined: &'a [Matcher],
    budget: &'a Budget,
    series: HashMap<Labels, Seen>,
}

impl Gathered<'_> {
    fn note(&mut self, labels: &Labels, seen: Seen) -> Result<(), SelectError> {
        if !(seen.before || seen.after) {
            return Ok(());
        }
        if !self.series.contains_key(labels) {
            self.budget.series(1)?;
            self.budget.bytes(labels.packed().len() as u64)?;
        }
        let known = self.series.entry(labels.clone()).or_default();
        known.before |= seen.before;
        known.after |= seen.after;
        Ok(())
    }

    /// Which ranges some ascending times lie in, without those that are hidden.
    fn seen(&self, times: &[i64], hides: &dyn Fn(i64) -> bool) -> Seen {
        let has = |range: MilliRange| {
            let (from, to) = range.find(times);
            times[from..to].iter().any(|time| !hides(*time))
        };
        Seen {
            before: has(self.before),
            after: has(self.after),
        }
    }

    fn add(&mut self, source: &Source<'_>) -> Result<(), SelectError> {
        let (before, after) = (self.before, self.after);
        let both = before.union(after);
        let overlaps = |range: MilliRange| range.overlaps(before) || range.overlaps(after);
        match source {
            Source::Memory(memory, hidden) => {
                let head = memory.read();
                let (found, mask) = find_visible(&head, hidden, self.confined, both)?;
                for id in found {
                    self.budget.check()?;
                    let times = head.column(id, both)?.times;
                    let seen = self.seen(&times, &|time| mask.hides(id, time));
                    self.note(head.labels(id), seen)?;
                }
                Ok(())
            }
            Source::Part(part, hidden) => {
                let (found, mask) = find_visible(*part, hidden, self.confined, both)?;
                let mut cache = TimesCache::new();
                let mut held = self.budget.holding();
                for_groups(part, &found, &mut |group, places| {
                    self.budget.check()?;
                    let labels = part.labels(group)?;
                    let blocks = &part.blocks[group.blocks.clone()];
                    for block in blocks.iter().filter(|block| overlaps(block.range)) {
                        held.set(block.bytes)?;
                        let open = part.open_block(group, block)?;
                        held.set(open.bytes())?;
                        for place in places {
                            let Some(times) = part.times(&open, *place, &mut cache)? else {
                                continue;
                            };
                            let id = group.first + *place as u32;
                            let seen = self.seen(&times, &|time| mask.hides(id, time));
                            self.note(&labels[*place], seen)?;
                        }
                    }
                    Ok(())
                })
            }
        }
    }

    fn growth(self, limit: usize) -> Growth {
        let mut growth = Growth::default();
        let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (labels, seen) in &self.series {
            if seen.before {
                growth.before += 1;
                growth.gone += u64::from(!seen.after);
                known.extend(labels);
            }
        }
        let mut metrics: BTreeMap<&str, u64> = BTreeMap::new();
        let mut names: BTreeMap<&str, u64> = BTreeMap::new();
        for (labels, _) in self.series.iter().filter(|(_, seen)| !seen.before) {
            growth.new += 1;
            *metrics
                .entry(labels.metric_name().unwrap_or(""))
                .or_default() += 1;
            for (name, _) in labels.into_iter().filter(|pair| !known.contains(pair)) {
                *names.entry(name).or_default() += 1;
            }
        }
        let owned = |(name, count): (&&str, &u64)| ((*name).to_owned(), *count);
        growth.new_by_metric = top(limit, metrics.iter().map(owned));
        growth.new_by_label = top(limit, names.iter().map(owned));
        growth
    }
}
