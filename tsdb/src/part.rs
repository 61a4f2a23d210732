//! An opened metric part: its directory in memory, everything else read from its bytes on demand.
//!
//! Invariant: nothing in the bytes is trusted. The directory is checked against the lengths of the
//! sections when the part is opened; what a block or a dictionary says is checked when it is read.

mod index;

use std::collections::HashMap;
use std::sync::Arc;

use obs_model::metrics::{Exemplar, Metadata};
use obs_model::{Labels, Timestamp};
use obs_storage::codec::bundle::{Bundle, Scratch};
use obs_storage::codec::{Reader, bitmap, bytes, ints};
use obs_storage::{Corrupt, PartReader};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::build::{
    CHUNK_SAMPLES_MAX, GROUP_SERIES_MAX, TIER_COLUMNS, TIER_TIMES, VERSION, VERSION_TIER, run_name,
};
use crate::column::{Column, MilliRange};
use crate::histograms;
use crate::record::{check_times, decode_metadata, read_exemplar};
use crate::summary::{self, Fallen, Stored, Summary};

/// Bytes of one run of a part once decompressed; a block of 64 × 2048 random floats has 1.3 MiB,
/// blocks of wide histograms have some hundred.
const RUN_BYTES_MAX: usize = 1 << 29;

/// Time columns that a reader keeps: 16 MiB at most; neighbours need the last few.
const TIMES_CACHE_MAX: usize = 1024;

/// A part of metrics.
#[derive(Debug)]
pub struct Part {
    reader: PartReader,
    places: Places,
    pub(crate) groups: Vec<Group>,
    pub(crate) blocks: Vec<Block>,
    /// Where each time column starts in its section, and the end of the last.
    times: Vec<u64>,
    names: Vec<Name>,
    series: u32,
    /// Milliseconds that a sample stands for; 0 where samples are as they came.
    pub(crate) resolution: i64,
    /// Where the summaries of each block start in their section; nothing where there are none.
    summaries: Vec<u64>,
}

/// What sections are called in errors; made once, because blocks are read often.
#[derive(Debug)]
struct Places {
    labels: String,
    values: String,
    times: String,
    summaries: String,
}

/// Up to 64 series of one metric.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Number of the first series.
    pub(crate) first: u32,
    /// Number of series.
    pub(crate) series: u32,
    /// Blocks, by their index.
    pub(crate) blocks: std::ops::Range<usize>,
    labels: std::ops::Range<u64>,
}

/// Samples of one group in some range of time.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The smallest range that holds them.
    pub(crate) range: MilliRange,
    /// Bytes as stored.
    pub(crate) bytes: u64,
    /// Samples of all series.
    pub(crate) samples: u64,
    offset: u64,
}

#[derive(Clone, Debug)]
struct Name {
    name: String,
    bytes: std::ops::Range<u64>,
}

/// A block after decompression.
#[derive(Debug)]
pub(crate) struct OpenBlock<'a> {
    extras: Vec<u8>,
    bundle: Bundle<'a>,
    histograms: Option<Bundle<'a>>,
    /// Per series; `None` without samples.
    chunks: Vec<Option<Chunk>>,
    /// Columns that others refer to, of both bundles.
    scratch: Mutex<(Scratch, Scratch)>,
}

impl OpenBlock<'_> {
    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let histograms = self.histograms.as_ref().map_or(0, Bundle::bytes);
        let chunks = size_of::<Option<Chunk>>() * self.chunks.len();
        (self.extras.len() + self.bundle.bytes() + histograms + chunks) as u64
    }
}

/// The samples of one series in a block.
#[derive(Clone, Debug)]
struct Chunk {
    /// Number of its time column.
    times: u64,
    /// Of a tier: numbers of the columns of first times and of running counts.
    tier: Option<(u64, u64)>,
    /// Its (first) column in the bundle.
    column: usize,
    /// Where its start timestamps and histograms are, if it has any.
    extras: std::ops::Range<usize>,
}

/// Time columns that were read already; neighbours share them.
pub(crate) type TimesCache = HashMap<u64, Arc<Vec<i64>>>;

