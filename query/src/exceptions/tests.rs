//! Groups of exceptions in stored spans.

use obs_model::limits::Limits;
use obs_model::spans::{Attribute, Resource, ResourceSpans, ScopeSpans, SpanEvent};
use obs_model::{Span, SpanBatch, Tenant};
use obs_storage::{Options, Record, SimDisk, Store};
use std::sync::Arc;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn thrown(seconds: i64, kind: &str, message: &str) -> SpanEvent {
    SpanEvent {
        time: at(seconds),
        name: "exception".into(),
        attributes: vec![
            Attribute::string("exception.type", kind),
            Attribute::string("exception.message", message),
        ],
        ..SpanEvent::default()
    }
}

fn batch(service: &str, trace: u8, status: StatusCode, events: Vec<SpanEvent>) -> SpanBatch {
    let span = Span {
        trace_id: TraceId([trace; 16]),
        span_id: SpanId([trace; 8]),
        name: format!("span {trace}"),
        start: at(0),
        end: at(100),
        status,
        events,
        ..Span::default()
    };
    SpanBatch {
        resources: vec![ResourceSpans {
            resource: Resource {
                attributes: vec![Attribute::string("service.name", service)],
                ..Resource::default()
            },
            scopes: vec![ScopeSpans {
                spans: vec![span],
                ..ScopeSpans::default()
            }],
        }],
    }
}

fn all() -> ErrorFilter {
    ErrorFilter {
        range: TimeRange::new(at(0), at(100)),
        service: None,
        kind: None,
        text: None,
        fingerprint: None,
        failed_only: false,
    }
}

/// Type, count, first and last second, services and number of traces of each group.
fn told(store: &Store<Spans>, filter: &ErrorFilter) -> Vec<String> {
    let snapshot = store.snapshot(&Tenant::anonymous());
    let groups = error_groups(&snapshot, filter, &Budget::new(&Limits::default())).unwrap();
    let line = |g: &ErrorGroup| {
        let (first, last) = (g.first.millis() / 1000, g.last.millis() / 1000);
        let services: Vec<String> = g.services.iter().map(|(s, n)| format!("{s}={n}")).collect();
        let traces = g.newest.len();
        format!(
            "{} {} {first}-{last} {} {traces} {}",
            g.kind,
            g.count,
            services.join(","),
            g.message
        )
    };
    groups.iter().map(line).collect()
}

fn store(batches: &[SpanBatch]) -> Store<Spans> {
    let disk = Arc::new(SimDisk::new(1));
    let store = Store::open(disk, Options::default(), &|_| {}).unwrap();
    for batch in batches {
        let mut payload = Vec::new();
        obs_tracestore::encode(batch, &mut payload);
        let tenant = Tenant::anonymous();
        let record = Record {
            tenant: &tenant,
            payload: &payload,
        };
        store.append(&[record]).unwrap();
    }
    store
}

#[test]
fn groups_count_each_event_once() {
    let shop = batch(
        "shop",
        1,
        StatusCode::Error,
        vec![
            thrown(10, "Timeout", "after 30s"),
            thrown(12, "Timeout", "after 31s"),
            SpanEvent {
                name: "log".into(),
                ..SpanEvent::default()
            },
        ],
    );
    let store = store(&[
        shop.clone(),
        shop,
        batch(
            "cart",
            2,
            StatusCode::Error,
            vec![thrown(20, "Timeout", "after 5s")],
        ),
        batch(
            "cart",
            3,
            StatusCode::Unset,
            vec![thrown(15, "KeyError", "'k'")],
        ),
        batch(
            "late",
            4,
            StatusCode::Error,
            vec![thrown(101, "Timeout", "after 5s")],
        ),
    ]);
    let timeout = "Timeout 3 10-20 cart=1,shop=2 2 after 5s";
    let key = "KeyError 1 15-15 cart=1 1 'k'";
    assert_eq!(told(&store, &all()), [timeout, key]);
    let failed_only = ErrorFilter {
        failed_only: true,
        ..all()
    };
    assert_eq!(told(&store, &failed_only), [timeout]);
    let service = ErrorFilter {
        service: Some("shop".into()),
        ..all()
    };
    assert_eq!(
        told(&store, &service),
        ["Timeout 2 10-12 shop=2 1 after 31s"]
    );
    let kind = ErrorFilter {
        kind: Some("KeyError".into()),
        ..all()
    };
    assert_eq!(told(&store, &kind), [key]);
    let text = ErrorFilter {
        text: Some("AFTER".into()),
        ..all()
    };
    assert_eq!(told(&store, &text), [timeout]);
    let one = ErrorFilter {
        fingerprint: Some(fingerprint("KeyError", "'other'", "")),
        ..all()
    };
    assert_eq!(told(&store, &one), [key]);
}

#[test]
fn the_newest_of_each_trace_are_kept() {
    let mut newest = Vec::new();
    for (time, trace) in [
        (1, 1),
        (9, 2),
        (3, 3),
        (5, 1),
        (4, 1),
        (2, 4),
        (6, 5),
        (7, 6),
        (8, 7),
    ] {
        remember(
            &mut newest,
            Occurrence {
                time: at(time),
                trace: TraceId([trace; 16]),
                span: SpanId::default(),
            },
        );
    }
    let times: Vec<i64> = newest.iter().map(|n| n.time.millis() / 1000).collect();
    assert_eq!(times, [9, 8, 7, 6, 5]);
}
