//! `Sink`: where everything that comes in goes. A cheap handle on one bounded queue per signal;
//! the other end, [`Inbox`], is drained by the server's writers.
//!
//! Invariants: a full queue refuses at once (nothing waits for room, so memory is bounded by the
//! queues, in batches and in bytes); `Ok` means that the writer said *durable*; every wait for the
//! writer has a deadline; the state of redaction moves only with what was taken, so that a batch
//! that comes again becomes what it became before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use obs_model::numbers::{Numbers, SeriesNumbers};
use obs_model::packed::Arriving;
use obs_model::{LogBatch, MetricBatch, Tenant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::batch::Batch;
use crate::decode::Decoder;
use crate::enrich::{self, Pods};
use crate::forward::Forwarder;
use crate::redact::{KeyChanges, Redactor};
use crate::ship::Shipper;

/// Longest wait for the writer's word. Far above a group commit (10 ms) and a slow disk's worst
/// fsync; below the 30 s after which most senders give up themselves.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// What a refused sender is told to wait: a full queue drains in well under a second.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// The batch is durable, but for what the store refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Samples, records or spans that were refused; the rest is durable.
    pub refused: u64,
    /// Why, for the sender; empty when nothing was refused.
    pub reason: String,
    /// All of it was refused for want of room, and may be taken when there is some.
    pub crowded: bool,
}

impl Accepted {
    /// This, and what the decoder refused before.
    pub(crate) fn and(self, rejected: u64, message: String) -> Self {
        let reason = match (message.is_empty(), self.reason.is_empty()) {
            (true, _) => self.reason,
            (false, true) => message,
            (false, false) => format!("{message}; {}", self.reason),
        };
        Self {
            crowded: self.crowded && rejected == 0,
            refused: self.refused.saturating_add(rejected),
            reason,
        }
    }
}

/// Nothing of the batch may be taken as stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The queue is full: send again later (429).
    #[error("the write queue is full; retry after {retry_after_seconds} s")]
    Full {
        /// Seconds to wait before sending again.
        retry_after_seconds: u64,
    },
    /// The batch as a whole cannot be stored, sending it again does not help (400).
    #[error("write refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// Nothing of it was stored, because it has numbers of series that are numbered anew after a
    /// flush: decode it again, with its labels.
    #[error("series are numbered anew after a flush; send again")]
    Stale,
    /// The store cannot take writes now (503).
    #[error("writes are unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// One batch on its way to the store.
#[derive(Debug)]
pub struct Write<B> {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The data.
    pub batch: B,
    /// Where the writer tells the outcome. Dropping it counts as "unavailable".
    pub done: oneshot::Sender<Result<Accepted, SinkError>>,
    /// Where it tells, before that, what is left of a batch of which something was refused, if
    /// somebody wants to know.
    pub rest: Option<oneshot::Sender<B>>,
    /// Its share of the bytes that may wait.
    pub held: HeldBytes,
}

/// A share of the bytes that may wait in a queue; free again when it is dropped.
#[derive(Debug, Default)]
pub struct HeldBytes(
    #[expect(dead_code, reason = "it is there to be dropped")] Option<OwnedSemaphorePermit>,
);

/// What is left of lines that were not taken yet, and may be later.
#[derive(Debug)]
pub struct Unsent {
    /// The streams that are to be sent again.
    pub batch: LogBatch,
    /// Records of the others that were refused for good.
    pub refused: u64,
    /// Why the rest has to wait.
    pub error: SinkError,
}

/// The writers' end of the queues.
#[derive(Debug)]
pub struct Inbox {
    /// Metric samples.
    pub metrics: mpsc::Receiver<Write<MetricBatch>>,
    /// Log records.
    pub logs: mpsc::Receiver<Write<LogBatch>>,
    /// Spans.
    pub spans: mpsc::Receiver<Write<Arriving>>,
    /// Where the writer of metrics tells the numbers of series.
    pub numbers: Arc<SeriesNumbers>,
}

