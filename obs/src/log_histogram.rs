//! `obs logs --histogram`: how many lines there were when, by level, as bars in the terminal.
//!
//! Invariant: the server counts; lines are not sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context;
use obs_model::{Timestamp, duration};
use serde_json::{Value, json};

use crate::arguments::LogOutput;
use crate::client::Client;
use crate::logs::paint;
use crate::paint::colours;
use crate::table::Table;

/// Rows of the histogram, about.
const ROWS: i64 = 24;
/// Characters of the longest bar.
const BAR: usize = 50;
/// Levels from bad to harmless: the order of the pieces of a bar.
const LEVELS: [&str; 8] = [
    "fatal", "critical", "error", "warn", "info", "debug", "trace", "unknown",
];

/// Lines by level.
type Counts = BTreeMap<String, u64>;

pub(crate) async fn run(
    client: &Client,
    (query, output): (&str, LogOutput),
    (start, end): (Timestamp, Timestamp),
) -> anyhow::Result<()> {
    let step = step(end - start);
    // A point counts the lines up to its time.
    let first = Timestamp::from_nanos((start.nanos().div_euclid(step) + 1).saturating_mul(step));
    let range = duration::format(step);
    let params = [
        (
            "query",
            // What follows a comment must not be part of it.
            format!("sum by (detected_level, level) (count_over_time({query}\n[{range}]))"),
        ),
        ("start", first.nanos().to_string()),
        ("end", end.saturating_add(step).nanos().to_string()),
        ("step", range),
    ];
    let answer = client.json("/loki/api/v1/query_range", &params).await?;
    let rows = rows(&answer, step)?;
    let text = match output {
        LogOutput::Json => rows
            .iter()
            .map(|(at, counts)| {
                let time = Timestamp::from_nanos(*at).to_string();
                format!("{}\n", json!({"time": time, "lines": counts}))
            })
            .collect(),
        LogOutput::Csv => csv(&rows),
        LogOutput::Table | LogOutput::Raw | LogOutput::Graph => draw(&rows, step, colours()),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A round step that makes about [`ROWS`] rows.
fn step(width: i64) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    const STEPS: [i64; 15] = [
        1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800,
    ];
    let wanted = width / ROWS;
    let found = STEPS.iter().map(|s| s * SECOND).find(|s| *s >= wanted);
    found.unwrap_or(7 * 86_400 * SECOND)
}

/// Counts by the begin of each step.
fn rows(answer: &Value, step: i64) -> anyhow::Result<BTreeMap<i64, Counts>> {
    let series = answer["data"]["result"].as_array();
    let mut rows: BTreeMap<i64, Counts> = BTreeMap::new();
    for series in series.context("the answer has no result")? {
        let metric = &series["metric"];
        let level = metric["detected_level"].as_str();
        let level = level
            .or_else(|| metric["level"].as_str())
            .unwrap_or("unknown");
        for point in series["values"].as_array().into_iter().flatten() {
            let seconds = point[0].as_f64().and_then(Timestamp::from_seconds_f64);
            let count = point[1].as_str().and_then(|text| text.parse::<f64>().ok());
            let (Some(at), Some(count)) = (seconds, count) else {
                anyhow::bail!("not a count of lines: {point}");
            };
            let counts = rows.entry(at.nanos().saturating_sub(step)).or_default();
            *counts.entry(level.to_owned()).or_default() += count as u64;
        }
    }
    let ends = rows.first_key_value().zip(rows.last_key_value());
    if let Some((first, last)) = ends.map(|(first, last)| (*first.0, *last.0)) {
        let mut at = first;
        while at < last {
            rows.entry(at).or_default();
            at = at.saturating_add(step);
        }
    }
    Ok(rows)
}

fn draw(rows: &BTreeMap<i64, Counts>, step: i64, colour: bool) -> String {
    let most = rows
        .values()
        .map(|counts| counts.values().sum::<u64>())
        .max();
    let Some(most) = most.filter(|most| *most > 0) else {
        return "no lines match in this time\n".to_owned();
    };
    let mut out = String::new();
    let total: u64 = rows.values().flat_map(BTreeMap::values).sum();
    for (at, counts) in rows {
        let lines: u64 = counts.values().sum();
        let time = Timestamp::from_nanos(*at);
        let bar = bar(counts, most, colour);
        // Writing to a String cannot fail.
        writeln!(out, "{time} {lines:>8} {bar}").expect("strings grow");
    }
    let (count, step) = (rows.len(), duration::format(step));
    writeln!(out, "{total} lines in {count} steps of {step}").expect("strings grow");
    out
}

/// One piece for each level; the whole is as long as its share of the longest.
fn bar(counts: &Counts, most: u64, colour: bool) -> String {
    let known = LEVELS.iter().filter_map(|level| {
        let count = counts.get(*level)?;
        Some((*level, *count))
    });
    let other = counts
        .iter()
        .filter(|(level, _)| !LEVELS.contains(&level.as_str()));
    let pieces = known.chain(other.map(|(level, count)| (level.as_str(), *count)));
    let (mut out, mut sum, mut drawn) = (String::new(), 0u64, 0usize);
    for (level, count) in pieces {
        sum += count;
        let until = (u128::from(sum) * BAR as u128).div_ceil(u128::from(most)) as usize;
        let piece = "█".repeat(until.saturating_sub(drawn));
        drawn = until;
        match colour && !piece.is_empty() {
            true => out.push_str(&format!("\x1b[{}m{piece}\x1b[0m", paint(level))),
            false => out.push_str(&piece),
        }
    }
    out
}

fn csv(rows: &BTreeMap<i64, Counts>) -> String {
    let mut levels: Vec<&str> = rows
        .values()
        .flat_map(|c| c.keys())
        .map(String::as_str)
        .collect();
    levels.sort_unstable();
    levels.dedup();
    let mut table = Table::new(["time"].into_iter().chain(levels.iter().copied()));
    for (at, counts) in rows {
        let mut row = vec![Timestamp::from_nanos(*at).to_string()];
        let count = |level: &&str| counts.get(*level).copied().unwrap_or(0).to_string();
        row.extend(levels.iter().map(count));
        table.push(row);
    }
    table.csv()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        let answer = json!({"data": {"result": [
            {"metric": {"detected_level": "error"}, "values": [[60, "5"]]},
            {"metric": {"level": "info"}, "values": [[60, "5"], [180, "5"]]},
        ]}});
        let rows = rows(&answer, 60_000_000_000).unwrap();
        let text = draw(&rows, 60_000_000_000, false);
        let lines: Vec<&str> = text.lines().collect();
        let full = "█".repeat(50);
        assert_eq!(lines[0], format!("1970-01-01T00:00:00Z       10 {full}"));
        assert_eq!(lines[1], "1970-01-01T00:01:00Z        0 ");
        assert_eq!(lines[2].matches('█').count(), 25);
        assert_eq!(lines[3], "15 lines in 3 steps of 1m");
        assert_eq!(
            csv(&rows),
            "time,error,info\n1970-01-01T00:00:00Z,5,5\n1970-01-01T00:01:00Z,0,0\n\
             1970-01-01T00:02:00Z,0,5\n"
        );
        assert_eq!(
            draw(&BTreeMap::new(), 1, true),
            "no lines match in this time\n"
        );
        assert_eq!(step(3600 * 1_000_000_000), 300_000_000_000);
    }
}
