//! Named immutable objects, created if absent. What a cluster shares; one process has a folder.
//!
//! Invariant: atomic create-if-absent is the only coordination primitive, so that two writers of
//! one key never both succeed, and an object never changes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::{Disk, Entry, TEMPORARY, folder_of, write_new};
use crate::error::DiskError;

/// A place for immutable objects.
pub trait Bucket: Send + Sync + fmt::Debug {
    /// Creates an object, durable on return; [`DiskError::Exists`] when the key is taken.
    fn put_new(&self, key: &str, bytes: &[u8]) -> Result<(), DiskError>;
    /// The bytes of a range, cut at the end of the object.
    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>, DiskError>;
    /// The length of an object.
    fn head(&self, key: &str) -> Result<u64, DiskError>;
    /// The objects of a folder, sorted by name.
    fn list(&self, folder: &str) -> Result<Vec<Entry>, DiskError>;
    /// Removes an object; one that is missing is fine. It may come back after a crash.
    fn delete(&self, key: &str) -> Result<(), DiskError>;
}

/// A bucket in a local folder.
#[derive(Clone, Debug)]
pub struct LocalBucket {
    disk: Arc<dyn Disk>,
}

impl LocalBucket {
    /// A bucket whose keys are the paths of a disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }
}

impl Bucket for LocalBucket {
    fn put_new(&self, key: &str, bytes: &[u8]) -> Result<(), DiskError> {
        write_new(&*self.disk, key, bytes)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>, DiskError> {
        let blob = self.disk.blob(key)?;
        let cut = |at: u64| usize::try_from(at).map_or(blob.len(), |at| at.min(blob.len()));
        let (start, end) = (cut(range.start), cut(range.end));
        Ok(blob[start.min(end)..end].to_vec())
    }

    fn head(&self, key: &str) -> Result<u64, DiskError> {
        let entries = self.disk.list(folder_of(key))?;
        let name = key.rsplit('/').next().unwrap_or(key);
        let found = entries.into_iter().find(|e| e.name == name);
        found.map(|e| e.bytes).ok_or_else(|| DiskError::Missing {
            path: key.to_owned(),
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>, DiskError> {
        let mut entries = self.disk.list(folder)?;
        entries.retain(|e| !e.name.ends_with(TEMPORARY));
        Ok(entries)
    }

    fn delete(&self, key: &str) -> Result<(), DiskError> {
        match self.disk.remove(key) {
            Ok(()) | Err(DiskError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    #[test]
    fn objects_are_created_once_and_read_in_ranges() {
        let bucket = LocalBucket::new(Arc::new(SimDisk::new(1)));
        bucket.put_new("m/1", b"0123456789").unwrap();
        assert!(matches!(
            bucket.put_new("m/1", b"other"),
            Err(DiskError::Exists { .. })
        ));
        assert_eq!(bucket.head("m/1").unwrap(), 10);
        assert_eq!(bucket.get_range("m/1", 2..5).unwrap(), b"234");
        assert_eq!(bucket.get_range("m/1", 8..u64::MAX).unwrap(), b"89");
        assert_eq!(bucket.get_range("m/1", 20..30).unwrap(), b"");
        assert_eq!(bucket.list("m").unwrap().len(), 1);
        bucket.delete("m/1").unwrap();
        bucket.delete("m/1").unwrap();
        assert!(matches!(bucket.head("m/1"), Err(DiskError::Missing { .. })));
    }
}
