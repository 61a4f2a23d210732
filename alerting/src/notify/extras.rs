//! What obs adds to Alertmanager's file, under `obs:` at its top and in routes.
//!
//! Invariant: what was read is whole: every time is more than nothing, and the receivers that are
//! named exist, which the file as a whole checks.

use std::collections::BTreeMap;

use obs_model::{Matcher, duration};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::config::matcher_list;
use super::dependency::Dependency;
use super::escalation::Step;
use super::flapping::Flapping;
use super::heartbeat::{Expected, Heartbeat};
use super::storm::Calm;

/// What is added at the top.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Alerts that come and go.
    pub flapping: Option<Flapping>,
    /// What hangs on what.
    pub dependencies: Vec<Dependency>,
    /// What is no storm yet.
    pub storm: Option<Calm>,
    /// Who hears that we live.
    pub heartbeats: Vec<Heartbeat>,
    /// Of whom we hear that they live.
    pub expected: Vec<Expected>,
}

/// A duration of more than nothing, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Nanos(i64);

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nanos = duration::parse(&text).filter(|nanos| *nanos > 0);
        let fault = || {
            D::Error::custom(format!(
                "expected a duration of more than nothing, found {text:?}"
            ))
        };
        nanos.map(Self).ok_or_else(fault)
    }
}

/// `obs:` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawExtras {
    flapping: Option<RawFlapping>,
    dependencies: Vec<RawDependency>,
    storm: Option<RawStorm>,
    heartbeats: Vec<RawHeartbeat>,
    expected: Vec<RawExpected>,
}

/// `obs:` of a route.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRouteExtras {
    escalate: Option<Vec<RawStep>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFlapping {
    #[serde(default, deserialize_with = "matcher_list")]
    matchers: Vec<Matcher>,
    #[serde(default = "hour")]
    window: Nanos,
    #[serde(default = "starts")]
    starts: f64,
    #[serde(default = "ends")]
    ends: f64,
}

fn hour() -> Nanos {
    Nanos(3600 * obs_model::time::NANOS_PER_SECOND)
}

fn starts() -> f64 {
    50.0
}

fn ends() -> f64 {
    20.0
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDependency {
    #[serde(deserialize_with = "matcher_list")]
    parents: Vec<Matcher>,
    #[serde(deserialize_with = "matcher_list")]
    children: Vec<Matcher>,
    #[serde(default)]
    equal: Vec<String>,
    wait: Option<Nanos>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStorm {
    notifications: usize,
    per: Nanos,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeartbeat {
    receiver: String,
    every: Nanos,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpected {
    name: String,
    #[serde(deserialize_with = "matcher_list")]
    matchers: Vec<Matcher>,
    within: Nanos,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    after: Nanos,
    receiver: String,
}

impl RawRouteExtras {
    /// The steps of a route, or those of the one above.
    pub(super) fn escalate(self, above: &[Step]) -> Vec<Step> {
        let Some(steps) = self.escalate else {
            return above.to_vec();
        };
        let step = |raw: RawStep| Step {
            after: raw.after.0,
            receiver: raw.receiver,
        };
        let mut steps: Vec<Step> = steps.into_iter().map(step).collect();
        steps.sort_by_key(|step| step.after);
        steps
    }
}

impl RawExtras {
    pub(super) fn checked(self) -> Result<Extras, String> {
        let flapping = self.flapping.map(RawFlapping::checked).transpose()?;
        let storm = match self.storm {
            Some(RawStorm {
                notifications: 0, ..
            }) => {
                return Err("obs: storm: notifications: expected at least 1, found 0".to_owned());
            }
            Some(storm) => Some(Calm {
                notifications: storm.notifications,
                per: storm.per.0,
            }),
            None => None,
        };
        let dependencies = self.dependencies.into_iter().map(RawDependency::checked);
        let heartbeats = self.heartbeats.into_iter().map(|raw| Heartbeat {
            receiver: raw.receiver,
            every: raw.every.0,
        });
        let mut expected: Vec<Expected> = Vec::new();
        for raw in self.expected {
            if raw.matchers.is_empty() {
                let name = raw.name;
                return Err(format!(
                    "obs: expected {name:?}: at least one matcher is needed"
                ));
            }
            if expected.iter().any(|known| known.name == raw.name) {
                return Err(format!("obs: expected {:?} is not unique", raw.name));
            }
            expected.push(Expected {
                name: raw.name,
                matchers: raw.matchers,
                within: raw.within.0,
                labels: raw.labels,
            });
        }
        Ok(Extras {
            flapping,
            dependencies: dependencies.collect::<Result<_, String>>()?,
            storm,
            heartbeats: heartbeats.collect(),
            expected,
        })
    }
}

impl RawFlapping {
    fn checked(self) -> Result<Flapping, String> {
        let (starts, ends) = (self.starts, self.ends);
        if !(ends > 0.0 && ends <= starts && starts <= 100.0) {
            return Err(format!(
                "obs: flapping: expected 0 < ends <= starts <= 100, found ends {ends}, starts {starts}"
            ));
        }
        Ok(Flapping {
            matchers: self.matchers,
            window: self.window.0,
            starts,
            ends,
        })
    }
}

impl RawDependency {
    fn checked(self) -> Result<Dependency, String> {
        if self.parents.is_empty() || self.children.is_empty() {
            return Err("obs: dependencies: parents and children need matchers".to_owned());
        }
        Ok(Dependency {
            parents: self.parents,
            children: self.children,
            equal: self.equal,
            wait: self.wait.map_or(0, |wait| wait.0),
        })
    }
}

#[cfg(test)]
mod tests;
