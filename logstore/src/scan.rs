//! Reads records: time slice by time slice, newest or oldest first.
//!
//! What may hold rows is found first: *pieces*, each the rows of one stream in one group of a part
//! or in a run of a memory. Then the slices sweep over time; a piece is opened when the sweep
//! comes near its first row and dropped behind its last, so that a reader that stops early reads
//! little and memory holds only what overlaps the sweep.
//! Invariants: a slice has all rows of its range, so a record that is stored twice meets itself
//! in one slice and is told once; slices follow each other without gap or overlap.

use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use memchr::memmem::Finder;
use obs_model::{Budget, BudgetError, HeldBytes, Labels, LogRecord, Matcher, TimeRange, Timestamp};
use obs_storage::Snapshot;
use roaring::RoaringBitmap;

use crate::catalog::part_blocks;
use crate::error::SelectError;
use crate::group::DecodedGroup;
use crate::kind::Logs;
use crate::memory::{Memory, TimedRow};
use crate::part::{Group, Part, nanos};
use crate::postings::resolve;
use crate::tokens::Needles;

/// A slice is cut when its rows reach about so many bytes. Small in tests, so that few
/// rows make several slices; the same for runs.
const SLICE_BYTES: u64 = if cfg!(test) { 400 } else { 8 << 20 };
/// Rows of a memory are taken in runs of about so many bytes.
const RUN_BYTES: usize = if cfg!(test) { 100 } else { 256 << 10 };
/// Groups that stay decoded beside those that the sweep is in: small streams share groups.
const RECENT_GROUPS: usize = 16;

/// Which end of the range comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    #[default]
    Backward,
}

impl Direction {
    /// Time as the sweep meets it: ascending in either direction. It is its own inverse.
    fn sweep(self, time: i64) -> i64 {
        match self {
            Self::Forward => time,
            Self::Backward => !time,
        }
    }

    fn range(self, from: i64, to: i64) -> TimeRange {
        match self {
            Self::Forward => nanos(from, to),
            Self::Backward => nanos(!to, !from),
        }
    }
}

/// Which records are wanted.
#[derive(Clone, Copy, Debug)]
pub struct LogFilter<'a> {
    /// Conditions on the labels of a stream; all must hold.
    pub matchers: &'a [Matcher],
    /// Both ends included.
    pub range: TimeRange,
    /// Texts that every wanted line contains; other lines are left out.
    pub needles: &'a [Vec<u8>],
    /// Order of the slices.
    pub direction: Direction,
}

/// Takes what a scan finds.
pub trait Visitor {
    /// The next slice begins; all its records follow. `false` ends the scan: nothing of this or a
    /// later slice is wanted.
    fn slice(&mut self, range: TimeRange) -> bool;

    /// The records of one stream in the slice: ascending in time, equal times in order of
    /// arrival, each record once. A stream comes at most once in a slice.
    fn stream(&mut self, labels: &Labels, records: Vec<LogRecord>) -> Result<(), BudgetError>;
}

/// Visits the records that the filter wants.
pub fn scan(
    snapshot: &Snapshot<Logs>,
    filter: &LogFilter<'_>,
    budget: &Budget,
    visitor: &mut dyn Visitor,
) -> Result<(), SelectError> {
    if filter.range.is_empty() {
        return Ok(());
    }
    let mut found = Found {
        streams: Vec::new(),
        ids: HashMap::new(),
        pieces: Vec::new(),
        held: budget.holding(),
    };
    for (rank, part) in snapshot.parts.iter().enumerate() {
        found.add_part(rank, &part.part, filter, budget)?;
    }
    for (index, memory) in snapshot.memories.iter().enumerate() {
        found.add_memory(snapshot.parts.len() + index, memory, filter, budget)?;
    }
    Sweep::new(found, filter, budget).run(visitor)
}

/// Rows of one stream that stand together, in order of time.
struct Piece<'a> {
    /// Index in [`Found::streams`].
    stream: usize,
    /// Order of arrival: of the part or memory, and inside it.
    order: (usize, usize),
    /// The time that the sweep meets first, as it meets it.
    start: i64,
    rows: usize,
    /// Bytes of the lines.
    bytes: u64,
    source: Source<'a>,
}

