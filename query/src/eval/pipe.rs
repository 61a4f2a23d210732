//! Pipes: expressions that make one series of each series of a selector, whatever the others are.
//!
//! They are computed while series are read, in one pass over the pool, so that neither the selector
//! nor what stands between it and an aggregation is ever held as a whole. A pipe is possible where
//! no two series can become one by losing their names.

use obs_model::labels::METRIC_NAME;
use obs_model::{Labels, MatchOp};
use obs_tsdb::Need;

use super::source::{LeafSeries, Scratch, View};
use super::{Evaluator, binary, call, histogram};
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::functions::{InstantFunction, RangeFunction};
use crate::plan::{Binary, Borders, Call, Gives, Input, Instant, Leaf, LeafId, Node, Over};

/// Columns of an input that are held for a second use, rather than read and computed again.
const SHARED_BYTES_MAX: usize = 32 << 20;

/// Computes the column of one series.
type Compute<'a> = Box<dyn Fn(&View<'_>, &mut Scratch) -> Column + Sync + 'a>;

/// A selector and everything that is done to each of its series.
pub(super) struct Pipe<'a> {
    leaf: LeafId,
    need: Need,
    /// Names leave.
    drops: bool,
    compute: Compute<'a>,
}

/// What a node is a pipe of.
#[derive(Clone, Copy)]
struct Shape {
    leaf: LeafId,
    drops: bool,
}

impl Shape {
    fn dropping(self) -> Self {
        Self {
            drops: true,
            ..self
        }
    }
}

/// Takes a series of a pipe: its labels, whether its name leaves at the end, its column.
pub(super) type Take<'a> = dyn FnMut(&Labels, bool, Column) -> Result<(), QueryError> + Send + 'a;

impl Evaluator<'_> {
    /// Calls back with each series of a node that has any value, in order; `false` where the node
    /// is not a pipe, before anything was computed.
    pub(super) fn piped(
        &self,
        node: &Node,
        grid: &Grid,
        presence: bool,
        take: &mut Take<'_>,
    ) -> Result<bool, QueryError> {
        let Some(shape) = self.shape(node, grid) else {
            return Ok(false);
        };
        if shape.drops && !self.keeps_apart(shape.leaf) {
            return Ok(false);
        }
        let Some(pipe) = self.pipe(node, grid)? else {
            return Ok(false);
        };
        let plain = |i: &Instant| i.window.borders != Borders::Smoothed;
        let need = match node {
            Node::Instant(instant) if presence && plain(instant) => Need::Presence,
            _ => pipe.need,
        };
        let drop_name = pipe.drops && self.delayed_names;
        let drops_now = pipe.drops && !self.delayed_names;
        let compute = |view: &View<'_>, scratch: &mut Scratch| {
            let column = (pipe.compute)(view, scratch);
            Ok((!column.present.is_empty()).then_some(column))
        };
        let series = (self.leaves[pipe.leaf], need);
        self.for_series(
            series,
            grid,
            &compute,
            &mut |labels, column| match drops_now {
                true => take(&super::labels::without_name(labels), false, column),
                false => take(labels, drop_name, column),
            },
        )?;
        Ok(true)
    }

    /// The series of a node that is a pipe of several stages; `None` where it is none.
    pub(super) fn piped_vector(
        &self,
        node: &Node,
        grid: &Grid,
    ) -> Result<Option<Vec<SeriesColumn>>, QueryError> {
        let mut out = Vec::new();
        let found = self.piped(node, grid, false, &mut |labels, drop_name, column| {
            self.reserve(grid, 1)?;
            out.push(SeriesColumn {
                labels: labels.clone(),
                drop_name,
                column,
            });
            Ok(())
        })?;
        Ok(found.then_some(out))
    }

    /// What a node is a pipe of, if it is one.
    fn shape(&self, node: &Node, grid: &Grid) -> Option<Shape> {
        let shape = match node {
            Node::Instant(instant) if instant.window.at.is_none() => Some(Shape {
                leaf: instant.leaf,
                drops: instant.gives != Gives::Value,
            }),
            Node::Over(over) => match over.input {
                Input::Leaf(leaf) if over.function != RangeFunction::Absent => Some(Shape {
                    leaf,
                    drops: !over.function.keeps_name(),
                }),
                Input::Leaf(_) | Input::Subquery { .. } => None,
            },
            Node::Call(call) => {
                let input = each_float(call.function)?;
                Some(self.shape(call.arguments.get(input)?, grid)?.dropping())
            }
            Node::Negate(inner) => Some(self.shape(inner, grid)?.dropping()),
            Node::Binary(binary) => {
                let (vector, _) = sides(binary)?;
                let shape = self.shape(vector, grid)?;
                Some(match drops(binary) {
                    true => shape.dropping(),
                    false => shape,
                })
            }
            _ => None,
        }?;
        (!self.worth_sharing(node, shape.leaf, grid)).then_some(shape)
    }

    /// Whether a node stands elsewhere too and is small enough to be held until then.
    fn worth_sharing(&self, node: &Node, leaf: LeafId, grid: &Grid) -> bool {
        let bytes = self.leaves[leaf].len().saturating_mul(9 * grid.count);
        bytes <= SHARED_BYTES_MAX && self.shared.key(node, grid).is_some()
    }

    /// The pipe of a node that has the shape of one.
    fn pipe<'n>(&'n self, node: &'n Node, grid: &'n Grid) -> Result<Option<Pipe<'n>>, QueryError> {
        Ok(match node {
            Node::Instant(instant) => Some(Pipe {
                leaf: instant.leaf,
                need: super::instant::need(instant),
                drops: instant.gives != Gives::Value,
                compute: Box::new(|view, scratch| {
                    self.instant_series(instant, view, grid, scratch)
                }),
            }),
            Node::Over(over) => self.pipe_of_windows(over, grid)?,
            Node::Call(call) => self.pipe_of_call(call, grid)?,
            Node::Negate(inner) => self.pipe(inner, grid)?.map(|pipe| {
                pipe.then(true, |mut column| {
                    binary::negate(&mut column);
                    column
                })
            }),
            Node::Binary(binary) => self.pipe_of_binary(binary, grid)?,
            _ => None,
        })
    }

    fn pipe_of_windows<'n>(
        &'n self,
        over: &'n Over,
        grid: &'n Grid,
    ) -> Result<Option<Pipe<'n>>, QueryError> {
        let Input::Leaf(leaf) = over.input else {
            return Ok(None);
        };
        let parameters = self.parameters(over, grid)?;
        Ok(Some(Pipe {
            leaf,
            need: self.need(over, grid),
            drops: !over.function.keeps_name(),
            compute: Box::new(move |view, scratch| {
                self.over_series(over, view, &parameters, grid, scratch)
            }),
        }))
    }

    fn pipe_of_call<'n>(
        &'n self,
        call: &'n Call,
        grid: &'n Grid,
    ) -> Result<Option<Pipe<'n>>, QueryError> {
        let input = each_float(call.function).and_then(|at| call.arguments.get(at));
        let Some(input) = input else {
            return Ok(None);
        };
        if let InstantFunction::Histogram(part) = call.function {
            let pipe = self.pipe(input, grid)?;
            return Ok(
                pipe.map(|pipe| pipe.then(true, move |column| histogram::parts(&column, part)))
            );
        }
        let function = self.float_function(call, grid)?;
        let pipe = self.pipe(input, grid)?;
        Ok(pipe.map(|pipe| {
            pipe.then(true, move |mut column| {
                call::apply(&mut column, &*function);
                column
            })
        }))
    }

    fn pipe_of_binary<'n>(
        &'n self,
        binary: &'n Binary,
        grid: &'n Grid,
    ) -> Result<Option<Pipe<'n>>, QueryError> {
        let Some((vector, vector_left)) = sides(binary) else {
            return Ok(None);
        };
        let scalar = match vector_left {
            true => self.scalar(&binary.rhs, grid)?,
            false => self.scalar(&binary.lhs, grid)?,
        };
        let scalar = Column::full(scalar);
        let pipe = self.pipe(vector, grid)?;
        Ok(pipe.map(|pipe| {
            pipe.then(drops(binary), move |column| {
                self.one_with_scalar(binary, &column, &scalar, vector_left)
            })
        }))
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

