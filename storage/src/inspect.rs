//! Looking a store through without opening it: what `obs doctor` tells of a data directory.
//!
//! Invariant: nothing is changed, and nothing is cut, moved or forgotten because it is damaged.

use std::sync::Arc;

use crate::bucket::LocalBucket;
use crate::disk::{Disk, number_of};
use crate::error::{Corrupt, DiskError, OpenError, Quarantined};
use crate::journal::{read, segment_path, segments};
use crate::manifest::{Manifest, PartEntry};
use crate::part::PartReader;
use crate::quarantine::Quarantine;

/// What a store's folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Parts that the manifest names, and their bytes.
    pub parts: u64,
    /// Bytes of these parts.
    pub part_bytes: u64,
    /// Files of parts that the manifest does not name; they go at the next start.
    pub orphans: u64,
    /// Segments of the journal.
    pub segments: u64,
    /// Their bytes, all of which are read at the next start.
    pub journal_bytes: u64,
    /// Bytes at the end of the journal that a crash tore off; they were never acknowledged.
    pub torn_bytes: u64,
    /// What is damaged and not in quarantine yet.
    pub damage: Vec<Corrupt>,
    /// What was set aside earlier.
    pub quarantined: Vec<Quarantined>,
    /// Why the store would not open.
    pub closed: Option<String>,
}

/// Looks through the store in the folder `name` of a disk that nobody else has open; `deep` reads
/// every byte of every part, otherwise their ends are read.
pub fn inspect(disk: &Arc<dyn Disk>, name: &str, deep: bool) -> Result<Inspection, DiskError> {
    let bucket = LocalBucket::new(Arc::clone(disk));
    let disk = &**disk;
    let mut found = Inspection {
        quarantined: Quarantine::open(disk, format!("{name}/quarantine"))?.all(),
        ..Inspection::default()
    };
    let folder = format!("{name}/manifest");
    match Manifest::open(&bucket, &folder, &mut found.damage) {
        Ok(manifest) => inspect_parts(disk, name, &manifest, deep, &mut found)?,
        Err(OpenError::Disk(error)) => return Err(error),
        Err(error) => found.closed = Some(error.to_string()),
    }
    inspect_journal(disk, name, &mut found)?;
    Ok(found)
}

fn inspect_parts(
    disk: &dyn Disk,
    name: &str,
    manifest: &Manifest,
    deep: bool,
    found: &mut Inspection,
) -> Result<(), DiskError> {
    for entry in manifest.parts.values() {
        found.parts += 1;
        found.part_bytes += entry.bytes;
        let path = format!("{name}/parts/{:020}.part", entry.number);
        let checked = match disk.blob(&path) {
            Ok(blob) => PartReader::open(path, blob).and_then(|part| check(&part, entry, deep)),
            Err(DiskError::Missing { .. }) => Err(Corrupt::new(path, 0, "a part, found no file")),
            Err(error) => return Err(error),
        };
        found.damage.extend(checked.err());
    }
    for file in disk.list(&format!("{name}/parts"))? {
        let number = number_of(&file.name, ".part");
        found.orphans += u64::from(number.is_some_and(|n| !manifest.parts.contains_key(&n)));
    }
    Ok(())
}

fn check(part: &PartReader, entry: &PartEntry, deep: bool) -> Result<(), Corrupt> {
    let same = part.tenant() == &entry.tenant
        && part.rows() == entry.rows
        && part.range() == entry.range
        && part.bytes() == entry.bytes;
    match (same, deep) {
        (false, _) => Err(part.corrupt(0, "the part that the manifest names")),
        (true, true) => part.verify(),
        (true, false) => Ok(()),
    }
}

fn inspect_journal(disk: &dyn Disk, name: &str, found: &mut Inspection) -> Result<(), DiskError> {
    let folder = format!("{name}/journal");
    let all = segments(disk, &folder)?;
    let mut expected = None;
    for (index, (number, bytes)) in all.iter().enumerate() {
        found.segments += 1;
        found.journal_bytes += bytes;
        let path = segment_path(&folder, *number);
        let blob = disk.blob(&path)?;
        let mut reading = read(&path, &blob, index + 1 == all.len(), expected);
        found.damage.append(&mut reading.damage);
        found.torn_bytes += reading.cut.map_or(0, |cut| bytes.saturating_sub(cut));
        expected = reading.next_sequence;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::toy::{Row, Toy, records, tenant};
    use crate::{Job, Options, SimDisk, Store};

    /// A part, a segment of the journal, and what belongs to them.
    fn filled() -> (SimDisk, Arc<dyn Disk>) {
        let disk = SimDisk::new(3);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = Store::<Toy>::open(Arc::clone(&shared), Options::default(), &|_| {}).unwrap();
        let append = |number: u64| {
            let row = Row { number, at: 5 };
            records(&tenant("a"), &[row], |records| store.append(records)).unwrap();
        };
        append(1);
        store.run(Job::Flush).unwrap();
        append(2);
        (disk, shared)
    }

    fn only(disk: &SimDisk, ending: &str) -> String {
        let paths = disk.paths();
        let mut found = paths.into_iter().filter(|path| path.ends_with(ending));
        found.next_back().expect("there is one")
    }

    #[test]
    fn a_whole_store_has_no_finding() {
        let (_, shared) = filled();
        for deep in [false, true] {
            let found = inspect(&shared, "toy", deep).unwrap();
            assert_eq!((found.parts, found.orphans, found.torn_bytes), (1, 0, 0));
            assert!(found.part_bytes > 0 && found.journal_bytes > 0);
            let none = (found.damage, found.quarantined, found.closed);
            assert_eq!(none, (vec![], vec![], None));
        }
        assert_eq!(
            inspect(&shared, "none", true).unwrap(),
            Inspection::default()
        );
    }

    #[test]
    fn damage_is_found_and_nothing_is_changed() {
        let check = |ending: &str, bit: u64, quick: usize, deep: usize, closed: bool| {
            let (disk, shared) = filled();
            let path = only(&disk, ending);
            assert!(disk.flip(&path, bit), "{path}");
            let before = disk.paths();
            for (deep, expect) in [(false, quick), (true, deep)] {
                let found = inspect(&shared, "toy", deep).unwrap();
                assert_eq!(found.damage.len(), expect, "{path}: {found:?}");
                assert_eq!(found.closed.is_some(), closed, "{path}: {found:?}");
            }
            assert_eq!(disk.paths(), before);
        };
        // The first bytes of a part are its magic; then its rows, which only reading all finds.
        check(".part", 3, 1, 1, false);
        check(".part", 8 * 8, 0, 1, false);
        // One of two copies.
        check(".edit", 8 * 20, 1, 1, false);
        check(".journal", 8 * 4, 1, 1, false);
        let (disk, shared) = filled();
        disk.remove(&only(&disk, ".part")).unwrap();
        let found = inspect(&shared, "toy", false).unwrap();
        assert!(found.damage[0].to_string().contains("found no file"));
        let edit = only(&disk, ".edit");
        let bytes = disk.blob(&edit).unwrap().len() as u64;
        disk.flip(&edit, 8 * 20);
        disk.flip(&edit, (bytes / 2 + 20) * 8);
        assert!(inspect(&shared, "toy", false).unwrap().closed.is_some());
    }
}
