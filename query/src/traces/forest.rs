//! Whole traces as columns: the trees of a block's traces, what only whole traces know of their
//! spans, and which spans a pipeline finds.
//!
//! Invariant: a pipeline finds the same spans here as on traces that were put together.

use std::collections::HashMap;
use std::ops::Range;

use obs_tracestore::SelectError;
use obs_tracestore::columns::{Columns, Numbers, Parents};

use super::columns::{Block, Column, is_column, missing, narrow};
use super::conditions::some_span;
use super::field::Fields;
use super::search;
use super::spansets::{self, Set, Trace};
use super::tree::Tree;
use super::value::Value;
use super::view::SERVICE_NAME;
use crate::traceql::ast::{
    Attribute, Element, FieldExpr, Intrinsic, ScalarExpr, Scope, SpansetExpr, SpansetOp,
};

/// The traces of a block.
#[derive(Debug)]
pub(super) struct Forest {
    traces: Vec<(Range<usize>, Tree)>,
    /// The row of each row's parent.
    pub(super) parents: Vec<Option<u32>>,
}

/// Takes the rows that are found, and the columns that were read.
pub(super) type TakeRows<'a> = dyn FnMut(&[bool], Block<'_>) -> Result<(), SelectError> + 'a;

impl Forest {
    /// The trees of traces, given the rows of each.
    fn new(parents: Parents, traces: &[Range<usize>]) -> Self {
        let mut rows = parents.rows;
        for (row, parent) in rows.iter_mut().enumerate() {
            // A span is not its own parent, whatever it says.
            *parent = parent.filter(|p| *p as usize != row);
        }
        let tree = |own: &Range<usize>| {
            // Parents were looked for within the trace, whose rows stand together.
            let inside = |row: u32| {
                (row as usize)
                    .checked_sub(own.start)
                    .filter(|p| *p < own.len())
            };
            let all = rows[own.clone()].iter();
            let ids = parents.ids[own.clone()].to_vec();
            let tree = Tree::new(all.map(|p| p.and_then(inside)).collect(), ids);
            (own.clone(), tree)
        };
        Self {
            traces: traces.iter().map(tree).collect(),
            parents: rows,
        }
    }

    /// A column that only whole traces have.
    pub(super) fn column(
        &self,
        intrinsic: Intrinsic,
        block: &mut Block<'_>,
        from: &Columns<'_>,
    ) -> Result<Column, SelectError> {
        let rows = from.len();
        let number = |of: &dyn Fn(&Tree, usize) -> i64| {
            let mut all = vec![0; rows];
            for (own, tree) in &self.traces {
                for (index, row) in own.clone().enumerate() {
                    all[row] = of(tree, index);
                }
            }
            Column::Ints(all)
        };
        Ok(match intrinsic {
            Intrinsic::ChildCount => number(&|tree, index| tree.children[index]),
            Intrinsic::NestedSetLeft => number(&|tree, index| tree.left[index]),
            Intrinsic::NestedSetRight => number(&|tree, index| tree.right[index]),
            Intrinsic::NestedSetParent => number(&Tree::nested_parent),
            Intrinsic::RootName => {
                let name = Attribute::Intrinsic(Intrinsic::Name);
                block.read(&name, from)?;
                self.of_roots(block.columns.get(&name), rows, &|_| true)
            }
            Intrinsic::RootService => {
                let service = Attribute::Named {
                    parent: false,
                    scope: Scope::Resource,
                    name: SERVICE_NAME.to_owned(),
                };
                block.read(&service, from)?;
                let is_text = |value: &Value<'_>| matches!(value, Value::Text(_));
                self.of_roots(block.columns.get(&service), rows, &is_text)
            }
            Intrinsic::TraceDuration => {
                let (starts, ends) = (from.numbers(Numbers::Start)?, from.numbers(Numbers::End)?);
                let mut all = vec![0; rows];
                for (own, _) in &self.traces {
                    let start = starts[own.clone()].iter().min().copied().unwrap_or(0);
                    let end = ends[own.clone()].iter().max().copied().unwrap_or(0);
                    all[own.clone()].fill(end.saturating_sub(start).max(0));
                }
                Column::Durations(all)
            }
            Intrinsic::Parent => {
                let codes = self.parents.iter().map(|p| u32::from(p.is_some()));
                let values = vec![Value::Missing, Value::Bool(true)];
                Column::Coded(codes.collect(), values)
            }
            _ => missing(rows),
        })
    }

