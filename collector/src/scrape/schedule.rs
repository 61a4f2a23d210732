//! When a target is scraped: its own phase of the interval, and timestamps on the grid.

use std::time::Duration;

use obs_model::Timestamp;

use crate::discovery::Target;

/// Scrapes this close to their grid get the grid's time, so that timestamps compress; as
/// Prometheus (`scrape.timestamp-tolerance`).
const TOLERANCE_NANOS: i64 = 2_000_000;

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).max(1)
}

/// Phases into which the targets of one interval are spread, at least …
const PHASES_MIN: i64 = 16;
/// … and so long at most, so that no burst is larger than it must be.
const PHASE_NANOS_MAX: i64 = 1_000_000_000;

/// How long after `now` the first scrape is due: targets are spread over the phases of the interval
/// by the hash of what they are, the same after every restart. Those of one phase are asked
/// together, which wakes the machine once and not once for each.
pub(crate) fn offset(now: Timestamp, interval: Duration, target: &Target) -> Duration {
    let interval = nanos(interval);
    let hash = target.labels.hash64() ^ xor_bytes(&target.url);
    let length = (interval / PHASES_MIN).clamp(1, PHASE_NANOS_MAX);
    let phases = (interval / length).max(1);
    let phase = i64::try_from(hash % phases.unsigned_abs()).unwrap_or(0) * length;
    let wait = (phase - now.nanos().rem_euclid(interval)).rem_euclid(interval);
    Duration::from_nanos(wait.unsigned_abs())
}

/// FNV-1a of a text: the URL tells targets with equal labels apart.
fn xor_bytes(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The time of a scrape that begins `now`: on the grid of the first scrape where it is close.
pub(crate) fn align(grid: &mut Option<Timestamp>, now: Timestamp, interval: Duration) -> Timestamp {
    let interval = nanos(interval);
    let begin = *grid.get_or_insert(now);
    let steps = (now - begin).div_euclid(interval);
    let below = begin.saturating_add(steps.saturating_mul(interval));
    let above = below.saturating_add(interval);
    *grid = Some(below);
    let tolerance = TOLERANCE_NANOS.min(interval / 100);
    if now - below <= tolerance {
        below
    } else if above - now <= tolerance {
        *grid = Some(above);
        above
    } else {
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::Labels;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_nanos(micros * 1000)
    }

    #[test]
    fn times_snap_to_the_grid() {
        let mut grid = None;
        let second = Duration::from_secs(1);
        let mut check =
            |now, expect| assert_eq!(align(&mut grid, at(now), second), at(expect), "{now}");
        check(500, 500);
        check(1_001_000, 1_000_500);
        check(1_999_000, 2_000_500);
        check(3_500_000, 3_500_000);
        check(4_000_400, 4_000_500);
    }

    #[test]
    fn targets_keep_their_phase() {
        let target = Target {
            discovered: Labels::empty(),
            labels: Labels::from_pairs([("a", "b")]),
            url: "http://h/metrics".into(),
            unix_socket: None,
            histograms: Default::default(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
        };
        let due = |now| at(now) + offset(at(now), target.interval, &target).as_nanos() as i64;
        let first = due(0);
        assert!(first < at(15_000_000));
        assert_eq!(due(first.nanos() / 1000 + 1), first + 15_000_000_000);
        assert_eq!(offset(first, target.interval, &target), Duration::ZERO);
    }

    #[test]
    fn targets_share_phases() {
        let check = |interval: Duration, phases: usize| {
            let target = |number: u64| Target {
                discovered: Labels::empty(),
                labels: Labels::from_pairs([("a", number.to_string())]),
                url: "http://h/metrics".into(),
                unix_socket: None,
                histograms: Default::default(),
                interval,
                timeout: interval,
            };
            let due = (0..1000).map(|n| offset(at(0), interval, &target(n)));
            let due: std::collections::BTreeSet<Duration> = due.collect();
            assert_eq!(due.len(), phases, "{interval:?}");
            assert!(due.iter().all(|wait| *wait < interval));
        };
        check(Duration::from_millis(50), 16);
        check(Duration::from_secs(15), 16);
        check(Duration::from_secs(60), 60);
    }
}
