//! The built-in Alertmanager: takes alerts in from the rules of this server and from others,
//! groups them, and has receivers told. What is decided is decided in `obs_alerting::notify`;
//! here are the clock, the table on disk and the tasks that send.
//!
//! Invariants: an alert, a silence and what is told are durable before anybody is told of them; a
//! notification of which nobody can say whether it arrived, because the server ended meanwhile,
//! is not sent again; a reload takes over a whole configuration or none.

mod acks;
mod deliver;
mod families;
mod kept;
mod load;
mod outgoing;
mod rows;
mod senders;
mod start;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obs_alerting::notify::{
    Config, Group, GroupId, Groups, Log, Received, Silence, SilenceError, Silences,
};
use obs_model::{Tenant, Timestamp};
use tokio::sync::{Notify, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use deliver::{Delivery, DeliveryCounts, Tell};
use kept::Kept;
pub(crate) use load::Loaded;
pub(crate) use outgoing::Outgoing;
use rows::{Row, RowChange};
pub use start::check;
pub(crate) use start::{Settings, reload, settings, start};

/// Alerts that are known at one time, of all tenants: some 200 MB. Further ones are refused.
const ALERTS_MAX: usize = 200_000;
/// Silences of one tenant, those that are over included.
const SILENCES_MAX: usize = 10_000;
/// How long silences that are over, and what was told of groups that are over, are known.
const RETENTION: i64 = 5 * obs_model::time::NANOS_PER_DAY;
/// Between two looks for what can be forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// Between two looks for groups that are due, so that a storm is looked through in pieces.
const PACE: Duration = Duration::from_millis(20);
/// Groups of one tenant that are decided on while others wait for the state.
const GROUPS_AT_ONCE: usize = 2000;
/// How long a reload and the end wait for notifications on their way.
const SETTLE: Duration = Duration::from_secs(8);

/// What is known of one tenant.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) groups: Groups,
    pub(crate) silences: Silences,
    pub(crate) log: Log,
}

impl Room {
    fn new(config: &Arc<Config>) -> Self {
        Self {
            groups: Groups::new(Arc::clone(config)),
            silences: Silences::default(),
            log: Log::default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.silences.is_empty() && self.log.iter().next().is_none()
    }
}

#[derive(Debug)]
struct State {
    loaded: Arc<Loaded>,
    rooms: BTreeMap<Tenant, Room>,
    /// Ends notifications that wait to be tried again, when another configuration comes.
    generation: CancellationToken,
}

/// Alerts that came in.
#[derive(Debug, Default)]
struct Intake {
    firing: u64,
    resolved: u64,
    invalid: u64,
    limited: u64,
}

/// Why a silence was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSet {
    #[error(transparent)]
    Wrong(#[from] SilenceError),
    #[error("exceeded maximum number of silences: {found} (limit: {limit})")]
    Limit { found: usize, limit: usize },
    #[error("{0}")]
    NotKept(String),
}

/// The Alertmanager of a server.
#[derive(Debug)]
pub(crate) struct Alertmanager {
    state: Mutex<State>,
    kept: Kept,
    /// What changes the state on disk goes one by one.
    changing: tokio::sync::Mutex<()>,
    intake: Mutex<Intake>,
    counts: DeliveryCounts,
    /// Something became due earlier.
    wake: Notify,
    /// Held by notifications on their way; a reload waits for them.
    gate: Arc<RwLock<()>>,
    tasks: TaskTracker,
    /// Where users reach this server.
    external_url: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the end of an alert was told, and is no guess about the future.
fn is_over(alert: &Received) -> bool {
    alert.ends_at <= alert.updated_at
}

impl Alertmanager {
    /// One that knows what was kept.
    pub(crate) fn new(
        loaded: Loaded,
        (kept, found): (Kept, Vec<(Tenant, Row)>),
        external_url: String,
        now: Timestamp,
    ) -> Arc<Self> {
        let loaded = Arc::new(loaded);
        let rooms = restored(&loaded.config, found, now);
        Arc::new(Self {
            state: Mutex::new(State {
                loaded,
                rooms,
                generation: CancellationToken::new(),
            }),
            kept,
            changing: tokio::sync::Mutex::default(),
            intake: Mutex::default(),
            counts: DeliveryCounts::default(),
            wake: Notify::new(),
            gate: Arc::default(),
            tasks: TaskTracker::new(),
            external_url,
        })
    }

