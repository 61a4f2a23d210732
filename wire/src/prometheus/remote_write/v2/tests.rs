//! Remote write 2.0: round trips, faults, hostile bytes.

use proptest::prelude::*;

use super::super::tests::batch_strategy;
use super::*;

/// Writes the body of a series.
type Write<'a> = &'a dyn Fn(&mut Vec<u8>);

/// A request of a table and the bodies of its series.
fn request(symbols: &[&str], series: &[Write<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for write in series {
        put::message(&mut out, 5, |out| write(out));
    }
    // Behind the series: the order of fields is the sender's.
    for text in symbols {
        put::bytes(&mut out, 4, text.as_bytes());
    }
    out
}

fn references(out: &mut Vec<u8>, numbers: &[u64]) {
    put::message(out, 1, |out| {
        numbers.iter().for_each(|number| put::varint(out, *number));
    });
}

fn sample(out: &mut Vec<u8>, value: f64, millis: u64, start: u64) {
    put::message(out, 2, |out| {
        put::double(out, 1, value);
        put::uint(out, 2, millis);
        put::uint(out, 3, start);
    });
}

#[test]
fn one_series_with_everything() {
    let table = [
        "",
        "__name__",
        "reqs_total",
        "job",
        "a",
        "trace_id",
        "f00",
        "Help.",
        "s",
    ];
    let body = request(
        &table,
        &[&|out| {
            references(out, &[3, 4, 1, 2]);
            sample(out, 1.5, 2000, 0);
            sample(out, 2.5, 3000, 1500);
            put::message(out, 4, |out| {
                // Not packed.
                put::uint(out, 1, 5);
                put::uint(out, 1, 6);
                put::double(out, 2, 0.5);
                put::uint(out, 3, 2500);
            });
            put::message(out, 5, |out| {
                put::uint(out, 1, 1);
                put::uint(out, 3, 7);
                put::uint(out, 4, 8);
            });
            put::uint(out, 6, 1000);
        }],
    );
    let read = decode(&body, &Limits::default()).unwrap();
    assert_eq!((read.rejected, read.message.as_str()), (0, ""));
    let series = &read.batch.series[0];
    assert_eq!(
        series.labels.to_string(),
        r#"{__name__="reqs_total", job="a"}"#
    );
    let starts: Vec<_> = series.samples.iter().map(|s| s.start).collect();
    assert_eq!(
        starts,
        [1000, 1500].map(|millis| Some(Timestamp::from_millis(millis)))
    );
    assert_eq!(
        series.exemplars[0].labels.to_string(),
        r#"{trace_id="f00"}"#
    );
    let metadata = &read.batch.metadata[0];
    assert_eq!(
        (
            metadata.family.as_str(),
            metadata.help.as_str(),
            metadata.unit.as_str()
        ),
        ("reqs_total", "Help.", "s")
    );
    assert_eq!(metadata.kind, MetricKind::Counter);
}

#[test]
fn series_that_cannot_be_taken_are_rejected_alone() {
    let good = |out: &mut Vec<u8>| {
        references(out, &[1, 2]);
        sample(out, 1.0, 1, 0);
    };
    let check = |bad: &dyn Fn(&mut Vec<u8>), rejected: u64, expect: &str| {
        let body = request(&["", "__name__", "x", "a"], &[bad, &good]);
        let read = decode(&body, &Limits::default()).unwrap();
        let expect = format!("remote write 2.0 request is malformed at timeseries[0]{expect}");
        assert_eq!(read.message, expect);
        assert_eq!((read.rejected, read.batch.series.len()), (rejected, 1));
    };
    let with = |numbers: &'static [u64]| {
        move |out: &mut Vec<u8>| {
            references(out, numbers);
            sample(out, 1.0, 1, 0);
        }
    };
    check(
        &with(&[1, 2, 3]),
        1,
        ".labels_refs: expected an even number of references, found 3",
    );
    check(
        &with(&[1, 4]),
        1,
        ".labels_refs: expected references to the 4 symbols",
    );
    check(
        &with(&[1, 1 << 40]),
        1,
        ".labels_refs: expected references to the 4 symbols",
    );
    check(
        &with(&[3, 2]),
        1,
        ".labels_refs: expected the label __name__ with a value",
    );
    check(
        &with(&[0, 2, 1, 2]),
        1,
        ".labels_refs: expected a name for every label",
    );
    check(
        &with(&[1, 2, 1, 2]),
        1,
        ".labels_refs: expected label names once each, found \"__name__\" twice",
    );
    check(
        &|out| references(out, &[1, 2]),
        0,
        ": expected at least one sample or histogram for series {__name__=\"x\"}",
    );
    check(
        &|out| {
            references(out, &[1, 2]);
            put::message(out, 3, |out| put::sint(out, 4, 9));
        },
        1,
        ".histograms: expected a well-formed histogram \
         (histogram schema is 9, expected -4 to 8 or -53)",
    );
}

#[test]
fn what_is_not_the_message_fails() {
    let check = |body: &[u8], expect: &str| {
        let error = decode(body, &Limits::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("remote write 2.0 request is malformed at {expect}")
        );
    };
    check(
        &request(&["x"], &[]),
        "symbols[0]: expected the empty text, found \"x\"",
    );
    check(&[0x2a, 9], "byte 1: expected a length of at most 0");
    check(&[0x28, 1], "byte 2: expected a text or message in field 5");
    check(&[0x22, 1, 0xff], "byte 2: expected UTF-8");
    // A message of version 1 has no field of version 2 and brings nothing.
    let read = decode(&[0x0a, 0], &Limits::default()).unwrap();
    assert!(read.batch.series.is_empty());
}

