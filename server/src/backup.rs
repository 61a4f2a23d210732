//! The files of a data directory as a backup has them, of a server that runs (a copy of links) and
//! of one that is stopped.
//!
//! Invariants: what is listed is enough to go on from, and what can be made anew is not listed; at
//! the top of a data directory only what obs itself writes there is listed, so that a configuration,
//! a key or another backup that somebody put there stays there; a file is read to the length that it was listed with, so that one that grows is as it was then; a
//! part is known by its footer, which has the checksums of all its bytes.

mod copies;
mod folder;

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use obs_storage::disk::{UNFINISHED, map};
use obs_storage::part::{TRAILER_BYTES, tail_bytes};
use obs_storage::{PartReader, RealDisk};
use ring::digest::{self, SHA256};

pub(crate) use copies::{COPIES, Copies, Refused, clear, expiring};
pub use folder::Restoring;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Folders in folders; a data directory has three.
const DEPTH_MAX: usize = 16;
/// Bytes of a footer that is read to know a part by; real ones have some KiB.
const TAIL_BYTES_MAX: u64 = 64 << 20;
/// Names at the top of a data directory that a backup has: the stores, the state of alerts and of
/// the Alertmanager, what was saved over APIs, what waits in queues, and how far was read.
const KEPT: [&str; 13] = [
    "metrics",
    "logs",
    "spans",
    "alertmanager",
    "alerts",
    "buffer",
    "dashboards",
    "forward",
    "pushgateway",
    "redaction.keys",
    "rules",
    "sampling",
    "tail.checkpoint",
];
/// Names of what is left out that are told.
const LEFT_OUT_MAX: usize = 100;
/// Names at the top of a data directory that are of one process, of other copies, or of the file
/// system.
const PASSING: [&str; 6] = [
    "lock",
    "addresses.json",
    COPIES,
    "snapshots",
    "lost+found",
    UNFINISHED,
];
/// What a store makes anew, and what it has set aside.
const DERIVED: [&str; 2] = ["reserve", "quarantine"];
/// The folders of stores.
const STORES: [&str; 3] = ["metrics", "logs", "spans"];

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Relative to the data directory.
    pub path: String,
    /// Its length, which it may have outgrown.
    pub bytes: u64,
    /// Files with the same one are equal: the SHA-256 of a part's footer, or of all bytes.
    pub tag: String,
}

/// A folder that is backed up.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    /// Keeps servers away.
    _lock: Option<RealDisk>,
}

impl Files {
    /// The data directory of a server that is stopped.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        let shown = data.display();
        ensure!(data.is_dir(), "{shown} is no folder");
        let known = STORES.iter().any(|store| data.join(store).is_dir());
        ensure!(
            known || data.join("lock").exists(),
            "{shown} is no data directory: it has none of the folders {}",
            STORES.join(", ")
        );
        let lock = RealDisk::open(data).with_context(|| format!("open {shown}"))?;
        Ok(Self {
            root: data.to_owned(),
            _lock: Some(lock),
        })
    }

    /// A folder of links that nobody else touches.
    pub(crate) fn of_copy(root: PathBuf) -> Self {
        Self { root, _lock: None }
    }

    /// Every file, in order of its path.
    pub fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for path in paths(&self.root)? {
            let one = self.look(&path).with_context(|| format!("read {path}"))?;
            listed.push(one);
        }
        Ok(listed)
    }

    /// Names at the top of the folder that no backup has, because obs does not write them.
    pub fn left_out(&self) -> anyhow::Result<Vec<String>> {
        left_out(&self.root)
    }

    fn look(&self, path: &str) -> anyhow::Result<Listed> {
        let file = self.file(path)?;
        let bytes = file.metadata()?.len();
        let tag = match path.ends_with(".part") {
            true => tag_of_part(&file, bytes)?,
            false => None,
        };
        let tag = match tag {
            Some(tag) => format!("p{tag}"),
            None => format!("f{}", tag_of_bytes(&file, 0..bytes)?),
        };
        Ok(Listed {
            path: path.to_owned(),
            bytes,
            tag,
        })
    }

    /// Some bytes of a file; fewer where it ends.
    pub fn read(&self, path: &str, offset: u64, bytes: usize) -> anyhow::Result<Vec<u8>> {
        let mut file = self.file(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut read = Vec::new();
        file.take(bytes as u64).read_to_end(&mut read)?;
        Ok(read)
    }

    /// Whether a file is what it was written as, as far as it says that itself: parts do.
    pub fn check(&self, path: &str) -> anyhow::Result<()> {
        if !path.ends_with(".part") {
            return Ok(());
        }
        ensure!(is_plain(path), "{path:?} is no path of a backup");
        let blob = map(&self.root.join(path))?;
        PartReader::open(path, blob)?.verify()?;
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a backup reads files of every kind, and none of them through its store"
    )]
    fn file(&self, path: &str) -> anyhow::Result<File> {
        ensure!(is_plain(path), "{path:?} is no path of a backup");
        Ok(File::open(self.root.join(path))?)
    }
}

