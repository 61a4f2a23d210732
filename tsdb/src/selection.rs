//! A selection: the series that meet matchers, found first and read later, some at a time.
//!
//! Invariants: series are sorted by labels; the samples of a series come from its sources in order
//! of arrival, so that the first arrival of a sample wins here as it does in flush and merge; what
//! a read costs is charged to the budget before it is decoded; memory does not grow with the number
//! of series that are read, only with that of one chunk; selections that are opened together read
//! memory as it was at one moment, so that no record is seen in part.

mod opening;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;

use obs_model::histogram::Histogram;
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Budget, HeldBytes, Labels, Matcher, TimeRange, Timestamp};
use obs_storage::Snapshot;
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::column::{Column, MilliRange, NO_START};
use crate::deletion::Mask;
use crate::error::SelectError;
use crate::gather::{Gathering, TimesTable};
use crate::head::Frozen;
use crate::kind::Metrics;
use crate::part::{Block, Group, Part};
use crate::postings::Index;
use crate::select::Source;
use crate::summary::{Stored, Summary};
use crate::tier::Resolution;

use opening::Opening;

/// A chunk has at least so many series, where there are as many, so that caches pay.
const CHUNK_SERIES_MIN: usize = 64;
/// Samples of one chunk: 16 MiB of floats. One group may have more.
const CHUNK_SAMPLES_MAX: u64 = 2 << 20;

/// Where a part of the samples of a series is.
#[derive(Clone, Copy, Debug)]
struct Place {
    source: u32,
    number: u32,
}

/// Series that were found, and where their samples are.
pub struct Selection<'a> {
    sources: Vec<Source<'a>>,
    /// What is hidden in each source.
    masks: Vec<Mask>,
    /// What each source had in memory when it was opened.
    frozen: Vec<Frozen>,
    /// Which sources are coarser than what was asked for.
    rough: Vec<bool>,
    /// When the samples of each source are, at most.
    ranges: Vec<MilliRange>,
    range: MilliRange,
    labels: Vec<Labels>,
    /// The places of series `i` are `places[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    places: Vec<Place>,
}

impl std::fmt::Debug for Selection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selection")
            .field("series", &self.labels.len())
            .field("sources", &self.sources.len())
            .finish_non_exhaustive()
    }
}

/// What reading a selection would cost, by the directories of the parts; nothing is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Series.
    pub series: u64,
    /// Samples, rounded up to whole blocks.
    pub samples: u64,
    /// Bytes of blocks as stored, and of samples in memory.
    pub bytes: u64,
}

/// The samples of one series while they are read.
#[derive(Debug)]
pub struct Samples<'a> {
    /// Which series.
    pub index: usize,
    /// When. Series that were sampled together share one allocation.
    pub times: &'a Arc<Vec<Timestamp>>,
    /// Values, as many as times.
    pub floats: &'a [f64],
    /// Histograms by index; the float there has no meaning.
    pub histograms: &'a [(u32, Arc<Histogram>)],
    /// When counters started, in milliseconds, 0 where not known; empty where it is known of none.
    pub starts: &'a [i64],
    /// What stands for more than one sample, by index; its time and value are those of the last.
    pub summaries: &'a [(u32, Summary)],
    /// Samples until this time are so many nanoseconds apart where they were closer when they came.
    pub rough: Option<(Timestamp, i64)>,
    /// Surely no value is a NaN, so none ends the series.
    pub plain: bool,
}

/// Where windows begin and end. A run of samples that has no border between two of them is in a
/// window as a whole, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Borders {
    /// The end of the first window, which belongs to it.
    pub end: Timestamp,
    /// Nanoseconds from window to window; above zero where there are several.
    pub step: i64,
    /// Number of windows, at least one.
    pub count: usize,
    /// Nanoseconds that a window is long; its begin does not belong to it.
    pub length: i64,
}

impl Borders {
    /// Whether a border lies between samples at the ends of a range.
    fn split(&self, range: MilliRange) -> bool {
        let nanos = |millis: i64| i128::from(Timestamp::from_millis(millis).nanos());
        let (first, last) = (nanos(range.start), nanos(range.end));
        let end = i128::from(self.end.nanos());
        let step = i128::from(self.step.max(1));
        [end, end - i128::from(self.length)]
            .into_iter()
            .any(|border| {
                // The first border that is not before the first sample.
                let skipped = (first - border + step - 1).div_euclid(step).max(0);
                skipped < self.count.max(1) as i128 && border + skipped * step < last
            })
    }
}

