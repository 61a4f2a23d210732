//! Why a read of metrics failed.

use obs_model::BudgetError;
use obs_storage::Corrupt;

/// A select did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The query may not go on: tell its user.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// A part is damaged: set it aside and ask again.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}
