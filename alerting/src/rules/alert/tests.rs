//! Alerts: the table of transitions, and the same by a naive model over random histories.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::rules::file::{Parsing, RuleFile};
use crate::template::Surroundings;

const SECOND: i64 = NANOS_PER_SECOND;

fn rule(keys: &str) -> Alerting {
    let text = format!("groups: [{{name: g, rules: [{{alert: A, expr: m, {keys}}}]}}]");
    let file = RuleFile::parse(&text, &Parsing::default()).expect("it is good");
    let group = &file.groups[0];
    let mut rule = Alerting::new(&group.rules[0], group).expect("it alerts");
    rule.restored();
    rule
}

fn step(
    rule: &mut Alerting,
    at: i64,
    there: &[(&str, f64)],
    limit: usize,
) -> Result<Vec<Sample>, RuleError> {
    let surroundings = Surroundings::default();
    let scene = Scene {
        now: Timestamp::from_seconds(at),
        query_offset: 0,
        surroundings: &surroundings,
        asking: &|_| Ok(Vec::new()),
    };
    let elements: Vec<(Labels, Value)> = there
        .iter()
        .map(|(name, value)| {
            let labels = Labels::from_pairs([("__name__", "m"), ("i", *name)]);
            (labels, Value::Float(*value))
        })
        .collect();
    rule.evaluate(&scene, &elements, limit)
}

fn states(rule: &Alerting) -> Vec<String> {
    let alerts = rule.alerts();
    alerts
        .map(|a| format!("{} {}", a.labels.get("i").unwrap_or("?"), a.state.as_str()))
        .collect()
}

fn sent(rule: &mut Alerting, at: i64) -> Vec<String> {
    let sent = rule.to_send(Timestamp::from_seconds(at), 60 * SECOND, 30 * SECOND);
    sent.iter()
        .map(|s| {
            let what = if s.resolved { "resolved" } else { "firing" };
            let seconds = |t: Timestamp| t.nanos() / SECOND;
            format!(
                "{} {what} {}..{}",
                s.labels.get("i").unwrap_or("?"),
                seconds(s.starts_at),
                seconds(s.ends_at)
            )
        })
        .collect()
}

#[test]
fn an_alert_waits_fires_and_is_over() {
    let mut rule = rule("for: 60s, annotations: {v: '{{ $value }}'}");
    let samples = step(&mut rule, 0, &[("a", 1.0)], 0).expect("it evaluates");
    let shown: Vec<String> = samples.iter().map(|s| s.labels.to_string()).collect();
    assert_eq!(
        shown,
        [
            "{__name__=\"ALERTS\", alertname=\"A\", alertstate=\"pending\", i=\"a\"}",
            "{__name__=\"ALERTS_FOR_STATE\", alertname=\"A\", i=\"a\"}",
        ]
    );
    assert_eq!(sent(&mut rule, 0), Vec::<String>::new());
    step(&mut rule, 30, &[("a", 2.0)], 0).expect("it evaluates");
    assert_eq!(states(&rule), ["a pending"]);
    step(&mut rule, 60, &[("a", 3.0)], 0).expect("it evaluates");
    assert_eq!(states(&rule), ["a firing"]);
    let annotations: Vec<_> = rule.alerts().map(|a| a.annotations.to_string()).collect();
    assert_eq!(annotations, ["{v=\"3\"}"]);
    assert_eq!(sent(&mut rule, 60), ["a firing 60..300"]);
    assert_eq!(sent(&mut rule, 120), Vec::<String>::new());
    assert_eq!(sent(&mut rule, 121), ["a firing 60..361"]);
    step(&mut rule, 150, &[], 0).expect("it evaluates");
    assert_eq!(states(&rule), ["a inactive"]);
    assert_eq!(sent(&mut rule, 150), ["a resolved 60..150"]);
    // It is told again for fifteen minutes, and then forgotten.
    assert_eq!(sent(&mut rule, 211), ["a resolved 60..150"]);
    step(&mut rule, 150 + 900, &[], 0).expect("it evaluates");
    assert_eq!(states(&rule), ["a inactive"]);
    step(&mut rule, 151 + 900, &[], 0).expect("it evaluates");
    assert_eq!(states(&rule), Vec::<String>::new());
}

