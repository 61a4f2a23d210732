//! Spans in by OTLP over HTTP, out by TraceQL and by trace id in JSON and protobuf.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, TracesData, span,
};
use prost::Message;
use serde_json::{Value, json};

use super::{ask, list, same_through_life};
use crate::process::{Obs, now};
use crate::send::{MINUTE, Otlp, SECOND, otlp};

const SHOP: &str = "0123456789abcdef0123456789abcdef";
/// With leading zeroes, which Tempo leaves out in searches.
const API: &str = "00000000000000a1b2c3d4e5f6071829";
const MILLI: i64 = 1_000_000;

/// The answer of `/api/v2/traces/…` in protobuf, as far as it is read here.
#[derive(Clone, PartialEq, Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

fn hex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

/// One span of the service `api`: 12 ms, answered 404.
fn api(start: i64) -> TracesData {
    let span = Span {
        trace_id: hex(API),
        span_id: hex("00000000000000b1"),
        name: "GET /item".to_owned(),
        kind: 2,
        trace_state: "vendor=1".to_owned(),
        flags: 257,
        start_time_unix_nano: start as u64,
        end_time_unix_nano: (start + 12 * MILLI) as u64,
        attributes: vec![
            attribute("http.status_code", any_value::Value::IntValue(404)),
            attribute("ratio", any_value::Value::DoubleValue(0.25)),
            attribute("cached", any_value::Value::BoolValue(true)),
            attribute("body", any_value::Value::BytesValue(vec![0, 255])),
        ],
        dropped_attributes_count: 3,
        events: vec![span::Event {
            time_unix_nano: (start + MILLI) as u64,
            name: "looked up".to_owned(),
            attributes: vec![text("key", "item")],
            dropped_attributes_count: 1,
        }],
        links: vec![span::Link {
            trace_id: hex(SHOP),
            span_id: hex("00000000000000a1"),
            attributes: vec![text("why", "follows")],
            ..span::Link::default()
        }],
        status: Some(Status {
            code: 0,
            message: String::new(),
        }),
        ..Span::default()
    };
    let resource = Resource {
        attributes: vec![text("service.name", "api")],
        ..Resource::default()
    };
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                spans: vec![span],
                ..ScopeSpans::default()
            }],
            schema_url: "https://opentelemetry.io/schemas/1.26.0".to_owned(),
        }],
    }
}

/// The root of the shop's trace (250 ms), or the call to its database that failed (100 ms).
fn shop(start: i64, root: bool) -> Value {
    let (service, span) = if root {
        let span = json!({
            "traceId": SHOP, "spanId": "00000000000000a1", "name": "POST /checkout", "kind": 2,
            "startTimeUnixNano": start.to_string(),
            "endTimeUnixNano": (start + 250 * MILLI).to_string(),
            "attributes": [{"key": "http.status_code", "value": {"intValue": "500"}}],
        });
        ("shop", span)
    } else {
        let span = json!({
            "traceId": SHOP, "spanId": "00000000000000a2", "parentSpanId": "00000000000000a1",
            "name": "SELECT", "kind": "SPAN_KIND_CLIENT",
            "startTimeUnixNano": (start + 50 * MILLI).to_string(),
            "endTimeUnixNano": (start + 150 * MILLI).to_string(),
            "attributes": [{"key": "db.system", "value": {"stringValue": "postgresql"}}],
            "events": [{
                "timeUnixNano": (start + 149 * MILLI).to_string(), "name": "exception",
                "attributes": [{"key": "exception.type", "value": {"stringValue": "Deadlock"}}],
            }],
            "status": {"code": 2, "message": "deadlock"},
        });
        ("shop-db", span)
    };
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"scope": {"name": "by hand"}, "spans": [span]}],
    }]})
}

