//! Helm's functions, as far as the chart calls them, with the results of Helm.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_query::template::{Arguments, CallError, Functions, Map, Template, Value};

use super::values::{from_template, to_template};

/// The names that [`Helm`] knows.
const NAMES: &[&str] = &[
    "append",
    "deepCopy",
    "default",
    "dict",
    "fail",
    "fromYaml",
    "has",
    "include",
    "int64",
    "join",
    "list",
    "mergeOverwrite",
    "nindent",
    "quote",
    "required",
    "sha256sum",
    "toJson",
    "toYaml",
    "trimSuffix",
    "trunc",
];

/// The functions; `include` needs the template that it is called in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Helm<'t> {
    pub(super) template: Option<&'t Template>,
}

impl Functions for Helm<'_> {
    fn knows(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }

    fn call(&self, name: &str, arguments: &Arguments) -> Result<Value, CallError> {
        let values = arguments.values();
        match name {
            "include" => {
                arguments.expect(name, 2)?;
                let Some(template) = self.template else {
                    return failed("include: no templates");
                };
                let text = template.execute_named(arguments.text(0)?, &values[1], self);
                text.map(Value::from).or_else(failed)
            }
            "list" => Ok(Value::list(values.iter().cloned())),
            "dict" => dict(arguments),
            "append" => {
                arguments.expect(name, 2)?;
                let before = list(&values[0])?;
                Ok(Value::list(before.iter().chain([&values[1]]).cloned()))
            }
            "has" => {
                arguments.expect(name, 2)?;
                Ok(Value::Bool(list(&values[1])?.contains(&values[0])))
            }
            "join" => {
                arguments.expect(name, 2)?;
                let texts = list(&values[1])?.iter().map(Value::printed);
                let texts: Vec<_> = texts.collect();
                Ok(texts.join(arguments.text(0)?).into())
            }
            "default" => {
                arguments.expect(name, 2)?;
                let given = values[1].is_true();
                Ok(values[usize::from(given)].clone())
            }
            "required" => {
                arguments.expect(name, 2)?;
                match &values[1] {
                    Value::Nil => failed(arguments.text(0)?),
                    Value::Text(text) if text.is_empty() => failed(arguments.text(0)?),
                    value => Ok(value.clone()),
                }
            }
            "fail" => failed(arguments.text(0)?),
            // Values are never changed in place.
            "deepCopy" => {
                arguments.expect(name, 1)?;
                Ok(values[0].clone())
            }
            "mergeOverwrite" => {
                arguments.expect(name, 2)?;
                Ok(merged(&values[0], &values[1]))
            }
            _ => texts(name, arguments),
        }
    }
}

/// The functions of texts, and those that make texts of values and values of texts.
fn texts(name: &str, arguments: &Arguments) -> Result<Value, CallError> {
    let values = arguments.values();
    match name {
        "quote" => {
            arguments.expect(name, 1)?;
            Ok(serde_json::Value::from(values[0].printed())
                .to_string()
                .into())
        }
        "trunc" => {
            arguments.expect(name, 2)?;
            let count = usize::try_from(arguments.int(0)?).unwrap_or(0);
            Ok(arguments
                .text(1)?
                .chars()
                .take(count)
                .collect::<String>()
                .into())
        }
        "trimSuffix" => {
            arguments.expect(name, 2)?;
            let (suffix, text) = (arguments.text(0)?, arguments.text(1)?);
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "nindent" => {
            arguments.expect(name, 2)?;
            let indent = " ".repeat(usize::try_from(arguments.int(0)?.clamp(0, 80)).unwrap_or(0));
            let lines = arguments.text(1)?.replace('\n', &format!("\n{indent}"));
            Ok(format!("\n{indent}{lines}").into())
        }
        "int64" => {
            arguments.expect(name, 1)?;
            match &values[0] {
                Value::Float(value) => Ok(Value::Int(*value as i64)),
                Value::Int(value) => Ok(Value::Int(*value)),
                other => Ok(Value::Int(other.printed().parse().unwrap_or(0))),
            }
        }
        "toYaml" => {
            arguments.expect(name, 1)?;
            Ok(super::yaml::write(&from_template(&values[0])).into())
        }
        "fromYaml" => {
            arguments.expect(name, 1)?;
            let parsed = super::values::parse(arguments.text(0)?);
            parsed.map(|value| to_template(&value)).or_else(failed)
        }
        "toJson" => {
            arguments.expect(name, 1)?;
            let text = from_template(&values[0]).to_string();
            // As Go writes JSON, for pages.
            let text = text.replace('<', "\\u003c").replace('>', "\\u003e");
            Ok(text.replace('&', "\\u0026").into())
        }
        "sha256sum" => {
            arguments.expect(name, 1)?;
            let sum = ring::digest::digest(&ring::digest::SHA256, arguments.text(0)?.as_bytes());
            let digits = sum.as_ref().iter().map(|byte| format!("{byte:02x}"));
            Ok(digits.collect::<String>().into())
        }
        _ => failed(format!("{name} is not a function")),
    }
}

fn failed<T>(message: impl ToString) -> Result<T, CallError> {
    Err(CallError::Failed(message.to_string()))
}

fn list(value: &Value) -> Result<&[Value], CallError> {
    match value {
        Value::List(values) => Ok(values),
        Value::Nil => Ok(&[]),
        other => failed(format!("expected a list, found {}", other.type_name())),
    }
}

fn dict(arguments: &Arguments) -> Result<Value, CallError> {
    let mut entries = BTreeMap::new();
    for (at, pair) in arguments.values().chunks(2).enumerate() {
        let value = pair.get(1).cloned().unwrap_or_else(|| "".into());
        entries.insert(arguments.text(2 * at)?.to_owned(), value);
    }
    Ok(Value::Map(Arc::new(Map {
        entries,
        texts: false,
    })))
}

/// The second over the first; maps in each other, all else as a whole.
fn merged(under: &Value, over: &Value) -> Value {
    let (Value::Map(under), Value::Map(over)) = (under, over) else {
        return over.clone();
    };
    let mut entries = under.entries.clone();
    for (name, value) in &over.entries {
        let value = match entries.get(name) {
            Some(before) => merged(before, value),
            None => value.clone(),
        };
        entries.insert(name.clone(), value);
    }
    Value::Map(Arc::new(Map {
        entries,
        texts: false,
    }))
}
