//! What the server was started with, for the status routes: configuration, flags, names.
//!
//! Invariant: nothing secret is in here; the configuration is redacted when it is taken over.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use obs_model::duration;
use serde_yaml_ng::Value;

use crate::config::Config;
use crate::{Options, process};

/// What stands in place of a secret, as Prometheus prints it.
const HIDDEN: &str = "<secret>";
/// Parts of the names of keys whose values are secrets.
const SECRET_WORDS: [&str; 7] = [
    "password",
    "secret",
    "token",
    "credential",
    "api_key",
    "access_key",
    "private_key",
];

/// What the status routes tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// The configuration file, redacted; empty without one.
    pub(crate) config: String,
    /// The entry of `scrape_configs` of each job, redacted.
    pub(crate) pools: BTreeMap<String, String>,
    /// Flags by name, Prometheus' names where it has them.
    pub(crate) flags: BTreeMap<String, String>,
    /// Under which path HTTP is served besides the root.
    pub(crate) route_prefix: String,
    /// Whether series may be deleted and snapshots taken.
    pub(crate) admin_api: bool,
    /// The folder in which the server was started.
    pub(crate) folder: String,
    /// The name of the machine.
    pub(crate) host: String,
    /// How long data is kept.
    pub(crate) retention: String,
}

impl About {
    /// Gathers it. `text` is the configuration file, `retention` is in nanoseconds.
    pub(crate) fn new(
        options: &Options,
        config: &Config,
        text: &str,
        retention: Option<i64>,
    ) -> Self {
        let file = redacted(text);
        let folder = std::env::current_dir().map(|folder| folder.display().to_string());
        let retention = retention.map_or_else(|| "0s".to_owned(), duration::format);
        Self {
            config: if text.trim().is_empty() {
                String::new()
            } else {
                print(&file)
            },
            pools: pools(&file),
            flags: flags(options, config, &retention),
            route_prefix: options.route_prefix.clone(),
            admin_api: options.enable_admin_api,
            folder: folder.unwrap_or_default(),
            host: process::host(),
            retention,
        }
    }

    /// Notes the job of one of obs' own listeners.
    pub(crate) fn own_pool(&mut self, name: &str, address: SocketAddr) {
        let text = format!("job_name: {name}\nstatic_configs:\n- targets:\n  - {address}\n");
        self.pools.insert(name.to_owned(), text);
    }
}

