//! netdev: what network devices did, from `/proc/net/dev` and `/sys/class/net`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source, labels};

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

pub(crate) fn collect(source: &Source, options: &Options) -> Result<Vec<Family>, CollectError> {
    let mut all = families(&source.proc("net/dev")?, options)?;
    let mut nohandler = family("receive_nohandler");
    for device in source.sys_entries("class/net") {
        let count = source.sys(&format!("class/net/{device}/statistics/rx_nohandler"));
        let count = count.ok().and_then(|text| text.trim().parse().ok());
        if let Some(count) = count
            && !options.net_device_exclude.is_match(device.as_bytes())
        {
            nohandler.push(labels([("device", &device)]), count);
        }
    }
    all.push(nohandler);
    Ok(all)
}

fn family(field: &str) -> Family {
    Family::new(
        format!("node_network_{field}_total"),
        MetricKind::Counter,
        format!("Network device statistic {field}."),
    )
}

fn families(dev: &str, options: &Options) -> Result<Vec<Family>, CollectError> {
    let mut all: Vec<Family> = FIELDS.iter().map(|field| family(field)).collect();
    for (index, line) in dev.lines().enumerate().skip(2) {
        let fault = || CollectError::form("/proc/net/dev", index, "a device and 16 counts");
        let (device, counts) = line.rsplit_once(':').ok_or_else(fault)?;
        let device = device.trim();
        if options.net_device_exclude.is_match(device.as_bytes()) {
            continue;
        }
        let counts: Result<Vec<u64>, _> = counts.split_ascii_whitespace().map(str::parse).collect();
        let counts = counts.map_err(|_| fault())?;
        if counts.len() < FIELDS.len() {
            return Err(fault());
        }
        for (family, count) in all.iter_mut().zip(counts) {
            family.push(labels([("device", device)]), count as f64);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let text = "Inter-|\n face |\n  lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let all = families(text, &Options::default()).unwrap();
        assert_eq!(all[0].name, "node_network_receive_bytes_total");
        assert_eq!(all[0].points[0].labels, labels([("device", "lo")]));
        assert_eq!(all[15].points[0].value, 16.0);
        assert!(families("a\nb\nlo: 1 2\n", &Options::default()).is_err());
    }
}
