//! `rate`, `increase`, `irate` and `resets` of series whose samples know when their counters
//! started: a start between two samples is a reset, and one before the first sample of a window is
//! a zero there, which makes extrapolation to the left needless.

use std::sync::Arc;

use obs_model::histogram::ResetHint;
use obs_model::{Histogram, Labels, Samples, Timestamp, Value};

use super::buckets::Parts;
use super::histogram::difference;
use super::rate;
use super::series::Bounds;
use super::{Evaluator, histogram, notes};
use crate::column::{Column, Grid};
use crate::functions::RangeFunction;
use crate::plan::Over;

/// Whether the functions knows starts.
pub(super) fn applies(function: RangeFunction) -> bool {
    matches!(
        function,
        RangeFunction::Rate
            | RangeFunction::Increase
            | RangeFunction::Irate
            | RangeFunction::Resets
    )
}

/// Whether the counter of a sample started behind the sample before.
fn is_reset(samples: &Samples, index: usize) -> bool {
    let (before, start) = (samples.start(index - 1), samples.start(index));
    let [before_time, time] = [index - 1, index].map(|i| samples.times[i].millis());
    // A start at the sample itself is OTLP's unknown one.
    if start == 0 || start >= time || start < before_time {
        return false;
    }
    if start > before_time {
        return true;
    }
    // At the sample before: a delta, unless that one's start is not known.
    before <= before_time && before != 0 && before != before_time
}

/// Whether the start of a sample lies before the sample before without being the same start.
fn overlaps(samples: &Samples, index: usize) -> bool {
    let start = samples.start(index);
    start != 0 && start < samples.times[index - 1].millis() && start != samples.start(index - 1)
}

pub(super) fn over(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    samples: &Samples,
    bounds: &[Bounds],
    grid: &Grid,
) -> Column {
    let rates = matches!(node.function, RangeFunction::Rate | RangeFunction::Increase);
    if rates {
        let overlapping: Vec<usize> = (1..samples.len())
            .filter(|i| overlaps(samples, *i))
            .collect();
        let inside = |b: &&Bounds| {
            let first = overlapping.partition_point(|i| *i <= b.lo);
            overlapping.get(first).is_some_and(|i| *i < b.hi)
        };
        let count = bounds.iter().filter(inside).count();
        if count > 0 {
            evaluator.overlapping(labels, node.place, count);
        }
    }
    if samples.histograms.is_empty() {
        return floats(node, samples, bounds, grid);
    }
    let hinted = hinted(samples);
    if !rates {
        return histogram::over(evaluator, node, labels, &hinted, bounds, &[], grid);
    }
    let mut out = Column::new(grid.count);
    for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
        // One by one: a query that was stopped stops here.
        if evaluator.budget.check().is_err() {
            break;
        }
        let window = Window::new(samples, *b, node.window.end(grid.at(step)), node);
        let first = samples
            .histograms
            .partition_point(|(i, _)| (*i as usize) < b.lo);
        let last = samples
            .histograms
            .partition_point(|(i, _)| (*i as usize) < b.hi);
        match last - first {
            0 => {
                let value = window.floats(samples, &resets(samples, *b));
                value.into_iter().for_each(|value| out.set(step, value));
            }
            count if count == b.hi - b.lo => {
                let histograms: Vec<Arc<Histogram>> = hinted.histograms[first..last]
                    .iter()
                    .map(|(_, histogram)| Arc::clone(histogram))
                    .collect();
                if let Some(value) = window.histograms(evaluator, node, labels, &histograms) {
                    out.push(step, Value::Histogram(value));
                }
            }
            _ => evaluator.warn(notes::mixed_range(labels, node.place)),
        }
    }
    out
}

/// The resets inside a window.
fn resets(samples: &Samples, b: Bounds) -> Vec<usize> {
    let falls = |i: &usize| samples.floats[*i] < samples.floats[*i - 1] || is_reset(samples, *i);
    (b.lo + 1..b.hi).filter(falls).collect()
}

/// The samples, with resets by start told as hints.
fn hinted(samples: &Samples) -> Samples {
    let mut hinted = samples.clone();
    for (index, histogram) in &mut hinted.histograms {
        let index = *index as usize;
        let counter = histogram.reset_hint != ResetHint::Gauge;
        if index > 0 && counter && is_reset(samples, index) {
            *histogram = Arc::new(Histogram {
                reset_hint: ResetHint::Reset,
                ..histogram.as_ref().clone()
            });
        }
    }
    hinted
}

