//! Rule files: Prometheus' own, objects of the kind `PrometheusRule`, and the same with LogQL or
//! TraceQL expressions.
//!
//! Invariant: a file that was read has only rules that can be evaluated: expressions and templates
//! are parsed, names are checked, and every fault names line, column, group and rule.

mod group_text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use obs_model::duration;
use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_query::{Language, Query};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_yaml_ng::Value;

use crate::error::FileError;
use crate::template;

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub struct Parsing {
    /// The language of expressions that name none.
    pub language: Language,
    /// Keys that nobody knows are passed over instead of being errors.
    pub lenient: bool,
    /// What expressions may cost.
    pub limits: Limits,
}

impl Default for Parsing {
    fn default() -> Self {
        Self {
            language: Language::Promql,
            lenient: false,
            limits: Limits::default(),
        }
    }
}

/// The groups of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleFile {
    /// Groups in order; no two have one name.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated together, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Nanoseconds between evaluations; the configuration's where none is said.
    pub interval: Option<i64>,
    /// How much earlier than the evaluation queries ask and samples stand.
    pub query_offset: Option<i64>,
    /// Most alerts or series of one rule; 0 is none.
    pub limit: usize,
    /// Labels of all rules; a rule's own win.
    pub labels: BTreeMap<String, String>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What it makes.
    pub kind: RuleKind,
    /// What it asks.
    pub expression: Expression,
    /// Labels that it sets; templates where it alerts.
    pub labels: BTreeMap<String, String>,
}

/// What a rule makes.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// Series.
    Record {
        /// Their name.
        name: String,
    },
    /// Alerts.
    Alert {
        /// Their name.
        name: String,
        /// Nanoseconds for which an element must be there before it fires.
        hold: i64,
        /// Nanoseconds for which it fires on when the element is gone.
        keep_firing: i64,
        /// Templates of annotations.
        annotations: BTreeMap<String, String>,
    },
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// Its language.
    pub language: Language,
    /// Its text, trimmed.
    pub text: String,
    /// The same, parsed.
    pub query: Query,
}

impl Rule {
    /// The name of its series or alerts.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Record { name } | RuleKind::Alert { name, .. } => name,
        }
    }

    /// The labels that an evaluation sets: the group's with the rule's over them.
    pub fn labels_in(&self, group: &Group) -> BTreeMap<String, String> {
        let mut labels = group.labels.clone();
        labels.extend(self.labels.clone());
        labels
    }
}

impl RuleFile {
    /// Reads a file.
    pub fn parse(text: &str, parsing: &Parsing) -> Result<Self, FileError> {
        let mut groups = Vec::new();
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            let raw = match parsing.lenient {
                false => Option::<Document>::deserialize(document)?,
                true => {
                    let mut value = Value::deserialize(document)?;
                    keep_known(&mut value);
                    serde_yaml_ng::from_value(value)?
                }
            };
            groups.extend(raw.unwrap_or_default().groups()?);
        }
        let mut names = BTreeSet::new();
        let mut read = Vec::with_capacity(groups.len());
        for raw in groups {
            if raw.name.is_empty() {
                let message = "groups: a group has a name, found an empty one".to_owned();
                return Err(group_fault(text, "", 0, message));
            }
            if !names.insert(raw.name.clone()) {
                let message = format!("groupname: \"{}\" is repeated in the same file", raw.name);
                return Err(group_fault(text, &raw.name, 1, message));
            }
            read.push(raw.checked(text, parsing)?);
        }
        Ok(Self { groups: read })
    }
}

/// A document: a rule file, or an object that holds one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    groups: Vec<RawGroup>,
    namespace: Option<Value>,
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<Value>,
    spec: Option<Spec>,
    status: Option<Value>,
}

/// `spec` of a `PrometheusRule`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Spec {
    groups: Vec<RawGroup>,
}

