//! Forwarding of samples by remote write: everything that was stored here also goes to other
//! servers, through a queue on disk.
//!
//! Invariants: a batch is acknowledged to its sender only when it is durable in the store and in
//! the queue of each destination, so that `kill -9` loses nothing on its way; what the store refused
//! is not forwarded; what a destination has may come to it again, never not at all. A destination
//! that is slow or away costs disk up to a bound. Then, as configured, senders are told to come
//! again (and what is scraped is stored, but not queued, and counted), or the oldest data goes from
//! the queue, counted too.

mod changing;
mod counters;
mod deliver;
mod request;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use obs_model::family::Family;
use obs_model::metrics::{MetricBatch, Sample, Series};
use obs_model::{Tenant, Value};
use obs_storage::{Disk, DiskError, RealDisk, Record};
use obs_wire::prometheus::remote_write::v2;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::RemoteWrite;
use crate::decode::Decoder;
use crate::external::External;
use crate::relabel;
use crate::sender::Life;
use crate::sink::SinkError;
pub use crate::spool::{Bounds, QUEUE_BYTES_DEFAULT};
use crate::spool::{Spool, groups, lock, print_of};
pub use changing::Next;
use changing::{Destinations, Opening};
use counters::Counters;

/// All destinations. Clones share them.
#[derive(Clone, Debug)]
pub struct Forwarder {
    destinations: Arc<RwLock<Destinations>>,
    opening: Arc<Opening>,
    /// Appending and reading block; so does making requests of large batches.
    worker: Decoder,
}

/// One destination and its queue.
#[derive(Debug)]
struct Destination {
    config: RemoteWrite,
    /// Put on every series that does not have them.
    external: External,
    spool: Arc<Spool>,
    /// Batches that wait to be written together.
    entering: Mutex<Vec<Entering>>,
    /// Who writes for all that wait.
    writing: Mutex<()>,
    counters: Arc<Counters>,
    life: Life,
}

#[derive(Debug)]
struct Entering {
    tenant: Tenant,
    record: Vec<u8>,
    samples: u64,
    done: oneshot::Sender<Result<(), SinkError>>,
}

/// What of a batch goes to one destination.
#[derive(Debug)]
pub(crate) struct Prepared {
    destination: Arc<Destination>,
    record: Vec<u8>,
    samples: u64,
    unsent_histograms: u64,
    highest_millis: Option<i64>,
}

