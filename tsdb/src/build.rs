//! Writes a metric part from series that come in order. Flush and merge both end here.
//!
//! Series stand in groups of up to 64 of one metric, because neighbours look alike and compress
//! together. The samples of a group are cut into blocks by time; a block is one zstd run and what a
//! reader reads at a time. A column of times is stored once, however many series share it.
//! Bytes: `docs/formats/metric-part.md`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use obs_model::metrics::{Exemplar, Metadata};
use obs_model::{Labels, Samples};
use obs_storage::PartWriter;
use obs_storage::codec::bundle::BundleWriter;
use obs_storage::codec::{bitmap, bytes, ints, put_bytes, varint};
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::{Column, MilliRange};
use crate::dictionary;
use crate::histograms;
use crate::record::{encode_metadata, put_exemplar, put_front_coded};
use crate::summary::{self, Fallen, Stored, Summary};

/// Version of the section `meta` and with it of the whole layout.
pub(crate) const VERSION: u8 = 2;
/// The same of a tier: samples that stand for many.
pub(crate) const VERSION_TIER: u8 = 3;
/// Columns of values that a series has in a block of a tier: last, first, smallest, largest, the
/// value before a fall, sum.
pub(crate) const TIER_COLUMNS: usize = 6;
/// Columns of times that it has: of last and first samples, and running numbers of samples.
pub(crate) const TIER_TIMES: usize = 3;
/// A chunk of at least so many samples has a summary: 5 to 10 bytes, below 2 % of it.
const SUMMARY_SAMPLES_MIN: usize = if cfg!(test) { 3 } else { 1024 };
/// Series of one group: more gain little in size and cost each reader of one of them more.
pub(crate) const GROUP_SERIES_MAX: usize = 64;
/// Samples of one series in one block: 720 are clearly denser than 240, thousands a little more.
pub(crate) const CHUNK_SAMPLES_MAX: usize = 2048;
/// The same where a series has histograms, which are a hundred times larger.
const CHUNK_HISTOGRAMS_MAX: usize = 512;
/// A group ends when its samples and buckets reach this: bounds what is held while writing.
const GROUP_WEIGHT_MAX: usize = 1 << 20;
/// A group ends when its labels reach this: they are one run, which a reader takes whole.
const GROUP_LABELS_BYTES_MAX: usize = if cfg!(test) { 16 << 10 } else { 16 << 20 };
/// A run of exemplars or metadata ends when it has so many bytes. Small in tests, so that few make
/// several runs.
const RUN_BYTES: usize = if cfg!(test) { 100 } else { 16 << 20 };
/// Sets of at most so many series are written as numbers; a bitmap has 16 bytes of its own.
pub(crate) const POSTINGS_PLAIN_MAX: usize = 8;
/// In the place of such a number: a run of differences follows.
pub(crate) const POSTINGS_RUN: usize = POSTINGS_PLAIN_MAX + 1;
/// Fewer series are not worth a run.
const POSTINGS_RUN_MIN: usize = 64;

/// The name of the n-th section of what is cut into runs.
pub(crate) fn run_name(what: &str, number: usize) -> String {
    match number {
        0 => what.to_owned(),
        number => format!("{what}/{number}"),
    }
}

/// The order of series in a part: by metric name, then by all labels.
pub(crate) fn series_order(a: &Labels, b: &Labels) -> Ordering {
    let (x, y) = (a.metric_name(), b.metric_name());
    x.unwrap_or("").cmp(y.unwrap_or("")).then_with(|| a.cmp(b))
}

/// Writes a whole part from series that come in order of metric name, then of all labels, none
/// twice: for imports and measurements that have no use for a memory.
pub fn write_part<'a>(
    series: impl IntoIterator<Item = (&'a Labels, Samples)>,
    metadata: &[Metadata],
    out: &mut PartWriter,
) {
    let mut builder = Builder::new(out);
    for (labels, samples) in series {
        let column = Column {
            times: samples.times.iter().map(|t| t.millis()).collect(),
            values: samples.floats,
            histograms: samples.histograms,
            ..Column::default()
        };
        builder.add(labels, column, &[]);
    }
    builder.finish(metadata, None);
}

