//! What a search asks of some one span in any case: hints with which a store skips traces.
//!
//! Invariant: a trace without a span that meets all conditions cannot match the query; the
//! contrary need not hold.

use obs_model::spans::{AttributeValue, SpanKind, StatusCode};

use super::view::SERVICE_NAME;
use crate::traceql::Query;
use crate::traceql::ast::{
    Attribute, Element, FieldExpr, Gives, Intrinsic, Operator, Scope, SpansetExpr, SpansetOp,
    Static,
};

/// Something that one span must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Hint {
    /// `resource.service.name` is this text.
    Service(String),
    /// The span's name.
    Name(String),
    /// How it ended.
    Status(StatusCode),
    /// What it does.
    Kind(SpanKind),
    /// It takes at least so many nanoseconds.
    MinDuration(i64),
    /// An attribute has this value.
    Attribute {
        /// Whose.
        scope: Scope,
        /// Its name.
        name: String,
        /// Its value.
        value: AttributeValue,
    },
}

/// The hints of a query: all hold of one span in every trace that matches.
pub fn hints(query: &Query) -> Vec<Hint> {
    match query.pipeline.first() {
        Some(Element::Spans(expr)) => of_spans(expr),
        _ => Vec::new(),
    }
}

fn of_spans(expr: &SpansetExpr) -> Vec<Hint> {
    let mut hints = Vec::new();
    match expr {
        SpansetExpr::Filter(None) => {}
        SpansetExpr::Filter(Some(expr)) => of_field(expr, &mut hints),
        SpansetExpr::Pipeline(elements) => {
            if let Some(Element::Spans(expr)) = elements.first() {
                return of_spans(expr);
            }
        }
        SpansetExpr::Operation { op, left, right } => match op {
            SpansetOp::Union => {}
            SpansetOp::Structural(_, Gives::NotRight) => return of_spans(right),
            // Both sides need a span; one side's hints speak of one span.
            SpansetOp::And | SpansetOp::Structural(..) => {
                let (left, right) = (of_spans(left), of_spans(right));
                return if left.len() > right.len() {
                    left
                } else {
                    right
                };
            }
        },
    }
    hints
}

fn of_field(expr: &FieldExpr, hints: &mut Vec<Hint>) {
    let FieldExpr::Operation { op, left, right } = expr else {
        return;
    };
    if *op == Operator::And {
        of_field(left, hints);
        of_field(right, hints);
        return;
    }
    match (&**left, &**right) {
        (FieldExpr::Attribute(attribute), FieldExpr::Static(value)) => {
            hints.extend(of_comparison(attribute, *op, value));
        }
        (FieldExpr::Static(value), FieldExpr::Attribute(attribute)) => {
            let turned = match op {
                Operator::Less => Operator::Greater,
                Operator::LessEqual => Operator::GreaterEqual,
                Operator::Greater => Operator::Less,
                Operator::GreaterEqual => Operator::LessEqual,
                other => *other,
            };
            hints.extend(of_comparison(attribute, turned, value));
        }
        _ => {}
    }
}

fn of_comparison(attribute: &Attribute, op: Operator, value: &Static) -> Option<Hint> {
    if *attribute == Attribute::Intrinsic(Intrinsic::Duration) {
        let (Static::Duration(nanos) | Static::Int(nanos)) = value else {
            return None;
        };
        return match op {
            Operator::Greater => Some(Hint::MinDuration(nanos.saturating_add(1))),
            Operator::GreaterEqual | Operator::Equal => Some(Hint::MinDuration(*nanos)),
            _ => None,
        };
    }
    if op != Operator::Equal {
        return None;
    }
    match (attribute, value) {
        (Attribute::Intrinsic(Intrinsic::Name), Static::String(name)) => {
            Some(Hint::Name(name.clone()))
        }
        (Attribute::Intrinsic(Intrinsic::Status), Static::Status(status)) => {
            Some(Hint::Status(*status))
        }
        (Attribute::Intrinsic(Intrinsic::Kind), Static::Kind(kind)) => Some(Hint::Kind(*kind)),
        (
            Attribute::Named {
                parent: false,
                scope,
                name,
            },
            value,
        ) => match value {
            Static::String(text) if *scope == Scope::Resource && name == SERVICE_NAME => {
                Some(Hint::Service(text.clone()))
            }
            // Numbers are left out: 200 and 200.0 are equal, but not the same to a store.
            Static::String(text) => Some(Hint::Attribute {
                scope: *scope,
                name: name.clone(),
                value: AttributeValue::String(text.clone()),
            }),
            Static::Bool(value) => Some(Hint::Attribute {
                scope: *scope,
                name: name.clone(),
                value: AttributeValue::Bool(*value),
            }),
            _ => None,
        },
        _ => None,
    }
}
