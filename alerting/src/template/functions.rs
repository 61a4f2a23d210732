//! The functions of Prometheus' templates.

use std::sync::Arc;

use obs_model::{Timestamp, duration};
use obs_query::template::texts;
use obs_query::template::{Arguments, CallError, Functions, Moment, Value};

use super::numbers;

/// One element of an answer to a `query` in a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its labels.
    pub labels: obs_model::Labels,
    /// Its value.
    pub value: f64,
}

/// Answers the queries of templates at the time of the evaluation.
pub type Asking<'a> = &'a dyn Fn(&str) -> Result<Vec<Asked>, String>;

/// All names.
const NAMES: &[&str] = &[
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

/// The functions for one element.
pub(super) struct RuleFunctions<'a> {
    pub(super) asking: Asking<'a>,
    pub(super) now: Timestamp,
    pub(super) external_url: &'a str,
}

type Outcome = Result<Value, CallError>;

fn failed(text: impl Into<String>) -> CallError {
    CallError::Failed(text.into())
}

impl RuleFunctions<'_> {
    /// Those of a parser, which only asks for names.
    pub(super) fn unable() -> RuleFunctions<'static> {
        RuleFunctions {
            asking: &|_| Err("queries are not answered here".to_owned()),
            now: Timestamp::default(),
            external_url: "",
        }
    }
}

impl Functions for RuleFunctions<'_> {
    fn knows(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }

    fn call(&self, name: &str, arguments: &Arguments) -> Outcome {
        match name {
            "args" => {
                let named = arguments.values().iter().enumerate();
                let named: Vec<_> = named.map(|(i, v)| (format!("arg{i}"), v.clone())).collect();
                Ok(Value::map(
                    named.iter().map(|(k, v)| (k.as_str(), v.clone())),
                ))
            }
            "now" => {
                arguments.expect(name, 0)?;
                Ok(Value::Float(self.now.seconds_f64()))
            }
            "externalURL" => {
                arguments.expect(name, 0)?;
                Ok(self.external_url.into())
            }
            "pathPrefix" => {
                arguments.expect(name, 0)?;
                Ok(path(self.external_url).into())
            }
            "first" | "value" | "strvalue" | "query" | "title" | "toUpper" | "toLower"
            | "stripPort" | "stripDomain" | "graphLink" | "tableLink" | "parseDuration"
            | "urlQueryEscape" | "safeHtml" | "humanize" | "humanize1024" | "humanizeDuration"
            | "humanizePercentage" | "humanizeTimestamp" | "toTime" | "toDuration" => {
                arguments.expect(name, 1)?;
                self.one(name, arguments)
            }
            "label" | "sortByLabel" | "match" => {
                arguments.expect(name, 2)?;
                two(name, arguments)
            }
            "reReplaceAll" => {
                arguments.expect(name, 3)?;
                let pattern = texts::pattern(arguments.text(0)?)?;
                let replacement = arguments.text(1)?;
                let text = arguments.text(2)?;
                Ok(texts::replace_all(&pattern, text, replacement)?.into())
            }
            other => Err(failed(format!("function {other:?} not defined"))),
        }
    }
}

impl RuleFunctions<'_> {
    fn one(&self, name: &str, arguments: &Arguments) -> Outcome {
        match name {
            "query" => {
                let answer = (self.asking)(arguments.text(0)?).map_err(failed)?;
                Ok(Value::list(answer.iter().map(|element| {
                    Value::map([
                        ("Labels", Value::texts(element.labels.iter())),
                        ("Value", Value::Float(element.value)),
                    ])
                })))
            }
            "first" => match arguments.values().first() {
                Some(Value::List(elements)) => match elements.first() {
                    Some(first) => Ok(first.clone()),
                    None => Err(failed("first() called on vector with no elements")),
                },
                other => Err(wrong("first", other)),
            },
            "value" => field(arguments.values().first(), "Value"),
            "strvalue" => {
                let labels = field(arguments.values().first(), "Labels")?;
                Ok(entry(&labels, "__value__"))
            }
            "title" => Ok(texts::title(arguments.text(0)?).into()),
            "toUpper" => Ok(arguments.text(0)?.to_uppercase().into()),
            "toLower" => Ok(arguments.text(0)?.to_lowercase().into()),
            "stripPort" => Ok(strip_port(arguments.text(0)?).into()),
            "stripDomain" => Ok(strip_domain(arguments.text(0)?).into()),
            "graphLink" => Ok(link(arguments.text(0)?, 0).into()),
            "tableLink" => Ok(link(arguments.text(0)?, 1).into()),
            "safeHtml" => Ok(arguments.text(0)?.into()),
            "urlQueryEscape" => Ok(escape(arguments.text(0)?).into()),
            "parseDuration" => {
                let text = arguments.text(0)?;
                let nanos = duration::parse(text)
                    .ok_or_else(|| failed(format!("not a valid duration string: {text:?}")))?;
                Ok(Value::Float(nanos as f64 / 1e9))
            }
            _ => self.number(name, number(arguments.values().first())?),
        }
    }

    fn number(&self, name: &str, value: f64) -> Outcome {
        Ok(match name {
            "humanize" => numbers::humanize(value).into(),
            "humanize1024" => numbers::humanize_1024(value).into(),
            "humanizeDuration" => numbers::duration(value).into(),
            "humanizePercentage" => numbers::percentage(value).into(),
            "humanizeTimestamp" => match numbers::time(value) {
                Ok(Some(time)) => Value::Time(Moment::new(time)).printed().into(),
                Ok(None) => numbers::shortest_4(value).into(),
                Err(text) => return Err(failed(text)),
            },
            "toTime" => match numbers::time(value) {
                Ok(Some(time)) => Value::Time(Moment::new(time)),
                Ok(None) => Value::Nil,
                Err(text) => return Err(failed(text)),
            },
            // `time.Duration` prints as Go writes durations.
            _ => numbers::go_duration(value).map_err(failed)?.into(),
        })
    }
}

