//! A client as a configuration wants it: TLS, proxy, credentials, headers. Scraping, forwarding and
//! discovery all ask through it.
//!
//! Invariants: certificates are read when the client is made, secrets in files for every request;
//! no answer is taken into memory beyond the bound of who asks.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Response, StatusCode};

use super::oauth2::Tokens;
use super::server_name;
use super::{build, chain, choose_provider};
use crate::config::{Auth, ClientConfig, Credential, TlsConfig, TlsVersion};
use crate::outgoing::{Guard, Refused};

/// Said to the other side.
const USER_AGENT: &str = concat!("obs/", env!("CARGO_PKG_VERSION"));
/// Characters of an answer that is not as it should be, which are shown.
const SHOWN_CHARS: usize = 256;

/// What the use of a client adds to its configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use<'a> {
    /// Whether compressed answers are asked for.
    pub compression: bool,
    /// The socket that every request goes to, wherever its address points.
    pub unix_socket: Option<&'a Path>,
}

/// A client with all that its configuration asks for.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client,
    config: Arc<ClientConfig>,
    tokens: Option<Arc<Tokens>>,
    guard: Guard,
}

impl HttpClient {
    /// Makes a client; certificates are read now.
    pub async fn new(config: &ClientConfig, of: Use<'_>) -> Result<Self, String> {
        let tokens = match &config.auth {
            Auth::Oauth2(oauth2) => {
                let guard = guard(&oauth2.client);
                let client = connect(&oauth2.client, Use::default(), &guard).await;
                let client = client.map_err(|fault| format!("oauth2: {fault}"))?;
                Some(Arc::new(Tokens::new(client, oauth2)))
            }
            Auth::None | Auth::Basic { .. } | Auth::Header { .. } => None,
        };
        let guard = guard(config);
        Ok(Self {
            client: connect(config, of, &guard).await?,
            config: Arc::new(config.clone()),
            tokens,
            guard,
        })
    }

    /// What requests are made with.
    pub(crate) fn requests(&self) -> &Client {
        &self.client
    }

    /// Decides on the address of a request before it is sent.
    pub(crate) fn check(&self, host: Option<&str>) -> Result<(), Refused> {
        match self.config.proxy_url {
            Some(_) => Ok(()),
            None => self.guard.check_first(host),
        }
    }

    /// Whether the configuration says who asks.
    pub(crate) fn has_credentials(&self) -> bool {
        self.config.auth != Auth::None
    }

    /// Whether [`HttpClient::put_headers`] puts the same every time.
    pub(crate) fn is_steady(&self) -> bool {
        let is_file = |credential: &Credential| matches!(credential, Credential::File(_));
        let changes = match &self.config.auth {
            Auth::None => false,
            Auth::Basic { username, password } => {
                is_file(username) || password.as_ref().is_some_and(is_file)
            }
            Auth::Header { credential, .. } => is_file(credential),
            Auth::Oauth2(_) => true,
        };
        let headers = &self.config.headers;
        !changes && headers.values().all(|values| values.files.is_empty())
    }

    /// Puts the headers that credentials and `http_headers` ask for; secrets in files are read now.
    pub(crate) async fn put_headers(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let authorization = match &self.tokens {
            Some(tokens) => Some(tokens.header().await?),
            None => authorization(&self.config.auth).await?,
        };
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        for (name, values) in &self.config.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|e| e.to_string())?;
            for text in &values.values {
                headers.append(name.clone(), header_value(text)?);
            }
            for secret in &values.secrets {
                headers.append(name.clone(), secret_value(secret.reveal())?);
            }
            for file in &values.files {
                headers.append(name.clone(), secret_value(&read_secret(file).await?)?);
            }
        }
        Ok(())
    }

    /// Sends a request with the headers of the configuration and takes a good answer, at most so
    /// many bytes of it.
    pub(crate) async fn ask(
        &self,
        request: reqwest::RequestBuilder,
        bytes_max: usize,
    ) -> Result<Answer, String> {
        let mut headers = HeaderMap::new();
        self.put_headers(&mut headers).await?;
        let response = request.headers(headers).send().await;
        let response = response.map_err(|e| chain(&e))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = body(response, bytes_max).await?;
        if status == StatusCode::OK {
            return Ok(Answer { headers, body });
        }
        let shown = String::from_utf8_lossy(&body);
        let shown: String = shown.trim().chars().take(SHOWN_CHARS).collect();
        Err(format!("server returned HTTP status {status}: {shown}"))
    }
}

/// Whatever was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// `Content-Type`; empty where there is none.
    pub content_type: String,
    /// The begin of the body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The request cannot be made, now or later.
    #[error("{0}")]
    Request(String),
    /// Nobody answered, or secrets cannot be read now.
    #[error("{0}")]
    Connection(String),
}

