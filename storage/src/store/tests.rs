//! The life of a store, one property at a time; see `simulation.rs` for all of them at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use obs_model::{Tenant, TimeRange, Timestamp};

use super::toy::{Remainder, Row, Toy, records, rows};
use super::*;
use crate::disk::{AppendFile, Entry};
use crate::error::{BackupError, DeleteError, JobError, OpenError};
use crate::sim::SimDisk;
use crate::{Blob, DELETIONS_MAX, Progress, RealDisk, Retention, RetentionRule};

fn options() -> Options {
    Options {
        window: 1000,
        flush_bytes: 1 << 20,
        flush_age: 100,
        reserve_bytes: 0,
        ..Options::default()
    }
}

fn open(disk: &SimDisk, options: Options) -> Store<Toy> {
    Store::open(Arc::new(disk.clone()), options, &|_| {}).unwrap()
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// One write of rows `(number, time)`.
fn append(store: &Store<Toy>, list: &[(u64, i64)]) -> Result<(), AppendError> {
    let row = |(number, at): &(u64, i64)| Row {
        number: *number,
        at: *at,
    };
    let list: Vec<Row> = list.iter().map(row).collect();
    records(&Tenant::anonymous(), &list, |records| store.append(records))
}

fn numbers(store: &Store<Toy>) -> Vec<u64> {
    let (rows, damaged) = rows(&store.snapshot(&Tenant::anonymous()));
    assert_eq!(damaged, 0);
    rows.iter().map(|r| r.number).collect()
}

fn force(store: &Store<Toy>, force: Force) {
    while let Some(job) = store.forced(force) {
        store.run(job).unwrap();
    }
}

/// Deletes the rows of the anonymous tenant whose number leaves a remainder.
fn delete(store: &Store<Toy>, of: u8, is: u8, range: (i64, i64)) -> Result<(), DeleteError> {
    let selector = Remainder { of, is }.bytes();
    let range = TimeRange::new(at(range.0), at(range.1));
    store.delete(&Tenant::anonymous(), &selector, range)
}

fn rows_on_disk(store: &Store<Toy>) -> u64 {
    store.stats().part_rows
}

fn parts(store: &Store<Toy>) -> usize {
    store.snapshot(&Tenant::anonymous()).parts.len()
}

#[test]
fn a_snapshot_outlives_flush_merge_and_drop() {
    let disk = SimDisk::new(1);
    let retention = Retention {
        age: Some(500),
        bytes: None,
    };
    let options = Options {
        retention,
        ..options()
    };
    let store = open(&disk, options);
    append(&store, &[(1, 10), (2, 20)]).unwrap();
    let in_memory = store.snapshot(&Tenant::anonymous());
    force(&store, Force::Flush);
    append(&store, &[(3, 30)]).unwrap();
    force(&store, Force::Flush);
    let in_parts = store.snapshot(&Tenant::anonymous());
    assert_eq!((in_parts.parts.len(), in_parts.memories.len()), (2, 0));
    force(&store, Force::Merge);
    assert_eq!((parts(&store), numbers(&store)), (1, vec![1, 2, 3]));
    let job = store.next_job(at(5000)).unwrap();
    assert!(matches!(job, Job::Drop { .. }), "{job:?}");
    store.run(job).unwrap();
    assert_eq!((parts(&store), store.tenants().len()), (0, 0));
    assert_eq!(rows(&in_memory).0.len(), 2);
    assert_eq!(rows(&in_parts).0.len(), 3);
    let left = disk.paths();
    assert!(!left.iter().any(|p| p.contains("/parts/")), "{left:?}");
}

#[test]
fn a_deletion_hides_what_has_arrived_and_nothing_else() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk, options());
    append(&store, &[(1, 10), (2, 20), (3, 30), (4, 2000)]).unwrap();
    force(&store, Force::Flush);
    append(&store, &[(5, 10), (6, 20)]).unwrap();
    let before = store.snapshot(&Tenant::anonymous());
    delete(&store, 2, 0, (0, 1999)).unwrap();
    append(&store, &[(8, 10)]).unwrap();
    assert_eq!(numbers(&store), [1, 3, 4, 5, 8]);
    assert_eq!(rows(&before).0.len(), 6, "a snapshot does not change");
    // Whatever happens, the answer stays.
    for step in 0..7 {
        match step {
            0 | 4 => store = open(&disk, options()),
            1 | 3 => force(&store, Force::Flush),
            2 => {
                disk.crash();
                store = open(&disk, options());
            }
            5 => force(&store, Force::Merge),
            _ => force(&store, Force::Clean),
        }
        let mut found = numbers(&store);
        found.sort_unstable();
        assert_eq!(found, [1, 3, 4, 5, 8], "step {step}");
    }
    assert_eq!((rows_on_disk(&store), store.deletions()), (5, 0));
    // What comes again is there again.
    append(&store, &[(2, 20)]).unwrap();
    assert!(numbers(&store).contains(&2));
}

