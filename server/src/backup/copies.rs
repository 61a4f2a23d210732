//! Copies of the data directory of a running server, for backups to read: links below `copies/`.
//!
//! Invariants: a copy has everything that was acknowledged before it was asked for; what waits in
//! queues is linked before the stores are, so that what moves from one to the other meanwhile is
//! there twice and not never; a copy that nobody reads goes, and none outlives the server; no file
//! that is there already is ever written to: its name may be one of a live file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use obs_model::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Files, Listed, STORES, paths};
use crate::app::App;
use crate::clock;
use crate::stores::Stores;

/// Where copies are, in the data directory.
pub(crate) const COPIES: &str = "copies";
/// Copies at a time: each keeps what merges have replaced on the disk.
const COPIES_MAX: usize = 4;
/// A copy that was not read for so long is given up.
const LEASE_NANOS: i64 = 3_600_000_000_000;
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// A table that is written anew again and again while it is copied is given up after so many tries.
const TRIES: usize = 20;

/// Errors of link(2) where a file cannot have a second name there: EPERM, EXDEV, EMLINK and
/// EOPNOTSUPP of Linux.
const NO_LINK: [i32; 4] = [1, 18, 31, 95];

/// The copies that there are.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    data: PathBuf,
    /// When each was read last.
    open: Mutex<BTreeMap<String, Timestamp>>,
}

/// A copy.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) files: Vec<Listed>,
    /// Names in the data directory that obs does not write, and that it has not.
    pub(crate) left_out: Vec<String>,
}

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There are as many as may be.
    TooMany(usize),
    /// The disk, or a store.
    Failed(anyhow::Error),
}

impl Copies {
    /// Of this data directory.
    pub(crate) fn new(data: PathBuf) -> Self {
        Self {
            data,
            open: Mutex::default(),
        }
    }

    /// Makes a copy and tells what is in it. Blocks, for as long as the jobs that run now.
    pub(crate) fn make(&self, stores: &Stores) -> Result<Made, Refused> {
        let now = clock::now();
        let id = format!("{:020}-{:08x}", now.nanos(), crate::start::random_u32());
        {
            let mut open = self.open.lock();
            if open.len() >= COPIES_MAX {
                return Err(Refused::TooMany(COPIES_MAX));
            }
            open.insert(id.clone(), now);
        }
        let listed = || anyhow::Ok((self.files(&id).list()?, super::left_out(&self.data)?));
        let made = self.link(stores, &id).and_then(|()| listed());
        match made {
            Ok((files, left_out)) => {
                self.touch(&id);
                Ok(Made {
                    id,
                    files,
                    left_out,
                })
            }
            Err(error) => {
                self.remove(&id);
                Err(Refused::Failed(error))
            }
        }
    }

    fn link(&self, stores: &Stores, id: &str) -> anyhow::Result<()> {
        let folder = format!("{COPIES}/{id}");
        link_sides(&self.data, &self.data.join(&folder))?;
        stores.metrics.snapshot_to(&folder)?;
        stores.logs.snapshot_to(&folder)?;
        stores.spans.snapshot_to(&folder)?;
        Ok(())
    }

    fn files(&self, id: &str) -> Files {
        Files::of_copy(self.data.join(COPIES).join(id))
    }

    /// The files of a copy, which is in use for a while from now on.
    pub(crate) fn get(&self, id: &str) -> Option<Files> {
        self.touch(id).then(|| self.files(id))
    }

    fn touch(&self, id: &str) -> bool {
        match self.open.lock().get_mut(id) {
            Some(last) => {
                *last = clock::now();
                true
            }
            None => false,
        }
    }

    /// Removes a copy; whether there was one. Blocks.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let known = self.open.lock().remove(id).is_some();
        if known {
            remove_folder(&self.data.join(COPIES).join(id));
        }
        known
    }

    /// Removes those that nobody reads any more. Blocks.
    pub(crate) fn expire(&self, now: Timestamp) {
        let late = |last: &Timestamp| now - *last >= LEASE_NANOS;
        let open = self.open.lock();
        let late: Vec<String> = open
            .iter()
            .filter(|(_, last)| late(last))
            .map(|(id, _)| id.clone())
            .collect();
        drop(open);
        for id in late {
            tracing::warn!(id, "a copy for a backup was not read for an hour, and goes");
            self.remove(&id);
        }
    }
}

/// Gives up copies that nobody reads, until the end.
#[expect(
    clippy::disallowed_methods,
    reason = "many links are removed for long, outside the query pool"
)]
pub(crate) async fn expiring(app: Arc<App>, stop: CancellationToken) {
    let mut turns = tokio::time::interval(EXPIRE_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turns.tick() => {}
        }
        let app = Arc::clone(&app);
        let done = tokio::task::spawn_blocking(move || app.copies.expire(clock::now())).await;
        if let Err(error) = done {
            tracing::error!(%error, "copies for backups could not be looked through");
        }
    }
}

/// Removes what a server that was killed has left. Blocks.
pub(crate) fn clear(data: &Path) {
    remove_folder(&data.join(COPIES));
}

