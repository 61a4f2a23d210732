//! Tail sampling: spans wait in a queue on disk until it is decided whether their trace is kept.
//!
//! Invariants: what was acknowledged is durable at every moment, first in the queue, then in the
//! store, and leaves the queue only after that; what a policy leaves out is counted; where the
//! queue cannot take spans they go to the store without a decision. After a restart everything
//! that waited is kept, because nothing is known of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use obs_collector::derive::{Decided, Sampler, Sampling as Setting};
use obs_model::family::Family;
use obs_model::metrics::MetricKind::{Counter, Gauge};
use obs_model::{Labels, SpanBatch, Tenant, Timestamp};
use obs_storage::queue::{Queue, QueueFrame, QueueOptions};
use obs_storage::{Disk, Record, Store};
use obs_tracestore::Spans;

use crate::clock;

/// The folder of the queue in the data directory.
const FOLDER: &str = "sampling";
/// Bytes at which a segment of the queue ends.
const SEGMENT_BYTES: u64 = 32 << 20;
/// Bytes that are stored together.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Between two looks at what has waited long enough.
const PERIOD: Duration = Duration::from_secs(1);
/// A record begins with the time at which it came, in nanoseconds.
const TIME_BYTES: usize = 8;

/// The spans that wait; none by default.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    queue: Option<Mutex<Queue>>,
    /// Who decides; without one everything is kept.
    sampler: Option<Mutex<Sampler>>,
    bytes_max: u64,
    kept: AtomicU64,
    unknown: AtomicU64,
    dropped: AtomicU64,
    passed_by: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frames that have waited long enough, decided.
#[derive(Debug, Default)]
struct Group {
    records: Vec<(Tenant, Vec<u8>)>,
    bytes: usize,
    last: Option<u64>,
}

