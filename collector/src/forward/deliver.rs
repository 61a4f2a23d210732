//! The sender of one destination: takes what waits in rounds, splits a round by series over
//! shards, sends, and acknowledges the round when all of it is where it should be.
//!
//! Invariant: the samples of one series are sent in the order in which they came: a series has one
//! shard in a round, and a round begins when the one before has ended.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use obs_model::Tenant;
use obs_model::limits::Limits;
use obs_model::metrics::{Metadata, MetricBatch, Series};
use obs_storage::queue::QueueFrame;
use obs_wire::prometheus::remote_write::v2;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Destination;
use super::counters::Ending;
use super::request::{self, Outcome};
use crate::clock;
use crate::config::{QueueSettings, WriteMessage};
use crate::decode::Decoder;
use crate::http_client::configured::{HttpClient, Use};
use crate::supervise::{self, End};

/// Wait after a fault of our own: of the disk, or of the client's certificates.
const FAULT_WAIT: Duration = Duration::from_secs(1);
/// Bytes of records of one round.
const ROUND_BYTES_MAX: usize = 32 << 20;
/// Families whose metadata is kept to be sent again.
const FAMILIES_MAX: usize = 50_000;
/// Longest wait that the other side may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What is sent together.
#[derive(Debug, Default)]
struct Round {
    by_tenant: BTreeMap<Tenant, MetricBatch>,
    samples: usize,
    bytes: usize,
    last: Option<u64>,
}

/// Sends until it is stopped, whatever happens to whoever sends: another one goes on with what is
/// not acknowledged.
pub(super) async fn keep(to: &Arc<Destination>, worker: &Decoder, stop: &CancellationToken) {
    let begin = || {
        let (to, worker, stop) = (Arc::clone(to), worker.clone(), stop.clone());
        async move {
            run(&to, &worker, &stop).await;
            // Only who is stopped, or has nothing more to send, ends.
            match stop.is_cancelled() || to.life.is_over(&to.spool) {
                true => End::Done,
                false => End::Lost,
            }
        }
    };
    let fault = || {
        to.spool.fault();
        to.spool.rewind();
    };
    supervise::keep("forwarding of samples", stop, fault, begin).await;
}

/// Sends until it is stopped, or lost what it was to send.
async fn run(to: &Arc<Destination>, worker: &Decoder, stop: &CancellationToken) {
    let Some(client) = client(to, stop).await else {
        return;
    };
    let mut families = Families::new(to);
    loop {
        let gathered = gather(to, worker, stop, &mut families, &client).await;
        let Some(mut round) = gathered else {
            return;
        };
        let Some(last) = round.last else {
            continue;
        };
        families.join(&mut round.by_tenant);
        if !send_round(to, &client, round, stop).await {
            return;
        }
        let done = Arc::clone(to);
        let noted = worker
            .run(usize::MAX, move || done.spool.acknowledge(last, true))
            .await;
        if noted.is_err() {
            return;
        }
    }
}

