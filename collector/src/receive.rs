//! Receivers over HTTP: Prometheus remote write, Loki push, OTLP, Zipkin and others. What they share is here: the
//! bounded body, the tenant, the way to the sink.
//!
//! Invariants: a body over its limit is refused before it is held; the bytes of all bodies in
//! flight are bounded together; the answer "stored" is given only after the sink said so.

mod audit;
mod batches;
mod cross_origin;
mod datadog;
mod datagrams;
mod elastic;
mod fluent;
mod gelf;
pub mod grpc;
mod import;
mod influx;
mod jaeger;
mod journald;
mod jsonlines;
mod lines;
mod loki;
mod mapping;
pub mod metric_sockets;
mod otlp;
pub mod pushgateway;
mod remote_write;
pub mod sockets;
pub mod splunk;
pub mod trace_sockets;
mod zipkin;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use obs_model::limits::Limits;
use obs_model::{LogBatch, Tenant};
use obs_wire::jaeger::sampling::Strategies;
use obs_wire::{Decoded, WireError, capped};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::decode::Decoder;
use crate::http_error::{ErrorKind, HttpError};
use crate::metrics::{Counters, Door};
use crate::sink::{Accepted, RETRY_AFTER_SECONDS, Sink};

pub use batches::BATCH_HEADER;

/// The header that names the tenant, as Loki, Mimir and Tempo have it.
pub const TENANT_HEADER: &str = "x-scope-orgid";
/// Longest wait for a body to arrive: a slow client must not hold its share of memory for ever.
const BODY_DEADLINE: Duration = Duration::from_secs(60);
/// KiB of bodies that may be in flight at one time, as they arrived and decompressed (or one
/// request of the largest size).
const IN_FLIGHT_KIB: usize = 512 << 10;
/// gRPC calls that may be in flight at one time: their messages are counted only when whole.
const CALLS_IN_FLIGHT: usize = 128;

/// What receivers need from the rest of the house. Clones share it.
#[derive(Clone, Debug)]
pub struct Receiver {
    sink: Sink,
    limits: Limits,
    decoder: Decoder,
    counters: Arc<Counters>,
    otlp: Arc<obs_wire::otlp::metrics::Options>,
    splunk: Arc<splunk::Setting>,
    strategies: Arc<Strategies>,
    origins: Arc<[String]>,
    in_flight: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    batches: batches::Batches,
}

impl Receiver {
    /// A receiver that hands everything to `sink`.
    pub fn new(sink: Sink, limits: Limits, decoder: Decoder, counters: Arc<Counters>) -> Self {
        let largest = limits
            .body_bytes_max
            .saturating_add(limits.decompressed_bytes_max);
        let largest = largest.div_ceil(1024) + 1;
        let permits = IN_FLIGHT_KIB.max(largest).min(Semaphore::MAX_PERMITS);
        Self {
            sink,
            limits,
            decoder,
            counters,
            otlp: Arc::default(),
            splunk: Arc::default(),
            strategies: Arc::default(),
            origins: Arc::default(),
            in_flight: Arc::new(Semaphore::new(permits)),
            calls: Arc::new(Semaphore::new(CALLS_IN_FLIGHT)),
            batches: batches::Batches::default(),
        }
    }

    /// This receiver, which translates OTLP metrics by these options.
    #[must_use]
    pub fn with_otlp(mut self, options: obs_wire::otlp::metrics::Options) -> Self {
        self.otlp = Arc::new(options);
        self
    }
}

impl Receiver {
    /// This receiver, which takes OTLP from browsers that show pages of these origins.
    #[must_use]
    pub fn with_origins(mut self, origins: Vec<String>) -> Self {
        self.origins = origins.into();
        self
    }

    /// This receiver, which tells clients of Jaeger to sample so.
    #[must_use]
    pub fn with_strategies(mut self, strategies: Strategies) -> Self {
        self.strategies = Arc::new(strategies);
        self
    }
}

