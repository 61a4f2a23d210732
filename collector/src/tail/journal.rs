//! The journal of systemd, through `journalctl --output=export --follow`.
//!
//! Reading the journal's files ourselves would mean following their compressed, hashed format
//! through its versions; the program that systemd ships does (see decision 0183). Invariant: the
//! cursor moves only after the sink said that the entries are durable, so a restart goes on where
//! the last stored entry was; a program that ends is started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use obs_model::{Labels, LogBatch};
use obs_wire::event::{Context, Mapping};
use obs_wire::journald::{Framer, decode};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Setting;
use crate::clock;
use crate::config::JournaldConfig;
use crate::supervise::{self, End};

/// Pause before the program is started again, and before entries go again.
const PAUSE: Duration = Duration::from_secs(2);
/// How long more entries are waited for before those that came go.
const LINGER: Duration = Duration::from_millis(250);
/// Entries of one batch.
const ENTRIES_MAX: usize = 4096;
/// Bytes that are read at one time.
const READ_BYTES: usize = 64 << 10;
/// Longest cursor that is kept.
const CURSOR_BYTES_MAX: usize = 1024;

/// Follows the journal until the token is cancelled; goes on from the cursor where anything else
/// ends it.
pub async fn run(config: JournaldConfig, setting: Setting, stop: CancellationToken) {
    let counters = Arc::clone(&setting.counters);
    supervise::keep(
        "following of the journal",
        &stop,
        || counters.tail_restart(),
        || follow_on(config.clone(), setting.clone(), stop.clone()),
    )
    .await;
}

async fn follow_on(config: JournaldConfig, setting: Setting, stop: CancellationToken) -> End {
    let path = setting.checkpoint.with_file_name("journald.cursor");
    while !stop.is_cancelled() {
        let followed = follow(&config, &setting, &path, &stop).await;
        if let Err(error) = followed {
            tracing::warn!(error, "the journal is not followed");
            setting.counters.tail_fault();
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(PAUSE) => {}
        }
    }
    End::Done
}

fn start(config: &JournaldConfig, cursor: Option<&str>) -> std::io::Result<Child> {
    let program = config
        .command
        .clone()
        .unwrap_or_else(|| "journalctl".into());
    let mut command = Command::new(program);
    command.args(["--output=export", "--follow", "--no-pager"]);
    match cursor {
        Some(cursor) => command.arg(format!("--after-cursor={cursor}")),
        None => command.arg("--lines=all"),
    };
    if let Some(path) = &config.path {
        command.arg("--directory").arg(path);
    }
    for unit in &config.units {
        command.arg(format!("--unit={unit}"));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

async fn follow(
    config: &JournaldConfig,
    setting: &Setting,
    path: &Path,
    stop: &CancellationToken,
) -> Result<(), String> {
    let cursor = load(path).await?;
    let mut child = start(config, cursor.as_deref()).map_err(|e| format!("journalctl: {e}"))?;
    let mut output = child.stdout.take().ok_or("journalctl has no output")?;
    let mut framer = Framer::default();
    loop {
        let (entries, ended) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = gather(&mut output, &mut framer) => read?,
        };
        if !entries.is_empty() {
            if !store(config, setting, &entries, stop).await {
                return Ok(());
            }
            if let Some(cursor) = entries.iter().rev().find_map(|entry| cursor_of(entry)) {
                save(setting, path, cursor).await;
            }
        }
        if ended {
            let status = child.wait().await.map_err(|e| e.to_string())?;
            return Err(format!("journalctl ended: {status}"));
        }
    }
}

/// Whole entries, as many as come without waiting long; and whether the output ended.
async fn gather(
    output: &mut ChildStdout,
    framer: &mut Framer,
) -> Result<(Vec<Vec<u8>>, bool), String> {
    let mut entries = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        while entries.len() < ENTRIES_MAX
            && let Some(entry) = framer.next_entry().map_err(|e| e.to_string())?
        {
            entries.push(entry);
        }
        if entries.len() >= ENTRIES_MAX {
            return Ok((entries, false));
        }
        let read = output.read(&mut buffer);
        let count = match entries.is_empty() {
            true => read.await,
            false => match timeout(LINGER, read).await {
                Ok(count) => count,
                Err(_) => return Ok((entries, false)),
            },
        };
        match count.map_err(|e| format!("journalctl: {e}"))? {
            0 => return Ok((entries, true)),
            count => framer.push(&buffer[..count]),
        }
    }
}

