//! HTTP: one request and those it is sent on to, each over a connection of its own.

use std::net::SocketAddr;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use obs_wire::capped;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::module::{HeaderMatch, Http};
use super::net::{self, Preference};
use super::report::Report;
use crate::decode::Decoder;
use crate::http_client::configured::authorization;
use crate::http_client::handshake_for;
use crate::scrape::memory::{Held, Memory};

/// Bodies that are unpacked at one time.
static UNPACKING: LazyLock<Decoder> = LazyLock::new(|| Decoder::new(2));

/// As blackbox_exporter.
const REDIRECTS_MAX: usize = 10;
/// Bytes of a body that is kept, to be looked at as a whole, without a limit of its own.
const BODY_BYTES_MAX: u64 = 64 << 20;
const DURATION: &str = "probe_http_duration_seconds";
const DURATION_HELP: &str = "Duration of http request by phase, summed over all redirects";

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn phase(report: &mut Report, name: &str, seconds: f64) {
    report.phase(DURATION, DURATION_HELP, name, seconds);
}

pub(super) async fn probe(
    (target, host): (&str, Option<&str>),
    config: &Http,
    memory: &Memory,
    report: &mut Report,
) -> Result<bool, String> {
    for name in ["resolve", "connect", "tls", "processing", "transfer"] {
        phase(report, name, 0.0);
    }
    let failed_regex = "Indicates if probe failed due to regex";
    report.set("probe_failed_due_to_regex", failed_regex, 0.0);
    zero(report);
    let whole = match target.starts_with("http://") || target.starts_with("https://") {
        true => target.to_owned(),
        false => format!("http://{target}"),
    };
    let mut url = Url::parse(&whole).map_err(|e| format!("could not parse target URL: {e}"))?;
    let mut asked = Asked::new(config, host).await?;
    let follow = match config.no_follow_redirects {
        Some(no) => !no,
        None => config.follow_redirects.unwrap_or(true),
    };
    let (mut redirects, mut stays) = (0, false);
    let (got, begin) = loop {
        let (got, begin) = exchange(&url, config, &asked, report).await?;
        let Some(next) = redirect(&url, &got.response) else {
            break (got, begin);
        };
        redirects += 1;
        if redirects > REDIRECTS_MAX || !follow {
            // As the exporter: the answer is judged without its body.
            report.note("Not following redirect");
            stays = true;
            break (got, begin);
        }
        report.note(format!("Received redirect to {next}"));
        let origin = |url: &Url| {
            let port = url.port_or_known_default();
            (url.host_str().map(str::to_owned), port)
        };
        asked.follow(
            got.response.status().as_u16(),
            origin(&url) != origin(&next),
        );
        url = next;
    };
    report.set(
        "probe_http_redirects",
        "The number of redirects",
        redirects as f64,
    );
    let begin = (begin, memory);
    judge((got, stays), begin, config, report).await
}

/// What is told of an answer is there before it is.
fn zero(report: &mut Report) {
    for (name, help) in [
        (
            "probe_http_content_length",
            "Length of http content response",
        ),
        (
            "probe_http_uncompressed_body_length",
            "Length of uncompressed response body",
        ),
        ("probe_http_redirects", "The number of redirects"),
        (
            "probe_http_ssl",
            "Indicates if SSL was used for the final redirect",
        ),
        ("probe_http_status_code", "Response HTTP status code"),
        (
            "probe_http_version",
            "Returns the version of HTTP of the probe response",
        ),
    ] {
        report.set(name, help, 0.0);
    }
}

