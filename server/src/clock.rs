//! The clock of the server: everything below is told the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use obs_model::Timestamp;

/// Now, by the machine's wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the server that reads the clock"
)]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// How long something took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Timestamp);

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self(now())
    }

    /// Seconds so far; 0 where the clock was set back meanwhile.
    pub(crate) fn elapsed_seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    /// Time so far; none where the clock was set back meanwhile.
    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(u64::try_from(now() - self.0).unwrap_or(0))
    }
}

/// How long it is until then; nothing where it is over.
pub(crate) fn until(then: Timestamp) -> Duration {
    Duration::from_nanos(u64::try_from(then - now()).unwrap_or(0))
}