fn send(obs: &Obs, encoding: Otlp, body: Vec<u8>) {
    let answer = otlp(obs, "traces", encoding, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expect = match encoding {
        Otlp::Protobuf | Otlp::ProtobufGzip => "application/x-protobuf",
        Otlp::Json | Otlp::JsonGzip => "application/json",
    };
    assert_eq!(answer.content_type, expect);
}

fn start_of_traces() -> i64 {
    now() / MINUTE * MINUTE - 10 * MINUTE
}

fn send_all(obs: &Obs, start: i64) {
    // The child comes before its parent.
    send(
        obs,
        Otlp::JsonGzip,
        shop(start, false).to_string().into_bytes(),
    );
    send(obs, Otlp::Protobuf, api(start).encode_to_vec());
    send(obs, Otlp::Json, shop(start, true).to_string().into_bytes());
}

fn search(obs: &Obs, start: i64, query: &str) -> Vec<Value> {
    let (from, to) = (
        (start / SECOND - 60).to_string(),
        (start / SECOND + 60).to_string(),
    );
    let params = [
        ("q", query),
        ("start", &from),
        ("end", &to),
        ("limit", "100"),
    ];
    list(&obs.get("/tempo/api/search", &params).json()["traces"]).to_vec()
}

#[test]
fn traces_are_found_by_what_their_spans_say() {
    let (obs, start) = (Obs::start(), start_of_traces());
    send_all(&obs, start);
    let short = API.trim_start_matches('0');
    // Ids there are without leading zeroes.
    let shop = SHOP.trim_start_matches('0');
    let check = |query: &str, expect: &[&str]| {
        let found = search(&obs, start, query);
        let mut ids: Vec<&str> = found.iter().filter_map(|t| t["traceID"].as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, expect, "{query}");
    };
    check("{}", &[shop, short]);
    check("{ resource.service.name = \"api\" }", &[short]);
    check("{ resource.service.name =~ \"shop.*\" }", &[shop]);
    check("{ status = error }", &[shop]);
    check("{ duration > 200ms }", &[shop]);
    check("{ duration < 50ms && kind = server }", &[short]);
    check("{ span.http.status_code >= 500 }", &[shop]);
    check(
        "{ span.http.status_code = 404 || .db.system = \"postgresql\" }",
        &[shop, short],
    );
    check("{ name = \"SELECT\" && span.http.status_code = 500 }", &[]);
    check("{ resource.service.name = \"nobody\" }", &[]);
    let found = search(&obs, start, "{ status = error }");
    assert_eq!(found[0]["rootServiceName"], "shop");
    assert_eq!(found[0]["rootTraceName"], "POST /checkout");
    assert_eq!(found[0]["startTimeUnixNano"], start.to_string());
    assert_eq!(found[0]["durationMs"], 250);
    assert_eq!(found[0]["spanSets"][0]["matched"], 1, "{}", found[0]);
    assert_eq!(search(&obs, start - 60 * MINUTE, "{}"), Vec::<Value>::new());
}

#[test]
fn a_trace_comes_back_whole() {
    let (obs, start) = (Obs::start(), start_of_traces());
    send_all(&obs, start);
    let sent = api(start);
    let accept = [("accept", "application/protobuf")];
    for id in [API, API.trim_start_matches('0')] {
        let answer = obs.get_with(&format!("/tempo/api/traces/{id}"), &accept);
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (200, "application/protobuf")
        );
        let found = TracesData::decode(answer.body.as_slice()).expect("protobuf");
        assert_eq!(spans(&found), spans(&sent));
        let resource = &found.resource_spans[0];
        assert_eq!(resource.resource, sent.resource_spans[0].resource);
        assert_eq!(resource.schema_url, sent.resource_spans[0].schema_url);
        let answer = obs.get_with(&format!("/tempo/api/v2/traces/{id}"), &accept);
        let found = TraceByIdResponse::decode(answer.body.as_slice()).expect("protobuf");
        assert_eq!(found.trace.as_ref().map(spans), Some(spans(&sent)));
    }
    let v1 = obs.get(&format!("/tempo/api/traces/{SHOP}"), &[]).json();
    let v2 = obs.get(&format!("/tempo/api/v2/traces/{SHOP}"), &[]).json();
    assert_eq!(v1["batches"], v2["trace"]["resourceSpans"]);
    let mut names: Vec<(String, String)> = Vec::new();
    for batch in list(&v1["batches"]) {
        let service = batch["resource"]["attributes"][0]["value"]["stringValue"].to_string();
        for span in list(&batch["scopeSpans"])
            .iter()
            .flat_map(|scope| list(&scope["spans"]))
        {
            names.push((service.clone(), span["name"].to_string()));
            if span["name"] == "SELECT" {
                assert_eq!(span["status"]["message"], "deadlock", "{span}");
                assert_eq!(span["events"][0]["name"], "exception", "{span}");
            }
        }
    }
    names.sort();
    let pair = |service: &str, name: &str| (format!("{service:?}"), format!("{name:?}"));
    assert_eq!(
        names,
        [pair("shop", "POST /checkout"), pair("shop-db", "SELECT")]
    );
}

