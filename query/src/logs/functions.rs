//! What templates of `line_format` and `label_format` may call, as Loki documents it.
//!
//! Invariant: a call depends on its arguments, the row and the time that the query was asked, which
//! is what `now` gives; nothing here reads a clock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use obs_model::Timestamp;

use super::decimal::{self, Operation};
use super::value;
use crate::template::texts::{self, TEXT_BYTES_MAX, pattern, title};
use crate::template::{Arguments, CallError, Functions, Moment, Value, urlquery};

/// All names.
const NAMES: &[&str] = &[
    "ToLower",
    "ToUpper",
    "Replace",
    "Trim",
    "TrimLeft",
    "TrimRight",
    "TrimPrefix",
    "TrimSuffix",
    "TrimSpace",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "count",
    "urldecode",
    "urlencode",
    "bytes",
    "duration",
    "duration_seconds",
    "unixEpochMillis",
    "unixEpochNanos",
    "unixEpoch",
    "toDateInZone",
    "unixToTime",
    "alignLeft",
    "alignRight",
    "b64enc",
    "b64dec",
    "lower",
    "upper",
    "title",
    "trunc",
    "substr",
    "contains",
    "hasPrefix",
    "hasSuffix",
    "indent",
    "nindent",
    "replace",
    "repeat",
    "trim",
    "trimAll",
    "trimSuffix",
    "trimPrefix",
    "int",
    "float64",
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "addf",
    "subf",
    "mulf",
    "divf",
    "max",
    "min",
    "maxf",
    "minf",
    "ceil",
    "floor",
    "round",
    "fromJson",
    "date",
    "toDate",
    "now",
    "default",
    "__line__",
    "__timestamp__",
];

/// The functions over one row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowFunctions<'r> {
    pub(crate) line: &'r [u8],
    pub(crate) time: Timestamp,
    /// When the query was asked.
    pub(crate) now: Timestamp,
}

type Outcome = Result<Value, CallError>;

impl Functions for RowFunctions<'_> {
    fn knows(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }

    fn call(&self, name: &str, arguments: &Arguments) -> Outcome {
        match name {
            "__line__" => {
                arguments.expect(name, 0)?;
                Ok(String::from_utf8_lossy(self.line).into_owned().into())
            }
            "__timestamp__" => {
                arguments.expect(name, 0)?;
                Ok(Value::Time(Moment::new(self.time.nanos())))
            }
            "now" => {
                arguments.expect(name, 0)?;
                Ok(Value::Time(Moment::new(self.now.nanos())))
            }
            "ToLower" | "ToUpper" | "TrimSpace" | "lower" | "upper" | "title" | "trim"
            | "urldecode" | "urlencode" | "b64enc" | "b64dec" | "bytes" | "duration"
            | "duration_seconds" | "fromJson" => {
                arguments.expect(name, 1)?;
                of_text(name, arguments.text(0)?)
            }
            "add" | "sub" | "mul" | "div" | "mod" | "max" | "min" | "int" => {
                integers(name, arguments)
            }
            "addf" | "subf" | "mulf" | "divf" | "maxf" | "minf" | "ceil" | "floor" | "round"
            | "float64" => floats(name, arguments),
            "unixEpoch" | "unixEpochMillis" | "unixEpochNanos" | "date" | "toDate"
            | "toDateInZone" | "unixToTime" => times(name, arguments, self.now),
            "default" => {
                arguments.expect_at_least(name, 1)?;
                let values = arguments.values();
                let given = values.get(1).filter(|value| value.is_true());
                Ok(given.unwrap_or(&values[0]).clone())
            }
            "Replace" | "replace" | "regexReplaceAll" | "regexReplaceAllLiteral" | "count" => {
                replacing(name, arguments)
            }
            "alignLeft" | "alignRight" | "trunc" | "substr" | "indent" | "nindent" | "repeat" => {
                lengths(name, arguments)
            }
            _ => of_two(name, arguments),
        }
    }
}

fn failed<T>(message: impl Into<String>) -> Result<T, CallError> {
    Err(CallError::Failed(message.into()))
}

