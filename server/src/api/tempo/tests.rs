//! Tempo's API through the routes.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, SpanKind, StatusCode,
};
use obs_model::{Span, SpanBatch, SpanId, Tenant, Timestamp, TraceId};
use serde_json::Value;
use tower::Service;

use crate::api::tests::{JSON, Rig, TEXT, check};

/// Seconds at which the trace begins.
pub(crate) const BEGIN: i64 = 1_700_000_000;
pub(crate) const ID: &str = "00000000000000000000000000000abc";

/// A trace of the services shop and pay: `GET /` with the children `sql` and `POST pay`, whose child
/// `charge` fails.
pub(crate) fn trace() -> SpanBatch {
    let span = |id: u8, parent: u8, name: &str, kind, (from, to): (i64, i64)| Span {
        trace_id: TraceId::from_hex(ID).expect("an id"),
        span_id: SpanId([0, 0, 0, 0, 0, 0, 0, id]),
        parent_id: SpanId([0, 0, 0, 0, 0, 0, 0, parent]),
        name: name.to_owned(),
        kind,
        start: Timestamp::from_nanos(BEGIN * 1_000_000_000 + from * 1_000_000),
        end: Timestamp::from_nanos(BEGIN * 1_000_000_000 + to * 1_000_000),
        ..Span::default()
    };
    let service = |name: &str, spans| ResourceSpans {
        resource: Resource {
            attributes: vec![Attribute::string("service.name", name)],
            ..Resource::default()
        },
        scopes: vec![ScopeSpans {
            scope: Scope {
                name: "lib".to_owned(),
                ..Scope::default()
            },
            spans,
        }],
    };
    let mut sql = span(2, 1, "sql", SpanKind::Client, (10, 40));
    sql.attributes = vec![
        Attribute::string("db.system", "postgres"),
        Attribute {
            key: "rows".to_owned(),
            value: AttributeValue::Int(7),
        },
    ];
    let mut charge = span(4, 3, "charge", SpanKind::Server, (55, 90));
    charge.status = StatusCode::Error;
    charge.status_message = "no money".to_owned();
    let shop = vec![
        span(1, 0, "GET /", SpanKind::Server, (0, 100)),
        sql,
        span(3, 1, "POST pay", SpanKind::Client, (50, 95)),
    ];
    SpanBatch {
        resources: vec![service("shop", shop), service("pay", vec![charge])],
    }
}

/// A server that has the trace.
pub(crate) async fn rig() -> Rig {
    let rig = Rig::start();
    let written = rig.app.sink.spans(Tenant::anonymous(), trace()).await;
    assert_eq!(written.map(|accepted| accepted.refused), Ok(0));
    rig
}

async fn ask(rig: &mut Rig, path: &str) -> Value {
    let told = rig.get(path).await;
    check(&told, 200, JSON, "");
    serde_json::from_str(&told.body).expect("JSON")
}

fn around() -> String {
    format!("start={}&end={}", BEGIN - 60, BEGIN + 60)
}

#[tokio::test]
async fn searches() {
    let mut rig = rig().await;
    let path = format!("/tempo/api/search?q=%7Bstatus%3Derror%7D&{}", around());
    let found = ask(&mut rig, &path).await;
    let trace = &found["traces"][0];
    assert_eq!(trace["traceID"], "abc");
    assert_eq!(trace["rootServiceName"], "shop");
    assert_eq!(trace["rootTraceName"], "GET /");
    assert_eq!(trace["startTimeUnixNano"], format!("{BEGIN}000000000"));
    assert_eq!(trace["durationMs"], 100);
    assert_eq!(trace["spanSets"][0]["matched"], 1);
    assert_eq!(
        trace["spanSets"][0]["spans"][0]["durationNanos"],
        "35000000"
    );
    assert_eq!(trace["serviceStats"]["pay"]["errorCount"], 1);
    // Tags of one trace, in any case of letters, numbers too.
    for (tags, expect) in [
        ("service.name%3DSHO", 1),
        ("rows%3D7%20name%3Dcharge", 1),
        ("rows%3D8", 0),
        ("error%3Dtrue", 1),
    ] {
        let path = format!("/tempo/api/search?tags={tags}&{}", around());
        let found = ask(&mut rig, &path).await;
        assert_eq!(
            found["traces"].as_array().expect("traces").len(),
            expect,
            "{tags}"
        );
    }
    let check_400 = async |rig: &mut Rig, query: &str, part: &str| {
        check(
            &rig.get(&format!("/tempo/api/search?{query}")).await,
            400,
            TEXT,
            part,
        );
    };
    check_400(
        &mut rig,
        "q=%7B%7D&start=9&end=9",
        "start must be before end",
    )
    .await;
    check_400(&mut rig, "q=%7B%7D&tags=a%3Db", "can't specify tags and q").await;
    check_400(&mut rig, "q=%7B%7D&limit=0", "positive").await;
    check_400(&mut rig, "q=%7B", "parse error at line 1").await;
    check_400(&mut rig, "q=%7B%7D%7Crate()", "query_range").await;
}

