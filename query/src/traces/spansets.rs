//! TraceQL's pipelines on one trace: span sets in, span sets out.
//!
//! Invariant: a span set is not empty, its spans ascend, and no span is in it twice.

use std::collections::HashMap;

use obs_model::spans::Attribute as SpanAttribute;

use super::field::{Fields, evaluate, holds};
use super::structure::{inverse, related};
use super::tree::Tree;
use super::value::Value;
use crate::traceql::ast::{
    Aggregate, Element, FieldExpr, Gives, ScalarExpr, ScalarFilter, SpansetExpr, SpansetOp,
};

/// A whole trace, whose spans have numbers from 0 in the order in which they begin.
pub(super) trait Trace: Fields + Sized {
    /// Number of spans.
    fn len(&self) -> usize;

    /// How they hang together.
    fn tree(&self) -> &Tree;

    /// Those of the spans that meet a condition.
    fn filter(&self, expr: &FieldExpr, spans: &[usize]) -> Vec<usize> {
        let keep = |index: &usize| holds(expr, self, *index);
        spans.iter().copied().filter(keep).collect()
    }
}

/// Some spans of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Set {
    /// Indices into the trace.
    pub(super) spans: Vec<usize>,
    /// Values of `by()` and of aggregates.
    pub(super) attributes: Vec<SpanAttribute>,
}

/// Runs a pipeline on the whole trace.
pub(super) fn run<T: Trace>(pipeline: &[Element], trace: &T) -> Vec<Set> {
    let all = Set {
        spans: (0..trace.len()).collect(),
        attributes: Vec::new(),
    };
    steps(pipeline, trace, vec![all])
}

fn steps<T: Trace>(pipeline: &[Element], trace: &T, mut sets: Vec<Set>) -> Vec<Set> {
    for element in pipeline {
        if sets.is_empty() {
            break;
        }
        sets = match element {
            Element::Spans(expr) => sets
                .into_iter()
                .filter_map(|set| {
                    let spans = spans_of(expr, trace, &set);
                    (!spans.is_empty()).then_some(Set { spans, ..set })
                })
                .collect(),
            Element::Scalar(filter) => sets
                .into_iter()
                .filter_map(|set| scalar_filter(filter, trace, set))
                .collect(),
            Element::By(expr) => sets
                .into_iter()
                .flat_map(|set| group(expr, trace, set))
                .collect(),
            Element::Coalesce => coalesce(sets),
            Element::Select(_) => sets,
        };
    }
    sets
}

fn coalesce(sets: Vec<Set>) -> Vec<Set> {
    let mut spans: Vec<usize> = sets.into_iter().flat_map(|set| set.spans).collect();
    spans.sort_unstable();
    spans.dedup();
    vec![Set {
        spans,
        attributes: Vec::new(),
    }]
}

/// The spans of a set that an expression keeps.
fn spans_of<T: Trace>(expr: &SpansetExpr, trace: &T, set: &Set) -> Vec<usize> {
    match expr {
        SpansetExpr::Filter(None) => set.spans.clone(),
        SpansetExpr::Filter(Some(expr)) => trace.filter(expr, &set.spans),
        SpansetExpr::Pipeline(elements) => {
            let sets = steps(elements, trace, vec![set.clone()]);
            coalesce(sets).pop().map_or_else(Vec::new, |set| set.spans)
        }
        SpansetExpr::Operation { op, left, right } => {
            let left = spans_of(left, trace, set);
            let right = spans_of(right, trace, set);
            operate(*op, || trace.tree(), left, right)
        }
    }
}

fn operate<'a>(
    op: SpansetOp,
    tree: impl FnOnce() -> &'a Tree,
    left: Vec<usize>,
    right: Vec<usize>,
) -> Vec<usize> {
    let union = |mut left: Vec<usize>, right: Vec<usize>| {
        left.extend(right);
        left.sort_unstable();
        left.dedup();
        left
    };
    match op {
        SpansetOp::And if left.is_empty() || right.is_empty() => Vec::new(),
        SpansetOp::And | SpansetOp::Union => union(left, right),
        SpansetOp::Structural(relation, gives) => {
            let tree = tree();
            let related_to_left = related(tree, &left, relation);
            let wanted = gives != Gives::NotRight;
            let keep = |index: &usize| related_to_left[*index] == wanted;
            let kept: Vec<usize> = right.iter().copied().filter(keep).collect();
            if gives != Gives::Both {
                return kept;
            }
            let related_to_right = related(tree, &right, inverse(relation));
            let both = left.into_iter().filter(|index| related_to_right[*index]);
            union(both.collect(), kept)
        }
    }
}

