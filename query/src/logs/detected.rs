//! What labels and fields logs have, found out from a sample: Loki's `detected_labels` and
//! `detected_fields`.
//!
//! Invariant: the cost is bounded by the lines given and by the limit of fields; types are told
//! from the first value of a field, as in Loki.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::answer::LogLines;
use obs_model::{Labels, LogRecord};
use serde_json::Value;

use super::pipeline::Pipeline;
use super::row::{ERROR, ERROR_DETAILS, Row, sanitize};
use super::value;
use crate::error::QueryError;
use crate::logql::ast::Stage;
use crate::logql::size_text;

/// Labels that are told first, whatever their values, as in Loki.
const STATIC_LABELS: [&str; 4] = ["cluster", "instance", "namespace", "pod"];
/// Nesting of JSON that paths are told of.
const DEPTH_MAX: usize = 64;

/// A label and its number of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectedLabel {
    /// Its name.
    pub name: String,
    /// Its number of values.
    pub cardinality: usize,
}

/// The labels of streams that are worth choosing by: those whose values are not all numbers or
/// UUIDs.
pub fn labels(streams: &[Labels]) -> Vec<DetectedLabel> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in streams.iter().flatten() {
        values.entry(name).or_default().insert(value);
    }
    let is_static = |name: &str| STATIC_LABELS.contains(&name);
    let first = values.iter().filter(|(name, _)| is_static(name));
    let rest = values
        .iter()
        .filter(|(name, values)| !is_static(name) && !are_ids(values));
    let told = |(name, values): (&&str, &BTreeSet<&str>)| DetectedLabel {
        name: (*name).to_owned(),
        cardinality: values.len(),
    };
    first.chain(rest).map(told).collect()
}

/// Whether all values are numbers or UUIDs; 0 and 1 are taken for false and true.
fn are_ids(values: &BTreeSet<&str>) -> bool {
    let truths = values.iter().all(|value| ["0", "1"].contains(value));
    !truths && values.iter().all(|value| is_id(value))
}

/// Whether a value is a number or a UUID.
fn is_id(value: &str) -> bool {
    value::number(value).is_ok() || is_uuid(value)
}

/// As Go's `uuid.Parse` reads it: with or without dashes, in braces, or as a URN.
fn is_uuid(text: &str) -> bool {
    let text = match text.get(..9) {
        Some(urn) if urn.eq_ignore_ascii_case("urn:uuid:") => &text[9..],
        _ => text,
    };
    let text = text
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .unwrap_or(text);
    let bytes = text.as_bytes();
    match bytes.len() {
        32 => bytes.iter().all(u8::is_ascii_hexdigit),
        36 => bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        }),
        _ => false,
    }
}

/// The kind of a field's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldType {
    /// Any text.
    #[default]
    String,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Boolean,
    /// A duration such as `1.5s`.
    Duration,
    /// A size such as `5 MB`.
    Bytes,
}

impl FieldType {
    /// As Loki's API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
        }
    }

    /// The first kind that a text is of.
    fn of(text: &str) -> Self {
        const BOOLEANS: [&str; 10] = [
            "t", "T", "TRUE", "true", "True", "f", "F", "FALSE", "false", "False",
        ];
        if text.parse::<i64>().is_ok() {
            Self::Int
        } else if value::number(text).is_ok() {
            Self::Float
        } else if BOOLEANS.contains(&text) {
            Self::Boolean
        } else if value::duration(text).is_ok() {
            Self::Duration
        } else if value::bytes(text).is_ok() {
            Self::Bytes
        } else {
            Self::String
        }
    }
}

/// A field of some lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectedField {
    /// The kind of its values.
    pub kind: FieldType,
    /// Its values.
    pub values: BTreeSet<String>,
    /// The parsers that find it; none where it is structured metadata.
    pub parsers: Vec<&'static str>,
    /// Its keys, from the outermost, where the lines are JSON.
    pub json_path: Vec<String>,
}

impl DetectedField {
    /// Its values as a query may have them: sizes that a parser found are written as LogQL reads
    /// them (`5 MB` is `5.0MB`).
    pub fn told_values(&self) -> BTreeSet<String> {
        let told = |text: &String| match self.parsers.is_empty() {
            true => text.clone(),
            false => told_size(text).unwrap_or_else(|| text.clone()),
        };
        self.values.iter().map(told).collect()
    }
}

