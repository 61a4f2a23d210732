//! Reads records: time slice by time slice, newest or oldest first.
//!
//! What may hold rows is found first: *pieces*, each the rows of one stream in one group of a part
//! or in a run of a memory. Then the slices sweep over time; a piece is opened when the sweep
//! comes near its first row and dropped behind its last, so that a reader that stops early reads
//! little and memory holds only what overlaps the sweep. Lines are put together when a reader asks
//! for them ([`Rows`]).
//! Invariants: a slice has all wanted rows of its range, so a record that is stored twice meets
//! itself in one slice and is told once; slices follow each other without gap or overlap.

mod told;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use obs_model::{Budget, BudgetError, HeldBytes, Labels, Matcher, TimeRange};
use obs_storage::{Hidden, Snapshot};
use roaring::RoaringBitmap;

use crate::catalog::part_blocks;
use crate::counts::Minutes;
use crate::deletion::{Hides, hides_row};
use crate::error::SelectError;
use crate::group::OpenGroup;
use crate::kind::Logs;
use crate::lines::search::LineCondition;
use crate::lines::{Search, Wanted};
use crate::memory::{Memory, TimedRow};
use crate::part::{Group, Part, nanos};

use crate::postings::resolve;
use crate::prune::{Likely, Prune};
use crate::rows::{Copied, Picked, Rows, Run};
use crate::tokens::{Need, needs};

/// A slice is cut when its rows reach about so many bytes. Small in tests, so that few
/// rows make several slices; the same for the first slice and for runs.
const SLICE_BYTES: u64 = if cfg!(test) { 400 } else { 8 << 20 };
/// The first slice: who wants few lines finds them in it. Each slice is twice the one before.
const FIRST_SLICE_BYTES: u64 = if cfg!(test) { 100 } else { 256 << 10 };
/// Rows of a memory are taken in runs of about so many bytes.
const RUN_BYTES: usize = if cfg!(test) { 100 } else { 256 << 10 };
/// Groups that stay open beside those that the sweep is in: small streams share groups.
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
    /// Conditions on the line; all must hold.
    pub lines: &'a [LineCondition],
    /// Names and values of labels: a record is only wanted if its stream has a label of the name, or
    /// else its structured metadata has this value under it, or else, where both lack the name, the
    /// value or an escape (`\u00`) stands in its line. Others may be told too.
    pub labels: &'a [(String, String)],
    /// Order of the slices.
    pub direction: Direction,
}

/// Takes what a scan finds.
pub trait Visitor {
    /// The next slice begins; all its records follow. `false` ends the scan: nothing of this or a
    /// later slice is wanted.
    fn slice(&mut self, range: TimeRange) -> bool;

    /// All of so many records of a stream inside a range are wanted, and none of them is stored
    /// twice. `true` takes them as told: they are not told again. Called before the first slice.
    fn whole(&mut self, labels: &Labels, range: TimeRange, rows: u64) -> Result<bool, SelectError> {
        let _ = (labels, range, rows);
        Ok(false)
    }

    /// Whether records may be told by minute and level.
    fn wants_minutes(&self) -> bool {
        false
    }

    /// All of these records of a stream are wanted, and none of them is stored twice. `true` takes
    /// them as told: they are not told again. Called before the first slice, where such counts are
    /// wanted and no minute reaches over an end of the range.
    fn minutes(&mut self, labels: &Labels, minutes: &Minutes<'_>) -> Result<bool, SelectError> {
        let _ = (labels, minutes);
        Ok(false)
    }

    /// The wanted records of one stream in the slice. A stream comes at most once in a slice.
    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError>;
}

impl LogFilter<'_> {
    /// What a group needs so that it can hold wanted lines.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let mut texts = Vec::new();
        for condition in self.lines {
            if let ([test], false) = (condition.tests.as_slice(), condition.negative) {
                texts.push(test.needle().to_vec());
            }
        }
        needs(&texts)
    }
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
    let matchers = snapshot.confine(filter.matchers);
    let filter = &LogFilter {
        matchers: &matchers,
        ..*filter
    };
    let mut found = Found::of(snapshot, filter, budget)?;
    if filter.lines.is_empty() && filter.labels.is_empty() {
        found.tell(snapshot, filter.range, visitor)?;
    }
    found.sweep(snapshot, filter, budget, visitor)
}

