//! Listeners for StatsD and Graphite: datagrams and lines over TCP.
//!
//! Invariants: all are bound before anything else starts; a line longer than [`LINE_BYTES_MAX`]
//! ends its connection; what waits to be stored is bounded by [`WAITING_MAX`] samples, further
//! lines are counted as refused; at the stop what was counted is written; what a sink without room
//! refuses waits for [`SINK_WAIT`], and is counted as lost then.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obs_model::labels::METRIC_NAME;
use obs_model::metrics::Sample;
use obs_model::{LabelsBuilder, MetricBatch, Series, Tenant, Value};
use obs_wire::influx::clean;
use obs_wire::{graphite, statsd};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use tokio::time::{Instant, MissedTickBehavior, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Receiver;
use super::sockets::{IDLE, SocketError, accept, read, tcp, udp};
use crate::clock;
use crate::config::{GraphiteConfig, StatsdConfig};
use crate::metrics::Door;
use crate::renaming::{Renaming, StatsdKind};
use crate::sink::SinkError;
use crate::statsd::{Registry, SERIES_MAX};

/// Longest line.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Samples of Graphite that wait to be stored.
const WAITING_MAX: usize = 1 << 20;
/// How often Graphite's samples are stored.
const GRAPHITE_PAUSE: Duration = Duration::from_millis(200);
/// How often StatsD's counts are, at least, unless it is configured.
const STATSD_INTERVAL: Duration = Duration::from_secs(10);
/// How long samples wait for a sink that has no room; those who sent them cannot be told, and what
/// comes meanwhile has to be held too.
const SINK_WAIT: Duration = Duration::from_secs(60);
/// The same when it is to stop.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// Pause before a sink that had no room is asked again.
const SINK_PAUSE: Duration = Duration::from_millis(200);
/// Pause after a fault of a socket.
const PAUSE: Duration = Duration::from_millis(10);
/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixDatagram, PathBuf),
}

/// Listeners that are bound.
pub struct MetricSockets {
    statsd: Vec<Socket>,
    graphite: Vec<Socket>,
    registry: Option<Registry>,
    interval: Duration,
    mapping: Renaming,
    strict: bool,
    addresses: Vec<(&'static str, SocketAddr)>,
}

impl std::fmt::Debug for MetricSockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.addresses).finish()
    }
}

/// Takes lines.
trait Hear: Send + Sync + 'static {
    /// Gives how many lines were refused.
    fn lines(&self, bytes: &[u8]) -> u64;
    fn door(&self) -> Door;
}

struct Statsd(Mutex<Registry>);

struct Graphite {
    mapping: Renaming,
    strict: bool,
    waiting: Mutex<Vec<Series>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts stay counts, whoever panicked while adding one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hear for Statsd {
    fn lines(&self, bytes: &[u8]) -> u64 {
        let mut lines = Vec::new();
        let refused = statsd::decode(bytes, &mut lines);
        let (now, mut registry) = (clock::now(), locked(&self.0));
        let kept = lines.iter().filter(|line| registry.add(line, now)).count();
        refused + (lines.len() - kept) as u64
    }

    fn door(&self) -> Door {
        Door::Statsd
    }
}

impl Hear for Graphite {
    fn lines(&self, bytes: &[u8]) -> u64 {
        let mut refused = 0;
        let now = clock::now();
        for line in bytes.split(|b| *b == b'\n') {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let taken = graphite::decode_line(line).is_some_and(|line| self.take(line, now));
            refused += u64::from(!taken);
        }
        refused
    }

