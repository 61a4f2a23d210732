//! The rows of all objects, and scrapes of them.
//!
//! Invariants: nothing is shown of a list before it was complete once, because a part of it would
//! pass for the whole; what a watch put before its list began again stays until the new list is
//! complete; a scrape sees each resource as it was at one moment, and holds no lock while it writes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use super::rows::{Cursor, Rendered, Rows};
use super::sheet::Sheet;
use crate::object::Key;
use crate::watch::Event;

/// The objects of one resource.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) sheet: Arc<Sheet>,
    /// One for each query.
    shelves: Vec<RwLock<Shelf>>,
    object_limit: usize,
}

#[derive(Debug, Default)]
struct Shelf {
    objects: HashMap<u128, (Rendered, u32)>,
    /// The list to which objects belong that are put now.
    list: u32,
    bytes: usize,
    complete: bool,
}

impl Shelf {
    /// Objects that a scrape shows.
    fn shown(&self) -> usize {
        if self.complete { self.objects.len() } else { 0 }
    }

    fn remove(&mut self, key: u128) {
        if let Some((old, _)) = self.objects.remove(&key) {
            self.bytes -= old.size();
        }
    }
}

/// Namespaces and names are 253 bytes at most and have no slash: two never run together.
fn number(key: &Key) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(key.namespace.as_bytes());
    hasher.update(b"/");
    hasher.update(key.name.as_bytes());
    hasher.digest128()
}

impl Store {
    pub(super) fn new(sheet: Arc<Sheet>, object_limit: usize) -> Self {
        let shelves = sheet.queries.iter().map(|_| RwLock::default()).collect();
        Self {
            sheet,
            shelves,
            object_limit,
        }
    }

    /// Takes what a watch tells; `keeps` says which objects are this instance's.
    pub(super) fn take(
        &self,
        shelf: usize,
        event: Event<Value>,
        keeps: impl Fn(&Value) -> bool,
        rows: &mut Rows,
    ) {
        let Some(shelf) = self.shelves.get(shelf) else {
            return;
        };
        match event {
            Event::Start => shelf.write().list += 1,
            Event::Put(key, object) => {
                let rendered = keeps(&object)
                    .then(|| self.sheet.render(&object, rows))
                    .flatten();
                let key = number(&key);
                let mut shelf = shelf.write();
                shelf.remove(key);
                let room = self.object_limit == 0 || shelf.objects.len() < self.object_limit;
                if let Some(rendered) = rendered.filter(|_| room) {
                    shelf.bytes += rendered.size();
                    let list = shelf.list;
                    shelf.objects.insert(key, (rendered, list));
                }
            }
            Event::Gone(key) => shelf.write().remove(number(&key)),
            Event::Ready => {
                let mut shelf = shelf.write();
                let list = shelf.list;
                shelf.objects.retain(|_, (_, of)| *of == list);
                shelf.bytes = shelf.objects.values().map(|(rows, _)| rows.size()).sum();
                shelf.complete = true;
                // A list that shrank much gives its room back.
                if shelf.objects.capacity() > 4 * shelf.objects.len() {
                    shelf.objects.shrink_to_fit();
                }
            }
        }
    }

    /// Whether every list was complete once.
    pub(super) fn is_complete(&self) -> bool {
        self.shelves.iter().all(|shelf| shelf.read().complete)
    }

    /// Objects that are shown, and the bytes that are kept of them.
    pub(super) fn size(&self) -> (usize, usize) {
        let sizes = self.shelves.iter().map(|shelf| {
            let shelf = shelf.read();
            (shelf.shown(), shelf.bytes)
        });
        sizes.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    fn snapshot(&self) -> Snapshot {
        let mut objects = Vec::with_capacity(self.size().0);
        for shelf in &self.shelves {
            let shelf = shelf.read();
            let rendered = shelf
                .objects
                .values()
                .take(shelf.shown())
                .map(|(rows, _)| (rows.clone(), rows.start()));
            objects.extend(rendered);
        }
        Snapshot {
            sheet: Arc::clone(&self.sheet),
            objects,
        }
    }
}

#[derive(Debug)]
struct Snapshot {
    sheet: Arc<Sheet>,
    objects: Vec<(Rendered, Cursor)>,
}

/// What of a scrape is still to be written.
#[derive(Debug)]
pub struct Scrape {
    stores: std::vec::IntoIter<Arc<Store>>,
    now: Option<Snapshot>,
    column: usize,
    object: usize,
    named: HashSet<String>,
    open_metrics: bool,
    ended: bool,
}

impl Scrape {
    pub(super) fn new(stores: Vec<Arc<Store>>, open_metrics: bool) -> Self {
        Self {
            stores: stores.into_iter(),
            now: None,
            column: 0,
            object: 0,
            named: HashSet::new(),
            open_metrics,
            ended: false,
        }
    }

    /// Writes on until some `size` bytes are written, or all; false where nothing was left.
    pub fn write(&mut self, size: usize, out: &mut Vec<u8>) -> bool {
        if self.ended {
            return false;
        }
        let until = out.len() + size;
        while out.len() < until {
            let Some(now) = &mut self.now else {
                match self.stores.next() {
                    Some(store) => self.now = Some(store.snapshot()),
                    None => {
                        if self.open_metrics {
                            out.extend_from_slice(b"# EOF\n");
                        }
                        self.ended = true;
                        return true;
                    }
                }
                continue;
            };
            let column = now.sheet.columns().get(self.column);
            let (Some(column), false) = (column, now.objects.is_empty()) else {
                self.now = None;
                (self.column, self.object) = (0, 0);
                continue;
            };
            if self.object == 0 && !self.named.contains(column.name.as_ref()) {
                self.named.insert(column.name.clone().into_owned());
                column.print_head(self.open_metrics, out);
            }
            let rest = now.objects.iter_mut().skip(self.object);
            for (rows, cursor) in rest {
                rows.print(cursor, self.column, &column.name, out);
                self.object += 1;
                if out.len() >= until {
                    break;
                }
            }
            if self.object >= now.objects.len() {
                (self.column, self.object) = (self.column + 1, 0);
            }
        }
        true
    }
}
