//! Where the series come from: what `/api/v1/status/tsdb` tells.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::{Budget, TimeRange};
use obs_storage::Snapshot;

use crate::error::SelectError;
use crate::kind::Metrics;
use crate::select::for_series;
use crate::selection::Selection;
use crate::tier::Resolution;

/// Counts of series and labels; each list has the largest entries first, equal ones by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series with samples in the range.
    pub series: u64,
    /// Distinct pairs of label name and value.
    pub pairs: u64,
    /// Samples in memories and parts, repetitions included; about, where the reader is confined.
    pub samples: u64,
    /// Series by metric name.
    pub series_by_metric: Vec<(String, u64)>,
    /// Distinct values by label name.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of all values by label name, once per series.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series by `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

/// Counts the series with samples in the range; lists have at most `limit` entries.
pub fn cardinality(
    snapshot: &Snapshot<Metrics>,
    range: TimeRange,
    limit: usize,
    budget: &Budget,
) -> Result<Cardinality, SelectError> {
    // Value → series, by label name.
    let mut labels: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut found = Cardinality::default();
    for_series(snapshot, &[], range, budget, &mut |series| {
        found.series += 1;
        for (name, value) in series {
            if !labels.contains_key(name) {
                labels.insert(name.to_owned(), BTreeMap::new());
            }
            let values = labels.get_mut(name).expect("it was just put there");
            match values.get_mut(value) {
                Some(count) => *count += 1,
                None => drop(values.insert(value.to_owned(), 1)),
            }
        }
    })?;
    let bytes = |values: &BTreeMap<String, u64>| {
        let each = values
            .iter()
            .map(|(value, series)| value.len() as u64 * series);
        each.sum::<u64>()
    };
    let names = labels.iter();
    found.values_by_label = top(
        limit,
        names.clone().map(|(n, v)| (n.clone(), v.len() as u64)),
    );
    found.bytes_by_label = top(limit, names.clone().map(|(n, v)| (n.clone(), bytes(v))));
    let metrics = labels.get(obs_model::labels::METRIC_NAME);
    let metrics = metrics.into_iter().flatten();
    found.series_by_metric = top(limit, metrics.map(|(value, count)| (value.clone(), *count)));
    found.pairs = labels.values().map(|values| values.len() as u64).sum();
    let pairs = names.flat_map(|(n, values)| values.iter().map(move |(v, c)| (n, v, *c)));
    found.series_by_pair = top(
        limit,
        pairs.map(|(n, v, count)| (format!("{n}={v}"), count)),
    );
    found.samples = samples(snapshot, budget)?;
    Ok(found)
}

fn samples(snapshot: &Snapshot<Metrics>, budget: &Budget) -> Result<u64, SelectError> {
    if !snapshot.confined.is_empty() {
        let as_is = Resolution::default();
        let seen = Selection::open(snapshot, &[], TimeRange::ALL, as_is, budget)?;
        return Ok(seen.estimate().samples);
    }
    let memories: u64 = snapshot.memories.iter().map(|m| m.read().samples).sum();
    // Tiers have none of their own.
    let parts = snapshot.parts.iter().map(|p| &p.part);
    let parts: u64 = parts
        .filter(|p| p.resolution == 0)
        .map(|p| p.samples())
        .sum();
    Ok(memories + parts)
}

/// The largest entries, never more than `limit` held at a time.
pub(crate) fn top(
    limit: usize,
    entries: impl Iterator<Item = (String, u64)>,
) -> Vec<(String, u64)> {
    let mut largest: BTreeSet<(std::cmp::Reverse<u64>, String)> = BTreeSet::new();
    for (name, count) in entries {
        largest.insert((std::cmp::Reverse(count), name));
        if largest.len() > limit {
            largest.pop_last();
        }
    }
    let sorted = largest.into_iter();
    sorted.map(|(count, name)| (name, count.0)).collect()
}
