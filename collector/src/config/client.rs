//! How servers are reached: Prometheus' `http_config` keys, which every section that asks servers
//! has, and what they are after their checks.
//!
//! Invariant: the keys stand once, in [`with_client_keys`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::values::Secret;
use crate::outgoing::Addresses;

/// A secret, inline or in a file that is read again for every scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// In the configuration.
    Inline(Secret),
    /// In a file.
    File(PathBuf),
}

impl Credential {
    fn choose(
        inline: Option<Secret>,
        file: Option<PathBuf>,
        names: &str,
    ) -> Result<Option<Self>, String> {
        match (inline, file) {
            (Some(_), Some(_)) => Err(format!("at most one of {names} must be configured")),
            (Some(secret), None) => Ok(Some(Self::Inline(secret))),
            (None, Some(file)) => Ok(Some(Self::File(file))),
            (None, None) => Ok(None),
        }
    }
}

/// `basic_auth`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BasicAuth {
    username: Option<String>,
    username_file: Option<PathBuf>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

/// `authorization`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Authorization {
    #[serde(rename = "type")]
    kind: Option<String>,
    credentials: Option<Secret>,
    credentials_file: Option<PathBuf>,
}

/// `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificates to trust, in PEM.
    pub ca: Option<String>,
    /// The same in a file.
    pub ca_file: Option<PathBuf>,
    /// Certificate of this client, in PEM.
    pub cert: Option<String>,
    /// The same in a file.
    pub cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key: Option<Secret>,
    /// The same in a file.
    pub key_file: Option<PathBuf>,
    /// The name that the other side's certificate must hold, instead of that of the address.
    pub server_name: Option<String>,
    /// Trust any certificate.
    pub insecure_skip_verify: bool,
    /// `TLS12` or `TLS13`.
    pub min_version: Option<TlsVersion>,
    /// `TLS12` or `TLS13`.
    pub max_version: Option<TlsVersion>,
}

/// Versions of TLS that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// 1.2
    #[serde(rename = "TLS12")]
    Tls12,
    /// 1.3
    #[serde(rename = "TLS13")]
    Tls13,
}

/// One entry of `http_headers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderValues {
    /// Values.
    pub values: Vec<String>,
    /// Values that are not printed.
    pub secrets: Vec<Secret>,
    /// Files with a value each.
    pub files: Vec<PathBuf>,
}

/// Headers that only the scraper itself may set.
const RESERVED_HEADERS: [&str; 12] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
];

/// Makes a structure of configuration that has the keys of an HTTP client beside its own: serde can
/// not tell unknown keys of a structure that is flattened into another.
macro_rules! with_client_keys {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $kind:ty,)*
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $kind,)*
            basic_auth: Option<$crate::config::client::BasicAuth>,
            authorization: Option<$crate::config::client::Authorization>,
            bearer_token: Option<$crate::config::Secret>,
            bearer_token_file: Option<std::path::PathBuf>,
            oauth2: Option<$crate::config::client::RawOauth2>,
            follow_redirects: Option<bool>,
            enable_http2: Option<bool>,
            tls_config: Option<$crate::config::TlsConfig>,
            proxy_url: Option<String>,
            no_proxy: Option<String>,
            #[serde(default)]
            proxy_from_environment: bool,
            #[serde(default)]
            proxy_connect_header: std::collections::BTreeMap<String, Vec<$crate::config::Secret>>,
            #[serde(default)]
            http_headers: std::collections::BTreeMap<String, $crate::config::HeaderValues>,
        }

        impl $name {
            /// Takes the keys of the client out.
            fn take_client(&mut self) -> $crate::config::client::RawClient {
                $crate::config::client::RawClient {
                    basic_auth: self.basic_auth.take(),
                    authorization: self.authorization.take(),
                    bearer_token: self.bearer_token.take(),
                    bearer_token_file: self.bearer_token_file.take(),
                    oauth2: self.oauth2.take(),
                    follow_redirects: self.follow_redirects,
                    enable_http2: self.enable_http2,
                    tls_config: self.tls_config.take(),
                    proxy_url: self.proxy_url.take(),
                    no_proxy: self.no_proxy.take(),
                    proxy_from_environment: self.proxy_from_environment,
                    proxy_connect_header: std::mem::take(&mut self.proxy_connect_header),
                    http_headers: std::mem::take(&mut self.http_headers),
                }
            }
        }
    };
}
pub(super) use with_client_keys;