/// A part in the making.
pub(crate) struct Builder<'a> {
    out: &'a mut PartWriter,
    group: Vec<(Labels, Column)>,
    group_weight: usize,
    group_labels_bytes: usize,
    /// Per group: series, bytes of labels, blocks.
    group_series: Vec<u64>,
    group_labels: Vec<u64>,
    group_blocks: Vec<u64>,
    /// Per block: bytes, samples, first and last millisecond.
    block_bytes: Vec<u64>,
    block_samples: Vec<u64>,
    block_starts: Vec<i64>,
    block_ends: Vec<i64>,
    labels: Vec<u8>,
    times: Times,
    bundle: BundleWriter,
    histograms: BundleWriter,
    /// Milliseconds that samples of a tier stand for; 0 for samples as they came.
    resolution: i64,
    /// Series of a tier that fall often in a bucket, and of which histograms were left out.
    falling: RoaringBitmap,
    thinned: RoaringBitmap,
    /// Of each block: its summaries.
    summaries: Vec<u8>,
    summary_bytes: Vec<u64>,
    summary_bundle: BundleWriter,
    packer: bytes::Encoder,
    label_packer: bytes::Encoder,
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u32>>>,
    /// The run in the making, the number of its exemplars, and the runs before it.
    exemplars: Vec<u8>,
    exemplar_count: u64,
    exemplar_runs: Vec<Vec<u8>>,
    series: u32,
    rows: u64,
    range: Option<MilliRange>,
}

/// The table of time columns.
#[derive(Default)]
struct Times {
    bytes: Vec<u8>,
    lengths: Vec<u64>,
    offsets: Vec<usize>,
    /// Columns by the hash of their bytes.
    by_hash: HashMap<u64, Vec<u32>>,
    /// The column last used at each block of a group, which neighbours nearly always share.
    recent: Vec<(Vec<i64>, u32)>,
}

impl Times {
    /// The number of a column, stored now if it is new. `block` is which block of its group asks.
    fn number(&mut self, times: &[i64], block: usize) -> u32 {
        if let Some((recent, number)) = self.recent.get(block)
            && recent == times
        {
            return *number;
        }
        let offset = self.bytes.len();
        ints::encode(times, &mut self.bytes);
        let (known, new) = self.bytes.split_at(offset);
        let same_hash = self.by_hash.entry(xxh3_64(new)).or_default();
        let same = same_hash.iter().copied().find(|number| {
            let at = self.offsets[*number as usize];
            &known[at..at + self.lengths[*number as usize] as usize] == new
        });
        let number = match same {
            Some(number) => {
                self.bytes.truncate(offset);
                number
            }
            None => {
                let number = self.lengths.len() as u32;
                same_hash.push(number);
                self.lengths.push((self.bytes.len() - offset) as u64);
                self.offsets.push(offset);
                number
            }
        };
        self.recent
            .resize(self.recent.len().max(block + 1), Default::default());
        self.recent[block] = (times.to_vec(), number);
        number
    }
}

/// A block in the making.
#[derive(Default)]
struct Block {
    /// Per series 1 + the numbers of its time columns, 0 for none.
    numbers: Vec<u64>,
    lengths: Vec<u64>,
    extras: Vec<u8>,
    histogram_columns: usize,
    samples: usize,
    range: Option<MilliRange>,
    /// Buckets of one histogram: the column of the last one and its times.
    buckets: HashMap<u64, (usize, u64)>,
    summaries: Vec<Option<Stored>>,
}

