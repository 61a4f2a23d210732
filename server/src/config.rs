//! The configuration file: Prometheus' own keys at the top and obs' under `obs:`.
//!
//! Invariants: a key that nobody knows is an error with line and column; a key of Prometheus that
//! this version does not act on yet is a notice, so that an existing file works unchanged and
//! nobody believes that rules are evaluated when they are not.

mod auth;
mod bundled;
mod cost;
mod kubernetes;
#[cfg(test)]
mod limits_page;
mod node_exporter;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use obs_collector::config::{
    Alerting, AlertingConfig, CollectorConfig, ConfigError, Destination, FluentConfig, GelfConfig,
    GlobalConfig, Job, KubernetesConfig, OtlpConfig, RemoteWriteConfig, ScrapeConfig, SplunkConfig,
    SyslogConfig, TracesConfig,
};
use obs_logstore::EnrichOptions;
use obs_model::limits::Limits;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, Matcher, duration};
use obs_storage::{RetentionRule, Tier};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_yaml_ng::Value;

pub use crate::resource_metrics::ResourceMetricsConfig;
pub use auth::{
    Algorithm, AuthConfig, CertificateName, CertificateNames, ClientAuth, GrantConfig,
    LockoutConfig, OidcConfig, Role, TlsServerConfig, TlsVersion, TokenConfig, TokenReviewConfig,
    UserConfig,
};
pub use bundled::BundledConfig;
pub use cost::{CostConfig, PriceChange};
pub(crate) use kubernetes::state_settings;
pub use node_exporter::NodeExporterConfig;

/// The job of the state of objects, as the mixins and their alerts call it.
pub(crate) const KUBE_STATE_JOB: &str = "kube-state-metrics";

/// Largest page of the state of objects that is read: that of ten times the pods that were tried.
const STATE_BYTES_MAX: &str = "4GiB";

/// How long data is kept without a word about it; as Prometheus.
pub(crate) const RETENTION_DEFAULT: i64 = 15 * obs_model::time::NANOS_PER_DAY;

/// A configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Defaults of scrape jobs.
    pub global: GlobalConfig,
    /// What is scraped.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// obs' own settings.
    pub obs: ObsConfig,
    runtime: Option<Value>,
    /// Files of rules.
    pub rule_files: Vec<PathBuf>,
    /// More files of scrape configurations; the last element of a path may be a pattern.
    pub scrape_config_files: Vec<PathBuf>,
    /// Whom alerts are told elsewhere.
    pub alerting: AlertingConfig,
    /// Where samples are forwarded.
    pub remote_write: Vec<RemoteWriteConfig>,
    remote_read: Option<Value>,
    /// How OTLP metrics become series.
    pub otlp: OtlpConfig,
    storage: Option<Value>,
    tracing: Option<Value>,
}

/// The map `obs:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObsConfig {
    /// Intake of logs.
    pub logs: LogsConfig,
    /// Ways in for traces beside OTLP, and what is derived from spans.
    pub traces: TracesConfig,
    /// What is kept, and how.
    pub storage: StorageConfig,
    /// The table of limits.
    pub limits: LimitsConfig,
    /// Ways in besides scraping.
    pub collector: CollectorConfig,
    /// The cluster that this belongs to.
    pub kubernetes: KubernetesConfig,
    /// What the UI draws beside what comes with the binary.
    pub dashboards: DashboardsConfig,
    /// The built-in node exporter.
    pub node_exporter: Option<NodeExporterConfig>,
    /// obs' own logs and traces.
    pub telemetry: TelemetryConfig,
    /// The file of the built-in Alertmanager, in Alertmanager's own words.
    pub alertmanager_file: Option<PathBuf>,
    /// The same inline.
    pub alertmanager: Option<Value>,
    /// Whether its receivers may be programs on this machine.
    pub alertmanager_programs: bool,
    /// The rules that come with obs.
    pub rules: BundledConfig,
    /// What things cost.
    pub cost: Option<CostConfig>,
    /// Files of objectives, with patterns as in `rule_files`.
    pub slo_files: Vec<PathBuf>,
    /// The resource-metrics APIs of Kubernetes.
    pub resource_metrics: Option<ResourceMetricsConfig>,
    /// Who may ask this server what.
    #[serde(deserialize_with = "auth::checked")]
    pub auth: Option<AuthConfig>,
}

