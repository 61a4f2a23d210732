//! Quantiles and fractions of histograms, classic and native.

use std::collections::HashMap;

use obs_model::{Histogram, Labels};

use super::buckets::{Bucket, Parts};
use super::labels::drop_names;
use super::{Evaluator, notes};
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::{Place, QueryError};
use crate::plan::Call;

/// Counts of classic buckets whose relative decrease is below this are rounding, not resets.
const SMALL_DELTA: f64 = 1e-12;

/// The buckets of one classic histogram: upper bounds ascending, with the index of the series.
struct Classic {
    /// The labels without `le`.
    labels: Labels,
    buckets: Vec<(f64, usize)>,
}

/// Classic histograms among series; those without a usable `le` are told and left out.
fn classics(evaluator: &Evaluator<'_>, series: &[SeriesColumn], place: Place) -> Vec<Classic> {
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<Classic> = Vec::new();
    for (at, one) in series.iter().enumerate() {
        if one.column.present.count() == one.column.histograms.len() {
            continue;
        }
        let bound = one.labels.get("le").and_then(parse_bound);
        let Some(bound) = bound else {
            let named = evaluator.delayed_names;
            evaluator.warn(notes::bad_bucket(&one.labels, named, place));
            continue;
        };
        let labels = one.labels.without(|name| name == "le");
        let found = *index.entry(labels.clone()).or_insert_with(|| {
            out.push(Classic {
                labels,
                buckets: Vec::new(),
            });
            out.len() - 1
        });
        out[found].buckets.push((bound, at));
    }
    for classic in &mut out {
        classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    out
}

fn parse_bound(text: &str) -> Option<f64> {
    text.parse().ok().filter(|bound: &f64| !bound.is_nan())
}

impl Classic {
    /// Cumulative counts at a step.
    fn at(&self, series: &[SeriesColumn], step: usize) -> Vec<(f64, f64)> {
        let mut counts: Vec<(f64, f64)> = Vec::with_capacity(self.buckets.len());
        for (bound, at) in &self.buckets {
            let Some(count) = series[*at].column.float(step) else {
                continue;
            };
            match counts.last_mut() {
                Some((last, total)) if last == bound => *total += count,
                _ => counts.push((*bound, count)),
            }
        }
        counts
    }
}

/// Where counts had to be made monotonic: lowest and highest bound, and the largest decrease.
type Forced = (f64, f64, f64);

/// Takes decreases away; tells of those that are not just rounding.
fn monotonic(counts: &mut [(f64, f64)]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    for index in 1..counts.len() {
        let before = counts[index - 1].1;
        let (bound, now) = counts[index];
        let small = (before - now).abs() < SMALL_DELTA * (before.abs() + now.abs());
        if small || now < before {
            counts[index].1 = before;
        }
        if !small && now < before {
            let known = forced.unwrap_or((f64::INFINITY, f64::NEG_INFINITY, 0.0));
            forced = Some((
                known.0.min(bound),
                known.1.max(bound),
                known.2.max(before - now),
            ));
        }
    }
    forced
}

/// A quantile of cumulative classic buckets.
fn classic_quantile(q: f64, buckets: &[(f64, f64)]) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let Some((&(highest, observations), finite)) = buckets.split_last() else {
        return f64::NAN;
    };
    if highest != f64::INFINITY || finite.is_empty() || observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    // A rank that is NaN is behind all.
    let reaches = |count: f64| count >= rank;
    let at = finite.partition_point(|(_, count)| !reaches(*count));
    let Some(&(upper, count)) = finite.get(at) else {
        return finite[finite.len() - 1].0;
    };
    if at == 0 {
        return if upper <= 0.0 {
            upper
        } else {
            upper * (rank / count)
        };
    }
    let (lower, before) = finite[at - 1];
    lower + (upper - lower) * ((rank - before) / (count - before))
}