/// Whether a path stays below its folder.
pub fn is_plain(path: &str) -> bool {
    let plain = |name: &str| !["", ".", ".."].contains(&name) && !name.contains(['\\', '\0']);
    path.split('/').all(plain)
}

/// Whether a path is below a name of one process, of a restore, or of the file system, which no
/// backup has.
pub fn is_passing(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or_default();
    PASSING.contains(&top)
}

/// Every file of a data directory that a backup has, in order.
pub(crate) fn paths(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    walk(root, "", 0, &mut found)?;
    found.sort_unstable();
    Ok(found)
}

/// Names at the top of a data directory that obs knows nothing of; the first of many.
fn left_out(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).with_context(|| format!("list {}", root.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = KEPT.contains(&name.as_str()) || is_passing(&name) || is_unfinished(&name);
        if !known {
            found.push(name);
        }
    }
    found.sort_unstable();
    found.truncate(LEFT_OUT_MAX);
    Ok(found)
}

fn walk(root: &Path, folder: &str, depth: usize, found: &mut Vec<String>) -> anyhow::Result<()> {
    if depth > DEPTH_MAX {
        bail!("{folder} is too deep for a data directory");
    }
    let place = root.join(folder);
    let entries = match std::fs::read_dir(&place) {
        // It went meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound && depth > 0 => return Ok(()),
        entries => entries.with_context(|| format!("list {}", place.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        // A name that is not UTF-8 is not ours.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !is_kept(folder, &name) {
            continue;
        }
        let path = match folder {
            "" => name,
            folder => format!("{folder}/{name}"),
        };
        // Through links: a store may be on another disk.
        let kind = match std::fs::metadata(entry.path()) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("inspect {path}")),
        };
        if kind.is_dir() {
            walk(root, &path, depth + 1, found)?;
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a backup has what has this name in this folder.
fn is_kept(folder: &str, name: &str) -> bool {
    let known = !folder.is_empty() || KEPT.contains(&name);
    let derived = STORES.contains(&folder) && DERIVED.contains(&name);
    known && !derived && !is_unfinished(name)
}

fn is_unfinished(name: &str) -> bool {
    name.ends_with(".tmp") || name.ends_with(".new")
}

/// The hash of the footer of a part; nothing where it is none.
fn tag_of_part(file: &File, bytes: u64) -> anyhow::Result<Option<String>> {
    let Some(trailer_at) = bytes.checked_sub(TRAILER_BYTES as u64) else {
        return Ok(None);
    };
    let mut trailer = [0; TRAILER_BYTES];
    let mut reader = file;
    reader.seek(SeekFrom::Start(trailer_at))?;
    reader.read_exact(&mut trailer)?;
    match tail_bytes(&trailer, bytes) {
        Some(tail) if tail <= TAIL_BYTES_MAX => tag_of_bytes(file, bytes - tail..bytes).map(Some),
        _ => Ok(None),
    }
}

fn tag_of_bytes(mut file: &File, range: std::ops::Range<u64>) -> anyhow::Result<String> {
    file.seek(SeekFrom::Start(range.start))?;
    let mut left = file.take(range.end - range.start);
    let mut hash = digest::Context::new(&SHA256);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match left.read(&mut piece)? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    ensure!(left.limit() == 0, "it became shorter while it was read");
    Ok(hex(hash.finish().as_ref()))
}

/// In hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