/// Functions of one text.
fn of_text(name: &str, text: &str) -> Outcome {
    Ok(match name {
        "ToLower" | "lower" => text.to_lowercase().into(),
        "ToUpper" | "upper" => text.to_uppercase().into(),
        "TrimSpace" | "trim" => text.trim().into(),
        "title" => title(text).into(),
        "urlencode" => urlquery(text).into(),
        "urldecode" => return urldecode(text),
        "b64enc" => STANDARD.encode(text).into(),
        "b64dec" => match STANDARD.decode(padded(text)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // As in Loki, the fault is the value.
            Err(error) => format!(
                "illegal base64 data at input byte {}",
                odd_byte(text, &error)
            ),
        }
        .into(),
        "bytes" => Value::Float(value::bytes(text).map_err(CallError::Failed)? as f64),
        "fromJson" => serde_json::from_str(text).map_or(Value::Nil, of_json),
        // duration and duration_seconds
        _ => Value::Float(value::duration(text).map_err(CallError::Failed)? as f64 / 1e9),
    })
}

/// Functions of a text and one that it is looked at with.
fn of_two(name: &str, arguments: &Arguments) -> Outcome {
    arguments.expect(name, 2)?;
    let (a, b) = (arguments.text(0)?, arguments.text(1)?);
    Ok(match name {
        "Trim" => a.trim_matches(|c| b.contains(c)).into(),
        "TrimLeft" => a.trim_start_matches(|c| b.contains(c)).into(),
        "TrimRight" => a.trim_end_matches(|c| b.contains(c)).into(),
        "TrimPrefix" => a.strip_prefix(b).unwrap_or(a).into(),
        "TrimSuffix" => a.strip_suffix(b).unwrap_or(a).into(),
        // The lower-case ones have the text last, for pipelines.
        "trimAll" => b.trim_matches(|c| a.contains(c)).into(),
        "trimPrefix" => b.strip_prefix(a).unwrap_or(b).into(),
        "trimSuffix" => b.strip_suffix(a).unwrap_or(b).into(),
        "contains" => Value::Bool(b.contains(a)),
        "hasPrefix" => Value::Bool(b.starts_with(a)),
        "hasSuffix" => Value::Bool(b.ends_with(a)),
        _ => return failed(format!("{name} is not a function")),
    })
}

/// Base64 with the padding that was left away.
fn padded(text: &str) -> String {
    let missing = match text.len() % 4 {
        over @ (2 | 3) => 4 - over,
        _ => 0,
    };
    format!("{text}{}", &"=="[..missing])
}

/// Where Go finds the fault of a base64 text.
fn odd_byte(text: &str, error: &base64::DecodeError) -> usize {
    use base64::DecodeError as E;
    match error {
        E::InvalidByte(at, _) | E::InvalidLastSymbol(at, _) => *at,
        E::InvalidLength(_) | E::InvalidPadding => text.len(),
    }
}

fn replacing(name: &str, arguments: &Arguments) -> Outcome {
    let text = |at: usize| arguments.text(at);
    match name {
        "Replace" => {
            arguments.expect(name, 4)?;
            let (from, old, new) = (text(0)?, text(1)?, text(2)?);
            let count = usize::try_from(arguments.int(3)?).unwrap_or(usize::MAX);
            bounded(from, old, new)?;
            Ok(from.replacen(old, new, count).into())
        }
        "replace" => {
            arguments.expect(name, 3)?;
            bounded(text(2)?, text(0)?, text(1)?)?;
            Ok(text(2)?.replace(text(0)?, text(1)?).into())
        }
        "count" => {
            arguments.expect(name, 2)?;
            let found = pattern(text(0)?)?.find_iter(text(1)?).count();
            Ok(Value::Int(found as i64))
        }
        _ => {
            arguments.expect(name, 3)?;
            let (pattern, from, new) = (pattern(text(0)?)?, text(1)?, text(2)?);
            if name == "regexReplaceAll" {
                return Ok(texts::replace_all(&pattern, from, new)?.into());
            }
            texts::check_places(from.len() + 1, new)?;
            let replaced = pattern.replace_all(from, regex::NoExpand(new));
            Ok(replaced.into_owned().into())
        }
    }
}

