//! The filter of a group's identifiers: a Bloom filter. It answers "this identifier is not here"
//! so that the group is not read. Short identifiers are in it as a whole, long ones by windows, so
//! that a part of one is found too. `docs/formats/log-part.md`.
//!
//! Invariant: an identifier or a window that was put in is never denied.

use xxhash_rust::xxh3::xxh3_64;

/// Bits of the filter per whole identifier: with [`ID_PROBES`] about 1 in 45 groups without it is
/// read in vain.
const BITS_PER_ID: usize = 8;
/// Bits set per identifier; the best number for 8 bits lies between 5 and 6.
const ID_PROBES: u64 = 5;
/// Bits of the filter per window of an identifier: a searched text has several of them.
const BITS_PER_WINDOW: usize = 4;
/// Bits set per window.
const WINDOW_PROBES: u64 = 3;
/// Slots of an empty set; it doubles when it is half full.
const SLOTS_MIN: usize = 1 << 10;

/// Hashes of identifiers, each once, in an open-addressing table: most repeat, and little else of
/// a flush looks at every one.
#[derive(Default)]
pub(crate) struct IdSet {
    /// A power of two of slots; 0 is an empty one.
    slots: Vec<u64>,
    count: usize,
}

impl IdSet {
    /// Takes a hash; whether it is new.
    pub(crate) fn insert(&mut self, hash: u64) -> bool {
        if self.count * 2 >= self.slots.len() {
            self.grow();
        }
        let is_new = put(&mut self.slots, stored(hash));
        self.count += usize::from(is_new);
        is_new
    }

    fn grow(&mut self) {
        let mut slots = vec![0; (self.slots.len() * 2).max(SLOTS_MIN)];
        for hash in self.slots.iter().filter(|hash| **hash != 0) {
            put(&mut slots, *hash);
        }
        self.slots = slots;
    }

    /// Takes all hashes out.
    fn drain(&mut self, mut take: impl FnMut(u64)) {
        for hash in self.slots.iter_mut().filter(|hash| **hash != 0) {
            take(*hash);
            *hash = 0;
        }
        self.count = 0;
    }
}

/// What goes into the filter of a group.
#[derive(Default)]
pub(crate) struct FilterBuilder {
    ids: IdSet,
    /// Of different identifiers, which hardly share any.
    windows: Vec<u64>,
    /// Identifiers that were taken by their windows.
    windowed: IdSet,
}

impl FilterBuilder {
    /// Takes an identifier as a whole; whether it is new.
    pub(crate) fn id(&mut self, id: &[u8]) -> bool {
        self.ids.insert(xxh3_64(id))
    }

    /// Takes an identifier by its windows; whether it is new.
    pub(crate) fn windows(&mut self, id: &[u8], windows: impl Iterator<Item = u64>) -> bool {
        let is_new = self.windowed.insert(xxh3_64(id));
        if is_new {
            self.windows.extend(windows.map(stored));
        }
        is_new
    }

    /// Appends the filter's bytes and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        let bits = self.ids.count * BITS_PER_ID + self.windows.len() * BITS_PER_WINDOW;
        let bytes = bits.div_ceil(8);
        out.resize(start + bytes, 0);
        let filter = &mut out[start..];
        let mut set = |hash: u64, count: u64| {
            for bit in probes(hash, bytes, count) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        };
        self.ids.drain(|hash| set(hash, ID_PROBES));
        self.windows
            .drain(..)
            .for_each(|hash| set(hash, WINDOW_PROBES));
        self.windowed.drain(|_| {});
    }
}

fn put(slots: &mut [u64], hash: u64) -> bool {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    loop {
        match slots[at] {
            0 => break,
            found if found == hash => return false,
            _ => at = (at + 1) & mask,
        }
    }
    slots[at] = hash;
    true
}

/// The hash as it is kept: never 0, which means "empty"; a filter may err that way.
fn stored(hash: u64) -> u64 {
    hash.max(1)
}

/// The bits of a hash in a filter of this many bytes (none where there are no bytes).
fn probes(hash: u64, bytes: usize, count: u64) -> impl Iterator<Item = usize> {
    let bits = bytes as u64 * 8;
    let step = hash.rotate_left(32) | 1;
    (0..count).filter_map(move |i| {
        let mixed = hash.wrapping_add(step.wrapping_mul(i));
        // The high part of the product is below `bits`, so it fits.
        let bit = (u128::from(mixed) * u128::from(bits)) >> 64;
        (bits > 0).then_some(bit as usize)
    })
}

/// Whether the filter's group may have the identifier, taken as a whole.
pub(crate) fn may_have(filter: &[u8], hash: u64) -> bool {
    has(filter, hash, ID_PROBES)
}

/// Whether the filter's group may have an identifier with this window.
pub(crate) fn may_have_window(filter: &[u8], hash: u64) -> bool {
    has(filter, hash, WINDOW_PROBES)
}

fn has(filter: &[u8], hash: u64, count: u64) -> bool {
    let mut bits = probes(stored(hash), filter.len(), count);
    !filter.is_empty() && bits.all(|bit| filter[bit / 8] & (1 << (bit % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_denied_and_few_are_taken_for_others() {
        let id = |n: u32| n.to_le_bytes();
        let hash = |n: u32| xxh3_64(&id(n));
        let mut builder = FilterBuilder::default();
        let new = (0..10_000).filter(|n| builder.id(&id(n % 5000)));
        assert_eq!(new.count(), 5000);
        let windows = |n: u32| (0..2).map(move |at| hash((1 << 20) | (n * 2 + at)));
        let new = (0..10_000).filter(|n| builder.windows(&id(n % 5000), windows(n % 5000)));
        assert_eq!(new.count(), 5000);
        let mut filter = Vec::new();
        builder.finish(&mut filter);
        assert_eq!(filter.len(), 10_000);
        assert!((0..5000).all(|n| may_have(&filter, hash(n))));
        assert!((0..5000).all(|n| windows(n).all(|hash| may_have_window(&filter, hash))));
        let wrong = (5000..15_000).filter(|n| may_have(&filter, hash(*n)));
        let wrong_windows = (5000..15_000).filter(|n| may_have_window(&filter, hash(*n)));
        let wrong = (wrong.count(), wrong_windows.count());
        assert!(wrong.0 < 500 && wrong.1 < 2000, "{wrong:?}");
        filter.clear();
        builder.finish(&mut filter);
        assert!(filter.is_empty() && !may_have(&filter, hash(1)));
    }
}
