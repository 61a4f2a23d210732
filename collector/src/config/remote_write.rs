//! One entry of `remote_write`: all of Prometheus' keys, and how they become a [`RemoteWrite`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use md5::{Digest, Md5};
use serde::Deserialize;

use super::ClientConfig;
use super::client::with_client_keys;
use super::relabeling::RelabelConfig;
use super::values::{Secret, Span, Unsupported};
use crate::http_client::shown;
use crate::relabel::Rule;

/// Headers that the sender itself writes.
const RESERVED_HEADERS: [&str; 4] = [
    "content-encoding",
    "content-type",
    "x-prometheus-remote-write-version",
    "user-agent",
];

/// Which message is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum WriteMessage {
    /// Remote write 1.0.
    #[default]
    #[serde(rename = "prometheus.WriteRequest")]
    One,
    /// Remote write 2.0.
    #[serde(rename = "io.prometheus.write.v2.Request")]
    Two,
}

/// `queue_config` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QueueConfig {
    capacity: Option<usize>,
    max_shards: Option<usize>,
    min_shards: Option<usize>,
    max_samples_per_send: Option<usize>,
    batch_send_deadline: Option<Span>,
    min_backoff: Option<Span>,
    max_backoff: Option<Span>,
    retry_on_http_429: Option<bool>,
    sample_age_limit: Option<Span>,
}

/// `metadata_config` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetadataConfig {
    send: Option<bool>,
    send_interval: Option<Span>,
    max_samples_per_send: Option<usize>,
}

with_client_keys! {
    /// One entry of `remote_write` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(
        dead_code,
        reason = "keys that are not served yet are read only to say so"
    )]
    pub struct RemoteWriteConfig {
        url: String,
        remote_timeout: Option<Span>,
        #[serde(default)]
        headers: BTreeMap<String, Secret>,
        #[serde(default)]
        write_relabel_configs: Vec<RelabelConfig>,
        name: Option<String>,
        #[serde(default)]
        send_exemplars: bool,
        #[serde(default)]
        send_native_histograms: bool,
        #[serde(default)]
        protobuf_message: WriteMessage,
        #[serde(default)]
        round_robin_dns: bool,
        #[serde(default)]
        queue_config: QueueConfig,
        #[serde(default)]
        metadata_config: MetadataConfig,
        #[serde(default)]
        sigv4: Unsupported,
        #[serde(default)]
        azuread: Unsupported,
        #[serde(default)]
        google_iam: Unsupported,
    }
}

/// How a destination's queue is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Samples that one shard may have at one time.
    pub capacity: usize,
    /// Requests under way at one time, at most.
    pub max_shards: usize,
    /// And at least, where there is enough to send.
    pub min_shards: usize,
    /// Samples of one request.
    pub max_samples_per_send: usize,
    /// Longest wait for a request to fill.
    pub batch_send_deadline: Duration,
    /// First wait before a request is sent again.
    pub min_backoff: Duration,
    /// Longest such wait.
    pub max_backoff: Duration,
    /// Whether 429 means "later".
    pub retry_on_http_429: bool,
    /// Samples older than this are not sent; zero means all are.
    pub sample_age_limit: Duration,
}

/// Whether and how metadata is sent by itself, which only 1.0 needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataSending {
    /// Whether.
    pub send: bool,
    /// How often.
    pub interval: Duration,
    /// Entries of one request.
    pub max_per_send: usize,
}

/// A destination of samples with all defaults applied and all rules checked.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWrite {
    /// `name`, or one made of the URL; unique.
    pub name: String,
    /// Where to.
    pub url: String,
    /// How long a request may take.
    pub timeout: Duration,
    /// More headers.
    pub headers: BTreeMap<String, Secret>,
    /// Rules for what is sent.
    pub relabel: Vec<Rule>,
    /// Whether exemplars are sent.
    pub exemplars: bool,
    /// Whether native histograms are sent.
    pub histograms: bool,
    /// Which message is sent.
    pub message: WriteMessage,
    /// How the queue is emptied.
    pub queue: QueueSettings,
    /// Metadata by itself.
    pub metadata: MetadataSending,
    /// How the destination is reached.
    pub client: ClientConfig,
}

impl RemoteWrite {
    /// Whether the destination is told what is known of families.
    pub fn tells_families(&self) -> bool {
        self.message == WriteMessage::Two || self.metadata.send
    }
}

impl RemoteWriteConfig {
    pub(super) fn check(mut self, folder: &Path) -> Result<RemoteWrite, String> {
        let url = reqwest::Url::parse(&self.url);
        let url = url.map_err(|e| format!("url {:?}: {e}", shown(&self.url)))?;
        if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
            return Err(format!(
                "url {:?}: expected http or https and a host",
                shown(&self.url)
            ));
        }
        for name in self.headers.keys() {
            if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!(
                    "{name:?} is a reserved header, it must not be changed"
                ));
            }
            http::HeaderName::try_from(name.as_str())
                .map_err(|_| format!("headers has the invalid header name {name:?}"))?;
        }
        let mut client = self.take_client();
        // As Prometheus, which speaks HTTP/2 to targets only.
        client.enable_http2 = Some(client.enable_http2.unwrap_or(false));
        let mut client = client.check()?;
        client.join_paths(folder);
        let name = match self.name {
            Some(name) if !name.is_empty() => name,
            _ => short_name(&self.url),
        };
        let two = self.protobuf_message == WriteMessage::Two;
        Ok(RemoteWrite {
            name,
            url: url.into(),
            timeout: self.remote_timeout.map_or(Duration::from_secs(30), |s| s.0),
            headers: self.headers,
            relabel: self
                .write_relabel_configs
                .into_iter()
                .map(RelabelConfig::into_rule)
                .collect(),
            exemplars: self.send_exemplars || two,
            histograms: self.send_native_histograms || two,
            message: self.protobuf_message,
            queue: self.queue_config.check()?,
            metadata: self.metadata_config.check()?,
            client,
        })
    }
}

