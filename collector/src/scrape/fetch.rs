//! Asking a target for its metrics: the request as Prometheus makes it, a bounded body, the format
//! of the answer.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{
    Auth, ClientConfig, Credential, Job, NameEscaping, Protocol, TlsConfig, TlsVersion,
};
use crate::discovery::Target;
use crate::http_client::{self, chain};

/// Most redirects that are followed, as Prometheus' HTTP client.
const REDIRECTS_MAX: usize = 10;
/// Said to targets.
const USER_AGENT: &str = concat!("obs/", env!("CARGO_PKG_VERSION"));

/// What a target answered.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub body: Bytes,
    pub format: Format,
    /// The body's place among those in memory; held until it is decoded.
    pub place: OwnedSemaphorePermit,
}

/// How the body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    Text,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FetchError {
    /// Larger than this many bytes.
    TooLarge(u64),
    /// Anything else.
    Failed(String),
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "body size limit exceeded (limit: {limit} bytes)"),
            Self::Failed(message) => f.write_str(message),
        }
    }
}

/// The client of one job. Certificates are read now.
pub(crate) async fn client(config: &ClientConfig, compression: bool) -> Result<Client, String> {
    let certificates = Certificates::read(&config.tls).await?;
    let make = || builder(config, compression, &certificates);
    if certificates.trusted.is_none() {
        return http_client::build(make, ClientBuilder::build);
    }
    http_client::choose_provider();
    make()?.build().map_err(|e| chain(&e))
}

/// What the files of `tls_config` hold, in PEM.
struct Certificates {
    trusted: Option<Vec<u8>>,
    /// Certificate and key of this client.
    identity: Option<Vec<u8>>,
}

impl Certificates {
    async fn read(tls: &TlsConfig) -> Result<Self, String> {
        let trusted = pem(tls.ca.as_deref(), tls.ca_file.as_deref()).await?;
        let mut identity = pem(tls.cert.as_deref(), tls.cert_file.as_deref()).await?;
        if let Some(identity) = &mut identity {
            let key = tls.key.as_ref().map(|key| key.reveal());
            identity.push(b'\n');
            identity.extend(pem(key, tls.key_file.as_deref()).await?.unwrap_or_default());
        }
        Ok(Self { trusted, identity })
    }
}

fn builder(
    config: &ClientConfig,
    compression: bool,
    certificates: &Certificates,
) -> Result<ClientBuilder, String> {
    let redirects = if config.follow_redirects {
        reqwest::redirect::Policy::limited(REDIRECTS_MAX)
    } else {
        reqwest::redirect::Policy::none()
    };
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .gzip(compression)
        .redirect(redirects);
    if !config.http2 {
        builder = builder.http1_only();
    }
    if let Some(url) = &config.proxy_url {
        let bypass = config.no_proxy.as_deref();
        let bypass = bypass.and_then(reqwest::NoProxy::from_string);
        let proxy = reqwest::Proxy::all(url.as_str()).map_err(|e| format!("proxy_url: {e}"))?;
        builder = builder.proxy(proxy.no_proxy(bypass));
    } else if !config.proxy_from_environment {
        builder = builder.no_proxy();
    }
    let tls = &config.tls;
    if let Some(pem) = &certificates.trusted {
        let trusted = reqwest::Certificate::from_pem_bundle(pem);
        builder = builder.tls_certs_only(trusted.map_err(|e| format!("tls_config.ca: {e}"))?);
    }
    if let Some(pem) = &certificates.identity {
        let identity = reqwest::Identity::from_pem(pem);
        builder = builder.identity(identity.map_err(|e| format!("tls_config.cert: {e}"))?);
    }
    let version = |version: TlsVersion| match version {
        TlsVersion::Tls12 => reqwest::tls::Version::TLS_1_2,
        TlsVersion::Tls13 => reqwest::tls::Version::TLS_1_3,
    };
    if let Some(min) = tls.min_version {
        builder = builder.tls_version_min(version(min));
    }
    if let Some(max) = tls.max_version {
        builder = builder.tls_version_max(version(max));
    }
    Ok(builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify))
}

async fn pem(inline: Option<&str>, file: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    match (inline, file) {
        (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(path)) => match tokio::fs::read(path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) => Err(format!("{}: {e}", path.display())),
        },
        (None, None) => Ok(None),
    }
}

/// The `Accept` header: each format with falling weight, as Prometheus writes it.
pub(crate) fn accept(protocols: &[Protocol], escaping: NameEscaping) -> String {
    let escaping = match escaping {
        NameEscaping::AllowUtf8 => "allow-utf-8",
        NameEscaping::Underscores => "underscores",
        NameEscaping::Dots => "dots",
        NameEscaping::Values => "values",
    };
    // Prometheus starts from the number of formats it knows (five) and one.
    let mut weight = 7u8;
    let mut out = String::new();
    for protocol in protocols {
        weight = weight.saturating_sub(1);
        let media = match protocol {
            Protocol::PrometheusProto => continue,
            Protocol::OpenMetrics1 => {
                format!("application/openmetrics-text;version=1.0.0;escaping={escaping}")
            }
            Protocol::OpenMetrics0 => "application/openmetrics-text;version=0.0.1".to_owned(),
            Protocol::Text1 => format!("text/plain;version=1.0.0;escaping={escaping}"),
            Protocol::Text0 => "text/plain;version=0.0.4".to_owned(),
        };
        out.push_str(&format!("{media};q=0.{weight},"));
    }
    out.push_str(&format!("*/*;q=0.{}", weight.saturating_sub(1)));
    out
}

