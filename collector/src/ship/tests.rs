//! Shipping to a server in this process that answers as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use obs_model::limits::Limits;
use obs_model::{Labels, LogRecord, LogStream, Timestamp};
use obs_storage::SimDisk;
use obs_wire::prometheus::remote_write;
use obs_wire::{loki, snappy};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Destination, DestinationConfig, WhenFull};
use crate::receive::BATCH_HEADER;
use crate::spool::tests::Panicking;

/// The other side: statuses of the first answers (then 204), and what it took.
struct Other {
    url: String,
    taken: mpsc::UnboundedReceiver<(String, HeaderMap, Bytes)>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Saying {
    statuses: Arc<[u16]>,
    /// What is not there.
    absent: &'static str,
    asked: Arc<AtomicUsize>,
    taken: mpsc::UnboundedSender<(String, HeaderMap, Bytes)>,
}

async fn take(State(saying): State<Saying>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    if parts.uri.path() == saying.absent {
        return StatusCode::NOT_FOUND.into_response();
    }
    let number = saying.asked.fetch_add(1, Ordering::Relaxed);
    let taken = (parts.uri.path().to_owned(), parts.headers, body);
    saying.taken.send(taken).expect("the test waits");
    match saying.statuses.get(number) {
        Some(status) => StatusCode::from_u16(*status)
            .expect("a status")
            .into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

impl Other {
    async fn start(statuses: &[u16]) -> Self {
        Self::without("", statuses).await
    }

    async fn without(absent: &'static str, statuses: &[u16]) -> Self {
        let (sender, taken) = mpsc::unbounded_channel();
        let saying = Saying {
            statuses: statuses.into(),
            absent,
            asked: Arc::default(),
            taken: sender,
        };
        let routes = Router::new().fallback(take).with_state(saying);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(stopped);
            served.await.expect("serves");
        });
        Self {
            url,
            taken,
            tasks,
            stop,
        }
    }

    async fn next(&mut self) -> (String, HeaderMap, Bytes) {
        let wait = tokio::time::timeout(Duration::from_secs(120), self.taken.recv());
        wait.await.expect("in time").expect("a request")
    }
}

fn open(disk: &SimDisk, yaml: &str, bytes_max: u64, when_full: WhenFull) -> Shipper {
    let configs: Vec<DestinationConfig> = serde_yaml_ng::from_str(yaml).expect("yaml");
    let all = Destination::check(Vec::new(), configs, yaml, Path::new("")).expect("valid");
    let bounds = Bounds {
        bytes_max,
        when_full,
    };
    let external = Labels::from_pairs([("cluster", "c")]);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Shipper::on(&disk, bounds, 1, &external, all.ships).expect("opened")
}

/// A sender that ends in a panic is followed by one that sends what is there.
#[tokio::test]
async fn senders_begin_again() {
    let mut other = Other::start(&[]).await;
    let yaml = format!("[{{loki: {{url: '{}', name: a}}}}]", other.url);
    let configs: Vec<DestinationConfig> = serde_yaml_ng::from_str(&yaml).expect("yaml");
    let all = Destination::check(Vec::new(), configs, &yaml, Path::new("")).expect("valid");
    let bounds = Bounds {
        bytes_max: 1 << 20,
        when_full: WhenFull::Refuse,
    };
    let panicking = Arc::new(Panicking(SimDisk::new(1), false.into()));
    let disk: Arc<dyn Disk> = Arc::clone(&panicking) as _;
    let shipper = Shipper::on(&disk, bounds, 1, Labels::empty(), all.ships).expect("opened");
    panicking.1.store(true, Ordering::Relaxed);
    let running = run(&shipper);
    let told = running.sink.logs(Tenant::anonymous(), lines(&["a"])).await;
    assert_eq!(told, Ok(Accepted::default()));
    let (_, _, body) = other.next().await;
    assert_eq!(read_lines(&body).record_count(), 1);
    assert!(!panicking.1.load(Ordering::Relaxed), "it panicked");
    assert!(shipper.taking()[0].spool.faults() > 0);
    running.end().await;
}

/// What is told of families without samples goes to servers that have a place for it.
#[tokio::test]
async fn families_without_samples_arrive() {
    let mut other = Other::start(&[]).await;
    let yaml = format!("[{{obs: {{url: '{}'}}}}]", other.url);
    let shipper = open(&SimDisk::new(9), &yaml, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    let told = |family: &str| obs_model::metrics::Metadata {
        family: family.to_owned(),
        kind: obs_model::metrics::MetricKind::Counter,
        unit: String::new(),
        help: "what it is".to_owned(),
    };
    let mut both = sample(1);
    both.metadata = vec![told("a"), told("b")];
    let alone = MetricBatch {
        metadata: vec![told("c")],
        ..MetricBatch::default()
    };
    let mut found = Vec::new();
    for batch in [both, alone] {
        let taken = running.sink.metrics(Tenant::anonymous(), batch).await;
        assert_eq!(taken, Ok(Accepted::default()));
    }
    while found.len() < 3 {
        let (path, headers, body) = other.next().await;
        assert_eq!(path, "/api/v1/write");
        let bytes = snappy::decode(&body, 1 << 20).expect("snappy");
        let two = headers["content-type"]
            .to_str()
            .expect("text")
            .contains("v2");
        let decoded = match two {
            true => remote_write::v2::decode(&bytes, &Limits::default()),
            false => remote_write::decode_v1(&bytes, &Limits::default(), None),
        };
        let decoded = decoded.expect("a request");
        assert_eq!(decoded.message, "");
        let version = &headers["x-prometheus-remote-write-version"];
        assert_eq!(version, if two { "2.0.0" } else { "0.1.0" });
        assert_eq!(decoded.batch.series.len(), usize::from(two));
        found.extend(decoded.batch.metadata.into_iter().map(|m| m.family));
    }
    assert_eq!(found, ["a", "b", "c"]);
    running.end().await;
}

/// Destinations that come, change, go and come again while lines arrive: each has every line that
/// was taken while it was there, once, and what was queued for one that went is sent to it.
#[tokio::test]
async fn other_destinations_lose_nothing() {
    let (mut first, mut second) = (Other::start(&[]).await, Other::start(&[]).await);
    let ships = |yaml: &str| {
        let configs: Vec<DestinationConfig> = serde_yaml_ng::from_str(yaml).expect("yaml");
        let all = Destination::check(Vec::new(), configs, yaml, Path::new("")).expect("valid");
        all.ships
    };
    let away = "[{loki: {url: 'http://127.0.0.1:9', name: a, min_backoff: 1ms, max_backoff: 2ms}}]";
    let shipper = open(&SimDisk::new(11), away, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    let sent = async |line: &str| {
        let told = running.sink.logs(Tenant::anonymous(), lines(&[line])).await;
        assert_eq!(told, Ok(Accepted::default()));
    };
    let take = |yaml: &str| shipper.take(shipper.next(ships(yaml)).expect("opened"));
    sent("1").await;
    sent("2").await;
    // It has another address now, and another destination is beside it.
    let there = format!("{{loki: {{url: '{}', name: a}}}}", first.url);
    let beside = format!("{{loki: {{url: '{}', name: b, timeout: 7s}}}}", second.url);
    take(&format!("[{there}, {beside}]"));
    sent("3").await;
    let seen = async |other: &mut Other, count: usize| {
        let mut seen = Vec::new();
        while seen.len() < count {
            let (_, _, body) = other.next().await;
            let records = read_lines(&body).streams.remove(0).records;
            seen.extend(records.into_iter().map(|r| r.line));
        }
        seen.sort();
        seen
    };
    assert_eq!(seen(&mut first, 3).await, [b"1", b"2", b"3"]);
    assert_eq!(seen(&mut second, 1).await, [b"3"]);
    // What does not change goes on as it is; what went has its queue still.
    let (kept, before) = (Arc::clone(&shipper.taking()[1]), shipper.taking());
    let other_kind = there.replace("loki", "otlp");
    let told = shipper.next(ships(&format!("[{other_kind}]")));
    assert!(told.is_err_and(|e| e.contains("another kind")));
    assert!(Arc::ptr_eq(&before, &shipper.taking()));
    take(&format!("[{beside}]"));
    assert!(Arc::ptr_eq(&kept, &shipper.taking()[0]));
    sent("4").await;
    take(&format!("[{there}]"));
    sent("5").await;
    take("[]");
    assert_eq!(seen(&mut second, 1).await, [b"4"]);
    assert_eq!(seen(&mut first, 1).await, [b"5"]);
    let told = running.sink.logs(Tenant::anonymous(), lines(&["6"])).await;
    assert!(matches!(told, Err(SinkError::Refused { .. })), "{told:?}");
    running.end().await;
}

/// What one queue for all signals had is moved once, also where there was no room for all of it.
#[tokio::test]
async fn an_old_queue_is_moved_once() {
    const YAML: &str = "[{obs: {url: 'http://127.0.0.1:9', name: a}}]";
    for room in (300..6000).step_by(300) {
        let disk = SimDisk::new(room);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = QueueOptions {
            bytes_max: u64::MAX,
            segment_bytes: 1000,
            salt: 1,
        };
        let mut old = Queue::open(shared, "a", options).expect("opened");
        let mut expect = Vec::new();
        let configs: Vec<DestinationConfig> = serde_yaml_ng::from_str(YAML).expect("yaml");
        let all = Destination::check(Vec::new(), configs, YAML, Path::new("")).expect("valid");
        for number in 0..20 {
            let line = format!("{number:0100}");
            let made = lines(&[&line]).made(&all.ships[0], Timestamp::from_seconds(number));
            let record = Record {
                tenant: &Tenant::anonymous(),
                payload: &made[0].payload,
            };
            old.append(&[record]).expect("there is room");
            expect.push(line);
        }
        drop(old);
        let mut found = Vec::new();
        for capacity in [Some(disk.used() + room), None] {
            disk.set_capacity(capacity);
            drop(open(&disk, YAML, 1 << 20, WhenFull::Refuse));
            disk.crash();
        }
        let shipper = open(&disk, YAML, 1 << 20, WhenFull::Refuse);
        for outlet in shipper.taking().iter() {
            found.extend(waiting(outlet));
        }
        found.sort();
        assert_eq!(found, expect, "room {room}");
    }
}

fn lines(lines: &[&str]) -> LogBatch {
    let record = |(index, line): (usize, &&str)| LogRecord {
        time: Timestamp::from_nanos(index as i64),
        line: line.as_bytes().to_vec(),
        metadata: Labels::empty(),
    };
    LogBatch {
        streams: vec![LogStream {
            labels: Labels::from_pairs([("app", "x")]),
            records: lines.iter().enumerate().map(record).collect(),
        }],
    }
}

fn read_lines(body: &Bytes) -> LogBatch {
    let bytes = snappy::decode(body, 1 << 20).expect("snappy");
    loki::push::decode_protobuf(&bytes, &Limits::default())
        .expect("a push")
        .batch
}

struct Running {
    sink: Sink,
    tasks: TaskTracker,
    stop: CancellationToken,
}

fn run(shipper: &Shipper) -> Running {
    run_beside(shipper, Elsewhere::Nothing)
}

fn run_beside(shipper: &Shipper, elsewhere: Elsewhere) -> Running {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let sink = shipper.start((8, 1 << 20), elsewhere, &tasks, &stop);
    Running { sink, tasks, stop }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        drop(self.sink);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[tokio::test]
async fn what_is_acknowledged_arrives_under_one_identity() {
    let mut other = Other::start(&[503, 429]).await;
    let disk = SimDisk::new(1);
    let yaml = format!(
        "[{{obs: {{url: '{}', min_backoff: 1ms, max_backoff: 2ms}}}}]",
        other.url
    );
    let shipper = open(&disk, &yaml, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    let told = running
        .sink
        .logs(Tenant::anonymous(), lines(&["a", "b"]))
        .await;
    assert_eq!(told, Ok(Accepted::default()));
    let mut identities = Vec::new();
    for _ in 0..3 {
        let (path, headers, body) = other.next().await;
        assert_eq!(path, "/loki/api/v1/push");
        let batch = read_lines(&body);
        assert_eq!(batch.record_count(), 2);
        assert_eq!(batch.streams[0].labels.get("cluster"), Some("c"));
        identities.push(headers[BATCH_HEADER].clone());
    }
    assert!(
        identities.windows(2).all(|pair| pair[0] == pair[1]),
        "{identities:?}"
    );
    running.end().await;
    other.stop.cancel();
    other.tasks.close();
    other.tasks.wait().await;
}

#[tokio::test]
async fn a_restart_sends_what_was_not_taken() {
    let disk = SimDisk::new(2);
    // Nobody listens there.
    let yaml = "[{loki: {url: 'http://127.0.0.1:9', name: a, min_backoff: 1ms, max_backoff: 2ms}}]";
    let shipper = open(&disk, yaml, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    for line in ["1", "2", "3"] {
        let told = running.sink.logs(Tenant::anonymous(), lines(&[line])).await;
        assert_eq!(told, Ok(Accepted::default()));
    }
    running.end().await;
    drop(shipper);
    let mut other = Other::start(&[]).await;
    let yaml = format!("[{{loki: {{url: '{}', name: a}}}}]", other.url);
    let shipper = open(&disk, &yaml, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    let mut found = Vec::new();
    while found.len() < 3 {
        let (_, headers, body) = other.next().await;
        assert!(!headers.contains_key(BATCH_HEADER));
        let records = read_lines(&body)
            .streams
            .into_iter()
            .flat_map(|s| s.records);
        found.extend(records.map(|r| String::from_utf8(r.line).expect("text")));
    }
    found.sort();
    assert_eq!(found, ["1", "2", "3"]);
    running.end().await;
}

#[tokio::test]
async fn a_full_queue_refuses_or_drops_the_oldest() {
    let yaml = "[{loki: {url: 'http://127.0.0.1:9', name: a}}]";
    let line = "x".repeat(900);
    for when_full in [WhenFull::Refuse, WhenFull::DropOldest] {
        let disk = SimDisk::new(3);
        let shipper = open(&disk, yaml, 600, when_full);
        let running = run(&shipper);
        let mut refused = 0;
        for number in 0..40 {
            let text = format!("{number} {line}");
            let told = running
                .sink
                .logs(Tenant::anonymous(), lines(&[&text]))
                .await;
            refused += u32::from(matches!(told, Err(SinkError::Unavailable { .. })));
        }
        let families = shipper.families();
        let value = |name: &str| {
            let family = families.iter().find(|f| f.name == name).expect(name);
            family.points[0].value
        };
        let dropped = value("obs_ship_queue_dropped_groups_total");
        match when_full {
            WhenFull::Refuse => assert!(refused > 10 && dropped == 0.0, "{refused}"),
            WhenFull::DropOldest => assert!(refused == 0 && dropped > 10.0, "{dropped}"),
        }
        running.end().await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses() {
    let disk = SimDisk::new(4);
    let yaml = "[{loki: {url: 'http://127.0.0.1:9', name: a}}]";
    let shipper = open(&disk, yaml, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    disk.set_capacity(Some(disk.used()));
    let told = running.sink.logs(Tenant::anonymous(), lines(&["a"])).await;
    assert!(
        matches!(told, Err(SinkError::Unavailable { .. })),
        "{told:?}"
    );
    disk.set_capacity(None);
    let told = running.sink.logs(Tenant::anonymous(), lines(&["a"])).await;
    assert_eq!(told, Ok(Accepted::default()));
    running.end().await;
}

/// An hour of waits of 30 s each, by four requests at one time, shortened to a millisecond; then
/// the other side is back and gets everything, each line once.
#[tokio::test]
async fn an_hour_away_loses_nothing() {
    const LINES: usize = 60;
    let mut other = Other::start(&[503; 4 * 120]).await;
    let disk = SimDisk::new(6);
    let yaml = format!(
        "[{{loki: {{url: '{}', min_backoff: 1ms, max_backoff: 1ms}}}}]",
        other.url
    );
    let shipper = open(&disk, &yaml, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    let mut expect = Vec::new();
    for line in 0..LINES {
        let line = format!("{line:02}");
        let told = running
            .sink
            .logs(Tenant::anonymous(), lines(&[&line]))
            .await;
        assert_eq!(told, Ok(Accepted::default()));
        expect.push(line);
    }
    for _ in 0..4 * 120 {
        other.next().await;
    }
    let mut found = Vec::new();
    while found.len() < LINES {
        let (.., body) = other.next().await;
        let records = read_lines(&body)
            .streams
            .into_iter()
            .flat_map(|s| s.records);
        found.extend(records.map(|r| String::from_utf8(r.line).expect("text")));
    }
    found.sort();
    assert_eq!(found, expect);
    running.end().await;
}

/// Secrets are searched for in every byte that is stored and sent.
#[tokio::test]
async fn no_secret_leaves_or_reaches_the_disk() {
    let mut other = Other::start(&[]).await;
    let disk = SimDisk::new(5);
    let yaml = format!("[{{obs: {{url: '{}'}}}}]", other.url);
    let shipper = open(&disk, &yaml, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    let config = serde_yaml_ng::from_str("{}").expect("a configuration");
    let redactor = crate::Redactor::new(&config).expect("a redactor");
    let sink = running.sink.clone().redacting(redactor, Decoder::new(1));
    let secret = "Zx9Zx9Zx9Q";
    let tenant = Tenant::anonymous;
    let line = format!("password={secret} at https://u:{secret}@h/");
    sink.logs(tenant(), lines(&[&line])).await.expect("queued");
    let series = obs_model::metrics::Series {
        labels: Labels::from_pairs([("__name__", "a"), ("api_key", secret)]),
        samples: vec![obs_model::metrics::Sample {
            time: Timestamp::from_seconds(1),
            start: None,
            value: obs_model::Value::Float(1.0),
        }],
        ..Default::default()
    };
    let metrics = MetricBatch {
        series: vec![series],
        ..MetricBatch::default()
    };
    sink.metrics(tenant(), metrics).await.expect("queued");
    let span = obs_model::spans::Span {
        attributes: vec![obs_model::spans::Attribute::string("db.password", secret)],
        ..Default::default()
    };
    let spans = SpanBatch {
        resources: vec![obs_model::spans::ResourceSpans {
            scopes: vec![obs_model::spans::ScopeSpans {
                spans: vec![span],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    sink.spans(tenant(), spans).await.expect("queued");
    let name = shipper.taking()[0].ship.name.clone();
    let has = |bytes: &[u8]| memchr::memmem::find(bytes, secret.as_bytes()).is_some();
    let unpacked = |encoding: &str, bytes: &[u8]| {
        let out = obs_wire::capped::decode(encoding, bytes, 1 << 20);
        out.map(|b| b.into_owned()).unwrap_or_default()
    };
    for _ in 0..3 {
        let (path, headers, body) = other.next().await;
        let encoding = headers["content-encoding"].to_str().expect("text");
        let plain = unpacked(encoding, &body);
        assert!(!plain.is_empty() && !has(&plain) && !has(&body), "{path}");
        assert!(
            memchr::memmem::find(&plain, b"[REDACTED:").is_some(),
            "{path}"
        );
    }
    for signal in Signal::ALL {
        let folder = format!("{}.{}", folder_name(&name), signal.word());
        let files = Disk::list(&disk, &folder).expect("listed");
        assert!(!files.is_empty());
        for file in files {
            let blob = disk.blob(&format!("{folder}/{}", file.name)).expect("read");
            assert!(!has(&blob), "{}", file.name);
        }
    }
    drop(sink);
    running.end().await;
}

/// A sample of the series `a` at a millisecond.
fn sample(at: i64) -> MetricBatch {
    MetricBatch {
        series: vec![obs_model::metrics::Series {
            labels: Labels::from_pairs([("__name__", "a")]),
            samples: vec![obs_model::metrics::Sample {
                time: Timestamp::from_millis(at),
                start: None,
                value: obs_model::Value::Float(1.0),
            }],
            ..Default::default()
        }],
        ..MetricBatch::default()
    }
}

#[tokio::test]
async fn what_no_destination_takes_is_refused() {
    let bounds = Bounds {
        bytes_max: 1 << 20,
        when_full: WhenFull::Refuse,
    };
    let writes = "{url: 'http://127.0.0.1:9/w', name: a}";
    let writes = vec![serde_yaml_ng::from_str(writes).expect("yaml")];
    let writes = crate::config::remote_writes(writes, "", Path::new("")).expect("valid");
    let folders = tempfile::tempdir().expect("a folder");
    let opened = |writes: Vec<_>| {
        let folder = folders.path().join(writes.len().to_string());
        std::fs::create_dir(&folder).expect("made");
        let external = Labels::empty().into();
        Forwarder::open(&folder, bounds, 1, &external, writes).expect("opened")
    };
    let (forwarder, nowhere) = (opened(writes), opened(Vec::new()));
    let yaml = "[{loki: {url: 'http://127.0.0.1:9', name: a}}]";
    for (elsewhere, metrics, spans) in [
        (Elsewhere::Nothing, false, false),
        (Elsewhere::Forwarded(nowhere), false, false),
        (Elsewhere::Forwarded(forwarder), true, false),
        (Elsewhere::All, true, true),
    ] {
        let shipper = open(&SimDisk::new(7), yaml, 1 << 20, WhenFull::Refuse);
        let running = run_beside(&shipper, elsewhere);
        let tenant = Tenant::anonymous;
        let told = running.sink.metrics(tenant(), sample(1)).await;
        let refused = |signal: &str| SinkError::Refused {
            reason: format!("no destination takes {signal}"),
        };
        let expect = |taken: bool, signal| match taken {
            true => Ok(Accepted::default()),
            false => Err(refused(signal)),
        };
        assert_eq!(told, expect(metrics, "metrics"));
        let told = running.sink.spans(tenant(), SpanBatch::default()).await;
        assert_eq!(told, expect(spans, "traces"));
        let told = running.sink.logs(tenant(), lines(&["a"])).await;
        assert_eq!(told, Ok(Accepted::default()));
        running.end().await;
    }
}

/// A path that is not there holds up its own signal only, and samples come one after the other,
/// whatever is answered.
#[tokio::test]
async fn signals_are_independent_and_samples_in_order() {
    const COUNT: i64 = 30;
    let mut other = Other::without("/loki/api/v1/push", &[503, 429, 503, 503, 500]).await;
    let yaml = format!(
        "[{{obs: {{url: '{}', min_backoff: 1ms, max_backoff: 2ms}}}}]",
        other.url
    );
    let shipper = open(&SimDisk::new(8), &yaml, 1 << 20, WhenFull::Refuse);
    let running = run(&shipper);
    for at in 1..=COUNT {
        let told = running.sink.logs(Tenant::anonymous(), lines(&["a"])).await;
        assert_eq!(told, Ok(Accepted::default()));
        let told = running.sink.metrics(Tenant::anonymous(), sample(at)).await;
        assert_eq!(told, Ok(Accepted::default()));
    }
    let mut times = vec![0];
    while times.last() != Some(&COUNT) {
        let (path, _, body) = other.next().await;
        assert_eq!(path, "/api/v1/write");
        let bytes = snappy::decode(&body, 1 << 20).expect("snappy");
        let decoded = remote_write::v2::decode(&bytes, &Limits::default());
        let batch = decoded.expect("a request").batch;
        let samples = batch.series.iter().flat_map(|series| &series.samples);
        times.extend(samples.map(|sample| sample.time.millis()));
    }
    assert!(times.is_sorted(), "{times:?}");
    times.dedup();
    assert_eq!(times, (0..=COUNT).collect::<Vec<i64>>());
    running.end().await;
}

/// The lines that wait in a queue.
fn waiting(outlet: &Outlet) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(frame) = outlet.spool.next() {
        for (_, payload) in frame.records {
            let queued = record::read(&payload).expect("a record");
            let batch = read_lines(&Bytes::copy_from_slice(queued.body));
            let records = batch.streams.into_iter().flat_map(|s| s.records);
            all.extend(records.map(|r| String::from_utf8(r.line).expect("text")));
        }
    }
    all
}

/// A batch that the first queue took and the second could not comes again to the second alone,
/// whatever comes with it.
#[test]
fn a_half_taken_batch_is_queued_once() {
    let disk = SimDisk::new(9);
    let yaml = "[{loki: {url: 'http://127.0.0.1:9', name: a}}, \
                {loki: {url: 'http://127.0.0.1:9', name: b}}]";
    let shipper = open(&disk, yaml, 1 << 20, WhenFull::Refuse);
    let put = |group: Vec<LogBatch>| {
        let group = group.into_iter().map(|one| (Tenant::anonymous(), one));
        shipper.put::<LogBatch, LogBatch>(group.collect(), &Elsewhere::Nothing)
    };
    let (mut expect, mut halves) = (Vec::new(), 0);
    for number in 0..60u64 {
        let line = format!("{number:03}");
        disk.set_capacity(Some(disk.used() + number * 5));
        let mut told = put(vec![lines(&[&line])]);
        disk.set_capacity(None);
        let print = lines(&[&line]).fingerprint(&Tenant::anonymous());
        halves += usize::from(shipper.taking()[0].spool.has(print));
        expect.push(line.clone());
        if told.is_err() {
            let other = format!("{number:03} other");
            told = put(vec![lines(&[&other]), lines(&[&line])]);
            expect.push(other);
        }
        assert_eq!(told, Ok(()));
        assert!(!shipper.taking()[0].spool.has(print));
    }
    assert!(halves > 0);
    for outlet in shipper.taking().iter() {
        let mut found = waiting(outlet);
        found.sort();
        assert_eq!(found, expect, "{}", outlet.ship.name);
    }
}

#[test]
fn the_one_queue_of_before_is_taken_over() {
    let disk = SimDisk::new(10);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let yaml = "[{obs: {url: 'http://127.0.0.1:9', name: a}}]";
    let options = QueueOptions {
        bytes_max: u64::MAX,
        segment_bytes: 1 << 20,
        salt: 1,
    };
    let mut old = Queue::open(Arc::clone(&shared), "a", options).expect("opened");
    let shipper = open(&SimDisk::new(11), yaml, 1 << 20, WhenFull::Refuse);
    let ship = &shipper.taking()[0].ship;
    for number in 0..3 {
        let now = Timestamp::from_seconds(1);
        let made = lines(&[&number.to_string()]).made(ship, now);
        let metrics = sample(number).made(ship, now);
        let payloads = made.iter().chain(&metrics).map(|one| &one.payload);
        let tenant = Tenant::anonymous();
        let records: Vec<Record<'_>> = payloads
            .map(|payload| Record {
                tenant: &tenant,
                payload,
            })
            .collect();
        old.append(&records).expect("appended");
    }
    drop(old);
    for _ in 0..2 {
        let shipper = open(&disk, yaml, 1 << 20, WhenFull::Refuse);
        let held: Vec<u64> = shipper
            .taking()
            .iter()
            .map(|o| o.spool.held().frames)
            .collect();
        assert_eq!(held, [3, 3, 0]);
        assert_eq!(waiting(&shipper.taking()[1]), ["0", "1", "2"]);
    }
}
