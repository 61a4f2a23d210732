//! A disk in memory that behaves as badly as a real one may: it loses what was not synced, tears
//! writes, runs full, fails syncs and lets bits rot. Everything follows from the seed.
//!
//! Invariant: what [`crate::disk`] promises to be durable survives [`SimDisk::crash`]; everything
//! else survives by the throw of a coin.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::blob::Blob;
use crate::disk::{AppendFile, Disk, Entry, folder_of};
use crate::error::DiskError;

/// The unit that a torn write keeps or loses.
const SECTOR: usize = 512;

/// A simulated disk; a clone is the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    /// What a running process sees.
    names: BTreeMap<String, u64>,
    /// What is certain to be there after a crash.
    durable_names: BTreeMap<String, u64>,
    /// Changes of names that are not synced, in order.
    pending: Vec<NameChange>,
    files: BTreeMap<u64, SimFile>,
    next_file: u64,
    /// Counts restarts; files opened before the last one are dead.
    boot: u64,
    /// Why every operation fails until the next start.
    down: Option<Down>,
    /// Goes down after that many more changes.
    down_after: Option<(u64, Down)>,
    capacity: Option<u64>,
    fail_syncs: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Power,
    Process,
}

#[derive(Debug, Default)]
struct SimFile {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, u64),
    Unset(String),
    Rename(String, String, u64),
}

impl NameChange {
    fn touches(&self, folder: &str) -> bool {
        match self {
            Self::Set(path, _) | Self::Unset(path) => folder_of(path) == folder,
            Self::Rename(from, to, _) => folder_of(from) == folder || folder_of(to) == folder,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Unset(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

/// A small seeded generator (splitmix64), enough to choose faults.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            files: BTreeMap::new(),
            next_file: 0,
            boot: 0,
            down: None,
            down_after: None,
            capacity: None,
            fail_syncs: 0,
        })))
    }

    /// Loses power after that many more changes; every operation fails from then on.
    pub fn crash_after(&self, changes: u64) {
        self.0.lock().down_after = Some((changes, Down::Power));
    }

    /// Kills the process after that many more changes; every operation fails from then on.
    pub fn kill_after(&self, changes: u64) {
        self.0.lock().down_after = Some((changes, Down::Process));
    }

    /// Loses power now, if it was not lost before, and starts again: what was not synced is kept,
    /// torn or lost. Files that are open die.
    pub fn crash(&self) {
        self.0.lock().crash();
    }

    /// Ends the process and starts another one; the power stays on, so nothing is lost, but what
    /// was not synced still is not.
    pub fn kill(&self) {
        let mut state = self.0.lock();
        if state.down == Some(Down::Power) {
            state.crash();
        } else {
            state.start();
        }
    }

    /// Lets all files together hold at most that many bytes; a write beyond fails half-way.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// Fails the next `count` syncs of files or folders.
    pub fn fail_syncs(&self, count: u32) {
        self.0.lock().fail_syncs = count;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// Every path, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// Flips one bit of a file, also of what was synced; false when there is no such bit.
    pub fn flip(&self, path: &str, bit: u64) -> bool {
        let mut state = self.0.lock();
        let Some(file) = state.names.get(path).copied() else {
            return false;
        };
        let file = state.files.get_mut(&file).expect("every name has its file");
        let (at, mask) = ((bit / 8) as usize, 1u8 << (bit % 8));
        let Some(byte) = file.bytes.get_mut(at) else {
            return false;
        };
        *byte ^= mask;
        if let Some(byte) = file.synced.get_mut(at) {
            *byte ^= mask;
        }
        true
    }
}

fn no_power(operation: &'static str, path: &str) -> DiskError {
    DiskError::Failed {
        operation,
        path: path.to_owned(),
        reason: "power was lost".to_owned(),
    }
}

fn missing(path: &str) -> DiskError {
    DiskError::Missing {
        path: path.to_owned(),
    }
}

impl State {
    /// Called by everything that reads.
    fn powered(&self, operation: &'static str, path: &str) -> Result<(), DiskError> {
        if self.down.is_some() {
            return Err(no_power(operation, path));
        }
        Ok(())
    }

