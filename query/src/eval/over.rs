//! Functions over windows of samples, series by series.

use std::collections::HashSet;

use obs_model::sample::is_stale;
use obs_model::{Budget, Labels, Samples, Value};

use obs_tsdb::{Need, Summary};

use super::labels::drop_names;
use super::series::Windows;
use super::source::{LeafSeries, Scratch, View, found_resets};
use super::{Evaluator, misplaced, notes, ranks, rate, sliding, subquery_grid, summarised, trend};
use crate::column::{Bitmap, Column, Evaluated, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::functions::RangeFunction;
use crate::plan::{Borders, Input, Over, SelectedSeries};

impl Evaluator<'_> {
    pub(super) fn over(&self, over: &Over, grid: &Grid) -> Result<Vec<SeriesColumn>, QueryError> {
        if let Input::Leaf(leaf) = over.input {
            let out = self.over_leaf(over, self.leaves[leaf], grid)?;
            return match over.function.keeps_name() {
                true => Ok(out),
                false => drop_names(out, self.delayed_names),
            };
        }
        let (series, dropped) = self.subquery(over, grid)?;
        let mut out = self.over_leaf(over, LeafSeries::Ready(&series), grid)?;
        for one in &mut out {
            one.drop_name = dropped.contains(&one.labels);
        }
        match over.function.keeps_name() {
            true => Ok(out),
            false => drop_names(out, self.delayed_names),
        }
    }

    /// The function over some series, with all labels.
    fn over_leaf(
        &self,
        over: &Over,
        series: LeafSeries<'_>,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let parameters = self.parameters(over, grid)?;
        if over.function == RangeFunction::Absent {
            return self.absent_over(over, series, grid);
        }
        self.columns((series, self.need(over, grid)), grid, |view, scratch| {
            self.over_series(over, view, &parameters, grid, scratch)
        })
    }

    /// The scalar arguments, checked.
    pub(super) fn parameters(&self, over: &Over, grid: &Grid) -> Result<Vec<Vec<f64>>, QueryError> {
        let mut parameters = Vec::with_capacity(over.parameters.len());
        for parameter in &over.parameters {
            parameters.push(self.scalar(parameter, grid)?);
        }
        self.check_parameters(over, &parameters)?;
        Ok(parameters)
    }

    /// The samples of a subquery, and the series whose names leave at the end.
    pub(super) fn subquery(
        &self,
        over: &Over,
        grid: &Grid,
    ) -> Result<(Vec<SelectedSeries>, HashSet<Labels>), QueryError> {
        let Input::Subquery { node, step } = &over.input else {
            return Err(misplaced("a subquery"));
        };
        let inner = subquery_grid(&over.window, *step, grid);
        let Evaluated::Vector(columns) = self.node(node, &inner)? else {
            return Err(misplaced("an instant vector"));
        };
        let mut dropped = HashSet::new();
        let mut series = Vec::with_capacity(columns.len());
        for one in columns {
            let count = one.column.present.count();
            self.budget.samples(count as u64)?;
            self.budget.bytes(16 * count as u64)?;
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
        Ok((series, dropped))
    }

    fn check_parameters(&self, over: &Over, parameters: &[Vec<f64>]) -> Result<(), QueryError> {
        if let (RangeFunction::Smoothing, [level, trend]) = (over.function, parameters) {
            for (what, values) in [("smoothing", level), ("trend", trend)] {
                let short = if what == "smoothing" { "sf" } else { "tf" };
                if let Some(bad) = values.iter().find(|v| !(**v > 0.0 && **v < 1.0)) {
                    return Err(QueryError::Execution(format!(
                        "invalid {what} factor. Expected: 0 < {short} < 1, got: {bad:.6}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn absent_over(
        &self,
        over: &Over,
        series: LeafSeries<'_>,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        self.reserve(grid, 1)?;
        let mut present = Bitmap::new(grid.count);
        let compute = |view: &View<'_>, scratch: &mut Scratch| {
            let mut present = Bitmap::new(grid.count);
            with_windows(view, over, grid, scratch, |_, windows| {
                self.counts.windows(grid, &windows.bounds);
                let filled = windows.bounds.iter().enumerate();
                for (step, _) in filled.filter(|(_, b)| b.lo < b.hi) {
                    present.set(step);
                }
            });
            Ok(Some(present))
        };
        self.for_series(
            (series, self.need(over, grid)),
            grid,
            &compute,
            &mut |_, found| {
                present.or(&found);
                Ok(())
            },
        )?;
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

    /// The function over one series.
    pub(super) fn over_series(
        &self,
        over: &Over,
        view: &View<'_>,
        parameters: &[Vec<f64>],
        grid: &Grid,
        scratch: &mut Scratch,
    ) -> Column {
        let found = over.finds_resets.then(|| found_resets(view)).flatten();
        let view = &match &found {
            Some(histograms) => View {
                histograms,
                ..*view
            },
            None => *view,
        };
        if over.window.borders != Borders::Plain {
            let samples = without_stale(view).unwrap_or_else(|| view.samples());
            if self.counts.are_wanted() {
                let bounds = super::series::bounds(&samples.times, &over.window, grid);
                self.counts.windows(grid, &bounds);
            }
            let column = super::extended::over(self, over, view.labels, &samples, grid);
            self.check_counter(over, view.labels, &column);
            return column;
        }
        with_windows(view, over, grid, scratch, |view, windows| {
            let (labels, bounds) = (view.labels, &windows.bounds);
            self.counts.windows(grid, bounds);
            let column = if !view.starts.is_empty() && super::starts::applies(over.function) {
                super::starts::over(self, over, labels, &view.samples(), bounds, grid)
            } else if !view.histograms.is_empty() {
                let samples = view.samples();
                super::histogram::over(self, over, labels, &samples, bounds, parameters, grid)
            } else if !view.summaries.is_empty() && summarised::applies(over.function) {
                summarised::over(over, view, bounds, grid)
            } else {
                floats(self.budget, over, view, windows, parameters, grid)
            };
            self.check_counter(over, labels, &column);
            if let (RangeFunction::Quantile, [q]) = (over.function, parameters) {
                let told = column.present.iter().map(|step| q[step]);
                for q in told.filter(|q| !(0.0..=1.0).contains(q)) {
                    self.warn(notes::bad_quantile(q, over.parameter_place));
                }
            }
            column
        })
    }

    /// What a function reads of samples.
    pub(super) fn need(&self, over: &Over, grid: &Grid) -> Need {
        // Starts are of single samples.
        let summarised = !self.plan.start_timestamps && summarised::may_help(over);
        match summarised {
            true => summarised::need(over, grid),
            false if summarised::is_presence(over.function) => Need::Presence,
            false => Need::Values,
        }
    }

    /// Tells where a rate of floats is not one of a counter, as far as names or labels say so.
    fn check_counter(&self, over: &Over, labels: &Labels, column: &Column) {
        let rates = matches!(over.function, RangeFunction::Rate | RangeFunction::Increase);
        let floats = || column.present.count() > column.histograms.len();
        if rates
            && floats()
            && let Some(note) =
                notes::not_a_counter(labels, self.plan.type_and_unit_labels, over.place)
        {
            self.info(note);
        }
    }
}

/// Calls with a series without stale markers and its windows.
fn with_windows<T>(
    view: &View<'_>,
    over: &Over,
    grid: &Grid,
    scratch: &mut Scratch,
    call: impl FnOnce(&View<'_>, &Windows) -> T,
) -> T {
    match without_stale(view) {
        Some(samples) => {
            let summaries = kept_summaries(view, &samples);
            let view = View {
                summaries: &summaries,
                ..View::new(view.labels, &samples)
            };
            call(&view, &Windows::new(view.times, &over.window, grid))
        }
        None => call(view, &scratch.windows(view, &over.window, grid)),
    }
}

/// The summaries of a series for its samples without markers.
fn kept_summaries(view: &View<'_>, kept: &Samples) -> Vec<(u32, Summary)> {
    let all = view.summaries.iter();
    all.filter_map(|(index, summary)| {
        let time = view.times[*index as usize];
        let index = kept.times.binary_search(&time).ok()?;
        Some((index as u32, *summary))
    })
    .collect()
}

/// Samples without the markers of ended series, which no window sees; `None` where there are none.
pub(super) fn without_stale(view: &View<'_>) -> Option<Samples> {
    if view.plain {
        return None;
    }
    // To look at all floats is faster than to stop at the first marker.
    let floats = view.floats.iter();
    let stale = floats.fold(false, |stale, v| stale | is_stale(*v))
        || view.histograms.iter().any(|(_, h)| h.is_stale());
    if !stale {
        return None;
    }
    let mut kept = Samples::default();
    for (index, time) in view.times.iter().enumerate() {
        match view.value(index) {
            value if value.is_stale() => {}
            // Times of logs may repeat, and logs know no starts.
            Value::Float(float) if view.starts.is_empty() => {
                kept.times.push(*time);
                kept.floats.push(float);
            }
            value => kept.push_started(*time, value, view.starts.get(index).copied().unwrap_or(0)),
        }
    }
    Some(kept)
}

/// A function over windows of floats.
pub(super) fn floats(
    budget: &Budget,
    over: &Over,
    view: &View<'_>,
    windows: &Windows,
    parameters: &[Vec<f64>],
    grid: &Grid,
) -> Column {
    use RangeFunction as F;
    let (times, floats, bounds) = (view.times, view.floats, &windows.bounds[..]);
    let mut column = Column::new(grid.count);
    let out = &mut column;
    let seconds = over.window.length as f64 / 1e9;
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
            let extents = windows.extents(times, &over.window, grid);
            rate::extrapolated(over.function, floats, bounds, extents, out);
        }
        F::Irate => rate::instant(true, (times, floats), bounds, out),
        F::Idelta => rate::instant(false, (times, floats), bounds, out),
        F::Deriv => {
            let put = |step, slope, _| out.set(step, slope);
            trend::regressions((times, floats), bounds, |_, lo| times[lo], put);
        }
        F::PredictLinear => {
            let put = |step, slope, value| out.set(step, slope * parameters[0][step] + value);
            trend::regressions((times, floats), bounds, |step, _| grid.at(step), put);
        }
        F::Resets => rate::counted(floats, bounds, |before, value| value < before, out),
        F::Changes => {
            let changed = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
            rate::counted(floats, bounds, changed, out);
        }
        F::Avg | F::Min | F::Max | F::Sum | F::PerSecond | F::Stddev | F::Stdvar => {
            sliding::aggregate(over.function, floats, bounds, seconds, out);
        }
        F::Count => each(out, 1, &|_, lo, hi| (hi - lo) as f64),
        F::Quantile => ranks::quantiles(floats, bounds, &parameters[0], out),
        F::Last => each(out, 1, &|_, _, hi| floats[hi - 1]),
        F::First => each(out, 1, &|_, lo, _| floats[lo]),
        F::Present | F::Absent => each(out, 1, &|_, _, _| 1.0),
        F::Mad => ranks::median_deviations(floats, bounds, out),
        F::TimeOfFirst => each(out, 1, &|_, lo, _| times[lo].seconds_f64()),
        F::TimeOfLast => each(out, 1, &|_, _, hi| times[hi - 1].seconds_f64()),
        F::TimeOfMin => sliding::extremes(
            floats,
            bounds,
            |v, best| v <= best,
            |step, i| {
                out.set(step, times[i].seconds_f64());
            },
        ),
        F::TimeOfMax => sliding::extremes(
            floats,
            bounds,
            |v, best| v >= best,
            |step, i| {
                out.set(step, times[i].seconds_f64());
            },
        ),
        F::Smoothing => {
            let factors = (&parameters[0][..], &parameters[1][..]);
            trend::smoothings(floats, bounds, factors, budget, out);
        }
    }
    column
}
