//! Aggregation while series are read: of no series more is held than its chunk.
//!
//! It applies where the series of a selector meet an aggregation either as they are or through a
//! function over windows, and where no two of them can become one by losing their names. Everything
//! else is computed as whole vectors. Both give the same numbers: series are added in their order.

use std::collections::HashMap;

use obs_model::labels::METRIC_NAME;
use obs_model::{Labels, MatchOp};
use obs_tsdb::Need;

use super::Evaluator;
use super::accumulate::Accumulator;
use super::labels::group_labels;
use super::source::{LeafSeries, Scratch, View};
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::functions::RangeFunction;
use crate::operators::{AggregateOp, Grouping};
use crate::plan::{Aggregate, Borders, Gives, Input, Leaf, LeafId, Node};

/// Columns of an input that are held for a second use, rather than read and computed again.
const SHARED_BYTES_MAX: usize = 32 << 20;

/// Groups in order of their first series.
pub(super) struct Groups<'a> {
    grouping: &'a Grouping,
    index: HashMap<Vec<u8>, usize>,
    /// What tells groups apart, of the series at hand.
    key: Vec<u8>,
    /// The group of the series before, which the next one often shares.
    recent: Option<(Vec<u8>, usize)>,
    /// The labels of each group.
    pub(super) labels: Vec<Labels>,
}

impl<'a> Groups<'a> {
    /// No groups yet.
    pub(super) fn new(grouping: &'a Grouping) -> Self {
        Self {
            grouping,
            index: HashMap::new(),
            key: Vec::new(),
            recent: None,
            labels: Vec::new(),
        }
    }

    /// The number of the group of a series; a new one is the last.
    pub(super) fn find(&mut self, labels: &Labels) -> usize {
        let Grouping {
            without,
            labels: listed,
        } = self.grouping;
        self.key.clear();
        if *without || !listed.is_empty() {
            for (name, value) in labels {
                let is_listed = listed.iter().any(|l| l == name);
                let counts = match without {
                    true => !is_listed && !super::labels::is_metadata(name),
                    false => is_listed,
                };
                if counts {
                    for text in [name, value] {
                        self.key.extend_from_slice(text.as_bytes());
                        // No UTF-8 text has this byte.
                        self.key.push(0xff);
                    }
                }
            }
        }
        if let Some((key, group)) = &self.recent
            && *key == self.key
        {
            return *group;
        }
        let group = match self.index.get(&self.key) {
            Some(group) => *group,
            None => {
                self.labels.push(group_labels(labels, self.grouping));
                self.index.insert(self.key.clone(), self.labels.len() - 1);
                self.labels.len() - 1
            }
        };
        match &mut self.recent {
            Some((key, recent)) => {
                key.clone_from(&self.key);
                *recent = group;
            }
            empty => *empty = Some((self.key.clone(), group)),
        }
        group
    }
}

/// Groups with their sums.
pub(super) struct Totals<'a> {
    evaluator: &'a Evaluator<'a>,
    node: &'a Aggregate,
    steps: usize,
    groups: Groups<'a>,
    /// Per group its sum, and whether its name leaves at the end.
    sums: Vec<(Accumulator, bool)>,
}

