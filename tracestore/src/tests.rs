//! The store as a whole: any split over memories, parts and merges gives the same traces; every
//! field comes back; damaged bytes are refused; hints never lose a trace.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use obs_model::limits::Limits;
use obs_model::packed::{
    Arriving, Cut, PackedAttribute, PackedEvent, PackedLink, PackedResource, PackedScope,
    PackedSpan, PackedSpans, PackedValue,
};
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope as Library, ScopeSpans, SpanEvent,
    SpanKind, SpanLink, StatusCode,
};
use obs_model::{
    Budget, MatchOp, Matcher, Span, SpanBatch, SpanId, Tenant, TimeRange, Timestamp, TraceId,
};
use obs_storage::codec::bytes;
use obs_storage::{
    Blob, Force, Kind, Options, PartReader, PartWriter, Record, SimDisk, Snapshot, Store,
};
use proptest::prelude::*;

use crate::build::Builder;
use crate::filter::Hints;
use crate::kind::Spans;
use crate::memory::Memory;
use crate::{Condition, Scope, SpanFilter, admit, block, decode, encode, record, row, scan};
use crate::{tag_names, tag_values, trace};

/// Nanoseconds of one window in these tests.
const WINDOW: i64 = 1000;

fn budget() -> Budget {
    Budget::new(&Limits::default())
}

fn id(number: u8) -> TraceId {
    TraceId([number; 16])
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(at(start), at(end))
}

type Flat = (Resource, Library, Span);

/// What a batch says, in one order.
fn flat(batch: &SpanBatch) -> Vec<Flat> {
    let mut all: Vec<Flat> = batch
        .iter()
        .map(|(r, s, span)| (r.clone(), s.clone(), span.clone()))
        .collect();
    all.sort_by_key(|(_, _, s)| (s.start, s.span_id, s.kind));
    all
}

fn flush(memory: &Memory) -> Vec<(i64, PartReader)> {
    let Some(all) = Spans::range(memory) else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    let mut from = Some(all.start);
    while let Some(row) = from.and_then(|f| Spans::first_row(memory, f)) {
        let window = row.nanos().div_euclid(WINDOW);
        let span = range(window * WINDOW, window * WINDOW + WINDOW - 1);
        let mut out = PartWriter::in_memory(Spans::NAME, &Tenant::anonymous());
        Spans::flush(memory, span, &mut out).unwrap();
        let part = out.finish_in_memory();
        if part.rows() > 0 {
            parts.push((window, part));
        }
        from = Some(span.end + 1);
    }
    parts
}

/// Merges the parts of one window; the result stands where the oldest stood.
fn merge(parts: &mut Vec<(i64, PartReader)>, window: i64) {
    let chosen: Vec<_> = parts
        .iter()
        .filter(|(w, _)| *w == window)
        .map(|(_, p)| p)
        .collect();
    if chosen.is_empty() {
        return;
    }
    let opened: Vec<_> = chosen
        .iter()
        .map(|p| Spans::open((*p).clone()).unwrap())
        .collect();
    let mut out = PartWriter::in_memory(Spans::NAME, &Tenant::anonymous());
    let keep = range(window * WINDOW, window * WINDOW + WINDOW - 1);
    Spans::merge(&opened.iter().collect::<Vec<_>>(), keep, &mut out).unwrap();
    let place = parts.iter().position(|(w, _)| *w == window).unwrap();
    parts[place].1 = out.finish_in_memory();
    let mut index = 0;
    parts.retain(|(w, _)| {
        index += 1;
        *w != window || index == place + 1
    });
}

fn value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        Just(AttributeValue::Empty),
        "[a-c]{0,2}|é|\u{10ffff}".prop_map(AttributeValue::String),
        any::<bool>().prop_map(AttributeValue::Bool),
        prop_oneof![0..4i64, any::<i64>()].prop_map(AttributeValue::Int),
        prop_oneof![Just(-0.0), Just(f64::INFINITY), (0..4).prop_map(f64::from)]
            .prop_map(AttributeValue::Double),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(AttributeValue::Bytes),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(AttributeValue::Array),
            prop::collection::vec(("[k-l]", inner), 0..3).prop_map(|entries| {
                let entry = |(key, value)| Attribute { key, value };
                AttributeValue::Map(entries.into_iter().map(entry).collect())
            }),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    prop::collection::vec(("[a-c]|service\\.name", value()), 0..4).prop_map(|all| {
        all.into_iter()
            .map(|(key, value)| Attribute { key, value })
            .collect()
    })
}

fn resource() -> impl Strategy<Value = Resource> {
    (attributes(), 0..2u32, "x?").prop_map(|(attributes, dropped_attributes, schema_url)| {
        Resource {
            attributes,
            dropped_attributes,
            schema_url,
        }
    })
}

fn library() -> impl Strategy<Value = Library> {
    ("[ab]?", "1?", attributes(), 0..2u32, "x?").prop_map(
        |(name, version, attributes, d, schema)| Library {
            name,
            version,
            attributes,
            dropped_attributes: d,
            schema_url: schema,
        },
    )
}

fn event() -> impl Strategy<Value = SpanEvent> {
    (any::<i64>(), "[ab]?", attributes(), any::<u32>()).prop_map(|(time, name, attributes, d)| {
        SpanEvent {
            time: at(time),
            name,
            attributes,
            dropped_attributes: d,
        }
    })
}

