//! The store of one signal: takes records, shows snapshots, and decides what to do next.
//! Opening is in `open.rs`, doing jobs in `jobs.rs`.
//!
//! Invariants: `append` returns after the records are durable and visible; a snapshot holds every
//! acknowledged record exactly once; no lock that a reader takes is held across the disk.
//! Locks are taken in the order upkeep, writer, view.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use obs_model::{Tenant, Timestamp};
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::bucket::LocalBucket;
use crate::disk::Disk;
use crate::error::{AppendError, Corrupt, DiskError, JobError, Quarantined};
use crate::journal::{FRAME_BYTES_MAX, Journal, Record};
use crate::kind::{Draft, Kind, MemoryBytes, Target};
use crate::manifest::{Manifest, PartEntry};
use crate::plan::{self, Force, Job, Options};
use crate::quarantine::Quarantine;
use crate::reserve::Reserve;
use crate::snapshot::Snapshot;
use crate::view::{Held, Sealed, View};

/// The store of one signal.
pub struct Store<K: Kind> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) bucket: LocalBucket,
    pub(crate) options: Options,
    /// Why nothing is written any more.
    poison: OnceLock<String>,
    /// One job at a time.
    pub(crate) upkeep: Mutex<Upkeep>,
    pub(crate) writer: Mutex<Writer<K>>,
    pub(crate) view: RwLock<View<K>>,
    planning: Mutex<Planning>,
    pub(crate) quarantine: Mutex<Quarantine>,
    pub(crate) counters: Counters,
}

/// What jobs change.
pub(crate) struct Upkeep {
    pub(crate) manifest: Manifest,
    /// Never lower than the manifest's; numbers of failed attempts are not used again.
    pub(crate) next_part: u64,
    /// Files that nothing names any more and that could not be removed yet.
    pub(crate) garbage: Vec<String>,
    pub(crate) reserve: Reserve,
}

/// What writes change.
pub(crate) struct Writer<K: Kind> {
    pub(crate) journal: Journal,
    /// The same memories as in the view, with their bytes after the last write.
    active: HashMap<Tenant, (Arc<K::Memory>, MemoryBytes)>,
    /// What will follow the memories that were sealed last, once there is a record for it; its
    /// bytes count as active.
    next: HashMap<Tenant, (Arc<K::Memory>, MemoryBytes)>,
}

impl<K: Kind> Writer<K> {
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal,
            active: HashMap::new(),
            next: HashMap::new(),
        }
    }
}

/// What deciding remembers.
#[derive(Debug, Default)]
struct Planning {
    /// When `next_job` first saw records in memory since it was sealed.
    unflushed_since: Option<Timestamp>,
    /// Somebody waits for the memory to become parts.
    flush_asked: bool,
    /// Parts whose merge failed although each of them is whole.
    unmergeable: BTreeSet<u64>,
    /// Parts of which no tier could be made.
    untiered: BTreeSet<u64>,
    /// Parts that lie beyond so many rules of retention and have no row that these select.
    settled: BTreeMap<u64, usize>,
}

/// Numbers for [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) active_bytes: AtomicU64,
    /// Those of them that a flush does not give back.
    pub(crate) fixed_bytes: AtomicU64,
    pub(crate) journal_bytes: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) record_bytes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) merges: AtomicU64,
    pub(crate) drops: AtomicU64,
    pub(crate) failed_jobs: AtomicU64,
    pub(crate) torn_bytes: AtomicU64,
}

/// A look at the store from outside. Counts are since the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of memory that takes records.
    pub active_bytes: u64,
    /// Bytes of memory that waits to become parts.
    pub sealed_bytes: u64,
    /// Tenants with memory or parts.
    pub tenants: u64,
    /// Parts.
    pub parts: u64,
    /// Bytes of all parts.
    pub part_bytes: u64,
    /// Rows in all parts.
    pub part_rows: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Records that were appended.
    pub records: u64,
    /// Bytes of their payloads.
    pub record_bytes: u64,
    /// Flushes that were done.
    pub flushes: u64,
    /// Merges that were done.
    pub merges: u64,
    /// Drops that were done.
    pub drops: u64,
    /// Jobs that failed.
    pub failed_jobs: u64,
    /// Bytes of writes that were never acknowledged, cut from the journal when it was opened.
    pub torn_bytes: u64,
    /// Findings in quarantine.
    pub quarantined: u64,
    /// The number of the last manifest edit.
    pub manifest: u64,
    /// Why the store takes no more writes.
    pub poisoned: Option<String>,
}