/// What is asked for.
struct Asked {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    async fn new(config: &Http, host: Option<&str>) -> Result<Self, String> {
        let method = match config.method.as_str() {
            "" => Method::GET,
            name => Method::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?,
        };
        let mut headers = HeaderMap::new();
        let agent = concat!("obs/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        if !config.compression.is_empty() {
            let value = HeaderValue::from_str(&config.compression);
            headers.insert(header::ACCEPT_ENCODING, value.map_err(|e| e.to_string())?);
        }
        if let Some(auth) = &config.auth
            && let Some(value) = authorization(auth).await?
        {
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in &config.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|e| e.to_string())?;
            let value = HeaderValue::from_str(value).map_err(|e| e.to_string())?;
            headers.insert(name, value);
        }
        if let Some(host) = host {
            let value = HeaderValue::from_str(host).map_err(|e| e.to_string())?;
            headers.insert(header::HOST, value);
        }
        let body = match &config.body_file {
            Some(path) => {
                let read = tokio::fs::read(path).await;
                read.map_err(|e| format!("{}: {e}", path.display()))?
            }
            None => config.body.clone().into_bytes(),
        };
        Ok(Self {
            method,
            headers,
            body: body.into(),
        })
    }

    fn follow(&mut self, status: u16, elsewhere: bool) {
        if !matches!(status, 307 | 308) {
            if self.method != Method::HEAD {
                self.method = Method::GET;
            }
            self.body = Bytes::new();
        }
        self.headers.remove(header::HOST);
        if elsewhere {
            // What the module says of headers may be secrets of any name.
            let plain = |name: &HeaderName| {
                *name == header::USER_AGENT || name.as_str().starts_with("accept")
            };
            let own: Vec<HeaderName> = self.headers.keys().cloned().collect();
            for name in own.into_iter().filter(|name| !plain(name)) {
                self.headers.remove(name);
            }
        }
    }
}

/// An answer whose body is still to come.
struct Got {
    response: Response<Incoming>,
    secure: bool,
    /// Drives the connection.
    _driver: JoinSet<()>,
}

async fn exchange(
    url: &Url,
    config: &Http,
    asked: &Asked,
    report: &mut Report,
) -> Result<(Got, Instant), String> {
    let host = url.host_str().ok_or("the target has no host")?;
    let port = url
        .port_or_known_default()
        .ok_or("the target has no port")?;
    let preference = Preference {
        protocol: config.preferred_ip_protocol,
        fallback: config.ip_protocol_fallback.unwrap_or(true),
    };
    let (ip, took) = net::resolve(host, preference, report).await?;
    phase(report, "resolve", took);
    let begin = Instant::now();
    let stream = net::connect(SocketAddr::new(ip, port), None).await?;
    phase(report, "connect", begin.elapsed().as_secs_f64());
    let secure = url.scheme() == "https";
    let mut two = false;
    let stream: Box<dyn Stream> = if secure {
        let http2 = config.enable_http2.unwrap_or(true);
        let alpn: &[&[u8]] = if http2 {
            &[b"h2", b"http/1.1"]
        } else {
            &[b"http/1.1"]
        };
        let begin = Instant::now();
        let asked_host = asked
            .headers
            .get(header::HOST)
            .and_then(|h| h.to_str().ok());
        let name = asked_host.and_then(|h| h.split(':').next()).unwrap_or(host);
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let stream = handshake_for(stream, (&config.tls_config, name), alpn).await?;
        phase(report, "tls", begin.elapsed().as_secs_f64());
        net::tell(&stream, &config.tls_config, report);
        two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Box::new(stream)
    } else {
        Box::new(stream)
    };
    let begin = Instant::now();
    let (response, driver) = send(stream, two, request(url, asked, two)?).await?;
    phase(report, "processing", begin.elapsed().as_secs_f64());
    let got = Got {
        response,
        secure,
        _driver: driver,
    };
    Ok((got, Instant::now()))
}

fn request(url: &Url, asked: &Asked, two: bool) -> Result<Request<Full<Bytes>>, String> {
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or("")),
        None => url.host_str().unwrap_or("").to_owned(),
    };
    let mut request = Request::builder().method(asked.method.clone());
    let own = asked
        .headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok());
    if two {
        let authority = own.unwrap_or(&authority);
        request = request.uri(format!("{}://{authority}{path}", url.scheme()));
        request = request.version(Version::HTTP_2);
    } else {
        request = request.uri(path);
        if own.is_none() {
            request = request.header(header::HOST, authority);
        }
    }
    let skip = |name: &HeaderName| two && name == header::HOST;
    for (name, value) in asked.headers.iter().filter(|(name, _)| !skip(name)) {
        request = request.header(name, value);
    }
    let made = request.body(Full::new(asked.body.clone()));
    made.map_err(|e| e.to_string())
}

