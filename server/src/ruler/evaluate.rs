//! Rounds of groups: ask, decide, store, keep, tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use obs_alerting::rules::Sent;
use obs_alerting::rules::group::{Running, Sample, Scene, Schedule, ends};
use obs_alerting::template::Asked;
use obs_collector::HttpError;
use obs_model::metrics::{MetricBatch, Sample as Point, Series};
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Answer, Budget, Tenant, Timestamp, Value};
use obs_query::{Language, Query, QueryError, Request, Sources, When};
use rayon::ThreadPool;
use tokio::task::JoinSet;

use super::{GroupKey, Member, Ruler, Told, lock};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;

/// Samples that are stored together.
const BATCH_SAMPLES: usize = 65_536;
/// Between two tries to store what a round made.
const RETRY: Duration = Duration::from_secs(1);
/// Tries to store it.
const TRIES: usize = 3;
/// How long a round waits at most for those who send its alerts; also half of its interval.
const SEND_MAX: Duration = Duration::from_secs(10);
/// How far back rules over spans look, whose language has no ranges; as far as an instant of PromQL.
const SPANS_WINDOW: i64 = 5 * 60 * NANOS_PER_SECOND;
/// Elements that a query in a template may give.
const TEMPLATE_ELEMENTS_MAX: usize = 10_000;

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) samples: AtomicU64,
    pub(crate) samples_lost: AtomicU64,
    pub(crate) alerts_dropped: AtomicU64,
}

/// What happened so far in one group.
#[derive(Debug, Default)]
pub(crate) struct MemberCounts {
    pub(crate) evaluations: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Rounds.
    pub(crate) iterations: AtomicU64,
    /// Rounds that were left out.
    pub(crate) missed: AtomicU64,
}

/// What a rule made in a round.
#[derive(Debug, Default)]
struct Made {
    samples: Vec<Sample>,
    /// What is told, and by which rule.
    told: Option<(usize, Told)>,
}

impl Ruler {
    /// Starts the task of a group; the one before it has ended its round first.
    pub(super) fn start(
        self: &Arc<Self>,
        app: &Arc<App>,
        member: Arc<Member>,
        old: Option<Arc<Member>>,
    ) {
        let (ruler, app) = (Arc::clone(self), Arc::clone(app));
        self.tasks.spawn(async move {
            let _ended = member.ended.clone().drop_guard();
            if let Some(old) = old {
                old.stop.cancel();
                old.ended.cancelled().await;
                member.take_over(&old);
            }
            ruler.run(&app, &member).await;
        });
    }

    async fn run(self: &Arc<Self>, app: &Arc<App>, member: &Arc<Member>) {
        let schedule = Schedule::new(&member.key.file, &member.key.name, member.times.interval);
        let mut next = schedule.after(clock::now());
        loop {
            let wait = clock::until(next);
            tokio::select! {
                biased;
                () = member.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let now = clock::now();
            if schedule.is_far(next, now) {
                // The clock was set back: nothing has happened yet at the time that was meant.
                next = schedule.after(now);
                continue;
            }
            let watch = clock::Stopwatch::start();
            member.counts.iterations.fetch_add(1, Ordering::Relaxed);
            self.round(app, member, next).await;
            *lock(&member.last) = Some((next, watch.elapsed_seconds()));
            // Rounds that a slow one has run over are left out and counted.
            let (after, over) = schedule.next(next, clock::now());
            if over > 0 {
                member.counts.missed.fetch_add(over, Ordering::Relaxed);
                member.counts.iterations.fetch_add(over, Ordering::Relaxed);
            }
            next = after;
        }
    }

    /// Evaluates the rules of a group once: those that wait for nobody together, the others behind
    /// them.
    async fn round(self: &Arc<Self>, app: &Arc<App>, member: &Arc<Member>, now: Timestamp) {
        let mut left: Vec<usize> = (0..member.rules.len()).collect();
        let mut done = vec![false; member.rules.len()];
        while !left.is_empty() {
            let ready = |rule: &usize| member.waits[*rule].iter().all(|before| done[*before]);
            let (wave, later): (Vec<usize>, Vec<usize>) = left.into_iter().partition(ready);
            self.wave(app, member, now, &wave).await;
            for rule in wave {
                done[rule] = true;
            }
            left = later;
        }
        let asked_at = now.saturating_sub(member.times.query_offset);
        let orphans = std::mem::take(&mut *lock(&member.orphans));
        self.store(app, &member.key.tenant, ends(orphans, asked_at))
            .await;
    }

    async fn wave(
        self: &Arc<Self>,
        app: &Arc<App>,
        member: &Arc<Member>,
        now: Timestamp,
        rules: &[usize],
    ) {
        let mut running = JoinSet::new();
        let mut samples = Vec::new();
        let mut told = Vec::new();
        for rule in rules.iter().copied() {
            // Closed only when the process ends.
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                return;
            };
            let (ruler, about, of) = (Arc::clone(self), Arc::clone(app), Arc::clone(member));
            running.spawn(async move {
                let _permit = permit;
                ruler.evaluate(&about, &of, rule, now).await
            });
            while let Some(Ok(made)) = running.try_join_next() {
                samples.extend(made.samples);
                told.extend(made.told);
            }
            if samples.len() >= BATCH_SAMPLES {
                self.store(app, &member.key.tenant, std::mem::take(&mut samples))
                    .await;
            }
        }
        while let Some(made) = running.join_next().await {
            let Ok(made) = made else { continue };
            samples.extend(made.samples);
            told.extend(made.told);
        }
        self.store(app, &member.key.tenant, samples).await;
        if !told.is_empty() {
            self.keep(member, now).await;
        }
        // One time for all of them: a round waits no longer for many rules than for one.
        let interval = u64::try_from(member.times.interval).unwrap_or(0);
        let patience = Duration::from_nanos(interval / 2).min(SEND_MAX);
        let deadline = tokio::time::Instant::now() + patience;
        for (rule, told) in told {
            if !told.alerts.is_empty() {
                self.send(member, rule, (told, deadline)).await;
            }
        }
    }

