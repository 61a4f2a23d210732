//! Files that grow, rotate, shrink and vanish, with restarts and refusals in between. The oracle
//! is a set of (stream, time, line): what a store that recognises repetitions would hold.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::fs;

use super::*;
use crate::config::FilesConfig;
use crate::sink::{Accepted, Inbox, SinkError};

/// The label that holds the path.
const FILENAME: &str = "filename";

struct Rig {
    dir: TempDir,
    inbox: Inbox,
    sink: Sink,
    tail: Option<Follower>,
    stored: BTreeSet<(String, Timestamp, String)>,
    config: LogsConfig,
    line_bytes_max: usize,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let config = LogsConfig {
            files: vec![FilesConfig {
                paths: vec![dir.path().join("*.log")],
                labels: BTreeMap::from([("job".to_owned(), "t".to_owned())]),
                ..FilesConfig::default()
            }],
            ..LogsConfig::default()
        };
        Self::with(dir, config, 8).await
    }

    /// Containers of pods below `pods`.
    async fn pods(yaml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut pods: crate::config::PodsConfig = serde_yaml_ng::from_str(yaml).expect("yaml");
        pods.path = dir.path().join("pods");
        let config = LogsConfig {
            pods: Some(pods),
            ..LogsConfig::default()
        };
        Self::with(dir, config, 64 << 10).await
    }

    async fn with(dir: TempDir, config: LogsConfig, line_bytes_max: usize) -> Self {
        let (sink, inbox) = Sink::channel(1);
        let mut rig = Self {
            dir,
            inbox,
            sink,
            tail: None,
            stored: BTreeSet::new(),
            config,
            line_bytes_max,
        };
        rig.restart().await;
        rig
    }

    /// As after a crash: nothing is saved but what is on disk already.
    async fn restart(&mut self) {
        let setting = Setting {
            sink: self.sink.clone(),
            tenant: Tenant::anonymous(),
            limits: Limits {
                line_bytes_max: self.line_bytes_max,
                ..Limits::default()
            },
            counters: Arc::default(),
            checkpoint: self.path("data/tail.checkpoint"),
            worker: Decoder::new(1),
            pods: Pods::default(),
        };
        let follower = Follower::open(self.config.clone(), setting).await;
        let mut follower = follower.expect("a readable checkpoint");
        let tail = follower.tail.as_mut().expect("opened");
        tail.grace = Duration::ZERO;
        tail.scan_every = Duration::ZERO;
        self.tail = Some(follower);
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
                let name = stream.labels.get(FILENAME).or(stream.labels.get("stream"));
                let name = name.unwrap_or("").to_owned();
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
    let tail = rig.tail.as_ref().and_then(|f| f.tail.as_ref());
    let files = tail.expect("started").logs.values().flat_map(|g| &g.files);
    assert_eq!(files.filter(|f| f.reader.is_some()).count(), 1);
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
    assert_eq!(rig.round(refused).await, Round::Little);
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

#[tokio::test]
async fn copies_of_truncated_files_give_the_rest() {
    let mut rig = Rig::new().await;
    let long = "x".repeat(7) + "\n";
    rig.append("a.log", &long.repeat(20)).await;
    rig.append("a.log", "1\n").await;
    rig.settle().await;
    rig.append("a.log", "2\n").await;
    fs::copy(rig.path("a.log"), rig.path("a.log.1"))
        .await
        .expect("copied");
    fs::write(rig.path("a.log"), b"3\n")
        .await
        .expect("truncated");
    rig.settle().await;
    let lines: Vec<String> = rig
        .lines()
        .into_iter()
        .filter(|l| !l.contains('x'))
        .collect();
    let mut sorted = lines.clone();
    sorted.sort();
    assert_eq!(sorted, ["a.log:1", "a.log:2", "a.log:3"]);
}

const CONTAINER: &str = "pods/shop_cart-0_u-1/web";

impl Rig {
    async fn make_container(&self) {
        fs::create_dir_all(self.path(CONTAINER))
            .await
            .expect("made");
    }

    /// A line as a runtime writes it, with a time of its own.
    async fn cri(&self, out: &str, tag: &str, number: u64, text: &str) {
        let at = Timestamp::from_nanos(1_700_000_000_000_000_000 + number as i64);
        let line = format!("{at} {out} {tag} {text}\n");
        self.append(&format!("{CONTAINER}/0.log"), &line).await;
    }

    fn texts(&self) -> Vec<String> {
        let mut all: Vec<_> = self.stored.iter().collect();
        all.sort_by_key(|(_, time, _)| *time);
        all.iter().map(|(_, _, line)| line.clone()).collect()
    }
}

#[tokio::test]
async fn containers_have_their_place_as_labels() {
    let mut rig = Rig::pods("{labels: {cluster: c}}").await;
    rig.make_container().await;
    rig.cri("stdout", "P", 1, "hel").await;
    rig.cri("stderr", "F", 2, "other").await;
    rig.cri("stdout", "F", 3, "lo").await;
    let tail = rig.tail.as_mut().expect("started").tail.as_mut();
    let pending = tail.expect("there").prepare().expect("lines");
    let shown: Vec<String> = pending
        .batch
        .streams
        .iter()
        .map(|s| s.labels.to_string())
        .collect();
    assert_eq!(
        shown,
        [
            r#"{cluster="c", container="web", namespace="shop", pod="cart-0", stream="stdout"}"#,
            r#"{cluster="c", container="web", namespace="shop", pod="cart-0", stream="stderr"}"#,
        ]
    );
    let record = &pending.batch.streams[0].records[0];
    assert_eq!(record.line, b"hello");
    assert_eq!(
        record.time,
        Timestamp::from_nanos(1_700_000_000_000_000_001)
    );
    assert_eq!(record.metadata.get("k8s_pod_uid"), Some("u-1"));
    assert_eq!(
        record.metadata.get("k8s_container_restart_count"),
        Some("0")
    );
}

#[tokio::test]
async fn rotated_files_that_are_too_many_are_counted() {
    let mut rig = Rig::pods("{rotated_files_max: 2}").await;
    rig.make_container().await;
    for number in 0..6u64 {
        rig.cri("stdout", "F", number, &format!("line {number}"))
            .await;
        let rotated = format!("{CONTAINER}/0.log.2026010{number}-000000");
        let from = rig.path(&format!("{CONTAINER}/0.log"));
        fs::rename(from, rig.path(&rotated)).await.expect("renamed");
    }
    rig.cri("stdout", "F", 9, "line 9").await;
    rig.settle().await;
    assert_eq!(rig.texts(), ["line 4", "line 5", "line 9"]);
    let follower = rig.tail.as_ref().expect("started");
    let families = follower
        .setting
        .counters
        .families(&crate::sink::SinkStats::default());
    let lost = families
        .iter()
        .find(|f| f.name == "obs_tail_lost_files_total");
    assert_eq!(lost.expect("counted").points[0].value, 4.0);
}

#[tokio::test]
async fn a_deleted_pod_is_read_to_its_end() {
    let mut rig = Rig::pods("{}").await;
    rig.make_container().await;
    rig.cri("stdout", "F", 1, "first").await;
    rig.settle().await;
    rig.cri("stdout", "F", 2, "last").await;
    fs::remove_dir_all(rig.path("pods/shop_cart-0_u-1"))
        .await
        .expect("deleted");
    rig.settle().await;
    assert_eq!(rig.texts(), ["first", "last"]);
}

#[tokio::test]
async fn links_lead_only_where_logs_are() {
    let mut rig = Rig::pods("{}").await;
    rig.make_container().await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let secret = elsewhere.path().join("shadow");
    fs::write(&secret, "root:x\n").await.expect("written");
    rig.append("docker.log", "2026-11-21T00:00:01Z stdout F linked\n")
        .await;
    let folder = rig.path("pods/shop_cart-0_u-1/web");
    for (name, target) in [
        ("7.log", &secret),
        ("8.log", &rig.path("docker.log")),
        ("9.log", &folder.join("9.log")),
    ] {
        fs::symlink(target, folder.join(name))
            .await
            .expect("linked");
    }
    rig.settle().await;
    assert_eq!(rig.texts(), ["linked"]);
}

#[tokio::test]
async fn work_that_panics_is_noticed_and_loses_nothing() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n").await;
    rig.settle().await;
    rig.append("a.log", "2\n").await;
    let tail = rig.tail.as_mut().expect("started");
    let lost = tail
        .with_tail(|_| -> bool { panic!("as a test wants it") })
        .await;
    assert_eq!(lost, None);
    assert_eq!(rig.round(Ok(Accepted::default())).await, Round::Lost);
    rig.restart().await;
    rig.settle().await;
    assert_eq!(rig.lines(), ["a.log:1", "a.log:2"]);
}

