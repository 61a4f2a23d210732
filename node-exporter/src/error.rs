//! Why a collector gave nothing.

use std::io::ErrorKind;
use std::path::PathBuf;

/// A collector failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// What the collector reads is not on this machine; no fault of anyone.
    #[error("no data: {0}")]
    NoData(&'static str),
    /// A file of the kernel could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the kernel does not have its known form.
    #[error("{file}:{line}: expected {expected}")]
    Form {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A call of the operating system or of one of its services failed.
    #[error("{call} failed: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl CollectError {
    /// A line that does not have its known form.
    pub(crate) fn form(file: &str, line_index: usize, expected: &'static str) -> Self {
        Self::Form {
            file: file.to_owned(),
            line: line_index + 1,
            expected,
        }
    }

    /// A call that failed.
    pub(crate) fn system(call: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::System {
            call,
            source: source.into(),
        }
    }

    fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Read { source, .. } => Some(source.kind()),
            Self::NoData(_) | Self::Form { .. } | Self::System { .. } => None,
        }
    }

    /// Whether the file is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(
            self.kind(),
            Some(ErrorKind::NotFound | ErrorKind::NotADirectory)
        )
    }

    /// Whether the file is not for us.
    pub(crate) fn is_denied(&self) -> bool {
        self.kind() == Some(ErrorKind::PermissionDenied)
    }

    /// A file that is not there means that the machine does not have the thing.
    pub(crate) fn absent_is_no_data(self, what: &'static str) -> Self {
        if self.is_absent() {
            Self::NoData(what)
        } else {
            self
        }
    }
}

/// A flag that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// The flag is not known.
    #[error("unknown flag --{0}")]
    Unknown(String),
    /// The value cannot be taken.
    #[error("--{flag}: {reason}")]
    Value {
        /// The flag, without the dashes.
        flag: String,
        /// What is wrong.
        reason: String,
    },
    /// Two flags exclude each other.
    #[error("--{0} and --{1} are mutually exclusive")]
    Exclusive(String, String),
    /// A collector of node_exporter that obs does not have.
    #[error("collector {0} is not part of obs")]
    NotHere(String),
    /// No collector has this name.
    #[error("missing collector: {0}")]
    Missing(String),
    /// The collector is not turned on.
    #[error("disabled collector: {0}")]
    Disabled(String),
}
