//! JSON Schema, as far as `values.schema.json` uses it: `type`, `properties`,
//! `additionalProperties`, `required`, `items`, `enum`, `pattern`, `minimum`, `$ref` to
//! `definitions`.
//!
//! Invariant: a word of the schema that is not known here is a fault, so that none is passed over.

use serde_json::Value;

/// Words that bind nothing.
const SILENT: &[&str] = &["$schema", "title", "description", "definitions", "default"];

/// What is wrong with a value, each with its place.
pub(super) fn check(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    at(schema, schema, value, "", &mut faults);
    faults
}

fn at(root: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let Some(words) = schema.as_object() else {
        if schema == &Value::Bool(false) {
            faults.push(format!("{place} is not known"));
        }
        return;
    };
    for (word, says) in words {
        let fault = match word.as_str() {
            "$ref" => {
                let name = says
                    .as_str()
                    .and_then(|to| to.strip_prefix("#/definitions/"));
                match name.and_then(|name| root["definitions"].get(name)) {
                    Some(schema) => at(root, schema, value, place, faults),
                    None => faults.push(format!("{place}: the schema has no {says}")),
                }
                None
            }
            "type" if !has_type(says, value) => Some(format!("expected {says}")),
            "enum" if !says.as_array().is_some_and(|all| all.contains(value)) => {
                Some(format!("expected one of {says}"))
            }
            "minimum" => {
                let less = value
                    .as_f64()
                    .zip(says.as_f64())
                    .is_some_and(|(is, min)| is < min);
                less.then(|| format!("expected at least {says}"))
            }
            "pattern" => pattern(says, value),
            "required" => required(says, value),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    at(root, says, item, &format!("{place}[{index}]"), faults);
                }
                None
            }
            "properties" | "additionalProperties" => {
                let is_rest = word == "additionalProperties";
                for (name, item) in value.as_object().into_iter().flatten() {
                    let place = join(place, name);
                    match (words.get("properties").and_then(|p| p.get(name)), is_rest) {
                        (Some(schema), false) => at(root, schema, item, &place, faults),
                        (None, true) => at(root, says, item, &place, faults),
                        _ => {}
                    }
                }
                None
            }
            "type" | "enum" => None,
            word if SILENT.contains(&word) => None,
            word => Some(format!("the schema says {word:?}, which is not understood")),
        };
        if let Some(fault) = fault {
            faults.push(format!("{place}: {fault}, found {value}"));
        }
    }
}

fn join(place: &str, name: &str) -> String {
    match place {
        "" => name.to_owned(),
        place => format!("{place}.{name}"),
    }
}

fn has_type(says: &Value, value: &Value) -> bool {
    match says {
        Value::Array(all) => all.iter().any(|says| has_type(says, value)),
        Value::String(says) => match says.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            _ => false,
        },
        _ => false,
    }
}

fn pattern(says: &Value, value: &Value) -> Option<String> {
    let (says, text) = (says.as_str()?, value.as_str()?);
    match regex::Regex::new(says) {
        Ok(pattern) if pattern.is_match(text) => None,
        Ok(_) => Some(format!("expected what fits {says}")),
        Err(error) => Some(format!("the schema's pattern {says} is wrong: {error}")),
    }
}

fn required(says: &Value, value: &Value) -> Option<String> {
    let object = value.as_object()?;
    let names = says
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let missing: Vec<_> = names.filter(|name| !object.contains_key(*name)).collect();
    (!missing.is_empty()).then(|| format!("expected {}", missing.join(", ")))
}
