//! Spans come back as they went in, and bad ones are told from good ones.

use obs_model::spans::{Attribute, AttributeValue};
use obs_model::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z.]{1,8}",
        any::<String>().prop_map(|s| s.chars().take(8).collect())
    ]
}

fn value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        Just(AttributeValue::Empty),
        text().prop_map(AttributeValue::String),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<i64>().prop_map(AttributeValue::Int),
        prop_oneof![
            any::<f64>().prop_filter("NaN is not equal to itself", |n| !n.is_nan()),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
        ]
        .prop_map(AttributeValue::Double),
        vec(any::<u8>(), 0..5).prop_map(AttributeValue::Bytes),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(AttributeValue::Array),
            vec((text(), inner), 0..3).prop_map(|pairs| AttributeValue::Map(
                pairs
                    .into_iter()
                    .map(|(key, value)| Attribute { key, value })
                    .collect()
            )),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    vec(
        (text(), value()).prop_map(|(key, value)| Attribute { key, value }),
        0..3,
    )
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(0), 0..=i64::MAX].prop_map(Timestamp::from_nanos)
}

fn event() -> impl Strategy<Value = SpanEvent> {
    (time(), text(), attributes(), any::<u32>()).prop_map(
        |(time, name, attributes, dropped_attributes)| SpanEvent {
            time,
            name,
            attributes,
            dropped_attributes,
        },
    )
}