/// `obs.dashboards`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DashboardsConfig {
    /// Folders of Grafana dashboard JSON.
    pub folders: Vec<PathBuf>,
}

/// `obs.logs`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// Labels that may name the service, best first; empty turns `service_name` off.
    pub discover_service_name: Vec<String>,
    /// Whether `detected_level` is found in lines.
    pub discover_log_levels: bool,
    /// Syslog over UDP, TCP and TLS.
    pub syslog: Option<SyslogConfig>,
    /// Fluentd's forward protocol.
    pub fluent: Option<FluentConfig>,
    /// GELF over UDP and TCP.
    pub gelf: Option<GelfConfig>,
    /// Splunk's HTTP event collector.
    pub splunk_hec: SplunkConfig,
    /// Streams that are kept for a shorter time than the rest.
    pub retention_rules: Vec<StreamRetentionConfig>,
}

/// One of `obs.logs.retention_rules`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamRetentionConfig {
    /// The lines, as LogQL selects them: `{app="batch"} |= "debug"`.
    #[serde(rename = "match", deserialize_with = "line_selector")]
    pub lines: obs_logstore::Selector,
    /// How long they are kept.
    #[serde(deserialize_with = "some_duration")]
    pub retention: i64,
}

impl LogsConfig {
    /// The rules as the engine takes them; `retention` is what holds for the rest.
    pub(crate) fn rules(&self, retention: Option<i64>) -> Result<Vec<RetentionRule>, String> {
        let rules = self.retention_rules.iter().map(|rule| {
            let selector = rule.lines.encode().map_err(|e| e.to_string())?;
            Ok((selector, rule.retention))
        });
        let rules: Vec<_> = rules.collect::<Result<_, String>>()?;
        checked_rules("obs.logs", rules, retention)
    }
}

/// Rules that keep rows for a shorter time than `retention`.
fn checked_rules(
    section: &str,
    rules: Vec<(Vec<u8>, i64)>,
    retention: Option<i64>,
) -> Result<Vec<RetentionRule>, String> {
    let rules = rules.into_iter().enumerate();
    rules
        .map(|(index, (selector, age))| {
            if let Some(longest) = retention.filter(|longest| age >= *longest) {
                return Err(format!(
                    "{section}.retention_rules[{index}]: expected less than the retention of {}, \
                     found {}",
                    duration::format(longest),
                    duration::format(age),
                ));
            }
            Ok(RetentionRule { selector, age })
        })
        .collect()
}

impl Default for LogsConfig {
    fn default() -> Self {
        let options = EnrichOptions::default();
        Self {
            discover_service_name: options.discover_service_name,
            discover_log_levels: options.discover_log_levels,
            syslog: None,
            fluent: None,
            gelf: None,
            splunk_hec: SplunkConfig::default(),
            retention_rules: Vec::new(),
        }
    }
}

/// `obs.storage`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// How long data is kept: `15d`; `0` for ever. The flag `--retention` wins.
    #[serde(deserialize_with = "optional_duration")]
    pub retention: Option<i64>,
    /// Most bytes of parts per tenant and signal; none without it.
    pub retention_bytes: Option<u64>,
    /// Series that are kept for a shorter time than the rest.
    pub retention_rules: Vec<RetentionRuleConfig>,
    /// Samples of metrics that stand for many, and how long they are kept.
    pub tiers: TiersConfig,
    /// Bytes of rows in memory per signal at which they are flushed.
    pub flush_bytes: Option<u64>,
    /// Bytes of memory per signal at which writes are refused until a flush is done.
    pub memory_bytes: Option<u64>,
    /// Age of the oldest record in memory at which it is flushed.
    #[serde(deserialize_with = "optional_duration")]
    pub flush_age: Option<i64>,
}

