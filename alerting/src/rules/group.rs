//! Groups: when they are evaluated, in which order their rules may go, and what each leaves behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use obs_model::labels::METRIC_NAME;
use obs_model::sample::stale;
use obs_model::spans::AttributeValue;
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Answer, Labels, MatchOp, Matcher, Timestamp, Value};
use obs_query::QueryError;
use xxhash_rust::xxh3::xxh3_64;

use super::alert::{Alert, Alerting};
use super::file::{Group, Rule, RuleKind};
use super::record::Recording;
use crate::error::RuleError;
use crate::template::{Asking, Surroundings};

/// A sample that a rule writes.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The labels of its series.
    pub labels: Labels,
    /// Its time.
    pub time: Timestamp,
    /// Its value.
    pub value: Value,
}

/// What an evaluation sees beside the answer.
pub struct Scene<'a> {
    /// The time of the evaluation.
    pub now: Timestamp,
    /// How much earlier queries ask and samples stand.
    pub query_offset: i64,
    /// What templates know.
    pub surroundings: &'a Surroundings,
    /// Answers queries in templates.
    pub asking: Asking<'a>,
}

impl std::fmt::Debug for Scene<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene")
            .field("now", &self.now)
            .field("query_offset", &self.query_offset)
            .finish_non_exhaustive()
    }
}

impl Scene<'_> {
    /// The time at which queries ask and samples stand.
    pub fn asked_at(&self) -> Timestamp {
        self.now.saturating_sub(self.query_offset)
    }
}

/// When a group is evaluated: every interval, at an offset of its own, so that groups spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval: i64,
    offset: i64,
}

impl Schedule {
    /// The schedule of a group of a file; an interval below a millisecond counts as one.
    pub fn new(file: &str, group: &str, interval: i64) -> Self {
        let interval = interval.max(NANOS_PER_MILLI);
        let hash = xxh3_64(format!("{file};{group}").as_bytes());
        // Samples of others stand at whole milliseconds, too.
        let millis = (interval / NANOS_PER_MILLI).unsigned_abs().max(1);
        let offset = (hash % millis) as i64 * NANOS_PER_MILLI;
        Self { interval, offset }
    }

    /// Nanoseconds between evaluations.
    pub fn interval(self) -> i64 {
        self.interval
    }

    /// The last evaluation that is not behind `now`.
    pub fn at_or_before(self, now: Timestamp) -> Timestamp {
        let shifted = now.nanos().saturating_sub(self.offset);
        let base = shifted
            .div_euclid(self.interval)
            .saturating_mul(self.interval);
        Timestamp::from_nanos(base.saturating_add(self.offset))
    }

    /// The first evaluation behind `now`.
    pub fn after(self, now: Timestamp) -> Timestamp {
        self.at_or_before(now).saturating_add(self.interval)
    }

    /// Whether the clock was set back so far that `next` is not the evaluation that comes now.
    pub fn is_far(self, next: Timestamp, now: Timestamp) -> bool {
        next > self.after(now)
    }

    /// The evaluation behind the one at `last`, which ended now, and how many were run over. Where
    /// the clock was set back meanwhile, the first behind it.
    pub fn next(self, last: Timestamp, now: Timestamp) -> (Timestamp, u64) {
        if self.is_far(last, now) {
            return (self.after(now), 0);
        }
        let due = self.at_or_before(now).max(last);
        let over = ((due - last) / self.interval).unsigned_abs();
        (due.saturating_add(self.interval), over)
    }
}

/// How a rule is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It was not evaluated yet.
    #[default]
    Unknown,
    /// The last evaluation was fine.
    Good,
    /// The last evaluation failed.
    Bad(String),
}

impl Health {
    /// As the API says it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad(_) => "err",
        }
    }
}

/// What a rule keeps between evaluations.
#[derive(Clone, Debug)]
enum Memory {
    Alerting(Alerting),
    Recording(Recording),
}

/// A rule that is evaluated again and again.
#[derive(Clone, Debug)]
pub struct Running {
    /// The rule as its file has it.
    pub rule: Rule,
    memory: Memory,
    limit: usize,
    /// Series that it wrote last time.
    written: BTreeSet<Labels>,
    /// How it is doing.
    pub health: Health,
    /// When it was evaluated last.
    pub last_evaluation: Option<Timestamp>,
    /// Seconds that took.
    pub evaluation_seconds: f64,
}

