//! Rates, differences and regressions over windows of floats.

use obs_model::Timestamp;

use super::kahan::Kahan;
use super::series::Bounds;
use super::sliding::slide;
use crate::column::{Bitmap, Column};
use crate::functions::RangeFunction;

/// `rate`, `increase` and `delta`: the change between first and last sample, resets added for
/// counters, extrapolated to the borders of the window where samples come close to them.
pub(super) fn extrapolated(
    function: RangeFunction,
    floats: &[f64],
    bounds: &[Bounds],
    extents: &[Extent],
    column: &mut Column,
) {
    let counter = function != RangeFunction::Delta;
    // Indices of samples below the one before: few in a counter, so windows walk over them instead of
    // samples. Sums that slide would depend on where reading began.
    let resets: Vec<usize> = match counter && falls(floats) {
        true => (1..floats.len())
            .filter(|i| floats[*i] < floats[*i - 1])
            .collect(),
        false => Vec::new(),
    };
    let windows = bounds.iter().zip(extents);
    if resets.is_empty() && bounds.iter().all(|b| b.hi - b.lo >= 2) {
        for (value, (b, extent)) in column.values.iter_mut().zip(windows) {
            let first = floats[b.lo];
            let change = floats[b.hi - 1] - first;
            *value = self::change(function, first, change, extent);
        }
        column.present = Bitmap::full(column.values.len());
        return;
    }
    let mut first_reset = 0;
    for (step, (&Bounds { lo, hi }, extent)) in windows.enumerate() {
        if hi - lo < 2 {
            continue;
        }
        let first = floats[lo];
        let mut change = floats[hi - 1] - first;
        while resets.get(first_reset).is_some_and(|reset| *reset <= lo) {
            first_reset += 1;
        }
        for reset in resets[first_reset..]
            .iter()
            .take_while(|reset| **reset < hi)
        {
            change += floats[reset - 1];
        }
        column.set(step, self::change(function, first, change, extent));
    }
}

/// What counters lost by the resets inside each window.
pub(super) fn fallen(floats: &[f64], bounds: &[Bounds]) -> Vec<f64> {
    let mut fallen = vec![0.0; bounds.len()];
    if !falls(floats) {
        return fallen;
    }
    let lost = |index: usize| match floats[index] < floats[index - 1] {
        true => floats[index - 1],
        false => 0.0,
    };
    // What the first sample of a window fell from is outside of it.
    let inner = |b: &Bounds| Bounds {
        lo: (b.lo + 1).min(b.hi),
        hi: b.hi,
    };
    let inner: Vec<Bounds> = bounds.iter().map(inner).collect();
    slide(&inner, lost, |a, b| a + b, |step, sum| fallen[step] = sum);
    fallen
}

/// The change from the first sample on, falls of counters made up for, extrapolated.
pub(super) fn change(function: RangeFunction, first: f64, change: f64, extent: &Extent) -> f64 {
    let counter = function != RangeFunction::Delta;
    let rate = function == RangeFunction::Rate;
    let cut = counter && change > 0.0 && first >= 0.0 && extent.reaches_zero(first, change);
    let factor = match cut {
        true => extent.factor(Some(first / change), rate),
        false if rate => extent.rate,
        false => extent.whole,
    };
    change * factor
}

/// Whether some value is below the one before. Looks at all of them, which is faster than to stop.
fn falls(floats: &[f64]) -> bool {
    let later = floats.get(1..).unwrap_or_default();
    let pairs = floats.iter().zip(later);
    pairs.fold(false, |falls, (a, b)| falls | (b < a))
}

/// How far samples reach in a window, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    sampled: f64,
    to_start: f64,
    to_end: f64,
    length: f64,
    /// What a change is multiplied with that is extrapolated to both borders …
    whole: f64,
    /// … the same per second.
    rate: f64,
}

impl Extent {
    /// Of at least two samples.
    pub(super) fn new(times: &[Timestamp], end: Timestamp, length: i64) -> Self {
        let reach = (times[0], times[times.len() - 1]);
        Self::spanning(reach, times.len() as u64, end, length)
    }

    /// Of so many samples, at least two, from a first to a last.
    pub(super) fn spanning(
        (first, last): (Timestamp, Timestamp),
        count: u64,
        end: Timestamp,
        length: i64,
    ) -> Self {
        let start = end.saturating_sub(length);
        let mut to_start = (first - start) as f64 / 1e9;
        let mut to_end = (end - last) as f64 / 1e9;
        let sampled = (last - first) as f64 / 1e9;
        let average = sampled / (count - 1) as f64;
        // Samples that are this close to a border are taken to go on until it.
        let threshold = average * 1.1;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut extent = Self {
            sampled,
            to_start,
            to_end,
            length: length as f64 / 1e9,
            whole: 0.0,
            rate: 0.0,
        };
        extent.whole = extent.factor(None, false);
        extent.rate = extent.factor(None, true);
        extent
    }

    /// Whether a counter may have been at zero before the left border, so that it is not
    /// extrapolated to it. Decides without a division where the answer is far from close.
    fn reaches_zero(&self, first: f64, change: f64) -> bool {
        let (before, reach) = (first * self.sampled, 2.0 * change * self.to_start);
        let sure = before > reach && (1e-290..1e290).contains(&before);
        !sure
    }

    /// What the change between first and last sample is multiplied with. `zero` is, for counters,
    /// the share of the change after which the counter would have been at zero.
    pub(super) fn factor(&self, zero: Option<f64>, per_second: bool) -> f64 {
        let to_start = match zero {
            Some(zero) => self.to_start.min(self.sampled * zero),
            None => self.to_start,
        };
        let factor = (self.sampled + to_start + self.to_end) / self.sampled;
        if per_second {
            factor / self.length
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

/// `changes` and `resets` of each window.
pub(super) fn counted(
    floats: &[f64],
    bounds: &[Bounds],
    differs: impl Fn(f64, f64) -> bool,
    column: &mut Column,
) {
    let counts = running(floats, differs);
    for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
        column.set(step, f64::from(counts[b.hi - 1] - counts[b.lo]));
    }
}

/// Up to each sample, how many differ from the one before.
pub(super) fn running(floats: &[f64], differs: impl Fn(f64, f64) -> bool) -> Vec<u32> {
    let mut counts = Vec::with_capacity(floats.len());
    let mut count = 0u32;
    for (index, value) in floats.iter().enumerate() {
        count += u32::from(index > 0 && differs(floats[index - 1], *value));
        counts.push(count);
    }
    counts
}
