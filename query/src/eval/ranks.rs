//! Quantiles of sliding windows: samples by rank in a tree of counts, so that a sample enters,
//! leaves and is found in time that grows with the logarithm of their number.

use super::series::Bounds;
use super::sliding::{each, median_deviation, order, overlap, quantile_of};
use crate::column::Column;

/// Which samples of a series are in the window (Fenwick 1994).
struct Ranks {
    /// The values in order.
    sorted: Vec<f64>,
    /// The place of each sample there.
    places: Vec<u32>,
    /// Counts of samples in the window, by place; one-based.
    tree: Vec<u32>,
    len: usize,
    /// The window that is in the tree.
    window: Bounds,
}

impl Ranks {
    fn new(floats: &[f64]) -> Self {
        let mut by_value: Vec<u32> = (0..floats.len() as u32).collect();
        by_value.sort_by(|a, b| order(floats[*a as usize], floats[*b as usize]));
        let mut places = vec![0; floats.len()];
        for (place, sample) in by_value.iter().enumerate() {
            places[*sample as usize] = place as u32;
        }
        Self {
            sorted: by_value.iter().map(|i| floats[*i as usize]).collect(),
            places,
            tree: vec![0; floats.len() + 1],
            len: 0,
            window: Bounds { lo: 0, hi: 0 },
        }
    }

    /// Counts a sample in or out.
    fn count(&mut self, sample: usize, enters: bool) {
        let mut at = self.places[sample] as usize + 1;
        while at < self.tree.len() {
            let count = &mut self.tree[at];
            *count = if enters { *count + 1 } else { *count - 1 };
            at += at & at.wrapping_neg();
        }
        self.len = if enters { self.len + 1 } else { self.len - 1 };
    }

    /// Moves on to the next window.
    fn slide(&mut self, to: Bounds) {
        let from = self.window;
        (from.lo..to.lo.min(from.hi)).for_each(|sample| self.count(sample, false));
        (from.hi.max(to.lo)..to.hi).for_each(|sample| self.count(sample, true));
        self.window = to;
    }

    /// The value that so many of the window come before.
    fn get(&self, before: usize) -> f64 {
        let (mut at, mut left) = (0, before as u32);
        let mut stride = self.sorted.len().next_power_of_two();
        while stride > 0 {
            let next = at + stride;
            if next < self.tree.len() && self.tree[next] <= left {
                at = next;
                left -= self.tree[next];
            }
            stride /= 2;
        }
        self.sorted[at]
    }

    fn quantile(&self, q: f64) -> f64 {
        between(q, self.len, |rank| self.get(rank))
    }

    /// Median of the distances to the median; no value is NaN.
    fn median_deviation(&self) -> f64 {
        let median = self.quantile(0.5);
        // At least half of the values are infinite then, and have no distance to it.
        if !median.is_finite() {
            return f64::NAN;
        }
        // What is not above the median, from it downwards, and the rest upwards: both ascend.
        let below = (self.len - 1) / 2 + 1;
        let above = self.len - below;
        let down = |i: usize| median - self.get(below - 1 - i);
        let up = |i: usize| self.get(below + i) - median;
        let nth = |rank: usize| {
            let taken = rank + 1;
            // How many of them come from below: the least number that leaves none behind.
            let (mut least, mut most) = (taken.saturating_sub(above), taken.min(below));
            while least < most {
                let middle = usize::midpoint(least, most);
                if middle < below && taken > middle && down(middle) < up(taken - middle - 1) {
                    least = middle + 1;
                } else {
                    most = middle;
                }
            }
            let from_below = least.checked_sub(1).map_or(f64::NEG_INFINITY, down);
            let rest = (taken - least).checked_sub(1);
            from_below.max(rest.map_or(f64::NEG_INFINITY, up))
        };
        between(0.5, self.len, nth)
    }
}

/// The quantile of values that are known by rank.
fn between(q: f64, len: usize, get: impl Fn(usize) -> f64) -> f64 {
    if !(0.0..=1.0).contains(&q) {
        return super::sliding::quantile_sorted(q, &[0.0]);
    }
    let rank = q * (len - 1) as f64;
    let lower = (rank.floor() as usize).min(len - 1); // 0 ≤ rank ≤ len - 1
    let upper = (lower + 1).min(len - 1);
    let weight = rank - rank.floor();
    get(lower) * (1.0 - weight) + get(upper) * weight
}

/// Quantiles of each window.
pub(super) fn quantiles(floats: &[f64], bounds: &[Bounds], q: &[f64], column: &mut Column) {
    if !overlap(bounds, floats.len()) {
        let mut values = Vec::new();
        return each(bounds, |step, b| {
            values.clear();
            values.extend_from_slice(&floats[b.lo..b.hi]);
            column.set(step, quantile_of(q[step], &mut values));
        });
    }
    let mut ranks = Ranks::new(floats);
    each(bounds, |step, b| {
        ranks.slide(b);
        column.set(step, ranks.quantile(q[step]));
    });
}

/// Median of the distances to the median of each window.
pub(super) fn median_deviations(floats: &[f64], bounds: &[Bounds], column: &mut Column) {
    if !overlap(bounds, floats.len()) {
        return each(bounds, |step, b| {
            column.set(step, median_deviation(&floats[b.lo..b.hi]));
        });
    }
    let mut sum = 0u32;
    let nans = floats.iter().map(|v| {
        sum += u32::from(v.is_nan());
        sum
    });
    let nans: Vec<u32> = std::iter::once(0).chain(nans).collect();
    let mut ranks = Ranks::new(floats);
    each(bounds, |step, b| {
        ranks.slide(b);
        let value = match nans[b.hi] > nans[b.lo] {
            true => f64::NAN,
            false => ranks.median_deviation(),
        };
        column.set(step, value);
    });
}