#[test]
fn a_part_without_deleted_rows_is_not_written_again() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    append(&store, &[(1, 10), (3, 20)]).unwrap();
    force(&store, Force::Flush);
    let parts: Vec<String> = disk.paths();
    delete(&store, 2, 0, (0, 1999)).unwrap();
    assert_eq!(store.deletions(), 1);
    let job = store.next_job(at(0)).unwrap();
    store.run(job).unwrap();
    assert_eq!((store.deletions(), store.next_job(at(0))), (0, None));
    let is_part = |path: &&String| path.ends_with(".part");
    let after = disk.paths();
    assert!(
        after
            .iter()
            .filter(is_part)
            .eq(parts.iter().filter(is_part))
    );
    // Nor is anything noted where there are no rows at all.
    delete(&store, 2, 1, (5000, 6000)).unwrap();
    assert_eq!(store.deletions(), 0);
    let unread = store.delete(&Tenant::anonymous(), b"?", TimeRange::ALL);
    assert!(
        matches!(unread, Err(DeleteError::Selector(_))),
        "{unread:?}"
    );
}

#[test]
fn a_deletion_makes_room_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let options = || Options {
        reserve_bytes: 4000,
        ..options()
    };
    let store = open(&disk, options());
    append(&store, &[(1, 10), (2, 20)]).unwrap();
    force(&store, Force::Flush);
    append(&store, &[(3, 10), (4, 20)]).unwrap();
    disk.set_capacity(Some(disk.used()));
    delete(&store, 2, 0, (0, 100)).unwrap();
    assert_eq!(numbers(&store), [1, 3]);
    drop(store);
    let store = open(&disk, options());
    assert_eq!(numbers(&store), [1, 3]);
}

#[test]
fn deletions_that_wait_are_few() {
    let store = open(&SimDisk::new(1), options());
    append(&store, &[(1, 10)]).unwrap();
    force(&store, Force::Flush);
    for _ in 0..DELETIONS_MAX {
        delete(&store, 2, 0, (0, 100)).unwrap();
    }
    let refused = delete(&store, 2, 0, (0, 100));
    assert!(matches!(refused, Err(DeleteError::TooMany { .. })));
    force(&store, Force::Clean);
    delete(&store, 2, 0, (0, 100)).unwrap();
    assert_eq!(numbers(&store), [1]);
}

#[test]
fn rules_of_retention_hide_and_remove() {
    let disk = SimDisk::new(1);
    let rules = [
        RetentionRule {
            selector: Remainder { of: 2, is: 0 }.bytes().to_vec(),
            age: 1000,
        },
        RetentionRule {
            selector: Remainder { of: 3, is: 0 }.bytes().to_vec(),
            age: 5000,
        },
    ];
    let store = open(&disk, options());
    store.set_retention_rules(&rules, at(0)).unwrap();
    append(&store, &[(1, 10), (2, 20), (3, 30), (4, 500), (6, 40)]).unwrap();
    assert_eq!(numbers(&store).len(), 5);
    let check = |now: i64, expect: &[u64], on_disk: u64| {
        store.next_job(at(now));
        assert_eq!(numbers(&store), expect, "at {now}");
        force(&store, Force::Flush);
        while let Some(job) = store.next_job(at(now)) {
            store.run(job).unwrap();
        }
        assert_eq!(numbers(&store), expect, "at {now}");
        assert_eq!(rows_on_disk(&store), on_disk, "at {now}");
    };
    // Shown from memory, then from a part that still has other rows that are kept.
    check(1025, &[1, 3, 4, 6], 5);
    check(1500, &[1, 3, 4], 5);
    // The whole part lies beyond the rule, then beyond the other one.
    check(1501, &[1, 3], 2);
    check(5030, &[1, 3], 2);
    check(5031, &[1], 1);
    drop(store);
    let store = open(&disk, options());
    store.set_retention_rules(&rules, at(9000)).unwrap();
    append(&store, &[(6, 7999), (7, 7999), (8, 8000)]).unwrap();
    assert_eq!(numbers(&store), [1, 7, 8]);
}

