//! One system through one workload: take in, crash, restart, flush and merge, answer.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use xxhash_rust::xxh3::Xxh3Default;

use crate::answer::total;
use crate::fleet::Fleet;
use crate::http::Client;
use crate::process::file_bytes;
use crate::system::{Running, System};
use crate::targets::{Plan, Served, Targets};
use crate::workload::{Count, Query, Sent, Signal, Source, Workload};

/// A query is asked at least so many times …
const QUERY_RUNS_MIN: usize = 10;
/// … and so long, because the kernel counts CPU in steps of 10 ms.
const QUERY_TIME_MIN: Duration = Duration::from_millis(1500);
/// More runs tell nothing new.
const QUERY_RUNS_MAX: usize = 500;
/// Names of figures that others lean on.
const PER_AMOUNT: &str = "ingest CPU per amount";
const STEADY: &str = "ingest CPU per amount, without the first scrapes";
/// Scrapes after which a system knows the series.
const WARM_SCRAPES: u64 = 3;
/// Tries of a request that is refused because too much waits.
const TRIES_MAX: u32 = 100;

/// One number of a system.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

/// All numbers of a system, in the order of the table, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) values: Vec<Value>,
    pub(crate) faults: Vec<String>,
    /// Of all bodies: equal when two systems got the same bytes.
    pub(crate) sent_hash: u64,
    pub(crate) sent_bytes: u64,
}

impl Measured {
    fn push(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.values.push(Value {
            name: name.into(),
            unit,
            value,
        });
    }
}

/// What the connections did together.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    sent: Sent,
    body_bytes: u64,
    hash: u64,
    retries: u64,
}