#[tokio::test]
async fn a_file_rewritten_while_its_lines_wait_is_read_from_its_begin() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n2\n3\n").await;
    let gone = Err(SinkError::Unavailable {
        reason: "no answer".into(),
    });
    assert_eq!(rig.round(gone).await, Round::Refused);
    rig.append("a.log", "4\n").await;
    // Longer than before, while the first lines wait.
    fs::write(rig.path("a.log"), b"5\n6\n7\n8\n9\n")
        .await
        .expect("rewritten");
    rig.settle().await;
    let expect = [1, 2, 3, 5, 6, 7, 8, 9].map(|n| format!("a.log:{n}"));
    assert_eq!(rig.lines(), expect);
}

#[tokio::test]
async fn what_was_read_in_steps_is_known_by_all_of_its_begin() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n").await;
    rig.settle().await;
    for number in 2..=9 {
        rig.append("a.log", &format!("{number}\n")).await;
        rig.settle().await;
    }
    // The first line is the same: what came later tells the files apart.
    fs::write(rig.path("a.log"), b"1\nb\nc\nd\ne\nf\ng\nh\ni\nj\n")
        .await
        .expect("rewritten");
    rig.restart().await;
    rig.settle().await;
    assert_eq!(rig.lines().last().map(String::as_str), Some("a.log:j"));
    assert_eq!(rig.lines().len(), 9 + 10);
}

