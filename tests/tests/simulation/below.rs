//! A folder of the simulated disk as a disk of its own: what a copy of a store is opened from.

use obs_storage::disk::{AppendFile, Entry};
use obs_storage::{Blob, Disk, DiskError, SimDisk};

/// The folder.
#[derive(Debug)]
pub(crate) struct Below {
    disk: SimDisk,
    folder: String,
}

impl Below {
    pub(crate) fn new(disk: &SimDisk, folder: &str) -> Self {
        Self {
            disk: disk.clone(),
            folder: folder.to_owned(),
        }
    }

    fn at(&self, path: &str) -> String {
        let whole = format!("{}/{path}", self.folder);
        whole.trim_end_matches('/').to_owned()
    }

    /// Removes the folder with all that is in it.
    pub(crate) fn remove_all(&self) -> Result<(), DiskError> {
        let inside = format!("{}/", self.folder);
        let paths = self.disk.paths().into_iter();
        let mut paths = paths.filter(|path| path.starts_with(&inside));
        paths.try_for_each(|path| self.disk.remove(&path))
    }
}

impl Disk for Below {
    fn create(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
        self.disk.create(&self.at(path))
    }

    fn append(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
        self.disk.append(&self.at(path))
    }

    fn blob(&self, path: &str) -> Result<Blob, DiskError> {
        self.disk.blob(&self.at(path))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.link(&self.at(from), &self.at(to))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(&self.at(from), &self.at(to))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.disk.remove(&self.at(path))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>, DiskError> {
        self.disk.list(&self.at(folder))
    }

    fn sync_folder(&self, folder: &str) -> Result<(), DiskError> {
        self.disk.sync_folder(&self.at(folder))
    }
}
