//! The manifest: which parts exist, what of them is deleted and which journal segments are still
//! needed, as a numbered log of edits. Every 64th edit is a snapshot of everything. The bytes are specified in
//! `docs/formats/manifest.md`.
//!
//! Invariants: an edit is durable before anything that relies on it happens (removing inputs,
//! cutting the journal, showing parts to readers); edit `n + 1` exists only if edit `n` did.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::{Tenant, TimeRange, Timestamp};

use crate::bucket::Bucket;
use crate::cursor::Cursor;
use crate::disk::number_of;
use crate::error::{Corrupt, DiskError, OpenError};
use crate::part::push_short;

/// First bytes of each copy of an edit; the last one is the version.
pub const EDIT_MAGIC: [u8; 8] = *b"OBSMANI\x03";
/// The same before there were tiers, and before there were deletions; still read.
const EDIT_MAGIC_2: [u8; 8] = *b"OBSMANI\x02";
const EDIT_MAGIC_1: [u8; 8] = *b"OBSMANI\x01";
/// Every edit whose number is a multiple of this is a snapshot.
pub const SNAPSHOT_EVERY: u64 = 64;

/// A part as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartEntry {
    /// Names the file; never used twice.
    pub(crate) number: u64,
    /// Place in the order of arrival: the number of the oldest part that was merged into it.
    pub(crate) order: u64,
    pub(crate) tenant: Tenant,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) range: TimeRange,
    /// The first deletion that may concern its rows: earlier ones came before the rows did, or took
    /// what they take.
    pub(crate) deletions_from: u64,
    /// Nanoseconds that its rows stand for; 0 for rows as they came.
    pub(crate) tier: i64,
    /// The number of the newest flushed part that was merged into it; of a tier, that it was made of.
    pub(crate) until: u64,
    /// A tier that is never made again, because of the rows that it was made of some are gone.
    pub(crate) closed: bool,
}

/// Rows that are not to be found any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeletionEntry {
    /// Its place in the order of deletions, from 0.
    pub(crate) number: u64,
    pub(crate) tenant: Tenant,
    pub(crate) range: TimeRange,
    /// The first journal segment whose records it does not concern.
    pub(crate) journal_before: u64,
    /// Which rows, as their signal writes it.
    pub(crate) selector: Arc<[u8]>,
}

/// A change of the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) added: Vec<PartEntry>,
    pub(crate) removed: Vec<u64>,
    /// The first journal segment that is still needed, when it moves.
    pub(crate) journal_from: Option<u64>,
    /// Deletions that are new.
    pub(crate) deleted: Vec<DeletionEntry>,
    /// Deletions that no row is left of. Filled in when the edit is made.
    pub(crate) forgotten: Vec<u64>,
}

/// The state after all edits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The number of the last edit.
    pub(crate) number: u64,
    pub(crate) parts: BTreeMap<u64, PartEntry>,
    /// The first journal segment that replay needs.
    pub(crate) journal_from: u64,
    /// The number of the next part.
    pub(crate) next_part: u64,
    pub(crate) deletions: BTreeMap<u64, DeletionEntry>,
    /// The number of the next deletion.
    pub(crate) next_deletion: u64,
}

impl Manifest {
    /// Reads the last snapshot and the edits after it. Copies that are damaged, but whose twin is
    /// whole, are told in `damage`.
    pub(crate) fn open(
        bucket: &dyn Bucket,
        folder: &str,
        damage: &mut Vec<Corrupt>,
    ) -> Result<Self, OpenError> {
        let mut manifest = Self::default();
        let numbers: Vec<u64> = numbers(bucket, folder)?;
        let Some(last) = numbers.last().copied() else {
            return Ok(manifest);
        };
        let base = last / SNAPSHOT_EVERY * SNAPSHOT_EVERY;
        for number in base.max(1)..=last {
            let place = edit_path(folder, number);
            let bytes = match bucket.get_range(&place, 0..u64::MAX) {
                Ok(bytes) => bytes,
                Err(DiskError::Missing { .. }) => {
                    let missing = Corrupt::new(place, 0, "an edit, found no file");
                    return Err(OpenError::Manifest(missing));
                }
                Err(error) => return Err(error.into()),
            };
            manifest
                .read_edit(&place, number, &bytes, damage)
                .map_err(OpenError::Manifest)?;
        }
        Ok(manifest)
    }

