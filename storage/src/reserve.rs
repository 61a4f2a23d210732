//! A file of no meaning that is given up when the disk is full, so that retention can still write
//! the manifest edit that lets it remove parts.
//!
//! Invariant: only a drop gives the reserve up; it is filled again before the next job.

use crate::disk::Disk;
use crate::error::DiskError;

/// The file and its size. Zero bytes: there is none.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: String,
    bytes: u64,
    /// Whether the file is known to be there in its whole length.
    filled: bool,
}

impl Reserve {
    /// The reserve of a signal; nothing is written yet.
    pub(crate) fn new(folder: &str, bytes: u64) -> Self {
        Self {
            path: format!("{folder}/reserve"),
            bytes,
            filled: false,
        }
    }

    /// Fills the reserve if it is not. A disk without room has none; the next job tries again.
    pub(crate) fn fill(&mut self, disk: &dyn Disk) {
        if self.filled || self.bytes == 0 {
            return;
        }
        self.filled = self.is_there(disk).unwrap_or(false);
        if !self.filled {
            self.give_up(disk);
            match self.write(disk) {
                Ok(()) => self.filled = true,
                // Half a reserve would hold the space that others need now.
                Err(_) => self.give_up(disk),
            }
        }
    }

    /// Removes the file.
    pub(crate) fn give_up(&mut self, disk: &dyn Disk) {
        self.filled = false;
        // A reserve that is missing, or cannot be removed, gives no room: the caller finds out.
        drop(disk.remove(&self.path));
    }

    fn is_there(&self, disk: &dyn Disk) -> Result<bool, DiskError> {
        match disk.append(&self.path) {
            Ok(file) => Ok(file.bytes() == self.bytes),
            Err(DiskError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        let mut file = disk.create(&self.path)?;
        // Bytes that do not compress, on a file system that compresses.
        let mut state = 0x9e37_79b9_u32;
        let mut chunk = vec![0u8; 4096];
        let mut left = self.bytes;
        while left > 0 {
            for byte in &mut chunk {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                *byte = (state >> 24) as u8;
            }
            let count = left.min(chunk.len() as u64);
            file.write(&chunk[..count as usize])?;
            left -= count;
        }
        file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    #[test]
    fn it_is_filled_whole_or_not_at_all() {
        let disk = SimDisk::new(1);
        let mut reserve = Reserve::new("toy", 10_000);
        disk.set_capacity(Some(9_000));
        reserve.fill(&disk);
        assert_eq!(disk.used(), 0);
        disk.set_capacity(None);
        reserve.fill(&disk);
        assert_eq!(disk.used(), 10_000);
        let mut again = Reserve::new("toy", 20_000);
        again.fill(&disk);
        assert_eq!(disk.used(), 20_000);
        again.give_up(&disk);
        assert_eq!(disk.used(), 0);
    }
}
