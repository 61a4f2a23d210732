//! Parts of the server alone: decoders on the bodies of one scrape, and the index of a part with many
//! series.
//!
//! Invariant: a figure is printed only after what was decoded or found was counted.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use obs_model::limits::Limits;
use obs_model::matcher::{MatchOp, Matcher};
use obs_model::numbers::{KeySeed, SeriesKey, SeriesNumbers};
use obs_model::{Budget, Labels, Samples, Tenant, TimeRange, Timestamp};
use obs_storage::{PartWriter, Snapshot};
use obs_tsdb::{Metrics, Resolution, Selection};
use obs_wire::prometheus::scan::{Body, TextFormat};
use obs_wire::prometheus::{remote_write, text};
use serde_json::json;

use crate::codec::timed;
use crate::fleet::{Fleet, Target};

/// Length of one round: the clock of a thread's CPU moves in steps of some milliseconds.
const ROUND: Duration = Duration::from_millis(200);
/// Rounds of each measurement; the fastest one counts, as it is the least disturbed.
const ROUNDS: usize = 5;
/// Series of one metric in the part.
const SERIES_PER_METRIC: u64 = 1000;

/// A name, matchers, and how many series they find.
type Question = (
    &'static str,
    Vec<(&'static str, MatchOp, &'static str)>,
    u64,
);

/// One measured figure.
#[derive(Debug)]
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    all: Vec<Figure>,
    rounds: usize,
    round: Duration,
}

/// Measures decoders on the bodies of one instance, and an index of so many series.
pub(crate) fn run(fleet: Fleet, series: u64) -> anyhow::Result<Figures> {
    let mut figures = Figures::of(ROUNDS, ROUND);
    exposition(fleet, &mut figures)?;
    remote_write(fleet, &mut figures)?;
    index(series, &mut figures)?;
    Ok(figures)
}

impl Figures {
    /// No figures yet.
    fn of(rounds: usize, round: Duration) -> Self {
        let all = Vec::new();
        Self { all, rounds, round }
    }

    /// Adds the best of some rounds, each of some runs over so many items.
    fn best(
        &mut self,
        name: &str,
        unit: (&'static str, f64),
        items: u64,
        mut work: impl FnMut() -> anyhow::Result<u64>,
    ) -> anyhow::Result<()> {
        let mut best = f64::INFINITY;
        for _ in 0..self.rounds {
            let (begin, mut runs) = (Instant::now(), 0u32);
            let (outcome, step) = timed("", items, || {
                loop {
                    let found = work()?;
                    ensure!(found == items, "{name}: expected {items}, found {found}");
                    runs += 1;
                    if begin.elapsed() >= self.round {
                        return Ok(());
                    }
                }
            });
            outcome?;
            best = best.min(step.cpu_seconds / f64::from(runs));
        }
        let (unit, factor) = unit;
        self.all.push(Figure {
            name: name.to_owned(),
            unit,
            value: best * factor,
        });
        Ok(())
    }

    /// As a table.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for figure in &self.all {
            let Figure { name, unit, value } = figure;
            writeln!(out, "{name:<58} {value:>10.3} {unit}")
                .expect("writing to a string does not fail");
        }
        out
    }

    /// As JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let figures = self.all.iter();
        let figures = figures.map(|f| json!({"name": f.name, "unit": f.unit, "value": f.value}));
        json!(figures.collect::<Vec<_>>())
    }
}

/// Nanoseconds of CPU for each of so many items.
fn nanos_each(items: u64) -> (&'static str, f64) {
    ("ns/sample", 1e9 / items as f64)
}

fn exposition(fleet: Fleet, figures: &mut Figures) -> anyhow::Result<()> {
    let limits = Limits::default();
    let mut body = Vec::new();
    let samples = Target::new(fleet, 0).answer(&mut body);
    figures.best(
        "exposition, with labels",
        nanos_each(samples),
        samples,
        || Ok(text::decode(&body, &limits)?.samples.len() as u64),
    )?;
    let heads = || {
        let pieces = Body::open(TextFormat::Text, &body, &limits).context("a plain body")?;
        let (mut at, mut found) = (0, Vec::with_capacity(samples as usize));
        while at < pieces.lines().len() {
            if pieces.is_comment(at) {
                at = pieces.comments(at);
                continue;
            }
            let head = pieces.head(at).context("a head")?;
            let (_, _, next) = pieces.plain_tail(head).context("a plain tail")?;
            found.push((at, head));
            at = next;
        }
        anyhow::Ok(found)
    };
    let found = heads()?;
    figures.best(
        "exposition, lines without labels",
        nanos_each(samples),
        samples,
        || Ok(heads()?.len() as u64),
    )?;
    figures.best(
        "exposition, hashes and values of known lines",
        nanos_each(samples),
        samples,
        || {
            let pieces = Body::open(TextFormat::Text, &body, &limits).context("a plain body")?;
            let (mut sum, mut hashes) = (0.0, 0);
            for (from, to) in &found {
                hashes ^= SeriesKey::of(&body[*from..*to], KeySeed::Line).high();
                sum += pieces.plain_tail(*to).context("a plain tail")?.0;
            }
            std::hint::black_box((sum, hashes));
            Ok(found.len() as u64)
        },
    )
}

