//! OpenSLO v1: objects that name one another.
//!
//! Queries are PromQL. One with `{{.window}}` (Sloth's convention) is taken as it stands; others are
//! counters where the object says `counter: true`, and numbers of events per sample where not.

use std::collections::BTreeMap;

use obs_model::duration;
use obs_model::limits::Limits;
use serde::Deserialize;
use serde::de::Deserializer;
use serde_yaml_ng::Value;

use super::expression::{Counting, Windowed, events, printed};
use super::windows::Burn;
use super::{BurnAlert, Format, Indicator, Slo, error_ratio, fault, id_of, windows};
use crate::error::FileError;

/// Step at which a gauge with a threshold is looked at: each look is an event.
const LOOK: &str = "1m";

/// The objects of a file; they are joined at its end.
#[derive(Debug, Default)]
pub(super) struct Objects {
    slos: Vec<Object<Spec>>,
    indicators: Vec<Object<SliSpec>>,
    policies: Vec<Object<PolicySpec>>,
    conditions: Vec<Object<ConditionSpec>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<S> {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    metadata: Metadata,
    spec: S,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Metadata {
    name: String,
    display_name: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, Texts>,
    #[serde(rename = "annotations")]
    _annotations: Option<Value>,
}

/// A label's value, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    description: String,
    service: String,
    indicator: Option<Indicated>,
    indicator_ref: Option<String>,
    time_window: Vec<TimeWindow>,
    budgeting_method: Option<Method>,
    objectives: Vec<Objective>,
    #[serde(default)]
    alert_policies: Vec<Policy>,
}

/// An indicator that stands within an objective; its metadata may be left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Indicated {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    #[serde(rename = "metadata")]
    _metadata: Option<Value>,
    spec: SliSpec,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
enum Method {
    #[default]
    Occurrences,
    Timeslices,
    RatioTimeslices,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TimeWindow {
    duration: String,
    #[serde(default)]
    is_rolling: bool,
    calendar: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Objective {
    #[serde(default)]
    display_name: String,
    op: Option<Compare>,
    value: Option<f64>,
    target: Option<f64>,
    target_percent: Option<f64>,
    time_slice_target: Option<f64>,
    time_slice_window: Option<Value>,
    #[serde(rename = "compositeWeight")]
    _composite_weight: Option<f64>,
    indicator: Option<Value>,
    indicator_ref: Option<Value>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compare {
    Lt,
    Lte,
    Gt,
    Gte,
}

impl Compare {
    fn sign(self) -> &'static str {
        match self {
            Self::Lt => "<",
            Self::Lte => "<=",
            Self::Gt => ">",
            Self::Gte => ">=",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SliSpec {
    #[serde(rename = "description")]
    _description: Option<String>,
    threshold_metric: Option<Source>,
    ratio_metric: Option<Ratio>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Ratio {
    #[serde(default)]
    counter: bool,
    good: Option<Source>,
    bad: Option<Source>,
    total: Option<Source>,
    raw_type: Option<RawType>,
    raw: Option<Source>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum RawType {
    Success,
    Failure,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Source {
    metric_source: MetricSource,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MetricSource {
    #[serde(rename = "metricSourceRef")]
    _metric_source_ref: Option<String>,
    r#type: Option<String>,
    spec: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Policy {
    Name(String),
    Reference {
        #[serde(rename = "alertPolicyRef")]
        name: String,
    },
    Object(Box<Object<PolicySpec>>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PolicySpec {
    #[serde(default)]
    description: String,
    #[serde(rename = "alertWhenNoData")]
    _no_data: Option<bool>,
    #[serde(rename = "alertWhenResolved")]
    _resolved: Option<bool>,
    #[serde(default)]
    alert_when_breaching: Option<bool>,
    conditions: Vec<Condition>,
    #[serde(rename = "notificationTargets")]
    _targets: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Condition {
    Reference {
        #[serde(rename = "conditionRef")]
        name: String,
    },
    Object(Box<Object<ConditionSpec>>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionSpec {
    #[serde(default)]
    description: String,
    #[serde(default)]
    severity: String,
    condition: Burning,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Burning {
    kind: BurnKind,
    op: Option<Compare>,
    threshold: f64,
    lookback_window: String,
    alert_after: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BurnKind {
    Burnrate,
}

/// A fault: the text that it is near to, and what is wrong.
type Wrong = (String, String);

fn wrong<T>(near: &str, message: impl Into<String>) -> Result<T, Wrong> {
    Err((near.to_owned(), message.into()))
}

fn span(key: &str, text: &str) -> Result<i64, Wrong> {
    let nanos = duration::parse(text).filter(|nanos| *nanos > 0);
    nanos.ok_or_else(|| {
        let message = format!("{key}: expected a duration such as 30d, found {text:?}");
        (text.to_owned(), message)
    })
}

impl Objects {
    /// Takes a document.
    pub(super) fn take<'de, D: Deserializer<'de>>(
        &mut self,
        kind: &str,
        document: D,
    ) -> Result<(), FileError>
    where
        FileError: From<D::Error>,
    {
        match kind {
            "SLO" => self.slos.push(Object::deserialize(document)?),
            "SLI" => self.indicators.push(Object::deserialize(document)?),
            "AlertPolicy" => self.policies.push(Object::deserialize(document)?),
            "AlertCondition" => self.conditions.push(Object::deserialize(document)?),
            // Of no meaning here: there is one source, and routes say who is told.
            "Service" | "DataSource" | "AlertNotificationTarget" => {
                Value::deserialize(document)?;
            }
            other => {
                return Err(FileError {
                    position: None,
                    message: format!("kind: expected one of OpenSLO v1, found {other:?}"),
                });
            }
        }
        Ok(())
    }

    /// The objectives of all objects.
    pub(super) fn objectives(self, text: &str, limits: &Limits) -> Result<Vec<Slo>, FileError> {
        let mut found = Vec::new();
        for slo in &self.slos {
            let name = &slo.metadata.name;
            let read = self.read(slo, limits).map_err(|(near, message)| {
                let near = if near.is_empty() { name } else { &near };
                fault(text, near, format!("{name:?}: {message}"))
            })?;
            found.extend(read);
        }
        Ok(found)
    }

    fn read(&self, object: &Object<Spec>, limits: &Limits) -> Result<Vec<Slo>, Wrong> {
        let (meta, spec) = (&object.metadata, &object.spec);
        let [frame] = &spec.time_window[..] else {
            return wrong("timeWindow", "timeWindow: expected one window");
        };
        if !frame.is_rolling || frame.calendar.is_some() {
            return wrong(
                "timeWindow",
                "timeWindow: expected isRolling: true; windows of the calendar cannot be rules",
            );
        }
        let window = span("timeWindow.duration", &frame.duration)?;
        let indicator = match (&spec.indicator, &spec.indicator_ref) {
            (Some(inner), None) => &inner.spec,
            (None, Some(name)) => match self.indicators.iter().find(|i| i.metadata.name == *name) {
                Some(found) => &found.spec,
                None => return wrong(name, format!("indicatorRef: no SLI {name:?} in this file")),
            },
            _ => return wrong("", "expected either indicator or indicatorRef"),
        };
        let labels: BTreeMap<String, String> = meta
            .labels
            .iter()
            .map(|(key, value)| match value {
                Texts::One(value) => (key.clone(), value.clone()),
                Texts::Many(values) => (key.clone(), values.join(",")),
            })
            .collect();
        let description = match (spec.description.trim(), &meta.display_name) {
            ("", Some(name)) => name.clone(),
            (text, _) => text.to_owned(),
        };
        let several = spec.objectives.len() > 1;
        if spec.objectives.is_empty() {
            return wrong("objectives", "objectives: expected at least one");
        }
        let mut all = Vec::with_capacity(spec.objectives.len());
        for (index, objective) in spec.objectives.iter().enumerate() {
            // As Sloth names them, so that series are found again.
            let name = match several {
                true => format!("{}-{index}", meta.name),
                false => meta.name.clone(),
            };
            let description = match objective.display_name.as_str() {
                "" => description.clone(),
                shown if description.is_empty() => shown.to_owned(),
                shown => format!("{description} ({shown})"),
            };
            all.push(Slo {
                id: id_of(&[&spec.service, &name]),
                service: spec.service.clone(),
                name,
                description,
                objective: objective.target()?,
                window,
                indicator: objective.indicator(indicator, spec, limits)?,
                labels: labels.clone(),
                alerts: self.alerts(object, window)?,
                absent: Vec::new(),
                format: Format::OpenSlo,
            });
        }
        Ok(all)
    }

    /// What the policies say; the usual alerts where there are none.
    fn alerts(&self, object: &Object<Spec>, window: i64) -> Result<Vec<BurnAlert>, Wrong> {
        let name = &object.metadata.name;
        if object.spec.alert_policies.is_empty() {
            let kinds = [
                ("critical", windows::page(window)),
                ("warning", windows::ticket(window)),
            ];
            let alert = |(severity, burns): (&str, Vec<Burn>)| BurnAlert {
                name: name.clone(),
                labels: BTreeMap::from([("severity".to_owned(), severity.to_owned())]),
                annotations: BTreeMap::new(),
                hold: 0,
                burns,
            };
            return Ok(kinds.into_iter().map(alert).collect());
        }
        let mut all = Vec::new();
        for policy in &object.spec.alert_policies {
            let policy = match policy {
                Policy::Object(policy) => policy,
                Policy::Name(name) | Policy::Reference { name } => {
                    let found = self.policies.iter().find(|p| p.metadata.name == *name);
                    match found {
                        Some(found) => found,
                        None => {
                            let message = format!("alertPolicies: no AlertPolicy {name:?} here");
                            return wrong(name, message);
                        }
                    }
                }
            };
            if policy.spec.alert_when_breaching == Some(false) {
                continue;
            }
            for condition in &policy.spec.conditions {
                all.push(self.alert(policy, condition)?);
            }
        }
        Ok(all)
    }

    fn alert(&self, policy: &Object<PolicySpec>, one: &Condition) -> Result<BurnAlert, Wrong> {
        let condition = match one {
            Condition::Object(condition) => condition,
            Condition::Reference { name } => {
                match self.conditions.iter().find(|c| c.metadata.name == *name) {
                    Some(found) => found,
                    None => {
                        let message = format!("conditionRef: no AlertCondition {name:?} here");
                        return wrong(name, message);
                    }
                }
            }
        };
        let burning = &condition.spec.condition;
        let BurnKind::Burnrate = burning.kind;
        let lookback = span("lookbackWindow", &burning.lookback_window)?;
        let hold = match burning.alert_after.as_deref() {
            None | Some("0" | "0s" | "0m") => 0,
            Some(text) => span("alertAfter", text)?,
        };
        let severity = match condition.spec.severity.as_str() {
            "" => "warning",
            severity => severity,
        };
        let description = match condition.spec.description.trim() {
            "" => policy.spec.description.trim(),
            text => text,
        };
        let mut annotations = BTreeMap::new();
        if !description.is_empty() {
            annotations.insert("description".to_owned(), description.to_owned());
        }
        Ok(BurnAlert {
            name: condition.metadata.name.clone(),
            labels: BTreeMap::from([("severity".to_owned(), severity.to_owned())]),
            annotations,
            hold,
            burns: vec![Burn {
                long: lookback,
                short: lookback,
                factor: burning.threshold,
                compare: burning.op.unwrap_or(Compare::Gte).sign(),
            }],
        })
    }
}

impl Source {
    /// The query, as it stands.
    fn query(&self) -> Result<&str, Wrong> {
        let source = &self.metric_source;
        let kind = source.r#type.as_deref().unwrap_or("Prometheus");
        if !kind.eq_ignore_ascii_case("prometheus") {
            let message = format!("metricSource.type: expected Prometheus, found {kind:?}");
            return wrong(kind, message);
        }
        let query = source.spec.get("query").or(source.spec.get("promql"));
        match query.and_then(Value::as_str) {
            Some(query) => Ok(query),
            None => wrong("metricSource", "metricSource.spec.query: expected PromQL"),
        }
    }

    fn events(&self, counting: Counting, limits: &Limits) -> Result<Windowed, Wrong> {
        let query = self.query()?;
        events(query, counting, limits).map_err(|error| (query.to_owned(), error))
    }
}

impl Objective {
    fn target(&self) -> Result<f64, Wrong> {
        match (self.target, self.target_percent) {
            (Some(target), None) => Ok(target),
            (None, Some(percent)) => Ok(super::share(percent)),
            _ => wrong("objectives", "expected either target or targetPercent"),
        }
    }

    fn indicator(&self, sli: &SliSpec, spec: &Spec, limits: &Limits) -> Result<Indicator, Wrong> {
        if self.indicator.is_some() || self.indicator_ref.is_some() {
            let message = "objectives: composite objectives are not known here";
            return wrong("objectives", message);
        }
        let events = match (&sli.ratio_metric, &sli.threshold_metric) {
            (Some(ratio), None) => ratio.indicator(limits)?,
            (None, Some(source)) => self.threshold(source, limits)?,
            _ => return wrong("spec", "expected either ratioMetric or thresholdMetric"),
        };
        match spec.budgeting_method.unwrap_or_default() {
            Method::Occurrences => Ok(events),
            method => self.slices(method, &events),
        }
    }

    /// A gauge: each look is an event, good where the comparison holds.
    fn threshold(&self, source: &Source, limits: &Limits) -> Result<Indicator, Wrong> {
        let (Some(op), Some(value)) = (self.op, self.value) else {
            return wrong("objectives", "thresholdMetric: expected op and value");
        };
        let query = source.query()?;
        let query = printed(query, limits).map_err(|error| (query.to_owned(), error))?;
        let (sign, window) = (op.sign(), "{{.window}}");
        let total = format!("sum(count_over_time(({query})[{window}:{LOOK}]))");
        let good = format!("sum(sum_over_time((({query}) {sign} bool {value})[{window}:{LOOK}]))");
        let (total, good) = (Windowed::own(total), Windowed::own(good));
        let bad = total.minus(&good);
        Ok(Indicator::Events { bad, total })
    }

    /// Slices of time instead of events: a slice is bad below its target, or counts by its share.
    fn slices(&self, method: Method, events: &Indicator) -> Result<Indicator, Wrong> {
        let slice = match &self.time_slice_window {
            None => "1m".to_owned(),
            Some(Value::Number(minutes)) => format!("{minutes}m"),
            Some(Value::String(text)) => text.clone(),
            Some(_) => return wrong("timeSliceWindow", "timeSliceWindow: expected a duration"),
        };
        let slice = duration::format(span("timeSliceWindow", &slice)?);
        let (ratio, window) = (error_ratio(events, &slice), "{{.window}}");
        match method {
            Method::RatioTimeslices => {
                let mean = format!("avg_over_time(({ratio})[{window}:{slice}])");
                Ok(Indicator::Ratio(Windowed::own(mean)))
            }
            _ => {
                let target = self.time_slice_target.filter(|t| (0.0..=1.0).contains(t));
                let Some(target) = target else {
                    return wrong("objectives", "timeSliceTarget: expected a share up to 1");
                };
                let allowed = super::generate::budget(target);
                let bad = format!("sum_over_time(({ratio} > bool {allowed})[{window}:{slice}])");
                let total = format!("count_over_time(({ratio})[{window}:{slice}])");
                Ok(Indicator::Events {
                    bad: Windowed::own(bad),
                    total: Windowed::own(total),
                })
            }
        }
    }
}

impl Ratio {
    fn indicator(&self, limits: &Limits) -> Result<Indicator, Wrong> {
        let counting = match self.counter {
            true => Counting::Counter,
            false => Counting::Deltas,
        };
        let read = |source: &Source| source.events(counting, limits);
        match (&self.good, &self.bad, &self.total, &self.raw) {
            (None, Some(bad), Some(total), None) => Ok(Indicator::Events {
                bad: read(bad)?,
                total: read(total)?,
            }),
            (Some(good), None, Some(total), None) => {
                let (good, total) = (read(good)?, read(total)?);
                let bad = total.minus(&good);
                Ok(Indicator::Events { bad, total })
            }
            (None, None, None, Some(raw)) => self.raw(raw, limits),
            _ => wrong(
                "ratioMetric",
                "ratioMetric: expected total with either good or bad, or raw",
            ),
        }
    }

    /// A share that is there already.
    fn raw(&self, raw: &Source, limits: &Limits) -> Result<Indicator, Wrong> {
        let query = raw.query()?;
        let share = match query.contains("{{") {
            true => Windowed::template(query).map_err(|error| (query.to_owned(), error))?,
            false => {
                let query = printed(query, limits).map_err(|error| (query.to_owned(), error))?;
                Windowed::own(format!("avg_over_time(({query})[{{{{.window}}}}:{LOOK}])"))
            }
        };
        Ok(Indicator::Ratio(match self.raw_type {
            Some(RawType::Failure) => share,
            Some(RawType::Success) | None => share.complement(),
        }))
    }
}
