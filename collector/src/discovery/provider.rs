//! Discoveries that run by themselves and tell of targets as they come and go.
//!
//! A discovery is a task that sends batches of [`TargetGroup`]s into a bounded channel: a group
//! replaces the one of the same source, one without targets takes it away. The first batches
//! together have everything there is; the first batch that is not full ends them.
//!
//! Invariants: jobs whose entries are equal share one discovery; one that a new configuration
//! still has goes on undisturbed, with what it knows; it ends with the last job that wants it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use obs_model::TargetGroup;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{consul, dns, docker, http, nomad, polled};
use crate::config::Discovery;

/// Batches of groups that wait to be taken in.
const BATCHES_WAITING: usize = 4;
/// A batch of fewer groups ends the first ones.
pub(super) const BATCH_GROUPS: usize = 2_000;

/// Where groups are sent to.
pub(crate) type Groups = mpsc::Sender<Vec<TargetGroup>>;

/// The discoveries that run.
#[derive(Debug, Default)]
pub(crate) struct Providers {
    running: Mutex<Vec<(Discovery, Weak<Provider>)>>,
    kubernetes: Arc<obs_kubernetes::Counters>,
}

/// A discovery that runs until nobody holds it.
#[derive(Debug)]
pub(crate) struct Provider {
    known: Arc<Known>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Known {
    groups: Mutex<BTreeMap<Box<str>, Arc<TargetGroup>>>,
    /// How many batches came; zero until everything came once.
    version: watch::Sender<u64>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Arc<TargetGroup>>> {
        // Every change is one insertion or removal.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, batch: Vec<TargetGroup>) {
        let full = batch.len() >= BATCH_GROUPS;
        let mut groups = self.lock();
        for group in batch {
            match group.targets.is_empty() {
                true => drop(groups.remove(&group.source)),
                false => drop(groups.insert(group.source.clone(), Arc::new(group))),
            }
        }
        drop(groups);
        self.version.send_if_modified(|version| {
            let tells = *version > 0 || !full;
            *version += u64::from(tells);
            tells
        });
    }
}

impl Providers {
    /// Discoveries that count what they ask of API servers.
    pub(crate) fn new(kubernetes: Arc<obs_kubernetes::Counters>) -> Self {
        Self {
            running: Mutex::default(),
            kubernetes,
        }
    }

    /// The discovery of this entry; `None` where the entry has nothing that runs.
    pub(crate) fn open(&self, entry: &Discovery) -> Option<Arc<Provider>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, provider)| provider.strong_count() > 0);
        let found = running.iter().find(|(known, _)| known == entry);
        if let Some(provider) = found.and_then(|(_, provider)| provider.upgrade()) {
            return Some(provider);
        }
        let mut tasks = JoinSet::new();
        let (sender, mut batches) = mpsc::channel(BATCHES_WAITING);
        self.start(entry, sender, &mut tasks)?;
        let known = Arc::new(Known::default());
        let taker = Arc::clone(&known);
        tasks.spawn(async move {
            while let Some(batch) = batches.recv().await {
                taker.take(batch);
            }
        });
        let provider = Arc::new(Provider {
            known,
            _tasks: tasks,
        });
        running.push((entry.clone(), Arc::downgrade(&provider)));
        Some(provider)
    }

    /// Starts what an entry asks for.
    fn start(&self, entry: &Discovery, groups: Groups, tasks: &mut JoinSet<()>) -> Option<()> {
        match entry {
            Discovery::Static(_) | Discovery::Files { .. } => return None,
            Discovery::Http(settings) => {
                tasks.spawn(http::run((**settings).clone(), groups));
            }
            Discovery::Dns(settings) => {
                tasks.spawn(dns::run(settings.clone(), groups));
            }
            Discovery::Consul(settings) => {
                tasks.spawn(consul::run((**settings).clone(), groups));
            }
            Discovery::Docker(settings) => {
                tasks.spawn(docker::run((**settings).clone(), groups));
            }
            Discovery::Nomad(settings) => {
                tasks.spawn(nomad::run((**settings).clone(), groups));
            }
            Discovery::Polled(settings) => {
                tasks.spawn(polled::run((**settings).clone(), groups));
            }
            Discovery::Kubernetes(config) => {
                let (config, counters) = ((**config).clone(), Arc::clone(&self.kubernetes));
                // Tasks end with the provider that holds them.
                let stop = CancellationToken::new();
                tasks.spawn(obs_kubernetes::discovery::run(
                    config, counters, groups, stop,
                ));
            }
        }
        Some(())
    }
}

impl Provider {
    /// The groups that are known, in the order of their sources.
    pub(crate) fn groups(&self) -> Vec<Arc<TargetGroup>> {
        self.known.lock().values().cloned().collect()
    }

    /// Changes with every batch; zero until everything came once.
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.known.version.subscribe()
    }
}
