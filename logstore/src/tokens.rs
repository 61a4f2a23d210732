//! The tokens of a group of rows, and what a searched text needs of them.
//!
//! A token is made of a maximal run of letters and digits (see [`crate::lines::split`]): of a run
//! of letters the whole *word*; of a name with a number or a number with a unit the letters; of
//! any other mixture the whole *identifier*; of digits nothing. Words and the trigrams of
//! identifiers go into the part's index, identifiers themselves, or windows of long ones, into a
//! filter of the group.
//! Invariant: a group with a line, or a metadata value, that holds the text is never ruled out.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::filter::FilterBuilder;
use crate::lines::split::{Run, classify, in_run, is_marker};

/// Longest run that is looked up. Words that are twice as long are told in windows of that length
/// which overlap by half, so that each text of this length stands in one. Small in tests.
const TOKEN_BYTES_MAX: usize = if cfg!(test) { 6 } else { 128 };
/// Identifiers that are so long are in the filter by windows: each [`WINDOW`] bytes from their
/// begin on. Small in tests; the same for windows.
const WINDOWED_MIN: usize = if cfg!(test) { 4 } else { 18 };
/// Bytes of a window.
const WINDOW: usize = if cfg!(test) { 2 } else { 6 };
/// A text that is so long has a whole window of an identifier that holds it, wherever it stands.
const WINDOWS_MIN: usize = 2 * WINDOW - 1;

/// Three bytes of an identifier.
pub(crate) type Trigram = [u8; 3];

/// Calls `visit` for each run of letters and digits with its offset.
fn for_runs<'a>(text: &'a [u8], mut visit: impl FnMut(usize, &'a [u8])) {
    let mut at = 0;
    while at < text.len() {
        if !in_run(text[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < text.len() && in_run(text[at]) {
            at += 1;
        }
        visit(start, &text[start..at]);
    }
}

/// Words, each once.
#[derive(Default)]
pub(crate) struct Words {
    all: Vec<Vec<u8>>,
    places: HashTable<(u64, u32)>,
}

impl Words {
    fn insert(&mut self, word: &[u8]) {
        let hash = xxh3_64(word);
        let same = |(known, at): &(u64, u32)| *known == hash && self.all[*at as usize] == word;
        if self.places.find(hash, same).is_none() {
            // Words of a group have more than a byte each, and lines less than 4 GiB.
            let at = self.all.len() as u32;
            self.places
                .insert_unique(hash, (hash, at), |(hash, _)| *hash);
            self.all.push(word.to_vec());
        }
    }

    /// Takes all words out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.places.clear();
        self.all.drain(..)
    }
}

/// Trigrams, each once: a bit for each that there can be.
#[derive(Default)]
pub(crate) struct Trigrams {
    bits: Vec<u64>,
    all: Vec<Trigram>,
}

impl Trigrams {
    fn insert(&mut self, trigram: Trigram) {
        if self.bits.is_empty() {
            self.bits = vec![0; 1 << 18];
        }
        let (word, bit) = Self::place(trigram);
        if self.bits[word] & bit == 0 {
            self.bits[word] |= bit;
            self.all.push(trigram);
        }
    }

    fn place([a, b, c]: Trigram) -> (usize, u64) {
        let number = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (number / 64, 1 << (number % 64))
    }

    /// Takes all trigrams out.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(Trigram)) {
        for trigram in self.all.drain(..) {
            let (word, bit) = Self::place(trigram);
            self.bits[word] &= !bit;
            take(trigram);
        }
    }
}

/// What the lines and metadata of a group hold.
#[derive(Default)]
pub(crate) struct GroupTokens {
    pub(crate) words: Words,
    pub(crate) filter: FilterBuilder,
    pub(crate) trigrams: Trigrams,
    /// Lengths of identifiers.
    pub(crate) lengths: HashSet<u8>,
    /// Whether a line may have letters that are escaped, as JSON allows.
    pub(crate) escapes: bool,
}

impl GroupTokens {
    /// Takes a text that stands alone or between bytes that are no letters and digits.
    pub(crate) fn add(&mut self, text: &[u8]) {
        for_runs(text, |_, run| match classify(run) {
            Run::Letters => self.word(run),
            Run::Numbered(letters) => self.word(&run[..letters]),
            Run::Measured(digits) => self.word(&run[digits..]),
            Run::Mixed => self.id(run),
            Run::Digits => {}
        });
    }

    /// Takes what all lines of a template share; markers end runs. The letters beside a number
    /// are then a run of their own, as they should be.
    pub(crate) fn add_template(&mut self, template: &[u8]) {
        for text in template.split(|byte| is_marker(*byte)) {
            self.add(text);
        }
    }

    fn word(&mut self, word: &[u8]) {
        let window = 2 * TOKEN_BYTES_MAX;
        if word.len() <= window {
            return self.words.insert(word);
        }
        let last = word.len() - window;
        let starts = (0..last).step_by(TOKEN_BYTES_MAX).chain([last]);
        starts.for_each(|start| self.words.insert(&word[start..start + window]));
    }

    fn id(&mut self, id: &[u8]) {
        let is_new = match id.len() < WINDOWED_MIN {
            true => self.filter.id(id),
            false => self.filter.windows(id, windows(id)),
        };
        if !is_new {
            return;
        }
        self.lengths.insert(length(id.len()));
        id.windows(3)
            .for_each(|w| self.trigrams.insert([w[0], w[1], w[2]]));
    }
}

