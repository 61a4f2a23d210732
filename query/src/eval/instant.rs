//! Instant selectors: the last sample of each lookback window, unless it marks an end.

use std::sync::Arc;

use obs_model::Value;
use obs_model::sample::is_stale;

use super::Evaluator;
use super::labels::drop_names;
use super::series::bounds;
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::plan::{Borders, Gives, Instant, SelectedSeries};

impl Evaluator<'_> {
    pub(super) fn instant(
        &self,
        node: &Instant,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let out = self.instant_columns(node, grid)?;
        match node.gives {
            Gives::Value => Ok(out),
            Gives::Time | Gives::Start => drop_names(out, self.delayed_names),
        }
    }

    /// The columns of an instant selector, with all labels.
    pub(super) fn instant_columns(
        &self,
        node: &Instant,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        // With `@`, all steps see the same: one is computed.
        let own = match node.window.at {
            Some(_) => Grid {
                count: grid.count.min(1),
                ..*grid
            },
            None => *grid,
        };
        let series = &self.selected[node.leaf];
        let mut out = self.each_series(series, grid, |one| {
            let column = match node.window.borders {
                Borders::Smoothed => super::extended::smoothed_instant(self, one, node, &own),
                Borders::Plain | Borders::Anchored => last_samples(one, node, &own),
            };
            Ok(column)
        })?;
        if node.window.at.is_some() {
            for one in &mut out {
                one.column = std::mem::take(&mut one.column).broadcast(grid.count);
            }
        }
        Ok(out)
    }

    /// Computes a column for every series, over the pool where it pays, in order; leaves out
    /// series without any value.
    pub(super) fn each_series(
        &self,
        series: &[SelectedSeries],
        grid: &Grid,
        compute: impl Fn(&SelectedSeries) -> Result<Column, QueryError> + Sync,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        use rayon::prelude::*;
        let one = |one: &SelectedSeries| -> Result<Option<SeriesColumn>, QueryError> {
            self.budget.check()?;
            self.reserve(grid, 1)?;
            let column = compute(one)?;
            Ok((!column.present.is_empty()).then(|| SeriesColumn {
                labels: one.labels.clone(),
                drop_name: false,
                column,
            }))
        };
        // Below this many samples and steps, handing work to other threads costs more than it gives.
        const PARALLEL_MIN: usize = 20_000;
        let samples: usize = series.iter().map(|s| s.samples.len()).sum();
        let work = samples.saturating_add(series.len().saturating_mul(grid.count));
        let columns: Result<Vec<_>, QueryError> = if work < PARALLEL_MIN {
            series.iter().map(one).collect()
        } else {
            self.pool.install(|| series.par_iter().map(one).collect())
        };
        Ok(columns?.into_iter().flatten().collect())
    }
}

fn last_samples(one: &SelectedSeries, node: &Instant, grid: &Grid) -> Column {
    let samples = &one.samples;
    let mut column = Column::new(grid.count);
    let bounds = bounds(&samples.times, &node.window, grid);
    for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
        let last = b.hi - 1;
        let time = match node.gives {
            Gives::Value => None,
            Gives::Time => Some(samples.times[last].seconds_f64()),
            Gives::Start => Some(samples.start(last) as f64 / 1000.0),
        };
        if samples.histograms.is_empty() {
            let value = samples.floats[last];
            if !is_stale(value) {
                column.set(step, time.unwrap_or(value));
            }
            continue;
        }
        match (samples.value(last), time) {
            (value, _) if value.is_stale() => {}
            (_, Some(time)) => column.set(step, time),
            (Value::Float(value), None) => column.set(step, value),
            (Value::Histogram(found), None) => {
                column.push(step, Value::Histogram(Arc::clone(&found)));
            }
        }
    }
    column
}
