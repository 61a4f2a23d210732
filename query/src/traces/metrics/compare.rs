//! `compare()`: which values of attributes spans have that meet a condition, and those that do not.
//!
//! Invariant: at most `VALUES_MAX` values of an attribute are counted on each side; what comes after
//! them counts only in totals, and the attribute is marked. Of several values of one name a span has
//! the first.

use std::collections::{BTreeMap, HashMap};

use obs_model::spans::{Attribute as SpanAttribute, AttributeValue};
use obs_model::{Budget, BudgetError, Timestamp};
use obs_tracestore::SelectError;
use obs_tracestore::columns::{Columns, Numbers};

use super::super::columns::{Block, Column, narrow};
use super::super::conditions::store_scope;
use super::super::search::of_field;
use super::super::value::Value;
use super::Series;
use super::series::key_of;
use super::steps::Steps;
use crate::traceql::ast::{Attribute, FieldExpr, Intrinsic, Scope};

/// Values of one attribute that are counted; beyond it an attribute tells nothing.
const VALUES_MAX: usize = 10_000;
/// What a counted value takes beside its text and counts.
const VALUE_BYTES: usize = 160;

const TYPE: &str = "__meta_type";
const ERROR: &str = "__meta_error";

/// Whether labels say that an attribute has too many values; such a series has no samples.
pub(super) fn is_error(labels: &[SpanAttribute]) -> bool {
    labels.first().is_some_and(|label| label.key == ERROR)
}

/// Intrinsics whose values are worth counting.
const INTRINSICS: [Intrinsic; 8] = [
    Intrinsic::Name,
    Intrinsic::Kind,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::RootName,
    Intrinsic::RootService,
    Intrinsic::InstrumentationName,
    Intrinsic::InstrumentationVersion,
];

/// Counts by step, only of steps that have some.
type Counts = Vec<(u32, f64)>;

#[derive(Debug, Default)]
struct Values {
    total: Counts,
    counts: HashMap<Vec<u8>, (AttributeValue, Counts)>,
    too_many: bool,
}

/// Counts values on two sides.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    filter: Option<&'a FieldExpr>,
    top: usize,
    window: Option<(i64, i64)>,
    steps: &'a Steps,
    /// Baseline and selection, by attribute as it is written.
    sides: [BTreeMap<String, Values>; 2],
}

impl<'a> Comparison<'a> {
    pub(super) fn new(
        filter: Option<&'a FieldExpr>,
        top: usize,
        window: Option<(i64, i64)>,
        steps: &'a Steps,
    ) -> Self {
        Self {
            filter,
            top,
            window,
            steps,
            sides: [BTreeMap::new(), BTreeMap::new()],
        }
    }

    /// What is counted of a span beside its attributes and is not a column of its own, and what the
    /// condition looks at.
    pub(super) fn trace_attributes(&self) -> Vec<Attribute> {
        let mut all = Vec::new();
        if let Some(filter) = self.filter {
            of_field(filter, &mut all);
        }
        all.extend(INTRINSICS.map(Attribute::Intrinsic));
        all
    }

    /// Takes the marked rows of a block.
    pub(super) fn columns(
        &mut self,
        from: &Columns<'_>,
        rows: &[bool],
        mut block: Block<'_>,
        budget: &Budget,
    ) -> Result<(), SelectError> {
        let starts = from.numbers(Numbers::Start)?;
        let mut selected = rows.to_vec();
        if let Some(filter) = self.filter {
            narrow(filter, from, &mut block, &mut selected)?;
        }
        if let Some((from, to)) = self.window {
            let inside = |start: i64| start > from && start <= to;
            let both = selected.iter_mut().zip(&starts);
            both.for_each(|(row, start)| *row &= inside(*start));
        }
        // Row, step and side of each that is counted.
        let mut counted = Vec::new();
        for row in (0..rows.len()).filter(|row| rows[*row]) {
            if let Some(step) = self.steps.of(Timestamp::from_nanos(starts[row])) {
                // A query has at most 2^32 steps by far.
                counted.push((row, step as u32, usize::from(selected[row])));
            }
        }
        if counted.is_empty() {
            return Ok(());
        }
        let mut attributes: Vec<Attribute> = INTRINSICS.map(Attribute::Intrinsic).to_vec();
        let scopes = [Scope::Span, Scope::Resource, Scope::Instrumentation];
        for scope in scopes {
            let keys = store_scope(scope).map(|s| from.keys(s)).transpose()?;
            let name = |name| Attribute::Named {
                parent: false,
                scope,
                name,
            };
            attributes.extend(keys.unwrap_or_default().into_iter().map(name));
        }
        for attribute in attributes {
            block.read(&attribute, from)?;
            self.column(&attribute, &block, &counted, budget)?;
            // Each is looked at once.
            block.columns.remove(&attribute);
        }
        Ok(())
    }

    /// Counts the values of a column.
    fn column(
        &mut self,
        attribute: &Attribute,
        block: &Block<'_>,
        counted: &[(usize, u32, usize)],
        budget: &Budget,
    ) -> Result<(), BudgetError> {
        let Some(Column::Coded(codes, values)) = block.columns.get(attribute) else {
            return Ok(());
        };
        let at = |(row, step, side): &(usize, u32, usize)| (codes[*row], *step, *side);
        let mut places: Vec<(u32, u32, usize)> = counted.iter().map(at).collect();
        places.sort_unstable();
        let intrinsic = matches!(attribute, Attribute::Intrinsic(_));
        let name = attribute.to_string();
        for same in places.chunk_by(|a, b| a == b) {
            let ((code, step, side), count) = (same[0], same.len() as f64);
            let value = values[code as usize].borrowed();
            // Intrinsics are always there; an empty one says nothing.
            if !(intrinsic && matches!(&value, Value::Text(text) if text.is_empty())) {
                self.count(side, &name, value, (step, count), budget)?;
            }
        }
        Ok(())
    }

