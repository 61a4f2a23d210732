//! Logs of a cluster: pods of a dozen applications, each with its own shapes of line (JSON, logfmt,
//! klog, access log, Java with stack traces, daemons), some pods much louder than others.
//!
//! Invariants: the same seed gives the same lines; times of a pod rise; the lines that are looked
//! for stand in it so often as [`Planted`] says, and nothing else looks like them.

mod apps;
mod clock;
mod place;
mod questions;
mod stack;

use std::fmt::Write;
use std::io;

use crate::random::Random;
use crate::workload::{Sent, Signal, Source, Workload};
use apps::{APPS, App, PLANTED};
use clock::Clock;
use place::{Memory, Template};
use questions::{NEEDLE, NEEDLE_TRACE, SUBSTRING_LINE, Survey};

/// Lines of one request, about: a request closes with the first burst beyond.
const LINES_PER_REQUEST: u64 = 2000;
/// Pods of a node: one request holds lines of one node.
const PODS_PER_NODE: usize = 20;
/// Lines from which the length of a line is told before all are made.
const SAMPLE_LINES: u64 = 20_000;
/// Time between the first and the last line.
const SPAN_NS: i64 = 6 * 3600 * 1_000_000_000;

/// The size of the logs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logs {
    /// Bytes of all lines, about.
    pub(crate) bytes: u64,
    /// Streams.
    pub(crate) pods: usize,
    /// The time of the last line, in nanoseconds.
    pub(crate) end_ns: i64,
    /// Seed.
    pub(crate) seed: u64,
}

impl Logs {
    /// Everything of the run. Makes the lines once, to know what must be found.
    pub(crate) fn workload(self, connections: usize) -> Workload {
        let mut survey = Survey::default();
        for mut pushes in self.pushes(connections) {
            while let Some(line) = pushes.next_line() {
                survey.add(&line);
            }
        }
        Workload {
            signal: Signal::Logs,
            scraped: None,
            registration: None,
            title: format!(
                "{:.0} MB in {} lines of {} pods over 6 h, Loki push JSON, about {LINES_PER_REQUEST} lines a request",
                survey.bytes as f64 / 1e6,
                survey.lines,
                self.pods
            ),
            sources: Box::new(move |connections| {
                let pushes = self.pushes(connections).into_iter();
                pushes.map(|p| Box::new(p) as Box<dyn Source>).collect()
            }),
            series: self.pods as u64,
            queries: survey.queries(self.end_ns - SPAN_NS, self.end_ns),
            count: Some(survey.count(self.end_ns)),
        }
    }

    /// Writes `pod TAB nanoseconds TAB line` for each line; newlines within a line as vertical tabs.
    pub(crate) fn write(self, out: &mut dyn io::Write) -> io::Result<()> {
        for mut pushes in self.pushes(1) {
            while let Some(line) = pushes.next_line() {
                let text = line.text.replace('\n', "\u{b}");
                writeln!(out, "{}\t{}\t{text}", line.pod, line.time_ns)?;
            }
        }
        Ok(())
    }

    fn pushes(self, connections: usize) -> Vec<Pushes> {
        let apps: Vec<Templates> = APPS.iter().map(Templates::of).collect();
        let mut all: Vec<Pod> = (0..self.pods).map(|p| Pod::new(self, p)).collect();
        weigh(&mut all);
        let bytes_each = mean_bytes(self.seed, &apps);
        let lines = (self.bytes as f64 / bytes_each).ceil();
        let mut nodes: Vec<Vec<Node>> = (0..connections).map(|_| Vec::new()).collect();
        let mut rest = all.into_iter().peekable();
        for number in 0_usize.. {
            if rest.peek().is_none() {
                break;
            }
            let pods: Vec<Pod> = rest.by_ref().take(PODS_PER_NODE).collect();
            nodes[number % connections].push(Node::new(self.seed, number, pods, lines));
        }
        nodes
            .into_iter()
            .map(|nodes| Pushes::new(self, apps.clone(), nodes))
            .collect()
    }
}

