//! Logins that fail too often are not tried any more for a while.
//!
//! Invariants: what is remembered is bounded, and the oldest is forgotten first; a source (an address,
//! or of IPv6 a network of 64 bits) that fails with many names is stopped like
//! one that fails with one; a login that was remembered as good is not asked here, so that a
//! stranger behind the same address locks out nobody who is in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use obs_model::Timestamp;
use parking_lot::Mutex;

use crate::config::LockoutConfig;

/// Pairs of source and name that are counted.
const COUNTED_MAX: usize = 8192;
/// How many more failures a source has over all names.
const SOURCE_TIMES: u32 = 10;

/// Failures of one source, with one name or over all.
type Key = (IpAddr, Option<u64>);

/// Since when they are counted, and how many.
type Failures = HashMap<Key, (Timestamp, u32)>;

/// Counts logins that failed.
#[derive(Debug)]
pub(super) struct Lockout {
    setting: LockoutConfig,
    failures: Mutex<Failures>,
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
        let source = network(source);
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
            forget_oldest(&mut failures);
        }
        let source = network(source);
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
        let key = (network(source), Some(name_of(user)));
        self.failures.lock().remove(&key);
    }
}

/// Makes room: those of names go before those of sources, because there are as many sources as
/// attackers have addresses, and names are free.
fn forget_oldest(failures: &mut Failures) {
    let mut all: Vec<(bool, Timestamp, Key)> = failures
        .iter()
        .map(|(key, (since, _))| (key.1.is_none(), *since, *key))
        .collect();
    all.sort_unstable_by_key(|(is_source, since, _)| (*is_source, *since));
    for (_, _, key) in all.iter().take(COUNTED_MAX / 8) {
        failures.remove(key);
    }
}

/// Whoever has an address of IPv6 has a whole network of them.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        address @ IpAddr::V4(_) => address,
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

    #[test]
    fn the_oldest_are_forgotten_and_sources_kept() {
        let at = Timestamp::from_seconds;
        let setting = LockoutConfig {
            failures: 1,
            ..LockoutConfig::default()
        };
        let lockout = Lockout::new(setting);
        let source = |index: u32| IpAddr::from(index.to_be_bytes());
        for _ in 0..SOURCE_TIMES {
            lockout.failed(source(0), "ann", at(1));
        }
        for index in 1..6000u32 {
            lockout.failed(source(index), "ann", at(1 + i64::from(index / 1000)));
        }
        assert!(lockout.waits(source(0), "new", at(7)).is_some());
        assert!(lockout.waits(source(5999), "ann", at(7)).is_some());
        assert!(lockout.waits(source(1), "ann", at(7)).is_none());
    }

    #[test]
    fn a_network_is_one_source() {
        let at = Timestamp::from_seconds;
        let setting = LockoutConfig {
            failures: 1,
            ..LockoutConfig::default()
        };
        let lockout = Lockout::new(setting);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        lockout.failed(address("2001:db8:1:2:3::4"), "ann", at(1));
        lockout.failed(address("::ffff:10.0.0.1"), "ann", at(1));
        for (source, expect) in [
            ("2001:db8:1:2::9", true),
            ("2001:db8:1:3::9", false),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
        ] {
            let waits = lockout.waits(address(source), "ann", at(2));
            assert_eq!(waits.is_some(), expect, "{source}");
        }
    }
}
