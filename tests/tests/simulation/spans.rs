//! Rows as spans. A group is a trace; some traces reach over several windows, and two members have
//! the same span id and differ in their kind.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use obs_model::limits::Limits;
use obs_model::packed::Arriving;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, SpanEvent, SpanKind,
    SpanLink, StatusCode,
};
use obs_model::{Span, SpanBatch, SpanId, Tenant, TimeRange, Timestamp, TraceId};
use obs_storage::{Corrupt, Snapshot, Store};
use obs_tracestore::{SelectError, SpanFilter, Spans};

use super::signal::{Found, Row, SLOT, Signal, WINDOW, budget};

fn trace_id(at: i64) -> TraceId {
    let mut id = [0; 16];
    // The number of the group in front, so that ids are not in order of time; never zero.
    id[..8].copy_from_slice(&(at.rem_euclid(SLOT) + 1).to_be_bytes());
    id[8..].copy_from_slice(&at.to_be_bytes());
    TraceId(id)
}

fn at_of(id: TraceId) -> i64 {
    let at = id.0[8..].try_into().expect("eight bytes are left");
    let at = i64::from_be_bytes(at);
    assert_eq!(id, trace_id(at), "a trace that nobody wrote");
    at
}

fn span_id(member: u8) -> SpanId {
    // The last two members share their id.
    SpanId([1, 2, 3, 4, 5, 6, 7, member.min(6) + 1])
}

fn resource(row: Row) -> Resource {
    let service = format!("service-{}", row.member % 2);
    Resource {
        attributes: vec![Attribute::string("service.name", service)],
        dropped_attributes: u32::from(row.member % 2),
        schema_url: String::new(),
    }
}

fn scope(row: Row) -> Scope {
    Scope {
        name: format!("library-{}", row.member % 3),
        version: "1".to_owned(),
        ..Scope::default()
    }
}

fn span(row: Row) -> Span {
    let start = Spans::time(row);
    let attribute = |key: &str, value| Attribute {
        key: key.to_owned(),
        value,
    };
    let events = (row.member == 3).then(|| SpanEvent {
        time: start.saturating_add(5),
        name: "exception".to_owned(),
        attributes: vec![Attribute::string("exception.message", "it broke")],
        dropped_attributes: 1,
    });
    let links = (row.member == 4).then(|| SpanLink {
        trace_id: trace_id(row.at + 1),
        span_id: span_id(0),
        trace_state: "a=b".to_owned(),
        ..SpanLink::default()
    });
    let parent = (row.member > 0).then(|| span_id(row.member - 1));
    Span {
        trace_id: trace_id(row.at),
        span_id: span_id(row.member),
        parent_id: parent.unwrap_or_default(),
        name: format!("operation-{}", row.member % 4),
        kind: SpanKind::from_number(i32::from(row.member) - 2),
        start,
        // Some ends lie before their begin.
        end: start.saturating_add((row.tag() % 1000 - 10) * 1_000_000),
        attributes: vec![
            attribute("tag", AttributeValue::Int(row.tag())),
            attribute("ratio", AttributeValue::Double(row.tag() as f64 * 0.1)),
            attribute(
                "list",
                AttributeValue::Array(vec![AttributeValue::Bool(true)]),
            ),
        ],
        events: events.into_iter().collect(),
        links: links.into_iter().collect(),
        status: StatusCode::from_number(i32::from(row.member % 3)),
        ..Span::default()
    }
}

fn batch(rows: &[Row], bad: usize) -> SpanBatch {
    let mut resources: Vec<ResourceSpans> = Vec::new();
    let mut add = |row: Row, span: Span| {
        let scope = ScopeSpans {
            scope: scope(row),
            spans: vec![span],
        };
        let resource = resource(row);
        match resources
            .last_mut()
            .filter(|last| last.resource == resource)
        {
            Some(last) => last.scopes.push(scope),
            None => resources.push(ResourceSpans {
                resource,
                scopes: vec![scope],
            }),
        }
    };
    for row in rows {
        add(*row, span(*row));
    }
    for row in rows.iter().cycle().take(bad) {
        let nameless = Span {
            span_id: SpanId::default(),
            ..span(*row)
        };
        add(*row, nameless);
    }
    SpanBatch { resources }
}

