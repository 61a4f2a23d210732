//! Labels: a sorted set of name/value pairs in one packed allocation.
//!
//! Layout: for each pair, in order of name: length of name, name, length of value, value.
//! A length is written in base 64 with a continuation bit, in bytes below 0x80, so that the whole
//! packing is valid UTF-8 and names and values can be sliced out without checking them again.
//! Invariants: names are unique and ascending; no value is empty (an empty value means "absent",
//! as in Prometheus); names are not empty.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A sorted, immutable set of labels; cloning copies a pointer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

/// Why bytes are not packed labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("labels are malformed at byte {offset}: {expected}")]
pub struct LabelsError {
    /// Where the fault is.
    pub offset: usize,
    /// What stands there in well-formed labels.
    pub expected: &'static str,
}

impl Labels {
    /// No labels.
    pub fn empty() -> Self {
        Self(Arc::from(""))
    }

    /// From pairs in any order; of equal names the last one wins, empty values are dropped.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// From pairs whose names ascend and that are not empty, without sorting or copying them one
    /// by one; the stores' decoders read labels in that order.
    pub fn from_sorted<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, LabelsError> {
        // Most sets fit, so that the text is copied once only.
        let mut text = String::with_capacity(128);
        let mut last = "";
        for (name, value) in pairs {
            // The empty name is not above any other, so this refuses it too.
            if name <= last || value.is_empty() {
                return Err(LabelsError {
                    offset: text.len(),
                    expected: "names in ascending order and values that are not empty",
                });
            }
            write_text(&mut text, name);
            write_text(&mut text, value);
            last = name;
        }
        Ok(Self(Arc::from(text)))
    }

    /// From the packing that [`Labels::packed`] gives. Checks everything.
    pub fn from_packed(bytes: &[u8]) -> Result<Self, LabelsError> {
        let fault = |offset, expected| LabelsError { offset, expected };
        let text =
            std::str::from_utf8(bytes).map_err(|e| fault(e.valid_up_to(), "labels in UTF-8"))?;
        let mut last: Option<&str> = None;
        let mut at = 0;
        while at < text.len() {
            let (name, next) =
                read_text(text, at).ok_or_else(|| fault(at, "a length and a name"))?;
            let (value, end) =
                read_text(text, next).ok_or_else(|| fault(next, "a length and a value"))?;
            if name.is_empty() || value.is_empty() {
                return Err(fault(at, "a name and a value that are not empty"));
            }
            if last.is_some_and(|l| l >= name) {
                return Err(fault(at, "names in ascending order"));
            }
            last = Some(name);
            at = end;
        }
        Ok(Self(Arc::from(text)))
    }

    /// The packing, for storage and hashing.
    pub fn packed(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The value of a label, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// The metric's name, if present.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// The pairs in ascending order of name.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter {
            text: &self.0,
            at: 0,
        }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// xxh3 of the packing; equal labels have equal hashes, on every machine and version.
    pub fn hash64(&self) -> u64 {
        xxh3_64(self.packed())
    }

    /// These labels without those for which `drop` says so.
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Self {
        let mut text = String::with_capacity(self.0.len());
        for (name, value) in self.iter().filter(|(n, _)| !drop(n)) {
            write_text(&mut text, name);
            write_text(&mut text, value);
        }
        Self(Arc::from(text))
    }

