//! pressure: seconds of stall per resource, from `/proc/pressure`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};

/// File, its kind of line, name, help.
const STALLS: [(&str, &str, &str, &str); 6] = [
    (
        "cpu",
        "some",
        "cpu_waiting",
        "Total time in seconds that processes have waited for CPU time",
    ),
    (
        "io",
        "some",
        "io_waiting",
        "Total time in seconds that processes have waited due to IO congestion",
    ),
    (
        "io",
        "full",
        "io_stalled",
        "Total time in seconds no process could make progress due to IO congestion",
    ),
    (
        "memory",
        "some",
        "memory_waiting",
        "Total time in seconds that processes have waited for memory",
    ),
    (
        "memory",
        "full",
        "memory_stalled",
        "Total time in seconds no process could make progress due to memory congestion",
    ),
    (
        "irq",
        "full",
        "irq_stalled",
        "Total time in seconds no process could make progress due to IRQ congestion",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    let mut all = Vec::new();
    for (file, kind, name, help) in STALLS {
        // Kernels before 5.2, without PSI, or without IRQ accounting do not have the file.
        let Some(text) = source.proc_if_present(&format!("pressure/{file}"))? else {
            continue;
        };
        if let Some(seconds) = stalled_seconds(&text, kind)? {
            let name = format!("node_pressure_{name}_seconds_total");
            all.push(Family::new(name, MetricKind::Counter, help).with(seconds));
        }
    }
    Ok(all)
}

fn stalled_seconds(text: &str, kind: &str) -> Result<Option<f64>, CollectError> {
    for (index, line) in text.lines().enumerate() {
        if line.split_ascii_whitespace().next() == Some(kind) {
            let micros = line
                .rsplit_once("total=")
                .and_then(|(_, total)| total.parse::<u64>().ok());
            return micros
                .map(|micros| Some(micros as f64 / 1e6))
                .ok_or_else(|| CollectError::form("/proc/pressure", index, "total=MICROSECONDS"));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        let text = "some avg10=0.00 avg60=0.38 avg300=0.33 total=7142240\nfull total=x\n";
        assert_eq!(stalled_seconds(text, "some").unwrap(), Some(7.14224));
        assert!(stalled_seconds(text, "full").is_err());
        assert_eq!(stalled_seconds("", "some").unwrap(), None);
    }
}