/// Sends a request; the set drives the connection until it is dropped.
pub(super) async fn send(
    stream: Box<dyn Stream>,
    two: bool,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, JoinSet<()>), String> {
    let fault = |e: hyper::Error| format!("error for HTTP request: {e}");
    let (io, mut driver) = (TokioIo::new(stream), JoinSet::new());
    let response = if two {
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = made.map_err(fault)?;
        driver.spawn(async move { drop(connection.await) });
        sender.send_request(request).await
    } else {
        let made = hyper::client::conn::http1::handshake(io).await;
        let (mut sender, connection) = made.map_err(fault)?;
        driver.spawn(async move { drop(connection.await) });
        sender.send_request(request).await
    };
    Ok((response.map_err(fault)?, driver))
}

fn redirect(url: &Url, response: &Response<Incoming>) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    let next = url.join(location).ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
}

/// Reads the body and decides.
async fn judge(
    (got, stays): (Got, bool),
    begin: (Instant, &Memory),
    config: &Http,
    report: &mut Report,
) -> Result<bool, String> {
    let (status, version) = (got.response.status().as_u16(), got.response.version());
    report.set(
        "probe_http_status_code",
        "Response HTTP status code",
        f64::from(status),
    );
    let number = match version {
        Version::HTTP_2 => 2.0,
        Version::HTTP_10 => 1.0,
        _ => 1.1,
    };
    let help = "Returns the version of HTTP of the probe response";
    report.set("probe_http_version", help, number);
    let help = "Indicates if SSL was used for the final redirect";
    report.set("probe_http_ssl", help, f64::from(u8::from(got.secure)));
    let headers = got.response.headers().clone();
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|v| v.to_str().ok()?.parse::<f64>().ok());
    report.set(
        "probe_http_content_length",
        "Length of http content response",
        length.unwrap_or(-1.0),
    );
    last_modified(&headers, report);
    let mut success = if config.valid_status_codes.is_empty() {
        (200..300).contains(&status)
    } else {
        config.valid_status_codes.contains(&status)
    };
    if !success {
        report.note(format!("Invalid HTTP response status code, got {status}"));
    }
    if success && !headers_fit(&headers, config, report) {
        success = false;
        regex_failed(report);
    }
    // Only expressions need the body as a whole.
    let rules = [
        &config.fail_if_body_matches_regexp,
        &config.fail_if_body_not_matches_regexp,
    ];
    let want = match (stays, success && rules.iter().any(|r| !r.is_empty())) {
        (true, _) => Want::Nothing,
        (false, true) => Want::All,
        (false, false) => Want::Length,
    };
    let body = body((got.response, want), begin, config, report).await?;
    if success && want != Want::Length && !body_fits(&body, config, report) {
        success = false;
        regex_failed(report);
    }
    let shown = format!("HTTP/{number:.1}");
    if !config.valid_http_versions.is_empty() && !config.valid_http_versions.contains(&shown) {
        report.note(format!("Invalid HTTP version number: {shown}"));
        success = false;
    }
    if got.secure && config.fail_if_ssl {
        report.note("Final request was over SSL");
        success = false;
    }
    if !got.secure && config.fail_if_not_ssl {
        report.note("Final request was not over SSL");
        success = false;
    }
    Ok(success)
}

/// What is wanted of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// It is of an answer that leads on and is not followed.
    Nothing,
    /// It is read and passed over.
    Length,
    All,
}

/// The body of an answer, unpacked, as far as it is wanted.
async fn body(
    (response, want): (Response<Incoming>, Want),
    (begin, memory): (Instant, &Memory),
    config: &Http,
    report: &mut Report,
) -> Result<Bytes, String> {
    let headers = response.headers().clone();
    let own = config.body_size_limit.map(|size| size.0);
    let packed = packed(&headers, config);
    // What is packed is unpacked as a whole.
    let keep = want == Want::All || packed.is_some();
    let max = match keep {
        true => own.unwrap_or(BODY_BYTES_MAX),
        false => own.unwrap_or(u64::MAX),
    };
    let mut held = memory.hold();
    let read = match want {
        Want::Nothing => Ok((Bytes::new(), 0)),
        Want::Length | Want::All => read(response.into_body(), (keep, max), &mut held).await,
    };
    phase(report, "transfer", begin.elapsed().as_secs_f64());
    let unpacked = match (read, packed) {
        (Ok((body, _)), Some(encoding)) if want != Want::Nothing => {
            unpack(encoding, body, max, &mut held).await
        }
        (read, _) => read,
    };
    let (body, length) = match unpacked {
        Ok((body, length)) => (Ok(body), length),
        // What was read of it: as much as may be, where it was too long.
        Err(fault) => (Err(fault), own.unwrap_or(0)),
    };
    let help = "Length of uncompressed response body";
    let name = "probe_http_uncompressed_body_length";
    report.set(name, help, length as f64);
    body
}

