//! How many bytes there are, by labels and over time: Loki's `index/volume` and
//! `index/volume_range`.
//!
//! Invariant: lines are read only where records are hidden or may be stored twice. What reaches over a
//! border, a minute mostly, is spread evenly over its own range, so sums over steps are the same as the sum over all of them but for rounding.

use std::collections::{BTreeMap, BTreeSet};

use obs_logstore::{Logs, Snapshot, extents};
use obs_model::{Budget, BudgetError, Labels, MatchOp, Matcher, TimeRange};

use crate::column::Grid;
use crate::error::QueryError;

/// What volumes are added up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeBy {
    /// Each set of values of the target labels.
    #[default]
    Series,
    /// Each target label, whatever its values.
    Labels,
}

/// Names and values of an entry; a value is empty where it does not matter.
type Key = Vec<(String, String)>;

/// Which volumes are asked for.
#[derive(Clone, Debug, Default)]
pub struct VolumeRequest {
    /// Conditions on the streams.
    pub matchers: Vec<Matcher>,
    /// The labels to add up by; those of the matchers where there are none, all where there are
    /// no matchers either.
    pub targets: Vec<String>,
    /// By what.
    pub by: VolumeBy,
    /// Most entries; the largest are kept.
    pub limit: usize,
}

/// Bytes of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Names and values; a value is empty where it does not matter.
    pub labels: Vec<(String, String)>,
    /// Bytes in each step.
    pub bytes: Vec<u64>,
}

