//! Values of the chart: read from YAML, set by flags in Helm's words, merged, and handed to
//! templates.
//!
//! Invariant: no text makes a list longer than [`INDEX_MAX`] entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use obs_query::template;
use serde_json::{Map, Value};

/// The largest index that `--set` may name.
const INDEX_MAX: usize = 1_000;

/// Reads a map of YAML; nothing at all is an empty one.
pub(super) fn parse(text: &str) -> anyhow::Result<Value> {
    match serde_yaml_ng::from_str(text)? {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(map) => Ok(Value::Object(map)),
        _ => bail!("expected a map"),
    }
}

/// Puts values over others: maps into maps, all else as a whole. `null` takes a key away.
pub(super) fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    under.remove(&name);
                } else {
                    merge(under.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// Sets what a flag says: `a.b=1,c[0].d={x,y}`. A backslash keeps the next character from meaning
/// anything. `typed` makes numbers, `true`, `false` and `null` of what looks so.
pub(super) fn set(all: &mut Value, text: &str, typed: bool) -> anyhow::Result<()> {
    let mut rest = text;
    loop {
        let (path, after) = path(rest)?;
        let (value, after) = value(after, typed);
        place(all, &path, value)?;
        match after {
            None => return Ok(()),
            Some(after) => rest = after,
        }
    }
}

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The way before `=`, and what comes after that.
fn path(text: &str) -> anyhow::Result<(Vec<Step>, &str)> {
    let (mut steps, mut key) = (Vec::new(), String::new());
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => key.extend(chars.next().map(|(_, char)| char)),
            '.' | '=' | '[' => {
                if !key.is_empty() {
                    steps.push(Step::Key(std::mem::take(&mut key)));
                }
                if char == '=' {
                    ensure!(!steps.is_empty(), "expected a name before \"=\"");
                    return Ok((steps, &text[at + 1..]));
                }
                if char == '[' {
                    let digits: String = chars
                        .by_ref()
                        .map(|(_, char)| char)
                        .take_while(|char| *char != ']')
                        .collect();
                    let index = digits
                        .parse()
                        .context("expected a number between [ and ]")?;
                    ensure!(index <= INDEX_MAX, "an index is at most {INDEX_MAX}");
                    steps.push(Step::Index(index));
                }
            }
            ',' => bail!("expected \"=\" after {key:?}, found \",\""),
            char => key.push(char),
        }
    }
    bail!("expected NAME=VALUE")
}

/// A value, and what comes after the comma behind it.
fn value(text: &str, typed: bool) -> (Value, Option<&str>) {
    if let Some(inside) = text.strip_prefix('{') {
        let (mut values, mut rest) = (Vec::new(), inside);
        if let Some(after) = rest.strip_prefix('}') {
            return (Value::Array(values), after.strip_prefix(','));
        }
        while let Some((word, end, after)) = word(rest, &[',', '}']) {
            values.push(scalar(word, typed));
            rest = after;
            if end == '}' {
                return (Value::Array(values), rest.strip_prefix(','));
            }
        }
        return (scalar(text.to_owned(), typed), None);
    }
    match word(text, &[',']) {
        Some((word, _, after)) => (scalar(word, typed), Some(after)),
        None => (scalar(text.replace('\\', ""), typed), None),
    }
}

/// The text before the first of these characters, which of them it was, and the text after it.
fn word<'t>(text: &'t str, ends: &[char]) -> Option<(String, char, &'t str)> {
    let (mut word, mut escaped) = (String::new(), false);
    for (at, char) in text.char_indices() {
        match char {
            '\\' if !escaped => escaped = true,
            char if ends.contains(&char) && !escaped => {
                return Some((word, char, &text[at + char.len_utf8()..]));
            }
            char => {
                word.push(char);
                escaped = false;
            }
        }
    }
    None
}

fn scalar(text: String, typed: bool) -> Value {
    if !typed {
        return text.into();
    }
    match text.as_str() {
        "true" => true.into(),
        "false" => false.into(),
        "null" => Value::Null,
        // As Helm: what begins with 0 is a text, unless it is 0.
        number if number == "0" || !number.starts_with('0') => match number.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => text.into(),
        },
        _ => text.into(),
    }
}

/// Puts a value to its place, making maps and lists on the way.
fn place(all: &mut Value, path: &[Step], value: Value) -> anyhow::Result<()> {
    let mut here = all;
    for step in path {
        here = match step {
            Step::Key(name) => {
                if !here.is_object() {
                    *here = Value::Object(Map::new());
                }
                let Value::Object(map) = here else {
                    bail!("{name}: expected a map");
                };
                map.entry(name.as_str()).or_insert(Value::Null)
            }
            Step::Index(index) => {
                if !here.is_array() {
                    *here = Value::Array(Vec::new());
                }
                let Value::Array(list) = here else {
                    bail!("[{index}]: expected a list");
                };
                if list.len() <= *index {
                    list.resize(index + 1, Value::Null);
                }
                &mut list[*index]
            }
        };
    }
    *here = value;
    Ok(())
}

/// As templates have values.
pub(super) fn to_template(value: &Value) -> template::Value {
    use template::Value as To;
    match value {
        Value::Null => To::Nil,
        Value::Bool(value) => To::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => To::Int(number),
            None => To::Float(number.as_f64().unwrap_or(0.0)),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => To::list(values.iter().map(to_template)),
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(name, value)| (name.clone(), to_template(value)));
            To::Map(Arc::new(template::Map {
                entries: entries.collect::<BTreeMap<_, _>>(),
                texts: false,
            }))
        }
    }
}

/// And back.
pub(super) fn from_template(value: &template::Value) -> Value {
    use template::Value as From;
    match value {
        From::Nil => Value::Null,
        From::Bool(value) => (*value).into(),
        From::Int(value) => (*value).into(),
        From::Float(value) => (*value).into(),
        From::List(values) => values.iter().map(from_template).collect(),
        From::Map(map) => {
            let entries = map.entries.iter();
            let entries = entries.map(|(name, value)| (name.clone(), from_template(value)));
            Value::Object(entries.collect())
        }
        From::Text(_) | From::Html(_) | From::Time(_) => value.printed().into(),
    }
}
