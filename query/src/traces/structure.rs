//! Structural operators: which spans of one set stand in a relation to a span of another.
//!
//! Napkin: every relation is one pass over the trace (no pair is looked at), because marks travel
//! along the order of the tree.

use std::collections::HashMap;

use obs_model::SpanId;

use super::tree::Tree;
use crate::traceql::ast::Relation;

/// For each span of the trace: whether it stands in the relation to a span of `marked`. A
/// `Child` stands below a marked span, an `Ancestor` anywhere above one.
pub(super) fn related(tree: &Tree, marked: &[usize], relation: Relation) -> Vec<bool> {
    let count = tree.parents.len();
    let mut mark = vec![false; count];
    for index in marked {
        mark[*index] = true;
    }
    let mut found = vec![false; count];
    match relation {
        Relation::Child => {
            for (index, parent) in tree.parents.iter().enumerate() {
                found[index] = parent.is_some_and(|p| mark[p]);
            }
        }
        Relation::Parent => {
            for index in marked {
                if let Some(parent) = tree.parents[*index] {
                    found[parent] = true;
                }
            }
        }
        Relation::Descendant => {
            for index in &tree.order {
                found[*index] = tree.parents[*index].is_some_and(|p| mark[p] || found[p]);
            }
        }
        Relation::Ancestor => {
            for index in tree.order.iter().rev() {
                if let Some(parent) = tree.parents[*index]
                    && (mark[*index] || found[*index])
                {
                    found[parent] = true;
                }
            }
        }
        Relation::Sibling => siblings(tree, marked, &mark, &mut found),
    }
    found
}

fn siblings(tree: &Tree, marked: &[usize], mark: &[bool], found: &mut [bool]) {
    let mut counts: HashMap<SpanId, u32> = HashMap::new();
    for index in marked {
        *counts.entry(tree.parent_ids[*index]).or_default() += 1;
    }
    for (index, parent) in tree.parent_ids.iter().enumerate() {
        let others = counts.get(parent).copied().unwrap_or(0) > u32::from(mark[index]);
        found[index] = !parent.is_zero() && others;
    }
}

/// The relation as seen from the other side.
pub(super) fn inverse(relation: Relation) -> Relation {
    match relation {
        Relation::Child => Relation::Parent,
        Relation::Parent => Relation::Child,
        Relation::Descendant => Relation::Ancestor,
        Relation::Ancestor => Relation::Descendant,
        Relation::Sibling => Relation::Sibling,
    }
}
