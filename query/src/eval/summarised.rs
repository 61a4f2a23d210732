//! Functions over windows of samples some of which are summaries of runs: blocks of parts that a
//! window covers, and tiers.
//!
//! Invariant: where a run lies in a window as a whole the answer is that of its samples to the last
//! bit: the same numbers are added in the same order. Sums are, where those of all runs are exact.

use obs_model::Timestamp;
use obs_tsdb::{Borders, Need, Summary};

use super::rate::{Extent, change};
use super::series::Bounds;
use super::sliding;
use super::source::View;
use crate::column::{Column, Grid};
use crate::functions::RangeFunction;
use crate::plan::{Borders as Edges, Over, Window};

/// Whether the function can be computed from summaries.
pub(super) fn applies(function: RangeFunction) -> bool {
    use RangeFunction as F;
    match function {
        F::Rate | F::Increase | F::Delta => true,
        F::Min | F::Max | F::Sum | F::Avg | F::PerSecond | F::Count => true,
        F::Last | F::First | F::Present | F::Absent => true,
        F::TimeOfFirst | F::TimeOfLast => true,
        F::Irate | F::Idelta | F::Deriv | F::PredictLinear | F::Resets | F::Changes => false,
        F::Stddev | F::Stdvar | F::Quantile | F::Mad | F::Smoothing => false,
        F::TimeOfMin | F::TimeOfMax => false,
    }
}

/// Whether the function adds up samples.
fn sums(function: RangeFunction) -> bool {
    use RangeFunction as F;
    matches!(function, F::Sum | F::Avg | F::PerSecond)
}

/// Whether what tiers keep says to the last bit what samples do.
pub(crate) fn is_kept(function: RangeFunction) -> bool {
    applies(function) && !sums(function)
}

/// Whether the function makes up for falls of counters.
pub(crate) fn falls(function: RangeFunction) -> bool {
    matches!(function, RangeFunction::Rate | RangeFunction::Increase)
}

/// Whether the function does not look at values.
pub(super) fn is_presence(function: RangeFunction) -> bool {
    use RangeFunction as F;
    let all = [
        F::Count,
        F::Present,
        F::Absent,
        F::TimeOfFirst,
        F::TimeOfLast,
    ];
    all.contains(&function)
}

/// Whether summaries may spare decoding.
pub(super) fn may_help(over: &Over) -> bool {
    applies(over.function) && over.window.borders == Edges::Plain && !over.finds_resets
}

/// Asks for summaries.
pub(super) fn need(over: &Over, grid: &Grid) -> Need {
    Need::Windows {
        borders: borders(&over.window, grid),
        sums: sums(over.function),
        falls: falls(over.function),
        values: !is_presence(over.function),
    }
}

/// The borders of the windows of all steps.
fn borders(window: &Window, grid: &Grid) -> Borders {
    Borders {
        end: window.end(grid.start),
        step: grid.step,
        count: if window.at.is_some() { 1 } else { grid.count },
        length: window.length,
    }
}

/// Samples as runs, with a column for each thing that is known of a run.
struct Runs<'a> {
    first_times: Vec<Timestamp>,
    times: &'a [Timestamp],
    firsts: Vec<f64>,
    lasts: &'a [f64],
    mins: Vec<f64>,
    maxs: Vec<f64>,
    sums: Vec<f64>,
    /// Samples in all runs before each run, and in all.
    counts: Vec<u64>,
    /// Values before falls. Twice the index of the run that a fall leads to, or one more where it
    /// lies inside the run.
    falls: Vec<(usize, f64)>,
}

impl<'a> Runs<'a> {
    fn new(view: &View<'a>) -> Self {
        let mut runs = Self {
            first_times: view.times.to_vec(),
            times: view.times,
            firsts: view.floats.to_vec(),
            lasts: view.floats,
            mins: view.floats.to_vec(),
            maxs: view.floats.to_vec(),
            sums: view.floats.to_vec(),
            counts: Vec::with_capacity(view.times.len() + 1),
            falls: Vec::new(),
        };
        let mut known = view.summaries.iter().peekable();
        let mut total = 0;
        for index in 0..view.times.len() {
            runs.counts.push(total);
            let summary = known.next_if(|(at, _)| *at as usize == index);
            total += 1;
            if let Some((_, one)) = summary {
                runs.put(index, one);
                total += one.count - 1;
            }
            if index > 0 && runs.firsts[index] < runs.lasts[index - 1] {
                runs.falls.push((2 * index, runs.lasts[index - 1]));
            }
            if let Some(fall) = summary.and_then(|(_, one)| one.fallen.sum()) {
                runs.falls.push((2 * index + 1, fall));
            }
        }
        runs.counts.push(total);
        runs
    }

    fn put(&mut self, index: usize, one: &Summary) {
        self.first_times[index] = one.first_time;
        self.firsts[index] = one.first;
        self.mins[index] = one.min;
        self.maxs[index] = one.max;
        self.sums[index] = one.sum;
    }

    fn count(&self, b: Bounds) -> u64 {
        self.counts[b.hi] - self.counts[b.lo]
    }

    /// `rate`, `increase` and `delta`, as of samples.
    fn changes(&self, over: &Over, bounds: &[Bounds], grid: &Grid, column: &mut Column) {
        let counter = over.function != RangeFunction::Delta;
        let falls = if counter { &self.falls[..] } else { &[] };
        let mut from = 0;
        for (step, b) in bounds.iter().enumerate() {
            if self.count(*b) < 2 {
                continue;
            }
            let end = over.window.end(grid.at(step));
            let reach = (self.first_times[b.lo], self.times[b.hi - 1]);
            let extent = Extent::spanning(reach, self.count(*b), end, over.window.length);
            while falls.get(from).is_some_and(|(at, _)| *at <= 2 * b.lo) {
                from += 1;
            }
            let mine = falls[from..].iter().take_while(|(at, _)| *at < 2 * b.hi);
            let first = self.firsts[b.lo];
            let raised = mine.fold(self.lasts[b.hi - 1] - first, |sum, (_, value)| sum + value);
            column.set(step, change(over.function, first, raised, &extent));
        }
    }
}

/// The function over the windows of one series.
pub(super) fn over(over: &Over, view: &View<'_>, bounds: &[Bounds], grid: &Grid) -> Column {
    use RangeFunction as F;
    let runs = Runs::new(view);
    let mut column = Column::new(grid.count);
    let seconds = over.window.length as f64 / 1e9;
    let out = &mut column;
    match over.function {
        F::Rate | F::Increase | F::Delta => runs.changes(over, bounds, grid, out),
        F::Min => sliding::aggregate(F::Min, &runs.mins, bounds, seconds, out),
        F::Max => sliding::aggregate(F::Max, &runs.maxs, bounds, seconds, out),
        F::Avg => {
            sliding::aggregate(F::Sum, &runs.sums, bounds, seconds, out);
            for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
                out.values[step] /= runs.count(*b) as f64;
            }
        }
        F::Sum | F::PerSecond => {
            sliding::aggregate(over.function, &runs.sums, bounds, seconds, out);
        }
        function => {
            for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
                let value = match function {
                    F::Count => runs.count(*b) as f64,
                    F::Last => runs.lasts[b.hi - 1],
                    F::First => runs.firsts[b.lo],
                    F::TimeOfFirst => runs.first_times[b.lo].seconds_f64(),
                    F::TimeOfLast => runs.times[b.hi - 1].seconds_f64(),
                    _ => 1.0, // is there
                };
                out.set(step, value);
            }
        }
    }
    column
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tiers;