#[tokio::test]
async fn one_trace() {
    let mut rig = rig().await;
    let v1 = ask(&mut rig, "/tempo/api/traces/abc").await;
    assert_eq!(v1["batches"].as_array().expect("batches").len(), 2);
    let span = &v1["batches"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], "AAAAAAAAAAAAAAAAAAAKvA==");
    let v2 = ask(&mut rig, &format!("/tempo/api/v2/traces/{ID}")).await;
    assert_eq!(v2["status"], "COMPLETE");
    assert_eq!(v2["trace"]["resourceSpans"], v1["batches"]);
    for path in ["/tempo/api/traces/dead", "/tempo/api/v2/traces/dead"] {
        check(&rig.get(path).await, 404, TEXT, "trace not found");
    }
    check(
        &rig.get("/tempo/api/v2/traces/xyz").await,
        400,
        TEXT,
        "hexadecimal",
    );
    // Filtered: the match alone, with its ancestors, with what is below it.
    let names = async |rig: &mut Rig, query: &str| {
        let told = ask(rig, &format!("/tempo/api/v2/traces/{ID}?{query}")).await;
        let mut names = Vec::new();
        for resource in told["trace"]["resourceSpans"]
            .as_array()
            .expect("resources")
        {
            for scope in resource["scopeSpans"].as_array().expect("scopes") {
                let spans = scope["spans"].as_array().expect("spans").iter();
                names.extend(spans.map(|s| s["name"].as_str().unwrap_or("").to_owned()));
            }
        }
        names.sort();
        (
            names.join(","),
            told["status"].as_str().unwrap_or("").to_owned(),
        )
    };
    let error = "q=%7Bstatus%3Derror%7D";
    let check = |(found, status): (String, String), expect: &str, expect_status: &str| {
        assert_eq!((found.as_str(), status.as_str()), (expect, expect_status));
    };
    check(names(&mut rig, error).await, "charge", "PARTIAL");
    let hierarchy = format!("{error}&keep_hierarchy=true");
    check(
        names(&mut rig, &hierarchy).await,
        "GET /,POST pay,charge",
        "PARTIAL",
    );
    let parent = format!("{hierarchy}&ancestor_depth=1");
    check(names(&mut rig, &parent).await, "POST pay,charge", "PARTIAL");
    let below = "q=%7Bname%3D%22POST%20pay%22%7D&match_depth=-1";
    check(names(&mut rig, below).await, "POST pay,charge", "PARTIAL");
    check(
        names(&mut rig, "q=%7B%7D").await,
        "GET /,POST pay,charge,sql",
        "COMPLETE",
    );
    for wrong in [
        "q=%7B%7D%7Crate()",
        "q=%7BrootName%3D%22a%22%7D",
        "q=%7B%7D%26%26%7B%7D",
    ] {
        let told = rig.get(&format!("/tempo/api/v2/traces/{ID}?{wrong}")).await;
        super::super::tests::check(&told, 400, TEXT, "single spanset filter");
    }
}