/// `obs.storage.tiers`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TiersConfig {
    /// How long one for five minutes is kept; `0` for ever; without it none is made.
    #[serde(rename = "5m", deserialize_with = "optional_duration")]
    pub five_minutes: Option<i64>,
    /// The same for one hour.
    #[serde(rename = "1h", deserialize_with = "optional_duration")]
    pub hour: Option<i64>,
}

impl TiersConfig {
    /// The tiers as the engine takes them, the finest first.
    pub(crate) fn tiers(self) -> Vec<Tier> {
        let all = [(300, self.five_minutes), (3600, self.hour)];
        let tier = |(seconds, age): (i64, Option<i64>)| {
            Some(Tier {
                resolution: seconds * NANOS_PER_SECOND,
                age: Some(age?).filter(|age| *age > 0),
            })
        };
        all.into_iter().filter_map(tier).collect()
    }
}

/// One of `obs.storage.retention_rules`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRuleConfig {
    /// The series, as PromQL writes them: `{job="batch"}`.
    #[serde(rename = "match", deserialize_with = "series_selector")]
    pub matchers: Vec<Matcher>,
    /// How long their samples are kept.
    #[serde(deserialize_with = "some_duration")]
    pub retention: i64,
}

impl StorageConfig {
    /// The rules as the engine takes them; `retention` is what holds for the rest.
    pub(crate) fn rules(&self, retention: Option<i64>) -> Result<Vec<RetentionRule>, String> {
        let rules = self.retention_rules.iter();
        let rules = rules.map(|rule| (obs_tsdb::selector(&rule.matchers), rule.retention));
        checked_rules("obs.storage", rules.collect(), retention)
    }
}

/// `obs.telemetry`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Whether obs keeps its own logs.
    pub logs: bool,
    /// Whether obs keeps its own traces.
    pub traces: bool,
}

/// `obs.limits`: the names are those of [`Limits`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "each field is documented in model::limits::Limits"
)]
pub struct LimitsConfig {
    pub body_bytes_max: Option<usize>,
    pub decompressed_bytes_max: Option<usize>,
    pub depth_max: Option<usize>,
    pub labels_max: Option<usize>,
    pub label_name_bytes_max: Option<usize>,
    pub label_value_bytes_max: Option<usize>,
    pub line_bytes_max: Option<usize>,
    pub metadata_max: Option<usize>,
    pub attributes_max: Option<usize>,
    pub attribute_bytes_max: Option<usize>,
    pub trace_bytes_max: Option<usize>,
    pub series_max: Option<usize>,
    pub series_total_max: Option<usize>,
    pub streams_max: Option<usize>,
    pub memory_days_max: Option<usize>,
    pub query_samples_max: Option<u64>,
    pub query_bytes_max: Option<u64>,
    pub query_series_max: Option<u64>,
    pub query_time_ms_max: Option<u64>,
    pub query_steps_max: Option<u64>,
    pub query_lines_max: Option<usize>,
    pub query_text_bytes_max: Option<usize>,
    pub write_queue_max: Option<usize>,
    pub buffer_waiting_bytes_max: Option<usize>,
    pub query_queue_max: Option<usize>,
    pub query_cache_bytes_max: Option<usize>,
}

