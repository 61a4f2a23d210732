//! What readers may see now: active memory, sealed memory and parts of every tenant.
//!
//! Invariant: behind one lock that is held for pointer work only, never across the disk; every
//! acknowledged record is in exactly one of the three.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_model::{Tenant, TimeRange};

use crate::deletion::Deletions;
use crate::kind::Kind;
use crate::manifest::{Manifest, PartEntry};
use crate::plan::window_of;
use crate::snapshot::{OpenPart, PartTag, Snapshot};

/// Memory that takes no more records and waits to become parts.
pub(crate) struct Sealed<K: Kind> {
    pub(crate) memories: BTreeMap<Tenant, Arc<K::Memory>>,
    /// The first journal segment that holds none of its records.
    pub(crate) journal_from: u64,
    pub(crate) bytes: u64,
    /// The first deletion that may concern its rows.
    pub(crate) deletions_from: u64,
}

/// A part in the view.
pub(crate) struct Held<K: Kind> {
    pub(crate) entry: PartEntry,
    pub(crate) open: Arc<OpenPart<K>>,
}

/// Everything that readers see.
pub(crate) struct View<K: Kind> {
    pub(crate) active: BTreeMap<Tenant, Arc<K::Memory>>,
    /// Oldest first.
    pub(crate) sealed: Vec<Arc<Sealed<K>>>,
    /// In order of arrival.
    pub(crate) parts: BTreeMap<Tenant, Vec<Held<K>>>,
    pub(crate) manifest: u64,
    /// Nanoseconds of a window.
    pub(crate) window: i64,
    /// What of all that is not to be found.
    pub(crate) deletions: Deletions<K>,
}

impl<K: Kind> Default for View<K> {
    fn default() -> Self {
        Self {
            active: BTreeMap::new(),
            sealed: Vec::new(),
            parts: BTreeMap::new(),
            manifest: 0,
            window: 1,
            deletions: Deletions::default(),
        }
    }
}

impl<K: Kind> View<K> {
    /// What a reader of one tenant sees.
    pub(crate) fn snapshot(&self, tenant: &Tenant) -> Snapshot<K> {
        let sealed = self.sealed.iter().filter_map(|s| s.memories.get(tenant));
        let memories = sealed.chain(self.active.get(tenant)).cloned().collect();
        let parts = self.parts.get(tenant).map_or(&[][..], Vec::as_slice);
        Snapshot {
            memories,
            parts: parts.iter().map(|p| Arc::clone(&p.open)).collect(),
            tags: parts.iter().map(|p| self.tag(&p.entry)).collect(),
            manifest: self.manifest,
            hidden: self.hiding(tenant),
            confined: Arc::default(),
        }
    }

    fn tag(&self, entry: &PartEntry) -> PartTag {
        PartTag {
            tier: entry.tier,
            until: entry.until,
            closed: entry.closed,
            window: window_of(entry.range.start, self.window).start,
        }
    }

    /// The parts of the window of a tier with the rows as they came, in order of arrival.
    pub(crate) fn rows_beside(&self, tier: &PartEntry) -> Vec<u64> {
        let window = window_of(tier.range.start, self.window).start;
        let beside = |part: &&Held<K>| {
            part.entry.tier == 0 && window_of(part.entry.range.start, self.window).start == window
        };
        let parts = self.parts.get(&tier.tenant).into_iter().flatten();
        parts.filter(beside).map(|part| part.entry.number).collect()
    }

    /// The tiers that stand for some of these parts, closed; those that are already are left out.
    pub(crate) fn closing(&self, parts: &[u64]) -> Vec<Held<K>> {
        let place = |held: &Held<K>| {
            let window = window_of(held.entry.range.start, self.window).start;
            (held.entry.tenant.clone(), window)
        };
        let going = self.all_parts().filter(|p| p.entry.tier == 0);
        let going = going.filter(|p| parts.contains(&p.entry.number));
        let places: BTreeSet<_> = going.map(place).collect();
        let open = self.all_parts().filter(|p| p.entry.tier != 0);
        let open = open.filter(|p| !p.entry.closed && !parts.contains(&p.entry.number));
        open.filter(|p| places.contains(&place(p)))
            .map(|p| Held {
                entry: PartEntry {
                    closed: true,
                    ..p.entry.clone()
                },
                open: Arc::clone(&p.open),
            })
            .collect()
    }

    /// The memories of a tenant that wait to become parts, oldest first.
    pub(crate) fn sealed_of(&self, tenant: &Tenant) -> Vec<Arc<K::Memory>> {
        let sealed = self.sealed.iter().filter_map(|s| s.memories.get(tenant));
        sealed.cloned().collect()
    }

    /// Every tenant that has a memory or a part, sorted.
    pub(crate) fn tenants(&self) -> Vec<Tenant> {
        let sealed = self.sealed.iter().flat_map(|s| s.memories.keys());
        let all = self.active.keys().chain(sealed).chain(self.parts.keys());
        let mut all: Vec<Tenant> = all.cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// The parts of all tenants.
    pub(crate) fn all_parts(&self) -> impl Iterator<Item = &Held<K>> {
        self.parts.values().flatten()
    }

    /// Bytes of memory that waits to become parts.
    pub(crate) fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|s| s.bytes).sum()
    }

    /// Whether a tenant may have rows inside a range.
    pub(crate) fn has_rows(&self, tenant: &Tenant, range: TimeRange) -> bool {
        let sealed = self.sealed.iter().filter_map(|s| s.memories.get(tenant));
        let parts = self.parts.get(tenant).into_iter().flatten();
        sealed
            .filter_map(|memory| K::range(memory))
            .chain(parts.map(|part| part.entry.range))
            .any(|held| held.overlaps(range))
    }

    /// Follows an edit of the manifest.
    pub(crate) fn show(&mut self, manifest: &Manifest, removed: &[u64], added: Vec<Held<K>>) {
        self.replace(removed, added);
        self.manifest = manifest.number;
        self.deletions.retain_known(manifest);
    }

    /// Takes parts out and puts parts in, each at its place in the order of arrival.
    pub(crate) fn replace(&mut self, removed: &[u64], added: Vec<Held<K>>) {
        if !removed.is_empty() {
            for parts in self.parts.values_mut() {
                parts.retain(|p| !removed.contains(&p.entry.number));
            }
            self.parts.retain(|_, parts| !parts.is_empty());
        }
        for part in added {
            let parts = self.parts.entry(part.entry.tenant.clone()).or_default();
            let at = parts.partition_point(|p| p.entry.order < part.entry.order);
            parts.insert(at, part);
        }
    }
}