    /// Takes spans of a trace that was put together: what columns must say too.
    #[cfg(test)]
    pub(super) fn trace(
        &mut self,
        trace: &super::super::view::TraceView<'_>,
        spans: &[usize],
        budget: &Budget,
    ) -> Result<(), BudgetError> {
        use super::super::field::{Fields, holds};
        for index in spans {
            let view = &trace.spans[*index];
            let start = view.span.start;
            let Some(step) = self.steps.of(start) else {
                continue;
            };
            let inside = |(from, to): (i64, i64)| start.nanos() > from && start.nanos() <= to;
            let selected = self.window.is_none_or(inside)
                && self
                    .filter
                    .is_none_or(|filter| holds(filter, trace, *index));
            let at = (step as u32, 1.0);
            for intrinsic in INTRINSICS {
                let value = trace.lookup(&Attribute::Intrinsic(intrinsic), *index);
                if !matches!(&value, Value::Text(text) if text.is_empty()) {
                    let name = intrinsic.as_str().to_owned();
                    self.count(usize::from(selected), &name, value, at, budget)?;
                }
            }
            let scopes = [
                (Scope::Span, &view.span.attributes),
                (Scope::Resource, &view.resource.attributes),
                (Scope::Instrumentation, &view.scope.attributes),
            ];
            for (scope, attributes) in scopes {
                for (place, attribute) in attributes.iter().enumerate() {
                    // Of several with one name the first counts, as everywhere.
                    if attributes[..place].iter().any(|a| a.key == attribute.key) {
                        continue;
                    }
                    let name = Attribute::Named {
                        parent: false,
                        scope,
                        name: attribute.key.clone(),
                    };
                    let value = Value::of_attribute(&attribute.value);
                    self.count(usize::from(selected), &name.to_string(), value, at, budget)?;
                }
            }
        }
        Ok(())
    }

    fn count(
        &mut self,
        side: usize,
        name: &str,
        value: Value<'_>,
        (step, count): (u32, f64),
        budget: &Budget,
    ) -> Result<(), BudgetError> {
        if value.is_missing() || matches!(value, Value::Duration(_)) {
            return Ok(());
        }
        let of_side = &mut self.sides[side];
        if !of_side.contains_key(name) {
            of_side.insert(name.to_owned(), Values::default());
        }
        let Some(values) = of_side.get_mut(name) else {
            return Ok(());
        };
        add(&mut values.total, step, count);
        let value = value.to_attribute();
        let mut key = Vec::new();
        key_of(&value, &mut key);
        if let Some((_, counts)) = values.counts.get_mut(&key) {
            add(counts, step, count);
            return Ok(());
        }
        if values.counts.len() >= VALUES_MAX {
            values.too_many = true;
            return Ok(());
        }
        budget.bytes((VALUE_BYTES + 2 * key.len()) as u64)?;
        values.counts.insert(key, (value, vec![(step, count)]));
        Ok(())
    }

    /// The series of both sides: the commonest values, totals, and which attributes have more.
    pub(super) fn finish(self, budget: &Budget) -> Result<Vec<Series>, BudgetError> {
        let mut out = Vec::new();
        let mut too_many: Vec<String> = Vec::new();
        let cells = 8 * self.steps.count() as u64;
        let kinds = [
            ("baseline", "baseline_total"),
            ("selection", "selection_total"),
        ];
        for (side, (kind, total)) in self.sides.into_iter().zip(kinds) {
            for (name, values) in side {
                let more = values.too_many || values.counts.len() > self.top;
                if more && !too_many.contains(&name) {
                    too_many.push(name.clone());
                }
                let sum = |counts: &Counts| counts.iter().map(|(_, n)| n).sum::<f64>();
                let mut all: Vec<_> = values.counts.into_iter().collect();
                let told = self.top.min(all.len()) as u64 + 1;
                budget.bytes(told * cells)?;
                all.sort_by(|(a, (_, x)), (b, (_, y))| {
                    sum(y).total_cmp(&sum(x)).then_with(|| a.cmp(b))
                });
                for (_, (value, counts)) in all.into_iter().take(self.top) {
                    out.push(series(self.steps, kind, &name, value, &counts));
                }
                let nil = AttributeValue::String("nil".to_owned());
                out.push(series(self.steps, total, &name, nil, &values.total));
            }
        }
        for name in too_many {
            out.push(Series {
                labels: vec![
                    SpanAttribute::string(ERROR, "__too_many_values__"),
                    SpanAttribute::string(name, "nil"),
                ],
                values: Vec::new(),
                exemplars: Vec::new(),
            });
        }
        Ok(out)
    }
}

fn add(counts: &mut Counts, step: u32, more: f64) {
    let at = counts.partition_point(|(s, _)| *s < step);
    match counts.get_mut(at) {
        Some((s, count)) if *s == step => *count += more,
        _ => counts.insert(at, (step, more)),
    }
}

fn series(steps: &Steps, kind: &str, name: &str, value: AttributeValue, counts: &Counts) -> Series {
    let mut values = vec![0.0; steps.count()];
    for (step, count) in counts {
        values[*step as usize] = *count;
    }
    let name = name.to_owned();
    Series {
        labels: vec![
            SpanAttribute::string(TYPE, kind),
            SpanAttribute { key: name, value },
        ],
        values,
        exemplars: Vec::new(),
    }
}