/// What one queue did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Batches that wait for the writer now.
    pub depth: u64,
    /// Batches that may wait.
    pub bound: u64,
    /// Batches acknowledged as durable.
    pub batches: u64,
    /// Samples, records or spans acknowledged as durable.
    pub items: u64,
    /// Samples, records or spans that the store refused, in batches it took.
    pub items_refused: u64,
    /// Batches refused because the queue was full.
    pub full: u64,
    /// Batches that failed for any other reason.
    pub failed: u64,
}

/// [`QueueStats`] of the three queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// Metric samples.
    pub metrics: QueueStats,
    /// Log records.
    pub logs: QueueStats,
    /// Spans.
    pub spans: QueueStats,
}

/// The senders' end of the queues.
#[derive(Clone, Debug)]
pub struct Sink {
    metrics: Queue<MetricBatch>,
    logs: Queue<LogBatch>,
    spans: Queue<Arriving>,
    numbers: Arc<SeriesNumbers>,
    /// Where samples go besides the store.
    forward: Option<Forwarder>,
    /// Where everything goes besides the store.
    ship: Option<Arc<Sink>>,
    /// What takes secrets out, and where.
    redaction: Option<(Redactor, Decoder)>,
    /// Who senders are.
    pods: Option<Pods>,
    /// What drains this sink, where that is not a store.
    shipper: Option<Shipper>,
}

impl Sink {
    /// Three queues of `bound` batches each (at least one).
    pub fn channel(bound: usize) -> (Self, Inbox) {
        let (metrics, metrics_inbox) = Queue::channel(bound);
        let (logs, logs_inbox) = Queue::channel(bound);
        let (spans, spans_inbox) = Queue::channel(bound);
        let numbers = Arc::<SeriesNumbers>::default();
        let sink = Self {
            metrics,
            logs,
            spans,
            numbers: Arc::clone(&numbers),
            forward: None,
            ship: None,
            redaction: None,
            pods: None,
            shipper: None,
        };
        let inbox = Inbox {
            metrics: metrics_inbox,
            logs: logs_inbox,
            spans: spans_inbox,
            numbers,
        };
        (sink, inbox)
    }

    /// The numbers of a tenant's series, for decoding; `None` before any is known, and while samples
    /// are forwarded, because what is forwarded needs labels.
    pub fn numbers(&self, tenant: &Tenant) -> Option<Arc<Numbers>> {
        match (self.forwards(), &self.ship) {
            (None, None) => self.numbers.of(tenant),
            (Some(_), _) | (_, Some(_)) => None,
        }
    }

    /// This sink, which also forwards samples. Batches must then carry their labels.
    #[must_use]
    pub fn forwarding(mut self, forwarder: Forwarder) -> Self {
        self.forward = Some(forwarder);
        self
    }

    /// This sink, from which secrets are taken out before anything else sees a batch.
    #[must_use]
    pub fn redacting(mut self, redactor: Redactor, worker: Decoder) -> Self {
        self.redaction = Some((redactor, worker));
        self
    }

    /// This sink, which knows the pods that data is received from, where they are watched.
    #[must_use]
    pub fn enriching(mut self, pods: Pods) -> Self {
        self.pods = Some(pods).filter(Pods::is_watched);
        self
    }

    /// This sink, which also gives everything that was stored to another one. Batches must then
    /// carry their labels.
    #[must_use]
    pub fn shipping(mut self, ship: Self) -> Self {
        self.ship = Some(Arc::new(ship));
        self
    }

    /// This sink, in each of whose queues at most about so many bytes wait.
    #[must_use]
    pub fn bounded(mut self, bytes_max: usize) -> Self {
        self.metrics.bound(bytes_max);
        self.logs.bound(bytes_max);
        self.spans.bound(bytes_max);
        self
    }

    /// This sink, which a shipper drains.
    #[must_use]
    pub(crate) fn ending_in(mut self, shipper: Shipper) -> Self {
        self.shipper = Some(shipper);
        self
    }

