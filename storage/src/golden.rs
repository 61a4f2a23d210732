//! Golden files: the bytes that a version wrote are opened for ever, and those of the newest version
//! written again exactly. Versions 2 and 3 differ in the manifest only.
//! A change of a writer needs a new version and new files beside the old ones.

use std::sync::Arc;

use obs_model::{Tenant, TimeRange, Timestamp};

use crate::disk::write_new;
use crate::store::toy::{Remainder, Row, Toy, records, rows, tenant};
use crate::{Disk, Job, Options, SimDisk, Store};

fn options() -> Options {
    Options {
        window: 1000,
        journal_salt: 0x0b5,
        reserve_bytes: 0,
        ..Options::default()
    }
}

macro_rules! golden {
    ($($version:literal $path:literal)*) => {
        &[$(($path, include_bytes!(concat!("../tests/fixtures/", $version, "/", $path)))),*]
    };
}

const GOLDEN_1: &[(&str, &[u8])] = golden![
    "v1" "toy/journal/00000000000000000002.journal"
    "v1" "toy/manifest/00000000000000000001.edit"
    "v1" "toy/manifest/00000000000000000002.edit"
    "v1" "toy/parts/00000000000000000001.part"
    "v1" "toy/parts/00000000000000000002.part"
];

const GOLDEN_2: &[(&str, &[u8])] = golden![
    "v1" "toy/journal/00000000000000000002.journal"
    "v2" "toy/manifest/00000000000000000001.edit"
    "v2" "toy/manifest/00000000000000000002.edit"
    "v2" "toy/manifest/00000000000000000003.edit"
    "v1" "toy/parts/00000000000000000001.part"
    "v1" "toy/parts/00000000000000000002.part"
];

const GOLDEN_3: &[(&str, &[u8])] = golden![
    "v1" "toy/journal/00000000000000000002.journal"
    "v3" "toy/manifest/00000000000000000001.edit"
    "v3" "toy/manifest/00000000000000000002.edit"
    "v3" "toy/manifest/00000000000000000003.edit"
    "v3" "toy/manifest/00000000000000000004.edit"
    "v1" "toy/parts/00000000000000000001.part"
    "v1" "toy/parts/00000000000000000002.part"
    "v3" "toy/parts/00000000000000000003.part"
];

fn row(number: u64, at: i64) -> Row {
    Row { number, at }
}

/// Two tenants, two windows, a merge, a tier, records that are still in the journal, and a deletion.
fn write() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = Store::<Toy>::open(Arc::new(disk.clone()), options(), &|_| {}).unwrap();
    let append = |tenant: &Tenant, list: &[Row]| {
        records(tenant, list, |records| store.append(records)).unwrap();
    };
    append(&tenant("a"), &[row(1, 10), row(2, 1010)]);
    store.run(Job::Flush).unwrap();
    let parts = vec![0];
    let keep = TimeRange::ALL;
    let tenant_a = tenant("a");
    let job = Job::Merge {
        tenant: tenant_a,
        parts,
        keep,
    };
    store.run(job).unwrap();
    let tier = Job::Downsample {
        tenant: tenant("a"),
        tier: 500,
        parts: vec![2],
    };
    store.run(tier).unwrap();
    append(&tenant("a"), &[row(3, -5)]);
    append(&tenant("b"), &[row(4, 20), row(5, 21)]);
    let selector = Remainder { of: 2, is: 0 }.bytes();
    let range = TimeRange::new(Timestamp::from_nanos(0), Timestamp::from_nanos(1999));
    store.delete(&tenant("a"), &selector, range).unwrap();
    disk
}

#[test]
fn version_3_is_written_as_ever() {
    let disk = write();
    let paths: Vec<&str> = GOLDEN_3.iter().map(|(path, _)| *path).collect();
    assert_eq!(disk.paths(), paths);
    for (path, golden) in GOLDEN_3 {
        assert_eq!(&*disk.blob(path).unwrap(), *golden, "{path}");
    }
}

#[test]
fn every_version_is_opened_for_ever() {
    check_opens(GOLDEN_1, &[row(1, 10), row(2, 1010), row(3, -5)]);
    check_opens(GOLDEN_2, &[row(1, 10), row(3, -5)]);
    check_opens(GOLDEN_3, &[row(1, 10), row(3, -5)]);
}

fn check_opens(golden: &[(&str, &[u8])], of_a: &[Row]) {
    let disk = SimDisk::new(1);
    for (path, bytes) in golden {
        write_new(&disk, path, bytes).unwrap();
    }
    let store = Store::<Toy>::open(Arc::new(disk), options(), &|_| {}).unwrap();
    let (a, b) = (tenant("a"), tenant("b"));
    let list = rows(&store.snapshot(&a)).0;
    assert_eq!(list, of_a);
    assert_eq!(rows(&store.snapshot(&b)).0, [row(4, 20), row(5, 21)]);
    assert!(store.quarantined().is_empty());
}