impl<'a> Builder<'a> {
    /// Starts the part; its blocks are written as they come.
    pub(crate) fn new(out: &'a mut PartWriter) -> Self {
        out.begin("values");
        Self {
            out,
            group: Vec::new(),
            group_weight: 0,
            group_labels_bytes: 0,
            group_series: Vec::new(),
            group_labels: Vec::new(),
            group_blocks: Vec::new(),
            block_bytes: Vec::new(),
            block_samples: Vec::new(),
            block_starts: Vec::new(),
            block_ends: Vec::new(),
            labels: Vec::new(),
            times: Times::default(),
            bundle: BundleWriter::default(),
            histograms: BundleWriter::default(),
            resolution: 0,
            falling: RoaringBitmap::new(),
            thinned: RoaringBitmap::new(),
            summaries: Vec::new(),
            summary_bytes: Vec::new(),
            summary_bundle: BundleWriter::default(),
            packer: bytes::Encoder::new(bytes::LEVEL_FAST),
            label_packer: bytes::Encoder::new(bytes::LEVEL),
            postings: BTreeMap::new(),
            exemplars: Vec::new(),
            exemplar_count: 0,
            exemplar_runs: Vec::new(),
            series: 0,
            rows: 0,
            range: None,
        }
    }

    /// The same for a tier whose samples stand for so many milliseconds; 0 for none.
    pub(crate) fn of_tier(out: &'a mut PartWriter, resolution: i64) -> Self {
        Self {
            resolution,
            ..Self::new(out)
        }
    }

    /// Adds a series of a tier.
    pub(crate) fn add_thin(&mut self, labels: &Labels, column: Column, thinned: bool) {
        let often = |(_, one): &(u32, Summary)| matches!(one.fallen, Fallen::Often(_));
        if !column.is_empty() && column.summaries.iter().any(often) {
            self.falling.insert(self.series);
        }
        if thinned {
            self.thinned.insert(self.series);
        }
        self.add(labels, column, &[]);
    }

    /// Adds a series; they come in [`series_order`], none twice. One without samples and exemplars
    /// is left out.
    pub(crate) fn add(&mut self, labels: &Labels, column: Column, exemplars: &[Exemplar]) {
        if column.is_empty() && exemplars.is_empty() {
            return;
        }
        let buckets: usize = column
            .histograms
            .iter()
            .map(|(_, h)| h.positive.len() + h.negative.len() + h.custom_bounds.len())
            .sum();
        let weight = column.len() + buckets;
        let ends = self.group.first().is_some_and(|(first, _)| {
            first.metric_name() != labels.metric_name()
                || self.group.len() == GROUP_SERIES_MAX
                || self.group_weight + weight > GROUP_WEIGHT_MAX
                || self.group_labels_bytes + labels.packed().len() > GROUP_LABELS_BYTES_MAX
        });
        if ends {
            self.end_group();
        }
        self.add_postings(labels);
        for exemplar in exemplars {
            varint::put(u64::from(self.series), &mut self.exemplars);
            put_exemplar(exemplar, &mut self.exemplars);
            self.exemplar_count += 1;
            if self.exemplars.len() >= RUN_BYTES {
                self.end_exemplars();
            }
            let time = exemplar.time.millis();
            self.cover(time, time);
        }
        self.rows += (column.len() + exemplars.len()) as u64;
        if let (Some(first), Some(last)) = (column.times.first(), column.times.last()) {
            self.cover(*first, *last);
        }
        self.series = self.series.checked_add(1).expect("fewer than 2^32 series");
        self.group_weight += weight;
        self.group_labels_bytes += labels.packed().len();
        self.group.push((labels.clone(), column));
    }

    /// Writes everything but the blocks. Where there are no rows, metadata stands at `lone` and
    /// each family counts as a row; without both nothing more is written.
    pub(crate) fn finish(mut self, metadata: &[Metadata], lone: Option<MilliRange>) {
        self.end_group();
        if self.range.is_none() && !metadata.is_empty() {
            self.range = lone;
            self.rows = metadata.len() as u64;
        }
        let Some(range) = self.range else {
            return;
        };
        self.out.section("labels", &self.labels);
        self.out.section("times", &self.times.bytes);
        if !self.summaries.is_empty() {
            let mut section = Vec::new();
            ints::encode_u64(&self.summary_bytes, &mut section);
            section.append(&mut self.summaries);
            self.out.section("summaries", &section);
        }
        if self.resolution > 0 {
            let mut section = Vec::new();
            bitmap::encode(&self.falling, &mut section);
            bitmap::encode(&self.thinned, &mut section);
            self.out.section("differing", &section);
        }
        let names = self.write_postings();
        self.write_meta(&names);
        self.end_exemplars();
        for (number, run) in self.exemplar_runs.iter().enumerate() {
            self.out.section(&run_name("exemplars", number), run);
        }
        for (number, run) in metadata_runs(metadata).iter().enumerate() {
            self.out.section(&run_name("metadata", number), run);
        }
        self.out.rows(self.rows, range.nanos());
    }

