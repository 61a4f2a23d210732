//! What this room tells about itself, as metric families for `/metrics`. Names are API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use obs_model::family::Family;
use obs_model::metrics::MetricKind;
use obs_model::{Labels, Timestamp};
use parking_lot::Mutex;

/// Counters of all watches, by what they are for and what they watch.
#[derive(Debug, Default)]
pub struct Counters {
    watches: Mutex<BTreeMap<(String, String), Arc<WatchCounters>>>,
}

/// Counters of one watched resource.
#[derive(Debug, Default)]
pub struct WatchCounters {
    lists: AtomicU64,
    lists_failed: AtomicU64,
    watches: AtomicU64,
    watches_failed: AtomicU64,
    expired: AtomicU64,
    events: AtomicU64,
    refused: AtomicU64,
    objects: AtomicI64,
    last_event_nanos: AtomicI64,
}

macro_rules! counted {
    ($($(#[$doc:meta])* $add:ident $read:ident $field:ident;)*) => {
        impl WatchCounters {
            $(
                pub(crate) fn $add(&self) {
                    self.$field.fetch_add(1, Ordering::Relaxed);
                }

                $(#[$doc])*
                pub fn $read(&self) -> u64 {
                    self.$field.load(Ordering::Relaxed)
                }
            )*
        }
    };
}

counted! {
    /// Lists that were read to their end.
    listed lists lists;
    /// Lists that failed.
    list_failed lists_failed lists_failed;
    /// Watches that were opened.
    watched watches watches;
    /// Watches that could not be opened or broke off.
    watch_failed watches_failed watches_failed;
    /// Resource versions that the server did not know any more.
    expired expiries expired;
    /// Objects that were not kept because there are too many.
    refused_object refused_objects refused;
}

impl WatchCounters {
    pub(crate) fn event(&self, now: Timestamp) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.last_event_nanos.store(now.nanos(), Ordering::Relaxed);
    }

    pub(crate) fn objects_are(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.objects.store(count, Ordering::Relaxed);
    }

    /// Events of watches: objects that came, changed or went.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Objects that are there now.
    pub fn objects(&self) -> i64 {
        self.objects.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Counters of `resource` as watched for `purpose`: `discovery`, `pods`, `events`, …
    pub fn of(&self, purpose: &str, resource: &str) -> Arc<WatchCounters> {
        let key = (purpose.to_owned(), resource.to_owned());
        Arc::clone(self.watches.lock().entry(key).or_default())
    }

    /// All of it for `/metrics`.
    pub fn families(&self) -> Vec<Family> {
        let counter = |name: &str, help: &str| Family::new(name, MetricKind::Counter, help);
        let gauge = |name: &str, help: &str| Family::new(name, MetricKind::Gauge, help);
        let mut lists = counter(
            "obs_kubernetes_lists_total",
            "Lists asked of the API server.",
        );
        let mut watches = counter(
            "obs_kubernetes_watches_total",
            "Watches asked of the API server.",
        );
        let mut expired = counter(
            "obs_kubernetes_expired_total",
            "Resource versions that the API server did not know any more (410 Gone).",
        );
        let mut events = counter("obs_kubernetes_events_total", "Events of watches.");
        let mut refused = counter(
            "obs_kubernetes_objects_refused_total",
            "Objects that were not kept because there are too many.",
        );
        let mut objects = gauge("obs_kubernetes_objects", "Objects that are known now.");
        let mut last = gauge(
            "obs_kubernetes_last_event_timestamp_seconds",
            "When the last event of a watch came.",
        );
        for ((purpose, resource), watch) in &*self.watches.lock() {
            let pairs = [
                ("purpose", purpose.as_str()),
                ("resource", resource.as_str()),
            ];
            let labels = Labels::from_pairs(pairs);
            let with = |result| Labels::from_pairs(pairs.into_iter().chain([("result", result)]));
            lists.push(with("success"), watch.lists() as f64);
            lists.push(with("error"), watch.lists_failed() as f64);
            watches.push(with("success"), watch.watches() as f64);
            watches.push(with("error"), watch.watches_failed() as f64);
            expired.push(labels.clone(), watch.expiries() as f64);
            events.push(labels.clone(), watch.events() as f64);
            refused.push(labels.clone(), watch.refused_objects() as f64);
            objects.push(labels.clone(), watch.objects() as f64);
            let nanos = watch.last_event_nanos.load(Ordering::Relaxed);
            if nanos != 0 {
                last.push(labels, nanos as f64 / 1e9);
            }
        }
        let mut families = vec![lists, watches, expired, events, refused, objects, last];
        families.retain(|family| !family.points.is_empty());
        families
    }
}
