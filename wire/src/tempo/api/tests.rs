//! Tempo's answers, byte for byte.

use obs_model::spans::{
    Attribute, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanId, SpanKind, SpanLink,
    StatusCode,
};
use obs_model::time::Timestamp;

use super::*;

fn check(write: impl FnOnce(&mut Vec<u8>), expect: &str) {
    let mut out = Vec::new();
    write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, expect.replace("\n", "").replace("  ", ""));
    serde_json::from_str::<serde::de::IgnoredAny>(&text).unwrap();
}

fn trace() -> SpanBatch {
    let span = Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([2; 8]),
        name: "get".to_owned(),
        kind: SpanKind::Server,
        start: Timestamp::from_nanos(5),
        end: Timestamp::from_nanos(9),
        status: StatusCode::Error,
        links: vec![SpanLink {
            span_id: SpanId([3; 8]),
            ..SpanLink::default()
        }],
        ..Span::default()
    };
    SpanBatch {
        resources: vec![ResourceSpans {
            resource: Resource {
                attributes: vec![Attribute::string("service.name", "shop")],
                ..Resource::default()
            },
            scopes: vec![ScopeSpans {
                scope: Scope::default(),
                spans: vec![span],
            }],
        }],
    }
}

const RESOURCE_SPANS: &str = r#"[{"resource":{"attributes":[{"key":"service.name",
"value":{"stringValue":"shop"}}]},"scopeSpans":[{"scope":{},"spans":[{
"traceId":"AQEBAQEBAQEBAQEBAQEBAQ==","spanId":"AgICAgICAgI=","name":"get",
"kind":"SPAN_KIND_SERVER","startTimeUnixNano":"5","endTimeUnixNano":"9",
"links":[{"spanId":"AwMDAwMDAwM="}],"status":{"code":"STATUS_CODE_ERROR"}}]}]}]"#;

#[test]
fn traces_have_ids_in_base64() {
    let batch = trace();
    check(
        |out| trace_v1_json(&batch, out),
        &format!("{{\"batches\":{RESOURCE_SPANS}}}"),
    );
    let notes = TraceNotes {
        inspected_bytes: 7,
        partial: None,
    };
    check(
        |out| trace_v2_json(&batch, &notes, out),
        &format!(
            r#"{{"trace":{{"resourceSpans":{RESOURCE_SPANS}}},
            "metrics":{{"inspectedBytes":"7"}},"status":"COMPLETE"}}"#
        ),
    );
    let notes = TraceNotes {
        inspected_bytes: 0,
        partial: Some("too large".to_owned()),
    };
    check(
        |out| trace_v2_json(&SpanBatch::default(), &notes, out),
        r#"{"trace":{"resourceSpans":[]},"metrics":{},"status":"PARTIAL","message":"too large"}"#,
    );
}

#[test]
fn protobuf_traces_read_back() {
    let batch = trace();
    let mut bytes = Vec::new();
    trace_v1_protobuf(&batch, &mut bytes);
    let limits = obs_model::limits::Limits::default();
    assert_eq!(
        traces::decode_protobuf(&bytes, &limits).unwrap().batch,
        batch
    );
    let notes = TraceNotes {
        inspected_bytes: 7,
        partial: Some("why".to_owned()),
    };
    let mut wrapped = Vec::new();
    trace_v2_protobuf(&batch, &notes, &mut wrapped);
    let back = TraceByIdResponse::decode(wrapped.as_slice()).unwrap();
    assert_eq!(back.trace.unwrap().encode_to_vec(), bytes);
    assert_eq!(back.metrics.unwrap().inspected_bytes, 7);
    assert_eq!((back.status, back.message.as_str()), (1, "why"));
}

