//! Log queries: the first lines in the order asked for.
//!
//! Invariant: holds at most the limit plus one slice's matches, and stops the scan as soon as no
//! later slice can hold a line of the answer.

use std::collections::BTreeMap;

use obs_logstore::{Rows, SelectError};
use obs_model::answer::LogLines;
use obs_model::{
    Budget, BudgetError, HeldBytes, Labels, LogRecord, LogStream, TimeRange, Timestamp,
};

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

    /// Rows of one stream in the slice.
    pub(crate) fn take(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        self.budget.check()?;
        // Of one stream, at most the limit's number of lines can be in the answer.
        let mut room = self.limit;
        let backward = self.direction == Direction::Backward;
        for nth in 0..rows.len() {
            if room == 0 {
                break;
            }
            self.budget.check()?;
            let index = if backward { rows.len() - 1 - nth } else { nth };
            let time = rows.time(index)?;
            if self.range.contains(time) {
                let metadata = rows.metadata(index)?;
                let kept = rows.with_line(index, |line| self.row(labels, time, line, &metadata))?;
                room -= usize::from(kept?);
            }
        }
        // Many streams in one slice: do not hold more than a few answers' worth.
        if self.found.len() > self.limit.saturating_mul(4).max(4096) {
            self.cut();
        }
        Ok(())
    }

    fn row(
        &mut self,
        labels: &Labels,
        time: Timestamp,
        line: &[u8],
        metadata: &Labels,
    ) -> Result<bool, BudgetError> {
        let mut row = Row::new(line, time, labels, metadata, None);
        if !self.pipeline.run_behind_leading(&mut row) {
            return Ok(false);
        }
        let (stream, parsed) = (row.stream_labels(), row.parsed_labels());
        let metadata = row.metadata_labels();
        let found = Found {
            record: LogRecord {
                time,
                line: row.line.into_owned(),
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
