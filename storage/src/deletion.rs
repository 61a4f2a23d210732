//! Rows that are not to be found any more although they are on disk: those that a deletion selects
//! and those of series that are kept for a shorter time than the rest.
//!
//! Invariants: a deletion hides what had arrived when it was asked for and nothing that arrives
//! later, wherever flushes and merges put either; it is durable before it is acknowledged; it is
//! forgotten only when no row that it concerns is left. See decision 0080.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use obs_model::{Tenant, TimeRange, Timestamp};

use crate::error::{DeleteError, JobError};
use crate::jobs::manifest_folder;
use crate::kind::Kind;
use crate::manifest::{DeletionEntry, Edit, Manifest};
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::view::{Sealed, View};

/// Deletions that may wait for their rows to go: bounds the manifest and the work of each read.
pub const DELETIONS_MAX: usize = 1000;
/// Bytes of one selector; matchers of a request are far below.
pub const SELECTOR_BYTES_MAX: usize = 64 << 10;
/// The number of what concerns every row, whenever it arrived.
const ALWAYS: u64 = u64::MAX;

/// Rows that are hidden: those that the selector takes, inside the range.
pub struct Hidden<K: Kind> {
    /// Concerns sources whose first deletion is at most this.
    number: u64,
    /// Which rows.
    pub selector: Arc<K::Selector>,
    /// When they are.
    pub range: TimeRange,
}

impl<K: Kind> Hidden<K> {
    /// Rows that are hidden whenever they arrived.
    pub fn new(selector: K::Selector, range: TimeRange) -> Self {
        Self {
            number: ALWAYS,
            selector: Arc::new(selector),
            range,
        }
    }
}

impl<K: Kind> Clone for Hidden<K> {
    fn clone(&self) -> Self {
        Self {
            number: self.number,
            selector: Arc::clone(&self.selector),
            range: self.range,
        }
    }
}

impl<K: Kind> fmt::Debug for Hidden<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({}, {:?})", self.number, self.range)
    }
}

/// What is hidden in each source of a snapshot; by default nothing.
pub struct Hiding<K: Kind> {
    /// Ascending by number.
    list: Vec<Hidden<K>>,
    /// By part and by memory: the first deletion that may concern it.
    parts: Vec<u64>,
    memories: Vec<u64>,
}

impl<K: Kind> Default for Hiding<K> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            parts: Vec::new(),
            memories: Vec::new(),
        }
    }
}

impl<K: Kind> Clone for Hiding<K> {
    fn clone(&self) -> Self {
        Self {
            list: self.list.clone(),
            parts: self.parts.clone(),
            memories: self.memories.clone(),
        }
    }
}

impl<K: Kind> fmt::Debug for Hiding<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.list).finish()
    }
}

impl<K: Kind> Hiding<K> {
    /// Whether nothing is hidden anywhere.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Everything that is hidden in some source.
    pub fn all(&self) -> &[Hidden<K>] {
        &self.list
    }

    /// What is hidden in one part, where it is the only source.
    pub(crate) fn part_alone(&self, index: usize) -> Self {
        Self {
            list: self.in_part(index).to_vec(),
            ..Self::default()
        }
    }

    /// What is hidden in the part of this index in the snapshot.
    pub fn in_part(&self, index: usize) -> &[Hidden<K>] {
        concerning(&self.list, self.parts.get(index).copied().unwrap_or(0))
    }

    /// What is hidden in the memory of this index in the snapshot.
    pub fn in_memory(&self, index: usize) -> &[Hidden<K>] {
        concerning(&self.list, self.memories.get(index).copied().unwrap_or(0))
    }
}

/// Those of a list that concern a source.
pub(crate) fn concerning<K: Kind>(list: &[Hidden<K>], from: u64) -> &[Hidden<K>] {
    &list[list.partition_point(|hidden| hidden.number < from)..]
}

/// Rows of any tenant that are kept for a shorter time than others. Where several select a row, the
/// shortest counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Which rows, as the signal writes it.
    pub selector: Vec<u8>,
    /// Nanoseconds after which they may go.
    pub age: i64,
}

