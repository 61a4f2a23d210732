//! Prometheus' `web.yml`, in exporter-toolkit's words: TLS, headers and users with bcrypt.
//!
//! Invariants: a key that is not known is an error; nothing older than TLS 1.2 is spoken, whatever
//! the file allows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use obs_collector::config::Secret;
use serde::Deserialize;

use super::passwords::Hash;
use crate::config::TlsVersion;
use crate::tls::{ClientMode, Pem, Terms};

/// Headers that may be set.
const HEADERS: [&str; 5] = [
    "content-security-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
];

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebConfig {
    tls_server_config: Option<WebTls>,
    http_server_config: WebHttp,
    basic_auth_users: BTreeMap<String, Secret>,
    rate_limit: Option<RateLimit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebTls {
    cert: Option<String>,
    cert_file: Option<PathBuf>,
    key: Option<Secret>,
    key_file: Option<PathBuf>,
    client_auth_type: String,
    client_ca: Option<String>,
    client_ca_file: Option<PathBuf>,
    client_allowed_sans: Vec<String>,
    min_version: Option<Version>,
    max_version: Option<Version>,
    cipher_suites: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Version {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebHttp {
    http2: bool,
    headers: BTreeMap<String, String>,
}

impl Default for WebHttp {
    fn default() -> Self {
        Self {
            http2: true,
            headers: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimit {
    #[expect(dead_code, reason = "obs has limits of its own")]
    burst: Option<u64>,
    #[expect(dead_code, reason = "obs has limits of its own")]
    interval: Option<String>,
}

/// What the file says, checked.
#[derive(Debug, Default)]
pub(super) struct Web {
    pub(super) tls: Option<Terms>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) users: Vec<(String, Hash)>,
    /// What is read and not done.
    pub(super) notices: Vec<String>,
}

/// Reads the file; relative paths start from its folder.
pub(super) fn parse(text: &str, folder: &Path) -> Result<Web, String> {
    let config: Option<WebConfig> =
        serde_yaml_ng::from_str(text).map_err(|fault| fault.to_string())?;
    let config = config.unwrap_or_default();
    let mut web = Web::default();
    if config.rate_limit.is_some() {
        let told = "rate_limit is not applied: obs.limits bounds what is asked";
        web.notices.push(told.to_owned());
    }
    for (name, value) in config.http_server_config.headers {
        if !HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(format!("HTTP header {name:?} can not be configured"));
        }
        web.headers.push((name, value));
    }
    for (name, hash) in config.basic_auth_users {
        let parsed = Hash::parse(hash.reveal());
        let hash = parsed.map_err(|fault| format!("basic_auth_users: {name}: {fault}"))?;
        web.users.push((name, hash));
    }
    if let Some(tls) = config.tls_server_config {
        let http2 = config.http_server_config.http2;
        let terms = tls.terms(folder, http2, &mut web.notices);
        web.tls = Some(terms.map_err(|fault| format!("tls_server_config: {fault}"))?);
    }
    Ok(web)
}

fn pem(
    (inline, file): (Option<String>, Option<PathBuf>),
    folder: &Path,
    name: &str,
) -> Result<Option<Pem>, String> {
    let inline = inline.filter(|text| !text.is_empty());
    let file = file.filter(|path| !path.as_os_str().is_empty());
    match (inline, file) {
        (Some(_), Some(_)) => Err(format!("{name} and {name}_file exclude each other")),
        (Some(text), None) => Ok(Some(Pem::Inline(text))),
        (None, Some(path)) => Ok(Some(Pem::File(folder.join(path)))),
        (None, None) => Ok(None),
    }
}

impl WebTls {
    fn terms(self, folder: &Path, http2: bool, notices: &mut Vec<String>) -> Result<Terms, String> {
        let missing = |name: &str| format!("expected {name} or {name}_file");
        let cert = pem((self.cert, self.cert_file), folder, "cert")?;
        let key = self.key.map(|key| key.reveal().to_owned());
        let key = pem((key, self.key_file), folder, "key")?;
        let ca = pem((self.client_ca, self.client_ca_file), folder, "client_ca")?;
        let clients = match self.client_auth_type.as_str() {
            "RequestClientCert" => ClientMode::Request,
            "RequireAnyClientCert" | "RequireClientCert" => ClientMode::RequireAny,
            "VerifyClientCertIfGiven" => ClientMode::VerifyIfGiven,
            "RequireAndVerifyClientCert" => ClientMode::RequireAndVerify,
            "" | "NoClientCert" => ClientMode::None,
            other => return Err(format!("Invalid ClientAuth: {other}")),
        };
        if clients.verifies() && ca.is_none() {
            return Err(missing("client_ca"));
        }
        if ca.is_some() && clients == ClientMode::None {
            return Err("Client CA's have been configured without a Client Auth Policy".to_owned());
        }
        if !self.client_allowed_sans.is_empty() && !clients.verifies() {
            return Err(
                "client_allowed_sans: expected client_auth_type RequireAndVerifyClientCert or \
                 VerifyClientCertIfGiven"
                    .to_owned(),
            );
        }
        if !self.curve_preferences.is_empty() || self.prefer_server_cipher_suites == Some(false) {
            let told = "curve_preferences and prefer_server_cipher_suites are not applied: rustls \
                        chooses";
            notices.push(told.to_owned());
        }
        let min = match self.min_version {
            Some(Version::Tls10 | Version::Tls11) => {
                notices.push("min_version: nothing older than TLS12 is spoken".to_owned());
                TlsVersion::Tls12
            }
            Some(Version::Tls13) => TlsVersion::Tls13,
            None | Some(Version::Tls12) => TlsVersion::Tls12,
        };
        let max = match self.max_version {
            Some(Version::Tls10 | Version::Tls11) => {
                return Err("max_version: nothing older than TLS12 is spoken".to_owned());
            }
            Some(Version::Tls12) => TlsVersion::Tls12,
            None | Some(Version::Tls13) => TlsVersion::Tls13,
        };
        if min > max {
            return Err("expected a min_version that is not above max_version".to_owned());
        }
        Ok(Terms {
            cert: cert.ok_or_else(|| missing("cert"))?,
            key: key.ok_or_else(|| missing("key"))?,
            ca,
            clients,
            sans: self.client_allowed_sans,
            versions: (min, max),
            suites: self.cipher_suites,
            http2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

    #[test]
    fn files_of_exporter_toolkit_are_read() {
        let check = |text: &str, expect: Result<(), &str>| {
            let found = parse(text, Path::new("/etc"));
            match (&found, expect) {
                (Ok(_), Ok(())) => {}
                (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{text}: {fault}"),
                _ => panic!("{text}: {found:?}"),
            }
        };
        check("", Ok(()));
        check(&format!("basic_auth_users: {{alice: {USER}}}"), Ok(()));
        check(
            "basic_auth_users: {alice: secret}",
            Err("alice: expected a hash"),
        );
        let tls = |rest: &str| format!("tls_server_config: {{cert_file: a, key_file: b{rest}}}");
        check(&tls(""), Ok(()));
        check(
            &tls(", min_version: TLS10, cipher_suites: [TLS_AES_128_GCM_SHA256]"),
            Ok(()),
        );
        check(&tls(", max_version: TLS11"), Err("older than TLS12"));
        check(
            &tls(", min_version: TLS13, max_version: TLS12"),
            Err("not above"),
        );
        check(&tls(", min_version: TLS9"), Err("TLS9"));
        check(
            &tls(", client_auth_type: RequireAndVerifyClientCert"),
            Err("client_ca"),
        );
        check(
            &tls(", client_ca_file: c"),
            Err("without a Client Auth Policy"),
        );
        check(
            &tls(", client_auth_type: Whatever"),
            Err("Invalid ClientAuth: Whatever"),
        );
        check(
            &tls(", client_allowed_sans: [a]"),
            Err("client_allowed_sans"),
        );
        check(&tls(", cert: x"), Err("exclude each other"));
        check("tls_server_config: {cert_file: a}", Err("key_file"));
        check("tls_server_confg: {}", Err("tls_server_confg"));
        check(
            "http_server_config: {headers: {X-Frame-Options: deny}}",
            Ok(()),
        );
        check(
            "http_server_config: {headers: {Set-Cookie: a}}",
            Err("Set-Cookie"),
        );
    }

    #[test]
    fn terms_of_tls() {
        let text = "tls_server_config:\n  cert_file: a.pem\n  key_file: /k.pem\n  client_auth_type: \
                    RequireAndVerifyClientCert\n  client_ca_file: ca.pem\nhttp_server_config:\n  \
                    http2: false\n";
        let terms = parse(text, Path::new("/etc"))
            .expect("valid")
            .tls
            .expect("there");
        assert_eq!(terms.cert, Pem::File("/etc/a.pem".into()));
        assert_eq!(terms.key, Pem::File("/k.pem".into()));
        assert_eq!(terms.clients, ClientMode::RequireAndVerify);
        assert!(!terms.http2);
    }
}