impl<K: Kind> Store<K> {
    /// A store around what was read from disk, without records in memory yet.
    pub(crate) fn around(
        disk: Arc<dyn Disk>,
        options: Options,
        upkeep: Upkeep,
        writer: Writer<K>,
        view: View<K>,
        quarantine: Quarantine,
    ) -> Self {
        Self {
            bucket: LocalBucket::new(Arc::clone(&disk)),
            disk,
            options,
            poison: OnceLock::new(),
            upkeep: Mutex::new(upkeep),
            writer: Mutex::new(writer),
            view: RwLock::new(view),
            planning: Mutex::new(Planning::default()),
            quarantine: Mutex::new(quarantine),
            counters: Counters::default(),
        }
    }

    /// Stores records as one group commit: durable and visible on return, all or none after a
    /// crash. Meant to be called from one thread; others wait.
    pub fn append(&self, records: &[Record<'_>]) -> Result<(), AppendError> {
        let mut writer = self.open_writer()?;
        let segment = writer.journal.segment();
        self.journal(&mut writer, records)?;
        let mut refused = None;
        for record in records {
            let applied = self.apply(&mut writer, record.tenant, segment, record.payload);
            refused = refused.or(applied.err());
        }
        self.weigh(&mut writer, records.iter().map(|r| r.tenant));
        refused.map_or(Ok(()), |error| Err(AppendError::Record(error)))
    }

    /// The same for drafts. All are encoded before one is applied, so those of a signal whose
    /// records lean on memory come at most once for each tenant. A draft with an empty record is
    /// done.
    pub fn append_drafts(
        &self,
        drafts: &mut [(&Tenant, &mut dyn Draft<K>)],
    ) -> Result<(), AppendError> {
        let mut writer = self.open_writer()?;
        let segment = writer.journal.segment();
        let mut memories = Vec::with_capacity(drafts.len());
        let mut payloads = Vec::with_capacity(drafts.len());
        for (tenant, draft) in drafts.iter_mut() {
            let memory = self.memory(&mut writer, tenant);
            let target = Target {
                memory: &*memory,
                sealed: self.view.read().sealed_of(tenant),
                segment,
            };
            let mut payload = Vec::new();
            draft.encode(&target, &mut payload);
            payloads.push(payload);
            memories.push(memory);
        }
        let records = drafts.iter().zip(&payloads).filter(|(_, p)| !p.is_empty());
        let records = records.map(|((tenant, _), payload)| Record { tenant, payload });
        let records: Vec<_> = records.collect();
        let journaled = self.journal(&mut writer, &records);
        let mut refused = None;
        for ((_, draft), memory) in drafts.iter_mut().zip(&memories) {
            match &journaled {
                Ok(()) => refused = refused.or(draft.apply(memory).err()),
                Err(_) => draft.abort(memory),
            }
        }
        self.weigh(&mut writer, drafts.iter().map(|(tenant, _)| *tenant));
        journaled?;
        refused.map_or(Ok(()), |error| Err(AppendError::Record(error)))
    }

    /// The writer, if anything may be written.
    fn open_writer(&self) -> Result<MutexGuard<'_, Writer<K>>, AppendError> {
        let writer = self.writer.lock();
        if let Some(reason) = self.poison.get() {
            return Err(AppendError::Poisoned(reason.clone()));
        }
        self.check_memory()?;
        Ok(writer)
    }