    /// A builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder {
            pairs: self
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

/// Prometheus' order: pair by pair, name before value; a prefix sorts first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As Prometheus prints label sets: `{a="1", b="x\"y"}`, names quoted where they need it.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_name(name) {
                write!(f, "{name}={value:?}")?;
            } else {
                write!(f, "{name:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a label name is of the old alphabet `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Iterator over the pairs of [`Labels`].
#[derive(Clone, Debug)]
pub struct LabelsIter<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, next) = read_text(self.text, self.at)?;
        let (value, end) = read_text(self.text, next)?;
        self.at = end;
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;
    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

/// Puts labels together; keeps the pairs sorted.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        let found = self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name));
        match (found, value.is_empty() || name.is_empty()) {
            (Ok(index), true) => {
                self.pairs.remove(index);
            }
            (Ok(index), false) => value.clone_into(&mut self.pairs[index].1),
            (Err(_), true) => {}
            (Err(index), false) => {
                self.pairs
                    .insert(index, (name.to_owned(), value.to_owned()));
            }
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value of a label, if set.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self
            .pairs
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .ok()?;
        Some(&self.pairs[index].1)
    }

    /// Keeps only the labels for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.pairs.retain(|(n, v)| keep(n, v));
    }

    /// The pairs so far, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Packs the labels.
    pub fn build(&self) -> Labels {
        let mut text = String::new();
        for (name, value) in &self.pairs {
            write_text(&mut text, name);
            write_text(&mut text, value);
        }
        Labels(Arc::from(text))
    }
}

/// Appends a base-64 length (six bits a byte, 0x40 = more follow) and the text.
fn write_text(out: &mut String, text: &str) {
    let mut rest = text.len();
    loop {
        let low = (rest & 0x3f) as u8;
        rest >>= 6;
        out.push(char::from(if rest == 0 { low } else { low | 0x40 }));
        if rest == 0 {
            break;
        }
    }
    out.push_str(text);
}

/// Reads a length and a text at `at`; gives the text and the offset behind it.
fn read_text(packed: &str, at: usize) -> Option<(&str, usize)> {
    let bytes = packed.as_bytes();
    let mut length = 0usize;
    let mut shift = 0;
    let mut next = at;
    loop {
        let byte = *bytes.get(next)?;
        next += 1;
        if byte >= 0x80 || shift > 30 {
            return None;
        }
        length |= usize::from(byte & 0x3f) << shift;
        shift += 6;
        if byte & 0x40 == 0 {
            break;
        }
    }
    let end = next.checked_add(length)?;
    Some((packed.get(next..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn packs_sorted_and_reads_back() {
        let long = "v".repeat(5000);
        let all = labels(&[
            ("b", "2"),
            ("a", "1"),
            ("é", "ü"),
            ("long", &long),
            ("gone", ""),
        ]);
        assert_eq!(
            all.iter().collect::<Vec<_>>(),
            [("a", "1"), ("b", "2"), ("long", long.as_str()), ("é", "ü")]
        );
        assert_eq!(Labels::from_packed(all.packed()), Ok(all.clone()));
        assert_eq!(Labels::from_sorted(all.iter()), Ok(all.clone()));
        assert!(Labels::from_sorted([("b", "1"), ("a", "1")]).is_err());
        assert!(Labels::from_sorted([("", "1")]).is_err());
        assert_eq!(all.get("b"), Some("2"));
        assert_eq!(all.get("gone"), None);
        assert_eq!(all.len(), 4);
        assert_eq!(all.without(|n| n != "a"), labels(&[("a", "1")]));
    }

    #[test]
    fn malformed_packings_are_refused() {
        for bytes in [
            &b"\x01"[..],
            b"\x01a",
            b"\x01a\x00",
            b"\x01b\x011\x01a\x011",
            b"\x01\xff\x01a",
            b"\x7fa",
        ] {
            assert!(Labels::from_packed(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn sorts_as_prometheus() {
        assert!(labels(&[("a", "1")]) < labels(&[("a", "1"), ("b", "1")]));
        assert!(labels(&[("a", "2")]) < labels(&[("b", "1")]));
        assert!(labels(&[("a", "10")]) < labels(&[("a", "9")]));
    }

    #[test]
    fn displays_like_prometheus() {
        assert_eq!(
            labels(&[("a.b", "x\"y"), ("c", "d")]).to_string(),
            r#"{"a.b"="x\"y", c="d"}"#
        );
    }
}
