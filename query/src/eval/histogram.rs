//! Native histograms as values: functions over windows, operators, totals, numbers of them.

use std::sync::Arc;

use obs_model::histogram::ResetHint;
use obs_model::{Histogram, Labels, Samples, Timestamp, Value};

pub(super) use super::buckets::equal;
use super::buckets::{Parts, was_reset};
use super::kahan::{Kahan, Mean};
use super::rate::Extent;
use super::series::{Bounds, Windows};
use super::source::View;
use super::{Evaluator, notes, over};
use crate::column::{Column, Grid};
use crate::error::Place;
use crate::functions::{HistogramPart, RangeFunction};
use crate::operators::BinaryOp;
use crate::plan::{Binary, Over};

/// A sum of histograms.
#[derive(Clone, Debug)]
pub(super) struct Total {
    parts: Parts,
    /// The sum of observations, with what rounding loses.
    sum: Kahan,
    /// Means that do not overflow.
    means: [Mean; 2],
    count: f64,
    reset: bool,
    not_reset: bool,
    reconciled: bool,
    incompatible: bool,
}

impl Total {
    pub(super) fn new(first: &Histogram) -> Self {
        let mut total = Self {
            parts: Parts::new(first),
            sum: Kahan::default(),
            means: [Mean::default(); 2],
            count: 1.0,
            reset: false,
            not_reset: false,
            reconciled: false,
            incompatible: false,
        };
        total.note(first);
        total
    }

    fn note(&mut self, histogram: &Histogram) {
        self.sum.add(histogram.sum);
        self.means[0].add(histogram.sum);
        self.means[1].add(histogram.count);
        self.reset |= histogram.reset_hint == ResetHint::Reset;
        self.not_reset |= histogram.reset_hint == ResetHint::NotReset;
    }

    pub(super) fn add(&mut self, histogram: &Histogram) {
        self.count += 1.0;
        self.note(histogram);
        match self.parts.add(&Parts::new(histogram), 1.0) {
            Ok(reconciled) => self.reconciled |= reconciled,
            Err(_) => self.incompatible = true,
        }
    }

    /// Whether layouts came that do not go together.
    pub(super) fn is_incompatible(&self) -> bool {
        self.incompatible
    }

    /// The sum or mean; nothing where layouts do not go together.
    pub(super) fn finish(
        mut self,
        evaluator: &Evaluator<'_>,
        average: bool,
        place: Place,
    ) -> Option<Arc<Histogram>> {
        if self.incompatible {
            return None;
        }
        if self.reset && self.not_reset {
            evaluator.warn(notes::conflicting_resets("aggregation", place));
        }
        if self.reconciled {
            evaluator.info(notes::reconciled("aggregation", place));
        }
        self.parts.head.sum = self.sum.value();
        if average {
            self.parts.scale(1.0 / self.count);
            self.parts.head.sum = self.means[0].value();
            self.parts.head.count = self.means[1].value();
        }
        Some(Arc::new(self.parts.build()))
    }
}

/// A value as a subquery gives it: steps may jump over resets, so hints of counters are void.
pub(super) fn unhinted(value: Value) -> Value {
    match value {
        Value::Histogram(histogram)
            if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) =>
        {
            let reset_hint = ResetHint::Unknown;
            Value::Histogram(Arc::new(Histogram {
                reset_hint,
                ..histogram.as_ref().clone()
            }))
        }
        value => value,
    }
}

/// A histogram times a number.
pub(super) fn scaled(histogram: &Histogram, factor: f64) -> Arc<Histogram> {
    let mut parts = Parts::new(histogram);
    parts.scale(factor);
    Arc::new(parts.build())
}

