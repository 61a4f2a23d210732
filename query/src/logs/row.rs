//! One line on its way through a pipeline, with its labels in three layers.
//!
//! Invariant: a name is looked up in what the pipeline made, then in the stream's labels, then in
//! the structured metadata; what a lower layer holds under a taken name is called
//! `<name>_extracted`, so that no layer hides another.

use std::borrow::Cow;

use obs_model::{Labels, LabelsBuilder, Timestamp};

/// The label that says that a stage failed.
pub(crate) const ERROR: &str = "__error__";
/// The label that says why.
pub(crate) const ERROR_DETAILS: &str = "__error_details__";
const EXTRACTED: &str = "_extracted";

/// A line and its labels.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) line: Cow<'a, [u8]>,
    time: Timestamp,
    stream: &'a Labels,
    metadata: &'a Labels,
    /// Names that parsers need to find, sorted; all where there are none.
    wanted: Option<&'a [String]>,
    /// What the pipeline made; names are unique.
    parsed: Vec<(String, String)>,
    /// Names of the stream and the metadata that the pipeline took away.
    removed: Vec<String>,
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
            parsed: Vec::new(),
            removed: Vec::new(),
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
        if let Some((_, value)) = self.parsed.iter().find(|(n, _)| n == name) {
            return Some(value);
        }
        if self.removed.iter().any(|n| n == name) {
            return None;
        }
        self.base(name)
    }

    /// The value that came with the record.
    fn base(&self, name: &str) -> Option<&str> {
        if let Some(value) = self.stream.get(name) {
            return Some(value);
        }
        if self.metadata.is_empty() {
            return None;
        }
        if let Some(value) = self.metadata.get(name) {
            return Some(value);
        }
        let plain = name.strip_suffix(EXTRACTED)?;
        self.stream
            .get(plain)
            .and_then(|_| self.metadata.get(plain))
    }

    /// Sets a label, whatever layer held it.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        match self.parsed.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.parsed.push((name.to_owned(), value)),
        }
    }

    /// Sets a label that a parser found: labels of the record keep their names, and the first
    /// value of a name wins.
    pub(crate) fn extract(&mut self, name: &str, value: &str) {
        if name.is_empty() {
            return;
        }
        let mut name = Cow::Borrowed(name);
        if !self.removed.iter().any(|n| *n == name) && self.base(&name).is_some() {
            name.to_mut().push_str(EXTRACTED);
            if self.base(&name).is_some() {
                return;
            }
        }
        let wanted = self
            .wanted
            .is_none_or(|all| all.binary_search_by(|n| n.as_str().cmp(&name)).is_ok());
        if wanted && !self.parsed.iter().any(|(n, _)| *n == name) {
            self.parsed.push((name.into_owned(), value.to_owned()));
        }
    }

    /// Takes a label away.
    pub(crate) fn remove(&mut self, name: &str) {
        match name {
            ERROR => self.error = "",
            ERROR_DETAILS => self.details.clear(),
            _ => {
                self.parsed.retain(|(n, _)| n != name);
                if self.base(name).is_some() && !self.removed.iter().any(|n| n == name) {
                    self.removed.push(name.to_owned());
                }
            }
        }
    }

    /// Notes that a stage failed; the line goes on.
    pub(crate) fn fail(&mut self, error: &'static str, details: impl Into<String>) {
        self.error = error;
        self.details = details.into();
    }

    pub(crate) fn error(&self) -> &'static str {
        self.error
    }

    /// Every label's name, from all layers.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.parsed.iter().map(|(n, _)| n.clone()).collect();
        let base = self.stream.iter().map(|(n, _)| Cow::Borrowed(n));
        for name in base.chain(self.metadata_pairs().map(|(n, _)| n)) {
            if !names.iter().any(|n| *n == name) && !self.removed.iter().any(|n| *n == name) {
                names.push(name.into_owned());
            }
        }
        names
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
        self.removed.iter().any(|n| n == name) || self.parsed.iter().any(|(n, _)| n == name)
    }

    /// What is left of the stream's labels.
    pub(crate) fn stream_labels(&self) -> Labels {
        if self.parsed.is_empty() && self.removed.is_empty() {
            return self.stream.clone();
        }
        self.stream.without(|name| self.is_changed(name))
    }

    /// What is left of the structured metadata.
    pub(crate) fn metadata_labels(&self) -> Labels {
        let plain = self.parsed.is_empty() && self.removed.is_empty();
        if plain
            && self
                .metadata
                .iter()
                .all(|(n, _)| self.stream.get(n).is_none())
        {
            return self.metadata.clone();
        }
        Labels::from_pairs(self.metadata_pairs().filter(|(n, _)| !self.is_changed(n)))
    }

    /// What the pipeline made, with the error labels.
    pub(crate) fn parsed_labels(&self) -> Labels {
        if self.parsed.is_empty() && self.error.is_empty() {
            return Labels::empty();
        }
        let mut builder = LabelsBuilder::default();
        for (name, value) in &self.parsed {
            builder.set(name, value);
        }
        self.error_labels(&mut builder);
        builder.build()
    }

    fn error_labels(&self, builder: &mut LabelsBuilder) {
        builder.set(ERROR, self.error);
        builder.set(ERROR_DETAILS, &self.details);
    }

    /// All labels but those that `drop` names, in one set.
    pub(crate) fn labels_without(&self, drop: impl Fn(&str) -> bool) -> Labels {
        let plain = self.parsed.is_empty() && self.removed.is_empty() && self.error.is_empty();
        if plain && self.metadata.is_empty() {
            return self.stream.without(drop);
        }
        let mut builder = LabelsBuilder::default();
        for (name, value) in self.stream.iter().filter(|(n, _)| !self.is_changed(n)) {
            builder.set(name, value);
        }
        for (name, value) in self.metadata_pairs().filter(|(n, _)| !self.is_changed(n)) {
            builder.set(&name, value);
        }
        for (name, value) in &self.parsed {
            builder.set(name, value);
        }
        self.error_labels(&mut builder);
        builder.retain(|name, _| !drop(name));
        builder.build()
    }

    /// Only the labels named.
    pub(crate) fn labels_of(&self, names: &[String]) -> Labels {
        let mut builder = LabelsBuilder::default();
        for name in names {
            builder.set(name, self.get(name).unwrap_or(""));
        }
        builder.build()
    }
}

/// A key of a line as a label name: other characters become `_`, a leading digit gets one before.
pub(crate) fn sanitize(key: &str) -> Cow<'_, str> {
    let key = key.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
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
