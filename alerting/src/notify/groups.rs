//! Groups of alerts: when each is due, and what is told to whom.
//!
//! Invariants: what is told is decided from alerts, silences, rules of inhibition, times and the
//! log of notifications alone; an alert that is over stays in its group until those who must know
//! have been told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_model::{Labels, Timestamp};

use super::acks::{Ack, Acks};
use super::alert::{Fingerprint, Received};
use super::config::Config;
use super::decide::{Due, decide};
use super::flapping::Flaps;
use super::heartbeat::Watch;
use super::inhibit::Sources;
use super::log::{Log, LogEntry, LogKey, Reason};
use super::silence::Silences;
use super::storm::{Guarded, Storms};
use super::{dependency, escalation};

/// By which a group is known: its route and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId {
    /// The id of the route.
    pub route: String,
    /// The labels that its alerts share.
    pub labels: Labels,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// By which webhooks know it.
    pub key: String,
    alerts: BTreeSet<Fingerprint>,
    /// When it is due.
    next: Timestamp,
    /// Notifications on their way.
    busy: usize,
    /// Whether one of them failed.
    failed: bool,
    /// Alerts that were over when they were told, and when each was told to us last.
    ending: BTreeMap<Fingerprint, Timestamp>,
    /// The times that mute it now.
    pub muted_by: Vec<String>,
}

/// Something to tell.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Of which group.
    pub group: GroupId,
    /// What the log knows it by.
    pub key: LogKey,
    /// The alerts, in order.
    pub alerts: Vec<Received>,
    /// Why.
    pub reason: Reason,
    /// What the log says once it was told.
    pub entry: LogEntry,
    /// Nobody need be told; only the log changes.
    pub silent: bool,
    /// The decision was made at this time.
    pub now: Timestamp,
}

/// Why an alert is not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    /// The ids of silences.
    pub silenced_by: Vec<String>,
    /// The alerts that inhibit it.
    pub inhibited_by: Vec<Fingerprint>,
}

/// How many alerts were not told because something kept them quiet, each time they were due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// By silences.
    pub silenced: u64,
    /// By other alerts.
    pub inhibited: u64,
    /// By times that mute.
    pub muted: u64,
    /// Because no time was active.
    pub not_active: u64,
}

/// Alerts and their groups.
#[derive(Clone, Debug)]
pub struct Groups {
    suppressed: Suppressed,
    config: Arc<Config>,
    alerts: BTreeMap<Fingerprint, Received>,
    groups: BTreeMap<GroupId, Group>,
    acks: Acks,
    flaps: Flaps,
    storms: Storms,
    /// Where heartbeats are told and waited for.
    pulse: Option<Pulse>,
}

/// Heartbeats: ours and those that we wait for.
#[derive(Clone, Debug, Default)]
struct Pulse {
    watch: Option<Watch>,
    /// When receivers heard last that we live.
    told: BTreeMap<String, Timestamp>,
    /// When something is to be done next.
    next: Option<Timestamp>,
}

/// Something to tell, and what was told once it has arrived.
#[derive(Clone, Debug)]
pub struct Telling {
    /// What is told.
    pub notification: Notification,
    /// For a summary what stands in it; nothing for others.
    pub of: Vec<Notification>,
}

