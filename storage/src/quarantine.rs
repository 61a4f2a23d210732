//! Damaged files, set aside with the reason beside them, so that someone can look.
//!
//! Invariant: bytes are never destroyed because they are damaged; what is here is not served.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::{Disk, TEMPORARY, folder_of, write_new};
use crate::error::{Corrupt, DiskError, Quarantined};

/// The ending of the text that says why.
const REASON: &str = ".reason";

/// What is in quarantine, kept in step with its folder.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    folder: String,
    /// Names and reasons; a crash or a full disk may have kept a reason from being written.
    found: BTreeMap<String, Option<String>>,
    /// Files that are in use and of which there was no room for a copy.
    uncopied: BTreeSet<String>,
}

impl Quarantine {
    /// Reads the folder.
    pub(crate) fn open(disk: &dyn Disk, folder: String) -> Result<Self, DiskError> {
        let mut found = BTreeMap::new();
        for entry in disk.list(&folder)? {
            if let Some(name) = entry.name.strip_suffix(REASON) {
                let text = disk.blob(&format!("{folder}/{}", entry.name))?;
                let text = String::from_utf8_lossy(&text).into_owned();
                found.insert(name.to_owned(), Some(text));
            } else if !entry.name.ends_with(TEMPORARY) {
                found.entry(entry.name).or_insert(None);
            }
        }
        Ok(Self {
            folder,
            found,
            uncopied: BTreeSet::new(),
        })
    }

    /// Where a file of that name is kept.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Whether the name is here already, with its reason.
    fn contains(&self, name: &str) -> bool {
        self.found.get(name).is_some_and(Option::is_some)
    }

    /// Notes a finding that has no file of its own, or whose file stays where it is.
    pub(crate) fn note(
        &mut self,
        disk: &dyn Disk,
        name: &str,
        findings: &[Corrupt],
    ) -> Result<(), DiskError> {
        if self.contains(name) {
            return Ok(());
        }
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let reason = findings.join("\n");
        let path = format!("{}{REASON}", self.path(name));
        accept_existing(write_new(disk, &path, reason.as_bytes()))?;
        self.found.insert(name.to_owned(), Some(reason));
        Ok(())
    }

    /// Moves a damaged file here. A file that is missing is only noted.
    pub(crate) fn take(
        &mut self,
        disk: &dyn Disk,
        path: &str,
        finding: &Corrupt,
    ) -> Result<(), DiskError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.note(disk, name, std::slice::from_ref(finding))?;
        match disk.rename(path, &self.path(name)) {
            Ok(()) => {
                disk.sync_folder(&self.folder)?;
                disk.sync_folder(folder_of(path))
            }
            Err(DiskError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Keeps a copy of a file that is still in use. Without room for it the file itself comes here
    /// when it is no longer in use: see [`Self::take_uncopied`].
    pub(crate) fn copy(
        &mut self,
        disk: &dyn Disk,
        name: &str,
        bytes: &[u8],
        findings: &[Corrupt],
    ) -> Result<(), DiskError> {
        if self.contains(name) {
            return Ok(());
        }
        match write_new(disk, &self.path(name), bytes) {
            Err(DiskError::Full { .. }) => drop(self.uncopied.insert(name.to_owned())),
            result => accept_existing(result)?,
        }
        self.note(disk, name, findings)
    }

    /// Moves a file here that is no longer in use, if it is damaged and was not copied; whether
    /// it was.
    pub(crate) fn take_uncopied(&mut self, disk: &dyn Disk, path: &str) -> Result<bool, DiskError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        if !self.uncopied.contains(name) {
            return Ok(false);
        }
        disk.rename(path, &self.path(name))?;
        self.uncopied.remove(name);
        disk.sync_folder(&self.folder)?;
        Ok(true)
    }

    /// Everything that is here.
    pub(crate) fn all(&self) -> Vec<Quarantined> {
        let one = |(name, reason): (&String, &Option<String>)| Quarantined {
            path: self.path(name),
            reason: reason
                .clone()
                .unwrap_or_else(|| "damaged, the reason was not written".to_owned()),
        };
        self.found.iter().map(one).collect()
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }
}

/// A crash in the middle leaves the first of two files; it has the right bytes already. A full disk
/// must not keep the good rest from being served: then the finding is kept in memory, and made
/// again at the next open.
fn accept_existing(result: Result<(), DiskError>) -> Result<(), DiskError> {
    match result {
        Ok(()) | Err(DiskError::Exists { .. } | DiskError::Full { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