#[derive(Clone)]
enum Source<'a> {
    Part {
        part: &'a Part,
        group: Rc<SharedGroup>,
        first_row: usize,
    },
    Memory {
        memory: &'a Memory,
        stream: u32,
        rows: Rc<[TimedRow]>,
        first_row: usize,
    },
}

/// Tells groups apart: rank of the part, section, offset.
type GroupId = (usize, u32, usize);

/// A group of which several pieces may be wanted.
struct SharedGroup {
    id: GroupId,
    group: Group,
    rows: usize,
}

struct Found<'a> {
    streams: Vec<Labels>,
    ids: HashMap<Labels, usize>,
    pieces: Vec<Piece<'a>>,
    /// What all of these take, until the scan ends.
    held: HeldBytes<'a>,
}

impl<'a> Found<'a> {
    fn stream(&mut self, labels: Labels, budget: &Budget) -> Result<usize, BudgetError> {
        if let Some(id) = self.ids.get(&labels) {
            return Ok(*id);
        }
        budget.series(1)?;
        self.held.add(labels.packed().len() as u64)?;
        let id = self.streams.len();
        self.ids.insert(labels.clone(), id);
        self.streams.push(labels);
        Ok(id)
    }

    fn add_part(
        &mut self,
        rank: usize,
        part: &'a Part,
        filter: &LogFilter<'_>,
        budget: &Budget,
    ) -> Result<(), SelectError> {
        let needles = Needles::new(filter.needles);
        let first = self.pieces.len();
        let mut last: Option<(Rc<SharedGroup>, bool)> = None;
        let mut streams = RoaringBitmap::new();
        let (pieces, held) = (&mut self.pieces, &mut self.held);
        part_blocks(part, filter.matchers, filter.range, budget, &mut |place| {
            let id = (rank, place.group.section, place.group.offset);
            let known = last.as_ref().filter(|(group, _)| group.id == id);
            let (group, wanted) = match known {
                Some(known) => known.clone(),
                None => {
                    let wanted = needles.is_empty() || needles.may_match(part.filter(place.group)?);
                    let group = SharedGroup {
                        id,
                        group: place.group.clone(),
                        rows: place.group_rows,
                    };
                    last.insert((Rc::new(group), wanted)).clone()
                }
            };
            if !wanted {
                return Ok(());
            }
            streams.insert(place.block.stream);
            held.add(size_of::<Piece<'_>>() as u64)?;
            let (min, max) = (place.block.min, place.block.max);
            let ends = [min, max].map(|time| filter.direction.sweep(time));
            pieces.push(Piece {
                // The part's own number; it is translated below.
                stream: place.block.stream as usize,
                order: (rank, pieces.len()),
                start: ends[0].min(ends[1]),
                rows: place.block.rows,
                bytes: place.block.bytes,
                source: Source::Part {
                    part,
                    group,
                    first_row: place.first_row,
                },
            });
            Ok(())
        })?;
        let mut labels = Vec::new();
        part.labels(&streams, |stream, found| {
            labels.push((stream as usize, found));
        })?;
        let mut ids = HashMap::with_capacity(labels.len());
        for (stream, found) in labels {
            ids.insert(stream, self.stream(found, budget)?);
        }
        for piece in &mut self.pieces[first..] {
            piece.stream = ids[&piece.stream];
        }
        Ok(())
    }

    fn add_memory(
        &mut self,
        rank: usize,
        memory: &'a Memory,
        filter: &LogFilter<'_>,
        budget: &Budget,
    ) -> Result<(), SelectError> {
        memory.read(|inner| {
            for stream in resolve(&inner.postings, filter.matchers)? {
                let rows = &inner.streams[stream as usize];
                if !rows.range.overlaps(filter.range) {
                    continue;
                }
                let ordered: Rc<[TimedRow]> = rows.ordered(filter.range).into();
                if ordered.is_empty() {
                    continue;
                }
                self.held.add(size_of_val(&*ordered) as u64)?;
                let id = self.stream(rows.labels.clone(), budget)?;
                let mut first_row = 0;
                let mut bytes = 0;
                for (index, timed) in ordered.iter().enumerate() {
                    bytes += rows.row(timed.row).0.len();
                    if bytes < RUN_BYTES && index + 1 < ordered.len() {
                        continue;
                    }
                    let ends = [ordered[first_row].time, timed.time];
                    let ends = ends.map(|time| filter.direction.sweep(time));
                    self.pieces.push(Piece {
                        stream: id,
                        order: (rank, self.pieces.len()),
                        start: ends[0].min(ends[1]),
                        rows: index + 1 - first_row,
                        bytes: bytes as u64,
                        source: Source::Memory {
                            memory,
                            stream,
                            rows: Rc::clone(&ordered),
                            first_row,
                        },
                    });
                    (first_row, bytes) = (index + 1, 0);
                }
            }
            Ok(())
        })
    }
}

/// A group in memory; its bytes are given back to the budget with it.
struct HeldGroup<'a> {
    decoded: DecodedGroup,
    _held: HeldBytes<'a>,
}

