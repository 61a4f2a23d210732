//! What templates and webhooks see of a notification.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::{Labels, Timestamp};
use obs_query::template::{Map, Moment, Value};
use serde_json::json;

use super::alert::Received;
use super::groups::Notification;

/// Go's zero time, which stands for no end.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A notification as templates see it.
#[derive(Clone, Debug)]
pub struct Data<'a> {
    /// Who is told.
    pub receiver: &'a str,
    /// The name of the group.
    pub group_key: &'a str,
    /// What its alerts share.
    pub group_labels: &'a Labels,
    /// Labels of the route.
    pub route_labels: BTreeMap<String, String>,
    /// The alerts.
    pub alerts: &'a [Received],
    /// Why it is told.
    pub reason: &'static str,
    /// Where users reach the server.
    pub external_url: &'a str,
    /// When it was decided.
    pub now: Timestamp,
    /// By what a receiver knows that it was told this before; empty where nobody can.
    pub delivery: String,
}

/// What a notification is known by: the same when it is sent again because nobody can say whether it
/// arrived, also by the next server, and another one for whatever else is told.
fn delivery(notification: &Notification) -> String {
    let key = &notification.key;
    let before = notification.before.map_or(0, Timestamp::nanos);
    let mut bytes = Vec::new();
    for text in [&key.group, &key.receiver] {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes.extend_from_slice(format!("{}\0{}\0{before}", key.kind, key.index).as_bytes());
    for alert in &notification.alerts {
        let over = u8::from(alert.is_resolved(notification.now));
        let starts = alert.starts_at.nanos();
        bytes.extend_from_slice(format!("\0{}{over}{starts}", alert.fingerprint).as_bytes());
    }
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes))
}

impl<'a> Data<'a> {
    /// What a notification says.
    pub fn of(
        notification: &'a Notification,
        route_labels: BTreeMap<String, String>,
        external_url: &'a str,
    ) -> Self {
        Self {
            receiver: &notification.key.receiver,
            group_key: &notification.key.group,
            group_labels: &notification.group.labels,
            route_labels,
            alerts: &notification.alerts,
            reason: notification.reason.as_str(),
            external_url,
            now: notification.now,
            delivery: delivery(notification),
        }
    }

    /// `firing` where any alert fires.
    pub fn status(&self) -> &'static str {
        match self.alerts.iter().any(|alert| !alert.is_resolved(self.now)) {
            true => "firing",
            false => "resolved",
        }
    }

    fn common(&self, of: impl Fn(&Received) -> &Labels) -> Labels {
        let Some(first) = self.alerts.first() else {
            return Labels::empty();
        };
        let shared = of(first).iter().filter(|(name, value)| {
            self.alerts
                .iter()
                .all(|alert| of(alert).get(name) == Some(*value))
        });
        Labels::from_pairs(shared)
    }

    /// The labels that all alerts have.
    pub fn common_labels(&self) -> Labels {
        self.common(|alert| &alert.labels)
    }

    /// The same with at most so many alerts; 0 is no bound. What is left out counts for nothing
    /// that is said.
    pub fn first(&self, alerts_max: usize) -> Self {
        let alerts = match alerts_max {
            0 => self.alerts,
            most => &self.alerts[..self.alerts.len().min(most)],
        };
        Self {
            alerts,
            ..self.clone()
        }
    }

    /// The body of a webhook, version 4, with at most so many alerts.
    pub fn webhook(&self, alerts_max: usize) -> serde_json::Value {
        let cut = self.first(alerts_max);
        let shown = cut.alerts;
        let alerts: Vec<serde_json::Value> = shown.iter().map(|a| cut.alert_json(a)).collect();
        json!({
            "receiver": quoted(self.receiver),
            "status": cut.status(),
            "alerts": alerts,
            "notification_reason": self.reason,
            "groupLabels": pairs(self.group_labels),
            "commonLabels": pairs(&cut.common_labels()),
            "commonAnnotations": pairs(&cut.common(|alert| &alert.annotations)),
            "routeLabels": self.route_labels,
            "externalURL": self.external_url,
            "version": "4",
            "groupKey": self.group_key,
            "truncatedAlerts": self.alerts.len() - shown.len(),
        })
    }

    fn alert_json(&self, alert: &Received) -> serde_json::Value {
        json!({
            "status": self.status_of(alert),
            "labels": pairs(&alert.labels),
            "annotations": pairs(&alert.annotations),
            "startsAt": go_time(alert.starts_at),
            "endsAt": self.end_of(alert).map_or_else(|| NO_TIME.to_owned(), go_time),
            "generatorURL": alert.generator_url,
            "fingerprint": alert.fingerprint.to_string(),
        })
    }

    fn status_of(&self, alert: &Received) -> &'static str {
        if alert.is_resolved(self.now) {
            "resolved"
        } else {
            "firing"
        }
    }

    fn end_of(&self, alert: &Received) -> Option<Timestamp> {
        alert.is_resolved(self.now).then_some(alert.ends_at)
    }

    /// The same for templates.
    pub fn value(&self) -> Value {
        let alerts = self.alerts.iter().map(|alert| self.alert_value(alert));
        let route_labels = self
            .route_labels
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()));
        Value::map([
            ("Receiver", quoted(self.receiver).into()),
            ("Status", self.status().into()),
            ("Alerts", Value::list(alerts)),
            ("NotificationReason", self.reason.into()),
            ("GroupLabels", Value::texts(self.group_labels.iter())),
            ("CommonLabels", Value::texts(self.common_labels().iter())),
            (
                "CommonAnnotations",
                Value::texts(self.common(|alert| &alert.annotations).iter()),
            ),
            ("RouteLabels", Value::texts(route_labels)),
            ("ExternalURL", self.external_url.into()),
            ("GroupKey", self.group_key.into()),
        ])
    }

    fn alert_value(&self, alert: &Received) -> Value {
        let end = self.end_of(alert);
        let end = end.map_or_else(zero_time, |end| Value::Time(Moment::new(end.nanos())));
        Value::map([
            ("Status", self.status_of(alert).into()),
            ("Labels", Value::texts(alert.labels.iter())),
            ("Annotations", Value::texts(alert.annotations.iter())),
            (
                "StartsAt",
                Value::Time(Moment::new(alert.starts_at.nanos())),
            ),
            ("EndsAt", end),
            ("GeneratorURL", alert.generator_url.as_str().into()),
            ("Fingerprint", alert.fingerprint.to_string().into()),
        ])
    }
}

