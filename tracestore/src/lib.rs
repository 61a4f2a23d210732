//! The trace store: spans on the storage engine, found by trace id or by what they say.
//!
//! A span belongs to the retention window of its start, so a trace may lie in several parts and
//! memories; readers put it together again. Identity of a span: (trace id, span id, kind); a span
//! that arrives again is stored once, the first arrival wins.
//! Invariants: what came in through OTLP comes out, attribute by attribute and in its order;
//! pruning never loses a trace; nothing trusts what a span says about its parents, ids or times.
//!
//! Formats: `docs/formats/span-record.md` (journal), `docs/formats/span-part.md` (parts).
//! Reading order: [`kind`], `row`, `block`, `build`, `encode`, [`record`], [`memory`], `write`, [`part`], `merge`,
//! [`filter`], `confined`, `chosen`, `candidates`, [`scan`], `opened`, [`columns`], `shared`, [`blockwise`], [`tags`]; beside them [`admit`], which ingestion calls before the journal.

pub mod admit;
pub mod blockwise;
pub mod columns;
pub mod error;
pub mod filter;
pub mod kind;
pub mod memory;
pub mod part;
pub mod record;
pub mod scan;
pub mod tags;

mod attributes;
mod block;
mod bloom;
mod build;
mod candidates;
mod catalog;
mod chosen;
mod confined;
mod encode;
mod merge;
mod opened;
mod row;
mod shared;
mod source;
mod value;
mod words;
mod write;

#[cfg(test)]
mod tests;

pub use admit::{Refused, admit};
pub use blockwise::{scan_columns, scan_traces};
pub use columns::Columns;
pub use error::SelectError;
pub use filter::{Condition, Scope, SpanFilter};
pub use kind::Spans;
pub use obs_storage::Snapshot;
pub use record::{SpanDraft, decode, encode};
pub use scan::{scan, trace};
pub use tags::{INTRINSICS, tag_names, tag_values};
