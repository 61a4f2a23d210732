//! `tempopb.StreamingQuerier` over gRPC, on the HTTP port (HTTP/2 without TLS) and on that of OTLP
//! over gRPC. Answers are cumulative: each message replaces the one before it, the last is whole.
//!
//! Invariants: a request is bounded and arrives within a deadline; a client that goes away ends the
//! work that is not begun; faults are told in the trailers, as gRPC does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Frame;
use obs_collector::{ErrorKind, HttpError};
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Tenant, TimeRange};
use obs_wire::capped;
use obs_wire::tempo::requests::{MetricsRequest, SearchRequest, TagValuesRequest, TagsRequest};
use obs_wire::tempo::{messages, series};

use super::search::Asked;
use super::{metrics, search, tags};
use crate::api::Asker;
use crate::app::App;

/// Largest request, before and after decompression: queries have a limit of their own.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Longest wait for a request to arrive.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
/// A search over more than this tells its newest part first.
const AHEAD_FROM: i64 = 3600 * NANOS_PER_SECOND;
/// How much of the range that part is.
const AHEAD_SHARE: i64 = 16;

/// One message on its way.
type Step = Pin<Box<dyn Future<Output = Result<Vec<u8>, HttpError>> + Send>>;

/// The methods, at the root.
pub(crate) fn routes(app: &Arc<App>) -> Router {
    let path = |method: &str| format!("/tempopb.StreamingQuerier/{method}");
    Router::new()
        .route(&path("Search"), post(search_call))
        .route(&path("SearchTags"), post(tags_v1))
        .route(&path("SearchTagsV2"), post(tags_v2))
        .route(&path("SearchTagValues"), post(values_v1))
        .route(&path("SearchTagValuesV2"), post(values_v2))
        .route(&path("MetricsQueryRange"), post(metrics_range))
        .route(&path("MetricsQueryInstant"), post(metrics_instant))
        .with_state(Arc::clone(app))
}

type Asking = Result<Asker, HttpError>;

async fn search_call(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = Asked::new(&SearchRequest::decode(bytes)?)?;
        let mut steps: Vec<Step> = Vec::new();
        let length = asked.range.end - asked.range.start;
        if length > AHEAD_FROM {
            let start = asked.range.end.saturating_sub(length / AHEAD_SHARE);
            let newest = TimeRange::new(start, asked.range.end);
            steps.push(search_step(&app, &tenant, &asked, newest, false));
        }
        steps.push(search_step(&app, &tenant, &asked, asked.range, true));
        Ok(steps)
    })
    .await
}

fn search_step(
    app: &Arc<App>,
    tenant: &Tenant,
    asked: &Asked,
    range: TimeRange,
    whole: bool,
) -> Step {
    let (app, tenant, asked) = (Arc::clone(app), tenant.clone(), asked.clone());
    Box::pin(async move {
        let (traces, mut metrics) = search::find(&app, &tenant, &asked, range).await?;
        if !whole {
            (metrics.completed_jobs, metrics.total_jobs) = (1, 2);
        }
        Ok(messages::search(&traces, &metrics))
    })
}

async fn tags_v1(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = TagsRequest::decode(bytes)?;
        one(async move {
            let scopes = tags::names(&app, &tenant, &asked).await?;
            Ok(messages::tags_v1(&tags::flat(scopes)))
        })
    })
    .await
}

async fn tags_v2(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = TagsRequest::decode(bytes)?;
        one(async move {
            let scopes = tags::names(&app, &tenant, &asked).await?;
            Ok(messages::tags_v2(&scopes, 0))
        })
    })
    .await
}

async fn values_v1(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = TagValuesRequest::decode(bytes)?;
        one(async move {
            let values = tags::values(&app, &tenant, &asked).await?;
            Ok(messages::tag_values_v1(&values))
        })
    })
    .await
}

async fn values_v2(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = TagValuesRequest::decode(bytes)?;
        one(async move {
            let values = tags::values(&app, &tenant, &asked).await?;
            Ok(messages::tag_values_v2(&values, 0))
        })
    })
    .await
}

