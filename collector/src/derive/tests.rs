//! Spans in, samples out.

use std::collections::BTreeMap;

use obs_model::metrics::Sample;
use obs_model::sample::is_stale;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, ScopeSpans, SpanKind, StatusCode,
};
use obs_model::{SpanId, TraceId, Value};
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_000_000 + seconds)
}

fn tenant() -> Tenant {
    Tenant::anonymous()
}

/// A span of trace `trace` with its id and its parent's.
fn span(trace: u8, id: u8, parent: u8, kind: SpanKind, millis: i64) -> Span {
    let id_of = |id: u8| SpanId(if id == 0 { [0; 8] } else { [id; 8] });
    Span {
        trace_id: TraceId([trace; 16]),
        span_id: id_of(id),
        parent_id: id_of(parent),
        name: "GET /".into(),
        kind,
        start: at(0),
        end: Timestamp::from_nanos(at(0).nanos() + millis * SECOND / 1000),
        ..Span::default()
    }
}

fn with(mut span: Span, attributes: &[(&str, &str)]) -> Span {
    let attribute = |(k, v): &(&str, &str)| Attribute::string(*k, *v);
    span.attributes = attributes.iter().map(attribute).collect();
    span
}

fn failed(mut span: Span) -> Span {
    span.status = StatusCode::Error;
    span
}

fn of(service: &str, spans: Vec<Span>) -> ResourceSpans {
    let mut attributes = vec![Attribute::string("service.name", service)];
    attributes.retain(|a| a.value != AttributeValue::String(String::new()));
    ResourceSpans {
        resource: Resource {
            attributes,
            ..Resource::default()
        },
        scopes: vec![ScopeSpans {
            spans,
            ..ScopeSpans::default()
        }],
    }
}

fn deriver(change: impl FnOnce(&mut Setting)) -> Deriver {
    let mut setting = Setting::default();
    change(&mut setting);
    Deriver::new(setting, at(0))
}

fn send(deriver: &mut Deriver, seconds: i64, resources: Vec<ResourceSpans>) {
    deriver.observe(&tenant(), &SpanBatch { resources }, at(seconds));
}

/// The last float of each series, by its labels; stale markers are left out.
fn collect(deriver: &mut Deriver, seconds: i64) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (_, batch) in deriver.collect(at(seconds)) {
        for series in batch.series {
            if let Some(Sample {
                value: Value::Float(value),
                ..
            }) = series.samples.last()
                && !is_stale(*value)
            {
                all.insert(series.labels.to_string(), *value);
            }
        }
    }
    all
}

/// The series whose labels have all of the texts.
fn having(all: &BTreeMap<String, f64>, parts: &[&str]) -> Vec<(String, f64)> {
    let wanted = all
        .iter()
        .filter(|(labels, _)| parts.iter().all(|p| labels.contains(p)));
    wanted.map(|(labels, v)| (labels.clone(), *v)).collect()
}

/// The calls of the service graph: client, server, kind and number.
fn calls(all: &BTreeMap<String, f64>) -> Vec<String> {
    having(all, &["traces_service_graph_request_total"])
        .into_iter()
        .map(|(labels, value)| {
            let part = |name: &str| {
                let (_, rest) = labels.split_once(&format!(" {name}=\""))?;
                Some(rest.split_once('"')?.0.to_owned())
            };
            let [client, server, kind] =
                ["client", "server", "connection_type"].map(|name| part(name).unwrap_or_default());
            format!("{client} > {server} {kind} {value}")
        })
        .collect()
}

