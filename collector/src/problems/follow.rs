//! Follows the kernel's ring buffer, log files and the journal, and hands lines on.
//!
//! Invariants: a source that fails or ends is opened again with growing pauses; a line from before
//! the time from which lines count is never handed on; what waits to be handed on is bounded, and
//! whoever is slow holds the reading up.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::tz::TimeZone;
use obs_model::Timestamp;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::definition::{LineSource, Lines};
use super::lines::{Cutter, Form, Line, begin, journal_entry, kernel_record, started, uptime};
use crate::clock;

/// Between two looks at a file that has nothing new.
const POLL: Duration = Duration::from_millis(500);
/// Bytes that are read at one time. The kernel refuses less than a record, which has 8 KiB at most.
const READ_BYTES: usize = 16 << 10;
/// First and longest pause before a source is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A source that was read so long was a good one.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// Nobody listens any more.
#[derive(Debug)]
enum End {
    Unheard,
    Failed(String),
}

impl From<String> for End {
    fn from(fault: String) -> Self {
        Self::Failed(fault)
    }
}

/// Follows a source until the token is cancelled or nobody listens.
pub(super) async fn run(lines: &Lines, out: &mpsc::Sender<Line>, stop: &CancellationToken) {
    let follow = async {
        let mut pause = PAUSES.0;
        let up = machine_up().await;
        let mut since = begin(clock::now(), up, lines.lookback, lines.delay);
        loop {
            let began = Instant::now();
            match once(lines, &mut since, out).await {
                End::Unheard => return,
                End::Failed(error) => {
                    tracing::warn!(error, "a log is not looked at for problems, is tried again");
                }
            }
            if began.elapsed() >= GOOD_LIFE {
                pause = PAUSES.0;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    };
    tokio::select! {
        () = follow => {}
        () = stop.cancelled() => {}
    }
}

/// How long the machine runs; where it does not tell, for ever.
async fn machine_up() -> Duration {
    let text = tokio::fs::read_to_string("/proc/uptime").await;
    let up = text.ok().and_then(|text| uptime(&text));
    up.unwrap_or(Duration::from_secs(u32::MAX.into()))
}

/// When the machine started. What the kernel says is the same whenever it is asked, so that a
/// record has one time however often it is read, and a store knows it again.
async fn machine_start() -> Timestamp {
    let text = tokio::fs::read_to_string("/proc/stat").await;
    if let Some(start) = text.ok().and_then(|text| started(&text)) {
        return start;
    }
    let up = i64::try_from(machine_up().await.as_nanos()).unwrap_or(i64::MAX);
    Timestamp::from_nanos(clock::now().nanos().saturating_sub(up))
}

async fn once(lines: &Lines, since: &mut Timestamp, out: &mpsc::Sender<Line>) -> End {
    let ended = match &lines.from {
        LineSource::Kmsg(path) => kernel(path, since, out).await,
        LineSource::File {
            path,
            timestamp,
            message,
            layout,
        } => {
            let form = Form {
                timestamp,
                message,
                layout,
                zone: TimeZone::system(),
            };
            file(path, &form, since, out).await
        }
        LineSource::Journal { folder, identifier } => {
            journal(folder.as_deref(), identifier, since, out).await
        }
    };
    match ended {
        Ok(()) => End::Failed("its end".to_owned()),
        Err(end) => end,
    }
}

/// Where a source that is opened again goes on: behind the last line that was handed on.
fn behind(latest: Timestamp) -> Timestamp {
    Timestamp::from_nanos(latest.nanos().saturating_add(1))
}

/// Hands a line on, where it counts.
async fn hand(
    line: Line,
    since: Timestamp,
    latest: &mut Timestamp,
    out: &mpsc::Sender<Line>,
) -> Result<(), End> {
    if line.time < since {
        return Ok(());
    }
    *latest = (*latest).max(line.time);
    out.send(line).await.map_err(|_| End::Unheard)
}

fn said(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// A file that is read from its begin, again and again to its end.
struct Followed<'a> {
    path: &'a Path,
    file: File,
    inode: u64,
    read: u64,
}

impl<'a> Followed<'a> {
    async fn open(path: &'a Path) -> Result<Self, String> {
        // A device that has nothing must not hold a thread for ever.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .custom_flags(nonblocking)
            .open(path)
            .await;
        let file = file.map_err(said(path))?;
        let inode = file.metadata().await.map_err(said(path))?.ino();
        Ok(Self {
            path,
            file,
            inode,
            read: 0,
        })
    }

    /// The next bytes; none where there is nothing now.
    async fn next(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        loop {
            return match self.file.read(buffer).await {
                Ok(count) => {
                    self.read += count as u64;
                    Ok(count)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                // Records were overwritten before they were read: the next read has what is there.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => continue,
                Err(error) => Err(said(self.path)(error)),
            };
        }
    }

    /// What is at the path now.
    async fn now(&self) -> Now {
        match tokio::fs::metadata(self.path).await {
            Ok(now) if !now.is_file() => Now::Same,
            Ok(now) if now.ino() != self.inode => Now::Another,
            Ok(now) if now.len() < self.read => Now::Cut,
            // Between two files of a rotation there may be none.
            Ok(_) | Err(_) => Now::Same,
        }
    }
}

/// What became of a followed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    Same,
    /// There is another one; this one may still have lines.
    Another,
    /// It is shorter than what was read of it.
    Cut,
}

/// Reads a file on and on and hands each line to `take`, which says what it is.
async fn read_on(
    path: &Path,
    since: &mut Timestamp,
    out: &mpsc::Sender<Line>,
    mut take: impl FnMut(&str) -> Option<Line>,
) -> Result<(), End> {
    let mut followed = Followed::open(path).await?;
    let (mut cutter, mut buffer) = (Cutter::default(), vec![0; READ_BYTES]);
    let mut latest = *since;
    // The file is another's by now: what is left of it is read before that one.
    let mut next: Option<Followed<'_>> = None;
    loop {
        let count = followed.next(&mut buffer).await;
        let count = match count {
            Ok(count) => count,
            Err(fault) => {
                *since = behind(latest);
                return Err(End::Failed(fault));
            }
        };
        let mut lines = Vec::new();
        let bytes = buffer.get(..count).unwrap_or_default();
        cutter.push(bytes, |line| lines.extend(take(&line)));
        if count == 0 && next.is_some() {
            // Its last line may have no end.
            cutter.finish(|line| lines.extend(take(&line)));
        }
        for line in lines {
            hand(line, *since, &mut latest, out).await?;
        }
        if count > 0 {
            continue;
        }
        if let Some(next) = next.take() {
            followed = next;
            continue;
        }
        let now = followed.now().await;
        let other = match now {
            Now::Same => None,
            // One that cannot be opened yet is looked for again.
            Now::Another | Now::Cut => Followed::open(path).await.ok(),
        };
        match other {
            Some(other) if now == Now::Cut => {
                cutter.clear();
                followed = other;
            }
            Some(other) => next = Some(other),
            None => sleep(POLL).await,
        }
    }
}

async fn kernel(path: &Path, since: &mut Timestamp, out: &mpsc::Sender<Line>) -> Result<(), End> {
    let started = machine_start().await.nanos();
    let take = |line: &str| {
        let (micros, message) = kernel_record(line)?;
        let nanos = i64::try_from(micros).ok()?.checked_mul(1000)?;
        Some(Line {
            time: Timestamp::from_nanos(started.saturating_add(nanos)),
            text: message.to_owned(),
        })
    };
    read_on(path, since, out, take).await
}

async fn file(
    path: &Path,
    form: &Form<'_>,
    since: &mut Timestamp,
    out: &mpsc::Sender<Line>,
) -> Result<(), End> {
    let take = |line: &str| form.read(line, clock::now());
    read_on(path, since, out, take).await
}

async fn journal(
    folder: Option<&Path>,
    identifier: &str,
    since: &mut Timestamp,
    out: &mpsc::Sender<Line>,
) -> Result<(), End> {
    let mut command = Command::new("journalctl");
    command.args(["--output=json", "--follow", "--no-pager", "--lines=all"]);
    command.arg("--output-fields=MESSAGE");
    command.arg(format!(
        "--since=@{}",
        since.nanos().div_euclid(1_000_000_000)
    ));
    if let Some(folder) = folder {
        command.arg("--directory").arg(folder);
    }
    command.arg(format!("SYSLOG_IDENTIFIER={identifier}"));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| format!("journalctl: {error}"))?;
    let output = child.stdout.take();
    let mut output = output.ok_or_else(|| "journalctl has no output".to_owned())?;
    let (mut cutter, mut buffer) = (Cutter::default(), vec![0; READ_BYTES]);
    let mut latest = *since;
    loop {
        let count = output.read(&mut buffer).await;
        let count = count.map_err(|error| format!("journalctl: {error}"))?;
        if count == 0 {
            *since = behind(latest);
            let status = child.wait().await.map_err(|error| error.to_string())?;
            return Err(End::Failed(format!("journalctl ended: {status}")));
        }
        let mut lines = Vec::new();
        let bytes = buffer.get(..count).unwrap_or_default();
        cutter.push(bytes, |line| lines.extend(journal_entry(&line)));
        for line in lines {
            hand(line, *since, &mut latest, out).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    async fn append(path: &Path, text: &str) {
        use tokio::io::AsyncWriteExt;
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path).await;
        let mut file = file.unwrap();
        file.write_all(text.as_bytes()).await.unwrap();
        file.flush().await.unwrap();
    }

    async fn next(lines: &mut mpsc::Receiver<Line>) -> String {
        let waited = tokio::time::timeout(Duration::from_secs(60), lines.recv()).await;
        waited.expect("a line comes").expect("it goes on").text
    }

    #[tokio::test]
    async fn a_file_is_followed_through_rotations() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(
            &path,
            "2001-01-01T00:00:00Z long ago\n2200-01-01T00:00:00Z one\nno time\n",
        )
        .await;
        let lines = Lines {
            from: LineSource::File {
                path: path.clone(),
                timestamp: Regex::new(r"^\S+").unwrap(),
                message: Regex::new(r"^\S+ (.*)").unwrap(),
                layout: "2006-01-02T15:04:05Z07:00".to_owned(),
            },
            lookback: Duration::ZERO,
            delay: Duration::ZERO,
            buffer: 1,
            skip: Vec::new(),
        };
        let (sender, mut received) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let follow = run(&lines, &sender, &stop);
        let check = async {
            assert_eq!(next(&mut received).await, "one");
            append(&path, "2200-01-01T00:00:01Z tw").await;
            append(&path, "o\n").await;
            assert_eq!(next(&mut received).await, "two");
            tokio::fs::rename(&path, folder.path().join("log.1"))
                .await
                .unwrap();
            append(&path, "2200-01-01T00:00:02Z three\n").await;
            assert_eq!(next(&mut received).await, "three");
            // Written between the last look and the rotation, the last line without its end.
            let more = "2200-01-01T00:00:02Z late\n2200-01-01T00:00:02Z end";
            let other = folder.path().join("log.next");
            append(&other, "2200-01-01T00:00:02Z new\n").await;
            append(&path, more).await;
            tokio::fs::rename(&path, folder.path().join("log.2"))
                .await
                .unwrap();
            tokio::fs::rename(&other, &path).await.unwrap();
            for expect in ["late", "end", "new"] {
                assert_eq!(next(&mut received).await, expect);
            }
            tokio::fs::write(&path, "2200-01-01T00:00:03Z 4\n")
                .await
                .unwrap();
            assert_eq!(next(&mut received).await, "4");
            stop.cancel();
        };
        tokio::join!(follow, check);
    }

    #[tokio::test]
    async fn records_of_the_kernel_count_since_the_start_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kmsg");
        let up = machine_up().await.as_micros();
        let text = format!(
            "6,1,1,-;at the start\n6,2,{},-;just now\n SUBSYSTEM=x\n",
            up + 60_000_000
        );
        append(&path, &text).await;
        let lines = Lines {
            from: LineSource::Kmsg(path),
            lookback: Duration::ZERO,
            delay: Duration::ZERO,
            buffer: 1,
            skip: Vec::new(),
        };
        let (sender, mut received) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let check = async {
            assert_eq!(next(&mut received).await, "just now");
            stop.cancel();
        };
        tokio::join!(run(&lines, &sender, &stop), check);
    }
}
