//! Shipping of whole batches: everything that a sink takes goes to other servers through queues on
//! disk, one for each signal of each destination. An agent ends here; a server ships besides storing.
//!
//! How: what waits in the sink is gathered by tenant, made into the requests that each destination
//! wants (encoded and compressed once), and appended to its queue with one fsync; then the senders
//! are told that it is durable. A task per queue sends what is in it, as it is.
//!
//! Invariants: a batch is acknowledged only when it is durable in the queue of each destination
//! that wants it, and refused where none does; what a destination has may come to it again under the
//! same identity, never not at all; a batch that some queues took and others could not is not taken
//! again by the former when its sender comes again; a queue holds at most its bound of bytes, and
//! when one is full, as configured, senders wait (files are not read on) before anything of theirs
//! is queued, or the oldest batches go, counted; no signal waits for another one.

mod counters;
mod deliver;
mod record;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use obs_model::family::Family;
use obs_model::{LogBatch, MetricBatch, SpanBatch, Tenant};
use obs_storage::queue::{Queue, QueueOptions};
use obs_storage::{Disk, DiskError, RealDisk, Record};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batch::Batch;
use crate::clock;
use crate::config::Ship;
use crate::decode::Decoder;
use crate::external::External;
use crate::sink::{Accepted, Inbox, Sink, SinkError, Write};
use crate::spool::{Bounds, Spool, folder_name, groups};
use counters::Counters;
use record::{Made, Shipped, Signal};

/// Batches that are made durable together, at most.
const GROUP_MAX: usize = 256;
/// The file with the identity of this agent, which names its batches.
const IDENTITY: &str = "agent.id";

/// All destinations. Clones share them.
#[derive(Clone, Debug)]
pub struct Shipper {
    outlets: Arc<[Arc<Outlet>]>,
    /// Making requests, appending and reading block.
    worker: Decoder,
    external: External,
}

/// One signal of a destination and its queue.
#[derive(Debug)]
struct Outlet {
    ship: Arc<Ship>,
    signal: Signal,
    url: String,
    /// Whose batches these are.
    agent: String,
    spool: Spool,
    counters: Counters,
}

/// What has another place than the destinations, so that it is taken where none wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nothing: what no destination takes is refused.
    #[default]
    Nothing,
    /// Samples, which are forwarded by remote write.
    Metrics,
    /// Everything is stored here.
    All,
}

impl Elsewhere {
    fn has(self, signal: Signal) -> bool {
        match self {
            Self::Nothing => false,
            Self::Metrics => signal == Signal::Metrics,
            Self::All => true,
        }
    }
}

