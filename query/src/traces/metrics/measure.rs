//! One pipeline's spans gathered into groups and steps.
//!
//! Invariant: a group is charged when it is made: all its cells at once, so that nothing grows with
//! the number of spans but powers of two.

use std::collections::HashMap;

use obs_model::answer::SpanExemplar;
use obs_model::spans::{Attribute as SpanAttribute, AttributeValue};
use obs_model::{Budget, BudgetError, Timestamp};

use super::super::value::Value;
use super::exemplars::{Pick, Picker};
use super::quantile::{self, Powers};
use super::steps::Steps;
use super::{Series, series};
use crate::traceql::ast::{Attribute, Intrinsic};
use crate::traceql::metric::{Metric, MetricPipeline, OverTime};

/// What a group takes beside its cells.
const GROUP_BYTES: usize = 256;

/// The cells of one group, one a step.
#[derive(Debug)]
enum Cells {
    Counts(Vec<f64>),
    /// Smallest or largest; NaN where there is none.
    Extremes(Vec<f64>),
    /// Sum, what rounding lost, and how many.
    Sums(Vec<[f64; 3]>),
    Powers(Vec<Powers>),
}

#[derive(Debug)]
struct Group {
    /// Values of `by`; empty ones are nil.
    values: Vec<AttributeValue>,
    cells: Cells,
    exemplars: Vec<Pick>,
}

/// What one span brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// What cells take: a number, or a power of two.
    pub(super) cell: f64,
    /// What exemplars show; NaN for counts.
    pub(super) shown: f64,
}

/// Gathers.
#[derive(Debug)]
pub(super) struct Measure<'a> {
    pub(super) metric: &'a Metric,
    pub(super) by: &'a [Attribute],
    pub(super) steps: &'a Steps,
    pub(super) budget: &'a Budget,
    pub(super) picker: Picker,
    numbers: HashMap<Vec<u8>, usize>,
    groups: Vec<Group>,
}

impl<'a> Measure<'a> {
    pub(super) fn new(
        pipeline: &'a MetricPipeline,
        steps: &'a Steps,
        exemplars: usize,
        budget: &'a Budget,
    ) -> Self {
        Self {
            metric: &pipeline.metric,
            by: &pipeline.by,
            steps,
            budget,
            picker: Picker::new(exemplars, steps),
            numbers: HashMap::new(),
            groups: Vec::new(),
        }
    }

