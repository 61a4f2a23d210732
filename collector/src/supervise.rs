//! Keeps a task going that must not end: one that panics or gives up is told of and begun again.
//!
//! Invariant: a task ends for good only when it says that it is done, which it does when it is told
//! to stop; whatever else ends it is logged, counted and followed by another.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// First and longest pause before a task is begun again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A task that ran so long was a good one: what ended it is new.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Done,
    /// It lost what it worked with; what it did not store is still where it was read.
    Lost,
}

/// Runs what `begin` makes until it is done; `fault` is told each time that it is begun again.
pub(crate) async fn keep<F>(
    what: &'static str,
    stop: &CancellationToken,
    fault: impl Fn() + Send,
    begin: impl FnMut() -> F + Send,
) where
    F: Future<Output = End> + Send + 'static,
{
    with_pauses(PAUSES, what, stop, fault, begin).await;
}

async fn with_pauses<F>(
    pauses: (Duration, Duration),
    what: &'static str,
    stop: &CancellationToken,
    fault: impl Fn() + Send,
    mut begin: impl FnMut() -> F + Send,
) where
    F: Future<Output = End> + Send + 'static,
{
    let mut pause = pauses.0;
    loop {
        let began = Instant::now();
        let mut task = JoinSet::new();
        task.spawn(begin());
        match task.join_next().await {
            Some(Ok(End::Done)) | None => return,
            Some(Ok(End::Lost)) => tracing::error!("{what} lost its state and begins again"),
            Some(Err(error)) => tracing::error!(%error, "{what} ended and begins again"),
        }
        fault();
        if began.elapsed() >= GOOD_LIFE {
            pause = pauses.0;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(pauses.1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const NONE: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

    #[tokio::test]
    async fn what_panics_or_gives_up_is_begun_again() {
        let (begun, faults) = (AtomicU32::new(0), AtomicU32::new(0));
        let stop = CancellationToken::new();
        let fault = || {
            faults.fetch_add(1, Ordering::Relaxed);
        };
        with_pauses(NONE, "a test", &stop, fault, || {
            let turn = begun.fetch_add(1, Ordering::Relaxed);
            async move {
                match turn {
                    0 => panic!("as a test wants it"),
                    1 => End::Lost,
                    _ => End::Done,
                }
            }
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        assert_eq!(faults.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn nothing_is_begun_again_after_the_stop() {
        let stop = CancellationToken::new();
        stop.cancel();
        let begun = AtomicU32::new(0);
        let begin = || {
            begun.fetch_add(1, Ordering::Relaxed);
            async { End::Lost }
        };
        keep("a test", &stop, || {}, begin).await;
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }
}
