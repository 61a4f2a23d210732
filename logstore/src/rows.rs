//! The wanted rows of a stream in a slice of a scan.
//!
//! Invariants: rows are in order of time, equal times in order of arrival, each record once;
//! lines and metadata are read when they are asked for, and not kept.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use obs_model::{Labels, LogRecord, Timestamp};
use obs_storage::Corrupt;

use crate::group::OpenGroup;
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
        match self.order.get(index) {
            Some((_, run, nth)) => (&self.runs[*run as usize], *nth as usize),
            None => (&self.runs[0], index),
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
