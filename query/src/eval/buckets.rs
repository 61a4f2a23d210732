//! Arithmetic of native histograms: buckets as sorted lists of (index, count).
//!
//! Bucket i of an exponential schema s holds values up to 2^(i·2^-s); bucket i of custom bounds
//! values up to the i-th bound, the last one everything above.

use obs_model::Histogram;
use obs_model::histogram::{BucketSpan, ResetHint};

/// Counts by bucket index, ascending.
pub(super) type List = Vec<(i32, f64)>;

/// One side is exponential, the other has custom bounds.
#[derive(Debug)]
pub(super) struct Incompatible;

/// A bucket with its borders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) count: f64,
}

/// Buckets with their indices.
pub(super) fn list(spans: &[BucketSpan], counts: &[f64]) -> List {
    let mut out = Vec::with_capacity(counts.len());
    let mut index = 0i32;
    let mut counts = counts.iter();
    for span in spans {
        index = index.saturating_add(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            out.push((index, *count));
            index = index.saturating_add(1);
        }
    }
    out
}

/// Spans and counts of a list; empty buckets leave.
fn spans(list: &List) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut counts = Vec::with_capacity(list.len());
    let mut next = 0i32;
    for (index, count) in list.iter().filter(|(_, count)| *count != 0.0) {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(BucketSpan {
                offset: index.saturating_sub(next),
                length: 1,
            }),
        }
        counts.push(*count);
        next = index.saturating_add(1);
    }
    (spans, counts)
}

/// A histogram taken apart for arithmetic.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) head: Histogram,
    pub(super) positive: List,
    pub(super) negative: List,
}

impl Parts {
    pub(super) fn new(histogram: &Histogram) -> Self {
        let positive = list(&histogram.positive_spans, &histogram.positive);
        let negative = list(&histogram.negative_spans, &histogram.negative);
        let head = Histogram {
            positive_spans: Vec::new(),
            positive: Vec::new(),
            negative_spans: Vec::new(),
            negative: Vec::new(),
            ..histogram.clone()
        };
        Self {
            head,
            positive,
            negative,
        }
    }

    /// The histogram, without empty buckets.
    pub(super) fn build(self) -> Histogram {
        let (positive_spans, positive) = spans(&self.positive);
        let (negative_spans, negative) = spans(&self.negative);
        Histogram {
            integer: false,
            positive_spans,
            positive,
            negative_spans,
            negative,
            ..self.head
        }
    }

    /// Multiplies all counts and the sum.
    pub(super) fn scale(&mut self, factor: f64) {
        self.each(|count| *count *= factor);
        self.head.zero_count *= factor;
        self.head.count *= factor;
        self.head.sum *= factor;
        if factor < 0.0 {
            self.head.reset_hint = ResetHint::Gauge;
        }
    }

    fn each(&mut self, change: impl Fn(&mut f64)) {
        let lists = [&mut self.positive, &mut self.negative];
        lists
            .into_iter()
            .flatten()
            .for_each(|(_, count)| change(count));
    }

    /// Adds `factor` times another; tells whether custom bounds had to be reconciled.
    pub(super) fn add(&mut self, other: &Self, factor: f64) -> Result<bool, Incompatible> {
        let mut other = other.clone();
        let reconciled = reconcile(self, &mut other)?;
        let hints = (self.head.reset_hint, other.head.reset_hint);
        self.head.reset_hint = joined(hints.0, hints.1);
        self.head.zero_count += factor * other.head.zero_count;
        self.head.count += factor * other.head.count;
        self.head.sum += factor * other.head.sum;
        merge(&mut self.positive, &other.positive, factor);
        merge(&mut self.negative, &other.negative, factor);
        Ok(reconciled)
    }

    /// All buckets that are kept, from the lowest values to the highest.
    pub(super) fn buckets(&self) -> Vec<Bucket> {
        let head = &self.head;
        let mut out = Vec::with_capacity(self.positive.len() + self.negative.len() + 1);
        for (index, count) in self.negative.iter().rev() {
            let (lower, upper) = (-bound(head, *index), -bound(head, index - 1));
            out.push(Bucket {
                lower,
                upper,
                count: *count,
            });
        }
        if head.zero_count != 0.0 {
            let (lower, upper) = (-head.zero_threshold, head.zero_threshold);
            out.push(Bucket {
                lower,
                upper,
                count: head.zero_count,
            });
        }
        for (index, count) in &self.positive {
            let (lower, upper) = (bound(head, index - 1), bound(head, *index));
            out.push(Bucket {
                lower,
                upper,
                count: *count,
            });
        }
        out
    }

    fn reduce(&mut self, schema: i32) {
        let shift = (self.head.schema - schema).clamp(0, 31);
        if shift == 0 {
            return;
        }
        self.head.schema = schema;
        for list in [&mut self.positive, &mut self.negative] {
            remap(list, |index| ((index.saturating_sub(1)) >> shift) + 1);
        }
    }

