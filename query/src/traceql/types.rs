//! The types of TraceQL's expressions, checked while parsing.

use super::ast::{Attribute, FieldExpr, Intrinsic, Operator, Static};

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// An attribute: any type.
    Unknown,
    Text,
    Number,
    Bool,
    Status,
    Kind,
    /// `parent`, which only nil compares to.
    Parent,
}

impl Type {
    fn fits(self, wanted: Self) -> bool {
        self == wanted || self == Self::Unknown
    }
}

pub(super) fn of_static(value: &Static) -> Type {
    match value {
        Static::String(_) => Type::Text,
        Static::Int(_) | Static::Float(_) | Static::Duration(_) => Type::Number,
        Static::Bool(_) => Type::Bool,
        Static::Status(_) => Type::Status,
        Static::Kind(_) => Type::Kind,
    }
}

fn of_attribute(attribute: &Attribute) -> Type {
    let Attribute::Intrinsic(intrinsic) = attribute else {
        return Type::Unknown;
    };
    match intrinsic {
        Intrinsic::Status => Type::Status,
        Intrinsic::Kind => Type::Kind,
        Intrinsic::Parent => Type::Parent,
        Intrinsic::Duration
        | Intrinsic::ChildCount
        | Intrinsic::TraceDuration
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent
        | Intrinsic::EventTime => Type::Number,
        _ => Type::Text,
    }
}

pub(super) fn of(expr: &FieldExpr) -> Type {
    match expr {
        FieldExpr::Static(value) => of_static(value),
        FieldExpr::Attribute(attribute) => of_attribute(attribute),
        FieldExpr::Negate(_) => Type::Number,
        FieldExpr::Not(_) | FieldExpr::Exists(..) | FieldExpr::Matches(..) => Type::Bool,
        FieldExpr::Operation { op, .. } if op.is_comparison() || op.is_logical() => Type::Bool,
        FieldExpr::Operation { .. } => Type::Number,
    }
}

/// Whether an expression speaks of the span.
pub(super) fn speaks_of_span(expr: &FieldExpr) -> bool {
    match expr {
        FieldExpr::Static(_) => false,
        FieldExpr::Attribute(_) => true,
        FieldExpr::Negate(inner)
        | FieldExpr::Not(inner)
        | FieldExpr::Exists(inner, _)
        | FieldExpr::Matches(inner, ..) => speaks_of_span(inner),
        FieldExpr::Operation { left, right, .. } => speaks_of_span(left) || speaks_of_span(right),
    }
}

/// Checks the operands of an operator; the error is in Tempo's words.
pub(super) fn check(op: Operator, left: &FieldExpr, right: &FieldExpr) -> Result<(), String> {
    let (a, b) = (of(left), of(right));
    let shown = || format!("{left} {} {right}", op.as_str());
    if a != b && a != Type::Unknown && b != Type::Unknown {
        let text = "binary operations must operate on the same type";
        return Err(format!("{text}: {}", shown()));
    }
    let takes = |kind: Type| match kind {
        Type::Unknown => true,
        Type::Bool => op.is_logical() || matches!(op, Operator::Equal | Operator::NotEqual),
        Type::Number => !op.is_logical(),
        Type::Text => op.is_comparison(),
        Type::Status | Type::Kind => matches!(op, Operator::Equal | Operator::NotEqual),
        Type::Parent => false,
    };
    if takes(a) && takes(b) {
        return Ok(());
    }
    let text = "illegal operation for the given types";
    Err(format!("{text}: {}", shown()))
}

/// Whether an expression can be a number.
pub(super) fn is_numeric(expr: &FieldExpr) -> bool {
    of(expr).fits(Type::Number)
}

/// Whether an expression can be a truth.
pub(super) fn is_boolean(expr: &FieldExpr) -> bool {
    of(expr).fits(Type::Bool)
}

/// Whether an expression can be a text.
pub(super) fn is_text(expr: &FieldExpr) -> bool {
    of(expr).fits(Type::Text)
}
