//! The four forms of Zipkin's spans.

use obs_model::spans::attribute;
use proptest::prelude::*;

use super::*;
use crate::protobuf::put as proto_put;
use crate::thrift::Protocol;
use crate::thrift::put::Writer;

fn limits() -> Limits {
    Limits::default()
}

fn services(batch: &SpanBatch) -> Vec<&str> {
    let name = |r: &ResourceSpans| match attribute(&r.resource.attributes, "service.name") {
        Some(AttributeValue::String(_)) => "",
        _ => "-",
    };
    batch
        .resources
        .iter()
        .map(
            |r| match attribute(&r.resource.attributes, "service.name") {
                Some(AttributeValue::String(text)) => text.as_str(),
                _ => name(r),
            },
        )
        .collect()
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    match attribute(&span.attributes, key) {
        Some(AttributeValue::String(text)) => text,
        _ => "",
    }
}

const V2: &str = r#"[{"traceId":"5982fe77008310cc80f1da5e10147517","parentId":"90394f6bcffb5d13",
"id":"67fae42571535f60","kind":"SERVER","name":"get /","timestamp":1516781775726000,
"duration":26000,"localEndpoint":{"serviceName":"shop","ipv4":"10.0.0.1","port":80},
"remoteEndpoint":{"serviceName":"web","ipv6":"2001:db8::1"},
"annotations":[{"timestamp":1516781775727000,"value":"flush"}],
"tags":{"http.method":"GET","error":"timeout"},"debug":true}]"#;

#[test]
fn version_2_in_json() {
    let decoded = decode_json(V2.as_bytes(), &limits()).unwrap();
    assert_eq!(
        (decoded.rejected, services(&decoded.batch)),
        (0, vec!["shop"])
    );
    let (_, _, span) = decoded.batch.iter().next().unwrap();
    assert_eq!(
        span.trace_id.to_string(),
        "5982fe77008310cc80f1da5e10147517"
    );
    assert_eq!(span.parent_id.to_string(), "90394f6bcffb5d13");
    assert_eq!(
        (span.kind, span.status),
        (SpanKind::Server, StatusCode::Error)
    );
    assert_eq!((span.status_message.as_str(), span.flags), ("timeout", 1));
    assert_eq!(span.start.nanos(), 1_516_781_775_726_000_000);
    assert_eq!(span.duration_nanos(), 26_000_000);
    assert_eq!(
        (text(span, "peer.service"), text(span, "net.peer.ip")),
        ("web", "2001:db8::1")
    );
    assert_eq!(
        (text(span, "net.host.ip"), text(span, "http.method")),
        ("10.0.0.1", "GET")
    );
    assert_eq!(span.events[0].name, "flush");
    assert!(
        decode_json(b"[]", &limits())
            .unwrap()
            .batch
            .resources
            .is_empty()
    );
}

#[test]
fn faults_do_not_take_their_siblings_along() {
    let check = |json: &str, taken: usize, part: &str| {
        let decoded = decode_json(json.as_bytes(), &limits()).unwrap();
        assert_eq!(decoded.batch.span_count(), taken, "{json}");
        assert!(decoded.message.contains(part), "{}", decoded.message);
    };
    check(
        r#"[{"traceId":"x","id":"1","timestamp":1},{"traceId":"1","id":"1","timestamp":1}]"#,
        1,
        "not hexadecimal",
    );
    check(r#"[{"traceId":"1","id":"1"}]"#, 0, "no timestamp");
    check(
        r#"[{"traceId":"0","id":"1","timestamp":1}]"#,
        0,
        "all zeroes",
    );
    check(
        r#"[{"traceId":"1","id":"1","timestamp":9000000000000000000}]"#,
        0,
        "2262",
    );
    let error = decode_json(b"{}", &limits()).unwrap_err().to_string();
    assert!(error.contains("a list of spans"), "{error}");
}

#[test]
fn shared_spans_are_two() {
    let json = r#"[{"traceId":"1","id":"2","parentId":"1","kind":"CLIENT","timestamp":1,"localEndpoint":{"serviceName":"web"}},
        {"traceId":"1","id":"2","parentId":"1","kind":"SERVER","shared":true,"timestamp":2,"localEndpoint":{"serviceName":"shop"}},
        {"traceId":"1","id":"3","parentId":"2","timestamp":3,"localEndpoint":{"serviceName":"shop"}},
        {"traceId":"1","id":"4","parentId":"2","timestamp":3,"localEndpoint":{"serviceName":"other"}}]"#;
    let decoded = decode_json(json.as_bytes(), &limits()).unwrap();
    let spans: Vec<Span> = decoded
        .batch
        .iter()
        .map(|(_, _, span)| span.clone())
        .collect();
    let (client, server, child, other) = (&spans[0], &spans[1], &spans[2], &spans[3]);
    assert_ne!(server.span_id, client.span_id);
    assert_eq!(server.parent_id, client.span_id);
    assert_eq!(child.parent_id, server.span_id);
    assert_eq!(other.parent_id, client.span_id);
    // A retry gives the same ids.
    assert_eq!(
        decode_json(json.as_bytes(), &limits()).unwrap().batch,
        decoded.batch
    );
}

