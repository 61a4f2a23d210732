//! `obs-bench agent`: pods write numbered lines as a container runtime does, with rotation; the
//! agent sends them to a server of ours that counts the numbers.
//!
//! The lines are those of a public comparison of log collectors: JSON of about 270 bytes in CRI's
//! form. Invariants: a line is lost when its number never came; the figures of CPU and memory are
//! the kernel's, of the agent's process alone; time is taken after a warm-up.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use obs_model::Timestamp;
use obs_model::limits::Limits;
use obs_wire::{loki, snappy};
use serde_json::json;

use crate::http::Client;
use crate::process::Process;

#[derive(Args, Debug)]
pub(crate) struct AgentOptions {
    /// Pods
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pods: u16,
    /// Lines per second of all pods
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    rate: u64,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Instead of lines by the clock, so many lines that are there before the agent starts
    #[arg(long, value_name = "LINES")]
    backlog: Option<u64>,
    /// How often the agent is killed (kill -9) and started again meanwhile
    #[arg(long, value_name = "N", default_value_t = 0)]
    kills: u64,
    /// Bytes at which a pod's file is rotated
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 20)]
    rotate: u64,
    /// Take secrets out of lines
    #[arg(long)]
    redaction: bool,
}

/// What came out.
pub(crate) struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    pub(crate) fn table(&self) -> String {
        let lines = self
            .0
            .iter()
            .map(|(name, value)| format!("{name:<34} {value:>14.4}\n"));
        lines.collect()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let all = self
            .0
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)));
        serde_json::Value::Object(all.collect())
    }
}

/// Which numbers came, by pod, and how many lines in all.
#[derive(Default)]
struct Seen {
    pods: Mutex<BTreeMap<String, Vec<bool>>>,
    lines: AtomicU64,
    distinct: AtomicU64,
    bytes: AtomicU64,
    ended: AtomicBool,
}

/// The server that the agent sends to.
fn sink(seen: &Arc<Seen>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if seen.ended.load(Ordering::Relaxed) {
                return;
            }
            let seen = Arc::clone(&seen);
            thread::spawn(move || serve(&stream, &seen));
        }
    });
    Ok(format!("http://{address}"))
}

/// Answers requests of one connection until it ends.
fn serve(stream: &TcpStream, seen: &Seen) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let header = line.trim().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        seen.bytes.fetch_add(length as u64, Ordering::Relaxed);
        count(&body, seen);
        let mut stream = stream;
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
            .ok()?;
    }
}

