//! Names, types and helps of cAdvisor's metrics, without `container_` before them.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

#[rustfmt::skip]
pub(super) const METRICS: [(&str, MetricKind, &str); 48] = [
    ("cpu_cfs_periods_total", Counter, "Number of elapsed enforcement period intervals."),
    ("cpu_cfs_throttled_periods_total", Counter, "Number of throttled period intervals."),
    ("cpu_cfs_throttled_seconds_total", Counter, "Total time duration the container has been throttled."),
    ("cpu_system_seconds_total", Counter, "Cumulative system cpu time consumed in seconds."),
    ("cpu_usage_seconds_total", Counter, "Cumulative cpu time consumed in seconds."),
    ("cpu_user_seconds_total", Counter, "Cumulative user cpu time consumed in seconds."),
    ("fs_reads_bytes_total", Counter, "Cumulative count of bytes read"),
    ("fs_reads_total", Counter, "Cumulative count of reads completed"),
    ("fs_writes_bytes_total", Counter, "Cumulative count of bytes written"),
    ("fs_writes_total", Counter, "Cumulative count of writes completed"),
    ("last_seen", Gauge, "Last time a container was seen by the exporter"),
    ("memory_cache", Gauge, "Number of bytes of page cache memory."),
    ("memory_failcnt", Counter, "Number of memory usage hits limits"),
    ("memory_failures_total", Counter, "Cumulative count of memory allocation failures."),
    ("memory_kernel_usage", Gauge, "Size of kernel memory allocated in bytes."),
    ("memory_mapped_file", Gauge, "Size of memory mapped files in bytes."),
    ("memory_max_usage_bytes", Gauge, "Maximum memory usage recorded in bytes"),
    ("memory_rss", Gauge, "Size of RSS in bytes."),
    ("memory_swap", Gauge, "Container swap usage in bytes."),
    ("memory_total_active_file_bytes", Gauge, "Current total active file in bytes."),
    ("memory_total_inactive_file_bytes", Gauge, "Current total inactive file in bytes."),
    ("memory_usage_bytes", Gauge, "Current memory usage in bytes, including all memory regardless of when it was accessed"),
    ("memory_working_set_bytes", Gauge, "Current working set in bytes."),
    ("network_receive_bytes_total", Counter, "Cumulative count of bytes received"),
    ("network_receive_errors_total", Counter, "Cumulative count of errors encountered while receiving"),
    ("network_receive_packets_dropped_total", Counter, "Cumulative count of packets dropped while receiving"),
    ("network_receive_packets_total", Counter, "Cumulative count of packets received"),
    ("network_transmit_bytes_total", Counter, "Cumulative count of bytes transmitted"),
    ("network_transmit_errors_total", Counter, "Cumulative count of errors encountered while transmitting"),
    ("network_transmit_packets_dropped_total", Counter, "Cumulative count of packets dropped while transmitting"),
    ("network_transmit_packets_total", Counter, "Cumulative count of packets transmitted"),
    ("oom_events_total", Counter, "Count of out of memory events observed for the container"),
    ("pressure_cpu_stalled_seconds_total", Counter, "Total time duration no tasks in the container could make progress due to CPU congestion."),
    ("pressure_cpu_waiting_seconds_total", Counter, "Total time duration tasks in the container have waited due to CPU congestion."),
    ("pressure_io_stalled_seconds_total", Counter, "Total time duration no tasks in the container could make progress due to IO congestion."),
    ("pressure_io_waiting_seconds_total", Counter, "Total time duration tasks in the container have waited due to IO congestion."),
    ("pressure_memory_stalled_seconds_total", Counter, "Total time duration no tasks in the container could make progress due to memory congestion."),
    ("pressure_memory_waiting_seconds_total", Counter, "Total time duration tasks in the container have waited due to memory congestion."),
    ("processes", Gauge, "Number of processes running inside the container."),
    ("spec_cpu_period", Gauge, "CPU period of the container."),
    ("spec_cpu_quota", Gauge, "CPU quota of the container."),
    ("spec_cpu_shares", Gauge, "CPU share of the container."),
    ("spec_memory_limit_bytes", Gauge, "Memory limit for the container."),
    ("spec_memory_reservation_limit_bytes", Gauge, "Memory reservation limit for the container."),
    ("spec_memory_swap_limit_bytes", Gauge, "Memory swap limit for the container."),
    ("start_time_seconds", Gauge, "Start time of the container since unix epoch in seconds."),
    ("threads", Gauge, "Number of threads running inside the container"),
    ("threads_max", Gauge, "Maximum number of threads allowed inside the container, infinity if value is zero"),
];

/// Numbers that stand for no limit are larger than any machine's memory.
const UNLIMITED_FROM: f64 = (1_u64 << 62) as f64;

/// A limit as cAdvisor tells it: 0 where there is none.
pub(super) fn limit(text: &str) -> Option<f64> {
    match text {
        "max" => Some(0.0),
        text => {
            let limit: f64 = text.parse().ok()?;
            let is_limit = (0.0..UNLIMITED_FROM).contains(&limit);
            Some(if is_limit { limit } else { 0.0 })
        }
    }
}

/// The number behind a key: `anon 4096`.
pub(super) fn value(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}
