//! A push gateway: groups of metrics that batch jobs leave behind, kept until they are replaced or
//! deleted, and written to the store like those of a scraped target.
//!
//! Invariants: a change is acknowledged only when its group's file is durable, and a restart finds
//! all groups again; a change that was begun is finished, whether or not its client still waits; who
//! reads never waits for the disk; the series of all groups together are bounded; a group's grouping
//! labels are on all its metrics. Semantics: <https://github.com/prometheus/pushgateway>

mod file;
mod groups;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obs_model::metrics::{Metadata, Sample};
use obs_model::{Labels, MetricBatch, Series, Tenant, Timestamp, Value};
use obs_wire::prometheus::pushed::{Pairs, Pushed};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::config::PushgatewayConfig;
use crate::sink::Sink;

pub use groups::{Group, Groups, Push, PushError};

/// How often groups are written, without a word about it; Prometheus' scrape interval.
const INTERVAL: Duration = Duration::from_secs(60);

/// The gateway. Clones share it.
#[derive(Clone, Debug)]
pub struct Gateway {
    state: Arc<Mutex<Groups>>,
    /// One change at a time: what a change makes of the groups holds until it is durable.
    changes: Arc<tokio::sync::Mutex<()>>,
    /// Changes that were begun.
    tasks: TaskTracker,
    setting: Arc<Setting>,
}

#[derive(Debug)]
struct Setting {
    folder: PathBuf,
    sink: Sink,
    interval: Duration,
    checked: bool,
    admin: bool,
    started: Timestamp,
}

/// What came of a push.
#[derive(Debug, PartialEq)]
pub enum PushOutcome {
    /// It is kept; with or without a look whether it fits the other groups.
    Kept {
        /// Whether somebody looked.
        checked: bool,
    },
    /// It does not fit; the failure is noted in the group.
    Refused(PushError),
    /// It could not be made durable.
    Failed(String),
}

impl Gateway {
    /// Reads the groups that are kept in `folder`. Files that are damaged are told and set aside.
    pub async fn open(
        folder: PathBuf,
        config: &PushgatewayConfig,
        (sink, interval): (Sink, Option<Duration>),
    ) -> std::io::Result<Self> {
        let mut groups = Groups::new(config.series_max());
        file::load_all(&folder, &mut groups).await?;
        let setting = Setting {
            folder,
            sink,
            interval: config
                .interval
                .map(|i| i.0)
                .or(interval)
                .unwrap_or(INTERVAL),
            checked: config.consistency_check(),
            admin: config.enable_admin_api,
            started: clock::now(),
        };
        Ok(Self {
            state: Arc::new(Mutex::new(groups)),
            changes: Arc::default(),
            tasks: TaskTracker::new(),
            setting: Arc::new(setting),
        })
    }

    /// Whether everything may be wiped.
    pub fn admin(&self) -> bool {
        self.setting.admin
    }

    /// When the gateway was opened.
    pub fn started(&self) -> Timestamp {
        self.setting.started
    }

    /// Takes a push; `replace` drops what else the group has.
    pub async fn push(
        &self,
        tenant: Tenant,
        mut labels: Pairs,
        mut pushed: Pushed,
        replace: bool,
    ) -> PushOutcome {
        let now = clock::now();
        self.redact(&mut labels, Some(&mut pushed));
        let push = Push {
            labels,
            pushed,
            replace,
            checked: self.setting.checked,
        };
        let gateway = self.clone();
        let change = async move { gateway.change(&tenant, push, now).await };
        let outcome = self.finish(change).await;
        outcome.unwrap_or_else(PushOutcome::Failed)
    }

