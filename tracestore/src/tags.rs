//! Which attributes there are and which values they have: what menus are filled from.
//!
//! Invariant: every answer occurs in a memory or part that touches the range; up to the bounds of
//! the catalog (4096 names of a scope; 1000 values of a name, 32 MiB of values in all) none is missing.

use obs_model::spans::AttributeValue;
use obs_model::{Budget, TimeRange};
use obs_storage::Snapshot;

use crate::blockwise;
use crate::catalog::{Catalog, Place};
use crate::confined::{Seen, Sight};
use crate::error::SelectError;
use crate::filter::Scope;
use crate::kind::Spans;
use crate::part::Part;
use crate::value::compare;

/// Names that are no attributes but have values to choose from.
pub const INTRINSICS: [&str; 5] = ["name", "status", "kind", "rootName", "rootServiceName"];

/// The names of attributes by scope, both in TraceQL's words, names sorted; scopes without names
/// are left out.
pub fn tag_names(
    snapshot: &Snapshot<Spans>,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<(&'static str, Vec<String>)>, SelectError> {
    let mut catalog = gather(snapshot, range, budget)?;
    let of_scope = |scope: Scope| {
        let names = catalog.names.remove(&Place::In(scope))?;
        let names: Vec<String> = names.into_keys().collect();
        (!names.is_empty()).then(|| (scope.as_str(), names))
    };
    Ok(Scope::ALL.into_iter().filter_map(of_scope).collect())
}

/// The values of an attribute, sorted, each once. Without a scope the name is one of
/// [`INTRINSICS`], or an attribute of spans or resources.
pub fn tag_values(
    snapshot: &Snapshot<Spans>,
    scope: Option<Scope>,
    name: &str,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<AttributeValue>, SelectError> {
    let places = match scope {
        Some(scope) => vec![Place::In(scope)],
        None if INTRINSICS.contains(&name) => vec![Place::Intrinsic],
        None => vec![Place::In(Scope::Resource), Place::In(Scope::Span)],
    };
    let catalog = gather(snapshot, range, budget)?;
    let mut found: Vec<AttributeValue> = places
        .into_iter()
        .filter_map(|place| catalog.names.get(&place)?.get(name))
        .flat_map(|values| values.list.iter().cloned())
        .collect();
    found.sort_by(compare);
    found.dedup_by(|a, b| compare(a, b).is_eq());
    Ok(found)
}

/// The catalogs of everything that touches the range.
fn gather(
    snapshot: &Snapshot<Spans>,
    range: TimeRange,
    budget: &Budget,
) -> Result<Catalog, SelectError> {
    let mut catalog = Catalog::default();
    let mut held = budget.holding();
    let sight = Sight::of(snapshot);
    for part in snapshot.parts.iter().map(|p| &p.part) {
        if !part.hull().overlaps(range) {
            continue;
        }
        if sight.is_whole() {
            part.catalog(&mut catalog)?;
            held.set(catalog.bytes())?;
        } else {
            gather_seen(part, (range, sight), budget, &mut catalog)?;
        }
    }
    for memory in &snapshot.memories {
        for held in memory.blocks() {
            let block = &held.block;
            budget.check()?;
            let inside = range.contains(held.hull.start) && range.contains(held.hull.end);
            if inside && held.again.is_empty() && sight.is_whole() {
                catalog.add_block(block);
                continue;
            }
            for row in 0..block.len() {
                let resource = &block.resources[block.of_resource[row] as usize];
                let counts = !held.again.contains(&(row as u32)) && sight.sees(resource);
                if counts && block.range(row).overlaps(range) {
                    budget.samples(1)?;
                    catalog.add(&block.row(row));
                }
            }
            catalog.release();
        }
        held.set(catalog.bytes())?;
    }
    held.keep();
    Ok(catalog)
}

/// The catalog of what is seen of a part: that of the part says more, so its blocks are read.
fn gather_seen(
    part: &Part,
    (range, sight): (TimeRange, Sight<'_>),
    budget: &Budget,
    catalog: &mut Catalog,
) -> Result<(), SelectError> {
    let mut held = budget.holding();
    for number in 0..part.block_count() {
        budget.check()?;
        if !part.block_hull(number).overlaps(range) {
            continue;
        }
        let seen = sight.seen(&blockwise::open(part, number, None)?)?;
        if matches!(seen, Seen::None) {
            continue;
        }
        let block = part.block(number)?;
        held.set(catalog.bytes() + block.bytes() as u64)?;
        match seen {
            Seen::None => {}
            Seen::All => catalog.add_block(&block),
            Seen::Without(hidden) => {
                let rows = hidden.iter().enumerate().filter(|(_, hidden)| !**hidden);
                rows.for_each(|(row, _)| catalog.add(&block.row(row)));
                catalog.release();
            }
        }
    }
    Ok(())
}