    /// Makes the edit durable and applies it. After an error other than `Sync` nothing happened;
    /// `Exists` tells of another writer.
    pub(crate) fn commit(
        &mut self,
        bucket: &dyn Bucket,
        folder: &str,
        mut edit: Edit,
    ) -> Result<(), DiskError> {
        let mut next = self.clone();
        next.number += 1;
        next.apply(&edit);
        edit.forgotten = next.moot();
        next.apply(&edit);
        let bytes = if next.number.is_multiple_of(SNAPSHOT_EVERY) {
            let whole = Edit {
                added: next.parts.values().cloned().collect(),
                deleted: next.deletions.values().cloned().collect(),
                ..Edit::default()
            };
            next.encode(&whole)
        } else {
            next.encode(&edit)
        };
        bucket.put_new(&edit_path(folder, next.number), &bytes)?;
        *self = next;
        Ok(())
    }

    /// Removes edits that two snapshots have made superfluous; the last generation stays for
    /// whoever must find out what happened.
    pub(crate) fn prune(&self, bucket: &dyn Bucket, folder: &str) -> Result<(), DiskError> {
        let base = self.number / SNAPSHOT_EVERY * SNAPSHOT_EVERY;
        let keep_from = base.saturating_sub(SNAPSHOT_EVERY);
        for number in numbers(bucket, folder)? {
            if number < keep_from {
                bucket.delete(&edit_path(folder, number))?;
            }
        }
        Ok(())
    }

    /// Deletions that concern no row that is left, in parts or in the journal.
    fn moot(&self) -> Vec<u64> {
        let concerns = |deletion: &DeletionEntry, part: &PartEntry| {
            part.tenant == deletion.tenant
                && part.deletions_from <= deletion.number
                && part.range.overlaps(deletion.range)
        };
        let moot = self.deletions.values().filter(|deletion| {
            self.journal_from >= deletion.journal_before
                && !self.parts.values().any(|part| concerns(deletion, part))
        });
        moot.map(|deletion| deletion.number).collect()
    }

    /// The bytes of a manifest with one edit, the name of which is given, that leads to this state.
    pub(crate) fn encode_alone(&self, folder: &str) -> (String, Vec<u8>) {
        let mut alone = self.clone();
        alone.number = self.number.next_multiple_of(SNAPSHOT_EVERY);
        let whole = Edit {
            added: alone.parts.values().cloned().collect(),
            deleted: alone.deletions.values().cloned().collect(),
            ..Edit::default()
        };
        (edit_path(folder, alone.number), alone.encode(&whole))
    }

    /// Applying an edit twice is applying it once.
    fn apply(&mut self, edit: &Edit) {
        for number in &edit.removed {
            self.parts.remove(number);
        }
        for part in &edit.added {
            self.next_part = self.next_part.max(part.number.saturating_add(1));
            self.parts.insert(part.number, part.clone());
        }
        self.journal_from = edit.journal_from.unwrap_or(self.journal_from);
        for deletion in &edit.deleted {
            self.next_deletion = self.next_deletion.max(deletion.number.saturating_add(1));
            self.deletions.insert(deletion.number, deletion.clone());
        }
        for number in &edit.forgotten {
            self.deletions.remove(number);
        }
    }

