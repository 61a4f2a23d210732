//! From one signal to the others, through the routes.

use obs_collector::derive::Setting;
use obs_model::spans::{Attribute, Resource, ResourceSpans, ScopeSpans, SpanEvent, SpanKind};
use obs_model::{Labels, LogBatch, LogRecord, LogStream, Span, SpanId, Tenant};

use super::*;
use crate::api::tests::{JSON, Rig, check};
use crate::derived::Derived;

const ID: &str = "0af7651916cd43dd8448eb211c80319c";

fn spans(now: Timestamp) -> SpanBatch {
    let attributes = [
        ("service.name", "shop"),
        ("k8s.namespace.name", "eu"),
        ("k8s.pod.name", "shop-0"),
    ];
    let attribute = |(k, v): &(&str, &str)| Attribute::string(*k, *v);
    let thrown = SpanEvent {
        time: now,
        name: "exception".into(),
        attributes: vec![
            Attribute::string("exception.type", "Timeout"),
            Attribute::string("exception.message", "after 30s"),
        ],
        ..SpanEvent::default()
    };
    let span = Span {
        trace_id: TraceId::from_hex(ID).expect("an id"),
        span_id: SpanId([1; 8]),
        name: "GET /".into(),
        kind: SpanKind::Server,
        start: now,
        end: now.saturating_add(50_000_000),
        events: vec![thrown],
        ..Span::default()
    };
    SpanBatch {
        resources: vec![ResourceSpans {
            resource: Resource {
                attributes: attributes.iter().map(attribute).collect(),
                ..Resource::default()
            },
            scopes: vec![ScopeSpans {
                spans: vec![span],
                ..ScopeSpans::default()
            }],
        }],
    }
}

/// A server with a trace, its metrics and a log line of the same pod.
async fn rig() -> Rig {
    let rig = Rig::start();
    let (now, tenant) = (clock::now(), Tenant::anonymous());
    let derived = Derived::new(Some(Setting::default()));
    derived.observe(&tenant, &spans(now));
    derived.store(&rig.app.sink).await;
    let stored = rig.app.sink.spans(tenant.clone(), spans(now)).await;
    assert_eq!(stored.map(|accepted| accepted.refused), Ok(0));
    let logs = LogBatch {
        streams: vec![LogStream {
            labels: Labels::from_pairs([("namespace", "eu"), ("pod", "shop-0")]),
            records: vec![LogRecord {
                time: now,
                line: b"no answer".to_vec(),
                metadata: Labels::from_pairs([("trace_id", ID)]),
            }],
        }],
    };
    let stored = rig.app.sink.logs(tenant, logs).await;
    assert_eq!(stored.map(|accepted| accepted.refused), Ok(0));
    rig
}

async fn get(rig: &mut Rig, path: &str) -> Value {
    let told = rig.get(path).await;
    check(&told, 200, JSON, "success");
    serde_json::from_str::<Value>(&told.body).expect("JSON")["data"].take()
}

#[tokio::test]
async fn from_a_trace_to_logs_and_metrics() {
    let mut rig = rig().await;
    let data = get(&mut rig, &format!("/api/v1/correlate/trace/{ID}")).await;
    let sender = &data["senders"][0];
    assert_eq!(sender["resource"]["k8s.pod.name"], "shop-0");
    // The streams that are there come first, and the link finds the line.
    let first = &sender["logs"][0];
    let expect = format!("{{pod=\"shop-0\", namespace=\"eu\"}} | trace_id=\"{ID}\"");
    assert_eq!(
        (&first["query"], &first["stored"]),
        (&json!(expect), &json!(true))
    );
    let told = rig.get(first["href"].as_str().expect("a link")).await;
    check(&told, 200, JSON, "no answer");
    let calls = &sender["metrics"][0];
    assert_eq!(calls["lang"], "promql");
    for one in sender["metrics"].as_array().expect("a list") {
        let told = rig.get(one["href"].as_str().expect("a link")).await;
        check(&told, 200, JSON, "success");
    }
    let traces = sender["traces"][0]["href"]
        .as_str()
        .expect("a link")
        .to_owned();
    check(
        &rig.get(&traces).await,
        200,
        JSON,
        "af7651916cd43dd8448eb211c80319c",
    );
    check(
        &rig.get("/api/v1/correlate/trace/1").await,
        404,
        JSON,
        "trace not found",
    );
    check(
        &rig.get("/api/v1/correlate/trace/x").await,
        400,
        JSON,
        "invalid trace id",
    );
}

