//! The parts of the configuration file that say what is collected: Prometheus' `global` and
//! `scrape_configs`, and `obs.collector`.
//!
//! Invariants: every key of Prometheus is known; one that is not served yet is an error that
//! names it, never silently ignored. A [`Job`] that exists obeys all of Prometheus' rules.
//! Errors carry line and column.

mod alerting;
pub(crate) mod client;
pub mod clouds;
mod cluster;
mod destinations;
mod discoveries;
mod error;
mod kube_state;
mod kubernetes;
mod legacy;
mod logs;
pub mod more_clouds;
mod otlp;
mod outgoing;
mod problems;
mod receivers;
mod redaction;
mod relabeling;
mod remote_write;
mod scrape;
mod traces;
mod values;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use alerting::{Alerting, AlertingConfig, AlertmanagerSet, alerting};
#[cfg(test)]
pub(crate) use client::client_config;
pub use client::{Auth, ClientConfig, Credential, HeaderValues, Oauth2, TlsConfig, TlsVersion};
pub use cluster::{EventsConfig, KubernetesConfig, MonitorsConfig, WatchedPodsConfig};
pub use destinations::{Destination, DestinationConfig, Ship, ShipKind};
pub use discoveries::{
    ConsulSettings, DnsSettings, DockerSettings, HttpSettings, NomadSettings, RecordType,
};
pub use error::ConfigError;
pub use kube_state::KubeStateConfig;
pub use legacy::{GraphiteConfig, PushgatewayConfig, StatsdConfig};
pub use logs::{
    DropConfig, FileFormat, FilesConfig, JournaldConfig, Language, LogsConfig, MultilineConfig,
    ParserConfig, ParserKind, PodRule, PodsConfig,
};
pub use otlp::OtlpConfig;
pub use outgoing::OutgoingConfig;
pub use problems::NodeProblemsConfig;
pub use receivers::{
    FluentConfig, GelfConfig, JaegerConfig, SplunkConfig, SyslogConfig, TlsListenConfig,
    TokenConfig, ZipkinConfig, Zone,
};
pub(crate) use redaction::compile as compile_rule;
pub use redaction::{DETECTORS, RedactionConfig, RedactionRule};
pub use relabeling::RelabelConfig;
pub use remote_write::{
    MetadataSending, QueueSettings, RemoteWrite, RemoteWriteConfig, WriteMessage,
};
pub use scrape::ScrapeConfig;
pub use traces::TracesConfig;
pub use values::{Secret, Size, Span, Unsupported, parse_duration};

use crate::probe::ProbesConfig;
use crate::relabel::Rule;

/// Prometheus' default of `scrape_interval` and `evaluation_interval`.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// Prometheus' default of `scrape_timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Prometheus' default of `refresh_interval` in `file_sd_configs`.
const DEFAULT_REFRESH: Duration = Duration::from_secs(300);

/// `global`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlobalConfig {
    /// How often targets are scraped; 1m.
    pub scrape_interval: Option<Span>,
    /// How long a scrape may take; 10s, or the interval where that is shorter.
    pub scrape_timeout: Option<Span>,
    /// How often rules are evaluated; 1m.
    pub evaluation_interval: Option<Span>,
    /// How far in the past rules are evaluated.
    pub rule_query_offset: Option<Span>,
    /// Formats asked for, in order of preference.
    pub scrape_protocols: Option<Vec<Protocol>>,
    /// Labels added when data leaves this server.
    pub external_labels: BTreeMap<String, String>,
    /// Not served.
    pub query_log_file: Unsupported,
    /// Where failed scrapes are told, where the job does not say.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// Default of the scrape configurations' key of the same name; so are all that follow.
    pub body_size_limit: Option<Size>,
    /// Most samples of one scrape.
    pub sample_limit: Option<u64>,
    /// Most labels of one sample.
    pub label_limit: Option<u64>,
    /// Longest label name.
    pub label_name_length_limit: Option<u64>,
    /// Longest label value.
    pub label_value_length_limit: Option<u64>,
    /// Most targets of one job.
    pub target_limit: Option<u64>,
    /// Most dropped targets of one job that are remembered.
    pub keep_dropped_targets: Option<u64>,
    /// Which metric names are valid.
    pub metric_name_validation_scheme: Option<NameValidation>,
    /// Which names are asked for.
    pub metric_name_escaping_scheme: Option<NameEscaping>,
    /// Whether native histograms are taken.
    pub scrape_native_histograms: Option<bool>,
    /// Whether classic histograms become native ones with their bounds.
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    /// Whether classic histograms are taken even where there is a native one.
    pub always_scrape_classic_histograms: Option<bool>,
    /// Whether `scrape_timeout_seconds` and others are written.
    pub extra_scrape_metrics: Option<bool>,
}