    /// Where samples go now besides the store.
    fn forwards(&self) -> Option<&Forwarder> {
        self.forward
            .as_ref()
            .filter(|forwarder| !forwarder.is_empty())
    }

    /// Where samples are forwarded, if they are.
    pub fn forwarder(&self) -> Option<&Forwarder> {
        self.forward.as_ref()
    }

    /// What takes secrets out, if something does.
    pub fn redactor(&self) -> Option<&Redactor> {
        self.redaction.as_ref().map(|(redactor, _)| redactor)
    }

    /// Stores metric samples; returns when they are durable, here and in the queues of what is
    /// forwarded. An error means that one of these does not have them: send them again.
    pub async fn metrics(&self, tenant: Tenant, batch: MetricBatch) -> Result<Accepted, SinkError> {
        if let Some(error) = self.forward.as_ref().and_then(Forwarder::crowded) {
            return Err(error);
        }
        let (stored, elsewhere) = self.take_metrics(tenant, batch, true).await?;
        elsewhere.map(|()| stored)
    }

    /// Stores metric samples that nobody can send again, as those of a scrape; what could not be
    /// queued to be forwarded is told beside what was stored.
    pub async fn scraped(
        &self,
        tenant: Tenant,
        batch: MetricBatch,
    ) -> Result<(Accepted, Result<(), SinkError>), SinkError> {
        self.take_metrics(tenant, batch, false).await
    }

    /// The same; where they come `again` after an error, they go on to nobody else behind it.
    async fn take_metrics(
        &self,
        tenant: Tenant,
        batch: MetricBatch,
        again: bool,
    ) -> Result<(Accepted, Result<(), SinkError>), SinkError> {
        let items = batch.sample_count();
        let batch = self.refined_metrics(batch).await?;
        let Some(forwarder) = self.forwards() else {
            let write = |batch, rest| self.metrics.write((tenant.clone(), batch, rest), items);
            let Some(ship) = &self.ship else {
                return Ok((write(batch, None).await?, Ok(())));
            };
            let (rest, mut told) = oneshot::channel();
            let copy = batch.clone();
            let accepted = write(batch, Some(rest)).await?;
            let admitted = told.try_recv().unwrap_or(copy);
            let shipped = ship.metrics.write((tenant, admitted, None), items).await;
            return Ok((accepted, shipped.map(drop)));
        };
        let shut_down = || unavailable("forwarding has shut down");
        let (batch, mut prepared) = forwarder.prepare(batch).await.ok_or_else(shut_down)?;
        let mut copy = self.ship.as_ref().map(|_| batch.clone());
        let shipper = self.shipper.as_ref().filter(|_| again);
        let half = shipper.map(|shipper| (shipper, batch.fingerprint(&tenant)));
        let (rest, mut told) = oneshot::channel();
        let write = (tenant.clone(), batch, Some(rest));
        let accepted = self.metrics.write(write, items).await?;
        // Only what was admitted goes on.
        if let Ok(rest) = told.try_recv() {
            let (admitted, of_rest) = forwarder.prepare(rest).await.ok_or_else(shut_down)?;
            prepared = of_rest;
            copy = copy.map(|_| admitted);
        }
        let kept = forwarder.keep(&tenant, prepared).await;
        if let (Err(_), Some((shipper, fingerprint))) = (&kept, half) {
            shipper.remember_metrics(fingerprint);
        }
        let (Some(ship), Some(copy)) = (&self.ship, copy) else {
            return Ok((accepted, kept.map(drop)));
        };
        if let (Err(error), true) = (&kept, again) {
            return Ok((accepted, Err(error.clone())));
        }
        let shipped = ship.metrics.write((tenant, copy, None), items).await;
        if let (Ok(taken), Err(_), true) = (&kept, &shipped, again) {
            forwarder.remember(taken);
        }
        Ok((accepted, kept.map(drop).and(shipped.map(drop))))
    }

