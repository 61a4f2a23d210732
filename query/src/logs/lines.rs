//! Log queries: the first lines in the order asked for.
//!
//! Invariant: holds at most the limit plus one slice's matches, and stops the scan as soon as no
//! later slice can hold a line of the answer.

use std::collections::BTreeMap;

use obs_model::answer::LogLines;
use obs_model::{Budget, BudgetError, HeldBytes, Labels, LogRecord, LogStream, TimeRange};

use super::pipeline::Pipeline;
use super::row::Row;
use crate::request::Direction;

/// A line of the answer.
#[derive(Debug)]
struct Found {
    record: LogRecord,
    stream: Labels,
    parsed: Labels,
}

impl Found {
    /// Bytes in memory, for the budget.
    fn bytes(&self) -> u64 {
        let labels = [&self.record.metadata, &self.stream, &self.parsed];
        let labels: usize = labels.iter().map(|l| l.packed().len()).sum();
        (size_of::<Self>() + self.record.line.len() + labels) as u64
    }
}

/// Collects lines from the slices of a scan.
#[derive(Debug)]
pub(crate) struct LineCollector<'a> {
    pipeline: &'a Pipeline,
    range: TimeRange,
    limit: usize,
    direction: Direction,
    budget: &'a Budget,
    found: Vec<Found>,
    /// What `found` takes.
    held: HeldBytes<'a>,
}

impl<'a> LineCollector<'a> {
    pub(crate) fn new(
        pipeline: &'a Pipeline,
        range: TimeRange,
        limit: usize,
        direction: Direction,
        budget: &'a Budget,
    ) -> Self {
        Self {
            pipeline,
            range,
            limit,
            direction,
            budget,
            found: Vec::new(),
            held: budget.holding(),
        }
    }

    /// Whether a slice that begins can hold lines of the answer.
    pub(crate) fn wants(&mut self, range: TimeRange) -> bool {
        self.cut();
        if self.limit == 0 {
            return false;
        }
        let Some(last) = self.found.last().filter(|_| self.found.len() >= self.limit) else {
            return true;
        };
        match self.direction {
            Direction::Backward => range.end >= last.record.time,
            Direction::Forward => range.start <= last.record.time,
        }
    }

    /// Records of one stream in the slice, in order of time.
    pub(crate) fn take(
        &mut self,
        labels: &Labels,
        records: Vec<LogRecord>,
    ) -> Result<(), BudgetError> {
        self.budget.check()?;
        // Of one stream, at most the limit's number of lines can be in the answer.
        let mut room = self.limit;
        let mut records = records;
        if self.direction == Direction::Backward {
            records.reverse();
        }
        for record in records {
            if room == 0 {
                break;
            }
            if self.range.contains(record.time) && self.record(labels, record)? {
                room -= 1;
            }
        }
        // Many streams in one slice: do not hold more than a few answers' worth.
        if self.found.len() > self.limit.saturating_mul(4).max(4096) {
            self.cut();
        }
        Ok(())
    }

    fn record(&mut self, labels: &Labels, mut record: LogRecord) -> Result<bool, BudgetError> {
        let line = std::mem::take(&mut record.line);
        let mut row = Row::new(&line, record.time, labels, &record.metadata, None);
        if !self.pipeline.run(&mut row) {
            return Ok(false);
        }
        let (stream, parsed) = (row.stream_labels(), row.parsed_labels());
        let metadata = row.metadata_labels();
        let changed = match row.line {
            std::borrow::Cow::Owned(changed) => Some(changed),
            std::borrow::Cow::Borrowed(_) => None,
        };
        let time = record.time;
        let found = Found {
            record: LogRecord {
                time,
                line: changed.unwrap_or(line),
                metadata,
            },
            stream,
            parsed,
        };
        self.held.add(found.bytes())?;
        self.found.push(found);
        Ok(true)
    }

    /// Orders what was found and cuts it to the limit. The sort is stable: of equal times the
    /// order of arrival stays (reversed when backward).
    fn cut(&mut self) {
        match self.direction {
            Direction::Forward => self.found.sort_by_key(|f| f.record.time),
            Direction::Backward => self.found.sort_by_key(|f| std::cmp::Reverse(f.record.time)),
        }
        let kept = self.limit.min(self.found.len());
        let cut: u64 = self.found.drain(kept..).map(|f| f.bytes()).sum();
        self.held.give_back(cut);
    }

    /// The answer: streams in order of labels, lines in the order asked for. It stays charged.
    pub(crate) fn finish(mut self) -> Vec<LogLines> {
        self.cut();
        self.held.keep();
        let mut streams: BTreeMap<Labels, LogLines> = BTreeMap::new();
        for found in self.found {
            let lines = streams.entry(found.stream).or_default();
            lines.stream.records.push(found.record);
            lines.parsed.push(found.parsed);
        }
        streams
            .into_iter()
            .map(|(labels, lines)| LogLines {
                stream: LogStream {
                    labels,
                    records: lines.stream.records,
                },
                parsed: lines.parsed,
            })
            .collect()
    }
}
