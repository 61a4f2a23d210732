//! Tests of the lines and of what is known about them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::*;

const LOGS: Logs = Logs {
    bytes: 3_000_000,
    pods: 60,
    end_ns: 1_700_000_000_000_000_000,
    seed: 5,
};

/// All bodies of all connections.
fn bodies(logs: Logs, connections: usize) -> (Vec<Json>, Sent) {
    let (mut all, mut sum) = (Vec::new(), Sent::default());
    for mut source in logs.pushes(connections) {
        let mut body = Vec::new();
        while let Some(sent) = source.next(&mut body) {
            assert!(sent.items < LINES_PER_REQUEST + 100, "{} lines", sent.items);
            sum.items += sent.items;
            sum.raw_bytes += sent.raw_bytes;
            all.push(serde_json::from_slice(&body).expect("JSON"));
        }
    }
    (all, sum)
}

#[test]
fn every_template_has_a_meaning() {
    for app in APPS {
        for (weight, text) in app.lines {
            assert!(*weight > 0 && Template::of(text).is_some(), "{text}");
        }
    }
    let shares: u32 = APPS.iter().map(|a| a.share).sum();
    assert_eq!(shares, 1000);
}

#[test]
fn requests_hold_the_promised_lines_whatever_the_connections() {
    for connections in [1, 3] {
        let (all, sent) = bodies(LOGS, connections);
        let off = sent.raw_bytes as f64 / LOGS.bytes as f64;
        assert!((0.97..1.03).contains(&off), "{off} of the bytes");
        let (mut lines, mut by_app) = (0, BTreeMap::<String, u64>::new());
        let (mut words, mut substrings, mut traces) = (0, 0, 0);
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        for stream in all
            .iter()
            .flat_map(|b| b["streams"].as_array().expect("streams"))
        {
            let labels = stream["stream"].as_object().expect("labels");
            let names: Vec<&str> = labels.keys().map(String::as_str).collect();
            assert_eq!(names, ["app", "cluster", "container", "namespace", "pod"]);
            let pod = labels["pod"].as_str().expect("pod").to_owned();
            let app = labels["app"].as_str().expect("app").to_owned();
            for value in stream["values"].as_array().expect("values") {
                let time: i64 = value[0].as_str().expect("time").parse().expect("a number");
                let before = last.insert(pod.clone(), time);
                assert!(before.is_none_or(|b| b < time), "times of {pod} rise");
                let line = value[1].as_str().expect("line");
                words += u64::from(line.contains(NEEDLE));
                substrings += u64::from(line.contains("wq7xkz42h"));
                traces += u64::from(value[2]["trace_id"] == NEEDLE_TRACE);
                *by_app.entry(app.clone()).or_default() += 1;
                lines += 1;
            }
        }
        assert_eq!((lines, words, substrings, traces), (sent.items, 3, 3, 4));
        for app in APPS {
            let share = by_app[app.name] as f64 * 1000.0 / lines as f64;
            let promised = f64::from(app.share);
            let fits = (promised * 0.7..promised * 1.3).contains(&share);
            assert!(fits, "{}: {share} of {promised} thousandths", app.name);
        }
    }
}

#[test]
fn a_seed_fixes_the_lines() {
    let written = |seed| {
        let logs = Logs {
            bytes: 200_000,
            seed,
            ..LOGS
        };
        let mut out = Vec::new();
        logs.write(&mut out).expect("a vector takes all");
        out
    };
    assert_eq!(written(1), written(1));
    assert_ne!(written(1), written(2));
    let text = String::from_utf8(written(1)).expect("text");
    for line in text.lines() {
        let fields: Vec<&str> = line.splitn(3, '\t').collect();
        assert_eq!(fields.len(), 3, "{line}");
        assert!(fields[1].parse::<i64>().is_ok(), "{line}");
    }
}

#[test]
fn the_survey_knows_what_the_lines_hold() {
    let workload = LOGS.workload(1);
    let (all, sent) = bodies(LOGS, 1);
    let all = all.iter().map(Json::to_string).collect::<String>();
    let expect = |name: &str| {
        let query = workload.queries.iter().find(|q| q.name == name);
        query.and_then(|q| q.total).expect("a total")
    };
    assert_eq!(workload.count.expect("a count").expect, sent.items as f64);
    assert_eq!(expect("rare word over everything"), 3.0);
    let info = all.matches("INFO").count() as f64;
    assert_eq!(expect("common word counted by 5 m"), info);
    let ended = all.matches("status: 20").count() as f64;
    let matched = expect("regex counted by 5 m");
    assert!(matched > 0.0 && matched < ended, "{matched} of {ended}");
}
