//! Pipelines in which every span is decided by itself, on columns.
//!
//! A condition becomes one truth for each row of a block: what compares an attribute to a constant
//! is decided once for each distinct value. Groups are looked up once for each value too.
//! Invariant: what [`condition`] takes gives the same spans here as on whole traces.

use std::collections::HashMap;
use std::ops::ControlFlow;

use obs_model::spans::{Attribute as SpanAttribute, AttributeValue, SpanKind, StatusCode};
use obs_model::{Budget, Timestamp};
use obs_tracestore::columns::{Coded, Columns, Numbers, Words};
use obs_tracestore::{SelectError, Snapshot, Spans, scan_columns};

use super::super::conditions::{of_field, store_scope};
use super::super::field::{Fields, holds};
use super::super::value::Value;
use super::exemplars::Pick;
use super::measure::Measure;
use super::steps::Steps;
use crate::error::QueryError;
use crate::traceql::ast::{
    Attribute, Element, FieldExpr, Intrinsic, Operator, Scope, SpansetExpr, SpansetOp, Static,
};
use crate::traceql::metric::{Metric, MetricPipeline};

/// What a pipeline asks of each span, where no other span matters.
pub(super) fn condition(pipeline: &MetricPipeline) -> Option<Vec<FieldExpr>> {
    let measured = match &pipeline.metric {
        Metric::Rate | Metric::Count => None,
        Metric::Over(_, a) | Metric::Quantile(a, _) | Metric::Histogram(a) => Some(a),
        Metric::Compare { .. } => return None,
    };
    if !measured.into_iter().chain(&pipeline.by).all(is_column) {
        return None;
    }
    conditions_of(&pipeline.pipeline)
}

/// The conditions of elements that look at one span at a time; all must hold.
pub(in crate::traces) fn conditions_of(elements: &[Element]) -> Option<Vec<FieldExpr>> {
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

/// Whether an attribute is a column.
pub(in crate::traces) fn is_column(attribute: &Attribute) -> bool {
    match attribute {
        Attribute::Named { parent, scope, .. } => {
            !parent && !matches!(scope, Scope::Event | Scope::Link)
        }
        Attribute::Intrinsic(intrinsic) => matches!(
            intrinsic,
            Intrinsic::Duration
                | Intrinsic::Name
                | Intrinsic::Status
                | Intrinsic::StatusMessage
                | Intrinsic::Kind
                | Intrinsic::InstrumentationName
                | Intrinsic::InstrumentationVersion
        ),
    }
}

/// Whether columns decide a condition.
pub(in crate::traces) fn is_decided(expr: &FieldExpr) -> bool {
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
enum Column {
    /// A number for each row, and the value of each number.
    Coded(Vec<u32>, Vec<Value<'static>>),
    /// Nanoseconds.
    Durations(Vec<i64>),
}

/// The columns of one block that were asked for.
struct Block {
    columns: HashMap<Attribute, Column>,
}

impl Fields for Block {
    fn lookup(&self, attribute: &Attribute, index: usize) -> Value<'_> {
        match self.columns.get(attribute) {
            Some(Column::Coded(codes, values)) => values[codes[index] as usize].borrowed(),
            Some(Column::Durations(nanos)) => Value::Duration(nanos[index]),
            None => Value::Missing,
        }
    }

    fn has_parent(&self, _: usize) -> bool {
        // `parent` is no column: nobody asks.
        false
    }
}

impl Block {
    /// Reads the columns of all attributes of an expression.
    fn load(&mut self, expr: &FieldExpr, from: &Columns<'_>) -> Result<(), SelectError> {
        let mut attributes = Vec::new();
        super::super::search::of_field(expr, &mut attributes);
        attributes.iter().try_for_each(|a| self.read(a, from))
    }

    /// Reads a column.
    fn read(&mut self, attribute: &Attribute, from: &Columns<'_>) -> Result<(), SelectError> {
        if self.columns.contains_key(attribute) {
            return Ok(());
        }
        let column = match attribute {
            Attribute::Intrinsic(intrinsic) => of_intrinsic(*intrinsic, from)?,
            Attribute::Named {
                scope: Scope::Any,
                name,
                ..
            } => of_any(name, from)?,
            Attribute::Named { scope, name, .. } => {
                let scope = store_scope(*scope).unwrap_or(obs_tracestore::Scope::Span);
                of_coded(from.attribute(scope, name)?.unwrap_or_default())
            }
        };
        self.columns.insert(attribute.clone(), column);
        Ok(())
    }
}

fn owned(value: &AttributeValue) -> Value<'static> {
    Value::of_attribute(value).into_owned()
}

fn of_coded(coded: Coded) -> Column {
    Column::Coded(coded.codes, coded.values.iter().map(owned).collect())
}

/// The span's value, else the resource's.
fn of_any(name: &str, from: &Columns<'_>) -> Result<Column, SelectError> {
    let own = from
        .attribute(obs_tracestore::Scope::Span, name)?
        .unwrap_or_default();
    let shared = from
        .attribute(obs_tracestore::Scope::Resource, name)?
        .unwrap_or_default();
    let mut values: Vec<Value<'static>> = own.values.iter().map(owned).collect();
    let base = values.len() as u32;
    values.extend(shared.values.iter().map(owned));
    let empty: Vec<bool> = own
        .values
        .iter()
        .map(|v| *v == AttributeValue::Empty)
        .collect();
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
    Ok(Column::Coded(codes, values))
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
        Intrinsic::StatusMessage => of_coded(from.words(Words::StatusMessage)?),
        Intrinsic::InstrumentationName => of_coded(from.words(Words::Instrumentation)?),
        Intrinsic::InstrumentationVersion => of_coded(from.words(Words::Version)?),
        _ => of_coded(from.words(Words::Name)?),
    })
}

