//! `obs logs`: lines, once or as they arrive.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use obs_model::Timestamp;
use serde_json::Value;

use crate::arguments::{LogOutput, LogsOptions, Output, QueryOptions};
use crate::client::{Client, now};
use crate::query::colours;
use crate::table::{Table, one_line};
use crate::{log_context, log_histogram};

/// Between two looks for new lines.
const FOLLOW_PERIOD: Duration = Duration::from_millis(500);
/// Lines that arrive so late are still followed.
const FOLLOW_OVERLAP_NANOS: i64 = 5_000_000_000;

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    pub(crate) nanos: i64,
    pub(crate) labels: Vec<(String, String)>,
    /// Structured metadata and parsed labels, where they were asked for apart.
    more: Vec<(String, String)>,
    pub(crate) text: String,
}

pub(crate) async fn run(options: &LogsOptions) -> anyhow::Result<()> {
    if options.follow && options.output == LogOutput::Csv {
        bail!("the columns of csv are known at the end only; follow with table, raw or json");
    }
    let client = Client::new(&options.server)?;
    let (start, end) = options.time.range("1h")?;
    if options.histogram {
        return log_histogram::run(&client, options, (start, end)).await;
    }
    if let Some(around) = options.context {
        return log_context::run(&client, options, (start, end), around).await;
    }
    let lines = fetch(
        &client,
        &options.query,
        (start, end),
        options.limit,
        "backward",
    )
    .await?;
    tell_none(&lines)?;
    print(&lines, options.output)?;
    if options.follow {
        follow(&client, options, lines, end).await?;
    }
    Ok(())
}

/// Lines that are asked for at one time while following.
const FOLLOW_LINES: usize = 5000;

/// `obs query --lang logql '{…}'`
pub(crate) async fn query(client: &Client, options: &QueryOptions) -> anyhow::Result<()> {
    let range = options.time.range("1h")?;
    let limit = options.limit.unwrap_or(100);
    let lines = fetch(client, &options.query, range, limit, "backward").await?;
    let output = match options.output {
        Some(Output::Json) => LogOutput::Json,
        Some(Output::Csv) => LogOutput::Csv,
        Some(Output::Table) | None => LogOutput::Table,
    };
    tell_none(&lines)?;
    print(&lines, output)
}

/// An answer without lines is told, so that nobody waits for more.
pub(crate) fn tell_none(lines: &[Line]) -> std::io::Result<()> {
    if lines.is_empty() {
        writeln!(std::io::stderr(), "no lines match in this time")?;
    }
    Ok(())
}

async fn follow(
    client: &Client,
    options: &LogsOptions,
    shown: Vec<Line>,
    until: Timestamp,
) -> anyhow::Result<()> {
    let mut seen: HashSet<Line> = shown.into_iter().collect();
    let mut start = until.saturating_sub(FOLLOW_OVERLAP_NANOS);
    let mut page = FOLLOW_LINES;
    let mut full = false;
    loop {
        if !full {
            tokio::time::sleep(FOLLOW_PERIOD).await;
        }
        let end = now().saturating_add(1);
        let found = fetch(client, &options.query, (start, end), page, "forward").await?;
        full = found.len() >= page;
        let last = found.last().map(|line| Timestamp::from_nanos(line.nanos));
        let new: Vec<Line> = found
            .into_iter()
            .filter(|line| !seen.contains(line))
            .collect();
        print(&new, options.output)?;
        seen.extend(new);
        // A full page goes on where it ended; if all of it was of one time, it was too small.
        let next = last.filter(|_| full);
        page = match next == Some(start) {
            true => page.saturating_mul(2),
            false => FOLLOW_LINES,
        };
        start = next.unwrap_or_else(|| end.saturating_sub(FOLLOW_OVERLAP_NANOS));
        seen.retain(|line| line.nanos >= start.nanos());
    }
}

/// Lines in order of time, oldest first; of equal times in order of arrival.
async fn fetch(
    client: &Client,
    query: &str,
    (start, end): (Timestamp, Timestamp),
    limit: usize,
    direction: &str,
) -> anyhow::Result<Vec<Line>> {
    fetch_with(client, query, (start, end), limit, (direction, &[])).await
}

/// Lines in order of time, whose labels are those of their streams alone.
pub(crate) async fn fetch_apart(
    client: &Client,
    query: &str,
    range: (Timestamp, Timestamp),
    limit: usize,
    direction: &str,
) -> anyhow::Result<Vec<Line>> {
    let headers = [("x-loki-response-encoding-flags", "categorize-labels")];
    fetch_with(client, query, range, limit, (direction, &headers)).await
}

async fn fetch_with(
    client: &Client,
    query: &str,
    (start, end): (Timestamp, Timestamp),
    limit: usize,
    (direction, headers): (&str, &[(&str, &str)]),
) -> anyhow::Result<Vec<Line>> {
    let params = [
        ("query", query.to_owned()),
        ("start", start.nanos().to_string()),
        ("end", end.nanos().to_string()),
        ("limit", limit.to_string()),
        ("direction", direction.to_owned()),
    ];
    let path = "/loki/api/v1/query_range";
    let answer = client.json_with(path, &params, headers).await?;
    let mut lines = lines(&answer)?;
    if direction == "backward" {
        // So do lines of the same time.
        lines.reverse();
    }
    lines.sort_by_key(|line| line.nanos);
    Ok(lines)
}