    /// Stores log records; returns when they are durable.
    pub async fn logs(&self, tenant: Tenant, batch: LogBatch) -> Result<Accepted, SinkError> {
        let items = batch.record_count();
        let (batch, keys) = self.refined_logs(&tenant, batch).await?;
        let outcome = self.take_logs(tenant, batch, items).await;
        if let Some(keys) = keys {
            match outcome {
                Ok(_) => keys.taken(),
                Err(_) => keys.refused(),
            }
        }
        outcome
    }

    async fn take_logs(
        &self,
        tenant: Tenant,
        batch: LogBatch,
        items: usize,
    ) -> Result<Accepted, SinkError> {
        let Some(ship) = &self.ship else {
            return self.logs.write((tenant, batch, None), items).await;
        };
        let (rest, mut told) = oneshot::channel();
        let (whose, copy) = (tenant.clone(), batch.clone());
        let accepted = self.logs.write((tenant, batch, Some(rest)), items).await?;
        let admitted = told.try_recv().unwrap_or(copy);
        ship.logs.write((whose, admitted, None), items).await?;
        Ok(accepted)
    }

    /// Stores log records whose sender goes on behind them whatever becomes of them, as one that
    /// follows files: gives how many were refused for good, and why. A batch that is refused as a
    /// whole is sent stream by stream, so that one of them does not cost its neighbours.
    pub async fn followed(&self, tenant: Tenant, batch: LogBatch) -> Result<(u64, String), Unsent> {
        let later = |batch, refused, error| Unsent {
            batch,
            refused,
            error,
        };
        match self.logs(tenant.clone(), batch.clone()).await {
            Ok(accepted) => return Ok((accepted.refused, accepted.reason)),
            Err(SinkError::Refused { .. }) if batch.streams.len() > 1 => {}
            Err(SinkError::Refused { reason }) => {
                return Ok((batch.record_count() as u64, reason));
            }
            Err(error) => return Err(later(batch, 0, error)),
        }
        let (mut refused, mut why) = (0, String::new());
        let mut streams = batch.streams.into_iter();
        while let Some(stream) = streams.next() {
            let one = LogBatch {
                streams: vec![stream],
            };
            match self.logs(tenant.clone(), one.clone()).await {
                Ok(accepted) if accepted.refused == 0 => {}
                Ok(accepted) => {
                    refused += accepted.refused;
                    why = accepted.reason;
                }
                Err(SinkError::Refused { reason }) => {
                    refused += one.record_count() as u64;
                    why = reason;
                }
                Err(error) => {
                    let streams = one.streams.into_iter().chain(streams).collect();
                    return Err(later(LogBatch { streams }, refused, error));
                }
            }
        }
        Ok((refused, why))
    }

    /// Stores spans; returns when they are durable.
    pub async fn spans(
        &self,
        tenant: Tenant,
        batch: impl Into<Arriving>,
    ) -> Result<Accepted, SinkError> {
        let batch = batch.into();
        let items = batch.span_count();
        let batch = self.refined_spans(batch).await?;
        let Some(ship) = &self.ship else {
            return self.spans.write((tenant, batch, None), items).await;
        };
        let (rest, mut told) = oneshot::channel();
        let (whose, copy) = (tenant.clone(), batch.clone());
        let accepted = self.spans.write((tenant, batch, Some(rest)), items).await?;
        let admitted = told.try_recv().unwrap_or(copy);
        ship.spans.write((whose, admitted, None), items).await?;
        Ok(accepted)
    }

    /// Says who a batch is from, and takes secrets out of it.
    async fn refined_metrics(&self, mut batch: MetricBatch) -> Result<MetricBatch, SinkError> {
        if let Some((pods, peer)) = self.sender() {
            pods.metrics(&mut batch, Some(peer));
        }
        let cost = batch.series.len().saturating_mul(128);
        let (batch, _) = self.redacted(batch, cost, Redactor::metrics).await?;
        Ok(batch)
    }