/// A deletion in the view.
pub(crate) struct Deletion<K: Kind> {
    tenant: Tenant,
    hidden: Hidden<K>,
}

/// What the view knows about hidden rows.
pub(crate) struct Deletions<K: Kind> {
    /// Ascending by number.
    list: Vec<Deletion<K>>,
    /// Selectors and ages of the rules.
    rules: Vec<(Arc<K::Selector>, i64)>,
    /// The last time that upkeep was told: ages are counted from it.
    pub(crate) now: Timestamp,
}

impl<K: Kind> Default for Deletions<K> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            rules: Vec::new(),
            now: Timestamp::MIN,
        }
    }
}

impl<K: Kind> Deletions<K> {
    /// The deletions of a manifest.
    pub(crate) fn open(manifest: &Manifest) -> Result<Self, crate::Corrupt> {
        let mut deletions = Self::default();
        for entry in manifest.deletions.values() {
            let selector = K::selector(&entry.selector)
                .map_err(|error| error.inside(&manifest_folder::<K>()))?;
            deletions.push(entry, Arc::new(selector));
        }
        Ok(deletions)
    }

    fn push(&mut self, entry: &DeletionEntry, selector: Arc<K::Selector>) {
        self.list.push(Deletion {
            tenant: entry.tenant.clone(),
            hidden: Hidden {
                number: entry.number,
                selector,
                range: entry.range,
            },
        });
    }

    /// Forgets the deletions that the manifest has forgotten.
    pub(crate) fn retain_known(&mut self, manifest: &Manifest) {
        let known = |d: &Deletion<K>| manifest.deletions.contains_key(&d.hidden.number);
        self.list.retain(known);
    }

    /// What is hidden of a tenant, ascending by number.
    pub(crate) fn of(&self, tenant: &Tenant) -> Vec<Hidden<K>> {
        let deleted = self.list.iter().filter(|d| d.tenant == *tenant);
        let aged = self.rules.iter().map(|(selector, age)| Hidden {
            number: ALWAYS,
            selector: Arc::clone(selector),
            range: TimeRange::new(Timestamp::MIN, self.first_kept(*age) - 1),
        });
        let aged = aged.filter(|hidden| hidden.range.end > Timestamp::MIN);
        deleted.map(|d| d.hidden.clone()).chain(aged).collect()
    }

    fn first_kept(&self, age: i64) -> Timestamp {
        self.now.saturating_sub(age)
    }

    /// Whether a deletion concerns rows of a tenant that are in a range.
    pub(crate) fn concern(&self, tenant: &Tenant, from: u64, range: TimeRange) -> bool {
        self.list.iter().any(|d| {
            d.hidden.number >= from && d.tenant == *tenant && d.hidden.range.overlaps(range)
        })
    }

    /// How many rules have passed the end of a range.
    pub(crate) fn rules_beyond(&self, range: TimeRange) -> usize {
        let beyond = |(_, age): &&(Arc<K::Selector>, i64)| range.end < self.first_kept(*age);
        self.rules.iter().filter(beyond).count()
    }
}

impl<K: Kind> View<K> {
    /// What is hidden in the sources of a snapshot.
    pub(crate) fn hiding(&self, tenant: &Tenant) -> Hiding<K> {
        let list = self.deletions.of(tenant);
        if list.is_empty() {
            return Hiding::default();
        }
        let sealed = self.sealed.iter();
        let sealed = sealed.filter(|s| s.memories.contains_key(tenant));
        let active = self.active.get(tenant).map(|_| ALWAYS);
        let parts = self.parts.get(tenant).map_or(&[][..], Vec::as_slice);
        Hiding {
            list,
            parts: parts.iter().map(|p| p.entry.deletions_from).collect(),
            memories: sealed.map(|s| s.deletions_from).chain(active).collect(),
        }
    }

    /// Whether a deletion concerns memory that waits to become parts.
    pub(crate) fn deletes_in_memory(&self) -> bool {
        let concerns = |sealed: &Sealed<K>, tenant: &Tenant, memory: &K::Memory| {
            let from = sealed.deletions_from;
            K::range(memory).is_some_and(|range| self.deletions.concern(tenant, from, range))
        };
        self.sealed.iter().any(|sealed| {
            let mut memories = sealed.memories.iter();
            memories.any(|(tenant, memory)| concerns(sealed, tenant, memory))
        })
    }
}