#[test]
fn parts_never_straddle_a_window() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    append(
        &store,
        &[(1, 999), (2, 1000), (3, -1), (4, i64::MAX), (5, i64::MIN)],
    )
    .unwrap();
    force(&store, Force::Flush);
    force(&store, Force::Merge);
    let snapshot = store.snapshot(&Tenant::anonymous());
    let count = snapshot.parts.len();
    assert_eq!(count, 5);
    assert_eq!(numbers(&store).len(), 5);
}

#[test]
fn memory_is_flushed_by_age_and_by_size() {
    let disk = SimDisk::new(1);
    let store = open(
        &disk,
        Options {
            flush_bytes: 64,
            ..options()
        },
    );
    assert_eq!(store.next_job(at(0)), None);
    append(&store, &[(1, 1)]).unwrap();
    assert_eq!(store.next_job(at(50)), None);
    assert_eq!(store.next_job(at(149)), None);
    assert_eq!(store.next_job(at(150)), Some(Job::Flush));
    store.run(Job::Flush).unwrap();
    assert_eq!(store.next_job(at(1000)), None);
    append(&store, &[(2, 1), (3, 1), (4, 1), (5, 1)]).unwrap();
    assert_eq!(store.next_job(at(1000)), Some(Job::Flush));
}

#[test]
fn a_clock_that_is_set_back_does_not_put_the_flush_off() {
    let store = open(&SimDisk::new(1), options());
    append(&store, &[(1, 1)]).unwrap();
    assert_eq!(store.next_job(at(1_000_000)), None);
    assert_eq!(store.next_job(at(50)), None);
    assert_eq!(store.next_job(at(150)), Some(Job::Flush));
}

#[test]
fn parts_of_a_lost_manifest_are_not_removed() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    append(&store, &[(1, 1)]).unwrap();
    force(&store, Force::Flush);
    append(&store, &[(2, 2)]).unwrap();
    drop(store);
    let edits: Vec<String> = disk.paths();
    let edits = edits.iter().filter(|p| p.ends_with(".edit"));
    edits.for_each(|path| disk.remove(path).unwrap());
    let before = disk.paths();
    let refused = Store::<Toy>::open(Arc::new(disk.clone()), options(), &|_| {});
    let Err(OpenError::Manifest(found)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(found.place, "toy/manifest");
    assert_eq!(disk.paths(), before);
}

#[test]
fn files_with_other_names_are_left_alone() {
    let disk = SimDisk::new(1);
    let strange = [
        "toy/parts/18446744073709551615.part",
        "toy/parts/+5.part",
        "toy/journal/18446744073709551615.journal",
        "toy/manifest/18446744073709551615.edit",
    ];
    for path in strange {
        disk.create(path).unwrap().sync().unwrap();
    }
    let store = open(&disk, options());
    append(&store, &[(1, 1)]).unwrap();
    force(&store, Force::Flush);
    drop(store);
    assert_eq!(numbers(&open(&disk, options())), [1]);
    let left = disk.paths();
    assert!(
        strange.iter().all(|p| left.iter().any(|l| l == p)),
        "{left:?}"
    );
}

