//! Forwarding of samples by remote write: everything that was stored here also goes to other
//! servers, through a queue on disk.
//!
//! Invariants: a batch is acknowledged to its sender only when it is durable in the store and in
//! the queue of each destination, so that `kill -9` loses nothing on its way; what the store refused
//! is not forwarded; what a destination has may come to it again, never not at all. A destination
//! that is slow or away costs disk up to a bound. Then, as configured, senders are told to come
//! again (and what is scraped is stored, but not queued, and counted), or the oldest data goes from
//! the queue, counted too.

mod counters;
mod deliver;
mod request;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_model::family::Family;
use obs_model::metrics::{MetricBatch, Sample, Series};
use obs_model::{Tenant, Value};
use obs_storage::queue::{Queue, QueueFrame, QueueOptions};
use obs_storage::{Disk, DiskError, RealDisk, Record};
use obs_wire::prometheus::remote_write::v2;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{RemoteWrite, WhenFull};
use crate::decode::Decoder;
use crate::external::External;
use crate::relabel;
use counters::Counters;

/// Bytes of one segment of a queue: small enough that little is sent again after a restart.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Bytes of a queue where nothing is configured.
pub const QUEUE_BYTES_DEFAULT: u64 = 1 << 30;

/// All destinations. Clones share them.
#[derive(Clone, Debug)]
pub struct Forwarder {
    destinations: Arc<[Arc<Destination>]>,
    /// Appending and reading block; so does making requests of large batches.
    worker: Decoder,
}

/// One destination and its queue.
#[derive(Debug)]
struct Destination {
    config: RemoteWrite,
    /// Put on every series that does not have them.
    external: External,
    disk: Arc<dyn Disk>,
    folder: String,
    options: QueueOptions,
    bytes_max: u64,
    when_full: WhenFull,
    /// Whether the queue is to take nothing more, as it was seen last: nobody waits for its lock,
    /// which is held across the disk, to know that.
    full: AtomicBool,
    /// `None` after a failure, until it is opened again.
    queue: Mutex<Option<Queue>>,
    /// Batches that wait to be written together.
    entering: Mutex<Vec<Entering>>,
    /// There is something to send.
    wake: Notify,
    counters: Counters,
}

#[derive(Debug)]
struct Entering {
    tenant: Tenant,
    record: Vec<u8>,
    samples: u64,
    done: oneshot::Sender<Result<(), String>>,
}

/// What of a batch goes to one destination.
#[derive(Debug)]
pub(crate) struct Prepared {
    destination: usize,
    record: Vec<u8>,
    samples: u64,
    unsent_histograms: u64,
    highest_millis: Option<i64>,
}