/// Where a batch is queued, and by what it is known there.
#[derive(Debug, Default)]
pub(crate) struct Taken(Vec<(Arc<Destination>, u64)>);

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
        bounds: Bounds,
        salt: u32,
        external: impl Into<External>,
        configs: Vec<RemoteWrite>,
    ) -> Result<Self, DiskError> {
        let opening = Opening {
            disk,
            bounds,
            salt,
            external: external.into(),
            running: OnceLock::new(),
        };
        let open = |config: RemoteWrite| opening.open(config, None);
        let destinations: Result<Vec<_>, DiskError> = configs.into_iter().map(open).collect();
        Ok(Self {
            destinations: Arc::new(RwLock::new(Destinations::of(destinations?))),
            opening: Arc::new(opening),
            worker: Decoder::new(2),
        })
    }

    /// Starts sending; ends when `stop` says so. What was not sent by then stays in the queue.
    pub fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let running = (tasks.clone(), stop.clone());
        // Whoever starts it twice has the tasks of the first time.
        if self.opening.running.set(running).is_ok() {
            for destination in self.taking().iter() {
                self.send_from(destination, None);
            }
        }
    }

    /// Makes what each destination is to get of a batch; gives the batch back.
    pub(crate) async fn prepare(&self, batch: MetricBatch) -> Option<(MetricBatch, Vec<Prepared>)> {
        let destinations = self.taking();
        // About what it costs to write a sample.
        let cost = batch.sample_count().saturating_mul(64);
        let work = move || {
            let prepared = destinations.iter().filter_map(|to| to.record(&batch));
            let prepared = prepared.collect();
            (batch, prepared)
        };
        self.worker.run(cost, work).await.ok()
    }

    /// Why nothing more can be queued now, if that is so: senders are told before anything of
    /// theirs is stored.
    pub(crate) fn crowded(&self) -> Option<SinkError> {
        self.taking().iter().find_map(|d| d.spool.crowded())
    }

    /// Puts what was prepared into the queues, durably. What a queue cannot take is counted and
    /// logged, and the error says why; the other queues get it all the same, and do not get it
    /// again when its sender comes again.
    pub(crate) async fn keep(
        &self,
        tenant: &Tenant,
        prepared: Vec<Prepared>,
    ) -> Result<Taken, SinkError> {
        let (mut outcome, mut taken) = (Ok(()), Taken::default());
        for one in prepared {
            let destination = Arc::clone(&one.destination);
            let print = print_of(tenant, &one.record);
            if destination.spool.has(print) {
                taken.0.push((destination, print));
                continue;
            }
            destination.counters.came_in(one.highest_millis);
            destination
                .counters
                .unsent_histograms(one.unsent_histograms);
            match self.enter(tenant, one).await {
                Ok(()) => taken.0.push((destination, print)),
                Err(error) => outcome = Err(error),
            }
        }
        match outcome {
            Ok(()) => {
                for (destination, print) in &taken.0 {
                    destination.spool.forget(*print);
                }
                Ok(taken)
            }
            Err(error) => {
                self.remember(&taken);
                Err(error)
            }
        }
    }

    /// A batch that is queued here is not where it should be besides, and comes again.
    pub(crate) fn remember(&self, taken: &Taken) {
        for (destination, print) in &taken.0 {
            destination.spool.remember(*print);
        }
    }

    async fn enter(&self, tenant: &Tenant, one: Prepared) -> Result<(), SinkError> {
        let destination = one.destination;
        let (done, written) = oneshot::channel();
        lock(&destination.entering).push(Entering {
            tenant: tenant.clone(),
            record: one.record,
            samples: one.samples,
            done,
        });
        let writer = Arc::clone(&destination);
        // Whoever comes first writes for all that wait.
        let ran = self.worker.run(usize::MAX, move || writer.write()).await;
        let lost = |reason: &str| {
            Err(SinkError::Unavailable {
                reason: reason.to_owned(),
            })
        };
        let written = match ran {
            Ok(()) => written.await.unwrap_or_else(|_| lost("it was lost")),
            Err(_) => lost("forwarding has shut down"),
        };
        if let Err(error) = &written {
            tracing::error!(
                remote_name = destination.config.name,
                samples = one.samples,
                %error,
                "samples were taken in, but not queued for forwarding"
            );
        }
        written
    }

    /// What the destinations tell about themselves, by Prometheus' names.
    pub fn families(&self) -> Vec<Family> {
        let all = self.all();
        let all = all.iter().map(|destination| {
            let held = destination.spool.held();
            (
                &destination.config,
                &*destination.counters,
                (held.bytes, held.frames, held.dropped),
            )
        });
        counters::families(&all.collect::<Vec<_>>())
    }
}

impl Destination {
    /// What of a batch is to be sent; none where nothing is.
    fn record(self: &Arc<Self>, batch: &MetricBatch) -> Option<Prepared> {
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
        if out.series.is_empty() && (out.metadata.is_empty() || !self.config.tells_families()) {
            self.counters.unsent_histograms(unsent_histograms);
            return None;
        }
        let samples = out.series.iter().flat_map(|series| &series.samples);
        let mut record = Vec::new();
        v2::encode_whole(&out, &mut record);
        Some(Prepared {
            destination: Arc::clone(self),
            record,
            samples: out.sample_count() as u64,
            unsent_histograms,
            highest_millis: samples.map(|sample| sample.time.millis()).max(),
        })
    }

    /// Writes everything that waits, in groups. Blocks.
    fn write(&self) {
        let _writing = lock(&self.writing);
        let waiting = std::mem::take(&mut *lock(&self.entering));
        for group in groups(waiting, |entering| entering.record.len()) {
            let records: Vec<Record<'_>> = group
                .iter()
                .map(|entering| Record {
                    tenant: &entering.tenant,
                    payload: &entering.record,
                })
                .collect();
            let written = self.spool.append(&records);
            drop(records);
            if written.is_err() {
                self.counters.lost(group.iter().map(|e| e.samples).sum());
            }
            for entering in group {
                // Nobody waits any more when the client left.
                entering.done.send(written.clone()).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests;
