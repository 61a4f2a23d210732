//! What forwarding tells about itself. Names and labels are Prometheus', so that its dashboards and
//! alerts work; those of the queue on disk are obs' own.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use obs_model::Labels;
use obs_model::family::{Family, Point};
use obs_model::metrics::MetricKind::{Counter, Gauge, Histogram};

use super::request::Amounts;
use crate::config::RemoteWrite;
use crate::http_client::shown;

/// Upper bounds of the duration of a request, in seconds.
const BOUNDS: [f64; 9] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// How a request ended, for its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Sent,
    Retried,
    Failed,
    Dropped,
}

const ENDINGS: [Ending; 4] = [
    Ending::Sent,
    Ending::Retried,
    Ending::Failed,
    Ending::Dropped,
];

#[derive(Debug, Default)]
struct ByKind([AtomicU64; 4]);

/// Counters of one destination.
#[derive(Debug, Default)]
pub(super) struct Counters {
    samples: ByKind,
    histograms: ByKind,
    exemplars: ByKind,
    metadata: ByKind,
    bytes: AtomicU64,
    lost: AtomicU64,
    unsent_histograms: AtomicU64,
    pending: AtomicU64,
    shards: AtomicU64,
    highest_in: AtomicI64,
    highest_sent: AtomicI64,
    buckets: [AtomicU64; BOUNDS.len()],
    requests: AtomicU64,
    nanos: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

impl Counters {
    pub(super) fn ended(&self, ending: Ending, amounts: &Amounts) {
        let at = ending as usize;
        add(&self.samples.0[at], amounts.samples);
        add(&self.histograms.0[at], amounts.histograms);
        add(&self.exemplars.0[at], amounts.exemplars);
        add(&self.metadata.0[at], amounts.metadata);
        if ending == Ending::Sent {
            self.highest_sent
                .fetch_max(amounts.highest_millis, Ordering::Relaxed);
        }
    }

    pub(super) fn requested(&self, bytes: usize, took: Duration) {
        add(&self.bytes, bytes as u64);
        add(&self.requests, 1);
        add(
            &self.nanos,
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        );
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            add(bucket, u64::from(took.as_secs_f64() <= *bound));
        }
    }