/// A long symbol that many series name must not become many long texts.
#[test]
fn references_cannot_multiply_a_text() {
    let long = "x".repeat(10_000);
    let one = |out: &mut Vec<u8>| {
        references(out, &[1, 2, 2, 2]);
        sample(out, 1.0, 1, 0);
    };
    let series: Vec<Write<'_>> = vec![&one; 100];
    let body = request(&["", "__name__", &long], &series);
    let limits = Limits {
        decompressed_bytes_max: 50_000,
        ..Limits::default()
    };
    let error = decode(&body, &limits).unwrap_err();
    assert_eq!(error, WireError::too_large(FORMAT, LIMIT, 50_000));
    assert_eq!(
        decode(&body, &Limits::default())
            .unwrap()
            .batch
            .series
            .len(),
        100
    );
}

#[test]
fn families_of_several_series_are_told_once() {
    let check = |name: &str, kind: MetricKind, expect: &str| assert_eq!(family(name, kind), expect);
    check("a_bucket", MetricKind::Histogram, "a");
    check("a_count", MetricKind::Summary, "a");
    check("a_sum", MetricKind::Counter, "a_sum");
    check("_sum", MetricKind::Summary, "_sum");
    check("a", MetricKind::Histogram, "a");
}

/// Version 2 has one place for a series' floats and another for its histograms.
fn parts(batch: &MetricBatch) -> Vec<(Labels, Vec<Sample>)> {
    let mut parts = Vec::new();
    for series in &batch.series {
        for histograms in [false, true] {
            let of = |s: &&Sample| matches!(s.value, Value::Histogram(_)) == histograms;
            let samples: Vec<Sample> = series.samples.iter().filter(of).cloned().collect();
            if !samples.is_empty() {
                parts.push((series.labels.clone(), samples));
            }
        }
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trip(mut batch in batch_strategy(), start in proptest::option::of(1i64..9_000_000)) {
        for sample in batch.series.iter_mut().flat_map(|series| &mut series.samples) {
            sample.start = start.map(Timestamp::from_millis).filter(|start| *start <= sample.time);
        }
        let mut body = Vec::new();
        encode(&batch, &mut body);
        let read = decode(&body, &Limits::default()).unwrap();
        prop_assert_eq!(read.message, "");
        let (read_parts, sent_parts) = (parts(&read.batch), parts(&batch));
        prop_assert_eq!(read_parts.len(), sent_parts.len());
        for ((labels, samples), (sent_labels, sent)) in read_parts.iter().zip(&sent_parts) {
            prop_assert_eq!(labels, sent_labels);
            prop_assert_eq!(samples.len(), sent.len());
            for (read, sent) in samples.iter().zip(sent) {
                prop_assert_eq!((read.time, read.start), (sent.time, sent.start));
                prop_assert!(read.value.bit_eq(&sent.value), "{:?} {:?}", read, sent);
            }
        }
        let exemplars = |batch: &MetricBatch| -> Vec<Exemplar> {
            batch.series.iter().flat_map(|series| series.exemplars.clone()).collect()
        };
        prop_assert_eq!(exemplars(&read.batch), exemplars(&batch));
    }

    #[test]
    fn arbitrary_bytes(
        batch in batch_strategy(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut body = Vec::new();
        encode(&batch, &mut body);
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
        }
        for input in [body, noise] {
            if let Ok(read) = decode(&input, &Limits::default()) {
                prop_assert!(read.batch.series.len() + read.batch.sample_count() <= input.len());
            }
        }
    }
}

#[test]
fn families_without_series_are_told_to_those_who_read_them() {
    let told = |family: &str, kind| Metadata {
        family: family.to_owned(),
        kind,
        unit: "s".to_owned(),
        help: format!("what {family} is"),
    };
    let series = |name: &str| Series {
        labels: Labels::from_pairs([("__name__", name)]),
        samples: vec![Sample {
            time: Timestamp::from_millis(1),
            start: None,
            value: Value::Float(1.0),
        }],
        ..Series::default()
    };
    let batch = MetricBatch {
        series: vec![series("a"), series("b_bucket")],
        metadata: vec![
            told("a", MetricKind::Gauge),
            told("alone", MetricKind::Counter),
            told("b", MetricKind::Histogram),
        ],
        ..MetricBatch::default()
    };
    let alone: Vec<String> = without_series(&batch)
        .into_iter()
        .map(|m| m.family)
        .collect();
    assert_eq!(alone, ["alone"]);
    for (whole, expect) in [(false, &["a", "b"][..]), (true, &["a", "b", "alone"])] {
        let mut body = Vec::new();
        match whole {
            true => encode_whole(&batch, &mut body),
            false => encode(&batch, &mut body),
        }
        let read = decode(&body, &Limits::default()).unwrap();
        let families: Vec<&str> = read.batch.metadata.iter().map(|m| &*m.family).collect();
        assert_eq!(families, expect);
        assert_eq!(read.batch.series.len(), 2);
        assert_eq!(read.batch.metadata[0].help, "what a is");
        // Others are right to refuse it.
        assert_eq!(read.message.is_empty(), !whole, "{}", read.message);
    }
}
