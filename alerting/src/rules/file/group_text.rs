//! Single groups as texts: what APIs take and give.
//!
//! Invariant: what [`Group::to_yaml`] writes, [`Group::parse`] reads as the same group.

use serde::Deserialize;
use serde_yaml_ng::{Mapping, Value};

use super::{Group, Parsing, RawGroup, Rule, RuleKind, as_texts};
use crate::error::FileError;
use obs_model::duration;
use obs_query::Language;

/// Keys of groups of Mimir and Loki that mean nothing here.
const PASSED_OVER: [&str; 3] = [
    "source_tenants",
    "align_evaluation_time_on_interval",
    "remote_write",
];
/// The former name of `query_offset`.
const DELAY: &str = "evaluation_delay";

impl Group {
    /// Reads the group that a text is.
    pub fn parse(text: &str, parsing: &Parsing) -> Result<Self, FileError> {
        let mut value: Value = serde_yaml_ng::from_str(text)?;
        let fault = |message: &str| FileError {
            position: None,
            message: message.to_owned(),
        };
        let Some(map) = value.as_mapping_mut() else {
            return Err(fault("expected a group: a map with name and rules"));
        };
        let extra = |key: &Value| {
            let key = key.as_str().unwrap_or_default();
            key == DELAY || PASSED_OVER.contains(&key)
        };
        let raw = match map.keys().any(extra) {
            // With line and column where something is wrong.
            false => RawGroup::deserialize(serde_yaml_ng::Deserializer::from_str(text))?,
            true => {
                if let Some(delay) = map.remove(DELAY) {
                    map.entry("query_offset".into()).or_insert(delay);
                }
                map.retain(|key, _| !extra(key));
                scalars(map);
                serde_yaml_ng::from_value(value)?
            }
        };
        if raw.name.is_empty() {
            return Err(fault("expected the name of the group, found none"));
        }
        raw.checked(text, parsing)
    }

    /// The group as rule files have it. Languages are written where they are not `language`.
    pub fn to_yaml(&self, language: Language) -> Value {
        let mut map = Mapping::new();
        map.insert("name".into(), self.name.as_str().into());
        let times = [
            ("interval", self.interval),
            ("query_offset", self.query_offset),
        ];
        for (key, nanos) in times {
            if let Some(nanos) = nanos {
                map.insert(key.into(), duration::format(nanos).into());
            }
        }
        if self.limit > 0 {
            map.insert("limit".into(), self.limit.into());
        }
        texts("labels", &self.labels, &mut map);
        let rules = self.rules.iter().map(|rule| rule_yaml(rule, language));
        map.insert("rules".into(), Value::Sequence(rules.collect()));
        Value::Mapping(map)
    }
}

/// Numbers among the texts of a group as texts.
fn scalars(group: &mut Mapping) {
    group.get_mut("labels").into_iter().for_each(as_texts);
    let rules = group.get_mut("rules").and_then(Value::as_sequence_mut);
    for rule in rules.into_iter().flatten() {
        for key in ["labels", "annotations"] {
            rule.get_mut(key).into_iter().for_each(as_texts);
        }
    }
}

fn texts(key: &str, texts: &std::collections::BTreeMap<String, String>, map: &mut Mapping) {
    if !texts.is_empty() {
        let pairs = texts
            .iter()
            .map(|(name, text)| (name.as_str().into(), text.as_str().into()));
        map.insert(key.into(), Value::Mapping(pairs.collect()));
    }
}

fn rule_yaml(rule: &Rule, language: Language) -> Value {
    let mut map = Mapping::new();
    let key = match &rule.kind {
        RuleKind::Record { .. } => "record",
        RuleKind::Alert { .. } => "alert",
    };
    map.insert(key.into(), rule.name().into());
    map.insert("expr".into(), rule.expression.text.as_str().into());
    if rule.expression.language != language {
        let name = match rule.expression.language {
            Language::Promql => "promql",
            Language::Logql => "logql",
            Language::Traceql => "traceql",
        };
        map.insert("lang".into(), name.into());
    }
    if let RuleKind::Alert {
        hold, keep_firing, ..
    } = &rule.kind
    {
        for (key, nanos) in [("for", *hold), ("keep_firing_for", *keep_firing)] {
            if nanos > 0 {
                map.insert(key.into(), duration::format(nanos).into());
            }
        }
    }
    texts("labels", &rule.labels, &mut map);
    if let RuleKind::Alert { annotations, .. } = &rule.kind {
        texts("annotations", annotations, &mut map);
    }
    Value::Mapping(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Group, String> {
        Group::parse(text, &Parsing::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn groups_come_back() {
        let check = |text: &str| {
            let group = read(text).expect(text);
            let written = serde_yaml_ng::to_string(&group.to_yaml(Language::Promql));
            let again = read(&written.expect("YAML")).expect("it was written");
            assert_eq!(again, group);
        };
        check("name: a");
        check("{name: a, interval: 90s, query_offset: 5s, limit: 3, labels: {x: y}, rules: []}");
        check(
            "name: a\nrules:\n- {record: b, expr: 'sum(c)', labels: {d: '1'}}\n\
             - {alert: B, expr: up == 0, for: 1m30s, keep_firing_for: 1h, labels: {d: '{{ $value }}'}, \
             annotations: {e: |-\n    two\n    lines\n  }}\n- {record: l, expr: \
             'sum(rate({a=\"b\"}[1m]))', lang: logql}\n"
                .replace("|-\n    two\n    lines\n  ", "two")
                .as_str(),
        );
    }

    #[test]
    fn groups_of_others_and_faults() {
        let group = read(
            "{name: a, evaluation_delay: 1m, source_tenants: [b], rules: [{record: b, expr: '1', \
             labels: {c: 1}}]}",
        );
        let group = group.expect("Mimir's keys are known");
        assert_eq!(group.query_offset, duration::parse("1m"));
        assert_eq!(group.rules[0].labels["c"], "1");
        let fault = |text: &str| read(text).expect_err(text);
        assert!(
            fault("name: a\nruls: []").starts_with("2:1: "),
            "{}",
            fault("name: a\nruls: []")
        );
        assert!(fault("rules: []").contains("name"));
        assert!(fault("name: ''").contains("name"));
        assert!(fault("[]").contains("a map with name"));
        let found = fault("name: a\nrules:\n- record: b\n  expr: 'sum('\n");
        assert!(found.starts_with("4:"), "{found}");
    }
}
