//! Go's predefined functions, and what functions see of their arguments.

use std::cmp::Ordering;

use super::printf;
use super::time::Moment;
use super::value::Value;
use super::{CallError, Functions};

/// Words that are no functions.
const KEYWORDS: &[&str] = &[
    "block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with",
];

/// Predefined functions, but `and` and `or`, which do not take all of their arguments.
const NAMES: &[&str] = &[
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery",
];

/// No functions but the predefined ones.
#[derive(Clone, Copy, Debug)]
pub struct NoFunctions;

impl Functions for NoFunctions {
    fn knows(&self, _: &str) -> bool {
        false
    }

    fn call(&self, name: &str, _: &Arguments) -> Result<Value, CallError> {
        Err(CallError::Failed(format!("{name} is not a function")))
    }
}

pub(super) fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name)
}

pub(super) fn knows(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The arguments of a call.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    values: Vec<Value>,
    /// Which of them are numbers in the text of the template: those fit any type of number.
    literal: Vec<bool>,
}

impl Arguments {
    pub(super) fn push(&mut self, value: Value, literal: bool) {
        self.values.push(value);
        self.literal.push(literal);
    }

    /// All of them.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Fails unless there are so many.
    pub fn expect(&self, name: &str, count: usize) -> Result<(), CallError> {
        let got = self.values.len();
        if got == count {
            return Ok(());
        }
        Err(CallError::Arguments(format!(
            "wrong number of args for {name}: want {count} got {got}"
        )))
    }

    /// Fails unless there are at least so many.
    pub fn expect_at_least(&self, name: &str, count: usize) -> Result<(), CallError> {
        let got = self.values.len();
        if got >= count {
            return Ok(());
        }
        Err(CallError::Arguments(format!(
            "wrong number of args for {name}: want at least {count} got {got}"
        )))
    }

    fn wrong(&self, at: usize, expected: &str) -> CallError {
        let got = self.values.get(at).map_or("nil", Value::type_name);
        CallError::Arguments(format!(
            "wrong type for value; expected {expected}; got {got}"
        ))
    }

    /// A text.
    pub fn text(&self, at: usize) -> Result<&str, CallError> {
        match self.values.get(at) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.wrong(at, "string")),
        }
    }

    /// A whole number.
    pub fn int(&self, at: usize) -> Result<i64, CallError> {
        match self.values.get(at) {
            Some(Value::Int(value)) => Ok(*value),
            Some(Value::Float(value)) if self.literal[at] && value.fract() == 0.0 => {
                Ok(*value as i64)
            }
            _ => Err(self.wrong(at, "int")),
        }
    }

    /// A time.
    pub fn time(&self, at: usize) -> Result<&Moment, CallError> {
        match self.values.get(at) {
            Some(Value::Time(time)) => Ok(time),
            _ => Err(self.wrong(at, "time.Time")),
        }
    }

    /// A number.
    pub fn float(&self, at: usize) -> Result<f64, CallError> {
        match self.values.get(at) {
            Some(Value::Float(value)) => Ok(*value),
            Some(Value::Int(value)) if self.literal[at] => Ok(*value as f64),
            _ => Err(self.wrong(at, "float64")),
        }
    }
}

/// Calls a predefined function.
pub(super) fn call(name: &str, arguments: &Arguments) -> Result<Value, CallError> {
    let values = arguments.values();
    match name {
        "not" => {
            arguments.expect(name, 1)?;
            Ok(Value::Bool(!values[0].is_true()))
        }
        "len" => {
            arguments.expect(name, 1)?;
            length(&values[0])
        }
        "index" => {
            arguments.expect_at_least(name, 1)?;
            index(&values[0], &values[1..])
        }
        "slice" => {
            arguments.expect_at_least(name, 1)?;
            slice(&values[0], &values[1..])
        }
        "print" => Ok(printf::print(values).into()),
        "println" => Ok(printf::println(values).into()),
        "printf" => {
            arguments.expect_at_least(name, 1)?;
            Ok(printf::format(arguments.text(0)?, &values[1..]).into())
        }
        "html" => Ok(html(&text_of(values)).into()),
        "js" => Ok(js(&text_of(values)).into()),
        "urlquery" => Ok(urlquery(&text_of(values)).into()),
        "eq" => equal_to_any(arguments),
        "ne" | "lt" | "le" | "gt" | "ge" => {
            arguments.expect(name, 2)?;
            compare(name, &values[0], &values[1])
        }
        "call" => {
            arguments.expect_at_least(name, 1)?;
            let kind = values[0].type_name();
            Err(CallError::Failed(format!("non-function of type {kind}")))
        }
        _ => Err(CallError::Failed(format!("{name} is not a function"))),
    }
}