/// `oauth2`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOauth2 {
    #[serde(default)]
    client_id: String,
    client_secret: Option<Secret>,
    client_secret_file: Option<PathBuf>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    token_url: String,
    #[serde(default)]
    endpoint_params: BTreeMap<String, String>,
    tls_config: Option<TlsConfig>,
    proxy_url: Option<String>,
    no_proxy: Option<String>,
    #[serde(default)]
    proxy_from_environment: bool,
    #[serde(default)]
    proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

impl RawOauth2 {
    fn check(self) -> Result<Oauth2, String> {
        if self.client_id.is_empty() {
            return Err("oauth2 client_id must be configured".to_owned());
        }
        if self.token_url.is_empty() {
            return Err("oauth2 token_url must be configured".to_owned());
        }
        reqwest::Url::parse(&self.token_url)
            .map_err(|e| format!("oauth2 token_url {:?}: {e}", self.token_url))?;
        let secret = Credential::choose(
            self.client_secret,
            self.client_secret_file,
            "oauth2 client_secret & client_secret_file",
        )?;
        let client = RawClient {
            tls_config: self.tls_config,
            proxy_url: self.proxy_url,
            no_proxy: self.no_proxy,
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header,
            ..RawClient::default()
        };
        Ok(Oauth2 {
            client_id: self.client_id,
            secret,
            scopes: self.scopes,
            token_url: self.token_url,
            params: self.endpoint_params,
            client: client.check().map_err(|fault| format!("oauth2: {fault}"))?,
        })
    }
}

/// Where tokens come from, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oauth2 {
    /// Who asks.
    pub client_id: String,
    /// Its secret.
    pub secret: Option<Credential>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Who is asked.
    pub token_url: String,
    /// More parameters of the request.
    pub params: BTreeMap<String, String>,
    /// How the server of tokens is reached.
    pub client: ClientConfig,
}

/// The keys as they were written.
#[derive(Debug, Default)]
pub(crate) struct RawClient {
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    pub bearer_token: Option<Secret>,
    pub bearer_token_file: Option<PathBuf>,
    pub oauth2: Option<RawOauth2>,
    pub follow_redirects: Option<bool>,
    pub enable_http2: Option<bool>,
    pub tls_config: Option<TlsConfig>,
    pub proxy_url: Option<String>,
    pub no_proxy: Option<String>,
    pub proxy_from_environment: bool,
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
    pub http_headers: BTreeMap<String, HeaderValues>,
}

/// Who the client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nobody.
    None,
    /// User name and password.
    Basic {
        /// The name.
        username: Credential,
        /// The password.
        password: Option<Credential>,
    },
    /// `Authorization: KIND CREDENTIALS`.
    Header {
        /// Usually `Bearer`.
        kind: String,
        /// The rest.
        credential: Credential,
    },
    /// Whoever a token stands for.
    Oauth2(Box<Oauth2>),
}

/// Checked settings of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Credentials.
    pub auth: Auth,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken over TLS.
    pub http2: bool,
    /// TLS.
    pub tls: TlsConfig,
    /// Proxy for every request.
    pub proxy_url: Option<String>,
    /// Hosts that are reached without the proxy.
    pub no_proxy: Option<String>,
    /// Proxy as the environment says.
    pub proxy_from_environment: bool,
    /// Headers of the request that opens a way through the proxy.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
    /// More headers.
    pub headers: BTreeMap<String, HeaderValues>,
    /// Which addresses are dialled, where others say where requests go. Not said by the keys.
    pub addresses: Option<Addresses>,
}

