//! A group: series that come together, at one time each time, as those of a scrape do.
//!
//! Newest rows are kept as they came, one vector per time; when there are [`ROWS_MAX`] of them they
//! are turned into compressed columns. Times stand once for all series. A clone is cheap and does not
//! see what comes later: that is how a query reads all of its series at one moment.
//! Invariants: the times of rows ascend strictly; a cell without a sample is [`ABSENT`], and a
//! sample with these very bits is never put in a row; a column is one series for ever.

use std::sync::Arc;

use obs_storage::Corrupt;
use obs_storage::codec::{Reader, floats, varint};

use crate::column::{Column, MilliRange, NO_START};

/// Rows that are kept as they came: 128 bytes a series at most. More would be denser later and
/// larger now.
const ROWS_MAX: usize = 16;
/// A reader passes over at most so many columns to find its own.
const ANCHOR_COLUMNS: usize = 16;
/// The bits of a cell without a sample: a NaN that no sender writes by itself.
const ABSENT: u64 = 0x7ff4_0b5a_b5e9_7000;

/// Whether a value may stand in a row.
pub(crate) fn fits_row(value: f64) -> bool {
    value.to_bits() != ABSENT
}

/// Rows of series that come together; see the module.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Series by column.
    pub(crate) series: Arc<Vec<u32>>,
    chunks: Vec<Arc<Chunk>>,
    /// Times of the open rows.
    times: Vec<i64>,
    /// Cells of the open rows, row after row; copied once where a reader holds them.
    cells: Arc<Vec<f64>>,
    /// Time of the newest row.
    pub(crate) last: i64,
    /// The newest sample of any of the series that is not in a row.
    pub(crate) irregular: i64,
    closed_bytes: usize,
}

/// Closed rows as columns.
#[derive(Debug)]
struct Chunk {
    times: Box<[i64]>,
    /// Columns that the group had then.
    columns: usize,
    /// Per column: length and a column of floats.
    bytes: Box<[u8]>,
    /// Where each [`ANCHOR_COLUMNS`]th column is.
    anchors: Box<[u32]>,
}

impl Group {
    /// A group without rows.
    pub(crate) fn new(series: Vec<u32>) -> Self {
        Self {
            series: Arc::new(series),
            chunks: Vec::new(),
            times: Vec::new(),
            cells: Arc::default(),
            last: i64::MIN,
            irregular: i64::MIN,
            closed_bytes: 0,
        }
    }

    /// Whether a row of this time keeps the order, also against what is not in rows.
    pub(crate) fn takes(&self, time: i64) -> bool {
        time > self.last && time > self.irregular
    }

    /// Whether cells of the newest row may still be filled with samples of this time.
    pub(crate) fn fills(&self, time: i64) -> bool {
        time == self.last && time > self.irregular && !self.times.is_empty()
    }

    /// Appends a row with a cell for each column.
    pub(crate) fn push_row(&mut self, time: i64, cells: &[f64]) {
        self.begin_row(time);
        Arc::make_mut(&mut self.cells).extend_from_slice(cells);
    }

    /// Appends a row without samples.
    pub(crate) fn push_absent(&mut self, time: i64) {
        self.begin_row(time);
        let width = self.series.len();
        let cells = self.cells.len() + width;
        Arc::make_mut(&mut self.cells).resize(cells, f64::from_bits(ABSENT));
    }

    fn begin_row(&mut self, time: i64) {
        // Closed only now, so that the newest row can still be filled.
        if self.times.len() == ROWS_MAX {
            self.close();
        }
        self.times.push(time);
        self.last = time;
    }

    /// Puts a value into the newest row; `false` when there is one already.
    pub(crate) fn fill(&mut self, column: usize, value: f64) -> bool {
        let at = self.cells.len() - self.series.len() + column;
        let free = self.cells[at].to_bits() == ABSENT;
        if free {
            Arc::make_mut(&mut self.cells)[at] = value;
        }
        free
    }

    /// Adds columns behind the others; open rows have no samples in them.
    pub(crate) fn widen(&mut self, series: &[u32]) {
        let width = self.series.len();
        let mut cells = Vec::with_capacity(self.times.len() * (width + series.len()));
        for row in self.cells.chunks_exact(width) {
            cells.extend_from_slice(row);
            cells.resize(cells.len() + series.len(), f64::from_bits(ABSENT));
        }
        self.cells = Arc::new(cells);
        Arc::make_mut(&mut self.series).extend_from_slice(series);
    }

    /// Turns the open rows into columns.
    fn close(&mut self) {
        let width = self.series.len();
        let mut bytes = Vec::with_capacity(2 * self.cells.len());
        let mut anchors = Vec::with_capacity(width.div_ceil(ANCHOR_COLUMNS));
        let (mut values, mut encoded) = (Vec::with_capacity(ROWS_MAX), Vec::new());
        for column in 0..width {
            if column % ANCHOR_COLUMNS == 0 {
                anchors.push(bytes.len() as u32);
            }
            values.clear();
            values.extend(self.cells.iter().skip(column).step_by(width));
            encoded.clear();
            floats::encode(&values, &mut encoded);
            varint::put(encoded.len() as u64, &mut bytes);
            bytes.extend_from_slice(&encoded);
        }
        self.closed_bytes +=
            bytes.len() + 8 * self.times.len() + 4 * anchors.len() + size_of::<Chunk>();
        self.chunks.push(Arc::new(Chunk {
            times: self.times.as_slice().into(),
            columns: width,
            bytes: bytes.into(),
            anchors: anchors.into(),
        }));
        self.times.clear();
        match Arc::get_mut(&mut self.cells) {
            Some(cells) => cells.clear(),
            None => self.cells = Arc::default(),
        }
    }