/// How queues are kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of each.
    pub bytes_max: u64,
    /// What happens then.
    pub when_full: WhenFull,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forwarder {
    /// Opens the queues below a folder. Blocks.
    pub fn open(
        folder: &Path,
        bounds: Bounds,
        salt: u32,
        external: &External,
        configs: Vec<RemoteWrite>,
    ) -> Result<Self, DiskError> {
        Self::on(
            Arc::new(RealDisk::open(folder)?),
            bounds,
            salt,
            external,
            configs,
        )
    }

    /// The same on a disk.
    fn on(
        disk: Arc<dyn Disk>,
        Bounds {
            bytes_max,
            when_full,
        }: Bounds,
        salt: u32,
        external: impl Into<External>,
        configs: Vec<RemoteWrite>,
    ) -> Result<Self, DiskError> {
        let options = QueueOptions {
            bytes_max: match when_full {
                WhenFull::DropOldest => bytes_max,
                // What is not full yet takes one group more.
                WhenFull::Refuse => u64::MAX,
            },
            segment_bytes: SEGMENT_BYTES.min(bytes_max.max(1)),
            salt,
        };
        let external = external.into();
        let open = |config: RemoteWrite| {
            let folder = folder_name(&config.name);
            let queue = Queue::open(Arc::clone(&disk), &folder, options)?;
            let destination = Destination {
                config,
                external: external.clone(),
                disk: Arc::clone(&disk),
                folder,
                options,
                bytes_max,
                when_full,
                full: AtomicBool::new(false),
                queue: Mutex::new(Some(queue)),
                entering: Mutex::default(),
                wake: Notify::new(),
                counters: Counters::default(),
            };
            destination.look(lock(&destination.queue).as_ref());
            Ok(Arc::new(destination))
        };
        let destinations: Result<Vec<_>, DiskError> = configs.into_iter().map(open).collect();
        Ok(Self {
            destinations: destinations?.into(),
            worker: Decoder::new(2),
        })
    }

    /// Starts sending; ends when `stop` says so. What was not sent by then stays in the queue.
    pub fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for destination in self.destinations.iter() {
            let (destination, worker) = (Arc::clone(destination), self.worker.clone());
            let stop = stop.clone();
            tasks.spawn(async move { deliver::run(&destination, &worker, &stop).await });
        }
    }

    /// Makes what each destination is to get of a batch; gives the batch back.
    pub(crate) async fn prepare(&self, batch: MetricBatch) -> Option<(MetricBatch, Vec<Prepared>)> {
        let destinations = Arc::clone(&self.destinations);
        // About what it costs to write a sample.
        let cost = batch.sample_count().saturating_mul(64);
        let work = move || {
            let all = destinations.iter().enumerate();
            let prepared = all.filter_map(|(index, destination)| destination.record(index, &batch));
            let prepared = prepared.collect();
            (batch, prepared)
        };
        self.worker.run(cost, work).await.ok()
    }

    /// Why nothing more can be queued now, if that is so: senders are told before anything of
    /// theirs is stored.
    pub(crate) fn crowded(&self) -> Option<String> {
        let full = |destination: &&Arc<Destination>| destination.full.load(Ordering::Relaxed);
        let destination = self.destinations.iter().find(full)?;
        Some(destination.full())
    }

    /// Puts what was prepared into the queues, durably. What a queue cannot take is counted and
    /// logged, and the error says why; the other queues get it all the same.
    pub(crate) async fn keep(
        &self,
        tenant: &Tenant,
        prepared: Vec<Prepared>,
    ) -> Result<(), String> {
        let mut outcome = Ok(());
        for one in prepared {
            let destination = &self.destinations[one.destination];
            destination.counters.came_in(one.highest_millis);
            destination
                .counters
                .unsent_histograms(one.unsent_histograms);
            let (done, written) = oneshot::channel();
            lock(&destination.entering).push(Entering {
                tenant: tenant.clone(),
                record: one.record,
                samples: one.samples,
                done,
            });
            let writer = Arc::clone(destination);
            // Whoever comes first writes for all that wait.
            let ran = self.worker.run(usize::MAX, move || writer.write()).await;
            let written = match ran {
                Ok(()) => written
                    .await
                    .unwrap_or_else(|_| Err("it was lost".to_owned())),
                Err(_) => Err("forwarding has shut down".to_owned()),
            };
            if let Err(reason) = written {
                tracing::error!(
                    remote_name = destination.config.name,
                    samples = one.samples,
                    reason,
                    "samples were stored, but not queued for forwarding"
                );
                let name = &destination.config.name;
                outcome = Err(format!("stored, but not queued for {name}: {reason}"));
            }
        }
        outcome
    }

    /// What the destinations tell about themselves, by Prometheus' names.
    pub fn families(&self) -> Vec<Family> {
        let all = self.destinations.iter().map(|destination| {
            let queue = lock(&destination.queue);
            let queued = queue
                .as_ref()
                .map(|q| (q.bytes(), q.waiting(), q.dropped()));
            (
                &destination.config,
                &destination.counters,
                queued.unwrap_or_default(),
            )
        });
        counters::families(&all.collect::<Vec<_>>())
    }
}

/// A name of a folder for any name of a destination.
pub(crate) fn folder_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut folder = String::new();
    for c in name.chars() {
        if plain(c) {
            folder.push(c);
        } else {
            folder.push_str(&format!("_{:x}_", u32::from(c)));
        }
    }
    folder
}

