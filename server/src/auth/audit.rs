//! The audit log: who changed what, and who was not let in. One JSON object a line in a file, and
//! the same as an event of the log, which obs keeps where it keeps its own logs.
//!
//! Invariants: no secret is in a line; lines wait in a bounded queue and the file is bounded, what is
//! left out is counted and told; refusals of strangers do not crowd out changes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use obs_model::Timestamp;
use obs_model::time::NANOS_PER_SECOND;
use parking_lot::Mutex;
use serde_json::json;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;

/// Lines that wait to be written.
const WAITING_MAX: usize = 4096;
/// Refusals that are noted in one second; the rest is counted.
const REFUSALS_PER_SECOND: u32 = 20;
/// Bytes after which the file is set aside as `NAME.1`, in the place of the one before.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Longest of a text that somebody else chose.
const TEXT_CHARS_MAX: usize = 256;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody changed something, or tried to.
    Change,
    /// Somebody is not known.
    Refused,
    /// Somebody is known and may not.
    Denied,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Refused => "refused",
            Self::Denied => "denied",
        }
    }
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Note<'a> {
    pub(super) event: Event,
    /// The name, or what somebody said that it was.
    pub(super) who: &'a str,
    /// By what they showed it.
    pub(super) how: &'a str,
    pub(super) tenant: &'a str,
    /// The class of the route.
    pub(super) action: &'a str,
    pub(super) method: &'a str,
    pub(super) route: &'a str,
    /// The address without its query, in which secrets might be.
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) source: Option<IpAddr>,
    /// Why somebody was refused.
    pub(super) why: &'a str,
}

/// Where lines go.
#[derive(Debug)]
pub(super) struct Audit {
    file: Option<PathBuf>,
    sender: Option<mpsc::Sender<String>>,
    receiver: Mutex<Option<mpsc::Receiver<String>>>,
    /// The second, and how many refusals were noted in it and left out since the last that was noted.
    refusals: Mutex<(i64, u32, u64)>,
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Audit {
    /// Writes to a file, where there is one.
    pub(super) async fn open(file: Option<PathBuf>) -> anyhow::Result<Self> {
        let (mut sender, mut receiver) = (None, None);
        if let Some(file) = &file {
            // What cannot be opened is told before anything is served.
            append(file)
                .await
                .with_context(|| format!("open {}", file.display()))?;
            let (into, out) = mpsc::channel(WAITING_MAX);
            (sender, receiver) = (Some(into), Some(out));
        }
        Ok(Self {
            file,
            sender,
            receiver: Mutex::new(receiver),
            refusals: Mutex::default(),
            written: AtomicU64::default(),
            dropped: AtomicU64::default(),
        })
    }

    /// Begins to write; what waits at the stop is written still.
    pub(super) fn start(&self, tasks: &TaskTracker, stop: CancellationToken) {
        let receiver = self.receiver.lock().take();
        if let (Some(mut receiver), Some(file)) = (receiver, self.file.clone()) {
            tasks.spawn(async move {
                loop {
                    let line = tokio::select! {
                        biased;
                        line = receiver.recv() => line,
                        () = stop.cancelled() => return,
                    };
                    let Some(line) = line else {
                        return;
                    };
                    let mut lines = line;
                    while let Ok(more) = receiver.try_recv() {
                        lines.push_str(&more);
                    }
                    if let Err(error) = write(&file, &lines).await {
                        tracing::error!(%error, file = %file.display(), "audit lines are not written");
                    }
                }
            });
        }
    }

    /// Lines that were noted, and those that were left out.
    pub(super) fn counts(&self) -> (u64, u64) {
        let (written, dropped) = (&self.written, &self.dropped);
        (
            written.load(Ordering::Relaxed),
            dropped.load(Ordering::Relaxed),
        )
    }

    /// Notes what happened.
    pub(super) fn note(&self, note: &Note<'_>) {
        let now = clock::now();
        let Some(left_out) = self.admits(note.event, now) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.written.fetch_add(1, Ordering::Relaxed);
        let source = note.source.map(|source| source.to_string());
        let source = source.unwrap_or_default();
        let (who, path) = (cut(note.who), cut(note.path));
        tracing::info!(
            target: "obs_server::audit",
            event = note.event.name(),
            who,
            how = note.how,
            tenant = note.tenant,
            action = note.action,
            method = note.method,
            route = note.route,
            path,
            status = note.status,
            source,
            why = note.why,
            "audit"
        );
        let Some(sender) = &self.sender else {
            return;
        };
        let mut line = json!({
            "time": now.to_string(),
            "event": note.event.name(),
            "who": who,
            "how": note.how,
            "tenant": note.tenant,
            "action": note.action,
            "method": note.method,
            "route": note.route,
            "path": path,
            "status": note.status,
            "source": source,
        });
        if !note.why.is_empty() {
            line["why"] = note.why.into();
        }
        if left_out > 0 {
            line["left_out"] = left_out.into();
        }
        if sender.try_send(format!("{line}\n")).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the audit log is not written as fast as it grows: a line is left out");
        }
    }

    /// How many refusals were left out before this one; `None` where it is to be left out, too.
    fn admits(&self, event: Event, now: Timestamp) -> Option<u64> {
        if event == Event::Change {
            return Some(0);
        }
        let second = now.nanos() / NANOS_PER_SECOND;
        let mut refusals = self.refusals.lock();
        if refusals.0 != second {
            (refusals.0, refusals.1) = (second, 0);
        }
        if refusals.1 >= REFUSALS_PER_SECOND {
            refusals.2 += 1;
            return None;
        }
        refusals.1 += 1;
        Some(std::mem::take(&mut refusals.2))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

async fn append(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.open(path).await
}

async fn write(path: &Path, lines: &str) -> std::io::Result<()> {
    let mut file = append(path).await?;
    if file.metadata().await?.len() >= FILE_BYTES_MAX {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        tokio::fs::rename(path, aside).await?;
        file = append(path).await?;
    }
    file.write_all(lines.as_bytes()).await?;
    file.flush().await?;
    file.sync_data().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(event: Event) -> Note<'static> {
        Note {
            event,
            who: "ann\n",
            how: "password",
            tenant: "a",
            action: "admin",
            method: "POST",
            route: "/x/{id}",
            path: "/x/1",
            status: 204,
            source: Some(IpAddr::from([10, 0, 0, 1])),
            why: "",
        }
    }

    #[tokio::test]
    async fn lines_are_written_and_refusals_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(Some(path.clone())).await.expect("opened");
        for _ in 0..100 {
            audit.note(&note(Event::Refused));
        }
        audit.note(&note(Event::Change));
        let (written, dropped) = audit.counts();
        assert_eq!(written + dropped, 101);
        // The hundred may lie in two seconds.
        assert!((21..=41).contains(&written), "{written}");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        audit.start(&tasks, stop.clone());
        // What waits is written before the stop is seen.
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        let text = tokio::fs::read_to_string(&path).await.expect("written");
        assert_eq!(text.lines().count() as u64, written);
        let last: serde_json::Value =
            serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert_eq!(
            (&last["event"], &last["who"]),
            (&"change".into(), &"ann\n".into())
        );
        assert_eq!(last["source"], "10.0.0.1");
    }
}