    /// What holds now.
    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&lock(&self.state).loaded)
    }

    /// Looks at what is known of a tenant.
    pub(crate) fn look<T>(&self, tenant: &Tenant, look: impl FnOnce(&Room, &Loaded) -> T) -> T {
        let state = lock(&self.state);
        match state.rooms.get(tenant) {
            Some(room) => look(room, &state.loaded),
            None => look(&Room::new(&state.loaded.config), &state.loaded),
        }
    }

    /// Takes alerts in. They are grouped also where the disk refuses them: a full disk is when
    /// alerts are needed most.
    pub(crate) async fn receive(&self, tenant: &Tenant, alerts: Vec<Received>) {
        let _one = self.changing.lock().await;
        let (alerts, changes) = self.admitted(tenant, alerts);
        if let Err(error) = self.kept.write(changes).await {
            tracing::error!(error, "alerts are not kept on disk: a restart forgets them");
        }
        let mut state = lock(&self.state);
        let state = &mut *state;
        let room = state
            .rooms
            .entry(tenant.clone())
            .or_insert_with(|| Room::new(&state.loaded.config));
        room.groups.receive(alerts, clock::now());
        self.wake.notify_one();
    }

    /// Those that there is room for, and what is kept of them: what a restart must know, not each
    /// word that they still fire.
    fn admitted(&self, tenant: &Tenant, alerts: Vec<Received>) -> (Vec<Received>, Vec<RowChange>) {
        let state = lock(&self.state);
        let mut count: usize = state.rooms.values().map(|room| room.groups.len()).sum();
        let room = state.rooms.get(tenant);
        let patience = state.loaded.config.global.resolve_timeout();
        let (mut admitted, mut changes) = (Vec::with_capacity(alerts.len()), Vec::new());
        let mut intake = lock(&self.intake);
        for alert in alerts {
            match is_over(&alert) {
                true => intake.resolved += 1,
                false => intake.firing += 1,
            }
            let before = room.and_then(|room| room.groups.alert(alert.fingerprint));
            if before.is_none() {
                if count >= ALERTS_MAX {
                    intake.limited += 1;
                    continue;
                }
                count += 1;
            }
            let now = match before {
                Some(before) => alert.clone().after(before),
                None => alert.clone(),
            };
            if before.is_none_or(|before| differs(before, &now, patience)) {
                changes.push(rows::alert(tenant, &now));
            }
            admitted.push(alert);
        }
        (admitted, changes)
    }

    /// Notes alerts that were refused.
    pub(crate) fn note_invalid(&self, alerts: u64) {
        lock(&self.intake).invalid += alerts;
    }

    /// Sets a silence; gives its id.
    pub(crate) async fn silence(
        &self,
        tenant: &Tenant,
        silence: Silence,
        now: Timestamp,
    ) -> Result<String, NotSet> {
        self.change_silences(tenant, |silences| {
            if silence.id.is_empty() && silences.len() >= SILENCES_MAX {
                return Err(NotSet::Limit {
                    found: silences.len(),
                    limit: SILENCES_MAX,
                });
            }
            Ok(silences.set(silence, uuid(), now)?)
        })
        .await
    }

