//! `anchored` and `smoothed`: windows whose borders have values of their own.

use obs_model::{Labels, Samples, Timestamp, Value};

use super::series::{Bounds, bounds};
use super::source::View;
use super::{Evaluator, histogram, notes};
use crate::column::{Column, Grid};
use crate::functions::RangeFunction;
use crate::plan::{Borders, Instant, Over};

/// How far before and behind a window its borders look for samples: the default lookback.
pub(super) const REACH: i64 = 300 * obs_model::time::NANOS_PER_SECOND;

/// The value at a time on the line between two samples; for counters a reset starts at zero.
fn interpolate(
    (t0, v0): (Timestamp, f64),
    (t1, v1): (Timestamp, f64),
    at: Timestamp,
    counter: bool,
) -> f64 {
    let share = (at - t0) as f64 / (t1 - t0) as f64;
    if counter && v1 < v0 {
        return v1 * share;
    }
    v0 + (v1 - v0) * share
}

/// An instant selector that interpolates between the samples around each step.
pub(super) fn smoothed_instant(
    evaluator: &Evaluator<'_>,
    view: &View<'_>,
    node: &Instant,
    grid: &Grid,
) -> Column {
    let mut column = Column::new(grid.count);
    let samples = super::over::without_stale(view).unwrap_or_else(|| view.samples());
    let times = &samples.times;
    for step in 0..grid.count {
        let at = node.window.end(grid.at(step));
        let after = times.partition_point(|t| *t <= at);
        let before = after.checked_sub(1);
        let before = before.filter(|i| times[*i] > at.saturating_sub(node.window.length));
        let next = (after < times.len())
            .then_some(after)
            .filter(|i| times[*i] < at.saturating_add(node.window.length));
        let Some(before) = before else {
            continue;
        };
        let next = next.filter(|_| times[before] < at);
        let value = match (samples.value(before), next.map(|j| samples.value(j))) {
            (value, None) => Some(value),
            (Value::Float(a), Some(Value::Float(b))) => {
                let next = times[after];
                let value = interpolate((times[before], a), (next, b), at, false);
                Some(Value::Float(value))
            }
            (Value::Histogram(a), Some(Value::Histogram(b))) => {
                let share = (at - times[before]) as f64 / (times[after] - times[before]) as f64;
                let between = histogram::between(&a, &b, share, true);
                if between.is_none() {
                    evaluator.warn(notes::mixed_layouts(view.labels, node.place));
                }
                between.map(Value::Histogram)
            }
            (Value::Float(_), Some(_)) | (Value::Histogram(_), Some(_)) => {
                evaluator.warn(notes::mixed_range(view.labels, node.place));
                None
            }
        };
        if let Some(value) = value {
            column.push(step, value);
        }
    }
    column
}

/// A function over windows with values at their borders.
pub(super) fn over(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    samples: &Samples,
    grid: &Grid,
) -> Column {
    let mut column = Column::new(grid.count);
    let smoothed = node.window.borders == Borders::Smoothed;
    if !samples.histograms.is_empty() {
        if smoothed {
            return smoothed_histograms(evaluator, node, labels, samples, grid);
        }
        return anchored_histograms(evaluator, node, labels, samples, grid);
    }
    let counter = node.function != RangeFunction::Delta;
    let inner = bounds(&samples.times, &node.window, grid);
    for (step, b) in inner.iter().enumerate() {
        let end = node.window.end(grid.at(step));
        let start = end.saturating_sub(node.window.length);
        let Some(values) = bordered(samples, (b.lo, b.hi), (start, end), smoothed, counter) else {
            continue;
        };
        let pairs = values.windows(2);
        let value = match node.function {
            RangeFunction::Changes => {
                let differs = |p: &[f64]| p[0] != p[1] && !(p[0].is_nan() && p[1].is_nan());
                pairs.filter(|p| differs(p)).count() as f64
            }
            RangeFunction::Resets => pairs.filter(|p| p[1] < p[0]).count() as f64,
            function => {
                let mut change = values[values.len() - 1] - values[0];
                if counter {
                    change += pairs.filter(|p| p[1] < p[0]).map(|p| p[0]).sum::<f64>();
                }
                let per_second = function == RangeFunction::Rate;
                change
                    / if per_second {
                        node.window.length as f64 / 1e9
                    } else {
                        1.0
                    }
            }
        };
        column.set(step, value);
    }
    column
}