async fn client(to: &Destination, stop: &CancellationToken) -> Option<HttpClient> {
    loop {
        match HttpClient::new(&to.config.client, Use::default()).await {
            Ok(client) => return Some(client),
            Err(error) => {
                tracing::error!(
                    remote_name = to.config.name,
                    error,
                    "no client for remote write"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep(FAULT_WAIT) => {}
        }
    }
}

/// The next round: at least one request full, or what there is after the deadline. `None` when it
/// is time to stop, or the queue cannot be asked.
async fn gather(
    to: &Arc<Destination>,
    worker: &Decoder,
    stop: &CancellationToken,
    families: &mut Families,
    client: &HttpClient,
) -> Option<Round> {
    let queue = to.config.queue;
    let most = queue.max_samples_per_send.saturating_mul(queue.max_shards);
    let mut round = Round::default();
    let mut deadline = None;
    loop {
        if stop.is_cancelled() {
            return None;
        }
        let source = Arc::clone(to);
        let next = move || source.spool.next();
        let next = worker.run(usize::MAX, next).await.ok()?;
        let wait = match next {
            Some(frame) => {
                round.add(to, frame, families);
                deadline.get_or_insert_with(|| Instant::now() + queue.batch_send_deadline);
                if round.samples >= most || round.bytes >= ROUND_BYTES_MAX {
                    return Some(round);
                }
                continue;
            }
            None if round.samples >= queue.max_samples_per_send => return Some(round),
            None if round.last.is_some() && to.life.is_leaving() => return Some(round),
            None if to.life.is_over(&to.spool) => return None,
            None => deadline,
        };
        // The disk may have failed, and may be asked again.
        let wait = wait.unwrap_or_else(|| Instant::now() + FAULT_WAIT);
        let metadata = families.due();
        let until = metadata.map_or(wait, |due| due.min(wait));
        tokio::select! {
            () = stop.cancelled() => return None,
            () = to.spool.wake.notified() => {}
            () = sleep_until(until) => {
                if metadata.is_some_and(|due| due <= Instant::now()) {
                    families.send(to, client, stop).await;
                }
                if deadline.is_some_and(|at| at <= Instant::now()) {
                    return Some(round);
                }
            }
        }
    }
}

impl Round {
    fn add(&mut self, to: &Destination, frame: QueueFrame, families: &mut Families) {
        let limits = Limits {
            decompressed_bytes_max: usize::MAX,
            labels_max: usize::MAX,
            ..Limits::default()
        };
        for (tenant, record) in frame.records {
            self.bytes += record.len();
            match v2::decode(&record, &limits) {
                Ok(decoded) => {
                    let batch = decoded.batch;
                    self.samples += batch.sample_count();
                    families.learn(&tenant, &batch.metadata);
                    let own = self.by_tenant.entry(tenant).or_default();
                    own.series.extend(batch.series);
                    if to.config.message == WriteMessage::Two {
                        own.metadata.extend(batch.metadata);
                    }
                }
                Err(error) => {
                    tracing::error!(remote_name = to.config.name, %error, "a queued batch is damaged");
                }
            }
        }
        self.last = Some(frame.sequence);
    }
}

/// As many as there are requests to fill, within the bounds.
fn shards(samples: usize, queue: &QueueSettings) -> usize {
    let full = samples.div_ceil(queue.max_samples_per_send);
    full.clamp(queue.min_shards, queue.max_shards)
}

/// Requests of one shard, in order.
fn requests(batch: MetricBatch, shards: usize, max: usize) -> Vec<Vec<MetricBatch>> {
    let mut by_shard: Vec<Vec<Series>> = vec![Vec::new(); shards];
    for series in batch.series {
        let shard = (series.labels.hash64() % shards as u64) as usize;
        by_shard[shard].push(series);
    }
    let split = |all: Vec<Series>| {
        let mut requests: Vec<MetricBatch> = Vec::new();
        let mut held = max;
        for mut series in all {
            loop {
                if held >= max {
                    requests.push(MetricBatch {
                        metadata: batch.metadata.clone(),
                        ..MetricBatch::default()
                    });
                    held = 0;
                }
                let rest = series
                    .samples
                    .split_off(series.samples.len().min(max - held));
                held += series.samples.len().max(1);
                let labels = series.labels.clone();
                if let Some(request) = requests.last_mut() {
                    request.series.push(series);
                }
                if rest.is_empty() {
                    break;
                }
                series = Series {
                    labels,
                    samples: rest,
                    ..Series::default()
                };
            }
        }
        requests
    };
    by_shard.into_iter().map(split).collect()
}

/// Sends a round; false when it was stopped before all was sent.
async fn send_round(
    to: &Arc<Destination>,
    client: &HttpClient,
    round: Round,
    stop: &CancellationToken,
) -> bool {
    let queue = &to.config.queue;
    let shards = shards(round.samples, queue);
    to.counters.round(round.samples as u64, shards as u64);
    let mut tasks = JoinSet::new();
    for (tenant, batch) in round.by_tenant {
        for shard in requests(batch, shards, queue.max_samples_per_send) {
            if shard.is_empty() {
                continue;
            }
            let (to, client, stop) = (Arc::clone(to), client.clone(), stop.clone());
            let tenant = tenant.clone();
            tasks.spawn(async move {
                for batch in shard {
                    if !deliver(&to, &client, &tenant, batch, &stop).await {
                        return false;
                    }
                }
                true
            });
        }
    }
    let mut all = true;
    while let Some(ended) = tasks.join_next().await {
        all &= ended.unwrap_or(false);
    }
    to.counters.round(0, shards as u64);
    all
}

/// Sends one request until it is taken or refused; false when it was stopped.
async fn deliver(
    to: &Destination,
    client: &HttpClient,
    tenant: &Tenant,
    mut batch: MetricBatch,
    stop: &CancellationToken,
) -> bool {
    let queue = &to.config.queue;
    let mut backoff = queue.min_backoff;
    let mut told = false;
    loop {
        if !queue.sample_age_limit.is_zero() {
            let age = i64::try_from(queue.sample_age_limit.as_nanos()).unwrap_or(i64::MAX);
            let dropped = request::drop_before(&mut batch, clock::now().saturating_sub(age));
            to.counters.ended(Ending::Dropped, &dropped);
            if batch.series.is_empty() && batch.metadata.is_empty() {
                return true;
            }
        }
        let prepared = request::prepare(&batch, to.config.message);
        let (bytes, began) = (prepared.body.len(), Instant::now());
        let outcome = tokio::select! {
            () = stop.cancelled() => return false,
            outcome = request::send(client, &to.config, tenant, prepared.body) => outcome,
        };
        to.counters.requested(bytes, began.elapsed());
        let wait = match outcome {
            Outcome::Taken => {
                to.counters.ended(Ending::Sent, &prepared.amounts);
                return true;
            }
            Outcome::Refused(reason) => {
                to.counters.ended(Ending::Failed, &prepared.amounts);
                let samples = prepared.amounts.samples + prepared.amounts.histograms;
                tracing::error!(
                    remote_name = to.config.name,
                    samples,
                    reason,
                    "not forwarded"
                );
                return true;
            }
            Outcome::Later(reason, after) => {
                to.counters.ended(Ending::Retried, &prepared.amounts);
                if !told {
                    tracing::warn!(
                        remote_name = to.config.name,
                        reason,
                        "forwarding is tried again"
                    );
                    told = true;
                }
                after.map_or(backoff, |seconds| {
                    Duration::from_secs(seconds).clamp(queue.min_backoff, RETRY_AFTER_MAX)
                })
            }
        };
        tokio::select! {
            () = stop.cancelled() => return false,
            () = sleep(wait) => {}
        }
        backoff = backoff.saturating_mul(2).min(queue.max_backoff);
    }
}

/// Metadata: 1.0 sends it by itself from time to time, 2.0 with the series of its family only,
/// whenever it was told.
struct Families {
    known: BTreeMap<Tenant, BTreeMap<String, Metadata>>,
    count: usize,
    message: WriteMessage,
    next: Option<Instant>,
}

impl Families {
    fn new(to: &Destination) -> Self {
        let sending = to.config.message == WriteMessage::One && to.config.metadata.send;
        Self {
            known: BTreeMap::new(),
            count: 0,
            message: to.config.message,
            next: sending.then(|| Instant::now() + to.config.metadata.interval),
        }
    }

    fn learn(&mut self, tenant: &Tenant, metadata: &[Metadata]) {
        let kept = self.next.is_some() || self.message == WriteMessage::Two;
        if !kept || metadata.is_empty() {
            return;
        }
        let known = self.known.entry(tenant.clone()).or_default();
        for one in metadata {
            if let Some(old) = known.get_mut(&one.family) {
                old.clone_from(one);
            } else if self.count < FAMILIES_MAX {
                self.count += 1;
                known.insert(one.family.clone(), one.clone());
            }
        }
    }

    /// Puts what is known of families to the series that 2.0 sends, where nothing is told there.
    fn join(&self, batches: &mut BTreeMap<Tenant, MetricBatch>) {
        if self.message != WriteMessage::Two {
            return;
        }
        for (tenant, batch) in batches {
            let Some(known) = self.known.get(tenant) else {
                continue;
            };
            let told = batch.metadata.iter().map(|m| m.family.as_str());
            let mut told: HashSet<&str> = told.collect();
            let names = batch.series.iter().filter_map(|s| s.labels.metric_name());
            let families = names.flat_map(v2::families_of).filter(|f| told.insert(f));
            let missing: Vec<Metadata> = families.filter_map(|f| known.get(f).cloned()).collect();
            batch.metadata.extend(missing);
        }
    }

    /// When the next sending is due.
    fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.count > 0)
    }

    async fn send(&mut self, to: &Destination, client: &HttpClient, stop: &CancellationToken) {
        let sending = to.config.metadata;
        self.next = Some(Instant::now() + sending.interval);
        for (tenant, known) in &self.known {
            let all: Vec<Metadata> = known.values().cloned().collect();
            for some in all.chunks(sending.max_per_send) {
                let batch = MetricBatch {
                    metadata: some.to_vec(),
                    ..MetricBatch::default()
                };
                let prepared = request::prepare(&batch, to.config.message);
                let outcome = tokio::select! {
                    () = stop.cancelled() => return,
                    outcome = request::send(client, &to.config, tenant, prepared.body) => outcome,
                };
                // It is sent again in a while, whatever the answer is.
                let ending = match outcome {
                    Outcome::Taken => Ending::Sent,
                    Outcome::Later(..) => Ending::Retried,
                    Outcome::Refused(_) => Ending::Failed,
                };
                to.counters.ended(ending, &prepared.amounts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use obs_model::metrics::Sample;
    use obs_model::{Labels, Timestamp, Value};

    use super::*;

    #[test]
    fn requests_are_bounded_and_keep_the_order_of_a_series() {
        let series = |name: &str, from: i64, count: i64| Series {
            labels: Labels::from_pairs([("__name__", name)]),
            samples: (from..from + count)
                .map(|at| Sample {
                    time: Timestamp::from_millis(at),
                    start: None,
                    value: Value::Float(0.0),
                })
                .collect(),
            ..Series::default()
        };
        let batch = MetricBatch {
            series: vec![
                series("a", 0, 25),
                series("b", 0, 3),
                series("a", 25, 5),
                series("c", 0, 1),
            ],
            ..MetricBatch::default()
        };
        for shards in [1, 2, 7] {
            let all = requests(batch.clone(), shards, 10);
            assert_eq!(all.len(), shards);
            let sizes = all.iter().flatten().map(MetricBatch::sample_count);
            assert!(sizes.clone().all(|size| size <= 10) && sizes.sum::<usize>() == 34);
            let times = |shard: &Vec<MetricBatch>| -> Vec<i64> {
                let series = shard.iter().flat_map(|batch| &batch.series);
                let named = series.filter(|s| s.labels.metric_name() == Some("a"));
                let times = named.flat_map(|s| s.samples.iter().map(|s| s.time.millis()));
                times.collect()
            };
            let of_a: Vec<i64> = all.iter().flat_map(times).collect();
            assert_eq!(of_a, (0..30).collect::<Vec<i64>>());
        }
    }
}
