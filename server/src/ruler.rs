//! The ruler: evaluates groups of rules on their schedules, stores what they make through `Sink`,
//! hands alerts to those who send them, and keeps the states of alerts on disk.
//!
//! Invariants: within a group a rule sees what the rules before it have written in the same round;
//! a reload takes over all groups or none; what became of an alert is on disk before anybody is
//! told of it; an evaluation that fails resolves nothing; whoever looks waits for no evaluation.

pub(crate) mod cluster;
mod evaluate;
mod families;
mod kept;
mod load;
mod managed;
mod own;
pub(crate) mod replay;
mod setting;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_alerting::rules::group::{self, Running};
use obs_alerting::rules::{Group, Sent};
use obs_model::{Labels, Tenant, Timestamp};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use kept::Kept;
pub(crate) use managed::{ManageError, Managed, parsing};
pub(crate) use own::load_all;
pub use setting::RuleOptions;
pub(crate) use setting::Setting;
use view::Shown;
pub(crate) use view::{AlertView, AlertingView, GroupView, RuleView};

use crate::app::App;

/// Rounds of alerts that wait for a sender.
const OUTBOX: usize = 1024;

/// Why groups were not changed: the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server stops")]
pub(crate) struct Stopping;

/// Who says which groups there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Rule files.
    File,
    /// The API, as Mimir has it.
    Api,
    /// The API of Loki's ruler.
    Loki,
    /// Objects of the cluster.
    Kubernetes,
}

/// Where a group comes from, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub(crate) tenant: Tenant,
    /// The file; of other origins the namespace or object.
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

/// Alerts of one rule in one round.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) tenant: Tenant,
    /// The expression, for links.
    pub(crate) expression: String,
    pub(crate) alerts: Vec<Sent>,
}

/// One group that is evaluated again and again.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) key: GroupKey,
    pub(crate) group: Arc<Group>,
    pub(crate) times: Times,
    rules: Vec<Slot>,
    /// For each rule the rules that it waits for in a round.
    waits: Vec<Vec<usize>>,
    /// Series that ended because their rules are gone.
    orphans: Mutex<Vec<Labels>>,
    /// When it was evaluated last, and the seconds that took.
    last: Mutex<Option<(Timestamp, f64)>>,
    stop: CancellationToken,
    /// Cancelled when its last round is over.
    ended: CancellationToken,
    /// What happened so far; the same counters over reloads.
    counts: Arc<evaluate::MemberCounts>,
}

/// A rule of a group.
#[derive(Debug)]
struct Slot {
    /// Held while it is evaluated, for as long as its templates ask.
    running: Mutex<Running>,
    /// How it stood behind its last evaluation, for all who look.
    shown: Mutex<Arc<Shown>>,
}

impl Slot {
    fn new(running: Running) -> Self {
        let shown = Mutex::new(Arc::new(Shown::of(&running)));
        Self {
            running: Mutex::new(running),
            shown,
        }
    }

    /// Shows how it stands now.
    fn show(&self, running: &Running) {
        *lock(&self.shown) = Arc::new(Shown::of(running));
    }

    fn shown(&self) -> Arc<Shown> {
        Arc::clone(&lock(&self.shown))
    }
}

/// When a group is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Nanoseconds between evaluations.
    pub(crate) interval: i64,
    /// How much earlier queries ask and samples stand.
    pub(crate) query_offset: i64,
}

impl Member {
    /// Takes over what the one before it knows, when its last round is over.
    fn take_over(&self, old: &Member) {
        let from = group::successors(&self.group.rules, &old.group.rules);
        let running = |slot: &Slot| lock(&slot.running).clone();
        let earlier = old.rules.iter().map(running).collect();
        let mut rules: Vec<Running> = self.rules.iter().map(running).collect();
        let mut orphans: Vec<Labels> = lock(&old.orphans).clone();
        orphans.extend(group::take_over(&mut rules, earlier, &from));
        *lock(&self.orphans) = orphans;
        for (slot, taken) in self.rules.iter().zip(rules) {
            slot.show(&taken);
            *lock(&slot.running) = taken;
        }
        *lock(&self.last) = *lock(&old.last);
    }

    /// Shows what the one before it shows; waits for no evaluation.
    fn show_as(&self, old: &Member) {
        let from = group::successors(&self.group.rules, &old.group.rules);
        for (slot, from) in self.rules.iter().zip(from) {
            if let Some(before) = from.and_then(|from| old.rules.get(from)) {
                *lock(&slot.shown) = before.shown();
            }
        }
        *lock(&self.last) = *lock(&old.last);
    }
}

