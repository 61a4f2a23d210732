//! Binary operators between vectors: which series meet, and what becomes of them.

use std::collections::HashMap;

use obs_model::Labels;
use obs_model::labels::METRIC_NAME;

use super::Evaluator;
use super::binary::{combine, keeps_no_name};
use super::labels::{merge_same, without_name};
use crate::column::{Bitmap, Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::operators::{BinaryOp, Cardinality, Matching};
use crate::plan::Binary;

/// What series must agree in.
fn signature(labels: &Labels, matching: &Matching) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|l| l == name);
    if matching.on {
        labels.without(|name| !listed(name))
    } else {
        labels.without(|name| name == METRIC_NAME || listed(name))
    }
}

/// Series of both sides by signature, in order of first appearance.
struct Groups {
    groups: Vec<Group>,
}

struct Group {
    signature: Labels,
    left: Vec<usize>,
    right: Vec<usize>,
}

fn groups(left: &[SeriesColumn], right: &[SeriesColumn], matching: &Matching) -> Groups {
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (is_left, side) in [(true, left), (false, right)] {
        for (at, one) in side.iter().enumerate() {
            let signature = signature(&one.labels, matching);
            let group = *index.entry(signature.clone()).or_insert_with(|| {
                groups.push(Group {
                    signature,
                    left: Vec::new(),
                    right: Vec::new(),
                });
                groups.len() - 1
            });
            let group = &mut groups[group];
            if is_left {
                &mut group.left
            } else {
                &mut group.right
            }
            .push(at);
        }
    }
    Groups { groups }
}

impl Evaluator<'_> {
    pub(super) fn set_operator(
        &self,
        binary: &Binary,
        mut left: Vec<SeriesColumn>,
        right: Vec<SeriesColumn>,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let found = groups(&left, &right, &binary.matching);
        let presence = |side: &[SeriesColumn], members: &[usize]| {
            let mut mask = Bitmap::new(grid.count);
            members
                .iter()
                .for_each(|at| mask.or(&side[*at].column.present));
            mask
        };
        let mut right: Vec<Option<SeriesColumn>> = right.into_iter().map(Some).collect();
        let mut added = Vec::new();
        for group in &found.groups {
            self.budget.check()?;
            if binary.op == BinaryOp::Or {
                let mask = presence(&left, &group.left);
                for at in &group.right {
                    let Some(mut one) = right[*at].take() else {
                        continue;
                    };
                    let mut keep = one.column.present.clone();
                    keep.and_not(&mask);
                    one.column.mask(&keep);
                    added.push((*at, one));
                }
                continue;
            }
            let mut mask = Bitmap::new(grid.count);
            for one in group.right.iter().filter_map(|at| right[*at].as_ref()) {
                mask.or(&one.column.present);
            }
            for at in &group.left {
                let column = &mut left[*at].column;
                let mut keep = column.present.clone();
                if binary.op == BinaryOp::And {
                    keep.and(&mask);
                } else {
                    keep.and_not(&mask);
                }
                column.mask(&keep);
            }
        }
        added.sort_by_key(|(at, _)| *at);
        left.extend(added.into_iter().map(|(_, one)| one));
        left.retain(|one| !one.column.present.is_empty());
        if binary.op == BinaryOp::Or {
            merge_same(left)
        } else {
            Ok(left)
        }
    }

    pub(super) fn vectors(
        &self,
        binary: &Binary,
        left: Vec<SeriesColumn>,
        right: Vec<SeriesColumn>,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        let matching = &binary.matching;
        // As Prometheus: with `group_right`, too, the left value fills the side of many.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let found = groups(&many, &one, matching);
        // Where one side is empty, there is nothing to meet, duplicates or not.
        let mut met = Bitmap::new(grid.count);
        many.iter().for_each(|m| met.or(&m.column.present));
        if fill_many.or(fill_one).is_some() {
            one.iter().for_each(|o| met.or(&o.column.present));
        }
        let mut out = Vec::new();
        for group in &found.groups {
            self.budget.check()?;
            let ones: Vec<&SeriesColumn> = group.right.iter().map(|at| &one[*at]).collect();
            let manys: Vec<&SeriesColumn> = group.left.iter().map(|at| &many[*at]).collect();
            let merged = unique(&ones, &group.signature, swapped, &met, grid)?;
            let mut meeting = Meeting {
                evaluator: self,
                binary,
                swapped,
                grid,
                taken: HashMap::new(),
                out: &mut out,
            };
            for left in &manys {
                for right in &ones {
                    meeting.pair(left, right)?;
                }
                if let Some(value) = fill_one {
                    let mut gaps = left.column.present.clone();
                    gaps.and_not(&merged);
                    meeting.pair(left, &filled(&group.signature, value, &gaps, grid))?;
                }
            }
            if let Some(value) = fill_many {
                let mut present = Bitmap::new(grid.count);
                manys.iter().for_each(|m| present.or(&m.column.present));
                for right in &ones {
                    let mut gaps = right.column.present.clone();
                    gaps.and_not(&present);
                    meeting.pair(&filled(&group.signature, value, &gaps, grid), right)?;
                }
            }
        }
        merge_same(out)
    }
}