impl RawClient {
    pub(crate) fn check(self) -> Result<ClientConfig, String> {
        let ways = usize::from(self.basic_auth.is_some())
            + usize::from(self.authorization.is_some())
            + usize::from(self.bearer_token.is_some())
            + usize::from(self.bearer_token_file.is_some())
            + usize::from(self.oauth2.is_some());
        if ways > 1 {
            return Err("at most one of basic_auth, oauth2, authorization, bearer_token & bearer_token_file must be configured".to_owned());
        }
        for name in self.http_headers.keys() {
            if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!(
                    "setting header {name:?} in http_headers is not allowed"
                ));
            }
            http::HeaderName::try_from(name.as_str())
                .map_err(|_| format!("http_headers has the invalid header name {name:?}"))?;
        }
        if self.proxy_from_environment && (self.proxy_url.is_some() || self.no_proxy.is_some()) {
            return Err(
                "if proxy_from_environment is configured, proxy_url and no_proxy must not be"
                    .to_owned(),
            );
        }
        if self.no_proxy.is_some() && self.proxy_url.is_none() {
            return Err("if no_proxy is configured, proxy_url must also be configured".to_owned());
        }
        if !self.proxy_connect_header.is_empty()
            && self.proxy_url.is_none()
            && !self.proxy_from_environment
        {
            return Err("if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured".to_owned());
        }
        let mut tls = self.tls_config.unwrap_or_default();
        tls.check()?;
        tls.server_name = tls.server_name.filter(|name| !name.is_empty());
        let auth = match self.oauth2 {
            Some(oauth2) => Auth::Oauth2(Box::new(oauth2.check()?)),
            None => choose_auth(
                self.basic_auth,
                self.authorization,
                self.bearer_token,
                self.bearer_token_file,
            )?,
        };
        Ok(ClientConfig {
            auth,
            follow_redirects: self.follow_redirects.unwrap_or(true),
            http2: self.enable_http2.unwrap_or(true),
            tls,
            proxy_url: self.proxy_url.filter(|url| !url.is_empty()),
            no_proxy: self.no_proxy,
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header,
            headers: self.http_headers,
            addresses: None,
        })
    }
}

fn choose_auth(
    basic: Option<BasicAuth>,
    authorization: Option<Authorization>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
) -> Result<Auth, String> {
    if let Some(basic) = basic {
        let username = basic.username.map(Secret::new);
        let username = Credential::choose(
            username,
            basic.username_file,
            "basic_auth username & username_file",
        )?;
        let password = Credential::choose(
            basic.password,
            basic.password_file,
            "basic_auth password & password_file",
        )?;
        return Ok(Auth::Basic {
            username: username.unwrap_or(Credential::Inline(Secret::default())),
            password,
        });
    }
    let (kind, credential) = match authorization {
        Some(authorization) => (
            authorization.kind.unwrap_or_else(|| "Bearer".to_owned()),
            Credential::choose(
                authorization.credentials,
                authorization.credentials_file,
                "authorization credentials & credentials_file",
            )?,
        ),
        None => (
            "Bearer".to_owned(),
            Credential::choose(token, token_file, "bearer_token & bearer_token_file")?,
        ),
    };
    if kind.trim().eq_ignore_ascii_case("basic") {
        return Err(
            "authorization type cannot be set to \"basic\", use \"basic_auth\" instead".to_owned(),
        );
    }
    Ok(match credential {
        Some(credential) => Auth::Header { kind, credential },
        None => Auth::None,
    })
}

