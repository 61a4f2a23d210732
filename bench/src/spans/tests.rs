//! Tests of the spans and of what is known about them.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::limits::Limits;
use obs_model::spans::{AttributeValue, SpanKind, StatusCode};
use obs_wire::otlp::traces::decode_protobuf;

use super::*;

const TRACES: Traces = Traces {
    spans: 20_000,
    end_ns: 1_700_000_000_000_000_000,
    seed: 2,
};

fn bodies(traces: Traces, connections: usize) -> (Vec<Vec<u8>>, Sent) {
    let (mut all, mut sum) = (Vec::new(), Sent::default());
    for mut exports in traces.exports(connections) {
        let mut body = Vec::new();
        while let Some(sent) = exports.next(&mut body) {
            sum.items += sent.items;
            sum.raw_bytes += sent.raw_bytes;
            all.push(body.clone());
        }
    }
    (all, sum)
}

#[test]
fn a_seed_fixes_the_bytes() {
    let few = |seed| {
        let traces = Traces {
            spans: 2000,
            seed,
            ..TRACES
        };
        bodies(traces, 2).0
    };
    assert_eq!(few(1), few(1));
    assert_ne!(few(1), few(2));
}

#[test]
fn traces_have_the_promised_shape_whatever_the_connections() {
    for connections in [1, 2] {
        let (all, sent) = bodies(TRACES, connections);
        assert!((20_000..20_100).contains(&sent.items), "{}", sent.items);
        let each = sent.raw_bytes / sent.items;
        assert!((380..460).contains(&each), "{each} bytes a span");
        let (mut traces, mut ids) = (BTreeMap::<_, u64>::new(), BTreeSet::new());
        let (mut services, mut needles, mut failed) = (BTreeSet::new(), 0, 0);
        let (mut clients, mut callees) = (BTreeMap::new(), Vec::new());
        for body in &all {
            let read = decode_protobuf(body, &Limits::default()).expect("OTLP");
            for (resource, _, span) in read.batch.iter() {
                assert_eq!((resource.attributes.len(), span.attributes.len()), (5, 10));
                *traces.entry(span.trace_id).or_default() += 1;
                assert!(ids.insert(span.span_id), "ids are their own");
                let service = &resource.attributes[0].value;
                services.insert(format!("{service:?}"));
                needles += u64::from(
                    span.attributes[0].value == AttributeValue::String(NEEDLE_REQUEST.into()),
                );
                let error = span.status == StatusCode::Error;
                assert_eq!(error, span.events.len() == 1);
                failed += u64::from(error);
                match span.kind {
                    SpanKind::Client | SpanKind::Producer => {
                        clients.insert(span.span_id, (span.trace_id, span.start));
                    }
                    SpanKind::Server | SpanKind::Consumer if !span.parent_id.is_zero() => {
                        callees.push((span.parent_id, (span.trace_id, span.start)));
                    }
                    _ => {}
                }
            }
        }
        for (parent, (trace, start)) in &callees {
            let caller = clients.get(parent).expect("the other side is there");
            assert!(caller.0 == *trace && caller.1 <= *start);
        }
        assert_eq!((services.len(), needles), (SERVICES.len(), 1));
        assert!((100..400).contains(&failed), "{failed} failed");
        let last = traces.values().filter(|n| !(10..=40).contains(*n)).count();
        assert_eq!(last, 0, "traces of another size");
    }
}

#[test]
fn the_survey_knows_what_the_spans_hold() {
    let workload = TRACES.workload(2);
    let (all, sent) = bodies(TRACES, 2);
    let mut slow = 0;
    for body in &all {
        let read = decode_protobuf(body, &Limits::default()).expect("OTLP");
        let over = |nanos: i64| u64::from(nanos > 500_000_000);
        slow += read
            .batch
            .iter()
            .map(|(_, _, s)| over(s.duration_nanos()))
            .sum::<u64>();
    }
    let expect = |name: &str| {
        let query = workload.queries.iter().find(|q| q.name == name);
        query.and_then(|q| q.total).expect("a total")
    };
    assert_eq!(workload.count.expect("a count").expect, sent.items as f64);
    assert!(slow > 0);
    assert_eq!(expect("spans over 500 ms by service"), slow as f64);
    assert_eq!(expect("search by service, 20 traces"), 20.0);
    let searched = expect("search by service, duration and attribute");
    assert!((1.0..=20.0).contains(&searched), "{searched}");
}
