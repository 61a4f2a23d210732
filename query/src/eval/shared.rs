//! Common sub-expressions: nodes that a plan has more than once are computed once.
//!
//! Nodes are equal when everything but their place in the text is. A value is held until its last
//! use. Of nested equal nodes only the outermost are held.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use obs_model::Budget;

use super::subquery_grid;
use crate::column::{Evaluated, Grid};
use crate::error::QueryError;
use crate::plan::{Input, Instant, MetricPlan, Node};

/// What tells nodes apart: two hashes of everything but places.
pub(super) type Key = (u64, u64);

/// The nodes of a plan that stand in it more than once.
#[derive(Default)]
pub(super) struct Shared {
    /// By the address of the node, which stays while the plan does.
    keys: HashMap<usize, (Key, Grid)>,
    held: Mutex<HashMap<Key, Held>>,
    bytes: AtomicU64,
}

/// A value and how often it will still be asked for.
struct Held {
    uses: usize,
    value: Option<Evaluated>,
}

fn address(node: &Node) -> usize {
    std::ptr::from_ref(node) as usize
}

impl Shared {
    /// Finds what a plan has more than once; quick where no leaf is used twice.
    pub(super) fn of(plan: &MetricPlan) -> Self {
        let mut finder = Finder::default();
        finder.leaves(&plan.root);
        if !finder.twice {
            return Self::default();
        }
        finder.walk(&plan.root, &plan.grid);
        let Finder { seen, mut keys, .. } = finder;
        keys.retain(|_, (key, _)| seen.get(key).is_some_and(|uses| *uses > 1));
        let several = seen.into_iter().filter(|(_, uses)| *uses > 1);
        let held = several.map(|(key, uses)| (key, Held { uses, value: None }));
        Self {
            keys,
            held: Mutex::new(held.collect()),
            bytes: AtomicU64::new(0),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a node that stands in the plan more than once.
    pub(super) fn key(&self, node: &Node, grid: &Grid) -> Option<Key> {
        let (key, own) = self.keys.get(&address(node))?;
        (own == grid).then_some(*key)
    }

    /// The value of an equal node. Its last use takes it away.
    pub(super) fn take(&self, key: Key, budget: &Budget) -> Option<Evaluated> {
        let mut held = self.held();
        let one = held.get_mut(&key)?;
        one.value.as_ref()?;
        one.uses = one.uses.saturating_sub(1);
        if one.uses > 0 {
            return one.value.clone();
        }
        let value = held.remove(&key)?.value?;
        let bytes = value.bytes();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        budget.release_bytes(bytes);
        Some(value)
    }

    /// Bytes that are held, which are charged.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Holds a value for the uses that follow.
    pub(super) fn keep(
        &self,
        key: Key,
        value: &Evaluated,
        budget: &Budget,
    ) -> Result<(), QueryError> {
        let mut held = self.held();
        if let Some(one) = held.get_mut(&key) {
            one.uses = one.uses.saturating_sub(1);
            if one.uses > 0 && one.value.is_none() {
                let bytes = value.bytes();
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                budget.bytes(bytes)?;
                one.value = Some(value.clone());
            }
        }
        Ok(())
    }
}

/// Walks a plan and counts equal nodes.
#[derive(Default)]
struct Finder {
    leaves: Vec<usize>,
    twice: bool,
    seen: HashMap<Key, usize>,
    keys: HashMap<usize, (Key, Grid)>,
}

/// The nodes below a node, with the steps that they are computed at.
fn children<'a>(node: &'a Node, grid: &Grid) -> Vec<(&'a Node, Grid)> {
    match node {
        Node::Number(_) | Node::Text(_) | Node::Instant(_) => Vec::new(),
        Node::Over(over) => {
            let mut all: Vec<_> = over.parameters.iter().map(|p| (p, *grid)).collect();
            if let Input::Subquery { node, step } = &over.input {
                all.push((node, subquery_grid(&over.window, *step, grid)));
            }
            all
        }
        Node::Call(call) => call.arguments.iter().map(|a| (a, *grid)).collect(),
        Node::Aggregate(aggregate) => {
            let parameter = aggregate.parameter.iter();
            let all = parameter.chain(std::iter::once(&aggregate.input));
            all.map(|n| (n, *grid)).collect()
        }
        Node::Binary(binary) => vec![(&binary.lhs, *grid), (&binary.rhs, *grid)],
        Node::Negate(inner) => vec![(inner, *grid)],
        Node::Info(info) => vec![(&info.input, *grid)],
    }
}

/// What a node is without its children and places.
fn write_own(node: &Node, out: &mut String) -> std::fmt::Result {
    let instant = |i: &Instant| format!("{} {:?} {}", i.leaf, i.window, i.timestamps);
    match node {
        Node::Number(value) => write!(out, "n{:x}", value.to_bits()),
        Node::Text(text) => write!(out, "t{text}"),
        Node::Instant(i) => write!(out, "i{}", instant(i)),
        Node::Over(over) => {
            let input = match &over.input {
                Input::Leaf(leaf) => format!("leaf {leaf}"),
                Input::Subquery { step, .. } => format!("every {step}"),
            };
            let (function, window, labels) = (over.function, over.window, &over.labels);
            write!(out, "o{function} {input} {window:?} {labels}")
        }
        Node::Call(call) => write!(out, "c{:?} {}", call.function, call.labels),
        Node::Aggregate(a) => write!(out, "a{:?} {:?}", a.op, a.grouping),
        Node::Binary(b) => write!(out, "b{:?} {} {:?}", b.op, b.return_bool, b.matching),
        Node::Negate(_) => write!(out, "-"),
        Node::Info(info) => {
            let (names, data) = (&info.names, &info.data);
            write!(out, "f{} {names:?} {data:?}", instant(&info.info))
        }
    }
}

impl Finder {
    /// Notes whether some leaf is used twice.
    fn leaves(&mut self, node: &Node) {
        let leaf = match node {
            Node::Instant(instant) => Some(instant.leaf),
            Node::Over(over) => match over.input {
                Input::Leaf(leaf) => Some(leaf),
                Input::Subquery { .. } => None,
            },
            _ => None,
        };
        if let Some(leaf) = leaf {
            self.twice |= self.leaves.contains(&leaf);
            if !self.twice {
                self.leaves.push(leaf);
            }
        }
        let nowhere = Grid::instant(obs_model::Timestamp::MIN);
        for (child, _) in children(node, &nowhere) {
            if !self.twice {
                self.leaves(child);
            }
        }
    }

