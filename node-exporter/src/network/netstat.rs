//! netstat: protocol counters, from `/proc/net/{netstat,snmp,snmp6}`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    for file in ["netstat", "snmp"] {
        let path = format!("proc/net/{file}");
        paired(&path, &source.read(&path)?, options, sheet)?;
    }
    // Absent where IPv6 is off.
    if let Some(snmp6) = source.find("proc/net/snmp6")? {
        listed(&snmp6, options, sheet)?;
    }
    Ok(())
}

fn push(protocol: &str, field: &str, value: f64, options: &Options, sheet: &mut Sheet) {
    let key = format!("{protocol}_{field}");
    if options.netstat_fields.is_match(key.as_bytes()) {
        let help = format!("Statistic {protocol}{field}.");
        sheet.untyped(&format!("node_netstat_{key}"), &help, &[], value);
    }
}

/// Lines in pairs: `Tcp: names…` and `Tcp: values…`.
fn paired(
    path: &str,
    text: &str,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let lines: Vec<&str> = text.lines().collect();
    for (index, pair) in lines.chunks(2).enumerate() {
        let fault = || CollectError::form(path, 2 * index, "a line of names and a line of values");
        let [names, values] = pair else {
            return Err(fault());
        };
        let (protocol, names) = names.split_once(':').ok_or_else(fault)?;
        let values = values
            .strip_prefix(protocol)
            .and_then(|v| v.strip_prefix(':'));
        let mut values = values.ok_or_else(fault)?.split_ascii_whitespace();
        for name in names.split_ascii_whitespace() {
            let value = values.next().and_then(|v| v.parse().ok());
            push(protocol, name, value.ok_or_else(fault)?, options, sheet);
        }
    }
    Ok(())
}

/// Lines of one name and one value: `Ip6InReceives 1`.
fn listed(text: &str, options: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        let Some((before, field)) = name.split_once('6') else {
            continue;
        };
        let fault = || CollectError::form("/proc/net/snmp6", index, "a name and a value");
        let value = value.parse().map_err(|_| fault())?;
        push(&format!("{before}6"), field, value, options, sheet);
    }
    Ok(())
}
