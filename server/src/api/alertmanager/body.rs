//! Bodies of requests to Alertmanager's API, read as its schema reads them.

use axum::body::Bytes;
use http::{HeaderMap, StatusCode, header};
use obs_model::time::parse_rfc3339;
use obs_model::{Labels, Timestamp};
use serde_json::{Map, Value};

use super::{Refusal, coded};
use axum::response::Response;

/// What is expected of a body.
const JSON: &str = "application/json";

/// A field that is wrong: the code of the schema, and the text.
pub(super) type Fault = (u16, String);

/// Reads a body in JSON; `name` is what the schema calls it.
pub(super) fn read(headers: &HeaderMap, body: &Bytes, name: &str) -> Result<Value, Refusal> {
    if body.is_empty() {
        let fault = (602, format!("{name} in body is required"));
        return Err(Box::new(refused(fault)));
    }
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map_or(Ok(JSON), |kind| kind.to_str()).unwrap_or("");
    let plain = kind.split(';').next().unwrap_or("").trim();
    if !plain.eq_ignore_ascii_case(JSON) {
        let message = format!("unsupported media type {kind:?}, only [{JSON}] are allowed");
        let refused = coded(StatusCode::UNSUPPORTED_MEDIA_TYPE, 415, &message);
        return Err(Box::new(refused));
    }
    serde_json::from_slice(body).map_err(|error| {
        let why = match error.is_eof() {
            true => "unexpected EOF".to_owned(),
            false => error.to_string(),
        };
        Box::new(refused(unread(name, &why)))
    })
}

/// A body that cannot be what it should be.
pub(super) fn unread(name: &str, why: &str) -> Fault {
    (
        400,
        format!("parsing {name} body from \"\" failed, because {why}"),
    )
}

/// A fault as an answer.
pub(super) fn refused((code, message): Fault) -> Response {
    let status = match code {
        400 => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    coded(status, code, &message)
}

/// What Go calls a value.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Fields of an object of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    /// What the schema calls the body.
    pub(super) name: &'a str,
    /// What Go calls the object.
    pub(super) go: &'a str,
    pub(super) map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// A field; nothing where it is `null`. Go's names of fields do not tell large letters from
    /// small ones.
    pub(super) fn get(self, field: &str) -> Option<&'a Value> {
        let exact = self.map.get(field);
        let found = exact.or_else(|| {
            let mut pairs = self.map.iter();
            let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case(field));
            found.map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    fn mistyped(self, field: &str, value: &Value, wanted: &str) -> Fault {
        let (kind, go) = (kind_of(value), self.go);
        let why = format!(
            "json: cannot unmarshal {kind} into Go struct field {go}.{field} of type {wanted}"
        );
        unread(self.name, &why)
    }

    pub(super) fn text(self, field: &str) -> Result<Option<&'a str>, Fault> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.mistyped(field, other, "string")),
        }
    }

    pub(super) fn flag(self, field: &str) -> Result<Option<bool>, Fault> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.mistyped(field, other, "bool")),
        }
    }

    /// Names and texts, in the order of names.
    pub(super) fn texts(self, field: &str) -> Result<Option<Vec<(&'a str, &'a str)>>, Fault> {
        let map = match self.get(field) {
            None => return Ok(None),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(self.mistyped(field, other, "models.LabelSet")),
        };
        let mut pairs = Vec::with_capacity(map.len());
        for (name, value) in map {
            match value {
                Value::String(text) => pairs.push((name.as_str(), text.as_str())),
                Value::Null => pairs.push((name.as_str(), "")),
                other => return Err(self.mistyped(field, other, "string")),
            }
        }
        pairs.sort_unstable();
        Ok(Some(pairs))
    }

    /// A time; nothing where it is Go's zero time.
    pub(super) fn time(self, field: &str) -> Result<Option<Timestamp>, Fault> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        let time = read_time(text).ok_or_else(|| {
            let why = format!("parsing time {text:?} as \"2006-01-02 15:04:05\": cannot parse {text:?} as \"2006\"");
            unread(self.name, &why)
        })?;
        Ok(Some(time).filter(|time| *time != Timestamp::MIN))
    }
}

/// A time in one of the ways that Alertmanager takes. What is before or behind the times that are
/// known here is the first or the last of them.
fn read_time(text: &str) -> Option<Timestamp> {
    if text.is_empty() {
        return Some(Timestamp::default());
    }
    if let Some(time) = parse_rfc3339(text).or_else(|| parse_rfc3339(&format!("{text}Z"))) {
        return Some(time);
    }
    // `+0100` without a colon.
    if let Some((front, back)) = text.split_at_checked(text.len().saturating_sub(2))
        && front
            .as_bytes()
            .iter()
            .rev()
            .nth(2)
            .is_some_and(|b| b"+-".contains(b))
        && let Some(time) = parse_rfc3339(&format!("{front}:{back}"))
    {
        return Some(time);
    }
    // The same time of another year says whether the rest of it is well-formed.
    let (year, rest) = text.split_at_checked(4)?;
    let year: u16 = year.parse().ok()?;
    let leap = if year.is_multiple_of(4) {
        "2000"
    } else {
        "2001"
    };
    parse_rfc3339(&format!("{leap}{rest}"))?;
    match year {
        2262.. => Some(Timestamp::MAX),
        ..=1677 => Some(Timestamp::MIN),
        _ => None,
    }
}

/// Labels of names and texts; empty texts say nothing.
pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_clients_write_them() {
        let check = |text: &str, expect: Option<&str>| {
            let found = read_time(text).map(|time| time.to_string());
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        check("2026-11-22T03:15:30.082Z", Some("2026-11-22T03:15:30.082Z"));
        check("2026-11-22T04:15:30+01:00", Some("2026-11-22T03:15:30Z"));
        check("2026-11-22T04:15:30+0100", Some("2026-11-22T03:15:30Z"));
        check("2026-11-22 03:15:30", Some("2026-11-22T03:15:30Z"));
        check("2026-11-22T03:15:30", Some("2026-11-22T03:15:30Z"));
        check("", Some("1970-01-01T00:00:00Z"));
        check("soon", None);
        check("2026-13-22T03:15:30Z", None);
        assert_eq!(read_time("0001-01-01T00:00:00.000Z"), Some(Timestamp::MIN));
        assert_eq!(read_time("9999-12-31T23:59:59Z"), Some(Timestamp::MAX));
        assert_eq!(read_time("9999-99-31T23:59:59Z"), None);
    }
}
