//! `obs.traces`: ways in beside OTLP, and what is derived from spans as they come in, in the words
//! of Tempo's metrics generator.
//!
//! Invariant: what is read here is complete and can be counted with: bounds of buckets ascend,
//! nothing is zero that must not be.

use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;

use super::receivers::{JaegerConfig, ZipkinConfig};
use super::values::{Size, Span, checked_map, from_text};
use crate::derive::Sampling;
use crate::derive::setting::{Histograms, HostInfo, Intrinsic, ServiceGraph, Setting, SpanMetrics};

/// Most classic buckets of one histogram.
const BUCKETS_MAX: usize = 100;
/// Most attributes that become labels.
const DIMENSIONS_MAX: usize = 64;

/// The section, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TracesConfig {
    /// Jaeger's protocols.
    pub jaeger: JaegerConfig,
    /// Zipkin's port.
    pub zipkin: Option<ZipkinConfig>,
    /// Pages of which browsers may send OTLP over HTTP, by origin; `*` is all.
    pub cors_allowed_origins: Vec<String>,
    derived: Setting,
    sampling: Option<Sampling>,
}

impl TracesConfig {
    /// What is derived; nothing where both parts are off.
    pub fn derived(&self) -> Option<Setting> {
        let all = &self.derived;
        let some =
            all.span_metrics.is_some() || all.service_graph.is_some() || all.host_info.is_some();
        some.then(|| self.derived.clone())
    }

    /// Which traces are kept; all where there is none.
    pub fn sampling(&self) -> Option<Sampling> {
        self.sampling.clone()
    }
}

impl<'de> Deserialize<'de> for TracesConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked_map(deserializer, |raw: Raw| raw.check())
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    jaeger: JaegerConfig,
    zipkin: Option<ZipkinConfig>,
    cors_allowed_origins: Vec<String>,
    collection_interval: Option<Span>,
    ingestion_slack: Option<Span>,
    stale_duration: Option<Span>,
    max_active_series: Option<usize>,
    span_metrics: RawSpanMetrics,
    service_graph: RawServiceGraph,
    host_info: RawHostInfo,
    sampling: Option<RawSampling>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSpanMetrics {
    enabled: bool,
    histogram_buckets: Option<Vec<f64>>,
    histograms: Forms,
    dimensions: Vec<String>,
    intrinsic_dimensions: RawIntrinsic,
    instance_labels: bool,
    target_info: bool,
}