/// A series of one value at some steps, with the labels of the group.
fn filled(signature: &Labels, value: f64, steps: &Bitmap, grid: &Grid) -> SeriesColumn {
    let mut column = Column::full(vec![value; grid.count]);
    column.present.and(steps);
    SeriesColumn {
        labels: signature.clone(),
        drop_name: false,
        column,
    }
}

/// Where the side of one has a value; fails where two of its series have one.
fn unique(
    ones: &[&SeriesColumn],
    signature: &Labels,
    swapped: bool,
    met: &Bitmap,
    grid: &Grid,
) -> Result<Bitmap, QueryError> {
    let mut seen = Bitmap::new(grid.count);
    for (index, one) in ones.iter().enumerate() {
        let mut present = one.column.present.clone();
        present.and(met);
        if seen.intersects(&present) {
            let before = ones[..index]
                .iter()
                .find(|b| b.column.present.intersects(&present));
            let before = before.map(|b| b.labels.to_string()).unwrap_or_default();
            let mut pair = [one.labels.to_string(), before];
            pair.sort();
            let side = if swapped { "left" } else { "right" };
            return Err(QueryError::Execution(format!(
                "found duplicate series for the match group {signature} on the {side} hand-side of the operation: [{}];many-to-many matching not allowed: matching labels must be unique on one side",
                pair.join(", ")
            )));
        }
        seen.or(&one.column.present);
    }
    Ok(seen)
}

/// One group while its series are paired.
struct Meeting<'a> {
    evaluator: &'a Evaluator<'a>,
    binary: &'a Binary,
    swapped: bool,
    grid: &'a Grid,
    /// Steps that results (by labels; by nothing for one-to-one) already have.
    taken: HashMap<Labels, Bitmap>,
    out: &'a mut Vec<SeriesColumn>,
}

impl Meeting<'_> {
    /// Combines a series of the side of many with one of the side of one.
    fn pair(&mut self, many: &SeriesColumn, one: &SeriesColumn) -> Result<(), QueryError> {
        let mut both = many.column.present.clone();
        both.and(&one.column.present);
        if both.is_empty() {
            return Ok(());
        }
        self.evaluator.reserve(self.grid, 1)?;
        let (lhs, rhs) = if self.swapped {
            (one, many)
        } else {
            (many, one)
        };
        let column = combine(self.evaluator, self.binary, &lhs.column, &rhs.column, &both);
        // What a comparison filters out has met all the same; types that do not go together have not.
        let floats = lhs.column.histograms.is_empty() && rhs.column.histograms.is_empty();
        let matched = if floats { both } else { column.present.clone() };
        if matched.is_empty() {
            return Ok(());
        }
        let labels = self.labels(&many.labels, &one.labels);
        let is_single = self.binary.matching.cardinality == Cardinality::OneToOne;
        let key = if is_single {
            Labels::empty()
        } else {
            labels.clone()
        };
        let len = self.grid.count;
        let taken = self.taken.entry(key).or_insert_with(|| Bitmap::new(len));
        if taken.intersects(&matched) {
            return Err(QueryError::Execution(if is_single {
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".to_owned()
            } else {
                "multiple matches for labels: grouping labels must ensure unique matches".to_owned()
            }));
        }
        taken.or(&matched);
        if column.present.is_empty() {
            return Ok(());
        }
        self.out.push(SeriesColumn {
            labels,
            drop_name: self.binary.return_bool,
            column,
        });
        Ok(())
    }

    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = &self.binary.matching;
        let mut labels = many.clone();
        if keeps_no_name(self.binary.op) {
            labels = without_name(&labels);
        }
        if matching.cardinality == Cardinality::OneToOne {
            let listed = |name: &str| matching.labels.iter().any(|l| l == name);
            labels = labels.without(|name| listed(name) != matching.on);
        }
        if !matching.include.is_empty() {
            let mut builder = labels.to_builder();
            for name in &matching.include {
                builder.set(name, one.get(name).unwrap_or(""));
            }
            labels = builder.build();
        }
        if self.binary.return_bool && !self.evaluator.delayed_names {
            labels = without_name(&labels);
        }
        labels
    }
}
