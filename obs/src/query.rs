//! `obs query`: instant and range queries as table, JSON, CSV or graph.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use obs_model::Timestamp;
use serde_json::Value;

use crate::arguments::{Lang, QueryOptions};
use crate::client::{Client, seconds};
use crate::graph::{self, Canvas, Line};
use crate::paint::{colours, terminal};
use crate::shape::{self, Shape};
use crate::table::Table;
use crate::{logs, span_metrics, traces};

/// Points of a range query where no step is given: about two per column of a wide terminal.
const POINTS: i64 = 240;
/// What is said where nothing is found.
const NOTHING: &str = "no series match; `obs labels __name__` lists metrics, `obs explain` shows \
    which part is empty";
const NANOS_PER_SECOND: i64 = 1_000_000_000;

pub(crate) async fn run(options: &QueryOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    match options.lang {
        Lang::Promql => evaluate(&client, options, "/api/v1").await,
        Lang::Logql if options.query.trim_start().starts_with('{') => {
            logs::query(&client, options).await
        }
        Lang::Logql => evaluate(&client, options, "/loki/api/v1").await,
        Lang::Traceql if span_metrics::is_asked(&options.query) => {
            let range = options.time.range("1h")?;
            let points = options.time.is_range();
            let step = points.then(|| step_of(options.step.as_deref(), range.0, range.1));
            let step = step.transpose()?;
            let answer = span_metrics::ask(&client, options, range, step).await?;
            finish(options, &answer, step.map(|step| (range, step)))
        }
        Lang::Traceql => traces::query(&client, options).await,
    }
}

async fn evaluate(client: &Client, options: &QueryOptions, api: &str) -> anyhow::Result<()> {
    let mut params = vec![("query", options.query.clone())];
    if let Some(limit) = options.limit {
        params.push(("limit", limit.to_string()));
    }
    let (answer, drawn) = if options.time.is_range() {
        let (start, end) = options.time.range("1h")?;
        let step = step_of(options.step.as_deref(), start, end)?;
        params.push(("start", seconds(start)));
        params.push(("end", seconds(end)));
        params.push((
            "step",
            format!("{:.3}", step as f64 / NANOS_PER_SECOND as f64),
        ));
        let answer = client.json(&format!("{api}/query_range"), &params).await?;
        (answer, Some(((start, end), step)))
    } else {
        params.push(("time", seconds(options.time.instant()?)));
        (client.json(&format!("{api}/query"), &params).await?, None)
    };
    finish(options, &answer, drawn)
}

/// The range of an answer and nanoseconds between its points.
type Drawn = ((Timestamp, Timestamp), i64);

/// Prints an answer in the shape that was asked for.
fn finish(options: &QueryOptions, answer: &Value, drawn: Option<Drawn>) -> anyhow::Result<()> {
    if let Some((range, step)) = drawn.filter(|_| draws(options)) {
        let (_, rows) = terminal();
        return print(&graph(answer, range, step, rows / 2)?, answer);
    }
    let shape = match options.output {
        _ if options.graph => Shape::Graph,
        shape => shape.unwrap_or(Shape::Table),
    };
    let table = table(answer)?;
    let text = shape.text(&answer["data"], || match shape {
        Shape::Graph => newest(answer),
        _ => table,
    })?;
    print(&text, answer)
}

/// A graph is drawn for ranges on a terminal, unless another shape was asked for.
fn draws(options: &QueryOptions) -> bool {
    let asked = options.graph || options.output == Some(Shape::Graph);
    asked || (options.output.is_none() && std::io::stdout().is_terminal())
}

/// Nanoseconds between points: what was asked for, or a round number that makes enough points.
pub(crate) fn step_of(
    asked: Option<&str>,
    start: Timestamp,
    end: Timestamp,
) -> anyhow::Result<i64> {
    match asked {
        Some(text) => {
            let step = crate::arguments::duration(text).context("--step")?;
            if step <= 0 {
                bail!("--step: must be longer than 0");
            }
            Ok(step)
        }
        None => Ok(((end - start) / POINTS / NANOS_PER_SECOND).max(1) * NANOS_PER_SECOND),
    }
}

/// Warnings of an answer to standard error, so that data stays data.
pub(crate) fn notes(answer: &Value) -> std::io::Result<()> {
    for kind in ["warnings", "infos"] {
        for note in answer[kind].as_array().into_iter().flatten() {
            shape::note(note.as_str().unwrap_or_default())?;
        }
    }
    Ok(())
}

fn print(text: &str, answer: &Value) -> anyhow::Result<()> {
    notes(answer)?;
    let result = answer["data"]["result"].as_array();
    if result.is_some_and(Vec::is_empty) {
        shape::note(NOTHING)?;
    }
    shape::write(text)
}

