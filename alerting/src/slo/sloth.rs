//! Sloth's files: `prometheus/v1`, and the same as objects of the kind `PrometheusServiceLevel`.

use std::collections::BTreeMap;

use obs_model::limits::Limits;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::expression::Windowed;
use super::windows::{self, WINDOW_DEFAULT};
use super::{BurnAlert, Format, Indicator, Slo, fault, id_of, share};
use crate::error::FileError;

type Texts = Option<BTreeMap<String, String>>;

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(rename = "version")]
    _version: Option<Value>,
    service: String,
    #[serde(default)]
    labels: Texts,
    slos: Vec<Objective>,
}

/// An object of Kubernetes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: Option<Value>,
    #[serde(rename = "status")]
    _status: Option<Value>,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Objective {
    name: String,
    #[serde(default)]
    description: String,
    objective: f64,
    #[serde(default)]
    labels: Texts,
    sli: Sli,
    #[serde(default)]
    alerting: Alerting,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sli {
    raw: Option<Raw>,
    events: Option<Events>,
    plugin: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(alias = "errorRatioQuery")]
    error_ratio_query: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    #[serde(alias = "errorQuery")]
    error_query: String,
    #[serde(alias = "totalQuery")]
    total_query: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Alerting {
    name: String,
    labels: Texts,
    annotations: Texts,
    #[serde(alias = "pageAlert")]
    page_alert: Alert,
    #[serde(alias = "ticketAlert")]
    ticket_alert: Alert,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Alert {
    disable: bool,
    labels: Texts,
    annotations: Texts,
}

impl Object {
    /// The objectives of the object.
    pub(super) fn objectives(self, text: &str, limits: &Limits) -> Result<Vec<Slo>, FileError> {
        self.spec.objectives(text, limits)
    }
}

impl Spec {
    /// The objectives of the file.
    pub(super) fn objectives(self, text: &str, _: &Limits) -> Result<Vec<Slo>, FileError> {
        let mut all = Vec::with_capacity(self.slos.len());
        for objective in self.slos {
            let name = objective.name.clone();
            let slo = objective
                .slo(&self.service, &self.labels)
                .map_err(|(near, message)| {
                    let near = if near.is_empty() { &name } else { &near };
                    fault(text, near, format!("{name:?}: {message}"))
                })?;
            all.push(slo);
        }
        Ok(all)
    }
}

impl Objective {
    /// The objective; a fault has the text that it is near to.
    fn slo(self, service: &str, labels: &Texts) -> Result<Slo, (String, String)> {
        let mut all: BTreeMap<String, String> = labels.clone().unwrap_or_default();
        all.extend(self.labels.unwrap_or_default());
        let indicator = self.sli.indicator()?;
        Ok(Slo {
            id: id_of(&[service, &self.name]),
            service: service.to_owned(),
            description: self.description,
            objective: share(self.objective),
            window: WINDOW_DEFAULT,
            indicator,
            labels: all,
            alerts: self.alerting.alerts(&self.name),
            absent: Vec::new(),
            format: Format::Sloth,
            name: self.name,
        })
    }
}

impl Sli {
    fn indicator(self) -> Result<Indicator, (String, String)> {
        let query = |key: &str, text: &str| {
            Windowed::template(text).map_err(|error| (text.to_owned(), format!("{key}: {error}")))
        };
        match (self.raw, self.events, self.plugin) {
            (Some(raw), None, None) => {
                let ratio = query("error_ratio_query", &raw.error_ratio_query)?;
                Ok(Indicator::Ratio(ratio))
            }
            (None, Some(events), None) => Ok(Indicator::Events {
                bad: query("error_query", &events.error_query)?,
                total: query("total_query", &events.total_query)?,
            }),
            (None, None, Some(_)) => Err((
                "plugin".to_owned(),
                "sli.plugin: expected events or raw; plugins are programs in Go".to_owned(),
            )),
            _ => Err((
                String::new(),
                "sli: expected either events or raw".to_owned(),
            )),
        }
    }
}

impl Alerting {
    fn alerts(self, slo: &str) -> Vec<BurnAlert> {
        let name = match self.name.is_empty() {
            true => slo.to_owned(),
            false => self.name,
        };
        let both = |common: &Texts, own: Texts| {
            let mut all = common.clone().unwrap_or_default();
            all.extend(own.unwrap_or_default());
            all
        };
        let kinds = [
            (
                "page",
                "critical",
                self.page_alert,
                windows::page(WINDOW_DEFAULT),
            ),
            (
                "ticket",
                "warning",
                self.ticket_alert,
                windows::ticket(WINDOW_DEFAULT),
            ),
        ];
        let wanted = kinds.into_iter().filter(|(_, _, alert, _)| !alert.disable);
        wanted
            .map(|(kind, severity, alert, burns)| {
                let mut labels = BTreeMap::from([
                    ("severity".to_owned(), severity.to_owned()),
                    ("sloth_severity".to_owned(), kind.to_owned()),
                ]);
                labels.extend(both(&self.labels, alert.labels));
                BurnAlert {
                    name: name.clone(),
                    labels,
                    annotations: both(&self.annotations, alert.annotations),
                    hold: 0,
                    burns,
                }
            })
            .collect()
    }
}
