//! Loki's mapping of OTLP logs, case by case.

use std::fmt::Write as _;

use super::*;

/// Streams as text: labels, then `time line metadata` per record.
fn show(batch: &LogBatch) -> String {
    let mut text = String::new();
    for stream in &batch.streams {
        writeln!(text, "{}", stream.labels).unwrap();
        for record in &stream.records {
            let line = String::from_utf8_lossy(&record.line);
            writeln!(text, "{} {line} {}", record.time.nanos(), record.metadata).unwrap();
        }
    }
    text
}

/// A resource's attributes, and one record's fields, in OTLP/JSON.
fn body(resource: &str, record: &str) -> String {
    format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{resource}]}},
        "scopeLogs":[{{"logRecords":[{{{record}}}]}}]}}]}}"#
    )
}

fn check(resource: &str, record: &str, expect: &str) {
    let body = body(resource, record);
    let decoded = decode_json(body.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(show(&decoded.batch), expect, "{body}");
    assert_eq!((decoded.rejected, decoded.message.as_str()), (0, ""));
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

#[test]
fn resources_become_labels_and_metadata() {
    let line = r#""timeUnixNano":"1","body":{"stringValue":"x"}"#;
    check("", line, "{}\n1 x {}\n");
    let resource = [
        text("service.name", "shop"),
        text("k8s.pod.name", "p-1"),
        text("host.name", "h"),
    ];
    check(
        &resource.join(","),
        line,
        "{k8s_pod_name=\"p-1\", service_name=\"shop\"}\n1 x {host_name=\"h\"}\n",
    );
    // Another name of the service is found by the store.
    check(
        &text("k8s.container.name", "c"),
        line,
        "{k8s_container_name=\"c\"}\n1 x {}\n",
    );
    check(
        r#"{"key":"a","value":{"kvlistValue":{"values":[{"key":"b.c","value":{"intValue":"5"}},
        {"key":"d","value":{"arrayValue":{"values":[{"intValue":1},{"stringValue":"x"}]}}}]}}}"#,
        line,
        "{}\n1 x {a_b_c=\"5\", a_d=\"[1,\\\"x\\\"]\"}\n",
    );
}

