//! Remote write: round trips, faults, hostile bytes.

use proptest::prelude::*;

use super::*;

fn timeseries(pairs: &[(&str, &str)], body: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put::message(&mut out, 1, |out| {
        for (name, value) in pairs {
            put::message(out, 1, |out| {
                put::bytes(out, 1, name.as_bytes());
                put::bytes(out, 2, value.as_bytes());
            });
        }
        body(out);
    });
    out
}

fn check(body: &[u8], expect: &str) {
    let told = match decode_v1(body, &Limits::default(), None) {
        Ok(decoded) => decoded.message,
        Err(error) => error.to_string(),
    };
    let expect = format!("remote write request is malformed at {expect}");
    assert_eq!(told, expect);
}

#[test]
fn faults_name_the_series() {
    check(
        &timeseries(&[("a", "b")], |_| {}),
        "timeseries[0].labels: expected the label __name__ with a value",
    );
    let mut two = timeseries(&[("__name__", "x")], |_| {});
    two.extend(timeseries(
        &[("__name__", "x"), ("a", "1"), ("a", "2")],
        |_| {},
    ));
    check(
        &two,
        "timeseries[1].labels: expected label names once each, found \"a\" twice",
    );
    check(
        &timeseries(&[("__name__", "")], |_| {}),
        "timeseries[0].labels: expected the label __name__ with a value",
    );
    check(
        &timeseries(&[("", "x")], |_| {}),
        "timeseries[0].labels: expected a name for every label",
    );
    let mut broken = timeseries(&[("__name__", "xy")], |_| {});
    let last = broken.len() - 1;
    broken[last] = 0xff;
    check(&broken, "byte 17: expected UTF-8");
    check(&broken[..9], "byte 1: expected a length of at most 7");
    check(
        &timeseries(&[("__name__", "x")], |out| {
            put::message(out, 2, |out| put::uint(out, 2, i64::MAX as u64));
        }),
        "byte 19: expected a timestamp in milliseconds of the years 1677 to 2262, \
         found 9223372036854775807",
    );
    check(
        &timeseries(&[("__name__", "x")], |out| {
            put::message(out, 4, |out| put::sint(out, 4, 9));
        }),
        "timeseries[0].histograms: expected a well-formed histogram \
         (histogram schema is 9, expected -4 to 8 or -53)",
    );
    check(&[0x08, 1], "byte 2: expected a message in field 1");
}

#[test]
fn unsorted_labels_are_sorted_and_empty_values_dropped() {
    let body = timeseries(&[("z", "1"), ("__name__", "x"), ("b", "")], |_| {});
    let batch = decode_v1(&body, &Limits::default(), None).unwrap().batch;
    assert_eq!(
        batch.series[0].labels.to_string(),
        r#"{__name__="x", z="1"}"#
    );
}

#[test]
fn limits_are_named() {
    let limits = Limits {
        labels_max: 1,
        decompressed_bytes_max: 20_000,
        ..Limits::default()
    };
    let limit = |pairs: &[(&str, &str)]| match decode_v1(&timeseries(pairs, |_| {}), &limits, None)
    {
        Err(WireError::TooLarge { limit, .. }) => limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(&[("a", ""); 1100]), "labels_max");
    let long = "x".repeat(20_000);
    assert_eq!(limit(&[("__name__", &long)]), "decompressed_bytes_max");
}

/// A sender drops a request that is refused: one series must not cost the others.
#[test]
fn series_with_wrong_labels_are_rejected_alone() {
    let one = |out: &mut Vec<u8>| put::message(out, 2, |out| put::uint(out, 2, 1));
    let mut body = timeseries(&[("a", "b")], one);
    body.extend(timeseries(&[("__name__", "kept"), ("l", "12345")], one));
    body.extend(timeseries(
        &[("__name__", "x"), ("a", "1"), ("a", "2")],
        one,
    ));
    body.extend(timeseries(&[("__name__", "x"), ("", "1")], one));
    let limits = Limits {
        labels_max: 0,
        label_value_bytes_max: 2,
        ..Limits::default()
    };
    let read = decode_v1(&body, &limits, None).unwrap();
    assert_eq!((read.batch.series.len(), read.rejected), (1, 3));
    // What is over a limit is left to the store, which refuses it alone.
    assert_eq!(read.batch.series[0].labels.get("l"), Some("12345"));
    for part in [
        "timeseries[0].labels: expected the label __name__",
        "timeseries[2]",
        "timeseries[3]",
    ] {
        assert!(read.message.contains(part), "{}", read.message);
    }
}

