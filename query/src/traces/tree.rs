//! How the spans of a trace hang together: parents, the order of the tree, nested-set numbers.
//!
//! Invariant: whatever the parent ids say (missing parents, cycles, equal ids), every walk ends;
//! spans that no root reaches have the numbers 0. Blocks keep parents as distances of rows, so that
//! the numbers are one walk over small integers: see `docs/decisions/0160`.

use obs_model::SpanId;

/// Nothing comes next.
const NONE: u32 = u32::MAX;

/// The spans of a trace, numbered as they begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// The parent of each, if it is here.
    pub(super) parents: Vec<Option<usize>>,
    /// The id of each one's parent; zero for roots.
    pub(super) parent_ids: Vec<SpanId>,
    /// Parents before their children; spans in cycles are missing.
    pub(super) order: Vec<usize>,
    /// The first root.
    pub(super) root: Option<usize>,
    pub(super) left: Vec<i64>,
    pub(super) right: Vec<i64>,
    pub(super) children: Vec<i64>,
}

impl Tree {
    /// A tree of as many spans as there are parents.
    pub(super) fn new(parents: Vec<Option<usize>>, parent_ids: Vec<SpanId>) -> Self {
        let count = parents.len();
        let root = parent_ids.iter().position(|id| id.is_zero());
        let mut tree = Self {
            parents,
            parent_ids,
            order: Vec::with_capacity(count),
            root,
            left: vec![0; count],
            right: vec![0; count],
            children: vec![0; count],
        };
        tree.number();
        tree
    }

    /// Numbers in one walk from the spans without a parent here, in order of their begin.
    fn number(&mut self) {
        let count = self.parents.len();
        // The first child of each, and the next child of the same parent.
        let (mut first, mut next) = (vec![NONE; count], vec![NONE; count]);
        for (index, parent) in self.parents.iter().enumerate().rev() {
            if let Some(parent) = *parent {
                // A trace has fewer than 2^32 spans.
                next[index] = std::mem::replace(&mut first[parent], index as u32);
                self.children[parent] += 1;
            }
        }
        let mut number = 0;
        let mut step = || {
            number += 1;
            number
        };
        for top in 0..count {
            if self.parents[top].is_some() {
                continue;
            }
            let mut at = top;
            self.left[at] = step();
            self.order.push(at);
            loop {
                // Down to the first child that was not entered, else up.
                let child = std::mem::replace(&mut first[at], NONE);
                if child != NONE {
                    at = child as usize;
                    self.left[at] = step();
                    self.order.push(at);
                    continue;
                }
                self.right[at] = step();
                if at == top {
                    break;
                }
                let Some(parent) = self.parents[at] else {
                    break;
                };
                first[parent] = next[at];
                at = parent;
            }
        }
    }

    /// Left number of the parent: -1 for a root, 0 where the parent is not here.
    pub(super) fn nested_parent(&self, index: usize) -> i64 {
        match self.parents[index] {
            Some(parent) => self.left[parent],
            None if self.parent_ids[index].is_zero() => -1,
            None => 0,
        }
    }
}
