//! buddyinfo: free blocks by order, from `/proc/buddyinfo`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    parse(&source.read("proc/buddyinfo")?, sheet)
}

fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/buddyinfo", index, "node, zone and counts");
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, node, _, zone, counts @ ..] = &words[..] else {
            return Err(fault());
        };
        for (size, count) in counts.iter().enumerate() {
            let count: u64 = count.parse().map_err(|_| fault())?;
            sheet.gauge(
                "node_buddyinfo_blocks",
                "Count of free blocks according to size.",
                &[
                    ("node", node.trim_end_matches(',')),
                    ("zone", zone.trim_end_matches(',')),
                    ("size", &size.to_string()),
                ],
                count as f64,
            );
        }
    }
    Ok(())
}
