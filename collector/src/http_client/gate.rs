//! What happens between the connection and the first byte of a body: whoever sends something only
//! once notes there that it is on its way.
//!
//! Invariant: no byte of a body leaves before the gate has opened.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// What is waited for.
type Opening = Pin<Box<dyn Future<Output = ()> + Send>>;

tokio::task_local! {
    /// The gate of what is sent from this task by [`super::HttpClient::exchange`].
    pub static GATE: Gate;
}

/// Opens when what it does is done.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn() -> Opening + Send + Sync>);

impl Gate {
    /// A gate that does this before it opens.
    pub fn new(open: impl Fn() -> Opening + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// Waits until it is open.
    pub async fn pass(&self) {
        (self.0)().await;
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// A body as this task sends it: behind its gate, where it has one.
pub(super) fn gated(body: Bytes) -> reqwest::Body {
    match GATE.try_with(Gate::clone) {
        Ok(gate) if !body.is_empty() => reqwest::Body::wrap(Gated {
            opening: Some(Mutex::new((gate.0)())),
            body,
        }),
        _ => body.into(),
    }
}

struct Gated {
    /// In a mutex because a body is shared between threads, if only by its type.
    opening: Option<Mutex<Opening>>,
    body: Bytes,
}

impl Body for Gated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(opening) = &mut self.opening {
            let opening = opening.get_mut().unwrap_or_else(PoisonError::into_inner);
            if opening.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.opening = None;
        }
        let body = std::mem::take(&mut self.body);
        Poll::Ready((!body.is_empty()).then(|| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn bodies_wait_for_their_gate() {
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let gate = Gate::new(move || {
            let count = Arc::clone(&count);
            Box::pin(async move {
                tokio::task::yield_now().await;
                count.fetch_add(1, Ordering::SeqCst);
            })
        });
        let send = async |body: &'static str| {
            let body = gated(Bytes::from_static(body.as_bytes()));
            let bytes = body.collect().await.expect("a body").to_bytes();
            (bytes, opened.load(Ordering::SeqCst))
        };
        assert_eq!(send("free").await, (Bytes::from("free"), 0));
        GATE.scope(gate, async {
            assert_eq!(send("").await, (Bytes::new(), 0));
            assert_eq!(send("waits").await, (Bytes::from("waits"), 1));
        })
        .await;
    }
}