fn spans(data: &TracesData) -> Vec<Span> {
    let scopes = data.resource_spans.iter().flat_map(|r| &r.scope_spans);
    let mut all: Vec<Span> = scopes.flat_map(|s| s.spans.iter().cloned()).collect();
    for span in &mut all {
        // Nothing said is the same as nothing.
        span.status = span
            .status
            .take()
            .filter(|status| *status != Status::default());
    }
    all
}

#[test]
fn tags_echo_and_what_is_not_there() {
    let (obs, start) = (Obs::start(), start_of_traces());
    send_all(&obs, start);
    assert_eq!(obs.get("/tempo/api/echo", &[]).text(), "echo");
    let missing = obs.get("/tempo/api/traces/00000000000000000000000000000099", &[]);
    assert_eq!(missing.status, 404, "{}", missing.text());
    let tags = obs.get("/tempo/api/v2/search/tags", &[]).json();
    let scope = |name: &str| {
        let found = list(&tags["scopes"])
            .iter()
            .find(|scope| scope["name"] == name);
        found
            .map(|scope| scope["tags"].to_string())
            .unwrap_or_default()
    };
    assert!(scope("resource").contains("\"service.name\""), "{tags}");
    assert!(scope("span").contains("\"db.system\""), "{tags}");
    let values = obs
        .get("/tempo/api/v2/search/tag/resource.service.name/values", &[])
        .json();
    let mut names: Vec<&str> = list(&values["tagValues"])
        .iter()
        .filter_map(|v| v["value"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["api", "shop", "shop-db"]);
}

#[test]
fn answers_stay_the_same_through_parts_and_restarts() {
    let (mut obs, start) = (Obs::start(), start_of_traces());
    // A trace whose spans lie in different parts, and everything once more by mistake.
    send(
        &obs,
        Otlp::Json,
        shop(start, false).to_string().into_bytes(),
    );
    obs.force("flush");
    send_all(&obs, start);
    let (from, to) = (
        (start / SECOND - 60).to_string(),
        (start / SECOND + 60).to_string(),
    );
    let search = |query: &'static str| [("q", query), ("start", &from), ("end", &to)];
    let (all, failed) = (search("{}"), search("{ status = error }"));
    let path = format!("/tempo/api/v2/traces/{SHOP}");
    same_through_life(&mut obs, |obs| {
        let mut answers = ask(
            obs,
            &[
                ("/tempo/api/search", &all),
                ("/tempo/api/search", &failed),
                ("/tempo/api/v2/search/tags", &[]),
                ("/tempo/api/v2/search/tag/resource.service.name/values", &[]),
                (&path, &[]),
            ],
        );
        assert_eq!(list(&answers[0]["traces"]).len(), 2, "{}", answers[0]);
        let trace = answers.pop().expect("the last answer");
        let batches = list(&trace["trace"]["resourceSpans"]);
        let scopes = batches.iter().flat_map(|batch| list(&batch["scopeSpans"]));
        let mut names: Vec<String> = scopes
            .flat_map(|s| list(&s["spans"]))
            .map(|s| s["name"].to_string())
            .collect();
        names.sort();
        assert_eq!(names, ["\"POST /checkout\"", "\"SELECT\""], "{trace}");
        answers
    });
}