fn lines(answer: &Value) -> anyhow::Result<Vec<Line>> {
    let streams = answer["data"]["result"]
        .as_array()
        .context("the answer has no result")?;
    let mut lines = Vec::new();
    for stream in streams {
        if !stream["stream"].is_object() {
            bail!("the answer is not of log lines; use `obs query --lang logql`");
        }
        let labels = pairs(&stream["stream"]);
        for entry in stream["values"].as_array().into_iter().flatten() {
            let nanos = entry[0].as_str().and_then(|t| t.parse().ok());
            lines.push(Line {
                nanos: nanos.with_context(|| format!("not a log line: {entry}"))?,
                labels: labels.clone(),
                more: [&entry[2]["structuredMetadata"], &entry[2]["parsed"]]
                    .into_iter()
                    .flat_map(pairs)
                    .collect(),
                text: entry[1].as_str().unwrap_or_default().to_owned(),
            });
        }
    }
    Ok(lines)
}

fn pairs(object: &Value) -> Vec<(String, String)> {
    let pairs = object.as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pairs
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

fn print(lines: &[Line], output: LogOutput) -> anyhow::Result<()> {
    let colour = colours();
    let mut out = std::io::stdout().lock();
    if output == LogOutput::Csv {
        out.write_all(table(lines).csv().as_bytes())?;
    }
    for line in lines {
        match output {
            LogOutput::Csv => {}
            LogOutput::Raw => writeln!(out, "{}", line.text)?,
            LogOutput::Json => writeln!(out, "{}", json(line))?,
            LogOutput::Table => writeln!(out, "{}", row(line, colour))?,
        }
    }
    Ok(out.flush()?)
}

/// Time, every label of any line, and the line.
fn table(lines: &[Line]) -> Table {
    let names: BTreeSet<&str> = lines
        .iter()
        .flat_map(|line| line.labels.iter().map(|(name, _)| name.as_str()))
        .collect();
    let mut table = Table::new(["time"].into_iter().chain(names.clone()).chain(["line"]));
    for line in lines {
        let value = |name: &&str| line.labels.iter().find(|(own, _)| own == name);
        let mut row = vec![Timestamp::from_nanos(line.nanos).to_string()];
        let labels = names.iter().map(value);
        row.extend(labels.map(|found| found.map_or_else(String::new, |(_, value)| value.clone())));
        row.push(line.text.clone());
        table.push(row);
    }
    table
}

/// A line as an object.
pub(crate) fn json(line: &Line) -> Value {
    let labels: serde_json::Map<String, Value> = line
        .labels
        .iter()
        .chain(&line.more)
        .map(|(n, v)| (n.clone(), Value::from(v.as_str())))
        .collect();
    serde_json::json!({
        "time": Timestamp::from_nanos(line.nanos).to_string(),
        "labels": labels,
        "line": line.text,
    })
}

/// Time, level and line; the level gives the colour.
pub(crate) fn row(line: &Line, colour: bool) -> String {
    let time = Timestamp::from_nanos(line.nanos.div_euclid(1_000_000) * 1_000_000).to_string();
    let level = line
        .labels
        .iter()
        .chain(&line.more)
        .find(|(name, _)| name == "detected_level" || name == "level");
    let level = level.map_or("", |(_, value)| value.as_str());
    let text = one_line(&line.text);
    if !colour {
        return format!("{time} {level:<5} {text}");
    }
    let paint = paint(level);
    format!("\x1b[90m{time}\x1b[0m \x1b[{paint}m{level:<5}\x1b[0m {text}")
}

/// The colour of a level.
pub(crate) fn paint(level: &str) -> &'static str {
    match level {
        "error" | "critical" | "fatal" => "31",
        "warn" | "warning" => "33",
        "debug" | "trace" | "unknown" => "90",
        _ => "36",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_and_harmless() {
        let answer = serde_json::json!({"data": {"result": [
            {"stream": {"app": "a", "detected_level": "warn"}, "values": [["2000000", "b\u{1b}[2J"]]},
            {"stream": {"app": "b"}, "values": [["1000000", "a"]]},
        ]}});
        let mut lines = lines(&answer).unwrap();
        lines.sort_by_key(|line| line.nanos);
        assert_eq!(row(&lines[0], false), "1970-01-01T00:00:00.001Z       a");
        assert_eq!(
            row(&lines[1], false),
            "1970-01-01T00:00:00.002Z warn  b\\u{1b}[2J"
        );
        assert_eq!(
            json(&lines[0]).to_string(),
            r#"{"labels":{"app":"b"},"line":"a","time":"1970-01-01T00:00:00.001Z"}"#
        );
        assert_eq!(
            table(&lines).csv(),
            "time,app,detected_level,line\n1970-01-01T00:00:00.001Z,b,,a\n\
             1970-01-01T00:00:00.002Z,a,warn,b\u{1b}[2J\n"
        );
        let matrix = serde_json::json!({"data": {"result": [{"metric": {}}]}});
        assert!(super::lines(&matrix).is_err());
    }
}
