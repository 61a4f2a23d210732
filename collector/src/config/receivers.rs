//! `obs.logs.syslog`, `fluent`, `gelf` and `splunk_hec`, and `obs.traces`: ways in that are off until
//! they are configured.
//!
//! Invariant: tenants and time zones are checked while they are read, so that a fault has its line.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use obs_model::Tenant;
use serde::{Deserialize, Deserializer};

use super::values::{Secret, from_text};

/// `obs.logs.syslog`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyslogConfig {
    /// Where TCP is listened on.
    pub tcp: Option<SocketAddr>,
    /// Where UDP is listened on.
    pub udp: Option<SocketAddr>,
    /// Where TLS is listened on.
    pub tls: Option<TlsListenConfig>,
    /// The zone of times that have none; that of this machine.
    pub timezone: Zone,
    /// Whose messages they are; `anonymous`.
    #[serde(deserialize_with = "tenant")]
    pub tenant: Option<Tenant>,
}

/// A listener with TLS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsListenConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The certificate and those above it, in PEM.
    pub cert_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
    /// Who signs the certificates that clients must show; without it they need none.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

/// `obs.logs.fluent`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FluentConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What clients must know.
    #[serde(default)]
    pub shared_key: Option<Secret>,
    /// A file with it.
    #[serde(default)]
    pub shared_key_file: Option<PathBuf>,
    /// The name that clients are told; `obs`.
    #[serde(default)]
    pub self_hostname: Option<String>,
    /// Whose records they are; `anonymous`.
    #[serde(default, deserialize_with = "tenant")]
    pub tenant: Option<Tenant>,
}

/// `obs.logs.gelf`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GelfConfig {
    /// Where TCP is listened on.
    pub tcp: Option<SocketAddr>,
    /// Where UDP is listened on.
    pub udp: Option<SocketAddr>,
    /// Whose messages they are; `anonymous`.
    #[serde(deserialize_with = "tenant")]
    pub tenant: Option<Tenant>,
}

/// `obs.logs.splunk_hec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplunkConfig {
    /// What clients must show; without any there is no collector.
    pub tokens: Vec<TokenConfig>,
}

/// `obs.traces.jaeger`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JaegerConfig {
    /// Where `CollectorService` is listened for; usually port 14250.
    pub grpc: Option<SocketAddr>,
    /// Where thrift over HTTP is listened for; usually port 14268.
    pub thrift_http: Option<SocketAddr>,
    /// Where datagrams in the compact protocol are listened for; usually port 6831.
    pub udp_compact: Option<SocketAddr>,
    /// Where datagrams in the binary protocol are listened for; usually port 6832.
    pub udp_binary: Option<SocketAddr>,
    /// Where clients ask for sampling strategies; usually port 5778.
    pub sampling: Option<SocketAddr>,
    /// A file with strategies of sampling, as Jaeger reads it; without one all is sampled.
    pub sampling_strategies_file: Option<PathBuf>,
    /// Whose spans datagrams bring; `anonymous`.
    #[serde(deserialize_with = "tenant")]
    pub tenant: Option<Tenant>,
}

/// `obs.traces.zipkin`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZipkinConfig {
    /// Where it listens; usually port 9411.
    pub listen: SocketAddr,
}

/// One of `obs.logs.splunk_hec.tokens`: the text alone, or with whose it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "TokenForm")]
pub struct TokenConfig {
    /// The token.
    pub token: Option<Secret>,
    /// A file with it.
    pub token_file: Option<PathBuf>,
    /// Whose events it brings; what the request says, else `anonymous`.
    pub tenant: Option<Tenant>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenForm {
    Text(Secret),
    Map(TokenMap),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenMap {
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "tenant")]
    tenant: Option<Tenant>,
}

impl From<TokenForm> for TokenConfig {
    fn from(form: TokenForm) -> Self {
        match form {
            TokenForm::Text(token) => Self {
                token: Some(token),
                token_file: None,
                tenant: None,
            },
            TokenForm::Map(map) => Self {
                token: map.token,
                token_file: map.token_file,
                tenant: map.tenant,
            },
        }
    }
}

/// A time zone by its name, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(pub TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::system())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(
            deserializer,
            "a time zone such as Europe/Berlin",
            |text| match text {
                "Local" => Ok(Self::default()),
                "UTC" => Ok(Self(TimeZone::UTC)),
                name => TimeZone::get(name)
                    .map(Self)
                    .map_err(|error| format!("expected a time zone such as UTC: {error}")),
            },
        )
    }
}

fn tenant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tenant>, D::Error> {
    from_text(deserializer, "the name of a tenant", |text| {
        Tenant::new(text)
            .map(Some)
            .map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let syslog: SyslogConfig = serde_yaml_ng::from_str(
            "{tcp: '127.0.0.1:0', tls: {listen: '127.0.0.1:0', cert_file: c, key_file: k}, timezone: UTC, tenant: a}",
        )
        .expect("a configuration");
        assert_eq!(syslog.tenant.as_ref().map(Tenant::as_str), Some("a"));
        assert!(syslog.tls.is_some() && syslog.udp.is_none());
        let splunk: SplunkConfig =
            serde_yaml_ng::from_str("{tokens: [one, {token_file: f, tenant: b}]}").expect("tokens");
        assert_eq!(splunk.tokens[0].token, Some(Secret::new("one")));
        assert_eq!(splunk.tokens[1].token_file, Some("f".into()));
        let traces: crate::config::TracesConfig = serde_yaml_ng::from_str(
            "{jaeger: {grpc: '127.0.0.1:0', tenant: a}, zipkin: {listen: '127.0.0.1:9411'}}",
        )
        .expect("a configuration");
        assert!(traces.jaeger.grpc.is_some() && traces.jaeger.sampling.is_none());
        assert_eq!(traces.zipkin.map(|z| z.listen.port()), Some(9411));
        for (text, expect) in [
            ("{timezone: Mars/Base}", "time zone"),
            ("{tenant: 'a/b'}", "tenant"),
            ("{tpc: x}", "tpc"),
        ] {
            let fault = serde_yaml_ng::from_str::<SyslogConfig>(text).expect_err("a fault");
            assert!(fault.to_string().contains(expect), "{fault}");
        }
    }
}
