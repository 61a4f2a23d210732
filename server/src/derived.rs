//! Metrics of spans on their way back: the writer of spans counts, a task collects every interval
//! and hands the samples to the `Sink`, as if they had come from outside.
//!
//! Invariants: the writer waits for a collection at most, never for the metrics to be stored; what
//! cannot be stored now is counted, and told again as totals with the next collection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use obs_collector::derive::Setting;
use obs_collector::{Deriver, Sink};
use obs_model::family::Family;
use obs_model::metrics::MetricKind::{Counter, Gauge};
use obs_model::{Labels, MetricBatch, SpanBatch, Tenant};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// What is derived from spans; nothing by default.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    deriver: Option<Mutex<Deriver>>,
    samples: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Derived {
    /// Begins now.
    pub(crate) fn new(setting: Option<Setting>) -> Self {
        let deriver = setting.map(|setting| Mutex::new(Deriver::new(setting, clock::now())));
        Self {
            deriver,
            ..Self::default()
        }
    }

    fn deriver(&self) -> Option<MutexGuard<'_, Deriver>> {
        let deriver = self.deriver.as_ref()?;
        // Counts stay counts, whoever panicked while adding one.
        Some(deriver.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether anything is derived.
    pub(crate) fn is_on(&self) -> bool {
        self.deriver.is_some()
    }

    /// Counts spans that are taken in.
    pub(crate) fn observe(&self, tenant: &Tenant, batch: &SpanBatch) {
        if let Some(mut deriver) = self.deriver() {
            deriver.observe(tenant, batch, clock::now());
        }
    }

    /// What there is to store now.
    fn collect(&self) -> Vec<(Tenant, MetricBatch)> {
        let deriver = self.deriver();
        deriver.map_or(Vec::new(), |mut deriver| deriver.collect(clock::now()))
    }

    /// Collects every interval, and a last time when it is to stop.
    pub(crate) async fn run(&self, sink: Sink, stop: CancellationToken) {
        let Some(interval) = self.deriver().map(|deriver| deriver.interval()) else {
            return;
        };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once.
        ticks.tick().await;
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            self.store(&sink).await;
            if stopped {
                return;
            }
        }
    }

    /// Collects and stores.
    pub(crate) async fn store(&self, sink: &Sink) {
        for (tenant, batch) in self.collect() {
            let samples = batch.sample_count() as u64;
            match sink.scraped(tenant, batch).await {
                Ok((accepted, forwarded)) => {
                    let taken = samples.saturating_sub(accepted.refused);
                    self.samples.fetch_add(taken, Ordering::Relaxed);
                    self.refused.fetch_add(accepted.refused, Ordering::Relaxed);
                    if let Err(error) = forwarded {
                        tracing::warn!(%error, "metrics of spans were stored but not forwarded");
                    }
                }
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "metrics of spans could not be stored");
                }
            }
        }
    }

    /// What it says of itself.
    pub(crate) fn families(&self) -> Vec<Family> {
        let Some(stats) = self.deriver().map(|deriver| deriver.stats()) else {
            return Vec::new();
        };
        let mut dropped = Family::new(
            "obs_derived_spans_not_counted_total",
            Counter,
            "Spans that are in no metric of spans, by reason.",
        );
        for (reason, count) in [
            ("ingestion_slack", stats.outside_slack),
            ("repeated", stats.repeated),
            ("tenants", stats.over_tenants),
        ] {
            dropped.push(Labels::from_pairs([("reason", reason)]), count as f64);
        }
        let mut edges = Family::new(
            "obs_derived_edges_total",
            Counter,
            "Calls of the service graph, by what became of them.",
        );
        for (outcome, count) in [
            ("counted", stats.edges),
            ("expired", stats.edges_expired),
            ("dropped", stats.edges_dropped),
        ] {
            edges.push(Labels::from_pairs([("outcome", outcome)]), count as f64);
        }
        let mut samples = Family::new(
            "obs_derived_samples_total",
            Counter,
            "Samples of metrics of spans, by what became of them.",
        );
        for (outcome, counter) in [("stored", &self.samples), ("refused", &self.refused)] {
            let labels = Labels::from_pairs([("outcome", outcome)]);
            samples.push(labels, counter.load(Ordering::Relaxed) as f64);
        }
        let one = |name: &str, kind, help: &str, value: u64| {
            Family::new(name, kind, help).with(value as f64)
        };
        vec![
            one(
                "obs_derived_spans_total",
                Counter,
                "Spans that metrics were derived from.",
                stats.spans,
            ),
            dropped,
            one(
                "obs_derived_overflow_total",
                Counter,
                "Spans and calls counted in the series with metric_overflow=\"true\".",
                stats.overflow,
            ),
            one(
                "obs_derived_series",
                Gauge,
                "Series that metrics of spans have.",
                stats.series,
            ),
            one(
                "obs_derived_edges_waiting",
                Gauge,
                "Calls that wait for their other side.",
                stats.edges_waiting,
            ),
            edges,
            samples,
            one(
                "obs_derived_failed_total",
                Counter,
                "Collections of metrics of spans that could not be stored.",
                self.failed.load(Ordering::Relaxed),
            ),
        ]
    }
}
