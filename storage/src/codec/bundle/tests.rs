//! Bundles of columns of every shape.

use proptest::prelude::*;

use super::*;

fn write(columns: &[(Vec<f64>, bool)]) -> Vec<u8> {
    let mut writer = BundleWriter::default();
    let mut encoder = bytes::Encoder::new(1);
    let mut out = Vec::new();
    for round in 0..2 {
        out.clear();
        for (number, (values, near)) in columns.iter().enumerate() {
            let like = near.then(|| number.saturating_sub(1 + number % 2));
            assert_eq!(writer.push(values, like), number);
        }
        writer.finish(&mut encoder, &mut out);
        assert!(round == 0 || !out.is_empty());
    }
    out
}

fn open(bytes: &[u8]) -> Result<Bundle<'_>, Corrupt> {
    let mut reader = Reader::new("here", bytes);
    let bundle = Bundle::open(&mut reader, 100, 5000, 1 << 24)?;
    reader.finish()?;
    Ok(bundle)
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn round_trip(columns: &[(Vec<f64>, bool)]) -> usize {
    let out = write(columns);
    let bundle = open(&out).unwrap();
    assert_eq!(bundle.len(), columns.len());
    let mut scratch = Scratch::default();
    for (index, (values, _)) in columns.iter().enumerate() {
        assert_eq!(bundle.count(index), values.len());
        let found = bundle.decode(index, &mut scratch).unwrap();
        assert_eq!(bits(&found), bits(values), "column {index} in order");
    }
    for (index, (values, _)) in columns.iter().enumerate().rev() {
        let found = bundle.decode(index, &mut Scratch::default()).unwrap();
        assert_eq!(bits(&found), bits(values), "column {index} alone");
        let found = bundle.decode(index, &mut scratch).unwrap();
        assert_eq!(bits(&found), bits(values), "column {index} backwards");
    }
    assert!(bundle.decode(columns.len(), &mut scratch).is_err());
    out.len()
}

/// Numbers without a pattern.
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 11
    })
}

#[test]
fn shapes_take_about_their_entropy() {
    let check = |values: Vec<f64>, bits_max: f64| {
        let columns: Vec<_> = (0..8).map(|_| (values.clone(), false)).collect();
        let size = round_trip(&columns[..1]) as f64 * 8.0 / values.len() as f64;
        assert!(size < bits_max, "{size} bits a value");
        round_trip(&columns);
    };
    let counter = |below: u64, scale: f64| {
        let mut total = 0;
        let step = move |n: u64| {
            total += 1000 + n % below;
            total as f64 * scale
        };
        noise(below).take(2000).map(step).collect::<Vec<_>>()
    };
    check(vec![0.25; 2000], 0.1);
    check((0..2000).map(|n| f64::from(n) * 3.0).collect(), 0.2);
    check(counter(16, 1.0), 4.4);
    check(counter(1 << 20, 1.0), 20.6);
    check(counter(1 << 20, 4096.0), 20.6);
    check(counter(1 << 28, 1.0), 28.6);
    check(
        noise(1).take(2000).map(|n| (n % 2) as f64 * 1e15).collect(),
        1.3,
    );
    check(
        noise(2)
            .take(2000)
            .map(|n| n as f64 / 9007199254740992.0)
            .collect(),
        55.0,
    );
}

#[test]
fn a_neighbour_helps_and_chains_end() {
    let mut numbers = noise(7);
    let mut columns = vec![(Vec::new(), true); 40];
    let mut totals = [0.0; 40];
    for _ in 0..500 {
        let mut sum = 0;
        for (total, (values, _)) in totals.iter_mut().zip(&mut columns) {
            sum += numbers.next().unwrap() % 4;
            *total += sum as f64;
            values.push(*total);
        }
    }
    let near = round_trip(&columns);
    for column in &mut columns {
        column.1 = false;
    }
    let far = round_trip(&columns);
    assert!(near * 3 < far * 2, "{near} of {far} bytes");
}