    /// Ends a silence.
    pub(crate) async fn expire_silence(
        &self,
        tenant: &Tenant,
        id: &str,
        now: Timestamp,
    ) -> Result<(), NotSet> {
        let expired = self.change_silences(tenant, |silences| {
            silences.expire(id, now)?;
            Ok(vec![id.to_owned()])
        });
        match expired.await {
            // It is what was asked for.
            Ok(_) | Err(NotSet::Wrong(SilenceError::Expired(_))) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes silences, on disk first; gives the first id of those that changed.
    async fn change_silences(
        &self,
        tenant: &Tenant,
        change: impl FnOnce(&mut Silences) -> Result<Vec<String>, NotSet>,
    ) -> Result<String, NotSet> {
        let _one = self.changing.lock().await;
        let mut silences = self.look(tenant, |room, _| room.silences.clone());
        let changed = change(&mut silences)?;
        let rows = changed.iter().filter_map(|id| silences.get(id));
        let rows = rows.map(|silence| rows::silence(tenant, silence)).collect();
        self.kept.write(rows).await.map_err(NotSet::NotKept)?;
        let mut state = lock(&self.state);
        let state = &mut *state;
        let room = state
            .rooms
            .entry(tenant.clone())
            .or_insert_with(|| Room::new(&state.loaded.config));
        room.silences = silences;
        Ok(changed.into_iter().next().unwrap_or_default())
    }

    /// Goes on with another configuration. What waits to be tried again is decided anew.
    pub(crate) async fn reload(&self, loaded: Loaded) {
        if self.loaded().is_same(&loaded) {
            // Files with secrets may have changed all the same.
            lock(&self.state).loaded = Arc::new(loaded);
            return;
        }
        let old = std::mem::replace(&mut lock(&self.state).generation, CancellationToken::new());
        old.cancel();
        // Not for ever: somebody who never answers must not keep a configuration away.
        let settled = tokio::time::timeout(SETTLE, self.gate.write()).await;
        if settled.is_err() {
            tracing::warn!("a reload did not wait for notifications that take long");
        }
        let loaded = Arc::new(loaded);
        let mut state = lock(&self.state);
        let now = clock::now();
        for room in state.rooms.values_mut() {
            room.groups.reload(Arc::clone(&loaded.config), now);
        }
        state.loaded = loaded;
        drop(state);
        self.wake.notify_one();
    }

    /// Runs until the token is cancelled, and ends what is on its way.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut forget = tokio::time::interval(FORGET);
        loop {
            let next = {
                let state = lock(&self.state);
                let due = state.rooms.values().filter_map(|r| r.groups.next_due());
                due.min()
            };
            let wait = next.map_or(FORGET, clock::until);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = forget.tick() => self.forget().await,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            self.dispatch().await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PACE) => {}
            }
        }
        lock(&self.state).generation.cancel();
        self.tasks.close();
        if tokio::time::timeout(SETTLE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("notifications were on their way at the end");
        }
    }

    /// Decides on all groups that are due, and sends.
    #[expect(
        clippy::disallowed_methods,
        reason = "deciding on a storm computes for long, off the event loop"
    )]
    async fn dispatch(self: &Arc<Self>) {
        loop {
            let gate = Arc::clone(&self.gate).read_owned().await;
            let deciding = Arc::clone(self);
            let decided = tokio::task::spawn_blocking(move || deciding.decide(clock::now()));
            let Ok((deliveries, more)) = decided.await else {
                tracing::error!("deciding on groups of alerts failed");
                return;
            };
            for delivery in deliveries {
                let (alertmanager, gate) = (Arc::clone(self), Arc::clone(&self.gate));
                // There is room for another reader: the one of this round holds it open.
                let Ok(held) = gate.try_read_owned() else {
                    self.failed(&delivery);
                    continue;
                };
                self.tasks.spawn(async move {
                    alertmanager.deliver(&delivery).await;
                    drop(held);
                });
            }
            drop(gate);
            if !more {
                return;
            }
        }
    }

    /// What is to be sent of groups that are due, and whether there are more of them.
    fn decide(&self, now: Timestamp) -> (Vec<Delivery>, bool) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let config = Arc::clone(&state.loaded.config);
        if !config.extras.heartbeats.is_empty() || !config.extras.expected.is_empty() {
            // One tenant's room is enough, also where no alert has come yet.
            let own = state.rooms.entry(Tenant::anonymous());
            let own = own.or_insert_with(|| Room::new(&config));
            own.groups.begin_pulse();
        }
        let (mut deliveries, mut more) = (Vec::new(), false);
        for (tenant, room) in &mut state.rooms {
            let (log, silences) = (&mut room.log, &room.silences);
            let (told, left) = room.groups.tell(silences, log, GROUPS_AT_ONCE, now);
            more |= left;
            deliveries.extend(told.into_iter().map(|telling| Delivery {
                tenant: tenant.clone(),
                notification: telling.notification,
                of: telling.of,
                loaded: Arc::clone(&state.loaded),
                cancelled: state.generation.clone(),
            }));
        }
        (deliveries, more)
    }

    /// Forgets alerts that are over, silences and what was told long ago.
    async fn forget(&self) {
        let _one = self.changing.lock().await;
        let changes = {
            let mut state = lock(&self.state);
            let now = clock::now();
            let mut changes = Vec::new();
            for (tenant, room) in &mut state.rooms {
                let gone = room.groups.forget(now);
                changes.extend(gone.into_iter().map(|print| rows::no_alert(tenant, print)));
                let gone = room.groups.forget_acks(now);
                changes.extend(gone.into_iter().map(|print| rows::no_ack(tenant, print)));
                let gone = room.silences.forget(now, RETENTION);
                changes.extend(gone.iter().map(|id| rows::no_silence(tenant, id)));
                let groups: Vec<(&GroupId, &Group)> = room.groups.iter().collect();
                let alive: std::collections::HashSet<&str> =
                    groups.iter().map(|(_, group)| group.key.as_str()).collect();
                let gone = room
                    .log
                    .forget(now, RETENTION, |key| alive.contains(key.group.as_str()));
                changes.extend(gone.iter().map(|key| rows::not_told(tenant, key)));
            }
            state.rooms.retain(|_, room| !room.is_empty());
            changes
        };
        if let Err(error) = self.kept.write(changes).await {
            tracing::error!(error, "rows of the Alertmanager are not removed");
        }
    }
}

