//! What is derived from spans, and within which bounds. The names and defaults are those of
//! Tempo's metrics generator.

use std::time::Duration;

use obs_model::time::NANOS_PER_SECOND;

/// What is derived of the spans of every tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// How often what was derived is stored.
    pub interval: Duration,
    /// Spans that ended longer ago, or will end later, are not counted; `None` counts all.
    pub slack_nanos: Option<i64>,
    /// Series that nothing is added to for so long end.
    pub stale_nanos: i64,
    /// Most series of one tenant; what is beyond goes into one series with
    /// `metric_overflow="true"`.
    pub series_max: usize,
    /// Calls, latencies and sizes by service and span name.
    pub span_metrics: Option<SpanMetrics>,
    /// Who calls whom.
    pub service_graph: Option<ServiceGraph>,
    /// Which machines send spans.
    pub host_info: Option<HostInfo>,
}

/// The forms in which latencies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// `_bucket`, `_sum` and `_count`, and a native histogram under the name itself.
    #[default]
    Both,
    /// Only the former.
    Classic,
    /// Only the latter.
    Native,
}

/// How `traces_spanmetrics_*` is made.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanMetrics {
    /// Upper bounds of latencies in seconds, ascending.
    pub buckets: Vec<f64>,
    /// The forms of latencies.
    pub histograms: Histograms,
    /// Attributes of resource or span that become labels.
    pub dimensions: Vec<String>,
    /// Which of a span's own fields become labels.
    pub intrinsic: Intrinsic,
    /// Whether `job` and `instance` become labels.
    pub instance_labels: bool,
    /// Whether resources are told as `traces_target_info`.
    pub target_info: bool,
}

/// Fields of a span that can be labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intrinsic {
    /// `service`
    pub service: bool,
    /// `span_name`
    pub span_name: bool,
    /// `span_kind`
    pub span_kind: bool,
    /// `status_code`
    pub status_code: bool,
    /// `status_message`
    pub status_message: bool,
}

/// How `traces_service_graph_*` is made.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceGraph {
    /// Upper bounds of latencies in seconds, ascending.
    pub buckets: Vec<f64>,
    /// The forms of latencies.
    pub histograms: Histograms,
    /// How long one side of a call waits for the other.
    pub wait_nanos: i64,
    /// Most sides that wait; further ones are dropped and counted.
    pub max_items: usize,
    /// Attributes of resource or span that become labels.
    pub dimensions: Vec<String>,
    /// Whether each dimension becomes two labels, `client_…` and `server_…`.
    pub client_server_prefix: bool,
    /// Whether the label `virtual_node` says which side was made up.
    pub virtual_node_label: bool,
    /// Whether the time between producer and consumer is measured.
    pub messaging_latency: bool,
    /// Whether `traces_service_graph_connection_info` is made.
    pub connection_info: bool,
    /// Attributes that name the other side where it sends no spans, best first.
    pub peer_attributes: Vec<String>,
}

/// How `traces_host_info` is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Attributes of resources that name the machine, best first.
    pub identifiers: Vec<String>,
    /// The name of the metric.
    pub metric: String,
}

impl Default for HostInfo {
    fn default() -> Self {
        Self {
            identifiers: ["k8s.node.name", "host.id"].map(str::to_owned).to_vec(),
            metric: "traces_host_info".to_owned(),
        }
    }
}

/// `count` bounds from `start`, each twice the one before.
fn doubling(start: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound * 2.0))
        .take(count)
        .collect()
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            slack_nanos: None,
            stale_nanos: 900 * NANOS_PER_SECOND,
            series_max: 100_000,
            span_metrics: Some(SpanMetrics::default()),
            service_graph: Some(ServiceGraph::default()),
            host_info: None,
        }
    }
}

impl Default for SpanMetrics {
    fn default() -> Self {
        Self {
            buckets: doubling(0.002, 14),
            histograms: Histograms::Both,
            dimensions: Vec::new(),
            intrinsic: Intrinsic {
                service: true,
                span_name: true,
                span_kind: true,
                status_code: true,
                status_message: false,
            },
            instance_labels: false,
            target_info: true,
        }
    }
}

impl Default for ServiceGraph {
    fn default() -> Self {
        Self {
            buckets: doubling(0.1, 8),
            histograms: Histograms::Both,
            wait_nanos: 10 * NANOS_PER_SECOND,
            max_items: 10_000,
            dimensions: Vec::new(),
            client_server_prefix: false,
            virtual_node_label: false,
            messaging_latency: false,
            connection_info: false,
            // Tempo's, and the one that clients of HTTP have by today's conventions.
            peer_attributes: [
                "peer.service",
                "db.name",
                "db.system",
                "db.system.name",
                "server.address",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }
}