#[tokio::test]
async fn rotated_files_are_read_oldest_first() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n").await;
    rig.settle().await;
    // Rotated more than once before the next look, and again while nothing runs.
    for (number, gone) in [(2, false), (3, false), (4, true), (5, true)] {
        for at in (1..4).rev() {
            let from = rig.path(&format!("a.log.{at}"));
            if from.exists() {
                let to = rig.path(&format!("a.log.{}", at + 1));
                fs::rename(from, to).await.expect("renamed");
            }
        }
        fs::rename(rig.path("a.log"), rig.path("a.log.1"))
            .await
            .expect("renamed");
        rig.append("a.log", &format!("{number}\n")).await;
        if gone {
            rig.restart().await;
        }
    }
    let tail = rig.tail.as_mut().expect("started");
    tail.tail.as_mut().expect("there").logs.clear();
    rig.settle().await;
    let expect: Vec<String> = (1..=5).map(|n| format!("a.log:{n}")).collect();
    assert_eq!(rig.lines(), expect);
}

#[tokio::test]
async fn links_and_pipes_of_patterns_lead_nowhere_else() {
    let mut rig = Rig::new().await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let secret = elsewhere.path().join("shadow.log");
    fs::write(&secret, "root:x\n").await.expect("written");
    fs::symlink(&secret, rig.path("a.log"))
        .await
        .expect("linked");
    rig.append("real", "mine\n").await;
    fs::symlink(rig.path("real"), rig.path("b.log"))
        .await
        .expect("linked");
    let pipe = rig.path("c.log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    rig.settle().await;
    assert_eq!(rig.lines(), ["b.log:mine"]);
    // As in a race: the check sees a file, what is opened is another.
    let within = [fs::canonicalize(rig.dir.path()).await.expect("there")];
    let opened = disk::open(&rig.path("a.log"), &within).map(|o| o.is_some());
    assert!(opened.is_err_and(|e| e.to_string().contains("link_targets")));
    assert!(matches!(disk::open(&pipe, &within), Ok(None)));
    // The configuration may allow it.
    rig.config.files[0].link_targets = vec![elsewhere.path().to_owned()];
    rig.restart().await;
    rig.settle().await;
    assert_eq!(rig.lines(), ["b.log:mine", "a.log:root:x"]);
}

#[tokio::test]
async fn a_scan_reads_a_folder_once() {
    let mut rig = Rig::new().await;
    for number in 0..200 {
        rig.append(&format!("{number}.log"), "x\n").await;
        rig.append(&format!("{number}.log.1"), "y\n").await;
    }
    let more = rig.path("1*.log");
    rig.config.files[0].paths.push(more);
    rig.restart().await;
    let config = rig.config.clone();
    let tail = rig.tail.as_mut().expect("started").tail.as_mut();
    let discovery = &mut tail.expect("there").discovery;
    let found = discovery.find(&config, 0, &HashMap::new());
    assert_eq!(found.len(), 200);
    assert!(found.iter().all(|f| f.candidates.len() == 2));
    assert_eq!(discovery.folders.reads, 1);
}

#[tokio::test]
async fn pieces_of_a_long_line_are_kept_apart() {
    let mut rig = Rig::pods("{}").await;
    rig.line_bytes_max = 8;
    rig.restart().await;
    rig.make_container().await;
    // One line in one piece, then in pieces, with equal parts.
    rig.cri("stdout", "F", 1, &"a".repeat(24)).await;
    for _ in 0..6 {
        rig.cri("stderr", "P", 100, "bbbb").await;
    }
    rig.cri("stderr", "F", 100, "end").await;
    rig.settle().await;
    let expect = [
        "aaaaaaaa", "aaaaaaaa", "aaaaaaaa", "bbbbbbbb", "bbbbbbbb", "bbbbbbbb", "end",
    ];
    assert_eq!(rig.texts(), expect);
}

#[tokio::test]
async fn lines_of_no_form_come_behind_the_one_before_them() {
    let mut rig = Rig::pods("{}").await;
    rig.make_container().await;
    rig.cri("stdout", "F", 1, "first").await;
    let log = format!("{CONTAINER}/0.log");
    rig.append(&log, "odd\nodd\n").await;
    rig.settle().await;
    // A restart goes on as if there had been none.
    rig.restart().await;
    rig.append(&log, "odd\n").await;
    rig.settle().await;
    assert_eq!(rig.texts(), ["first", "odd", "odd", "odd"]);
    let times: BTreeSet<_> = rig.stored.iter().map(|(_, time, _)| time.nanos()).collect();
    let first = 1_700_000_000_000_000_001;
    assert_eq!(
        times.into_iter().collect::<Vec<_>>(),
        [first, first + 1, first + 2, first + 3]
    );
}

/// The lines of a file that was begun again are on their way when the process dies: the note
/// gives the same lines the same times.
#[tokio::test]
async fn what_is_read_behind_a_truncation_is_noted() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n2\n3\n").await;
    rig.settle().await;
    fs::write(rig.path("a.log"), b"4\n").await.expect("cut");
    let gone = Err(SinkError::Unavailable {
        reason: "no answer".into(),
    });
    assert_eq!(rig.round(gone).await, Round::Refused);
    rig.restart().await;
    rig.settle().await;
    assert_eq!(rig.lines(), ["a.log:1", "a.log:2", "a.log:3", "a.log:4"]);
}

