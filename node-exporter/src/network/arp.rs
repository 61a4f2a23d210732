//! arp: neighbours per device, from `/proc/net/arp`.

use std::collections::BTreeMap;

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    parse(&source.read("proc/net/arp")?, options, sheet)
}

fn parse(text: &str, options: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let device = line.split_ascii_whitespace().nth(5);
        let fault = || CollectError::form("/proc/net/arp", index, "six columns");
        *counts.entry(device.ok_or_else(fault)?).or_default() += 1;
    }
    for (device, count) in counts {
        if !options.arp_devices.ignores(device) {
            sheet.gauge(
                "node_arp_entries",
                "ARP entries by device",
                &[("device", device)],
                f64::from(count),
            );
        }
    }
    Ok(())
}
