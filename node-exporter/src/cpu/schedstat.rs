//! schedstat: what the scheduler did per CPU, from `/proc/schedstat`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const NANOS_PER_SECOND: f64 = 1e9;

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let text = source.read("proc/schedstat");
    parse(
        &text.map_err(|fault| fault.absent_is_no_data("no /proc/schedstat"))?,
        sheet,
    );
    Ok(())
}

/// Lines of CPUs have nine numbers, of which the last three are of interest; newer versions of
/// the file append more. Other lines are of domains.
fn parse(text: &str, sheet: &mut Sheet) {
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            continue;
        };
        let mut words = rest.split_ascii_whitespace();
        let cpu = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let Some([running, waiting, slices]) = numbers.get(6..9) else {
            continue;
        };
        let labels = [("cpu", cpu)];
        sheet.counter(
            "node_schedstat_running_seconds_total",
            "Number of seconds CPU spent running a process.",
            &labels,
            *running as f64 / NANOS_PER_SECOND,
        );
        sheet.counter(
            "node_schedstat_waiting_seconds_total",
            "Number of seconds spent by processing waiting for this CPU.",
            &labels,
            *waiting as f64 / NANOS_PER_SECOND,
        );
        sheet.counter(
            "node_schedstat_timeslices_total",
            "Number of timeslices executed by CPU.",
            &labels,
            *slices as f64,
        );
    }
}