#[test]
fn searches_have_short_hex_ids_and_long_numbers_as_text() {
    let mut id = [0; 16];
    id[14] = 0x0a;
    id[15] = 0xbc;
    let found = FoundTrace {
        trace_id: TraceId(id),
        root_service: Some("shop".to_owned()),
        root_name: Some("get".to_owned()),
        start: Timestamp::from_nanos(1_700_000_000_000_000_000),
        duration_nanos: 12_900_000,
        span_sets: vec![SpanSet {
            matched: 4,
            spans: vec![FoundSpan {
                span_id: SpanId([0, 0, 0, 0, 0, 0, 1, 2]),
                name: String::new(),
                start: Timestamp::from_nanos(3),
                duration_nanos: 5,
                attributes: vec![Attribute {
                    key: "n".to_owned(),
                    value: AttributeValue::Int(5),
                }],
            }],
            attributes: Vec::new(),
        }],
        services: vec![ServiceStats {
            service: "shop".to_owned(),
            spans: 4,
            errors: 0,
        }],
    };
    let rootless = FoundTrace {
        root_service: None,
        root_name: None,
        duration_nanos: 0,
        span_sets: Vec::new(),
        services: Vec::new(),
        ..found.clone()
    };
    let metrics = SearchMetrics {
        inspected_traces: 2,
        inspected_bytes: 99,
        ..SearchMetrics::default()
    };
    let set = r#"{"spans":[{"spanID":"0000000000000102","startTimeUnixNano":"3",
        "durationNanos":"5","attributes":[{"key":"n","value":{"intValue":"5"}}]}],"matched":4}"#;
    check(
        |out| search(&[found, rootless], &metrics, out),
        &format!(
            r#"{{"traces":[{{"traceID":"abc","rootServiceName":"shop","rootTraceName":"get",
            "startTimeUnixNano":"1700000000000000000","durationMs":12,"spanSet":{set},
            "spanSets":[{set}],"serviceStats":{{"shop":{{"spanCount":4}}}}}},
            {{"traceID":"abc","rootServiceName":"{NO_ROOT}",
            "startTimeUnixNano":"1700000000000000000"}}],
            "metrics":{{"inspectedTraces":2,"inspectedBytes":"99"}}}}"#
        ),
    );
    check(
        |out| search(&[], &SearchMetrics::default(), out),
        r#"{"traces":[],"metrics":{}}"#,
    );
}

#[test]
fn tags_and_their_values() {
    let names = vec!["a.b".to_owned(), "c\"".to_owned()];
    check(|out| tags_v1(&names, out), r#"{"tagNames":["a.b","c\""]}"#);
    check(
        |out| tags_v2(&[("span", names.clone()), ("event", Vec::new())], 3, out),
        r#"{"scopes":[{"name":"span","tags":["a.b","c\""]},{"name":"event","tags":[]}],
        "metrics":{"inspectedBytes":"3"}}"#,
    );
    let mut values: Vec<TagValue> = [
        AttributeValue::String("x".to_owned()),
        AttributeValue::Int(5),
        AttributeValue::Double(0.5),
        AttributeValue::Bool(true),
        AttributeValue::Empty,
    ]
    .iter()
    .filter_map(TagValue::from_attribute)
    .collect();
    values.push(TagValue::Duration(1_500_000));
    values.push(TagValue::Keyword("server".to_owned()));
    check(
        |out| tag_values_v1(&values, out),
        r#"{"tagValues":["x","5","0.5","true","1.5ms","server"]}"#,
    );
    check(
        |out| tag_values_v2(&values, 0, out),
        r#"{"tagValues":[{"type":"string","value":"x"},{"type":"int","value":"5"},
        {"type":"float","value":"0.5"},{"type":"bool","value":"true"},
        {"type":"duration","value":"1.5ms"},{"type":"keyword","value":"server"}],"metrics":{}}"#,
    );
}

#[test]
fn durations_as_go_writes_them() {
    let check = |nanos: i64, expect: &str| assert_eq!(duration_text(nanos), expect);
    check(0, "0s");
    check(999, "999ns");
    check(1_050, "1.05µs");
    check(2_000_000, "2ms");
    check(1_000_000_000, "1s");
    check(-61_500_000_000, "-1m1.5s");
    check(3_600_000_000_000, "1h0m0s");
    check(i64::MIN, "-2562047h47m16.854775808s");
}
