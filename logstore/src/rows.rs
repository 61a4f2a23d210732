//! The wanted rows of a stream in a slice of a scan.
//!
//! Invariants: rows are in order of time, equal times in order of arrival, each record once;
//! lines and metadata are read when they are asked for, and not kept.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use obs_model::{Labels, LogRecord, Timestamp};
use obs_storage::Corrupt;

use crate::enrich::DETECTED_LEVEL;
use crate::error::SelectError;
use crate::group::OpenGroup;
use crate::metadata::Selected;
use crate::write::identity;

/// Rows of one source that follow each other in time.
pub(crate) enum Run<'a> {
    /// Rows of a group.
    Group {
        /// Shared with other runs.
        group: Rc<OpenGroup<'a>>,
        picked: Picked,
    },
    /// Rows of a memory.
    Copied(Copied),
}

/// Which rows of a group.
pub(crate) enum Picked {
    All(Range<usize>),
    Some(Vec<u32>),
}

/// Rows that were copied out of a memory.
#[derive(Default)]
pub(crate) struct Copied {
    times: Vec<i64>,
    ends: Vec<usize>,
    lines: Vec<u8>,
    metadata: Vec<Labels>,
}

impl Copied {
    pub(crate) fn push(&mut self, time: i64, line: &[u8], metadata: &Labels) {
        self.times.push(time);
        self.lines.extend_from_slice(line);
        self.ends.push(self.lines.len());
        self.metadata.push(metadata.clone());
    }

    fn line(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.lines[start..self.ends[row]]
    }
}

impl Run<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Group { picked, .. } => match picked {
                Picked::All(rows) => rows.len(),
                Picked::Some(rows) => rows.len(),
            },
            Self::Copied(copied) => copied.times.len(),
        }
    }

    /// The row of the source that is the n-th of this run.
    fn row(&self, nth: usize) -> usize {
        match self {
            Self::Group { picked, .. } => match picked {
                Picked::All(rows) => rows.start + nth,
                Picked::Some(rows) => rows[nth] as usize,
            },
            Self::Copied(_) => nth,
        }
    }

    fn time(&self, nth: usize) -> Result<i64, Corrupt> {
        match self {
            Self::Group { group, .. } => Ok(group.times()?[self.row(nth)]),
            Self::Copied(copied) => Ok(copied.times[nth]),
        }
    }

    fn with_line<T>(&self, nth: usize, look: impl FnOnce(&[u8]) -> T) -> Result<T, Corrupt> {
        match self {
            Self::Group { group, .. } => group.with_line(self.row(nth), look),
            Self::Copied(copied) => Ok(look(copied.line(nth))),
        }
    }

    fn metadata(&self, nth: usize) -> Result<Labels, Corrupt> {
        match self {
            Self::Group { group, .. } => group.metadata(self.row(nth)),
            Self::Copied(copied) => Ok(copied.metadata[nth].clone()),
        }
    }
}

/// Takes the shapes of lines.
pub trait ShapeVisitor {
    /// Lines follow that have this text, with [`HOLE`](crate::lines::HOLE) in place of what differs
    /// between them; gives the number that they are told by, or nothing where the lines are wanted.
    fn shape(&mut self, text: &[u8]) -> Option<usize>;

    /// A row of a shape, with its `detected_level`, which is empty where it has none.
    fn row(&mut self, shape: usize, time: Timestamp, level: &str) -> Result<(), SelectError>;

    /// A row without a shape.
    fn line(&mut self, line: &[u8], time: Timestamp, level: &str) -> Result<(), SelectError>;
}

/// Rows of one stream.
pub struct Rows<'a> {
    runs: Vec<Run<'a>>,
    /// Time, run and row of the run, where there are several runs or rows that are left out; empty
    /// where the rows of the only run are all and in order.
    order: Vec<(i64, u32, u32)>,
    len: usize,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({})", self.len)
    }
}

impl<'a> Rows<'a> {
    /// From runs in order of arrival; `repeats` tells whether a record may be there twice.
    pub(crate) fn new(runs: Vec<Run<'a>>, repeats: bool) -> Result<Self, Corrupt> {
        let len = runs.iter().map(Run::len).sum();
        let mut rows = Self {
            runs,
            order: Vec::new(),
            len,
        };
        if rows.runs.len() > 1 || repeats {
            rows.order.reserve(len);
            for (number, run) in rows.runs.iter().enumerate() {
                for nth in 0..run.len() {
                    // Both are bounded by the bytes of a slice.
                    rows.order.push((run.time(nth)?, number as u32, nth as u32));
                }
            }
            rows.order.sort_by_key(|(time, _, _)| *time);
            if repeats {
                rows.drop_repeats()?;
            }
        }
        Ok(rows)
    }