    /// Writes records as one frame, durable on return.
    fn journal(&self, writer: &mut Writer<K>, records: &[Record<'_>]) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        let bytes = Journal::payload_bytes(records);
        if bytes > FRAME_BYTES_MAX {
            return Err(AppendError::TooLarge {
                bytes: bytes as u64,
                limit: FRAME_BYTES_MAX as u64,
            });
        }
        let grown = writer.journal.append(records);
        let grown = grown.map_err(|error| self.append_error(error))?;
        let add = |counter: &AtomicU64, count: u64| counter.fetch_add(count, Ordering::Relaxed);
        add(&self.counters.journal_bytes, grown);
        add(&self.counters.records, records.len() as u64);
        add(&self.counters.record_bytes, bytes as u64);
        Ok(())
    }

    fn check_memory(&self) -> Result<(), AppendError> {
        let sealed = self.view.read().sealed_bytes();
        let bytes = self.counters.active_bytes.load(Ordering::Relaxed) + sealed;
        let limit = self.options.memory_bytes_max;
        if bytes >= limit {
            return Err(AppendError::MemoryFull { bytes, limit });
        }
        Ok(())
    }

    fn append_error(&self, error: DiskError) -> AppendError {
        match error {
            DiskError::Full { .. } => AppendError::DiskFull,
            DiskError::Sync { .. } => AppendError::Poisoned(self.set_poison(&error)),
            DiskError::Missing { .. }
            | DiskError::Exists { .. }
            | DiskError::Locked { .. }
            | DiskError::Failed { .. } => AppendError::Disk(error),
        }
    }

    /// Puts one record into the active memory of its tenant.
    pub(crate) fn apply(
        &self,
        writer: &mut Writer<K>,
        tenant: &Tenant,
        segment: u64,
        payload: &[u8],
    ) -> Result<(), Corrupt> {
        K::apply(&self.memory(writer, tenant), segment, payload)
    }

    /// The active memory of a tenant.
    fn memory(&self, writer: &mut Writer<K>, tenant: &Tenant) -> Arc<K::Memory> {
        if let Some((memory, _)) = writer.active.get(tenant) {
            return Arc::clone(memory);
        }
        let (memory, bytes) = writer.next.remove(tenant).unwrap_or_default();
        let mut view = self.view.write();
        view.active.insert(tenant.clone(), Arc::clone(&memory));
        drop(view);
        let held = (Arc::clone(&memory), bytes);
        writer.active.insert(tenant.clone(), held);
        memory
    }

    /// Brings the count of active bytes up to date after a write to some tenants.
    pub(crate) fn weigh<'a>(
        &self,
        writer: &mut Writer<K>,
        tenants: impl Iterator<Item = &'a Tenant>,
    ) {
        let mut last = None;
        for tenant in tenants {
            // Batches usually hold one tenant.
            if last == Some(tenant) {
                continue;
            }
            last = Some(tenant);
            if let Some((memory, bytes)) = writer.active.get_mut(tenant) {
                let now = K::bytes(memory);
                // Wraps back exactly: each memory's share is taken out as it was put in.
                let change = |counter: &AtomicU64, now: usize, before: usize| {
                    let change = (now as u64).wrapping_sub(before as u64);
                    counter.fetch_add(change, Ordering::Relaxed);
                };
                change(&self.counters.active_bytes, now.all, bytes.all);
                change(&self.counters.fixed_bytes, now.fixed, bytes.fixed);
                *bytes = now;
            }
        }
    }

    /// Ends the active memory under the writer's lock, so that no record is between a sealed and
    /// an active memory. Nothing happens when there is none.
    /// `deletions_from` is the number of the next deletion. Gives the first journal segment that
    /// later records may be in.
    pub(crate) fn seal(&self, deletions_from: u64) -> Result<u64, JobError> {
        let mut writer = self.writer.lock();
        let sealed = writer.journal.seal();
        let journal_from = sealed.map_err(|e| JobError::Poisoned(self.set_poison(&e)))?;
        self.seal_active(&mut writer, journal_from, deletions_from);
        Ok(journal_from)
    }

    /// The same in the middle of replay, where later segments exist already.
    pub(crate) fn seal_at(&self, journal_from: u64, deletions_from: u64) {
        self.seal_active(&mut self.writer.lock(), journal_from, deletions_from);
    }

    fn seal_active(&self, writer: &mut Writer<K>, journal_from: u64, deletions_from: u64) {
        if writer.active.is_empty() {
            return;
        }
        let sealed = writer.active.drain();
        let follow = |(tenant, (memory, _)): (Tenant, (Arc<K::Memory>, _))| {
            let next = K::follow(&memory);
            let bytes = K::bytes(&next);
            (tenant, (Arc::new(next), bytes))
        };
        writer.next = sealed.map(follow).collect();
        // What both memories have counts once: with the one that stays.
        let next = || writer.next.values().map(|(_, bytes)| bytes);
        let all = next().map(|bytes| bytes.all as u64).sum();
        let fixed = next().map(|bytes| bytes.fixed as u64).sum();
        let bytes = self.counters.active_bytes.swap(all, Ordering::Relaxed);
        let bytes = bytes.saturating_sub(all);
        self.counters.fixed_bytes.store(fixed, Ordering::Relaxed);
        let mut view = self.view.write();
        let memories = std::mem::take(&mut view.active);
        view.sealed.push(Arc::new(Sealed {
            memories,
            journal_from,
            bytes,
            deletions_from,
        }));
        drop(view);
        let mut planning = self.planning.lock();
        planning.unflushed_since = None;
        planning.flush_asked = false;
    }

    /// What a reader of one tenant sees now.
    pub fn snapshot(&self, tenant: &Tenant) -> Snapshot<K> {
        self.view.read().snapshot(tenant)
    }

