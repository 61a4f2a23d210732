//! `obs top nodes|pods`: who uses CPU and memory, from stored metrics, with their shares and how it
//! was lately. Nothing has to be installed for it but what is scraped anyway.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use obs_model::Timestamp;
use serde_json::{Value, json};

use crate::arguments::{ServerOptions, TimeOptions, count};
use crate::client::{Client, seconds};
use crate::graph::{over_time, spark};
use crate::shape::{Shape, note};
use crate::table::Table;

/// Parts of the line of the past.
const PARTS: usize = 16;
/// Seconds of the shortest step.
const STEP_MIN: f64 = 15.0;

/// `obs top …`
#[derive(Debug, Subcommand)]
pub(crate) enum TopCommand {
    /// Nodes: CPU in cores and memory, of what the node has
    #[command(
        after_help = "Examples:\n  obs top nodes\n  obs top nodes --sort memory --since 6h\n  \
        obs top nodes -o graph"
    )]
    Nodes(TopOptions),
    /// Pods: CPU in cores of what they request, memory of their limit
    #[command(
        after_help = "Examples:\n  obs top pods\n  obs top pods -n shop --sort memory --limit 5\n  \
        obs top pods --to 'yesterday 14:00' -o csv"
    )]
    Pods(TopPodsOptions),
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    Cpu,
    Memory,
    Name,
}

#[derive(Debug, Args)]
pub(crate) struct TopOptions {
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    time: TimeOptions,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Order::Cpu)]
    sort: Order,
    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = count)]
    limit: usize,
    /// Shape of the output; graph draws bars of what --sort says
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct TopPodsOptions {
    #[command(flatten)]
    top: TopOptions,
    /// Only pods of this namespace
    #[arg(short, long, value_name = "NAME", add = crate::complete::namespaces())]
    namespace: Option<String>,
}

/// What is asked, each the first of several ways that finds anything: a node's own exporter,
/// cAdvisor, the kubelet.
struct Questions {
    by: &'static [&'static str],
    cpu: Vec<String>,
    memory: Vec<String>,
    cpu_of: Vec<String>,
    memory_of: Vec<String>,
    /// What the wholes are called.
    of: [&'static str; 2],
}

fn nodes() -> Questions {
    let by = "by (node, instance)";
    Questions {
        by: &["node"],
        cpu: vec![
            format!(
                "sum {by} (rate(node_cpu_seconds_total{{mode!~\"idle|iowait|steal|guest|guest_nice\"}}[5m]))"
            ),
            format!("sum {by} (rate(container_cpu_usage_seconds_total{{id=\"/\"}}[5m]))"),
            format!("sum {by} (rate(node_cpu_usage_seconds_total[5m]))"),
        ],
        memory: vec![
            format!("sum {by} (node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes)"),
            format!("sum {by} (container_memory_working_set_bytes{{id=\"/\"}})"),
            format!("sum {by} (node_memory_working_set_bytes)"),
        ],
        cpu_of: vec![
            format!("count {by} (node_cpu_seconds_total{{mode=\"idle\"}})"),
            format!("sum {by} (machine_cpu_cores)"),
            "sum by (node) (kube_node_status_capacity{resource=\"cpu\"})".to_owned(),
        ],
        memory_of: vec![
            format!("sum {by} (node_memory_MemTotal_bytes)"),
            format!("sum {by} (machine_memory_bytes)"),
            "sum by (node) (kube_node_status_capacity{resource=\"memory\"})".to_owned(),
        ],
        of: ["of node", "of node"],
    }
}

fn pods(namespace: Option<&str>) -> Questions {
    let by = "by (namespace, pod)";
    let only = namespace.map_or_else(String::new, |name| {
        format!(",namespace={}", obs_query::promql::quote(name))
    });
    let container = format!("{{container!=\"\",container!=\"POD\",pod!=\"\"{only}}}");
    let pod = format!("{{pod!=\"\"{only}}}");
    let asked = |what: &str, resource: &str| {
        format!("sum {by} (kube_pod_container_resource_{what}{{resource=\"{resource}\"{only}}})")
    };
    Questions {
        by: &["namespace", "pod"],
        cpu: vec![
            format!("sum {by} (rate(container_cpu_usage_seconds_total{container}[5m]))"),
            format!("sum {by} (rate(pod_cpu_usage_seconds_total{pod}[5m]))"),
        ],
        memory: vec![
            format!("sum {by} (container_memory_working_set_bytes{container})"),
            format!("sum {by} (pod_memory_working_set_bytes{pod})"),
        ],
        cpu_of: vec![asked("requests", "cpu")],
        memory_of: vec![asked("limits", "memory")],
        of: ["of request", "of limit"],
    }
}

