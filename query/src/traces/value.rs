//! Values of TraceQL expressions and the operators on them.

use std::borrow::Cow;
use std::cmp::Ordering;

use obs_model::Pattern;
use obs_model::spans::{AttributeValue, SpanKind, StatusCode};

use crate::traceql::ast::{Operator, Static};

/// A value of one span.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Not there: no condition on it holds.
    Missing,
    Text(Cow<'a, str>),
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    Bool(bool),
    Status(StatusCode),
    Kind(SpanKind),
    /// Values of an array, of the events or of the links.
    Many(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    pub(super) fn of_static(value: &'a Static) -> Self {
        match value {
            Static::String(text) => Self::Text(Cow::Borrowed(text)),
            Static::Int(value) => Self::Int(*value),
            Static::Float(value) => Self::Float(*value),
            Static::Duration(nanos) => Self::Duration(*nanos),
            Static::Bool(value) => Self::Bool(*value),
            Static::Status(status) => Self::Status(*status),
            Static::Kind(kind) => Self::Kind(*kind),
        }
    }

    pub(super) fn of_attribute(value: &'a AttributeValue) -> Self {
        match value {
            AttributeValue::String(text) => Self::Text(Cow::Borrowed(text)),
            AttributeValue::Bool(value) => Self::Bool(*value),
            AttributeValue::Int(value) => Self::Int(*value),
            AttributeValue::Double(value) => Self::Float(*value),
            AttributeValue::Array(values) => {
                // One level: arrays in arrays have no meaning in TraceQL.
                let flat = |v: &&AttributeValue| !matches!(v, AttributeValue::Array(_));
                Self::Many(values.iter().filter(flat).map(Self::of_attribute).collect())
            }
            AttributeValue::Empty | AttributeValue::Bytes(_) | AttributeValue::Map(_) => {
                Self::Missing
            }
        }
    }

    /// As [`Value::of_attribute`], taking the texts over.
    pub(super) fn from_attribute(value: AttributeValue) -> Value<'static> {
        match value {
            AttributeValue::String(text) => Value::Text(Cow::Owned(text)),
            other => Value::of_attribute(&other).into_owned(),
        }
    }

    /// The same value, texts borrowed.
    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Missing => Value::Missing,
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Duration(nanos) => Value::Duration(*nanos),
            Self::Bool(value) => Value::Bool(*value),
            Self::Status(status) => Value::Status(*status),
            Self::Kind(kind) => Value::Kind(*kind),
            Self::Many(values) => Value::Many(values.iter().map(Value::borrowed).collect()),
        }
    }

    /// The same value, texts copied.
    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Missing => Value::Missing,
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::Duration(nanos) => Value::Duration(nanos),
            Self::Bool(value) => Value::Bool(value),
            Self::Status(status) => Value::Status(status),
            Self::Kind(kind) => Value::Kind(kind),
            Self::Many(values) => Value::Many(values.into_iter().map(Value::into_owned).collect()),
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Many(values) => values.iter().all(Self::is_missing),
            _ => false,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) | Self::Duration(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// As an attribute of an answer.
    pub(super) fn to_attribute(&self) -> AttributeValue {
        match self {
            Self::Missing => AttributeValue::Empty,
            Self::Text(text) => AttributeValue::String(text.clone().into_owned()),
            Self::Int(value) => AttributeValue::Int(*value),
            Self::Float(value) => AttributeValue::Double(*value),
            Self::Duration(nanos) => AttributeValue::String(crate::tokens::format_duration(*nanos)),
            Self::Bool(value) => AttributeValue::Bool(*value),
            Self::Status(status) => AttributeValue::String(status.as_str().to_owned()),
            Self::Kind(kind) => AttributeValue::String(kind.as_str().to_owned()),
            Self::Many(values) => {
                AttributeValue::Array(values.iter().map(Self::to_attribute).collect())
            }
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Status(a), Self::Status(b)) => Some(a.cmp(b)),
            (Self::Kind(a), Self::Kind(b)) => Some(a.cmp(b)),
            // Exact where both are whole: an i64 does not fit an f64.
            (Self::Int(a) | Self::Duration(a), Self::Int(b) | Self::Duration(b)) => Some(a.cmp(b)),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }

    /// Whether a comparison holds. Of many values one must meet it, but for `!=` all.
    pub(super) fn holds(&self, op: Operator, other: &Self) -> bool {
        match (self, other) {
            (Self::Many(values), single) => any_or_all(values, op, |v| v.holds(op, single)),
            (single, Self::Many(values)) => any_or_all(values, op, |v| single.holds(op, v)),
            (a, b) => {
                let Some(order) = a.compare(b) else {
                    // Values of different types do not compare; a NaN is not equal to any number.
                    let numbers = a.number().is_some() && b.number().is_some();
                    return op == Operator::NotEqual && numbers;
                };
                match op {
                    Operator::Equal => order.is_eq(),
                    Operator::NotEqual => order.is_ne(),
                    Operator::Less => order.is_lt(),
                    Operator::LessEqual => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    Operator::GreaterEqual => order.is_ge(),
                    _ => false,
                }
            }
        }
    }

    /// Whether a regular expression matches (or must not).
    pub(super) fn matches(&self, pattern: &Pattern, positive: bool) -> bool {
        match self {
            Self::Text(text) => pattern.is_match(text.as_bytes()) == positive,
            Self::Many(values) if positive => values.iter().any(|v| v.matches(pattern, true)),
            Self::Many(values) => {
                !values.is_empty() && values.iter().all(|v| v.matches(pattern, false))
            }
            _ => false,
        }
    }

    /// Arithmetic; whole numbers stay whole, durations stay durations.
    pub(super) fn calculate(&self, op: Operator, other: &Self) -> Self {
        if let (Self::Int(a), Self::Int(b)) = (self, other) {
            return whole(op, *a, *b).map_or(Self::Missing, Self::Int);
        }
        let (Some(a), Some(b)) = (self.number(), other.number()) else {
            return Self::Missing;
        };
        match op {
            Operator::Add => Self::Float(a + b),
            Operator::Sub => Self::Float(a - b),
            Operator::Mul => Self::Float(a * b),
            Operator::Div => Self::Float(a / b),
            Operator::Mod => Self::Float(a % b),
            Operator::Pow => Self::Float(a.powf(b)),
            _ => Self::Missing,
        }
    }
}

fn any_or_all(values: &[Value<'_>], op: Operator, holds: impl Fn(&Value<'_>) -> bool) -> bool {
    if op == Operator::NotEqual {
        !values.is_empty() && values.iter().all(holds)
    } else {
        values.iter().any(holds)
    }
}

/// Arithmetic of whole numbers; `None` where Go would panic or the result does not fit.
fn whole(op: Operator, a: i64, b: i64) -> Option<i64> {
    match op {
        Operator::Add => a.checked_add(b),
        Operator::Sub => a.checked_sub(b),
        Operator::Mul => a.checked_mul(b),
        Operator::Div => a.checked_div(b),
        Operator::Mod => a.checked_rem(b),
        Operator::Pow => a.checked_pow(u32::try_from(b).ok()?),
        _ => None,
    }
}