fn failed<T>(message: impl Into<String>) -> Result<T, CallError> {
    Err(CallError::Failed(message.into()))
}

/// One text as it is; anything else as `print` has it.
fn text_of(values: &[Value]) -> String {
    match values {
        [Value::Text(text) | Value::Html(text)] => text.to_string(),
        values => printf::print(values),
    }
}

fn length(value: &Value) -> Result<Value, CallError> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(values) => values.len(),
        Value::Map(map) => map.entries.len(),
        Value::Nil => return failed("len of untyped nil"),
        other => return failed(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(length as i64))
}

/// A place in a list of a length.
fn place(index: &Value, length: usize) -> Result<usize, CallError> {
    match index {
        Value::Int(at) => match usize::try_from(*at) {
            Ok(at) if at <= length => Ok(at),
            _ => failed(format!("index out of range: {at}")),
        },
        Value::Nil => failed("cannot index slice/array with nil"),
        other => failed(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        )),
    }
}

fn index(item: &Value, indices: &[Value]) -> Result<Value, CallError> {
    let mut item = item.clone();
    for index in indices {
        item = match &item {
            Value::List(values) => match values.get(place(index, values.len())?) {
                Some(value) => value.clone(),
                None => return failed(format!("index out of range: {}", index.printed())),
            },
            Value::Text(text) => match text.as_bytes().get(place(index, text.len())?) {
                Some(byte) => Value::Int(i64::from(*byte)),
                None => return failed(format!("index out of range: {}", index.printed())),
            },
            Value::Map(map) => match index {
                Value::Text(key) => match map.entries.get(&**key) {
                    Some(value) => value.clone(),
                    None if map.texts => "".into(),
                    None => Value::Nil,
                },
                other => {
                    let got = other.type_name();
                    let message = format!("value has type {got}; should be string");
                    return failed(message);
                }
            },
            Value::Nil => return failed("index of untyped nil"),
            other => return failed(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

fn slice(item: &Value, indices: &[Value]) -> Result<Value, CallError> {
    if indices.len() > 3 {
        return failed(format!("too many slice indexes: {}", indices.len()));
    }
    let length = match item {
        Value::Text(_) if indices.len() == 3 => return failed("cannot 3-index slice a string"),
        Value::Text(text) => text.len(),
        Value::List(values) => values.len(),
        Value::Nil => return failed("slice of untyped nil"),
        other => return failed(format!("can't slice item of type {}", other.type_name())),
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indices) {
        *bound = place(index, length)?;
    }
    let [from, to, most] = bounds;
    if from > to || to > most {
        return failed(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match item {
        // Inside a character, as Go may cut, there is no text.
        Value::Text(text) => String::from_utf8_lossy(&text.as_bytes()[from..to])
            .into_owned()
            .into(),
        Value::List(values) => Value::List(values[from..to].into()),
        _ => Value::Nil,
    })
}

fn equal_to_any(arguments: &Arguments) -> Result<Value, CallError> {
    let values = arguments.values();
    let [first, others @ ..] = values else {
        return arguments.expect_at_least("eq", 1).map(|()| Value::Nil);
    };
    if others.is_empty() {
        return failed("missing argument for comparison");
    }
    for other in others {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(a: &Value, b: &Value) -> Result<bool, CallError> {
    match (a, b) {
        (Value::Nil, b) => Ok(*b == Value::Nil),
        (_, Value::Nil) => Ok(false),
        (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
            let kind = match a {
                Value::List(_) | Value::Map(_) => a,
                _ => b,
            };
            let kind = kind.type_name();
            failed(format!("non-comparable type {}: {kind}", a.printed()))
        }
        (a, b) if a.type_name() != b.type_name() => failed("incompatible types for comparison"),
        (a, b) => Ok(a == b),
    }
}

fn compare(name: &str, a: &Value, b: &Value) -> Result<Value, CallError> {
    if name == "ne" {
        return equal(a, b).map(|equal| Value::Bool(!equal));
    }
    let order = match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) => return failed("invalid type for comparison"),
        (Value::Nil | Value::List(_) | Value::Map(_) | Value::Time(_) | Value::Html(_), _)
        | (_, Value::Nil | Value::List(_) | Value::Map(_) | Value::Time(_) | Value::Html(_)) => {
            return failed("invalid type for comparison");
        }
        _ => return failed("incompatible types for comparison"),
    };
    let holds = match name {
        "lt" => order == Some(Ordering::Less),
        "le" => order.is_some_and(Ordering::is_le),
        // Go has "greater" as the opposite of "less or equal", also for NaN.
        "gt" => !order.is_some_and(Ordering::is_le),
        _ => order != Some(Ordering::Less),
    };
    Ok(Value::Bool(holds))
}

/// A text with HTML's special characters escaped.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// As `url.QueryEscape`.
pub fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
