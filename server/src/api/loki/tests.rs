//! Loki's API through the routes: what Grafana's data source, Explore and Logs Drilldown ask, and
//! the live tail over a real connection.

use axum::body::Body;
use http::Request;
use obs_model::{Labels, LogBatch, LogRecord, LogStream, Tenant, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::Service;

use crate::api::tests::{Heard, JSON, Rig, TEXT, check};

/// Seconds of the first line.
const BEGIN: i64 = 1_700_000_000;

fn record(second: i64, line: &str, level: &str) -> LogRecord {
    LogRecord {
        time: Timestamp::from_seconds(BEGIN + second),
        line: line.as_bytes().to_vec(),
        metadata: Labels::from_pairs([("detected_level", level)]),
    }
}

async fn push(rig: &Rig, tenant: &str, app: &str, records: Vec<LogRecord>) {
    let labels = [("app", app), ("service_name", app), ("pod", "7")];
    let stream = LogStream {
        labels: Labels::from_pairs(labels),
        records,
    };
    let batch = LogBatch {
        streams: vec![stream],
    };
    let tenant = Tenant::new(tenant).expect("a name");
    let written = rig.app.sink.logs(tenant, batch).await;
    assert_eq!(written.map(|accepted| accepted.refused), Ok(0));
}

/// Ten lines of each of two applications, a second apart.
async fn filled() -> Rig {
    let rig = Rig::start();
    let shop = (0..10).map(|n| {
        let level = if n % 5 == 0 { "error" } else { "info" };
        record(n, &format!("order {n} took {}ms", n * 7), level)
    });
    push(&rig, "anonymous", "shop", shop.collect()).await;
    let web = (0..10).map(|n| {
        let line = json!({"msg": format!("GET /x{n}"), "status": 200 + n, "http": {"ms": 1.5}});
        record(n, &line.to_string(), "info")
    });
    push(&rig, "anonymous", "web", web.collect()).await;
    rig
}

/// `path?name=value&…` over the time of the lines.
fn asking(path: &str, params: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("start", &BEGIN.to_string());
    query.append_pair("end", &(BEGIN + 60).to_string());
    query.extend_pairs(params);
    format!("/loki/api/v1/{path}?{}", query.finish())
}

async fn ask(rig: &mut Rig, path: &str, params: &[(&str, &str)]) -> Value {
    let told = rig.get(&asking(path, params)).await;
    check(&told, 200, JSON, "");
    serde_json::from_str(&told.body).expect("JSON")
}

async fn told(rig: &mut Rig, path: &str, params: &[(&str, &str)]) -> Heard {
    rig.get(&asking(path, params)).await
}

fn lines(answer: &Value) -> Vec<String> {
    let streams = answer["data"]["result"].as_array().expect("streams");
    let values = streams
        .iter()
        .flat_map(|s| s["values"].as_array().expect("values"));
    let mut lines: Vec<(String, String)> = values
        .map(|v| (v[0].to_string(), v[1].as_str().expect("a line").to_owned()))
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

#[tokio::test]
async fn a_data_source_is_tested_and_explored() {
    let mut rig = filled().await;
    let path = "/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000";
    check(
        &rig.get(path).await,
        200,
        JSON,
        r#""value":[4000000000,"2"]"#,
    );
    let told = rig.get("/loki/api/v1/status/buildinfo").await;
    check(&told, 200, JSON, "\"version\":\"3.");
    let answer = ask(&mut rig, "labels", &[]).await;
    assert_eq!(answer["data"], json!(["app", "pod", "service_name"]));
    let query = [("query", "{app=\"web\"}")];
    let answer = ask(&mut rig, "label/app/values", &query).await;
    assert_eq!(answer["data"], json!(["web"]));
    let both = [("match[]", "{app=\"web\"}"), ("match[]", "{app=~\"s.*\"}")];
    let answer = ask(&mut rig, "series", &both).await;
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(2), "{answer}");
    let answer = ask(&mut rig, "index/stats", &query).await;
    assert_eq!(
        (&answer["streams"], &answer["entries"]),
        (&json!(1), &json!(10))
    );
    let answer = ask(&mut rig, "index/shards", &query).await;
    assert_eq!(answer["shards"][0]["stats"]["entries"], json!(10));
    // The histogram above the lines of Explore.
    let histogram =
        "sum by (level, detected_level) (count_over_time({app=\"shop\"} | drop __error__ [60s]))";
    let answer = ask(
        &mut rig,
        "query_range",
        &[("query", histogram), ("step", "60000ms")],
    )
    .await;
    assert_eq!(answer["data"]["resultType"], "matrix");
    assert_eq!(answer["data"]["result"].as_array().map(Vec::len), Some(2));
    let answer = ask(
        &mut rig,
        "query_range",
        &[("query", "{app=\"shop\"} |= `order`"), ("limit", "3")],
    )
    .await;
    assert_eq!(
        lines(&answer),
        [
            "order 7 took 49ms",
            "order 8 took 56ms",
            "order 9 took 63ms"
        ]
    );
    assert!(answer["data"]["stats"]["summary"]["totalLinesProcessed"].is_u64());
    assert!(answer["data"]["stats"]["ingester"]["store"]["chunk"].is_object());
    let answer = ask(&mut rig, "format_query", &[("query", "{app=\"a\"}|json")]).await;
    assert_eq!(answer["data"], "{app=\"a\"} | json");
}

#[tokio::test]
async fn lines_are_told_as_asked_for() {
    let mut rig = filled().await;
    let params = [
        ("query", "{app=\"shop\"}"),
        ("limit", "1"),
        ("direction", "FORWARD"),
    ];
    let path = asking("query_range", &params);
    let flags = Request::get(&path).header("x-loki-response-encoding-flags", "categorize-labels");
    let answer: Value = serde_json::from_str(&rig.ask(flags, "").await.body).expect("JSON");
    assert_eq!(
        answer["data"]["encodingFlags"],
        json!(["categorize-labels"])
    );
    let first = &answer["data"]["result"][0];
    assert_eq!(
        first["stream"],
        json!({"app": "shop", "pod": "7", "service_name": "shop"})
    );
    let value = json!([
        format!("{BEGIN}000000000"),
        "order 0 took 0ms",
        {"structuredMetadata": {"detected_level": "error"}}
    ]);
    assert_eq!(first["values"], json!([value]));
    // Without the flag all labels are the stream's.
    let answer = ask(&mut rig, "query_range", &params).await;
    assert_eq!(
        answer["data"]["result"][0]["stream"]["detected_level"],
        "error"
    );
    // The start belongs to the range, the end does not; all forms of a time say the same.
    let at = |second: i64| Timestamp::from_seconds(BEGIN + second);
    for (start, end) in [
        ((BEGIN + 2).to_string(), (BEGIN + 4).to_string()),
        (at(2).nanos().to_string(), at(4).nanos().to_string()),
        (format!("{}.0", BEGIN + 2), format!("{}.0", BEGIN + 4)),
        (at(2).to_string(), at(4).to_string()),
    ] {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("query", "{app=\"shop\"}"),
            ("start", &start),
            ("end", &end),
        ]);
        let path = format!("/loki/api/v1/query_range?{}", query.finish());
        let answer: Value = serde_json::from_str(&rig.get(&path).await.body).expect("JSON");
        let expect = ["order 2 took 14ms", "order 3 took 21ms"];
        assert_eq!(lines(&answer), expect, "{start} {end}");
    }
    // The same by a form, and `since` reaches back from the end.
    let body = format!(
        "query=%7Bapp%3D%22shop%22%7D&end={}&since=2s&direction=forward",
        BEGIN + 4
    );
    let post = Request::post("/loki/api/v1/query_range")
        .header("content-type", "application/x-www-form-urlencoded");
    let answer: Value = serde_json::from_str(&rig.ask(post, &body).await.body).expect("JSON");
    let values = &answer["data"]["result"];
    let told = values.as_array().expect("streams").iter();
    let told: Vec<&Value> = told.map(|stream| &stream["values"][0][1]).collect();
    // Two levels are two streams without the flag; here both lines have one.
    assert_eq!(told, [&json!("order 2 took 14ms")]);
    // At least four seconds between two lines.
    let every = [("query", "{app=\"shop\"}"), ("interval", "4s")];
    let answer = ask(&mut rig, "query_range", &every).await;
    assert_eq!(
        lines(&answer),
        ["order 1 took 7ms", "order 5 took 35ms", "order 9 took 63ms"]
    );
    let every = [
        ("query", "{app=\"shop\"}"),
        ("interval", "8s"),
        ("direction", "forward"),
    ];
    let answer = ask(&mut rig, "query_range", &every).await;
    assert_eq!(lines(&answer), ["order 0 took 0ms", "order 8 took 56ms"]);
}

