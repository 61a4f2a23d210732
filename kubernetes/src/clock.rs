//! The one place of this room where the wall clock and chance are read. Deadlines and pauses use
//! tokio's clock, which tests can pause.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use obs_model::Timestamp;

/// The time of day. A clock before 1970 reads as 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "events are stamped with the time of day at which they were seen"
)]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Some number below one, so that many clients do not come back at the same moment.
pub(crate) fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
