//! `obs watch`: a query again and again. A terminal is redrawn; into a pipe goes a line a sample.
//!
//! The first answer must succeed; later a fault is told and the next turn tries again.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use obs_model::Timestamp;
use serde_json::{Value, json};

use crate::arguments::{ServerOptions, duration, length_text};
use crate::client::{Client, now, seconds};
use crate::paint::{dumb, terminal};
use crate::query;
use crate::shape::{Shape, note};
use crate::table::{one_line, shortened};

/// Points of the graph.
const POINTS: i64 = 120;
/// Shorter than this, and the server does nothing else.
const PERIOD_MIN: Duration = Duration::from_millis(100);
/// To the begin of the screen, and behind the text away with the rest of it.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";

#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    /// The query (PromQL)
    #[arg(add = crate::complete::metric_names())]
    query: String,
    #[command(flatten)]
    server: ServerOptions,
    /// How often
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = length_text)]
    every: String,
    /// How far back the graph on a terminal goes
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = length_text)]
    since: String,
    /// End after so many answers [default: never]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Shape of the output [default: a graph on a terminal, else table]
    #[arg(short, long, value_enum)]
    output: Option<Shape>,
}

pub(crate) async fn run(options: &WatchOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let every = duration(&options.every).context("--every")?;
    let every = Duration::from_nanos(every.unsigned_abs()).max(PERIOD_MIN);
    let back = duration(&options.since).context("--since")?;
    // One that cannot move its cursor gets lines, as a pipe does.
    let screen = std::io::stdout().is_terminal() && !dumb();
    let shape = options
        .output
        .unwrap_or(if screen { Shape::Graph } else { Shape::Table });
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut done = 0u64;
    while options.count.is_none_or(|count| done < count) {
        turns.tick().await;
        let turn = Turn {
            client: &client,
            query: &options.query,
            back,
            first: done == 0,
            shape,
        };
        match (
            turn.text().await,
            screen && shape != Shape::Json && shape != Shape::Csv,
        ) {
            (Ok(text), true) => redraw(&options.query, &options.every, &text, done == 0)?,
            (Ok(text), false) => crate::shape::write(&text)?,
            (Err(error), _) if done == 0 => return Err(error),
            (Err(error), _) => note(&format!("obs: {error:#}"))?,
        }
        done += 1;
    }
    Ok(())
}

/// One answer.
struct Turn<'a> {
    client: &'a Client,
    query: &'a str,
    back: i64,
    first: bool,
    shape: Shape,
}

impl Turn<'_> {
    async fn text(&self) -> anyhow::Result<String> {
        let end = now();
        match self.shape {
            Shape::Graph => self.graph(end).await,
            Shape::Table | Shape::Json | Shape::Csv => {
                let params = [("query", self.query.to_owned()), ("time", seconds(end))];
                let answer = self.client.json("/api/v1/query", &params).await?;
                self.lines(&answer)
            }
        }
    }

    async fn graph(&self, end: Timestamp) -> anyhow::Result<String> {
        const SECOND: i64 = 1_000_000_000;
        let step = (self.back / POINTS / SECOND).max(1) * SECOND;
        let start = end.saturating_sub(self.back);
        let params = [
            ("query", self.query.to_owned()),
            ("start", seconds(start)),
            ("end", seconds(end)),
            ("step", format!("{:.3}", step as f64 / 1e9)),
        ];
        let answer = self.client.json("/api/v1/query_range", &params).await?;
        // Head and legend take the rest.
        let rows = terminal().1.saturating_sub(18);
        let drawn = query::graph(&answer, (start, end), step, rows)?;
        Ok(match drawn.is_empty() {
            true => "no data in this range\n".to_owned(),
            false => drawn,
        })
    }

    fn lines(&self, answer: &Value) -> anyhow::Result<String> {
        let table = query::table(answer)?;
        Ok(match self.shape {
            Shape::Json => {
                let line = json!({"time": now().to_string(), "result": answer["data"]["result"]});
                format!("{line}\n")
            }
            Shape::Csv => {
                let csv = table.csv();
                let rest = csv.split_once('\n').map_or("", |(_, rest)| rest);
                if self.first { csv } else { rest.to_owned() }
            }
            Shape::Table | Shape::Graph => plain(answer)?,
        })
    }
}

/// `2026-11-22T08:00:00Z up{job="a"} 1`
fn plain(answer: &Value) -> anyhow::Result<String> {
    let data = &answer["data"];
    if matches!(data["resultType"].as_str(), Some("scalar" | "string")) {
        let (time, value) = query::sample(&data["result"])?;
        return Ok(format!("{time} {}\n", one_line(&value)));
    }
    let mut out = String::new();
    for one in data["result"]
        .as_array()
        .context("the answer has no result")?
    {
        let name = one_line(&query::series_name(&one["metric"]));
        let values = one["values"].as_array().and_then(|all| all.last());
        let point = [one.get("value"), one.get("histogram"), values];
        let point = point.into_iter().flatten().next();
        let (time, value) = query::sample(point.context("a series has a value")?)?;
        out.push_str(&format!("{time} {name} {}\n", one_line(&value)));
    }
    Ok(out)
}

/// Over what was there, line by line, so that nothing flickers.
fn redraw(query: &str, every: &str, text: &str, first: bool) -> anyhow::Result<()> {
    let (columns, rows) = terminal();
    let mut out = String::from(if first { "\x1b[2J\x1b[H" } else { HOME });
    let head = format!("every {every} · {} · {}", now_text(), one_line(query));
    out.push_str(&shortened(&head, columns.saturating_sub(1)));
    out.push_str(CLEAR_LINE);
    for line in text.lines().take(rows.saturating_sub(2)) {
        out.push_str(line);
        out.push_str(CLEAR_LINE);
    }
    out.push_str(CLEAR_BELOW);
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(out.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Up to seconds.
fn now_text() -> String {
    let text = now().to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_sample() {
        let answer = json!({"data": {"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a\u{7}"}, "value": [1.5, "1"]},
            {"metric": {}, "histogram": [2, {"count": "3"}]},
        ]}});
        let expect = "1970-01-01T00:00:01.500Z up{job=\"a\\u0007\"} 1\n\
                      1970-01-01T00:00:02Z {} {\"count\":\"3\"}\n";
        assert_eq!(plain(&answer).unwrap(), expect);
        let scalar = json!({"data": {"resultType": "scalar", "result": [1, "2"]}});
        assert_eq!(plain(&scalar).unwrap(), "1970-01-01T00:00:01Z 2\n");
    }
}
