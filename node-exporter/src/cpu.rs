//! cpu: seconds per CPU and mode, from `/proc/stat`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source, labels};

/// The kernel's unit in `/proc/stat`: USER_HZ, 100 per second on every Linux architecture in use.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];

pub(crate) fn collect(source: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    families(&source.proc("stat")?)
}

fn families(stat: &str) -> Result<Vec<Family>, CollectError> {
    let mut seconds = Family::new(
        "node_cpu_seconds_total",
        MetricKind::Counter,
        "Seconds the CPUs spent in each mode.",
    );
    let mut guest = Family::new(
        "node_cpu_guest_seconds_total",
        MetricKind::Counter,
        "Seconds the CPUs spent in guests (VMs) for each mode.",
    );
    for (index, line) in stat.lines().enumerate() {
        let mut fields = line.split_ascii_whitespace();
        let Some(cpu) = fields
            .next()
            .and_then(|f| f.strip_prefix("cpu"))
            .filter(|c| !c.is_empty())
        else {
            continue;
        };
        let fault = || CollectError::form("/proc/stat", index, "ticks per mode of a CPU");
        let mut ticks = Vec::with_capacity(10);
        for field in fields {
            ticks.push(field.parse::<u64>().map_err(|_| fault())? as f64 / TICKS_PER_SECOND);
        }
        if ticks.len() < 4 {
            return Err(fault());
        }
        for (mode, value) in MODES.iter().zip(&ticks) {
            seconds.push(labels([("cpu", cpu), ("mode", mode)]), *value);
        }
        for (mode, value) in ["user", "nice"].iter().zip(ticks.iter().skip(MODES.len())) {
            guest.push(labels([("cpu", cpu), ("mode", mode)]), *value);
        }
    }
    Ok(vec![seconds, guest])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_per_cpu() {
        let text = "cpu  1 2 3 4\ncpu0 100 0 50 900 1 2 3 4 5 6\nintr 1\n";
        let all = families(text).unwrap();
        assert_eq!(all[0].points.len(), 8);
        assert_eq!(all[0].points[0].value, 1.0);
        assert_eq!(
            all[0].points[0].labels,
            labels([("cpu", "0"), ("mode", "user")])
        );
        assert_eq!(all[1].points[1].value, 0.06);
        let fault = families("cpu0 1 x").unwrap_err().to_string();
        assert_eq!(fault, "/proc/stat:1: expected ticks per mode of a CPU");
    }
}