/// What one uses of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
struct Use {
    /// At the end; none where it is gone by then.
    now: Option<f64>,
    before: Vec<Option<f64>>,
    /// What it may use.
    whole: Option<f64>,
}

/// A node or a pod.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    cpu: Use,
    memory: Use,
}

type Rows = BTreeMap<Vec<String>, Row>;

/// Runs `obs top`.
pub(crate) async fn run(command: &TopCommand) -> anyhow::Result<()> {
    let (options, questions, missing) = match command {
        TopCommand::Nodes(options) => (
            options,
            nodes(),
            "no metrics of nodes in this time: they come from `obs node-exporter`, node_exporter or the kubelet's cAdvisor",
        ),
        TopCommand::Pods(options) => (
            &options.top,
            pods(options.namespace.as_deref()),
            "no metrics of pods in this time: they come from the kubelet's cAdvisor (container_cpu_usage_seconds_total)",
        ),
    };
    let client = Client::new(&options.server)?;
    let range = options.time.range("1h")?;
    let rows = gather(&client, &questions, range).await?;
    if rows.is_empty() {
        note(missing)?;
    }
    let totals = [
        total(&rows, |row| &row.cpu),
        total(&rows, |row| &row.memory),
    ];
    let rows = sorted(rows, options);
    let json: Vec<Value> = rows
        .iter()
        .map(|row| as_json(row, &questions, totals))
        .collect();
    options.output.print(&json!(json), || match options.output {
        Shape::Csv => raw(&rows, &questions),
        Shape::Graph => bars(&rows, &questions, options.sort),
        Shape::Table | Shape::Json => table(&rows, &questions, totals),
    })
}

async fn gather(
    client: &Client,
    questions: &Questions,
    range: (Timestamp, Timestamp),
) -> anyhow::Result<Rows> {
    let mut rows = Rows::new();
    for (key, used) in used(client, questions, &questions.cpu, range).await? {
        rows.entry(key).or_default().cpu = used;
    }
    for (key, used) in used(client, questions, &questions.memory, range).await? {
        rows.entry(key).or_default().memory = used;
    }
    // What ended before is no user of anything now.
    rows.retain(|_, row| row.cpu.now.is_some() || row.memory.now.is_some());
    for (key, whole) in wholes(client, questions, &questions.cpu_of, range.1).await? {
        if let Some(row) = rows.get_mut(&key) {
            row.cpu.whole = Some(whole);
        }
    }
    for (key, whole) in wholes(client, questions, &questions.memory_of, range.1).await? {
        if let Some(row) = rows.get_mut(&key) {
            row.memory.whole = Some(whole);
        }
    }
    if questions.by == ["node"] {
        rows = named(client, rows, range.1).await?;
    }
    Ok(rows)
}

/// The labels that name a row; a node that no label names has the name of its exporter.
fn key(metric: &Value, by: &[&str]) -> Vec<String> {
    let label = |name: &str| metric[name].as_str().unwrap_or_default().to_owned();
    let mut key: Vec<String> = by.iter().map(|name| label(name)).collect();
    if by == ["node"] && key[0].is_empty() {
        key[0] = label("instance");
    }
    key
}

/// The answer to the first question that has one.
async fn first(
    client: &Client,
    path: &str,
    queries: &[String],
    params: &[(&str, String)],
) -> anyhow::Result<Vec<Value>> {
    for query in queries {
        let mut params = params.to_vec();
        params.push(("query", query.clone()));
        let answer = client.json(path, &params).await?;
        let found = answer["data"]["result"].as_array();
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            return Ok(found.clone());
        }
    }
    Ok(Vec::new())
}

