//! Collectors of processors: time, frequency, scheduling, interrupts.

mod cpufreq;
mod cpuinfo;
mod interrupts;
mod schedstat;
mod seconds;
mod softirqs;
mod vulnerabilities;

pub(crate) use cpufreq::collect as cpufreq;
pub(crate) use interrupts::collect as interrupts;
pub(crate) use schedstat::collect as schedstat;
pub(crate) use seconds::{Seconds, collect as cpu};
pub(crate) use softirqs::collect as softirqs;
pub(crate) use vulnerabilities::collect as vulnerabilities;

/// The folder of the CPUs.
const CPUS: &str = "sys/devices/system/cpu";
/// CPUs that a list may name; Linux is built for at most 8192.
const CPUS_MAX: usize = 1 << 14;

/// CPUs of a list such as `0-3,8`.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        all.extend((first..=last).take(CPUS_MAX.saturating_sub(all.len())));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        for (text, expect) in [
            ("", Some(vec![])),
            ("3\n", Some(vec![3])),
            ("0-2,5,7-8\n", Some(vec![0, 1, 2, 5, 7, 8])),
            ("a", None),
            ("1-", None),
            ("5-3", Some(vec![])),
        ] {
            assert_eq!(cpu_list(text), expect, "{text:?}");
        }
        assert_eq!(cpu_list("0-4294967295").unwrap().len(), CPUS_MAX);
    }
}
