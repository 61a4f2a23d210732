//! softirqs: software interrupts per CPU and kind, from `/proc/softirqs`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    parse(&source.read("proc/softirqs")?, sheet)
}

fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate().skip(1) {
        let Some((kind, counts)) = line.split_once(':') else {
            continue;
        };
        for (cpu, count) in counts.split_ascii_whitespace().enumerate() {
            let fault = || CollectError::form("/proc/softirqs", index, "a count per CPU");
            let count: u64 = count.parse().map_err(|_| fault())?;
            sheet.counter(
                "node_softirqs_functions_total",
                "Softirq counts per CPU.",
                &[("cpu", &cpu.to_string()), ("type", kind.trim())],
                count as f64,
            );
        }
    }
    Ok(())
}
