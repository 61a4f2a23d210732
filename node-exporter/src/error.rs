//! Why a collector gave nothing.

use std::path::PathBuf;

/// A collector failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
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
        file: &'static str,
        /// Line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A call of the operating system failed.
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
    pub(crate) fn form(file: &'static str, line_index: usize, expected: &'static str) -> Self {
        Self::Form {
            file,
            line: line_index + 1,
            expected,
        }
    }
}
