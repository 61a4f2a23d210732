//! Where series come from while they are computed: from memory, or from a store, chunk by chunk.
//!
//! Invariant: what is computed is taken over in the order of series, by one thread at a time, so
//! that results do not depend on the pool; at most two batches of chunks are held at once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use obs_model::histogram::ResetHint;
use obs_model::{Histogram, Labels, Samples, Timestamp, Value};
use obs_tsdb::{Need, Selection, Summary, TimesTable};
use rayon::prelude::*;

use super::Evaluator;
use super::series::Windows;
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::plan::{SelectedSeries, Window};

/// Series of one chunk, where columns are short.
const CHUNK_SERIES: usize = 256;
/// Bytes of the columns of one chunk; a batch has two chunks per thread.
const CHUNK_BYTES: usize = 4 << 20;
/// Below this many samples and steps, handing work to other threads costs more than it gives.
const PARALLEL_MIN: usize = 20_000;
/// Windows of different time columns that one thread remembers.
const WINDOWS_MAX: usize = 4096;

/// The series of a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeafSeries<'a> {
    /// In memory.
    Ready(&'a [SelectedSeries]),
    /// Found in a store, not read yet.
    Stored(&'a Selection<'a>),
}

/// The samples of one series.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) labels: &'a Labels,
    pub(super) times: &'a [Timestamp],
    pub(super) floats: &'a [f64],
    pub(super) histograms: &'a [(u32, Arc<Histogram>)],
    /// When counters started, as in [`Samples`].
    pub(super) starts: &'a [i64],
    /// What stands for more than one sample, by index.
    pub(super) summaries: &'a [(u32, Summary)],
    /// Samples until this time are so many nanoseconds apart where they were closer.
    pub(super) rough: Option<(Timestamp, i64)>,
    /// Surely no value ends the series.
    pub(super) plain: bool,
    /// The allocation of the times, where other series have it too.
    pub(super) shared: Option<&'a Arc<Vec<Timestamp>>>,
}

impl<'a> View<'a> {
    pub(super) fn new(labels: &'a Labels, samples: &'a Samples) -> Self {
        Self {
            labels,
            times: &samples.times,
            floats: &samples.floats,
            histograms: &samples.histograms,
            starts: &samples.starts,
            summaries: &[],
            rough: None,
            plain: false,
            shared: None,
        }
    }

    /// The value at an index.
    pub(super) fn value(&self, index: usize) -> Value {
        let found = self
            .histograms
            .binary_search_by_key(&index, |(i, _)| *i as usize);
        match found {
            Ok(at) => Value::Histogram(Arc::clone(&self.histograms[at].1)),
            Err(_) => Value::Float(self.floats[index]),
        }
    }

    /// A copy.
    pub(super) fn samples(&self) -> Samples {
        Samples {
            times: self.times.to_vec(),
            floats: self.floats.to_vec(),
            histograms: self.histograms.to_vec(),
            starts: self.starts.to_vec(),
        }
    }
}

/// The histograms of a series with hints of resets where nothing was known; `None` where there are
/// no histograms.
pub(super) fn found_resets(view: &View<'_>) -> Option<Vec<(u32, Arc<Histogram>)>> {
    let mut before: Option<Arc<Histogram>> = None;
    let mut found = Vec::with_capacity(view.histograms.len());
    for (index, histogram) in view.histograms {
        let mut now = Arc::clone(histogram);
        if let (Some(before), ResetHint::Unknown, false) = (&before, now.reset_hint, now.is_stale())
        {
            let reset_hint = match super::was_reset(before, &now) {
                true => ResetHint::Reset,
                false => ResetHint::NotReset,
            };
            now = Arc::new(Histogram {
                reset_hint,
                ..histogram.as_ref().clone()
            });
        }
        if !now.is_stale() {
            before = Some(Arc::clone(&now));
        }
        found.push((*index, now));
    }
    (!found.is_empty()).then_some(found)
}

/// What one thread keeps from series to series.
#[derive(Default)]
pub(super) struct Scratch {
    times: TimesTable,
    /// By the address of the times, which are kept alive.
    windows: HashMap<usize, (Arc<Vec<Timestamp>>, Arc<Windows>)>,
}

impl Scratch {
    /// The windows of a series; series with the same times share them.
    pub(super) fn windows(
        &mut self,
        view: &View<'_>,
        window: &Window,
        grid: &Grid,
    ) -> Arc<Windows> {
        let Some(shared) = view.shared else {
            return Arc::new(Windows::new(view.times, window, grid));
        };
        if self.windows.len() > WINDOWS_MAX {
            self.windows.clear();
        }
        let address = Arc::as_ptr(shared) as usize;
        let (_, windows) = self.windows.entry(address).or_insert_with(|| {
            let windows = Windows::new(view.times, window, grid);
            (Arc::clone(shared), Arc::new(windows))
        });
        Arc::clone(windows)
    }
}

/// Computes something of a series; `None` leaves the series out.
type Compute<'a, T> = dyn Fn(&View<'_>, &mut Scratch) -> Result<Option<T>, QueryError> + Sync + 'a;
/// Takes over what was computed, in the order of series.
type Consume<'a, T> = dyn FnMut(&Labels, T) -> Result<(), QueryError> + Send + 'a;

