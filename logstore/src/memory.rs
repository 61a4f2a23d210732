//! Log records that are in the journal but not in a part yet: per stream, in order of arrival.
//!
//! Invariants: rows are only appended, so that a row's number stays its number; a record enters
//! as a whole or not at all. Retried records are kept here and dropped by readers and by flush.

use std::collections::{BTreeSet, HashMap};

use obs_model::time::NANOS_PER_DAY;
use obs_model::{Labels, LogBatch, TimeRange, Timestamp};
use parking_lot::RwLock;

use crate::postings::GrowingPostings;
use crate::record::Decoded;

/// Estimate of what a stream takes beside its rows and label bytes: vectors, map and postings.
const STREAM_BYTES: usize = 400;
/// What a row takes beside its line: time, end and pointer to the metadata.
const ROW_BYTES: usize = 8 + 8 + 16;

/// What a metadata set takes beside its bytes.
const SET_BYTES: usize = 16;

/// Records in memory. Readers and the writer share it.
#[derive(Debug, Default)]
pub struct Memory {
    inner: RwLock<Inner>,
}

/// What the lock guards.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    ids: HashMap<Labels, u32>,
    /// By number of stream.
    pub(crate) streams: Vec<StreamRows>,
    /// From labels to numbers of streams.
    pub(crate) postings: GrowingPostings,
    bytes: usize,
    range: Option<TimeRange>,
    /// Days (UTC) that have rows.
    days: BTreeSet<i64>,
}

/// Rows of a chunk: what a stream has grows chunk by chunk, so that little of it is room for rows
/// that may never come.
const CHUNK_ROWS: usize = if cfg!(test) { 4 } else { 256 };

/// The rows of one stream in order of arrival.
#[derive(Debug)]
pub(crate) struct StreamRows {
    pub(crate) labels: Labels,
    /// All but the last one have [`CHUNK_ROWS`] rows.
    chunks: Vec<Chunk>,
    /// The smallest range that holds all rows.
    pub(crate) range: TimeRange,
    /// Whether times never went back.
    sorted: bool,
}

/// Rows that follow each other.
#[derive(Debug, Default)]
struct Chunk {
    times: Vec<i64>,
    ends: Vec<usize>,
    lines: Vec<u8>,
    metadata: Vec<Labels>,
}

impl Chunk {
    fn push(&mut self, time: i64, line: &[u8], metadata: Labels) {
        self.times.push(time);
        self.lines.extend_from_slice(line);
        self.ends.push(self.lines.len());
        self.metadata.push(metadata);
        if self.times.len() == CHUNK_ROWS {
            self.lines.shrink_to_fit();
        }
    }

    fn line(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.lines[start..self.ends[row]]
    }
}

/// A row with its time, so that rows can be put in order without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedRow {
    pub(crate) time: i64,
    pub(crate) row: u32,
}

impl Memory {
    /// Takes a record that was read and checked.
    pub(crate) fn push(&self, record: &Decoded) {
        let mut inner = self.inner.write();
        for stream in &record.streams {
            let rows = stream.rows.iter().map(|row| {
                let metadata = &record.sets[row.metadata];
                (row.time, record.line(row), metadata)
            });
            inner.push(&record.sets[stream.labels], rows);
        }
    }

    /// Takes a batch.
    pub(crate) fn push_batch(&self, batch: &LogBatch) {
        let mut inner = self.inner.write();
        for stream in &batch.streams {
            let rows = stream.records.iter();
            let rows = rows.map(|r| (r.time.nanos(), r.line.as_slice(), &r.metadata));
            inner.push(&stream.labels, rows);
        }
    }

    /// Looks at the rows while the writer waits; be brief.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner.read())
    }

    /// Estimate of the resident bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.read().bytes
    }

    /// The smallest range that holds every row.
    pub(crate) fn range(&self) -> Option<TimeRange> {
        self.inner.read().range
    }

    /// The days (UTC, since the epoch) that have rows.
    pub(crate) fn days(&self) -> BTreeSet<i64> {
        self.inner.read().days.clone()
    }

    /// Number of streams.
    pub(crate) fn stream_count(&self) -> usize {
        self.inner.read().streams.len()
    }

    /// Whether a stream has rows here.
    pub(crate) fn has(&self, labels: &Labels) -> bool {
        self.inner.read().ids.contains_key(labels)
    }

    /// The time of the earliest row at or after `from`.
    pub(crate) fn first_row(&self, from: Timestamp) -> Option<Timestamp> {
        let inner = self.inner.read();
        let first = inner
            .streams
            .iter()
            .filter_map(|s| s.first_row(from.nanos()));
        first.min().map(Timestamp::from_nanos)
    }
}

