//! The token filter of a group of rows: a Bloom filter over the words of its lines. It answers
//! "no line here can contain this text" so that the group is not read.
//!
//! A token is a maximal run of `[A-Za-z0-9_]` and of bytes from 0x80, of at least
//! [`TOKEN_BYTES_MIN`] bytes. Of a searched text only the tokens with a byte of another kind on
//! both sides are used: a run at an end of the text may go on in the line.
//! Invariant: a group with a line that contains the text is never ruled out.

use xxhash_rust::xxh3::xxh3_64;

/// Shorter words are in nearly every group and would only fill the filter.
pub(crate) const TOKEN_BYTES_MIN: usize = 3;
/// Bits of the filter per distinct token: with [`PROBES`] about 1 in 45 groups without a token is
/// read in vain.
const BITS_PER_TOKEN: usize = 8;
/// Bits set per token; the best number for 8 bits per token lies between 5 and 6.
const PROBES: u64 = 5;

/// Whether a byte belongs to words.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
        byte += 1;
    }
    table
};

/// Calls `visit` for every token with its offset.
fn for_tokens<'a>(text: &'a [u8], mut visit: impl FnMut(usize, &'a [u8])) {
    let mut start = None;
    for (at, &byte) in text.iter().enumerate() {
        match (WORD[usize::from(byte)], start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                start = None;
                if at - from >= TOKEN_BYTES_MIN {
                    visit(from, &text[from..at]);
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    if let Some(from) = start.filter(|from| text.len() - from >= TOKEN_BYTES_MIN) {
        visit(from, &text[from..]);
    }
}

/// Slots of an empty set; it doubles when it is half full.
const SLOTS_MIN: usize = 1 << 10;

/// Collects the hashes of the tokens of lines, each once, in an open-addressing table: most tokens
/// repeat, and nothing else of ingestion looks at every word.
#[derive(Default)]
pub(crate) struct TokenSet {
    /// A power of two of slots; 0 is an empty one.
    slots: Vec<u64>,
    count: usize,
}

impl TokenSet {
    /// Takes the tokens of one line.
    pub(crate) fn add(&mut self, line: &[u8]) {
        for_tokens(line, |_, token| self.insert(xxh3_64(token)));
    }

    fn insert(&mut self, hash: u64) {
        if self.count * 2 >= self.slots.len() {
            let slots = vec![0; (self.slots.len() * 2).max(SLOTS_MIN)];
            let old = std::mem::replace(&mut self.slots, slots);
            self.count = 0;
            for hash in old.into_iter().filter(|hash| *hash != 0) {
                self.insert(hash);
            }
        }
        // The one hash that means "empty" stands for its neighbour; a filter may err that way.
        let hash = stored(hash);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => break,
                found if found == hash => return,
                _ => at = (at + 1) & mask,
            }
        }
        self.slots[at] = hash;
        self.count += 1;
    }

    /// Appends the filter's bytes and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        let bytes = (self.count * BITS_PER_TOKEN).div_ceil(8);
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

/// The hash as it is kept: never 0.
fn stored(hash: u64) -> u64 {
    hash.max(1)
}

/// The bits of a token in a filter of this many bytes (none where there are no bytes).
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

/// The tokens that every line with all the texts must hold.
#[derive(Debug, Default)]
pub(crate) struct Needles {
    hashes: Vec<u64>,
}

impl Needles {
    /// From texts that every wanted line contains.
    pub(crate) fn new(texts: &[Vec<u8>]) -> Self {
        let mut hashes = Vec::new();
        for text in texts {
            for_tokens(text, |from, token| {
                if from > 0 && from + token.len() < text.len() {
                    hashes.push(stored(xxh3_64(token)));
                }
            });
        }
        Self { hashes }
    }

    /// Whether nothing can be ruled out.
    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether a line of the filter's group may hold all tokens.
    pub(crate) fn may_match(&self, filter: &[u8]) -> bool {
        self.hashes.iter().all(|hash| {
            !filter.is_empty()
                && probes(*hash, filter.len()).all(|bit| filter[bit / 8] & (1 << (bit % 8)) != 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop, proptest};

    use super::*;

    fn filter(lines: &[&[u8]]) -> Vec<u8> {
        let mut set = TokenSet::default();
        for line in lines {
            set.add(line);
        }
        let mut out = Vec::new();
        set.finish(&mut out);
        out
    }

    fn check(line: &str, needle: &str, expect: bool) {
        let needles = Needles::new(&[needle.as_bytes().to_vec()]);
        assert_eq!(
            needles.may_match(&filter(&[line.as_bytes()])),
            expect,
            "{line:?} {needle:?}"
        );
    }

    #[test]
    fn only_whole_words_inside_the_needle_rule_out() {
        check("user=4711 done", "=4711 ", true);
        check("user=4711 done", "=4712 ", false);
        check("user=4711 done", "4712", true);
        check("user=4711 done", "ser=47", true);
        check("user=4711 done", "ser=471 d", false);
        check("a b", "x yyy z", false);
        check("", " abc ", false);
        check("a b", "a z", true);
    }

    #[test]
    fn few_groups_are_read_in_vain() {
        let lines: Vec<String> = (0..5000).map(|i| format!("id={i} x")).collect();
        let lines: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
        let filter = filter(&lines);
        let found = (10_000..20_000)
            .filter(|i| Needles::new(&[format!("={i} ").into_bytes()]).may_match(&filter));
        assert!(found.count() < 400);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn a_part_of_a_line_is_never_ruled_out(
            line in prop::collection::vec(prop::sample::select(b"ab_\xc3 =.1".to_vec()), 0..60),
            other in prop::collection::vec(any::<u8>(), 0..60),
            from in 0usize..60, len in 0usize..60,
        ) {
            let from = from.min(line.len());
            let to = (from + len).min(line.len());
            let needles = Needles::new(&[line[from..to].to_vec()]);
            assert!(needles.may_match(&filter(&[&line])));
            assert!(needles.may_match(&filter(&[&other, &line])));
        }
    }
}
