//! netdev: what network devices did, from `/proc/net/dev` and `/sys/class/net`.

use super::{DEVICES, netlink};
use crate::sheet::{Pair, Sheet};
use crate::{CollectError, Options, Source};

/// Fields behind the device's name, in the file's order.
const FIELDS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

/// Files below `statistics/` and the names of `--collector.netdev.enable-detailed-metrics`.
const DETAILED: [(&str, &str); 24] = [
    ("rx_packets", "receive_packets"),
    ("tx_packets", "transmit_packets"),
    ("rx_bytes", "receive_bytes"),
    ("tx_bytes", "transmit_bytes"),
    ("rx_errors", "receive_errors"),
    ("tx_errors", "transmit_errors"),
    ("rx_dropped", "receive_dropped"),
    ("tx_dropped", "transmit_dropped"),
    ("multicast", "multicast"),
    ("collisions", "collisions"),
    ("rx_length_errors", "receive_length_errors"),
    ("rx_over_errors", "receive_over_errors"),
    ("rx_crc_errors", "receive_crc_errors"),
    ("rx_frame_errors", "receive_frame_errors"),
    ("rx_fifo_errors", "receive_fifo_errors"),
    ("rx_missed_errors", "receive_missed_errors"),
    ("tx_aborted_errors", "transmit_aborted_errors"),
    ("tx_carrier_errors", "transmit_carrier_errors"),
    ("tx_fifo_errors", "transmit_fifo_errors"),
    ("tx_heartbeat_errors", "transmit_heartbeat_errors"),
    ("tx_window_errors", "transmit_window_errors"),
    ("rx_compressed", "receive_compressed"),
    ("tx_compressed", "transmit_compressed"),
    ("rx_nohandler", "receive_nohandler"),
];

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let text = source.read("proc/net/dev")?;
    for (index, line) in text.lines().enumerate().skip(2) {
        let fault = || CollectError::form("/proc/net/dev", index, "a device and 16 counts");
        let (device, counts) = line.rsplit_once(':').ok_or_else(fault)?;
        let device = device.trim();
        if options.net_devices.ignores(device) {
            continue;
        }
        let alias = format!("{DEVICES}/{device}/ifalias");
        let alias = options.net_alias.then(|| source.text(&alias)).flatten();
        let alias = alias.unwrap_or_default();
        // An empty label is as none.
        let labels = [("device", device), ("ifalias", alias.as_str())];
        let statistic = |file: &str| {
            let text = source.text(&format!("{DEVICES}/{device}/statistics/{file}"))?;
            text.parse::<u64>().ok()
        };
        if options.net_detailed {
            for (file, name) in DETAILED {
                if let Some(count) = statistic(file) {
                    push(name, count, &labels, sheet);
                }
            }
            continue;
        }
        let counts: Result<Vec<u64>, _> = counts.split_ascii_whitespace().map(str::parse).collect();
        let counts = counts.map_err(|_| fault())?;
        if counts.len() < FIELDS.len() {
            return Err(fault());
        }
        for (name, count) in FIELDS.iter().zip(counts) {
            push(name, count, &labels, sheet);
        }
        if let Some(count) = statistic("rx_nohandler") {
            push("receive_nohandler", count, &labels, sheet);
        }
    }
    if options.net_addresses {
        addresses(options, sheet)?;
    }
    Ok(())
}

fn push(name: &str, count: u64, labels: &[Pair<'_>], sheet: &mut Sheet) {
    let help = format!("Network device statistic {name}.");
    let name = format!("node_network_{name}_total");
    sheet.counter(&name, &help, labels, count as f64);
}

fn addresses(options: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let links = netlink::links()?;
    for address in netlink::addresses()? {
        let device = links.get(&address.device).map_or("", String::as_str);
        if options.net_devices.ignores(device) {
            continue;
        }
        sheet.gauge(
            "node_network_address_info",
            "node network address by device",
            &[
                ("device", device),
                ("address", &address.address.to_string()),
                ("netmask", &address.prefix.to_string()),
                ("scope", netlink::scope(address.address)),
            ],
            1.0,
        );
    }
    Ok(())
}
