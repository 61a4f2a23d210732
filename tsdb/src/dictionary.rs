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

/// Where a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seek {
    /// With the next text.
    Next,
    /// Behind all texts that start with so many bytes of this one.
    Behind(usize),
    /// Nowhere.
    End,
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
        let runs = self.count.div_ceil(RUN);
        let low = self.last_run(0, runs, &mut |first| first <= from.as_bytes())?;
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

    /// Calls back with number and text, ascending, of texts that start with `prefix`. Where the
    /// callback says so, texts that start with so many bytes of the last one are passed by, whole
    /// runs of them without being read.
    pub(crate) fn search(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(usize, &str) -> Seek,
    ) -> Result<(), Corrupt> {
        let runs = self.count.div_ceil(RUN);
        let mut run = match self.count {
            0 => return Ok(()),
            _ => self.last_run(0, runs, &mut |first| first <= prefix.as_bytes())?,
        };
        let mut dead: Option<Vec<u8>> = None;
        let mut text = Vec::new();
        while run < runs {
            let mut reader = self.run(run)?;
            text.clear();
            for index in run * RUN..self.count.min((run + 1) * RUN) {
                let shared = reader.count(text.len())?;
                text.truncate(shared);
                text.extend_from_slice(reader.bytes(self.runs.len())?);
                if dead.as_ref().is_some_and(|dead| text.starts_with(dead)) {
                    continue;
                }
                let Ok(candidate) = std::str::from_utf8(&text) else {
                    return Err(reader.corrupt("a text in UTF-8 before here"));
                };
                if !candidate.starts_with(prefix) {
                    if candidate > prefix {
                        return Ok(());
                    }
                    continue;
                }
                match each(index, candidate) {
                    Seek::Next => {}
                    Seek::Behind(length) => dead = Some(text[..length.min(text.len())].to_vec()),
                    Seek::End => return Ok(()),
                }
            }
            run += 1;
            if let Some(dead) = &dead
                && run < runs
                && self.first(run)?.starts_with(dead)
            {
                run = self.last_run(run, runs, &mut |first| first.starts_with(dead))?;
            }
        }
        Ok(())
    }

    /// The last of some runs whose first text meets a condition, which no run behind one that does
    /// not meet it meets either; else the first run.
    fn last_run(
        &self,
        from: usize,
        to: usize,
        meets: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<usize, Corrupt> {
        let (mut low, mut high) = (from, to);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if meets(self.first(middle)?) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The first text of a run.
    fn first(&self, run: usize) -> Result<&'a [u8], Corrupt> {
        let mut reader = self.run(run)?;
        reader.varint()?;
        reader.bytes(self.runs.len())
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
    use obs_model::Pattern;
    use obs_model::automaton::Verdict;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SOURCES: [&str; 8] = [
        "[ab][0-9]+",
        "a.*",
        ".*7",
        "[^a]*",
        "(a|b)c?1.",
        "b{2}é*",
        "",
        ".+",
    ];

    #[test]
    fn what_cannot_match_is_not_read() {
        let texts = |i: u32| {
            format!(
                "{}-{:05}",
                ["dev", "prod", "test"][(i / 50_000) as usize],
                i % 50_000
            )
        };
        let texts: Vec<String> = (0..150_000).map(texts).collect();
        let mut bytes = Vec::new();
        encode(texts.iter().map(String::as_str), &mut bytes);
        let dictionary = Dictionary::open(&mut Reader::new("test", &bytes)).unwrap();
        let check = |source: &str, matches: usize, most: usize| {
            let pattern = Pattern::anchored(source).unwrap();
            let mut automaton = pattern.automaton().unwrap();
            let (mut found, mut read) = (0, 0);
            let searched = dictionary.search("", &mut |_, text| {
                read += 1;
                match automaton.read(text.as_bytes()) {
                    Verdict::Match => found += 1,
                    Verdict::Dead(length) => return Seek::Behind(length),
                    Verdict::Other | Verdict::Unknown => {}
                }
                Seek::Next
            });
            searched.unwrap();
            assert_eq!(found, matches, "{source}");
            assert!(read <= most, "{source}: {read} texts were read");
        };
        check("[^p]*-0001.", 20, 100_100);
        check("(?i)PROD-.*99", 500, 51_000);
        check("[a-d].*-1", 0, 50_010);
        check("[dt].{3,4}0[0-9]00[3-5]", 60, 30_000);
    }

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
        fn an_automaton_finds_what_the_expression_does(
            texts in prop::collection::btree_set("[abc]{0,2}[0-9é]{0,3}", 0..400),
            source in 0..SOURCES.len(),
        ) {
            let pattern = Pattern::anchored(SOURCES[source]).unwrap();
            let mut bytes = Vec::new();
            encode(texts.iter().map(String::as_str), &mut bytes);
            let dictionary = Dictionary::open(&mut Reader::new("test", &bytes)).unwrap();
            let mut automaton = pattern.automaton().unwrap();
            let mut found = Vec::new();
            dictionary.search("", &mut |number, text| match automaton.read(text.as_bytes()) {
                Verdict::Match => {
                    found.push(number);
                    Seek::Next
                }
                Verdict::Dead(length) => Seek::Behind(length),
                Verdict::Other | Verdict::Unknown => Seek::Next,
            }).unwrap();
            let naive = texts.iter().enumerate();
            let naive = naive.filter(|(_, text)| pattern.is_match(text.as_bytes()));
            let naive: Vec<usize> = naive.map(|(number, _)| number).collect();
            prop_assert_eq!(found, naive);
            // Beginnings bound the search from both sides.
            for prefix in ["", "a", "ab", "b1", "c", "zz"] {
                let mut seen = Vec::new();
                dictionary.search(prefix, &mut |_, text| {
                    seen.push(text.to_owned());
                    Seek::Next
                }).unwrap();
                let expect: Vec<_> = texts.iter().filter(|t| t.starts_with(prefix)).cloned().collect();
                prop_assert_eq!(seen, expect);
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
                    let mut seen = 0;
                    let result = dictionary.search(&text, &mut |_, text| {
                        seen += 1;
                        Seek::Behind(text.len())
                    });
                    prop_assert!(result.is_err() || seen <= dictionary.len());
                }
            }
        }
    }
}