    fn door(&self) -> Door {
        Door::Graphite
    }
}

impl Graphite {
    fn take(&self, line: graphite::Line, now: obs_model::Timestamp) -> bool {
        let Some((renamed, matched)) = self.mapping.apply(&line.path, StatsdKind::Gauge) else {
            return true;
        };
        if self.strict && !matched {
            return true;
        }
        let mut labels = LabelsBuilder::default();
        for (name, value) in &line.tags {
            labels.set(&clean(name, false), value);
        }
        for (name, value) in &renamed.labels {
            labels.set(name, value);
        }
        labels.set(METRIC_NAME, &renamed.name);
        let mut waiting = locked(&self.waiting);
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.push(Series {
            labels: labels.build(),
            samples: vec![Sample {
                time: line.time.unwrap_or(now),
                start: None,
                value: Value::Float(line.value * renamed.scale),
            }],
            ..Series::default()
        });
        true
    }
}

impl MetricSockets {
    /// Binds everything that is wanted; `folder` is what relative paths start from.
    pub async fn bind(
        statsd: &StatsdConfig,
        graphite: &GraphiteConfig,
        folder: &Path,
    ) -> Result<Self, SocketError> {
        let mut out = Self {
            statsd: Vec::new(),
            graphite: Vec::new(),
            registry: None,
            interval: statsd.interval.map_or(STATSD_INTERVAL, |i| i.0),
            mapping: mapping(folder, graphite.mapping_file.as_deref()).await?,
            strict: graphite.strict_match,
            addresses: Vec::new(),
        };
        if let Some(address) = statsd.udp {
            let (socket, bound) = udp("statsd_udp", address).await?;
            out.statsd.push(Socket::Udp(socket));
            out.addresses.push(("statsd_udp", bound));
        }
        if let Some(address) = statsd.tcp {
            let (listener, bound) = tcp("statsd_tcp", address).await?;
            out.statsd.push(Socket::Tcp(listener));
            out.addresses.push(("statsd_tcp", bound));
        }
        if let Some(path) = &statsd.unixgram {
            let path = folder.join(path);
            out.statsd.push(unixgram(path).await?);
        }
        if let Some(address) = graphite.udp {
            let (socket, bound) = udp("graphite_udp", address).await?;
            out.graphite.push(Socket::Udp(socket));
            out.addresses.push(("graphite_udp", bound));
        }
        if let Some(address) = graphite.tcp {
            let (listener, bound) = tcp("graphite_tcp", address).await?;
            out.graphite.push(Socket::Tcp(listener));
            out.addresses.push(("graphite_tcp", bound));
        }
        let renaming = mapping(folder, statsd.mapping_file.as_deref()).await?;
        if !out.statsd.is_empty() {
            let max = statsd.series_max.unwrap_or(SERIES_MAX);
            out.registry = Some(Registry::new(renaming, max));
        }
        Ok(out)
    }

    /// Names and addresses, for tools.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.addresses.clone()
    }

    /// Serves until the token is cancelled.
    pub fn serve(self, receiver: &Receiver, tasks: &TaskTracker, stop: &CancellationToken) {
        if let Some(registry) = self.registry {
            let all = Arc::new(Statsd(Mutex::new(registry)));
            for socket in self.statsd {
                listen(socket, Arc::clone(&all), receiver, tasks, stop);
            }
            let collect = move || locked(&all.0).collect(clock::now());
            tasks.spawn(write(
                collect,
                (Door::Statsd, self.interval),
                receiver.clone(),
                stop.clone(),
            ));
        }
        if !self.graphite.is_empty() {
            let all = Arc::new(Graphite {
                mapping: self.mapping,
                strict: self.strict,
                waiting: Mutex::default(),
            });
            for socket in self.graphite {
                listen(socket, Arc::clone(&all), receiver, tasks, stop);
            }
            let collect = move || MetricBatch {
                series: std::mem::take(&mut *locked(&all.waiting)),
                ..MetricBatch::default()
            };
            tasks.spawn(write(
                collect,
                (Door::Graphite, GRAPHITE_PAUSE),
                receiver.clone(),
                stop.clone(),
            ));
        }
    }
}

async fn mapping(folder: &Path, path: Option<&Path>) -> Result<Renaming, SocketError> {
    let Some(path) = path else {
        return Ok(Renaming::default());
    };
    let text = String::from_utf8(read(folder, path).await?);
    let parsed = text
        .map_err(|e| e.to_string())
        .and_then(|t| Renaming::parse(&t));
    parsed.map_err(|reason| SocketError::File {
        path: folder.join(path),
        reason,
    })
}

/// A socket of the file system. One that is left over from a process that ended is replaced.
async fn unixgram(path: PathBuf) -> Result<Socket, SocketError> {
    use std::os::unix::fs::FileTypeExt;
    let fault = |error: std::io::Error| SocketError::File {
        path: path.clone(),
        reason: error.to_string(),
    };
    let found = tokio::fs::symlink_metadata(&path).await;
    if found.is_ok_and(|file| file.file_type().is_socket()) {
        tokio::fs::remove_file(&path).await.map_err(fault)?;
    }
    let socket = UnixDatagram::bind(&path).map_err(fault)?;
    Ok(Socket::Unix(socket, path))
}

