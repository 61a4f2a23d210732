//! The columns of spans that expressions look at, and which spans meet a condition.
//!
//! A condition becomes one truth for each row of a block: what compares an attribute to a constant
//! is decided once for each distinct value.
//! Invariant: what [`is_decided`] takes is true of the same spans here as on whole traces.

use std::collections::HashMap;
use std::ops::Range;

use obs_model::spans::{Attribute as SpanAttribute, AttributeValue, SpanKind, StatusCode};
use obs_model::{Budget, SpanId};
use obs_tracestore::SelectError;
use obs_tracestore::columns::{Coded, Columns, Listed, Lists, Numbers, Words};

use super::conditions::store_scope;
use super::field::{Fields, holds};
use super::forest::Forest;
use super::metrics::series;
use super::value::Value;
use crate::traceql::ast::{
    Attribute, Element, FieldExpr, Intrinsic, Operator, Scope, SpansetExpr, SpansetOp, Static,
};

/// The conditions of elements that look at one span at a time; all must hold.
pub(super) fn conditions_of(elements: &[Element]) -> Option<Vec<FieldExpr>> {
    let mut all = Vec::new();
    for element in elements {
        match element {
            Element::Select(_) => {}
            Element::Spans(expr) => all.extend(of_spans(expr)?),
            Element::Scalar(_) | Element::By(_) | Element::Coalesce => return None,
        }
    }
    all.iter().all(is_decided).then_some(all)
}

/// A set of spans as one condition; none takes all.
fn of_spans(expr: &SpansetExpr) -> Option<Option<FieldExpr>> {
    match expr {
        SpansetExpr::Filter(expr) => Some(expr.clone()),
        SpansetExpr::Operation {
            op: SpansetOp::Union,
            left,
            right,
        } => Some(match (of_spans(left)?, of_spans(right)?) {
            (Some(left), Some(right)) => Some(FieldExpr::Operation {
                op: Operator::Or,
                left: Box::new(left),
                right: Box::new(right),
            }),
            _ => None,
        }),
        SpansetExpr::Operation { .. } | SpansetExpr::Pipeline(_) => None,
    }
}

/// Whether an attribute is a column: it says something of the span alone.
pub(super) fn is_column(attribute: &Attribute) -> bool {
    match attribute {
        Attribute::Named { parent, .. } => !parent,
        Attribute::Intrinsic(intrinsic) => !matches!(
            intrinsic,
            Intrinsic::ChildCount
                | Intrinsic::RootName
                | Intrinsic::RootService
                | Intrinsic::TraceDuration
                | Intrinsic::NestedSetLeft
                | Intrinsic::NestedSetRight
                | Intrinsic::NestedSetParent
                | Intrinsic::Parent
        ),
    }
}

/// Whether columns decide a condition.
pub(super) fn is_decided(expr: &FieldExpr) -> bool {
    match expr {
        FieldExpr::Static(_) => true,
        FieldExpr::Attribute(attribute) => is_column(attribute),
        FieldExpr::Negate(inner)
        | FieldExpr::Not(inner)
        | FieldExpr::Exists(inner, _)
        | FieldExpr::Matches(inner, ..) => is_decided(inner),
        FieldExpr::Operation { op, left, right } => {
            asks_for_roots(*op, left, right) || is_decided(left) && is_decided(right)
        }
    }
}

/// Whether `nestedSetParent` is compared so that it only matters whether the span is a root: roots
/// have -1, all others have at least 0.
fn asks_for_roots(op: Operator, left: &FieldExpr, right: &FieldExpr) -> bool {
    let (
        FieldExpr::Attribute(Attribute::Intrinsic(Intrinsic::NestedSetParent)),
        FieldExpr::Static(Static::Int(number)),
    ) = (left, right)
    else {
        return false;
    };
    let border = matches!(op, Operator::Less | Operator::GreaterEqual) && *number == 0;
    border || (op.is_comparison() && *number < 0)
}

