//! The guard against storms: a receiver hears of so many notifications in a while, and of all more
//! in one summary.
//!
//! Invariants: every notification that comes in is told, is part of a summary, or is held to come
//! again; the guard forgets nothing. A summary has a bounded number of alerts and says how many
//! there are, and is closed once all that stood in it is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use obs_model::{Labels, Timestamp};

use super::alert::{Fingerprint, Received};
use super::config::Config;
use super::groups::{GroupId, Notification};
use super::log::{Log, LogEntry, LogKey, Reason};

/// Alerts of a summary.
pub const SUMMARY_ALERTS_MAX: usize = 100;
/// The name that stands for alerts in a summary.
pub const ALERT_NAME: &str = "NotificationStorm";
/// The route of summaries, which is none.
const ROUTE: &str = "storm";
/// Nanoseconds between two looks whether a storm is over.
const LOOK: i64 = 5 * obs_model::time::NANOS_PER_SECOND;

/// What is no storm yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calm {
    /// Notifications of one integration of a receiver.
    pub notifications: usize,
    /// Within so many nanoseconds.
    pub per: i64,
}

/// What was told lately.
#[derive(Clone, Debug, Default)]
pub struct Storms {
    /// By receiver, kind and place.
    lately: BTreeMap<(String, &'static str, usize), Lately>,
    /// When somebody looked last whether a storm is over.
    looked: Option<Timestamp>,
    /// Whether any summary may be open.
    open: bool,
}

#[derive(Clone, Debug, Default)]
struct Lately {
    told: VecDeque<Timestamp>,
    summary: Option<Timestamp>,
}

/// Many notifications in one.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What is told.
    pub notification: Notification,
    /// What was told with it, once it has arrived.
    pub of: Vec<Notification>,
}

/// What comes out of the guard.
#[derive(Clone, Debug, Default)]
pub struct Guarded {
    /// Told as they are.
    pub tell: Vec<Notification>,
    /// Told together.
    pub summaries: Vec<Summary>,
    /// Not told now; as if they had not arrived.
    pub held: Vec<Notification>,
}

impl Storms {
    /// Lets through what may be told now.
    pub fn guard(&mut self, calm: Calm, all: Vec<Notification>, now: Timestamp) -> Guarded {
        let mut out = Guarded::default();
        let mut more: BTreeMap<(String, &'static str, usize), Vec<Notification>> = BTreeMap::new();
        let begin = now.saturating_sub(calm.per);
        for notification in all {
            if notification.silent {
                out.tell.push(notification);
                continue;
            }
            let key = &notification.key;
            let place = (key.receiver.clone(), key.kind, key.index);
            let lately = self.lately.entry(place.clone()).or_default();
            while lately.told.front().is_some_and(|then| *then <= begin) {
                lately.told.pop_front();
            }
            if lately.told.len() < calm.notifications {
                lately.told.push_back(now);
                out.tell.push(notification);
            } else {
                more.entry(place).or_default().push(notification);
            }
        }
        for (place, notifications) in more {
            let lately = self.lately.entry(place).or_default();
            if lately.summary.is_some_and(|then| then > begin) {
                out.held.extend(notifications);
                continue;
            }
            lately.summary = Some(now);
            self.open = true;
            out.summaries.push(summary(notifications, now));
        }
        out
    }

    /// Forgets receivers that are calm.
    pub fn forget(&mut self, calm: Calm, now: Timestamp) {
        let begin = now.saturating_sub(calm.per);
        let recent = |then: Option<&Timestamp>| then.is_some_and(|then| *then > begin);
        self.lately
            .retain(|_, lately| recent(lately.told.back()) || recent(lately.summary.as_ref()));
    }

    /// Whether it is time to look which storms are over.
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        let soon = |then: Timestamp| (0..LOOK).contains(&(now - then));
        let look = !self.looked.is_some_and(soon);
        if look {
            self.looked = Some(now);
        }
        look
    }

    /// Notes whether any summary may be open.
    pub(super) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// When it is time to look again.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let looked = self.looked.filter(|_| self.open)?;
        Some(looked.saturating_add(LOOK))
    }

    /// The clock was set by so many nanoseconds.
    pub(super) fn shift(&mut self, jump: i64) {
        self.looked = None;
        for lately in self.lately.values_mut() {
            for then in lately.told.iter_mut().chain(&mut lately.summary) {
                *then = then.saturating_add(jump);
            }
        }
    }
}

/// The name of the group of a receiver's summaries.
fn group_key(receiver: &str) -> String {
    let receiver = obs_query::promql::quote(receiver);
    format!("{{}}/{ALERT_NAME}:{{receiver={receiver}}}")
}

/// Summaries that are not closed.
pub(super) fn open(log: &Log) -> impl Iterator<Item = (&LogKey, &LogEntry)> {
    log.iter()
        .filter(|(key, entry)| !entry.firing.is_empty() && is_summary(key))
}

/// Whether this is about a summary.
pub(super) fn is_summary(key: &LogKey) -> bool {
    key.group == group_key(&key.receiver)
}

/// Whether this is about a summary that can still be closed.
pub fn can_close(config: &Config, key: &LogKey) -> bool {
    is_summary(key) && config.receivers.iter().any(|r| r.name == key.receiver)
}

