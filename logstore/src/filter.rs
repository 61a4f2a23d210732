//! The filter of a group's identifiers: a Bloom filter. It answers "this identifier is not here"
//! so that the group is not read. `docs/formats/log-part.md`.
//!
//! Invariant: an identifier that was put in is never denied.

/// Bits of the filter per identifier: with [`PROBES`] about 1 in 45 groups without it is read in
/// vain.
const BITS_PER_ID: usize = 8;
/// Bits set per identifier; the best number for 8 bits lies between 5 and 6.
const PROBES: u64 = 5;
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

    /// Appends the filter's bytes and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        let bytes = (self.count * BITS_PER_ID).div_ceil(8);
        out.resize(start + bytes, 0);
        for hash in self.slots.iter_mut().filter(|hash| **hash != 0) {
            for bit in probes(*hash, bytes) {
                out[start + bit / 8] |= 1 << (bit % 8);
            }
            *hash = 0;
        }
        self.count = 0;
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

/// The bits of an identifier in a filter of this many bytes (none where there are no bytes).
fn probes(hash: u64, bytes: usize) -> impl Iterator<Item = usize> {
    let bits = bytes as u64 * 8;
    let step = hash.rotate_left(32) | 1;
    (0..PROBES).filter_map(move |i| {
        let mixed = hash.wrapping_add(step.wrapping_mul(i));
        // The high part of the product is below `bits`, so it fits.
        let bit = (u128::from(mixed) * u128::from(bits)) >> 64;
        (bits > 0).then_some(bit as usize)
    })
}

/// Whether the filter's group may have the identifier.
pub(crate) fn may_have(filter: &[u8], hash: u64) -> bool {
    let hash = stored(hash);
    !filter.is_empty()
        && probes(hash, filter.len()).all(|bit| filter[bit / 8] & (1 << (bit % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    #[test]
    fn none_is_denied_and_few_are_taken_for_others() {
        let hash = |n: u64| xxh3_64(&n.to_le_bytes());
        let mut set = IdSet::default();
        let new = (0..10_000).filter(|n| set.insert(hash(n % 5000)));
        assert_eq!(new.count(), 5000);
        let mut filter = Vec::new();
        set.finish(&mut filter);
        assert_eq!(filter.len(), 5000);
        assert!((0..5000).all(|n| may_have(&filter, hash(n))));
        let wrong = (5000..15_000).filter(|n| may_have(&filter, hash(*n)));
        assert!(wrong.count() < 400);
        filter.clear();
        set.finish(&mut filter);
        assert!(filter.is_empty() && !may_have(&filter, hash(1)));
    }
}