/// The hashes of the windows of an identifier, or of a text from where one begins.
fn windows(text: &[u8]) -> impl Iterator<Item = u64> {
    text.chunks_exact(WINDOW).map(xxh3_64)
}

/// A length as it is told; all from 255 on count as that.
fn length(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// What can make a group hold a run of a searched text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A word with these letters.
    Word {
        text: Vec<u8>,
        /// Whether the word begins, and ends, with them.
        begins: bool,
        ends: bool,
    },
    /// The identifier with this hash.
    Id(u64),
    /// An identifier of such a length with these trigrams.
    IdWith {
        lengths: RangeInclusive<u8>,
        trigrams: Vec<Trigram>,
    },
    /// An identifier of such a length that is in the filter by windows: in one of the ways that the
    /// text can lie across them all of these are there.
    Windowed {
        lengths: RangeInclusive<u8>,
        trigrams: Vec<Trigram>,
        /// Of the text, for parts whose filters have whole identifiers only; those have longer ones
        /// by length and trigrams.
        id: u64,
        windows: Vec<Vec<u64>>,
    },
    /// Escaped letters.
    Escapes,
}

/// One of the causes must be there.
pub(crate) type Need = Vec<Cause>;

/// What a group needs so that a line of it can hold all the texts.
pub(crate) fn needs(texts: &[Vec<u8>]) -> Vec<Need> {
    let mut all: Vec<Need> = Vec::new();
    for text in texts {
        for_runs(text, |start, run| {
            let bounded = (start > 0, start + run.len() < text.len());
            if let Some(need) = need(run, bounded)
                && !all.contains(&need)
            {
                all.push(need);
            }
        });
    }
    all
}

/// What a group needs so that a label of a line of it can have this value: the value stands in the
/// metadata or in the line, there perhaps with letters written as `\u0041`.
pub(crate) fn needs_of_value(value: &str) -> Vec<Need> {
    let mut all = needs(&[value.as_bytes().to_vec()]);
    all.iter_mut().for_each(|need| need.push(Cause::Escapes));
    all
}

/// The causes for a run; `bounded` tells whether the line's run begins and ends with it. `None`
/// for digits alone, which are no tokens.
fn need(run: &[u8], bounded: (bool, bool)) -> Option<Need> {
    let whole = bounded == (true, true);
    let (begins, ends) = bounded;
    let word = |text: &[u8], begins: bool, ends: bool| Cause::Word {
        text: text.to_vec(),
        begins,
        ends,
    };
    let mut causes = match classify(run) {
        Run::Digits => return None,
        Run::Letters => vec![word(run, begins, ends)],
        Run::Numbered(letters) => vec![word(&run[..letters], begins, true)],
        Run::Measured(digits) => vec![word(&run[digits..], true, ends)],
        Run::Mixed => {
            let mut causes = Vec::new();
            if run.len() < WINDOWED_MIN {
                causes.push(Cause::Id(xxh3_64(run)));
            } else if whole {
                let own = length(run.len());
                causes.push(windowed(run, own..=own, true));
            }
            if !whole {
                causes.extend(split_once(run).map(|(letters, first)| match first {
                    true => word(letters, begins, true),
                    false => word(letters, true, ends),
                }));
            }
            causes
        }
    };
    if !whole {
        causes.extend(longer(run, begins));
    }
    // A longer text need not stand in one window of a word.
    let told = run.len() <= TOKEN_BYTES_MAX;
    told.then_some(causes)
}

/// The causes for a run that is a part of an identifier, or a long one itself.
fn longer(run: &[u8], begins: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let with = |lengths| Cause::IdWith {
        lengths,
        trigrams: trigrams(run),
    };
    // Where windows begin, lengths are small numbers.
    let windowed_min = WINDOWED_MIN as u8;
    let from = length(run.len() + 1);
    if from < windowed_min {
        causes.push(with(from..=windowed_min - 1));
    }
    let from = length(run.len()).max(windowed_min);
    causes.push(match run.len() < WINDOWS_MIN {
        true => with(from..=u8::MAX),
        false => windowed(run, from..=u8::MAX, begins),
    });
    causes
}

fn windowed(run: &[u8], lengths: RangeInclusive<u8>, begins: bool) -> Cause {
    let offsets = if begins { 1 } else { WINDOW };
    let text = |offset: usize| windows(run.get(offset..).unwrap_or_default());
    Cause::Windowed {
        lengths,
        trigrams: trigrams(run),
        id: xxh3_64(run),
        windows: (0..offsets).map(|offset| text(offset).collect()).collect(),
    }
}

fn trigrams(run: &[u8]) -> Vec<Trigram> {
    run.windows(3).map(|w| [w[0], w[1], w[2]]).collect()
}

/// The letters of a run of letters then digits (`true`), or of digits then letters: with more
/// bytes around it such a run may be a name with a number, or a number with a unit.
fn split_once(run: &[u8]) -> Option<(&[u8], bool)> {
    let is_digit = run[0].is_ascii_digit();
    let at = run.iter().position(|b| b.is_ascii_digit() != is_digit)?;
    let pure = run[at..].iter().all(|b| b.is_ascii_digit() != is_digit);
    pure.then(|| match is_digit {
        true => (&run[at..], false),
        false => (&run[..at], true),
    })
}
