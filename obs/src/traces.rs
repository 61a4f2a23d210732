//! `obs traces` and `obs trace`: search traces and look at one.

use std::io::Write;

use anyhow::{Context, bail};
use obs_model::limits::Limits;
use obs_model::{SpanBatch, Timestamp, TraceId};
use serde_json::Value;

use crate::arguments::{QueryOptions, TraceOptions, TracesOptions};
use crate::client::{Client, seconds};
use crate::paint::{colours, terminal};
use crate::shape::Shape;
use crate::table::Table;
use crate::trace_logs;
use crate::trace_path;
use crate::waterfall::{self, nanos_text};

pub(crate) async fn search(options: &TracesOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let range = options.time.range("1h")?;
    let answer = ask(&client, &options.query, range, options.limit).await?;
    print(&answer, options.output)
}

/// `obs query --lang traceql '{…}'`
pub(crate) async fn query(client: &Client, options: &QueryOptions) -> anyhow::Result<()> {
    let range = options.time.range("1h")?;
    let answer = ask(client, &options.query, range, options.limit.unwrap_or(20)).await?;
    let shape = options.output.unwrap_or(Shape::Table);
    print(&answer, if options.graph { Shape::Graph } else { shape })
}

async fn ask(
    client: &Client,
    query: &str,
    (start, end): (Timestamp, Timestamp),
    limit: usize,
) -> anyhow::Result<Value> {
    let params = [
        ("q", query.to_owned()),
        ("start", start.millis().div_euclid(1000).to_string()),
        // Tempo takes whole seconds; the last one counts.
        ("end", (end.millis().div_euclid(1000) + 1).to_string()),
        ("limit", limit.to_string()),
    ];
    client.json("/tempo/api/search", &params).await
}

fn print(answer: &Value, output: Shape) -> anyhow::Result<()> {
    if answer["traces"].as_array().is_none_or(Vec::is_empty) {
        writeln!(std::io::stderr(), "no traces match in this time")?;
    }
    let table = match output {
        Shape::Graph => durations(answer),
        Shape::Csv => table(answer, true)?,
        Shape::Table | Shape::Json => table(answer, false)?,
    };
    output.print(&answer["traces"], || table)
}

/// Traces by how long they took.
fn durations(answer: &Value) -> Table {
    let mut table = Table::new(["trace", "service", "root", "milliseconds"]);
    for trace in answer["traces"].as_array().into_iter().flatten() {
        let text = |key: &str| trace[key].as_str().unwrap_or_default().to_owned();
        let millis = trace["durationMs"].as_i64().unwrap_or(0);
        let id: String = text("traceID").chars().take(8).collect();
        let names = [
            format!("{id}:"),
            text("rootServiceName"),
            text("rootTraceName"),
        ];
        table.push(names.into_iter().chain([millis.to_string()]).collect());
    }
    table
}

/// One row for each trace; for machines durations are numbers.
fn table(answer: &Value, plain: bool) -> anyhow::Result<Table> {
    let duration = if plain { "duration ms" } else { "duration" };
    let mut table = Table::new(["trace", "started", duration, "service", "root", "matched"]);
    for trace in answer["traces"].as_array().into_iter().flatten() {
        let text = |key: &str| trace[key].as_str().unwrap_or_default().to_owned();
        let id = TraceId::from_hex(&text("traceID"));
        let id = id.with_context(|| format!("not a trace in the answer: {trace}"))?;
        let start = text("startTimeUnixNano").parse().map(Timestamp::from_nanos);
        let millis = trace["durationMs"].as_i64().unwrap_or(0);
        let sets = trace["spanSets"].as_array();
        let matched: u64 = sets
            .into_iter()
            .flatten()
            .filter_map(|set| set["matched"].as_u64())
            .sum();
        table.push(vec![
            id.to_string(),
            seconds_text(start.unwrap_or_default()),
            // The search tells whole milliseconds.
            match (plain, millis) {
                (true, _) => millis.to_string(),
                (false, 0) => "<1ms".to_owned(),
                (false, _) => nanos_text(millis * 1_000_000),
            },
            text("rootServiceName"),
            text("rootTraceName"),
            matched.to_string(),
        ]);
    }
    Ok(table)
}

/// Up to milliseconds.
fn seconds_text(time: Timestamp) -> String {
    let seconds = seconds(time)
        .parse()
        .ok()
        .and_then(Timestamp::from_seconds_f64);
    seconds.unwrap_or(time).to_string()
}

pub(crate) async fn show(options: &TraceOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let text = match (&options.id, options.compare.as_slice()) {
        (_, [a, b]) => {
            let (a, b) = (fetch(&client, a).await?, fetch(&client, b).await?);
            let table = trace_path::compare(&a, &b);
            let shape = options.output.unwrap_or(Shape::Table);
            shape.text(&table.json(), || table)?.into_bytes()
        }
        (Some(id), _) => {
            let trace = fetch(&client, id).await?;
            let shape = options.output.unwrap_or(Shape::Graph);
            match if options.json { Shape::Json } else { shape } {
                Shape::Json => {
                    let mut json = Vec::new();
                    obs_wire::otlp::traces::encode_json(&trace, &mut json);
                    json.push(b'\n');
                    json
                }
                Shape::Table => waterfall::table(&trace).text().into_bytes(),
                Shape::Csv => waterfall::table(&trace).csv().into_bytes(),
                Shape::Graph => {
                    let mut text = waterfall::draw(&trace, terminal().0.clamp(60, 200), colours());
                    if options.logs {
                        text.push('\n');
                        text.push_str(&trace_logs::of(&client, id).await?);
                    }
                    text.into_bytes()
                }
            }
        }
        (None, _) => bail!("expected the id of a trace"),
    };
    Ok(std::io::stdout().write_all(&text)?)
}

/// A whole trace.
async fn fetch(client: &Client, id: &str) -> anyhow::Result<SpanBatch> {
    let Some(id) = TraceId::from_hex(id) else {
        bail!("{id:?} is not a trace id: expected 1 to 32 hexadecimal digits");
    };
    let path = format!("/tempo/api/traces/{id}");
    let body = client.get(&path, &[], "application/protobuf").await?;
    let limits = Limits {
        attributes_max: usize::MAX,
        ..Limits::default()
    };
    Ok(obs_wire::otlp::traces::decode_protobuf(&body, &limits)?.batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_get_their_zeroes_back() {
        let answer = serde_json::json!({"traces": [{
            "traceID": "ab", "startTimeUnixNano": "1500000001", "durationMs": 12,
            "rootServiceName": "shop", "rootTraceName": "GET /", "spanSets": [{"matched": 2}],
        }]});
        let text = table(&answer, true).unwrap().csv();
        let row = text.lines().nth(1).unwrap();
        let id = "000000000000000000000000000000ab";
        assert_eq!(
            row,
            format!("{id},1970-01-01T00:00:01.500Z,12,shop,GET /,2")
        );
    }
}