/// Runs everything on a fresh data folder, which is removed unless `keep`.
pub(crate) fn run(
    system: &System,
    workload: &Workload,
    connections: usize,
    data: &Path,
    keep: bool,
) -> anyhow::Result<Measured> {
    fs::create_dir_all(data)?;
    let mut measured = Measured::default();
    let totals = take_in(system, workload, connections, data, &mut measured).context("ingest")?;
    let scraped = workload.scraped.map(|plan| totals.asked(plan));
    let (queries, count) = match &scraped {
        Some((queries, count)) => (queries, Some(count)),
        None => (&workload.queries, workload.count.as_ref()),
    };
    let running = restart(system, data, &mut measured).context("restart")?;
    if workload.signal == Signal::Metrics {
        settle_disk(system, &running, workload, totals, data, &mut measured).context("merge")?;
    }
    let mut client = Client::new(running.address);
    if let Some(count) = count {
        match counted(system, &mut client, count) {
            Ok(share) => measured.push("found of sent", "%", share * 100.0),
            Err(error) => measured.faults.push(format!("count: {error:#}")),
        }
    }
    for query in queries {
        let Some(path) = system.path(&query.path, query.other.as_deref()) else {
            continue;
        };
        match ask(&running, &mut client, path, query) {
            Ok((p50, cpu)) => {
                measured.push(format!("{}: p50", query.name), "ms", p50);
                measured.push(format!("{}: CPU", query.name), "ms", cpu);
            }
            Err(error) => measured.faults.push(format!("{}: {error:#}", query.name)),
        }
    }
    let (_, peak) = running.process.resident_bytes()?;
    measured.push("peak RSS, restart to last query", "MiB", mebibytes(peak));
    running.process.kill()?;
    if let Some(first) = &workload.registration {
        let each = totals.sent.items as f64 / workload.series as f64;
        let folder = data.join("registration");
        register(system, first, each, &folder, &mut measured).context("registration")?;
    }
    if !keep {
        fs::remove_dir_all(data)?;
    }
    Ok(measured)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// The name and the number of items of what CPU is divided by.
fn cpu_unit(signal: Signal, sent: Sent) -> (&'static str, f64) {
    match signal {
        Signal::Metrics => ("s/M samples", sent.items as f64 / 1e6),
        Signal::Logs => ("s/GB", sent.raw_bytes as f64 / 1e9),
        Signal::Traces => ("s/M spans", sent.items as f64 / 1e6),
    }
}

fn take_in(
    system: &System,
    workload: &Workload,
    connections: usize,
    data: &Path,
    measured: &mut Measured,
) -> anyhow::Result<Totals> {
    let targets = workload.scraped.map(Targets::start).transpose()?;
    let config = targets.as_ref().map(Targets::config);
    let running = system.start(data, config.as_deref())?;
    let (empty, _) = running.process.resident_bytes()?;
    let (cpu_before, begin) = (running.process.cpu_seconds()?, Instant::now());
    let totals = match &targets {
        Some(targets) => {
            targets.open();
            let warm = targets.wait(WARM_SCRAPES)?;
            let before = running.process.cpu_seconds()?;
            let served = targets.wait(u64::MAX)?;
            let steady = running.process.cpu_seconds()? - before;
            let samples = (served.samples - warm.samples) as f64 / 1e6;
            if samples > 0.0 {
                measured.push(STEADY, "s/M samples", steady / samples);
            }
            // What was answered last is on its way into the store, and no scrape any more.
            targets.settle();
            Totals::scraped(&served)
        }
        None => send_all(system, &running, workload, connections)?,
    };
    let wall = begin.elapsed().as_secs_f64();
    let cpu = running.process.cpu_seconds()? - cpu_before;
    let (resident, peak) = running.process.resident_bytes()?;
    let (unit, amount) = cpu_unit(workload.signal, totals.sent);
    measured.push("ingest wall, sender included", "s", wall);
    measured.push("ingest CPU", "s", cpu);
    measured.push(PER_AMOUNT, unit, cpu / amount);
    measured.push("RSS before", "MiB", mebibytes(empty));
    measured.push("RSS after ingest", "MiB", mebibytes(resident));
    measured.push("peak RSS of ingest", "MiB", mebibytes(peak));
    if workload.signal == Signal::Metrics {
        let each = peak as f64 / workload.series as f64;
        measured.push("peak resident bytes per series", "B", each);
    }
    let (journal, other, _) = disk(system, data)?;
    let items = totals.sent.items as f64;
    let item = workload.signal.item();
    measured.push(
        format!("journal after ingest, per {item}"),
        "B",
        journal as f64 / items,
    );
    measured.push(
        format!("other files after ingest, per {item}"),
        "B",
        other as f64 / items,
    );
    if totals.retries > 0 {
        let n = totals.retries;
        measured
            .faults
            .push(format!("{n} requests were refused and sent again"));
    }
    if workload.signal != Signal::Metrics {
        // What is still in memory belongs to the cost of taking it in.
        settle_disk(system, &running, workload, totals, data, measured).context("merge")?;
        let cpu = running.process.cpu_seconds()? - cpu_before;
        measured.push("CPU per amount, merges included", unit, cpu / amount);
        let (_, peak) = running.process.resident_bytes()?;
        measured.push("peak RSS of ingest and merges", "MiB", mebibytes(peak));
    }
    measured.sent_hash = totals.hash;
    measured.sent_bytes = totals.body_bytes;
    system.stop(running.process)?;
    Ok(totals)
}

/// The CPU of one sample of each series on an empty system, and from it what a new series costs: the
/// rest of it is what a sample costs in the long run.
fn register(
    system: &System,
    first: &Fleet,
    samples_each: f64,
    data: &Path,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    fs::create_dir_all(data)?;
    let running = system.start(data, None)?;
    let cpu = running.process.cpu_seconds()?;
    let workload = first.workload();
    let totals = send_all(system, &running, &workload, 1)?;
    let cpu = running.process.cpu_seconds()? - cpu;
    running.process.kill()?;
    let each = cpu * 1e6 / totals.sent.items as f64;
    measured.push("CPU of the first sample of a series", "us", each);
    if let Some(sample) = long_run(measured, each, samples_each) {
        measured.push("CPU to register a series", "us", each - sample);
    }
    Ok(())
}

/// What a sample costs in the long run, in microseconds: of the whole run all but the first sample
/// of each series.
fn long_run(measured: &Measured, first: f64, samples_each: f64) -> Option<f64> {
    let named = |name: &str| {
        let found = measured.values.iter().find(|v| v.name == name);
        found.map(|v| v.value)
    };
    named(STEADY).or_else(|| {
        let all = named(PER_AMOUNT)? * samples_each;
        (samples_each > 1.0).then(|| (all - first) / (samples_each - 1.0))
    })
}

/// It was ended with everything still in its journal, where it has one; how long until it is back?
fn restart(system: &System, data: &Path, measured: &mut Measured) -> anyhow::Result<Running> {
    let running = system.start(data, None)?;
    let cpu = running.process.cpu_seconds()?;
    let wall = running.ready_after.as_secs_f64();
    measured.push("restart to ready", "s", wall);
    measured.push("restart CPU", "s", cpu);
    let (resident, peak) = running.process.resident_bytes()?;
    measured.push("RSS when ready", "MiB", mebibytes(resident));
    measured.push("peak RSS of restart", "MiB", mebibytes(peak));
    Ok(running)
}

fn settle_disk(
    system: &System,
    running: &Running,
    workload: &Workload,
    totals: Totals,
    data: &Path,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let mut client = Client::new(running.address);
    let (cpu, begin) = (running.process.cpu_seconds()?, Instant::now());
    if system.flush_and_merge(&mut client)? {
        let wall = begin.elapsed().as_secs_f64();
        let cpu = running.process.cpu_seconds()? - cpu;
        let (unit, amount) = cpu_unit(workload.signal, totals.sent);
        measured.push("flush and merge wall", "s", wall);
        measured.push("flush and merge CPU per amount", unit, cpu / amount);
    }
    let (journal, other, aside) = disk(system, data)?;
    let (items, item) = (totals.sent.items as f64, workload.signal.item());
    measured.push(
        format!("disk after merge without journal, per {item}"),
        "B",
        other as f64 / items,
    );
    measured.push(
        format!("journal after merge, per {item}"),
        "B",
        journal as f64 / items,
    );
    if aside > 0 {
        measured.push(
            "caches and files of fixed size, not counted",
            "MiB",
            mebibytes(aside),
        );
    }
    if workload.signal == Signal::Logs {
        let ratio = totals.sent.raw_bytes as f64 / other as f64;
        measured.push("raw / disk (more is better)", "x", ratio);
    }
    Ok(())
}

/// Bytes of the journal, of files that grow with data, and of what is aside.
fn disk(system: &System, data: &Path) -> anyhow::Result<(u64, u64, u64)> {
    let journal = file_bytes(data, &|p: &Path| system.is_journal(data, p))?;
    let aside = file_bytes(data, &|p: &Path| system.is_aside(data, p))?;
    let other = |p: &Path| !system.is_journal(data, p) && !system.is_aside(data, p);
    Ok((journal, file_bytes(data, &other)?, aside))
}

fn send_all(
    system: &System,
    running: &Running,
    workload: &Workload,
    connections: usize,
) -> anyhow::Result<Totals> {
    let sources = (workload.sources)(connections);
    let (path, headers) = (system.door(workload.signal), workload.signal.headers());
    let sum = Mutex::new(Ok(Totals::default()));
    scope(|threads| {
        for mut source in sources {
            threads.spawn(|| {
                let outcome = send(running, path, headers, source.as_mut());
                let mut sum = sum
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                match (sum.as_mut(), outcome) {
                    (Ok(sum), Ok(totals)) => sum.add(totals),
                    (Ok(_), Err(error)) => *sum = Err(error),
                    (Err(_), _) => {}
                }
                drop(source);
            });
        }
    });
    sum.into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Totals {
    /// What was scraped until now.
    fn scraped(served: &Served) -> Self {
        Self {
            sent: Sent {
                items: served.samples,
                raw_bytes: served.bytes,
            },
            body_bytes: served.bytes,
            hash: served.hash,
            retries: 0,
        }
    }

    /// What is asked about a fleet that was scraped until now.
    fn asked(&self, plan: Plan) -> (Vec<Query>, Count) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        });
        let fleet = Fleet {
            end_ms: now,
            interval_ms: i64::try_from(plan.interval_ms).unwrap_or(i64::MAX),
            ..plan.fleet
        };
        fleet.asked(self.sent.items)
    }

    /// Order of connections does not matter.
    fn add(&mut self, other: Self) {
        self.sent.items += other.sent.items;
        self.sent.raw_bytes += other.sent.raw_bytes;
        self.body_bytes += other.body_bytes;
        self.hash = self.hash.wrapping_add(other.hash);
        self.retries += other.retries;
    }
}