/// Running ends of lengths: where each thing starts, and the end of the last.
fn offsets(lengths: &[u64]) -> Vec<u64> {
    let mut offsets = Vec::with_capacity(lengths.len() + 1);
    let mut end = 0u64;
    offsets.push(end);
    for length in lengths {
        end = end.saturating_add(*length);
        offsets.push(end);
    }
    offsets
}

impl Part {
    /// Reads and checks the directory.
    pub(crate) fn open(reader: PartReader) -> Result<Self, Corrupt> {
        let length = |name: &str| {
            let found = reader.sections().find(|(n, _)| *n == name);
            found.map_or(0, |(_, length)| length)
        };
        let place = format!("{}/meta", reader.name());
        let mut meta = Reader::new(&place, reader.section("meta")?);
        let resolution = open_version(&mut meta)?;
        // Groups, blocks and time columns take at least two bytes each in their sections.
        let groups_max = length("labels") as usize / 2;
        let blocks_max = length("values") as usize / 2;
        let group_series = ints::decode_u64(&mut meta, groups_max)?;
        let group_labels = ints::decode_u64(&mut meta, groups_max)?;
        let group_blocks = ints::decode_u64(&mut meta, groups_max)?;
        let block_bytes = ints::decode_u64(&mut meta, blocks_max)?;
        let block_samples = ints::decode_u64(&mut meta, blocks_max)?;
        let block_starts = ints::decode(&mut meta, blocks_max)?;
        let block_ends = ints::decode(&mut meta, blocks_max)?;
        let times = ints::decode_u64(&mut meta, length("times") as usize / 2)?;

        let (labels, values, times) = (
            offsets(&group_labels),
            offsets(&block_bytes),
            offsets(&times),
        );
        let (series, first_blocks) = (offsets(&group_series), offsets(&group_blocks));
        let sound = group_labels.len() == group_series.len()
            && group_blocks.len() == group_series.len()
            && block_samples.len() == block_bytes.len()
            && block_starts.len() == block_bytes.len()
            && block_ends.len() == block_bytes.len()
            && first_blocks.last() == Some(&(block_bytes.len() as u64))
            && labels.last() == Some(&length("labels"))
            && values.last() == Some(&length("values"))
            && times.last() == Some(&length("times"))
            && series
                .last()
                .is_some_and(|last| *last <= u64::from(u32::MAX))
            && group_series
                .iter()
                .all(|n| (1..=GROUP_SERIES_MAX as u64).contains(n));
        if !sound {
            return Err(meta.corrupt("columns that agree with the sections before here"));
        }
        let names = open_names(&mut meta, length("postings"))?;
        meta.finish()?;
        let summaries = open_summaries(&reader, block_bytes.len())?;
        let groups = (0..group_series.len()).map(|g| Group {
            first: series[g] as u32,
            series: group_series[g] as u32,
            blocks: first_blocks[g] as usize..first_blocks[g + 1] as usize,
            labels: labels[g]..labels[g + 1],
        });
        let blocks = (0..block_bytes.len()).map(|b| Block {
            range: MilliRange {
                start: block_starts[b],
                end: block_ends[b],
            },
            bytes: block_bytes[b],
            samples: block_samples[b],
            offset: values[b],
        });
        Ok(Self {
            groups: groups.collect(),
            blocks: blocks.collect(),
            times,
            names,
            series: series.last().map_or(0, |last| *last as u32),
            places: Places {
                labels: format!("{}/labels", reader.name()),
                values: format!("{}/values", reader.name()),
                times: format!("{}/times", reader.name()),
                summaries: format!("{}/summaries", reader.name()),
            },
            resolution,
            summaries,
            reader,
        })
    }

    /// The range of its rows.
    pub(crate) fn range(&self) -> obs_model::TimeRange {
        self.reader.range()
    }

    /// The group of a series.
    pub(crate) fn group_of(&self, series: u32) -> usize {
        self.groups.partition_point(|g| g.first <= series).max(1) - 1
    }