    /// What the root of each trace has.
    fn of_roots(
        &self,
        column: Option<&Column>,
        rows: usize,
        counts: &dyn Fn(&Value<'_>) -> bool,
    ) -> Column {
        let Some(Column::Coded(codes, values)) = column else {
            return missing(rows);
        };
        let mut values = values.clone();
        // Values of a block are far fewer than 2^32.
        let none = values.len() as u32;
        values.push(Value::Missing);
        let mut all = vec![none; rows];
        for (own, tree) in &self.traces {
            if let Some(root) = tree.root {
                let code = codes[own.start + root];
                if counts(&values[code as usize]) {
                    all[own.clone()].fill(code);
                }
            }
        }
        Column::Coded(all, values)
    }

    /// What the parent of each row has.
    pub(super) fn of_parents(&self, column: Option<&Column>, rows: usize) -> Column {
        let parents = self.parents.iter();
        match column {
            Some(Column::Coded(codes, values)) => {
                let mut values = values.clone();
                let none = values.len() as u32;
                values.push(Value::Missing);
                let of = |parent: &Option<u32>| parent.map_or(none, |row| codes[row as usize]);
                Column::Coded(parents.map(of).collect(), values)
            }
            Some(Column::Lists(ends, codes, values)) => {
                let (mut own_ends, mut own) = (Vec::with_capacity(rows), Vec::new());
                for parent in parents {
                    if let Some(row) = *parent {
                        let start = row.checked_sub(1).map_or(0, |r| ends[r as usize]) as usize;
                        own.extend_from_slice(&codes[start..ends[row as usize] as usize]);
                    }
                    own_ends.push(own.len() as u32);
                }
                Column::Lists(own_ends, own, values.clone())
            }
            Some(Column::Durations(_) | Column::Ints(_)) | None => missing(rows),
        }
    }
}

/// Which rows meet the conditions of a pipeline, by the place of the condition in memory: they
/// live as long as the pipeline.
type Truths = HashMap<usize, Vec<bool>>;

fn place_of(expr: &FieldExpr) -> usize {
    std::ptr::from_ref(expr).addr()
}

/// One trace of a block.
pub(super) struct Standing<'a, 'f> {
    rows: Range<usize>,
    tree: &'a Tree,
    block: &'a Block<'f>,
    truths: &'a Truths,
}

impl Fields for Standing<'_, '_> {
    fn lookup(&self, attribute: &Attribute, index: usize) -> Value<'_> {
        self.block.lookup(attribute, self.rows.start + index)
    }

    fn has_parent(&self, index: usize) -> bool {
        self.block.has_parent(self.rows.start + index)
    }
}

impl Trace for Standing<'_, '_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn tree(&self) -> &Tree {
        self.tree
    }

    fn filter(&self, expr: &FieldExpr, spans: &[usize]) -> Vec<usize> {
        let own = self.truths.get(&place_of(expr));
        let own = own.map(|rows| &rows[self.rows.clone()]);
        let keep = |index: &usize| match own {
            Some(rows) => rows[*index],
            None => super::field::holds(expr, self, *index),
        };
        spans.iter().copied().filter(keep).collect()
    }
}

/// Finds the spans of a pipeline in blocks of whole traces.
pub(super) struct Marked<'p> {
    pipeline: &'p [Element],
    /// What one span of every matching trace meets.
    needed: Vec<FieldExpr>,
    filters: Vec<&'p FieldExpr>,
    attributes: Vec<Attribute>,
    /// What is asked of the spans that are found.
    also: Vec<Attribute>,
    /// Whether trees are asked for.
    hangs_together: bool,
}

impl<'p> Marked<'p> {
    /// For a pipeline, and what is asked of its spans beside it.
    pub(super) fn new(pipeline: &'p [Element], also: &[&Attribute]) -> Self {
        let mut attributes = Vec::new();
        let looked = |e: &&Element| !matches!(e, Element::Select(_));
        let elements = pipeline.iter().filter(looked);
        elements.for_each(|e| search::of_element(e, &mut attributes));
        let mut filters = Vec::new();
        let related = in_elements(pipeline, &mut filters);
        let all = attributes.iter().chain(also.iter().copied());
        let hangs_together = related || all.into_iter().any(|a| !is_column(a));
        Self {
            pipeline,
            needed: some_span(pipeline),
            filters,
            attributes,
            also: also.iter().map(|a| (*a).clone()).collect(),
            hangs_together,
        }
    }