async fn used(
    client: &Client,
    questions: &Questions,
    queries: &[String],
    (start, end): (Timestamp, Timestamp),
) -> anyhow::Result<Vec<(Vec<String>, Use)>> {
    let span = (start.seconds_f64(), end.seconds_f64());
    // Steps end at the end, so that the last point is now.
    let step = ((span.1 - span.0) / (2 * PARTS) as f64).max(STEP_MIN);
    let steps = ((span.1 - span.0) / step).floor();
    let begin = Timestamp::from_seconds_f64(span.1 - steps * step).unwrap_or(start);
    let params = [
        ("start", seconds(begin)),
        ("end", seconds(end)),
        ("step", format!("{step:.3}")),
    ];
    let found = first(client, "/api/v1/query_range", queries, &params).await?;
    let one = |series: &Value| {
        let points = series["values"].as_array().into_iter().flatten();
        let points: Vec<(f64, f64)> = points
            .filter_map(|p| Some((p[0].as_f64()?, p[1].as_str()?.parse().ok()?)))
            .collect();
        let last = points.last().filter(|(time, _)| span.1 - time < step / 2.0);
        let used = Use {
            now: last.map(|(_, value)| *value),
            before: over_time(&points, span, PARTS),
            whole: None,
        };
        (key(&series["metric"], questions.by), used)
    };
    Ok(found.iter().map(one).collect())
}

async fn wholes(
    client: &Client,
    questions: &Questions,
    queries: &[String],
    end: Timestamp,
) -> anyhow::Result<Vec<(Vec<String>, f64)>> {
    let params = [("time", seconds(end))];
    let found = first(client, "/api/v1/query", queries, &params).await?;
    let one = |series: &Value| {
        let value = series["value"][1].as_str()?.parse().ok()?;
        Some((key(&series["metric"], questions.by), value))
    };
    Ok(found.iter().filter_map(one).collect())
}

/// Names of machines instead of addresses of exporters, where they are known.
async fn named(client: &Client, rows: Rows, end: Timestamp) -> anyhow::Result<Rows> {
    let query = "group by (node, instance, nodename) (node_uname_info)";
    let params = [("query", query.to_owned()), ("time", seconds(end))];
    let answer = client.json("/api/v1/query", &params).await?;
    let found = answer["data"]["result"].as_array().into_iter().flatten();
    let names: BTreeMap<Vec<String>, String> = found
        .filter_map(|one| {
            let name = one["metric"]["nodename"]
                .as_str()
                .filter(|name| !name.is_empty())?;
            Some((key(&one["metric"], &["node"]), name.to_owned()))
        })
        .collect();
    let mut renamed = Rows::new();
    for (key, row) in rows {
        let name = names
            .get(&key)
            .map_or_else(|| key.clone(), |name| vec![name.clone()]);
        // Two exporters of one machine stay two rows.
        let key = if renamed.contains_key(&name) {
            key
        } else {
            name
        };
        renamed.insert(key, row);
    }
    Ok(renamed)
}

fn total(rows: &Rows, of: impl Fn(&Row) -> &Use) -> f64 {
    rows.values().filter_map(|row| of(row).now).sum()
}

fn sorted(rows: Rows, options: &TopOptions) -> Vec<(Vec<String>, Row)> {
    let mut rows: Vec<(Vec<String>, Row)> = rows.into_iter().collect();
    let amount = |row: &Row| match options.sort {
        Order::Cpu => row.cpu.now,
        Order::Memory => row.memory.now,
        Order::Name => None,
    };
    let weight = |row: &Row| amount(row).unwrap_or(-1.0);
    rows.sort_by(|(_, a), (_, b)| weight(b).total_cmp(&weight(a)));
    rows.truncate(options.limit);
    rows
}

/// `12%`
fn percent(part: Option<f64>, whole: Option<f64>) -> String {
    match (part, whole) {
        (Some(part), Some(whole)) if whole > 0.0 => format!("{:.0}%", 100.0 * part / whole),
        _ => String::new(),
    }
}

fn cores(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.3}"))
}

/// `1.5 GiB`
pub(crate) fn bytes(value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut scaled, mut unit) = (value, 0);
    while scaled.abs() >= 1024.0 && unit + 1 < units.len() {
        (scaled, unit) = (scaled / 1024.0, unit + 1);
    }
    format!("{scaled:.1} {}", units[unit])
}

