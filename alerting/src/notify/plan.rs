//! What is told of the groups that are due, in two steps: what is to be told is found on a copy, for
//! as long as that takes, and then holds unless something has changed meanwhile.
//!
//! Invariants: a plan that rests on what the log does not say any more tells nothing; what a plan
//! leaves out because it is on its way already comes again.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::Timestamp;
use obs_model::time::NANOS_PER_SECOND;

use super::alert::{Fingerprint, Received};
use super::decide::{Due, decide};
use super::groups::{Group, GroupId, Groups, Notification, Suppressed};
use super::heartbeat::Watch;
use super::inhibit::Sources;
use super::log::{Log, LogKey};
use super::route::Route;
use super::silence::Silences;
use super::storm::{self, Guarded};
use super::{dependency, escalation};

/// How long a group waits for a notification that is on its way since before a reload.
const WAIT: i64 = NANOS_PER_SECOND;

/// Something to tell, and what was told once it has arrived.
#[derive(Clone, Debug)]
pub struct Telling {
    /// What is told.
    pub notification: Notification,
    /// For a summary what stands in it; nothing for others.
    pub of: Vec<Notification>,
}

/// What is to be told of groups that are due.
#[derive(Debug, Default)]
pub struct Plans {
    plans: Vec<Plan>,
    /// Whether more groups are due.
    pub more: bool,
}

/// What is to be told of one group.
#[derive(Debug)]
struct Plan {
    id: Arc<GroupId>,
    /// The group as it was.
    group: Arc<Group>,
    notifications: Vec<Notification>,
    /// When it is due again.
    next: Timestamp,
    muted_by: Vec<String>,
    ending: BTreeMap<Fingerprint, Timestamp>,
    suppressed: Suppressed,
    /// Alerts whose time is over.
    timed_out: Vec<Fingerprint>,
    generation: u64,
}

/// What keeps alerts quiet.
#[derive(Clone, Copy)]
struct Around<'a> {
    sources: &'a Sources,
    silences: &'a Silences,
    log: &'a Log,
    now: Timestamp,
}

impl Groups {
    /// Finds what is to be told now, of at most so many groups. Changes nothing.
    pub fn plan(&self, silences: &Silences, log: &Log, groups_max: usize, now: Timestamp) -> Plans {
        let due = self.due(now);
        if due.is_empty() {
            return Plans::default();
        }
        let sources = self.sources(now);
        let around = Around {
            sources: &sources,
            silences,
            log,
            now,
        };
        let plans = due.iter().take(groups_max);
        Plans {
            plans: plans.filter_map(|id| self.plan_one(id, around)).collect(),
            more: due.len() > groups_max,
        }
    }

    fn plan_one(&self, id: &Arc<GroupId>, around: Around<'_>) -> Option<Plan> {
        let now = around.now;
        let (route, group) = (self.config.route.by_id(&id.route)?, self.groups.get(id)?);
        let alerts = self.alerts_of(group);
        let (over, firing): (Vec<&Received>, Vec<&Received>) =
            alerts.iter().partition(|alert| alert.is_resolved(now));
        let timed_out = over.iter().filter(|alert| !alert.is_over());
        let timed_out = timed_out.map(|alert| alert.fingerprint).collect();
        let ending = over.iter();
        let ending = ending.map(|alert| (alert.fingerprint, alert.updated_at.max(alert.ends_at)));
        let mut plan = Plan {
            id: Arc::clone(id),
            group: Arc::clone(group),
            notifications: Vec::new(),
            next: now.saturating_add(route.options.group_interval),
            muted_by: self.config.muted_by(&route.options, now),
            ending: ending.collect(),
            suppressed: Suppressed::default(),
            timed_out,
            generation: self.generation,
        };
        let told = self.loud(alerts, &mut plan, around);
        if !plan.muted_by.is_empty() {
            let by_mute = plan.muted_by.iter().any(|n| route.options.mute.contains(n));
            match by_mute {
                true => plan.suppressed.muted += told.len() as u64,
                false => plan.suppressed.not_active += told.len() as u64,
            }
        } else if !told.is_empty() {
            let due = Due {
                id,
                key: &group.key,
                alerts: &told,
                generation: self.generation,
            };
            let known = (&*self.acks, around.log);
            plan.notifications = decide(&self.config, route, due, known, now);
        }
        let next = [self.next_step(route, &told, now), next_end(route, &firing)];
        plan.next = next.into_iter().flatten().fold(plan.next, Timestamp::min);
        Some(plan)
    }

