//! softnet: packets per CPU on their way up, from `/proc/net/softnet_stat`.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Column, name, type, help. Old kernels have 9 columns; the rest is 0 there.
const COLUMNS: [(usize, &str, MetricKind, &str); 7] = [
    (0, "processed_total", Counter, "Number of processed packets"),
    (1, "dropped_total", Counter, "Number of dropped packets"),
    (
        2,
        "times_squeezed_total",
        Counter,
        "Number of times processing packets ran out of quota",
    ),
    (
        8,
        "cpu_collision_total",
        Counter,
        "Number of collision occur while obtaining device lock while transmitting",
    ),
    (
        9,
        "received_rps_total",
        Counter,
        "Number of times cpu woken up received_rps",
    ),
    (
        10,
        "flow_limit_count_total",
        Counter,
        "Number of times flow limit has been reached",
    ),
    (11, "backlog_len", Gauge, "Softnet backlog status"),
];
const CPU_COLUMN: usize = 12;

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    parse(&source.read("proc/net/softnet_stat")?, sheet)
}

fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate() {
        let expected = "at least 9 hexadecimal numbers";
        let fault = || CollectError::form("/proc/net/softnet_stat", index, expected);
        let words = line.split_ascii_whitespace();
        let numbers: Result<Vec<u32>, _> =
            words.map(|word| u32::from_str_radix(word, 16)).collect();
        let numbers = numbers.map_err(|_| fault())?;
        if numbers.len() < 9 {
            return Err(fault());
        }
        let cpu = match numbers.get(CPU_COLUMN) {
            Some(cpu) => cpu.to_string(),
            None => index.to_string(),
        };
        // The backlog came together with the CPU's number.
        let complete = numbers.len() > CPU_COLUMN;
        for (column, name, kind, help) in COLUMNS {
            let known = numbers.get(column).filter(|_| complete || column < 11);
            let name = format!("node_softnet_{name}");
            let value = f64::from(known.copied().unwrap_or_default());
            sheet.put(kind, &name, help, &[("cpu", &cpu)], value);
        }
    }
    Ok(())
}
