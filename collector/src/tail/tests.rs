//! Files that grow, rotate, shrink and vanish, with restarts and refusals in between. The oracle
//! is a set of (stream, time, line): what a store that recognises repetitions would hold.

use std::collections::BTreeSet;

use tempfile::TempDir;
use tokio::fs;

use super::*;
use crate::config::FilesConfig;
use crate::sink::{Accepted, Inbox};

struct Rig {
    dir: TempDir,
    inbox: Inbox,
    sink: Sink,
    tail: Option<Tail>,
    stored: BTreeSet<(String, Timestamp, String)>,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (sink, inbox) = Sink::channel(1);
        let mut rig = Self {
            dir,
            inbox,
            sink,
            tail: None,
            stored: BTreeSet::new(),
        };
        rig.restart().await;
        rig
    }

    /// As after a crash: nothing is saved but what is on disk already.
    async fn restart(&mut self) {
        let config = LogsConfig {
            files: vec![FilesConfig {
                paths: vec![self.path("*.log")],
                labels: BTreeMap::from([("job".to_owned(), "t".to_owned())]),
            }],
        };
        let setting = Setting {
            sink: self.sink.clone(),
            tenant: Tenant::anonymous(),
            limits: Limits {
                line_bytes_max: 8,
                ..Limits::default()
            },
            counters: Arc::default(),
            checkpoint: self.path("data/tail.checkpoint"),
        };
        let mut tail = Tail::open(config, setting).await;
        tail.grace = Duration::ZERO;
        self.tail = Some(tail);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn append(&self, name: &str, text: &str) {
        use tokio::io::AsyncWriteExt;
        let mut options = fs::OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .open(self.path(name))
            .await;
        let mut file = file.expect("opened");
        file.write_all(text.as_bytes()).await.expect("written");
        file.flush().await.expect("flushed");
    }

    /// One round; the writer stores the batch and says `say`.
    async fn round(&mut self, say: Result<Accepted, SinkError>) -> Round {
        let tail = self.tail.as_mut().expect("started");
        let mut keep = |batch: LogBatch| {
            for stream in batch.streams {
                let name = stream.labels.get(FILENAME).unwrap_or("").to_owned();
                let name = name.rsplit('/').next().unwrap_or("").to_owned();
                for record in stream.records {
                    let line = String::from_utf8_lossy(&record.line).into_owned();
                    self.stored.insert((name.clone(), record.time, line));
                }
            }
        };
        tokio::select! {
            biased;
            round = tail.round() => round,
            () = async {
                let write = self.inbox.logs.recv().await.expect("a batch");
                keep(write.batch);
                write.done.send(say).expect("a waiter");
                std::future::pending::<()>().await;
            } => unreachable!("pending"),
        }
    }

    async fn settle(&mut self) {
        while self.round(Ok(Accepted::default())).await != Round::Idle {}
    }

    /// All lines in order of time, as `file:line`.
    fn lines(&self) -> Vec<String> {
        let mut all: Vec<_> = self.stored.iter().collect();
        all.sort_by_key(|(_, time, _)| *time);
        all.iter()
            .map(|(file, _, line)| format!("{file}:{line}"))
            .collect()
    }
}

#[tokio::test]
async fn whole_lines_partial_lines_long_lines() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "one\none\ntw").await;
    rig.settle().await;
    assert_eq!(rig.lines(), ["a.log:one", "a.log:one"]);
    rig.append("a.log", "o\n").await;
    rig.append("b.txt", "not wanted\n").await;
    rig.settle().await;
    rig.append("a.log", "0123456789\n").await;
    rig.settle().await;
    let expect = [
        "a.log:one",
        "a.log:one",
        "a.log:two",
        "a.log:01234567",
        "a.log:89",
    ];
    assert_eq!(rig.lines(), expect);
}

