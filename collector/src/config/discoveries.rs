//! `http_sd_configs`, `dns_sd_configs`, `consul_sd_configs`, `docker_sd_configs` and
//! `nomad_sd_configs`: all of Prometheus' keys, and how they become discoveries.
//!
//! Invariant: settings that exist obey Prometheus' rules; no interval is zero.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Discovery;
use super::client::{Auth, ClientConfig, Credential, with_client_keys};
use super::values::{Secret, Span};

/// Prometheus' default of `refresh_interval` where a server is asked for everything.
const REFRESH: Duration = Duration::from_secs(60);
/// The same where that costs little.
const REFRESH_FAST: Duration = Duration::from_secs(30);

pub(super) fn refresh(own: Option<Span>, default: Duration) -> Result<Duration, String> {
    match own {
        Some(Span(own)) if own.is_zero() => Err("refresh_interval must be above 0".to_owned()),
        Some(Span(own)) => Ok(own),
        None => Ok(default),
    }
}

pub(super) fn url(key: &str, text: &str) -> Result<(), String> {
    let parsed = reqwest::Url::parse(text).map_err(|e| format!("{key} {text:?}: {e}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("{key} {text:?}: expected http or https"));
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err(format!("{key} {text:?}: host is missing"));
    }
    Ok(())
}

with_client_keys! {
    /// One entry of `http_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct HttpDiscovery {
        url: String,
        refresh_interval: Option<Span>,
    }
}

/// `http_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Who is asked.
    pub url: String,
    /// How often.
    pub refresh: Duration,
    /// How.
    pub client: ClientConfig,
}

impl HttpDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        url("url", &self.url)?;
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        Ok(Discovery::Http(Box::new(HttpSettings {
            refresh: refresh(self.refresh_interval, REFRESH)?,
            url: self.url,
            client,
        })))
    }
}

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    /// Addresses of version 4.
    A,
    /// Name servers.
    Ns,
    /// Mail servers.
    Mx,
    /// Addresses of version 6.
    Aaaa,
    /// Services.
    Srv,
}

/// One entry of `dns_sd_configs` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsDiscovery {
    names: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    port: Option<u16>,
    refresh_interval: Option<Span>,
}

/// `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// What is asked for.
    pub names: Vec<String>,
    /// Of which kind.
    pub kind: RecordType,
    /// The port of targets, where records have none.
    pub port: u16,
    /// How often.
    pub refresh: Duration,
}

impl DnsDiscovery {
    pub(super) fn check(self) -> Result<Discovery, String> {
        if self.names.is_empty() {
            return Err("DNS-SD config must contain at least one SRV record name".to_owned());
        }
        let kind = self.kind.as_deref().unwrap_or("SRV").to_ascii_uppercase();
        let kind = match kind.as_str() {
            "SRV" => RecordType::Srv,
            "A" => RecordType::A,
            "AAAA" => RecordType::Aaaa,
            "MX" => RecordType::Mx,
            "NS" => RecordType::Ns,
            other => return Err(format!("invalid DNS-SD records type {other}")),
        };
        if kind != RecordType::Srv && self.port.is_none() {
            return Err(
                "a port is required in DNS-SD configs for all record types except SRV".to_owned(),
            );
        }
        Ok(Discovery::Dns(DnsSettings {
            names: self.names,
            kind,
            port: self.port.unwrap_or(0),
            refresh: refresh(self.refresh_interval, REFRESH_FAST)?,
        }))
    }
}

with_client_keys! {
    /// One entry of `consul_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct ConsulDiscovery {
        server: Option<String>,
        #[serde(default)]
        path_prefix: String,
        token: Option<Secret>,
        #[serde(default)]
        datacenter: String,
        #[serde(default)]
        namespace: String,
        #[serde(default)]
        partition: String,
        tag_separator: Option<String>,
        scheme: Option<String>,
        username: Option<String>,
        password: Option<Secret>,
        allow_stale: Option<bool>,
        refresh_interval: Option<Span>,
        #[serde(default)]
        services: Vec<String>,
        #[serde(default)]
        tags: Vec<String>,
        #[serde(default)]
        node_meta: BTreeMap<String, String>,
        #[serde(default)]
        filter: String,
        #[serde(default)]
        health_filter: String,
    }
}

/// `consul_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulSettings {
    /// Scheme, address and prefix of the API.
    pub base: String,
    /// Parameters of every request, in order.
    pub params: Vec<(String, String)>,
    /// The token of Consul's access control.
    pub token: Option<Secret>,
    /// The datacenter; that of the agent where this is empty.
    pub datacenter: String,
    /// Between tags, and around them.
    pub tag_separator: String,
    /// Least time between two requests for the same.
    pub refresh: Duration,
    /// Services; all where this is empty.
    pub services: Vec<String>,
    /// Tags that a service must have.
    pub tags: Vec<String>,
    /// Filter of the catalog.
    pub filter: String,
    /// Filter of instances.
    pub health_filter: String,
    /// How servers are asked.
    pub client: ClientConfig,
}

