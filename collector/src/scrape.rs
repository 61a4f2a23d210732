//! Scraping: one task per job that keeps its targets, one task per target that asks it at its
//! times. What a scrape becomes is decided in `assemble`; here are the effects.
//!
//! Invariants: every task lives in a `JoinSet` and ends with its token; every scrape has a
//! deadline; a target's state passes from task to task when its job changes, so that a reload
//! neither loses nor doubles a staleness marker.

mod assemble;
pub(crate) mod fetch;
mod schedule;
mod status;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use obs_model::limits::Limits;
use obs_model::{Labels, Tenant};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Job;
use crate::decode::Decoder;
use crate::discovery::{Sources, Target, resolve_all};
use crate::metrics::Counters;
use crate::sink::Sink;
use assemble::{Assembled, Attempt, Refused, State, assemble};
use fetch::{FetchError, Fetched, Format};
pub use status::{Health, TargetStatus, Targets, TargetsSnapshot};

/// Most bodies that are received or decoded at one time; bounds the memory of many large targets.
const BODIES_AT_ONCE: usize = 64;

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
            setting,
            targets: self.targets.clone(),
            bodies: Arc::new(Semaphore::new(BODIES_AT_ONCE)),
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
    bodies: Arc<Semaphore>,
}

/// A target's identity: its labels and URL, and its times.
type Key = (Labels, String, Duration, Duration);

fn key(target: &Target) -> Key {
    let (labels, url) = (target.labels.clone(), target.url.clone());
    (labels, url, target.interval, target.timeout)
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
    loop {
        let job = wanted.borrow_and_update().clone();
        let Some(job) = job else { break };
        if stop.is_cancelled() {
            break;
        }
        let client = match fetch::client(&job.client, job.compression).await {
            Ok(client) => Some(client),
            Err(fault) => {
                tracing::error!(job = %job.name, error = %fault, "scrape client not made");
                shared.targets.set(&job.name, &[], &[], 0, &[fault]);
                None
            }
        };
        let mut sources = Sources::new(&job.discovery);
        pool.stop_all().await;
        if let Some(client) = client {
            let run = Arc::new(Run {
                shared: Arc::clone(&shared),
                job,
                client,
                refused: Mutex::default(),
            });
            tokio::select! {
                () = stop.cancelled() => {}
                _ = wanted.changed() => {}
                () = pool.follow(&run, &mut sources) => {}
            }
        } else {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = wanted.changed() => {}
            }
        }
        pool.stop_all().await;
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
    client: reqwest::Client,
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

/// What a target's task leaves behind.
type Left = (Key, Target, Arc<Job>, State);

/// The target tasks of one job, and the states of those that are between two tasks.
#[derive(Debug, Default)]
struct Pool {
    running: HashMap<Key, CancellationToken>,
    tasks: JoinSet<Left>,
    /// By the labels of the target, which are what its series have in common.
    states: HashMap<Labels, (Target, Arc<Job>, State)>,
}

impl Pool {
    /// Starts and ends target tasks as discovery says; returns only by being dropped.
    async fn follow(&mut self, run: &Arc<Run>, sources: &mut Sources) {
        loop {
            let (_, mut faults) = sources.refresh().await;
            let mut resolved = resolve_all(&run.job, sources.discovered());
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
            match sources.poll() {
                Some(poll) => tokio::time::sleep(poll).await,
                None => std::future::pending().await,
            }
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
                Some(ended) => self.keep_state(ended),
                None => self.running.clear(),
            }
        }
        for (key, target) in wanted {
            if self.running.contains_key(&key) {
                continue;
            }
            let state = self
                .states
                .remove(&target.labels)
                .map(|(_, _, state)| state);
            let token = CancellationToken::new();
            let (task_run, task_token) = (Arc::clone(run), token.clone());
            let state = state.unwrap_or_default();
            self.tasks
                .spawn(run_target(task_run, target, state, task_token));
            self.running.insert(key, token);
        }
        self.end_all(&run.shared).await;
    }

    /// Stops all tasks and keeps their states.
    async fn stop_all(&mut self) {
        self.running.values().for_each(CancellationToken::cancel);
        while let Some(ended) = self.tasks.join_next().await {
            self.keep_state(ended);
        }
        self.running.clear();
    }

    fn keep_state(&mut self, ended: Result<Left, tokio::task::JoinError>) {
        match ended {
            Ok((key, target, job, state)) => {
                self.running.remove(&key);
                self.states
                    .insert(target.labels.clone(), (target, job, state));
            }
            Err(error) => log_panic(Some(error)),
        }
    }

    /// Writes the markers of targets that no task took over.
    async fn end_all(&mut self, shared: &Shared) {
        // One at a time: whoever drops this future must not lose the others.
        while let Some(labels) = self.states.keys().next().cloned() {
            let Some((target, job, state)) = self.states.remove(&labels) else {
                continue;
            };
            let batch = assemble::ended(&job, &target.labels, &state, clock::now());
            if batch.series.is_empty() {
                continue;
            }
            let setting = &shared.setting;
            if let Err(error) = setting.sink.metrics(setting.tenant.clone(), batch).await {
                tracing::warn!(target = %target.labels, error = %error, "staleness markers not written");
            }
        }
    }
}