    /// The file of an edit that leads to this state: two equal copies.
    fn encode(&self, edit: &Edit) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + edit.added.len() * 96);
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&self.journal_from.to_le_bytes());
        body.extend_from_slice(&self.next_part.to_le_bytes());
        body.extend_from_slice(&self.next_deletion.to_le_bytes());
        body.extend_from_slice(&(edit.added.len() as u32).to_le_bytes());
        for part in &edit.added {
            body.extend_from_slice(&part.number.to_le_bytes());
            body.extend_from_slice(&part.order.to_le_bytes());
            push_short(&mut body, part.tenant.as_str());
            body.extend_from_slice(&part.rows.to_le_bytes());
            body.extend_from_slice(&part.bytes.to_le_bytes());
            body.extend_from_slice(&part.range.start.nanos().to_le_bytes());
            body.extend_from_slice(&part.range.end.nanos().to_le_bytes());
            body.extend_from_slice(&part.deletions_from.to_le_bytes());
            body.extend_from_slice(&part.tier.to_le_bytes());
            body.extend_from_slice(&part.until.to_le_bytes());
            body.push(u8::from(part.closed));
        }
        push_numbers(&mut body, &edit.removed);
        body.extend_from_slice(&(edit.deleted.len() as u32).to_le_bytes());
        for deletion in &edit.deleted {
            body.extend_from_slice(&deletion.number.to_le_bytes());
            push_short(&mut body, deletion.tenant.as_str());
            body.extend_from_slice(&deletion.range.start.nanos().to_le_bytes());
            body.extend_from_slice(&deletion.range.end.nanos().to_le_bytes());
            body.extend_from_slice(&deletion.journal_before.to_le_bytes());
            body.extend_from_slice(&(deletion.selector.len() as u32).to_le_bytes());
            body.extend_from_slice(&deletion.selector);
        }
        push_numbers(&mut body, &edit.forgotten);
        let mut file = Vec::with_capacity(2 * (body.len() + 12));
        file.extend_from_slice(&EDIT_MAGIC);
        file.extend_from_slice(&body);
        file.extend_from_slice(&crc32c::crc32c(&file).to_le_bytes());
        file.extend_from_within(..);
        file
    }

    fn read_edit(
        &mut self,
        place: &str,
        number: u64,
        bytes: &[u8],
        damage: &mut Vec<Corrupt>,
    ) -> Result<(), Corrupt> {
        let half = bytes.len() / 2;
        let first = read_copy(place, &bytes[..half], 0);
        let second = read_copy(place, &bytes[half..], half as u64);
        let (version, body) = match (first, second) {
            (Ok(body), Ok(_)) => body,
            (Ok(body), Err(error)) | (Err(error), Ok(body)) => {
                damage.push(error);
                body
            }
            (Err(error), Err(_)) => return Err(error),
        };
        let mut cursor = Cursor::new(place, body, 8);
        if cursor.u64("edit number")? != number {
            return Err(cursor.corrupt("the number of its file"));
        }
        let journal_from = cursor.u64("first journal segment")?;
        let next_part = cursor.u64("next part")?;
        let next_deletion = match version {
            1 => 0,
            _ => cursor.u64("next deletion")?,
        };
        let mut edit = Edit {
            journal_from: Some(journal_from),
            ..Edit::default()
        };
        for _ in 0..cursor.u32("count of parts")? {
            edit.added.push(read_part(&mut cursor, version)?);
        }
        for _ in 0..cursor.u32("count of removed parts")? {
            edit.removed.push(cursor.u64("removed part")?);
        }
        if version > 1 {
            for _ in 0..cursor.u32("count of deletions")? {
                edit.deleted.push(read_deletion(&mut cursor)?);
            }
            for _ in 0..cursor.u32("count of forgotten deletions")? {
                edit.forgotten.push(cursor.u64("forgotten deletion")?);
            }
        }
        if !cursor.is_empty() {
            return Err(cursor.corrupt("the end of the edit"));
        }
        if number.is_multiple_of(SNAPSHOT_EVERY) {
            self.parts.clear();
            self.deletions.clear();
        }
        self.apply(&edit);
        self.number = number;
        self.next_part = next_part;
        self.next_deletion = next_deletion;
        Ok(())
    }
}

fn push_numbers(body: &mut Vec<u8>, numbers: &[u64]) {
    body.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
    for number in numbers {
        body.extend_from_slice(&number.to_le_bytes());
    }
}

