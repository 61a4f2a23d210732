//! What is done to whole series: order, arithmetic, rankings, comparisons.
//!
//! Invariant: the order of the input decides nothing: series meet by their labels.

use std::collections::HashMap;

use obs_model::answer::SpanExemplar;
use obs_model::spans::{Attribute as SpanAttribute, AttributeValue};

use super::Series;
use crate::traceql::ast::{Operator, Static};
use crate::traceql::metric::Stage;

/// The label of series that have no other.
const NAME: &str = "__name__";

/// Appends bytes that tell a value from all others.
pub(in crate::traces) fn key_of(value: &AttributeValue, key: &mut Vec<u8>) {
    let mut put = |tag: u8, bytes: &[u8]| {
        key.push(tag);
        key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        key.extend_from_slice(bytes);
    };
    match value {
        AttributeValue::Empty => put(0, &[]),
        AttributeValue::String(text) => put(1, text.as_bytes()),
        AttributeValue::Bool(truth) => put(2, &[u8::from(*truth)]),
        AttributeValue::Int(number) => put(3, &number.to_le_bytes()),
        AttributeValue::Double(number) => put(4, &number.to_bits().to_le_bytes()),
        AttributeValue::Bytes(bytes) => put(5, bytes),
        AttributeValue::Array(values) => {
            put(6, &(values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| key_of(value, key));
        }
        // Maps have no value in TraceQL.
        AttributeValue::Map(_) => put(7, &[]),
    }
}

/// What two series meet by: all labels but the name of a lone one.
fn meets_by(labels: &[SpanAttribute]) -> Vec<u8> {
    let mut key = Vec::new();
    for label in labels.iter().filter(|l| l.key != NAME) {
        key_of(&AttributeValue::String(label.key.clone()), &mut key);
        key_of(&label.value, &mut key);
    }
    key
}

/// Order for reading: texts by letters, numbers by size.
pub(in crate::traces) fn order(a: &[SpanAttribute], b: &[SpanAttribute]) -> std::cmp::Ordering {
    let compare = |a: &SpanAttribute, b: &SpanAttribute| {
        let values = match (&a.value, &b.value) {
            (AttributeValue::String(a), AttributeValue::String(b)) => a.cmp(b),
            (AttributeValue::Int(a), AttributeValue::Int(b)) => a.cmp(b),
            (AttributeValue::Double(a), AttributeValue::Double(b)) => a.total_cmp(b),
            (a, b) => {
                let key = |value| {
                    let mut key = Vec::new();
                    key_of(value, &mut key);
                    key
                };
                key(a).cmp(&key(b))
            }
        };
        a.key.cmp(&b.key).then(values)
    };
    let each = a.iter().zip(b).map(|(a, b)| compare(a, b));
    each.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        .then(a.len().cmp(&b.len()))
}

/// Sorts series by their labels.
pub(super) fn sort(all: &mut [Series]) {
    all.sort_by(|a, b| order(&a.labels, &b.labels));
}

/// Arithmetic of two values; division by zero has no value.
fn calculate(op: Operator, a: f64, b: f64) -> f64 {
    match op {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        Operator::Div if b != 0.0 => a / b,
        _ => f64::NAN,
    }
}

/// Every value with a number, on its left or right.
pub(super) fn scale(
    op: Operator,
    number: &Static,
    left: bool,
    mut all: Vec<Series>,
) -> Vec<Series> {
    let number = float(number);
    let value = |value: f64| {
        if left {
            calculate(op, number, value)
        } else {
            calculate(op, value, number)
        }
    };
    for series in &mut all {
        series.values.iter_mut().for_each(|v| *v = value(*v));
        let shown = series.exemplars.iter_mut();
        shown.for_each(|e| e.value = value(e.value));
    }
    all
}

/// A constant as results are: durations in seconds.
fn float(value: &Static) -> f64 {
    match value {
        Static::Int(value) => *value as f64,
        Static::Float(value) => *value,
        Static::Duration(nanos) => *nanos as f64 / 1e9,
        _ => f64::NAN,
    }
}

/// Series with equal labels; one without labels meets all.
pub(super) fn join(op: Operator, left: &[Series], right: &[Series]) -> Vec<Series> {
    let keyed = |all: &[Series]| -> HashMap<Vec<u8>, usize> {
        let numbered = all.iter().enumerate();
        numbered.map(|(n, s)| (meets_by(&s.labels), n)).collect()
    };
    let (lefts, rights) = (keyed(left), keyed(right));
    let alone = Vec::new();
    let target = if rights.contains_key(&alone) {
        &lefts
    } else {
        &rights
    };
    let mut out = Vec::with_capacity(target.len());
    for key in target.keys() {
        let side = |known: &HashMap<Vec<u8>, usize>| {
            let own = known.get(key).map(|n| (*n, false));
            own.or_else(|| known.get(&alone).map(|n| (*n, true)))
        };
        let (Some((l, l_all)), Some((r, r_all))) = (side(&lefts), side(&rights)) else {
            continue;
        };
        let (l, r) = (&left[l], &right[r]);
        let pairs = l.values.iter().zip(&r.values);
        let mut exemplars: Vec<SpanExemplar> = Vec::new();
        if l_all == r_all || !l_all {
            exemplars.extend(l.exemplars.iter().cloned());
        }
        if l_all == r_all || l_all {
            exemplars.extend(r.exemplars.iter().cloned());
        }
        out.push(Series {
            labels: joined(op, &l.labels, &r.labels),
            values: pairs.map(|(a, b)| calculate(op, *a, *b)).collect(),
            exemplars,
        });
    }
    sort(&mut out);
    out
}

/// The labels of two series together; two names become one of both.
fn joined(op: Operator, left: &[SpanAttribute], right: &[SpanAttribute]) -> Vec<SpanAttribute> {
    let name = |labels: &[SpanAttribute]| {
        let found = labels.iter().find(|l| l.key == NAME)?;
        match &found.value {
            AttributeValue::String(name) => Some(name.clone()),
            _ => None,
        }
    };
    let mut labels: Vec<SpanAttribute> = left.iter().filter(|l| l.key != NAME).cloned().collect();
    for label in right.iter().filter(|l| l.key != NAME) {
        if !labels.iter().any(|known| known.key == label.key) {
            labels.push(label.clone());
        }
    }
    if let (Some(l), Some(r)) = (name(left), name(right)) {
        let both = format!("({l} {} {r})", op.as_str());
        labels.insert(0, SpanAttribute::string(NAME, both));
    }
    labels
}

/// One stage.
pub(super) fn stage(stage: &Stage, all: Vec<Series>) -> Vec<Series> {
    match stage {
        Stage::Top(most) => ranked(all, *most, true),
        Stage::Bottom(most) => ranked(all, *most, false),
        Stage::Keep(op, value) => kept(all, *op, float(value)),
    }
}

/// Values that compare to a number; series without any go.
fn kept(mut all: Vec<Series>, op: Operator, number: f64) -> Vec<Series> {
    let meets = |value: f64| match op {
        Operator::Equal => value == number,
        Operator::NotEqual => value != number && !value.is_nan(),
        Operator::Less => value < number,
        Operator::LessEqual => value <= number,
        Operator::Greater => value > number,
        Operator::GreaterEqual => value >= number,
        _ => false,
    };
    for series in &mut all {
        let values = series.values.iter_mut();
        values.filter(|v| !meets(**v)).for_each(|v| *v = f64::NAN);
        // A count's exemplar has no value yet; the answer shows it where a value is left.
        series
            .exemplars
            .retain(|e| e.value.is_nan() || meets(e.value));
    }
    all.retain(|s| s.values.iter().any(|v| !v.is_nan()));
    all
}

/// The largest or smallest values of each step. Of equal ones the series that comes first counts as
/// larger.
fn ranked(mut all: Vec<Series>, most: usize, top: bool) -> Vec<Series> {
    if all.len() <= most {
        return all;
    }
    sort(&mut all);
    let steps = all.first().map_or(0, |s| s.values.len());
    for step in 0..steps {
        let mut order: Vec<usize> = (0..all.len())
            .filter(|n| !all[*n].values[step].is_nan())
            .collect();
        order.sort_by(|a, b| {
            let by_value = all[*b].values[step].total_cmp(&all[*a].values[step]);
            let order = by_value.then(a.cmp(b));
            if top { order } else { order.reverse() }
        });
        for lost in order.iter().skip(most) {
            all[*lost].values[step] = f64::NAN;
        }
    }
    all.retain(|s| s.values.iter().any(|v| !v.is_nan()));
    all
}
