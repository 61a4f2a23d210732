//! What could be saved: smaller requests, what nobody uses, fewer nodes.
//!
//! Invariant: each finding says what it was found from, how sure it is, and how many dollars a month
//! it is worth at the prices of the end of the window; nothing is found where too little was seen.

pub mod abandoned;
pub mod repack;
pub mod rightsize;
mod unused;

pub use unused::{Unused, unused};

use std::collections::BTreeMap;

use crate::cluster::{Cluster, Node, Pod};
use crate::prices::{Book, Rates};

/// The rates of each node at a time, by cluster and name.
pub(crate) struct NodeRates<'c> {
    rates: BTreeMap<(&'c str, &'c str), Rates>,
    other: Rates,
}

impl<'c> NodeRates<'c> {
    pub(crate) fn new(cluster: &'c Cluster, book: &Book, at: i64) -> Self {
        let rates = cluster.nodes.iter().map(|node| {
            let key = (node.cluster.as_str(), node.name.as_str());
            (key, book.node(node, at))
        });
        Self {
            rates: rates.collect(),
            other: book.node(&Node::default(), at),
        }
    }

    pub(crate) fn of(&self, pod: &Pod) -> Rates {
        let key = (pod.cluster.as_str(), pod.node.as_str());
        self.rates.get(&key).copied().unwrap_or(self.other)
    }
}
