//! A cgroup of version 1: a folder per controller.

use std::collections::BTreeMap;

use super::Writer;
use super::cgroups::Cgroup;
use super::metrics::{limit, value};
use crate::Source;

const NANOS: f64 = 1e9;
/// The kernel's unit in `cpuacct.stat`.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn write(
    source: &Source,
    cgroup: &Cgroup,
    devices: &BTreeMap<String, String>,
    writer: &mut Writer<'_>,
) {
    let path = cgroup.path.trim_matches('/');
    let text = |controller: &str, file: &str| {
        source.text(&format!("cgroup/{controller}/{path}/{controller}.{file}"))
    };
    let number = |controller: &str, file: &str| text(controller, file)?.parse::<f64>().ok();
    let total = [("cpu", "total")];
    let usage = number("cpuacct", "usage").map(|nanos| nanos / NANOS);
    writer.put_with("cpu_usage_seconds_total", &total, usage);
    let stat = text("cpuacct", "stat").unwrap_or_default();
    let seconds = |key: &str| value(&stat, key).map(|ticks| ticks / TICKS_PER_SECOND);
    writer.put("cpu_user_seconds_total", seconds("user"));
    writer.put("cpu_system_seconds_total", seconds("system"));
    writer.put("spec_cpu_shares", number("cpu", "shares"));
    writer.put("spec_cpu_period", number("cpu", "cfs_period_us"));
    if let Some(quota) = number("cpu", "cfs_quota_us").filter(|quota| *quota > 0.0) {
        let stat = text("cpu", "stat").unwrap_or_default();
        let throttled = value(&stat, "throttled_time").map(|nanos| nanos / NANOS);
        writer.put("spec_cpu_quota", Some(quota));
        writer.put("cpu_cfs_periods_total", value(&stat, "nr_periods"));
        writer.put(
            "cpu_cfs_throttled_periods_total",
            value(&stat, "nr_throttled"),
        );
        writer.put("cpu_cfs_throttled_seconds_total", throttled);
    }
    memory(source, path, writer);
    for (file, names) in [
        (
            "throttle.io_service_bytes_recursive",
            ["fs_reads_bytes_total", "fs_writes_bytes_total"],
        ),
        (
            "throttle.io_serviced_recursive",
            ["fs_reads_total", "fs_writes_total"],
        ),
    ] {
        let old = file.trim_end_matches("_recursive");
        let text = text("blkio", file).or_else(|| text("blkio", old));
        for line in text.unwrap_or_default().lines() {
            io(line, names, devices, writer);
        }
    }
    writer.put("processes", Some(cgroup.processes as f64));
    writer.put("threads", number("pids", "current"));
    writer.put(
        "threads_max",
        text("pids", "max").and_then(|max| limit(&max)),
    );
    let folder = format!("cgroup/memory/{path}");
    writer.put(
        "start_time_seconds",
        source.changed(&folder).map(f64::trunc),
    );
}

fn memory(source: &Source, path: &str, writer: &mut Writer<'_>) {
    let text = |file: &str| source.text(&format!("cgroup/memory/{path}/memory.{file}"));
    let number = |file: &str| text(file)?.parse::<f64>().ok();
    let stat = text("stat").unwrap_or_default();
    let total = |key: &str| value(&stat, &format!("total_{key}"));
    let (usage, inactive) = (number("usage_in_bytes"), total("inactive_file"));
    let working_set = usage
        .zip(inactive)
        .map(|(usage, idle)| (usage - idle).max(0.0));
    writer.put("memory_usage_bytes", usage);
    writer.put("memory_working_set_bytes", working_set);
    writer.put("memory_max_usage_bytes", number("max_usage_in_bytes"));
    writer.put("memory_rss", total("rss"));
    writer.put("memory_cache", total("cache"));
    writer.put("memory_mapped_file", total("mapped_file"));
    writer.put("memory_kernel_usage", number("kmem.usage_in_bytes"));
    writer.put("memory_swap", total("swap"));
    writer.put("memory_total_inactive_file_bytes", inactive);
    writer.put("memory_total_active_file_bytes", total("active_file"));
    for kind in ["pgfault", "pgmajfault"] {
        for (scope, count) in [
            ("container", value(&stat, kind)),
            ("hierarchy", total(kind)),
        ] {
            let labels = [("failure_type", kind), ("scope", scope)];
            writer.put_with("memory_failures_total", &labels, count);
        }
    }
    writer.put("memory_failcnt", number("failcnt"));
    let oom = text("oom_control").and_then(|text| value(&text, "oom_kill"));
    writer.put("oom_events_total", oom);
    let limited = |file: &str| limit(&text(file)?);
    writer.put("spec_memory_limit_bytes", limited("limit_in_bytes"));
    let swap = limited("memsw.limit_in_bytes");
    writer.put("spec_memory_swap_limit_bytes", swap);
    let soft = limited("soft_limit_in_bytes");
    writer.put("spec_memory_reservation_limit_bytes", soft);
}

/// `8:0 Read 4096`
fn io(
    line: &str,
    [reads, writes]: [&'static str; 2],
    devices: &BTreeMap<String, String>,
    writer: &mut Writer<'_>,
) {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [numbers, operation, count] = words[..] else {
        return;
    };
    let name = match operation {
        "Read" => reads,
        "Write" => writes,
        _ => return,
    };
    let device = devices.get(numbers).map_or(numbers, String::as_str);
    writer.put_with(name, &[("device", device)], count.parse().ok());
}
