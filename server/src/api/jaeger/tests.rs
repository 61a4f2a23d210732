//! Jaeger's API through the routes, on the trace of Tempo's tests.

use http::Request;
use serde_json::{Value, json};

use crate::api::tempo::tests::{BEGIN, ID, rig};
use crate::api::tests::{JSON, Rig, check};

async fn ask(rig: &mut Rig, path: &str) -> Value {
    let told = rig.get(&format!("/jaeger/api/{path}")).await;
    check(&told, 200, JSON, "");
    serde_json::from_str(&told.body).expect("JSON")
}

fn micros() -> String {
    format!(
        "start={}&end={}",
        (BEGIN - 60) * 1_000_000,
        (BEGIN + 60) * 1_000_000
    )
}

#[tokio::test]
async fn names() {
    let mut rig = rig().await;
    assert_eq!(
        ask(&mut rig, "services").await,
        json!({"data": ["pay", "shop"], "total": 2, "limit": 0, "offset": 0, "errors": null})
    );
    let operations = ask(&mut rig, "services/shop/operations").await;
    assert_eq!(operations["data"], json!(["GET /", "POST pay", "sql"]));
    let operations = ask(&mut rig, "operations?service=shop&spanKind=server").await;
    assert_eq!(
        operations["data"],
        json!([{"name": "GET /", "spanKind": "server"}])
    );
    let told = rig.get("/jaeger/api/operations").await;
    check(&told, 400, JSON, "parameter 'service' is required");
    assert_eq!(
        ask(&mut rig, "v3/services").await,
        json!({"services": ["pay", "shop"]})
    );
    assert_eq!(
        ask(&mut rig, "v3/operations?service=shop&span_kind=client").await,
        json!({"operations": [{"name": "POST pay", "spanKind": "client"}, {"name": "sql", "spanKind": "client"}]})
    );
}

#[tokio::test]
async fn searches_of_the_first_generation() {
    let mut rig = rig().await;
    let found = async |rig: &mut Rig, query: &str| {
        let told = ask(rig, &format!("traces?{query}&{}", micros())).await;
        told["data"].as_array().expect("traces").len()
    };
    for (query, expect) in [
        ("service=shop", 1),
        ("service=shop&operation=sql&limit=20&lookback=custom", 1),
        ("service=pay&operation=sql", 0),
        ("service=pay&tags=%7B%22error%22%3A%22true%22%7D", 1),
        ("service=shop&tags=%7B%22error%22%3A%22true%22%7D", 0),
        (
            "service=shop&tags=%7B%22rows%22%3A%227%22%2C%22db.system%22%3A%22postgres%22%7D",
            1,
        ),
        ("service=shop&tag=rows:8", 0),
        ("service=shop&minDuration=30ms&maxDuration=40ms", 1),
        ("service=shop&minDuration=1s", 0),
        ("service=shop&limit=0", 0),
    ] {
        assert_eq!(found(&mut rig, query).await, expect, "{query}");
    }
    for (query, part) in [
        ("limit=1", "parameter 'service' is required"),
        (
            "service=a&minDuration=2s&maxDuration=1s",
            "'maxDuration' should be greater",
        ),
        ("service=a&tags=x", "malformed 'tags' parameter"),
        ("service=a&tag=x", "expecting key:value, received: x"),
        (
            "service=a&minDuration=x",
            "unable to parse param 'minDuration'",
        ),
        ("traceID=xyz", "malformed trace id"),
    ] {
        check(
            &rig.get(&format!("/jaeger/api/traces?{query}")).await,
            400,
            JSON,
            part,
        );
    }
    let told = rig.get("/jaeger/api/traces?service=a&start=x").await;
    check(&told, 400, JSON, "unable to parse param 'start'");
    let told = ask(&mut rig, "traces?traceID=abc&traceID=dead").await;
    assert_eq!(told["data"].as_array().expect("traces").len(), 1);
    assert_eq!(
        told["errors"],
        json!([{"msg": "trace not found", "traceID": "000000000000dead"}])
    );
}

