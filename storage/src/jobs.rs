//! Doing jobs: flush, merge, drop, and setting damaged parts aside. A merge of one part takes out
//! what is hidden in it.
//!
//! Invariants: new parts are durable before the manifest names them; the manifest edit is durable
//! before readers see the change, before inputs are removed and before the journal is cut. After
//! an edit of unknown fate nothing is removed, so that either outcome opens again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_model::{Tenant, TimeRange};

use crate::deletion::{Hidden, concerning};
use crate::disk::Disk;
use crate::error::{Corrupt, DiskError, JobError};
use crate::journal::{segment_path, segments};
use crate::kind::{Input, Kind};
use crate::manifest::{Edit, PartEntry, SNAPSHOT_EVERY};
use crate::part::{PartReader, PartWriter};
use crate::plan::Job;
use crate::snapshot::OpenPart;
use crate::store::{Store, Upkeep};
use crate::view::{Held, Sealed};

/// The folder of a signal's parts.
pub(crate) fn parts_folder<K: Kind>() -> String {
    format!("{}/parts", K::NAME)
}

/// The file of a part.
pub(crate) fn part_path<K: Kind>(number: u64) -> String {
    format!("{}/{}", parts_folder::<K>(), part_name(number))
}

/// The name of a part's file.
pub(crate) fn part_name(number: u64) -> String {
    format!("{number:020}.part")
}

/// The folder of a signal's journal.
pub(crate) fn journal_folder<K: Kind>() -> String {
    format!("{}/journal", K::NAME)
}

/// The folder of a signal's manifest.
pub(crate) fn manifest_folder<K: Kind>() -> String {
    format!("{}/manifest", K::NAME)
}

/// Opens a part that is on disk already.
pub(crate) fn open_part<K: Kind>(
    disk: &dyn Disk,
    number: u64,
) -> Result<Result<OpenPart<K>, Corrupt>, DiskError> {
    let path = part_path::<K>(number);
    let blob = match disk.blob(&path) {
        Ok(blob) => blob,
        Err(DiskError::Missing { .. }) => {
            return Ok(Err(Corrupt::new(path, 0, "a part, found no file")));
        }
        Err(error) => return Err(error),
    };
    Ok(PartReader::open(path, blob).and_then(OpenPart::open))
}