fn send(
    running: &Running,
    path: &str,
    headers: &[(&str, &str)],
    source: &mut dyn Source,
) -> anyhow::Result<Totals> {
    let mut client = Client::new(running.address);
    let (mut totals, mut hash, mut body) = (Totals::default(), Xxh3Default::new(), Vec::new());
    while let Some(sent) = source.next(&mut body) {
        hash.update(&body);
        totals.sent.items += sent.items;
        totals.sent.raw_bytes += sent.raw_bytes;
        totals.body_bytes += body.len() as u64;
        let mut tries = 0;
        loop {
            let answer = client.post(path, headers, &body)?;
            let busy = matches!(answer.status, 429 | 503);
            if !busy || tries == TRIES_MAX {
                answer.success().with_context(|| format!("POST {path}"))?;
                break;
            }
            tries += 1;
            totals.retries += 1;
            sleep(Duration::from_millis(50));
        }
    }
    totals.hash = hash.digest();
    Ok(totals)
}

/// The share of what was sent that a query counts.
fn counted(system: &System, client: &mut Client, count: &Count) -> anyhow::Result<f64> {
    let path = system.path(&count.path, count.other.as_deref());
    let path = path.context("it has no way to count")?;
    let found = total(&client.get(path)?.success()?)?;
    Ok(found / count.expect)
}

