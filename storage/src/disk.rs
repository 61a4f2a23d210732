//! The disk as the engine sees it: a tree of files under one data directory.
//!
//! Invariant: a write is durable only after `sync` of its file, and a name (created, linked,
//! renamed, removed) only after `sync_folder` of its folder. Everything above relies on nothing
//! more, so that [`crate::sim::SimDisk`] can take the rest away.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::blob::Blob;
use crate::error::DiskError;

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name inside the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A file that is open for appending. Dropping it does not sync.
pub trait AppendFile: Send + fmt::Debug {
    /// Appends all bytes. After an error the file may hold a part of them: see `truncate`.
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError>;
    /// Makes everything written so far durable. After an error nothing is known any more.
    fn sync(&mut self) -> Result<(), DiskError>;
    /// Cuts the file to `bytes`, which is at most its length.
    fn truncate(&mut self, bytes: u64) -> Result<(), DiskError>;
    /// The length, with everything that was written.
    fn bytes(&self) -> u64;
}

/// A disk. Paths are relative, separated by `/`; folders appear with their first file.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a new file; [`DiskError::Exists`] when there is one.
    fn create(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError>;
    /// Opens an existing file to append at its end.
    fn append(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError>;
    /// The bytes of a file. The file must not change while the blob lives.
    fn blob(&self, path: &str) -> Result<Blob, DiskError>;
    /// A second name for a file; [`DiskError::Exists`] when the name is taken.
    fn link(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Gives a file another name, in place of what has that name.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a name.
    fn remove(&self, path: &str) -> Result<(), DiskError>;
    /// The files of a folder, sorted by name; none when the folder does not exist.
    fn list(&self, folder: &str) -> Result<Vec<Entry>, DiskError>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &str) -> Result<(), DiskError>;
}

/// Creates `path` with `bytes`, all or nothing, durable on return; [`DiskError::Exists`] when it is
/// there. This is the only coordination primitive of the engine. Only one caller at a time may
/// write the same path.
pub fn write_new(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = format!("{path}{TEMPORARY}");
    let result = write_and_link(disk, &temporary, path, bytes);
    // The temporary name is garbage in every case; one that stays is removed by the next attempt,
    // and must not make the outcome of the link unknown.
    drop(disk.remove(&temporary));
    result?;
    disk.sync_folder(folder_of(path))
}

/// The ending of files that are not complete yet.
pub(crate) const TEMPORARY: &str = ".tmp";

/// The file that a data directory has while it is filled by a restore.
pub const UNFINISHED: &str = "restore.unfinished";

/// The bytes of a file that does not change as long as the blob lives, such as a part.
pub fn map(path: &Path) -> Result<Blob, DiskError> {
    let shown = path.display().to_string();
    let file = OpenOptions::new().read(true).open(path);
    let file = file.map_err(|e| failed("open", &shown, &e))?;
    let metadata = file.metadata().map_err(|e| failed("inspect", &shown, &e))?;
    Blob::map(&file, metadata.len()).map_err(|e| failed("map", &shown, &e))
}

fn write_and_link(disk: &dyn Disk, temp: &str, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    match disk.remove(temp) {
        Ok(()) | Err(DiskError::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut file = disk.create(temp)?;
    file.write(bytes)?;
    file.sync()?;
    disk.link(temp, path)
}

/// The number in a name of twenty digits and an ending; `None` for names that are not ours.
pub(crate) fn number_of(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    let ours = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| ours)?;
    // Room to count on: nobody makes so many files.
    (number < u64::MAX / 2).then_some(number)
}

/// The folder of a path; empty for the data directory itself.
pub fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A directory of the operating system, locked against a second process.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl RealDisk {
    /// Opens a data directory, creates it if it is missing, and locks it. One that a restore is
    /// not done with is refused: some of its files are missing, and nobody knows which.
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        let disk = Self::lock(dir)?;
        if dir.join(UNFINISHED).exists() {
            let reason = "a restore into it did not come to its end; run `obs restore` again";
            return Err(DiskError::Failed {
                operation: "open",
                path: dir.display().to_string(),
                reason: reason.to_owned(),
            });
        }
        Ok(disk)
    }

    /// The same of a directory that is filled from outside: nobody opens it until
    /// [`Self::restored`] was called.
    pub fn restoring(dir: &Path, note: &str) -> Result<Self, DiskError> {
        let disk = Self::lock(dir)?;
        if !dir.join(UNFINISHED).exists() {
            write_new(&disk, UNFINISHED, note.as_bytes())?;
        }
        Ok(disk)
    }

    /// Everything is there and durable.
    pub fn restored(&self) -> Result<(), DiskError> {
        self.remove(UNFINISHED)?;
        self.sync_folder("")
    }

    fn lock(dir: &Path) -> Result<Self, DiskError> {
        let shown = dir.display().to_string();
        create_durably(dir).map_err(|e| failed("create folder", &shown, &e))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let lock = options
            .open(dir.join("lock"))
            .map_err(|e| failed("open lock of", &shown, &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(DiskError::Locked { path: shown }),
            Err(fs::TryLockError::Error(e)) => return Err(failed("lock", &shown, &e)),
        }
        let disk = Self {
            root: dir.to_owned(),
            _lock: lock,
        };
        disk.sync_folders()?;
        Ok(disk)
    }

    /// Makes the names of folders durable: a process that was killed may have made one without
    /// living to sync it, and whoever finds it relies on it.
    fn sync_folders(&self) -> Result<(), DiskError> {
        let entries = fs::read_dir(&self.root).map_err(|e| failed("list", "", &e))?;
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", "", &e))?;
            let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
            if let (true, Ok(name)) = (is_folder, entry.file_name().into_string()) {
                self.sync_folder(&name)?;
            }
        }
        self.sync_folder("")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Creates the folder of a file, durably, with all that it needs.
    fn make_folder(&self, path: &str) -> Result<(), DiskError> {
        let folder = folder_of(path);
        if folder.is_empty() || self.at(folder).is_dir() {
            return Ok(());
        }
        self.make_folder(folder)?;
        match fs::create_dir(self.at(folder)) {
            Ok(()) => self.sync_folder(folder_of(folder)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(failed("create folder", folder, &e)),
        }
    }
}

/// Creates a folder with all that it needs, so that none of the names goes with the power.
fn create_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) => Path::new("."),
        None => return Ok(()),
    };
    create_durably(parent)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().read(true).open(parent)?.sync_all()
}