impl Sampling {
    /// Opens the queue, also where nothing is sampled any more: something may wait. Blocks.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        setting: Option<Setting>,
        salt: u32,
    ) -> anyhow::Result<Self> {
        let options = QueueOptions {
            // What is too much passes the queue by; nothing is dropped from it.
            bytes_max: u64::MAX,
            segment_bytes: SEGMENT_BYTES,
            salt,
        };
        let mut queue = Queue::open(Arc::clone(disk), FOLDER, options)
            .context("open the queue of spans that wait to be sampled")?;
        for damage in queue.take_damage() {
            tracing::error!(%damage, "spans that waited to be sampled are damaged");
        }
        if setting.is_none() && queue.waiting() == 0 {
            return Ok(Self::default());
        }
        Ok(Self {
            queue: Some(Mutex::new(queue)),
            bytes_max: setting.as_ref().map_or(0, |setting| setting.bytes_max),
            sampler: setting.map(|setting| Mutex::new(Sampler::new(setting))),
            ..Self::default()
        })
    }

    /// Whether anything is held.
    pub(crate) fn is_on(&self) -> bool {
        self.queue.is_some() && self.sampler.is_some()
    }

    /// Takes spans that are admitted into the queue; `true` when they are durable there.
    pub(crate) fn hold(&self, tenant: &Tenant, batch: &SpanBatch) -> bool {
        let (Some(queue), Some(sampler)) = (&self.queue, &self.sampler) else {
            return false;
        };
        let now = clock::now();
        lock(sampler).see(tenant, batch, now);
        let mut payload = now.nanos().to_le_bytes().to_vec();
        obs_tracestore::encode(batch, &mut payload);
        let record = Record {
            tenant,
            payload: &payload,
        };
        let mut queue = lock(queue);
        let held = queue.waiting_bytes() < self.bytes_max
            && match queue.append(&[record]) {
                Ok(_) => true,
                Err(error) => {
                    tracing::error!(%error, "spans are stored without sampling");
                    false
                }
            };
        if !held {
            let spans = batch.span_count() as u64;
            self.passed_by.fetch_add(spans, Ordering::Relaxed);
        }
        held
    }

    /// Starts to decide, where there is something to decide.
    pub(crate) fn start(self: &Arc<Self>, store: &Arc<Store<Spans>>) -> std::io::Result<Deciding> {
        if self.queue.is_none() {
            return Ok(Deciding(None));
        }
        let (stop, stopped) = channel();
        let (own, store) = (Arc::clone(self), Arc::clone(store));
        let thread = std::thread::Builder::new()
            .name("sample-spans".to_owned())
            .spawn(move || own.run(&store, &stopped))?;
        Ok(Deciding(Some((stop, thread))))
    }

    fn run(&self, store: &Store<Spans>, stopped: &Receiver<()>) {
        let mut progress = Progress::default();
        while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = self.round(store, &mut progress, clock::now()) {
                tracing::error!(%error, "spans that were sampled wait to be stored");
            }
        }
    }

    /// Decides all that has waited long enough at `now`, and stores what is kept. After an error
    /// the next round goes on where this one ended.
    fn round(
        &self,
        store: &Store<Spans>,
        progress: &mut Progress,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let Some(queue) = &self.queue else {
            return Ok(());
        };
        let wait = self.sampler.as_ref();
        let wait = wait.map_or(0, |sampler| lock(sampler).setting().wait_nanos);
        let until = now.saturating_sub(wait);
        loop {
            if progress.group.last.is_none() {
                self.gather(queue, progress, until)?;
            }
            let Some(last) = progress.group.last else {
                break;
            };
            let records = progress.group.records.iter();
            let record = |(tenant, payload)| Record { tenant, payload };
            let records = records.map(|(tenant, payload)| record((tenant, payload.as_slice())));
            let records: Vec<Record<'_>> = records.collect();
            if !records.is_empty() {
                store.append(&records)?;
            }
            progress.group = Group::default();
            lock(queue).acknowledge(last)?;
        }
        let mut queue = lock(queue);
        for damage in queue.take_damage() {
            tracing::error!(%damage, "spans that waited to be sampled are damaged");
        }
        queue.note()?;
        Ok(())
    }

    /// Reads frames that came until a time, and decides them.
    fn gather(
        &self,
        queue: &Mutex<Queue>,
        progress: &mut Progress,
        until: Timestamp,
    ) -> anyhow::Result<()> {
        while progress.group.bytes < GROUP_BYTES_MAX {
            let frame = match progress.next.take() {
                Some(frame) => Some(frame),
                None => lock(queue).read_next()?,
            };
            let Some(frame) = frame else { break };
            if came(&frame).is_some_and(|time| time > until) {
                progress.next = Some(frame);
                break;
            }
            self.decide(&frame, &mut progress.group);
        }
        Ok(())
    }

    fn decide(&self, frame: &QueueFrame, group: &mut Group) {
        group.last = Some(frame.sequence);
        for (tenant, record) in &frame.records {
            let payload = record.get(TIME_BYTES..).unwrap_or_default();
            let mut batch = match obs_tracestore::decode(payload) {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::error!(%error, "spans that waited to be sampled cannot be read");
                    continue;
                }
            };
            let decided = match &self.sampler {
                Some(sampler) => lock(sampler).decide(tenant, &mut batch),
                None => Decided {
                    unknown: batch.span_count() as u64,
                    ..Decided::default()
                },
            };
            self.kept.fetch_add(decided.kept, Ordering::Relaxed);
            self.unknown.fetch_add(decided.unknown, Ordering::Relaxed);
            self.dropped.fetch_add(decided.dropped, Ordering::Relaxed);
            if batch.span_count() == 0 {
                continue;
            }
            let kept = if decided.dropped == 0 {
                payload.to_vec()
            } else {
                let mut kept = Vec::new();
                obs_tracestore::encode(&batch, &mut kept);
                kept
            };
            group.bytes += kept.len();
            group.records.push((tenant.clone(), kept));
        }
    }

    /// What it says of itself.
    pub(crate) fn families(&self) -> Vec<Family> {
        let Some(queue) = &self.queue else {
            return Vec::new();
        };
        let mut spans = Family::new(
            "obs_sampling_spans_total",
            Counter,
            "Spans by what tail sampling decided: kept, dropped, unknown (kept because nothing \
             was known of their trace), passed_by (stored at once for want of a queue).",
        );
        for (outcome, counter) in [
            ("kept", &self.kept),
            ("dropped", &self.dropped),
            ("unknown", &self.unknown),
            ("passed_by", &self.passed_by),
        ] {
            let labels = Labels::from_pairs([("outcome", outcome)]);
            spans.push(labels, counter.load(Ordering::Relaxed) as f64);
        }
        let waiting = Family::new(
            "obs_sampling_waiting_bytes",
            Gauge,
            "Bytes of spans that wait for a decision.",
        );
        vec![spans, waiting.with(lock(queue).waiting_bytes() as f64)]
    }
}

