//! The fleet is the same in each run, and its values look like those of real exporters.

use super::*;

fn fleet(series: u64, samples: u64, lifetime: u64) -> Fleet {
    Fleet {
        series,
        samples,
        interval_ms: 15_000,
        lifetime,
        end_ms: 1_700_000_000_000,
        seed: 1,
        nanoseconds: true,
    }
}

#[test]
fn an_instance_has_the_mix_of_recorded_fleets() {
    let instance = Instance::new(&fleet(830, 1, 0), 0, 0);
    assert_eq!(instance.rows.len() as u64, SERIES_PER_INSTANCE);
    let distinct: std::collections::BTreeSet<_> = instance.rows.iter().map(|r| &r.labels).collect();
    assert_eq!(distinct.len(), instance.rows.len());
    let share = |shapes: &[Shape]| {
        let n = instance
            .rows
            .iter()
            .filter(|r| shapes.contains(&r.shape))
            .count();
        (n as f64 / 8.3).round()
    };
    use Shape as S;
    let parts = [
        share(&[S::One, S::Constant]),
        share(&[S::Idle]),
        share(&[S::Ticks, S::Nanos, S::Bytes, S::Bucket, S::Sum, S::Count]),
        share(&[S::Pages, S::Things, S::Hundredths, S::Measured]),
    ];
    assert_eq!(parts, [28.0, 16.0, 34.0, 22.0]);
}

#[test]
fn every_connection_count_sends_every_sample_once() {
    let fleet = fleet(2000, 5, 2);
    for connections in [1, 2, 3] {
        let mut items = 0;
        for mut source in (fleet.workload().sources)(connections) {
            let mut body = Vec::new();
            while let Some(sent) = source.next(&mut body) {
                let message = snap::raw::Decoder::new()
                    .decompress_vec(&body)
                    .expect("snappy");
                assert_eq!(message.len() as u64, sent.raw_bytes);
                items += sent.items;
            }
        }
        assert_eq!(items, 2000 * 5);
    }
}

#[test]
fn buckets_are_cumulative_and_counters_never_fall() {
    let fleet = fleet(830, 20, 0);
    let mut instance = Instance::new(&fleet, 0, 0);
    let mut message = Vec::new();
    for step in 0..20 {
        let before: Vec<f64> = instance.rows.iter().map(|r| r.value).collect();
        instance.scrape(&fleet, step, &mut message);
        for (row, before) in instance.rows.iter().zip(before) {
            let counts = matches!(
                row.shape,
                Shape::Ticks
                    | Shape::Nanos
                    | Shape::Bytes
                    | Shape::Bucket
                    | Shape::Sum
                    | Shape::Count
            );
            assert!(!counts || row.value >= before);
        }
    }
    let at = instance
        .rows
        .iter()
        .position(|r| r.shape == Shape::Bucket)
        .expect("a histogram");
    let buckets: Vec<f64> = instance.rows[at..at + BUCKETS.len()]
        .iter()
        .map(|r| r.value)
        .collect();
    assert!(
        buckets.is_sorted() && buckets[0] < buckets[13],
        "{buckets:?}"
    );
    assert_eq!(instance.rows[at + BUCKETS.len() + 1].value, buckets[13]);
}

#[test]
fn without_nanoseconds_every_value_has_few_digits() {
    let whole = Fleet {
        nanoseconds: false,
        ..fleet(830, 5, 0)
    };
    let mut instance = Instance::new(&whole, 0, 0);
    instance.advance();
    let fine = |row: &&Row| (row.value * 100.0 - (row.value * 100.0).round()).abs() > 1e-6;
    let fine: Vec<Shape> = instance.rows.iter().filter(fine).map(|r| r.shape).collect();
    let measured = |shape: &&Shape| !matches!(shape, Shape::Measured | Shape::Sum);
    assert_eq!(fine.iter().find(measured), None, "{fine:?}");
    assert_eq!(instance.rows.len() as u64, SERIES_PER_INSTANCE);
}
