//! Both forms of a push: tables, round trips, hostile bytes.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::json::Writer;
use crate::protobuf::put;

fn print(batch: &LogBatch) -> String {
    let mut out = String::new();
    for stream in &batch.streams {
        out.push_str(&format!("{}\n", stream.labels));
        for r in &stream.records {
            let line = r.line.escape_ascii();
            out.push_str(&format!("  {} {line} {}\n", r.time.nanos(), r.metadata));
        }
    }
    out
}

fn check(body: &str, expect: Expect) {
    let result = decode_json(body.as_bytes(), &Limits::default());
    expect.assert_eq(
        &result.map_or_else(|error| error.to_string(), |d| print(&d.batch) + &d.message),
    );
}

#[test]
fn json() {
    check(
        r#"{"other":[{"deep":[1,null]}],"streams":[
            {"values":[["1","a \"line\"\n\u00e9"],["-2","",{"trace_id":"x","a.b":"c"}],["3","b",{}]],
             "stream":{"job":"j","empty":"","app":"a"},"more":1},
            {"stream":{"job":"k"}}]}"#,
        expect![[r#"
            {app="a", job="j"}
              1 a \"line\"\n\xc3\xa9 {}
              -2  {a_b="c", trace_id="x"}
              3 b {}
            {job="k"}
        "#]],
    );
    check("{}", expect![[""]]);
    let raw = b"{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"1\",\"x\xff\\ud800\"]]}]}";
    let batch = decode_json(raw, &Limits::default()).unwrap().batch;
    assert_eq!(batch.streams[0].records[0].line, b"x\xff\xed\xa0\x80");
}

