//! The scans behind log queries: a plan and a snapshot in, lines or samples out.

use obs_logstore::{
    LineCondition, LogFilter, Logs, Minutes, Rows, SelectError, Snapshot, Visitor, scan,
};
use obs_model::answer::LogLines;
use obs_model::{Budget, Labels, TimeRange};

use super::LogPlan;
use super::lines::LineCollector;
use super::pipeline::Pipeline;
use super::samples::{CompiledLeaf, LogLeaf, SampleCollector};
use crate::error::QueryError;
use crate::plan::SelectedSeries;
use crate::request::Direction;

/// What the store is told of a pipeline.
struct Hints {
    lines: Vec<LineCondition>,
    labels: Vec<(String, String)>,
}

impl Hints {
    fn new(pipeline: &Pipeline) -> Self {
        let labels = pipeline.label_needles().iter();
        Self {
            lines: pipeline.leading_filters().cloned().collect(),
            labels: labels
                .map(|needle| (needle.label.clone(), needle.value.clone()))
                .collect(),
        }
    }
}

/// The lines of a log query.
pub fn lines(
    snapshot: &Snapshot<Logs>,
    plan: &LogPlan,
    budget: &Budget,
) -> Result<Vec<LogLines>, QueryError> {
    let pipeline = Pipeline::new(&plan.logs.stages)?.at(plan.now);
    let hints = Hints::new(&pipeline);
    let filter = LogFilter {
        matchers: &plan.logs.matchers,
        range: plan.range,
        lines: &hints.lines,
        labels: &hints.labels,
        direction: match plan.direction {
            Direction::Backward => obs_logstore::Direction::Backward,
            Direction::Forward => obs_logstore::Direction::Forward,
        },
    };
    let mut collector =
        LineCollector::new(&pipeline, plan.range, plan.limit, plan.direction, budget);
    scan(snapshot, &filter, budget, &mut collector)?;
    Ok(collector.finish())
}

/// The series of a leaf, in order of time.
pub fn select(
    snapshot: &Snapshot<Logs>,
    leaf: &LogLeaf,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<SelectedSeries>, QueryError> {
    let compiled = CompiledLeaf::new(leaf)?;
    let hints = Hints::new(&compiled.pipeline);
    let filter = LogFilter {
        matchers: &leaf.matchers,
        range,
        lines: &hints.lines,
        labels: &hints.labels,
        direction: obs_logstore::Direction::Forward,
    };
    let mut collector = SampleCollector::new(&compiled, range, budget);
    scan(snapshot, &filter, budget, &mut collector)?;
    collector.finish()
}

impl Visitor for LineCollector<'_> {
    fn slice(&mut self, range: TimeRange) -> bool {
        self.wants(range)
    }

    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        self.take(labels, rows)
    }
}

impl Visitor for SampleCollector<'_> {
    fn slice(&mut self, _: TimeRange) -> bool {
        self.failure.is_none()
    }

    fn whole(&mut self, labels: &Labels, range: TimeRange, rows: u64) -> Result<bool, SelectError> {
        self.take_whole(labels, range, rows)
    }

    fn wants_minutes(&self) -> bool {
        self.counts_by_minute()
    }

    fn minutes(&mut self, labels: &Labels, minutes: &Minutes<'_>) -> Result<bool, SelectError> {
        self.take_minutes(labels, minutes)
    }

    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        self.take(labels, rows)
    }
}