#[test]
fn records_keep_their_fields_as_metadata() {
    let record = |fields: &str, expect: &str| {
        let expect = format!("{{}}\n{expect}\n");
        check(
            "",
            &format!(r#""body":{{"stringValue":"x"}},{fields}"#),
            &expect,
        );
    };
    record(r#""observedTimeUnixNano":"7""#, "7 x {}");
    record(
        r#""timeUnixNano":"5","observedTimeUnixNano":"7""#,
        "5 x {observed_timestamp=\"7\"}",
    );
    record(
        r#""severityNumber":17,"severityText":"Error""#,
        "0 x {severity_number=\"17\", severity_text=\"Error\"}",
    );
    record(
        r#""severityNumber":"SEVERITY_NUMBER_WARN2""#,
        "0 x {severity_number=\"14\"}",
    );
    record(
        r#""severityText":"CRITICAL""#,
        "0 x {severity_text=\"CRITICAL\"}",
    );
    record(r#""severityText":"loud""#, "0 x {severity_text=\"loud\"}");
    record(
        r#""traceId":"0102030405060708090A0B0C0D0E0F10","spanId":"0102030405060708","flags":1"#,
        "0 x {flags=\"1\", span_id=\"0102030405060708\", \
         trace_id=\"0102030405060708090a0b0c0d0e0f10\"}",
    );
    record(r#""traceId":"00000000000000000000000000000000""#, "0 x {}");
    record(
        r#""eventName":"e","droppedAttributesCount":2"#,
        "0 x {dropped_attributes_count=\"2\", event_name=\"e\"}",
    );
    record(
        r#""attributes":[{"key":"http.method","value":{"stringValue":"GET"}},
        {"key":"1st","value":{"boolValue":true}},{"key":"none","value":{}},
        {"key":"detected_level","value":{"stringValue":"odd"}}],"severityNumber":9"#,
        "0 x {detected_level=\"odd\", http_method=\"GET\", key_1st=\"true\", severity_number=\"9\"}",
    );
}

#[test]
fn bodies_become_lines() {
    let line = |value: &str, expect: &str| {
        let expect = format!("{{}}\n0 {expect} {{}}\n");
        check("", &format!(r#""body":{value}"#), &expect);
    };
    line(r#"{"stringValue":"a\nb"}"#, "a\nb");
    line("{}", "");
    line("null", "");
    line(r#"{"intValue":"-3"}"#, "-3");
    line(r#"{"doubleValue":1.5}"#, "1.5");
    line(r#"{"doubleValue":1e21}"#, "1e+21");
    line(r#"{"doubleValue":1e-7}"#, "1e-7");
    line(r#"{"doubleValue":2}"#, "2");
    line(r#"{"doubleValue":"NaN"}"#, "NaN");
    line(r#"{"boolValue":false}"#, "false");
    line(r#"{"bytesValue":"AQI="}"#, "AQI=");
    line(
        r#"{"kvlistValue":{"values":[{"key":"b","value":{"stringValue":"<\"x\">"}},{"key":"a"},
        {"key":"b","value":{"arrayValue":{"values":[{"doubleValue":0.5},{"boolValue":true}]}}}]}}"#,
        r#"{"a":null,"b":[0.5,true]}"#,
    );
}

#[test]
fn scopes_are_metadata_and_protobuf_reads_the_same() {
    let any = |text: &str| {
        Some(AnyValue {
            value: Some(Value::String(text.to_owned())),
        })
    };
    let pair = |key: &str, value: &str| super::super::proto::values::KeyValue {
        key: key.to_owned(),
        value: any(value),
    };
    let data = proto::LogsData {
        resource_logs: vec![proto::ResourceLogs {
            resource: Some(super::super::proto::values::Resource {
                attributes: vec![pair("service.name", "s")],
                dropped_attributes_count: 3,
            }),
            scope_logs: vec![proto::ScopeLogs {
                scope: Some(super::super::proto::values::InstrumentationScope {
                    name: "lib".to_owned(),
                    version: "1".to_owned(),
                    attributes: vec![pair("kind", "k")],
                    dropped_attributes_count: 4,
                }),
                log_records: vec![proto::LogRecord {
                    time_unix_nano: 9,
                    body: any("x"),
                    ..proto::LogRecord::default()
                }],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    let bytes = prost::Message::encode_to_vec(&data);
    let decoded = decode_protobuf(&bytes, &Limits::default()).unwrap();
    assert_eq!(
        show(&decoded.batch),
        "{service_name=\"s\"}\n9 x {kind=\"k\", resource_dropped_attributes_count=\"3\", \
         scope_dropped_attributes_count=\"4\", scope_name=\"lib\", scope_version=\"1\"}\n"
    );
}

#[test]
fn records_beyond_a_limit_are_rejected() {
    let limits = Limits {
        line_bytes_max: 3,
        metadata_max: 1,
        label_value_bytes_max: 20,
        label_name_bytes_max: 20,
        ..Limits::default()
    };
    let reject = |record: &str, expect: &str| {
        let body = body(
            "",
            &format!(r#"{record}}},{{"body":{{"stringValue":"ok"}}"#),
        );
        let decoded = decode_json(body.as_bytes(), &limits).unwrap();
        assert_eq!(decoded.message, expect, "{record}");
        assert_eq!(decoded.rejected, 1);
        assert_eq!(decoded.batch.record_count(), 1);
    };
    reject(
        r#""body":{"stringValue":"long"}"#,
        "log record: a line of 4 bytes exceeds the limit line_bytes_max of 3",
    );
    reject(
        r#""flags":1,"eventName":"e""#,
        "log record: 2 labels exceed the limit metadata_max of 1",
    );
    let (a, b) = (text("a", "1"), text("b", "2"));
    reject(
        &format!(r#""attributes":[{a},{b}]"#),
        "log record: attributes exceed the limit metadata_max of 1",
    );
    reject(
        &format!(r#""attributes":[{}]"#, text("k", &"v".repeat(21))),
        "log record: \"k\" has 21 bytes, which exceeds the limit label_value_bytes_max of 20",
    );
    reject(
        &format!(r#""attributes":[{}]"#, text(&"k".repeat(21), "v")),
        "log record: a name of 21 bytes exceeds the limit label_name_bytes_max of 20",
    );
    reject(
        r#""timeUnixNano":"9223372036854775808""#,
        "log record: time 9223372036854775808 is after the year 2262",
    );
}

#[test]
fn large_resources_cannot_multiply_memory() {
    let limits = Limits {
        decompressed_bytes_max: 20_000,
        ..Limits::default()
    };
    let records = vec!["{}"; 100].join("},{").replace("{}", "");
    let body = body(&text("big", &"v".repeat(1000)), &records);
    let decoded = decode_json(body.as_bytes(), &limits).unwrap();
    assert_eq!(decoded.batch.record_count() as u64 + decoded.rejected, 100);
    assert!(decoded.batch.record_count() < 20);
    assert_eq!(
        decoded.message,
        "log record: the request unfolds beyond the limit decompressed_bytes_max of 20000"
    );
}

#[test]
fn records_without_time_get_the_time_of_arrival() {
    let body = body("", r#""timeUnixNano":"5"},{"#);
    let mut batch = decode_json(body.as_bytes(), &Limits::default())
        .unwrap()
        .batch;
    stamp(&mut batch, Timestamp::from_nanos(9));
    let times: Vec<i64> = batch.streams[0]
        .records
        .iter()
        .map(|r| r.time.nanos())
        .collect();
    assert_eq!(times, [5, 9]);
}

/// One byte that is not UTF-8 must not cost the batch; collectors drop what is answered with 400.
#[test]
fn texts_that_are_not_utf8_cost_nothing() {
    use crate::protobuf::put;
    let any = |out: &mut Vec<u8>, number: u32, text: &[u8]| {
        put::message(out, number, |out| put::bytes(out, 1, text));
    };
    let mut body = Vec::new();
    put::message(&mut body, 1, |out| {
        put::message(out, 2, |out| {
            put::message(out, 2, |out| {
                put::bytes(out, 3, b"IN\xffO");
                any(out, 5, b"a\xff\xfeb");
                put::message(out, 6, |out| {
                    put::bytes(out, 1, b"k\xff");
                    any(out, 2, b"v\xff");
                });
            });
            put::message(out, 2, |out| any(out, 5, b"good"));
        });
    });
    let decoded = decode_protobuf(&body, &Limits::default()).unwrap();
    let records = &decoded.batch.streams[0].records;
    assert_eq!(records[0].line, b"a\xff\xfeb");
    assert_eq!(
        records[0].metadata.to_string(),
        "{k_=\"v\u{fffd}\", severity_text=\"IN?O\"}"
    );
    assert_eq!(records[1].line, b"good");
    assert_eq!(decoded.rejected, 0);
    assert!(
        decoded.message.starts_with("4 texts are not UTF-8"),
        "{}",
        decoded.message
    );
    body.push(0xff);
    assert!(decode_protobuf(&body, &Limits::default()).is_err());
}
