//! The evaluator: computes a plan's tree from what its leaves read, over all steps at once.
//!
//! It never reads a store; tests and all languages call it with series in memory.
//! Invariant: the result does not depend on the pool: work is split by series, and partial results
//! are put together in the order of series.

mod accumulate;
mod aggregate;
mod answer;
mod binary;
mod buckets;
mod call;
mod choose;
mod counts;
mod distribution;
mod extended;
mod histogram;
mod info;
mod instant;
mod kahan;
mod labels;
mod matching;
mod notes;
mod over;
mod pipe;
#[cfg(test)]
mod properties;
mod quantile;
mod ranks;
mod rate;
mod series;
mod shared;
mod sliding;
mod source;
mod starts;
mod stream;
pub(crate) mod summarised;
#[cfg(test)]
mod tests;
mod trend;
mod trim;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use obs_model::{Annotations, Answer, Budget, Labels};

use crate::column::{Evaluated, Grid, SeriesColumn};
use crate::error::{Place, QueryError};
use crate::plan::{MetricPlan, Node, SelectedSeries, Window};

pub(crate) use answer::{fixed, float};
pub(crate) use binary::arithmetic;
pub(crate) use source::LeafSeries;

use counts::Counts;
use shared::Shared;

/// Computes the answer of a plan from the series of its leaves (one list per leaf, in order).
pub fn eval(
    plan: &MetricPlan,
    selected: &[Vec<SelectedSeries>],
    budget: &Budget,
    pool: &rayon::ThreadPool,
) -> Result<(Answer, Annotations), QueryError> {
    let leaves: Vec<LeafSeries<'_>> = selected.iter().map(|s| LeafSeries::Ready(s)).collect();
    let outcome = eval_leaves(plan, &leaves, budget, pool)?;
    Ok((outcome.answer, outcome.notes))
}

/// What a plan comes to.
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    pub(crate) notes: Annotations,
    /// Samples that each step looked at, where the plan counts them.
    pub(crate) steps: Option<Vec<u64>>,
}

/// Computes the answer of a plan from its leaves, in order.
pub(crate) fn eval_leaves(
    plan: &MetricPlan,
    leaves: &[LeafSeries<'_>],
    budget: &Budget,
    pool: &rayon::ThreadPool,
) -> Result<Outcome, QueryError> {
    let evaluator = Evaluator {
        plan,
        leaves,
        budget,
        pool,
        delayed_names: plan.delayed_names,
        notes: Mutex::default(),
        counted: Mutex::default(),
        noted: AtomicUsize::new(0),
        counts: Counts::of(plan),
        // What is computed once is still looked at twice.
        shared: match plan.count_samples {
            true => Shared::default(),
            false => Shared::of(plan),
        },
    };
    let answer = evaluator.answer(plan)?;
    let notes = evaluator.notes.into_inner();
    let mut notes = notes.unwrap_or_else(PoisonError::into_inner);
    let counted = evaluator.counted.into_inner();
    for note in counted.unwrap_or_else(PoisonError::into_inner).values() {
        note.tell(&mut notes);
    }
    notes::tell_once(&mut notes.warnings);
    notes::tell_once(&mut notes.infos);
    Ok(Outcome {
        answer,
        notes,
        steps: evaluator.counts.finish(),
    })
}

/// What evaluation needs at every node.
struct Evaluator<'a> {
    plan: &'a MetricPlan,
    leaves: &'a [LeafSeries<'a>],
    budget: &'a Budget,
    pool: &'a rayon::ThreadPool,
    delayed_names: bool,
    notes: Mutex<Annotations>,
    /// Notes that count, by their text without numbers.
    counted: Mutex<BTreeMap<String, notes::Counted>>,
    /// Number of notes, repeated ones included.
    noted: AtomicUsize,
    counts: Counts,
    shared: Shared,
}

