//! The series that memory knows: their labels, numbers, and the index over them.
//!
//! A registry outlives one memory: when memory is sealed to be flushed, the next one goes on with
//! the same numbers, so that series which live on are not registered again and take no second
//! copy. It ends when too many of its series are idle; see [`Memory::follow`](super::Memory::follow).
//! Invariant: series are only added, a number means the same series as long as the registry lives.

use std::sync::{Arc, Weak};

use hashbrown::HashTable;
use obs_model::Labels;
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64;

use super::index::HeadIndex;

/// Series by number and by label.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    labels: Vec<Labels>,
    by_labels: HashTable<u32>,
    pub(super) index: HeadIndex,
    /// The first journal segment of its first memory; 0 before there is one.
    pub(crate) epoch: u64,
    /// The registry before this one, while a memory has it, and how many series of this one it
    /// knows too.
    pub(super) earlier: Weak<RwLock<Registry>>,
    pub(super) repeated: usize,
    bytes: usize,
}

impl Registry {
    /// An empty one that takes the place of another.
    pub(super) fn after(earlier: &Arc<RwLock<Self>>) -> Self {
        Self {
            earlier: Arc::downgrade(earlier),
            ..Self::default()
        }
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The labels of a series of this registry.
    pub(crate) fn labels(&self, id: u32) -> &Labels {
        &self.labels[id as usize]
    }

    /// The labels of a series, if the number is one.
    pub(crate) fn get(&self, id: u32) -> Option<&Labels> {
        self.labels.get(id as usize)
    }

    /// The number of a series that is known.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        let same = |id: &u32| self.labels[*id as usize] == *labels;
        self.by_labels.find(xxh3_64(labels.packed()), same).copied()
    }

    /// Adds a series that is not known; gives its number.
    pub(super) fn add(&mut self, labels: Labels) -> u32 {
        let id = u32::try_from(self.labels.len()).expect("limits keep series below 2^32");
        self.bytes += self.index.add(id, &labels) + labels.packed().len() + 16 + 16 + 8;
        let hash = xxh3_64(labels.packed());
        self.labels.push(labels);
        let all = &self.labels;
        let rehash = |id: &u32| xxh3_64(all[*id as usize].packed());
        self.by_labels.insert_unique(hash, id, rehash);
        id
    }

    /// Estimate of the resident bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
