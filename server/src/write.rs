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
use obs_logstore::{EnrichOptions, LogDraft, Logs, MemoryStreams, Reason as LogReason};
use obs_model::limits::Limits;
use obs_model::numbers::SeriesNumbers;
use obs_model::packed::Arriving;
use obs_model::{LogBatch, MetricBatch, SpanBatch, Tenant, TimeRange, Timestamp};
use obs_storage::{AppendError, Draft, Kind, Store};
use obs_tracestore::{SpanDraft, Spans};
use obs_tsdb::{Buffers, MetricDraft, Metrics, Refused};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Stopwatch;
use crate::derived::Derived;
use crate::intake::Room;
use crate::sampling::Sampling;
use crate::span_limits::SpanLimits;
use crate::stores::Stores;
use crate::tails::Tails;
use crate::{clock, intake};

/// Most batches in one group commit. More would only lengthen the wait of the first one.
const GROUP_MAX: usize = 256;
/// Most encoded bytes in one group commit, unless one batch alone has more.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Memory of more spans is not kept from request to request: each takes one or two KB.
const KEPT_SPANS_MAX: usize = 8192;

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

    /// Drops and counts what the limits refuse; gives what is left.
    fn admit(
        store: &Store<Self>,
        write: Admitting<'_, Self::Batch>,
        rules: &Rules,
        kept: &mut Self::Kept,
    ) -> Admitted<Self::Ready>
    where
        Self: Sized;

    /// Whether a batch is to be admitted only after the group so far is stored, which may bring
    /// so many new series.
    fn must_wait(
        _: &Store<Self>,
        _: &Write<Self::Batch>,
        _: &Rules,
        _: &Self::Kept,
        _fresh: usize,
    ) -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Stores what is ready, all or nothing; tells of each whether it was taken. One that was not
    /// can be sent again at once.
    fn store(
        store: &Store<Self>,
        ready: &mut [(Tenant, Self::Ready)],
        kept: &mut Self::Kept,
    ) -> Result<Vec<bool>, AppendError>
    where
        Self: Sized;

    /// What is told of rows at times that are not taken, where there is more to tell than their
    /// number.
    fn untimely(_: &Self::Batch, _taken: TimeRange) -> Option<String> {
        None
    }

    /// Takes out the rows at times that are not to be kept and gives their number.
    fn keep(batch: &mut Self::Batch, keep: impl FnMut(Timestamp) -> bool) -> u64;
}

/// A batch that is to be admitted.
struct Admitting<'a, B> {
    tenant: &'a Tenant,
    batch: B,
    /// Where what is left of it goes, if that is less than what came.
    rest: Option<oneshot::Sender<B>>,
    /// Something of it was refused already.
    cut: bool,
}

/// What became of a batch.
struct Admitted<R> {
    accepted: Accepted,
    /// What is left, if something is.
    ready: Option<R>,
    /// About how many bytes of the journal it will take.
    bytes: usize,
    /// Series that may be new with it.
    fresh: usize,
}

/// What the writer of metrics keeps from group to group.
#[derive(Debug)]
struct MetricsKept {
    buffers: Buffers,
    numbers: Arc<SeriesNumbers>,
    /// All tenants have at most so many series, those of the group included. To count exactly
    /// takes a look at every tenant, so it is done only when this says that room is short.
    total_max: usize,
}

impl MetricsKept {
    fn new(numbers: Arc<SeriesNumbers>) -> Self {
        Self {
            buffers: Buffers::default(),
            numbers,
            total_max: usize::MAX,
        }
    }

    /// Whether there is room for so many more series of all tenants, for all that is known.
    fn has_room(&self, rules: &Rules, more: usize) -> bool {
        self.total_max.saturating_add(more) <= rules.limits.series_total_max
    }

