//! How the objects of one resource become lines: its families, in order, with what each says of
//! itself.
//!
//! Invariant: a family's number is its place here, for as long as the sheet lives.

use std::borrow::Cow;

use serde_json::Value;

use super::custom::{CustomFamily, Found};
use super::family::{Family, Field, Kind, Lists, Rule};
use super::object::text;
use super::resource::Resource;
use super::rows::{Rendered, Rows};
use super::settings::Filter;
use crate::resource::Query;

/// The families of a resource.
#[derive(Debug)]
pub(super) struct Sheet {
    /// What `?resources=` of a scrape calls it.
    pub(super) name: String,
    /// What the telemetry calls it.
    pub(super) go_type: String,
    /// What is watched for it.
    pub(super) queries: Vec<Query>,
    shared: &'static [Field],
    lists: Lists,
    columns: Vec<Column>,
}

/// One family.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: Cow<'static, str>,
    help: String,
    kind: Kind,
    make: Make,
}

#[derive(Debug)]
enum Make {
    Rule(Rule),
    Custom(Box<CustomFamily>),
}

impl Sheet {
    /// The families of a built-in resource that a filter lets through.
    pub(super) fn built_in(resource: &'static Resource, filter: &Filter, lists: Lists) -> Self {
        let families = resource.families.iter();
        let families = families.filter(|family| filter.has(family.name, family.opt_in));
        Self {
            name: resource.name.to_owned(),
            go_type: resource.go_type(),
            queries: Vec::new(),
            shared: resource.shared,
            lists,
            columns: families.map(Column::built_in).collect(),
        }
    }

    /// The families of a custom resource that a filter lets through.
    pub(super) fn custom(found: Found, filter: &Filter) -> Self {
        let families = found.families.into_iter();
        let families = families.filter(|family| filter.has(&family.name, false));
        Self {
            name: found.plural,
            go_type: "*unstructured.Unstructured".to_owned(),
            queries: Vec::new(),
            shared: &[],
            lists: Lists::default(),
            columns: families.map(Column::custom).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whether no family reads more of an object than its metadata.
    pub(super) fn needs_metadata_only(&self) -> bool {
        let shared = self
            .shared
            .iter()
            .all(|(_, path)| path.starts_with("metadata."));
        shared
            && self.columns.iter().all(|column| match &column.make {
                Make::Rule(rule) => rule.needs_metadata_only(),
                Make::Custom(_) => false,
            })
    }

    /// Makes the rows of an object; nothing where it has none.
    pub(super) fn render(&self, object: &Value, rows: &mut Rows) -> Option<Rendered> {
        let shared = self
            .shared
            .iter()
            .map(|(label, path)| (*label, text(object, path)));
        rows.begin(shared);
        for (number, column) in self.columns.iter().enumerate() {
            rows.family(number);
            match &column.make {
                Make::Rule(rule) if rule.is_wanted(&self.lists) => {
                    rule.write(object, &self.lists, rows);
                }
                Make::Rule(_) => {}
                Make::Custom(family) => family.write(object, rows),
            }
        }
        rows.end()
    }
}

impl Column {
    fn built_in(family: &Family) -> Self {
        let stable = if family.stable { "[STABLE] " } else { "" };
        Self {
            name: Cow::Borrowed(family.name),
            help: format!("{stable}{}", family.help),
            kind: family.kind,
            make: Make::Rule(family.rule),
        }
    }

    fn custom(family: CustomFamily) -> Self {
        Self {
            name: Cow::Owned(family.name.clone()),
            help: family.help.replace('\\', "\\\\").replace('\n', "\\n"),
            kind: family.kind,
            make: Make::Custom(Box::new(family)),
        }
    }

    /// Prints `# HELP` and `# TYPE`. OpenMetrics names a counter without its `_total` and an info
    /// without its `_info`, and an info of another name is no info to it.
    pub(super) fn print_head(&self, open_metrics: bool, out: &mut Vec<u8>) {
        let (mut name, mut kind) = (self.name.as_ref(), "gauge");
        match self.kind {
            Kind::Counter => {
                kind = "counter";
                if open_metrics {
                    name = name.strip_suffix("_total").unwrap_or(name);
                }
            }
            Kind::Info if open_metrics => {
                if let Some(short) = name.strip_suffix("_info") {
                    (name, kind) = (short, "info");
                }
            }
            Kind::StateSet if open_metrics => kind = "stateset",
            Kind::Gauge | Kind::Info | Kind::StateSet => {}
        }
        let parts = [
            "# HELP ",
            name,
            " ",
            &self.help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ];
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
    }
}
