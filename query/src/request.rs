//! What a caller asks of a query: at which times, with which options; and the plan that results.

use obs_model::Timestamp;
use obs_model::limits::Limits;

use crate::column::Grid;
use crate::error::QueryError;
use crate::logs::LogPlan;
use crate::plan::MetricPlan;
use crate::traces::{SpanMetricsPlan, TracePlan};

/// The languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Metrics.
    Promql,
    /// Logs.
    Logql,
    /// Traces.
    Traceql,
}

/// At which times a query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At one time.
    At(Timestamp),
    /// Over a range.
    Range {
        /// The first step, or the begin of the range of lines or traces.
        start: Timestamp,
        /// No step is later, or the end of the range.
        end: Timestamp,
        /// Nanoseconds between steps.
        step: i64,
    },
}

impl When {
    /// First and last time.
    pub fn bounds(self) -> (Timestamp, Timestamp) {
        match self {
            Self::At(at) => (at, at),
            Self::Range { start, end, .. } => (start, end),
        }
    }

    /// The steps; refuses backward ranges, steps below 1 ms and more steps than the limit.
    pub fn grid(self, limits: &Limits) -> Result<Grid, QueryError> {
        let (start, end, step) = match self {
            Self::At(at) => return Ok(Grid::instant(at)),
            Self::Range { start, end, step } => (start, end, step),
        };
        let refuse = |text: &str| Err(QueryError::Execution(text.to_owned()));
        if end < start {
            return refuse("end timestamp must not be before start time");
        }
        if step < obs_model::time::NANOS_PER_MILLI {
            return refuse(
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            );
        }
        // The difference of two i64 always fits a u64.
        let count = end.nanos().abs_diff(start.nanos()) / step.unsigned_abs() + 1;
        if count > limits.query_steps_max {
            return Err(QueryError::Execution(format!(
                "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX) or raise obs.limits.query_steps_max",
                limits.query_steps_max
            )));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Grid { start, step, count })
    }
}

/// In which order lines come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Newest first.
    #[default]
    Backward,
    /// Oldest first.
    Forward,
}

/// How coarse the samples may be that a query reads. Where samples as they came are gone, tiers are
/// read in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceResolution {
    /// Tiers are read where they surely give the same answer.
    #[default]
    Same,
    /// Tiers are not read where samples as they came are there.
    Raw,
    /// Tiers of up to so many nanoseconds are read where there are any.
    UpTo(i64),
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// At which times.
    pub when: When,
    /// How far an instant selector looks back, in nanoseconds.
    pub lookback: i64,
    /// Step of subqueries that name none, in nanoseconds.
    pub subquery_step: i64,
    /// Metric names leave at the end of evaluation instead of at each function.
    pub delayed_names: bool,
    /// Starts of counters count (Prometheus' `use-start-timestamps`).
    pub start_timestamps: bool,
    /// The label `__type__` says what is a counter, not the name (Prometheus'
    /// `type-and-unit-labels`).
    pub type_and_unit_labels: bool,
    /// The reply says how many samples each step looked at.
    pub count_samples: bool,
    /// How coarse samples may be (Thanos' `max_source_resolution`).
    pub resolution: SourceResolution,
    /// Steps that were computed before may be taken from the cache.
    pub cached: bool,
    /// Most lines, traces or series of an answer.
    pub limit: usize,
    /// In which order lines come.
    pub direction: Direction,
    /// Most spans that each span set of a trace lists.
    pub spans_per_set: usize,
    /// The time that `now` is in templates: when the query was asked.
    pub now: Timestamp,
    /// Metrics of spans: one value for the whole range instead of one for each step.
    pub whole_range: bool,
    /// Metrics of spans: most exemplars; 0 gives none.
    pub exemplars: usize,
}

impl Request {
    /// A request with Prometheus' and Loki's defaults: lookback 5 m, subquery step 1 m, 100 lines,
    /// asked at the end of its range.
    pub fn new(when: When) -> Self {
        const MINUTE: i64 = 60 * obs_model::time::NANOS_PER_SECOND;
        Self {
            when,
            lookback: 5 * MINUTE,
            subquery_step: MINUTE,
            delayed_names: false,
            start_timestamps: false,
            type_and_unit_labels: false,
            count_samples: false,
            resolution: SourceResolution::default(),
            cached: true,
            limit: 100,
            direction: Direction::Backward,
            spans_per_set: 3, // as Tempo
            now: when.bounds().1,
            whole_range: false,
            exemplars: 0,
        }
    }
}

/// What will be done. Displays readably.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Numbers, of any language.
    Metric(MetricPlan),
    /// Log lines.
    Logs(LogPlan),
    /// Traces.
    Traces(TracePlan),
    /// Series of spans.
    SpanMetrics(SpanMetricsPlan),
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Metric(plan) => plan.fmt(f),
            Self::Logs(plan) => plan.fmt(f),
            Self::Traces(plan) => plan.fmt(f),
            Self::SpanMetrics(plan) => plan.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_bounded() {
        let seconds = Timestamp::from_seconds;
        let limits = Limits::default();
        let check = |start, end, step: i64, expect: Result<usize, &str>| {
            let (start, end) = (seconds(start), seconds(end));
            let found = When::Range { start, end, step }.grid(&limits);
            match (found, expect) {
                (Ok(grid), Ok(count)) => assert_eq!(grid.count, count),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (found, expect) => panic!("{found:?} instead of {expect:?}"),
            }
        };
        check(0, 10, 5_000_000_000, Ok(3));
        check(0, 14, 5_000_000_000, Ok(3));
        check(0, 0, 5_000_000_000, Ok(1));
        check(1, 0, 5_000_000_000, Err("before start"));
        check(0, 1, 0, Err("zero or negative"));
        check(0, i64::MAX, 1_000_000, Err("query_steps_max"));
    }
}