/// The templates of an application, each with the sum of the weights up to it.
#[derive(Clone)]
struct Templates {
    app: &'static App,
    lines: Vec<(u32, Template)>,
}

impl Templates {
    fn of(app: &'static App) -> Self {
        let mut sum = 0;
        let lines = app.lines.iter().map(|(weight, text)| {
            sum += weight;
            let template = Template::of(text).expect("a test takes all templates apart");
            (sum, template)
        });
        Self {
            app,
            lines: lines.collect(),
        }
    }

    /// Writes a line.
    fn write(&self, clock: &Clock, memory: &mut Memory, random: &mut Random, out: &mut String) {
        let sum = self.lines.last().map_or(0, |(sum, _)| *sum);
        let at = random.below(u64::from(sum)) as u32;
        let found = self.lines.iter().find(|(sum, _)| at < *sum);
        if let Some((_, template)) = found {
            template.write(clock, memory, random, out);
        }
    }
}

/// Mean length of a line over the applications.
fn mean_bytes(seed: u64, apps: &[Templates]) -> f64 {
    let (mut random, mut clock, mut line) = (Random::of(seed, 5), Clock::default(), String::new());
    clock.set(1_700_000_000_123_456_789);
    let (mut bytes, mut shares) = (0.0, 0.0);
    for app in apps {
        let name = format!("{}-{:09x}-{:05x}", app.app.name, 1_u64 << 35, 1 << 19);
        let mut memory = Memory::new(name, 0, &mut random);
        line.clear();
        let lines = SAMPLE_LINES / apps.len() as u64;
        for _ in 0..lines {
            app.write(&clock, &mut memory, &mut random, &mut line);
        }
        let share = f64::from(app.app.share);
        bytes += line.len() as f64 / lines as f64 * share;
        shares += share;
    }
    bytes / shares
}

struct Pod {
    app: usize,
    labels: String,
    memory: Memory,
    /// Its part of all lines.
    weight: f64,
    last_ns: i64,
}

impl Pod {
    fn new(logs: Logs, number: usize) -> Self {
        let at = number % APPS.len();
        let (app, mut random) = (&APPS[at], Random::of(logs.seed, 1_000_000 + number as u64));
        let hash = random.next();
        let name = format!("{}-{:09x}-{:05x}", app.name, hash >> 28, hash & 0xf_ffff);
        let labels = format!(
            "{{\"cluster\":\"bench\",\"namespace\":\"{}\",\"app\":\"{}\",\"pod\":\"{name}\",\"container\":\"{}\"}}",
            app.namespace, app.name, app.container
        );
        Self {
            app: at,
            labels,
            memory: Memory::new(name, number / PODS_PER_NODE, &mut random),
            weight: f64::from(app.share) / (1.0 + (number / APPS.len()) as f64).powf(0.8),
            last_ns: 0,
        }
    }
}

/// Makes the weights of an application's pods sum up to its share.
fn weigh(pods: &mut [Pod]) {
    let mut sums = vec![0.0; APPS.len()];
    for pod in pods.iter() {
        sums[pod.app] += pod.weight;
    }
    let present: u32 = (0..APPS.len())
        .filter(|a| sums[*a] > 0.0)
        .map(|a| APPS[a].share)
        .sum();
    for pod in pods {
        pod.weight *= f64::from(APPS[pod.app].share) / sums[pod.app] / f64::from(present);
    }
}

/// What one line has more than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    /// A word of its own.
    Word,
    /// A text within a word.
    Substring,
    /// The known trace, as structured metadata.
    Trace,
}

/// What is planted, and after which part of a node's lines.
const PLANTS: [(f64, Planted); 10] = [
    (0.11, Planted::Word),
    (0.23, Planted::Substring),
    (0.31, Planted::Trace),
    (0.312, Planted::Trace),
    (0.47, Planted::Word),
    (0.52, Planted::Substring),
    (0.68, Planted::Trace),
    (0.681, Planted::Trace),
    (0.83, Planted::Word),
    (0.91, Planted::Substring),
];

