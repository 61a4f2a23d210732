//! `obs service-graph`: who calls whom, from `traces_service_graph_*`, as a table or for Graphviz.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;
use serde_json::{Value, json};

use crate::arguments::{GraphOutput, ServiceGraphOptions};
use crate::client::{Client, seconds};
use crate::paint;
use crate::table::Table;

/// Client, server and kind of a connection.
type Edge = (String, String, String);

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Calls {
    a_second: f64,
    failed_a_second: f64,
    /// Seconds that 95 % of the calls stay below, as the server saw them.
    server_p95: Option<f64>,
}

pub(crate) async fn run(options: &ServiceGraphOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let (start, end) = options.time.range("1h")?;
    let millis = (end - start) / 1_000_000;
    let by = "sum by (client, server, connection_type";
    let of = |name: &str| format!("rate(traces_service_graph_{name}[{millis}ms])");
    let mut graph: BTreeMap<Edge, Calls> = BTreeMap::new();
    let total = format!("{by}) ({})", of("request_total"));
    for (edge, value) in ask(&client, &total, seconds(end)).await? {
        graph.entry(edge).or_default().a_second = value;
    }
    let failed = format!("{by}) ({})", of("request_failed_total"));
    for (edge, value) in ask(&client, &failed, seconds(end)).await? {
        graph.entry(edge).or_default().failed_a_second = value;
    }
    let buckets = of("request_server_seconds_bucket");
    let slow = format!("histogram_quantile(0.95, {by}, le) ({buckets}))");
    for (edge, value) in ask(&client, &slow, seconds(end)).await? {
        graph.entry(edge).or_default().server_p95 = Some(value).filter(|v| v.is_finite());
    }
    graph.retain(|_, calls| calls.a_second > 0.0);
    if graph.is_empty() {
        writeln!(std::io::stderr(), "no calls between services in this time")?;
    }
    let text = match options.output {
        GraphOutput::Table => table(&graph).text(),
        GraphOutput::Csv => table(&graph).csv(),
        GraphOutput::Graph => table(&graph)
            .only(&["client", "server", "calls/s"])
            .bars(paint::terminal().0, paint::colours()),
        GraphOutput::Dot => dot(&graph),
        GraphOutput::Json => {
            let text = serde_json::to_string_pretty(&edges(&graph)).context("write JSON")?;
            format!("{text}\n")
        }
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

async fn ask(client: &Client, query: &str, time: String) -> anyhow::Result<Vec<(Edge, f64)>> {
    let params = [("query", query.to_owned()), ("time", time)];
    let answer = client.json("/api/v1/query", &params).await?;
    let series = answer["data"]["result"].as_array();
    let value = |one: &Value| {
        let label = |name: &str| one["metric"][name].as_str().unwrap_or_default().to_owned();
        let edge = (label("client"), label("server"), label("connection_type"));
        Some((edge, one["value"][1].as_str()?.parse().ok()?))
    };
    Ok(series.into_iter().flatten().filter_map(value).collect())
}

fn number(value: f64) -> String {
    format!("{value:.3}")
}

fn table(graph: &BTreeMap<Edge, Calls>) -> Table {
    let head = [
        "client", "server", "kind", "calls/s", "errors/s", "errors %", "p95 s",
    ];
    let mut table = Table::new(head);
    for ((client, server, kind), calls) in graph {
        table.push(vec![
            client.clone(),
            server.clone(),
            kind.clone(),
            number(calls.a_second),
            number(calls.failed_a_second),
            format!("{:.1}", 100.0 * calls.failed_a_second / calls.a_second),
            calls.server_p95.map_or_else(String::new, number),
        ]);
    }
    table
}

fn edges(graph: &BTreeMap<Edge, Calls>) -> Vec<Value> {
    let edge = |((client, server, kind), calls): (&Edge, &Calls)| {
        json!({
            "client": client,
            "server": server,
            "connectionType": kind,
            "callsPerSecond": calls.a_second,
            "failedPerSecond": calls.failed_a_second,
            "serverP95Seconds": calls.server_p95,
        })
    };
    graph.iter().map(edge).collect()
}

/// A text as Graphviz quotes it.
fn quoted(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}

fn dot(graph: &BTreeMap<Edge, Calls>) -> String {
    let mut out = String::from("digraph services {\n  rankdir=LR;\n  node [shape=box];\n");
    for (client, server, kind) in graph.keys() {
        match kind.as_str() {
            "database" => out.push_str(&format!("  {} [shape=cylinder];\n", quoted(server))),
            "virtual_node" if client == "user" => {
                out.push_str(&format!("  {} [shape=ellipse];\n", quoted(client)));
            }
            _ => {}
        }
    }
    for ((client, server, kind), calls) in graph {
        let mut label = format!("{}/s", number(calls.a_second));
        if calls.failed_a_second > 0.0 {
            let share = 100.0 * calls.failed_a_second / calls.a_second;
            label.push_str(&format!("\\n{share:.1} % failed"));
        }
        if let Some(p95) = calls.server_p95 {
            label.push_str(&format!("\\np95 {} s", number(p95)));
        }
        let style = match kind.as_str() {
            "messaging_system" => ", style=dashed",
            "virtual_node" => ", style=dotted",
            _ => "",
        };
        let colour = if calls.failed_a_second > 0.0 {
            ", color=red"
        } else {
            ""
        };
        let (client, server) = (quoted(client), quoted(server));
        out.push_str(&format!(
            "  {client} -> {server} [label=\"{label}\"{style}{colour}];\n"
        ));
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_are_quoted() {
        let edge = |a: &str, b: &str, kind: &str| (a.to_owned(), b.to_owned(), kind.to_owned());
        let calls = Calls {
            a_second: 2.0,
            failed_a_second: 0.5,
            server_p95: Some(0.25),
        };
        let graph = BTreeMap::from([
            (
                edge("user", "a\"b", "virtual_node"),
                Calls {
                    failed_a_second: 0.0,
                    ..calls
                },
            ),
            (edge("a\"b", "pg", "database"), calls),
        ]);
        let expect = "digraph services {\n  rankdir=LR;\n  node [shape=box];\n  \
            \"pg\" [shape=cylinder];\n  \"user\" [shape=ellipse];\n  \
            \"a\\\"b\" -> \"pg\" [label=\"2.000/s\\n25.0 % failed\\np95 0.250 s\", color=red];\n  \
            \"user\" -> \"a\\\"b\" [label=\"2.000/s\\np95 0.250 s\", style=dotted];\n}\n";
        assert_eq!(dot(&graph), expect);
        let csv = table(&graph).csv();
        assert_eq!(
            csv.lines().nth(2),
            Some("user,\"a\"\"b\",virtual_node,2.000,0.000,0.0,0.250")
        );
    }
}
