//! Golden files: the bytes that version 1 wrote are opened for ever, and written again exactly.
//! A change of a writer needs a new version and new files beside the old ones.
//! `OBS_NEW_FIXTURES=1` writes files that are missing; it never changes one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obs_model::Tenant;

use crate::disk::{AppendFile, write_new};
use crate::store::toy::{Row, Toy, records, rows, tenant};
use crate::{Disk, Job, Options, RealDisk, SimDisk, Store};

fn options() -> Options {
    Options {
        window: 1000,
        journal_salt: 0x0b5,
        reserve_bytes: 0,
        ..Options::default()
    }
}

const PATHS: [&str; 5] = [
    "toy/journal/00000000000000000002.journal",
    "toy/manifest/00000000000000000001.edit",
    "toy/manifest/00000000000000000002.edit",
    "toy/parts/00000000000000000001.part",
    "toy/parts/00000000000000000002.part",
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

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

#[test]
fn version_1_is_written_as_ever() {
    let disk = write();
    assert_eq!(disk.paths(), PATHS);
    // The lock of the disk lies in the folder: not in the fixtures themselves.
    let old = read_fixtures();
    for path in PATHS {
        let bytes = disk.blob(path).unwrap();
        let found = old.get(path).map(Vec::as_slice);
        assert_eq!(
            found,
            Some(&bytes[..]),
            "{path} differs from its golden file"
        );
    }
}

#[test]
fn version_1_is_opened_for_ever() {
    let disk = SimDisk::new(1);
    for (path, bytes) in read_fixtures() {
        write_new(&disk, &path, &bytes).unwrap();
    }
    let store = Store::<Toy>::open(Arc::new(disk), options(), &|_| {}).unwrap();
    let (a, b) = (tenant("a"), tenant("b"));
    let list = rows(&store.snapshot(&a)).0;
    assert_eq!(list, [row(1, 10), row(2, 1010), row(3, -5)]);
    assert_eq!(rows(&store.snapshot(&b)).0, [row(4, 20), row(5, 21)]);
    assert!(store.quarantined().is_empty());
}

/// The golden files, by path. Writes the missing ones when asked to.
fn read_fixtures() -> BTreeMap<String, Vec<u8>> {
    let dir = fixtures().join("v1");
    #[expect(clippy::disallowed_methods, reason = "a developer asks for new files")]
    let make = std::env::var("OBS_NEW_FIXTURES").is_ok();
    if make {
        let scratch = tempfile::tempdir().unwrap();
        let real = RealDisk::open(scratch.path()).unwrap();
        let made = write();
        for path in PATHS.iter().filter(|path| !dir.join(path).exists()) {
            let mut file: Box<dyn AppendFile> = real.create(path).unwrap();
            file.write(&made.blob(path).unwrap()).unwrap();
            std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            std::fs::copy(scratch.path().join(path), dir.join(path)).unwrap();
        }
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "golden files are not on a disk of ours"
    )]
    let read = |path: &&str| ((*path).to_owned(), std::fs::read(dir.join(path)).unwrap());
    PATHS.iter().map(read).collect()
}