    /// Hands alerts to those who send them. Where so much is told at one time that nobody takes it
    /// for long, the next evaluation tells it.
    async fn send(
        &self,
        member: &Member,
        rule: usize,
        (told, deadline): (Told, tokio::time::Instant),
    ) {
        let reserved = tokio::time::timeout_at(deadline, self.outbox.reserve()).await;
        let Ok(permit) = reserved else {
            let alerts = told.alerts.len() as u64;
            self.counts
                .alerts_dropped
                .fetch_add(alerts, Ordering::Relaxed);
            tracing::error!(
                alerts,
                "nobody takes the alerts: the next evaluation tells them"
            );
            if let Some(slot) = member.rules.get(rule)
                && let Some(alerting) = lock(&slot.running).alerting_mut()
            {
                alerting.not_sent(&told.alerts);
            }
            return;
        };
        // Closed only when the process ends.
        if let Ok(permit) = permit {
            permit.send(told);
        }
    }

    /// Asks and decides, off the event loop.
    async fn evaluate(
        self: &Arc<Self>,
        app: &Arc<App>,
        member: &Arc<Member>,
        rule: usize,
        now: Timestamp,
    ) -> Made {
        member.counts.evaluations.fetch_add(1, Ordering::Relaxed);
        let tenant = member.key.tenant.clone();
        let sources = match app.stores() {
            Ok(stores) => stores.sources(&Visible::all_of(tenant.clone())),
            Err(error) => return self.failed(member, rule, now, error.message),
        };
        let (ruler, asked, about) = (Arc::clone(self), Arc::clone(member), Arc::clone(app));
        let work = move |budget: &Budget, pool: &ThreadPool| {
            let watch = clock::Stopwatch::start();
            let asking = Asking {
                app: &about,
                sources: &sources,
                budget,
                pool,
                at: now.saturating_sub(asked.times.query_offset),
            };
            Ok::<_, HttpError>(ruler.decide(&asked, rule, now, &asking, watch))
        };
        match app.reader.run(&tenant, None, work).await {
            Ok(made) => made,
            Err(error) => self.failed(member, rule, now, error.message),
        }
    }

