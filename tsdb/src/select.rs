//! Reads over all memories and parts of a snapshot.
//!
//! Invariants: sources are read in order of arrival, so that the first arrival of a sample wins
//! here as it does in flush and merge, and the answer does not depend on which of them ran; what a
//! read costs is charged to the budget before it is decoded or copied.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::labels::METRIC_NAME;
use obs_model::metrics::{Exemplar, Metadata};
use obs_model::{Budget, Labels, Matcher, Samples, TimeRange};
use obs_storage::{Corrupt, Hidden, Snapshot};
use roaring::RoaringBitmap;

use crate::column::MilliRange;
use crate::deletion::Mask;
use crate::error::SelectError;
use crate::gather::TimesTable;
use crate::head::push_exemplar;
use crate::kind::Metrics;
use crate::part::{Group, Part};
use crate::postings::{Index, find};
use crate::selection::{Need, Selection};
use crate::tier::{Resolution, Use, choose};

/// One series of a selection.
#[derive(Clone, Debug)]
pub struct SelectedSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its samples in the range, at least one.
    pub samples: Samples,
}

/// The series that meet all matchers, with their samples in the range; sorted by labels.
pub fn select(
    snapshot: &Snapshot<Metrics>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<SelectedSeries>, SelectError> {
    let as_is = Resolution::default();
    let selection = Selection::open(snapshot, matchers, range, as_is, budget)?;
    let mut times = TimesTable::default();
    let mut selected = Vec::with_capacity(selection.len());
    for chunk in selection.chunks(0) {
        selection.read(chunk, Need::Values, &mut times, budget, |one| {
            budget.bytes(16 * one.floats.len() as u64)?;
            selected.push(SelectedSeries {
                labels: selection.labels(one.index).clone(),
                samples: Samples {
                    times: one.times.to_vec(),
                    floats: one.floats.to_vec(),
                    histograms: one.histograms.to_vec(),
                    starts: one.starts.to_vec(),
                },
            });
            Ok::<(), SelectError>(())
        })?;
    }
    Ok(selected)
}

/// Where series are read from, in order of arrival, and what of it is hidden.
pub(crate) enum Source<'a> {
    Part(&'a Part, &'a [Hidden<Metrics>]),
    Memory(&'a crate::Memory, &'a [Hidden<Metrics>]),
}

impl Source<'_> {
    /// When its samples are, at most.
    pub(crate) fn range(&self) -> MilliRange {
        let range = match self {
            Self::Part(part, _) => Some(part.range()),
            Self::Memory(memory, _) => memory.read().time_range(),
        };
        MilliRange::of(range.unwrap_or(TimeRange::ALL))
    }
}

/// The series of an index that meet all matchers and may have something visible in a range, and
/// what is hidden of them.
pub(crate) fn find_visible(
    index: &dyn Index,
    hidden: &[Hidden<Metrics>],
    matchers: &[Matcher],
    range: MilliRange,
) -> Result<(RoaringBitmap, Mask), Corrupt> {
    let mut found = find(index, matchers)?;
    if hidden.is_empty() || found.is_empty() {
        return Ok((found, Mask::default()));
    }
    let mask = Mask::new(index, hidden)?;
    mask.narrow(&mut found, range);
    Ok((found, mask))
}

/// The parts and memories that may have rows in the range.
pub(crate) fn sources(snapshot: &Snapshot<Metrics>, range: TimeRange) -> Vec<Source<'_>> {
    let hidden = &snapshot.hidden;
    let parts = snapshot.parts.iter().enumerate();
    let parts = parts.map(|(index, open)| (&open.part, hidden.in_part(index)));
    let parts = parts.filter(|(part, _)| part.range().overlaps(range));
    let memories = snapshot.memories.iter().enumerate();
    let memories = memories.map(|(index, memory)| (&**memory, hidden.in_memory(index)));
    let overlaps = |memory: &crate::Memory| {
        let held = memory.read().time_range();
        held.is_some_and(|held| held.overlaps(range))
    };
    let memories = memories.filter(|(memory, _)| overlaps(memory));
    parts
        .map(|(part, hidden)| Source::Part(part, hidden))
        .chain(memories.map(|(memory, hidden)| Source::Memory(memory, hidden)))
        .collect()
}