impl LimitsConfig {
    /// The table with these settings.
    pub fn limits(&self) -> Limits {
        let d = Limits::default();
        Limits {
            body_bytes_max: self.body_bytes_max.unwrap_or(d.body_bytes_max),
            decompressed_bytes_max: self
                .decompressed_bytes_max
                .unwrap_or(d.decompressed_bytes_max),
            depth_max: self.depth_max.unwrap_or(d.depth_max),
            labels_max: self.labels_max.unwrap_or(d.labels_max),
            label_name_bytes_max: self.label_name_bytes_max.unwrap_or(d.label_name_bytes_max),
            label_value_bytes_max: self
                .label_value_bytes_max
                .unwrap_or(d.label_value_bytes_max),
            line_bytes_max: self.line_bytes_max.unwrap_or(d.line_bytes_max),
            metadata_max: self.metadata_max.unwrap_or(d.metadata_max),
            attributes_max: self.attributes_max.unwrap_or(d.attributes_max),
            attribute_bytes_max: self.attribute_bytes_max.unwrap_or(d.attribute_bytes_max),
            trace_bytes_max: self.trace_bytes_max.unwrap_or(d.trace_bytes_max),
            series_max: self.series_max.unwrap_or(d.series_max),
            series_total_max: self.series_total_max.unwrap_or(d.series_total_max),
            streams_max: self.streams_max.unwrap_or(d.streams_max),
            memory_days_max: self.memory_days_max.unwrap_or(d.memory_days_max),
            query_samples_max: self.query_samples_max.unwrap_or(d.query_samples_max),
            query_bytes_max: self.query_bytes_max.unwrap_or(d.query_bytes_max),
            query_series_max: self.query_series_max.unwrap_or(d.query_series_max),
            query_time_ms_max: self.query_time_ms_max.unwrap_or(d.query_time_ms_max),
            query_steps_max: self.query_steps_max.unwrap_or(d.query_steps_max),
            query_lines_max: self.query_lines_max.unwrap_or(d.query_lines_max),
            query_text_bytes_max: self.query_text_bytes_max.unwrap_or(d.query_text_bytes_max),
            write_queue_max: self.write_queue_max.unwrap_or(d.write_queue_max),
            buffer_waiting_bytes_max: self
                .buffer_waiting_bytes_max
                .unwrap_or(d.buffer_waiting_bytes_max),
            query_queue_max: self.query_queue_max.unwrap_or(d.query_queue_max),
            query_cache_bytes_max: self
                .query_cache_bytes_max
                .unwrap_or(d.query_cache_bytes_max),
        }
    }
}

impl LogsConfig {
    /// What enrichment is told.
    pub(crate) fn enrich(&self) -> EnrichOptions {
        EnrichOptions {
            discover_service_name: self.discover_service_name.clone(),
            discover_log_levels: self.discover_log_levels,
        }
    }
}

impl Config {
    /// The scrape jobs with defaults and checks applied; `text` is the file, for places of errors,
    /// `folder` is what relative paths start from.
    pub fn jobs(&self, text: &str, folder: &Path) -> Result<Vec<Job>, ConfigError> {
        for (index, config) in self.scrape_configs.iter().enumerate() {
            let name = config.job_name();
            let state = self.obs.kubernetes.wanted_state().is_some();
            let taken = name == "obs"
                || name == "node" && self.obs.node_exporter.is_some()
                || name == KUBE_STATE_JOB && state;
            if taken {
                let message = format!(
                    "scrape_configs[{index}]: the job name {name:?} is taken by obs' own job"
                );
                return Err(ConfigError::near_job(text, index, message));
            }
        }
        let mut jobs =
            obs_collector::config::jobs(&self.global, self.scrape_configs.clone(), text, folder)?;
        let cluster = self.cluster(folder);
        let cluster = cluster.map_err(|message| ConfigError {
            position: None,
            message,
        })?;
        cluster.set_access(&mut jobs);
        Ok(jobs)
    }

