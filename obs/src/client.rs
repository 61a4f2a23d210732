//! Talks HTTP to a server. Errors say what was asked of whom and what the server said.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use obs_model::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::arguments::{ServerOptions, TimeOptions, duration};
use crate::context::{self, Target};
use crate::hint::{self, Hinted};
use crate::when;

/// Longer than the server's own deadline for queries, so that its error is seen.
const TIMEOUT: Duration = Duration::from_secs(150);
/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// A server, and what it is told with each request.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    headers: HeaderMap,
}

impl Client {
    pub(crate) fn new(options: &ServerOptions) -> anyhow::Result<Self> {
        let Target {
            server,
            tenant,
            headers,
            authorities,
            identity,
        } = context::resolve(options)?;
        let tenant = tenant.map(|tenant| ("x-scope-orgid".to_owned(), tenant));
        Ok(Self {
            http: http(authorities.as_deref(), identity.as_deref())?,
            server: server.trim_end_matches('/').to_owned(),
            headers: header_map(headers.into_iter().chain(tenant))?,
        })
    }

    fn request(&self, method: Method, rest: &str, timeout: Duration) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{rest}", self.server));
        request.timeout(timeout).headers(self.headers.clone())
    }

    /// The bytes of an answer.
    pub(crate) async fn get(
        &self,
        path: &str,
        params: &[(&str, String)],
        accept: &str,
    ) -> anyhow::Result<Vec<u8>> {
        let headers = [("accept", accept)];
        let response = self.ask(path, params, &headers, TIMEOUT).await?;
        let body = response.bytes().await.map_err(|e| self.fault(path, e))?;
        Ok(body.to_vec())
    }

    /// An answer that is read piece by piece.
    pub(crate) async fn stream(
        &self,
        path: &str,
        params: &[(&str, String)],
        timeout: Duration,
    ) -> anyhow::Result<reqwest::Response> {
        self.ask(path, params, &[], timeout).await
    }

    fn fault(&self, path: &str, error: reqwest::Error) -> anyhow::Error {
        let (connect, late) = (error.is_connect(), error.is_timeout());
        // The URL is long and says nothing that is not said already.
        let error = anyhow::Error::from(error.without_url());
        if connect {
            let text = format!("no connection to {}", self.server);
            let hint = hint::unreachable();
            return error.context(Hinted { text, hint });
        }
        let text = format!("ask {} for {path}", self.server);
        if late {
            let hint = "a shorter --since or a longer --step is answered sooner".to_owned();
            return error.context(Hinted { text, hint });
        }
        error.context(text)
    }

    /// What an answer that is no success says.
    fn refusal(status: u16, body: &[u8], params: &[(&str, String)]) -> anyhow::Error {
        let told = server_message(status, body);
        let query = params
            .iter()
            .find(|(name, _)| ["query", "q"].contains(name));
        let hint = hint::of_answer(status, &told, query.map(|(_, query)| query.as_str()));
        hint::error(told, hint)
    }

    /// A GET that succeeds.
    async fn ask(
        &self,
        path: &str,
        params: &[(&str, String)],
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> anyhow::Result<reqwest::Response> {
        let query: Vec<String> = params
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        let rest = format!("{path}?{}", query.join("&"));
        let mut request = self.request(Method::GET, &rest, timeout);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.map_err(|e| self.fault(path, e))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.map_err(|e| self.fault(path, e))?;
            return Err(Self::refusal(status.as_u16(), &body, params));
        }
        Ok(response)
    }

    /// POST of a body; what the status means is the caller's matter.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Posted> {
        self.post_within(path, headers, body, TIMEOUT).await
    }

    /// The same of a server that may take so long.
    pub(crate) async fn post_within(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        timeout: Duration,
    ) -> anyhow::Result<Posted> {
        let mut request = self.request(Method::POST, path, timeout).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.map_err(|e| self.fault(path, e))?;
        let written = |what: &str| {
            let name = format!("x-prometheus-remote-write-{what}-written");
            let value = response.headers().get(name)?.to_str().ok()?;
            value.parse::<u64>().ok()
        };
        let written = written("samples")
            .zip(written("histograms"))
            .map(|(floats, histograms)| floats + histograms);
        Ok(Posted {
            status: response.status().as_u16(),
            written,
            body: response
                .bytes()
                .await
                .map_err(|e| self.fault(path, e))?
                .to_vec(),
        })
    }

    /// DELETE of a path.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let request = self.request(Method::DELETE, path, TIMEOUT);
        let response = request.send().await.map_err(|e| self.fault(path, e))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.map_err(|e| self.fault(path, e))?;
            return Err(Self::refusal(status.as_u16(), &body, &[]));
        }
        Ok(())
    }

    /// An answer in JSON.
    pub(crate) async fn json(
        &self,
        path: &str,
        params: &[(&str, String)],
    ) -> anyhow::Result<Value> {
        self.json_with(path, params, &[]).await
    }

    /// An answer in JSON to a request with more headers.
    pub(crate) async fn json_with(
        &self,
        path: &str,
        params: &[(&str, String)],
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Value> {
        let mut all = vec![("accept", "application/json")];
        all.extend_from_slice(headers);
        let response = self.ask(path, params, &all, TIMEOUT).await?;
        let body = response.bytes().await.map_err(|e| self.fault(path, e))?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{}{path} did not answer with JSON", self.server))
    }
}

