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
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "an attribute",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Status => "a status",
            Self::Kind => "a kind",
            Self::Parent => "the parent span",
        }
    }

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
        FieldExpr::Attribute(_) | FieldExpr::Exists(..) => true,
        FieldExpr::Negate(inner) | FieldExpr::Not(inner) | FieldExpr::Matches(inner, ..) => {
            speaks_of_span(inner)
        }
        FieldExpr::Operation { left, right, .. } => speaks_of_span(left) || speaks_of_span(right),
    }
}

/// Checks the operands of an operator; the error says what was expected.
pub(super) fn check(op: Operator, left: &FieldExpr, right: &FieldExpr) -> Result<(), String> {
    let (a, b) = (of(left), of(right));
    let wrong = |what: &str| {
        Err(format!(
            "{what} on both sides of {}, not {} and {}",
            op.as_str(),
            a.as_str(),
            b.as_str()
        ))
    };
    let both = |wanted: Type| a.fits(wanted) && b.fits(wanted);
    if op.is_logical() {
        return if both(Type::Bool) {
            Ok(())
        } else {
            wrong("a boolean")
        };
    }
    if !op.is_comparison() {
        return if both(Type::Number) {
            Ok(())
        } else {
            wrong("a number")
        };
    }
    if a == Type::Parent || b == Type::Parent {
        return wrong("values (parent is only compared to nil)");
    }
    if a != b && a != Type::Unknown && b != Type::Unknown {
        return wrong("values of one type");
    }
    let equality = matches!(op, Operator::Equal | Operator::NotEqual);
    if !equality && !both(Type::Number) && !both(Type::Text) {
        return wrong("numbers or texts");
    }
    Ok(())
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
