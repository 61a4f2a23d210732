//! Following log files: every line is stored once, across rotation, truncation and restarts.
//!
//! How: before lines go to the sink, the checkpoint notes which range of which file they are and
//! the time of the first one. If the process dies before the answer, the same range gives the same
//! lines with the same times, and the store recognises them. Reading stops while the sink refuses:
//! the files on disk are the buffer.
//!
//! Invariant: the offset of a file moves only after the sink said that its lines are durable.

mod checkpoint;
mod file;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use obs_model::limits::Limits;
use obs_model::{Labels, LogBatch, LogRecord, LogStream, Tenant, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::LogsConfig;
use crate::glob;
use crate::metrics::Counters;
use crate::sink::{Sink, SinkError};
use checkpoint::{Entry, FileId, Fingerprint, Sent};
use file::{Followed, split};

/// Pause between two rounds that found nothing.
const POLL: Duration = Duration::from_millis(250);
/// Pause after the sink refused.
const BACKOFF: Duration = Duration::from_secs(1);
/// Bytes of lines in one batch, after which the next file waits for the next round.
const BATCH_BYTES: usize = 1 << 20;
/// How long a file that no pattern finds any more is kept open: its writer may hold it a moment.
const LOST_GRACE: Duration = Duration::from_secs(10);
/// Most files that are open at one time.
const OPEN_FILES_MAX: usize = 4096;
/// The label that holds the path.
const FILENAME: &str = "filename";

/// What following needs from the rest of the house.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where lines go.
    pub sink: Sink,
    /// Whose lines they are.
    pub tenant: Tenant,
    /// Bounds: `line_bytes_max`.
    pub limits: Limits,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// The file that remembers how far everything was read.
    pub checkpoint: PathBuf,
}

