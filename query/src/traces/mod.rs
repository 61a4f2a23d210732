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

use obs_model::answer::FoundTrace;
use obs_model::{Budget, SpanBatch, TimeRange, TraceId};
use obs_tracestore::{Snapshot, SpanFilter, Spans, scan};

use conditions::hints;
use search::TraceCollector;
pub use search::TraceMatcher;

use crate::error::QueryError;
use crate::request::{Plan, Request, When};
use crate::traceql::Query;

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
        spans_per_set: request.spans_per_set,
    }))
}

impl std::fmt::Display for TracePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "newest {} traces of {}", self.limit, self.query)?;
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
    let matcher = TraceMatcher::new(&plan.query, plan.spans_per_set);
    let mut collector = TraceCollector::new(&matcher, plan.range, plan.limit);
    let filter = SpanFilter {
        range: plan.range,
        conditions: hints(&plan.query),
    };
    let mut visit = |id, batch: SpanBatch| {
        budget.check()?;
        let flow = collector.trace(id, &batch);
        budget.bytes(collector.take_bytes())?;
        Ok(flow)
    };
    scan(snapshot, &filter, budget, &mut visit)?;
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