impl Running {
    /// The rule of a group, with nothing behind it.
    pub fn new(rule: &Rule, group: &Group) -> Self {
        let memory = match (&rule.kind, Alerting::new(rule, group)) {
            (_, Some(alerting)) => Memory::Alerting(alerting),
            (RuleKind::Record { name } | RuleKind::Alert { name, .. }, None) => {
                Memory::Recording(Recording {
                    name: name.clone(),
                    labels: rule.labels_in(group),
                })
            }
        };
        Self {
            rule: rule.clone(),
            memory,
            limit: group.limit,
            written: BTreeSet::new(),
            health: Health::Unknown,
            last_evaluation: None,
            evaluation_seconds: 0.0,
        }
    }

    /// The alerts, where it alerts.
    pub fn alerting(&self) -> Option<&Alerting> {
        match &self.memory {
            Memory::Alerting(alerting) => Some(alerting),
            Memory::Recording(_) => None,
        }
    }

    /// The same, to change them.
    pub fn alerting_mut(&mut self) -> Option<&mut Alerting> {
        match &mut self.memory {
            Memory::Alerting(alerting) => Some(alerting),
            Memory::Recording(_) => None,
        }
    }

    /// Takes over alerts that were kept when the server ended, and the series that they had; `down`
    /// is how long nobody evaluated. Nothing is looked for in series then.
    pub fn restore(&mut self, kept: Vec<Alert>, down: i64) {
        if let Memory::Alerting(alerting) = &mut self.memory {
            alerting.restore(kept, down);
            alerting.restored();
            self.written.extend(alerting.series());
        }
    }

    /// Decides from the answer. The samples end with staleness markers for the series that were
    /// written last time and are gone. An evaluation that fails writes nothing.
    pub fn evaluate(
        &mut self,
        scene: &Scene<'_>,
        answer: Result<Answer, QueryError>,
    ) -> Result<Vec<Sample>, RuleError> {
        self.last_evaluation = Some(scene.now);
        let samples = self.samples(scene, answer);
        self.health = match &samples {
            Ok(_) => Health::Good,
            Err(error) => Health::Bad(error.to_string()),
        };
        let mut samples = samples?;
        let writes: BTreeSet<Labels> = samples.iter().map(|s| s.labels.clone()).collect();
        let before = std::mem::replace(&mut self.written, writes);
        let gone = before.difference(&self.written).cloned();
        samples.extend(ends(gone, scene.asked_at()));
        Ok(samples)
    }

    fn samples(
        &mut self,
        scene: &Scene<'_>,
        answer: Result<Answer, QueryError>,
    ) -> Result<Vec<Sample>, RuleError> {
        let elements = elements(answer?)?;
        match &mut self.memory {
            Memory::Alerting(alerting) => alerting.evaluate(scene, &elements, self.limit),
            Memory::Recording(recording) => recording.evaluate(scene, elements, self.limit),
        }
    }

    /// The series that it has written and that end when it is gone.
    pub fn leave(self) -> BTreeSet<Labels> {
        self.written
    }
}

/// For each rule of a group the one that it goes on from after a reload: name, kind and labels are
/// the same; of several the first that is left.
pub fn successors(rules: &[Rule], earlier: &[Rule]) -> Vec<Option<usize>> {
    fn known(rule: &Rule) -> (&str, bool, &BTreeMap<String, String>) {
        let alerts = matches!(rule.kind, RuleKind::Alert { .. });
        (rule.name(), alerts, &rule.labels)
    }
    let mut left: BTreeMap<_, VecDeque<usize>> = BTreeMap::new();
    for (at, rule) in earlier.iter().enumerate() {
        left.entry(known(rule)).or_default().push_back(at);
    }
    let rules = rules.iter();
    rules
        .map(|rule| left.get_mut(&known(rule))?.pop_front())
        .collect()
}

/// Takes over what rules knew before a reload, each from its [successor](successors); gives the
/// series of those that are gone.
pub fn take_over(
    rules: &mut [Running],
    earlier: Vec<Running>,
    successors: &[Option<usize>],
) -> BTreeSet<Labels> {
    let mut left: Vec<Option<Running>> = earlier.into_iter().map(Some).collect();
    for (rule, from) in rules.iter_mut().zip(successors) {
        let old = from.and_then(|from| left.get_mut(from)?.take());
        let Some(old) = old else { continue };
        rule.written = old.written;
        rule.health = old.health;
        rule.last_evaluation = old.last_evaluation;
        rule.evaluation_seconds = old.evaluation_seconds;
        if let (Memory::Alerting(rule), Memory::Alerting(old)) = (&mut rule.memory, old.memory) {
            rule.take_over(old);
        }
    }
    left.into_iter()
        .flatten()
        .flat_map(Running::leave)
        .collect()
}

