//! The writers: one thread per store takes what waits, makes one group commit of it and answers.
//!
//! Invariants: an answer of success comes after `Store::append` returned, and that after fsync;
//! a batch that cannot be stored does not keep the others of its group from being stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use obs_collector::{Accepted, Inbox, SinkError, Write};
use obs_logstore::{EnrichOptions, Logs, MemoryStreams, Reason as LogReason};
use obs_model::limits::Limits;
use obs_model::numbers::SeriesNumbers;
use obs_model::{LogBatch, MetricBatch, SpanBatch, Tenant, Timestamp};
use obs_storage::{AppendError, Draft, Kind, Record, Store};
use obs_tracestore::Spans;
use obs_tsdb::{Buffers, MetricDraft, Metrics, Reason};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Stopwatch;
use crate::intake::Room;
use crate::stores::Stores;
use crate::tails::Tails;
use crate::{clock, intake};

/// Most batches in one group commit. More would only lengthen the wait of the first one.
const GROUP_MAX: usize = 256;
/// Most encoded bytes in one group commit, unless one batch alone has more.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Longest wait of a batch for others to share its fsync, when there were others a moment ago.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// What the writers refused so far, by signal.
#[derive(Debug, Default)]
pub(crate) struct WriteStats {
    /// Group commits.
    pub(crate) commits: AtomicU64,
    /// Batches in them.
    pub(crate) batches: AtomicU64,
}

/// How a signal's batches get into its store.
trait Intake: Kind {
    /// What comes in.
    type Batch: Send + 'static;
    /// What waits for the end of its group.
    type Ready;
    /// What the writer thread keeps from group to group.
    type Kept: Send + 'static;

    /// Drops and counts what the limits refuse; gives what is left, and about how many bytes of
    /// the journal it will take. Nothing left is `None`.
    fn admit(
        store: &Store<Self>,
        tenant: &Tenant,
        batch: Self::Batch,
        rules: &Rules,
    ) -> (Accepted, Option<(Self::Ready, usize)>)
    where
        Self: Sized;

    /// Stores what is ready, all or nothing; tells of each whether it was taken. One that was not
    /// can be sent again at once.
    fn store(
        store: &Store<Self>,
        ready: &mut [(Tenant, Self::Ready)],
        kept: &mut Self::Kept,
    ) -> Result<Vec<bool>, AppendError>
    where
        Self: Sized;

    /// Takes out the rows at times that are not to be kept and gives their number.
    fn keep(batch: &mut Self::Batch, keep: impl FnMut(Timestamp) -> bool) -> u64;
}

/// Stores finished records.
fn append<K: Kind>(
    store: &Store<K>,
    ready: &[(Tenant, Vec<u8>)],
) -> Result<Vec<bool>, AppendError> {
    let record = |(tenant, payload)| Record { tenant, payload };
    let records = ready
        .iter()
        .map(|(tenant, payload)| record((tenant, payload.as_slice())));
    store.append(&records.collect::<Vec<_>>())?;
    Ok(vec![true; ready.len()])
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
    /// Who follows what is stored.
    pub(crate) tails: Arc<Tails>,
}

impl Intake for Metrics {
    type Batch = MetricBatch;
    type Ready = MetricBatch;
    type Kept = (Buffers, Arc<SeriesNumbers>);

    fn admit(
        store: &Store<Self>,
        tenant: &Tenant,
        mut batch: MetricBatch,
        rules: &Rules,
    ) -> (Accepted, Option<(MetricBatch, usize)>) {
        let accepted = if batch.series.is_empty() && batch.metadata.is_empty() {
            Accepted::default()
        } else {
            let refused = obs_tsdb::admit(&store.snapshot(tenant), &mut batch, &rules.limits);
            Accepted {
                refused: refused.samples(),
                reason: refused.to_string(),
                crowded: refused.only(Reason::SeriesMax),
            }
        };
        let bytes = obs_tsdb::weight(&batch);
        (accepted, (!batch.is_empty()).then_some((batch, bytes)))
    }

