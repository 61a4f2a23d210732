//! netstat: protocol counters, from `/proc/net/{netstat,snmp,snmp6}`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, options: &Options) -> Result<Vec<Family>, CollectError> {
    let mut all = Vec::new();
    paired(
        "/proc/net/netstat",
        &source.proc("net/netstat")?,
        options,
        &mut all,
    )?;
    paired(
        "/proc/net/snmp",
        &source.proc("net/snmp")?,
        options,
        &mut all,
    )?;
    // Absent where IPv6 is off.
    if let Some(snmp6) = source.proc_if_present("net/snmp6")? {
        listed(&snmp6, options, &mut all)?;
    }
    Ok(all)
}

fn push(protocol: &str, field: &str, value: f64, options: &Options, all: &mut Vec<Family>) {
    let key = format!("{protocol}_{field}");
    if options.netstat_fields.is_match(key.as_bytes()) {
        let help = format!("Statistic {protocol}{field}.");
        let family = Family::new(format!("node_netstat_{key}"), MetricKind::Unknown, help);
        all.push(family.with(value));
    }
}

/// Lines in pairs: `Tcp: names…` and `Tcp: values…`.
fn paired(
    file: &'static str,
    text: &str,
    options: &Options,
    all: &mut Vec<Family>,
) -> Result<(), CollectError> {
    let lines: Vec<&str> = text.lines().collect();
    for (index, pair) in lines.chunks(2).enumerate() {
        let fault = || CollectError::form(file, 2 * index, "a line of names and a line of values");
        let [names, values] = pair else {
            return Err(fault());
        };
        let (protocol, names) = names.split_once(':').ok_or_else(fault)?;
        let values = values
            .strip_prefix(protocol)
            .and_then(|v| v.strip_prefix(':'));
        let mut values = values.ok_or_else(fault)?.split_ascii_whitespace();
        for name in names.split_ascii_whitespace() {
            let value = values
                .next()
                .and_then(|v| v.parse().ok())
                .ok_or_else(fault)?;
            push(protocol, name, value, options, all);
        }
    }
    Ok(())
}

/// Lines of one name and one value: `Ip6InReceives 1`.
fn listed(text: &str, options: &Options, all: &mut Vec<Family>) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/net/snmp6", index, "a name and a value");
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else {
            return Err(fault());
        };
        let Some((before, field)) = name.split_once('6') else {
            continue;
        };
        let value = value.parse().map_err(|_| fault())?;
        push(&format!("{before}6"), field, value, options, all);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_asked_for() {
        let mut all = Vec::new();
        let options = Options::default();
        let text = "TcpExt: SyncookiesSent TW ListenDrops\nTcpExt: 1 2 3\n";
        paired("/proc/net/netstat", text, &options, &mut all).unwrap();
        listed(
            "Ip6InOctets 5\nIp6InReceives 6\nUdpLite6InErrors 7\n",
            &options,
            &mut all,
        )
        .unwrap();
        let values: Vec<(&str, f64)> = all
            .iter()
            .map(|f| (f.name.as_str(), f.points[0].value))
            .collect();
        assert_eq!(
            values,
            [
                ("node_netstat_TcpExt_SyncookiesSent", 1.0),
                ("node_netstat_TcpExt_ListenDrops", 3.0),
                ("node_netstat_Ip6_InOctets", 5.0),
                ("node_netstat_UdpLite6_InErrors", 7.0)
            ]
        );
        assert!(paired("/proc/net/snmp", "Tcp: A B\nTcp: 1\n", &options, &mut all).is_err());
    }
}
