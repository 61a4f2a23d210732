//! Receivers: who is told, and in which way, as `<kind>_configs` say it.
//!
//! Invariant: settings that exist have been checked against the table of their kind
//! ([`schemas`]): no unknown key, every value of the wanted shape, defaults filled in, whatever
//! the kind needs there.

mod schemas;

use std::collections::BTreeMap;
use std::fmt;

use obs_model::duration;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_yaml_ng::Value;

pub use schemas::{SCHEMAS, Schema, Shape};

/// One value of settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// A text, most often a template.
    Text(String),
    /// Truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Nanoseconds.
    Duration(i64),
    /// Texts in order.
    Texts(Vec<String>),
    /// Texts by name.
    Map(BTreeMap<String, String>),
    /// Anything, with templates in its texts.
    Any(Value),
}

/// The settings of an integration, or those for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// A text; empty where none is set.
    pub fn text(&self, key: &str) -> &str {
        match self.0.get(key) {
            Some(Setting::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether something is set, and is no empty text.
    pub fn has(&self, key: &str) -> bool {
        self.0
            .get(key)
            .is_some_and(|value| *value != Setting::Text(String::new()))
    }

    /// Truth; false where nothing is set.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.0.get(key), Some(Setting::Bool(true)))
    }

    /// Truth where it is set.
    pub fn choice(&self, key: &str) -> Option<bool> {
        match self.0.get(key) {
            Some(Setting::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// A whole number; 0 where nothing is set.
    pub fn int(&self, key: &str) -> i64 {
        match self.0.get(key) {
            Some(Setting::Int(value)) => *value,
            _ => 0,
        }
    }

    /// Nanoseconds.
    pub fn duration(&self, key: &str) -> Option<i64> {
        match self.0.get(key) {
            Some(Setting::Duration(nanos)) => Some(*nanos),
            _ => None,
        }
    }

    /// Texts in order.
    pub fn texts(&self, key: &str) -> &[String] {
        match self.0.get(key) {
            Some(Setting::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// Texts by name.
    pub fn map(&self, key: &str) -> impl Iterator<Item = (&String, &String)> {
        let map = match self.0.get(key) {
            Some(Setting::Map(map)) => Some(map),
            _ => None,
        };
        map.into_iter().flatten()
    }

    /// Anything.
    pub fn any(&self, key: &str) -> Option<&Value> {
        match self.0.get(key) {
            Some(Setting::Any(value)) => Some(value),
            _ => None,
        }
    }

    /// The files that hold what settings do not, by the keys of the settings.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let files = self.0.iter().filter(|(key, _)| key.ends_with("_file"));
        files.filter_map(|(key, value)| match value {
            Setting::Text(path) if !path.is_empty() => Some((*key, path.as_str())),
            _ => None,
        })
    }

    /// Sets what is not set, from the settings for all.
    fn inherit(&mut self, key: &'static str, global: &Self, from: &str) {
        if !self.has(key)
            && let Some(value) = global.0.get(from)
        {
            self.0.insert(key, value.clone());
        }
    }
}

/// A receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// More about it, for those who ask the API.
    pub labels: BTreeMap<String, String>,
    /// The ways in which it is told.
    pub integrations: Vec<Integration>,
}

impl Receiver {
    /// The place of an integration among all of the receiver, by its kind and its place there.
    pub fn place(&self, kind: &str, index: usize) -> Option<usize> {
        let wanted = |one: &Integration| one.kind() == kind && one.index == index;
        self.integrations.iter().position(wanted)
    }
}

/// A way of telling.
#[derive(Clone, Debug)]
pub struct Integration {
    /// The table of its kind.
    pub schema: &'static Schema,
    /// Its place among those of its kind.
    pub index: usize,
    /// Whether recoveries are told.
    pub send_resolved: bool,
    /// How.
    pub settings: Settings,
}

impl Integration {
    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        self.schema.kind
    }
}

/// Settings for all receivers.
#[derive(Clone, Debug)]
pub struct Global(pub Settings);

impl Default for Global {
    fn default() -> Self {
        Self(defaults(schemas::GLOBAL))
    }
}

impl Global {
    /// Nanoseconds after which an alert that told no end counts as over.
    pub fn resolve_timeout(&self) -> i64 {
        const MINUTE: i64 = 60 * obs_model::time::NANOS_PER_SECOND;
        self.0.duration("resolve_timeout").unwrap_or(5 * MINUTE)
    }
}

impl<'de> Deserialize<'de> for Global {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields(schemas::GLOBAL).deserialize(deserializer).map(Self)
    }
}

fn defaults(fields: &'static [(&'static str, Shape)]) -> Settings {
    let set = fields
        .iter()
        .filter_map(|(key, shape)| Some((*key, shape.default_value()?)));
    Settings(set.collect())
}

impl Shape {
    fn default_value(&self) -> Option<Setting> {
        match self {
            Self::Text(default) if !default.is_empty() => {
                Some(Setting::Text((*default).to_owned()))
            }
            Self::Bool(Some(default)) => Some(Setting::Bool(*default)),
            Self::Duration(Some(seconds)) => Some(Setting::Duration(
                seconds * obs_model::time::NANOS_PER_SECOND,
            )),
            _ => None,
        }
    }

    fn read(&self, value: Value) -> Result<Setting, String> {
        let wrong = |expected: &str| Err(format!("expected {expected}, found {}", kind_of(&value)));
        match self {
            Self::Text(_) => match &value {
                Value::String(text) => Ok(Setting::Text(text.clone())),
                Value::Number(number) => Ok(Setting::Text(number.to_string())),
                Value::Null => Ok(Setting::Text(String::new())),
                _ => wrong("a text"),
            },
            Self::Bool(_) => match value.as_bool() {
                Some(value) => Ok(Setting::Bool(value)),
                None => wrong("true or false"),
            },
            Self::Int => match value.as_i64() {
                Some(value) => Ok(Setting::Int(value)),
                None => wrong("a whole number"),
            },
            Self::Duration(_) => match &value {
                Value::String(text) => match duration::parse(text) {
                    Some(nanos) => Ok(Setting::Duration(nanos)),
                    None => Err(format!("not a valid duration string: {text:?}")),
                },
                Value::Number(number) if number.as_i64() == Some(0) => Ok(Setting::Duration(0)),
                _ => wrong("a duration such as 30s"),
            },
            Self::Texts => match serde_yaml_ng::from_value(value.clone()) {
                Ok(texts) => Ok(Setting::Texts(texts)),
                Err(_) => wrong("a list of texts"),
            },
            Self::Map => match serde_yaml_ng::from_value(value.clone()) {
                Ok(map) => Ok(Setting::Map(map)),
                Err(_) => wrong("a map of texts"),
            },
            Self::Any => Ok(Setting::Any(value)),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a map",
        Value::Tagged(_) => "a tagged value",
    }
}

/// Reads a map by a table of its keys.
#[derive(Clone, Copy)]
struct Fields(&'static [(&'static str, Shape)]);

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Settings;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Settings, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Settings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
        let mut settings = defaults(self.0);
        while let Some(key) = map.next_key::<String>()? {
            let known = self.0.iter().find(|(known, _)| *known == key);
            let Some((key, shape)) = known else {
                let known: Vec<&str> = self.0.iter().map(|(key, _)| *key).collect();
                return Err(A::Error::custom(format!(
                    "unknown field `{key}`, expected one of {}",
                    known.join(", ")
                )));
            };
            let value: Value = map.next_value()?;
            let read = shape
                .read(value)
                .map_err(|e| A::Error::custom(format!("{key}: {e}")))?;
            settings.0.insert(key, read);
        }
        Ok(settings)
    }
}