/// A file that got the inode of a log of the last run is that log only if it begins as it did.
#[tokio::test]
async fn an_inode_alone_does_not_make_a_file_another_log() {
    let mut rig = Rig::new().await;
    rig.append("a.log", "1\n").await;
    rig.settle().await;
    rig.tail = None;
    // As if the file system had given the inode of a deleted file to a new one.
    fs::rename(rig.path("a.log"), rig.path("b.log"))
        .await
        .expect("renamed");
    fs::write(rig.path("b.log"), b"other\n")
        .await
        .expect("written");
    rig.restart().await;
    rig.settle().await;
    assert_eq!(rig.lines(), ["a.log:1", "b.log:other"]);
}

/// Looks that fail, for want of room or because a link leads nowhere yet, do not cost a log its
/// place; not over a restart either.
#[tokio::test]
async fn places_outlive_looks_that_fail() {
    let mut rig = Rig::new().await;
    rig.append("real", "1\n").await;
    fs::symlink(rig.path("real"), rig.path("b.log"))
        .await
        .expect("linked");
    rig.append("a.log", "1\n").await;
    rig.settle().await;
    fs::rename(rig.path("real"), rig.path("away"))
        .await
        .expect("renamed");
    for _ in 0..2 {
        rig.restart().await;
        let tail = rig.tail.as_mut().and_then(|f| f.tail.as_mut());
        let tail = tail.expect("started");
        tail.room = 0;
        assert!(tail.prepare().is_none());
        assert!(tail.save(&[]));
    }
    fs::rename(rig.path("away"), rig.path("real"))
        .await
        .expect("renamed");
    rig.restart().await;
    rig.append("a.log", "2\n").await;
    rig.append("real", "2\n").await;
    rig.settle().await;
    let mut lines = rig.lines();
    lines.sort();
    assert_eq!(lines, ["a.log:1", "a.log:2", "b.log:1", "b.log:2"]);
}