    /// How many series there is room for: exact, unless it is enough. What was admitted is in the
    /// store by now, or there is enough.
    fn total_left(&mut self, store: &Store<Metrics>, rules: &Rules, enough: usize) -> usize {
        let max = rules.limits.series_total_max;
        if !self.has_room(rules, enough) {
            let all = store.all_memories();
            self.total_max = all.iter().map(|m| obs_tsdb::active_series(m)).sum();
        }
        max.saturating_sub(self.total_max)
    }
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
    /// What is derived from spans.
    pub(crate) derived: Arc<Derived>,
    /// Spans that wait for the decision whether they are kept.
    pub(crate) sampling: Arc<Sampling>,
    /// What of spans is taken in.
    pub(crate) span_limits: Arc<SpanLimits>,
}

impl Intake for Metrics {
    type Batch = MetricBatch;
    type Ready = MetricBatch;
    type Kept = MetricsKept;

    fn admit(
        store: &Store<Self>,
        write: Admitting<'_, MetricBatch>,
        rules: &Rules,
        kept: &mut MetricsKept,
    ) -> Admitted<MetricBatch> {
        let mut batch = write.batch;
        let refused = if batch.series.is_empty() && batch.metadata.is_empty() {
            Refused::default()
        } else {
            let left = kept.total_left(store, rules, batch.series.len());
            let memories = store.memories(write.tenant);
            obs_tsdb::admit(&memories, &mut batch, &rules.limits, left)
        };
        kept.total_max = kept.total_max.saturating_add(refused.fresh_max);
        if let Some(rest) = write.rest.filter(|_| write.cut || !refused.is_empty()) {
            // Nobody waits any more when the client left.
            rest.send(batch.clone()).ok();
        }
        Admitted {
            accepted: Accepted {
                refused: refused.samples(),
                reason: refused.to_string(),
                crowded: refused.is_crowded(),
            },
            bytes: obs_tsdb::weight(&batch),
            fresh: refused.fresh_max,
            ready: (!batch.is_empty()).then_some(batch),
        }
    }

    fn must_wait(
        store: &Store<Self>,
        write: &Write<MetricBatch>,
        rules: &Rules,
        kept: &MetricsKept,
        fresh: usize,
    ) -> bool {
        if fresh == 0 || write.batch.series.is_empty() {
            return false;
        }
        let own = obs_tsdb::active_series(&store.memories(&write.tenant));
        let more = write.batch.series.len();
        own + fresh + more > rules.limits.series_max || !kept.has_room(rules, more)
    }

