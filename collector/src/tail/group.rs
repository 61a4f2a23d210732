//! One log: the file that is written now and those that it was before, oldest first.
//!
//! A rotation keeps the inode (rename), or makes another file with the same begin (gzip, copy and
//! truncate). Invariants: a file that was read is never read again under another name; a file that
//! another one has the inode of is told apart by its first bytes; files of one log are read in
//! their order; what is given up is counted.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use obs_kubernetes::pods::Pod;
use obs_model::Labels;
use tokio::time::Instant;

use super::checkpoint::{Entry, FileId};
use super::container::Out;
use super::disk::{self, Reader, Stat};
use super::file::Followed;
use super::pipeline::Pipeline;

/// Length of a fingerprint from which on equal ones mean the same file, whatever it is called.
/// Lines of containers begin with a time in nanoseconds; other files may begin alike.
const SAME_BYTES_MIN: u64 = 64;

/// Truncations whose copies may still be found, and files that cannot be read now.
const REMEMBERED_MAX: usize = 16;
/// The inode of what was truncated, which no file has.
const NO_INODE: u64 = 0;

/// What was looked at and is not to be read: inode, time of its last change, length.
type Looked = (FileId, i64, u64);

/// A log.
#[derive(Debug)]
pub(super) struct Group {
    /// Labels by [`Out`].
    pub labels: [Labels; 3],
    pub metadata: Labels,
    pub pipeline: Arc<Pipeline>,
    /// The pod as it was when labels and pipeline were chosen; `None` where nobody knew it.
    pub pod: Option<Arc<Pod>>,
    /// Folders that its files may be in, wherever links lead.
    pub within: Arc<[PathBuf]>,
    /// Rotated files that may wait to be read.
    pub rotated_max: usize,
    /// Whether rotated files that nobody knows are read too.
    pub unknown: bool,
    pub files: Vec<Followed>,
    /// Checkpoints of files that were not found yet.
    pub remembered: Vec<Entry>,
    looked: HashSet<Looked>,
    seen_once: bool,
    /// Found in the last scan.
    pub wanted: bool,
}

/// What a look at the files of a log came to.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub changed: bool,
    pub faults: Vec<(PathBuf, std::io::Error)>,
    /// Rotated files that were given up, and their bytes that were not read.
    pub given_up: u64,
    pub bytes_given_up: u64,
}

/// A file that may be one of a log.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub path: PathBuf,
    pub rotated: bool,
}

impl Group {
    pub(super) fn new(labels: &Labels, metadata: Labels, pipeline: Arc<Pipeline>) -> Self {
        let labelled = |out: Out| {
            let mut builder = labels.to_builder();
            if let Some(name) = out.as_str() {
                builder.set("stream", name);
            }
            builder.build()
        };
        Self {
            labels: [Out::File, Out::Stdout, Out::Stderr].map(labelled),
            metadata,
            pipeline,
            pod: None,
            within: Arc::default(),
            rotated_max: usize::MAX,
            unknown: true,
            files: Vec::new(),
            remembered: Vec::new(),
            looked: HashSet::new(),
            seen_once: false,
            wanted: true,
        }
    }

    /// Looks at what there is now. `room` is how many more files may be opened; `complete` says
    /// that what is not among the candidates is not there.
    pub(super) fn look(
        &mut self,
        (candidates, complete): (&[Candidate], bool),
        now: Instant,
        room: usize,
    ) -> Changes {
        let mut changes = Changes::default();
        let there = |c: &Candidate| disk::stat(&c.path).filter(|s| s.regular);
        let order: HashMap<FileId, usize> = (candidates.iter().enumerate())
            .filter_map(|(at, candidate)| Some((there(candidate)?.id, at)))
            .collect();
        let mut seen = HashSet::new();
        for candidate in candidates {
            let Some(found) = there(candidate) else {
                continue;
            };
            seen.insert(found.id);
            let known = self.files.iter_mut().find(|f| f.id == found.id);
            match known {
                Some(file) => {
                    if file.rotated != candidate.rotated || file.path != candidate.path {
                        file.rotated = candidate.rotated;
                        file.path.clone_from(&candidate.path);
                        changes.changed = true;
                    }
                    file.lost_since = None;
                    if file.reader.is_none() && file.length != found.length {
                        self.reopen(found, candidate, &mut changes);
                    }
                }
                None => self.meet((found, candidate), &order, room, &mut changes),
            }
        }
        for file in &mut self.files {
            if complete && !seen.contains(&file.id) {
                file.lost_since = file.lost_since.or(Some(now));
            }
        }
        self.looked.retain(|(id, ..)| seen.contains(id));
        // What the first look at all there is does not find does not come back; what was truncated
        // may have a copy.
        if !self.seen_once && complete && changes.faults.is_empty() {
            self.seen_once = true;
            self.remembered.clear();
        }
        self.give_up(&mut changes);
        changes
    }

    /// A file that nobody followed until now.
    fn meet(
        &mut self,
        (found, candidate): (Stat, &Candidate),
        order: &HashMap<FileId, usize>,
        room: usize,
        changes: &mut Changes,
    ) {
        let looked = (found.id, found.modified, found.length);
        if self.looked.contains(&looked) {
            return;
        }
        if self.files.len() >= room {
            let text = std::io::Error::other("too many log files are open");
            changes.faults.push((candidate.path.clone(), text));
            return;
        }
        match self.open(candidate) {
            Ok(Some(mut file)) => {
                file.rotated = candidate.rotated;
                // Before the first one that comes behind it in the order of their rotation.
                let mine = order.get(&file.id).copied().unwrap_or(usize::MAX);
                let later = |f: &Followed| order.get(&f.id).is_some_and(|at| *at > mine);
                let at = self
                    .files
                    .iter()
                    .position(later)
                    .unwrap_or(self.files.len());
                self.files.insert(at, file);
                changes.changed = true;
            }
            Ok(None) => {
                self.looked.insert(looked);
            }
            Err(error) => changes.faults.push((candidate.path.clone(), error)),
        }
    }

