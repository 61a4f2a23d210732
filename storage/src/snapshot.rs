//! What a reader sees: the memories and parts of one tenant at one moment.
//!
//! Invariant: every acknowledged record is in exactly one memory or part of a snapshot, and stays
//! readable for as long as the snapshot lives, whatever flush, merge and retention do meanwhile.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use obs_model::{Matcher, Timestamp};

use crate::deletion::Hiding;
use crate::error::Corrupt;
use crate::kind::Kind;
use crate::part::PartReader;

/// A part together with what its signal keeps in memory about it.
pub struct OpenPart<K: Kind> {
    /// The bytes.
    pub reader: PartReader,
    /// What the signal made of them.
    pub part: K::Part,
}

impl<K: Kind> OpenPart<K> {
    /// Opens a part for its signal; refuses a part of another signal.
    pub fn open(reader: PartReader) -> Result<Self, Corrupt> {
        if reader.kind() != K::NAME {
            let expected = format!("a part of kind {}, found {}", K::NAME, reader.kind());
            return Err(Corrupt::new(reader.name(), 0, expected));
        }
        let part = K::open(reader.clone())?;
        Ok(Self { reader, part })
    }
}

impl<K: Kind> fmt::Debug for OpenPart<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenPart({:?})", self.reader)
    }
}

/// What the engine knows of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartTag {
    /// Nanoseconds that its rows stand for; 0 for rows as they came.
    pub tier: i64,
    /// Of flushed parts, the newest one that its rows come from.
    pub until: u64,
    /// A tier that stands for rows of which some are gone.
    pub closed: bool,
    /// The begin of its window.
    pub window: Timestamp,
}

/// The memories and parts of one tenant at one moment. Cheap to take and to clone; a reader holds
/// no lock. In order of arrival: all parts come before all memories, and both are sorted, oldest
/// first. (A merged part stands where its oldest input stood.)
pub struct Snapshot<K: Kind> {
    /// Sealed memories, oldest first, then the active one.
    pub memories: Vec<Arc<K::Memory>>,
    /// Parts, oldest arrival first.
    pub parts: Vec<Arc<OpenPart<K>>>,
    /// What the engine knows of each part; nothing where there is no engine.
    pub tags: Vec<PartTag>,
    /// Number of the manifest edit that this snapshot's parts come from; caches are keyed by it.
    pub manifest: u64,
    /// Rows of these memories and parts that are not to be found.
    pub hidden: Hiding<K>,
    /// What the labels of everything that is found must meet, besides what is asked for; for spans
    /// those of their resource.
    pub confined: Arc<[Matcher]>,
}

impl<K: Kind> Snapshot<K> {
    /// A snapshot without a store, for tests of a signal.
    pub fn from_parts(memories: Vec<K::Memory>, parts: Vec<PartReader>) -> Result<Self, Corrupt> {
        let open = |reader| OpenPart::open(reader).map(Arc::new);
        Ok(Self {
            memories: memories.into_iter().map(Arc::new).collect(),
            parts: parts.into_iter().map(open).collect::<Result<_, _>>()?,
            tags: Vec::new(),
            manifest: 0,
            hidden: Hiding::default(),
            confined: Arc::default(),
        })
    }
}

impl<K: Kind> Snapshot<K> {
    /// What the engine knows of a part.
    pub fn tag(&self, index: usize) -> PartTag {
        self.tags.get(index).copied().unwrap_or_default()
    }

    /// The days (UTC, counted from the epoch) that rows in memory lie in: each becomes a part.
    pub fn memory_days(&self) -> BTreeSet<i64> {
        let days = self.memories.iter().map(|memory| K::days(memory));
        days.reduce(|mut all, more| {
            all.extend(more);
            all
        })
        .unwrap_or_default()
    }
}

impl<K: Kind> Snapshot<K> {
    /// As if the store had only what meets these conditions.
    #[must_use]
    pub fn confined_to(mut self, matchers: Arc<[Matcher]>) -> Self {
        self.confined = matchers;
        self
    }

    /// All conditions of a read: those that it asks with and those that it is confined to.
    pub fn confine<'a>(&self, asked: &'a [Matcher]) -> Cow<'a, [Matcher]> {
        if self.confined.is_empty() {
            return Cow::Borrowed(asked);
        }
        // What is enforced comes first: it mostly names few rows.
        Cow::Owned(self.confined.iter().chain(asked).cloned().collect())
    }
}

impl<K: Kind> Snapshot<K> {
    /// One part of it, with what is hidden there; for tests that ask where rows lie.
    #[must_use]
    pub fn part_alone(&self, index: usize) -> Self {
        Self {
            memories: Vec::new(),
            parts: vec![Arc::clone(&self.parts[index])],
            tags: self.tags.get(index).copied().into_iter().collect(),
            manifest: self.manifest,
            hidden: self.hidden.part_alone(index),
            confined: Arc::clone(&self.confined),
        }
    }
}

impl<K: Kind> Clone for Snapshot<K> {
    fn clone(&self) -> Self {
        Self {
            memories: self.memories.clone(),
            parts: self.parts.clone(),
            tags: self.tags.clone(),
            manifest: self.manifest,
            hidden: self.hidden.clone(),
            confined: Arc::clone(&self.confined),
        }
    }
}

impl<K: Kind> fmt::Debug for Snapshot<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("memories", &self.memories.len())
            .field("parts", &self.parts)
            .field("manifest", &self.manifest)
            .finish()
    }
}
