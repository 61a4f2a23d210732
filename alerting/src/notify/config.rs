//! Alertmanager's configuration file, unchanged, and what it becomes.
//!
//! Invariant: a configuration that was read is whole: every receiver and time that a route names
//! exists, and every fault names its line and column or the key.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::{MatchOp, Matcher, Timestamp, duration};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::extras::{Extras, RawExtras, RawRouteExtras};
use super::inhibit::InhibitRule;
use super::interval::{self, Interval};
use super::matchers;
use super::receivers::{Global, RawReceiver, Receiver};
use super::route::{GroupBy, Options, Repeat, Route};
use crate::error::FileError;

const SECOND: i64 = obs_model::time::NANOS_PER_SECOND;

/// A configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What holds for all receivers.
    pub global: Global,
    /// The root of the routes.
    pub route: Route,
    /// Who can be told.
    pub receivers: Vec<Receiver>,
    /// Which alerts keep others quiet.
    pub inhibit: Vec<InhibitRule>,
    /// Times by name.
    pub intervals: BTreeMap<String, Vec<Interval>>,
    /// Patterns of files with templates.
    pub templates: Vec<String>,
    /// What obs adds to Alertmanager's file.
    pub extras: Extras,
}

impl Config {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let raw: Option<RawConfig> = serde_yaml_ng::from_str(text)?;
        let fault = |message: String| FileError {
            position: None,
            message,
        };
        raw.unwrap_or_default().checked().map_err(fault)
    }

    /// The names of the times by which a route is quiet now.
    pub fn muted_by(&self, options: &Options, now: Timestamp) -> Vec<String> {
        let holds = |name: &&String| {
            let intervals = self.intervals.get(*name).into_iter().flatten();
            intervals.into_iter().any(|interval| interval.contains(now))
        };
        let muted: Vec<String> = options.mute.iter().filter(holds).cloned().collect();
        if !muted.is_empty()
            || options.active.is_empty()
            || options.active.iter().any(|n| holds(&n))
        {
            return muted;
        }
        options.active.clone()
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    global: Global,
    route: Option<RawRoute>,
    receivers: Vec<RawReceiver>,
    inhibit_rules: Vec<RawInhibitRule>,
    templates: Vec<String>,
    time_intervals: Vec<NamedIntervals>,
    mute_time_intervals: Vec<NamedIntervals>,
    /// Alertmanager's own tracing; obs has `obs.telemetry`.
    tracing: Option<serde_yaml_ng::Value>,
    /// A record of events in Alertmanager; here alerts are in the log.
    event_recorder: Option<serde_yaml_ng::Value>,
    obs: RawExtras,
}

