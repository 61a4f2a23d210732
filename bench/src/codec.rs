//! What the metric part format costs on a fleet: bytes by section, and how fast it is written, merged
//! and read, without a server.
//!
//! Invariant: a figure is printed only after every sample was read back bit by bit.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, ensure};
use obs_model::limits::Limits;
use obs_model::{Budget, Labels, Samples, Tenant, TimeRange, Timestamp};
use obs_storage::{Kind, PartReader, PartWriter, Snapshot};
use obs_tsdb::Metrics;

use crate::fleet::Fleet;

/// Files that a merge gets, as three flushes would leave them.
const FLUSHES: usize = 3;

/// Times that everything is decoded; the fastest counts, as it is the least disturbed.
const DECODES: usize = 5;

/// One measurement of a step.
#[derive(Debug)]
pub(crate) struct Step {
    name: &'static str,
    /// CPU time of this thread.
    pub(crate) cpu_seconds: f64,
    samples: u64,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    series: u64,
    samples: u64,
    /// Bytes by section, flushed and merged.
    sections: BTreeMap<String, (u64, u64)>,
    steps: Vec<Step>,
    /// Bits of values per sample of each metric, when asked for.
    metrics: Vec<(String, f64)>,
}

/// Writes, merges and reads parts of a fleet.
pub(crate) fn run(fleet: &Fleet, by_metric: bool) -> anyhow::Result<Measured> {
    let mut series = fleet.columns();
    series.sort_by(|(a, _), (b, _)| {
        let names = a.metric_name().cmp(&b.metric_name());
        names.then_with(|| a.cmp(b))
    });
    let samples = series.iter().map(|(_, s)| s.len() as u64).sum();
    let mut measured = Measured {
        series: series.len() as u64,
        samples,
        sections: BTreeMap::new(),
        steps: Vec::new(),
        metrics: Vec::new(),
    };
    if by_metric {
        measured.metrics = metrics(&series);
    }
    let (flushed, step) = timed("flush", samples, || flush(&series));
    measured.steps.push(step);
    for (name, bytes) in flushed.iter().flat_map(PartReader::sections) {
        measured.sections.entry(name.to_owned()).or_default().0 += bytes;
    }
    let (merged, step) = timed("merge", samples, || merge(&flushed));
    let merged = merged?;
    measured.steps.push(step);
    for (name, bytes) in merged.sections() {
        measured.sections.entry(name.to_owned()).or_default().1 += bytes;
    }
    let snapshot = Snapshot::<Metrics>::from_parts(Vec::new(), vec![merged])?;
    read(&snapshot, &series, &mut measured)?;
    Ok(measured)
}

/// Bits of values per sample of each metric, each in a part of its own.
fn metrics(series: &[(Labels, Samples)]) -> Vec<(String, f64)> {
    let groups = series.chunk_by(|(a, _), (b, _)| a.metric_name() == b.metric_name());
    let bits = groups.map(|group| {
        let mut out = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
        let all = group
            .iter()
            .map(|(labels, samples)| (labels, samples.clone()));
        obs_tsdb::write_part(all, &[], &mut out);
        let part = out.finish_in_memory();
        let samples: usize = group.iter().map(|(_, s)| s.len()).sum();
        let values = part.sections().find(|(name, _)| *name == "values");
        let bytes = values.map_or(0, |(_, bytes)| bytes);
        let name = group[0].0.metric_name().unwrap_or("").to_owned();
        (name, bytes as f64 * 8.0 / samples as f64)
    });
    bits.collect()
}

fn flush(series: &[(Labels, Samples)]) -> Vec<PartReader> {
    let longest = series.iter().map(|(_, s)| s.len()).max().unwrap_or(0);
    let chunk = longest.div_ceil(FLUSHES).max(1);
    let parts = (0..FLUSHES).map(|n| {
        let mut out = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
        let slice = |samples: &Samples| {
            let from = (n * chunk).min(samples.len());
            let to = (from + chunk).min(samples.len());
            Samples {
                times: samples.times[from..to].to_vec(),
                floats: samples.floats[from..to].to_vec(),
                histograms: Vec::new(),
                starts: Vec::new(),
            }
        };
        obs_tsdb::write_part(
            series
                .iter()
                .map(|(labels, samples)| (labels, slice(samples))),
            &[],
            &mut out,
        );
        out.finish_in_memory()
    });
    parts.collect()
}

fn merge(parts: &[PartReader]) -> anyhow::Result<PartReader> {
    let opened: Result<Vec<_>, _> = parts.iter().cloned().map(Metrics::open).collect();
    let opened = opened?;
    let inputs: Vec<_> = opened.iter().collect();
    let mut out = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
    Metrics::merge(&inputs, TimeRange::ALL, &mut out)?;
    Ok(out.finish_in_memory())
}

