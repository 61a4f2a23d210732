//! Latencies of one label set: classic buckets, a native histogram and exemplars.
//!
//! Invariants: an observation allocates only where it opens a bucket; a native histogram has at
//! most [`NATIVE_BUCKETS_MAX`] buckets, beyond which its resolution is halved.

use obs_model::histogram::{BucketSpan, Histogram};
use obs_model::{Timestamp, TraceId};

use super::setting::Histograms;

/// Most buckets of a native histogram, as Tempo.
const NATIVE_BUCKETS_MAX: usize = 100;
/// The resolution to begin with: each bound is 2^(1/8) times the one before, the finest that
/// grows by at most 10 %, as Tempo.
const SCHEMA: i32 = 3;
/// What is not above this is zero; as Prometheus' client libraries.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;
/// Bounds of the buckets between a half and one: 2^(k/8) / 2.
const FRACTIONS: [f64; 8] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    0.707_106_781_186_547_5,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_4,
    0.917_004_043_204_671_1,
];

/// What all label sets of a metric share.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Upper bounds in seconds, ascending.
    pub(super) bounds: Vec<f64>,
    pub(super) forms: Histograms,
}

impl Shape {
    pub(super) fn classic(&self) -> bool {
        self.forms != Histograms::Native
    }

    pub(super) fn native(&self) -> bool {
        self.forms != Histograms::Classic
    }
}

/// An example of what was observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Example {
    /// The classic bucket it went into.
    pub(super) bucket: usize,
    pub(super) trace: TraceId,
    pub(super) value: f64,
    pub(super) time: Timestamp,
}

/// Observations.
#[derive(Clone, Debug)]
pub(super) struct Distribution {
    /// By classic bucket, the one without a bound last; not cumulated.
    pub(super) counts: Box<[u64]>,
    pub(super) count: u64,
    pub(super) sum: f64,
    native: Native,
    /// The latest of each bucket since they were taken last.
    examples: Vec<Example>,
}

impl Distribution {
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            counts: vec![0; shape.bounds.len() + 1].into(),
            count: 0,
            sum: 0.0,
            native: Native::default(),
            examples: Vec::new(),
        }
    }

    /// Counts seconds, none of which are negative.
    pub(super) fn observe(&mut self, shape: &Shape, value: f64, trace: TraceId, time: Timestamp) {
        let bucket = shape.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.count += 1;
        self.sum += value;
        if shape.native() {
            self.native.observe(value);
        }
        let example = Example {
            bucket,
            trace,
            value,
            time,
        };
        match self.examples.iter_mut().find(|e| e.bucket == bucket) {
            Some(known) => *known = example,
            None => self.examples.push(example),
        }
    }

    /// The native histogram as it is now.
    pub(super) fn native(&self) -> Histogram {
        self.native.histogram(self.count, self.sum)
    }

    /// The examples since the last time.
    pub(super) fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// Begins to look for new examples.
    pub(super) fn forget_examples(&mut self) {
        self.examples.clear();
    }
}

/// Buckets of a native histogram, in order.
#[derive(Clone, Debug, Default)]
struct Native {
    /// How often the resolution was halved.
    halved: u32,
    zero: u64,
    buckets: Vec<(i32, u64)>,
}

/// The bucket of a number above zero at the finest resolution: the smallest `i` whose bound
/// 2^(i/8) is not below it.
fn bucket(value: f64) -> i32 {
    let bits = value.to_bits();
    // The fraction is in [0.5, 1), so that value = fraction × 2^exponent. What is too small to be
    // normal is below the zero threshold.
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    let fraction = f64::from_bits((bits & ((1 << 52) - 1)) | (1022 << 52));
    let within = FRACTIONS.partition_point(|bound| *bound < fraction) as i32;
    within + (exponent - 1) * FRACTIONS.len() as i32
}

