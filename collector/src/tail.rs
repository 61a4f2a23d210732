//! Following log files: every line is stored once, across rotation, truncation and restarts.
//!
//! How: files are grouped into logs (one container's, or one path's with what it was before it was
//! rotated). A round looks for files, reads some of each log in turn, and hands a batch to the
//! sink. The checkpoint notes how far everything is stored. Lines of containers carry their time,
//! so that reading them again gives the same records; lines of other files get one, so the range
//! on its way and its time are noted before it goes, and the same range gives the same records.
//! Reading stops while the sink refuses: the files on disk are the buffer.
//!
//! Invariant: the offset of a file moves only after the sink said that its lines are durable.

mod assemble;
mod checkpoint;
mod container;
mod discover;
mod disk;
mod file;
mod folders;
mod group;
pub mod journal;
mod parse;
mod pipeline;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use obs_model::limits::Limits;
use obs_model::{LogBatch, LogStream, Tenant, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{FileFormat, LogsConfig};
use crate::decode::Decoder;
use crate::enrich::Pods;
use crate::metrics::Counters;
use crate::sink::Sink;
use crate::supervise::{self, End};
use checkpoint::{Entry, Sent, Unread};
use discover::{Discovery, Found, Origin};
use file::{Making, Taken};
use group::{Changes, Group};

/// Pause between two rounds that found nothing.
const POLL: Duration = Duration::from_millis(250);
/// Pause after a batch of less than [`LITTLE_BYTES`]: each batch is a write to disk and a request.
const BREATH: Duration = Duration::from_millis(200);
/// Bytes of lines below which a batch is little.
const LITTLE_BYTES: u64 = 256 << 10;
/// Pause after the sink refused.
const BACKOFF: Duration = Duration::from_secs(1);
/// How often files are looked for.
const SCAN: Duration = Duration::from_secs(1);
/// How often the checkpoint is written while lines come.
const SAVE: Duration = Duration::from_secs(1);
/// Bytes of lines in one batch, after which the next log waits for the next round.
const BATCH_BYTES: u64 = 1 << 20;
/// How long a file that no pattern finds any more is kept open: its writer may hold it a moment.
const LOST_GRACE: Duration = Duration::from_secs(10);
/// How long a new pod is waited for to become known, where pods are watched.
const POD_WAIT: Duration = Duration::from_secs(5);
/// How long the first list of all pods is waited for; lines go without what it says after that.
const LIST_WAIT: Duration = Duration::from_secs(60);
/// Most files that are open at one time.
const OPEN_FILES_MAX: usize = 4096;

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
    /// Where files are read.
    pub worker: Decoder,
    /// Who pods are.
    pub pods: Pods,
}

/// Follows the configured files until the token is cancelled. What ends it otherwise is told, and
/// it goes on from the checkpoint.
pub async fn run(config: LogsConfig, setting: Setting, stop: CancellationToken) {
    let counters = Arc::clone(&setting.counters);
    supervise::keep(
        "following of log files",
        &stop,
        || counters.tail_restart(),
        || follow(config.clone(), setting.clone(), stop.clone()),
    )
    .await;
}

