//! `anchored` and `smoothed`: windows whose borders have values of their own.

use obs_model::{Labels, Samples, Timestamp, Value};

use super::series::{Bounds, bounds};
use super::source::View;
use super::{Evaluator, histogram, notes, rate};
use crate::column::{Column, Grid};
use crate::functions::RangeFunction;
use crate::plan::{Borders, Instant, Over};

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
            .filter(|i| times[*i] <= at.saturating_add(node.window.length));
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
    let reach = evaluator.plan.lookback;
    let mut column = Column::new(grid.count);
    let smoothed = node.window.borders == Borders::Smoothed;
    if !samples.histograms.is_empty() {
        if smoothed {
            return smoothed_histograms(evaluator, node, labels, samples, grid);
        }
        return anchored_histograms(evaluator, node, labels, samples, grid);
    }
    let counter = node.function != RangeFunction::Delta;
    let floats = &samples.floats;
    let inner = bounds(&samples.times, &node.window, grid);
    let changed = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
    let falls = |a: f64, b: f64| b < a;
    // What happens between the samples inside of each window.
    let (counts, fallen) = match node.function {
        RangeFunction::Changes => (rate::running(floats, changed), Vec::new()),
        RangeFunction::Resets => (rate::running(floats, falls), Vec::new()),
        _ if counter => (Vec::new(), rate::fallen(floats, &inner)),
        _ => (Vec::new(), vec![0.0; inner.len()]),
    };
    for (step, b) in inner.iter().enumerate() {
        let end = node.window.end(grid.at(step));
        let start = end.saturating_sub(node.window.length);
        let times = (start, end, reach);
        let Some((left, right)) = bordered(samples, (b.lo, b.hi), times, smoothed, counter) else {
            continue;
        };
        // The steps from the left border to the first sample and from the last to the right one.
        let first = (b.lo < b.hi).then(|| floats[b.lo]);
        let last = (b.lo < b.hi).then(|| floats[b.hi - 1]);
        let edges = [first.or(right).map(|next| (left, next)), last.zip(right)];
        let edges = edges.into_iter().flatten();
        let counted = |differs: &dyn Fn(f64, f64) -> bool| {
            let inside = last.map_or(0, |_| counts[b.hi - 1] - counts[b.lo]);
            f64::from(inside) + edges.clone().filter(|(a, b)| differs(*a, *b)).count() as f64
        };
        let value = match node.function {
            RangeFunction::Changes => counted(&changed),
            RangeFunction::Resets => counted(&falls),
            function => {
                let mut change = right.or(last).unwrap_or(left) - left;
                if counter {
                    let edges = edges.clone().filter(|(a, b)| falls(*a, *b));
                    change += fallen[step] + edges.map(|(a, _)| a).sum::<f64>();
                }
                match function {
                    RangeFunction::Rate => change / (node.window.length as f64 / 1e9),
                    _ => change,
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
    let reach = evaluator.plan.lookback;
    let mut column = Column::new(grid.count);
    let inner = bounds(&samples.times, &node.window, grid);
    for (step, b) in inner.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
        let start = node
            .window
            .end(grid.at(step))
            .saturating_sub(node.window.length);
        let reached = |i: &usize| samples.times[*i] > start.saturating_sub(reach);
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
    let reach = evaluator.plan.lookback;
    let mut column = Column::new(grid.count);
    let inner = bounds(&samples.times, &node.window, grid);
    for (step, b) in inner.iter().enumerate() {
        let end = node.window.end(grid.at(step));
        let start = end.saturating_sub(node.window.length);
        let times = &samples.times;
        let before =
            b.lo.checked_sub(1)
                .filter(|i| times[*i] > start.saturating_sub(reach));
        let after = (b.hi < times.len()).then_some(b.hi);
        let after = after.filter(|i| times[*i] <= end.saturating_add(reach));
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

/// The values at the borders of a window, the right one where it is not that of the last sample;
/// `None` where there is nothing to compare.
fn bordered(
    samples: &Samples,
    (lo, hi): (usize, usize),
    (start, end, reach): (Timestamp, Timestamp, i64),
    smoothed: bool,
    counter: bool,
) -> Option<(f64, Option<f64>)> {
    let (times, floats) = (&samples.times, &samples.floats);
    let sample = |i: usize| (times[i], floats[i]);
    let before = lo
        .checked_sub(1)
        .filter(|i| times[*i] > start.saturating_sub(reach));
    let after = (hi < times.len())
        .then_some(hi)
        .filter(|i| times[*i] <= end.saturating_add(reach));
    // A border alone has no meaning: there must be a sample inside, or one on each side.
    if lo == hi && !(smoothed && before.is_some() && after.is_some()) {
        return None;
    }
    let left = match before {
        Some(i) if smoothed && times[i] < start => match (lo < hi).then_some(lo).or(after) {
            Some(next) => interpolate(sample(i), sample(next), start, counter),
            None => floats[i],
        },
        Some(i) => floats[i],
        // Without a sample before, the first one inside stands for the border.
        None if lo < hi => floats[lo],
        None => return None,
    };
    let last = (lo < hi).then(|| hi - 1).or(before)?;
    let right = after.filter(|_| smoothed && times[last] < end);
    let right = right.map(|next| interpolate(sample(last), sample(next), end, counter));
    Some((left, right))
}