impl Inner {
    /// Takes rows of one stream: times, lines and metadata.
    fn push<'r>(
        &mut self,
        labels: &Labels,
        rows: impl Iterator<Item = (i64, &'r [u8], &'r Labels)>,
    ) {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return;
        }
        let id = self.stream(labels);
        let stream = &mut self.streams[id as usize];
        let mut last_day = None;
        let mut last: Option<&Labels> = None;
        for (time, line, metadata) in rows {
            let day = time.div_euclid(NANOS_PER_DAY);
            if last_day.replace(day) != Some(day) {
                self.days.insert(day);
            }
            // Rows mostly share the set of the row before.
            if last.replace(metadata) != Some(metadata) {
                self.bytes += metadata.packed().len() + SET_BYTES;
            }
            self.bytes += ROW_BYTES + line.len();
            stream.push(time, line, metadata.clone());
        }
        let range = stream.range;
        self.range = Some(self.range.map_or(range, |all| all.union(range)));
    }

    fn stream(&mut self, labels: &Labels) -> u32 {
        if let Some(id) = self.ids.get(labels) {
            return *id;
        }
        let id = self.postings.push(labels);
        self.ids.insert(labels.clone(), id);
        self.bytes += STREAM_BYTES + labels.packed().len();
        self.streams.push(StreamRows::new(labels.clone()));
        id
    }
}

impl StreamRows {
    fn new(labels: Labels) -> Self {
        Self {
            labels,
            chunks: Vec::new(),
            range: TimeRange::new(Timestamp::MAX, Timestamp::MIN),
            sorted: true,
        }
    }

    fn push(&mut self, time: i64, line: &[u8], metadata: Labels) {
        // A stream without rows has an empty range, which ends before any time.
        self.sorted &= self.chunks.is_empty() || self.range.end.nanos() <= time;
        self.range = self.range.including(Timestamp::from_nanos(time));
        match self.chunks.last_mut() {
            Some(chunk) if chunk.times.len() < CHUNK_ROWS => chunk.push(time, line, metadata),
            _ => {
                let mut chunk = Chunk::default();
                chunk.push(time, line, metadata);
                self.chunks.push(chunk);
            }
        }
    }

    /// The line and metadata of a row.
    pub(crate) fn row(&self, row: u32) -> (&[u8], &Labels) {
        let row = row as usize;
        let chunk = &self.chunks[row / CHUNK_ROWS];
        let row = row % CHUNK_ROWS;
        (chunk.line(row), &chunk.metadata[row])
    }

    /// The rows inside a range in order of time, and of arrival among equal times.
    pub(crate) fn ordered(&self, range: TimeRange) -> Vec<TimedRow> {
        let (start, end) = (range.start.nanos(), range.end.nanos());
        let mut rows: Vec<TimedRow> = Vec::new();
        for (number, chunk) in self.chunks.iter().enumerate() {
            let window = match self.sorted {
                true => {
                    let from = chunk.times.partition_point(|t| *t < start);
                    let to = chunk.times.partition_point(|t| *t <= end);
                    from..to.max(from)
                }
                false => 0..chunk.times.len(),
            };
            let found = window.map(|row| TimedRow {
                time: chunk.times[row],
                // A stream has fewer rows in one memory than its bytes, which are bounded.
                row: (number * CHUNK_ROWS + row) as u32,
            });
            rows.extend(found.filter(|r| start <= r.time && r.time <= end));
        }
        if !self.sorted {
            rows.sort_by_key(|r| r.time);
        }
        rows
    }

    fn first_row(&self, from: i64) -> Option<i64> {
        if self.range.end.nanos() < from {
            return None;
        }
        if self.sorted {
            let reaches = |chunk: &&Chunk| chunk.times.last().is_some_and(|last| *last >= from);
            let times = &self.chunks.iter().find(reaches)?.times;
            return times.get(times.partition_point(|t| *t < from)).copied();
        }
        let times = self.chunks.iter().flat_map(|chunk| &chunk.times);
        times.copied().filter(|t| *t >= from).min()
    }
}