#[tokio::test]
async fn rotation_by_rename_while_running() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n").await;
    rig.settle().await;
    rig.append("a.log", "2\n").await;
    fs::rename(rig.path("a.log"), rig.path("a.log.1"))
        .await
        .expect("renamed");
    rig.append("a.log.1", "3\nlast").await;
    rig.append("a.log", "4\n").await;
    rig.settle().await;
    let mut lines = rig.lines();
    lines.sort();
    assert_eq!(
        lines,
        ["a.log:1", "a.log:2", "a.log:3", "a.log:4", "a.log:last"]
    );
    assert_eq!(rig.tail.as_ref().expect("started").files.len(), 1);
}

#[tokio::test]
async fn truncation_and_rewriting_begin_again() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n2\n3\n").await;
    rig.settle().await;
    fs::write(rig.path("a.log"), b"4\n")
        .await
        .expect("truncated");
    rig.settle().await;
    // Truncated and longer than before at the next look: told by its begin.
    fs::write(rig.path("a.log"), b"5\n6\n7\n8\n")
        .await
        .expect("rewritten");
    rig.settle().await;
    let lines: Vec<String> = (1..=8).map(|n| format!("a.log:{n}")).collect();
    assert_eq!(rig.lines(), lines);
}

#[tokio::test]
async fn restarts_go_on_where_the_sink_was() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n2\n").await;
    rig.settle().await;
    rig.restart().await;
    rig.settle().await;
    rig.append("a.log", "3\n").await;
    // Rotated while nothing runs, unread lines in the old file, a new file at the old path.
    fs::rename(rig.path("a.log"), rig.path("a.log.1"))
        .await
        .expect("renamed");
    rig.append("a.log", "4\n").await;
    rig.restart().await;
    rig.settle().await;
    let mut lines = rig.lines();
    lines.sort();
    assert_eq!(lines, ["a.log:1", "a.log:2", "a.log:3", "a.log:4"]);
}

#[tokio::test]
async fn lost_answers_neither_lose_nor_double() {
    let mut rig = Rig::new().await;
    let gone = || {
        Err(SinkError::Unavailable {
            reason: "no answer".into(),
        })
    };
    rig.append("a.log", "1\n1\n").await;
    // The writer stored the lines, but its answer was lost: the same batch goes again.
    assert_eq!(rig.round(gone()).await, Round::Refused);
    rig.append("a.log", "2\n").await;
    assert_eq!(rig.round(gone()).await, Round::Refused);
    // And the process dies: the note in the checkpoint gives the same lines the same times.
    rig.restart().await;
    rig.append("a.log", "3\n").await;
    rig.settle().await;
    assert_eq!(rig.lines(), ["a.log:1", "a.log:1", "a.log:2", "a.log:3"]);
    // Refused for good: told and passed over.
    rig.append("a.log", "4\n").await;
    let refused = Err(SinkError::Refused {
        reason: "too old".into(),
    });
    assert_eq!(rig.round(refused).await, Round::More);
    rig.append("a.log", "5\n").await;
    rig.settle().await;
    assert_eq!(rig.lines().last().map(String::as_str), Some("a.log:5"));
}

#[tokio::test]
async fn another_file_with_the_same_inode_is_read_from_its_begin() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "old\n").await;
    rig.settle().await;
    rig.tail = None; // Closes the file, so that its inode may be used again.
    fs::write(rig.path("a.log"), b"new one\n")
        .await
        .expect("rewritten");
    rig.restart().await;
    rig.settle().await;
    assert_eq!(rig.lines(), ["a.log:old", "a.log:new one"]);
}

#[tokio::test]
async fn a_broken_checkpoint_loses_nothing() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n").await;
    rig.settle().await;
    fs::write(rig.path("data/tail.checkpoint"), b"garbage")
        .await
        .expect("written");
    rig.restart().await;
    rig.append("a.log", "2\n").await;
    rig.settle().await;
    assert!(rig.lines().contains(&"a.log:2".to_owned()));
}