impl Volume {
    fn total(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

impl VolumeRequest {
    /// The matchers, so that streams without a target label are left out.
    fn narrowed(&self) -> Vec<Matcher> {
        let mut matchers = self.matchers.clone();
        if self.by == VolumeBy::Series {
            let present = |name: &String| Matcher::new(name, MatchOp::NotEqual, "").ok();
            matchers.extend(self.targets.iter().filter_map(present));
        }
        matchers
    }

    fn targets(&self) -> Option<BTreeSet<&str>> {
        if !self.targets.is_empty() {
            return Some(self.targets.iter().map(String::as_str).collect());
        }
        if self.matchers.is_empty() {
            return None;
        }
        Some(self.matchers.iter().map(|m| m.name.as_str()).collect())
    }

    /// The entries that a stream counts for.
    fn keys(&self, labels: &Labels) -> Vec<Key> {
        let targets = self.targets();
        let wanted = |name: &str| targets.as_ref().is_none_or(|t| t.contains(name));
        let pairs = labels.iter().filter(|(name, _)| wanted(name));
        match self.by {
            VolumeBy::Series => {
                let key: Vec<_> = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                if key.is_empty() {
                    Vec::new()
                } else {
                    vec![key]
                }
            }
            VolumeBy::Labels => pairs
                .map(|(name, _)| vec![(name.to_owned(), String::new())])
                .collect(),
        }
    }
}

/// The volumes of a range, the largest first.
pub fn volume(
    snapshot: &Snapshot<Logs>,
    request: &VolumeRequest,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<Volume>, QueryError> {
    let width = range.end.nanos().saturating_sub(range.start.nanos());
    let grid = Grid {
        start: range.start,
        step: width.saturating_add(1).max(1),
        count: 1,
    };
    volume_range(snapshot, request, &grid, budget)
}

/// The volumes of the steps of a grid, each from its time to the next, the largest first.
pub fn volume_range(
    snapshot: &Snapshot<Logs>,
    request: &VolumeRequest,
    grid: &Grid,
    budget: &Budget,
) -> Result<Vec<Volume>, QueryError> {
    let last = grid.end().saturating_add(grid.step - 1);
    let range = TimeRange::new(grid.start, last);
    let mut found: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
    let mut held = budget.holding();
    // Extents of a stream mostly follow each other.
    let mut known: Option<(Labels, Vec<Key>)> = None;
    extents(
        snapshot,
        &request.narrowed(),
        range,
        budget,
        &mut |extent| {
            if known
                .as_ref()
                .is_none_or(|(labels, _)| labels != extent.labels)
            {
                known = Some((extent.labels.clone(), request.keys(extent.labels)));
            }
            let keys = known.iter().flat_map(|(_, keys)| keys);
            for key in keys {
                let bytes = match found.get_mut(key) {
                    Some(bytes) => bytes,
                    None => {
                        held.add(entry_bytes(key, grid.count))?;
                        found.entry(key.clone()).or_insert(vec![0; grid.count])
                    }
                };
                spread(extent.bytes, extent.range, grid, bytes);
            }
            Ok::<(), BudgetError>(())
        },
    )?;
    let mut volumes: Vec<Volume> = found
        .into_iter()
        .map(|(labels, bytes)| Volume { labels, bytes })
        .filter(|volume| volume.total() > 0)
        .collect();
    // Stable, so that equal volumes stay in order of labels.
    volumes.sort_by_key(|volume| std::cmp::Reverse(volume.total()));
    volumes.truncate(request.limit);
    Ok(volumes)
}

fn entry_bytes(key: &[(String, String)], steps: usize) -> u64 {
    let text: usize = key.iter().map(|(n, v)| n.len() + v.len() + 48).sum();
    (text + 8 * steps) as u64
}

/// Adds an amount that is spread evenly over `extent` to the steps that it lies in.
fn spread(amount: u64, extent: TimeRange, grid: &Grid, out: &mut [u64]) {
    let (first, last) = (extent.start.nanos(), extent.end.nanos());
    let (start, step) = (i128::from(grid.start.nanos()), i128::from(grid.step));
    let width = i128::from(last) - i128::from(first) + 1;
    let position = |at: i64| (i128::from(at) - start).div_euclid(step);
    let from = position(first).max(0);
    let to = position(last).min(out.len() as i128 - 1);
    let mut step_at = from;
    while step_at <= to {
        // Shares are differences of rounded sums, so that they add up to the whole.
        let begin = (start + step_at * step - i128::from(first)).clamp(0, width);
        let end = (start + (step_at + 1) * step - i128::from(first)).clamp(0, width);
        let share = i128::from(amount) * end / width - i128::from(amount) * begin / width;
        if let Some(slot) = usize::try_from(step_at).ok().and_then(|at| out.get_mut(at)) {
            *slot = slot.saturating_add(u64::try_from(share).unwrap_or(0));
        }
        step_at += 1;
    }
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
    }

    fn grid(start: i64, step: i64, count: usize) -> Grid {
        let start = Timestamp::from_nanos(start);
        Grid { start, step, count }
    }

    #[test]
    fn amounts_are_spread_over_steps() {
        let check = |extent: TimeRange, expect: [u64; 3]| {
            let mut out = [0; 3];
            spread(100, extent, &grid(0, 10, 3), &mut out);
            assert_eq!(out, expect, "{extent:?}");
        };
        check(range(5, 5), [100, 0, 0]);
        check(range(0, 19), [50, 50, 0]);
        check(range(-10, 9), [50, 0, 0]);
        check(range(25, 34), [0, 0, 50]);
        check(range(50, 60), [0, 0, 0]);
    }

    #[test]
    fn what_streams_count_for() {
        let check = |targets: &[&str], matchers: &[&str], by: VolumeBy, expect: &str| {
            let request = VolumeRequest {
                matchers: matchers.iter().map(|n| Matcher::equal(*n, "x")).collect(),
                targets: targets.iter().map(|t| (*t).to_owned()).collect(),
                by,
                limit: 10,
            };
            let keys = request.keys(&Labels::from_pairs([("a", "1"), ("b", "2")]));
            assert_eq!(format!("{keys:?}"), expect);
        };
        check(&["a"], &["b"], VolumeBy::Series, r#"[[("a", "1")]]"#);
        check(&[], &["b"], VolumeBy::Series, r#"[[("b", "2")]]"#);
        check(&[], &[], VolumeBy::Series, r#"[[("a", "1"), ("b", "2")]]"#);
        check(&[], &[], VolumeBy::Labels, r#"[[("a", "")], [("b", "")]]"#);
        check(&["c"], &[], VolumeBy::Series, "[]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn shares_add_up(amount in 0u64..1 << 50, first in -50i64..50, width in 0i64..200, step in 1i64..40) {
            let mut out = vec![0; 500];
            spread(amount, range(first, first + width), &grid(-50, step, 500), &mut out);
            prop_assert_eq!(out.iter().sum::<u64>(), amount);
        }
    }
}