/// Reads a list of such maps, each checked as its kind wants it.
#[derive(Clone, Copy)]
struct Configs(&'static Schema);

impl<'de> DeserializeSeed<'de> for Configs {
    type Value = Vec<Settings>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Settings>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Configs {
    type Value = Vec<Settings>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {} configurations", self.0.kind)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Settings>, A::Error> {
        let mut all = Vec::new();
        while let Some(settings) = list.next_element_seed(Fields(self.0.fields))? {
            (self.0.check)(&settings).map_err(A::Error::custom)?;
            all.push(settings);
        }
        Ok(all)
    }

    fn visit_unit<E>(self) -> Result<Vec<Settings>, E> {
        Ok(Vec::new())
    }
}

/// A receiver as it is written.
#[derive(Debug, Default)]
pub(super) struct RawReceiver {
    pub(super) name: String,
    labels: BTreeMap<String, String>,
    configs: Vec<(&'static Schema, Vec<Settings>)>,
}

impl<'de> Deserialize<'de> for RawReceiver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = RawReceiver;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a receiver: a map with a name and configurations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawReceiver, A::Error> {
                let mut receiver = RawReceiver::default();
                while let Some(key) = map.next_key::<String>()? {
                    let kind = key.strip_suffix("_configs");
                    let schema = SCHEMAS.iter().find(|schema| Some(schema.kind) == kind);
                    match (key.as_str(), schema) {
                        ("name", _) => receiver.name = map.next_value()?,
                        ("labels", _) => receiver.labels = map.next_value()?,
                        (_, Some(schema)) => {
                            let configs = map.next_value_seed(Configs(schema))?;
                            receiver.configs.push((schema, configs));
                        }
                        (unknown, None) => {
                            let _: IgnoredAny = map.next_value()?;
                            return Err(A::Error::custom(format!(
                                "unknown field `{unknown}` of a receiver"
                            )));
                        }
                    }
                }
                Ok(receiver)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl RawReceiver {
    /// The receiver with what it has from the settings for all.
    pub(super) fn checked(self, global: &Global) -> Result<Receiver, String> {
        if self.name.is_empty() {
            return Err("missing name in receiver".to_owned());
        }
        let mut integrations = Vec::new();
        for (schema, configs) in self.configs {
            for (index, mut settings) in configs.into_iter().enumerate() {
                for (key, from) in schema.inherits {
                    settings.inherit(key, &global.0, from);
                }
                settings.inherit("http_config", &global.0, "http_config");
                for alternatives in schema.needs {
                    if !alternatives.iter().any(|key| settings.has(key)) {
                        let needed = match alternatives {
                            [one] => format!("{one} must be configured"),
                            many => format!("one of {} must be configured", many.join(" or ")),
                        };
                        return Err(format!(
                            "receiver {:?}: {}_configs[{index}]: {needed}",
                            self.name, schema.kind
                        ));
                    }
                }
                let send_resolved = settings.choice("send_resolved");
                integrations.push(Integration {
                    schema,
                    index,
                    send_resolved: send_resolved.unwrap_or(schema.send_resolved),
                    settings,
                });
            }
        }
        Ok(Receiver {
            name: self.name,
            labels: self.labels,
            integrations,
        })
    }
}