    pub(super) fn came_in(&self, highest_millis: Option<i64>) {
        if let Some(highest) = highest_millis {
            self.highest_in.fetch_max(highest, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self, samples: u64) {
        add(&self.lost, samples);
    }

    pub(super) fn unsent_histograms(&self, count: u64) {
        add(&self.unsent_histograms, count);
    }

    pub(super) fn round(&self, samples: u64, shards: u64) {
        self.pending.store(samples, Ordering::Relaxed);
        self.shards.store(shards, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn samples(&self, ending: Ending) -> u64 {
        self.samples.0[ending as usize].load(Ordering::Relaxed)
    }
}

type One<'a> = (&'a RemoteWrite, &'a Counters, (u64, u64, u64));

/// Name after `prometheus_remote_storage_`, whether it is a counter, help, value.
type Told = (&'static str, bool, &'static str, fn(&One<'_>) -> f64);

const TOLD: &[Told] = &[
    (
        "bytes_total",
        true,
        "Bytes of requests that were sent, compressed.",
        |(_, c, _)| read(&c.bytes),
    ),
    (
        "samples_pending",
        false,
        "Samples that are being sent.",
        |(_, c, _)| read(&c.pending),
    ),
    (
        "shards",
        false,
        "Requests under way at one time.",
        |(_, c, _)| read(&c.shards),
    ),
    (
        "shards_desired",
        false,
        "Requests that what waits asks for.",
        |(_, c, _)| read(&c.shards),
    ),
    (
        "shards_max",
        false,
        "Most requests under way at one time.",
        |(w, ..)| w.queue.max_shards as f64,
    ),
    (
        "shards_min",
        false,
        "Fewest requests under way at one time.",
        |(w, ..)| w.queue.min_shards as f64,
    ),
    (
        "shard_capacity",
        false,
        "Samples of each shard.",
        |(w, ..)| w.queue.capacity as f64,
    ),
    (
        "max_samples_per_send",
        false,
        "Most samples of one request.",
        |(w, ..)| w.queue.max_samples_per_send as f64,
    ),
    (
        "queue_highest_timestamp_seconds",
        false,
        "Highest timestamp that was queued.",
        |(_, c, _)| c.highest_in.load(Ordering::Relaxed) as f64 / 1000.0,
    ),
    (
        "queue_highest_sent_timestamp_seconds",
        false,
        "Highest timestamp that was sent.",
        |(_, c, _)| c.highest_sent.load(Ordering::Relaxed) as f64 / 1000.0,
    ),
];

/// The same for names of obs' own, after `obs_forward_`.
const OWN: &[Told] = &[
    (
        "queue_bytes",
        false,
        "Bytes of the queue on disk.",
        |(.., q)| q.0 as f64,
    ),
    (
        "queue_groups",
        false,
        "Groups of batches that wait in the queue.",
        |(.., q)| q.1 as f64,
    ),
    (
        "queue_dropped_groups_total",
        true,
        "Groups of batches that went because the queue had no room.",
        |(.., q)| q.2 as f64,
    ),
    (
        "queue_failed_samples_total",
        true,
        "Samples that could not be queued: there was no room, or the disk failed.",
        |(_, c, _)| read(&c.lost),
    ),
    (
        "unsent_histograms_total",
        true,
        "Native histograms that are not sent because send_native_histograms is off.",
        |(_, c, _)| read(&c.unsent_histograms),
    ),
];

fn labels(write: &RemoteWrite) -> Labels {
    Labels::from_pairs([
        ("remote_name", write.name.as_str()),
        ("url", &*shown(&write.url)),
    ])
}

/// The families of all destinations.
pub(super) fn families(all: &[One<'_>]) -> Vec<Family> {
    let mut families = Vec::new();
    if all.is_empty() {
        return families;
    }
    for (prefix, told) in [("prometheus_remote_storage", TOLD), ("obs_forward", OWN)] {
        for (name, counter, help, value) in told {
            let kind = if *counter { Counter } else { Gauge };
            let mut family = Family::new(format!("{prefix}_{name}"), kind, *help);
            for one in all {
                family.push(labels(one.0), value(one));
            }
            families.push(family);
        }
    }
    for (what, of) in [
        ("samples", (|c| &c.samples) as fn(&Counters) -> &ByKind),
        ("histograms", |c| &c.histograms),
        ("exemplars", |c| &c.exemplars),
        ("metadata", |c| &c.metadata),
    ] {
        for ending in ENDINGS {
            let (name, help) = match ending {
                Ending::Sent => ("", "that were sent"),
                Ending::Retried => ("_retried", "that were sent again after a failure"),
                Ending::Failed => ("_failed", "that the other side refused"),
                Ending::Dropped => ("_dropped", "that were not sent because they were too old"),
            };
            let name = format!("prometheus_remote_storage_{what}{name}_total");
            let mut family = Family::new(name, Counter, format!("Number of {what} {help}."));
            for one in all {
                family.push(labels(one.0), read(&of(one.1).0[ending as usize]));
            }
            families.push(family);
        }
    }
    families.push(durations(all));
    families
}

fn durations(all: &[One<'_>]) -> Family {
    let mut family = Family::new(
        "prometheus_remote_storage_sent_batch_duration_seconds",
        Histogram,
        "Duration of requests.",
    );
    for (write, counters, _) in all {
        let own = labels(write);
        for (bound, bucket) in BOUNDS.iter().zip(&counters.buckets) {
            let mut labels = own.to_builder();
            labels.set("le", &bound.to_string());
            family.points.push(Point {
                suffix: "_bucket",
                labels: labels.build(),
                value: read(bucket),
            });
        }
        let mut infinite = own.to_builder();
        infinite.set("le", "+Inf");
        let totals = [
            ("_bucket", infinite.build(), read(&counters.requests)),
            ("_sum", own.clone(), read(&counters.nanos) / 1e9),
            ("_count", own.clone(), read(&counters.requests)),
        ];
        for (suffix, labels, value) in totals {
            family.points.push(Point {
                suffix,
                labels,
                value,
            });
        }
    }
    family
}
