//! Heartbeats: a receiver hears every while that we live, and we hear of senders of alerts that they
//! live, or there is an alert.
//!
//! Invariant: what has never been heard counts from the start, so that a sender that never comes is
//! missed as well as one that goes.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::{Labels, Matcher, Timestamp, matcher};

use super::alert::{Fingerprint, Received};
use super::config::Config;
use super::groups::{GroupId, Notification};
use super::log::{LogEntry, LogKey, Reason};

/// The name of the alert that says that we live.
pub const ALIVE: &str = "Heartbeat";
/// The route of heartbeats, which is none: an alert of the user may have the same name.
const ROUTE: &str = "heartbeat";
/// The name of the alert that says that a sender does not.
pub const MISSING: &str = "HeartbeatMissing";

/// A receiver that hears that we live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who.
    pub receiver: String,
    /// Nanoseconds between two.
    pub every: i64,
}

/// Alerts that have to come.
#[derive(Clone, Debug)]
pub struct Expected {
    /// By which the alert about them is known.
    pub name: String,
    /// What they have.
    pub matchers: Vec<Matcher>,
    /// Nanoseconds in which one has to come.
    pub within: i64,
    /// Labels of the alert about them.
    pub labels: BTreeMap<String, String>,
}

impl Heartbeat {
    /// When the next is due.
    pub fn due(&self, last: Option<Timestamp>, now: Timestamp) -> Timestamp {
        last.map_or(now, |last| last.saturating_add(self.every))
    }

    /// What is told, by each integration of the receiver.
    pub fn notifications(&self, config: &Config, now: Timestamp) -> Vec<Notification> {
        let labels = Labels::from_pairs([("alertname", ALIVE)]);
        let alert = Received {
            fingerprint: Fingerprint::of(&labels),
            labels: labels.clone(),
            annotations: Labels::empty(),
            starts_at: now,
            ends_at: now.saturating_add(self.every.saturating_mul(2)),
            updated_at: now,
            generator_url: String::new(),
            guessed_end: false,
        };
        let receiver = config
            .receivers
            .iter()
            .find(|receiver| receiver.name == self.receiver);
        let integrations = receiver
            .into_iter()
            .flat_map(|receiver| &receiver.integrations);
        let tell = integrations.map(|integration| Notification {
            group: GroupId {
                route: ROUTE.to_owned(),
                labels: labels.clone(),
            },
            key: LogKey {
                group: format!("{{}}/{ALIVE}:{{}}"),
                receiver: self.receiver.clone(),
                kind: integration.kind(),
                index: integration.index,
            },
            alerts: vec![alert.clone()],
            reason: Reason::Heartbeat,
            entry: LogEntry {
                firing: [alert.fingerprint].into(),
                resolved: BTreeSet::new(),
                at: now,
                kept: BTreeMap::new(),
            },
            before: None,
            silent: false,
            now,
            generation: 0,
        });
        tell.collect()
    }
}

/// When each was heard last.
#[derive(Clone, Debug)]
pub struct Watch {
    start: Timestamp,
    heard: BTreeMap<String, Timestamp>,
    missing: BTreeSet<String>,
}