/// The version and the body of a copy. Since version 2 the magic is under the checksum.
fn read_copy<'a>(place: &str, copy: &'a [u8], offset: u64) -> Result<(u8, &'a [u8]), Corrupt> {
    let expected = "the magic of an edit, version 1 to 3";
    let found = copy.split_first_chunk::<8>().and_then(|(magic, rest)| {
        let known = [EDIT_MAGIC_1, EDIT_MAGIC_2, EDIT_MAGIC].contains(magic);
        let (body, checksum) = rest.split_last_chunk::<4>().filter(|_| known)?;
        Some((magic[7], body, checksum))
    });
    let Some((version, body, checksum)) = found else {
        return Err(Corrupt::new(place, offset, expected));
    };
    let covered = if version == 1 {
        body
    } else {
        &copy[..copy.len() - 4]
    };
    if crc32c::crc32c(covered).to_le_bytes() != *checksum {
        return Err(Corrupt::new(place, offset, "the checksum of its bytes"));
    }
    Ok((version, body))
}

fn read_deletion(cursor: &mut Cursor<'_>) -> Result<DeletionEntry, Corrupt> {
    Ok(DeletionEntry {
        number: cursor.u64("deletion number")?,
        tenant: cursor.tenant()?,
        range: read_range(cursor)?,
        journal_before: cursor.u64("journal segment of the deletion")?,
        selector: {
            let bytes = cursor.u32("length of the selector")?;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            cursor.take(bytes, "selector")?.into()
        },
    })
}

fn read_range(cursor: &mut Cursor<'_>) -> Result<TimeRange, Corrupt> {
    Ok(TimeRange::new(
        Timestamp::from_nanos(cursor.i64("start")?),
        Timestamp::from_nanos(cursor.i64("end")?),
    ))
}

fn read_part(cursor: &mut Cursor<'_>, version: u8) -> Result<PartEntry, Corrupt> {
    let number = cursor.u64("part number")?;
    Ok(PartEntry {
        number,
        order: cursor.u64("part order")?,
        tenant: cursor.tenant()?,
        rows: cursor.u64("part rows")?,
        bytes: cursor.u64("part length")?,
        range: read_range(cursor)?,
        deletions_from: match version {
            1 => 0,
            _ => cursor.u64("first deletion of the part")?,
        },
        tier: match version {
            1 | 2 => 0,
            _ => cursor.i64("tier of the part")?,
        },
        until: match version {
            1 | 2 => number,
            _ => cursor.u64("newest part inside the part")?,
        },
        closed: match version {
            1 | 2 => false,
            _ => cursor.take(1, "whether the tier is closed")? != [0],
        },
    })
}

fn edit_path(folder: &str, number: u64) -> String {
    format!("{folder}/{number:020}.edit")
}