    /// One draft for each tenant, so that a series is looked up once.
    fn store(
        store: &Store<Self>,
        ready: &mut [(Tenant, MetricBatch)],
        MetricsKept {
            buffers, numbers, ..
        }: &mut MetricsKept,
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

/// How much is added to each stream and record on its way in.
struct Added {
    labels: usize,
    metadata: usize,
}

/// The limits with room for what is added here: as in Loki, it does not count as the sender's.
fn with_added(limits: &Limits, enrich: &EnrichOptions) -> (Limits, Added) {
    let added = Added {
        labels: usize::from(!enrich.discover_service_name.is_empty()),
        metadata: usize::from(enrich.discover_log_levels),
    };
    let limits = Limits {
        labels_max: limits.labels_max.saturating_add(added.labels),
        metadata_max: limits.metadata_max.saturating_add(added.metadata),
        ..*limits
    };
    (limits, added)
}

impl Intake for Logs {
    type Batch = LogBatch;
    type Ready = LogBatch;
    type Kept = Arc<Tails>;

    fn admit(
        store: &Store<Self>,
        write: Admitting<'_, LogBatch>,
        rules: &Rules,
        _: &mut Arc<Tails>,
    ) -> Admitted<LogBatch> {
        let mut batch = write.batch;
        obs_logstore::enrich(&mut batch, &rules.enrich);
        let snapshot = store.snapshot(write.tenant);
        let (limits, added) = with_added(&rules.limits, &rules.enrich);
        let mut refused = obs_logstore::admit(&mut batch, &limits, &MemoryStreams(&snapshot));
        for one in &mut refused {
            let own = match one.reason {
                LogReason::TooManyLabels => added.labels,
                LogReason::TooMuchMetadata => added.metadata,
                _ => 0,
            };
            one.max -= own;
            one.found -= own;
        }
        let reasons: Vec<String> = refused.iter().map(ToString::to_string).collect();
        let accepted = Accepted {
            refused: refused.iter().map(|r| r.records).sum(),
            reason: reasons.join("; "),
            crowded: !refused.is_empty()
                && refused
                    .iter()
                    .all(|r| r.reason == LogReason::TooManyStreams),
        };
        Admitted {
            accepted,
            bytes: LogDraft::weight(&batch),
            fresh: 0,
            ready: (batch.record_count() > 0).then_some(batch),
        }
    }

    fn store(
        store: &Store<Self>,
        ready: &mut [(Tenant, LogBatch)],
        tails: &mut Arc<Tails>,
    ) -> Result<Vec<bool>, AppendError> {
        let mut drafts: Vec<_> = ready.iter().map(|(_, batch)| LogDraft(batch)).collect();
        let tenants = ready.iter().map(|(tenant, _)| tenant);
        let mut group: Vec<(&Tenant, &mut dyn Draft<Logs>)> = tenants
            .zip(&mut drafts)
            .map(|(tenant, draft)| (tenant, draft as &mut dyn Draft<Logs>))
            .collect();
        store.append_drafts(&mut group)?;
        for (tenant, batch) in ready.iter_mut() {
            tails.stored(tenant, std::mem::take(batch));
        }
        Ok(vec![true; ready.len()])
    }

    fn untimely(batch: &LogBatch, taken: TimeRange) -> Option<String> {
        intake::untimely_logs(batch, taken)
    }

    fn keep(batch: &mut LogBatch, keep: impl FnMut(Timestamp) -> bool) -> u64 {
        intake::logs(batch, keep)
    }
}

impl Intake for Spans {
    type Batch = Arriving;
    type Ready = SpanDraft;
    /// The memory of the spans of the last request, for those who look at spans as a whole.
    type Kept = SpanBatch;

    fn admit(
        _: &Store<Self>,
        write: Admitting<'_, Arriving>,
        rules: &Rules,
        kept: &mut SpanBatch,
    ) -> Admitted<SpanDraft> {
        let mut batch = write.batch;
        let limits = &rules.limits;
        let now = clock::now();
        let accepted = rules
            .span_limits
            .admit(write.tenant, &mut batch, limits, now);
        if rules.derived.is_on() || rules.sampling.is_on() {
            let whole = match &batch {
                Arriving::Whole(batch) => batch,
                Arriving::Packed(packed) => {
                    packed.copy_to(kept);
                    &*kept
                }
            };
            rules.derived.observe(write.tenant, whole);
            if rules.sampling.hold(write.tenant, whole) {
                batch = SpanBatch::default().into();
            }
            if kept.span_count() > KEPT_SPANS_MAX {
                *kept = SpanBatch::default();
            }
        }
        let draft = (batch.span_count() > 0).then(|| SpanDraft::new(&batch));
        Admitted {
            accepted,
            bytes: draft.as_ref().map_or(0, SpanDraft::bytes),
            ready: draft,
            fresh: 0,
        }
    }

    fn store(
        store: &Store<Self>,
        ready: &mut [(Tenant, SpanDraft)],
        _: &mut SpanBatch,
    ) -> Result<Vec<bool>, AppendError> {
        let mut group: Vec<(&Tenant, &mut dyn Draft<Spans>)> = ready
            .iter_mut()
            .map(|(tenant, draft)| (&*tenant, draft as &mut dyn Draft<Spans>))
            .collect();
        store.append_drafts(&mut group)?;
        Ok(vec![true; ready.len()])
    }

    fn keep(batch: &mut Arriving, keep: impl FnMut(Timestamp) -> bool) -> u64 {
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
        let kept = MetricsKept::new(inbox.numbers);
        let threads = vec![
            start::<Metrics>(&stores.metrics, inbox.metrics, rules, kept, &stats)?,
            start::<Logs>(
                &stores.logs,
                inbox.logs,
                rules,
                Arc::clone(&rules.tails),
                &stats,
            )?,
            start::<Spans>(
                &stores.spans,
                inbox.spans,
                rules,
                SpanBatch::default(),
                &stats,
            )?,
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
        let mut bytes = add(store, first, rules, &mut group, kept);
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
            let fresh = group.iter().map(|member| member.fresh).sum();
            if K::must_wait(store, &next, rules, kept, fresh) {
                commit(store, std::mem::take(&mut group), kept, stats);
                bytes = 0;
            }
            let more = add(store, next, rules, &mut group, kept);
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
    /// Series that may be new with it.
    fresh: usize,
    done: oneshot::Sender<Result<Accepted, SinkError>>,
}

fn add<K: Intake>(
    store: &Store<K>,
    mut write: Write<K::Batch>,
    rules: &Rules,
    group: &mut Vec<Member<K::Ready>>,
    kept: &mut K::Kept,
) -> usize {
    let tenant = &write.tenant;
    let (room, dropped) = sift(store, tenant, &mut write.batch, rules);
    let mut member = Member {
        tenant: write.tenant.clone(),
        ready: None,
        accepted: Ok(Accepted::default()),
        fresh_days: room == Room::Fresh,
        fresh: 0,
        done: write.done,
    };
    let mut bytes = 0;
    if room == Room::None {
        store.ask_flush();
        let reason = intake::no_room(rules.limits.memory_days_max);
        member.accepted = Err(SinkError::Unavailable { reason });
    } else {
        let admitting = Admitting {
            tenant,
            batch: write.batch,
            rest: write.rest,
            cut: dropped.refused > 0,
        };
        let admitted = K::admit(store, admitting, rules, kept);
        member.accepted = Ok(both(dropped, admitted.accepted));
        (member.ready, member.fresh) = (admitted.ready, admitted.fresh);
        bytes = admitted.bytes;
    }
    group.push(member);
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
    let untimely = K::untimely(batch, taken);
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
    let old_reason = untimely.unwrap_or_else(|| intake::reason(old, rules.retention));
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
            rest: None,
            held: Default::default(),
        };
        let mut group = Vec::new();
        let mut kept = Arc::default();
        add(store, write, rules, &mut group, &mut kept);
        commit(store, group, &mut kept, &WriteStats::default());
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

    /// Drains batches of series with one sample each, all of which wait already; gives what their
    /// senders are told, and the group commits.
    fn drain_series(
        store: &Store<Metrics>,
        limits: Limits,
        batches: &[(&str, std::ops::Range<usize>)],
    ) -> (Vec<Accepted>, u64) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (send, inbox) = mpsc::channel(batches.len());
        let mut told = Vec::new();
        for (tenant, names) in batches {
            let series = names.clone().map(|name| obs_model::Series {
                labels: Labels::from_pairs([("__name__", &format!("m{name}"))]),
                samples: vec![obs_model::metrics::Sample {
                    time: Timestamp::from_seconds(1),
                    start: None,
                    value: obs_model::Value::Float(1.0),
                }],
                ..Default::default()
            });
            let (done, answer) = oneshot::channel();
            let write = Write {
                tenant: Tenant::new(tenant).unwrap(),
                batch: MetricBatch {
                    series: series.collect(),
                    ..MetricBatch::default()
                },
                done,
                rest: None,
                held: Default::default(),
            };
            send.try_send(write).unwrap();
            told.push(answer);
        }
        drop(send);
        let rules = Rules {
            limits,
            ..Rules::default()
        };
        let (mut kept, stats) = (MetricsKept::new(Arc::default()), WriteStats::default());
        drain(store, inbox, &rules, &mut kept, (&stats, runtime.handle()));
        let answers = told.into_iter().map(|mut t| t.try_recv().unwrap().unwrap());
        (answers.collect(), stats.commits.into_inner())
    }

    #[test]
    fn limits_of_series_hold_within_a_group_and_over_flushes() {
        let open = || {
            let disk = Arc::new(SimDisk::new(1));
            Store::<Metrics>::open(disk, Options::default(), &|_| {}).unwrap()
        };
        let limits = |series_max, series_total_max| Limits {
            series_max,
            series_total_max,
            ..Limits::default()
        };
        let series = |store: &Store<Metrics>| -> usize {
            let all = store.all_memories();
            all.iter().map(|m| obs_tsdb::active_series(m)).sum()
        };
        let refused = |told: &[Accepted]| told.iter().map(|t| t.refused).collect::<Vec<_>>();
        let tenants = [("a", 0..1), ("b", 0..1), ("c", 0..1)];
        // A new day ends a group, which is not what is asked here.
        let begun = |tenants: &[(&str, std::ops::Range<usize>)]| {
            let store = open();
            let (told, _) = drain_series(&store, limits(100, 100), tenants);
            assert_eq!(refused(&told), vec![0; tenants.len()]);
            store
        };
        // Alone each of them fits; known series go on.
        let store = begun(&tenants[..1]);
        let batches = [("a", 0..3), ("a", 3..6), ("a", 6..7), ("a", 0..5)];
        let (told, commits) = drain_series(&store, limits(4, 100), &batches);
        assert_eq!(refused(&told), [0, 2, 1, 1]);
        assert!(told[1].crowded && told[1].reason.contains("limit series_max of 4"));
        assert_eq!((series(&store), commits), (4, 3));
        // What outlives a flush counts, and is known, before it has samples again.
        let flush = |store: &Store<Metrics>| {
            while let Some(job) = store.forced(obs_storage::Force::Flush) {
                store.run(job).unwrap();
            }
        };
        flush(&store);
        let (told, _) = drain_series(&store, limits(4, 100), &[("a", 2..7)]);
        assert_eq!((refused(&told), series(&store)), (vec![3], 4));
        // Most were idle, so that they are given up; then there is room.
        flush(&store);
        assert_eq!(series(&store), 0);
        // All tenants together.
        let store = begun(&tenants);
        let batches = [("a", 0..3), ("b", 0..3), ("c", 0..3), ("b", 0..2)];
        let (told, commits) = drain_series(&store, limits(100, 5), &batches);
        assert_eq!(refused(&told), [0, 2, 2, 1]);
        assert!(told[1].crowded && told[1].reason.contains("limit series_total_max of 5"));
        assert_eq!((series(&store), commits), (5, 2));
        // Far from the limits nothing waits for another commit.
        let store = begun(&tenants);
        let (told, commits) = drain_series(&store, limits(100, 100), &batches);
        assert_eq!((refused(&told), commits), (vec![0; 4], 1));
    }

    #[test]
    fn a_batch_that_is_too_large_is_refused_alone() {
        let disk = Arc::new(SimDisk::new(1));
        let store = Store::<Logs>::open(disk, Options::default(), &|_| {}).unwrap();
        // Bytes that compression does not make fewer.
        let mut state = 1u64;
        let mut line = |bytes: usize| -> Vec<u8> {
            let next = |_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            };
            (0..bytes).map(next).collect()
        };
        let mut batch = |bytes: usize| LogBatch {
            streams: vec![LogStream {
                labels: Labels::from_pairs([("app", "a")]),
                records: vec![LogRecord {
                    time: clock::now(),
                    line: line(bytes),
                    metadata: Labels::empty(),
                }],
            }],
        };
        let (small, huge) = (batch(1), batch(65 << 20));
        let member = |ready: LogBatch| {
            let (done, told) = oneshot::channel();
            let member = Member {
                tenant: Tenant::anonymous(),
                ready: Some(ready),
                accepted: Ok(Accepted::default()),
                fresh_days: false,
                fresh: 0,
                done,
            };
            (member, told)
        };
        let (first, mut told_first) = member(small);
        let (large, mut told_large) = member(huge);
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
