//! TraceQL on spans: searches, which put together the traces that columns show to match, and metrics,
//! which read columns only.
//!
//! What other rooms call: [`plan()`], [`search`], [`metrics::run`], [`trace`]; tags and their
//! values come from `obs_tracestore` as they are, or through [`tag_values`] within a query.
//! The matcher is pure: a trace and a query in, an entry of the answer out.

mod columns;
mod conditions;
mod field;
mod forest;
pub mod metrics;
mod search;
mod spansets;
mod structure;
mod tags;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod view;

use std::ops::Range;

use obs_model::answer::FoundTrace;
use obs_model::limits::Limits;
use obs_model::{Budget, SpanBatch, TimeRange, TraceId};
use obs_tracestore::scan::{Choose, Found, scan_found};
use obs_tracestore::{Columns, SelectError, Snapshot, SpanFilter, Spans};

use conditions::{hints, some_span};
use forest::Marked;
pub use metrics::SpanMetricsPlan;
use search::TraceCollector;
pub use search::TraceMatcher;
pub use tags::{tag_names, tag_values};

use crate::error::QueryError;
use crate::request::{Plan, Request, When};
use crate::traceql::Query;
use crate::traceql::ast::{Element, Root};
use crate::traceql::pipeline_text;

/// A search for traces.
#[derive(Clone, Debug, PartialEq)]
pub struct TracePlan {
    /// What is searched.
    pub pipeline: Vec<Element>,
    /// Traces that overlap this, both ends included.
    pub range: TimeRange,
    /// Most traces.
    pub limit: usize,
    /// Most spans that each set lists.
    pub spans_per_set: usize,
}

/// The plan of a query for a request: a search, or series over steps.
pub fn plan(query: &Query, request: &Request, limits: &Limits) -> Result<Plan, QueryError> {
    let pipeline = match &query.root {
        Root::Search(pipeline) => pipeline.clone(),
        Root::Metrics(expr) => {
            return metrics::plan(expr, query, request, limits).map(Plan::SpanMetrics);
        }
    };
    let When::Range { start, end, .. } = request.when else {
        return Err(QueryError::Execution(
            "trace searches need a range of time, not one point".to_owned(),
        ));
    };
    Ok(Plan::Traces(TracePlan {
        pipeline,
        range: TimeRange::new(start, end),
        limit: request.limit,
        spans_per_set: request.spans_per_set,
    }))
}

impl std::fmt::Display for TracePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = pipeline_text(&self.pipeline);
        writeln!(f, "newest {} traces of {text}", self.limit)?;
        writeln!(f, "from {} to {}", self.range.start, self.range.end)
    }
}

/// Runs a search on a store: whole traces that may match come newest first, until the limit.
pub fn search(
    snapshot: &Snapshot<Spans>,
    plan: &TracePlan,
    budget: &Budget,
) -> Result<Vec<FoundTrace>, QueryError> {
    if plan.limit == 0 {
        return Ok(Vec::new());
    }
    let matcher = TraceMatcher::new(&plan.pipeline, plan.spans_per_set);
    let mut collector = TraceCollector::new(&matcher, plan.range, plan.limit);
    let filter = SpanFilter {
        range: plan.range,
        conditions: hints(&plan.pipeline),
    };
    let told = matcher.told();
    let telling = Marked::new(&plan.pipeline, &told.iter().collect::<Vec<_>>());
    let mut visit = |id, found: Found<'_>| -> Result<_, SelectError> {
        budget.check()?;
        let flow = match found {
            Found::Whole(batch) => collector.trace(id, &batch),
            Found::Rows(block, rows) => {
                let found = matcher.find_rows(id, block, &rows, &telling)?;
                collector.add(found)
            }
        };
        budget.bytes(collector.take_bytes())?;
        Ok(flow)
    };
    let needed = some_span(&plan.pipeline);
    // What looks at spans one by one is decided by the columns of any block, what does not where
    // a block has whole traces.
    let alone = columns::conditions_of(&plan.pipeline).is_some();
    let marked = Marked::new(&plan.pipeline, &[]);
    let mut choose = |block: &Columns<'_>, traces: &[Range<usize>]| {
        let mut rows = columns::matching(&needed, block)?;
        if alone {
            return Ok(rows);
        }
        traces.iter().for_each(|own| rows[own.clone()].fill(false));
        marked.look(block, traces, &mut |found, _| {
            let both = rows.iter_mut().zip(found);
            both.for_each(|(row, found)| *row |= found);
            Ok(())
        })?;
        Ok(rows)
    };
    let choose: Option<&mut Choose<'_>> = (!alone || !needed.is_empty()).then_some(&mut choose);
    scan_found(snapshot, &filter, choose, budget, &mut visit)?;
    Ok(collector.finish())
}

/// One whole trace by its id.
pub fn trace(
    snapshot: &Snapshot<Spans>,
    id: TraceId,
    budget: &Budget,
) -> Result<Option<SpanBatch>, QueryError> {
    Ok(obs_tracestore::trace(snapshot, id, budget)?)
}