impl<'a> LeafSeries<'a> {
    /// Number of series.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ready(series) => series.len(),
            Self::Stored(selection) => selection.len(),
        }
    }

    fn labels(&self, index: usize) -> &'a Labels {
        match self {
            Self::Ready(series) => &series[index].labels,
            Self::Stored(selection) => selection.labels(index),
        }
    }

    /// Ranges of series that are computed together.
    fn chunks(&self, grid: &Grid) -> Vec<Range<usize>> {
        let most = (CHUNK_BYTES / (grid.count.max(1) * 9)).clamp(1, CHUNK_SERIES);
        match self {
            Self::Ready(series) => {
                let samples: usize = series.iter().map(|s| s.samples.len()).sum();
                let work = samples.saturating_add(series.len().saturating_mul(grid.count));
                if work < PARALLEL_MIN {
                    return std::iter::once(0..series.len()).collect();
                }
                let starts = (0..series.len()).step_by(most);
                starts.map(|s| s..(s + most).min(series.len())).collect()
            }
            Self::Stored(selection) => selection.chunks(most),
        }
    }
}

impl Evaluator<'_> {
    /// Computes something of every series, over the pool where there is more than a chunk.
    pub(super) fn for_series<T: Send>(
        &self,
        (series, need): (LeafSeries<'_>, Need),
        grid: &Grid,
        compute: &Compute<'_, T>,
        consume: &mut Consume<'_, T>,
    ) -> Result<(), QueryError> {
        let chunks = series.chunks(grid);
        let idle: Mutex<Vec<Scratch>> = Mutex::default();
        let run = |chunk: &Range<usize>| -> Result<Vec<(usize, T)>, QueryError> {
            self.budget.check()?;
            let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let mut scratch = lock().pop().unwrap_or_default();
            let out = self.chunk((series, need), chunk.clone(), &mut scratch, compute)?;
            lock().push(scratch);
            Ok(out)
        };
        let mut take = |chunk: Vec<(usize, T)>| -> Result<(), QueryError> {
            self.budget.check()?;
            let mut all = chunk.into_iter();
            all.try_for_each(|(index, one)| consume(series.labels(index), one))
        };
        if let [] | [_] = &chunks[..] {
            return chunks.iter().try_for_each(|chunk| take(run(chunk)?));
        }
        self.pool.install(|| {
            let mut ready: Vec<Vec<(usize, T)>> = Vec::new();
            for batch in chunks.chunks(2 * self.pool.current_num_threads()) {
                let before = std::mem::take(&mut ready);
                let (next, taken) = rayon::join(
                    || batch.par_iter().map(run).collect::<Result<Vec<_>, _>>(),
                    || before.into_iter().try_for_each(&mut take),
                );
                taken?;
                ready = next?;
            }
            ready.into_iter().try_for_each(&mut take)
        })
    }

    /// Computes the series of one chunk.
    fn chunk<T>(
        &self,
        (series, need): (LeafSeries<'_>, Need),
        chunk: Range<usize>,
        scratch: &mut Scratch,
        compute: &Compute<'_, T>,
    ) -> Result<Vec<(usize, T)>, QueryError> {
        let mut out = Vec::with_capacity(chunk.len());
        match series {
            LeafSeries::Ready(series) => {
                for index in chunk {
                    self.budget.check()?;
                    let one = &series[index];
                    let mut view = View::new(&one.labels, &one.samples);
                    if !self.plan.start_timestamps {
                        view.starts = &[];
                    }
                    out.extend(compute(&view, scratch)?.map(|one| (index, one)));
                }
            }
            LeafSeries::Stored(selection) => {
                let mut times = std::mem::take(&mut scratch.times);
                selection.read(chunk, need, &mut times, self.budget, |one| {
                    let view = View {
                        labels: selection.labels(one.index),
                        times: one.times,
                        floats: one.floats,
                        histograms: one.histograms,
                        starts: if self.plan.start_timestamps {
                            one.starts
                        } else {
                            &[]
                        },
                        summaries: one.summaries,
                        rough: one.rough,
                        plain: one.plain,
                        shared: Some(one.times),
                    };
                    let computed = compute(&view, scratch)?;
                    out.extend(computed.map(|found| (one.index, found)));
                    Ok::<(), QueryError>(())
                })?;
                scratch.times = times;
            }
        }
        Ok(out)
    }

    /// The column of every series that has any value.
    pub(super) fn columns(
        &self,
        series: (LeafSeries<'_>, Need),
        grid: &Grid,
        compute: impl Fn(&View<'_>, &mut Scratch) -> Column + Sync,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let mut out = Vec::new();
        let compute = |view: &View<'_>, scratch: &mut Scratch| {
            self.reserve(grid, 1)?;
            let column = compute(view, scratch);
            Ok((!column.present.is_empty()).then_some(column))
        };
        self.for_series(series, grid, &compute, &mut |labels, column| {
            out.push(SeriesColumn {
                labels: labels.clone(),
                drop_name: false,
                column,
            });
            Ok(())
        })?;
        Ok(out)
    }
}