/// What a reader wants to know of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Times and values.
    Values,
    /// Times, and which samples are histograms or end a series; other values may be anything.
    Presence,
    /// What whole windows say: blocks that no border splits may come as summaries.
    Windows {
        /// The borders of all windows.
        borders: Borders,
        /// Sums are asked for, so that summaries are of use only where those are exact.
        sums: bool,
        /// Falls are made up for, as those of counters: the same holds for what came before them.
        falls: bool,
        /// Values are asked for, not only which samples are there.
        values: bool,
    },
}

impl Need {
    /// Whether values that surely end no series may be anything.
    fn is_presence(self) -> bool {
        matches!(self, Self::Presence | Self::Windows { values: false, .. })
    }
}

/// Hashes labels by xxh3.
#[derive(Debug, Default)]
struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
}

/// Series while sources are searched.
struct Found<'b> {
    budget: &'b Budget,
    /// Sources after the first one ask here whether a series is known.
    numbers: HashMap<Labels, u32, BuildHasherDefault<Xxh3>>,
    labels: Vec<Labels>,
    places: Vec<(u32, Place)>,
    several: bool,
}

impl Found<'_> {
    fn add(&mut self, labels: &Labels, place: Place) -> Result<(), SelectError> {
        let next = self.labels.len() as u32;
        let series = match self.several {
            true => *self.numbers.entry(labels.clone()).or_insert(next),
            false => next,
        };
        if series == next {
            self.budget.series(1)?;
            self.budget.bytes(labels.packed().len() as u64)?;
            self.labels.push(labels.clone());
        }
        self.places.push((series, place));
        Ok(())
    }
}

impl<'a> Selection<'a> {
    /// Finds the series that meet all matchers and may have samples in the range.
    pub fn open(
        snapshot: &'a Snapshot<Metrics>,
        matchers: &[Matcher],
        range: TimeRange,
        resolution: Resolution,
        budget: &Budget,
    ) -> Result<Self, SelectError> {
        let all = Self::open_all(snapshot, &[(matchers, range, resolution)], budget)?;
        Ok(all.into_iter().next().expect("one is opened per read"))
    }

    /// Opens several at one moment: either all see a record that comes meanwhile or none does.
    pub fn open_all(
        snapshot: &'a Snapshot<Metrics>,
        reads: &[(&[Matcher], TimeRange, Resolution)],
        budget: &Budget,
    ) -> Result<Vec<Self>, SelectError> {
        let reads = reads.iter();
        let mut all: Vec<_> = reads
            .map(|read| Opening::new(snapshot, *read, budget))
            .collect();
        all.iter_mut()
            .try_for_each(|opening| opening.parts(snapshot))?;
        let heads: Vec<_> = snapshot.memories.iter().map(|m| m.read()).collect();
        all.iter_mut()
            .try_for_each(|opening| opening.memories(snapshot, &heads))?;
        drop(heads);
        Ok(all.into_iter().map(Opening::finish).collect())
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no series.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels of a series.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.labels[index]
    }

    /// Whether some series of the sources, selected or not, has a label of this name.
    pub fn knows_label(&self, name: &str) -> bool {
        self.sources.iter().any(|source| match source {
            Source::Part(part, _) => part.names().iter().any(|n| n == name),
            Source::Memory(memory, _) => memory.read().names().iter().any(|n| n == name),
        })
    }