    /// The alerts that nothing keeps quiet.
    fn loud(&self, alerts: Vec<&Received>, plan: &mut Plan, around: Around<'_>) -> Vec<Received> {
        let mut told = Vec::with_capacity(alerts.len());
        let now = around.now;
        for alert in alerts {
            let quiet = self.quiet(&alert.labels, around.sources, around.silences, now);
            if !quiet.inhibited_by.is_empty() {
                plan.suppressed.inhibited += 1;
            } else if !quiet.silenced_by.is_empty() {
                plan.suppressed.silenced += 1;
            } else if let Some(until) =
                dependency::waits(&self.config.extras.dependencies, alert, now)
            {
                plan.next = plan.next.min(until);
            } else {
                told.push(alert.clone());
            }
        }
        told
    }

    /// When somebody more hears of it.
    fn next_step(&self, route: &Route, told: &[Received], now: Timestamp) -> Option<Timestamp> {
        if route.options.escalate.is_empty() {
            return None;
        }
        let acknowledged = self.acks.among(told, now);
        let since = escalation::since(told, &acknowledged, now);
        escalation::next(&route.options.escalate, since, now)
    }

    /// Comes before a plan: so many nanoseconds have passed since it was called last, which the
    /// clock need not know; heartbeats are due.
    pub fn begin(&mut self, log: &mut Log, now: Timestamp, elapsed: i64) {
        self.keep_pace(log, now, elapsed);
        self.hold(now);
        let beats = self.beat(now);
        self.beats.extend(beats);
    }

    /// All that is to be told now, by plans that were made a moment ago.
    pub fn tell(&mut self, plans: Plans, log: &mut Log, now: Timestamp) -> Vec<Telling> {
        let mut beats = std::mem::take(&mut self.beats);
        beats.retain(|beat| self.fly(beat));
        let mut notifications = Vec::new();
        for plan in plans.plans {
            notifications.extend(self.apply(plan, log, now));
        }
        let guarded = self.guard(notifications, log, now);
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
        all.extend(self.close_summaries(log, now).into_iter().map(plain));
        all
    }

    /// Whether a notification can go on its way: it does then.
    fn fly(&mut self, notification: &Notification) -> bool {
        if self.flying.contains(&notification.key) {
            return false;
        }
        Arc::make_mut(&mut self.flying).insert(notification.key.clone())
    }

    /// Does what a plan says, as far as it still holds.
    fn apply(&mut self, plan: Plan, log: &mut Log, now: Timestamp) -> Vec<Notification> {
        let known = self.groups.get(&plan.id);
        if plan.generation != self.generation || known.is_none_or(|group| group.busy > 0) {
            return Vec::new();
        }
        if self.waits(&plan) {
            if let Some(group) = self.group_mut(&plan.id) {
                Arc::make_mut(group).next = now.saturating_add(WAIT);
            }
            return Vec::new();
        }
        for print in &plan.timed_out {
            self.time_out(*print, now);
        }
        let late = self.recovery_since(&plan, now);
        let count = plan.notifications.len();
        let mut notifications = Vec::with_capacity(count);
        for notification in plan.notifications {
            let before = log.get(&notification.key).map(|entry| entry.at);
            if before == notification.before && self.fly(&notification) {
                notifications.push(notification);
            }
        }
        let total = &mut self.suppressed;
        total.silenced += plan.suppressed.silenced;
        total.inhibited += plan.suppressed.inhibited;
        total.muted += plan.suppressed.muted;
        total.not_active += plan.suppressed.not_active;
        let waits = notifications.len() < count;
        if let Some(group) = self.group_mut(&plan.id) {
            let group = Arc::make_mut(group);
            let mut next = late.map_or(plan.next, |late| plan.next.min(late));
            if group.next != plan.group.next {
                // Something asked for an earlier time meanwhile.
                next = next.min(group.next);
            }
            if waits {
                next = next.min(now.saturating_add(WAIT));
            }
            group.next = next;
            group.muted_by = plan.muted_by;
            group.ending = plan.ending;
            group.failed = waits;
            group.busy = notifications.len();
        }
        if notifications.is_empty() {
            self.end(&plan.id, log, now);
        }
        notifications
    }