/// Groups that others take the place of.
#[derive(Clone, Debug)]
pub(crate) enum Replaced {
    /// All of an origin.
    Of(Origin),
    /// These.
    These(Vec<GroupKey>),
}

/// The groups that are evaluated.
#[derive(Debug)]
pub(crate) struct Ruler {
    setting: Mutex<Arc<Setting>>,
    members: Mutex<BTreeMap<GroupKey, Arc<Member>>>,
    /// Held while groups change, also over the disk; who only looks does not wait for it, and who
    /// waits for it holds no thread.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Groups that have ended and are still known on disk.
    gone: Mutex<Vec<GroupKey>>,
    permits: Arc<Semaphore>,
    outbox: mpsc::Sender<Told>,
    /// Cancelled when nothing more is told.
    told_all: CancellationToken,
    kept: Arc<Kept>,
    tasks: TaskTracker,
    stop: CancellationToken,
    counts: evaluate::Counts,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ruler {
    /// A ruler without groups, and where it tells of alerts.
    pub(crate) fn new(setting: Setting, kept: Kept, stop: CancellationToken) -> (Arc<Self>, Inbox) {
        let (outbox, told) = mpsc::channel(OUTBOX);
        let told_all = CancellationToken::new();
        let inbox = Inbox {
            told,
            all: told_all.clone(),
        };
        let ruler = Self {
            permits: Arc::new(Semaphore::new(setting.concurrent)),
            setting: Mutex::new(Arc::new(setting)),
            members: Mutex::default(),
            changing: Arc::default(),
            gone: Mutex::default(),
            outbox,
            told_all,
            kept: Arc::new(kept),
            tasks: TaskTracker::new(),
            stop,
            counts: evaluate::Counts::default(),
        };
        (Arc::new(ruler), inbox)
    }

    /// The groups, in order of file and name.
    pub(crate) fn groups(&self) -> Vec<Arc<Member>> {
        lock(&self.members).values().cloned().collect()
    }

    /// How rules are evaluated.
    pub(crate) fn setting(&self) -> Arc<Setting> {
        Arc::clone(&lock(&self.setting))
    }

    /// The groups of a tenant, in the same order.
    pub(crate) fn groups_of(&self, tenant: &Tenant) -> Vec<Arc<Member>> {
        let first = GroupKey {
            tenant: tenant.clone(),
            file: String::new(),
            name: String::new(),
            origin: Origin::File,
        };
        let members = lock(&self.members);
        let own = members.range(first..).map(|(_, member)| member);
        let own = own.take_while(|member| member.key.tenant == *tenant);
        own.cloned().collect()
    }

    /// Evaluates the groups of rule files anew, and all others as the setting now has it.
    pub(crate) async fn reload(
        self: &Arc<Self>,
        app: &Arc<App>,
        setting: Setting,
        groups: Vec<(GroupKey, Group)>,
    ) -> Result<(), Stopping> {
        self.changed(app, move |ruler, app| {
            *lock(&ruler.setting) = Arc::new(setting);
            ruler.replace(app, &Replaced::Of(Origin::File), groups);
            ruler.refresh(app);
        })
        .await
    }

    /// Evaluates the groups of rule files, and those that came over an API and were kept.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        app: &Arc<App>,
        mut groups: Vec<(GroupKey, Group)>,
    ) -> Result<(), Stopping> {
        self.changed(app, move |ruler, app| {
            groups.extend(ruler.kept.managed.groups(&app.rules.limits));
            ruler.replace(app, &Replaced::Of(Origin::File), groups);
        })
        .await
    }

