//! A metric family: its name, what it says of itself, and the rule that makes its lines of an
//! object.
//!
//! Invariant: a rule that reads metadata only says so, so that a resource whose families need no
//! more is watched without its contents.

use serde_json::Value;

use super::labels::{Allowed, named};
use super::object::{at, flag, flag_text, items, number, seconds, text, text_entries};
use super::rows::Rows;

/// The kind that `# TYPE` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows.
    Counter,
    /// Text in labels; a gauge of 1 in the text format.
    Info,
    /// One line for each state; a gauge in the text format.
    StateSet,
}

/// How a family of a built-in resource is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// Promised not to change; said in the help.
    pub(super) stable: bool,
    /// Made only where `--metric-opt-in-list` names it.
    pub(super) opt_in: bool,
    pub(super) rule: Rule,
}

/// A label and the path of its text.
pub(super) type Field = (&'static str, &'static str);

/// How the lines of a family come from an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// A line of value 1.
    One,
    /// The number at a path, 0 where there is none.
    Number(&'static str),
    /// The number at a path, no line where there is none.
    NumberIf(&'static str),
    /// Whether a field is true.
    Flag(&'static str),
    /// A time, no line where there is none.
    Time(&'static str),
    /// A length of a list.
    Count(&'static str),
    /// Texts as labels.
    Info(&'static [Field]),
    /// One line for each element of the list with texts (and numbers, and flags) of it.
    Each(&'static str, &'static [Field]),
    /// One line for each text of the list.
    EachText(&'static str, &'static str),
    /// One line for each state that the text can be, 1 for what it is; none where it is empty.
    State(&'static str, &'static str, &'static [&'static str]),
    /// As `State`, but with lines of 0 where the text is empty.
    StateAlways(&'static str, &'static str, &'static [&'static str]),
    /// Each condition with each of its three statuses.
    Conditions,
    /// One condition's three statuses, by its type.
    Condition(&'static str),
    /// The owners with kind, name and whether they control.
    Owners,
    /// The version of the object.
    ResourceVersion,
    /// The labels on the allow-list.
    Labels,
    /// The annotations on the allow-list.
    Annotations,
    /// All labels, whatever the allow-list.
    AllOf(&'static str, &'static str),
    /// A function of the object.
    Of(fn(&Value, &mut Rows)),
    /// A function of metadata only.
    OfMetadata(fn(&Value, &mut Rows)),
}

const CREATED: &str = "When it was created, in seconds since 1970.";
const DELETED: &str = "When its deletion was asked for, in seconds since 1970.";
const LABELS: &str = "Labels of the object as labels of the metric, those on the allow-list.";
const ANNOTATIONS: &str =
    "Annotations of the object as labels of the metric, those on the allow-list.";
const VERSION: &str = "The version of the object in the API server's store.";

/// A family that stays.
pub(super) const fn stable(name: &'static str, help: &'static str, rule: Rule) -> Family {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        stable: true,
        opt_in: false,
        rule,
    }
}

/// A family that may change.
pub(super) const fn alpha(name: &'static str, help: &'static str, rule: Rule) -> Family {
    Family {
        stable: false,
        ..stable(name, help, rule)
    }
}

pub(super) const fn created(name: &'static str) -> Family {
    stable(name, CREATED, Rule::Time("metadata.creationTimestamp"))
}

pub(super) const fn deletion(name: &'static str) -> Family {
    stable(name, DELETED, Rule::Time("metadata.deletionTimestamp")).unstable()
}

pub(super) const fn labels(name: &'static str) -> Family {
    stable(name, LABELS, Rule::Labels)
}

pub(super) const fn annotations(name: &'static str) -> Family {
    alpha(name, ANNOTATIONS, Rule::Annotations)
}

pub(super) const fn version(name: &'static str) -> Family {
    alpha(name, VERSION, Rule::ResourceVersion)
}

impl Family {
    pub(super) const fn unstable(self) -> Self {
        Self {
            stable: false,
            ..self
        }
    }

    pub(super) const fn promised(self) -> Self {
        Self {
            stable: true,
            ..self
        }
    }

    pub(super) const fn counter(self) -> Self {
        Self {
            kind: Kind::Counter,
            ..self
        }
    }

    pub(super) const fn opted_in(self) -> Self {
        Self {
            opt_in: true,
            ..self
        }
    }
}

/// The allow-lists of a resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    pub(super) labels: Allowed,
    pub(super) annotations: Allowed,
}

impl Rule {
    /// Whether the metadata of an object is all that this reads.
    pub(super) fn needs_metadata_only(&self) -> bool {
        let inside = |path: &str| path.starts_with("metadata.");
        match self {
            Self::One
            | Self::Owners
            | Self::ResourceVersion
            | Self::Labels
            | Self::Annotations
            | Self::OfMetadata(_) => true,
            Self::Number(path)
            | Self::NumberIf(path)
            | Self::Flag(path)
            | Self::Time(path)
            | Self::Count(path)
            | Self::Each(path, _)
            | Self::EachText(path, _)
            | Self::State(path, ..)
            | Self::StateAlways(path, ..)
            | Self::AllOf(path, _) => inside(path),
            Self::Info(fields) => fields.iter().all(|(_, path)| inside(path)),
            Self::Conditions | Self::Condition(_) | Self::Of(_) => false,
        }
    }

    /// Whether this makes lines at all with the allow-lists given.
    pub(super) fn is_wanted(&self, lists: &Lists) -> bool {
        match self {
            Self::Labels => !lists.labels.is_empty(),
            Self::Annotations => !lists.annotations.is_empty(),
            _ => true,
        }
    }

    /// Writes the lines of an object.
    pub(super) fn write(&self, object: &Value, lists: &Lists, rows: &mut Rows) {
        match *self {
            Self::One => rows.put(&[], 1.0),
            Self::Number(path) => rows.put(&[], number(object, path).unwrap_or(0.0)),
            Self::NumberIf(path) => put_some(number(object, path), rows),
            Self::Flag(path) => rows.put(&[], f64::from(flag(object, path))),
            Self::Time(path) => put_some(seconds(object, path), rows),
            Self::Count(path) => rows.put(&[], length(object, path)),
            Self::Info(fields) => info(object, fields, rows),
            Self::Each(path, fields) => {
                for item in items(object, path) {
                    info(item, fields, rows);
                }
            }
            Self::EachText(path, label) => {
                for item in items(object, path) {
                    rows.put(&[(label, item.as_str().unwrap_or(""))], 1.0);
                }
            }
            Self::State(path, label, states) => {
                if !text(object, path).is_empty() {
                    state(text(object, path), label, states, rows);
                }
            }
            Self::StateAlways(path, label, states) => {
                state(text(object, path), label, states, rows);
            }
            Self::Conditions => conditions(object, rows),
            Self::Condition(wanted) => condition(object, wanted, rows),
            Self::Owners => owners(object, true, rows),
            Self::ResourceVersion => {
                let version: Option<f64> = text(object, "metadata.resourceVersion").parse().ok();
                put_some(version, rows);
            }
            Self::Labels => {
                let pairs = text_entries(object, "metadata.labels");
                rows.put_named(&lists.labels.select("label", &pairs), 1.0);
            }
            Self::Annotations => {
                let pairs = text_entries(object, "metadata.annotations");
                rows.put_named(&lists.annotations.select("annotation", &pairs), 1.0);
            }
            Self::AllOf(path, prefix) => {
                rows.put_named(&named(prefix, &text_entries(object, path)), 1.0);
            }
            Self::Of(write) | Self::OfMetadata(write) => write(object, rows),
        }
    }
}

fn put_some(value: Option<f64>, rows: &mut Rows) {
    if let Some(value) = value {
        rows.put(&[], value);
    }
}

fn length(object: &Value, path: &str) -> f64 {
    items(object, path).len() as f64
}

/// Fields that one line has at most; the largest has 20.
const FIELDS_MAX: usize = 20;

fn info(object: &Value, fields: &'static [Field], rows: &mut Rows) {
    let mut whole: [Option<String>; FIELDS_MAX] = [const { None }; FIELDS_MAX];
    for ((_, path), whole) in fields.iter().zip(&mut whole) {
        *whole = at(object, path).as_i64().map(|number| number.to_string());
    }
    let mut labels = [("", ""); FIELDS_MAX];
    for (at_field, (label, path)) in fields.iter().enumerate().take(FIELDS_MAX) {
        let value = match at(object, path) {
            Value::Bool(_) => flag_text(object, path),
            Value::Number(_) => whole[at_field].as_deref().unwrap_or(""),
            _ => text(object, path),
        };
        labels[at_field] = (label, value);
    }
    rows.put(&labels[..fields.len().min(FIELDS_MAX)], 1.0);
}

fn state(is: &str, label: &str, states: &[&str], rows: &mut Rows) {
    for state in states {
        rows.put(&[(label, state)], f64::from(is == *state));
    }
}

/// The statuses that a condition can have, as the API writes them and as labels have them.
const STATUSES: [(&str, &str); 3] = [("True", "true"), ("False", "false"), ("Unknown", "unknown")];

/// A line for each status, 1 for what it is.
pub(super) fn statuses(status: &str, labels: &[(&str, &str)], name: &str, rows: &mut Rows) {
    for (word, small) in STATUSES {
        let mut all = [("", ""); 4];
        let count = labels.len().min(all.len() - 1);
        all[..count].copy_from_slice(&labels[..count]);
        all[count] = (name, small);
        rows.put(&all[..=count], f64::from(status == word));
    }
}

fn conditions(object: &Value, rows: &mut Rows) {
    for condition in items(object, "status.conditions") {
        let labels = [("condition", text(condition, "type"))];
        statuses(text(condition, "status"), &labels, "status", rows);
    }
}

fn condition(object: &Value, wanted: &str, rows: &mut Rows) {
    for condition in items(object, "status.conditions") {
        if text(condition, "type") == wanted {
            statuses(text(condition, "status"), &[], "condition", rows);
        }
    }
}

/// The owners of an object; one line of empty labels where it has none.
pub(super) fn owners(object: &Value, controller: bool, rows: &mut Rows) {
    let owners = items(object, "metadata.ownerReferences");
    let mut put = |kind, name, is_controller| {
        let labels = [
            ("owner_kind", kind),
            ("owner_name", name),
            ("owner_is_controller", is_controller),
        ];
        rows.put(&labels[..2 + usize::from(controller)], 1.0);
    };
    if owners.is_empty() {
        put("", "", "");
    }
    for owner in owners {
        let is_controller = if flag(owner, "controller") {
            "true"
        } else {
            "false"
        };
        put(text(owner, "kind"), text(owner, "name"), is_controller);
    }
}
