//! Metrics that are derived from spans as they are taken in: calls and latencies by span name, and
//! who calls whom. It decides what is counted; whoever holds it says when it is, and stores it.
//!
//! Invariants: memory is bounded by [`Setting::series_max`], by the calls that may wait and by
//! [`TENANTS_MAX`]; the clock is an argument; what a tenant sends changes only that tenant's series.

mod histogram;
mod host_info;
mod pending;
mod repeated;
mod sampling;
mod series;
mod service_graph;
pub mod setting;
mod size;
mod span_metrics;
mod words;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use obs_model::metrics::{Metadata, MetricBatch, MetricKind};
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Span, SpanBatch, Tenant, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

pub use sampling::{Decided, Sampler, Sampling};
use series::Out;
pub use setting::Setting;
pub use size::span_bytes;
use span_metrics::Origin;
use words::Words;

/// The label of the series for everything beyond the bound of series, as Tempo.
const OVERFLOW: &str = "metric_overflow";
/// Most tenants of whose spans something is derived at one time.
pub const TENANTS_MAX: usize = 1024;

/// What was derived so far, for obs' own metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Spans that were counted.
    pub spans: u64,
    /// Spans that were not counted, because they ended too long ago or will end too late.
    pub outside_slack: u64,
    /// Spans that were not counted, because they came before.
    pub repeated: u64,
    /// Spans that were not counted, because there are [`TENANTS_MAX`] tenants already.
    pub over_tenants: u64,
    /// Spans and calls that went into the series for what is beyond the bound of series.
    pub overflow: u64,
    /// Calls of the service graph.
    pub edges: u64,
    /// Calls of which one side did not come in time.
    pub edges_expired: u64,
    /// Spans for which there was no room to wait for the other side.
    pub edges_dropped: u64,
    /// Sides of calls that wait now.
    pub edges_waiting: u64,
    /// Series that there are now.
    pub series: u64,
    /// Tenants that there are now.
    pub tenants: u64,
}

/// Series that a tenant may still have, and what happened.
#[derive(Debug, Default)]
pub(crate) struct Room {
    left: usize,
    max: usize,
    spans_over: u64,
    edges: u64,
    edges_expired: u64,
    edges_dropped: u64,
}

impl Room {
    fn new(max: usize) -> Self {
        Self {
            left: max,
            max,
            ..Self::default()
        }
    }

    fn take(&mut self, series: usize) -> bool {
        match self.left.checked_sub(series) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn give(&mut self, series: usize) {
        self.left = (self.left + series).min(self.max);
    }
}

/// Seconds from begin to end.
fn seconds(span: &Span) -> f64 {
    span.duration_nanos() as f64 / 1e9
}

#[derive(Debug)]
struct Of {
    room: Room,
    words: Words,
    span_metrics: span_metrics::Calls,
    service_graph: Option<service_graph::Calls>,
    hosts: host_info::Hosts,
    /// Metadata was stored.
    told: bool,
}

/// Counts spans, tenant by tenant.
#[derive(Debug)]
pub struct Deriver {
    setting: Setting,
    span_metrics: Option<span_metrics::Plan>,
    service_graph: Option<service_graph::Plan>,
    tenants: HashMap<Tenant, Of>,
    seen: repeated::Seen,
    /// The last collection, or the start.
    last: Timestamp,
    stats: Stats,
}

impl Deriver {
    /// One that begins at `now`.
    pub fn new(setting: Setting, now: Timestamp) -> Self {
        Self {
            span_metrics: setting.span_metrics.as_ref().map(span_metrics::Plan::new),
            service_graph: setting.service_graph.as_ref().map(service_graph::Plan::new),
            setting,
            tenants: HashMap::new(),
            seen: repeated::Seen::default(),
            last: now,
            stats: Stats::default(),
        }
    }

    /// Counts the spans of a batch that was taken in.
    pub fn observe(&mut self, tenant: &Tenant, batch: &SpanBatch, now: Timestamp) {
        if !self.tenants.contains_key(tenant) {
            if self.tenants.len() >= TENANTS_MAX {
                self.stats.over_tenants += batch.span_count() as u64;
                return;
            }
            let of = Of {
                room: Room::new(self.setting.series_max),
                words: Words::default(),
                span_metrics: span_metrics::Calls::default(),
                service_graph: self.service_graph.as_ref().map(service_graph::Calls::new),
                hosts: host_info::Hosts::default(),
                told: false,
            };
            self.tenants.insert(tenant.clone(), of);
        }
        let Some(of) = self.tenants.get_mut(tenant) else {
            return;
        };
        if let (Some(calls), Some(plan)) = (&mut of.service_graph, &self.service_graph) {
            calls.expire(plan, now, &mut of.room);
        }
        let seed = xxh3_64(tenant.as_str().as_bytes());
        for group in &batch.resources {
            let origin = Origin::new(&group.resource);
            if let Some(plan) = &self.span_metrics {
                of.span_metrics.target(plan, &origin, now, &mut of.room);
            }
            if let Some(setting) = &self.setting.host_info {
                of.hosts.see(setting, &group.resource, now, &mut of.room);
            }
            let service = (!origin.service().is_empty()).then(|| of.words.share(origin.service()));
            for span in group.scopes.iter().flat_map(|scope| &scope.spans) {
                if let Some(slack) = self.setting.slack_nanos
                    && (now - span.end).saturating_abs() > slack
                {
                    self.stats.outside_slack += 1;
                    continue;
                }
                let identity = repeated::identity(span, seed ^ origin.seed());
                if self.seen.again(identity) {
                    self.stats.repeated += 1;
                    continue;
                }
                self.stats.spans += 1;
                let rest = (&mut of.words, &mut of.room);
                if let Some(plan) = &self.span_metrics {
                    of.span_metrics.span(plan, (&origin, span), now, rest);
                }
                let graph = self.service_graph.as_ref().zip(of.service_graph.as_mut());
                if let (Some((plan, calls)), Some(service)) = (graph, &service) {
                    let side = service_graph::Side {
                        resource: &group.resource,
                        service,
                    };
                    let rest = (&mut of.words, &mut of.room);
                    calls.span(plan, (side, span), now, rest);
                }
            }
        }
    }

