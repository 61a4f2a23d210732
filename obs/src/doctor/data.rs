//! A data directory, and the disk that it is on.

use std::path::Path;

use obs_server::{Inspection, Looked};

use super::finding::Report;
use super::machine::size;
use crate::client::now;

/// Room that merges and the journal need.
const FREE_BYTES_MIN: u64 = 1 << 30;
const FREE_SHARE_MIN: f64 = 0.05;
/// A commit of writes waits for one of these.
const SYNC_NANOS_MAX: i64 = 50_000_000;
/// Journal of this many bytes makes a start slow; flushes keep it below half a gibibyte.
const JOURNAL_BYTES_MAX: u64 = 1 << 30;
/// Findings of one kind that are told one by one.
const TOLD: usize = 20;

/// Looks at the directory.
pub(super) fn look(data: &Path, deep: bool, report: &mut Report) {
    let shown = data.display();
    if !data.is_dir() {
        report.problem(
            "data",
            format!("{shown} is no folder"),
            "there is nothing to look at; a server would begin an empty one there",
            "name the folder of --data of `obs serve`",
        );
        return;
    }
    disk(data, report);
    let looked = obs_server::look_at(data, deep);
    match looked {
        Ok(Looked::Stores(stores)) => {
            syncs(data, report);
            for (name, store) in stores {
                inspected(name, &store, deep, report);
            }
        }
        Ok(Looked::InUse) => report.note(
            "data.lock",
            "a server has it open",
            "what it writes now cannot be looked at from outside",
            "its own findings are below, where --server reaches it; stop it to look at every byte",
        ),
        Err(error) => report.problem(
            "data",
            format!("{error:#}"),
            "a server does not open this folder",
            "see what is said about it; restore a backup into an empty folder where that does not \
             help",
        ),
    }
}

