//! stat: interrupts, context switches, forks, boot time and processes, from `/proc/stat`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};

/// Key in the file, name, type, help.
const FIELDS: [(&str, &str, MetricKind, &str); 6] = [
    (
        "intr",
        "node_intr_total",
        MetricKind::Counter,
        "Total number of interrupts serviced.",
    ),
    (
        "ctxt",
        "node_context_switches_total",
        MetricKind::Counter,
        "Total number of context switches.",
    ),
    (
        "processes",
        "node_forks_total",
        MetricKind::Counter,
        "Total number of forks.",
    ),
    (
        "btime",
        "node_boot_time_seconds",
        MetricKind::Gauge,
        "Node boot time, in unixtime.",
    ),
    (
        "procs_running",
        "node_procs_running",
        MetricKind::Gauge,
        "Number of processes in runnable state.",
    ),
    (
        "procs_blocked",
        "node_procs_blocked",
        MetricKind::Gauge,
        "Number of processes blocked waiting for I/O to complete.",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    families(&source.proc("stat")?)
}

fn families(stat: &str) -> Result<Vec<Family>, CollectError> {
    let mut all = Vec::new();
    for (index, line) in stat.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let key = words.next().unwrap_or_default();
        if let Some((_, name, kind, help)) = FIELDS.iter().find(|(k, ..)| *k == key) {
            let value = words.next().and_then(|v| v.parse::<f64>().ok());
            let value = value.ok_or_else(|| CollectError::form("/proc/stat", index, "a number"))?;
            all.push(Family::new(*name, *kind, *help).with(value));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        let all = families("cpu 1\nintr 42 1 2\nbtime 1795255200\nprocs_running 2\n").unwrap();
        let values: Vec<(&str, f64)> = all
            .iter()
            .map(|f| (f.name.as_str(), f.points[0].value))
            .collect();
        assert_eq!(
            values,
            [
                ("node_intr_total", 42.0),
                ("node_boot_time_seconds", 1_795_255_200.0),
                ("node_procs_running", 2.0)
            ]
        );
        assert!(families("ctxt").is_err());
    }
}