impl Destination {
    /// Whether its queue is to take nothing more.
    fn look(&self, queue: Option<&Queue>) -> bool {
        let full = queue.is_some_and(|q| q.waiting_bytes() >= self.bytes_max);
        let full = full && self.when_full == WhenFull::Refuse;
        self.full.store(full, Ordering::Relaxed);
        full
    }

    /// The same in words for the sender.
    fn full(&self) -> String {
        format!(
            "the queue of what waits to be forwarded to {} has obs.collector.buffer.max_size = {} \
             bytes; send again later",
            self.config.name, self.bytes_max
        )
    }

    /// What of a batch is to be sent; none where nothing is.
    fn record(&self, index: usize, batch: &MetricBatch) -> Option<Prepared> {
        let mut out = MetricBatch {
            metadata: batch.metadata.clone(),
            ..MetricBatch::default()
        };
        let mut unsent_histograms = 0;
        let external = self.external.get();
        for series in &batch.series {
            let mut labels = series.labels.to_builder();
            for (name, value) in &external {
                if series.labels.get(name).is_none() {
                    labels.set(name, value);
                }
            }
            if !relabel::apply(&self.config.relabel, &mut labels) {
                continue;
            }
            let labels = labels.build();
            if labels.is_empty() {
                continue;
            }
            let sent =
                |s: &&Sample| self.config.histograms || !matches!(s.value, Value::Histogram(_));
            let samples: Vec<Sample> = series.samples.iter().filter(sent).cloned().collect();
            let unsent = series.samples.len() - samples.len();
            unsent_histograms += unsent as u64;
            let exemplars = if self.config.exemplars {
                series.exemplars.clone()
            } else {
                Vec::new()
            };
            if !samples.is_empty() || !exemplars.is_empty() {
                let mut sent = Series {
                    labels,
                    samples,
                    ..Series::default()
                };
                sent.exemplars = exemplars;
                out.series.push(sent);
            }
        }
        if out.series.is_empty() {
            self.counters.unsent_histograms(unsent_histograms);
            return None;
        }
        let samples = out.series.iter().flat_map(|series| &series.samples);
        let mut record = Vec::new();
        v2::encode(&out, &mut record);
        Some(Prepared {
            destination: index,
            record,
            samples: out.sample_count() as u64,
            unsent_histograms,
            highest_millis: samples.map(|sample| sample.time.millis()).max(),
        })
    }

    /// Writes everything that waits as one group. Blocks.
    fn write(&self) {
        let mut queue = lock(&self.queue);
        let group = std::mem::take(&mut *lock(&self.entering));
        if group.is_empty() {
            return;
        }
        let records: Vec<Record<'_>> = group
            .iter()
            .map(|entering| Record {
                tenant: &entering.tenant,
                payload: &entering.record,
            })
            .collect();
        let written = match self.look(queue.as_ref()) {
            true => Err(self.full()),
            false => self.append(&mut queue, &records),
        };
        self.look(queue.as_ref());
        drop(records);
        match &written {
            Ok(()) => self.wake.notify_one(),
            Err(_) => self.counters.lost(group.iter().map(|e| e.samples).sum()),
        }
        for entering in group {
            // Nobody waits any more when the client left.
            entering.done.send(written.clone()).ok();
        }
    }

    fn append(&self, queue: &mut Option<Queue>, records: &[Record<'_>]) -> Result<(), String> {
        let appended = self.opened(queue).and_then(|q| q.append(records));
        appended.map(|_| ()).map_err(|error| {
            // What is on disk is read again when it is opened again.
            *queue = None;
            error.to_string()
        })
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
            tracing::error!(remote_name = self.config.name, %damage, "the queue is damaged");
        }
        Ok(frame)
    }

    /// The destination has everything up to a frame. Blocks.
    fn acknowledge(&self, sequence: u64) {
        let mut queue = lock(&self.queue);
        let done = self.opened(&mut queue).and_then(|queue| {
            queue.acknowledge(sequence)?;
            queue.note()
        });
        self.look(queue.as_ref());
        if let Err(error) = done {
            tracing::error!(remote_name = self.config.name, %error, "the queue cannot be noted");
        }
    }
}

#[cfg(test)]
mod tests;
