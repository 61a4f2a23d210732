//! Jaeger's API through the routes, on the trace of Tempo's tests.

use http::Request;
use serde_json::{Value, json};

use crate::api::tempo::tests::{BEGIN, ID, call_at, rig, text_field, varint_field};
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

/// A message as a field.
pub(in crate::api) fn nested(number: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, message.len() as u8];
    out.extend_from_slice(message);
    out
}

#[tokio::test]
async fn both_query_services_over_grpc() {
    let mut rig = rig().await;
    let contains =
        |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|w| w == part.as_bytes());
    let v2 = |method: &str| format!("/jaeger.api_v2.QueryService/{method}");
    let v3 = |method: &str| format!("/jaeger.api_v3.QueryService/{method}");
    for path in [v2("GetServices"), v3("GetServices")] {
        let (found, status) = call_at(&mut rig, &path, &[]).await;
        let names = [text_field(1, "pay"), text_field(1, "shop")].concat();
        assert_eq!((found, status.as_str()), (vec![names], "0"), "{path}");
    }
    let asked = [text_field(1, "shop"), text_field(2, "server")].concat();
    let operation = [text_field(1, "GET /"), text_field(2, "server")].concat();
    let (found, _) = call_at(&mut rig, &v2("GetOperations"), &asked).await;
    let both = [text_field(1, "GET /"), nested(2, &operation)].concat();
    assert_eq!(found, [both]);
    let (found, _) = call_at(&mut rig, &v3("GetOperations"), &asked).await;
    assert_eq!(found, [nested(1, &operation)]);
    // By id: bytes in the first generation, text in the third.
    let id = [nested(1, &[0x0a, 0xbc]), text_field(1, "abc")];
    for (path, id) in [(v2("GetTrace"), &id[0]), (v3("GetTrace"), &id[1])] {
        let (found, status) = call_at(&mut rig, &path, id).await;
        assert_eq!((found.len(), status.as_str()), (1, "0"), "{path}");
        for part in ["GET /", "postgres", "no money", "shop", "pay"] {
            assert!(contains(&found[0], part), "{path}: {part}");
        }
    }
    let missing = [nested(1, &[9]), text_field(1, "9")];
    for (path, id) in [(v2("GetTrace"), &missing[0]), (v3("GetTrace"), &missing[1])] {
        let (found, status) = call_at(&mut rig, &path, id).await;
        assert_eq!((found.len(), status.as_str()), (0, "5"), "{path}");
    }
    let time = |number, seconds: i64| nested(number, &varint_field(1, seconds as u64));
    let times = [time(4, BEGIN - 60), time(5, BEGIN + 60)].concat();
    let tag = nested(3, &[text_field(1, "error"), text_field(2, "true")].concat());
    for (service, expect) in [("pay", 1), ("shop", 0)] {
        let query = [text_field(1, service), tag.clone(), times.clone()].concat();
        let query = nested(1, &query);
        for path in [v2("FindTraces"), v3("FindTraces")] {
            let (found, status) = call_at(&mut rig, &path, &query).await;
            assert_eq!((found.len(), status.as_str()), (expect, "0"), "{path}");
        }
        let (found, _) = call_at(&mut rig, &v3("FindTraceSummaries"), &query).await;
        assert_eq!(contains(&found[0], "GET /"), expect == 1);
    }
    // No query; no times, which only the third generation needs.
    let lone = nested(1, &text_field(1, "shop"));
    for (path, message, expect) in [
        (v2("FindTraces"), vec![], "3"),
        (v3("FindTraces"), vec![], "3"),
        (v2("FindTraces"), lone.clone(), "0"),
        (v3("FindTraces"), lone, "3"),
        (v2("ArchiveTrace"), vec![], "12"),
        (v3("GetTrace"), text_field(1, "x"), "3"),
        (v2("GetTrace"), vec![], "3"),
    ] {
        let (found, status) = call_at(&mut rig, &path, &message).await;
        assert_eq!((found.len(), status.as_str()), (0, expect), "{path}");
    }
    let times = [time(1, BEGIN - 60), time(2, BEGIN + 60)].concat();
    let link = [
        text_field(1, "shop"),
        text_field(2, "pay"),
        varint_field(3, 1),
    ]
    .concat();
    for path in [v2("GetDependencies"), v3("GetDependencies")] {
        let (found, _) = call_at(&mut rig, &path, &times).await;
        assert_eq!(found, [nested(1, &link)], "{path}");
    }
}

#[tokio::test]
async fn the_third_generation_by_body() {
    let mut rig = rig().await;
    let iso = |seconds: i64| obs_model::Timestamp::from_seconds(seconds).to_string();
    let query = |service: &str| {
        json!({"query": {
            "service_name": service, "attributes": {"error": "true"},
            "startTimeMin": iso(BEGIN - 60), "startTimeMax": iso(BEGIN + 60), "searchDepth": 5,
        }})
        .to_string()
    };
    let mut post = async |path: &str, body: &str| {
        let request = Request::post(format!("/jaeger/api/v3/{path}"));
        rig.ask(request.header("content-type", JSON), body).await
    };
    check(&post("traces", &query("pay")).await, 200, JSON, "no money");
    check(
        &post("traces", &query("shop")).await,
        404,
        JSON,
        "No traces found",
    );
    let told = post("trace-summaries", &query("pay")).await;
    check(&told, 200, JSON, r#""spanCount":4,"errorSpanCount":1"#);
    check(&post("traces", "{}").await, 400, JSON, "httpCode");
    check(
        &post("traces", "[").await,
        400,
        JSON,
        "malformed parameter body",
    );
    let path = format!(
        "/jaeger/api/v3/dependencies?startTime={}&endTime={}",
        iso(BEGIN - 60),
        iso(BEGIN + 60)
    );
    let told = rig.get(&path).await;
    let expect = r#"{"dependencies":[{"parent":"shop","child":"pay","callCount":"1"}]}"#;
    check(&told, 200, JSON, expect);
}
