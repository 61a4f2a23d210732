//! Rules over stored data: what would have fired, and series of recording rules for a time before
//! there was the rule.
//!
//! Invariants: rules are evaluated at each multiple of their interval by the state machine that
//! evaluates them as time goes on; a try-out writes nothing, and a backfill that is repeated over
//! the same data writes the same samples; no more is held than what a piece of time makes, and of a
//! try-out what later rules may read.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_alerting::rules::group::{Running, Sample, Scene, reads};
use obs_alerting::rules::{AlertState, Group, Rule, RuleKind};
use obs_collector::{ErrorKind, HttpError};
use obs_model::answer::VectorSample;
use obs_model::{Answer, BudgetError, Labels, Samples, Tenant, Timestamp, Value};
use obs_query::{Language, Query, QueryError, Sources, When};
use obs_tsdb::Memory;

use super::Setting;
use super::evaluate::{Asking, batch};
use crate::app::{App, query_error};
use crate::enforced::Visible;

/// Steps that the first query of a rule computes, before it is known how much they make.
const STEPS_FIRST: i64 = 16;
/// Steps that one query computes.
const STEPS_MAX: i64 = 5_000;
/// The same where each step is a query of its own.
const STEPS_ALONE: i64 = 64;
/// Samples after which those of a piece are written.
const PIECE_SAMPLES: usize = 65_536;
/// How much longer a piece is than the one before it, at most.
const GROWTH: i64 = 8;
/// Samples that a try-out keeps for later rules.
const OVERLAY_SAMPLES_MAX: u64 = 20_000_000;
/// Alerts of one rule that are told; all are counted.
const EPISODES_MAX: usize = 1_000;
/// Steps of one request.
const STEPS_TOTAL_MAX: i64 = 2_000_000;

/// A time over which rules are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// Nanoseconds between evaluations.
    pub(crate) step: i64,
}

impl Stretch {
    /// From the first multiple of the step that is not before `start`.
    pub(crate) fn new(start: Timestamp, end: Timestamp, step: i64) -> Result<Self, HttpError> {
        let step = step.max(obs_model::time::NANOS_PER_MILLI);
        let first = start.nanos().div_euclid(step).saturating_mul(step);
        let first = match first < start.nanos() {
            true => first.saturating_add(step),
            false => first,
        };
        let stretch = Self {
            start: Timestamp::from_nanos(first),
            end,
            step,
        };
        if (end - start) / step > STEPS_TOTAL_MAX {
            return Err(HttpError::bad_data(format!(
                "expected at most {STEPS_TOTAL_MAX} evaluations of a rule; ask for a shorter time"
            )));
        }
        Ok(stretch)
    }

    /// So many steps of it.
    fn part(self, start: Timestamp, steps: i64) -> Self {
        let last = start.saturating_add(self.step.saturating_mul(steps - 1));
        Self {
            start,
            end: last.min(self.end),
            step: self.step,
        }
    }
}

/// How long pieces are: such that each makes about as many samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    steps: i64,
    most: i64,
}

impl Pace {
    fn new(language: Language) -> Self {
        let most = match language {
            Language::Promql | Language::Logql => STEPS_MAX,
            Language::Traceql => STEPS_ALONE,
        };
        Self {
            steps: STEPS_FIRST,
            most,
        }
    }

    /// A piece of so many steps made so many samples.
    fn went(&mut self, steps: i64, samples: usize) {
        let each = (samples as i64 / steps.max(1)).max(1);
        let fitting = (PIECE_SAMPLES as i64 / each).max(1);
        let grown = self.steps.saturating_mul(GROWTH);
        self.steps = fitting.min(grown).min(self.most);
    }

    /// A piece was too much for a query; says whether a shorter one can be tried.
    fn broke(&mut self) -> bool {
        let was = self.steps;
        self.most = (was / 4).max(1);
        self.steps = self.most;
        self.steps < was
    }
}

/// An alert that would have fired.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) active_at: Timestamp,
    pub(crate) fired_at: Timestamp,
    /// Nothing where it fires at the end.
    pub(crate) resolved_at: Option<Timestamp>,
}

/// What would have become of an alerting rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tried {
    pub(crate) episodes: Vec<Episode>,
    /// How often an alert began to fire.
    pub(crate) fired: u64,
    /// How often an alert was pending, fire or not.
    pub(crate) pending: u64,
    /// Nanoseconds that its alerts fired, added up.
    pub(crate) firing: i64,
    /// Nanoseconds of the longest.
    pub(crate) longest: i64,
    /// Evaluations.
    pub(crate) evaluations: u64,
    /// Those that failed, and why the first did.
    pub(crate) failures: u64,
    pub(crate) error: Option<String>,
}

