//! Service level objectives: files of Sloth, Pyrra and OpenSLO become rules of Prometheus.
//!
//! Invariants: a file that was read gives rules that [`RuleFile`](crate::rules::RuleFile) takes; a
//! budget is a share of events (sums over its window, never means of ratios); what a format says
//! that obs cannot do is a fault with its place and not something else that is done instead.

mod expression;
mod generate;
mod openslo;
mod pyrra;
mod sloth;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use obs_model::limits::Limits;
use serde::Deserialize;
use serde_yaml_ng::{Deserializer, Value};

pub use expression::Windowed;
pub use generate::{error_ratio, rules, to_yaml};
pub use windows::{Burn, WINDOW_DEFAULT};

use crate::error::FileError;

/// An objective for a share of good events.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// Names it among all: service and name.
    pub id: String,
    /// Whose it is.
    pub service: String,
    /// Its name within the service.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The share of events that are to be good: above 0, below 1.
    pub objective: f64,
    /// Nanoseconds over which that holds.
    pub window: i64,
    /// What is good and what is not.
    pub indicator: Indicator,
    /// Labels of all its series and alerts.
    pub labels: BTreeMap<String, String>,
    /// Alerts of budgets that are used up too fast.
    pub alerts: Vec<BurnAlert>,
    /// Metrics of which the absence is an alert.
    pub absent: Vec<AbsentAlert>,
    /// The format that it was written in.
    pub format: Format,
}

/// What is good and what is not.
#[derive(Clone, Debug, PartialEq)]
pub enum Indicator {
    /// Events in a window, or their rate.
    Events {
        /// Those that failed.
        bad: Windowed,
        /// All.
        total: Windowed,
    },
    /// The share of failures in a window, as the file computes it.
    Ratio(Windowed),
}

/// An alert of a budget that is used up too fast.
#[derive(Clone, Debug, PartialEq)]
pub struct BurnAlert {
    /// Its name.
    pub name: String,
    /// Labels besides those of the objective.
    pub labels: BTreeMap<String, String>,
    /// Annotations that the file says.
    pub annotations: BTreeMap<String, String>,
    /// Nanoseconds for which it must hold.
    pub hold: i64,
    /// It fires when one of these holds.
    pub burns: Vec<Burn>,
}

/// An alert of a metric that is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct AbsentAlert {
    /// Its name.
    pub name: String,
    /// The selector of the metric.
    pub selector: String,
    /// Labels besides those of the objective.
    pub labels: BTreeMap<String, String>,
}

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Sloth's `prometheus/v1` and `PrometheusServiceLevel`.
    Sloth,
    /// OpenSLO v1.
    OpenSlo,
    /// Pyrra's `ServiceLevelObjective`.
    Pyrra,
}

impl Format {
    /// As the API calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sloth => "sloth",
            Self::OpenSlo => "openslo",
            Self::Pyrra => "pyrra",
        }
    }
}

/// What says of which format a document is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Header {
    version: Option<Value>,
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
}

/// Reads a file: documents of one or several formats.
pub fn parse(text: &str, limits: &Limits) -> Result<Vec<Slo>, FileError> {
    let mut found = Vec::new();
    let mut open = openslo::Objects::default();
    let heads = Deserializer::from_str(text);
    for (head, document) in heads.zip(Deserializer::from_str(text)) {
        let Some(head) = Option::<Header>::deserialize(head)? else {
            Option::<Value>::deserialize(document)?;
            continue;
        };
        let version = head.version.as_ref().and_then(Value::as_str);
        let api = head.api_version.as_deref();
        match (version, api, head.kind.as_deref()) {
            (Some("prometheus/v1"), None, None) => {
                let spec = sloth::Spec::deserialize(document)?;
                found.extend(spec.objectives(text, limits)?);
            }
            (None, Some("sloth.slok.dev/v1"), Some("PrometheusServiceLevel")) => {
                let object = sloth::Object::deserialize(document)?;
                found.extend(object.objectives(text, limits)?);
            }
            (None, Some("pyrra.dev/v1alpha1"), Some("ServiceLevelObjective")) => {
                let object = pyrra::Object::deserialize(document)?;
                found.push(object.objective(text, limits)?);
            }
            (None, Some("openslo/v1"), Some(kind)) => open.take(kind, document)?,
            _ => {
                let message = "expected version: prometheus/v1 (Sloth), or apiVersion and kind: \
                               sloth.slok.dev/v1 PrometheusServiceLevel, pyrra.dev/v1alpha1 \
                               ServiceLevelObjective, openslo/v1";
                let key = api.or(version).unwrap_or("");
                return Err(fault(text, key, message.to_owned()));
            }
        }
    }
    found.extend(open.objectives(text, limits)?);
    let mut ids = BTreeSet::new();
    for slo in &found {
        if !ids.insert(slo.id.clone()) {
            let message = format!("{:?} is there twice", slo.id);
            return Err(fault_last(text, &slo.name, message));
        }
        if let Err(error) = check(slo, limits) {
            return Err(fault(text, &slo.name, format!("{:?}: {error}", slo.id)));
        }
    }
    Ok(found)
}

/// What holds in every format.
fn check(slo: &Slo, limits: &Limits) -> Result<(), String> {
    if !(slo.objective > 0.0 && slo.objective < 1.0) {
        return Err("the objective: expected more than 0 % and less than 100 %".to_owned());
    }
    windows::check(slo.window)?;
    for name in slo.labels.keys() {
        if name == obs_model::labels::METRIC_NAME || !obs_model::labels::is_legacy_name(name) {
            return Err(format!("invalid label name: {name}"));
        }
    }
    let windowed = match &slo.indicator {
        Indicator::Events { bad, total } => vec![bad, total],
        Indicator::Ratio(ratio) => vec![ratio],
    };
    for query in windowed {
        let text = query.at("5m");
        obs_query::promql::parse(&text, limits)
            .map_err(|error| format!("could not parse {text:?}: {error}"))?;
    }
    Ok(())
}

/// A fault where a text stands for the first time.
fn fault(text: &str, near: &str, message: String) -> FileError {
    let position = places(text, near).next();
    FileError { position, message }
}

/// A fault where a text stands for the last time.
fn fault_last(text: &str, near: &str, message: String) -> FileError {
    let position = places(text, near).last();
    FileError { position, message }
}

/// Lines and columns at which the first line of a text stands.
fn places<'a>(text: &'a str, near: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    let first = near.trim().lines().next().unwrap_or_default();
    let lines = text.lines().enumerate();
    let lines =
        lines.filter(move |(_, line)| !first.is_empty() && !line.trim_start().starts_with('#'));
    lines.filter_map(move |(at, line)| Some((at + 1, line.find(first)? + 1)))
}

/// The share that a percentage says; written so that 99.9 gives the share nearest to 0.999.
fn share(percent: f64) -> f64 {
    format!("{:e}", percent)
        .split_once('e')
        .and_then(|(digits, exponent)| {
            let exponent: i32 = exponent.parse().ok()?;
            format!("{digits}e{}", exponent - 2).parse().ok()
        })
        .unwrap_or(percent / 100.0)
}

/// A name from parts; empty ones are left out.
fn id_of(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests;