/// A column of one block.
pub(super) enum Column {
    /// A number for each row, and the value of each number.
    Coded(Vec<u32>, Vec<Value<'static>>),
    /// Nanoseconds.
    Durations(Vec<i64>),
    Ints(Vec<i64>),
    /// Of events or links: where those of each row end, and their values.
    Lists(Vec<u32>, Vec<u32>, Vec<Value<'static>>),
}

/// The columns of one block that were asked for.
#[derive(Default)]
pub(super) struct Block<'f> {
    pub(super) columns: HashMap<Attribute, Column>,
    /// How the spans of traces hang together, where the block has whole traces.
    forest: Option<&'f Forest>,
}

impl Fields for Block<'_> {
    fn lookup(&self, attribute: &Attribute, index: usize) -> Value<'_> {
        match self.columns.get(attribute) {
            // It is only compared to nil.
            _ if *attribute == Attribute::Intrinsic(Intrinsic::Parent) => Value::Missing,
            Some(Column::Coded(codes, values)) => values[codes[index] as usize].borrowed(),
            Some(Column::Durations(nanos)) => Value::Duration(nanos[index]),
            Some(Column::Ints(all)) => Value::Int(all[index]),
            Some(Column::Lists(ends, codes, values)) => {
                let entries = codes[of_row(ends, index)].iter();
                let values = entries.map(|c| &values[*c as usize]);
                let there = values.filter(|v| !v.is_missing()).map(Value::borrowed);
                let all: Vec<_> = there.collect();
                if all.is_empty() {
                    Value::Missing
                } else {
                    Value::Many(all)
                }
            }
            None => Value::Missing,
        }
    }

    fn has_parent(&self, index: usize) -> bool {
        self.forest.is_some_and(|f| f.parents[index].is_some())
    }
}

/// The entries of a row.
fn of_row(ends: &[u32], row: usize) -> Range<usize> {
    let start = row.checked_sub(1).map_or(0, |r| ends[r]);
    start as usize..ends[row] as usize
}

impl<'f> Block<'f> {
    /// The columns of a block of whole traces.
    pub(super) fn of_traces(forest: &'f Forest) -> Self {
        Self {
            columns: HashMap::new(),
            forest: Some(forest),
        }
    }

    /// Reads the columns of all attributes of an expression.
    fn load(&mut self, expr: &FieldExpr, from: &Columns<'_>) -> Result<(), SelectError> {
        let mut attributes = Vec::new();
        super::search::of_field(expr, &mut attributes);
        attributes.iter().try_for_each(|a| self.read(a, from))
    }

    /// Reads a column.
    pub(super) fn read(
        &mut self,
        attribute: &Attribute,
        from: &Columns<'_>,
    ) -> Result<(), SelectError> {
        if self.columns.contains_key(attribute) {
            return Ok(());
        }
        let column = match (self.forest, attribute) {
            (Some(forest), Attribute::Intrinsic(intrinsic)) if !is_column(attribute) => {
                forest.column(*intrinsic, self, from)?
            }
            (None, Attribute::Named { parent: true, .. }) => missing(from.len()),
            (Some(forest), Attribute::Named { parent: true, .. }) => {
                let own = own(attribute);
                self.read(&own, from)?;
                forest.of_parents(self.columns.get(&own), from.len())
            }
            (_, Attribute::Intrinsic(intrinsic)) => of_intrinsic(*intrinsic, from)?,
            (_, Attribute::Named { scope, name, .. }) => match scope {
                Scope::Any => of_any(name, from)?,
                Scope::Event => of_listed(from.lists(Lists::EventAttribute(name))?),
                Scope::Link => of_listed(from.lists(Lists::LinkAttribute(name))?),
                Scope::Span | Scope::Resource | Scope::Instrumentation => {
                    let scope = store_scope(*scope).unwrap_or(obs_tracestore::Scope::Span);
                    of_coded(from.attribute(scope, name)?.unwrap_or_default())
                }
            },
        };
        self.columns.insert(attribute.clone(), column);
        Ok(())
    }
}

/// The same attribute of the span itself.
fn own(attribute: &Attribute) -> Attribute {
    match attribute {
        Attribute::Named { scope, name, .. } => Attribute::Named {
            parent: false,
            scope: *scope,
            name: name.clone(),
        },
        other => other.clone(),
    }
}