/// Evaluates the rules of groups over a time, each seeing what those before it would have written.
pub(crate) async fn try_out(
    app: &Arc<App>,
    tenant: &Visible,
    setting: &Arc<Setting>,
    groups: Vec<Group>,
    (start, end): (Timestamp, Timestamp),
) -> Result<Vec<(Group, Vec<Option<Tried>>)>, HttpError> {
    let overlay = Arc::new(Memory::default());
    let all: Vec<&Rule> = groups.iter().flat_map(|group| &group.rules).collect();
    let any = all.iter().any(|rule| asks_in_templates(rule));
    let (mut held, mut nth) = (0u64, 0);
    let mut done = Vec::new();
    for group in &groups {
        let stretch = Stretch::new(start, end, group.interval.unwrap_or(setting.interval))?;
        let mut rules = Vec::new();
        for rule in &group.rules {
            // What nobody reads is not kept.
            let read = any || all[nth..].iter().any(|reader| reads(reader, rule));
            nth += 1;
            let trial = Trial::new(rule, group, setting);
            let taker = match read {
                true => Taker::Overlay(&overlay, &mut held),
                false => Taker::Nobody,
            };
            let asked = (app, tenant, Some(&overlay));
            let trial = trial.walk(asked, stretch, taker).await?;
            let is_alert = matches!(rule.kind, RuleKind::Alert { .. });
            rules.push(is_alert.then(|| trial.ended(end)));
        }
        done.push(rules);
    }
    Ok(groups.into_iter().zip(done).collect())
}

/// Who gets what rules make.
enum Taker<'a> {
    Nobody,
    /// Later rules; all that they got is counted.
    Overlay(&'a Memory, &'a mut u64),
    /// The stores. A rule that fails ends it.
    Stores(&'a App, &'a Tenant, &'a mut Filled),
}

impl Taker<'_> {
    async fn take(
        &mut self,
        made: Vec<Sample>,
        rule: &Rule,
        tried: &Tried,
    ) -> Result<(), HttpError> {
        match self {
            Self::Nobody => {}
            Self::Overlay(memory, held) => {
                **held += made.len() as u64;
                check_held(**held)?;
                memory.insert(batch(&made));
            }
            Self::Stores(app, tenant, filled) => {
                if let Some(error) = &tried.error {
                    let message = format!("rule {:?}: {error}", rule.name());
                    return Err(HttpError::new(ErrorKind::Execution, message));
                }
                for made in made.chunks(PIECE_SAMPLES) {
                    let written = app.sink.scraped(Tenant::clone(tenant), batch(made)).await;
                    let (accepted, _) = written?;
                    filled.refused += accepted.refused;
                    filled.samples += (made.len() as u64).saturating_sub(accepted.refused);
                }
            }
        }
        Ok(())
    }
}

fn check_held(held: u64) -> Result<(), HttpError> {
    if held <= OVERLAY_SAMPLES_MAX {
        return Ok(());
    }
    Err(HttpError::new(
        ErrorKind::Execution,
        format!(
            "the rules would have written more than {OVERLAY_SAMPLES_MAX} samples that others read; \
             try fewer rules or a shorter time"
        ),
    ))
}

/// Whether templates of a rule may ask for series of any name.
fn asks_in_templates(rule: &Rule) -> bool {
    let RuleKind::Alert { annotations, .. } = &rule.kind else {
        return false;
    };
    let mut texts = annotations.values().chain(rule.labels.values());
    texts.any(|text| text.contains("query"))
}

/// How much a backfill wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) samples: u64,
    pub(crate) refused: u64,
}

/// Writes the series of the recording rules of a group over a time, rule by rule.
pub(crate) async fn backfill(
    app: &Arc<App>,
    tenant: &Visible,
    setting: &Arc<Setting>,
    group: &Group,
    stretch: Stretch,
) -> Result<Filled, HttpError> {
    let mut filled = Filled::default();
    let records = |rule: &&Rule| matches!(rule.kind, RuleKind::Record { .. });
    for rule in group.rules.iter().filter(records) {
        let mut trial = Trial::new(rule, group, setting);
        // What the series had just before, so that those that end there end.
        let before = stretch.start.saturating_sub(stretch.step);
        let before = Stretch {
            start: before,
            end: before,
            step: stretch.step,
        };
        let asked = (app, tenant, None);
        trial = trial.walk(asked, before, Taker::Nobody).await?;
        trial.tried.error = None;
        let taker = Taker::Stores(app, tenant, &mut filled);
        trial.walk(asked, stretch, taker).await?;
    }
    Ok(filled)
}

/// Whose data rules are evaluated over, and what else they see.
type Asked<'a> = (&'a Arc<App>, &'a Visible, Option<&'a Arc<Memory>>);

/// A rule on its way through a time.
struct Trial {
    running: Running,
    query_offset: i64,
    setting: Arc<Setting>,
    tried: Tried,
    /// Alerts that fire, or wait to.
    live: BTreeMap<Labels, Episode>,
    made: Vec<Sample>,
}

