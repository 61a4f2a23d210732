//! The syntax tree of TraceQL's metrics: what is counted or measured, and what is done to the
//! series afterwards.
//!
//! Invariant of trees that the parser gave: stages stand at the root or on one pipeline, never on
//! `compare()`; scalars are integers or floats.

use std::fmt::{self, Display, Formatter};

use super::ast::{Attribute, Element, FieldExpr, Operator, Static};

/// A query for series.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricExpr {
    /// Spans to series.
    Series(Box<MetricPipeline>),
    /// Series joined by equal labels.
    Binary {
        /// `+`, `-`, `*` or `/`.
        op: Operator,
        /// Left side.
        left: Box<Self>,
        /// Right side.
        right: Box<Self>,
    },
    /// Every value with a number.
    Scalar {
        /// `+`, `-`, `*` or `/`.
        op: Operator,
        /// The number.
        value: Static,
        /// Whether the number stands on the left.
        left: bool,
        /// The series.
        inner: Box<Self>,
    },
    /// Series that are filtered.
    Staged {
        /// The series.
        inner: Box<Self>,
        /// What is done to them, in order.
        stages: Vec<Stage>,
    },
}

/// `{ … } | rate() by (resource.service.name)`
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPipeline {
    /// Which spans.
    pub pipeline: Vec<Element>,
    /// What of them.
    pub metric: Metric,
    /// A series for each combination of these values.
    pub by: Vec<Attribute>,
}

/// What is made of spans.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// Spans a second.
    Rate,
    /// Spans a step.
    Count,
    /// A number about the values of an attribute.
    Over(OverTime, Attribute),
    /// Quantiles of the values of an attribute, from powers of two.
    Quantile(Attribute, Vec<f64>),
    /// Spans by the power of two that is next to the value of an attribute.
    Histogram(Attribute),
    /// Which values of attributes spans have that meet a condition, and all others.
    Compare {
        /// The condition; none takes all.
        filter: Option<FieldExpr>,
        /// Values of an attribute that are told.
        top: usize,
        /// The condition counts only from when to when, in nanoseconds.
        window: Option<(i64, i64)>,
    },
}

/// Numbers about values in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverTime {
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Mean.
    Avg,
    /// Sum.
    Sum,
}

impl OverTime {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Min => "min_over_time",
            Self::Max => "max_over_time",
            Self::Avg => "avg_over_time",
            Self::Sum => "sum_over_time",
        }
    }
}

impl Metric {
    /// The function's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Count => "count_over_time",
            Self::Over(over, _) => over.as_str(),
            Self::Quantile(..) => "quantile_over_time",
            Self::Histogram(_) => "histogram_over_time",
            Self::Compare { .. } => "compare",
        }
    }
}

/// What is done to series.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// `topk(n)`: the largest of each step.
    Top(usize),
    /// `bottomk(n)`: the smallest of each step.
    Bottom(usize),
    /// `> 5`: values that meet it; a duration counts in seconds.
    Keep(Operator, Static),
}

impl MetricExpr {
    /// Calls for every pipeline, from left to right.
    pub fn pipelines<'a>(&'a self, visit: &mut dyn FnMut(&'a MetricPipeline)) {
        match self {
            Self::Series(series) => visit(series),
            Self::Binary { left, right, .. } => {
                left.pipelines(visit);
                right.pipelines(visit);
            }
            Self::Scalar { inner, .. } | Self::Staged { inner, .. } => inner.pipelines(visit),
        }
    }
}

impl Display for MetricExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series(series) => series.fmt(f),
            Self::Binary { op, left, right } => {
                write!(f, "({left}) {} ({right})", op.as_str())
            }
            Self::Scalar {
                op,
                value,
                left: true,
                inner,
            } => write!(f, "{value} {} ({inner})", op.as_str()),
            Self::Scalar {
                op, value, inner, ..
            } => write!(f, "({inner}) {} {value}", op.as_str()),
            Self::Staged { inner, stages } => {
                inner.fmt(f)?;
                stages.iter().try_for_each(|stage| stage.fmt(f))
            }
        }
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top(count) => write!(f, " | topk({count})"),
            Self::Bottom(count) => write!(f, " | bottomk({count})"),
            Self::Keep(op, value) => write!(f, " {} {value}", op.as_str()),
        }
    }
}

impl Display for MetricPipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        super::printer::pipeline(f, &self.pipeline)?;
        write!(f, " | {}(", self.metric.as_str())?;
        match &self.metric {
            Metric::Rate | Metric::Count => {}
            Metric::Over(_, attribute) | Metric::Histogram(attribute) => attribute.fmt(f)?,
            Metric::Quantile(attribute, quantiles) => {
                attribute.fmt(f)?;
                quantiles.iter().try_for_each(|q| write!(f, ", {q}"))?;
            }
            Metric::Compare {
                filter,
                top,
                window,
            } => {
                match filter {
                    Some(filter) => write!(f, "{{ {filter} }}")?,
                    None => f.write_str("{ }")?,
                }
                write!(f, ", {top}")?;
                if let Some((start, end)) = window {
                    write!(f, ", {start}, {end}")?;
                }
            }
        }
        f.write_str(")")?;
        if self.by.is_empty() {
            return Ok(());
        }
        f.write_str(" by (")?;
        for (index, attribute) in self.by.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{attribute}")?;
        }
        f.write_str(")")
    }
}
