//! The numbers that a store gave to the series it holds in memory, by what senders send: a decoder
//! that finds a series here need not read its labels.
//!
//! Invariants: a number means something only together with its epoch, which a store never uses
//! again; a key is a hash of all bytes that make the labels, of 96 bits that matter, so that two
//! series do not meet in one key.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::tenant::Tenant;

/// Senders' bytes are hashed with seeds of their own, so that different formats never share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum KeySeed {
    /// The labels of a `prometheus.WriteRequest`, as protobuf.
    RemoteWrite = 1,
    /// Packed [`Labels`](crate::Labels).
    Packed = 2,
    /// Name and labels as a line of an exposition writes them. Such keys stay with their target.
    Line = 3,
}

/// The hash of a series' labels as some sender writes them. Kept in words, so that it takes twelve
/// bytes wherever it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesKey([u32; 3]);

impl SeriesKey {
    /// The key of bytes that one kind of sender writes.
    pub fn of(bytes: &[u8], seed: KeySeed) -> Self {
        let hash = xxh3_128_with_seed(bytes, seed as u64);
        Self([(hash >> 96) as u32, (hash >> 64) as u32, hash as u32])
    }

    /// The larger part of it.
    pub fn high(self) -> u64 {
        u64::from(self.0[0]) << 32 | u64::from(self.0[1])
    }
}

impl Hash for SeriesKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.high());
    }
}

/// A map by keys, which are hashes already.
pub type KeyMap<V> = HashMap<SeriesKey, V, BuildHasherDefault<Passed>>;

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A series that is known.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: SeriesKey,
    number: u32,
}

/// Slots in the order in which they were learned, and where each key is.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    places: HashTable<u32>,
}

impl Table {
    fn place(&self, key: SeriesKey) -> Option<usize> {
        let is_it = |place: &u32| self.slots[*place as usize].key == key;
        let found = self.places.find(key.high(), is_it)?;
        Some(*found as usize)
    }

    fn insert(&mut self, key: SeriesKey, number: u32) {
        if let Some(place) = self.place(key) {
            self.slots[place].number = number;
            return;
        }
        // A number is a u32, and each has few keys: what does not fit is looked up by its labels.
        let Ok(place) = u32::try_from(self.slots.len()) else {
            return;
        };
        self.slots.push(Slot { key, number });
        let slots = &self.slots;
        self.places
            .insert_unique(key.high(), place, |place| slots[*place as usize].key.high());
    }
}

/// The numbers of one tenant's series in one epoch.
#[derive(Debug, Default)]
pub struct Numbers {
    epoch: u64,
    table: RwLock<Table>,
}

/// Looks up many numbers under one lock. Senders repeat themselves: what was learned after the
/// series that was found last is looked at first, without a jump through memory.
#[derive(Debug)]
pub struct Lookup<'a> {
    table: RwLockReadGuard<'a, Table>,
    next: usize,
}

impl Lookup<'_> {
    /// The number of a series.
    pub fn get(&mut self, key: SeriesKey) -> Option<u32> {
        let likely = self.table.slots.get(self.next);
        let place = match likely.is_some_and(|slot| slot.key == key) {
            true => self.next,
            false => self.table.place(key)?,
        };
        self.next = place + 1;
        Some(self.table.slots[place].number)
    }
}

impl Numbers {
    /// The epoch in which the numbers mean something.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Locks the table for looking up.
    pub fn lookup(&self) -> Lookup<'_> {
        // The table is whole after each insertion, whatever happened to its writer.
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Lookup { table, next: 0 }
    }
}

/// The numbers of all tenants.
#[derive(Debug, Default)]
pub struct SeriesNumbers {
    tenants: RwLock<HashMap<Tenant, Arc<Numbers>>>,
}

