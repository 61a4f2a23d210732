//! How many records, and bytes of lines, each block of a group has by minute and level; and which
//! keys of structured metadata its rows have. Counted while the group is written, so that
//! histograms and volumes need no rows. `docs/formats/log-part.md`.
//!
//! A minute ends with its last point, as windows of queries do: it has the times behind one whole
//! minute up to the next one.
//! Invariant: the cells of a block add up to its rows, each row in exactly one cell; a group for
//! which that would take too much has no counts at all.

use obs_model::{Labels, TimeRange};
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bytes, dense, put_bytes, varint};

use crate::enrich::DETECTED_LEVEL;
use crate::group::GROUP_ROWS_MAX;
use crate::part::nanos;

/// Nanoseconds of a minute.
pub const MINUTE: i64 = 60_000_000_000;
/// Most distinct levels of a group with counts; there are eight that are found, and what senders
/// set themselves. Small in tests.
const LEVELS_MAX: usize = if cfg!(test) { 6 } else { 64 };
/// Most distinct keys of metadata of a group with counts. Small in tests.
const KEYS_MAX: usize = if cfg!(test) { 4 } else { 256 };
/// Bound on decompressed counts: numbers of every row, and texts no longer than labels may be.
const BYTES_MAX: usize = 64 << 20;

/// How many records of one stream there are in a minute with one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteCount {
    /// Which minute since the epoch.
    pub(crate) minute: i64,
    /// Which of the levels.
    pub level: u32,
    /// Records.
    pub records: u64,
    /// Bytes of their lines.
    pub bytes: u64,
}

impl MinuteCount {
    /// From the first to the last point of the minute.
    pub fn range(&self) -> TimeRange {
        let start = i128::from(self.minute) * i128::from(MINUTE);
        // The first and the last minute reach over the ends of time.
        let clamped = |at: i128| at.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        nanos(clamped(start + 1), clamped(start + i128::from(MINUTE)))
    }
}

/// The minute that a time lies in.
fn minute_of(time: i64) -> i64 {
    time.saturating_sub(1).div_euclid(MINUTE)
}

/// The counts of records of one stream that stand together.
#[derive(Clone, Copy, Debug)]
pub struct Minutes<'a> {
    /// The values of `detected_level` in structured metadata, by number; empty where it is absent.
    pub levels: &'a [String],
    /// The keys of structured metadata that some of the records may have, ascending.
    pub keys: &'a [String],
    /// The counts, in order of minutes.
    pub counts: &'a [MinuteCount],
}

/// Counts the rows of a group, block after block.
#[derive(Default)]
pub(crate) struct CountsBuilder {
    levels: Vec<String>,
    keys: Vec<String>,
    cells: Vec<MinuteCount>,
    /// Cells of each block that ended.
    ends: Vec<usize>,
    /// Where the cells of the present minute begin.
    minute_start: usize,
    /// The metadata of the row before, and its level.
    last: Option<(Labels, u32)>,
    given_up: bool,
}

impl CountsBuilder {
    /// A block begins.
    pub(crate) fn block(&mut self) {
        if !self.cells.is_empty() {
            self.ends.push(self.cells.len());
        }
        self.minute_start = self.cells.len();
    }

    /// The next row of the block.
    pub(crate) fn row(&mut self, time: i64, bytes: usize, metadata: &Labels) {
        if self.given_up {
            return;
        }
        let level = match &self.last {
            Some((last, level)) if last.packed().as_ptr() == metadata.packed().as_ptr() => *level,
            _ => match self.level(metadata) {
                Some(level) => {
                    self.last = Some((metadata.clone(), level));
                    level
                }
                None => {
                    self.given_up = true;
                    return;
                }
            },
        };
        let minute = minute_of(time);
        if self.cells[self.minute_start..]
            .last()
            .is_some_and(|cell| cell.minute != minute)
        {
            self.minute_start = self.cells.len();
        }
        let mut cells = self.cells[self.minute_start..].iter_mut();
        match cells.find(|cell| cell.level == level) {
            Some(cell) => {
                cell.records += 1;
                cell.bytes += bytes as u64;
            }
            None => self.cells.push(MinuteCount {
                minute,
                level,
                records: 1,
                bytes: bytes as u64,
            }),
        }
    }

    /// The number of the level, once the keys were noted; `None` when there are too many.
    fn level(&mut self, metadata: &Labels) -> Option<u32> {
        let mut level = "";
        for (name, value) in metadata {
            if name == DETECTED_LEVEL {
                level = value;
            }
            if let Err(place) = self.keys.binary_search_by(|key| key.as_str().cmp(name)) {
                self.keys.insert(place, name.to_owned());
            }
        }
        if self.keys.len() > KEYS_MAX {
            return None;
        }
        let known = self.levels.iter().position(|known| known == level);
        let number = known.unwrap_or(self.levels.len());
        if known.is_none() {
            if number == LEVELS_MAX {
                return None;
            }
            self.levels.push(level.to_owned());
        }
        // At most LEVELS_MAX.
        Some(number as u32)
    }

