//! The errors of the engine. Each variant is a decision that the caller can take: wait for space,
//! refuse, name the damaged place, or stop.

use std::fmt;

/// Bytes that are not what they must be: where, and what was expected there.
/// Corrupt bytes are never served; whoever gets this drops the part or refuses the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} is corrupt at byte {offset}: expected {expected}")]
pub struct Corrupt {
    /// The file, and the section or structure in it.
    pub place: String,
    /// Byte offset inside `place`.
    pub offset: u64,
    /// What should have been there.
    pub expected: String,
}

impl Corrupt {
    /// Names a damaged place.
    pub fn new(place: impl Into<String>, offset: u64, expected: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            offset,
            expected: expected.into(),
        }
    }

    /// The same finding, inside a larger place: `outer/place`.
    #[must_use]
    pub fn inside(mut self, outer: &str) -> Self {
        self.place = format!("{outer}/{}", self.place);
        self
    }
}

/// An operation of the disk that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No space or quota is left; it may return.
    #[error("disk full while writing {path}")]
    Full {
        /// The file that was written.
        path: String,
    },
    /// The file does not exist.
    #[error("{path} does not exist")]
    Missing {
        /// The file that was asked for.
        path: String,
    },
    /// The file exists already and was to be created.
    #[error("{path} exists already")]
    Exists {
        /// The file that was to be created.
        path: String,
    },
    /// Another process has the data directory open.
    #[error("data directory {path} is in use by another process")]
    Locked {
        /// The data directory.
        path: String,
    },
    /// Data may or may not have reached the disk, and asking again cannot tell.
    #[error("sync of {path} failed: {reason}")]
    Sync {
        /// The file or folder that was synced.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Anything else that the system refuses.
    #[error("{operation} {path} failed: {reason}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// The file it was tried on.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// Why records were not taken. Unless the variant says otherwise nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No space is left for the journal; the same call succeeds once there is space again.
    #[error("disk full: the journal cannot grow; free space or shorten the retention")]
    DiskFull,
    /// Memory waits for a flush that does not come; try again later.
    #[error("memory holds {bytes} bytes that wait to be flushed, limit {limit}; try again later")]
    MemoryFull {
        /// Bytes in memory now.
        bytes: u64,
        /// The limit, `Options::memory_bytes_max`.
        limit: u64,
    },
    /// The records of one call are larger than a journal frame may be; send fewer at once.
    #[error("one write of {bytes} bytes exceeds the limit of {limit}; send fewer records at once")]
    TooLarge {
        /// Bytes of the call.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// An earlier sync failed, so that the disk's state is unknown; only a restart helps.
    #[error("the store takes no more writes until a restart: {0}")]
    Poisoned(String),
    /// The signal cannot read its own record. It is journaled, and will be reported at replay.
    #[error("a record is not readable by its own signal: {0}")]
    Record(Corrupt),
    /// The disk refused for another reason; try again later.
    #[error("the journal cannot be written: {0}")]
    Disk(DiskError),
}

/// Why a store did not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The manifest is damaged: which parts exist is unknown, so nothing is served.
    #[error("the manifest is damaged, restore it from a backup: {0}")]
    Manifest(Corrupt),
    /// A job that replay needs to stay within its memory failed.
    #[error("replay of the journal failed: {0}")]
    Replay(#[from] JobError),
}

/// Why a job failed. The store is as it was before, unless it is poisoned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// No space is left; the job can run again when there is.
    #[error("disk full while writing {0}")]
    DiskFull(String),
    /// A part or memory could not be read; a part at fault is in quarantine now.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// An earlier sync failed, so that the disk's state is unknown; only a restart helps.
    #[error("the store takes no more writes until a restart: {0}")]
    Poisoned(String),
    /// The disk refused for another reason; the job can run again.
    #[error(transparent)]
    Disk(DiskError),
}

/// Why rows were not deleted. Nothing happened, unless the store is poisoned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// The deletion could not be written.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The signal does not read the selector.
    #[error("the selector of a deletion is not readable by its signal: {0}")]
    Selector(#[from] Corrupt),
    /// The selector is larger than what is kept of one.
    #[error("the selector of a deletion has {bytes} bytes, limit {limit}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Deletions wait for merges; try again when upkeep has gone on, or ask for a merge.
    #[error("{limit} deletions wait for their rows to go from the disk; merge first")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// Why no copy of a store was made. The store is as it was before, unless it is poisoned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Memory could not become parts, or the disk refused.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The folder is not one below the data directory.
    #[error("{0:?} is no folder for a copy: expected names of letters, digits, `-`, `_` and `.`")]
    Folder(String),
    /// There is a copy already.
    #[error("{0} exists already")]
    Exists(String),
}

/// Something that was found damaged and set aside. Its bytes are kept for inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Where the bytes are now, relative to the data directory.
    pub path: String,
    /// What was wrong with them.
    pub reason: String,
}

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}
