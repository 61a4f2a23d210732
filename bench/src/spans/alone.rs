//! The span store alone, without a server: what decoding, writing, flushing, merging and questions
//! cost on the bytes of the traces workload.
//!
//! Invariant: a figure is printed only after what was found was counted.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use obs_model::limits::Limits;
use obs_model::packed::Arriving;
use obs_model::{Budget, Tenant, Timestamp, TraceId};
use obs_query::request::{Plan, Request, When};
use obs_storage::{Draft, Force, Options, RealDisk, Snapshot, Store};
use obs_tracestore::{SpanDraft, Spans};
use serde_json::json;

use super::{NEEDLE_REQUEST, NEEDLE_TRACE, SPAN_NS, Traces};
use crate::codec::cpu_nanos;
use crate::workload::Source as _;

/// Requests of one group commit.
const GROUP: usize = 4;
/// Each question is asked so often; the cheapest answer counts.
const ROUNDS: usize = 7;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    spans: u64,
    bytes: u64,
    /// CPU seconds.
    steps: Vec<(&'static str, f64)>,
    /// CPU milliseconds, and how much was found.
    questions: Vec<(String, f64, usize)>,
}

/// CPU time of this thread since a moment.
struct Meter(u64);

impl Meter {
    fn start() -> anyhow::Result<Self> {
        Ok(Self(cpu_nanos().context("the CPU time of this thread")?))
    }

    fn seconds(&self) -> anyhow::Result<f64> {
        let now = cpu_nanos().context("the CPU time of this thread")?;
        Ok(now.saturating_sub(self.0) as f64 / 1e9)
    }
}

/// Runs everything in a folder that is removed.
pub(crate) fn run(traces: Traces) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let disk = Arc::new(RealDisk::open(folder.path())?);
    let store: Store<Spans> = Store::open(disk, Options::default(), &|_| {})?;
    let mut measured = Measured {
        spans: 0,
        bytes: 0,
        steps: Vec::new(),
        questions: Vec::new(),
    };
    write(traces, &store, &mut measured)?;
    let snapshot = store.snapshot(&Tenant::anonymous());
    measured.bytes = store.stats().part_bytes;
    ask(traces, &snapshot, &mut measured)?;
    Ok(measured)
}

fn write(traces: Traces, store: &Store<Spans>, measured: &mut Measured) -> anyhow::Result<()> {
    let tenant = Tenant::anonymous();
    let limits = Limits::default();
    let mut exports = traces.exports(1).pop().context("one connection")?;
    let (mut body, mut ended) = (Vec::new(), false);
    let [mut decode, mut build, mut append, mut upkeep] = [0.0; 4];
    while !ended {
        let mut drafts = Vec::new();
        while drafts.len() < GROUP {
            let Some(sent) = exports.next(&mut body) else {
                ended = true;
                break;
            };
            measured.spans += sent.items;
            let meter = Meter::start()?;
            let decoded = obs_wire::otlp::traces::decode_packed(&body, &limits)?;
            decode += meter.seconds()?;
            ensure!(decoded.rejected == 0, "{}", decoded.message);
            let meter = Meter::start()?;
            let mut batch: Arriving = decoded.batch.into();
            let refused = obs_tracestore::admit(&mut batch, &limits);
            drafts.push(SpanDraft::new(&batch));
            drop(batch);
            build += meter.seconds()?;
            ensure!(refused.count == 0, "{}", refused.reason);
        }
        let meter = Meter::start()?;
        let mut group: Vec<(&Tenant, &mut dyn Draft<Spans>)> = drafts
            .iter_mut()
            .map(|draft| (&tenant, draft as &mut dyn Draft<Spans>))
            .collect();
        store.append_drafts(&mut group)?;
        append += meter.seconds()?;
        let meter = Meter::start()?;
        while let Some(job) = store.next_job(Timestamp::from_nanos(traces.end_ns)) {
            store.run(job)?;
        }
        upkeep += meter.seconds()?;
    }
    let meter = Meter::start()?;
    for force in [Force::Flush, Force::Merge] {
        while let Some(job) = store.forced(force) {
            store.run(job)?;
        }
    }
    let last = meter.seconds()?;
    measured.steps = vec![
        ("decode", decode),
        ("admit and make columns", build),
        ("append with fsync", append),
        ("flush and merge meanwhile", upkeep),
        ("last flush and merge", last),
    ];
    Ok(())
}

