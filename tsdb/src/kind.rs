//! What metrics say about themselves to the storage engine: apply, flush, open, merge.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::metrics::{Exemplar, Metadata};
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Labels, TimeRange, Timestamp};
use obs_storage::{Corrupt, Hidden, Input, Kind, MemoryBytes, PartReader, PartWriter};

use crate::build::{Builder, series_order};
use crate::column::{Column, MilliRange};
use crate::deletion::{Mask, Selector};
use crate::head::{Memory, push_exemplar};
use crate::part::{Part, TimesCache};
use crate::postings::{Index, find};
use crate::tier::thin;

/// The kind of the metric store.
#[derive(Clone, Copy, Debug)]
pub struct Metrics;

impl Kind for Metrics {
    const NAME: &'static str = "metrics";
    const TIERS: bool = true;
    type Memory = Memory;
    type Part = Part;
    type Selector = Selector;

    fn selector(bytes: &[u8]) -> Result<Selector, Corrupt> {
        Selector::decode(bytes)
    }

    fn may_select(part: &Part, selector: &Selector) -> Result<bool, Corrupt> {
        Ok(!find(part, selector.matchers())?.is_empty())
    }

    fn apply(memory: &Memory, segment: u64, record: &[u8]) -> Result<(), Corrupt> {
        memory.apply(segment, record)
    }

    fn follow(memory: &Memory) -> Memory {
        memory.follow()
    }

    fn bytes(memory: &Memory) -> MemoryBytes {
        let (all, fixed) = memory.bytes();
        MemoryBytes { all, fixed }
    }

    fn range(memory: &Memory) -> Option<TimeRange> {
        memory.read().time_range()
    }

    fn first_row(memory: &Memory, from: Timestamp) -> Option<Timestamp> {
        memory.read().first_row(from)
    }

    fn days(memory: &Memory) -> BTreeSet<i64> {
        memory.read().days()
    }

    fn flush(memory: &Memory, range: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
        let range = MilliRange::of(range);
        let order = part_order(memory);
        let head = memory.sealed();
        let mut builder = Builder::new(out);
        for ids in order.chunks(FLUSH_SERIES) {
            // Writers of the memory that follows this one want the registry too.
            let registry = memory.registry();
            let labels: Vec<Labels> = ids.iter().map(|id| registry.labels(*id).clone()).collect();
            drop(registry);
            for (id, labels) in ids.iter().zip(&labels) {
                let exemplars = exemplars_within(head.exemplars(*id), range);
                builder.add(labels, head.column(*id, range)?, &exemplars);
            }
        }
        let metadata: Vec<Metadata> = head.metadata.values().cloned().collect();
        let lone = head.lone_metadata();
        builder.finish(&metadata, lone.filter(|at| range.contains(at.start)));
        Ok(())
    }

    fn open(part: PartReader) -> Result<Part, Corrupt> {
        Part::open(part)
    }

    fn merge(parts: &[&Part], keep: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
        let input = |part| Input { part, hidden: &[] };
        let inputs: Vec<_> = parts.iter().copied().map(input).collect();
        Self::merge_visible(&inputs, keep, out)
    }

