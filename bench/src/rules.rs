//! `obs-bench rules`: many rules over a fleet's series, evaluated again and again by the clock.
//!
//! Every system gets the same samples, which reach far enough behind now, and the same rule files.
//! Invariants: a figure counts only where no evaluation failed and where as many series came out
//! as rules went in; CPU is the kernel's, of the system's process alone. Run it under `taskset` to
//! see it on one core.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use obs_model::metrics::{MetricBatch, Sample, Series};
use obs_model::{Labels, Samples};
use obs_wire::prometheus::remote_write;
use obs_wire::snappy;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::http::Client;
use crate::system::{Running, System};
use crate::workload::Signal;

/// Series of one request.
const BATCH_SERIES: usize = 500;
/// Rules of one group.
const GROUP_RULES: usize = 100;
/// Between samples of a series.
const INTERVAL_MS: i64 = 15_000;
/// How far behind the start of the run samples begin.
const BEHIND_MS: i64 = 600_000;
/// How long a system may take until all groups were evaluated.
const FIRST_MAX: Duration = Duration::from_secs(600);

#[derive(Args, Debug)]
pub(crate) struct RuleOptions {
    /// Rules: of ten five record rates, three alert, two record averages
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    rules: usize,
    /// Series that they read
    #[arg(long, value_name = "N", default_value_t = 101_000)]
    series: u64,
    /// Seconds between evaluations
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    interval: u64,
    /// Evaluations that are measured
    #[arg(long, value_name = "N", default_value_t = 4)]
    rounds: u64,
}

/// What came out of one system.
pub(crate) struct Measured {
    system: String,
    version: String,
    figures: Vec<(&'static str, f64)>,
}

/// A table of all systems.
pub(crate) fn table(all: &[Measured]) -> String {
    let mut text = String::new();
    for measured in all {
        text.push_str(&format!("{} ({})\n", measured.system, measured.version));
        for (name, value) in &measured.figures {
            text.push_str(&format!("  {name:<44} {value:>14.3}\n"));
        }
    }
    text
}

pub(crate) fn to_json(all: &[Measured]) -> Value {
    let one = |measured: &Measured| {
        let figures = measured.figures.iter();
        let figures: Value = figures
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({"system": measured.system, "version": measured.version, "figures": figures})
    };
    all.iter().map(one).collect()
}

/// Measures each system in turn.
pub(crate) fn run(
    options: &RuleOptions,
    systems: &[System],
    folder: &Path,
    (now, seed): (i64, u64),
) -> anyhow::Result<Vec<Measured>> {
    let lasting = FIRST_MAX.as_millis() as u64 + (options.rounds + 3) * options.interval * 1000;
    let ahead = i64::try_from(lasting)?;
    let fleet = Fleet {
        series: options.series,
        samples: u64::try_from((BEHIND_MS + ahead) / INTERVAL_MS)?,
        interval_ms: INTERVAL_MS,
        lifetime: 0,
        end_ms: now * 1000 + ahead,
        seed,
        nanoseconds: true,
    };
    let columns = fleet.columns();
    let (text, records) = rule_file(&columns, options);
    let mut all = Vec::new();
    for system in systems {
        let data = folder.join(format!("rules-{}", system.name.replace(' ', "-")));
        fs::create_dir_all(&data)?;
        let file = data.with_extension("rules.yml");
        fs::write(&file, &text)?;
        let measured = one(options, system, (&data, &file), &columns, records);
        all.push(measured.with_context(|| system.name.clone())?);
    }
    Ok(all)
}

/// Metric and instance of each series, each pair once.
fn pairs(columns: &[(Labels, Samples)]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = columns
        .iter()
        .filter_map(|(labels, _)| {
            let name = labels.metric_name()?.to_owned();
            Some((name, labels.get("instance")?.to_owned()))
        })
        .collect();
    pairs.sort();
    pairs.dedup();
    pairs
}

/// The rules, and how many of them record.
fn rule_file(columns: &[(Labels, Samples)], options: &RuleOptions) -> (String, u64) {
    let pairs = pairs(columns);
    let mut text = "groups:\n".to_owned();
    let mut records = 0;
    for index in 0..options.rules {
        if index % GROUP_RULES == 0 {
            let group = index / GROUP_RULES;
            text.push_str(&format!(
                "- name: g{group}\n  interval: {}s\n  rules:\n",
                options.interval
            ));
        }
        let (name, instance) = &pairs[index % pairs.len()];
        let selector = format!("{name}{{instance=\"{instance}\"}}");
        let rule = match index % 10 {
            0..5 => format!("record: bench:r{index}\n    expr: sum(rate({selector}[5m]))"),
            5..7 => format!("record: bench:r{index}\n    expr: avg({selector})"),
            _ => format!(
                "alert: A{index}\n    expr: {selector} > 1e300\n    for: 5m\n    \
                 labels: {{severity: page}}\n    annotations: {{summary: '{{{{ $value }}}}'}}"
            ),
        };
        records += u64::from(index % 10 < 7);
        text.push_str(&format!("  - {rule}\n"));
    }
    (text, records)
}

fn one(
    options: &RuleOptions,
    system: &System,
    (data, rules): (&Path, &Path),
    columns: &[(Labels, Samples)],
    records: u64,
) -> anyhow::Result<Measured> {
    let idle = "global: {scrape_interval: 1h, evaluation_interval: 30s}\n";
    let running = system.start(data, Some(idle))?;
    send(&running, system, columns)?;
    system.stop(running.process)?;
    let config = format!("{idle}rule_files: ['{}']\n", rules.display());
    let mut running = system.start(data, Some(&config))?;
    let mut client = Client::new(running.address);
    first_round(&mut running, &mut client, options)?;
    let before = (running.process.cpu_seconds()?, counts(&mut client)?);
    sleep(Duration::from_secs(options.interval * options.rounds));
    let after = (running.process.cpu_seconds()?, counts(&mut client)?);
    let evaluated = after.1.evaluations - before.1.evaluations;
    let expected = (options.rules as u64 * options.rounds) as f64;
    ensure!(
        evaluated > expected * 0.9,
        "expected about {expected} evaluations, found {evaluated}"
    );
    ensure!(
        after.1.failures == 0.0,
        "{} evaluations failed",
        after.1.failures
    );
    let recorded = recorded(&mut client, options)?;
    ensure!(
        recorded == records as f64,
        "expected {records} recorded series, found {recorded}"
    );
    let cpu = after.0 - before.0;
    let (_, peak) = running.process.resident_bytes()?;
    let per_round = cpu / evaluated * options.rules as f64;
    let figures = vec![
        ("rules", options.rules as f64),
        ("series read from", options.series as f64),
        ("seconds between evaluations", options.interval as f64),
        ("CPU seconds for one evaluation of all", per_round),
        ("CPU ms for one rule", cpu / evaluated * 1000.0),
        ("part of a core", per_round / options.interval as f64),
        ("slowest group, seconds", after.1.slowest),
        (
            "evaluations of groups left out",
            after.1.missed - before.1.missed,
        ),
        ("peak resident MiB", peak as f64 / (1 << 20) as f64),
    ];
    Ok(Measured {
        system: system.name.clone(),
        version: system.version(),
        figures,
    })
}

/// Waits until every group was evaluated twice.
fn first_round(
    running: &mut Running,
    client: &mut Client,
    options: &RuleOptions,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        if let Some(status) = running.process.ended()? {
            bail!("ended with {status}");
        }
        let evaluations = counts(client)?.evaluations;
        if evaluations >= 2.0 * options.rules as f64 {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < FIRST_MAX,
            "after {FIRST_MAX:?} only {evaluations} rules were evaluated"
        );
        sleep(Duration::from_millis(500));
    }
}

