//! Why a query did not parse or did not run. Texts are lower-case and name place and expectation.

use obs_model::BudgetError;

/// A query text is not of the language: where, and what should stand there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// Where; nothing where the text is empty.
    pub place: Option<Place>,
    /// What is wrong.
    pub text: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            Some(place) => write!(f, "{place}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl ParseError {
    /// An error at a byte offset of the text.
    pub fn at(
        text: &str,
        offset: usize,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        Self {
            place: Some(Place::of(text, offset)),
            text: format!("expected {expected}, found {found}"),
        }
    }

    /// An error of LogQL, in Loki's words; where both numbers are 0 there is no place.
    pub fn logql(line: u32, column: u32, message: impl std::fmt::Display) -> Self {
        let place = match (line, column) {
            (0, 0) => " ".to_owned(),
            _ => format!(" at line {line}, col {column}"),
        };
        Self {
            place: None,
            text: format!("parse error{place}: {message}"),
        }
    }

    /// An error of PromQL, in Prometheus' words and with its columns.
    pub fn promql(text: &str, offset: usize, message: impl std::fmt::Display) -> Self {
        let place = (!text.is_empty()).then(|| Place::of_bytes(text, offset));
        let unknown = if place.is_none() {
            "unknown position: "
        } else {
            ""
        };
        Self {
            place,
            text: format!("{unknown}parse error: {message}"),
        }
    }
}

/// A place in a query text, for annotations; displays as `line:column`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; in characters, in PromQL in bytes.
    pub column: u32,
}

impl Place {
    /// The place of a byte offset as Prometheus counts: in bytes.
    pub fn of_bytes(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let lines = before.iter().filter(|b| **b == b'\n').count();
        Self {
            line: u32::try_from(lines + 1).unwrap_or(u32::MAX),
            column: u32::try_from(before.len() - line_start + 1).unwrap_or(u32::MAX),
        }
    }

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
        assert_eq!(Place::of_bytes("a\nüb]", 5).to_string(), "2:4");
        let error = ParseError::promql("", 0, "no expression found in input");
        assert_eq!(
            error.to_string(),
            "unknown position: parse error: no expression found in input"
        );
    }
}
