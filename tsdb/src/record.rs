//! A journal record of metrics: what came for one tenant in one group commit.
//!
//! version (u8), then one zstd run. In it: new series of this journal segment with front-coded
//! packed labels; then samples as series numbers, times and values against each series' sample
//! before; then what is rarer. Bytes: `docs/formats/metric-record.md`.
//! Invariants: a record leans on the records of its tenant before it in the same segment, and finds
//! out by a checksum of its values when one of them is missing; numbers belong to the segment, not
//! to memory; nothing is allocated per sample.

use std::collections::HashSet;
use std::sync::Arc;

use obs_model::metrics::{Exemplar, Metadata, MetricKind};
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Labels, Timestamp};
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bytes, floats, ints, put_bytes, varint};
use xxhash_rust::xxh3::Xxh3;

use crate::column::Column;
use crate::histograms;

const VERSION: u8 = 1;
/// Bytes of one record once decompressed; several times the largest accepted request.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// Bytes of all labels of one batch; front coding makes them dense, so they have their own bound.
pub(crate) const LABELS_BYTES_MAX: usize = 1 << 28;
/// Samples of one batch, a hundred times what senders put in one request.
pub const RECORD_SAMPLES_MAX: usize = 1 << 23;
/// A record holds the batches of a group commit; the writer ends a group long before this.
const GROUP_FACTOR: usize = 2;
/// Largest magnitude of a stored time: what a timestamp in nanoseconds can say.
const MILLIS_MAX: i64 = i64::MAX / NANOS_PER_MILLI + 1;
/// No number, no series.
const NONE: u32 = u32::MAX;
/// Codes of values: as before; by its bits. Larger ones are a difference.
const CODE_SAME: u64 = 0;
const CODE_BITS: u64 = 1;
/// Differences are smaller than this, so that a float holds them and what they lead to.
const DIFFERENCE_MAX: f64 = (1u64 << 40) as f64;

/// What a record says, with series as memory numbers them.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// Float samples without start timestamps, in order of arrival: series, milliseconds, value.
    pub(crate) series: Vec<u32>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// Where the samples of a batch begin: what one scrape brought is not mixed with another's,
    /// though both have the same time.
    pub(crate) breaks: Vec<usize>,
    /// All other samples, in order of arrival within a series.
    pub(crate) others: Vec<(u32, Column)>,
    /// The series that `others` has something of; filled while entries are gathered.
    pub(crate) with_others: HashSet<u32>,
    /// Exemplars with their series.
    pub(crate) exemplars: Vec<(u32, Exemplar)>,
    /// Metadata of families.
    pub(crate) metadata: Vec<Metadata>,
    /// When it was received, in milliseconds.
    pub(crate) received: i64,
}

impl Entries {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
            && self.others.is_empty()
            && self.exemplars.is_empty()
            && self.metadata.is_empty()
    }
}

/// What the records of one segment have said so far: the series they numbered, and their newest
/// values.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    segment: u64,
    /// The next record must start anew: what the last one said did not get into the journal.
    restart: bool,
    /// Numbers by memory's number of the series.
    numbers: Vec<u32>,
    /// Memory's numbers, by number.
    series: Vec<u32>,
    /// Newest values, by number.
    values: Vec<f64>,
}

impl Dictionary {
    /// Goes on in a segment; nothing of another one counts in it.
    pub(crate) fn enter(&mut self, segment: u64) {
        if self.segment != segment {
            self.clear();
            self.segment = segment;
        }
    }

    /// Forgets what was said in a record that did not get into the journal.
    pub(crate) fn abort(&mut self) {
        self.clear();
        self.restart = true;
    }

    fn clear(&mut self) {
        self.restart = false;
        self.numbers.clear();
        self.series.clear();
        self.values.clear();
    }

    /// The number of a series; a new one is written down with its labels.
    fn number(&mut self, series: u32, new: &mut Vec<u32>) -> u32 {
        let at = series as usize;
        if at >= self.numbers.len() {
            self.numbers.resize(at + 1, NONE);
        }
        if self.numbers[at] == NONE {
            self.numbers[at] = self.series.len() as u32;
            self.series.push(series);
            self.values.push(0.0);
            new.push(series);
        }
        self.numbers[at]
    }