    /// Appends the samples of a column inside a range.
    pub(crate) fn read(
        &self,
        column: usize,
        range: MilliRange,
        out: &mut Column,
    ) -> Result<(), Corrupt> {
        for chunk in &self.chunks {
            let (from, to) = range.find(&chunk.times);
            if from < to {
                let values = chunk.column(column)?;
                for (time, value) in chunk.times.iter().zip(values).take(to).skip(from) {
                    push(out, *time, value);
                }
            }
        }
        let (from, to) = range.find(&self.times);
        let width = self.series.len();
        // A column may be younger than a clone that is read.
        if column >= width {
            return Ok(());
        }
        for row in from..to {
            push(out, self.times[row], self.cells[row * width + column]);
        }
        Ok(())
    }

    /// Whether a column has a sample inside a range; newest rows are looked at first.
    pub(crate) fn has(&self, column: usize, range: MilliRange) -> Result<bool, Corrupt> {
        let (from, to) = range.find(&self.times);
        let width = self.series.len();
        if (from..to).any(|row| fits_row(self.cells[row * width + column])) {
            return Ok(true);
        }
        for chunk in self.chunks.iter().rev() {
            let (from, to) = range.find(&chunk.times);
            if from < to {
                let values = chunk.column(column)?;
                if values.iter().take(to).skip(from).any(|v| fits_row(*v)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The first row inside a range.
    pub(crate) fn first_row(&self, range: MilliRange) -> Option<i64> {
        let closed = self.chunks.iter().map(|chunk| &*chunk.times);
        let mut all = closed.chain([self.times.as_slice()]);
        all.find_map(|times| {
            let (from, to) = range.find(times);
            (from < to).then(|| times[from])
        })
    }

    /// Number of rows inside a range.
    pub(crate) fn rows_in(&self, range: MilliRange) -> usize {
        let closed = self.chunks.iter().map(|chunk| &*chunk.times);
        let all = closed.chain([self.times.as_slice()]);
        all.map(|times| {
            let (from, to) = range.find(times);
            to - from
        })
        .sum()
    }

    /// Estimate of the bytes of a clone.
    pub(crate) fn clone_bytes(&self) -> usize {
        8 * (self.chunks.len() + self.times.len()) + size_of::<Self>()
    }

    /// Estimate of the resident bytes.
    pub(crate) fn bytes(&self) -> usize {
        8 * (self.cells.capacity() + self.times.capacity())
            + 4 * self.series.capacity()
            + size_of::<Self>()
            + self.closed_bytes
    }
}

impl Chunk {
    fn column(&self, column: usize) -> Result<Vec<f64>, Corrupt> {
        if column >= self.columns {
            return Ok(Vec::new());
        }
        let anchor = self.anchors[column / ANCHOR_COLUMNS] as usize;
        let mut reader = Reader::new("rows in memory", &self.bytes[anchor..]);
        for _ in 0..column % ANCHOR_COLUMNS {
            reader.bytes(reader.remaining())?;
        }
        let bytes = reader.bytes(reader.remaining())?;
        floats::decode(&mut Reader::new("rows in memory", bytes), ROWS_MAX)
    }
}

fn push(out: &mut Column, time: i64, value: f64) {
    if fits_row(value) {
        out.push(time, Ok(value), NO_START);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: MilliRange = MilliRange {
        start: i64::MIN,
        end: i64::MAX,
    };

    fn column(group: &Group, column: usize, range: MilliRange) -> Vec<(i64, f64)> {
        let mut out = Column::default();
        group.read(column, range, &mut out).unwrap();
        out.times.into_iter().zip(out.values).collect()
    }

    #[test]
    fn rows_come_back_as_columns() {
        let mut group = Group::new(vec![10, 11, 12]);
        let rows = 3 * ROWS_MAX as i64 + 5;
        for row in 0..rows {
            assert!(group.takes(row * 10));
            group.push_row(row * 10, &[1.5, row as f64, -0.0]);
        }
        assert_eq!(group.chunks.len(), 3);
        let expect: Vec<_> = (0..rows).map(|row| (row * 10, row as f64)).collect();
        assert_eq!(column(&group, 1, ALL), expect);
        let range = MilliRange {
            start: 150,
            end: 500,
        };
        assert_eq!(column(&group, 1, range), expect[15..51]);
        assert!(
            column(&group, 2, ALL)
                .iter()
                .all(|(_, v)| v.to_bits() == (-0.0f64).to_bits())
        );
        assert_eq!(group.first_row(range), Some(150));
        assert!(!group.takes((rows - 1) * 10));
    }

    #[test]
    fn cells_may_be_absent_and_filled_once() {
        let mut group = Group::new(vec![1, 2]);
        for row in 0..ROWS_MAX as i64 {
            group.push_row(row, &[1.0, 2.0]);
        }
        group.push_absent(100);
        assert!(group.fills(100) && !group.fills(99));
        assert!(group.fill(1, 7.0));
        assert!(!group.fill(1, 8.0));
        group.widen(&[3]);
        assert!(group.fill(2, 9.0));
        let newest = MilliRange {
            start: 100,
            end: 100,
        };
        let found = [0, 1, 2].map(|c| column(&group, c, newest));
        assert_eq!(found, [vec![], vec![(100, 7.0)], vec![(100, 9.0)]]);
        let has = [0, 1, 2].map(|c| group.has(c, newest).unwrap());
        assert_eq!(has, [false, true, true]);
        // A column that came later has nothing in closed rows.
        assert_eq!(column(&group, 2, ALL), [(100, 9.0)]);
        assert!(group.has(0, ALL).unwrap());
        group.irregular = 100;
        assert!(!group.fills(100) && !group.takes(100) && group.takes(101));
    }
}
