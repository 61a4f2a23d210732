//! One line on its way through a pipeline, with its labels in three layers.
//!
//! Invariant: a name is looked up in what the pipeline made, then in the stream's labels, then in
//! the structured metadata; what a lower layer holds under a taken name is called
//! `<name>_extracted`, so that no layer hides another. A label may be there and empty: answers do
//! not show it, but conditions on numbers do not read it as absent.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use obs_model::{Labels, Timestamp};

/// The label that says that a stage failed.
pub(crate) const ERROR: &str = "__error__";
/// The label that says why.
pub(crate) const ERROR_DETAILS: &str = "__error_details__";
/// Stands behind the name of a label that is taken.
pub(crate) const EXTRACTED: &str = "_extracted";

/// From this many labels on, names are found by hash.
const HASHED_FROM: usize = 32;

/// Labels that the pipeline made; names are unique.
#[derive(Debug, Default)]
struct Made {
    pairs: Vec<(String, String)>,
    /// Places by name, where there are many.
    places: HashMap<String, usize>,
}

impl Made {
    fn find(&self, name: &str) -> Option<usize> {
        match self.pairs.len() < HASHED_FROM {
            true => self.pairs.iter().position(|(n, _)| n == name),
            false => self.places.get(name).copied(),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        Some(&self.pairs[self.find(name)?].1)
    }

    fn set(&mut self, name: &str, value: String) {
        match self.find(name) {
            Some(place) => self.pairs[place].1 = value,
            None => {
                self.pairs.push((name.to_owned(), value));
                match self.pairs.len() {
                    HASHED_FROM => self.hash(),
                    length if length > HASHED_FROM => {
                        self.places.insert(name.to_owned(), length - 1);
                    }
                    _ => {}
                }
            }
        }
    }

    fn hash(&mut self) {
        let names = self.pairs.iter().enumerate();
        self.places = names.map(|(at, (name, _))| (name.clone(), at)).collect();
    }

    /// Keeps what the test says, and gives the names of the rest.
    fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> Vec<String> {
        let all = std::mem::take(&mut self.pairs);
        let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|(n, v)| keep(n, v));
        self.pairs = kept;
        if self.pairs.len() >= HASHED_FROM {
            self.hash();
        }
        gone.into_iter().map(|(name, _)| name).collect()
    }
}

/// A line and its labels.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) line: Cow<'a, [u8]>,
    time: Timestamp,
    stream: &'a Labels,
    metadata: &'a Labels,
    /// Names that parsers need to find, sorted; all where there are none.
    wanted: Option<&'a [String]>,
    made: Made,
    /// Names of the stream and the metadata that the pipeline took away.
    removed: Vec<String>,
    /// Names that the pipeline made and took away; parsers do not make them again.
    gone: HashSet<String>,
    error: &'static str,
    details: String,
}

impl<'a> Row<'a> {
    pub(crate) fn new(
        line: &'a [u8],
        time: Timestamp,
        stream: &'a Labels,
        metadata: &'a Labels,
        wanted: Option<&'a [String]>,
    ) -> Self {
        Self {
            line: Cow::Borrowed(line),
            time,
            stream,
            metadata,
            wanted,
            made: Made::default(),
            removed: Vec::new(),
            gone: HashSet::new(),
            error: "",
            details: String::new(),
        }
    }

    /// When the line was.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }

