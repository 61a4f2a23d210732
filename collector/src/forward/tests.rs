//! Forwarding to a server in this process that answers as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use obs_model::Labels;
use obs_model::Timestamp;
use obs_model::limits::Limits;
use obs_storage::SimDisk;
use obs_wire::prometheus::remote_write;
use obs_wire::snappy;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::counters::Ending;
use super::*;
use crate::config::{RemoteWriteConfig, WhenFull};
use crate::sink::{Accepted, Sink, SinkError};

/// The other side: statuses of the first answers (then 204), and what it took.
struct Other {
    url: String,
    taken: mpsc::UnboundedReceiver<(HeaderMap, MetricBatch)>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Clone)]
struct Saying {
    statuses: Arc<[u16]>,
    asked: Arc<AtomicUsize>,
    taken: mpsc::UnboundedSender<(HeaderMap, MetricBatch)>,
}

async fn take(State(saying): State<Saying>, headers: HeaderMap, body: Bytes) -> Response {
    let number = saying.asked.fetch_add(1, Ordering::Relaxed);
    if let Some(status) = saying.statuses.get(number) {
        let status = StatusCode::from_u16(*status).expect("a status");
        return (status, "told to").into_response();
    }
    let body = snappy::decode(&body, 1 << 20).expect("snappy");
    let two = headers["content-type"]
        .to_str()
        .expect("text")
        .contains("v2");
    let decoded = if two {
        v2::decode(&body, &Limits::default())
    } else {
        remote_write::decode_v1(&body, &Limits::default(), None)
    };
    let batch = decoded.expect("a request").batch;
    saying.taken.send((headers, batch)).expect("the test waits");
    StatusCode::NO_CONTENT.into_response()
}

impl Other {
    async fn start(statuses: &[u16]) -> Self {
        let (sender, taken) = mpsc::unbounded_channel();
        let saying = Saying {
            statuses: statuses.into(),
            asked: Arc::default(),
            taken: sender,
        };
        let routes = Router::new().route("/w", post(take)).with_state(saying);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/w", listener.local_addr().expect("bound"));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(stopped);
            served.await.expect("serves");
        });
        Self {
            url,
            taken,
            stop,
            tasks,
        }
    }

    async fn next(&mut self) -> (HeaderMap, MetricBatch) {
        let wait = tokio::time::timeout(std::time::Duration::from_secs(120), self.taken.recv());
        wait.await.expect("in time").expect("a request")
    }
}

fn open(folder: &Path, url: &str, more: &str) -> Forwarder {
    open_on(
        Arc::new(RealDisk::open(folder).expect("a folder")),
        url,
        more,
    )
}

const BOUNDS: Bounds = Bounds {
    bytes_max: 1 << 20,
    when_full: WhenFull::Refuse,
};

fn open_on(disk: Arc<dyn Disk>, url: &str, more: &str) -> Forwarder {
    bounded(disk, url, more, BOUNDS)
}

fn bounded(disk: Arc<dyn Disk>, url: &str, more: &str, bounds: Bounds) -> Forwarder {
    let yaml = format!(
        "{{url: '{url}', name: a, queue_config: {{batch_send_deadline: 10ms, min_backoff: 1ms, \
         max_backoff: 5ms, max_samples_per_send: 10}} {more}}}"
    );
    let config: RemoteWriteConfig = serde_yaml_ng::from_str(&yaml).expect("yaml");
    let configs = crate::config::remote_writes(vec![config], "", Path::new("")).expect("valid");
    let external = Labels::from_pairs([("cluster", "c"), ("job", "no")]);
    Forwarder::on(disk, bounds, 1, &external, configs).expect("a queue")
}