fn table(rows: &[(Vec<String>, Row)], questions: &Questions, totals: [f64; 2]) -> Table {
    let [cpu_of, memory_of] = questions.of;
    let head = [
        "cpu", "share", cpu_of, "trend", "memory", "share", memory_of, "trend",
    ];
    let mut table = Table::new(questions.by.iter().copied().chain(head));
    for (key, Row { cpu, memory }) in rows {
        let mut cells = key.clone();
        cells.extend([
            cores(cpu.now),
            percent(cpu.now, Some(totals[0])),
            percent(cpu.now, cpu.whole),
            spark(&cpu.before),
            bytes(memory.now),
            percent(memory.now, Some(totals[1])),
            percent(memory.now, memory.whole),
            spark(&memory.before),
        ]);
        table.push(cells);
    }
    table
}

/// Numbers as they are, for programs.
fn raw(rows: &[(Vec<String>, Row)], questions: &Questions) -> Table {
    let head = [
        "cpu_cores",
        "cpu_cores_max",
        "memory_bytes",
        "memory_bytes_max",
    ];
    let mut table = Table::new(questions.by.iter().copied().chain(head));
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    for (key, Row { cpu, memory }) in rows {
        let numbers = [cpu.now, cpu.whole, memory.now, memory.whole].map(number);
        table.push(key.iter().cloned().chain(numbers).collect());
    }
    table
}

fn bars(rows: &[(Vec<String>, Row)], questions: &Questions, order: Order) -> Table {
    let what = if order == Order::Memory {
        "memory_bytes"
    } else {
        "cpu_cores"
    };
    let names = questions.by.iter().copied().chain([what]);
    raw(rows, questions).only(&names.collect::<Vec<&str>>())
}

fn as_json((key, row): &(Vec<String>, Row), questions: &Questions, totals: [f64; 2]) -> Value {
    let of = |used: &Use, total: f64| {
        json!({
            "now": used.now,
            "max": used.whole,
            "share": used.now.filter(|_| total > 0.0).map(|now| now / total),
            "trend": used.before,
        })
    };
    let mut value = json!({
        "cpuCores": of(&row.cpu, totals[0]),
        "memoryBytes": of(&row.memory, totals[1]),
    });
    for (name, label) in questions.by.iter().zip(key) {
        value[*name] = label.as_str().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_shares_and_trends() {
        let used = |now: f64, whole: Option<f64>| Use {
            now: Some(now),
            before: vec![Some(0.0), None, Some(now)],
            whole,
        };
        let key = |pod: &str| vec!["shop".to_owned(), pod.to_owned()];
        let rows = [
            (
                key("a"),
                Row {
                    cpu: used(0.75, Some(1.5)),
                    memory: used(3e9, Some(4e9)),
                },
            ),
            (
                key("b"),
                Row {
                    cpu: used(0.25, None),
                    memory: Use::default(),
                },
            ),
        ];
        let questions = pods(None);
        let text = table(&rows, &questions, [1.0, 3e9]).text();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines[0],
            "namespace pod cpu share of request trend memory share of limit trend"
        );
        assert_eq!(lines[1], "shop a 0.750 75% 50% ▁ █ 2.8 GiB 100% 75% ▁ █");
        assert_eq!(lines[2], "shop b 0.250 25% ▁ █");
        let csv = raw(&rows, &questions).csv();
        assert_eq!(csv.lines().nth(2), Some("shop,b,0.25,,,"));
        let json = as_json(&rows[0], &questions, [1.0, 0.0]);
        assert_eq!(json["cpuCores"]["share"], 0.75);
        assert_eq!(json["memoryBytes"]["share"], Value::Null);
        assert_eq!(json["pod"], "a");
        assert_eq!(bytes(Some(512.0)), "512.0 B");
    }

    #[test]
    fn queries_parse() {
        let limits = obs_model::limits::Limits::default();
        for questions in [nodes(), pods(None), pods(Some("a\"b"))] {
            let all = [
                &questions.cpu,
                &questions.memory,
                &questions.cpu_of,
                &questions.memory_of,
            ];
            for query in all.into_iter().flatten() {
                assert!(obs_query::promql::parse(query, &limits).is_ok(), "{query}");
            }
        }
    }
}
