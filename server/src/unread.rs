//! Requests that are answered before all of their body was read.
//!
//! Invariant: who sends a body that fits into [`BYTES_MAX`] sees the answer. Closing a connection
//! on which bytes are still arriving resets it, and the reset takes an answer of "too large" with
//! it; so the rest is read and thrown away first, up to bounds of size and time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// Bytes that are thrown away at most; of a body that says it is longer, none.
const BYTES_MAX: u64 = 64 << 20;
/// How long the rest may take to arrive.
const DEADLINE: Duration = Duration::from_secs(5);

/// A body that a handler reads and that is had back afterwards.
struct Lent {
    body: Arc<Mutex<Body>>,
    hint: SizeHint,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = Pin::new(&mut *body).poll_frame(context);
        let hint = body.size_hint();
        drop(body);
        self.get_mut().hint = hint;
        frame
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// Reads what a handler left of a body before its answer goes out.
pub(crate) async fn read(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    // Who waits for a "100 Continue" has not sent anything yet.
    if body.is_end_stream() || head.headers.contains_key(header::EXPECT) {
        return next.run(Request::from_parts(head, body)).await;
    }
    let hint = body.size_hint();
    let body = Arc::new(Mutex::new(body));
    let lent = Lent {
        body: Arc::clone(&body),
        hint,
    };
    let request = Request::from_parts(head, Body::new(lent));
    let response = next.run(request).await;
    let rest = std::mem::take(&mut *body.lock().unwrap_or_else(PoisonError::into_inner));
    if tokio::time::timeout(DEADLINE, discard(rest)).await.is_err() {
        tracing::debug!("the rest of a body did not arrive in time");
    }
    response
}

async fn discard(mut rest: Body) {
    let mut left = BYTES_MAX;
    while left > 0 && rest.size_hint().lower() <= left {
        // A connection that broke, or the end.
        let Some(Ok(frame)) = rest.frame().await else {
            return;
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use http::{Method, StatusCode};
    use tower::Service;

    use super::*;

    /// Chunks of a mebibyte, counted as they are taken.
    struct Chunks {
        left: usize,
        taken: Arc<AtomicUsize>,
    }

    impl HttpBody for Chunks {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            self.left -= 1;
            self.taken.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; 1 << 20])))))
        }
    }

    fn body(left: usize, taken: &Arc<AtomicUsize>) -> Body {
        let taken = Arc::clone(taken);
        Body::new(Chunks { left, taken })
    }

    #[tokio::test]
    async fn what_a_handler_leaves_is_read_up_to_the_bound() {
        let check = async |chunks: usize, expecting: bool, expect: usize| {
            let refuse = |_: Request| async { StatusCode::PAYLOAD_TOO_LARGE };
            let mut routes = Router::new().route("/", post(refuse)).layer(from_fn(read));
            let taken = Arc::default();
            let mut request = Request::builder().method(Method::POST).uri("/");
            if expecting {
                request = request.header(header::EXPECT, "100-continue");
            }
            let request = request.body(body(chunks, &taken)).unwrap();
            let response = routes.call(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(taken.load(Ordering::Relaxed), expect, "{chunks}");
        };
        check(3, false, 3).await;
        check(3, true, 0).await;
        check(1000, false, 64).await;
    }

    #[tokio::test]
    async fn a_handler_reads_the_whole_body() {
        let count = async |body: Body| {
            let read = body.collect().await.map(|all| all.to_bytes().len());
            read.unwrap_or_default().to_string()
        };
        let mut routes = Router::new().route("/", post(count)).layer(from_fn(read));
        let taken = Arc::default();
        let request = Request::post("/").body(body(3, &taken)).unwrap();
        let response = routes.call(request).await.unwrap();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(answer, (3 << 20).to_string());
    }
}