/// `histogram_quantile` and `histogram_quantiles` (which names its quantiles by a label).
pub(super) fn quantiles(
    evaluator: &Evaluator<'_>,
    call: &Call,
    (series, vector_at): (Vec<SeriesColumn>, usize),
    label: Option<&str>,
    q: &[Vec<f64>],
    grid: &Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    let place = call.places[vector_at];
    let first_q = if label.is_some() { 2 } else { 0 };
    let classics = classics(evaluator, &series, place);
    let natives = natives(&series);
    mixed(evaluator, &classics, &series, place);
    // Where names have left already, notes have none.
    let told = |labels: &Labels| match evaluator.delayed_names {
        true => labels.clone(),
        false => Labels::empty(),
    };
    let mut out = Vec::new();
    for (index, q) in q.iter().enumerate() {
        for bad in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            evaluator.warn(notes::bad_quantile(*bad, call.places[first_q + index]));
        }
        let named = |labels: Labels| match label {
            None => labels,
            Some(label) => {
                let mut builder = labels.to_builder();
                let value = q.first().copied().unwrap_or(f64::NAN);
                builder.set(label, &super::answer::float(value));
                builder.build()
            }
        };
        for one in series.iter().filter(|s| !s.column.histograms.is_empty()) {
            evaluator.reserve(grid, 1)?;
            let mut column = Column::new(grid.count);
            for (step, histogram) in &one.column.histograms {
                let step = *step as usize;
                if has_classic(&series, &classics, &one.labels, step) {
                    continue;
                }
                let (value, note) = native_quantile(q[step], histogram);
                if let Some(what) = note {
                    let function = "histogram_quantile";
                    let labels = told(&one.labels);
                    evaluator.info(notes::nan_observations(function, what, &labels, place));
                }
                column.set(step, value);
            }
            out.push(result(named(one.labels.clone()), column));
        }
        for classic in &classics {
            evaluator.reserve(grid, 1)?;
            let mut column = Column::new(grid.count);
            for (step, q) in q.iter().enumerate() {
                evaluator.budget.check()?;
                let mut counts = classic.at(&series, step);
                if counts.is_empty() || has_native(&natives, &classic.labels, step) {
                    continue;
                }
                let complete = counts.last().is_some_and(|(b, _)| *b == f64::INFINITY);
                if complete && (0.0..=1.0).contains(q)
                    && let Some(forced) = monotonic(&mut counts)
                {
                    let (labels, at) = (told(&classic.labels), grid.at(step));
                    let note = notes::Counted::forced(&labels, place, at, forced);
                    evaluator.count(note.key(), note);
                }
                column.set(step, classic_quantile(*q, &counts));
            }
            out.push(result(named(classic.labels.clone()), column));
        }
    }
    out.retain(|s: &SeriesColumn| !s.column.present.is_empty());
    drop_names(out, evaluator.delayed_names)
}

fn result(labels: Labels, column: Column) -> SeriesColumn {
    SeriesColumn {
        labels,
        drop_name: false,
        column,
    }
}

/// Series with native histograms, by the labels that classic ones would have.
fn natives(series: &[SeriesColumn]) -> HashMap<Labels, Vec<&Column>> {
    let mut natives: HashMap<Labels, Vec<&Column>> = HashMap::new();
    for one in series.iter().filter(|s| !s.column.histograms.is_empty()) {
        let same = natives.entry(one.labels.clone()).or_default();
        same.push(&one.column);
    }
    natives
}

/// Whether a native histogram has the labels of a classic one at a step.
fn has_native(natives: &HashMap<Labels, Vec<&Column>>, labels: &Labels, step: usize) -> bool {
    let same = natives.get(labels);
    same.is_some_and(|same| same.iter().any(|column| column.histogram(step).is_some()))
}

