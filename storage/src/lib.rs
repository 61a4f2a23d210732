//! The storage engine of obs: one engine for immutable parts, shared by every signal.
//!
//! It knows bytes and time ranges, not signals: a signal tells about itself through [`Kind`].
//! A write goes journal (fsync) → memory → acknowledged; memory becomes immutable [`part`]s in the
//! background; the [`manifest`] says which parts exist and which journal segments are still needed.
//!
//! Invariants: an acknowledged record is found exactly once, before and after a crash; bytes that
//! fail their checksum are never served; nothing here reads a clock or starts a thread.
//!
//! Reading order: [`kind`], [`store`], [`part`], [`journal`], [`manifest`], [`disk`].

pub mod error;
pub mod kind;
pub mod snapshot;
pub mod store;

mod backup;
mod deletion;
mod inspect;
mod jobs;
mod open;
mod plan;
mod view;

pub mod bucket;
pub mod journal;
pub mod manifest;
pub mod part;

pub mod blob;
pub mod codec;
mod cursor;
pub mod disk;
mod quarantine;
pub mod queue;
mod reserve;
pub mod sim;
pub mod table;

pub use blob::{Blob, Section as PartSection};
pub use bucket::{Bucket, LocalBucket};
pub use deletion::{DELETIONS_MAX, Hidden, Hiding, RetentionRule, SELECTOR_BYTES_MAX};
pub use disk::{Disk, RealDisk};
pub use error::{
    AppendError, BackupError, Corrupt, DeleteError, DiskError, JobError, OpenError, Quarantined,
};
pub use inspect::{Inspection, inspect};
pub use journal::Record;
pub use kind::{Draft, Input, Kind, MemoryBytes, Target};
pub use open::Progress;
pub use part::{PartReader, PartWriter};
pub use plan::{Force, Job, Options, Retention, Tier};
pub use queue::{Queue, QueueFrame, QueueOptions};
pub use sim::SimDisk;
pub use snapshot::{OpenPart, PartTag, Snapshot};
pub use store::{Stats, Store};
pub use table::{Change, Table, TableError};

#[cfg(test)]
mod golden;