    /// One draft for each tenant, so that a series is looked up once.
    fn store(
        store: &Store<Self>,
        ready: &mut [(Tenant, MetricBatch)],
        (buffers, numbers): &mut Self::Kept,
    ) -> Result<Vec<bool>, AppendError> {
        let mut by_tenant: BTreeMap<Tenant, (Vec<usize>, Vec<MetricBatch>)> = BTreeMap::new();
        for (index, (tenant, batch)) in ready.iter_mut().enumerate() {
            let (indices, batches) = by_tenant.entry(tenant.clone()).or_default();
            indices.push(index);
            batches.push(std::mem::take(batch));
        }
        let now = clock::now();
        let mut taken = vec![false; ready.len()];
        let mut drafts: Vec<(Tenant, Vec<usize>, MetricDraft)> = by_tenant
            .into_iter()
            .map(|(tenant, (indices, batches))| {
                let draft = MetricDraft::with_buffers(batches, now, std::mem::take(buffers));
                (tenant, indices, draft)
            })
            .collect();
        let mut group: Vec<(&Tenant, &mut dyn Draft<Metrics>)> = drafts
            .iter_mut()
            .map(|(tenant, _, draft)| (&*tenant, draft as &mut dyn Draft<Metrics>))
            .collect();
        let stored = store.append_drafts(&mut group);
        drop(group);
        for (tenant, indices, draft) in drafts {
            if stored.is_ok() {
                let (epoch, learned) = draft.learned();
                numbers.retire(&tenant, epoch);
                numbers.learn(&tenant, epoch, learned);
                for (at, index) in indices.iter().enumerate() {
                    taken[*index] = draft.taken(at);
                }
            }
            *buffers = draft.into_buffers();
        }
        stored.map(|()| taken)
    }

    fn keep(batch: &mut MetricBatch, keep: impl FnMut(Timestamp) -> bool) -> u64 {
        intake::metrics(batch, keep)
    }
}

impl Intake for Logs {
    type Batch = LogBatch;
    type Ready = Vec<u8>;
    type Kept = Arc<Tails>;

    fn admit(
        store: &Store<Self>,
        tenant: &Tenant,
        mut batch: LogBatch,
        rules: &Rules,
    ) -> (Accepted, Option<(Vec<u8>, usize)>) {
        obs_logstore::enrich(&mut batch, &rules.enrich);
        let snapshot = store.snapshot(tenant);
        let refused = obs_logstore::admit(&mut batch, &rules.limits, &MemoryStreams(&snapshot));
        let reasons: Vec<String> = refused.iter().map(ToString::to_string).collect();
        let accepted = Accepted {
            refused: refused.iter().map(|r| r.records).sum(),
            reason: reasons.join("; "),
            crowded: !refused.is_empty()
                && refused
                    .iter()
                    .all(|r| r.reason == LogReason::TooManyStreams),
        };
        let encode = |record: &mut Vec<u8>| obs_logstore::encode(&batch, record);
        (accepted, record(batch.record_count(), encode))
    }

    fn store(
        store: &Store<Self>,
        ready: &mut [(Tenant, Vec<u8>)],
        tails: &mut Arc<Tails>,
    ) -> Result<Vec<bool>, AppendError> {
        let taken = append(store, ready)?;
        for (tenant, record) in ready.iter() {
            tails.stored(tenant, record);
        }
        Ok(taken)
    }

    fn keep(batch: &mut LogBatch, keep: impl FnMut(Timestamp) -> bool) -> u64 {
        intake::logs(batch, keep)
    }
}

impl Intake for Spans {
    type Batch = SpanBatch;
    type Ready = Vec<u8>;
    type Kept = ();

    fn admit(
        _: &Store<Self>,
        _: &Tenant,
        mut batch: SpanBatch,
        rules: &Rules,
    ) -> (Accepted, Option<(Vec<u8>, usize)>) {
        let refused = obs_tracestore::admit(&mut batch, &rules.limits);
        let accepted = Accepted {
            refused: refused.count,
            reason: refused.reason,
            crowded: false,
        };
        let encode = |record: &mut Vec<u8>| obs_tracestore::encode(&batch, record);
        (accepted, record(batch.span_count(), encode))
    }

    fn store(
        store: &Store<Self>,
        ready: &mut [(Tenant, Vec<u8>)],
        (): &mut (),
    ) -> Result<Vec<bool>, AppendError> {
        append(store, ready)
    }

    fn keep(batch: &mut SpanBatch, keep: impl FnMut(Timestamp) -> bool) -> u64 {
        intake::spans(batch, keep)
    }
}