    /// Called by everything that changes something; the change that loses power does not happen.
    fn change(&mut self, operation: &'static str, path: &str) -> Result<(), DiskError> {
        self.powered(operation, path)?;
        match &mut self.down_after {
            Some((0, down)) => {
                self.down = Some(*down);
                Err(no_power(operation, path))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn fails_sync(&mut self, path: &str) -> Result<(), DiskError> {
        if self.fail_syncs == 0 {
            return Ok(());
        }
        self.fail_syncs -= 1;
        Err(DiskError::Sync {
            path: path.to_owned(),
            reason: "input/output error".to_owned(),
        })
    }

    fn rename_pending(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn used(&self) -> u64 {
        let live = self
            .names
            .values()
            .collect::<std::collections::BTreeSet<_>>();
        let lengths = live.iter().filter_map(|id| self.files.get(id));
        lengths.map(|f| f.bytes.len() as u64).sum()
    }

    fn start(&mut self) {
        self.boot += 1;
        self.down = None;
        self.down_after = None;
    }

    fn crash(&mut self) {
        self.start();
        for change in std::mem::take(&mut self.pending) {
            if self.random.once_in(2) {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let named: std::collections::BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            file.tear(&mut self.random);
        }
    }
}

impl SimFile {
    /// What is left of the file after power was lost.
    fn tear(&mut self, random: &mut Random) {
        if self.bytes.len() < self.synced.len() || !self.bytes.starts_with(&self.synced) {
            // It was truncated: before or after.
            if random.once_in(2) {
                self.bytes.clone_from(&self.synced);
            }
        } else {
            let start = self.synced.len();
            let added = (self.bytes.len() - start) as u64;
            self.bytes
                .truncate(start + random.below(added + 1) as usize);
            let mut at = start;
            while at < self.bytes.len() {
                let end = (at / SECTOR * SECTOR + SECTOR).min(self.bytes.len());
                if random.once_in(4) {
                    self.bytes[at..end].fill(0);
                }
                at = end;
            }
        }
        self.synced.clone_from(&self.bytes);
    }
}

impl SimDisk {
    fn open_file(&self, path: &str, file: u64, boot: u64, bytes: u64) -> Box<dyn AppendFile> {
        Box::new(OpenFile {
            disk: self.clone(),
            path: path.to_owned(),
            file,
            boot,
            bytes,
        })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
        let mut state = self.0.lock();
        state.change("create", path)?;
        if state.names.contains_key(path) {
            return Err(DiskError::Exists {
                path: path.to_owned(),
            });
        }
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, SimFile::default());
        state.rename_pending(NameChange::Set(path.to_owned(), file));
        Ok(self.open_file(path, file, state.boot, 0))
    }

    fn append(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
        let state = self.0.lock();
        state.powered("open", path)?;
        let file = *state.names.get(path).ok_or_else(|| missing(path))?;
        let bytes = state.files[&file].bytes.len() as u64;
        Ok(self.open_file(path, file, state.boot, bytes))
    }

    fn blob(&self, path: &str) -> Result<Blob, DiskError> {
        let state = self.0.lock();
        state.powered("open", path)?;
        let file = state.names.get(path).ok_or_else(|| missing(path))?;
        Ok(Blob::heap(state.files[file].bytes.clone()))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        state.change("link", to)?;
        let file = *state.names.get(from).ok_or_else(|| missing(from))?;
        if state.names.contains_key(to) {
            return Err(DiskError::Exists {
                path: to.to_owned(),
            });
        }
        state.rename_pending(NameChange::Set(to.to_owned(), file));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        state.change("rename", from)?;
        let file = *state.names.get(from).ok_or_else(|| missing(from))?;
        state.rename_pending(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        state.change("remove", path)?;
        if !state.names.contains_key(path) {
            return Err(missing(path));
        }
        state.rename_pending(NameChange::Unset(path.to_owned()));
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>, DiskError> {
        let state = self.0.lock();
        state.powered("list", folder)?;
        let inside = state
            .names
            .iter()
            .filter(|(path, _)| folder_of(path) == folder);
        let entries = inside.map(|(path, file)| Entry {
            name: path.rsplit('/').next().unwrap_or(path).to_owned(),
            bytes: state.files[file].bytes.len() as u64,
        });
        Ok(entries.collect())
    }

    fn sync_folder(&self, folder: &str) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        state.change("sync folder", folder)?;
        state.fails_sync(folder)?;
        let state = &mut *state;
        let durable = &mut state.durable_names;
        state.pending.retain(|change| {
            let synced = change.touches(folder);
            if synced {
                change.apply(durable);
            }
            !synced
        });
        Ok(())
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: SimDisk,
    path: String,
    file: u64,
    boot: u64,
    bytes: u64,
}

impl OpenFile {
    fn with<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let mut state = self.disk.0.lock();
        if state.boot != self.boot {
            return Err(no_power(operation, &self.path));
        }
        act(&mut state)
    }
}

impl AppendFile for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let (path, file) = (self.path.clone(), self.file);
        let (written, result) = self.with("write", |state| {
            state.powered("write", &path)?;
            let mut result = state.change("write", &path);
            let mut fits = bytes.len();
            if result.is_err() {
                fits = state.random.below(bytes.len() as u64 + 1) as usize;
            } else if let Some(capacity) = state.capacity {
                let room = capacity.saturating_sub(state.used());
                if room < bytes.len() as u64 {
                    fits = room as usize;
                    result = Err(DiskError::Full { path });
                }
            }
            let target = state.files.get_mut(&file).expect("an open file stays");
            target.bytes.extend_from_slice(&bytes[..fits]);
            Ok((fits as u64, result))
        })?;
        self.bytes += written;
        result
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        let (path, file) = (self.path.clone(), self.file);
        self.with("sync", |state| {
            state.change("sync", &path)?;
            state.fails_sync(&path)?;
            let target = state.files.get_mut(&file).expect("an open file stays");
            if target.bytes.starts_with(&target.synced) {
                let from = target.synced.len();
                target.synced.extend_from_slice(&target.bytes[from..]);
            } else {
                target.synced.clone_from(&target.bytes);
            }
            Ok(())
        })
    }

    fn truncate(&mut self, bytes: u64) -> Result<(), DiskError> {
        assert!(bytes <= self.bytes, "truncate only shortens");
        let (path, file) = (self.path.clone(), self.file);
        self.with("truncate", |state| {
            state.change("truncate", &path)?;
            let target = state.files.get_mut(&file).expect("an open file stays");
            target.bytes.truncate(bytes as usize);
            Ok(())
        })?;
        self.bytes = bytes;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_new;

    #[test]
    fn synced_bytes_and_names_survive_every_crash() {
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            write_new(&disk, "a/new", b"whole").unwrap();
            let mut file = disk.create("a/log").unwrap();
            file.write(&[1; 700]).unwrap();
            file.sync().unwrap();
            disk.sync_folder("a").unwrap();
            file.write(&[2; 3000]).unwrap();
            disk.crash();
            assert_eq!(&*disk.blob("a/new").unwrap(), b"whole", "seed {seed}");
            let log = disk.blob("a/log").unwrap();
            assert_eq!(&log[..700], &[1; 700], "seed {seed}");
            assert!(log[700..].iter().all(|b| [0, 2].contains(b)), "seed {seed}");
            assert!(file.write(b"x").is_err(), "files opened before are dead");
        }
    }

    #[test]
    fn unsynced_bytes_and_names_are_lost_sometimes() {
        let (mut named, mut torn) = (0, 0);
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            let mut file = disk.create("a/log").unwrap();
            file.write(&[2; 2000]).unwrap();
            disk.crash();
            if let Ok(blob) = disk.blob("a/log") {
                named += 1;
                torn += usize::from(blob.contains(&0));
            }
        }
        assert!((20..80).contains(&named) && torn > 10, "{named} {torn}");
    }

    #[test]
    fn write_new_is_all_or_nothing_wherever_power_is_lost() {
        for changes in 0..8 {
            for seed in 0..30 {
                let disk = SimDisk::new(seed);
                disk.crash_after(changes);
                let result = write_new(&disk, "a/new", b"whole");
                disk.crash();
                match disk.blob("a/new") {
                    Ok(blob) => assert_eq!(&*blob, b"whole"),
                    Err(error) => {
                        assert_eq!(error, missing("a/new"));
                        assert!(result.is_err(), "seed {seed}, {changes} changes");
                    }
                }
            }
        }
    }

    #[test]
    fn a_full_disk_takes_a_part_and_says_so() {
        let disk = SimDisk::new(1);
        disk.set_capacity(Some(10));
        let mut file = disk.create("a").unwrap();
        let full = DiskError::Full {
            path: "a".to_owned(),
        };
        assert_eq!(file.write(&[1; 16]), Err(full));
        assert_eq!((file.bytes(), disk.used()), (10, 10));
        file.truncate(0).unwrap();
        file.write(&[1; 10]).unwrap();
    }
}