#[test]
fn old_json() {
    check(
        r#"{"streams":[{"labels":"{job=\"j\", app=\"a\"}","entries":[
            {"line":"a","ts":"1970-01-01T00:00:01.5+00:00","more":{}},
            {"ts":"1970-01-01T00:00:00Z","line":"b"}]}]}"#,
        expect![[r#"
            {app="a", job="j"}
              1500000000 a {}
              0 b {}
        "#]],
    );
    let entry = |entry: &str, expect: Expect| {
        let body = format!(r#"{{"streams":[{{"labels":"{{a=\"b\"}}","entries":[{entry}]}}]}}"#);
        check(&body, expect);
    };
    entry(
        r#"{"ts":"now","line":""}"#,
        expect![
            "loki push request is malformed at 1:56: expected a timestamp in RFC 3339, found string \"now\""
        ],
    );
    entry(
        r#"{"line":""}"#,
        expect!["loki push request is malformed at 1:56: expected missing field `ts`"],
    );
    check(
        r#"{"streams":[{"labels":"{a}"}]}"#,
        expect![[r#"loki stream labels is malformed at 1:3: expected "=", found "}""#]],
    );
}

#[test]
fn json_faults_have_line_and_column() {
    let entry = |entry: &str, expect: Expect| {
        let body =
            format!("{{\"streams\":[\n{{\"stream\":{{\"a\":\"b\"}},\"values\":[{entry}]}}]}}");
        check(&body, expect);
    };
    entry(
        "[1,\"x\"]",
        expect![
            "loki push request is malformed at 2:32: expected a timestamp as a string of nanoseconds, found integer `1`"
        ],
    );
    entry(
        "[\"1.5\",\"x\"]",
        expect![[
            r#"loki push request is malformed at 2:36: expected a timestamp as a string of nanoseconds, found string "1.5""#
        ]],
    );
    entry(
        "[\"1\"]",
        expect![[
            r#"loki push request is malformed at 2:35: expected an entry ["nanoseconds", "line", {metadata}], found 1"#
        ]],
    );
    entry(
        "[\"1\",2]",
        expect![
            "loki push request is malformed at 2:36: expected a line as a string, found integer `2`"
        ],
    );
    entry(
        "[\"1\",\"x\",{\"a\":1}]",
        expect!["loki push request is malformed at 2:45: expected a string, found integer `1`"],
    );
    entry(
        "[\"1\",\"x\",{},3]",
        expect![[
            r#"loki push request is malformed at 2:44: expected an entry ["nanoseconds", "line", {metadata}], found 4"#
        ]],
    );
    check(
        "[]",
        expect![[
            r#"loki push request is malformed at 1:0: expected an object with "streams", found sequence"#
        ]],
    );
    check(
        "{\"streams\":[{\"stream\":{}}]}",
        expect![
            "loki push request is malformed at streams[0].stream: expected a stream with at least one label"
        ],
    );
    check(
        "{\"streams\":[{\"values\":[]}]}",
        expect![[
            r#"loki push request is malformed at streams[0].stream: expected a stream with at least one label"#
        ]],
    );
    check(
        "{\"streams\":[{\"stream\":{\"a-b\":\"c\"}}]}",
        expect![[
            r#"loki push request is malformed at streams[0].stream: expected label names of letters, digits and _ only, found "a-b""#
        ]],
    );
    check(
        "{\"streams\":",
        expect![[
            r#"loki push request is malformed at 1:11: expected JSON (EOF while parsing a value)"#
        ]],
    );
    check(
        "{} x",
        expect![[r#"loki push request is malformed at 1:4: expected JSON (trailing characters)"#]],
    );
}

#[test]
fn deep_nesting_does_not_overflow() {
    let deep = format!("{{\"x\":{}", "[".repeat(1 << 20));
    assert!(decode_json(deep.as_bytes(), &Limits::default()).is_err());
}

fn limits(decompressed_bytes_max: usize) -> Limits {
    Limits {
        labels_max: 1,
        label_value_bytes_max: 4,
        line_bytes_max: 5,
        metadata_max: 1,
        decompressed_bytes_max,
        ..Limits::default()
    }
}

#[test]
fn limits_are_named() {
    let push = |limits: &Limits, labels: &str, entries: &str| {
        let body = format!("{{\"streams\":[{{\"stream\":{{{labels}}},\"values\":[{entries}]}}]}}");
        decode_json(body.as_bytes(), limits)
    };
    let good = r#""a":"b""#;
    let many: Vec<String> = (0..1100).map(|n| format!("\"l{n}\":\"v\"")).collect();
    let many = many.join(",");
    let room = limits(1 << 20);
    let entries = format!(r#"["1","kept"],["2","too much",{{{many}}}],["3","kept"]"#);
    let read = push(&room, good, &entries).unwrap();
    assert_eq!((read.batch.record_count(), read.rejected), (2, 1));
    assert_eq!(
        read.message,
        r#"stream '{a="b"}' has too many structured metadata labels: '1100', limit: '1'"#
    );
    let read = push(&room, &many, r#"["1","x"]"#).unwrap();
    assert_eq!((read.batch.record_count(), read.rejected), (0, 1));
    assert!(read.message.contains("labels_max"), "{}", read.message);
    let long = format!("[\"1\",\"{}\"]", "x".repeat(150));
    match push(&limits(150), good, &long) {
        Err(WireError::TooLarge { limit, .. }) => assert_eq!(limit, "decompressed_bytes_max"),
        other => panic!("{other:?}"),
    }
}

/// One odd record of a protobuf push must not cost the others.
#[test]
fn odd_records_of_protobuf_are_refused_alone() {
    let mut body = Vec::new();
    put::message(&mut body, 1, |out| {
        // Entries may come before the labels.
        put::message(out, 2, |out| {
            put::bytes(out, 2, b"much");
            for n in 0..1030 {
                put::message(out, 3, |out| {
                    put::bytes(out, 1, format!("k{n}").as_bytes());
                    put::bytes(out, 2, b"v");
                });
            }
        });
        put::message(out, 2, |out| {
            put::message(out, 1, |out| put::uint(out, 1, i64::MAX as u64));
            put::bytes(out, 2, b"no time");
        });
        put::message(out, 2, |out| {
            put::bytes(out, 2, b"kept \xff");
            put::message(out, 3, |out| {
                put::bytes(out, 1, b"k");
                put::bytes(out, 2, b"a\xffb");
            });
        });
        put::bytes(out, 1, br#"{a="b"}"#);
    });
    put::message(&mut body, 1, |out| {
        put::bytes(out, 1, b"{a=\"\xff\"}");
        put::message(out, 2, |out| put::bytes(out, 2, b"x"));
    });
    let read = decode_protobuf(&body, &Limits::default()).unwrap();
    assert_eq!(
        print(&read.batch),
        "{a=\"b\"}\n  0 kept \\xff {k=\"a\u{fffd}b\"}\n"
    );
    assert_eq!(read.rejected, 3);
    for reason in [
        r#"stream '{a="b"}' has too many structured metadata labels: '1030', limit: '256'"#,
        r#"entry for stream '{a="b"}' has timestamp out of range"#,
        "expected UTF-8",
    ] {
        assert!(read.message.contains(reason), "{}", read.message);
    }
}

/// A stream without usable labels must not cost the others, as in Loki.
#[test]
fn streams_with_wrong_labels_are_rejected_alone() {
    let body = r#"{"streams":[
        {"stream":{"a-b":"c"},"values":[["1","x"],["2","y"]]},
        {"values":[["3","kept"]],"stream":{"a":"b"}},
        {"stream":{},"values":[["4","z"]]},
        {"stream":{"a":"1","a":"2"},"values":[["5","z"]]}]}"#;
    let json = decode_json(body.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(print(&json.batch), "{a=\"b\"}\n  3 kept {}\n");
    assert_eq!(json.rejected, 4);
    for reason in [
        "streams[0].stream: expected label names",
        "streams[2].stream: expected a stream with",
        "found \"a\" twice",
    ] {
        assert!(json.message.contains(reason), "{}", json.message);
    }
    let mut body = Vec::new();
    for labels in [&b"{a=b}"[..], b"{a=\"b\"}", b""] {
        put::message(&mut body, 1, |out| {
            put::bytes(out, 1, labels);
            put::message(out, 2, |out| put::bytes(out, 2, b"x"));
        });
    }
    let read = decode_protobuf(&body, &Limits::default()).unwrap();
    assert_eq!((read.batch.streams.len(), read.rejected), (1, 2));
    assert!(
        read.message.contains("a string in double quotes"),
        "{}",
        read.message
    );
}

/// One record over a limit must not cost the others: the store drops it alone and says so.
#[test]
fn records_over_a_limit_are_left_to_the_store() {
    let body = r#"{"streams":[
        {"stream":{"a":"b"},"values":[
            ["1","123456"],["2","12"],["3","1",{"a":"b","c":"d"}],["4","1",{"a":"12345"}]]},
        {"stream":{"a":"12345"},"values":[["5","1"]]},
        {"stream":{"a":"b","c":"d"},"values":[["6","1"]]}]}"#;
    let json = decode_json(body.as_bytes(), &limits(1000)).unwrap().batch;
    assert_eq!(json.record_count(), 6);
    assert_eq!(json.streams[0].records[0].line, b"123456");
    assert_eq!(json.streams[0].records[2].metadata.len(), 2);
    assert_eq!(json.streams[2].labels.len(), 2);
    let entry = [&b"\x0a\x02\x08\x01\x12\x06"[..], b"123456"].concat();
    let labels = br#"{a="12345",c="d"}"#;
    let mut stream = vec![0x0a, u8::try_from(labels.len()).unwrap()];
    stream.extend_from_slice(labels);
    stream.extend([0x12, u8::try_from(entry.len()).unwrap()]);
    stream.extend_from_slice(&entry);
    let mut body = vec![0x0a, u8::try_from(stream.len()).unwrap()];
    body.extend_from_slice(&stream);
    let batch = decode_protobuf(&body, &limits(1000)).unwrap().batch;
    assert_eq!(batch.streams[0].labels.to_string(), r#"{a="12345", c="d"}"#);
    assert_eq!(batch.streams[0].records[0].line, b"123456");
}

#[test]
fn label_texts() {
    let check = |text: &str, expect: Expect| {
        let result = parse_labels(text, &Limits::default());
        expect.assert_eq(&result.map_or_else(|e| e.to_string(), |l| l.to_string()));
    };
    check(
        r#" {job="a\tb", app=`c\d`,} "#,
        expect![[r#"{app="c\\d", job="a\tb"}"#]],
    );
    check(
        "{}",
        expect![[
            r#"loki stream labels is malformed at 1:1: expected a stream with at least one label, found "{}""#
        ]],
    );
    check(
        r#"{a="b"}x"#,
        expect![[
            r#"loki stream labels is malformed at 1:8: expected the end of the labels, found "x""#
        ]],
    );
    check(
        r#"{a="b",a="c"}"#,
        expect![[
            r#"loki stream labels is malformed at 1:1: expected label names once each, found "a" twice, found "{a=\"b\",a=\"c\"}""#
        ]],
    );
    check(
        r#"{"a"}"#,
        expect![[
            r#"loki stream labels is malformed at 1:1: expected labels with values, found "{\"a\"}""#
        ]],
    );
    check(
        r#"{"a-b"="c"}"#,
        expect![[
            r#"loki stream labels is malformed at 1:1: expected label names of letters, digits and _ only, found "a-b", found "{\"a-b\"=\"c\"}""#
        ]],
    );
}

fn encode_json(batch: &LogBatch) -> Vec<u8> {
    let mut out = Vec::new();
    let mut json = Writer::new(&mut out);
    json.object();
    json.key("streams");
    json.array();
    for stream in &batch.streams {
        json.object();
        json.key("stream");
        json.pairs(&stream.labels);
        json.key("values");
        json.array();
        for record in &stream.records {
            json.array();
            json.string(&record.time.nanos().to_string());
            json.text(&record.line);
            json.pairs(&record.metadata);
            json.end_array();
        }
        json.end_array();
        json.end_object();
    }
    json.end_array();
    json.end_object();
    out
}

fn encode_protobuf(batch: &LogBatch) -> Vec<u8> {
    let mut out = Vec::new();
    for stream in &batch.streams {
        put::message(&mut out, 1, |out| {
            put::bytes(out, 1, stream.labels.to_string().as_bytes());
            for record in &stream.records {
                put::message(out, 2, |out| {
                    put::message(out, 1, |out| {
                        let nanos = record.time.nanos();
                        put::uint(out, 1, nanos.div_euclid(NANOS_PER_SECOND) as u64);
                        put::uint(out, 2, nanos.rem_euclid(NANOS_PER_SECOND) as u64);
                    });
                    put::bytes(out, 2, &record.line);
                    for (name, value) in &record.metadata {
                        put::message(out, 3, |out| {
                            put::bytes(out, 1, name.as_bytes());
                            put::bytes(out, 2, value.as_bytes());
                        });
                    }
                });
            }
        });
    }
    out
}

#[test]
fn protobuf_faults() {
    let check = |body: &[u8], expect: Expect| {
        let told = match decode_protobuf(body, &Limits::default()) {
            Ok(decoded) => decoded.message,
            Err(error) => error.to_string(),
        };
        expect.assert_eq(&told);
    };
    let mut bad_labels = Vec::new();
    put::message(&mut bad_labels, 1, |out| put::bytes(out, 1, b"{a=b}"));
    check(
        &bad_labels,
        expect![[
            r#"loki push request is malformed at byte 4: expected stream labels; at 1:4 of them: a string in double quotes, found "b}""#
        ]],
    );
    check(
        &[0x0a, 0],
        expect![[
            r#"loki push request is malformed at byte 2: expected a stream with at least one label"#
        ]],
    );
    check(
        &[0x08, 0],
        expect![[r#"loki push request is malformed at byte 2: expected a message in field 1"#]],
    );
    let mut bad_time = Vec::new();
    put::message(&mut bad_time, 1, |out| {
        put::bytes(out, 1, b"{a=\"b\"}");
        put::message(out, 2, |out| {
            put::message(out, 1, |out| put::uint(out, 1, i64::MAX as u64));
        });
    });
    check(
        &bad_time,
        expect![[
            r#"entry for stream '{a="b"}' has timestamp out of range: 9223372036854775807 seconds and 0 nanoseconds, expected one of the years 1677 to 2262"#
        ]],
    );
}

#[test]
fn of_equal_metadata_the_last_wins() {
    let mut body = Vec::new();
    put::message(&mut body, 1, |out| {
        put::bytes(out, 1, b"{a=\"b\"}");
        put::message(out, 2, |out| {
            for value in ["1", "2"] {
                put::message(out, 3, |out| {
                    put::bytes(out, 1, b"m");
                    put::bytes(out, 2, value.as_bytes());
                });
            }
        });
    });
    let batch = decode_protobuf(&body, &Limits::default()).unwrap().batch;
    assert_eq!(batch.streams[0].records[0].metadata.get("m"), Some("2"));
}

fn batches() -> impl Strategy<Value = LogBatch> {
    let pairs = |least| {
        proptest::collection::btree_map("[a-z_]{1,4}", "[a-z\"\\\\\n\té{},=]{1,5}", least..4)
            .prop_map(Labels::from_pairs::<String, String>)
    };
    let record =
        (any::<i64>(), "\\PC{0,10}", pairs(0)).prop_map(|(nanos, line, metadata)| LogRecord {
            time: Timestamp::from_nanos(nanos),
            line: line.into_bytes(),
            metadata,
        });
    let stream = (pairs(1), proptest::collection::vec(record, 0..4))
        .prop_map(|(labels, records)| LogStream { labels, records });
    proptest::collection::vec(stream, 0..4).prop_map(|streams| LogBatch { streams })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trips(batch in batches()) {
        let limits = Limits::default();
        prop_assert_eq!(&decode_json(&encode_json(&batch), &limits).unwrap().batch, &batch);
        // The first second that 64 bits cannot hold whole is refused.
        let low = Timestamp::from_nanos(i64::MIN + NANOS_PER_SECOND);
        prop_assume!(batch.streams.iter().flat_map(|s| &s.records).all(|r| r.time > low));
        prop_assert_eq!(&decode_protobuf(&encode_protobuf(&batch), &limits).unwrap().batch, &batch);
    }

    #[test]
    fn arbitrary_bytes(
        batch in batches(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut json = encode_json(&batch);
        let index = at.index(json.len());
        json[index] = byte;
        if let Ok(read) = decode_json(&json, &Limits::default()) {
            prop_assert!(read.batch.record_count() <= json.len());
        }
        let mut protobuf = encode_protobuf(&batch);
        if !protobuf.is_empty() {
            let index = at.index(protobuf.len());
            protobuf[index] = byte;
        }
        for input in [protobuf, noise] {
            if let Ok(read) = decode_protobuf(&input, &Limits::default()) {
                prop_assert!(read.batch.record_count() <= input.len());
            }
        }
    }
}