fn listen<H: Hear>(
    socket: Socket,
    hear: Arc<H>,
    receiver: &Receiver,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let (receiver, stop) = (receiver.clone(), stop.clone());
    match socket {
        Socket::Tcp(listener) => {
            let ended = stop.clone();
            tasks.spawn(accept(listener, stop, move |stream, _| {
                connection(stream, Arc::clone(&hear), receiver.clone(), ended.clone())
            }));
        }
        Socket::Udp(socket) => {
            let socket = Datagrams::Udp(socket);
            tasks.spawn(datagrams(socket, hear, receiver, stop));
        }
        Socket::Unix(socket, path) => {
            tasks.spawn(async move {
                datagrams(Datagrams::Unix(socket), hear, receiver, stop).await;
                if let Err(error) = tokio::fs::remove_file(&path).await {
                    tracing::debug!(%error, path = %path.display(), "a socket was not removed");
                }
            });
        }
    }
}

enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagrams {
    async fn receive(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.recv(buffer).await,
            Self::Unix(socket) => socket.recv(buffer).await,
        }
    }
}

async fn datagrams<H: Hear>(
    socket: Datagrams,
    hear: Arc<H>,
    receiver: Receiver,
    stop: CancellationToken,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.receive(&mut buffer) => received,
        };
        match received {
            Ok(count) => {
                let refused = hear.lines(&buffer[..count]);
                note(&receiver, hear.door(), count, refused);
            }
            Err(error) => {
                tracing::debug!(%error, "a datagram was not received");
                sleep(PAUSE).await;
            }
        }
    }
}

fn note(receiver: &Receiver, door: Door, bytes: usize, refused: u64) {
    receiver.counters.request(door, bytes, false);
    if refused > 0 {
        receiver.counters.lines_refused(door, refused);
    }
}

async fn connection<H: Hear>(
    stream: TcpStream,
    hear: Arc<H>,
    receiver: Receiver,
    stop: CancellationToken,
) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut stream).take(LINE_BYTES_MAX);
        let read = tokio::select! {
            () = stop.cancelled() => return,
            read = tokio::time::timeout(IDLE, bounded.read_until(b'\n', &mut line)) => read,
        };
        match read {
            Ok(Ok(0)) | Ok(Err(_)) | Err(_) => return,
            Ok(Ok(count)) => {
                let refused = hear.lines(&line);
                note(&receiver, hear.door(), count, refused);
                if count as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
                    tracing::debug!("a line is too long, its connection ends");
                    return;
                }
            }
        }
    }
}

/// Stores what is collected every interval, and a last time when it is to stop.
async fn write(
    collect: impl Fn() -> MetricBatch,
    (door, interval): (Door, Duration),
    receiver: Receiver,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    ticks.tick().await;
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            _ = ticks.tick() => false,
        };
        store(collect(), door, &receiver, &stop).await;
        if stopped {
            return;
        }
    }
}

