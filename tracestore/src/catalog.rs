//! The names of attributes and, up to a bound, their values: what menus are filled from.
//!
//! Invariant: every name and value in it occurs in the rows; below the bounds none is missing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use obs_model::spans::{Attribute, AttributeValue, SpanKind, StatusCode, attribute};
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, put_bytes, varint};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::attributes::{self, Attributes, Cells};
use crate::block::Block;
use crate::filter::Scope;
use crate::row::{Row, SERVICE_NAME};
use crate::{value, words};

/// Names of one scope that are kept: menus show no more.
const NAMES_MAX: usize = 4096;
/// Values of one name that are kept.
const VALUES_MAX: usize = 1000;
/// Longest value that is kept; nobody picks a longer one from a menu.
const VALUE_BYTES_MAX: usize = 256;

/// What a name belongs to: a scope, or the span itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    In(Scope),
    Intrinsic,
}

/// Values of one name.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) list: Vec<AttributeValue>,
    seen: HashSet<u64>,
}

/// Names and values by place.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) names: BTreeMap<Place, BTreeMap<String, Values>>,
    resources: HashSet<usize>,
    scopes: HashSet<usize>,
    /// Addresses are only unique while their owners live.
    held: Vec<Row>,
    /// Estimate of what names and values take.
    bytes: usize,
}

/// Values are kept up to about so many bytes in all: many names with many long values must neither
/// fill the memory nor make a catalog that is too large to be read. Small in tests.
const VALUES_BYTES_MAX: usize = if cfg!(test) { 64 << 10 } else { 32 << 20 };
/// What a name or value takes beside its text: map entry, list, hash.
const ENTRY_BYTES: usize = 96;

impl Catalog {
    /// Estimate of the bytes that names and values take in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Adds all that a row says.
    pub(crate) fn add(&mut self, row: &Row) {
        let new_resource = self.resources.insert(Arc::as_ptr(&row.resource).addr());
        let new_scope = self.scopes.insert(Arc::as_ptr(&row.scope).addr());
        if new_resource {
            self.add_all(Scope::Resource, &row.resource.attributes);
        }
        if new_scope {
            self.add_all(Scope::Instrumentation, &row.scope.attributes);
        }
        if new_resource || new_scope {
            self.held.push(row.clone());
        }
        let span = &row.span;
        self.add_all(Scope::Span, &span.attributes);
        span.events
            .iter()
            .for_each(|e| self.add_all(Scope::Event, &e.attributes));
        span.links
            .iter()
            .for_each(|l| self.add_all(Scope::Link, &l.attributes));
        self.add_text("name", &span.name);
        self.add_text("status", span.status.as_str());
        self.add_text("kind", span.kind.as_str());
        if span.parent_id.is_zero() {
            self.add_text("rootName", &span.name);
            let service = attribute(&row.resource.attributes, SERVICE_NAME);
            if let Some(AttributeValue::String(service)) = service {
                self.add_text("rootServiceName", service);
            }
        }
    }

    /// Adds all that the rows of a block say.
    pub(crate) fn add_block(&mut self, block: &Block) {
        for resource in &block.resources {
            self.add_all(Scope::Resource, &resource.attributes);
        }
        for scope in &block.scopes {
            self.add_all(Scope::Instrumentation, &scope.attributes);
        }
        self.add_columns(Scope::Span, &block.attributes);
        self.add_columns(Scope::Event, &block.events.attributes);
        self.add_columns(Scope::Link, &block.links.attributes);
        for name in block.names.all() {
            self.add_text("name", words::text(name));
        }
        for number in 0..=u8::MAX {
            if block.statuses.contains(&number) {
                self.add_text("status", StatusCode::from_number(number.into()).as_str());
            }
            if block.kinds.contains(&number) {
                self.add_text("kind", SpanKind::from_number(number.into()).as_str());
            }
        }
        let mut roots = HashSet::new();
        for (row, parent) in block.parents.iter().enumerate() {
            let root = (block.names.codes()[row], block.of_resource[row]);
            if !parent.is_zero() || !roots.insert(root) {
                continue;
            }
            self.add_text("rootName", block.names.text(row));
            let resource = &block.resources[root.1 as usize];
            let service = attribute(&resource.attributes, SERVICE_NAME);
            if let Some(AttributeValue::String(service)) = service {
                self.add_text("rootServiceName", service);
            }
        }
    }