    async fn refined_logs(
        &self,
        tenant: &Tenant,
        mut batch: LogBatch,
    ) -> Result<(LogBatch, Option<KeyChanges>), SinkError> {
        if let Some((pods, peer)) = self.sender() {
            pods.logs(&mut batch, Some(peer));
        }
        let records = batch.streams.iter().flat_map(|s| &s.records);
        let cost = records.map(|r| r.line.len()).sum();
        let of = tenant.clone();
        let redact = move |by: &Redactor, batch: &mut LogBatch| by.logs(&of, batch);
        let (batch, keys) = self.redacted(batch, cost, redact).await?;
        if let (Some(changes), Some((_, worker))) = (&keys, &self.redaction)
            && changes.to_be_noted()
        {
            // Otherwise a restart would take the rest of a key for lines of their own.
            let noted = worker.run(usize::MAX, changes.note()).await;
            let noted = noted.map_err(|_| "redaction has shut down".to_owned());
            if let Err(fault) = noted.and_then(|noted| noted) {
                if let Some(changes) = keys {
                    changes.refused();
                }
                let reason = format!("that a key is open is not noted: {fault}");
                return Err(unavailable(&reason));
            }
        }
        Ok((batch, keys))
    }

    async fn refined_spans(&self, batch: Arriving) -> Result<Arriving, SinkError> {
        let sender = self.sender();
        if sender.is_none() && self.redactor().is_none_or(|by| !by.is_on()) {
            return Ok(batch);
        }
        let mut batch = batch.into_batch();
        if let Some((pods, peer)) = sender {
            pods.spans(&mut batch, Some(peer));
        }
        let cost = batch.span_count().saturating_mul(1024);
        let (batch, _) = self.redacted(batch, cost, Redactor::spans).await?;
        Ok(batch.into())
    }

    /// Whoever sends the request of this task, where pods are known.
    fn sender(&self) -> Option<(&Pods, std::net::IpAddr)> {
        self.pods.as_ref().zip(enrich::peer())
    }

    async fn redacted<B: Send + 'static, T: Send + 'static>(
        &self,
        mut batch: B,
        cost: usize,
        redact: impl FnOnce(&Redactor, &mut B) -> T + Send + 'static,
    ) -> Result<(B, Option<T>), SinkError> {
        let on = self.redaction.as_ref().filter(|(by, _)| by.is_on());
        let Some((redactor, worker)) = on else {
            return Ok((batch, None));
        };
        let redactor = redactor.clone();
        let work = move || {
            let told = redact(&redactor, &mut batch);
            (batch, Some(told))
        };
        let redacted = worker.run(cost, work).await;
        redacted.map_err(|_| unavailable("redaction has shut down"))
    }

    /// What the queues did so far.
    pub fn stats(&self) -> SinkStats {
        SinkStats {
            metrics: self.metrics.stats(),
            logs: self.logs.stats(),
            spans: self.spans.stats(),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    batches: AtomicU64,
    items: AtomicU64,
    items_refused: AtomicU64,
    full: AtomicU64,
    failed: AtomicU64,
}

/// Whose batch, and where what is left of it is told.
type Rows<B> = (Tenant, B, Option<oneshot::Sender<B>>);

/// Bytes that one permit stands for.
const UNIT_BYTES: usize = 1024;

#[derive(Debug)]
struct Queue<B> {
    sender: mpsc::Sender<Write<B>>,
    counters: Arc<Counters>,
    /// The bytes that may wait, in units, and how many these are in all.
    room: Option<(Arc<Semaphore>, u32)>,
}

impl<B> Clone for Queue<B> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            counters: Arc::clone(&self.counters),
            room: self.room.clone(),
        }
    }
}

impl<B: Batch> Queue<B> {
    fn channel(bound: usize) -> (Self, mpsc::Receiver<Write<B>>) {
        let (sender, receiver) = mpsc::channel(bound.max(1));
        let queue = Self {
            sender,
            counters: Arc::default(),
            room: None,
        };
        (queue, receiver)
    }

