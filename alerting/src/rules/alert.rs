//! Alerting rules: which alerts are pending, firing or over, decided from the answer at a time.
//!
//! The transitions are Prometheus'. Invariant: an evaluation that fails changes no alert, but for
//! one that breaks the group's limit, which clears them.

use std::collections::BTreeMap;

use obs_model::labels::METRIC_NAME;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, Timestamp, Value};

use super::file::{Group, Rule, RuleKind};
use super::group::{Sample, Scene};
use crate::error::RuleError;
use crate::template::{Element, Text};

/// The label with the name of an alert.
pub const ALERT_NAME: &str = "alertname";
/// How long alerts that are over are sent again.
const RESOLVED_KEPT: i64 = 15 * 60 * NANOS_PER_SECOND;

/// Where an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// It is over.
    Inactive,
    /// Its element is there, but not for long enough.
    Pending,
    /// It fires.
    Firing,
}

impl AlertState {
    /// As the API and the label `alertstate` say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// An alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its labels, by which it is known.
    pub labels: Labels,
    /// Its annotations at the last evaluation that had its element.
    pub annotations: Labels,
    /// The value at that evaluation.
    pub value: f64,
    /// Where it is.
    pub state: AlertState,
    /// When its element appeared.
    pub active_at: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it was over.
    pub resolved_at: Option<Timestamp>,
    /// Since when it fires without its element.
    pub keep_firing_since: Option<Timestamp>,
    /// When it was sent last.
    pub sent_at: Option<Timestamp>,
}

/// An alert on its way to those who notify.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it was over; while it fires, until when it counts as firing without another word.
    pub ends_at: Timestamp,
    /// Whether it is over.
    pub resolved: bool,
}

/// An alerting rule and its alerts.
#[derive(Clone, Debug)]
pub struct Alerting {
    name: String,
    hold: i64,
    keep_firing: i64,
    labels: Vec<(String, Text)>,
    annotations: Vec<(String, Text)>,
    active: BTreeMap<Labels, Alert>,
    /// Whether what was before a restart is known, so that series of alerts may be written.
    restored: bool,
}

impl Alerting {
    /// The rule of a group; nothing where it records.
    pub fn new(rule: &Rule, group: &Group) -> Option<Self> {
        let RuleKind::Alert {
            name,
            hold,
            keep_firing,
            annotations,
        } = &rule.kind
        else {
            return None;
        };
        let texts = |texts: &BTreeMap<String, String>| -> Vec<(String, Text)> {
            let texts = texts.iter();
            texts
                .map(|(key, text)| (key.clone(), Text::new(name, text)))
                .collect()
        };
        Some(Self {
            name: name.clone(),
            hold: *hold,
            keep_firing: *keep_firing,
            labels: texts(&rule.labels_in(group)),
            annotations: texts(annotations),
            active: BTreeMap::new(),
            restored: false,
        })
    }

