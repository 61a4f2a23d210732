//! `otlp`: how OTLP metrics become series, in Prometheus' words.

use obs_wire::otlp::metrics::{Options, Promoted, Strategy};
use serde::Deserialize;
use serde::de::Deserializer;

use super::values::{checked_map, from_text};

/// The section, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtlpConfig(Options);

impl OtlpConfig {
    /// What it says.
    pub fn options(&self) -> Options {
        self.0.clone()
    }
}

impl<'de> Deserialize<'de> for OtlpConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked_map(deserializer, |raw: Raw| raw.check().map(Self))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Raw {
    translation_strategy: Option<Word>,
    promote_resource_attributes: Vec<String>,
    promote_all_resource_attributes: bool,
    ignore_resource_attributes: Vec<String>,
    keep_identifying_resource_attributes: bool,
    convert_histograms_to_nhcb: bool,
    promote_scope_metadata: bool,
    label_name_underscore_sanitization: Option<bool>,
    label_name_preserve_multiple_underscores: Option<bool>,
}

struct Word(Strategy);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a translation strategy", |text| {
            let found = Strategy::ALL.iter().find(|(word, _)| *word == text);
            found.map(|(_, strategy)| Self(*strategy)).ok_or_else(|| {
                let words = Strategy::ALL.map(|(word, _)| word).join(", ");
                format!("unknown translation_strategy {text:?}, expected one of {words}")
            })
        })
    }
}

impl Raw {
    fn check(self) -> Result<Options, String> {
        let all = self.promote_all_resource_attributes;
        if all && !self.promote_resource_attributes.is_empty() {
            return Err("promote_all_resource_attributes and promote_resource_attributes cannot be configured together".to_owned());
        }
        if !all && !self.ignore_resource_attributes.is_empty() {
            return Err(
                "ignore_resource_attributes needs promote_all_resource_attributes".to_owned(),
            );
        }
        let mut names = if all {
            self.ignore_resource_attributes
        } else {
            self.promote_resource_attributes
        };
        for (index, name) in names.iter_mut().enumerate() {
            *name = name.trim().to_owned();
            if name.is_empty() {
                return Err(format!("resource attribute {index} is empty"));
            }
        }
        Ok(Options {
            strategy: self
                .translation_strategy
                .map_or_else(Strategy::default, |w| w.0),
            promoted: if all {
                Promoted::AllBut(names)
            } else {
                Promoted::Only(names)
            },
            keep_identifying: self.keep_identifying_resource_attributes,
            convert_to_native: self.convert_histograms_to_nhcb,
            promote_scope: self.promote_scope_metadata,
            sanitize_underscores: self.label_name_underscore_sanitization.unwrap_or(true),
            preserve_underscores: self
                .label_name_preserve_multiple_underscores
                .unwrap_or(true),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section() {
        let read = |yaml: &str| serde_yaml_ng::from_str::<OtlpConfig>(yaml);
        assert_eq!(read("{}").unwrap().options(), Options::default());
        let options = read(
            "{translation_strategy: NoUTF8EscapingWithSuffixes, promote_resource_attributes: \
             [' a '], keep_identifying_resource_attributes: true}",
        );
        let options = options.unwrap().options();
        assert_eq!(options.strategy, Strategy::NoUtf8EscapingWithSuffixes);
        assert_eq!(options.promoted, Promoted::Only(vec!["a".to_owned()]));
        assert!(options.keep_identifying);
        for (yaml, expect) in [
            ("translation_strategy: x", "NoTranslation"),
            ("{ignore_resource_attributes: [a]}", "needs promote_all"),
            ("promote_resource_attributes: ['']", "is empty"),
            ("keep: true", "unknown field"),
        ] {
            let fault = read(yaml).unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        }
    }
}
