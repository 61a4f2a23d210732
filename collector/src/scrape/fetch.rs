//! Asking a target for its metrics: the request as Prometheus makes it, a bounded body, the format
//! of the answer.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};

use super::memory::{Held, Memory};
use crate::config::{Job, NameEscaping, Protocol};
use crate::discovery::Target;
use crate::http_client::chain;
use crate::http_client::configured::HttpClient;
use obs_wire::prometheus::scan::TextFormat;

/// Bytes of memory that are taken for a body before they are there: who sends little must not hold
/// much.
const BODY_BYTES_AHEAD: usize = 64 << 10;

/// The media type of protobuf.
const PROTOBUF: &str = "application/vnd.google.protobuf";

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines.
    Text(TextFormat),
    /// Messages with their length before each.
    Protobuf,
}

/// What a target answered.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub body: Bytes,
    pub format: Format,
    /// The body's memory; held until it is decoded.
    pub held: Held,
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
            Protocol::PrometheusProto => {
                format!("{PROTOBUF};proto=io.prometheus.client.MetricFamily;encoding=delimited")
            }
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

/// What is asked of a target every time, made once.
#[derive(Debug)]
pub(crate) struct Question {
    request: Result<reqwest::Request, String>,
    /// Secrets in files and tokens are read anew for each scrape.
    fresh: bool,
}

impl Question {
    /// The question to a target of a job.
    pub(crate) async fn new(client: &HttpClient, job: &Job, target: &Target) -> Self {
        // What does not stay the same is not asked for before its time.
        let fresh = !client.is_steady();
        let request = match fresh {
            true => Err(String::new()),
            false => request(client, job, target).await,
        };
        Self { request, fresh }
    }

    async fn request(
        &self,
        client: &HttpClient,
        job: &Job,
        target: &Target,
    ) -> Result<reqwest::Request, String> {
        match &self.request {
            Ok(made) if !self.fresh => match made.try_clone() {
                Some(same) => Ok(same),
                None => request(client, job, target).await,
            },
            Ok(_) | Err(_) => request(client, job, target).await,
        }
    }
}

async fn request(
    client: &HttpClient,
    job: &Job,
    target: &Target,
) -> Result<reqwest::Request, String> {
    let headers = request_headers(client, job, target).await?;
    let request = client.requests().get(&target.url).headers(headers).build();
    request.map_err(|e| chain(&e))
}

/// Asks once. The deadline is the caller's. Memory is taken for what there is of the body: targets
/// that do not answer, or slowly, must not hold up those that do.
pub(crate) async fn fetch(
    client: &HttpClient,
    job: &Job,
    target: &Target,
    question: &Question,
    body_bytes_max: u64,
    memory: &Memory,
) -> Result<Fetched, FetchError> {
    let request = question.request(client, job, target).await;
    let request = request.map_err(FetchError::Failed)?;
    let failed = |e: reqwest::Error| FetchError::Failed(chain(&e));
    let allowed = client.check(request.url().host_str());
    allowed.map_err(|refused| FetchError::Failed(refused.to_string()))?;
    let mut response = client.requests().execute(request).await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        let status = response.status();
        return Err(FetchError::Failed(format!(
            "server returned HTTP status {status}"
        )));
    }
    let format = format(&response, job).map_err(FetchError::Failed)?;
    // What the configuration says of a job goes before the limit of all requests.
    let limit = match job.limits.body_bytes {
        0 => body_bytes_max,
        own => own,
    };
    let mut held = memory.hold();
    let mut body = BytesMut::new();
    if let Some(first) = response.chunk().await.map_err(failed)? {
        // What is said of the length is not trusted with memory beyond this, nor before it begins.
        let told = response.content_length().unwrap_or(0).min(limit);
        let told = usize::try_from(told).unwrap_or(0).min(BODY_BYTES_AHEAD);
        held.grow(told.max(first.len())).await;
        body.reserve(told.max(first.len()));
        body.extend_from_slice(&first);
    }
    if body.len() as u64 > limit {
        return Err(FetchError::TooLarge(limit));
    }
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(FetchError::TooLarge(limit));
        }
        held.grow(body.len() + chunk.len()).await;
        body.extend_from_slice(&chunk);
    }
    let body = body.freeze();
    Ok(Fetched { body, format, held })
}

async fn request_headers(
    client: &HttpClient,
    job: &Job,
    target: &Target,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| "a header value is not printable".to_owned())
    };
    let mut protocols = job.protocols.clone();
    let native = target.histograms.native && !job.histograms.native;
    if native && !protocols.contains(&Protocol::PrometheusProto) {
        // The only format that has them.
        protocols.insert(0, Protocol::PrometheusProto);
    }
    headers.insert(header::ACCEPT, value(&accept(&protocols, job.escaping))?);
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
    client.put_headers(&mut headers).await?;
    Ok(headers)
}

fn format(response: &Response, job: &Job) -> Result<Format, String> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|v| v.to_str().ok()).unwrap_or("");
    format_of(content_type, job.fallback)
}

fn format_of(content_type: &str, fallback: Option<Protocol>) -> Result<Format, String> {
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or("");
    match media.to_ascii_lowercase().as_str() {
        "application/openmetrics-text" => return Ok(Format::Text(TextFormat::OpenMetrics)),
        "text/plain" => return Ok(Format::Text(TextFormat::Text)),
        PROTOBUF => {
            let mut pairs = parts.filter_map(|part| part.split_once('='));
            let other = |(name, value): (&str, &str)| match name.trim() {
                "proto" => value.trim_matches('"') != "io.prometheus.client.MetricFamily",
                "encoding" => value.trim_matches('"') != "delimited",
                _ => false,
            };
            if !pairs.any(other) {
                return Ok(Format::Protobuf);
            }
        }
        _ => {}
    }
    match fallback {
        Some(Protocol::OpenMetrics1 | Protocol::OpenMetrics0) => {
            Ok(Format::Text(TextFormat::OpenMetrics))
        }
        Some(Protocol::Text1 | Protocol::Text0) => Ok(Format::Text(TextFormat::Text)),
        Some(Protocol::PrometheusProto) => Ok(Format::Protobuf),
        None if content_type.is_empty() => Err(
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target".to_owned(),
        ),
        None => Err(format!(
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
    fn protobuf_is_asked_for_first() {
        let accept = accept(
            &[Protocol::PrometheusProto, Protocol::Text0],
            NameEscaping::AllowUtf8,
        );
        assert_eq!(
            accept,
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.4"
        );
    }

    #[test]
    fn content_types() {
        let (text, open) = (TextFormat::Text, TextFormat::OpenMetrics);
        let (text, open) = (Some(Format::Text(text)), Some(Format::Text(open)));
        let protobuf = Some(Format::Protobuf);
        let check = |kind: &str, fallback, expect| {
            assert_eq!(format_of(kind, fallback).ok(), expect, "{kind}");
        };
        check("text/plain; version=0.0.4; charset=utf-8", None, text);
        check("application/openmetrics-text; version=1.0.0", None, open);
        check("", None, None);
        check("text/html", None, None);
        check("text/html", Some(Protocol::Text1), text);
        check("", Some(Protocol::OpenMetrics1), open);
        check("", Some(Protocol::PrometheusProto), protobuf);
        let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        check(kind, None, protobuf);
        check("application/vnd.google.protobuf", None, protobuf);
        check("application/vnd.google.protobuf; encoding=text", None, None);
    }
}