impl Evaluator<'_> {
    /// Evaluates a node. What its inputs were charged is given back: only its own columns live on.
    fn node(&self, node: &Node, grid: &Grid) -> Result<Evaluated, QueryError> {
        let Some(key) = self.shared.key(node, grid) else {
            return self.compute(node, grid);
        };
        if let Some(known) = self.shared.take(key, self.budget) {
            self.budget.bytes(known.bytes())?;
            return Ok(known);
        }
        let before = self.noted.load(Ordering::Relaxed);
        let value = self.compute(node, grid)?;
        // A note names its place, so that a node which makes one is computed at each place.
        if self.noted.load(Ordering::Relaxed) == before {
            self.shared.keep(key, &value, self.budget)?;
        }
        Ok(value)
    }

    fn compute(&self, node: &Node, grid: &Grid) -> Result<Evaluated, QueryError> {
        self.budget.check()?;
        // One node is evaluated at a time, so that the difference is this node's and its inputs'.
        let before = self.own_bytes();
        let evaluated = self.evaluate(node, grid)?;
        let charged = self.own_bytes().saturating_sub(before);
        let kept = evaluated.bytes();
        match charged.checked_sub(kept) {
            Some(dropped) => self.budget.release_bytes(dropped),
            None => self.budget.bytes(kept - charged)?,
        }
        Ok(evaluated)
    }

    /// Bytes that are charged now, but for what is held for a second use.
    fn own_bytes(&self) -> u64 {
        let held = self.budget.bytes_held();
        held.saturating_sub(self.shared.bytes())
    }

    fn evaluate(&self, node: &Node, grid: &Grid) -> Result<Evaluated, QueryError> {
        if matches!(node, Node::Call(_) | Node::Binary(_) | Node::Negate(_))
            && let Some(series) = self.piped_vector(node, grid)?
        {
            return Ok(Evaluated::Vector(series));
        }
        Ok(match node {
            Node::Number(value) => {
                self.reserve(grid, 1)?;
                Evaluated::Scalar(vec![*value; grid.count])
            }
            Node::Text(text) => Evaluated::Text(text.clone()),
            Node::Instant(instant) => Evaluated::Vector(self.instant(instant, grid)?),
            Node::Over(over) => Evaluated::Vector(self.over(over, grid)?),
            Node::Call(call) => self.call(call, grid)?,
            Node::Aggregate(aggregate) => Evaluated::Vector(self.aggregate(aggregate, grid)?),
            Node::Binary(binary) => self.binary(binary, grid)?,
            Node::Negate(inner) => self.negate(inner, grid)?,
            Node::Info(info) => Evaluated::Vector(self.info_join(info, grid)?),
        })
    }

    /// Evaluates what the type checker made sure is a vector.
    fn vector(&self, node: &Node, grid: &Grid) -> Result<Vec<SeriesColumn>, QueryError> {
        match self.node(node, grid)? {
            Evaluated::Vector(series) => Ok(series),
            Evaluated::Scalar(_) | Evaluated::Text(_) => Err(misplaced("an instant vector")),
        }
    }

    /// Evaluates what the type checker made sure is a scalar.
    fn scalar(&self, node: &Node, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        match self.node(node, grid)? {
            Evaluated::Scalar(values) => Ok(values),
            Evaluated::Vector(_) | Evaluated::Text(_) => Err(misplaced("a scalar")),
        }
    }

    /// Charges the bytes of columns before they are made.
    fn reserve(&self, grid: &Grid, series: usize) -> Result<(), QueryError> {
        let bytes = (grid.count as u64).saturating_mul(9).saturating_add(64);
        self.budget.bytes(bytes.saturating_mul(series as u64))?;
        Ok(())
    }

    fn warn(&self, text: String) {
        self.noted.fetch_add(1, Ordering::Relaxed);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.warn(text);
    }

    /// A note that counts how often it is told.
    fn count(&self, key: String, note: notes::Counted) {
        self.noted.fetch_add(1, Ordering::Relaxed);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.entry(key) {
            Entry::Vacant(place) => {
                place.insert(note);
            }
            Entry::Occupied(mut known) => known.get_mut().merge(&note),
        }
    }

    /// Samples of a series start before the sample before ended.
    fn overlapping(&self, labels: &Labels, place: Place, count: usize) {
        let note = notes::Counted::overlap(labels, place, count);
        self.count(note.key(), note);
    }

    fn info(&self, text: String) {
        self.noted.fetch_add(1, Ordering::Relaxed);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.info(text);
    }
}

pub(crate) use buckets::was_reset;

/// A histogram without empty buckets.
pub(crate) fn compacted(histogram: &obs_model::Histogram) -> obs_model::Histogram {
    let hint = histogram.reset_hint;
    obs_model::Histogram {
        reset_hint: hint,
        ..buckets::Parts::new(histogram).build()
    }
}

/// A histogram plus `factor` times a step, with the hint of the step.
pub(crate) fn stepped(
    histogram: &obs_model::Histogram,
    step: &obs_model::Histogram,
    factor: f64,
) -> Option<obs_model::Histogram> {
    let mut sum = buckets::Parts::new(histogram);
    sum.add(&buckets::Parts::new(step), factor).ok()?;
    sum.head.reset_hint = step.reset_hint;
    Some(sum.build())
}

/// The filled buckets of a histogram by sign and index.
pub(crate) fn filled_buckets(histogram: &obs_model::Histogram) -> Vec<((bool, i32), f64)> {
    let parts = buckets::Parts::new(histogram);
    let signed = |positive: bool, list: buckets::List| {
        let filled = list.into_iter().filter(|(_, count)| *count != 0.0);
        filled
            .map(move |(index, count)| ((positive, index), count))
            .collect::<Vec<_>>()
    };
    [signed(false, parts.negative), signed(true, parts.positive)].concat()
}

/// A plan that no parser makes.
fn misplaced(expected: &str) -> QueryError {
    QueryError::Execution(format!("the plan needs {expected} where it has none"))
}

/// The steps of a subquery: multiples of its step in the windows of all outer steps, which are
/// open to the left.
pub(crate) fn subquery_grid(window: &Window, step: i64, outer: &Grid) -> Grid {
    let range = window.covers(outer);
    let (first, last) = (range.start.nanos(), range.end.nanos());
    // The smallest multiple that is not before the first nanosecond of the window.
    let start = first.div_euclid(step).saturating_mul(step);
    let start = if start < first {
        start.saturating_add(step)
    } else {
        start
    };
    let count = match last >= start {
        true => last.abs_diff(start) / step.unsigned_abs() + 1,
        false => 0,
    };
    Grid {
        start: obs_model::Timestamp::from_nanos(start),
        step,
        count: usize::try_from(count).unwrap_or(usize::MAX),
    }
}
