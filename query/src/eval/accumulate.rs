//! One column from the columns of a group, which are added in the order of series.

use obs_model::Value;

use super::histogram::Total;
use super::kahan::{Kahan, Mean, Spread};
use super::{Evaluator, notes};
use crate::column::{Bitmap, Column};
use crate::operators::AggregateOp;
use crate::plan::Aggregate;

/// A group while its series come.
pub(super) struct Accumulator {
    op: AggregateOp,
    /// Where there was a float (with `count` and `group`, anything).
    present: Bitmap,
    state: State,
    /// Sums of histograms by step, once there was one.
    totals: Vec<Option<Total>>,
}

enum State {
    /// Counts and extremes.
    Values(Vec<f64>),
    /// Sums and what rounding lost of them, as [`Kahan`] but side by side.
    Sums {
        sums: Vec<f64>,
        lost: Vec<f64>,
    },
    Means(Vec<Mean>),
    Spreads(Vec<Spread>),
}

impl Accumulator {
    /// An empty group.
    pub(super) fn new(op: AggregateOp, steps: usize) -> Self {
        let state = match op {
            AggregateOp::Avg => State::Means(vec![Mean::default(); steps]),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                State::Spreads(vec![Spread::default(); steps])
            }
            AggregateOp::Sum => State::Sums {
                sums: vec![0.0; steps],
                lost: vec![0.0; steps],
            },
            _ => State::Values(vec![0.0; steps]),
        };
        Self {
            op,
            present: Bitmap::new(steps),
            state,
            totals: Vec::new(),
        }
    }

    /// Bytes per step, for the budget.
    pub(super) fn step_bytes(op: AggregateOp) -> u64 {
        match op {
            AggregateOp::Avg => size_of::<Mean>() as u64,
            AggregateOp::Stddev | AggregateOp::Stdvar => size_of::<Spread>() as u64,
            _ => size_of::<Kahan>() as u64,
        }
    }

    /// Adds the next series.
    pub(super) fn add(&mut self, evaluator: &Evaluator<'_>, node: &Aggregate, column: &Column) {
        if matches!(self.op, AggregateOp::Count | AggregateOp::Group) {
            if let State::Values(counts) = &mut self.state {
                let one = |step: usize| counts[step] += 1.0;
                each(&column.present, column.len(), one);
            }
            self.present.or(&column.present);
            return;
        }
        if column.histograms.is_empty() {
            self.add_floats(&column.values, &column.present);
            return;
        }
        let mut floats = column.present.clone();
        for (step, _) in &column.histograms {
            floats.clear(*step as usize);
        }
        if matches!(self.op, AggregateOp::Sum | AggregateOp::Avg) {
            self.totals.resize_with(column.len(), || None);
            for (step, histogram) in &column.histograms {
                match &mut self.totals[*step as usize] {
                    Some(total) => total.add(histogram),
                    empty => *empty = Some(Total::new(histogram)),
                }
            }
        } else {
            evaluator.info(notes::ignored_in_aggregation(node.op.as_str(), node.place));
        }
        self.add_floats(&column.values, &floats);
    }

    fn add_floats(&mut self, values: &[f64], present: &Bitmap) {
        match &mut self.state {
            State::Sums { sums, lost } if present.count() == values.len() => {
                // Without a branch or a check per step, so that it becomes vector instructions.
                let all = sums.iter_mut().zip(lost).zip(values);
                all.for_each(|((sum, lost), value)| add_to(sum, lost, *value));
            }
            State::Sums { sums, lost } => {
                let mut add = |step: usize| add_to(&mut sums[step], &mut lost[step], values[step]);
                present.iter().for_each(&mut add);
            }
            State::Values(best) => {
                let least = self.op == AggregateOp::Min;
                let seen = &self.present;
                each(present, values.len(), |step| {
                    let (value, before) = (values[step], best[step]);
                    let better = if least {
                        value < before
                    } else {
                        value > before
                    };
                    if better || before.is_nan() || !seen.get(step) {
                        best[step] = value;
                    }
                });
            }
            State::Means(means) => each(present, values.len(), |s| means[s].add(values[s])),
            State::Spreads(all) => each(present, values.len(), |s| all[s].add(values[s])),
        }
        self.present.or(present);
    }

    /// The column of the group.
    pub(super) fn finish(self, evaluator: &Evaluator<'_>, node: &Aggregate) -> Column {
        let Self {
            op,
            present,
            state,
            totals,
        } = self;
        let steps = |value: &dyn Fn(usize) -> f64, len: usize| {
            let mut values = vec![0.0; len];
            present.iter().for_each(|step| values[step] = value(step));
            values
        };
        let values = match &state {
            State::Values(counts) if op == AggregateOp::Group => steps(&|_| 1.0, counts.len()),
            State::Values(values) => steps(&|s| values[s], values.len()),
            State::Sums { sums, lost } => {
                let value = |step: usize| {
                    let (sum, lost) = (sums[step], lost[step]);
                    Kahan { sum, lost }.value()
                };
                steps(&value, sums.len())
            }
            State::Means(means) => steps(&|s| means[s].value(), means.len()),
            State::Spreads(spreads) => {
                let root = op == AggregateOp::Stddev;
                let value = |step: usize| {
                    let variance = spreads[step].variance();
                    if root { variance.sqrt() } else { variance }
                };
                steps(&value, spreads.len())
            }
        };
        let mut out = Column {
            values,
            present,
            histograms: Vec::new(),
        };
        // A step has floats or histograms; a mix has no result.
        for (step, total) in totals.into_iter().enumerate() {
            let Some(total) = total else {
                continue;
            };
            if out.present.get(step) {
                evaluator.warn(notes::mixed_aggregation(node.place));
                out.present.clear(step);
            } else if let Some(found) = total.finish(evaluator, op == AggregateOp::Avg, node.place)
            {
                out.push(step, Value::Histogram(found));
            }
        }
        out
    }
}

/// Calls for every step that is present; in a plain loop where all are.
fn each(present: &Bitmap, len: usize, mut call: impl FnMut(usize)) {
    if present.count() == len {
        (0..len).for_each(call);
    } else {
        present.iter().for_each(&mut call);
    }
}

/// As [`Kahan::add`], without a branch.
#[inline]
fn add_to(sum: &mut f64, lost: &mut f64, value: f64) {
    let total = *sum + value;
    let first = (*sum - total) + value;
    let second = (value - total) + *sum;
    let rest = if sum.abs() >= value.abs() {
        first
    } else {
        second
    };
    *lost = if total.is_infinite() {
        0.0
    } else {
        *lost + rest
    };
    *sum = total;
}
