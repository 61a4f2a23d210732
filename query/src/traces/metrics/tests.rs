//! Tables: series of queries over a small store; and that columns say what whole traces say.

use obs_model::answer::SpanSeries;
use obs_model::limits::Limits;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, SpanEvent, SpanKind,
    SpanLink, StatusCode,
};
use obs_model::{Budget, Span, SpanBatch, SpanId, Tenant, TimeRange, Timestamp, TraceId};
use obs_storage::{Kind, PartWriter};
use obs_tracestore::{Snapshot, SpanFilter, Spans};
use proptest::prelude::*;

use super::super::conditions::hints;
use super::super::view::TraceView;
use super::super::{plan, spansets};
use super::{SpanMetricsPlan, columns, run};
use crate::request::{Plan, Request, When};
use crate::traceql::ast::Root;
use crate::traceql::metric::{Metric, MetricExpr};
use crate::traceql::parse;

fn int(key: &str, value: i64) -> Attribute {
    Attribute {
        key: key.to_owned(),
        value: AttributeValue::Int(value),
    }
}

/// A span of trace `trace` that starts at a second and takes milliseconds.
fn span(trace: u8, id: u8, parent: u8, second: f64, ms: i64) -> Span {
    let start = Timestamp::from_millis((second * 1000.0) as i64);
    Span {
        trace_id: TraceId([trace; 16]),
        span_id: SpanId([0, 0, 0, 0, 0, 0, trace, id]),
        parent_id: if parent == 0 {
            SpanId::default()
        } else {
            SpanId([0, 0, 0, 0, 0, 0, trace, parent])
        },
        name: if id == 1 { "root" } else { "call" }.to_owned(),
        kind: if id == 1 {
            SpanKind::Server
        } else {
            SpanKind::Client
        },
        start,
        end: start + ms * 1_000_000,
        ..Span::default()
    }
}

fn batch(service: &str, spans: Vec<Span>) -> SpanBatch {
    SpanBatch {
        resources: vec![ResourceSpans {
            resource: Resource {
                attributes: vec![Attribute::string("service.name", service), int("shard", 7)],
                ..Resource::default()
            },
            scopes: vec![ScopeSpans {
                scope: Scope::default(),
                spans,
            }],
        }],
    }
}

/// ```text
/// trace 1: root shop at 5 s, 100 ms;    call db at 6 s, 20 ms, error, size 10
/// trace 2: root shop at 12 s, 1600 ms;  call db at 13 s, 800 ms, size 3;  call db at 14 s, 30 ms
/// ```
fn batches() -> Vec<SpanBatch> {
    let mut failed = span(1, 2, 1, 6.0, 20);
    failed.status = StatusCode::Error;
    failed.attributes = vec![int("size", 10), Attribute::string("shard", "own")];
    let mut sized = span(2, 2, 1, 13.0, 800);
    sized.attributes = vec![int("size", 3)];
    vec![
        batch(
            "shop",
            vec![span(1, 1, 0, 5.0, 100), span(2, 1, 0, 12.0, 1600)],
        ),
        batch("db", vec![failed, sized, span(2, 3, 1, 14.0, 30)]),
    ]
}

fn memory(batches: &[SpanBatch]) -> <Spans as Kind>::Memory {
    let memory = <Spans as Kind>::Memory::default();
    for batch in batches {
        let mut bytes = Vec::new();
        obs_tracestore::encode(batch, &mut bytes);
        Spans::apply(&memory, 1, &bytes).unwrap();
    }
    memory
}

fn part(batches: &[SpanBatch]) -> obs_storage::PartReader {
    let mut out = PartWriter::in_memory(Spans::NAME, &Tenant::anonymous());
    Spans::flush(&memory(batches), TimeRange::ALL, &mut out).unwrap();
    out.finish_in_memory()
}

/// In memory, in a part, and twice: in two parts and in memory.
fn stores(batches: &[SpanBatch]) -> Vec<Snapshot<Spans>> {
    vec![
        Snapshot::from_parts(vec![memory(batches)], Vec::new()).unwrap(),
        Snapshot::from_parts(Vec::new(), vec![part(batches)]).unwrap(),
        Snapshot::from_parts(
            vec![memory(&batches[..1])],
            vec![part(batches), part(&batches[batches.len() - 1..])],
        )
        .unwrap(),
    ]
}

