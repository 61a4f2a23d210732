//! `obs.collector.redaction`: which secrets are taken out of everything that comes in.
//!
//! Invariant: a configuration that exists names only detectors that there are, and its patterns
//! compile.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::values::checked_map;

/// The built-in detectors by name, and whether `builtin: true` turns them on.
pub const DETECTORS: [(&str, bool); 9] = [
    ("authorization", true),
    ("cloud_key", true),
    ("jwt", true),
    ("private_key", true),
    ("url_password", true),
    ("key_value", true),
    ("email", true),
    ("card_number", true),
    ("ip", false),
];

/// Most rules of the user.
const RULES_MAX: usize = 256;

/// `obs.collector.redaction`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedactionConfig {
    /// Names of the built-in detectors that are on.
    #[serde(deserialize_with = "detectors")]
    pub builtin: Vec<&'static str>,
    /// The user's own, in order.
    #[serde(deserialize_with = "rules")]
    pub rules: Vec<RedactionRule>,
}

impl Default for RedactionConfig {
    fn default() -> Self {
        Self {
            builtin: usual(),
            rules: Vec::new(),
        }
    }
}

/// One of `obs.collector.redaction.rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactionRule {
    /// Its name, which is counted and shown in the replacement.
    pub name: String,
    /// What is looked for in texts, as the source of a regular expression.
    pub pattern: Option<String>,
    /// Names of attributes, labels and metadata whose whole value goes.
    pub names: Option<String>,
    /// What is written instead; `$1` and `${name}` are groups of the pattern.
    pub replacement: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: String,
    pattern: Option<String>,
    names: Option<String>,
    replacement: Option<String>,
}

impl<'de> Deserialize<'de> for RedactionRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked_map(deserializer, |raw: RawRule| {
            if raw.name.is_empty() {
                return Err("expected a name".to_owned());
            }
            if raw.pattern.is_none() && raw.names.is_none() {
                return Err(format!("rule {:?}: expected pattern or names", raw.name));
            }
            for (key, text) in [("pattern", &raw.pattern), ("names", &raw.names)] {
                let Some(text) = text else { continue };
                let compiled = compile(text).map_err(|e| format!("{key}: {e}"))?;
                if compiled.is_match(b"") {
                    return Err(format!("{key}: {text:?} matches the empty text"));
                }
            }
            Ok(Self {
                name: raw.name,
                pattern: raw.pattern,
                names: raw.names,
                replacement: raw.replacement,
            })
        })
    }
}

/// A pattern of a rule, as RE2 writes it; looked for anywhere in a text.
pub(crate) fn compile(source: &str) -> Result<regex::bytes::Regex, String> {
    let source = obs_model::re2::translate(source);
    let built = regex::bytes::RegexBuilder::new(&source)
        .unicode(false)
        .size_limit(4 << 20)
        .build();
    built.map_err(|e| e.to_string())
}

fn usual() -> Vec<&'static str> {
    let on = DETECTORS.iter().filter(|(_, usual)| *usual);
    on.map(|(name, _)| *name).collect()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Builtin {
    Switch(bool),
    Names(Vec<String>),
}

fn detectors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<&'static str>, D::Error> {
    let names = match Builtin::deserialize(deserializer)? {
        Builtin::Switch(false) => return Ok(Vec::new()),
        Builtin::Switch(true) => return Ok(usual()),
        Builtin::Names(names) => names,
    };
    let known = |name: &String| {
        let found = DETECTORS.iter().find(|(known, _)| known == name);
        found.map(|(known, _)| *known).ok_or_else(|| {
            let all: Vec<&str> = DETECTORS.iter().map(|(name, _)| *name).collect();
            D::Error::custom(format!(
                "expected one of {}, found {name:?}",
                all.join(", ")
            ))
        })
    };
    names.iter().map(known).collect()
}

fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RedactionRule>, D::Error> {
    let rules = Vec::<RedactionRule>::deserialize(deserializer)?;
    if rules.len() > RULES_MAX {
        return Err(D::Error::custom(format!("more than {RULES_MAX} rules")));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        let check = |yaml: &str, expect: Result<(usize, usize), &str>| {
            let read: Result<RedactionConfig, _> = serde_yaml_ng::from_str(yaml);
            match (read, expect) {
                (Ok(config), Ok(expect)) => {
                    assert_eq!((config.builtin.len(), config.rules.len()), expect, "{yaml}");
                }
                (Err(fault), Err(expect)) => {
                    assert!(fault.to_string().contains(expect), "{fault}");
                }
                (read, expect) => panic!("{yaml}: {read:?}, {expect:?}"),
            }
        };
        check("{}", Ok((8, 0)));
        check("builtin: false", Ok((0, 0)));
        check("builtin: [ip, jwt]", Ok((2, 0)));
        check("builtin: [jvt]", Err("found \"jvt\""));
        check("rules: [{name: a, pattern: 'x+'}]", Ok((8, 1)));
        check("rules: [{name: a, pattern: 'x*'}]", Err("empty text"));
        check("rules: [{name: a, pattern: '('}]", Err("pattern"));
        check("rules: [{name: a}]", Err("expected pattern or names"));
        check("rules: [{name: a, patern: x}]", Err("patern"));
    }
}
