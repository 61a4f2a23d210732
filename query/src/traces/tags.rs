//! Names and values of attributes among the spans that a query finds: what menus are filled from.
//!
//! Invariant: a filter that columns cannot decide filters nothing; menus rather show too much.

use std::ops::ControlFlow;

use obs_model::spans::AttributeValue;
use obs_model::{Budget, TimeRange};
use obs_tracestore::{Scope as StoreScope, SelectError, Snapshot, Spans, scan_columns};

use super::columns::{self, ColumnValues};
use super::conditions::of_field;
use crate::error::QueryError;
use crate::traceql::Query;
use crate::traceql::ast::{Attribute, FieldExpr, Intrinsic, Root, Scope};

/// Values of an attribute that are told, as many as the store's catalog has.
const VALUES_MAX: usize = 1000;

/// The conditions of a filter; `None` where columns do not decide it or nothing is filtered.
fn conditions(filter: Option<&Query>) -> Option<Vec<FieldExpr>> {
    let Root::Search(elements) = &filter?.root else {
        return None;
    };
    columns::conditions_of(elements).filter(|all| !all.is_empty())
}

/// The names of attributes by scope, in TraceQL's words, of what touches the range; of spans,
/// resources and instrumentations only those on spans that meet a filter.
pub fn tag_names(
    snapshot: &Snapshot<Spans>,
    filter: Option<&Query>,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<(&'static str, Vec<String>)>, QueryError> {
    let mut all = obs_tracestore::tag_names(snapshot, range, budget)?;
    let Some(conditions) = conditions(filter) else {
        return Ok(all);
    };
    let mut hints = Vec::new();
    conditions.iter().for_each(|c| of_field(c, &mut hints));
    // What was not met yet, scope by scope; events and links have no column.
    let mut missing: Vec<(StoreScope, Vec<String>)> = Vec::new();
    for scope in StoreScope::ALL {
        let of_span = !matches!(scope, StoreScope::Event | StoreScope::Link);
        let names = all.iter().find(|(name, _)| *name == scope.as_str());
        if let Some((_, names)) = names.filter(|_| of_span) {
            missing.push((scope, names.clone()));
        }
    }
    let mut look = |block: &obs_tracestore::Columns<'_>| -> Result<_, SelectError> {
        let rows = columns::matching(&conditions, block)?;
        if !rows.contains(&true) {
            return Ok(ControlFlow::Continue(()));
        }
        for (scope, names) in &mut missing {
            let mut left = Vec::new();
            for name in names.drain(..) {
                if !is_on(block, *scope, &name, &rows)? {
                    left.push(name);
                }
            }
            *names = left;
        }
        missing.retain(|(_, names)| !names.is_empty());
        Ok(if missing.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    };
    scan_columns(snapshot, range, &hints, budget, &mut look)?;
    for (scope, absent) in &missing {
        let names = all.iter_mut().find(|(name, _)| *name == scope.as_str());
        if let Some((_, names)) = names {
            // Both are sorted.
            names.retain(|name| absent.binary_search(name).is_err());
        }
    }
    all.retain(|(_, names)| !names.is_empty());
    Ok(all)
}

/// Whether one of the rows has an attribute.
fn is_on(
    block: &obs_tracestore::Columns<'_>,
    scope: StoreScope,
    name: &str,
    rows: &[bool],
) -> Result<bool, SelectError> {
    let Some(column) = block.attribute(scope, name)? else {
        return Ok(false);
    };
    let there: Vec<bool> = column
        .values
        .iter()
        .map(|value| *value != AttributeValue::Empty)
        .collect();
    let mut both = rows.iter().zip(&column.codes);
    Ok(both.any(|(row, code)| *row && there[*code as usize]))
}

/// The values of an attribute, each once and sorted, of spans that meet a filter; status and kind
/// are their words. See [`crate::traceql::parse_lenient`] for filters that are being typed.
pub fn tag_values(
    snapshot: &Snapshot<Spans>,
    attribute: &Attribute,
    filter: Option<&Query>,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<AttributeValue>, QueryError> {
    match conditions(filter) {
        Some(conditions) if columns::is_column(attribute) => {
            among(snapshot, attribute, &conditions, range, budget)
        }
        _ => stored(snapshot, attribute, range, budget),
    }
}

/// The values that the store's catalog has.
fn stored(
    snapshot: &Snapshot<Spans>,
    attribute: &Attribute,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<AttributeValue>, QueryError> {
    let (scope, name) = match attribute {
        Attribute::Named {
            scope: Scope::Any,
            name,
            ..
        } => (None, name.as_str()),
        Attribute::Named { scope, name, .. } => {
            (super::conditions::store_scope(*scope), name.as_str())
        }
        Attribute::Intrinsic(intrinsic) => match intrinsic {
            // Of these the catalog has the words; numbers and ids are no menu.
            Intrinsic::Name
            | Intrinsic::Status
            | Intrinsic::Kind
            | Intrinsic::RootName
            | Intrinsic::RootService => (None, intrinsic.as_str()),
            _ if columns::is_column(attribute) && *intrinsic != Intrinsic::Duration => {
                return among(snapshot, attribute, &[], range, budget);
            }
            _ => return Ok(Vec::new()),
        },
    };
    Ok(obs_tracestore::tag_values(
        snapshot, scope, name, range, budget,
    )?)
}

/// The values among the spans that meet conditions.
fn among(
    snapshot: &Snapshot<Spans>,
    attribute: &Attribute,
    conditions: &[FieldExpr],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<AttributeValue>, QueryError> {
    let mut hints = Vec::new();
    conditions.iter().for_each(|c| of_field(c, &mut hints));
    let mut found = ColumnValues::new(VALUES_MAX);
    let mut look = |block: &obs_tracestore::Columns<'_>| -> Result<_, SelectError> {
        let rows = columns::matching(conditions, block)?;
        if rows.contains(&true) {
            found.add(attribute, &rows, block, budget)?;
        }
        Ok(if found.is_full() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    };
    scan_columns(snapshot, range, &hints, budget, &mut look)?;
    Ok(found.sorted())
}