impl Document {
    fn groups(self) -> Result<Vec<RawGroup>, FileError> {
        let fault = |message: String| FileError {
            position: None,
            message,
        };
        match (self.kind.as_deref(), self.spec) {
            (None, None) => Ok(self.groups),
            (Some("PrometheusRule"), Some(spec)) => Ok(spec.groups),
            (Some("PrometheusRule"), None) => Err(fault("PrometheusRule: spec is missing".into())),
            (Some(kind), _) => Err(fault(format!(
                "kind: expected PrometheusRule, found {kind}"
            ))),
            (None, Some(_)) => Err(fault("kind: expected PrometheusRule, found none".into())),
        }
    }
}

/// Keys that are known, by the depth at which they stand.
const FILE_KEYS: &[&str] = &[
    "groups",
    "namespace",
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
];
const GROUP_KEYS: &[&str] = &[
    "name",
    "interval",
    "query_offset",
    "limit",
    "labels",
    "rules",
    "partial_response_strategy",
];
const RULE_KEYS: &[&str] = &[
    "record",
    "alert",
    "expr",
    "lang",
    "for",
    "keep_firing_for",
    "labels",
    "annotations",
];

/// Takes keys out that nobody knows.
fn keep_known(document: &mut Value) {
    let keep = |value: &mut Value, keys: &[&str]| {
        if let Value::Mapping(mapping) = value {
            mapping.retain(|key, _| key.as_str().is_some_and(|key| keys.contains(&key)));
        }
    };
    keep(document, FILE_KEYS);
    let kind = document.get("spec").is_some();
    let holder = match kind {
        true => document.get_mut("spec"),
        false => Some(document),
    };
    let Some(holder) = holder else { return };
    if kind {
        keep(holder, &["groups"]);
    }
    let groups = holder.get_mut("groups").and_then(Value::as_sequence_mut);
    for group in groups.into_iter().flatten() {
        keep(group, GROUP_KEYS);
        let rules = group.get_mut("rules").and_then(Value::as_sequence_mut);
        for rule in rules.into_iter().flatten() {
            keep(rule, RULE_KEYS);
            for texts in ["labels", "annotations"] {
                rule.get_mut(texts).into_iter().for_each(as_texts);
            }
        }
        group.get_mut("labels").into_iter().for_each(as_texts);
    }
}

/// Numbers and the like of a map as texts, as they are read where nothing is passed over.
fn as_texts(map: &mut Value) {
    let values = map.as_mapping_mut().into_iter().flatten();
    for (_, value) in values {
        match value {
            Value::Number(number) => *value = Value::String(number.to_string()),
            Value::Bool(flag) => *value = Value::String(flag.to_string()),
            _ => {}
        }
    }
}

/// A group as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: String,
    #[serde(default, deserialize_with = "some_duration")]
    interval: Option<i64>,
    #[serde(default, deserialize_with = "some_duration")]
    query_offset: Option<i64>,
    #[serde(default)]
    limit: i64,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    rules: Option<Vec<RawRule>>,
    /// Thanos' and the Operator's; nothing here answers in part.
    #[serde(default)]
    partial_response_strategy: Option<String>,
}

/// A rule as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFields {
    record: Option<String>,
    alert: Option<String>,
    expr: Option<Scalar>,
    lang: Option<String>,
    #[serde(default, rename = "for", deserialize_with = "some_duration")]
    hold: Option<i64>,
    #[serde(default, deserialize_with = "some_duration")]
    keep_firing_for: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// The same; what it lacks is told at its own place.
#[derive(Debug)]
struct RawRule(RuleFields);

impl<'de> Deserialize<'de> for RawRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule: a map with record or alert, and expr")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRule, A::Error> {
                let fields = RuleFields::deserialize(MapAccessDeserializer::new(map))?;
                fields.checked().map_err(A::Error::custom)?;
                Ok(RawRule(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A text, or a number that is meant as one: `expr: 1`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Int(i64),
    Float(f64),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
        }
    }
}