/// The pods of one machine, whose agent sends their lines.
struct Node {
    pods: Vec<Pod>,
    /// Sums of the weights.
    sums: Vec<f64>,
    lines: u64,
    lines_total: u64,
    /// What is still to be planted, the last first.
    plants: Vec<(f64, Planted)>,
    random: Random,
}

impl Node {
    fn new(seed: u64, number: usize, pods: Vec<Pod>, lines: f64) -> Self {
        let sums: Vec<f64> = pods
            .iter()
            .scan(0.0, |sum, p| {
                *sum += p.weight;
                Some(*sum)
            })
            .collect();
        let weight = sums.last().copied().unwrap_or(0.0);
        // The first node has a pod of each application.
        let plants = if number == 0 { &PLANTS[..] } else { &[] };
        Self {
            pods,
            lines: 0,
            lines_total: (weight * lines).round() as u64,
            sums,
            plants: plants.iter().rev().copied().collect(),
            random: Random::of(seed, 2_000_000 + number as u64),
        }
    }

    fn done(&self) -> f64 {
        self.lines as f64 / self.lines_total.max(1) as f64
    }

    fn due_plant(&mut self) -> Option<Planted> {
        let done = self.done();
        let due = self.plants.pop_if(|(when, _)| *when <= done);
        due.map(|(_, plant)| plant)
    }

    fn pod(&mut self) -> usize {
        let at = self.random.unit() * self.sums.last().copied().unwrap_or(0.0);
        let pod = self.sums.iter().position(|sum| at < *sum);
        pod.unwrap_or(0)
    }
}

/// A line with what belongs to it.
struct Line<'a> {
    node: usize,
    slot: usize,
    app: &'static App,
    pod: &'a str,
    time_ns: i64,
    text: &'a str,
}

/// The pushes of one connection: it owns some of the nodes.
struct Pushes {
    apps: Vec<Templates>,
    nodes: Vec<Node>,
    start_ns: i64,
    clock: Clock,
    /// The node and the pod that write, how many lines more, and when the next is due.
    burst: (usize, usize, u64, i64),
    /// Lines of the request until now; a new one is begun with another node.
    in_request: u64,
    text: String,
    trace: String,
    /// Values of each pod of the node, in JSON.
    slots: Vec<String>,
}

impl Pushes {
    fn new(logs: Logs, apps: Vec<Templates>, nodes: Vec<Node>) -> Self {
        Self {
            apps,
            nodes,
            start_ns: logs.end_ns - SPAN_NS,
            clock: Clock::default(),
            burst: (0, 0, 0, 0),
            in_request: LINES_PER_REQUEST,
            text: String::new(),
            trace: String::new(),
            slots: vec![String::new(); PODS_PER_NODE],
        }
    }

