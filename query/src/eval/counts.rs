//! How many samples each step looks at, as Prometheus counts them for `stats=all`.
//!
//! A sample counts at each step whose window holds it; what a subquery looks at counts once, at
//! the last step. Nothing is counted where nobody asks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::series::Bounds;
use crate::column::{Bitmap, Grid};
use crate::plan::MetricPlan;

/// Samples by step of a plan's grid.
#[derive(Debug, Default)]
pub(super) struct Counts(Option<(Grid, Vec<AtomicU64>)>);

impl Counts {
    /// Zeros, where the plan asks for them.
    pub(super) fn of(plan: &MetricPlan) -> Self {
        let steps = || plan.grid.count.max(1);
        let zeros = || (0..steps()).map(|_| AtomicU64::new(0)).collect();
        Self(plan.count_samples.then(|| (plan.grid, zeros())))
    }

    /// Whether anybody asks.
    pub(super) fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    fn add(&self, grid: &Grid, by_step: impl Iterator<Item = (usize, u64)>) {
        let Some((own, counts)) = &self.0 else {
            return;
        };
        let last = counts.len() - 1;
        for (step, count) in by_step {
            let at = if own == grid { step } else { last };
            counts[at].fetch_add(count, Ordering::Relaxed);
        }
    }

    /// One sample at each step.
    pub(super) fn present(&self, grid: &Grid, steps: &Bitmap) {
        self.add(grid, steps.iter().map(|step| (step, 1)));
    }

    /// The samples in the window of each step.
    pub(super) fn windows(&self, grid: &Grid, bounds: &[Bounds]) {
        let all = bounds.iter().enumerate();
        self.add(grid, all.map(|(step, b)| (step, (b.hi - b.lo) as u64)));
    }

    /// The counts.
    pub(super) fn finish(self) -> Option<Vec<u64>> {
        let (_, counts) = self.0?;
        Some(counts.into_iter().map(AtomicU64::into_inner).collect())
    }
}
