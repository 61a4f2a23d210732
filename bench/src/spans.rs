//! Traces of a shop of services: 10 to 40 spans each, 10 attributes a span and 5 a resource.
//!
//! Invariants: the same seed gives the same bytes; one trace in the middle has a known id and one
//! span in it a known `request.id`, so that looking for them has a known answer; a span that calls
//! another service has its other side in the same trace.

pub(crate) mod alone;
mod attributes;
mod plan;
mod questions;

use crate::protobuf;
use crate::random::Random;
use crate::workload::{Sent, Signal, Source, Workload};
use attributes::{Common, attribute_int, attribute_text, failure, fill};
use plan::{Plan, SERVICES, Work, plans};
use questions::Found;

/// The id of the trace that is looked for.
const NEEDLE_TRACE: [u8; 16] = [
    0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
];
/// The `request.id` that is looked for.
const NEEDLE_REQUEST: &str = "00f067aa0ba902b7";
/// Traces of one request: about 800 spans.
const TRACES_PER_REQUEST: usize = 32;
/// Spans that a trace has at least.
const SPANS_MIN: usize = 10;
/// Time between the first and the last trace.
const SPAN_NS: i64 = 3600 * 1_000_000_000;
const REPLICAS: usize = 3;

/// How many spans, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traces {
    /// Spans; the last trace is whole.
    pub(crate) spans: u64,
    /// The time of the last trace, in nanoseconds.
    pub(crate) end_ns: i64,
    /// Seed.
    pub(crate) seed: u64,
}

impl Traces {
    /// Everything of the run. Makes the spans once, to know what must be found.
    pub(crate) fn workload(self, connections: usize) -> Workload {
        let mut found = Found::default();
        for mut exports in self.exports(connections) {
            let mut body = Vec::new();
            while exports.next(&mut body).is_some() {}
            found.merge(exports.found);
        }
        Workload {
            signal: Signal::Traces,
            scraped: None,
            registration: None,
            title: format!(
                "{} spans of {} services over 1 h, 10 to 40 spans a trace, 15 attributes, OTLP HTTP, {TRACES_PER_REQUEST} traces a request",
                found.spans,
                SERVICES.len()
            ),
            sources: Box::new(move |connections| {
                let exports = self.exports(connections).into_iter();
                exports.map(|e| Box::new(e) as Box<dyn Source>).collect()
            }),
            series: 0,
            queries: found.queries(self.end_ns),
            count: Some(found.count(self.end_ns)),
        }
    }

    fn exports(self, connections: usize) -> Vec<Exports> {
        (0..connections)
            .map(|c| Exports::new(self, c, connections))
            .collect()
    }
}

/// The exports of one connection.
struct Exports {
    plans: Vec<Plan>,
    random: Random,
    found: Found,
    spans_total: u64,
    start_ns: i64,
    needle: bool,
    /// Encoded resources and the spans of the request that belong to them.
    resources: Vec<(Vec<u8>, Vec<u8>)>,
    span: Vec<u8>,
    attributes: Vec<u8>,
}

/// A trace that is being made.
struct Trace {
    id: [u8; 16],
    start: i64,
    common: Common,
    /// Whether the known value is in it and not yet written.
    needle: bool,
    /// The spans that are there, by the number of their call.
    spans: Vec<Option<Made>>,
}

/// What a later span of a trace needs of its parent.
#[derive(Clone, Copy)]
struct Made {
    id: u64,
    start: i64,
    duration: i64,
}

impl Exports {
    fn new(traces: Traces, connection: usize, of: usize) -> Self {
        let resources = (0..SERVICES.len() * REPLICAS)
            .map(|n| (resource(n), Vec::new()))
            .collect();
        Self {
            plans: plans(),
            random: Random::of(traces.seed, connection as u64),
            found: Found::default(),
            spans_total: traces.spans / of as u64,
            start_ns: traces.end_ns - SPAN_NS,
            needle: connection == 0,
            resources,
            span: Vec::new(),
            attributes: Vec::new(),
        }
    }

