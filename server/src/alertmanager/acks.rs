//! Acknowledgements: on disk first, then in memory.
//!
//! Invariant: what holds in memory holds after a restart, and the other way round.

use std::sync::Arc;

use obs_alerting::notify::{Ack, Fingerprint};
use obs_model::Tenant;

use super::{Alertmanager, NotSet, lock, rows};
use crate::clock;

impl Alertmanager {
    /// Somebody cares for an alert; `false` where it does not fire.
    pub(crate) async fn acknowledge(
        self: &Arc<Self>,
        tenant: &Tenant,
        print: Fingerprint,
        ack: Ack,
    ) -> Result<bool, NotSet> {
        let tenant = tenant.clone();
        let changed = self.change(|own| async move {
            let now = clock::now();
            let held = own.look(&tenant, |room, _| {
                room.groups.acknowledgement(print, ack, now)
            });
            let Some(ack) = held else {
                return Ok(false);
            };
            let row = rows::ack(&tenant, print, &ack);
            own.kept.write(vec![row]).await.map_err(NotSet::NotKept)?;
            lock(&own.state)
                .room(&tenant)
                .groups
                .acknowledge(print, ack);
            Ok(true)
        });
        changed.await.unwrap_or_else(|| Err(NotSet::unfinished()))
    }

    /// Takes an acknowledgement back; `false` where there is none.
    pub(crate) async fn unacknowledge(
        self: &Arc<Self>,
        tenant: &Tenant,
        print: Fingerprint,
    ) -> Result<bool, NotSet> {
        let tenant = tenant.clone();
        let changed = self.change(|own| async move {
            let row = rows::no_ack(&tenant, print);
            own.kept.write(vec![row]).await.map_err(NotSet::NotKept)?;
            let mut state = lock(&own.state);
            let room = state.rooms.get_mut(&tenant);
            let gone = room.and_then(|room| room.groups.unacknowledge(print));
            drop(state);
            own.wake.notify_one();
            Ok(gone.is_some())
        });
        changed.await.unwrap_or_else(|| Err(NotSet::unfinished()))
    }
}
