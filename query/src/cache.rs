//! Answers of range queries that were computed before, for the steps that cannot have changed.
//!
//! Invariants: a step is taken from here only where its windows read the same parts as then with the
//! same rows hidden, and no memory holds a row in them, so an answer is never stale; an answer with annotations is not kept,
//! because nobody knows which of its steps they came from; the cache never holds more bytes than it
//! was given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use obs_model::answer::MatrixSeries;
use obs_model::{Matcher, Samples, Tenant, TimeRange, Timestamp};

use obs_tsdb::{Hidden, Metrics, OpenPart, Snapshot};

use crate::column::Grid;
use crate::plan::{Borders, Form, Input, Leaf, MetricPlan, Node, Window};

/// An answer of fewer steps is not worth keeping.
const STEPS_MIN: usize = 8;
/// Bytes of an entry beside its samples, labels and key.
const ENTRY_BYTES: usize = 256;
/// Bytes of a series beside its samples and labels.
const SERIES_BYTES: usize = 128;

/// Answers by what was asked.
#[derive(Debug)]
pub struct ResultCache {
    bytes_max: usize,
    held: Mutex<Held>,
    stats: CacheStats,
}

/// What a cache did so far.
#[derive(Debug, Default)]
pub struct CacheStats {
    /// Steps that were taken from the cache.
    pub steps_reused: AtomicU64,
    /// Steps that had to be computed, of queries that can be cached.
    pub steps_computed: AtomicU64,
    /// Bytes that are held.
    pub bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    entries: HashMap<Key, Entry>,
    bytes: usize,
    /// Counts uses; an entry knows its last.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<Stored>,
    bytes: usize,
    used: u64,
}

/// The cache as one tenant sees it.
#[derive(Clone, Debug)]
pub struct TenantCache {
    /// The cache.
    pub cache: Arc<ResultCache>,
    /// Whose answers.
    pub tenant: Tenant,
}

/// What was asked: everything but the first and the last step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    tenant: Tenant,
    /// What the reader is confined to.
    confined: String,
    /// The plan's tree and selectors, with all numbers.
    plan: String,
    step: i64,
    /// The first step modulo the distance: steps meet only where these are equal.
    phase: i64,
}

/// How far before and behind a step its windows reach, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    before: i64,
    behind: i64,
}

/// An answer that is kept.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) grid: Grid,
    pub(crate) series: Vec<MatrixSeries>,
    /// The parts that were read. They may be gone; what stands at their place is not them.
    parts: Vec<(Weak<OpenPart<Metrics>>, TimeRange)>,
    /// What deletions and rules of retention hid.
    hidden: Vec<Hidden<Metrics>>,
}

impl ResultCache {
    /// An empty cache that holds at most so many bytes; zero turns it off.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            held: Mutex::default(),
            stats: CacheStats::default(),
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> &CacheStats {
        &self.stats
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to something.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        let mut held = self.held();
        held.clock += 1;
        let now = held.clock;
        let entry = held.entries.get_mut(key)?;
        entry.used = now;
        Some(Arc::clone(&entry.answer))
    }

