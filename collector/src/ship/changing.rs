//! Other destinations while it runs.
//!
//! Invariants: what a new configuration needs is opened before anything changes, so that it is
//! taken whole or not at all; what does not change goes on undisturbed; of one queue there is one
//! sender at a time; what was queued for a destination that went is sent to it as it was, as long
//! as the process runs, and waits on disk for a destination of that name behind that.

use std::sync::{Arc, OnceLock, PoisonError};

use obs_storage::{Disk, DiskError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::counters::Counters;
use super::record::Signal;
use super::{Outlet, Shipper, deliver, take_over};
use crate::config::Ship;
use crate::sender::Life;
use crate::spool::{Bounds, Spool, folder_name};

/// What outlets are opened with.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) bounds: Bounds,
    pub(super) salt: u32,
    pub(super) agent: String,
    /// Where senders run, once they do.
    pub(super) running: OnceLock<(TaskTracker, CancellationToken)>,
}

/// The outlets that there are.
#[derive(Debug, Default)]
pub(super) struct Outlets {
    /// Those of the configuration.
    taking: Arc<[Arc<Outlet>]>,
    /// Those of destinations that went, until all they have is sent.
    leaving: Vec<Arc<Outlet>>,
}

impl Outlets {
    pub(super) fn of(all: Vec<Arc<Outlet>>) -> Self {
        Self {
            taking: all.into(),
            leaving: Vec::new(),
        }
    }
}

/// Other destinations, ready to be taken.
#[derive(Debug, Default)]
pub struct Next {
    all: Vec<Arc<Outlet>>,
    /// Those of them that are new, and whose queues they take.
    new: Vec<(Arc<Outlet>, Option<Arc<Outlet>>)>,
}

impl Opening {
    /// The outlets of a destination that has none.
    pub(super) fn open(&self, ship: Arc<Ship>) -> Result<Vec<Arc<Outlet>>, DiskError> {
        let mut outlets = Vec::new();
        for signal in Signal::ALL {
            if let Some(url) = signal.url(&ship) {
                let spool = Arc::new(self.spool(&ship, signal)?);
                outlets.push(self.outlet((&ship, signal, url), spool, Arc::default()));
            }
        }
        take_over(&self.disk, &ship, self.salt, &outlets)?;
        Ok(outlets)
    }

    fn spool(&self, ship: &Ship, signal: Signal) -> Result<Spool, DiskError> {
        let folder = format!("{}.{}", folder_name(&ship.name), signal.word());
        Spool::open(
            &self.disk,
            folder,
            ship.name.clone(),
            self.bounds,
            self.salt,
        )
    }

    fn outlet(
        &self,
        (ship, signal, url): (&Arc<Ship>, Signal, &str),
        spool: Arc<Spool>,
        counters: Arc<Counters>,
    ) -> Arc<Outlet> {
        Arc::new(Outlet {
            signal,
            url: url.to_owned(),
            ship: Arc::clone(ship),
            agent: self.agent.clone(),
            spool,
            counters,
            life: Life::default(),
        })
    }
}

impl Shipper {
    /// The outlets of the configuration.
    pub(super) fn taking(&self) -> Arc<[Arc<Outlet>]> {
        let outlets = self.outlets.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&outlets.taking)
    }

    /// Those too that only send what they have.
    pub(super) fn all(&self) -> Vec<Arc<Outlet>> {
        let outlets = self.outlets.read().unwrap_or_else(PoisonError::into_inner);
        let leaving = outlets.leaving.iter().filter(|o| !o.life.has_ended());
        outlets.taking.iter().chain(leaving).cloned().collect()
    }

    /// Opens what other destinations need; nothing changes before they are taken. Blocks.
    pub fn next(&self, ships: Vec<Ship>) -> Result<Next, String> {
        let (taking, mut next) = (self.taking(), Next::default());
        let known = {
            let outlets = self.outlets.read().unwrap_or_else(PoisonError::into_inner);
            let all = outlets.taking.iter().chain(&outlets.leaving);
            all.cloned().collect::<Vec<_>>()
        };
        for ship in ships {
            let ship = Arc::new(ship);
            let same_name = |outlet: &&Arc<Outlet>| outlet.ship.name == ship.name;
            if let Some(other) = known.iter().find(same_name)
                && other.ship.kind != ship.kind
            {
                return Err(format!(
                    "destination {:?} was of another kind; what waits for it is not of this one, \
                     give it another name",
                    ship.name
                ));
            }
            if let Some(same) = taking.iter().find(|o| *o.ship == *ship) {
                let own = taking.iter().filter(|o| Arc::ptr_eq(&o.ship, &same.ship));
                next.all.extend(own.cloned());
                continue;
            }
            for signal in Signal::ALL {
                let Some(url) = signal.url(&ship) else {
                    continue;
                };
                let before = known.iter().filter(same_name).find(|o| o.signal == signal);
                let what = (&ship, signal, url);
                let outlet = match before {
                    Some(before) => {
                        let spool = Arc::clone(&before.spool);
                        let counters = Arc::clone(&before.counters);
                        self.opening.outlet(what, spool, counters)
                    }
                    None => {
                        let spool = self.opening.spool(&ship, signal);
                        let spool = spool.map_err(|e| format!("the queue of {:?}: {e}", ship.name));
                        self.opening.outlet(what, Arc::new(spool?), Arc::default())
                    }
                };
                next.all.push(Arc::clone(&outlet));
                next.new.push((outlet, before.cloned()));
            }
        }
        Ok(next)
    }

    /// Goes with other destinations from now on.
    pub fn take(&self, next: Next) {
        let mut outlets = self.outlets.write().unwrap_or_else(PoisonError::into_inner);
        let is = |all: &[Arc<Outlet>], one: &Arc<Outlet>| all.iter().any(|o| Arc::ptr_eq(o, one));
        let replaced: Vec<Arc<Outlet>> = next.new.iter().filter_map(|(_, o)| o.clone()).collect();
        for outlet in &replaced {
            outlet.life.end(&outlet.spool);
        }
        let before = std::mem::replace(&mut outlets.taking, next.all.into());
        let mut leaving = std::mem::take(&mut outlets.leaving);
        let gone = |o: &&Arc<Outlet>| !is(&outlets.taking, o) && !is(&replaced, o);
        for gone in before.iter().filter(gone) {
            gone.life.leave(&gone.spool);
            let signal = gone.signal.word();
            tracing::info!(
                destination = gone.ship.name,
                signal,
                "sends what it has and ends"
            );
            leaving.push(Arc::clone(gone));
        }
        // One that has ended has its queue open still, for who comes with that name again.
        leaving.retain(|outlet| !is(&replaced, outlet));
        outlets.leaving = leaving;
        for (outlet, before) in next.new {
            self.send_from(&outlet, before);
        }
    }

    /// Sends what is in a queue, once that is wanted.
    pub(super) fn send_from(&self, outlet: &Arc<Outlet>, before: Option<Arc<Outlet>>) {
        let Some((tasks, stop)) = self.opening.running.get() else {
            return;
        };
        let (outlet, worker, stop) = (Arc::clone(outlet), self.worker.clone(), stop.clone());
        tasks.spawn(async move {
            let place = (before.as_ref().map(|before| &before.life), &*outlet.spool);
            let send = async |stop: CancellationToken| deliver::keep(&outlet, &worker, &stop).await;
            outlet.life.run(place, &stop, send).await;
        });
    }
}