/// Whether a classic histogram has the labels of a native one at a step.
fn has_classic(
    series: &[SeriesColumn],
    classics: &[Classic],
    labels: &Labels,
    step: usize,
) -> bool {
    if classics.is_empty() {
        return false;
    }
    let mut same = classics.iter().filter(|c| c.labels == *labels);
    same.any(|c| {
        c.buckets
            .iter()
            .any(|(_, at)| series[*at].column.float(step).is_some())
    })
}

/// A classic and a native histogram of the same name and labels at one step have no common answer.
fn mixed(evaluator: &Evaluator<'_>, classics: &[Classic], series: &[SeriesColumn], place: Place) {
    for native in series.iter().filter(|s| !s.column.histograms.is_empty()) {
        let mut steps = native.column.histograms.iter().map(|(step, _)| *step as usize);
        if steps.any(|step| has_classic(series, classics, &native.labels, step)) {
            let named = evaluator.delayed_names;
            evaluator.warn(notes::mixed_kinds(&native.labels, named, place));
        }
    }
}

/// Whether there are observations that are in no bucket: NaN.
fn has_nan(histogram: &Histogram) -> bool {
    let buckets = Parts::new(histogram).buckets();
    let count: f64 = buckets.iter().map(|b| b.count).sum();
    histogram.count != 0.0 && histogram.sum.is_nan() && count < histogram.count
}

/// `histogram_fraction`
pub(super) fn fractions(
    evaluator: &Evaluator<'_>,
    call: &Call,
    series: Vec<SeriesColumn>,
    (lower, upper): (Vec<f64>, Vec<f64>),
    grid: &Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    let place = call.places[2];
    let classics = classics(evaluator, &series, place);
    let natives = natives(&series);
    mixed(evaluator, &classics, &series, place);
    // Where names have left already, notes have none.
    let told = |labels: &Labels| match evaluator.delayed_names {
        true => labels.clone(),
        false => Labels::empty(),
    };
    let mut out = Vec::new();
    for one in series.iter().filter(|s| !s.column.histograms.is_empty()) {
        evaluator.reserve(grid, 1)?;
        let mut column = Column::new(grid.count);
        for (step, histogram) in &one.column.histograms {
            let step = *step as usize;
            if has_classic(&series, &classics, &one.labels, step) {
                continue;
            }
            let (lower, upper) = (lower[step], upper[step]);
            if lower < upper && has_nan(histogram) {
                let what = "which are excluded from all fractions";
                let function = "histogram_fraction";
                let labels = told(&one.labels);
                evaluator.info(notes::nan_observations(function, what, &labels, place));
            }
            column.set(step, native_fraction(lower, upper, histogram));
        }
        out.push(result(one.labels.clone(), column));
    }
    for classic in &classics {
        evaluator.reserve(grid, 1)?;
        let mut column = Column::new(grid.count);
        for step in 0..grid.count {
            evaluator.budget.check()?;
            let counts = classic.at(&series, step);
            if counts.is_empty() || has_native(&natives, &classic.labels, step) {
                continue;
            }
            column.set(step, classic_fraction(lower[step], upper[step], &counts));
        }
        out.push(result(classic.labels.clone(), column));
    }
    out.retain(|s: &SeriesColumn| !s.column.present.is_empty());
    drop_names(out, evaluator.delayed_names)
}

fn classic_fraction(lower: f64, upper: f64, counts: &[(f64, f64)]) -> f64 {
    let Some(&(highest, total)) = counts.last() else {
        return f64::NAN;
    };
    if highest != f64::INFINITY {
        return f64::NAN;
    }
    let mut before = (f64::NEG_INFINITY, 0.0);
    let mut buckets = Vec::with_capacity(counts.len());
    for (bound, count) in counts {
        let first = before.0.is_infinite() && *bound > 0.0;
        let lower = if first { 0.0 } else { before.0 };
        buckets.push(Bucket {
            lower,
            upper: *bound,
            count: count - before.1,
        });
        before = (*bound, *count);
    }
    fraction(lower, upper, &buckets, total, |_| true)
}

