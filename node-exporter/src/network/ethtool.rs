//! ethtool: what drivers count, and what ports can do, by the ioctl of ethtool.

use std::collections::BTreeMap;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::DEVICES;
use crate::sheet::{Sheet, flag, sanitized};
use crate::system::{ETHTOOL_BYTES_MIN, ethtool};
use crate::{CollectError, Options, Source};

const GET_SETTINGS: u32 = 0x1;
const GET_DRIVER: u32 = 0x3;
const GET_STRINGS: u32 = 0x1b;
const GET_STATISTICS: u32 = 0x1d;
/// The set of strings that names statistics.
const STATISTICS_SET: u32 = 1;
const STRING_BYTES: usize = 32;
/// Statistics of one device; the busiest drivers have a few thousand.
const STATISTICS_MAX: usize = 1 << 15;
/// Room for statistics that appear between asking for their count and for them.
const STATISTICS_SPARE: usize = 1 << 10;
const MEGABIT_BYTES: f64 = 1e6 / 8.0;

/// Bit, Mbit/s, duplex, medium.
const SPEEDS: [(u32, u32, &str, &str); 22] = [
    (0, 10, "half", "T"),
    (1, 10, "full", "T"),
    (2, 100, "half", "T"),
    (3, 100, "full", "T"),
    (4, 1000, "half", "T"),
    (5, 1000, "full", "T"),
    (12, 10000, "full", "T"),
    (17, 1000, "full", "KX"),
    (18, 10000, "full", "KX4"),
    (19, 10000, "full", "KR"),
    (20, 10000, "full", "R_FEC"),
    (21, 20000, "full", "MLD2"),
    (22, 20000, "full", "KR2"),
    (23, 40000, "full", "KR4"),
    (24, 40000, "full", "CR4"),
    (25, 40000, "full", "SR4"),
    (26, 40000, "full", "LR4"),
    (27, 56000, "full", "KR4"),
    (28, 56000, "full", "CR4"),
    (29, 56000, "full", "SR4"),
    (30, 56000, "full", "LR4"),
    (31, 25000, "full", "CR"),
];
const PORTS: [(u32, &str); 6] = [
    (7, "TP"),
    (8, "AUI"),
    (9, "MII"),
    (10, "FIBRE"),
    (11, "BNC"),
    (16, "Backplane"),
];

/// Names that have a help of their own.
const KNOWN: [(&str, &str); 7] = [
    ("received_bytes_total", "Network interface bytes received"),
    (
        "received_dropped_total",
        "Number of received frames dropped",
    ),
    (
        "received_errors_total",
        "Number of received frames with errors",
    ),
    (
        "received_packets_total",
        "Network interface packets received",
    ),
    ("transmitted_bytes_total", "Network interface bytes sent"),
    (
        "transmitted_errors_total",
        "Number of sent frames with errors",
    ),
    (
        "transmitted_packets_total",
        "Network interface packets sent",
    ),
];

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let devices = source.entries(DEVICES);
    let devices = devices.map_err(|fault| fault.absent_is_no_data("no network devices"))?;
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    );
    let socket = socket.map_err(|errno| CollectError::system("socket", errno))?;
    for device in devices {
        let is_device = source.is_folder(&format!("{DEVICES}/{device}"));
        if !is_device || options.ethtool_devices.ignores(&device) {
            continue;
        }
        let ask = |command: u32, more: &[u32], bytes: usize| {
            let mut buffer = vec![0; bytes.max(ETHTOOL_BYTES_MIN)];
            let words = [&[command], more].concat();
            for (place, word) in buffer.chunks_exact_mut(4).zip(words) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            // Most virtual devices support none of this.
            ethtool(&socket, &device, &mut buffer).ok()?;
            Some(buffer)
        };
        if let Some(settings) = ask(GET_SETTINGS, &[], 0) {
            ports(&device, &settings, sheet);
        }
        let Some(driver) = ask(GET_DRIVER, &[], 0) else {
            continue;
        };
        let count = info(&device, &driver, sheet);
        let room = count + STATISTICS_SPARE;
        let wanted = [STATISTICS_SET, u32::try_from(count).unwrap_or_default()];
        let names = ask(GET_STRINGS, &wanted, 12 + room * STRING_BYTES);
        let numbers = ask(GET_STATISTICS, &wanted[1..], 8 + room * 8);
        if let Some((names, numbers)) = names.zip(numbers).filter(|_| count > 0) {
            let found = statistics(&names, &numbers);
            write(&device, &found, options, sheet);
        }
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_ne_bytes(*word.unwrap_or(&[0; 4]))
}

fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `struct ethtool_cmd`: the command, what is supported and advertised, …
fn ports(device: &str, settings: &[u8], sheet: &mut Sheet) {
    let help = "What the port of a network device can do, as ethtool tells it.";
    let supported = word(settings, 4);
    for (bit, port) in PORTS {
        if supported & 1 << bit != 0 {
            let labels = [("device", device), ("type", port)];
            sheet.gauge("node_network_supported_port_info", help, &labels, 1.0);
        }
    }
    for (which, modes) in [("supported", supported), ("advertised", word(settings, 8))] {
        for (bit, speed, duplex, medium) in SPEEDS {
            if modes & 1 << bit != 0 {
                sheet.gauge(
                    &format!("node_network_{which}_speed_bytes"),
                    help,
                    &[
                        ("device", device),
                        ("duplex", duplex),
                        ("mode", &format!("{speed}base{medium}")),
                    ],
                    f64::from(speed) * MEGABIT_BYTES,
                );
            }
        }
        for (bit, what) in [(6, "autonegotiate"), (13, "pause"), (14, "asymmetricpause")] {
            let name = format!("node_network_{what}_{which}");
            sheet.gauge(
                &name,
                help,
                &[("device", device)],
                flag(modes & 1 << bit != 0),
            );
        }
    }
    let autonegotiates = settings.get(18).copied().unwrap_or_default();
    sheet.gauge(
        "node_network_autonegotiate",
        "If this port is using autonegotiate",
        &[("device", device)],
        f64::from(autonegotiates),
    );
}

/// `struct ethtool_drvinfo`; gives how many statistics there are.
fn info(device: &str, driver: &[u8], sheet: &mut Sheet) -> usize {
    let field = |at: usize| string(driver.get(at..at + STRING_BYTES).unwrap_or_default());
    sheet.gauge(
        "node_ethtool_info",
        "A metric with a constant '1' value labeled by bus_info, device, driver, \
         expansion_rom_version, firmware_version, version.",
        &[
            ("device", device),
            ("driver", &field(4)),
            ("version", &field(36)),
            ("firmware_version", &field(68)),
            ("bus_info", &field(100)),
            ("expansion_rom_version", &field(132)),
        ],
        1.0,
    );
    usize::try_from(word(driver, 180)).map_or(0, |count| count.min(STATISTICS_MAX))
}

/// Names and numbers, in the order of the driver.
fn statistics(names: &[u8], numbers: &[u8]) -> Vec<(String, u64)> {
    let names = names.get(12..).unwrap_or_default();
    let numbers = numbers.get(8..).unwrap_or_default();
    let pairs = names
        .chunks_exact(STRING_BYTES)
        .zip(numbers.chunks_exact(8));
    let pairs = pairs.map(|(name, number)| {
        let number = number.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
        (string(name), number.unwrap_or_default())
    });
    // What follows the last name is room that was not needed.
    pairs.take_while(|(name, _)| !name.is_empty()).collect()
}

