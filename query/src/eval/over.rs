//! Functions over windows of samples, series by series.

use std::borrow::Cow;
use std::collections::HashSet;

use obs_model::sample::is_stale;
use obs_model::{Labels, Samples, Value};

use super::labels::drop_names;
use super::series::{Bounds, bounds};
use super::{Evaluator, misplaced, notes, rate, sliding, subquery_grid};
use crate::column::{Bitmap, Column, Evaluated, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::functions::RangeFunction;
use crate::plan::{Borders, Input, Over, SelectedSeries};

impl Evaluator<'_> {
    pub(super) fn over(&self, over: &Over, grid: &Grid) -> Result<Vec<SeriesColumn>, QueryError> {
        let (series, dropped) = self.samples(over, grid)?;
        let mut parameters = Vec::with_capacity(over.parameters.len());
        for parameter in &over.parameters {
            parameters.push(self.scalar(parameter, grid)?);
        }
        self.check_parameters(over, &parameters)?;
        if over.function == RangeFunction::Absent {
            return self.absent_over(over, &series, grid);
        }
        let mut out = self.each_series(&series, grid, |one| {
            Ok(self.over_series(over, one, &parameters, grid))
        })?;
        for one in &mut out {
            one.drop_name = dropped.contains(&one.labels);
        }
        match over.function.keeps_name() {
            true => Ok(out),
            false => drop_names(out, self.delayed_names),
        }
    }

    /// The samples that windows are cut from, and the series whose names leave at the end.
    pub(super) fn samples(
        &self,
        over: &Over,
        grid: &Grid,
    ) -> Result<(Cow<'_, [SelectedSeries]>, HashSet<Labels>), QueryError> {
        let (node, step) = match &over.input {
            Input::Leaf(leaf) => {
                return Ok((Cow::Borrowed(&self.selected[*leaf][..]), HashSet::new()));
            }
            Input::Subquery { node, step } => (node, *step),
        };
        let inner = subquery_grid(&over.window, step, grid);
        let Evaluated::Vector(columns) = self.node(node, &inner)? else {
            return Err(misplaced("an instant vector"));
        };
        let mut dropped = HashSet::new();
        let mut series = Vec::with_capacity(columns.len());
        for one in columns {
            let count = one.column.present.count();
            self.budget.samples(count as u64)?;
            let mut samples = Samples::default();
            for step in one.column.present.iter() {
                if let Some(value) = one.column.get(step) {
                    samples.push(inner.at(step), super::histogram::unhinted(value));
                }
            }
            if one.drop_name {
                dropped.insert(one.labels.clone());
            }
            series.push(SelectedSeries {
                labels: one.labels,
                samples,
            });
        }
        Ok((Cow::Owned(series), dropped))
    }

    fn check_parameters(&self, over: &Over, parameters: &[Vec<f64>]) -> Result<(), QueryError> {
        match (over.function, parameters) {
            (RangeFunction::Quantile, [q]) => {
                for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                    self.warn(notes::bad_quantile(*q, over.parameter_place));
                }
            }
            (RangeFunction::Smoothing, [level, trend]) => {
                for (what, values) in [("smoothing", level), ("trend", trend)] {
                    let short = if what == "smoothing" { "sf" } else { "tf" };
                    if let Some(bad) = values.iter().find(|v| !(**v > 0.0 && **v < 1.0)) {
                        return Err(QueryError::Execution(format!(
                            "invalid {what} factor. Expected: 0 < {short} < 1, got: {bad:.6}"
                        )));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn absent_over(
        &self,
        over: &Over,
        series: &[SelectedSeries],
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        self.reserve(grid, 1)?;
        let mut present = Bitmap::new(grid.count);
        for one in series {
            self.budget.check()?;
            let samples = without_stale(&one.samples);
            for (step, b) in bounds(&samples.times, &over.window, grid)
                .iter()
                .enumerate()
            {
                if b.lo < b.hi {
                    present.set(step);
                }
            }
        }
        let mut column = Column::full(vec![1.0; grid.count]);
        column.present.and_not(&present);
        let labels = over.labels.clone();
        let out = SeriesColumn {
            labels,
            drop_name: false,
            column,
        };
        Ok(if out.column.present.is_empty() {
            Vec::new()
        } else {
            vec![out]
        })
    }

    fn over_series(
        &self,
        over: &Over,
        one: &SelectedSeries,
        parameters: &[Vec<f64>],
        grid: &Grid,
    ) -> Column {
        let samples = without_stale(&one.samples);
        let function = over.function;
        if over.window.borders != Borders::Plain {
            return super::extended::over(self, over, &one.labels, &samples, grid);
        }
        let bounds = bounds(&samples.times, &over.window, grid);
        if !samples.starts.is_empty() && super::starts::applies(function) {
            let column = super::starts::over(self, over, &one.labels, &samples, &bounds, grid);
            self.check_counter(over, &one.labels, &column);
            return column;
        }
        if !samples.histograms.is_empty() {
            let labels = &one.labels;
            let column = super::histogram::over(
                self, over, labels, &samples, &bounds, parameters, grid,
            );
            self.check_counter(over, labels, &column);
            return column;
        }
        let column = floats(over, &samples, &bounds, parameters, grid);
        self.check_counter(over, &one.labels, &column);
        column
    }

    /// Tells where a rate of floats is not one of a counter, as far as names or labels say so.
    fn check_counter(&self, over: &Over, labels: &Labels, column: &Column) {
        let rates = matches!(
            over.function,
            RangeFunction::Rate | RangeFunction::Increase
        );
        let floats = column.present.count() > column.histograms.len();
        if rates && floats
            && let Some(note) = notes::not_a_counter(labels, self.type_labels, over.place)
        {
            self.info(note);
        }
    }
}

/// Samples without the markers of ended series, which no window sees.
pub(super) fn without_stale(samples: &Samples) -> Cow<'_, Samples> {
    let stale = samples.floats.iter().any(|v| is_stale(*v))
        || samples.histograms.iter().any(|(_, h)| h.is_stale());
    if !stale {
        return Cow::Borrowed(samples);
    }
    let mut kept = Samples::default();
    for (index, (time, value)) in samples.iter().enumerate() {
        match value {
            value if value.is_stale() => {}
            // Times of logs may repeat, and logs know no starts.
            Value::Float(float) if samples.starts.is_empty() => {
                kept.times.push(time);
                kept.floats.push(float);
            }
            value => kept.push_started(time, value, samples.start(index)),
        }
    }
    Cow::Owned(kept)
}

/// A function over windows of floats.
pub(super) fn floats(
    over: &Over,
    samples: &Samples,
    bounds: &[Bounds],
    parameters: &[Vec<f64>],
    grid: &Grid,
) -> Column {
    use RangeFunction as F;
    let (times, floats) = (&samples.times[..], &samples.floats[..]);
    let mut column = Column::new(grid.count);
    let out = &mut column;
    let seconds = over.window.length as f64 / 1e9;
    let parameter = |index: usize, step: usize| parameters[index][step];
    // One value per window that has at least `least` samples.
    let each = |out: &mut Column, least: usize, value: &dyn Fn(usize, usize, usize) -> f64| {
        for (step, b) in bounds
            .iter()
            .enumerate()
            .filter(|(_, b)| b.hi - b.lo >= least)
        {
            out.set(step, value(step, b.lo, b.hi));
        }
    };
    match over.function {
        F::Rate | F::Increase | F::Delta => {
            let place = (&over.window, grid);
            rate::extrapolated(over.function, (times, floats), bounds, place, out);
        }
        F::Irate => rate::instant(true, (times, floats), bounds, out),
        F::Idelta => rate::instant(false, (times, floats), bounds, out),
        F::Deriv => each(out, 2, &|_, lo, hi| {
            rate::regression(&times[lo..hi], &floats[lo..hi], times[lo]).0
        }),
        F::PredictLinear => each(out, 2, &|step, lo, hi| {
            let at = grid.at(step);
            let (slope, value) = rate::regression(&times[lo..hi], &floats[lo..hi], at);
            slope * parameter(0, step) + value
        }),
        F::Resets => rate::counted(floats, bounds, |before, value| value < before, out),
        F::Changes => {
            let changed = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
            rate::counted(floats, bounds, changed, out);
        }
        F::Avg | F::Min | F::Max | F::Sum | F::PerSecond | F::Stddev | F::Stdvar => {
            sliding::aggregate(over.function, floats, bounds, seconds, out);
        }
        F::Count => each(out, 1, &|_, lo, hi| (hi - lo) as f64),
        F::Quantile => sliding::quantiles(floats, bounds, &parameters[0], out),
        F::Last => each(out, 1, &|_, _, hi| floats[hi - 1]),
        F::First => each(out, 1, &|_, lo, _| floats[lo]),
        F::Present | F::Absent => each(out, 1, &|_, _, _| 1.0),
        F::Mad => each(out, 1, &|_, lo, hi| {
            sliding::median_deviation(&floats[lo..hi])
        }),
        F::TimeOfFirst => each(out, 1, &|_, lo, _| times[lo].seconds_f64()),
        F::TimeOfLast => each(out, 1, &|_, _, hi| times[hi - 1].seconds_f64()),
        F::TimeOfMin => each(out, 1, &|_, lo, hi| {
            times[lo + extreme(&floats[lo..hi], |v, best| v <= best)].seconds_f64()
        }),
        F::TimeOfMax => each(out, 1, &|_, lo, hi| {
            times[lo + extreme(&floats[lo..hi], |v, best| v >= best)].seconds_f64()
        }),
        F::Smoothing => each(out, 2, &|step, lo, hi| {
            rate::smoothing(&floats[lo..hi], parameter(0, step), parameter(1, step))
        }),
    }
    column
}

/// Index of the last value that is at least as extreme as those before; NaN gives way.
fn extreme(values: &[f64], better: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if better(*value, values[best]) || values[best].is_nan() {
            best = index;
        }
    }
    best
}