/// Rows of one stream that stand together, in order of time.
struct Piece<'a> {
    /// Index in [`Found::streams`].
    stream: usize,
    /// Order of arrival: of the part or memory, and of its first row inside it.
    order: (usize, i64, usize),
    /// The time that the sweep meets first, as it meets it.
    start: i64,
    /// The time of its last row.
    max: i64,
    rows: usize,
    /// Bytes of the lines.
    bytes: u64,
    source: Source<'a>,
}

impl Piece<'_> {
    /// From the first to the last of its rows.
    fn span(&self) -> TimeRange {
        nanos(self.order.1, self.max)
    }

    fn is_inside(&self, range: TimeRange) -> bool {
        let span = self.span();
        range.start <= span.start && span.end <= range.end
    }
}

#[derive(Clone)]
enum Source<'a> {
    Part {
        part: &'a Part,
        group: Rc<SharedGroup>,
        /// The how-manieth block of the group.
        nth: usize,
        first_row: usize,
    },
    Memory {
        memory: &'a Memory,
        stream: u32,
        rows: Rc<[TimedRow]>,
        first_row: usize,
    },
}

/// Tells groups apart: rank of the part, number in it.
type GroupId = (usize, u32);

/// A group of which several pieces may be wanted.
struct SharedGroup {
    id: GroupId,
    group: Group,
    rows: usize,
}

pub(crate) struct Found<'a> {
    streams: Vec<Labels>,
    ids: HashMap<Labels, usize>,
    pieces: Vec<Piece<'a>>,
    /// What all of these take, until the scan ends.
    held: HeldBytes<'a>,
}

