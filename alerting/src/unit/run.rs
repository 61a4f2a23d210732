//! Runs unit tests. Invariant: at each time all groups are evaluated in order, each rule sees what
//! those before it wrote, and alerts are looked at between two evaluations.

use obs_model::limits::Limits;
use obs_model::{Labels, Timestamp, Value, duration};
use obs_query::promqltest::{self, InputSeries, SeriesStore};
use obs_query::{Language, Query, QueryError, Request, When};
use rayon::ThreadPool;
use regex::Regex;

use super::file::{AlertTest, ExprTest, TestFile, TestGroup};
use super::told::{self, Fires, Found};
use crate::rules::alert::ALERT_NAME;
use crate::rules::group::{Running, Sample, Scene, elements};
use crate::rules::{AlertState, Group};
use crate::template::{Asked, Surroundings};

/// How tests are run.
#[derive(Debug)]
pub struct Options<'a> {
    /// The names of tests that are run; all without it.
    pub wanted: Option<&'a Regex>,
    /// Whether alerts that differ are told as lines to take away and to add.
    pub difference: bool,
    /// Whether all series at the end are told.
    pub dump: bool,
    /// Whether metric names leave at the end of evaluation.
    pub delayed_names: bool,
    /// What queries may cost.
    pub limits: &'a Limits,
    /// Who evaluates.
    pub pool: &'a ThreadPool,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What does not hold; empty where it passed.
    pub failures: Vec<String>,
    /// All series at the end, where they were asked for.
    pub dump: Option<String>,
}

/// Runs the tests of a file over the groups of its rule files.
pub fn run(file: &TestFile, groups: &[Group], options: &Options<'_>) -> Vec<Case> {
    let mut groups: Vec<&Group> = groups.iter().collect();
    let order = |group: &&Group| {
        let named = file.group_eval_order.iter();
        named
            .clone()
            .position(|name| *name == group.name)
            .unwrap_or(0)
    };
    groups.sort_by_key(order);
    let tests = file.tests.iter().enumerate();
    tests
        .filter(|(_, test)| {
            options
                .wanted
                .is_none_or(|names| names.is_match(&test.name))
        })
        .map(|(index, test)| {
            let mut case = Case {
                name: test.shown(index),
                failures: Vec::new(),
                dump: None,
            };
            match World::new(file, test, &groups, options) {
                Ok(mut world) => {
                    world.run(&mut case.failures);
                    case.dump = options.dump.then(|| world.dump());
                }
                Err(fault) => case.failures.push(fault),
            }
            case
        })
        .collect()
}

/// A group whose rules run.
struct Live {
    query_offset: i64,
    rules: Vec<Running>,
}

/// One test.
struct World<'a> {
    test: &'a TestGroup,
    fuzzy: bool,
    interval: i64,
    start: Timestamp,
    store: SeriesStore,
    groups: Vec<Live>,
    surroundings: Surroundings,
    options: &'a Options<'a>,
}

impl<'a> World<'a> {
    fn new(
        file: &TestFile,
        test: &'a TestGroup,
        groups: &[&Group],
        options: &'a Options<'a>,
    ) -> Result<Self, String> {
        let start = test.start_timestamp.unwrap_or_default();
        if let Some(nameless) = test.alert_rule_test.iter().find(|t| t.alertname.is_empty()) {
            let within = match test.name.as_str() {
                "" => String::new(),
                name => format!(" (in TestGroup {name})"),
            };
            return Err(format!(
                "an item under alert_rule_test misses required attribute alertname at eval_time \
                 {}{within}",
                duration::format(nameless.eval_time)
            ));
        }
        let every = test.interval_in(file);
        let input = test.input_series.iter();
        let input = input.map(|s| {
            let read = InputSeries::parse(&s.series, &s.values, every, start);
            read.map_err(|fault| format!("input_series {}: {fault}", s.series))
        });
        let store = SeriesStore::new(input.collect::<Result<_, _>>()?);
        let live = groups.iter().map(|group| Live {
            query_offset: group.query_offset.unwrap_or(0),
            rules: group.rules.iter().map(|r| started(r, group)).collect(),
        });
        Ok(Self {
            test,
            fuzzy: file.fuzzy_compare,
            interval: file.interval(),
            start,
            store,
            groups: live.collect(),
            surroundings: Surroundings {
                external_labels: Labels::from_pairs(&test.external_labels),
                external_url: test.external_url.trim_end_matches('/').to_owned(),
            },
            options,
        })
    }

