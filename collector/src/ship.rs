//! Shipping of whole batches: everything that a sink takes goes to other servers through a queue on
//! disk per destination. An agent ends here; a server ships besides storing.
//!
//! How: what waits in the sink is gathered by tenant, made into the requests that each destination
//! wants (encoded and compressed once), and appended to its queue with one fsync; then the senders
//! are told that it is durable. A task per destination sends what is queued, as it is.
//!
//! Invariants: a batch is acknowledged only when it is durable in the queue of each destination
//! that wants it; what a destination has may come to it again under the same identity, never not at
//! all; a queue holds at most its bound of bytes, and when one is full, as configured, senders wait
//! (files are not read on) before anything of theirs is queued, or the oldest batches go, counted.

mod counters;
mod deliver;
mod record;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_model::family::Family;
use obs_model::packed::Arriving;
use obs_model::spans::Attribute;
use obs_model::{Labels, LogBatch, MetricBatch, SpanBatch, Tenant, Timestamp};
use obs_storage::queue::{Queue, QueueFrame, QueueOptions};
use obs_storage::{Disk, DiskError, RealDisk, Record};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::config::{Ship, WhenFull};
use crate::decode::Decoder;
use crate::external::External;
use crate::forward::Bounds;
use crate::sink::{Accepted, Inbox, Sink, SinkError, Write};
use counters::Counters;
use record::{Made, Signal};

/// Bytes of one segment of a queue: small enough that little is sent again after a restart.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Batches that are made durable together.
const GROUP_MAX: usize = 256;
/// Bytes of the records of one frame, well below what a frame may have.
const FRAME_BYTES: usize = 16 << 20;
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

/// One destination and its queue.
#[derive(Debug)]
struct Outlet {
    ship: Ship,
    /// Whose batches these are.
    agent: String,
    disk: Arc<dyn Disk>,
    folder: String,
    options: QueueOptions,
    bounds: Bounds,
    /// Whether the queue is to take nothing more, as it was seen last.
    full: AtomicBool,
    /// `None` after a failure, until it is opened again.
    queue: Mutex<Option<Queue>>,
    /// There is something to send.
    wake: Notify,
    counters: Counters,
}

