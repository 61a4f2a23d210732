//! What the Alertmanager says of itself, under Alertmanager's names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_alerting::notify::{Quiet, SilenceState, Suppressed};
use obs_model::Labels;
use obs_model::family::{Family, Point};
use obs_model::metrics::MetricKind::{Counter, Gauge, Histogram};

use super::deliver::{CLASSES, KindCounts, LATENCIES};
use super::{Alertmanager, lock};
use crate::clock;

/// Kinds that are always told of, as Alertmanager does.
const KINDS: [&str; 14] = [
    "discord",
    "email",
    "jira",
    "msteams",
    "msteamsv2",
    "opsgenie",
    "pagerduty",
    "pushover",
    "slack",
    "sns",
    "telegram",
    "victorops",
    "webex",
    "webhook",
];

fn one(name: &'static str, value: impl AsRef<str>) -> Labels {
    Labels::from_pairs([(name, value.as_ref())])
}

impl Alertmanager {
    /// Its metrics.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut all = self.state_families();
        all.extend(self.delivery_families());
        let intake = lock(&self.intake);
        let mut received = Family::new(
            "alertmanager_alerts_received_total",
            Counter,
            "The total number of received alerts.",
        );
        received.push(version("firing"), intake.firing as f64);
        received.push(version("resolved"), intake.resolved as f64);
        let mut invalid = Family::new(
            "alertmanager_alerts_invalid_total",
            Counter,
            "The total number of received alerts that were invalid.",
        );
        invalid.push(one("version", "v2"), intake.invalid as f64);
        all.extend([received, invalid]);
        all.push(
            Family::new(
                "alertmanager_alerts_limited_total",
                Counter,
                "Alerts that were dropped because there were too many.",
            )
            .with(intake.limited as f64),
        );
        let stats = self.kept.stats();
        for (name, kind, help, value) in [
            (
                "obs_alertmanager_writes_total",
                Counter,
                "Writes of the Alertmanager's state to disk.",
                &stats.writes,
            ),
            (
                "obs_alertmanager_write_errors_total",
                Counter,
                "Writes of the Alertmanager's state that failed.",
                &stats.errors,
            ),
            (
                "obs_alertmanager_bytes",
                Gauge,
                "Bytes of the Alertmanager's state on disk.",
                &stats.bytes,
            ),
        ] {
            let value = value.load(Ordering::Relaxed) as f64;
            all.push(Family::new(name, kind, help).with(value));
        }
        all
    }

    /// What there is now.
    fn state_families(&self) -> Vec<Family> {
        let now = clock::now();
        let (rooms, loaded) = {
            let state = lock(&self.state);
            (state.copies(), Arc::clone(&state.loaded))
        };
        let (mut active, mut suppressed, mut groups, mut entries) = (0u64, 0u64, 0usize, 0usize);
        let mut silences = [0u64; 3];
        let mut quiet_counts = Suppressed::default();
        for (_, room) in &rooms {
            let sources = room.groups.sources(now);
            for alert in room.groups.alerts().filter(|a| !a.is_resolved(now)) {
                let quiet = room
                    .groups
                    .quiet(&alert.labels, &sources, &room.silences, now);
                match quiet == Quiet::default() {
                    true => active += 1,
                    false => suppressed += 1,
                }
            }
            for silence in room.silences.iter() {
                silences[silence.state(now) as usize] += 1;
            }
            groups += room.groups.iter().count();
            entries += room.log.iter().count();
            let more = room.groups.suppressed();
            quiet_counts.silenced += more.silenced;
            quiet_counts.inhibited += more.inhibited;
            quiet_counts.muted += more.muted;
            quiet_counts.not_active += more.not_active;
        }
        let config = &loaded.config;
        let integrations: usize = config.receivers.iter().map(|r| r.integrations.len()).sum();
        let gauge = |name: &str, help: &str, value: usize| {
            Family::new(name, Gauge, help).with(value as f64)
        };
        let mut all = vec![
            gauge(
                "alertmanager_dispatcher_aggregation_groups",
                "Number of active aggregation groups",
                groups,
            ),
            gauge(
                "alertmanager_receivers",
                "Number of configured receivers.",
                config.receivers.len(),
            ),
            gauge(
                "alertmanager_integrations",
                "Number of configured integrations.",
                integrations,
            ),
            gauge(
                "obs_alertmanager_log_entries",
                "Entries of the log of notifications.",
                entries,
            ),
            gauge(
                "alertmanager_cluster_enabled",
                "Indicates whether the clustering is enabled or not.",
                0,
            ),
        ];
        all.extend(by_state((active, suppressed), silences));
        all.push(suppressed_family(quiet_counts));
        all
    }

    /// What was sent.
    fn delivery_families(&self) -> Vec<Family> {
        let mut counts = self.counts.snapshot();
        for kind in KINDS {
            counts.entry(kind).or_default();
        }
        let count = |name: &str, help: &str, value: &dyn Fn(&KindCounts) -> u64| {
            let mut family = Family::new(name, Counter, help);
            for (kind, counts) in &counts {
                family.push(one("integration", kind), value(counts) as f64);
            }
            family
        };
        let mut all = vec![
            count(
                "alertmanager_notifications_total",
                "The total number of attempted notifications.",
                &|counts| counts.notifications,
            ),
            count(
                "alertmanager_notification_requests_total",
                "The total number of attempted notification requests.",
                &|counts| counts.requests,
            ),
            count(
                "alertmanager_notification_requests_failed_total",
                "The total number of failed notification requests.",
                &|counts| counts.requests_failed,
            ),
        ];
        let mut failed = Family::new(
            "alertmanager_notifications_failed_total",
            Counter,
            "The total number of failed notifications.",
        );
        let mut latency = Family::new(
            "alertmanager_notification_latency_seconds",
            Histogram,
            "The latency of notifications in seconds.",
        );
        for (kind, counts) in &counts {
            for reason in CLASSES {
                let labels = Labels::from_pairs([("integration", *kind), ("reason", reason)]);
                let value = counts.failed.get(reason).copied().unwrap_or(0);
                failed.push(labels, value as f64);
            }
            buckets(&mut latency, kind, counts);
        }
        all.extend([failed, latency]);
        all
    }
}

