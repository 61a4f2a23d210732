//! From columns to answers: the end of names, the order of series, the shape that was asked for.

use obs_model::answer::{MatrixSeries, VectorSample};
use obs_model::{Answer, Samples, Value};
use obs_tsdb::Need;

use super::Evaluator;
use super::labels::{merge_same, without_name};
use super::series::{Bounds, bounds};
use super::source::{LeafSeries, Scratch, View};

use crate::column::{Column, Evaluated, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::plan::{Form, Input, MetricPlan, Node};

/// A number as Go's `%g` and Prometheus' APIs write it.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// A number as Go's `%f` writes it.
pub(crate) fn fixed(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.6}"),
        false => float(value),
    }
}

impl Evaluator<'_> {
    pub(super) fn answer(&self, plan: &MetricPlan) -> Result<Answer, QueryError> {
        if plan.form == Form::Samples {
            return self.window_samples(plan);
        }
        let grid = &plan.grid;
        let evaluated = self.node(&plan.root, grid)?;
        let start = grid.start;
        match (evaluated, plan.form) {
            (Evaluated::Text(text), _) => Ok(Answer::String(start, text)),
            (Evaluated::Scalar(values), Form::Range) => {
                let labels = obs_model::Labels::empty();
                let column = Column::full(values);
                Ok(Answer::Matrix(vec![MatrixSeries {
                    labels,
                    samples: rows(&column, grid),
                }]))
            }
            (Evaluated::Scalar(values), Form::Instant | Form::Samples) => Ok(Answer::Scalar(
                start,
                values.first().copied().unwrap_or(f64::NAN),
            )),
            (Evaluated::Vector(series), form) => {
                let series = self.finish(series)?;
                if form == Form::Range {
                    return Ok(matrix(series.into_iter().map(|s| MatrixSeries {
                        samples: rows(&s.column, grid),
                        labels: s.labels,
                    })));
                }
                let sample = |s: SeriesColumn| {
                    let value = s.column.get(0)?;
                    Some(VectorSample {
                        labels: s.labels,
                        time: start,
                        value,
                    })
                };
                Ok(Answer::Vector(
                    series.into_iter().filter_map(sample).collect(),
                ))
            }
        }
    }

    /// Takes the names away that were kept until the end.
    fn finish(&self, mut series: Vec<SeriesColumn>) -> Result<Vec<SeriesColumn>, QueryError> {
        let mut any = false;
        for one in series.iter_mut().filter(|s| s.drop_name) {
            one.labels = without_name(&one.labels);
            any = true;
        }
        series.retain(|s| !s.column.present.is_empty());
        if any { merge_same(series) } else { Ok(series) }
    }

    /// The samples of the window of a bare range selector or subquery.
    fn window_samples(&self, plan: &MetricPlan) -> Result<Answer, QueryError> {
        let Node::Over(over) = &plan.root else {
            return Err(super::misplaced("a range vector"));
        };
        let (owned, dropped) = match over.input {
            Input::Leaf(_) => Default::default(),
            Input::Subquery { .. } => self.subquery(over, &plan.grid)?,
        };
        let series = match over.input {
            Input::Leaf(leaf) => self.leaves[leaf],
            Input::Subquery { .. } => LeafSeries::Ready(&owned),
        };
        let mut out = Vec::new();
        let compute = |view: &View<'_>, _: &mut Scratch| {
            let mut samples = Samples::default();
            for b in bounds(view.times, &over.window, &plan.grid) {
                let values = (b.lo..b.hi).map(|i| (view.times[i], view.value(i)));
                for (time, value) in values.filter(|(_, value)| !value.is_stale()) {
                    push_any(&mut samples, time, value);
                }
            }
            self.counts.windows(
                &plan.grid,
                &[Bounds {
                    lo: 0,
                    hi: samples.len(),
                }],
            );
            self.budget.bytes(16 * samples.len() as u64)?;
            Ok((!samples.is_empty()).then_some(samples))
        };
        self.for_series(
            (series, Need::Values),
            &plan.grid,
            &compute,
            &mut |labels, samples| {
                let labels = match dropped.contains(labels) {
                    true => without_name(labels),
                    false => labels.clone(),
                };
                out.push(MatrixSeries { labels, samples });
                Ok(())
            },
        )?;
        Ok(matrix(out.into_iter()))
    }
}

/// Like [`Samples::push`], but allows equal times, which logs have.
fn push_any(samples: &mut Samples, time: obs_model::Timestamp, value: Value) {
    match value {
        Value::Float(float) => {
            samples.times.push(time);
            samples.floats.push(float);
        }
        Value::Histogram(_) => samples.push(time, value),
    }
}

fn rows(column: &Column, grid: &Grid) -> Samples {
    let mut samples = Samples::default();
    for step in column.present.iter() {
        if let Some(value) = column.get(step) {
            samples.push(grid.at(step), value);
        }
    }
    samples
}

/// Series of a matrix are sorted by labels.
fn matrix(series: impl Iterator<Item = MatrixSeries>) -> Answer {
    let mut series: Vec<MatrixSeries> = series.collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Answer::Matrix(series)
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_print_like_go() {
        let check = |value: f64, expect: &str| assert_eq!(float(value), expect);
        check(1.0, "1");
        check(-0.5, "-0.5");
        check(1e21, "1e+21");
        check(1.5e-7, "1.5e-07");
        check(123_456_789.0, "123456789");
        check(f64::INFINITY, "+Inf");
        check(f64::NAN, "NaN");
    }
}
