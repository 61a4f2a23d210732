//! Rules as state machines, and what becomes of their alerts.
//!
//! [`notify`] decides who is told of alerts, and when. [`rules`] reads rule files and decides, from the answer of a query at a time, which samples are
//! written and which alerts are sent; [`unit`] tests them. Invariant: everything here is a decision. `now`, answers and
//! earlier state are arguments; nothing reads a clock, asks a store or sends.

pub mod bundled;
pub mod error;
pub mod notify;
pub mod rules;
pub mod slo;
pub mod template;
pub mod unit;

pub use error::{FileError, RuleError};
