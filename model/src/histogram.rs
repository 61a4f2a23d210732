//! Native histograms: exponential buckets (schema -4 to 8) and custom buckets (schema -53).
//!
//! Counts are f64 for integer and float histograms alike: exact up to 2^53 observations, which is
//! more than a counter collects in a lifetime; `integer` remembers which kind came in.

/// The schema number of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// Most buckets (positive and negative together) that are accepted in one histogram.
pub const BUCKETS_MAX: usize = 10_000;

/// What is known about a counter reset before this histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Nothing is known: compare with the previous one.
    #[default]
    Unknown,
    /// A reset happened before this one.
    Reset,
    /// No reset happened before this one.
    NotReset,
    /// A gauge histogram: the notion does not apply.
    Gauge,
}

/// A run of consecutive buckets: `offset` from the end of the run before (from zero for the
/// first), then `length` buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BucketSpan {
    /// Gap to the run before; only the first may be negative.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// A native histogram. Bucket counts are absolute (not deltas), one per bucket of the spans.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Whether it came in with integer counts.
    pub integer: bool,
    /// What is known about resets.
    pub reset_hint: ResetHint,
    /// -4 to 8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Upper bound of the zero bucket's absolute values.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observed values; the stale marker lives here.
    pub sum: f64,
    /// Runs of positive buckets.
    pub positive_spans: Vec<BucketSpan>,
    /// Counts of positive buckets.
    pub positive: Vec<f64>,
    /// Runs of negative buckets.
    pub negative_spans: Vec<BucketSpan>,
    /// Counts of negative buckets.
    pub negative: Vec<f64>,
    /// Upper bounds of custom buckets, ascending, without +Inf.
    pub custom_bounds: Vec<f64>,
}

/// Why a histogram is not well-formed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// Neither -4 to 8 nor -53.
    #[error("histogram schema is {0}, expected -4 to 8 or -53")]
    Schema(i32),
    /// Spans and counts disagree.
    #[error("histogram spans have {spans} buckets, but {counts} counts are given")]
    Buckets {
        /// Buckets by the spans.
        spans: u64,
        /// Counts given.
        counts: usize,
    },
    /// A span other than the first has a negative offset.
    #[error("histogram span {0} has a negative offset")]
    Offset(usize),
    /// More than [`BUCKETS_MAX`].
    #[error("histogram has {0} buckets, at most {BUCKETS_MAX} are accepted")]
    TooManyBuckets(u64),
    /// A count is negative or NaN.
    #[error("histogram has the bucket count {0}, expected one of at least 0")]
    Count(f64),
    /// Bounds not ascending or not finite, or given with an exponential schema.
    #[error("histogram custom bounds must be finite, ascending and only with schema -53")]
    Bounds,
}

impl Histogram {
    /// Whether this is the marker of a series that ended.
    pub fn is_stale(&self) -> bool {
        crate::sample::is_stale(self.sum)
    }

    /// Whether the buckets are custom ones.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Checks everything that a decoder must not trust.
    pub fn validate(&self) -> Result<(), HistogramError> {
        if !(-4..=8).contains(&self.schema) && !self.has_custom_buckets() {
            return Err(HistogramError::Schema(self.schema));
        }
        for (spans, counts) in [
            (&self.positive_spans, &self.positive),
            (&self.negative_spans, &self.negative),
        ] {
            if let Some(at) = spans.iter().skip(1).position(|s| s.offset < 0) {
                return Err(HistogramError::Offset(at + 1));
            }
            let buckets: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
            if buckets > BUCKETS_MAX as u64 {
                return Err(HistogramError::TooManyBuckets(buckets));
            }
            if buckets != counts.len() as u64 {
                return Err(HistogramError::Buckets {
                    spans: buckets,
                    counts: counts.len(),
                });
            }
            if let Some(count) = counts
                .iter()
                .find(|c| (c.is_nan() || **c < 0.0) && !self.is_stale())
            {
                return Err(HistogramError::Count(*count));
            }
        }
        let ascending = self.custom_bounds.windows(2).all(|w| w[0] < w[1]);
        let finite = self.custom_bounds.iter().all(|b| b.is_finite());
        if !ascending || !finite || (!self.custom_bounds.is_empty() && !self.has_custom_buckets()) {
            return Err(HistogramError::Bounds);
        }
        Ok(())
    }

    /// Bit-exact comparison: NaN payloads and stale markers count.
    pub fn bit_eq(&self, other: &Self) -> bool {
        let bits = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
        };
        self.integer == other.integer
            && self.reset_hint == other.reset_hint
            && self.schema == other.schema
            && bits(
                &[self.zero_threshold, self.zero_count, self.count, self.sum],
                &[
                    other.zero_threshold,
                    other.zero_count,
                    other.count,
                    other.sum,
                ],
            )
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && bits(&self.positive, &other.positive)
            && bits(&self.negative, &other.negative)
            && bits(&self.custom_bounds, &other.custom_bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_histograms_are_refused() {
        let good = Histogram {
            positive_spans: vec![BucketSpan {
                offset: -2,
                length: 2,
            }],
            positive: vec![1.0, 2.0],
            ..Histogram::default()
        };
        assert_eq!(good.validate(), Ok(()));
        let check = |change: fn(&mut Histogram), expect: HistogramError| {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.validate(), Err(expect));
        };
        check(|h| h.schema = 9, HistogramError::Schema(9));
        check(
            |h| h.positive.truncate(1),
            HistogramError::Buckets {
                spans: 2,
                counts: 1,
            },
        );
        check(|h| h.positive[0] = -1.0, HistogramError::Count(-1.0));
        check(|h| h.custom_bounds = vec![1.0], HistogramError::Bounds);
        check(
            |h| h.positive_spans[0].length = u32::MAX,
            HistogramError::TooManyBuckets(u64::from(u32::MAX)),
        );
    }
}