#[tokio::test]
async fn tags() {
    let mut rig = rig().await;
    let all = ask(&mut rig, "/tempo/api/v2/search/tags").await;
    let names: Vec<_> = all["scopes"]
        .as_array()
        .expect("scopes")
        .iter()
        .map(|s| s["name"].clone())
        .collect();
    assert_eq!(names, ["resource", "span", "intrinsic"]);
    let span = ask(&mut rig, "/tempo/api/v2/search/tags?scope=span&limit=1").await;
    assert_eq!(
        span["scopes"],
        serde_json::json!([{"name": "span", "tags": ["db.system"]}])
    );
    check(
        &rig.get("/tempo/api/v2/search/tags?scope=x").await,
        400,
        TEXT,
        "invalid scope: x",
    );
    let flat = ask(&mut rig, "/tempo/api/search/tags?scope=resource").await;
    assert_eq!(flat, serde_json::json!({"tagNames": ["service.name"]}));
    let values = async |rig: &mut Rig, path: &str| {
        let told = ask(rig, &format!("/tempo/api/v2/search/tag/{path}")).await;
        told["tagValues"].to_string()
    };
    let both = r#"[{"type":"string","value":"pay"},{"type":"string","value":"shop"}]"#;
    assert_eq!(values(&mut rig, "resource.service.name/values").await, both);
    assert_eq!(
        values(&mut rig, "resource%252Eservice%252Ename/values").await,
        both
    );
    let typing = "resource.service.name/values?q=%7Bstatus%3Derror%20%26%26%20name%3D%7D";
    assert_eq!(
        values(&mut rig, typing).await,
        r#"[{"type":"string","value":"pay"}]"#
    );
    assert_eq!(
        values(&mut rig, "resource.service.name/values?q=%7B%7B%7B").await,
        both
    );
    assert_eq!(
        values(&mut rig, "span.rows/values").await,
        r#"[{"type":"int","value":"7"}]"#
    );
    let status = values(&mut rig, "status/values").await;
    assert!(
        status.contains(r#"{"type":"keyword","value":"error"}"#),
        "{status}"
    );
    let old = ask(
        &mut rig,
        "/tempo/api/search/tag/service.name/values?limit=1",
    )
    .await;
    assert_eq!(old, serde_json::json!({"tagValues": ["pay"]}));
}

#[tokio::test]
async fn metrics() {
    let mut rig = rig().await;
    let query = "q=%7B%7D%7Ccount_over_time()by(resource.service.name)";
    let path = format!(
        "/tempo/api/metrics/query_range?{query}&{}&step=60&exemplars=5",
        around()
    );
    let told = ask(&mut rig, &path).await;
    let series = told["series"].as_array().expect("series");
    assert_eq!(series.len(), 2);
    let label = &series[0]["labels"][0];
    assert_eq!(label["key"], "resource.service.name");
    assert_eq!(label["value"]["stringValue"], "pay");
    let sum: f64 = series[1]["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .filter_map(|s| s["value"].as_f64())
        .sum();
    assert_eq!(sum, 3.0);
    assert!(series[1]["samples"][0]["timestampMs"].is_string());
    assert!(
        !series[1]["exemplars"]
            .as_array()
            .expect("exemplars")
            .is_empty()
    );
    let path = format!("/tempo/api/metrics/query?{query}&{}", around());
    let told = ask(&mut rig, &path).await;
    assert_eq!(told["series"][1]["value"], 3.0);
    assert_eq!(told["series"][1].as_object().expect("a series").len(), 2);
    let told = ask(&mut rig, &format!("{path}&maxSeries=1")).await;
    assert_eq!(told["status"], "PARTIAL");
    let told = rig
        .get(&format!("/tempo/api/metrics/query?q=%7B%7D&{}", around()))
        .await;
    check(&told, 400, TEXT, "/api/search");
    check(
        &rig.get("/tempo/api/metrics/query_range").await,
        400,
        TEXT,
        "\"q\" is missing",
    );
}

#[tokio::test]
async fn what_grafana_asks_about() {
    let mut rig = Rig::start();
    check(&rig.get("/tempo/api/echo").await, 200, TEXT, "echo");
    check(&rig.get("/tempo/ready").await, 200, TEXT, "ready");
    let told = ask(&mut rig, "/tempo/api/status/buildinfo").await;
    assert_eq!(told["version"], told["data"]["version"]);
    assert_eq!(
        ask(&mut rig, "/tempo/api/overrides").await,
        serde_json::json!({})
    );
}

async fn call(rig: &mut Rig, method: &str, message: &[u8]) -> (Vec<Vec<u8>>, String) {
    call_at(rig, &format!("/tempopb.StreamingQuerier/{method}"), message).await
}

/// The messages of a gRPC answer and its `grpc-status`.
pub(crate) async fn call_at(rig: &mut Rig, path: &str, message: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut bytes = vec![0, 0, 0, 0, message.len() as u8];
    bytes.extend_from_slice(message);
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .body(Body::from(bytes))
        .expect("a request");
    let response = rig.routes.call(request).await.expect("infallible");
    let collected = response.into_body().collect().await.expect("a body");
    let trailers = collected.trailers().expect("trailers");
    let status = trailers["grpc-status"].to_str().expect("text").to_owned();
    let mut rest = &collected.to_bytes()[..];
    let mut messages = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        messages.push(tail[..length].to_vec());
        rest = &tail[length..];
    }
    (messages, status)
}

pub(crate) fn varint_field(number: u8, mut value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

pub(crate) fn text_field(number: u8, text: &str) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, text.len() as u8];
    out.extend_from_slice(text.as_bytes());
    out
}