    /// The samples of all series at `now`, by tenant.
    pub fn collect(&mut self, now: Timestamp) -> Vec<(Tenant, MetricBatch)> {
        let interval = i64::try_from(self.setting.interval.as_nanos()).unwrap_or(i64::MAX);
        // After everything that was told before, so that it does not look like a reset of that.
        let zero = now.saturating_sub(interval).max(self.last);
        let zero = zero.saturating_add(NANOS_PER_MILLI);
        let zero = (zero.millis() < now.millis()).then_some(zero);
        let stale = now.saturating_sub(self.setting.stale_nanos);
        self.last = self.last.max(now);
        let mut all = Vec::new();
        let (mut series, mut waiting) = (0, 0);
        for (tenant, of) in &mut self.tenants {
            let mut out = Out {
                batch: MetricBatch::default(),
                now,
                zero,
            };
            if let Some(plan) = &self.span_metrics {
                of.span_metrics.collect(plan, stale, &mut of.room, &mut out);
            }
            of.hosts.collect(stale, &mut of.room, &mut out);
            if let (Some(calls), Some(plan)) = (&mut of.service_graph, &self.service_graph) {
                calls.expire(plan, now, &mut of.room);
                calls.collect(plan, stale, &mut of.room, &mut out);
                waiting += calls.waiting();
            }
            series += of.room.max - of.room.left;
            self.stats.overflow += std::mem::take(&mut of.room.spans_over);
            self.stats.edges += std::mem::take(&mut of.room.edges);
            self.stats.edges_expired += std::mem::take(&mut of.room.edges_expired);
            self.stats.edges_dropped += std::mem::take(&mut of.room.edges_dropped);
            if !std::mem::replace(&mut of.told, true) {
                out.batch.metadata = metadata();
            }
            if !out.batch.series.is_empty() {
                all.push((tenant.clone(), out.batch));
            }
        }
        self.tenants.retain(|_, of| {
            let graph = of.service_graph.as_ref();
            !(of.span_metrics.is_empty()
                && of.hosts.is_empty()
                && graph.is_none_or(service_graph::Calls::is_empty))
        });
        self.stats.series = series as u64;
        self.stats.edges_waiting = waiting as u64;
        self.stats.tenants = self.tenants.len() as u64;
        all
    }

    /// What happened until the last collection.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How often to collect.
    pub fn interval(&self) -> std::time::Duration {
        self.setting.interval
    }
}

/// What the metrics mean.
fn metadata() -> Vec<Metadata> {
    use MetricKind::{Counter, Gauge, Histogram};
    let all = [
        ("traces_spanmetrics_calls_total", Counter, "", "Spans."),
        (
            "traces_spanmetrics_latency",
            Histogram,
            "seconds",
            "Durations of spans in seconds.",
        ),
        (
            "traces_spanmetrics_size_total",
            Counter,
            "bytes",
            "Bytes of spans as OTLP.",
        ),
        ("traces_target_info", Gauge, "", "Attributes of a resource."),
        (
            "traces_service_graph_request_total",
            Counter,
            "",
            "Calls from client to server.",
        ),
        (
            "traces_service_graph_request_failed_total",
            Counter,
            "",
            "Calls of which a side failed.",
        ),
        (
            "traces_service_graph_request_server_seconds",
            Histogram,
            "seconds",
            "Durations of calls as the server saw them.",
        ),
        (
            "traces_service_graph_request_client_seconds",
            Histogram,
            "seconds",
            "Durations of calls as the client saw them.",
        ),
        (
            "traces_service_graph_unpaired_spans_total",
            Counter,
            "",
            "Sides of calls of which the other side did not come.",
        ),
        (
            "traces_service_graph_dropped_spans_total",
            Counter,
            "",
            "Sides of calls for which there was no room.",
        ),
    ];
    all.map(|(family, kind, unit, help)| Metadata {
        family: family.to_owned(),
        kind,
        unit: unit.to_owned(),
        help: help.to_owned(),
    })
    .to_vec()
}
