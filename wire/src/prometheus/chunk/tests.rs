//! Chunks: known bits, round trips, hostile bytes.

use obs_model::histogram::{BucketSpan, ResetHint};
use proptest::prelude::*;

use super::*;

fn read(chunks: &[Chunk]) -> Result<Vec<(i64, Value)>, WireError> {
    let mut samples = Vec::new();
    for chunk in chunks {
        decode(chunk.encoding, &chunk.data, |time, value| {
            samples.push((time, value));
            Ok::<(), WireError>(())
        })?;
    }
    Ok(samples)
}

/// Two samples, by hand from the description of the format.
#[test]
fn known_bits() {
    let chunks = encode([
        (1, Value::Float(1.0)),
        (3, Value::Float(1.0)),
        (5, Value::Float(2.0)),
    ]);
    // Count; time 1 as zigzag; 1.0; step 2; same value (0); same step (0); another value: control
    // 11, leading 1 (00001), 11 significant bits (001011), the difference 0x7ff << 52.
    let expect = [
        0,
        3,
        2,
        0x3f,
        0xf0,
        0,
        0,
        0,
        0,
        0,
        0,
        2,
        0b0011_0000,
        0b1001_0111,
        0b1111_1111,
        0b1100_0000,
    ];
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].data, expect);
    assert_eq!((chunks[0].first, chunks[0].last), (1, 5));
}

#[test]
fn faults_name_the_byte() {
    let check = |encoding, data: &[u8], expect: &str| {
        let chunk = Chunk {
            first: 0,
            last: 0,
            encoding,
            data: data.to_vec(),
        };
        let error = read(&[chunk]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("Prometheus chunk is malformed at byte {expect}")
        );
    };
    check(
        Encoding::Xor,
        &[0],
        "0: expected 2 bytes with the number of samples",
    );
    check(Encoding::Xor, &[0, 1, 2, 0], "3: expected 64 more bits");
    check(Encoding::Histogram, &[0, 1], "2: expected a byte of flags");
    // Threshold 0, schema 0, one span of 2^24 buckets (six ones, 25 bits).
    let bits = [0, 1, 0, 0, 0b0100_0111, 0b1111_0100, 0, 0, 0, 0, 0];
    check(
        Encoding::Histogram,
        &bits,
        "8: expected spans of at most 10000 buckets",
    );
    assert!(Encoding::from_number(4).is_err());
}

fn histogram(counts: &[f64], integer: bool, reset_hint: ResetHint) -> Histogram {
    let length = counts.len() as u32;
    Histogram {
        integer,
        reset_hint,
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: counts.iter().sum::<f64>() + 2.0,
        sum: 1.25,
        positive_spans: vec![BucketSpan { offset: -2, length }],
        positive: counts.to_vec(),
        ..Histogram::default()
    }
}

#[test]
fn histograms_that_cannot_follow_begin_a_chunk() {
    let one = histogram(&[1.0, 2.0], true, ResetHint::Unknown);
    let check = |second: Histogram, chunks: usize| {
        let samples = [one.clone(), second]
            .into_iter()
            .zip([10, 20])
            .map(|(h, time)| (time, Value::Histogram(Arc::new(h))));
        assert_eq!(encode(samples).len(), chunks);
    };
    check(histogram(&[1.0, 3.0], true, ResetHint::Unknown), 1);
    check(histogram(&[1.0, 3.0], true, ResetHint::NotReset), 1);
    check(histogram(&[1.0, 1.0], true, ResetHint::Unknown), 2);
    check(histogram(&[1.0, 3.0], true, ResetHint::Reset), 2);
    check(histogram(&[1.0, 3.0], true, ResetHint::Gauge), 2);
    check(histogram(&[1.0, 3.0, 0.0], true, ResetHint::Unknown), 2);
    check(histogram(&[1.0, 3.0], false, ResetHint::Unknown), 2);
    let mut stale = one.clone();
    stale.sum = obs_model::sample::stale();
    check(stale, 2);
}

fn value_strategy() -> impl Strategy<Value = Value> {
    let float = prop_oneof![
        3 => (0i32..100).prop_map(f64::from),
        1 => any::<u64>().prop_map(f64::from_bits),
    ];
    let histogram = (
        proptest::collection::vec(0u32..50, 0..4),
        any::<bool>(),
        0usize..4,
        prop_oneof![
            Just(0.0),
            Just(0.001),
            Just(2f64.powi(-128)),
            Just(1024.0),
            Just(2048.0)
        ],
        proptest::option::of(proptest::collection::btree_set(-2000i64..40_000_000, 0..4)),
        any::<bool>(),
    )
        .prop_map(|(counts, integer, hint, threshold, bounds, stale)| {
            use ResetHint::{Gauge, NotReset, Reset, Unknown};
            let counts: Vec<f64> = counts.iter().map(|c| f64::from(*c)).collect();
            let mut h = histogram(&counts, integer, [Unknown, Reset, NotReset, Gauge][hint]);
            h.zero_threshold = threshold;
            h.negative_spans = h.positive_spans.clone();
            h.negative = counts;
            if let Some(bounds) = bounds {
                h.schema = -53;
                h.custom_bounds = bounds.into_iter().map(|b| b as f64 / 999.9).collect();
            }
            if stale {
                h = Histogram {
                    integer,
                    sum: obs_model::sample::stale(),
                    ..Histogram::default()
                };
            }
            Value::Histogram(Arc::new(h))
        });
    prop_oneof![3 => float.prop_map(Value::Float), 2 => histogram]
}

fn samples_strategy() -> impl Strategy<Value = Vec<(i64, Value)>> {
    let step = prop_oneof![
        4 => Just(15_000i64), 2 => 1i64..20_000, 1 => 1i64..1 << 40
    ];
    let one = (step, value_strategy(), 1usize..40);
    (
        -9_000_000_000_000i64..9_000_000_000_000,
        proptest::collection::vec(one, 0..12),
    )
        .prop_map(|(mut time, runs)| {
            let mut samples = Vec::new();
            for (step, value, count) in runs {
                for _ in 0..count {
                    time += step;
                    samples.push((time, value.clone()));
                }
            }
            samples
        })
}

/// In a chunk of counters only the first histogram can be a reset or unknown.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Histogram(h) if h.reset_hint != ResetHint::Gauge => {
            let mut h = (**h).clone();
            h.reset_hint = ResetHint::Unknown;
            Value::Histogram(Arc::new(h))
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trip(samples in samples_strategy()) {
        let chunks = encode(samples.clone());
        for chunk in &chunks {
            prop_assert!(chunk.first <= chunk.last);
        }
        let read = read(&chunks).unwrap();
        prop_assert_eq!(read.len(), samples.len());
        for ((time, value), (sent_time, sent)) in read.iter().zip(&samples) {
            prop_assert_eq!(time, sent_time);
            prop_assert!(comparable(value).bit_eq(&comparable(sent)), "{:?} {:?}", value, sent);
        }
    }

    #[test]
    fn arbitrary_bytes(
        samples in samples_strategy(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut chunks = encode(samples);
        if let Some(first) = chunks.first_mut() {
            let at = at.index(first.data.len());
            first.data[at] = byte;
        }
        for encoding in [Encoding::Xor, Encoding::Histogram, Encoding::FloatHistogram] {
            chunks.push(Chunk { first: 0, last: 0, encoding, data: noise.clone() });
        }
        for chunk in chunks {
            let bits = chunk.data.len() * 8;
            if let Ok(read) = read(&[chunk]) {
                prop_assert!(read.len() <= bits);
            }
        }
    }
}
