//! The one error of all decoders. Each variant is a decision of the caller: 413, 400 or 415.

use std::fmt;

/// Where in the input a fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Offset in bytes from the begin, for binary formats.
    Byte(usize),
    /// Line and column of a text, both counted from 1; the column in bytes.
    Line {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A path to an element, such as `timeseries[3].labels[1]`.
    Path(String),
}

impl Position {
    /// Line and column of a byte offset in a text.
    pub fn in_text(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |n| n + 1);
        Self::Line {
            line,
            column: before.len() - start + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(offset) => write!(f, "byte {offset}"),
            Self::Line { line, column } => write!(f, "{line}:{column}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

/// Why foreign bytes were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A bound was reached (HTTP 413).
    #[error(
        "{format} exceeds the limit {limit} of {max}; send less at once or raise obs.limits.{limit}"
    )]
    TooLarge {
        /// What was read.
        format: &'static str,
        /// Name of the limit in `obs_model::limits::Limits`.
        limit: &'static str,
        /// Its value.
        max: u64,
    },
    /// The bytes are not what they should be (HTTP 400).
    #[error("{format} is malformed at {position}: expected {expected}")]
    Malformed {
        /// What was read.
        format: &'static str,
        /// Where the fault is.
        position: Position,
        /// What should stand there, and what was found where that helps.
        expected: String,
    },
    /// A format, encoding or version that is not spoken here (HTTP 415).
    #[error("{what} is not supported, expected {expected}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What is spoken instead.
        expected: &'static str,
    },
}

impl WireError {
    /// A fault at a byte offset.
    pub fn at_byte(format: &'static str, offset: usize, expected: impl Into<String>) -> Self {
        Self::Malformed {
            format,
            position: Position::Byte(offset),
            expected: expected.into(),
        }
    }

    /// A fault at a path.
    pub fn at_path(
        format: &'static str,
        path: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Malformed {
            format,
            position: Position::Path(path.into()),
            expected: expected.into(),
        }
    }

    /// A bound was reached.
    pub fn too_large(format: &'static str, limit: &'static str, max: usize) -> Self {
        Self::TooLarge {
            format,
            limit,
            max: max as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, offset: usize, expect: &str) {
        let position = Position::in_text(text.as_bytes(), offset);
        assert_eq!(position.to_string(), expect, "{text:?} at {offset}");
    }

    #[test]
    fn positions_count_from_one() {
        check("", 0, "1:1");
        check("ab\ncd", 1, "1:2");
        check("ab\ncd", 3, "2:1");
        check("ab\ncd", 4, "2:2");
        check("ab\ncd\n", 6, "3:1");
        check("ab", 99, "1:3");
    }

    #[test]
    fn texts_name_place_and_expectation() {
        let error = WireError::at_byte("snappy block", 3, "a literal of 5 bytes");
        assert_eq!(
            error.to_string(),
            "snappy block is malformed at byte 3: expected a literal of 5 bytes"
        );
        let error = WireError::too_large("gzip stream", "decompressed_bytes_max", 10);
        assert_eq!(
            error.to_string(),
            "gzip stream exceeds the limit decompressed_bytes_max of 10; \
             send less at once or raise obs.limits.decompressed_bytes_max"
        );
    }
}