impl Watch {
    /// Begins to listen.
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            heard: BTreeMap::new(),
            missing: BTreeSet::new(),
        }
    }

    /// Looks at all alerts that fire; gives alerts about those that do not come, and the ends of
    /// those about some that came back.
    pub fn look<'a>(
        &mut self,
        expected: &[Expected],
        alerts: impl IntoIterator<Item = &'a Received>,
        now: Timestamp,
    ) -> Vec<Received> {
        for alert in alerts.into_iter().filter(|alert| !alert.is_resolved(now)) {
            for one in expected {
                if matcher::all_match(&one.matchers, &alert.labels) {
                    let heard = self.heard.entry(one.name.clone()).or_insert(self.start);
                    *heard = (*heard).max(alert.updated_at);
                }
            }
        }
        let mut told = Vec::new();
        for one in expected {
            let last = self.heard.get(&one.name).copied().unwrap_or(self.start);
            let late = last.saturating_add(one.within);
            if late <= now {
                self.missing.insert(one.name.clone());
                told.push(one.alert(late, now.saturating_add(one.within), now));
            } else if self.missing.remove(&one.name) {
                told.push(one.alert(last.min(now), now, now));
            }
        }
        told
    }

    /// Forgets those that nobody waits for any more.
    pub fn retain(&mut self, expected: &[Expected]) {
        let waits = |name: &String| expected.iter().any(|one| one.name == *name);
        self.heard.retain(|name, _| waits(name));
        self.missing.retain(waits);
    }

    /// The clock was set by so many nanoseconds.
    pub fn shift(&mut self, jump: i64) {
        self.start = self.start.saturating_add(jump);
        for heard in self.heard.values_mut() {
            *heard = heard.saturating_add(jump);
        }
    }

    /// When somebody may be missed next.
    pub fn next(&self, expected: &[Expected], now: Timestamp) -> Option<Timestamp> {
        let next = |one: &Expected| {
            let last = self.heard.get(&one.name).copied().unwrap_or(self.start);
            let late = last.saturating_add(one.within);
            // What is missed is told again before it would end.
            late.max(now.saturating_add(one.within / 2))
        };
        expected.iter().map(next).min()
    }
}

impl Expected {
    fn alert(&self, starts_at: Timestamp, ends_at: Timestamp, now: Timestamp) -> Received {
        let own = [("alertname", MISSING), ("heartbeat", self.name.as_str())];
        let more = self.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let pairs: BTreeMap<&str, &str> = own.into_iter().chain(more).collect();
        let labels = Labels::from_pairs(pairs);
        let text = format!("nothing was heard of {}", self.name);
        Received {
            fingerprint: Fingerprint::of(&labels),
            labels,
            annotations: Labels::from_pairs([("summary", text.as_str())]),
            starts_at,
            ends_at,
            updated_at: now,
            generator_url: String::new(),
            guessed_end: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_hear_that_we_live() {
        let text = "route: {receiver: r}\nreceivers: [{name: r, webhook_configs: [{url: 'http://a'}, {url: 'http://b'}]}]";
        let config = Config::parse(text).expect("it is good");
        let beat = Heartbeat {
            receiver: "r".to_owned(),
            every: 60_000_000_000,
        };
        let at = Timestamp::from_seconds;
        assert_eq!(beat.due(None, at(5)), at(5));
        assert_eq!(beat.due(Some(at(5)), at(6)), at(65));
        let told = beat.notifications(&config, at(5));
        assert_eq!(told.iter().map(|n| n.key.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(told[0].alerts[0].labels.get("alertname"), Some(ALIVE));
    }

    #[test]
    fn who_does_not_come_is_missed() {
        let at = Timestamp::from_seconds;
        let expected = [Expected {
            name: "prod".to_owned(),
            matchers: vec![Matcher::equal("alertname", "Watchdog")],
            within: 60_000_000_000,
            labels: [("severity".to_owned(), "page".to_owned())].into(),
        }];
        let labels = Labels::from_pairs([("alertname", "Watchdog")]);
        let heard = |now: i64| Received {
            fingerprint: Fingerprint::of(&labels),
            labels: labels.clone(),
            annotations: Labels::empty(),
            starts_at: at(0),
            ends_at: at(now + 300),
            updated_at: at(now),
            generator_url: String::new(),
            guessed_end: false,
        };
        let mut watch = Watch::new(at(0));
        let mut check = |heard: Option<Received>, now: i64, expect: Option<bool>| {
            let told = watch.look(&expected, heard.iter(), at(now));
            let over = told.first().map(|alert| alert.is_resolved(at(now)));
            assert_eq!(
                (told.len(), over),
                (usize::from(expect.is_some()), expect),
                "at {now}"
            );
            assert!(
                watch
                    .next(&expected, at(now))
                    .is_some_and(|next| next > at(now))
            );
        };
        check(None, 59, None);
        // It never came.
        check(None, 60, Some(false));
        check(Some(heard(70)), 70, Some(true));
        check(Some(heard(70)), 129, None);
        // It does not come any more.
        check(Some(heard(70)), 130, Some(false));
        check(Some(heard(70)), 150, Some(false));
        check(Some(heard(160)), 161, Some(true));
    }
}