/// What closes a summary; nothing where the receiver is gone.
pub(super) fn closing(
    config: &Config,
    key: &LogKey,
    open: &LogEntry,
    now: Timestamp,
) -> Option<Notification> {
    let receiver = config.receivers.iter().find(|r| r.name == key.receiver)?;
    let mut integrations = receiver.integrations.iter();
    let place = |index, kind| (index, kind) == (key.index, key.kind);
    let integration = integrations.find(|i| place(i.index, i.kind()))?;
    let labels = Labels::from_pairs([("alertname", ALERT_NAME)]);
    let fingerprint = Fingerprint::of(&labels);
    Some(Notification {
        group: GroupId {
            route: ROUTE.to_owned(),
            labels: labels.clone(),
        },
        key: key.clone(),
        alerts: vec![Received {
            fingerprint,
            labels,
            annotations: Labels::empty(),
            starts_at: open.at,
            ends_at: now,
            updated_at: now,
            generator_url: String::new(),
            guessed_end: false,
        }],
        reason: Reason::AllResolved,
        before: Some(open.at),
        entry: LogEntry {
            resolved: [fingerprint].into(),
            at: now,
            ..LogEntry::default()
        },
        silent: !integration.send_resolved,
        now,
        generation: 0,
    })
}

fn summary(of: Vec<Notification>, now: Timestamp) -> Summary {
    let mut entry = LogEntry {
        at: now,
        ..LogEntry::default()
    };
    let mut seen = BTreeSet::new();
    let (mut firing, mut over): (Vec<&Received>, Vec<&Received>) = (Vec::new(), Vec::new());
    for notification in &of {
        entry.firing.extend(&notification.entry.firing);
        entry.resolved.extend(&notification.entry.resolved);
        for alert in &notification.alerts {
            if seen.insert(alert.fingerprint) {
                match alert.is_resolved(now) {
                    true => over.push(alert),
                    false => firing.push(alert),
                }
            }
        }
    }
    let counts = [
        ("alertname", ALERT_NAME.to_owned()),
        ("alerts", seen.len().to_string()),
        ("groups", of.len().to_string()),
    ];
    let key = &of[0].key;
    let shown = firing.into_iter().chain(over).take(SUMMARY_ALERTS_MAX);
    let notification = Notification {
        group: GroupId {
            route: ROUTE.to_owned(),
            labels: Labels::from_pairs(counts.iter().map(|(k, v)| (*k, v.as_str()))),
        },
        key: LogKey {
            group: group_key(&key.receiver),
            ..key.clone()
        },
        alerts: shown.cloned().collect(),
        reason: Reason::Storm,
        before: None,
        entry,
        silent: false,
        now,
        generation: 0,
    };
    Summary { notification, of }
}

#[cfg(test)]
mod tests {
    use super::super::alert::Fingerprint;
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn notification(receiver: &str, i: usize, now: i64) -> Notification {
        let labels = Labels::from_pairs([("i", i.to_string().as_str())]);
        let alert = Received {
            fingerprint: Fingerprint::of(&labels),
            labels: labels.clone(),
            annotations: Labels::empty(),
            starts_at: at(0),
            ends_at: at(1_000_000),
            updated_at: at(0),
            generator_url: String::new(),
            guessed_end: false,
        };
        Notification {
            group: GroupId {
                route: "{}".to_owned(),
                labels,
            },
            key: LogKey {
                group: format!("{{}}:{i}"),
                receiver: receiver.to_owned(),
                kind: "webhook",
                index: 0,
            },
            entry: LogEntry {
                firing: [alert.fingerprint].into(),
                resolved: BTreeSet::new(),
                at: at(now),
                kept: BTreeMap::new(),
            },
            alerts: vec![alert],
            reason: Reason::First,
            before: None,
            silent: false,
            now: at(now),
            generation: 0,
        }
    }

    #[test]
    fn a_storm_becomes_one_summary() {
        let calm = Calm {
            notifications: 3,
            per: 60 * SECOND,
        };
        let mut storms = Storms::default();
        let burst = |from: usize, to: usize, now| {
            (from..to)
                .map(|i| notification("a", i, now))
                .collect::<Vec<_>>()
        };
        let out = storms.guard(calm, burst(0, 2, 0), at(0));
        assert_eq!(
            (out.tell.len(), out.summaries.len(), out.held.len()),
            (2, 0, 0)
        );
        let mut many = burst(2, 100_000, 1);
        many.push(notification("b", 0, 1));
        let out = storms.guard(calm, many, at(1));
        // One more of `a`, and `b` has a measure of its own.
        assert_eq!(
            (out.tell.len(), out.summaries.len(), out.held.len()),
            (2, 1, 0)
        );
        let summary = &out.summaries[0];
        assert_eq!(summary.of.len(), 99_997);
        assert_eq!(summary.notification.alerts.len(), SUMMARY_ALERTS_MAX);
        assert_eq!(summary.notification.entry.firing.len(), 99_997);
        assert_eq!(
            summary.notification.group.labels.get("alerts"),
            Some("99997")
        );
        let out = storms.guard(calm, burst(0, 10, 30), at(30));
        assert_eq!(
            (out.tell.len(), out.summaries.len(), out.held.len()),
            (0, 0, 10)
        );
        // The storm is over.
        let out = storms.guard(calm, burst(0, 3, 62), at(62));
        assert_eq!(
            (out.tell.len(), out.summaries.len(), out.held.len()),
            (3, 0, 0)
        );
        storms.forget(calm, at(200));
        assert!(storms.lately.is_empty());
    }

    #[test]
    fn what_nobody_hears_counts_for_nothing() {
        let calm = Calm {
            notifications: 1,
            per: SECOND,
        };
        let silent = |i| Notification {
            silent: true,
            ..notification("a", i, 0)
        };
        let out = Storms::default().guard(calm, (0..5).map(silent).collect(), at(0));
        assert_eq!(out.tell.len(), 5);
    }
}