    /// Whom alerts are told elsewhere; `folder` is what relative paths start from.
    pub(crate) fn alerting(&self, text: &str, folder: &Path) -> Result<Alerting, ConfigError> {
        let mut alerting = obs_collector::config::alerting(self.alerting.clone(), text, folder)?;
        let cluster = self.cluster(folder).map_err(|message| ConfigError {
            position: None,
            message,
        })?;
        for set in &mut alerting.alertmanagers {
            cluster.set_access(std::slice::from_mut(&mut set.job));
        }
        Ok(alerting)
    }

    /// The scrape jobs of a file that `scrape_config_files` names.
    pub(crate) fn jobs_of_file(&self, text: &str, path: &Path) -> Result<Vec<Job>, ConfigError> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct File {
            scrape_configs: Vec<ScrapeConfig>,
        }
        let file: Option<File> = serde_yaml_ng::from_str(text)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let configs = file.unwrap_or_default().scrape_configs;
        obs_collector::config::jobs(&self.global, configs, text, folder)
    }

    /// `obs.kubernetes`, checked.
    pub(crate) fn cluster(&self, folder: &Path) -> Result<KubernetesConfig, String> {
        let mut cluster = self.obs.kubernetes.clone();
        cluster.check(folder)?;
        Ok(cluster)
    }

    /// The scrape job of one of obs' own listeners.
    pub(crate) fn own_job(&self, name: &str, address: SocketAddr) -> Result<Job, ConfigError> {
        self.own_job_on(name, address, None)
    }

    /// The same with the name of the node as instance, where it has one.
    pub(crate) fn own_job_on(
        &self,
        name: &str,
        address: SocketAddr,
        node: Option<&str>,
    ) -> Result<Job, ConfigError> {
        let labels = match node {
            // A text of JSON is one of YAML.
            Some(node) => format!(", labels: {{instance: {}}}", serde_json::Value::from(node)),
            None => String::new(),
        };
        let target = format!("static_configs: [{{targets: ['{address}']{labels}}}]");
        self.own_job_of(name, &target)
    }

    /// The scrape job of the state of objects, whose labels go before those of the target.
    pub(crate) fn state_job(&self, addresses: &[SocketAddr]) -> Result<Job, ConfigError> {
        let targets: Vec<_> = addresses
            .iter()
            .map(|address| format!("'{address}'"))
            .collect();
        let targets = targets.join(", ");
        // The text of this process' own page is as long as the cluster is large: 30,000 pods are
        // some 400 MB. No limit of what others send holds for it.
        let rest = format!(
            "honor_labels: true\nbody_size_limit: {STATE_BYTES_MAX}\nsample_limit: 0\n\
             static_configs: [{{targets: [{targets}]}}]"
        );
        self.own_job_of(KUBE_STATE_JOB, &rest)
    }

    fn own_job_of(&self, name: &str, rest: &str) -> Result<Job, ConfigError> {
        let text = format!("job_name: {name}\n{rest}\n");
        let config: ScrapeConfig = serde_yaml_ng::from_str(&text)?;
        let jobs = obs_collector::config::jobs(&self.global, vec![config], &text, Path::new(""))?;
        jobs.into_iter().next().ok_or_else(|| ConfigError {
            position: None,
            message: format!("obs' own job {name} is missing"),
        })
    }

    /// Where samples and everything else goes; `folder` is what relative paths start from.
    pub fn destinations(&self, text: &str, folder: &Path) -> Result<Destination, ConfigError> {
        let all = self.obs.collector.destinations.clone();
        Destination::check(self.remote_write.clone(), all, text, folder)
    }

    /// The labels put on what leaves this server; empty values say nothing.
    pub fn external_labels(&self) -> Labels {
        Labels::from_pairs(&self.global.external_labels)
    }

    /// What the file asks for that this version does not do.
    pub fn notices(&self) -> Vec<String> {
        [
            ("runtime", &self.runtime, "has no meaning here"),
            (
                "remote_read",
                &self.remote_read,
                "other servers are not read by this version",
            ),
            (
                "storage",
                &self.storage,
                "obs.storage says how data is kept",
            ),
            (
                "tracing",
                &self.tracing,
                "obs.telemetry says where own traces go",
            ),
        ]
        .iter()
        .filter(|(_, value, _)| value.is_some())
        .map(|(key, _, consequence)| format!("{key}: {consequence}"))
        .collect()
    }
}