    fn run(&mut self, failures: &mut Vec<String>) {
        let mut alerts: Vec<&AlertTest> = self.test.alert_rule_test.iter().collect();
        alerts.sort_by_key(|test| test.eval_time);
        let mut left = alerts.as_slice();
        let end = self.longest();
        let mut since = 0i64;
        while since <= end {
            let now = self.start.saturating_add(since);
            if let Err(fault) = self.store.reveal(now) {
                failures.push(fault);
            } else {
                let faults = self.evaluate(now);
                if !faults.is_empty() {
                    failures.extend(faults);
                    return;
                }
            }
            let next = since.saturating_add(self.interval);
            let due = left.partition_point(|test| test.eval_time < next);
            let (checked, later) = left.split_at(due);
            failures.extend(checked.iter().filter_map(|test| self.alerts(test)));
            left = later;
            if next == since {
                break;
            }
            since = next;
        }
        let queries = self.test.promql_expr_test.iter();
        failures.extend(queries.filter_map(|test| self.query(test).err()));
    }

    /// Nanoseconds from the start to the last thing that is looked at.
    fn longest(&self) -> i64 {
        let alerts = self.test.alert_rule_test.iter().map(|t| t.eval_time);
        let queries = self.test.promql_expr_test.iter().map(|t| t.eval_time);
        alerts.chain(queries).max().unwrap_or(0)
    }

    /// Evaluates all groups once; gives the faults of rules.
    fn evaluate(&mut self, now: Timestamp) -> Vec<String> {
        let mut faults = Vec::new();
        let asker = Asker {
            options: self.options,
            interval: self.interval,
        };
        for group in &mut self.groups {
            for rule in &mut group.rules {
                let at = now.saturating_sub(group.query_offset);
                let answer = asker.ask(&self.store, &rule.rule.expression.query, at);
                let store = &self.store;
                let scene = Scene {
                    now,
                    query_offset: group.query_offset,
                    surroundings: &self.surroundings,
                    asking: &|text| asker.elements(store, text, at),
                };
                match rule.evaluate(&scene, answer) {
                    // What is out of order is passed over, as by a server.
                    Ok(samples) => samples.into_iter().for_each(|sample| {
                        let Sample {
                            labels,
                            time,
                            value,
                        } = sample;
                        self.store.push(&labels, time, value);
                    }),
                    Err(error) => faults.push(format!(
                        "    rule: {}, time: {}, err: {error}",
                        rule.rule.name(),
                        duration::format(now.nanos())
                    )),
                }
            }
        }
        faults
    }

    /// Compares the alerts that fire now.
    fn alerts(&self, test: &AlertTest) -> Option<String> {
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        let named = rules.filter(|rule| rule.rule.name() == test.alertname);
        let alerts = named
            .filter_map(Running::alerting)
            .flat_map(|rule| rule.alerts());
        let mut found: Vec<Fires> = alerts
            .filter(|alert| alert.state == AlertState::Firing)
            .map(|alert| Fires {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
            })
            .collect();
        let mut expected: Vec<Fires> = test
            .exp_alerts
            .iter()
            .map(|alert| {
                let labels = alert.exp_labels.iter().flatten();
                let mut labels = Labels::from_pairs(labels).to_builder();
                labels.set(ALERT_NAME, &test.alertname);
                let annotations = alert.exp_annotations.iter().flatten();
                Fires {
                    labels: labels.build(),
                    annotations: Labels::from_pairs(annotations),
                }
            })
            .collect();
        found.sort();
        expected.sort();
        if found == expected {
            return None;
        }
        let mut text = match self.test.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        let head = format!(
            "    alertname: {}, time: {}, ",
            test.alertname,
            duration::format(test.eval_time)
        );
        text.push_str(&head);
        text.push_str(&match self.options.difference {
            true => format!("\n        diff: {}", told::difference(&expected, &found)),
            false => format!(
                "\n        exp:{}, \n        got:{}",
                told::alerts(&expected),
                told::alerts(&found)
            ),
        });
        Some(text)
    }

