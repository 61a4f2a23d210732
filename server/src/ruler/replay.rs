//! Rules over stored data: what would have fired, and series of recording rules for a time before
//! there was the rule.
//!
//! Invariant: rules are evaluated at each multiple of their interval by the state machine that
//! evaluates them as time goes on; a try-out writes nothing, and a backfill that is repeated over
//! the same data writes the same samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_alerting::rules::group::{Running, Sample, Scene};
use obs_alerting::rules::{AlertState, Group, Rule, RuleKind};
use obs_collector::{ErrorKind, HttpError};
use obs_model::answer::VectorSample;
use obs_model::{Answer, Labels, Samples, Tenant, Timestamp, Value};
use obs_query::{Language, Query, QueryError, Sources, When};
use obs_tsdb::Memory;

use super::Setting;
use super::evaluate::{Asking, batch};
use crate::app::{App, query_error};

/// Steps that one query computes.
const STEPS_MAX: i64 = 5_000;
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

    /// Pieces of so many steps as one query computes.
    fn pieces(self) -> Vec<Self> {
        let mut pieces = Vec::new();
        let mut start = self.start;
        while start <= self.end {
            let last = start.saturating_add(self.step.saturating_mul(STEPS_MAX - 1));
            pieces.push(Self {
                start,
                end: last.min(self.end),
                step: self.step,
            });
            start = last.saturating_add(self.step);
        }
        pieces
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
    tenant: &Tenant,
    setting: &Arc<Setting>,
    groups: Vec<Group>,
    (start, end): (Timestamp, Timestamp),
) -> Result<Vec<(Group, Vec<Option<Tried>>)>, HttpError> {
    let overlay = Arc::new(Memory::default());
    let samples_max = app.rules.limits.query_samples_max;
    let mut held = 0u64;
    let mut done = Vec::new();
    for group in groups {
        let stretch = Stretch::new(start, end, group.interval.unwrap_or(setting.interval))?;
        let mut rules = Vec::new();
        for rule in &group.rules {
            let mut trial = Trial::new(rule, &group, setting);
            for piece in stretch.pieces() {
                trial = trial.piece(app, tenant, piece, Some(&overlay)).await?;
                held += trial.made.len() as u64;
                if held > samples_max {
                    return Err(HttpError::new(
                        ErrorKind::Execution,
                        format!(
                            "the rules would have written more than {samples_max} samples \
                             (obs.limits.query_samples_max); try fewer rules or a shorter time"
                        ),
                    ));
                }
                overlay.insert(batch(&std::mem::take(&mut trial.made)));
            }
            let is_alert = matches!(rule.kind, RuleKind::Alert { .. });
            rules.push(is_alert.then(|| trial.ended(end)));
        }
        done.push((group, rules));
    }
    Ok(done)
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
    tenant: &Tenant,
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
        trial = trial.piece(app, tenant, before, None).await?;
        trial.made.clear();
        for piece in stretch.pieces() {
            trial = trial.piece(app, tenant, piece, None).await?;
            if let Some(error) = &trial.tried.error {
                let message = format!("rule {:?}: {error}", rule.name());
                return Err(HttpError::new(ErrorKind::Execution, message));
            }
            let made = std::mem::take(&mut trial.made);
            let written = app.sink.scraped(tenant.clone(), batch(&made)).await;
            let (accepted, _) = written?;
            filled.refused += accepted.refused;
            filled.samples += (made.len() as u64).saturating_sub(accepted.refused);
        }
    }
    Ok(filled)
}

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

    /// Goes through some steps, in the query pool.
    async fn piece(
        mut self,
        app: &Arc<App>,
        tenant: &Tenant,
        piece: Stretch,
        overlay: Option<&Arc<Memory>>,
    ) -> Result<Self, HttpError> {
        let mut sources = app.stores()?.sources(tenant);
        sources.cache = None;
        if let (Some(overlay), Some(metrics)) = (overlay, &mut sources.metrics) {
            metrics.memories.push(Arc::clone(overlay));
        }
        let about = Arc::clone(app);
        let work = move |budget: &obs_model::Budget, pool: &rayon::ThreadPool| {
            self.steps(&about, &sources, piece, (budget, pool))
                .map_err(|error| query_error(&error))?;
            Ok(self)
        };
        app.reader.run(tenant, None, work).await
    }

    fn steps(
        &mut self,
        app: &App,
        sources: &Sources,
        piece: Stretch,
        (budget, pool): (&obs_model::Budget, &rayon::ThreadPool),
    ) -> Result<(), QueryError> {
        let asking = |at: Timestamp| Asking {
            app,
            sources,
            budget,
            pool,
            at,
        };
        let query = self.running.rule.expression.query.clone();
        let early = |time: Timestamp| time.saturating_sub(self.query_offset);
        let mut columns = Columns::ask(&asking(early(piece.start)), &query, piece, early)?;
        let mut now = piece.start;
        while now <= piece.end {
            budget.check()?;
            let at = now.saturating_sub(self.query_offset);
            let asking = asking(at);
            let answer = Ok(columns.at(at));
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
        Ok(())
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
        if query.language() == Language::Traceql {
            return Err(QueryError::Unsuitable(
                "rules over spans are evaluated as time goes on only".to_owned(),
            ));
        }
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
        let check = |start: i64, end: i64, step: i64, expect: &[(i64, i64)]| {
            let time = Timestamp::from_seconds;
            let stretch = Stretch::new(time(start), time(end), step * 1_000_000_000);
            let pieces = stretch.expect("short").pieces();
            let found: Vec<(i64, i64)> = pieces
                .iter()
                .map(|piece| (piece.start.millis() / 1000, piece.end.millis() / 1000))
                .collect();
            assert_eq!(found, expect, "{start} {end} {step}");
        };
        check(0, 60, 30, &[(0, 60)]);
        check(1, 60, 30, &[(30, 60)]);
        check(-31, 1, 30, &[(-30, 1)]);
        check(50, 40, 30, &[]);
        check(0, 6_000, 1, &[(0, 4_999), (5_000, 6_000)]);
        let long = Stretch::new(Timestamp::from_seconds(0), Timestamp::MAX, 1);
        assert!(long.is_err());
    }
}
