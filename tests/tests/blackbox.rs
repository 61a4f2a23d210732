//! Everything in and out again: each signal is sent the way other programs send it and asked for
//! the way they ask, from memory, from parts, from merged parts, and after restarts.

mod alertmanager;
mod auth;
mod authorization;
mod backup;
mod cli;
mod cost;
mod demo;
mod deploy;
mod derived;
mod doctor;
mod explain;
mod grafana_logs;
mod ingest;
mod kubernetes;
mod logs;
mod metrics;
mod moving;
mod node;
mod notifications;
mod otlp;
mod own;
mod packages;
mod prometheus_api;
mod pushes;
mod remote;
mod resource_metrics;
mod rules;
mod scraping;
mod tailing;
mod targets;
mod tenants;
mod traces;

use serde_json::Value;

use crate::process::{Obs, Stop};

/// A request and its parameters.
type Question<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// The answers, without what may differ from one time to the next.
fn ask(obs: &Obs, questions: &[Question<'_>]) -> Vec<Value> {
    let one = |(path, params): &Question<'_>| normal(obs.get(path, params).json());
    questions.iter().map(one).collect()
}

/// Drops statistics and puts series and streams in order.
fn normal(mut answer: Value) -> Value {
    if let Some(object) = answer.as_object_mut() {
        object.remove("metrics");
    }
    if let Some(data) = answer["data"].as_object_mut() {
        data.remove("stats");
        if let Some(result) = data.get_mut("result").and_then(Value::as_array_mut) {
            result.sort_by_key(|one| one.to_string());
        }
    }
    answer
}

/// Whatever is asked, the answer is the same from memory, parts, one part, and after restarts.
fn same_through_life(obs: &mut Obs, ask: impl Fn(&Obs) -> Vec<Value>) {
    let expect = ask(obs);
    let check = |obs: &Obs, when: &str| {
        for (found, expect) in ask(obs).iter().zip(&expect) {
            assert_eq!(found, expect, "{when}");
        }
    };
    obs.force("flush");
    check(obs, "after a flush");
    obs.force("merge");
    check(obs, "after a merge");
    obs.restart(Stop::Terminate);
    check(obs, "after a restart");
    obs.restart(Stop::Kill);
    check(obs, "after a kill");
}

/// `name{label="value"}` and value of each sample of a vector, in order.
fn vector(answer: &Value) -> Vec<(String, f64)> {
    assert_eq!(answer["data"]["resultType"], "vector", "{answer}");
    let sample = |one: &Value| (series_name(&one["metric"]), number(&one["value"][1]));
    let mut all: Vec<_> = list(&answer["data"]["result"]).iter().map(sample).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn series_name(metric: &Value) -> String {
    let labels = metric
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "__name__");
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let name = metric["__name__"].as_str().unwrap_or_default();
    format!("{name}{{{}}}", labels.join(","))
}

fn number(value: &Value) -> f64 {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("not a sample's value: {value}"));
    text.parse().expect("a float")
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not a list: {value}"))
}

/// The texts of a list.
fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

fn assert_close(found: &[(String, f64)], expect: &[(&str, f64)], what: &str) {
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let expected: Vec<&str> = expect.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected, "{what}");
    for ((name, found), (_, expect)) in found.iter().zip(expect) {
        let near = (found - expect).abs() <= 1e-9 * expect.abs().max(1.0);
        assert!(near, "{what}: {name} is {found}, expected {expect}");
    }
}