    /// Asks a query and compares.
    fn query(&self, test: &ExprTest) -> Result<(), String> {
        let place = format!(
            "    expr: {:?}, time: {},",
            test.expr,
            duration::format(test.eval_time)
        );
        let fault = |error: String| format!("{place} err: {error}");
        let asker = Asker {
            options: self.options,
            interval: self.interval,
        };
        let at = self.start.saturating_add(test.eval_time);
        let parsed = Query::parse(Language::Promql, &test.expr, self.options.limits);
        let query = parsed.map_err(|e| fault(e.to_string()))?;
        let answer = asker.ask(&self.store, &query, at);
        let answer = answer.map_err(|e| fault(e.to_string()))?;
        let elements = elements(answer).map_err(|e| fault(e.to_string()))?;
        let mut found: Vec<Found> = elements
            .into_iter()
            .map(|(labels, value)| match value {
                Value::Float(value) => Found {
                    labels,
                    value,
                    histogram: String::new(),
                },
                Value::Histogram(histogram) => Found {
                    labels,
                    value: 0.0,
                    histogram: promqltest::histogram_text(&histogram),
                },
            })
            .collect();
        let mut expected = Vec::new();
        for sample in &test.exp_samples {
            let fault = |error| fault(format!("labels {:?}: {error}", sample.labels));
            let histogram = match sample.histogram.as_str() {
                "" => String::new(),
                text => {
                    let histogram = promqltest::histogram(text).map_err(fault)?;
                    promqltest::histogram_text(&histogram)
                }
            };
            expected.push(Found {
                labels: promqltest::metric(&sample.labels).map_err(fault)?,
                value: sample.value,
                histogram,
            });
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let same = found.len() == expected.len()
            && expected
                .iter()
                .zip(&found)
                .all(|(a, b)| a.same(b, self.fuzzy));
        match same {
            true => Ok(()),
            false => Err(format!(
                "{place}\n        exp: {}\n        got: {}",
                told::samples(&expected),
                told::samples(&found)
            )),
        }
    }

    /// All series, one a line, each followed by its samples.
    fn dump(&self) -> String {
        let mut text = String::new();
        for (labels, samples) in self.store.series() {
            text.push_str(&format!("{labels} =>\n"));
            for (time, value) in samples.iter() {
                let value = match value {
                    Value::Float(value) => value.to_string(),
                    Value::Histogram(histogram) => promqltest::histogram_text(&histogram),
                };
                text.push_str(&format!("{value} @[{}]\n", time.millis()));
            }
        }
        text
    }
}

/// A rule that has nothing to restore.
fn started(rule: &crate::rules::Rule, group: &Group) -> Running {
    let mut running = Running::new(rule, group);
    if let Some(alerting) = running.alerting_mut() {
        alerting.restored();
    }
    running
}

/// Asks queries of a test.
struct Asker<'a> {
    options: &'a Options<'a>,
    interval: i64,
}

impl Asker<'_> {
    fn ask(
        &self,
        store: &SeriesStore,
        query: &Query,
        at: Timestamp,
    ) -> Result<obs_model::Answer, QueryError> {
        let request = Request {
            subquery_step: self.interval,
            delayed_names: self.options.delayed_names,
            ..Request::new(When::At(at))
        };
        let (limits, pool) = (self.options.limits, self.options.pool);
        Ok(store.ask(query, &request, limits, pool)?.0)
    }

    fn elements(
        &self,
        store: &SeriesStore,
        text: &str,
        at: Timestamp,
    ) -> Result<Vec<Asked>, String> {
        let parsed = Query::parse(Language::Promql, text, self.options.limits);
        let query = parsed.map_err(|e| e.to_string())?;
        let answer = self.ask(store, &query, at).map_err(|e| e.to_string())?;
        let found = elements(answer).map_err(|e| e.to_string())?;
        let asked = found.into_iter().map(|(labels, value)| Asked {
            labels,
            value: match value {
                Value::Float(value) => value,
                Value::Histogram(_) => 0.0,
            },
        });
        Ok(asked.collect())
    }
}
