//! Merges parts into one: streams in order of labels, rows of a stream in order of time.
//!
//! Invariant: of rows with equal times those of an earlier part come first, so that order of
//! arrival is kept and the first of equal records stays. A part whose streams or rows are not in
//! order is `Corrupt`: writing on would hide rows. Memory: one group of each part.

use std::cmp::Ordering;
use std::rc::Rc;

use obs_model::{Labels, TimeRange, Timestamp};
use obs_storage::codec::bytes;
use obs_storage::{Corrupt, PartWriter};

use crate::group::DecodedGroup;
use crate::part::{Block, FRAME_STREAMS, INDEX, Page, Part, STREAMS};
use crate::write::Writer;

/// Writes the rows of all parts inside `keep`, each record once.
pub(crate) fn merge(parts: &[&Part], keep: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
    let mut cursors = Vec::with_capacity(parts.len());
    for part in parts {
        cursors.push(Cursor::new(part, keep)?);
    }
    let mut writer = Writer::new(out, bytes::LEVEL);
    while let Some(labels) = cursors.iter().filter_map(Cursor::labels).min().cloned() {
        writer.stream(&labels);
        let mut at: Vec<&mut Cursor<'_>> = cursors
            .iter_mut()
            .filter(|cursor| cursor.labels() == Some(&labels))
            .collect();
        while let Some(next) = at.iter_mut().min_by_key(|cursor| cursor.time()) {
            let time = next.time();
            let (line, metadata) = next.row()?;
            if keep.contains(Timestamp::from_nanos(time)) {
                writer.row(time, line, &metadata);
            }
            next.advance()?;
            at.retain(|cursor| cursor.labels() == Some(&labels));
        }
        if !writer.labels_fit() {
            // The parts stay as they are; they can be read, what is made of them could not.
            return Err(Corrupt::new("merged part", 0, "fewer bytes of labels"));
        }
    }
    writer.finish();
    Ok(())
}

/// Walks all rows of a part in their order, leaving out blocks without rows to keep.
struct Cursor<'a> {
    part: &'a Part,
    keep: TimeRange,
    frame: Option<usize>,
    frame_labels: Vec<Labels>,
    /// Index of the page behind `page`.
    next_page: usize,
    page: Page,
    group: usize,
    /// Index of the block in the page, and its first row and row in the group.
    block: usize,
    first_row: usize,
    row: usize,
    /// `None` at the end and between groups.
    current: Option<Current>,
    /// Labels and time of the row before, which the present one may not precede.
    before: Option<(Labels, i64)>,
}

struct Current {
    labels: Labels,
    rows: Rc<DecodedGroup>,
    block: Block,
}

impl<'a> Cursor<'a> {
    fn new(part: &'a Part, keep: TimeRange) -> Result<Self, Corrupt> {
        let mut cursor = Self {
            part,
            keep,
            frame: None,
            frame_labels: Vec::new(),
            next_page: 0,
            page: Page {
                groups: Vec::new(),
                blocks: Vec::new(),
            },
            group: 0,
            block: 0,
            first_row: 0,
            row: 0,
            current: None,
            before: None,
        };
        cursor.settle()?;
        Ok(cursor)
    }

    fn labels(&self) -> Option<&Labels> {
        self.current.as_ref().map(|current| &current.labels)
    }

    /// The time of the present row; the end is later than all.
    fn time(&self) -> i64 {
        let current = self.current.as_ref();
        current.map_or(i64::MAX, |c| c.rows.times[self.first_row + self.row])
    }

    fn row(&self) -> Result<(&[u8], Labels), Corrupt> {
        match &self.current {
            Some(current) => {
                let row = self.first_row + self.row;
                Ok((current.rows.line(row), current.rows.metadata(row)?))
            }
            None => Ok((&[], Labels::empty())),
        }
    }

    fn advance(&mut self) -> Result<(), Corrupt> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let (time, rows) = (self.time(), current.block.rows);
        self.row += 1;
        if self.row < rows {
            return self.in_order(self.time() >= time);
        }
        self.before = Some((current.labels.clone(), time));
        self.first_row += rows;
        self.block += 1;
        self.settle()?;
        let later = match (&self.before, &self.current) {
            (Some((labels, time)), Some(current)) => match labels.cmp(&current.labels) {
                Ordering::Less => true,
                Ordering::Equal => *time <= self.time(),
                Ordering::Greater => false,
            },
            (None, _) | (_, None) => true,
        };
        self.in_order(later)
    }

    fn in_order(&self, ordered: bool) -> Result<(), Corrupt> {
        if ordered {
            return Ok(());
        }
        let expected = "rows in order of stream and time";
        Err(self.part.corrupt(INDEX, expected.to_owned()))
    }

    /// Finds the next block with rows to keep, from the present one on.
    fn settle(&mut self) -> Result<(), Corrupt> {
        self.row = 0;
        loop {
            let Some(group) = self.page.groups.get(self.group) else {
                let Some(head) = self.part.pages().get(self.next_page) else {
                    self.current = None;
                    return Ok(());
                };
                self.page = self.part.page(head)?;
                self.next_page += 1;
                (self.group, self.block, self.first_row) = (0, 0, 0);
                self.current = None;
                continue;
            };
            if self.block >= group.blocks.end {
                self.group += 1;
                self.first_row = 0;
                self.current = None;
                continue;
            }
            let block = self.page.blocks[self.block];
            if block.range().overlaps(self.keep) {
                return self.enter(block);
            }
            self.first_row += block.rows;
            self.block += 1;
        }
    }

    fn enter(&mut self, block: Block) -> Result<(), Corrupt> {
        let group = &self.page.groups[self.group];
        let rows = match self.current.take() {
            Some(current) => current.rows,
            None => {
                let blocks = &self.page.blocks[group.blocks.clone()];
                let rows = blocks.iter().map(|b| b.rows).sum();
                let group = self.part.group(group, rows, &[])?;
                Rc::new(group.expect("without needles every group is wanted"))
            }
        };
        let frame = block.stream as usize / FRAME_STREAMS;
        if self.frame != Some(frame) {
            self.frame_labels = self.part.label_frame(frame)?;
            self.frame = Some(frame);
        }
        let labels = self.frame_labels.get(block.stream as usize % FRAME_STREAMS);
        let labels = labels.cloned().ok_or_else(|| {
            self.part
                .corrupt(STREAMS, format!("labels of stream {}", block.stream))
        })?;
        self.current = Some(Current {
            labels,
            rows,
            block,
        });
        Ok(())
    }
}
