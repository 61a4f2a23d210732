//! meminfo: every line of `/proc/meminfo`; names follow the kernel's.

use obs_model::metrics::MetricKind;

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    parse(&source.read("proc/meminfo")?, sheet)
}

fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate().filter(|(_, l)| !l.is_empty()) {
        let fault = || CollectError::form("/proc/meminfo", index, "a key, a number and kB");
        let (key, rest) = line.split_once(':').ok_or_else(fault)?;
        let mut words = rest.split_ascii_whitespace();
        let value = words.next().and_then(|word| word.parse::<u64>().ok());
        let value = value.ok_or_else(fault)? as f64;
        let mut name = without_parentheses(key.trim());
        let value = match words.next() {
            Some("kB") => {
                name.push_str("_bytes");
                value * 1024.0
            }
            None => value,
            Some(_) => return Err(fault()),
        };
        let kind = if name.ends_with("_total") {
            MetricKind::Counter
        } else {
            MetricKind::Gauge
        };
        let help = format!("Memory information field {name}.");
        sheet.put(kind, &format!("node_memory_{name}"), &help, &[], value);
    }
    Ok(())
}

/// `Active(anon)` is `Active_anon`.
pub(super) fn without_parentheses(key: &str) -> String {
    key.replace('(', "_").replace(')', "")
}
