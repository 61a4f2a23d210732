//! What was done for each signal of a destination, as families. Names are API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind::{Counter, Gauge};

use super::Outlet;

/// How a request ended, or did not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The other side has it.
    Sent,
    /// The other side never takes it.
    Refused,
    /// It is too old.
    Dropped,
    /// It goes again.
    Retried,
}

const ENDINGS: [(Ending, &str); 4] = [
    (Ending::Sent, "sent"),
    (Ending::Refused, "refused"),
    (Ending::Dropped, "too_old"),
    (Ending::Retried, "retried"),
];

#[derive(Debug, Default)]
pub(super) struct Counters {
    queued_items: AtomicU64,
    queued_bytes: AtomicU64,
    requests: [AtomicU64; 4],
    items: [AtomicU64; 4],
    sent_bytes: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

impl Counters {
    pub(super) fn queued(&self, items: u64, bytes: usize) {
        add(&self.queued_items, items);
        add(&self.queued_bytes, bytes as u64);
    }

    pub(super) fn ended(&self, ending: Ending, items: u64, bytes: usize) {
        add(&self.requests[ending as usize], 1);
        add(&self.items[ending as usize], items);
        add(&self.sent_bytes, bytes as u64);
    }
}

pub(super) fn families(all: &[Arc<Outlet>]) -> Vec<Family> {
    let mut requests = Family::new(
        "obs_ship_requests_total",
        Counter,
        "Requests to destinations, by how they ended.",
    );
    let mut items = Family::new(
        "obs_ship_items_total",
        Counter,
        "Samples, log records and spans in those requests.",
    );
    let single = |name: &'static str, kind, help: &'static str| Family::new(name, kind, help);
    let mut singles = [
        single(
            "obs_ship_queued_items_total",
            Counter,
            "Samples, log records and spans queued.",
        ),
        single(
            "obs_ship_queued_bytes_total",
            Counter,
            "Bytes of requests queued.",
        ),
        single(
            "obs_ship_sent_bytes_total",
            Counter,
            "Bytes of requests that were taken.",
        ),
        single(
            "obs_ship_faults_total",
            Counter,
            "Faults of queues and clients.",
        ),
        single(
            "obs_ship_queue_bytes",
            Gauge,
            "Bytes on disk that wait to be sent.",
        ),
        single(
            "obs_ship_queue_groups",
            Gauge,
            "Groups of requests that wait to be sent.",
        ),
        single(
            "obs_ship_queue_dropped_groups_total",
            Counter,
            "Groups that went because there was no room.",
        ),
        single(
            "obs_ship_queue_bytes_max",
            Gauge,
            "Bytes at which a queue is full.",
        ),
    ];
    for outlet in all {
        let own = [
            ("destination", outlet.ship.name.as_str()),
            ("signal", outlet.signal.word()),
        ];
        let (counters, held) = (&outlet.counters, outlet.spool.held());
        for (ending, outcome) in ENDINGS {
            let labels = Labels::from_pairs(own.into_iter().chain([("outcome", outcome)]));
            requests.push(labels.clone(), read(&counters.requests[ending as usize]));
            items.push(labels, read(&counters.items[ending as usize]));
        }
        let values = [
            read(&counters.queued_items),
            read(&counters.queued_bytes),
            read(&counters.sent_bytes),
            outlet.spool.faults() as f64,
            held.waiting_bytes as f64,
            held.frames as f64,
            held.dropped as f64,
            outlet.spool.bounds.bytes_max as f64,
        ];
        for (family, value) in singles.iter_mut().zip(values) {
            family.push(Labels::from_pairs(own), value);
        }
    }
    [requests, items].into_iter().chain(singles).collect()
}
