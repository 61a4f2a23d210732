//! The built-in Alertmanager: takes alerts in from the rules of this server and from others,
//! groups them, and has receivers told. What is decided is decided in `obs_alerting::notify`;
//! here are the clock, the table on disk and the tasks that send.
//!
//! Invariants: an alert and a silence are durable before anybody is told of them; that somebody was
//! told is durable before it counts, so that what is not known to have arrived is sent again; a
//! reload takes over a whole configuration or none; the state is locked for moments: whoever looks
//! at much of it looks at a copy, which costs nothing.

mod acks;
mod deliver;
mod families;
mod kept;
mod load;
mod outgoing;
mod restore;
mod round;
mod rows;
mod senders;
mod start;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obs_alerting::notify::{Config, Groups, Log, Received, Silence, SilenceError, Silences};
use obs_model::{Tenant, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use deliver::{DeliveryCounts, Tell};
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
/// Bytes of what one silence says.
const SILENCE_BYTES_MAX: usize = 64 << 10;
/// Alerts that are taken in while the state is locked.
const AT_ONCE: usize = 500;
/// How long silences that are over, and what was told of groups that are over, are known.
const RETENTION: i64 = 5 * obs_model::time::NANOS_PER_DAY;
/// Between two looks for what can be forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// Between two looks for groups that are due, so that a storm is looked through in pieces.
const PACE: Duration = Duration::from_millis(20);
/// Groups of one tenant that are decided on while others wait for the state.
const GROUPS_AT_ONCE: usize = 2000;
/// How long the end waits for notifications on their way.
const SETTLE: Duration = Duration::from_secs(5);
/// How long it then waits for what came of those that were cut.
const CUT: Duration = Duration::from_secs(1);

/// What is known of one tenant. A copy costs nothing.
#[derive(Clone, Debug)]
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

    /// What changed by itself since this was asked last.
    fn changes(&mut self, tenant: &Tenant) -> Vec<RowChange> {
        let ended = self.groups.take_timed_out();
        let mut changes: Vec<RowChange> = ended
            .iter()
            .map(|alert| rows::alert(tenant, alert))
            .collect();
        let untold = self.log.take_changed();
        changes.extend(untold.iter().map(|(key, e)| rows::told(tenant, key, e)));
        let acks = self.groups.take_ended_acks().into_iter();
        changes.extend(acks.map(|print| rows::no_ack(tenant, print)));
        let flaps = self.groups.take_flaps();
        changes.extend(flaps.iter().map(|(print, history)| match history {
            Some(history) => rows::history(tenant, *print, history),
            None => rows::no_history(tenant, *print),
        }));
        changes
    }
}

#[derive(Debug)]
struct State {
    loaded: Arc<Loaded>,
    rooms: BTreeMap<Tenant, Room>,
    /// Ends notifications that wait to be tried again, when another configuration comes.
    generation: CancellationToken,
    /// When time was looked at last, by a clock that nobody sets.
    looked: Option<Instant>,
}

impl State {
    fn room(&mut self, tenant: &Tenant) -> &mut Room {
        let room = self.rooms.entry(tenant.clone());
        room.or_insert_with(|| Room::new(&self.loaded.config))
    }

    /// Nanoseconds since this was asked last.
    fn elapsed(&mut self) -> i64 {
        let now = Instant::now();
        let last = self.looked.replace(now).unwrap_or(now);
        i64::try_from(now.duration_since(last).as_nanos()).unwrap_or(i64::MAX)
    }

    /// All rooms as they are.
    fn copies(&self) -> Vec<(Tenant, Room)> {
        let rooms = self.rooms.iter();
        rooms.map(|(t, room)| (t.clone(), room.clone())).collect()
    }
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
    #[error("silence exceeded maximum size: {found} bytes (limit: {limit} bytes)")]
    Size { found: usize, limit: usize },
    #[error("{0}")]
    NotKept(String),
}

impl NotSet {
    /// A change did not come to its end.
    fn unfinished() -> Self {
        Self::NotKept("the change was not brought to its end".to_owned())
    }
}