fn regex_failed(report: &mut Report) {
    let help = "Indicates if probe failed due to regex";
    report.set("probe_failed_due_to_regex", help, 1.0);
}

fn last_modified(headers: &HeaderMap, report: &mut Report) {
    let value = headers
        .get(header::LAST_MODIFIED)
        .and_then(|v| v.to_str().ok());
    let parsed =
        value.and_then(|text| jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000")).ok());
    if let Some(time) = parsed {
        let seconds = time.timestamp().as_second() as f64;
        let help = "Returns the Last-Modified HTTP response header in unixtime";
        report.set("probe_http_last_modified_timestamp_seconds", help, seconds);
    }
}

/// Reads a body to its end; gives what is kept of it, and its length.
async fn read(
    mut body: Incoming,
    (keep, max): (bool, u64),
    held: &mut Held,
) -> Result<(Bytes, u64), String> {
    let (mut out, mut length) = (BytesMut::new(), 0u64);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("failed to read HTTP response body: {e}"))?;
        if let Ok(data) = frame.into_data() {
            length = length.saturating_add(data.len() as u64);
            if length > max {
                return Err(format!("the body is longer than {max} bytes"));
            }
            if keep {
                held.grow(out.len() + data.len()).await;
                out.extend_from_slice(&data);
            }
        }
    }
    Ok((out.freeze(), length))
}

/// How a body is packed, where it is to be unpacked.
fn packed<'a>(headers: &'a HeaderMap, config: &Http) -> Option<&'a str> {
    let encoding = headers.get(header::CONTENT_ENCODING)?.to_str().ok()?;
    Some(encoding).filter(|_| !config.compression.is_empty())
}

async fn unpack(
    encoding: &str,
    body: Bytes,
    max: u64,
    held: &mut Held,
) -> Result<(Bytes, u64), String> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let encoding = encoding.to_owned();
    let cost = body.len();
    let work = move || {
        let unpacked = capped::decode(&encoding, &body, max).map_err(|e| e.to_string())?;
        Ok::<_, String>(Bytes::from(unpacked.into_owned()))
    };
    let unpacked = UNPACKING
        .run(cost, work)
        .await
        .map_err(|e| e.to_string())??;
    held.grow(cost + unpacked.len()).await;
    let length = unpacked.len() as u64;
    Ok((unpacked, length))
}

fn headers_fit(headers: &HeaderMap, config: &Http, report: &mut Report) -> bool {
    let values = |rule: &HeaderMatch| -> Vec<Vec<u8>> {
        let all = headers.get_all(rule.header.as_str()).iter();
        all.map(|value| value.as_bytes().to_vec()).collect()
    };
    for rule in &config.fail_if_header_matches {
        let found = values(rule);
        if found.is_empty() && !rule.allow_missing {
            report.note(format!("Missing required header {}", rule.header));
            return false;
        }
        if found.iter().any(|value| rule.regexp.is_match(value)) {
            report.note(format!("Header {} matched regular expression", rule.header));
            return false;
        }
    }
    for rule in &config.fail_if_header_not_matches {
        let found = values(rule);
        if found.is_empty() && !rule.allow_missing {
            report.note(format!("Missing required header {}", rule.header));
            return false;
        }
        if !found.is_empty() && !found.iter().any(|value| rule.regexp.is_match(value)) {
            report.note(format!(
                "Header {} did not match regular expression",
                rule.header
            ));
            return false;
        }
    }
    true
}

fn body_fits(body: &[u8], config: &Http, report: &mut Report) -> bool {
    if let Some(rule) = config
        .fail_if_body_matches_regexp
        .iter()
        .find(|r| r.is_match(body))
    {
        report.note(format!(
            "Body matched regular expression {:?}",
            rule.0.source()
        ));
        return false;
    }
    let mut must = config.fail_if_body_not_matches_regexp.iter();
    if let Some(rule) = must.find(|r| !r.is_match(body)) {
        report.note(format!(
            "Body did not match regular expression {:?}",
            rule.0.source()
        ));
        return false;
    }
    true
}