/// A format of exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// Protobuf, which alone has native histograms.
    PrometheusProto,
    /// OpenMetrics 1.0.0.
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetrics1,
    /// OpenMetrics 0.0.1.
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetrics0,
    /// Prometheus text 1.0.0.
    #[serde(rename = "PrometheusText1.0.0")]
    Text1,
    /// Prometheus text 0.0.4.
    #[serde(rename = "PrometheusText0.0.4")]
    Text0,
}

/// `metric_name_validation_scheme`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameValidation {
    /// Any UTF-8.
    #[default]
    Utf8,
    /// The old alphabet only; other names fail the scrape.
    Legacy,
}

/// `metric_name_escaping_scheme`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameEscaping {
    /// None.
    #[default]
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    /// `_`
    Underscores,
    /// `_dot_`
    Dots,
    /// `U__`
    Values,
}

/// One entry of `static_configs`, and of files of `file_sd_configs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetGroup {
    /// Addresses.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, String>,
}

/// Where a job's targets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// `static_configs`.
    Static(Vec<TargetGroup>),
    /// One entry of `file_sd_configs`.
    Files {
        /// Paths; the last element may be a pattern.
        files: Vec<PathBuf>,
        /// How often they are read again.
        refresh: Duration,
    },
    /// One entry of `http_sd_configs`.
    Http(Box<HttpSettings>),
    /// One entry of `dns_sd_configs`.
    Dns(DnsSettings),
    /// One entry of `consul_sd_configs`.
    Consul(Box<ConsulSettings>),
    /// One entry of `docker_sd_configs`.
    Docker(Box<DockerSettings>),
    /// One entry of `nomad_sd_configs`.
    Nomad(Box<NomadSettings>),
    /// One entry of another discovery that asks an API for everything.
    Polled(Box<clouds::PolledSettings>),
    /// One entry of `kubernetes_sd_configs`.
    Kubernetes(Box<obs_kubernetes::discovery::Config>),
}

/// Bounds of one scrape; zero means no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// Bytes of the decompressed body.
    pub body_bytes: u64,
    /// Samples after relabelling.
    pub samples: u64,
    /// Labels of one sample.
    pub labels: u64,
    /// Bytes of one label name.
    pub label_name_bytes: u64,
    /// Bytes of one label value.
    pub label_value_bytes: u64,
}

/// What is made of histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HistogramSettings {
    /// Whether native ones are taken.
    pub native: bool,
    /// Whether classic ones are taken even where there is a native one.
    pub classic: bool,
    /// Whether classic ones become native ones with their bounds.
    pub convert: bool,
    /// Most buckets of a native one; those with more lose resolution. Zero means no bound.
    pub bucket_limit: u64,
    /// Least factor from one bucket to the next; zero means any.
    pub min_bucket_factor: f64,
}

/// One scrape configuration with all defaults applied and all rules checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// `job_name`, unique.
    pub name: String,
    /// How often; at least the timeout.
    pub interval: Duration,
    /// How long.
    pub timeout: Duration,
    /// Formats asked for.
    pub protocols: Vec<Protocol>,
    /// Format of answers that do not name theirs.
    pub fallback: Option<Protocol>,
    /// `http` or `https`.
    pub scheme: String,
    /// Path.
    pub metrics_path: String,
    /// Query parameters.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether labels of the target win over those of the job.
    pub honor_labels: bool,
    /// Whether times of the target are taken.
    pub honor_timestamps: bool,
    /// Whether series with their own times get staleness markers.
    pub track_timestamps_staleness: bool,
    /// Whether gzip is asked for.
    pub compression: bool,
    /// Bounds.
    pub limits: ScrapeLimits,
    /// What is made of histograms.
    pub histograms: HistogramSettings,
    /// Where failed scrapes are told.
    pub failure_log: Option<PathBuf>,
    /// Most targets; zero means no bound.
    pub target_limit: u64,
    /// Most dropped targets remembered; zero means no bound of the user's own.
    pub keep_dropped_targets: u64,
    /// Valid names.
    pub validation: NameValidation,
    /// Names asked for.
    pub escaping: NameEscaping,
    /// Whether more `scrape_*` series are written.
    pub extra_metrics: bool,
    /// Rules for targets.
    pub relabel: Vec<Rule>,
    /// Rules for samples.
    pub metric_relabel: Vec<Rule>,
    /// Sources of targets.
    pub discovery: Vec<Discovery>,
    /// How targets are reached.
    pub client: ClientConfig,
}

