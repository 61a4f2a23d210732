//! A filter of hashes: whether a hash may have been put in. Sixty-four byte blocks, six bits each.
//!
//! Invariant: what was put in is found; about 1 in 50 of what was not is found too.

/// Bytes of one block: one cache line, so a question costs one miss.
const BLOCK: usize = 64;
/// Bits for each hash: about 2 % of wrong answers with six probes in blocked form.
const BITS: usize = 10;
/// Largest filter; a fuller one answers worse but never wrongly.
const BYTES_MAX: usize = 4 << 20;

/// Appends a filter of the hashes.
pub(crate) fn encode(hashes: impl ExactSizeIterator<Item = u64>, out: &mut Vec<u8>) {
    let blocks = (hashes.len() * BITS)
        .div_ceil(8 * BLOCK)
        .clamp(1, BYTES_MAX / BLOCK);
    let start = out.len();
    out.resize(start + blocks * BLOCK, 0);
    for hash in hashes {
        let block = &mut out[start + block_of(hash, blocks) * BLOCK..][..BLOCK];
        for bit in bits(hash) {
            block[bit / 8] |= 1 << (bit % 8);
        }
    }
}

/// Whether a hash may have been put in. A filter that is none holds everything.
pub(crate) fn may_have(filter: &[u8], hash: u64) -> bool {
    let blocks = filter.len() / BLOCK;
    if blocks == 0 {
        return true;
    }
    let block = &filter[block_of(hash, blocks) * BLOCK..][..BLOCK];
    bits(hash).all(|bit| block[bit / 8] & (1 << (bit % 8)) != 0)
}

/// The upper half of the hash picks the block …
fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// … and all of it, mixed, the bits: six times nine bits.
fn bits(hash: u64) -> impl Iterator<Item = usize> {
    // The odd constant is 2^64 divided by the golden ratio.
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 10;
    (0..6).map(move |i| ((mixed >> (9 * i)) & 511) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_little_else() {
        let hash = |n: u64| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes());
        let mut filter = Vec::new();
        encode(
            (0..5000).map(hash).collect::<Vec<_>>().into_iter(),
            &mut filter,
        );
        assert!((0..5000).all(|n| may_have(&filter, hash(n))));
        let wrong = (5000..25_000)
            .filter(|n| may_have(&filter, hash(*n)))
            .count();
        assert!(wrong < 1000, "{wrong} of 20000 are found wrongly");
        let mut none = Vec::new();
        encode(std::iter::empty(), &mut none);
        assert!(!may_have(&none, hash(1)));
        assert!(may_have(&[], hash(1)));
    }
}
