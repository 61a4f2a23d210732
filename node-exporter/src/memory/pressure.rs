//! pressure: seconds of stall per resource, from `/proc/pressure`.

use std::io::ErrorKind;

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const MICROS_PER_SECOND: f64 = 1e6;

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

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut found = false;
    for (file, kind, name, help) in STALLS {
        let path = format!("proc/pressure/{file}");
        let text = match source.find(&path) {
            Ok(Some(text)) => text,
            // Kernels before 4.20, without PSI, or without IRQ accounting do not have the file.
            Ok(None) => continue,
            Err(CollectError::Read { source, .. }) if source.kind() == ErrorKind::Unsupported => {
                return Err(CollectError::NoData("psi=1 is not set for the kernel"));
            }
            Err(fault) => return Err(fault),
        };
        let micros = total(&text, kind);
        let micros = micros.ok_or_else(|| source.form(&path, 0, "some or full, and total="))?;
        let name = format!("node_pressure_{name}_seconds_total");
        sheet.counter(&name, help, &[], micros as f64 / MICROS_PER_SECOND);
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(CollectError::NoData("no /proc/pressure"))
    }
}

/// Microseconds of stall: `some avg10=0.00 avg60=0.00 avg300=0.00 total=12`.
pub(crate) fn total(text: &str, kind: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    let mut words = line.split_ascii_whitespace();
    words
        .find_map(|word| word.strip_prefix("total="))?
        .parse()
        .ok()
}