fn link() -> impl Strategy<Value = SpanLink> {
    (
        any::<([u8; 16], [u8; 8])>(),
        "s?",
        attributes(),
        any::<(u32, u32)>(),
    )
        .prop_map(
            |(ids, trace_state, attributes, (dropped_attributes, flags))| SpanLink {
                trace_id: TraceId(ids.0),
                span_id: SpanId(ids.1),
                trace_state,
                attributes,
                dropped_attributes,
                flags,
            },
        )
}

/// Few ids, so that spans are retried, are their own parents and form cycles. The start follows
/// from the identity, as it does where a source retries; all else may differ.
fn span() -> impl Strategy<Value = Span> {
    let durations = prop_oneof![-9..300i64, -9..5000i64];
    let ids = (1..6u8, 1..5u8, 0..6u8, durations);
    let texts = ("s?", "[a-c]", "m?");
    let numbers = (0..6i32, 0..3i32, any::<u32>(), any::<(u32, u32, u32)>());
    let lists = (
        attributes(),
        prop::collection::vec(event(), 0..3),
        prop::collection::vec(link(), 0..2),
    );
    (ids, texts, numbers, lists).prop_map(|(ids, texts, numbers, lists)| {
        let (trace, span, parent, duration) = ids;
        let kind = numbers.0 % 2;
        let offset = i64::from(trace) * 337 + i64::from(span) * 101 + i64::from(kind) * 53;
        let start = i64::from(trace % 3 * span) * WINDOW + offset % WINDOW;
        Span {
            trace_id: id(trace),
            span_id: SpanId([span; 8]),
            parent_id: SpanId([parent; 8]),
            trace_state: texts.0,
            flags: numbers.2,
            name: texts.1,
            kind: SpanKind::from_number(kind),
            start: at(start),
            end: at(start + duration),
            attributes: lists.0,
            dropped_attributes: numbers.3.0,
            events: lists.1,
            dropped_events: numbers.3.1,
            links: lists.2,
            dropped_links: numbers.3.2,
            status: StatusCode::from_number(numbers.1),
            status_message: texts.2,
        }
    })
}

fn spans_batch() -> impl Strategy<Value = SpanBatch> {
    let scopes = (library(), prop::collection::vec(span(), 0..6))
        .prop_map(|(scope, spans)| ScopeSpans { scope, spans });
    let groups = (resource(), prop::collection::vec(scopes, 0..3))
        .prop_map(|(resource, scopes)| ResourceSpans { resource, scopes });
    prop::collection::vec(groups, 0..3).prop_map(|resources| SpanBatch { resources })
}

/// What happens after a batch.
#[derive(Clone, Copy, Debug)]
enum Step {
    Nothing,
    Seal,
    Flush,
    Merge(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Nothing),
        Just(Step::Seal),
        Just(Step::Flush),
        (0..9i64).prop_map(Step::Merge),
    ]
}

type Oracle = BTreeMap<TraceId, Vec<Flat>>;

/// Goes through the steps; gives the snapshot and what it must hold.
fn build(steps: &[(SpanBatch, Step)]) -> (Snapshot<Spans>, Oracle) {
    let mut oracle = Oracle::new();
    let (mut memories, mut parts) = (vec![Memory::default()], Vec::new());
    for (batch, step) in steps {
        let mut bytes = Vec::new();
        encode(batch, &mut bytes);
        Spans::apply(memories.last().unwrap(), 1, &bytes).unwrap();
        for (resource, scope, span) in batch.iter() {
            let rows = oracle.entry(span.trace_id).or_default();
            let same = |r: &Flat| (r.2.span_id, r.2.kind) == (span.span_id, span.kind);
            if !rows.iter().any(same) {
                rows.push((resource.clone(), scope.clone(), span.clone()));
            }
        }
        match step {
            Step::Nothing => {}
            Step::Seal => memories.push(Memory::default()),
            Step::Flush => {
                memories.drain(..).for_each(|m| parts.extend(flush(&m)));
                memories.push(Memory::default());
            }
            Step::Merge(window) => merge(&mut parts, *window),
        }
    }
    for rows in oracle.values_mut() {
        rows.sort_by_key(|(_, _, s)| (s.start, s.span_id, s.kind));
    }
    let parts = parts.into_iter().map(|(_, p)| p).collect();
    (Snapshot::from_parts(memories, parts).unwrap(), oracle)
}