/// Marks the rows that meet a condition.
pub(in crate::traces) fn matching(
    conditions: &[FieldExpr],
    from: &Columns<'_>,
) -> Result<Vec<bool>, SelectError> {
    let mut block = Block {
        columns: HashMap::new(),
    };
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
fn narrow(
    expr: &FieldExpr,
    from: &Columns<'_>,
    block: &mut Block,
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
    super::super::search::of_field(expr, &mut attributes);
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
            Some(Column::Durations(_)) | None => {}
        }
    }
    let numbered = rows.iter_mut().enumerate();
    numbered.for_each(|(index, row)| *row = *row && holds(expr, block, index));
    Ok(())
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
    let mut each = |keep: fn(i64, i64) -> bool| {
        rows.iter_mut()
            .zip(nanos)
            .for_each(|(row, n)| *row &= keep(*n, limit));
    };
    match op {
        Operator::Equal => each(|n, limit| n == limit),
        Operator::NotEqual => each(|n, limit| n != limit),
        Operator::Less => each(|n, limit| n < limit),
        Operator::LessEqual => each(|n, limit| n <= limit),
        Operator::Greater => each(|n, limit| n > limit),
        Operator::GreaterEqual => each(|n, limit| n >= limit),
        _ => return false,
    }
    true
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
        false
    }
}

