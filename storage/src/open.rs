//! Opening a store: manifest, parts, then replay of the journal.
//!
//! Invariants: replay uses no more memory than live operation, because it flushes on the way; a
//! damaged part or segment never keeps the store from opening; nothing that is damaged is served.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_model::Tenant;

use crate::bucket::LocalBucket;
use crate::deletion::{Deletions, first_concerning};
use crate::disk::{Disk, number_of};
use crate::error::{Corrupt, DiskError, JobError, OpenError};
use crate::jobs::{journal_folder, manifest_folder, open_part, part_path, parts_folder};
use crate::journal::{self, FIRST_SEQUENCE, Journal, segment_path, segments};
use crate::kind::Kind;
use crate::manifest::{Edit, Manifest, PartEntry};
use crate::plan::{Options, window_of};
use crate::quarantine::Quarantine;
use crate::reserve::Reserve;
use crate::snapshot::OpenPart;
use crate::store::{Store, Upkeep, Writer};
use crate::view::{Held, View};

/// How far opening has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Parts that were opened.
    pub parts: u64,
    /// Parts to open.
    pub parts_total: u64,
    /// Bytes of the journal that were replayed.
    pub journal_bytes: u64,
    /// Bytes of the journal to replay.
    pub journal_bytes_total: u64,
}