fn planned(query: &str, when: (i64, i64, i64), whole: bool) -> SpanMetricsPlan {
    let limits = Limits::default();
    let mut request = Request::new(When::Range {
        start: Timestamp::from_seconds(when.0),
        end: Timestamp::from_seconds(when.1),
        step: when.2 * 1_000_000_000,
    });
    request.whole_range = whole;
    let query = parse(query, &limits).unwrap();
    match plan(&query, &request, &limits).unwrap() {
        Plan::SpanMetrics(plan) => plan,
        other => panic!("{other}"),
    }
}

fn show(all: &[SpanSeries]) -> String {
    let value = |value: &AttributeValue| match value {
        AttributeValue::String(text) => text.clone(),
        AttributeValue::Int(n) => format!("int {n}"),
        AttributeValue::Double(n) => format!("{n}"),
        other => format!("{other:?}"),
    };
    let lines = all.iter().map(|series| {
        let labels: Vec<String> = series
            .labels
            .iter()
            .map(|l| format!("{}={}", l.key, value(&l.value)))
            .collect();
        let samples: Vec<String> = series
            .samples
            .iter()
            .map(|(time, v)| {
                format!(
                    "{}:{}",
                    time.nanos() / 1_000_000_000,
                    (v * 1e4).round() / 1e4
                )
            })
            .collect();
        format!("{} {}", labels.join(","), samples.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Series from 0 s to 20 s every 10 s.
fn check(query: &str, expect: &[&str]) {
    let plan = planned(query, (0, 20, 10), false);
    for (number, store) in stores(&batches()).iter().enumerate() {
        let budget = Budget::new(&Limits::default());
        let found = run(store, &plan, &budget).unwrap();
        assert_eq!(show(&found), expect.join("\n"), "{query} in store {number}");
    }
}

#[test]
fn functions() {
    check("{ } | rate()", &["__name__=rate 0:0 10:0.2 20:0.3"]);
    check(
        "{ } | count_over_time() by (resource.service.name)",
        &[
            "resource.service.name=db 0:0 10:1 20:2",
            "resource.service.name=shop 0:0 10:1 20:1",
        ],
    );
    check(
        "{ } | min_over_time(duration)",
        &["__name__=min_over_time 10:0.02 20:0.03"],
    );
    check(
        "{ } | max_over_time(duration) by (kind)",
        &["kind=client 10:0.02 20:0.8", "kind=server 10:0.1 20:1.6"],
    );
    check(
        "{ } | avg_over_time(span.size)",
        &["__name__=avg_over_time 10:10 20:3"],
    );
    check(
        "{ } | sum_over_time(span.size) by (name)",
        &["name=call 10:10 20:3"],
    );
    check(
        "{ } | histogram_over_time(span.size)",
        &["__bucket=4 0:0 10:0 20:1", "__bucket=16 0:0 10:1 20:0"],
    );
    check(
        "{ kind = server } | quantile_over_time(duration, 1, 0.5)",
        &[
            "p=0.5 0:0 10:0.1342 20:2.1475",
            "p=1 0:0 10:0.1342 20:2.1475",
        ],
    );
    check(
        "{ name = \"none\" } | rate()",
        &["__name__=rate 0:0 10:0 20:0"],
    );
    check("{ name = \"none\" } | rate() by (name)", &[]);
    check("{ name = \"none\" } | max_over_time(duration)", &[]);
}

#[test]
fn labels() {
    check(
        "{ } | count_over_time() by (span.size)",
        &[
            "span.size=nil 0:0 10:1 20:2",
            "span.size=int 3 0:0 10:0 20:1",
            "span.size=int 10 0:0 10:1 20:0",
        ],
    );
    check(
        "{ .size != nil } | count_over_time() by (.size, .shard, span.none)",
        &[
            ".size=int 3,.shard=int 7 0:0 10:0 20:1",
            ".size=int 10,.shard=own 0:0 10:1 20:0",
        ],
    );
    check(
        "{ status = error } | count_over_time() by (status, statusMessage)",
        &["status=error,statusMessage= 0:0 10:1 20:0"],
    );
    check(
        "{ } | count_over_time() by (rootName)",
        &["rootName=root 0:0 10:2 20:3"],
    );
    check(
        "{ nestedSetParent < 0 } | count_over_time()",
        &["__name__=count_over_time 0:0 10:1 20:1"],
    );
    check(
        "{ nestedSetParent != -1 && duration > 25ms } | count_over_time()",
        &["__name__=count_over_time 0:0 10:0 20:2"],
    );
}

#[test]
fn structure_and_pipelines() {
    check(
        "{ kind = server } > { duration > 25ms } | count_over_time()",
        &["__name__=count_over_time 0:0 10:0 20:2"],
    );
    check(
        "{ } | count() > 2 | count_over_time() by (name)",
        &["name=call 0:0 10:0 20:2", "name=root 0:0 10:0 20:1"],
    );
    check(
        "{ status = error } || { kind = server } | count_over_time()",
        &["__name__=count_over_time 0:0 10:2 20:1"],
    );
    check(
        "{ kind = client } | { span.size > 5 } | select(name) | count_over_time()",
        &["__name__=count_over_time 0:0 10:1 20:0"],
    );
}

#[test]
fn stages_and_arithmetic() {
    check(
        "{ } | count_over_time() by (resource.service.name) > 1",
        &["resource.service.name=db 20:2"],
    );
    check(
        "{ } | count_over_time() by (resource.service.name) | topk(1)",
        &["resource.service.name=db 0:0 10:1 20:2"],
    );
    check(
        "{ } | count_over_time() by (resource.service.name) | bottomk(1)",
        &["resource.service.name=shop 0:0 10:1 20:1"],
    );
    check(
        "{ } | max_over_time(duration) > 100ms",
        &["__name__=max_over_time 20:1.6"],
    );
    check(
        "({ status = error } | count_over_time()) / ({ } | count_over_time())",
        &["__name__=(count_over_time / count_over_time) 10:0.5 20:0"],
    );
    check(
        "({ } | count_over_time() by (name)) * 10 - 1",
        &["name=call 0:-1 10:9 20:19", "name=root 0:-1 10:9 20:9"],
    );
    check(
        "({ } | count_over_time() by (name)) / ({ } | count_over_time())",
        &["name=call 10:0.5 20:0.6667", "name=root 10:0.5 20:0.3333"],
    );
    check(
        "({ kind = client } | count_over_time() by (name)) + ({ } | count_over_time() by (name))",
        &["name=call 0:0 10:2 20:4"],
    );
    check("1 / ({ } | rate())", &["__name__=rate 10:5 20:3.3333"]);
}

#[test]
fn comparisons() {
    let plan = planned("{ } | compare({ status = error }, 1)", (0, 20, 10), false);
    let budget = Budget::new(&Limits::default());
    let found = run(&stores(&batches())[1], &plan, &budget).unwrap();
    let text = show(&found);
    for expect in [
        "__meta_type=selection,status=error 0:0 10:1 20:0",
        "__meta_type=selection,span.size=int 10 0:0 10:1 20:0",
        "__meta_type=selection_total,name=nil 0:0 10:1 20:0",
        "__meta_type=baseline,name=call 0:0 10:0 20:2",
        "__meta_type=baseline_total,name=nil 0:0 10:1 20:3",
        "__meta_error=__too_many_values__,name=nil ",
    ] {
        assert!(text.lines().any(|line| line == expect), "{expect}\n{text}");
    }
    assert!(!text.contains("duration"), "{text}");
}

/// A trace of more spans than a block has, each the child of the one before, with clocks that run
/// backwards, beside a span that is its own parent and two that are each other's.
#[test]
fn deep_traces_are_walked() {
    const DEEP: u64 = 10_000;
    let id = |number: u64| SpanId(number.to_be_bytes());
    let one = |number: u64, parent: u64| Span {
        trace_id: TraceId([9; 16]),
        span_id: id(number),
        parent_id: id(parent),
        name: if number == DEEP { "leaf" } else { "link" }.to_owned(),
        start: Timestamp::from_nanos(20_000_000_000 - number as i64),
        end: Timestamp::from_nanos(1),
        ..Span::default()
    };
    let mut spans: Vec<Span> = (1..=DEEP).map(|n| one(n, n - 1)).collect();
    let ring = DEEP + 3;
    spans.extend([
        one(DEEP + 1, DEEP + 1),
        one(DEEP + 2, ring),
        one(ring, DEEP + 2),
    ]);
    let batches = [batch("shop", spans)];
    let stores = [
        Snapshot::from_parts(vec![memory(&batches)], Vec::new()).unwrap(),
        Snapshot::from_parts(Vec::new(), vec![part(&batches)]).unwrap(),
    ];
    for store in &stores {
        let check = |query: &str, expect: u64| {
            let query = format!("{query} | count_over_time()");
            let budget = Budget::new(&Limits::default());
            let found = run(store, &planned(&query, (0, 20, 20), false), &budget).unwrap();
            let all: f64 = found.iter().flat_map(|s| &s.samples).map(|(_, n)| n).sum();
            assert_eq!(all as u64, expect, "{query}");
        };
        check("{ } >> { name = \"leaf\" }", 1);
        check("{ } << { name = \"link\" }", DEEP - 1);
        check("{ nestedSetParent = -1 } &>> { name = \"leaf\" }", 2);
        check("{ nestedSetLeft = 0 }", 2);
        check("{ span:childCount = 1 }", DEEP - 1 + 2);
        check("{ parent != nil }", DEEP - 1 + 2);
        check("{ traceDuration > 1s }", 0);
    }
}

#[test]
fn whole_ranges_and_steps() {
    let budget = Budget::new(&Limits::default());
    let store = &stores(&batches())[1];
    let whole = run(store, &planned("{ } | rate()", (5, 15, 1), true), &budget).unwrap();
    assert_eq!(show(&whole), "__name__=rate 15:0.5");
    // A step counts what begins after the step before it, and what begins with it.
    let steps = run(
        store,
        &planned("{ } | count_over_time()", (5, 7, 1), false),
        &budget,
    );
    assert_eq!(
        show(&steps.unwrap()),
        "__name__=count_over_time 5:1 6:1 7:0"
    );
    // Steps are multiples of themselves.
    let moved = run(
        store,
        &planned("{ } | count_over_time()", (3, 17, 10), false),
        &budget,
    );
    assert_eq!(
        show(&moved.unwrap()),
        "__name__=count_over_time 0:0 10:2 20:3"
    );
}

#[test]
fn exemplars_lead_to_traces() {
    let budget = Budget::new(&Limits::default());
    for store in stores(&batches()) {
        let query = "{ kind = client } | max_over_time(duration) by (name) with(exemplars=4)";
        let found = run(&store, &planned(query, (0, 20, 10), false), &budget).unwrap();
        let exemplars = &found[0].exemplars;
        assert_eq!(exemplars.len(), 2, "{exemplars:?}");
        let id = Attribute::string("trace:id", TraceId([1; 16]).to_string());
        assert!(exemplars[0].labels.contains(&id), "{exemplars:?}");
        assert_eq!(
            (exemplars[0].time, exemplars[0].value),
            (Timestamp::from_seconds(6), 0.02)
        );
        let query = "{ } | rate() with(exemplars=true)";
        let found = run(&store, &planned(query, (0, 20, 10), false), &budget).unwrap();
        let values: Vec<f64> = found[0].exemplars.iter().map(|e| e.value).collect();
        assert_eq!(values, [0.2, 0.3]);
        let query = "{ } | quantile_over_time(duration, 0.1, 0.99) with(exemplars=9)";
        let found = run(&store, &planned(query, (0, 20, 10), false), &budget).unwrap();
        let all: usize = found.iter().map(|s| s.exemplars.len()).sum();
        assert_eq!(all, 2);
    }
}

#[test]
fn budgets_hold() {
    let limits = Limits {
        query_series_max: 1,
        ..Limits::default()
    };
    let plan = planned(
        "{ } | rate() by (resource.service.name)",
        (0, 20, 10),
        false,
    );
    let error = run(&stores(&batches())[1], &plan, &Budget::new(&limits)).unwrap_err();
    assert!(error.to_string().contains("query_series_max"), "{error}");
    let bytes = Limits {
        query_bytes_max: 1000,
        ..Limits::default()
    };
    let plan = planned("{ } | rate()", (0, 9000, 1), false);
    let error = run(&stores(&batches())[1], &plan, &Budget::new(&bytes)).unwrap_err();
    assert!(error.to_string().contains("query_bytes_max"), "{error}");
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("duration > 25ms".to_owned()),
        Just("duration != 20ms".to_owned()),
        Just("kind = client".to_owned()),
        Just("status != error".to_owned()),
        Just("name =~ \"r.*\"".to_owned()),
        Just("name < \"d\"".to_owned()),
        Just("span.size > 5".to_owned()),
        Just("span.size != 3".to_owned()),
        Just("span.size = nil".to_owned()),
        Just(".shard != nil".to_owned()),
        Just(".shard = 7".to_owned()),
        Just(".shard = \"own\"".to_owned()),
        Just("span.tags = \"a\"".to_owned()),
        Just("span.tags != \"a\"".to_owned()),
        Just("resource.service.name = \"db\"".to_owned()),
        Just("resource.service.name !~ \"d.\"".to_owned()),
        Just("nestedSetParent < 0".to_owned()),
        Just("span.size * 2 < duration".to_owned()),
        Just("instrumentation:name != \"x\"".to_owned()),
        Just("event:name = \"exception\"".to_owned()),
        Just("event:name != \"exception\"".to_owned()),
        Just("event:name =~ \"ex.*\"".to_owned()),
        Just("event:timeSinceStart > 1ms".to_owned()),
        Just("event.exception.type = \"T\"".to_owned()),
        Just("event.exception.type = nil".to_owned()),
        Just("event.n != 1".to_owned()),
        Just("link.kind = \"follows\"".to_owned()),
        Just("link:spanID =~ \"0.*\"".to_owned()),
        Just("link:traceID != nil".to_owned()),
        Just("span:id != \"0000000000000101\"".to_owned()),
        Just("span:parentID = \"\"".to_owned()),
        Just("trace:id =~ \"01.*\"".to_owned()),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

/// Events and links, by a number.
fn decorate(span: &mut Span, number: i64) {
    let event = |name: &str, attributes| SpanEvent {
        time: span.start + (number - 3) * 1_000_000,
        name: name.to_owned(),
        attributes,
        dropped_attributes: 0,
    };
    let kind = Attribute::string("exception.type", if number % 2 == 0 { "T" } else { "U" });
    let (thrown, other) = (
        event("exception", vec![kind]),
        event("log", vec![int("n", 1)]),
    );
    let link = SpanLink {
        trace_id: TraceId([number as u8; 16]),
        span_id: SpanId([number as u8; 8]),
        attributes: vec![Attribute::string("kind", "follows")],
        ..SpanLink::default()
    };
    match number % 6 {
        1 => span.events = vec![thrown],
        2 => span.events = vec![other, thrown],
        3 => span.links = vec![link],
        4 => {
            span.events = vec![event("", vec![]), other];
            span.links = vec![SpanLink::default(), link];
        }
        // Ends before it begins.
        5 => span.end = span.start - 7,
        _ => {}
    }
}

fn spans() -> impl Strategy<Value = Vec<SpanBatch>> {
    let one = (
        1u8..4,
        1u8..5,
        0u8..3,
        0u8..20,
        0i64..60,
        0u8..5,
        any::<bool>(),
    );
    proptest::collection::vec((one, 0u8..2), 1..12).prop_map(|all| {
        // A span that arrives again is as it was.
        let mut known = std::collections::HashMap::new();
        let batches =
            all.into_iter()
                .map(|((trace, id, parent, second, ms, form, failed), service)| {
                    let mut span = span(trace, id, parent, f64::from(second), ms);
                    span.attributes = match form {
                        0 => vec![],
                        1 => vec![int("size", ms % 5)],
                        2 => vec![
                            Attribute::string("size", "x"),
                            int("size", 9),
                            int("shard", 1),
                        ],
                        3 => vec![
                            int("n", 1),
                            Attribute::string("shard", "own"),
                            int("size", 3),
                        ],
                        _ => vec![Attribute {
                            key: "tags".to_owned(),
                            value: AttributeValue::Array(vec![
                                AttributeValue::String("a".to_owned()),
                                AttributeValue::String("b".to_owned()),
                            ]),
                        }],
                    };
                    if failed {
                        span.status = StatusCode::Error;
                    }
                    decorate(&mut span, ms);
                    let identity = (span.trace_id, span.span_id, span.kind);
                    let found = batch(if service == 0 { "shop" } else { "db" }, vec![span]);
                    known.entry(identity).or_insert(found).clone()
                });
        batches.collect()
    })
}

/// The series of a pipeline, computed on traces that were put together.
fn on_whole_traces(store: &Snapshot<Spans>, plan: &SpanMetricsPlan) -> Vec<SpanSeries> {
    let MetricExpr::Series(pipeline) = &plan.expr else {
        panic!("a pipeline")
    };
    let budget = Budget::new(&Limits::default());
    let filter = SpanFilter {
        range: plan.steps.range(),
        conditions: hints(&pipeline.pipeline),
    };
    let mut measure = super::Measure::new(pipeline, &plan.steps, 0, &budget);
    let mut comparison = match &pipeline.metric {
        Metric::Compare {
            filter,
            top,
            window,
        } => Some(super::Comparison::new(
            filter.as_ref(),
            *top,
            *window,
            &plan.steps,
        )),
        _ => None,
    };
    let mut visit = |_, batch: SpanBatch| {
        if let Some(trace) = TraceView::new(&batch) {
            for set in spansets::run(&pipeline.pipeline, &trace) {
                match &mut comparison {
                    Some(comparison) => comparison.trace(&trace, &set.spans, &budget)?,
                    None => measure.trace(&trace, &set.spans)?,
                }
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    };
    obs_tracestore::scan(store, &filter, &budget, &mut visit).unwrap();
    let mut all = match comparison {
        Some(comparison) => comparison.finish(&budget).unwrap(),
        None => measure.finish(),
    };
    super::series::sort(&mut all);
    all.into_iter()
        .filter_map(|s| super::answer(s, &plan.steps))
        .collect()
}

/// Pipelines that look at more than one span of a trace.
fn pipeline() -> impl Strategy<Value = String> {
    let relation = prop::sample::select(vec![
        "&&", "||", ">", "<", ">>", "<<", "~", "!>", "!<", "!>>", "!<<", "!~", "&>", "&<", "&>>",
        "&<<", "&~",
    ]);
    prop_oneof![
        3 => (condition(), relation.clone(), condition())
            .prop_map(|(a, op, b)| format!("{{ {a} }} {op} {{ {b} }}")),
        1 => (condition(), relation.clone(), condition(), relation, condition())
            .prop_map(|(a, x, b, y, c)| format!("({{ {a} }} {x} {{ {b} }}) {y} {{ {c} }}")),
        1 => condition().prop_map(|a| format!("{{ {a} }} | count() > 1")),
        1 => (condition(), condition())
            .prop_map(|(a, b)| format!("{{ {a} }} | by(name) | count() > 1 | {{ {b} }}")),
        1 => (condition(), condition())
            .prop_map(|(a, b)| format!("({{ {a} }} | max(duration) > 20ms) && {{ {b} }}")),
        2 => whole_condition().prop_map(|a| format!("{{ {a} }}")),
        1 => (whole_condition(), condition()).prop_map(|(a, b)| format!("{{ {a} }} >> {{ {b} }}")),
    ]
}

/// Conditions that need the whole trace.
fn whole_condition() -> impl Strategy<Value = String> {
    let whole = prop::sample::select(vec![
        "rootName = \"root\"",
        "rootServiceName = \"db\"",
        "rootName != \"call\"",
        "traceDuration > 5s",
        "span:childCount > 0",
        "nestedSetLeft > 2",
        "nestedSetRight < 5",
        "nestedSetParent = 1",
        "nestedSetParent = 0",
        "parent = nil",
        "parent != nil",
        "parent.size = 3",
        "parent.resource.service.name = \"shop\"",
        "parent.event.exception.type = \"T\"",
    ]);
    (whole, condition(), any::<bool>()).prop_map(|(whole, other, and)| match and {
        true => format!("{whole} && {other}"),
        false => format!("{whole} || {other}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whole traces on columns are as traces that were put together: cycles, spans that are their
    /// own parent, equal ids, late spans and spans that came twice among them.
    #[test]
    fn traces_on_columns_are_as_whole_traces(
        batches in spans(),
        pipeline in pipeline(),
        metric in prop::sample::select(vec![
            "count_over_time() by (name)",
            "count_over_time() by (rootName, rootServiceName)",
            "count_over_time() by (event:name)",
            "sum_over_time(span:childCount) by (nestedSetLeft, nestedSetRight)",
            "max_over_time(traceDuration)",
            "count_over_time() by (parent.size, nestedSetParent)",
            "compare({ status = error })",
            "compare({ rootName = \"root\" }, 2)",
        ]),
    ) {
        let query = format!("{pipeline} | {metric}");
        let plan = planned(&query, (0, 20, 5), false);
        let budget = Budget::new(&Limits::default());
        for (number, store) in stores(&batches).into_iter().enumerate() {
            let found = run(&store, &plan, &budget).unwrap();
            let expect = on_whole_traces(&store, &plan);
            prop_assert_eq!(show(&found), show(&expect), "{} in store {}", query, number);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Columns, in memory or parts, with spans that arrived twice, say what whole traces say.
    #[test]
    fn columns_are_as_whole_traces(
        batches in spans(),
        condition in condition(),
        by in prop_oneof![Just("name"), Just(".shard"), Just("span.size, kind"), Just("duration"), Just("span.tags")],
    ) {
        let query = format!("{{ {condition} }} | count_over_time() by ({by})");
        let plan = planned(&query, (0, 20, 5), false);
        let MetricExpr::Series(pipeline) = &plan.expr else { panic!("a pipeline") };
        prop_assert!(columns::condition(pipeline).is_some(), "{}", query);
        let budget = Budget::new(&Limits::default());
        for store in stores(&batches) {
            let found = run(&store, &plan, &budget).unwrap();
            let expect = on_whole_traces(&store, &plan);
            prop_assert_eq!(show(&found), show(&expect), "{}", query);
        }
    }
}

#[test]
fn menus_know_the_filter() {
    let limits = Limits::default();
    let budget = Budget::new(&limits);
    for store in stores(&batches()) {
        let check = |attribute: &str, filter: &str, expect: &[&str]| {
            let attribute = crate::traceql::parse_attribute(attribute).unwrap();
            let filter = crate::traceql::parse_lenient(filter, &limits);
            let found = super::super::tag_values(
                &store,
                &attribute,
                filter.as_ref(),
                TimeRange::ALL,
                &budget,
            );
            let texts: Vec<String> = found
                .unwrap()
                .into_iter()
                .map(|value| match value {
                    AttributeValue::String(text) => text,
                    other => format!("{other:?}"),
                })
                .collect();
            assert_eq!(texts, expect, "{attribute} {filter:?}");
        };
        check("resource.service.name", "", &["db", "shop"]);
        check(
            "resource.service.name",
            "{ status = error && name = }",
            &["db"],
        );
        check("name", "{ kind = server }", &["root"]);
        check("kind", "{ resource.service.name = \"db\" }", &["client"]);
        check(".size", "{ duration > 500ms }", &["Int(3)"]);
        check("statusMessage", "", &[""]);
        check("span.none", "{ kind = server }", &[]);
    }
}

#[test]
fn plans_say_what_is_read() {
    let check = |query: &str, expect: &str| {
        let plan = planned(query, (0, 20, 10), false).to_string();
        assert!(plan.contains(expect), "{plan}");
    };
    check(
        "{ .a = 1 } | rate()",
        "read columns of spans for { .a = 1 } | rate()",
    );
    let whole = "read columns of whole traces for";
    check("{ } > { } | rate()", whole);
    check("{ nestedSetParent = 0 } | rate()", whole);
    check("{ rootName = \"x\" } | rate()", whole);
    check("{ event.x = 1 } | rate()", "read columns of spans for");
    check("({ } | rate()) / 2", "(3 steps)");
    let query = parse("{ } | rate()", &Limits::default()).unwrap();
    assert!(matches!(query.root, Root::Metrics(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Leaving out traces before they are read changes no answer of a search.
    #[test]
    fn searches_are_the_same_in_parts(
        batches in spans(),
        a in condition(),
        b in condition(),
        whole in whole_condition(),
        form in 0usize..8,
    ) {
        let query = match form {
            0 => format!("{{ {a} }}"),
            1 => format!("{{ {a} }} >> {{ {b} }}"),
            2 => format!("{{ {a} }} !> {{ {b} }}"),
            3 => format!("{{ {a} }} || {{ {b} }}"),
            4 => format!("{{ {a} && span:childCount < 2 }} && {{ {b} }}"),
            5 => format!("{{ {whole} }}"),
            6 => format!("{{ {whole} }} ~ {{ {b} }}"),
            _ => format!("({{ {a} }} | count() > 1) && {{ {b} }}"),
        };
        let limits = Limits::default();
        let mut request = Request::new(When::Range {
            start: Timestamp::from_seconds(0),
            end: Timestamp::from_seconds(90),
            step: 1,
        });
        request.limit = 2;
        let parsed = parse(&query, &limits).unwrap();
        let Plan::Traces(plan) = plan(&parsed, &request, &limits).unwrap() else { panic!("a search") };
        let budget = Budget::new(&limits);
        let mut answers = Vec::new();
        for store in stores(&batches) {
            answers.push(super::super::search(&store, &plan, &budget).unwrap());
        }
        prop_assert_eq!(&answers[0], &answers[1], "{}", query);
        prop_assert_eq!(&answers[0], &answers[2], "{}", query);
    }
}
