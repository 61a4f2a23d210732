//! cpu: seconds per CPU and mode, from `/proc/stat`; throttling, isolation and state from sysfs.

use std::collections::BTreeMap;

use super::{CPUS, cpu_list, cpuinfo};
use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

/// The kernel's unit in `/proc/stat`: USER_HZ, 100 per second on every Linux architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;
/// A fall of the idle counter from which on the CPU counts as a new one. Below it is a known
/// fault of the kernel's accounting.
const RESET_SECONDS: f64 = 3.0;

const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];
const IDLE: usize = 3;
/// Modes and the two of guests.
const FIELDS: usize = 10;

/// The highest seconds that were seen per CPU: these counters run backwards at times.
pub(crate) type Seconds = BTreeMap<u32, [f64; FIELDS]>;

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    if options.cpu_info {
        let frequency = options.is_enabled("cpufreq");
        cpuinfo::parse(&source.read("proc/cpuinfo")?, frequency, options, sheet)?;
    }
    let now = parse(&source.read("proc/stat")?)?;
    let mut seen = source.cpus();
    merge(&mut seen, now);
    write(&seen, options, sheet);
    drop(seen);
    if let Some(list) = source.find(&format!("{CPUS}/isolated"))? {
        let cpus = cpu_list(&list);
        let path = format!("{CPUS}/isolated");
        for cpu in cpus.ok_or_else(|| source.form(&path, 0, "a list of CPUs"))? {
            let help =
                "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.";
            sheet.gauge("node_cpu_isolated", help, &[("cpu", &cpu.to_string())], 1.0);
        }
    }
    throttles(source, sheet);
    online(source, sheet);
    Ok(())
}

fn parse(stat: &str) -> Result<Seconds, CollectError> {
    let mut all = Seconds::new();
    for (index, line) in stat.lines().enumerate() {
        let fault = || CollectError::form("/proc/stat", index, "ticks per mode of a CPU");
        let mut words = line.split_ascii_whitespace();
        let cpu = words.next().and_then(|word| word.strip_prefix("cpu"));
        let Some(cpu) = cpu.filter(|cpu| !cpu.is_empty()) else {
            continue;
        };
        let cpu = cpu.parse().map_err(|_| fault())?;
        let mut seconds = [0.0; FIELDS];
        let mut count = 0;
        for (place, word) in seconds.iter_mut().zip(words) {
            *place = word.parse::<u64>().map_err(|_| fault())? as f64 / TICKS_PER_SECOND;
            count += 1;
        }
        if count < 4 {
            return Err(fault());
        }
        all.insert(cpu, seconds);
    }
    Ok(all)
}

/// Keeps counters from running backwards.
fn merge(seen: &mut Seconds, now: Seconds) {
    seen.retain(|cpu, _| now.contains_key(cpu));
    for (cpu, now) in now {
        let before = seen.entry(cpu).or_default();
        if before[IDLE] - now[IDLE] >= RESET_SECONDS {
            *before = now;
        }
        for (before, now) in before.iter_mut().zip(now) {
            *before = before.max(now);
        }
    }
}

fn write(seconds: &Seconds, options: &Options, sheet: &mut Sheet) {
    for (cpu, seconds) in seconds {
        let cpu = cpu.to_string();
        for (mode, value) in MODES.iter().zip(seconds) {
            sheet.counter(
                "node_cpu_seconds_total",
                "Seconds the CPUs spent in each mode.",
                &[("cpu", &cpu), ("mode", mode)],
                *value,
            );
        }
        let guests = seconds.iter().skip(MODES.len());
        for (mode, value) in ["user", "nice"].iter().zip(guests) {
            if options.cpu_guest {
                sheet.counter(
                    "node_cpu_guest_seconds_total",
                    "Seconds the CPUs spent in guests (VMs) for each mode.",
                    &[("cpu", &cpu), ("mode", mode)],
                    *value,
                );
            }
        }
    }
}

fn throttles(source: &Source, sheet: &mut Sheet) {
    for cpu in source.numbered(CPUS, "cpu") {
        let number = |file: &str| source.number(&format!("{CPUS}/cpu{cpu}/{file}")).ok();
        let package = number("topology/physical_package_id");
        let Some((package, core)) = package.zip(number("topology/core_id")) else {
            continue;
        };
        let (package, core) = (package.to_string(), core.to_string());
        // CPUs of one core tell the same number; the sheet keeps the first.
        if let Some(count) = number("thermal_throttle/core_throttle_count") {
            sheet.counter(
                "node_cpu_core_throttles_total",
                "Number of times this CPU core has been throttled.",
                &[("package", &package), ("core", &core)],
                count,
            );
        }
        if let Some(count) = number("thermal_throttle/package_throttle_count") {
            sheet.counter(
                "node_cpu_package_throttles_total",
                "Number of times this CPU package has been throttled.",
                &[("package", &package)],
                count,
            );
        }
    }
}

fn online(source: &Source, sheet: &mut Sheet) {
    let cpus = source.numbered(CPUS, "cpu");
    let state = |cpu: &String| source.text(&format!("{CPUS}/cpu{cpu}/online"));
    // Where the first CPU cannot be turned off it has no such file, and node_exporter gives none.
    if cpus.first().and_then(state).is_none() {
        return;
    }
    for cpu in &cpus {
        let online = state(cpu).as_deref() == Some("1");
        let help = "CPUs that are online and being scheduled.";
        sheet.gauge("node_cpu_online", help, &[("cpu", cpu)], flag(online));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_do_not_run_backwards() {
        let read = |idle: u32, user: u32| {
            parse(&format!("cpu  1 2 3 4\ncpu7 {user} 0 0 {idle}\n")).unwrap()
        };
        let mut seen = Seconds::new();
        for (idle, user, expect) in [
            (1000, 500, (10.0, 5.0)),
            (900, 510, (10.0, 5.1)),
            (1100, 400, (11.0, 5.1)),
            (800, 100, (8.0, 1.0)),
        ] {
            merge(&mut seen, read(idle, user));
            assert_eq!((seen[&7][IDLE], seen[&7][0]), expect);
        }
        merge(&mut seen, Seconds::new());
        assert!(seen.is_empty());
        let fault = parse("cpu0 1 x").unwrap_err().to_string();
        assert_eq!(fault, "/proc/stat:1: expected ticks per mode of a CPU");
    }
}
