//! Who follows the logs: the log writer tells what it stored, each tail takes what it selects.
//!
//! Invariants: the writer never waits for a tail; a tail holds at most [`QUEUED_BYTES_MAX`] bytes and
//! [`QUEUED_MAX`] batches that its client has not taken yet, and what does not fit is noted as
//! dropped, up to [`DROPPED_MAX`] lines; a tail that is gone costs nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_model::{Labels, LogBatch, Tenant, Timestamp};
use obs_query::logs::live::Sieve;
use tokio::sync::mpsc;

/// Batches that wait for one client.
const QUEUED_MAX: usize = 256;
/// Bytes of lines that wait for one client.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// Lines that are told as dropped in one frame.
const DROPPED_MAX: usize = 1000;
/// Tails at one time.
pub(crate) const TAILS_MAX: usize = 256;

/// Everybody who follows.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    next: AtomicU64,
    all: Mutex<HashMap<Tenant, Vec<Listener>>>,
    count: AtomicUsize,
}

#[derive(Debug)]
struct Listener {
    id: u64,
    sieve: Arc<Sieve>,
    queue: mpsc::Sender<Stored>,
    shared: Arc<Shared>,
}

/// What the writer and a tail share.
#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    dropped: Mutex<Vec<(Labels, Timestamp)>>,
}

/// A batch that is durable.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Whose it is.
    pub(crate) tenant: Tenant,
    /// The records.
    pub(crate) batch: Arc<LogBatch>,
    bytes: usize,
}

/// One who follows; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Tail {
    id: u64,
    tails: Arc<Tails>,
    tenants: Vec<Tenant>,
    queue: mpsc::Receiver<Stored>,
    shared: Arc<Shared>,
}

impl Tails {
    /// Follows tenants, each with the query that selects its streams. `None` where too many do.
    pub(crate) fn follow(self: &Arc<Self>, queries: &[(Tenant, Arc<Sieve>)]) -> Option<Tail> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= TAILS_MAX {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, queue) = mpsc::channel(QUEUED_MAX);
        let shared = Arc::<Shared>::default();
        let mut all = self.lock();
        for (tenant, sieve) in queries {
            let listener = Listener {
                id,
                sieve: Arc::clone(sieve),
                queue: sender.clone(),
                shared: Arc::clone(&shared),
            };
            all.entry(tenant.clone()).or_default().push(listener);
        }
        Some(Tail {
            id,
            tails: Arc::clone(self),
            tenants: queries.iter().map(|(tenant, _)| tenant.clone()).collect(),
            queue,
            shared,
        })
    }

    /// Records of a tenant are durable now.
    pub(crate) fn stored(&self, tenant: &Tenant, batch: LogBatch) {
        let all = self.lock();
        let Some(listeners) = all.get(tenant) else {
            return;
        };
        let batch = Arc::new(batch);
        for listener in listeners {
            listener.offer(tenant, &batch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tenant, Vec<Listener>>> {
        // Every change is whole, so what a panic left behind is sound.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    fn offer(&self, tenant: &Tenant, batch: &Arc<LogBatch>) {
        let selected = batch
            .streams
            .iter()
            .filter(|s| self.sieve.selects(&s.labels));
        let lines = selected.flat_map(|s| &s.records).map(|r| r.line.len() + 64);
        let bytes: usize = lines.sum();
        if bytes == 0 {
            return;
        }
        let held = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let stored = Stored {
            tenant: tenant.clone(),
            batch: Arc::clone(batch),
            bytes,
        };
        let full = held > 0 && held + bytes > QUEUED_BYTES_MAX;
        if full || self.queue.try_send(stored).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.note_dropped(batch, &self.sieve);
        }
    }
}

impl Shared {
    fn note_dropped(&self, batch: &LogBatch, sieve: &Sieve) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in batch.streams.iter().filter(|s| sieve.selects(&s.labels)) {
            let room = DROPPED_MAX.saturating_sub(dropped.len());
            let lines = stream.records.iter().take(room);
            dropped.extend(lines.map(|r| (stream.labels.clone(), r.time)));
        }
    }
}

impl Tail {
    /// The next batch that was stored; it may have streams that are not selected.
    pub(crate) async fn next(&mut self) -> Option<Stored> {
        let stored = self.queue.recv().await?;
        self.shared
            .queued_bytes
            .fetch_sub(stored.bytes, Ordering::Relaxed);
        Some(stored)
    }

    /// A batch that is there already.
    pub(crate) fn ready(&mut self) -> Option<Stored> {
        let stored = self.queue.try_recv().ok()?;
        self.shared
            .queued_bytes
            .fetch_sub(stored.bytes, Ordering::Relaxed);
        Some(stored)
    }

    /// What was dropped since the last time.
    pub(crate) fn dropped(&self) -> Vec<(Labels, Timestamp)> {
        let dropped = &self.shared.dropped;
        std::mem::take(&mut *dropped.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut all = self.tails.lock();
        for tenant in &self.tenants {
            if let Some(listeners) = all.get_mut(tenant) {
                listeners.retain(|listener| listener.id != self.id);
                if listeners.is_empty() {
                    all.remove(tenant);
                }
            }
        }
        self.tails.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;
    use obs_model::{LogRecord, LogStream};
    use obs_query::logql::{Expr, parse};

    use super::*;

    fn sieve(query: &str) -> Arc<Sieve> {
        let Ok(Expr::Logs(logs)) = parse(query, &Limits::default()) else {
            panic!("{query}");
        };
        Arc::new(Sieve::new(&logs, Timestamp::default()).unwrap())
    }

    fn record(app: &str, bytes: usize) -> LogBatch {
        let stream = LogStream {
            labels: Labels::from_pairs([("app", app)]),
            records: vec![LogRecord {
                time: Timestamp::from_seconds(1),
                line: vec![b'x'; bytes],
                metadata: Labels::empty(),
            }],
        };
        LogBatch {
            streams: vec![stream],
        }
    }

    #[test]
    fn slow_clients_lose_lines_and_know_it() {
        let tails = Arc::<Tails>::default();
        let tenant = Tenant::anonymous();
        let queries = [(tenant.clone(), sieve("{app=\"a\"}"))];
        let mut tail = tails.follow(&queries).unwrap();
        tails.stored(&tenant, record("b", 10));
        tails.stored(&Tenant::new("other").unwrap(), record("a", 10));
        assert!(tail.ready().is_none());
        let large = record("a", 6 << 20);
        (0..4).for_each(|_| tails.stored(&tenant, large.clone()));
        let ready = std::iter::from_fn(|| tail.ready()).count();
        assert_eq!((ready, tail.dropped().len()), (2, 2));
        let small = record("a", 1);
        (0..QUEUED_MAX + 5).for_each(|_| tails.stored(&tenant, small.clone()));
        assert_eq!(tail.dropped().len(), 5);
        drop(tail);
        assert!(tails.lock().is_empty());
        assert_eq!(tails.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn tails_are_counted() {
        let tails = Arc::<Tails>::default();
        let queries = [(Tenant::anonymous(), sieve("{app=\"a\"}"))];
        let all: Vec<_> = (0..TAILS_MAX).map(|_| tails.follow(&queries)).collect();
        assert!(all.iter().all(Option::is_some) && tails.follow(&queries).is_none());
        drop(all);
        assert!(tails.follow(&queries).is_some());
    }
}
