//! `/api/v1/explain` with intermediate results: every part of a query by itself.

use serde_json::{Value, json};

use super::list;
use crate::process::{Obs, now};
use crate::send::{MINUTE, SECOND, remote_write, series};

fn start() -> (Obs, i64) {
    let obs = Obs::start();
    let end = now() / MINUTE * MINUTE - MINUTE;
    let rising =
        |slope: f64| (0..=40).map(move |i| (end - (40 - i) * 15 * SECOND, slope * i as f64));
    let name = ("__name__", "work_total");
    let batch = obs_model::MetricBatch {
        series: vec![
            series(&[name, ("job", "a"), ("pod", "x")], rising(15.0)),
            series(&[name, ("job", "a"), ("pod", "y")], rising(30.0)),
            series(&[name, ("job", "b"), ("pod", "z")], rising(45.0)),
        ],
        ..Default::default()
    };
    assert_eq!(remote_write(&obs, &batch).status, 204);
    (obs, end / SECOND)
}

fn nodes(obs: &Obs, params: &[(&str, &str)]) -> Vec<Value> {
    let all = [&[("intermediate", "true")], params].concat();
    let answer = obs.get("/api/v1/explain", &all).json();
    assert_eq!(answer["status"], "success", "{answer}");
    list(&answer["data"]["tree"]["nodes"]).to_vec()
}

#[test]
fn every_part_of_a_query_has_its_value() {
    let (obs, end) = start();
    let at = end.to_string();
    let query = "sum by (job) (rate(work_total[5m])) / 2 > 1";
    let found = nodes(&obs, &[("query", query), ("time", &at)]);
    let heads: Vec<&str> = found.iter().filter_map(|n| n["head"].as_str()).collect();
    let expect = [">", "/", "1", "sum by (job)", "2", "rate", "work_total[5m]"];
    assert_eq!(heads, expect);
    let series: Vec<u64> = found
        .iter()
        .filter_map(|n| n["result"]["series"].as_u64())
        .collect();
    assert_eq!(series, [2, 2, 1, 2, 1, 3, 3]);
    let sum = &found[3];
    let value = &sum["result"]["result"][0]["value"];
    assert_eq!(value[0], json!(end), "{sum}");
    let number: f64 = value[1]
        .as_str()
        .expect("a text")
        .parse()
        .expect("a number");
    assert!((number - 3.0).abs() < 1e-9, "{sum}");
    assert_eq!(sum["children"], json!([5]));
    assert_eq!(found[5]["parent"], 3);
    assert_eq!(found[6]["result"]["resultType"], "matrix");
    assert_eq!(found[6]["result"]["labels"][0]["name"], "pod");
    assert!(
        found[6]["result"]["samplesRead"].as_u64() > Some(0),
        "{}",
        found[6]
    );
    let range = [
        ("query", query),
        ("start", &(end - 120).to_string()),
        ("end", &at),
        ("step", "15"),
        ("series", "1"),
    ];
    let found = nodes(&obs, &range);
    assert_eq!(found[0]["result"]["points"], 18, "{}", found[0]);
    assert_eq!(list(&found[0]["result"]["result"]).len(), 1);
    assert_eq!(found[6]["result"]["resultType"], "matrix");
}

#[test]
fn a_part_that_fails_says_so_alone() {
    let (obs, end) = start();
    let query = "count(work_total) + count(work_total * on (job) work_total)";
    let found = nodes(&obs, &[("query", query), ("time", &end.to_string())]);
    let failed: Vec<&str> = found
        .iter()
        .filter(|n| n["result"]["error"].is_string())
        .filter_map(|n| n["kind"].as_str())
        .collect();
    assert_eq!(failed, ["binaryExpr", "aggregation", "binaryExpr"]);
    let fine = found
        .iter()
        .find(|n| n["expr"] == "count(work_total)")
        .expect("a part");
    assert_eq!(fine["result"]["result"][0]["value"][1], "3");
    let refused = [
        ("query", "{a=\"b\"}"),
        ("lang", "logql"),
        ("intermediate", "true"),
    ];
    let answer = obs.get("/api/v1/explain", &refused);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("PromQL"), "{}", answer.text());
}
