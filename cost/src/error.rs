//! What is wrong with the words of a caller or of a price file.

use thiserror::Error;

/// Why prices, a window, an aggregation or a filter cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CostError {
    /// The window is not one of the forms.
    #[error("illegal window: {0}")]
    Window(String),
    /// Not a property by which costs are added up.
    #[error("invalid allocation property: {0}")]
    Property(String),
    /// A filter that cannot be read; the position counts bytes from 1.
    #[error("filter, at byte {at}: expected {expected}")]
    Filter {
        /// Where.
        at: usize,
        /// What would have been right.
        expected: String,
    },
    /// A line of a price file that cannot be read.
    #[error("prices, line {line}: {message}")]
    Prices {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Another parameter.
    #[error("{0}")]
    Invalid(String),
}
