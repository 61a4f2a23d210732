//! Acknowledgements: on disk first, then in memory.
//!
//! Invariant: what holds in memory holds after a restart.

use obs_alerting::notify::{Ack, Fingerprint};
use obs_model::Tenant;

use super::{Alertmanager, NotSet, lock, rows};
use crate::clock;

impl Alertmanager {
    /// Somebody cares for an alert; `false` where it does not fire.
    pub(crate) async fn acknowledge(
        &self,
        tenant: &Tenant,
        print: Fingerprint,
        ack: Ack,
    ) -> Result<bool, NotSet> {
        let _one = self.changing.lock().await;
        let now = clock::now();
        let held = self.look(tenant, |room, _| {
            room.groups.acknowledgement(print, ack, now)
        });
        let Some(ack) = held else {
            return Ok(false);
        };
        let row = rows::ack(tenant, print, &ack);
        self.kept.write(vec![row]).await.map_err(NotSet::NotKept)?;
        lock(&self.state)
            .room(tenant)
            .groups
            .acknowledge(print, ack);
        Ok(true)
    }

    /// Takes an acknowledgement back; `false` where there is none.
    pub(crate) async fn unacknowledge(
        &self,
        tenant: &Tenant,
        print: Fingerprint,
    ) -> Result<bool, NotSet> {
        let _one = self.changing.lock().await;
        let row = rows::no_ack(tenant, print);
        self.kept.write(vec![row]).await.map_err(NotSet::NotKept)?;
        let mut state = lock(&self.state);
        let room = state.rooms.get_mut(tenant);
        let gone = room.and_then(|room| room.groups.unacknowledge(print));
        drop(state);
        self.wake.notify_one();
        Ok(gone.is_some())
    }
}
