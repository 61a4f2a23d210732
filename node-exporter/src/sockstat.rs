//! sockstat: sockets by protocol, from `/proc/net/sockstat` and `sockstat6`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    let page_bytes = rustix::param::page_size() as f64;
    let mut all = families(
        "/proc/net/sockstat",
        &source.proc("net/sockstat")?,
        page_bytes,
    )?;
    // Absent where IPv6 is off.
    if let Some(text) = source.proc_if_present("net/sockstat6")? {
        all.extend(families("/proc/net/sockstat6", &text, page_bytes)?);
    }
    Ok(all)
}

fn families(file: &'static str, text: &str, page_bytes: f64) -> Result<Vec<Family>, CollectError> {
    let mut all = Vec::new();
    let mut push = |protocol: &str, field: &str, value: f64| {
        let (name, help) = if protocol == "sockets" {
            (
                "node_sockstat_sockets_used".to_owned(),
                "Number of IPv4 sockets in use.".to_owned(),
            )
        } else {
            (
                format!("node_sockstat_{protocol}_{field}"),
                format!("Number of {protocol} sockets in state {field}."),
            )
        };
        all.push(Family::new(name, MetricKind::Gauge, help).with(value));
    };
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form(file, index, "a protocol and pairs of name and number");
        let (protocol, rest) = line.split_once(':').ok_or_else(fault)?;
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        for pair in words.chunks(2) {
            let [field, value] = pair else {
                return Err(fault());
            };
            let value: f64 = value.parse().map_err(|_| fault())?;
            push(protocol, field, value);
            if *field == "mem" {
                push(protocol, "mem_bytes", value * page_bytes);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        let text = "sockets: used 17\nTCP: inuse 1 mem 42\n";
        let all = families("/proc/net/sockstat", text, 4096.0).unwrap();
        let values: Vec<(&str, f64)> = all
            .iter()
            .map(|f| (f.name.as_str(), f.points[0].value))
            .collect();
        assert_eq!(
            values,
            [
                ("node_sockstat_sockets_used", 17.0),
                ("node_sockstat_TCP_inuse", 1.0),
                ("node_sockstat_TCP_mem", 42.0),
                ("node_sockstat_TCP_mem_bytes", 172_032.0)
            ]
        );
        assert!(families("/proc/net/sockstat", "TCP: inuse", 4096.0).is_err());
    }
}
