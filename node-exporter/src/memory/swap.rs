//! swap: every swap device, from `/proc/swaps`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    parse(&source.read("proc/swaps")?, sheet)
}

fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate().skip(1) {
        let fault = || CollectError::form("/proc/swaps", index, "device, type and three numbers");
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [device, kind, size, used, priority, ..] = words[..] else {
            return Err(fault());
        };
        let number = |word: &str| word.parse::<i64>().map_err(|_| fault());
        let labels = [("device", device), ("swap_type", kind)];
        let bytes = |kibibytes: i64| kibibytes as f64 * 1024.0;
        sheet.gauge(
            "node_swap_size_bytes",
            "Swap device size in bytes.",
            &labels,
            bytes(number(size)?),
        );
        sheet.gauge(
            "node_swap_used_bytes",
            "Swap device used in bytes.",
            &labels,
            bytes(number(used)?),
        );
        sheet.gauge(
            "node_swap_priority",
            "Swap device priority.",
            &labels,
            number(priority)? as f64,
        );
    }
    Ok(())
}
