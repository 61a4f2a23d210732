//! What the ruler says of itself, under Prometheus' names where it has them.

use std::sync::atomic::{AtomicU64, Ordering};

use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind::{Counter, Gauge};

use super::{Ruler, lock};

impl Ruler {
    /// Its metrics.
    pub(crate) fn families(&self) -> Vec<Family> {
        let groups = self.groups();
        let per_group = |name: &str, help: &str, value: &dyn Fn(&super::Member) -> f64| {
            let mut family = Family::new(name, Gauge, help);
            for member in &groups {
                let group = format!("{};{}", member.key.file, member.key.name);
                family.push(Labels::from_pairs([("rule_group", group)]), value(member));
            }
            family
        };
        let count = |name: &str, help: &str, value: &AtomicU64| {
            Family::new(name, Counter, help).with(value.load(Ordering::Relaxed) as f64)
        };
        let counts = &self.counts;
        vec![
            per_group(
                "prometheus_rule_group_interval_seconds",
                "Seconds between evaluations of a group.",
                &|member| member.times.interval as f64 / 1e9,
            ),
            per_group(
                "prometheus_rule_group_last_duration_seconds",
                "Seconds that the last evaluation of a group took.",
                &|member| lock(&member.last).map_or(0.0, |(_, took)| took),
            ),
            per_group(
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "When a group was evaluated last.",
                &|member| lock(&member.last).map_or(0.0, |(at, _)| at.seconds_f64()),
            ),
            per_group(
                "prometheus_rule_group_rules",
                "Rules of a group.",
                &|member| member.rules.len() as f64,
            ),
            count(
                "prometheus_rule_evaluations_total",
                "Evaluations of rules.",
                &counts.evaluations,
            ),
            count(
                "prometheus_rule_evaluation_failures_total",
                "Evaluations of rules that failed.",
                &counts.failures,
            ),
            count(
                "prometheus_rule_group_iterations_missed_total",
                "Evaluations of groups that were left out because one before took too long.",
                &counts.missed,
            ),
            count(
                "obs_rule_samples_total",
                "Samples that rules have written.",
                &counts.samples,
            ),
            count(
                "obs_rule_samples_lost_total",
                "Samples of rules that could not be stored.",
                &counts.samples_lost,
            ),
            count(
                "obs_rule_alerts_not_taken_total",
                "Alerts that nobody took at once; those that last are sent again.",
                &counts.alerts_dropped,
            ),
        ]
    }
}
