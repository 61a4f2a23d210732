//! What the state metrics tell about themselves, by kube-state-metrics' names. Names are API.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use super::run::StateMetrics;

/// What the watches are for, in the room's own counters.
pub(super) const PURPOSE: &str = "state";

/// What became of the definitions of custom resources.
#[derive(Debug, Default)]
pub(super) struct CustomCounts {
    added: AtomicU64,
    updated: AtomicU64,
    deleted: AtomicU64,
    kinds: AtomicUsize,
}

impl CustomCounts {
    pub(super) fn put(&self, known: bool) {
        let count = if known { &self.updated } else { &self.added };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn gone(&self) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn kinds_are(&self, count: usize) {
        self.kinds.store(count, Ordering::Relaxed);
    }
}

fn counter(name: &str, help: &str) -> Family {
    Family::new(name, MetricKind::Counter, help)
}

fn gauge(name: &str, help: &str) -> Family {
    Family::new(name, MetricKind::Gauge, help)
}

impl StateMetrics {
    /// The families of the telemetry address; those of the process are the caller's.
    pub fn telemetry(&self) -> Vec<Family> {
        let mut families = Vec::from(self.requests());
        families.extend(self.shards());
        families.extend(self.sizes());
        if !self.shared.settings().custom.is_empty() {
            families.extend(self.definitions());
        }
        families.push(build_info());
        families
    }

    fn requests(&self) -> [Family; 2] {
        let mut lists = counter("kube_state_metrics_list_total", "Lists of resources.");
        let mut watches = counter("kube_state_metrics_watch_total", "Watches of resources.");
        // Custom resources share one name, and so their counters.
        let types = self
            .shared
            .stores()
            .into_iter()
            .map(|s| s.sheet.go_type.clone());
        let types: std::collections::BTreeSet<_> = types.collect();
        for go_type in types {
            let counters = self.shared.counters.of(PURPOSE, &go_type);
            let resource = go_type.as_str();
            let with = |result| Labels::from_pairs([("result", result), ("resource", resource)]);
            lists.push(with("success"), counters.lists() as f64);
            lists.push(with("error"), counters.lists_failed() as f64);
            watches.push(with("success"), counters.watches() as f64);
            watches.push(with("error"), counters.watches_failed() as f64);
        }
        [lists, watches]
    }

    fn shards(&self) -> [Family; 2] {
        let shard = *self.shared.shard.read();
        let mut ordinal = gauge("kube_state_metrics_shard_ordinal", "Which shard this is.");
        let text = shard.ordinal.to_string();
        let labels = Labels::from_pairs([("shard_ordinal", text.as_str())]);
        ordinal.push(labels, f64::from(shard.ordinal));
        let mut total = gauge(
            "kube_state_metrics_total_shards",
            "How many shards there are.",
        );
        total.push(Labels::default(), f64::from(shard.total));
        [ordinal, total]
    }

    fn sizes(&self) -> Vec<Family> {
        let mut objects = gauge(
            "kube_state_metrics_list_objects",
            "Objects of a resource that are shown.",
        );
        let mut bytes = gauge(
            "obs_kube_state_rendered_bytes",
            "Bytes that are kept of the objects of a resource.",
        );
        let mut sizes: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for store in self.shared.stores() {
            let (count, size) = store.size();
            let all = sizes.entry(store.sheet.go_type.clone()).or_default();
            *all = (all.0 + count, all.1 + size);
        }
        for (go_type, (count, size)) in sizes {
            let labels = Labels::from_pairs([("resource", go_type.as_str())]);
            objects.push(labels.clone(), count as f64);
            bytes.push(labels, size as f64);
        }
        let mut families = vec![objects, bytes];
        let limit = self.shared.settings().object_limit;
        if limit > 0 {
            let mut limits = gauge(
                "kube_state_metrics_list_objects_limit",
                "Objects of a resource that are shown at most.",
            );
            for store in self.shared.stores() {
                let labels = Labels::from_pairs([("resource", store.sheet.go_type.as_str())]);
                limits.push(labels, limit as f64);
            }
            families.push(limits);
        }
        families
    }

    fn definitions(&self) -> [Family; 4] {
        let custom = &self.shared.custom;
        let one = |name: &str, help: &str, count: &AtomicU64| {
            let name = format!("kube_state_metrics_custom_resource_state_{name}_events_total");
            let mut family = counter(&name, help);
            family.push(Labels::default(), count.load(Ordering::Relaxed) as f64);
            family
        };
        let mut kinds = gauge(
            "kube_state_metrics_custom_resource_state_cache",
            "Custom resources that are watched.",
        );
        kinds.push(
            Labels::default(),
            custom.kinds.load(Ordering::Relaxed) as f64,
        );
        [
            one(
                "add",
                "Definitions of custom resources that came.",
                &custom.added,
            ),
            one(
                "update",
                "Definitions of custom resources that changed.",
                &custom.updated,
            ),
            one(
                "delete",
                "Definitions of custom resources that went.",
                &custom.deleted,
            ),
            kinds,
        ]
    }
}

fn build_info() -> Family {
    let mut family = gauge("kube_state_metrics_build_info", "What this is.");
    let labels = [
        ("branch", ""),
        ("client_go_version", ""),
        ("goarch", std::env::consts::ARCH),
        ("goos", std::env::consts::OS),
        ("goversion", ""),
        ("revision", ""),
        ("tags", "obs"),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    family.push(Labels::from_pairs(labels), 1.0);
    family
}