/// One row per sample.
pub(crate) fn table(answer: &Value) -> anyhow::Result<Table> {
    let data = &answer["data"];
    let kind = data["resultType"]
        .as_str()
        .context("the answer has no resultType")?;
    if kind == "scalar" || kind == "string" {
        let mut table = Table::new(["time", "value"]);
        let (time, value) = sample(&data["result"])?;
        table.push(vec![time.to_string(), value]);
        return Ok(table);
    }
    let series = data["result"]
        .as_array()
        .context("the answer has no result")?;
    let names = label_names(series);
    let mut head = names.clone();
    head.extend(["time".to_owned(), "value".to_owned()]);
    let mut table = Table::new(head);
    for one in series {
        let labels: Vec<String> = names
            .iter()
            .map(|name| one["metric"][name].as_str().unwrap_or_default().to_owned())
            .collect();
        let many = ["values", "histograms"]
            .iter()
            .filter_map(|key| one[key].as_array())
            .flatten();
        let single = ["value", "histogram"].iter().filter_map(|key| one.get(key));
        for point in single.chain(many) {
            let (time, value) = sample(point)?;
            let mut row = labels.clone();
            row.extend([time.to_string(), value]);
            table.push(row);
        }
    }
    Ok(table)
}

/// One row for each series: its name and its newest value.
fn newest(answer: &Value) -> Table {
    let data = &answer["data"];
    let mut table = Table::new(["series", "value"]);
    let value = |point: &Value| point[1].as_str().unwrap_or_default().to_owned();
    if matches!(data["resultType"].as_str(), Some("scalar" | "string")) {
        table.push(vec![data["resultType"].to_string(), value(&data["result"])]);
        return table;
    }
    for one in data["result"].as_array().into_iter().flatten() {
        let last = one["values"].as_array().and_then(|all| all.last());
        let value = one.get("value").or(last).map(value).unwrap_or_default();
        table.push(vec![series_name(&one["metric"]), value]);
    }
    table
}

/// Names of all labels, the metric's name first.
fn label_names(series: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = series
        .iter()
        .filter_map(|s| s["metric"].as_object())
        .flat_map(|m| m.keys().cloned())
        .collect();
    names.sort_by_key(|name| (name != "__name__", name.clone()));
    names.dedup();
    names
}

/// `[seconds, "value"]`
pub(crate) fn sample(point: &Value) -> anyhow::Result<(Timestamp, String)> {
    let time = point[0].as_f64().and_then(Timestamp::from_seconds_f64);
    let time = time.with_context(|| format!("not a sample: {point}"))?;
    let value = point[1]
        .as_str()
        .map_or_else(|| point[1].to_string(), str::to_owned);
    Ok((time, value))
}

/// The series of a range as lines over time, in so many rows.
pub(crate) fn graph(
    answer: &Value,
    range: (Timestamp, Timestamp),
    step: i64,
    rows: usize,
) -> anyhow::Result<String> {
    let series = answer["data"]["result"]
        .as_array()
        .context("the answer has no result")?;
    let mut lines = Vec::with_capacity(series.len());
    for one in series {
        let points = one["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|point| {
                Some((point[0].as_f64()?, point[1].as_str()?.parse::<f64>().ok()?))
            });
        lines.push(Line {
            name: series_name(&one["metric"]),
            points: points.collect(),
        });
    }
    if lines.is_empty() {
        // That there is none is no data: whoever prints it says so.
        return Ok(String::new());
    }
    Ok(graph::draw(
        &lines,
        Canvas {
            columns: terminal().0.clamp(40, 200),
            rows: rows.clamp(8, 24),
            range: (range.0.seconds_f64(), range.1.seconds_f64()),
            step: step as f64 / NANOS_PER_SECOND as f64,
            colour: colours(),
        },
    ))
}

/// `name{a="1"}`
pub(crate) fn series_name(metric: &Value) -> String {
    let mut name = metric["__name__"].as_str().unwrap_or_default().to_owned();
    let labels: Vec<String> = metric
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "__name__")
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !labels.is_empty() || name.is_empty() {
        name.push_str(&format!("{{{}}}", labels.join(", ")));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_matrices_are_rows() {
        let answer = serde_json::json!({"data": {"resultType": "matrix", "result": [
            {"metric": {"job": "a", "__name__": "up"}, "values": [[1.5, "1"], [2, "0"]]},
            {"metric": {"__name__": "up"}, "values": [[1, "NaN"]]},
        ]}});
        assert_eq!(
            table(&answer).unwrap().csv(),
            "__name__,job,time,value\nup,a,1970-01-01T00:00:01.500Z,1\n\
             up,a,1970-01-01T00:00:02Z,0\nup,,1970-01-01T00:00:01Z,NaN\n"
        );
        let scalar = serde_json::json!({"data": {"resultType": "scalar", "result": [1, "2"]}});
        assert_eq!(
            table(&scalar).unwrap().csv(),
            "time,value\n1970-01-01T00:00:01Z,2\n"
        );
        assert_eq!(series_name(&serde_json::json!({"a": "b"})), "{a=\"b\"}");
    }
}
