//! A fleet that is scraped: an HTTP server with one path for each instance, and the configuration by
//! which a system scrapes them.
//!
//! Invariants: every target answers the same to every system, at least so often as the fleet has
//! samples; nothing is answered before [`Targets::open`] nor after all have answered.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh3::xxh3_64;

use crate::fleet::{Fleet, Target};

/// Name of the job that scrapes.
pub(crate) const JOB: &str = "fleet";

/// How a fleet is scraped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) fleet: Fleet,
    /// Milliseconds between scrapes.
    pub(crate) interval_ms: u64,
    /// Whether answers are compressed for who asks for it.
    pub(crate) gzip: bool,
}

/// What was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    /// Samples in all answers, those beyond what the fleet has included.
    pub(crate) samples: u64,
    /// Bytes of all answers before compression.
    pub(crate) bytes: u64,
    /// Hash of the answers that the fleet has.
    pub(crate) hash: u64,
    /// Targets that have answered so many times and more, by that number.
    reached: Vec<u64>,
}

impl Served {
    fn reached(&self, answers: u64) -> u64 {
        self.reached.get(answers as usize).copied().unwrap_or(0)
    }
}

struct Shared {
    plan: Plan,
    targets: Vec<Mutex<Target>>,
    served: Mutex<Served>,
    changed: Condvar,
    open: AtomicBool,
    ended: AtomicBool,
    connections: AtomicU64,
}

/// The server.
pub(crate) struct Targets {
    shared: Arc<Shared>,
    address: SocketAddr,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Targets {
    /// Listens on a port of loopback.
    pub(crate) fn start(plan: Plan) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let targets = (0..plan.fleet.instances()).map(|n| Mutex::new(Target::new(plan.fleet, n)));
        let shared = Arc::new(Shared {
            plan,
            targets: targets.collect(),
            served: Mutex::default(),
            changed: Condvar::new(),
            open: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&accepting);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                // A connection that breaks is the client's to open again.
                thread::spawn(move || drop(shared.answer_all(&stream)));
            }
        });
        Ok(Self { shared, address })
    }

    /// The configuration, as Prometheus and what scrapes like it read it.
    pub(crate) fn config(&self) -> String {
        let interval = self.shared.plan.interval_ms;
        let mut text = format!(
            "global:\n  scrape_interval: {interval}ms\n  scrape_timeout: {interval}ms\n\
             scrape_configs:\n- job_name: {JOB}\n  static_configs:\n"
        );
        for number in 0..self.shared.targets.len() as u64 {
            let (address, instance) = (self.address, Target::name(number));
            text.push_str(&format!(
                "  - targets: ['{address}']\n    labels: {{__metrics_path__: '/targets/{number}', \
                 cluster: bench, instance: '{instance}'}}\n"
            ));
        }
        text
    }

    /// Answers from now on.
    pub(crate) fn open(&self) {
        self.shared.open.store(true, Ordering::Relaxed);
    }

    /// Waits until every target has answered so often, at most as often as the fleet has samples.
    pub(crate) fn wait(&self, answers: u64) -> anyhow::Result<Served> {
        let plan = self.shared.plan;
        // Who scrapes only at every tenth of its times is not to be waited for.
        let longest = Duration::from_millis(plan.interval_ms) * 10;
        let longest = longest * u32::try_from(plan.fleet.samples).unwrap_or(u32::MAX);
        let all = self.shared.targets.len() as u64;
        let served = lock(&self.shared.served);
        let answers = answers.min(plan.fleet.samples);
        let waiting = |served: &mut Served| served.reached(answers) < all;
        let longest = longest + Duration::from_secs(60);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(served, longest, waiting);
        let (served, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(
            !timeout.timed_out(),
            "{} of {all} targets were scraped {answers} times within {} s",
            served.reached(answers),
            longest.as_secs()
        );
        Ok(served.clone())
    }
}

