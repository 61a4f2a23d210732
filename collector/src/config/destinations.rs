//! `obs.collector.destinations`: where an agent, or a server besides its own store, sends what
//! came in.
//!
//! Invariant: names are unique, URLs are whole, and a destination without a signal is an error.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::ClientConfig;
use super::client::with_client_keys;
use super::remote_write::{RemoteWrite, RemoteWriteConfig, short_name};
use super::values::{Secret, Span};
use super::{ConfigError, remote_writes};
use crate::http_client::shown;

/// One entry of `obs.collector.destinations` as written: exactly one of the keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DestinationConfig {
    obs: Option<ShipConfig>,
    loki: Option<ShipConfig>,
    otlp: Option<ShipConfig>,
    remote_write: Option<RemoteWriteConfig>,
}

with_client_keys! {
    /// A destination of whole batches as written.
    #[derive(Clone, Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct ShipConfig {
        url: String,
        name: Option<String>,
        signals: Option<Vec<Signal>>,
        tenant: Option<String>,
        timeout: Option<Span>,
        min_backoff: Option<Span>,
        max_backoff: Option<Span>,
        max_age: Option<Span>,
        headers: BTreeMap<String, Secret>,
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Signal {
    /// Samples.
    Metrics,
    /// Log records.
    Logs,
    /// Spans.
    Traces,
}

/// What a destination speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShipKind {
    /// Another obs: remote write 2.0, Loki's push and OTLP, on one port.
    Obs,
    /// Loki's push API.
    Loki,
    /// OTLP over HTTP, protobuf.
    Otlp,
}

/// A destination of batches, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ship {
    /// What it speaks.
    pub kind: ShipKind,
    /// `name`, or one made of the URL; unique.
    pub name: String,
    /// Where samples go; `None` where they do not.
    pub metrics: Option<String>,
    /// Where log records go.
    pub logs: Option<String>,
    /// Where spans go.
    pub traces: Option<String>,
    /// The tenant over there, instead of the one here.
    pub tenant: Option<String>,
    /// How long a request may take.
    pub timeout: Duration,
    /// First wait before a request is sent again.
    pub min_backoff: Duration,
    /// Longest such wait.
    pub max_backoff: Duration,
    /// Batches older than this are not sent; zero means all are.
    pub max_age: Duration,
    /// More headers.
    pub headers: BTreeMap<String, Secret>,
    /// How it is reached.
    pub client: ClientConfig,
}

/// All destinations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Destination {
    /// Of batches.
    pub ships: Vec<Ship>,
    /// Of samples alone.
    pub remote_writes: Vec<RemoteWrite>,
}

impl Destination {
    /// What every entry does: defaults, checks, unique names. `top` are the entries of
    /// `remote_write` at the top of the file.
    pub fn check(
        top: Vec<RemoteWriteConfig>,
        configs: Vec<DestinationConfig>,
        text: &str,
        folder: &Path,
    ) -> Result<Self, ConfigError> {
        let mut names = HashSet::new();
        let mut ships = Vec::new();
        let mut writes = top;
        for (index, config) in configs.into_iter().enumerate() {
            let fault = |message: String| {
                let message = format!("obs.collector.destinations[{index}]: {message}");
                ConfigError::near_key(text, "destinations", message)
            };
            let (kind, ship) = match (config.obs, config.loki, config.otlp, config.remote_write) {
                (Some(ship), None, None, None) => (ShipKind::Obs, ship),
                (None, Some(ship), None, None) => (ShipKind::Loki, ship),
                (None, None, Some(ship), None) => (ShipKind::Otlp, ship),
                (None, None, None, Some(write)) => {
                    writes.push(write);
                    continue;
                }
                _ => {
                    let text = "expected exactly one of obs, loki, otlp, remote_write";
                    return Err(fault(text.to_owned()));
                }
            };
            let ship = ship.check(kind, folder).map_err(fault)?;
            if !names.insert(ship.name.clone()) {
                return Err(fault(format!("the name {:?} is used twice", ship.name)));
            }
            ships.push(ship);
        }
        Ok(Self {
            ships,
            remote_writes: remote_writes(writes, text, folder)?,
        })
    }

    /// Whether nothing is sent anywhere.
    pub fn is_empty(&self) -> bool {
        self.ships.is_empty() && self.remote_writes.is_empty()
    }
}