async fn follow(config: LogsConfig, setting: Setting, stop: CancellationToken) -> End {
    let Some(mut follower) = Follower::open(config, setting).await else {
        return End::Lost;
    };
    loop {
        let pause = match follower.round().await {
            Round::More => Duration::ZERO,
            Round::Little => BREATH,
            Round::Idle => POLL,
            Round::Refused => BACKOFF,
            Round::Lost => return End::Lost,
        };
        if stop.is_cancelled() {
            break;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    follower.save().await;
    End::Done
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Lines were stored; there may be more.
    More,
    /// A few lines were stored.
    Little,
    /// Nothing new.
    Idle,
    /// The sink refused; the same lines go again later.
    Refused,
    /// The work on the files ended in a panic: what it knew is gone but for the checkpoint.
    Lost,
}

/// What is true of a file when the lines are stored.
#[derive(Clone, Debug)]
struct Range {
    log: PathBuf,
    id: checkpoint::FileId,
    end: u64,
    /// To be noted before the lines go.
    note: Option<Sent>,
}

/// Lines on their way.
#[derive(Debug, Default)]
struct Pending {
    batch: LogBatch,
    ranges: Vec<Range>,
    bytes: u64,
    cut: u64,
    dropped: u64,
    /// Lines of it that were stored before the rest had to wait, and those refused for good.
    stored: u64,
    refused: u64,
    /// The note is written, where there is one.
    noted: bool,
}

/// The part that waits: for the sink, and for the part that reads.
#[derive(Debug)]
struct Follower {
    setting: Setting,
    tail: Option<Box<Tail>>,
    pending: Option<Pending>,
}

impl Follower {
    /// `None` where it cannot be read now how far everything was read, and may be later.
    async fn open(config: LogsConfig, setting: Setting) -> Option<Self> {
        let entries = match checkpoint::load(&setting.checkpoint).await {
            Ok(entries) => entries,
            Err(Unread::Now(error)) => {
                tracing::error!(error = %error, "tail checkpoint not readable now");
                setting.counters.tail_fault();
                return None;
            }
            Err(Unread::Damaged(error)) => {
                // Reading everything again stores lines twice; forgetting files would lose some.
                tracing::error!(error = %error, "tail checkpoint not readable, reading from the begin");
                setting.counters.tail_fault();
                Vec::new()
            }
        };
        let tail = Box::new(Tail::new(config, setting.clone(), entries));
        Some(Self {
            setting,
            tail: Some(tail),
            pending: None,
        })
    }

    /// Runs work on the files off the event loop.
    async fn with_tail<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Tail) -> T + Send + 'static,
    ) -> Option<T> {
        let mut tail = self.tail.take()?;
        let run = move || {
            let out = work(&mut tail);
            (tail, out)
        };
        match self.setting.worker.run(usize::MAX, run).await {
            Ok((tail, out)) => {
                self.tail = Some(tail);
                Some(out)
            }
            Err(error) => {
                tracing::error!(?error, "the work on log files ended");
                None
            }
        }
    }

    /// One round: find files, read lines, store them, remember it.
    async fn round(&mut self) -> Round {
        if self.pending.is_none() {
            let Some(pending) = self.with_tail(Tail::prepare).await else {
                return Round::Lost;
            };
            self.pending = pending;
        }
        let Some(mut pending) = self.pending.take() else {
            return Round::Idle;
        };
        if !pending.noted {
            // Without this note a crash would store the lines twice.
            let ranges = pending.ranges.clone();
            let Some(noted) = self.with_tail(move |tail| tail.save(&ranges)).await else {
                return Round::Lost;
            };
            pending.noted = noted;
            if !noted {
                self.pending = Some(pending);
                return Round::Refused;
            }
        }
        self.send(pending).await
    }

    /// Hands the pending lines to the sink; moves the offsets when they are stored.
    async fn send(&mut self, mut pending: Pending) -> Round {
        let lines = pending.batch.record_count() as u64;
        if lines > 0 {
            let (sink, tenant) = (&self.setting.sink, self.setting.tenant.clone());
            match sink.followed(tenant, pending.batch.clone()).await {
                Ok((0, _)) => {}
                Ok((refused, reason)) => {
                    tracing::warn!(lines = refused, reason, "log lines refused");
                    pending.refused += refused;
                }
                Err(unsent) => {
                    tracing::debug!(error = %unsent.error, "log lines wait");
                    let left = unsent.batch.record_count() as u64;
                    pending.refused += unsent.refused;
                    pending.stored += lines.saturating_sub(left + unsent.refused);
                    pending.batch = unsent.batch;
                    self.pending = Some(pending);
                    return Round::Refused;
                }
            }
        }
        let counters = &self.setting.counters;
        let stored = (pending.stored + lines).saturating_sub(pending.refused);
        counters.tailed(stored, pending.bytes, pending.cut);
        counters.tail_refused(pending.refused);
        counters.tail_dropped(pending.dropped);
        if let Some(tail) = &mut self.tail {
            tail.stored.extend(pending.ranges);
        }
        match pending.bytes < LITTLE_BYTES {
            true => Round::Little,
            false => Round::More,
        }
    }

    async fn save(&mut self) {
        let ranges = self.pending.take().map_or_else(Vec::new, |p| p.ranges);
        self.with_tail(move |tail| {
            tail.settle();
            tail.save(&ranges)
        })
        .await;
    }
}