#[test]
fn span_metrics_by_hand() {
    let mut deriver = deriver(|_| {});
    let spans = vec![
        span(1, 1, 0, SpanKind::Server, 2),
        span(2, 1, 0, SpanKind::Server, 3),
        span(3, 1, 0, SpanKind::Server, 40_000),
        failed(span(4, 1, 0, SpanKind::Server, 5)),
    ];
    let bytes: usize = spans[..3].iter().map(span_bytes).sum();
    send(&mut deriver, 1, vec![of("shop", spans)]);
    let all = collect(&mut deriver, 15);
    let ok = r#"service="shop", span_kind="SPAN_KIND_SERVER", span_name="GET /", status_code="STATUS_CODE_UNSET"}"#;
    let of_ok = |name: &str| all.get(&format!("{{__name__=\"{name}\", {ok}")).copied();
    assert_eq!(of_ok("traces_spanmetrics_calls_total"), Some(3.0));
    assert_eq!(of_ok("traces_spanmetrics_size_total"), Some(bytes as f64));
    assert_eq!(of_ok("traces_spanmetrics_latency_count"), Some(3.0));
    let sum = of_ok("traces_spanmetrics_latency_sum").unwrap();
    assert!((sum - 40.005).abs() < 1e-9, "{sum}");
    let bucket = |le: &str| {
        let labels = format!("{{__name__=\"traces_spanmetrics_latency_bucket\", le=\"{le}\", {ok}");
        all.get(&labels).copied()
    };
    let counts = ["0.002", "0.004", "16.384", "+Inf"].map(bucket);
    assert_eq!(counts, [Some(1.0), Some(2.0), Some(2.0), Some(3.0)]);
    assert_eq!(having(&all, &["latency_bucket", "UNSET"]).len(), 15);
    let errors = having(&all, &["calls_total", "STATUS_CODE_ERROR"]);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].1, 1.0);
}

#[test]
fn first_samples_follow_a_zero_and_ends_are_marked() {
    let mut deriver = deriver(|s| s.service_graph = None);
    send(
        &mut deriver,
        1,
        vec![of("a", vec![span(7, 1, 0, SpanKind::Server, 3)])],
    );
    let all = deriver.collect(at(15));
    let series = &all[0].1.series;
    // 15 buckets, sum, count, the native one, calls and size.
    assert_eq!(series.len(), 20);
    for one in series {
        assert_eq!(one.samples.len(), 2, "{}", one.labels);
        assert_eq!(one.samples[1].time, at(15));
        assert!(one.samples[0].time > at(0) && one.samples[0].time < at(1));
        let zero = match &one.samples[0].value {
            Value::Float(value) => *value,
            Value::Histogram(histogram) => histogram.count,
        };
        assert_eq!(zero, 0.0);
    }
    let native = |name: &str| series.iter().find(|s| s.labels.metric_name() == Some(name));
    let native = native("traces_spanmetrics_latency").unwrap();
    let Value::Histogram(histogram) = &native.samples[1].value else {
        panic!("{native:?}");
    };
    assert_eq!((histogram.count, histogram.schema), (1.0, 3));
    assert_eq!(histogram.validate(), Ok(()));
    let examples: Vec<_> = series.iter().flat_map(|s| &s.exemplars).collect();
    assert_eq!(examples.len(), 2);
    let id = TraceId([7; 16]).to_string();
    assert!(
        examples
            .iter()
            .all(|e| e.labels.get("traceID") == Some(&id) && e.value == 0.003)
    );
    // Nothing new: the same totals, no zeroes and no examples; then the end.
    let all = deriver.collect(at(30));
    assert!(
        all[0]
            .1
            .series
            .iter()
            .all(|s| s.samples.len() == 1 && s.exemplars.is_empty())
    );
    let all = deriver.collect(at(1000));
    assert_eq!(all[0].1.series.len(), 20);
    assert!(
        all[0]
            .1
            .series
            .iter()
            .all(|s| s.samples[0].value.is_stale())
    );
    assert!(deriver.collect(at(1015)).is_empty());
    assert_eq!(deriver.stats().tenants, 0);
}

