//! obs' own metrics: what `/metrics` says about the server itself.

use std::sync::atomic::Ordering;

use obs_collector::Shipper;
use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind::{Counter, Gauge};
use obs_query::CacheStats;
use obs_storage::{Kind, Store};

use crate::app::App;
use crate::{clock, process};

/// All families, in order of name.
pub(crate) fn families(app: &App) -> Vec<Family> {
    let mut all = vec![
        build_info(),
        Family::new(
            "obs_uptime_seconds",
            Gauge,
            "Seconds since the server started.",
        )
        .with((clock::now() - app.started) as f64 / 1e9),
    ];
    all.extend(app.reload.families(app.started));
    all.extend(queries(app));
    all.extend(writes(app));
    all.extend(stores(app));
    all.extend(app.counters.families(&app.sink.stats()));
    if let Some(forwarder) = app.sink.forwarder() {
        all.extend(forwarder.families());
    }
    all.extend(app.shipper.iter().flat_map(Shipper::families));
    all.extend(app.sink.redactor().iter().flat_map(|r| r.families()));
    all.extend(app.rules.derived.families());
    all.extend(app.ruler.get().iter().flat_map(|ruler| ruler.families()));
    all.extend(app.alertmanager.get().iter().flat_map(|a| a.families()));
    all.extend(app.notifier.get().iter().flat_map(|n| n.families()));
    all.extend(app.rules.sampling.families());
    all.extend(app.rules.span_limits.families());
    all.extend(app.auth.iter().flat_map(|auth| auth.families()));
    all.extend(process::families());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

pub(crate) fn build_info() -> Family {
    let mut family = Family::new("obs_build_info", Gauge, "1, with the version as a label.");
    family.push(
        Labels::from_pairs([("version", env!("CARGO_PKG_VERSION"))]),
        1.0,
    );
    family
}

fn queries(app: &App) -> Vec<Family> {
    let stats = app.reader.stats();
    let mut queries = Family::new(
        "obs_queries_total",
        Counter,
        "Queries that ended, by how they ended.",
    );
    for (outcome, counter) in [
        ("answered", &stats.answered),
        ("failed", &stats.failed),
        ("refused", &stats.refused),
    ] {
        let labels = Labels::from_pairs([("outcome", outcome)]);
        queries.push(labels, counter.load(Ordering::Relaxed) as f64);
    }
    let samples = Family::new(
        "obs_query_samples_total",
        Counter,
        "Samples, log records and spans that queries read.",
    );
    let mut all = vec![
        queries,
        samples.with(stats.samples.load(Ordering::Relaxed) as f64),
    ];
    if let Ok(stores) = app.stores() {
        all.extend(answers(stores.answers.stats()));
    }
    all
}

fn answers(stats: &CacheStats) -> [Family; 2] {
    let mut steps = Family::new(
        "obs_query_cache_steps_total",
        Counter,
        "Steps of range queries that can be cached, by where they came from.",
    );
    for (from, counter) in [
        ("cache", &stats.steps_reused),
        ("computed", &stats.steps_computed),
    ] {
        let labels = Labels::from_pairs([("from", from)]);
        steps.push(labels, counter.load(Ordering::Relaxed) as f64);
    }
    let bytes = Family::new(
        "obs_query_cache_bytes",
        Gauge,
        "Bytes of answers that are kept.",
    );
    [
        steps,
        bytes.with(stats.bytes.load(Ordering::Relaxed) as f64),
    ]
}

fn writes(app: &App) -> Vec<Family> {
    let Some(stats) = app.writes.get() else {
        return Vec::new();
    };
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    vec![
        Family::new(
            "obs_write_commits_total",
            Counter,
            "Group commits of the journals.",
        )
        .with(read(&stats.commits)),
        Family::new(
            "obs_write_batches_total",
            Counter,
            "Batches in group commits.",
        )
        .with(read(&stats.batches)),
    ]
}

/// Name, type, help and value of what each store says of itself.
type StoreGauge = (
    &'static str,
    obs_model::metrics::MetricKind,
    &'static str,
    fn(&obs_storage::Stats) -> f64,
);

const STORE: &[StoreGauge] = &[
    (
        "obs_store_active_bytes",
        Gauge,
        "Bytes of memory that takes writes.",
        |s| s.active_bytes as f64,
    ),
    (
        "obs_store_sealed_bytes",
        Gauge,
        "Bytes of memory that waits to become parts.",
        |s| s.sealed_bytes as f64,
    ),
    ("obs_store_tenants", Gauge, "Tenants with data.", |s| {
        s.tenants as f64
    }),
    (
        "obs_store_journal_bytes",
        Gauge,
        "Bytes of the journal.",
        |s| s.journal_bytes as f64,
    ),
    ("obs_store_parts", Gauge, "Parts.", |s| s.parts as f64),
    ("obs_store_part_bytes", Gauge, "Bytes of all parts.", |s| {
        s.part_bytes as f64
    }),
    (
        "obs_store_part_rows",
        Gauge,
        "Samples, log records or spans in parts.",
        |s| s.part_rows as f64,
    ),
    (
        "obs_store_records_total",
        Counter,
        "Records appended to the journal.",
        |s| s.records as f64,
    ),
    (
        "obs_store_record_bytes_total",
        Counter,
        "Bytes of records appended to the journal.",
        |s| s.record_bytes as f64,
    ),
    ("obs_store_flushes_total", Counter, "Flushes done.", |s| {
        s.flushes as f64
    }),
    ("obs_store_merges_total", Counter, "Merges done.", |s| {
        s.merges as f64
    }),
    (
        "obs_store_drops_total",
        Counter,
        "Removals by retention done.",
        |s| s.drops as f64,
    ),
    (
        "obs_store_failed_jobs_total",
        Counter,
        "Flushes, merges and removals that failed.",
        |s| s.failed_jobs as f64,
    ),
    (
        "obs_store_poisoned",
        Gauge,
        "1 after a failed fsync: writes are refused until a restart.",
        |s| f64::from(u8::from(s.poisoned.is_some())),
    ),
    (
        "obs_store_quarantined",
        Gauge,
        "Findings of corruption, set aside.",
        |s| s.quarantined as f64,
    ),
];

fn stores(app: &App) -> Vec<Family> {
    let Ok(stores) = app.stores() else {
        return Vec::new();
    };
    let mut all: Vec<Family> = STORE
        .iter()
        .map(|(name, kind, help, _)| Family::new(*name, *kind, *help))
        .collect();
    add(&mut all, &stores.metrics);
    add(&mut all, &stores.logs);
    add(&mut all, &stores.spans);
    all
}

fn add<K: Kind>(all: &mut [Family], store: &Store<K>) {
    let stats = store.stats();
    for (family, (.., value)) in all.iter_mut().zip(STORE) {
        family.push(Labels::from_pairs([("store", K::NAME)]), value(&stats));
    }
}