/// The part that reads files; it runs off the event loop.
#[derive(Debug)]
struct Tail {
    config: LogsConfig,
    setting: Setting,
    discovery: Discovery,
    logs: BTreeMap<PathBuf, Group>,
    /// Checkpoints of the last run by log.
    remembered: HashMap<PathBuf, Vec<Entry>>,
    /// Ranges that were stored since the last round.
    stored: Vec<Range>,
    /// Since when a log waits for its pod to become known.
    unknown: HashMap<PathBuf, Instant>,
    last_time: Timestamp,
    /// Where the next round starts, so that one busy log does not starve the others.
    next: Option<PathBuf>,
    scanned: Option<Instant>,
    saved: Option<Instant>,
    dirty: bool,
    scan_every: Duration,
    grace: Duration,
    /// Most files that are open at one time.
    room: usize,
    buffer: Vec<u8>,
}

impl Tail {
    fn new(config: LogsConfig, setting: Setting, entries: Vec<Entry>) -> Self {
        let sent = entries.iter().filter_map(|entry| entry.sent);
        let last_time = sent.map(|sent| sent.time).max().unwrap_or(Timestamp::MIN);
        let mut remembered = HashMap::<PathBuf, Vec<Entry>>::new();
        for entry in entries {
            remembered
                .entry(entry.path.clone())
                .or_default()
                .push(entry);
        }
        Self {
            config,
            setting,
            discovery: Discovery::default(),
            logs: BTreeMap::new(),
            remembered,
            stored: Vec::new(),
            unknown: HashMap::new(),
            last_time,
            next: None,
            scanned: None,
            saved: None,
            dirty: false,
            scan_every: SCAN,
            grace: LOST_GRACE,
            room: OPEN_FILES_MAX,
            buffer: Vec::new(),
        }
    }

    /// Everything up to the batch that goes next.
    fn prepare(&mut self) -> Option<Pending> {
        self.settle();
        let now = Instant::now();
        if self
            .scanned
            .is_none_or(|at| now.duration_since(at) >= self.scan_every)
        {
            self.scan(now);
            self.scanned = Some(now);
        }
        let pending = self.gather(now);
        let due = self.saved.is_none_or(|at| now.duration_since(at) >= SAVE);
        let noted = pending.as_ref().is_some_and(|p| !p.noted);
        if self.dirty && !noted && (pending.is_none() || due) {
            self.save(&[]);
        }
        pending
    }

    /// Takes note of what was stored.
    fn settle(&mut self) {
        for range in std::mem::take(&mut self.stored) {
            self.dirty = true;
            let Some(group) = self.logs.get_mut(&range.log) else {
                continue;
            };
            let Some(at) = group.files.iter().position(|f| f.id == range.id) else {
                continue;
            };
            group.files[at].advance(range.end);
        }
    }