    /// The memories of a tenant, oldest first: those that readers see, or that the next record
    /// goes into when nothing was written since a flush began.
    pub fn memories(&self, tenant: &Tenant) -> Vec<Arc<K::Memory>> {
        let writer = self.writer.lock();
        let view = self.view.read();
        let mut all = view.sealed_of(tenant);
        all.extend(view.active.get(tenant).cloned());
        all.extend(
            writer
                .next
                .get(tenant)
                .map(|(memory, _)| Arc::clone(memory)),
        );
        all
    }

    /// The same of every tenant that has a memory.
    pub fn all_memories(&self) -> Vec<Vec<Arc<K::Memory>>> {
        let mut by_tenant: BTreeMap<Tenant, Vec<Arc<K::Memory>>> = BTreeMap::new();
        let writer = self.writer.lock();
        let view = self.view.read();
        let sealed = view.sealed.iter().flat_map(|sealed| &sealed.memories);
        let next = writer
            .next
            .iter()
            .map(|(tenant, (memory, _))| (tenant, memory));
        for (tenant, memory) in sealed.chain(&view.active).chain(next) {
            let memories = by_tenant.entry(tenant.clone()).or_default();
            memories.push(Arc::clone(memory));
        }
        by_tenant.into_values().collect()
    }

    /// Every tenant that has data, sorted.
    pub fn tenants(&self) -> Vec<Tenant> {
        self.view.read().tenants()
    }

    /// What should be done next at `now`, if anything. Dropping comes first, because it makes room.
    pub fn next_job(&self, now: Timestamp) -> Option<Job> {
        if self.poison.get().is_some() {
            return None;
        }
        self.set_now(now);
        let view = self.view.read();
        let mut planning = self.planning.lock();
        for (tenant, parts) in &view.parts {
            let entries: Vec<_> = parts.iter().map(|p| &p.entry).collect();
            if let Some(job) = plan::drops(&self.options, tenant, &entries, now) {
                // What goes lives on in tiers, if they can be made.
                let skip = &planning.untiered;
                let tier = plan::downsample(&self.options, tenant, &entries, skip, now);
                return Some(match (tier, job) {
                    (Some(tier), job) if tier.needs_any_of(&job) => tier,
                    (_, job) => job,
                });
            }
        }
        let since = if view.active.is_empty() {
            None
        } else {
            // A clock that was set back must not put the flush off.
            let since = planning.unflushed_since.get_or_insert(now);
            *since = now.min(*since);
            Some(*since)
        };
        let journal = self.counters.journal_bytes.load(Ordering::Relaxed);
        let old = since.is_some_and(|since| now - since >= self.options.flush_age);
        let large = self.is_large() || journal >= self.options.journal_bytes_max;
        let wanted = large || planning.flush_asked;
        if !view.sealed.is_empty() || old || (since.is_some() && wanted) {
            return Some(Job::Flush);
        }
        let merge = self.next_merge(&view, &planning, Some(now));
        let clean = merge.or_else(|| self.next_clean(&view, &planning, now));
        clean.or_else(|| self.next_tier(&view, &planning, now))
    }

    /// A tier of a window that is over.
    fn next_tier(&self, view: &View<K>, planning: &Planning, now: Timestamp) -> Option<Job> {
        view.parts.iter().find_map(|(tenant, parts)| {
            let entries: Vec<_> = parts.iter().map(|p| &p.entry).collect();
            plan::downsample(&self.options, tenant, &entries, &planning.untiered, now)
        })
    }

    /// Whether memory has so much that a flush is worth it.
    pub(crate) fn is_large(&self) -> bool {
        let active = self.counters.active_bytes.load(Ordering::Relaxed);
        let fixed = self.counters.fixed_bytes.load(Ordering::Relaxed);
        self.options.flush_is_due(active, fixed)
    }

    /// A part with rows that are hidden, to be written without them.
    fn next_clean(&self, view: &View<K>, planning: &Planning, now: Timestamp) -> Option<Job> {
        let hides = |part: &Held<K>| {
            let (entry, deletions) = (&part.entry, &view.deletions);
            let settled = planning.settled.get(&entry.number).copied();
            !planning.unmergeable.contains(&entry.number)
                && (deletions.concern(&entry.tenant, entry.deletions_from, entry.range)
                    || deletions.rules_beyond(entry.range) > settled.unwrap_or(0))
        };
        let part = view.all_parts().find(|part| hides(part))?;
        let PartEntry { tenant, tier, .. } = &part.entry;
        // A tier is made again of what is left of its rows, where these are all there.
        let rows = view.rows_beside(&part.entry);
        if *tier != 0
            && !part.entry.closed
            && !rows.is_empty()
            && !rows.iter().any(|number| planning.untiered.contains(number))
        {
            return Some(Job::Downsample {
                tenant: tenant.clone(),
                tier: *tier,
                parts: rows,
            });
        }
        Some(Job::Merge {
            tenant: tenant.clone(),
            parts: vec![part.entry.number],
            keep: self.options.kept_of(tenant, *tier, now),
        })
    }

