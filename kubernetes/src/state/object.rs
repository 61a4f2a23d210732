//! A Kubernetes object as the JSON that the API server sent, read by dotted paths.
//!
//! Invariant: what is absent, null or of another kind than asked for reads as empty, so that no
//! object, however odd, stops the rendering of another.

use obs_model::time::{NANOS_PER_SECOND, parse_rfc3339};
use serde_json::Value;

/// What Go's zero time is in seconds since 1970; kube-state-metrics prints it where a time that a
/// metric needs is not set.
const ZERO_TIME: f64 = -62_135_596_800.0;

static NULL: Value = Value::Null;

/// The value at a path of keys with dots between; null where there is none.
pub(super) fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    if path.is_empty() {
        return object;
    }
    let mut value = object;
    for key in path.split('.') {
        match value.get(key) {
            Some(inner) => value = inner,
            None => return &NULL,
        }
    }
    value
}

/// A text, or the empty one.
pub(super) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or("")
}

/// A text, if it is there.
pub(super) fn text_if<'a>(object: &'a Value, path: &str) -> Option<&'a str> {
    at(object, path).as_str()
}

/// A number, if it is there.
pub(super) fn number(object: &Value, path: &str) -> Option<f64> {
    at(object, path).as_f64()
}

/// A whole number as text, or nothing.
pub(super) fn integer_text(object: &Value, path: &str) -> Option<String> {
    at(object, path).as_i64().map(|number| number.to_string())
}

/// Whether a field is true.
pub(super) fn flag(object: &Value, path: &str) -> bool {
    at(object, path).as_bool().unwrap_or(false)
}

/// A field that may be true, false or absent, as text.
pub(super) fn flag_text(object: &Value, path: &str) -> &'static str {
    match at(object, path).as_bool() {
        Some(true) => "true",
        Some(false) => "false",
        None => "",
    }
}

/// Whether a field is there.
pub(super) fn is_set(object: &Value, path: &str) -> bool {
    !at(object, path).is_null()
}

/// The elements of a list.
pub(super) fn items<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(super) fn texts<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a str> {
    items(object, path).iter().filter_map(Value::as_str)
}

/// The entries of a map, by key.
pub(super) fn entries<'a>(
    object: &'a Value,
    path: &str,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let map = at(object, path).as_object();
    map.into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

/// The entries of a map whose values are text, by key.
pub(super) fn text_entries<'a>(object: &'a Value, path: &str) -> Vec<(&'a str, &'a str)> {
    entries(object, path)
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .collect()
}

/// A time in whole seconds since 1970, if it is there.
pub(super) fn seconds(object: &Value, path: &str) -> Option<f64> {
    seconds_of(text_if(object, path)?)
}

/// A time in whole seconds since 1970, as Go's zero time where there is none.
pub(super) fn seconds_or_zero(object: &Value, path: &str) -> f64 {
    seconds(object, path).unwrap_or(ZERO_TIME)
}

/// The whole seconds since 1970 of a time as RFC 3339 writes it.
pub(super) fn seconds_of(text: &str) -> Option<f64> {
    let nanos = parse_rfc3339(text)?.nanos();
    Some(nanos.div_euclid(NANOS_PER_SECOND) as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_empty() {
        let object = json!({"spec": {"replicas": 3, "paused": true, "names": ["a", 1, "b"],
            "selector": {"x": "y", "n": 1}, "time": "2020-01-01T00:00:01.9Z", "null": null}});
        assert_eq!(number(&object, "spec.replicas"), Some(3.0));
        assert_eq!(number(&object, "spec.replicas.more"), None);
        assert_eq!(number(&object, "spec.paused"), None);
        assert!(flag(&object, "spec.paused") && !flag(&object, "status.paused"));
        assert_eq!(flag_text(&object, "spec.paused"), "true");
        assert_eq!(flag_text(&object, "spec.none"), "");
        assert_eq!(texts(&object, "spec.names").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(text_entries(&object, "spec.selector"), [("x", "y")]);
        assert_eq!(seconds(&object, "spec.time"), Some(1_577_836_801.0));
        assert_eq!(seconds_or_zero(&object, "spec.null"), ZERO_TIME);
        assert!(!is_set(&object, "spec.null") && is_set(&object, "spec"));
        assert_eq!(items(&object, "spec"), &[] as &[Value]);
        assert_eq!(integer_text(&object, "spec.replicas").as_deref(), Some("3"));
    }
}