/// Stores samples, and counts those that cannot be.
async fn store(batch: MetricBatch, door: Door, receiver: &Receiver, stop: &CancellationToken) {
    if batch.is_empty() {
        return;
    }
    let samples = batch.sample_count() as u64;
    let (tenant, began) = (Tenant::anonymous, Instant::now());
    let (lost, reason) = loop {
        match receiver.sink.scraped(tenant(), batch.clone()).await {
            Ok((accepted, elsewhere)) => {
                if let Err(error) = elsewhere {
                    tracing::warn!(?door, %error, "samples were stored and not queued elsewhere");
                }
                if accepted.refused == 0 {
                    return;
                }
                break (accepted.refused, accepted.reason);
            }
            Err(SinkError::Refused { reason }) => break (samples, reason),
            Err(error) => {
                let wait = match stop.is_cancelled() {
                    true => LAST_WAIT,
                    false => SINK_WAIT,
                };
                if began.elapsed() >= wait {
                    break (samples, error.to_string());
                }
                sleep(SINK_PAUSE).await;
            }
        }
    };
    receiver.counters.samples_lost(door, lost);
    tracing::warn!(?door, lost, reason, "samples could not be stored");
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::sink::{Accepted, Sink};

    /// What comes to the store, one line per sample.
    async fn told(
        statsd: &str,
        graphite: &str,
        send: impl AsyncFn(&[(&'static str, SocketAddr)]),
        expect: &[&str],
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let map = "mappings: [{match: 'a.*', name: a, labels: {part: $1}}]";
        tokio::fs::write(folder.path().join("map.yml"), map)
            .await
            .expect("written");
        let statsd: StatsdConfig = serde_yaml_ng::from_str(statsd).expect(statsd);
        let graphite: GraphiteConfig = serde_yaml_ng::from_str(graphite).expect(graphite);
        let sockets = MetricSockets::bind(&statsd, &graphite, folder.path())
            .await
            .expect("bound");
        let addresses = sockets.addresses();
        let (sink, mut inbox) = Sink::channel(16);
        let receiver = Receiver::new(
            sink,
            Default::default(),
            crate::Decoder::new(1),
            Arc::default(),
        );
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        sockets.serve(&receiver, &tasks, &stop);
        send(&addresses).await;
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < expect.len() {
            let write = inbox.metrics.recv().await.expect("a write");
            for series in &write.batch.series {
                let Value::Float(value) = series.samples[0].value else {
                    continue;
                };
                seen.insert(format!("{} {value}", series.labels));
            }
            write.done.send(Ok(Accepted::default())).expect("a waiter");
        }
        assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expect);
        stop.cancel();
    }

    #[tokio::test]
    async fn statsd_comes_by_datagram_and_by_connection() {
        let send = async |addresses: &[(&'static str, SocketAddr)]| {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            socket
                .send_to(b"a.x:2|c\nb:3|g", addresses[0].1)
                .await
                .expect("sent");
            let mut stream = TcpStream::connect(addresses[1].1).await.expect("connected");
            stream.write_all(b"c:4|g\nd").await.expect("written");
        };
        told(
            "{udp: '127.0.0.1:0', tcp: '127.0.0.1:0', mapping_file: map.yml, interval: 20ms}",
            "{}",
            send,
            &[
                r#"{__name__="a", part="x"} 2"#,
                r#"{__name__="b"} 3"#,
                r#"{__name__="c"} 4"#,
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn graphite_comes_by_connection() {
        let send = async |addresses: &[(&'static str, SocketAddr)]| {
            let mut stream = TcpStream::connect(addresses[0].1).await.expect("connected");
            stream
                .write_all(b"a.y;t=u 5 1700000000\nno line\nb.c 1 1700000000\n")
                .await
                .expect("written");
        };
        told(
            "{}",
            "{tcp: '127.0.0.1:0', mapping_file: map.yml}",
            send,
            &[
                r#"{__name__="a", part="y", t="u"} 5"#,
                r#"{__name__="b_c"} 1"#,
            ],
        )
        .await;
    }

    /// What a sink without room refuses comes again; what nobody ever takes is counted.
    #[tokio::test]
    async fn samples_wait_for_room_and_are_counted_when_they_are_lost() {
        let (sink, mut inbox) = Sink::channel(16);
        let counters = Arc::<crate::metrics::Counters>::default();
        let decoder = crate::Decoder::new(1);
        let receiver = Receiver::new(sink, Default::default(), decoder, Arc::clone(&counters));
        let stop = CancellationToken::new();
        let series = Series {
            samples: vec![Sample {
                time: clock::now(),
                start: None,
                value: Value::Float(1.0),
            }],
            ..Series::default()
        };
        let batch = MetricBatch {
            series: vec![series],
            ..MetricBatch::default()
        };
        let later = || {
            Err(SinkError::Unavailable {
                reason: "x".to_owned(),
            })
        };
        let never = || {
            Err(SinkError::Refused {
                reason: "x".to_owned(),
            })
        };
        let lost = || {
            let families = counters.families(&Default::default());
            let name = "obs_receive_samples_lost_total";
            let family = families.iter().find(|family| family.name == name);
            let points = family.expect("it is told").points.iter();
            points.map(|point| point.value).sum::<f64>()
        };
        for (answers, expect) in [
            (vec![later(), later(), Ok(Accepted::default())], 0.0),
            (vec![later(), never()], 1.0),
        ] {
            let answer = async {
                for answer in answers {
                    let write = inbox.metrics.recv().await.expect("a write");
                    assert_eq!(write.batch.sample_count(), 1);
                    write.done.send(answer).expect("a waiter");
                }
            };
            tokio::join!(
                store(batch.clone(), Door::Graphite, &receiver, &stop),
                answer
            );
            assert_eq!(lost(), expect);
        }
    }
}
