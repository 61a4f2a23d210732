//! Splunk's HTTP event collector under `/services/collector`. There is none without tokens.
//!
//! Invariants: success is told, and an acknowledgement's number given, only after the sink said
//! that the events are durable; tokens are compared by their digests, so that how long it takes
//! tells nothing; the channels that are remembered are bounded.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use obs_model::Tenant;
use obs_wire::splunk::{self, Defaults, Events, Status};
use ring::digest::{Digest, SHA512, digest};

use super::elastic::in_context;
use super::sockets::{SocketError, read_secret};
use super::{Receiver, RequestTenant, content_encoding, text_header};
use crate::config::SplunkConfig;
use crate::http_error::{ErrorKind, HttpError};
use crate::metrics::Door;

/// Channels whose acknowledgements are remembered; the oldest is forgotten first.
const CHANNELS_MAX: usize = 4096;
/// Longest name of a channel; clients use a GUID.
const CHANNEL_BYTES_MAX: usize = 128;

/// What the collector knows.
#[derive(Debug, Default)]
pub struct Setting {
    tokens: Vec<(Vec<u8>, Option<Tenant>)>,
    channels: Mutex<Channels>,
}

impl Setting {
    /// Reads the tokens that are in files; relative paths start from the folder.
    pub async fn new(config: &SplunkConfig, folder: &Path) -> Result<Self, SocketError> {
        let mut tokens = Vec::new();
        for (index, one) in config.tokens.iter().enumerate() {
            let token = match (&one.token, &one.token_file) {
                (Some(token), None) => token.reveal().to_owned(),
                (None, Some(path)) => read_secret(folder, path).await?,
                _ => {
                    return Err(SocketError::Settings(format!(
                        "obs.logs.splunk_hec.tokens[{index}]: expected either token or token_file"
                    )));
                }
            };
            if token.is_empty() {
                return Err(SocketError::Settings(format!(
                    "obs.logs.splunk_hec.tokens[{index}]: expected a token that is not empty"
                )));
            }
            tokens.push((fingerprint(&token).as_ref().to_vec(), one.tenant.clone()));
        }
        Ok(Self {
            tokens,
            channels: Mutex::default(),
        })
    }

