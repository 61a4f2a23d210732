//! Counters and histograms with the labels of their series, and how they become samples.
//!
//! Invariant: the first sample of a series is a zero just after the time of the collection before,
//! so that `rate` and `increase` see the first events; what ends has a stale marker.

use std::sync::Arc;

use obs_model::labels::{LabelsBuilder, METRIC_NAME};
use obs_model::metrics::{Exemplar, MetricBatch, Sample, Series};
use obs_model::sample::stale;
use obs_model::{Histogram, Labels, Timestamp, Value};

use super::histogram::{Distribution, Example, Shape};

/// The label of an exemplar that has the trace's id, as Tempo.
const TRACE_ID: &str = "traceID";

/// Where samples go.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) batch: MetricBatch,
    /// The time of the samples.
    pub(super) now: Timestamp,
    /// The time of the zeroes before first samples, where there is room for them.
    pub(super) zero: Option<Timestamp>,
}

impl Out {
    fn push(
        &mut self,
        labels: &Labels,
        (zero, value): (Value, Value),
        fresh: bool,
        exemplars: Vec<Exemplar>,
    ) {
        let sample = |time, value| Sample {
            time,
            start: None,
            value,
        };
        let first = self.zero.filter(|_| fresh).map(|time| sample(time, zero));
        let samples = first.into_iter().chain([sample(self.now, value)]);
        self.batch.series.push(Series {
            labels: labels.clone(),
            samples: samples.collect(),
            exemplars,
            ..Series::default()
        });
    }

    /// A float; where `fresh`, after a zero.
    fn float(&mut self, labels: &Labels, value: f64, fresh: bool, exemplars: Vec<Exemplar>) {
        let values = (Value::Float(0.0), Value::Float(value));
        self.push(labels, values, fresh, exemplars);
    }

    /// A gauge.
    pub(super) fn gauge(&mut self, labels: &Labels, value: f64) {
        self.float(labels, value, false, Vec::new());
    }

    /// The end of a series.
    pub(super) fn end(&mut self, labels: &Labels) {
        self.gauge(labels, stale());
    }
}

/// A name put before labels.
pub(super) fn named(base: &LabelsBuilder, name: &str) -> Labels {
    let mut labels = base.clone();
    labels.set(METRIC_NAME, name);
    labels.build()
}

/// A counter; it has a series once it is above zero.
#[derive(Debug)]
pub(super) struct Counter {
    labels: Labels,
    pub(super) value: u64,
    told: bool,
}

impl Counter {
    pub(super) fn new(base: &LabelsBuilder, name: &str) -> Self {
        Self {
            labels: named(base, name),
            value: 0,
            told: false,
        }
    }

    pub(super) fn collect(&mut self, out: &mut Out) {
        if self.value > 0 {
            out.float(&self.labels, self.value as f64, !self.told, Vec::new());
            self.told = true;
        }
    }

    pub(super) fn end(&self, out: &mut Out) {
        if self.told {
            out.end(&self.labels);
        }
    }
}

/// A distribution with its labels.
#[derive(Debug)]
pub(super) struct Timing {
    /// Of `_sum` and `_count`.
    totals: Option<(Labels, Labels)>,
    /// Of each `_bucket`, the one without a bound last.
    buckets: Vec<Labels>,
    native: Option<Labels>,
    pub(super) seen: Distribution,
    told: bool,
}

impl Timing {
    pub(super) fn new(base: &LabelsBuilder, name: &str, shape: &Shape) -> Self {
        let mut buckets = Vec::new();
        if shape.classic() {
            let bounds = shape.bounds.iter().map(f64::to_string);
            let mut labels = base.clone();
            labels.set(METRIC_NAME, &format!("{name}_bucket"));
            for bound in bounds.chain(["+Inf".to_owned()]) {
                buckets.push(labels.set("le", &bound).build());
            }
        }
        let total = |suffix: &str| named(base, &format!("{name}_{suffix}"));
        Self {
            totals: shape.classic().then(|| (total("sum"), total("count"))),
            buckets,
            native: shape.native().then(|| named(base, name)),
            seen: Distribution::new(shape),
            told: false,
        }
    }

    /// How many series one such has.
    pub(super) fn series(shape: &Shape) -> usize {
        let classic = if shape.classic() {
            shape.bounds.len() + 3
        } else {
            0
        };
        classic + usize::from(shape.native())
    }

    pub(super) fn collect(&mut self, out: &mut Out) {
        if self.seen.count == 0 {
            return;
        }
        let fresh = !self.told;
        let mut total = 0;
        for (bucket, labels) in self.buckets.iter().enumerate() {
            total += self.seen.counts[bucket];
            let examples = self.seen.examples().iter();
            let own = examples.filter(|e| e.bucket == bucket).map(exemplar);
            out.float(labels, total as f64, fresh, own.collect());
        }
        if let Some((sum, count)) = &self.totals {
            out.float(sum, self.seen.sum, fresh, Vec::new());
            out.float(count, self.seen.count as f64, fresh, Vec::new());
        }
        if let Some(labels) = &self.native {
            let now = self.seen.native();
            let zero = Histogram {
                integer: true,
                schema: now.schema,
                zero_threshold: now.zero_threshold,
                ..Histogram::default()
            };
            let values = (
                Value::Histogram(Arc::new(zero)),
                Value::Histogram(Arc::new(now)),
            );
            // The slowest one: a native histogram has no buckets to hang the others on.
            let examples = self.seen.examples().iter();
            let slowest = examples.max_by(|a, b| a.value.total_cmp(&b.value));
            let exemplars = slowest.map(exemplar).into_iter().collect();
            out.push(labels, values, fresh, exemplars);
        }
        self.seen.forget_examples();
        self.told = true;
    }

    pub(super) fn end(&self, out: &mut Out) {
        if !self.told {
            return;
        }
        let totals = self.totals.iter().flat_map(|(sum, count)| [sum, count]);
        for labels in self.buckets.iter().chain(totals).chain(&self.native) {
            out.end(labels);
        }
    }
}

fn exemplar(example: &Example) -> Exemplar {
    Exemplar {
        labels: Labels::from_pairs([(TRACE_ID, example.trace.to_string())]),
        value: example.value,
        time: example.time,
    }
}
