//! TraceQL's printer: one canonical text for each tree.
//!
//! Invariant: `parse(print(tree)) == tree`. Operations inside others stand in parentheses.

use std::fmt::{self, Display, Formatter};

use super::ast::{
    Attribute, Element, FieldExpr, Query, Root, ScalarExpr, ScalarFilter, Scope, SpansetExpr,
    Static,
};
use super::lexer::write_name;
use crate::tokens::{format_duration, quote};

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Search(elements) => pipeline(f, elements)?,
            Root::Metrics(expr) => expr.fmt(f)?,
        }
        if self.hints.is_empty() {
            return Ok(());
        }
        f.write_str(" with(")?;
        for (index, (name, value)) in self.hints.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name}={value}")?;
        }
        f.write_str(")")
    }
}

pub(super) fn pipeline(f: &mut Formatter<'_>, elements: &[Element]) -> fmt::Result {
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            f.write_str(" | ")?;
        }
        element.fmt(f)?;
    }
    Ok(())
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spans(expr) => expr.fmt(f),
            Self::Scalar(filter) => filter.fmt(f),
            Self::By(expr) => write!(f, "by({expr})"),
            Self::Coalesce => f.write_str("coalesce()"),
            Self::Select(attributes) => {
                f.write_str("select(")?;
                for (index, attribute) in attributes.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{attribute}")?;
                }
                f.write_str(")")
            }
        }
    }
}

impl Display for SpansetExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(None) => f.write_str("{ }"),
            Self::Filter(Some(expr)) => write!(f, "{{ {expr} }}"),
            Self::Pipeline(elements) => {
                f.write_str("(")?;
                pipeline(f, elements)?;
                f.write_str(")")
            }
            Self::Operation { op, left, right } => {
                spanset_operand(f, left)?;
                write!(f, " {} ", op.as_str())?;
                spanset_operand(f, right)
            }
        }
    }
}

fn spanset_operand(f: &mut Formatter<'_>, expr: &SpansetExpr) -> fmt::Result {
    match expr {
        SpansetExpr::Operation { .. } => write!(f, "({expr})"),
        SpansetExpr::Filter(_) | SpansetExpr::Pipeline(_) => expr.fmt(f),
    }
}

impl Display for ScalarFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.op.as_str(), self.right)
    }
}

impl Display for ScalarExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let operand = |f: &mut Formatter<'_>, expr: &Self| match expr {
            Self::Operation { .. } => write!(f, "({expr})"),
            _ => expr.fmt(f),
        };
        match self {
            Self::Static(value) => value.fmt(f),
            Self::Pipeline(elements, aggregate) => {
                f.write_str("(")?;
                pipeline(f, elements)?;
                write!(f, " | {aggregate})")
            }
            Self::Aggregate(aggregate, None) => write!(f, "{}()", aggregate.as_str()),
            Self::Aggregate(aggregate, Some(expr)) => write!(f, "{}({expr})", aggregate.as_str()),
            Self::Operation { op, left, right } => {
                operand(f, left)?;
                write!(f, " {} ", op.as_str())?;
                operand(f, right)
            }
        }
    }
}

impl Display for FieldExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(value) => value.fmt(f),
            Self::Attribute(attribute) => attribute.fmt(f),
            Self::Negate(inner) => {
                f.write_str("-")?;
                // `-5` is a constant; a negated constant is not.
                parenthesised(f, inner, !matches!(**inner, Self::Attribute(_)))
            }
            Self::Not(inner) => {
                f.write_str("!")?;
                parenthesised(f, inner, !matches!(**inner, Self::Attribute(_)))
            }
            Self::Exists(inner, exists) => {
                parenthesised(f, inner, is_operation(inner))?;
                write!(f, " {} nil", if *exists { "!=" } else { "=" })
            }
            Self::Matches(inner, pattern, positive) => {
                parenthesised(f, inner, is_operation(inner))?;
                let op = if *positive { "=~" } else { "!~" };
                write!(f, " {op} {}", quote(pattern.source()))
            }
            Self::Operation { op, left, right } => {
                parenthesised(f, left, is_operation(left))?;
                write!(f, " {} ", op.as_str())?;
                parenthesised(f, right, is_operation(right))
            }
        }
    }
}

fn is_operation(expr: &FieldExpr) -> bool {
    !matches!(expr, FieldExpr::Static(_) | FieldExpr::Attribute(_))
}

fn parenthesised(f: &mut Formatter<'_>, expr: &FieldExpr, yes: bool) -> fmt::Result {
    if yes {
        write!(f, "({expr})")
    } else {
        expr.fmt(f)
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intrinsic(intrinsic) => f.write_str(intrinsic.as_str()),
            Self::Named {
                parent,
                scope,
                name,
            } => {
                let prefix = match (parent, scope) {
                    (true, Scope::Any) => "parent.",
                    (true, scope) => {
                        f.write_str("parent.")?;
                        scope.as_str()
                    }
                    (false, scope) => scope.as_str(),
                };
                f.write_str(prefix)?;
                // `.5` is a number, and `parent.span.x` names the span's x.
                let digit = name.starts_with(|c: char| c.is_ascii_digit());
                let scoped = *parent
                    && *scope == Scope::Any
                    && (name.starts_with("span.") || name.starts_with("resource."));
                if digit || scoped {
                    write!(f, "{}", quoted_name(name))
                } else {
                    f.write_str(&write_name(name))
                }
            }
        }
    }
}

fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Display for Static {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(&quote(text)),
            Self::Int(i64::MIN) => f.write_str("minInt"),
            Self::Int(value) => write!(f, "{value}"),
            // A float keeps its point, so that it does not come back as an integer.
            Self::Float(value) if value.fract() == 0.0 => write!(f, "{value:.1}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Duration(nanos) => f.write_str(&format_duration(*nanos)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Kind(kind) => f.write_str(kind.as_str()),
        }
    }
}