/// The same for samples: each sample is in one of them, and how coarse it may be decides in which.
/// Tells which sources are coarser than that.
pub(crate) fn sources_at<'a>(
    snapshot: &'a Snapshot<Metrics>,
    matchers: &[Matcher],
    range: TimeRange,
    resolution: Resolution,
) -> Result<(Vec<Source<'a>>, Vec<bool>), Corrupt> {
    let uses = choose(snapshot, matchers, range, resolution)?;
    let of = |source: &Source<'_>| match source {
        Source::Part(part, _) => {
            let mut parts = snapshot.parts.iter();
            let index = parts.position(|open| std::ptr::eq(&raw const open.part, *part));
            index.map_or(Use::Read, |index| uses[index])
        }
        Source::Memory(..) => Use::Read,
    };
    let all = sources(snapshot, range).into_iter();
    let used = all.map(|source| (of(&source), source));
    let used = used.filter(|(how, _)| *how != Use::Skip);
    Ok(used
        .map(|(how, source)| (source, how == Use::Rough))
        .unzip())
}

/// What of a range a part has.
fn part_within(part: &Part, range: MilliRange) -> MilliRange {
    range.intersect(MilliRange::of(part.range()))
}

/// The smallest range that holds all rows of the memories: what may still change. Parts do not.
pub fn recent(snapshot: &Snapshot<Metrics>) -> Option<TimeRange> {
    let ranges = snapshot
        .memories
        .iter()
        .filter_map(|m| m.read().time_range());
    ranges.reduce(TimeRange::union)
}

/// Takes a group and the places of series in it.
pub(crate) type VisitGroup<'a> = dyn FnMut(&Group, &[usize]) -> Result<(), SelectError> + 'a;

/// Takes a source's index and some of its series, `None` for all.
type VisitIndex<'a> = dyn FnMut(&dyn Index, Option<&RoaringBitmap>) -> Result<(), SelectError> + 'a;

/// Calls back with each group that has some of the series, and their places in it.
pub(crate) fn for_groups(
    part: &Part,
    series: &RoaringBitmap,
    each: &mut VisitGroup<'_>,
) -> Result<(), SelectError> {
    let mut places = Vec::new();
    let mut numbers = series.iter().peekable();
    while let Some(first) = numbers.peek().copied() {
        let group = &part.groups[part.group_of(first)];
        let end = group.first + group.series;
        places.clear();
        while let Some(number) = numbers.next_if(|n| *n < end) {
            places.push((number - group.first) as usize);
        }
        each(group, &places)?;
    }
    Ok(())
}

/// Calls back with the labels of each series of one source that meets the matchers and may have
/// samples in the range (a part knows that per block, not per series).
fn for_labels(
    source: &Source<'_>,
    matchers: &[Matcher],
    range: MilliRange,
    each: &mut dyn FnMut(&Labels) -> Result<(), SelectError>,
) -> Result<(), SelectError> {
    match source {
        Source::Memory(memory, hidden) => {
            let head = memory.read();
            let (found, mask) = find_visible(&head, hidden, matchers, range)?;
            for id in found {
                let labels = head.labels(id);
                let visible = if mask.concerns(id) {
                    !mask.visible(id, head.column(id, range)?).is_empty()
                } else {
                    head.has_samples(id, range)?
                };
                if visible {
                    each(labels)?;
                }
            }
            Ok(())
        }
        Source::Part(part, hidden) => {
            let within = part_within(part, range);
            let (found, _) = find_visible(*part, hidden, matchers, within)?;
            for_groups(part, &found, &mut |group, places| {
                let blocks = &part.blocks[group.blocks.clone()];
                if !blocks.iter().any(|b| b.range.overlaps(range)) {
                    return Ok(());
                }
                let labels = part.labels(group)?;
                places.iter().try_for_each(|place| each(&labels[*place]))
            })
        }
    }
}

