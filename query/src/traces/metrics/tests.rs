//! Tables: series of queries over a small store; and that columns say what whole traces say.

use obs_model::answer::SpanSeries;
use obs_model::limits::Limits;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, SpanKind, StatusCode,
};
use obs_model::{Budget, Span, SpanBatch, SpanId, Tenant, TimeRange, Timestamp, TraceId};
use obs_storage::{Kind, PartWriter};
use obs_tracestore::{Snapshot, Spans};
use proptest::prelude::*;

use super::super::plan;
use super::{Run, SpanMetricsPlan, columns, run};
use crate::request::{Plan, Request, When};
use crate::traceql::ast::Root;
use crate::traceql::metric::MetricExpr;
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
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
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
                    let identity = (span.trace_id, span.span_id, span.kind);
                    let found = batch(if service == 0 { "shop" } else { "db" }, vec![span]);
                    known.entry(identity).or_insert(found).clone()
                });
        batches.collect()
    })
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
            // A pipeline of two elements that needs whole traces but keeps all.
            let slow = Run { snapshot: &store, steps: &plan.steps, exemplars: 0, budget: &budget };
            let mut measure = super::Measure::new(pipeline, &plan.steps, 0, &budget);
            slow.traces(pipeline, &mut |trace, spans| measure.trace(trace, spans)).unwrap();
            let mut all = measure.finish();
            super::series::sort(&mut all);
            let expect: Vec<SpanSeries> =
                all.into_iter().filter_map(|s| super::answer(s, &plan.steps)).collect();
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
    check("{ } > { } | rate()", "read whole traces for");
    check("{ event.x = 1 } | rate()", "read whole traces for");
    check("{ nestedSetParent = 0 } | rate()", "read whole traces for");
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
        form in 0usize..6,
    ) {
        let query = match form {
            0 => format!("{{ {a} }}"),
            1 => format!("{{ {a} }} >> {{ {b} }}"),
            2 => format!("{{ {a} }} !> {{ {b} }}"),
            3 => format!("{{ {a} }} || {{ {b} }}"),
            4 => format!("{{ {a} && span:childCount < 2 }} && {{ {b} }}"),
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