    /// Memory's number for the number in a record.
    fn series(&self, number: u64, reader: &Reader<'_>) -> Result<u32, Corrupt> {
        let series = self.series.get(number as usize).copied();
        series
            .filter(|series| *series != NONE)
            .ok_or_else(|| reader.corrupt("the number of a series before here"))
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        4 * (self.numbers.capacity() + self.series.capacity()) + 8 * self.values.capacity()
    }
}

/// Buffers of the encoder that are worth keeping.
#[derive(Debug)]
pub(crate) struct Scratch {
    zstd: bytes::Encoder,
    numbers: Vec<u32>,
    new: Vec<u32>,
    body: Vec<u8>,
    codes: Vec<u8>,
    bits: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            zstd: bytes::Encoder::new(bytes::LEVEL_FAST),
            numbers: Vec::new(),
            new: Vec::new(),
            body: Vec::new(),
            codes: Vec::new(),
            bits: Vec::new(),
        }
    }
}

/// Appends the record of entries to `out`. `labels` gives the labels of a series.
pub(crate) fn encode<'l>(
    entries: &Entries,
    dictionary: &mut Dictionary,
    labels: impl Fn(u32) -> &'l Labels,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    scratch.new.clear();
    scratch.numbers.clear();
    scratch.body.clear();
    let (new, body) = (&mut scratch.new, &mut scratch.body);
    body.push(u8::from(std::mem::take(&mut dictionary.restart)));
    varint::put(dictionary.series.len() as u64, body);
    for series in &entries.series {
        scratch.numbers.push(dictionary.number(*series, new));
    }
    let number = |series: &u32| dictionary.number(*series, new);
    let others: Vec<u32> = entries.others.iter().map(|(s, _)| s).map(number).collect();
    let number = |series: &u32| dictionary.number(*series, new);
    let exemplars: Vec<u32> = entries
        .exemplars
        .iter()
        .map(|(s, _)| s)
        .map(number)
        .collect();
    varint::put(new.len() as u64, body);
    let mut last: &[u8] = &[];
    for series in &*new {
        let packed = labels(*series).packed();
        put_front_coded(last, packed, body);
        last = packed;
    }
    put_runs(scratch.numbers.iter().map(|n| i64::from(*n)), 1, &[], body);
    put_runs(entries.times.iter().copied(), 0, &entries.breaks, body);
    scratch.codes.clear();
    scratch.bits.clear();
    put_values(
        &entries.values,
        &scratch.numbers,
        dictionary,
        (&mut scratch.codes, &mut scratch.bits),
    );
    let body = &mut scratch.body;
    put_bytes(&scratch.codes, body);
    put_bytes(&scratch.bits, body);
    body.extend_from_slice(&checksum(&entries.values).to_le_bytes());
    varint::put(others.len() as u64, body);
    for (number, (_, column)) in others.iter().zip(&entries.others) {
        varint::put(u64::from(*number), body);
        ints::encode(&column.times, body);
        floats::encode(&column.values, body);
        ints::encode(&column.starts, body);
        put_histograms(column, body);
    }
    varint::put(exemplars.len() as u64, body);
    for (number, (_, exemplar)) in exemplars.iter().zip(&entries.exemplars) {
        varint::put(u64::from(*number), body);
        put_exemplar(exemplar, body);
    }
    encode_metadata(&entries.metadata, body);
    varint::put_signed(entries.received, body);
    out.push(VERSION);
    scratch.zstd.encode(body, out);
}