    /// Opens a candidate; `None` where its lines came, or come, from another file.
    fn open(&mut self, candidate: &Candidate) -> std::io::Result<Option<Followed>> {
        let Some((found, mut reader)) = disk::open(&candidate.path, &self.within)? else {
            return Ok(None);
        };
        let mut same = None;
        for (index, entry) in self.remembered.iter().enumerate() {
            let print = entry.fingerprint;
            let enough = entry.id == found.id || print.length >= SAME_BYTES_MIN;
            if print.length > 0 && enough && reader.fingerprint(print.length)? == print {
                same = Some(index);
                // The inode decides where several begin alike.
                if entry.id == found.id {
                    break;
                }
            }
        }
        if let Some(index) = same {
            let entry = self.remembered.remove(index);
            return Followed::start(found, reader, &candidate.path, Some(&entry)).map(Some);
        }
        if candidate.rotated {
            for file in &self.files {
                let print = file.fingerprint;
                if print.length >= SAME_BYTES_MIN && reader.fingerprint(print.length)? == print {
                    // Compressed, or copied to be truncated: the file itself is still read.
                    return Ok(None);
                }
            }
            if !self.unknown {
                return Ok(None);
            }
        }
        Followed::start(found, reader, &candidate.path, None).map(Some)
    }

    /// A file that was read to its end grew again, or another one has its inode.
    fn reopen(&mut self, found: Stat, candidate: &Candidate, changes: &mut Changes) {
        let Some(at) = self.files.iter().position(|f| f.id == found.id) else {
            return;
        };
        let entry = self.files[at].entry(&candidate.path);
        let opened = disk::open(&candidate.path, &self.within).and_then(|opened| match opened {
            Some((found, reader)) => {
                Followed::start(found, reader, &candidate.path, Some(&entry)).map(Some)
            }
            None => Ok(None),
        });
        match opened {
            Ok(Some(mut file)) => {
                file.rotated = candidate.rotated;
                self.files[at] = file;
                changes.changed = true;
            }
            Ok(None) => {}
            Err(error) => changes.faults.push((candidate.path.clone(), error)),
        }
    }

    /// More rotated files than may wait: the oldest go.
    fn give_up(&mut self, changes: &mut Changes) {
        let waiting = |f: &Followed| (f.rotated || f.lost_since.is_some()) && !f.is_done();
        let mut many = self.files.iter().filter(|f| waiting(f)).count();
        let max = self.rotated_max.max(1);
        let mut at = 0;
        while many > max && at < self.files.len() {
            if !waiting(&self.files[at]) {
                at += 1;
                continue;
            }
            let file = self.files.remove(at);
            changes.given_up += 1;
            changes.bytes_given_up += file.unread();
            changes.changed = true;
            if let Some(found) = disk::stat(&file.path).filter(|s| s.id == file.id) {
                self.looked.insert((found.id, found.modified, found.length));
            }
            many -= 1;
        }
    }

    /// Closes and forgets files that are done with. Says whether something changed.
    pub(super) fn tidy(&mut self, now: Instant, grace: Duration) -> bool {
        let before = self.files.len();
        let long = |since: Option<Instant>| since.is_some_and(|s| now.duration_since(s) >= grace);
        let mut closed = false;
        self.files.retain_mut(|file| {
            let idle = file.rotated || file.lost_since.is_some();
            if idle && let Some(Ok(length)) = file.reader.as_ref().map(Reader::length) {
                file.length = length;
            }
            if !idle || !file.at_end() {
                file.ended_since = None;
            }
            if !idle || !file.is_done() || file.offset < file.read {
                return true;
            }
            file.ended_since = file.ended_since.or(Some(now));
            if !long(file.ended_since) {
                return true;
            }
            if file.lost_since.is_some() {
                return !long(file.lost_since);
            }
            closed |= file.reader.take().is_some();
            true
        });
        closed || self.files.len() != before
    }

    /// A file that cannot be read is not tried again before it changes. Its place is kept; `name`
    /// is the path that is written.
    pub(super) fn forget(&mut self, at: usize, name: &Path) {
        let file = self.files.remove(at);
        self.remember(file.entry(name));
        if let Some(found) = disk::stat(&file.path).filter(|s| s.id == file.id && file.rotated) {
            self.looked.insert((found.id, found.modified, found.length));
        }
    }

    /// What was known of a file that was truncated: its copy may have the rest.
    pub(super) fn truncated(&mut self, past: Entry, name: &Path) {
        // A copy that was passed over, because the file itself was there, may have the rest.
        self.looked.clear();
        self.remember(Entry {
            path: name.to_owned(),
            // The inode goes on with other bytes.
            id: FileId {
                device: past.id.device,
                inode: NO_INODE,
            },
            ..past
        });
    }

    /// Keeps a place for a file that may be found again; the oldest goes when there are many.
    fn remember(&mut self, entry: Entry) {
        self.remembered
            .retain(|known| known.id.inode == NO_INODE || known.id != entry.id);
        if self.seen_once && self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.remove(0);
        }
        self.remembered.push(entry);
    }

    /// Places of files that were not found yet and may be.
    pub(super) fn places(&self) -> impl Iterator<Item = &Entry> {
        self.remembered
            .iter()
            .filter(|entry| entry.id.inode != NO_INODE)
    }
}
