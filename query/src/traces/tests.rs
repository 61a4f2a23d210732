//! Tables: which spans of a trace a query finds.

use obs_model::limits::Limits;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, SpanEvent, SpanKind,
    SpanLink, StatusCode,
};
use obs_model::{Budget, Span, SpanBatch, SpanId, TimeRange, Timestamp, TraceId};
use obs_tracestore::{Condition, Snapshot, Spans};
use proptest::prelude::*;

use super::conditions::hints;
use super::search::TraceCollector;
use super::{TraceMatcher, plan, search};
use crate::request::{Plan, Request, When};
use crate::traceql::ast::{Element, Root};
use crate::traceql::{Query, parse};

fn span(id: u8, parent: u8, name: &str, start_ms: i64, duration_ms: i64) -> Span {
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([0, 0, 0, 0, 0, 0, 0, id]),
        parent_id: SpanId([0, 0, 0, 0, 0, 0, 0, parent]),
        name: name.to_owned(),
        start: Timestamp::from_millis(start_ms),
        end: Timestamp::from_millis(start_ms + duration_ms),
        ..Span::default()
    }
}

fn resource(service: &str, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Resource {
            attributes: vec![
                Attribute::string("service.name", service),
                Attribute::string("region", "eu"),
            ],
            ..Resource::default()
        },
        scopes: vec![ScopeSpans {
            scope: Scope {
                name: "lib".to_owned(),
                version: "1.2".to_owned(),
                ..Scope::default()
            },
            spans,
        }],
    }
}

/// ```text
/// 1 root (shop, server, 1000 ms)
/// ├ 2 cart (shop, 100 ms)
/// │ └ 4 query (db, client, error, 50 ms, event exception, link)
/// └ 3 pay (shop, 700 ms, status 500)
///   └ 5 query (db, 600 ms)
/// 6 late (shop, parent 99 is missing)
/// ```
fn trace() -> SpanBatch {
    let mut root = span(1, 0, "root", 0, 1000);
    root.kind = SpanKind::Server;
    root.attributes = vec![
        Attribute::string("http.method", "GET"),
        Attribute {
            key: "http.status".to_owned(),
            value: AttributeValue::Int(200),
        },
        Attribute {
            key: "tags".to_owned(),
            value: AttributeValue::Array(vec![
                AttributeValue::String("a".to_owned()),
                AttributeValue::String("b".to_owned()),
            ]),
        },
    ];
    let mut pay = span(3, 1, "pay", 200, 700);
    pay.attributes = vec![
        Attribute {
            key: "http.status".to_owned(),
            value: AttributeValue::Int(500),
        },
        Attribute {
            key: "ok".to_owned(),
            value: AttributeValue::Bool(false),
        },
        Attribute {
            key: "ratio".to_owned(),
            value: AttributeValue::Double(0.5),
        },
        Attribute::string("region", "us"),
    ];
    let mut query = span(4, 2, "query", 110, 50);
    query.kind = SpanKind::Client;
    query.status = StatusCode::Error;
    query.status_message = "boom".to_owned();
    query.events = vec![SpanEvent {
        time: Timestamp::from_millis(120),
        name: "exception".to_owned(),
        attributes: vec![Attribute::string("exception.type", "Timeout")],
        dropped_attributes: 0,
    }];
    query.links = vec![SpanLink {
        trace_id: TraceId([2; 16]),
        ..SpanLink::default()
    }];
    SpanBatch {
        resources: vec![
            resource(
                "shop",
                vec![
                    root,
                    span(2, 1, "cart", 100, 100),
                    pay,
                    span(6, 99, "late", 900, 1),
                ],
            ),
            resource("db", vec![query, span(5, 3, "query", 250, 600)]),
        ],
    }
}

/// The pipeline of a search.
fn elements(query: &Query) -> &[Element] {
    match &query.root {
        Root::Search(elements) => elements,
        Root::Metrics(_) => panic!("a search"),
    }
}