fn send(running: &Running, system: &System, columns: &[(Labels, Samples)]) -> anyhow::Result<()> {
    let mut client = Client::new(running.address);
    for columns in columns.chunks(BATCH_SERIES) {
        let series = columns.iter().map(|(labels, samples)| Series {
            labels: labels.clone(),
            samples: samples
                .iter()
                .map(|(time, value)| Sample {
                    time,
                    start: None,
                    value,
                })
                .collect(),
            ..Series::default()
        });
        let batch = MetricBatch {
            series: series.collect(),
            ..MetricBatch::default()
        };
        let mut body = Vec::new();
        remote_write::encode_v1(&batch, &mut body);
        let body = snappy::encode(&body);
        let headers = Signal::Metrics.headers();
        let answer = client.post(system.door(Signal::Metrics), headers, &body)?;
        answer.success().context("remote write")?;
    }
    Ok(())
}

/// What a system says of its rules.
struct Counts {
    evaluations: f64,
    failures: f64,
    missed: f64,
    slowest: f64,
}

fn counts(client: &mut Client) -> anyhow::Result<Counts> {
    let text = client.get("/metrics")?.success()?;
    let text = String::from_utf8_lossy(&text);
    let values = |name: &str| -> Vec<f64> {
        let lines = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(['{', ' '])
                .then(|| rest.rsplit(' ').next())?
        });
        lines.filter_map(|value| value.parse().ok()).collect()
    };
    let sum = |name: &str| values(name).iter().sum();
    let slowest = values("prometheus_rule_group_last_duration_seconds");
    Ok(Counts {
        evaluations: sum("prometheus_rule_evaluations_total"),
        failures: sum("prometheus_rule_evaluation_failures_total"),
        missed: sum("prometheus_rule_group_iterations_missed_total"),
        slowest: slowest.into_iter().fold(0.0, f64::max),
    })
}

/// How many series the rules have recorded lately.
fn recorded(client: &mut Client, options: &RuleOptions) -> anyhow::Result<f64> {
    let window = options.interval * 2;
    let query = format!("count(last_over_time({{__name__=~\"bench:.+\"}}[{window}s]))");
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let answer = client.get(&format!("/api/v1/query?query={query}"))?;
    let answer: Value = serde_json::from_slice(&answer.success()?)?;
    let value = answer["data"]["result"][0]["value"][1].as_str();
    Ok(value.context("expected a value")?.parse()?)
}