/// The Alertmanager of a server.
#[derive(Debug)]
pub(crate) struct Alertmanager {
    state: Mutex<State>,
    kept: Kept,
    /// What changes the state on disk goes one by one.
    changing: Arc<tokio::sync::Mutex<()>>,
    intake: Mutex<Intake>,
    counts: DeliveryCounts,
    /// Something became due earlier.
    wake: Notify,
    /// Ends requests that are on their way.
    cut: CancellationToken,
    tasks: TaskTracker,
    /// Where users reach this server.
    external_url: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let rooms = restore::restored(&loaded.config, found, now);
        Arc::new(Self {
            state: Mutex::new(State {
                loaded,
                rooms,
                generation: CancellationToken::new(),
                looked: None,
            }),
            kept,
            changing: Arc::default(),
            intake: Mutex::default(),
            counts: DeliveryCounts::default(),
            wake: Notify::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
            external_url,
        })
    }

    /// What holds now.
    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&lock(&self.state).loaded)
    }

    /// Looks at what is known of a tenant, at a copy: nobody waits meanwhile.
    pub(crate) fn look<T>(&self, tenant: &Tenant, look: impl FnOnce(&Room, &Loaded) -> T) -> T {
        let (room, loaded) = {
            let state = lock(&self.state);
            let room = state.rooms.get(tenant).cloned();
            (room, Arc::clone(&state.loaded))
        };
        look(&room.unwrap_or_else(|| Room::new(&loaded.config)), &loaded)
    }

    /// Somebody speaks for the alerts of rules from now on: alerts from before the start live as
    /// long as they were told to, from here.
    pub(crate) fn ready(&self) {
        let mut state = lock(&self.state);
        let now = clock::now();
        for room in state.rooms.values_mut() {
            room.groups.release(now);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Makes a change, on disk and in memory, that comes to its end when whoever waits for it
    /// leaves. Nobody else changes anything meanwhile; who waits for that may leave and has changed
    /// nothing. Nothing where it panicked, or the process ends.
    async fn change<T, F>(self: &Arc<Self>, change: impl FnOnce(Arc<Self>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let one = Arc::clone(&self.changing).lock_owned().await;
        let work = change(Arc::clone(self));
        let changing = self.tasks.spawn(async move {
            let _one = one;
            work.await
        });
        let changed = changing.await;
        if let Err(error) = &changed {
            tracing::error!(%error, "a change of the Alertmanager did not come to its end");
        }
        changed.ok()
    }

    /// Takes alerts in. They are grouped also where the disk refuses them: a full disk is when
    /// alerts are needed most.
    pub(crate) async fn receive(self: &Arc<Self>, tenant: &Tenant, alerts: Vec<Received>) {
        let tenant = tenant.clone();
        let taken = self.change(|own| async move { own.take_in(&tenant, alerts).await });
        // What went wrong was told.
        taken.await.unwrap_or_default();
    }

    /// See [`Self::receive`]; inside of a change only.
    async fn take_in(&self, tenant: &Tenant, alerts: Vec<Received>) {
        let (mut pieces, mut changes) = (Vec::new(), Vec::new());
        let mut count = {
            let state = lock(&self.state);
            state.rooms.values().map(|room| room.groups.len()).sum()
        };
        let mut alerts = alerts.into_iter();
        loop {
            let piece: Vec<Received> = alerts.by_ref().take(AT_ONCE).collect();
            if piece.is_empty() {
                break;
            }
            let (piece, more) = self.admitted(tenant, piece, &mut count);
            pieces.push(piece);
            changes.extend(more);
            tokio::task::yield_now().await;
        }
        self.keep(
            changes,
            "alerts are not kept on disk: a restart forgets them",
        )
        .await;
        let mut changes = Vec::new();
        for piece in pieces {
            {
                let mut state = lock(&self.state);
                let room = state.room(tenant);
                room.groups.receive(piece, clock::now());
                changes.extend(room.changes(tenant));
            }
            self.wake.notify_one();
            tokio::task::yield_now().await;
        }
        self.keep(changes, "how alerts come and go is not kept on disk")
            .await;
    }

    /// Makes changes of which nobody hears whether they were made; a fault is told.
    async fn keep(&self, changes: Vec<RowChange>, fault: &str) {
        if let Err(error) = self.kept.write(changes).await {
            tracing::error!(error, "{fault}");
        }
    }

    /// Those that there is room for, and what is kept of them: what a restart must know, not each
    /// word that they still fire.
    fn admitted(
        &self,
        tenant: &Tenant,
        alerts: Vec<Received>,
        count: &mut usize,
    ) -> (Vec<Received>, Vec<RowChange>) {
        let state = lock(&self.state);
        let room = state.rooms.get(tenant);
        let patience = state.loaded.config.global.resolve_timeout();
        let (mut admitted, mut changes) = (Vec::with_capacity(alerts.len()), Vec::new());
        let mut intake = lock(&self.intake);
        for alert in alerts {
            match alert.is_over() {
                true => intake.resolved += 1,
                false => intake.firing += 1,
            }
            let before = room.and_then(|room| room.groups.alert(alert.fingerprint));
            if before.is_none() {
                if *count >= ALERTS_MAX {
                    intake.limited += 1;
                    continue;
                }
                *count += 1;
            }
            let now = match before {
                Some(before) => alert.clone().after(before),
                None => alert.clone(),
            };
            if before.is_none_or(|before| restore::differs(before, &now, patience)) {
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
        self: &Arc<Self>,
        tenant: &Tenant,
        silence: Silence,
        now: Timestamp,
    ) -> Result<String, NotSet> {
        let found = bytes_of(&silence);
        if found > SILENCE_BYTES_MAX {
            let limit = SILENCE_BYTES_MAX;
            return Err(NotSet::Size { found, limit });
        }
        self.change_silences(tenant, move |silences| {
            let before = silences.len();
            let changed = silences.set(silence, uuid(), now)?;
            // Also a change of one may make another one.
            if silences.len() > before.max(SILENCES_MAX) {
                return Err(NotSet::Limit {
                    found: before,
                    limit: SILENCES_MAX,
                });
            }
            Ok(changed)
        })
        .await
    }

    /// Ends a silence.
    pub(crate) async fn expire_silence(
        self: &Arc<Self>,
        tenant: &Tenant,
        id: &str,
        now: Timestamp,
    ) -> Result<(), NotSet> {
        let id = id.to_owned();
        let expired = self.change_silences(tenant, move |silences| {
            silences.expire(&id, now)?;
            Ok(vec![id])
        });
        match expired.await {
            // It is what was asked for.
            Ok(_) | Err(NotSet::Wrong(SilenceError::Expired(_))) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes silences, on disk first; gives the first id of those that changed.
    async fn change_silences(
        self: &Arc<Self>,
        tenant: &Tenant,
        change: impl FnOnce(&mut Silences) -> Result<Vec<String>, NotSet> + Send + 'static,
    ) -> Result<String, NotSet> {
        let tenant = tenant.clone();
        let changed = self.change(|own| async move {
            let mut silences = own.look(&tenant, |room, _| room.silences.clone());
            let changed = change(&mut silences)?;
            let rows = changed.iter().filter_map(|id| silences.get(id));
            let rows = rows.map(|silence| rows::silence(&tenant, silence));
            let written = own.kept.write(rows.collect()).await;
            written.map_err(NotSet::NotKept)?;
            lock(&own.state).room(&tenant).silences = silences;
            Ok(changed.into_iter().next().unwrap_or_default())
        });
        changed.await.unwrap_or_else(|| Err(NotSet::unfinished()))
    }

    /// Goes on with another configuration. What waits to be tried again is decided anew; what is
    /// on its way arrives or fails, and nobody is told the same meanwhile.
    #[expect(
        clippy::disallowed_methods,
        reason = "grouping many alerts anew computes for long, off the event loop"
    )]
    pub(crate) async fn reload(self: &Arc<Self>, loaded: Loaded) {
        let loaded = Arc::new(loaded);
        if self.loaded().is_same(&loaded) {
            // Files with secrets may have changed all the same.
            lock(&self.state).loaded = loaded;
            return;
        }
        let _one = self.changing.lock().await;
        let reloading = Arc::clone(self);
        let regrouped = tokio::task::spawn_blocking(move || reloading.regroup(loaded));
        if regrouped.await.is_err() {
            tracing::error!("grouping alerts anew failed");
        }
        self.wake.notify_one();
    }

    /// Groups all alerts by another configuration.
    fn regroup(&self, loaded: Arc<Loaded>) {
        let now = clock::now();
        let copies = lock(&self.state).copies();
        let regrouped: Vec<(Tenant, Groups)> = copies
            .into_iter()
            .map(|(tenant, room)| {
                let config = Arc::clone(&loaded.config);
                (tenant, room.groups.regrouped(config, now))
            })
            .collect();
        let mut state = lock(&self.state);
        let mut regrouped: BTreeMap<Tenant, Groups> = regrouped.into_iter().collect();
        for (tenant, room) in &mut state.rooms {
            match regrouped.remove(tenant) {
                Some(groups) => room.groups.adopt(groups),
                None => room.groups.reload(Arc::clone(&loaded.config), now),
            }
        }
        state.loaded = loaded;
        let old = std::mem::replace(&mut state.generation, CancellationToken::new());
        drop(state);
        old.cancel();
    }

    /// Runs until the token is cancelled, and waits for what is on its way for so long.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken, patience: Duration) {
        let mut forget = tokio::time::interval(FORGET);
        loop {
            let next = self.dispatch().await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PACE) => {}
            }
            // Somebody may set the clock meanwhile.
            let wait = next.map_or(FORGET, clock::until).min(FORGET);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = forget.tick() => self.forget().await,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // What was heard last.
        self.dispatch().await;
        self.settle(patience).await;
    }

    /// The end: requests that are not answered in time are cut, and sent again by the next start.
    async fn settle(&self, patience: Duration) {
        lock(&self.state).generation.cancel();
        self.tasks.close();
        let settled = tokio::time::timeout(patience, self.tasks.wait()).await;
        if settled.is_err() {
            tracing::warn!("notifications were on their way at the end: they are sent again");
            self.cut.cancel();
            // Whatever does not end here is not known to have arrived.
            drop(tokio::time::timeout(CUT, self.tasks.wait()).await);
        }
        let changes = self.ended_by_themselves(clock::now());
        self.keep(changes, "ends of alerts are not kept on disk")
            .await;
    }
}

/// Bytes of what a silence says.
fn bytes_of(silence: &Silence) -> usize {
    let matchers = silence.matchers.iter();
    let matchers: usize = matchers.map(|m| m.name.len() + m.value.len()).sum();
    let notes = silence.annotations.iter();
    let notes: usize = notes.map(|(name, value)| name.len() + value.len()).sum();
    matchers + notes + silence.comment.len() + silence.created_by.len()
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
