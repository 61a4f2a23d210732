//! TraceQL's field expressions on one span.

use std::borrow::Cow;

use obs_model::spans::{Attribute as SpanAttribute, AttributeValue, attribute};

use super::spansets::Trace;
use super::tree::Tree;
use super::value::Value;
use super::view::{SpanView, TraceView};
use crate::traceql::ast::{Attribute, FieldExpr, Intrinsic, Operator, Scope};

/// Something that has values of attributes by the number of a span.
pub(super) trait Fields {
    /// The value of an attribute or intrinsic of a span.
    fn lookup(&self, attribute: &Attribute, index: usize) -> Value<'_>;

    /// Whether the span's parent is here.
    fn has_parent(&self, index: usize) -> bool;
}

impl Fields for TraceView<'_> {
    fn lookup(&self, attribute: &Attribute, index: usize) -> Value<'_> {
        lookup(attribute, self, index)
    }

    fn has_parent(&self, index: usize) -> bool {
        self.tree.parents[index].is_some()
    }
}

impl Trace for TraceView<'_> {
    fn len(&self) -> usize {
        self.spans.len()
    }

    fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// Whether the span meets the condition.
pub(super) fn holds<F: Fields>(expr: &FieldExpr, fields: &F, index: usize) -> bool {
    evaluate(expr, fields, index) == Value::Bool(true)
}

/// The value of an expression.
pub(super) fn evaluate<'a, F: Fields>(
    expr: &'a FieldExpr,
    trace: &'a F,
    index: usize,
) -> Value<'a> {
    match expr {
        FieldExpr::Static(value) => Value::of_static(value),
        FieldExpr::Attribute(attribute) => trace.lookup(attribute, index),
        FieldExpr::Negate(inner) => match evaluate(inner, trace, index) {
            Value::Int(value) => Value::Int(value.saturating_neg()),
            Value::Duration(value) => Value::Duration(value.saturating_neg()),
            Value::Float(value) => Value::Float(-value),
            _ => Value::Missing,
        },
        FieldExpr::Not(inner) => match evaluate(inner, trace, index) {
            Value::Bool(value) => Value::Bool(!value),
            _ => Value::Missing,
        },
        FieldExpr::Exists(inner, exists) => {
            let present = match &**inner {
                FieldExpr::Attribute(Attribute::Intrinsic(Intrinsic::Parent)) => {
                    trace.has_parent(index)
                }
                inner => !evaluate(inner, trace, index).is_missing(),
            };
            Value::Bool(present == *exists)
        }
        FieldExpr::Matches(inner, pattern, positive) => {
            Value::Bool(evaluate(inner, trace, index).matches(pattern, *positive))
        }
        FieldExpr::Operation { op, left, right } => match op {
            Operator::And => Value::Bool(holds(left, trace, index) && holds(right, trace, index)),
            Operator::Or => Value::Bool(holds(left, trace, index) || holds(right, trace, index)),
            op => {
                let left = evaluate(left, trace, index);
                let right = evaluate(right, trace, index);
                if op.is_comparison() {
                    Value::Bool(left.holds(*op, &right))
                } else {
                    left.calculate(*op, &right)
                }
            }
        },
    }
}

/// The value of an attribute or intrinsic of a span.
fn lookup<'a>(attribute: &Attribute, trace: &'a TraceView<'_>, index: usize) -> Value<'a> {
    match attribute {
        Attribute::Intrinsic(intrinsic) => intrinsic_value(*intrinsic, trace, index),
        Attribute::Named {
            parent,
            scope,
            name,
        } => {
            let index = match (parent, trace.tree.parents[index]) {
                (false, _) => index,
                (true, Some(parent)) => parent,
                (true, None) => return Value::Missing,
            };
            named(*scope, name, &trace.spans[index])
        }
    }
}

fn named<'a>(scope: Scope, name: &str, span: &SpanView<'a>) -> Value<'a> {
    let one = |attributes: &'a [SpanAttribute]| {
        attribute(attributes, name).map_or(Value::Missing, Value::of_attribute)
    };
    match scope {
        Scope::Any => match attribute(&span.span.attributes, name) {
            Some(value) => Value::of_attribute(value),
            None => one(&span.resource.attributes),
        },
        Scope::Span => one(&span.span.attributes),
        Scope::Resource => one(&span.resource.attributes),
        Scope::Instrumentation => one(&span.scope.attributes),
        Scope::Event => many(
            span.span
                .events
                .iter()
                .map(|e| attribute(&e.attributes, name)),
        ),
        Scope::Link => many(
            span.span
                .links
                .iter()
                .map(|l| attribute(&l.attributes, name)),
        ),
    }
}

fn many<'a>(values: impl Iterator<Item = Option<&'a AttributeValue>>) -> Value<'a> {
    let values = values.flatten().map(Value::of_attribute);
    // What has no value counts as not there.
    let values: Vec<_> = values.filter(|v| !v.is_missing()).collect();
    if values.is_empty() {
        Value::Missing
    } else {
        Value::Many(values)
    }
}

fn texts<'a>(texts: impl Iterator<Item = Cow<'a, str>>) -> Value<'a> {
    let values: Vec<_> = texts.map(Value::Text).collect();
    if values.is_empty() {
        Value::Missing
    } else {
        Value::Many(values)
    }
}

fn intrinsic_value<'a>(intrinsic: Intrinsic, trace: &'a TraceView<'_>, index: usize) -> Value<'a> {
    let view = &trace.spans[index];
    let span = view.span;
    let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
    let made = |text: String| Value::Text(Cow::Owned(text));
    match intrinsic {
        Intrinsic::Duration => Value::Duration(span.duration_nanos()),
        Intrinsic::Name => text(&span.name),
        Intrinsic::Status => Value::Status(span.status),
        Intrinsic::StatusMessage => text(&span.status_message),
        Intrinsic::Kind => Value::Kind(span.kind),
        Intrinsic::SpanId => made(span.span_id.to_string()),
        Intrinsic::ParentId if span.parent_id.is_zero() => text(""),
        Intrinsic::ParentId => made(span.parent_id.to_string()),
        Intrinsic::ChildCount => Value::Int(trace.tree.children[index]),
        Intrinsic::TraceId => made(span.trace_id.to_string()),
        Intrinsic::RootName => trace.root_name().map_or(Value::Missing, text),
        Intrinsic::RootService => trace.root_service().map_or(Value::Missing, text),
        Intrinsic::TraceDuration => Value::Duration(trace.duration),
        Intrinsic::NestedSetLeft => Value::Int(trace.tree.left[index]),
        Intrinsic::NestedSetRight => Value::Int(trace.tree.right[index]),
        Intrinsic::NestedSetParent => Value::Int(trace.tree.nested_parent(index)),
        Intrinsic::EventName => texts(span.events.iter().map(|e| Cow::Borrowed(e.name.as_str()))),
        Intrinsic::EventTime => {
            let times: Vec<_> = span
                .events
                .iter()
                .map(|e| Value::Duration(e.time - span.start))
                .collect();
            if times.is_empty() {
                Value::Missing
            } else {
                Value::Many(times)
            }
        }
        Intrinsic::LinkTraceId => texts(
            span.links
                .iter()
                .map(|l| Cow::Owned(l.trace_id.to_string())),
        ),
        Intrinsic::LinkSpanId => {
            texts(span.links.iter().map(|l| Cow::Owned(l.span_id.to_string())))
        }
        Intrinsic::InstrumentationName => text(&view.scope.name),
        Intrinsic::InstrumentationVersion => text(&view.scope.version),
        Intrinsic::Parent => Value::Missing,
    }
}