/// `None`: the operator has no meaning for these types. `Some(None)`: no result, already told.
pub(super) fn operate(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    lhs: &Value,
    rhs: &Value,
) -> Option<Option<Value>> {
    let done = |histogram: Arc<Histogram>| Some(Some(Value::Histogram(histogram)));
    match (binary.op, lhs, rhs) {
        (BinaryOp::Mul, Value::Histogram(h), Value::Float(f))
        | (BinaryOp::Mul, Value::Float(f), Value::Histogram(h)) => done(scaled(h, *f)),
        (BinaryOp::Div, Value::Histogram(h), Value::Float(f)) => {
            let mut parts = Parts::new(h);
            parts.scale(1.0 / f);
            if *f == 0.0 {
                // No buckets can be told apart any more.
                (parts.positive, parts.negative) = (Vec::new(), Vec::new());
            }
            parts.head.sum = h.sum / f;
            parts.head.count = h.count / f;
            parts.head.zero_count = h.zero_count / f;
            done(Arc::new(parts.build()))
        }
        (BinaryOp::TrimUpper | BinaryOp::TrimLower, Value::Histogram(h), Value::Float(f)) => done(
            Arc::new(super::trim::trim(h, *f, binary.op == BinaryOp::TrimUpper)),
        ),
        (op @ (BinaryOp::Add | BinaryOp::Sub), Value::Histogram(a), Value::Histogram(b)) => {
            let (factor, what) = match op {
                BinaryOp::Add => (1.0, "addition"),
                _ => (-1.0, "subtraction"),
            };
            let mut parts = Parts::new(a);
            let hints = [a.reset_hint, b.reset_hint];
            let Ok(reconciled) = parts.add(&Parts::new(b), factor) else {
                evaluator.warn(notes::incompatible_layout(op.as_str(), binary.place));
                return Some(None);
            };
            if hints.contains(&ResetHint::Reset) && hints.contains(&ResetHint::NotReset) {
                evaluator.warn(notes::conflicting_resets(what, binary.place));
            }
            if reconciled {
                evaluator.info(notes::reconciled(what, binary.place));
            }
            if op == BinaryOp::Sub {
                parts.head.reset_hint = ResetHint::Gauge;
            }
            done(Arc::new(parts.build()))
        }
        _ => None,
    }
}

/// A number that a histogram gives.
/// That of each histogram of a column; floats leave.
pub(super) fn parts(column: &Column, of: HistogramPart) -> Column {
    let mut out = Column::new(column.len());
    for (step, histogram) in &column.histograms {
        out.set(*step as usize, part(histogram, of));
    }
    out
}

fn part(histogram: &Histogram, part: HistogramPart) -> f64 {
    match part {
        HistogramPart::Count => histogram.count,
        HistogramPart::Sum => histogram.sum,
        HistogramPart::Avg => histogram.sum / histogram.count,
        HistogramPart::Stddev => variance(histogram).sqrt(),
        HistogramPart::Stdvar => variance(histogram),
    }
}

/// Estimated from the middles of buckets: arithmetic for custom ones, geometric for others.
fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut total = Kahan::default();
    for bucket in Parts::new(histogram).buckets() {
        if bucket.count == 0.0 {
            continue;
        }
        let middle = if histogram.has_custom_buckets() {
            let middle = (bucket.upper + bucket.lower) / 2.0;
            match (bucket.lower.is_infinite(), bucket.upper.is_infinite()) {
                (true, false) => bucket.upper,
                (false, true) => bucket.lower,
                (true, true) | (false, false) => middle,
            }
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        total.add(bucket.count * delta * delta);
    }
    (total.sum + total.lost) / histogram.count
}

/// As Prometheus prints histograms.
pub(super) fn text(histogram: &Histogram) -> String {
    let float = super::answer::float;
    let mut out = format!(
        "{{count:{}, sum:{}",
        float(histogram.count),
        float(histogram.sum)
    );
    for bucket in Parts::new(histogram).buckets() {
        let closed = bucket.lower < 0.0 && bucket.upper > 0.0;
        let open = if closed || bucket.upper < 0.0 {
            '['
        } else {
            '('
        };
        let close = if bucket.upper < 0.0 { ')' } else { ']' };
        let (lower, upper) = (float(bucket.lower), float(bucket.upper));
        out.push_str(&format!(
            ", {open}{lower},{upper}{close}:{}",
            float(bucket.count)
        ));
    }
    out.push('}');
    out
}