#[test]
fn what_becomes_a_label_is_configured() {
    let mut deriver = deriver(|setting| {
        let metrics = setting.span_metrics.as_mut().unwrap();
        metrics.dimensions = vec!["http.method".into(), "service".into()];
        metrics.instance_labels = true;
        metrics.intrinsic.status_message = true;
        metrics.intrinsic.span_kind = false;
        metrics.histograms = setting::Histograms::Native;
    });
    let mut one = with(
        span(1, 1, 0, SpanKind::Server, 1),
        &[("http.method", "PUT"), ("service", "mesh")],
    );
    one.status_message = "why".into();
    let mut group = of("shop", vec![one]);
    for (key, value) in [
        ("service.namespace", "eu"),
        ("service.instance.id", "i-1"),
        ("k8s.pod.name", "shop-0"),
    ] {
        group
            .resource
            .attributes
            .push(Attribute::string(key, value));
    }
    send(&mut deriver, 1, vec![group]);
    let all = collect(&mut deriver, 15);
    let expect = r#"{__name__="traces_spanmetrics_calls_total", __service="mesh", http_method="PUT", instance="i-1", job="eu/shop", service="shop", span_name="GET /", status_code="STATUS_CODE_UNSET", status_message="why"}"#;
    assert_eq!(all.get(expect), Some(&1.0), "{all:#?}");
    assert!(having(&all, &["latency"]).is_empty());
    let info =
        r#"{__name__="traces_target_info", instance="i-1", job="eu/shop", k8s_pod_name="shop-0"}"#;
    assert_eq!(all.get(info), Some(&1.0), "{all:#?}");
}

#[test]
fn late_spans_are_left_out_where_there_is_a_slack() {
    let mut deriver = deriver(|s| s.slack_nanos = Some(30 * SECOND));
    send(
        &mut deriver,
        29,
        vec![of("a", vec![span(1, 1, 0, SpanKind::Server, 1)])],
    );
    send(
        &mut deriver,
        31,
        vec![of("a", vec![span(2, 1, 0, SpanKind::Server, 1)])],
    );
    send(
        &mut deriver,
        -31,
        vec![of("a", vec![span(3, 1, 0, SpanKind::Server, 1)])],
    );
    let all = collect(&mut deriver, 45);
    assert_eq!(having(&all, &["calls_total"])[0].1, 1.0);
    assert_eq!(deriver.stats().outside_slack, 2);
}

/// What the service graph makes of spans, each of a service, after all waiting.
fn graph(change: impl FnOnce(&mut setting::ServiceGraph), spans: Vec<(&str, Span)>) -> Vec<String> {
    let mut deriver = deriver(|setting| {
        setting.span_metrics = None;
        change(setting.service_graph.as_mut().unwrap());
    });
    for (service, span) in spans {
        send(&mut deriver, 1, vec![of(service, vec![span])]);
    }
    calls(&collect(&mut deriver, 15))
}

#[test]
fn sides_meet_in_any_order() {
    let client = || ("a", span(1, 1, 9, SpanKind::Client, 30));
    let server = || ("b", span(1, 2, 1, SpanKind::Server, 20));
    let expect = ["a > b  1"];
    assert_eq!(graph(|_| {}, vec![client(), server()]), expect);
    assert_eq!(graph(|_| {}, vec![server(), client()]), expect);
    // A retried batch finds its call gone, and waits in vain.
    assert_eq!(graph(|_| {}, vec![client(), server(), client()]), expect);
    let queue = vec![
        ("a", span(1, 1, 9, SpanKind::Producer, 30)),
        ("b", span(1, 2, 1, SpanKind::Consumer, 20)),
    ];
    assert_eq!(graph(|_| {}, queue), ["a > b messaging_system 1"]);
    // Other traces and other parents are other calls; inner spans are none.
    let others = vec![
        client(),
        ("b", span(2, 2, 1, SpanKind::Server, 20)),
        ("b", span(1, 2, 3, SpanKind::Server, 20)),
        ("b", span(1, 3, 1, SpanKind::Internal, 20)),
    ];
    assert!(graph(|_| {}, others).is_empty());
    let nameless = vec![("", span(1, 1, 9, SpanKind::Client, 30)), server()];
    assert!(graph(|_| {}, nameless).is_empty());
}

#[test]
fn databases_are_both_sides() {
    let check = |attributes: &[(&str, &str)], expect: &str| {
        let one = with(span(1, 1, 9, SpanKind::Client, 30), attributes);
        assert_eq!(graph(|_| {}, vec![("a", one)]), [expect], "{attributes:?}");
    };
    check(&[("db.name", "orders")], "a > orders database 1");
    check(&[("db.namespace", "orders")], "a > orders database 1");
    check(&[("db.system", "redis")], "a > redis database 1");
    check(&[("db.system.name", "redis")], "a > redis database 1");
    check(
        &[
            ("db.name", "orders"),
            ("peer.service", "pg"),
            ("server.address", "h"),
        ],
        "a > pg database 1",
    );
    check(
        &[
            ("db.system", "pg"),
            ("network.peer.address", "h"),
            ("server.address", "s"),
        ],
        "a > s database 1",
    );
    check(
        &[
            ("db.system", "pg"),
            ("network.peer.address", "h"),
            ("network.peer.port", "5432"),
        ],
        "a > h:5432 database 1",
    );
}

