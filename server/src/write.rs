//! The writers: one thread per store takes what waits, makes one group commit of it and answers.
//!
//! Invariants: an answer of success comes after `Store::append` returned, and that after fsync;
//! a batch that cannot be stored does not keep the others of its group from being stored.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use obs_collector::{Accepted, Inbox, SinkError, Write};
use obs_logstore::{EnrichOptions, Logs, MemoryStreams};
use obs_model::limits::Limits;
use obs_model::{LogBatch, MetricBatch, SpanBatch, Tenant, Timestamp};
use obs_storage::{AppendError, Kind, Record, Store};
use obs_tracestore::Spans;
use obs_tsdb::Metrics;
use tokio::sync::{mpsc, oneshot};

use crate::intake::Room;
use crate::stores::Stores;
use crate::{clock, intake};

/// Most batches in one group commit. More would only lengthen the wait of the first one.
const GROUP_MAX: usize = 256;
/// Most encoded bytes in one group commit, unless one batch alone has more.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// What the writers refused so far, by signal.
#[derive(Debug, Default)]
pub(crate) struct WriteStats {
    /// Group commits.
    pub(crate) commits: AtomicU64,
    /// Batches in them.
    pub(crate) batches: AtomicU64,
}

/// How a signal's batch becomes a record; what the limits refuse is dropped and counted.
trait Encode: Kind {
    type Batch: Send + 'static;
    fn encode(
        store: &Store<Self>,
        tenant: &Tenant,
        batch: &mut Self::Batch,
        rules: &Rules,
        record: &mut Vec<u8>,
    ) -> Accepted
    where
        Self: Sized;

    /// Takes out the rows at times that are not to be kept and gives their number.
    fn keep(batch: &mut Self::Batch, keep: impl FnMut(Timestamp) -> bool) -> u64;
}

/// What the configuration says about intake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// The table of limits.
    pub(crate) limits: Limits,
    /// How log records are enriched.
    pub(crate) enrich: EnrichOptions,
    /// Nanoseconds after which data goes; older rows are refused.
    pub(crate) retention: Option<i64>,
}

impl Encode for Metrics {
    type Batch = MetricBatch;

    fn encode(
        store: &Store<Self>,
        tenant: &Tenant,
        batch: &mut MetricBatch,
        rules: &Rules,
        record: &mut Vec<u8>,
    ) -> Accepted {
        let refused = obs_tsdb::admit(&store.snapshot(tenant), batch, &rules.limits);
        if !batch.series.is_empty() || !batch.metadata.is_empty() {
            obs_tsdb::encode_received(batch, clock::now(), record);
        }
        Accepted {
            refused: refused.samples(),
            reason: refused.to_string(),
        }
    }

    fn keep(batch: &mut MetricBatch, keep: impl FnMut(Timestamp) -> bool) -> u64 {
        intake::metrics(batch, keep)
    }
}

impl Encode for Logs {
    type Batch = LogBatch;

    fn encode(
        store: &Store<Self>,
        tenant: &Tenant,
        batch: &mut LogBatch,
        rules: &Rules,
        record: &mut Vec<u8>,
    ) -> Accepted {
        obs_logstore::enrich(batch, &rules.enrich);
        let snapshot = store.snapshot(tenant);
        let refused = obs_logstore::admit(batch, &rules.limits, &MemoryStreams(&snapshot));
        if batch.record_count() > 0 {
            obs_logstore::encode(batch, record);
        }
        let reasons: Vec<String> = refused.iter().map(ToString::to_string).collect();
        Accepted {
            refused: refused.iter().map(|r| r.records).sum(),
            reason: reasons.join("; "),
        }
    }

    fn keep(batch: &mut LogBatch, keep: impl FnMut(Timestamp) -> bool) -> u64 {
        intake::logs(batch, keep)
    }
}

impl Encode for Spans {
    type Batch = SpanBatch;

    fn encode(
        _: &Store<Self>,
        _: &Tenant,
        batch: &mut SpanBatch,
        rules: &Rules,
        record: &mut Vec<u8>,
    ) -> Accepted {
        let refused = obs_tracestore::admit(batch, &rules.limits);
        if batch.span_count() > 0 {
            obs_tracestore::encode(batch, record);
        }
        Accepted {
            refused: refused.count,
            reason: refused.reason,
        }
    }

    fn keep(batch: &mut SpanBatch, keep: impl FnMut(Timestamp) -> bool) -> u64 {
        intake::spans(batch, keep)
    }
}

/// The three writer threads.
#[derive(Debug)]
pub(crate) struct Writers {
    threads: Vec<JoinHandle<()>>,
    /// What they did.
    pub(crate) stats: Arc<WriteStats>,
}