/// Asks once. The deadline is the caller's. A place is taken only when there is a body to receive:
/// targets that do not answer must not hold up those that do.
pub(crate) async fn fetch(
    client: &Client,
    job: &Job,
    target: &Target,
    body_bytes_max: u64,
    places: &Arc<Semaphore>,
) -> Result<Fetched, FetchError> {
    let headers = request_headers(job, target)
        .await
        .map_err(FetchError::Failed)?;
    let request = client.get(&target.url).headers(headers);
    let failed = |e: reqwest::Error| FetchError::Failed(chain(&e));
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        let status = response.status();
        return Err(FetchError::Failed(format!(
            "server returned HTTP status {status}"
        )));
    }
    let format = format(&response, job).map_err(FetchError::Failed)?;
    let limit = match job.limits.body_bytes {
        0 => body_bytes_max,
        own => own.min(body_bytes_max),
    };
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(|_| FetchError::Failed("scraping has shut down".to_owned()))?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(FetchError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    let body = body.freeze();
    Ok(Fetched {
        body,
        format,
        place,
    })
}

async fn request_headers(job: &Job, target: &Target) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| "a header value is not printable".to_owned())
    };
    headers.insert(
        header::ACCEPT,
        value(&accept(&job.protocols, job.escaping))?,
    );
    headers.insert(
        "x-prometheus-scrape-timeout-seconds",
        value(&target.timeout.as_secs_f64().to_string())?,
    );
    if !job.compression {
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
    }
    put_client_headers(&job.client, &mut headers).await?;
    Ok(headers)
}

/// The headers that `authorization`, `basic_auth` and `http_headers` ask for; secrets in files are
/// read now.
pub(crate) async fn put_client_headers(
    client: &ClientConfig,
    headers: &mut HeaderMap,
) -> Result<(), String> {
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| "a header value is not printable".to_owned())
    };
    let authorization = match &client.auth {
        Auth::None => None,
        Auth::Basic { username, password } => {
            let username = reveal(username).await?;
            let password = match password {
                Some(password) => reveal(password).await?,
                None => String::new(),
            };
            Some(format!(
                "Basic {}",
                base64(format!("{username}:{password}").as_bytes())
            ))
        }
        Auth::Header { kind, credential } => Some(format!("{kind} {}", reveal(credential).await?)),
    };
    if let Some(authorization) = authorization {
        let mut value = value(&authorization)?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    for (name, values) in &client.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|e| e.to_string())?;
        for text in &values.values {
            headers.append(name.clone(), value(text)?);
        }
        for secret in &values.secrets {
            headers.append(name.clone(), value(secret.reveal())?);
        }
        for file in &values.files {
            headers.append(name.clone(), value(&read_secret(file).await?)?);
        }
    }
    Ok(())
}

async fn reveal(credential: &Credential) -> Result<String, String> {
    match credential {
        Credential::Inline(secret) => Ok(secret.reveal().to_owned()),
        Credential::File(path) => read_secret(path).await,
    }
}

async fn read_secret(path: &Path) -> Result<String, String> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

/// Base 64 with padding (RFC 4648), for basic authentication.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for index in 0..4 {
            let digit = (bits >> (18 - 6 * index)) & 0x3f;
            let digit = char::from(ALPHABET[digit as usize]);
            out.push(if index <= group.len() { digit } else { '=' });
        }
    }
    out
}

fn format(response: &Response, job: &Job) -> Result<Format, String> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|v| v.to_str().ok()).unwrap_or("");
    format_of(content_type, job.fallback)
}

fn format_of(content_type: &str, fallback: Option<Protocol>) -> Result<Format, String> {
    let media = content_type.split(';').next().unwrap_or("").trim();
    match media.to_ascii_lowercase().as_str() {
        "application/openmetrics-text" => return Ok(Format::OpenMetrics),
        "text/plain" => return Ok(Format::Text),
        _ => {}
    }
    match fallback {
        Some(Protocol::OpenMetrics1 | Protocol::OpenMetrics0) => Ok(Format::OpenMetrics),
        Some(Protocol::Text1 | Protocol::Text0) => Ok(Format::Text),
        Some(Protocol::PrometheusProto) | None if content_type.is_empty() => Err(
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target".to_owned(),
        ),
        Some(Protocol::PrometheusProto) | None => Err(format!(
            "received unsupported Content-Type {content_type:?} and no fallback_scrape_protocol specified for target"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_that_of_prometheus() {
        let all = [
            Protocol::OpenMetrics1,
            Protocol::OpenMetrics0,
            Protocol::Text1,
            Protocol::Text0,
        ];
        assert_eq!(
            accept(&all, NameEscaping::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            accept(&[Protocol::Text0], NameEscaping::Dots),
            "text/plain;version=0.0.4;q=0.6,*/*;q=0.5"
        );
    }

    #[test]
    fn content_types() {
        let check = |text: &str, fallback, expect| {
            assert_eq!(format_of(text, fallback).ok(), expect, "{text}");
        };
        check(
            "text/plain; version=0.0.4; charset=utf-8",
            None,
            Some(Format::Text),
        );
        check(
            "application/openmetrics-text; version=1.0.0",
            None,
            Some(Format::OpenMetrics),
        );
        check("", None, None);
        check("text/html", None, None);
        check("text/html", Some(Protocol::Text1), Some(Format::Text));
        check("", Some(Protocol::OpenMetrics1), Some(Format::OpenMetrics));
    }

    #[test]
    fn base64_pads() {
        for (text, expect) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("u:p\u{ff}", "dTpww78="),
        ] {
            assert_eq!(base64(text.as_bytes()), expect);
        }
    }
}