    /// The attribute that is measured.
    pub(super) fn attribute(&self) -> Option<&'a Attribute> {
        match self.metric {
            Metric::Rate | Metric::Count | Metric::Compare { .. } => None,
            Metric::Over(_, attribute)
            | Metric::Quantile(attribute, _)
            | Metric::Histogram(attribute) => Some(attribute),
        }
    }

    /// What a value brings; `None` where it is not measured.
    pub(super) fn observed(&self, value: &Value<'_>) -> Option<Observed> {
        let seconds = self.attribute() == Some(&Attribute::Intrinsic(Intrinsic::Duration));
        let number = value.number().filter(|n| !n.is_nan());
        let scaled = number.map(|n| if seconds { n / 1e9 } else { n });
        match self.metric {
            Metric::Rate | Metric::Count | Metric::Compare { .. } => Some(Observed {
                cell: 1.0,
                shown: f64::NAN,
            }),
            Metric::Over(..) => scaled.map(|cell| Observed { cell, shown: cell }),
            Metric::Quantile(..) | Metric::Histogram(_) => Some(Observed {
                cell: quantile::power_of(value)?,
                shown: scaled?,
            }),
        }
    }

    /// Takes spans of a trace that was put together: what columns must say too.
    #[cfg(test)]
    pub(super) fn trace(
        &mut self,
        trace: &super::super::view::TraceView<'_>,
        spans: &[usize],
    ) -> Result<(), BudgetError> {
        use super::super::field::Fields;
        for index in spans {
            let span = trace.spans[*index].span;
            let Some(step) = self.steps.of(span.start) else {
                continue;
            };
            let value = match self.attribute() {
                Some(attribute) => trace.lookup(attribute, *index),
                None => Value::Missing,
            };
            let Some(observed) = self.observed(&value) else {
                continue;
            };
            let values = self.by.iter().map(|by| trace.lookup(by, *index));
            let values: Vec<AttributeValue> = values.map(|v| v.to_attribute()).collect();
            let group = self.group(values)?;
            self.add(group, step, observed.cell);
            if self.picker.take(span.trace_id, span.start) {
                self.pick(
                    group,
                    Pick {
                        trace: span.trace_id,
                        span: span.span_id,
                        name: span.name.clone(),
                        time: span.start,
                        value: observed.shown,
                    },
                );
            }
        }
        Ok(())
    }

    /// The number of a group; empty values are nil.
    pub(super) fn group(&mut self, values: Vec<AttributeValue>) -> Result<usize, BudgetError> {
        let mut key = Vec::new();
        values
            .iter()
            .for_each(|value| series::key_of(value, &mut key));
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        let count = self.steps.count();
        let (cells, cell_bytes) = match self.metric {
            Metric::Rate | Metric::Count | Metric::Compare { .. } => {
                (Cells::Counts(vec![0.0; count]), 8)
            }
            Metric::Over(OverTime::Min | OverTime::Max, _) => {
                (Cells::Extremes(vec![f64::NAN; count]), 8)
            }
            Metric::Over(OverTime::Avg | OverTime::Sum, _) => {
                (Cells::Sums(vec![[0.0; 3]; count]), 24)
            }
            // Few powers have values, but all may.
            Metric::Quantile(..) | Metric::Histogram(_) => {
                (Cells::Powers(vec![Powers::new(); count]), 24 + 16 * 8)
            }
        };
        self.budget.series(1)?;
        let bytes = GROUP_BYTES + 2 * key.len() + count * cell_bytes;
        self.budget.bytes(bytes as u64)?;
        let number = self.groups.len();
        self.groups.push(Group {
            values,
            cells,
            exemplars: Vec::new(),
        });
        self.numbers.insert(key, number);
        Ok(number)
    }

    /// Adds a span to a group's step.
    pub(super) fn add(&mut self, group: usize, step: usize, value: f64) {
        match &mut self.groups[group].cells {
            Cells::Counts(cells) => cells[step] += value,
            Cells::Extremes(cells) => {
                let cell = &mut cells[step];
                *cell = match self.metric {
                    Metric::Over(OverTime::Min, _) => cell.min(value),
                    _ => cell.max(value),
                };
            }
            Cells::Sums(cells) => {
                let [sum, lost, count] = &mut cells[step];
                let before = *sum;
                *sum += value;
                // Neumaier: what the addition rounded away.
                *lost += if before.abs() >= value.abs() {
                    (before - *sum) + value
                } else {
                    (value - *sum) + before
                };
                *count += 1.0;
            }
            Cells::Powers(cells) => quantile::add(&mut cells[step], value, 1.0),
        }
    }

    /// Notes an exemplar of a group.
    pub(super) fn pick(&mut self, group: usize, pick: Pick) {
        self.groups[group].exemplars.push(pick);
    }

    /// The series of all groups.
    pub(super) fn finish(mut self) -> Vec<Series> {
        let plain = matches!(self.metric, Metric::Rate | Metric::Count | Metric::Over(..));
        if plain && self.by.is_empty() && self.groups.is_empty() {
            // Without groups there is one series, also of no spans.
            let cells = match self.metric {
                Metric::Over(..) => Cells::Extremes(vec![f64::NAN; self.steps.count()]),
                _ => Cells::Counts(vec![0.0; self.steps.count()]),
            };
            self.groups.push(Group {
                values: Vec::new(),
                cells,
                exemplars: Vec::new(),
            });
        }
        let groups = std::mem::take(&mut self.groups);
        let all = self.powers_of(&groups);
        let mut out = Vec::new();
        for group in groups {
            self.series(group, &all, &mut out);
        }
        out
    }

    /// The powers of all groups together: they say which quantile an exemplar stands for.
    fn powers_of(&self, groups: &[Group]) -> Powers {
        let mut all = Powers::new();
        for group in groups {
            if let Cells::Powers(cells) = &group.cells {
                for (power, count) in cells.iter().flatten() {
                    quantile::add(&mut all, *power, *count);
                }
            }
        }
        all
    }

    /// The series of a group.
    fn series(&self, group: Group, all: &Powers, out: &mut Vec<Series>) {
        let labels = self.labels(&group.values);
        let values = match (group.cells, self.metric) {
            (Cells::Powers(cells), Metric::Quantile(_, quantiles)) => {
                let at: Vec<f64> = quantiles
                    .iter()
                    .map(|q| quantile::quantile(*q, all))
                    .collect();
                for (number, q) in quantiles.iter().enumerate() {
                    let nearest = |pick: &&Pick| nearest(&at, pick.value) == Some(number);
                    let picks = group.exemplars.iter().filter(nearest);
                    out.push(Series {
                        labels: with(&labels, "p", *q),
                        values: cells.iter().map(|c| quantile::quantile(*q, c)).collect(),
                        exemplars: picks.map(|pick| self.exemplar(pick, &labels)).collect(),
                    });
                }
                return;
            }
            (Cells::Powers(cells), _) => {
                self.buckets(&cells, &labels, &group.exemplars, out);
                return;
            }
            (Cells::Counts(counts), Metric::Rate) => {
                let seconds = self.steps.seconds();
                counts.into_iter().map(|count| count / seconds).collect()
            }
            (Cells::Counts(values) | Cells::Extremes(values), _) => values,
            (Cells::Sums(cells), metric) => {
                let mean = matches!(metric, Metric::Over(OverTime::Avg, _));
                let value = |[sum, lost, count]: [f64; 3]| match count {
                    0.0 => f64::NAN,
                    count if mean => (sum + lost) / count,
                    _ => sum + lost,
                };
                cells.into_iter().map(value).collect()
            }
        };
        let exemplars = group.exemplars.iter();
        let exemplars = exemplars.map(|pick| self.exemplar(pick, &labels)).collect();
        let labels = if labels.is_empty() {
            vec![self.only_label()]
        } else {
            labels
        };
        out.push(Series {
            labels,
            values,
            exemplars,
        });
    }

    /// A series for each power of two of a group.
    fn buckets(
        &self,
        cells: &[Powers],
        labels: &[SpanAttribute],
        picks: &[Pick],
        out: &mut Vec<Series>,
    ) {
        let mut powers = Powers::new();
        for (power, count) in cells.iter().flatten() {
            quantile::add(&mut powers, *power, *count);
        }
        for (index, (power, _)) in powers.iter().enumerate() {
            let below = index.checked_sub(1).map_or(0.0, |i| powers[i].0);
            let inside = |pick: &&Pick| pick.value > below && pick.value <= *power;
            let exemplar = |pick: &Pick| SpanExemplar {
                value: f64::NAN,
                ..self.exemplar(pick, labels)
            };
            let count = |powers: &Powers| {
                let found = powers.iter().find(|(p, _)| p == power);
                found.map_or(0.0, |(_, count)| *count)
            };
            out.push(Series {
                labels: with(labels, "__bucket", *power),
                values: cells.iter().map(count).collect(),
                exemplars: picks.iter().filter(inside).map(exemplar).collect(),
            });
        }
    }

    /// Labels as the query writes their attributes; nil ones are left out.
    fn labels(&self, values: &[AttributeValue]) -> Vec<SpanAttribute> {
        let named = self.by.iter().zip(values);
        named
            .filter(|(_, value)| **value != AttributeValue::Empty)
            .map(|(by, value)| SpanAttribute {
                key: by.to_string(),
                value: value.clone(),
            })
            .collect()
    }

    /// What a series is called that has no label otherwise.
    fn only_label(&self) -> SpanAttribute {
        match self.by.first() {
            Some(by) => SpanAttribute::string(by.to_string(), "nil"),
            None => SpanAttribute::string("__name__", self.metric.as_str()),
        }
    }

    fn exemplar(&self, pick: &Pick, labels: &[SpanAttribute]) -> SpanExemplar {
        let mut all = vec![
            SpanAttribute::string("trace:id", pick.trace.to_string()),
            SpanAttribute::string("span:id", pick.span.to_string()),
            SpanAttribute::string("name", pick.name.clone()),
        ];
        all.extend(labels.iter().filter(|l| l.key != "name").cloned());
        SpanExemplar {
            labels: all,
            // Exemplars have milliseconds; rounding up keeps the step.
            time: rounded_up(pick.time),
            value: pick.value,
        }
    }
}

/// Labels and one more.
fn with(labels: &[SpanAttribute], key: &str, value: f64) -> Vec<SpanAttribute> {
    let mut labels = labels.to_vec();
    labels.push(SpanAttribute {
        key: key.to_owned(),
        value: AttributeValue::Double(value),
    });
    labels
}

/// The next whole millisecond.
fn rounded_up(time: Timestamp) -> Timestamp {
    let nanos = time.nanos();
    let rest = nanos.rem_euclid(obs_model::time::NANOS_PER_MILLI);
    match rest {
        0 => time,
        rest => {
            Timestamp::from_nanos(nanos.saturating_add(obs_model::time::NANOS_PER_MILLI - rest))
        }
    }
}

/// The number of the value that is nearest.
fn nearest(values: &[f64], wanted: f64) -> Option<usize> {
    let distance = |value: &f64| (value - wanted).abs();
    let numbered = values.iter().enumerate();
    numbered
        .min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b)))
        .map(|(number, _)| number)
}