/// A function over windows of a series with histograms, perhaps among floats.
pub(super) fn over(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    samples: &Samples,
    bounds: &[Bounds],
    parameters: &[Vec<f64>],
    grid: &Grid,
) -> Column {
    use RangeFunction as F;
    let mut out = Column::new(grid.count);
    if !matches!(
        node.function,
        F::Rate
            | F::Increase
            | F::Delta
            | F::Irate
            | F::Idelta
            | F::Sum
            | F::PerSecond
            | F::Avg
            | F::Count
            | F::Last
            | F::First
            | F::Present
            | F::Absent
            | F::Changes
            | F::Resets
            | F::TimeOfFirst
            | F::TimeOfLast
    ) {
        return floats_only(evaluator, node, labels, samples, bounds, parameters, grid);
    }
    for (step, b) in bounds.iter().enumerate().filter(|(_, b)| b.lo < b.hi) {
        // Windows of histograms are added up one by one: a query that was stopped stops here.
        if evaluator.budget.check().is_err() {
            break;
        }
        let window = Windowed {
            times: &samples.times[b.lo..b.hi],
            samples,
            bounds: *b,
        };
        let value = match node.function {
            F::Count => Some(Value::Float((b.hi - b.lo) as f64)),
            F::Present | F::Absent => Some(Value::Float(1.0)),
            F::Last => Some(samples.value(b.hi - 1)),
            F::First => Some(samples.value(b.lo)),
            F::TimeOfFirst => Some(Value::Float(window.times[0].seconds_f64())),
            F::TimeOfLast => Some(Value::Float(samples.times[b.hi - 1].seconds_f64())),
            F::Changes | F::Resets => Some(Value::Float(window.transitions(node.function))),
            F::Sum | F::PerSecond | F::Avg => total(evaluator, node, labels, &window),
            _ => change(evaluator, node, labels, &window, grid.at(step)),
        };
        if let Some(value) = value {
            out.push(step, value);
        }
    }
    out
}

/// Functions that know only floats: histograms are left out, and told where both are present.
fn floats_only(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    samples: &Samples,
    bounds: &[Bounds],
    parameters: &[Vec<f64>],
    grid: &Grid,
) -> Column {
    let is_histogram = |index: usize| {
        let found = samples
            .histograms
            .binary_search_by_key(&index, |(i, _)| *i as usize);
        found.is_ok()
    };
    let kinds = |b: &Bounds| {
        let before = |index| {
            let earlier = |(i, _): &(u32, _)| (*i as usize) < index;
            samples.histograms.partition_point(earlier)
        };
        let histograms = before(b.hi) - before(b.lo);
        histograms > 0 && histograms < b.hi - b.lo
    };
    if bounds.iter().any(kinds) {
        let place = match node.function {
            RangeFunction::Quantile => node.parameter_place,
            _ => node.place,
        };
        evaluator.info(notes::ignored_in_range(labels, place));
    }
    let mut kept = Samples::default();
    for (index, time) in samples
        .times
        .iter()
        .enumerate()
        .filter(|(i, _)| !is_histogram(*i))
    {
        kept.push(*time, Value::Float(samples.floats[index]));
    }
    let windows = Windows::new(&kept.times, &node.window, grid);
    let view = View::new(labels, &kept);
    over::floats(evaluator.budget, node, &view, &windows, parameters, grid)
}

/// The samples of one window.
struct Windowed<'a> {
    times: &'a [Timestamp],
    samples: &'a Samples,
    bounds: Bounds,
}

impl Windowed<'_> {
    fn values(&self) -> impl Iterator<Item = Value> + '_ {
        (self.bounds.lo..self.bounds.hi).map(|index| self.samples.value(index))
    }

    /// The histograms; `None` where there is also a float.
    fn histograms(&self) -> Option<Vec<Arc<Histogram>>> {
        let only = |value| match value {
            Value::Histogram(histogram) => Some(histogram),
            Value::Float(_) => None,
        };
        self.values().map(only).collect()
    }

    fn floats(&self) -> Option<Vec<f64>> {
        let only = |value| match value {
            Value::Histogram(_) => None,
            Value::Float(float) => Some(float),
        };
        self.values().map(only).collect()
    }

    /// Changes or resets from sample to sample; a change of type is both.
    fn transitions(&self, function: RangeFunction) -> f64 {
        let resets = function == RangeFunction::Resets;
        let mut count = 0.0;
        let mut before: Option<Value> = None;
        for value in self.values() {
            let counts = match (&before, &value) {
                (None, _) => false,
                (Some(Value::Float(a)), Value::Float(b)) if resets => b < a,
                (Some(Value::Float(a)), Value::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
                (Some(Value::Histogram(a)), Value::Histogram(b)) if resets => was_reset(a, b),
                (Some(Value::Histogram(a)), Value::Histogram(b)) => !equal(a, b),
                (Some(_), _) => true,
            };
            count += f64::from(u8::from(counts));
            before = Some(value);
        }
        count
    }
}