#[test]
fn damage_is_kept_where_there_is_no_room_for_a_copy() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    append(&store, &[(1, 1)]).unwrap();
    append(&store, &[(2, 2)]).unwrap();
    drop(store);
    let segment = disk.paths().into_iter().find(|p| p.ends_with(".journal"));
    let segment = segment.unwrap();
    assert!(disk.flip(&segment, 8 * 90));
    disk.set_capacity(Some(disk.used()));
    let store = open(&disk, options());
    assert_eq!(numbers(&store), [2]);
    assert_eq!(store.quarantined().len(), 1);
    disk.set_capacity(None);
    force(&store, Force::Flush);
    let kept = "toy/quarantine/00000000000000000001.journal";
    assert!(disk.paths().iter().any(|p| p == kept), "{:?}", disk.paths());
    assert!(!disk.paths().contains(&segment));
    drop(store);
    let found = open(&disk, options()).quarantined();
    assert_eq!((found.len(), found[0].path.as_str()), (1, kept));
}

#[test]
fn memory_is_flushed_when_asked() {
    let store = open(&SimDisk::new(1), options());
    store.ask_flush();
    assert_eq!(store.next_job(at(0)), None);
    let day = 86_400_000_000_000;
    append(&store, &[(1, 1), (2, -1), (3, 2 * day), (4, i64::MAX)]).unwrap();
    let days: Vec<i64> = store
        .snapshot(&Tenant::anonymous())
        .memory_days()
        .into_iter()
        .collect();
    assert_eq!(days, [-1, 0, 2, i64::MAX / day]);
    assert_eq!(store.next_job(at(0)), Some(Job::Flush));
    store.run(Job::Flush).unwrap();
    append(&store, &[(5, 1)]).unwrap();
    assert_eq!(store.next_job(at(0)), None);
    store.ask_flush();
    assert_eq!(store.next_job(at(0)), Some(Job::Flush));
}

#[test]
fn tenants_are_apart() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    let (a, b) = (toy::tenant("a"), toy::tenant("b"));
    let row = |number| Row { number, at: 1 };
    records(&a, &[row(1)], |records| store.append(records)).unwrap();
    records(&b, &[row(2)], |records| store.append(records)).unwrap();
    force(&store, Force::Flush);
    records(&b, &[row(3)], |records| store.append(records)).unwrap();
    drop(store);
    disk.crash();
    let store = open(&disk, options());
    assert_eq!(store.tenants(), [a.clone(), b.clone()]);
    assert_eq!(rows(&store.snapshot(&a)).0, [row(1)]);
    assert_eq!(rows(&store.snapshot(&b)).0, [row(2), row(3)]);
    assert_eq!(rows(&store.snapshot(&Tenant::anonymous())).0, []);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    append(&store, &[(1, 1)]).unwrap();
    disk.set_capacity(Some(disk.used() + 10));
    assert_eq!(append(&store, &[(2, 2)]), Err(AppendError::DiskFull));
    assert!(matches!(store.run(Job::Flush), Err(JobError::DiskFull(_))));
    assert_eq!(numbers(&store), [1]);
    assert_eq!(store.next_job(at(0)), Some(Job::Flush));
    disk.set_capacity(None);
    append(&store, &[(3, 3)]).unwrap();
    force(&store, Force::Flush);
    append(&store, &[(4, 4)]).unwrap();
    assert_eq!(numbers(&store), [1, 3, 4]);
    disk.crash();
    assert_eq!(numbers(&open(&disk, options())), [1, 3, 4]);
}

#[test]
fn retention_works_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let options = Options {
        reserve_bytes: 4096,
        retention: Retention {
            age: None,
            bytes: Some(200),
        },
        ..options()
    };
    let store = open(&disk, options);
    for number in 0..3 {
        append(&store, &[(number, number as i64 * 1000)]).unwrap();
        store.run(Job::Flush).unwrap();
    }
    disk.set_capacity(Some(disk.used()));
    assert_eq!(append(&store, &[(9, 9)]), Err(AppendError::DiskFull));
    let job = store.next_job(at(0)).unwrap();
    assert!(matches!(job, Job::Drop { .. }), "{job:?}");
    store.run(job).unwrap();
    assert_eq!(numbers(&store), [2]);
    append(&store, &[(9, 9)]).unwrap();
}

