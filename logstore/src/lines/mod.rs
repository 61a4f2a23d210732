//! The lines of a group as templates and columns of variables.
//!
//! A log is mostly a few templates. What a template says is searched once, not line by line; what
//! varies is in columns that are small, ordered and typed. `docs/formats/log-lines.md`.

pub(crate) mod column;
pub(crate) mod encode;
mod known;
pub(crate) mod search;
pub(crate) mod split;
pub(crate) mod variable;
mod walk;

#[cfg(test)]
mod tests;

pub use column::HOLE;
pub(crate) use column::Lines;
pub(crate) use encode::Encoder;
pub(crate) use search::{Search, Wanted};