    /// Evaluates these groups from now on, in place of those that are named. What is the same goes
    /// on with what it knew.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        app: &Arc<App>,
        replaced: Replaced,
        groups: Vec<(GroupKey, Group)>,
    ) -> Result<(), Stopping> {
        self.changed(app, move |ruler, app| ruler.replace(app, &replaced, groups))
            .await
    }

    /// Changes groups, off the event loop, and nobody else does meanwhile. Once it has begun it goes
    /// on when whoever waits for it leaves.
    #[expect(
        clippy::disallowed_methods,
        reason = "small reads and writes of the disk, off the event loop"
    )]
    async fn changed<T: Send + 'static>(
        self: &Arc<Self>,
        app: &Arc<App>,
        change: impl FnOnce(&Arc<Self>, &Arc<App>) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (ruler, app) = (Arc::clone(self), Arc::clone(app));
        let turn = Arc::clone(&self.changing).lock_owned().await;
        let work = move || {
            let _turn = turn;
            change(&ruler, &app)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| {
            tracing::error!(%error, "groups of rules were not changed");
            Stopping
        })
    }

    /// See [`Ruler::apply`]; inside of a change only.
    fn replace(
        self: &Arc<Self>,
        app: &Arc<App>,
        replaced: &Replaced,
        groups: Vec<(GroupKey, Group)>,
    ) {
        let mut before = self.named(replaced);
        let mut fresh = Vec::new();
        for (key, group) in groups {
            match before.remove(&key) {
                Some(old) if *old.group == group && old.times == self.times(&group) => {}
                old => fresh.push((self.member(key, Arc::new(group), old.as_deref()), old)),
            }
        }
        let mut members = lock(&self.members);
        for key in before.keys() {
            members.remove(key);
        }
        for (member, _) in &fresh {
            members.insert(member.key.clone(), Arc::clone(member));
        }
        drop(members);
        for (member, old) in fresh {
            self.start(app, member, old);
        }
        for (_, member) in before {
            member.stop.cancel();
            let (ruler, app) = (Arc::clone(self), Arc::clone(app));
            self.tasks
                .spawn(async move { ruler.end(&app, &member).await });
        }
    }

    /// Starts groups anew whose times come from a setting that has changed.
    fn refresh(self: &Arc<Self>, app: &Arc<App>) {
        for old in self.groups() {
            if old.times == self.times(&old.group) {
                continue;
            }
            let member = self.member(old.key.clone(), Arc::clone(&old.group), Some(&old));
            lock(&self.members).insert(member.key.clone(), Arc::clone(&member));
            self.start(app, member, Some(old));
        }
    }

    fn named(&self, replaced: &Replaced) -> BTreeMap<GroupKey, Arc<Member>> {
        let members = lock(&self.members);
        let found = |(key, member): (&GroupKey, &Arc<Member>)| (key.clone(), Arc::clone(member));
        match replaced {
            Replaced::Of(origin) => {
                let of = members.iter().filter(|(key, _)| key.origin == *origin);
                of.map(found).collect()
            }
            Replaced::These(keys) => {
                let known = keys.iter().filter_map(|key| members.get_key_value(key));
                known.map(found).collect()
            }
        }
    }

    /// Interval and offset of a group.
    fn times(&self, group: &Group) -> Times {
        let setting = self.setting();
        Times {
            interval: group.interval.unwrap_or(setting.interval),
            query_offset: group.query_offset.unwrap_or(setting.query_offset),
        }
    }

    /// A member that shows what the one before it shows, or knows what was kept on disk.
    fn member(&self, key: GroupKey, group: Arc<Group>, old: Option<&Member>) -> Arc<Member> {
        let rules = group.rules.iter().map(|rule| Running::new(rule, &group));
        let mut rules: Vec<Running> = rules.collect();
        if old.is_none() {
            self.kept.restore(&key, &mut rules, crate::clock::now());
        }
        let member = Member {
            key,
            times: self.times(&group),
            waits: group::waits_for(&group.rules),
            rules: rules.into_iter().map(Slot::new).collect(),
            orphans: Mutex::default(),
            last: Mutex::default(),
            stop: self.stop.child_token(),
            ended: CancellationToken::new(),
            counts: old.map(|old| Arc::clone(&old.counts)).unwrap_or_default(),
            group,
        };
        if let Some(old) = old {
            // For those who look before the round of the old one is over.
            member.show_as(old);
        }
        Arc::new(member)
    }

    /// Waits until it is to stop and all groups have ended; nothing is told from then on.
    pub(crate) async fn ended(&self) {
        // Before that groups may come any time, also where there are none.
        self.stop.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
        self.told_all.cancel();
    }
}

/// What rules tell, on its way to those who send it.
#[derive(Debug)]
pub(crate) struct Inbox {
    told: mpsc::Receiver<Told>,
    all: CancellationToken,
}

impl Inbox {
    /// What is told next; nothing when the last round of the last group is over.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        tokio::select! {
            biased;
            told = self.told.recv() => told,
            () = self.all.cancelled() => self.told.try_recv().ok(),
        }
    }
}

#[cfg(test)]
mod tests;