/// All HTTP receivers under the paths of the main port.
pub fn routes(receiver: Receiver) -> Router {
    let router = Router::new()
        .route("/api/v1/write", post(remote_write::push))
        .route("/api/v1/import", post(import::lines))
        .route("/api/v1/import/csv", post(import::csv))
        .route("/loki/api/v1/push", post(loki::push))
        .route("/api/prom/push", post(loki::push))
        .route("/api/v1/otlp/v1/metrics", post(otlp::metrics))
        .route("/insert/jsonline", post(jsonlines::push))
        .route("/insert/kubernetes-audit", post(audit::push))
        .merge(elastic::routes("/elastic"))
        .merge(elastic::routes("/insert/elasticsearch"))
        .merge(splunk::routes())
        .merge(datadog::routes("/datadog"))
        .merge(datadog::routes("/insert/datadog"))
        .route("/gelf", post(gelf::push))
        .merge(zipkin::routes())
        .merge(influx::routes())
        .merge(journald::routes(""))
        .merge(journald::routes("/insert/journald"))
        .with_state(receiver.clone());
    let once = from_fn_with_state(receiver.batches.clone(), batches::once);
    router
        .merge(otlp_routes(receiver.clone()))
        .nest("/otlp", otlp_routes(receiver))
        .route_layer(once)
}

/// The OTLP receivers alone: what port 4318 serves.
pub fn otlp_routes(receiver: Receiver) -> Router {
    let origins = Arc::clone(&receiver.origins);
    Router::new()
        .route("/v1/metrics", post(otlp::metrics))
        .route("/v1/logs", post(otlp::logs))
        .route("/v1/traces", post(otlp::traces))
        .layer(from_fn_with_state(origins, cross_origin::answer))
        .with_state(receiver)
}

/// The tenant of a request: what authentication decided (an extension `Tenant`), else the header,
/// else `anonymous`. As an extractor it never rejects; the fault is told by the handler in the
/// dialect of its route.
#[derive(Clone, Debug)]
pub struct RequestTenant(pub Result<Tenant, HttpError>);

impl<S: Send + Sync> FromRequestParts<S> for RequestTenant {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let decided = parts.extensions.get::<Tenant>().cloned();
        Ok(Self(match decided {
            Some(tenant) => Ok(tenant),
            None => tenant_of(&parts.headers),
        }))
    }
}

/// The tenant that headers name; `anonymous` when absent.
pub fn tenant_of(headers: &HeaderMap) -> Result<Tenant, HttpError> {
    let Some(value) = headers.get(TENANT_HEADER) else {
        return Ok(Tenant::anonymous());
    };
    let fault = |text: String| HttpError::bad_data(format!("X-Scope-OrgID: {text}"));
    let name = value
        .to_str()
        .map_err(|_| fault("expected printable ASCII".to_owned()))?;
    Tenant::new(name).map_err(|e| fault(e.to_string()))
}

impl From<WireError> for HttpError {
    fn from(error: WireError) -> Self {
        let kind = match &error {
            WireError::TooLarge { .. } => ErrorKind::TooLarge,
            WireError::Malformed { .. } => ErrorKind::BadData,
            WireError::Unsupported { .. } => ErrorKind::UnsupportedMedia,
        };
        Self::new(kind, error.to_string())
    }
}

/// A body and its share of the memory for bodies in flight.
#[derive(Debug)]
struct Received {
    bytes: Bytes,
    /// Held until the request is answered.
    share: Option<OwnedSemaphorePermit>,
}

impl Receiver {
    /// Reads a body within all bounds.
    async fn body(&self, body: Body) -> Result<Received, HttpError> {
        match tokio::time::timeout(BODY_DEADLINE, self.read(body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::new(
                ErrorKind::Timeout,
                format!(
                    "the body did not arrive within {} s",
                    BODY_DEADLINE.as_secs()
                ),
            )),
        }
    }

