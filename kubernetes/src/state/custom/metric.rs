//! One metric of custom resources, and the lines that it makes of an object.
//!
//! Invariant: the labels of a line are sorted by name and each is there once: those of the element
//! go before those of the object, those before the ones that are the same for all.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::family::Kind;
use super::super::labels::sanitized;
use super::super::rows::Rows;
use super::config::{CustomResource, Generator, GroupVersionKind, Part};
use super::path::{Path, float, shown};

type Labels = BTreeMap<String, String>;

/// A metric that is understood.
#[derive(Clone, Debug)]
pub(in super::super) struct CustomFamily {
    pub(in super::super) name: String,
    pub(in super::super) help: String,
    pub(in super::super) kind: Kind,
    common: Labels,
    labels: LabelPaths,
    path: Path,
    each: Each,
}

/// Labels with the paths of their values; those with a star copy a whole map.
#[derive(Clone, Debug, Default)]
struct LabelPaths {
    stars: Vec<(String, Path)>,
    plain: Vec<(String, Path)>,
}

#[derive(Clone, Debug)]
struct Each {
    labels: LabelPaths,
    label_from_key: String,
    value_from: Path,
    nil_is_zero: bool,
    label_name: String,
    list: Vec<String>,
}

/// A line to be.
#[derive(Debug)]
struct Found {
    labels: Labels,
    value: f64,
}

impl LabelPaths {
    fn compile(paths: &BTreeMap<String, Vec<String>>) -> Result<Self, String> {
        let mut compiled = Self::default();
        for (name, path) in paths {
            let path = Path::compile(path).map_err(|fault| format!("labelsFromPath: {fault}"))?;
            let star = name.starts_with('*') || name.ends_with('*');
            let list = if star {
                &mut compiled.stars
            } else {
                &mut compiled.plain
            };
            list.push((name.clone(), path));
        }
        Ok(compiled)
    }

    fn add(&self, object: &Value, labels: &mut Labels) {
        for (star, path) in &self.stars {
            for (key, value) in path.get(object).as_object().into_iter().flatten() {
                let name = match star.strip_suffix('*') {
                    Some(prefix) => sanitized(&format!("{prefix}{key}")),
                    None => sanitized(key),
                };
                labels.insert(name, shown(value).into_owned());
            }
        }
        for (name, path) in &self.plain {
            let value = path.get(object);
            if !value.is_null() {
                labels.insert(sanitized(name), shown(value).into_owned());
            }
        }
    }
}

impl CustomFamily {
    /// Understands a metric of a resource, for objects of a kind.
    pub(super) fn compile(
        resource: &CustomResource,
        generator: &Generator,
        of: &GroupVersionKind,
    ) -> Result<Self, String> {
        let each = &generator.each;
        let (kind, part, field) = match each.kind.to_ascii_lowercase().as_str() {
            "gauge" => (Kind::Gauge, &each.gauge, "gauge"),
            "info" => (Kind::Info, &each.info, "info"),
            "stateset" => (Kind::StateSet, &each.state_set, "stateSet"),
            other => {
                return Err(format!(
                    "each.type `{other}`: expected Gauge, Info or StateSet"
                ));
            }
        };
        let part = part
            .as_ref()
            .ok_or_else(|| format!("expected each.{field}"))?;
        let mut common = resource.labels.common_labels.clone();
        for (label, value) in [
            ("group", &of.group),
            ("version", &of.version),
            ("kind", &of.kind),
        ] {
            common.insert(format!("customresource_{label}"), value.clone());
        }
        common.extend(generator.labels.common_labels.clone());
        let mut paths = resource.labels.labels_from_path.clone();
        paths.extend(generator.labels.labels_from_path.clone());
        let prefix = match resource.prefix() {
            "" => String::new(),
            prefix => format!("{prefix}_"),
        };
        Ok(Self {
            name: format!("{prefix}{}", generator.name),
            help: generator.help.clone(),
            kind,
            common,
            labels: LabelPaths::compile(&paths)?,
            path: Path::compile(&part.path)?,
            each: Each::compile(part)?,
        })
    }

