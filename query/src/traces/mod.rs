//! Trace searches: TraceQL's matcher over whole traces, and the hints that spare reading most.
//!
//! The matcher is pure: a trace and a query in, an entry of the answer out.

mod conditions;
mod field;
mod search;
mod spansets;
mod structure;
#[cfg(test)]
mod tests;
mod value;
mod view;

use std::ops::ControlFlow;

use obs_model::answer::FoundTrace;
use obs_model::{Budget, BudgetError, SpanBatch, TimeRange, TraceId};

pub use conditions::{Hint, hints};
use search::TraceCollector;
pub use search::TraceMatcher;

use crate::error::QueryError;
use crate::request::{Plan, Request, When};
use crate::traceql::Query;

/// Spans that each set of an answer lists where the request does not say; as Tempo.
pub const SPANS_PER_SET: usize = 3;

/// A search for traces.
#[derive(Clone, Debug, PartialEq)]
pub struct TracePlan {
    /// What is searched.
    pub query: Query,
    /// Traces that overlap this, both ends included.
    pub range: TimeRange,
    /// Most traces.
    pub limit: usize,
    /// Most spans that each set lists.
    pub spans_per_set: usize,
}

/// The plan of a search for a request.
pub fn plan(query: &Query, request: &Request) -> Result<Plan, QueryError> {
    let When::Range { start, end, .. } = request.when else {
        return Err(QueryError::Execution(
            "trace searches need a range of time, not one point".to_owned(),
        ));
    };
    Ok(Plan::Traces(TracePlan {
        query: query.clone(),
        range: TimeRange::new(start, end),
        limit: request.limit,
        spans_per_set: SPANS_PER_SET,
    }))
}

impl std::fmt::Display for TracePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "newest {} traces of {}", self.limit, self.query)?;
        writeln!(f, "from {} to {}", self.range.start, self.range.end)
    }
}

/// Runs a search over a scan that gives whole traces, newest first, and stops when told to break.
/// The scan gets the hints of the query and may leave out traces that do not meet them.
pub fn search<E>(
    plan: &TracePlan,
    budget: &Budget,
    scan: impl FnOnce(
        &[Hint],
        &mut dyn FnMut(TraceId, SpanBatch) -> Result<ControlFlow<()>, BudgetError>,
    ) -> Result<(), E>,
) -> Result<Vec<FoundTrace>, E> {
    let matcher = TraceMatcher::new(&plan.query, plan.spans_per_set);
    let mut collector = TraceCollector::new(&matcher, plan.range, plan.limit);
    if plan.limit > 0 {
        scan(&hints(&plan.query), &mut |id, batch| {
            budget.check()?;
            Ok(collector.trace(id, &batch))
        })?;
    }
    Ok(collector.finish())
}