fn version(status: &str) -> Labels {
    Labels::from_pairs([("status", status), ("version", "v2")])
}

/// Alerts and silences by their states.
fn by_state((active, suppressed): (u64, u64), silences: [u64; 3]) -> Vec<Family> {
    let mut all = Vec::new();
    for name in ["alertmanager_alerts", "alertmanager_marked_alerts"] {
        let mut family = Family::new(name, Gauge, "How many alerts by state.");
        family.push(one("state", "active"), active as f64);
        family.push(one("state", "suppressed"), suppressed as f64);
        family.push(one("state", "unprocessed"), 0.0);
        all.push(family);
    }
    let mut family = Family::new(
        "alertmanager_silences",
        Gauge,
        "How many silences by state.",
    );
    for at in [
        SilenceState::Active,
        SilenceState::Pending,
        SilenceState::Expired,
    ] {
        family.push(one("state", at.as_str()), silences[at as usize] as f64);
    }
    all.push(family);
    all
}

fn suppressed_family(counts: Suppressed) -> Family {
    let mut family = Family::new(
        "alertmanager_notifications_suppressed_total",
        Counter,
        "The total number of notifications suppressed for being silenced, inhibited, outside of active time intervals or within muted time intervals.",
    );
    for (reason, count) in [
        ("silence", counts.silenced),
        ("inhibition", counts.inhibited),
        ("mute_time_interval", counts.muted),
        ("active_time_interval", counts.not_active),
    ] {
        family.push(one("reason", reason), count as f64);
    }
    family
}

fn buckets(family: &mut Family, kind: &str, counts: &KindCounts) {
    let mut push = |suffix, labels, value| {
        family.points.push(Point {
            suffix,
            labels,
            value,
        });
    };
    for (most, count) in LATENCIES.iter().zip(counts.latencies) {
        let border = most.to_string();
        let labels = Labels::from_pairs([("integration", kind), ("le", border.as_str())]);
        push("_bucket", labels, count as f64);
    }
    let labels = Labels::from_pairs([("integration", kind), ("le", "+Inf")]);
    push("_bucket", labels, counts.requests as f64);
    push("_sum", one("integration", kind), counts.seconds);
    push("_count", one("integration", kind), counts.requests as f64);
}
