//! Metrics of spans, which TraceQL makes: asked of Tempo's API, printed as those of PromQL.

use anyhow::Context;
use obs_model::Timestamp;
use obs_model::limits::Limits;
use obs_query::traceql::{self, ast::Root};
use serde_json::{Map, Value, json};

use crate::arguments::QueryOptions;
use crate::client::{Client, seconds};

/// Whether a query asks for series and not for traces. One that cannot be read does neither, and the
/// server says why.
pub(crate) fn is_asked(query: &str) -> bool {
    let read = traceql::parse(query, &Limits::default());
    read.is_ok_and(|query| matches!(query.root, Root::Metrics(_)))
}

/// Series over a range, or one value of each for all of it, in the shape of Prometheus' API.
pub(crate) async fn ask(
    client: &Client,
    options: &QueryOptions,
    (start, end): (Timestamp, Timestamp),
    step: Option<i64>,
) -> anyhow::Result<Value> {
    let mut params = vec![
        ("q", options.query.clone()),
        ("start", start.nanos().to_string()),
        ("end", end.nanos().to_string()),
    ];
    params.extend(options.limit.map(|limit| ("maxSeries", limit.to_string())));
    let answer = match step {
        Some(step) => {
            params.push(("step", format!("{:.3}", step as f64 / 1e9)));
            let path = "/tempo/api/metrics/query_range";
            client.json(path, &params).await?
        }
        None => client.json("/tempo/api/metrics/query", &params).await?,
    };
    shaped(&answer, end)
}

fn shaped(answer: &Value, end: Timestamp) -> anyhow::Result<Value> {
    let series = answer["series"].as_array();
    let series = series.context("the answer has no series")?;
    let points = series.iter().any(|one| one["samples"].is_array());
    let one = |series: &Value| {
        let mut told = json!({"metric": labels(&series["labels"])});
        match series["samples"].as_array() {
            Some(samples) => told["values"] = samples.iter().map(sample).collect(),
            None => told["value"] = json!([number(&seconds(end)), text(&series["value"])]),
        }
        told
    };
    let result: Vec<Value> = series.iter().map(one).collect();
    let kind = if points || result.is_empty() {
        "matrix"
    } else {
        "vector"
    };
    let mut told = json!({"status": "success", "data": {"resultType": kind, "result": result}});
    if answer["status"] == "PARTIAL" {
        let note = answer["message"].as_str();
        told["warnings"] = json!([note.unwrap_or("not all series are shown")]);
    }
    Ok(told)
}

/// `[{"key": "a", "value": {"stringValue": "b"}}]` as a map.
fn labels(labels: &Value) -> Value {
    let mut map = Map::new();
    for label in labels.as_array().into_iter().flatten() {
        let value = label["value"].as_object();
        let value = value.and_then(|value| value.values().next());
        let value = value.map(text).unwrap_or_default();
        map.insert(text(&label["key"]), value.into());
    }
    map.into()
}

fn sample(sample: &Value) -> Value {
    let millis = number(&text(&sample["timestampMs"]));
    // Protobuf's JSON leaves out what is zero.
    let value = match &sample["value"] {
        Value::Null => "0".to_owned(),
        value => text(value),
    };
    json!([millis / 1000.0, value])
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_default()
}

/// Without quotes; whole numbers without a fraction.
fn text(value: &Value) -> String {
    match (value.as_str(), value.as_f64()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_spans_are_series() {
        assert!(is_asked(
            "{ status = error } | rate() by (resource.service.name)"
        ));
        assert!(!is_asked("{ status = error }") && !is_asked("{ status"));
        let label = json!([{"key": "service", "value": {"stringValue": "pay"}}]);
        let range = json!({"series": [{"labels": label, "samples": [
            {"timestampMs": "1500", "value": 2.0}, {"timestampMs": "2500"}]}]});
        let told = shaped(&range, Timestamp::from_seconds(3)).expect("series");
        let expect = json!({"resultType": "matrix", "result": [
            {"metric": {"service": "pay"}, "values": [[1.5, "2"], [2.5, "0"]]}]});
        assert_eq!(told["data"], expect);
        let instant = json!({"series": [{"labels": label, "value": 0.5}], "status": "PARTIAL"});
        let told = shaped(&instant, Timestamp::from_seconds(3)).expect("series");
        let expect = json!({"resultType": "vector", "result": [
            {"metric": {"service": "pay"}, "value": [3.0, "0.5"]}]});
        assert_eq!(told["data"], expect);
        assert_eq!(told["warnings"], json!(["not all series are shown"]));
    }
}