/// Median wall and mean CPU, in milliseconds.
fn ask(
    running: &Running,
    client: &mut Client,
    path: &str,
    query: &Query,
) -> anyhow::Result<(f64, f64)> {
    let body = client.get(path)?.success()?;
    if let Some(expect) = query.total {
        let found = total(&body)?;
        anyhow::ensure!(found == expect, "expected {expect} in all, found {found}");
    }
    if let Some(text) = &query.holds {
        let body = String::from_utf8_lossy(&body);
        if !body.contains(text) {
            let start: String = body.chars().take(200).collect();
            bail!("the answer does not hold {text}: {start}");
        }
    }
    let mut walls = Vec::new();
    let (cpu, begin) = (running.process.cpu_seconds()?, Instant::now());
    while walls.len() < QUERY_RUNS_MIN
        || (begin.elapsed() < QUERY_TIME_MIN && walls.len() < QUERY_RUNS_MAX)
    {
        let one = Instant::now();
        client.get(path)?.success()?;
        walls.push(one.elapsed().as_secs_f64() * 1000.0);
    }
    let cpu = (running.process.cpu_seconds()? - cpu) * 1000.0 / walls.len() as f64;
    walls.sort_by(f64::total_cmp);
    let p50 = walls
        .get(walls.len() / 2)
        .ok_or_else(|| anyhow!("no runs"))?;
    Ok((*p50, cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_run_leaves_the_first_samples_out() {
        let mut measured = Measured::default();
        assert_eq!(long_run(&measured, 10.0, 4.0), None);
        // Four samples of 4 us each on the average; the first one of 10 us.
        measured.push(PER_AMOUNT, "s/M samples", 4.0);
        assert_eq!(long_run(&measured, 10.0, 4.0), Some(2.0));
        assert_eq!(long_run(&measured, 10.0, 1.0), None);
        measured.push(STEADY, "s/M samples", 1.5);
        assert_eq!(long_run(&measured, 10.0, 4.0), Some(1.5));
    }
}
