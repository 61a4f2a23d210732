//! Calls over gRPC that are answered with messages: those of `tempopb.StreamingQuerier` and of
//! Jaeger's query services, on the HTTP port (HTTP/2 without TLS) and on that of OTLP over gRPC.
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
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Frame;
use obs_collector::{ErrorKind, HttpError};
use obs_wire::capped;

use super::Asker;
use crate::app::App;
use crate::enforced::Visible;

/// Largest request, before and after decompression: queries have a limit of their own.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Longest wait for a request to arrive.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);

/// Messages on their way.
pub(super) type Step = Pin<Box<dyn Future<Output = Result<Vec<Vec<u8>>, HttpError>> + Send>>;
/// Who asks, or why that is not known.
pub(super) type Asking = Result<Asker, HttpError>;

/// All services, at the root.
pub(crate) fn grpc_routes(app: &Arc<App>) -> Router {
    super::tempo::grpc_routes(app)
        .merge(super::jaeger::grpc_routes(app))
        .merge(super::keda::routes(app))
}

/// An answer of one message.
pub(super) fn one(
    step: impl Future<Output = Result<Vec<u8>, HttpError>> + Send + 'static,
) -> Result<Vec<Step>, HttpError> {
    Ok(vec![Box::pin(async move {
        step.await.map(|message| vec![message])
    })])
}

/// An answer of several messages that are known together.
pub(super) fn several(
    step: impl Future<Output = Result<Vec<Vec<u8>>, HttpError>> + Send + 'static,
) -> Result<Vec<Step>, HttpError> {
    Ok(vec![Box::pin(step)])
}

/// Reads the request and answers with what is planned for it.
pub(super) async fn answer(
    asker: Asking,
    request: Request,
    plan: impl FnOnce(Visible, &[u8]) -> Result<Vec<Step>, HttpError>,
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
        ready: VecDeque::new(),
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
    ready: VecDeque<Vec<u8>>,
    ended: bool,
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(message) = self.ready.pop_front() {
                let frame = framed(&message).unwrap_or_else(|error| self.fault(&error));
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some(step) = self.steps.front_mut() else {
                self.ended = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers(0, "")))));
            };
            let outcome = ready!(step.as_mut().poll(context));
            self.steps.pop_front();
            match outcome {
                Ok(messages) => self.ready.extend(messages),
                Err(error) => return Poll::Ready(Some(Ok(self.fault(&error)))),
            }
        }
    }
}

impl Messages {
    /// Ends with a fault.
    fn fault(&mut self, error: &HttpError) -> Frame<Bytes> {
        self.ended = true;
        Frame::trailers(trailers(error.kind.grpc(), &error.message))
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
