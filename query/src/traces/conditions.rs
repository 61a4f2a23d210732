//! What a search asks of the spans of a trace in any case: hints with which a store skips traces.
//!
//! Invariant: a trace that matches has a span for each of the hints, maybe another one for each;
//! the contrary need not hold.

use obs_model::spans::{AttributeValue, SpanKind, StatusCode};

use super::view::SERVICE_NAME;
use crate::traceql::Query;
use crate::traceql::ast::{
    Attribute, Element, FieldExpr, Gives, Intrinsic, Operator, Scope, SpansetExpr, SpansetOp,
    Static,
};

/// Something that some span must be.
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
    /// An attribute has this value; numbers are equal whatever their type.
    Attribute {
        /// Whose.
        scope: Scope,
        /// Its name.
        name: String,
        /// Its value.
        value: AttributeValue,
    },
}

/// The hints of a query: in every trace that matches, each holds of some span.
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
            SpansetOp::And | SpansetOp::Structural(..) => {
                hints = of_spans(left);
                hints.extend(of_spans(right));
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
        (Attribute::Named { scope, name, .. }, value) => {
            let value = match value {
                Static::String(text) if *scope == Scope::Resource && name == SERVICE_NAME => {
                    return Some(Hint::Service(text.clone()));
                }
                Static::String(text) => AttributeValue::String(text.clone()),
                Static::Bool(value) => AttributeValue::Bool(*value),
                Static::Int(value) => AttributeValue::Int(*value),
                Static::Float(value) => AttributeValue::Double(*value),
                // A duration is compared to attributes in nanoseconds, whatever their type.
                Static::Duration(_) | Static::Status(_) | Static::Kind(_) => return None,
            };
            Some(Hint::Attribute {
                scope: *scope,
                name: name.clone(),
                value,
            })
        }
        _ => None,
    }
}
