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

mod changing;
mod counters;
mod deliver;
mod record;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, OnceLock, RwLock};

use obs_model::family::Family;
use obs_model::{LogBatch, MetricBatch, SpanBatch, Tenant};
use obs_storage::queue::{Queue, QueueFrame, QueueOptions};
use obs_storage::{Disk, DiskError, RealDisk, Record};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batch::Batch;
use crate::clock;
use crate::config::Ship;
use crate::decode::Decoder;
use crate::external::External;
use crate::forward::Forwarder;
use crate::sender::Life;
use crate::sink::{Accepted, Inbox, Sink, SinkError, Write};
use crate::spool::{Bounds, Spool, folder_name, groups, print_of};
pub use changing::Next;
use changing::{Opening, Outlets};
use counters::Counters;
use record::{Made, Shipped, Signal};

/// Batches that are made durable together, at most.
const GROUP_MAX: usize = 256;
/// The file with the identity of this agent, which names its batches.
const IDENTITY: &str = "agent.id";

/// All destinations. Clones share them.
#[derive(Clone, Debug)]
pub struct Shipper {
    outlets: Arc<RwLock<Outlets>>,
    opening: Arc<Opening>,
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
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    life: Life,
}

/// What has another place than the destinations, so that it is taken where none wants it.
#[derive(Clone, Debug, Default)]
pub enum Elsewhere {
    /// Nothing: what no destination takes is refused.
    #[default]
    Nothing,
    /// Samples, while they are forwarded by remote write.
    Forwarded(Forwarder),
    /// Everything is stored here.
    All,
}

impl Elsewhere {
    fn has(&self, signal: Signal) -> bool {
        match self {
            Self::Nothing => false,
            Self::Forwarded(forwarder) => signal == Signal::Metrics && !forwarder.is_empty(),
            Self::All => true,
        }
    }

    /// Whether a batch may be queued here and not where it should be besides.
    fn may_differ(&self, signal: Signal) -> bool {
        matches!(self, Self::Forwarded(_)) && self.has(signal)
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
        let opening = Opening {
            agent: identity(&**disk, salt)?,
            disk: Arc::clone(disk),
            bounds,
            salt,
            running: OnceLock::new(),
        };
        let mut outlets = Vec::new();
        for ship in ships {
            outlets.extend(opening.open(Arc::new(ship))?);
        }
        Ok(Self {
            outlets: Arc::new(RwLock::new(Outlets::of(outlets))),
            opening: Arc::new(opening),
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
        let running = (tasks.clone(), stop.clone());
        // Whoever starts it twice has the tasks of the first time.
        if self.opening.running.set(running).is_ok() {
            for outlet in self.taking().iter() {
                self.send_from(outlet, None);
            }
        }
        let (sink, inbox) = Sink::channel(bound);
        let Inbox {
            metrics,
            logs,
            spans,
            ..
        } = inbox;
        let (shipper, other) = (self.clone(), elsewhere.clone());
        tasks.spawn(async move { shipper.drain::<_, MetricBatch>(metrics, other).await });
        let (shipper, other) = (self.clone(), elsewhere.clone());
        tasks.spawn(async move { shipper.drain::<_, LogBatch>(logs, other).await });
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
                self.queue::<B, S>(group, &elsewhere).await;
            }
        }
    }

    /// Makes a group durable and tells its senders.
    async fn queue<B: Batch + Clone + Into<S>, S: Shipped>(
        &self,
        group: Vec<Write<B>>,
        elsewhere: &Elsewhere,
    ) {
        let mut batches = Vec::with_capacity(group.len());
        let mut waiting = Vec::with_capacity(group.len());
        for write in group {
            batches.push((write.tenant, write.batch));
            waiting.push((write.done, write.held));
        }
        let (shipper, elsewhere) = (self.clone(), elsewhere.clone());
        let work = move || shipper.put::<B, S>(batches, &elsewhere);
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

    /// Those that take a signal now.
    fn wanting(&self, signal: Signal) -> Vec<Arc<Outlet>> {
        let all = self.taking();
        let wanting = all.iter().filter(|outlet| outlet.signal == signal);
        wanting.cloned().collect()
    }

    /// Makes the requests of every destination and appends them. Blocks.
    fn put<B: Batch + Clone + Into<S>, S: Shipped>(
        &self,
        mut group: Vec<(Tenant, B)>,
        elsewhere: &Elsewhere,
    ) -> Result<(), SinkError> {
        let wanting = self.wanting(S::SIGNAL);
        if wanting.is_empty() && !elsewhere.has(S::SIGNAL) {
            let reason = format!("no destination takes {}", S::SIGNAL.word());
            return Err(SinkError::Refused { reason });
        }
        // All are asked before the first one gets anything: who is told to come again should not
        // have been taken by some.
        if let Some(error) = wanting.iter().find_map(|o| o.spool.crowded()) {
            return Err(error);
        }
        let known = wanting.len() > 1 || elsewhere.may_differ(S::SIGNAL);
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
        match self.all() {
            none if none.is_empty() => Vec::new(),
            all => counters::families(&all),
        }
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
/// now. Where a queue cannot take a frame, that one and what is behind it stay for the next start.
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
    if old.waiting() == 0 {
        return Ok(());
    }
    // What a start moved that ended before it could note that is not moved again.
    let there: Vec<HashSet<u64>> = outlets.iter().map(|o| o.spool.prints()).collect();
    let mut moved = Ok(());
    while let Some(frame) = old.read_next()? {
        moved = move_frame(&frame, outlets, &there);
        if moved.is_err() {
            break;
        }
        // Each segment that was moved goes at once, which makes room for what follows.
        old.acknowledge(frame.sequence)?;
    }
    if let Err(error) = moved {
        tracing::error!(destination = ship.name, %error, "the rest of an old queue waits for the next start");
    }
    match old.note() {
        // What the queues have of it is known by its content.
        Err(error @ DiskError::Full { .. }) => {
            tracing::error!(destination = ship.name, %error, "what was moved is not noted");
            Ok(())
        }
        told => told,
    }
}

/// Puts what a frame has of each signal into that one's queue, if it is not there.
fn move_frame(
    frame: &QueueFrame,
    outlets: &[Arc<Outlet>],
    there: &[HashSet<u64>],
) -> Result<(), SinkError> {
    for (outlet, there) in outlets.iter().zip(there) {
        let own = frame.records.iter().filter(|(tenant, payload)| {
            let signal = record::read(payload).map(|queued| queued.content.signal());
            signal == Some(outlet.signal) && !there.contains(&print_of(tenant, payload))
        });
        let own: Vec<Record<'_>> = own
            .map(|(tenant, payload)| Record { tenant, payload })
            .collect();
        if !own.is_empty() {
            outlet.spool.append(&own)?;
        }
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
