//! `obs cost`: what things cost, what could be saved, what comes and what would be.
//!
//! Invariant: sums of a report are those of its rows, and a report says of which time it is.

mod html;

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::arguments::ServerOptions;
use crate::client::Client;
use crate::table::Table;

/// Hours of the month by which prices are quoted.
const MONTH_HOURS: f64 = 730.0;
/// Bytes of a GiB.
const GIB: f64 = 1_073_741_824.0;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CostOptions {
    #[command(subcommand)]
    command: Option<CostCommand>,
    #[command(flatten)]
    report: ReportOptions,
}

#[derive(Debug, Subcommand)]
enum CostCommand {
    /// Show what is paid for: nodes, disks, load balancers
    #[command(after_help = "Examples:\n  obs cost assets --window 7d\n  obs cost assets -o csv")]
    Assets(AssetsOptions),
    /// Show what could be saved: requests, abandoned workloads, unused volumes, nodes
    #[command(after_help = "Examples:\n  obs cost savings --strategy vpa\n  \
        obs cost savings --patch")]
    Savings(SavingsOptions),
    /// Estimate what the next days will cost, with a band of 95 %
    #[command(after_help = "Examples:\n  obs cost forecast\n  obs cost forecast -o json")]
    Forecast(ForecastOptions),
    /// Estimate what a change would cost
    #[command(after_help = "Examples:\n  obs cost what-if --replicas shop/web:5\n  \
        obs cost what-if --node 8,32,0.38 --growth 20%")]
    WhatIf(WhatIfOptions),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    Table,
    Json,
    Csv,
    Html,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    server: ServerOptions,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

#[derive(Debug, Args)]
struct ReportOptions {
    #[command(flatten)]
    common: Common,
    /// By what: namespace, controller, pod, container, node, cluster, label:NAME, … or several
    #[arg(long, value_name = "PROPERTIES", default_value = "namespace")]
    by: String,
    /// Which time: 7d, today, lastweek, 24h, two times in RFC 3339 or in seconds
    #[arg(long, value_name = "WINDOW", default_value = "yesterday")]
    window: String,
    /// Which: OpenCost's filter, such as 'namespace:"shop"'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// A row for each day
    #[arg(long, conflicts_with = "monthly")]
    daily: bool,
    /// What it would cost in a month of 730 hours
    #[arg(long)]
    monthly: bool,
    /// Share what is idle by those who run there
    #[arg(long)]
    share_idle: bool,
    /// Namespaces that all others pay for
    #[arg(long, value_name = "NAMESPACES")]
    share_namespaces: Option<String>,
    /// Dollars a month that all share
    #[arg(long, value_name = "DOLLARS")]
    share_cost: Option<f64>,
}

#[derive(Debug, Args)]
struct AssetsOptions {
    #[command(flatten)]
    common: Common,
    /// Which time
    #[arg(long, value_name = "WINDOW", default_value = "yesterday")]
    window: String,
    /// Which: OpenCost's filter, such as 'assetType:"Node"'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
}

#[derive(Debug, Args)]
struct SavingsOptions {
    #[command(flatten)]
    common: Common,
    /// Whose rules for requests: krr or vpa
    #[arg(long, default_value = "krr", value_parser = ["krr", "vpa"])]
    strategy: String,
    /// Which time [default: as long as the rules want]
    #[arg(long, value_name = "WINDOW")]
    window: Option<String>,
    /// Days without traffic after which a workload counts as abandoned
    #[arg(long, default_value_t = 2.0)]
    days: f64,
    /// Bytes per second below which there is no traffic
    #[arg(long, default_value_t = 500.0)]
    threshold: f64,
    /// Print the commands that set the recommended requests, and nothing else
    #[arg(long)]
    patch: bool,
}

#[derive(Debug, Args)]
struct ForecastOptions {
    #[command(flatten)]
    common: Common,
    /// Days that are forecast
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Days that it is made of
    #[arg(long, default_value_t = 30)]
    history: u32,
}

#[derive(Debug, Args)]
struct WhatIfOptions {
    #[command(flatten)]
    common: Common,
    /// Another number of replicas
    #[arg(long, value_name = "NAMESPACE/NAME:COUNT")]
    replicas: Option<String>,
    /// Other nodes
    #[arg(long, value_name = "CORES,GIB,DOLLARS_AN_HOUR")]
    node: Option<String>,
    /// Everything requests so much more
    #[arg(long, value_name = "SHARE")]
    growth: Option<String>,
}

pub(crate) async fn run(options: &CostOptions) -> anyhow::Result<()> {
    let text = match &options.command {
        None => report(&options.report).await?,
        Some(CostCommand::Assets(options)) => assets(options).await?,
        Some(CostCommand::Savings(options)) => savings(options).await?,
        Some(CostCommand::Forecast(options)) => forecast(options).await?,
        Some(CostCommand::WhatIf(options)) => what_if(options).await?,
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

async fn ask(
    common: &Common,
    path: &str,
    params: &[(&str, Option<String>)],
) -> anyhow::Result<Value> {
    let client = Client::new(&common.server)?;
    let given = params.iter();
    let given = given.filter_map(|(name, value)| Some((*name, value.clone()?)));
    let params: Vec<(&str, String)> = given.collect();
    let path = format!("/api/v1/cost/{path}");
    let mut answer = client.json(&path, &params).await?;
    Ok(answer["data"].take())
}

/// A table in the shape that was asked for.
fn shaped(common: &Common, data: &Value, title: &str, table: &Table) -> anyhow::Result<String> {
    Ok(match common.output {
        Shape::Table => table.text(),
        Shape::Csv => table.csv(),
        Shape::Html => html::page(title, table),
        Shape::Json => format!("{}\n", serde_json::to_string_pretty(data)?),
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn dollars(value: f64) -> String {
    // Nothing is never less than nothing.
    let cents = format!("{value:.4}");
    if cents == "-0.0000" {
        "0.0000".to_owned()
    } else {
        cents
    }
}

fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}

/// Columns of dollars and the fields that they add up.
const COLUMNS: [(&str, &str); 7] = [
    ("cpu", "cpuCost"),
    ("memory", "ramCost"),
    ("gpu", "gpuCost"),
    ("volumes", "pvCost"),
    ("network", "networkCost"),
    ("balancers", "loadBalancerCost"),
    ("shared", "sharedCost"),
];

async fn report(options: &ReportOptions) -> anyhow::Result<String> {
    let flag = |flag: bool| flag.then(|| "true".to_owned());
    let params = [
        ("window", Some(options.window.clone())),
        ("aggregate", Some(options.by.clone())),
        ("filter", options.filter.clone()),
        ("step", options.daily.then(|| "1d".to_owned())),
        ("includeIdle", flag(true)),
        ("shareIdle", flag(options.share_idle)),
        ("shareNamespaces", options.share_namespaces.clone()),
        ("shareCost", options.share_cost.map(|cost| cost.to_string())),
    ];
    let data = ask(&options.common, "allocation", &params).await?;
    let title = format!("Cost by {}, {}", options.by, options.window);
    let table = report_table(&data, (options.daily, options.monthly));
    shaped(&options.common, &data, &title, &table)
}

fn report_table(data: &Value, (daily, monthly): (bool, bool)) -> Table {
    let day = daily.then_some("day");
    let costs = COLUMNS.iter().map(|column| column.0);
    let total = if monthly { "total a month" } else { "total" };
    let head = day.into_iter().chain(["name"]).chain(costs);
    let mut table = Table::new(head.chain([total, "efficiency %"]));
    let mut sums = [0.0; COLUMNS.len() + 1];
    for set in list(&data["sets"]) {
        let start = text(&set["window"]["start"]);
        let scale = match (monthly, hours(&set["window"])) {
            (true, hours) if hours > 0.0 => MONTH_HOURS / hours,
            _ => 1.0,
        };
        for item in list(&set["items"]) {
            let fields = COLUMNS.iter().map(|column| column.1).chain(["totalCost"]);
            let costs: Vec<f64> = fields.map(|field| number(&item[field]) * scale).collect();
            for (sum, cost) in sums.iter_mut().zip(&costs) {
                *sum += cost;
            }
            let mut row: Vec<String> = Vec::new();
            row.extend(daily.then(|| start.chars().take(10).collect()));
            row.push(text(&item["name"]));
            row.extend(costs.iter().map(|cost| dollars(*cost)));
            row.push(percent(number(&item["totalEfficiency"])));
            table.push(row);
        }
    }
    let mut last: Vec<String> = Vec::new();
    last.extend(daily.then(String::new));
    last.push("SUMMED".to_owned());
    last.extend(sums.iter().map(|sum| dollars(*sum)));
    table.push(last);
    table
}

/// The length of a window.
fn hours(window: &Value) -> f64 {
    let time = |name: &str| obs_model::time::parse_rfc3339(window[name].as_str()?);
    match (time("start"), time("end")) {
        (Some(start), Some(end)) => (end.nanos() - start.nanos()) as f64 / 3.6e12,
        _ => 0.0,
    }
}

async fn assets(options: &AssetsOptions) -> anyhow::Result<String> {
    let params = [
        ("window", Some(options.window.clone())),
        ("filter", options.filter.clone()),
    ];
    let data = ask(&options.common, "assets", &params).await?;
    let mut table = Table::new(["type", "name", "cluster", "class", "hours", "total"]);
    for item in list(&data["items"]) {
        let properties = &item["properties"];
        let class = item.get("nodeType").or_else(|| item.get("storageClass"));
        table.push(vec![
            text(&item["type"]),
            text(&properties["name"]),
            text(&properties["cluster"]),
            class.map(text).unwrap_or_default(),
            format!("{:.2}", number(&item["minutes"]) / 60.0),
            dollars(number(&item["totalCost"])),
        ]);
    }
    let total = dollars(number(&data["totalCost"]));
    let row = ["SUMMED", "", "", "", ""].map(str::to_owned).into_iter();
    table.push(row.chain([total]).collect());
    shaped(
        &options.common,
        &data,
        &format!("Assets, {}", options.window),
        &table,
    )
}

async fn savings(options: &SavingsOptions) -> anyhow::Result<String> {
    let params = [
        ("strategy", Some(options.strategy.clone())),
        ("window", options.window.clone()),
        ("days", Some(options.days.to_string())),
        ("threshold", Some(options.threshold.to_string())),
    ];
    let data = ask(&options.common, "savings", &params).await?;
    if options.patch {
        return Ok(patches(&data));
    }
    shaped(&options.common, &data, "Savings", &savings_table(&data))
}

/// One command for each recommendation that changes something.
fn patches(data: &Value) -> String {
    // What stands between single quotes is taken by shells as it is, but for the quote itself.
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut out = String::new();
    for one in list(&data["rightSizing"]) {
        let Some(patch) = one["patch"].as_str() else {
            continue;
        };
        let what = format!(
            "{}/{}",
            text(&one["controllerKind"]),
            text(&one["controller"])
        );
        out.push_str(&format!(
            "kubectl patch {} --namespace {} --type strategic --patch {}\n",
            quoted(&what),
            quoted(&text(&one["namespace"])),
            quoted(patch),
        ));
    }
    out
}

fn sized(size: &Value) -> String {
    match size.is_null() {
        true => "?".to_owned(),
        false => format!(
            "{:.3} cores, {:.3} GiB",
            number(&size["cpuCores"]),
            number(&size["ramBytes"]) / GIB
        ),
    }
}

fn savings_table(data: &Value) -> Table {
    let head = [
        "what",
        "which",
        "finding",
        "dollars a month",
        "confidence %",
    ];
    let mut table = Table::new(head);
    let mut push = |what: &str, which: String, finding: String, one: &Value, sure: &Value| {
        table.push(vec![
            what.to_owned(),
            which,
            finding,
            format!("{:.2}", number(&one["monthlySavings"])),
            percent(number(sure)),
        ]);
    };
    for one in list(&data["rightSizing"]) {
        let seen = &one["evidence"];
        let which = [
            text(&one["namespace"]),
            text(&one["controller"]),
            text(&one["container"]),
        ];
        let finding = format!(
            "{} -> {} (p95 {:.3} cores, most {:.3} GiB, {:.1} days)",
            sized(&one["current"]),
            sized(&one["recommended"]),
            number(&seen["cpuP95"]),
            number(&seen["ramMax"]) / GIB,
            number(&seen["days"]),
        );
        push(
            "requests",
            which.join("/"),
            finding,
            one,
            &one["confidence"],
        );
    }
    for one in list(&data["abandonedWorkloads"]) {
        let which = format!("{}/{}", text(&one["namespace"]), text(&one["pod"]));
        let finding = format!(
            "{}: {:.0} B/s in, {:.0} B/s out, {:.0} days old",
            text(&one["verdict"]),
            number(&one["ingressBytesPerSecond"]),
            number(&one["egressBytesPerSecond"]),
            number(&one["ageDays"]),
        );
        push("abandoned", which, finding, one, &one["confidence"]);
    }
    for one in list(&data["unused"]) {
        let finding = format!("unused for {:.1} days", number(&one["unusedDays"]));
        push(
            &text(&one["type"]),
            text(&one["name"]),
            finding,
            one,
            &one["confidence"],
        );
    }
    let nodes = &data["nodes"];
    for one in list(&nodes["drain"]) {
        let finding = format!(
            "drain it: {} pods have room elsewhere",
            list(&one["moves"]).len()
        );
        push(
            "node",
            text(&one["node"]),
            finding,
            one,
            &nodes["confidence"],
        );
    }
    table
}

async fn forecast(options: &ForecastOptions) -> anyhow::Result<String> {
    let params = [
        ("days", Some(options.days.to_string())),
        ("history", Some(options.history.to_string())),
    ];
    let data = ask(&options.common, "forecast", &params).await?;
    let mut table = Table::new(["day", "total", "low (95 %)", "high (95 %)"]);
    for day in list(&data["history"]) {
        let start = text(&day["window"]["start"]).chars().take(10).collect();
        table.push(vec![start, dollars(number(&day["totalCost"]))]);
    }
    let made = &data["forecast"];
    let bound = |value: &Value| value.as_f64().map(dollars).unwrap_or_default();
    if !made.is_null() {
        table.push(vec![
            format!("the next {} days", made["days"]),
            dollars(number(&made["totalCost"])),
            bound(&made["low"]),
            bound(&made["high"]),
        ]);
    }
    shaped(&options.common, &data, "Forecast", &table)
}

async fn what_if(options: &WhatIfOptions) -> anyhow::Result<String> {
    let params = [
        ("replicas", options.replicas.clone()),
        ("node", options.node.clone()),
        ("growth", options.growth.clone()),
    ];
    let data = ask(&options.common, "what-if", &params).await?;
    let mut table = Table::new(["", "now", "then"]);
    for (name, field, scale, digits) in [
        ("allocated, dollars a month", "allocatedMonthly", 1.0, 2),
        ("paid, dollars a month", "paidMonthly", 1.0, 2),
        ("nodes", "nodes", 1.0, 0),
        ("requested cores", "cpuCores", 1.0, 3),
        ("requested GiB", "ramBytes", 1.0 / GIB, 3),
    ] {
        let cell = |when: &str| format!("{:.digits$}", number(&data[field][when]) * scale);
        table.push(vec![name.to_owned(), cell("now"), cell("then")]);
    }
    shaped(&options.common, &data, "What if", &table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_of_a_report() {
        let data = json!({"sets": [{
            "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"},
            "items": [
                {"name": "shop", "cpuCost": 1.0, "ramCost": 0.5, "totalCost": 1.5, "totalEfficiency": 0.25},
                {"name": "__idle__", "cpuCost": 2.0, "totalCost": 2.0, "totalEfficiency": null},
            ],
        }]});
        let lines = |options| -> Vec<String> {
            report_table(&data, options)
                .csv()
                .lines()
                .map(str::to_owned)
                .collect()
        };
        let plain = lines((false, false));
        assert_eq!(
            plain[0],
            "name,cpu,memory,gpu,volumes,network,balancers,shared,total,efficiency %"
        );
        let zeros = "0.0000,0.0000,0.0000,0.0000,0.0000";
        assert_eq!(plain[1], format!("shop,1.0000,0.5000,{zeros},1.5000,25.0"));
        assert_eq!(plain[3], format!("SUMMED,3.0000,0.5000,{zeros},3.5000,"));
        assert!(lines((true, false))[1].starts_with("2026-01-01,shop,"));
        let monthly = format!("{:.4}", 1.5 * 730.0 / 24.0);
        assert!(lines((false, true))[1].contains(&monthly));
    }

    #[test]
    fn patches_survive_shells() {
        let data = json!({"rightSizing": [
            {"controllerKind": "deployment", "controller": "web", "namespace": "a'b", "patch": "{}"},
            {"controllerKind": "job", "controller": "x", "namespace": "a", "patch": null},
        ]});
        assert_eq!(
            patches(&data),
            "kubectl patch 'deployment/web' --namespace 'a'\\''b' --type strategic --patch '{}'\n"
        );
    }
}