/// Splits a set by the values of an expression, in order of first occurrence.
fn group<T: Trace>(expr: &FieldExpr, trace: &T, set: Set) -> Vec<Set> {
    let mut groups: Vec<(Value<'_>, Vec<usize>)> = Vec::new();
    // By the value as text, types apart: a trace may have as many groups as spans.
    let mut known: HashMap<String, usize> = HashMap::new();
    for index in set.spans {
        let value = evaluate(expr, trace, index);
        let group = *known.entry(format!("{value:?}")).or_insert(groups.len());
        match groups.get_mut(group) {
            Some((_, spans)) => spans.push(index),
            None => groups.push((value, vec![index])),
        }
    }
    groups
        .into_iter()
        .map(|(value, spans)| {
            let mut attributes = set.attributes.clone();
            let value = if value.is_missing() {
                obs_model::spans::AttributeValue::String("nil".to_owned())
            } else {
                value.to_attribute()
            };
            attributes.push(SpanAttribute {
                key: format!("by({expr})"),
                value,
            });
            Set { spans, attributes }
        })
        .collect()
}

fn scalar_filter<T: Trace>(filter: &ScalarFilter, trace: &T, mut set: Set) -> Option<Set> {
    let mut seen = Vec::new();
    let left = scalar(&filter.left, trace, &set, &mut seen);
    let right = scalar(&filter.right, trace, &set, &mut seen);
    let keep = left.holds(filter.op, &right);
    set.attributes.extend(seen);
    keep.then_some(set)
}

fn scalar<'a, T: Trace>(
    expr: &'a ScalarExpr,
    trace: &'a T,
    set: &Set,
    seen: &mut Vec<SpanAttribute>,
) -> Value<'a> {
    match expr {
        ScalarExpr::Static(value) => Value::of_static(value),
        ScalarExpr::Pipeline(elements, aggregate) => {
            let sets = steps(elements, trace, vec![set.clone()]);
            let own = coalesce(sets).pop().unwrap_or_default();
            scalar(aggregate, trace, &own, seen)
        }
        ScalarExpr::Operation { op, left, right } => {
            let left = scalar(left, trace, set, seen);
            let right = scalar(right, trace, set, seen);
            left.calculate(*op, &right)
        }
        ScalarExpr::Aggregate(aggregate, field) => {
            let value = aggregated(*aggregate, field.as_ref(), trace, set);
            seen.push(SpanAttribute {
                key: expr.to_string(),
                value: value.to_attribute(),
            });
            value
        }
    }
}

fn aggregated<'a, T: Trace>(
    aggregate: Aggregate,
    field: Option<&'a FieldExpr>,
    trace: &'a T,
    set: &Set,
) -> Value<'a> {
    let Some(field) = field else {
        // A trace's spans are counted in memory, so the length fits.
        return Value::Int(set.spans.len() as i64);
    };
    let values: Vec<Value<'_>> = set
        .spans
        .iter()
        .map(|index| evaluate(field, trace, *index))
        .filter(|value| value.number().is_some())
        .collect();
    let durations = values.iter().all(|v| matches!(v, Value::Duration(_)));
    let numbers = values.iter().filter_map(Value::number);
    let count = values.len();
    if count == 0 {
        return Value::Missing;
    }
    let number = match aggregate {
        Aggregate::Count => count as f64,
        Aggregate::Max => numbers.fold(f64::NEG_INFINITY, f64::max),
        Aggregate::Min => numbers.fold(f64::INFINITY, f64::min),
        Aggregate::Sum => numbers.sum(),
        Aggregate::Avg => numbers.sum::<f64>() / count as f64,
    };
    if durations {
        // Nanoseconds of spans; a sum that does not fit is cut by the cast.
        Value::Duration(number as i64)
    } else {
        Value::Float(number)
    }
}