impl RuleFields {
    /// What holds without knowing languages.
    fn checked(&self) -> Result<(), String> {
        let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let name = match (filled(&self.record), filled(&self.alert)) {
            (true, true) => return Err("only one of 'record' and 'alert' must be set".to_owned()),
            (false, false) => return Err("one of 'record' or 'alert' must be set".to_owned()),
            (true, false) => self.record.as_deref().unwrap_or_default(),
            (false, true) => self.alert.as_deref().unwrap_or_default(),
        };
        let fault = |text: String| Err(format!("rule {name:?}: {text}"));
        let expr = self.expr.as_ref().map(Scalar::text).unwrap_or_default();
        if expr.is_empty() {
            return fault("field 'expr' must be set in rule".to_owned());
        }
        if filled(&self.record) {
            let set = [
                (
                    "annotations",
                    self.annotations.as_ref().is_some_and(|a| !a.is_empty()),
                ),
                ("for", self.hold.is_some_and(|hold| hold != 0)),
                (
                    "keep_firing_for",
                    self.keep_firing_for.is_some_and(|keep| keep != 0),
                ),
            ];
            if let Some((key, _)) = set.iter().find(|(_, set)| *set) {
                return fault(format!("invalid field '{key}' in recording rule"));
            }
            if name.contains(['{', '}']) {
                return fault(format!(
                    "braces present in the recording rule name; should it be in expr?: {name}"
                ));
            }
        }
        check_labels(self.labels.as_ref()).or_else(fault)?;
        for key in self.annotations.iter().flatten().map(|(key, _)| key) {
            if key.is_empty() {
                return fault("invalid annotation name: expected a text, found none".to_owned());
            }
        }
        Ok(())
    }

    fn language(&self, parsing: &Parsing) -> Result<Language, String> {
        match self.lang.as_deref() {
            None => Ok(parsing.language),
            Some("promql") => Ok(Language::Promql),
            Some("logql") => Ok(Language::Logql),
            Some("traceql") => Ok(Language::Traceql),
            Some(other) => Err(format!(
                "lang: expected promql, logql or traceql, found {other:?}"
            )),
        }
    }
}

/// Labels that a rule or group may set.
fn check_labels(set: Option<&BTreeMap<String, String>>) -> Result<(), String> {
    for name in set.into_iter().flatten().map(|(name, _)| name) {
        if name.is_empty() || name == METRIC_NAME {
            return Err(format!("invalid label name: {name}"));
        }
    }
    Ok(())
}

impl RawGroup {
    fn checked(self, text: &str, parsing: &Parsing) -> Result<Group, FileError> {
        let name = self.name;
        let near = |message: String| group_fault(text, &name, 0, message);
        let limit = usize::try_from(self.limit).map_err(|_| {
            let found = self.limit;
            near(format!(
                "group {name:?}: limit: expected 0 or more, found {found}"
            ))
        })?;
        if self.interval.is_some_and(|interval| interval < 0) {
            return Err(near(format!("group {name:?}: interval is negative")));
        }
        let strategy = self
            .partial_response_strategy
            .as_deref()
            .unwrap_or_default();
        if !["", "abort", "warn"].contains(&strategy.to_lowercase().as_str()) {
            return Err(near(format!(
                "group {name:?}: partial_response_strategy: expected abort or warn, found {strategy:?}"
            )));
        }
        check_labels(self.labels.as_ref()).map_err(|e| near(format!("group {name:?}: {e}")))?;
        let mut rules = Vec::new();
        for (index, RawRule(fields)) in self.rules.unwrap_or_default().into_iter().enumerate() {
            let expr = fields.expr.as_ref().map(Scalar::text).unwrap_or_default();
            let rule = fields.rule(parsing).map_err(|message| {
                let message = format!("group {name:?}, rule {}: {message}", index + 1);
                expression_place(text, &name, &expr, message)
            })?;
            rules.push(rule);
        }
        Ok(Group {
            interval: self.interval.filter(|interval| *interval > 0),
            query_offset: self.query_offset,
            limit,
            labels: self.labels.unwrap_or_default(),
            rules,
            name,
        })
    }
}

