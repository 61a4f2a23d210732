//! The sender of one signal of a destination: takes what is queued in order, and acknowledges what
//! the other side has.
//!
//! Invariants: a request goes again until it was taken, was refused for good, or is older than the
//! configuration lets it be; both of the latter are counted; every request has a deadline; samples
//! are sent one request behind the other, because the other side may refuse what is older than what
//! it has of a series. Of lines and spans a few requests are under way at one time, and a round has
//! ended before the next one begins.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use obs_model::{Tenant, Timestamp};
use obs_storage::queue::QueueFrame;
use reqwest::{Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Outlet;
use super::counters::Ending;
use super::record::{self, Content, Signal};
use crate::clock;
use crate::config::{Ship, ShipKind};
use crate::decode::Decoder;
use crate::http_client::chain;
use crate::http_client::configured::{HttpClient, Use};
use crate::receive::{BATCH_HEADER, TENANT_HEADER};
use crate::supervise::{self, End};

/// Said to the other side.
const USER_AGENT: &str = concat!("obs/", env!("CARGO_PKG_VERSION"));
/// Wait after a fault of our own: of the disk, or of the client's certificates.
const FAULT_WAIT: Duration = Duration::from_secs(1);
/// Requests under way at one time, but of samples.
const PARALLEL: usize = 4;
/// Bytes of requests that are held to be sent.
const ROUND_BYTES: usize = 4 << 20;
/// How often it is written down what the other side has; what is not is sent again after a restart.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Longest wait that the other side may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Bytes of an answer that are read, and characters that are logged.
const ANSWER_BYTES_MAX: usize = 4096;
const ANSWER_CHARS: usize = 256;

/// Sends until it is stopped, whatever happens to whoever sends: another one goes on with what is
/// not acknowledged.
pub(super) async fn keep(to: &Arc<Outlet>, worker: &Decoder, stop: &CancellationToken) {
    let begin = || {
        let (to, worker, stop) = (Arc::clone(to), worker.clone(), stop.clone());
        async move { run(&to, &worker, &stop).await }
    };
    let fault = || {
        to.spool.fault();
        to.spool.rewind();
    };
    supervise::keep("sending to a destination", stop, fault, begin).await;
}

/// Sends until it is stopped.
async fn run(to: &Arc<Outlet>, worker: &Decoder, stop: &CancellationToken) -> End {
    let Some(client) = client(to, stop).await else {
        return End::Done;
    };
    let mut noted = Instant::now();
    let mut unnoted = None;
    loop {
        let source = Arc::clone(to);
        let Ok(frames) = worker.run(usize::MAX, move || gather(&source)).await else {
            return End::Lost;
        };
        let Some(last) = frames.last().map(|frame| frame.sequence) else {
            if let Some(last) = unnoted.take() {
                acknowledge(to, worker, last, true).await;
                noted = Instant::now();
            }
            if to.life.is_over(&to.spool) {
                return End::Done;
            }
            tokio::select! {
                () = stop.cancelled() => return End::Done,
                () = to.spool.wake.notified() => continue,
                () = sleep(FAULT_WAIT) => continue,
            }
        };
        if !send_all(to, &client, frames, stop).await {
            if let Some(last) = unnoted {
                acknowledge(to, worker, last, true).await;
            }
            // Only who is stopped leaves something unsent.
            return match stop.is_cancelled() {
                true => End::Done,
                false => End::Lost,
            };
        }
        let note = noted.elapsed() >= NOTE_EVERY;
        acknowledge(to, worker, last, note).await;
        if note {
            noted = Instant::now();
        }
        unnoted = (!note).then_some(last);
    }
}

async fn acknowledge(to: &Arc<Outlet>, worker: &Decoder, last: u64, note: bool) {
    let done = Arc::clone(to);
    let run = worker.run(usize::MAX, move || done.spool.acknowledge(last, note));
    if run.await.is_err() {
        tracing::error!(destination = to.ship.name, "shipping has shut down");
    }
}

async fn client(to: &Outlet, stop: &CancellationToken) -> Option<HttpClient> {
    loop {
        match HttpClient::new(&to.ship.client, Use::default()).await {
            Ok(client) => return Some(client),
            Err(error) => {
                tracing::error!(destination = to.ship.name, error, "no client");
                to.spool.fault();
            }
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep(FAULT_WAIT) => {}
        }
    }
}

/// What goes next. Blocks.
fn gather(from: &Outlet) -> Vec<QueueFrame> {
    let (mut frames, mut bytes, mut count) = (Vec::new(), 0, 0);
    while count < PARALLEL
        && bytes < ROUND_BYTES
        && let Some(frame) = from.spool.next()
    {
        bytes += frame.records.iter().map(|(_, r)| r.len()).sum::<usize>();
        count += frame.records.len();
        frames.push(frame);
    }
    frames
}

/// One request and its identity.
#[derive(Clone, Debug)]
struct Request {
    tenant: Tenant,
    content: Content,
    items: u64,
    time: Timestamp,
    body: Bytes,
    batch: String,
}

/// Sends all; false when it was stopped before, or lost what it was to send.
async fn send_all(
    to: &Arc<Outlet>,
    client: &HttpClient,
    frames: Vec<QueueFrame>,
    stop: &CancellationToken,
) -> bool {
    let mut tasks = JoinSet::new();
    let mut all = true;
    let parallel = match to.signal {
        Signal::Metrics => 1,
        Signal::Logs | Signal::Traces => PARALLEL,
    };
    for frame in frames {
        for (index, (tenant, payload)) in frame.records.into_iter().enumerate() {
            let Some(queued) = record::read(&payload) else {
                tracing::error!(destination = to.ship.name, "a queued batch is damaged");
                to.spool.fault();
                continue;
            };
            let head = payload.len() - queued.body.len();
            let (content, items, time) = (queued.content, queued.items, queued.time);
            let request = Request {
                tenant,
                content,
                items,
                time,
                body: Bytes::from(payload).slice(head..),
                batch: format!(
                    "{}-{}{}-{index}",
                    to.agent,
                    to.signal.letter(),
                    frame.sequence
                ),
            };
            let (to, client, stop) = (Arc::clone(to), client.clone(), stop.clone());
            tasks.spawn(async move { deliver(&to, &client, request, &stop).await });
            while tasks.len() >= parallel {
                let ended = tasks.join_next().await;
                all &= ended.is_none_or(|ended| ended.unwrap_or(false));
            }
            if !all {
                // It was stopped or lost; what follows must not overtake what was not sent.
                return false;
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        all &= ended.unwrap_or(false);
    }
    all
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The other side has it.
    Taken,
    /// Not now: why, and after how long where it was said.
    Later(String, Option<Duration>),
    /// Never: why.
    Refused(String),
}

/// Sends one request until it has ended; false when it was stopped.
async fn deliver(
    to: &Outlet,
    client: &HttpClient,
    request: Request,
    stop: &CancellationToken,
) -> bool {
    let mut backoff = to.ship.min_backoff;
    let mut told = false;
    loop {
        let age = clock::now() - request.time;
        let max_age = i64::try_from(to.ship.max_age.as_nanos()).unwrap_or(i64::MAX);
        if max_age > 0 && age > max_age {
            to.counters.ended(Ending::Dropped, request.items, 0);
            return true;
        }
        let outcome = tokio::select! {
            () = stop.cancelled() => return false,
            outcome = send(client, &to.ship, &to.url, &request) => outcome,
        };
        let wait = match outcome {
            Outcome::Taken => {
                to.counters
                    .ended(Ending::Sent, request.items, request.body.len());
                return true;
            }
            Outcome::Refused(reason) => {
                to.counters.ended(Ending::Refused, request.items, 0);
                let (destination, items) = (&to.ship.name, request.items);
                tracing::error!(destination, items, reason, "a batch was refused for good");
                return true;
            }
            Outcome::Later(reason, after) => {
                to.counters.ended(Ending::Retried, request.items, 0);
                if !told {
                    tracing::warn!(destination = to.ship.name, reason, "a batch is sent again");
                    told = true;
                }
                after.map_or(backoff, |wait| {
                    wait.clamp(to.ship.min_backoff, RETRY_AFTER_MAX)
                })
            }
        };
        tokio::select! {
            () = stop.cancelled() => return false,
            () = sleep(wait) => {}
        }
        backoff = backoff.saturating_mul(2).min(to.ship.max_backoff);
    }
}

async fn send(client: &HttpClient, ship: &Ship, url: &str, request: &Request) -> Outcome {
    let headers = match headers(client, ship, request).await {
        Ok(headers) => headers,
        // A secret's file may come back.
        Err(fault) => return Outcome::Later(fault, None),
    };
    let sent = client
        .requests()
        .post(url)
        .headers(headers)
        .timeout(ship.timeout)
        .body(request.body.clone());
    match sent.send().await {
        Ok(response) => judge(response).await,
        // The address may have credentials.
        Err(error) => Outcome::Later(chain(&error.without_url()), None),
    }
}

async fn headers(client: &HttpClient, ship: &Ship, request: &Request) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let own = ship.kind != ShipKind::Otlp;
    let (content_type, encoding) = match (own, request.content) {
        (true, Content::Metrics) => (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "snappy",
        ),
        (true, Content::Logs | Content::Families) => ("application/x-protobuf", "snappy"),
        (true, Content::Traces) | (false, _) => ("application/x-protobuf", "gzip"),
    };
    headers.insert("content-type", HeaderValue::from_static(content_type));
    headers.insert("content-encoding", HeaderValue::from_static(encoding));
    headers.insert("user-agent", HeaderValue::from_static(USER_AGENT));
    let version = match request.content {
        Content::Metrics => Some("2.0.0"),
        Content::Families => Some("0.1.0"),
        Content::Logs | Content::Traces => None,
    };
    if let Some(version) = version.filter(|_| own) {
        let version = HeaderValue::from_static(version);
        headers.insert("x-prometheus-remote-write-version", version);
    }
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| "a header value is not printable".to_owned())
    };
    if ship.kind == ShipKind::Obs {
        headers.insert(BATCH_HEADER, value(&request.batch)?);
    }
    let tenant = ship.tenant.as_deref().unwrap_or(request.tenant.as_str());
    if tenant != Tenant::anonymous().as_str() {
        headers.insert(TENANT_HEADER, value(tenant)?);
    }
    client.put_headers(&mut headers).await?;
    for (name, text) in &ship.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|e| e.to_string())?;
        headers.insert(name, value(text.reveal())?);
    }
    Ok(headers)
}

/// Whether a status means that the same request may be taken later. Wrong credentials and
/// addresses are mended by people; what is queued waits for them.
fn is_later(status: StatusCode) -> bool {
    status.is_server_error()
        || status.is_redirection()
        || matches!(
            status.as_u16(),
            401 | 403 | 404 | 405 | 407 | 408 | 425 | 429
        )
}

async fn judge(mut response: Response) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Taken;
    }
    let retry_after = response.headers().get(http::header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|v| v.to_str().ok()?.parse().ok());
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        answer.extend_from_slice(&chunk);
    }
    let answer = String::from_utf8_lossy(&answer);
    let shown: String = answer.trim().chars().take(ANSWER_CHARS).collect();
    let told = format!("HTTP status {status}: {shown}");
    match is_later(status) {
        true => Outcome::Later(told, retry_after.map(Duration::from_secs)),
        false => Outcome::Refused(told),
    }
}
