//! Groups: schedules, order, staleness and reloads.

use super::*;
use crate::rules::file::{Parsing, RuleFile};

const SECOND: i64 = 1_000_000_000;

fn running(text: &str) -> Vec<Running> {
    let file = RuleFile::parse(text, &Parsing::default()).expect("it is good");
    let group = &file.groups[0];
    group
        .rules
        .iter()
        .map(|rule| Running::new(rule, group))
        .collect()
}

fn vector(elements: &[(&str, f64)], at: i64) -> Answer {
    let elements = elements.iter();
    Answer::Vector(
        elements
            .map(|(label, value)| obs_model::answer::VectorSample {
                labels: Labels::from_pairs([("__name__", "m"), ("i", *label)]),
                time: Timestamp::from_seconds(at),
                value: Value::Float(*value),
            })
            .collect(),
    )
}

fn evaluate(rule: &mut Running, at: i64, answer: Result<Answer, QueryError>) -> Vec<String> {
    let surroundings = Surroundings::default();
    let scene = Scene {
        now: Timestamp::from_seconds(at),
        query_offset: SECOND,
        surroundings: &surroundings,
        asking: &|_| Ok(Vec::new()),
    };
    let samples = rule.evaluate(&scene, answer).unwrap_or_default();
    let shown = samples.iter().map(|sample| {
        let value = match &sample.value {
            value if value.is_stale() => "stale".to_owned(),
            Value::Float(value) => value.to_string(),
            Value::Histogram(_) => "histogram".to_owned(),
        };
        format!(
            "{} {value} @{}",
            sample.labels,
            sample.time.nanos() / SECOND
        )
    });
    shown.collect()
}

#[test]
fn series_that_are_gone_end() {
    let mut rules = running("groups: [{name: g, rules: [{record: r, expr: m, labels: {a: b}}]}]");
    let rule = &mut rules[0];
    let found = evaluate(rule, 10, Ok(vector(&[("x", 1.0), ("y", 2.0)], 10)));
    assert_eq!(
        found,
        [
            "{__name__=\"r\", a=\"b\", i=\"x\"} 1 @9",
            "{__name__=\"r\", a=\"b\", i=\"y\"} 2 @9"
        ]
    );
    let failed = evaluate(rule, 20, Err(QueryError::Execution("no".to_owned())));
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(rule.health, Health::Bad("no".to_owned()));
    let found = evaluate(rule, 30, Ok(vector(&[("x", 1.0)], 30)));
    assert_eq!(
        found,
        [
            "{__name__=\"r\", a=\"b\", i=\"x\"} 1 @29",
            "{__name__=\"r\", a=\"b\", i=\"y\"} stale @29"
        ]
    );
    assert_eq!(rule.health, Health::Good);
    let two = Answer::Vector(Vec::new());
    assert_eq!(
        evaluate(rule, 40, Ok(two)),
        ["{__name__=\"r\", a=\"b\", i=\"x\"} stale @39"]
    );
    let text = Answer::String(Timestamp::default(), "x".to_owned());
    evaluate(rule, 50, Ok(text));
    assert_eq!(rule.health.as_str(), "err");
}

#[test]
fn equal_series_and_too_many_are_refused() {
    let mut rules = running(
        "groups: [{name: g, limit: 1, rules: [{record: r, expr: m, labels: {i: b}}, {record: s, expr: m}]}]",
    );
    let answer = || Ok(vector(&[("x", 1.0), ("y", 2.0)], 10));
    evaluate(&mut rules[0], 10, answer());
    assert!(format!("{:?}", rules[0].health).contains("same labelset"));
    evaluate(&mut rules[1], 10, answer());
    let limit = Health::Bad("exceeded limit of 1 with 2 series".to_owned());
    assert_eq!(rules[1].health, limit);
}