impl Targets {
    /// Waits until whoever scraped last has had its time to put that away: an answer counts when it
    /// is given, and a system that is killed a moment later has not stored it.
    pub(crate) fn settle(&self) {
        thread::sleep(Duration::from_millis(self.shared.plan.interval_ms) * 2);
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the listener; where it is gone already, nothing is to be woken.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    /// Answers the requests of one connection until the client leaves.
    fn answer_all(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = (BufReader::new(stream), stream);
        let (mut body, mut answer, mut packed) = (Vec::new(), Vec::new(), Vec::new());
        while let Some((number, gzip)) = request(&mut reader)? {
            answer.clear();
            if !self.open.load(Ordering::Relaxed) {
                answer.extend_from_slice(b"HTTP/1.1 503 Not Yet\r\nContent-Length: 0\r\n\r\n");
                writer.write_all(&answer)?;
                continue;
            }
            let Some(target) = self.targets.get(number) else {
                answer.extend_from_slice(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                writer.write_all(&answer)?;
                continue;
            };
            if !self.count(target, &mut body) {
                return Ok(()); // All is served: what comes now must change nothing.
            }
            let (body, encoding) = if self.plan.gzip && gzip {
                packed.clear();
                let mut encoder = GzEncoder::new(&mut packed, Compression::fast());
                encoder.write_all(&body)?;
                encoder.finish()?;
                (&packed, "Content-Encoding: gzip\r\n")
            } else {
                (&body, "")
            };
            write!(
                answer,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
                 {encoding}Content-Length: {}\r\n\r\n",
                body.len()
            )?;
            answer.extend_from_slice(body);
            writer.write_all(&answer)?;
        }
        Ok(())
    }

    /// Makes an answer and counts it; false when all targets have answered often enough. Then the
    /// connection ends a moment later, as that of a target that takes its time.
    fn count(&self, target: &Mutex<Target>, body: &mut Vec<u8>) -> bool {
        let all = self.targets.len() as u64;
        if lock(&self.served).reached(self.plan.fleet.samples) == all {
            thread::sleep(Duration::from_millis(self.plan.interval_ms));
            return false;
        }
        let mut target = lock(target);
        let samples = target.answer(body);
        let answers = target.answers();
        let wanted = self.plan.fleet.samples;
        let mut served = lock(&self.served);
        served.samples += samples;
        served.bytes += body.len() as u64;
        if answers <= wanted {
            served.hash = served
                .hash
                .wrapping_add(xxh3_64(body).rotate_left(answers as u32));
        }
        if answers as usize >= served.reached.len() {
            served.reached.resize(answers as usize + 1, 0);
        }
        served.reached[answers as usize] += 1;
        if served.reached(answers) == all {
            self.changed.notify_all();
        }
        true
    }
}

/// Reads a request: the target's number, and whether gzip is welcome. `None` at the end.
fn request(reader: &mut impl BufRead) -> std::io::Result<Option<(usize, bool)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or("");
    let number = path.rsplit('/').next().and_then(|n| n.parse().ok());
    let number = number.unwrap_or(usize::MAX);
    let mut gzip = false;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end().to_ascii_lowercase();
        if text.is_empty() {
            return Ok(Some((number, gzip)));
        }
        gzip |= text.starts_with("accept-encoding:") && text.contains("gzip");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;

    #[test]
    fn targets_answer_when_open_until_all_have() {
        let fleet = Fleet {
            series: 1000,
            samples: 2,
            interval_ms: 10,
            lifetime: 0,
            end_ms: 1_700_000_000_000,
            seed: 1,
            nanoseconds: true,
        };
        let plan = Plan {
            fleet,
            interval_ms: 10,
            gzip: false,
        };
        let targets = Targets::start(plan).expect("a port");
        assert_eq!(targets.config().matches("__metrics_path__").count(), 2);
        let mut client = Client::new(targets.address);
        let mut get = |path: &str| client.get(path).map(|a| (a.status, a.body));
        assert_eq!(get("/targets/0").expect("an answer").0, 503);
        targets.open();
        assert_eq!(get("/targets/2").expect("an answer").0, 404);
        for path in ["/targets/0", "/targets/1", "/targets/0", "/targets/0"] {
            let (status, body) = get(path).expect("an answer");
            assert_eq!(status, 200);
            assert!(body.starts_with(b"# HELP "));
        }
        get("/targets/1").expect("an answer");
        let served = targets.wait(2).expect("all have answered");
        assert_eq!(served.samples, 3 * 825 + 2 * 165);
        assert!(get("/targets/0").is_err());
    }
}