/// Runs a pipeline.
pub(super) fn run(
    snapshot: &Snapshot<Spans>,
    conditions: &[FieldExpr],
    steps: &Steps,
    measure: &mut Measure<'_>,
) -> Result<(), QueryError> {
    let mut hints = Vec::new();
    conditions.iter().for_each(|c| of_field(c, &mut hints));
    let budget = measure.budget;
    scan_columns(snapshot, steps.range(), &hints, budget, &mut |columns| {
        let rows = matching(conditions, columns)?;
        if rows.contains(&true) {
            gather(columns, &rows, measure)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

/// No group was looked up for these values yet.
const UNKNOWN: usize = usize::MAX;

/// Adds the rows of a block that match.
fn gather(from: &Columns<'_>, rows: &[bool], measure: &mut Measure<'_>) -> Result<(), SelectError> {
    let times = Times::of(from, measure)?;
    let mut block = Block {
        columns: HashMap::new(),
    };
    let (by, attribute) = (measure.by, measure.attribute());
    for attribute in by.iter().chain(attribute) {
        block.read(attribute, from)?;
    }
    let mut groups = Groups::new(by, &block);
    let names = Names::default();
    for (index, matches) in rows.iter().enumerate() {
        if !matches {
            continue;
        }
        let Some((start, step)) = times.of_row(index, measure.steps) else {
            continue;
        };
        let value = attribute.map_or(Value::Missing, |a| block.lookup(a, index));
        let Some(observed) = measure.observed(&value) else {
            continue;
        };
        let group = groups.of(index, &block, measure)?;
        measure.add(group, step, observed.cell);
        if !measure.picker.is_full() && measure.picker.wants(start) {
            let (trace, span) = from.ids(index)?;
            if measure.picker.take(trace, start) {
                let pick = Pick {
                    trace,
                    span,
                    name: names.of(index, from)?,
                    time: start,
                    value: observed.shown,
                };
                measure.pick(group, pick);
            }
        }
    }
    Ok(())
}

/// When the spans of a block begin.
enum Times {
    /// All in one step; nobody asks when.
    Step(usize),
    Starts(Vec<i64>),
}

impl Times {
    /// Reads the begins, unless one step holds the whole block.
    fn of(from: &Columns<'_>, measure: &Measure<'_>) -> Result<Self, SelectError> {
        let hull = from.hull();
        let (first, last) = (measure.steps.of(hull.start), measure.steps.of(hull.end));
        let lone = first.filter(|_| first == last && measure.picker.is_full());
        Ok(match lone {
            Some(step) => Self::Step(step),
            None => Self::Starts(from.numbers(Numbers::Start)?),
        })
    }

    /// Begin and step of a row; the begin only where exemplars need it.
    fn of_row(&self, row: usize, steps: &Steps) -> Option<(Timestamp, usize)> {
        match self {
            Self::Step(step) => Some((Timestamp::MIN, *step)),
            Self::Starts(starts) => {
                let start = Timestamp::from_nanos(starts[row]);
                Some((start, steps.of(start)?))
            }
        }
    }
}

/// The names of a block's spans, read with the first exemplar.
#[derive(Default)]
struct Names(std::cell::OnceCell<Coded>);

impl Names {
    fn of(&self, index: usize, from: &Columns<'_>) -> Result<String, SelectError> {
        let coded = match self.0.get() {
            Some(coded) => coded,
            None => {
                let read = from.words(Words::Name)?;
                self.0.get_or_init(|| read)
            }
        };
        Ok(match &coded.values[coded.codes[index] as usize] {
            AttributeValue::String(name) => name.clone(),
            _ => String::new(),
        })
    }
}

/// The groups of a block's rows, each looked up once.
enum Groups<'a> {
    /// One for all.
    Lone(usize),
    /// By the number of the only column's value.
    Column(&'a Attribute, Vec<usize>),
    /// By the numbers of all columns' values.
    Several(&'a [Attribute], HashMap<Vec<u32>, usize>, Vec<u32>),
    /// By values that have no numbers.
    Values(&'a [Attribute]),
}

impl<'a> Groups<'a> {
    fn new(by: &'a [Attribute], block: &Block) -> Self {
        let coded = |attribute: &Attribute| match block.columns.get(attribute) {
            Some(Column::Coded(_, values)) => Some(values.len()),
            _ => None,
        };
        match by {
            [] => Self::Lone(UNKNOWN),
            [only] if let Some(values) = coded(only) => Self::Column(only, vec![UNKNOWN; values]),
            all if all.iter().all(|a| coded(a).is_some()) => {
                Self::Several(all, HashMap::new(), Vec::new())
            }
            all => Self::Values(all),
        }
    }

    fn of(
        &mut self,
        index: usize,
        block: &Block,
        measure: &mut Measure<'_>,
    ) -> Result<usize, SelectError> {
        let code = |attribute: &Attribute| match block.columns.get(attribute) {
            Some(Column::Coded(codes, _)) => codes[index],
            _ => 0,
        };
        let values = |by: &[Attribute]| -> Vec<AttributeValue> {
            by.iter()
                .map(|a| block.lookup(a, index).to_attribute())
                .collect()
        };
        match self {
            Self::Lone(known) => {
                if *known == UNKNOWN {
                    *known = measure.group(Vec::new())?;
                }
                Ok(*known)
            }
            Self::Column(attribute, known) => {
                let known = &mut known[code(attribute) as usize];
                if *known == UNKNOWN {
                    *known = measure.group(values(std::slice::from_ref(*attribute)))?;
                }
                Ok(*known)
            }
            Self::Several(by, known, codes) => {
                codes.clear();
                codes.extend(by.iter().map(code));
                if let Some(group) = known.get(codes.as_slice()) {
                    return Ok(*group);
                }
                let group = measure.group(values(by))?;
                known.insert(codes.clone(), group);
                Ok(group)
            }
            Self::Values(by) => Ok(measure.group(values(by))?),
        }
    }
}

/// The distinct values of an attribute among marked rows.
pub(in crate::traces) struct ColumnValues {
    most: usize,
    found: HashMap<Vec<u8>, AttributeValue>,
}

impl ColumnValues {
    /// Keeps at most so many values.
    pub(in crate::traces) fn new(most: usize) -> Self {
        Self {
            most,
            found: HashMap::new(),
        }
    }

    /// Whether no more are kept.
    pub(in crate::traces) fn is_full(&self) -> bool {
        self.found.len() >= self.most
    }

    /// Adds the values of the marked rows of a block; of many values each.
    pub(in crate::traces) fn add(
        &mut self,
        attribute: &Attribute,
        rows: &[bool],
        from: &Columns<'_>,
        budget: &Budget,
    ) -> Result<(), SelectError> {
        let mut block = Block {
            columns: HashMap::new(),
        };
        block.read(attribute, from)?;
        let Some(Column::Coded(codes, values)) = block.columns.get(attribute) else {
            return Ok(());
        };
        let mut used = vec![false; values.len()];
        let marked = rows.iter().zip(codes).filter(|(row, _)| **row);
        marked.for_each(|(_, code)| used[*code as usize] = true);
        for (value, _) in values.iter().zip(used).filter(|(_, used)| *used) {
            let each = match value {
                Value::Many(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in each.iter().filter(|v| !v.is_missing()) {
                let value = value.to_attribute();
                let mut key = Vec::new();
                super::series::key_of(&value, &mut key);
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
    pub(in crate::traces) fn sorted(self) -> Vec<AttributeValue> {
        let label = |value| SpanAttribute {
            key: String::new(),
            value,
        };
        let mut all: Vec<_> = self.found.into_values().map(|v| [label(v)]).collect();
        all.sort_by(|a, b| super::series::order(a, b));
        all.into_iter().map(|[label]| label.value).collect()
    }
}