impl TlsConfig {
    fn check(&self) -> Result<(), String> {
        for (name, inline, file) in [
            ("ca", self.ca.is_some(), self.ca_file.is_some()),
            ("cert", self.cert.is_some(), self.cert_file.is_some()),
            ("key", self.key.is_some(), self.key_file.is_some()),
        ] {
            if inline && file {
                return Err(format!(
                    "at most one of {name} and {name}_file must be configured in tls_config"
                ));
            }
        }
        let cert = self.cert.is_some() || self.cert_file.is_some();
        let key = self.key.is_some() || self.key_file.is_some();
        if cert != key {
            return Err(
                "tls_config: a client certificate and its key must be configured together"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl ClientConfig {
    /// For requests that go where others say.
    pub fn guard(&mut self, addresses: &Addresses) {
        self.addresses = Some(addresses.clone());
        if let Auth::Oauth2(oauth2) = &mut self.auth {
            oauth2.client.guard(addresses);
        }
    }

    /// Makes the paths of all files relative to the folder of the configuration file.
    pub(crate) fn join_paths(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&path);
        let join_credential = |credential: &mut Credential| match credential {
            Credential::Inline(_) => {}
            Credential::File(path) => join(path),
        };
        match &mut self.auth {
            Auth::None => {}
            Auth::Basic { username, password } => {
                join_credential(username);
                password.iter_mut().for_each(join_credential);
            }
            Auth::Header { credential, .. } => join_credential(credential),
            Auth::Oauth2(oauth2) => {
                oauth2.secret.iter_mut().for_each(join_credential);
                oauth2.client.join_paths(folder);
            }
        }
        self.tls.join_paths(folder);
        self.headers
            .values_mut()
            .flat_map(|values| &mut values.files)
            .for_each(join);
    }
}

with_client_keys! {
    /// The keys of a client and nothing else.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct OnlyClient {}
}

impl ClientConfig {
    /// Reads the keys where they stand alone, such as Alertmanager's `http_config`. Paths are below
    /// the folder.
    pub fn read(keys: &serde_yaml_ng::Value, folder: &Path) -> Result<Self, String> {
        let only: Result<OnlyClient, _> = serde_yaml_ng::from_value(keys.clone());
        let mut config = only.map_err(|e| e.to_string())?.take_client().check()?;
        config.join_paths(folder);
        Ok(config)
    }
}

impl TlsConfig {
    /// Reads `tls_config` where it stands alone. Paths are below the folder.
    pub fn read(keys: &serde_yaml_ng::Value, folder: &Path) -> Result<Self, String> {
        let mut tls: Self = serde_yaml_ng::from_value(keys.clone()).map_err(|e| e.to_string())?;
        tls.settle(folder)?;
        Ok(tls)
    }

    /// Checks the keys; paths are below the folder from then on.
    pub(crate) fn settle(&mut self, folder: &Path) -> Result<(), String> {
        self.check()?;
        self.server_name = self.server_name.take().filter(|name| !name.is_empty());
        self.join_paths(folder);
        Ok(())
    }

    fn join_paths(&mut self, folder: &Path) {
        let files = [&mut self.ca_file, &mut self.cert_file, &mut self.key_file];
        for path in files.into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

/// A client of its keys.
#[cfg(test)]
pub(crate) fn client_config(yaml: &str) -> Result<ClientConfig, String> {
    let mut only: OnlyClient = serde_yaml_ng::from_str(yaml).map_err(|e| e.to_string())?;
    only.take_client().check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_key() {
        let check = |yaml: &str, expect: &str| {
            let fault = client_config(yaml).expect_err(yaml);
            assert!(fault.contains(expect), "{yaml}: {fault}");
        };
        check("{bearer_token: a, oauth2: {}}", "at most one of");
        check("oauth2: {token_url: 'http://x'}", "client_id");
        check("oauth2: {client_id: x}", "token_url");
        check("oauth2: {client_id: x, token_url: y}", "token_url");
        check("oauth2: {secret: x}", "unknown field");
        check("proxy_connect_header: {A: [b]}", "proxy_url");
        check("tls_config: {cert: a}", "key");
        check("http_headers: {Host: {values: [a]}}", "not allowed");
        check("timeout: 3", "unknown field");
    }

    #[test]
    fn files_are_below_the_folder() {
        let yaml = "oauth2: {client_id: a, client_secret_file: s, token_url: 'http://x', tls_config: {ca_file: c}}";
        let mut config = client_config(yaml).expect(yaml);
        config.join_paths(Path::new("/etc"));
        let Auth::Oauth2(oauth2) = config.auth else {
            panic!("{config:?}");
        };
        assert_eq!(oauth2.secret, Some(Credential::File("/etc/s".into())));
        assert_eq!(oauth2.client.tls.ca_file, Some("/etc/c".into()));
    }
}