/// Reads a configuration; errors carry line and column.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let config: Option<Config> = serde_yaml_ng::from_str(text)?;
    Ok(config.unwrap_or_default())
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(D::Error::custom("expected a duration such as 15d")),
    };
    duration::parse(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("expected a duration such as 15d, found {text:?}")))
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let nanos = optional_duration(deserializer)?.filter(|nanos| *nanos > 0);
    nanos.ok_or_else(|| D::Error::custom("expected a duration above zero, such as 3d"))
}

fn series_selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Matcher>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = obs_query::promql::parse_selector(&text, &Limits::default());
    parsed.map_err(|error| D::Error::custom(format!("in {text:?}: {error}")))
}

fn line_selector<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<obs_logstore::Selector, D::Error> {
    let text = String::deserialize(deserializer)?;
    let selector = obs_query::logs::deletion(&text, &Limits::default());
    selector.map_err(|error| D::Error::custom(format!("in {text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prometheus_file_works_unchanged() {
        let config = parse(
            "global:\n  scrape_interval: 15s\nrule_files: [rules.yml]\nscrape_configs:\n\
             - job_name: a\n  static_configs: [{targets: ['127.0.0.1:1']}]\n",
        )
        .unwrap();
        assert_eq!(config.scrape_configs.len(), 1);
        assert_eq!(config.rule_files, [Path::new("rules.yml")]);
        assert!(config.notices().is_empty());
        assert!(parse("").unwrap().notices().is_empty());
    }

    #[test]
    fn own_settings() {
        let config = parse(
            "obs:\n  storage: {retention: 30d}\n  limits: {labels_max: 7}\n  \
             node_exporter: {listen: '127.0.0.1:0'}\n  telemetry: {logs: true}\n",
        )
        .unwrap();
        assert_eq!(config.obs.storage.retention, duration::parse("30d"));
        assert_eq!(config.obs.limits.limits().labels_max, 7);
        assert_eq!(
            config.obs.limits.limits().depth_max,
            Limits::default().depth_max
        );
        assert!(config.obs.logs.discover_log_levels && config.obs.telemetry.logs);
    }

    #[test]
    fn tiers_and_how_long_they_are_kept() {
        let check = |text: &str, expect: Result<&[(i64, Option<&str>)], &str>| {
            let text = format!("obs:\n  storage: {{tiers: {{{text}}}}}\n");
            let found = parse(&text).map_err(|fault| fault.to_string());
            let found = found.map(|config| config.obs.storage.tiers.tiers());
            match (found, expect) {
                (Ok(tiers), Ok(expect)) => {
                    let tier = |(seconds, age): &(i64, Option<&str>)| Tier {
                        resolution: seconds * NANOS_PER_SECOND,
                        age: age.and_then(duration::parse),
                    };
                    let expect: Vec<Tier> = expect.iter().map(tier).collect();
                    assert_eq!(tiers, expect);
                }
                (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{fault}"),
                (found, expect) => panic!("{text}: {found:?}, {expect:?}"),
            }
        };
        check("", Ok(&[]));
        check("5m: 1y", Ok(&[(300, Some("1y"))]));
        check("1h: 0, 5m: 90d", Ok(&[(300, Some("90d")), (3600, None)]));
        check("2h: 1y", Err("2h"));
        check("5m: soon", Err("soon"));
    }

    #[test]
    fn rules_of_retention() {
        let check = |rules: &str, retention: Option<&str>, expect: Result<usize, &str>| {
            let text = format!("obs:\n  storage:\n    retention_rules: [{rules}]\n");
            let retention = retention.and_then(duration::parse);
            let found = parse(&text).map_err(|fault| fault.to_string());
            let found = found.and_then(|config| config.obs.storage.rules(retention));
            match (found, expect) {
                (Ok(rules), Ok(expect)) => assert_eq!(rules.len(), expect),
                (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{fault}"),
                (found, expect) => panic!("{rules}: {found:?}, {expect:?}"),
            }
        };
        let one = r#"{match: '{job=~"a|b"}', retention: 3d}"#;
        check("", Some("15d"), Ok(0));
        check(one, Some("15d"), Ok(1));
        check(one, None, Ok(1));
        let late = "retention_rules[0]: expected less than the retention of 3d, found 3d";
        check(one, Some("3d"), Err(late));
        check("{match: 'up', retention: 0}", None, Err("above zero"));
        check("{match: 'up{', retention: 1d}", None, Err("in \"up{\""));
        check("{match: 'up'}", None, Err("retention"));
        check("{matches: 'up', retention: 1d}", None, Err("matches"));
    }

    #[test]
    fn rules_of_retention_for_streams() {
        let check = |rules: &str, expect: Result<usize, &str>| {
            let text = format!("obs:\n  logs:\n    retention_rules: [{rules}]\n");
            let found = parse(&text).map_err(|fault| fault.to_string());
            let found = found.and_then(|config| config.obs.logs.rules(duration::parse("15d")));
            match (found, expect) {
                (Ok(rules), Ok(expect)) => assert_eq!(rules.len(), expect),
                (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{fault}"),
                (found, expect) => panic!("{rules}: {found:?}, {expect:?}"),
            }
        };
        check("", Ok(0));
        check(
            r#"{match: '{app=~"a|b"} |= "debug"', retention: 3d}"#,
            Ok(1),
        );
        check(
            r#"{match: '{app="a"}', retention: 15d}"#,
            Err("obs.logs.retention_rules[0]: expected less than the retention of 15d, found 15d"),
        );
        check(r#"{match: '{app="a"} | json', retention: 1d}"#, Err("json"));
        check(r#"{match: '{app="a"', retention: 1d}"#, Err("parse error"));
    }

    #[test]
    fn names_of_own_jobs_are_taken() {
        let check = |text: &str, expect: Option<&str>| {
            let jobs = parse(text).unwrap().jobs(text, Path::new(""));
            assert_eq!(jobs.err().map(|e| e.to_string()).as_deref(), expect);
        };
        check(
            "scrape_configs:\n- job_name: a\n- job_name: obs\n",
            Some("3:3: scrape_configs[1]: the job name \"obs\" is taken by obs' own job"),
        );
        check("scrape_configs:\n- job_name: node\n", None);
        check(
            "obs: {node_exporter: {listen: '127.0.0.1:0'}}\nscrape_configs:\n- job_name: node\n",
            Some("3:3: scrape_configs[0]: the job name \"node\" is taken by obs' own job"),
        );
    }

    #[test]
    fn limits_of_what_others_send_do_not_hold_for_the_state_of_objects() {
        let config = parse("global: {body_size_limit: 1MB, sample_limit: 5}\n").unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let job = config.state_job(&[address]).unwrap();
        assert_eq!((job.limits.body_bytes, job.limits.samples), (4 << 30, 0));
        assert!(job.honor_labels);
        let own = config.own_job("obs", address).unwrap();
        assert_eq!(own.limits.samples, 5);
    }

    #[test]
    fn unknown_keys_and_wrong_values_name_their_place() {
        let check = |text: &str, expect: &str| {
            let fault = parse(text).unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        };
        check("obs:\n  limits:\n    lables_max: 1\n", "lables_max");
        check("obs:\n  limits:\n    lables_max: 1\n", "3:5");
        check("globel: {}\n", "1:1");
        check("obs:\n  storage: {retention: soon}\n", "found \"soon\"");
    }
}