impl Signal for Spans {
    const FIRST_WINS: bool = true;

    fn time(row: Row) -> Timestamp {
        let long = row.group() % 3 == 0;
        let step = if long { WINDOW / 4 } else { 1 };
        Timestamp::from_millis(row.at + i64::from(row.member) * step)
    }

    fn stream(_: Row) -> Option<u8> {
        None
    }

    fn encode(_: &Store<Self>, _: &Tenant, rows: &[Row], bad: usize, out: &mut Vec<u8>) -> u64 {
        let mut arriving = Arriving::from(batch(rows, bad));
        let refused = obs_tracestore::admit(&mut arriving, &Limits::default());
        let batch = arriving.into_batch();
        if batch.span_count() > 0 {
            obs_tracestore::encode(&batch, out);
        }
        refused.count
    }

    fn find(snapshot: &Snapshot<Self>, way: u64) -> Result<Found, Corrupt> {
        let filter = SpanFilter {
            range: TimeRange::ALL,
            conditions: Vec::new(),
        };
        let mut found = Found::default();
        let mut traces: Vec<(Timestamp, TraceId)> = Vec::new();
        let scanned = obs_tracestore::scan(snapshot, &filter, &budget(), &mut |id, batch| {
            let start = batch.iter().map(|(_, _, span)| span.start).min();
            let start = start.expect("a trace that is found has a span");
            traces.push((start, id));
            rows_of(id, &batch, &mut found.rows);
            Ok(ControlFlow::Continue(()))
        });
        scanned.map_err(damage)?;
        let ids: BTreeSet<TraceId> = traces.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), traces.len(), "a trace came twice");
        let newest_first = traces.is_sorted_by(|a, b| a.0 >= b.0);
        assert!(newest_first, "traces are not newest first");
        // Every third trace by its id too; over the seeds that is every kind of trace.
        let mut by_id = Vec::new();
        for id in ids.iter().skip((way % 3) as usize).step_by(3) {
            let batch = obs_tracestore::trace(snapshot, *id, &budget()).map_err(damage)?;
            rows_of(*id, &batch.expect("scan found the trace"), &mut by_id);
        }
        let by_id: BTreeSet<Row> = by_id.into_iter().collect();
        let wanted: BTreeSet<i64> = ids
            .iter()
            .skip((way % 3) as usize)
            .step_by(3)
            .map(|id| at_of(*id))
            .collect();
        let scanned: BTreeSet<Row> = found
            .rows
            .iter()
            .filter(|r| wanted.contains(&r.at))
            .copied()
            .collect();
        assert_eq!(by_id, scanned, "trace by id and scan differ");
        let nobody = obs_tracestore::trace(snapshot, TraceId([7; 16]), &budget());
        assert_eq!(nobody.map_err(damage)?, None, "a trace that nobody wrote");
        Ok(found)
    }
}

/// The rows of a trace, each compared whole.
fn rows_of(id: TraceId, batch: &SpanBatch, rows: &mut Vec<Row>) {
    for (of, by, found) in batch.iter() {
        let tag = obs_model::spans::attribute(&found.attributes, "tag");
        let Some(AttributeValue::Int(tag)) = tag else {
            panic!("a span of {id} without its tag");
        };
        let row = Row::of_tag(*tag, at_of(id));
        assert_eq!(*found, span(row), "span of {row:?}");
        assert_eq!(*of, resource(row), "resource of {row:?}");
        assert_eq!(*by, scope(row), "scope of {row:?}");
        rows.push(row);
    }
}

fn damage(error: SelectError) -> Corrupt {
    match error {
        SelectError::Budget(error) => panic!("no query comes near its budget: {error}"),
        SelectError::Corrupt(error) => error,
    }
}