    /// Tells the rows that are found among those of the traces, if there are any, and the columns
    /// that were read.
    pub(super) fn look(
        &self,
        from: &Columns<'_>,
        traces: &[Range<usize>],
        found: &mut TakeRows<'_>,
    ) -> Result<(), SelectError> {
        let mut plain = Block::default();
        let mut wanted = vec![true; from.len()];
        for expr in &self.needed {
            narrow(expr, from, &mut plain, &mut wanted)?;
        }
        let has_one = |rows: &&Range<usize>| wanted[(*rows).clone()].contains(&true);
        let traces: Vec<Range<usize>> = traces.iter().filter(has_one).cloned().collect();
        if traces.is_empty() {
            return Ok(());
        }
        let forest = self.forest(from, &traces)?;
        let mut block = Block::of_traces(&forest);
        let truths = self.truths(from, &mut block)?;
        let mut rows = vec![false; from.len()];
        for (own, tree) in &forest.traces {
            let trace = Standing {
                rows: own.clone(),
                tree,
                block: &block,
                truths: &truths,
            };
            for set in spansets::run(self.pipeline, &trace) {
                set.spans.iter().for_each(|s| rows[own.start + s] = true);
            }
        }
        if rows.contains(&true) {
            found(&rows, block)?;
        }
        Ok(())
    }

    fn forest(&self, from: &Columns<'_>, traces: &[Range<usize>]) -> Result<Forest, SelectError> {
        let parents = match self.hangs_together {
            true => from.parents()?,
            false => Parents {
                rows: vec![None; from.len()],
                ids: vec![obs_model::SpanId::default(); from.len()],
            },
        };
        Ok(Forest::new(parents, traces))
    }

    /// Reads what the pipeline looks at, and decides its conditions.
    fn truths(&self, from: &Columns<'_>, block: &mut Block<'_>) -> Result<Truths, SelectError> {
        for attribute in &self.attributes {
            block.read(attribute, from)?;
        }
        let mut truths = Truths::new();
        for expr in &self.filters {
            let mut rows = vec![true; from.len()];
            narrow(expr, from, block, &mut rows)?;
            truths.insert(place_of(expr), rows);
        }
        Ok(truths)
    }

    /// Runs the pipeline on one trace of a block; tells its span sets, if there are any.
    pub(super) fn sets<T>(
        &self,
        from: &Columns<'_>,
        rows: Range<usize>,
        tell: impl FnOnce(&Standing<'_, '_>, Vec<Set>) -> T,
    ) -> Result<Option<T>, SelectError> {
        let forest = self.forest(from, std::slice::from_ref(&rows))?;
        let mut block = Block::of_traces(&forest);
        let truths = self.truths(from, &mut block)?;
        for attribute in &self.also {
            block.read(attribute, from)?;
        }
        let Some((_, tree)) = forest.traces.first() else {
            return Ok(None);
        };
        let trace = Standing {
            rows,
            tree,
            block: &block,
            truths: &truths,
        };
        let sets = spansets::run(self.pipeline, &trace);
        Ok((!sets.is_empty()).then(|| tell(&trace, sets)))
    }
}

/// Collects the conditions of all filters; whether spans are put in relation to each other.
fn in_elements<'p>(elements: &'p [Element], filters: &mut Vec<&'p FieldExpr>) -> bool {
    let mut related = false;
    for element in elements {
        related |= match element {
            Element::Spans(expr) => in_spans(expr, filters),
            Element::Scalar(filter) => {
                let left = in_scalar(&filter.left, filters);
                in_scalar(&filter.right, filters) || left
            }
            Element::By(_) | Element::Coalesce | Element::Select(_) => false,
        };
    }
    related
}

fn in_spans<'p>(expr: &'p SpansetExpr, filters: &mut Vec<&'p FieldExpr>) -> bool {
    match expr {
        SpansetExpr::Filter(None) => false,
        SpansetExpr::Filter(Some(expr)) => {
            filters.push(expr);
            false
        }
        SpansetExpr::Pipeline(elements) => in_elements(elements, filters),
        SpansetExpr::Operation { op, left, right } => {
            let left = in_spans(left, filters);
            let right = in_spans(right, filters);
            left || right || matches!(op, SpansetOp::Structural(..))
        }
    }
}

fn in_scalar<'p>(expr: &'p ScalarExpr, filters: &mut Vec<&'p FieldExpr>) -> bool {
    match expr {
        ScalarExpr::Static(_) | ScalarExpr::Aggregate(..) => false,
        ScalarExpr::Pipeline(elements, aggregate) => {
            let own = in_elements(elements, filters);
            in_scalar(aggregate, filters) || own
        }
        ScalarExpr::Operation { left, right, .. } => {
            let left = in_scalar(left, filters);
            in_scalar(right, filters) || left
        }
    }
}