/// A size with a unit, as LogQL reads it.
fn told_size(text: &str) -> Option<String> {
    let unit = text.bytes().last().is_some_and(|b| b.is_ascii_alphabetic());
    let bytes = value::bytes(text).ok().filter(|_| unit)?;
    Some(size_text(bytes))
}

/// The fields of lines: their structured metadata, what the query's own parsers made, and what
/// `json` or else `logfmt` finds in them. At most `limit` fields are found.
pub fn fields(
    lines: &[LogLines],
    limit: usize,
) -> Result<BTreeMap<String, DetectedField>, QueryError> {
    let mut found = Fields {
        fields: BTreeMap::new(),
        limit,
    };
    let parsers = Parsers::new()?;
    for lines in lines {
        for (index, record) in lines.stream.records.iter().enumerate() {
            for (name, value) in &record.metadata {
                found.add(name, value, None, &[]);
            }
            let made = lines.parsed.get(index);
            parsers.record(&lines.stream.labels, record, made, &mut found);
        }
    }
    Ok(found.fields)
}

struct Fields {
    fields: BTreeMap<String, DetectedField>,
    limit: usize,
}

impl Fields {
    fn add(&mut self, name: &str, value: &str, parser: Option<&'static str>, path: &[String]) {
        if !self.fields.contains_key(name) {
            if self.fields.len() >= self.limit {
                return;
            }
            let field = DetectedField {
                kind: FieldType::of(value),
                ..DetectedField::default()
            };
            self.fields.insert(name.to_owned(), field);
        }
        let Some(field) = self.fields.get_mut(name) else {
            return;
        };
        if let Some(parser) = parser.filter(|p| !field.parsers.contains(p)) {
            field.parsers.push(parser);
        }
        if field.json_path.is_empty() {
            field.json_path = path.to_vec();
        }
        if !field.values.contains(value) {
            field.values.insert(value.to_owned());
        }
    }
}

/// The two parsers that lines are tried with.
struct Parsers {
    json: Pipeline,
    logfmt: Pipeline,
}

impl Parsers {
    fn new() -> Result<Self, QueryError> {
        let logfmt = Stage::Logfmt {
            strict: false,
            keep_empty: false,
            fields: Vec::new(),
        };
        Ok(Self {
            json: Pipeline::new(&[Stage::Json(Vec::new())])?,
            logfmt: Pipeline::new(&[logfmt])?,
        })
    }

    fn record(&self, stream: &Labels, record: &LogRecord, made: Option<&Labels>, out: &mut Fields) {
        let none = Labels::empty();
        let parse = |pipeline: &Pipeline| {
            let mut row = Row::new(&record.line, record.time, stream, &none, None);
            let passed = pipeline.run(&mut row) && row.error().is_empty();
            passed.then(|| row.parsed_labels())
        };
        let json = parse(&self.json).map(|labels| ("json", labels));
        let parsed = json.or_else(|| parse(&self.logfmt).map(|labels| ("logfmt", labels)));
        let parser = parsed.as_ref().map(|(parser, _)| *parser);
        let own = |name: &str| name != ERROR && name != ERROR_DETAILS;
        for (name, value) in made.into_iter().flatten().filter(|(name, _)| own(name)) {
            out.add(name, value, parser, &[]);
        }
        let Some((parser, labels)) = parsed else {
            return;
        };
        let paths = match parser {
            "json" => json_paths(&record.line),
            _ => BTreeMap::new(),
        };
        for (name, value) in &labels {
            let plain = name.strip_suffix("_extracted").unwrap_or(name);
            let path = paths.get(name).or_else(|| paths.get(plain));
            out.add(name, value, Some(parser), path.map_or(&[], Vec::as_slice));
        }
    }
}

/// The keys behind each label that `json` makes of a line.
fn json_paths(line: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut paths = BTreeMap::new();
    if let Ok(root) = serde_json::from_slice::<Value>(line) {
        walk(&root, &mut Vec::new(), &mut paths);
    }
    paths
}