#[test]
fn sides_that_do_not_come_are_made_up() {
    let check = |service: &str, span: Span, expect: &[&str]| {
        assert_eq!(graph(|_| {}, vec![(service, span)]), expect);
    };
    let client = || span(1, 1, 9, SpanKind::Client, 30);
    check("a", client(), &[]);
    check(
        "a",
        with(client(), &[("peer.service", "pay")]),
        &["a > pay virtual_node 1"],
    );
    check(
        "a",
        with(client(), &[("server.address", "pay.example")]),
        &["a > pay.example virtual_node 1"],
    );
    check(
        "b",
        span(1, 1, 0, SpanKind::Server, 30),
        &["user > b virtual_node 1"],
    );
    check(
        "b",
        with(
            span(1, 1, 0, SpanKind::Server, 30),
            &[("peer.service", "cdn")],
        ),
        &["cdn > b virtual_node 1"],
    );
    check("b", span(1, 1, 9, SpanKind::Server, 30), &[]);
    let queue = [
        ("messaging.destination.name", "orders"),
        ("server.address", "kafka"),
    ];
    check(
        "a",
        with(span(1, 1, 9, SpanKind::Producer, 3), &queue),
        &["a > orders virtual_node 1"],
    );
    check(
        "b",
        with(span(1, 1, 9, SpanKind::Consumer, 3), &queue),
        &["orders > b virtual_node 1"],
    );
    // Several roots of one trace do not hide each other.
    let roots = vec![
        ("b", span(1, 1, 0, SpanKind::Server, 30)),
        ("b", span(1, 2, 0, SpanKind::Server, 30)),
    ];
    assert_eq!(graph(|_| {}, roots), ["user > b virtual_node 2"]);
}