fn ask(traces: Traces, snapshot: &Snapshot<Spans>, measured: &mut Measured) -> anyhow::Result<()> {
    let limits = Limits::default();
    let end = traces.end_ns.div_euclid(60_000_000_000) * 60_000_000_000 + 120_000_000_000;
    let mut request = Request::new(When::Range {
        start: Timestamp::from_nanos(end - SPAN_NS - 240_000_000_000),
        end: Timestamp::from_nanos(end),
        step: 60_000_000_000,
    });
    request.limit = 20;
    let needle = format!("{{span.request.id=\"{NEEDLE_REQUEST}\"}}");
    let questions = [
        "{resource.service.name=\"checkout\" && duration>300ms && span.tenant=\"tenant-0\"}",
        "{resource.service.name=\"payment\"}",
        &needle,
        "{duration>500ms} | count_over_time() by (resource.service.name)",
        "{} | count_over_time() by (resource.service.name)",
        "{} | rate() by (resource.service.name)",
        "{} | count_over_time() by (rootName)",
        "{event:name=\"exception\"} | count_over_time() by (event.exception.type)",
        "{kind=server} >> {status=error} | count_over_time() by (name)",
        "{resource.service.name=\"checkout\"} > {kind=client && status=error}",
        "{} | compare({status=error})",
    ];
    let id = TraceId(NEEDLE_TRACE);
    cheapest(measured, "trace by id", || {
        let found = obs_query::traces::trace(snapshot, id, &Budget::new(&limits))?;
        Ok(found.map_or(0, |batch| batch.span_count()))
    })?;
    for question in questions {
        cheapest(measured, question, || {
            let query = obs_query::traceql::parse(question, &limits)?;
            let budget = Budget::new(&limits);
            Ok(match obs_query::traces::plan(&query, &request, &limits)? {
                Plan::Traces(plan) => obs_query::traces::search(snapshot, &plan, &budget)?.len(),
                Plan::SpanMetrics(plan) => {
                    obs_query::traces::metrics::run(snapshot, &plan, &budget)?.len()
                }
                other => bail!("{other}"),
            })
        })?;
    }
    let filter = obs_query::exceptions::ErrorFilter {
        range: obs_model::TimeRange::ALL,
        service: None,
        kind: None,
        text: None,
        fingerprint: None,
        failed_only: false,
    };
    cheapest(measured, "error groups", || {
        let budget = Budget::new(&limits);
        Ok(obs_query::exceptions::error_groups(snapshot, &filter, &budget)?.len())
    })
}

fn cheapest(
    measured: &mut Measured,
    name: &str,
    mut ask: impl FnMut() -> anyhow::Result<usize>,
) -> anyhow::Result<()> {
    let mut best: Option<(f64, usize)> = None;
    for _ in 0..ROUNDS {
        let meter = Meter::start()?;
        let found = ask()?;
        let took = meter.seconds()? * 1e3;
        ensure!(
            best.is_none_or(|(_, n)| n == found),
            "{name}: answers differ"
        );
        best = Some((best.map_or(took, |(best, _)| best.min(took)), found));
    }
    if let Some((took, found)) = best {
        measured.questions.push((name.to_owned(), took, found));
    }
    Ok(())
}

impl Measured {
    /// As a table.
    pub(crate) fn table(&self) -> String {
        let million = self.spans as f64 / 1e6;
        let mut out = format!(
            "{} spans, {:.1} B/span in parts\n",
            self.spans,
            self.bytes as f64 / self.spans as f64
        );
        let mut total = 0.0;
        for (name, seconds) in &self.steps {
            total += seconds;
            out.push_str(&format!(
                "{name:<28} {:>8.3} CPU-s per million spans\n",
                seconds / million
            ));
        }
        out.push_str(&format!(
            "{:<28} {:>8.3} CPU-s per million spans\n",
            "all",
            total / million
        ));
        for (name, took, found) in &self.questions {
            out.push_str(&format!("{took:>9.3} CPU-ms {found:>6} found  {name}\n"));
        }
        out
    }

    /// As JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let steps = self.steps.iter();
        let questions = self.questions.iter();
        json!({
            "spans": self.spans,
            "part_bytes": self.bytes,
            "cpu_seconds": steps.map(|(n, s)| json!({"step": n, "value": s})).collect::<Vec<_>>(),
            "questions": questions
                .map(|(n, ms, found)| json!({"query": n, "cpu_ms": ms, "found": found}))
                .collect::<Vec<_>>(),
        })
    }
}
