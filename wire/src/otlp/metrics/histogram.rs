//! Buckets of OTLP's two histograms as Prometheus counts them.
//!
//! Invariant: classic buckets are cumulative and end with +Inf; a native histogram made here passes
//! `Histogram::validate` and its buckets add up to its count.

use obs_model::histogram::{BUCKETS_MAX, BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram};
use obs_model::sample::stale;

use crate::otlp::proto::metrics::{
    Buckets, ExponentialHistogramDataPoint, HistogramDataPoint, NO_RECORDED_VALUE,
};

/// The finest schema of native histograms.
const SCALE_MAX: i32 = 8;
/// The coarsest.
const SCALE_MIN: i32 = -4;
/// Prometheus' width of the zero bucket, where the source gives none.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Empty buckets that are cheaper to keep than a new span.
const GAP_MAX: i64 = 2;

/// Upper bounds with cumulative counts; the last is +Inf with the count of all.
pub(super) fn classic(
    bounds: &[f64],
    counts: &[u64],
    count: u64,
) -> Result<Vec<(f64, f64)>, String> {
    if bounds.len() > BUCKETS_MAX {
        return Err(format!(
            "{} buckets, at most {BUCKETS_MAX} are accepted",
            bounds.len()
        ));
    }
    let matching = counts.len() == bounds.len() + 1 || (counts.is_empty() && bounds.is_empty());
    if !matching {
        let (counts, bounds) = (counts.len(), bounds.len());
        return Err(format!(
            "{counts} bucket counts for {bounds} bounds, expected one more"
        ));
    }
    if bounds.iter().any(|b| b.is_nan()) || bounds.windows(2).any(|w| w[0] >= w[1]) {
        return Err("histogram bounds are not ascending".to_owned());
    }
    let mut buckets = Vec::with_capacity(bounds.len() + 1);
    let mut below = 0u64;
    for (bound, count) in bounds.iter().zip(counts) {
        below = below.saturating_add(*count);
        if bound.is_finite() || *bound < 0.0 {
            buckets.push((*bound, below as f64));
        }
    }
    buckets.push((f64::INFINITY, count as f64));
    Ok(buckets)
}

/// A classic histogram as a native one with custom buckets.
pub(super) fn custom(from: &HistogramDataPoint) -> Result<Histogram, String> {
    if from.flags & NO_RECORDED_VALUE != 0 {
        return Ok(Histogram {
            integer: true,
            sum: stale(),
            ..Histogram::default()
        });
    }
    // Checks bounds and counts.
    classic(&from.explicit_bounds, &from.bucket_counts, from.count)?;
    let mut bounds = from.explicit_bounds.clone();
    bounds.retain(|bound| bound.is_finite());
    let mut counts: Vec<f64> = from.bucket_counts.iter().map(|c| *c as f64).collect();
    if bounds.len() < from.explicit_bounds.len() {
        return Err("histogram bounds are not finite".to_owned());
    }
    if counts.is_empty() {
        counts.push(from.count as f64);
    }
    let length = counts.len() as u32;
    let histogram = Histogram {
        integer: true,
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: from.count as f64,
        sum: from.sum.unwrap_or_default(),
        positive_spans: vec![BucketSpan { offset: 0, length }],
        positive: counts,
        custom_bounds: bounds,
        ..Histogram::default()
    };
    histogram.validate().map_err(|error| error.to_string())?;
    Ok(histogram)
}

/// The native histogram of a point.
pub(super) fn native(from: &ExponentialHistogramDataPoint) -> Result<Histogram, String> {
    if from.scale < SCALE_MIN {
        return Err(format!(
            "scale {} is below the coarsest of {SCALE_MIN}",
            from.scale
        ));
    }
    let schema = from.scale.min(SCALE_MAX);
    if from.flags & NO_RECORDED_VALUE != 0 {
        return Ok(Histogram {
            integer: true,
            schema,
            sum: stale(),
            ..Histogram::default()
        });
    }
    let shift = from.scale.saturating_sub(schema).unsigned_abs();
    let (positive_spans, positive) = layout(from.positive.as_ref(), shift)?;
    let (negative_spans, negative) = layout(from.negative.as_ref(), shift)?;
    let given = from.zero_threshold.is_finite() && from.zero_threshold > 0.0;
    let histogram = Histogram {
        integer: true,
        schema,
        zero_threshold: if given {
            from.zero_threshold
        } else {
            ZERO_THRESHOLD
        },
        zero_count: from.zero_count as f64,
        count: from.count as f64,
        sum: from.sum.unwrap_or_default(),
        positive_spans,
        positive,
        negative_spans,
        negative,
        ..Histogram::default()
    };
    let in_buckets = [&from.positive, &from.negative]
        .into_iter()
        .flatten()
        .flat_map(|b| &b.bucket_counts)
        .fold(from.zero_count, |sum, count| sum.saturating_add(*count));
    // Not-a-number observations are in the count but in no bucket.
    if in_buckets > from.count || (in_buckets < from.count && !histogram.sum.is_nan()) {
        return Err(format!(
            "buckets hold {in_buckets} observations, the count is {}",
            from.count
        ));
    }
    histogram.validate().map_err(|e| e.to_string())?;
    Ok(histogram)
}

/// Spans and counts of one sign. OTLP's bucket i ends at base^(i+1), Prometheus' at base^i; each
/// step of `shift` joins two neighbours.
fn layout(from: Option<&Buckets>, shift: u32) -> Result<(Vec<BucketSpan>, Vec<f64>), String> {
    let (mut spans, mut counts) = (Vec::<BucketSpan>::new(), Vec::new());
    let Some(from) = from else {
        return Ok((spans, counts));
    };
    // The bucket after the last one written.
    let mut next = 0i64;
    let filled = from
        .bucket_counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0);
    for (at, count) in filled {
        let index = ((i64::from(from.offset) + at as i64) >> shift.min(62)) + 1;
        let count = *count as f64;
        let gap = index - next;
        match (spans.last_mut(), counts.last_mut()) {
            (Some(_), Some(last)) if gap < 0 => {
                *last += count;
                continue;
            }
            (Some(span), _) if gap <= GAP_MAX => {
                counts.extend((0..gap).map(|_| 0.0));
                span.length += gap as u32 + 1;
            }
            (Some(_) | None, _) => {
                let offset = i32::try_from(gap).map_err(|_| "a bucket is out of range")?;
                spans.push(BucketSpan { offset, length: 1 });
            }
        }
        counts.push(count);
        next = index + 1;
        if counts.len() > BUCKETS_MAX {
            return Err(format!("more than {BUCKETS_MAX} buckets"));
        }
    }
    Ok((spans, counts))
}
