//! `obs explain`: what a query would do and cost, and what each of its parts gives.

use clap::Args;
use serde_json::Value;

use crate::arguments::{Lang, ServerOptions, TimeOptions, length_text};
use crate::client::{Client, seconds};
use crate::graph;
use crate::misuse;
use crate::paint::{colours, terminal};
use crate::query::{series_name, step_of};
use crate::shape::{Shape, note, pretty, write};
use crate::table::{Table, one_line, shortened, width};

/// Series whose values stand beside a part.
const SHOWN: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// The query
    #[arg(add = crate::complete::metric_names())]
    query: String,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    time: TimeOptions,
    /// The language
    #[arg(long, value_enum, default_value_t = Lang::Promql)]
    lang: Lang,
    /// Time between points of a range, for example 30s [default: about 240 points]
    #[arg(long, value_name = "DURATION", value_parser = length_text)]
    step: Option<String>,
    /// Only the plan and its cost; nothing is run
    #[arg(long)]
    plan: bool,
    /// Shape of the output; graph draws how long each part took
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

pub(crate) async fn run(options: &ExplainOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let lang = match options.lang {
        Lang::Promql => "promql",
        Lang::Logql => "logql",
        Lang::Traceql => "traceql",
    };
    let parts = options.lang == Lang::Promql && !options.plan;
    if !parts && matches!(options.output, Shape::Csv | Shape::Graph) {
        return Err(misuse(
            "-o csv and -o graph show the parts of PromQL; a plan has none: -o table or json",
        ));
    }
    let mut params = vec![("query", options.query.clone()), ("lang", lang.to_owned())];
    // Lines and traces have no value at a point of time.
    if options.time.is_range() || options.lang != Lang::Promql {
        let (start, end) = options.time.range("1h")?;
        let step = step_of(options.step.as_deref(), start, end)?;
        params.push(("start", seconds(start)));
        params.push(("end", seconds(end)));
        params.push(("step", format!("{:.3}", step as f64 / 1e9)));
    } else {
        params.push(("time", seconds(options.time.instant()?)));
    }
    if parts {
        params.push(("intermediate", "true".to_owned()));
    }
    let answer = client.json("/api/v1/explain", &params).await?;
    let data = &answer["data"];
    let nodes = data["tree"]["nodes"].as_array();
    let nodes = nodes.map_or(&[][..], Vec::as_slice);
    match options.output {
        Shape::Json => return write(&pretty(data)?),
        Shape::Csv if parts => return write(&table(nodes).csv()),
        Shape::Graph if parts => {
            let table = table(nodes).only(&["part", "ms"]);
            return write(&table.bars(terminal().0, colours()));
        }
        Shape::Table | Shape::Csv | Shape::Graph => {}
    }
    let mut text = data["text"].as_str().unwrap_or_default().to_owned();
    if parts {
        text.push('\n');
        text.push_str(&tree(nodes, terminal().0));
    }
    if data["tree"]["cut"] == true {
        note("the query has more parts; those nearest to the whole are shown")?;
    }
    write(&text)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// One row for each part, the whole first.
fn table(nodes: &[Value]) -> Table {
    let head = [
        "id",
        "parent",
        "part",
        "type",
        "series",
        "points",
        "samples read",
        "ms",
        "error",
    ];
    let mut table = Table::new(head);
    for node in nodes {
        let result = &node["result"];
        let number = |key: &str| match &result[key] {
            Value::Null => String::new(),
            number => number.to_string(),
        };
        table.push(vec![
            node["id"].to_string(),
            node["parent"]
                .as_u64()
                .map_or_else(String::new, |id| id.to_string()),
            text(node, "expr").to_owned(),
            text(node, "type").to_owned(),
            number("series"),
            number("points"),
            number("samplesRead"),
            number("elapsedMs"),
            text(result, "error").to_owned(),
        ]);
    }
    table
}

/// A line of the tree: its branches and head, what it costs, and what it gives.
type Row = [String; 3];

/// The parts, each below the one that holds it.
fn tree(nodes: &[Value], columns: usize) -> String {
    let mut rows = Vec::with_capacity(nodes.len());
    if !nodes.is_empty() {
        branch(nodes, 0, (String::new(), String::new()), &mut rows);
    }
    let widest = |of: usize| {
        rows.iter()
            .map(|row: &Row| width(&row[of]))
            .max()
            .unwrap_or(0)
    };
    let widths = (widest(0).min(columns / 2), widest(1));
    let mut out = String::new();
    for [name, cost, gives] in &rows {
        let name = shortened(name, widths.0);
        let pad = " ".repeat(widths.0 - width(&name));
        let cost_pad = " ".repeat(widths.1 - width(cost));
        let room = columns.saturating_sub(widths.0 + widths.1 + 4).max(20);
        let gives: String = gives.chars().take(room).collect();
        out.push_str(format!("{name}{pad}  {cost}{cost_pad}  {gives}").trim_end());
        out.push('\n');
    }
    out
}

/// `before` is in front of this part, `below` in front of all that it holds. The server's list is
/// walked as a tree; an index that leads back or nowhere is passed over.
fn branch(nodes: &[Value], id: usize, (before, below): (String, String), rows: &mut Vec<Row>) {
    let Some(node) = nodes.get(id) else { return };
    let head = one_line(text(node, "head"));
    rows.push([
        format!("{before}{head}"),
        cost(node),
        gives(&node["result"]),
    ]);
    let children = node["children"].as_array().into_iter().flatten();
    let children: Vec<usize> = children
        .filter_map(|child| usize::try_from(child.as_u64()?).ok())
        .filter(|child| *child > id)
        .collect();
    for (index, child) in children.iter().enumerate() {
        let last = index + 1 == children.len();
        let (fork, bar) = if last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        let around = (format!("{below}{fork}"), format!("{below}{bar}"));
        branch(nodes, *child, around, rows);
    }
}

/// `12 series  0.42 ms`
fn cost(node: &Value) -> String {
    let result = &node["result"];
    let Some(millis) = result["elapsedMs"].as_f64() else {
        return text(node, "type").to_owned();
    };
    let series = result["series"].as_u64().unwrap_or(0);
    let what = match text(node, "type") {
        "scalar" => "scalar".to_owned(),
        _ => format!("{series} series"),
    };
    format!("{what:<11} {millis:>9.3} ms")
}

/// The first values, or why there are none.
fn gives(result: &Value) -> String {
    if let Some(error) = result["error"].as_str() {
        return format!("failed: {}", one_line(error));
    }
    if result.is_null() {
        return String::new();
    }
    let told = |point: &Value| match point[1].as_str() {
        Some(text) => text.parse().map_or_else(|_| text.to_owned(), graph::number),
        None => "histogram".to_owned(),
    };
    let kind = text(result, "resultType");
    if kind == "scalar" || kind == "string" {
        return told(&result["result"]);
    }
    let all = result["result"].as_array().into_iter().flatten();
    let shown = all.take(SHOWN).map(|series| {
        let name = one_line(&series_name(&series["metric"]));
        match series["values"].as_array() {
            Some(values) => {
                let floats = values.iter().map(|point| point[1].as_str()?.parse().ok());
                let last = values.last().map(told).unwrap_or_default();
                let line = graph::spark(&floats.rev().take(24).rev().collect::<Vec<_>>());
                format!("{name} {line} {last}")
            }
            None => format!("{name} {}", told(&series["value"])),
        }
    });
    let mut shown: Vec<String> = shown.collect();
    let count = result["series"].as_u64().unwrap_or(0);
    if count > shown.len() as u64 {
        shown.push("…".to_owned());
    }
    if shown.is_empty() {
        return "nothing".to_owned();
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_a_tree() {
        let result = |series: u64, result: Value| json!({"resultType": "vector", "result": result, "series": series, "elapsedMs": 0.5});
        let one = json!([{"metric": {"job": "a\u{1b}"}, "value": [1, "2.5"]}]);
        let nodes = [
            json!({"id": 0, "children": [1, 2], "head": "/", "type": "vector",
                   "result": {"error": "no match", "errorType": "execution"}}),
            json!({"id": 1, "parent": 0, "children": [3], "head": "sum by (job)", "type": "vector",
                   "expr": "sum", "result": result(1, one)}),
            json!({"id": 2, "parent": 0, "children": [], "head": "up", "type": "vector",
                   "result": result(0, json!([]))}),
            // A list that leads in a circle ends.
            json!({"id": 3, "parent": 1, "children": [0, 9], "head": "x", "type": "string"}),
        ];
        let expect = "/                vector                    failed: no match\n\
            ├─ sum by (job)  1 series        0.500 ms  {job=\"a\\u001b\"} 2.5\n\
            │  └─ x          string\n\
            └─ up            0 series        0.500 ms  nothing\n";
        assert_eq!(tree(&nodes, 100), expect);
        let csv = table(&nodes).csv();
        assert_eq!(csv.lines().nth(2), Some("1,0,sum,vector,1,,,0.5,"));
        assert_eq!(tree(&[], 80), "");
    }
}
