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
        metrics::decode_protobuf(body, limits, &Default::default()).err(),
        metrics::decode_json(body, limits, &Default::default()).err(),
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
            (metric_data(&body), metrics::decode_protobuf(&body, &limits, &Default::default()).err()),
        ] {
            // What the walk lets through is what prost reads.
            prop_assert_eq!(decoded, error.is_none(), "{:?}", error);
        }
    }

    #[test]
    fn traces_are_what_the_structs_of_the_schema_say(body in messages()) {
        let limits = Limits::default();
        if let Ok(read) = traces::decode_protobuf(&body, &limits) {
            let data = proto::trace::TracesData::decode(body.as_slice()).unwrap();
            let expect = traces::convert(data, &limits);
            // As text, for NaN is not equal to itself.
            prop_assert_eq!(format!("{:?}", read.batch), format!("{:?}", expect.batch));
            prop_assert_eq!(read.rejected, expect.rejected);
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
    // Texts that are not UTF-8 are mended.
    let read = |body: &[u8]| proto::logs::LogsData::decode(body).is_ok();
    read(body) || repair::logs(body).is_some_and(|(mended, _)| read(&mended))
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
fn terse_honest_bodies_pass() {
    let limits = Limits::default();
    let json = |head: &str, item: &str, tail: &str| {
        let items = vec![item; 20_000].join(",");
        format!("{head}{items}{tail}").into_bytes()
    };
    let spans = json(
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"events":["#,
        r#"{"timeUnixNano":"1"}"#,
        "]}]}]}]}",
    );
    assert!(traces::decode_json(&spans, &limits).is_ok());
    let points = json(
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":["#,
        r#"{"asInt":1}"#,
        "]}}]}]}]}",
    );
    assert!(metrics::decode_json(&points, &limits, &Default::default()).is_ok());
    let values = json(
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"arrayValue":{"values":["#,
        r#"{"intValue":1}"#,
        "]}}}]}]}]}",
    );
    assert_eq!(logs::decode_json(&values, &limits).unwrap().rejected, 0);
    // In protobuf: records of 16 bytes, spans of 30, points of 20, values of 4.
    let record = message(2, &[long(1, 5), message(5, &[text(1, "x")])]);
    let body = message(1, &[message(2, &vec![record; 20_000])]);
    assert_eq!(
        logs::decode_protobuf(&body, &limits)
            .unwrap()
            .batch
            .record_count(),
        20_000
    );
    let span = message(2, &[text(1, [1; 16]), text(2, [2; 8])]);
    let body = message(1, &[message(2, &vec![span; 20_000])]);
    assert_eq!(
        traces::decode_protobuf(&body, &limits)
            .unwrap()
            .batch
            .span_count(),
        20_000
    );
    let gauge = message(5, &vec![message(1, &[long(3, 5), long(6, 1)]); 20_000]);
    let body = message(1, &[message(2, &[message(2, &[text(1, "g"), gauge])])]);
    assert_eq!(
        metrics::decode_protobuf(&body, &limits, &Default::default())
            .unwrap()
            .batch
            .sample_count(),
        20_000
    );
    let array = message(5, &vec![message(1, &[varint(2, 1)]); 20_000]);
    let body = message(1, &[message(2, &[message(2, &[message(5, &[array])])])]);
    assert_eq!(logs::decode_protobuf(&body, &limits).unwrap().rejected, 0);
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

/// Protobuf put together by hand from tags and wire types of the published schema, so that a wrong
/// tag in our structs, which a round trip cannot see, shows.
fn long(tag: u8, number: u64) -> Vec<u8> {
    [vec![tag << 3 | 1], number.to_le_bytes().to_vec()].concat()
}

fn varint(tag: u32, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(tag << 3), &mut bytes);
    prost::encoding::encode_varint(number, &mut bytes);
    bytes
}

fn message(tag: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    text(tag, fields.concat())
}

fn text(tag: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(tag << 3 | 2), &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

#[test]
fn spans_have_the_published_tags() {
    let pair = |tag| message(tag, &[text(1, "k"), message(2, &[varint(3, 7)])]);
    let event = message(11, &[long(1, 3), text(2, "e"), pair(3), varint(4, 1)]);
    let flags = |tag: u8| vec![tag << 3 | 5, 1, 1, 0, 0];
    let link = [
        text(1, [8; 16]),
        text(2, [9; 8]),
        text(3, "t"),
        pair(4),
        varint(5, 2),
        flags(6),
    ];
    let mut span = vec![
        text(1, [1; 16]),
        text(2, [2; 8]),
        text(3, "s"),
        text(4, [3; 8]),
        text(5, "name"),
        varint(6, 3),
        long(7, 5),
        long(8, 6),
        pair(9),
        varint(10, 4),
        event,
        varint(12, 5),
        message(13, &link),
        varint(14, 6),
        message(15, &[text(2, "why"), varint(3, 2)]),
    ];
    span.push(vec![0x85, 0x01, 1, 1, 0, 0]); // tag 16, fixed32
    let scope = message(1, &[text(1, "lib"), text(2, "v"), pair(3), varint(4, 7)]);
    let scope_spans = message(2, &[scope, message(2, &span), text(3, "scope url")]);
    let resource = message(1, &[pair(1), varint(2, 8)]);
    let body = message(1, &[resource, scope_spans, text(3, "resource url")]);
    let decoded = traces::decode_protobuf(&body, &Limits::default()).unwrap();
    assert_eq!(decoded.message, "");
    let mut json = Vec::new();
    traces::encode_json(&decoded.batch, &mut json);
    let pair = r#""attributes":[{"key":"k","value":{"intValue":"7"}}]"#;
    let one = "01010101010101010101010101010101";
    let eight = "08080808080808080808080808080808";
    let expect = [
        r#"{"resourceSpans":[{"resource":{"#,
        pair,
        r#","droppedAttributesCount":8},"#,
        r#""scopeSpans":[{"scope":{"name":"lib","version":"v","#,
        pair,
        r#","droppedAttributesCount":7},"spans":[{"traceId":""#,
        one,
        r#"","spanId":"0202020202020202","traceState":"s","parentSpanId":"0303030303030303","#,
        r#""flags":257,"name":"name","kind":3,"startTimeUnixNano":"5","endTimeUnixNano":"6","#,
        pair,
        r#","droppedAttributesCount":4,"events":[{"timeUnixNano":"3","name":"e","#,
        pair,
        r#","droppedAttributesCount":1}],"droppedEventsCount":5,"links":[{"traceId":""#,
        eight,
        r#"","spanId":"0909090909090909","traceState":"t","#,
        pair,
        r#","droppedAttributesCount":2,"flags":257}],"droppedLinksCount":6,"#,
        r#""status":{"message":"why","code":2}}],"schemaUrl":"scope url"}],"#,
        r#""schemaUrl":"resource url"}]}"#,
    ];
    assert_eq!(String::from_utf8(json).unwrap(), expect.concat());
}

#[test]
fn log_records_have_the_published_tags() {
    let body = message(5, &[text(1, "line")]);
    let flags = vec![8 << 3 | 5, 1, 0, 0, 0];
    let pair = message(6, &[text(1, "k"), message(2, &[varint(2, 1)])]);
    let record = [
        long(1, 5),
        varint(2, 9),
        text(3, "Info"),
        body,
        pair,
        varint(7, 2),
        flags,
        text(9, [1; 16]),
        text(10, [2; 8]),
        long(11, 6),
        text(12, "event"),
    ];
    let body = message(1, &[message(2, &[message(2, &record)])]);
    let batch = logs::decode_protobuf(&body, &Limits::default())
        .unwrap()
        .batch;
    let record = &batch.streams[0].records[0];
    assert_eq!(
        (record.time.nanos(), record.line.as_slice()),
        (5, &b"line"[..])
    );
    assert_eq!(
        record.metadata.to_string(),
        "{dropped_attributes_count=\"2\", event_name=\"event\", \
         flags=\"1\", k=\"true\", observed_timestamp=\"6\", severity_number=\"9\", \
         severity_text=\"Info\", span_id=\"0202020202020202\", \
         trace_id=\"01010101010101010101010101010101\"}"
    );
}

fn double(tag: u8, number: f64) -> Vec<u8> {
    long(tag, number.to_bits())
}

/// `ScopeMetrics` with one metric of each kind.
fn scope_metrics() -> Vec<u8> {
    let pair = |tag| message(tag, &[text(1, "k"), message(2, &[double(4, 0.5)])]);
    let metric = |name: &str, data: Vec<u8>| {
        message(2, &[text(1, name), text(2, "help"), text(3, "s"), data])
    };
    let exemplar = |tag| {
        let ids = [text(4, [2; 8]), text(5, [1; 16])].concat();
        message(tag, &[long(2, 4), double(3, 0.25), ids, pair(7)])
    };
    let number = [long(2, 1), long(3, 5), long(6, 7), exemplar(5), pair(7)];
    let packed = |tag, numbers: &[u64]| {
        text(
            tag,
            numbers
                .iter()
                .flat_map(|n| n.to_le_bytes())
                .collect::<Vec<u8>>(),
        )
    };
    let classic = [
        long(2, 1),
        long(3, 5),
        long(4, 3),
        double(5, 9.0),
        packed(6, &[1, 2]),
        packed(7, &[1.5f64.to_bits()]),
        exemplar(8),
        pair(9),
        varint(10, 0),
    ];
    // sint32 is zigzag: 1 is -1, 6 is 3.
    let buckets = |tag| message(tag, &[varint(1, 1), text(2, [1, 2])]);
    let native = [
        pair(1),
        long(2, 1),
        long(3, 5),
        long(4, 7),
        double(5, 9.0),
        varint(6, 6),
        long(7, 1),
        buckets(8),
        buckets(9),
        exemplar(11),
        double(14, 0.125),
    ];
    let quantile = message(6, &[double(1, 0.5), double(2, 4.0)]);
    let summary = [
        long(2, 1),
        long(3, 5),
        long(4, 3),
        double(5, 9.0),
        quantile,
        pair(7),
    ];
    message(
        2,
        &[
            metric(
                "g",
                message(
                    5,
                    &[message(1, &[long(3, 5), double(4, 0.5), varint(8, 0)])],
                ),
            ),
            metric(
                "c",
                message(7, &[message(1, &number), varint(2, 2), varint(3, 1)]),
            ),
            metric("h", message(9, &[message(1, &classic), varint(2, 2)])),
            metric("n", message(10, &[message(1, &native), varint(2, 2)])),
            metric("q", message(11, &[message(1, &summary)])),
        ],
    )
}

fn show(series: &obs_model::Series) -> String {
    let sample = &series.samples[0];
    let value = match &sample.value {
        obs_model::Value::Float(value) => value.to_string(),
        obs_model::Value::Histogram(h) => format!(
            "{} {} {} {:?} {:?} {}",
            h.schema, h.count, h.sum, h.positive, h.negative, h.zero_threshold
        ),
    };
    let start = sample.start.map_or(0, |t| t.nanos());
    let mut text = format!("{} {value}@{start}-{}", series.labels, sample.time.nanos());
    for exemplar in &series.exemplars {
        text += &format!(" # {} {}", exemplar.labels.len(), exemplar.value);
    }
    text
}

#[test]
fn data_points_have_the_published_tags() {
    let body = message(1, &[scope_metrics()]);
    let decoded = metrics::decode_protobuf(&body, &Limits::default(), &Default::default()).unwrap();
    assert_eq!((decoded.rejected, decoded.message.as_str()), (0, ""));
    let shown: Vec<String> = decoded.batch.series.iter().map(show).collect();
    let expect = [
        r#"{__name__="g_seconds"} 0.5@0-5"#,
        r#"{__name__="c_seconds_total", k="0.5"} 7@1-5 # 3 0.25"#,
        r#"{__name__="h_seconds_sum", k="0.5"} 9@1-5"#,
        r#"{__name__="h_seconds_count", k="0.5"} 3@1-5"#,
        r#"{__name__="h_seconds_bucket", k="0.5", le="1.5"} 1@1-5 # 3 0.25"#,
        r#"{__name__="h_seconds_bucket", k="0.5", le="+Inf"} 3@1-5"#,
        r#"{__name__="n_seconds", k="0.5"} 3 7 9 [1.0, 2.0] [1.0, 2.0] 0.125@1-5 # 3 0.25"#,
        r#"{__name__="q_seconds_sum", k="0.5"} 9@1-5"#,
        r#"{__name__="q_seconds_count", k="0.5"} 3@1-5"#,
        r#"{__name__="q_seconds", k="0.5", quantile="0.5"} 4@1-5"#,
    ];
    assert_eq!(shown, expect);
}
