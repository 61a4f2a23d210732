//! Other destinations of samples while it runs; see `ship/changing.rs`, which this is like.
//!
//! Invariants: what a new configuration needs is opened before anything changes; what does not
//! change goes on undisturbed; what was queued for a destination that went is sent to it as it was.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use obs_storage::{Disk, DiskError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Destination, Forwarder, deliver};
use crate::config::RemoteWrite;
use crate::external::External;
use crate::sender::Life;
use crate::spool::{Bounds, Spool, folder_name};

/// What destinations are opened with.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) bounds: Bounds,
    pub(super) salt: u32,
    pub(super) external: External,
    /// Where senders run, once they do.
    pub(super) running: OnceLock<(TaskTracker, CancellationToken)>,
}

impl Opening {
    /// A destination, which takes the queue of another one where that has its name.
    pub(super) fn open(
        &self,
        config: RemoteWrite,
        before: Option<&Arc<Destination>>,
    ) -> Result<Arc<Destination>, DiskError> {
        let (folder, name) = (folder_name(&config.name), config.name.clone());
        let (spool, counters) = match before {
            Some(before) => (Arc::clone(&before.spool), Arc::clone(&before.counters)),
            None => {
                let spool = Spool::open(&self.disk, folder, name, self.bounds, self.salt)?;
                (Arc::new(spool), Arc::default())
            }
        };
        Ok(Arc::new(Destination {
            spool,
            config,
            external: self.external.clone(),
            entering: Mutex::default(),
            writing: Mutex::default(),
            counters,
            life: Life::default(),
        }))
    }
}

/// The destinations that there are.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    /// Those of the configuration.
    taking: Arc<[Arc<Destination>]>,
    /// Those that went, until all they have is sent.
    leaving: Vec<Arc<Destination>>,
}

impl Destinations {
    pub(super) fn of(all: Vec<Arc<Destination>>) -> Self {
        Self {
            taking: all.into(),
            leaving: Vec::new(),
        }
    }
}

/// Other destinations, ready to be taken.
#[derive(Debug, Default)]
pub struct Next {
    all: Vec<Arc<Destination>>,
    /// Those of them that are new, and whose queues they take.
    new: Vec<(Arc<Destination>, Option<Arc<Destination>>)>,
}

impl Forwarder {
    /// The destinations of the configuration.
    pub(super) fn taking(&self) -> Arc<[Arc<Destination>]> {
        let all = self
            .destinations
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&all.taking)
    }

    /// Whether samples go nowhere.
    pub fn is_empty(&self) -> bool {
        self.taking().is_empty()
    }

    /// Those too that only send what they have.
    pub(super) fn all(&self) -> Vec<Arc<Destination>> {
        let all = self
            .destinations
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let leaving = all.leaving.iter().filter(|d| !d.life.has_ended());
        all.taking.iter().chain(leaving).cloned().collect()
    }

    /// Opens what other destinations need; nothing changes before they are taken. Blocks.
    pub fn next(&self, configs: Vec<RemoteWrite>) -> Result<Next, String> {
        let (taking, mut next) = (self.taking(), Next::default());
        let known: Vec<Arc<Destination>> = {
            let all = self
                .destinations
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            all.taking.iter().chain(&all.leaving).cloned().collect()
        };
        for config in configs {
            if let Some(same) = taking.iter().find(|d| d.config == config) {
                next.all.push(Arc::clone(same));
                continue;
            }
            let before = known.iter().find(|d| d.config.name == config.name);
            let name = config.name.clone();
            let made = self.opening.open(config, before);
            let made = made.map_err(|e| format!("the queue of {name:?}: {e}"))?;
            next.all.push(Arc::clone(&made));
            next.new.push((made, before.cloned()));
        }
        Ok(next)
    }

    /// Goes with other destinations from now on.
    pub fn take(&self, next: Next) {
        let mut all = self
            .destinations
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        type All = [Arc<Destination>];
        let is = |all: &All, one: &Arc<Destination>| all.iter().any(|d| Arc::ptr_eq(d, one));
        let replaced: Vec<_> = next.new.iter().filter_map(|(_, d)| d.clone()).collect();
        for destination in &replaced {
            destination.life.end(&destination.spool);
        }
        let before = std::mem::replace(&mut all.taking, next.all.into());
        let mut leaving = std::mem::take(&mut all.leaving);
        let gone = |d: &&Arc<Destination>| !is(&all.taking, d) && !is(&replaced, d);
        for gone in before.iter().filter(gone) {
            gone.life.leave(&gone.spool);
            tracing::info!(remote_name = gone.config.name, "sends what it has and ends");
            leaving.push(Arc::clone(gone));
        }
        // One that has ended has its queue open still, for who comes with that name again.
        leaving.retain(|destination| !is(&replaced, destination));
        all.leaving = leaving;
        for (destination, before) in next.new {
            self.send_from(&destination, before);
        }
    }

    /// Sends what is in a queue, once that is wanted.
    pub(super) fn send_from(&self, to: &Arc<Destination>, before: Option<Arc<Destination>>) {
        let Some((tasks, stop)) = self.opening.running.get() else {
            return;
        };
        let (to, worker, stop) = (Arc::clone(to), self.worker.clone(), stop.clone());
        tasks.spawn(async move {
            let place = (before.as_ref().map(|before| &before.life), &*to.spool);
            let send = async |stop: CancellationToken| deliver::keep(&to, &worker, &stop).await;
            to.life.run(place, &stop, send).await;
        });
    }
}
