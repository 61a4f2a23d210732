//! Series in memory for tests of rules: what `input_series` of Prometheus' unit tests say, revealed
//! as time goes on, and what rules write.
//!
//! Invariant: samples of a series only get younger; what does not fit is refused and told.

use obs_model::limits::Limits;
use obs_model::{Annotations, Answer, Histogram, Labels, Samples, Timestamp, Value};

use super::memory::Memory;
use super::{compare, series};
use crate::error::QueryError;
use crate::request::Request;
use crate::run::Query;

/// A series as a test says it.
#[derive(Clone, Debug)]
pub struct InputSeries {
    labels: Labels,
    /// The youngest first.
    left: Vec<(Timestamp, Value)>,
}

impl InputSeries {
    /// Reads a series and its values, one each `interval` nanoseconds from `start` on.
    pub fn parse(
        series: &str,
        values: &str,
        interval: i64,
        start: Timestamp,
    ) -> Result<Self, String> {
        let line = format!("{} {}", series.trim(), values.replace(['\n', '\r'], " "));
        let (labels, items) = series::row(&line)?;
        let at = |index: usize| start.saturating_add(interval.saturating_mul(index as i64));
        let items = items.into_iter().enumerate();
        let mut left: Vec<(Timestamp, Value)> = items
            .filter_map(|(index, item)| Some((at(index), item?.value)))
            .collect();
        left.reverse();
        Ok(Self { labels, left })
    }
}

/// The series that queries of a test read.
#[derive(Debug, Default)]
pub struct SeriesStore {
    input: Vec<InputSeries>,
    memory: Memory,
}

impl SeriesStore {
    /// A store that will know these series.
    pub fn new(input: Vec<InputSeries>) -> Self {
        Self {
            input,
            memory: Memory::default(),
        }
    }

    /// Lets queries see what was said up to a time.
    pub fn reveal(&mut self, till: Timestamp) -> Result<(), String> {
        for series in &mut self.input {
            while let Some((time, value)) = series.left.pop_if(|(time, _)| *time <= till) {
                if !self.memory.push(&series.labels, time, value) {
                    let labels = &series.labels;
                    return Err(format!("out of order or duplicate sample in {labels}"));
                }
            }
        }
        Ok(())
    }

    /// Adds a sample; says whether it fits.
    pub fn push(&mut self, labels: &Labels, time: Timestamp, value: Value) -> bool {
        self.memory.push(labels, time, value)
    }

    /// Answers a query of PromQL.
    pub fn ask(
        &self,
        query: &Query,
        request: &Request,
        limits: &Limits,
        pool: &rayon::ThreadPool,
    ) -> Result<(Answer, Annotations), QueryError> {
        self.memory.answer(query, request, limits, pool)
    }

    /// All series, in order of labels.
    pub fn series(&self) -> impl Iterator<Item = (&Labels, &Samples)> {
        self.memory.series()
    }
}

/// The labels of a metric such as `up{job="a"}`; a text without anything has none.
pub fn metric(text: &str) -> Result<Labels, String> {
    match text.trim() {
        "" => Ok(Labels::empty()),
        text => series::labels(text),
    }
}

/// The histogram of a text such as `{{schema:1 count:2}}`.
pub fn histogram(text: &str) -> Result<Histogram, String> {
    let (_, mut items) = series::row(&format!("x {text}"))?;
    match (items.pop().flatten().map(|item| item.value), items.len()) {
        (Some(Value::Histogram(histogram)), 0) => Ok(histogram.as_ref().clone()),
        (_, 0) => Err(format!("expected histogram, got {text}")),
        (_, more) => Err(format!("expected 1 value, got {}", more + 1)),
    }
}

/// A histogram as tests write it, without empty buckets at its ends.
pub fn histogram_text(histogram: &Histogram) -> String {
    compare::notation(&crate::eval::compacted(histogram))
}