fn read(
    snapshot: &Snapshot<Metrics>,
    expect: &[(Labels, Samples)],
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let limits = Limits {
        query_samples_max: u64::MAX,
        query_bytes_max: u64::MAX,
        query_series_max: u64::MAX,
        ..Limits::default()
    };
    let part = &snapshot.parts[0].part;
    let mut best: Option<Step> = None;
    for _ in 0..DECODES {
        let (decoded, step) = timed("decode", measured.samples, || part.decode_all());
        ensure!(
            decoded.context("decode")? == measured.samples,
            "samples are lost"
        );
        if best
            .as_ref()
            .is_none_or(|best| step.cpu_seconds < best.cpu_seconds)
        {
            best = Some(step);
        }
    }
    measured.steps.extend(best);
    let budget = Budget::new(&limits);
    let select = || obs_tsdb::select(snapshot, &[], TimeRange::ALL, &budget);
    let (found, step) = timed("select", measured.samples, select);
    let found = found?;
    measured.steps.push(step);
    let found: BTreeMap<&Labels, &Samples> =
        found.iter().map(|s| (&s.labels, &s.samples)).collect();
    for (labels, samples) in expect {
        let read = found
            .get(labels)
            .with_context(|| format!("{labels} is lost"))?;
        let same = read.times == samples.times
            && read.floats.len() == samples.floats.len()
            && read
                .floats
                .iter()
                .zip(&samples.floats)
                .all(|(a, b)| a.to_bits() == b.to_bits());
        ensure!(same, "{labels} comes back changed");
    }
    Ok(())
}

/// Does some work and measures it.
pub(crate) fn timed<T>(name: &'static str, samples: u64, work: impl FnOnce() -> T) -> (T, Step) {
    let (wall, before) = (Instant::now(), cpu_nanos());
    let result = work();
    let nanos = match (before, cpu_nanos()) {
        (Some(before), Some(after)) => after.saturating_sub(before) as f64,
        _ => wall.elapsed().as_nanos() as f64,
    };
    let step = Step {
        name,
        cpu_seconds: nanos / 1e9,
        samples,
    };
    (result, step)
}

/// CPU time of this thread where the kernel tells it: other work on the machine does not count.
pub(crate) fn cpu_nanos() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

impl Measured {
    /// As a table.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("{} series, {} samples\n", self.series, self.samples);
        out += "section      flushed B/sample   merged B/sample   merged B/series\n";
        let mut total = (0, 0);
        for (name, (flushed, merged)) in &self.sections {
            out += &self.row(name, *flushed, *merged);
            total = (total.0 + flushed, total.1 + merged);
        }
        out += &self.row("all", total.0, total.1);
        for (name, bits) in &self.metrics {
            out += &format!("{name:<45} {bits:>8.3} bits a value\n");
        }
        for step in &self.steps {
            let million = step.samples as f64 / 1e6;
            out += &format!(
                "{:<8} {:>8.4} CPU-s per million samples, {:>8.1} M samples/s\n",
                step.name,
                step.cpu_seconds / million,
                million / step.cpu_seconds,
            );
        }
        out
    }

    fn row(&self, name: &str, flushed: u64, merged: u64) -> String {
        let samples = self.samples as f64;
        format!(
            "{name:<12} {:>16.4} {:>17.4} {:>17.2}\n",
            flushed as f64 / samples,
            merged as f64 / samples,
            merged as f64 / self.series as f64,
        )
    }

    /// As JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let sections: serde_json::Map<_, _> = self
            .sections
            .iter()
            .map(|(name, (flushed, merged))| {
                let bytes = serde_json::json!({"flushed_bytes": flushed, "merged_bytes": merged});
                (name.clone(), bytes)
            })
            .collect();
        let steps: serde_json::Map<_, _> = self
            .steps
            .iter()
            .map(|s| {
                (
                    format!("{}_cpu_seconds", s.name),
                    serde_json::json!(s.cpu_seconds),
                )
            })
            .collect();
        serde_json::json!({
            "series": self.series,
            "samples": self.samples,
            "sections": sections,
            "steps": steps,
            "bits_by_metric": self.metrics.iter().cloned().collect::<BTreeMap<String, f64>>(),
        })
    }
}

/// A column of an instance as the store takes it.
pub(crate) fn samples(times: &[i64], values: Vec<f64>) -> Samples {
    Samples {
        times: times.iter().map(|ms| Timestamp::from_millis(*ms)).collect(),
        floats: values,
        histograms: Vec::new(),
        starts: Vec::new(),
    }
}