impl<K: Kind> Store<K> {
    /// Opens the store of a signal in its folder of the disk, or makes a new one; replays the
    /// journal and tells how far it is.
    pub fn open(
        disk: Arc<dyn Disk>,
        mut options: Options,
        progress: &dyn Fn(Progress),
    ) -> Result<Self, OpenError> {
        if !K::TIERS {
            options.tiers.clear();
        }
        let bucket = LocalBucket::new(Arc::clone(&disk));
        let folder = manifest_folder::<K>();
        let mut quarantine = Quarantine::open(&*disk, format!("{}/quarantine", K::NAME))?;
        let mut damage = Vec::new();
        let mut manifest = Manifest::open(&bucket, &folder, &mut damage)?;
        if manifest.number == 0 {
            refuse_lost_manifest::<K>(&*disk)?;
        } else {
            // A process that was killed in the middle of a commit leaves an edit whose name is
            // not durable; what follows removes files because of it.
            disk.sync_folder(&folder)?;
        }
        for finding in &damage {
            let name = finding.place.rsplit('/').next().unwrap_or("edit");
            quarantine.note(&*disk, name, std::slice::from_ref(finding))?;
        }
        let orphan = remove_orphans::<K>(&*disk, &manifest)?;
        let (mut view, bad) = open_parts::<K>(&*disk, &manifest, &mut quarantine, progress)?;
        if !bad.is_empty() {
            // What a lost part had lives on in the tiers of its window.
            let closing = close(&mut view, &manifest, &bad, options.window);
            let mut removed = bad;
            removed.extend(closing.iter().map(|entry| entry.number));
            let edit = Edit {
                removed,
                added: closing,
                ..Edit::default()
            };
            match manifest.commit(&bucket, &folder, edit) {
                // Without room the same parts are found missing at the next open.
                Ok(()) | Err(DiskError::Full { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let next_part = manifest.next_part.max(orphan);
        let folder = journal_folder::<K>();
        let found = segments(&*disk, &folder)?;
        let last = found.last().map_or(0, |(number, _)| number + 1);
        // A deletion does not concern later segments, so none of its numbers comes again.
        let deleted = manifest.deletions.values().map(|d| d.journal_before);
        let from = manifest.journal_from.max(deleted.max().unwrap_or(0));
        let next = (last.max(from).max(1), FIRST_SEQUENCE);
        let (segment_bytes, salt) = (options.journal_segment_bytes, options.journal_salt);
        let journal = Journal::new(Arc::clone(&disk), folder, segment_bytes, salt, next);
        let mut reserve = Reserve::new(K::NAME, options.reserve_bytes);
        reserve.fill(&*disk);
        let upkeep = Upkeep {
            next_part,
            manifest,
            garbage: Vec::new(),
            reserve,
        };
        let view = View {
            manifest: upkeep.manifest.number,
            window: options.window,
            deletions: Deletions::open(&upkeep.manifest).map_err(OpenError::Manifest)?,
            ..view
        };
        let writer = Writer::new(journal);
        let store = Self::around(disk, options, upkeep, writer, view, quarantine);
        store.replay(found, progress)?;
        Ok(store)
    }

    /// Applies the segments that the manifest still needs, and flushes whenever memory is full.
    fn replay(&self, found: Vec<(u64, u64)>, progress: &dyn Fn(Progress)) -> Result<(), OpenError> {
        let mut upkeep = self.upkeep.lock();
        // Segments from before a cut come back when power is lost.
        self.cut_journal(&mut upkeep)?;
        let from = upkeep.manifest.journal_from;
        let found: Vec<_> = found.into_iter().filter(|(n, _)| *n >= from).collect();
        let total: u64 = found.iter().map(|(_, bytes)| bytes).sum();
        self.counters.journal_bytes.store(total, Ordering::Relaxed);
        let parts = self.view.read().all_parts().count() as u64;
        let mut told = Progress {
            parts,
            parts_total: parts,
            journal_bytes: 0,
            journal_bytes_total: total,
        };
        let mut expected = None;
        // The first deletion that may concern the records in memory.
        let mut concerned = first_concerning(&upkeep.manifest, from);
        for (index, (number, bytes)) in found.iter().enumerate() {
            let last = index + 1 == found.len();
            self.seal_concerned(&upkeep.manifest, &mut concerned, *number);
            expected = self.replay_segment(*number, last, expected)?;
            told.journal_bytes += bytes;
            progress(told);
            if self.is_large() {
                self.flush_replayed(&mut upkeep, number + 1, concerned)?;
            }
        }
        if let Some(sequence) = expected {
            self.writer.lock().journal.go_on_with(sequence);
        }
        if concerned != upkeep.manifest.next_deletion {
            self.seal(concerned)?;
        }
        Ok(())
    }

    /// Records before and after a deletion go into different memories.
    fn seal_concerned(&self, manifest: &Manifest, concerned: &mut u64, segment: u64) {
        let next = first_concerning(manifest, segment);
        if next != *concerned {
            self.seal_at(segment, *concerned);
            *concerned = next;
        }
    }

    /// Flushes in the middle of replay; a full disk must not keep the store from opening.
    fn flush_replayed(
        &self,
        upkeep: &mut Upkeep,
        journal_from: u64,
        deletions_from: u64,
    ) -> Result<(), JobError> {
        self.seal_at(journal_from, deletions_from);
        match self.flush(upkeep) {
            Err(JobError::DiskFull(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Applies one segment; returns the sequence that the next one starts with.
    fn replay_segment(
        &self,
        number: u64,
        last: bool,
        expected: Option<u64>,
    ) -> Result<Option<u64>, OpenError> {
        let path = segment_path(&journal_folder::<K>(), number);
        let blob = self.disk.blob(&path)?;
        let mut reading = journal::read(&path, &blob, last, expected);
        let mut writer = self.writer.lock();
        for frame in std::mem::take(&mut reading.frames) {
            let offset = frame.start as u64;
            let mut tenants: Vec<Tenant> = Vec::new();
            let mut refused = Vec::new();
            let mut apply = |tenant: &Tenant, payload: &[u8]| {
                if let Err(error) = self.apply(&mut writer, tenant, number, payload) {
                    let expected = format!("a record that its signal reads: {error}");
                    refused.push(Corrupt::new(&path, offset, expected));
                }
                if tenants.last() != Some(tenant) {
                    tenants.push(tenant.clone());
                }
            };
            let read = journal::records(&path, &blob, frame, &mut apply);
            reading.damage.extend(read.err());
            reading.damage.append(&mut refused);
            self.weigh(&mut writer, tenants.iter());
        }
        drop(writer);
        if !reading.damage.is_empty() {
            let mut quarantine = self.quarantine.lock();
            let name = format!("{number:020}.journal");
            quarantine.copy(&*self.disk, &name, &blob, &reading.damage)?;
        }
        let length = blob.len() as u64;
        // The mapping must be gone before the file is cut.
        drop(blob);
        if last || reading.cut.is_some() {
            self.settle(&path, length, reading.cut)?;
        }
        Ok(reading.next_sequence)
    }

    /// Cuts the torn tail of a segment, and syncs it: the process may have died before it
    /// could, and what follows relies on all before being durable.
    fn settle(&self, path: &str, length: u64, cut: Option<u64>) -> Result<(), OpenError> {
        let torn = length - cut.unwrap_or(length);
        self.counters.torn_bytes.fetch_add(torn, Ordering::Relaxed);
        self.counters
            .journal_bytes
            .fetch_sub(torn, Ordering::Relaxed);
        if cut == Some(0) {
            self.disk.remove(path)?;
            return Ok(());
        }
        let mut file = self.disk.append(path)?;
        if let Some(cut) = cut {
            file.truncate(cut)?;
        }
        file.sync()?;
        Ok(())
    }
}

/// Parts without any manifest are those of a first flush that did not end: then the journal still
/// holds the very first frame. Otherwise the manifest is lost, and its parts must not be taken for
/// orphans.
fn refuse_lost_manifest<K: Kind>(disk: &dyn Disk) -> Result<(), OpenError> {
    let parts = disk.list(&parts_folder::<K>())?;
    if !parts.iter().any(|e| number_of(&e.name, ".part").is_some()) {
        return Ok(());
    }
    let folder = journal_folder::<K>();
    let first = match segments(disk, &folder)?.first() {
        Some((number, _)) => {
            let blob = disk.blob(&segment_path(&folder, *number))?;
            journal::first_sequence(&blob)
        }
        None => None,
    };
    if first == Some(FIRST_SEQUENCE) {
        return Ok(());
    }
    let expected = "the edits that name the parts, found none";
    let lost = Corrupt::new(manifest_folder::<K>(), 0, expected);
    Err(OpenError::Manifest(lost))
}

/// Removes files that no edit names: parts of jobs that did not end. Returns a part number above
/// all that were found.
fn remove_orphans<K: Kind>(disk: &dyn Disk, manifest: &Manifest) -> Result<u64, DiskError> {
    let mut next = 0;
    for entry in disk.list(&parts_folder::<K>())? {
        let Some(number) = number_of(&entry.name, ".part") else {
            continue;
        };
        next = next.max(number + 1);
        if !manifest.parts.contains_key(&number) {
            disk.remove(&part_path::<K>(number))?;
        }
    }
    Ok(next)
}

/// Opens every part of the manifest; the numbers of those that are damaged are returned.
fn open_parts<K: Kind>(
    disk: &dyn Disk,
    manifest: &Manifest,
    quarantine: &mut Quarantine,
    progress: &dyn Fn(Progress),
) -> Result<(View<K>, Vec<u64>), DiskError> {
    let mut view = View::default();
    let mut bad = Vec::new();
    let mut told = Progress {
        parts_total: manifest.parts.len() as u64,
        ..Progress::default()
    };
    for entry in manifest.parts.values() {
        match open_part::<K>(disk, entry.number)?.and_then(|open| matching(open, entry)) {
            Ok(open) => {
                let (entry, open) = (entry.clone(), Arc::new(open));
                view.replace(&[], vec![Held { entry, open }]);
            }
            Err(error) => {
                quarantine.take(disk, &part_path::<K>(entry.number), &error)?;
                bad.push(entry.number);
            }
        }
        told.parts += 1;
        progress(told);
    }
    Ok((view, bad))
}

/// Closes the tiers of windows of which parts were lost; gives their entries.
fn close<K: Kind>(
    view: &mut View<K>,
    manifest: &Manifest,
    lost: &[u64],
    window: i64,
) -> Vec<PartEntry> {
    let place = |entry: &PartEntry| {
        (
            entry.tenant.clone(),
            window_of(entry.range.start, window).start,
        )
    };
    let lost = lost.iter().filter_map(|number| manifest.parts.get(number));
    let places: Vec<_> = lost.filter(|entry| entry.tier == 0).map(place).collect();
    let mut closed = Vec::new();
    for held in view.parts.values_mut().flatten() {
        let entry = &mut held.entry;
        if entry.tier != 0 && !entry.closed && places.contains(&place(entry)) {
            entry.closed = true;
            closed.push(entry.clone());
        }
    }
    closed
}

/// A whole part in the wrong place is damage too.
fn matching<K: Kind>(open: OpenPart<K>, entry: &PartEntry) -> Result<OpenPart<K>, Corrupt> {
    let part = &open.reader;
    let same = part.tenant() == &entry.tenant
        && part.rows() == entry.rows
        && part.range() == entry.range
        && part.bytes() == entry.bytes;
    if !same {
        return Err(part.corrupt(0, "the part that the manifest names"));
    }
    Ok(open)
}