/// A batch that the first queue took and the second could not comes again to the second alone.
#[tokio::test]
async fn a_half_taken_batch_is_queued_once() {
    let disk = SimDisk::new(5);
    let config = |name: &str| -> RemoteWriteConfig {
        let yaml = format!("{{url: 'http://127.0.0.1:9/w', name: {name}}}");
        serde_yaml_ng::from_str(&yaml).expect("yaml")
    };
    let configs = vec![config("a"), config("b")];
    let configs = crate::config::remote_writes(configs, "", Path::new("")).expect("valid");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let forwarder = Forwarder::on(shared, BOUNDS, 1, Labels::empty(), configs).expect("opened");
    let mut halves = 0;
    for number in 0..60u64 {
        let put = async || {
            let name = format!("m{number}");
            let (_, prepared) = forwarder.prepare(batch(&name, 1)).await.expect("prepared");
            forwarder.keep(&Tenant::anonymous(), prepared).await
        };
        disk.set_capacity(Some(disk.used() + number * 5));
        let told = put().await;
        disk.set_capacity(None);
        if told.is_err() {
            put().await.expect("there is room");
            halves += 1;
        }
    }
    assert!(halves > 0);
    for destination in forwarder.taking().iter() {
        let frames = destination.spool.held().frames;
        assert_eq!(frames, 60, "{}", destination.config.name);
    }
}

/// Destinations change and go while samples come: what was queued for one is sent to it.
#[tokio::test]
async fn other_destinations_lose_no_sample() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut other = Other::start(&[]).await;
    let forwarder = open(folder.path(), "http://127.0.0.1:9/w", "");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    forwarder.start(&tasks, &stop);
    put(&forwarder, "anonymous", batch("a", 3)).await;
    let configs = |yaml: &str| {
        let config: Vec<RemoteWriteConfig> = serde_yaml_ng::from_str(yaml).expect("yaml");
        crate::config::remote_writes(config, "", Path::new("")).expect("valid")
    };
    let yaml = format!("[{{url: '{}', name: a}}]", other.url);
    forwarder.take(forwarder.next(configs(&yaml)).expect("opened"));
    put(&forwarder, "anonymous", batch("b", 2)).await;
    assert!(!forwarder.is_empty());
    forwarder.take(forwarder.next(Vec::new()).expect("nothing"));
    assert!(forwarder.is_empty());
    let mut count = 0;
    while count < 5 {
        let (_, taken) = other.next().await;
        count += taken.sample_count();
    }
    assert_eq!(count, 5);
    end(tasks, stop).await;
    end(other.tasks, other.stop).await;
}

