//! Golden files: the bytes that version 1 wrote are opened for ever, and written again exactly.
//! A change of a writer needs a new version and new files beside the old ones.

use std::sync::Arc;

use obs_model::Tenant;

use crate::disk::write_new;
use crate::store::toy::{Row, Toy, records, rows, tenant};
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
    ($($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("../tests/fixtures/v1/", $path)))),*]
    };
}

const GOLDEN: &[(&str, &[u8])] = golden![
    "toy/journal/00000000000000000002.journal"
    "toy/manifest/00000000000000000001.edit"
    "toy/manifest/00000000000000000002.edit"
    "toy/parts/00000000000000000001.part"
    "toy/parts/00000000000000000002.part"
];

fn row(number: u64, at: i64) -> Row {
    Row { number, at }
}

/// Two tenants, two windows, a merge, and records that are still in the journal.
fn write() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = Store::<Toy>::open(Arc::new(disk.clone()), options(), &|_| {}).unwrap();
    let append = |tenant: &Tenant, list: &[Row]| {
        records(tenant, list, |records| store.append(records)).unwrap();
    };
    append(&tenant("a"), &[row(1, 10), row(2, 1010)]);
    store.run(Job::Flush).unwrap();
    let parts = vec![0];
    let keep = obs_model::TimeRange::ALL;
    let tenant_a = tenant("a");
    let job = Job::Merge {
        tenant: tenant_a,
        parts,
        keep,
    };
    store.run(job).unwrap();
    append(&tenant("a"), &[row(3, -5)]);
    append(&tenant("b"), &[row(4, 20), row(5, 21)]);
    disk
}

#[test]
fn version_1_is_written_as_ever() {
    let disk = write();
    let paths: Vec<&str> = GOLDEN.iter().map(|(path, _)| *path).collect();
    assert_eq!(disk.paths(), paths);
    for (path, golden) in GOLDEN {
        assert_eq!(&*disk.blob(path).unwrap(), *golden, "{path}");
    }
}

#[test]
fn version_1_is_opened_for_ever() {
    let disk = SimDisk::new(1);
    for (path, bytes) in GOLDEN {
        write_new(&disk, path, bytes).unwrap();
    }
    let store = Store::<Toy>::open(Arc::new(disk), options(), &|_| {}).unwrap();
    let (a, b) = (tenant("a"), tenant("b"));
    let list = rows(&store.snapshot(&a)).0;
    assert_eq!(list, [row(1, 10), row(2, 1010), row(3, -5)]);
    assert_eq!(rows(&store.snapshot(&b)).0, [row(4, 20), row(5, 21)]);
    assert!(store.quarantined().is_empty());
}