#[tokio::test]
async fn wrong_parameters_are_told_as_loki_tells_them() {
    let mut rig = filled().await;
    let shop = ("query", "{app=\"shop\"}");
    for (path, param, expect) in [
        (
            "query_range",
            ("limit", "0"),
            "limit must be a positive value",
        ),
        (
            "query_range",
            ("limit", "-5"),
            "limit must be a positive value",
        ),
        (
            "query_range",
            ("limit", "ten"),
            "strconv.Atoi: parsing \"ten\": invalid syntax",
        ),
        (
            "query_range",
            ("limit", "4294967296"),
            "limit value 4294967296 is out of range [0, 4294967295]",
        ),
        (
            "detected_fields",
            ("line_limit", "0"),
            "limit must be a positive value",
        ),
        ("query_range", ("direction", "Up"), "invalid direction 'Up'"),
        (
            "query_range",
            ("step", "-1"),
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        ("query_range", ("interval", "-1"), "interval must be >= 0"),
        (
            "query_range",
            ("step", "soon"),
            "cannot parse \"soon\" to a valid duration",
        ),
        ("query_range", ("timeout", "0"), "request timed out"),
    ] {
        let heard = told(&mut rig, path, &[shop, param]).await;
        let status = if param.0 == "timeout" { 504 } else { 400 };
        check(&heard, status, TEXT, expect);
    }
    for (query, name) in [("start=now", "start"), ("end=now", "end")] {
        let path = format!("/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&{query}");
        let expect = format!(
            "could not parse '{name}' parameter: strconv.ParseInt: parsing \"now\": invalid syntax"
        );
        check(&rig.get(&path).await, 400, TEXT, &expect);
    }
    let stage = [("query", "{app=\"shop\"} |= \"x\"")];
    for path in ["labels", "label/app/values", "index/stats", "index/volume"] {
        let only = "only label matchers are supported";
        check(&told(&mut rig, path, &stage).await, 400, TEXT, only);
    }
    let series = [("match[]", "{app=\"shop\"} | json")];
    let only = "only label matchers are supported";
    check(&told(&mut rig, "series", &series).await, 400, TEXT, only);
}

#[tokio::test]
async fn what_is_wrong_is_told_as_loki_tells_it() {
    let mut rig = filled().await;
    let log = [("query", "{app=\"shop\"}")];
    let instant = "log queries are not supported as an instant query type, please change your query to a range query type";
    check(&told(&mut rig, "query", &log).await, 400, TEXT, instant);
    let many = [("query", "{app=\"shop\"}"), ("limit", "1000001")];
    let limit = "max entries limit per query exceeded, limit > max_entries_limit_per_query (1000001 > 1000000)";
    check(
        &told(&mut rig, "query_range", &many).await,
        400,
        TEXT,
        limit,
    );
    // Numbers are not lines.
    let many = [
        ("query", "count_over_time({app=\"shop\"}[1m])"),
        ("limit", "1000001"),
    ];
    ask(&mut rig, "query_range", &many).await;
    let path = "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&start=2&end=1";
    let order = "end timestamp must not be before or equal to start time";
    check(&rig.get(path).await, 400, TEXT, order);
    let metric = [("query", "rate({app=\"a\"}[1m])")];
    for path in ["patterns", "detected_fields", "tail"] {
        check(
            &told(&mut rig, path, &metric).await,
            400,
            TEXT,
            "expected a log query",
        );
    }
    check(
        &told(&mut rig, "format_query", &[("query", "{")]).await,
        400,
        JSON,
        r#"{"error":"parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }","status":"invalid-query"}"#,
    );
    let fine = [("query", "{app=\"a\"}"), ("step", "1ms")];
    for path in ["query_range", "index/volume_range", "patterns"] {
        let points = "exceeded maximum resolution of 11,000 points per time series";
        check(&told(&mut rig, path, &fine).await, 400, TEXT, points);
    }
    let by = [("query", "{app=\"a\"}"), ("aggregateBy", "pods")];
    check(
        &told(&mut rig, "index/volume", &by).await,
        400,
        TEXT,
        "invalid aggregation option",
    );
    let slow = [("query", "{app=\"a\"}"), ("delay_for", "6")];
    check(
        &told(&mut rig, "tail", &slow).await,
        400,
        TEXT,
        "delay_for can't be greater than 5",
    );
    let bad = Request::get("/loki/api/v1/labels").header("x-scope-orgid", "a|b/c");
    let unsupported = "tenant ID 'b/c' contains unsupported character '/'";
    check(&rig.ask(bad, "").await, 400, TEXT, unsupported);
}

/// What is added on the way in does not count as the sender's.
#[tokio::test]
async fn as_much_metadata_as_may_be_is_taken() {
    let rig = Rig::start();
    let write = async |labels: usize, metadata: usize| {
        let named = |count: usize| (0..count).map(|n| (format!("n{n}"), "v"));
        let stream = LogStream {
            labels: Labels::from_pairs(named(labels)),
            records: vec![LogRecord {
                metadata: Labels::from_pairs(named(metadata)),
                ..record(1, "x", "info")
            }],
        };
        let batch = LogBatch {
            streams: vec![stream],
        };
        let written = rig.app.sink.logs(Tenant::anonymous(), batch).await;
        written.expect("a place").reason
    };
    assert_eq!(write(1, 256).await, "");
    assert_eq!(write(256, 1).await, "");
    let told = write(1, 257).await;
    assert!(
        told.contains("labels: '257', limit: '256' (obs.limits.metadata_max)"),
        "{told}"
    );
    let told = write(257, 1).await;
    assert!(told.contains("has 257 label names; limit 256"), "{told}");
}

/// Lines that nobody means well come back as they are, and no question about them fails.
#[tokio::test]
async fn hostile_lines_are_kept_and_asked() {
    let mut rig = Rig::start();
    let keys: Vec<String> = (0..100_000).map(|k| format!("\"k{k:x}\":1")).collect();
    let hostile = [
        "x".repeat(1 << 20),
        format!("{{{}}}", keys.join(",")),
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "\u{0}\u{1b}[2J\u{7f}\u{85}\u{200b}\u{202e}\r\n\t".to_owned(),
        "=".repeat(1000),
        String::new(),
    ];
    let records = hostile.iter().enumerate();
    let records = records.map(|(n, line)| record(n as i64, line, "info"));
    push(&rig, "anonymous", "evil", records.collect()).await;
    let selector = "{app=\"evil\"}";
    let mut told = async |path: &str, query: &str| -> Value {
        let params = [("query", query), ("limit", "100"), ("step", "60")];
        let request = Request::get(asking(path, &params));
        let request = request.body(Body::empty()).expect("valid");
        let response = rig.routes.call(request).await.expect("infallible");
        assert_eq!(response.status(), 200, "{path} {query}");
        let body = axum::body::to_bytes(response.into_body(), 1 << 30).await;
        serde_json::from_slice(&body.expect("all of it")).expect("JSON")
    };
    let answer = told("query_range", selector).await;
    let mut expect = hostile.to_vec();
    expect.sort();
    let mut found = lines(&answer);
    found.sort();
    assert!(found == expect, "lines are not as they were");
    for stages in [
        "| json | k1 > 0",
        "| json x=`a.a.a.a` | line_format `{{.x}}`",
        "| logfmt | keep k1",
        "| unpack",
        "| pattern `<a> <b>` | decolorize",
        "|~ `\\[{20}` != `y`",
    ] {
        told("query_range", &format!("{selector} {stages}")).await;
    }
    let count = "sum by (k7) (count_over_time({app=\"evil\"} | json | __error__=`` [1h]))";
    let answer = told("query_range", count).await;
    assert_eq!(answer["data"]["resultType"], "matrix");
    for path in ["detected_fields", "detected_field/k5/values", "patterns"] {
        told(path, selector).await;
    }
}

#[tokio::test]
async fn drilldown_finds_what_it_asks_for() {
    let mut rig = filled().await;
    let services = [("query", "{service_name=~`.+`}"), ("limit", "5000")];
    let answer = ask(&mut rig, "index/volume", &services).await;
    assert_eq!(answer["data"]["resultType"], "vector");
    let result = answer["data"]["result"].as_array().expect("volumes");
    assert_eq!(result[0]["metric"], json!({"service_name": "web"}));
    assert_eq!(result[1]["metric"], json!({"service_name": "shop"}));
    assert_eq!(result[1]["value"], json!([BEGIN + 60, "168"]));
    let by = [
        ("query", "{app=\"shop\"}"),
        ("targetLabels", "pod"),
        ("aggregateBy", "labels"),
        ("step", "5s"),
    ];
    let answer = ask(&mut rig, "index/volume_range", &by).await;
    let pod = &answer["data"]["result"][0];
    assert_eq!(pod["metric"], json!({"pod": ""}));
    assert_eq!(pod["values"], json!([[BEGIN, "83"], [BEGIN + 5, "85"]]));
    let answer = ask(
        &mut rig,
        "patterns",
        &[("query", "{app=\"shop\"}"), ("step", "10s")],
    )
    .await;
    let found = &answer["data"][0];
    assert_eq!(
        (&found["pattern"], &found["level"]),
        (&json!("order <_> took <_>"), &json!("info"))
    );
    assert_eq!(found["samples"], json!([[BEGIN, 8]]));
    let answer = ask(&mut rig, "detected_labels", &[("query", "")]).await;
    let expect = json!({"detectedLabels": [
        {"label": "pod", "cardinality": 1},
        {"label": "app", "cardinality": 2},
        {"label": "service_name", "cardinality": 2},
    ]});
    assert_eq!(answer, expect);
    let answer = ask(&mut rig, "detected_fields", &[("query", "{app=\"web\"}")]).await;
    let expect = json!([
        {"label": "detected_level", "type": "string", "cardinality": 1, "parsers": null},
        {"label": "http_ms", "type": "float", "cardinality": 1, "parsers": ["json"], "jsonPath": ["http", "ms"]},
        {"label": "msg", "type": "string", "cardinality": 10, "parsers": ["json"], "jsonPath": ["msg"]},
        {"label": "status", "type": "int", "cardinality": 10, "parsers": ["json"], "jsonPath": ["status"]},
    ]);
    assert_eq!(
        (&answer["fields"], &answer["limit"]),
        (&expect, &json!(1000))
    );
    let params = [
        ("query", "{app=\"web\"}"),
        ("limit", "2"),
        ("line_limit", "3"),
    ];
    let answer = ask(&mut rig, "detected_field/status/values", &params).await;
    assert_eq!(answer, json!({"values": ["207", "208"], "limit": 2}));
    let answer = ask(&mut rig, "drilldown-limits", &[]).await;
    assert_eq!(answer["limits"]["volume_enabled"], true);
    // 0 is Loki's way to say the default.
    let none = [("query", "{app=\"shop\"}"), ("limit", "0")];
    ask(&mut rig, "index/volume", &none).await;
    for (path, part) in [
        ("/services", "querier => Running"),
        ("/log_level", "Current log level is"),
        ("/ready", "ready"),
        ("/config", ""),
        ("/metrics", "obs_"),
    ] {
        check(&rig.get(path).await, 200, "", part);
    }
    check(&rig.ask(Request::post("/flush"), "").await, 204, "", "");
    let told = rig.get("/config/tenant/v1/limits").await;
    check(&told, 200, TEXT, "max_entries_limit_per_query: 1000000");
}

#[tokio::test]
async fn several_tenants_are_read_together() {
    let mut rig = Rig::start();
    for (tenant, count) in [("a", 2), ("b", 3)] {
        let records = (0..count).map(|n| record(n, &format!("{tenant}{n}"), "info"));
        push(&rig, tenant, "shop", records.collect()).await;
    }
    let mut get = async |path: &str, params: &[(&str, &str)]| {
        let request = Request::get(asking(path, params)).header("x-scope-orgid", "b|a");
        let told = rig.ask(request, "").await;
        check(&told, 200, JSON, "");
        serde_json::from_str::<Value>(&told.body).expect("JSON")
    };
    let answer = get(
        "query_range",
        &[("query", "{app=\"shop\"}"), ("limit", "4")],
    )
    .await;
    assert_eq!(lines(&answer), ["a0", "a1", "b1", "b2"].map(str::to_owned));
    assert_eq!(answer["data"]["result"][0]["stream"]["__tenant_id__"], "a");
    let one = [("query", "{app=\"shop\", __tenant_id__=\"b\"}")];
    assert_eq!(lines(&get("query_range", &one).await), ["b0", "b1", "b2"]);
    let sum = [
        ("query", "sum(count_over_time({app=\"shop\"}[1h]))"),
        ("time", "1700000060"),
    ];
    assert_eq!(
        get("query", &sum).await["data"]["result"][0]["value"][1],
        "5"
    );
    let by = [
        (
            "query",
            "sum by (__tenant_id__) (count_over_time({app=\"shop\"}[1h]))",
        ),
        ("time", "1700000060"),
    ];
    let answer = get("query", &by).await;
    assert_eq!(
        answer["data"]["result"][1]["metric"],
        json!({"__tenant_id__": "b"})
    );
    assert_eq!(answer["data"]["result"][1]["value"][1], "3");
    let answer = get("label/__tenant_id__/values", &[]).await;
    assert_eq!(answer["data"], json!(["a", "b"]));
    assert_eq!(
        get("index/stats", &[("query", "{app=\"shop\"}")]).await["entries"],
        5
    );
    let answer = get("index/volume", &[("query", "{app=\"shop\"}")]).await;
    assert_eq!(answer["data"]["result"][0]["value"][1], "10");
}

#[tokio::test]
async fn exports_have_every_line_in_order() {
    let mut rig = Rig::start();
    // More than one page, and many lines of one time where pages end.
    let count = 45_000;
    let records = (0..count).map(|n| record(n / 15_000, &n.to_string(), "info"));
    push(&rig, "anonymous", "shop", records.collect()).await;
    let path = "/api/v1/export/logs?query=%7Bapp%3D%22shop%22%7D";
    let request = Request::get(path).body(Body::empty()).expect("valid");
    let response = rig.routes.call(request).await.expect("infallible");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let body = axum::body::to_bytes(response.into_body(), 1 << 30)
        .await
        .expect("all of it");
    let text = String::from_utf8(body.to_vec()).expect("text");
    let mut next = 0;
    for line in text.lines() {
        let stream: Value = serde_json::from_str(line).expect("JSON");
        let value = &stream["values"][0];
        assert_eq!(value[1], next.to_string());
        assert_eq!(value[2], json!({"detected_level": "info"}));
        assert_eq!(stream["stream"]["app"], "shop");
        next += 1;
    }
    assert_eq!(next, count);
    let told = rig
        .get("/api/v1/export/logs?query=rate(%7Ba%3D%22b%22%7D%5B1m%5D)")
        .await;
    check(&told, 400, TEXT, "expected a log query");
}

/// A client of a WebSocket that only listens.
struct Listening {
    stream: TcpStream,
    /// Serves until this is dropped.
    _server: JoinSet<std::io::Result<()>>,
}

impl Listening {
    /// Opens `path` at a server over the routes.
    async fn open(rig: &Rig, path: &str, headers: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = rig.routes.clone();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await });
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self {
            stream,
            _server: server,
        }
    }

    /// The next frame with text.
    async fn frame(&mut self) -> Value {
        loop {
            let kind = self.stream.read_u8().await.expect("a frame") & 0x0f;
            let length = match self.stream.read_u8().await.expect("a length") {
                126 => usize::from(self.stream.read_u16().await.expect("a length")),
                127 => {
                    usize::try_from(self.stream.read_u64().await.expect("a length")).expect("fits")
                }
                short => usize::from(short),
            };
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.expect("a body");
            if kind == 1 {
                return serde_json::from_slice(&body).expect("JSON");
            }
        }
    }
}