/// Metadata without samples is told by itself where the message has a place for it, else with the
/// samples that come.
#[tokio::test]
async fn families_without_samples_are_told() {
    for (two, more) in [
        (true, ", protobuf_message: io.prometheus.write.v2.Request"),
        (false, ", metadata_config: {send_interval: 10ms}"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut other = Other::start(&[]).await;
        let forwarder = open(folder.path(), &other.url, more);
        let told = obs_model::metrics::Metadata {
            family: "a".to_owned(),
            kind: obs_model::metrics::MetricKind::Counter,
            unit: String::new(),
            help: "what it is".to_owned(),
        };
        let alone = MetricBatch {
            metadata: vec![told],
            ..MetricBatch::default()
        };
        put(&forwarder, "anonymous", alone).await;
        if two {
            put(&forwarder, "anonymous", batch("a", 1)).await;
        }
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        forwarder.start(&tasks, &stop);
        let (_, taken) = other.next().await;
        assert_eq!(taken.series.len(), usize::from(two), "{more}");
        let families: Vec<_> = taken.metadata.iter().map(|m| m.family.as_str()).collect();
        assert_eq!(families, ["a"], "{more}");
        end(tasks, stop).await;
        end(other.tasks, other.stop).await;
    }
}

fn batch(name: &str, count: i64) -> MetricBatch {
    let sample = |at| Sample {
        time: Timestamp::from_millis(at),
        start: None,
        value: Value::Float(at as f64),
    };
    MetricBatch {
        series: vec![Series {
            labels: Labels::from_pairs([("__name__", name), ("job", "j")]),
            samples: (1..=count).map(sample).collect(),
            ..Series::default()
        }],
        ..MetricBatch::default()
    }
}

async fn put(forwarder: &Forwarder, tenant: &str, batch: MetricBatch) {
    let (_, prepared) = forwarder.prepare(batch).await.expect("prepared");
    let tenant = Tenant::new(tenant).expect("a tenant");
    forwarder.keep(&tenant, prepared).await.expect("queued");
}

/// A sink that forwards, and a writer that takes the first series of each batch alone, and says
/// how many batches it got.
fn picky(forwarder: &Forwarder) -> (Sink, JoinSet<usize>) {
    let (sink, mut inbox) = Sink::channel(4);
    let mut writer = JoinSet::new();
    writer.spawn(async move {
        let mut count = 0;
        while let Some(mut write) = inbox.metrics.recv().await {
            count += 1;
            let before = write.batch.sample_count();
            write.batch.series.truncate(1);
            let refused = (before - write.batch.sample_count()) as u64;
            if let (Some(rest), true) = (write.rest, refused > 0) {
                rest.send(write.batch).expect("somebody waits");
            }
            let accepted = Accepted {
                refused,
                ..Accepted::default()
            };
            write.done.send(Ok(accepted)).expect("somebody waits");
        }
        count
    });
    (sink.forwarding(forwarder.clone()), writer)
}

#[tokio::test]
async fn what_the_store_refused_is_not_forwarded() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut other = Other::start(&[]).await;
    let forwarder = open(folder.path(), &other.url, "");
    let (sink, mut writer) = picky(&forwarder);
    let mut two = batch("a", 2);
    two.series.extend(batch("refused", 3).series);
    let accepted = sink
        .metrics(Tenant::anonymous(), two)
        .await
        .expect("stored");
    assert_eq!(accepted.refused, 3);
    let whole = sink.metrics(Tenant::anonymous(), batch("b", 1)).await;
    assert_eq!(whole, Ok(Accepted::default()));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    forwarder.start(&tasks, &stop);
    let mut names = Vec::new();
    while names.len() < 2 {
        let (_, taken) = other.next().await;
        let all = taken.series.iter();
        names.extend(all.map(|s| s.labels.metric_name().expect("a name").to_owned()));
    }
    assert_eq!(names, ["a", "b"]);
    end(tasks, stop).await;
    end(other.tasks, other.stop).await;
    drop(sink);
    let count = writer.join_next().await.expect("a writer");
    assert_eq!(count.expect("it ends"), 2);
}

