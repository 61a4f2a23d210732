//! One flipped bit in every thousandth byte of each kind of file is told, and a disk that is full
//! at any moment loses nothing and is used again when there is room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use obs_logstore::Logs;
use obs_storage::disk::write_new;
use obs_storage::{Disk, Force, OpenError, Options, SimDisk, Store};
use obs_tracestore::Spans;
use obs_tsdb::Metrics;

use crate::simulation::side::{Side, tenant};
use crate::simulation::signal::{Row, Signal, TENANTS};
use crate::simulation::world::Shared;

/// Places that are tried in a file.
const PLACES: usize = 1000;
/// After every so many flips all rows are read; the simulation does that more often.
const READ_EVERY: usize = 7;
/// Bytes between two sizes of a disk that are tried, and their number.
const ROOM: (u64, u64) = (701, 60);

fn shared(seed: u64) -> Shared {
    let mut shared = Shared::new(seed, Arc::new(Mutex::new(VecDeque::new())));
    shared.options = Options {
        journal_salt: 7,
        reserve_bytes: 0,
        window: shared.options.window,
        flush_bytes: 30_000,
        journal_segment_bytes: 6_000,
        merge_parts: 2,
        ..Options::default()
    };
    shared.without_rules();
    shared
}

/// All rows of a store.
fn rows<S: Signal>(store: &Store<S>) -> BTreeSet<Row> {
    let mut all = BTreeSet::new();
    for index in 0..TENANTS.len() as u8 {
        // A damaged part is told by the scrub; what is found beside it counts.
        if let Ok(found) = S::find(&store.snapshot(&tenant(index)), 0) {
            all.extend(found.rows);
        }
    }
    all
}

fn open<S: Signal>(files: &BTreeMap<String, Vec<u8>>) -> Result<Store<S>, OpenError> {
    let disk = SimDisk::new(1);
    for (path, bytes) in files {
        write_new(&disk, path, bytes)?;
    }
    let options = Options {
        reserve_bytes: 0,
        ..Options::default()
    };
    Store::open(Arc::new(disk), options, &|_| {})
}

/// The files of a store with parts, edits and a journal, and the largest of each kind.
fn files<S: Signal>() -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let mut shared = shared(3);
    let mut side = Side::<S>::new();
    side.open(&mut shared).expect("an empty disk");
    for _ in 0..12 {
        side.append(&mut shared);
    }
    side.force(&mut shared, Force::Flush);
    side.append(&mut shared);
    side.delete(&mut shared);
    for _ in 0..4 {
        side.append(&mut shared);
    }
    side.check(&mut shared, false);
    side.close(&mut shared);
    let mut files = BTreeMap::new();
    let mut largest: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for path in shared.disk.paths() {
        let bytes = shared.disk.blob(&path).expect("it is listed").to_vec();
        for kind in [".part", ".edit", ".journal"] {
            if path.ends_with(kind) {
                let old = largest.entry(kind).or_default();
                *old = old.clone().max((bytes.len(), path.clone()));
            }
        }
        files.insert(path, bytes);
    }
    assert_eq!(largest.len(), 3, "parts, edits and a journal");
    let largest = largest.into_values().map(|(_, path)| path).collect();
    (files, largest)
}

fn flips_are_told<S: Signal>() {
    let (mut files, largest) = files::<S>();
    let whole = rows(&open::<S>(&files).expect("nothing is damaged"));
    assert!(whole.len() > 20, "{}: {} rows", S::NAME, whole.len());
    for path in largest {
        let length = files[&path].len();
        let stride = length.div_ceil(PLACES);
        for (count, at) in (0..length).step_by(stride).enumerate() {
            let mask = 1u8 << (count % 8);
            let flip = |files: &mut BTreeMap<String, Vec<u8>>| {
                files.get_mut(&path).expect("it is there")[at] ^= mask;
            };
            flip(&mut files);
            match open::<S>(&files) {
                Ok(store) => {
                    let reads = count % READ_EVERY == 0;
                    let early = reads.then(|| rows(&store)).unwrap_or_default();
                    assert!(early.is_subset(&whole), "{path} at {at}: damage is served");
                    let scrubbed = store.scrub().expect("the disk works");
                    let torn = store.stats().torn_bytes > 0;
                    let told = torn || !scrubbed.is_empty() || !store.quarantined().is_empty();
                    assert!(told, "{path} at {at} of {length}: damage is not told");
                    let late = reads.then(|| rows(&store)).unwrap_or_default();
                    assert!(late.is_subset(&whole), "{path} at {at}: damage is served");
                }
                Err(OpenError::Manifest(_)) => assert!(path.ends_with(".edit"), "{path}"),
                Err(error) => panic!("{path} at {at}: {error}"),
            }
            flip(&mut files);
        }
    }
}

#[test]
fn every_flipped_bit_of_metrics_is_told() {
    flips_are_told::<Metrics>();
}

#[test]
fn every_flipped_bit_of_logs_is_told() {
    flips_are_told::<Logs>();
}

#[test]
fn every_flipped_bit_of_spans_is_told() {
    flips_are_told::<Spans>();
}

/// Writes, jobs, deletions, copies and restarts on a disk of some size; then there is room again.
/// Gives how many writes and jobs met the full disk.
fn fill<S: Signal>(seed: u64, room: u64) -> u64 {
    let mut shared = shared(seed);
    let mut side = Side::<S>::new();
    side.open(&mut shared).expect("an empty disk");
    shared.disk.set_capacity(Some(room));
    for step in 0..24 {
        side.append(&mut shared);
        side.upkeep(&mut shared);
        match step % 8 {
            3 => side.delete(&mut shared),
            5 => side.copy(&mut shared),
            7 => side.check(&mut shared, false),
            6 if seed.is_multiple_of(2) => {
                side.close(&mut shared);
                shared.disk.crash();
                shared.disk.set_capacity(Some(room));
                side.open(&mut shared).expect("a full disk is opened");
                side.check(&mut shared, true);
            }
            _ => {}
        }
        assert!(
            !side.poisoned(),
            "{}: a full disk is no broken one",
            S::NAME
        );
    }
    side.check(&mut shared, false);
    // There is room again: nobody has to do anything.
    shared.disk.set_capacity(None);
    let met = (shared.seen.full, side.failed_jobs());
    side.upkeep(&mut shared);
    side.append(&mut shared);
    side.drain(&mut shared);
    assert_eq!(
        (shared.seen.full, side.failed_jobs()),
        met,
        "{}: with room",
        S::NAME
    );
    side.check(&mut shared, false);
    side.close(&mut shared);
    shared.disk.crash();
    side.open(&mut shared).expect("there is room");
    side.check(&mut shared, true);
    met.0 + met.1
}

fn full_disks_lose_nothing<S: Signal>() {
    let (step, count) = ROOM;
    let met = (0..count).map(|index| fill::<S>(index, index * step));
    let met: u64 = met.sum();
    assert!(met > 4 * count, "{}: full {met} times", S::NAME);
}

#[test]
fn a_full_disk_loses_no_metrics() {
    full_disks_lose_nothing::<Metrics>();
}

#[test]
fn a_full_disk_loses_no_logs() {
    full_disks_lose_nothing::<Logs>();
}

#[test]
fn a_full_disk_loses_no_spans() {
    full_disks_lose_nothing::<Spans>();
}