impl Shipper {
    /// Opens the queues below a folder. Blocks. `salt` is hard to guess.
    pub fn open(
        folder: &Path,
        bounds: Bounds,
        salt: u32,
        external: &External,
        ships: Vec<Ship>,
    ) -> Result<Self, DiskError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder)?);
        Self::on(&disk, bounds, salt, external, ships)
    }

    /// The same on a disk.
    fn on(
        disk: &Arc<dyn Disk>,
        bounds: Bounds,
        salt: u32,
        external: impl Into<External>,
        ships: Vec<Ship>,
    ) -> Result<Self, DiskError> {
        let agent = identity(&**disk, salt)?;
        let mut outlets = Vec::new();
        for ship in ships {
            let ship = Arc::new(ship);
            let first = outlets.len();
            for signal in Signal::ALL {
                let Some(url) = signal.url(&ship) else {
                    continue;
                };
                let folder = format!("{}.{}", folder_name(&ship.name), signal.word());
                let spool = Spool::open(disk, folder, ship.name.clone(), bounds, salt)?;
                outlets.push(Arc::new(Outlet {
                    signal,
                    url: url.to_owned(),
                    ship: Arc::clone(&ship),
                    agent: agent.clone(),
                    spool,
                    counters: Counters::default(),
                }));
            }
            take_over(disk, &ship, salt, &outlets[first..])?;
        }
        Ok(Self {
            outlets: outlets.into(),
            worker: Decoder::new(2),
            external: external.into(),
        })
    }

    /// A sink that ends here. `bound` batches of each signal, and `bytes_max` bytes of them, may
    /// wait to be queued. Tasks end when `stop` says so (what was not sent by then stays queued) and
    /// when the sink is dropped.
    pub fn start(
        &self,
        (bound, bytes_max): (usize, usize),
        elsewhere: Elsewhere,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Sink {
        for outlet in self.outlets.iter() {
            let (outlet, worker, stop) = (Arc::clone(outlet), self.worker.clone(), stop.clone());
            tasks.spawn(async move { deliver::keep(&outlet, &worker, &stop).await });
        }
        let (sink, inbox) = Sink::channel(bound);
        let Inbox {
            metrics,
            logs,
            spans,
            ..
        } = inbox;
        let shipper = self.clone();
        tasks.spawn(async move { shipper.drain::<_, MetricBatch>(metrics, elsewhere).await });
        let shipper = self.clone();
        tasks.spawn(async move { shipper.drain::<_, LogBatch>(logs, elsewhere).await });
        let shipper = self.clone();
        tasks.spawn(async move { shipper.drain::<_, SpanBatch>(spans, elsewhere).await });
        sink.bounded(bytes_max).ending_in(self.clone())
    }

    /// Queues what comes until nobody can send any more.
    async fn drain<B: Batch + Clone + Into<S>, S: Shipped>(
        &self,
        mut inbox: mpsc::Receiver<Write<B>>,
        elsewhere: Elsewhere,
    ) {
        let mut waiting = Vec::new();
        while inbox.recv_many(&mut waiting, GROUP_MAX).await > 0 {
            let all = std::mem::take(&mut waiting);
            for group in groups(all, |write| write.batch.weight()) {
                self.queue::<B, S>(group, elsewhere).await;
            }
        }
    }

    /// Makes a group durable and tells its senders.
    async fn queue<B: Batch + Clone + Into<S>, S: Shipped>(
        &self,
        group: Vec<Write<B>>,
        elsewhere: Elsewhere,
    ) {
        let mut batches = Vec::with_capacity(group.len());
        let mut waiting = Vec::with_capacity(group.len());
        for write in group {
            batches.push((write.tenant, write.batch));
            waiting.push((write.done, write.held));
        }
        let shipper = self.clone();
        let work = move || shipper.put::<B, S>(batches, elsewhere);
        let outcome = match self.worker.run(usize::MAX, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SinkError::Unavailable {
                reason: "shipping has shut down".to_owned(),
            }),
        };
        for (done, _held) in waiting {
            // Nobody waits any more when the client left.
            done.send(outcome.clone().map(|()| Accepted::default()))
                .ok();
        }
    }

    fn wanting(&self, signal: Signal) -> impl Iterator<Item = &Arc<Outlet>> {
        let wants = move |outlet: &&Arc<Outlet>| outlet.signal == signal;
        self.outlets.iter().filter(wants)
    }

    /// Makes the requests of every destination and appends them. Blocks.
    fn put<B: Batch + Clone + Into<S>, S: Shipped>(
        &self,
        mut group: Vec<(Tenant, B)>,
        elsewhere: Elsewhere,
    ) -> Result<(), SinkError> {
        let wanting: Vec<&Arc<Outlet>> = self.wanting(S::SIGNAL).collect();
        if wanting.is_empty() && !elsewhere.has(S::SIGNAL) {
            let reason = format!("no destination takes {}", S::SIGNAL.word());
            return Err(SinkError::Refused { reason });
        }
        // All are asked before the first one gets anything: who is told to come again should not
        // have been taken by some.
        if let Some(error) = wanting.iter().find_map(|o| o.spool.crowded()) {
            return Err(error);
        }
        let known =
            wanting.len() > 1 || (elsewhere == Elsewhere::Metrics && S::SIGNAL == Signal::Metrics);
        let prints: Vec<u64> = match known {
            true => group.iter().map(|(of, b)| b.fingerprint(of)).collect(),
            false => vec![0; group.len()],
        };
        let now = clock::now();
        let mut told = Ok(());
        for (index, outlet) in wanting.iter().enumerate() {
            let all = match index + 1 == wanting.len() {
                true => std::mem::take(&mut group),
                false => group.clone(),
            };
            let new = all.into_iter().zip(&prints);
            let new = new.filter(|(_, print)| !known || !outlet.spool.has(**print));
            let merged: BTreeMap<Tenant, S> = self.merged(new.map(|(one, _)| one));
            let mut made = Vec::new();
            for (tenant, batch) in merged {
                let requests = batch.made(&outlet.ship, now);
                made.extend(requests.into_iter().map(|one| (tenant.clone(), one)));
            }
            told = outlet.keep(&made);
            if told.is_err() {
                for taken in &wanting[..index] {
                    prints.iter().for_each(|print| taken.spool.remember(*print));
                }
                return told;
            }
        }
        if known {
            for outlet in &wanting {
                prints.iter().for_each(|print| outlet.spool.forget(*print));
            }
        }
        told
    }

    /// The batches of each tenant as one, with the labels that all have.
    fn merged<B: Into<S>, S: Shipped>(
        &self,
        batches: impl Iterator<Item = (Tenant, B)>,
    ) -> BTreeMap<Tenant, S> {
        let external = self.external.get();
        let mut merged = BTreeMap::<Tenant, S>::new();
        for (tenant, batch) in batches {
            let mut batch: S = batch.into();
            if !external.is_empty() {
                batch.label(&external);
            }
            merged.entry(tenant).or_default().join(batch);
        }
        merged
    }

    /// Samples that are queued here are not where they should be besides, and come again.
    pub(crate) fn remember_metrics(&self, fingerprint: u64) {
        for outlet in self.wanting(Signal::Metrics) {
            outlet.spool.remember(fingerprint);
        }
    }

    /// What the destinations tell about themselves.
    pub fn families(&self) -> Vec<Family> {
        counters::families(&self.outlets)
    }
}

