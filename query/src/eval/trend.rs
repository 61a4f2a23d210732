//! Trends in sliding windows: linear regression, and smoothing that follows a trend.
//!
//! Regression slides by merging moments around their means, which loses less than sums of squares
//! do. Smoothing is linear in its values: a run of samples is a number of equal steps and what they
//! add, so that runs can be joined.

use obs_model::{Budget, Timestamp};

use super::rate::{regression, smoothing};
use super::series::Bounds;
use super::sliding::{each, overlap, slide};
use crate::column::Column;

/// Values over seconds: their number, means, and products of their distances to the means.
#[derive(Clone, Copy, Debug)]
struct Moments {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Moments {
    fn new(x: f64, y: f64) -> Self {
        Self {
            count: 1.0,
            x,
            y,
            xx: 0.0,
            xy: 0.0,
        }
    }

    /// Both together (Chan, Golub and LeVeque 1979).
    fn merge(self, other: Self) -> Self {
        let count = self.count + other.count;
        let share = other.count / count;
        let (dx, dy) = (other.x - self.x, other.y - self.y);
        let weight = self.count * share;
        Self {
            count,
            x: self.x + dx * share,
            y: self.y + dy * share,
            xx: self.xx + other.xx + dx * dx * weight,
            xy: self.xy + other.xy + dx * dy * weight,
        }
    }
}

/// Calls back with slope and value at `at(step, lo)` of the regression over each window of two or
/// more samples.
pub(super) fn regressions(
    (times, floats): (&[Timestamp], &[f64]),
    bounds: &[Bounds],
    at: impl Fn(usize, usize) -> Timestamp,
    mut out: impl FnMut(usize, f64, f64),
) {
    if !overlap(bounds, floats.len()) {
        return each(bounds, |step, Bounds { lo, hi }| {
            if hi - lo > 1 {
                let line = regression(&times[lo..hi], &floats[lo..hi], at(step, lo));
                out(step, line.0, line.1);
            }
        });
    }
    // Where the last change of value up to each sample is: a constant window is a special case.
    let mut changed = Vec::with_capacity(floats.len());
    let mut last = 0;
    for (index, value) in floats.iter().enumerate() {
        if index > 0 && *value != floats[index - 1] {
            last = index;
        }
        changed.push(last);
    }
    let seconds = |time: Timestamp| (time - times[0]) as f64 / 1e9;
    let one = |index: usize| Moments::new(seconds(times[index]), floats[index]);
    slide(bounds, one, Moments::merge, |step, moments| {
        let Bounds { lo, hi } = bounds[step];
        if hi - lo < 2 {
            return;
        }
        let to = at(step, lo);
        if changed[hi - 1] <= lo {
            let line = regression(&times[lo..lo + 2], &floats[lo..lo + 2], to);
            return out(step, line.0, line.1);
        }
        if !moments.y.is_finite() {
            return out(step, f64::NAN, f64::NAN);
        }
        let slope = moments.xy / moments.xx;
        let value = moments.y + slope * (seconds(to) - moments.x);
        out(step, slope, value);
    });
}

/// What smoothing knows: the level before, the level, the slope.
type State = [f64; 3];
type Matrix = [State; 3];

fn product(matrix: &Matrix, state: State) -> State {
    matrix.map(|row| row[0] * state[0] + row[1] * state[1] + row[2] * state[2])
}

fn square(matrix: &Matrix) -> Matrix {
    let mut out = [[0.0; 3]; 3];
    for (row, from) in out.iter_mut().zip(matrix) {
        for (column, cell) in row.iter_mut().enumerate() {
            *cell = (0..3).map(|k| from[k] * matrix[k][column]).sum();
        }
    }
    out
}

/// Some samples: their number and what they add to a state that went through as many steps.
#[derive(Clone, Copy)]
struct Run {
    count: usize,
    adds: State,
}

/// Double exponential smoothing of each window of two or more samples.
pub(super) fn smoothings(
    floats: &[f64],
    bounds: &[Bounds],
    (level, trend): (&[f64], &[f64]),
    budget: &Budget,
    column: &mut Column,
) {
    let constant = |values: &[f64]| values.windows(2).all(|pair| pair[0] == pair[1]);
    let regular = constant(level) && constant(trend) && floats.iter().all(|v| v.is_finite());
    if !regular || !overlap(bounds, floats.len()) {
        return each(bounds, |step, Bounds { lo, hi }| {
            // One by one: a query that was stopped stops here.
            if hi - lo > 1 && budget.check().is_ok() {
                let value = smoothing(&floats[lo..hi], level[step], trend[step]);
                column.set(step, value);
            }
        });
    }
    let (Some(&level), Some(&trend)) = (level.first(), trend.first()) else {
        return;
    };
    // One step without its value.
    let slope = [-trend, trend, 1.0 - trend];
    let carried = 1.0 - level;
    let next = [
        carried * slope[0],
        carried * (1.0 + slope[1]),
        carried * slope[2],
    ];
    let mut powers = vec![[[0.0, 1.0, 0.0], next, slope]];
    for bit in 1..usize::BITS - floats.len().leading_zeros() {
        powers.push(square(&powers[bit as usize - 1]));
    }
    let go_on = |mut state: State, steps: usize| {
        let mut bits = steps;
        for power in powers.iter().take_while(|_| steps > 0) {
            if bits & 1 == 1 {
                state = product(power, state);
            }
            bits >>= 1;
        }
        state
    };
    let one = |index: usize| Run {
        count: 1,
        adds: [0.0, level * floats[index], 0.0],
    };
    let merge = |a: Run, b: Run| {
        let before = go_on(a.adds, b.count);
        Run {
            count: a.count + b.count,
            adds: [0, 1, 2].map(|i| before[i] + b.adds[i]),
        }
    };
    // The first two samples make the first state.
    let first = |lo: usize| {
        let (a, b) = (floats[lo], floats[lo + 1]);
        [a, level * b + carried * (a + (b - a)), b - a]
    };
    let rest: Vec<Bounds> = bounds
        .iter()
        .map(|b| Bounds {
            lo: (b.lo + 2).min(b.hi),
            hi: b.hi,
        })
        .collect();
    each(bounds, |step, b| {
        if b.hi - b.lo == 2 {
            column.set(step, first(b.lo)[1]);
        }
    });
    slide(&rest, one, merge, |step, run| {
        let state = go_on(first(bounds[step].lo), run.count);
        column.set(step, state[1] + run.adds[1]);
    });
}