fn remote_write(fleet: Fleet, figures: &mut Figures) -> anyhow::Result<()> {
    let limits = Limits::default();
    let mut source = (fleet.workload().sources)(1).pop().context("a source")?;
    let mut packed = Vec::new();
    let sent = source.next(&mut packed).context("a request")?;
    let body = snap::raw::Decoder::new().decompress_vec(&packed)?;
    let decode = |numbers: Option<&obs_model::numbers::Numbers>| {
        let decoded = remote_write::decode_v1(&body, &limits, numbers)?;
        anyhow::Ok(decoded.batch)
    };
    figures.best(
        "remote write 1.0, with labels",
        nanos_each(sent.items),
        sent.items,
        || Ok(decode(None)?.sample_count() as u64),
    )?;
    let keys = decode(None)?.series.into_iter().filter_map(|s| s.key);
    let learned: Vec<_> = keys.zip(0..).collect();
    let (all, tenant) = (SeriesNumbers::default(), Tenant::anonymous());
    all.learn(&tenant, 1, &learned);
    let numbers = all.of(&tenant).context("numbers")?;
    figures.best(
        "remote write 1.0, known series",
        nanos_each(sent.items),
        sent.items,
        || Ok(decode(Some(&numbers))?.known.times.len() as u64),
    )
}

/// A part of many series with one sample each; asked by matchers.
fn index(series: u64, figures: &mut Figures) -> anyhow::Result<()> {
    let labels = |n: u64| {
        Labels::from_pairs([
            ("__name__", format!("metric_{:05}", n / SERIES_PER_METRIC)),
            (
                "instance",
                format!("host-{:04}:9100", n % SERIES_PER_METRIC / 10),
            ),
            ("job", format!("job-{}", n / SERIES_PER_METRIC % 20)),
            ("pod", format!("pod-{n:08x}")),
        ])
    };
    let sample = || Samples {
        times: vec![Timestamp::from_seconds(1)],
        floats: vec![1.0],
        ..Samples::default()
    };
    let all: Vec<Labels> = (0..series).map(labels).collect();
    let mut out = PartWriter::in_memory("metrics", &Tenant::anonymous());
    obs_tsdb::write_part(all.iter().map(|labels| (labels, sample())), &[], &mut out);
    let snapshot = Snapshot::<Metrics>::from_parts(Vec::new(), vec![out.finish_in_memory()])?;
    let limits = Limits {
        query_samples_max: u64::MAX,
        query_bytes_max: u64::MAX,
        query_series_max: u64::MAX,
        ..Limits::default()
    };
    let metrics = series.div_ceil(SERIES_PER_METRIC);
    let questions: [Question; 5] = [
        (
            "one metric",
            vec![("__name__", MatchOp::Equal, "metric_00000")],
            SERIES_PER_METRIC,
        ),
        (
            "one metric on one host",
            vec![
                ("__name__", MatchOp::Equal, "metric_00000"),
                ("instance", MatchOp::Equal, "host-0007:9100"),
            ],
            10,
        ),
        (
            "one pod of all",
            vec![("pod", MatchOp::Equal, "pod-0000002a")],
            1,
        ),
        (
            "pods by prefix",
            vec![("pod", MatchOp::Regex, "pod-0000003.*")],
            16,
        ),
        (
            "hosts by expression",
            vec![("instance", MatchOp::Regex, "host-00(10|20|30):.+")],
            30 * metrics,
        ),
    ];
    for (name, matchers, expect) in questions {
        let matchers = matchers
            .into_iter()
            .map(|(n, op, v)| Matcher::new(n, op, v));
        let matchers = matchers.collect::<Result<Vec<_>, _>>()?;
        let name = format!("index of {series} series: {name}, {expect} found");
        figures.best(&name, ("us", 1e6), expect, || {
            let budget = Budget::new(&limits);
            let found = Selection::open(
                &snapshot,
                &matchers,
                TimeRange::ALL,
                Resolution::default(),
                &budget,
            )?;
            Ok(found.len() as u64)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted() {
        let fleet = Fleet {
            series: 830,
            samples: 1,
            interval_ms: 15_000,
            lifetime: 0,
            end_ms: 1_700_000_000_000,
            seed: 1,
            nanoseconds: true,
        };
        let mut figures = Figures::of(1, Duration::ZERO);
        exposition(fleet, &mut figures).expect("expositions");
        remote_write(fleet, &mut figures).expect("requests");
        index(2000, &mut figures).expect("selections");
        assert_eq!(figures.all.len(), 10);
        assert_eq!(figures.table().lines().count(), 10);
        assert_eq!(figures.json().as_array().map(Vec::len), Some(10));
    }
}