impl HttpClient {
    /// Sends a request; its own headers stand over those of the configuration. Whatever is answered
    /// is good, and no more of its body is read than so many bytes. Faults do not tell the address,
    /// which may hold a secret.
    pub async fn exchange(
        &self,
        request: http::Request<Bytes>,
        bytes_max: usize,
    ) -> Result<Answered, Unanswered> {
        let mut headers = HeaderMap::new();
        let put = self.put_headers(&mut headers).await;
        put.map_err(Unanswered::Connection)?;
        let (parts, body) = request.into_parts();
        let refused = |refused: Refused| Unanswered::Connection(refused.to_string());
        self.check(parts.uri.host()).map_err(refused)?;
        for name in parts.headers.keys() {
            headers.remove(name);
        }
        headers.extend(parts.headers);
        let request = self.client.request(parts.method, parts.uri.to_string());
        let sent = request.headers(headers).body(body).send().await;
        let mut response = sent.map_err(|error| {
            let error = error.without_url();
            match error.is_builder() {
                true => Unanswered::Request(chain(&error)),
                false => Unanswered::Connection(chain(&error)),
            }
        })?;
        let broken = |error: reqwest::Error| Unanswered::Connection(chain(&error.without_url()));
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("").to_owned();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            let room = bytes_max - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(Answered {
            status: response.status().as_u16(),
            content_type,
            body: body.freeze(),
        })
    }
}

/// An answer with status 200.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its headers.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

impl Answer {
    /// The first part of `Content-Type`.
    pub(crate) fn media_type(&self) -> &str {
        let value = self.headers.get(header::CONTENT_TYPE);
        let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
        value.split(';').next().unwrap_or("").trim()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|e| e.to_string())
    }
}

/// The header that says who asks; none for nobody and for whoever needs a token.
pub(crate) async fn authorization(auth: &Auth) -> Result<Option<HeaderValue>, String> {
    let text = match auth {
        Auth::None | Auth::Oauth2(_) => return Ok(None),
        Auth::Basic { username, password } => {
            let username = reveal(username).await?;
            let password = match password {
                Some(password) => reveal(password).await?,
                None => String::new(),
            };
            let pair = STANDARD.encode(format!("{username}:{password}"));
            format!("Basic {pair}")
        }
        Auth::Header { kind, credential } => format!("{kind} {}", reveal(credential).await?),
    };
    secret_value(&text).map(Some)
}

/// A body of at most so many bytes.
pub(super) async fn body(mut response: Response, bytes_max: usize) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| chain(&e))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("answer of more than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "a header value is not printable".to_owned())
}

/// A value that is not shown where headers are.
pub(super) fn secret_value(text: &str) -> Result<HeaderValue, String> {
    let mut value = header_value(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a credential is now.
pub(crate) async fn reveal(credential: &Credential) -> Result<String, String> {
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

/// What the redirects of a client may lead to. Where a proxy is asked, it is the one that resolves.
fn guard(config: &ClientConfig) -> Guard {
    let addresses = config.addresses.as_ref();
    Guard::new(
        addresses.filter(|_| config.proxy_url.is_none()),
        !config.headers.is_empty(),
    )
}

async fn connect(config: &ClientConfig, of: Use<'_>, guard: &Guard) -> Result<Client, String> {
    let certificates = Certificates::read(&config.tls).await?;
    let make = || builder(config, (of, guard), &certificates);
    choose_provider();
    if let Some(name) = &config.tls.server_name
        && !config.tls.insecure_skip_verify
    {
        let tls = server_name::config(name, config, &certificates)?;
        let made = make()?.tls_backend_preconfigured(tls).build();
        return made.map_err(|e| chain(&e));
    }
    if certificates.trusted.is_none() {
        return build(make, ClientBuilder::build);
    }
    make()?.build().map_err(|e| chain(&e))
}

/// What the files of `tls_config` hold, in PEM.
pub(super) struct Certificates {
    pub(super) trusted: Option<Vec<u8>>,
    /// Certificate and key of this client.
    pub(super) identity: Option<Vec<u8>>,
}

impl Certificates {
    pub(super) async fn read(tls: &TlsConfig) -> Result<Self, String> {
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
    (of, guard): (Use<'_>, &Guard),
    certificates: &Certificates,
) -> Result<ClientBuilder, String> {
    let redirects = if config.follow_redirects {
        guard.policy()
    } else {
        reqwest::redirect::Policy::none()
    };
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .gzip(of.compression)
        .dns_resolver(Arc::new(guard.clone()))
        .redirect(redirects);
    if !config.http2 {
        builder = builder.http1_only();
    }
    if let Some(path) = of.unix_socket {
        builder = builder.unix_socket(path.to_path_buf());
    }
    if let Some(url) = &config.proxy_url {
        let bypass = config.no_proxy.as_deref();
        let bypass = bypass.and_then(reqwest::NoProxy::from_string);
        let mut proxy = reqwest::Proxy::all(url.as_str()).map_err(|e| format!("proxy_url: {e}"))?;
        if !config.proxy_connect_header.is_empty() {
            proxy = proxy.headers(connect_headers(config)?);
        }
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

fn connect_headers(config: &ClientConfig) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.proxy_connect_header {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|_| format!("proxy_connect_header has the invalid header name {name:?}"))?;
        for value in values {
            headers.append(name.clone(), secret_value(value.reveal())?);
        }
    }
    Ok(headers)
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

#[cfg(test)]
mod tests;