    /// The value of a label; `None` where it is absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match name {
            ERROR => return (!self.error.is_empty()).then_some(self.error),
            ERROR_DETAILS => return (!self.details.is_empty()).then_some(&self.details),
            _ => {}
        }
        if let Some(value) = self.made.get(name) {
            return Some(value);
        }
        if self.removed.iter().any(|n| n == name) {
            return None;
        }
        self.stream.get(name).or_else(|| self.in_metadata(name))
    }

    /// The value in the structured metadata, under the name that it has here.
    fn in_metadata(&self, name: &str) -> Option<&str> {
        if self.metadata.is_empty() {
            return None;
        }
        if let Some(value) = self.metadata.get(name) {
            return self.stream.get(name).is_none().then_some(value);
        }
        let plain = name.strip_suffix(EXTRACTED)?;
        self.stream
            .get(plain)
            .and_then(|_| self.metadata.get(plain))
    }

    /// Sets a label, whatever layer held it.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.made.set(name, value);
    }

    /// The name that a parser gives to what it found: labels of the stream, even removed ones, and
    /// of the metadata keep theirs. `None` where the label is known already or not needed.
    fn name_for<'n>(&self, name: &'n str) -> Option<Cow<'n, str>> {
        if name.is_empty() {
            return None;
        }
        let mut name = Cow::Borrowed(name);
        let taken = self.stream.get(&name).is_some()
            || self.in_metadata(&name).is_some() && !self.is_changed(&name);
        if taken {
            name.to_mut().push_str(EXTRACTED);
        }
        let wanted = self
            .wanted
            .is_none_or(|all| all.binary_search_by(|n| n.as_str().cmp(&name)).is_ok());
        (wanted && !self.gone.contains(&*name)).then_some(name)
    }

    /// Sets a label that a parser found; the first value of a name wins.
    pub(crate) fn extract(&mut self, name: &str, value: &str) {
        if let Some(name) = self.name_for(name)
            && self.made.find(&name).is_none()
        {
            self.made.set(&name, value.to_owned());
        }
    }

    /// Sets a label that the query asked a parser for by name; the last value wins.
    pub(crate) fn assign(&mut self, name: &str, value: &str) {
        if let Some(name) = self.name_for(name) {
            self.made.set(&name, value.to_owned());
        }
    }

    /// Whether parsers have nothing to do: no label is needed, or each is there.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.wanted
            .is_some_and(|all| all.iter().all(|name| self.made.find(name).is_some()))
    }

    /// Takes a label away.
    pub(crate) fn remove(&mut self, name: &str) {
        match name {
            ERROR => self.error = "",
            ERROR_DETAILS => self.details.clear(),
            _ => {
                if self.made.find(name).is_some() {
                    let gone = self.made.retain(|n, _| n != name);
                    self.gone.extend(gone);
                }
                self.remove_base(name);
            }
        }
    }

    fn remove_base(&mut self, name: &str) {
        let base = self.stream.get(name).is_some() || self.in_metadata(name).is_some();
        if base && !self.removed.iter().any(|n| n == name) {
            self.removed.push(name.to_owned());
        }
    }

    /// Takes away all labels that the test refuses; errors stay.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let base: Vec<String> = {
            let stream = self.stream.iter().map(|(n, v)| (Cow::Borrowed(n), v));
            stream
                .chain(self.metadata_pairs())
                .filter(|(name, value)| !self.is_changed(name) && !keep(name, value))
                .map(|(name, _)| name.into_owned())
                .collect()
        };
        let gone = self.made.retain(keep);
        for name in base.iter().chain(&gone) {
            self.remove_base(name);
        }
        self.gone.extend(gone);
    }

    /// Notes that a stage failed; the line goes on.
    pub(crate) fn fail(&mut self, error: &'static str, details: impl Into<String>) {
        self.error = error;
        self.details = details.into();
    }

    pub(crate) fn error(&self) -> &'static str {
        self.error
    }

    /// All labels from all layers, in no order.
    pub(crate) fn pairs(&self) -> Vec<(Cow<'_, str>, &str)> {
        let stream = self.stream.iter().map(|(n, v)| (Cow::Borrowed(n), v));
        let base = stream
            .chain(self.metadata_pairs())
            .filter(|(name, _)| !self.is_changed(name));
        let made = self.made.pairs.iter();
        let made = made.map(|(n, v)| (Cow::Borrowed(n.as_str()), v.as_str()));
        base.chain(made).chain(self.errors()).collect()
    }

    fn errors(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        [(ERROR, self.error), (ERROR_DETAILS, &*self.details)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (Cow::Borrowed(name), value))
    }

    /// The structured metadata under the names that it has here.
    fn metadata_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        self.metadata.iter().map(|(name, value)| {
            if self.stream.get(name).is_some() {
                (Cow::Owned(format!("{name}{EXTRACTED}")), value)
            } else {
                (Cow::Borrowed(name), value)
            }
        })
    }

    fn is_changed(&self, name: &str) -> bool {
        self.removed.iter().any(|n| n == name) || self.made.find(name).is_some()
    }

    fn is_plain(&self) -> bool {
        self.made.pairs.is_empty() && self.removed.is_empty()
    }

    /// What is left of the stream's labels.
    pub(crate) fn stream_labels(&self) -> Labels {
        if self.is_plain() {
            return self.stream.clone();
        }
        self.stream.without(|name| self.is_changed(name))
    }

    /// What is left of the structured metadata.
    pub(crate) fn metadata_labels(&self) -> Labels {
        let apart = || {
            let mut names = self.metadata.iter();
            names.all(|(n, _)| self.stream.get(n).is_none())
        };
        if self.metadata.is_empty() || self.is_plain() && apart() {
            return self.metadata.clone();
        }
        labels(
            self.metadata_pairs()
                .filter(|(n, _)| !self.is_changed(n))
                .collect(),
        )
    }

    /// What the pipeline made, with the error labels.
    pub(crate) fn parsed_labels(&self) -> Labels {
        if self.made.pairs.is_empty() && self.error.is_empty() && self.details.is_empty() {
            return Labels::empty();
        }
        let made = self.made.pairs.iter();
        let made = made.map(|(n, v)| (Cow::Borrowed(n.as_str()), v.as_str()));
        labels(made.chain(self.errors()).collect())
    }

    /// All labels but those that `drop` names, in one set.
    pub(crate) fn labels_without(&self, drop: impl Fn(&str) -> bool) -> Labels {
        let plain = self.is_plain() && self.error.is_empty() && self.details.is_empty();
        if plain && self.metadata.is_empty() {
            return match self.stream.iter().any(|(name, _)| drop(name)) {
                true => self.stream.without(drop),
                false => self.stream.clone(),
            };
        }
        let mut pairs = self.pairs();
        pairs.retain(|(name, _)| !drop(name));
        labels(pairs)
    }

    /// Only the labels named.
    pub(crate) fn labels_of(&self, names: &[String]) -> Labels {
        let named = names.iter();
        let pairs = named.filter_map(|name| Some((Cow::Borrowed(name.as_str()), self.get(name)?)));
        labels(pairs.collect())
    }
}

/// Labels in any order as a set, without empty ones; of equal names the first counts.
fn labels(mut pairs: Vec<(Cow<'_, str>, &str)>) -> Labels {
    pairs.retain(|(name, value)| !name.is_empty() && !value.is_empty());
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs.dedup_by(|(later, _), (first, _)| later == first);
    let sorted = pairs.iter().map(|(name, value)| (name.as_ref(), *value));
    Labels::from_sorted(sorted).expect("sorted, unique and not empty")
}

/// A key of a line as a label name: other characters become `_`, a leading digit gets one before.
pub(crate) fn sanitize(key: &str) -> Cow<'_, str> {
    let key = key.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let digit = key.starts_with(|c: char| c.is_ascii_digit());
    if !digit && key.chars().all(fine) {
        return Cow::Borrowed(key);
    }
    let mut out = String::with_capacity(key.len() + 1);
    if digit {
        out.push('_');
    }
    out.extend(key.chars().map(|c| if fine(c) { c } else { '_' }));
    Cow::Owned(out)
}

/// A text without what was not UTF-8, as Loki shows it: a space stands for it.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    match text.contains('\u{fffd}') {
        true => Cow::Owned(text.replace('\u{fffd}', " ")),
        false => Cow::Borrowed(text),
    }
}