impl Default for RawSpanMetrics {
    fn default() -> Self {
        let own = SpanMetrics::default();
        Self {
            enabled: true,
            histogram_buckets: None,
            histograms: Forms::default(),
            dimensions: own.dimensions,
            intrinsic_dimensions: RawIntrinsic::default(),
            instance_labels: own.instance_labels,
            target_info: own.target_info,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawIntrinsic {
    service: bool,
    span_name: bool,
    span_kind: bool,
    status_code: bool,
    status_message: bool,
}

impl Default for RawIntrinsic {
    fn default() -> Self {
        let own = SpanMetrics::default().intrinsic;
        Self {
            service: own.service,
            span_name: own.span_name,
            span_kind: own.span_kind,
            status_code: own.status_code,
            status_message: own.status_message,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawServiceGraph {
    enabled: bool,
    histogram_buckets: Option<Vec<f64>>,
    histograms: Forms,
    wait: Option<Span>,
    max_items: usize,
    dimensions: Vec<String>,
    enable_client_server_prefix: bool,
    enable_virtual_node_label: bool,
    enable_messaging_system_latency_histogram: bool,
    enable_connection_info: bool,
    peer_attributes: Vec<String>,
}

impl Default for RawServiceGraph {
    fn default() -> Self {
        let own = ServiceGraph::default();
        Self {
            enabled: true,
            histogram_buckets: None,
            histograms: Forms::default(),
            wait: None,
            max_items: own.max_items,
            dimensions: own.dimensions,
            enable_client_server_prefix: own.client_server_prefix,
            enable_virtual_node_label: own.virtual_node_label,
            enable_messaging_system_latency_histogram: own.messaging_latency,
            enable_connection_info: own.connection_info,
            peer_attributes: own.peer_attributes,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawHostInfo {
    enabled: bool,
    host_identifiers: Option<Vec<String>>,
    metric_name: Option<String>,
}

impl RawHostInfo {
    fn check(self) -> Result<Option<HostInfo>, String> {
        let own = HostInfo::default();
        let checked = HostInfo {
            identifiers: dimensions(self.host_identifiers.unwrap_or(own.identifiers))?,
            metric: self.metric_name.unwrap_or(own.metric),
        };
        if checked.metric.is_empty() {
            return Err("metric_name: expected a name".to_owned());
        }
        Ok(self.enabled.then_some(checked))
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawSampling {
    decision_wait: Option<Span>,
    ratio: Option<f64>,
    errors: Option<bool>,
    latency: Option<Span>,
    rare_per_minute: Option<u32>,
    max_traces: Option<usize>,
    max_size: Option<Size>,
}

impl RawSampling {
    fn check(self) -> Result<Sampling, String> {
        let own = Sampling::default();
        let ratio = self.ratio.unwrap_or(own.ratio);
        if !(0.0..=1.0).contains(&ratio) {
            return Err(format!("ratio: expected 0 to 1, found {ratio}"));
        }
        let wait = positive("decision_wait", self.decision_wait)?;
        Ok(Sampling {
            wait_nanos: wait.map_or(own.wait_nanos, nanos),
            ratio,
            errors: self.errors.unwrap_or(own.errors),
            slow_nanos: positive("latency", self.latency)?.map(nanos),
            rare_per_minute: self.rare_per_minute.unwrap_or(own.rare_per_minute),
            traces_max: self.max_traces.unwrap_or(own.traces_max),
            bytes_max: self.max_size.map_or(own.bytes_max, |size| size.0),
        })
    }
}

#[derive(Default)]
struct Forms(Histograms);

impl<'de> Deserialize<'de> for Forms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "both, classic or native", |text| {
            Ok(Self(match text {
                "both" => Histograms::Both,
                "classic" => Histograms::Classic,
                "native" => Histograms::Native,
                _ => {
                    return Err(format!(
                        "unknown form of histograms {text:?}, expected both, classic or native"
                    ));
                }
            }))
        })
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// A duration above zero, where one is given.
fn positive(name: &str, span: Option<Span>) -> Result<Option<Duration>, String> {
    match span {
        Some(Span(Duration::ZERO)) => Err(format!("{name} must be above zero")),
        span => Ok(span.map(|s| s.0)),
    }
}

fn buckets(given: Option<Vec<f64>>, own: Vec<f64>) -> Result<Vec<f64>, String> {
    let buckets = given.unwrap_or(own);
    let ascend = buckets.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascend || buckets.iter().any(|bound| !bound.is_finite()) {
        return Err("histogram_buckets must be finite and ascend".to_owned());
    }
    if buckets.len() > BUCKETS_MAX {
        return Err(format!("histogram_buckets: at most {BUCKETS_MAX}"));
    }
    Ok(buckets)
}

fn dimensions(names: Vec<String>) -> Result<Vec<String>, String> {
    if names.iter().any(String::is_empty) {
        return Err("an empty name among dimensions or peer_attributes".to_owned());
    }
    if names.len() > DIMENSIONS_MAX {
        return Err(format!("at most {DIMENSIONS_MAX} dimensions"));
    }
    Ok(names)
}

impl RawSpanMetrics {
    fn check(self) -> Result<Option<SpanMetrics>, String> {
        let own = SpanMetrics::default();
        let intrinsic = self.intrinsic_dimensions;
        let checked = SpanMetrics {
            buckets: buckets(self.histogram_buckets, own.buckets)?,
            histograms: self.histograms.0,
            dimensions: dimensions(self.dimensions)?,
            intrinsic: Intrinsic {
                service: intrinsic.service,
                span_name: intrinsic.span_name,
                span_kind: intrinsic.span_kind,
                status_code: intrinsic.status_code,
                status_message: intrinsic.status_message,
            },
            instance_labels: self.instance_labels,
            target_info: self.target_info,
        };
        Ok(self.enabled.then_some(checked))
    }
}

impl RawServiceGraph {
    fn check(self) -> Result<Option<ServiceGraph>, String> {
        let own = ServiceGraph::default();
        if self.max_items == 0 {
            return Err("max_items must be above zero".to_owned());
        }
        let checked = ServiceGraph {
            buckets: buckets(self.histogram_buckets, own.buckets)?,
            histograms: self.histograms.0,
            wait_nanos: positive("wait", self.wait)?.map_or(own.wait_nanos, nanos),
            max_items: self.max_items,
            dimensions: dimensions(self.dimensions)?,
            client_server_prefix: self.enable_client_server_prefix,
            virtual_node_label: self.enable_virtual_node_label,
            messaging_latency: self.enable_messaging_system_latency_histogram,
            connection_info: self.enable_connection_info,
            peer_attributes: dimensions(self.peer_attributes)?,
        };
        Ok(self.enabled.then_some(checked))
    }
}

impl Raw {
    fn check(self) -> Result<TracesConfig, String> {
        let own = Setting::default();
        let part = |name: &'static str| move |fault| format!("{name}: {fault}");
        let stale = positive("stale_duration", self.stale_duration)?;
        let derived = Setting {
            interval: positive("collection_interval", self.collection_interval)?
                .unwrap_or(own.interval),
            slack_nanos: self
                .ingestion_slack
                .map(|slack| nanos(slack.0))
                .filter(|slack| *slack > 0),
            stale_nanos: stale.map_or(own.stale_nanos, nanos),
            series_max: self.max_active_series.unwrap_or(own.series_max),
            span_metrics: self.span_metrics.check().map_err(part("span_metrics"))?,
            service_graph: self.service_graph.check().map_err(part("service_graph"))?,
            host_info: self.host_info.check().map_err(part("host_info"))?,
        };
        let sampling = self.sampling.map(RawSampling::check).transpose();
        Ok(TracesConfig {
            jaeger: self.jaeger,
            zipkin: self.zipkin,
            cors_allowed_origins: self.cors_allowed_origins,
            derived,
            sampling: sampling.map_err(part("sampling"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section() {
        let read = |yaml: &str| serde_yaml_ng::from_str::<TracesConfig>(yaml);
        assert_eq!(read("{}").unwrap(), TracesConfig::default());
        let off = "{span_metrics: {enabled: false}, service_graph: {enabled: false}}";
        assert_eq!(read(off).unwrap().derived(), None);
        let some = "{collection_interval: 5s, max_active_series: 7, ingestion_slack: 30s, \
                    span_metrics: {histogram_buckets: [1, 2.5], histograms: classic, \
                    intrinsic_dimensions: {span_kind: false}}, \
                    service_graph: {wait: 1s, max_items: 3, dimensions: [a]}}";
        let some = read(some).unwrap().derived().unwrap();
        assert_eq!((some.interval.as_secs(), some.series_max), (5, 7));
        assert_eq!(some.slack_nanos, Some(30_000_000_000));
        let metrics = some.span_metrics.unwrap();
        assert_eq!(metrics.buckets, [1.0, 2.5]);
        assert_eq!(metrics.histograms, Histograms::Classic);
        assert!(metrics.intrinsic.span_name && !metrics.intrinsic.span_kind);
        let graph = some.service_graph.unwrap();
        assert_eq!((graph.wait_nanos, graph.max_items), (1_000_000_000, 3));
        let hosts = format!("{{host_info: {{enabled: true}}, {}", &off[1..]);
        let hosts = read(&hosts).unwrap().derived().unwrap();
        assert_eq!(hosts.host_info, Some(HostInfo::default()));
        assert_eq!(read("{}").unwrap().sampling(), None);
        let sampling = read("{sampling: {ratio: 0.5, latency: 1s, max_size: 1MiB}}");
        let sampling = sampling.unwrap().sampling().unwrap();
        assert_eq!((sampling.ratio, sampling.bytes_max), (0.5, 1 << 20));
        assert_eq!(sampling.slow_nanos, Some(1_000_000_000));
        for (yaml, expect) in [
            ("{collection_interval: 0}", "must be above zero"),
            (
                "{span_metrics: {histogram_buckets: [2, 1]}}",
                "span_metrics: histogram_buckets",
            ),
            ("{span_metrics: {histograms: x}}", "both, classic or native"),
            ("{service_graph: {max_items: 0}}", "max_items"),
            ("{service_graph: {peer_attributes: ['']}}", "empty name"),
            ("{spanmetrics: {}}", "unknown field"),
            ("{host_info: {metric_name: ''}}", "host_info: metric_name"),
            ("{sampling: {ratio: 2}}", "sampling: ratio: expected 0 to 1"),
        ] {
            let fault = read(yaml).unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        }
    }
}
