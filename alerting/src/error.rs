//! Why a file was not taken, and why a rule gave nothing.

use obs_query::QueryError;

/// A fault of a file: where, and what was expected. Line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// Line and column, where known.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl From<serde_yaml_ng::Error> for FileError {
    fn from(error: serde_yaml_ng::Error) -> Self {
        let position = error.location().map(|l| (l.line(), l.column()));
        let text = error.to_string();
        let tail = position.map(|(line, column)| format!(" at line {line} column {column}"));
        let message = match tail.and_then(|tail| text.strip_suffix(&tail).map(str::to_owned)) {
            Some(short) => short,
            None => text,
        };
        Self { position, message }
    }
}

/// Why a rule wrote nothing this time. Its alerts stay as they were, but for [`Self::Limit`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The query failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The answer is no vector and no scalar.
    #[error("rule result is not a vector or scalar")]
    Shape,
    /// Two elements of the answer are the same alert.
    #[error("vector contains metrics with the same labelset after applying alert labels: {0}")]
    SameAlert(obs_model::Labels),
    /// Two elements of the answer are the same series.
    #[error("vector contains metrics with the same labelset after applying rule labels: {0}")]
    SameSeries(obs_model::Labels),
    /// More than the group's limit; all alerts of the rule are gone.
    #[error("exceeded limit of {limit} with {found} {what}")]
    Limit {
        /// The limit.
        limit: usize,
        /// How many there were.
        found: usize,
        /// `alerts` or `series`.
        what: &'static str,
    },
}