#[tokio::test]
async fn one_trace() {
    let mut rig = rig().await;
    let told = ask(&mut rig, &format!("traces/{ID}?prettyPrint=true")).await;
    let trace = &told["data"][0];
    assert_eq!(trace["traceID"], "0000000000000abc");
    let names: Vec<_> = trace["spans"]
        .as_array()
        .expect("spans")
        .iter()
        .map(|s| s["operationName"].clone())
        .collect();
    assert_eq!(names, ["GET /", "sql", "POST pay", "charge"]);
    let charge = &trace["spans"][3];
    assert_eq!(charge["startTime"], BEGIN * 1_000_000 + 55_000);
    assert_eq!(charge["duration"], 35_000);
    assert_eq!(charge["references"][0]["refType"], "CHILD_OF");
    assert_eq!(
        trace["processes"][charge["processID"].as_str().expect("text")]["serviceName"],
        "pay"
    );
    assert!(
        charge["tags"]
            .as_array()
            .expect("tags")
            .contains(&json!({"key": "error", "type": "bool", "value": true}))
    );
    // The id in base64.
    let same = ask(&mut rig, "traces/AAAAAAAAAAAAAAAAAAAKvA==").await;
    assert_eq!(same["data"], told["data"]);
    let told = rig.get("/jaeger/api/traces/dead").await;
    let expect = r#"{"data":null,"total":0,"limit":0,"offset":0,"errors":[{"code":404,"msg":"trace not found"}]}"#;
    check(&told, 404, JSON, expect);
    let told = rig.get("/jaeger/api/v3/traces/dead").await;
    check(
        &told,
        404,
        JSON,
        r#"{"error":{"httpCode":404,"message":"No traces found"}}"#,
    );
    let told = rig.get("/jaeger/api/v3/traces/xyz").await;
    check(&told, 400, JSON, "malformed parameter trace_id");
    let v3 = ask(
        &mut rig,
        &format!("v3/traces/{ID}?startTime=2023-01-01T00:00:00Z"),
    )
    .await;
    let span = &v3["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["traceId"], &span["kind"]), (&json!(ID), &json!(2)));
    // A file of OTLP in the UI's shape.
    let otlp = v3["result"].to_string();
    let told = rig.ask(Request::post("/jaeger/api/transform"), &otlp).await;
    check(&told, 200, JSON, r#""operationName":"charge""#);
}

#[tokio::test]
async fn searches_of_v3() {
    let mut rig = rig().await;
    let times = "query.startTimeMin=2023-11-14T22:00:00Z&query.startTimeMax=2023-11-14T23:00:00.5Z";
    let told = ask(
        &mut rig,
        &format!("v3/traces?query.serviceName=shop&{times}"),
    )
    .await;
    assert_eq!(
        told["result"]["resourceSpans"]
            .as_array()
            .expect("resources")
            .len(),
        2
    );
    let older =
        "query.start_time_min=2023-11-14T22:00:00Z&query.start_time_max=2023-11-14T23:00:00Z";
    let query = "query.service_name=pay&query.operation_name=charge&query.num_traces=5&query.duration_min=30ms";
    let told = ask(&mut rig, &format!("v3/trace-summaries?{query}&{older}")).await;
    let summary = &told["summaries"][0];
    assert_eq!(summary["traceId"], ID);
    assert_eq!(summary["rootServiceName"], "shop");
    assert_eq!(summary["rootOperationName"], "GET /");
    assert_eq!(
        (&summary["spanCount"], &summary["errorSpanCount"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(
        summary["services"][0],
        json!({"name": "pay", "spanCount": 1, "errorSpanCount": 1})
    );
    let attributes = "query.attributes=%7B%22db.system%22%3A%22postgres%22%7D";
    ask(&mut rig, &format!("v3/traces?{attributes}&{times}")).await;
    for (query, status, part) in [
        (
            "query.serviceName=shop",
            400,
            "query.startTimeMin and query.startTimeMax are required",
        ),
        (
            "query.startTimeMin=x&query.startTimeMax=y",
            400,
            "malformed parameter query.startTimeMin",
        ),
        (
            &format!("query.searchDepth=x&{times}"),
            400,
            "malformed parameter query.searchDepth",
        ),
        (
            &format!("query.serviceName=none&{times}"),
            404,
            "No traces found",
        ),
    ] {
        let told = rig.get(&format!("/jaeger/api/v3/traces?{query}")).await;
        check(&told, status, JSON, part);
    }
}

#[tokio::test]
async fn dependencies_and_monitoring() {
    let mut rig = rig().await;
    let end = format!("endTs={}", (BEGIN + 60) * 1000);
    let told = ask(&mut rig, &format!("dependencies?{end}&lookback=3600000")).await;
    assert_eq!(
        told["data"],
        json!([{"parent": "shop", "child": "pay", "callCount": 1}])
    );
    let told = ask(&mut rig, &format!("dependencies?{end}&service=other")).await;
    assert_eq!(told["data"], json!([]));
    let common = format!("service=shop&service=pay&{end}&lookback=120000&step=60000&ratePer=60000");
    let calls = ask(
        &mut rig,
        &format!("metrics/calls?{common}&groupByOperation=true"),
    )
    .await;
    assert_eq!(calls["name"], "service_operation_call_rate");
    assert_eq!(calls["type"], "GAUGE");
    let labels =
        json!([{"name": "service_name", "value": "pay"}, {"name": "operation", "value": "charge"}]);
    assert_eq!(calls["metrics"][0]["labels"], labels);
    let values = |told: &Value, series: usize| -> Vec<f64> {
        let points = told["metrics"][series]["metricPoints"]
            .as_array()
            .expect("points");
        points
            .iter()
            .filter_map(|p| p["gaugeValue"]["doubleValue"].as_f64())
            .filter(|v| *v > 0.0)
            .collect()
    };
    assert_eq!(values(&calls, 0), [1.0 / 60.0]);
    let errors = ask(&mut rig, &format!("metrics/errors?{common}")).await;
    assert_eq!(
        (values(&errors, 0), values(&errors, 1)),
        (vec![1.0], vec![])
    );
    let latencies = ask(
        &mut rig,
        &format!("metrics/latencies?quantile=0.95&{common}"),
    )
    .await;
    assert_eq!(latencies["name"], "service_latencies");
    let found = values(&latencies, 0);
    assert!(
        found.len() == 1 && (16.0..=68.0).contains(&found[0]),
        "{found:?}"
    );
    for (path, part) in [
        ("metrics/calls", "please provide at least one service name"),
        ("metrics/latencies?service=a", "'quantile'"),
        (
            "metrics/calls?service=a&spanKind=x",
            "unsupported span kind: 'x'",
        ),
    ] {
        check(
            &rig.get(&format!("/jaeger/api/{path}")).await,
            400,
            JSON,
            part,
        );
    }
}
