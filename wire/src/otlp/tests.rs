//! Hostile bodies: no panic, no allocation beyond a bound, faults with their place.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::*;

fn decode_all(body: &[u8], limits: &Limits) -> [Option<WireError>; 6] {
    [
        traces::decode_protobuf(body, limits).err(),
        traces::decode_json(body, limits).err(),
        logs::decode_protobuf(body, limits).err(),
        logs::decode_json(body, limits).err(),
        metrics::decode_protobuf(body, limits).err(),
        metrics::decode_json(body, limits).err(),
    ]
}

/// Bytes that look like nested messages: tags of the schema, short lengths, some noise.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let field = (1..17u8, 0..6u8, vec(any::<u8>(), 0..6)).prop_map(|(tag, wire, content)| {
        let mut bytes = vec![tag << 3 | wire];
        if wire == 2 {
            bytes.push(content.len() as u8);
        }
        bytes.extend(content);
        bytes
    });
    vec(field, 0..4)
        .prop_map(|fields| fields.concat())
        .prop_recursive(6, 32, 3, |inner| {
            vec((1..17u8, inner), 1..3).prop_map(|fields| {
                let wrap = |(tag, content): (u8, Vec<u8>)| {
                    let mut bytes = vec![tag << 3 | 2];
                    prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
                    bytes.extend(content);
                    bytes
                };
                fields.into_iter().flat_map(wrap).collect()
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_do_not_panic(body in vec(any::<u8>(), 0..200)) {
        let errors = decode_all(&body, &Limits::default());
        // Only an empty object or nothing at all is also JSON.
        let blank = body.trim_ascii().is_empty();
        let object = body.trim_ascii().first() == Some(&0x7b);
        prop_assert!(blank || object || errors[1].is_some());
    }

    #[test]
    fn arbitrary_messages_do_not_panic(body in messages()) {
        let limits = Limits::default();
        for (decoded, error) in [
            (trace_data(&body), traces::decode_protobuf(&body, &limits).err()),
            (log_data(&body), logs::decode_protobuf(&body, &limits).err()),
            (metric_data(&body), metrics::decode_protobuf(&body, &limits).err()),
        ] {
            // What the walk lets through is what prost reads.
            prop_assert_eq!(decoded, error.is_none(), "{:?}", error);
        }
    }

    #[test]
    fn cut_json_does_not_panic(cut in 0..SAMPLE.len(), junk in any::<u8>()) {
        let mut body = SAMPLE.as_bytes()[..cut].to_vec();
        body.push(junk);
        let errors = decode_all(&body, &Limits::default());
        prop_assert!(errors[1].is_some() || cut == 0);
    }
}

const SAMPLE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":
{"stringValue":"a"}}]},"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10",
"spanId":"0102030405060708","attributes":[{"key":"n","value":{"intValue":"5"}}]}]}]}]}"#;

fn trace_data(body: &[u8]) -> bool {
    proto::trace::TracesData::decode(body).is_ok()
}

fn log_data(body: &[u8]) -> bool {
    proto::logs::LogsData::decode(body).is_ok()
}

fn metric_data(body: &[u8]) -> bool {
    proto::metrics::MetricsData::decode(body).is_ok()
}

#[test]
fn declared_lengths_are_not_believed() {
    // 2^35-1 bytes of resource spans, of a packed list and of an id, none of which are there.
    let huge = [0xff, 0xff, 0xff, 0xff, 0x7f];
    let mut body = vec![0x0a];
    body.extend(huge);
    for error in decode_all(&body, &Limits::default()).into_iter().step_by(2) {
        let text = error.unwrap().to_string();
        assert!(
            text.ends_with("byte 6: expected as many bytes as the length says"),
            "{text}"
        );
    }
    // prost itself, too, reads only what is there.
    assert!(proto::trace::TracesData::decode(body.as_slice()).is_err());
    body[0] = 0x12;
    assert!(proto::metrics::Buckets::decode(body.as_slice()).is_err());
    body[0] = 0x0a;
    assert!(proto::trace::Span::decode(body.as_slice()).is_err());
}

#[test]
fn empty_messages_cannot_multiply_memory() {
    // A million empty spans in 2 MB would take 700 MB.
    let spans = [0x12u8, 0].repeat(1 << 20);
    let wrap = |tag: u8, content: Vec<u8>| {
        let mut bytes = vec![tag];
        prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
        bytes.extend(content);
        bytes
    };
    let body = wrap(0x0a, wrap(0x12, spans));
    for error in decode_all(&body, &Limits::default()).into_iter().step_by(2) {
        assert!(
            matches!(error, Some(WireError::TooLarge { .. })),
            "{error:?}"
        );
    }
    let mut json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":["#.to_vec();
    json.extend(b"{},".repeat(1 << 20));
    json.extend(b"{}]}]}]}");
    let error = traces::decode_json(&json, &Limits::default()).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { .. }), "{error}");
    // Braces in a text are no objects.
    let text = "{".repeat(1 << 20);
    let json = format!(r#"{{"resourceSpans":[{{"schemaUrl":"\"{text}"}}]}}"#);
    assert!(traces::decode_json(json.as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn bodies_beyond_the_limit_are_refused_unread() {
    let limits = Limits {
        decompressed_bytes_max: 10,
        ..Limits::default()
    };
    for error in decode_all(&[b' '; 11], &limits) {
        let text = error.unwrap().to_string();
        assert!(
            text.contains("exceeds the limit decompressed_bytes_max of 10"),
            "{text}"
        );
    }
}

#[test]
fn deep_values_do_not_overflow_the_stack() {
    let mut value = Vec::new();
    for _ in 0..10_000 {
        // AnyValue.array_value.values
        for tag in [0x0au8, 0x2a] {
            let mut bytes = vec![tag];
            prost::encode_length_delimiter(value.len(), &mut bytes).unwrap();
            bytes.extend(&value);
            value = bytes;
        }
    }
    for tag in [0x2au8, 0x12, 0x12, 0x0a] {
        let mut bytes = vec![tag];
        prost::encode_length_delimiter(value.len(), &mut bytes).unwrap();
        bytes.extend(&value);
        value = bytes;
    }
    let error = logs::decode_protobuf(&value, &Limits::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("expected at most 96 messages inside one another"),
        "{text}"
    );
    let open = r#"{"arrayValue":{"values":["#.repeat(10_000);
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{open}"#);
    let error = logs::decode_json(body.as_bytes(), &Limits::default()).unwrap_err();
    assert!(
        error.to_string().contains("recursion limit exceeded"),
        "{error}"
    );
}

#[test]
fn many_reasons_are_told_shortly() {
    let mut rejects = Rejects::default();
    for n in 0..100 {
        rejects.add(2, format!("reason {}", n % 50));
    }
    let decoded = rejects.into_decoded(());
    assert_eq!(decoded.rejected, 200);
    assert_eq!(
        decoded.message,
        "reason 0; reason 1; reason 2; reason 3; reason 4; and other reasons"
    );
    assert_eq!(shown(&"ü".repeat(200)), format!("\"{}\"…", "ü".repeat(100)));
}