/// Follows the configured files until the token is cancelled.
pub async fn run(config: LogsConfig, setting: Setting, stop: CancellationToken) {
    let mut tail = Tail::open(config, setting).await;
    loop {
        let pause = match tail.round().await {
            Round::More => continue_unless(&stop),
            Round::Idle => Some(POLL),
            Round::Refused => Some(BACKOFF),
        };
        let Some(pause) = pause else { break };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    tail.save().await;
}

fn continue_unless(stop: &CancellationToken) -> Option<Duration> {
    (!stop.is_cancelled()).then_some(Duration::ZERO)
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Lines were stored; there may be more.
    More,
    /// Nothing new.
    Idle,
    /// The sink refused; the same lines go again later.
    Refused,
}

/// Lines on their way, and what is true once they are stored.
#[derive(Debug)]
struct Pending {
    batch: LogBatch,
    /// New offset by file.
    ranges: Vec<(FileId, Sent)>,
    bytes: u64,
    cut: u64,
}

#[derive(Debug)]
struct Tail {
    config: LogsConfig,
    setting: Setting,
    files: BTreeMap<FileId, Followed>,
    /// Entries of the last run whose files were not found yet.
    remembered: HashMap<FileId, Entry>,
    pending: Option<Pending>,
    last_time: Timestamp,
    /// Where the next round starts, so that one busy file does not starve the others.
    next: Option<FileId>,
    dirty: bool,
    grace: Duration,
}

impl Tail {
    async fn open(config: LogsConfig, setting: Setting) -> Self {
        let entries = match checkpoint::load(&setting.checkpoint).await {
            Ok(entries) => entries,
            Err(error) => {
                // Reading everything again stores lines twice; forgetting files would lose some.
                tracing::error!(error = %error, "tail checkpoint not readable, reading from the begin");
                setting.counters.tail_fault();
                Vec::new()
            }
        };
        let sent = entries.iter().filter_map(|entry| entry.sent);
        let last_time = sent.map(|sent| sent.time).max().unwrap_or(Timestamp::MIN);
        let remembered = entries.into_iter().map(|entry| (entry.id, entry)).collect();
        let mut tail = Self {
            config,
            setting,
            files: BTreeMap::new(),
            remembered,
            pending: None,
            last_time,
            next: None,
            dirty: false,
            grace: LOST_GRACE,
        };
        tail.find_rotated().await;
        tail
    }

    /// Files that were renamed while nothing ran: looked for beside their old path.
    async fn find_rotated(&mut self) {
        let entries: Vec<Entry> = self.remembered.values().cloned().collect();
        for entry in entries {
            let Some(labels) = self.labels_of(&entry.path) else {
                continue;
            };
            let Some(folder) = entry.path.parent() else {
                continue;
            };
            let (beside, _) = glob::expand(&folder.join("*")).await;
            for path in beside {
                let metadata = tokio::fs::metadata(&path).await;
                if metadata.is_ok_and(|m| m.is_file() && file::id(&m) == entry.id) {
                    // The name it had when its first lines were stored stays its label.
                    self.follow(&path, &entry.path, labels.clone()).await;
                    break;
                }
            }
        }
    }

    /// The labels of a file by its path; `None` where no entry of the configuration wants it.
    fn labels_of(&self, path: &Path) -> Option<Labels> {
        let wanted = |pattern: &PathBuf| {
            let (mut p, mut f) = (pattern.components(), path.components());
            loop {
                match (p.next(), f.next()) {
                    (None, None) => return true,
                    (Some(p), Some(f)) => {
                        let (p, f) = (p.as_os_str(), f.as_os_str());
                        if !glob::matches(p.as_encoded_bytes(), f.as_encoded_bytes()) {
                            return false;
                        }
                    }
                    (Some(_), None) | (None, Some(_)) => return false,
                }
            }
        };
        let entry = self
            .config
            .files
            .iter()
            .find(|entry| entry.paths.iter().any(wanted))?;
        Some(labels(&entry.labels, path))
    }

    /// One round: find files, read lines, store them, remember it.
    async fn round(&mut self) -> Round {
        if self.pending.is_none() {
            self.scan().await;
            self.pending = self.gather().await;
            if self.pending.is_none() {
                if self.dirty {
                    self.save().await;
                }
                return Round::Idle;
            }
            // Without this note a crash would store the lines twice.
            if !self.save().await {
                self.pending = None;
                return Round::Refused;
            }
        }
        self.send().await
    }

    async fn scan(&mut self) {
        let mut found = HashMap::new();
        for entry in &self.config.files {
            for pattern in &entry.paths {
                let (paths, faults) = glob::expand(pattern).await;
                for fault in faults {
                    tracing::debug!(error = %fault, "log files not listed");
                    self.setting.counters.tail_fault();
                }
                for path in paths {
                    if let Ok(metadata) = tokio::fs::metadata(&path).await
                        && metadata.is_file()
                    {
                        let labels = labels(&entry.labels, &path);
                        found.entry(file::id(&metadata)).or_insert((path, labels));
                    }
                }
            }
        }
        let now = Instant::now();
        for (id, file) in &mut self.files {
            file.lost_since = match found.contains_key(id) {
                true => None,
                false => file.lost_since.or(Some(now)),
            };
        }
        for (id, (path, labels)) in found {
            if !self.files.contains_key(&id) {
                self.follow(&path, &path, labels).await;
            }
        }
        self.setting.counters.tail_files(self.files.len());
    }

    async fn follow(&mut self, path: &Path, name: &Path, labels: Labels) {
        if self.files.len() >= OPEN_FILES_MAX {
            tracing::warn!(path = %path.display(), max = OPEN_FILES_MAX, "too many log files, not followed");
            self.setting.counters.tail_fault();
            return;
        }
        let followed = match file::open(path).await {
            Ok(Some((id, file))) => {
                let entry = self.remembered.remove(&id);
                Followed::start(id, file, name, labels, entry).await
            }
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match followed {
            Ok(followed) => {
                self.files.insert(followed.id, followed);
                self.dirty = true;
            }
            Err(error) => self.fault(path, &error),
        }
    }

    /// Reads lines of the files in turn until there is a batch.
    async fn gather(&mut self) -> Option<Pending> {
        let mut ids: Vec<FileId> = self.files.keys().copied().collect();
        if let Some(next) = self.next {
            let first = ids.iter().position(|id| *id >= next).unwrap_or(0);
            ids.rotate_left(first);
        }
        let mut pending = Pending {
            batch: LogBatch::default(),
            ranges: Vec::new(),
            bytes: 0,
            cut: 0,
        };
        let mut buffer = Vec::new();
        for id in ids {
            self.next = Some(id);
            if pending.bytes >= BATCH_BYTES as u64 {
                return Some(pending);
            }
            if let Err((path, error)) = self.gather_one(id, &mut buffer, &mut pending).await {
                self.fault(&path, &error);
                self.files.remove(&id);
            }
        }
        self.next = None;
        (!pending.ranges.is_empty()).then_some(pending)
    }

    async fn gather_one(
        &mut self,
        id: FileId,
        buffer: &mut Vec<u8>,
        pending: &mut Pending,
    ) -> Result<(), (PathBuf, std::io::Error)> {
        let line_max = self.setting.limits.line_bytes_max;
        let grace = self.grace;
        let Some(file) = self.files.get_mut(&id) else {
            return Ok(());
        };
        let fault = |path: &Path, error| (path.to_owned(), error);
        let length = file.refresh().await.map_err(|e| fault(&file.path, e))?;
        let ended = file
            .lost_since
            .is_some_and(|since| since.elapsed() >= grace);
        if length == file.offset {
            if ended {
                self.files.remove(&id);
                self.dirty = true;
            }
            return Ok(());
        }
        // One whole line of the largest size, its newline and some more.
        let room = line_max.max(BATCH_BYTES) as u64 + 1;
        let resend = file.resend;
        let most = resend.map_or(room, |sent| sent.end - file.offset);
        file.read(most, buffer)
            .await
            .map_err(|e| fault(&file.path, e))?;
        // The end of a range that is sent again, and of a file that nobody writes any more, is
        // the end of a line.
        let last = resend.is_some() || (ended && file.offset + buffer.len() as u64 >= length);
        let lines = split(buffer, line_max, last);
        if lines.lines.is_empty() {
            return Ok(());
        }
        let time = match resend {
            Some(sent) => sent.time,
            None => {
                // Each line gets a time of its own: equal lines are different lines.
                let time = clock::now().max(self.last_time.saturating_add(1));
                self.last_time = time.saturating_add(lines.lines.len() as i64);
                time
            }
        };
        let record = |(index, line): (usize, &&[u8])| LogRecord {
            time: time.saturating_add(index as i64),
            line: line.to_vec(),
            metadata: Labels::empty(),
        };
        pending.batch.streams.push(LogStream {
            labels: file.labels.clone(),
            records: lines.lines.iter().enumerate().map(record).collect(),
        });
        if file.offset == 0 {
            // Known before the lines are stored, so that a restart tells whether it is this file.
            file.fingerprint = Fingerprint::of(&buffer[..lines.consumed]);
        }
        let end = file.offset + lines.consumed as u64;
        pending.ranges.push((id, Sent { end, time }));
        pending.bytes += lines.consumed as u64;
        pending.cut += lines.cut;
        Ok(())
    }

    /// Hands the pending lines to the sink; moves the offsets when they are stored.
    async fn send(&mut self) -> Round {
        let Some(pending) = self.pending.take() else {
            return Round::Idle;
        };
        let (sink, tenant) = (&self.setting.sink, self.setting.tenant.clone());
        match sink.logs(tenant, pending.batch.clone()).await {
            Ok(accepted) => {
                if accepted.refused > 0 {
                    tracing::warn!(lines = accepted.refused, reason = %accepted.reason, "log lines refused");
                }
            }
            Err(SinkError::Refused { reason }) => {
                tracing::error!(reason = %reason, "log lines refused");
                self.setting.counters.tail_fault();
            }
            Err(
                error @ (SinkError::Full { .. } | SinkError::Stale | SinkError::Unavailable { .. }),
            ) => {
                tracing::debug!(error = %error, "log lines wait");
                self.pending = Some(pending);
                return Round::Refused;
            }
        }
        let lines = pending.batch.record_count() as u64;
        self.setting
            .counters
            .tailed(lines, pending.bytes, pending.cut);
        for (id, sent) in pending.ranges {
            if let Some(file) = self.files.get_mut(&id)
                && let Err(error) = file.advance(sent.end).await
            {
                let path = file.path.clone();
                self.fault(&path, &error);
                self.files.remove(&id);
            }
        }
        self.dirty = true;
        Round::More
    }

    /// Writes the checkpoint with what is stored and what is on its way.
    async fn save(&mut self) -> bool {
        let mut entries: Vec<Entry> = self.files.values().map(Followed::entry).collect();
        let on_the_way = self.pending.iter().flat_map(|pending| &pending.ranges);
        for (id, sent) in on_the_way {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.id == *id) {
                entry.sent = Some(*sent);
            }
        }
        match checkpoint::save(&self.setting.checkpoint, &entries).await {
            Ok(()) => {
                self.dirty = false;
                true
            }
            Err(error) => {
                tracing::error!(error = %error, "tail checkpoint not written");
                self.setting.counters.tail_fault();
                false
            }
        }
    }

    fn fault(&self, path: &Path, error: &std::io::Error) {
        tracing::warn!(path = %path.display(), error = %error, "log file not read");
        self.setting.counters.tail_fault();
    }
}

fn labels(configured: &BTreeMap<String, String>, path: &Path) -> Labels {
    let configured = configured.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let mut builder = Labels::from_pairs(configured).to_builder();
    builder.set(FILENAME, &path.to_string_lossy());
    builder.build()
}

#[cfg(test)]
mod tests;
