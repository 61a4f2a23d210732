//! Paths through an object: keys, places in lists, and elements of lists by a field.
//!
//! Invariant: following a path never fails; what is not there is null.

use std::borrow::Cow;

use serde_json::Value;

use super::super::object::seconds_of;
use super::super::quantity::Quantity;

/// A path whose steps are understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A key of a map, or a place in a list; `key=value` takes the key only if it has the value.
    Key(String),
    /// The element of a list whose field has a value.
    Where(String, String),
}

static NULL: Value = Value::Null;

impl Path {
    /// Understands the steps of a path.
    pub(super) fn compile(steps: &[String]) -> Result<Self, String> {
        let step = |step: &String| match step.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
            None => Ok(Step::Key(step.clone())),
            Some(inner) => match inner.split_once('=') {
                Some((key, value)) => Ok(Step::Where(key.to_owned(), value.to_owned())),
                None => Err(format!("list lookup `{step}`: expected [key=value]")),
            },
        };
        steps.iter().map(step).collect::<Result<_, _>>().map(Self)
    }

    /// The value that the path leads to.
    pub(super) fn get<'a>(&self, object: &'a Value) -> &'a Value {
        let mut value = object;
        for step in &self.0 {
            value = match (step, value) {
                (Step::Key(key), Value::Object(map)) => {
                    let equal = key.split_once('=').and_then(|(key, wanted)| {
                        map.get(key).filter(|value| value.as_str() == Some(wanted))
                    });
                    equal.or_else(|| map.get(key)).unwrap_or(&NULL)
                }
                (Step::Key(key), Value::Array(list)) => place(key, list.len())
                    .and_then(|place| list.get(place))
                    .unwrap_or(&NULL),
                (Step::Where(key, wanted), Value::Array(list)) => list
                    .iter()
                    .find(|item| item.get(key).is_some_and(|value| is(value, wanted)))
                    .unwrap_or(&NULL),
                _ => &NULL,
            };
        }
        value
    }

    /// The only step, if it is a key.
    pub(super) fn only_key(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Step::Key(key)] if !key.is_empty() && !key.contains(',') => Some(key),
            _ => None,
        }
    }
}

/// A place in a list; from its end where it is negative.
fn place(text: &str, length: usize) -> Option<usize> {
    let place: i64 = text.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    usize::try_from(if place < 0 { place + length } else { place }).ok()
}

/// Whether a value is what a text says: the text, its number, or its truth.
fn is(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) if text == wanted => true,
        Value::Bool(truth) if truth_of(wanted) == Some(*truth) => true,
        value => matches!((float(value), float_of(wanted)), (Ok(a), Ok(b)) if a == b),
    }
}

fn truth_of(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A value as a sample.
pub(super) fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Bool(truth) => Ok(f64::from(*truth)),
        Value::Number(number) => number
            .as_f64()
            .ok_or_else(|| format!("{number} is no float")),
        Value::String(text) => float_of(text),
        Value::Null => Err("expected a number, found nothing".to_owned()),
        Value::Array(_) | Value::Object(_) => Err(format!("expected a number, found {value}")),
    }
}

/// A text as a sample: a truth, a time, a quantity, a percentage, or a number.
fn float_of(text: &str) -> Result<f64, String> {
    if ["true", "yes"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
    {
        return Ok(1.0);
    }
    if ["false", "no", "unknown"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
    {
        return Ok(0.0);
    }
    if let Some(seconds) = seconds_of(text) {
        return Ok(seconds);
    }
    if let Some(quantity) = Quantity::parse(text) {
        return Ok(quantity.approximate());
    }
    let percent = text.strip_suffix('%');
    let percent = percent.filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
    let number: Result<f64, _> = percent.unwrap_or(text).parse();
    let number = number.map_err(|_| format!("expected a number, found `{text}`"))?;
    Ok(if percent.is_some() {
        number / 100.0
    } else {
        number
    })
}

/// A value as the text of a label.
pub(super) fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed("<nil>"),
        Value::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        Value::Number(number) => Cow::Owned(match number.as_f64() {
            Some(float) if number.is_f64() => {
                let mut text = Vec::new();
                obs_wire::prometheus::text::write_value(&mut text, float);
                String::from_utf8_lossy(&text).into_owned()
            }
            _ => number.to_string(),
        }),
        Value::Array(list) => {
            let list: Vec<_> = list.iter().map(shown).collect();
            Cow::Owned(format!("[{}]", list.join(" ")))
        }
        Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", shown(value)));
            Cow::Owned(format!("map[{}]", pairs.collect::<Vec<_>>().join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(path: &[&str], expect: &Value) {
        let object = json!({
            "metadata": {"name": "foo", "a=b": 1},
            "spec": {"order": [{"id": 1, "value": true}, {"id": 3, "value": false}]},
            "status": {"conditions": [{"name": "a", "value": 45}, {"name": "b", "value": 66}]},
        });
        let steps: Vec<_> = path.iter().map(|step| (*step).to_owned()).collect();
        assert_eq!(
            Path::compile(&steps).unwrap().get(&object),
            expect,
            "{path:?}"
        );
    }

    #[test]
    fn paths() {
        check(&["spec", "order", "0", "value"], &json!(true));
        check(&["spec", "order", "-1", "value"], &json!(false));
        check(&["spec", "order", "2"], &Value::Null);
        check(&["spec", "order", "x"], &Value::Null);
        check(&["status", "conditions", "[name=a]", "value"], &json!(45));
        check(&["status", "conditions", "[value=66]", "name"], &json!("b"));
        check(&["spec", "order", "[value=false]", "id"], &json!(3));
        check(&["metadata", "name=foo"], &json!("foo"));
        check(&["metadata", "name=bar"], &Value::Null);
        check(&["metadata", "a=b"], &json!(1));
        check(&["none", "of", "it"], &Value::Null);
        assert!(Path::compile(&["[a]".to_owned()]).is_err());
    }

    #[test]
    fn floats() {
        for (value, expect) in [
            (json!(true), Some(1.0)),
            (json!("Yes"), Some(1.0)),
            (json!("Unknown"), Some(0.0)),
            (json!("2019-10-22T16:29:31Z"), Some(1_571_761_771.0)),
            (json!("250m"), Some(0.25)),
            (json!("512Gi"), Some(549_755_813_888.0)),
            (json!("28%"), Some(0.28)),
            (json!("-1.5e3"), Some(-1500.0)),
            (json!(43.21), Some(43.21)),
            (json!("text"), None),
            (json!(["1"]), None),
            (Value::Null, None),
        ] {
            assert_eq!(float(&value).ok(), expect, "{value}");
        }
    }

    #[test]
    fn labels() {
        let value = json!({"b": [1, "x", 1.5], "a": {"c": null, "d": true}});
        assert_eq!(shown(&value), "map[a:map[c:<nil> d:true] b:[1 x 1.5]]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_path_is_followed(steps in prop::collection::vec("[a0=\\[\\]-]{0,4}", 0..5)) {
            let object = json!({"a": [{"a": "0", "0": {"a": [1]}}, "a"], "": {"a": true}});
            if let Ok(path) = Path::compile(&steps) {
                let value = path.get(&object);
                prop_assert!(float(value).is_ok() || !shown(value).is_empty() || value == "");
            }
        }
    }
}