impl Trial {
    fn new(rule: &Rule, group: &Group, setting: &Arc<Setting>) -> Self {
        let mut running = Running::new(rule, group);
        if let Some(alerting) = running.alerting_mut() {
            alerting.restored();
        }
        Self {
            running,
            query_offset: group.query_offset.unwrap_or(setting.query_offset),
            setting: Arc::clone(setting),
            tried: Tried::default(),
            live: BTreeMap::new(),
            made: Vec::new(),
        }
    }

    /// Goes through a time, piece by piece; the taker gets what each made.
    async fn walk(
        mut self,
        asked: Asked<'_>,
        stretch: Stretch,
        mut taker: Taker<'_>,
    ) -> Result<Self, HttpError> {
        let mut pace = Pace::new(self.running.rule.expression.language);
        let mut at = stretch.start;
        while at <= stretch.end {
            let piece = stretch.part(at, pace.steps);
            let (trial, done) = self.piece(asked, piece).await?;
            self = trial;
            match done {
                Ok(next) => {
                    let made = std::mem::take(&mut self.made);
                    pace.went((next - at) / stretch.step, made.len());
                    at = next;
                    let rule = &self.running.rule;
                    taker.take(made, rule, &self.tried).await?;
                }
                Err(QueryError::Budget(BudgetError::Exceeded { .. })) if pace.broke() => {}
                Err(error) => return Err(query_error(&error)),
            }
        }
        Ok(self)
    }

    /// Goes through some steps, in the query pool; says which step is next.
    async fn piece(
        mut self,
        (app, tenant, overlay): Asked<'_>,
        piece: Stretch,
    ) -> Result<(Self, Result<Timestamp, QueryError>), HttpError> {
        let mut sources = app.stores()?.sources(tenant);
        sources.cache = None;
        if let (Some(overlay), Some(metrics)) = (overlay, &mut sources.metrics) {
            metrics.memories.push(Arc::clone(overlay));
        }
        let about = Arc::clone(app);
        let work = move |budget: &obs_model::Budget, pool: &rayon::ThreadPool| {
            let done = self.steps(&about, &sources, piece, (budget, pool));
            Ok((self, done))
        };
        app.reader.run(tenant, None, work).await
    }

    /// An error leaves everything as it was before the step that `self` is at.
    fn steps(
        &mut self,
        app: &App,
        sources: &Sources,
        piece: Stretch,
        (budget, pool): (&obs_model::Budget, &rayon::ThreadPool),
    ) -> Result<Timestamp, QueryError> {
        let asking = |at: Timestamp| Asking {
            app,
            sources,
            budget,
            pool,
            at,
        };
        let query = self.running.rule.expression.query.clone();
        let early = |time: Timestamp| time.saturating_sub(self.query_offset);
        let mut answers = match query.language() {
            Language::Promql | Language::Logql => {
                let asking = asking(early(piece.start));
                Answers::Columns(Columns::ask(&asking, &query, piece, early)?)
            }
            Language::Traceql => Answers::Alone,
        };
        let mut now = piece.start;
        while now <= piece.end && self.made.len() < PIECE_SAMPLES {
            budget.check()?;
            let at = now.saturating_sub(self.query_offset);
            let asking = asking(at);
            let answer = match &mut answers {
                Answers::Columns(columns) => Ok(columns.at(at)),
                Answers::Alone => match asking.ask(&query) {
                    // The next piece has a budget of its own.
                    Err(QueryError::Budget(_)) if now > piece.start => break,
                    Err(error @ QueryError::Budget(_)) => return Err(error),
                    answer => answer,
                },
            };
            let setting = Arc::clone(&self.setting);
            let scene = Scene {
                now,
                query_offset: self.query_offset,
                surroundings: &setting.surroundings,
                asking: &|text| asking.elements(text),
            };
            self.tried.evaluations += 1;
            match self.running.evaluate(&scene, answer) {
                Ok(samples) => self.made.extend(samples),
                Err(error) => {
                    self.tried.failures += 1;
                    self.tried.error.get_or_insert_with(|| error.to_string());
                }
            }
            self.look(now);
            now = now.saturating_add(piece.step);
        }
        Ok(now)
    }