#[tokio::test]
async fn from_logs_exemplars_and_labels_to_traces() {
    let mut rig = rig().await;
    let line =
        format!("/api/v1/correlate/log?line=trace_id%3D{ID}&labels=%7B%22pod%22%3A%22shop-0%22%7D");
    let data = get(&mut rig, &line).await;
    assert_eq!(data["traces"][0]["traceId"], ID);
    assert_eq!(data["traces"][0]["stored"], true);
    assert_eq!(data["senderTraces"][0]["lang"], "traceql");
    let other = "/api/v1/correlate/log?line=trace_id%3D11111111111111111111111111111111";
    assert_eq!(get(&mut rig, other).await["traces"][0]["stored"], false);
    let path = "/api/v1/correlate/exemplars?query=traces_spanmetrics_latency_bucket";
    let data = get(&mut rig, path).await;
    let found = &data["exemplars"];
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(
        (&found[0]["traceId"], &found[0]["value"]),
        (&json!(ID), &json!(0.05))
    );
    let path = "/api/v1/correlate/resource?labels=%7B%22service_name%22%3A%22shop%22%7D";
    let data = get(&mut rig, path).await;
    assert_eq!(
        data["traces"][0]["query"],
        "{ resource.service.name = \"shop\" }"
    );
    let told = rig.get("/api/v1/correlate/resource?labels=%7B%7D").await;
    check(&told, 400, JSON, "labels");
    let told = rig.get("/api/v1/correlate/resource?labels=7").await;
    check(&told, 400, JSON, "JSON object");
}

#[tokio::test]
async fn metrics_of_spans_are_series_of_their_tenant() {
    let mut rig = rig().await;
    let query = "/api/v1/query?query=traces_spanmetrics_calls_total";
    let told = rig.get(query).await;
    let labels = r#""service":"shop","span_kind":"SPAN_KIND_SERVER","span_name":"GET /","status_code":"STATUS_CODE_UNSET""#;
    check(&told, 200, JSON, labels);
    let native = "/api/v1/query?query=histogram_count(traces_spanmetrics_latency)";
    check(&rig.get(native).await, 200, JSON, r#""1"]"#);
    let info = "/api/v1/query?query=traces_target_info";
    check(
        &rig.get(info).await,
        200,
        JSON,
        r#""k8s_pod_name":"shop-0""#,
    );
    let metadata = "/api/v1/metadata?metric=traces_spanmetrics_calls_total";
    check(&rig.get(metadata).await, 200, JSON, "counter");
    let other = http::Request::get(query).header("x-scope-orgid", "other");
    check(&rig.ask(other, "").await, 200, JSON, r#""result":[]"#);
}

#[tokio::test]
async fn exceptions_in_groups() {
    let mut rig = rig().await;
    let data = get(&mut rig, "/api/v1/errors").await;
    let group = &data["groups"][0];
    assert_eq!((&data["total"], &group["count"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&group["type"], &group["traces"][0]["traceId"]),
        (&json!("Timeout"), &json!(ID))
    );
    assert_eq!(group["services"][0]["name"], "shop");
    let path = format!(
        "/api/v1/errors/{}",
        group["fingerprint"].as_str().expect("text")
    );
    assert_eq!(get(&mut rig, &path).await["message"], "after 30s");
    for nothing in [
        "service=other",
        "type=Other",
        "q=other",
        "status=error",
        "end=100",
        "offset=1",
    ] {
        let data = get(&mut rig, &format!("/api/v1/errors?{nothing}")).await;
        assert_eq!(
            data["groups"].as_array().map(Vec::len),
            Some(0),
            "{nothing}"
        );
    }
    assert_eq!(
        get(
            &mut rig,
            "/api/v1/errors?service=shop&type=Timeout&q=AFTER&sort=count"
        )
        .await["total"],
        1
    );
    check(
        &rig.get("/api/v1/errors/00").await,
        404,
        JSON,
        "no such error",
    );
    check(&rig.get("/api/v1/errors/x").await, 400, JSON, "hexadecimal");
    check(&rig.get("/api/v1/errors?sort=x").await, 400, JSON, "sort");
    check(
        &rig.get("/api/v1/errors?status=ok").await,
        400,
        JSON,
        "status",
    );
}