    fn places(&self, index: usize) -> &[Place] {
        &self.places[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// What reading all would cost.
    pub fn estimate(&self) -> Estimate {
        let mut estimate = Estimate {
            series: self.len() as u64,
            ..Estimate::default()
        };
        let mut seen: Option<(u32, usize)> = None;
        for place in &self.places {
            match &self.sources[place.source as usize] {
                Source::Part(part, _) => {
                    let at = part.group_of(place.number);
                    let group = &part.groups[at];
                    let (samples, bytes) = weight(part, group, self.range);
                    // A damaged part may say anything.
                    let samples = samples.div_ceil(u64::from(group.series.max(1)));
                    estimate.samples = estimate.samples.saturating_add(samples);
                    // A block is read once for all its series.
                    if seen != Some((place.source, at)) {
                        estimate.bytes = estimate.bytes.saturating_add(bytes);
                        seen = Some((place.source, at));
                    }
                }
                Source::Memory(memory, _) => {
                    let samples = memory.read().samples_at_most(place.number, self.range) as u64;
                    estimate.samples = estimate.samples.saturating_add(samples);
                    estimate.bytes = estimate.bytes.saturating_add(16 * samples);
                }
            }
        }
        estimate
    }

    /// Cuts the series into chunks of about `series_max` that are worth reading together: no group
    /// of a part is in two of them where that can be avoided.
    pub fn chunks(&self, series_max: usize) -> Vec<Range<usize>> {
        let series_max = series_max.max(CHUNK_SERIES_MIN);
        let mut chunks = Vec::new();
        let (mut start, mut samples) = (0, 0u64);
        let mut group: Option<(u32, usize)> = None;
        for index in 0..self.len() {
            let mut same_group = false;
            if let Some(place) = self.places(index).first() {
                match &self.sources[place.source as usize] {
                    Source::Part(part, _) => {
                        let at = part.group_of(place.number);
                        same_group = group == Some((place.source, at));
                        if !same_group {
                            let many = index - start >= series_max;
                            let (weight, _) = weight(part, &part.groups[at], self.range);
                            if many
                                || (index > start
                                    && samples.saturating_add(weight) > CHUNK_SAMPLES_MAX)
                            {
                                chunks.push(start..index);
                                (start, samples) = (index, 0);
                            }
                            samples = samples.saturating_add(weight);
                            group = Some((place.source, at));
                        }
                    }
                    Source::Memory(..) => group = None,
                }
            }
            if !same_group && group.is_none() && index - start >= series_max {
                chunks.push(start..index);
                (start, samples) = (index, 0);
            }
        }
        if start < self.len() {
            chunks.push(start..self.len());
        }
        chunks
    }

    /// Reads the samples of some neighbouring series; calls back with each that has any, in order.
    pub fn read<E: From<SelectError>>(
        &self,
        chunk: Range<usize>,
        need: Need,
        times: &mut TimesTable,
        budget: &Budget,
        mut each: impl FnMut(Samples<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        times.shrink();
        let first = chunk.start;
        let all: Vec<usize> = chunk.collect();
        let mut gathered = self.gather(&all, need, times, budget)?;
        // Series of which summaries do not say enough are read again, together.
        let short = |one: &Gathering| one.condensed && !one.suffices(need);
        let again: Vec<usize> = all
            .into_iter()
            .filter(|index| short(&gathered[index - first]))
            .collect();
        if !again.is_empty() {
            let whole = self.gather(&again, Need::Values, times, budget)?;
            for (index, one) in again.into_iter().zip(whole) {
                gathered[index - first] = one;
            }
        }
        for (at, mut one) in gathered.into_iter().enumerate() {
            if one.samples.values.is_empty() {
                continue;
            }
            let shared = times.resolve(&mut one);
            let samples = &mut one.samples;
            let unknown = samples.starts.iter_mut().filter(|s| **s == NO_START);
            unknown.for_each(|s| *s = 0);
            each(Samples {
                index: first + at,
                times: &shared,
                floats: &samples.values,
                histograms: &samples.histograms,
                starts: &samples.starts,
                summaries: &samples.summaries,
                rough: one.rough.map(|(until, millis)| {
                    (Timestamp::from_millis(until), millis * NANOS_PER_MILLI)
                }),
                plain: !one.special,
            })?;
        }
        Ok(())
    }

    /// Reads the samples of some ascending series from all sources.
    fn gather(
        &self,
        series: &[usize],
        need: Need,
        times: &mut TimesTable,
        budget: &Budget,
    ) -> Result<Vec<Gathering>, SelectError> {
        let mut gathered: Vec<Gathering> = Vec::new();
        gathered.resize_with(series.len(), Gathering::default);
        let mut charge = Charge {
            need,
            budget,
            count: 0,
            block: budget.holding(),
            samples: budget.holding(),
        };
        let mut jobs: Vec<(Place, u32)> = Vec::with_capacity(series.len());
        for (at, index) in series.iter().enumerate() {
            let at = at as u32;
            jobs.extend(self.places(*index).iter().map(|place| (*place, at)));
        }
        jobs.sort_by_key(|(place, _)| (place.source, place.number));
        let mut rest = &jobs[..];
        while let Some((place, _)) = rest.first() {
            let source = place.source;
            let count = rest.partition_point(|(p, _)| p.source == source);
            let (mine, others) = rest.split_at(count);
            rest = others;
            match &self.sources[source as usize] {
                Source::Part(part, _) => {
                    self.read_part((part, source), mine, times, &mut charge, &mut gathered)?;
                }
                Source::Memory(memory, _) => {
                    let memory = (*memory, source);
                    self.read_memory(memory, mine, times, &mut charge, &mut gathered)?;
                }
            }
        }
        Ok(gathered)
    }

    fn read_memory(
        &self,
        (memory, source): (&crate::Memory, u32),
        jobs: &[(Place, u32)],
        times: &mut TimesTable,
        charge: &mut Charge<'_>,
        gathered: &mut [Gathering],
    ) -> Result<(), SelectError> {
        let head = memory.read();
        let frozen = &self.frozen[source as usize];
        let mask = &self.masks[source as usize];
        let mut column = Column::default();
        for (place, at) in jobs {
            head.read_frozen(frozen, place.number, self.range, &mut column)?;
            if mask.concerns(place.number) {
                column = mask.visible(place.number, std::mem::take(&mut column));
            }
            let (Some(first), Some(last)) = (column.times.first(), column.times.last()) else {
                continue;
            };
            charge.samples(column.len())?;
            let piece = times.intern(&column.times);
            let into = &mut gathered[*at as usize];
            into.special = true;
            let plain = column.histograms.is_empty() && column.starts.is_empty();
            if plain && into.samples.starts.is_empty() && into.follows(*first) {
                into.append(piece, *last, &column.values);
                continue;
            }
            into.add(times, piece, std::mem::take(&mut column));
        }
        Ok(())
    }

    fn read_part(
        &self,
        (part, source): (&Part, u32),
        jobs: &[(Place, u32)],
        times: &mut TimesTable,
        charge: &mut Charge<'_>,
        gathered: &mut [Gathering],
    ) -> Result<(), SelectError> {
        let mut rest = jobs;
        while let Some((place, _)) = rest.first() {
            charge.budget.check()?;
            let group = &part.groups[part.group_of(place.number)];
            let end = group.first + group.series;
            let (mine, others) = rest.split_at(rest.partition_point(|(p, _)| p.number < end));
            rest = others;
            for number in group.blocks.clone() {
                let block = &part.blocks[number];
                if !block.range.overlaps(self.range) {
                    continue;
                }
                let mut wanted = mine.to_vec();
                if self.may_condense(source, block.range, charge.need)
                    && let Some(known) = part.summaries(group, number)?
                {
                    let place = (part, source, group.first);
                    self.condense(place, &known, &mut wanted, times, charge, gathered)?;
                }
                if !wanted.is_empty() {
                    let place = (part, source);
                    self.read_block(place, (group, block), &wanted, times, charge, gathered)?;
                }
            }
        }
        Ok(())
    }

    /// Whether summaries say all that is asked for of a block of a source: it lies in the range, no
    /// border splits it, and no other source has samples among its own.
    fn may_condense(&self, source: u32, block: MilliRange, need: Need) -> bool {
        let Need::Windows { borders, .. } = need else {
            return false;
        };
        let others = self.ranges.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != source as usize);
        self.range.intersect(block) == block
            && !borders.split(block)
            && !others.any(|(_, range)| range.overlaps(block))
    }

    /// Takes the summaries of those series of a block that have one and of which nothing is hidden;
    /// leaves the others in `wanted`.
    fn condense(
        &self,
        (part, source, first): (&Part, u32, u32),
        known: &[Option<Stored>],
        wanted: &mut Vec<(Place, u32)>,
        times: &mut TimesTable,
        charge: &mut Charge<'_>,
        gathered: &mut [Gathering],
    ) -> Result<(), SelectError> {
        let mask = &self.masks[source as usize];
        let mut left = Vec::new();
        for (place, at) in wanted.drain(..) {
            let stored = known.get((place.number - first) as usize);
            let Some(stored) = stored.and_then(Option::as_ref) else {
                left.push((place, at));
                continue;
            };
            if mask.concerns(place.number) {
                left.push((place, at));
                continue;
            }
            let cache = times.caches.entry(source).or_default();
            let (column, summary) = part.summarised(stored, cache)?;
            charge.samples(1)?;
            let piece = times.last_of(&column);
            let one = Column {
                values: vec![stored.last],
                summaries: vec![(0, summary)],
                ..Column::default()
            };
            let into = &mut gathered[at as usize];
            into.condensed = true;
            into.add(times, piece, one);
        }
        *wanted = left;
        Ok(())
    }

    fn read_block(
        &self,
        (part, source): (&Part, u32),
        (group, block): (&Group, &Block),
        jobs: &[(Place, u32)],
        times: &mut TimesTable,
        charge: &mut Charge<'_>,
        gathered: &mut [Gathering],
    ) -> Result<(), SelectError> {
        let mask = &self.masks[source as usize];
        charge.block.set(block.bytes)?;
        let open = part.open_block(group, block)?;
        charge.block.set(open.bytes())?;
        for (place, at) in jobs {
            let number = (place.number - group.first) as usize;
            let cache = times.caches.entry(source).or_default();
            let Some(column) = part.times(&open, number, cache)? else {
                continue;
            };
            let piece = times.piece(&column, self.range);
            let (from, to) = times.cut(piece);
            if from == to {
                continue;
            }
            charge.samples(to - from)?;
            let into = &mut gathered[*at as usize];
            let plain = part.has_plain_values(&open, number);
            into.special |= !plain;
            let hides = mask.concerns(place.number);
            let whole = part.resolution == 0;
            if self.rough[source as usize] {
                let (until, millis) = into.rough.unwrap_or((i64::MIN, 0));
                into.rough = Some((until.max(column[to - 1]), millis.max(part.resolution)));
            }
            if charge.need.is_presence() && plain && whole && !hides {
                let nothing = Column {
                    values: vec![0.0; to - from],
                    ..Column::default()
                };
                into.add(times, piece, nothing);
                continue;
            }
            let cache = times.caches.entry(source).or_default();
            let mut samples = part.values(&open, number, column.len(), cache)?;
            if (from, to) != (0, column.len()) {
                samples.cut(from, to);
            }
            if hides {
                samples.times = column[from..to].to_vec();
                into.add_column(times, mask.visible(place.number, samples));
                continue;
            }
            into.add(times, piece, samples);
        }
        Ok(())
    }
}

/// What a read costs while it lasts.
struct Charge<'b> {
    need: Need,
    budget: &'b Budget,
    /// Samples that are held.
    count: u64,
    /// The block that is open.
    block: HeldBytes<'b>,
    /// The samples of the chunk.
    samples: HeldBytes<'b>,
}

impl Charge<'_> {
    fn samples(&mut self, count: usize) -> Result<(), SelectError> {
        let count = count as u64;
        self.count += count;
        self.budget.samples(count)?;
        self.samples.add(8 * count)?;
        Ok(())
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.budget.release_samples(self.count);
    }
}