#[test]
fn odd_values() {
    let nan = f64::from_bits(0x7ff0_0000_0000_0002);
    let odd = [
        0.0,
        -0.0,
        nan,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        1.0,
        0.1,
        1e15,
        9007199254740993.0,
        4503599627370497.0,
        -1e-17,
    ];
    let columns: Vec<_> = odd.iter().map(|v| (vec![*v; 3], true)).collect();
    round_trip(&columns);
    round_trip(&[(odd.to_vec(), false), (odd.to_vec(), true)]);
    round_trip(&odd.map(|v| (vec![v, 1.0, 2.0, 4.0, v], true)));
    round_trip(&[(vec![], false), (vec![1.0], true), (vec![1.0, 2.5], true)]);
    round_trip(&[]);
    let mut stale: Vec<f64> = (0..100).map(|n| f64::from(n * n) / 10.0).collect();
    stale.push(nan);
    round_trip(&[(stale.clone(), false), (stale, true)]);
}

fn column() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        4 => (0u32..1000).prop_map(f64::from),
        2 => (-50i32..50).prop_map(|n| f64::from(n) / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => any::<f32>().prop_map(f64::from),
    ];
    let values = prop::collection::vec(value, 0..60);
    (values, 0u8..3).prop_map(|(mut values, kind)| {
        if kind == 1 {
            let mut sum = 0.0;
            for value in &mut values {
                sum += *value;
                *value = sum;
            }
        } else if kind == 2 {
            values = values.iter().map(|_| 7.5).collect();
        }
        values
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn round_trips(columns in prop::collection::vec((column(), any::<bool>()), 0..12)) {
        round_trip(&columns);
    }

    #[test]
    fn ordered_integers_are_exact(a: u64, b: u64) {
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        prop_assert_eq!(bits::float(bits::integer(x)).to_bits(), a);
        if x < y {
            prop_assert!(bits::integer(x) < bits::integer(y));
        }
    }

    #[test]
    fn low_bits_are_exact(numbers in prop::collection::vec(any::<u64>(), 0..40), width in 1u8..58) {
        let mut raw = vec![9];
        bits::pack(numbers.iter().copied(), width, &mut raw);
        prop_assert_eq!(raw.len(), 1 + (numbers.len() * usize::from(width)).div_ceil(8));
        let mut found = Vec::new();
        let symbols = vec![1; numbers.len()];
        bits::unpack(&raw, 1, width, &symbols, -5, &mut found);
        for (number, found) in numbers.iter().zip(found) {
            let expect = (1 << width | number & ((1 << width) - 1)).wrapping_sub(5);
            prop_assert_eq!(found as u64, expect);
        }
    }

    #[test]
    fn arbitrary_bytes_are_safe(
        noise in prop::collection::vec(any::<u8>(), 0..80),
        columns in prop::collection::vec((column(), any::<bool>()), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let good = write(&columns);
        let body = |noise: &[u8]| {
            // Behind the compression, where flips reach every field.
            let mut reader = Reader::new("here", &good);
            let fields = reader.varint().unwrap();
            let mut body = bytes::decode(&mut reader, 1 << 24).unwrap();
            for (at, bits) in &flips {
                let at = at.index(body.len());
                body[at] ^= bits;
            }
            let mut out = Vec::new();
            varint::put(fields, &mut out);
            bytes::encode_raw(&body, &mut out);
            out.extend_from_slice(&good[good.len() - reader.remaining()..]);
            out.extend_from_slice(noise);
            out
        };
        let mut flipped = good.clone();
        for (at, bits) in &flips {
            let at = at.index(flipped.len());
            flipped[at] ^= bits;
        }
        for bytes in [&noise, &flipped, &body(&[]), &body(&noise)] {
            let mut reader = Reader::new("here", bytes);
            if let Ok(bundle) = Bundle::open(&mut reader, 100, 5000, 1 << 20) {
                let mut scratch = Scratch::default();
                for column in 0..bundle.len() {
                    if let Ok(values) = bundle.decode(column, &mut scratch) {
                        prop_assert_eq!(values.len(), bundle.count(column));
                        prop_assert!(values.len() <= 5000);
                    }
                }
            }
        }
    }
}