#[tokio::test]
async fn a_tail_tells_the_past_and_what_comes() {
    let mut rig = filled().await;
    let path = asking(
        "tail",
        &[("query", "{app=\"shop\"} |= `order`"), ("limit", "2")],
    );
    let flags = "X-Loki-Response-Encoding-Flags: categorize-labels\r\n";
    let mut tail = Listening::open(&rig, &path, flags).await;
    let frame = tail.frame().await;
    assert_eq!(frame["encodingFlags"], json!(["categorize-labels"]));
    let values = frame["streams"].as_array().expect("streams").iter();
    let told: Vec<&str> = values
        .flat_map(|s| s["values"].as_array().expect("values"))
        .filter_map(|v| v[1].as_str())
        .collect();
    assert_eq!(told, ["order 8 took 56ms", "order 9 took 63ms"]);
    // Old times are told too: what counts is arrival.
    push(
        &rig,
        "anonymous",
        "web",
        vec![record(1, "order of the web", "info")],
    )
    .await;
    push(
        &rig,
        "other",
        "shop",
        vec![record(1, "order of another", "info")],
    )
    .await;
    push(
        &rig,
        "anonymous",
        "shop",
        vec![record(-100, "late order", "warn"), record(1, "no", "info")],
    )
    .await;
    let frame = tail.frame().await;
    assert_eq!(frame["streams"].as_array().map(Vec::len), Some(1));
    let value = json!([format!("{}000000000", BEGIN - 100), "late order", {"structuredMetadata": {"detected_level": "warn"}}]);
    assert_eq!(frame["streams"][0]["values"], json!([value]));
    drop(tail);
    let told = told_without_upgrade(&mut rig).await;
    assert_eq!(told.status, 400, "{told:?}");
}