impl RuleFields {
    /// The rule, with its expression and its templates parsed.
    fn rule(self, parsing: &Parsing) -> Result<Rule, String> {
        let language = self.language(parsing)?;
        let text = self.expr.as_ref().map(Scalar::text).unwrap_or_default();
        let name = self.record.clone().or_else(|| self.alert.clone());
        let name = name.unwrap_or_default();
        let query = Query::parse(language, &text, &parsing.limits)
            .map_err(|error| format!("{name:?}: could not parse expression: {error}"))?;
        if !query.is_number() {
            return Err(format!(
                "{name:?}: expected an expression that gives numbers, found one that gives lines or \
                 traces"
            ));
        }
        let labels = self.labels.unwrap_or_default();
        let kind = match self.record.filter(|name| !name.is_empty()) {
            Some(name) => RuleKind::Record { name },
            None => {
                let annotations = self.annotations.unwrap_or_default();
                let templates = [("label", &labels), ("annotation", &annotations)];
                for (what, texts) in templates {
                    for (key, text) in texts {
                        template::check(&name, text)
                            .map_err(|error| format!("{name:?}: {what} {key:?}: {error}"))?;
                    }
                }
                RuleKind::Alert {
                    name,
                    hold: self.hold.unwrap_or(0),
                    keep_firing: self.keep_firing_for.unwrap_or(0),
                    annotations,
                }
            }
        };
        Ok(Rule {
            kind,
            expression: Expression {
                language,
                text,
                query,
            },
            labels,
        })
    }
}

/// A duration as Prometheus writes them.
fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(text) = Option::<Scalar>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let text = text.text();
    let read = duration::parse(&text);
    let fault = || D::Error::custom(format!("not a valid duration string: {text:?}"));
    read.map(Some).ok_or_else(fault)
}

/// The column at which a key starts, counted from 0.
fn key_column(line: &str, key: &str) -> Option<usize> {
    let rest = line.trim_start().trim_start_matches("- ").trim_start();
    rest.starts_with(key).then(|| line.len() - rest.len())
}

/// The column of a line that names a group so.
fn name_column(line: &str, name: &str) -> Option<usize> {
    let column = key_column(line, "name:")?;
    let value = line[column + "name:".len()..].trim();
    (value.trim_matches(['"', '\'']) == name).then_some(column)
}

/// A fault of a group: where its name stands the so many-th time, counted from 0.
fn group_fault(text: &str, name: &str, nth: usize, message: String) -> FileError {
    let found = text.lines().enumerate().filter_map(|(at, line)| {
        let column = name_column(line, name)?;
        Some((at + 1, column + 1))
    });
    let position = found.clone().nth(nth).or_else(|| found.last());
    FileError { position, message }
}

/// A fault of an expression: where its text starts, behind the name of its group.
fn expression_place(text: &str, group: &str, expr: &str, message: String) -> FileError {
    let first = expr.lines().next().unwrap_or_default().trim_end();
    let named = |line: &str| name_column(line, group).is_some();
    let from = text.lines().position(named).unwrap_or(0);
    let lines = text.lines().enumerate().skip(from);
    let position = lines
        .filter(|(_, line)| !line.trim_start().starts_with('#'))
        .find_map(|(at, line)| Some((at + 1, line.find(first)? + 1)))
        .filter(|_| !first.is_empty());
    FileError { position, message }
}

/// Line and column, from 1, of the first rule of this name in a group.
pub fn rule_place(text: &str, group: &str, rule: &str) -> Option<(usize, usize)> {
    let from = text
        .lines()
        .position(|line| name_column(line, group).is_some())?;
    let named = |line: &str| {
        ["alert:", "record:"].iter().find_map(|key| {
            let column = line.find(key)?;
            let value = line[column + key.len()..].trim_start();
            let value = value.trim_start_matches(['"', '\'']);
            let rest = value.strip_prefix(rule)?;
            let ends = rest
                .chars()
                .next()
                .is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'));
            ends.then_some(column)
        })
    };
    let lines = text.lines().enumerate().skip(from);
    lines
        .filter(|(_, line)| !line.trim_start().starts_with('#'))
        .find_map(|(at, line)| Some((at + 1, named(line)? + 1)))
}

#[cfg(test)]
mod tests;