impl<K: Kind> Store<K> {
    /// Deletes the rows of a tenant that a selector of its signal takes, inside a range. They are
    /// hidden when this returns, for ever; the next merges take them from the disk. Rows that
    /// arrive later are not concerned. Waits for the job that runs now.
    pub fn delete(
        &self,
        tenant: &Tenant,
        selector: &[u8],
        range: TimeRange,
    ) -> Result<(), DeleteError> {
        if selector.len() > SELECTOR_BYTES_MAX {
            return Err(DeleteError::TooLarge {
                bytes: selector.len(),
                limit: SELECTOR_BYTES_MAX,
            });
        }
        let parsed = Arc::new(K::selector(selector)?);
        let mut upkeep = self.upkeep.lock();
        if let Some(reason) = self.poisoned() {
            return Err(JobError::Poisoned(reason.to_owned()).into());
        }
        if upkeep.manifest.deletions.len() >= DELETIONS_MAX {
            return Err(DeleteError::TooMany {
                limit: DELETIONS_MAX,
            });
        }
        upkeep.reserve.fill(&*self.disk);
        let number = upkeep.manifest.next_deletion;
        // What arrives from here on goes into another memory and into later segments.
        let journal_before = self.seal(number)?;
        if !self.view.read().has_rows(tenant, range) {
            return Ok(());
        }
        let entry = DeletionEntry {
            number,
            tenant: tenant.clone(),
            range,
            journal_before,
            selector: selector.into(),
        };
        let edit = Edit {
            deleted: vec![entry.clone()],
            ..Edit::default()
        };
        match self.commit(&mut upkeep, edit.clone(), &[]) {
            Err(JobError::DiskFull(_)) => {
                upkeep.reserve.give_up(&*self.disk);
                self.commit(&mut upkeep, edit, &[])?;
            }
            result => result?,
        }
        let mut view = self.view.write();
        view.deletions.push(&entry, parsed);
        view.show(&upkeep.manifest, &[], Vec::new());
        Ok(())
    }

    /// Deletions whose rows are not all gone from the disk.
    pub fn deletions(&self) -> usize {
        self.view.read().deletions.list.len()
    }

    /// Sets which rows are kept for a shorter time than the rest; ages are counted from `now` until
    /// upkeep is told another time.
    pub fn set_retention_rules(
        &self,
        rules: &[RetentionRule],
        now: Timestamp,
    ) -> Result<(), DeleteError> {
        let parse = |rule: &RetentionRule| Ok((Arc::new(K::selector(&rule.selector)?), rule.age));
        let rules: Result<Vec<_>, crate::Corrupt> = rules.iter().map(parse).collect();
        let rules = rules?;
        let mut view = self.view.write();
        view.deletions.rules = rules;
        view.deletions.now = now;
        drop(view);
        self.forget_settled();
        Ok(())
    }

    /// Tells the time that ages of rules are counted from.
    pub(crate) fn set_now(&self, now: Timestamp) {
        let view = self.view.read();
        let matters = !view.deletions.rules.is_empty() || !self.options.tiers.is_empty();
        let same = view.deletions.now == now;
        drop(view);
        if matters && !same {
            self.view.write().deletions.now = now;
        }
    }
}

impl<K: Kind> Snapshot<K> {
    /// The same snapshot where rows are hidden in every source, for tests of a signal.
    #[must_use]
    pub fn with_hidden(mut self, hidden: Vec<Hidden<K>>) -> Self {
        self.hidden = Hiding {
            list: hidden,
            ..Hiding::default()
        };
        self
    }
}

/// The first deletion that may concern the rows of a journal segment.
pub(crate) fn first_concerning(manifest: &Manifest, segment: u64) -> u64 {
    let deletions: &BTreeMap<u64, DeletionEntry> = &manifest.deletions;
    let concerns = |d: &&DeletionEntry| d.journal_before > segment;
    let first = deletions.values().find(concerns).map(|d| d.number);
    first.unwrap_or(manifest.next_deletion)
}