    fn is_off(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tenant of a request's token, where it has one of its own.
    fn authorize(&self, parts: &Parts) -> Result<Option<Tenant>, Status> {
        let text = text_header(&parts.headers, &header::AUTHORIZATION);
        if text.is_empty() {
            let in_query = parameter(parts, "token").is_some();
            return Err(if in_query {
                Status::QueryToken
            } else {
                Status::TokenRequired
            });
        }
        let token = token(text).ok_or(Status::InvalidAuthorization)?;
        let shown = fingerprint(&token);
        let known = self.tokens.iter().find(|(held, _)| held == shown.as_ref());
        known
            .map(|(_, tenant)| tenant.clone())
            .ok_or(Status::InvalidToken)
    }
}

fn fingerprint(token: &str) -> Digest {
    digest(&SHA512, token.as_bytes())
}

/// `Splunk TOKEN`, or the password of `Basic`.
fn token(header: &str) -> Option<String> {
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("splunk") {
        return Some(rest.trim().to_owned()).filter(|token| !token.is_empty());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = STANDARD.decode(rest.trim()).ok()?;
    let plain = String::from_utf8(plain).ok()?;
    Some(plain.split_once(':')?.1.to_owned())
}

/// The next number of each channel.
#[derive(Debug, Default)]
struct Channels {
    next: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl Channels {
    fn take(&mut self, channel: &str) -> u64 {
        if let Some(next) = self.next.get_mut(channel) {
            *next += 1;
            return *next - 1;
        }
        if self.next.len() >= CHANNELS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.next.remove(&oldest);
        }
        self.next.insert(channel.to_owned(), 1);
        self.order.push_back(channel.to_owned());
        0
    }

    fn is_done(&self, channel: &str, id: u64) -> bool {
        self.next.get(channel).is_some_and(|next| id < *next)
    }
}

/// All routes.
pub(super) fn routes() -> Router<Receiver> {
    let mut router = Router::new();
    for path in ["", "/event", "/event/1.0"] {
        let path = format!("/services/collector{path}");
        router = router.route(&path, post(events));
    }
    for path in ["/raw", "/raw/1.0"] {
        router = router.route(&format!("/services/collector{path}"), post(raw));
    }
    for path in ["/health", "/health/1.0"] {
        router = router.route(&format!("/services/collector{path}"), get(health));
    }
    router.route("/services/collector/ack", post(acks))
}

/// The answer where there are no tokens.
fn off() -> Response {
    let text = r#"{"text":"The requested URL was not found on this server.","code":404}"#;
    json(StatusCode::NOT_FOUND, text.into())
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

fn told(status: Status, event: Option<usize>, ack: Option<u64>) -> Response {
    let (_, _, code) = status.parts();
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
    json(code, splunk::answer(status, event, ack))
}

async fn health(State(receiver): State<Receiver>) -> Response {
    if receiver.splunk.is_off() {
        return off();
    }
    told(Status::Healthy, None, None)
}

async fn events(receiver: State<Receiver>, tenant: RequestTenant, request: Request) -> Response {
    take(receiver, tenant, request, splunk::decode_events).await
}

async fn raw(receiver: State<Receiver>, tenant: RequestTenant, request: Request) -> Response {
    take(receiver, tenant, request, splunk::decode_raw).await
}

/// How a body is read.
type Decode = fn(&[u8], &Defaults, obs_wire::event::Context<'_>) -> Events;

async fn take(
    State(receiver): State<Receiver>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
    decode: Decode,
) -> Response {
    if receiver.splunk.is_off() {
        return off();
    }
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let own = receiver.splunk.authorize(&parts).map_err(Fault::told)?;
        let tenant = own.map_or(tenant, Ok)?;
        let channel = channel(&parts).map_err(Fault::told)?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let defaults = defaults(&parts);
        let work = in_context(&parts, move |body, context| {
            Ok(decode(body, &defaults, context))
        });
        let encoding = content_encoding(&parts.headers);
        let events = receiver.decode(&mut body, (&encoding, usize::MAX), work);
        let Events { batch, fault } = events.await?;
        let count = batch.record_count() as u64;
        if count > 0 {
            let accepted = receiver.sink.logs(tenant, batch).await;
            let accepted = accepted.map_err(HttpError::from)?;
            receiver
                .counters
                .lines_refused(Door::Splunk, accepted.refused);
            if accepted.refused > 0 {
                tracing::debug!(reason = accepted.reason, "events were refused");
                return Err(match accepted.crowded {
                    // There may be room for new streams later.
                    true => Fault::told(Status::Busy),
                    false => {
                        Fault::Refused(splunk::refused(accepted.refused, count, &accepted.reason))
                    }
                });
            }
        }
        match fault {
            Some((status, event)) => {
                let event = (status != Status::NoData).then_some(event);
                Err(Fault::Told(status, event))
            }
            None => Ok(channel),
        }
    }
    .await;
    let counted: Result<(), HttpError> = match &outcome {
        Ok(_) => Ok(()),
        Err(_) => Err(HttpError::bad_data("refused")),
    };
    receiver.count(Door::Splunk, bytes, &counted);
    match outcome {
        Ok(channel) => {
            let ack = channel.map(|channel| {
                let channels = &receiver.splunk.channels;
                let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
                channels.take(&channel)
            });
            told(Status::Success, None, ack)
        }
        Err(Fault::Told(status, event)) => told(status, event, None),
        Err(Fault::Refused(body)) => json(StatusCode::BAD_REQUEST, body),
        Err(Fault::Http(error)) => failed(&error),
    }
}

async fn acks(State(receiver): State<Receiver>, request: Request) -> Response {
    if receiver.splunk.is_off() {
        return off();
    }
    let (parts, body) = request.into_parts();
    let outcome = async {
        receiver.splunk.authorize(&parts).map_err(Fault::told)?;
        let channel = channel(&parts).map_err(Fault::told)?;
        let channel = channel.ok_or(Fault::told(Status::ChannelMissing))?;
        let body = receiver.body(body).await?;
        let ids = splunk::decode_acks(&body.bytes);
        Ok((channel, ids.ok_or(Fault::told(Status::InvalidDataFormat))?))
    }
    .await;
    match outcome {
        Ok((channel, ids)) => {
            let channels = &receiver.splunk.channels;
            let channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
            let done = ids
                .into_iter()
                .map(|id| (id, channels.is_done(&channel, id)));
            let done: Vec<(u64, bool)> = done.collect();
            drop(channels);
            json(StatusCode::OK, splunk::acks_answer(&done))
        }
        Err(Fault::Told(status, event)) => told(status, event, None),
        Err(Fault::Refused(body)) => json(StatusCode::BAD_REQUEST, body),
        Err(Fault::Http(error)) => failed(&error),
    }
}

/// Why a request was not taken.
enum Fault {
    Told(Status, Option<usize>),
    /// The store refused some; what is told.
    Refused(Vec<u8>),
    Http(HttpError),
}

impl Fault {
    fn told(status: Status) -> Self {
        Self::Told(status, None)
    }
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// An error in Splunk's words; what has no word there keeps its own status and text.
fn failed(error: &HttpError) -> Response {
    let mut response = match error.kind {
        ErrorKind::TooMany | ErrorKind::Unavailable | ErrorKind::Timeout => {
            told(Status::Busy, None, None)
        }
        ErrorKind::BadData => told(Status::InvalidDataFormat, None, None),
        ErrorKind::Internal => told(Status::InternalError, None, None),
        _ => error.render(crate::http_error::Dialect::Plain),
    };
    if let Some(seconds) = error.retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn parameter(parts: &Parts, name: &str) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).ok()?;
    let found = pairs
        .into_iter()
        .find(|(n, value)| n == name && !value.is_empty());
    found.map(|(_, value)| value)
}

/// The channel of a request, in its header or its address.
fn channel(parts: &Parts) -> Result<Option<String>, Status> {
    let headers: &HeaderMap = &parts.headers;
    let header = headers.get("x-splunk-request-channel");
    let told = match header {
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| Status::InvalidChannel)?
                .to_owned(),
        ),
        None => parameter(parts, "channel"),
    };
    match told {
        Some(name) if name.is_empty() || name.len() > CHANNEL_BYTES_MAX => {
            Err(Status::InvalidChannel)
        }
        other => Ok(other),
    }
}

fn defaults(parts: &Parts) -> Defaults {
    Defaults {
        host: parameter(parts, "host"),
        source: parameter(parts, "source"),
        sourcetype: parameter(parts, "sourcetype"),
        index: parameter(parts, "index"),
    }
}

impl Receiver {
    /// This receiver, with an event collector of these tokens.
    #[must_use]
    pub fn with_splunk(mut self, setting: Setting) -> Self {
        self.splunk = Arc::new(setting);
        self
    }
}