    fn decide(
        &self,
        member: &Member,
        rule: usize,
        now: Timestamp,
        asking: &Asking<'_>,
        watch: clock::Stopwatch,
    ) -> Made {
        let (Some(slot), Some(of)) = (member.rules.get(rule), member.group.rules.get(rule)) else {
            return Made::default();
        };
        let answer = asking.ask(&of.expression.query);
        let setting = self.setting();
        let number = rule;
        let mut rule = lock(&slot.running);
        let scene = Scene {
            now,
            query_offset: member.times.query_offset,
            surroundings: &setting.surroundings,
            asking: &|text| asking.elements(text),
        };
        let evaluated = rule.evaluate(&scene, answer);
        let mut samples = match evaluated {
            Ok(samples) => samples,
            Err(error) => {
                member.counts.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    group = member.key.name,
                    file = member.key.file,
                    rule = rule.rule.name(),
                    %error,
                    "evaluating a rule failed"
                );
                Vec::new()
            }
        };
        rule.evaluation_seconds = watch.elapsed_seconds();
        samples.extend(self.restore(&mut rule, &scene, asking));
        let told = self.tell(&mut rule, member, now);
        slot.show(&rule);
        let told = told.map(|told| (number, told));
        Made { samples, told }
    }

    /// Behind the first evaluation: what series of an earlier server say of pending alerts.
    fn restore(&self, rule: &mut Running, scene: &Scene<'_>, asking: &Asking<'_>) -> Vec<Sample> {
        let name = rule.rule.name().to_owned();
        let setting = self.setting();
        let Some(alerting) = rule
            .alerting_mut()
            .filter(|alerting| !alerting.is_restored())
        else {
            return Vec::new();
        };
        if alerting.alerts().next().is_some() {
            let known = asking.last_of_alert(&name, setting.outage_tolerance);
            alerting.restore_from_series(scene.now, setting.grace, |labels| {
                let found = known.iter().find(|(series, ..)| series == labels)?;
                Some((found.1, found.2))
            });
        }
        alerting.restored();
        Vec::new()
    }

    fn tell(&self, rule: &mut Running, member: &Member, now: Timestamp) -> Option<Told> {
        let expression = rule.rule.expression.query.to_string();
        let alerting = rule.alerting_mut()?;
        let alerts: Vec<Sent> =
            alerting.to_send(now, self.setting().resend_delay, member.times.interval);
        Some(Told {
            tenant: member.key.tenant.clone(),
            expression,
            alerts,
        })
    }

    fn failed(&self, member: &Member, rule: usize, now: Timestamp, error: String) -> Made {
        let asking = |_: &str| Err(error.clone());
        let setting = self.setting();
        let scene = Scene {
            now,
            query_offset: member.times.query_offset,
            surroundings: &setting.surroundings,
            asking: &asking,
        };
        member.counts.failures.fetch_add(1, Ordering::Relaxed);
        let Some(slot) = member.rules.get(rule) else {
            return Made::default();
        };
        let number = rule;
        let mut rule = lock(&slot.running);
        let failed = Err(QueryError::Execution(error.clone()));
        drop(rule.evaluate(&scene, failed));
        // Who is told must not take the silence for an end.
        let told = self.tell(&mut rule, member, now);
        slot.show(&rule);
        Made {
            samples: Vec::new(),
            told: told.map(|told| (number, told)),
        }
    }

    /// Stores samples, durable on return; after a few tries they are given up and counted.
    async fn store(&self, app: &Arc<App>, tenant: &Tenant, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        let count = samples.len() as u64;
        for left in (0..TRIES).rev() {
            match app.sink.scraped(tenant.clone(), batch(&samples)).await {
                Ok((accepted, _)) => {
                    self.counts
                        .samples
                        .fetch_add(count - accepted.refused, Ordering::Relaxed);
                    self.counts
                        .samples_lost
                        .fetch_add(accepted.refused, Ordering::Relaxed);
                    return;
                }
                Err(error) if left == 0 => {
                    tracing::error!(%error, samples = count, "samples of rules are lost");
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
        self.counts.samples_lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Ends a group that is gone: its series end, its alerts are forgotten.
    pub(super) async fn end(self: &Arc<Self>, app: &Arc<App>, member: &Arc<Member>) {
        member.ended.cancelled().await;
        let asked_at = clock::now().saturating_sub(member.times.query_offset);
        let mut series = std::mem::take(&mut *lock(&member.orphans));
        for rule in &member.rules {
            series.extend(lock(&rule.running).clone().leave());
        }
        self.store(app, &member.key.tenant, ends(series, asked_at))
            .await;
        lock(&self.gone).push(member.key.clone());
        self.forget().await;
    }

    /// Forgets the states of all groups that are gone, unless they are there again: nobody restores
    /// what is removed. Where many end together the first does it for all.
    #[expect(
        clippy::disallowed_methods,
        reason = "a write to disk, off the event loop"
    )]
    pub(super) async fn forget(self: &Arc<Self>) {
        let turn = Arc::clone(&self.changing).lock_owned().await;
        let gone = std::mem::take(&mut *lock(&self.gone));
        if gone.is_empty() {
            return;
        }
        let ruler = Arc::clone(self);
        let forget = move || {
            let _turn = turn;
            let is_back = |key: &&GroupKey| lock(&ruler.members).contains_key(*key);
            ruler.kept.forget(gone.iter().filter(|key| !is_back(key)));
        };
        if tokio::task::spawn_blocking(forget).await.is_err() {
            tracing::error!("states of alerts could not be removed");
        }
    }

    /// Writes the states of alerts that have changed, off the event loop.
    #[expect(
        clippy::disallowed_methods,
        reason = "a small write to disk, off the event loop"
    )]
    async fn keep(self: &Arc<Self>, member: &Arc<Member>, now: Timestamp) {
        let (kept, member) = (Arc::clone(&self.kept), Arc::clone(member));
        let write = move || kept.keep(&member.key, &member.rules, now);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::error!(%error, "states of alerts could not be kept");
        }
    }
}

