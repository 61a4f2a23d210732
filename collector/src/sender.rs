//! How long the sender of a queue goes on, as destinations come and go.
//!
//! Invariant: of one queue there is one sender at a time; the next one begins with what the one
//! before it did not see acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::spool::Spool;

/// How long a sender goes on.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Another one takes its queue.
    stop: CancellationToken,
    /// Nothing more comes.
    leaving: AtomicBool,
    /// There is none, or none any more.
    ended: CancellationToken,
}

impl Life {
    /// Whether everything was sent and nothing more is to come.
    pub(crate) fn is_over(&self, spool: &Spool) -> bool {
        self.is_leaving() && spool.finish(&self.stop)
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Sends what there is, and ends.
    pub(crate) fn leave(&self, spool: &Spool) {
        self.leaving.store(true, Ordering::Release);
        spool.wake.notify_one();
    }

    /// Ends, for another one that takes the queue.
    pub(crate) fn end(&self, spool: &Spool) {
        self.stop.cancel();
        spool.go_on();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Runs a sender behind the one before it, until `stop` or its own end.
    pub(crate) async fn run<F: Future<Output = ()>>(
        &self,
        (before, spool): (Option<&Self>, &Spool),
        stop: &CancellationToken,
        send: impl FnOnce(CancellationToken) -> F,
    ) {
        let own = stop.child_token();
        if let Some(before) = before {
            before.ended.cancelled().await;
            spool.rewind();
        }
        let send = send(own.clone());
        tokio::pin!(send);
        tokio::select! {
            () = &mut send => {}
            () = self.stop.cancelled() => {
                own.cancel();
                send.await;
            }
        }
        self.ended.cancel();
    }
}
