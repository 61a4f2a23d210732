//! The end of alerting: rules have their last round, receivers are told of it, and Alertmanagers
//! elsewhere too.
//!
//! Invariant: each of them has a time of its own, and what one of them takes longer is not taken from
//! the others.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::within;

/// Who evaluates and tells.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    /// Rounds of rules, and who takes what they tell.
    pub(crate) rounds: TaskTracker,
    /// Who tells receivers.
    pub(crate) here: TaskTracker,
    /// Who tells Alertmanagers elsewhere.
    pub(crate) elsewhere: TaskTracker,
    /// All that was told is with those who tell, or comes too late.
    pub(crate) drained: CancellationToken,
}

impl Telling {
    /// Waits for the end of all of them, which was asked for.
    pub(crate) async fn end(&self) {
        self.rounds.close();
        within("the last round of rules", self.rounds.wait()).await;
        self.drained.cancel();
        self.here.close();
        within("notifications", self.here.wait()).await;
        self.elsewhere.close();
        within("telling Alertmanagers elsewhere", self.elsewhere.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::STOP_TIMEOUT;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_round_that_hangs_takes_no_time_from_those_who_tell() {
        let (telling, told) = (Telling::default(), Arc::new(AtomicUsize::new(0)));
        telling.rounds.spawn(std::future::pending::<()>());
        for (tracker, shares) in [(&telling.here, 9), (&telling.elsewhere, 18)] {
            let (drained, told) = (telling.drained.clone(), Arc::clone(&told));
            tracker.spawn(async move {
                drained.cancelled().await;
                // Nearly all of its time.
                tokio::time::sleep(STOP_TIMEOUT * shares / 10).await;
                told.fetch_add(1, Ordering::SeqCst);
            });
        }
        telling.end().await;
        assert_eq!(told.load(Ordering::SeqCst), 2);
        tokio::time::sleep(Duration::ZERO).await;
    }
}
