//! Instant selectors: the last sample of each lookback window, unless it marks an end.

use obs_model::Timestamp;
use obs_model::sample::is_stale;

use obs_tsdb::Need;

use super::Evaluator;
use super::labels::drop_names;
use super::source::{Scratch, View, found_resets};
use crate::column::{Bitmap, Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::plan::{Borders, Gives, Instant, Window};

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
        let mut out = self.columns(
            (self.leaves[node.leaf], need(node)),
            grid,
            |view, scratch| self.instant_series(node, view, &own, scratch),
        )?;
        if node.window.at.is_some() {
            for one in &mut out {
                one.column = std::mem::take(&mut one.column).broadcast(grid.count);
            }
        }
        Ok(out)
    }

    /// The last samples of one series.
    pub(super) fn instant_series(
        &self,
        node: &Instant,
        view: &View<'_>,
        grid: &Grid,
        scratch: &mut Scratch,
    ) -> Column {
        let column = self.last_of(node, view, grid, scratch);
        if self.counts.are_wanted() {
            match node.window.at {
                None => self.counts.present(grid, &column.present),
                // Told to all steps.
                Some(_) if column.present.get(0) => {
                    let all = Bitmap::full(self.plan.grid.count.max(1));
                    self.counts.present(&self.plan.grid, &all);
                }
                Some(_) => {}
            }
        }
        column
    }

    fn last_of(
        &self,
        node: &Instant,
        view: &View<'_>,
        grid: &Grid,
        scratch: &mut Scratch,
    ) -> Column {
        let found = node.finds_resets.then(|| found_resets(view)).flatten();
        let view = &match &found {
            Some(histograms) => View {
                histograms,
                ..*view
            },
            None => *view,
        };
        match node.window.borders {
            Borders::Smoothed => super::extended::smoothed_instant(self, view, node, grid),
            Borders::Plain | Borders::Anchored => last_samples(view, node, grid, scratch),
        }
    }
}

/// What an instant selector reads of samples.
pub(super) fn need(node: &Instant) -> Need {
    match (node.gives, node.window.borders) {
        (Gives::Time, Borders::Plain | Borders::Anchored) => Need::Presence,
        _ => Need::Values,
    }
}

fn last_samples(view: &View<'_>, node: &Instant, grid: &Grid, scratch: &mut Scratch) -> Column {
    let mut column = Column::new(grid.count);
    // A coarse sample is found from as much farther as it is coarse.
    let farther = view.rough.map_or(0, |(_, nanos)| nanos);
    let window = Window {
        length: node.window.length.saturating_add(farther),
        ..node.window
    };
    let windows = scratch.windows(view, &window, grid);
    let filled = windows.bounds.iter().enumerate();
    for (step, b) in filled.filter(|(_, b)| b.lo < b.hi) {
        let last = b.hi - 1;
        let begin = window.end(grid.at(step)).saturating_sub(node.window.length);
        let coarse = |(until, _): (Timestamp, i64)| view.times[last] <= until;
        if view.times[last] <= begin && !view.rough.is_some_and(coarse) {
            continue;
        }
        let time = match node.gives {
            Gives::Value => None,
            Gives::Time => Some(view.times[last].seconds_f64()),
            Gives::Start => {
                let start = view.starts.get(last).copied().unwrap_or(0);
                Some(start as f64 / 1000.0)
            }
        };
        if view.histograms.is_empty() {
            let value = view.floats[last];
            if !is_stale(value) {
                column.set(step, time.unwrap_or(value));
            }
            continue;
        }
        match (view.value(last), time) {
            (value, _) if value.is_stale() => {}
            (_, Some(time)) => column.set(step, time),
            (value, None) => column.push(step, value),
        }
    }
    column
}
