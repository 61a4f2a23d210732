//! `relabel_configs` entries of the configuration, checked as Prometheus checks them.

use serde::Deserialize;
use serde::de::Deserializer;

use super::values::{Regex, checked_map, from_text};
use crate::relabel::{Action, Rule};
use obs_model::Pattern;

/// One entry of `relabel_configs` or `metric_relabel_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct RelabelConfig(Rule);

impl RelabelConfig {
    /// The rule.
    pub fn into_rule(self) -> Rule {
        self.0
    }
}

impl<'de> Deserialize<'de> for RelabelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked_map(deserializer, |raw: Raw| raw.check().map(Self))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    source_labels: Vec<String>,
    separator: Option<String>,
    target_label: String,
    regex: Option<Regex>,
    modulus: u64,
    replacement: Option<String>,
    action: Word,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: None,
            target_label: String::new(),
            regex: None,
            modulus: 0,
            replacement: None,
            action: Word::Replace,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

const WORDS: [(&str, Word); 11] = [
    ("replace", Word::Replace),
    ("keep", Word::Keep),
    ("drop", Word::Drop),
    ("keepequal", Word::KeepEqual),
    ("dropequal", Word::DropEqual),
    ("hashmod", Word::HashMod),
    ("labelmap", Word::LabelMap),
    ("labeldrop", Word::LabelDrop),
    ("labelkeep", Word::LabelKeep),
    ("lowercase", Word::Lowercase),
    ("uppercase", Word::Uppercase),
];

impl Word {
    fn as_str(self) -> &'static str {
        WORDS
            .iter()
            .find(|(_, word)| *word == self)
            .map_or("", |(text, _)| text)
    }

    fn needs_target(self) -> bool {
        matches!(
            self,
            Self::Replace
                | Self::HashMod
                | Self::Lowercase
                | Self::Uppercase
                | Self::KeepEqual
                | Self::DropEqual
        )
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a relabel action", |text| {
            let lower = text.to_ascii_lowercase();
            let found = WORDS.iter().find(|(name, _)| *name == lower);
            found.map(|(_, word)| *word).ok_or_else(|| {
                let names: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
                format!(
                    "unknown relabel action {text:?}, expected one of {}",
                    names.join(", ")
                )
            })
        })
    }
}

impl Raw {
    fn check(self) -> Result<Rule, String> {
        let word = self.action.as_str();
        if self.action.needs_target() && self.target_label.is_empty() {
            return Err(format!(
                "relabel configuration for {word} action requires 'target_label' value"
            ));
        }
        self.check_foreign_fields()?;
        let replacement = self.replacement.unwrap_or_else(|| "$1".to_owned());
        let target = self.target_label;
        let action = match self.action {
            Word::Replace => Action::Replace {
                target,
                replacement,
            },
            Word::Keep => Action::Keep,
            Word::Drop => Action::Drop,
            Word::KeepEqual => Action::KeepEqual(target),
            Word::DropEqual => Action::DropEqual(target),
            Word::HashMod if self.modulus == 0 => {
                return Err(
                    "relabel configuration for hashmod requires non-zero modulus".to_owned(),
                );
            }
            Word::HashMod => Action::HashMod {
                target,
                modulus: self.modulus,
            },
            Word::LabelMap if replacement.is_empty() => {
                return Err("\"\" is invalid 'replacement' for labelmap action".to_owned());
            }
            Word::LabelMap => Action::LabelMap(replacement),
            Word::LabelDrop => Action::LabelDrop,
            Word::LabelKeep => Action::LabelKeep,
            Word::Lowercase => Action::Lowercase(target),
            Word::Uppercase => Action::Uppercase(target),
        };
        let regex = match self.regex {
            Some(regex) => regex.0,
            None => Pattern::anchored("(.*)").expect("the default regex is valid"),
        };
        Ok(Rule {
            source_labels: self.source_labels,
            separator: self.separator.unwrap_or_else(|| ";".to_owned()),
            regex,
            action,
        })
    }

    /// Fields that the action would silently ignore are faults, as in Prometheus.
    fn check_foreign_fields(&self) -> Result<(), String> {
        let word = self.action.as_str();
        let default_regex = self.regex.as_ref().is_none_or(|r| r.0.source() == "(.*)");
        let default_separator = self.separator.as_deref().is_none_or(|s| s == ";");
        let default_replacement = self.replacement.as_deref().is_none_or(|r| r == "$1");
        match self.action {
            Word::Lowercase | Word::Uppercase if !default_replacement => {
                Err(format!("'replacement' can not be set for {word} action"))
            }
            Word::KeepEqual | Word::DropEqual
                if !(default_regex
                    && default_separator
                    && default_replacement
                    && self.modulus == 0) =>
            {
                Err(format!(
                    "{word} action requires only 'source_labels' and 'target_label', and no other fields"
                ))
            }
            Word::LabelDrop | Word::LabelKeep
                if !(self.source_labels.is_empty()
                    && self.target_label.is_empty()
                    && default_separator
                    && default_replacement
                    && self.modulus == 0) =>
            {
                Err(format!(
                    "{word} action requires only 'regex', and no other fields"
                ))
            }
            Word::Replace
            | Word::Keep
            | Word::Drop
            | Word::KeepEqual
            | Word::DropEqual
            | Word::HashMod
            | Word::LabelMap
            | Word::LabelDrop
            | Word::LabelKeep
            | Word::Lowercase
            | Word::Uppercase => Ok(()),
        }
    }
}