fn scanned(snapshot: &Snapshot<Spans>, filter: &SpanFilter) -> Vec<(TraceId, Vec<Flat>)> {
    let mut found = Vec::new();
    scan(snapshot, filter, &budget(), &mut |id, batch| {
        found.push((id, flat(&batch)));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    found
}

fn overlaps(rows: &[Flat], range: TimeRange) -> bool {
    let one = |s: &Span| TimeRange::new(s.start, s.start.max(s.end)).overlaps(range);
    rows.iter().any(|(_, _, span)| one(span))
}

fn expected(oracle: &Oracle, range: TimeRange) -> Vec<(TraceId, Vec<Flat>)> {
    let chosen = oracle.iter().filter(|(_, rows)| overlaps(rows, range));
    let mut all: Vec<_> = chosen.map(|(id, rows)| (*id, rows.clone())).collect();
    all.sort_by_key(|(id, rows)| (std::cmp::Reverse(rows[0].2.start), *id));
    all
}

/// One condition for each thing that a span has.
fn conditions_of((resource, scope, span): &Flat) -> Vec<Condition> {
    let mut all = vec![
        Condition::Name(span.name.clone()),
        Condition::Status(span.status),
        Condition::Kind(span.kind),
        Condition::DurationAtLeast(span.duration_nanos()),
    ];
    let lists = [
        (Some(Scope::Resource), &resource.attributes),
        (Some(Scope::Instrumentation), &scope.attributes),
        (Some(Scope::Span), &span.attributes),
        (None, &span.attributes),
        (None, &resource.attributes),
    ];
    let names = span.events.iter().map(|e| e.name.clone());
    all.extend(names.map(Condition::EventName));
    let events = span
        .events
        .iter()
        .map(|e| (Some(Scope::Event), &e.attributes));
    let links = span
        .links
        .iter()
        .map(|l| (Some(Scope::Link), &l.attributes));
    for (scope, attributes) in lists.into_iter().chain(events).chain(links) {
        for Attribute { key, value } in attributes {
            let (key, value) = (key.clone(), value.clone());
            if let (Some(Scope::Resource), AttributeValue::String(name)) = (scope, &value)
                && key == "service.name"
            {
                all.push(Condition::Service(name.clone()));
            }
            all.push(Condition::Attribute { scope, key, value });
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_traces(
        steps in prop::collection::vec((spans_batch(), step()), 0..7),
        from in -100..9000i64,
        length in 0..3000i64,
    ) {
        let (snapshot, oracle) = build(&steps);
        for number in 0..7 {
            let found = trace(&snapshot, id(number), &budget()).unwrap();
            prop_assert_eq!(found.as_ref().map(flat), oracle.get(&id(number)).cloned());
        }
        for range in [TimeRange::ALL, range(from, from + length)] {
            let filter = SpanFilter { range, conditions: Vec::new() };
            prop_assert_eq!(scanned(&snapshot, &filter), expected(&oracle, range));
        }
    }

    #[test]
    fn confined_readers_see_some_spans(
        steps in prop::collection::vec((spans_batch(), step()), 0..7),
        name in prop::sample::select(&["a", "b", "service_name"][..]),
        op in prop::sample::select(&[MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex][..]),
        value in prop::sample::select(&["", "a", "b", "true", "0|1"][..]),
        from in -100..9000i64,
        length in 0..3000i64,
    ) {
        let (snapshot, mut oracle) = build(&steps);
        let matchers = [Matcher::new(name, op, value).unwrap()];
        for rows in oracle.values_mut() {
            rows.retain(|(resource, ..)| obs_model::resource::meets(&matchers, &resource.attributes));
        }
        oracle.retain(|_, rows| !rows.is_empty());
        let snapshot = snapshot.confined_to(Arc::new(matchers));
        for number in 0..7 {
            let found = trace(&snapshot, id(number), &budget()).unwrap();
            prop_assert_eq!(found.as_ref().map(flat), oracle.get(&id(number)).cloned());
        }
        for range in [TimeRange::ALL, range(from, from + length)] {
            let filter = SpanFilter { range, conditions: Vec::new() };
            prop_assert_eq!(scanned(&snapshot, &filter), expected(&oracle, range));
        }
        let all: BTreeMap<TraceId, usize> = oracle.iter().map(|(id, rows)| (*id, rows.len())).collect();
        let mut counted = BTreeMap::new();
        crate::scan_columns(&snapshot, TimeRange::ALL, &[], &budget(), &mut |columns| {
            for row in (0..columns.len()).filter(|row| columns.apart().is_none_or(|a| !a[*row])) {
                *counted.entry(columns.ids(row)?.0).or_insert(0) += 1;
            }
            Ok(ControlFlow::Continue(()))
        }).unwrap();
        prop_assert_eq!(&counted, &all);
        counted.clear();
        crate::scan_traces(&snapshot, TimeRange::ALL, &[], &budget(), &mut |columns, traces| {
            for own in traces {
                counted.insert(columns.ids(own.start)?.0, own.len());
            }
            Ok(ControlFlow::Continue(()))
        }).unwrap();
        prop_assert_eq!(&counted, &all);
        counted.clear();
        let filter = SpanFilter { range: TimeRange::ALL, conditions: Vec::new() };
        scan::scan_found(&snapshot, &filter, None, &budget(), &mut |id, found| {
            counted.insert(id, match found {
                scan::Found::Whole(batch) => batch.span_count(),
                scan::Found::Rows(_, rows) => rows.len(),
            });
            Ok(ControlFlow::Continue(()))
        }).unwrap();
        prop_assert_eq!(&counted, &all);
    }

    #[test]
    fn hints_never_lose_a_trace(
        steps in prop::collection::vec((spans_batch(), step()), 1..5),
        pick in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let (snapshot, oracle) = build(&steps);
        let all: Vec<(TraceId, Condition)> = oracle
            .iter()
            .flat_map(|(id, rows)| rows.iter().flat_map(conditions_of).map(|c| (*id, c)))
            .collect();
        prop_assume!(!all.is_empty());
        let (id, one) = pick.get(&all).clone();
        let of_trace: Vec<&Condition> = all.iter().filter(|(i, _)| *i == id).map(|(_, c)| c).collect();
        let conditions = vec![one, (*other.get(&of_trace)).clone()];
        let filter = SpanFilter { range: TimeRange::ALL, conditions };
        let found = scanned(&snapshot, &filter);
        prop_assert!(found.iter().any(|(i, rows)| *i == id && *rows == oracle[&id]));
        let mut ids: Vec<TraceId> = found.iter().map(|(i, _)| *i).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), found.len());
    }

    #[test]
    fn records_and_blocks_come_back(batch in spans_batch()) {
        let rows: Vec<Flat> = batch.iter().map(|(r, s, span)| (r.clone(), s.clone(), span.clone())).collect();
        let mut bytes = Vec::new();
        encode(&batch, &mut bytes);
        let back: Vec<Flat> = rows_of(&bytes).iter().map(own).collect();
        prop_assert_eq!(&back, &rows);
        // Rows that are copied from block to block, as in flush and merge, are the same too.
        let read = record::read(&bytes).unwrap();
        let mut builder = Builder::default();
        for block in &read {
            let mut map = crate::build::Map::default();
            (0..block.len()).rev().for_each(|row| builder.copy(block, row, &mut map));
        }
        let copied = builder.finish();
        let mut frame = Vec::new();
        encode::frame(&copied, &mut frame);
        let mut reader = obs_storage::codec::Reader::new("here", &frame);
        let copied = block::Block::read(&mut reader).unwrap();
        let back: Vec<Flat> = (0..copied.len()).rev().map(|row| own(&copied.row(row))).collect();
        prop_assert_eq!(back, rows);
        prop_assert_eq!(flat(&decode(&bytes).unwrap()).len(), batch.span_count());
    }

    #[test]
    fn damaged_bytes_are_safe(
        batch in spans_batch(),
        arbitrary: Vec<u8>,
        flips in prop::collection::vec(any::<(usize, u8)>(), 1..4),
        cut: usize,
    ) {
        let memory = Memory::default();
        prop_assert!(Spans::apply(&memory, 1, &arbitrary).is_err() || Spans::bytes(&memory).all == 0);
        // The content of the block without compression and checksum: flips reach every decoder.
        let mut packed = Vec::new();
        encode::frame(&block_of(&batch), &mut packed);
        let mut reader = obs_storage::codec::Reader::new("here", &packed);
        let mut content = bytes::decode(&mut reader, 1 << 24).unwrap();
        for (index, bits) in flips {
            let index = index % content.len();
            content[index] ^= bits;
        }
        let mut damaged = vec![2, 1];
        bytes::encode_raw(&content, &mut damaged);
        if let Ok(blocks) = record::read(&damaged) {
            // What can be read can be put together, held and flushed.
            let rows: Vec<row::Row> = blocks.iter().flat_map(rows_of_block).collect();
            prop_assert!(rows.len() <= block::ROWS_MAX);
            memory.push(blocks);
            prop_assert!(Spans::bytes(&memory).all > 0 || rows.is_empty());
            flush_all(&memory);
        }
        content.truncate(cut % content.len());
        let mut short = vec![2, 1];
        bytes::encode_raw(&content, &mut short);
        prop_assert!(record::read(&short).is_err());
    }
}

fn rows_of_block(block: &block::Block) -> Vec<row::Row> {
    (0..block.len()).map(|row| block.row(row)).collect()
}

fn rows_of(record: &[u8]) -> Vec<row::Row> {
    let blocks = record::read(record).unwrap();
    blocks.iter().flat_map(rows_of_block).collect()
}

/// A small batch as one block.
fn block_of(batch: &SpanBatch) -> block::Block {
    let mut builder = Builder::default();
    for (resource, scope, span) in batch.iter() {
        builder.push(&Arc::new(resource.clone()), &Arc::new(scope.clone()), span);
    }
    builder.finish()
}

fn flush_all(memory: &Memory) -> PartReader {
    let mut out = PartWriter::in_memory(Spans::NAME, &Tenant::anonymous());
    Spans::flush(memory, TimeRange::ALL, &mut out).unwrap();
    out.finish_in_memory()
}

fn own(row: &row::Row) -> Flat {
    (
        (*row.resource).clone(),
        (*row.scope).clone(),
        (*row.span).clone(),
    )
}

fn one(spans: Vec<Span>) -> SpanBatch {
    let resource = Resource {
        attributes: vec![Attribute::string("service.name", "shop")],
        ..Resource::default()
    };
    let scopes = vec![ScopeSpans {
        scope: Library::default(),
        spans,
    }];
    SpanBatch {
        resources: vec![ResourceSpans { resource, scopes }],
    }
}

fn simple(trace: u8, span: u64, start: i64) -> Span {
    Span {
        trace_id: id(trace),
        span_id: SpanId(span.to_be_bytes()),
        name: format!("call {}", span % 3),
        start: at(start),
        end: at(start + 10),
        ..Span::default()
    }
}

#[test]
fn a_trace_of_many_spans_crosses_blocks() {
    let spans: Vec<Span> = (1..=20_000).map(|n| simple(1, n, n as i64 % 900)).collect();
    let batch = one(spans);
    let steps = [
        (batch.clone(), Step::Flush),
        (one(vec![simple(2, 1, 5), simple(1, 7, 7)]), Step::Flush),
        (batch.clone(), Step::Merge(0)),
    ];
    let (snapshot, oracle) = build(&steps);
    assert_eq!(snapshot.parts.len(), 1);
    let found = trace(&snapshot, id(1), &budget()).unwrap().unwrap();
    assert_eq!(found.span_count(), 20_000);
    assert_eq!(flat(&found), oracle[&id(1)]);
    let bytes = snapshot.parts[0].reader.bytes();
    assert!(
        bytes < 20_000 * 20,
        "{bytes} bytes for 20000 spans, 8 of each are random"
    );
}

#[test]
fn blocks_that_stand_alone_are_copied() {
    // 600 traces of ten spans in each batch; the first trace of the second batch is late for the
    // first one too, and one span of it arrives again.
    let spans = |from: u16| -> Vec<Span> {
        let mut spans = Vec::new();
        for trace in from..from + 600 {
            for number in 1..=10 {
                let mut span = simple(0, number, i64::from(trace % 600));
                span.trace_id.0[..2].copy_from_slice(&(trace + 1).to_be_bytes());
                span.attributes = vec![Attribute::string("request", format!("{trace}-{number}"))];
                spans.push(span);
            }
        }
        spans
    };
    let late = spans(600)[..12].to_vec();
    let steps = [
        (one(spans(0)), Step::Flush),
        (one(spans(600)), Step::Flush),
        (one(late), Step::Flush),
    ];
    let (before, _) = build(&steps);
    let mut merged = steps.to_vec();
    merged.push((SpanBatch::default(), Step::Merge(0)));
    let (after, oracle) = build(&merged);
    assert_eq!((before.parts.len(), after.parts.len()), (3, 1));
    let blocks = |snapshot: &Snapshot<Spans>, part: usize| -> Vec<Vec<u8>> {
        let reader = &snapshot.parts[part].reader;
        let names = reader.sections().map(|(name, _)| name.to_owned());
        let names = names.filter(|name| name.starts_with("block."));
        names
            .map(|n| reader.section(&n).unwrap().to_vec())
            .collect()
    };
    // Each batch has a full block and a small one.
    let copied = blocks(&after, 0);
    assert_eq!(copied.len(), 3);
    assert!(copied.contains(&blocks(&before, 0)[0]));
    let filter = SpanFilter {
        range: TimeRange::ALL,
        conditions: Vec::new(),
    };
    let found = scanned(&after, &filter);
    assert_eq!(found.len(), 1200);
    for (id, rows) in &found {
        assert_eq!(rows, &oracle[id]);
    }
    let wanted = Condition::Attribute {
        scope: Some(Scope::Span),
        key: "request".to_owned(),
        value: AttributeValue::String("7-3".to_owned()),
    };
    let filter = SpanFilter {
        conditions: vec![wanted],
        ..filter
    };
    assert_eq!(scanned(&after, &filter).len(), 1);
    let values = tag_values(
        &after,
        Some(Scope::Span),
        "request",
        TimeRange::ALL,
        &budget(),
    );
    // As many as fit into the catalog.
    assert!(values.unwrap().len() > 500);
}

#[test]
fn hostile_spans_come_back_as_they_are() {
    let cycle = |span: u64, parent: u64| Span {
        parent_id: SpanId(parent.to_be_bytes()),
        ..simple(1, span, 3)
    };
    let odd = Span {
        start: Timestamp::MAX,
        end: Timestamp::MIN,
        attributes: vec![
            Attribute {
                key: String::new(),
                value: AttributeValue::Double(f64::NAN),
            },
            Attribute::string("same", "a"),
            Attribute::string("same", "b"),
        ],
        ..simple(2, 1, 0)
    };
    let early = Span {
        start: Timestamp::MIN,
        end: Timestamp::MAX,
        ..simple(3, 1, 0)
    };
    let batch = one(vec![cycle(1, 2), cycle(2, 1), cycle(3, 3), odd, early]);
    let memory = Memory::default();
    let mut bytes = Vec::new();
    encode(&batch, &mut bytes);
    Spans::apply(&memory, 1, &bytes).unwrap();
    let mut out = PartWriter::in_memory(Spans::NAME, &Tenant::anonymous());
    Spans::flush(&memory, TimeRange::ALL, &mut out).unwrap();
    let part = out.finish_in_memory();
    let snapshot = Snapshot::<Spans>::from_parts(vec![memory], vec![part]).unwrap();
    // NaN is not equal to itself, its text is.
    let text = |batch: &SpanBatch| format!("{:?}", flat(batch));
    for number in 1..4 {
        let mut expect = batch.clone();
        expect.resources[0].scopes[0]
            .spans
            .retain(|s| s.trace_id == id(number));
        let found = trace(&snapshot, id(number), &budget()).unwrap().unwrap();
        assert_eq!(text(&found), text(&expect));
    }
    let filter = SpanFilter {
        range: range(0, 10),
        conditions: Vec::new(),
    };
    let ids: Vec<TraceId> = scanned(&snapshot, &filter)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, [id(1), id(3)]);
}

#[test]
fn the_engine_flushes_merges_and_replays() {
    let disk = SimDisk::new(7);
    let open = || {
        let disk = Arc::new(disk.clone());
        Store::<Spans>::open(disk, Options::default(), &|_| {}).unwrap()
    };
    let tenant = Tenant::anonymous();
    let mut oracle: Vec<Flat> = Vec::new();
    let day = 86_400_000_000_000;
    for round in 1..=4u64 {
        let store = open();
        let again = oracle.first().map(|(_, _, span)| span.clone());
        // A span of the first round is retried in every other one; one is late by a day.
        let mut spans = vec![
            simple(1, round, 50 * round as i64),
            simple(1, 10 + round, day),
        ];
        spans.extend(again);
        let batch = one(spans);
        let mut payload = Vec::new();
        encode(&batch, &mut payload);
        let record = Record {
            tenant: &tenant,
            payload: &payload,
        };
        store.append(&[record]).unwrap();
        oracle.extend(flat(&batch));
        oracle.sort_by_key(|(_, _, s)| (s.start, s.span_id));
        oracle.dedup();
        let force = if round % 2 == 0 {
            Force::Flush
        } else {
            Force::Merge
        };
        while let Some(job) = store.forced(force) {
            store.run(job).unwrap();
        }
        drop(store);
        if round == 3 {
            disk.crash();
        }
        let snapshot = open().snapshot(&tenant);
        let found = trace(&snapshot, id(1), &budget()).unwrap().unwrap();
        assert_eq!(flat(&found), oracle);
    }
    let store = open();
    while let Some(job) = store.forced(Force::Merge) {
        store.run(job).unwrap();
    }
    let snapshot = store.snapshot(&tenant);
    assert_eq!(
        (snapshot.memories.len(), snapshot.parts.len()),
        (0, 2),
        "one part a day"
    );
    assert_eq!(
        flat(&trace(&snapshot, id(1), &budget()).unwrap().unwrap()),
        oracle
    );
}

#[test]
fn damaged_parts_are_refused() {
    let (snapshot, _) = build(&[(one(vec![simple(1, 1, 1), simple(2, 2, 2)]), Step::Flush)]);
    let part = &snapshot.parts[0].reader;
    for (name, _) in part.sections() {
        let mut out = PartWriter::in_memory(Spans::NAME, &Tenant::anonymous());
        for (other, _) in part.sections() {
            let bytes = part.section(other).unwrap();
            let keep = if other == name {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            out.section(other, &bytes[..keep]);
        }
        out.rows(part.rows(), part.range());
        let damaged = Snapshot::<Spans>::from_parts(Vec::new(), vec![out.finish_in_memory()]);
        let filter = SpanFilter {
            range: TimeRange::ALL,
            conditions: Vec::new(),
        };
        let failed = damaged.map(|s| {
            let found = trace(&s, id(1), &budget());
            let tags = tag_names(&s, TimeRange::ALL, &budget());
            let scanned = scan(&s, &filter, &budget(), &mut |_, _| {
                Ok(ControlFlow::Continue(()))
            });
            found.is_err() || tags.is_err() || scanned.is_err()
        });
        // Half a filter of ids is one that says no, or one that says yes too often.
        assert!(failed.unwrap_or(true) || name == "ids.filter", "{name}");
    }
    assert!(PartReader::open("x", Blob::heap(vec![0; 100])).is_err());
}

/// One span with something in every field.
fn full() -> SpanBatch {
    let attribute = |key: &str, value| Attribute {
        key: key.to_owned(),
        value,
    };
    let attributes = vec![
        attribute("none", AttributeValue::Empty),
        attribute("text", AttributeValue::String("é".to_owned())),
        attribute("truth", AttributeValue::Bool(true)),
        attribute("number", AttributeValue::Int(-5)),
        attribute("float", AttributeValue::Double(0.25)),
        attribute("bytes", AttributeValue::Bytes(vec![0, 255])),
        attribute("list", AttributeValue::Array(vec![AttributeValue::Int(1)])),
        attribute(
            "map",
            AttributeValue::Map(vec![Attribute::string("k", "v")]),
        ),
    ];
    let event = SpanEvent {
        time: at(7),
        name: "exception".to_owned(),
        attributes: attributes.clone(),
        dropped_attributes: 1,
    };
    let link = SpanLink {
        trace_id: id(9),
        span_id: SpanId([8; 8]),
        trace_state: "l=1".to_owned(),
        attributes: attributes.clone(),
        dropped_attributes: 2,
        flags: 3,
    };
    let span = Span {
        parent_id: SpanId([7; 8]),
        trace_state: "s=1".to_owned(),
        flags: 4,
        kind: SpanKind::Consumer,
        attributes: attributes.clone(),
        dropped_attributes: 5,
        events: vec![event],
        dropped_events: 6,
        links: vec![link],
        dropped_links: 7,
        status: StatusCode::Error,
        status_message: "why".to_owned(),
        ..simple(1, 1, 5)
    };
    let child = Span {
        parent_id: span.span_id,
        ..simple(1, 2, 6)
    };
    let mut batch = one(vec![span, child]);
    let group = &mut batch.resources[0];
    group.resource.attributes.extend(attributes.clone());
    group.resource.dropped_attributes = 8;
    group.resource.schema_url = "r".to_owned();
    group.scopes[0].scope = Library {
        name: "lib".to_owned(),
        version: "1".to_owned(),
        attributes,
        dropped_attributes: 9,
        schema_url: "s".to_owned(),
    };
    batch
}

#[test]
fn the_format_of_blocks_is_fixed() {
    let batch = full();
    let mut packed = Vec::new();
    encode::frame(&block_of(&batch), &mut packed);
    let mut reader = obs_storage::codec::Reader::new("here", &packed);
    let content = bytes::decode(&mut reader, 1 << 20).unwrap();
    // Not the compressed bytes: those may change with the version of zstd.
    let found = (content.len(), xxhash_rust::xxh3::xxh3_64(&content));
    assert_eq!(
        found,
        (828, 8_395_387_247_926_964_255),
        "a changed format needs a new version"
    );
    let mut record = Vec::new();
    encode(&batch, &mut record);
    assert_eq!(decode(&record).unwrap(), batch);
    assert_eq!(record[0], 2);
}

#[test]
fn hints_prune_blocks() {
    let (snapshot, _) = build(&[(
        one((0..100).map(|n| simple(1, n + 1, 5)).collect()),
        Step::Flush,
    )]);
    let masks = |condition: Condition| {
        let conditions = [condition];
        snapshot.parts[0]
            .part
            .masks(&Hints::new(&conditions))
            .unwrap()
    };
    let service = |name: &str| masks(Condition::Service(name.to_owned()));
    assert_eq!(service("shop"), [1]);
    assert_eq!(service("other"), [0]);
    assert_eq!(masks(Condition::DurationAtLeast(10)), [1]);
    assert_eq!(masks(Condition::DurationAtLeast(11)), [0]);
    assert_eq!(masks(Condition::Status(StatusCode::Error)), [0]);
}

#[test]
fn tags_of_memories_and_parts() {
    let mut span = simple(1, 1, 5);
    span.attributes = vec![
        Attribute {
            key: "n".to_owned(),
            value: AttributeValue::Int(2),
        },
        Attribute {
            key: "deep".to_owned(),
            value: AttributeValue::Array(Vec::new()),
        },
    ];
    let mut late = simple(1, 2, 2005);
    late.attributes = vec![Attribute {
        key: "n".to_owned(),
        value: AttributeValue::Int(1),
    }];
    late.parent_id = SpanId([9; 8]);
    let (snapshot, _) = build(&[
        (one(vec![span]), Step::Flush),
        (one(vec![late]), Step::Nothing),
    ]);
    let names = |range| tag_names(&snapshot, range, &budget()).unwrap();
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        names(TimeRange::ALL),
        [
            ("resource", owned(&["service.name"])),
            ("span", owned(&["deep", "n"]))
        ]
    );
    assert_eq!(names(range(1000, 1999)), []);
    let values =
        |scope, name| tag_values(&snapshot, scope, name, TimeRange::ALL, &budget()).unwrap();
    let texts = |all: &[&str]| {
        all.iter()
            .map(|t| AttributeValue::String((*t).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        values(None, "n"),
        [AttributeValue::Int(1), AttributeValue::Int(2)]
    );
    assert_eq!(values(Some(Scope::Resource), "n"), []);
    assert_eq!(values(None, "service.name"), texts(&["shop"]));
    assert_eq!(values(None, "name"), texts(&["call 1", "call 2"]));
    assert_eq!(values(None, "rootName"), texts(&["call 1"]));
    assert_eq!(values(None, "rootServiceName"), texts(&["shop"]));
    assert_eq!(values(None, "status"), texts(&["unset"]));
}

#[test]
fn the_budget_bounds_what_is_held_at_a_time() {
    let long = |n: u16| {
        let mut span = simple(1, 1, i64::from(n));
        span.trace_id.0[..2].copy_from_slice(&n.to_be_bytes());
        let mut state = u64::from(n);
        let noise = (0..3000).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'a' + (state >> 60) as u8)
        });
        span.attributes = vec![Attribute::string("noise", noise.collect::<String>())];
        span
    };
    let spans: Vec<Span> = (0..400).map(long).collect();
    for step in [Step::Flush, Step::Nothing] {
        let (snapshot, _) = build(&[(one(Vec::clone(&spans)), step)]);
        let filter = SpanFilter {
            range: TimeRange::ALL,
            conditions: Vec::new(),
        };
        let run = |budget: &Budget| {
            let mut count = 0;
            scan(&snapshot, &filter, budget, &mut |_, _| {
                count += 1;
                Ok(ControlFlow::Continue(()))
            })
            .map(|()| count)
        };
        let all = budget();
        assert_eq!(run(&all), Ok(400));
        assert_eq!(all.bytes_held(), 0);
        let half = Budget::new(&Limits {
            query_bytes_max: all.spent().1 * 3 / 4,
            ..Limits::default()
        });
        assert_eq!(run(&half), Ok(400));
        let days: Vec<i64> = snapshot.memory_days().into_iter().collect();
        let in_memory = matches!(step, Step::Nothing);
        assert_eq!(days, vec![0; usize::from(in_memory)]);
    }
}

