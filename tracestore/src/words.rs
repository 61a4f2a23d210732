//! A column of texts or runs of bytes in memory: distinct values, and which one each row has.
//!
//! Invariant: every code is below the number of stored values; a column that was built stores each
//! value once, in order of first use.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use obs_storage::codec::strings::{self, Strings};
use xxhash_rust::xxh3::xxh3_64;

/// A column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    codes: Vec<u32>,
}

impl From<Strings> for Words {
    fn from(strings: Strings) -> Self {
        let (bytes, ends, codes) = strings.into_parts();
        // A column has at most 2^20 rows.
        let codes = codes.unwrap_or_else(|| (0..ends.len() as u32).collect());
        Self { bytes, ends, codes }
    }
}

impl Words {
    /// Number of stored values.
    pub(crate) fn stored_len(&self) -> usize {
        self.ends.len()
    }

    /// A stored value.
    pub(crate) fn stored(&self, code: usize) -> &[u8] {
        let start = code.checked_sub(1).map_or(0, |c| self.ends[c]);
        &self.bytes[start as usize..self.ends[code] as usize]
    }

    /// The stored values in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.stored_len()).map(|code| self.stored(code))
    }

    /// Which stored value each row has.
    pub(crate) fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The value of a row.
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        self.stored(self.codes[row] as usize)
    }

    /// The text of a row, in a column of texts.
    pub(crate) fn text(&self, row: usize) -> &str {
        text(self.get(row))
    }

    /// Appends the column; it was built.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        strings::encode_coded(&self.all().collect::<Vec<_>>(), &self.codes, out);
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + 4 * (self.ends.len() + self.codes.len())
    }
}

/// A value of a column of texts.
pub(crate) fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).expect("columns of texts are checked when read and built of texts")
}

/// A column in the making.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    words: Words,
    /// Hashes and codes of the stored values.
    known: HashTable<(u64, u32)>,
    /// The code of the value that was asked for last.
    last: u32,
}

impl Builder {
    /// The next row has this value.
    pub(crate) fn push(&mut self, value: &[u8]) {
        let code = self.code(value);
        self.words.codes.push(code);
    }

    /// The code of a value.
    pub(crate) fn code(&mut self, value: &[u8]) -> u32 {
        if !self.words.ends.is_empty() && self.words.stored(self.last as usize) == value {
            return self.last;
        }
        let words = &mut self.words;
        let hash = xxh3_64(value);
        let same =
            |(other, code): &(u64, u32)| *other == hash && words.stored(*code as usize) == value;
        self.last = match self.known.entry(hash, same, |(hash, _)| *hash) {
            Entry::Occupied(known) => known.get().1,
            Entry::Vacant(empty) => {
                // A block is closed long before 2^32 bytes.
                let code = words.ends.len() as u32;
                words.bytes.extend_from_slice(value);
                words.ends.push(words.bytes.len() as u32);
                empty.insert((hash, code));
                code
            }
        };
        self.last
    }

    /// Takes over the row of another column; `map` has the codes that are known of its codes, or
    /// [`UNKNOWN`].
    pub(crate) fn copy(&mut self, from: &Words, row: usize, map: &mut Vec<u32>) {
        if map.is_empty() {
            map.resize(from.stored_len(), UNKNOWN);
        }
        let known = &mut map[from.codes[row] as usize];
        if *known == UNKNOWN {
            *known = self.code(from.get(row));
        }
        self.words.codes.push(*known);
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.words.codes.len()
    }

    /// Bytes of the stored values.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.words.bytes.len()
    }

    /// The column.
    pub(crate) fn finish(mut self) -> Words {
        self.words.bytes.shrink_to_fit();
        self.words.codes.shrink_to_fit();
        self.words
    }
}

/// A code that is not known yet.
pub(crate) const UNKNOWN: u32 = u32::MAX;
