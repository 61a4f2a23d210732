//! Log queries: the first lines in the order asked for.
//!
//! Invariant: holds at most the limit plus one slice's matches, and stops the scan as soon as no
//! later slice can hold a line of the answer.

use std::collections::BTreeMap;

use obs_model::answer::LogLines;
use obs_model::{Budget, BudgetError, Labels, LogRecord, LogStream, TimeRange};

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

/// Collects lines from the slices of a scan.
#[derive(Debug)]
pub(crate) struct LineCollector<'a> {
    pipeline: &'a Pipeline,
    range: TimeRange,
    limit: usize,
    direction: Direction,
    budget: &'a Budget,
    found: Vec<Found>,
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
        let direction = self.direction;
        let mut run = |record: LogRecord| {
            if room > 0 && self.range.contains(record.time) && self.record(labels, record) {
                room -= 1;
            }
        };
        match direction {
            Direction::Forward => records.into_iter().for_each(&mut run),
            Direction::Backward => records.into_iter().rev().for_each(&mut run),
        }
        // Many streams in one slice: do not hold more than a few answers' worth.
        if self.found.len() > self.limit.saturating_mul(4).max(4096) {
            self.cut();
        }
        Ok(())
    }

    fn record(&mut self, labels: &Labels, mut record: LogRecord) -> bool {
        let line = std::mem::take(&mut record.line);
        let mut row = Row::new(&line, labels, &record.metadata, None);
        if !self.pipeline.run(&mut row) {
            return false;
        }
        let (stream, parsed) = (row.stream_labels(), row.parsed_labels());
        let metadata = row.metadata_labels();
        let changed = match row.line {
            std::borrow::Cow::Owned(changed) => Some(changed),
            std::borrow::Cow::Borrowed(_) => None,
        };
        let time = record.time;
        self.found.push(Found {
            record: LogRecord {
                time,
                line: changed.unwrap_or(line),
                metadata,
            },
            stream,
            parsed,
        });
        true
    }

    /// Orders what was found and cuts it to the limit. The sort is stable: of equal times the
    /// order of arrival stays (reversed when backward).
    fn cut(&mut self) {
        match self.direction {
            Direction::Forward => self.found.sort_by_key(|f| f.record.time),
            Direction::Backward => self.found.sort_by_key(|f| std::cmp::Reverse(f.record.time)),
        }
        self.found.truncate(self.limit);
    }

    /// The answer: streams in order of labels, lines in the order asked for.
    pub(crate) fn finish(mut self) -> Vec<LogLines> {
        self.cut();
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