#[tokio::test]
async fn streams() {
    let mut rig = rig().await;
    let times = |first: u8, scale: u64, before: i64| {
        let time = |at: i64| (BEGIN + at) as u64 * scale;
        [
            varint_field(first, time(-before)),
            varint_field(first + 1, time(60)),
        ]
        .concat()
    };
    let search = |before| [text_field(8, "{status=error}"), times(5, 1, before)].concat();
    let contains =
        |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|w| w == part.as_bytes());
    let (found, status) = call(&mut rig, "Search", &search(60)).await;
    assert_eq!((found.len(), status.as_str()), (1, "0"));
    assert!(contains(&found[0], "abc") && contains(&found[0], "GET /"));
    // Over a long range the newest part comes first.
    let (found, status) = call(&mut rig, "Search", &search(86_400)).await;
    assert_eq!((found.len(), status.as_str()), (2, "0"));
    assert!(contains(&found[1], "abc"));
    let (found, status) = call(&mut rig, "Search", &text_field(8, "{")).await;
    assert_eq!((found.len(), status.as_str()), (0, "3"));
    let (found, _) = call(&mut rig, "SearchTagsV2", &[]).await;
    assert!(contains(&found[0], "db.system"));
    let (found, _) = call(&mut rig, "SearchTags", &text_field(1, "resource")).await;
    assert!(contains(&found[0], "service.name"));
    let name = text_field(1, "resource.service.name");
    for method in ["SearchTagValuesV2", "SearchTagValues"] {
        let (found, _) = call(&mut rig, method, &name).await;
        assert!(contains(&found[0], "shop"), "{method}");
    }
    let metrics = [text_field(1, "{}|rate()"), times(2, 1_000_000_000, 60)].concat();
    for method in ["MetricsQueryRange", "MetricsQueryInstant"] {
        let (found, status) = call(&mut rig, method, &metrics).await;
        assert_eq!(status, "0", "{method}");
        assert!(contains(&found[0], "__name__"), "{method}");
    }
    // Without times it is the last hour, in which there is nothing.
    let query = text_field(1, "{}|count_over_time()");
    let (found, status) = call(&mut rig, "MetricsQueryInstant", &query).await;
    assert_eq!((found.len(), status.as_str()), (1, "0"));
    let plain = Request::post("/tempopb.StreamingQuerier/Search").body(Body::empty());
    let response = rig
        .routes
        .call(plain.expect("a request"))
        .await
        .expect("infallible");
    assert_eq!(response.status(), 415);
}

#[tokio::test]
async fn names_of_tags_within_a_query() {
    let mut rig = rig().await;
    let mut check = async |query: &str, expect: &[(&str, &str)]| {
        let q: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let told = ask(&mut rig, &format!("/tempo/api/v2/search/tags?q={q}")).await;
        let scopes = told["scopes"].as_array().expect("scopes");
        let shown: Vec<(String, String)> = scopes
            .iter()
            .filter(|scope| scope["name"] != "intrinsic")
            .map(|scope| {
                let text = scope["name"].as_str().unwrap_or_default().to_owned();
                (text, scope["tags"].to_string())
            })
            .collect();
        let expect: Vec<(String, String)> = expect
            .iter()
            .map(|(scope, tags)| ((*scope).to_owned(), (*tags).to_owned()))
            .collect();
        assert_eq!(shown, expect, "{query}");
    };
    let all = [
        ("resource", r#"["service.name"]"#),
        ("span", r#"["db.system","rows"]"#),
    ];
    check("", &all).await;
    check(r#"{ resource.service.name = "shop" }"#, &all).await;
    // The spans of pay have no attributes of their own.
    let pay = [("resource", r#"["service.name"]"#)];
    check(r#"{ resource.service.name = "pay" }"#, &pay).await;
    check(r#"{ name = "sql" && span.rows > 6 }"#, &all).await;
    check(r#"{ resource.service.name = "nobody" }"#, &[]).await;
    // What is being typed, and what cannot be read, filters nothing.
    check("{ resource.service.name = }", &all).await;
    check("{ what", &all).await;
}
