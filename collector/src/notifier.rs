//! Telling Alertmanagers elsewhere of alerts, as Prometheus does: all that discovery finds, each
//! with a queue of its own.
//!
//! Invariants: an Alertmanager that does not answer keeps no other one waiting; a queue is bounded
//! and loses its oldest alerts, which is counted; what is queued at the end is sent before it, unless
//! that is not wanted.

mod endpoint;
mod follow;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_model::family::{Family, Point};
use obs_model::metrics::MetricKind::{Counter, Gauge, Summary};
use obs_model::{Labels, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Alerting, AlertmanagerSet};
use crate::discovery::provider::Providers;
use crate::external::External;
use crate::relabel;
use endpoint::{Counts, Endpoint};

/// How alerts wait and leave. The defaults are Prometheus'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifierOptions {
    /// Alerts that wait for one Alertmanager; where there are more, the oldest go.
    pub capacity: usize,
    /// Alerts of one request.
    pub batch: usize,
    /// Whether what is queued at the end is sent before it.
    pub drain: bool,
}

impl Default for NotifierOptions {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            batch: 256,
            drain: true,
        }
    }
}

/// An alert as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// When it began.
    pub starts_at: Timestamp,
    /// When it was over, or until when it holds without another word.
    pub ends_at: Timestamp,
    /// Where its expression can be seen.
    pub generator_url: String,
}

impl Alert {
    /// As the API of Alertmanager takes it.
    fn json(&self) -> Arc<str> {
        let pairs = |labels: &Labels| -> serde_json::Value {
            labels
                .iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let alert = serde_json::json!({
            "annotations": pairs(&self.annotations),
            "endsAt": self.ends_at.to_string(),
            "startsAt": self.starts_at.to_string(),
            "generatorURL": self.generator_url,
            "labels": pairs(&self.labels),
        });
        alert.to_string().into()
    }
}

/// Where the Alertmanagers of one entry are.
#[derive(Debug)]
struct Found {
    set: Arc<AlertmanagerSet>,
    /// What was told before discovery had its first answer.
    early: Option<VecDeque<Arc<str>>>,
    endpoints: BTreeMap<String, Arc<Endpoint>>,
    dropped: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    options: NotifierOptions,
    external: External,
    providers: Providers,
    found: Mutex<Vec<Found>>,
    /// What happened, by address; of those that are told, and until others are found after a reload
    /// of those before them.
    counts: Mutex<BTreeMap<String, Arc<Counts>>>,
}

impl Shared {
    fn found(&self) -> MutexGuard<'_, Vec<Found>> {
        // Every change is one assignment.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Counts>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what happened with Alertmanagers that are gone, once it is known which are there.
    fn forget(&self) {
        let found = self.found();
        if found.iter().any(|found| found.early.is_some()) {
            return;
        }
        let is_there = |url: &String| found.iter().any(|found| found.endpoints.contains_key(url));
        self.counts().retain(|url, _| is_there(url));
    }
}

/// Who tells Alertmanagers.
#[derive(Clone, Debug)]
pub struct Notifier {
    wanted: watch::Sender<Arc<Alerting>>,
    shared: Arc<Shared>,
}

impl Notifier {
    /// One that tells those of a configuration; `external` is put on alerts that do not have it.
    pub fn new(
        alerting: Alerting,
        external: External,
        kubernetes: Arc<obs_kubernetes::Counters>,
        options: NotifierOptions,
    ) -> Self {
        let notifier = Self {
            wanted: watch::Sender::new(Arc::new(Alerting::default())),
            shared: Arc::new(Shared {
                options,
                external,
                providers: Providers::new(kubernetes),
                found: Mutex::default(),
                counts: Mutex::default(),
            }),
        };
        notifier.apply(alerting);
        notifier
    }

    /// Goes on with another configuration.
    pub fn apply(&self, alerting: Alerting) {
        if **self.wanted.borrow() == alerting {
            return;
        }
        let sets = alerting.alertmanagers.iter().cloned().map(Arc::new);
        let found = sets.map(|set| Found {
            set,
            early: Some(VecDeque::new()),
            endpoints: BTreeMap::new(),
            dropped: Vec::new(),
        });
        *self.shared.found() = found.collect();
        self.shared.forget();
        self.wanted.send_replace(Arc::new(alerting));
    }

    /// Alerts as everybody is told of them: with the external labels, relabelled.
    pub fn prepared(&self, alerts: impl Iterator<Item = Alert>) -> Vec<Alert> {
        let alerting = Arc::clone(&self.wanted.borrow());
        let external = self.shared.external.get();
        let prepared = alerts.filter_map(|mut alert| {
            let mut builder = alert.labels.to_builder();
            for (name, value) in &external {
                if builder.get(name).is_none() {
                    builder.set(name, value);
                }
            }
            if !relabel::apply(&alerting.relabel, &mut builder) {
                return None;
            }
            alert.labels = builder.build();
            Some(alert)
        });
        prepared.collect()
    }

