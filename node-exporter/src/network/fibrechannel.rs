//! fibrechannel: hosts and what their links did, from `/sys/class/fc_host`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const HOSTS: &str = "sys/class/fc_host";

/// File, label, and whether the value begins with `0x`, which the label does not have.
const LABELS: [(&str, &str, bool); 10] = [
    ("speed", "speed", false),
    ("port_state", "port_state", false),
    ("port_type", "port_type", false),
    ("port_id", "port_id", true),
    ("port_name", "port_name", true),
    ("fabric_name", "fabric_name", true),
    ("symbolic_name", "symbolic_name", false),
    ("supported_classes", "supported_classes", false),
    ("supported_speeds", "supported_speeds", false),
    ("dev_loss_tmo", "dev_loss_tmo", false),
];

/// File below `statistics/`, name, help.
const COUNTERS: [(&str, &str, &str); 14] = [
    (
        "dumped_frames",
        "dumped_frames_total",
        "Number of dumped frames",
    ),
    (
        "error_frames",
        "error_frames_total",
        "Number of errors in frames",
    ),
    (
        "invalid_crc_count",
        "invalid_crc_total",
        "Invalid Cyclic Redundancy Check count",
    ),
    ("rx_frames", "rx_frames_total", "Number of frames received"),
    (
        "rx_words",
        "rx_words_total",
        "Number of words received by host port",
    ),
    (
        "tx_frames",
        "tx_frames_total",
        "Number of frames transmitted by host port",
    ),
    (
        "tx_words",
        "tx_words_total",
        "Number of words transmitted by host port",
    ),
    (
        "seconds_since_last_reset",
        "seconds_since_last_reset_total",
        "Number of seconds since last host port reset",
    ),
    (
        "invalid_tx_word_count",
        "invalid_tx_words_total",
        "Number of invalid words transmitted by host port",
    ),
    (
        "link_failure_count",
        "link_failure_total",
        "Number of times the host port link has failed",
    ),
    (
        "loss_of_sync_count",
        "loss_of_sync_total",
        "Number of failures on either bit or transmission word boundaries",
    ),
    (
        "loss_of_signal_count",
        "loss_of_signal_total",
        "Number of times signal has been lost",
    ),
    (
        "nos_count",
        "nos_total",
        "Number Not_Operational Primitive Sequence received by host port",
    ),
    (
        "fcp_packet_aborts",
        "fcp_packet_aborts_total",
        "Number of aborted packets",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let hosts = source.entries(HOSTS);
    for host in hosts.map_err(|fault| fault.absent_is_no_data("no fibre channel"))? {
        let text = |file: &str| source.text(&format!("{HOSTS}/{host}/{file}"));
        let mut values: Vec<(&str, String)> = Vec::new();
        for (file, label, is_hex) in LABELS {
            let value = text(file).unwrap_or_default();
            let value = match value.strip_prefix("0x") {
                Some(digits) if is_hex => digits.to_owned(),
                Some(_) | None => value,
            };
            values.push((label, value));
        }
        let mut labels: Vec<_> = values.iter().map(|(l, v)| (*l, v.as_str())).collect();
        labels.push(("fc_host", host.as_str()));
        let help = "Non-numeric data from /sys/class/fc_host/<host>, value is always 1.";
        sheet.gauge("node_fibrechannel_info", help, &labels, 1.0);
        // A port that is off has no statistics; it counts as 0.
        let off = text("port_state").is_none_or(|state| state == "Unknown");
        for (file, name, help) in COUNTERS {
            let value = text(&format!("statistics/{file}")).and_then(|text| number(&text));
            // The highest number is what a firmware says that does not count this.
            let value = if off { Some(0) } else { value };
            if let Some(value) = value.filter(|value| *value != u64::MAX) {
                let name = format!("node_fibrechannel_{name}");
                sheet.counter(&name, help, &[("fc_host", &host)], value as f64);
            }
        }
    }
    Ok(())
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