fn count(body: &[u8], seen: &Seen) {
    let Ok(bytes) = snappy::decode(body, 256 << 20) else {
        return;
    };
    let Ok(decoded) = loki::push::decode_protobuf(&bytes, &Limits::default()) else {
        return;
    };
    let mut pods = seen.pods.lock().unwrap_or_else(PoisonError::into_inner);
    for stream in decoded.batch.streams {
        let Some(pod) = stream.labels.get("pod") else {
            continue;
        };
        let numbers = pods.entry(pod.to_owned()).or_default();
        for record in stream.records {
            seen.lines.fetch_add(1, Ordering::Relaxed);
            let Some(number) = number_of(&record.line) else {
                continue;
            };
            if numbers.len() <= number {
                numbers.resize(number + 1, false);
            }
            if !std::mem::replace(&mut numbers[number], true) {
                seen.distinct.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// `{"sequence_id":123,…`
fn number_of(line: &[u8]) -> Option<usize> {
    let rest = line.strip_prefix(b"{\"sequence_id\":")?;
    let end = rest.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// A pod's log.
struct Pod {
    folder: PathBuf,
    file: File,
    written: u64,
    number: u64,
    rotations: u64,
}

impl Pod {
    fn new(root: &Path, index: u16) -> anyhow::Result<Self> {
        let folder = root.join(format!("bench_pod-{index}_uid-{index}/app"));
        fs::create_dir_all(&folder)?;
        let file = File::create(folder.join("0.log"))?;
        Ok(Self {
            folder,
            file,
            written: 0,
            number: 0,
            rotations: 0,
        })
    }

    fn write(&mut self, lines: u64, rotate: u64) -> anyhow::Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let now = i64::try_from(since.as_nanos())?;
        let mut text = String::new();
        for _ in 0..lines {
            let number = self.number;
            let at = Timestamp::from_nanos(now + (number % 1000) as i64);
            text.push_str(&format!(
                "{at} stdout F {{\"sequence_id\":{number},\"level\":\"info\",\"message\":\"request \
                 finished with status 200 for customer {} in {} ms\",\"path\":\"/api/v1/orders/{}\",\
                 \"method\":\"GET\",\"user_agent\":\"Mozilla/5.0 (X11; Linux x86_64)\",\
                 \"trace\":\"{:016x}\"}}\n",
                number % 977,
                number % 313,
                number % 100_003,
                number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ));
            self.number += 1;
        }
        self.file.write_all(text.as_bytes())?;
        self.written += text.len() as u64;
        if self.written >= rotate {
            let to = format!("0.log.20260101-{:06}", self.rotations);
            fs::rename(self.folder.join("0.log"), self.folder.join(to))?;
            self.file = File::create(self.folder.join("0.log"))?;
            self.rotations += 1;
            self.written = 0;
            // As the kubelet: five files.
            if let Some(old) = self.rotations.checked_sub(5) {
                let old = format!("0.log.20260101-{old:06}");
                drop(fs::remove_file(self.folder.join(old)));
            }
        }
        Ok(())
    }
}

/// Runs the agent over such logs.
pub(crate) fn run(
    options: &AgentOptions,
    obs: &Path,
    keep: Option<&Path>,
) -> anyhow::Result<Figures> {
    let temporary = tempfile::tempdir()?;
    let folder = keep.unwrap_or(temporary.path());
    let pods_folder = folder.join("pods");
    let seen = Arc::<Seen>::default();
    let url = sink(&seen)?;
    let config = folder.join("agent.yml");
    let redaction = if options.redaction {
        "    redaction: {}\n"
    } else {
        ""
    };
    let text = format!(
        "obs:\n  collector:\n    logs: {{pods: {{path: {:?}, rotated_files_max: 100}}}}\n{redaction}    \
         destinations: [{{loki: {{url: '{url}', max_backoff: 1s}}}}]\n",
        pods_folder
    );
    fs::write(&config, text)?;
    let mut pods = Vec::new();
    for index in 0..options.pods {
        pods.push(Pod::new(&pods_folder, index)?);
    }
    let rig = Rig {
        options,
        obs,
        config: &config,
        folder,
        seen: &seen,
    };
    let mut figures = match options.backlog {
        Some(lines) => backlog(lines, &mut pods, &rig)?,
        None => by_the_clock(&mut pods, &rig)?,
    };
    let written: u64 = pods.iter().map(|pod| pod.number).sum();
    let distinct = seen.distinct.load(Ordering::Relaxed);
    let lines = seen.lines.load(Ordering::Relaxed);
    figures.extend([
        ("lines written", written as f64),
        ("lines lost", written.saturating_sub(distinct) as f64),
        ("lines twice", lines.saturating_sub(distinct) as f64),
        ("bytes sent", seen.bytes.load(Ordering::Relaxed) as f64),
    ]);
    seen.ended.store(true, Ordering::Relaxed);
    Ok(Figures(figures))
}

/// What a run needs.
struct Rig<'a> {
    options: &'a AgentOptions,
    obs: &'a Path,
    config: &'a Path,
    folder: &'a Path,
    seen: &'a Seen,
}

impl Rig<'_> {
    fn start(&self) -> anyhow::Result<Process> {
        let arguments = [
            "agent",
            "--config",
            &self.config.display().to_string(),
            "--data",
            &self.folder.join("data").display().to_string(),
            "--listen",
            "127.0.0.1:0",
            "--otlp-grpc-listen",
            "127.0.0.1:0",
            "--otlp-http-listen",
            "127.0.0.1:0",
        ];
        let arguments = arguments.map(str::to_owned);
        Process::start(self.obs, &arguments, &self.folder.join("agent.log"))
    }

    /// What the agent says that redaction took, since its last start.
    fn redaction_seconds(&self) -> anyhow::Result<f64> {
        if !self.options.redaction {
            return Ok(0.0);
        }
        let note = fs::read(self.folder.join("data/addresses.json"))?;
        let note: serde_json::Value = serde_json::from_slice(&note)?;
        let address = note["http"].as_str().context("an address")?;
        let page = Client::new(address.parse()?).get("/metrics")?.success()?;
        let page = String::from_utf8(page)?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix("obs_redaction_seconds_total "));
        Ok(value.context("a counter of redaction")?.parse()?)
    }
}

type Named = Vec<(&'static str, f64)>;

/// Waits until all lines came, or none comes any more; gives when the last one came.
fn drain(seen: &Seen, written: u64, agent: &mut Process) -> anyhow::Result<Instant> {
    let (mut last, mut at) = (0, Instant::now());
    loop {
        let distinct = seen.distinct.load(Ordering::Relaxed);
        if distinct > last {
            (last, at) = (distinct, Instant::now());
        }
        if distinct >= written || at.elapsed() > Duration::from_secs(20) {
            return Ok(at);
        }
        if let Some(status) = agent.ended()? {
            anyhow::bail!("the agent ended: {status}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn backlog(lines: u64, pods: &mut [Pod], rig: &Rig<'_>) -> anyhow::Result<Named> {
    let (options, seen) = (rig.options, rig.seen);
    let each = lines.div_ceil(pods.len() as u64);
    for pod in &mut *pods {
        let mut left = each;
        while left > 0 {
            let some = left.min(10_000);
            // Nothing is deleted before it was read.
            pod.write(some, u64::MAX)?;
            left -= some;
        }
    }
    let written: u64 = pods.iter().map(|pod| pod.number).sum();
    let began = Instant::now();
    let mut agent = rig.start()?;
    for _ in 0..options.kills {
        thread::sleep(Duration::from_millis(700));
        agent.kill()?;
        agent = rig.start()?;
    }
    let ended = drain(seen, written, &mut agent)?;
    let cpu = agent.cpu_seconds()?;
    let (_, peak) = agent.resident_bytes()?;
    let seconds = ended.duration_since(began).as_secs_f64();
    let redaction = rig.redaction_seconds()?;
    agent.terminate()?;
    Ok(vec![
        ("redaction CPU seconds", redaction),
        ("lines per second", written as f64 / seconds),
        ("lines per CPU second", written as f64 / cpu),
        ("cores", cpu / seconds),
        ("peak resident MB", peak as f64 / 1e6),
    ])
}

fn by_the_clock(pods: &mut [Pod], rig: &Rig<'_>) -> anyhow::Result<Named> {
    const WARM_UP: Duration = Duration::from_secs(5);
    const TICK: Duration = Duration::from_millis(100);
    let (options, seen) = (rig.options, rig.seen);
    let mut agent = rig.start()?;
    let began = Instant::now();
    let total = WARM_UP + Duration::from_secs(options.seconds);
    let (mut cpu_before, mut warm) = (0.0, None);
    let (mut resident, mut samples) = (0.0, 0.0);
    let mut killed = 0;
    let mut due = 0;
    while began.elapsed() < total {
        let wanted = (began.elapsed().as_secs_f64() * options.rate as f64) as u64;
        let each = (wanted - due) / pods.len() as u64;
        for pod in &mut *pods {
            pod.write(each, options.rotate)?;
        }
        due += each * pods.len() as u64;
        if warm.is_none() && began.elapsed() >= WARM_UP {
            cpu_before = agent.cpu_seconds()?;
            warm = Some(Instant::now());
        }
        if warm.is_some() {
            resident += agent.resident_bytes()?.0 as f64;
            samples += 1.0;
        }
        let at = total.as_secs_f64() * (killed + 1) as f64 / (options.kills + 1) as f64;
        if killed < options.kills && began.elapsed().as_secs_f64() > at {
            agent.kill()?;
            agent = rig.start()?;
            killed += 1;
        }
        thread::sleep(TICK);
    }
    let seconds = warm
        .context("longer than the warm-up")?
        .elapsed()
        .as_secs_f64();
    let cpu = agent.cpu_seconds()? - if killed == 0 { cpu_before } else { 0.0 };
    let (_, peak) = agent.resident_bytes()?;
    let written: u64 = pods.iter().map(|pod| pod.number).sum();
    drain(seen, written, &mut agent)?;
    let redaction = rig.redaction_seconds()?;
    agent.terminate()?;
    let mut figures = vec![
        ("redaction CPU seconds", redaction),
        ("lines per second", options.rate as f64),
        ("mean resident MB", resident / samples / 1e6),
        ("peak resident MB", peak as f64 / 1e6),
    ];
    if killed == 0 {
        figures.insert(0, ("cores", cpu / seconds));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_lines() {
        assert_eq!(number_of(b"{\"sequence_id\":42,\"a\":1}"), Some(42));
        assert_eq!(number_of(b"{\"a\":1}"), None);
    }

    #[test]
    fn files_are_rotated_and_few() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut pod = Pod::new(folder.path(), 1).expect("a pod");
        for _ in 0..9 {
            pod.write(10, 1000).expect("written");
        }
        let files = fs::read_dir(&pod.folder).expect("listed").count();
        assert_eq!((files, pod.number), (5, 90));
    }
}
