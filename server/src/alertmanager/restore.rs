//! What a restart must know of alerts, and what it makes of it.
//!
//! Invariant: an alert that fired when it was kept fires until somebody had time to say more about
//! it, since that nobody could while the server was down means nothing; one that was over is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_alerting::notify::{Config, Received};
use obs_model::{Tenant, Timestamp};

use super::Room;
use super::rows::Row;

/// Whether a restart must know of a change.
pub(super) fn differs(before: &Received, now: &Received, patience: i64) -> bool {
    before.starts_at != now.starts_at
        || before.annotations != now.annotations
        || before.generator_url != now.generator_url
        || before.is_over() != now.is_over()
        || (now.is_over() && before.ends_at != now.ends_at)
        || (now.ends_at - before.ends_at) > patience
}

/// What was kept.
pub(super) fn restored(
    config: &Arc<Config>,
    found: Vec<(Tenant, Row)>,
    now: Timestamp,
) -> BTreeMap<Tenant, Room> {
    let mut rooms: BTreeMap<Tenant, Room> = BTreeMap::new();
    let mut alerts: BTreeMap<Tenant, Vec<Received>> = BTreeMap::new();
    for (tenant, row) in found {
        let room = rooms
            .entry(tenant.clone())
            .or_insert_with(|| Room::new(config));
        match row {
            Row::Alert(alert) => alerts.entry(tenant).or_default().push(alert),
            Row::Silence(silence) => room.silences.restore(silence),
            Row::Ack(print, ack) => room.groups.acknowledge(print, ack),
            Row::History(print, history) => room.groups.restore_flaps(print, history, now),
            Row::Told(key, entry) => room.log.merge(key, entry),
        }
    }
    for (tenant, alerts) in alerts {
        if let Some(room) = rooms.get_mut(&tenant) {
            room.groups.restore(alerts, now);
        }
    }
    rooms
}
