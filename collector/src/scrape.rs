//! Scraping: one task per job that keeps its targets, one task per target that asks it at its
//! times. What a scrape becomes is decided in `assemble`; here are the effects.
//!
//! Invariants: every task lives in a `JoinSet` and ends with its token; every scrape has a
//! deadline; a target's book passes from task to task when its job changes, so that a reload
//! neither loses nor doubles a staleness marker. A book is read and changed by one scrape at a time.

mod assemble;
mod bits;
mod book;
mod certificates;
mod cut;
mod failures;
pub(crate) mod fetch;
pub(crate) mod memory;
mod native;
mod pass;
mod schedule;
mod status;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obs_model::limits::Limits;
use obs_model::{Labels, MetricBatch, Tenant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Job;
use crate::decode::Decoder;
use crate::discovery::provider::Providers;
use crate::discovery::{HistogramChoice, Sources, Target};
use crate::http_client::configured::{HttpClient, Use};
use crate::metrics::Counters;
use crate::sink::{Accepted, Sink, SinkError};
use assemble::{Assembled, Attempt, Refused, Scrape, labelled_again};
use book::Book;
use certificates::Stamps;
use failures::FailureLog;
use fetch::{FetchError, Fetched, Question};
use memory::Memory;
pub use status::{Health, TargetStatus, Targets, TargetsSnapshot};

/// Scrapes are stored at multiples of this, so that those that end together share one commit: an
/// fsync costs as much as decoding several scrapes, and nobody waits for the word of a scrape.
const GATHER: Duration = Duration::from_millis(20);

/// What scraping needs from the rest of the house.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where samples go.
    pub sink: Sink,
    /// Whose samples they are.
    pub tenant: Tenant,
    /// Bounds.
    pub limits: Limits,
    /// Where bodies are decoded.
    pub decoder: Decoder,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// A handle on running scrapes.
#[derive(Clone, Debug)]
pub struct Scraper {
    jobs: watch::Sender<Vec<Arc<Job>>>,
    targets: Targets,
}

impl Scraper {
    /// A scraper without jobs.
    pub fn new() -> Self {
        Self {
            jobs: watch::Sender::new(Vec::new()),
            targets: Targets::default(),
        }
    }

    /// Scrapes these jobs from now on. Equal jobs go on undisturbed.
    pub fn apply(&self, jobs: Vec<Job>) {
        self.jobs
            .send_replace(jobs.into_iter().map(Arc::new).collect());
    }

    /// The jobs that are scraped now.
    pub fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.borrow().clone()
    }

    /// The table of targets.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Scrapes until the token is cancelled.
    pub async fn run(&self, setting: Setting, stop: CancellationToken) {
        let shared = Arc::new(Shared {
            targets: self.targets.clone(),
            providers: Providers::new(Arc::clone(&setting.counters.kubernetes)),
            setting,
            bodies: Memory::new(),
            began: Instant::now(),
        });
        let mut wanted = self.jobs.subscribe();
        let mut running: HashMap<String, watch::Sender<Option<Arc<Job>>>> = HashMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let jobs = wanted.borrow_and_update().clone();
            running.retain(|name, task| {
                let keep = jobs.iter().any(|job| job.name == *name);
                if !keep {
                    task.send_replace(None);
                    shared.targets.remove(name);
                }
                keep
            });
            for job in jobs {
                match running.get(&job.name) {
                    Some(task) => {
                        task.send_if_modified(|now| {
                            let differs = now.as_ref() != Some(&job);
                            if differs {
                                *now = Some(Arc::clone(&job));
                            }
                            differs
                        });
                    }
                    None => {
                        let (sender, receiver) = watch::channel(Some(Arc::clone(&job)));
                        running.insert(job.name.clone(), sender);
                        tasks.spawn(run_job(Arc::clone(&shared), receiver, stop.clone()));
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                changed = wanted.changed() => if changed.is_err() { break },
                Some(ended) = tasks.join_next() => log_panic(ended.err()),
            }
        }
        while let Some(ended) = tasks.join_next().await {
            log_panic(ended.err());
        }
    }
}

impl Default for Scraper {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Shared {
    setting: Setting,
    targets: Targets,
    providers: Providers,
    bodies: Memory,
    began: Instant,
}

impl Shared {
    /// Waits for the next moment at which scrapes are stored together.
    async fn gather(&self) {
        let step = GATHER.as_nanos();
        let steps = self.began.elapsed().as_nanos() / step + 1;
        let wait = u64::try_from(steps * step).unwrap_or(u64::MAX);
        tokio::time::sleep_until(self.began + Duration::from_nanos(wait)).await;
    }
}

/// A target's identity: its labels, URL and socket, its times and what is made of its histograms.
type Key = (
    Labels,
    String,
    Option<Box<str>>,
    (Duration, Duration),
    HistogramChoice,
);

fn key(target: &Target) -> Key {
    let (labels, url) = (target.labels.clone(), target.url.clone());
    let socket = target.unix_socket.clone();
    let times = (target.interval, target.timeout);
    (labels, url, socket, times, target.histograms)
}

fn log_panic(error: Option<tokio::task::JoinError>) {
    if let Some(error) = error {
        tracing::error!(error = %error, "scrape task ended early");
    }
}

/// Keeps the targets of one job until the job or the whole stops.
async fn run_job(
    shared: Arc<Shared>,
    mut wanted: watch::Receiver<Option<Arc<Job>>>,
    stop: CancellationToken,
) {
    let mut pool = Pool::default();
    // What the job before discovered goes on until that of the new one holds it too.
    let mut held = None;
    loop {
        let job = wanted.borrow_and_update().clone();
        let Some(job) = job else { break };
        if stop.is_cancelled() {
            break;
        }
        let of = Use {
            compression: job.compression,
            unix_socket: None,
        };
        let stamps = Stamps::of(&job.client).await;
        let client = match HttpClient::new(&job.client, of).await {
            Ok(client) => Some(client),
            Err(fault) => {
                tracing::error!(job = %job.name, error = %fault, "scrape client not made");
                shared.targets.set(&job.name, &[], &[], 0, &[fault]);
                None
            }
        };
        let mut sources = Sources::new(&job.discovery, &shared.providers);
        pool.stop_all().await;
        let config = job.client.clone();
        if let Some(client) = client {
            let failure_log = job.failure_log.clone();
            let run = Arc::new(Run {
                shared: Arc::clone(&shared),
                job,
                client,
                refused: Mutex::default(),
                failures: failure_log.map(FailureLog::new),
            });
            tokio::select! {
                () = stop.cancelled() => {}
                _ = wanted.changed() => {}
                () = stamps.change(&config) => {}
                () = pool.follow(&run, &mut sources) => {}
            }
        } else {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = wanted.changed() => {}
                () = stamps.change(&config) => {}
            }
        }
        pool.stop_all().await;
        held.replace(sources);
        if stop.is_cancelled() {
            return; // No markers at shutdown: the targets are not gone.
        }
    }
    pool.end_all(&shared).await;
}

/// One job's settings while its targets run.
#[derive(Debug)]
struct Run {
    shared: Arc<Shared>,
    job: Arc<Job>,
    client: HttpClient,
    /// Where failed scrapes are told.
    failures: Option<FailureLog>,
    /// Why no target is asked at all: there are more than `target_limit`.
    refused: Mutex<Option<String>>,
}

impl Run {
    /// Fails every scrape from now on, or none.
    fn refuse(&self, fault: Option<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn refusal(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }
}

/// A target's book, which decoding takes to another thread. Nobody waits for its lock: a scrape is
/// over before the next one begins.
#[derive(Clone, Debug, Default)]
struct Shelf(Arc<Mutex<Book>>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Book> {
        // What decides about markers changes in one step, whatever else a panic left undone.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a target's task leaves behind.
type Left = (Key, Target, Arc<Job>, Shelf);

/// The target tasks of one job, and the books of those that are between two tasks.
#[derive(Debug, Default)]
struct Pool {
    running: HashMap<Key, CancellationToken>,
    tasks: JoinSet<Left>,
    /// By the labels of the target, which are what its series have in common.
    books: HashMap<Labels, (Target, Arc<Job>, Shelf)>,
}

impl Pool {
    /// Starts and ends target tasks as discovery says; returns only by being dropped.
    async fn follow(&mut self, run: &Arc<Run>, sources: &mut Sources) {
        sources.first().await;
        loop {
            let (_, mut faults) = sources.refresh().await;
            let mut resolved = sources.resolve(&run.job);
            faults.append(&mut resolved.faults);
            let (limit, count) = (run.job.target_limit, resolved.active.len());
            let over = limit > 0 && count as u64 > limit;
            let refusal = over.then(|| {
                format!("target_limit exceeded (number of targets: {count}, limit: {limit})")
            });
            // As Prometheus: the targets stay, and each one's `up` is 0.
            faults.extend(refusal.clone());
            run.refuse(refusal);
            for fault in &faults {
                tracing::warn!(job = %run.job.name, error = %fault, "discovery fault");
            }
            let (active, dropped) = (&resolved.active, &resolved.dropped);
            let keep = run.job.keep_dropped_targets;
            run.shared
                .targets
                .set(&run.job.name, active, dropped, keep, &faults);
            self.sync(run, resolved.active).await;
            sources.change().await;
        }
    }

    async fn sync(&mut self, run: &Arc<Run>, active: Vec<Target>) {
        let wanted: HashMap<Key, Target> = active.into_iter().map(|t| (key(&t), t)).collect();
        for (key, token) in &self.running {
            if !wanted.contains_key(key) {
                token.cancel();
            }
        }
        // Tasks that were cancelled come back at once: a scrape in flight is dropped.
        while self.running.values().any(CancellationToken::is_cancelled) {
            match self.tasks.join_next().await {
                Some(ended) => self.keep_book(ended),
                None => self.running.clear(),
            }
        }
        for (key, target) in wanted {
            if self.running.contains_key(&key) {
                continue;
            }
            let book = self.books.remove(&target.labels);
            let book = book.map(|(_, _, book)| book).unwrap_or_default();
            let token = CancellationToken::new();
            let (task_run, task_token) = (Arc::clone(run), token.clone());
            self.tasks
                .spawn(run_target(task_run, target, book, task_token));
            self.running.insert(key, token);
        }
        self.end_all(&run.shared).await;
    }

    /// Stops all tasks and keeps their books.
    async fn stop_all(&mut self) {
        self.running.values().for_each(CancellationToken::cancel);
        while let Some(ended) = self.tasks.join_next().await {
            self.keep_book(ended);
        }
        self.running.clear();
    }

    fn keep_book(&mut self, ended: Result<Left, tokio::task::JoinError>) {
        match ended {
            Ok((key, target, job, book)) => {
                self.running.remove(&key);
                self.books
                    .insert(target.labels.clone(), (target, job, book));
            }
            Err(error) => log_panic(Some(error)),
        }
    }

    /// Writes the markers of targets that no task took over.
    async fn end_all(&mut self, shared: &Shared) {
        // One at a time: whoever drops this future must not lose the others.
        while let Some(labels) = self.books.keys().next().cloned() {
            let Some((target, job, shelf)) = self.books.remove(&labels) else {
                continue;
            };
            let setting = &shared.setting;
            let numbers = setting.sink.numbers(&setting.tenant);
            let (now, known) = (clock::now(), numbers.as_deref());
            let mut ended = assemble::ended(&job, &labels, &mut shelf.lock(), known, now);
            if ended.batch.is_empty() {
                continue;
            }
            if let Err(error) = store(setting, &shelf, &mut ended).await {
                tracing::warn!(target = %target.labels, error = %error, "staleness markers not written");
            }
        }
    }
}

/// Scrapes one target at its times until its token is cancelled.
async fn run_target(run: Arc<Run>, target: Target, book: Shelf, stop: CancellationToken) -> Left {
    let start = Instant::now() + schedule::offset(clock::now(), target.interval, &target);
    let mut ticks = tokio::time::interval_at(start, target.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut aligned = None;
    let (client, no_socket) = own_client(&run, &target).await;
    let question = Question::new(&client, &run.job, &target).await;
    let asked = Asked {
        run: &run,
        target: &target,
        client: &client,
        question: &question,
        no_socket: no_socket.as_deref(),
    };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let time = schedule::align(&mut aligned, clock::now(), target.interval);
        if scrape(&asked, &book, time, &stop).await.is_none() {
            break;
        }
    }
    (key(&target), target, Arc::clone(&run.job), book)
}

/// The client of a target, which is that of its job unless the target has a socket of its own; and
/// why there is none for the socket.
async fn own_client(run: &Run, target: &Target) -> (HttpClient, Option<String>) {
    let Some(socket) = &target.unix_socket else {
        return (run.client.clone(), None);
    };
    let of = Use {
        compression: run.job.compression,
        unix_socket: Some(Path::new(&**socket)),
    };
    match HttpClient::new(&run.job.client, of).await {
        Ok(client) => (client, None),
        Err(fault) => (run.client.clone(), Some(fault)),
    }
}

/// Who is asked what.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    run: &'a Run,
    target: &'a Target,
    client: &'a HttpClient,
    question: &'a Question,
    /// Why the target's socket cannot be asked.
    no_socket: Option<&'a str>,
}

/// One scrape: ask, decode, write, tell. `None` when it was cancelled: then it wrote nothing or is
/// idempotent, and the book tells of the scrape before.
async fn scrape(
    asked: &Asked<'_>,
    book: &Shelf,
    time: obs_model::Timestamp,
    stop: &CancellationToken,
) -> Option<()> {
    let Asked { run, target, .. } = *asked;
    let setting = &run.shared.setting;
    let (outcome, attempt) = attempt(asked, book, time, stop).await?;
    let up = outcome.is_ok();
    let (mut assembled, mut fault) = {
        let mut book = book.lock();
        let (mut assembled, fault) = match outcome {
            Ok(assembled) => (assembled, String::new()),
            Err(Refused { fault, counts }) => {
                let numbers = setting.sink.numbers(&setting.tenant);
                book.open(&run.job, numbers.as_deref());
                let mut assembled = assemble::failed(&book, time);
                assembled.counts = counts;
                (assembled, fault)
            }
        };
        let (labels, timeout) = (&target.labels, target.timeout.as_secs_f64());
        let out = &mut assembled;
        assemble::report(&run.job, labels, &mut book, out, &attempt, timeout, up);
        (assembled, fault)
    };
    let stored = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        stored = async {
            run.shared.gather().await;
            store(setting, book, &mut assembled).await
        } => stored,
    };
    book.lock().commit(assembled.changes, stored.is_ok());
    match stored {
        Ok(stored) if stored.refused > 0 => {
            let (refused, reason) = (stored.refused, stored.reason);
            tracing::warn!(url = %target.url, refused, reason, "samples of a scrape refused");
        }
        Ok(_) => {}
        Err(error) => fault = format!("scrape not stored: {error}"),
    }
    let took = Duration::from_secs_f64(attempt.seconds);
    setting.counters.scraped(took, &fault);
    if !fault.is_empty() {
        tracing::debug!(url = %target.url, error = %fault, "scrape failed");
        if let Some(failures) = &run.failures {
            failures
                .tell(&run.job.name, &target.url, &fault, time)
                .await;
        }
    }
    run.shared
        .targets
        .scraped(&run.job.name, target, time, took, &fault);
    Some(())
}

/// Stores a scrape, a large one in pieces.
async fn store(
    setting: &Setting,
    book: &Shelf,
    assembled: &mut Assembled,
) -> Result<Accepted, SinkError> {
    let batch = std::mem::take(&mut assembled.batch);
    let mut all = Accepted::default();
    for (batch, places) in cut::pieces(batch, assembled.places()) {
        let stored = store_piece(setting, book, batch, &places).await?;
        all.refused += stored.refused;
        if all.reason.is_empty() {
            all.reason = stored.reason;
        }
    }
    Ok(all)
}

/// Stores a batch. Where series were numbered anew since it was made, it goes again with labels.
async fn store_piece(
    setting: &Setting,
    book: &Shelf,
    batch: MetricBatch,
    places: &[u32],
) -> Result<Accepted, SinkError> {
    let copy = (!places.is_empty()).then(|| batch.clone());
    let stored = setting.sink.scraped(setting.tenant.clone(), batch).await;
    let stored = match (stored, copy) {
        (Err(SinkError::Stale), Some(copy)) => {
            let batch = labelled_again(&book.lock(), copy, places);
            setting.sink.scraped(setting.tenant.clone(), batch).await
        }
        (stored, _) => stored,
    };
    // What could not be queued to be forwarded was counted there; the scrape itself is stored.
    stored.map(|(accepted, _)| accepted)
}

/// Asks a target and reads what it answers; `None` when it was cancelled.
async fn attempt(
    who: &Asked<'_>,
    book: &Shelf,
    time: obs_model::Timestamp,
    stop: &CancellationToken,
) -> Option<(Result<Assembled, Refused>, Attempt)> {
    let Asked { run, target, .. } = *who;
    let began = Instant::now();
    let refusal = run.refusal().or(who.no_socket.map(str::to_owned));
    let asked = match refusal {
        Some(fault) => Ok(Err(FetchError::Failed(fault))),
        None => tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            asked = tokio::time::timeout(target.timeout, ask(who)) => asked,
        },
    };
    let mut attempt = Attempt {
        time,
        seconds: began.elapsed().as_secs_f64(),
        body_bytes: 0,
    };
    let fault = match asked {
        Ok(Ok(fetched)) => {
            attempt.body_bytes = i64::try_from(fetched.body.len()).unwrap_or(i64::MAX);
            // Not cancelled, so that nobody else has the book before this is done with it.
            return Some((read(run, target, fetched, book, time).await, attempt));
        }
        Ok(Err(error)) => {
            if matches!(error, FetchError::TooLarge(_)) {
                attempt.body_bytes = -1;
            }
            error.to_string()
        }
        Err(_) => format!("scrape timed out after {:?}", target.timeout),
    };
    Some((Err(fault.into()), attempt))
}

async fn ask(who: &Asked<'_>) -> Result<Fetched, FetchError> {
    let Asked {
        run,
        target,
        client,
        question,
        ..
    } = *who;
    let most = run.shared.setting.limits.decompressed_bytes_max as u64;
    let bodies = &run.shared.bodies;
    fetch::fetch(client, &run.job, target, question, most, bodies).await
}

/// Bytes of a body whose lines are mostly known take about as long as one byte of others.
const KNOWN_BYTES: usize = 8;

/// Decodes and assembles, away from the event loop where it takes long.
async fn read(
    run: &Run,
    target: &Target,
    fetched: Fetched,
    book: &Shelf,
    time: obs_model::Timestamp,
) -> Result<Assembled, Refused> {
    let setting = &run.shared.setting;
    let (limits, job, labels) = (setting.limits, Arc::clone(&run.job), target.labels.clone());
    let histograms = target.histograms.settings(&run.job);
    let numbers = setting.sink.numbers(&setting.tenant);
    let Fetched {
        body,
        format,
        held: _held,
    } = fetched;
    let cost = match book.lock().is_warm() {
        true => body.len() / KNOWN_BYTES,
        false => body.len(),
    };
    let book = book.clone();
    let work = move || {
        let mut book = book.lock();
        book.open(&job, numbers.as_deref());
        let scrape = Scrape {
            job: &job,
            target: &labels,
            limits: &limits,
            time,
            histograms,
        };
        pass::read(&mut book, &scrape, format, &body)
    };
    match setting.decoder.run(cost, work).await {
        Ok(outcome) => outcome,
        Err(lost) => Err(lost.to_string().into()),
    }
}

#[cfg(test)]
mod tests;
