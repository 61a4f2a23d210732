//! The one place of this room where the wall clock is read. Deadlines and intervals use tokio's
//! clock, which tests can pause.

use std::time::{SystemTime, UNIX_EPOCH};

use obs_model::Timestamp;

/// The time of day. A clock before 1970 or after 2262 reads as the nearest representable time.
#[expect(
    clippy::disallowed_methods,
    reason = "scrapes and tailed lines are stamped with the time of day"
)]
pub(crate) fn now() -> Timestamp {
    let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    };
    Timestamp::from_nanos(nanos)
}