/// Calls back once with each series of a snapshot that meets the matchers and may have samples in
/// the range.
pub(crate) fn for_series(
    snapshot: &Snapshot<Metrics>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
    each: &mut dyn FnMut(&Labels),
) -> Result<(), SelectError> {
    let matchers = &*snapshot.confine(matchers);
    let mut seen = std::collections::HashSet::new();
    for source in sources(snapshot, range) {
        for_labels(&source, matchers, MilliRange::of(range), &mut |labels| {
            if !seen.contains(labels) {
                budget.series(1)?;
                budget.bytes(labels.packed().len() as u64)?;
                seen.insert(labels.clone());
                each(labels);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The labels of the series that meet all matchers and have samples around the range; sorted.
pub fn series(
    snapshot: &Snapshot<Metrics>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<Labels>, SelectError> {
    let mut all = Vec::new();
    for_series(snapshot, matchers, range, budget, &mut |labels| {
        all.push(labels.clone());
    })?;
    all.sort();
    Ok(all)
}

/// Calls back with each source that has rows in the range and its series that meet the matchers
/// (`None` for all of them).
fn for_indices(
    snapshot: &Snapshot<Metrics>,
    matchers: &[Matcher],
    range: TimeRange,
    each: &mut VisitIndex<'_>,
) -> Result<(), SelectError> {
    let matchers = &*snapshot.confine(matchers);
    let millis = MilliRange::of(range);
    let mut visit = |index: &dyn Index,
                     live: Option<RoaringBitmap>,
                     hidden: &[Hidden<Metrics>],
                     within: MilliRange| {
        if matchers.is_empty() && hidden.is_empty() && live.is_none() {
            return each(index, None);
        }
        let (mut set, _) = find_visible(index, hidden, matchers, within)?;
        if let Some(live) = live {
            set &= live;
        }
        if set.is_empty() {
            return Ok(());
        }
        each(index, Some(&set))
    };
    for source in sources(snapshot, range) {
        match source {
            Source::Part(part, hidden) => visit(part, None, hidden, part_within(part, millis))?,
            Source::Memory(memory, hidden) => {
                let head = memory.read();
                let held = head.time_range().map_or(millis, MilliRange::of);
                visit(&head, head.live(), hidden, millis.intersect(held))?;
            }
        }
    }
    Ok(())
}

/// The label names of the series that meet all matchers, in the memories and parts that have rows
/// in the range; sorted.
pub fn label_names(
    snapshot: &Snapshot<Metrics>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<String>, SelectError> {
    let mut names = BTreeSet::new();
    for_indices(snapshot, matchers, range, &mut |index, set| {
        for name in index.names() {
            budget.check()?;
            let used = match set {
                Some(set) if !names.contains(&name) => !index.with_name(&name)?.is_disjoint(set),
                Some(_) | None => true,
            };
            if used {
                names.insert(name);
            }
        }
        Ok(())
    })?;
    Ok(names.into_iter().collect())
}

/// The values of a label in the series that meet all matchers, in the memories and parts that
/// have rows in the range; sorted.
pub fn label_values(
    snapshot: &Snapshot<Metrics>,
    name: &str,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<String>, SelectError> {
    let mut values: BTreeSet<String> = BTreeSet::new();
    for_indices(snapshot, matchers, range, &mut |index, set| {
        let mut failed: Result<(), SelectError> = Ok(());
        index.values(name, &mut |value| {
            let used = || -> Result<bool, SelectError> {
                budget.check()?;
                if values.contains(value) {
                    return Ok(false);
                }
                let used = match set {
                    Some(set) => !index.with_value(name, value)?.is_disjoint(set),
                    None => true,
                };
                if used {
                    budget.bytes(value.len() as u64)?;
                }
                Ok(used)
            };
            match used() {
                Ok(true) => drop(values.insert(value.to_owned())),
                Ok(false) => {}
                Err(error) => failed = Err(error),
            }
            failed.is_ok()
        })?;
        failed
    })?;
    Ok(values.into_iter().collect())
}

/// What the names of a family's series may have behind its own.
const FAMILY_SUFFIXES: [&str; 9] = [
    "", "_total", "_count", "_sum", "_bucket", "_created", "_info", "_gcount", "_gsum",
];

/// Whether some of these sorted names of series belong to a family.
pub fn has_family(names: &[String], family: &str) -> bool {
    let known = |name: &str| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok();
    let mut suffixes = FAMILY_SUFFIXES.iter();
    suffixes.any(|suffix| known(&format!("{family}{suffix}")))
}

/// The metadata of all families, sorted by name; what arrived last counts. A confined reader gets
/// that of families of which it sees a series.
pub fn metadata(
    snapshot: &Snapshot<Metrics>,
    budget: &Budget,
) -> Result<Vec<Metadata>, SelectError> {
    let mut all = BTreeMap::new();
    for part in &snapshot.parts {
        for entry in part.part.metadata()? {
            all.insert(entry.family.clone(), entry);
        }
    }
    for memory in &snapshot.memories {
        for (family, entry) in &memory.read().metadata {
            all.insert(family.clone(), entry.clone());
        }
    }
    let mut all: Vec<Metadata> = all.into_values().collect();
    if !snapshot.confined.is_empty() {
        let names = label_values(snapshot, METRIC_NAME, &[], TimeRange::ALL, budget)?;
        all.retain(|entry| has_family(&names, &entry.family));
    }
    Ok(all)
}

/// Bytes of an exemplar in memory.
fn exemplar_bytes(exemplar: &Exemplar) -> u64 {
    (size_of::<(u32, Exemplar)>() + exemplar.labels.packed().len()) as u64
}

/// The exemplars in the range of the series that meet all matchers; series sorted by labels,
/// exemplars by time.
pub fn exemplars(
    snapshot: &Snapshot<Metrics>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
    let matchers = &*snapshot.confine(matchers);
    let millis = MilliRange::of(range);
    let mut all: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
    let mut add = |labels: &Labels, exemplar: &Exemplar| {
        if millis.contains(exemplar.time.millis()) {
            budget.samples(1)?;
            budget.bytes(exemplar_bytes(exemplar))?;
            push_exemplar(all.entry(labels.clone()).or_default(), exemplar);
        }
        Ok::<(), SelectError>(())
    };
    for source in sources(snapshot, range) {
        match source {
            Source::Memory(memory, hidden) => {
                let head = memory.read();
                let (set, mask) = find_visible(&head, hidden, matchers, millis)?;
                for id in set {
                    for exemplar in head.exemplars(id) {
                        if !mask.hides(id, exemplar.time.millis()) {
                            add(head.labels(id), exemplar)?;
                        }
                    }
                }
            }
            Source::Part(part, hidden) => {
                let found = part.exemplars()?;
                if found.is_empty() {
                    continue;
                }
                let bytes = found.iter().map(|(_, e)| exemplar_bytes(e)).sum();
                let mut held = budget.holding();
                held.add(bytes)?;
                let (set, mask) = find_visible(part, hidden, matchers, millis)?;
                let with: RoaringBitmap = found.iter().map(|(series, _)| *series).collect();
                for_groups(part, &(set & with), &mut |group, places| {
                    let labels = part.labels(group)?;
                    for place in places {
                        let number = group.first + *place as u32;
                        let from = found.partition_point(|(series, _)| *series < number);
                        let of_series = found[from..].iter().take_while(|(s, _)| *s == number);
                        for (_, exemplar) in of_series {
                            if mask.hides(number, exemplar.time.millis()) {
                                continue;
                            }
                            add(&labels[*place], exemplar)?;
                        }
                    }
                    Ok(())
                })?;
            }
        }
    }
    Ok(all.into_iter().collect())
}