#[test]
fn a_failed_sync_poisons_writes_and_leaves_reads() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    append(&store, &[(1, 1)]).unwrap();
    disk.fail_syncs(1);
    for _ in 0..2 {
        let error = append(&store, &[(2, 2)]).unwrap_err();
        assert!(matches!(error, AppendError::Poisoned(_)), "{error}");
    }
    assert!(matches!(store.run(Job::Flush), Err(JobError::Poisoned(_))));
    assert_eq!(
        (store.next_job(at(1 << 40)), store.forced(Force::Flush)),
        (None, None)
    );
    assert_eq!(numbers(&store), [1]);
    assert!(
        store
            .stats()
            .poisoned
            .unwrap()
            .contains("input/output error")
    );
    disk.crash();
    let found = numbers(&open(&disk, options()));
    assert!(found == [1] || found == [1, 2], "{found:?}");
}

#[test]
fn memory_has_a_limit() {
    let disk = SimDisk::new(1);
    let store = open(
        &disk,
        Options {
            memory_bytes_max: 16,
            ..options()
        },
    );
    append(&store, &[(1, 1)]).unwrap();
    let full = AppendError::MemoryFull {
        bytes: 16,
        limit: 16,
    };
    assert_eq!(append(&store, &[(2, 2)]), Err(full));
    force(&store, Force::Flush);
    append(&store, &[(3, 3)]).unwrap();
    assert_eq!(store.stats().active_bytes, 16);
}

#[test]
fn replay_flushes_when_memory_is_full() {
    let disk = SimDisk::new(1);
    let tight = Options {
        journal_segment_bytes: 200,
        ..options()
    };
    let store = open(&disk, tight.clone());
    for number in 0..50 {
        append(&store, &[(number, 1)]).unwrap();
    }
    drop(store);
    disk.crash();
    let told = AtomicU64::new(0);
    let progress = |progress: Progress| {
        assert!(progress.journal_bytes <= progress.journal_bytes_total);
        told.store(
            progress.journal_bytes_total - progress.journal_bytes,
            Ordering::Relaxed,
        );
    };
    let smaller = Options {
        flush_bytes: 160,
        ..tight
    };
    let store = Store::<Toy>::open(Arc::new(disk.clone()), smaller, &progress).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 0);
    assert_eq!(numbers(&store), (0..50).collect::<Vec<_>>());
    assert!(parts(&store) >= 3 && store.stats().active_bytes < 160);
}

#[test]
fn a_damaged_part_is_set_aside_and_the_rest_is_served() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    for number in 0..3 {
        append(&store, &[(number, 1)]).unwrap();
        force(&store, Force::Flush);
    }
    drop(store);
    let path = "toy/parts/00000000000000000001.part";
    let footer = disk.blob(path).unwrap().len() as u64 * 8 - 400;
    assert!(disk.flip(path, footer));
    for _ in 0..2 {
        let store = open(&disk, options());
        let found = store.quarantined();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "toy/quarantine/00000000000000000001.part");
        assert!(found[0].reason.contains("checksum"), "{}", found[0].reason);
        assert!(disk.blob(&found[0].path).is_ok());
        assert_eq!(numbers(&store), [0, 2]);
        disk.crash();
    }
}

#[test]
fn a_part_that_is_found_damaged_while_merging_is_set_aside() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    for number in 0..3 {
        append(&store, &[(number, 1)]).unwrap();
        force(&store, Force::Flush);
    }
    drop(store);
    // The first byte of the first section.
    assert!(disk.flip("toy/parts/00000000000000000001.part", 64));
    let store = open(&disk, options());
    let job = store.forced(Force::Merge).unwrap();
    assert!(matches!(store.run(job), Err(JobError::Corrupt(_))));
    force(&store, Force::Merge);
    assert_eq!((parts(&store), numbers(&store)), (1, vec![0, 2]));
    assert_eq!(store.quarantined().len(), 1);
}

#[test]
fn a_damaged_segment_is_kept_and_its_good_rest_is_served() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    for number in 0..3 {
        append(&store, &[(number, 1)]).unwrap();
    }
    drop(store);
    assert!(disk.flip("toy/journal/00000000000000000001.journal", 90 * 8));
    let store = open(&disk, options());
    assert_eq!(numbers(&store), [1, 2]);
    let found = store.quarantined();
    assert_eq!(found.len(), 1);
    assert!(
        found[0].reason.contains("expected a whole frame"),
        "{}",
        found[0].reason
    );
    force(&store, Force::Flush);
    drop(store);
    let store = open(&disk, options());
    assert_eq!((numbers(&store), store.quarantined()), (vec![1, 2], found));
}

