//! The ruler: evaluates groups of rules on their schedules, stores what they make through `Sink`,
//! hands alerts to those who send them, and keeps the states of alerts on disk.
//!
//! Invariants: within a group a rule sees what the rules before it have written in the same round;
//! a reload takes over all groups or none; what became of an alert is on disk before anybody is
//! told of it; an evaluation that fails resolves nothing.

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
pub(crate) use view::{AlertView, AlertingView, GroupView, RuleView};

use crate::app::App;

/// Rounds of alerts that wait for a sender.
const OUTBOX: usize = 1024;

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
    pub(crate) group: Group,
    pub(crate) times: Times,
    rules: Vec<Mutex<Running>>,
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

/// When a group is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Nanoseconds between evaluations.
    pub(crate) interval: i64,
    /// How much earlier queries ask and samples stand.
    pub(crate) query_offset: i64,
}

impl Member {
    /// Takes over what the one before it knows.
    fn take_over(&self, old: &Member) {
        let earlier = old.rules.iter().map(|rule| lock(rule).clone()).collect();
        let mut rules: Vec<Running> = self.rules.iter().map(|rule| lock(rule).clone()).collect();
        let mut orphans: Vec<Labels> = lock(&old.orphans).clone();
        orphans.extend(group::take_over(&mut rules, earlier));
        *lock(&self.orphans) = orphans;
        for (rule, taken) in self.rules.iter().zip(rules) {
            *lock(rule) = taken;
        }
        *lock(&self.last) = *lock(&old.last);
    }
}

/// The groups that are evaluated.
#[derive(Debug)]
pub(crate) struct Ruler {
    setting: Mutex<Arc<Setting>>,
    members: Mutex<BTreeMap<GroupKey, Arc<Member>>>,
    permits: Arc<Semaphore>,
    outbox: mpsc::Sender<Told>,
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
    pub(crate) fn new(
        setting: Setting,
        kept: Kept,
        stop: CancellationToken,
    ) -> (Arc<Self>, mpsc::Receiver<Told>) {
        let (outbox, told) = mpsc::channel(OUTBOX);
        let ruler = Self {
            permits: Arc::new(Semaphore::new(setting.concurrent)),
            setting: Mutex::new(Arc::new(setting)),
            members: Mutex::default(),
            outbox,
            kept: Arc::new(kept),
            tasks: TaskTracker::new(),
            stop,
            counts: evaluate::Counts::default(),
        };
        (Arc::new(ruler), told)
    }

    /// The groups, in order of file and name.
    pub(crate) fn groups(&self) -> Vec<Arc<Member>> {
        lock(&self.members).values().cloned().collect()
    }

    /// How rules are evaluated.
    pub(crate) fn setting(&self) -> Arc<Setting> {
        Arc::clone(&lock(&self.setting))
    }

    /// Evaluates the groups of rule files anew, and all others as the setting now has it.
    pub(crate) fn reload(
        self: &Arc<Self>,
        app: &Arc<App>,
        setting: Setting,
        mut groups: Vec<(GroupKey, Group)>,
    ) {
        *lock(&self.setting) = Arc::new(setting);
        let others = self.groups();
        let others = others.iter().filter(|m| m.key.origin != Origin::File);
        groups.extend(others.map(|member| (member.key.clone(), member.group.clone())));
        self.apply(app, |_| true, groups);
    }

    /// Evaluates the groups of rule files, and those that came over an API and were kept.
    pub(crate) fn begin(self: &Arc<Self>, app: &Arc<App>, mut groups: Vec<(GroupKey, Group)>) {
        groups.extend(self.kept.managed.groups(&app.rules.limits));
        self.apply(app, |_| true, groups);
    }

    /// Evaluates these groups from now on, in place of those that are named. What is the same goes
    /// on with what it knew.
    pub(crate) fn apply(
        self: &Arc<Self>,
        app: &Arc<App>,
        replaced: impl Fn(&GroupKey) -> bool,
        groups: Vec<(GroupKey, Group)>,
    ) {
        let mut members = lock(&self.members);
        let mut before: BTreeMap<GroupKey, Arc<Member>> = BTreeMap::new();
        let gone: Vec<GroupKey> = members
            .keys()
            .filter(|key| replaced(key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(member) = members.remove(&key) {
                before.insert(key, member);
            }
        }
        for (key, group) in groups {
            match before.remove(&key) {
                Some(old) if old.group == group && old.times == self.times(&group) => {
                    drop(members.insert(key, old));
                }
                old => {
                    let member = Arc::new(self.member(&key, group, old.as_deref()));
                    members.insert(key, Arc::clone(&member));
                    self.start(app, member, old);
                }
            }
        }
        for (_, member) in before {
            member.stop.cancel();
            let (ruler, app) = (Arc::clone(self), Arc::clone(app));
            self.tasks
                .spawn(async move { ruler.end(&app, &member).await });
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

    /// A member that knows what the one before it knows so far, or what was kept on disk.
    fn member(&self, key: &GroupKey, group: Group, old: Option<&Member>) -> Member {
        let rules = group.rules.iter().map(|rule| Running::new(rule, &group));
        let mut rules: Vec<Running> = rules.collect();
        if old.is_none() {
            self.kept.restore(key, &mut rules, crate::clock::now());
        }
        let member = Member {
            key: key.clone(),
            times: self.times(&group),
            waits: group::waits_for(&group.rules),
            rules: rules.into_iter().map(Mutex::new).collect(),
            orphans: Mutex::default(),
            last: Mutex::default(),
            stop: self.stop.child_token(),
            ended: CancellationToken::new(),
            counts: old.map(|old| Arc::clone(&old.counts)).unwrap_or_default(),
            group,
        };
        if let Some(old) = old {
            // For those who look before the round of the old one is over.
            member.take_over(old);
        }
        member
    }

    /// Waits until all groups have ended.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
