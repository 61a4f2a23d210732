//! netclass: properties of network devices, from `/sys/class/net`.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use super::DEVICES;
use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

/// File, name, type.
const PROPERTIES: [(&str, &str, MetricKind); 16] = [
    ("addr_assign_type", "address_assign_type", Gauge),
    ("carrier", "carrier", Gauge),
    ("carrier_changes", "carrier_changes_total", Counter),
    ("carrier_up_count", "carrier_up_changes_total", Counter),
    ("carrier_down_count", "carrier_down_changes_total", Counter),
    ("dev_id", "device_id", Gauge),
    ("dormant", "dormant", Gauge),
    ("flags", "flags", Gauge),
    ("ifindex", "iface_id", Gauge),
    ("iflink", "iface_link", Gauge),
    ("link_mode", "iface_link_mode", Gauge),
    ("mtu", "mtu_bytes", Gauge),
    ("name_assign_type", "name_assign_type", Gauge),
    ("netdev_group", "net_dev_group", Gauge),
    ("tx_queue_len", "transmit_queue_length", Gauge),
    ("type", "protocol_type", Gauge),
];

/// Bytes per second of the kernel's unit of speed, 1 Mbit/s.
const MEGABIT_BYTES: f64 = 1e6 / 8.0;

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let devices = source.entries(DEVICES);
    let devices = devices.map_err(|fault| match fault {
        fault if fault.is_absent() || fault.is_denied() => {
            CollectError::NoData("no /sys/class/net")
        }
        fault => fault,
    })?;
    for device in devices {
        // `bonding_masters` is a file among the devices.
        if source.is_folder(&format!("{DEVICES}/{device}"))
            && !options.net_classes.is_match(device.as_bytes())
        {
            one(source, &device, options, sheet);
        }
    }
    Ok(())
}

fn one(source: &Source, device: &str, options: &Options, sheet: &mut Sheet) {
    // Many attributes are refused for virtual devices and such that are down.
    let text = |file: &str| source.text(&format!("{DEVICES}/{device}/{file}"));
    let value = |file: &str| source.maybe(&format!("{DEVICES}/{device}/{file}"));
    let state = text("operstate").unwrap_or_default();
    let labels = [("device", device)];
    sheet.gauge(
        "node_network_up",
        "Value is 1 if operstate is 'up', 0 otherwise.",
        &labels,
        flag(state == "up"),
    );
    // IFF_UP is the lowest bit.
    let admin = match value("flags") {
        None => "unknown",
        Some(flags) if flags % 2.0 == 1.0 => "up",
        Some(_) => "down",
    };
    sheet.gauge(
        "node_network_info",
        "Non-numeric data from /sys/class/net/<iface>, value is always 1.",
        &[
            ("device", device),
            ("address", &text("address").unwrap_or_default()),
            ("broadcast", &text("broadcast").unwrap_or_default()),
            ("duplex", &text("duplex").unwrap_or_default()),
            ("operstate", &state),
            ("adminstate", admin),
            ("ifalias", &text("ifalias").unwrap_or_default()),
        ],
        1.0,
    );
    for (file, name, kind) in PROPERTIES {
        if let Some(value) = value(file) {
            let help = format!("Network device property: {name}");
            sheet.put(kind, &format!("node_network_{name}"), &help, &labels, value);
        }
    }
    // Drivers say -1 where the speed is not known.
    if let Some(speed) = value("speed").filter(|speed| *speed >= 0.0 || !options.net_valid_speed) {
        sheet.gauge(
            "node_network_speed_bytes",
            "Network device property: speed_bytes",
            &labels,
            speed * MEGABIT_BYTES,
        );
    }
}