#[test]
fn a_manifest_without_a_whole_copy_stops_the_open() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    append(&store, &[(1, 1)]).unwrap();
    force(&store, Force::Flush);
    drop(store);
    let path = "toy/manifest/00000000000000000001.edit";
    let half = disk.blob(path).unwrap().len() as u64 * 4;
    disk.flip(path, 100);
    let store = open(&disk, options());
    assert_eq!((numbers(&store), store.quarantined().len()), (vec![1], 1));
    drop(store);
    disk.flip(path, half + 100);
    let error = Store::<Toy>::open(Arc::new(disk), options(), &|_| {}).unwrap_err();
    assert!(matches!(error, OpenError::Manifest(_)), "{error}");
}

#[test]
fn a_record_that_its_signal_refuses_is_told_and_the_others_are_stored() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    let tenant = Tenant::anonymous();
    let good = Row { number: 1, at: 1 }.encode();
    let record = |payload| Record {
        tenant: &tenant,
        payload,
    };
    let result = store.append(&[record(b"bad"), record(&good)]);
    assert!(matches!(result, Err(AppendError::Record(_))), "{result:?}");
    assert_eq!(numbers(&store), [1]);
    drop(store);
    let store = open(&disk, options());
    assert_eq!((numbers(&store), store.quarantined().len()), (vec![1], 1));
}

#[test]
fn stale_jobs_do_nothing() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    for number in 0..2 {
        append(&store, &[(number, 1)]).unwrap();
        force(&store, Force::Flush);
    }
    let job = store.forced(Force::Merge).unwrap();
    store.run(job.clone()).unwrap();
    store.run(job).unwrap();
    store.run(Job::Flush).unwrap();
    assert_eq!((parts(&store), numbers(&store)), (1, vec![0, 1]));
}

#[test]
fn the_real_disk_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
        let store = Store::<Toy>::open(disk, options(), &|_| {}).unwrap();
        assert_eq!(numbers(&store), (0..round * 10).collect::<Vec<_>>());
        for number in round * 10..round * 10 + 10 {
            append(&store, &[(number, 1)]).unwrap();
            if number % 4 == 0 {
                force(&store, Force::Flush);
            }
        }
        force(&store, Force::Merge);
    }
}

/// A writer, an upkeep loop and a reader at once: a reader never misses an acknowledged row and
/// never sees one twice, while memory is sealed, flushed and merged under it.
#[test]
fn readers_see_every_row_once_while_jobs_run() {
    let disk = SimDisk::new(1);
    let store = open(
        &disk,
        Options {
            flush_bytes: 300,
            ..options()
        },
    );
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=2000 {
                append(&store, &[(number, number as i64 % 3000)]).unwrap();
                acknowledged.store(number, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                if let Some(job) = store.next_job(at(0)) {
                    store.run(job).unwrap();
                }
            }
        });
        while !done.load(Ordering::SeqCst) {
            let least = acknowledged.load(Ordering::SeqCst);
            let found = numbers(&store);
            let set: BTreeSet<u64> = found.iter().copied().collect();
            assert_eq!(set.len(), found.len(), "a row is there twice");
            assert!((1..=least).all(|n| set.contains(&n)), "a row is missing");
        }
    });
    assert_eq!(numbers(&store).len(), 2000);
}

/// A folder of a disk as a disk of its own.
#[derive(Debug)]
struct Below(SimDisk, &'static str);

impl Below {
    fn at(&self, path: &str) -> String {
        let whole = format!("{}/{path}", self.1);
        whole.trim_end_matches('/').to_owned()
    }
}

impl Disk for Below {
    fn create(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
        self.0.create(&self.at(path))
    }
    fn append(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
        self.0.append(&self.at(path))
    }
    fn blob(&self, path: &str) -> Result<Blob, DiskError> {
        self.0.blob(&self.at(path))
    }
    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.0.link(&self.at(from), &self.at(to))
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.0.rename(&self.at(from), &self.at(to))
    }
    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.0.remove(&self.at(path))
    }
    fn list(&self, folder: &str) -> Result<Vec<Entry>, DiskError> {
        self.0.list(&self.at(folder))
    }
    fn sync_folder(&self, folder: &str) -> Result<(), DiskError> {
        self.0.sync_folder(&self.at(folder))
    }
}

