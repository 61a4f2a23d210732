//! Names in folders, each folder read at most once in a scan, and not at all where it did not change.
//!
//! Invariant: finding what lies beside a file costs a search among the names of its folder, not a
//! look at each, so that a scan is linear in what there is.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::FileId;
use super::disk;
use crate::glob;

/// A change of a folder within this time may not show in its time of change.
const FRESH_NANOS: i64 = 2_000_000_000;
/// Digits of a number that counts rotations; longer ones are dates.
const NUMBER_DIGITS: usize = 5;

#[derive(Debug)]
struct Folder {
    /// Its time of change, where the names hold until that differs.
    modified: Option<i64>,
    names: Arc<[OsString]>,
    /// Regular files by inode, once somebody asked.
    files: Option<HashMap<FileId, Vec<OsString>>>,
    /// The scan that looked at it last.
    scan: u64,
}

/// What is known of folders.
#[derive(Debug, Default)]
pub(super) struct Folders {
    known: HashMap<PathBuf, Folder>,
    scan: u64,
    now: i64,
    /// Folders that could not be read in this scan and may be in the next one.
    failed: HashSet<PathBuf>,
    /// Paths of folders without links, of this scan.
    real: HashMap<PathBuf, Option<PathBuf>>,
    /// How often a folder was read.
    pub reads: u64,
}

impl Folders {
    /// Begins a scan at `now`, in nanoseconds since 1970.
    pub(super) fn begin(&mut self, now: i64) {
        let last = self.scan;
        self.known.retain(|_, folder| folder.scan == last);
        self.scan += 1;
        self.now = now;
        self.real.clear();
        self.failed.clear();
    }

    /// Whether nothing is known of a path in this scan, because a folder above it could not be
    /// read.
    pub(super) fn is_unknown(&self, path: &Path) -> bool {
        !self.failed.is_empty() && path.ancestors().skip(1).any(|f| self.failed.contains(f))
    }

    /// Names in a folder in order; none where there is no folder.
    pub(super) fn names(&mut self, path: &Path) -> std::io::Result<Arc<[OsString]>> {
        self.folder(path).map(|folder| Arc::clone(&folder.names))
    }

    fn folder(&mut self, path: &Path) -> std::io::Result<&mut Folder> {
        let scan = self.scan;
        let fresh = match self.known.get(path) {
            Some(known) if known.scan == scan => true,
            Some(known) => {
                let modified = disk::stat(path).filter(|s| s.folder).map(|s| s.modified);
                known.modified.is_some() && known.modified == modified
            }
            None => false,
        };
        if !fresh {
            let found = disk::stat(path).filter(|s| s.folder);
            self.reads += 1;
            let names = match disk::list(path) {
                Ok(names) => names.into(),
                Err(error) => {
                    // What may not be read is not there for us; anything else passes.
                    if error.kind() != std::io::ErrorKind::PermissionDenied {
                        self.failed.insert(path.to_owned());
                    }
                    return Err(error);
                }
            };
            let modified = found.map(|s| s.modified);
            let folder = Folder {
                modified: modified.filter(|at| self.now.saturating_sub(*at) > FRESH_NANOS),
                names,
                files: None,
                scan,
            };
            self.known.insert(path.to_owned(), folder);
        }
        let folder = self.known.get_mut(path);
        let folder = folder.ok_or_else(|| std::io::Error::other("expected a known folder"))?;
        if folder.scan != scan {
            // Files may come and go by other ways than names do.
            folder.files = None;
            folder.scan = scan;
        }
        Ok(folder)
    }