#[test]
fn one_that_comes_again_is_new() {
    let mut rule = rule("for: 60s");
    for at in [0, 60, 90] {
        let there: &[(&str, f64)] = if at == 90 { &[] } else { &[("a", 1.0)] };
        step(&mut rule, at, there, 0).expect("it evaluates");
    }
    assert_eq!(states(&rule), ["a inactive"]);
    step(&mut rule, 120, &[("a", 1.0)], 0).expect("it evaluates");
    assert_eq!(states(&rule), ["a pending"]);
    step(&mut rule, 130, &[], 0).expect("it evaluates");
    assert_eq!(
        states(&rule),
        Vec::<String>::new(),
        "pending ones leave silently"
    );
}

#[test]
fn it_fires_on_for_a_while() {
    let mut rule = rule("keep_firing_for: 60s");
    step(&mut rule, 0, &[("a", 1.0)], 0).expect("it evaluates");
    for (at, there, expect) in [
        (30, false, "a firing"),
        (60, true, "a firing"),
        (90, false, "a firing"),
        (149, false, "a firing"),
        (150, false, "a inactive"),
    ] {
        let elements: &[(&str, f64)] = if there { &[("a", 1.0)] } else { &[] };
        step(&mut rule, at, elements, 0).expect("it evaluates");
        assert_eq!(states(&rule), [expect], "at {at}");
    }
}

#[test]
fn a_longer_for_makes_firing_ones_wait_again() {
    let mut before = rule("for: 30s");
    step(&mut before, 0, &[("a", 1.0)], 0).expect("it evaluates");
    step(&mut before, 30, &[("a", 1.0)], 0).expect("it evaluates");
    assert_eq!(sent(&mut before, 30), ["a firing 30..270"]);
    let mut after = rule("for: 120s");
    after.take_over(before);
    step(&mut after, 60, &[("a", 1.0)], 0).expect("it evaluates");
    assert_eq!(states(&after), ["a pending"]);
    step(&mut after, 120, &[("a", 1.0)], 0).expect("it evaluates");
    assert_eq!(sent(&mut after, 120), ["a firing 120..360"]);
}

#[test]
fn faults_change_nothing_but_the_limit_clears() {
    let mut merging = rule("labels: {i: same}");
    let error = step(&mut merging, 0, &[("a", 1.0), ("b", 1.0)], 0).expect_err("two are one");
    assert!(error.to_string().contains("same labelset"), "{error}");
    assert_eq!(states(&merging), Vec::<String>::new());
    let mut limited = rule("for: 0s");
    step(&mut limited, 0, &[("a", 1.0)], 1).expect("one is allowed");
    let error = step(&mut limited, 30, &[("a", 1.0), ("b", 1.0)], 1).expect_err("two are not");
    assert_eq!(error.to_string(), "exceeded limit of 1 with 2 alerts");
    assert_eq!(states(&limited), Vec::<String>::new());
}

#[test]
fn what_was_kept_goes_on_after_a_restart() {
    let mut before = rule("for: 100s");
    step(&mut before, 0, &[("a", 1.0)], 0).expect("it evaluates");
    step(&mut before, 50, &[("a", 1.0), ("b", 1.0)], 0).expect("it evaluates");
    step(&mut before, 100, &[("a", 1.0), ("b", 1.0)], 0).expect("it evaluates");
    let kept: Vec<Alert> = before.alerts().cloned().collect();
    let mut after = rule("for: 100s");
    after.restore(kept, 1000 * SECOND);
    // b has waited 50 seconds before; the time in which nobody looked does not count.
    step(&mut after, 1140, &[("a", 1.0), ("b", 1.0)], 0).expect("it evaluates");
    assert_eq!(states(&after), ["a firing", "b pending"]);
    step(&mut after, 1150, &[("b", 1.0)], 0).expect("it evaluates");
    assert_eq!(states(&after), ["a inactive", "b firing"]);
    assert_eq!(
        sent(&mut after, 1150),
        ["a resolved 100..1150", "b firing 1150..1390"]
    );
}

