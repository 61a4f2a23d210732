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

pub mod blob;
pub mod codec;
mod cursor;
pub mod disk;
pub mod part;

pub use blob::Blob;
pub use disk::{Disk, RealDisk};
pub use error::{Corrupt, DiskError};
pub use kind::Kind;
pub use part::{PartReader, PartWriter};
pub use snapshot::{OpenPart, Snapshot};
