//! Binary operators on columns: floats in one loop, histograms value by value.

use obs_model::Value;

use super::labels::drop_names;
use super::{Evaluator, misplaced, notes};
use crate::column::{Bitmap, Column, Evaluated, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::operators::BinaryOp;
use crate::plan::{Binary, Node};

/// An arithmetic operator on floats. Comparisons give 0 or 1; what is for sets or histograms only
/// gives NaN.
pub(crate) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::DivOrNan if b == 0.0 => f64::NAN,
        BinaryOp::DivOrNan => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::Equal => truth(a == b),
        BinaryOp::NotEqual => truth(a != b),
        BinaryOp::Less => truth(a < b),
        BinaryOp::LessEqual => truth(a <= b),
        BinaryOp::Greater => truth(a > b),
        BinaryOp::GreaterEqual => truth(a >= b),
        BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => f64::NAN,
    }
}

/// Whether the result has no metric name whatever the matching.
pub(super) fn keeps_no_name(op: BinaryOp) -> bool {
    !op.is_comparison() && !op.is_set() && !is_trim(op)
}

fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

/// Combines two columns at the given steps.
pub(super) fn combine(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    lhs: &Column,
    rhs: &Column,
    steps: &Bitmap,
) -> Column {
    let mut out = Column::new(lhs.len());
    let (op, comparison) = (binary.op, binary.op.is_comparison());
    if !is_trim(op) && lhs.histograms.is_empty() && rhs.histograms.is_empty() {
        for step in steps.iter() {
            let value = arithmetic(op, lhs.values[step], rhs.values[step]);
            if !comparison || binary.return_bool {
                out.set(step, value);
            } else if value != 0.0 {
                out.set(step, lhs.values[step]);
            }
        }
        return out;
    }
    for step in steps.iter() {
        let (Some(a), Some(b)) = (lhs.get(step), rhs.get(step)) else {
            continue;
        };
        if let Some(value) = values(evaluator, binary, a, b, true) {
            out.push(step, value);
        }
    }
    out
}

/// One pair of values; `None` where the result has no element. `keep_left`: a comparison that
/// filters keeps the left value, else the right one.
fn values(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    a: Value,
    b: Value,
    keep_left: bool,
) -> Option<Value> {
    let op = binary.op;
    let compared = |holds: bool, a: Value, b: Value| match (binary.return_bool, holds) {
        (true, _) => Some(Value::Float(f64::from(u8::from(holds)))),
        (false, true) => Some(if keep_left { a } else { b }),
        (false, false) => None,
    };
    match (&a, &b) {
        (Value::Float(x), Value::Float(y)) if !is_trim(op) => {
            let value = arithmetic(op, *x, *y);
            if op.is_comparison() {
                return compared(value != 0.0, a, b);
            }
            Some(Value::Float(value))
        }
        (Value::Histogram(x), Value::Histogram(y))
            if matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) =>
        {
            let holds = super::histogram::equal(x, y) == (op == BinaryOp::Equal);
            compared(holds, a, b)
        }
        _ => {
            let found = super::histogram::operate(evaluator, binary, &a, &b);
            if found.is_none() {
                let kind = |value: &Value| match value {
                    Value::Float(_) => "float",
                    Value::Histogram(_) => "histogram",
                };
                let (a, b) = (kind(&a), kind(&b));
                evaluator.info(notes::incompatible(a, op.as_str(), b, binary.place));
            }
            found.flatten()
        }
    }
}

/// All values with the other sign.
pub(super) fn negate(column: &mut Column) {
    column.values.iter_mut().for_each(|v| *v = -*v);
    for (_, histogram) in &mut column.histograms {
        *histogram = super::histogram::scaled(histogram, -1.0);
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(&self, binary: &Binary, grid: &Grid) -> Result<Evaluated, QueryError> {
        let lhs = self.node(&binary.lhs, grid)?;
        let rhs = self.node(&binary.rhs, grid)?;
        Ok(match (lhs, rhs) {
            (Evaluated::Scalar(a), Evaluated::Scalar(b)) => {
                let pairs = a.iter().zip(&b);
                Evaluated::Scalar(pairs.map(|(a, b)| arithmetic(binary.op, *a, *b)).collect())
            }
            (Evaluated::Vector(series), Evaluated::Scalar(scalar)) => {
                Evaluated::Vector(self.with_scalar(binary, series, scalar, true)?)
            }
            (Evaluated::Scalar(scalar), Evaluated::Vector(series)) => {
                Evaluated::Vector(self.with_scalar(binary, series, scalar, false)?)
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) => {
                Evaluated::Vector(if binary.op.is_set() {
                    self.set_operator(binary, left, right, grid)?
                } else {
                    self.vectors(binary, left, right, grid)?
                })
            }
            (Evaluated::Text(_), _) | (_, Evaluated::Text(_)) => {
                return Err(misplaced("a scalar or instant vector"));
            }
        })
    }

    fn with_scalar(
        &self,
        binary: &Binary,
        series: Vec<SeriesColumn>,
        scalar: Vec<f64>,
        vector_left: bool,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let scalar = Column::full(scalar);
        let mut out = Vec::with_capacity(series.len());
        for mut one in series {
            self.budget.check()?;
            one.column = self.one_with_scalar(binary, &one.column, &scalar, vector_left);
            if !one.column.present.is_empty() {
                out.push(one);
            }
        }
        if keeps_no_name(binary.op) || binary.return_bool {
            return drop_names(out, self.delayed_names);
        }
        Ok(out)
    }

    /// One series with a number per step.
    pub(super) fn one_with_scalar(
        &self,
        binary: &Binary,
        column: &Column,
        scalar: &Column,
        vector_left: bool,
    ) -> Column {
        match vector_left {
            true => combine(self, binary, column, scalar, &column.present),
            false => self.scalar_left(binary, scalar, column),
        }
    }

    /// A comparison that filters keeps the vector's value, which stands on the right here.
    fn scalar_left(&self, binary: &Binary, scalar: &Column, column: &Column) -> Column {
        let mut out = Column::new(column.len());
        for step in column.present.iter() {
            let value = match column.get(step) {
                Some(value) => values(
                    self,
                    binary,
                    Value::Float(scalar.values[step]),
                    value,
                    false,
                ),
                None => None,
            };
            if let Some(value) = value {
                out.push(step, value);
            }
        }
        out
    }

    pub(super) fn negate(&self, node: &Node, grid: &Grid) -> Result<Evaluated, QueryError> {
        Ok(match self.node(node, grid)? {
            Evaluated::Scalar(mut values) => {
                values.iter_mut().for_each(|v| *v = -*v);
                Evaluated::Scalar(values)
            }
            Evaluated::Vector(mut series) => {
                series.iter_mut().for_each(|one| negate(&mut one.column));
                Evaluated::Vector(drop_names(series, self.delayed_names)?)
            }
            Evaluated::Text(_) => return Err(misplaced("a scalar or instant vector")),
        })
    }
}
