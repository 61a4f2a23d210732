//! What this room tells about itself, as metric families for `/metrics`. Names are API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use obs_model::Labels;
use obs_model::family::{Family, Point};
use obs_model::metrics::MetricKind;

use crate::sink::{QueueStats, SinkStats};

/// Upper bounds of the scrape duration's buckets, in seconds.
const SCRAPE_BOUNDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The ways in through a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/api/v1/write`
    RemoteWrite,
    /// `/loki/api/v1/push`
    LokiPush,
    /// OTLP over HTTP.
    OtlpHttp,
    /// OTLP over gRPC.
    OtlpGrpc,
    /// `/api/v1/import`
    Import,
    /// Elasticsearch's bulk and index requests.
    Elasticsearch,
    /// `/insert/jsonline`
    JsonLines,
    /// Syslog over UDP, TCP and TLS.
    Syslog,
    /// Fluentd's forward protocol.
    Fluent,
    /// Splunk's HTTP event collector.
    Splunk,
    /// Datadog's log intake.
    Datadog,
    /// GELF over UDP, TCP and HTTP.
    Gelf,
    /// systemd-journal-upload.
    Journald,
    /// Zipkin's spans.
    Zipkin,
    /// Jaeger's spans over gRPC, HTTP and UDP.
    Jaeger,
    /// `/insert/kubernetes-audit`
    KubernetesAudit,
    /// `/metrics/job/…`
    Pushgateway,
    /// Influx's line protocol.
    Influx,
    /// StatsD's lines.
    Statsd,
    /// Graphite's lines.
    Graphite,
}

const DOORS: [(Door, &str); 20] = [
    (Door::RemoteWrite, "remote_write"),
    (Door::LokiPush, "loki_push"),
    (Door::OtlpHttp, "otlp_http"),
    (Door::OtlpGrpc, "otlp_grpc"),
    (Door::Import, "import"),
    (Door::Elasticsearch, "elasticsearch"),
    (Door::JsonLines, "jsonline"),
    (Door::Syslog, "syslog"),
    (Door::Fluent, "fluent"),
    (Door::Splunk, "splunk_hec"),
    (Door::Datadog, "datadog"),
    (Door::Gelf, "gelf"),
    (Door::Journald, "journald"),
    (Door::Zipkin, "zipkin"),
    (Door::Jaeger, "jaeger"),
    (Door::KubernetesAudit, "kubernetes_audit"),
    (Door::Pushgateway, "pushgateway"),
    (Door::Influx, "influx"),
    (Door::Statsd, "statsd"),
    (Door::Graphite, "graphite"),
];

#[derive(Debug, Default)]
struct DoorCounters {
    requests: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    lines_refused: AtomicU64,
    samples_lost: AtomicU64,
}

/// Counters of all ways in.
#[derive(Debug, Default)]
pub struct Counters {
    doors: [DoorCounters; 20],
    /// What is asked of API servers.
    pub(crate) kubernetes: Arc<obs_kubernetes::Counters>,
    /// Problems of the node.
    pub(crate) problems: crate::problems::Tally,
    scrapes: AtomicU64,
    scrapes_failed: AtomicU64,
    scrape_nanos: AtomicU64,
    scrape_buckets: [AtomicU64; SCRAPE_BOUNDS.len()],
    tailed_lines: AtomicU64,
    tailed_bytes: AtomicU64,
    tail_cut_lines: AtomicU64,
    tail_faults: AtomicU64,
    tail_restarts: AtomicU64,
    tail_files: AtomicU64,
    tail_dropped_lines: AtomicU64,
    tail_refused_lines: AtomicU64,
    tail_given_up_files: AtomicU64,
    tail_given_up_bytes: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

impl Counters {
    pub(crate) fn request(&self, door: Door, bytes: usize, refused: bool) {
        let counters = &self.doors[door as usize];
        add(&counters.requests, 1);
        add(&counters.bytes, bytes as u64);
        add(&counters.refused, u64::from(refused));
    }

    /// Lines that were not taken while their sender was told that all is well.
    pub(crate) fn lines_refused(&self, door: Door, lines: u64) {
        add(&self.doors[door as usize].lines_refused, lines);
    }

    /// Samples whose senders cannot be told that they were not taken.
    pub(crate) fn samples_lost(&self, door: Door, samples: u64) {
        add(&self.doors[door as usize].samples_lost, samples);
    }

    /// Lines of files and journals that were refused for good.
    pub(crate) fn tail_refused(&self, lines: u64) {
        add(&self.tail_refused_lines, lines);
    }

    pub(crate) fn scraped(&self, took: Duration, fault: &str) {
        add(&self.scrapes, 1);
        add(&self.scrapes_failed, u64::from(!fault.is_empty()));
        add(
            &self.scrape_nanos,
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        );
        let seconds = took.as_secs_f64();
        for (bound, bucket) in SCRAPE_BOUNDS.iter().zip(&self.scrape_buckets) {
            add(bucket, u64::from(seconds <= *bound));
        }
    }

    pub(crate) fn tailed(&self, lines: u64, bytes: u64, cut: u64) {
        add(&self.tailed_lines, lines);
        add(&self.tailed_bytes, bytes);
        add(&self.tail_cut_lines, cut);
    }

    /// Lines that the rules of the configuration drop.
    pub(crate) fn tail_dropped(&self, lines: u64) {
        add(&self.tail_dropped_lines, lines);
    }

    /// Rotated files that were too many to wait, and their bytes that nobody read.
    pub(crate) fn tail_given_up(&self, files: u64, bytes: u64) {
        add(&self.tail_given_up_files, files);
        add(&self.tail_given_up_bytes, bytes);
    }

    pub(crate) fn tail_fault(&self) {
        add(&self.tail_faults, 1);
    }

    /// Following ended and began again.
    pub(crate) fn tail_restart(&self) {
        add(&self.tail_restarts, 1);
    }

    pub(crate) fn tail_files(&self, files: usize) {
        self.tail_files.store(files as u64, Ordering::Relaxed);
    }

    /// Everything as families.
    pub fn families(&self, sink: &SinkStats) -> Vec<Family> {
        let mut out = self.door_families();
        out.extend(sink_families(sink));
        out.push(self.scrape_durations());
        let counter =
            |name, help, value| Family::new(name, MetricKind::Counter, help).with(read(value));
        out.push(counter(
            "obs_scrapes_failed_total",
            "Scrapes that failed.",
            &self.scrapes_failed,
        ));
        out.push(counter(
            "obs_tail_lines_total",
            "Lines read from files and stored.",
            &self.tailed_lines,
        ));
        out.push(counter(
            "obs_tail_bytes_total",
            "Bytes read from files and stored.",
            &self.tailed_bytes,
        ));
        out.push(counter(
            "obs_tail_cut_lines_total",
            "Lines from files that were longer than allowed and were cut.",
            &self.tail_cut_lines,
        ));
        out.push(counter(
            "obs_tail_faults_total",
            "Faults while following files.",
            &self.tail_faults,
        ));
        out.push(counter(
            "obs_tail_restarts_total",
            "How often following of files ended by a fault of its own and began again.",
            &self.tail_restarts,
        ));
        out.push(counter(
            "obs_tail_dropped_lines_total",
            "Lines from files that the configuration's rules dropped.",
            &self.tail_dropped_lines,
        ));
        out.push(counter(
            "obs_tail_refused_lines_total",
            "Lines from files and journals that were refused for good; they are lost.",
            &self.tail_refused_lines,
        ));
        out.push(counter(
            "obs_tail_lost_files_total",
            "Rotated files that were given up unread, because too many waited.",
            &self.tail_given_up_files,
        ));
        out.push(counter(
            "obs_tail_lost_bytes_total",
            "Bytes of the files that were given up that nobody read.",
            &self.tail_given_up_bytes,
        ));
        let files = Family::new(
            "obs_tail_files",
            MetricKind::Gauge,
            "Files that are followed.",
        );
        out.push(files.with(read(&self.tail_files)));
        out.extend(self.kubernetes.families());
        out.extend(self.problems.families());
        out
    }

    /// What is asked of API servers, counted.
    pub fn kubernetes(&self) -> Arc<obs_kubernetes::Counters> {
        Arc::clone(&self.kubernetes)
    }

    fn door_families(&self) -> Vec<Family> {
        let mut requests = Family::new(
            "obs_receive_requests_total",
            MetricKind::Counter,
            "Requests that brought data.",
        );
        let mut refused = Family::new(
            "obs_receive_refused_total",
            MetricKind::Counter,
            "Requests that were refused.",
        );
        let mut bytes = Family::new(
            "obs_receive_bytes_total",
            MetricKind::Counter,
            "Bytes of request bodies as they arrived.",
        );
        let mut lines = Family::new(
            "obs_receive_lines_refused_total",
            MetricKind::Counter,
            "Log lines that were not taken of requests and connections that were.",
        );
        let mut lost = Family::new(
            "obs_receive_samples_lost_total",
            MetricKind::Counter,
            "Samples that were not stored, and whose senders could not be told.",
        );
        for (door, name) in DOORS {
            if let Door::Statsd | Door::Graphite = door {
                let labels = Labels::from_pairs([("protocol", name)]);
                lost.push(labels, read(&self.doors[door as usize].samples_lost));
            }
            let labels = Labels::from_pairs([("protocol", name)]);
            let counters = &self.doors[door as usize];
            requests.push(labels.clone(), read(&counters.requests));
            refused.push(labels.clone(), read(&counters.refused));
            bytes.push(labels.clone(), read(&counters.bytes));
            lines.push(labels, read(&counters.lines_refused));
        }
        vec![requests, refused, bytes, lines, lost]
    }

    fn scrape_durations(&self) -> Family {
        let mut family = Family::new(
            "obs_scrape_duration_seconds",
            MetricKind::Histogram,
            "How long scrapes took.",
        );
        let mut push = |suffix, labels, value| {
            family.points.push(Point {
                suffix,
                labels,
                value,
            });
        };
        for (bound, bucket) in SCRAPE_BOUNDS.iter().zip(&self.scrape_buckets) {
            let le = bound.to_string();
            push(
                "_bucket",
                Labels::from_pairs([("le", le.as_str())]),
                read(bucket),
            );
        }
        push(
            "_bucket",
            Labels::from_pairs([("le", "+Inf")]),
            read(&self.scrapes),
        );
        push("_sum", Labels::empty(), read(&self.scrape_nanos) / 1e9);
        push("_count", Labels::empty(), read(&self.scrapes));
        family
    }
}

/// Name, type, help, and which count of a queue it shows.
type QueueFamily = (
    &'static str,
    MetricKind,
    &'static str,
    fn(&QueueStats) -> u64,
);

const QUEUE_FAMILIES: [QueueFamily; 7] = [
    (
        "obs_sink_queue_depth",
        MetricKind::Gauge,
        "Batches that wait for the writer.",
        |q| q.depth,
    ),
    (
        "obs_sink_queue_bound",
        MetricKind::Gauge,
        "Batches that may wait for the writer.",
        |q| q.bound,
    ),
    (
        "obs_sink_batches_total",
        MetricKind::Counter,
        "Batches stored.",
        |q| q.batches,
    ),
    (
        "obs_sink_items_total",
        MetricKind::Counter,
        "Samples, log records or spans stored.",
        |q| q.items,
    ),
    (
        "obs_sink_items_refused_total",
        MetricKind::Counter,
        "Samples, log records or spans that the store refused.",
        |q| q.items_refused,
    ),
    (
        "obs_sink_full_total",
        MetricKind::Counter,
        "Batches refused because the queue was full.",
        |q| q.full,
    ),
    (
        "obs_sink_failed_total",
        MetricKind::Counter,
        "Batches that failed for any other reason.",
        |q| q.failed,
    ),
];

fn sink_families(sink: &SinkStats) -> Vec<Family> {
    let queues = [
        ("metrics", &sink.metrics),
        ("logs", &sink.logs),
        ("spans", &sink.spans),
    ];
    let family = |(name, kind, help, get): QueueFamily| {
        let mut family = Family::new(name, kind, help);
        for (signal, queue) in queues {
            family.push(Labels::from_pairs([("signal", signal)]), get(queue) as f64);
        }
        family
    };
    QUEUE_FAMILIES.into_iter().map(family).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_out_under_their_names() {
        let counters = Counters::default();
        counters.request(Door::LokiPush, 10, true);
        counters.scraped(Duration::from_millis(20), "");
        counters.scraped(Duration::from_secs(3), "down");
        counters.tailed(5, 50, 1);
        let families = counters.families(&SinkStats::default());
        let value = |name: &str, label: &str| {
            let family = families.iter().find(|f| f.name == name).expect(name);
            let point = family.points.iter().find(|p| p.labels.to_string() == label);
            point.expect(label).value
        };
        assert_eq!(
            value("obs_receive_requests_total", r#"{protocol="loki_push"}"#),
            1.0
        );
        assert_eq!(
            value("obs_receive_refused_total", r#"{protocol="loki_push"}"#),
            1.0
        );
        assert_eq!(value("obs_scrape_duration_seconds", r#"{le="0.025"}"#), 1.0);
        assert_eq!(value("obs_scrape_duration_seconds", r#"{le="+Inf"}"#), 2.0);
        assert_eq!(value("obs_scrapes_failed_total", "{}"), 1.0);
        assert_eq!(value("obs_tail_lines_total", "{}"), 5.0);
        assert_eq!(value("obs_sink_queue_depth", r#"{signal="spans"}"#), 0.0);
    }
}