/// Series sorted by labels, with the places of each.
fn sorted(labels: Vec<Labels>, found: &[(u32, Place)]) -> (Vec<Labels>, Vec<u32>, Vec<Place>) {
    let mut order: Vec<u32> = (0..labels.len() as u32).collect();
    let in_order = labels.is_sorted();
    if !in_order {
        order.sort_by(|a, b| labels[*a as usize].cmp(&labels[*b as usize]));
    }
    let mut rank = vec![0u32; labels.len()];
    for (to, from) in order.iter().enumerate() {
        rank[*from as usize] = to as u32;
    }
    let mut starts = vec![0u32; labels.len() + 1];
    for (series, _) in found {
        starts[rank[*series as usize] as usize + 1] += 1;
    }
    for index in 1..starts.len() {
        starts[index] += starts[index - 1];
    }
    let mut next = starts.clone();
    let mut places = vec![
        Place {
            source: 0,
            number: 0
        };
        found.len()
    ];
    for (series, place) in found {
        let slot = &mut next[rank[*series as usize] as usize];
        places[*slot as usize] = *place;
        *slot += 1;
    }
    let labels = match in_order {
        true => labels,
        false => order.iter().map(|i| labels[*i as usize].clone()).collect(),
    };
    (labels, starts, places)
}

