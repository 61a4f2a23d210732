//! A cgroup of version 2: one folder with the files of all controllers.

use std::collections::BTreeMap;

use super::Writer;
use super::cgroups::Cgroup;
use super::metrics::{limit, value};
use crate::Source;
use crate::memory::stalled_micros;

const MICROS: f64 = 1e6;

/// Weight 1 to 10,000 as shares of version 1, which cAdvisor tells: 2 to 262,144.
fn shares(weight: f64) -> f64 {
    (2.0 + (weight - 1.0) * 262_142.0 / 9_999.0).trunc()
}

pub(super) fn write(
    source: &Source,
    cgroup: &Cgroup,
    devices: &BTreeMap<String, String>,
    writer: &mut Writer<'_>,
) {
    let folder = format!("cgroup/{}", cgroup.path.trim_matches('/'));
    let folder = folder.trim_end_matches('/');
    let text = |file: &str| source.text(&format!("{folder}/{file}"));
    let cpu = text("cpu.stat").unwrap_or_default();
    let seconds = |key: &str| value(&cpu, key).map(|micros| micros / MICROS);
    let total = [("cpu", "total")];
    writer.put_with("cpu_usage_seconds_total", &total, seconds("usage_usec"));
    writer.put("cpu_user_seconds_total", seconds("user_usec"));
    writer.put("cpu_system_seconds_total", seconds("system_usec"));
    let max = text("cpu.max").unwrap_or_default();
    let (quota, period) = max.split_once(' ').unwrap_or_default();
    writer.put("spec_cpu_period", period.parse().ok());
    if let Ok(quota) = quota.parse::<f64>() {
        writer.put("spec_cpu_quota", Some(quota));
        writer.put("cpu_cfs_periods_total", value(&cpu, "nr_periods"));
        writer.put(
            "cpu_cfs_throttled_periods_total",
            value(&cpu, "nr_throttled"),
        );
        writer.put("cpu_cfs_throttled_seconds_total", seconds("throttled_usec"));
    }
    let weight = text("cpu.weight").and_then(|weight| weight.parse().ok());
    writer.put("spec_cpu_shares", weight.map(shares));
    memory(source, folder, writer);
    for resource in ["cpu", "io", "memory"] {
        let text = text(&format!("{resource}.pressure")).unwrap_or_default();
        for (kind, name) in [("some", "waiting"), ("full", "stalled")] {
            let stalled = stalled_micros(&text, kind).map(|micros| micros as f64 / MICROS);
            writer.put(pressure(resource, name), stalled);
        }
    }
    for line in text("io.stat").unwrap_or_default().lines() {
        io(line, devices, writer);
    }
    writer.put("processes", Some(cgroup.processes as f64));
    writer.put(
        "threads",
        text("pids.current").and_then(|count| count.parse().ok()),
    );
    writer.put("threads_max", text("pids.max").and_then(|max| limit(&max)));
    writer.put("start_time_seconds", source.changed(folder).map(f64::trunc));
}

fn pressure(resource: &str, name: &str) -> &'static str {
    match (resource, name) {
        ("cpu", "waiting") => "pressure_cpu_waiting_seconds_total",
        ("cpu", _) => "pressure_cpu_stalled_seconds_total",
        ("io", "waiting") => "pressure_io_waiting_seconds_total",
        ("io", _) => "pressure_io_stalled_seconds_total",
        (_, "waiting") => "pressure_memory_waiting_seconds_total",
        (_, _) => "pressure_memory_stalled_seconds_total",
    }
}

fn memory(source: &Source, folder: &str, writer: &mut Writer<'_>) {
    let text = |file: &str| source.text(&format!("{folder}/{file}"));
    let number = |file: &str| text(file)?.parse::<f64>().ok();
    let stat = text("memory.stat").unwrap_or_default();
    let inactive = value(&stat, "inactive_file");
    // The root does not say what it uses: it is what the machine uses.
    let root = || Some(value(&stat, "anon")? + value(&stat, "file")?);
    let usage = number("memory.current").or_else(root);
    let working_set = usage
        .zip(inactive)
        .map(|(usage, idle)| (usage - idle).max(0.0));
    writer.put("memory_usage_bytes", usage);
    writer.put("memory_working_set_bytes", working_set);
    writer.put("memory_max_usage_bytes", number("memory.peak"));
    writer.put("memory_rss", value(&stat, "anon"));
    writer.put("memory_cache", value(&stat, "file"));
    writer.put("memory_mapped_file", value(&stat, "file_mapped"));
    writer.put("memory_kernel_usage", value(&stat, "kernel"));
    writer.put("memory_swap", number("memory.swap.current"));
    writer.put("memory_total_inactive_file_bytes", inactive);
    let active = value(&stat, "active_file");
    writer.put("memory_total_active_file_bytes", active);
    for kind in ["pgfault", "pgmajfault"] {
        for scope in ["container", "hierarchy"] {
            let labels = [("failure_type", kind), ("scope", scope)];
            writer.put_with("memory_failures_total", &labels, value(&stat, kind));
        }
    }
    let events = text("memory.events").unwrap_or_default();
    writer.put("memory_failcnt", value(&events, "max"));
    writer.put("oom_events_total", value(&events, "oom_kill"));
    let limited = |file: &str| limit(&text(file)?);
    writer.put("spec_memory_limit_bytes", limited("memory.max"));
    writer.put("spec_memory_swap_limit_bytes", limited("memory.swap.max"));
    writer.put(
        "spec_memory_reservation_limit_bytes",
        limited("memory.high"),
    );
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`
fn io(line: &str, devices: &BTreeMap<String, String>, writer: &mut Writer<'_>) {
    let mut words = line.split_ascii_whitespace();
    let numbers = words.next().unwrap_or_default();
    let device = devices.get(numbers).map_or(numbers, String::as_str);
    for (key, number) in words.filter_map(|word| word.split_once('=')) {
        let name = match key {
            "rbytes" => "fs_reads_bytes_total",
            "wbytes" => "fs_writes_bytes_total",
            "rios" => "fs_reads_total",
            "wios" => "fs_writes_total",
            _ => continue,
        };
        writer.put_with(name, &[("device", device)], number.parse().ok());
    }
}