    /// Appends the counts of the group and starts anew; nothing where it has none.
    pub(crate) fn finish(&mut self, zstd: &mut bytes::Encoder, out: &mut Vec<u8>) {
        if !self.given_up && !self.cells.is_empty() {
            self.ends.push(self.cells.len());
            let mut body = Vec::new();
            for texts in [&self.levels, &self.keys] {
                varint::put(texts.len() as u64, &mut body);
                texts
                    .iter()
                    .for_each(|t| put_bytes(t.as_bytes(), &mut body));
            }
            varint::put(self.cells.len() as u64, &mut body);
            let starts = std::iter::once(&0).chain(&self.ends);
            let counts = self.ends.iter().zip(starts).map(|(end, start)| end - start);
            let mut column = |values: &mut dyn Iterator<Item = i64>| {
                let values: Vec<i64> = values.collect();
                dense::encode(&values, &mut body);
            };
            column(&mut counts.map(|count| count as i64));
            let mut last = 0i64;
            column(&mut self.cells.iter().map(|cell| {
                let step = cell.minute - last;
                last = cell.minute;
                step
            }));
            column(&mut self.cells.iter().map(|cell| i64::from(cell.level)));
            column(&mut self.cells.iter().map(|cell| cell.records as i64));
            column(&mut self.cells.iter().map(|cell| cell.bytes as i64));
            zstd.encode(&body, out);
        }
        self.levels.clear();
        self.keys.clear();
        self.cells.clear();
        self.ends.clear();
        self.minute_start = 0;
        self.last = None;
        self.given_up = false;
    }
}

/// The counts of a group.
#[derive(Debug)]
pub(crate) struct Counts {
    levels: Vec<String>,
    keys: Vec<String>,
    cells: Vec<MinuteCount>,
    /// Where the cells of each block end.
    ends: Vec<usize>,
}

impl Counts {
    /// Reads the counts of a group with so many blocks.
    pub(crate) fn decode(mut outer: Reader<'_>, blocks: usize) -> Result<Self, Corrupt> {
        let place = outer.place();
        let body = bytes::decode(&mut outer, BYTES_MAX)?;
        outer.finish()?;
        let mut reader = Reader::new(place, &body);
        let levels = texts(&mut reader, LEVELS_MAX)?;
        let keys = texts(&mut reader, KEYS_MAX)?;
        let count = reader.count(GROUP_ROWS_MAX)?;
        let sizes = dense::decode(&mut reader, blocks)?;
        let minutes = dense::decode(&mut reader, count)?;
        let numbers = dense::decode(&mut reader, count)?;
        let records = dense::decode(&mut reader, count)?;
        let lengths = dense::decode(&mut reader, count)?;
        reader.finish()?;
        let wrong = |expected: &str| Corrupt::new(place, 0, expected);
        let mut cells = Vec::with_capacity(count);
        let mut minute = 0i64;
        for at in 0..count {
            minute = minute.wrapping_add(minutes[at]);
            let level = u32::try_from(numbers[at]).ok();
            let level = level.filter(|level| (*level as usize) < levels.len());
            let records = u64::try_from(records[at]).ok().filter(|n| *n > 0);
            let bytes = u64::try_from(lengths[at]).ok();
            let (Some(level), Some(records), Some(bytes)) = (level, records, bytes) else {
                return Err(wrong("counts of known levels"));
            };
            cells.push(MinuteCount {
                minute,
                level,
                records,
                bytes,
            });
        }
        let mut ends = Vec::with_capacity(blocks);
        let mut end = 0usize;
        for size in sizes {
            let next = usize::try_from(size).ok();
            let next = next.and_then(|size| end.checked_add(size));
            end = next.ok_or_else(|| wrong("numbers of counts"))?;
            ends.push(end);
        }
        if end != count {
            return Err(wrong("each count in a block"));
        }
        Ok(Self {
            levels,
            keys,
            cells,
            ends,
        })
    }

    /// The counts of a block, which is the n-th of its group.
    pub(crate) fn of(&self, nth: usize, rows: usize, bytes: u64) -> Result<Minutes<'_>, Corrupt> {
        let start = nth.checked_sub(1).map_or(0, |before| self.ends[before]);
        // Ends ascend and the last one is the number of cells.
        let counts = &self.cells[start..self.ends[nth]];
        if !adds_up(counts, rows as u64, bytes) {
            let expected = "counts that add up to the rows of their block";
            return Err(Corrupt::new("counts of a group", 0, expected));
        }
        Ok(Minutes {
            levels: &self.levels,
            keys: &self.keys,
            counts,
        })
    }
}

fn texts(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<String>, Corrupt> {
    let count = reader.count(count_max)?;
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(reader.text(reader.remaining())?.to_owned());
    }
    Ok(texts)
}

/// Whether cells ascend in time and tell so many rows and bytes.
fn adds_up(cells: &[MinuteCount], rows: u64, bytes: u64) -> bool {
    let sum = |value: fn(&MinuteCount) -> u64| {
        let mut values = cells.iter().map(value);
        values.try_fold(0u64, u64::checked_add)
    };
    cells.is_sorted_by_key(|cell| cell.minute)
        && sum(|cell| cell.records) == Some(rows)
        && sum(|cell| cell.bytes) == Some(bytes)
}
