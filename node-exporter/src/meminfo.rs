//! meminfo: every line of `/proc/meminfo`; names follow the kernel's.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    families(&source.proc("meminfo")?)
}

fn families(meminfo: &str) -> Result<Vec<Family>, CollectError> {
    let mut all = Vec::new();
    for (index, line) in meminfo.lines().filter(|l| !l.is_empty()).enumerate() {
        let fault = || CollectError::form("/proc/meminfo", index, "a key, a number and kB");
        let (key, rest) = line.split_once(':').ok_or_else(fault)?;
        let mut words = rest.split_ascii_whitespace();
        let value: f64 = words
            .next()
            .and_then(|w| w.parse().ok())
            .ok_or_else(fault)?;
        // `Active(anon)` is `Active_anon`.
        let mut name = key.trim().replace('(', "_").replace(')', "");
        let value = match words.next() {
            Some("kB") => {
                name.push_str("_bytes");
                value * 1024.0
            }
            None => value,
            Some(_) => return Err(fault()),
        };
        let help = format!("Memory information field {name}.");
        all.push(Family::new(format!("node_memory_{name}"), MetricKind::Gauge, help).with(value));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_kernel() {
        let all = families("MemTotal:  2 kB\nActive(anon): 1 kB\nHugePages_Total: 7\n").unwrap();
        let values: Vec<(&str, f64)> = all
            .iter()
            .map(|f| (f.name.as_str(), f.points[0].value))
            .collect();
        assert_eq!(
            values,
            [
                ("node_memory_MemTotal_bytes", 2048.0),
                ("node_memory_Active_anon_bytes", 1024.0),
                ("node_memory_HugePages_Total", 7.0)
            ]
        );
        assert!(families("MemTotal: 2 MB").is_err());
    }
}
