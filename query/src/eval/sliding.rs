//! Aggregates over sliding windows: every sample enters and leaves once, whatever the overlap.
//!
//! Two stacks: suffix aggregates of the older part, one running aggregate of the newer part.
//! Nothing is ever subtracted, so that infinities and NaN leave no trace. Where windows overlap
//! little, they are computed one by one, which is as fast and adds in exactly the given order.

use super::kahan::{Kahan, Mean, Spread};
use super::series::Bounds;
use crate::column::Column;
use crate::functions::RangeFunction;

/// Up to this many visits per sample, windows are computed one by one.
const VISITS_MAX: usize = 4;

/// Whether windows overlap so much that sliding pays.
pub(super) fn overlap(bounds: &[Bounds], samples: usize) -> bool {
    let visits: usize = bounds.iter().map(|b| b.hi - b.lo).sum();
    visits > samples.saturating_mul(VISITS_MAX)
}

/// Two-stack aggregation over windows whose borders only move forward; `one` is of a sample.
pub(super) fn slide<T: Copy>(
    bounds: &[Bounds],
    one: impl Fn(usize) -> T,
    merge: impl Fn(T, T) -> T,
    mut out: impl FnMut(usize, T),
) {
    // `older[i]` aggregates samples base + i..middle; `newer` aggregates samples middle..hi.
    let (mut older, mut newer): (Vec<T>, Option<T>) = (Vec::new(), None);
    let (mut base, mut middle, mut end) = (0, 0, 0);
    for (step, &Bounds { lo, hi }) in bounds.iter().enumerate() {
        if lo >= hi {
            continue;
        }
        if lo >= middle {
            older.clear();
            let mut suffix: Option<T> = None;
            for index in (lo..hi).rev() {
                let next = suffix.map_or_else(|| one(index), |s| merge(one(index), s));
                older.push(next);
                suffix = Some(next);
            }
            older.reverse();
            (base, middle, end, newer) = (lo, hi, hi, None);
        }
        for index in end..hi {
            newer = Some(newer.map_or_else(|| one(index), |n| merge(n, one(index))));
        }
        end = end.max(hi);
        let total = match (older.get(lo - base), newer) {
            (Some(old), Some(new)) => merge(*old, new),
            (Some(old), None) => *old,
            (None, Some(new)) => new,
            (None, None) => continue,
        };
        out(step, total);
    }
}

/// The smaller; NaN only where nothing else is.
fn least(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The larger; NaN only where nothing else is.
fn most(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

/// Sum, mean, extremes and spread of each window.
pub(super) fn aggregate(
    function: RangeFunction,
    floats: &[f64],
    bounds: &[Bounds],
    seconds: f64,
    column: &mut Column,
) {
    let sliding = overlap(bounds, floats.len());
    match function {
        RangeFunction::Min => slide(bounds, |i| floats[i], least, |s, v| column.set(s, v)),
        RangeFunction::Max => slide(bounds, |i| floats[i], most, |s, v| column.set(s, v)),
        RangeFunction::Avg if sliding => averages(floats, bounds, column),
        RangeFunction::Stddev | RangeFunction::Stdvar => {
            let root = function == RangeFunction::Stddev;
            let mut put = |step, spread: Spread| {
                let variance = spread.variance();
                column.set(step, if root { variance.sqrt() } else { variance });
            };
            if sliding {
                slide(bounds, |i| spread(&floats[i..=i]), Spread::merge, put);
            } else {
                each(bounds, |step, b| put(step, spread(&floats[b.lo..b.hi])));
            }
        }
        RangeFunction::Avg => {
            each(bounds, |step, b| {
                column.set(step, mean(&floats[b.lo..b.hi]));
            });
        }
        _ => {
            let divisor = if function == RangeFunction::PerSecond {
                seconds
            } else {
                1.0
            };
            let mut put = |step, sum: Kahan| column.set(step, sum.value() / divisor);
            if sliding {
                slide(bounds, |i| Kahan::new(floats[i]), Kahan::merge, put);
            } else {
                each(bounds, |step, b| put(step, sum(&floats[b.lo..b.hi])));
            }
        }
    }
}

/// The mean of each window.
fn averages(floats: &[f64], bounds: &[Bounds], column: &mut Column) {
    let sums = |scale: f64| {
        let mut sums = vec![Kahan::default(); bounds.len()];
        let one = |i: usize| Kahan::new(floats[i] * scale);
        slide(bounds, one, Kahan::merge, |step, sum| sums[step] = sum);
        sums
    };
    // What overflows is added up once more at a scale where it does not; a power of two.
    const SCALE: f64 = 1.0 / (1u64 << 40) as f64;
    let mut scaled: Option<Vec<Kahan>> = None;
    for (step, (b, sum)) in bounds.iter().zip(sums(1.0)).enumerate() {
        if b.lo >= b.hi {
            continue;
        }
        let count = (b.hi - b.lo) as f64;
        let mean = |sum: Kahan| sum.sum / count + sum.lost / count;
        let value = match sum.sum.is_infinite() {
            true => mean(scaled.get_or_insert_with(|| sums(SCALE))[step]) / SCALE,
            false => mean(sum),
        };
        column.set(step, value);
    }
}

/// Calls for every window that is not empty.
pub(super) fn each(bounds: &[Bounds], mut out: impl FnMut(usize, Bounds)) {
    for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
        out(step, *b);
    }
}

fn sum(values: &[f64]) -> Kahan {
    let mut sum = Kahan::new(values[0]);
    values[1..].iter().for_each(|v| sum.add(*v));
    sum
}

fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::default();
    values.iter().for_each(|v| mean.add(*v));
    mean.value()
}