    /// Makes a flush the next job if there is memory: a write was refused for want of room in it.
    pub fn ask_flush(&self) {
        self.planning.lock().flush_asked = true;
    }

    /// A merge; at `now` what is worth it, and without what is possible.
    fn next_merge(
        &self,
        view: &View<K>,
        planning: &Planning,
        now: Option<Timestamp>,
    ) -> Option<Job> {
        view.parts.iter().find_map(|(tenant, parts)| {
            let entries: Vec<_> = parts.iter().map(|p| &p.entry).collect();
            let skip = &planning.unmergeable;
            let parts = plan::merges(&self.options, &entries, skip, now.is_none())?;
            Some(Job::Merge {
                tenant: tenant.clone(),
                parts,
                keep: self.options.kept(tenant, now.unwrap_or(Timestamp::MIN)),
            })
        })
    }

    /// The next step towards what an administrator asked for; `None` when it is reached.
    pub fn forced(&self, force: Force) -> Option<Job> {
        if self.poison.get().is_some() {
            return None;
        }
        let view = self.view.read();
        match force {
            Force::Flush => {
                let waiting = !view.active.is_empty() || !view.sealed.is_empty();
                waiting.then_some(Job::Flush)
            }
            Force::Merge => {
                let planning = self.planning.lock();
                let merge = self.next_merge(&view, &planning, None);
                let clean = merge.or_else(|| self.next_clean(&view, &planning, Timestamp::MIN));
                // Which windows are over is known to upkeep, which told the time.
                clean.or_else(|| self.next_tier(&view, &planning, view.deletions.now))
            }
            Force::Clean => {
                let planning = self.planning.lock();
                let flush = view.deletes_in_memory().then_some(Job::Flush);
                flush.or_else(|| self.next_clean(&view, &planning, Timestamp::MIN))
            }
        }
    }

    /// Remembers that parts cannot be merged although each of them is whole.
    pub(crate) fn set_unmergeable(&self, parts: &[u64]) {
        self.planning.lock().unmergeable.extend(parts);
    }

    /// Remembers that no tier could be made of parts.
    pub(crate) fn set_untiered(&self, parts: &[u64]) {
        self.planning.lock().untiered.extend(parts);
    }

    /// There is room again for what could not be made.
    pub(crate) fn forget_untiered(&self) {
        self.planning.lock().untiered.clear();
    }

    /// Remembers that a part has no row that so many rules of retention select.
    pub(crate) fn set_settled(&self, part: u64, rules: usize, manifest: &Manifest) {
        let settled = &mut self.planning.lock().settled;
        settled.retain(|part, _| manifest.parts.contains_key(part));
        settled.insert(part, rules);
    }

    /// Rules are others: every part may have rows that they select.
    pub(crate) fn forget_settled(&self) {
        self.planning.lock().settled.clear();
    }

    /// A look at the store from outside.
    pub fn stats(&self) -> Stats {
        let view = self.view.read();
        let mut stats = Stats {
            sealed_bytes: view.sealed_bytes(),
            tenants: view.tenants().len() as u64,
            manifest: view.manifest,
            ..Stats::default()
        };
        for part in view.all_parts() {
            stats.parts += 1;
            stats.part_bytes += part.entry.bytes;
            stats.part_rows += part.entry.rows;
        }
        drop(view);
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        stats.active_bytes = get(&counters.active_bytes);
        stats.journal_bytes = get(&counters.journal_bytes);
        stats.records = get(&counters.records);
        stats.record_bytes = get(&counters.record_bytes);
        stats.flushes = get(&counters.flushes);
        stats.merges = get(&counters.merges);
        stats.drops = get(&counters.drops);
        stats.failed_jobs = get(&counters.failed_jobs);
        stats.torn_bytes = get(&counters.torn_bytes);
        stats.quarantined = self.quarantine.lock().len() as u64;
        stats.poisoned = self.poison.get().cloned();
        stats
    }

    /// What was found damaged, now or earlier, and set aside.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.quarantine.lock().all()
    }

    /// Why the store takes no more writes; `None` when it does.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Refuses every write from now on; the first reason stays.
    pub(crate) fn set_poison(&self, error: &DiskError) -> String {
        self.poison.get_or_init(|| error.to_string()).clone()
    }
}

impl<K: Kind> fmt::Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}, {:?})", K::NAME, self.stats())
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tiers;
#[cfg(test)]
pub(crate) mod toy;