/// `anchored` over a series with histograms: the sample before the window joins it.
fn anchored_histograms(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    samples: &Samples,
    grid: &Grid,
) -> Column {
    let mut column = Column::new(grid.count);
    let inner = bounds(&samples.times, &node.window, grid);
    for (step, b) in inner.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
        let start = node
            .window
            .end(grid.at(step))
            .saturating_sub(node.window.length);
        let reached = |i: &usize| samples.times[*i] > start.saturating_sub(REACH);
        let lo = b.lo.checked_sub(1).filter(reached).unwrap_or(b.lo);
        let joined = Bounds { lo, hi: b.hi };
        if let Some(value) = histogram::anchored(evaluator, node, labels, samples, joined) {
            column.push(step, value);
        }
    }
    column
}

/// `smoothed` over a series with histograms: the borders are interpolated.
fn smoothed_histograms(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    samples: &Samples,
    grid: &Grid,
) -> Column {
    let mut column = Column::new(grid.count);
    let inner = bounds(&samples.times, &node.window, grid);
    for (step, b) in inner.iter().enumerate() {
        let end = node.window.end(grid.at(step));
        let start = end.saturating_sub(node.window.length);
        let times = &samples.times;
        let before =
            b.lo.checked_sub(1)
                .filter(|i| times[*i] > start.saturating_sub(REACH));
        let after = (b.hi < times.len()).then_some(b.hi);
        let after = after.filter(|i| times[*i] < end.saturating_add(REACH));
        if b.lo == b.hi && !(before.is_some() && after.is_some()) {
            continue;
        }
        let joined = Bounds {
            lo: before.unwrap_or(b.lo),
            hi: after.map_or(b.hi, |i| i + 1),
        };
        let value = histogram::smoothed(evaluator, node, labels, samples, joined, (start, end));
        if let Some(value) = value {
            column.push(step, value);
        }
    }
    column
}

/// The values of a window with those at its borders; `None` where there is nothing to compare.
fn bordered(
    samples: &Samples,
    (lo, hi): (usize, usize),
    (start, end): (Timestamp, Timestamp),
    smoothed: bool,
    counter: bool,
) -> Option<Vec<f64>> {
    let (times, floats) = (&samples.times, &samples.floats);
    let sample = |i: usize| (times[i], floats[i]);
    let before = lo
        .checked_sub(1)
        .filter(|i| times[*i] > start.saturating_sub(REACH));
    let after = (hi < times.len())
        .then_some(hi)
        .filter(|i| times[*i] < end.saturating_add(REACH));
    // A border alone has no meaning: there must be a sample inside, or one on each side.
    if lo == hi && !(smoothed && before.is_some() && after.is_some()) {
        return None;
    }
    let mut values = Vec::with_capacity(hi - lo + 2);
    match before {
        Some(i) if smoothed && times[i] < start => {
            let next = (lo < hi).then_some(lo).or(after);
            values.push(match next {
                Some(j) => interpolate(sample(i), sample(j), start, counter),
                None => floats[i],
            });
        }
        Some(i) => values.push(floats[i]),
        // Without a sample before, the first one inside stands for the border.
        None if lo < hi => values.push(floats[lo]),
        None => return None,
    }
    values.extend_from_slice(&floats[lo..hi]);
    if smoothed {
        let last = (lo < hi).then(|| hi - 1).or(before)?;
        if let Some(j) = after.filter(|_| times[last] < end) {
            values.push(interpolate(sample(last), sample(j), end, counter));
        }
    }
    if values.len() < 2 {
        values.push(values[0]);
    }
    Some(values)
}
