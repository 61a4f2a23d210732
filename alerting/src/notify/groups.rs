//! Groups of alerts: when each is due, and what came of what was told.
//!
//! Invariants: what is told is decided (see [`super::plan`]) from alerts, silences, rules of
//! inhibition, times and the log of notifications alone; an alert that is over stays in its group
//! until those who must know have been told; of one integration and group at most one notification
//! is on its way, also across reloads; a copy costs nothing, whatever is in it, so that nobody has
//! to wait while somebody looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_model::{Labels, Timestamp};

use super::acks::{Ack, Acks};
use super::alert::{Fingerprint, Received};
use super::config::Config;
use super::flapping::{Flaps, History};
use super::heartbeat::Watch;
use super::inhibit::Sources;
use super::log::{Log, LogEntry, LogKey, Reason};
use super::route::Route;
use super::silence::Silences;
use super::storm::Storms;

/// By which a group is known: its route and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId {
    /// The id of the route; of what is in no group of alerts a word that is no route's id.
    pub route: String,
    /// The labels that its alerts share.
    pub labels: Labels,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// By which webhooks know it.
    pub key: String,
    pub(super) alerts: BTreeSet<Fingerprint>,
    /// When it is due.
    pub(super) next: Timestamp,
    /// Notifications on their way.
    pub(super) busy: usize,
    /// Whether one of them failed.
    pub(super) failed: bool,
    /// Alerts that were over when they were told, and when each was told to us last.
    pub(super) ending: BTreeMap<Fingerprint, Timestamp>,
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
    /// When the receiver was told before, as far as the log knew: the decision holds as long as
    /// nothing was told since.
    pub before: Option<Timestamp>,
    /// What the log says once it was told.
    pub entry: LogEntry,
    /// Nobody need be told; only the log changes.
    pub silent: bool,
    /// The decision was made at this time.
    pub now: Timestamp,
    /// Reloads until then.
    pub generation: u64,
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
    pub(super) suppressed: Suppressed,
    pub(super) config: Arc<Config>,
    pub(super) alerts: Arc<BTreeMap<Fingerprint, Arc<Received>>>,
    pub(super) groups: Arc<BTreeMap<Arc<GroupId>, Arc<Group>>>,
    pub(super) acks: Arc<Acks>,
    pub(super) flaps: Arc<Flaps>,
    pub(super) storms: Storms,
    /// Where heartbeats are told and waited for.
    pub(super) pulse: Option<Pulse>,
    /// What is on its way to whom.
    pub(super) flying: Arc<BTreeSet<LogKey>>,
    /// Reloads so far.
    pub(super) generation: u64,
    /// Alerts from before the start of which nothing was heard yet, and how long each is good.
    pub(super) restored: Arc<BTreeMap<Fingerprint, i64>>,
    /// Alerts whose time is over, since this was asked last.
    pub(super) timed_out: Vec<Arc<Received>>,
    /// Whose acknowledgements ended, since this was asked last.
    pub(super) ended_acks: Vec<Fingerprint>,
    /// Heartbeats that are due.
    pub(super) beats: Vec<Notification>,
    /// When the clock was looked at last.
    pub(super) pace: Option<Timestamp>,
}

/// Heartbeats: ours and those that we wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse {
    pub(super) watch: Option<Watch>,
    /// When receivers heard last that we live.
    pub(super) told: BTreeMap<String, Timestamp>,
    /// When something is to be done next.
    pub(super) next: Option<Timestamp>,
}

