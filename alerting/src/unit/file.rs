//! Files of unit tests. Invariant: a key that nobody knows is an error with its line and column.

use std::collections::BTreeMap;

use obs_model::time::{NANOS_PER_SECOND, parse_rfc3339};
use obs_model::{Timestamp, duration};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::error::FileError;

/// How often rules are evaluated where a file says nothing.
const INTERVAL: i64 = 60 * NANOS_PER_SECOND;

/// A file of tests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestFile {
    /// Files of the rules that are tested, and patterns of them.
    pub rule_files: Vec<String>,
    #[serde(deserialize_with = "nanos")]
    evaluation_interval: i64,
    /// Names of groups in the order in which they are evaluated; what is not named comes first.
    pub group_eval_order: Vec<String>,
    /// The tests.
    pub tests: Vec<TestGroup>,
    /// Whether floats may differ in their last bit.
    pub fuzzy_compare: bool,
}

/// Series, and what is expected of the rules over them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestGroup {
    /// Its name.
    pub name: String,
    #[serde(deserialize_with = "nanos")]
    interval: i64,
    /// The series.
    pub input_series: Vec<Series>,
    /// What fires at some time.
    pub alert_rule_test: Vec<AlertTest>,
    /// What queries give at some time.
    pub promql_expr_test: Vec<ExprTest>,
    /// What templates know as external labels.
    pub external_labels: BTreeMap<String, String>,
    /// What templates know as the server's address.
    pub external_url: String,
    /// The time at which the series begin; 1970 where nothing is said.
    #[serde(deserialize_with = "some_time")]
    pub start_timestamp: Option<Timestamp>,
}

/// A series.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Series {
    /// Its metric: `up{job="a"}`.
    pub series: String,
    /// Its values: `1+2x3 _ stale`.
    pub values: String,
}

/// What fires at some time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertTest {
    /// Nanoseconds behind the start.
    #[serde(deserialize_with = "nanos")]
    pub eval_time: i64,
    /// The rule.
    pub alertname: String,
    /// Its alerts that fire.
    pub exp_alerts: Vec<ExpectedAlert>,
}

/// An alert that fires.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedAlert {
    /// Its labels but for `alertname`.
    pub exp_labels: Option<BTreeMap<String, String>>,
    /// Its annotations.
    pub exp_annotations: Option<BTreeMap<String, String>>,
}

/// What a query gives at some time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExprTest {
    /// The query.
    pub expr: String,
    /// Nanoseconds behind the start.
    #[serde(deserialize_with = "nanos")]
    pub eval_time: i64,
    /// Its samples.
    pub exp_samples: Vec<ExpectedSample>,
}

/// A sample.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedSample {
    /// Its metric.
    pub labels: String,
    /// Its value.
    pub value: f64,
    /// The same where it is a histogram: `{{schema:1 count:2}}`.
    pub histogram: String,
}

impl TestFile {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let file: Option<Self> = serde_yaml_ng::from_str(text)?;
        let file = file.unwrap_or_default();
        let fault = |message: String| FileError {
            position: None,
            message,
        };
        let negative = |nanos: i64| nanos < 0;
        if negative(file.evaluation_interval) || file.tests.iter().any(|t| negative(t.interval)) {
            return Err(fault("expected an interval above 0".to_owned()));
        }
        for (at, name) in file.group_eval_order.iter().enumerate() {
            if file.group_eval_order[..at].contains(name) {
                let message = format!("group name repeated in evaluation order: {name}");
                return Err(fault(message));
            }
        }
        Ok(file)
    }

    /// Nanoseconds between evaluations.
    pub fn interval(&self) -> i64 {
        Some(self.evaluation_interval)
            .filter(|nanos| *nanos > 0)
            .unwrap_or(INTERVAL)
    }
}

impl TestGroup {
    /// Nanoseconds between samples of its series.
    pub fn interval_in(&self, file: &TestFile) -> i64 {
        Some(self.interval)
            .filter(|nanos| *nanos > 0)
            .unwrap_or(file.interval())
    }

    /// How it is called in what is told.
    pub fn shown(&self, index: usize) -> String {
        match self.name.as_str() {
            "" => format!("unnamed#{index}"),
            name => name.to_owned(),
        }
    }
}

fn nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let fault = || D::Error::custom(format!("not a valid duration string: {text:?}"));
    duration::parse(&text).ok_or_else(fault)
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let seconds = text.parse().ok().and_then(Timestamp::from_seconds_f64);
    let fault = || D::Error::custom(format!("cannot parse {text:?} to a valid timestamp"));
    let time = seconds.or_else(|| parse_rfc3339(&text)).ok_or_else(fault)?;
    Ok(Some(time))
}
