//! A copy of a store while it goes on: links to its parts and a manifest of its own, in a folder
//! that opens as a data directory.
//!
//! Invariants: the copy holds every record that was acknowledged before it was asked for, and is
//! whole or does not open: its manifest comes last. Parts never change, so a link is as good as a
//! copy.

use crate::disk::{Disk, write_new};
use crate::error::{BackupError, DiskError, JobError};
use crate::jobs::{manifest_folder, part_path, parts_folder};
use crate::kind::Kind;
use crate::store::Store;

impl<K: Kind> Store<K> {
    /// Makes a copy below `folder`, which is relative to the data directory and where no copy of
    /// this signal is. Memory becomes parts before. Waits for the job that runs now; reads and
    /// writes go on meanwhile.
    pub fn snapshot_to(&self, folder: &str) -> Result<(), BackupError> {
        if !is_plain(folder) {
            return Err(BackupError::Folder(folder.to_owned()));
        }
        let mut upkeep = self.upkeep.lock();
        if let Some(reason) = self.poisoned() {
            return Err(JobError::Poisoned(reason.to_owned()).into());
        }
        let manifest = format!("{folder}/{}", manifest_folder::<K>());
        let taken = self.disk.list(&manifest);
        if !taken.map_err(|error| self.job_error(error))?.is_empty() {
            return Err(BackupError::Exists(manifest));
        }
        // All that is in memory now, and nothing that arrives from here on.
        self.seal(upkeep.manifest.next_deletion)?;
        let sealed = self.view.read().sealed.len();
        for _ in 0..sealed {
            self.flush(&mut upkeep)?;
        }
        let (place, manifest) = upkeep.manifest.encode_alone(&manifest);
        let mut made = Vec::new();
        let copied = self.copy_parts(folder, upkeep.manifest.parts.keys(), &mut made);
        let copied = copied.and_then(|()| write_new(&*self.disk, &place, &manifest));
        match copied {
            Ok(()) => Ok(()),
            Err(DiskError::Exists { path }) => {
                self.remove_copies(&made);
                Err(BackupError::Exists(path))
            }
            Err(error) => {
                self.remove_copies(&made);
                Err(self.job_error(error).into())
            }
        }
    }

    fn copy_parts<'a>(
        &self,
        folder: &str,
        numbers: impl Iterator<Item = &'a u64>,
        made: &mut Vec<String>,
    ) -> Result<(), DiskError> {
        for number in numbers {
            let from = part_path::<K>(*number);
            let to = format!("{folder}/{from}");
            match self.disk.link(&from, &to) {
                Ok(()) => made.push(to),
                // A file system without links.
                Err(DiskError::Failed { .. }) => {
                    copy(&*self.disk, &from, &to, made)?;
                }
                Err(error) => return Err(error),
            }
        }
        if made.is_empty() {
            return Ok(());
        }
        self.disk
            .sync_folder(&format!("{folder}/{}", parts_folder::<K>()))
    }

    fn remove_copies(&self, made: &[String]) {
        for path in made {
            // Without its manifest what stays is no copy, and takes no room beside its part.
            drop(self.disk.remove(path));
        }
    }
}

fn copy(disk: &dyn Disk, from: &str, to: &str, made: &mut Vec<String>) -> Result<(), DiskError> {
    let bytes = disk.blob(from)?;
    let mut file = disk.create(to)?;
    made.push(to.to_owned());
    file.write(&bytes)?;
    file.sync()
}

/// Names that stay below the data directory and are no hidden files.
fn is_plain(folder: &str) -> bool {
    let plain = |name: &str| {
        let mut bytes = name.bytes();
        let letters = bytes.all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        letters && !name.is_empty() && !name.starts_with('.')
    };
    folder.split('/').all(plain)
}
