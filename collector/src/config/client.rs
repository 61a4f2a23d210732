//! How targets are reached: Prometheus' `http_config` keys after their checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::values::{Secret, Unsupported};

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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BasicAuth {
    username: Option<String>,
    username_file: Option<PathBuf>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

/// `authorization`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Authorization {
    #[serde(rename = "type")]
    kind: Option<String>,
    credentials: Option<Secret>,
    credentials_file: Option<PathBuf>,
}

/// `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    server_name: Option<Unsupported>,
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

/// The keys as they stand in a scrape configuration.
#[derive(Debug, Default)]
pub(super) struct RawClient {
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    pub bearer_token: Option<Secret>,
    pub bearer_token_file: Option<PathBuf>,
    pub follow_redirects: Option<bool>,
    pub enable_http2: Option<bool>,
    pub tls_config: Option<TlsConfig>,
    pub proxy_url: Option<String>,
    pub no_proxy: Option<String>,
    pub proxy_from_environment: bool,
    pub http_headers: BTreeMap<String, HeaderValues>,
}

/// Who the scraper says it is.
#[derive(Clone, Debug, PartialEq)]
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
}

/// Checked settings of the client of one job.
#[derive(Clone, Debug, PartialEq)]
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
    /// More headers.
    pub headers: BTreeMap<String, HeaderValues>,
}

impl RawClient {
    pub(super) fn check(self) -> Result<ClientConfig, String> {
        let ways = usize::from(self.basic_auth.is_some())
            + usize::from(self.authorization.is_some())
            + usize::from(self.bearer_token.is_some())
            + usize::from(self.bearer_token_file.is_some());
        if ways > 1 {
            return Err("at most one of basic_auth, authorization, bearer_token & bearer_token_file must be configured".to_owned());
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
        let tls = self.tls_config.unwrap_or_default();
        tls.check()?;
        Ok(ClientConfig {
            auth: choose_auth(
                self.basic_auth,
                self.authorization,
                self.bearer_token,
                self.bearer_token_file,
            )?,
            follow_redirects: self.follow_redirects.unwrap_or(true),
            http2: self.enable_http2.unwrap_or(true),
            tls,
            proxy_url: self.proxy_url.filter(|url| !url.is_empty()),
            no_proxy: self.no_proxy,
            proxy_from_environment: self.proxy_from_environment,
            headers: self.http_headers,
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
    /// Makes the paths of all files relative to the folder of the configuration file.
    pub(super) fn join_paths(&mut self, folder: &Path) {
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
        }
        let tls = &mut self.tls;
        [&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file]
            .into_iter()
            .flatten()
            .for_each(join);
        self.headers
            .values_mut()
            .flat_map(|values| &mut values.files)
            .for_each(join);
    }
}
