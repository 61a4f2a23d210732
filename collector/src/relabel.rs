//! Relabelling: rules that rewrite, keep or drop label sets, with exactly Prometheus' meaning.
//! Pure; used for targets, for scraped samples and for tailed streams.
//!
//! Invariant: a [`Rule`] that exists is valid; applying it cannot fail.

use md5::{Digest, Md5};
use obs_model::{LabelsBuilder, Pattern};

/// What a rule does. Each variant carries all that it needs and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Sets the target to the expanded replacement when the regex matches.
    Replace {
        /// Name of the label, possibly with `$1`.
        target: String,
        /// Its value, with `$1`, `${name}`.
        replacement: String,
    },
    /// Keeps the set only when the regex matches.
    Keep,
    /// Drops the set when the regex matches.
    Drop,
    /// Keeps the set only when the source equals this label.
    KeepEqual(String),
    /// Drops the set when the source equals this label.
    DropEqual(String),
    /// Sets the target to the hash of the source, modulo.
    HashMod {
        /// Name of the label.
        target: String,
        /// Not zero.
        modulus: u64,
    },
    /// Copies every label whose name matches to the name that the replacement makes.
    LabelMap(String),
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets this label to the source in lower case.
    Lowercase(String),
    /// Sets this label to the source in upper case.
    Uppercase(String),
}

/// One step of a relabelling.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Labels whose values are joined to the source.
    pub source_labels: Vec<String>,
    /// What joins them.
    pub separator: String,
    /// Matched against the whole source (or label name).
    pub regex: Pattern,
    /// What to do.
    pub action: Action,
}

/// Applies the rules in order; `false` means that the set is dropped.
pub fn apply(rules: &[Rule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

/// Which rule drops a label set, and why; `None` where none does.
pub fn dropped_by(rules: &[Rule], labels: &mut LabelsBuilder) -> Option<(usize, String)> {
    for (place, rule) in rules.iter().enumerate() {
        let source = rule.source(labels);
        if rule.apply(labels) {
            continue;
        }
        let why = match &rule.action {
            Action::Keep => format!("action keep did not match {source:?}"),
            Action::KeepEqual(target) => {
                let found = labels.get(target).unwrap_or("");
                format!("action keepequal found {source:?}, and {found:?} in {target:?}")
            }
            Action::DropEqual(target) => {
                format!("action dropequal found {source:?}, also in {target:?}")
            }
            _ => format!("action drop matched {source:?}"),
        };
        return Some((place, why));
    }
    None
}

impl Rule {
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        match &self.action {
            Action::Keep => return self.matches(&self.source(labels)),
            Action::Drop => return !self.matches(&self.source(labels)),
            Action::KeepEqual(target) => {
                return self.source(labels) == labels.get(target).unwrap_or("");
            }
            Action::DropEqual(target) => {
                return self.source(labels) != labels.get(target).unwrap_or("");
            }
            Action::Replace {
                target,
                replacement,
            } => self.replace(labels, target, replacement),
            Action::HashMod { target, modulus } => {
                let hash = hash(&self.source(labels)) % modulus;
                labels.set(target, &hash.to_string());
            }
            Action::LabelMap(replacement) => self.map_names(labels, replacement),
            Action::LabelDrop => labels.retain(|name, _| !self.matches(name)),
            Action::LabelKeep => labels.retain(|name, _| self.matches(name)),
            Action::Lowercase(target) => {
                let value = self.source(labels).to_lowercase();
                labels.set(target, &value);
            }
            Action::Uppercase(target) => {
                let value = self.source(labels).to_uppercase();
                labels.set(target, &value);
            }
        }
        true
    }

    fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text.as_bytes())
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let mut source = String::new();
        for (index, name) in self.source_labels.iter().enumerate() {
            if index > 0 {
                source.push_str(&self.separator);
            }
            source.push_str(labels.get(name).unwrap_or(""));
        }
        source
    }

    fn replace(&self, labels: &mut LabelsBuilder, target: &str, replacement: &str) {
        let source = self.source(labels);
        let Some(captures) = self.regex.regex().captures(source.as_bytes()) else {
            return;
        };
        let expand = |template: &str| {
            let mut out = Vec::new();
            captures.expand(template.as_bytes(), &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        labels.set(&expand(target), &expand(replacement));
    }

    fn map_names(&self, labels: &mut LabelsBuilder, replacement: &str) {
        let mut mapped = Vec::new();
        for (name, value) in labels.iter() {
            if let Some(captures) = self.regex.regex().captures(name.as_bytes()) {
                let mut out = Vec::new();
                captures.expand(replacement.as_bytes(), &mut out);
                let name = String::from_utf8_lossy(&out).into_owned();
                mapped.push((name, value.to_owned()));
            }
        }
        for (name, value) in mapped {
            labels.set(&name, &value);
        }
    }
}

/// The last eight bytes of the MD5 sum as a big-endian number, as Prometheus shards targets.
fn hash(text: &str) -> u64 {
    let sum = Md5::digest(text.as_bytes());
    let mut tail = [0; 8];
    tail.copy_from_slice(&sum[8..16]);
    u64::from_be_bytes(tail)
}

#[cfg(test)]
mod tests;