    /// The labels of all series of a group.
    pub(crate) fn labels(&self, group: &Group) -> Result<Vec<Labels>, Corrupt> {
        let place = self.places.labels.as_str();
        let section = self.reader.section("labels")?;
        let run = &section[group.labels.start as usize..group.labels.end as usize];
        let body = bytes::decode(&mut Reader::new(place, run), RUN_BYTES_MAX)?;
        let mut reader = Reader::new(place, &body);
        let mut labels = Vec::with_capacity(group.series as usize);
        let mut packed = Vec::new();
        // What is shared costs no bytes of the run, so that all labels have a bound of their own.
        let mut total = 0;
        for _ in 0..group.series {
            let shared = reader.count(packed.len())?;
            packed.truncate(shared);
            packed.extend_from_slice(reader.bytes(reader.remaining())?);
            total += packed.len();
            if total > RUN_BYTES_MAX {
                return Err(reader.corrupt("labels within the bound of a run before here"));
            }
            let one = Labels::from_packed(&packed);
            labels.push(one.map_err(|e| reader.corrupt(e.to_string()))?);
        }
        reader.finish()?;
        Ok(labels)
    }

    /// Decompresses a block of a group.
    pub(crate) fn open_block(
        &self,
        group: &Group,
        block: &Block,
    ) -> Result<OpenBlock<'_>, Corrupt> {
        let place = self.places.values.as_str();
        let section = self.reader.section("values")?;
        let run = &section[block.offset as usize..(block.offset + block.bytes) as usize];
        let mut run = Reader::new(place, run);
        let extras = bytes::decode(&mut run, RUN_BYTES_MAX)?;
        let mut reader = Reader::new(place, &extras);
        let series = group.series as usize;
        let (places, width) = match self.resolution {
            0 => (1, 1),
            _ => (TIER_TIMES, TIER_COLUMNS),
        };
        let numbers = ints::decode_u64(&mut reader, series * places)?;
        let lengths = ints::decode_u64(&mut reader, series)?;
        let ends = offsets(&lengths);
        let has_histograms = reader.u8()?;
        let base = reader.position();
        if numbers.len() != series * places
            || lengths.len() != series
            || has_histograms > 1
            || ends.last() != Some(&(reader.remaining() as u64))
        {
            return Err(reader.corrupt("extras that fill the block"));
        }
        let bundle = Bundle::open(&mut run, series * width, CHUNK_SAMPLES_MAX, RUN_BYTES_MAX)?;
        let histograms = match has_histograms {
            0 => None,
            _ => {
                let columns = histograms::COLUMNS_MAX;
                let open = Bundle::open(&mut run, columns, CHUNK_SAMPLES_MAX, RUN_BYTES_MAX);
                Some(open?)
            }
        };
        run.finish()?;
        let mut columns = 0;
        let chunk = |(index, numbers): (usize, &[u64])| {
            let tier = match numbers {
                [_, firsts, counts] => Some((firsts.saturating_sub(1), counts.saturating_sub(1))),
                _ => None,
            };
            let chunk = Chunk {
                times: numbers.first()?.checked_sub(1)?,
                tier,
                column: columns,
                extras: base + ends[index] as usize..base + ends[index + 1] as usize,
            };
            columns += width;
            Some(chunk)
        };
        let chunks = numbers.chunks(places).enumerate().map(chunk).collect();
        if columns != bundle.len() {
            return Err(Corrupt::new(
                place,
                block.offset,
                format!("{columns} columns"),
            ));
        }
        Ok(OpenBlock {
            extras,
            bundle,
            histograms,
            chunks,
            scratch: Mutex::default(),
        })
    }

    /// Where the values of a group end in their section.
    pub(crate) fn values_end(&self, group: &Group) -> usize {
        let blocks = &self.blocks[group.blocks.clone()];
        blocks.last().map_or(0, |b| (b.offset + b.bytes) as usize)
    }

    /// Gives back the memory of values that were read and will not be soon.
    pub(crate) fn release_values(&self, bytes: std::ops::Range<usize>) {
        self.reader.release("values", bytes);
    }

    /// The times of a series (by its place in the group) in a block.
    pub(crate) fn times(
        &self,
        block: &OpenBlock<'_>,
        series: usize,
        cache: &mut TimesCache,
    ) -> Result<Option<Arc<Vec<i64>>>, Corrupt> {
        let Some(Some(chunk)) = block.chunks.get(series) else {
            return Ok(None);
        };
        self.time_column(chunk.times, cache).map(Some)
    }

    /// A column of the table of times.
    fn time_column(&self, number: u64, cache: &mut TimesCache) -> Result<Arc<Vec<i64>>, Corrupt> {
        if let Some(times) = cache.get(&number) {
            return Ok(Arc::clone(times));
        }
        let place = self.places.times.as_str();
        let section = self.reader.section("times")?;
        let (Some(from), Some(to)) = (
            self.times.get(number as usize),
            self.times.get((number as usize).saturating_add(1)),
        ) else {
            return Err(Corrupt::new(place, 0, format!("a time column {number}")));
        };
        let mut reader = Reader::new(place, &section[*from as usize..*to as usize]);
        let times = ints::decode(&mut reader, CHUNK_SAMPLES_MAX)?;
        check_times(&times, &reader)?;
        if times.is_empty() || times.windows(2).any(|w| w[0] >= w[1]) {
            return Err(Corrupt::new(place, *from, "times that ascend"));
        }
        let times = Arc::new(times);
        // The table can be as large as the part where nothing is shared.
        if cache.len() >= TIMES_CACHE_MAX {
            cache.clear();
        }
        cache.insert(number, Arc::clone(&times));
        Ok(times)
    }

    /// Of a tier: the series that fall often in a bucket, so that the order of adding up falls
    /// counts, and those of which histograms were left out.
    pub(crate) fn differing(&self) -> Result<(RoaringBitmap, RoaringBitmap), Corrupt> {
        let place = format!("{}/differing", self.reader.name());
        let mut reader = Reader::new(&place, self.reader.section("differing")?);
        let series = u64::from(self.series);
        let falling = bitmap::decode(&mut reader, series)?;
        let thinned = bitmap::decode(&mut reader, series)?;
        reader.finish()?;
        Ok((falling, thinned))
    }

    /// The summaries of the series of a block, with the times of each; `None` where there are none.
    pub(crate) fn summaries(
        &self,
        group: &Group,
        block: usize,
    ) -> Result<Option<Vec<Option<Stored>>>, Corrupt> {
        let (Some(from), Some(to)) = (self.summaries.get(block), self.summaries.get(block + 1))
        else {
            return Ok(None);
        };
        if from == to {
            return Ok(None);
        }
        let section = self.reader.section("summaries")?;
        let run = &section[*from as usize..*to as usize];
        let mut reader = Reader::new(&self.places.summaries, run);
        let found = summary::decode(&mut reader, group.series as usize, RUN_BYTES_MAX)?;
        reader.finish()?;
        Ok(Some(found))
    }

    /// The times of a summary, and the summary with what they say.
    pub(crate) fn summarised(
        &self,
        stored: &Stored,
        cache: &mut TimesCache,
    ) -> Result<(Arc<Vec<i64>>, Summary), Corrupt> {
        let times = self.time_column(stored.times, cache)?;
        let summary = Summary {
            first_time: Timestamp::from_millis(times[0]),
            count: times.len() as u64,
            ..stored.summary
        };
        Ok((times, summary))
    }

    /// The samples of a series (by its place in the group) in a block.
    pub(crate) fn column(
        &self,
        block: &OpenBlock<'_>,
        series: usize,
        times: &[i64],
        cache: &mut TimesCache,
    ) -> Result<Column, Corrupt> {
        let mut column = self.values(block, series, times.len(), cache)?;
        column.times = times[..column.values.len()].to_vec();
        Ok(column)
    }

    /// The samples of a series (by its place in the group) in a block, without their times.
    pub(crate) fn values(
        &self,
        block: &OpenBlock<'_>,
        series: usize,
        count: usize,
        cache: &mut TimesCache,
    ) -> Result<Column, Corrupt> {
        let Some(Some(chunk)) = block.chunks.get(series) else {
            return Ok(Column::default());
        };
        let mut column = Column {
            values: self.floats(block, chunk.column, count)?,
            ..Column::default()
        };
        if !chunk.extras.is_empty() {
            self.extras(block, chunk, &mut column)?;
        }
        if let Some(numbers) = chunk.tier {
            self.tier(block, (chunk.column, numbers), &mut column, cache)?;
        }
        Ok(column)
    }

    /// What the samples of a chunk of a tier stand for.
    fn tier(
        &self,
        block: &OpenBlock<'_>,
        (at, (firsts, counts)): (usize, (u64, u64)),
        column: &mut Column,
        cache: &mut TimesCache,
    ) -> Result<(), Corrupt> {
        let len = column.values.len();
        let (firsts, counts) = (
            self.time_column(firsts, cache)?,
            self.time_column(counts, cache)?,
        );
        if firsts.len() != len || counts.len() != len || counts[0] < 1 {
            let place = self.places.times.as_str();
            return Err(Corrupt::new(
                place,
                0,
                format!("{len} first times and counts"),
            ));
        }
        let mut columns = Vec::with_capacity(TIER_COLUMNS - 1);
        for number in 1..TIER_COLUMNS {
            columns.push(self.floats(block, at + number, len)?);
        }
        let mut before = 0;
        for (index, total) in counts.iter().enumerate() {
            let count = total - before;
            before = *total;
            if count > 1 {
                let fallen = match columns[3][index] {
                    0.0 => Fallen::No,
                    sum => Fallen::Often(sum),
                };
                let summary = Summary {
                    first_time: Timestamp::from_millis(firsts[index]),
                    count: count.unsigned_abs(),
                    first: columns[0][index],
                    min: columns[1][index],
                    max: columns[2][index],
                    fallen,
                    sum: columns[4][index],
                    exact: false,
                };
                column.summaries.push((index as u32, summary));
            }
        }
        Ok(())
    }

    fn floats(
        &self,
        block: &OpenBlock<'_>,
        column: usize,
        count: usize,
    ) -> Result<Vec<f64>, Corrupt> {
        if block.bundle.count(column) != count {
            let place = self.places.values.as_str();
            return Err(Corrupt::new(
                place,
                0,
                format!("a column of {count} values"),
            ));
        }
        block.bundle.decode(column, &mut block.scratch.lock().0)
    }

    /// Start timestamps and histograms for a column that has its values.
    fn extras(
        &self,
        block: &OpenBlock<'_>,
        chunk: &Chunk,
        column: &mut Column,
    ) -> Result<(), Corrupt> {
        let place = self.places.values.as_str();
        let mut reader = Reader::new(place, &block.extras[chunk.extras.clone()]);
        let count = column.values.len();
        column.starts = ints::decode(&mut reader, count)?;
        let starts = column.starts.len();
        if starts > 0 && starts != count {
            return Err(reader.corrupt(format!("{count} start timestamps")));
        }
        let bundle = block.histograms.as_ref();
        histograms::decode_columns(&mut reader, bundle, &mut block.scratch.lock().1, column)?;
        reader.finish()
    }

    /// Whether the values of a series (by its place in the group) in a block are numbers for sure:
    /// no histograms, no NaN and so no end of the series.
    pub(crate) fn has_plain_values(&self, block: &OpenBlock<'_>, series: usize) -> bool {
        let chunk = block.chunks.get(series).and_then(Option::as_ref);
        chunk.is_some_and(|c| c.extras.is_empty() && block.bundle.is_plain(c.column))
    }

    /// All exemplars with the number of their series, ascending.
    pub(crate) fn exemplars(&self) -> Result<Vec<(u32, Exemplar)>, Corrupt> {
        let mut exemplars: Vec<(u32, Exemplar)> = Vec::new();
        self.runs("exemplars", &mut |reader| {
            for _ in 0..reader.count(reader.remaining())? {
                let series = reader.u32_varint()?;
                let ascends = exemplars.last().is_none_or(|(last, _)| *last <= series);
                if series >= self.series || !ascends {
                    return Err(reader.corrupt("an ascending series number before here"));
                }
                exemplars.push((series, read_exemplar(reader)?));
            }
            Ok(())
        })?;
        Ok(exemplars)
    }

    /// Metadata of the families that were known when the part was written.
    pub(crate) fn metadata(&self) -> Result<Vec<Metadata>, Corrupt> {
        self.reader.section("metadata")?;
        let mut metadata = Vec::new();
        self.runs("metadata", &mut |reader| {
            metadata.append(&mut decode_metadata(reader)?);
            Ok(())
        })?;
        Ok(metadata)
    }

    /// Calls back with each run of what is cut into runs, each a section of its own.
    fn runs(
        &self,
        what: &str,
        each: &mut dyn FnMut(&mut Reader<'_>) -> Result<(), Corrupt>,
    ) -> Result<(), Corrupt> {
        for number in 0.. {
            let name = run_name(what, number);
            let Some(section) = self.reader.section_if_any(&name)? else {
                break;
            };
            let place = format!("{}/{name}", self.reader.name());
            let body = bytes::decode(&mut Reader::new(&place, section), RUN_BYTES_MAX)?;
            let mut reader = Reader::new(&place, &body);
            each(&mut reader)?;
            reader.finish()?;
        }
        Ok(())
    }

    /// Decodes everything that is in the blocks; gives the number of samples. For measurements and
    /// for checks of a whole part.
    pub fn decode_all(&self) -> Result<u64, Corrupt> {
        let mut samples = 0;
        let mut cache = TimesCache::new();
        for group in &self.groups {
            for block in &self.blocks[group.blocks.clone()] {
                let open = self.open_block(group, block)?;
                for series in 0..group.series as usize {
                    if let Some(times) = self.times(&open, series, &mut cache)? {
                        let column = self.values(&open, series, times.len(), &mut cache)?;
                        samples += column.values.len() as u64;
                    }
                }
            }
        }
        Ok(samples)
    }

    /// Samples in all blocks, by the directory.
    pub(crate) fn samples(&self) -> u64 {
        self.blocks.iter().map(|b| b.samples).sum()
    }
}