fn link() -> impl Strategy<Value = SpanLink> {
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>());
    (ids, text(), attributes(), any::<u32>(), any::<u32>()).prop_map(
        |((trace, span), trace_state, attributes, dropped_attributes, flags)| SpanLink {
            trace_id: TraceId(trace),
            span_id: SpanId(span),
            trace_state,
            attributes,
            dropped_attributes,
            flags,
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (
        any::<[u8; 16]>().prop_filter("not zero", |id| *id != [0; 16]),
        any::<[u8; 8]>().prop_filter("not zero", |id| *id != [0; 8]),
        prop_oneof![Just([0; 8]), any::<[u8; 8]>()],
    );
    let texts = (text(), text(), text());
    let numbers = (0..6i32, 0..3i32, any::<u32>(), any::<[u32; 3]>());
    let lists = (attributes(), vec(event(), 0..3), vec(link(), 0..3));
    (ids, texts, numbers, (time(), time()), lists).prop_map(
        |(ids, texts, (kind, status, flags, dropped), (start, end), lists)| Span {
            trace_id: TraceId(ids.0),
            span_id: SpanId(ids.1),
            parent_id: SpanId(ids.2),
            trace_state: texts.0,
            flags,
            name: texts.1,
            kind: SpanKind::from_number(kind),
            start,
            end,
            attributes: lists.0,
            dropped_attributes: dropped[0],
            events: lists.1,
            dropped_events: dropped[1],
            links: lists.2,
            dropped_links: dropped[2],
            status: StatusCode::from_number(status),
            status_message: texts.2,
        },
    )
}

fn batch() -> impl Strategy<Value = SpanBatch> {
    let scope = (
        text(),
        text(),
        attributes(),
        any::<u32>(),
        text(),
        vec(span(), 0..3),
    )
        .prop_map(
            |(name, version, attributes, dropped_attributes, schema_url, spans)| ScopeSpans {
                scope: Scope {
                    name,
                    version,
                    attributes,
                    dropped_attributes,
                    schema_url,
                },
                spans,
            },
        );
    let resource = (attributes(), any::<u32>(), text(), vec(scope, 0..3)).prop_map(
        |(attributes, dropped_attributes, schema_url, scopes)| ResourceSpans {
            resource: Resource {
                attributes,
                dropped_attributes,
                schema_url,
            },
            scopes,
        },
    );
    vec(resource, 0..3).prop_map(|resources| SpanBatch { resources })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_field_comes_back(batch in batch()) {
        let limits = Limits::default();
        let mut bytes = Vec::new();
        encode_protobuf(&batch, &mut bytes);
        let back = decode_protobuf(&bytes, &limits).unwrap();
        prop_assert_eq!(&back.batch, &batch);
        prop_assert_eq!((back.rejected, back.message.as_str()), (0, ""));

        let mut text = Vec::new();
        encode_json(&batch, &mut text);
        let back = decode_json(&text, &limits).unwrap();
        prop_assert_eq!(&back.batch, &batch, "{}", String::from_utf8_lossy(&text));
        prop_assert_eq!(back.rejected, 0);
    }
}

/// One span in OTLP/JSON with the given fields.
fn json(fields: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#)
}

const IDS: &str = r#""traceId":"0102030405060708090A0b0c0d0e0f10","spanId":"eee19b7ec3c1b174""#;

#[test]
fn json_is_read_leniently() {
    let check = |fields: &str, expect: fn(&Span) -> bool| {
        let body = json(&format!("{IDS},{fields}"));
        let decoded = decode_json(body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(decoded.message, "", "{fields}");
        let spans: Vec<_> = decoded.batch.iter().map(|(_, _, span)| span).collect();
        assert!(expect(spans[0]), "{fields}: {:?}", spans[0]);
    };
    check(r#""name":"a""#, |s| {
        s.trace_id.0[9] == 10 && s.span_id.0[0] == 0xee
    });
    check(r#""kind":2"#, |s| s.kind == SpanKind::Server);
    check(r#""kind":"SPAN_KIND_CLIENT""#, |s| {
        s.kind == SpanKind::Client
    });
    check(r#""status":{"code":"STATUS_CODE_ERROR"}"#, |s| {
        s.status == StatusCode::Error
    });
    check(r#""startTimeUnixNano":"5","endTimeUnixNano":7"#, |s| {
        s.duration_nanos() == 2
    });
    check(r#""endTimeUnixNano":1e3"#, |s| s.end.nanos() == 1000);
    check(r#""unknown":{"a":[1,{}]},"name":null,"events":null"#, |s| {
        s.name.is_empty()
    });
    let attribute = |value: &str, expect: AttributeValue| {
        let fields = format!(r#"{IDS},"attributes":[{{"key":"k","value":{value}}}]"#);
        let decoded = decode_json(json(&fields).as_bytes(), &Limits::default()).unwrap();
        let found = decoded
            .batch
            .iter()
            .next()
            .map(|(_, _, s)| s.attributes[0].value.clone());
        assert_eq!(found, Some(expect), "{value}");
    };
    attribute("{}", AttributeValue::Empty);
    attribute("null", AttributeValue::Empty);
    attribute(r#"{"intValue":-5}"#, AttributeValue::Int(-5));
    attribute(r#"{"intValue":"-5"}"#, AttributeValue::Int(-5));
    attribute(
        r#"{"doubleValue":"Infinity"}"#,
        AttributeValue::Double(f64::INFINITY),
    );
    attribute(r#"{"doubleValue":1}"#, AttributeValue::Double(1.0));
    attribute(
        r#"{"bytesValue":"-_8="}"#,
        AttributeValue::Bytes(vec![0xfb, 0xff]),
    );
    attribute(
        r#"{"bytesValue":"+/8"}"#,
        AttributeValue::Bytes(vec![0xfb, 0xff]),
    );
    attribute(r#"{"arrayValue":{"values":[{"boolValue":true}]}}"#, {
        AttributeValue::Array(vec![AttributeValue::Bool(true)])
    });
    attribute(r#"{"kvlistValue":{"values":[{"key":"a"}]}}"#, {
        AttributeValue::Map(vec![Attribute {
            key: "a".to_owned(),
            value: AttributeValue::Empty,
        }])
    });
    attribute(
        r#"{"newValue":[1],"stringValue":"x"}"#,
        AttributeValue::String("x".to_owned()),
    );
}

#[test]
fn bad_spans_are_rejected_and_the_rest_is_taken() {
    let check = |fields: &str, expect: &str| {
        let body = json(&format!("{fields}}},{{{IDS}"));
        let decoded = decode_json(body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(decoded.message, expect, "{fields}");
        assert_eq!(decoded.rejected, 1, "{fields}");
        assert_eq!(decoded.batch.span_count(), 1, "{fields}");
    };
    let missing = "span: trace id and span id must be given and not be all zeroes";
    check("", missing);
    check(
        r#""traceId":"00000000000000000000000000000000","spanId":"eee19b7ec3c1b174""#,
        missing,
    );
    check(
        r#""traceId":"0102","spanId":"01""#,
        "span: trace id has 2 bytes, expected 16",
    );
    check(
        r#""traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"01""#,
        "span: span id has 1 bytes, expected 8",
    );
    check(
        &format!(r#"{IDS},"parentSpanId":"01""#),
        "span: parent span id has 1 bytes, expected 8",
    );
    check(
        &format!(r#"{IDS},"links":[{{"traceId":"01"}}]"#),
        "span: trace id of a link has 1 bytes, expected 16",
    );
    check(
        &format!(r#"{IDS},"endTimeUnixNano":"18446744073709551615""#),
        "span: time 18446744073709551615 is after the year 2262",
    );
}

#[test]
fn limits_reject_only_what_exceeds_them() {
    let limits = Limits {
        attributes_max: 1,
        depth_max: 1,
        ..Limits::default()
    };
    let check = |fields: &str, expect: &str| {
        let body = json(&format!("{IDS},{fields}"));
        let decoded = decode_json(body.as_bytes(), &limits).unwrap();
        assert_eq!(decoded.message, expect, "{fields}");
        assert_eq!(decoded.rejected, u64::from(!expect.is_empty()));
    };
    check(r#""attributes":[{"key":"a"}]"#, "");
    check(
        r#""attributes":[{"key":"a"},{"key":"b"}]"#,
        "span: 2 attributes exceed the limit attributes_max of 1",
    );
    check(
        r#""attributes":[{"key":"a","value":{"arrayValue":{"values":[{}]}}}]"#,
        "",
    );
    check(
        r#""attributes":[{"key":"a","value":{"arrayValue":{"values":[{"kvlistValue":{}}]}}}]"#,
        "span: attribute \"a\": nests deeper than the limit depth_max",
    );
    let body = br#"{"resourceSpans":[{"resource":{"attributes":[{},{}]},
        "scopeSpans":[{"spans":[{},{}]}]}]}"#;
    let decoded = decode_json(body, &limits).unwrap();
    assert_eq!(decoded.rejected, 2);
    assert_eq!(
        decoded.message,
        "resource: 2 attributes exceed the limit attributes_max of 1"
    );
}

#[test]
fn json_faults_have_line_and_column() {
    let check = |body: &str, expect: &str| {
        let error = decode_json(body.as_bytes(), &Limits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("OTLP traces in JSON is malformed at {expect}")
        );
    };
    check("{\n  x", "2:3: expected OTLP/JSON (key must be a string)");
    check(
        r#"{"resourceSpans":{}}"#,
        "1:17: expected OTLP/JSON (invalid type: map, expected a sequence)",
    );
    check(
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[\n{\"traceId\":\"xyz\"}]}]}]}",
        "2:17: expected OTLP/JSON (expected an id in pairs of hexadecimal digits, found \"xyz\")",
    );
    for body in ["", " \n", "{}"] {
        let decoded = decode_json(body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(decoded.batch, SpanBatch::default());
    }
}