async fn metrics_range(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = MetricsRequest::decode(bytes)?;
        one(async move {
            let found = metrics::find(&app, &tenant, &asked, false).await?;
            let partial = found.partial.as_deref();
            Ok(series::range_protobuf(
                &found.series,
                &found.metrics,
                partial,
            ))
        })
    })
    .await
}

async fn metrics_instant(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = MetricsRequest::decode(bytes)?;
        one(async move {
            let found = metrics::find(&app, &tenant, &asked, true).await?;
            let partial = found.partial.as_deref();
            Ok(series::instant_protobuf(
                &found.series,
                &found.metrics,
                partial,
            ))
        })
    })
    .await
}

/// An answer of one message.
fn one(
    step: impl Future<Output = Result<Vec<u8>, HttpError>> + Send + 'static,
) -> Result<Vec<Step>, HttpError> {
    Ok(vec![Box::pin(step)])
}

async fn answer(
    asker: Asking,
    request: Request,
    plan: impl FnOnce(Tenant, &[u8]) -> Result<Vec<Step>, HttpError>,
) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let planned = match asker {
        Ok(Asker(tenant)) => match message(request).await {
            Ok(bytes) => plan(tenant, &bytes),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    let steps = planned.unwrap_or_else(|error| vec![Box::pin(async move { Err(error) })]);
    let mut response = Response::new(Body::new(Messages {
        steps: steps.into(),
        ended: false,
    }));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The one message of a request.
async fn message(request: Request) -> Result<Vec<u8>, HttpError> {
    let encoding = request.headers().get("grpc-encoding");
    let encoding = encoding.and_then(|e| e.to_str().ok()).unwrap_or_default();
    let encoding = encoding.to_owned();
    let body = axum::body::to_bytes(request.into_body(), REQUEST_BYTES_MAX + 5);
    let body = match tokio::time::timeout(REQUEST_DEADLINE, body).await {
        Ok(body) => body.map_err(|error| {
            HttpError::too_large(format!(
                "request: {error}, at most {REQUEST_BYTES_MAX} bytes are read"
            ))
        })?,
        Err(_) => {
            let text = "the request did not arrive in time";
            return Err(HttpError::new(ErrorKind::Timeout, text));
        }
    };
    let Some((head, rest)) = body.split_first_chunk::<5>() else {
        return Err(HttpError::bad_data("expected one message, found none"));
    };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let found = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let found = found.ok_or_else(|| {
        HttpError::bad_data(format!(
            "expected a message of {length} bytes, found {}",
            rest.len()
        ))
    })?;
    let encoding = if head[0] == 0 { "" } else { &encoding };
    Ok(capped::decode(encoding, found, REQUEST_BYTES_MAX)?.into_owned())
}

/// Messages one after the other, then the trailers.
struct Messages {
    steps: VecDeque<Step>,
    ended: bool,
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(step) = self.steps.front_mut() else {
            self.ended = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(0, "")))));
        };
        let outcome = ready!(step.as_mut().poll(context));
        self.steps.pop_front();
        let frame = match outcome {
            Ok(message) => framed(&message),
            Err(error) => Err(error),
        };
        Poll::Ready(Some(Ok(frame.unwrap_or_else(|error| {
            self.ended = true;
            Frame::trailers(trailers(error.kind.grpc(), &error.message))
        }))))
    }
}

fn framed(message: &[u8]) -> Result<Frame<Bytes>, HttpError> {
    let length = u32::try_from(message.len())
        .map_err(|_| HttpError::too_large("the answer exceeds 4 GiB, the most of a message"))?;
    let mut bytes = Vec::with_capacity(message.len() + 5);
    bytes.push(0);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    Ok(Frame::data(bytes.into()))
}

fn trailers(code: i32, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    // Percent-encoded, as gRPC has it.
    let mut text = String::new();
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    if let Ok(text) = HeaderValue::from_str(&text)
        && !message.is_empty()
    {
        trailers.insert("grpc-message", text);
    }
    trailers
}