/// The identity that is in the folder; made when there is none.
fn identity(disk: &dyn Disk, salt: u32) -> Result<String, DiskError> {
    let read = match disk.blob(IDENTITY) {
        Ok(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        Err(DiskError::Missing { .. }) => None,
        Err(error) => return Err(error),
    };
    let plain = |id: &String| id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(identity) = read.filter(plain) {
        return Ok(identity);
    }
    let identity = format!("{salt:08x}{:016x}", clock::now().nanos());
    match disk.remove(IDENTITY) {
        Ok(()) | Err(DiskError::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    obs_storage::disk::write_new(disk, IDENTITY, identity.as_bytes())?;
    Ok(identity)
}

/// Moves what waits in the one queue that a destination had for all signals to those that it has
/// now. A crash on the way has some of it sent twice.
fn take_over(
    disk: &Arc<dyn Disk>,
    ship: &Ship,
    salt: u32,
    outlets: &[Arc<Outlet>],
) -> Result<(), DiskError> {
    let options = QueueOptions {
        bytes_max: u64::MAX,
        segment_bytes: u64::MAX,
        salt,
    };
    let mut old = Queue::open(Arc::clone(disk), &folder_name(&ship.name), options)?;
    let mut last = None;
    while let Some(frame) = old.read_next()? {
        for outlet in outlets {
            let own = frame.records.iter().filter(|(_, payload)| {
                record::read(payload).is_some_and(|queued| queued.signal == outlet.signal)
            });
            let own: Vec<Record<'_>> = own
                .map(|(tenant, payload)| Record { tenant, payload })
                .collect();
            if !own.is_empty()
                && let Err(error) = outlet.spool.append(&own)
            {
                // It stays where it is, for the next start.
                tracing::error!(destination = ship.name, %error, "an old queue is not moved");
                return Ok(());
            }
        }
        last = Some(frame.sequence);
    }
    if let Some(last) = last {
        old.acknowledge(last)?;
        old.note()?;
    }
    Ok(())
}

impl Outlet {
    /// Appends requests as one group, durably. Blocks.
    fn keep(&self, made: &[(Tenant, Made)]) -> Result<(), SinkError> {
        if made.is_empty() {
            return Ok(());
        }
        let records: Vec<Record<'_>> = made
            .iter()
            .map(|(tenant, one)| Record {
                tenant,
                payload: &one.payload,
            })
            .collect();
        self.spool.append(&records)?;
        for (_, one) in made {
            self.counters.queued(one.items, one.payload.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