impl ShipConfig {
    fn check(mut self, kind: ShipKind, folder: &Path) -> Result<Ship, String> {
        let url = reqwest::Url::parse(&self.url);
        let url = url.map_err(|e| format!("url {:?}: {e}", shown(&self.url)))?;
        if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
            return Err(format!(
                "url {:?}: expected http or https and a host",
                shown(&self.url)
            ));
        }
        for name in self.headers.keys() {
            http::HeaderName::try_from(name.as_str())
                .map_err(|_| format!("headers has the invalid header name {name:?}"))?;
        }
        let mut client = self.take_client();
        client.enable_http2 = Some(client.enable_http2.unwrap_or(false));
        let mut client = client.check()?;
        client.join_paths(folder);
        let span = |span: Option<Span>, default: Duration| span.map_or(default, |s| s.0);
        let min_backoff = span(self.min_backoff, Duration::from_millis(200));
        let max_backoff = span(self.max_backoff, Duration::from_secs(30));
        if min_backoff > max_backoff || min_backoff.is_zero() {
            return Err("min_backoff must be above 0 and at most max_backoff".to_owned());
        }
        let signals = self.signals.unwrap_or_else(|| match kind {
            ShipKind::Loki => vec![Signal::Logs],
            ShipKind::Obs | ShipKind::Otlp => vec![Signal::Metrics, Signal::Logs, Signal::Traces],
        });
        if signals.is_empty() {
            return Err("signals is empty".to_owned());
        }
        if kind == ShipKind::Loki && signals != [Signal::Logs] {
            return Err("a destination loki takes logs only".to_owned());
        }
        let to = |signal: Signal| {
            signals
                .contains(&signal)
                .then(|| endpoint(kind, &url, signal))
        };
        Ok(Ship {
            kind,
            name: match self.name {
                Some(name) if !name.is_empty() => name,
                _ => short_name(&self.url),
            },
            metrics: to(Signal::Metrics),
            logs: to(Signal::Logs),
            traces: to(Signal::Traces),
            tenant: self.tenant,
            timeout: span(self.timeout, Duration::from_secs(30)),
            min_backoff,
            max_backoff,
            max_age: span(self.max_age, Duration::ZERO),
            headers: self.headers,
            client,
        })
    }
}

/// Where a signal goes below the configured URL.
fn endpoint(kind: ShipKind, url: &reqwest::Url, signal: Signal) -> String {
    let bare = url.path() == "/";
    let base = url.as_str().trim_end_matches('/');
    let path = match (kind, signal) {
        // A whole address as other senders have it is left alone.
        (ShipKind::Loki, _) if !bare => return url.to_string(),
        (ShipKind::Loki, _) | (ShipKind::Obs, Signal::Logs) => "/loki/api/v1/push",
        (ShipKind::Obs, Signal::Metrics) => "/api/v1/write",
        (ShipKind::Obs, Signal::Traces) => "/otlp/v1/traces",
        (ShipKind::Otlp, Signal::Metrics) => "/v1/metrics",
        (ShipKind::Otlp, Signal::Logs) => "/v1/logs",
        (ShipKind::Otlp, Signal::Traces) => "/v1/traces",
    };
    format!("{base}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Destination, String> {
        let configs: Vec<DestinationConfig> =
            serde_yaml_ng::from_str(yaml).map_err(|e| e.to_string())?;
        Destination::check(Vec::new(), configs, yaml, Path::new("/etc")).map_err(|e| e.to_string())
    }

    #[test]
    fn addresses_and_defaults() {
        let all = read(
            "[{obs: {url: 'http://h:9090'}}, {loki: {url: 'http://h:3100'}}, \
             {otlp: {url: 'https://h/x', signals: [traces], name: o}}, \
             {remote_write: {url: 'http://h/api/v1/write'}}]",
        )
        .unwrap();
        assert_eq!((all.ships.len(), all.remote_writes.len()), (3, 1));
        let urls = |ship: &Ship| [ship.metrics.clone(), ship.logs.clone(), ship.traces.clone()];
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            urls(&all.ships[0]),
            [
                some("http://h:9090/api/v1/write"),
                some("http://h:9090/loki/api/v1/push"),
                some("http://h:9090/otlp/v1/traces")
            ]
        );
        assert_eq!(
            urls(&all.ships[1]),
            [None, some("http://h:3100/loki/api/v1/push"), None]
        );
        assert_eq!(
            urls(&all.ships[2]),
            [None, None, some("https://h/x/v1/traces")]
        );
        let whole = read("[{loki: {url: 'http://h/push'}}]").unwrap();
        assert_eq!(whole.ships[0].logs, some("http://h/push"));
    }

    #[test]
    fn faults_name_the_entry() {
        let check = |yaml: &str, expect: &str| {
            let fault = read(yaml).unwrap_err();
            assert!(fault.contains(expect), "{fault}");
        };
        check("[{}]", "destinations[0]: expected exactly one");
        check("[{loki: {url: x}}]", "url \"x\"");
        check(
            "[{loki: {url: 'http://x', signals: [traces]}}]",
            "logs only",
        );
        check(
            "[{obs: {url: 'http://x'}}, {otlp: {url: 'http://x'}}]",
            "used twice",
        );
        check("[{loki: {ulr: x}}]", "ulr");
    }
}
