//! Logs of a cluster: pods of a few applications, each with its own shape of line (JSON, logfmt,
//! klog, access log, Java with stack traces, daemons), a few pods much louder than the rest.
//!
//! One line in the middle holds [`NEEDLE`]; nothing else does, so that finding it is a known answer.

mod templates;

use std::fmt::Write;

use crate::random::Random;
use crate::workload::{Count, Query, Sent, Signal, Source, Workload};
use templates::{Calendar, Format};

/// The word that stands in one line.
const NEEDLE: &str = "7f3a9c51d2e84b06a1cc";
/// Lines of one request, about; a request closes with the first group beyond.
const LINES_PER_REQUEST: usize = 2000;
/// Pods that one request holds lines of.
const PODS_PER_REQUEST: usize = 20;
/// Time between the first and the last line.
const SPAN_NS: i64 = 6 * 3600 * 1_000_000_000;

const APPS: &[(&str, &str, Format)] = &[
    ("checkout", "shop", Format::Json),
    ("gateway", "edge", Format::Access),
    ("worker", "batch", Format::Java),
    ("cart", "shop", Format::Json),
    ("search", "shop", Format::Logfmt),
    ("kubelet", "kube-system", Format::Klog),
    ("datanode", "batch", Format::Daemon),
    ("payment", "shop", Format::Json),
    ("catalog", "shop", Format::Logfmt),
    ("controller", "kube-system", Format::Klog),
    ("sshd", "edge", Format::Daemon),
    ("mailer", "shop", Format::Java),
];

/// The size of the logs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logs {
    /// Bytes of all lines.
    pub(crate) bytes: u64,
    /// Streams.
    pub(crate) pods: usize,
    /// The time of the last line, in nanoseconds.
    pub(crate) end_ns: i64,
    /// Seed.
    pub(crate) seed: u64,
}

impl Logs {
    /// Everything of the run. Counts the lines once, to know what must be found.
    pub(crate) fn workload(self, connections: usize) -> Workload {
        let mut lines = 0;
        for mut source in self.sources(connections) {
            let mut body = Vec::new();
            while let Some(sent) = source.next(&mut body) {
                lines += sent.items;
            }
        }
        Workload {
            signal: Signal::Logs,
            scraped: None,
            registration: None,
            title: format!(
                "{:.0} MB in {lines} lines of {} pods over 6 h, Loki push JSON, about {LINES_PER_REQUEST} lines a request",
                self.bytes as f64 / 1e6,
                self.pods
            ),
            sources: Box::new(move |connections| self.sources(connections)),
            series: self.pods as u64,
            queries: self.queries(),
            count: Some(self.count(lines)),
        }
    }

    fn sources(self, connections: usize) -> Vec<Box<dyn Source>> {
        (0..connections)
            .map(|c| Box::new(Pushes::new(self, c, connections)) as Box<dyn Source>)
            .collect()
    }

    fn count(&self, lines: u64) -> Count {
        Count::new(
            "/loki/api/v1/query",
            &[
                ("query", "sum(count_over_time({cluster=\"bench\"}[7h]))"),
                ("time", &(self.end_ns + 1_000_000_000).to_string()),
            ],
            lines as f64,
        )
    }

    fn queries(&self) -> Vec<Query> {
        let start = (self.end_ns - SPAN_NS).to_string();
        let end = (self.end_ns + 1_000_000_000).to_string();
        let range = |name: &str, query: &str| {
            let parameters = [
                ("query", query),
                ("start", &start),
                ("end", &end),
                ("limit", "100"),
                ("step", "300"),
            ];
            Query::new(name, "/loki/api/v1/query_range", &parameters)
        };
        let substring = &NEEDLE[3..15];
        vec![
            range(
                "rare word over everything",
                &format!("{{cluster=\"bench\"}} |= \"{NEEDLE}\""),
            )
            .holding(NEEDLE),
            range(
                "absent word over everything",
                "{cluster=\"bench\"} |= \"0b5e55edabcdefabcdef\"",
            ),
            range(
                "rare substring over everything",
                &format!("{{cluster=\"bench\"}} |= \"{substring}\""),
            )
            .holding(NEEDLE),
            range(
                "common word counted by 5 m",
                "sum(count_over_time({cluster=\"bench\"} |= \"INFO\" [5m]))",
            )
            .holding("\"values\":[["),
            range(
                "regex counted by 5 m",
                "sum(count_over_time({cluster=\"bench\"} |~ \"status.{1,3}50[0-4]\" [5m]))",
            )
            .holding("\"values\":[["),
            range("last 100 lines of a label set", "{app=\"checkout\"}").holding("\"values\":[["),
            range(
                "JSON field filter, last 100",
                "{app=\"checkout\"} | json | status >= 500",
            )
            .holding("\"values\":[["),
        ]
    }
}

struct Pod {
    labels: String,
    format: Format,
    name: String,
}

/// The pushes of one connection: it owns every `of`th pod.
struct Pushes {
    pods: Vec<Pod>,
    random: Random,
    calendar: Calendar,
    bytes: u64,
    bytes_total: u64,
    start_ns: i64,
    needle: bool,
    line: String,
    lines: Vec<String>,
}

