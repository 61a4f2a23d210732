//! The one place of this room where the wall clock and chance are read. Deadlines and pauses use
//! tokio's clock, which tests can pause.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use obs_model::Timestamp;

use crate::error::Error;

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

/// How long is waited after a failure: the pause, spread by chance, and never less than the server
/// asked for.
pub(crate) fn spread(pause: Duration, after: Option<&Error>) -> Duration {
    let asked = after.and_then(Error::retry_after).unwrap_or_default();
    // The spread goes on top, so that all who were sent away do not come back at once.
    let least = asked.mul_f64(1.0 + chance() / 10.0);
    pause.mul_f64(0.5 + chance()).max(least)
}

/// Some number below one, so that many clients do not come back at the same moment.
pub(crate) fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks() {
        let second = Duration::from_secs(1);
        let busy = Error::Refused {
            path: "/".to_owned(),
            status: 429,
            reason: String::new(),
            message: String::new(),
            retry_after: Some(second * 7),
        };
        for _ in 0..100 {
            let alone = spread(second * 2, None);
            assert!(alone >= second && alone <= second * 3, "{alone:?}");
            let asked = spread(second * 2, Some(&busy));
            assert!(asked >= second * 7 && asked < second * 8, "{asked:?}");
        }
    }
}