impl Native {
    fn observe(&mut self, value: f64) {
        if value <= ZERO_THRESHOLD || !value.is_finite() {
            self.zero += 1;
            return;
        }
        let mut index = bucket(value);
        for _ in 0..self.halved {
            index = (index + 1) >> 1;
        }
        match self.buckets.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(found) => self.buckets[found].1 += 1,
            Err(place) => {
                self.buckets.insert(place, (index, 1));
                if self.buckets.len() > NATIVE_BUCKETS_MAX {
                    self.halve();
                }
            }
        }
    }

    fn halve(&mut self) {
        self.halved += 1;
        for (index, _) in &mut self.buckets {
            *index = (*index + 1) >> 1;
        }
        self.buckets.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 += later.1;
            }
            same
        });
    }

    fn histogram(&self, count: u64, sum: f64) -> Histogram {
        let mut spans: Vec<BucketSpan> = Vec::new();
        let mut next = 0;
        for (index, _) in &self.buckets {
            match spans.last_mut() {
                Some(span) if *index == next => span.length += 1,
                Some(_) | None => spans.push(BucketSpan {
                    offset: *index - next,
                    length: 1,
                }),
            }
            next = *index + 1;
        }
        Histogram {
            integer: true,
            schema: SCHEMA - self.halved as i32,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: self.zero as f64,
            count: count as f64,
            sum,
            positive_spans: spans,
            positive: self.buckets.iter().map(|(_, n)| *n as f64).collect(),
            ..Histogram::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape() -> Shape {
        Shape {
            bounds: vec![0.1, 0.2, 0.4],
            forms: Histograms::Both,
        }
    }

    #[test]
    fn bounds_are_powers() {
        for (k, bound) in FRACTIONS.iter().enumerate() {
            let exact = 0.5 * 2f64.powf(k as f64 / 8.0);
            assert!((bound - exact).abs() < 1e-15, "{k}");
        }
        for (value, expect) in [(1.0, 0), (1.01, 1), (2.0, 8), (0.5, -8), (0.51, -7)] {
            assert_eq!(bucket(value), expect, "{value}");
        }
    }

    #[test]
    fn bounds_belong_to_their_bucket() {
        let mut seen = Distribution::new(&shape());
        for value in [0.1, 0.1000001, 0.4, 5.0, 0.0] {
            let time = Timestamp::from_seconds(1);
            seen.observe(&shape(), value, TraceId::default(), time);
        }
        assert_eq!(&*seen.counts, [2, 1, 1, 1]);
        assert_eq!(seen.examples().len(), 4);
        let native = seen.native();
        assert_eq!((native.count, native.zero_count), (5.0, 1.0));
        assert_eq!(native.validate(), Ok(()));
    }

    proptest! {
        #[test]
        fn native_histograms_are_bounded_and_complete(
            values in prop::collection::vec(-60.0f64..60.0, 1..600),
        ) {
            let mut seen = Distribution::new(&shape());
            for power in &values {
                let value = power.exp2();
                seen.observe(&shape(), value, TraceId::default(), Timestamp::from_seconds(1));
            }
            let native = seen.native();
            prop_assert_eq!(native.validate(), Ok(()));
            prop_assert!(native.positive.len() <= NATIVE_BUCKETS_MAX);
            prop_assert_eq!(native.positive.iter().sum::<f64>(), values.len() as f64);
            // Every value lies in a bucket that has a count.
            let base = (-f64::from(native.schema)).exp2().exp2();
            let mut index = 0;
            let mut filled = Vec::new();
            for span in &native.positive_spans {
                index += span.offset;
                for _ in 0..span.length {
                    filled.push(index);
                    index += 1;
                }
            }
            for power in &values {
                let exact = power / base.log2();
                let near = filled.iter().any(|i| (f64::from(*i) - exact) > -1e-6 && (f64::from(*i) - exact) < 1.0 + 1e-6);
                prop_assert!(near, "{} at schema {}", power, native.schema);
            }
        }
    }
}
