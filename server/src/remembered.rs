//! Answers of others that hold for a while.
//!
//! Invariant: there are never more than [`REMEMBERED_MAX`], none is given after its time,
//! and the oldest go first.

use std::collections::HashMap;
use std::hash::Hash;

use obs_model::Timestamp;
use obs_model::time::NANOS_PER_SECOND;
use parking_lot::Mutex;

use crate::clock;

/// How long an answer holds, in nanoseconds.
const HOLDS: i64 = 10 * NANOS_PER_SECOND;
/// Answers that are remembered.
const REMEMBERED_MAX: usize = 4096;

/// Answers that hold for a while.
#[derive(Debug)]
pub(crate) struct Remembered<K, V>(Mutex<HashMap<K, (Timestamp, V)>>);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    /// What was answered, if that holds still.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let known = self.0.lock();
        let (until, value) = known.get(key)?;
        (clock::now() < *until).then(|| value.clone())
    }

    /// This was answered.
    pub(crate) fn put(&self, key: K, value: V) {
        let now = clock::now();
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() >= REMEMBERED_MAX {
            let mut ends: Vec<Timestamp> = known.values().map(|(until, _)| *until).collect();
            ends.sort_unstable();
            let oldest = ends.get(REMEMBERED_MAX / 8).copied();
            known.retain(|_, (until, _)| oldest.is_none_or(|oldest| *until > oldest));
        }
        known.insert(key, (now + HOLDS, value));
    }
}
