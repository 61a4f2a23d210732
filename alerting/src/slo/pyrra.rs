//! Pyrra's objects of the kind `ServiceLevelObjective`.

use std::collections::BTreeMap;

use obs_model::duration;
use obs_model::limits::Limits;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::expression::{Counting, Windowed, events_by, plain_selector, sum_by};
use super::{AbsentAlert, BurnAlert, Format, Indicator, Slo, fault, id_of, share, windows};
use crate::error::FileError;

/// Labels of the object with this prefix become labels of the series.
const PROPAGATED: &str = "pyrra.dev/";

/// An object of Kubernetes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: Spec,
    #[serde(rename = "status")]
    _status: Option<Value>,
}

/// What is of interest of the metadata of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    target: Target,
    window: String,
    #[serde(default)]
    description: String,
    indicator: Sli,
    #[serde(default)]
    alerting: Alerting,
    /// Pyrra's choice between two ways of recording; there is one here.
    #[serde(default, rename = "performance_over_accuracy")]
    _performance: Option<bool>,
}

/// Pyrra wants a text; a number is meant the same.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Target {
    Text(String),
    Number(f64),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sli {
    ratio: Option<Ratio>,
    latency: Option<Latency>,
    #[serde(rename = "latencyNative", alias = "latency_native")]
    latency_native: Option<LatencyNative>,
    bool_gauge: Option<BoolGauge>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metric {
    metric: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    errors: Metric,
    total: Metric,
    #[serde(default)]
    grouping: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Latency {
    success: Metric,
    total: Metric,
    #[serde(default)]
    grouping: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LatencyNative {
    latency: String,
    total: Metric,
    #[serde(default)]
    grouping: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoolGauge {
    metric: String,
    #[serde(default)]
    grouping: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Alerting {
    disabled: bool,
    name: String,
    burnrates: Option<bool>,
    absent: Option<bool>,
}

/// What an indicator gives: the indicator, and the metric without which it says nothing.
type Read = (Indicator, String);

impl Object {
    /// The objective of the object.
    pub(super) fn objective(self, text: &str, limits: &Limits) -> Result<Slo, FileError> {
        let name = self.metadata.name.clone();
        self.slo(limits).map_err(|(near, message)| {
            let near = if near.is_empty() { &name } else { &near };
            fault(text, near, format!("{name:?}: {message}"))
        })
    }

    fn slo(self, limits: &Limits) -> Result<Slo, (String, String)> {
        let Metadata {
            name,
            namespace,
            labels,
        } = self.metadata;
        if name.is_empty() {
            return Err((String::new(), "metadata.name: expected a text".to_owned()));
        }
        let spec = self.spec;
        let percent = match &spec.target {
            Target::Number(number) => Some(*number),
            Target::Text(text) => text.trim().parse().ok(),
        };
        let percent = percent.ok_or_else(|| {
            let message = "target: expected a percentage such as \"99.5\"";
            (String::new(), message.to_owned())
        })?;
        let window = duration::parse(&spec.window).ok_or_else(|| {
            let message = format!("window: not a valid duration string: {:?}", spec.window);
            (spec.window.clone(), message)
        })?;
        let (indicator, metric) = spec.indicator.read(limits)?;
        let labels = labels
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PROPAGATED)?.to_owned(), value)));
        let service = match namespace.is_empty() {
            true => "default".to_owned(),
            false => namespace,
        };
        let (alerts, absent) = spec.alerting.alerts(window, metric);
        Ok(Slo {
            id: id_of(&[&service, &name]),
            service,
            description: spec.description,
            objective: share(percent),
            window,
            indicator,
            labels: labels.collect(),
            alerts,
            absent,
            format: Format::Pyrra,
            name,
        })
    }
}

impl Sli {
    fn read(self, limits: &Limits) -> Result<Read, (String, String)> {
        match (
            self.ratio,
            self.latency,
            self.latency_native,
            self.bool_gauge,
        ) {
            (Some(ratio), None, None, None) => ratio.read(limits),
            (None, Some(latency), None, None) => latency.read(limits),
            (None, None, Some(latency), None) => latency.read(limits),
            (None, None, None, Some(gauge)) => gauge.read(limits),
            _ => Err((
                String::new(),
                "indicator: expected one of ratio, latency, latencyNative, bool_gauge".to_owned(),
            )),
        }
    }
}

/// A fault near a metric.
fn near<T>(metric: &str, read: Result<T, String>) -> Result<T, (String, String)> {
    read.map_err(|error| (metric.to_owned(), format!("metric: {error}")))
}

fn counted(metric: &str, by: &[String], limits: &Limits) -> Result<Windowed, (String, String)> {
    near(metric, events_by(metric, Counting::Counter, by, limits))
}

impl Ratio {
    fn read(self, limits: &Limits) -> Result<Read, (String, String)> {
        let by = &self.grouping;
        let bad = counted(&self.errors.metric, by, limits)?;
        let total = counted(&self.total.metric, by, limits)?;
        let metric = near(
            &self.total.metric,
            plain_selector(&self.total.metric, limits),
        )?;
        Ok((Indicator::Events { bad, total }, metric))
    }
}

impl Latency {
    fn read(self, limits: &Limits) -> Result<Read, (String, String)> {
        let by = &self.grouping;
        let good = counted(&self.success.metric, by, limits)?;
        let total = counted(&self.total.metric, by, limits)?;
        let metric = near(
            &self.total.metric,
            plain_selector(&self.total.metric, limits),
        )?;
        let bad = total.minus(&good);
        Ok((Indicator::Events { bad, total }, metric))
    }
}

impl LatencyNative {
    fn read(self, limits: &Limits) -> Result<Read, (String, String)> {
        let selector = near(
            &self.total.metric,
            plain_selector(&self.total.metric, limits),
        )?;
        let nanos = duration::parse(&self.latency).filter(|nanos| *nanos > 0);
        let nanos = nanos.ok_or_else(|| {
            let message = format!(
                "latency: expected a duration such as 500ms, found {:?}",
                self.latency
            );
            (self.latency.clone(), message)
        })?;
        let seconds = nanos as f64 / obs_model::time::NANOS_PER_SECOND as f64;
        let sum = format!(
            "{}(increase({selector}[{{{{.window}}}}]))",
            sum_by(&self.grouping)
        );
        let total = Windowed::own(format!("histogram_count({sum})"));
        let bad = Windowed::own(format!(
            "histogram_count({sum}) * (1 - histogram_fraction(0, {seconds}, {sum}))"
        ));
        Ok((Indicator::Events { bad, total }, selector))
    }
}

impl BoolGauge {
    fn read(self, limits: &Limits) -> Result<Read, (String, String)> {
        let by = &self.grouping;
        let count = |counting| near(&self.metric, events_by(&self.metric, counting, by, limits));
        let (good, total) = (count(Counting::Deltas)?, count(Counting::Samples)?);
        let metric = near(&self.metric, plain_selector(&self.metric, limits))?;
        let bad = total.minus(&good);
        Ok((Indicator::Events { bad, total }, metric))
    }
}

impl Alerting {
    fn alerts(self, window: i64, metric: String) -> (Vec<BurnAlert>, Vec<AbsentAlert>) {
        if self.disabled {
            return (Vec::new(), Vec::new());
        }
        let name = match self.name.is_empty() {
            true => "ErrorBudgetBurn".to_owned(),
            false => self.name,
        };
        let severity =
            |severity: &str| BTreeMap::from([("severity".to_owned(), severity.to_owned())]);
        let mut burns = Vec::new();
        if self.burnrates.unwrap_or(true) {
            let kinds = [
                ("critical", windows::page(window)),
                ("warning", windows::ticket(window)),
            ];
            burns.extend(kinds.into_iter().map(|(kind, burns)| BurnAlert {
                name: name.clone(),
                labels: severity(kind),
                annotations: BTreeMap::new(),
                hold: 0,
                burns,
            }));
        }
        let mut absent = Vec::new();
        if self.absent.unwrap_or(true) {
            absent.push(AbsentAlert {
                name: "SLOMetricAbsent".to_owned(),
                selector: metric,
                labels: severity("critical"),
            });
        }
        (burns, absent)
    }
}
