//! Attributes between the schema, the model and text.
//!
//! Invariant: what comes in nests at most `depth_max` deep and no list is longer than
//! `attributes_max`, so that whoever walks a value later may recurse.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use obs_model::labels::LabelsBuilder;
use obs_model::limits::Limits;
use obs_model::spans::{Attribute, AttributeValue};

use super::proto::values::{AnyValue, ArrayValue, KeyValue, KeyValueList, Value};
use super::shown;

/// The model's attributes of a resource, scope, span, event or link.
pub(crate) fn from_proto(list: Vec<KeyValue>, limits: &Limits) -> Result<Vec<Attribute>, String> {
    if list.len() > limits.attributes_max {
        return Err(format!(
            "{} attributes exceed the limit attributes_max of {}",
            list.len(),
            limits.attributes_max
        ));
    }
    list.into_iter()
        .map(|pair| attribute(pair, limits.depth_max))
        .collect()
}

fn attribute(pair: KeyValue, depth: usize) -> Result<Attribute, String> {
    let value = match pair.value {
        None => AttributeValue::Empty,
        Some(value) => value_from_proto(value, depth)
            .map_err(|reason| format!("attribute {}: {reason}", shown(&pair.key)))?,
    };
    Ok(Attribute {
        key: pair.key,
        value,
    })
}

/// The model's value; `depth` is how many levels of arrays and maps it may have.
pub(crate) fn value_from_proto(value: AnyValue, depth: usize) -> Result<AttributeValue, String> {
    let deeper = || {
        depth
            .checked_sub(1)
            .ok_or("nests deeper than the limit depth_max")
    };
    Ok(match value.value {
        None => AttributeValue::Empty,
        Some(Value::String(text)) => AttributeValue::String(text),
        Some(Value::Bool(truth)) => AttributeValue::Bool(truth),
        Some(Value::Int(number)) => AttributeValue::Int(number),
        Some(Value::Double(number)) => AttributeValue::Double(number),
        Some(Value::Bytes(bytes)) => AttributeValue::Bytes(bytes),
        Some(Value::RawText(bytes)) => {
            AttributeValue::String(String::from_utf8_lossy(&bytes).into_owned())
        }
        Some(Value::Array(array)) => {
            let depth = deeper()?;
            let values = array.values.into_iter();
            AttributeValue::Array(
                values
                    .map(|v| value_from_proto(v, depth))
                    .collect::<Result<_, _>>()?,
            )
        }
        Some(Value::Map(list)) => {
            let depth = deeper()?;
            let pairs = list.values.into_iter();
            AttributeValue::Map(
                pairs
                    .map(|p| attribute(p, depth))
                    .collect::<Result<_, _>>()?,
            )
        }
    })
}

/// Refuses labels beyond the limits; `limit` names the one for their number.
pub(crate) fn check_labels(
    labels: &LabelsBuilder,
    limits: &Limits,
    limit: &str,
    max: usize,
) -> Result<(), String> {
    let count = labels.iter().count();
    if count > max {
        return Err(format!("{count} labels exceed the limit {limit} of {max}"));
    }
    labels
        .iter()
        .try_for_each(|(name, value)| check_label(name, value, limits))
}

/// Refuses one label beyond the limits.
pub(crate) fn check_label(name: &str, value: &str, limits: &Limits) -> Result<(), String> {
    let name_max = limits.label_name_bytes_max;
    if name.len() > name_max {
        let bytes = name.len();
        return Err(format!(
            "a name of {bytes} bytes exceeds the limit label_name_bytes_max of {name_max}"
        ));
    }
    let value_max = limits.label_value_bytes_max;
    if value.len() > value_max {
        let (name, bytes) = (shown(name), value.len());
        return Err(format!(
            "{name} has {bytes} bytes, which exceeds the limit label_value_bytes_max of {value_max}"
        ));
    }
    Ok(())
}