/// `sum_over_time` and `avg_over_time`.
fn total(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    window: &Windowed<'_>,
) -> Option<Value> {
    let average = node.function == RangeFunction::Avg;
    if let Some(floats) = window.floats() {
        let mut sum = Kahan::default();
        floats.iter().for_each(|v| sum.add(*v));
        let divisor = if average { floats.len() as f64 } else { 1.0 };
        return Some(Value::Float(sum.value() / divisor));
    }
    let Some(histograms) = window.histograms() else {
        evaluator.warn(notes::mixed_range(labels, node.place));
        return None;
    };
    let (first, rest) = histograms.split_first()?;
    let mut total = Total::new(first);
    rest.iter().for_each(|h| total.add(h));
    if total.incompatible {
        evaluator.warn(notes::mixed_layouts(labels, node.place));
        return None;
    }
    total
        .finish(evaluator, average, node.place)
        .map(Value::Histogram)
}

/// `rate`, `increase`, `delta`, `irate`, `idelta`.
fn change(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    window: &Windowed<'_>,
    step: Timestamp,
) -> Option<Value> {
    use RangeFunction as F;
    let last_two = matches!(node.function, F::Irate | F::Idelta);
    let counter = !matches!(node.function, F::Delta | F::Idelta);
    let mut window = Windowed {
        times: window.times,
        ..*window
    };
    if last_two && window.times.len() > 2 {
        window.bounds.lo = window.bounds.hi - 2;
        window.times = &window.times[window.times.len() - 2..];
    }
    let (first, last) = (*window.times.first()?, *window.times.last()?);
    let seconds = (last - first) as f64 / 1e9;
    if let Some(floats) = window.floats() {
        let windows = Windows::whole(floats.len());
        let samples = Samples {
            times: window.times.to_vec(),
            floats,
            ..Samples::default()
        };
        let column = over::floats(
            evaluator.budget,
            node,
            &View::new(labels, &samples),
            &windows,
            &[],
            &Grid::instant(step),
        );
        return column.get(0);
    }
    let Some(histograms) = window.histograms() else {
        evaluator.warn(notes::mixed_range(labels, node.place));
        return None;
    };
    if histograms.len() < 2 || seconds == 0.0 {
        return None;
    }
    let mut parts = difference(evaluator, node, labels, &histograms, counter)?;
    let factor = match node.function {
        F::Irate => 1.0 / seconds,
        F::Idelta => 1.0,
        _ => {
            let extent = Extent::new(window.times, node.window.end(step), node.window.length);
            let from = histograms[0].count;
            let zero =
                (counter && parts.head.count > 0.0 && from >= 0.0).then(|| from / parts.head.count);
            extent.factor(zero, node.function == F::Rate)
        }
    };
    parts.scale(factor);
    parts.head.reset_hint = ResetHint::Gauge;
    Some(Value::Histogram(Arc::new(parts.build())))
}

/// A function over a window that the sample before it has joined; nothing is extrapolated.
pub(super) fn anchored(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    samples: &Samples,
    bounds: Bounds,
) -> Option<Value> {
    use RangeFunction as F;
    let times = &samples.times[bounds.lo..bounds.hi];
    let window = Windowed {
        times,
        samples,
        bounds,
    };
    if matches!(node.function, F::Changes | F::Resets) {
        return Some(Value::Float(window.transitions(node.function)));
    }
    let counter = node.function != F::Delta;
    let per = match node.function {
        F::Rate => node.window.length as f64 / 1e9,
        _ => 1.0,
    };
    if let Some(floats) = window.floats() {
        let falls = floats.windows(2).filter(|p| counter && p[1] < p[0]);
        let lost: f64 = falls.map(|p| p[0]).sum();
        return Some(Value::Float(
            (floats.last()? - floats.first()? + lost) / per,
        ));
    }
    let Some(mut histograms) = window.histograms() else {
        evaluator.warn(notes::mixed_range(labels, node.place));
        return None;
    };
    if histograms.len() == 1 {
        histograms.push(Arc::clone(&histograms[0]));
    }
    let mut parts = difference(evaluator, node, labels, &histograms, counter)?;
    parts.scale(1.0 / per);
    Some(Value::Histogram(Arc::new(parts.build())))
}