fn write(device: &str, found: &[(String, u64)], options: &Options, sheet: &mut Sheet) {
    // Two statistics whose names become equal are both left out.
    let mut named: BTreeMap<String, Option<(String, u64)>> = BTreeMap::new();
    for (name, value) in found {
        let name = sanitized(name);
        if options.ethtool_metrics.is_match(name.as_bytes()) {
            let full = metric_name(&name);
            let entry = named.entry(full);
            entry
                .and_modify(|known| *known = None)
                .or_insert(Some((name, *value)));
        }
    }
    for (full, entry) in named {
        let Some((name, value)) = entry else {
            continue;
        };
        let help = KNOWN.iter().find(|(known, _)| *known == full);
        let help = help.map_or_else(
            || format!("Network interface {name}"),
            |(_, help)| (*help).to_owned(),
        );
        let labels = [("device", device)];
        sheet.untyped(
            &format!("node_ethtool_{full}"),
            &help,
            &labels,
            value as f64,
        );
    }
}

/// `rx_bytes` is `received_bytes_total`; others keep their words, but for `rx` and `tx`.
fn metric_name(name: &str) -> String {
    let lower = name.to_lowercase();
    let lower = lower.trim_start_matches('_');
    let mut words: Vec<&str> = Vec::new();
    for word in lower.split('_') {
        let renamed = match word {
            "rx" => "received",
            "tx" => "transmitted",
            word => word,
        };
        // node_exporter leaves the second of two as it is.
        let is_second = words.last() == Some(&renamed);
        words.push(if is_second { word } else { renamed });
    }
    let joined = words.join("_");
    let total = format!("{joined}_total");
    if KNOWN.iter().any(|(known, _)| *known == total) && lower.matches('_').count() == 1 {
        return total;
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_as_node_exporter_has_them() {
        for (name, expect) in [
            ("rx_bytes", "received_bytes_total"),
            ("tx_packets", "transmitted_packets_total"),
            ("tx_dropped", "transmitted_dropped"),
            ("rx_queue_0_bytes", "received_queue_0_bytes"),
            ("queue_0_tx_cnt", "queue_0_transmitted_cnt"),
            ("Port_RX", "port_received"),
            ("tx_tx_timeouts", "transmitted_tx_timeouts"),
            ("_align_errors", "align_errors"),
            ("prx_x", "prx_x"),
        ] {
            assert_eq!(metric_name(name), expect, "{name}");
        }
    }

    #[test]
    fn equal_names_are_left_out() {
        let found = [("a b", 1), ("a-b", 2), ("c", 3), ("rx_errors", 4)];
        let found = found.map(|(name, value)| (name.to_owned(), value));
        let mut sheet = Sheet::default();
        write("eth0", &found, &Options::default(), &mut sheet);
        let all = sheet.into_families();
        let names: Vec<&str> = all.iter().map(|family| family.name.as_str()).collect();
        let expect = ["node_ethtool_c", "node_ethtool_received_errors_total"];
        assert_eq!(names, expect);
    }

    #[test]
    fn ports_of_a_gigabit_card() {
        let mut settings = vec![0; 44];
        settings[4..8].copy_from_slice(&0x60ef_u32.to_ne_bytes());
        settings[18] = 1;
        let mut sheet = Sheet::default();
        ports("eth0", &settings, &mut sheet);
        let all = sheet.into_families();
        let points = |name: &str| all.iter().find(|f| f.name == name).map(|f| &f.points);
        let speeds = points("node_network_supported_speed_bytes").unwrap();
        assert_eq!(speeds.len(), 5);
        assert_eq!(speeds[4].value, 125_000_000.0);
        assert_eq!(
            points("node_network_pause_supported").unwrap()[0].value,
            1.0
        );
        assert_eq!(points("node_network_autonegotiate").unwrap()[0].value, 1.0);
        assert!(points("node_network_advertised_speed_bytes").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut sheet = Sheet::default();
            ports("d", &bytes, &mut sheet);
            prop_assert!(info("d", &bytes, &mut sheet) <= STATISTICS_MAX);
            prop_assert!(statistics(&bytes, &bytes).len() <= bytes.len());
        }
    }
}
