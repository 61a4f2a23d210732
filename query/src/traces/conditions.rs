//! What a search asks of the spans of a trace in any case: hints with which a store skips traces.
//!
//! Invariant: a trace that matches has a span for each of the hints, maybe another one for each;
//! the contrary need not hold.

use obs_model::spans::AttributeValue;
use obs_tracestore::Condition;

use super::columns::is_decided;
use super::view::SERVICE_NAME;
use crate::traceql::ast::{
    Attribute, Element, FieldExpr, Gives, Intrinsic, Operator, Scope, SpansetExpr, SpansetOp,
    Static,
};

/// The hints of a pipeline: in every trace that matches, each holds of some span.
pub(super) fn hints(pipeline: &[Element]) -> Vec<Condition> {
    match pipeline.first() {
        Some(Element::Spans(expr)) => of_spans(expr),
        _ => Vec::new(),
    }
}

fn of_spans(expr: &SpansetExpr) -> Vec<Condition> {
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

/// Conditions that columns decide and that one span of every matching trace meets together; none
/// where nothing is known.
pub(super) fn some_span(pipeline: &[Element]) -> Vec<FieldExpr> {
    match pipeline.first() {
        Some(Element::Spans(expr)) => some_span_of(expr),
        _ => Vec::new(),
    }
}

fn some_span_of(expr: &SpansetExpr) -> Vec<FieldExpr> {
    let mut found = Vec::new();
    match expr {
        SpansetExpr::Filter(None) => {}
        SpansetExpr::Filter(Some(expr)) => decided(expr, &mut found),
        SpansetExpr::Pipeline(elements) => return some_span(elements),
        SpansetExpr::Operation { op, left, right } => {
            let (left, right) = (some_span_of(left), some_span_of(right));
            match op {
                SpansetOp::Union => {
                    if let (Some(left), Some(right)) = (all_of(left), all_of(right)) {
                        found.push(joined(Operator::Or, left, right));
                    }
                }
                SpansetOp::Structural(_, Gives::NotRight) => return right,
                // Both sides have a span; one of them is enough to prune.
                SpansetOp::And | SpansetOp::Structural(..) if right.is_empty() => return left,
                SpansetOp::And | SpansetOp::Structural(..) => return right,
            }
        }
    }
    found
}

/// The parts of a conjunction that columns decide.
fn decided(expr: &FieldExpr, found: &mut Vec<FieldExpr>) {
    match expr {
        FieldExpr::Operation {
            op: Operator::And,
            left,
            right,
        } => {
            decided(left, found);
            decided(right, found);
        }
        expr if is_decided(expr) => found.push(expr.clone()),
        _ => {}
    }
}

fn all_of(all: Vec<FieldExpr>) -> Option<FieldExpr> {
    all.into_iter()
        .reduce(|left, right| joined(Operator::And, left, right))
}

fn joined(op: Operator, left: FieldExpr, right: FieldExpr) -> FieldExpr {
    FieldExpr::Operation {
        op,
        left: Box::new(left),
        right: Box::new(right),
    }
}

/// What a condition asks of one span: each of these, at least.
pub(super) fn of_field(expr: &FieldExpr, hints: &mut Vec<Condition>) {
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

fn of_comparison(attribute: &Attribute, op: Operator, value: &Static) -> Option<Condition> {
    if *attribute == Attribute::Intrinsic(Intrinsic::Duration) {
        let (Static::Duration(nanos) | Static::Int(nanos)) = value else {
            return None;
        };
        return match op {
            Operator::Greater => Some(Condition::DurationAtLeast(nanos.saturating_add(1))),
            Operator::GreaterEqual | Operator::Equal => Some(Condition::DurationAtLeast(*nanos)),
            _ => None,
        };
    }
    if op != Operator::Equal {
        return None;
    }
    match (attribute, value) {
        (Attribute::Intrinsic(Intrinsic::Name), Static::String(name)) => {
            Some(Condition::Name(name.clone()))
        }
        (Attribute::Intrinsic(Intrinsic::EventName), Static::String(name)) => {
            Some(Condition::EventName(name.clone()))
        }
        (Attribute::Intrinsic(Intrinsic::Status), Static::Status(status)) => {
            Some(Condition::Status(*status))
        }
        (Attribute::Intrinsic(Intrinsic::Kind), Static::Kind(kind)) => Some(Condition::Kind(*kind)),
        // Even where a name is in two scopes the first that has it counts; a hint may be wider.
        (Attribute::Named { scope, name, .. }, value) => {
            let value = match value {
                Static::String(text) if *scope == Scope::Resource && name == SERVICE_NAME => {
                    return Some(Condition::Service(text.clone()));
                }
                Static::String(text) => AttributeValue::String(text.clone()),
                Static::Bool(value) => AttributeValue::Bool(*value),
                Static::Int(value) => AttributeValue::Int(*value),
                Static::Float(value) => AttributeValue::Double(*value),
                // A duration is compared to attributes in nanoseconds, whatever their type.
                Static::Duration(_) | Static::Status(_) | Static::Kind(_) => return None,
            };
            Some(Condition::Attribute {
                scope: store_scope(*scope),
                key: name.clone(),
                value,
            })
        }
        _ => None,
    }
}

/// Where the store looks; nowhere in particular is the span or its resource.
pub(super) fn store_scope(scope: Scope) -> Option<obs_tracestore::Scope> {
    match scope {
        Scope::Any => None,
        Scope::Span => Some(obs_tracestore::Scope::Span),
        Scope::Resource => Some(obs_tracestore::Scope::Resource),
        Scope::Event => Some(obs_tracestore::Scope::Event),
        Scope::Link => Some(obs_tracestore::Scope::Link),
        Scope::Instrumentation => Some(obs_tracestore::Scope::Instrumentation),
    }
}
