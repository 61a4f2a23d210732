//! ipvs: the kernel's load balancer, from `/proc/net/{ip_vs_stats,ip_vs}`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Labels of backends, in node_exporter's order.
pub(crate) const LABELS: [&str; 6] = [
    "local_address",
    "local_port",
    "remote_address",
    "remote_port",
    "proto",
    "local_mark",
];

const TOTALS: [(&str, &str); 5] = [
    ("connections_total", "The total number of connections made."),
    (
        "incoming_packets_total",
        "The total number of incoming packets.",
    ),
    (
        "outgoing_packets_total",
        "The total number of outgoing packets.",
    ),
    ("incoming_bytes_total", "The total amount of incoming data."),
    ("outgoing_bytes_total", "The total amount of outgoing data."),
];

const BACKENDS: [(&str, &str); 3] = [
    (
        "backend_weight",
        "The current backend weight by local and remote address.",
    ),
    (
        "backend_connections_active",
        "The current active connections by local and remote address.",
    ),
    (
        "backend_connections_inactive",
        "The current inactive connections by local and remote address.",
    ),
];

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let stats = source.read("proc/net/ip_vs_stats");
    let stats = stats.map_err(|fault| fault.absent_is_no_data("IPVS is not loaded"))?;
    totals(&stats, sheet)?;
    backends(&source.read("proc/net/ip_vs")?, options, sheet)
}

fn totals(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let fault = || CollectError::form("/proc/net/ip_vs_stats", 2, "five hexadecimal numbers");
    let line = text.lines().nth(2).ok_or_else(fault)?;
    let words = line.split_ascii_whitespace();
    let numbers: Result<Vec<u64>, _> = words.map(|word| u64::from_str_radix(word, 16)).collect();
    let numbers = numbers.ok().filter(|numbers| numbers.len() == TOTALS.len());
    for (value, (name, help)) in numbers.ok_or_else(fault)?.into_iter().zip(TOTALS) {
        sheet.counter(&format!("node_ipvs_{name}"), help, &[], value as f64);
    }
    Ok(())
}

fn backends(text: &str, options: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let (mut protocol, mut mark, mut local) = ("", "", (String::new(), String::new()));
    let mut sums: BTreeMap<Vec<String>, [u64; BACKENDS.len()]> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/net/ip_vs", index, "a service or a backend");
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["IP" | "Prot", ..] | [_, "RemoteAddress:Port", ..] => {}
            ["TCP" | "UDP" | "SCTP", service, ..] => {
                (protocol, mark) = (words[0], "");
                local = address(service).ok_or_else(fault)?;
            }
            ["FWM", service, ..] => {
                (protocol, mark) = (words[0], service);
                local = (String::new(), "0".to_owned());
            }
            ["->", remote, _, weight, active, inactive, ..] => {
                let remote = address(remote).ok_or_else(fault)?;
                let values = [&local.0, &local.1, &remote.0, &remote.1, protocol, mark];
                let key = LABELS.iter().zip(values).map(|(label, value)| {
                    let wanted = options.ipvs_labels.iter().any(|one| one == label);
                    if wanted {
                        value.to_owned()
                    } else {
                        String::new()
                    }
                });
                let sum = sums.entry(key.collect()).or_default();
                for (sum, word) in sum.iter_mut().zip([weight, active, inactive]) {
                    let value: u64 = word.parse().map_err(|_| fault())?;
                    *sum = sum.wrapping_add(value);
                }
            }
            _ => {}
        }
    }
    for (key, sum) in sums {
        let labels: Vec<_> = LABELS
            .iter()
            .copied()
            .zip(key.iter().map(String::as_str))
            .collect();
        for (value, (name, help)) in sum.into_iter().zip(BACKENDS) {
            sheet.gauge(&format!("node_ipvs_{name}"), help, &labels, value as f64);
        }
    }
    Ok(())
}

/// `C0A80001:0050` or `[2001:0db8:…]:0050`.
fn address(text: &str) -> Option<(String, String)> {
    let (ip, port) = text.rsplit_once(':')?;
    let ip = match ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        Some(ip) => ip.parse::<IpAddr>().ok()?,
        None if ip.len() == 8 => Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?).into(),
        None => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((ip.to_string(), port.to_string()))
}
