//! `alerting:` of a Prometheus file: which Alertmanagers are told of alerts, and how they are found.
//!
//! Invariant: an entry is found and asked as a scrape job is, so that every discovery and every
//! option of the client is there for both.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_yaml_ng::{Mapping, Value};

use super::relabeling::RelabelConfig;
use super::values::Span;
use super::{ConfigError, GlobalConfig, Job, ScrapeConfig};
use crate::relabel::Rule;

/// How long a request may take where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Keys that an entry shares with a scrape configuration, beside those that end as discoveries do.
const SHARED: [&str; 14] = [
    "authorization",
    "basic_auth",
    "bearer_token",
    "bearer_token_file",
    "enable_http2",
    "follow_redirects",
    "http_headers",
    "no_proxy",
    "oauth2",
    "proxy_connect_header",
    "proxy_from_environment",
    "proxy_url",
    "static_configs",
    "tls_config",
];

/// `alerting` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertingConfig {
    alert_relabel_configs: Vec<RelabelConfig>,
    alertmanagers: Vec<AlertmanagerConfig>,
}

/// One entry of `alertmanagers` as written.
#[derive(Clone, Debug, Deserialize)]
struct AlertmanagerConfig {
    api_version: Option<String>,
    path_prefix: Option<String>,
    scheme: Option<String>,
    timeout: Option<Span>,
    #[serde(default)]
    relabel_configs: Vec<RelabelConfig>,
    #[serde(default)]
    alert_relabel_configs: Vec<RelabelConfig>,
    #[serde(flatten)]
    rest: Mapping,
}

/// Whom alerts are told, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alerting {
    /// What becomes of alerts before anybody is told.
    pub relabel: Vec<Rule>,
    /// Those who are told.
    pub alertmanagers: Vec<AlertmanagerSet>,
}

/// Alertmanagers that are found in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertmanagerSet {
    /// How they are found and asked.
    pub job: Job,
    /// Where alerts are posted.
    pub path: String,
    /// What becomes of alerts for these.
    pub alert_relabel: Vec<Rule>,
}

fn rules(configs: Vec<RelabelConfig>) -> Vec<Rule> {
    configs.into_iter().map(RelabelConfig::into_rule).collect()
}

/// What `alerting` says: defaults and checks. `text` is the whole file, for the lines of errors;
/// `folder` is what relative paths start from.
pub fn alerting(
    config: AlertingConfig,
    text: &str,
    folder: &Path,
) -> Result<Alerting, ConfigError> {
    let mut alertmanagers = Vec::new();
    for (index, entry) in config.alertmanagers.into_iter().enumerate() {
        let set = entry.check(index, folder).map_err(|message| {
            let message = format!("alerting.alertmanagers[{index}]: {message}");
            ConfigError::near_key(text, "alerting", message)
        })?;
        alertmanagers.push(set);
    }
    Ok(Alerting {
        relabel: rules(config.alert_relabel_configs),
        alertmanagers,
    })
}

impl AlertmanagerConfig {
    fn check(mut self, index: usize, folder: &Path) -> Result<AlertmanagerSet, String> {
        match self.api_version.as_deref() {
            None | Some("v2") => {}
            Some("v1") => {
                return Err("expected Alertmanager api version v2 but got v1".to_owned());
            }
            Some(other) => {
                return Err(format!(
                    "expected Alertmanager api version to be one of [v2] but got {other}"
                ));
            }
        }
        for key in self.rest.keys() {
            let key = key.as_str().unwrap_or_default();
            if !SHARED.contains(&key) && !key.ends_with("_sd_configs") {
                return Err(format!("unknown field `{key}`"));
            }
        }
        let mut put = |key: &str, value: String| {
            self.rest.insert(Value::from(key), Value::from(value));
        };
        let timeout = self.timeout.map_or(TIMEOUT, |span| span.0);
        let millis = format!("{}ms", timeout.as_millis());
        put("job_name", format!("config-{index}"));
        put("scrape_interval", millis.clone());
        put("scrape_timeout", millis);
        if let Some(scheme) = self.scheme {
            put("scheme", scheme);
        }
        let config: ScrapeConfig =
            serde_yaml_ng::from_value(Value::Mapping(self.rest)).map_err(|e| e.to_string())?;
        let mut job = config.into_job(&GlobalConfig::default(), folder)?;
        job.timeout = timeout;
        job.relabel = rules(self.relabel_configs);
        let prefix = self.path_prefix.unwrap_or_default();
        let path = format!("/{}/api/v2/alerts", prefix.trim_matches('/'));
        Ok(AlertmanagerSet {
            job,
            path: path.replace("//", "/"),
            alert_relabel: rules(self.alert_relabel_configs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Alerting, String> {
        let config: AlertingConfig = serde_yaml_ng::from_str(text).map_err(|e| e.to_string())?;
        alerting(config, text, Path::new("/etc")).map_err(|e| e.to_string())
    }

    #[test]
    fn entries_are_jobs_with_a_path() {
        let text = "alertmanagers:\n- scheme: https\n  path_prefix: am/\n  timeout: 3s\n  \
                    basic_auth: {username: u, password: p}\n  static_configs:\n  \
                    - targets: [a:9093]\n  file_sd_configs:\n  - files: [x.json]\n  \
                    relabel_configs:\n  - {target_label: x, replacement: y}\n- static_configs: []\n";
        let found = read(text).expect("valid");
        let first = &found.alertmanagers[0];
        assert_eq!(first.path, "/am/api/v2/alerts");
        assert_eq!(first.job.scheme, "https");
        assert_eq!(first.job.timeout, Duration::from_secs(3));
        assert_eq!(first.job.discovery.len(), 2);
        assert_eq!(first.job.relabel.len(), 1);
        assert_eq!(found.alertmanagers[1].path, "/api/v2/alerts");
        assert_eq!(found.alertmanagers[1].job.timeout, TIMEOUT);
    }

    #[test]
    fn faults_are_told() {
        let check = |text: &str, expect: &str| {
            let fault = read(text).expect_err("a fault");
            assert!(fault.contains(expect), "{fault}");
        };
        check("alertmanagers: [{api_version: v1}]", "api version v2");
        check("alertmanagers: [{api_version: v9}]", "one of [v2]");
        check(
            "alertmanagers: [{metrics_path: /x}]",
            "unknown field `metrics_path`",
        );
        check("alertmanagers: [{scheme: ftp}]", "unknown scheme");
        check("alertmanager: []", "unknown field");
        check("alertmanagers: [{x_sd_configs: []}]", "x_sd_configs");
    }
}