    fn end_exemplars(&mut self) {
        if self.exemplar_count > 0 {
            let mut body = Vec::new();
            varint::put(self.exemplar_count, &mut body);
            body.append(&mut self.exemplars);
            self.exemplar_runs.push(compressed(&body));
            self.exemplar_count = 0;
        }
    }

    fn cover(&mut self, min: i64, max: i64) {
        let range = MilliRange {
            start: min,
            end: max,
        };
        self.range = Some(self.range.map_or(range, |r| r.union(range)));
    }

    fn add_postings(&mut self, labels: &Labels) {
        for (name, value) in labels {
            if !self.postings.contains_key(name) {
                self.postings.insert(Arc::from(name), BTreeMap::new());
            }
            let values = self.postings.get_mut(name).expect("it was just put there");
            match values.get_mut(value) {
                Some(series) => series.push(self.series),
                None => {
                    values.insert(Arc::from(value), vec![self.series]);
                }
            }
        }
    }

    fn end_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        (self.group_weight, self.group_labels_bytes) = (0, 0);
        if group.is_empty() {
            return;
        }
        let mut packed = Vec::new();
        let mut last: &[u8] = &[];
        for (labels, _) in &group {
            put_front_coded(last, labels.packed(), &mut packed);
            last = labels.packed();
        }
        let before = self.labels.len();
        self.label_packer.encode(&packed, &mut self.labels);
        self.group_labels.push((self.labels.len() - before) as u64);
        self.group_series.push(group.len() as u64);