fn flags(options: &Options, config: &Config, retention: &str) -> BTreeMap<String, String> {
    let limits = config.obs.limits.limits();
    let file = options.config.as_ref();
    let file = file.map_or_else(String::new, |path| path.display().to_string());
    let log_format = match options.log_format {
        crate::LogFormat::Text => "logfmt",
        crate::LogFormat::Json => "json",
    };
    let log_level = ["info", "debug", "trace"][usize::from(options.verbose.min(2))];
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let yes = || true.to_string();
    let rules = &options.rules;
    let notifier = rules.notifier;
    [
        (
            "alertmanager.drain-notification-queue-on-shutdown",
            notifier.drain.to_string(),
        ),
        (
            "alertmanager.notification-batch-size",
            notifier.batch.to_string(),
        ),
        (
            "alertmanager.notification-queue-capacity",
            notifier.capacity.to_string(),
        ),
        (
            "rules.alert.for-grace-period",
            duration::format(rules.grace_period),
        ),
        (
            "rules.alert.for-outage-tolerance",
            duration::format(rules.outage_tolerance),
        ),
        (
            "rules.alert.resend-delay",
            duration::format(rules.resend_delay),
        ),
        ("rules.max-concurrent-evals", rules.concurrent.to_string()),
        ("config.file", file),
        ("enable-feature", options.features.asked.clone()),
        ("listen", options.listen.to_string()),
        ("log.format", log_format.to_owned()),
        ("log.level", log_level.to_owned()),
        ("otlp-grpc-listen", options.otlp_grpc_listen.to_string()),
        ("otlp-http-listen", options.otlp_http_listen.to_string()),
        ("query.lookback-delta", "5m".to_owned()),
        ("query.max-concurrency", threads.to_string()),
        ("query.max-samples", limits.query_samples_max.to_string()),
        ("query.timeout", {
            let millis = i64::try_from(limits.query_time_ms_max).unwrap_or(i64::MAX);
            duration::format(millis.saturating_mul(obs_model::time::NANOS_PER_MILLI))
        }),
        ("storage.tsdb.path", options.data.display().to_string()),
        ("storage.tsdb.retention.time", retention.to_owned()),
        ("web.enable-admin-api", options.enable_admin_api.to_string()),
        ("web.enable-lifecycle", options.enable_lifecycle.to_string()),
        ("web.enable-otlp-receiver", yes()),
        ("web.enable-remote-write-receiver", yes()),
        ("web.listen-address", options.listen.to_string()),
        ("web.cors.origin", ".*".to_owned()),
        ("web.route-prefix", format!("{}/", options.route_prefix)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn print(value: &Value) -> String {
    // What was read can be written: no map in it has a key that is not a scalar.
    serde_yaml_ng::to_string(value).unwrap_or_default()
}

/// The entries of `scrape_configs` by job.
fn pools(file: &Value) -> BTreeMap<String, String> {
    let jobs = file.get("scrape_configs").and_then(Value::as_sequence);
    let named = |job: &Value| {
        let name = job.get("job_name")?.as_str()?;
        Some((name.to_owned(), print(job)))
    };
    jobs.into_iter().flatten().filter_map(named).collect()
}

/// The configuration without its secrets.
pub(crate) fn redacted(text: &str) -> Value {
    let mut file = serde_yaml_ng::from_str(text).unwrap_or(Value::Null);
    hide(&mut file, false);
    file
}

fn hide(value: &mut Value, secret: bool) {
    match value {
        Value::Null => {}
        Value::Mapping(map) => {
            for (key, value) in map.iter_mut() {
                let name = key.as_str().unwrap_or_default().to_ascii_lowercase();
                // The name of a file is not a secret, its content is.
                let is_path = name.ends_with("_file") || name.ends_with("files");
                let telling = SECRET_WORDS.iter().any(|word| name.contains(word));
                hide(value, !is_path && (secret || telling));
            }
        }
        Value::Sequence(list) => list.iter_mut().for_each(|value| hide(value, secret)),
        Value::Tagged(tagged) => hide(&mut tagged.value, secret),
        _ if secret => *value = Value::String(HIDDEN.to_owned()),
        Value::String(text) => hide_in_url(text),
        Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `scheme://user:password@host`
fn hide_in_url(text: &mut String) {
    let Some((scheme, rest)) = text.split_once("://") else {
        return;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let Some((user, host)) = authority.rsplit_once('@') else {
        return;
    };
    if let Some((name, _)) = user.split_once(':') {
        *text = format!("{scheme}://{name}:{HIDDEN}@{host}{path}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_their_files_are_not() {
        let check = |text: &str, expect: &str| assert_eq!(print(&redacted(text)), expect);
        check(
            "basic_auth: {username: me, password: pw}\n",
            "basic_auth:\n  username: me\n  password: <secret>\n",
        );
        check("bearer_token_file: /t\n", "bearer_token_file: /t\n");
        check(
            "authorization: {type: Bearer, credentials: x}\n",
            "authorization:\n  type: Bearer\n  credentials: <secret>\n",
        );
        check(
            "http_headers: {X-A: {secrets: [a, b], files: [c]}}\n",
            "http_headers:\n  X-A:\n    secrets:\n    - <secret>\n    - <secret>\n    files:\n    - c\n",
        );
        check(
            "url: http://u:p@h:1/x?y=http://a:b@c\n",
            "url: http://u:<secret>@h:1/x?y=http://a:b@c\n",
        );
        check("url: http://h/a:b@c\n", "url: http://h/a:b@c\n");
    }

    #[test]
    fn jobs_have_their_own_text() {
        let text = "scrape_configs:\n- job_name: a\n  bearer_token: x\n- job_name: b\n";
        let pools = pools(&redacted(text));
        assert_eq!(pools["a"], "job_name: a\nbearer_token: <secret>\n");
        assert_eq!(pools["b"], "job_name: b\n");
        assert!(super::pools(&redacted("{broken")).is_empty());
    }
}
