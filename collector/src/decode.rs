//! The only place of this room where work leaves the event loop: decompressing and decoding.
//!
//! Invariant: no more bodies are decoded at one time than there are workers; the others wait in
//! their tasks, each holding only the bytes it brought.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::http_error::HttpError;

/// Inputs up to this size are decoded in place: about 100 µs of work, less than two thread hops
/// under load and far below what would hold up the event loop.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// Runs decoders.
#[derive(Clone, Debug)]
pub struct Decoder {
    workers: Arc<Semaphore>,
}

impl Decoder {
    /// A decoder with this many workers (at least one).
    pub fn new(workers: usize) -> Self {
        Self {
            workers: Arc::new(Semaphore::new(workers.max(1))),
        }
    }

    /// Runs `work`, which reads about `bytes` bytes.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one door from the event loop to decoding threads"
    )]
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HttpError> {
        if bytes <= INLINE_BYTES_MAX {
            return Ok(work());
        }
        let lost = |_| HttpError::internal("decoding stopped before it was done");
        let permit = Arc::clone(&self.workers).acquire_owned().await;
        let permit = permit.map_err(|_| HttpError::internal("decoding has shut down"))?;
        let task = tokio::task::spawn_blocking(move || {
            let out = work();
            drop(permit);
            out
        });
        task.await.map_err(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_and_large_work_is_done() {
        let decoder = Decoder::new(0);
        assert_eq!(decoder.run(1, || 1).await, Ok(1));
        let (a, b) = tokio::join!(decoder.run(1 << 20, || 2), decoder.run(1 << 20, || 3));
        assert_eq!((a, b), (Ok(2), Ok(3)));
    }
}