    fn bound(&mut self, bytes_max: usize) {
        let units = u32::try_from(bytes_max / UNIT_BYTES).unwrap_or(u32::MAX);
        let units = units.clamp(1, u32::MAX >> 3);
        self.room = Some((Arc::new(Semaphore::new(units as usize)), units));
    }

    /// Room for a batch. One that is larger than half of all there is takes half: it gets in
    /// while others come and go, and there are two of them at most.
    fn hold(&self, batch: &B) -> Result<HeldBytes, SinkError> {
        let Some((room, all)) = &self.room else {
            return Ok(HeldBytes::default());
        };
        let units = u32::try_from(batch.weight() / UNIT_BYTES).unwrap_or(*all);
        let units = units.clamp(1, all.div_ceil(2));
        let held = Arc::clone(room).try_acquire_many_owned(units);
        let full = |_| SinkError::Full {
            retry_after_seconds: RETRY_AFTER_SECONDS,
        };
        held.map(|held| HeldBytes(Some(held))).map_err(full)
    }

    async fn write(&self, write: Rows<B>, items: usize) -> Result<Accepted, SinkError> {
        let outcome = self.enqueue_and_wait(write).await;
        let add = |counter: &AtomicU64, count: u64| counter.fetch_add(count, Ordering::Relaxed);
        match &outcome {
            Ok(accepted) => {
                add(&self.counters.batches, 1);
                add(&self.counters.items_refused, accepted.refused);
                let durable = (items as u64).saturating_sub(accepted.refused);
                add(&self.counters.items, durable)
            }
            Err(SinkError::Full { .. }) => add(&self.counters.full, 1),
            Err(SinkError::Refused { .. } | SinkError::Stale | SinkError::Unavailable { .. }) => {
                add(&self.counters.failed, 1)
            }
        };
        outcome
    }

    async fn enqueue_and_wait(
        &self,
        (tenant, batch, rest): Rows<B>,
    ) -> Result<Accepted, SinkError> {
        let (done, answer) = oneshot::channel();
        let write = Write {
            held: self.hold(&batch)?,
            tenant,
            batch,
            done,
            rest,
        };
        self.sender.try_send(write).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SinkError::Full {
                retry_after_seconds: RETRY_AFTER_SECONDS,
            },
            mpsc::error::TrySendError::Closed(_) => unavailable("the writer has stopped"),
        })?;
        match tokio::time::timeout(WRITE_DEADLINE, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(unavailable("the writer stopped before it answered")),
            Err(_) => Err(unavailable(&format!(
                "the writer did not answer within {} s",
                WRITE_DEADLINE.as_secs()
            ))),
        }
    }

    fn stats(&self) -> QueueStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let bound = self.sender.max_capacity();
        QueueStats {
            depth: (bound - self.sender.capacity().min(bound)) as u64,
            bound: bound as u64,
            batches: read(&self.counters.batches),
            items: read(&self.counters.items),
            items_refused: read(&self.counters.items_refused),
            full: read(&self.counters.full),
            failed: read(&self.counters.failed),
        }
    }
}

