//! Metric families as exporters produce them: what `/metrics` prints.

use crate::labels::Labels;
use crate::metrics::MetricKind;

/// One line of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What follows the family's name: empty, `_total`, `_bucket`, `_sum`, `_count`.
    pub suffix: &'static str,
    /// Labels without the metric's name.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// A metric with its points.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name; for counters as the text format 0.0.4 has it, with `_total`.
    pub name: String,
    /// One line of help.
    pub help: String,
    /// The type.
    pub kind: MetricKind,
    /// The points.
    pub points: Vec<Point>,
}

impl Family {
    /// A family without points.
    pub fn new(name: impl Into<String>, kind: MetricKind, help: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            help: help.into(),
            kind,
            points: Vec::new(),
        }
    }

    /// Adds a point.
    pub fn push(&mut self, labels: Labels, value: f64) -> &mut Self {
        self.points.push(Point {
            suffix: "",
            labels,
            value,
        });
        self
    }

    /// This family with one point without labels.
    pub fn with(mut self, value: f64) -> Self {
        self.push(Labels::empty(), value);
        self
    }
}