/// A column without values.
pub(super) fn missing(rows: usize) -> Column {
    Column::Coded(vec![0; rows], vec![Value::Missing])
}

fn of_listed(listed: Listed) -> Column {
    let values = values(listed.entries.values);
    Column::Lists(listed.ends, listed.entries.codes, values)
}

fn values(all: Vec<AttributeValue>) -> Vec<Value<'static>> {
    all.into_iter().map(Value::from_attribute).collect()
}

fn of_coded(coded: Coded) -> Column {
    Column::Coded(coded.codes, values(coded.values))
}

/// The span's value, else the resource's.
fn of_any(name: &str, from: &Columns<'_>) -> Result<Column, SelectError> {
    let own = from
        .attribute(obs_tracestore::Scope::Span, name)?
        .unwrap_or_default();
    let shared = from
        .attribute(obs_tracestore::Scope::Resource, name)?
        .unwrap_or_default();
    let empty: Vec<bool> = own
        .values
        .iter()
        .map(|v| *v == AttributeValue::Empty)
        .collect();
    let mut all = values(own.values);
    let base = all.len() as u32;
    all.extend(values(shared.values));
    let both = own.codes.iter().zip(&shared.codes);
    let codes = both
        .map(|(own, shared)| {
            if empty[*own as usize] {
                base + shared
            } else {
                *own
            }
        })
        .collect();
    Ok(Column::Coded(codes, all))
}

fn of_intrinsic(intrinsic: Intrinsic, from: &Columns<'_>) -> Result<Column, SelectError> {
    let small = |numbers: Vec<i64>| numbers.into_iter().map(|n| n as u32).collect::<Vec<_>>();
    Ok(match intrinsic {
        Intrinsic::Duration => Column::Durations(from.numbers(Numbers::Duration)?),
        Intrinsic::Kind => {
            let kinds = (0..6).map(|n| Value::Kind(SpanKind::from_number(n)));
            Column::Coded(small(from.numbers(Numbers::Kind)?), kinds.collect())
        }
        Intrinsic::Status => {
            let codes = (0..3).map(|n| Value::Status(StatusCode::from_number(n)));
            Column::Coded(small(from.numbers(Numbers::Status)?), codes.collect())
        }
        Intrinsic::NestedSetParent => {
            let roots = from.roots()?.into_iter().map(u32::from).collect();
            Column::Coded(roots, vec![Value::Int(0), Value::Int(-1)])
        }
        Intrinsic::Name => of_coded(from.words(Words::Name)?),
        Intrinsic::StatusMessage => of_coded(from.words(Words::StatusMessage)?),
        Intrinsic::InstrumentationName => of_coded(from.words(Words::Instrumentation)?),
        Intrinsic::InstrumentationVersion => of_coded(from.words(Words::Version)?),
        Intrinsic::EventName => of_listed(from.lists(Lists::EventName)?),
        Intrinsic::EventTime => {
            let listed = from.lists(Lists::EventTime)?;
            let nanos = |value: &AttributeValue| match value {
                AttributeValue::Int(nanos) => Value::Duration(*nanos),
                _ => Value::Missing,
            };
            let values = listed.entries.values.iter().map(nanos).collect();
            Column::Lists(listed.ends, listed.entries.codes, values)
        }
        Intrinsic::LinkTraceId => of_listed(from.lists(Lists::LinkTrace)?),
        Intrinsic::LinkSpanId => of_listed(from.lists(Lists::LinkSpan)?),
        Intrinsic::SpanId | Intrinsic::TraceId => {
            let mut texts = Vec::with_capacity(from.len());
            for row in 0..from.len() {
                let (trace, span) = from.ids(row)?;
                texts.push(match intrinsic {
                    Intrinsic::SpanId => span.to_string(),
                    _ => trace.to_string(),
                });
            }
            of_texts(texts)
        }
        Intrinsic::ParentId => {
            let ids = from.parents()?.ids;
            let text = |id: SpanId| match id.is_zero() {
                true => String::new(),
                false => id.to_string(),
            };
            of_texts(ids.into_iter().map(text).collect())
        }
        // What only whole traces know, and `parent`, which is only compared to nil.
        Intrinsic::ChildCount
        | Intrinsic::RootName
        | Intrinsic::RootService
        | Intrinsic::TraceDuration
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::Parent => missing(from.len()),
    })
}