    /// Hashes from the leaves to the root, so that a node costs what it says itself; then counts
    /// from the root to the leaves.
    fn walk(&mut self, root: &Node, grid: &Grid) {
        self.hash(root, grid);
        self.count(root, grid);
    }

    fn hash(&mut self, node: &Node, grid: &Grid) -> Key {
        let mut own = String::new();
        // Writing to a string does not fail.
        let written = write_own(node, &mut own);
        debug_assert!(written.is_ok(), "a string takes everything");
        let mut hashers = [1u8, 2].map(|seed| {
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write_u8(seed);
            hasher.write(own.as_bytes());
            hasher.write_i64(grid.start.nanos());
            hasher.write_i64(grid.step);
            hasher.write_usize(grid.count);
            hasher
        });
        for (child, grid) in children(node, grid) {
            let (a, b) = self.hash(child, &grid);
            for hasher in &mut hashers {
                hasher.write_u64(a);
                hasher.write_u64(b);
            }
        }
        let key = (hashers[0].finish(), hashers[1].finish());
        self.keys.insert(address(node), (key, *grid));
        key
    }

    fn count(&mut self, node: &Node, grid: &Grid) {
        let trivial = matches!(node, Node::Number(_) | Node::Text(_));
        if let (false, Some((key, _))) = (trivial, self.keys.get(&address(node))) {
            let uses = self.seen.entry(*key).or_default();
            *uses += 1;
            if *uses > 1 {
                return;
            }
        }
        for (child, grid) in children(node, grid) {
            self.count(child, &grid);
        }
    }
}