/// Refuses a replacement whose text could be too large.
fn bounded(text: &str, old: &str, new: &str) -> Result<(), CallError> {
    let places = text.len() / old.len().max(1) + 1;
    if places.saturating_mul(new.len()).saturating_add(text.len()) > 64 * TEXT_BYTES_MAX {
        return failed(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn lengths(name: &str, arguments: &Arguments) -> Outcome {
    if name == "substr" {
        arguments.expect(name, 3)?;
        let text = arguments.text(2)?;
        return Ok(substr(arguments.int(0)?, arguments.int(1)?, text)?.into());
    }
    arguments.expect(name, 2)?;
    let (count, text) = (arguments.int(0)?, arguments.text(1)?);
    let size = usize::try_from(count).unwrap_or(0);
    let length = text.chars().count();
    // What the call adds to the text.
    let added = match name {
        "alignLeft" | "alignRight" => size.saturating_sub(length),
        "repeat" => size.saturating_mul(text.len()),
        "indent" | "nindent" => size.saturating_mul(text.matches('\n').count() + 1),
        _ => 0,
    };
    if added > TEXT_BYTES_MAX {
        return failed(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(match name {
        "alignLeft" | "alignRight" if count < 0 => text.to_owned(),
        "alignLeft" if size <= length => text.chars().take(size).collect(),
        "alignLeft" => format!("{text}{}", " ".repeat(added)),
        "alignRight" if size <= length => text.chars().skip(length - size).collect(),
        "alignRight" => format!("{}{text}", " ".repeat(added)),
        "trunc" => trunc(count, text),
        "repeat" if count < 0 => return failed("strings: negative Repeat count"),
        "repeat" => text.repeat(size),
        _ => {
            let pad = match count < 0 {
                true => return failed("strings: negative Repeat count"),
                false => " ".repeat(size),
            };
            let indented = format!("{pad}{}", text.replace('\n', &format!("\n{pad}")));
            match name {
                "nindent" => format!("\n{indented}"),
                _ => indented,
            }
        }
    }
    .into())
}

/// The first bytes of a text, or the last ones; a character that is cut becomes U+FFFD.
fn trunc(count: i64, text: &str) -> String {
    let kept = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let bytes = match text.len().checked_sub(kept) {
        None => text.as_bytes(),
        Some(left) if count < 0 => &text.as_bytes()[left..],
        Some(_) => &text.as_bytes()[..kept],
    };
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes of a text as sprig gives them: a negative start is 0, a negative end or one beyond the
/// text is its end; anything else that is no part of it is Go's error.
fn substr(start: i64, end: i64, text: &str) -> Result<String, CallError> {
    let length = text.len() as i64;
    let out = |range: String| {
        failed(format!(
            "runtime error: slice bounds out of range [{range}]"
        ))
    };
    let (start, end) = match (start, end) {
        (i64::MIN..0, i64::MIN..0) => return out(format!(":{end}")),
        (i64::MIN..0, _) if end > length => {
            return failed(format!(
                "runtime error: slice bounds out of range [:{end}] with length {length}"
            ));
        }
        (i64::MIN..0, _) => (0, end),
        _ if end < 0 || end > length => (start, length),
        _ => (start, end),
    };
    if start > end {
        return out(format!("{start}:{end}"));
    }
    let bytes = &text.as_bytes()[start as usize..end as usize];
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn urldecode(text: &str) -> Outcome {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    let wrong = String::from_utf8_lossy(&after[..after.len().min(2)]).into_owned();
                    return failed(format!("invalid URL escape \"%{wrong}\""));
                };
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            byte => out.push(*byte),
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned().into())
}

/// As sprig's casts: a text is read, anything else that is no number is 0.
fn float_of(value: &Value) -> f64 {
    match value {
        Value::Int(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Text(text) => text.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

fn int_of(value: &Value) -> i64 {
    match value {
        Value::Int(value) => *value,
        Value::Text(text) => int_of_text(text).unwrap_or(0),
        other => float_of(other) as i64,
    }
}

/// Digits with a sign, of the base that they begin with as in Go; a fraction is cut.
fn int_of_text(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => whole,
        Some(_) => return None,
        None => text,
    };
    let digits = whole.trim_start_matches(['-', '+']);
    if whole.len() - digits.len() > 1 {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [] if whole.len() < text.len() => ("0", 10),
        _ if whole.len() < text.len() && !lower.bytes().all(|b| b.is_ascii_digit()) => return None,
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    let digits = digits.replace('_', "");
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

fn integers(name: &str, arguments: &Arguments) -> Outcome {
    let values: Vec<i64> = arguments.values().iter().map(int_of).collect();
    match name {
        "int" => arguments.expect(name, 1)?,
        "sub" | "div" | "mod" => arguments.expect(name, 2)?,
        "add" => {}
        _ => arguments.expect_at_least(name, 1)?,
    }
    let all = values.iter().copied();
    Ok(Value::Int(match name {
        "int" => values[0],
        "add" => all.fold(0, i64::wrapping_add),
        "mul" => all.fold(1, i64::wrapping_mul),
        "max" => all.fold(i64::MIN, i64::max),
        "min" => all.fold(i64::MAX, i64::min),
        "sub" => values[0].wrapping_sub(values[1]),
        _ if values[1] == 0 => return failed("runtime error: integer divide by zero"),
        "div" => values[0].wrapping_div(values[1]),
        _ => values[0].wrapping_rem(values[1]),
    }))
}

fn floats(name: &str, arguments: &Arguments) -> Outcome {
    let values: Vec<f64> = arguments.values().iter().map(float_of).collect();
    match name {
        "ceil" | "floor" | "float64" => arguments.expect(name, 1)?,
        "round" => arguments.expect_at_least(name, 2)?,
        "addf" => {}
        _ => arguments.expect_at_least(name, 1)?,
    }
    let first = values.first().copied().unwrap_or(0.0);
    let rest = values.iter().skip(1).copied();
    Ok(Value::Float(match name {
        "float64" => first,
        "ceil" => first.ceil(),
        "floor" => first.floor(),
        "round" => round(first, values[1], values.get(2).copied().unwrap_or(0.5)),
        "maxf" => rest.fold(first, go_max),
        "minf" => -rest.fold(-first, |a, b| go_max(a, -b)),
        _ => return decimals(name, first, rest),
    }))
}

/// Go's, to which NaN is the largest.
fn go_max(a: f64, b: f64) -> f64 {
    match a.is_nan() || b.is_nan() {
        true => f64::NAN,
        false => a.max(b),
    }
}

/// `addf`, `subf`, `mulf` and `divf`.
fn decimals(name: &str, first: f64, rest: impl Iterator<Item = f64>) -> Outcome {
    let operation = match name {
        "addf" => Operation::Add,
        "subf" => Operation::Sub,
        "mulf" => Operation::Mul,
        _ => Operation::Div,
    };
    let mut result = first;
    for next in rest {
        if let Some(odd) = [result, next].into_iter().find(|n| !n.is_finite()) {
            let odd = match odd.is_nan() {
                true => "NaN",
                false if odd > 0.0 => "+Inf",
                false => "-Inf",
            };
            return failed(format!("Cannot create a Decimal from {odd}"));
        }
        match decimal::apply(operation, result, next) {
            Some(number) => result = number,
            None => return failed("decimal division by 0"),
        }
    }
    Ok(Value::Float(result))
}

/// Sprig's: up where the fraction of the scaled value is at least `up`.
fn round(value: f64, places: f64, up: f64) -> f64 {
    let scale = 10f64.powf(places);
    let scaled = scale * value;
    let whole = if scaled.fract() >= up {
        scaled.ceil()
    } else {
        scaled.floor()
    };
    whole / scale
}

fn times(name: &str, arguments: &Arguments, now: Timestamp) -> Outcome {
    let time = |at: usize| match arguments.values().get(at) {
        Some(Value::Time(time)) => Ok(time.clone()),
        // Seconds, as sprig takes them.
        Some(Value::Int(seconds)) => Ok(Moment::new(seconds.saturating_mul(1_000_000_000))),
        other => {
            let got = other.map_or("nil", Value::type_name);
            let message = format!("wrong type for value; expected time.Time; got {got}");
            Err(CallError::Arguments(message))
        }
    };
    let epoch = |time: &Moment, unit: i64| match time.nanos() {
        Some(nanos) => Ok(nanos.div_euclid(unit).to_string().into()),
        None => failed("a time that nanoseconds since 1970 cannot say"),
    };
    match name {
        "unixEpoch" | "unixEpochMillis" | "unixEpochNanos" => {
            arguments.expect(name, 1)?;
            let unit = match name {
                "unixEpoch" => 1_000_000_000,
                "unixEpochMillis" => 1_000_000,
                _ => 1,
            };
            epoch(&time(0)?, unit)
        }
        "date" => {
            arguments.expect(name, 2)?;
            // As in sprig, what is no time is now.
            let time = time(1).unwrap_or_else(|_| Moment::new(now.nanos()));
            Ok(time.format(arguments.text(0)?).into())
        }
        "toDate" => {
            arguments.expect(name, 2)?;
            parsed(arguments.text(0)?, "UTC", arguments.text(1)?)
        }
        "toDateInZone" => {
            arguments.expect(name, 3)?;
            parsed(arguments.text(0)?, arguments.text(1)?, arguments.text(2)?)
        }
        _ => {
            arguments.expect(name, 1)?;
            unix_to_time(arguments.text(0)?)
        }
    }
}

/// What does not parse is the zero time, as in sprig.
fn parsed(layout: &str, zone: &str, text: &str) -> Outcome {
    const ZERO: &str = "0001-01-01";
    let read = Moment::parse(layout, text, zone);
    let time = read.or_else(|_| Moment::parse("2006-01-02", ZERO, "UTC"));
    time.map(Value::Time).map_err(CallError::Failed)
}

/// Digits since 1970: days, seconds, milliseconds, microseconds or nanoseconds by their number.
fn unix_to_time(text: &str) -> Outcome {
    let wrong = |why: &str| failed(format!("unable to parse time '{text}': {why}"));
    let Ok(number) = text.parse::<i64>() else {
        return wrong(&format!(
            "strconv.ParseInt: parsing {text:?}: invalid syntax"
        ));
    };
    let unit = match text.len() {
        5 => 86_400 * 1_000_000_000,
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return wrong("expected 5, 10, 13, 16 or 19 digits"),
    };
    Ok(Value::Time(Moment::new(number.saturating_mul(unit))))
}

fn of_json(json: serde_json::Value) -> Value {
    use serde_json::Value as J;
    match json {
        J::Null => Value::Nil,
        J::Bool(value) => Value::Bool(value),
        J::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        J::String(text) => text.into(),
        J::Array(values) => Value::list(values.into_iter().map(of_json)),
        J::Object(pairs) => {
            let pairs: Vec<(String, Value)> = pairs
                .into_iter()
                .map(|(key, value)| (key, of_json(value)))
                .collect();
            Value::map(
                pairs
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.clone())),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;

    #[track_caller]
    fn check(cases: &[(&str, &str)]) {
        let functions = RowFunctions {
            line: b"the line",
            time: Timestamp::from_nanos(1_772_719_629_120_000_000),
            now: Timestamp::from_seconds(1_772_719_700),
        };
        let data = Value::texts([
            ("app", "Shop"),
            ("took", "1m30s"),
            ("json", r#"{"a":[1,"x"]}"#),
        ]);
        for (text, expect) in cases {
            let template = Template::parse("line", text, &functions);
            let got = template.and_then(|template| template.execute(&data, &functions));
            let got = got.unwrap_or_else(|error| error.to_string());
            assert_eq!(got, *expect, "{text}");
        }
    }

    #[test]
    fn texts() {
        check(&[
            (
                "{{ToLower .app}} {{.app | upper}} {{title \"a bc d'e\"}}",
                "shop SHOP A Bc D'E",
            ),
            (
                "{{Replace \"aaa\" \"a\" \"b\" 2}} {{replace \"a\" \"b\" \"aaa\"}}",
                "bba bbb",
            ),
            (
                "{{Trim \"xaxx\" \"x\"}} {{trimAll \"x\" \"xax\"}} {{trimPrefix \"S\" .app}} {{TrimSuffix .app \"op\"}}",
                "a a hop Sh",
            ),
            (
                "{{TrimLeft \"xxa\" \"x\"}} {{TrimRight \"axx\" \"x\"}} {{TrimSpace \" a \"}}",
                "a a a",
            ),
            (
                "{{contains \"ho\" .app}} {{hasPrefix \"S\" .app}} {{hasSuffix \"S\" .app}}",
                "true true false",
            ),
            (
                "{{regexReplaceAll \"(a+)b\" \"xaab\" \"<${1}>\"}} {{regexReplaceAllLiteral \"a\" \"aa\" \"$1\"}}",
                "x<aa> $1$1",
            ),
            ("{{count \"a|b\" \"abcab\"}}", "4"),
            (
                "{{ToUpper \"a\"}} {{TrimPrefix \"ab\" \"a\"}} {{lower \"A\"}} {{trim \" a \"}} {{trimSuffix \"b\" \"ab\"}}",
                "A b a a a",
            ),
            ("{{le 1 1}} {{gt 2 1}} {{le 2 1}}", "true true false"),
            (
                "{{alignLeft 5 \"abc\"}}|{{alignRight 5 \"abc\"}}|{{alignLeft 2 \"abc\"}}|{{alignRight 2 \"abc\"}}",
                "abc  |  abc|ab|bc",
            ),
            (
                "{{trunc 2 \"abc\"}} {{trunc -2 \"abc\"}} {{substr 1 3 \"abcd\"}} {{substr -1 2 \"abcd\"}} {{substr 1 -1 \"abcd\"}} {{substr 1 99 \"abcd\"}} {{trunc 9 \"ab\"}} {{trunc -9 \"ab\"}}",
                "ab bc bc ab bcd bcd ab ab",
            ),
            (
                "{{indent 2 \"a\\nb\"}}{{nindent 1 \"c\"}} {{repeat 3 \"ab\"}}",
                "  a\n  b\n c ababab",
            ),
            (
                "{{urlencode \"a b&\"}} {{urldecode \"a+b%26\"}} {{b64enc \"hi\"}} {{b64dec \"aGk\"}}",
                "a+b%26 a b& aGk= hi",
            ),
            (
                "{{b64dec \"!!\"}} {{default \"only\"}} {{trunc 1 \"ä\"}}",
                "illegal base64 data at input byte 0 only \u{fffd}",
            ),
            ("{{default \"-\" .none}} {{default \"-\" .app}}", "- Shop"),
            ("{{__line__}} {{__line__ | upper}}", "the line THE LINE"),
            (
                "{{range $k, $v := fromJson .json}}{{$k}}={{index $v 1}}{{end}} {{fromJson \"{\"}}",
                "a=x <no value>",
            ),
        ]);
    }

    #[test]
    fn numbers() {
        check(&[
            (
                "{{add 1 \"2\" 3.9}} {{sub 5 2}} {{mul 2 3 4}} {{div 7 2}} {{mod 7 4}}",
                "6 3 24 3 3",
            ),
            (
                "{{max 1 5 3}} {{min 4 2}} {{int \"12\"}} {{int \"1.9\"}} {{float64 \"2.5\"}}",
                "5 2 12 1 2.5",
            ),
            (
                "{{addf 1.5 2}} {{subf 5 1.5 1}} {{mulf 2 1.5}} {{divf 10 4}} {{maxf 1 2.5}} {{minf 3 2.5}}",
                "3.5 2.5 3 2.5 2.5 2.5",
            ),
            (
                "{{addf 0.1 0.2}} {{subf 1.1 1}} {{mulf 1.1 1.1}} {{addf}}",
                "0.3 0.1 1.21 0",
            ),
            (
                "{{int \"0x1f\"}} {{int \"010\"}} {{int \"-5.9\"}} {{int \"x\"}} {{int \"1_000\"}} {{add \".5\" 1}}",
                "31 8 -5 0 1000 1",
            ),
            (
                "{{ceil 1.2}} {{floor \"1.8\"}} {{round 123.5555 3}} {{round 1.4 0 0.3}}",
                "2 1 123.556 2",
            ),
            (
                "{{bytes \"2 KB\"}} {{duration .took}} {{duration_seconds \"250ms\"}}",
                "2000 90 0.25",
            ),
        ]);
    }

    #[test]
    fn dates() {
        check(&[
            (
                "{{__timestamp__ | date \"2006-01-02 15:04\"}}",
                "2026-03-05 14:07",
            ),
            (
                "{{unixEpoch __timestamp__}} {{unixEpochMillis __timestamp__}} {{unixEpochNanos __timestamp__}}",
                "1772719629 1772719629120 1772719629120000000",
            ),
            ("{{now | unixEpoch}}", "1772719700"),
            (
                "{{date \"2006-01-02\" \"x\"}} {{date \"2006\" 0}}",
                "2026-03-05 1970",
            ),
            (
                "{{date \"15:04\" (toDate \"2006-01-02 15:04\" \"2026-03-05 01:02\")}}",
                "01:02",
            ),
            (
                "{{toDateInZone \"2006-01-02\" \"Europe/Berlin\" \"2026-07-01\" | unixEpoch}}",
                "1782856800",
            ),
            (
                "{{unixToTime \"1772719629\" | date \"2006\"}} {{unixToTime \"20517\" | date \"2006-01-02\"}}",
                "2026 2026-03-05",
            ),
        ]);
    }

    #[test]
    fn faults_and_bounds() {
        check(&[
            (
                "{{div 1 0}}",
                "template: line:1:2: executing \"line\" at <div>: error calling div: runtime error: integer divide by zero",
            ),
            (
                "{{duration \"x\"}}",
                "template: line:1:2: executing \"line\" at <duration>: error calling duration: time: invalid duration \"x\"",
            ),
            (
                "{{repeat 2000000 \"ab\"}}",
                "template: line:1:2: executing \"line\" at <repeat>: error calling repeat: a text of more than 1048576 bytes",
            ),
            (
                "{{repeat 2000000 \"a\"}}",
                "template: line:1:2: executing \"line\" at <repeat>: error calling repeat: a text of more than 1048576 bytes",
            ),
            (
                "{{alignLeft 2000000 \"a\"}}",
                "template: line:1:2: executing \"line\" at <alignLeft>: error calling alignLeft: a text of more than 1048576 bytes",
            ),
            (
                "{{nindent 2000000 \"a\"}}",
                "template: line:1:2: executing \"line\" at <nindent>: error calling nindent: a text of more than 1048576 bytes",
            ),
            (
                "{{repeat -1 \"a\"}}",
                "template: line:1:2: executing \"line\" at <repeat>: error calling repeat: strings: negative Repeat count",
            ),
            (
                "{{substr 4 9 \"abc\"}}",
                "template: line:1:2: executing \"line\" at <substr>: error calling substr: runtime error: slice bounds out of range [4:3]",
            ),
            (
                "{{substr -1 9 \"abc\"}}",
                "template: line:1:2: executing \"line\" at <substr>: error calling substr: runtime error: slice bounds out of range [:9] with length 3",
            ),
            (
                "{{divf 1 0}}",
                "template: line:1:2: executing \"line\" at <divf>: error calling divf: decimal division by 0",
            ),
            (
                "{{unixToTime \"a\"}}",
                "template: line:1:2: executing \"line\" at <unixToTime>: error calling unixToTime: unable to parse time 'a': strconv.ParseInt: parsing \"a\": invalid syntax",
            ),
            (
                "{{count \"(\" \"x\"}}",
                "template: line:1:2: executing \"line\" at <count>: error calling count: error parsing regexp: \"(\"",
            ),
            (
                "{{urldecode \"%zz\"}}",
                "template: line:1:2: executing \"line\" at <urldecode>: error calling urldecode: invalid URL escape \"%zz\"",
            ),
            (
                "{{unixToTime \"12\"}}",
                "template: line:1:2: executing \"line\" at <unixToTime>: error calling unixToTime: unable to parse time '12': expected 5, 10, 13, 16 or 19 digits",
            ),
        ]);
    }
}