/// Each row its own text.
fn of_texts(texts: Vec<String>) -> Column {
    let codes = (0..texts.len() as u32).collect();
    let values = texts.into_iter().map(|t| Value::Text(t.into()));
    Column::Coded(codes, values.collect())
}

/// Marks the rows that meet a condition.
pub(super) fn matching(
    conditions: &[FieldExpr],
    from: &Columns<'_>,
) -> Result<Vec<bool>, SelectError> {
    let mut block = Block::default();
    let mut rows = match from.apart() {
        Some(apart) => apart.iter().map(|apart| !apart).collect(),
        None => vec![true; from.len()],
    };
    for expr in conditions {
        narrow(expr, from, &mut block, &mut rows)?;
    }
    Ok(rows)
}

/// Clears the rows that do not meet a condition.
pub(super) fn narrow(
    expr: &FieldExpr,
    from: &Columns<'_>,
    block: &mut Block<'_>,
    rows: &mut [bool],
) -> Result<(), SelectError> {
    // What comes later is not even read where nothing is left.
    if !rows.contains(&true) {
        return Ok(());
    }
    match expr {
        FieldExpr::Operation {
            op: Operator::And,
            left,
            right,
        } => {
            narrow(left, from, block, rows)?;
            return narrow(right, from, block, rows);
        }
        FieldExpr::Operation {
            op: Operator::Or,
            left,
            right,
        } => {
            let mut other = rows.to_vec();
            narrow(left, from, block, rows)?;
            narrow(right, from, block, &mut other)?;
            rows.iter_mut()
                .zip(other)
                .for_each(|(row, other)| *row |= other);
            return Ok(());
        }
        _ => {}
    }
    block.load(expr, from)?;
    let mut attributes = Vec::new();
    super::search::of_field(expr, &mut attributes);
    if let [attribute] = attributes.as_slice() {
        match block.columns.get(attribute) {
            Some(Column::Coded(codes, values)) => {
                let truths: Vec<bool> = values
                    .iter()
                    .map(|value| holds(expr, &Lone(attribute, value), 0))
                    .collect();
                let each = rows.iter_mut().zip(codes);
                each.for_each(|(row, code)| *row &= truths[*code as usize]);
                return Ok(());
            }
            Some(Column::Durations(nanos)) if compare_durations(expr, nanos, rows) => {
                return Ok(());
            }
            Some(Column::Lists(ends, codes, values)) => {
                narrow_lists(expr, attribute, (ends, codes, values), block, rows);
                return Ok(());
            }
            Some(Column::Durations(_) | Column::Ints(_)) | None => {}
        }
    }
    let numbered = rows.iter_mut().enumerate();
    numbered.for_each(|(index, row)| *row = *row && holds(expr, block, index));
    Ok(())
}

