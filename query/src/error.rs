//! Why a query did not parse or did not run. Texts are lower-case and name place and expectation.

use obs_model::BudgetError;

/// A query text is not of the language: where, what should stand there and what does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: expected {expected}, found {found}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What could stand there.
    pub expected: String,
    /// What stands there: a quoted token, a type, or `end of query`.
    pub found: String,
}

impl ParseError {
    /// An error at a byte offset of the text.
    pub fn at(
        text: &str,
        offset: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let place = Place::of(text, offset);
        Self {
            line: place.line,
            column: place.column,
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// A place in a query text, for annotations; displays as `line:column`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The place of a byte offset. An offset inside a character counts as that character.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let lines = before.iter().filter(|b| **b == b'\n').count();
        // Every byte but the continuation bytes of UTF-8 starts a character.
        let characters = before[line_start..].iter().filter(|b| **b & 0xc0 != 0x80);
        Self {
            line: u32::try_from(lines + 1).unwrap_or(u32::MAX),
            column: u32::try_from(characters.count() + 1).unwrap_or(u32::MAX),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a query gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The text is not of the language.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The text is fine, but not for the kind of request; for example a range vector as a graph.
    #[error("{0}")]
    Unsuitable(String),
    /// A limit was reached, the deadline passed or the client left.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The text is fine, but the data or the request do not allow an answer; for example a
    /// many-to-many match. The texts are Prometheus'.
    #[error("{0}")]
    Execution(String),
    /// Stored bytes are damaged.
    #[error("{0}")]
    Corrupt(String),
}

impl From<obs_tsdb::SelectError> for QueryError {
    fn from(error: obs_tsdb::SelectError) -> Self {
        match error {
            obs_tsdb::SelectError::Budget(error) => Self::Budget(error),
            obs_tsdb::SelectError::Corrupt(error) => Self::Corrupt(error.to_string()),
        }
    }
}

impl From<obs_logstore::SelectError> for QueryError {
    fn from(error: obs_logstore::SelectError) -> Self {
        match error {
            obs_logstore::SelectError::Budget(error) => Self::Budget(error),
            obs_logstore::SelectError::Corrupt(error) => Self::Corrupt(error.to_string()),
        }
    }
}

impl From<obs_tracestore::SelectError> for QueryError {
    fn from(error: obs_tracestore::SelectError) -> Self {
        match error {
            obs_tracestore::SelectError::Budget(error) => Self::Budget(error),
            obs_tracestore::SelectError::Corrupt(error) => Self::Corrupt(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters() {
        let error = ParseError::at("a\nüb]", 5, "duration", "\"]\"");
        assert_eq!(error.to_string(), "2:3: expected duration, found \"]\"");
        assert_eq!(Place::of("", 7).to_string(), "1:1");
    }
}