/// How far the reading of the queue is.
#[derive(Debug, Default)]
struct Progress {
    /// A frame that was read and has not waited long enough.
    next: Option<QueueFrame>,
    /// What is decided and not stored.
    group: Group,
}

/// When a frame came in; `None` for one that has no record.
fn came(frame: &QueueFrame) -> Option<Timestamp> {
    let (_, record) = frame.records.first()?;
    let time = record.first_chunk::<TIME_BYTES>()?;
    Some(Timestamp::from_nanos(i64::from_le_bytes(*time)))
}

/// The thread that decides, if there is one.
#[derive(Debug)]
pub(crate) struct Deciding(Option<(Sender<()>, JoinHandle<()>)>);

impl Deciding {
    /// Stops after the round that runs now.
    pub(crate) fn stop(self) {
        let Some((stop, thread)) = self.0 else {
            return;
        };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the thread that samples spans panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{ResourceSpans, ScopeSpans, StatusCode};
    use obs_model::{Budget, Span, SpanId, TraceId};
    use obs_storage::{Options, SimDisk};

    use super::*;

    fn batch(trace: u8, span: u8, status: StatusCode) -> SpanBatch {
        let span = Span {
            trace_id: TraceId([trace; 16]),
            span_id: SpanId([span; 8]),
            start: Timestamp::from_seconds(1),
            end: Timestamp::from_seconds(2),
            status,
            ..Span::default()
        };
        SpanBatch {
            resources: vec![ResourceSpans {
                scopes: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    fn setting() -> Setting {
        Setting {
            ratio: 0.0,
            rare_per_minute: 0,
            ..Setting::default()
        }
    }

    fn stored(store: &Store<Spans>, trace: u8) -> usize {
        let snapshot = store.snapshot(&Tenant::anonymous());
        let budget = Budget::new(&obs_model::limits::Limits::default());
        let found = obs_tracestore::trace(&snapshot, TraceId([trace; 16]), &budget);
        found
            .expect("readable")
            .map_or(0, |batch| batch.span_count())
    }

    #[test]
    fn failed_traces_are_kept_and_nothing_is_lost_by_a_crash() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(3));
        let store: Store<Spans> =
            Store::open(Arc::clone(&disk), Options::default(), &|_| {}).expect("a store");
        let tenant = Tenant::anonymous();
        let sampling = Sampling::open(&disk, Some(setting()), 1).expect("a queue");
        for (trace, span, status) in [
            (1, 1, StatusCode::Unset),
            (2, 1, StatusCode::Unset),
            (1, 2, StatusCode::Error),
        ] {
            assert!(sampling.hold(&tenant, &batch(trace, span, status)));
        }
        let mut progress = Progress::default();
        sampling
            .round(&store, &mut progress, clock::now())
            .expect("no fault");
        assert_eq!((stored(&store, 1), stored(&store, 2)), (0, 0));
        let later = clock::now().saturating_add(setting().wait_nanos + 1);
        sampling
            .round(&store, &mut progress, later)
            .expect("no fault");
        assert_eq!((stored(&store, 1), stored(&store, 2)), (2, 0));
        assert_eq!(sampling.dropped.load(Ordering::Relaxed), 1);
        assert!(sampling.hold(&tenant, &batch(3, 1, StatusCode::Unset)));
        drop(sampling);
        // After a restart, sampling or not, what waited is kept, and what is done with is not read.
        let sampling = Sampling::open(&disk, None, 1).expect("a queue");
        assert!(!sampling.hold(&tenant, &batch(4, 1, StatusCode::Unset)));
        sampling
            .round(&store, &mut Progress::default(), clock::now())
            .expect("no fault");
        assert_eq!((stored(&store, 2), stored(&store, 3)), (0, 1));
        assert!(
            Sampling::open(&disk, None, 1)
                .expect("a queue")
                .queue
                .is_none()
        );
    }

    #[test]
    fn a_full_queue_keeps_everything() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(3));
        let full = Setting {
            bytes_max: 0,
            ..setting()
        };
        let sampling = Sampling::open(&disk, Some(full), 1).expect("a queue");
        assert!(!sampling.hold(&Tenant::anonymous(), &batch(1, 1, StatusCode::Unset)));
        assert_eq!(sampling.passed_by.load(Ordering::Relaxed), 1);
    }
}