        let wide = group.iter().any(|(_, c)| !c.histograms.is_empty());
        let chunk = if wide {
            CHUNK_HISTOGRAMS_MAX
        } else {
            CHUNK_SAMPLES_MAX
        };
        let longest = group.iter().map(|(_, c)| c.len()).max().unwrap_or(0);
        let blocks = longest.div_ceil(chunk);
        for block in 0..blocks {
            self.write_block(&group, block, chunk);
        }
        self.group_blocks.push(blocks as u64);
    }

    fn write_block(&mut self, group: &[(Labels, Column)], block: usize, chunk: usize) {
        let mut written = Block::default();
        for (labels, column) in group {
            let before = written.extras.len();
            let (from, to) = (block * chunk, column.len().min((block + 1) * chunk));
            if from < to {
                self.write_chunk(labels, column, (from, to), block, &mut written);
            } else {
                let places = if self.resolution > 0 { TIER_TIMES } else { 1 };
                written.numbers.extend(std::iter::repeat_n(0, places));
                written.summaries.push(None);
            }
            written.lengths.push((written.extras.len() - before) as u64);
        }
        let mut body = Vec::with_capacity(written.extras.len() + 3 * group.len());
        ints::encode_u64(&written.numbers, &mut body);
        ints::encode_u64(&written.lengths, &mut body);
        body.push(u8::from(written.histogram_columns > 0));
        body.extend_from_slice(&written.extras);
        let mut run = Vec::new();
        self.packer.encode(&body, &mut run);
        self.bundle.finish(&mut self.packer, &mut run);
        if written.histogram_columns > 0 {
            self.histograms.finish(&mut self.packer, &mut run);
        }
        self.out.extend(&run);
        let range = written.range;
        let range = range.expect("a block has samples of the longest column");
        self.block_bytes.push(run.len() as u64);
        self.block_samples.push(written.samples as u64);
        self.block_starts.push(range.start);
        self.block_ends.push(range.end);
        let before = self.summaries.len();
        if written.summaries.iter().any(Option::is_some) {
            let bundle = &mut self.summary_bundle;
            let (packer, out) = (&mut self.packer, &mut self.summaries);
            summary::encode(&written.summaries, bundle, packer, out);
        }
        self.summary_bytes
            .push((self.summaries.len() - before) as u64);
    }

    /// Writes the samples of one series in a block.
    fn write_chunk(
        &mut self,
        labels: &Labels,
        column: &Column,
        (from, to): (usize, usize),
        block: usize,
        written: &mut Block,
    ) {
        let times = &column.times[from..to];
        let number = u64::from(self.times.number(times, TIER_TIMES * block));
        written.numbers.push(number + 1);
        let bounds = MilliRange {
            start: times[0],
            end: times[to - from - 1],
        };
        written.range = Some(written.range.map_or(bounds, |r| r.union(bounds)));
        written.samples += to - from;
        let bucket = histogram_of(labels);
        let like = bucket.and_then(|histogram| written.buckets.get(&histogram));
        let like = like.filter(|(_, times)| *times == number);
        let like = like.map(|(column, _)| *column);
        let values = &column.values[from..to];
        let pushed = self.bundle.push(values, like);
        if let Some(histogram) = bucket {
            written.buckets.insert(histogram, (pushed, number));
        }
        if self.resolution > 0 {
            self.write_tier(column, (from, to), (block, pushed), written);
        }
        let plain = column.starts.is_empty() && column.histograms.is_empty();
        if !plain {
            let slice = column.slice(from, to);
            ints::encode_aligned(&slice.starts, &mut written.extras);
            let columns = &mut written.histogram_columns;
            let bundle = &mut self.histograms;
            histograms::encode_columns(&slice, bundle, columns, &mut written.extras);
        }
        let wanted = plain && self.resolution == 0 && to - from >= SUMMARY_SAMPLES_MIN;
        let summary = if wanted {
            summary::of_chunk(times, values)
        } else {
            None
        };
        written.summaries.push(summary.map(|summary| Stored {
            times: number,
            summary,
            last: values[values.len() - 1],
        }));
    }

    /// Writes what the samples of a chunk of a tier stand for, behind their values.
    fn write_tier(
        &mut self,
        column: &Column,
        (from, to): (usize, usize),
        (block, last): (usize, usize),
        written: &mut Block,
    ) {
        let mut firsts = column.times[from..to].to_vec();
        let mut counts = vec![1i64; to - from];
        let alone: Vec<f64> = column.values[from..to].to_vec();
        let mut columns = [
            alone.clone(),
            alone.clone(),
            alone.clone(),
            Vec::new(),
            alone,
        ];
        columns[3] = vec![0.0; to - from];
        let before = |end: usize| {
            column
                .summaries
                .partition_point(|(i, _)| (*i as usize) < end)
        };
        for (index, one) in &column.summaries[before(from)..before(to)] {
            let at = *index as usize - from;
            firsts[at] = one.first_time.millis();
            counts[at] = i64::try_from(one.count).unwrap_or(i64::MAX);
            let values = [
                one.first,
                one.min,
                one.max,
                one.fallen.sum().unwrap_or(0.0),
                one.sum,
            ];
            for (column, value) in columns.iter_mut().zip(values) {
                column[at] = value;
            }
        }
        let mut total = 0i64;
        for count in &mut counts {
            total = total.saturating_add(*count);
            *count = total;
        }
        for (place, times) in [(1, &firsts), (2, &counts)] {
            let number = self.times.number(times, TIER_TIMES * block + place);
            written.numbers.push(u64::from(number) + 1);
        }
        let [first, min, max, fall, sum] = &columns;
        let first = self.bundle.push(first, Some(last));
        self.bundle.push(min, Some(first));
        self.bundle.push(max, Some(last));
        self.bundle.push(fall, None);
        self.bundle.push(sum, None);
    }

    /// Writes the section of postings; gives name and bytes of each label.
    fn write_postings(&mut self) -> Vec<(Arc<str>, usize)> {
        let mut names = Vec::with_capacity(self.postings.len());
        self.out.begin("postings");
        for (name, values) in std::mem::take(&mut self.postings) {
            let mut out = Vec::new();
            dictionary::encode(values.keys().map(|v| &**v), &mut out);
            let mut all = RoaringBitmap::new();
            let mut sets = Vec::new();
            let mut offsets = vec![0u64];
            for series in values.values() {
                all.extend(series.iter().copied());
                put_postings(series, &mut self.label_packer, &mut sets);
                offsets.push(sets.len() as u64);
            }
            bitmap::encode(&all, &mut out);
            let wide = sets.len() > u32::MAX as usize;
            assert!(!wide, "the postings of one label take less than 4 GiB");
            for offset in offsets {
                out.extend_from_slice(&(offset as u32).to_le_bytes());
            }
            out.extend_from_slice(&sets);
            self.out.extend(&out);
            names.push((name, out.len()));
        }
        names
    }

    fn write_meta(&mut self, names: &[(Arc<str>, usize)]) {
        let mut meta = vec![VERSION];
        if self.resolution > 0 {
            meta = vec![VERSION_TIER];
            varint::put(self.resolution.unsigned_abs(), &mut meta);
        }
        for column in [
            &self.group_series,
            &self.group_labels,
            &self.group_blocks,
            &self.block_bytes,
            &self.block_samples,
        ] {
            ints::encode_u64(column, &mut meta);
        }
        ints::encode(&self.block_starts, &mut meta);
        ints::encode(&self.block_ends, &mut meta);
        ints::encode_u64(&self.times.lengths, &mut meta);
        varint::put(names.len() as u64, &mut meta);
        for (name, length) in names {
            put_bytes(name.as_bytes(), &mut meta);
            varint::put(*length as u64, &mut meta);
        }
        self.out.section("meta", &meta);
    }
}

