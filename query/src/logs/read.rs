//! The scans behind log queries: a plan and a snapshot in, lines or samples out.

use obs_logstore::{LogFilter, Logs, Snapshot, Visitor, scan};
use obs_model::answer::LogLines;
use obs_model::{Budget, BudgetError, Labels, LogRecord, TimeRange};

use super::LogPlan;
use super::lines::LineCollector;
use super::pipeline::Pipeline;
use super::samples::{CompiledLeaf, LogLeaf, SampleCollector};
use crate::error::QueryError;
use crate::plan::SelectedSeries;
use crate::request::Direction;

/// The lines of a log query.
pub fn lines(
    snapshot: &Snapshot<Logs>,
    plan: &LogPlan,
    budget: &Budget,
) -> Result<Vec<LogLines>, QueryError> {
    let pipeline = Pipeline::new(&plan.logs.stages)?.at(plan.now);
    let needles = pipeline.needles();
    let filter = LogFilter {
        matchers: &plan.logs.matchers,
        range: plan.range,
        needles: &needles,
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

/// The series of a leaf: one sample per line, in order of time.
pub fn select(
    snapshot: &Snapshot<Logs>,
    leaf: &LogLeaf,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<SelectedSeries>, QueryError> {
    let compiled = CompiledLeaf::new(leaf)?;
    let needles = compiled.pipeline.needles();
    let filter = LogFilter {
        matchers: &leaf.matchers,
        range,
        needles: &needles,
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

    fn stream(&mut self, labels: &Labels, records: Vec<LogRecord>) -> Result<(), BudgetError> {
        self.take(labels, records)
    }
}

impl Visitor for SampleCollector<'_> {
    fn slice(&mut self, _: TimeRange) -> bool {
        self.failure.is_none()
    }

    fn stream(&mut self, labels: &Labels, records: Vec<LogRecord>) -> Result<(), BudgetError> {
        self.take(labels, &records)
    }
}
