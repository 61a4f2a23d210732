//! Why the state metrics cannot be set up or a resource cannot be followed.

/// What went wrong; a variant is what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// An allow-list of labels or annotations that has another form.
    #[error("allow-list `{0}`: expected resource=[key,key],resource=[*]")]
    AllowList(String),
    /// A key of an allow-list with several wildcards.
    #[error("allow-list key `{0}`: expected at most one `*`")]
    Wildcards(String),
    /// A resource that has no metrics.
    #[error("resource `{0}`: expected one of {1}")]
    Resource(String, String),
    /// A regular expression that is none.
    #[error("metric pattern `{pattern}`: {reason}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// Where it fails.
        reason: String,
    },
    /// Settings that exclude each other or are out of range.
    #[error("{0}")]
    Setting(String),
    /// A configuration of custom resources that cannot be used.
    #[error("custom resource state: {0}")]
    Custom(String),
    /// The API server refused, or cannot be reached.
    #[error("{what}: {reason}")]
    Api {
        /// What was asked for.
        what: String,
        /// What came back.
        reason: String,
    },
}