    /// Whether something of the group is on its way since before a reload: what is to be told then
    /// hangs on whether it arrives.
    fn waits(&self, plan: &Plan) -> bool {
        if self.flying.is_empty() {
            return false;
        }
        let Some(route) = self.config.route.by_id(&plan.id.route) else {
            return false;
        };
        let first = LogKey {
            group: plan.group.key.clone(),
            receiver: String::new(),
            kind: "",
            index: 0,
        };
        let of_group = self.flying.range(first..);
        let mut of_group = of_group.take_while(|key| key.group == plan.group.key);
        of_group.any(|key| route.hears(&key.receiver))
    }

    /// When a recovery is told of which the plan does not know yet.
    fn recovery_since(&self, plan: &Plan, now: Timestamp) -> Option<Timestamp> {
        let route = self.config.route.by_id(&plan.id.route)?;
        let wait = route.options.resolve_wait?;
        let group = self.groups.get(&plan.id)?;
        let mut alerts = group.alerts.iter().filter_map(|print| self.alert(*print));
        let new = alerts.any(|alert| {
            let known = plan.ending.get(&alert.fingerprint);
            alert.is_resolved(now) && known != Some(&alert.updated_at)
        });
        new.then(|| now.saturating_add(wait))
    }

    /// Lets through what is no storm.
    fn guard(&mut self, all: Vec<Notification>, log: &Log, now: Timestamp) -> Guarded {
        let Some(calm) = self.config.extras.storm else {
            return Guarded {
                tell: all,
                ..Guarded::default()
            };
        };
        let mut guarded = self.storms.guard(calm, all, now);
        for mut summary in std::mem::take(&mut guarded.summaries) {
            summary.notification.generation = self.generation;
            if !self.fly(&summary.notification) {
                guarded.held.extend(summary.of);
                continue;
            }
            // What stood in the one before and fires still is closed together with this.
            if let Some(before) = log.get(&summary.notification.key) {
                let fires = |print: &&Fingerprint| self.fires(**print, now);
                let still = before.firing.iter().filter(fires).copied();
                summary.notification.entry.firing.extend(still);
            }
            guarded.summaries.push(summary);
        }
        guarded
    }

    fn fires(&self, print: Fingerprint, now: Timestamp) -> bool {
        let alert = self.alert(print);
        alert.is_some_and(|alert| !alert.is_resolved(now))
    }

    /// Tells that storms are over: all that stood in their summaries is.
    fn close_summaries(&mut self, log: &mut Log, now: Timestamp) -> Vec<Notification> {
        if !self.storms.look(now) {
            return Vec::new();
        }
        let told = storm::open(log).next().is_some();
        let open = told || self.flying.iter().any(storm::is_summary);
        self.storms.set_open(open);
        let over = storm::open(log);
        let over = over.filter(|(_, entry)| !entry.firing.iter().any(|p| self.fires(*p, now)));
        let over: Vec<Notification> = over
            .filter_map(|(key, entry)| storm::closing(&self.config, key, entry, now))
            .collect();
        let over = over.into_iter().map(|one| Notification {
            generation: self.generation,
            ..one
        });
        let over: Vec<Notification> = over.collect();
        over.into_iter().filter(|one| self.fly(one)).collect()
    }

    /// When a heartbeat is told or waited for next.
    pub(super) fn next_pulse(&self) -> Option<Timestamp> {
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
        let alerts = Arc::clone(&self.alerts);
        let Some(pulse) = &mut self.pulse else {
            return Vec::new();
        };
        let watch = pulse.watch.get_or_insert_with(|| Watch::new(now));
        let all = alerts.values().map(AsRef::as_ref);
        let news = watch.look(&extras.expected, all, now);
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
        for notification in &mut notifications {
            notification.generation = self.generation;
        }
        self.receive(news, now);
        notifications
    }
}

/// An end that nobody puts off is a recovery too.
fn next_end(route: &Route, firing: &[&Received]) -> Option<Timestamp> {
    let wait = route.options.resolve_wait?;
    let end = firing.iter().map(|alert| alert.ends_at).min()?;
    Some(end.saturating_add(wait))
}

#[cfg(test)]
mod tests;