/// Stores entries, however long the sink refuses; false when it was stopped before.
async fn store(
    config: &JournaldConfig,
    setting: &Setting,
    entries: &[Vec<u8>],
    stop: &CancellationToken,
) -> bool {
    let mapping = Mapping::default();
    let context = Context {
        mapping: &mapping,
        now: clock::now(),
        limits: &setting.limits,
    };
    let mut batch = decode(entries, context);
    add_labels(&mut batch, config);
    let bytes = entries.iter().map(Vec::len).sum::<usize>() as u64;
    let (records, mut refused) = (batch.record_count() as u64, 0);
    loop {
        let (sink, tenant) = (&setting.sink, setting.tenant.clone());
        match sink.followed(tenant, batch).await {
            Ok((more, reason)) => {
                refused += more;
                if more > 0 {
                    tracing::warn!(lines = more, reason, "entries of the journal refused");
                }
                let stored = records.saturating_sub(refused);
                setting.counters.tailed(stored, bytes, 0);
                setting.counters.tail_refused(refused);
                return true;
            }
            Err(unsent) => {
                refused += unsent.refused;
                batch = unsent.batch;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = sleep(PAUSE) => {}
        }
    }
}

fn add_labels(batch: &mut LogBatch, config: &JournaldConfig) {
    for stream in &mut batch.streams {
        let mut builder = stream.labels.to_builder();
        for (name, value) in &config.labels {
            builder.set(name, value);
        }
        stream.labels = builder.build();
    }
    batch.streams.retain(|s| s.labels != Labels::empty());
}

/// The place of an entry in the journal.
fn cursor_of(entry: &[u8]) -> Option<&str> {
    let line = entry.strip_prefix(b"__CURSOR=").or_else(|| {
        let at = memchr::memmem::find(entry, b"\n__CURSOR=")?;
        Some(&entry[at + 10..])
    })?;
    let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
    let plain = |b: &u8| b.is_ascii_graphic();
    let cursor = &line[..end.min(CURSOR_BYTES_MAX)];
    let whole = end <= CURSOR_BYTES_MAX && cursor.iter().all(plain);
    std::str::from_utf8(cursor)
        .ok()
        .filter(|c| whole && !c.is_empty())
}

async fn load(path: &Path) -> Result<Option<String>, String> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|c| !c.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Renamed into place; without it the last entries are read again, which the store recognises.
async fn save(setting: &Setting, path: &Path, cursor: &str) {
    let beside: PathBuf = path.with_extension("new");
    let write = async {
        tokio::fs::write(&beside, cursor).await?;
        tokio::fs::File::open(&beside).await?.sync_all().await?;
        tokio::fs::rename(&beside, path).await
    };
    let written: std::io::Result<()> = write.await;
    if let Err(error) = written {
        tracing::error!(error = %error, "the place in the journal is not noted");
        setting.counters.tail_fault();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use obs_model::Tenant;
    use obs_model::limits::Limits;

    use super::*;
    use crate::Sink;
    use crate::sink::Accepted;

    #[test]
    fn cursors() {
        let check = |entry: &str, expect| assert_eq!(cursor_of(entry.as_bytes()), expect);
        check("__CURSOR=s=1;i=2\nMESSAGE=x\n", Some("s=1;i=2"));
        check("A=b\n__CURSOR=s=1\n", Some("s=1"));
        check("MESSAGE=__CURSOR=no\n", None);
    }

    /// A program in the place of journalctl prints its arguments and three entries, then ends.
    #[tokio::test]
    async fn entries_are_stored_and_the_place_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("journalctl");
        let script = "#!/bin/sh\nfor i in 1 2 3; do\nprintf '__CURSOR=c%s\\n__REALTIME_TIMESTAMP=%s000000\\n\
                      _SYSTEMD_UNIT=a.service\\nMESSAGE=%s %s\\n\\n' $i $i $i \"$3 $4\"\ndone\n";
        tokio::fs::write(&program, script).await.unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        tokio::fs::set_permissions(&program, mode).await.unwrap();
        let (sink, mut inbox) = Sink::channel(1);
        let setting = Setting {
            sink,
            tenant: Tenant::anonymous(),
            limits: Limits::default(),
            counters: Arc::default(),
            checkpoint: dir.path().join("tail.checkpoint"),
            worker: crate::Decoder::new(1),
            pods: crate::enrich::Pods::default(),
        };
        let config = JournaldConfig {
            command: Some(program),
            labels: [("cluster".to_owned(), "c".to_owned())].into(),
            ..JournaldConfig::default()
        };
        let stop = CancellationToken::new();
        let path = dir.path().join("journald.cursor");
        for arguments in ["--no-pager --lines=all", "--no-pager --after-cursor=c3"] {
            let store = async {
                let write = inbox.logs.recv().await.unwrap();
                write.done.send(Ok(Accepted::default())).unwrap();
                write.batch
            };
            let (ended, batch) = tokio::join!(follow(&config, &setting, &path, &stop), store);
            assert!(ended.unwrap_err().contains("ended"));
            let stream = &batch.streams[0];
            assert_eq!(stream.labels.get("unit"), Some("a.service"));
            assert_eq!(stream.labels.get("cluster"), Some("c"));
            assert_eq!(stream.records.len(), 3);
            let line = String::from_utf8_lossy(&stream.records[2].line).into_owned();
            assert_eq!(line, format!("3 {arguments}"));
            assert_eq!(load(&path).await, Ok(Some("c3".to_owned())));
        }
    }
}
