//! Queries: three languages, one plan, one evaluator, one budget.
//!
//! A text is parsed (errors with line and column), lowered to a [`plan`] for a [`Request`] (all
//! times resolved), and run in two phases: `select` reads each leaf once from a snapshot, `eval`
//! computes the tree over all steps at once. Invariant: no loop over data runs without charging or
//! checking the budget; nothing here reads a clock or spawns a thread.

mod cache;
pub mod column;
pub mod correlate;

pub mod error;
pub mod eval;
pub mod exceptions;
mod explain;
pub mod functions;
pub mod logql;
pub mod logs;
pub mod operators;
pub mod plan;
pub mod promql;
pub mod promqltest;
pub mod request;
mod resolution;
mod run;
pub mod template;
mod tokens;
pub mod traceql;
pub mod traces;

#[cfg(test)]
mod confined_tests;

pub use cache::{CacheStats, ResultCache, TenantCache};
pub use error::{ParseError, Place, QueryError};
pub use explain::{Explanation, Read, explain};
pub use request::{Direction, Language, Plan, Request, SourceResolution, When};
pub use run::{Query, Sources, run};