/// The milliseconds that a sample stands for.
fn open_version(meta: &mut Reader<'_>) -> Result<i64, Corrupt> {
    match meta.u8()? {
        VERSION => Ok(0),
        VERSION_TIER => match i64::try_from(meta.varint()?) {
            Ok(resolution) if resolution > 0 => Ok(resolution),
            _ => Err(meta.corrupt("the milliseconds of a tier before here")),
        },
        _ => Err(meta.corrupt(format!("version {VERSION} or {VERSION_TIER} before here"))),
    }
}

/// Where the summaries of each block start in their section, and the end of the last.
fn open_summaries(part: &PartReader, blocks: usize) -> Result<Vec<u64>, Corrupt> {
    let Some(section) = part.section_if_any("summaries")? else {
        return Ok(Vec::new());
    };
    let place = format!("{}/summaries", part.name());
    let mut reader = Reader::new(&place, section);
    let lengths = ints::decode_u64(&mut reader, blocks)?;
    let base = reader.position() as u64;
    let starts: Vec<u64> = offsets(&lengths)
        .iter()
        .map(|start| start.saturating_add(base))
        .collect();
    if lengths.len() != blocks || starts.last() != Some(&(section.len() as u64)) {
        return Err(reader.corrupt("summaries of all blocks that fill the section"));
    }
    Ok(starts)
}

fn open_names(meta: &mut Reader<'_>, postings: u64) -> Result<Vec<Name>, Corrupt> {
    let count = meta.count(meta.remaining())?;
    let mut names: Vec<Name> = Vec::new();
    let mut start = 0u64;
    for _ in 0..count {
        let name = meta.text(meta.remaining())?.to_owned();
        let end = start.saturating_add(meta.varint()?);
        if names.last().is_some_and(|last| last.name >= name) {
            return Err(meta.corrupt("label names in ascending order before here"));
        }
        names.push(Name {
            name,
            bytes: start..end,
        });
        start = end;
    }
    if start != postings {
        return Err(meta.corrupt("labels that fill their section before here"));
    }
    Ok(names)
}
