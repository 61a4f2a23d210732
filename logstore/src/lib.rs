//! The log store: streams of log lines on the storage engine.
//!
//! A stream is a set of index labels; its records carry a time in nanoseconds, a line and
//! structured metadata. Records may arrive in any order of time; equal times keep their order of
//! arrival; a record that arrives again is stored once (identity: stream, time, line, metadata).
//! Invariant: the exact bytes of a line come back, whatever was flushed or merged in between.
//!
//! Formats: `docs/formats/log-record.md` (journal), `docs/formats/log-part.md` (parts).
//! Reading order: [`kind`], [`record`], [`memory`], `group`, `write`, [`part`], `merge`, [`scan`],
//! [`catalog`]; beside them [`admit`] and [`enrich`], which ingestion calls before the journal.

pub mod kind;

pub mod record;

mod draft;
mod filter;
mod index;
pub mod memory;
mod postings;
mod tokens;

mod lines;

pub mod counts;
mod group;
mod metadata;
pub mod part;
mod write;

mod merge;

pub mod catalog;
mod deletion;
pub mod extents;
mod prune;
mod rows;
pub mod scan;

pub mod admit;
pub mod enrich;
pub mod error;

#[cfg(test)]
mod tests;

pub use admit::{KnownStreams, Reason, Refused, admit};
pub use catalog::{LogStats, MemoryStreams, label_names, label_values, stats, streams};
pub use counts::{MINUTE, MinuteCount, Minutes};
pub use deletion::{Selector, delete};
pub use draft::LogDraft;
pub use enrich::{EnrichOptions, enrich};
pub use error::SelectError;
pub use extents::{Extent, extents};
pub use kind::Logs;
pub use lines::HOLE;
pub use lines::search::{LineCondition, LineTest, ReadersTest};
pub use obs_storage::Snapshot;
pub use record::{decode, encode};
pub use rows::{Rows, ShapeVisitor};
pub use scan::{Direction, LogFilter, Visitor, scan};