/// A client that trusts these authorities, or those of the machine, and shows this identity.
fn http(authorities: Option<&[u8]>, identity: Option<&[u8]>) -> anyhow::Result<reqwest::Client> {
    let settings = || {
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::custom(follow))
            .user_agent(concat!("obs/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = authorities {
            let found = reqwest::Certificate::from_pem_bundle(pem).map_err(|e| e.to_string())?;
            for certificate in found {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some(pem) = identity {
            let fault = |e: reqwest::Error| format!("--tls-cert and --tls-key: {e}");
            builder = builder.identity(reqwest::Identity::from_pem(pem).map_err(fault)?);
        }
        Ok(builder)
    };
    let http = obs_server::http_client::build(settings, reqwest::ClientBuilder::build);
    http.map_err(|e| anyhow!("set up the HTTP client: {e}"))
}

/// Follows redirects of a server to itself; what it is told (tokens, tenants) is for nobody else.
fn follow(attempt: Attempt<'_>) -> Action {
    let from = attempt.previous();
    let fault = match from.last().and_then(|from| elsewhere(from, attempt.url())) {
        Some(fault) => fault,
        None if from.len() > REDIRECTS_MAX => format!("more than {REDIRECTS_MAX} redirects"),
        None => return attempt.follow(),
    };
    attempt.error(fault)
}

/// What is wrong with a redirect to another server.
fn elsewhere(from: &Url, to: &Url) -> Option<String> {
    let (from, to) = (from.origin(), to.origin());
    let fault = || {
        let to = to.ascii_serialization();
        format!("it sends to {to}, which is not asked; where that is meant, name it with --server")
    };
    (from != to).then(fault)
}

fn header_map(pairs: impl Iterator<Item = (String, String)>) -> anyhow::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let fault = || format!("header {name}: not what a header can hold");
        let key = HeaderName::try_from(name.as_str()).with_context(fault)?;
        let mut value = HeaderValue::try_from(value).with_context(fault)?;
        // It may be a token, so that it is not shown where requests are.
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

/// The answer to a POST.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) status: u16,
    /// Samples and histograms that were stored, where the server says so.
    pub(crate) written: Option<u64>,
    pub(crate) body: Vec<u8>,
}

impl Posted {
    /// What it says.
    pub(crate) fn told(&self) -> String {
        server_message(self.status, &self.body)
    }
}

/// What a server's error says: Prometheus' envelope, a message, or plain text.
fn server_message(status: u16, body: &[u8]) -> String {
    let json = serde_json::from_slice::<Value>(body).ok();
    let told = json.as_ref().and_then(|j| {
        j["error"]
            .as_str()
            .or_else(|| j["message"].as_str())
            .or_else(|| j.as_str())
    });
    let text = String::from_utf8_lossy(body);
    let told = told.unwrap_or(text.trim());
    if told.is_empty() {
        format!("the server answered {status}")
    } else {
        told.to_owned()
    }
}

/// Percent-encodes everything that is not a letter, digit or one of `-_.~`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Now, by this machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the command line that reads the clock"
)]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos();
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

