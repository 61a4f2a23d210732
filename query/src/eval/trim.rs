//! `</` and `>/`: cut the observations above or below a value off a native histogram.

use obs_model::Histogram;
use obs_model::histogram::ResetHint;

use super::buckets::{Parts, bound};

/// Keeps what lies below (`upper`) or above the value; a bucket across it is split.
pub(super) fn trim(histogram: &Histogram, value: f64, upper: bool) -> Histogram {
    if value
        == (if upper {
            f64::INFINITY
        } else {
            f64::NEG_INFINITY
        })
    {
        return histogram.clone();
    }
    let mut parts = Parts::new(histogram);
    let head = parts.head.clone();
    let custom = head.has_custom_buckets();
    let zero = (-head.zero_threshold, head.zero_threshold);
    let share = |low: f64, high: f64, linear: bool| keep(low, high, value, upper, linear);
    let no_negative = parts.negative.is_empty() && !parts.positive.is_empty();
    let no_positive = parts.positive.is_empty() && !parts.negative.is_empty();
    let mut sum = 0.0;
    for (index, count) in &mut parts.positive {
        let (low, high) = (bound(&head, *index - 1), bound(&head, *index));
        let (kept, at) = match custom {
            true => trim_custom(low, high, value, upper),
            false => (
                share(low, high, false),
                middle(low, high, value, upper, false),
            ),
        };
        *count *= kept;
        sum += weighted(*count, at);
    }
    for (index, count) in &mut parts.negative {
        let (low, high) = (-bound(&head, *index), -bound(&head, *index - 1));
        *count *= share(low, high, false);
        sum += weighted(*count, middle(low, high, value, upper, false));
    }
    let (low, high) = (
        if no_negative { 0.0 } else { zero.0 },
        if no_positive { 0.0 } else { zero.1 },
    );
    parts.head.zero_count *= share(low, high, true);
    sum += weighted(parts.head.zero_count, middle(low, high, value, upper, true));
    let lists = parts.positive.iter().chain(&parts.negative);
    let count = parts.head.zero_count + lists.map(|(_, count)| count).sum::<f64>();
    if count != histogram.count {
        parts.head.sum = sum;
    }
    parts.head.count = count;
    parts.head.reset_hint = ResetHint::Gauge;
    parts.build()
}

/// What a bucket adds to the sum; nothing where it is empty, wherever it lies.
fn weighted(count: f64, at: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * at }
}

/// The share of a custom bucket that stays, and where its observations are taken to be. Buckets
/// without a border are cut whole: nothing is known about where their observations are.
fn trim_custom(low: f64, high: f64, value: f64, upper: bool) -> (f64, f64) {
    match (low == f64::NEG_INFINITY, high == f64::INFINITY) {
        (true, true) => (0.0, 0.0),
        (false, true) if upper || value == f64::INFINITY => (0.0, 0.0),
        (false, true) => (1.0, low.max(value)),
        (true, false) if high <= 0.0 => match upper && value > f64::NEG_INFINITY {
            true => (1.0, high.min(value)),
            false => (0.0, 0.0),
        },
        (true, false) if value < 0.0 => (0.0, 0.0),
        (true, false) => (
            keep(0.0, high, value, upper, true),
            middle(0.0, high, value, upper, true),
        ),
        (false, false) => (
            keep(low, high, value, upper, true),
            middle(low, high, value, upper, true),
        ),
    }
}

/// The share of a bucket that stays.
fn keep(low: f64, high: f64, value: f64, upper: bool, linear: bool) -> f64 {
    if value <= low {
        return if upper { 0.0 } else { 1.0 };
    }
    if value >= high {
        return if upper { 1.0 } else { 0.0 };
    }
    let below = if low.is_infinite() || high.is_infinite() {
        return f64::from(u8::from(upper == high.is_infinite()));
    } else if linear {
        (value - low) / (high - low)
    } else {
        let [a, b, v] = [low, high, value].map(|x| x.abs().log2());
        if low > 0.0 {
            (v - a) / (b - a)
        } else {
            1.0 - (v - b) / (a - b)
        }
    };
    if upper { below } else { 1.0 - below }
}

/// Where the observations that stay are taken to be.
fn middle(low: f64, high: f64, value: f64, upper: bool, linear: bool) -> f64 {
    let (low, high) = match upper {
        true => (low, high.min(value)),
        false => (low.max(value), high),
    };
    if low.is_infinite() {
        return high;
    }
    if high.is_infinite() {
        return low;
    }
    if linear {
        return (low + high) / 2.0;
    }
    (low * high).sqrt().copysign(high)
}