fn floats(node: &Over, samples: &Samples, bounds: &[Bounds], grid: &Grid) -> Column {
    let mut column = Column::new(grid.count);
    let all = Bounds {
        lo: 0,
        hi: samples.len(),
    };
    let resets = resets(samples, all);
    match node.function {
        RangeFunction::Resets => {
            for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
                let [from, to] = [b.lo + 1, b.hi].map(|i| resets.partition_point(|r| *r < i));
                column.set(step, to.saturating_sub(from) as f64);
            }
        }
        RangeFunction::Irate => {
            rate::instant(true, (&samples.times, &samples.floats), bounds, &mut column);
            for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.hi - b.lo >= 2) {
                let last = b.hi - 1;
                if column.present.get(step) && resets.binary_search(&last).is_ok() {
                    let interval = (samples.times[last] - samples.times[last - 1]) as f64 / 1e9;
                    column.set(step, samples.floats[last] / interval);
                }
            }
        }
        _ => {
            for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
                let window = Window::new(samples, *b, node.window.end(grid.at(step)), node);
                let [from, to] = [b.lo + 1, b.hi].map(|i| resets.partition_point(|r| *r < i));
                if let Some(value) = window.floats(samples, &resets[from..to.max(from)]) {
                    column.set(step, value);
                }
            }
        }
    }
    column
}

/// Where the samples of a window lie.
struct Window<'a> {
    bounds: Bounds,
    times: &'a [Timestamp],
    first: Timestamp,
    last: Timestamp,
    end: Timestamp,
    length: i64,
    /// The start of the first sample, where it lies inside the window.
    start: Option<Timestamp>,
    per_second: bool,
}

impl<'a> Window<'a> {
    fn new(samples: &'a Samples, bounds: Bounds, end: Timestamp, node: &Over) -> Self {
        let first = samples.times[bounds.lo];
        let start = samples.start(bounds.lo);
        let begin = end.saturating_sub(node.window.length).millis();
        let inside = start != 0 && start > begin && start < first.millis();
        Self {
            bounds,
            times: &samples.times[bounds.lo..bounds.hi],
            first,
            last: samples.times[bounds.hi - 1],
            end,
            length: node.window.length,
            start: inside.then(|| Timestamp::from_millis(start)),
            per_second: node.function == RangeFunction::Rate,
        }
    }

    /// What the change is multiplied with; nothing for one sample without a start.
    fn factor(&self, zero: Option<f64>) -> Option<f64> {
        let intervals = (self.times.len() - 1) as f64;
        let Some(start) = self.start else {
            let extent = || rate::Extent::new(self.times, self.end, self.length);
            return (intervals > 0.0).then(|| extent().factor(zero, self.per_second));
        };
        let sampled = (self.last - start) as f64 / 1e9;
        let average = match intervals > 0.0 {
            true => (self.last - self.first) as f64 / 1e9 / intervals,
            false => 0.0,
        };
        let mut to_end = (self.end - self.last) as f64 / 1e9;
        if to_end >= average * 1.1 {
            to_end = average / 2.0;
        }
        let factor = (sampled + to_end) / sampled;
        Some(match self.per_second {
            true => factor / (self.length as f64 / 1e9),
            false => factor,
        })
    }

    fn floats(&self, samples: &Samples, resets: &[usize]) -> Option<f64> {
        let floats = &samples.floats;
        let (lo, hi) = (self.bounds.lo, self.bounds.hi);
        let mut change = floats[hi - 1] - floats[lo];
        resets.iter().for_each(|reset| change += floats[reset - 1]);
        let zero = (change > 0.0 && floats[lo] >= 0.0).then(|| floats[lo] / change);
        let factor = self.factor(zero)?;
        if self.start.is_some() {
            change += floats[lo];
        }
        Some(change * factor)
    }

    fn histograms(
        &self,
        evaluator: &Evaluator<'_>,
        node: &Over,
        labels: &Labels,
        histograms: &[Arc<Histogram>],
    ) -> Option<Arc<Histogram>> {
        let first = histograms.first()?;
        let mut parts = match histograms.len() {
            1 => None,
            _ => Some(difference(evaluator, node, labels, histograms, true)?),
        };
        let zero = parts
            .as_ref()
            .filter(|p| p.head.count > 0.0 && first.count >= 0.0);
        let factor = self.factor(zero.map(|p| first.count / p.head.count))?;
        if self.start.is_some() {
            match &mut parts {
                None => parts = Some(Parts::new(first)),
                Some(parts) => {
                    if parts.add(&Parts::new(first), 1.0).is_err() {
                        evaluator.warn(notes::mixed_layouts(labels, node.place));
                        return None;
                    }
                }
            }
        }
        let mut parts = parts?;
        parts.scale(factor);
        parts.head.reset_hint = ResetHint::Gauge;
        Some(Arc::new(parts.build()))
    }
}