/// A condition on values of events or links: decided once for rows that have none, and once for
/// each value of rows that have one.
fn narrow_lists(
    expr: &FieldExpr,
    attribute: &Attribute,
    (ends, codes, values): (&[u32], &[u32], &[Value<'static>]),
    block: &Block<'_>,
    rows: &mut [bool],
) {
    let none = holds(expr, &Lone(attribute, &Value::Missing), 0);
    let mut known: Vec<Option<bool>> = vec![None; values.len()];
    let mut start = 0;
    for (index, (row, end)) in rows.iter_mut().zip(ends).enumerate() {
        let entries = &codes[start..*end as usize];
        start = *end as usize;
        if !*row {
            continue;
        }
        *row = match entries {
            [] => none,
            [code] => {
                let code = *code as usize;
                *known[code].get_or_insert_with(|| match &values[code] {
                    missing if missing.is_missing() => none,
                    value => {
                        let many = Value::Many(vec![value.clone()]);
                        holds(expr, &Lone(attribute, &many), 0)
                    }
                })
            }
            _ => holds(expr, block, index),
        };
    }
}

/// `duration > 1s` without a value for each row; whether the expression is of that form.
fn compare_durations(expr: &FieldExpr, nanos: &[i64], rows: &mut [bool]) -> bool {
    let FieldExpr::Operation { op, left, right } = expr else {
        return false;
    };
    let (FieldExpr::Attribute(_), FieldExpr::Static(Static::Duration(limit) | Static::Int(limit))) =
        (&**left, &**right)
    else {
        return false;
    };
    let limit = *limit;
    match op {
        Operator::Equal => keep(rows, nanos, |n| n == limit),
        Operator::NotEqual => keep(rows, nanos, |n| n != limit),
        Operator::Less => keep(rows, nanos, |n| n < limit),
        Operator::LessEqual => keep(rows, nanos, |n| n <= limit),
        Operator::Greater => keep(rows, nanos, |n| n > limit),
        Operator::GreaterEqual => keep(rows, nanos, |n| n >= limit),
        _ => return false,
    }
    true
}

/// Clears the rows whose number is not wanted; a loop of its own for each test.
fn keep(rows: &mut [bool], numbers: &[i64], wanted: impl Fn(i64) -> bool) {
    for (row, number) in rows.iter_mut().zip(numbers) {
        *row &= wanted(*number);
    }
}

/// One value of one attribute.
struct Lone<'a>(&'a Attribute, &'a Value<'static>);

impl Fields for Lone<'_> {
    fn lookup(&self, attribute: &Attribute, _: usize) -> Value<'_> {
        if attribute == self.0 {
            self.1.borrowed()
        } else {
            Value::Missing
        }
    }

    fn has_parent(&self, _: usize) -> bool {
        // Of whole traces `parent` is a column that has a value where there is one.
        !self.1.is_missing()
    }
}

/// The distinct values of an attribute among marked rows.
pub(super) struct ColumnValues {
    most: usize,
    found: HashMap<Vec<u8>, AttributeValue>,
}

impl ColumnValues {
    /// Keeps at most so many values.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            found: HashMap::new(),
        }
    }

    /// Whether no more are kept.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= self.most
    }

    /// Adds the values of the marked rows of a block; of many values each.
    pub(super) fn add(
        &mut self,
        attribute: &Attribute,
        rows: &[bool],
        from: &Columns<'_>,
        budget: &Budget,
    ) -> Result<(), SelectError> {
        let mut block = Block::default();
        block.read(attribute, from)?;
        let (values, used) = match block.columns.get(attribute) {
            Some(Column::Coded(codes, values)) => {
                let mut used = vec![false; values.len()];
                let marked = rows.iter().zip(codes).filter(|(row, _)| **row);
                marked.for_each(|(_, code)| used[*code as usize] = true);
                (values, used)
            }
            Some(Column::Lists(ends, codes, values)) => {
                let mut used = vec![false; values.len()];
                for row in (0..rows.len()).filter(|row| rows[*row]) {
                    let entries = codes[of_row(ends, row)].iter();
                    entries.for_each(|code| used[*code as usize] = true);
                }
                (values, used)
            }
            Some(Column::Durations(_) | Column::Ints(_)) | None => return Ok(()),
        };
        for (value, _) in values.iter().zip(used).filter(|(_, used)| *used) {
            let each = match value {
                Value::Many(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in each.iter().filter(|v| !v.is_missing()) {
                let value = value.to_attribute();
                let mut key = Vec::new();
                series::key_of(&value, &mut key);
                if self.is_full() || self.found.contains_key(&key) {
                    continue;
                }
                budget.bytes(2 * key.len() as u64 + 64)?;
                self.found.insert(key, value);
            }
        }
        Ok(())
    }

    /// The values in order.
    pub(super) fn sorted(self) -> Vec<AttributeValue> {
        let label = |value| SpanAttribute {
            key: String::new(),
            value,
        };
        let mut all: Vec<_> = self.found.into_values().map(|v| [label(v)]).collect();
        all.sort_by(|a, b| series::order(a, b));
        all.into_iter().map(|[label]| label.value).collect()
    }
}