impl<K: Kind> Store<K> {
    /// Does a job, one at a time. A job that is no longer possible, because another one came
    /// first, does nothing. Reads and writes go on meanwhile.
    pub fn run(&self, job: Job) -> Result<(), JobError> {
        let mut upkeep = self.upkeep.lock();
        if let Some(reason) = self.poisoned() {
            return Err(JobError::Poisoned(reason.to_owned()));
        }
        self.remove_files(&mut upkeep, Vec::new());
        upkeep.reserve.fill(&*self.disk);
        let (result, done) = match &job {
            Job::Flush => (self.flush(&mut upkeep), &self.counters.flushes),
            Job::Merge { parts, keep, .. } => {
                let merged = self.merge(&mut upkeep, parts, *keep);
                (merged, &self.counters.merges)
            }
            Job::Downsample {
                tenant,
                tier,
                parts,
            } => {
                let made = self.downsample(&mut upkeep, tenant, *tier, parts);
                if made.is_err() {
                    self.set_untiered(parts);
                }
                (made, &self.counters.merges)
            }
            Job::Drop { parts, .. } => (self.discard(&mut upkeep, parts), &self.counters.drops),
        };
        let counter = match result {
            Ok(()) => done,
            Err(_) => &self.counters.failed_jobs,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// Turns the oldest sealed memory into parts; seals the active one when there is none.
    pub(crate) fn flush(&self, upkeep: &mut Upkeep) -> Result<(), JobError> {
        if self.view.read().sealed.is_empty() {
            self.seal(upkeep.manifest.next_deletion)?;
        }
        let Some(sealed) = self.view.read().sealed.first().cloned() else {
            return Ok(());
        };
        let mut made = Vec::new();
        if let Err(error) = self.write_memories(upkeep, &sealed, &mut made) {
            self.remove_made(upkeep, &made);
            return Err(error);
        }
        let edit = Edit {
            added: made.iter().map(|p| p.entry.clone()).collect(),
            journal_from: Some(sealed.journal_from),
            ..Edit::default()
        };
        self.commit(upkeep, edit, &made)?;
        let mut view = self.view.write();
        view.sealed.remove(0);
        view.show(&upkeep.manifest, &[], made);
        drop(view);
        self.cut_journal(upkeep)
    }

    /// One part for every tenant and every window that has rows.
    fn write_memories(
        &self,
        upkeep: &mut Upkeep,
        sealed: &Sealed<K>,
        made: &mut Vec<Held<K>>,
    ) -> Result<(), JobError> {
        for (tenant, memory) in &sealed.memories {
            let Some(range) = K::range(memory) else {
                continue;
            };
            let mut from = range.start;
            while let Some(first) = K::first_row(memory, from) {
                let window = self.options.window_of(first.max(from));
                let fill = |out: &mut PartWriter| K::flush(memory, window, out);
                let mut part = self.write_part(upkeep, tenant, window, fill)?;
                if let Some(part) = &mut part {
                    part.entry.deletions_from = sealed.deletions_from;
                }
                made.extend(part);
                if window.end >= range.end {
                    break;
                }
                from = window.end + 1;
            }
        }
        Ok(())
    }

    /// Writes one part, durably, and opens it. `None` when it has no rows.
    fn write_part(
        &self,
        upkeep: &mut Upkeep,
        tenant: &Tenant,
        window: TimeRange,
        fill: impl FnOnce(&mut PartWriter) -> Result<(), Corrupt>,
    ) -> Result<Option<Held<K>>, JobError> {
        let number = upkeep.next_part;
        upkeep.next_part += 1;
        let path = part_path::<K>(number);
        let disk = Arc::clone(&self.disk);
        let mut writer = PartWriter::on_disk(K::NAME, tenant, disk, path.clone());
        if let Err(error) = fill(&mut writer) {
            writer.discard();
            return Err(error.into());
        }
        let finished = writer.finish();
        let Some(bytes) = finished.map_err(|error| self.job_error(error))? else {
            return Ok(None);
        };
        let opened = open_part::<K>(&*self.disk, number);
        let opened = opened.map_err(|error| self.job_error(error))?;
        let opened = opened.and_then(|open| {
            let range = open.reader.range();
            if range.intersect(window) != range {
                let expected = format!("rows inside {} to {}", window.start, window.end);
                return Err(Corrupt::new(&path, 0, expected));
            }
            Ok(open)
        });
        let open = match opened {
            Ok(open) => Arc::new(open),
            Err(error) => {
                self.remove_files(upkeep, vec![path]);
                return Err(error.into());
            }
        };
        let entry = PartEntry {
            number,
            order: number,
            tenant: tenant.clone(),
            rows: open.reader.rows(),
            bytes,
            range: open.reader.range(),
            deletions_from: 0,
            tier: 0,
            until: number,
            closed: false,
        };
        Ok(Some(Held { entry, open }))
    }

    /// Turns several parts into one, or takes out of one what is hidden in it.
    fn merge(&self, upkeep: &mut Upkeep, numbers: &[u64], keep: TimeRange) -> Result<(), JobError> {
        let Some((first, inputs)) = self.inputs(numbers) else {
            return Ok(());
        };
        let settled = self.view.read().deletions.rules_beyond(first.range);
        let hidden = self.hidden_in(upkeep, &first.tenant, numbers);
        let entries = numbers.iter().filter_map(|n| upkeep.manifest.parts.get(n));
        let until = entries.map(|entry| entry.until).max();
        let deletions_from = upkeep.manifest.next_deletion;
        if let ([number], [open], [hidden]) = (numbers, &inputs[..], &hidden[..])
            && !hidden.is_empty()
            && !may_select(&open.part, hidden).unwrap_or(true)
        {
            self.set_settled(*number, settled, &upkeep.manifest);
            let entry = PartEntry {
                deletions_from,
                ..first
            };
            let open = Arc::clone(open);
            return self.swap(upkeep, numbers, vec![Held { entry, open }]);
        }
        let window = self.options.window_of(first.range.start);
        let keep = keep.intersect(window);
        let parts = visible(&inputs, &hidden);
        let fill = |out: &mut PartWriter| K::merge_visible(&parts, keep, out);
        let merged = match self.write_part(upkeep, &first.tenant, window, fill) {
            Ok(merged) => merged,
            Err(JobError::Corrupt(error)) => {
                self.set_bad_aside(upkeep, numbers, &inputs)?;
                return Err(error.into());
            }
            Err(error) => return Err(error),
        };
        let mut made: Vec<Held<K>> = merged.into_iter().collect();
        for part in &mut made {
            part.entry.order = first.order;
            part.entry.deletions_from = deletions_from;
            part.entry.tier = first.tier;
            part.entry.until = until.unwrap_or(part.entry.until);
            part.entry.closed = first.closed;
        }
        self.swap(upkeep, numbers, made)?;
        let files = numbers.iter().map(|n| part_path::<K>(*n)).collect();
        self.remove_files(upkeep, files);
        Ok(())
    }

    /// Makes the rows of a tier of all parts of a window. Nothing happens where these are not all
    /// any more.
    fn downsample(
        &self,
        upkeep: &mut Upkeep,
        tenant: &Tenant,
        tier: i64,
        numbers: &[u64],
    ) -> Result<(), JobError> {
        let Some((first, inputs)) = self.inputs(numbers) else {
            return Ok(());
        };
        let window = self.options.window_of(first.range.start);
        let view = self.view.read();
        let of_window = view.parts.get(tenant).map_or(&[][..], Vec::as_slice).iter();
        let of_window = of_window.filter(|p| p.entry.range.intersect(window) == p.entry.range);
        let (rows, tiers): (Vec<_>, Vec<_>) = of_window.partition(|p| p.entry.tier == 0);
        let all: Vec<u64> = rows.iter().map(|p| p.entry.number).collect();
        let closed = tiers.iter().any(|p| p.entry.closed);
        let until = rows.iter().map(|p| p.entry.until).max().unwrap_or(0);
        let old = tiers.iter().find(|p| p.entry.tier == tier);
        let old = old.map(|p| (p.entry.clone(), Arc::clone(&p.open)));
        let now = view.deletions.now;
        drop(view);
        if all != numbers || closed {
            return Ok(());
        }
        let deletions_from = upkeep.manifest.next_deletion;
        if let Some((entry, open)) = &old
            && entry.until >= until
        {
            let hidden = self.hidden_in(upkeep, tenant, &[entry.number]);
            if !hidden
                .iter()
                .any(|h| may_select::<K>(&open.part, h).unwrap_or(true))
            {
                let settled = self.view.read().deletions.rules_beyond(entry.range);
                self.set_settled(entry.number, settled, &upkeep.manifest);
                let entry = PartEntry {
                    deletions_from,
                    ..entry.clone()
                };
                let (number, open) = (entry.number, Arc::clone(open));
                return self.swap(upkeep, &[number], vec![Held { entry, open }]);
            }
        }
        let hidden = self.hidden_in(upkeep, tenant, numbers);
        let keep = self.options.kept_of(tenant, tier, now).intersect(window);
        let parts = visible(&inputs, &hidden);
        let fill = |out: &mut PartWriter| K::downsample(&parts, keep, tier, out);
        let made = match self.write_part(upkeep, tenant, window, fill) {
            Ok(made) => made,
            Err(JobError::Corrupt(error)) => {
                self.set_damaged_aside(upkeep, numbers, &inputs)?;
                return Err(error.into());
            }
            Err(error) => return Err(error),
        };
        let old: Vec<u64> = old.iter().map(|(entry, _)| entry.number).collect();
        let mut made: Vec<Held<K>> = made.into_iter().collect();
        if made.is_empty() {
            self.set_untiered(numbers);
        }
        for part in &mut made {
            part.entry.deletions_from = deletions_from;
            part.entry.tier = tier;
            part.entry.until = until;
        }
        if made.is_empty() && old.is_empty() {
            return Ok(());
        }
        self.swap(upkeep, &old, made)?;
        let files = old.iter().map(|n| part_path::<K>(*n)).collect();
        self.remove_files(upkeep, files);
        Ok(())
    }

    /// What is hidden in each of some parts of a tenant.
    fn hidden_in(&self, upkeep: &Upkeep, tenant: &Tenant, numbers: &[u64]) -> Vec<Vec<Hidden<K>>> {
        let hidden = self.view.read().deletions.of(tenant);
        let entries = numbers.iter().filter_map(|n| upkeep.manifest.parts.get(n));
        entries
            .map(|entry| within(concerning(&hidden, entry.deletions_from), entry.range))
            .collect()
    }

    /// The entry of the first part and all parts of a merge, if all are still there, belong to one
    /// tenant and one window, and are in order.
    fn inputs(&self, numbers: &[u64]) -> Option<(PartEntry, Vec<Arc<OpenPart<K>>>)> {
        let view = self.view.read();
        let held = |number: &u64| view.all_parts().find(|p| p.entry.number == *number);
        let held: Vec<&Held<K>> = numbers.iter().map(held).collect::<Option<_>>()?;
        let first = held.first()?.entry.clone();
        let window = self.options.window_of(first.range.start);
        let fits = held.iter().all(|p| {
            p.entry.tenant == first.tenant
                && p.entry.tier == first.tier
                && p.entry.range.intersect(window) == p.entry.range
        });
        let ordered = held.windows(2).all(|w| w[0].entry.order < w[1].entry.order);
        let open = held.iter().map(|p| Arc::clone(&p.open)).collect();
        (fits && ordered).then_some((first, open))
    }

    /// Removes parts that retention does not keep.
    fn discard(&self, upkeep: &mut Upkeep, numbers: &[u64]) -> Result<(), JobError> {
        let known = |n: &&u64| upkeep.manifest.parts.contains_key(n);
        let numbers: Vec<u64> = numbers.iter().filter(known).copied().collect();
        if numbers.is_empty() {
            return Ok(());
        }
        match self.lose(upkeep, &numbers) {
            Err(JobError::DiskFull(_)) => {
                upkeep.reserve.give_up(&*self.disk);
                self.lose(upkeep, &numbers)?;
            }
            result => result?,
        }
        self.forget_untiered();
        let files = numbers.iter().map(|n| part_path::<K>(*n)).collect();
        self.remove_files(upkeep, files);
        Ok(())
    }

    /// Takes parts away whose rows live on in tiers only.
    fn lose(&self, upkeep: &mut Upkeep, numbers: &[u64]) -> Result<(), JobError> {
        let closing = self.view.read().closing(numbers);
        let mut removed = numbers.to_vec();
        removed.extend(closing.iter().map(|held| held.entry.number));
        self.swap(upkeep, &removed, closing)
    }

    /// Puts some parts in the place of others: manifest first, then readers.
    fn swap(
        &self,
        upkeep: &mut Upkeep,
        removed: &[u64],
        made: Vec<Held<K>>,
    ) -> Result<(), JobError> {
        let edit = Edit {
            added: made.iter().map(|p| p.entry.clone()).collect(),
            removed: removed.to_vec(),
            ..Edit::default()
        };
        // A part that stays is not to be removed when the edit fails.
        let stays = |part: &Held<K>| removed.contains(&part.entry.number);
        let new = if made.iter().any(stays) {
            &[][..]
        } else {
            &made
        };
        self.commit(upkeep, edit, new)?;
        let mut view = self.view.write();
        view.show(&upkeep.manifest, removed, made);
        Ok(())
    }

    /// Makes an edit durable. When it certainly did not happen, the new parts are removed; when
    /// that is unknown, they stay and the store is poisoned.
    pub(crate) fn commit(
        &self,
        upkeep: &mut Upkeep,
        edit: Edit,
        made: &[Held<K>],
    ) -> Result<(), JobError> {
        let folder = manifest_folder::<K>();
        match upkeep.manifest.commit(&self.bucket, &folder, edit) {
            Ok(()) => {}
            Err(DiskError::Full { path }) => {
                self.remove_made(upkeep, made);
                return Err(JobError::DiskFull(path));
            }
            Err(error) => return Err(JobError::Poisoned(self.set_poison(&error))),
        }
        if upkeep.manifest.number.is_multiple_of(SNAPSHOT_EVERY) {
            // Old edits that stay are ignored, and tried again at the next snapshot.
            drop(upkeep.manifest.prune(&self.bucket, &folder));
        }
        Ok(())
    }

    /// Verifies every part and sets the damaged ones aside; returns what was found.
    pub fn scrub(&self) -> Result<Vec<Corrupt>, JobError> {
        let mut upkeep = self.upkeep.lock();
        if let Some(reason) = self.poisoned() {
            return Err(JobError::Poisoned(reason.to_owned()));
        }
        let view = self.view.read();
        let all = view
            .all_parts()
            .map(|p| (p.entry.number, Arc::clone(&p.open)));
        let all: Vec<_> = all.collect();
        drop(view);
        let mut found = Vec::new();
        for (number, open) in all {
            if let Err(error) = open.reader.verify() {
                self.set_part_aside(&mut upkeep, number, &error)?;
                found.push(error);
            }
        }
        Ok(found)
    }

    /// After a failed merge: the damaged inputs go into quarantine; when none is damaged, the
    /// inputs are not tried again before a restart.
    fn set_bad_aside(
        &self,
        upkeep: &mut Upkeep,
        numbers: &[u64],
        inputs: &[Arc<OpenPart<K>>],
    ) -> Result<(), JobError> {
        if !self.set_damaged_aside(upkeep, numbers, inputs)? {
            self.set_unmergeable(numbers);
        }
        Ok(())
    }

    /// Puts those of some parts into quarantine that are damaged; whether there were any.
    fn set_damaged_aside(
        &self,
        upkeep: &mut Upkeep,
        numbers: &[u64],
        inputs: &[Arc<OpenPart<K>>],
    ) -> Result<bool, JobError> {
        let mut found = false;
        for (number, open) in numbers.iter().zip(inputs) {
            if let Err(error) = open.reader.verify() {
                found = true;
                self.set_part_aside(upkeep, *number, &error)?;
            }
        }
        Ok(found)
    }

    /// Moves the file of a part into quarantine and takes the part away from readers.
    fn set_part_aside(
        &self,
        upkeep: &mut Upkeep,
        number: u64,
        error: &Corrupt,
    ) -> Result<(), JobError> {
        let mut quarantine = self.quarantine.lock();
        let moved = quarantine.take(&*self.disk, &part_path::<K>(number), error);
        drop(quarantine);
        moved.map_err(|error| self.job_error(error))?;
        self.lose(upkeep, &[number])
    }

    /// Removes the journal segments that the manifest no longer needs.
    pub(crate) fn cut_journal(&self, upkeep: &mut Upkeep) -> Result<(), JobError> {
        let folder = journal_folder::<K>();
        let found = segments(&*self.disk, &folder).map_err(|error| self.job_error(error))?;
        for (number, bytes) in found {
            if number >= upkeep.manifest.journal_from {
                break;
            }
            let path = segment_path(&folder, number);
            let mut quarantine = self.quarantine.lock();
            let taken = quarantine.take_uncopied(&*self.disk, &path);
            drop(quarantine);
            let gone = match taken {
                Ok(true) => true,
                Ok(false) => self.disk.remove(&path).is_ok(),
                Err(error @ DiskError::Sync { .. }) => return Err(self.job_error(error)),
                Err(_) => false,
            };
            // What stays is ignored by replay, and removed by the next flush.
            if gone {
                let counter = &self.counters.journal_bytes;
                let left = counter.load(Ordering::Relaxed).min(bytes);
                counter.fetch_sub(left, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn remove_made(&self, upkeep: &mut Upkeep, made: &[Held<K>]) {
        let files = made.iter().map(|p| part_path::<K>(p.entry.number));
        self.remove_files(upkeep, files.collect());
    }

    /// Removes files that nothing names any more; what cannot be removed is tried again with the
    /// next job, and at the next open.
    fn remove_files(&self, upkeep: &mut Upkeep, files: Vec<String>) {
        upkeep.garbage.extend(files);
        upkeep.garbage.retain(|path| {
            let removed = self.disk.remove(path);
            !matches!(removed, Ok(()) | Err(DiskError::Missing { .. }))
        });
    }

    pub(crate) fn job_error(&self, error: DiskError) -> JobError {
        match error {
            DiskError::Full { path } => JobError::DiskFull(path),
            DiskError::Sync { .. } => JobError::Poisoned(self.set_poison(&error)),
            DiskError::Missing { .. }
            | DiskError::Exists { .. }
            | DiskError::Locked { .. }
            | DiskError::Failed { .. } => JobError::Disk(error),
        }
    }
}

/// Parts with what is hidden in each.
fn visible<'a, K: Kind>(
    parts: &'a [Arc<OpenPart<K>>],
    hidden: &'a [Vec<Hidden<K>>],
) -> Vec<Input<'a, K>> {
    let pairs = parts.iter().zip(hidden);
    let input = |(open, hidden): (&'a Arc<OpenPart<K>>, &'a Vec<Hidden<K>>)| Input {
        part: &open.part,
        hidden,
    };
    pairs.map(input).collect()
}

/// Of what is hidden that which may lie in a range.
fn within<K: Kind>(hidden: &[Hidden<K>], range: TimeRange) -> Vec<Hidden<K>> {
    let overlaps = hidden.iter().filter(|hidden| hidden.range.overlaps(range));
    overlaps.cloned().collect()
}

/// Whether a part may have rows that are hidden.
fn may_select<K: Kind>(part: &K::Part, hidden: &[Hidden<K>]) -> Result<bool, Corrupt> {
    for hidden in hidden {
        if K::may_select(part, &hidden.selector)? {
            return Ok(true);
        }
    }
    Ok(false)
}