/// The histogram between two others; a counter that was reset starts at nothing.
pub(super) fn between(
    a: &Histogram,
    b: &Histogram,
    share: f64,
    counter: bool,
) -> Option<Arc<Histogram>> {
    if a.has_custom_buckets() != b.has_custom_buckets() {
        return None;
    }
    let gauge = a.reset_hint == ResetHint::Gauge || b.reset_hint == ResetHint::Gauge;
    let mut parts = Parts::new(a);
    if counter && !gauge && was_reset(a, b) {
        parts = Parts::new(b);
        parts.scale(share);
    } else {
        parts.scale(1.0 - share);
        parts.add(&Parts::new(b), share).ok()?;
    }
    let hint = if gauge {
        ResetHint::Gauge
    } else {
        ResetHint::Unknown
    };
    parts.head.reset_hint = hint;
    Some(Arc::new(parts.build()))
}

/// A function over a window that the samples around it have joined, interpolated at its borders.
pub(super) fn smoothed(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    samples: &Samples,
    bounds: Bounds,
    (start, end): (Timestamp, Timestamp),
) -> Option<Value> {
    let times = &samples.times[bounds.lo..bounds.hi];
    let window = Windowed {
        times,
        samples,
        bounds,
    };
    let counter = node.function != RangeFunction::Delta;
    let Some(mut histograms) = window.histograms() else {
        evaluator.warn(notes::mixed_range(labels, node.place));
        return None;
    };
    let mixed = histograms
        .iter()
        .any(|h| h.has_custom_buckets() != histograms[0].has_custom_buckets());
    if mixed {
        evaluator.warn(notes::mixed_layouts(labels, node.place));
        return None;
    }
    let original = histograms.clone();
    let share = |i: usize, at: Timestamp| (at - times[i]) as f64 / (times[i + 1] - times[i]) as f64;
    let last = times.len() - 1;
    if last > 0 && times[0] < start {
        histograms[0] = between(&original[0], &original[1], share(0, start), counter)?;
        // A reset before the first sample inside lies before the border now.
        if let Value::Histogram(next) = unhinted(Value::Histogram(Arc::clone(&original[1]))) {
            histograms[1] = next;
        }
    }
    if last > 0 && times[last] > end {
        let (a, b) = (&original[last - 1], &original[last]);
        let border = between(a, b, share(last - 1, end), counter)?;
        let reset = counter && was_reset(a, b) && times[last - 1] > start;
        histograms[last] = match reset {
            true => Arc::new(Histogram {
                reset_hint: ResetHint::Reset,
                ..border.as_ref().clone()
            }),
            false => border,
        };
    }
    if histograms.len() == 1 {
        histograms.push(Arc::clone(&histograms[0]));
    }
    let mut parts = difference(evaluator, node, labels, &histograms, counter)?;
    if node.function == RangeFunction::Rate {
        parts.scale(1e9 / node.window.length as f64);
    }
    Some(Value::Histogram(Arc::new(parts.build())))
}

/// Last less first, with what counters lost at resets.
pub(super) fn difference(
    evaluator: &Evaluator<'_>,
    node: &Over,
    labels: &Labels,
    histograms: &[Arc<Histogram>],
    counter: bool,
) -> Option<Parts> {
    let (first, second) = (histograms.first()?, histograms.get(1)?);
    let last = histograms.last()?;
    let is_gauge = |h: &Arc<Histogram>| h.reset_hint == ResetHint::Gauge;
    if counter && histograms.iter().any(is_gauge) {
        evaluator.warn(notes::not_counter_histogram(labels, node.place));
    }
    let gauges = is_gauge(first) && is_gauge(last);
    if !(counter || gauges) {
        evaluator.warn(notes::not_gauge_histogram(labels, node.place));
    }
    // Where a reset follows the first one, its layout does not matter.
    let skip = counter && was_reset(first, second);
    let relevant = &histograms[usize::from(skip)..];
    let custom = |h: &Arc<Histogram>| h.has_custom_buckets();
    if relevant.iter().any(|h| custom(h) != custom(last)) {
        evaluator.warn(notes::mixed_layouts(labels, node.place));
        return None;
    }
    let mut parts = Parts::new(last);
    let mut reconciled = [false; 2];
    if !skip {
        reconciled[0] = parts.add(&Parts::new(first), -1.0).ok()?;
    }
    if counter {
        for pair in relevant
            .windows(2)
            .filter(|pair| was_reset(&pair[0], &pair[1]))
        {
            reconciled[1] |= parts.add(&Parts::new(&pair[0]), 1.0).ok()?;
        }
    }
    for (what, found) in ["subtraction", "addition"].iter().zip(reconciled) {
        if found {
            evaluator.info(notes::reconciled(what, node.place));
        }
    }
    parts.head.reset_hint = ResetHint::Gauge;
    Some(parts)
}
