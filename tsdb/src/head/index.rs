//! The inverted index of the head: which series have a label.
//!
//! Series are added in ascending order, so that a set is a list that grows at its end. Values are
//! found by hash and sorted only when somebody asks for their order.

use std::collections::HashMap;

use hashbrown::HashTable;
use obs_model::Labels;
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

/// Series by label.
#[derive(Debug, Default)]
pub(crate) struct HeadIndex {
    names: HashMap<Box<str>, Values>,
}

/// The values of one label name.
#[derive(Debug, Default)]
struct Values {
    table: HashTable<u32>,
    all: Vec<(Box<str>, Set)>,
}

/// Ascending series; most values of labels with many values have one.
#[derive(Debug)]
enum Set {
    One(u32),
    Many(Vec<u32>),
}

impl Set {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }

    /// Adds the largest series so far; gives the bytes that it takes.
    fn push(&mut self, series: u32) -> usize {
        match self {
            Self::One(one) => {
                *self = Self::Many(vec![*one, series]);
                16
            }
            Self::Many(all) => {
                all.push(series);
                4
            }
        }
    }
}

impl HeadIndex {
    /// Adds a series with a number above all others; gives an estimate of the bytes that it takes.
    pub(crate) fn add(&mut self, series: u32, labels: &Labels) -> usize {
        let mut bytes = 0;
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), Values::default());
                bytes += name.len() + 96;
            }
            let values = self.names.get_mut(name).expect("it was just put there");
            bytes += values.add(value, series);
        }
        bytes
    }

    /// Series with a value of a label.
    pub(crate) fn with_value(&self, name: &str, value: &str) -> RoaringBitmap {
        let found = self.names.get(name).and_then(|values| values.find(value));
        found.map_or_else(RoaringBitmap::new, |at| {
            RoaringBitmap::from_iter(self.names[name].all[at].1.as_slice())
        })
    }

    /// Series with a value that is accepted.
    pub(crate) fn with_values(&self, name: &str, accept: impl Fn(&str) -> bool) -> RoaringBitmap {
        let values = self.names.get(name).into_iter().flat_map(|v| &v.all);
        let accepted = values.filter(|(value, _)| accept(value));
        let mut found: Vec<u32> = Vec::new();
        for (_, set) in accepted {
            found.extend_from_slice(set.as_slice());
        }
        found.sort_unstable();
        RoaringBitmap::from_iter(found)
    }

    /// Label names in ascending order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.keys().map(|name| name.to_string()).collect();
        names.sort_unstable();
        names
    }

    /// The values of a label in ascending order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let values = self.names.get(name).into_iter().flat_map(|v| &v.all);
        let mut values: Vec<&str> = values.map(|(value, _)| &**value).collect();
        values.sort_unstable();
        values
    }
}

impl Values {
    fn find(&self, value: &str) -> Option<usize> {
        let same = |at: &u32| *self.all[*at as usize].0 == *value;
        let found = self.table.find(xxh3_64(value.as_bytes()), same)?;
        Some(*found as usize)
    }

    fn add(&mut self, value: &str, series: u32) -> usize {
        // Neighbours mostly have the value that came last.
        let last = self.all.last().filter(|(last, _)| **last == *value);
        let found = match last {
            Some(_) => Some(self.all.len() - 1),
            None => self.find(value),
        };
        if let Some(at) = found {
            return self.all[at].1.push(series);
        }
        let at = self.all.len() as u32;
        self.all.push((value.into(), Set::One(series)));
        let all = &self.all;
        let hash = |at: &u32| xxh3_64(all[*at as usize].0.as_bytes());
        self.table
            .insert_unique(xxh3_64(value.as_bytes()), at, hash);
        value.len().next_multiple_of(16) + size_of::<(Box<str>, Set)>() + 16
    }
}
