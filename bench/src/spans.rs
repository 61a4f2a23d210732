//! Traces of a shop of services: 10 to 40 spans each, 10 attributes a span and 5 a resource.
//!
//! One trace in the middle has a known id and one span in it a known `request.id`, so that looking
//! for them has a known answer.

mod attributes;

use crate::protobuf;
use crate::random::Random;
use crate::workload::{Query, Sent, Signal, Source, Workload};
use attributes::{attribute_int, attribute_text, fill};

/// The id of the trace that is looked for.
const NEEDLE_TRACE: [u8; 16] = [
    0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
];
/// The `request.id` that is looked for.
const NEEDLE_REQUEST: &str = "00f067aa0ba902b7";
/// Traces of one request: about 800 spans.
const TRACES_PER_REQUEST: usize = 32;
/// Time between the first and the last trace.
const SPAN_NS: i64 = 3600 * 1_000_000_000;
const REPLICAS: usize = 3;

const SERVICES: &[&str] = &[
    "gateway",
    "checkout",
    "cart",
    "payment",
    "catalog",
    "search",
    "auth",
    "orders",
    "inventory",
    "shipping",
    "pricing",
    "recommender",
    "profile",
    "reviews",
    "mailer",
    "ledger",
    "fraud",
    "coupons",
    "media",
    "geo",
    "tax",
    "notifier",
    "sessions",
    "audit",
];

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
    /// Everything of the run.
    pub(crate) fn workload(self) -> Workload {
        Workload {
            signal: Signal::Traces,
            scraped: None,
            registration: None,
            title: format!(
                "{} spans of {} services over 1 h, 10 to 40 spans a trace, 15 attributes, OTLP HTTP, {TRACES_PER_REQUEST} traces a request",
                self.spans,
                SERVICES.len()
            ),
            sources: Box::new(move |connections| {
                (0..connections)
                    .map(|c| Box::new(Exports::new(self, c, connections)) as Box<dyn Source>)
                    .collect()
            }),
            series: 0,
            queries: self.queries(),
            count: None,
        }
    }

    fn queries(&self) -> Vec<Query> {
        let start = (self.end_ns - SPAN_NS).div_euclid(1_000_000_000) - 1;
        let (start, end) = (
            start.to_string(),
            (self.end_ns.div_euclid(1_000_000_000) + 60).to_string(),
        );
        let search = |name: &str, query: &str| {
            let parameters = [
                ("q", query),
                ("start", &start),
                ("end", &end),
                ("limit", "20"),
            ];
            Query::new(name, "/tempo/api/search", &parameters).holding("\"traceID\"")
        };
        let id: String = NEEDLE_TRACE.iter().map(|b| format!("{b:02x}")).collect();
        let by_id = Query::new("trace by id", &format!("/tempo/api/traces/{id}"), &[]);
        vec![
            by_id.holding(NEEDLE_REQUEST),
            search(
                "search by service, duration and attribute",
                "{resource.service.name=\"checkout\" && duration>300ms && span.tenant=\"tenant-0\"}",
            ),
            search(
                "search by service, 20 traces",
                "{resource.service.name=\"payment\"}",
            ),
            search(
                "search by a rare attribute value",
                &format!("{{span.request.id=\"{NEEDLE_REQUEST}\"}}"),
            ),
        ]
    }
}

/// The exports of one connection.
struct Exports {
    random: Random,
    spans: u64,
    spans_total: u64,
    start_ns: i64,
    needle: bool,
    /// Encoded resources and the spans of the request that belong to them.
    resources: Vec<(Vec<u8>, Vec<u8>)>,
    span: Vec<u8>,
    attributes: Vec<u8>,
}

/// What a later span of a trace needs of its parent.
#[derive(Clone, Copy)]
struct Parent {
    id: u64,
    service: usize,
    start: i64,
    duration: i64,
}

impl Exports {
    fn new(traces: Traces, connection: usize, of: usize) -> Self {
        let resources = (0..SERVICES.len() * REPLICAS)
            .map(|n| (resource(n), Vec::new()))
            .collect();
        Self {
            random: Random::of(traces.seed, connection as u64),
            spans: 0,
            spans_total: traces.spans / of as u64,
            start_ns: traces.end_ns - SPAN_NS,
            needle: connection == 0,
            resources,
            span: Vec::new(),
            attributes: Vec::new(),
        }
    }

