//! Aggregations of the distribution of values: `quantile` and `count_values`.

use std::collections::HashMap;

use obs_model::{Labels, LabelsBuilder};

use super::aggregate::Sink;
use super::choose::extremes;
use super::labels::group_labels;
use super::sliding::quantile_of;
use super::stream::Groups;
use super::{Evaluator, misplaced, notes};
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::operators::Grouping;
use crate::plan::{Aggregate, Node};

/// `quantile`: it needs all values of a group and step, so those are held, and nothing else.
pub(super) struct Quantiles<'a> {
    evaluator: &'a Evaluator<'a>,
    node: &'a Aggregate,
    grid: Grid,
    q: &'a [f64],
    groups: Groups<'a>,
    /// Per group the values of each step, and whether its name leaves at the end.
    values: Vec<(Vec<Vec<f64>>, bool)>,
}

impl<'a> Quantiles<'a> {
    pub(super) fn new(
        evaluator: &'a Evaluator<'a>,
        node: &'a Aggregate,
        q: &'a [f64],
        grid: &Grid,
    ) -> Self {
        if q.iter().any(|q| q.is_nan()) {
            evaluator.warn(notes::bad_quantile(f64::NAN, node.parameter_place));
        }
        let (least, most) = extremes(q);
        for bad in [most, least].iter().filter(|q| **q > 1.0 || **q < 0.0) {
            evaluator.warn(notes::bad_quantile(*bad, node.parameter_place));
        }
        Self {
            evaluator,
            node,
            grid: *grid,
            q,
            groups: Groups::new(&node.grouping),
            values: Vec::new(),
        }
    }
}

impl Sink for Quantiles<'_> {
    fn add(&mut self, labels: &Labels, drop_name: bool, column: Column) -> Result<(), QueryError> {
        let group = self.groups.find(labels);
        let steps = self.grid.count as u64;
        if group == self.values.len() {
            let bytes = steps.saturating_mul(size_of::<Vec<f64>>() as u64);
            self.evaluator.budget.bytes(bytes.saturating_add(64))?;
            self.values.push((vec![Vec::new(); self.grid.count], false));
        }
        // Twice, since vectors grow by doubling.
        let floats = column.present.count() - column.histograms.len();
        self.evaluator.budget.bytes(16 * floats as u64)?;
        let (values, drops) = &mut self.values[group];
        *drops |= drop_name;
        for step in column.present.iter() {
            match column.float(step) {
                Some(value) => values[step].push(value),
                None => {
                    let (op, place) = (self.node.op.as_str(), self.node.place);
                    self.evaluator
                        .info(notes::ignored_in_aggregation(op, place));
                }
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<SeriesColumn>, QueryError> {
        let mut out = Vec::with_capacity(self.values.len());
        for (labels, (values, drop_name)) in self.groups.labels.into_iter().zip(self.values) {
            self.evaluator.reserve(&self.grid, 1)?;
            let mut column = Column::new(self.grid.count);
            for (step, mut values) in values.into_iter().enumerate() {
                self.evaluator.budget.check()?;
                if !values.is_empty() {
                    column.set(step, quantile_of(self.q[step], &mut values));
                }
            }
            if !column.present.is_empty() {
                out.push(SeriesColumn {
                    labels,
                    drop_name,
                    column,
                });
            }
        }
        Ok(out)
    }
}

/// `count_values`: one series per group and value.
pub(super) struct Values<'a> {
    evaluator: &'a Evaluator<'a>,
    grid: Grid,
    label: &'a str,
    grouping: Grouping,
    known: HashMap<Labels, usize>,
    out: Vec<SeriesColumn>,
}

impl<'a> Values<'a> {
    pub(super) fn new(
        evaluator: &'a Evaluator<'a>,
        node: &'a Aggregate,
        grid: &Grid,
    ) -> Result<Self, QueryError> {
        let Some(Node::Text(label)) = &node.parameter else {
            return Err(misplaced("a string"));
        };
        if label.is_empty() {
            let text = format!("invalid label name \"{label}\"");
            return Err(QueryError::Execution(text));
        }
        // The value is a label before series are grouped, so that it may replace one of the groups'.
        let mut grouping = node.grouping.clone();
        if !grouping.without {
            grouping.labels.push(label.clone());
        }
        Ok(Self {
            evaluator,
            grid: *grid,
            label,
            grouping,
            known: HashMap::new(),
            out: Vec::new(),
        })
    }

    /// The series of a value.
    fn find(&mut self, labels: &Labels, value: &str) -> Result<usize, QueryError> {
        let mut builder: LabelsBuilder = labels.to_builder();
        builder.set(self.label, value);
        let labels = group_labels(&builder.build(), &self.grouping);
        if let Some(index) = self.known.get(&labels) {
            return Ok(*index);
        }
        self.evaluator.reserve(&self.grid, 1)?;
        // Twice: as a key and in the answer.
        let bytes = 2 * labels.packed().len() as u64;
        self.evaluator.budget.bytes(bytes)?;
        self.known.insert(labels.clone(), self.out.len());
        self.out.push(SeriesColumn {
            labels,
            drop_name: false,
            column: Column::new(self.grid.count),
        });
        Ok(self.out.len() - 1)
    }
}

impl Sink for Values<'_> {
    fn add(&mut self, labels: &Labels, _: bool, column: Column) -> Result<(), QueryError> {
        let mut of_value: HashMap<String, usize> = HashMap::new();
        for step in column.present.iter() {
            self.evaluator.budget.check()?;
            let value = match column.histogram(step) {
                Some(histogram) => super::histogram::text(histogram),
                None => full_float(column.values[step]),
            };
            let index = match of_value.get(&value) {
                Some(index) => *index,
                None => {
                    let index = self.find(labels, &value)?;
                    of_value.insert(value, index);
                    index
                }
            };
            let column = &mut self.out[index].column;
            let before = match column.present.get(step) {
                true => column.values[step],
                false => 0.0,
            };
            column.set(step, before + 1.0);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<SeriesColumn>, QueryError> {
        Ok(self.out)
    }
}

/// A float without exponent, as Go's `'f', -1`.
fn full_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}
