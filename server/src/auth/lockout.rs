//! Logins that fail too often are not tried any more for a while.
//!
//! Invariants: what is remembered is bounded; a source that fails with many names is stopped like
//! one that fails with one; a login that was remembered as good is not asked here, so that a
//! stranger behind the same address locks out nobody who is in.

use std::collections::HashMap;
use std::net::IpAddr;

use obs_model::Timestamp;
use parking_lot::Mutex;

use crate::config::LockoutConfig;

/// Pairs of source and name that are counted.
const COUNTED_MAX: usize = 8192;
/// How many more failures a source has over all names.
const SOURCE_TIMES: u32 = 10;

/// Failures of one source, with one name or over all.
type Key = (IpAddr, Option<u64>);

/// Counts logins that failed.
#[derive(Debug)]
pub(super) struct Lockout {
    setting: LockoutConfig,
    failures: Mutex<HashMap<Key, (Timestamp, u32)>>,
}

impl Lockout {
    pub(super) fn new(setting: LockoutConfig) -> Self {
        Self {
            setting,
            failures: Mutex::default(),
        }
    }

    /// Seconds until a login may be tried; none where it may be now.
    pub(super) fn waits(&self, source: IpAddr, user: &str, now: Timestamp) -> Option<u64> {
        if self.setting.failures == 0 {
            return None;
        }
        let failures = self.failures.lock();
        let over = |key: &Key, max: u32| {
            let (since, count) = failures.get(key)?;
            let rest = self.setting.within - (now - *since);
            (*count >= max && rest > 0).then_some(rest)
        };
        let of_user = over(&(source, Some(name_of(user))), self.setting.failures);
        let of_source = over(&(source, None), self.of_source());
        let rest = of_user.max(of_source)?;
        u64::try_from(rest / obs_model::time::NANOS_PER_SECOND + 1).ok()
    }

    fn of_source(&self) -> u32 {
        self.setting.failures.saturating_mul(SOURCE_TIMES)
    }

    /// A login failed.
    pub(super) fn failed(&self, source: IpAddr, user: &str, now: Timestamp) {
        let within = self.setting.within;
        let mut failures = self.failures.lock();
        let is_over = |since: Timestamp| now - since >= within || now < since;
        if failures.len() + 2 > COUNTED_MAX {
            failures.retain(|_, (since, _)| !is_over(*since));
        }
        if failures.len() + 2 > COUNTED_MAX {
            // Sources are kept: there are as many as attackers have addresses, names are free.
            failures.retain(|(_, user), _| user.is_none());
        }
        if failures.len() + 2 > COUNTED_MAX {
            failures.clear();
        }
        for key in [(source, Some(name_of(user))), (source, None)] {
            let (since, count) = failures.entry(key).or_insert((now, 0));
            if is_over(*since) {
                (*since, *count) = (now, 0);
            }
            *count = count.saturating_add(1);
        }
    }

    /// A login succeeded.
    pub(super) fn succeeded(&self, source: IpAddr, user: &str) {
        self.failures.lock().remove(&(source, Some(name_of(user))));
    }
}

/// Names are as long as their senders like.
fn name_of(user: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(user.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_lock_out_for_a_while() {
        let at = Timestamp::from_seconds;
        let setting = LockoutConfig {
            failures: 2,
            within: 60 * obs_model::time::NANOS_PER_SECOND,
        };
        let lockout = Lockout::new(setting);
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        lockout.failed(here, "ann", at(0));
        assert_eq!(lockout.waits(here, "ann", at(1)), None);
        lockout.failed(here, "ann", at(10));
        assert_eq!(lockout.waits(here, "ann", at(20)), Some(41));
        assert_eq!(lockout.waits(there, "ann", at(20)), None);
        assert_eq!(lockout.waits(here, "bob", at(20)), None);
        assert_eq!(lockout.waits(here, "ann", at(60)), None);
        lockout.failed(here, "ann", at(61));
        assert_eq!(lockout.waits(here, "ann", at(62)), None);
        lockout.succeeded(here, "ann");
        lockout.failed(here, "ann", at(63));
        assert_eq!(lockout.waits(here, "ann", at(64)), None);
        for index in 0..20 {
            lockout.failed(there, &format!("user{index}"), at(100));
        }
        assert_eq!(lockout.waits(there, "new", at(101)), Some(60));
        assert_eq!(lockout.waits(here, "new", at(101)), None);
        let never = Lockout::new(LockoutConfig {
            failures: 0,
            ..setting
        });
        never.failed(here, "ann", at(0));
        assert_eq!(never.waits(here, "ann", at(0)), None);
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let lockout = Lockout::new(LockoutConfig::default());
        for index in 0..30_000u32 {
            let source = IpAddr::from(index.to_be_bytes());
            lockout.failed(source, &index.to_string(), Timestamp::from_seconds(1));
        }
        assert!(lockout.failures.lock().len() <= COUNTED_MAX);
    }
}
