//! The labels that are put on what leaves this process, and do not stand there yet.
//!
//! Invariant: all who put them see the same ones; a reload changes them for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_model::Labels;

/// A handle on the external labels.
#[derive(Clone, Debug, Default)]
pub struct External(Arc<Mutex<Labels>>);

impl External {
    fn lock(&self) -> MutexGuard<'_, Labels> {
        // Every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As they are now.
    pub fn get(&self) -> Labels {
        self.lock().clone()
    }

    /// Others hold from now on.
    pub fn set(&self, labels: Labels) {
        *self.lock() = labels;
    }
}

impl From<Labels> for External {
    fn from(labels: Labels) -> Self {
        Self(Arc::new(Mutex::new(labels)))
    }
}

impl From<&Labels> for External {
    fn from(labels: &Labels) -> Self {
        labels.clone().into()
    }
}

impl From<&External> for External {
    fn from(external: &External) -> Self {
        external.clone()
    }
}
