//! `problem_counter` and `problem_gauge`, as node-problem-detector counts. Names are API.
//!
//! Invariant: of a condition at most one reason holds; reasons are those of rules, so that there
//! are no more series than the configuration has.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_kubernetes::node::NodeCounters;
use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use super::rules::Count;

/// What was found since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
    lines: AtomicU64,
    lost: AtomicU64,
    /// What the API server was told.
    pub(super) node: Arc<NodeCounters>,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<(String, String), bool>,
    /// The reason for which each condition was told last.
    last: HashMap<String, String>,
}

impl Tally {
    /// Numbers are as good as any after a panic elsewhere.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on there are families, if only empty ones.
    pub(super) fn begin(&self) {
        self.state().wanted = true;
    }

    pub(super) fn take(&self, counts: Vec<Count>) {
        let mut state = self.state();
        for count in counts {
            match count {
                Count::Happened(reason, times) => {
                    *state.counters.entry(reason).or_insert(0) += times;
                }
                Count::Holds(kind, reason, holds) => {
                    if let Some(last) = state.last.insert(kind.clone(), reason.clone()) {
                        state.gauges.insert((kind.clone(), last), false);
                    }
                    state.gauges.insert((kind, reason), holds);
                }
            }
        }
    }

    pub(super) fn looked_at(&self, lines: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
    }

    /// Something that happened did not become a line of a log.
    pub(super) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it for `/metrics`; nothing where no monitor runs.
    pub(crate) fn families(&self) -> Vec<Family> {
        let state = self.state();
        if !state.wanted {
            return Vec::new();
        }
        let counter = |name: &str| {
            let help = "Number of times a specific type of problem have occurred.";
            let mut family = Family::new(name, MetricKind::Counter, help);
            for (reason, count) in &state.counters {
                let labels = Labels::from_pairs([("reason", reason.as_str())]);
                family.push(labels, *count as f64);
            }
            family
        };
        let mut gauge = Family::new(
            "problem_gauge",
            MetricKind::Gauge,
            "Whether a specific type of problem is affecting the node or not.",
        );
        for ((kind, reason), holds) in &state.gauges {
            let labels = [("reason", reason.as_str()), ("type", kind.as_str())];
            gauge.push(Labels::from_pairs(labels), f64::from(u8::from(*holds)));
        }
        let own = |name: &str, help: &str, value: &AtomicU64| {
            let family = Family::new(name, MetricKind::Counter, help);
            family.with(value.load(Ordering::Relaxed) as f64)
        };
        // Older and newer versions of node-problem-detector name the counter differently, and
        // alerts are written for either.
        let mut families = vec![
            counter("problem_counter"),
            counter("problem_counter_total"),
            gauge,
            own(
                "obs_node_problem_lines_total",
                "Lines of logs in which problems were looked for.",
                &self.lines,
            ),
            own(
                "obs_node_problem_lost_total",
                "Problems of the node that found no room among the logs.",
                &self.lost,
            ),
        ];
        families.extend(self.node.families());
        families.retain(|family| !family.points.is_empty());
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_gauges() {
        let tally = Tally::default();
        assert!(tally.families().is_empty());
        tally.begin();
        let happened = |reason: &str, times| Count::Happened(reason.to_owned(), times);
        let holds = |reason: &str, holds| Count::Holds("K".to_owned(), reason.to_owned(), holds);
        tally.take(vec![
            happened("OOM", 0),
            holds("A", false),
            holds("B", false),
        ]);
        tally.take(vec![
            happened("OOM", 1),
            holds("A", true),
            happened("OOM", 1),
        ]);
        tally.take(vec![holds("B", true)]);
        let mut text = Vec::new();
        obs_wire::prometheus::text::encode(&tally.families()[..3], &mut text);
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expect = [
            "problem_counter{reason=\"OOM\"} 2",
            "problem_counter_total{reason=\"OOM\"} 2",
            "problem_gauge{reason=\"A\",type=\"K\"} 0",
            "problem_gauge{reason=\"B\",type=\"K\"} 1",
        ];
        assert_eq!(lines, expect);
    }
}