impl Writers {
    /// Starts the threads; they end when every [`obs_collector::Sink`] is gone.
    pub(crate) fn start(stores: &Stores, inbox: Inbox, rules: &Rules) -> std::io::Result<Self> {
        let stats = Arc::<WriteStats>::default();
        let threads = vec![
            start::<Metrics>(&stores.metrics, inbox.metrics, rules, &stats)?,
            start::<Logs>(&stores.logs, inbox.logs, rules, &stats)?,
            start::<Spans>(&stores.spans, inbox.spans, rules, &stats)?,
        ];
        Ok(Self { threads, stats })
    }

    /// Waits until everything that was queued is durable.
    pub(crate) fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a writer thread panicked");
            }
        }
    }
}

fn start<K: Encode>(
    store: &Arc<Store<K>>,
    inbox: mpsc::Receiver<Write<K::Batch>>,
    rules: &Rules,
    stats: &Arc<WriteStats>,
) -> std::io::Result<JoinHandle<()>> {
    let (store, rules, stats) = (Arc::clone(store), rules.clone(), Arc::clone(stats));
    std::thread::Builder::new()
        .name(format!("write-{}", K::NAME))
        .spawn(move || drain(&store, inbox, &rules, &stats))
}

fn drain<K: Encode>(
    store: &Store<K>,
    mut inbox: mpsc::Receiver<Write<K::Batch>>,
    rules: &Rules,
    stats: &WriteStats,
) {
    let mut group = Vec::new();
    while let Some(first) = inbox.blocking_recv() {
        let mut bytes = add(store, first, rules, &mut group);
        // What is admitted next must see the new days of what was admitted before.
        while group.len() < GROUP_MAX
            && bytes < GROUP_BYTES_MAX
            && !group.last().is_some_and(|member| member.fresh_days)
        {
            let Ok(next) = inbox.try_recv() else { break };
            bytes += add(store, next, rules, &mut group);
        }
        stats.commits.fetch_add(1, Ordering::Relaxed);
        stats
            .batches
            .fetch_add(group.len() as u64, Ordering::Relaxed);
        commit(store, std::mem::take(&mut group));
    }
}

/// One batch of a group: its record and whom to answer what.
struct Member {
    tenant: Tenant,
    record: Vec<u8>,
    accepted: Result<Accepted, SinkError>,
    /// Whether it has rows of days that are not in memory yet.
    fresh_days: bool,
    done: oneshot::Sender<Result<Accepted, SinkError>>,
}

fn add<K: Encode>(
    store: &Store<K>,
    mut write: Write<K::Batch>,
    rules: &Rules,
    group: &mut Vec<Member>,
) -> usize {
    let mut record = Vec::new();
    let tenant = &write.tenant;
    let (room, dropped) = sift(store, tenant, &mut write.batch, rules);
    let accepted = if room == Room::None {
        store.ask_flush();
        let reason = intake::no_room(rules.limits.memory_days_max);
        Err(SinkError::Unavailable { reason })
    } else {
        let encoded = K::encode(store, tenant, &mut write.batch, rules, &mut record);
        Ok(both(dropped, encoded))
    };
    let bytes = record.len();
    group.push(Member {
        tenant: write.tenant,
        record,
        accepted,
        fresh_days: room == Room::Fresh,
        done: write.done,
    });
    bytes
}

/// Takes out of a batch what is too old or too new, and of how many days it has too many; tells
/// whether there is room in memory for the days that are left.
fn sift<K: Encode>(
    store: &Store<K>,
    tenant: &Tenant,
    batch: &mut K::Batch,
    rules: &Rules,
) -> (Room, Accepted) {
    let taken = intake::taken(clock::now(), rules.retention);
    let max = rules.limits.memory_days_max;
    let mut days = BTreeSet::new();
    let mut last = None;
    let old = K::keep(batch, |at| {
        if !taken.contains(at) {
            return false;
        }
        let day = intake::day(at);
        if last.replace(day) != Some(day) {
            days.insert(day);
        }
        true
    });
    let mut wide = 0;
    if days.len() > max {
        days = days.into_iter().rev().take(max).collect();
        wide = K::keep(batch, |at| days.contains(&intake::day(at)));
    }
    let room = intake::room(&days, &store.snapshot(tenant).memory_days(), max);
    let old_reason = intake::reason(old, rules.retention);
    let dropped = both(
        Accepted {
            refused: old,
            reason: old_reason,
        },
        Accepted {
            refused: wide,
            reason: intake::too_wide(wide, max),
        },
    );
    (room, dropped)
}

/// What two steps refused.
fn both(first: Accepted, second: Accepted) -> Accepted {
    let reasons = [first.reason, second.reason];
    let told: Vec<String> = reasons.into_iter().filter(|r| !r.is_empty()).collect();
    Accepted {
        refused: first.refused + second.refused,
        reason: told.join("; "),
    }
}

