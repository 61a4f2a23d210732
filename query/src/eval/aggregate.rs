//! Aggregations over series: one accumulator per group and step, series added in order.

use std::collections::HashMap;

use obs_model::{Labels, LabelsBuilder};

use super::labels::group_labels;
use super::sliding::{order, quantile_sorted};
use super::stream::{Groups, Totals, reduces};
use super::{Evaluator, misplaced, notes};
use crate::column::{Bitmap, Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::operators::AggregateOp;
use crate::plan::{Aggregate, Node};

/// A group: its labels and the indices of its series.
struct Group {
    labels: Labels,
    members: Vec<usize>,
}

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &self,
        node: &Aggregate,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let parameter = match &node.parameter {
            Some(Node::Text(_)) | None => Vec::new(),
            Some(parameter) => self.scalar(parameter, grid)?,
        };
        if let Some(out) = self.streamed(node, grid)? {
            return Ok(out);
        }
        let series = self.vector(&node.input, grid)?;
        if reduces(node.op) {
            let mut totals = Totals::new(self, node, grid);
            for one in &series {
                self.budget.check()?;
                totals.add(&one.labels, one.drop_name, &one.column)?;
            }
            return Ok(totals.finish());
        }
        let groups = self.groups(node, &series)?;
        match node.op {
            AggregateOp::CountValues => self.count_values(node, &series, grid),
            AggregateOp::Quantile => self.quantile(node, &series, &groups, &parameter, grid),
            _ => self.select(node, series, &groups, &parameter, grid),
        }
    }

    /// Groups in order of their first series.
    fn groups(&self, node: &Aggregate, series: &[SeriesColumn]) -> Result<Vec<Group>, QueryError> {
        let mut found = Groups::new(&node.grouping);
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (at, one) in series.iter().enumerate() {
            self.budget.check()?;
            let group = found.find(&one.labels);
            if group == members.len() {
                members.push(Vec::new());
            }
            members[group].push(at);
        }
        let groups = found.labels.into_iter().zip(members);
        let group = |(labels, members)| Group { labels, members };
        Ok(groups.map(group).collect())
    }

    fn ignored(&self, node: &Aggregate) {
        self.info(notes::ignored_in_aggregation(node.op.as_str(), node.place));
    }

    fn quantile(
        &self,
        node: &Aggregate,
        series: &[SeriesColumn],
        groups: &[Group],
        q: &[f64],
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.warn(notes::bad_quantile(*q, node.parameter_place));
        }
        let mut out = Vec::with_capacity(groups.len());
        let mut values = Vec::new();
        for group in groups {
            self.reserve(grid, 1)?;
            let mut column = Column::new(grid.count);
            for (step, q) in q.iter().enumerate() {
                self.budget.check()?;
                values.clear();
                for at in &group.members {
                    match series[*at].column.float(step) {
                        Some(value) => values.push(value),
                        None if series[*at].column.present.get(step) => self.ignored(node),
                        None => {}
                    }
                }
                values.sort_by(|a, b| order(*a, *b));
                if !values.is_empty() {
                    column.set(step, quantile_sorted(*q, &values));
                }
            }
            if !column.present.is_empty() {
                let labels = group.labels.clone();
                let drop_name = group.members.iter().any(|at| series[*at].drop_name);
                out.push(SeriesColumn {
                    labels,
                    drop_name,
                    column,
                });
            }
        }
        Ok(out)
    }

    fn count_values(
        &self,
        node: &Aggregate,
        series: &[SeriesColumn],
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let Some(Node::Text(label)) = &node.parameter else {
            return Err(misplaced("a string"));
        };
        if label.is_empty() {
            let text = format!("invalid label name \"{label}\"");
            return Err(QueryError::Execution(text));
        }
        let mut grouping = node.grouping.clone();
        if !grouping.without {
            grouping.labels.push(label.clone());
        }
        let mut out: Vec<SeriesColumn> = Vec::new();
        let mut by_labels: HashMap<Labels, usize> = HashMap::new();
        for one in series {
            self.budget.check()?;
            // The value stands in the series' own label before it is grouped.
            let mut by_value: HashMap<String, usize> = HashMap::new();
            for step in one.column.present.iter() {
                let value = match one.column.histogram(step) {
                    Some(histogram) => super::histogram::text(histogram),
                    None => full_float(one.column.values[step]),
                };
                let index = match by_value.get(&value) {
                    Some(index) => *index,
                    None => {
                        let mut labels: LabelsBuilder = one.labels.to_builder();
                        labels.set(label, &value);
                        let labels = group_labels(&labels.build(), &grouping);
                        let index = match by_labels.get(&labels) {
                            Some(index) => *index,
                            None => {
                                self.reserve(grid, 1)?;
                                out.push(SeriesColumn {
                                    labels: labels.clone(),
                                    drop_name: one.drop_name,
                                    column: Column::new(grid.count),
                                });
                                by_labels.insert(labels, out.len() - 1);
                                out.len() - 1
                            }
                        };
                        by_value.insert(value, index);
                        index
                    }
                };
                out[index].drop_name |= one.drop_name;
                let column = &mut out[index].column;
                let before = if column.present.get(step) {
                    column.values[step]
                } else {
                    0.0
                };
                column.set(step, before + 1.0);
            }
        }
        Ok(out)
    }

    /// Keeps some series of each group at each step.
    fn select(
        &self,
        node: &Aggregate,
        mut series: Vec<SeriesColumn>,
        groups: &[Group],
        parameter: &[f64],
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        if parameter.iter().any(|p| p.is_nan()) && !series.is_empty() {
            let what = if node.op == AggregateOp::LimitRatio {
                "Ratio"
            } else {
                "Parameter"
            };
            return Err(QueryError::Execution(format!("{what} value is NaN")));
        }
        let mut keep = vec![Bitmap::new(grid.count); series.len()];
        let mut ranked: Vec<usize> = Vec::new();
        let mut ignored = false;
        for group in groups {
            for (step, parameter) in parameter.iter().enumerate() {
                self.budget.check()?;
                let mut chosen: Vec<usize> = group.members.clone();
                chosen.retain(|at| series[*at].column.present.get(step));
                match node.op {
                    AggregateOp::LimitRatio => {
                        let ratio = self.ratio(node, *parameter);
                        chosen.retain(|at| in_ratio(&series[*at].labels, ratio));
                    }
                    AggregateOp::Limitk => chosen.truncate(count(*parameter)),
                    _ => {
                        let before = chosen.len();
                        chosen.retain(|at| series[*at].column.float(step).is_some());
                        ignored |= chosen.len() < before;
                        let value = |at: &usize| series[*at].column.values[step];
                        let largest = node.op == AggregateOp::Topk;
                        chosen.sort_by(|a, b| rank(value(a), value(b), largest));
                        chosen.truncate(count(*parameter));
                    }
                }
                chosen.iter().for_each(|at| keep[*at].set(step));
                if grid.count == 1 {
                    ranked.extend_from_slice(&chosen);
                }
            }
        }
        if ignored {
            self.ignored(node);
        }
        for (one, keep) in series.iter_mut().zip(&keep) {
            one.column.mask(keep);
        }
        if grid.count == 1 {
            // At one step the order of values is the order of the answer.
            return Ok(ranked
                .into_iter()
                .map(|at| std::mem::take(&mut series[at]))
                .collect());
        }
        series.retain(|s| !s.column.present.is_empty());
        Ok(series)
    }

    fn ratio(&self, node: &Aggregate, ratio: f64) -> f64 {
        let capped = ratio.clamp(-1.0, 1.0);
        if capped != ratio {
            self.warn(notes::bad_ratio(ratio, capped, node.parameter_place));
        }
        capped
    }
}

/// A parameter as a number of series.
fn count(parameter: f64) -> usize {
    // Saturates: negative is none, huge is all.
    parameter as usize
}

/// Best first; NaN is the worst.
fn rank(a: f64, b: f64, largest: bool) -> std::cmp::Ordering {
    let numbers = if largest {
        b.partial_cmp(&a)
    } else {
        a.partial_cmp(&b)
    };
    numbers.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Whether the hash of labels lies in the share; a negative share is the exact complement.
fn in_ratio(labels: &Labels, ratio: f64) -> bool {
    let position = labels.hash64() as f64 / u64::MAX as f64;
    if ratio >= 0.0 {
        position < ratio || ratio >= 1.0
    } else {
        position >= 1.0 + ratio
    }
}

/// A float without exponent, as Go's `'f', -1`.
fn full_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}