fn native_fraction(lower: f64, upper: f64, histogram: &Histogram) -> f64 {
    let parts = Parts::new(histogram);
    let mut buckets = parts.buckets();
    for bucket in &mut buckets {
        narrow(histogram, &parts, bucket);
    }
    let custom = histogram.has_custom_buckets();
    let linear = |b: &Bucket| custom || (b.lower <= 0.0 && b.upper >= 0.0);
    fraction(lower, upper, &buckets, histogram.count, linear)
}

/// The zero bucket reaches only where there are observations; the first custom one from zero.
fn narrow(histogram: &Histogram, parts: &Parts, bucket: &mut Bucket) {
    if histogram.has_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
            bucket.lower = 0.0;
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        match (parts.negative.is_empty(), parts.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            (true, true) | (false, false) => {}
        }
    }
}

/// The share of observations between two values.
fn fraction(
    lower: f64,
    upper: f64,
    buckets: &[Bucket],
    total: f64,
    linear: impl Fn(&Bucket) -> bool,
) -> f64 {
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let all: f64 = buckets.iter().map(|b| b.count).sum();
    let rank_of = |value: f64| {
        let mut rank = 0.0;
        for bucket in buckets {
            if bucket.lower >= value {
                return rank;
            }
            if bucket.upper > value {
                let share = inside(bucket, value, linear(bucket));
                return (rank + bucket.count * share).min(all);
            }
            rank += bucket.count;
        }
        all
    };
    (rank_of(upper) - rank_of(lower)) / total
}

/// How far into a bucket a value lies. An infinite bucket counts as being at its finite border.
fn inside(bucket: &Bucket, value: f64, linear: bool) -> f64 {
    if bucket.lower == f64::NEG_INFINITY {
        return 1.0;
    }
    if linear {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let [low, high, at] = [bucket.lower, bucket.upper, value].map(|v| v.abs().log2());
    if value > 0.0 {
        (at - low) / (high - low)
    } else {
        1.0 - (at - high) / (low - high)
    }
}

/// A quantile of a native histogram, and what NaN observations did to it.
fn native_quantile(q: f64, histogram: &Histogram) -> (f64, Option<&'static str>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    let parts = Parts::new(histogram);
    let mut buckets = parts.buckets();
    // From the nearer end, which loses less to rounding; with NaN observations from below.
    let ascending = histogram.sum.is_nan() || q < 0.5;
    if !ascending {
        buckets.reverse();
    }
    let mut rank = if ascending {
        q * histogram.count
    } else {
        (1.0 - q) * histogram.count
    };
    let mut bucket = Bucket {
        lower: 0.0,
        upper: 0.0,
        count: 0.0,
    };
    let mut count = 0.0;
    for next in buckets.iter().filter(|b| b.count != 0.0) {
        bucket = *next;
        count += next.count;
        if count >= rank {
            break;
        }
    }
    let custom = histogram.has_custom_buckets();
    if custom && bucket.lower == f64::NEG_INFINITY && bucket.upper <= 0.0 {
        return (bucket.upper, None);
    }
    if custom && bucket.upper == f64::INFINITY {
        return (bucket.lower, None);
    }
    narrow(histogram, &parts, &mut bucket);
    count = count.min(histogram.count);
    if count < rank {
        if histogram.sum.is_nan() {
            return (f64::NAN, Some("result is NaN"));
        }
        return (
            if ascending {
                bucket.upper
            } else {
                bucket.lower
            },
            None,
        );
    }
    let note = has_nan(histogram).then_some("result is skewed higher");
    rank = if ascending {
        rank - (count - bucket.count)
    } else {
        count - rank
    };
    let share = rank / bucket.count;
    if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return (bucket.lower + (bucket.upper - bucket.lower) * share, note);
    }
    let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value = if bucket.lower > 0.0 {
        (low + (high - low) * share).exp2()
    } else {
        -(high + (low - high) * (1.0 - share)).exp2()
    };
    (value, note)
}