#[test]
fn sides_wait_as_long_as_they_should() {
    let mut deriver = deriver(|s| s.span_metrics = None);
    let client = |trace| {
        let span = span(trace, 1, 9, SpanKind::Client, 30);
        vec![of("a", vec![with(span, &[("peer.service", "b?")])])]
    };
    let server = |trace| {
        vec![of(
            "b",
            vec![failed(span(trace, 2, 1, SpanKind::Server, 20))],
        )]
    };
    send(&mut deriver, 0, client(1));
    send(&mut deriver, 9, server(1));
    send(&mut deriver, 9, client(2));
    assert_eq!(calls(&collect(&mut deriver, 15)), ["a > b  1"]);
    send(&mut deriver, 20, server(2));
    let all = collect(&mut deriver, 45);
    assert_eq!(calls(&all), ["a > b? virtual_node 1", "a > b  1"]);
    let failed = having(&all, &["request_failed_total"]);
    assert!(
        failed.len() == 1 && failed[0].0.contains(r#"server="b""#),
        "{failed:?}"
    );
    // The server that came too late has nobody to pair with.
    let unpaired = having(&all, &["unpaired_spans_total"]);
    assert!(
        unpaired.len() == 1
            && unpaired[0]
                .0
                .contains(r#"{__name__="traces_service_graph_unpaired_spans_total", server="b"}"#),
        "{unpaired:?}"
    );
    assert_eq!(deriver.stats().edges_expired, 2);
}

#[test]
fn times_are_those_of_each_side() {
    let mut deriver = deriver(|s| {
        s.span_metrics = None;
        s.service_graph.as_mut().unwrap().messaging_latency = true;
    });
    let mut consumer = span(1, 2, 1, SpanKind::Consumer, 0);
    consumer.start = Timestamp::from_nanos(at(0).nanos() + 2 * SECOND);
    consumer.end = Timestamp::from_nanos(at(0).nanos() + 5 * SECOND);
    send(
        &mut deriver,
        5,
        vec![
            of("a", vec![span(1, 1, 9, SpanKind::Producer, 500)]),
            of("b", vec![consumer]),
        ],
    );
    let all = collect(&mut deriver, 15);
    for (name, expect) in [("client", 0.5), ("server", 3.0), ("messaging_system", 1.5)] {
        let name = format!("request_{name}_seconds_sum");
        assert_eq!(having(&all, &[&name])[0].1, expect, "{name}");
    }
    assert_eq!(having(&all, &["request_server_seconds_bucket"]).len(), 9);
}

#[test]
fn dimensions_of_both_sides() {
    let send = |prefix| {
        let mut deriver = deriver(|s| {
            s.span_metrics = None;
            let graph = s.service_graph.as_mut().unwrap();
            graph.dimensions = vec!["k8s.cluster.name".into()];
            graph.client_server_prefix = prefix;
            graph.virtual_node_label = true;
        });
        let client = with(
            span(1, 1, 9, SpanKind::Client, 1),
            &[("k8s.cluster.name", "eu")],
        );
        let server = with(
            span(1, 2, 1, SpanKind::Server, 1),
            &[("k8s.cluster.name", "us")],
        );
        send(
            &mut deriver,
            1,
            vec![of("a", vec![client]), of("b", vec![server])],
        );
        let root = span(2, 1, 0, SpanKind::Server, 1);
        send(&mut deriver, 1, vec![of("b", vec![root])]);
        having(&collect(&mut deriver, 15), &["request_total"])
    };
    let labels: Vec<String> = send(true).into_iter().map(|(labels, _)| labels).collect();
    assert_eq!(
        labels,
        [
            r#"{__name__="traces_service_graph_request_total", client="a", client_k8s_cluster_name="eu", server="b", server_k8s_cluster_name="us"}"#,
            r#"{__name__="traces_service_graph_request_total", client="user", connection_type="virtual_node", server="b", virtual_node="client"}"#,
        ]
    );
    assert!(
        send(false)[0]
            .0
            .contains(r#", k8s_cluster_name="us", server="b"}"#)
    );
}

#[test]
fn sides_for_which_there_is_no_room_are_counted() {
    let mut deriver = deriver(|s| {
        s.span_metrics = None;
        s.service_graph.as_mut().unwrap().max_items = 3;
    });
    for trace in 1..=5 {
        send(
            &mut deriver,
            1,
            vec![of("a", vec![span(trace, 1, 9, SpanKind::Client, 1)])],
        );
    }
    // Those that wait are still met.
    send(
        &mut deriver,
        2,
        vec![of("b", vec![span(3, 2, 1, SpanKind::Server, 1)])],
    );
    let all = collect(&mut deriver, 5);
    assert_eq!(calls(&all), ["a > b  1"]);
    assert_eq!(
        having(&all, &["dropped_spans_total", r#"client="a""#])[0].1,
        2.0
    );
    assert_eq!(
        (deriver.stats().edges_dropped, deriver.stats().edges_waiting),
        (2, 2)
    );
}

#[test]
fn tenants_are_apart() {
    let mut deriver = deriver(|_| {});
    let other = Tenant::new("other").unwrap();
    let batch = |span| SpanBatch {
        resources: vec![of("a", vec![span])],
    };
    deriver.observe(&tenant(), &batch(span(1, 1, 9, SpanKind::Client, 1)), at(1));
    deriver.observe(&other, &batch(span(1, 2, 1, SpanKind::Server, 1)), at(1));
    let all = deriver.collect(at(15));
    assert_eq!(all.len(), 2);
    for (tenant, batch) in all {
        let names = batch.series.iter().filter_map(|s| s.labels.metric_name());
        let calls = names.filter(|n| n.ends_with("calls_total")).count();
        assert_eq!(calls, 1, "{tenant}");
        assert!(!batch.metadata.is_empty());
    }
}

#[test]
fn what_is_off_by_default() {
    let mut deriver = deriver(|setting| {
        setting.host_info = Some(setting::HostInfo::default());
        setting.service_graph.as_mut().unwrap().connection_info = true;
    });
    let mut client = of("a", vec![span(1, 1, 9, SpanKind::Client, 5)]);
    let attributes = &mut client.resource.attributes;
    attributes.push(Attribute::string("host.id", "h1"));
    let mut server = of("b", vec![span(1, 2, 1, SpanKind::Server, 5)]);
    let attributes = &mut server.resource.attributes;
    attributes.push(Attribute::string("host.id", "h2"));
    attributes.push(Attribute::string("k8s.node.name", "n"));
    send(&mut deriver, 1, vec![client, server]);
    let all = collect(&mut deriver, 15);
    let hosts: Vec<String> = having(&all, &["traces_host_info"])
        .into_iter()
        .map(|(labels, value)| format!("{labels} {value}"))
        .collect();
    let expect = |id: &str, source: &str| {
        format!(
            "{{__name__=\"traces_host_info\", grafana_host_id=\"{id}\", host_source=\"{source}\"}} 1"
        )
    };
    assert_eq!(
        hosts,
        [expect("h1", "host.id"), expect("n", "k8s.node.name")]
    );
    let info = ["connection_info", "client=\"a\"", "server=\"b\""];
    assert_eq!(having(&all, &info).len(), 1);
    // All of it ends, and nothing is kept.
    deriver.collect(at(5000));
    deriver.collect(at(5015));
    assert_eq!((deriver.stats().series, deriver.stats().tenants), (0, 0));
}

/// A batch whose answer was lost comes again, later and in other company.
#[test]
fn what_is_sent_again_counts_once() {
    let mut deriver = deriver(|_| {});
    let client = || of("a", vec![span(1, 1, 9, SpanKind::Client, 5)]);
    let server = || of("b", vec![span(1, 2, 1, SpanKind::Server, 5)]);
    send(&mut deriver, 1, vec![client(), server()]);
    send(&mut deriver, 2, vec![server(), client()]);
    send(&mut deriver, 3, vec![client()]);
    let all = collect(&mut deriver, 15);
    let total: f64 = having(&all, &["calls_total"]).iter().map(|(_, v)| v).sum();
    assert_eq!(total, 2.0);
    assert_eq!(calls(&all), ["a > b  1"]);
    // No half of a call waits for a partner that came already.
    let all = collect(&mut deriver, 60);
    assert_eq!(having(&all, &["unpaired_spans"]), []);
    assert_eq!((deriver.stats().spans, deriver.stats().repeated), (2, 3));
    // Of another tenant it is another span.
    let other = Tenant::new("other").unwrap();
    let batch = SpanBatch {
        resources: vec![client()],
    };
    deriver.observe(&other, &batch, at(4));
    assert_eq!(deriver.stats().repeated, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, series and waiting calls keep to their bounds, and no span is lost.
    #[test]
    fn memory_is_bounded_and_totals_are_exact(
        spans in prop::collection::vec((0u8..20, 0u8..6, 0u8..6, 0i32..6, 0u8..40), 1..300),
    ) {
        let mut deriver = deriver(|setting| {
            setting.series_max = 200;
            setting.service_graph.as_mut().unwrap().max_items = 7;
        });
        for (index, (trace, id, parent, kind, name)) in spans.iter().enumerate() {
            let mut one = span(*trace, *id, *parent, SpanKind::from_number(*kind), 1);
            one.name = format!("name {name}");
            let service = format!("s{}", name % 7);
            send(&mut deriver, index as i64 / 10, vec![of(&service, vec![one])]);
        }
        let all = collect(&mut deriver, 60);
        let total: f64 = having(&all, &["calls_total"]).iter().map(|(_, v)| v).sum();
        // What says the same of itself is one span that was sent again.
        let same = |(trace, id, _, kind, name): &(u8, u8, u8, i32, u8)| (*trace, *id, *kind, *name);
        let distinct: std::collections::HashSet<_> = spans.iter().map(same).collect();
        prop_assert_eq!(total, distinct.len() as f64);
        prop_assert_eq!(deriver.stats().repeated as usize, spans.len() - distinct.len());
        let within = all.keys().filter(|labels| !labels.contains(OVERFLOW)).count();
        prop_assert!(within <= 200, "{}", within);
        prop_assert!(deriver.stats().edges_waiting <= 7);
        prop_assert!(deriver.stats().series <= 200);
        // All of it ends, and nothing is kept.
        deriver.collect(at(5000));
        deriver.collect(at(5015));
        prop_assert_eq!((deriver.stats().series, deriver.stats().tenants), (0, 0));
    }
}