/// `obs.collector`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectorConfig {
    /// What waits to be forwarded.
    pub buffer: BufferConfig,
    /// Logs of this machine.
    pub logs: LogsConfig,
    /// Which secrets are taken out; nothing is where it is absent.
    pub redaction: Option<RedactionConfig>,
    /// Where everything goes, besides `remote_write`.
    pub destinations: Vec<DestinationConfig>,
    /// Groups of metrics that batch jobs push.
    pub pushgateway: PushgatewayConfig,
    /// StatsD's and DogStatsD's lines.
    pub statsd: StatsdConfig,
    /// Graphite's lines.
    pub graphite: GraphiteConfig,
    /// Probes of other services; without it there is no page for them.
    pub probes: Option<ProbesConfig>,
    /// Problems of the node; nothing is looked for where it is absent.
    pub node_problems: Option<NodeProblemsConfig>,
    /// Which addresses are not dialled where others say where to connect to.
    pub outgoing: OutgoingConfig,
}

/// `obs.collector.buffer`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BufferConfig {
    /// Where it is; `forward` in the data directory.
    pub path: Option<PathBuf>,
    /// Bytes of each queue: of each signal of each destination; 1GiB.
    pub max_size: Option<Size>,
    /// What happens when there would be more.
    pub when_full: WhenFull,
}

/// What happens when a queue of what is forwarded is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Senders are told to come again; scrapes are stored, but not forwarded, and counted.
    #[default]
    Refuse,
    /// The oldest data goes and is counted.
    DropOldest,
}

/// What every scrape configuration does without one of its own: defaults, checks, unique names.
///
/// `text` is the whole file, for the lines of errors; `folder` is what relative paths start from.
pub fn jobs(
    global: &GlobalConfig,
    configs: Vec<ScrapeConfig>,
    text: &str,
    folder: &Path,
) -> Result<Vec<Job>, ConfigError> {
    check_global(global).map_err(|message| ConfigError::near_key(text, "global", message))?;
    let mut names = HashSet::new();
    let mut jobs = Vec::with_capacity(configs.len());
    for (index, config) in configs.into_iter().enumerate() {
        let name = config.job_name().to_owned();
        let fault = |message: String| {
            let message = format!("scrape_configs[{index}] (job_name {name:?}): {message}");
            ConfigError::near_job(text, index, message)
        };
        if !names.insert(name.clone()) {
            return Err(fault(
                "found multiple scrape configs with this job name".to_owned(),
            ));
        }
        jobs.push(config.into_job(global, folder).map_err(fault)?);
    }
    Ok(jobs)
}

/// What every entry of `remote_write` does: defaults, checks, unique names.
pub fn remote_writes(
    configs: Vec<RemoteWriteConfig>,
    text: &str,
    folder: &Path,
) -> Result<Vec<RemoteWrite>, ConfigError> {
    let mut names = HashSet::new();
    let mut all = Vec::with_capacity(configs.len());
    for (index, config) in configs.into_iter().enumerate() {
        let fault = |message: String| {
            let message = format!("remote_write[{index}]: {message}");
            ConfigError::near_key(text, "remote_write", message)
        };
        let write = config.check(folder).map_err(fault)?;
        if !names.insert(write.name.clone()) {
            return Err(fault(format!("the name {:?} is used twice", write.name)));
        }
        all.push(write);
    }
    Ok(all)
}

fn check_global(global: &GlobalConfig) -> Result<(), String> {
    let interval = global.scrape_interval.map_or(DEFAULT_INTERVAL, |s| s.0);
    if let Some(timeout) = global.scrape_timeout
        && timeout.0 > interval
    {
        return Err("global scrape timeout greater than scrape interval".to_owned());
    }
    if let Some(protocols) = &global.scrape_protocols {
        check_protocols(protocols)?;
    }
    match global.external_labels.keys().find(|name| name.is_empty()) {
        Some(_) => Err("external_labels has an empty label name".to_owned()),
        None => Ok(()),
    }
}

fn check_protocols(protocols: &[Protocol]) -> Result<(), String> {
    if protocols.is_empty() {
        return Err("scrape_protocols cannot be empty".to_owned());
    }
    for (index, protocol) in protocols.iter().enumerate() {
        if protocols[..index].contains(protocol) {
            return Err(format!("scrape_protocols has {protocol:?} twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