/// Appends values as runs of an arithmetic sequence: length, then the first against where the last
/// run would have gone on. A run ends before each of some indices, too.
fn put_runs(values: impl Iterator<Item = i64>, step: i64, breaks: &[usize], out: &mut Vec<u8>) {
    let mut breaks = breaks.iter().copied().peekable();
    let (mut length, mut next, mut first) = (0u64, 0i64, 0i64);
    let mut put = |length: u64, first: i64, end: i64| {
        varint::put(length, out);
        varint::put_signed(first.wrapping_sub(end), out);
    };
    let mut end = 0;
    for (at, value) in values.enumerate() {
        let mut is_break = false;
        while breaks.next_if(|index| *index <= at).is_some() {
            is_break = true;
        }
        if length > 0 && (value != next || is_break) {
            put(length, first, end);
            (end, length) = (next, 0);
        }
        if length == 0 {
            first = value;
        }
        length += 1;
        next = value.wrapping_add(step);
    }
    if length > 0 {
        put(length, first, end);
    }
    varint::put(0, out);
}

/// Reads what [`put_runs`] wrote: at most `count_max` values, and where runs begin.
fn read_runs(
    reader: &mut Reader<'_>,
    step: i64,
    count_max: usize,
) -> Result<(Vec<i64>, Vec<usize>), Corrupt> {
    let (mut values, mut begins) = (Vec::new(), Vec::new());
    let mut next = 0i64;
    loop {
        let length = reader.count(count_max - values.len())?;
        if length == 0 {
            return Ok((values, begins));
        }
        begins.push(values.len());
        next = next.wrapping_add(reader.signed()?);
        for _ in 0..length {
            values.push(next);
            next = next.wrapping_add(step);
        }
    }
}

/// Appends a code per value, and the bits of those that are no small step from the one before.
fn put_values(
    values: &[f64],
    numbers: &[u32],
    dictionary: &mut Dictionary,
    (codes, bits): (&mut Vec<u8>, &mut Vec<u8>),
) {
    for (value, number) in values.iter().zip(numbers) {
        let last = &mut dictionary.values[*number as usize];
        if value.to_bits() == last.to_bits() {
            codes.push(CODE_SAME as u8);
            continue;
        }
        let difference = value - *last;
        let whole = difference as i64;
        let exact = difference.abs() < DIFFERENCE_MAX
            && whole as f64 == difference
            && whole != 0
            && (*last + difference).to_bits() == value.to_bits();
        if exact {
            varint::put(varint::zigzag(whole) + 1, codes);
        } else {
            codes.push(CODE_BITS as u8);
            bits.extend_from_slice(&(value.to_bits() ^ last.to_bits()).to_le_bytes());
        }
        *last = *value;
    }
}

fn checksum(values: &[f64]) -> u32 {
    let mut hash = Xxh3::new();
    for value in values {
        hash.update(&value.to_bits().to_le_bytes());
    }
    hash.digest() as u32
}

/// Reads a record of a segment. `find` gives memory's number of a series by its labels, and adds
/// it where it is new; what the record says before a fault may have been added then.
pub(crate) fn decode(
    record: &[u8],
    dictionary: &mut Dictionary,
    find: &mut dyn FnMut(Labels) -> u32,
) -> Result<Entries, Corrupt> {
    let mut outer = Reader::new("metric record", record);
    if outer.u8()? != VERSION {
        return Err(Corrupt::new("metric record", 0, "version 1"));
    }
    let body = bytes::decode(&mut outer, RECORD_BYTES_MAX)?;
    outer.finish()?;
    let mut reader = Reader::new("metric record", &body);
    if reader.u8()? != 0 {
        dictionary.clear();
    }
    read_new(&mut reader, dictionary, find)?;
    let mut entries = Entries::default();
    read_samples(&mut reader, dictionary, &mut entries)?;
    let mut allowance = GROUP_FACTOR * histograms::BUCKETS_TOTAL_MAX;
    let others = reader.count(reader.remaining())?;
    for _ in 0..others {
        let number = reader.varint()?;
        let series = dictionary.series(number, &reader)?;
        let column = read_column(&mut reader, &mut allowance)?;
        entries.others.push((series, column));
    }
    let exemplars = reader.count(reader.remaining())?;
    for _ in 0..exemplars {
        let number = reader.varint()?;
        let series = dictionary.series(number, &reader)?;
        entries
            .exemplars
            .push((series, read_exemplar(&mut reader)?));
    }
    entries.metadata = decode_metadata(&mut reader)?;
    entries.received = reader.signed()?;
    check_times(&[entries.received], &reader)?;
    reader.finish()?;
    Ok(entries)
}