/// A piece that the sweep is in.
struct Open<'a> {
    piece: Piece<'a>,
    /// The decoded rows of a part.
    group: Option<Rc<HeldGroup<'a>>>,
    direction: Direction,
    /// Rows that the sweep has passed.
    passed: usize,
}

impl Open<'_> {
    /// Where the sweep meets the n-th row, counted as the sweep meets them.
    fn at(&self, nth: usize) -> i64 {
        let row = match self.direction {
            Direction::Forward => nth,
            Direction::Backward => self.piece.rows - 1 - nth,
        };
        let time = match (&self.piece.source, &self.group) {
            (
                Source::Memory {
                    rows, first_row, ..
                },
                _,
            ) => rows[first_row + row].time,
            (Source::Part { first_row, .. }, Some(group)) => group.decoded.times[first_row + row],
            (Source::Part { .. }, None) => unreachable!("a piece of a part is opened decoded"),
        };
        self.direction.sweep(time)
    }

    /// How many rows the sweep has passed once it has passed `limit`.
    fn passed_at(&self, limit: i64) -> usize {
        let (mut low, mut high) = (self.passed, self.piece.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at(middle) <= limit {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// About how many bytes so many rows have.
    fn bytes(&self, rows: usize) -> u64 {
        // The product of a length and a row count of one group fits in 64 bits.
        self.piece.bytes * rows as u64 / self.piece.rows.max(1) as u64
    }

    fn bytes_left(&self) -> u64 {
        self.bytes(self.piece.rows - self.passed)
    }

    /// Takes the rows up to the n-th, in order of time, if their lines contain all needles.
    fn take(
        &mut self,
        upto: usize,
        needles: &[Finder<'_>],
        out: &mut Vec<LogRecord>,
    ) -> Result<(), SelectError> {
        let total = self.piece.rows;
        let rows = match self.direction {
            Direction::Forward => self.passed..upto,
            Direction::Backward => total - upto..total - self.passed,
        };
        self.passed = upto;
        let wanted = |line: &[u8]| needles.iter().all(|needle| needle.find(line).is_some());
        match (&self.piece.source, &self.group) {
            (
                Source::Memory {
                    memory,
                    stream,
                    rows: ordered,
                    first_row,
                },
                _,
            ) => {
                memory.read(|inner| {
                    let stream = &inner.streams[*stream as usize];
                    for timed in &ordered[first_row + rows.start..first_row + rows.end] {
                        let (line, metadata) = stream.row(timed.row);
                        if wanted(line) {
                            out.push(LogRecord {
                                time: Timestamp::from_nanos(timed.time),
                                line: line.to_vec(),
                                metadata: metadata.clone(),
                            });
                        }
                    }
                });
            }
            (Source::Part { first_row, .. }, Some(group)) => {
                let group = &group.decoded;
                for row in first_row + rows.start..first_row + rows.end {
                    let line = group.line(row);
                    if wanted(line) {
                        out.push(LogRecord {
                            time: Timestamp::from_nanos(group.times[row]),
                            line: line.to_vec(),
                            metadata: group.metadata(row)?,
                        });
                    }
                }
            }
            (Source::Part { .. }, None) => unreachable!("a piece of a part is opened decoded"),
        }
        Ok(())
    }
}

/// Walks over time and hands out slices.
struct Sweep<'a> {
    streams: Vec<Labels>,
    /// Pieces that were not met yet, the next one last.
    ahead: Vec<Piece<'a>>,
    open: Vec<Open<'a>>,
    /// Groups that were looked at: without a needle (`None`), or decoded for as long as an open
    /// piece or `recent` holds them.
    met: HashMap<GroupId, Option<Weak<HeldGroup<'a>>>>,
    recent: VecDeque<Rc<HeldGroup<'a>>>,
    needles: Vec<Finder<'a>>,
    direction: Direction,
    /// Where the next slice begins, and where the last one ends.
    at: i64,
    end: i64,
    budget: &'a Budget,
    /// What the list of pieces takes.
    _held: HeldBytes<'a>,
}

impl<'a> Sweep<'a> {
    fn new(found: Found<'a>, filter: &LogFilter<'a>, budget: &'a Budget) -> Self {
        let mut ahead = found.pieces;
        ahead.sort_by_key(|piece| std::cmp::Reverse((piece.start, piece.order)));
        let ends = [filter.range.start, filter.range.end];
        let ends = ends.map(|time| filter.direction.sweep(time.nanos()));
        Self {
            streams: found.streams,
            ahead,
            open: Vec::new(),
            met: HashMap::new(),
            recent: VecDeque::new(),
            needles: filter.needles.iter().map(Finder::new).collect(),
            direction: filter.direction,
            at: ends[0].min(ends[1]),
            end: ends[0].max(ends[1]),
            budget,
            _held: found.held,
        }
    }

    fn run(mut self, visitor: &mut dyn Visitor) -> Result<(), SelectError> {
        while !self.ahead.is_empty() || !self.open.is_empty() {
            self.budget.check()?;
            self.open_next()?;
            let limit = self.limit();
            if !visitor.slice(self.direction.range(self.at, limit)) {
                return Ok(());
            }
            self.visit(limit, visitor)?;
            let end = self.end;
            self.open
                .retain(|open| open.passed < open.piece.rows && limit < end);
            if limit >= self.end {
                break;
            }
            self.at = limit + 1;
        }
        Ok(())
    }

    /// Opens pieces until a slice is full, and all that begin where the slice begins.
    fn open_next(&mut self) -> Result<(), SelectError> {
        let mut bytes: u64 = self.open.iter().map(Open::bytes_left).sum();
        // Where many pieces overlap, opening one at a time would make a slice for each.
        let mut more = if bytes < SLICE_BYTES {
            0
        } else {
            self.open.len() / 8
        };
        while let Some(piece) = self.ahead.pop() {
            let must = piece.start <= self.at;
            if !must && bytes >= SLICE_BYTES && more == 0 {
                self.ahead.push(piece);
                return Ok(());
            }
            if !must && bytes >= SLICE_BYTES {
                more -= 1;
            }
            let group = match &piece.source {
                // Its rows are copied slice by slice.
                Source::Memory { .. } => None,
                Source::Part { part, group, .. } => match self.decode(part, group)? {
                    None => continue,
                    some => some,
                },
            };
            let mut open = Open {
                piece,
                group,
                direction: self.direction,
                passed: 0,
            };
            open.passed = match self.at.checked_sub(1) {
                Some(before) => open.passed_at(before),
                None => 0,
            };
            bytes += open.bytes_left();
            self.open.push(open);
        }
        Ok(())
    }

    /// The rows of a group; `None` when no line of it can contain the needles.
    fn decode(
        &mut self,
        part: &Part,
        group: &SharedGroup,
    ) -> Result<Option<Rc<HeldGroup<'a>>>, SelectError> {
        self.budget.check()?;
        match self.met.get(&group.id) {
            Some(None) => return Ok(None),
            Some(Some(held)) => {
                if let Some(decoded) = held.upgrade() {
                    return Ok(Some(decoded));
                }
            }
            None => {}
        }
        let mut held = self.budget.holding();
        held.add(group.group.lengths.lines as u64)?;
        let decoded = match part.group(&group.group, group.rows, &self.needles)? {
            Some(decoded) => {
                held.set(decoded.bytes() as u64)?;
                let _held = held;
                Some(Rc::new(HeldGroup { decoded, _held }))
            }
            None => None,
        };
        self.met
            .insert(group.id, decoded.as_ref().map(Rc::downgrade));
        if let Some(decoded) = &decoded {
            self.recent.push_back(Rc::clone(decoded));
            if self.recent.len() > RECENT_GROUPS {
                self.recent.pop_front();
            }
        }
        Ok(decoded)
    }

    /// The last point of the slice that begins at `self.at`.
    fn limit(&self) -> i64 {
        // All pieces that begin at `at` are open, so the next one begins behind it.
        let limit = self.ahead.last().map_or(self.end, |next| next.start - 1);
        let limit = limit.min(self.end);
        let bytes = |limit: i64| -> u64 {
            let taken = |open: &Open<'_>| open.bytes(open.passed_at(limit) - open.passed);
            self.open.iter().map(taken).sum()
        };
        if bytes(limit) <= 2 * SLICE_BYTES {
            return limit;
        }
        // Too much: the latest end that is not, or the first point if that has too much alone.
        let (mut low, mut high) = (self.at, limit);
        while low < high {
            let middle = low + ((i128::from(high) - i128::from(low)) / 2) as i64;
            let taken = bytes(middle);
            if (SLICE_BYTES / 2..=SLICE_BYTES).contains(&taken) {
                return middle;
            }
            if taken > SLICE_BYTES {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    fn visit(&mut self, limit: i64, visitor: &mut dyn Visitor) -> Result<(), SelectError> {
        self.open
            .sort_by_key(|open| (open.piece.stream, open.piece.order));
        for pieces in self
            .open
            .chunk_by_mut(|a, b| a.piece.stream == b.piece.stream)
        {
            let mut records = Vec::new();
            let mut sources = 0;
            let mut last = None;
            // Until the visitor has taken the records; what it keeps it charges itself.
            let mut held = self.budget.holding();
            for open in pieces.iter_mut() {
                let upto = open.passed_at(limit);
                if upto == open.passed {
                    continue;
                }
                let rows = (upto - open.passed) as u64;
                held.add(open.bytes(upto - open.passed) + rows * size_of::<LogRecord>() as u64)?;
                self.budget.samples((upto - open.passed) as u64)?;
                open.take(upto, &self.needles, &mut records)?;
                if last.replace(open.piece.order.0) != Some(open.piece.order.0) {
                    sources += 1;
                }
            }
            if sources > 1 {
                records.sort_by_key(|record| record.time);
            }
            drop_repeats(&mut records);
            if !records.is_empty() {
                visitor.stream(&self.streams[pieces[0].piece.stream], records)?;
            }
        }
        Ok(())
    }
}

/// Drops records that are equal to an earlier one. They are in order of time.
fn drop_repeats(records: &mut Vec<LogRecord>) {
    let mut repeated: Vec<usize> = Vec::new();
    let mut start = 0;
    for run in records.chunk_by(|a, b| a.time == b.time) {
        if run.len() > 1 {
            let mut seen = std::collections::HashSet::with_capacity(run.len());
            for (index, record) in run.iter().enumerate() {
                if !seen.insert((&record.line, &record.metadata)) {
                    repeated.push(start + index);
                }
            }
        }
        start += run.len();
    }
    if repeated.is_empty() {
        return;
    }
    let mut index = 0;
    let mut next = repeated.into_iter().peekable();
    records.retain(|_| {
        let repeat = next.next_if_eq(&index).is_some();
        index += 1;
        !repeat
    });
}