impl SeriesNumbers {
    /// What is known of a tenant now.
    pub fn of(&self, tenant: &Tenant) -> Option<Arc<Numbers>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(tenant).cloned()
    }

    /// Remembers numbers; those of a tenant's earlier epoch are forgotten.
    pub fn learn(&self, tenant: &Tenant, epoch: u64, learned: &[(SeriesKey, u32)]) {
        let known = self.of(tenant).filter(|numbers| numbers.epoch == epoch);
        if known.is_none() && learned.is_empty() {
            return;
        }
        let numbers = known.unwrap_or_else(|| self.begin(tenant, epoch));
        let mut table = numbers.table.write();
        let table = table
            .as_mut()
            .map_or_else(|e| &mut **e.get_mut(), |t| &mut **t);
        for (key, number) in learned {
            table.insert(*key, *number);
        }
    }

    /// Forgets the numbers of a tenant unless they are of this epoch.
    pub fn retire(&self, tenant: &Tenant, epoch: u64) {
        if self.of(tenant).is_some_and(|n| n.epoch != epoch) {
            self.begin(tenant, epoch);
        }
    }

    fn begin(&self, tenant: &Tenant, epoch: u64) -> Arc<Numbers> {
        let numbers = Arc::new(Numbers {
            epoch,
            table: RwLock::default(),
        });
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.insert(tenant.clone(), Arc::clone(&numbers));
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_of_their_epoch_and_tenant() {
        let all = SeriesNumbers::default();
        let (a, b) = (Tenant::anonymous(), Tenant::new("b").unwrap());
        let key = |text: &str| SeriesKey::of(text.as_bytes(), KeySeed::Packed);
        let find = |tenant: &Tenant, text: &str| {
            let numbers = all.of(tenant)?;
            let found = numbers.lookup().get(key(text))?;
            Some((numbers.epoch(), found))
        };
        all.learn(&a, 1, &[]);
        assert!(all.of(&a).is_none());
        all.learn(&a, 1, &[(key("x"), 7)]);
        all.learn(&a, 1, &[(key("y"), 8)]);
        assert_eq!(find(&a, "x"), Some((1, 7)));
        assert_eq!(find(&a, "z"), None);
        assert_eq!(find(&b, "x"), None);
        all.retire(&a, 1);
        assert_eq!(find(&a, "y"), Some((1, 8)));
        all.retire(&a, 2);
        assert_eq!(find(&a, "x"), None);
        all.learn(&a, 3, &[(key("x"), 9)]);
        assert_eq!(find(&a, "x"), Some((3, 9)));
    }

    #[test]
    fn the_order_of_lookups_does_not_matter() {
        let all = SeriesNumbers::default();
        let tenant = Tenant::anonymous();
        let key = |n: u32| SeriesKey::of(&n.to_le_bytes(), KeySeed::Packed);
        let learned: Vec<_> = (0..100).map(|n| (key(n), n)).collect();
        all.learn(&tenant, 1, &learned);
        // A number that changed, and a second key of one series.
        all.learn(&tenant, 1, &[(key(50), 500), (key(100), 7)]);
        let numbers = all.of(&tenant).unwrap();
        let check = |order: &mut dyn Iterator<Item = u32>| {
            let mut lookup = numbers.lookup();
            for n in order {
                let expect = match n {
                    50 => Some(500),
                    100 => Some(7),
                    n => (n < 100).then_some(n),
                };
                assert_eq!(lookup.get(key(n)), expect, "{n}");
            }
        };
        check(&mut (0..102));
        check(&mut (0..102).rev());
        check(&mut (0..1000).map(|n| n * 37 % 103));
    }

    #[test]
    fn each_kind_of_sender_has_keys_of_its_own() {
        let bytes = b"same";
        let seeds = [KeySeed::RemoteWrite, KeySeed::Packed, KeySeed::Line];
        let keys = seeds.map(|seed| (SeriesKey::of(bytes, seed), ()));
        assert_eq!(keys.into_iter().collect::<KeyMap<()>>().len(), seeds.len());
    }
}