#[test]
fn scans_stop_and_keep_to_the_budget() {
    let spans = (1..=9).map(|n| simple(n, 1, i64::from(n))).collect();
    let (snapshot, _) = build(&[(one(spans), Step::Flush)]);
    let filter = SpanFilter {
        range: TimeRange::ALL,
        conditions: Vec::new(),
    };
    let mut seen = Vec::new();
    scan(&snapshot, &filter, &budget(), &mut |id, _| {
        seen.push(id);
        Ok(if seen.len() == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })
    .unwrap();
    assert_eq!(seen, [id(9), id(8)]);
    let small = Budget::new(&Limits {
        query_series_max: 8,
        ..Limits::default()
    });
    let refused = scan(&snapshot, &filter, &small, &mut |_, _| {
        Ok(ControlFlow::Continue(()))
    });
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("query_series_max")
    );
}

/// The same request as a decoder would give it.
fn pack(batch: &SpanBatch) -> PackedSpans {
    let mut out = PackedSpans::default();
    for group in &batch.resources {
        let mut scopes = Vec::new();
        for inner in &group.scopes {
            let spans = inner.spans.iter().map(|s| pack_span(&mut out, s));
            scopes.push(PackedScope {
                scope: Arc::new(inner.scope.clone()),
                spans: spans.collect(),
            });
        }
        out.resources.push(PackedResource {
            resource: Arc::new(group.resource.clone()),
            scopes,
        });
    }
    out
}

