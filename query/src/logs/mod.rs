//! Log queries: LogQL's pipelines, run over what `logstore` scans.
//!
//! Pure but for the scan: rows go through a compiled pipeline and become lines of an answer or
//! samples of series; everything above is the shared evaluator.

mod decimal;
mod deletion;
pub mod detected;
mod filter;
mod functions;
mod hints;
pub(crate) mod ip;
pub(crate) mod json;
mod lines;
pub mod live;
mod logfmt;
pub(crate) mod pattern;
pub mod patterns;
mod pipeline;
mod read;
mod row;
mod samples;
mod template;
pub mod tenants;
#[cfg(test)]
mod tests;
mod value;
pub mod volume;

use obs_model::{TimeRange, Timestamp};

pub use deletion::{deletion, selector};
pub use read::{lines, select};
pub use samples::{Cells, LogLeaf, Worth};

use crate::logql::ast::LogExpr;
use crate::request::Direction;

/// A log query: which lines, from when to when, how many, in which order.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPlan {
    /// The selector and the pipeline.
    pub logs: LogExpr,
    /// From when to when, both included.
    pub range: TimeRange,
    /// Most lines.
    pub limit: usize,
    /// Newest or oldest first.
    pub direction: Direction,
    /// The time that `now` is in templates.
    pub now: Timestamp,
}

impl std::fmt::Display for LogPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let order = match self.direction {
            Direction::Backward => "newest",
            Direction::Forward => "oldest",
        };
        writeln!(f, "{order} {} lines of {}", self.limit, self.logs)?;
        writeln!(f, "from {} to {}", self.range.start, self.range.end)
    }
}