impl<'a> Found<'a> {
    /// What may hold wanted rows.
    pub(crate) fn of(
        snapshot: &'a Snapshot<Logs>,
        filter: &LogFilter<'_>,
        budget: &'a Budget,
    ) -> Result<Self, SelectError> {
        let mut found = Self {
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
        Ok(found)
    }

    /// Reads the rows of all pieces.
    pub(crate) fn sweep(
        self,
        snapshot: &'a Snapshot<Logs>,
        filter: &LogFilter<'_>,
        budget: &'a Budget,
        visitor: &mut dyn Visitor,
    ) -> Result<(), SelectError> {
        Sweep::new(snapshot, self, filter, budget).run(visitor)
    }

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
        let first = self.pieces.len();
        let mut prune = Prune::new(part, filter);
        let mut last: Option<Rc<SharedGroup>> = None;
        let mut streams = RoaringBitmap::new();
        let (pieces, held) = (&mut self.pieces, &mut self.held);
        part_blocks(part, filter.matchers, filter.range, budget, &mut |place| {
            let (group, block) = (place.group, place.block);
            if !prune.wants(group, block.stream)? {
                return Ok(());
            }
            let id = (rank, group.number);
            let group = match last.take().filter(|group| group.id == id) {
                Some(group) => group,
                None => Rc::new(SharedGroup {
                    id,
                    group: group.clone(),
                    rows: place.group_rows,
                }),
            };
            last = Some(Rc::clone(&group));
            streams.insert(block.stream);
            held.add(size_of::<Piece<'_>>() as u64)?;
            let ends = [block.min, block.max].map(|time| filter.direction.sweep(time));
            pieces.push(Piece {
                // The part's own number; it is translated below.
                stream: block.stream as usize,
                order: (rank, block.min, pieces.len()),
                start: ends[0].min(ends[1]),
                max: block.max,
                rows: block.rows,
                bytes: block.bytes,
                source: Source::Part {
                    part,
                    group,
                    nth: place.nth,
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
                        order: (rank, ordered[first_row].time, self.pieces.len()),
                        start: ends[0].min(ends[1]),
                        max: timed.time,
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

/// An open group; its bytes are given back to the budget with it.
struct HeldGroup<'a> {
    group: Rc<OpenGroup<'a>>,
    held: RefCell<HeldBytes<'a>>,
}

impl HeldGroup<'_> {
    /// Charges what was decoded since.
    fn charge(&self) -> Result<(), BudgetError> {
        self.held.borrow_mut().set(self.group.bytes() as u64)
    }
}

/// A piece that the sweep is in.
struct Open<'a> {
    piece: Piece<'a>,
    /// The group of rows of a part.
    group: Option<Rc<HeldGroup<'a>>>,
    direction: Direction,
    /// Rows that the sweep has passed.
    passed: usize,
}

impl<'a> Open<'a> {
    /// Times of the rows; a piece of a part has read them when it was opened.
    fn time(&self, row: usize) -> i64 {
        match (&self.piece.source, &self.group) {
            (
                Source::Memory {
                    rows, first_row, ..
                },
                _,
            ) => rows[first_row + row].time,
            (Source::Part { first_row, .. }, Some(held)) => {
                let times = held.group.times();
                times.map_or(0, |times| times[first_row + row])
            }
            (Source::Part { .. }, None) => unreachable!("a piece of a part is opened with it"),
        }
    }

    /// Where the sweep meets the n-th row, counted as the sweep meets them.
    fn at(&self, nth: usize) -> i64 {
        let row = match self.direction {
            Direction::Forward => nth,
            Direction::Backward => self.piece.rows - 1 - nth,
        };
        self.direction.sweep(self.time(row))
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

    /// Takes the wanted rows up to the n-th, in order of time.
    fn take(
        &mut self,
        upto: usize,
        labels: &Labels,
        (search, likely): (&Search, &mut Likely),
        hidden: &[&Hidden<Logs>],
    ) -> Result<Run<'a>, SelectError> {
        let total = self.piece.rows;
        let rows = match self.direction {
            Direction::Forward => self.passed..upto,
            Direction::Backward => total - upto..total - self.passed,
        };
        self.passed = upto;
        let visible = |time, line: &[u8]| !hidden.iter().any(|h| hides_row(h, time, line));
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
                let mut copied = Copied::default();
                memory.read(|inner| {
                    let stream = &inner.streams[*stream as usize];
                    for timed in &ordered[first_row + rows.start..first_row + rows.end] {
                        let (line, metadata) = stream.row(timed.row);
                        if search.wants(line) && visible(timed.time, line) {
                            copied.push(timed.time, line, metadata);
                        }
                    }
                });
                Ok(Run::Copied(copied))
            }
            (Source::Part { first_row, .. }, Some(held)) => {
                let group = Rc::clone(&held.group);
                let rows = first_row + rows.start..first_row + rows.end;
                let likely = likely.rows(&group, labels)?;
                if hidden.is_empty() && group.wants_all() && *likely == Wanted::All {
                    let picked = Picked::All(rows);
                    return Ok(Run::Group { group, picked });
                }
                let mut picked = Vec::new();
                let times = group.times()?;
                for row in rows.filter(|row| group.wants(*row) && likely.has(*row)) {
                    if hidden.is_empty()
                        || group.with_line(row, |line| visible(times[row], line))?
                    {
                        // A group has at most GROUP_ROWS_MAX rows.
                        picked.push(row as u32);
                    }
                }
                let picked = Picked::Some(picked);
                Ok(Run::Group { group, picked })
            }
            (Source::Part { .. }, None) => unreachable!("a piece of a part is opened with it"),
        }
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
    search: Search,
    likely: Likely,
    snapshot: &'a Snapshot<Logs>,
    direction: Direction,
    /// Bytes of the next slice.
    slice_bytes: u64,
    /// Where the next slice begins, and where the last one ends.
    at: i64,
    end: i64,
    budget: &'a Budget,
    /// What the list of pieces takes.
    _held: HeldBytes<'a>,
}

impl<'a> Sweep<'a> {
    fn new(
        snapshot: &'a Snapshot<Logs>,
        found: Found<'a>,
        filter: &LogFilter<'_>,
        budget: &'a Budget,
    ) -> Self {
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
            search: Search::new(filter.lines),
            likely: Likely::new(filter.labels),
            snapshot,
            slice_bytes: FIRST_SLICE_BYTES,
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
            self.slice_bytes = (2 * self.slice_bytes).min(SLICE_BYTES);
        }
        Ok(())
    }

    /// Opens pieces until a slice is full, and all that begin where the slice begins.
    fn open_next(&mut self) -> Result<(), SelectError> {
        let mut bytes: u64 = self.open.iter().map(Open::bytes_left).sum();
        // Where many pieces overlap, opening one at a time would make a slice for each.
        let mut more = if bytes < self.slice_bytes {
            0
        } else {
            self.open.len() / 8
        };
        while let Some(piece) = self.ahead.pop() {
            let must = piece.start <= self.at;
            if !must && bytes >= self.slice_bytes && more == 0 {
                self.ahead.push(piece);
                return Ok(());
            }
            if !must && bytes >= self.slice_bytes {
                more -= 1;
            }
            let group = match &piece.source {
                // Its rows are copied slice by slice.
                Source::Memory { .. } => None,
                Source::Part { part, group, .. } => match self.open_group(part, group)? {
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

    /// A group; `None` when no line of it is wanted.
    fn open_group(
        &mut self,
        part: &'a Part,
        group: &SharedGroup,
    ) -> Result<Option<Rc<HeldGroup<'a>>>, SelectError> {
        self.budget.check()?;
        match self.met.get(&group.id) {
            Some(None) => return Ok(None),
            Some(Some(held)) => {
                if let Some(held) = held.upgrade() {
                    return Ok(Some(held));
                }
            }
            None => {}
        }
        let held = match part.group(&group.group, group.rows, &mut self.search)? {
            Some(group) => {
                group.times()?;
                let held = HeldGroup {
                    group: Rc::new(group),
                    held: RefCell::new(self.budget.holding()),
                };
                held.charge()?;
                Some(Rc::new(held))
            }
            None => None,
        };
        self.met.insert(group.id, held.as_ref().map(Rc::downgrade));
        if let Some(held) = &held {
            self.recent.push_back(Rc::clone(held));
            if self.recent.len() > RECENT_GROUPS {
                self.recent.pop_front();
            }
        }
        Ok(held)
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
        if bytes(limit) <= 2 * self.slice_bytes {
            return limit;
        }
        // Too much: the latest end that is not, or the first point if that has too much alone.
        let (mut low, mut high) = (self.at, limit);
        while low < high {
            let middle = low + ((i128::from(high) - i128::from(low)) / 2) as i64;
            let taken = bytes(middle);
            if (self.slice_bytes / 2..=self.slice_bytes).contains(&taken) {
                return middle;
            }
            if taken > self.slice_bytes {
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
        let range = self.direction.range(self.at, limit);
        for pieces in self
            .open
            .chunk_by_mut(|a, b| a.piece.stream == b.piece.stream)
        {
            let labels = &self.streams[pieces[0].piece.stream];
            let mut runs = Vec::new();
            let mut sources: Vec<usize> = Vec::new();
            let mut repeats = false;
            // Until the visitor has taken the rows; what it keeps it charges itself.
            let mut held = self.budget.holding();
            for open in pieces.iter_mut() {
                let upto = open.passed_at(limit);
                if upto == open.passed {
                    continue;
                }
                let rows = (upto - open.passed) as u64;
                self.budget.samples(rows)?;
                held.add(rows * size_of::<(i64, u32, u32)>() as u64)?;
                let rank = open.piece.order.0;
                let in_memory = matches!(open.piece.source, Source::Memory { .. });
                if in_memory {
                    held.add(open.bytes(upto - open.passed))?;
                }
                // A part has each record once, but a memory keeps retries.
                repeats |= in_memory || sources.last().is_some_and(|last| *last != rank);
                sources.push(rank);
                let parts = self.snapshot.parts.len();
                let hidden = match rank.checked_sub(parts) {
                    None => self.snapshot.hidden.in_part(rank),
                    Some(memory) => self.snapshot.hidden.in_memory(memory),
                };
                let hidden = Hides::new(hidden).of_stream(labels, range);
                let searches = (&self.search, &mut self.likely);
                runs.push(open.take(upto, labels, searches, &hidden)?);
            }
            runs.retain(|run| run.len() > 0);
            if runs.is_empty() {
                continue;
            }
            visitor.stream(labels, &Rows::new(runs, repeats)?)?;
            for open in pieces.iter().filter_map(|open| open.group.as_ref()) {
                open.charge()?;
            }
        }
        Ok(())
    }
}