impl Groups {
    /// Nothing yet.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            suppressed: Suppressed::default(),
            config,
            alerts: Arc::default(),
            groups: Arc::default(),
            acks: Arc::default(),
            flaps: Arc::default(),
            storms: Storms::default(),
            pulse: None,
            flying: Arc::default(),
            generation: 0,
            restored: Arc::default(),
            timed_out: Vec::new(),
            ended_acks: Vec::new(),
            beats: Vec::new(),
            pace: None,
        }
    }

    /// Acknowledgements.
    pub fn acks(&self) -> &Acks {
        &self.acks
    }

    /// An acknowledgement as it holds for an alert that fires; nothing where it does not.
    pub fn acknowledgement(&self, print: Fingerprint, mut ack: Ack, now: Timestamp) -> Option<Ack> {
        let alert = self.alert(print).filter(|alert| !alert.is_resolved(now))?;
        // The clock of who told of it may be ahead of ours.
        ack.at = ack.at.max(alert.starts_at);
        Some(ack)
    }

    /// Takes an acknowledgement back.
    pub fn unacknowledge(&mut self, print: Fingerprint) -> Option<Ack> {
        Arc::make_mut(&mut self.acks).clear(print)
    }

    /// Notes an acknowledgement.
    pub fn acknowledge(&mut self, print: Fingerprint, ack: Ack) {
        Arc::make_mut(&mut self.acks).set(print, ack);
    }

    /// An alert is over, and what was said of it with it: it may fire anew with the same begin.
    pub(super) fn end_ack(&mut self, print: Fingerprint) {
        if self.acks.contains(print) {
            Arc::make_mut(&mut self.acks).clear(print);
            self.ended_acks.push(print);
        }
    }

    /// Drops acknowledgements of what is over; gives whose they were.
    pub fn forget_acks(&mut self, now: Timestamp) -> Vec<Fingerprint> {
        if self.acks.iter().next().is_none() {
            return Vec::new();
        }
        let alerts = &self.alerts;
        let alert = |print| alerts.get(&print).map(AsRef::as_ref);
        Arc::make_mut(&mut self.acks).forget(alert, now)
    }

    /// From now on heartbeats are told and waited for here: by one of all that share the
    /// configuration.
    pub fn begin_pulse(&mut self) {
        self.pulse.get_or_insert_default();
    }

    /// Whose acknowledgements ended with their alerts, since this was asked last.
    pub fn take_ended_acks(&mut self) -> Vec<Fingerprint> {
        std::mem::take(&mut self.ended_acks)
    }

    /// Whether an alert comes and goes all the time.
    pub fn is_flapping(&self, print: Fingerprint) -> bool {
        self.flaps.is_flapping(print)
    }

    /// How alerts came and went, as it was kept.
    pub fn restore_flaps(&mut self, print: Fingerprint, history: History, now: Timestamp) {
        if let Some(flapping) = &self.config.extras.flapping {
            Arc::make_mut(&mut self.flaps).restore(flapping, print, history, now);
        }
    }

    /// How alerts came and went where that has changed since this was asked last; nothing of those
    /// that are at rest.
    pub fn take_flaps(&mut self) -> Vec<(Fingerprint, Option<History>)> {
        match self.flaps.has_changed() {
            true => Arc::make_mut(&mut self.flaps).take_changed(),
            false => Vec::new(),
        }
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
    /// known from the log. What is on its way stays so.
    pub fn reload(&mut self, config: Arc<Config>, now: Timestamp) {
        let regrouped = self.regrouped(config, now);
        self.adopt(regrouped);
    }

    /// The same alerts, grouped by another configuration.
    #[must_use]
    pub fn regrouped(&self, config: Arc<Config>, now: Timestamp) -> Self {
        let mut regrouped = Self::new(config);
        regrouped.alerts = Arc::clone(&self.alerts);
        for alert in self.alerts.values() {
            regrouped.group(alert, now);
        }
        regrouped
    }

    /// Takes over how alerts were [`Self::regrouped`]; nothing was received since.
    pub fn adopt(&mut self, regrouped: Self) {
        self.config = regrouped.config;
        self.groups = regrouped.groups;
        self.generation += 1;
        if let Some(pulse) = &mut self.pulse {
            pulse.next = None;
            let extras = &self.config.extras;
            let listens = |name: &String| extras.heartbeats.iter().any(|h| h.receiver == *name);
            pulse.told.retain(|name, _| listens(name));
            if let Some(watch) = &mut pulse.watch {
                watch.retain(&extras.expected);
            }
        }
    }

    /// Takes alerts in.
    pub fn receive(&mut self, alerts: Vec<Received>, now: Timestamp) {
        let config = Arc::clone(&self.config);
        for mut alert in alerts {
            if let Some(flapping) = &config.extras.flapping {
                alert = Arc::make_mut(&mut self.flaps).note(flapping, alert, now);
            }
            let print = alert.fingerprint;
            if self.restored.contains_key(&print) {
                Arc::make_mut(&mut self.restored).remove(&print);
            }
            let alert = match self.alerts.get(&print) {
                Some(before) => alert.after(before),
                None => alert,
            };
            if alert.is_resolved(now) {
                self.end_ack(print);
            }
            self.group(&alert, now);
            Arc::make_mut(&mut self.alerts).insert(print, Arc::new(alert));
        }
    }

    /// Puts an alert into the groups of its routes.
    fn group(&mut self, alert: &Received, now: Timestamp) {
        let config = Arc::clone(&self.config);
        for route in config.route.find(&alert.labels) {
            let id = GroupId {
                route: route.id.clone(),
                labels: route.group_labels(&alert.labels),
            };
            let Some(group) = self.group_mut(&id) else {
                let group = Group::of(route, &id, alert, now);
                let groups = Arc::make_mut(&mut self.groups);
                groups.insert(Arc::new(id), Arc::new(group));
                continue;
            };
            let known = group.alerts.contains(&alert.fingerprint);
            if !known {
                Arc::make_mut(group).alerts.insert(alert.fingerprint);
            } else if alert.is_resolved(now)
                && let Some(wait) = route.options.resolve_wait
                && group.next > now.saturating_add(wait)
            {
                Arc::make_mut(group).next = now.saturating_add(wait);
            }
        }
    }

    /// A group, to change it.
    pub(super) fn group_mut(&mut self, id: &GroupId) -> Option<&mut Arc<Group>> {
        // A map that somebody looks at is copied only where there is something to change.
        match self.groups.contains_key(id) {
            true => Arc::make_mut(&mut self.groups).get_mut(id),
            false => None,
        }
    }

    /// When the next group is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let waiting = self.groups.values().filter(|group| group.busy == 0);
        let waiting = waiting.map(|group| group.next);
        let others = self.next_pulse().into_iter().chain(self.storms.next_look());
        waiting.chain(others).min()
    }

    /// The groups that are due.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Arc<GroupId>> {
        let due = |group: &Group| group.busy == 0 && group.next <= now;
        let due = self.groups.iter().filter(|(_, group)| due(group));
        due.map(|(id, _)| Arc::clone(id)).collect()
    }

    /// All groups.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        let all = self.groups.iter();
        all.map(|(id, group)| (id.as_ref(), group.as_ref()))
    }

    /// The alerts of a group, in order.
    pub fn alerts_of(&self, group: &Group) -> Vec<&Received> {
        let alerts = group.alerts.iter();
        let mut alerts: Vec<&Received> = alerts.filter_map(|print| self.alert(*print)).collect();
        alerts.sort_by(|a, b| order(&a.labels).cmp(&order(&b.labels)));
        alerts
    }

    /// One alert.
    pub fn alert(&self, print: Fingerprint) -> Option<&Received> {
        self.alerts.get(&print).map(AsRef::as_ref)
    }

    /// How many alerts there are.
    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Whether there is no alert, nothing is on its way, and nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty() && self.flying.is_empty() && self.next_pulse().is_none()
    }

    /// All alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Received> {
        self.alerts.values().map(AsRef::as_ref)
    }

    /// The alerts that keep others quiet now.
    pub fn sources(&self, now: Timestamp) -> Sources {
        let firing = self.alerts().filter(|alert| !alert.is_resolved(now));
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

    /// A notification was told, or given up.
    pub fn done(&mut self, notification: &Notification, told: bool, log: &mut Log, now: Timestamp) {
        if self.flying.contains(&notification.key) {
            Arc::make_mut(&mut self.flying).remove(&notification.key);
        }
        if told {
            log.set(notification.key.clone(), notification.entry.clone());
        }
        let same = notification.generation == self.generation;
        let Some(group) = self.group_mut(&notification.group) else {
            return;
        };
        let group = Arc::make_mut(group);
        if !same {
            // It is another group now, which may have waited for this.
            group.next = group.next.min(now);
            return;
        }
        group.failed |= !told;
        group.busy = group.busy.saturating_sub(1);
        if group.busy == 0 {
            self.end(&notification.group, log, now);
        }
    }

    /// Everybody was told: alerts that were over leave, unless they were told of again.
    pub(super) fn end(&mut self, id: &GroupId, log: &mut Log, now: Timestamp) {
        let (alerts, config) = (Arc::clone(&self.alerts), Arc::clone(&self.config));
        let Some(group) = self.groups.get(id) else {
            return;
        };
        let mut left = Vec::new();
        if !group.failed {
            for (print, told_at) in &group.ending {
                let same =
                    |alert: &Arc<Received>| alert.updated_at == *told_at && alert.is_resolved(now);
                if alerts.get(print).is_none_or(same) {
                    left.push(*print);
                }
            }
        }
        if left.is_empty() && !group.alerts.is_empty() {
            return;
        }
        if let Some(route) = config.route.by_id(&id.route) {
            log.leave(&group.key, |name| route.hears(name), &left);
        }
        let groups = Arc::make_mut(&mut self.groups);
        if let Some(group) = groups.get_mut(id) {
            let group = Arc::make_mut(group);
            group.ending.clear();
            for print in left {
                group.alerts.remove(&print);
            }
            if group.alerts.is_empty() {
                groups.remove(id);
            }
        }
    }

    /// Alerts that are over and in no group.
    pub fn over(&self, now: Timestamp) -> Vec<Arc<Received>> {
        let groups = self.groups.values();
        let grouped: BTreeSet<Fingerprint> = groups
            .flat_map(|group| group.alerts.iter().copied())
            .collect();
        let over = self.alerts.values().filter(|alert| alert.is_resolved(now));
        let gone = over.filter(|alert| !grouped.contains(&alert.fingerprint));
        gone.cloned().collect()
    }

    /// Forgets alerts of which nothing was heard since they were [`Self::over`]; gives them.
    pub fn forget(&mut self, over: &[Arc<Received>], now: Timestamp) -> Vec<Fingerprint> {
        let mut gone = Vec::new();
        for alert in over {
            let print = alert.fingerprint;
            let same = |known: &Arc<Received>| Arc::ptr_eq(known, alert);
            if self.alerts.get(&print).is_some_and(same) {
                Arc::make_mut(&mut self.alerts).remove(&print);
                gone.push(print);
            }
        }
        match &self.config.extras.flapping {
            Some(flapping) => Arc::make_mut(&mut self.flaps).forget(flapping, now),
            None if self.flaps.is_empty() => {}
            None => Arc::make_mut(&mut self.flaps).clear(),
        }
        if let Some(calm) = self.config.extras.storm {
            self.storms.forget(calm, now);
        }
        gone
    }
}

impl Group {
    fn of(route: &Route, id: &GroupId, alert: &Received, now: Timestamp) -> Self {
        let wait = route.options.group_wait;
        let old = alert.starts_at.saturating_add(wait) < now;
        Self {
            key: route.group_key(&id.labels),
            alerts: BTreeSet::from([alert.fingerprint]),
            next: match old {
                true => now,
                false => now.saturating_add(wait),
            },
            busy: 0,
            failed: false,
            ending: BTreeMap::new(),
            muted_by: Vec::new(),
        }
    }
}

/// Job and instance first, as Alertmanager sorts.
fn order(labels: &Labels) -> (bool, &str, bool, &str, &Labels) {
    let part = |name: &str| (labels.get(name).is_none(), labels.get(name).unwrap_or(""));
    let (no_job, job) = part("job");
    let (no_instance, instance) = part("instance");
    (no_job, job, no_instance, instance, labels)
}