    fn add_trace(&mut self) {
        let rare = self.needle && self.found.spans * 2 >= self.spans_total;
        self.needle = self.needle && !rare;
        let random = &mut self.random;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random.next().to_le_bytes());
        id[8..].copy_from_slice(&random.next().to_le_bytes());
        if rare {
            id = NEEDLE_TRACE;
        }
        let share = self.found.spans as f64 / self.spans_total as f64;
        let start = self.start_ns + (share.min(1.0) * SPAN_NS as f64) as i64;
        let plan = random.zipf(self.plans.len());
        let mut left = self.plans[plan].calls.len();
        let mut trace = Trace {
            id,
            start: start + random.below(1_000_000_000) as i64,
            common: Common {
                tenant: random.popular(40),
                user: random.zipf(30_000),
                client: random.popular(4096) as u64,
            },
            needle: rare,
            spans: vec![None; left],
        };
        self.found.next_trace();
        for call in 0..trace.spans.len() {
            let leaf = self.plans[plan].calls[call].leaf;
            if leaf && left > SPANS_MIN && self.random.chance(0.2) {
                left -= 1;
                continue;
            }
            self.add_span(plan, call, &mut trace);
        }
    }

    fn add_span(&mut self, plan: usize, number: usize, trace: &mut Trace) {
        let (random, plan) = (&mut self.random, &self.plans[plan]);
        let call = &plan.calls[number];
        let id = random.next() | 1;
        let parent = call.parent.and_then(|p| trace.spans[p]);
        let (start, duration) = match parent {
            None => (trace.start, random.skewed(plan.middle_ns) as i64 + 1000),
            Some(p) if call.work == Work::Consumer => {
                let waited = random.skewed(5e6) as i64;
                (p.start + p.duration + waited, random.skewed(2e7) as i64 + 1)
            }
            Some(p) => {
                let late = call.late * random.between(0.8, 1.2) * p.duration as f64;
                let part = call.part * random.between(0.8, 1.05) * (p.duration as f64 - late);
                (p.start + late as i64, part as i64 + 1)
            }
        };
        let needle = trace.needle && number > 0;
        trace.needle = trace.needle && !needle;
        let request = needle.then_some(NEEDLE_REQUEST);
        self.attributes.clear();
        let kind = fill(call, &trace.common, request, random, &mut self.attributes);
        let failed = random.chance(0.01);
        let out = &mut self.span;
        out.clear();
        protobuf::bytes(1, &trace.id, out);
        protobuf::bytes(2, &id.to_be_bytes(), out);
        if let Some(parent) = parent {
            protobuf::bytes(4, &parent.id.to_be_bytes(), out);
        }
        protobuf::bytes(5, kind.name.as_bytes(), out);
        protobuf::number(6, kind.kind, out);
        protobuf::fixed64(7, start.cast_unsigned(), out);
        protobuf::fixed64(8, (start + duration).cast_unsigned(), out);
        out.extend_from_slice(&self.attributes);
        if failed {
            failure(start + duration, out);
        }
        let replica = (usize::from(trace.id[0]) + call.service) % REPLICAS;
        let spans = &mut self.resources[call.service * REPLICAS + replica].1;
        protobuf::bytes(2, out, spans);
        self.found
            .add(call.service, duration, trace.common.tenant, needle);
        trace.spans[number] = Some(Made {
            id,
            start,
            duration,
        });
    }
}

impl Source for Exports {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<Sent> {
        let before = self.found.spans;
        if before >= self.spans_total {
            return None;
        }
        for _ in 0..TRACES_PER_REQUEST {
            if self.found.spans < self.spans_total {
                self.add_trace();
            }
        }
        body.clear();
        let mut scope = Vec::new();
        protobuf::bytes(1, b"io.opentelemetry.shop", &mut scope);
        protobuf::bytes(2, b"2.8.0", &mut scope);
        let mut head = Vec::new();
        protobuf::bytes(1, &scope, &mut head);
        for (resource, spans) in &mut self.resources {
            if spans.is_empty() {
                continue;
            }
            let scoped = head.len() + spans.len();
            let framed = 1 + protobuf::varint_length(scoped as u64) + scoped;
            let with_resource = 1 + protobuf::varint_length(resource.len() as u64) + resource.len();
            protobuf::header(1, with_resource + framed, body);
            protobuf::bytes(1, resource, body);
            protobuf::header(2, scoped, body);
            body.extend_from_slice(&head);
            body.extend_from_slice(spans);
            spans.clear();
        }
        Some(Sent {
            items: self.found.spans - before,
            raw_bytes: body.len() as u64,
        })
    }
}

/// The attributes of one replica of a service.
fn resource(number: usize) -> Vec<u8> {
    let (service, replica) = (SERVICES[number / REPLICAS], number % REPLICAS);
    let hash = Random::new(number as u64).next();
    let mut out = Vec::new();
    let version = format!("1.{}.{replica}", number % 17);
    attribute_text(1, "service.name", service, &mut out);
    attribute_text(1, "service.version", &version, &mut out);
    attribute_text(1, "k8s.namespace.name", "shop", &mut out);
    let pod = format!("{service}-{:08x}-{replica}", hash as u32);
    attribute_text(1, "k8s.pod.name", &pod, &mut out);
    attribute_int(1, "process.pid", 7 + (hash >> 50), &mut out);
    out
}

#[cfg(test)]
mod tests;