    /// From records in order of time.
    pub fn of<'r>(records: impl IntoIterator<Item = &'r LogRecord>) -> Self {
        let mut copied = Copied::default();
        for record in records {
            copied.push(record.time.nanos(), &record.line, &record.metadata);
        }
        Self {
            len: copied.times.len(),
            runs: vec![Run::Copied(copied)],
            order: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&self, index: usize) -> (&Run<'a>, usize) {
        let (run, nth) = self.number(index);
        (&self.runs[run], nth)
    }

    /// The number of a row's run, and which of its rows it is.
    fn number(&self, index: usize) -> (usize, usize) {
        match self.order.get(index) {
            Some((_, run, nth)) => (*run as usize, *nth as usize),
            None => (0, index),
        }
    }

    /// When a row is.
    pub fn time(&self, index: usize) -> Result<Timestamp, Corrupt> {
        if let Some((time, _, _)) = self.order.get(index) {
            return Ok(Timestamp::from_nanos(*time));
        }
        let (run, nth) = self.place(index);
        run.time(nth).map(Timestamp::from_nanos)
    }

    /// Tells when each row is, in order.
    pub fn for_times(&self, mut tell: impl FnMut(Timestamp)) -> Result<(), Corrupt> {
        if !self.order.is_empty() {
            let times = self.order.iter().map(|(time, _, _)| *time);
            times.for_each(|time| tell(Timestamp::from_nanos(time)));
            return Ok(());
        }
        for run in &self.runs {
            match run {
                Run::Group { group, picked } => {
                    let times = group.times()?;
                    match picked {
                        Picked::All(rows) => times[rows.clone()]
                            .iter()
                            .for_each(|time| tell(Timestamp::from_nanos(*time))),
                        Picked::Some(rows) => rows
                            .iter()
                            .for_each(|row| tell(Timestamp::from_nanos(times[*row as usize]))),
                    }
                }
                Run::Copied(copied) => copied
                    .times
                    .iter()
                    .for_each(|time| tell(Timestamp::from_nanos(*time))),
            }
        }
        Ok(())
    }

    /// Looks at a row's line.
    pub fn with_line<T>(&self, index: usize, look: impl FnOnce(&[u8]) -> T) -> Result<T, Corrupt> {
        let (run, nth) = self.place(index);
        run.with_line(nth, look)
    }

    /// A row's structured metadata.
    pub fn metadata(&self, index: usize) -> Result<Labels, Corrupt> {
        let (run, nth) = self.place(index);
        run.metadata(nth)
    }

    /// Tells when each row is and its structured metadata under these keys only, in order. Rows with
    /// the same of it mostly share one allocation.
    pub fn for_metadata(
        &self,
        names: &[&str],
        tell: &mut dyn FnMut(Timestamp, &Labels) -> Result<(), SelectError>,
    ) -> Result<(), SelectError> {
        let mut selected = self.selected(names)?;
        for index in 0..self.len {
            let metadata = self.selected_row(index, names, &mut selected)?;
            tell(self.time(index)?, &metadata)?;
        }
        Ok(())
    }

    /// For each run of a group a selection of its metadata.
    fn selected(&self, names: &[&str]) -> Result<Vec<Option<Selected<'_>>>, Corrupt> {
        let mut all = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            all.push(match run {
                Run::Group { group, .. } => Some(group.metadata_of(names)?),
                Run::Copied(_) => None,
            });
        }
        Ok(all)
    }

    fn selected_row(
        &self,
        index: usize,
        names: &[&str],
        selected: &mut [Option<Selected<'_>>],
    ) -> Result<Labels, Corrupt> {
        let (number, nth) = self.number(index);
        let run = &self.runs[number];
        match &mut selected[number] {
            Some(selected) => selected.row(run.row(nth)),
            None => Ok(run.metadata(nth)?.without(|name| !names.contains(&name))),
        }
    }

    /// Tells the shape of each row, with its time and `detected_level`, in order. Lines are only put
    /// together where they share nothing with others, or where the visitor asks for them.
    pub fn for_shapes(&self, visitor: &mut dyn ShapeVisitor) -> Result<(), SelectError> {
        let names = [DETECTED_LEVEL];
        let mut selected = self.selected(&names)?;
        // By group and kind of line, as the visitor numbers it.
        let mut known: HashMap<(usize, (usize, u64)), Option<usize>> = HashMap::new();
        for index in 0..self.len {
            let metadata = self.selected_row(index, &names, &mut selected)?;
            let level = metadata.get(DETECTED_LEVEL).unwrap_or("");
            let time = self.time(index)?;
            let (number, nth) = self.number(index);
            let run = &self.runs[number];
            let mut shape = None;
            if let Run::Group { group, .. } = run {
                let row = run.row(nth);
                let key = (Rc::as_ptr(group).addr(), group.kind_of(row)?);
                shape = match known.get(&key) {
                    Some(shape) => *shape,
                    None => {
                        let text = group.shared_text(row)?;
                        let shape = text.and_then(|text| visitor.shape(&text));
                        known.insert(key, shape);
                        shape
                    }
                };
            }
            match shape {
                Some(shape) => visitor.row(shape, time, level)?,
                None => run.with_line(nth, |line| visitor.line(line, time, level))??,
            }
        }
        Ok(())
    }

    /// A row as a record.
    pub fn record(&self, index: usize) -> Result<LogRecord, Corrupt> {
        Ok(LogRecord {
            time: self.time(index)?,
            line: self.with_line(index, <[u8]>::to_vec)?,
            metadata: self.metadata(index)?,
        })
    }

    /// All rows as records.
    pub fn records(&self) -> Result<Vec<LogRecord>, Corrupt> {
        (0..self.len).map(|index| self.record(index)).collect()
    }

    /// Drops rows that are equal to an earlier one.
    fn drop_repeats(&mut self) -> Result<(), Corrupt> {
        let mut dropped = Vec::new();
        let mut start = 0;
        for same in self.order.chunk_by(|a, b| a.0 == b.0) {
            if same.len() > 1 {
                let mut seen = HashSet::with_capacity(same.len());
                for index in start..start + same.len() {
                    let metadata = self.metadata(index)?;
                    if !seen.insert(self.with_line(index, |line| identity(line, &metadata))?) {
                        dropped.push(index);
                    }
                }
            }
            start += same.len();
        }
        let mut dropped = dropped.into_iter().peekable();
        let mut index = 0;
        self.order.retain(|_| {
            let drop = dropped.next_if_eq(&index).is_some();
            index += 1;
            !drop
        });
        self.len = self.order.len();
        if self.order.is_empty() {
            self.runs.clear();
        }
        Ok(())
    }
}