fn numbers(bucket: &dyn Bucket, folder: &str) -> Result<Vec<u64>, DiskError> {
    let number = |name: &str| number_of(name, ".edit");
    let entries = bucket.list(folder)?;
    let mut numbers: Vec<u64> = entries.iter().filter_map(|e| number(&e.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::LocalBucket;
    use crate::disk::Disk;
    use crate::sim::SimDisk;
    use proptest::prelude::*;
    use std::sync::Arc;

    const FOLDER: &str = "toy/manifest";

    fn bucket() -> (SimDisk, LocalBucket) {
        let disk = SimDisk::new(1);
        (disk.clone(), LocalBucket::new(Arc::new(disk)))
    }

    fn part(number: u64) -> PartEntry {
        PartEntry {
            number,
            order: number,
            tenant: Tenant::anonymous(),
            rows: 10,
            bytes: 1000,
            range: TimeRange::new(Timestamp::from_nanos(-1), Timestamp::from_nanos(1)),
            deletions_from: 0,
            tier: if number.is_multiple_of(5) { 300 } else { 0 },
            until: number,
            closed: number.is_multiple_of(10),
        }
    }

    fn deletion(number: u64) -> DeletionEntry {
        DeletionEntry {
            number,
            tenant: Tenant::anonymous(),
            range: TimeRange::ALL,
            journal_before: 0,
            selector: b"any".as_slice().into(),
        }
    }

    fn filled(bucket: &LocalBucket, edits: u64) -> Manifest {
        let mut manifest = Manifest::default();
        for number in 0..edits {
            let edit = Edit {
                added: vec![part(number)],
                removed: number.checked_sub(3).into_iter().collect(),
                journal_from: number.is_multiple_of(2).then_some(number),
                deleted: vec![deletion(number)],
                ..Edit::default()
            };
            manifest.commit(bucket, FOLDER, edit).unwrap();
            manifest.prune(bucket, FOLDER).unwrap();
        }
        manifest
    }

    #[test]
    fn what_was_committed_is_read() {
        for edits in [0, 1, 2, 63, 64, 65, 128, 200] {
            let (disk, bucket) = bucket();
            let manifest = filled(&bucket, edits);
            let mut damage = Vec::new();
            let read = Manifest::open(&bucket, FOLDER, &mut damage).unwrap();
            assert_eq!((read, damage), (manifest, vec![]), "{edits} edits");
            assert!(disk.paths().len() as u64 <= 2 * SNAPSHOT_EVERY + 1);
        }
    }

    #[test]
    fn a_deletion_is_forgotten_when_nothing_is_left_of_its_rows() {
        let (_, bucket) = bucket();
        let mut manifest = Manifest::default();
        let mut commit = |edit: Edit, expect: &[u64]| {
            manifest.commit(&bucket, FOLDER, edit).unwrap();
            let known: Vec<u64> = manifest.deletions.keys().copied().collect();
            assert_eq!(known, expect);
        };
        let added = |deletions_from: u64| {
            let entry = PartEntry {
                deletions_from,
                ..part(1)
            };
            Edit {
                added: vec![entry],
                removed: vec![1],
                ..Edit::default()
            }
        };
        let deleted = |number: u64, journal_before: u64| Edit {
            deleted: vec![DeletionEntry {
                journal_before,
                ..deletion(number)
            }],
            ..Edit::default()
        };
        let cut = |segment: u64| Edit {
            journal_from: Some(segment),
            ..Edit::default()
        };
        commit(added(0), &[]);
        commit(deleted(0, 0), &[0]);
        commit(deleted(1, 5), &[0, 1]);
        commit(added(1), &[1]);
        commit(added(2), &[1]);
        commit(cut(4), &[1]);
        commit(cut(5), &[]);
        assert_eq!(manifest.next_deletion, 2);
        let read = Manifest::open(&bucket, FOLDER, &mut Vec::new()).unwrap();
        assert_eq!(read, manifest);
    }

    #[test]
    fn a_loser_is_told() {
        let (_, bucket) = bucket();
        let mut one = filled(&bucket, 3);
        let mut other = one.clone();
        one.commit(&bucket, FOLDER, Edit::default()).unwrap();
        let before = other.clone();
        let lost = other.commit(&bucket, FOLDER, Edit::default());
        assert!(matches!(lost, Err(DiskError::Exists { .. })));
        assert_eq!(other, before);
    }

    #[test]
    fn a_flipped_bit_is_told_and_costs_nothing() {
        let (disk, bucket) = bucket();
        let manifest = filled(&bucket, 66);
        let path = edit_path(FOLDER, 65);
        let bits = disk.blob(&path).unwrap().len() as u64 * 8;
        for bit in 0..bits {
            assert!(disk.flip(&path, bit));
            let mut damage = Vec::new();
            let read = Manifest::open(&bucket, FOLDER, &mut damage).unwrap();
            assert_eq!((&read, damage.len()), (&manifest, 1), "bit {bit}");
            assert!(disk.flip(&path, bit));
        }
    }

    #[test]
    fn a_missing_or_destroyed_edit_stops_the_open() {
        let (disk, bucket) = bucket();
        filled(&bucket, 66);
        disk.flip(&edit_path(FOLDER, 65), 0);
        let second_copy = bucket.head(&edit_path(FOLDER, 65)).unwrap() / 2 * 8;
        disk.flip(&edit_path(FOLDER, 65), second_copy);
        let error = Manifest::open(&bucket, FOLDER, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, OpenError::Manifest(_)), "{error}");
        bucket.delete(&edit_path(FOLDER, 65)).unwrap();
        let error = Manifest::open(&bucket, FOLDER, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("found no file"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bodies_do_not_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = EDIT_MAGIC.to_vec();
            file.extend_from_slice(&body);
            file.extend_from_slice(&crc32c::crc32c(&file).to_le_bytes());
            file.extend_from_within(..);
            let mut manifest = Manifest::default();
            let result = manifest.read_edit("m", 1, &file, &mut Vec::new());
            prop_assert!(result.is_err() || body.len() >= 32);
        }
    }
}