/// Samples as a batch; each has labels of its own.
pub(super) fn batch(samples: &[Sample]) -> MetricBatch {
    let series = samples.iter().map(|sample| Series {
        labels: sample.labels.clone(),
        samples: vec![Point {
            time: sample.time,
            start: None,
            value: sample.value.clone(),
        }],
        ..Series::default()
    });
    MetricBatch {
        series: series.collect(),
        ..MetricBatch::default()
    }
}

/// Answers the queries of one evaluation.
pub(super) struct Asking<'a> {
    pub(super) app: &'a App,
    pub(super) sources: &'a Sources,
    pub(super) budget: &'a Budget,
    pub(super) pool: &'a ThreadPool,
    pub(super) at: Timestamp,
}

impl Asking<'_> {
    /// The answer as a rule sees it.
    pub(super) fn ask(&self, query: &Query) -> Result<Answer, QueryError> {
        let when = match query.language() {
            Language::Promql | Language::Logql => When::At(self.at),
            Language::Traceql => When::Range {
                start: self.at.saturating_sub(SPANS_WINDOW),
                end: self.at,
                step: SPANS_WINDOW,
            },
        };
        self.answer(query, when)
    }

    /// The answer at other times.
    pub(super) fn answer(&self, query: &Query, when: When) -> Result<Answer, QueryError> {
        let request = Request {
            cached: false,
            whole_range: matches!(when, When::At(_)) || query.language() == Language::Traceql,
            limit: usize::MAX,
            ..self.app.features.request(when)
        };
        let plan = query.plan(&request, &self.app.rules.limits)?;
        Ok(obs_query::run(&plan, self.sources, self.budget, self.pool)?.answer)
    }

    /// The answer to a query in a template.
    pub(super) fn elements(&self, text: &str) -> Result<Vec<Asked>, String> {
        let limits = &self.app.rules.limits;
        let query = Query::parse(Language::Promql, text, limits).map_err(|e| e.to_string())?;
        let answer = self.ask(&query).map_err(|e| e.to_string())?;
        let elements = obs_alerting::rules::group::elements(answer).map_err(|e| e.to_string())?;
        if elements.len() > TEMPLATE_ELEMENTS_MAX {
            return Err(format!(
                "expected at most {TEMPLATE_ELEMENTS_MAX} elements, found {}",
                elements.len()
            ));
        }
        let elements = elements.into_iter();
        Ok(elements
            .map(|(labels, value)| Asked {
                labels,
                value: match value {
                    Value::Float(value) => value,
                    Value::Histogram(_) => 0.0,
                },
            })
            .collect())
    }

    /// Labels, time and value of the last samples of `ALERTS_FOR_STATE` of an alert; those that
    /// ended have none.
    fn last_of_alert(
        &self,
        name: &str,
        tolerance: i64,
    ) -> Vec<(obs_model::Labels, Timestamp, f64)> {
        let text = format!(
            "ALERTS_FOR_STATE{{alertname={}}}",
            obs_query::promql::quote(name)
        );
        let at = |text: &str| {
            let query = Query::parse(Language::Promql, text, &self.app.rules.limits).ok()?;
            let request = Request {
                cached: false,
                lookback: tolerance,
                ..self.app.features.request(When::At(self.at))
            };
            let plan = query.plan(&request, &self.app.rules.limits).ok()?;
            let reply = obs_query::run(&plan, self.sources, self.budget, self.pool).ok()?;
            obs_alerting::rules::group::elements(reply.answer).ok()
        };
        let values = at(&text).unwrap_or_default();
        let times = at(&format!("timestamp({text})")).unwrap_or_default();
        let without_name = |labels: &obs_model::Labels| {
            labels.without(|name| name == obs_model::labels::METRIC_NAME)
        };
        values
            .into_iter()
            .filter_map(|(labels, value)| {
                let bare = without_name(&labels);
                let (_, time) = times.iter().find(|(of, _)| without_name(of) == bare)?;
                let (Value::Float(value), Value::Float(time)) = (value, time) else {
                    return None;
                };
                Some((labels, Timestamp::from_seconds_f64(*time)?, value))
            })
            .collect()
    }
}
