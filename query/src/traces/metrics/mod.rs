//! TraceQL's metrics: spans into series over steps, then arithmetic and rankings of series.
//!
//! A pipeline is run once over the store, on columns: span by span where no span decides about
//! another, else trace by trace. What is held is one cell for each series and step.
//! Why this is not the evaluator of the other languages: labels are typed and missing ones join,
//! see `docs/decisions/0126-metrics-of-spans-have-steps-from-the-start.md`.

pub(super) mod columns;
mod compare;
mod exemplars;
mod measure;
mod quantile;
pub(super) mod series;
mod steps;
#[cfg(test)]
mod tests;

use std::fmt;

use obs_model::Budget;
use obs_model::answer::{SpanExemplar, SpanSeries};
use obs_model::limits::Limits;
use obs_model::spans::Attribute as SpanAttribute;
use obs_tracestore::{Snapshot, Spans};

use crate::error::QueryError;
use crate::request::{Request, When};
use crate::traceql::Query;
use crate::traceql::ast::Static;
use crate::traceql::metric::{Metric, MetricExpr, MetricPipeline};

use compare::Comparison;
use measure::Measure;
use steps::Steps;

/// Exemplars where a query asks for some without saying how many; as Tempo.
const EXEMPLARS: usize = 100;
/// Most exemplars of an answer.
const EXEMPLARS_MAX: usize = 10_000;

/// A query for series of spans.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanMetricsPlan {
    /// What is computed.
    pub(super) expr: MetricExpr,
    /// At which steps.
    pub(super) steps: Steps,
    /// Most exemplars of the answer.
    pub(super) exemplars: usize,
}

/// The plan of a metrics query for a request. Steps stand at multiples of themselves, and one more
/// at each end than the request covers, as Tempo has them.
pub(super) fn plan(
    expr: &MetricExpr,
    query: &Query,
    request: &Request,
    limits: &Limits,
) -> Result<SpanMetricsPlan, QueryError> {
    let When::Range { start, end, step } = request.when else {
        return Err(QueryError::Execution(
            "metrics of spans need a range of time, not one point".to_owned(),
        ));
    };
    let steps = if request.whole_range {
        Steps::whole(start, end)?
    } else {
        // The checks of steps are those of all languages.
        request.when.grid(limits)?;
        Steps::aligned(start, end, step)?
    };
    let exemplars = match query.hint("exemplars") {
        Some(Static::Bool(false)) => 0,
        Some(Static::Bool(true)) if request.exemplars == 0 => EXEMPLARS,
        Some(Static::Int(count)) => usize::try_from(*count).unwrap_or(0),
        _ => request.exemplars,
    };
    Ok(SpanMetricsPlan {
        expr: expr.clone(),
        steps,
        exemplars: if request.whole_range {
            0
        } else {
            exemplars.min(EXEMPLARS_MAX)
        },
    })
}

impl fmt::Display for SpanMetricsPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.expr)?;
        let mut text = String::new();
        self.expr.pipelines(&mut |pipeline| {
            let how = match columns::condition(pipeline) {
                Some(_) => "columns of spans",
                None => "columns of whole traces",
            };
            text.push_str(&format!("read {how} for {pipeline}\n"));
        });
        f.write_str(&text)?;
        writeln!(f, "{}", self.steps)
    }
}

/// Series while they are computed: a value for each step, NaN where there is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: Vec<SpanAttribute>,
    pub(super) values: Vec<f64>,
    pub(super) exemplars: Vec<SpanExemplar>,
}

/// Runs a plan. Series are in order of their labels; their samples ascend in time.
pub fn run(
    snapshot: &Snapshot<Spans>,
    plan: &SpanMetricsPlan,
    budget: &Budget,
) -> Result<Vec<SpanSeries>, QueryError> {
    let mut pipelines = 0;
    plan.expr.pipelines(&mut |_| pipelines += 1);
    // Each query of an arithmetic gets its share.
    let exemplars = match plan.exemplars {
        0 => 0,
        all => (all / pipelines).max(1),
    };
    let run = Run {
        snapshot,
        steps: &plan.steps,
        exemplars,
        budget,
    };
    let mut all = run.expr(&plan.expr)?;
    series::sort(&mut all);
    Ok(all
        .into_iter()
        .filter_map(|series| answer(series, &plan.steps))
        .collect())
}

/// A series of the answer; `None` where no step has a value.
fn answer(series: Series, steps: &Steps) -> Option<SpanSeries> {
    let numbered = series.values.iter().enumerate();
    let samples: Vec<_> = numbered
        .filter(|(_, value)| !value.is_nan())
        .map(|(step, value)| (steps.time(step), *value))
        .collect();
    if samples.is_empty() && !compare::is_error(&series.labels) {
        return None;
    }
    let shown = |mut exemplar: SpanExemplar| {
        let at = *series.values.get(steps.of(exemplar.time)?)?;
        if at.is_nan() {
            return None;
        }
        // Counts have no value of one span: it stands on the line of the series.
        if exemplar.value.is_nan() {
            exemplar.value = at;
        }
        Some(exemplar)
    };
    let mut exemplars: Vec<_> = series.exemplars.into_iter().filter_map(shown).collect();
    exemplars.sort_by_key(|e| e.time);
    Some(SpanSeries {
        labels: series.labels,
        samples,
        exemplars,
    })
}

/// What every part of one run shares.
struct Run<'a> {
    snapshot: &'a Snapshot<Spans>,
    steps: &'a Steps,
    exemplars: usize,
    budget: &'a Budget,
}

impl Run<'_> {
    fn expr(&self, expr: &MetricExpr) -> Result<Vec<Series>, QueryError> {
        match expr {
            MetricExpr::Series(pipeline) => self.pipeline(pipeline),
            MetricExpr::Binary { op, left, right } => {
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                self.budget.check()?;
                Ok(series::join(*op, &left, &right))
            }
            MetricExpr::Scalar {
                op,
                value,
                left,
                inner,
            } => Ok(series::scale(*op, value, *left, self.expr(inner)?)),
            MetricExpr::Staged { inner, stages } => {
                let mut all = self.expr(inner)?;
                for stage in stages {
                    self.budget.check()?;
                    all = series::stage(stage, all);
                }
                Ok(all)
            }
        }
    }

    fn pipeline(&self, pipeline: &MetricPipeline) -> Result<Vec<Series>, QueryError> {
        if let Metric::Compare {
            filter,
            top,
            window,
        } = &pipeline.metric
        {
            let mut comparison = Comparison::new(filter.as_ref(), *top, *window, self.steps);
            let (steps, budget) = (self.steps, self.budget);
            columns::compare(self.snapshot, pipeline, steps, &mut comparison, budget)?;
            return Ok(comparison.finish(self.budget)?);
        }
        let mut measure = Measure::new(pipeline, self.steps, self.exemplars, self.budget);
        match columns::condition(pipeline) {
            Some(condition) => columns::run(self.snapshot, &condition, self.steps, &mut measure)?,
            None => columns::run_traces(self.snapshot, pipeline, self.steps, &mut measure)?,
        }
        Ok(measure.finish())
    }
}