impl Pushes {
    fn new(logs: Logs, connection: usize, of: usize) -> Self {
        let pods: Vec<Pod> = (0..logs.pods)
            .filter(|p| p % of == connection)
            .map(|p| Pod::new(logs.seed, p))
            .collect();
        Self {
            lines: vec![String::new(); pods.len().min(PODS_PER_REQUEST)],
            pods,
            random: Random::of(logs.seed, connection as u64),
            calendar: Calendar::default(),
            bytes: 0,
            bytes_total: logs.bytes / of as u64,
            start_ns: logs.end_ns - SPAN_NS,
            needle: connection == 0,
            line: String::new(),
        }
    }

    /// Lines go evenly over the time, as far as bytes are even.
    fn time(&mut self) -> i64 {
        let share = self.bytes as f64 / self.bytes_total as f64;
        self.start_ns + (share.min(1.0) * SPAN_NS as f64) as i64 + self.random.below(900_000) as i64
    }

    /// Appends one `["time","line"]` to a stream of the request.
    fn add(&mut self, slot: usize, pod: usize) {
        let time = self.time();
        self.calendar.set(time);
        self.line.clear();
        let rare = self.needle && self.bytes * 2 >= self.bytes_total;
        let request = if rare { Some(NEEDLE) } else { None };
        let pod = &self.pods[pod];
        pod.format.write(
            &self.calendar,
            &pod.name,
            request,
            &mut self.random,
            &mut self.line,
        );
        self.needle = self.needle && !rare;
        self.bytes += self.line.len() as u64;
        let out = &mut self.lines[slot];
        let comma = if out.is_empty() { "" } else { "," };
        write!(out, "{comma}[\"{time}\",\"").expect("a string takes all");
        escape(&self.line, out);
        out.push_str("\"]");
    }
}

impl Pod {
    fn new(seed: u64, number: usize) -> Self {
        let (app, namespace, format) = APPS[number % APPS.len()];
        let hash = Random::of(seed, 1_000_000 + number as u64).next();
        let name = format!("{app}-{:09x}-{:05x}", hash >> 28, hash & 0xf_ffff);
        let labels = format!(
            "{{\"cluster\":\"bench\",\"namespace\":\"{namespace}\",\"app\":\"{app}\",\"pod\":\"{name}\"}}"
        );
        Self {
            labels,
            format,
            name,
        }
    }
}

impl Source for Pushes {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<Sent> {
        if self.bytes >= self.bytes_total || self.pods.is_empty() {
            return None;
        }
        let (before, mut items) = (self.bytes, 0);
        let slots = self.lines.len();
        let mut chosen: Vec<usize> = Vec::with_capacity(slots);
        while chosen.len() < slots {
            let pod = self.random.popular(self.pods.len());
            let pod = (pod..self.pods.len())
                .chain(0..pod)
                .find(|p| !chosen.contains(p));
            chosen.extend(pod);
        }
        while items < LINES_PER_REQUEST && self.bytes < self.bytes_total {
            let slot = self.random.below(slots as u64) as usize;
            self.add(slot, chosen[slot]);
            items += 1;
        }
        body.clear();
        body.extend_from_slice(b"{\"streams\":[");
        for (slot, pod) in chosen.iter().enumerate() {
            if self.lines[slot].is_empty() {
                continue;
            }
            if !body.ends_with(b"[") {
                body.push(b',');
            }
            body.extend_from_slice(b"{\"stream\":");
            body.extend_from_slice(self.pods[*pod].labels.as_bytes());
            body.extend_from_slice(b",\"values\":[");
            body.extend_from_slice(self.lines[slot].as_bytes());
            body.extend_from_slice(b"]}");
            self.lines[slot].clear();
        }
        body.extend_from_slice(b"]}");
        Some(Sent {
            items: items as u64,
            raw_bytes: self.bytes - before,
        })
    }
}

/// A line within a JSON string; lines are printable but for quotes, tabs and newlines.
fn escape(line: &str, out: &mut String) {
    for c in line.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn requests_are_json_of_the_promised_size_with_one_needle() {
        let logs = Logs {
            bytes: 3_000_000,
            pods: 60,
            end_ns: 1_700_000_000_000_000_000,
            seed: 5,
        };
        for connections in [1, 3] {
            let (mut bytes, mut items, mut lines, mut needles) = (0, 0, 0, 0);
            let mut formats = BTreeMap::new();
            for mut source in logs.sources(connections) {
                let mut body = Vec::new();
                while let Some(sent) = source.next(&mut body) {
                    items += sent.items;
                    bytes += sent.raw_bytes;
                    let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                    for stream in json["streams"].as_array().expect("streams") {
                        let values = stream["values"].as_array().expect("values");
                        let app = stream["stream"]["app"].as_str().expect("app").to_owned();
                        *formats.entry(app).or_insert(0) += values.len();
                        lines += values.len() as u64;
                        let has = |v: &&serde_json::Value| {
                            v[1].as_str().is_some_and(|l| l.contains(NEEDLE))
                        };
                        needles += values.iter().filter(has).count();
                    }
                }
            }
            assert_eq!(lines, items);
            assert_eq!(needles, 1);
            assert!((3_000_000..3_020_000).contains(&bytes), "{bytes}");
            assert_eq!(formats.len(), APPS.len());
        }
    }
}