/// One route.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRoute {
    receiver: Option<String>,
    group_by: Option<Vec<String>>,
    #[serde(rename = "match")]
    equal: BTreeMap<String, String>,
    match_re: BTreeMap<String, String>,
    #[serde(deserialize_with = "matcher_list")]
    matchers: Vec<Matcher>,
    mute_time_intervals: Vec<String>,
    active_time_intervals: Vec<String>,
    #[serde(rename = "continue")]
    continues: bool,
    routes: Vec<RawRoute>,
    #[serde(deserialize_with = "some_duration")]
    group_wait: Option<i64>,
    #[serde(deserialize_with = "some_duration")]
    group_interval: Option<i64>,
    #[serde(deserialize_with = "some_repeat")]
    repeat_interval: Option<Repeat>,
    #[serde(deserialize_with = "some_duration")]
    resolve_wait: Option<i64>,
    labels: BTreeMap<String, String>,
    obs: RawRouteExtras,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawInhibitRule {
    name: String,
    source_match: BTreeMap<String, String>,
    source_match_re: BTreeMap<String, String>,
    #[serde(deserialize_with = "matcher_list")]
    source_matchers: Vec<Matcher>,
    target_match: BTreeMap<String, String>,
    target_match_re: BTreeMap<String, String>,
    #[serde(deserialize_with = "matcher_list")]
    target_matchers: Vec<Matcher>,
    equal: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedIntervals {
    name: String,
    #[serde(default)]
    time_intervals: Vec<RawInterval>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawInterval {
    times: Option<Vec<RawTimes>>,
    weekdays: Option<Vec<Words>>,
    days_of_month: Option<Vec<Words>>,
    months: Option<Vec<Words>>,
    years: Option<Vec<Words>>,
    location: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTimes {
    start_time: String,
    end_time: String,
}

/// A text, or a number that is meant as one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    Number(i64),
}

impl Words {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

pub(super) fn matcher_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Matcher>, D::Error> {
    let lines = Vec::<String>::deserialize(deserializer)?;
    let mut all = Vec::new();
    for line in lines {
        all.extend(matchers::parse(&line).map_err(D::Error::custom)?);
    }
    Ok(all)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let fault = || D::Error::custom(format!("not a valid duration string: {text:?}"));
    duration::parse(&text).map(Some).ok_or_else(fault)
}

fn some_repeat<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Repeat>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    if text == "never" {
        return Ok(Some(Repeat::Never));
    }
    let fault = || {
        D::Error::custom(format!(
            "expected a duration such as 4h, or never, found {text:?}"
        ))
    };
    let nanos = duration::parse(&text).ok_or_else(fault)?;
    Ok(Some(Repeat::After(nanos)))
}

/// The conditions of the deprecated maps and of the matchers.
fn joined(
    equal: &BTreeMap<String, String>,
    patterns: &BTreeMap<String, String>,
    matchers: Vec<Matcher>,
) -> Result<Vec<Matcher>, String> {
    let mut all: Vec<Matcher> = equal.iter().map(|(k, v)| Matcher::equal(k, v)).collect();
    for (name, pattern) in patterns {
        let matcher = Matcher::new(name, MatchOp::Regex, pattern);
        all.push(matcher.map_err(|error| format!("match_re {name}: {error}"))?);
    }
    all.extend(matchers);
    Ok(all)
}

/// The root route; everything goes through it.
fn checked_root(route: Option<RawRoute>) -> Result<RawRoute, String> {
    let root = route.ok_or("no route provided in config")?;
    if root.continues {
        return Err("cannot have continue in root route".to_owned());
    }
    if root.receiver.as_deref().unwrap_or_default().is_empty() {
        return Err("root route must specify a default receiver".to_owned());
    }
    if !root.equal.is_empty() || !root.match_re.is_empty() || !root.matchers.is_empty() {
        return Err("root route must not have any matchers".to_owned());
    }
    if !root.mute_time_intervals.is_empty() {
        return Err("root route must not have any mute time intervals".to_owned());
    }
    if !root.active_time_intervals.is_empty() {
        return Err("root route must not have any active time intervals".to_owned());
    }
    Ok(root)
}

/// Times by their names.
fn named_intervals(
    all: impl Iterator<Item = NamedIntervals>,
) -> Result<BTreeMap<String, Vec<Interval>>, String> {
    let mut intervals = BTreeMap::new();
    for named in all {
        if named.name.is_empty() {
            return Err("missing name in time interval".to_owned());
        }
        let read: Result<Vec<Interval>, String> = named
            .time_intervals
            .into_iter()
            .map(RawInterval::checked)
            .collect();
        let read = read.map_err(|e| format!("time interval {:?}: {e}", named.name))?;
        if intervals.insert(named.name.clone(), read).is_some() {
            return Err(format!("time interval {:?} is not unique", named.name));
        }
    }
    Ok(intervals)
}

impl RawConfig {
    fn checked(self) -> Result<Config, String> {
        let root = checked_root(self.route)?;
        let mut receivers: Vec<Receiver> = Vec::new();
        for raw in self.receivers {
            if receivers.iter().any(|known| known.name == raw.name) {
                return Err(format!(
                    "notification config name {:?} is not unique",
                    raw.name
                ));
            }
            receivers.push(raw.checked(&self.global)?);
        }
        let all = self.time_intervals.into_iter();
        let intervals = named_intervals(all.chain(self.mute_time_intervals))?;
        let defaults = Options {
            receiver: String::new(),
            group_by: GroupBy::Labels(BTreeSet::new()),
            group_wait: 30 * SECOND,
            group_interval: 300 * SECOND,
            repeat: Repeat::After(4 * 3600 * SECOND),
            resolve_wait: None,
            mute: Vec::new(),
            active: Vec::new(),
            labels: Vec::new(),
            escalate: Vec::new(),
        };
        let mut route = root.checked(&defaults)?;
        route.name(None, 0);
        let known = |name: &String| receivers.iter().any(|receiver| receiver.name == *name);
        let extras = self.obs.checked()?;
        let mut hear = extras
            .heartbeats
            .iter()
            .map(|heartbeat| &heartbeat.receiver);
        if let Some(name) = hear.find(|name| !known(name)) {
            return Err(format!("undefined receiver {name:?} used in heartbeat"));
        }
        for route in route.all() {
            let steps = route.options.escalate.iter().map(|step| &step.receiver);
            let mut names = std::iter::once(&route.options.receiver).chain(steps);
            if let Some(name) = names.find(|name| !known(name)) {
                return Err(format!("undefined receiver {name:?} used in route"));
            }
            let times = route.options.mute.iter().chain(&route.options.active);
            if let Some(name) = times
                .into_iter()
                .find(|name| !intervals.contains_key(*name))
            {
                return Err(format!("undefined time interval {name:?} used in route"));
            }
        }
        let inhibit = self.inhibit_rules.into_iter().map(RawInhibitRule::checked);
        let mut inhibit = inhibit.collect::<Result<Vec<InhibitRule>, String>>()?;
        inhibit.extend(
            extras
                .dependencies
                .iter()
                .map(|dependency| dependency.rule()),
        );
        Ok(Config {
            global: self.global,
            route,
            receivers,
            inhibit,
            intervals,
            templates: self.templates,
            extras,
        })
    }
}

impl RawRoute {
    fn checked(self, parent: &Options) -> Result<Route, String> {
        let group_by = match self.group_by {
            None => parent.group_by.clone(),
            Some(names) => group_by(names)?,
        };
        for (key, nanos) in [("group_interval", self.group_interval)] {
            if nanos == Some(0) {
                return Err(format!("{key} cannot be zero"));
            }
        }
        if self.repeat_interval == Some(Repeat::After(0)) {
            return Err("repeat_interval cannot be zero".to_owned());
        }
        let mut labels: BTreeMap<String, String> = parent.labels.iter().cloned().collect();
        labels.extend(self.labels);
        let options = Options {
            receiver: self.receiver.unwrap_or_else(|| parent.receiver.clone()),
            group_by,
            group_wait: self.group_wait.unwrap_or(parent.group_wait),
            group_interval: self.group_interval.unwrap_or(parent.group_interval),
            repeat: self.repeat_interval.unwrap_or(parent.repeat),
            resolve_wait: self.resolve_wait.or(parent.resolve_wait),
            // Times are not inherited.
            mute: self.mute_time_intervals,
            active: self.active_time_intervals,
            labels: labels.into_iter().collect(),
            escalate: self.obs.escalate(&parent.escalate),
        };
        let below = Options {
            mute: Vec::new(),
            active: Vec::new(),
            ..options.clone()
        };
        let routes = self.routes.into_iter().map(|route| route.checked(&below));
        Ok(Route {
            matchers: joined(&self.equal, &self.match_re, self.matchers)?,
            continues: self.continues,
            routes: routes.collect::<Result<_, String>>()?,
            options,
            key: String::new(),
            id: String::new(),
        })
    }
}

fn group_by(names: Vec<String>) -> Result<GroupBy, String> {
    let all = names.iter().any(|name| name == "...");
    let set: BTreeSet<String> = names
        .iter()
        .filter(|name| *name != "...")
        .cloned()
        .collect();
    if all && !set.is_empty() {
        return Err(
            "cannot have wildcard group_by (`...`) and other labels at the same time".into(),
        );
    }
    if let Some(name) = set.iter().find(|name| name.is_empty()) {
        return Err(format!("invalid label name {name:?} in group_by list"));
    }
    if !all && set.len() != names.len() {
        return Err("duplicated label in group_by".to_owned());
    }
    Ok(if all {
        GroupBy::All
    } else {
        GroupBy::Labels(set)
    })
}

impl RawInhibitRule {
    fn checked(self) -> Result<InhibitRule, String> {
        Ok(InhibitRule {
            name: self.name,
            source: joined(
                &self.source_match,
                &self.source_match_re,
                self.source_matchers,
            )?,
            target: joined(
                &self.target_match,
                &self.target_match_re,
                self.target_matchers,
            )?,
            equal: self.equal,
        })
    }
}

impl RawInterval {
    fn checked(self) -> Result<Interval, String> {
        fn all<T>(
            words: Option<Vec<Words>>,
            read: impl Fn(&str) -> Result<T, String>,
        ) -> Result<Option<Vec<T>>, String> {
            let read = |words: Vec<Words>| words.iter().map(|w| read(&w.text())).collect();
            words.map(read).transpose()
        }
        let times = self.times.map(|times| {
            let times = times
                .iter()
                .map(|t| interval::times(&t.start_time, &t.end_time));
            times.collect::<Result<Vec<_>, String>>()
        });
        Ok(Interval {
            times: times.transpose()?,
            weekdays: all(self.weekdays, interval::weekdays)?,
            days: all(self.days_of_month, interval::days)?,
            months: all(self.months, interval::months)?,
            years: all(self.years, interval::years)?,
            zone: self.location.as_deref().map(interval::zone).transpose()?,
        })
    }
}