impl Groups {
    /// Nothing yet.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            suppressed: Suppressed::default(),
            config,
            alerts: BTreeMap::new(),
            groups: BTreeMap::new(),
            acks: Acks::default(),
            flaps: Flaps::default(),
            storms: Storms::default(),
            pulse: None,
        }
    }

    /// Acknowledgements.
    pub fn acks(&self) -> &Acks {
        &self.acks
    }

    /// Somebody cares for an alert; `false` where it does not fire.
    pub fn acknowledge(&mut self, print: Fingerprint, ack: Ack, now: Timestamp) -> bool {
        let fires = self
            .alerts
            .get(&print)
            .is_some_and(|alert| !alert.is_resolved(now));
        if fires {
            self.acks.set(print, ack);
        }
        fires
    }

    /// Takes an acknowledgement back.
    pub fn unacknowledge(&mut self, print: Fingerprint) -> Option<Ack> {
        self.acks.clear(print)
    }

    /// What was kept of an acknowledgement.
    pub fn restore(&mut self, print: Fingerprint, ack: Ack) {
        self.acks.set(print, ack);
    }

    /// Drops acknowledgements of what is over; gives whose they were.
    pub fn forget_acks(&mut self, now: Timestamp) -> Vec<Fingerprint> {
        let alerts = &self.alerts;
        self.acks.forget(|print| alerts.get(&print), now)
    }

    /// From now on heartbeats are told and waited for here: by one of all that share the
    /// configuration.
    pub fn begin_pulse(&mut self) {
        self.pulse.get_or_insert_default();
    }

    /// Whether an alert comes and goes all the time.
    pub fn is_flapping(&self, print: Fingerprint) -> bool {
        self.flaps.is_flapping(print)
    }

    /// How many alerts were kept quiet.
    pub fn suppressed(&self) -> Suppressed {
        self.suppressed
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Goes on with another configuration: all alerts are grouped anew, and what was told is
    /// known from the log.
    pub fn reload(&mut self, config: Arc<Config>, now: Timestamp) {
        self.config = config;
        self.groups.clear();
        if let Some(pulse) = &mut self.pulse {
            pulse.next = None;
        }
        let alerts: Vec<Received> = self.alerts.values().cloned().collect();
        for alert in alerts {
            self.group(&alert, now);
        }
    }

    /// Takes alerts in; gives them as they are known now.
    pub fn receive(&mut self, alerts: Vec<Received>, now: Timestamp) -> Vec<Received> {
        let mut known = Vec::with_capacity(alerts.len());
        let config = Arc::clone(&self.config);
        for mut alert in alerts {
            if let Some(flapping) = &config.extras.flapping {
                alert = self.flaps.note(flapping, alert, now);
            }
            let alert = match self.alerts.get(&alert.fingerprint) {
                Some(before) => alert.after(before),
                None => alert,
            };
            self.alerts.insert(alert.fingerprint, alert.clone());
            self.group(&alert, now);
            known.push(alert);
        }
        known
    }

    /// Puts an alert into the groups of its routes.
    fn group(&mut self, alert: &Received, now: Timestamp) {
        let config = Arc::clone(&self.config);
        for route in config.route.find(&alert.labels) {
            let labels = route.group_labels(&alert.labels);
            let id = GroupId {
                route: route.id.clone(),
                labels,
            };
            let key = route.group_key(&id.labels);
            let options = &route.options;
            let group = self.groups.entry(id).or_insert_with(|| {
                let old = alert.starts_at.saturating_add(options.group_wait) < now;
                Group {
                    key,
                    alerts: BTreeSet::new(),
                    next: if old {
                        now
                    } else {
                        now.saturating_add(options.group_wait)
                    },
                    busy: 0,
                    failed: false,
                    ending: BTreeMap::new(),
                    muted_by: Vec::new(),
                }
            });
            let known = !group.alerts.insert(alert.fingerprint);
            if known
                && alert.is_resolved(now)
                && let Some(wait) = options.resolve_wait
            {
                group.next = group.next.min(now.saturating_add(wait));
            }
        }
    }

    /// When the next group is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let waiting = self.groups.values().filter(|group| group.busy == 0);
        let waiting = waiting.map(|group| group.next);
        waiting.chain(self.next_pulse()).min()
    }

    fn next_pulse(&self) -> Option<Timestamp> {
        let extras = &self.config.extras;
        let idle = extras.heartbeats.is_empty() && extras.expected.is_empty();
        let pulse = self.pulse.as_ref().filter(|_| !idle)?;
        Some(pulse.next.unwrap_or(Timestamp::from_nanos(0)))
    }

    /// Tells those who listen that we live, and looks whether those live whom we listen to.
    fn beat(&mut self, now: Timestamp) -> Vec<Notification> {
        let config = Arc::clone(&self.config);
        let extras = &config.extras;
        if self.next_pulse().is_none_or(|next| next > now) {
            return Vec::new();
        }
        let Some(pulse) = &mut self.pulse else {
            return Vec::new();
        };
        let watch = pulse.watch.get_or_insert_with(|| Watch::new(now));
        let news = watch.look(&extras.expected, self.alerts.values(), now);
        let mut next = watch.next(&extras.expected, now);
        let mut notifications = Vec::new();
        for heartbeat in &extras.heartbeats {
            let told = &mut pulse.told;
            if heartbeat.due(told.get(&heartbeat.receiver).copied(), now) <= now {
                told.insert(heartbeat.receiver.clone(), now);
                notifications.extend(heartbeat.notifications(&config, now));
            }
            let due = heartbeat.due(told.get(&heartbeat.receiver).copied(), now);
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        pulse.next = next;
        self.receive(news, now);
        notifications
    }

    /// All that is to be told now, of at most so many groups, and whether there are more of them.
    pub fn tell(
        &mut self,
        silences: &Silences,
        log: &mut Log,
        groups_max: usize,
        now: Timestamp,
    ) -> (Vec<Telling>, bool) {
        let beats = self.beat(now);
        let due = self.due(now);
        let more = due.len() > groups_max;
        let mut notifications = Vec::new();
        if !due.is_empty() {
            let sources = self.sources(now);
            for id in due.iter().take(groups_max) {
                notifications.extend(self.flush(id, &sources, silences, log, now));
            }
        }
        let guarded = self.guard(notifications, now);
        for held in &guarded.held {
            self.done(held, false, log, now);
        }
        let plain = |notification| Telling {
            notification,
            of: Vec::new(),
        };
        let mut all: Vec<Telling> = beats.into_iter().map(plain).collect();
        all.extend(guarded.tell.into_iter().map(plain));
        let summaries = guarded.summaries.into_iter();
        all.extend(summaries.map(|summary| Telling {
            notification: summary.notification,
            of: summary.of,
        }));
        (all, more)
    }

    /// Lets through what is no storm.
    fn guard(&mut self, notifications: Vec<Notification>, now: Timestamp) -> Guarded {
        match self.config.extras.storm {
            Some(calm) => self.storms.guard(calm, notifications, now),
            None => Guarded {
                tell: notifications,
                ..Guarded::default()
            },
        }
    }

    /// The groups that are due.
    pub fn due(&self, now: Timestamp) -> Vec<GroupId> {
        let due = |group: &Group| group.busy == 0 && group.next <= now;
        let due = self.groups.iter().filter(|(_, group)| due(group));
        due.map(|(id, _)| id.clone()).collect()
    }

    /// All groups.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.groups.iter()
    }

    /// The alerts of a group, in order.
    pub fn alerts_of(&self, group: &Group) -> Vec<&Received> {
        let alerts = group
            .alerts
            .iter()
            .filter_map(|print| self.alerts.get(print));
        let mut alerts: Vec<&Received> = alerts.collect();
        alerts.sort_by(|a, b| order(&a.labels).cmp(&order(&b.labels)));
        alerts
    }

    /// One alert.
    pub fn alert(&self, print: Fingerprint) -> Option<&Received> {
        self.alerts.get(&print)
    }

    /// How many alerts there are.
    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Whether there is no alert, and nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty() && self.next_pulse().is_none()
    }

    /// All alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Received> {
        self.alerts.values()
    }

    /// The alerts that keep others quiet now.
    pub fn sources(&self, now: Timestamp) -> Sources {
        let firing = self.alerts.values().filter(|alert| !alert.is_resolved(now));
        Sources::of(&self.config.inhibit, firing)
    }

    /// Why an alert is not told.
    pub fn quiet(
        &self,
        labels: &Labels,
        sources: &Sources,
        silences: &Silences,
        now: Timestamp,
    ) -> Quiet {
        let inhibitor = sources.inhibitor(&self.config.inhibit, labels);
        Quiet {
            silenced_by: silences.about(labels, now),
            inhibited_by: inhibitor.into_iter().collect(),
        }
    }

    /// Decides what is told of a group that is due, and sets when it is due again.
    ///
    /// `sources` are those of now: gathered once for all groups that are due together.
    pub fn flush(
        &mut self,
        id: &GroupId,
        sources: &Sources,
        silences: &Silences,
        log: &Log,
        now: Timestamp,
    ) -> Vec<Notification> {
        let config = Arc::clone(&self.config);
        let Some(route) = config.route.by_id(&id.route) else {
            self.groups.remove(id);
            return Vec::new();
        };
        let Some(group) = self.groups.get(id) else {
            return Vec::new();
        };
        let alerts: Vec<Received> = self.alerts_of(group).into_iter().cloned().collect();
        let over = alerts.iter().filter(|alert| alert.is_resolved(now));
        let ending = over
            .map(|alert| (alert.fingerprint, alert.updated_at))
            .collect();
        // An end that nobody puts off is a recovery too.
        let firing = alerts.iter().filter(|alert| !alert.is_resolved(now));
        let end = firing.map(|alert| alert.ends_at).min();
        let end = route
            .options
            .resolve_wait
            .and_then(|wait| Some(end? + wait));
        let mut told = Vec::with_capacity(alerts.len());
        let mut next = now.saturating_add(route.options.group_interval);
        let mut suppressed = self.suppressed;
        for alert in alerts {
            let quiet = self.quiet(&alert.labels, sources, silences, now);
            if !quiet.inhibited_by.is_empty() {
                suppressed.inhibited += 1;
            } else if !quiet.silenced_by.is_empty() {
                suppressed.silenced += 1;
            } else if let Some(until) = dependency::waits(&config.extras.dependencies, &alert, now)
            {
                next = next.min(until);
            } else {
                told.push(alert);
            }
        }
        let muted_by = config.muted_by(&route.options, now);
        let muted = !muted_by.is_empty();
        if muted {
            let by_mute = muted_by.iter().any(|n| route.options.mute.contains(n));
            let count = if by_mute {
                &mut suppressed.muted
            } else {
                &mut suppressed.not_active
            };
            *count += told.len() as u64;
        }
        self.suppressed = suppressed;
        let mut notifications = Vec::new();
        if !muted && !told.is_empty() {
            let key = self.groups[id].key.clone();
            let due = Due {
                id,
                key: &key,
                alerts: &told,
            };
            notifications = decide(&config, route, due, (&self.acks, log), now);
        }
        if !route.options.escalate.is_empty() {
            let acknowledged = self.acks.among(&told, now);
            let since = escalation::since(&told, &acknowledged, now);
            let step = escalation::next(&route.options.escalate, since, now);
            next = step.map_or(next, |step| next.min(step));
        }
        if let Some(group) = self.groups.get_mut(id) {
            group.muted_by = muted_by;
            group.next = end.map_or(next, |end| next.min(end));
            group.ending = ending;
            group.failed = false;
            group.busy = notifications.len();
        }
        if notifications.is_empty() {
            self.end(id, now);
        }
        notifications
    }

    /// A notification was told, or given up.
    pub fn done(&mut self, notification: &Notification, told: bool, log: &mut Log, now: Timestamp) {
        if told {
            log.set(notification.key.clone(), notification.entry.clone());
        }
        let Some(group) = self.groups.get_mut(&notification.group) else {
            return;
        };
        group.failed |= !told;
        group.busy = group.busy.saturating_sub(1);
        if group.busy == 0 {
            self.end(&notification.group, now);
        }
    }

    /// Everybody was told: alerts that were over leave, unless they were told of again.
    fn end(&mut self, id: &GroupId, now: Timestamp) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        if !group.failed {
            for (print, told_at) in std::mem::take(&mut group.ending) {
                let same = |alert: &Received| alert.updated_at == told_at && alert.is_resolved(now);
                if self.alerts.get(&print).is_none_or(same) {
                    group.alerts.remove(&print);
                }
            }
        }
        if group.alerts.is_empty() {
            self.groups.remove(id);
        }
    }

    /// Forgets alerts that are over and in no group; gives them.
    pub fn forget(&mut self, now: Timestamp) -> Vec<Fingerprint> {
        let grouped: BTreeSet<Fingerprint> = self
            .groups
            .values()
            .flat_map(|group| group.alerts.iter().copied())
            .collect();
        let over = self.alerts.values().filter(|alert| alert.is_resolved(now));
        let gone = over.map(|alert| alert.fingerprint);
        let gone: Vec<Fingerprint> = gone.filter(|print| !grouped.contains(print)).collect();
        for print in &gone {
            self.alerts.remove(print);
        }
        match &self.config.extras.flapping {
            Some(flapping) => self.flaps.forget(flapping, now),
            None => self.flaps = Flaps::default(),
        }
        if let Some(calm) = self.config.extras.storm {
            self.storms.forget(calm, now);
        }
        gone
    }
}

/// Job and instance first, as Alertmanager sorts.
fn order(labels: &Labels) -> (bool, &str, bool, &str, &Labels) {
    let part = |name: &str| (labels.get(name).is_none(), labels.get(name).unwrap_or(""));
    let (no_job, job) = part("job");
    let (no_instance, instance) = part("instance");
    (no_job, job, no_instance, instance, labels)
}