    /// What has become of the alerts.
    fn look(&mut self, now: Timestamp) {
        let Some(alerting) = self.running.alerting() else {
            return;
        };
        for alert in alerting.alerts() {
            if alert.active_at == now && alert.state != AlertState::Inactive {
                self.tried.pending += 1;
            }
            match (alert.state, alert.fired_at) {
                (AlertState::Firing, Some(fired_at)) => {
                    let fresh = || Episode {
                        labels: alert.labels.clone(),
                        annotations: alert.annotations.clone(),
                        active_at: alert.active_at,
                        fired_at,
                        resolved_at: None,
                    };
                    let known = self.live.entry(alert.labels.clone()).or_insert_with(fresh);
                    if known.fired_at != fired_at {
                        *known = fresh();
                    }
                }
                _ => {
                    if let Some(episode) = self.live.remove(&alert.labels) {
                        self.tried.end(episode, now, true);
                    }
                }
            }
        }
        // A rule over its limit forgets its alerts.
        if alerting.alerts().next().is_none() {
            for (_, episode) in std::mem::take(&mut self.live) {
                self.tried.end(episode, now, true);
            }
        }
    }

    fn ended(mut self, end: Timestamp) -> Tried {
        for (_, episode) in std::mem::take(&mut self.live) {
            self.tried.end(episode, end, false);
        }
        self.tried.episodes.sort_by_key(|episode| episode.fired_at);
        self.tried
    }
}

impl Tried {
    fn end(&mut self, mut episode: Episode, at: Timestamp, resolved: bool) {
        let lasted = at - episode.fired_at;
        self.fired += 1;
        self.firing = self.firing.saturating_add(lasted);
        self.longest = self.longest.max(lasted);
        episode.resolved_at = resolved.then_some(at);
        if self.episodes.len() < EPISODES_MAX {
            self.episodes.push(episode);
        }
    }
}

/// Where the answer of a step comes from.
enum Answers {
    /// One query for all steps.
    Columns(Columns),
    /// A query of its own.
    Alone,
}

/// The answer of a range, read step by step.
struct Columns(Vec<(Labels, Samples, usize)>);

impl Columns {
    fn ask(
        asking: &Asking<'_>,
        query: &Query,
        piece: Stretch,
        early: impl Fn(Timestamp) -> Timestamp,
    ) -> Result<Self, QueryError> {
        let when = When::Range {
            start: early(piece.start),
            end: early(piece.end),
            step: piece.step,
        };
        match asking.answer(query, when)? {
            Answer::Matrix(series) => Ok(Self(
                series
                    .into_iter()
                    .map(|one| (one.labels, one.samples, 0))
                    .collect(),
            )),
            _ => Err(QueryError::Unsuitable(
                "rule result is not a vector or scalar".to_owned(),
            )),
        }
    }

    /// The elements of a step; steps are asked for in order.
    fn at(&mut self, at: Timestamp) -> Answer {
        let mut elements = Vec::new();
        for (labels, samples, next) in &mut self.0 {
            while samples.times.get(*next).is_some_and(|time| *time < at) {
                *next += 1;
            }
            if samples.times.get(*next) == Some(&at) {
                let value: Value = samples.value(*next);
                elements.push(VectorSample {
                    labels: labels.clone(),
                    time: at,
                    value,
                });
            }
        }
        Answer::Vector(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_stand_on_their_grid() {
        let check = |start: i64, end: i64, step: i64, expect: (i64, i64)| {
            let time = Timestamp::from_seconds;
            let stretch = Stretch::new(time(start), time(end), step * 1_000_000_000);
            let stretch = stretch.expect("short");
            let part = stretch.part(stretch.start, 5_000);
            let found = (part.start.millis() / 1000, part.end.millis() / 1000);
            assert_eq!(found, expect, "{start} {end} {step}");
        };
        check(0, 60, 30, (0, 60));
        check(1, 60, 30, (30, 60));
        check(-31, 1, 30, (-30, 1));
        check(0, 6_000, 1, (0, 4_999));
        let long = Stretch::new(Timestamp::from_seconds(0), Timestamp::MAX, 1);
        assert!(long.is_err());
    }

    #[test]
    fn pieces_are_as_long_as_memory_allows() {
        let check = |language, went: &[(i64, usize)], expect: &[i64]| {
            let mut pace = Pace::new(language);
            let steps = went.iter().map(|(steps, samples)| {
                pace.went(*steps, *samples);
                pace.steps
            });
            assert_eq!(steps.collect::<Vec<_>>(), expect, "{went:?}");
        };
        use Language::{Promql, Traceql};
        let few = [(16, 16), (128, 128), (1024, 1024), (5000, 5000)];
        check(Promql, &few, &[128, 1024, 5000, 5000]);
        check(Traceql, &few[..2], &[64, 64]);
        // A rule with 10,000 series: six steps at one time, whatever it was before.
        check(Promql, &[(16, 0), (7, 70_000), (6, 60_000)], &[128, 6, 6]);
        check(Promql, &[(1, 1_000_000)], &[1]);
        let mut pace = Pace::new(Promql);
        assert!(pace.broke() && pace.broke());
        assert_eq!((pace.steps, pace.broke()), (1, false));
        pace.went(1, 1);
        assert_eq!(pace.steps, 1, "what broke is not tried again");
    }
}