/// Reads the series that a record numbers.
fn read_new(
    reader: &mut Reader<'_>,
    dictionary: &mut Dictionary,
    find: &mut dyn FnMut(Labels) -> u32,
) -> Result<(), Corrupt> {
    let first = reader.varint()?;
    let count = reader.count(reader.remaining())?;
    let known = dictionary.series.len() as u64;
    if first < known {
        return Err(reader.corrupt(format!("numbers from {known} on before here")));
    }
    // Numbers between are those of a record that is missing; only what needs them is lost.
    if first - known > (GROUP_FACTOR * RECORD_SAMPLES_MAX) as u64 {
        return Err(reader.corrupt("a number that a segment can reach before here"));
    }
    dictionary.series.resize(first as usize, NONE);
    dictionary.values.resize(first as usize, 0.0);
    let mut packed: Vec<u8> = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        let shared = reader.count(packed.len())?;
        let suffix = reader.bytes(reader.remaining())?;
        packed.truncate(shared);
        packed.extend_from_slice(suffix);
        total += packed.len();
        if total > GROUP_FACTOR * LABELS_BYTES_MAX {
            return Err(reader.corrupt("labels within the limit of a record before here"));
        }
        let labels = Labels::from_packed(&packed).map_err(|e| reader.corrupt(e.to_string()))?;
        dictionary.series.push(find(labels));
        dictionary.values.push(0.0);
    }
    Ok(())
}

fn read_samples(
    reader: &mut Reader<'_>,
    dictionary: &mut Dictionary,
    entries: &mut Entries,
) -> Result<(), Corrupt> {
    // Each sample has a code of at least one byte.
    let count_max = reader.remaining().min(GROUP_FACTOR * RECORD_SAMPLES_MAX);
    let (numbers, _) = read_runs(reader, 1, count_max)?;
    (entries.times, entries.breaks) = read_runs(reader, 0, count_max)?;
    check_times(&entries.times, reader)?;
    let codes = reader.bytes(reader.remaining())?;
    let bits = reader.bytes(reader.remaining())?;
    let mut codes = Reader::new("codes of a metric record", codes);
    let mut bits = Reader::new("values of a metric record", bits);
    for number in &numbers {
        let series = dictionary.series(*number as u64, reader)?;
        let last = &mut dictionary.values[*number as usize];
        *last = match codes.varint()? {
            CODE_SAME => *last,
            CODE_BITS => f64::from_bits(last.to_bits() ^ bits.u64()?),
            code => *last + varint::unzigzag(code - 1) as f64,
        };
        entries.series.push(series);
        entries.values.push(*last);
    }
    codes.finish()?;
    bits.finish()?;
    let sound = reader.u32()? == checksum(&entries.values);
    if !sound || entries.times.len() != numbers.len() {
        return Err(reader.corrupt("values that go on from the record before, before here"));
    }
    Ok(())
}

fn read_column(reader: &mut Reader<'_>, allowance: &mut usize) -> Result<Column, Corrupt> {
    let mut column = Column {
        times: ints::decode(reader, RECORD_SAMPLES_MAX)?,
        ..Column::default()
    };
    check_times(&column.times, reader)?;
    let count = column.len();
    column.values = floats::decode(reader, count)?;
    column.starts = ints::decode(reader, count)?;
    let starts = column.starts.len();
    if column.values.len() != count || (starts > 0 && starts != count) {
        return Err(reader.corrupt(format!("columns of {count} samples before here")));
    }
    read_histograms(reader, allowance, &mut column)?;
    Ok(column)
}

/// Appends one exemplar.
pub(crate) fn put_exemplar(exemplar: &Exemplar, out: &mut Vec<u8>) {
    varint::put_signed(exemplar.time.millis(), out);
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    put_bytes(exemplar.labels.packed(), out);
}

