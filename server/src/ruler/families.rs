//! What the ruler says of itself, under Prometheus' names where it has them.

use std::sync::atomic::{AtomicU64, Ordering};

use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind::{Counter, Gauge};

use super::evaluate::MemberCounts;
use super::{Member, Ruler, lock};

/// How metrics name a group.
fn label(member: &Member) -> Labels {
    let group = format!("{};{}", member.key.file, member.key.name);
    Labels::from_pairs([("rule_group", group)])
}

impl Ruler {
    /// Its metrics.
    pub(crate) fn families(&self) -> Vec<Family> {
        let groups = self.groups();
        // There may be many, and each is in many families.
        let labels: Vec<_> = groups.iter().map(|member| label(member)).collect();
        let of_kind = |kind, name: &str, help: &str, value: &dyn Fn(&Member) -> f64| {
            let mut family = Family::new(name, kind, help);
            for (member, labels) in groups.iter().zip(&labels) {
                family.push(labels.clone(), value(member));
            }
            family
        };
        let per_group = |name: &str, help: &str, value: &dyn Fn(&Member) -> f64| {
            of_kind(Gauge, name, help, value)
        };
        let counted = |name: &str, help: &str, value: &dyn Fn(&MemberCounts) -> &AtomicU64| {
            let value = |member: &Member| value(&member.counts).load(Ordering::Relaxed) as f64;
            of_kind(Counter, name, help, &value)
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
            counted(
                "prometheus_rule_evaluations_total",
                "Evaluations of rules.",
                &|counts| &counts.evaluations,
            ),
            counted(
                "prometheus_rule_evaluation_failures_total",
                "Evaluations of rules that failed.",
                &|counts| &counts.failures,
            ),
            counted(
                "prometheus_rule_group_iterations_total",
                "Evaluations of groups, those that were left out included.",
                &|counts| &counts.iterations,
            ),
            counted(
                "prometheus_rule_group_iterations_missed_total",
                "Evaluations of groups that were left out because one before took too long.",
                &|counts| &counts.missed,
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