    fn add_trace(&mut self) -> u64 {
        let rare = self.needle && self.spans * 2 >= self.spans_total;
        self.needle = self.needle && !rare;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.next().to_le_bytes());
        id[8..].copy_from_slice(&self.random.next().to_le_bytes());
        if rare {
            id = NEEDLE_TRACE;
        }
        let share = self.spans as f64 / self.spans_total as f64;
        let start = self.start_ns + (share.min(1.0) * SPAN_NS as f64) as i64;
        let count = 10 + self.random.below(31);
        let mut parents: Vec<Parent> = Vec::with_capacity(count as usize);
        for number in 0..count {
            let parent = match number {
                0 => None,
                // Late spans come first: chains are deeper than a random tree's.
                _ => Some(parents[parents.len() - 1 - self.random.popular(parents.len())]),
            };
            let request = (rare && number == 5).then_some(NEEDLE_REQUEST);
            parents.push(self.add_span(&id, start, parent, request));
        }
        self.spans += count;
        count
    }

    fn add_span(
        &mut self,
        trace: &[u8; 16],
        trace_start: i64,
        parent: Option<Parent>,
        request: Option<&str>,
    ) -> Parent {
        let random = &mut self.random;
        let id = random.next() | 1;
        // A call goes to one of three services that its caller knows, or stays inside.
        let service = match parent {
            None => 0,
            Some(p) if random.chance(0.45) => p.service,
            Some(p) => (p.service * 5 + 1 + random.popular(3) * 7) % SERVICES.len(),
        };
        let (start, duration) = match parent {
            None => (trace_start, random.skewed(3e8) as i64 + 1000),
            Some(p) => {
                let late = (random.unit() * 0.4 * p.duration as f64) as i64;
                let part = random.between(0.1, 0.95) * (p.duration - late) as f64;
                (p.start + late, part as i64 + 1)
            }
        };
        let inside = parent.is_some_and(|p| p.service == service);
        self.attributes.clear();
        let kind = fill(inside, request, random, &mut self.attributes);
        let failed = random.chance(0.01);
        let out = &mut self.span;
        out.clear();
        protobuf::bytes(1, trace, out);
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
            let mut status = Vec::new();
            protobuf::bytes(2, b"upstream timed out", &mut status);
            protobuf::number(3, 2, &mut status);
            protobuf::bytes(15, &status, out);
        }
        let replica = (u64::from(trace[0]) as usize + service) % REPLICAS;
        let spans = &mut self.resources[service * REPLICAS + replica].1;
        protobuf::bytes(2, out, spans);
        Parent {
            id,
            service,
            start,
            duration,
        }
    }
}

impl Source for Exports {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<Sent> {
        if self.spans >= self.spans_total {
            return None;
        }
        let mut items = 0;
        for _ in 0..TRACES_PER_REQUEST {
            if self.spans < self.spans_total {
                items += self.add_trace();
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
            items,
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
mod tests {
    use super::*;

    #[test]
    fn traces_have_the_promised_size_whatever_the_connections() {
        let traces = Traces {
            spans: 20_000,
            end_ns: 1_700_000_000_000_000_000,
            seed: 2,
        };
        for connections in [1, 2] {
            let (mut spans, mut bytes, mut needles) = (0, 0, 0);
            for mut source in (traces.workload().sources)(connections) {
                let mut body = Vec::new();
                while let Some(sent) = source.next(&mut body) {
                    spans += sent.items;
                    bytes += sent.raw_bytes;
                    let needle = NEEDLE_REQUEST.as_bytes();
                    needles += body.windows(needle.len()).filter(|w| *w == needle).count();
                }
            }
            assert!((20_000..20_100).contains(&spans), "{spans}");
            assert_eq!(needles, 1);
            let each = bytes / spans;
            assert!((330..500).contains(&each), "{each} bytes a span");
        }
    }
}