fn pack_list(out: &mut PackedSpans, list: &[Attribute]) -> Cut {
    let mut packed: Vec<PackedAttribute> = Vec::new();
    for attribute in list {
        let key = out.key(packed.last().map(|a| a.key), &attribute.key);
        let value = match &attribute.value {
            AttributeValue::Empty => PackedValue::Empty,
            AttributeValue::String(text) => PackedValue::Text(out.add_text(text)),
            AttributeValue::Bool(truth) => PackedValue::Bool(*truth),
            AttributeValue::Int(number) => PackedValue::Int(*number),
            AttributeValue::Double(number) => PackedValue::Double(*number),
            nested => out.add_nested(nested.clone()),
        };
        packed.push(PackedAttribute { key, value });
    }
    out.add_attributes(&packed)
}

fn pack_span(out: &mut PackedSpans, span: &Span) -> PackedSpan {
    let before = out.mark();
    let mut events = Vec::new();
    for event in &span.events {
        events.push(PackedEvent {
            time: event.time,
            name: out.add_text(&event.name),
            attributes: pack_list(out, &event.attributes),
            dropped_attributes: event.dropped_attributes,
        });
    }
    let mut links = Vec::new();
    for link in &span.links {
        links.push(PackedLink {
            trace_id: link.trace_id,
            span_id: link.span_id,
            trace_state: out.add_text(&link.trace_state),
            attributes: pack_list(out, &link.attributes),
            dropped_attributes: link.dropped_attributes,
            flags: link.flags,
        });
    }
    let mut packed = PackedSpan {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_id: span.parent_id,
        trace_state: out.add_text(&span.trace_state),
        flags: span.flags,
        name: out.add_text(&span.name),
        kind: span.kind,
        start: span.start,
        end: span.end,
        attributes: pack_list(out, &span.attributes),
        dropped_attributes: span.dropped_attributes,
        events: out.add_events(&events),
        dropped_events: span.dropped_events,
        links: out.add_links(&links),
        dropped_links: span.dropped_links,
        status: span.status,
        status_message: out.add_text(&span.status_message),
        texts: Cut::default(),
    };
    packed.texts = out.texts_since(before);
    packed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A packed request becomes the very bytes that its spans put together become.
    #[test]
    fn packed_requests_are_the_same_blocks(batch in spans_batch()) {
        let packed = pack(&batch);
        prop_assert_eq!(&packed.to_batch(), &batch);
        let records = [Arriving::from(packed), Arriving::Whole(batch)].map(|batch| {
            let mut record = Vec::new();
            record::put(&record::SpanDraft::new(&batch).into_blocks(), &mut record);
            record
        });
        prop_assert_eq!(&records[0], &records[1]);
    }
}