    /// Takes buckets up to a threshold into the zero bucket; one that lies across it, whole.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.head.zero_threshold {
            return;
        }
        let mut widest = threshold;
        let head = &mut self.head;
        for list in [&mut self.positive, &mut self.negative] {
            list.retain(|(index, count)| {
                if bound(head, index - 1) >= threshold {
                    return true;
                }
                head.zero_count += count;
                if *count != 0.0 {
                    widest = widest.max(bound(head, *index));
                }
                false
            });
        }
        self.head.zero_threshold = widest;
    }
}

/// Upper border of a bucket; of the bucket below the first custom one, minus infinity.
pub(super) fn bound(head: &Histogram, index: i32) -> f64 {
    if head.has_custom_buckets() {
        return match usize::try_from(index) {
            Ok(index) => head
                .custom_bounds
                .get(index)
                .copied()
                .unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        };
    }
    (f64::from(index) * f64::from(-head.schema).exp2())
        .exp2()
        .min(f64::MAX)
}

fn merge(into: &mut List, other: &List, factor: f64) {
    let mut out: List = Vec::with_capacity(into.len().max(other.len()));
    let (mut a, mut b) = (into.iter().peekable(), other.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some((i, _)), Some((j, _))) => (*i).min(*j),
            (Some((i, _)), None) | (None, Some((i, _))) => *i,
            (None, None) => break,
        };
        let left = a
            .next_if(|(i, _)| *i == next)
            .map_or(0.0, |(_, count)| *count);
        let right = b
            .next_if(|(i, _)| *i == next)
            .map_or(0.0, |(_, count)| *count);
        out.push((next, left + factor * right));
    }
    *into = out;
}

/// Moves buckets to other indices, adding up those that meet; the order must not change.
fn remap(list: &mut List, to: impl Fn(i32) -> i32) {
    let mut out: List = Vec::with_capacity(list.len());
    for (index, count) in list.iter() {
        let index = to(*index);
        match out.last_mut() {
            Some((last, total)) if *last == index => *total += count,
            _ => out.push((index, *count)),
        }
    }
    *list = out;
}

/// Gives both the same layout: the coarser schema, the wider zero bucket, the common bounds.
pub(super) fn reconcile(a: &mut Parts, b: &mut Parts) -> Result<bool, Incompatible> {
    if a.head.has_custom_buckets() != b.head.has_custom_buckets() {
        return Err(Incompatible);
    }
    if a.head.has_custom_buckets() {
        if a.head.custom_bounds == b.head.custom_bounds {
            return Ok(false);
        }
        let common = a.head.custom_bounds.iter().copied();
        let common: Vec<f64> = common
            .filter(|x| b.head.custom_bounds.contains(x))
            .collect();
        for side in [a, b] {
            let before = std::mem::replace(&mut side.head.custom_bounds, common.clone());
            remap(&mut side.positive, |index| {
                let upper = usize::try_from(index).ok().and_then(|i| before.get(i));
                let upper = upper.copied().unwrap_or(f64::INFINITY);
                common.partition_point(|bound| *bound < upper) as i32
            });
        }
        return Ok(true);
    }
    let schema = a.head.schema.min(b.head.schema);
    // Widening one may widen it beyond the other; both only grow, bucket by bucket.
    while a.head.zero_threshold != b.head.zero_threshold {
        a.widen_zero(b.head.zero_threshold);
        b.widen_zero(a.head.zero_threshold);
    }
    a.reduce(schema);
    b.reduce(schema);
    Ok(false)
}

fn joined(a: ResetHint, b: ResetHint) -> ResetHint {
    match (a, b) {
        _ if a == b => a,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

/// Whether a counter histogram was reset between two samples.
pub(crate) fn was_reset(before: &Histogram, after: &Histogram) -> bool {
    match after.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    let coarser = after.has_custom_buckets() || after.schema <= before.schema;
    if after.count < before.count || !coarser || after.zero_threshold < before.zero_threshold {
        return true;
    }
    let (mut old, mut new) = (Parts::new(before), Parts::new(after));
    if reconcile(&mut old, &mut new).is_err() || new.head.zero_threshold != after.zero_threshold {
        return true;
    }
    let shrank = |old: &List, new: &List| {
        let mut difference = new.clone();
        merge(&mut difference, old, -1.0);
        difference.iter().any(|(_, count)| *count < 0.0)
    };
    new.head.zero_count < old.head.zero_count
        || shrank(&old.positive, &new.positive)
        || shrank(&old.negative, &new.negative)
}

/// Equal schema, counts, sums and buckets; NaN equals NaN by bits, empty buckets do not count.
pub(super) fn equal(a: &Histogram, b: &Histogram) -> bool {
    let same = |x: f64, y: f64| x.to_bits() == y.to_bits();
    let plain = |list: &List| -> Vec<(i32, u64)> {
        let filled = list.iter().filter(|(_, count)| *count != 0.0);
        filled
            .map(|(index, count)| (*index, count.to_bits()))
            .collect()
    };
    let (x, y) = (Parts::new(a), Parts::new(b));
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && a.custom_bounds == b.custom_bounds
        && (a.has_custom_buckets()
            || (a.zero_threshold == b.zero_threshold && same(a.zero_count, b.zero_count)))
        && plain(&x.positive) == plain(&y.positive)
        && plain(&x.negative) == plain(&y.negative)
}
