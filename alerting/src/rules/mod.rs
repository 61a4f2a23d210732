//! Rules: files of them, what each decides at a time, and in which order a group goes.

pub mod alert;
pub mod file;
pub mod group;
pub mod kept;
pub mod lint;
pub mod record;

pub use alert::{Alert, AlertState, Alerting, Sent};
pub use file::{Expression, Group, Parsing, Rule, RuleFile, RuleKind};
pub use group::{Running, Sample, Schedule};