#[test]
fn version_1_in_json() {
    let json = r#"[{"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"1","name":"get",
        "annotations":[{"timestamp":1000,"value":"cs","endpoint":{"serviceName":"web","ipv4":"10.0.0.2"}},
        {"timestamp":1500,"value":"hi"},{"timestamp":3000,"value":"cr","endpoint":{"serviceName":"web"}}],
        "binaryAnnotations":[{"key":"http.path","value":"/a"},{"key":"n","value":5},
        {"key":"sa","value":true,"endpoint":{"serviceName":"shop","port":80}}]}]"#;
    let decoded = decode_json_v1(json.as_bytes(), &limits()).unwrap();
    assert_eq!(services(&decoded.batch), ["web"]);
    let (_, _, span) = decoded.batch.iter().next().unwrap();
    assert_eq!(
        (span.kind, span.duration_nanos()),
        (SpanKind::Client, 2_000_000)
    );
    assert_eq!((text(span, "http.path"), text(span, "n")), ("/a", "5"));
    assert_eq!(text(span, "peer.service"), "shop");
    assert_eq!((span.events.len(), span.events[0].name.as_str()), (1, "hi"));
}

#[test]
fn version_1_in_thrift() {
    let binary = Protocol::Binary;
    let mut host = Writer::new(binary);
    host.i32(1, 0x0a00_0001);
    host.i16(2, -1);
    host.text(3, b"shop");
    let host = host.end();
    let annotation = |time, value: &[u8]| {
        let mut out = Writer::new(binary);
        out.i64(1, time);
        out.text(2, value);
        out.inner(3, &host);
        out.end()
    };
    let mut tag = Writer::new(binary);
    tag.text(1, b"rows");
    tag.text(2, &7i32.to_be_bytes());
    tag.i32(3, 3);
    let mut span = Writer::new(binary);
    span.i64(1, 0xab);
    span.text(3, b"get");
    span.i64(4, 2);
    span.i64(5, 1);
    span.structs(6, &[annotation(1000, b"sr"), annotation(4000, b"ss")]);
    span.structs(8, &[tag.end()]);
    span.truth(9, false);
    span.i64(12, 1);
    let mut list = Writer::new(binary);
    list.bare_structs(&[span.end()]);
    let decoded = decode_thrift_v1(&list.out, &limits()).unwrap();
    assert_eq!(services(&decoded.batch), ["shop"]);
    let (_, _, span) = decoded.batch.iter().next().unwrap();
    assert_eq!(
        span.trace_id.to_string(),
        "000000000000000100000000000000ab"
    );
    assert_eq!(
        (span.kind, span.duration_nanos()),
        (SpanKind::Server, 3_000_000)
    );
    assert_eq!(
        (text(span, "rows"), text(span, "net.host.ip")),
        ("7", "10.0.0.1")
    );
    // Its time stands in annotations only: the client began it.
    assert_eq!(span.parent_id.to_string(), "0000000000000002");
    assert!(decode_thrift_v1(b"", &limits()).is_err());
}

fn in_protobuf(id: u64, name: &str, tags: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    proto_put::message(&mut out, 1, |out| {
        proto_put::bytes(out, 1, &[7; 16]);
        proto_put::bytes(out, 3, &id.to_be_bytes());
        proto_put::uint(out, 4, 2);
        proto_put::bytes(out, 5, name.as_bytes());
        out.push(6 << 3 | 1);
        out.extend_from_slice(&1000u64.to_le_bytes());
        proto_put::uint(out, 7, 5);
        proto_put::message(out, 8, |out| {
            proto_put::bytes(out, 1, b"shop");
            proto_put::bytes(out, 2, &[10, 0, 0, 1]);
            proto_put::uint(out, 4, 80);
        });
        for (key, value) in tags {
            proto_put::message(out, 11, |out| {
                proto_put::bytes(out, 1, key.as_bytes());
                proto_put::bytes(out, 2, value.as_bytes());
            });
        }
    });
    out
}

type Decode = fn(&[u8], &Limits) -> Result<Decoded<SpanBatch>, crate::WireError>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn protobuf_reads_back(
        id in 1..u64::MAX,
        name in ".{0,12}",
        tags in proptest::collection::vec(("[a-d]{1,4}", ".{0,6}"), 0..5),
    ) {
        let decoded = decode_protobuf(&in_protobuf(id, &name, &tags), &limits()).unwrap();
        prop_assert_eq!(decoded.rejected, 0);
        prop_assert_eq!(services(&decoded.batch), ["shop"]);
        let (_, _, span) = decoded.batch.iter().next().unwrap();
        prop_assert_eq!(&span.name, &name);
        prop_assert_eq!(u64::from_be_bytes(span.span_id.0), id);
        prop_assert_eq!((span.kind, span.duration_nanos()), (SpanKind::Server, 5000));
        prop_assert_eq!(span.attributes.len(), 2 + tags.len());
    }

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let decoders: [Decode; 4] =
            [decode_json, decode_json_v1, decode_protobuf, decode_thrift_v1];
        for decode in decoders {
            if let Ok(decoded) = decode(&bytes, &limits()) {
                prop_assert!(decoded.batch.span_count() <= bytes.len());
            }
        }
    }

    #[test]
    fn arbitrary_json(number in any::<f64>(), text in ".{0,20}", kind in "[A-Z]{0,6}") {
        let json = serde_json::json!([{
            "traceId": text, "id": "1", "timestamp": number, "duration": number, "kind": kind,
            "tags": {text.clone(): text}, "annotations": [{"timestamp": number, "value": text}],
        }]);
        for decode in [decode_json, decode_json_v1] {
            drop(decode(json.to_string().as_bytes(), &limits()));
        }
    }

    #[test]
    fn halves_differ(id in 1..u64::MAX) {
        let id = SpanId(id.to_be_bytes());
        prop_assert_ne!(server_half(id), id);
        prop_assert!(!server_half(id).is_zero());
    }
}