impl<'a> Totals<'a> {
    pub(super) fn new(evaluator: &'a Evaluator<'a>, node: &'a Aggregate, grid: &Grid) -> Self {
        Self {
            evaluator,
            node,
            steps: grid.count,
            groups: Groups::new(&node.grouping),
            sums: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        labels: &Labels,
        drop_name: bool,
        column: &Column,
    ) -> Result<(), QueryError> {
        let group = self.groups.find(labels);
        if group == self.sums.len() {
            let bytes = Accumulator::step_bytes(self.node.op) + 9;
            let bytes = bytes.saturating_mul(self.steps as u64);
            self.evaluator.budget.bytes(bytes.saturating_add(64))?;
            let sum = Accumulator::new(self.node.op, self.steps);
            self.sums.push((sum, false));
        }
        let (sum, drops) = &mut self.sums[group];
        *drops |= drop_name;
        sum.add(self.evaluator, self.node, labels, column);
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<SeriesColumn> {
        let groups = self.groups.labels.into_iter().zip(self.sums);
        let series = groups.map(|(labels, (sum, drop_name))| SeriesColumn {
            labels,
            drop_name,
            column: sum.finish(self.evaluator, self.node),
        });
        series.filter(|s| !s.column.present.is_empty()).collect()
    }
}

impl Evaluator<'_> {
    /// The aggregation without its input as a whole; `None` where that is not possible.
    pub(super) fn streamed(
        &self,
        node: &Aggregate,
        grid: &Grid,
    ) -> Result<Option<Vec<SeriesColumn>>, QueryError> {
        if !reduces(node.op) || self.worth_sharing(&node.input, grid) {
            return Ok(None);
        }
        match &node.input {
            Node::Instant(instant) if instant.window.at.is_none() => {
                let nameless = instant.gives != Gives::Value;
                if nameless && !self.keeps_apart(instant.leaf) {
                    return Ok(None);
                }
                let drop_name = nameless && self.delayed_names;
                // A count does not ask for values, but it is told which samples end a series.
                let counts = matches!(node.op, AggregateOp::Count | AggregateOp::Group);
                let need = match counts && instant.window.borders != Borders::Smoothed {
                    true => Need::Presence,
                    false => Need::Values,
                };
                let series = (self.leaves[instant.leaf], need);
                let compute = |view: &View<'_>, scratch: &mut Scratch| {
                    self.instant_series(instant, view, grid, scratch)
                };
                self.total(node, series, drop_name, grid, compute).map(Some)
            }
            Node::Over(over) => {
                let Input::Leaf(leaf) = over.input else {
                    return Ok(None);
                };
                let drops = !over.function.keeps_name();
                let whole = over.function == RangeFunction::Absent;
                if whole || (drops && !self.keeps_apart(leaf)) {
                    return Ok(None);
                }
                let parameters = self.parameters(over, grid)?;
                let drop_name = drops && self.delayed_names;
                let compute = |view: &View<'_>, scratch: &mut Scratch| {
                    self.over_series(over, view, &parameters, grid, scratch)
                };
                let series = (self.leaves[leaf], self.need(over, grid));
                self.total(node, series, drop_name, grid, compute).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether an input stands elsewhere too and is small enough to be held until then.
    fn worth_sharing(&self, input: &Node, grid: &Grid) -> bool {
        let leaf = match input {
            Node::Instant(instant) => instant.leaf,
            Node::Over(over) => match over.input {
                Input::Leaf(leaf) => leaf,
                Input::Subquery { .. } => return false,
            },
            _ => return false,
        };
        let bytes = self.leaves[leaf].len().saturating_mul(9 * grid.count);
        bytes <= SHARED_BYTES_MAX && self.shared.key(input, grid).is_some()
    }

    fn total(
        &self,
        node: &Aggregate,
        series: (LeafSeries<'_>, Need),
        drop_name: bool,
        grid: &Grid,
        compute: impl Fn(&View<'_>, &mut Scratch) -> Column + Sync,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let mut totals = Totals::new(self, node, grid);
        let compute = |view: &View<'_>, scratch: &mut Scratch| {
            let column = compute(view, scratch);
            Ok((!column.present.is_empty()).then_some(column))
        };
        self.for_series(series, grid, &compute, &mut |labels, column| {
            totals.add(labels, drop_name, &column)
        })?;
        Ok(totals.finish())
    }

    /// Whether series of a leaf differ in more than what leaves with their names.
    fn keeps_apart(&self, leaf: LeafId) -> bool {
        if self.delayed_names {
            return true;
        }
        let Leaf::Metrics(matchers) = &self.plan.leaves[leaf].leaf else {
            return false;
        };
        let LeafSeries::Stored(selection) = self.leaves[leaf] else {
            return false;
        };
        let named = |m: &obs_model::Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
        let other = ["__type__", "__unit__"];
        matchers.iter().any(named) && !other.iter().any(|name| selection.knows_label(name))
    }
}

/// Whether a group becomes one series, to which others are added one by one.
pub(super) fn reduces(op: AggregateOp) -> bool {
    use AggregateOp as A;
    match op {
        A::Sum | A::Avg | A::Min | A::Max | A::Count | A::Group | A::Stddev | A::Stdvar => true,
        A::Topk | A::Bottomk | A::Limitk | A::LimitRatio | A::CountValues | A::Quantile => false,
    }
}