async fn told_without_upgrade(rig: &mut Rig) -> Heard {
    told(rig, "tail", &[("query", "{app=\"shop\"}")]).await
}

#[tokio::test]
async fn lines_are_deleted_as_loki_does_it() {
    let mut rig = filled().await;
    let params = [("query", "{app=\"shop\"} |= `order 1` |~ `took \\d+ms`")];
    let post = Request::post(asking("delete", &params));
    check(&rig.ask(post, "").await, 204, "", "");
    let answer = ask(&mut rig, "query_range", &[("query", "{app=\"shop\"}")]).await;
    let left = lines(&answer);
    assert_eq!(left.len(), 9, "{left:?}");
    assert!(
        !left.iter().any(|line| line.starts_with("order 1 ")),
        "{left:?}"
    );
    let put = Request::put(asking("delete", &[("query", "{app=\"web\"}")]));
    check(&rig.ask(put, "").await, 204, "", "");
    let answer = ask(&mut rig, "query_range", &[("query", "{app=\"web\"}")]).await;
    assert_eq!(lines(&answer), Vec::<String>::new());
    let listed = ask(&mut rig, "delete", &[]).await;
    let (first, second) = (&listed[0], &listed[1]);
    assert_eq!(
        (&first["query"], &first["status"]),
        (&json!(params[0].1), &json!("processed"))
    );
    assert_eq!(
        (&second["start_time"], &second["end_time"]),
        (&json!(BEGIN), &json!(BEGIN + 60))
    );
    let path = "/loki/api/v1/delete?start=1&end=2";
    assert_eq!(rig.get(path).await.body, "[]", "none lies there");
    let other = Request::get("/loki/api/v1/delete").header("x-scope-orgid", "other");
    assert_eq!(rig.ask(other, "").await.body, "[]");
    let id = first["request_id"].as_str().expect("an id");
    for (id, status) in [(id, 400), ("1", 404)] {
        let path = format!("/loki/api/v1/delete?request_id={id}");
        let told = rig.ask(Request::delete(path), "").await;
        check(&told, status, TEXT, "");
    }
    let mut refused = async |params: &[(&str, &str)], expect: &str| {
        let path = format!("/loki/api/v1/delete?{}", {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(params).finish()
        });
        check(&rig.ask(Request::post(path), "").await, 400, TEXT, expect);
    };
    let query = ("query", "{app=\"shop\"}");
    refused(&[("start", "1")], "query not set").await;
    refused(&[query], "start time not set").await;
    refused(
        &[query, ("start", "soon")],
        "invalid start time: require unix seconds or RFC3339 format",
    )
    .await;
    refused(
        &[query, ("start", "1"), ("end", "9000000000")],
        "deletes in the future are not allowed",
    )
    .await;
    refused(
        &[query, ("start", "1"), ("end", "2"), ("max_interval", "x")],
        "invalid max_interval: valid time units are 's', 'm', 'h'",
    )
    .await;
    refused(
        &[query, ("start", "2"), ("end", "1")],
        "start time can't be greater than end time",
    )
    .await;
    refused(
        &[("query", "{app=\"a\"} | json"), ("start", "1")],
        "unsupported query expression",
    )
    .await;
    refused(
        &[("query", "rate({app=\"a\"}[1m])"), ("start", "1")],
        "unsupported query expression",
    )
    .await;
}
