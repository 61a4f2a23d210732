//! The data directory that a backup is restored into.
//!
//! Invariant: no server opens it before everything is there and durable.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use obs_storage::disk::UNFINISHED;
use obs_storage::{Disk, RealDisk};

/// What may be in a folder that counts as empty.
const NOTHING: [&str; 2] = ["lock", "lost+found"];

/// A folder that is filled.
#[derive(Debug)]
pub struct Restoring {
    disk: RealDisk,
    folder: PathBuf,
    resumed: bool,
}

impl Restoring {
    /// Begins, or goes on where a restore of the same `note` was interrupted.
    pub fn begin(folder: &Path, note: &str) -> anyhow::Result<Self> {
        let shown = folder.display();
        let before = unfinished(folder)?;
        match &before {
            Some(before) => ensure!(
                before == note,
                "{shown} has an unfinished restore of another backup ({before}); remove the \
                 folder, or restore that one to its end"
            ),
            None => refuse_full(folder)?,
        }
        let disk = RealDisk::restoring(folder, note).with_context(|| format!("open {shown}"))?;
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            resumed: before.is_some(),
        })
    }

    /// Whether some files may be there already.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Makes the names of all folders durable, and the folder one that opens.
    pub fn finish(self, folders: &[String]) -> anyhow::Result<()> {
        for folder in folders {
            self.disk.sync_folder(folder)?;
        }
        self.disk.sync_folder("")?;
        Ok(self.disk.restored()?)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the folder is no data directory yet"
)]
fn unfinished(folder: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read(folder.join(UNFINISHED)) {
        Ok(note) => Ok(Some(String::from_utf8_lossy(&note).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {UNFINISHED}")),
    }
}

fn refuse_full(folder: &Path) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        ensure!(
            NOTHING.contains(&&*name),
            "{} is not empty (it has {name:?}): a backup is restored into an empty folder",
            folder.display()
        );
    }
    Ok(())
}