    /// Writes the lines of an object.
    pub(in super::super) fn write(&self, object: &Value, rows: &mut Rows) {
        let mut base = self.common.clone();
        self.labels.add(object, &mut base);
        let value = self.path.get(object);
        let mut found = match self.kind {
            Kind::Gauge | Kind::Counter => self.each.gauges(value),
            Kind::Info => self.each.infos(value),
            Kind::StateSet => self.each.states(value),
        };
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        for line in found {
            let mut labels = base.clone();
            labels.extend(line.labels);
            let labels: Vec<_> = labels.into_iter().collect();
            rows.put_named(&labels, line.value);
        }
    }
}

impl Each {
    fn compile(part: &Part) -> Result<Self, String> {
        Ok(Self {
            labels: LabelPaths::compile(&part.labels_from_path)?,
            label_from_key: part.label_from_key.clone(),
            value_from: Path::compile(&part.value_from)?,
            nil_is_zero: part.nil_is_zero,
            label_name: part.label_name.clone(),
            list: part.list.clone(),
        })
    }

    /// The number of an element; what is none makes no line.
    fn number(&self, element: &Value) -> Option<f64> {
        match self.value_from.get(element) {
            Value::Null => self.nil_is_zero.then_some(0.0),
            value => float(value).ok(),
        }
    }

    fn gauges(&self, value: &Value) -> Vec<Found> {
        let mut found = Vec::new();
        let mut put = |key: Option<&str>, element: &Value, number: Option<f64>| {
            let Some(number) = number else {
                return;
            };
            let mut labels = Labels::new();
            if let Some(key) = key.filter(|key| !key.is_empty())
                && !self.label_from_key.is_empty()
            {
                labels.insert(self.label_from_key.clone(), key.to_owned());
            }
            self.labels.add(element, &mut labels);
            if key.is_some() {
                self.labels.add(value, &mut labels);
            }
            found.push(Found {
                labels,
                value: number,
            });
        };
        match value {
            Value::Object(map) => {
                for (key, element) in map {
                    // A field of the map itself may be what `valueFrom` names.
                    let own = self.value_from.only_key() == Some(key);
                    let number = match element {
                        Value::Null if own => self.nil_is_zero.then_some(0.0),
                        element if own => float(element).ok(),
                        element => self.number(element),
                    };
                    put(Some(key), element, number);
                }
            }
            Value::Array(list) => {
                for element in list {
                    put(None, element, self.number(element));
                }
            }
            single => put(None, single, self.number(single)),
        }
        found
    }

    fn info(&self, element: &Value) -> Option<Found> {
        let mut labels = Labels::new();
        if !element.is_null() {
            self.labels.add(element, &mut labels);
        }
        (!labels.is_empty()).then_some(Found { labels, value: 1.0 })
    }

    fn infos(&self, value: &Value) -> Vec<Found> {
        match value {
            Value::Array(list) => list
                .iter()
                .filter_map(|element| self.info(element))
                .collect(),
            Value::Object(map) => {
                let mut found = Vec::new();
                for (key, element) in map {
                    let mut labels = Labels::new();
                    if !key.is_empty() && !self.label_from_key.is_empty() {
                        labels.insert(self.label_from_key.clone(), key.clone());
                    }
                    self.labels.add(element, &mut labels);
                    if !labels.is_empty() {
                        found.push(Found { labels, value: 1.0 });
                    }
                }
                found.extend(self.info(value));
                found
            }
            single => self.info(single).into_iter().collect(),
        }
    }

    fn states(&self, value: &Value) -> Vec<Found> {
        let elements = match value {
            Value::Array(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut found = Vec::new();
        for element in elements {
            let Some(is) = self.value_from.get(element).as_str() else {
                continue;
            };
            for state in &self.list {
                let mut labels = Labels::from([(self.label_name.clone(), state.clone())]);
                self.labels.add(element, &mut labels);
                found.push(Found {
                    labels,
                    value: f64::from(is == state),
                });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