    fn add_columns(&mut self, scope: Scope, attributes: &Attributes) {
        for (key, tag, cells) in attributes.columns() {
            let place = Place::In(scope);
            self.insert(place, key, &AttributeValue::Empty);
            match cells {
                Cells::Empty(_) => {}
                Cells::Words(words) if tag == value::STRING => {
                    for word in words.all() {
                        if !self.has_room(place, key) {
                            break;
                        }
                        if word.len() <= VALUE_BYTES_MAX {
                            self.insert(place, key, &attributes::word(tag, word));
                        }
                    }
                }
                // Bytes, arrays and maps are not shown.
                Cells::Words(_) => {}
                Cells::Ints(_) | Cells::Doubles(_) => {
                    if !self.has_room(place, key) {
                        continue;
                    }
                    for index in cells.firsts() {
                        if !self.has_room(place, key) {
                            break;
                        }
                        self.insert(place, key, &cells.get(tag, index));
                    }
                }
            }
        }
    }

    /// Whether another value of a name would be kept.
    fn has_room(&self, place: Place, name: &str) -> bool {
        let values = self.names.get(&place).and_then(|names| names.get(name));
        values.is_some_and(|v| v.list.len() < VALUES_MAX) && self.bytes < VALUES_BYTES_MAX
    }

    /// Forgets addresses, so that rows seen so far may go.
    pub(crate) fn release(&mut self) {
        self.resources.clear();
        self.scopes.clear();
        self.held.clear();
    }

    fn add_text(&mut self, name: &str, text: &str) {
        if text.len() <= VALUE_BYTES_MAX {
            self.insert(
                Place::Intrinsic,
                name,
                &AttributeValue::String(text.to_owned()),
            );
        }
    }

    fn add_all(&mut self, scope: Scope, attributes: &[Attribute]) {
        for attribute in attributes {
            self.insert(Place::In(scope), &attribute.key, &attribute.value);
        }
    }

    /// Adds a name and, where it is simple and short, its value.
    pub(crate) fn insert(&mut self, place: Place, name: &str, value: &AttributeValue) {
        let names = self.names.entry(place).or_default();
        if !names.contains_key(name) {
            if names.len() >= NAMES_MAX || name.len() > VALUE_BYTES_MAX {
                return;
            }
            names.insert(name.to_owned(), Values::default());
            self.bytes += ENTRY_BYTES + name.len();
        }
        let Some(values) = names.get_mut(name) else {
            return;
        };
        if values.list.len() < VALUES_MAX
            && self.bytes < VALUES_BYTES_MAX
            && let Some(hash) = hash(value)
            && values.seen.insert(hash)
        {
            values.list.push(value.clone());
            self.bytes += ENTRY_BYTES;
            if let AttributeValue::String(text) = value {
                self.bytes += text.len();
            }
        }
    }

    /// Appends names and values.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let count: usize = self.names.values().map(BTreeMap::len).sum();
        varint::put(count as u64, out);
        for (place, names) in &self.names {
            for (name, values) in names {
                out.push(match place {
                    Place::In(scope) => *scope as u8,
                    Place::Intrinsic => Scope::ALL.len() as u8,
                });
                put_bytes(name.as_bytes(), out);
                varint::put(values.list.len() as u64, out);
                values.list.iter().for_each(|v| value::put(v, out));
            }
        }
    }

    /// Adds what [`Catalog::encode`] wrote.
    pub(crate) fn read(&mut self, mut reader: Reader<'_>) -> Result<(), Corrupt> {
        let count = reader.count(reader.remaining())?;
        for _ in 0..count {
            let place = match usize::from(reader.u8()?) {
                index if index < Scope::ALL.len() => Place::In(Scope::ALL[index]),
                _ => Place::Intrinsic,
            };
            let name = reader.text(VALUE_BYTES_MAX)?;
            let values = reader.count(VALUES_MAX)?;
            // A name without simple values is a name all the same.
            self.insert(place, name, &AttributeValue::Empty);
            for _ in 0..values {
                self.insert(place, name, &value::read(&mut reader, value::DEPTH_MAX)?);
            }
        }
        reader.finish()
    }
}

/// The hash of a value that menus show; the seed tells types apart.
fn hash(value: &AttributeValue) -> Option<u64> {
    let seed = u64::from(value::tag(value));
    Some(match value {
        AttributeValue::String(text) if text.len() <= VALUE_BYTES_MAX => {
            xxh3_64_with_seed(text.as_bytes(), seed)
        }
        AttributeValue::Bool(truth) => xxh3_64_with_seed(&[u8::from(*truth)], seed),
        AttributeValue::Int(number) => xxh3_64_with_seed(&number.to_le_bytes(), seed),
        AttributeValue::Double(number) => xxh3_64_with_seed(&number.to_bits().to_le_bytes(), seed),
        AttributeValue::String(_)
        | AttributeValue::Bytes(_)
        | AttributeValue::Empty
        | AttributeValue::Array(_)
        | AttributeValue::Map(_) => return None,
    })
}
