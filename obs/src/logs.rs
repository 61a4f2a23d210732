//! `obs logs`: lines, once or as they arrive.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use obs_model::Timestamp;
use serde_json::Value;

use crate::arguments::{LogOutput, LogsOptions, QueryOptions};
use crate::client::{Client, now};
use crate::paint::colours;
use crate::shape::Shape;
use crate::table::{Table, one_line};
use crate::{log_context, log_histogram};

/// Between two looks for new lines.
const FOLLOW_PERIOD: Duration = Duration::from_millis(500);
/// The longest wait for a server that is away.
const FOLLOW_WAIT_MAX: Duration = Duration::from_secs(10);
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
    if options.follow && matches!(options.output, LogOutput::Csv | LogOutput::Graph) {
        bail!("csv and graph need all lines at once; follow with -o table, raw or json");
    }
    let client = Client::new(&options.server)?;
    let (start, end) = options.time.range("1h")?;
    if options.histogram || options.output == LogOutput::Graph {
        let asked = (options.query.as_str(), options.output);
        return log_histogram::run(&client, asked, (start, end)).await;
    }
    if let Some(around) = options.around {
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
    let shown = Shown::of(lines.iter());
    shown.tell(options.output)?;
    print(&lines, options.output, &shown)?;
    if options.follow {
        follow(&client, options, (lines, shown), end).await?;
    }
    Ok(())
}

/// Lines that are asked for at one time while following.
const FOLLOW_LINES: usize = 5000;

/// `obs query --lang logql '{…}'`
pub(crate) async fn query(client: &Client, options: &QueryOptions) -> anyhow::Result<()> {
    let range = options.time.range("1h")?;
    let limit = options.limit.unwrap_or(100);
    let output = match options.output {
        _ if options.graph => LogOutput::Graph,
        Some(Shape::Json) => LogOutput::Json,
        Some(Shape::Csv) => LogOutput::Csv,
        Some(Shape::Graph) => LogOutput::Graph,
        Some(Shape::Table) | None => LogOutput::Table,
    };
    if output == LogOutput::Graph {
        return log_histogram::run(client, (&options.query, output), range).await;
    }
    let lines = fetch(client, &options.query, range, limit, "backward").await?;
    tell_none(&lines)?;
    let shown = Shown::of(lines.iter());
    shown.tell(output)?;
    print(&lines, output, &shown)
}

/// The labels that all lines have are told once, above them; each line tells the others, as logcli
/// does it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    common: Vec<(String, String)>,
    /// Characters of the longest labels of a line, so that lines begin below one another.
    width: usize,
}

/// Labels are padded up to here; longer ones push their lines to the right.
const LABELS_WIDTH_MAX: usize = 60;

impl Shown {
    /// What is to be told of these lines.
    pub(crate) fn of<'l>(lines: impl Iterator<Item = &'l Line> + Clone) -> Self {
        let mut common = lines.clone().next().map_or_else(Vec::new, Line::all_labels);
        for line in lines.clone() {
            common.retain(|pair| line.has(pair));
        }
        let mut shown = Self { common, width: 0 };
        let widths = lines.map(|line| shown.labels(line).chars().count());
        shown.width = widths.max().unwrap_or(0).min(LABELS_WIDTH_MAX);
        shown
    }

    /// Tells the common labels.
    pub(crate) fn tell(&self, output: LogOutput) -> std::io::Result<()> {
        if output == LogOutput::Table && !self.common.is_empty() {
            let labels = braces(self.common.iter());
            writeln!(std::io::stderr(), "Common labels: {labels}")?;
        }
        Ok(())
    }

    /// The labels of a line that not all have, but for the level, which has its own place.
    fn labels(&self, line: &Line) -> String {
        let level = line.level().map(|(name, _)| name.as_str());
        let own = line.labels.iter().chain(&line.more);
        let own = own.filter(|pair| !self.common.contains(pair) && Some(pair.0.as_str()) != level);
        let mut own = own.peekable();
        match own.peek() {
            None => String::new(),
            Some(_) => braces(own),
        }
    }
}

/// `{app="shop", pod="7"}`, harmless to a terminal.
fn braces<'l>(pairs: impl Iterator<Item = &'l (String, String)>) -> String {
    let pairs = pairs.map(|(name, value)| format!("{name}={}", Value::from(value.as_str())));
    one_line(&format!("{{{}}}", pairs.collect::<Vec<_>>().join(", ")))
}

impl Line {
    /// The level and the name of its label.
    fn level(&self) -> Option<&(String, String)> {
        let mut all = self.labels.iter().chain(&self.more);
        all.find(|(name, _)| name == "detected_level" || name == "level")
    }