/// Staleness markers.
pub fn ends(series: impl IntoIterator<Item = Labels>, time: Timestamp) -> Vec<Sample> {
    let series = series.into_iter();
    series
        .map(|labels| Sample {
            labels,
            time,
            value: Value::Float(stale()),
        })
        .collect()
}

/// The elements of an answer of any language at one time.
pub fn elements(answer: Answer) -> Result<Vec<(Labels, Value)>, RuleError> {
    match answer {
        Answer::Scalar(_, value) => Ok(vec![(Labels::empty(), Value::Float(value))]),
        Answer::Vector(vector) => Ok(vector.into_iter().map(|s| (s.labels, s.value)).collect()),
        Answer::SpanSeries(series) => Ok(series
            .into_iter()
            .filter_map(|series| {
                let (_, value) = *series.samples.last()?;
                let pairs = series.labels.iter();
                let pairs = pairs.map(|label| (label.key.as_str(), text(&label.value)));
                Some((Labels::from_pairs(pairs), Value::Float(value)))
            })
            .collect()),
        Answer::String(..) | Answer::Matrix(_) | Answer::Streams(_) | Answer::Traces(_) => {
            Err(RuleError::Shape)
        }
    }
}

/// The label that a value of a span becomes; series of spans are split by scalars only.
fn text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::String(text) => text.clone(),
        AttributeValue::Bool(value) => value.to_string(),
        AttributeValue::Int(value) => value.to_string(),
        AttributeValue::Double(value) => value.to_string(),
        AttributeValue::Empty
        | AttributeValue::Bytes(_)
        | AttributeValue::Array(_)
        | AttributeValue::Map(_) => "nil".to_owned(),
    }
}

/// For each rule of a group, the rules before it that write what it may read: it waits for those.
pub fn waits_for(rules: &[Rule]) -> Vec<Vec<usize>> {
    // A group may have thousands of rules: writers are found by name.
    let mut writers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut waits = Vec::with_capacity(rules.len());
    for (at, rule) in rules.iter().enumerate() {
        let mut before = BTreeSet::new();
        for selector in rule.expression.query.metric_selectors() {
            let names: Vec<&Matcher> = by_name(&selector).collect();
            let fixed = names.iter().find(|matcher| matcher.op == MatchOp::Equal);
            let candidates: Vec<&Vec<usize>> = match fixed {
                Some(name) => writers.get(name.value.as_str()).into_iter().collect(),
                None => {
                    let matching = |name: &str| names.iter().all(|matcher| matcher.matches(name));
                    let found = writers.iter().filter(|(name, _)| matching(name));
                    found.map(|(_, writers)| writers).collect()
                }
            };
            before.extend(candidates.into_iter().flatten().copied());
        }
        waits.push(before.into_iter().collect());
        for name in written(rule) {
            writers.entry(name).or_default().push(at);
        }
    }
    waits
}

/// Whether a rule may read what another writes.
pub fn reads(reader: &Rule, writer: &Rule) -> bool {
    let selectors = reader.expression.query.metric_selectors();
    selectors.iter().any(|selector| may_read(selector, writer))
}

/// Whether a selector may match what a rule writes.
fn may_read(selector: &[Matcher], rule: &Rule) -> bool {
    let matching = |name: &&str| by_name(selector).all(|matcher| matcher.matches(name));
    written(rule).iter().any(matching)
}

/// What a selector says of the name.
fn by_name(selector: &[Matcher]) -> impl Iterator<Item = &Matcher> {
    let matchers = selector.iter();
    matchers.filter(|matcher| matcher.name == METRIC_NAME)
}

/// The names of the series that a rule writes.
fn written(rule: &Rule) -> Vec<&str> {
    match &rule.kind {
        RuleKind::Record { name } => vec![name],
        RuleKind::Alert { .. } => vec!["ALERTS", "ALERTS_FOR_STATE"],
    }
}

#[cfg(test)]
mod tests;