#[test]
fn admission_drops_with_a_reason() {
    let check = |change: fn(&mut Span), expect: &str| {
        let mut bad = simple(1, 1, 1);
        change(&mut bad);
        let batch = one(vec![bad, simple(1, 2, 1)]);
        let limits = Limits {
            attributes_max: 2,
            ..Limits::default()
        };
        for mut batch in [pack(&batch).into(), Arriving::Whole(batch)] {
            let refused = admit(&mut batch, &limits);
            assert_eq!(batch.span_count() as u64 + refused.count, 2);
            assert_eq!(refused.count, u64::from(!expect.is_empty()));
            assert!(refused.reason.contains(expect), "{}", refused.reason);
        }
    };
    check(|_| {}, "");
    check(|s| s.trace_id = TraceId::default(), "the trace id is zero");
    check(|s| s.span_id = SpanId::default(), "the span id is zero");
    check(
        |s| s.attributes = vec![Attribute::string("a", "b"); 3],
        "attributes_max = 2",
    );
    check(|s| s.name = "x".repeat(17 << 20), "bytes");
    check(
        |s| {
            let mut value = AttributeValue::Empty;
            for _ in 0..200 {
                value = AttributeValue::Array(vec![value]);
            }
            s.attributes = vec![Attribute {
                key: "deep".to_owned(),
                value,
            }];
        },
        "nested deeper",
    );
}