    fn scan(&mut self, now: Instant) {
        let found = self
            .discovery
            .find(&self.config, clock::now().nanos(), &self.remembered);
        for fault in std::mem::take(&mut self.discovery.faults) {
            tracing::debug!(error = %fault, "log files not found");
            self.setting.counters.tail_fault();
        }
        self.unknown
            .retain(|_, since| now.duration_since(*since) < LIST_WAIT * 2);
        for group in self.logs.values_mut() {
            group.wanted = false;
        }
        let mut open: usize = self.logs.values().map(|g| g.files.len()).sum();
        for found in found {
            if !self.is_followed(&found) && !self.begin(&found, now) {
                continue;
            }
            let Some(group) = self.logs.get_mut(&found.key) else {
                continue;
            };
            group.wanted = true;
            group.within = Arc::clone(&found.within);
            let before = group.files.len();
            let room = before + self.room.saturating_sub(open);
            let changes = group.look((&found.candidates, found.complete), now, room);
            open = open + group.files.len() - before.min(open);
            self.count(&found.key, changes);
        }
        for (log, group) in self.logs.iter_mut().filter(|(_, g)| !g.wanted) {
            // Where nobody could look, nothing is lost.
            group.wanted = self.discovery.folders.is_unknown(log);
            if !group.wanted {
                group.look((&[], true), now, 0);
            }
        }
        for group in self.logs.values_mut() {
            self.dirty |= group.tidy(now, self.grace);
        }
        self.logs
            .retain(|_, group| group.wanted || !group.files.is_empty());
        self.setting.counters.tail_files(open);
    }

    /// Whether a log is followed and may be; it goes by what is known of its pod by now.
    fn is_followed(&mut self, found: &Found) -> bool {
        let Some(group) = self.logs.get_mut(&found.key) else {
            return false;
        };
        let pods = &self.setting.pods;
        if self.discovery.renew(group, found, &self.config, pods) {
            return true;
        }
        // Its place is kept, should its pod think again.
        if let Some(group) = self.logs.remove(&found.key) {
            let files = group.files.iter().map(|file| file.entry(&found.key));
            self.remembered.insert(found.key.clone(), files.collect());
            self.dirty = true;
        }
        false
    }

    /// Begins to follow a log; not where its pod does not want it or may become known yet.
    fn begin(&mut self, found: &Found, now: Instant) -> bool {
        let pods = &self.setting.pods;
        if let Origin::Container(place) = &found.origin
            && pods.is_watched()
            && pods.by_uid(&place.uid).is_none()
        {
            let since = *self.unknown.entry(found.key.clone()).or_insert(now);
            let wait = match pods.is_complete() {
                true => POD_WAIT,
                false => LIST_WAIT,
            };
            if now.duration_since(since) < wait {
                return false;
            }
        }
        self.unknown.remove(&found.key);
        let Some(mut group) = self.discovery.group(found, &self.config, pods) else {
            return false;
        };
        if let Some(entries) = self.remembered.remove(&found.key) {
            group.remembered = entries;
            // What was rotated while nothing ran has lines that nobody read.
            group.unknown = true;
        }
        self.logs.insert(found.key.clone(), group);
        true
    }

    fn count(&mut self, log: &Path, changes: Changes) {
        self.dirty |= changes.changed;
        for (path, error) in changes.faults {
            fault(&self.setting.counters, &path, &error);
        }
        if changes.given_up > 0 {
            let (files, bytes) = (changes.given_up, changes.bytes_given_up);
            tracing::error!(log = %log.display(), files, bytes, "rotated log files were given up unread");
            self.setting.counters.tail_given_up(files, bytes);
        }
    }

    /// Reads lines of the logs in turn until there is a batch.
    fn gather(&mut self, now: Instant) -> Option<Pending> {
        let mut logs: Vec<PathBuf> = self.logs.keys().cloned().collect();
        if let Some(next) = &self.next {
            let first = logs.iter().position(|log| log >= next).unwrap_or(0);
            logs.rotate_left(first);
        }
        let mut pending = Pending {
            noted: true,
            ..Pending::default()
        };
        self.next = None;
        for log in logs {
            if pending.bytes >= BATCH_BYTES {
                self.next = Some(log);
                break;
            }
            self.gather_log(&log, now, &mut pending);
        }
        (!pending.ranges.is_empty()).then_some(pending)
    }

