//! Beside node_exporter itself, on this machine, at one moment: the same families with the same
//! labels, and values that differ only as far as the moments do.

#![expect(
    clippy::disallowed_methods,
    reason = "runs another program and waits for it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_node_exporter::{FLAGS, Options, Source, exposition, gather};
use obs_wire::prometheus::text;

/// Collectors that are off by default and are turned on in both.
const MORE: [&str; 18] = [
    "buddyinfo",
    "cgroups",
    "drbd",
    "ethtool",
    "interrupts",
    "ksmd",
    "lnstat",
    "meminfo_numa",
    "mountstats",
    "network_route",
    "processes",
    "qdisc",
    "slabinfo",
    "sysctl",
    "tcpstat",
    "zoneinfo",
    "systemd",
    "logind",
];
/// Flags whose defaults changed between versions: both get ours.
const SAME: [&str; 5] = [
    "collector.filesystem.mount-points-exclude",
    "collector.filesystem.fs-types-exclude",
    "collector.diskstats.device-exclude",
    "collector.netstat.fields",
    "collector.vmstat.fields",
];
/// Families that are about the exporter and its collectors.
const OWN: [&str; 3] = [
    "node_exporter_build_info",
    "node_scrape_collector_duration_seconds",
    "node_scrape_collector_success",
];
/// Of the families, and of the points, so many must agree.
const SHARE: f64 = 0.98;
const DEADLINE: Duration = Duration::from_secs(180);

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let ended = self.0.kill().and_then(|()| self.0.wait());
        drop(ended);
    }
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

/// Starts Debian's node_exporter; `None` where it is not installed.
fn peer() -> Option<(Peer, SocketAddr)> {
    let mut command = Command::new("prometheus-node-exporter");
    command.arg("--web.listen-address=127.0.0.1:0");
    for collector in MORE {
        command.arg(format!("--collector.{collector}"));
    }
    for flag in FLAGS.iter().filter(|flag| SAME.contains(&flag.name)) {
        command.arg(format!("--{}={}", flag.name, flag.default));
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut peer = Peer(child.ok()?);
    let log = peer.0.stderr.take().expect("its log is a pipe");
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let said = lines.find(|line| line.contains("Listening on"));
    std::thread::spawn(move || lines.count());
    let said = said.expect("it listens before it ends");
    let (_, address) = said.split_once("address=").expect("an address");
    let address = address.parse().expect("an address of a socket");
    Some((peer, address))
}

type Point = BTreeMap<String, String>;

/// Points by family, without labels that are empty.
fn families(exposition: &str) -> BTreeMap<String, Vec<(Point, f64)>> {
    let read = text::decode(exposition.as_bytes(), &Limits::default()).expect("an exposition");
    let mut all: BTreeMap<String, Vec<(Point, f64)>> = BTreeMap::new();
    for sample in read.samples {
        let name = sample.labels.metric_name().unwrap_or_default().to_owned();
        let labels = sample
            .labels
            .iter()
            .filter(|(label, _)| *label != METRIC_NAME);
        let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned()));
        all.entry(name)
            .or_default()
            .push((labels.collect(), sample.value));
    }
    all
}

fn types(exposition: &str) -> BTreeMap<&str, &str> {
    let lines = exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// How far two expositions agree: families and points, and what does not.
#[derive(Default)]
struct Agreement {
    count: usize,
    good: usize,
    points: u32,
    near: u32,
    missing: BTreeSet<String>,
}

impl Agreement {
    fn of(theirs: &str, ours: &str) -> Self {
        let mut found = Self::default();
        let (their_types, our_types) = (types(theirs), types(ours));
        let (theirs, ours) = (families(theirs), families(ours));
        for (name, their_points) in &theirs {
            if !name.starts_with("node_") || OWN.contains(&name.as_str()) {
                continue;
            }
            found.count += 1;
            let our_points = ours.get(name).map_or(&[][..], Vec::as_slice);
            let same_type = their_types.get(name.as_str()) == our_types.get(name.as_str());
            let same_points = found.compare(name, their_points, our_points);
            found.good += usize::from(same_type && same_points);
            if !(same_type && same_points) {
                let (count, first) = (their_points.len(), their_points.first());
                found.missing.insert(format!("{name}: {count} {first:?}"));
            }
        }
        found
    }

    /// Compares the points of a family; whether all of theirs are here.
    fn compare(&mut self, name: &str, theirs: &[(Point, f64)], ours: &[(Point, f64)]) -> bool {
        let mut complete = true;
        for (labels, value) in theirs {
            // Newer versions have more labels: theirs must be among ours.
            let same = |(ours, _): &&(Point, f64)| {
                labels
                    .iter()
                    .all(|(label, value)| ours.get(label) == Some(value))
            };
            let Some((_, our_value)) = ours.iter().find(same) else {
                complete = false;
                continue;
            };
            self.points += 1;
            let largest = value.abs().max(our_value.abs());
            let is_near = (value - our_value).abs() <= 0.05 * largest + 2.0;
            self.near += u32::from(is_near);
            if !is_near {
                let text = format!("{name} {labels:?}: {value} and {our_value}");
                self.missing.insert(text);
            }
        }
        complete
    }

    fn is_enough(&self) -> bool {
        self.good as f64 >= SHARE * self.count as f64
            && f64::from(self.near) >= SHARE * f64::from(self.points)
    }
}

#[test]
fn families_labels_and_values_are_those_of_node_exporter() {
    let Some((_peer, address)) = peer() else {
        eprintln!("skipped: prometheus-node-exporter is not installed");
        return;
    };
    let flags = MORE.map(|collector| format!("collector.{collector}"));
    let flags = flags.iter().map(|flag| (flag.as_str(), "true"));
    let options = Options::from_flags(flags).unwrap();
    let source = Source::default();
    let compared = || {
        let theirs = get(address, "/metrics").unwrap();
        let ours = String::from_utf8(exposition(&gather(&source, &options).families)).unwrap();
        Agreement::of(&theirs, &ours)
    };
    // Where the machine is busy between the two, values differ that say nothing: they are read again.
    let mut found = compared();
    for _ in 0..9 {
        if !found.is_enough() {
            found = compared();
        }
    }
    let (good, count) = (found.good, found.count);
    eprintln!(
        "{good} of {count} families, {} of {} points",
        found.near, found.points
    );
    for one in &found.missing {
        eprintln!("  {one}");
    }
    assert!(count > 200, "only {count} families");
    assert!(found.is_enough(), "{:#?}", found.missing);
}
