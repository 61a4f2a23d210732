//! `obs correlate`: from a trace or the labels of a sender to queries of the other signals.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::{ArgGroup, Args};
use serde_json::Value;

use crate::arguments::{Output, ServerOptions, TimeOptions};
use crate::client::{Client, seconds};
use crate::shape::Shape;
use crate::table::Table;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true)
          .args(["labels", "trace", "exemplars", "line"]))]
pub(crate) struct CorrelateOptions {
    /// Labels or resource attributes of the sender, NAME=VALUE
    #[arg(value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// The id of a trace
    #[arg(long, value_name = "ID", conflicts_with_all = ["exemplars", "line", "labels"])]
    pub(crate) trace: Option<String>,
    /// A query whose exemplars are looked for
    #[arg(long, value_name = "PROMQL", conflicts_with_all = ["line", "labels"])]
    pub(crate) exemplars: Option<String>,
    /// A log line
    #[arg(long, value_name = "TEXT")]
    pub(crate) line: Option<String>,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// `NAME=VALUE`
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("expected NAME=VALUE, found {text:?}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) async fn run(options: &CorrelateOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let (start, end) = options.time.range("1h")?;
    let mut params = vec![("start", seconds(start)), ("end", seconds(end))];
    let path = match (&options.trace, &options.exemplars, &options.line) {
        (Some(trace), ..) => format!("/api/v1/correlate/trace/{trace}"),
        (None, Some(query), _) => {
            params.push(("query", query.clone()));
            "/api/v1/correlate/exemplars".to_owned()
        }
        (None, None, line) => {
            let labels: BTreeMap<&str, &str> = options
                .labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let labels = serde_json::to_string(&labels).context("write labels")?;
            params.push(("labels", labels));
            match line {
                Some(line) => {
                    params.push(("line", line.clone()));
                    "/api/v1/correlate/log".to_owned()
                }
                None => "/api/v1/correlate/resource".to_owned(),
            }
        }
    };
    let answer = client.json(&path, &params).await?;
    let data = &answer["data"];
    Shape::from(options.output).print(data, || table(data))
}

/// One row for each query or trace.
fn table(data: &Value) -> Table {
    let mut table = Table::new(["signal", "what", "found", "query"]);
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let stored = |value: &Value| match value["stored"].as_bool() {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => String::new(),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut of_sender = |sender: &Value| {
        for signal in ["logs", "metrics", "traces", "senderTraces"] {
            for one in list(&sender[signal]) {
                let row = match one["query"].as_str() {
                    Some(query) => vec![
                        text(&one, "lang"),
                        text(&one, "title"),
                        stored(&one),
                        query.to_owned(),
                    ],
                    None => trace_row(&one, stored(&one)),
                };
                table.push(row);
            }
        }
    };
    match data["senders"].as_array() {
        Some(senders) => senders.iter().for_each(&mut of_sender),
        None => of_sender(data),
    }
    for one in list(&data["exemplars"]) {
        table.push(trace_row(&one, stored(&one)));
    }
    table
}

fn trace_row(one: &Value, stored: String) -> Vec<String> {
    let id = one["traceId"].as_str().unwrap_or_default();
    let what = match one["value"].as_f64() {
        Some(value) => format!("Exemplar of {value}"),
        None => "Trace".to_owned(),
    };
    vec!["trace".to_owned(), what, stored, format!("obs trace {id}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_as_rows() {
        let data = serde_json::json!({"senders": [{
            "logs": [{"lang": "logql", "title": "Logs", "stored": true, "query": "{a=\"b\"}"}],
            "metrics": [{"lang": "promql", "title": "Calls", "query": "up"}],
        }]});
        let csv = table(&data).csv();
        let rows: Vec<&str> = csv.lines().skip(1).collect();
        assert_eq!(
            rows,
            ["logql,Logs,yes,\"{a=\"\"b\"\"}\"", "promql,Calls,,up"]
        );
        let data =
            serde_json::json!({"exemplars": [{"traceId": "0a", "stored": false, "value": 2.5}]});
        let csv = table(&data).csv();
        assert_eq!(
            csv.lines().nth(1),
            Some("trace,Exemplar of 2.5,no,obs trace 0a")
        );
    }
}