#[test]
fn spans_that_declare_much_allocate_nothing() {
    let body = timeseries(&[("__name__", "x")], |out| {
        put::message(out, 4, |out| {
            put::message(out, 11, |out| put::uint(out, 2, u64::from(u32::MAX)));
        });
    });
    let error = decode_v1(&body, &Limits::default(), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("4294967295 buckets"), "{error}");
}

fn labels_strategy() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[a-zé.]{1,4}", "\\PC{1,5}", 0..4).prop_map(|mut pairs| {
        pairs.insert("__name__".to_owned(), "metric".to_owned());
        Labels::from_pairs(pairs)
    })
}

fn histogram_strategy() -> impl Strategy<Value = Histogram> {
    let counts = || proptest::collection::vec(0u32..1000, 0..6);
    (
        any::<bool>(),
        counts(),
        counts(),
        0usize..4,
        -4i32..=8,
        any::<f64>(),
    )
        .prop_map(|(integer, positive, negative, hint, schema, sum)| {
            let spans = |counts: &[u32]| -> Vec<BucketSpan> {
                let length = counts.len() as u32;
                let span = BucketSpan { offset: -3, length };
                (length > 0).then_some(span).into_iter().collect()
            };
            let half = if integer { 1.0 } else { 0.5 };
            let floats = |counts: &[u32]| counts.iter().map(|c| f64::from(*c) * half).collect();
            Histogram {
                integer,
                reset_hint: HINTS[hint],
                schema,
                zero_threshold: 0.001,
                zero_count: 0.0,
                count: 7.0,
                sum,
                positive_spans: spans(&positive),
                positive: floats(&positive),
                negative_spans: spans(&negative),
                negative: floats(&negative),
                custom_bounds: Vec::new(),
            }
        })
}

pub(super) fn batch_strategy() -> impl Strategy<Value = MetricBatch> {
    let value = prop_oneof![
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        histogram_strategy().prop_map(|h| Value::Histogram(Arc::new(h))),
    ];
    let millis = -9_000_000_000_000i64..9_000_000_000_000;
    let sample = (millis.clone(), value).prop_map(|(millis, value)| Sample {
        time: Timestamp::from_millis(millis),
        start: None,
        value,
    });
    let exemplar =
        (labels_strategy(), -1e9..1e9f64, millis).prop_map(|(labels, value, millis)| Exemplar {
            labels,
            value,
            time: Timestamp::from_millis(millis),
        });
    let series = (
        labels_strategy(),
        proptest::collection::vec(sample, 0..4),
        proptest::collection::vec(exemplar, 0..2),
    )
        .prop_map(|(labels, samples, exemplars)| Series {
            labels,
            samples,
            exemplars,
            ..Default::default()
        });
    let metadata = ("[a-z]{0,4}", 0usize..8, "\\PC{0,5}", "[a-z]{0,3}").prop_map(
        |(family, kind, help, unit)| Metadata {
            family,
            kind: KINDS[kind],
            unit,
            help,
        },
    );
    (
        proptest::collection::vec(series, 0..4),
        proptest::collection::vec(metadata, 0..3),
    )
        .prop_map(|(series, metadata)| MetricBatch {
            series,
            metadata,
            ..Default::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trip(batch in batch_strategy()) {
        let mut body = Vec::new();
        encode_v1(&batch, &mut body);
        let read = decode_v1(&body, &Limits::default(), None).unwrap().batch;
        prop_assert_eq!(read.series.len(), batch.series.len());
        prop_assert_eq!(&read.metadata, &batch.metadata);
        for (read, sent) in read.series.iter().zip(&batch.series) {
            prop_assert_eq!(&read.labels, &sent.labels);
            prop_assert_eq!(&read.exemplars, &sent.exemplars);
            prop_assert_eq!(read.samples.len(), sent.samples.len());
            for (read, sent) in read.samples.iter().zip(&sent.samples) {
                prop_assert_eq!(read.time, sent.time);
                prop_assert!(read.value.bit_eq(&sent.value), "{:?} {:?}", read, sent);
            }
        }
    }

    #[test]
    fn arbitrary_bytes(
        batch in batch_strategy(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut body = Vec::new();
        encode_v1(&batch, &mut body);
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
        }
        for input in [body, noise] {
            if let Ok(read) = decode_v1(&input, &Limits::default(), None) {
                prop_assert!(read.batch.series.len() + read.batch.sample_count() <= input.len());
            }
        }
    }
}