fn walk(value: &Value, path: &mut Vec<String>, out: &mut BTreeMap<String, Vec<String>>) {
    match value {
        Value::Object(members) if path.len() < DEPTH_MAX => {
            for (key, value) in members {
                path.push(key.clone());
                walk(value, path, out);
                path.pop();
            }
        }
        Value::Object(_) | Value::Array(_) | Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let name = sanitize(&path.join("_")).into_owned();
            out.entry(name).or_insert_with(|| path.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use obs_model::{LogStream, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn lines(all: &[(&str, &str)]) -> LogLines {
        let record = |(line, level): &(&str, &str)| LogRecord {
            time: Timestamp::from_seconds(1),
            line: line.as_bytes().to_vec(),
            metadata: Labels::from_pairs([("detected_level", *level)]),
        };
        LogLines {
            stream: LogStream {
                labels: Labels::from_pairs([("app", "a")]),
                records: all.iter().map(record).collect(),
            },
            parsed: vec![Labels::empty(); all.len()],
        }
    }

    #[test]
    fn types() {
        let check =
            |text: &str, expect: FieldType| assert_eq!(FieldType::of(text), expect, "{text}");
        check("12", FieldType::Int);
        check("-1.5", FieldType::Float);
        check("true", FieldType::Boolean);
        check("1m30s", FieldType::Duration);
        check("5 MB", FieldType::Bytes);
        check("GET", FieldType::String);
    }

    #[test]
    fn values_are_told_as_queries_have_them() {
        let check = |text: &str, parsers: &[&'static str], expect: &str| {
            let field = DetectedField {
                values: BTreeSet::from([text.to_owned()]),
                parsers: parsers.to_vec(),
                ..DetectedField::default()
            };
            let told: Vec<String> = field.told_values().into_iter().collect();
            assert_eq!(told, [expect]);
        };
        check("5 MB", &["json"], "5.0MB");
        check("1.5KiB", &["logfmt"], "1536B");
        check("512", &["json"], "512");
        check("GET", &["json"], "GET");
        check("5 MB", &[], "5 MB");
    }

    #[test]
    fn labels_that_are_ids_are_left_out() {
        let check = |values: &[&str], kept: bool| {
            let streams: Vec<Labels> = values
                .iter()
                .map(|value| Labels::from_pairs([("a", *value)]))
                .collect();
            assert_eq!(!labels(&streams).is_empty(), kept, "{values:?}");
        };
        check(&["12", "13"], false);
        check(&["0", "1"], true);
        check(&["1"], true);
        check(&["0", "1", "2"], false);
        check(&["x", "1"], true);
        check(&["2c0d5a0e-7f3e-4b8e-9a6b-1f2e3d4c5b6a"], false);
    }

    #[test]
    fn fields_of_lines() {
        let sample = lines(&[
            (r#"{"a":{"b c":1},"app":"x","l":[1]}"#, "info"),
            (r#"{"a":{"b c":2}}"#, "info"),
            ("took=5ms path=/x", "warn"),
            ("plain text", "warn"),
        ]);
        let check = |limit: usize, expect: &[&str]| {
            let found = fields(std::slice::from_ref(&sample), limit).unwrap();
            let told: Vec<String> = found
                .iter()
                .map(|(name, f)| {
                    let (kind, count) = (f.kind.as_str(), f.values.len());
                    format!("{name} {kind} {count} {:?} {:?}", f.parsers, f.json_path)
                })
                .collect();
            assert_eq!(told, expect);
        };
        check(
            10,
            &[
                r#"a_b_c int 2 ["json"] ["a", "b c"]"#,
                r#"app_extracted string 1 ["json"] ["app"]"#,
                r#"detected_level string 2 [] []"#,
                r#"path string 1 ["logfmt"] []"#,
                r#"took duration 1 ["logfmt"] []"#,
            ],
        );
        check(1, &[r#"detected_level string 2 [] []"#]);
    }

    #[test]
    fn labels_worth_choosing_by() {
        let streams = [
            Labels::from_pairs([("app", "a"), ("pod", "1"), ("shard", "7")]),
            Labels::from_pairs([
                ("app", "b"),
                ("id", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
                ("shard", "8"),
            ]),
        ];
        let told: Vec<String> = labels(&streams)
            .iter()
            .map(|l| format!("{} {}", l.name, l.cardinality))
            .collect();
        assert_eq!(told, ["pod 1", "app 2"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_line_is_looked_at(line in "[{}\\[\\]\":,a=1 \\\\]{0,60}", limit in 0usize..5) {
            let found = fields(&[lines(&[(&line, "info")])], limit).unwrap();
            prop_assert!(found.len() <= limit);
        }
    }
}