fn commit<K: Encode>(store: &Store<K>, group: Vec<Member>) {
    let records: Vec<Record<'_>> = group
        .iter()
        .filter(|m| !m.record.is_empty())
        .map(|m| Record {
            tenant: &m.tenant,
            payload: &m.record,
        })
        .collect();
    let outcome = if records.is_empty() {
        Ok(())
    } else {
        store.append(&records)
    };
    if let (Err(AppendError::TooLarge { .. }), 2..) = (&outcome, group.len()) {
        // One batch may be too large; the others are not to suffer for it.
        for member in group {
            commit(store, vec![member]);
        }
        return;
    }
    if let Err(error) = &outcome {
        tracing::error!(store = K::NAME, %error, "append failed");
    }
    for member in group {
        let answer = match &outcome {
            Ok(()) => member.accepted,
            Err(error) => Err(refusal(error)),
        };
        // Nobody waits any more when the client left; the batch is stored all the same.
        drop(member.done.send(answer));
    }
}

fn refusal(error: &AppendError) -> SinkError {
    let reason = error.to_string();
    match error {
        // It is as large when it is sent again.
        AppendError::TooLarge { .. } => SinkError::Refused { reason },
        AppendError::DiskFull
        | AppendError::MemoryFull { .. }
        | AppendError::Poisoned(_)
        | AppendError::Record(_)
        | AppendError::Disk(_) => SinkError::Unavailable { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::time::NANOS_PER_DAY;
    use obs_model::{Labels, LogRecord, LogStream};
    use obs_storage::{Options, SimDisk};

    /// Sends a batch with a record on each day; gives what its sender is told.
    fn send(store: &Store<Logs>, rules: &Rules, days: &[i64]) -> Result<Accepted, SinkError> {
        let record = |day: &i64| LogRecord {
            time: Timestamp::from_nanos(day * NANOS_PER_DAY),
            line: b"x".to_vec(),
            metadata: Labels::empty(),
        };
        let stream = LogStream {
            labels: Labels::from_pairs([("app", "a")]),
            records: days.iter().map(record).collect(),
        };
        let (done, mut told) = oneshot::channel();
        let write = Write {
            tenant: Tenant::anonymous(),
            batch: LogBatch {
                streams: vec![stream],
            },
            done,
        };
        let mut group = Vec::new();
        add(store, write, rules, &mut group);
        commit(store, group);
        told.try_recv().expect("the outcome is told by commit")
    }

    #[test]
    fn days_in_memory_are_bounded_and_a_flush_makes_room() {
        let disk = Arc::new(SimDisk::new(1));
        let store = Store::<Logs>::open(disk, Options::default(), &|_| {}).unwrap();
        let limits = Limits {
            memory_days_max: 3,
            ..Limits::default()
        };
        let rules = Rules {
            limits,
            ..Rules::default()
        };
        assert_eq!(send(&store, &rules, &[1, 2, 1]), Ok(Accepted::default()));
        assert_eq!(send(&store, &rules, &[2, 3]), Ok(Accepted::default()));
        assert_eq!(store.next_job(Timestamp::from_nanos(0)), None);
        let refused = send(&store, &rules, &[3, 4]);
        let Err(SinkError::Unavailable { reason }) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            reason.contains("obs.limits.memory_days_max = 3"),
            "{reason}"
        );
        assert_eq!(store.stats().records, 2);
        // Known days go on, and the flush that makes room is due.
        assert_eq!(send(&store, &rules, &[1, 2, 3]), Ok(Accepted::default()));
        while let Some(job) = store.next_job(Timestamp::from_nanos(0)) {
            store.run(job).unwrap();
        }
        assert_eq!(send(&store, &rules, &[3, 4]), Ok(Accepted::default()));
        // More than ever fits: the newest days stay.
        while let Some(job) = store.forced(obs_storage::Force::Flush) {
            store.run(job).unwrap();
        }
        let accepted = send(&store, &rules, &[5, 9, 6, 7, 8]).unwrap();
        assert_eq!(accepted.refused, 2);
        assert!(accepted.reason.contains("memory_days_max"), "{accepted:?}");
        let days = store.snapshot(&Tenant::anonymous()).memory_days();
        assert_eq!(days, BTreeSet::from([7, 8, 9]));
    }

    #[test]
    fn a_batch_that_is_too_large_is_refused_alone() {
        let disk = Arc::new(SimDisk::new(1));
        let store = Store::<Logs>::open(disk, Options::default(), &|_| {}).unwrap();
        let mut small = Vec::new();
        obs_logstore::encode(&LogBatch::default(), &mut small);
        let member = |record: Vec<u8>| {
            let (done, told) = oneshot::channel();
            let member = Member {
                tenant: Tenant::anonymous(),
                record,
                accepted: Ok(Accepted::default()),
                fresh_days: false,
                done,
            };
            (member, told)
        };
        let (first, mut told_first) = member(small);
        let (large, mut told_large) = member(vec![0; 65 << 20]);
        commit(&store, vec![first, large]);
        assert_eq!(told_first.try_recv(), Ok(Ok(Accepted::default())));
        let refused = told_large.try_recv().expect("it is told");
        assert!(
            matches!(refused, Err(SinkError::Refused { .. })),
            "{refused:?}"
        );
        assert_eq!(store.stats().records, 1);
    }
}
