//! Rates, differences and regressions over windows of floats.

use obs_model::Timestamp;

use super::kahan::Kahan;
use super::series::Bounds;
use crate::column::{Column, Grid};
use crate::functions::RangeFunction;
use crate::plan::Window;

/// `rate`, `increase` and `delta`: the change between first and last sample, resets added for
/// counters, extrapolated to the borders of the window where samples come close to them.
pub(super) fn extrapolated(
    function: RangeFunction,
    (times, floats): (&[Timestamp], &[f64]),
    bounds: &[Bounds],
    (window, grid): (&Window, &Grid),
    column: &mut Column,
) {
    let counter = function != RangeFunction::Delta;
    // Indices of samples below the one before: few, so windows walk over them instead of samples.
    let resets: Vec<usize> = match counter {
        true => (1..floats.len())
            .filter(|i| floats[*i] < floats[*i - 1])
            .collect(),
        false => Vec::new(),
    };
    let mut first_reset = 0;
    for (step, &Bounds { lo, hi }) in bounds.iter().enumerate() {
        if hi - lo < 2 {
            continue;
        }
        let mut change = floats[hi - 1] - floats[lo];
        while resets.get(first_reset).is_some_and(|reset| *reset <= lo) {
            first_reset += 1;
        }
        for reset in resets[first_reset..]
            .iter()
            .take_while(|reset| **reset < hi)
        {
            change += floats[reset - 1];
        }
        let shape = Shape {
            first: times[lo],
            last: times[hi - 1],
            intervals: (hi - lo - 1) as f64,
            end: window.end(grid.at(step)),
            length: window.length,
        };
        let zero = (counter && change > 0.0 && floats[lo] >= 0.0).then(|| floats[lo] / change);
        let rate = function == RangeFunction::Rate;
        column.set(
            step,
            change * shape.factor(counter.then_some(zero).flatten(), rate),
        );
    }
}

/// Where samples lie in a window.
pub(super) struct Shape {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// Number of samples less one.
    pub(super) intervals: f64,
    pub(super) end: Timestamp,
    pub(super) length: i64,
}

impl Shape {
    /// What the change between first and last sample is multiplied with. `zero` is, for counters,
    /// the share of the change after which the counter would have been at zero.
    pub(super) fn factor(&self, zero: Option<f64>, per_second: bool) -> f64 {
        let start = self.end.saturating_sub(self.length);
        let mut to_start = (self.first - start) as f64 / 1e9;
        let mut to_end = (self.end - self.last) as f64 / 1e9;
        let sampled = (self.last - self.first) as f64 / 1e9;
        let average = sampled / self.intervals;
        // Samples that are this close to a border are taken to go on until it.
        let threshold = average * 1.1;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if let Some(zero) = zero {
            to_start = to_start.min(sampled * zero);
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let factor = (sampled + to_start + to_end) / sampled;
        if per_second {
            factor / (self.length as f64 / 1e9)
        } else {
            factor
        }
    }
}

/// `irate` and `idelta`: from the last two samples.
pub(super) fn instant(
    counter: bool,
    (times, floats): (&[Timestamp], &[f64]),
    bounds: &[Bounds],
    column: &mut Column,
) {
    for (step, &Bounds { lo, hi }) in bounds.iter().enumerate() {
        if hi - lo < 2 {
            continue;
        }
        let (before, last) = (floats[hi - 2], floats[hi - 1]);
        let interval = (times[hi - 1] - times[hi - 2]) as f64 / 1e9;
        if interval == 0.0 {
            continue;
        }
        let change = if counter && last < before {
            last
        } else {
            last - before
        };
        column.set(step, if counter { change / interval } else { change });
    }
}

/// Slope and value at `at` of the linear regression.
pub(super) fn regression(times: &[Timestamp], floats: &[f64], at: Timestamp) -> (f64, f64) {
    if floats.iter().all(|v| *v == floats[0]) {
        let first = floats[0];
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let [mut sum_x, mut sum_y, mut sum_xy, mut sum_xx] = [Kahan::default(); 4];
    for (time, y) in times.iter().zip(floats) {
        let x = (*time - at) as f64 / 1e9;
        sum_x.add(x);
        sum_y.add(*y);
        sum_xy.add(x * y);
        sum_xx.add(x * x);
    }
    let count = floats.len() as f64;
    let total = |k: Kahan| k.sum + k.lost;
    let (x, y) = (total(sum_x), total(sum_y));
    let covariance = total(sum_xy) - x * y / count;
    let variance = total(sum_xx) - x * x / count;
    let slope = covariance / variance;
    (slope, y / count - slope * x / count)
}

/// Holt's double exponential smoothing.
pub(super) fn smoothing(floats: &[f64], level: f64, trend: f64) -> f64 {
    let mut before = 0.0;
    let mut smooth = floats[0];
    let mut slope = floats[1] - floats[0];
    for (index, value) in floats.iter().enumerate().skip(1) {
        if index > 1 {
            slope = trend * (smooth - before) + (1.0 - trend) * slope;
        }
        before = smooth;
        smooth = level * value + (1.0 - level) * (smooth + slope);
    }
    smooth
}

/// `changes` and `resets` of each window from running counts.
pub(super) fn counted(
    floats: &[f64],
    bounds: &[Bounds],
    differs: impl Fn(f64, f64) -> bool,
    column: &mut Column,
) {
    let mut counts = Vec::with_capacity(floats.len());
    let mut count = 0u32;
    for (index, value) in floats.iter().enumerate() {
        count += u32::from(index > 0 && differs(floats[index - 1], *value));
        counts.push(count);
    }
    for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
        column.set(step, f64::from(counts[b.hi - 1] - counts[b.lo]));
    }
}
