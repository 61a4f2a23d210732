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
        if node.op == AggregateOp::CountValues {
            return self.count_values(node, &series, grid);
        }
        let groups = self.groups(node, &series)?;
        match node.op {
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
        if q.iter().any(|q| q.is_nan()) {
            self.warn(notes::bad_quantile(f64::NAN, node.parameter_place));
        }
        let (least, most) = extremes(q);
        for bad in [most, least].iter().filter(|q| **q > 1.0 || **q < 0.0) {
            self.warn(notes::bad_quantile(*bad, node.parameter_place));
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
        // The value is a label before series are grouped, so that it may replace one of the groups'.
        let mut grouping = node.grouping.clone();
        if !grouping.without {
            grouping.labels.push(label.clone());
        }
        let mut out: Vec<SeriesColumn> = Vec::new();
        let mut known: HashMap<Labels, usize> = HashMap::new();
        for one in series {
            let mut of_value: HashMap<String, usize> = HashMap::new();
            for step in one.column.present.iter() {
                self.budget.check()?;
                let value = match one.column.histogram(step) {
                    Some(histogram) => super::histogram::text(histogram),
                    None => full_float(one.column.values[step]),
                };
                let index = match of_value.get(&value) {
                    Some(index) => *index,
                    None => {
                        let mut labels: LabelsBuilder = one.labels.to_builder();
                        labels.set(label, &value);
                        let labels = group_labels(&labels.build(), &grouping);
                        let index = match known.get(&labels) {
                            Some(index) => *index,
                            None => {
                                self.reserve(grid, 1)?;
                                known.insert(labels.clone(), out.len());
                                out.push(SeriesColumn {
                                    labels,
                                    drop_name: false,
                                    column: Column::new(grid.count),
                                });
                                out.len() - 1
                            }
                        };
                        of_value.insert(value, index);
                        index
                    }
                };
                let column = &mut out[index].column;
                let before = match column.present.get(step) {
                    true => column.values[step],
                    false => 0.0,
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
        let (least, most) = extremes(parameter);
        match node.op {
            AggregateOp::LimitRatio => {
                if most == 0.0 && least == 0.0 {
                    return Ok(Vec::new());
                }
                check_number("Ratio", parameter)?;
                if most > 1.0 {
                    self.warn(notes::bad_ratio(most, 1.0, node.parameter_place));
                }
                if least < -1.0 {
                    self.warn(notes::bad_ratio(least, -1.0, node.parameter_place));
                }
            }
            _ if most < 1.0 => return Ok(Vec::new()),
            _ => {
                check_number("Parameter", parameter)?;
                // 2⁶³: what does not fit into a signed integer.
                const OVER: f64 = 9_223_372_036_854_775_808.0;
                let float = super::answer::float;
                if least <= -OVER {
                    let text = format!("Scalar value {} underflows int64", float(least));
                    return Err(QueryError::Execution(text));
                }
                if most >= OVER {
                    let text = format!("Scalar value {} overflows int64", float(most));
                    return Err(QueryError::Execution(text));
                }
            }
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
                        let ratio = parameter.clamp(-1.0, 1.0);
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
            let op = node.op.as_str();
            self.info(notes::ignored_in_aggregation(op, node.own_place));
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
}

/// The least and the greatest parameter; NaN where there is one.
fn extremes(parameter: &[f64]) -> (f64, f64) {
    let Some((first, rest)) = parameter.split_first() else {
        return (0.0, 0.0);
    };
    rest.iter().fold((*first, *first), |(least, most), value| {
        let known = |extreme: f64| match value.is_nan() || least.is_nan() {
            true => f64::NAN,
            false => extreme,
        };
        (known(least.min(*value)), known(most.max(*value)))
    })
}

fn check_number(what: &str, parameter: &[f64]) -> Result<(), QueryError> {
    match parameter.iter().any(|p| p.is_nan()) {
        true => Err(QueryError::Execution(format!("{what} value is NaN"))),
        false => Ok(()),
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
    let position = prometheus_hash(labels) as f64 / u64::MAX as f64;
    if ratio >= 0.0 {
        position < ratio || ratio >= 1.0
    } else {
        position >= 1.0 + ratio
    }
}

/// The hash that Prometheus gives labels: XXH64 of all names and values with their lengths, so that
/// `limit_ratio` picks the same series here and there.
fn prometheus_hash(labels: &Labels) -> u64 {
    let mut packed = Vec::new();
    for (name, value) in labels {
        for text in [name, value] {
            let length = text.len();
            match u8::try_from(length) {
                Ok(short) if short < 255 => packed.push(short),
                // 255, then three bytes, the lowest first.
                _ => packed.extend([255, length as u8, (length >> 8) as u8, (length >> 16) as u8]),
            }
            packed.extend_from_slice(text.as_bytes());
        }
    }
    xxhash_rust::xxh64::xxh64(&packed, 0)
}

/// A float without exponent, as Go's `'f', -1`.
fn full_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}
