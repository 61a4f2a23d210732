//! Unit tests of rules in the format of Prometheus' promtool.
//!
//! Invariant: rules are evaluated by the same state machine and evaluator as in a server; only the
//! series are in memory.

mod file;
mod run;
mod told;

pub use file::{AlertTest, ExpectedAlert, ExpectedSample, ExprTest, Series, TestFile, TestGroup};
pub use run::{Case, Options, run};

#[cfg(test)]
mod tests;