fn zero_time() -> Value {
    let zero = Moment::parse("2006-01-02", "0001-01-01", "UTC");
    zero.map_or(Value::Nil, Value::Time)
}

fn pairs(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// A receiver's name as Alertmanager shows it: ready for a regular expression.
fn quoted(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// RFC 3339 as Go writes it: no more digits than needed.
const GO_TIME: &str = "2006-01-02T15:04:05.999999999Z07:00";

fn go_time(time: Timestamp) -> String {
    Moment::new(time.nanos()).format(GO_TIME)
}

/// The fields of what templates see, and their names in JSON. One without a name is left out.
const IN_JSON: &[&[(&str, &str)]] = &[
    &[
        ("Annotations", "annotations"),
        ("EndsAt", "endsAt"),
        ("Fingerprint", "fingerprint"),
        ("GeneratorURL", "generatorURL"),
        ("Labels", "labels"),
        ("StartsAt", "startsAt"),
        ("Status", "status"),
    ],
    &[
        ("Alerts", "alerts"),
        ("CommonAnnotations", "commonAnnotations"),
        ("CommonLabels", "commonLabels"),
        ("ExternalURL", "externalURL"),
        ("GroupKey", ""),
        ("GroupLabels", "groupLabels"),
        ("NotificationReason", "notification_reason"),
        ("Receiver", "receiver"),
        ("RouteLabels", "routeLabels"),
        ("Status", "status"),
    ],
];

/// A value of a template as JSON; times as RFC 3339, alerts with the names that webhooks have.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) | Value::Html(text) => text.as_ref().into(),
        Value::List(values) => values.iter().map(to_json).collect(),
        Value::Map(map) => {
            let same = |names: &&&[(&str, &str)]| {
                !map.texts && names.iter().map(|(name, _)| *name).eq(map.entries.keys())
            };
            let names = IN_JSON.iter().find(same);
            let name = |key: &str| match names {
                None => key.to_owned(),
                Some(names) => {
                    let found = names.iter().find(|(name, _)| *name == key);
                    found.map_or(key, |(_, name)| name).to_owned()
                }
            };
            let entries = map.entries.iter();
            let entries = entries.map(|(key, value)| (name(key), to_json(value)));
            entries
                .filter(|(key, _)| names.is_none() || !key.is_empty())
                .collect()
        }
        Value::Time(time) => time.format(GO_TIME).into(),
    }
}

/// JSON as Go writes it: nothing in it can end a script or begin a tag.
pub(super) fn json_text(value: &serde_json::Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

/// A map of texts without some of its keys.
pub(super) fn without(map: &Map, keys: &[Value]) -> Value {
    let gone = |key: &str| keys.iter().any(|gone| gone.printed() == key);
    let entries = map.entries.iter().filter(|(key, _)| !gone(key));
    Value::Map(Arc::new(Map {
        entries: entries.map(|(k, v)| (k.clone(), v.clone())).collect(),
        texts: map.texts,
    }))
}