/// Makes a group of batches durable.
type Put<B> = fn(&Shipper, Vec<(Tenant, B)>) -> Result<(), SinkError>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let options = QueueOptions {
            bytes_max: match bounds.when_full {
                WhenFull::DropOldest => bounds.bytes_max,
                // What is not full yet takes one group more.
                WhenFull::Refuse => u64::MAX,
            },
            segment_bytes: SEGMENT_BYTES.min(bounds.bytes_max.max(1)),
            salt,
        };
        let open = |ship: Ship| {
            let folder = crate::forward::folder_name(&ship.name);
            let queue = Queue::open(Arc::clone(disk), &folder, options)?;
            let outlet = Outlet {
                ship,
                agent: agent.clone(),
                disk: Arc::clone(disk),
                folder,
                options,
                bounds,
                full: AtomicBool::new(false),
                queue: Mutex::new(Some(queue)),
                wake: Notify::new(),
                counters: Counters::default(),
            };
            outlet.look(lock(&outlet.queue).as_ref());
            Ok(Arc::new(outlet))
        };
        let outlets: Result<Vec<_>, DiskError> = ships.into_iter().map(open).collect();
        Ok(Self {
            outlets: outlets?.into(),
            worker: Decoder::new(2),
            external: external.into(),
        })
    }

    /// A sink that ends here. `bound` batches of each signal may wait to be queued. Tasks end when
    /// `stop` says so (what was not sent by then stays queued) and when the sink is dropped.
    pub fn start(&self, bound: usize, tasks: &TaskTracker, stop: &CancellationToken) -> Sink {
        for outlet in self.outlets.iter() {
            let (outlet, worker, stop) = (Arc::clone(outlet), self.worker.clone(), stop.clone());
            tasks.spawn(async move { deliver::run(&outlet, &worker, &stop).await });
        }
        let (sink, inbox) = Sink::channel(bound);
        let Inbox {
            metrics,
            logs,
            spans,
            ..
        } = inbox;
        let shipper = self.clone();
        tasks.spawn(async move { shipper.drain(metrics, Self::put_metrics).await });
        let shipper = self.clone();
        tasks.spawn(async move { shipper.drain(logs, Self::put_logs).await });
        let shipper = self.clone();
        tasks.spawn(async move { shipper.drain(spans, Self::put_spans).await });
        sink
    }

    /// Queues what comes until nobody can send any more.
    async fn drain<B: Send + 'static>(&self, mut inbox: mpsc::Receiver<Write<B>>, put: Put<B>) {
        let mut group = Vec::new();
        while inbox.recv_many(&mut group, GROUP_MAX).await > 0 {
            let mut batches = Vec::with_capacity(group.len());
            let mut waiting = Vec::with_capacity(group.len());
            for write in group.drain(..) {
                batches.push((write.tenant, write.batch));
                waiting.push(write.done);
            }
            let shipper = self.clone();
            let work = move || put(&shipper, batches);
            let outcome = match self.worker.run(usize::MAX, work).await {
                Ok(outcome) => outcome,
                Err(_) => Err(SinkError::Unavailable {
                    reason: "shipping has shut down".to_owned(),
                }),
            };
            for done in waiting {
                // Nobody waits any more when the client left.
                done.send(outcome.clone().map(|()| Accepted::default()))
                    .ok();
            }
        }
    }

    fn put_metrics(&self, group: Vec<(Tenant, MetricBatch)>) -> Result<(), SinkError> {
        let external = self.external.get();
        let mut merged = BTreeMap::<Tenant, MetricBatch>::new();
        for (tenant, mut batch) in group {
            for series in &mut batch.series {
                series.labels = with_external(&external, &series.labels);
            }
            let own = merged.entry(tenant).or_default();
            own.series.append(&mut batch.series);
            own.metadata.append(&mut batch.metadata);
        }
        self.put(Signal::Metrics, merged, record::metrics)
    }

    fn put_logs(&self, group: Vec<(Tenant, LogBatch)>) -> Result<(), SinkError> {
        let external = self.external.get();
        let mut merged = BTreeMap::<Tenant, LogBatch>::new();
        for (tenant, mut batch) in group {
            for stream in &mut batch.streams {
                stream.labels = with_external(&external, &stream.labels);
            }
            merged
                .entry(tenant)
                .or_default()
                .streams
                .append(&mut batch.streams);
        }
        self.put(Signal::Logs, merged, record::logs)
    }

    fn put_spans(&self, group: Vec<(Tenant, Arriving)>) -> Result<(), SinkError> {
        let external = self.external.get();
        let mut merged = BTreeMap::<Tenant, SpanBatch>::new();
        for (tenant, batch) in group {
            let mut batch = batch.into_batch();
            for resource in &mut batch.resources {
                let attributes = &mut resource.resource.attributes;
                for (name, value) in &external {
                    if obs_model::spans::attribute(attributes, name).is_none() {
                        attributes.push(Attribute::string(name, value));
                    }
                }
            }
            merged
                .entry(tenant)
                .or_default()
                .resources
                .append(&mut batch.resources);
        }
        self.put(Signal::Traces, merged, record::spans)
    }

    /// Makes the requests of every destination and appends them. Blocks.
    fn put<B>(
        &self,
        signal: Signal,
        merged: BTreeMap<Tenant, B>,
        make: fn(&Ship, B, Timestamp) -> Vec<Made>,
    ) -> Result<(), SinkError>
    where
        B: Clone,
    {
        let wanting: Vec<&Arc<Outlet>> = self.outlets.iter().filter(|o| o.wants(signal)).collect();
        // All are asked before the first one gets anything: who is told to come again should not
        // have been taken by some.
        for outlet in &wanting {
            if outlet.full.load(Ordering::Relaxed) {
                let reason = outlet.full_text();
                return Err(SinkError::Unavailable { reason });
            }
        }
        let now = clock::now();
        let mut merged = merged;
        for (index, outlet) in wanting.iter().enumerate() {
            let last = index + 1 == wanting.len();
            let batches = if last {
                std::mem::take(&mut merged)
            } else {
                merged.clone()
            };
            let mut made = Vec::new();
            for (tenant, batch) in batches {
                let requests = make(&outlet.ship, batch, now);
                made.extend(requests.into_iter().map(|one| (tenant.clone(), one)));
            }
            let kept = outlet.keep(&made);
            kept.map_err(|reason| SinkError::Unavailable { reason })?;
        }
        Ok(())
    }

    /// What the destinations tell about themselves.
    pub fn families(&self) -> Vec<Family> {
        let all = self.outlets.iter().map(|outlet| {
            let queue = lock(&outlet.queue);
            let queued = queue
                .as_ref()
                .map(|q| (q.waiting_bytes(), q.waiting(), q.dropped()));
            let bytes_max = outlet.bounds.bytes_max;
            (
                &*outlet.ship.name,
                &outlet.counters,
                queued.unwrap_or_default(),
                bytes_max,
            )
        });
        counters::families(&all.collect::<Vec<_>>())
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

impl Outlet {
    fn wants(&self, signal: Signal) -> bool {
        self.url(signal).is_some()
    }

    fn url(&self, signal: Signal) -> Option<&str> {
        let url = match signal {
            Signal::Metrics => &self.ship.metrics,
            Signal::Logs => &self.ship.logs,
            Signal::Traces => &self.ship.traces,
        };
        url.as_deref()
    }

    /// Whether its queue is to take nothing more.
    fn look(&self, queue: Option<&Queue>) {
        let full = queue.is_some_and(|q| q.waiting_bytes() >= self.bounds.bytes_max);
        let full = full && self.bounds.when_full == WhenFull::Refuse;
        self.full.store(full, Ordering::Relaxed);
    }

    fn full_text(&self) -> String {
        format!(
            "the queue of what waits to be sent to {} has obs.collector.buffer.max_size = {} \
             bytes; send again later",
            self.ship.name, self.bounds.bytes_max
        )
    }

    /// Appends requests, durably. Blocks.
    fn keep(&self, made: &[(Tenant, Made)]) -> Result<(), String> {
        let mut queue = lock(&self.queue);
        let mut rest = made;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|(_, one)| {
                bytes += one.payload.len();
                bytes <= FRAME_BYTES
            });
            let (frame, behind) = rest.split_at(fits.count().max(1));
            let records: Vec<Record<'_>> = frame
                .iter()
                .map(|(tenant, one)| Record {
                    tenant,
                    payload: &one.payload,
                })
                .collect();
            let appended = self.opened(&mut queue).and_then(|q| q.append(&records));
            if let Err(error) = appended {
                // What is on disk is read again when it is opened again.
                *queue = None;
                self.counters.fault();
                return Err(format!("not queued for {}: {error}", self.ship.name));
            }
            for (_, one) in frame {
                self.counters.queued(one.items, one.payload.len());
            }
            rest = behind;
        }
        self.look(queue.as_ref());
        self.wake.notify_one();
        Ok(())
    }

    /// The queue, opened again after a failure.
    fn opened<'a>(&self, queue: &'a mut Option<Queue>) -> Result<&'a mut Queue, DiskError> {
        if queue.is_none() {
            let opened = Queue::open(Arc::clone(&self.disk), &self.folder, self.options)?;
            *queue = Some(opened);
        }
        queue.as_mut().ok_or_else(|| DiskError::Missing {
            path: self.folder.clone(),
        })
    }

    /// The next frame to send. Blocks.
    fn next(&self) -> Result<Option<QueueFrame>, DiskError> {
        let mut queue = lock(&self.queue);
        let queue = self.opened(&mut queue)?;
        let frame = queue.read_next()?;
        for damage in queue.take_damage() {
            tracing::error!(destination = self.ship.name, %damage, "the queue is damaged");
            self.counters.fault();
        }
        Ok(frame)
    }

    /// The destination has everything up to a frame. Blocks.
    fn acknowledge(&self, sequence: u64, note: bool) {
        let mut queue = lock(&self.queue);
        let done = self.opened(&mut queue).and_then(|queue| {
            queue.acknowledge(sequence)?;
            match note {
                true => queue.note(),
                false => Ok(()),
            }
        });
        self.look(queue.as_ref());
        if let Err(error) = done {
            tracing::error!(destination = self.ship.name, %error, "the queue cannot be noted");
            self.counters.fault();
        }
    }
}

fn with_external(external: &Labels, labels: &Labels) -> Labels {
    if external.is_empty() {
        return labels.clone();
    }
    let mut builder = labels.to_builder();
    for (name, value) in external {
        if labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests;