/// What cannot be read now how far it was read is not read again.
#[tokio::test]
async fn a_checkpoint_that_cannot_be_opened_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = checkpoint::load(folder.path()).await;
    assert!(matches!(told, Err(Unread::Now(_))), "{told:?}");
}

/// Lines without a time are as old as the line before them, also where records have several.
#[tokio::test]
async fn restarts_know_times_of_records_of_several_lines() {
    let mut rig = Rig::pods("{multiline: {start: '^first|^odd'}}").await;
    rig.make_container().await;
    let log = format!("{CONTAINER}/0.log");
    rig.cri("stdout", "F", 1, "first").await;
    rig.append(&log, "odd\n more\n and more\nodd\n").await;
    // Nobody writes it any more, so that the last record is whole.
    fs::rename(rig.path(&log), rig.path(&format!("{log}.20260101-000000")))
        .await
        .expect("renamed");
    rig.settle().await;
    let before = rig.stored.clone();
    rig.restart().await;
    rig.append(&format!("{log}.20260101-000000"), "odd\n").await;
    // It is read, seen at its end, and given out.
    for _ in 0..3 {
        rig.settle().await;
    }
    let times = |all: &BTreeSet<(String, Timestamp, String)>| -> Vec<i64> {
        let mut times: Vec<i64> = all.iter().map(|(_, time, _)| time.nanos()).collect();
        times.sort();
        times
    };
    let first = 1_700_000_000_000_000_001;
    assert_eq!(times(&before), [first, first + 1, first + 4]);
    let expect = [first, first + 1, first + 4, first + 5];
    assert_eq!(times(&rig.stored), expect);
}

/// What happens to the log of a container.
#[derive(Clone, Debug)]
enum Event {
    Write(u8),
    Half,
    Rotate,
    Compress,
    Restart,
    Round(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1u8..20).prop_map(Event::Write),
        1 => Just(Event::Half),
        2 => Just(Event::Rotate),
        1 => Just(Event::Compress),
        2 => Just(Event::Restart),
        4 => any::<bool>().prop_map(Event::Round),
    ]
}

async fn gzip(path: &Path) {
    use std::io::Write as _;
    let bytes = fs::read(path).await.expect("there");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&bytes).expect("compressed");
    let to = format!("{}.gz", path.display());
    let bytes = encoder.finish().expect("whole");
    fs::write(&to, bytes).await.expect("written");
    fs::remove_file(path).await.expect("removed");
}

async fn every_line_arrives(events: Vec<Event>) {
    let mut rig = Rig::pods("{rotated_files_max: 1000}").await;
    rig.make_container().await;
    let (mut number, mut rotations) = (0, 0);
    for event in events {
        match event {
            Event::Write(count) => {
                for _ in 0..count {
                    let out = if number % 3 == 0 { "stderr" } else { "stdout" };
                    rig.cri(out, "F", number, &format!("line {number}")).await;
                    number += 1;
                }
            }
            Event::Half => {
                rig.cri("stdout", "P", number, "line ").await;
                rig.cri("stdout", "F", number, &number.to_string()).await;
                number += 1;
            }
            Event::Rotate => {
                let from = rig.path(&format!("{CONTAINER}/0.log"));
                if from.exists() {
                    let to = format!("{CONTAINER}/0.log.20260101-{rotations:06}");
                    fs::rename(from, rig.path(&to)).await.expect("renamed");
                    rotations += 1;
                }
            }
            Event::Compress => {
                for at in 0..rotations {
                    let path = rig.path(&format!("{CONTAINER}/0.log.20260101-{at:06}"));
                    if path.exists() {
                        gzip(&path).await;
                    }
                }
            }
            Event::Restart => rig.restart().await,
            Event::Round(stored) => {
                let say = match stored {
                    true => Ok(Accepted::default()),
                    false => Err(SinkError::Unavailable {
                        reason: "no answer".into(),
                    }),
                };
                rig.round(say).await;
            }
        }
    }
    rig.settle().await;
    let expect: Vec<String> = (0..number).map(|n| format!("line {n}")).collect();
    assert_eq!(rig.texts(), expect);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Sequence numbers through rotation, compression, crashes and refusals: each line is stored,
    /// and what is stored twice is recognised.
    #[test]
    fn nothing_is_lost(events in proptest::collection::vec(event(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(every_line_arrives(events));
    }
}
