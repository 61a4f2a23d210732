//! From matchers to streams: for each label name and value the set of streams that have it.
//!
//! Invariant: a stream is found exactly when all matchers hold for its labels, where an absent
//! label has the empty value.

use std::collections::BTreeMap;

use obs_model::{Labels, MatchOp, Matcher};
use obs_storage::Corrupt;
use roaring::RoaringBitmap;

/// The postings of a memory or of a part.
pub(crate) trait Postings {
    /// Streams are numbered from zero to this.
    fn stream_count(&self) -> u32;

    /// The streams that have the matcher's label with a value that it accepts (`accepted`) or
    /// refuses (`!accepted`). Streams without the label are in neither set.
    fn with_value(&self, matcher: &Matcher, accepted: bool) -> Result<RoaringBitmap, Corrupt>;
}

/// The streams for which all matchers hold.
pub(crate) fn resolve(
    postings: &dyn Postings,
    matchers: &[Matcher],
) -> Result<RoaringBitmap, Corrupt> {
    let mut found = RoaringBitmap::new();
    found.insert_range(0..postings.stream_count());
    for matcher in matchers {
        if found.is_empty() {
            break;
        }
        if matcher.matches("") {
            found -= postings.with_value(matcher, false)?;
        } else {
            found &= postings.with_value(matcher, true)?;
        }
    }
    Ok(found)
}

/// Which of a matcher's values can be looked up, ascending, so that not all must be tried.
pub(crate) fn lookups(matcher: &Matcher, accepted: bool) -> Option<Vec<&str>> {
    let positive = match matcher.op {
        MatchOp::Equal | MatchOp::Regex => accepted,
        MatchOp::NotEqual | MatchOp::NotRegex => !accepted,
    };
    if !positive {
        return None;
    }
    match matcher.pattern() {
        None => Some(vec![matcher.value.as_str()]),
        // A literal that is not UTF-8 is no label value.
        Some(pattern) => pattern.exact().map(|set| {
            let texts = set.iter().filter_map(|v| std::str::from_utf8(v).ok());
            texts.collect()
        }),
    }
}

/// Postings that grow stream by stream: of a memory, and of a part that is being written.
#[derive(Debug, Default)]
pub(crate) struct GrowingPostings {
    count: u32,
    names: BTreeMap<String, BTreeMap<String, RoaringBitmap>>,
}

impl GrowingPostings {
    /// Takes the next stream; gives its number.
    pub(crate) fn push(&mut self, labels: &Labels) -> u32 {
        let id = self.count;
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(name.to_owned(), BTreeMap::new());
            }
            let values = self.names.get_mut(name).expect("inserted just now");
            match values.get_mut(value) {
                Some(set) => {
                    set.insert(id);
                }
                None => {
                    values.insert(value.to_owned(), RoaringBitmap::from([id]));
                }
            }
        }
        self.count += 1;
        id
    }

    /// Names, values and streams, all in ascending order.
    pub(crate) fn names(&self) -> &BTreeMap<String, BTreeMap<String, RoaringBitmap>> {
        &self.names
    }
}

impl Postings for GrowingPostings {
    fn stream_count(&self) -> u32 {
        self.count
    }

    fn with_value(&self, matcher: &Matcher, accepted: bool) -> Result<RoaringBitmap, Corrupt> {
        let mut found = RoaringBitmap::new();
        let Some(values) = self.names.get(&matcher.name) else {
            return Ok(found);
        };
        if let Some(wanted) = lookups(matcher, accepted) {
            for set in wanted.into_iter().filter_map(|value| values.get(value)) {
                found |= set;
            }
            return Ok(found);
        }
        for (value, set) in values {
            if matcher.matches(value) == accepted {
                found |= set;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use obs_model::matcher::all_match;

    use super::*;

    #[test]
    fn finds_what_the_matchers_accept() {
        let streams = [
            Labels::from_pairs([("app", "a"), ("pod", "1")]),
            Labels::from_pairs([("app", "b")]),
            Labels::from_pairs([("pod", "2")]),
            Labels::empty(),
        ];
        let mut postings = GrowingPostings::default();
        for labels in &streams {
            postings.push(labels);
        }
        let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
        for name in ["app", "pod", "none"] {
            for op in [
                MatchOp::Equal,
                MatchOp::NotEqual,
                MatchOp::Regex,
                MatchOp::NotRegex,
            ] {
                for value in ["", "a", "1", "a|b", ".+", ".*", "[ab]|", "x"] {
                    let matchers = [
                        matcher(name, op, value),
                        matcher("pod", MatchOp::NotEqual, "9"),
                    ];
                    let found: Vec<u32> = resolve(&postings, &matchers).unwrap().iter().collect();
                    let expect = (0..4).filter(|i| all_match(&matchers, &streams[*i as usize]));
                    assert_eq!(found, expect.collect::<Vec<u32>>(), "{}", matchers[0]);
                }
            }
        }
    }
}
