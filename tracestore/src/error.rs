//! Why a read of the trace store fails.

use obs_model::BudgetError;
use obs_storage::Corrupt;

/// A read could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The query may not go on: tell the client which limit, or that it left.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// Stored bytes are damaged: name the part.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}