/// An id in hex; all zeroes is none.
pub(crate) fn hex_id(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::new();
    if bytes.iter().any(|b| *b != 0) {
        text.reserve(bytes.len() * 2);
        for byte in bytes {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    text
}

/// The schema's attributes.
pub(crate) fn to_proto(list: &[Attribute]) -> Vec<KeyValue> {
    let pair = |a: &Attribute| KeyValue {
        key: a.key.clone(),
        value: Some(value_to_proto(&a.value)),
    };
    list.iter().map(pair).collect()
}

fn value_to_proto(value: &AttributeValue) -> AnyValue {
    let value = match value {
        AttributeValue::Empty => None,
        AttributeValue::String(text) => Some(Value::String(text.clone())),
        AttributeValue::Bool(truth) => Some(Value::Bool(*truth)),
        AttributeValue::Int(number) => Some(Value::Int(*number)),
        AttributeValue::Double(number) => Some(Value::Double(*number)),
        AttributeValue::Bytes(bytes) => Some(Value::Bytes(bytes.clone())),
        AttributeValue::Array(values) => Some(Value::Array(ArrayValue {
            values: values.iter().map(value_to_proto).collect(),
        })),
        AttributeValue::Map(pairs) => Some(Value::Map(KeyValueList {
            values: to_proto(pairs),
        })),
    };
    AnyValue { value }
}

/// A value as text, as the collector's `AsString` has it: texts as they are, maps and arrays as
/// JSON with sorted keys, bytes in base64, nothing as the empty text.
pub fn to_text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Empty => String::new(),
        AttributeValue::String(text) => text.clone(),
        AttributeValue::Bytes(bytes) => STANDARD.encode(bytes),
        AttributeValue::Double(number) if !number.is_finite() => non_finite(*number).to_owned(),
        AttributeValue::Bool(_)
        | AttributeValue::Int(_)
        | AttributeValue::Double(_)
        | AttributeValue::Array(_)
        | AttributeValue::Map(_) => {
            let mut text = String::new();
            write_json(value, &mut text);
            text
        }
    }
}

fn non_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

/// A float as Go's JSON prints it: without exponent from 1e-6 up to 1e21.
fn write_double(number: f64, out: &mut String) {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        out.push_str(&number.to_string());
    } else {
        // Rust prints 1e21 where Go prints 1e+21, and both 1e-7.
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => {
                out.push_str(digits);
                out.push_str("e+");
                out.push_str(power);
            }
            Some(_) | None => out.push_str(&text),
        }
    }
}

fn write_json(value: &AttributeValue, out: &mut String) {
    match value {
        AttributeValue::Empty => out.push_str("null"),
        AttributeValue::String(text) => write_json_text(text, out),
        AttributeValue::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        AttributeValue::Int(number) => out.push_str(&number.to_string()),
        AttributeValue::Double(number) if number.is_finite() => write_double(*number, out),
        AttributeValue::Double(number) => write_json_text(non_finite(*number), out),
        AttributeValue::Bytes(bytes) => write_json_text(&STANDARD.encode(bytes), out),
        AttributeValue::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(value, out);
            }
            out.push(']');
        }
        AttributeValue::Map(pairs) => {
            // Sorted, and of equal keys the last, as Go's maps print.
            let mut sorted: Vec<&Attribute> = pairs.iter().collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            out.push('{');
            for (index, pair) in sorted.iter().enumerate() {
                if sorted
                    .get(index + 1)
                    .is_some_and(|next| next.key == pair.key)
                {
                    continue;
                }
                if !out.ends_with('{') {
                    out.push(',');
                }
                write_json_text(&pair.key, out);
                out.push(':');
                write_json(&pair.value, out);
            }
            out.push('}');
        }
    }
}

fn write_json_text(text: &str, out: &mut String) {
    let quoted = serde_json::to_string(text).expect("a text can always be written as JSON");
    out.push_str(&quoted);
}