/// Six digits of a hash, as Prometheus names destinations without a name.
pub(super) fn short_name(url: &str) -> String {
    let sum = Md5::digest(url.as_bytes());
    sum.iter()
        .take(3)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn at_least_one(name: &str, value: Option<usize>, default: usize) -> Result<usize, String> {
    match value {
        Some(0) => Err(format!("{name} must be at least 1")),
        Some(value) => Ok(value),
        None => Ok(default),
    }
}

impl QueueConfig {
    fn check(self) -> Result<QueueSettings, String> {
        let span = |span: Option<Span>, default| span.map_or(default, |s| s.0);
        let settings = QueueSettings {
            capacity: at_least_one("capacity", self.capacity, 10_000)?,
            max_shards: at_least_one("max_shards", self.max_shards, 50)?,
            min_shards: at_least_one("min_shards", self.min_shards, 1)?,
            max_samples_per_send: at_least_one(
                "max_samples_per_send",
                self.max_samples_per_send,
                2000,
            )?,
            batch_send_deadline: span(self.batch_send_deadline, Duration::from_secs(5)),
            min_backoff: span(self.min_backoff, Duration::from_millis(30)),
            max_backoff: span(self.max_backoff, Duration::from_secs(5)),
            retry_on_http_429: self.retry_on_http_429.unwrap_or(true),
            sample_age_limit: span(self.sample_age_limit, Duration::ZERO),
        };
        if settings.min_shards > settings.max_shards {
            return Err("queue_config: min_shards is above max_shards".to_owned());
        }
        if settings.min_backoff > settings.max_backoff || settings.min_backoff.is_zero() {
            return Err(
                "queue_config: min_backoff must be above 0 and at most max_backoff".to_owned(),
            );
        }
        Ok(settings)
    }
}

impl MetadataConfig {
    fn check(self) -> Result<MetadataSending, String> {
        let max = self.max_samples_per_send;
        Ok(MetadataSending {
            send: self.send.unwrap_or(true),
            interval: self
                .send_interval
                .map_or(Duration::from_secs(60), |s| s.0)
                .max(Duration::from_secs(1)),
            max_per_send: at_least_one("metadata_config: max_samples_per_send", max, 2000)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<RemoteWrite, String> {
        let config: RemoteWriteConfig = serde_yaml_ng::from_str(yaml).map_err(|e| e.to_string())?;
        config.check(Path::new("/etc"))
    }

    #[test]
    fn defaults_are_those_of_prometheus() {
        let write = read("url: http://localhost:9090/api/v1/write").unwrap();
        assert_eq!(
            (write.timeout, write.name.len()),
            (Duration::from_secs(30), 6)
        );
        assert_eq!(write.message, WriteMessage::One);
        assert!(!write.exemplars && !write.histograms && write.metadata.send);
        let queue = write.queue;
        assert_eq!(
            (queue.capacity, queue.max_shards, queue.max_samples_per_send),
            (10_000, 50, 2000)
        );
        let write = read(
            "{url: 'https://x/w', name: y, protobuf_message: io.prometheus.write.v2.Request, \
             queue_config: {max_shards: 3, batch_send_deadline: 1s}, tls_config: {ca_file: a}, \
             write_relabel_configs: [{action: drop, source_labels: [a], regex: b}]}",
        )
        .unwrap();
        assert!(write.exemplars && write.histograms && write.relabel.len() == 1);
        assert_eq!(
            write.client.tls.ca_file,
            Some(std::path::PathBuf::from("/etc/a"))
        );
    }

    #[test]
    fn faults_name_the_key() {
        let check = |yaml: &str, expect: &str| {
            let fault = read(yaml).unwrap_err();
            assert!(fault.contains(expect), "{fault}");
        };
        check("name: x", "missing field `url`");
        check("url: x", "url \"x\"");
        check("url: 'ftp://x'", "expected http or https");
        check("{url: 'http://x', quue_config: {}}", "quue_config");
        check("{url: 'http://x', sigv4: {region: a}}", "not supported yet");
        check("{url: 'http://x', headers: {Content-Type: a}}", "reserved");
        check(
            "{url: 'http://x', queue_config: {max_shards: 0}}",
            "max_shards",
        );
        check(
            "{url: 'http://x', queue_config: {min_shards: 5, max_shards: 2}}",
            "min_shards",
        );
        check("{url: 'http://x', protobuf_message: a}", "unknown variant");
    }
}