impl TimeOptions {
    /// Whether a range was asked for.
    pub(crate) fn is_range(&self) -> bool {
        self.since.is_some() || self.from.is_some()
    }

    /// Begin and end; `default_since` where nothing was said.
    pub(crate) fn range(&self, default_since: &str) -> anyhow::Result<(Timestamp, Timestamp)> {
        let end = self
            .to
            .as_deref()
            .map(time)
            .transpose()
            .context("--to")?
            .unwrap_or_else(now);
        let start = match &self.from {
            Some(from) => time(from).context("--from")?,
            None => {
                let since = self.since.as_deref().unwrap_or(default_since);
                end.saturating_sub(duration(since).context("--since")?)
            }
        };
        if start > end {
            bail!("the range ends ({end}) before it begins ({start})");
        }
        Ok((start, end))
    }

    /// The time of an instant query, where one was asked for.
    pub(crate) fn instant(&self) -> anyhow::Result<Timestamp> {
        Ok(self
            .to
            .as_deref()
            .map(time)
            .transpose()
            .context("--to")?
            .unwrap_or_else(now))
    }
}

/// A point of time, in human words too.
pub(crate) fn time(text: &str) -> anyhow::Result<Timestamp> {
    when::parse(text, now(), &jiff::tz::TimeZone::system())
        .with_context(|| format!("{text:?}: {}", when::EXPECTED))
}

/// Seconds with milliseconds, as the APIs take times.
pub(crate) fn seconds(time: Timestamp) -> String {
    format!("{:.3}", time.seconds_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_messages() {
        assert_eq!(escape("{a=\"b\"} + 1"), "%7Ba%3D%22b%22%7D%20%2B%201");
        assert_eq!(
            server_message(400, br#"{"status":"error","error":"no"}"#),
            "no"
        );
        assert_eq!(server_message(400, b"plain\n"), "plain");
        assert_eq!(server_message(502, b""), "the server answered 502");
    }

    #[test]
    fn redirects_stay_with_the_server() {
        for (from, to, expect) in [
            ("http://a:9090/x", "http://a:9090/y?z", None),
            ("https://a/", "https://a:443/y", None),
            ("http://a:9090/", "http://a:9091/", Some("http://a:9091")),
            ("https://a/", "http://a/", Some("http://a,")),
            ("https://a/", "https://u:p@b/secret", Some("https://b,")),
        ] {
            let [from, to] = [from, to].map(|url| Url::parse(url).unwrap());
            match (elsewhere(&from, &to), expect) {
                (None, None) => {}
                (Some(fault), Some(part)) => assert!(fault.contains(part), "{fault}"),
                (found, _) => panic!("{from} {to}: {found:?}"),
            }
        }
    }

    #[test]
    fn ranges() {
        let options = |since: Option<&str>, from: Option<&str>, to: Option<&str>| TimeOptions {
            since: since.map(str::to_owned),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        };
        let (start, end) = options(None, Some("10"), Some("20")).range("1h").unwrap();
        assert_eq!((start.millis(), end.millis()), (10_000, 20_000));
        let (start, end) = options(None, None, Some("3600")).range("1h").unwrap();
        assert_eq!((start.millis(), end.millis()), (0, 3_600_000));
        assert!(options(None, Some("20"), Some("10")).range("1h").is_err());
        let fault = format!(
            "{:#}",
            options(Some("5"), None, None).range("1h").unwrap_err()
        );
        assert_eq!(
            fault,
            "--since: \"5\" is not a duration such as 15s, 1h30m or 7d"
        );
    }
}
