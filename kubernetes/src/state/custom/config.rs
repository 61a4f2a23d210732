//! The configuration as YAML has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::super::error::StateError;
use super::metric::CustomFamily;

/// Largest configuration that is read; it has a line per metric, not per object.
const CONFIG_BYTES_MAX: usize = 4 << 20;

/// Which custom resources have which metrics.
#[derive(Clone, Debug, Default)]
pub struct CustomConfig {
    pub(super) resources: Vec<CustomResource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    resources: Vec<CustomResource>,
}

/// One entry: kinds of objects and the metrics of each.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct CustomResource {
    #[serde(flatten)]
    pub(super) labels: LabelSources,
    pub(super) metric_name_prefix: Option<String>,
    pub(super) group_version_kind: GroupVersionKind,
    pub(super) resource_plural: String,
    pub(super) metrics: Vec<Generator>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub(super) struct GroupVersionKind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

/// Labels that are the same for all, and labels whose values are in the object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LabelSources {
    #[serde(deserialize_with = "texts_by_name")]
    pub(super) common_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "paths_by_name")]
    pub(super) labels_from_path: BTreeMap<String, Vec<String>>,
}

/// One metric.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Generator {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) each: Each,
    #[serde(flatten)]
    pub(super) labels: LabelSources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Each {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) gauge: Option<Part>,
    pub(super) state_set: Option<Part>,
    pub(super) info: Option<Part>,
}

/// What a kind of metric needs; each kind reads some of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Part {
    #[serde(deserialize_with = "path")]
    pub(super) path: Vec<String>,
    #[serde(deserialize_with = "paths_by_name")]
    pub(super) labels_from_path: BTreeMap<String, Vec<String>>,
    pub(super) label_from_key: String,
    #[serde(deserialize_with = "path")]
    pub(super) value_from: Vec<String>,
    pub(super) nil_is_zero: bool,
    #[serde(deserialize_with = "path")]
    pub(super) list: Vec<String>,
    pub(super) label_name: String,
}

/// A text, or a number or a truth that was meant as one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Truth(bool),
    Whole(i64),
    Number(f64),
    Nothing(()),
}

impl Word {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Truth(truth) => truth.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Nothing(()) => String::new(),
        }
    }
}

fn path<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let words = Option::<Vec<Word>>::deserialize(from)?;
    Ok(words
        .unwrap_or_default()
        .into_iter()
        .map(Word::text)
        .collect())
}

fn texts_by_name<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let words = Option::<BTreeMap<String, Word>>::deserialize(from)?;
    let words = words.unwrap_or_default().into_iter();
    Ok(words.map(|(name, word)| (name, word.text())).collect())
}

type Paths = BTreeMap<String, Vec<String>>;

fn paths_by_name<'de, D: Deserializer<'de>>(from: D) -> Result<Paths, D::Error> {
    let words = Option::<BTreeMap<String, Option<Vec<Word>>>>::deserialize(from)?;
    let words = words.unwrap_or_default().into_iter();
    let texts = |words: Vec<Word>| words.into_iter().map(Word::text).collect();
    Ok(words
        .map(|(name, words)| (name, texts(words.unwrap_or_default())))
        .collect())
}

impl CustomConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// It is not YAML of this form, or a metric cannot be made as it says.
    pub fn parse(text: &str) -> Result<Self, StateError> {
        if text.len() > CONFIG_BYTES_MAX {
            let text = format!("configuration is larger than {CONFIG_BYTES_MAX} bytes");
            return Err(StateError::Custom(text));
        }
        let file: Option<File> =
            serde_yaml_ng::from_str(text).map_err(|error| StateError::Custom(error.to_string()))?;
        let config = Self {
            resources: file.unwrap_or_default().spec.resources,
        };
        for resource in &config.resources {
            let gvk = &resource.group_version_kind;
            if gvk.version.is_empty() || gvk.kind.is_empty() {
                let text = "groupVersionKind: expected version and kind";
                return Err(StateError::Custom(text.to_owned()));
            }
            resource.families(gvk)?;
        }
        Ok(config)
    }

    /// Whether there is nothing to watch.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

impl CustomResource {
    /// The families of objects of a kind; those of one name stand together, whose help is that of
    /// the first.
    pub(super) fn families(&self, of: &GroupVersionKind) -> Result<Vec<CustomFamily>, StateError> {
        let mut families: Vec<CustomFamily> = Vec::new();
        for generator in &self.metrics {
            let family = CustomFamily::compile(self, generator, of)
                .map_err(|fault| StateError::Custom(format!("{}: {fault}", generator.name)))?;
            let same = |known: &CustomFamily| known.name == family.name;
            let at = families
                .iter()
                .rposition(same)
                .map_or(families.len(), |at| at + 1);
            families.insert(at, family);
        }
        Ok(families)
    }

    /// What comes before the names of its metrics.
    pub(super) fn prefix(&self) -> &str {
        self.metric_name_prefix
            .as_deref()
            .unwrap_or("kube_customresource")
    }
}
