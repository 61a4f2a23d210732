//! What can go wrong between this room and the API server.
//!
//! Invariant: a variant is a decision of the caller: change the configuration, try again later,
//! list again, or give up on this request.

use std::time::Duration;

/// Why a request to the API server, or a configuration of its client, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration names no usable API server; asking again does not help.
    #[error("kubernetes client from {place}: {fault}")]
    Config {
        /// Where the configuration came from.
        place: String,
        /// What is wrong with it.
        fault: String,
    },
    /// No answer came.
    #[error("{path}: no answer from the API server: {fault}")]
    Unreachable {
        /// What was asked for.
        path: String,
        /// What the connection said.
        fault: String,
    },
    /// No answer came in time.
    #[error("{path}: no answer from the API server within {} s", deadline.as_secs_f64())]
    TimedOut {
        /// What was asked for.
        path: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// The resource version is not known any more (410 Gone): list again.
    #[error("{path}: {message}")]
    Expired {
        /// What was asked for.
        path: String,
        /// What the server said.
        message: String,
    },
    /// The server answered with an error.
    #[error(
        "{path}: API server answered {status}{}: {message}",
        reason_text(reason)
    )]
    Refused {
        /// What was asked for.
        path: String,
        /// HTTP status.
        status: u16,
        /// `reason` of the answer's Status object.
        reason: String,
        /// Its message.
        message: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is larger than what is read.
    #[error("{path}: answer of more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        path: String,
        /// The bound.
        limit: usize,
    },
    /// The answer is not what the API promises.
    #[error("{path}: {fault}")]
    Malformed {
        /// What was asked for.
        path: String,
        /// Expectation and what was found.
        fault: String,
    },
}

fn reason_text(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(" {reason}"),
    }
}

impl Error {
    /// The HTTP status, where the server gave one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Expired { .. } => Some(410),
            Self::Config { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => None,
        }
    }

    /// How long the server asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Config { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Expired { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => None,
        }
    }
}