    fn merge_visible(
        inputs: &[Input<'_, Self>],
        keep: TimeRange,
        out: &mut PartWriter,
    ) -> Result<(), Corrupt> {
        // Tiers are merged alone.
        let resolution = inputs.iter().map(|input| input.part.resolution).max();
        let resolution = resolution.unwrap_or(0);
        let mut builder = Builder::of_tier(out, resolution);
        let metadata = merged(inputs, keep, &mut |labels, column, exemplars| {
            // What stands only in a tier is not compared with samples any more.
            match resolution {
                0 => builder.add(labels, column, exemplars),
                _ => builder.add_thin(labels, column, false),
            }
        })?;
        // Parts without samples stay without samples, where the last of them was.
        let keep = MilliRange::of(keep);
        let last = inputs
            .iter()
            .map(|input| MilliRange::of(input.part.range()).end);
        let last = last.max().filter(|end| keep.contains(*end));
        builder.finish(&metadata, last.map(|end| MilliRange { start: end, end }));
        Ok(())
    }

    fn downsample(
        inputs: &[Input<'_, Self>],
        keep: TimeRange,
        resolution: i64,
        out: &mut PartWriter,
    ) -> Result<(), Corrupt> {
        let resolution = (resolution / NANOS_PER_MILLI).max(1);
        let mut builder = Builder::of_tier(out, resolution);
        let metadata = merged(inputs, keep, &mut |labels, column, _| {
            let (column, thinned) = thin(&column, resolution);
            builder.add_thin(labels, column, thinned);
        })?;
        builder.finish(&metadata, None);
        Ok(())
    }
}

/// Takes the labels, samples and exemplars of a series.
type Take<'a> = dyn FnMut(&Labels, Column, &[Exemplar]) + 'a;

/// Calls back with each series of some parts, in order, with what is visible and kept of it; gives
/// the metadata of all.
fn merged(
    inputs: &[Input<'_, Metrics>],
    keep: TimeRange,
    take: &mut Take<'_>,
) -> Result<Vec<Metadata>, Corrupt> {
    let keep = MilliRange::of(keep);
    let mut walks = Vec::with_capacity(inputs.len());
    let mut metadata = BTreeMap::new();
    for input in inputs {
        walks.push(Walk::new(input.part, keep, input.hidden)?);
        for entry in input.part.metadata()? {
            metadata.insert(entry.family.clone(), entry);
        }
    }
    while let Some(labels) = next_labels(&walks) {
        let mut column = Column::default();
        let mut exemplars = Vec::new();
        // In order of arrival, so that the first arrival wins.
        for walk in &mut walks {
            if walk.current() != Some(&labels) {
                continue;
            }
            let (later, more) = walk.take()?;
            column.merge_later(&later);
            for exemplar in &more {
                push_exemplar(&mut exemplars, exemplar);
            }
        }
        take(&labels, column, &exemplars);
    }
    Ok(metadata.into_values().collect())
}

/// Series whose labels are copied at one time.
const FLUSH_SERIES: usize = 1024;

/// The series of a memory that have something, in the order of [`series_order`].
fn part_order(memory: &Memory) -> Vec<u32> {
    let head = memory.read();
    // Each name is looked up once.
    let mut series = Vec::new();
    for id in head.live().unwrap_or_else(|| head.all()) {
        let labels = head.labels(id);
        series.push((labels.metric_name().unwrap_or(""), labels, id));
    }
    series.sort_by(|(x, a, _), (y, b, _)| x.cmp(y).then_with(|| a.cmp(b)));
    series.into_iter().map(|(.., id)| id).collect()
}

fn exemplars_within(exemplars: &[Exemplar], range: MilliRange) -> Vec<Exemplar> {
    let within = exemplars.iter().filter(|e| range.contains(e.time.millis()));
    within.cloned().collect()
}

fn next_labels(walks: &[Walk<'_>]) -> Option<Labels> {
    let heads = walks.iter().filter_map(Walk::current);
    heads.min_by(|a, b| series_order(a, b)).cloned()
}

/// A walk through the series of one part, one group in memory at a time.
struct Walk<'a> {
    part: &'a Part,
    keep: MilliRange,
    mask: Mask,
    group: usize,
    labels: Vec<Labels>,
    columns: Vec<Column>,
    /// Place in the group.
    at: usize,
    exemplars: std::iter::Peekable<std::vec::IntoIter<(u32, Exemplar)>>,
    cache: TimesCache,
    /// Bytes of values whose memory was given back.
    released: usize,
}

/// Bytes of values that are given back together: few system calls, little memory.
const RELEASE_BYTES: usize = 1 << 20;

impl<'a> Walk<'a> {
    fn new(part: &'a Part, keep: MilliRange, hidden: &[Hidden<Metrics>]) -> Result<Self, Corrupt> {
        let mut walk = Self {
            part,
            keep,
            mask: Mask::new(part, hidden)?,
            group: 0,
            labels: Vec::new(),
            columns: Vec::new(),
            at: 0,
            exemplars: part.exemplars()?.into_iter().peekable(),
            cache: TimesCache::new(),
            released: 0,
        };
        walk.load()?;
        Ok(walk)
    }

    /// The labels of the series to take next.
    fn current(&self) -> Option<&Labels> {
        self.labels.get(self.at)
    }

    /// Takes the samples and exemplars of the current series and goes on to the next.
    fn take(&mut self) -> Result<(Column, Vec<Exemplar>), Corrupt> {
        let column = std::mem::take(&mut self.columns[self.at]);
        let number = self.part.groups[self.group].first + self.at as u32;
        let mut exemplars = Vec::new();
        while let Some((_, exemplar)) = self.exemplars.next_if(|(series, _)| *series <= number) {
            exemplars.push(exemplar);
        }
        self.at += 1;
        if self.at == self.labels.len() {
            let read = self.part.values_end(&self.part.groups[self.group]);
            if read >= self.released + RELEASE_BYTES {
                self.part.release_values(self.released..read);
                self.released = read;
            }
            self.group += 1;
            self.load()?;
        }
        let mut exemplars = exemplars_within(&exemplars, self.keep);
        exemplars.retain(|e| !self.mask.hides(number, e.time.millis()));
        Ok((self.mask.visible(number, column), exemplars))
    }

    /// Reads the group that is to be walked next.
    fn load(&mut self) -> Result<(), Corrupt> {
        self.at = 0;
        self.labels.clear();
        self.columns.clear();
        let Some(group) = self.part.groups.get(self.group) else {
            return Ok(());
        };
        let labels = self.part.labels(group)?;
        let ascends = labels
            .windows(2)
            .all(|w| series_order(&w[0], &w[1]).is_lt());
        if !ascends {
            return Err(Corrupt::new("labels", 0, "series in ascending order"));
        }
        let mut columns = vec![Column::default(); labels.len()];
        for block in &self.part.blocks[group.blocks.clone()] {
            if !block.range.overlaps(self.keep) {
                continue;
            }
            let open = self.part.open_block(group, block)?;
            for (series, column) in columns.iter_mut().enumerate() {
                let Some(times) = self.part.times(&open, series, &mut self.cache)? else {
                    continue;
                };
                let cache = &mut self.cache;
                let chunk = self.part.column(&open, series, &times, cache)?;
                column.merge_later(&chunk.within(self.keep));
            }
        }
        self.labels = labels;
        self.columns = columns;
        Ok(())
    }
}