/// Scrapes one target at its times until its token is cancelled.
async fn run_target(run: Arc<Run>, target: Target, state: State, stop: CancellationToken) -> Left {
    let mut state = Arc::new(state);
    let start = Instant::now() + schedule::offset(clock::now(), target.interval, &target);
    let mut ticks = tokio::time::interval_at(start, target.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut aligned = None;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let time = schedule::align(&mut aligned, clock::now(), target.interval);
        // A cancelled scrape wrote nothing or is idempotent: the state stays that of before.
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = scrape(&run, &target, &state, time) => state = Arc::new(next),
        }
    }
    let state = Arc::unwrap_or_clone(state);
    (key(&target), target, Arc::clone(&run.job), state)
}

/// One scrape: ask, decode, write, tell. Gives the state for the next one.
async fn scrape(
    run: &Run,
    target: &Target,
    state: &Arc<State>,
    time: obs_model::Timestamp,
) -> State {
    let setting = &run.shared.setting;
    let (outcome, attempt) = attempt(run, target, state, time).await;
    let up = outcome.is_ok();
    let (mut assembled, mut fault) = match outcome {
        Ok(assembled) => (assembled, String::new()),
        Err(Refused { fault, counts }) => {
            let mut assembled = assemble::failed(state, time);
            assembled.counts = counts;
            (assembled, fault)
        }
    };
    let (labels, timeout) = (&target.labels, target.timeout.as_secs_f64());
    assemble::report(&run.job, labels, &mut assembled, &attempt, timeout, up);
    let Assembled {
        batch,
        state: mut next,
        ..
    } = assembled;
    match setting.sink.metrics(setting.tenant.clone(), batch).await {
        Ok(stored) if stored.refused > 0 => {
            let (refused, reason) = (stored.refused, stored.reason);
            tracing::warn!(url = %target.url, refused, reason, "samples of a scrape refused");
        }
        Ok(_) => {}
        Err(error) => {
            // What was known before and what may have been written both need markers later.
            next.keep(state);
            fault = format!("scrape not stored: {error}");
        }
    }
    let took = Duration::from_secs_f64(attempt.seconds);
    setting.counters.scraped(took, &fault);
    if !fault.is_empty() {
        tracing::debug!(url = %target.url, error = %fault, "scrape failed");
    }
    run.shared
        .targets
        .scraped(&run.job.name, target, time, took, &fault);
    next
}

/// Asks a target and reads what it answers.
async fn attempt(
    run: &Run,
    target: &Target,
    state: &Arc<State>,
    time: obs_model::Timestamp,
) -> (Result<Assembled, Refused>, Attempt) {
    let began = Instant::now();
    let asked = match run.refusal() {
        Some(fault) => Ok(Err(FetchError::Failed(fault))),
        None => tokio::time::timeout(target.timeout, ask(run, target)).await,
    };
    let mut attempt = Attempt {
        time,
        seconds: began.elapsed().as_secs_f64(),
        body_bytes: 0,
    };
    let fault = match asked {
        Ok(Ok(fetched)) => {
            attempt.body_bytes = i64::try_from(fetched.body.len()).unwrap_or(i64::MAX);
            return (read(run, target, fetched, state, time).await, attempt);
        }
        Ok(Err(error)) => {
            if matches!(error, FetchError::TooLarge(_)) {
                attempt.body_bytes = -1;
            }
            error.to_string()
        }
        Err(_) => format!("scrape timed out after {:?}", target.timeout),
    };
    (Err(fault.into()), attempt)
}

async fn ask(run: &Run, target: &Target) -> Result<Fetched, FetchError> {
    let most = run.shared.setting.limits.decompressed_bytes_max as u64;
    fetch::fetch(&run.client, &run.job, target, most, &run.shared.bodies).await
}

/// Decodes and assembles away from the event loop.
async fn read(
    run: &Run,
    target: &Target,
    fetched: Fetched,
    state: &Arc<State>,
    time: obs_model::Timestamp,
) -> Result<Assembled, Refused> {
    let setting = &run.shared.setting;
    let (limits, job, labels) = (setting.limits, Arc::clone(&run.job), target.labels.clone());
    let Fetched {
        body,
        format,
        place: _place,
    } = fetched;
    let (state, bytes) = (Arc::clone(state), body.len());
    let work = move || {
        let exposition = match format {
            Format::OpenMetrics => obs_wire::prometheus::openmetrics::decode(&body, &limits),
            Format::Text => obs_wire::prometheus::text::decode(&body, &limits),
        };
        let exposition = exposition.map_err(|e| Refused::from(e.to_string()))?;
        assemble(&job, &labels, exposition, &state, time)
    };
    match setting.decoder.run(bytes, work).await {
        Ok(outcome) => outcome,
        Err(lost) => Err(lost.to_string().into()),
    }
}

#[cfg(test)]
mod tests;