    fn all_labels(&self) -> Vec<(String, String)> {
        self.labels.iter().chain(&self.more).cloned().collect()
    }

    fn has(&self, pair: &(String, String)) -> bool {
        self.labels.contains(pair) || self.more.contains(pair)
    }
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
    (lines, shown): (Vec<Line>, Shown),
    until: Timestamp,
) -> anyhow::Result<()> {
    let mut seen: HashSet<Line> = lines.into_iter().collect();
    let mut start = until.saturating_sub(FOLLOW_OVERLAP_NANOS);
    let mut page = FOLLOW_LINES;
    let mut full = false;
    let mut faults = 0u32;
    loop {
        if !full {
            tokio::time::sleep(FOLLOW_PERIOD).await;
        }
        let end = now().saturating_add(1);
        let asked = fetch(client, &options.query, (start, end), page, "forward").await;
        let found = match asked {
            Ok(found) => found,
            Err(error) => {
                // It may start again: what comes meanwhile is shown then.
                if faults == 0 {
                    crate::shape::note(&format!("obs: {error:#}; trying again"))?;
                }
                faults += 1;
                tokio::time::sleep((FOLLOW_PERIOD * faults).min(FOLLOW_WAIT_MAX)).await;
                full = false;
                continue;
            }
        };
        if std::mem::take(&mut faults) > 0 {
            crate::shape::note("obs: the server answers again")?;
        }
        full = found.len() >= page;
        let last = found.last().map(|line| Timestamp::from_nanos(line.nanos));
        let new: Vec<Line> = found
            .into_iter()
            .filter(|line| !seen.contains(line))
            .collect();
        print(&new, options.output, &shown)?;
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

fn print(lines: &[Line], output: LogOutput, shown: &Shown) -> anyhow::Result<()> {
    let colour = colours();
    let mut out = std::io::stdout().lock();
    if output == LogOutput::Csv {
        out.write_all(table(lines).csv().as_bytes())?;
    }
    for line in lines {
        match output {
            LogOutput::Csv | LogOutput::Graph => {}
            LogOutput::Raw => writeln!(out, "{}", line.text)?,
            LogOutput::Json => writeln!(out, "{}", json(line))?,
            LogOutput::Table => writeln!(out, "{}", row(line, shown, colour))?,
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

/// Time, level, labels that not all lines have, and line; the level gives the colour.
pub(crate) fn row(line: &Line, shown: &Shown, colour: bool) -> String {
    let time = Timestamp::from_nanos(line.nanos.div_euclid(1_000_000) * 1_000_000).to_string();
    let level = line.level().map_or("", |(_, value)| value.as_str());
    let mut labels = shown.labels(line);
    if !labels.is_empty() || shown.width > 0 {
        labels = format!("{labels:<width$} ", width = shown.width);
    }
    let text = one_line(&line.text);
    if !colour {
        return format!("{time} {level:<5} {labels}{text}");
    }
    let paint = paint(level);
    format!("\x1b[90m{time}\x1b[0m \x1b[{paint}m{level:<5}\x1b[0m \x1b[90m{labels}\x1b[0m{text}")
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
        let shown = Shown::of(lines.iter());
        assert_eq!(
            row(&lines[0], &shown, false),
            "1970-01-01T00:00:00.001Z       {app=\"b\"} a"
        );
        assert_eq!(
            row(&lines[1], &shown, false),
            "1970-01-01T00:00:00.002Z warn  {app=\"a\"} b\\u{1b}[2J"
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
        // What all lines have is told once; the level has its own place.
        let answer = serde_json::json!({"data": {"result": [
            {"stream": {"app": "a", "pod": "1"}, "values": [["1", "x"]]},
            {"stream": {"app": "a", "pod": "22", "detected_level": "info"}, "values": [["2", "y"]]},
        ]}});
        let lines = super::lines(&answer).unwrap();
        let shown = Shown::of(lines.iter());
        assert_eq!(shown.common, [("app".to_owned(), "a".to_owned())]);
        let rows: Vec<String> = lines.iter().map(|l| row(l, &shown, false)).collect();
        assert_eq!(
            rows,
            [
                "1970-01-01T00:00:00Z       {pod=\"1\"}  x",
                "1970-01-01T00:00:00Z info  {pod=\"22\"} y"
            ]
        );
        let one = Shown::of(lines[..1].iter());
        assert_eq!(row(&lines[0], &one, false), "1970-01-01T00:00:00Z       x");
        assert!(Shown::of([].iter()).common.is_empty());
        let matrix = serde_json::json!({"data": {"result": [{"metric": {}}]}});
        assert!(super::lines(&matrix).is_err());
    }
}