/// Samples and stored bytes of the blocks of a group that overlap a range.
fn weight(part: &Part, group: &Group, range: MilliRange) -> (u64, u64) {
    let blocks = part.blocks[group.blocks.clone()].iter();
    let overlapping = blocks.filter(|b| b.range.overlaps(range));
    overlapping.fold((0, 0), |(samples, bytes), block| {
        let samples = samples.saturating_add(block.samples);
        (samples, bytes.saturating_add(block.bytes))
    })
}

fn find_in_part(
    part: &Part,
    source: u32,
    set: &RoaringBitmap,
    range: MilliRange,
    found: &mut Found<'_>,
) -> Result<(), SelectError> {
    let mut numbers = set.iter().peekable();
    while let Some(first) = numbers.peek().copied() {
        found.budget.check()?;
        let group = &part.groups[part.group_of(first)];
        let end = group.first + group.series;
        let blocks = &part.blocks[group.blocks.clone()];
        if !blocks.iter().any(|b| b.range.overlaps(range)) {
            while numbers.next_if(|n| *n < end).is_some() {}
            continue;
        }
        let labels = part.labels(group)?;
        while let Some(number) = numbers.next_if(|n| *n < end) {
            let labels = &labels[(number - group.first) as usize];
            found.add(labels, Place { source, number })?;
        }
    }
    Ok(())
}