fn open_copy(disk: &SimDisk, folder: &'static str) -> Result<Store<Toy>, OpenError> {
    Store::open(Arc::new(Below(disk.clone(), folder)), options(), &|_| {})
}

#[test]
fn a_copy_opens_and_goes_its_own_way() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    store.snapshot_to("snapshots/empty").unwrap();
    append(&store, &[(1, 10), (2, 20), (4, 1020)]).unwrap();
    force(&store, Force::Flush);
    delete(&store, 4, 0, (0, 2000)).unwrap();
    append(&store, &[(3, 30)]).unwrap();
    store.snapshot_to("snapshots/one").unwrap();
    assert_eq!(numbers(&store), [1, 2, 3]);
    append(&store, &[(5, 50)]).unwrap();
    force(&store, Force::Merge);
    disk.crash();
    let copy = open_copy(&disk, "snapshots/one").unwrap();
    assert_eq!(numbers(&copy), [1, 2, 3]);
    append(&copy, &[(6, 60)]).unwrap();
    force(&copy, Force::Merge);
    drop(copy);
    let copy = open_copy(&disk, "snapshots/one").unwrap();
    assert_eq!((numbers(&copy), copy.deletions()), (vec![1, 2, 3, 6], 0));
    assert_eq!(numbers(&open(&disk, options())), [1, 2, 3, 5]);
    let empty = open_copy(&disk, "snapshots/empty").unwrap();
    assert_eq!(numbers(&empty), [0; 0]);
}

#[test]
fn a_copy_is_whole_or_does_not_open() {
    for changes in 0..24 {
        for power in [false, true] {
            let disk = SimDisk::new(changes);
            let store = open(&disk, options());
            append(&store, &[(1, 10)]).unwrap();
            force(&store, Force::Flush);
            append(&store, &[(2, 20)]).unwrap();
            if power {
                disk.crash_after(changes);
            } else {
                disk.kill_after(changes);
            }
            let copied = store.snapshot_to("s");
            drop(store);
            if power {
                disk.crash();
            } else {
                disk.kill();
            }
            assert_eq!(numbers(&open(&disk, options())), [1, 2], "{changes}");
            match open_copy(&disk, "s") {
                Ok(copy) => {
                    let found = numbers(&copy);
                    let whole = found == [1, 2] || (copied.is_err() && found.is_empty());
                    assert!(whole, "{changes}: {found:?}");
                }
                Err(error) => assert!(copied.is_err(), "{changes}: {error}"),
            }
        }
    }
}

#[test]
fn copies_have_their_own_folders_and_room() {
    let disk = SimDisk::new(1);
    let store = open(&disk, options());
    append(&store, &[(1, 10)]).unwrap();
    for folder in ["", "/a", "a/", "../a", "a/../b", ".a", "a b", "a//b"] {
        let refused = store.snapshot_to(folder);
        assert!(matches!(refused, Err(BackupError::Folder(_))), "{folder}");
    }
    store.snapshot_to("a").unwrap();
    let refused = store.snapshot_to("a");
    assert!(
        matches!(refused, Err(BackupError::Exists(_))),
        "{refused:?}"
    );
    assert_eq!(numbers(&open_copy(&disk, "a").unwrap()), [1]);
    let before = disk.paths();
    disk.set_capacity(Some(disk.used() + 10));
    let full = store.snapshot_to("b");
    assert_eq!(
        full.unwrap_err().to_string(),
        "disk full while writing b/toy/manifest/00000000000000000064.edit.tmp"
    );
    assert_eq!(disk.paths(), before, "what was begun is removed");
    disk.set_capacity(None);
    store.snapshot_to("b").unwrap();
}