#[test]
fn a_reload_goes_on_where_rules_are_the_same() {
    let before = "groups: [{name: g, rules: [{record: r, expr: m}, {record: old, expr: m}]}]";
    let after = "groups: [{name: g, rules: [{alert: r, expr: m}, {record: r, expr: m + 1}]}]";
    let rules = |text: &str| {
        let file = RuleFile::parse(text, &Parsing::default()).expect("it is good");
        file.groups[0].rules.clone()
    };
    let from = successors(&rules(after), &rules(before));
    assert_eq!(from, [None, Some(0)]);
    let mut old = running(before);
    for rule in &mut old {
        evaluate(rule, 10, Ok(vector(&[("x", 1.0)], 10)));
    }
    let mut new = running(after);
    let gone = take_over(&mut new, old, &from);
    let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
    assert_eq!(gone, ["{__name__=\"old\", i=\"x\"}"]);
    assert_eq!(
        (new[0].health.as_str(), new[1].health.as_str()),
        ("unknown", "ok")
    );
    let found = evaluate(&mut new[1], 20, Ok(vector(&[], 20)));
    assert_eq!(found, ["{__name__=\"r\", i=\"x\"} stale @19"]);
}

#[test]
fn rules_wait_for_what_they_read() {
    let text = "groups: [{name: g, rules: [{record: a, expr: m}, {record: b, expr: a + 1}, \
                {alert: C, expr: 'm > 1'}, {record: d, expr: 'count(ALERTS)'}, \
                {record: e, expr: 'count({job=\"x\"})'}, {record: f, expr: '{__name__=~\"a|b\"}'}]}]";
    let file = RuleFile::parse(text, &Parsing::default()).expect("it is good");
    let found = waits_for(&file.groups[0].rules);
    let none = Vec::new;
    assert_eq!(
        found,
        [
            none(),
            vec![0],
            none(),
            vec![2],
            vec![0, 1, 2, 3],
            vec![0, 1]
        ]
    );
}

#[test]
fn thousands_of_rules_are_ordered_at_once() {
    let count = 20_000;
    let rules = (0..count).map(|i| match i {
        0 => "{record: r0, expr: m}".to_owned(),
        _ => format!("{{record: r{i}, expr: r{} + m}}", i - 1),
    });
    let rules: Vec<String> = rules.collect();
    let text = format!("groups: [{{name: g, rules: [{}]}}]", rules.join(","));
    let file = RuleFile::parse(&text, &Parsing::default()).expect("it is good");
    let rules = &file.groups[0].rules;
    // Pair by pair this takes minutes.
    let waits = waits_for(rules);
    let from = successors(rules, rules);
    assert_eq!(waits[count - 1], [count - 2]);
    assert_eq!(from[count - 1], Some(count - 1));
}

#[test]
fn clocks_that_are_set_back_stop_nothing() {
    let schedule = Schedule::new("f", "g", 30 * SECOND);
    let last = schedule.after(Timestamp::from_seconds(1_000_000));
    let later = |seconds: i64| last.saturating_add(seconds * SECOND);
    assert_eq!(schedule.next(last, later(1)), (later(30), 0));
    assert_eq!(schedule.next(last, later(30)), (later(60), 1));
    assert_eq!(schedule.next(last, later(95)), (later(120), 3));
    // A clock that is corrected a little asks for no time twice.
    assert_eq!(schedule.next(last, later(-2)), (later(30), 0));
    assert!(!schedule.is_far(last, later(-29)));
    let back = later(-3600);
    assert!(schedule.is_far(last, back));
    assert_eq!(schedule.next(last, back), (schedule.after(back), 0));
}

#[test]
fn schedules_are_steady_and_spread() {
    let schedule = Schedule::new("f", "g", 30 * SECOND);
    let now = Timestamp::from_seconds(1_000_000);
    let first = schedule.after(now);
    assert!(first > now && first - now <= 30 * SECOND);
    assert_eq!(schedule.after(first) - first, 30 * SECOND);
    assert_eq!(schedule.at_or_before(first), first);
    assert_eq!(
        schedule.at_or_before(first.saturating_sub(1)),
        first.saturating_sub(30 * SECOND)
    );
    let others = (0..50).map(|i| Schedule::new("f", &format!("g{i}"), 30 * SECOND));
    let offsets: BTreeSet<i64> = others.map(|s| s.offset).collect();
    assert!(offsets.len() > 40, "groups spread");
}
