//! Where the windows of all steps begin and end in the samples of one series.
//!
//! Windows depend on times only, so that series which were sampled together share them.

use std::sync::OnceLock;

use obs_model::Timestamp;

use super::rate::Extent;
use crate::column::Grid;
use crate::plan::Window;

/// Indices of the samples of one window; `lo == hi` where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The first sample.
    pub(super) lo: usize,
    /// Behind the last sample.
    pub(super) hi: usize,
}

/// The windows of all steps over one column of times.
#[derive(Debug)]
pub(super) struct Windows {
    /// The bounds of every step's window.
    pub(super) bounds: Vec<Bounds>,
    /// How far samples reach in each window, once something asks for it.
    extents: OnceLock<Vec<Extent>>,
}

impl Windows {
    /// The windows over some times.
    pub(super) fn new(times: &[Timestamp], window: &Window, grid: &Grid) -> Self {
        Self {
            bounds: bounds(times, window, grid),
            extents: OnceLock::new(),
        }
    }

    /// Whether some window has a sample.
    pub(super) fn any(&self) -> bool {
        self.bounds.iter().any(|b| b.lo < b.hi)
    }

    /// One window over so many samples.
    pub(super) fn whole(samples: usize) -> Self {
        let all = Bounds { lo: 0, hi: samples };
        Self {
            bounds: vec![all],
            extents: OnceLock::new(),
        }
    }

    /// How far samples reach in each window that has two or more.
    pub(super) fn extents(&self, times: &[Timestamp], window: &Window, grid: &Grid) -> &[Extent] {
        self.extents.get_or_init(|| {
            let steps = self.bounds.iter().enumerate();
            let of = |(step, b): (usize, &Bounds)| match b.hi - b.lo {
                0 | 1 => Extent::default(),
                _ => Extent::new(&times[b.lo..b.hi], window.end(grid.at(step)), window.length),
            };
            steps.map(of).collect()
        })
    }
}
/// The bounds of every step's window. Borders only move forward, so this is one walk.
pub(super) fn bounds(times: &[Timestamp], window: &Window, grid: &Grid) -> Vec<Bounds> {
    let mut out = Vec::with_capacity(grid.count);
    let first = window.end(grid.start);
    let mut lo = times.partition_point(|t| *t <= first.saturating_sub(window.length));
    let mut hi = lo + times[lo..].partition_point(|t| *t <= first);
    for step in 0..grid.count {
        let end = window.end(grid.at(step));
        let begin = end.saturating_sub(window.length);
        hi += times[hi..].iter().take_while(|t| **t <= end).count();
        lo += times[lo..hi].iter().take_while(|t| **t <= begin).count();
        out.push(Bounds { lo, hi });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Borders;

    #[test]
    fn windows_are_open_to_the_left() {
        let times: Vec<Timestamp> = (0..5).map(Timestamp::from_seconds).collect();
        let window = Window {
            length: 2_000_000_000,
            offset: 0,
            at: None,
            borders: Borders::Plain,
        };
        let grid = Grid {
            start: Timestamp::from_seconds(1),
            step: 3_000_000_000,
            count: 3,
        };
        let found: Vec<_> = bounds(&times, &window, &grid)
            .iter()
            .map(|b| (b.lo, b.hi))
            .collect();
        assert_eq!(found, [(0, 2), (3, 5), (5, 5)]);
    }
}