    fn gather_log(&mut self, log: &Path, now: Instant, pending: &mut Pending) {
        let Some(group) = self.logs.get_mut(log) else {
            return;
        };
        let own_times = group.pipeline.format == FileFormat::Container;
        let mut at = 0;
        while at < group.files.len() {
            let file = &mut group.files[at];
            let ended = (file.lost_since)
                .or(file.ended_since)
                .is_some_and(|since| now.duration_since(since) >= self.grace);
            let time = match file.resend {
                Some(sent) => sent.time,
                // Each line gets a time of its own: equal lines are different lines.
                None => clock::now().max(self.last_time.saturating_add(1)),
            };
            let resent = file.resend.is_some();
            let mut taken = Taken::new(time);
            let making = Making {
                pipeline: &group.pipeline,
                metadata: &group.metadata,
                limits: &self.setting.limits,
                now,
                ended,
            };
            let past = file.take(making, &mut self.buffer, &mut taken);
            // That of the file as it is now, should it have begun again.
            let (id, offset) = (file.id, file.offset);
            let done = file.is_done();
            if file.at_end() && !done && (file.rotated || file.lost_since.is_some()) {
                // The last line has no end yet; it gets one when nobody writes any more.
                file.ended_since = file.ended_since.or(Some(now));
            }
            match past {
                Ok(Some(past)) => group.truncated(past, log),
                Ok(None) => {}
                Err(error) => {
                    fault(&self.setting.counters, &group.files[at].path, &error);
                    group.forget(at, log);
                    self.dirty = true;
                    continue;
                }
            }
            if !resent && !own_times {
                self.last_time = self.last_time.max(time.saturating_add(taken.made()));
            }
            let read = taken.bytes > 0;
            if taken.quiet != offset || taken.records.iter().any(|r| !r.is_empty()) {
                let note = (!own_times && taken.quiet > offset).then_some(Sent {
                    end: taken.quiet,
                    time: time.saturating_add(taken.begun()),
                });
                pending.noted &= note.is_none();
                pending.ranges.push(Range {
                    log: log.to_owned(),
                    id,
                    end: taken.quiet,
                    note,
                });
            }
            pending.bytes += taken.bytes;
            pending.cut += taken.cut;
            pending.dropped += taken.dropped;
            for (labels, records) in group.labels.iter().zip(taken.records) {
                if !records.is_empty() {
                    let labels = labels.clone();
                    pending.batch.streams.push(LogStream { labels, records });
                }
            }
            // The next file of the log follows when this one is read.
            if read || !group.files[at].at_end() {
                return;
            }
            at += 1;
        }
    }

    /// Writes the checkpoint with what is stored and what is on its way.
    fn save(&mut self, on_the_way: &[Range]) -> bool {
        let mut entries = Vec::new();
        for (log, group) in &self.logs {
            for file in &group.files {
                let mut entry = file.entry(log);
                let range = on_the_way
                    .iter()
                    .find(|r| r.id == entry.id && r.log == *log);
                if let Some(note) = range.and_then(|r| r.note) {
                    entry.sent = Some(note);
                }
                entries.push(entry);
            }
            entries.extend(group.places().cloned());
        }
        // Logs of pods that are not known yet keep their place, and those that cannot be looked at.
        let folders = &self.discovery.folders;
        let there =
            |e: &&Entry| std::fs::symlink_metadata(&e.path).is_ok() || folders.is_unknown(&e.path);
        entries.extend(self.remembered.values().flatten().filter(there).cloned());
        match checkpoint::save(&self.setting.checkpoint, &entries) {
            Ok(()) => {
                self.dirty = !on_the_way.is_empty();
                self.saved = Some(Instant::now());
                true
            }
            Err(error) => {
                tracing::error!(error = %error, "tail checkpoint not written");
                self.setting.counters.tail_fault();
                false
            }
        }
    }
}

fn fault(counters: &Counters, path: &Path, error: &std::io::Error) {
    tracing::warn!(path = %path.display(), error = %error, "log file not read");
    counters.tail_fault();
}

#[cfg(test)]
mod tests;