fn two(name: &str, arguments: &Arguments) -> Outcome {
    match name {
        "label" => {
            let labels = field(arguments.values().get(1), "Labels")?;
            Ok(entry(&labels, arguments.text(0)?))
        }
        "sortByLabel" => {
            let label = arguments.text(0)?;
            let Some(Value::List(elements)) = arguments.values().get(1) else {
                return Err(wrong("sortByLabel", arguments.values().get(1)));
            };
            let mut sorted = Vec::with_capacity(elements.len());
            for element in elements.iter() {
                let labels = field(Some(element), "Labels")?;
                sorted.push((entry(&labels, label).printed(), element.clone()));
            }
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(Value::list(sorted.into_iter().map(|(_, element)| element)))
        }
        _ => {
            let pattern = texts::pattern(arguments.text(0)?)?;
            Ok(Value::Bool(pattern.is_match(arguments.text(1)?)))
        }
    }
}

fn wrong(name: &str, found: Option<&Value>) -> CallError {
    let found = found.map_or("nothing", Value::type_name);
    CallError::Arguments(format!(
        "{name}: expected the elements of a query, found {found}"
    ))
}

/// A field of an element.
fn field(element: Option<&Value>, name: &str) -> Outcome {
    match element {
        Some(Value::Map(map)) if map.entries.contains_key(name) => Ok(map.entries[name].clone()),
        other => Err(CallError::Arguments(format!(
            "expected an element of a query, found {}",
            other.map_or("nothing", Value::type_name)
        ))),
    }
}

/// The text of a map of texts, empty where there is none.
fn entry(labels: &Value, name: &str) -> Value {
    let Value::Map(map) = labels else {
        return Value::Text(Arc::from(""));
    };
    let found = map.entries.get(name);
    found.cloned().unwrap_or_else(|| Value::Text(Arc::from("")))
}

/// A number, or the text of one.
fn number(value: Option<&Value>) -> Result<f64, CallError> {
    match value {
        Some(Value::Float(value)) => Ok(*value),
        Some(Value::Int(value)) => Ok(*value as f64),
        Some(Value::Text(text)) => numbers::parse(text).ok_or_else(|| {
            failed(format!(
                "strconv.ParseFloat: parsing {text:?}: invalid syntax"
            ))
        }),
        other => Err(failed(format!(
            "can't convert {} to float",
            other.map_or("nothing", Value::type_name)
        ))),
    }
}

/// The path of an address, empty where it has none.
fn path(url: &str) -> String {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind.find('/').map_or("", |at| &behind[at..]);
    path.trim_end_matches('/').to_owned()
}

/// `[::1]:80` and `host:80` without the port; what has none stays.
fn strip_port(text: &str) -> &str {
    if let Some(inside) = text.strip_prefix('[') {
        return match inside.split_once(']') {
            Some((host, port)) if port.starts_with(':') => host,
            _ => text,
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => text,
    }
}

/// The first name of a host, with its port; addresses stay.
fn strip_domain(text: &str) -> String {
    let host = strip_port(text);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let first = host.split('.').next().unwrap_or(host);
    match host.len() == text.len() {
        true => first.to_owned(),
        false => format!("{first}{}", &text[host.len()..]),
    }
}

/// Query escaping as Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Where the user interface shows an expression; `tab` 0 is the graph, 1 the table.
pub fn link(expression: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", escape(expression))
}
