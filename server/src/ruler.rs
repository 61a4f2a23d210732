//! The ruler: evaluates groups of rules on their schedules, stores what they make through `Sink`,
//! hands alerts to those who send them, and keeps the states of alerts on disk.
//!
//! Invariants: within a group a rule sees what the rules before it have written in the same round;
//! a reload takes over all groups or none; what became of an alert is on disk before anybody is
//! told of it; an evaluation that fails resolves nothing.

mod evaluate;
mod families;
mod kept;
mod load;
mod own;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_alerting::rules::group::{self, Running};
use obs_alerting::rules::{Group, Sent};
use obs_alerting::template::Surroundings;
use obs_model::{Labels, Tenant, Timestamp};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use kept::Kept;
pub(crate) use own::load_all;
pub(crate) use view::{AlertView, AlertingView, GroupView, RuleView};

use crate::app::App;

/// Rules that are evaluated at one time, over all groups; as Prometheus.
const CONCURRENT_MAX: usize = 4;
/// Rounds of alerts that wait for a sender.
const OUTBOX: usize = 1024;

/// How rules are evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Nanoseconds between evaluations where a group says nothing.
    pub(crate) interval: i64,
    /// How much earlier queries ask where a group says nothing.
    pub(crate) query_offset: i64,
    /// How long an alert that fires is not sent again.
    pub(crate) resend_delay: i64,
    /// The longest time of which `for` is restored from series.
    pub(crate) outage_tolerance: i64,
    /// How long an alert that is restored from series waits at least.
    pub(crate) grace: i64,
    /// What templates know.
    pub(crate) surroundings: Surroundings,
}

/// Where a group comes from, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub(crate) tenant: Tenant,
    /// The file, or the namespace of one that came over the API.
    pub(crate) file: String,
    pub(crate) name: String,
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
    pub(crate) interval: i64,
    query_offset: i64,
    rules: Vec<Mutex<Running>>,
    /// For each rule the rules that it waits for in a round.
    waits: Vec<Vec<usize>>,
    /// Series that ended because their rules are gone.
    orphans: Mutex<Vec<Labels>>,
    /// When it was evaluated last, and the seconds that took.
    last: Mutex<Option<(Timestamp, f64)>>,
    stop: CancellationToken,
    missed: std::sync::atomic::AtomicU64,
}

/// The groups that are evaluated.
#[derive(Debug)]
pub(crate) struct Ruler {
    setting: Setting,
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
            setting,
            members: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONCURRENT_MAX)),
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

    /// Evaluates these groups from now on, in place of those of the tenant's files that are named.
    /// What is the same goes on with what it knew.
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
                Some(old) if old.group == group => drop(members.insert(key, old)),
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

    /// A member that knows what the one before it knew, or what was kept on disk.
    fn member(&self, key: &GroupKey, group: Group, old: Option<&Member>) -> Member {
        let rules = group.rules.iter().map(|rule| Running::new(rule, &group));
        let mut rules: Vec<Running> = rules.collect();
        let mut orphans = Vec::new();
        match old {
            Some(old) => {
                let earlier = old.rules.iter().map(|rule| lock(rule).clone()).collect();
                orphans.extend(group::take_over(&mut rules, earlier));
                orphans.append(&mut lock(&old.orphans));
            }
            None => self.kept.restore(key, &mut rules, crate::clock::now()),
        }
        Member {
            key: key.clone(),
            interval: group.interval.unwrap_or(self.setting.interval),
            query_offset: group.query_offset.unwrap_or(self.setting.query_offset),
            waits: group::waits_for(&group.rules),
            rules: rules.into_iter().map(Mutex::new).collect(),
            orphans: Mutex::new(orphans),
            last: Mutex::new(old.and_then(|old| *lock(&old.last))),
            stop: self.stop.child_token(),
            missed: 0.into(),
            group,
        }
    }

    /// Waits until all groups have ended.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
