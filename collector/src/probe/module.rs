//! Modules of probes, in blackbox_exporter's configuration format.
//!
//! Invariants: expressions are compiled and names checked while the file is read; a key of the
//! exporter that is not served is an error that names it. Format:
//! <https://github.com/prometheus/blackbox_exporter/blob/master/CONFIGURATION.md>

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use obs_model::Pattern;
use serde::{Deserialize, Deserializer};

use crate::config::client::{Auth, Authorization, BasicAuth, RawClient};
use crate::config::{Secret, Span, TlsConfig, Unsupported};

/// `obs.collector.probes`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbesConfig {
    /// Modules by name.
    pub modules: BTreeMap<String, Module>,
    /// A configuration file of blackbox_exporter.
    pub modules_file: Option<PathBuf>,
}

/// A configuration file of blackbox_exporter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModulesFile {
    pub modules: BTreeMap<String, Module>,
}

/// The modules where none are configured.
pub(super) const OWN: &str = "modules: {http_2xx: {prober: http}, http_post_2xx: {prober: http, \
     http: {method: POST}}, tcp_connect: {prober: tcp}, icmp: {prober: icmp}, \
     grpc: {prober: grpc, grpc: {tls: true}}, grpc_plain: {prober: grpc}}";

/// How a target is probed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    pub(super) prober: Prober,
    #[serde(default)]
    pub(super) timeout: Option<Span>,
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) tcp: Tcp,
    #[serde(default)]
    pub(super) dns: Option<Dns>,
    #[serde(default)]
    pub(super) icmp: Icmp,
    #[serde(default)]
    pub(super) grpc: Grpc,
}