/// Nothing that a queue does not have is acknowledged: not where it is full, and not where the
/// disk is.
#[tokio::test]
async fn a_queue_without_room_refuses() {
    for when_full in [WhenFull::Refuse, WhenFull::DropOldest] {
        let disk = SimDisk::new(3);
        let bounds = Bounds {
            bytes_max: 2000,
            when_full,
        };
        let mut other = Other::start(&[]).await;
        let forwarder = bounded(Arc::new(disk.clone()), &other.url, "", bounds);
        let (sink, mut writer) = picky(&forwarder);
        let mut acknowledged = 0;
        for _ in 0..30 {
            match sink.metrics(Tenant::anonymous(), batch("a", 100)).await {
                Ok(_) => acknowledged += 100,
                Err(SinkError::Unavailable { reason }) => {
                    assert!(reason.contains("buffer.max_size"), "{reason}");
                    assert_eq!(when_full, WhenFull::Refuse);
                }
                Err(other) => panic!("{other}"),
            }
        }
        // What was scraped is stored all the same, and what is missing is told.
        let scraped = sink.scraped(Tenant::anonymous(), batch("a", 100)).await;
        let (_, queued) = scraped.expect("stored");
        assert_eq!(queued.is_err(), when_full == WhenFull::Refuse);
        let lost = |forwarder: &Forwarder| {
            let families = forwarder.families();
            let value = |name: &str| {
                let family = families.iter().find(|f| f.name == name);
                family.expect("it is told").points[0].value
            };
            let dropped = value("obs_forward_queue_dropped_groups_total");
            (value("obs_forward_queue_failed_samples_total"), dropped)
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        match when_full {
            WhenFull::DropOldest => {
                assert_eq!(acknowledged, 3000);
                assert!(lost(&forwarder).1 > 0.0, "{:?}", lost(&forwarder));
            }
            WhenFull::Refuse => {
                assert!((100..3000).contains(&acknowledged), "{acknowledged}");
                assert_eq!(lost(&forwarder), (100.0, 0.0));
                forwarder.start(&tasks, &stop);
                let mut taken = 0;
                while taken < acknowledged {
                    taken += other.next().await.1.sample_count();
                }
                assert_eq!(taken, acknowledged);
                // There is room again once the other side has it.
                while forwarder.crowded().is_some() {
                    tokio::task::yield_now().await;
                }
                let again = sink.metrics(Tenant::anonymous(), batch("a", 1)).await;
                assert_eq!(again, Ok(Accepted::default()));
            }
        }
        end(tasks, stop).await;
        disk.set_capacity(Some(disk.used()));
        let full = sink.metrics(Tenant::anonymous(), batch("a", 1)).await;
        assert!(
            matches!(full, Err(SinkError::Unavailable { .. })),
            "{full:?}"
        );
        end(other.tasks, other.stop).await;
        drop(sink);
        let ended = writer.join_next().await.expect("a writer");
        ended.expect("no panic");
    }
}

async fn end(tasks: TaskTracker, stop: CancellationToken) {
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn samples_arrive_with_labels_and_headers() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut other = Other::start(&[500, 503]).await;
        let more = format!(
            ", protobuf_message: {message}, headers: {{x-extra: y}}, \
             basic_auth: {{username: u, password: p}}, \
             write_relabel_configs: [{{source_labels: [__name__], regex: drop, action: drop}}]"
        );
        let forwarder = open(folder.path(), &other.url, &more);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        forwarder.start(&tasks, &stop);
        put(&forwarder, "team", batch("drop", 1)).await;
        put(&forwarder, "team", batch("a", 25)).await;
        let mut times = Vec::new();
        while times.len() < 25 {
            let (headers, batch) = other.next().await;
            assert_eq!(headers["x-scope-orgid"], "team");
            assert_eq!(headers["authorization"], "Basic dTpw");
            assert_eq!(headers["x-extra"], "y");
            for series in &batch.series {
                let labels = series.labels.to_string();
                assert_eq!(labels, r#"{__name__="a", cluster="c", job="j"}"#);
                times.extend(series.samples.iter().map(|s| s.time.millis()));
            }
        }
        assert_eq!(times, (1..=25).collect::<Vec<i64>>());
        let counters = &forwarder.taking()[0].counters;
        while counters.samples(Ending::Sent) < 25 {
            tokio::task::yield_now().await;
        }
        end(tasks, stop).await;
        assert_eq!(counters.samples(Ending::Sent), 25);
        assert_eq!(counters.samples(Ending::Retried), 20);
        let names: Vec<String> = forwarder.families().into_iter().map(|f| f.name).collect();
        assert!(names.contains(&"prometheus_remote_storage_samples_failed_total".to_owned()));
        end(other.tasks, other.stop).await;
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_and_does_not_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut other = Other::start(&[400]).await;
    let forwarder = open(folder.path(), &other.url, "");
    put(&forwarder, "anonymous", batch("a", 1)).await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    forwarder.start(&tasks, &stop);
    // The second one may come in the same round as the first.
    while forwarder.taking()[0].counters.samples(Ending::Failed) == 0 {
        tokio::task::yield_now().await;
    }
    put(&forwarder, "anonymous", batch("b", 1)).await;
    let (_, taken) = other.next().await;
    assert_eq!(taken.series[0].labels.metric_name(), Some("b"));
    end(tasks, stop).await;
    end(other.tasks, other.stop).await;
}

#[tokio::test]
async fn what_was_queued_is_sent_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut other = Other::start(&[]).await;
    let forwarder = open(folder.path(), &other.url, "");
    // Nobody sends: as if the process were killed right behind the acknowledgement.
    put(&forwarder, "anonymous", batch("a", 3)).await;
    drop(forwarder);
    let forwarder = open(folder.path(), &other.url, "");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    forwarder.start(&tasks, &stop);
    let (_, taken) = other.next().await;
    assert_eq!(taken.sample_count(), 3);
    end(tasks, stop).await;
    end(other.tasks, other.stop).await;
}