/// Prometheus' table: with `for: 1h` and a grace of ten minutes, after being away.
#[test]
fn series_bring_back_what_was() {
    let check = |spent: i64, seen: Option<i64>, now: i64, expect: i64| {
        let mut rule = rule("for: 1h");
        step(&mut rule, now, &[("a", 1.0)], 0).expect("it evaluates");
        let last = |labels: &Labels| {
            assert_eq!(
                labels.to_string(),
                "{__name__=\"ALERTS_FOR_STATE\", alertname=\"A\", i=\"a\"}"
            );
            let seen = seen?;
            Some((Timestamp::from_seconds(seen), (seen - spent) as f64))
        };
        rule.restore_from_series(Timestamp::from_seconds(now), 600 * SECOND, last);
        let found: Vec<i64> = rule
            .alerts()
            .map(|a| a.active_at.nanos() / SECOND)
            .collect();
        assert_eq!(found, [expect]);
    };
    check(0, None, 20_000, 20_000);
    check(4000, Some(10_000), 11_000, 6000);
    check(3300, Some(10_000), 11_000, 11_000 + 600 - 3600);
    check(1000, Some(10_000), 11_000, 10_000);
}

/// What a reader of Prometheus' documentation would compute for one element.
#[derive(Default)]
struct Naive {
    /// Since when it is there or fires; whether it fires; since when it fires without being there.
    active: Option<(i64, bool, Option<i64>)>,
}

impl Naive {
    fn step(&mut self, at: i64, there: bool, hold: i64, keep: i64) -> &'static str {
        self.active = match (self.active, there) {
            (None, false) => None,
            (None, true) => Some((at, hold == 0, None)),
            (Some((since, fires, _)), true) => Some((since, fires || at - since >= hold, None)),
            (Some((_, false, _)), false) => None,
            (Some((since, true, gone)), false) => {
                let gone = gone.unwrap_or(at);
                (keep > 0 && at - gone < keep).then_some((since, true, Some(gone)))
            }
        };
        match self.active {
            None => "none",
            Some((_, false, _)) => "pending",
            Some((_, true, _)) => "firing",
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Over random histories, with restarts and reloads in between, states are those of the naive
    /// model, and whoever listens hears each firing before its end.
    #[test]
    fn states_are_those_of_a_naive_model(
        hold in 0i64..4,
        keep in 0i64..4,
        history in prop::collection::vec((prop::array::uniform3(any::<bool>()), 0u8..8), 1..60),
    ) {
        let keys = format!("for: {}s, keep_firing_for: {}s", hold * 30, keep * 30);
        let mut found = rule(&keys);
        let mut naive: BTreeMap<&str, Naive> = BTreeMap::new();
        let mut heard: BTreeMap<String, bool> = BTreeMap::new();
        for (tick, (there, event)) in history.into_iter().enumerate() {
            let at = tick as i64 * 30;
            match event {
                0 => {
                    let kept: Vec<Alert> = found.alerts().cloned().collect();
                    found = rule(&keys);
                    found.restore(kept, 0);
                }
                1 => {
                    let mut after = rule(&keys);
                    after.take_over(found);
                    found = after;
                }
                _ => {}
            }
            let names = ["a", "b", "c"];
            let elements: Vec<(&str, f64)> = names
                .into_iter()
                .zip(there)
                .filter(|(_, there)| *there)
                .map(|(name, _)| (name, 1.0))
                .collect();
            step(&mut found, at, &elements, 0).expect("it evaluates");
            for (name, there) in names.into_iter().zip(there) {
                let expect = naive.entry(name).or_default().step(at, there, hold * 30, keep * 30);
                let alert = found.alerts().find(|a| a.labels.get("i") == Some(name));
                let state = alert.map_or("none", |a| match a.state {
                    AlertState::Inactive => "none",
                    state => state.as_str(),
                });
                prop_assert_eq!(state, expect, "{} at {}", name, at);
            }
            for alert in found.to_send(Timestamp::from_seconds(at), 60 * SECOND, 30 * SECOND) {
                let name = alert.labels.get("i").unwrap_or("?").to_owned();
                if alert.resolved {
                    prop_assert_eq!(heard.insert(name, false).is_some(), true);
                } else {
                    heard.insert(name, true);
                }
            }
            for alert in found.alerts().filter(|a| a.state == AlertState::Firing) {
                let name = alert.labels.get("i").unwrap_or("?");
                prop_assert_eq!(heard.get(name), Some(&true));
            }
        }
    }
}
