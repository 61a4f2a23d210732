//! Structural operators: which spans of one set stand in a relation to a span of another.
//!
//! Napkin: every relation is one pass over the trace (no pair is looked at), because marks travel
//! along the order of the tree.

use std::collections::HashMap;

use obs_model::SpanId;

use super::view::TraceView;
use crate::traceql::ast::Relation;

/// For each span of the trace: whether it stands in the relation to a span of `marked`. A
/// `Child` stands below a marked span, an `Ancestor` anywhere above one.
pub(super) fn related(trace: &TraceView<'_>, marked: &[usize], relation: Relation) -> Vec<bool> {
    let count = trace.spans.len();
    let mut mark = vec![false; count];
    for index in marked {
        mark[*index] = true;
    }
    let mut found = vec![false; count];
    match relation {
        Relation::Child => {
            for (index, span) in trace.spans.iter().enumerate() {
                found[index] = span.parent.is_some_and(|p| mark[p]);
            }
        }
        Relation::Parent => {
            for index in marked {
                if let Some(parent) = trace.spans[*index].parent {
                    found[parent] = true;
                }
            }
        }
        Relation::Descendant => {
            for index in &trace.order {
                found[*index] = trace.spans[*index]
                    .parent
                    .is_some_and(|p| mark[p] || found[p]);
            }
        }
        Relation::Ancestor => {
            for index in trace.order.iter().rev() {
                if let Some(parent) = trace.spans[*index].parent
                    && (mark[*index] || found[*index])
                {
                    found[parent] = true;
                }
            }
        }
        Relation::Sibling => siblings(trace, marked, &mark, &mut found),
    }
    found
}

fn siblings(trace: &TraceView<'_>, marked: &[usize], mark: &[bool], found: &mut [bool]) {
    let mut counts: HashMap<SpanId, u32> = HashMap::new();
    for index in marked {
        *counts
            .entry(trace.spans[*index].span.parent_id)
            .or_default() += 1;
    }
    for (index, span) in trace.spans.iter().enumerate() {
        let parent = span.span.parent_id;
        let others = counts.get(&parent).copied().unwrap_or(0) > u32::from(mark[index]);
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