/// Whether a restart must know of a change.
fn differs(before: &Received, now: &Received, patience: i64) -> bool {
    before.starts_at != now.starts_at
        || before.annotations != now.annotations
        || before.generator_url != now.generator_url
        || is_over(before) != is_over(now)
        || (is_over(now) && before.ends_at != now.ends_at)
        || (now.ends_at - before.ends_at) > patience
}

/// What was kept. An alert that fired when it was kept fires on until somebody had time to say
/// more about it: that nobody could while the server was down means nothing.
fn restored(
    config: &Arc<Config>,
    found: Vec<(Tenant, Row)>,
    now: Timestamp,
) -> BTreeMap<Tenant, Room> {
    let patience = now.saturating_add(config.global.resolve_timeout());
    let mut rooms: BTreeMap<Tenant, Room> = BTreeMap::new();
    let mut alerts: BTreeMap<Tenant, Vec<Received>> = BTreeMap::new();
    for (tenant, row) in found {
        let room = rooms
            .entry(tenant.clone())
            .or_insert_with(|| Room::new(config));
        match row {
            Row::Alert(mut alert) => {
                if !is_over(&alert) {
                    alert.ends_at = alert.ends_at.max(patience);
                }
                alerts.entry(tenant).or_default().push(alert);
            }
            Row::Silence(silence) => room.silences.restore(silence),
            Row::Ack(print, ack) => room.groups.restore(print, ack),
            Row::Told(key, entry) | Row::OnItsWay(key, entry) => room.log.set(key, entry),
        }
    }
    for (tenant, alerts) in alerts {
        if let Some(room) = rooms.get_mut(&tenant) {
            room.groups.receive(alerts, now);
        }
    }
    rooms
}

/// A random id, as silences have it.
fn uuid() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(clock::now().nanos());
    let bits = (u128::from(half()) << 64) | u128::from(half());
    // Version 4, variant 1.
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
pub(crate) mod tests;