    /// Keeps an answer instead of the one before; lets go what was not used for longest.
    pub(crate) fn put(&self, key: Key, answer: Stored) {
        let bytes = weight(&key, &answer);
        // One answer may not push out all others.
        if bytes > self.bytes_max / 4 {
            return;
        }
        let mut held = self.held();
        held.clock += 1;
        let entry = Entry {
            answer: Arc::new(answer),
            bytes,
            used: held.clock,
        };
        if let Some(before) = held.entries.insert(key, entry) {
            held.bytes -= before.bytes;
        }
        held.bytes += bytes;
        while held.bytes > self.bytes_max {
            let oldest = held.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            if let Some(entry) = held.entries.remove(&key) {
                held.bytes -= entry.bytes;
            }
        }
        self.stats.bytes.store(held.bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, reused: usize, computed: usize) {
        let add = |counter: &AtomicU64, steps: usize| {
            counter.fetch_add(steps as u64, Ordering::Relaxed);
        };
        add(&self.stats.steps_reused, reused);
        add(&self.stats.steps_computed, computed);
    }
}

fn weight(key: &Key, answer: &Stored) -> usize {
    let series =
        |one: &MatrixSeries| SERIES_BYTES + one.labels.packed().len() + 16 * one.samples.len();
    let series: usize = answer.series.iter().map(series).sum();
    let sources = 32 * answer.parts.len() + 48 * answer.hidden.len();
    ENTRY_BYTES + key.plan.len() + key.confined.len() + sources + series
}

impl Key {
    /// The key of a plan; `None` where its answer depends on more than the data around each step,
    /// or is too small to keep.
    pub(crate) fn of(
        plan: &MetricPlan,
        tenant: &Tenant,
        confined: &[Matcher],
    ) -> Option<(Self, Reach)> {
        if plan.form != Form::Range || plan.grid.count < STEPS_MIN || plan.leaves.is_empty() {
            return None;
        }
        let of_metrics = |leaf: &Leaf| matches!(leaf, Leaf::Metrics(_));
        if !plan.leaves.iter().all(|read| of_metrics(&read.leaf)) {
            return None;
        }
        let reach = Reach::of(&plan.root)?;
        let selectors: Vec<&Leaf> = plan.leaves.iter().map(|read| &read.leaf).collect();
        let text = format!(
            "{:?} {selectors:?} {} {} {} {} {:?}",
            plan.root,
            plan.lookback,
            plan.delayed_names,
            plan.start_timestamps,
            plan.type_and_unit_labels,
            plan.resolution
        );
        let key = Self {
            tenant: tenant.clone(),
            // Values are quoted, so that no two lists make the same text.
            confined: confined.iter().map(|m| format!("{m},")).collect(),
            plan: text,
            step: plan.grid.step,
            phase: plan.grid.start.nanos().rem_euclid(plan.grid.step),
        };
        Some((key, reach))
    }
}

impl Reach {
    /// How far the windows of a node reach; `None` where some do not move with the steps, or
    /// borrow values from outside.
    fn of(node: &Node) -> Option<Self> {
        let all = |nodes: &[Node]| {
            let mut reach = Self::default();
            for node in nodes {
                reach = reach.max(Self::of(node)?);
            }
            Some(reach)
        };
        Some(match node {
            Node::Number(_) | Node::Text(_) => Self::default(),
            Node::Instant(instant) => Self::default().through(&instant.window)?,
            Node::Over(over) => {
                let inner = match &over.input {
                    Input::Leaf(_) => Self::default(),
                    Input::Subquery { node, .. } => Self::of(node)?,
                };
                inner.through(&over.window)?.max(all(&over.parameters)?)
            }
            Node::Call(call) => all(&call.arguments)?,
            Node::Aggregate(aggregate) => {
                let parameter = aggregate.parameter.as_ref();
                let parameter = parameter.map_or(Some(Self::default()), Self::of)?;
                Self::of(&aggregate.input)?.max(parameter)
            }
            Node::Binary(binary) => Self::of(&binary.lhs)?.max(Self::of(&binary.rhs)?),
            Node::Negate(inner) => Self::of(inner)?,
            Node::Info(info) => {
                let window = Self::default().through(&info.info.window)?;
                Self::of(&info.input)?.max(window)
            }
        })
    }

    fn max(self, other: Self) -> Self {
        Self {
            before: self.before.max(other.before),
            behind: self.behind.max(other.behind),
        }
    }

    /// The reach of windows whose samples reach as far themselves.
    fn through(self, window: &Window) -> Option<Self> {
        if window.at.is_some() || window.borders != Borders::Plain {
            return None;
        }
        Some(Self {
            before: self
                .before
                .checked_add(window.length.checked_add(window.offset)?)?
                .max(0),
            behind: self.behind.checked_sub(window.offset)?.max(0),
        })
    }

    /// The time that a step depends on.
    fn around(self, step: Timestamp) -> TimeRange {
        let start = step.saturating_sub(self.before);
        TimeRange::new(start, step.saturating_add(self.behind))
    }
}

/// The longest run of steps of a grid that no changed range touches: index and number.
fn untouched(grid: &Grid, reach: Reach, changed: &[TimeRange]) -> (usize, usize) {
    let (mut best, mut from) = ((0, 0), 0);
    for step in 0..=grid.count {
        let sound = step < grid.count && {
            let around = reach.around(grid.at(step));
            !changed.iter().any(|range| range.overlaps(around))
        };
        if !sound {
            if step - from > best.1 {
                best = (from, step - from);
            }
            from = step + 1;
        }
    }
    best
}

/// Some steps of a grid.
pub(crate) fn steps(grid: &Grid, from: usize, count: usize) -> Grid {
    Grid {
        start: grid.at(from),
        step: grid.step,
        count,
    }
}

impl Stored {
    /// What may be kept of an answer. The snapshot is looked at after it was computed.
    pub(crate) fn new(
        grid: Grid,
        series: &[MatrixSeries],
        reach: Reach,
        snapshot: &Snapshot<Metrics>,
    ) -> Option<Self> {
        let recent: Vec<TimeRange> = obs_tsdb::recent(snapshot).into_iter().collect();
        let (from, count) = untouched(&grid, reach, &recent);
        if count < STEPS_MIN {
            return None;
        }
        let grid = steps(&grid, from, count);
        let parts = snapshot.parts.iter();
        Some(Self {
            grid,
            series: cut(series, &grid),
            parts: parts
                .map(|p| (Arc::downgrade(p), p.reader.range()))
                .collect(),
            hidden: snapshot.hidden.all().to_vec(),
        })
    }