fn spread(values: &[f64]) -> Spread {
    let mut spread = Spread::default();
    values.iter().for_each(|v| spread.add(*v));
    spread
}

/// NaN sorts first, as in Prometheus' heaps.
pub(super) fn order(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// A quantile of sorted values; NaN for a NaN quantile or without values.
pub(super) fn quantile_sorted(q: f64, sorted: &[f64]) -> f64 {
    if sorted.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = sorted.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last); // 0 ≤ rank ≤ last
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// A quantile of values in any order, which it may change.
pub(super) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || !(0.0..=1.0).contains(&q) {
        return quantile_sorted(q, values);
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = (rank.floor() as usize).min(values.len() - 1);
    let weight = rank - rank.floor();
    let (_, low, above) = values.select_nth_unstable_by(lower, |a, b| order(*a, *b));
    let low = *low;
    let high = above.iter().copied().min_by(|a, b| order(*a, *b));
    low * (1.0 - weight) + high.unwrap_or(low) * weight
}

/// Index of the most extreme value of each window, the last among equals; NaN gives way.
pub(super) fn extremes(
    floats: &[f64],
    bounds: &[Bounds],
    better: impl Fn(f64, f64) -> bool,
    out: impl FnMut(usize, usize),
) {
    let merge = |a: usize, b: usize| {
        let (first, later) = (floats[a], floats[b]);
        match better(later, first) || first.is_nan() {
            true => b,
            false => a,
        }
    };
    slide(bounds, |i| i, merge, out);
}

/// Median of the distances to the median.
pub(super) fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| order(*a, *b));
    let median = quantile_sorted(0.5, &sorted);
    sorted.iter_mut().for_each(|v| *v = (*v - median).abs());
    sorted.sort_by(|a, b| order(*a, *b));
    quantile_sorted(0.5, &sorted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Random samples and windows whose borders only move forward.
    fn windows() -> impl Strategy<Value = (Vec<f64>, Vec<Bounds>)> {
        let value = prop_oneof![
            8 => -1e6..1e6f64,
            1 => Just(f64::INFINITY),
            1 => Just(f64::NAN),
        ];
        let floats = prop::collection::vec(value, 1..60);
        (floats, prop::collection::vec((0usize..3, 0usize..3), 1..80)).prop_map(
            |(floats, moves)| {
                let (mut lo, mut hi) = (0, 0);
                let bounds = moves
                    .into_iter()
                    .map(|(a, b)| {
                        hi = (hi + b).min(floats.len());
                        lo = (lo + a / 2).min(hi);
                        Bounds { lo, hi }
                    })
                    .collect();
                (floats, bounds)
            },
        )
    }

    fn close(a: f64, b: f64) -> bool {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * (1e12 + a.abs() + b.abs())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn sliding_is_naive((floats, bounds) in windows()) {
            let (mut least_column, mut quantile) =
                (Column::new(bounds.len()), Column::new(bounds.len()));
            aggregate(RangeFunction::Min, &floats, &bounds, 1.0, &mut least_column);
            let q = vec![0.3; bounds.len()];
            crate::eval::ranks::quantiles(&floats, &bounds, &q, &mut quantile);
            let mut sums = vec![Kahan::default(); bounds.len()];
            slide(&bounds, |i| Kahan::new(floats[i]), Kahan::merge, |s, v| sums[s] = v);
            let mut spreads = vec![Spread::default(); bounds.len()];
            slide(&bounds, |i| spread(&floats[i..=i]), Spread::merge, |s, v| spreads[s] = v);
            for (step, b) in bounds.iter().enumerate() {
                prop_assert_eq!(least_column.present.get(step), b.lo < b.hi);
                if b.lo == b.hi {
                    continue;
                }
                let window = &floats[b.lo..b.hi];
                let naive = window[1..].iter().fold(window[0], |a, v| least(a, *v));
                prop_assert!(close(least_column.values[step], naive));
                prop_assert!(close(sums[step].value(), sum(window).value()));
                prop_assert!(
                    window.iter().any(|v| v.is_infinite())
                        || close(spreads[step].variance(), spread(window).variance())
                );
                let mut sorted = window.to_vec();
                sorted.sort_by(|a, b| order(*a, *b));
                prop_assert!(close(quantile.values[step], quantile_sorted(0.3, &sorted)));
            }
        }
    }
}