fn remove_folder(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "a copy for a backup stays behind");
        }
        _ => {}
    }
}

/// Links everything that is not in a store.
fn link_sides(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    let folder_of = |path: &str| {
        path.rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned()
    };
    // Each once: files of one folder are not always in a row.
    let mut folders: BTreeSet<String> = paths(from)?.iter().map(|path| folder_of(path)).collect();
    folders.retain(|folder| {
        let top = folder.split('/').next().unwrap_or_default();
        !STORES.contains(&top)
    });
    for folder in folders {
        let mut tries = 0;
        while !link_folder(from, to, &folder)? {
            tries += 1;
            if tries == TRIES {
                bail!("the files of {folder} change faster than they are linked");
            }
        }
    }
    Ok(())
}

/// Links the files of one folder, as they were at one moment; `false` where they changed
/// meanwhile. What is not a segment goes first: the note of what was acknowledged must not be
/// newer than the segments that it speaks of.
fn link_folder(from: &Path, to: &Path, folder: &str) -> anyhow::Result<bool> {
    let target = to.join(folder);
    std::fs::create_dir_all(&target).with_context(|| format!("create {}", target.display()))?;
    let is_segment = |path: &String| path.ends_with(".journal");
    let mut made = Vec::new();
    for segments in [false, true] {
        for path in files_of(from, folder)? {
            if is_segment(&path) != segments {
                continue;
            }
            match link(&from.join(&path), &to.join(&path)) {
                Ok(()) => made.push(path),
                // A file that was replaced or is no longer needed.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    undo(to, &made)?;
                    return Ok(false);
                }
                Err(error) => return Err(error).with_context(|| format!("copy {path}")),
            }
        }
    }
    Ok(true)
}

fn files_of(root: &Path, folder: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).with_context(|| format!("list {folder}"))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if entry.file_type()?.is_file() && super::is_kept(folder, &name) {
            found.push(match folder {
                "" => name,
                folder => format!("{folder}/{name}"),
            });
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A second name, or a copy where the file system gives none. What has the name `to` already is
/// an error.
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(error) if error.raw_os_error().is_some_and(|e| NO_LINK.contains(&e)) => copy(from, to),
        linked => linked,
    }
}

/// A copy below a new name, for those who may read the file.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = OpenOptions::new().read(true).open(from)?;
    let mode = source.metadata()?.mode() & 0o777;
    let mut options = OpenOptions::new();
    let mut target = options.write(true).create_new(true).mode(mode).open(to)?;
    std::io::copy(&mut source, &mut target).map(drop)
}

#[expect(clippy::disallowed_methods, reason = "these links are ours")]
fn undo(to: &Path, made: &[String]) -> anyhow::Result<()> {
    for path in made {
        std::fs::remove_file(to.join(path)).with_context(|| format!("remove {path}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a folder for the test")]
    fn what_has_the_name_already_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let [live, second, third] = ["live", "second", "third"].map(|name| dir.path().join(name));
        std::fs::write(&live, "bytes").unwrap();
        link(&live, &second).unwrap();
        copy(&live, &third).unwrap();
        for taken in [&second, &third] {
            for again in [link(&live, taken), copy(&live, taken)] {
                assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
            }
        }
        for path in [&live, &second, &third] {
            assert_eq!(std::fs::read(path).unwrap(), b"bytes", "{}", path.display());
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a folder for the test")]
    fn sides_are_linked_and_stores_are_not() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for path in [
            "lock",
            "addresses.json",
            "obs.yml",
            // One before the folder `rules` in the order of paths, one behind it.
            "redaction.keys",
            "tail.checkpoint",
            "rules/00000000000000000001.journal",
            "rules/acknowledged",
            "rules/acknowledged.tmp",
            "forward/a b/00000000000000000001.journal",
            "metrics/parts/00000000000000000001.part",
            "copies/1/rules/acknowledged",
        ] {
            let file = from.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, path).unwrap();
        }
        link_sides(from.path(), to.path()).unwrap();
        let expect = [
            "forward/a b/00000000000000000001.journal",
            "redaction.keys",
            "rules/00000000000000000001.journal",
            "rules/acknowledged",
            "tail.checkpoint",
        ];
        assert_eq!(paths(to.path()).unwrap(), expect);
        for path in expect {
            for root in [from.path(), to.path()] {
                let bytes = std::fs::read(root.join(path)).unwrap();
                assert_eq!(bytes, path.as_bytes(), "{} {path}", root.display());
            }
        }
    }

    #[test]
    fn copies_that_nobody_reads_go() {
        let data = tempfile::tempdir().unwrap();
        let copies = Copies::new(data.path().to_owned());
        let folder = data.path().join(COPIES).join("a");
        std::fs::create_dir_all(&folder).unwrap();
        copies.open.lock().insert("a".to_owned(), clock::now());
        copies.expire(clock::now());
        assert!(copies.get("a").is_some() && folder.exists());
        copies.expire(clock::now().saturating_add(LEASE_NANOS));
        assert!(copies.get("a").is_none() && !folder.exists());
        assert!(!copies.remove("a"));
    }
}