impl Module {
    /// Looks at what serde does not; files are below the folder from then on.
    pub(super) fn check(&mut self, folder: &Path) -> Result<(), String> {
        if self.prober == Prober::Dns && self.dns.is_none() {
            return Err("query name must be set for DNS module".to_owned());
        }
        let http = &mut self.http;
        let client = RawClient {
            basic_auth: http.basic_auth.clone(),
            authorization: http.authorization.clone(),
            bearer_token: http.bearer_token.clone(),
            bearer_token_file: http.bearer_token_file.clone(),
            tls_config: Some(http.tls_config.clone()),
            ..RawClient::default()
        };
        let mut client = client.check().map_err(|fault| format!("http: {fault}"))?;
        client.join_paths(folder);
        http.tls_config = client.tls;
        http.auth = Some(client.auth);
        if let Some(file) = &mut http.body_file {
            *file = folder.join(&*file);
        }
        self.tcp.tls_config.settle(folder)?;
        self.grpc.tls_config.settle(folder)?;
        match &mut self.dns {
            Some(dns) => dns.tls_config.settle(folder),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Prober {
    Http,
    Tcp,
    Dns,
    Icmp,
    Grpc,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum IpProtocol {
    #[serde(rename = "ip4")]
    V4,
    #[default]
    #[serde(rename = "ip6", alias = "")]
    V6,
}

/// An expression that may match anywhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Search(pub Pattern);

impl<'de> Deserialize<'de> for Search {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pattern = Pattern::search(&text);
        pattern.map(Self).map_err(serde::de::Error::custom)
    }
}

impl Search {
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderMatch {
    pub header: String,
    pub regexp: Search,
    #[serde(default)]
    pub allow_missing: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub valid_status_codes: Vec<u16>,
    pub valid_http_versions: Vec<String>,
    pub preferred_ip_protocol: IpProtocol,
    pub ip_protocol_fallback: Option<bool>,
    pub skip_resolve_phase_with_proxy: bool,
    pub no_follow_redirects: Option<bool>,
    pub follow_redirects: Option<bool>,
    pub enable_http2: Option<bool>,
    pub fail_if_ssl: bool,
    pub fail_if_not_ssl: bool,
    pub method: String,
    pub headers: BTreeMap<String, String>,
    pub fail_if_body_matches_regexp: Vec<Search>,
    pub fail_if_body_not_matches_regexp: Vec<Search>,
    pub fail_if_header_matches: Vec<HeaderMatch>,
    pub fail_if_header_not_matches: Vec<HeaderMatch>,
    pub body: String,
    pub body_file: Option<PathBuf>,
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    pub bearer_token: Option<Secret>,
    pub bearer_token_file: Option<PathBuf>,
    pub tls_config: TlsConfig,
    /// The client that the keys above make, once they are checked.
    #[serde(skip)]
    pub auth: Option<Auth>,
    pub compression: String,
    pub body_size_limit: Option<crate::config::Size>,
    pub fail_if_body_json_matches_cel: Unsupported,
    pub fail_if_body_json_not_matches_cel: Unsupported,
    pub oauth2: Unsupported,
    pub proxy_url: Unsupported,
    pub proxy_from_environment: Unsupported,
    pub proxy_connect_header: Unsupported,
    pub no_proxy: Unsupported,
    pub enable_http3: Unsupported,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QueryResponse {
    pub expect: Option<Search>,
    pub expect_bytes: String,
    pub labels: Vec<NamedText>,
    pub send: String,
    pub starttls: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedText {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tcp {
    pub preferred_ip_protocol: IpProtocol,
    pub ip_protocol_fallback: Option<bool>,
    pub source_ip_address: Option<IpAddr>,
    pub query_response: Vec<QueryResponse>,
    pub tls: bool,
    pub tls_config: TlsConfig,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    #[default]
    Udp,
    Tcp,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordChecks {
    pub fail_if_matches_regexp: Vec<Search>,
    pub fail_if_all_match_regexp: Vec<Search>,
    pub fail_if_not_matches_regexp: Vec<Search>,
    pub fail_if_none_matches_regexp: Vec<Search>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dns {
    #[serde(default)]
    pub preferred_ip_protocol: IpProtocol,
    #[serde(default)]
    pub ip_protocol_fallback: Option<bool>,
    #[serde(default)]
    pub source_ip_address: Option<IpAddr>,
    #[serde(default)]
    pub transport_protocol: Transport,
    #[serde(default)]
    pub dns_over_tls: bool,
    #[serde(default)]
    pub tls_config: TlsConfig,
    #[serde(default = "class_in", deserialize_with = "class")]
    pub query_class: u16,
    pub query_name: String,
    #[serde(default = "type_any", deserialize_with = "kind")]
    pub query_type: u16,
    #[serde(default)]
    pub recursion_desired: Option<bool>,
    #[serde(default, deserialize_with = "rcodes")]
    pub valid_rcodes: Vec<String>,
    #[serde(default)]
    pub validate_answer_rrs: RecordChecks,
    #[serde(default)]
    pub validate_authority_rrs: RecordChecks,
    #[serde(default)]
    pub validate_additional_rrs: RecordChecks,
}

fn class_in() -> u16 {
    1
}

fn type_any() -> u16 {
    255
}

fn class<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = obs_wire::dns::class_of(&text);
    found.ok_or_else(|| serde::de::Error::custom(format!("query class {text:?} is not valid")))
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = obs_wire::dns::type_of(&text);
    found.ok_or_else(|| serde::de::Error::custom(format!("query type {text:?} is not valid")))
}

fn rcodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let all = Vec::<String>::deserialize(deserializer)?;
    match all.iter().find(|name| !obs_wire::dns::is_rcode(name)) {
        None => Ok(all),
        Some(odd) => Err(serde::de::Error::custom(format!(
            "rcode {odd:?} is not valid"
        ))),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Icmp {
    pub preferred_ip_protocol: IpProtocol,
    pub ip_protocol_fallback: Option<bool>,
    pub source_ip_address: Option<IpAddr>,
    pub payload_size: usize,
    pub dont_fragment: bool,
    pub ttl: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Grpc {
    pub service: String,
    pub preferred_ip_protocol: IpProtocol,
    pub ip_protocol_fallback: Option<bool>,
    pub tls: bool,
    pub tls_config: TlsConfig,
    pub metadata: BTreeMap<String, Vec<String>>,
}