    /// The steps of a grid that can be taken from here: index in the grid and number.
    pub(crate) fn usable(
        &self,
        grid: &Grid,
        reach: Reach,
        snapshot: &Snapshot<Metrics>,
    ) -> Option<(usize, usize)> {
        let same = |weak: &Weak<OpenPart<Metrics>>, part: &Arc<OpenPart<Metrics>>| {
            std::ptr::eq(weak.as_ptr(), Arc::as_ptr(part))
        };
        let gone = self.parts.iter().filter(|(weak, _)| {
            let mut now = snapshot.parts.iter();
            !now.any(|part| same(weak, part))
        });
        let new = snapshot.parts.iter().filter(|part| {
            let mut then = self.parts.iter();
            !then.any(|(weak, _)| same(weak, part))
        });
        let mut changed: Vec<TimeRange> = obs_tsdb::recent(snapshot).into_iter().collect();
        changed.extend(gone.map(|(_, range)| *range));
        changed.extend(new.map(|part| part.reader.range()));
        changed.extend(self.hidden_since(snapshot));
        let first = self.grid.start.max(grid.start);
        let last = self.grid.end().min(grid.end());
        if last < first {
            return None;
        }
        // Both grids have the same phase, so these divide.
        let skipped = ((first - grid.start) / grid.step) as usize;
        let count = ((last - first) / grid.step) as usize + 1;
        let (from, count) = untouched(&steps(grid, skipped, count), reach, &changed);
        (count > 0).then_some((skipped + from, count))
    }

    /// Where rows may be hidden that were not then. What is hidden stays so until its part goes.
    fn hidden_since(&self, snapshot: &Snapshot<Metrics>) -> impl Iterator<Item = TimeRange> {
        let since = |now: &Hidden<Metrics>| {
            let mut then = self.hidden.iter();
            let then = then.find(|then| Arc::ptr_eq(&then.selector, &now.selector));
            match then {
                // A rule hides more as time goes on.
                Some(then) if then.range.start == now.range.start => {
                    TimeRange::new(then.range.end.saturating_add(1), now.range.end)
                }
                _ => now.range,
            }
        };
        let all = snapshot.hidden.all().iter().map(since);
        all.filter(|range| !range.is_empty())
    }

    /// The answer at some of its steps.
    pub(crate) fn at(&self, grid: &Grid) -> Vec<MatrixSeries> {
        cut(&self.series, grid)
    }
}

/// The samples of series that lie on a grid; series without any are left out.
fn cut(series: &[MatrixSeries], grid: &Grid) -> Vec<MatrixSeries> {
    let mut out = Vec::with_capacity(series.len());
    for one in series {
        let all = &one.samples;
        let from = all.times.partition_point(|t| *t < grid.start);
        let to = all.times.partition_point(|t| *t <= grid.end());
        if from >= to {
            continue;
        }
        let histograms = all.histograms.iter();
        let inside = histograms.filter(|(i, _)| (from..to).contains(&(*i as usize)));
        let samples = Samples {
            times: all.times[from..to].to_vec(),
            floats: all.floats[from..to].to_vec(),
            histograms: inside
                .map(|(i, h)| (*i - from as u32, Arc::clone(h)))
                .collect(),
            starts: Vec::new(),
        };
        out.push(MatrixSeries {
            labels: one.labels.clone(),
            samples,
        });
    }
    out
}

/// Matrices of neighbouring ranges, in order of time, as one; all are sorted by labels.
pub(crate) fn joined(pieces: Vec<Vec<MatrixSeries>>) -> Vec<MatrixSeries> {
    let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    let mut all = pieces.next().unwrap_or_default();
    for piece in pieces {
        let mut out: Vec<MatrixSeries> = Vec::with_capacity(all.len().max(piece.len()));
        let (mut left, mut right) = (all.into_iter().peekable(), piece.into_iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => a.labels.cmp(&b.labels),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => break,
            };
            let first = if order.is_le() { left.next() } else { None };
            let second = if order.is_ge() { right.next() } else { None };
            match (first, second) {
                (Some(mut a), Some(b)) => {
                    append(&mut a.samples, b.samples);
                    out.push(a);
                }
                (one, other) => out.extend(one.or(other)),
            }
        }
        all = out;
    }
    all
}

fn append(samples: &mut Samples, later: Samples) {
    let base = samples.times.len() as u32;
    samples.times.extend(later.times);
    samples.floats.extend(later.floats);
    let moved = later.histograms.into_iter().map(|(i, h)| (i + base, h));
    samples.histograms.extend(moved);
}

#[cfg(test)]
mod tests;
