//! What is told of one group, to whom and why.
//!
//! Invariant: what is decided follows from the alerts, the acknowledgements, the log and the time.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::Timestamp;

use super::acks::Acks;
use super::alert::{Fingerprint, Received};
use super::config::Config;
use super::escalation;
use super::groups::{GroupId, Notification};
use super::log::{Log, LogEntry, LogKey, Reason, Standing, reason};
use super::route::Route;

/// A group when it is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due<'a> {
    pub(super) id: &'a GroupId,
    /// By which receivers know it.
    pub(super) key: &'a str,
    /// The alerts that nothing keeps quiet.
    pub(super) alerts: &'a [Received],
    /// Reloads so far.
    pub(super) generation: u64,
}

/// What is told, by each integration of each receiver that hears of it.
pub(super) fn decide(
    config: &Config,
    route: &Route,
    due: Due<'_>,
    (acks, log): (&Acks, &Log),
    now: Timestamp,
) -> Vec<Notification> {
    let prints = |over: bool| -> BTreeSet<Fingerprint> {
        let some = due
            .alerts
            .iter()
            .filter(|alert| alert.is_resolved(now) == over);
        some.map(|alert| alert.fingerprint).collect()
    };
    let standing = Standing {
        firing: prints(false),
        resolved: prints(true),
        acknowledged: acks.among(due.alerts, now),
    };
    let since = escalation::since(due.alerts, &standing.acknowledged, now);
    let reached = escalation::reached(&route.options.escalate, since, now);
    let mut receivers: Vec<(&str, bool)> = vec![(route.options.receiver.as_str(), true)];
    receivers.extend(reached.map(|step| (step.receiver.as_str(), true)));
    // Who heard of it before hears of its end, whatever is reached now.
    let steps = route.options.escalate.iter();
    receivers.extend(steps.map(|step| (step.receiver.as_str(), false)));
    let mut notifications = Vec::new();
    let mut asked = BTreeSet::new();
    for (receiver, hears) in receivers {
        if asked.insert(receiver) {
            let told = to_receiver(config, route, (receiver, hears), due, (&standing, log), now);
            notifications.extend(told);
        }
    }
    notifications
}

fn to_receiver(
    config: &Config,
    route: &Route,
    (name, hears): (&str, bool),
    due: Due<'_>,
    (standing, log): (&Standing, &Log),
    now: Timestamp,
) -> Vec<Notification> {
    let receiver = config
        .receivers
        .iter()
        .find(|receiver| receiver.name == name);
    let integrations = receiver
        .into_iter()
        .flat_map(|receiver| &receiver.integrations);
    let mut notifications = Vec::new();
    for integration in integrations {
        let key = LogKey {
            group: due.key.to_owned(),
            receiver: name.to_owned(),
            kind: integration.kind(),
            index: integration.index,
        };
        let before = log.get(&key);
        let own = match hears {
            true => standing.clone(),
            false => standing.among(before),
        };
        let send_resolved = integration.send_resolved;
        let why = reason(before, &own, send_resolved, route.options.repeat, now);
        let Some(reason) = why else { continue };
        if !hears && !matches!(reason, Reason::NewResolved | Reason::AllResolved) {
            continue;
        }
        let told = due.alerts.iter().filter(|alert| {
            let print = &alert.fingerprint;
            own.firing.contains(print) || (send_resolved && own.resolved.contains(print))
        });
        let kept = match reason {
            // Another story begins.
            Reason::First => BTreeMap::new(),
            _ => before.map(|before| before.kept.clone()).unwrap_or_default(),
        };
        notifications.push(Notification {
            group: due.id.clone(),
            alerts: told.cloned().collect(),
            reason,
            before: before.map(|before| before.at),
            silent: !send_resolved && own.firing.is_empty(),
            entry: LogEntry {
                firing: own.firing,
                resolved: own.resolved,
                at: now,
                kept,
            },
            key,
            now,
            generation: due.generation,
        });
    }
    notifications
}
