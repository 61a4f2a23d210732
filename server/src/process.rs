//! What the kernel says about this process, with the names that every Prometheus client uses.

use obs_model::family::Family;
use obs_model::metrics::MetricKind::{Counter, Gauge};

/// The kernel's unit in `/proc/self/stat`: 100 per second on every Linux architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;
/// The kernel's unit of resident memory in `/proc/self/stat`.
const PAGE_BYTES: f64 = 4096.0;

/// `process_*`; empty where there is no procfs.
pub(crate) fn families() -> Vec<Family> {
    let Some(stat) = read("/proc/self/stat") else {
        return Vec::new();
    };
    let mut all = from_stat(&stat, read("/proc/stat").as_deref().and_then(boot_seconds));
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        let help = "Number of open file descriptors.";
        all.push(Family::new("process_open_fds", Gauge, help).with(descriptors.count() as f64));
    }
    let limits = read("/proc/self/limits");
    if let Some(max) = limits.as_deref().and_then(open_files_max) {
        let help = "Maximum number of open file descriptors.";
        all.push(Family::new("process_max_fds", Gauge, help).with(max));
    }
    all
}

/// The name of the machine; empty where it is not known.
pub(crate) fn host() -> String {
    let name = read("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Threads of this process; 0 where there is no procfs.
pub(crate) fn threads() -> u64 {
    let status = read("/proc/self/status").unwrap_or_default();
    let count = status.lines().find_map(|l| l.strip_prefix("Threads:"));
    count.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel's files about this process, not data"
)]
fn read(path: &str) -> Option<String> {
    String::from_utf8(std::fs::read(path).ok()?).ok()
}

fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn open_files_max(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn from_stat(stat: &str, boot_seconds: Option<f64>) -> Vec<Family> {
    // The command's name stands in parentheses and may hold anything; fields follow the last one.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // proc_pid_stat(5) numbers fields from 1; the first behind the parenthesis is number 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let mut all = Vec::new();
    let mut push = |family: Family, value: Option<f64>| all.extend(value.map(|v| family.with(v)));
    let cpu = field(14)
        .zip(field(15))
        .map(|(user, system)| (user + system) / TICKS_PER_SECOND);
    push(
        Family::new(
            "process_cpu_seconds_total",
            Counter,
            "Total user and system CPU time spent in seconds.",
        ),
        cpu,
    );
    push(
        Family::new(
            "process_resident_memory_bytes",
            Gauge,
            "Resident memory size in bytes.",
        ),
        field(24).map(|pages| pages * PAGE_BYTES),
    );
    push(
        Family::new(
            "process_virtual_memory_bytes",
            Gauge,
            "Virtual memory size in bytes.",
        ),
        field(23),
    );
    push(
        Family::new("process_threads", Gauge, "Number of OS threads."),
        field(20),
    );
    push(
        Family::new(
            "process_start_time_seconds",
            Gauge,
            "Start time of the process since unix epoch in seconds.",
        ),
        field(22)
            .zip(boot_seconds)
            .map(|(ticks, boot)| boot + ticks / TICKS_PER_SECOND),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_kernel() {
        let stat = "7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 9 0 1000 4096000 25 0";
        let all = from_stat(stat, Some(100.0));
        let values: Vec<(&str, f64)> = all
            .iter()
            .map(|f| (f.name.as_str(), f.points[0].value))
            .collect();
        assert_eq!(
            values,
            [
                ("process_cpu_seconds_total", 2.0),
                ("process_resident_memory_bytes", 102_400.0),
                ("process_virtual_memory_bytes", 4_096_000.0),
                ("process_threads", 9.0),
                ("process_start_time_seconds", 110.0),
            ]
        );
        assert!(from_stat("", None).is_empty());
        assert_eq!(
            open_files_max("Max open files   1024   4096   files\n"),
            Some(1024.0)
        );
        assert_eq!(boot_seconds("cpu 1\nbtime 42\n"), Some(42.0));
    }

    #[test]
    fn this_process_has_them() {
        let names: Vec<String> = families().into_iter().map(|f| f.name).collect();
        assert!(names.iter().any(|n| n == "process_open_fds"), "{names:?}");
        assert!(
            names.iter().any(|n| n == "process_start_time_seconds"),
            "{names:?}"
        );
    }
}