#[test]
fn long_texts_of_resources_and_scopes_count() {
    let check = |change: fn(&mut SpanBatch), kept: usize| {
        let mut batch = one(vec![simple(1, 1, 1)]);
        change(&mut batch);
        for mut batch in [pack(&batch).into(), Arriving::Whole(batch)] {
            let refused = admit(&mut batch, &Limits::default());
            assert_eq!((batch.span_count(), refused.count), (kept, 1 - kept as u64));
        }
    };
    let long = || "x".repeat(17 << 20);
    check(|_| {}, 1);
    check(
        |b| b.resources[0].resource.schema_url = "x".repeat(17 << 20),
        0,
    );
    check(
        |b| b.resources[0].scopes[0].scope.name = "x".repeat(17 << 20),
        0,
    );
    check(
        |b| b.resources[0].scopes[0].scope.version = "x".repeat(17 << 20),
        0,
    );
    // They fill a block, so that a block can always be read back.
    let mut builder = Builder::default();
    let scope = Arc::new(Library::default());
    builder.push(&Arc::default(), &scope, &simple(1, 1, 1));
    assert!(!builder.is_full());
    let large = Resource {
        schema_url: long(),
        ..Resource::default()
    };
    builder.push(&Arc::new(large), &scope, &simple(1, 2, 1));
    assert!(builder.is_full());
}

#[test]
fn values_for_menus_are_bounded() {
    let span = |n: u64| {
        let mut span = simple(1, n + 1, 1);
        let value = |key: u64| Attribute::string(format!("key {key}"), format!("{n:0200}"));
        span.attributes = (0..20).map(value).collect();
        span
    };
    let batch = one((0..200).map(span).collect());
    for step in [Step::Nothing, Step::Flush] {
        let (snapshot, _) = build(&[(batch.clone(), step)]);
        let names = tag_names(&snapshot, TimeRange::ALL, &budget()).unwrap();
        let span_names = names.iter().find(|(scope, _)| *scope == "span");
        assert_eq!(span_names.map(|(_, names)| names.len()), Some(20));
        let values = |key: u64| {
            let name = format!("key {key}");
            let scope = Some(Scope::Span);
            tag_values(&snapshot, scope, &name, TimeRange::ALL, &budget()).unwrap()
        };
        let total: usize = (0..20).map(|key| values(key).len()).sum();
        assert!((100..400).contains(&total), "{total}");
    }
}