    /// Does work that is finished even where nobody waits for it any more: a client that goes away
    /// must not leave a group half changed.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let done = self.tasks.spawn(work).await;
        done.map_err(|error| format!("the change ended early: {error}"))
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        // A group is put in one step, whatever else a panic left undone.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn change(&self, tenant: &Tenant, push: Push, now: Timestamp) -> PushOutcome {
        let turn = self.changes.lock().await;
        let (group, fault) = self.groups().plan(tenant, push, now);
        let Some(group) = group else {
            // Without room there is none for the note of the failure either.
            return PushOutcome::Refused(fault.unwrap_or(PushError::Full(0)));
        };
        if let Err(error) = file::save(&self.setting.folder, tenant, &group).await {
            return PushOutcome::Failed(error);
        }
        let batch = batch(std::iter::once(&group), now);
        self.groups().put(tenant, group);
        drop(turn);
        // Seen at once; the next interval writes it again.
        self.store(tenant, batch).await;
        match fault {
            None => PushOutcome::Kept {
                checked: self.setting.checked,
            },
            Some(fault) => PushOutcome::Refused(fault),
        }
    }

    /// Groups are files of their own: secrets are taken out before the sink sees them.
    fn redact(&self, labels: &mut Pairs, pushed: Option<&mut Pushed>) {
        let Some(redactor) = self.setting.sink.redactor() else {
            return;
        };
        redactor.pairs(labels);
        let families = pushed.map(|pushed| pushed.families.values_mut());
        for metric in families.into_iter().flatten().flat_map(|f| &mut f.metrics) {
            redactor.pairs(&mut metric.labels);
        }
    }

    /// Deletes a group; one that is not there is as good as deleted.
    pub async fn delete(&self, tenant: &Tenant, labels: &Pairs) -> Result<(), String> {
        let mut labels = labels.clone();
        self.redact(&mut labels, None);
        self.forget(tenant, vec![labels]).await
    }

    /// Deletes all groups of a tenant.
    pub async fn wipe(&self, tenant: &Tenant) -> Result<(), String> {
        let all = self.groups().of(tenant).map(|g| g.labels.clone()).collect();
        self.forget(tenant, all).await
    }

    async fn forget(&self, tenant: &Tenant, all: Vec<Pairs>) -> Result<(), String> {
        let (gateway, tenant) = (self.clone(), tenant.clone());
        let work = async move {
            let _turn = gateway.changes.lock().await;
            for labels in all {
                file::remove(&gateway.setting.folder, &tenant, &labels).await?;
                gateway.groups().remove(&tenant, &labels);
            }
            Ok(())
        };
        self.finish(work).await?
    }

    /// A look at a tenant's groups, in order of their labels.
    pub async fn read<T>(&self, tenant: &Tenant, look: impl FnOnce(Vec<&Group>) -> T) -> T {
        look(self.groups().of(tenant).collect())
    }

    /// Writes all groups every interval, and ends the series that are gone.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.setting.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            self.write_all().await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn write_all(&self) {
        let now = clock::now();
        let (all, gone) = {
            let mut groups = self.groups();
            let tenants = groups.tenants();
            let all: Vec<_> = tenants
                .into_iter()
                .map(|tenant| {
                    let batch = batch(groups.of(&tenant), now);
                    (tenant, batch)
                })
                .collect();
            (all, groups.take_gone())
        };
        for (tenant, batch) in all {
            self.store(&tenant, batch).await;
        }
        for (tenant, gone) in gone {
            let series = gone.into_iter().map(|labels| ended(labels, now)).collect();
            let batch = MetricBatch {
                series,
                ..MetricBatch::default()
            };
            self.store(&tenant, batch).await;
        }
    }

    async fn store(&self, tenant: &Tenant, batch: MetricBatch) {
        if batch.is_empty() {
            return;
        }
        match self.setting.sink.scraped(tenant.clone(), batch).await {
            Ok((accepted, forwarded)) => {
                if accepted.refused > 0 {
                    tracing::warn!(
                        refused = accepted.refused,
                        reason = accepted.reason,
                        "samples of pushed groups were refused"
                    );
                }
                if let Err(error) = forwarded {
                    tracing::warn!(%error, "pushed groups were stored but not forwarded");
                }
            }
            Err(error) => tracing::warn!(%error, "pushed groups could not be stored now"),
        }
    }
}

fn ended(labels: Labels, now: Timestamp) -> Series {
    Series {
        labels,
        samples: vec![sample(now, Value::Float(obs_model::sample::stale()))],
        ..Series::default()
    }
}

fn sample(time: Timestamp, value: Value) -> Sample {
    Sample {
        time,
        start: None,
        value,
    }
}

/// The samples of groups, as a scrape that honours their labels has them.
fn batch<'a>(groups: impl Iterator<Item = &'a Group>, now: Timestamp) -> MetricBatch {
    let mut batch = MetricBatch::default();
    let mut told = std::collections::HashSet::new();
    for group in groups {
        for (family, _) in group.families.values() {
            if told.insert(family.name.as_str()) {
                batch.metadata.push(Metadata {
                    family: family.name.clone(),
                    kind: family.kind,
                    unit: String::new(),
                    help: family.help.clone(),
                });
            }
            for (labels, value) in groups::series(family) {
                batch.series.push(Series {
                    labels,
                    samples: vec![sample(now, value)],
                    ..Series::default()
                });
            }
        }
    }
    batch
}

#[cfg(test)]
mod tests;