    /// Refuses a path that leads elsewhere, so that it is told once. What counts is what is looked
    /// at when it is open.
    pub(super) fn leads_within(
        &mut self,
        path: &Path,
        within: &[PathBuf],
        section: &str,
    ) -> Result<(), String> {
        let link = disk::is_link(path);
        let target = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !link => {
                let real = self.real.entry(parent.to_owned());
                let real = real.or_insert_with(|| std::fs::canonicalize(parent).ok());
                real.as_ref().map(|folder| folder.join(name))
            }
            _ => std::fs::canonicalize(path).ok(),
        };
        match target {
            Some(target) if !within.iter().any(|root| target.starts_with(root)) => Err(format!(
                "{}: leads to {}, which is in none of obs.collector.logs.{section}.link_targets",
                path.display(),
                target.display()
            )),
            // What is not there any more is looked for again.
            Some(_) | None => Ok(()),
        }
    }

    /// Regular files of a folder that have an inode.
    pub(super) fn with_inode(&mut self, path: &Path, id: FileId) -> Vec<PathBuf> {
        let Ok(folder) = self.folder(path) else {
            return Vec::new();
        };
        let names = Arc::clone(&folder.names);
        let files = folder.files.get_or_insert_with(|| {
            let mut files = HashMap::<FileId, Vec<OsString>>::new();
            for name in names.iter() {
                if let Some(found) = disk::stat(&path.join(name)).filter(|s| s.regular) {
                    files.entry(found.id).or_default().push(name.clone());
                }
            }
            files
        });
        let found = files.get(&id).into_iter().flatten();
        found.map(|name| path.join(name)).collect()
    }

    /// Files beside a path that look like what it was before: `NAME.1`, `NAME.2.gz`,
    /// `NAME-20260101`; but for those that the patterns name themselves. The oldest first.
    pub(super) fn rotated(&mut self, path: &Path, patterns: &[PathBuf]) -> Vec<PathBuf> {
        let (Some(folder), Some(base)) = (path.parent(), path.file_name()) else {
            return Vec::new();
        };
        let names = self.names(folder).unwrap_or_default();
        let mut found = Vec::new();
        for name in beside(&names, base) {
            let path = folder.join(name);
            if !patterns.iter().any(|p| glob::matches_path(p, &path)) {
                found.push((number(name, base), path));
            }
        }
        if found.iter().all(|(number, _)| number.is_some()) {
            // Numbers count rotations, whatever was done to the files since.
            found.sort_by_key(|(number, _)| Reverse(*number));
        } else {
            found.sort_by_cached_key(|(_, path)| {
                let modified = disk::stat(path).map_or(i64::MIN, |s| s.modified);
                (modified, path.clone())
            });
        }
        found.into_iter().map(|(_, path)| path).collect()
    }
}

/// Names that are `base` with `.` or `-` and a digit behind it. They lie side by side in the order
/// of names.
fn beside<'a>(names: &'a [OsString], base: &'a OsStr) -> impl Iterator<Item = &'a OsString> {
    let base = base.as_encoded_bytes();
    let first = names.partition_point(|name| name.as_encoded_bytes() < base);
    let mine = names[first..]
        .iter()
        .take_while(move |name| name.as_encoded_bytes().starts_with(base));
    mine.filter(move |name| {
        let rest = &name.as_encoded_bytes()[base.len()..];
        let rotated = matches!(rest, [b'.' | b'-', digit, ..] if digit.is_ascii_digit());
        rotated && !rest.ends_with(b".tmp")
    })
}

/// The number behind a name that counts rotations.
fn number(name: &OsStr, base: &OsStr) -> Option<u32> {
    let rest = name.as_encoded_bytes().get(base.len() + 1..)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let ends = rest.get(digits).is_none_or(|b| *b == b'.');
    let text = std::str::from_utf8(&rest[..digits]).ok()?;
    let short = ends && digits <= NUMBER_DIGITS;
    text.parse().ok().filter(|_| short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expect: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::File::create_new(dir.path().join(name)).unwrap();
        }
        let mut folders = Folders::default();
        folders.begin(0);
        let found = folders.rotated(&dir.path().join("a.log"), &[dir.path().join("own-*")]);
        let shown: Vec<_> = found
            .iter()
            .filter_map(|p| p.file_name()?.to_str())
            .collect();
        assert_eq!(shown, expect, "{names:?}");
    }

    #[test]
    fn rotated_files_are_in_the_order_of_their_rotation() {
        check(&["a.log"], &[]);
        check(
            &[
                "a.log",
                "a.log.1",
                "a.log.10.gz",
                "a.log.2",
                "a.logs",
                "a.log.x",
            ],
            &["a.log.10.gz", "a.log.2", "a.log.1"],
        );
        // Dates, made in this order.
        check(
            &[
                "a.log-20260102",
                "a.log-20260103.gz",
                "a.log.20260104-1.tmp",
            ],
            &["a.log-20260102", "a.log-20260103.gz"],
        );
    }

    #[test]
    fn a_folder_is_read_once_and_again_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let mut folders = Folders::default();
        let far = i64::MAX;
        for (scan, (make, expect)) in [(false, 1), (false, 1), (true, 2), (false, 2)]
            .into_iter()
            .enumerate()
        {
            if make {
                let stamp = std::fs::metadata(dir.path()).unwrap().modified().unwrap();
                let mut tries = 0;
                // The time of change moves by ticks of the machine's clock.
                while std::fs::metadata(dir.path()).unwrap().modified().unwrap() == stamp {
                    std::fs::File::create_new(dir.path().join(format!("f{tries}"))).unwrap();
                    tries += 1;
                }
            }
            folders.begin(far);
            for _ in 0..3 {
                let names = folders.names(dir.path()).unwrap();
                assert_eq!(names.is_empty(), scan < 2);
            }
            assert_eq!(folders.reads, expect, "scan {scan}");
        }
        // One that is not there is no fault, and is looked for again.
        assert!(folders.names(&dir.path().join("none")).unwrap().is_empty());
    }
}