/// A finished record and its bytes, unless there is nothing to record.
fn record(rows: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Option<(Vec<u8>, usize)> {
    if rows == 0 {
        return None;
    }
    let mut record = Vec::new();
    encode(&mut record);
    let bytes = record.len();
    Some((record, bytes))
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
        let kept = (Buffers::default(), inbox.numbers);
        let threads = vec![
            start::<Metrics>(&stores.metrics, inbox.metrics, rules, kept, &stats)?,
            start::<Logs>(
                &stores.logs,
                inbox.logs,
                rules,
                Arc::clone(&rules.tails),
                &stats,
            )?,
            start::<Spans>(&stores.spans, inbox.spans, rules, (), &stats)?,
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

fn start<K: Intake>(
    store: &Arc<Store<K>>,
    inbox: mpsc::Receiver<Write<K::Batch>>,
    rules: &Rules,
    mut kept: K::Kept,
    stats: &Arc<WriteStats>,
) -> std::io::Result<JoinHandle<()>> {
    let (store, rules, stats) = (Arc::clone(store), rules.clone(), Arc::clone(stats));
    let runtime = Handle::current();
    std::thread::Builder::new()
        .name(format!("write-{}", K::NAME))
        .spawn(move || drain(&store, inbox, &rules, &mut kept, (&stats, &runtime)))
}

fn drain<K: Intake>(
    store: &Store<K>,
    mut inbox: mpsc::Receiver<Write<K::Batch>>,
    rules: &Rules,
    kept: &mut K::Kept,
    (stats, runtime): (&WriteStats, &Handle),
) {
    let mut group = Vec::new();
    let mut gather = Gather::default();
    while let Some(first) = inbox.blocking_recv() {
        let mut bytes = add(store, first, rules, &mut group);
        let begin = Stopwatch::start();
        // What is admitted next must see the new days of what was admitted before.
        while group.len() < GROUP_MAX
            && bytes < GROUP_BYTES_MAX
            && !group.last().is_some_and(|member| member.fresh_days)
        {
            let wait = gather.wait(group.len(), begin.elapsed());
            let Some(next) = next(&mut inbox, wait, runtime) else {
                break;
            };
            let more = add(store, next, rules, &mut group);
            bytes += more;
            if more > GROUP_BYTES_MAX {
                commit_earlier(store, &mut group, kept, stats);
            }
        }
        let (members, begin) = (group.len(), Stopwatch::start());
        commit(store, std::mem::take(&mut group), kept, stats);
        gather = Gather {
            expected: members + inbox.len(),
            longest: begin.elapsed().min(GATHER_MAX),
        };
    }
}

/// How long a group waits for more. Senders wait for their answers before they send again, so
/// those of the last group and those who queued meanwhile are about to be back: to commit them
/// together costs one fsync instead of two.
#[derive(Debug, Default)]
struct Gather {
    /// As many batches as came in the last round.
    expected: usize,
    /// No longer than a commit took: else waiting costs more than it saves.
    longest: Duration,
}

impl Gather {
    /// What is left to wait for a group that has so many batches since so long.
    fn wait(&self, members: usize, since: Duration) -> Duration {
        if members < self.expected {
            self.longest.saturating_sub(since)
        } else {
            Duration::ZERO
        }
    }
}

/// What waits in the inbox or arrives in time.
fn next<T>(inbox: &mut mpsc::Receiver<T>, wait: Duration, runtime: &Handle) -> Option<T> {
    match inbox.try_recv() {
        Ok(next) => Some(next),
        Err(_) if wait.is_zero() => None,
        Err(_) => runtime
            .block_on(async { tokio::time::timeout(wait, inbox.recv()).await })
            .ok()
            .flatten(),
    }
}

/// Commits all but the last batch of a group: what may be too large for the journal must not take
/// others with it.
fn commit_earlier<K: Intake>(
    store: &Store<K>,
    group: &mut Vec<Member<K::Ready>>,
    kept: &mut K::Kept,
    stats: &WriteStats,
) {
    let last = group.split_off(group.len() - 1);
    commit(store, std::mem::replace(group, last), kept, stats);
}

/// One batch of a group: what is to be stored and whom to answer what.
struct Member<R> {
    tenant: Tenant,
    ready: Option<R>,
    accepted: Result<Accepted, SinkError>,
    /// Whether it has rows of days that are not in memory yet.
    fresh_days: bool,
    done: oneshot::Sender<Result<Accepted, SinkError>>,
}

fn add<K: Intake>(
    store: &Store<K>,
    mut write: Write<K::Batch>,
    rules: &Rules,
    group: &mut Vec<Member<K::Ready>>,
) -> usize {
    let tenant = &write.tenant;
    let (room, dropped) = sift(store, tenant, &mut write.batch, rules);
    let (accepted, ready) = if room == Room::None {
        store.ask_flush();
        let reason = intake::no_room(rules.limits.memory_days_max);
        (Err(SinkError::Unavailable { reason }), None)
    } else {
        let (admitted, ready) = K::admit(store, tenant, write.batch, rules);
        (Ok(both(dropped, admitted)), ready)
    };
    let (ready, bytes) = ready.map_or((None, 0), |(ready, bytes)| (Some(ready), bytes));
    group.push(Member {
        tenant: write.tenant,
        ready,
        accepted,
        fresh_days: room == Room::Fresh,
        done: write.done,
    });
    bytes
}

/// Takes out of a batch what is too old or too new, and of how many days it has too many; tells
/// whether there is room in memory for the days that are left.
fn sift<K: Intake>(
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
            crowded: false,
        },
        Accepted {
            refused: wide,
            reason: intake::too_wide(wide, max),
            crowded: false,
        },
    );
    (room, dropped)
}

/// What two steps refused.
fn both(first: Accepted, second: Accepted) -> Accepted {
    let refused = first.refused + second.refused;
    let room = |one: &Accepted| one.refused == 0 || one.crowded;
    let crowded = refused > 0 && room(&first) && room(&second);
    let reasons = [first.reason, second.reason];
    let told: Vec<String> = reasons.into_iter().filter(|r| !r.is_empty()).collect();
    Accepted {
        refused,
        reason: told.join("; "),
        crowded,
    }
}

fn commit<K: Intake>(
    store: &Store<K>,
    mut group: Vec<Member<K::Ready>>,
    kept: &mut K::Kept,
    stats: &WriteStats,
) {
    stats.commits.fetch_add(1, Ordering::Relaxed);
    let batches = group.len() as u64;
    stats.batches.fetch_add(batches, Ordering::Relaxed);
    let with_rows = group.iter_mut().enumerate();
    let with_rows = with_rows.filter_map(|(at, m)| Some((at, (m.tenant.clone(), m.ready.take()?))));
    let (places, mut ready): (Vec<usize>, Vec<(Tenant, K::Ready)>) = with_rows.unzip();
    let outcome = if ready.is_empty() {
        Ok(Vec::new())
    } else {
        K::store(store, &mut ready, kept)
    };
    if let Err(error) = &outcome {
        tracing::error!(store = K::NAME, %error, "append failed");
    }
    match outcome {
        Ok(taken) => {
            for (place, _) in places.iter().zip(taken).filter(|(_, taken)| !taken) {
                group[*place].accepted = Err(SinkError::Stale);
            }
        }
        Err(error) => {
            for place in places {
                group[place].accepted = Err(refusal(&error));
            }
        }
    }
    for member in group {
        // Nobody waits any more when the client left; the batch is stored all the same.
        drop(member.done.send(member.accepted));
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
        commit(store, group, &mut Arc::default(), &WriteStats::default());
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
    fn a_group_waits_for_as_many_as_came_before() {
        let millis = Duration::from_millis;
        let gather = Gather {
            expected: 2,
            longest: millis(2),
        };
        assert_eq!(gather.wait(1, millis(0)), millis(2));
        assert_eq!(gather.wait(1, millis(1)), millis(1));
        assert_eq!(gather.wait(1, millis(3)), millis(0));
        assert_eq!(gather.wait(2, millis(0)), millis(0));
        assert_eq!(Gather::default().wait(1, millis(0)), millis(0));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (send, mut inbox) = mpsc::channel(2);
        send.try_send(7).unwrap();
        let mut next = |wait| next(&mut inbox, wait, runtime.handle());
        assert_eq!(next(millis(0)), Some(7));
        assert_eq!(next(millis(0)), None);
        assert_eq!(next(millis(1)), None);
        send.try_send(8).unwrap();
        assert_eq!(next(millis(1)), Some(8));
        drop(send);
        assert_eq!(next(millis(1)), None);
    }

    #[test]
    fn a_batch_that_is_too_large_is_refused_alone() {
        let disk = Arc::new(SimDisk::new(1));
        let store = Store::<Logs>::open(disk, Options::default(), &|_| {}).unwrap();
        let mut small = Vec::new();
        obs_logstore::encode(&LogBatch::default(), &mut small);
        let member = |ready: Vec<u8>| {
            let (done, told) = oneshot::channel();
            let member = Member {
                tenant: Tenant::anonymous(),
                ready: Some(ready),
                accepted: Ok(Accepted::default()),
                fresh_days: false,
                done,
            };
            (member, told)
        };
        let (first, mut told_first) = member(small);
        let (large, mut told_large) = member(vec![0; 65 << 20]);
        let (mut group, stats) = (vec![first, large], WriteStats::default());
        commit_earlier(&store, &mut group, &mut Arc::default(), &stats);
        commit(&store, group, &mut Arc::default(), &stats);
        assert_eq!(told_first.try_recv(), Ok(Ok(Accepted::default())));
        let refused = told_large.try_recv().expect("it is told");
        assert!(
            matches!(refused, Err(SinkError::Refused { .. })),
            "{refused:?}"
        );
        assert_eq!(store.stats().records, 1);
    }
}