/// Shows the ids of the spans of each set, `-` where nothing is found.
fn find(query: &str) -> String {
    let query = parse(query, &Limits::default()).unwrap();
    let matcher = TraceMatcher::new(elements(&query), 100);
    match matcher.find(TraceId([1; 16]), &trace(), TimeRange::ALL) {
        None => "-".to_owned(),
        Some(found) => {
            let show = |set: &obs_model::answer::SpanSet| {
                assert_eq!(set.matched as usize, set.spans.len());
                let mut ids: Vec<String> = set
                    .spans
                    .iter()
                    .map(|s| s.span_id.0[7].to_string())
                    .collect();
                ids.sort();
                ids.join(" ")
            };
            found
                .span_sets
                .iter()
                .map(show)
                .collect::<Vec<_>>()
                .join(" / ")
        }
    }
}

fn check(query: &str, expect: &str) {
    assert_eq!(find(query), expect, "{query}");
}

#[test]
fn attributes() {
    check("{ }", "1 2 3 4 5 6");
    check(r#"{ resource.service.name = "db" }"#, "4 5");
    check(r#"{ .service.name = "db" }"#, "4 5");
    check(r#"{ span.service.name = "db" }"#, "-");
    check(r#"{ .region = "us" }"#, "3");
    check(r#"{ resource.region = "eu" }"#, "1 2 3 4 5 6");
    check(r#"{ span.http.status = 500 }"#, "3");
    check(r#"{ span.http.status != 500 }"#, "1");
    check(
        r#"{ span.http.status >= 200 && span.http.status < 300.5 }"#,
        "1",
    );
    check(r#"{ span.http.status = "500" }"#, "-");
    check(r#"{ span.http.status != "500" }"#, "-");
    check(r#"{ span.http.method =~ "G.." }"#, "1");
    check(r#"{ span.http.method =~ "G" }"#, "-");
    check(r#"{ span.http.method !~ "P.*" }"#, "1");
    check(r#"{ span.http.method > "A" }"#, "1");
    check(r#"{ span.ratio = 0.5 }"#, "3");
    check(r#"{ span.ok = false }"#, "3");
    check(r#"{ !span.ok }"#, "3");
    check(r#"{ span.ok }"#, "-");
    check(r#"{ span.http.status != nil }"#, "1 3");
    check(r#"{ span.http.status = nil }"#, "2 4 5 6");
    check(r#"{ span.http.status / 100 = 5 }"#, "3");
    check(r#"{ span.http.status - 300 > 2 * 50 + 1 }"#, "3");
    check(r#"{ -span.http.status = -200 }"#, "1");
    check(r#"{ span.http.status / 0 = 1 }"#, "-");
    check(r#"{ parent.http.status = 500 }"#, "5");
    check(r#"{ parent.span.http.status = 200 }"#, "2 3");
    check(r#"{ span."http.status" = 200 || name = "late" }"#, "1 6");
}

#[test]
fn several_values() {
    check(r#"{ span.tags = "b" }"#, "1");
    check(r#"{ span.tags =~ "a|x" }"#, "1");
    check(r#"{ span.tags != "x" }"#, "1");
    check(r#"{ span.tags != "a" }"#, "-");
    check(r#"{ span.tags !~ "a" }"#, "-");
    check(r#"{ event.exception.type = "Timeout" }"#, "4");
    check(r#"{ event:name = "exception" }"#, "4");
    check(r#"{ event:timeSinceStart = 10ms }"#, "4");
    check(
        r#"{ link:traceID = "02020202020202020202020202020202" }"#,
        "4",
    );
    check(r#"{ event:name != nil }"#, "4");
}

#[test]
fn intrinsics() {
    check("{ duration > 600ms }", "1 3");
    check("{ duration >= 600ms && duration <= 0.7s }", "3 5");
    check("{ status = error }", "4");
    check("{ status != error }", "1 2 3 5 6");
    check(r#"{ statusMessage = "boom" }"#, "4");
    check("{ kind = server }", "1");
    check(r#"{ name = "query" }"#, "4 5");
    check(
        r#"{ rootName = "root" && rootServiceName = "shop" }"#,
        "1 2 3 4 5 6",
    );
    check("{ traceDuration = 1s }", "1 2 3 4 5 6");
    check("{ nestedSetParent < 0 }", "1");
    check("{ nestedSetParent = 0 }", "6");
    check("{ parent = nil }", "1 6");
    check("{ parent != nil }", "2 3 4 5");
    check("{ span:childCount = 2 }", "1");
    check(r#"{ span:id = "0000000000000004" }"#, "4");
    check(r#"{ span:parentID = "" }"#, "1");
    check(
        r#"{ trace:id = "01010101010101010101010101010101" }"#,
        "1 2 3 4 5 6",
    );
    check(
        r#"{ instrumentation:name = "lib" && instrumentation:version = "1.2" }"#,
        "1 2 3 4 5 6",
    );
}

#[test]
fn structure() {
    check(r#"{ name = "root" } > { }"#, "2 3");
    check(r#"{ name = "root" } >> { name = "query" }"#, "4 5");
    check(r#"{ name = "query" } < { }"#, "2 3");
    check(r#"{ status = error } << { }"#, "1 2");
    check(r#"{ name = "cart" } ~ { }"#, "3");
    check(r#"{ name = "cart" } !~ { }"#, "1 2 4 5 6");
    check(r#"{ name = "root" } !>> { }"#, "1 6");
    check(r#"{ name = "root" } !> { name = "query" }"#, "4 5");
    check(r#"{ status = error } !<< { }"#, "3 4 5 6");
    check(r#"{ name = "pay" } &> { }"#, "3 5");
    check(r#"{ name = "root" } &>> { status = error }"#, "1 4");
    check(r#"{ name = "query" } &<< { name = "pay" }"#, "3 5");
    check(r#"{ name = "cart" } &~ { name = "pay" }"#, "2 3");
    check(
        r#"{ name = "root" } > { name = "pay" } > { name = "query" }"#,
        "5",
    );
    check(r#"{ name = "nothing" } >> { }"#, "-");
    check(r#"{ name = "cart" } && { status = error }"#, "2 4");
    check(r#"{ name = "cart" } && { name = "nothing" }"#, "-");
    check(r#"{ name = "cart" } || { name = "nothing" }"#, "2");
    check(
        r#"({ } &>> { status = error }) || ({ name = "late" }) | select(status, nestedSetLeft)"#,
        "1 2 4 6",
    );
}

#[test]
fn pipelines() {
    check(r#"{ name = "query" } | count() > 1"#, "4 5");
    check(r#"{ name = "query" } | count() > 2"#, "-");
    check(r#"{ } | avg(duration) > 400ms"#, "1 2 3 4 5 6");
    check(r#"{ } | max(duration) = 1s"#, "1 2 3 4 5 6");
    check(r#"{ } | min(span.http.status) = 200"#, "1 2 3 4 5 6");
    check(
        r#"{ } | sum(span.http.status) / count() > 100"#,
        "1 2 3 4 5 6",
    );
    check(r#"{ } | avg(span.absent) > 0"#, "-");
    check(r#"{ } | by(resource.service.name)"#, "1 2 3 6 / 4 5");
    check(
        r#"{ } | by(resource.service.name) | count() > 2"#,
        "1 2 3 6",
    );
    check(
        r#"{ } | by(resource.service.name) | { duration > 500ms } | coalesce()"#,
        "1 3 5",
    );
    check(
        r#"({ name = "query" } | count() > 1) || { name = "late" }"#,
        "4 5 6",
    );
    check(r#"{ } | { status = error }"#, "4");
}

#[test]
fn entries() {
    let query = parse(
        r#"{ span.http.status > 0 } | by(name) | select(kind, resource.region)"#,
        &Limits::default(),
    )
    .unwrap();
    let found = TraceMatcher::new(elements(&query), 1)
        .find(TraceId([1; 16]), &trace(), TimeRange::ALL)
        .unwrap();
    assert_eq!(found.root_service.as_deref(), Some("shop"));
    assert_eq!(found.root_name.as_deref(), Some("root"));
    assert_eq!(found.duration_nanos, 1_000_000_000);
    let services: Vec<_> = found
        .services
        .iter()
        .map(|s| (s.service.as_str(), s.spans, s.errors))
        .collect();
    assert_eq!(services, [("db", 2, 1), ("shop", 4, 0)]);
    assert_eq!(found.span_sets.len(), 2);
    let set = &found.span_sets[0];
    assert_eq!(set.attributes, [Attribute::string("by(name)", "root")]);
    assert_eq!(
        set.spans[0].attributes,
        [
            Attribute {
                key: "http.status".to_owned(),
                value: AttributeValue::Int(200)
            },
            Attribute::string("kind", "server"),
            Attribute::string("region", "eu"),
        ]
    );
    let outside = TimeRange::new(Timestamp::from_seconds(2), Timestamp::from_seconds(3));
    assert_eq!(
        TraceMatcher::new(elements(&query), 1).find(TraceId([1; 16]), &trace(), outside),
        None
    );
    assert_eq!(
        TraceMatcher::new(elements(&query), 1).find(
            TraceId([1; 16]),
            &SpanBatch::default(),
            TimeRange::ALL
        ),
        None
    );
}

#[test]
fn a_trace_with_a_gap_over_the_range_is_outside_everywhere() {
    let spans = vec![span(1, 0, "early", 0, 1000), span(2, 1, "late", 9000, 1000)];
    let batch = SpanBatch {
        resources: vec![resource("shop", spans)],
    };
    let memory = <Spans as obs_storage::Kind>::Memory::default();
    let mut bytes = Vec::new();
    obs_tracestore::encode(&batch, &mut bytes);
    <Spans as obs_storage::Kind>::apply(&memory, 1, &bytes).unwrap();
    let snapshot = Snapshot::from_parts(vec![memory], Vec::new()).unwrap();
    let query = parse("{ }", &Limits::default()).unwrap();
    let matcher = TraceMatcher::new(elements(&query), 1);
    for (start, end, expect) in [
        (0, 0, 1),
        (1, 1, 1),
        (2, 8, 0),
        (5, 9, 1),
        (10, 99, 1),
        (11, 99, 0),
    ] {
        let range = TimeRange::new(Timestamp::from_seconds(start), Timestamp::from_seconds(end));
        let matched = matcher.find(TraceId([1; 16]), &batch, range);
        let plan = super::TracePlan {
            pipeline: elements(&query).to_vec(),
            range,
            limit: 10,
            spans_per_set: 1,
        };
        let budget = Budget::new(&Limits::default());
        let searched = search(&snapshot, &plan, &budget).unwrap();
        let found = (matched.is_some() as usize, searched.len());
        assert_eq!(found, (expect, expect), "{start} to {end}");
    }
}

#[test]
fn collectors_stop_at_the_limit() {
    let query = parse("{ }", &Limits::default()).unwrap();
    let matcher = TraceMatcher::new(elements(&query), 3);
    let mut collector = TraceCollector::new(&matcher, TimeRange::ALL, 2);
    assert!(
        collector
            .trace(TraceId([3; 16]), &SpanBatch::default())
            .is_continue()
    );
    assert!(collector.trace(TraceId([1; 16]), &trace()).is_continue());
    assert!(collector.trace(TraceId([2; 16]), &trace()).is_break());
    let ids: Vec<_> = collector.finish().iter().map(|t| t.trace_id.0[0]).collect();
    assert_eq!(ids, [2, 1]);
}

/// A store with the trace of [`trace`] under four ids, each a second later than the one before.
fn stored() -> Snapshot<Spans> {
    let memory = <Spans as obs_storage::Kind>::Memory::default();
    for id in 1..=4 {
        let mut batch = trace();
        for span in batch
            .resources
            .iter_mut()
            .flat_map(|r| &mut r.scopes)
            .flat_map(|s| &mut s.spans)
        {
            span.trace_id = TraceId([id; 16]);
            span.start = span.start + i64::from(id) * 1_000_000_000;
            span.end = span.end + i64::from(id) * 1_000_000_000;
        }
        let mut bytes = Vec::new();
        obs_tracestore::encode(&batch, &mut bytes);
        <Spans as obs_storage::Kind>::apply(&memory, 1, &bytes).unwrap();
    }
    Snapshot::from_parts(vec![memory], Vec::new()).unwrap()
}

#[test]
fn searches_read_the_store() {
    let snapshot = stored();
    let budget = Budget::new(&Limits::default());
    let check = |query: &str, limit: usize, seconds: (i64, i64), expect: &[u8]| {
        let mut request = Request::new(When::Range {
            start: Timestamp::from_seconds(seconds.0),
            end: Timestamp::from_seconds(seconds.1),
            step: 1,
        });
        request.limit = limit;
        request.spans_per_set = 2;
        let Plan::Traces(plan) = plan(
            &parse(query, &Limits::default()).unwrap(),
            &request,
            &Limits::default(),
        )
        .unwrap() else {
            panic!("{query} is not a search");
        };
        let found = search(&snapshot, &plan, &budget).unwrap();
        let ids: Vec<u8> = found.iter().map(|t| t.trace_id.0[0]).collect();
        assert_eq!(ids, expect, "{query}");
        let sets = found.iter().flat_map(|t| &t.span_sets);
        assert!(sets.into_iter().all(|s| s.spans.len() <= 2), "{query}");
    };
    check("{ }", 2, (0, 100), &[4, 3]);
    check("{ }", 0, (0, 100), &[]);
    check("{ }", 9, (50, 100), &[]);
    check("{ status = error }", 9, (0, 100), &[4, 3, 2, 1]);
    check(
        r#"{ resource.service.name = "db" && duration > 500ms }"#,
        1,
        (0, 100),
        &[4],
    );
    check(r#"{ resource.service.name = "other" }"#, 9, (0, 100), &[]);
    check(
        r#"{ span.http.status = 500.0 } > { name = "query" }"#,
        9,
        (0, 100),
        &[4, 3, 2, 1],
    );
    check(
        r#"{ parent.span.http.status = 200 && name = "pay" }"#,
        9,
        (0, 100),
        &[4, 3, 2, 1],
    );
    check(
        r#"{ span.tags = "b" && .region = "eu" }"#,
        9,
        (0, 100),
        &[4, 3, 2, 1],
    );
    check(
        r#"{ event.exception.type = "Timeout" } && { name = "late" }"#,
        9,
        (0, 100),
        &[4, 3, 2, 1],
    );
    check(
        r#"{ trace:id = "02020202020202020202020202020202" }"#,
        9,
        (0, 100),
        &[2],
    );
    let found = super::trace(&snapshot, TraceId([3; 16]), &budget).unwrap();
    assert_eq!(found.map(|t| t.span_count()), Some(6));
    let query = parse("{ }", &Limits::default()).unwrap();
    assert!(
        plan(
            &query,
            &Request::new(When::At(Timestamp::MIN)),
            &Limits::default()
        )
        .is_err()
    );
}

/// A trace of so many spans; `parent` gives the number of the parent, 0 for none.
fn large(count: u64, parent: impl Fn(u64) -> u64) -> SpanBatch {
    let id = |number: u64| SpanId(number.to_be_bytes());
    let spans = (1..=count).map(|number| Span {
        trace_id: TraceId([1; 16]),
        span_id: id(number),
        parent_id: id(parent(number)),
        name: if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        }
        .to_owned(),
        // The clock of some runs backwards.
        start: Timestamp::from_nanos(number as i64 * 10),
        end: Timestamp::from_nanos(number as i64 * 10 - 5),
        ..Span::default()
    });
    SpanBatch {
        resources: vec![resource("s", spans.collect())],
    }
}

#[test]
fn hostile_traces_end() {
    let check = |batch: &SpanBatch, query: &str, expect: Option<u32>| {
        let query = parse(query, &Limits::default()).unwrap();
        let found =
            TraceMatcher::new(elements(&query), 2).find(TraceId([1; 16]), batch, TimeRange::ALL);
        let matched = found.map(|f| f.span_sets.iter().map(|s| s.matched).sum::<u32>());
        assert_eq!(matched, expect, "{query}");
    };
    let deep = large(100_000, |number| number - 1);
    check(&deep, "{ } >> { }", Some(99_999));
    let many = 5_000;
    let chain = large(many, |number| number - 1);
    check(
        &chain,
        r#"{ name = "odd" } > { name = "even" }"#,
        Some(2_500),
    );
    check(&chain, "{ } << { }", Some(4_999));
    check(&chain, "{ } !>> { }", Some(1));
    check(&chain, "{ nestedSetRight > 5000 } &~ { }", None);
    check(&chain, "{ nestedSetLeft = 5000 } | by(name)", Some(1));
    check(&chain, "{ } | by(span:id) | count() > 1", None);
    check(
        &chain,
        "{ duration = 0s && traceDuration > 0s }",
        Some(5_000),
    );
    let star = large(many, |number| u64::from(number > 1));
    check(&star, "{ } ~ { }", Some(4_999));
    check(&star, "{ span:childCount = 4999 }", Some(1));
    let ring = large(many, |number| number % many + 1);
    check(&ring, "{ } > { }", Some(5_000));
    check(&ring, "{ } >> { } | select(nestedSetLeft)", None);
    check(&ring, "{ rootName != nil }", None);
    let own = large(9, |number| number);
    check(&own, "{ } > { }", None);
    let mut same = large(9, |_| 7);
    for span in &mut same.resources[0].scopes[0].spans {
        span.span_id = SpanId([7; 8]);
    }
    check(&same, "{ } ~ { }", Some(9));
}

#[test]
fn hints_hold_of_every_match() {
    let check = |query: &str, expect: &[Condition]| {
        assert_eq!(
            hints(elements(&parse(query, &Limits::default()).unwrap())),
            expect,
            "{query}"
        );
    };
    check(
        r#"{ resource.service.name = "db" && (name = "q" && 5ms < duration) && kind = client && status = ok && (.a = 1 || .b = 2) }"#,
        &[
            Condition::Service("db".to_owned()),
            Condition::Name("q".to_owned()),
            Condition::DurationAtLeast(5_000_001),
            Condition::Kind(SpanKind::Client),
            Condition::Status(StatusCode::Ok),
        ],
    );
    check(r#"{ name = "a" } || { name = "b" }"#, &[]);
    check(
        r#"{ name = "a" } !> { name = "b" }"#,
        &[Condition::Name("b".to_owned())],
    );
    check(
        r#"{ name = "a" && kind = server } >> { name = "b" }"#,
        &[
            Condition::Name("a".to_owned()),
            Condition::Kind(SpanKind::Server),
            Condition::Name("b".to_owned()),
        ],
    );
    check(
        r#"{ span.x = "y" && .n = 5 && .m != "z" } | count() > 3"#,
        &[
            Condition::Attribute {
                scope: Some(obs_tracestore::Scope::Span),
                key: "x".to_owned(),
                value: AttributeValue::String("y".to_owned()),
            },
            Condition::Attribute {
                scope: None,
                key: "n".to_owned(),
                value: AttributeValue::Int(5),
            },
        ],
    );
    check(r#"{ !(name = "a") }"#, &[]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any parents, also missing ones and cycles: structural operators agree with looking at pairs.
    #[test]
    fn any_tree_is_walked(parents in proptest::collection::vec((0u8..10, 0u8..3), 1..9)) {
        let spans: Vec<Span> = parents
            .iter()
            .enumerate()
            .map(|(index, (parent, kind))| span(index as u8 + 1, *parent, &kind.to_string(), index as i64, 1))
            .collect();
        let batch = SpanBatch { resources: vec![resource("s", spans)] };
        let parent = |id: u8| -> Option<u8> {
            let parent = parents[usize::from(id) - 1].0;
            (parent != 0 && parent != id && usize::from(parent) <= parents.len()).then_some(parent)
        };
        let ids = |kind: u8| -> Vec<u8> { (1..=parents.len() as u8).filter(|id| parents[usize::from(*id) - 1].1 == kind).collect() };
        let run = |op: &str| -> Vec<u8> {
            let text = format!(r#"{{ name = "0" }} {op} {{ name = "1" }}"#);
            let query = parse(&text, &Limits::default()).unwrap();
            let found = TraceMatcher::new(elements(&query), 100).find(TraceId([1; 16]), &batch, TimeRange::ALL);
            let mut found: Vec<u8> = found.map_or_else(Vec::new, |f| f.span_sets[0].spans.iter().map(|s| s.span_id.0[7]).collect());
            found.sort_unstable();
            found
        };
        let children: Vec<u8> = ids(1).into_iter().filter(|id| parent(*id).is_some_and(|p| parents[usize::from(p) - 1].1 == 0)).collect();
        prop_assert_eq!(run(">"), children);
        // Only spans that a root reaches have ancestors and descendants.
        let chain = |id: u8| -> Option<Vec<u8>> {
            let mut chain = Vec::new();
            let mut at = id;
            while let Some(p) = parent(at) {
                if chain.len() > parents.len() { return None; }
                chain.push(p);
                at = p;
            }
            Some(chain)
        };
        let below: Vec<u8> = ids(1)
            .into_iter()
            .filter(|id| chain(*id).is_some_and(|c| c.iter().any(|p| parents[usize::from(*p) - 1].1 == 0)))
            .collect();
        prop_assert_eq!(run(">>"), below);
        let above: Vec<u8> = ids(1)
            .into_iter()
            .filter(|id| ids(0).iter().any(|l| chain(*l).is_some_and(|c| c.contains(id))))
            .collect();
        prop_assert_eq!(run("<<"), above);
    }
}
