//! Groups of series, and aggregations that add series to one sum per group and step.

use std::collections::HashMap;

use obs_model::Labels;

use super::Evaluator;
use super::accumulate::Accumulator;
use super::aggregate::Sink;
use super::labels::group_labels;
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::operators::Grouping;
use crate::plan::Aggregate;

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
}

impl Sink for Totals<'_> {
    fn add(&mut self, labels: &Labels, drop_name: bool, column: Column) -> Result<(), QueryError> {
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
        sum.add(self.evaluator, self.node, labels, &column);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<SeriesColumn>, QueryError> {
        let (evaluator, node) = (self.evaluator, self.node);
        let groups = self.groups.labels.into_iter().zip(self.sums);
        let series = groups.map(|(labels, (sum, drop_name))| SeriesColumn {
            labels,
            drop_name,
            column: sum.finish(evaluator, node),
        });
        Ok(series.filter(|s| !s.column.present.is_empty()).collect())
    }
}
