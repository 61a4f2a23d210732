//! The values of templates: what JSON has, and whole numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::time::Moment;

/// A value. Copies are cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing: what is missing, or `nil`.
    #[default]
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `float64`
    Float(f64),
    /// `string`
    Text(Arc<str>),
    /// A slice.
    List(Arc<[Value]>),
    /// A map with texts as keys.
    Map(Arc<Map>),
    /// `time.Time`
    Time(Moment),
    /// `template.HTML`: a text that is HTML already.
    Html(Arc<str>),
}

/// A map: keys ascend, as Go walks and prints them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    /// Values by key.
    pub entries: BTreeMap<String, Value>,
    /// All values are texts (`map[string]string`): one that is missing is the empty text.
    pub texts: bool,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Value {
    /// A map of texts, such as labels.
    pub fn texts<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let entries = pairs.into_iter();
        Self::Map(Arc::new(Map {
            entries: entries.map(|(k, v)| (k.to_owned(), v.into())).collect(),
            texts: true,
        }))
    }

    /// A map of any values.
    pub fn map<'t>(pairs: impl IntoIterator<Item = (&'t str, Value)>) -> Self {
        let entries = pairs.into_iter();
        Self::Map(Arc::new(Map {
            entries: entries.map(|(k, v)| (k.to_owned(), v)).collect(),
            texts: false,
        }))
    }

    /// A slice.
    pub fn list(values: impl IntoIterator<Item = Value>) -> Self {
        Self::List(values.into_iter().collect())
    }

    /// Go's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(map) if map.texts => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Time(_) => "time.Time",
            Self::Html(_) => "template.HTML",
        }
    }

    /// Whether it counts as true: not zero and not empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Html(text) => !text.is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            // A struct, and those are never empty.
            Self::Time(_) => true,
        }
    }

    /// Appends it as `fmt.Print` shows it; nothing at all is `nil`.
    pub(super) fn print(&self, nil: &str, out: &mut String) {
        match self {
            Self::Nil => out.push_str(nil),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            // Writing to a text cannot fail.
            Self::Int(value) => drop(write!(out, "{value}")),
            Self::Float(value) => out.push_str(&super::printf::shortest(*value)),
            Self::Text(text) | Self::Html(text) => out.push_str(text),
            Self::Time(time) => out.push_str(&time.printed()),
            Self::List(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    value.print("<nil>", out);
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push_str("map[");
                for (at, (key, value)) in map.entries.iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    out.push_str(key);
                    out.push(':');
                    value.print("<nil>", out);
                }
                out.push(']');
            }
        }
    }

    /// The same as a text of its own.
    pub fn printed(&self) -> String {
        let mut out = String::new();
        self.print("<nil>", &mut out);
        out
    }
}