impl Disk for RealDisk {
    fn create(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
        self.make_folder(path)?;
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        let file = options.open(self.at(path));
        let file = file.map_err(|e| failed("create", path, &e))?;
        Ok(Box::new(RealFile {
            file,
            path: path.to_owned(),
            bytes: 0,
        }))
    }

    fn append(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
        let file = OpenOptions::new().append(true).open(self.at(path));
        let file = file.map_err(|e| failed("open", path, &e))?;
        let metadata = file.metadata().map_err(|e| failed("inspect", path, &e))?;
        Ok(Box::new(RealFile {
            file,
            path: path.to_owned(),
            bytes: metadata.len(),
        }))
    }

    fn blob(&self, path: &str) -> Result<Blob, DiskError> {
        let file = OpenOptions::new().read(true).open(self.at(path));
        let file = file.map_err(|e| failed("open", path, &e))?;
        let metadata = file.metadata().map_err(|e| failed("inspect", path, &e))?;
        Blob::map(&file, metadata.len()).map_err(|e| failed("map", path, &e))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.make_folder(to)?;
        fs::hard_link(self.at(from), self.at(to)).map_err(|e| failed("link", to, &e))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.make_folder(to)?;
        #[expect(clippy::disallowed_methods, reason = "this is the disk")]
        fs::rename(self.at(from), self.at(to)).map_err(|e| failed("rename", from, &e))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        #[expect(clippy::disallowed_methods, reason = "this is the disk")]
        fs::remove_file(self.at(path)).map_err(|e| failed("remove", path, &e))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>, DiskError> {
        let entries = match fs::read_dir(self.at(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed("list", folder, &e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", folder, &e))?;
            let metadata = entry
                .metadata()
                .map_err(|e| failed("inspect", folder, &e))?;
            // A name that is not UTF-8 is not ours.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                let bytes = metadata.len();
                found.push(Entry { name, bytes });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn sync_folder(&self, folder: &str) -> Result<(), DiskError> {
        let file = OpenOptions::new().read(true).open(self.at(folder));
        let file = file.map_err(|e| failed("open folder", folder, &e))?;
        file.sync_all().map_err(|e| sync_failed(folder, &e))
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: String,
    bytes: u64,
}

impl AppendFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let result = self.file.write_all(bytes);
        match result {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(e) => {
                // How much was written is for the file system to say.
                if let Ok(metadata) = self.file.metadata() {
                    self.bytes = metadata.len();
                }
                Err(failed("write", &self.path, &e))
            }
        }
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.file
            .sync_data()
            .map_err(|e| sync_failed(&self.path, &e))
    }

    fn truncate(&mut self, bytes: u64) -> Result<(), DiskError> {
        assert!(bytes <= self.bytes, "truncate only shortens");
        let result = self.file.set_len(bytes);
        result.map_err(|e| failed("truncate", &self.path, &e))?;
        self.bytes = bytes;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn sync_failed(path: &str, error: &io::Error) -> DiskError {
    DiskError::Sync {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn failed(operation: &'static str, path: &str, error: &io::Error) -> DiskError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full { path },
        ErrorKind::NotFound => DiskError::Missing { path },
        ErrorKind::AlreadyExists => DiskError::Exists { path },
        _ => DiskError::Failed {
            operation,
            path,
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        (dir, disk)
    }

    #[test]
    fn files_grow_shrink_and_move() {
        let (_dir, disk) = disk();
        let mut file = disk.create("a/b/one").unwrap();
        file.write(b"hello world").unwrap();
        file.truncate(5).unwrap();
        file.write(b"!").unwrap();
        file.sync().unwrap();
        assert_eq!(
            (file.bytes(), &*disk.blob("a/b/one").unwrap()),
            (6, &b"hello!"[..])
        );
        let mut again = disk.append("a/b/one").unwrap();
        again.write(b"?").unwrap();
        disk.rename("a/b/one", "c/two").unwrap();
        disk.sync_folder("c").unwrap();
        assert_eq!(&*disk.blob("c/two").unwrap(), b"hello!?");
        let entry = Entry {
            name: "two".to_owned(),
            bytes: 7,
        };
        assert_eq!(disk.list("c").unwrap(), vec![entry]);
        assert_eq!(disk.list("a/b").unwrap(), vec![]);
        disk.remove("c/two").unwrap();
        let missing = DiskError::Missing {
            path: "c/two".to_owned(),
        };
        assert_eq!(disk.remove("c/two"), Err(missing));
    }

    #[test]
    fn write_new_never_replaces() {
        let (_dir, disk) = disk();
        write_new(&disk, "m/1", b"first").unwrap();
        let exists = DiskError::Exists {
            path: "m/1".to_owned(),
        };
        assert_eq!(write_new(&disk, "m/1", b"second"), Err(exists));
        assert_eq!(&*disk.blob("m/1").unwrap(), b"first");
        assert_eq!(disk.list("m").unwrap().len(), 1);
    }

    #[test]
    fn a_directory_is_made_with_all_that_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        let disk = RealDisk::open(&deep).unwrap();
        write_new(&disk, "m/n/1", b"x").unwrap();
        drop(disk);
        let again = RealDisk::open(&deep).unwrap();
        assert_eq!(&*again.blob("m/n/1").unwrap(), b"x");
        // Where a file stands in the way there is no folder.
        assert!(RealDisk::open(&deep.join("m/n/1/x")).is_err());
    }

    #[test]
    fn only_our_names_have_numbers() {
        let check = |name: &str, expect: Option<u64>| {
            assert_eq!(number_of(name, ".part"), expect, "{name}");
        };
        check("00000000000000000042.part", Some(42));
        check("00000000000000000042.edit", None);
        check("42.part", None);
        check("+0000000000000000042.part", None);
        check("18446744073709551615.part", None);
        check("99999999999999999999.part", None);
    }

    #[test]
    fn a_directory_that_is_restored_into_does_not_open_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let disk = RealDisk::restoring(dir.path(), "b1").unwrap();
            assert_eq!(&*disk.blob(UNFINISHED).unwrap(), b"b1");
            drop(disk);
            let error = RealDisk::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("obs restore"), "{error}");
        }
        let disk = RealDisk::restoring(dir.path(), "b1").unwrap();
        disk.restored().unwrap();
        drop(disk);
        RealDisk::open(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_is_opened_once() {
        let (dir, _disk) = disk();
        let error = RealDisk::open(dir.path()).unwrap_err();
        assert!(matches!(error, DiskError::Locked { .. }), "{error}");
    }
}
