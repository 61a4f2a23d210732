//! containers: cgroups as cAdvisor tells them, for machines whose kubelet is not scraped.
//!
//! Every cgroup is told by its path in `id`. Pods and containers are recognised by their path, and
//! get `namespace`, `pod`, `container`, `image` and `name` from a [`Lookup`], or else from the
//! names of the log files that the kubelet links on the node. Invariant: at most [`CGROUPS_MAX`]
//! cgroups are visited, and nothing below a container.

mod cgroups;
mod first;
mod metrics;
mod names;
mod second;

use std::collections::BTreeMap;

use crate::sheet::{Pair, Sheet};
use crate::{CollectError, Options, Source};

pub use names::{ContainerKey, ContainerNames, Lookup};

use cgroups::{Cgroup, Hierarchy};
use metrics::METRICS;
use names::LogNames;

/// Cgroups of one machine; a busy node has some thousand.
const CGROUPS_MAX: usize = 20_000;

/// Writes metrics of one cgroup.
struct Writer<'a> {
    sheet: &'a mut Sheet,
    labels: Vec<(&'static str, String)>,
}

impl Writer<'_> {
    fn put(&mut self, name: &'static str, value: Option<f64>) {
        self.put_with(name, &[], value);
    }

    fn put_with(&mut self, name: &'static str, more: &[Pair<'_>], value: Option<f64>) {
        let known = METRICS.iter().find(|(known, ..)| *known == name);
        if let (Some((name, kind, help)), Some(value)) = (known, value) {
            let mut labels: Vec<Pair<'_>> =
                self.labels.iter().map(|(l, v)| (*l, v.as_str())).collect();
            labels.extend(more);
            let name = format!("container_{name}");
            self.sheet.put(*kind, &name, help, &labels, value);
        }
    }
}

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let hierarchy = Hierarchy::find(source).ok_or(CollectError::NoData("no cgroups"))?;
    let all = cgroups::walk(source, hierarchy, CGROUPS_MAX);
    let logs = LogNames::read(source);
    let devices = devices(source);
    let now = crate::source::now().as_secs_f64().trunc();
    for cgroup in &all {
        let names = names::of(cgroup, options.container_lookup.as_ref(), &logs);
        let mut writer = Writer {
            sheet: &mut *sheet,
            labels: names::labels(cgroup, &names),
        };
        writer.put("last_seen", Some(now));
        match hierarchy {
            Hierarchy::First => first::write(source, cgroup, &devices, &mut writer),
            Hierarchy::Second => second::write(source, cgroup, &devices, &mut writer),
        }
        if cgroup.has_network() {
            network(source, cgroup, &mut writer);
        }
    }
    Ok(())
}

/// Names of block devices by their numbers.
fn devices(source: &Source) -> BTreeMap<String, String> {
    let text = source.read("proc/diskstats").unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor, name) = (words.next()?, words.next()?, words.next()?);
        Some((format!("{major}:{minor}"), format!("/dev/{name}")))
    });
    lines.collect()
}

/// Columns of `/proc/<pid>/net/dev`.
const NETWORK: [(usize, &str); 8] = [
    (0, "network_receive_bytes_total"),
    (1, "network_receive_packets_total"),
    (2, "network_receive_errors_total"),
    (3, "network_receive_packets_dropped_total"),
    (8, "network_transmit_bytes_total"),
    (9, "network_transmit_packets_total"),
    (10, "network_transmit_errors_total"),
    (11, "network_transmit_packets_dropped_total"),
];

/// What the network devices that a process of the cgroup sees did.
fn network(source: &Source, cgroup: &Cgroup, writer: &mut Writer<'_>) {
    let pid = if cgroup.path == "/" {
        Some("1".to_owned())
    } else {
        cgroup.first_process.clone()
    };
    let text = pid.and_then(|pid| source.read(&format!("proc/{pid}/net/dev")).ok());
    for line in text.unwrap_or_default().lines().skip(2) {
        let Some((device, counts)) = line.rsplit_once(':') else {
            continue;
        };
        let device = device.trim();
        // cAdvisor leaves these out.
        if device == "lo" || device.starts_with("veth") || device.starts_with("docker") {
            continue;
        }
        let counts: Vec<Option<u64>> = counts
            .split_ascii_whitespace()
            .map(|count| count.parse().ok())
            .collect();
        for (column, name) in NETWORK {
            let count = counts.get(column).copied().flatten();
            let count = count.map(|count| count as f64);
            writer.put_with(name, &[("interface", device)], count);
        }
    }
}