fn disk(data: &Path, report: &mut Report) {
    let found = match rustix::fs::statvfs(data) {
        Ok(found) => found,
        Err(error) => {
            report.problem(
                "disk",
                format!("it does not tell its state: {error}"),
                "",
                "",
            );
            return;
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let total = found.f_blocks.saturating_mul(found.f_frsize);
    let share = free as f64 / total.max(1) as f64;
    let told = format!("{} of {} free", size(free), size(total));
    if free < 64 << 20 {
        report.problem(
            "disk.room",
            told,
            "writes are refused, or will be soon: the journal cannot grow",
            "make room, shorten --retention, or set obs.storage.retention_bytes",
        );
    } else if free < FREE_BYTES_MIN || share < FREE_SHARE_MIN {
        report.warning(
            "disk.room",
            told,
            "a merge needs room for what it makes beside what it is made of",
            "make room, shorten --retention, or set obs.storage.retention_bytes",
        );
    } else {
        report.right("disk.room", told);
    }
    // Some file systems have as many as there is room for, and tell none.
    if found.f_files > 0 && found.f_favail < 10_000 {
        report.warning(
            "disk.inodes",
            format!("{} of {} inodes free", found.f_favail, found.f_files),
            "each part and each segment of a journal is a file",
            "remove small files, or make the file system with more inodes",
        );
    } else {
        report.right("disk.inodes", "enough inodes are free");
    }
    if let Ok(found) = rustix::fs::statfs(data) {
        kind(found.f_type as u64 & 0xffff_ffff, report);
    }
}

/// File systems by their magic numbers (statfs(2)).
fn kind(magic: u64, report: &mut Report) {
    let name = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x0102_1994 | 0x8584_58f6 => {
            let found = "it is in memory (tmpfs)";
            let means = "everything is gone when the machine or the container restarts";
            report.warning("disk.kind", found, means, "put --data on a disk");
            return;
        }
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b | 0x6573_5546 | 0x00c3_6400 => {
            report.warning(
                "disk.kind",
                "it is on a network, or behind FUSE",
                "locks and syncs may mean less there than they say, and each write waits for it",
                "put --data on a local disk; backups are for other machines",
            );
            return;
        }
        0x794c_7630 => {
            report.warning(
                "disk.kind",
                "it is in the layers of a container (overlayfs)",
                "everything is gone with the container",
                "mount a volume at --data",
            );
            return;
        }
        magic => {
            let found = format!("a file system that is not known to doctor ({magic:#x})");
            report.note(
                "disk.kind",
                found,
                "obs is tested on ext4, xfs, btrfs and zfs",
                "",
            );
            return;
        }
    };
    report.right("disk.kind", name);
}

/// How long a write takes to be durable.
fn syncs(data: &Path, report: &mut Report) {
    let nanos = match measure(data) {
        Ok(nanos) => nanos,
        Err(error) => {
            report.problem(
                "disk.sync",
                format!("a file could not be written and synced: {error}"),
                "a server cannot make a write durable here, and takes none",
                "look at owner and mode of the folder, and at the log of the kernel for the disk",
            );
            return;
        }
    };
    let told = format!("a sync takes {:.1} ms", nanos as f64 / 1e6);
    let means = "each group of writes waits for one";
    let remedy = "use a disk of its own, and one with a cache that survives the power";
    if nanos > SYNC_NANOS_MAX {
        report.warning("disk.sync", told, means, remedy);
    } else {
        report.right("disk.sync", told);
    }
}

/// Writes a file of a name that nobody has, which backups and servers leave alone, and removes it.
#[expect(clippy::disallowed_methods, reason = "a file of this check")]
fn measure(data: &Path) -> std::io::Result<i64> {
    let (process, random) = (std::process::id(), crate::backup::random());
    let path = data.join(format!("doctor-{process}-{random:08x}.tmp"));
    let mut options = std::fs::OpenOptions::new();
    // What has this name already is not ours, also where it is a link.
    let file = options.write(true).create_new(true).open(&path)?;
    let measured = median(file);
    std::fs::remove_file(&path)?;
    measured
}

/// The median of some tries.
fn median(mut file: std::fs::File) -> std::io::Result<i64> {
    use std::io::Write;
    let mut all = Vec::new();
    for _ in 0..9 {
        let begun = now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        all.push((now() - begun).max(0));
    }
    all.sort_unstable();
    Ok(all[all.len() / 2])
}

fn inspected(name: &str, store: &Inspection, deep: bool, report: &mut Report) {
    if let Some(reason) = &store.closed {
        report.problem(
            "data.manifest",
            format!("{name}: {reason}"),
            "which parts count is not known, so this store does not open",
            "restore a backup into an empty folder",
        );
    }
    let damage: Vec<String> = store.damage.iter().map(ToString::to_string).collect();
    for found in damage.iter().take(TOLD) {
        report.problem(
            "data.damage",
            found.as_str(),
            "the file is not as it was written: disk, memory or file system failed; what it had is \
             not served",
            "find out why first; the next start sets it aside. What it had comes back from a \
             backup: `obs restore`",
        );
    }
    if damage.len() > TOLD {
        let more = format!("{name}: {} more files are damaged", damage.len() - TOLD);
        report.problem("data.damage", more, "as above", "");
    }
    for found in store.quarantined.iter().take(TOLD) {
        report.warning(
            "data.quarantine",
            found.to_string(),
            "it was found damaged earlier, and is not served",
            "remove the file and its .reason with the server stopped, when nobody needs it any more",
        );
    }
    if store.quarantined.len() > TOLD {
        let more = store.quarantined.len() - TOLD;
        report.warning(
            "data.quarantine",
            format!("{name}: {more} more"),
            "as above",
            "",
        );
    }
    if damage.is_empty() && store.closed.is_none() {
        let (parts, bytes) = (store.parts, size(store.part_bytes));
        let how = if deep { "every byte of" } else { "the ends of" };
        report.right(
            "data.parts",
            format!("{name}: {how} {parts} parts, {bytes}"),
        );
    }
    let told = format!(
        "{name}: {} in {} segments",
        size(store.journal_bytes),
        store.segments
    );
    if store.journal_bytes > JOURNAL_BYTES_MAX {
        report.warning(
            "data.journal",
            told,
            "all of it is read at the next start: flushes have failed, or not kept up",
            "look for failed jobs in the log of the server, and at the disk",
        );
    } else {
        report.right("data.journal", told);
    }
    if store.torn_bytes > 0 {
        report.note(
            "data.journal",
            format!("{name}: the last {} bytes were torn off", store.torn_bytes),
            "a crash came between a write and its sync; it was never acknowledged",
            "nothing: the next start cuts it",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn file_systems() {
        for (magic, level) in [
            (0xef53, Level::Right),
            (0x0102_1994, Level::Warning),
            (0x6969, Level::Warning),
            (1, Level::Note),
        ] {
            let mut report = Report::default();
            kind(magic, &mut report);
            assert_eq!(report.worst(), level, "{magic:#x}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a folder for the test")]
    fn measuring_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (data, precious) = (dir.path().join("data"), dir.path().join("precious"));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(&precious, "bytes").unwrap();
        std::os::unix::fs::symlink(&precious, data.join("doctor.tmp")).unwrap();
        let mut report = Report::default();
        syncs(&data, &mut report);
        assert!(report.findings.iter().any(|f| f.check == "disk.sync"));
        assert_ne!(report.worst(), Level::Problem, "{report:?}");
        assert_eq!(std::fs::read(&precious).unwrap(), b"bytes");
        let names = std::fs::read_dir(&data).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["doctor.tmp"]);
    }

    #[test]
    fn stores() {
        let check = |store: &Inspection, level: Level, part: &str| {
            let mut report = Report::default();
            inspected("logs", store, false, &mut report);
            assert_eq!(report.worst(), level, "{report:?}");
            let found = report.findings.iter().any(|f| f.found.contains(part));
            assert!(found, "{report:?}");
        };
        let whole = Inspection::default();
        check(&whole, Level::Right, "logs: the ends of 0 parts");
        let torn = Inspection {
            torn_bytes: 7,
            ..Inspection::default()
        };
        check(&torn, Level::Note, "7 bytes");
        let large = Inspection {
            journal_bytes: 2 << 30,
            ..Inspection::default()
        };
        check(&large, Level::Warning, "2.0 GiB");
        let closed = Inspection {
            closed: Some("no manifest".to_owned()),
            ..Inspection::default()
        };
        check(&closed, Level::Problem, "no manifest");
    }
}