fn unavailable(reason: &str) -> SinkError {
    SinkError::Unavailable {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(lines: usize) -> LogBatch {
        use obs_model::{LogRecord, LogStream, Timestamp};
        let record = LogRecord {
            time: Timestamp::from_seconds(1),
            line: b"x".to_vec(),
            metadata: obs_model::Labels::empty(),
        };
        LogBatch {
            streams: vec![LogStream {
                labels: obs_model::Labels::from_pairs([("a", "b")]),
                records: vec![record; lines],
            }],
        }
    }

    #[tokio::test]
    async fn acknowledges_when_the_writer_does() {
        let (sink, mut inbox) = Sink::channel(4);
        let accepted = Accepted {
            refused: 1,
            reason: "too old".into(),
            crowded: false,
        };
        let write = sink.logs(Tenant::anonymous(), logs(3));
        let drain = async {
            let write = inbox.logs.recv().await.expect("a write");
            write.done.send(Ok(accepted.clone())).expect("a waiter");
        };
        let (outcome, ()) = tokio::join!(write, drain);
        assert_eq!(outcome, Ok(accepted));
        let stats = sink.stats().logs;
        assert_eq!((stats.batches, stats.items, stats.items_refused), (1, 2, 1));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_a_lost_writer_is_unavailable() {
        let (sink, mut inbox) = Sink::channel(1);
        let first = sink.logs(Tenant::anonymous(), logs(1));
        let second = async {
            let outcome = sink.logs(Tenant::anonymous(), logs(1)).await;
            assert!(matches!(outcome, Err(SinkError::Full { .. })));
            assert_eq!(sink.stats().logs.depth, 1);
            drop(inbox.logs.recv().await);
            inbox.logs.close();
        };
        let (outcome, ()) = tokio::join!(biased; first, second);
        assert!(matches!(outcome, Err(SinkError::Unavailable { .. })));
        let closed = sink.logs(Tenant::anonymous(), logs(1)).await;
        assert!(matches!(closed, Err(SinkError::Unavailable { .. })));
        assert_eq!((sink.stats().logs.full, sink.stats().logs.failed), (1, 2));
    }

    fn line(app: &str, text: &str) -> LogBatch {
        let mut batch = logs(1);
        batch.streams[0].labels = obs_model::Labels::from_pairs([("app", app)]);
        batch.streams[0].records[0].line = text.as_bytes().to_vec();
        batch
    }

    /// The end of a private key comes, is not taken, and comes again: it is redacted again.
    #[tokio::test]
    async fn a_batch_that_comes_again_is_redacted_as_before() {
        const KEY: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
        let (sink, mut inbox) = Sink::channel(4);
        let config = serde_yaml_ng::from_str("{}").expect("a configuration");
        let redactor = Redactor::new(&config).expect("a redactor");
        let sink = sink.redacting(redactor, Decoder::new(1));
        let mut end = line("a", KEY);
        let last = line("a", "-----END PRIVATE KEY-----").streams.remove(0);
        end.streams[0].records.extend(last.records);
        let later = || Err(unavailable("later"));
        let taken = || Ok(Accepted::default());
        for (batch, answer, redacted) in [
            (line("a", "-----BEGIN PRIVATE KEY-----"), later(), false),
            (line("a", KEY), taken(), false),
            (line("a", "-----BEGIN PRIVATE KEY-----"), taken(), false),
            (end.clone(), later(), true),
            (end.clone(), later(), true),
            (end, taken(), true),
            (line("a", KEY), taken(), false),
        ] {
            let told = answer.clone();
            let (outcome, seen) = tokio::join!(sink.logs(Tenant::anonymous(), batch), async {
                let write = inbox.logs.recv().await.expect("a write");
                write.done.send(told).expect("a waiter");
                write.batch.streams[0].records[0].line.clone()
            });
            assert_eq!(outcome, answer);
            assert_eq!(seen == b"[REDACTED:private_key]", redacted, "{seen:?}");
        }
    }

    /// Redaction of what was open when the process ended goes on in the next one, also where nobody
    /// was told whether the batch was taken; without a note nothing is taken.
    #[tokio::test]
    async fn a_restart_inside_of_a_key_is_redacted_on() {
        const KEY: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
        let folder = tempfile::tempdir().expect("a folder");
        let config = serde_yaml_ng::from_str("{}").expect("a configuration");
        let sent = async |folder: &std::path::Path, batch: LogBatch, told: bool| {
            let (sink, mut inbox) = Sink::channel(4);
            let redactor = Redactor::remembering(folder.join("redaction.keys"));
            let next = redactor.next(Some(&config)).expect("it compiles");
            redactor.take(next);
            let sink = sink.redacting(redactor, Decoder::new(1));
            let answer = async {
                let write = inbox.logs.recv().await.expect("a write");
                if told {
                    write.done.send(Ok(Accepted::default())).expect("a waiter");
                }
                write.batch.streams[0].records[0].line.clone()
            };
            tokio::select! {
                biased;
                line = answer => Ok(line),
                outcome = sink.logs(Tenant::anonymous(), batch) => Err(outcome),
            }
        };
        let begin = || line("a", "-----BEGIN PRIVATE KEY-----");
        for told in [true, false] {
            sent(folder.path(), begin(), told)
                .await
                .expect("it goes on");
            let rest = sent(folder.path(), line("a", KEY), true).await;
            assert_eq!(rest.as_deref(), Ok(&b"[REDACTED:private_key]"[..]));
        }
        let other = sent(folder.path(), line("b", KEY), true).await;
        assert_eq!(other.as_deref(), Ok(KEY.as_bytes()));
        // Where nothing can be written.
        let file = folder.path().join("file");
        tokio::fs::write(&file, "x").await.expect("written");
        let outcome = sent(&file.join("no"), begin(), true).await;
        assert!(
            matches!(&outcome, Err(Err(SinkError::Unavailable { .. }))),
            "{outcome:?}"
        );
    }

    /// A stream that is refused does not cost the others, and what has to wait is given back.
    #[tokio::test]
    async fn streams_are_refused_alone() {
        let (sink, mut inbox) = Sink::channel(4);
        let mut batch = line("a", "1");
        for (app, text) in [("bad", "2"), ("b", "3"), ("later", "4"), ("c", "5")] {
            batch.streams.extend(line(app, text).streams);
        }
        let mut taken = Vec::new();
        let drain = async {
            for _ in 0..5 {
                let write = inbox.logs.recv().await.expect("a write");
                let streams = &write.batch.streams;
                let has = |name| streams.iter().any(|s| s.labels.get("app") == Some(name));
                let answer = if has("bad") {
                    let reason = "bad".to_owned();
                    Err(SinkError::Refused { reason })
                } else if has("later") {
                    Err(unavailable("later"))
                } else {
                    taken.extend(streams.iter().map(|s| s.records[0].line.clone()));
                    Ok(Accepted::default())
                };
                write.done.send(answer).expect("a waiter");
            }
        };
        let (told, ()) = tokio::join!(sink.followed(Tenant::anonymous(), batch), drain);
        let unsent = told.expect_err("some wait");
        assert_eq!((unsent.refused, unsent.batch.streams.len()), (1, 2));
        assert_eq!(unsent.batch.streams[0].labels.get("app"), Some("later"));
        assert_eq!(taken, [b"1", b"3"]);
    }

    #[tokio::test]
    async fn bytes_that_wait_are_bounded() {
        let (sink, mut inbox) = Sink::channel(100);
        let sink = sink.bounded(64 << 10);
        let large = line("a", &"x".repeat(1 << 20));
        let small = || sink.logs(Tenant::anonymous(), line("a", "x"));
        // What is larger than all the room is taken, two at one time.
        let first = sink.logs(Tenant::anonymous(), large.clone());
        let second = sink.logs(Tenant::anonymous(), large);
        let third = async {
            let told = small().await;
            assert!(matches!(told, Err(SinkError::Full { .. })), "{told:?}");
            for _ in 0..2 {
                let write = inbox.logs.recv().await.expect("a write");
                write.done.send(Ok(Accepted::default())).expect("a waiter");
            }
        };
        let (one, two, ()) = tokio::join!(biased; first, second, third);
        assert_eq!(
            (one, two),
            (Ok(Accepted::default()), Ok(Accepted::default()))
        );
        let answer = async {
            let write = inbox.logs.recv().await.expect("a write");
            write.done.send(Ok(Accepted::default())).expect("a waiter");
        };
        let (told, ()) = tokio::join!(small(), answer);
        assert_eq!(told, Ok(Accepted::default()));
    }
}