    /// The next line; none when all nodes have written theirs.
    fn next_line(&mut self) -> Option<Line<'_>> {
        if self.burst.2 == 0 && !self.begin_burst() {
            return None;
        }
        let (at, slot, more, due) = self.burst;
        let node = &mut self.nodes[at];
        let planted = if more == 1 { node.due_plant() } else { None };
        let slot = match planted {
            Some(Planted::Trace) => app_slot(&node.pods, APPS[0].name).unwrap_or(slot),
            Some(_) => app_slot(&node.pods, PLANTED).unwrap_or(slot),
            None => slot,
        };
        let (pod, random) = (&mut node.pods[slot], &mut node.random);
        let time = due.max(pod.last_ns + 1);
        pod.last_ns = time;
        self.clock.set(time);
        let app = &self.apps[pod.app];
        let traced = random.chance(app.app.traced);
        self.text.clear();
        self.trace.clear();
        if traced {
            pod.memory.choose_trace(random);
            pod.memory
                .write_trace(&mut self.trace)
                .expect("a string takes all");
        }
        app.write(&self.clock, &mut pod.memory, random, &mut self.text);
        match planted {
            Some(Planted::Word) => self.text.push_str(&format!(" {NEEDLE}")),
            Some(Planted::Substring) => self.text.push_str(SUBSTRING_LINE),
            Some(Planted::Trace) => NEEDLE_TRACE.clone_into(&mut self.trace),
            None => {}
        }
        node.lines += 1;
        self.in_request += 1;
        self.burst = (at, slot, more - 1, time + random.skewed(150_000.0) as i64);
        Some(Line {
            node: at,
            slot,
            app: self.apps[self.nodes[at].pods[slot].app].app,
            pod: &self.nodes[at].pods[slot].memory.pod,
            time_ns: time,
            text: &self.text,
        })
    }

    /// Chooses who writes next: the node of the request, or for a new request the one that is
    /// behind; there one of the pods. False when all is written.
    fn begin_burst(&mut self) -> bool {
        let mut at = self.burst.0;
        let over = self.in_request >= LINES_PER_REQUEST;
        if over || self.nodes.get(at).is_none_or(|n| n.lines >= n.lines_total) {
            let open =
                (0..self.nodes.len()).filter(|n| self.nodes[*n].lines < self.nodes[*n].lines_total);
            let done = |n: &usize| self.nodes[*n].done();
            let Some(behind) = open.min_by(|a, b| done(a).total_cmp(&done(b))) else {
                return false;
            };
            at = behind;
            self.in_request = 0;
        }
        let (start, node) = (self.start_ns, &mut self.nodes[at]);
        let slot = node.pod();
        let more = 1 + node.random.zipf(8) as u64;
        let more = more.min(node.lines_total - node.lines);
        let each = SPAN_NS as f64 / node.lines_total as f64;
        let due = (node.lines as f64 + node.random.unit()) * each;
        self.burst = (at, slot, more, start + due as i64);
        true
    }

    /// Appends the line to the request.
    fn keep(&mut self, slot: usize, time_ns: i64) {
        let out = &mut self.slots[slot];
        let comma = if out.is_empty() { "" } else { "," };
        write!(out, "{comma}[\"{time_ns}\",\"").expect("a string takes all");
        escape(&self.text, out);
        out.push('"');
        if !self.trace.is_empty() {
            write!(out, ",{{\"trace_id\":\"{}\"}}", self.trace).expect("a string takes all");
        }
        out.push(']');
    }
}

fn app_slot(pods: &[Pod], name: &str) -> Option<usize> {
    pods.iter().position(|p| APPS[p.app].name == name)
}

impl Source for Pushes {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<Sent> {
        let mut sent = Sent::default();
        let mut node = 0;
        loop {
            let over = self.in_request >= LINES_PER_REQUEST && self.burst.2 == 0;
            if over && sent.items > 0 {
                break;
            }
            let Some(line) = self.next_line() else { break };
            let (slot, time) = (line.slot, line.time_ns);
            node = line.node;
            sent.items += 1;
            sent.raw_bytes += line.text.len() as u64;
            self.keep(slot, time);
            let ended = self.nodes[node].lines >= self.nodes[node].lines_total;
            if ended {
                break;
            }
        }
        if sent.items == 0 {
            return None;
        }
        body.clear();
        body.extend_from_slice(b"{\"streams\":[");
        for (pod, values) in self.nodes[node].pods.iter().zip(&mut self.slots) {
            if values.is_empty() {
                continue;
            }
            if !body.ends_with(b"[") {
                body.push(b',');
            }
            body.extend_from_slice(b"{\"stream\":");
            body.extend_from_slice(pod.labels.as_bytes());
            body.extend_from_slice(b",\"values\":[");
            body.extend_from_slice(values.as_bytes());
            body.extend_from_slice(b"]}");
            values.clear();
        }
        body.extend_from_slice(b"]}");
        Some(sent)
    }
}

/// A line within a JSON string; lines are printable but for tabs and newlines.
fn escape(line: &str, out: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find(['"', '\\', '\n', '\t']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        out.push_str(match special.as_bytes()[0] {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            _ => "\\t",
        });
        rest = &special[1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests;
