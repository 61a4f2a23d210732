//! A sorted list of distinct texts that is searched in its bytes: nothing is decoded to open it.
//!
//! Texts are front-coded in runs of 32; each run starts with a whole text and a table tells where
//! the runs start, so that a look-up is a binary search over runs and a walk through one.
//! Layout: varint number of texts, varint length of the runs, the runs, one u32 per run.

use obs_storage::Corrupt;
use obs_storage::codec::{Reader, put_bytes, varint};

use crate::record::put_front_coded;

/// Texts of one run: a look-up walks half of them; a run table entry costs 1/8 byte a text.
const RUN: usize = 32;

/// Appends a dictionary; the texts ascend strictly.
pub(crate) fn encode<'a>(texts: impl ExactSizeIterator<Item = &'a str>, out: &mut Vec<u8>) {
    varint::put(texts.len() as u64, out);
    let mut runs = Vec::new();
    let mut starts = Vec::new();
    let mut last = "";
    for (index, text) in texts.enumerate() {
        debug_assert!(index == 0 || last < text, "texts ascend");
        if index % RUN == 0 {
            starts.extend_from_slice(&(runs.len() as u32).to_le_bytes());
            put_front_coded(b"", text.as_bytes(), &mut runs);
        } else {
            put_front_coded(last.as_bytes(), text.as_bytes(), &mut runs);
        }
        last = text;
    }
    put_bytes(&runs, out);
    out.extend_from_slice(&starts);
}

/// A dictionary in its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dictionary<'a> {
    place: &'a str,
    count: usize,
    runs: &'a [u8],
    starts: &'a [u8],
}

impl<'a> Dictionary<'a> {
    /// Reads the frame of a dictionary; the texts are checked when they are read.
    pub(crate) fn open(reader: &mut Reader<'a>) -> Result<Self, Corrupt> {
        // A text takes at least two bytes of the runs.
        let count = reader.count(reader.remaining())?;
        let runs = reader.bytes(reader.remaining())?;
        let starts = reader.slice(count.div_ceil(RUN) * 4)?;
        Ok(Self {
            place: reader.place(),
            count,
            runs,
            starts,
        })
    }

    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The number of a text.
    pub(crate) fn find(&self, text: &str) -> Result<Option<usize>, Corrupt> {
        let mut found = None;
        self.walk(text, &mut |index, candidate| {
            if candidate == text {
                found = Some(index);
            }
            false
        })?;
        Ok(found)
    }

    /// Calls back with number and text, ascending, from the first text that is not below `from`;
    /// `false` from the callback ends it.
    pub(crate) fn walk(
        &self,
        from: &str,
        each: &mut dyn FnMut(usize, &str) -> bool,
    ) -> Result<(), Corrupt> {
        if self.count == 0 {
            return Ok(());
        }
        let (mut low, mut high) = (0, self.count.div_ceil(RUN));
        // The last run whose first text is not above `from`, else the first run.
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            let mut reader = self.run(middle)?;
            reader.varint()?;
            if reader.bytes(self.runs.len())? <= from.as_bytes() {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut reader = self.run(low)?;
        let mut text = Vec::new();
        for index in low * RUN..self.count {
            let kept = if index % RUN == 0 { 0 } else { text.len() };
            let shared = reader.count(kept)?;
            text.truncate(shared);
            text.extend_from_slice(reader.bytes(self.runs.len())?);
            let Ok(candidate) = std::str::from_utf8(&text) else {
                return Err(reader.corrupt("a text in UTF-8 before here"));
            };
            if candidate >= from && !each(index, candidate) {
                break;
            }
        }
        Ok(())
    }

    /// A reader at the start of a run.
    fn run(&self, run: usize) -> Result<Reader<'a>, Corrupt> {
        let mut table = Reader::new(self.place, &self.starts[run * 4..]);
        let start = table.u32()? as usize;
        let mut reader = Reader::new(self.place, self.runs);
        reader.slice(start)?;
        Ok(reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn searches_like_a_set(
            texts in prop::collection::btree_set("[abcé]{0,4}", 0..200),
            asked in prop::collection::vec("[abcé]{0,4}", 20),
        ) {
            let mut bytes = Vec::new();
            encode(texts.iter().map(String::as_str), &mut bytes);
            let mut reader = Reader::new("test", &bytes);
            let dictionary = Dictionary::open(&mut reader).unwrap();
            prop_assert!(reader.is_empty());
            prop_assert_eq!(dictionary.len(), texts.len());
            for text in texts.iter().chain(&asked) {
                let expect = texts.iter().position(|t| t == text);
                prop_assert_eq!(dictionary.find(text).unwrap(), expect);
                let mut above = BTreeSet::new();
                dictionary.walk(text, &mut |_, t| above.insert(t.to_owned())).unwrap();
                let expect: BTreeSet<_> = texts.range(text.clone()..).cloned().collect();
                prop_assert_eq!(above, expect);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, text: String, flip in any::<(usize, u8)>()) {
            let mut good = Vec::new();
            encode(["a", "ab", "b"].into_iter(), &mut good);
            let at = flip.0 % good.len();
            good[at] ^= flip.1;
            for bytes in [bytes, good] {
                if let Ok(dictionary) = Dictionary::open(&mut Reader::new("test", &bytes)) {
                    let mut seen = 0;
                    let result = dictionary.walk(&text, &mut |_, _| {
                        seen += 1;
                        true
                    });
                    prop_assert!(result.is_err() || seen <= dictionary.len());
                }
            }
        }
    }
}