impl ConsulDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if self.username.is_some() || self.password.is_some() {
            if client.auth != Auth::None {
                return Err("at most one of consul SD configuration username and password and basic auth can be configured".to_owned());
            }
            let username = Secret::new(self.username.take().unwrap_or_default());
            client.auth = Auth::Basic {
                username: Credential::Inline(username),
                password: self.password.take().map(Credential::Inline),
            };
        }
        if self.token.is_some() && matches!(client.auth, Auth::Header { .. } | Auth::Oauth2(_)) {
            return Err(
                "at most one of consul SD token and authorization can be configured".to_owned(),
            );
        }
        let server = self.server.as_deref().unwrap_or("localhost:8500");
        if server.trim().is_empty() {
            return Err("consul SD configuration requires a server address".to_owned());
        }
        let scheme = self.scheme.as_deref().unwrap_or("http");
        let prefix = self.path_prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        let base = match server.contains("://") {
            true => format!("{}{slash}{prefix}", server.trim_end_matches('/')),
            false => format!("{scheme}://{server}{slash}{prefix}"),
        };
        url("server", &base)?;
        let mut params = Vec::new();
        for (name, value) in [
            ("dc", &self.datacenter),
            ("ns", &self.namespace),
            ("partition", &self.partition),
        ] {
            if !value.is_empty() {
                params.push((name.to_owned(), value.clone()));
            }
        }
        if self.allow_stale.unwrap_or(true) {
            params.push(("stale".to_owned(), String::new()));
        }
        let meta = self.node_meta.iter();
        params
            .extend(meta.map(|(name, value)| ("node-meta".to_owned(), format!("{name}:{value}"))));
        Ok(Discovery::Consul(Box::new(ConsulSettings {
            base,
            params,
            token: self.token,
            datacenter: self.datacenter,
            tag_separator: self.tag_separator.unwrap_or_else(|| ",".to_owned()),
            refresh: refresh(self.refresh_interval, REFRESH_FAST)?,
            services: self.services,
            tags: self.tags,
            filter: self.filter,
            health_filter: self.health_filter,
            client,
        })))
    }
}

/// One entry of `filters`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    name: String,
    values: Vec<String>,
}

with_client_keys! {
    /// One entry of `docker_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct DockerDiscovery {
        host: String,
        port: Option<u16>,
        #[serde(default)]
        filters: Vec<Filter>,
        host_networking_host: Option<String>,
        match_first_network: Option<bool>,
        refresh_interval: Option<Span>,
    }
}

/// `docker_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSettings {
    /// The API, without the slash at its end.
    pub base: String,
    /// The socket of the daemon, where it is one.
    pub socket: Option<String>,
    /// The port of containers that have none.
    pub port: u16,
    /// What containers must be like, as the API takes it.
    pub filters: BTreeMap<String, Vec<String>>,
    /// The address of containers in the network of the host.
    pub host_networking_host: String,
    /// Whether only the first network of a container counts.
    pub match_first_network: bool,
    /// How often.
    pub refresh: Duration,
    /// How the daemon is asked.
    pub client: ClientConfig,
}

impl DockerDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if self.host.is_empty() {
            return Err("host missing".to_owned());
        }
        let (base, socket) = match self.host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => {
                ("http://localhost".to_owned(), Some(path.to_owned()))
            }
            Some(("tcp", rest)) => (format!("http://{rest}"), None),
            Some(("http" | "https", _)) => (self.host.clone(), None),
            _ => {
                return Err(format!(
                    "host {:?}: expected unix:///PATH, tcp://, http:// or https://",
                    self.host
                ));
            }
        };
        url("host", &base)?;
        let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for filter in self.filters {
            filters
                .entry(filter.name)
                .or_default()
                .extend(filter.values);
        }
        let host = self.host_networking_host;
        Ok(Discovery::Docker(Box::new(DockerSettings {
            base: base.trim_end_matches('/').to_owned(),
            socket,
            port: self.port.unwrap_or(80),
            filters,
            host_networking_host: host.unwrap_or_else(|| "localhost".to_owned()),
            match_first_network: self.match_first_network.unwrap_or(true),
            refresh: refresh(self.refresh_interval, REFRESH)?,
            client,
        })))
    }
}

with_client_keys! {
    /// One entry of `nomad_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct NomadDiscovery {
        allow_stale: Option<bool>,
        namespace: Option<String>,
        refresh_interval: Option<Span>,
        region: Option<String>,
        #[serde(default)]
        server: String,
        tag_separator: Option<String>,
    }
}

/// `nomad_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NomadSettings {
    /// The API, without the slash at its end.
    pub base: String,
    /// Parameters of every request, in order.
    pub params: Vec<(String, String)>,
    /// Between tags, and around them.
    pub tag_separator: String,
    /// How often.
    pub refresh: Duration,
    /// How the server is asked.
    pub client: ClientConfig,
}

impl NomadDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if self.server.trim().is_empty() {
            return Err("nomad SD configuration requires a server address".to_owned());
        }
        url("server", &self.server)?;
        let namespace = self.namespace.unwrap_or_else(|| "default".to_owned());
        let region = self.region.unwrap_or_else(|| "global".to_owned());
        let mut params = vec![
            ("namespace".to_owned(), namespace),
            ("region".to_owned(), region),
        ];
        params.retain(|(_, value)| !value.is_empty());
        if self.allow_stale.unwrap_or(true) {
            params.push(("stale".to_owned(), String::new()));
        }
        Ok(Discovery::Nomad(Box::new(NomadSettings {
            base: self.server.trim_end_matches('/').to_owned(),
            params,
            tag_separator: self.tag_separator.unwrap_or_else(|| ",".to_owned()),
            refresh: refresh(self.refresh_interval, REFRESH)?,
            client,
        })))
    }
}
