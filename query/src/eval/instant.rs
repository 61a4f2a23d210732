//! Instant selectors: the last sample of each lookback window, unless it marks an end.

use std::sync::Arc;

use obs_model::Value;
use obs_model::sample::is_stale;

use super::Evaluator;
use super::labels::drop_names;
use super::series::bounds;
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::plan::{Borders, Instant, SelectedSeries};

impl Evaluator<'_> {
    pub(super) fn instant(
        &self,
        node: &Instant,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let out = self.instant_columns(node, grid)?;
        match node.timestamps {
            true => drop_names(out, self.delayed_names),
            false => Ok(out),
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
                Borders::Smoothed => super::extended::smoothed_instant(one, node, &own),
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
        if samples.histograms.is_empty() {
            let value = samples.floats[last];
            if !is_stale(value) {
                let seconds = || samples.times[last].seconds_f64();
                column.set(step, if node.timestamps { seconds() } else { value });
            }
            continue;
        }
        match samples.value(last) {
            value if value.is_stale() => {}
            _ if node.timestamps => column.set(step, samples.times[last].seconds_f64()),
            Value::Float(value) => column.set(step, value),
            Value::Histogram(found) => column.push(step, Value::Histogram(Arc::clone(&found))),
        }
    }
    column
}