impl<'a> Pipe<'a> {
    /// One more stage.
    fn then(self, drops: bool, stage: impl Fn(Column) -> Column + Sync + 'a) -> Self {
        let before = self.compute;
        Self {
            need: match self.need {
                // Stages look at values.
                Need::Presence => Need::Values,
                need => need,
            },
            drops: self.drops || drops,
            compute: Box::new(move |view, scratch| stage(before(view, scratch))),
            ..self
        }
    }
}

/// Which argument of a function is the vector whose series it changes one by one, if it does.
fn each_float(function: InstantFunction) -> Option<usize> {
    use InstantFunction as F;
    match function {
        F::Math(_)
        | F::Round
        | F::Clamp
        | F::ClampMin
        | F::ClampMax
        | F::Date(_)
        | F::Histogram(_) => Some(0),
        _ => None,
    }
}

/// The vector of an operator between a vector and a scalar, and whether it stands left.
fn sides(binary: &Binary) -> Option<(&Node, bool)> {
    if binary.op.is_set() {
        return None;
    }
    match (is_scalar(&binary.lhs), is_scalar(&binary.rhs)) {
        (false, true) => Some((&binary.lhs, true)),
        (true, false) => Some((&binary.rhs, false)),
        _ => None,
    }
}

/// Whether names leave at an operator with a scalar.
fn drops(binary: &Binary) -> bool {
    binary::keeps_no_name(binary.op) || binary.return_bool
}

/// Whether a node gives a number per step.
fn is_scalar(node: &Node) -> bool {
    use InstantFunction as F;
    match node {
        Node::Number(_) => true,
        Node::Call(call) => {
            matches!(call.function, F::Time | F::Scalar | F::MinOf | F::MaxOf)
        }
        Node::Binary(binary) => is_scalar(&binary.lhs) && is_scalar(&binary.rhs),
        Node::Negate(inner) => is_scalar(inner),
        _ => false,
    }
}
