//! What is done again and again: deciding on the groups that are due, and forgetting.
//!
//! Invariants: both compute off the event loop, on copies of the state; what they change is durable
//! before anybody is told what follows from it.

use std::collections::HashSet;
use std::sync::Arc;

use obs_alerting::notify::{LogKey, Plans, Received, storm};
use obs_model::{Tenant, Timestamp};

use super::deliver::{Delivery, Flight};
use super::rows::{self, RowChange};
use super::{Alertmanager, GROUPS_AT_ONCE, RETENTION, Room, lock};
use crate::clock;

/// What came of one round.
#[derive(Debug, Default)]
struct Round {
    deliveries: Vec<Delivery>,
    /// What must be on disk before they leave.
    changes: Vec<RowChange>,
    /// Whether more groups are due.
    more: bool,
    /// When the next one is.
    next: Option<Timestamp>,
}

/// What of a tenant's can be forgotten.
struct Old {
    tenant: Tenant,
    alerts: Vec<Arc<Received>>,
    log: Vec<LogKey>,
}

impl Alertmanager {
    /// Decides on all groups that are due, and sends; gives when the next is due.
    #[expect(
        clippy::disallowed_methods,
        reason = "deciding on a storm computes for long, off the event loop"
    )]
    pub(super) async fn dispatch(self: &Arc<Self>) -> Option<Timestamp> {
        loop {
            let deciding = Arc::clone(self);
            let decided = tokio::task::spawn_blocking(move || deciding.decide());
            let Ok(round) = decided.await else {
                tracing::error!("deciding on groups of alerts failed");
                return Some(clock::now().saturating_add(obs_model::time::NANOS_PER_SECOND));
            };
            self.keep(round.changes, "ends of alerts are not kept on disk")
                .await;
            for delivery in round.deliveries {
                let flight = Flight::new(Arc::clone(self), delivery);
                self.tasks.spawn(flight.run());
            }
            if !round.more {
                return round.next;
            }
        }
    }

    /// What is to be sent of groups that are due. What takes long is done on copies.
    fn decide(&self) -> Round {
        let (now, copies) = self.begin_round();
        let plan = |(tenant, room): (Tenant, Room)| {
            let plans = room
                .groups
                .plan(&room.silences, &room.log, GROUPS_AT_ONCE, now);
            (tenant, plans)
        };
        let plans: Vec<(Tenant, Plans)> = copies.into_iter().map(plan).collect();
        let mut round = Round::default();
        let mut state = lock(&self.state);
        let (loaded, cancelled) = (Arc::clone(&state.loaded), state.generation.clone());
        for (tenant, plans) in plans {
            let Some(room) = state.rooms.get_mut(&tenant) else {
                continue;
            };
            round.more |= plans.more;
            let told = room.groups.tell(plans, &mut room.log, now);
            round.changes.extend(room.changes(&tenant));
            let deliveries = told.into_iter().map(|telling| Delivery {
                tenant: tenant.clone(),
                notification: telling.notification,
                of: telling.of,
                loaded: Arc::clone(&loaded),
                cancelled: cancelled.clone(),
            });
            round.deliveries.extend(deliveries);
        }
        let copies = state.copies();
        drop(state);
        let next = copies.iter().filter_map(|(_, room)| room.groups.next_due());
        round.next = next.min();
        round
    }

    /// What must be known before a round: the time, heartbeats, and all rooms as they are then.
    fn begin_round(&self) -> (Timestamp, Vec<(Tenant, Room)>) {
        let mut state = lock(&self.state);
        let (now, elapsed) = (clock::now(), state.elapsed());
        let extras = &state.loaded.config.extras;
        if !extras.heartbeats.is_empty() || !extras.expected.is_empty() {
            // One tenant's room is enough, also where no alert has come yet.
            state.room(&Tenant::anonymous()).groups.begin_pulse();
        }
        for room in state.rooms.values_mut() {
            room.groups.begin(&mut room.log, now, elapsed);
        }
        (now, state.copies())
    }

    /// Alerts that have ended without a word.
    pub(super) fn ended_by_themselves(&self, now: Timestamp) -> Vec<RowChange> {
        let mut state = lock(&self.state);
        let elapsed = state.elapsed();
        let mut changes = Vec::new();
        for (tenant, room) in &mut state.rooms {
            room.groups.time_out_all(&mut room.log, now, elapsed);
            changes.extend(room.changes(tenant));
        }
        changes
    }

    /// Forgets alerts that are over, silences and what was told long ago.
    #[expect(
        clippy::disallowed_methods,
        reason = "looking through many alerts computes for long, off the event loop"
    )]
    pub(super) async fn forget(self: &Arc<Self>) {
        let _one = self.changing.lock().await;
        let forgetting = Arc::clone(self);
        let forgotten = tokio::task::spawn_blocking(move || forgetting.forgotten(clock::now()));
        match forgotten.await {
            Ok(changes) => {
                self.keep(changes, "rows of the Alertmanager are not removed")
                    .await;
            }
            Err(_) => tracing::error!("looking for alerts that are over failed"),
        }
    }

    fn forgotten(&self, now: Timestamp) -> Vec<RowChange> {
        let mut changes = self.ended_by_themselves(now);
        let copies = lock(&self.state).copies();
        let old: Vec<Old> = copies
            .into_iter()
            .map(|(tenant, room)| old_of(tenant, &room, now))
            .collect();
        let mut state = lock(&self.state);
        for Old {
            tenant,
            alerts,
            log,
        } in old
        {
            let Some(room) = state.rooms.get_mut(&tenant) else {
                continue;
            };
            let gone = room.groups.forget(&alerts, now);
            changes.extend(gone.into_iter().map(|print| rows::no_alert(&tenant, print)));
            let gone = room.groups.forget_acks(now);
            changes.extend(gone.into_iter().map(|print| rows::no_ack(&tenant, print)));
            let gone = room.silences.forget(now, RETENTION);
            changes.extend(gone.iter().map(|id| rows::no_silence(&tenant, id)));
            let before = now.saturating_sub(RETENTION);
            let gone = log.iter().filter(|key| room.log.forget(key, before));
            changes.extend(gone.map(|key| rows::not_told(&tenant, key)));
            changes.extend(room.changes(&tenant));
        }
        state.rooms.retain(|_, room| !room.is_empty());
        changes
    }
}

fn old_of(tenant: Tenant, room: &Room, now: Timestamp) -> Old {
    let groups = room.groups.iter();
    let alive: HashSet<&str> = groups.map(|(_, group)| group.key.as_str()).collect();
    let config = room.groups.config();
    let lives = |key: &LogKey| alive.contains(key.group.as_str()) || storm::can_close(config, key);
    Old {
        alerts: room.groups.over(now),
        log: room.log.old(now, RETENTION, lives),
        tenant,
    }
}