    async fn read(&self, mut body: Body) -> Result<Received, HttpError> {
        let max = self.limits.body_bytes_max;
        let too_large = || {
            HttpError::too_large(format!(
                "body exceeds the limit body_bytes_max of {max}; send less at once or raise obs.limits.body_bytes_max"
            ))
        };
        if body.size_hint().lower() > max as u64 {
            return Err(too_large());
        }
        let mut share: Option<OwnedSemaphorePermit> = None;
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|e| HttpError::bad_data(format!("body not received: {e}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
            let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let missing = bytes.len().div_ceil(1024).saturating_sub(held);
            if missing > 0 {
                let more = self.share(missing)?;
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
            }
        }
        Ok(Received {
            bytes: bytes.freeze(),
            share,
        })
    }

    fn share(&self, kib: usize) -> Result<OwnedSemaphorePermit, HttpError> {
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let permits = Arc::clone(&self.in_flight).try_acquire_many_owned(kib);
        permits.map_err(|_| {
            HttpError::new(
                ErrorKind::TooMany,
                "too many bodies are in flight; retry later",
            )
            .retry_after(RETRY_AFTER_SECONDS)
        })
    }

    /// Decompresses and decodes away from the event loop. The decompressed bytes take their share
    /// of the memory too, until the batch is stored. `max` bounds them where it is below the limit.
    async fn decode<T: Send + 'static>(
        &self,
        body: &mut Received,
        (compression, max): (&str, usize),
        work: impl FnOnce(&[u8], &Limits) -> Result<T, WireError> + Send + 'static,
    ) -> Result<T, HttpError> {
        let (bytes, mut limits) = (body.bytes.clone(), self.limits);
        limits.decompressed_bytes_max = limits.decompressed_bytes_max.min(max);
        let encoding = compression.to_owned();
        // How much work a few compressed bytes are, only decompressing tells; snappy is tame.
        let cost = match compression {
            "" | "identity" | "snappy" => bytes.len(),
            _ => usize::MAX,
        };
        let unpack_and_decode = move || {
            let max = limits.decompressed_bytes_max;
            let unpacked = capped::decode(&encoding, &bytes, max)?;
            let extra = match &unpacked {
                Cow::Borrowed(_) => 0,
                Cow::Owned(owned) => owned.len(),
            };
            work(&unpacked, &limits).map(|out| (out, extra))
        };
        let (out, extra) = self.decoder.run(cost, unpack_and_decode).await??;
        if extra > 0 {
            let more = self.share(extra.div_ceil(1024))?;
            match &mut body.share {
                Some(share) => share.merge(more),
                None => body.share = Some(more),
            }
        }
        Ok(out)
    }

    /// Decodes and stores a body of log records; gives what was refused on the way.
    async fn store_logs(
        &self,
        tenant: Tenant,
        body: &mut Received,
        compression: &str,
        work: impl FnOnce(&[u8], &Limits) -> Result<Decoded<LogBatch>, WireError> + Send + 'static,
    ) -> Result<Accepted, HttpError> {
        let decoded = self.decode(body, (compression, usize::MAX), work).await?;
        let accepted = if decoded.batch.streams.is_empty() {
            Accepted::default()
        } else {
            self.sink.logs(tenant, decoded.batch).await?
        };
        Ok(accepted.and(decoded.rejected, decoded.message))
    }

    fn count<T>(&self, door: Door, bytes: usize, outcome: &Result<T, HttpError>) {
        self.counters.request(door, bytes, outcome.is_err());
    }
}

/// The media type of a request in lower case, without parameters; empty when absent.
fn media_type(headers: &HeaderMap) -> String {
    let text = text_header(headers, &header::CONTENT_TYPE);
    let media = text.split(';').next().unwrap_or("");
    media.trim().to_ascii_lowercase()
}

/// The token of `Content-Encoding` in lower case; empty when absent.
fn content_encoding(headers: &HeaderMap) -> String {
    let text = text_header(headers, &header::CONTENT_ENCODING);
    text.trim().to_ascii_lowercase()
}

/// A header as text; empty when absent or not text.
fn text_header<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
}

#[cfg(test)]
mod tests;