    /// Queues alerts for all Alertmanagers that are known.
    pub fn send(&self, alerts: &[Alert]) {
        for found in &mut *self.shared.found() {
            let rules = &found.set.alert_relabel;
            let texts = alerts.iter().filter_map(|alert| {
                if rules.is_empty() {
                    return Some(alert.json());
                }
                let mut builder = alert.labels.to_builder();
                relabel::apply(rules, &mut builder).then(|| {
                    let labels = builder.build();
                    Alert {
                        labels,
                        ..alert.clone()
                    }
                    .json()
                })
            });
            let texts: Vec<Arc<str>> = texts.collect();
            for endpoint in found.endpoints.values() {
                endpoint.push(texts.iter().cloned());
            }
            if let Some(early) = &mut found.early {
                early.extend(texts);
                let over = early.len().saturating_sub(self.shared.options.capacity);
                early.drain(..over);
            }
        }
    }

    /// The addresses of those that are told, and of those that relabelling dropped.
    pub fn alertmanagers(&self) -> (Vec<String>, Vec<String>) {
        let found = self.shared.found();
        let active = found.iter().flat_map(|found| found.endpoints.keys());
        let dropped = found.iter().flat_map(|found| &found.dropped);
        (active.cloned().collect(), dropped.cloned().collect())
    }

    /// Finds and tells Alertmanagers until the token is cancelled; then what is queued is sent.
    pub async fn run(self, stop: CancellationToken) {
        let mut wanted = self.wanted.subscribe();
        loop {
            wanted.borrow_and_update();
            let sets: Vec<Arc<AlertmanagerSet>> = {
                let found = self.shared.found();
                found.iter().map(|found| Arc::clone(&found.set)).collect()
            };
            let (tasks, generation) = (TaskTracker::new(), stop.child_token());
            for set in sets {
                let (shared, ends) = (Arc::clone(&self.shared), stop.clone());
                let stop = (generation.clone(), ends);
                tasks.spawn(async move { follow::follow(&shared, &set, stop).await });
            }
            tokio::select! {
                () = stop.cancelled() => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
            generation.cancel();
            tasks.close();
            tasks.wait().await;
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// Its metrics, by Prometheus' names.
    pub fn families(&self) -> Vec<Family> {
        let discovered = self.alertmanagers().0.len();
        let length: usize = {
            let found = self.shared.found();
            let endpoints = found.iter().flat_map(|found| found.endpoints.values());
            endpoints.map(|endpoint| endpoint.queued()).sum()
        };
        let counts = self.shared.counts();
        let count = |name: &str, help: &str, value: &dyn Fn(&Counts) -> u64| {
            let mut family = Family::new(name, Counter, help);
            for (address, counts) in counts.iter() {
                let labels = Labels::from_pairs([("alertmanager", address)]);
                family.push(labels, value(counts) as f64);
            }
            family
        };
        let gauge = |name: &str, help: &str, value: usize| {
            Family::new(name, Gauge, help).with(value as f64)
        };
        vec![
            count(
                "prometheus_notifications_sent_total",
                "Total number of alerts sent.",
                &|c| c.sent.load(Ordering::Relaxed),
            ),
            count(
                "prometheus_notifications_errors_total",
                "Total number of sent alerts affected by errors.",
                &|c| c.errors.load(Ordering::Relaxed),
            ),
            count(
                "prometheus_notifications_dropped_total",
                "Total number of alerts dropped due to errors when sending to Alertmanager.",
                &|c| c.dropped.load(Ordering::Relaxed),
            ),
            latencies(&counts),
            gauge(
                "prometheus_notifications_queue_length",
                "The number of alert notifications in the queue.",
                length,
            ),
            gauge(
                "prometheus_notifications_queue_capacity",
                "The capacity of the alert notifications queue.",
                self.shared.options.capacity,
            ),
            gauge(
                "prometheus_notifications_alertmanagers_discovered",
                "The number of alertmanagers discovered and active.",
                discovered,
            ),
        ]
    }
}

fn latencies(counts: &BTreeMap<String, Arc<Counts>>) -> Family {
    let mut family = Family::new(
        "prometheus_notifications_latency_seconds",
        Summary,
        "Latency quantiles for sending alert notifications.",
    );
    for (address, counts) in counts {
        let labels = Labels::from_pairs([("alertmanager", address)]);
        let seconds = counts.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let requests = counts.requests.load(Ordering::Relaxed) as f64;
        for (suffix, value) in [("_sum", seconds), ("_count", requests)] {
            family.points.push(Point {
                suffix,
                labels: labels.clone(),
                value,
            });
        }
    }
    family
}

/// Many alerts as one body.
fn body(alerts: &[Arc<str>]) -> String {
    let bytes: usize = alerts.iter().map(|alert| alert.len() + 1).sum();
    let mut body = String::with_capacity(bytes + 1);
    for (at, alert) in alerts.iter().enumerate() {
        body.push(if at == 0 { '[' } else { ',' });
        body.push_str(alert);
    }
    body.push(']');
    body
}

#[cfg(test)]
mod tests;