/// Reads one exemplar.
pub(crate) fn read_exemplar(reader: &mut Reader<'_>) -> Result<Exemplar, Corrupt> {
    let time = reader.signed()?;
    check_times(&[time], reader)?;
    let value = reader.f64()?;
    let packed = reader.bytes(reader.remaining())?;
    let labels = Labels::from_packed(packed).map_err(|e| reader.corrupt(e.to_string()))?;
    Ok(Exemplar {
        labels,
        value,
        time: Timestamp::from_millis(time),
    })
}

/// Appends the number of histograms, their indices and the histograms.
pub(crate) fn put_histograms(column: &Column, out: &mut Vec<u8>) {
    let indices: Vec<u64> = column
        .histograms
        .iter()
        .map(|(i, _)| u64::from(*i))
        .collect();
    ints::encode_u64(&indices, out);
    for (_, histogram) in &column.histograms {
        histograms::encode(histogram, out);
    }
}

/// Reads what [`put_histograms`] wrote into a column that has its times and values already.
pub(crate) fn read_histograms(
    reader: &mut Reader<'_>,
    allowance: &mut usize,
    column: &mut Column,
) -> Result<(), Corrupt> {
    // A histogram has at least 40 bytes, so a larger number is not honest.
    let count_max = column.len().min(reader.remaining());
    let indices = ints::decode_u64(reader, count_max)?;
    let ascending = indices.windows(2).all(|w| w[0] < w[1]);
    let inside = indices.last().is_none_or(|i| *i < column.len() as u64);
    if !ascending || !inside {
        return Err(reader.corrupt("ascending indices of histograms before here"));
    }
    for index in indices {
        let histogram = Arc::new(histograms::decode(reader, allowance)?);
        column.values[index as usize] = f64::NAN;
        column.histograms.push((index as u32, histogram));
    }
    Ok(())
}

/// Appends metadata of families.
pub(crate) fn encode_metadata(metadata: &[Metadata], out: &mut Vec<u8>) {
    varint::put(metadata.len() as u64, out);
    for entry in metadata {
        put_bytes(entry.family.as_bytes(), out);
        out.push(match entry.kind {
            MetricKind::Unknown => 0,
            MetricKind::Counter => 1,
            MetricKind::Gauge => 2,
            MetricKind::Histogram => 3,
            MetricKind::GaugeHistogram => 4,
            MetricKind::Summary => 5,
            MetricKind::Info => 6,
            MetricKind::StateSet => 7,
        });
        put_bytes(entry.unit.as_bytes(), out);
        put_bytes(entry.help.as_bytes(), out);
    }
}

/// Reads metadata of families.
pub(crate) fn decode_metadata(reader: &mut Reader<'_>) -> Result<Vec<Metadata>, Corrupt> {
    let count = reader.count(reader.remaining())?;
    let mut metadata = Vec::new();
    for _ in 0..count {
        let family = reader.text(reader.remaining())?.to_owned();
        let kind = match reader.u8()? {
            0 => MetricKind::Unknown,
            1 => MetricKind::Counter,
            2 => MetricKind::Gauge,
            3 => MetricKind::Histogram,
            4 => MetricKind::GaugeHistogram,
            5 => MetricKind::Summary,
            6 => MetricKind::Info,
            7 => MetricKind::StateSet,
            _ => return Err(reader.corrupt("a metric type (0 to 7) before here")),
        };
        metadata.push(Metadata {
            family,
            kind,
            unit: reader.text(reader.remaining())?.to_owned(),
            help: reader.text(reader.remaining())?.to_owned(),
        });
    }
    Ok(metadata)
}

/// Appends how many bytes are as in `last`, and the others.
pub(crate) fn put_front_coded(last: &[u8], bytes: &[u8], out: &mut Vec<u8>) {
    let shared = last.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    varint::put(shared as u64, out);
    put_bytes(&bytes[shared..], out);
}

/// Times must be sayable in nanoseconds, or two of them would become one.
pub(crate) fn check_times(times: &[i64], reader: &Reader<'_>) -> Result<(), Corrupt> {
    if times.iter().all(|t| (-MILLIS_MAX..=MILLIS_MAX).contains(t)) {
        Ok(())
    } else {
        Err(reader.corrupt("times in the years 1677 to 2262 before here"))
    }
}

#[cfg(test)]
mod tests;