/// What the buckets of one histogram have in common, as a hash; `None` for other series.
fn histogram_of(labels: &Labels) -> Option<u64> {
    labels.get("le")?;
    Some(labels.without(|name| name == "le").hash64())
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut run = Vec::new();
    bytes::encode(body, bytes::LEVEL, &mut run);
    run
}

/// Metadata in runs, at least one.
fn metadata_runs(metadata: &[Metadata]) -> Vec<Vec<u8>> {
    let mut runs = Vec::new();
    let mut rest = metadata;
    loop {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|entry| {
            let before = bytes;
            bytes += entry.family.len() + entry.unit.len() + entry.help.len();
            before < RUN_BYTES
        });
        let (run, later) = rest.split_at(fits.count());
        let mut body = Vec::new();
        encode_metadata(run, &mut body);
        runs.push(compressed(&body));
        rest = later;
        if rest.is_empty() {
            return runs;
        }
    }
}

/// Appends a set of ascending series numbers. Of large ones the smaller of two: the series of one
/// instance lie at nearly the same distances in each metric, which a bitmap does not see.
fn put_postings(series: &[u32], packer: &mut bytes::Encoder, out: &mut Vec<u8>) {
    if series.len() > POSTINGS_PLAIN_MAX {
        let begin = out.len();
        out.push(0);
        let set = RoaringBitmap::from_sorted_iter(series.iter().copied());
        bitmap::encode(&set.expect("series are added in ascending order"), out);
        if series.len() >= POSTINGS_RUN_MIN && out.len() - begin >= POSTINGS_RUN_MIN {
            let before = std::iter::once(&0).chain(series);
            let pairs = series.iter().zip(before);
            let distances: Vec<i64> = pairs.map(|(now, last)| i64::from(now - last)).collect();
            let (mut column, mut run) = (Vec::new(), vec![POSTINGS_RUN as u8]);
            ints::encode_aligned(&distances, &mut column);
            packer.encode(&column, &mut run);
            if run.len() < out.len() - begin {
                out.truncate(begin);
                out.append(&mut run);
            }
        }
        return;
    }
    varint::put(series.len() as u64, out);
    let mut last = 0;
    for number in series {
        varint::put(u64::from(number - last), out);
        last = *number;
    }
}