    /// All alerts, also those that are over and still sent.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.active.values()
    }

    /// The worst state of its alerts.
    pub fn state(&self) -> AlertState {
        let states = self.active.values().map(|alert| alert.state);
        states.max().unwrap_or(AlertState::Inactive)
    }

    /// Whether series of alerts are written.
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// Decides from the elements that the expression has now. The samples stand at the time of the
    /// query.
    pub fn evaluate(
        &mut self,
        scene: &Scene<'_>,
        elements: &[(Labels, Value)],
        limit: usize,
    ) -> Result<Vec<Sample>, RuleError> {
        let found = self.found(scene, elements)?;
        let now = scene.now;
        for (labels, alert) in &found {
            match self.active.get_mut(labels) {
                Some(known) if known.state != AlertState::Inactive => {
                    known.value = alert.value;
                    known.annotations = alert.annotations.clone();
                }
                _ => drop(self.active.insert(labels.clone(), alert.clone())),
            }
        }
        let (hold, keep_firing) = (self.hold, self.keep_firing);
        self.active
            .retain(|labels, alert| match found.contains_key(labels) {
                true => {
                    alert.present(now, hold);
                    true
                }
                false => alert.absent(now, keep_firing),
            });
        let live = |alert: &&Alert| alert.state != AlertState::Inactive;
        let count = self.active.values().filter(live).count();
        if limit > 0 && count > limit {
            self.active.clear();
            return Err(RuleError::Limit {
                limit,
                found: count,
                what: "alerts",
            });
        }
        if !self.restored {
            return Ok(Vec::new());
        }
        let live = self.active.values().filter(live);
        Ok(live
            .flat_map(|alert| alert.samples(scene.asked_at()))
            .collect())
    }

    /// The alerts that the elements stand for.
    fn found(
        &self,
        scene: &Scene<'_>,
        elements: &[(Labels, Value)],
    ) -> Result<BTreeMap<Labels, Alert>, RuleError> {
        let mut found = BTreeMap::new();
        for (metric, value) in elements {
            let value = match value {
                Value::Float(value) => *value,
                Value::Histogram(_) => 0.0,
            };
            let element = Element {
                labels: metric,
                value,
                now: scene.now,
            };
            let expand = |text: &Text| text.expand(&element, scene.surroundings, scene.asking);
            let mut labels = metric.to_builder();
            labels.remove(METRIC_NAME);
            for (name, text) in &self.labels {
                labels.set(name, &expand(text));
            }
            labels.set(ALERT_NAME, &self.name);
            let labels = labels.build();
            let annotations = self
                .annotations
                .iter()
                .map(|(k, t)| (k.as_str(), expand(t)));
            let alert = Alert {
                labels: labels.clone(),
                annotations: Labels::from_pairs(annotations),
                value,
                state: AlertState::Pending,
                active_at: scene.now,
                fired_at: None,
                resolved_at: None,
                keep_firing_since: None,
                sent_at: None,
            };
            if found.insert(labels.clone(), alert).is_some() {
                return Err(RuleError::SameAlert(labels));
            }
        }
        Ok(found)
    }

    /// The alerts to send now; they count as sent. `resend` is how long one that fires is not
    /// told again, `interval` the group's.
    pub fn to_send(&mut self, now: Timestamp, resend: i64, interval: i64) -> Vec<Sent> {
        let lasting = resend.max(interval).saturating_mul(4);
        let due = self
            .active
            .values_mut()
            .filter(|alert| alert.is_due(now, resend));
        due.map(|alert| {
            alert.sent_at = Some(now);
            Sent {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at: alert.fired_at.unwrap_or(alert.active_at),
                ends_at: alert.resolved_at.unwrap_or(now.saturating_add(lasting)),
                resolved: alert.resolved_at.is_some(),
            }
        })
        .collect()
    }

    /// Nobody took these: they are due at the next evaluation.
    pub fn not_sent(&mut self, sent: &[Sent]) {
        for sent in sent {
            if let Some(alert) = self.active.get_mut(&sent.labels) {
                alert.sent_at = None;
            }
        }
    }

    /// Takes over the alerts of the same rule before a reload.
    pub fn take_over(&mut self, earlier: Self) {
        self.active = earlier.active;
        self.restored = earlier.restored;
    }

    /// Takes over alerts that were kept when obs ended. `down` is how long nobody evaluated: that
    /// time does not count towards `for`.
    pub fn restore(&mut self, kept: Vec<Alert>, down: i64) {
        for mut alert in kept {
            if alert.state == AlertState::Pending {
                alert.active_at = alert.active_at.saturating_add(down.max(0));
            }
            self.active.entry(alert.labels.clone()).or_insert(alert);
        }
    }

    /// The series of its alerts that are pending or fire.
    pub fn series(&self) -> impl Iterator<Item = Labels> {
        let live = self.active.values();
        live.filter(|alert| alert.state != AlertState::Inactive)
            .flat_map(|alert| alert.samples(Timestamp::default()))
            .map(|sample| sample.labels)
    }

    /// What alerts were kept or not, series may be written from now on.
    pub fn restored(&mut self) {
        self.restored = true;
    }

    /// Takes over from series of `ALERTS_FOR_STATE` what is not known otherwise: for each alert
    /// that is pending now, the time of the last sample and its value. As Prometheus does after a
    /// start, with its `grace`.
    pub fn restore_from_series(
        &mut self,
        now: Timestamp,
        grace: i64,
        last: impl Fn(&Labels) -> Option<(Timestamp, f64)>,
    ) {
        if self.hold < grace {
            return;
        }
        for alert in self.active.values_mut() {
            let Some((seen, value)) = last(&for_state_labels(&alert.labels)) else {
                continue;
            };
            let Some(active_at) = Timestamp::from_seconds_f64(value) else {
                continue;
            };
            let spent = seen - active_at;
            let left = self.hold.saturating_sub(spent);
            alert.active_at = if left <= 0 {
                active_at
            } else if left < grace {
                now.saturating_add(grace).saturating_sub(self.hold)
            } else {
                active_at.saturating_add(now - seen)
            };
        }
    }
}

/// The labels of the series that says since when an alert is active.
pub fn for_state_labels(alert: &Labels) -> Labels {
    named(alert, "ALERTS_FOR_STATE")
}

fn named(labels: &Labels, name: &str) -> Labels {
    let mut labels = labels.to_builder();
    labels.set(METRIC_NAME, name);
    labels.build()
}

impl Alert {
    /// Its element is there.
    fn present(&mut self, now: Timestamp, hold: i64) {
        self.keep_firing_since = None;
        let held = now - self.active_at >= hold;
        match self.state {
            AlertState::Pending if held => {
                self.state = AlertState::Firing;
                self.fired_at = Some(now);
            }
            // `for` was raised by a reload.
            AlertState::Firing if !held => {
                self.state = AlertState::Pending;
                self.fired_at = None;
                self.sent_at = None;
            }
            _ => {}
        }
    }

    /// Its element is gone; says whether the alert is still remembered.
    fn absent(&mut self, now: Timestamp, keep_firing: i64) -> bool {
        match self.state {
            AlertState::Pending => false,
            AlertState::Inactive => self.resolved_at.is_none_or(|at| now - at <= RESOLVED_KEPT),
            AlertState::Firing => {
                if keep_firing > 0 {
                    let since = *self.keep_firing_since.get_or_insert(now);
                    if now - since < keep_firing {
                        return true;
                    }
                }
                self.state = AlertState::Inactive;
                self.resolved_at = Some(now);
                true
            }
        }
    }

    fn is_due(&self, now: Timestamp, resend: i64) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        let Some(sent) = self.sent_at else {
            return true;
        };
        // Sent later than now: the clock was set back, and whoever heard counts by the new one.
        let is_set_back = sent > now;
        let is_over = self.resolved_at.is_some_and(|at| at > sent);
        is_over || is_set_back || sent.saturating_add(resend) < now
    }

    /// `ALERTS` and `ALERTS_FOR_STATE`.
    fn samples(&self, at: Timestamp) -> [Sample; 2] {
        let mut alerts = self.labels.to_builder();
        alerts.set(METRIC_NAME, "ALERTS");
        alerts.set("alertstate", self.state.as_str());
        let since = self.active_at.nanos().div_euclid(NANOS_PER_SECOND);
        let sample = |labels, value| Sample {
            labels,
            time: at,
            value: Value::Float(value),
        };
        [
            sample(alerts.build(), 1.0),
            sample(for_state_labels(&self.labels), since as f64),
        ]
    }
}

#[cfg(test)]
mod tests;
