//! Workloads that nobody talks to.
//!
//! The rule is Kubecost's: pods whose traffic, in and out, stays below a number of bytes per second
//! over some days. Invariant: pods of which no traffic is known are not judged.

use super::NodeRates;
use crate::cluster::{Cluster, Controller};
use crate::prices::Book;
use crate::span::Span;
use crate::{GIB, HOUR, MONTH_HOURS};

/// What counts as talking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Days that a pod has to be silent.
    pub days: f64,
    /// Bytes per second, in and out together.
    pub threshold: f64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            days: 2.0,
            threshold: 500.0,
        }
    }
}

/// Days after which a silent pod that does nothing is surely not missed.
const SAFE_DAYS: f64 = 14.0;
/// The share of its requested cores below which a pod does nothing.
const SAFE_CPU: f64 = 0.05;

/// A pod that nobody talks to.
#[derive(Clone, Debug, PartialEq)]
pub struct Abandoned {
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// What made it.
    pub controller: Controller,
    /// Bytes per second received.
    pub received: f64,
    /// Bytes per second sent.
    pub sent: f64,
    /// Days since its begin.
    pub age_days: f64,
    /// Used of requested cores; `None` where it requests none.
    pub cpu_share: Option<f64>,
    /// Whether it also has done nothing for so long that it is safe to remove.
    pub safe: bool,
    /// From 0 to 1.
    pub confidence: f64,
    /// Dollars a month.
    pub monthly: f64,
}

/// Pods that nobody talked to in the last days of a window.
pub fn abandoned(cluster: &Cluster, book: &Book, window: Span, rule: Rule) -> Vec<Abandoned> {
    let rates = NodeRates::new(cluster, book, window.end);
    let length = (rule.days * 24.0 * HOUR as f64) as i64;
    let span = Span::new(window.end.saturating_sub(length), window.end);
    let mut found = Vec::new();
    for pod in &cluster.pods {
        let silent_long = pod.life.start <= span.start && pod.life.end >= span.end;
        let known = !pod.sent.is_empty() || !pod.received.is_empty();
        if !silent_long || !known || pod.controller.kind == "daemonset" {
            continue;
        }
        let seconds = span.seconds().max(1.0);
        let (received, sent) = (
            pod.received.amount(span) / seconds,
            pod.sent.amount(span) / seconds,
        );
        if received + sent >= rule.threshold {
            continue;
        }
        let (mut requested, mut used, mut monthly) = (0.0, 0.0, 0.0);
        let rate = rates.of(pod);
        for container in &pod.containers {
            let request = container.cpu_request.at(span.start);
            let cpu = container.cpu_usage.amount(span) / seconds;
            let ram = container.ram_usage.amount(span) / seconds;
            requested += request;
            used += cpu;
            let ram = container.ram_request.at(span.start).max(ram) / GIB;
            let gpu = container.gpu_request.at(span.start);
            monthly += request.max(cpu) * rate.cpu + ram * rate.ram + gpu * rate.gpu;
        }
        let cpu_share = (requested > 0.0).then(|| used / requested);
        let age_days = Span::new(pod.life.start, span.end).hours() / 24.0;
        let safe = age_days >= SAFE_DAYS && cpu_share.is_some_and(|share| share < SAFE_CPU);
        let quiet = 1.0 - (received + sent) / rule.threshold.max(f64::MIN_POSITIVE);
        found.push(Abandoned {
            cluster: pod.cluster.clone(),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            controller: pod.controller.clone(),
            received,
            sent,
            age_days,
            cpu_share,
            safe,
            confidence: if safe { 0.95 } else { 0.5 + 0.3 * quiet },
            monthly: monthly * MONTH_HOURS,
        });
    }
    found.sort_by(|a, b| b.monthly.total_cmp(&a.monthly));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Container, Pod};
    use crate::span::Steps;
    use crate::usage::{Segment, Usage};

    #[test]
    fn silence() {
        let window = Span::new(0, 20 * 24 * HOUR);
        let always = |rate: f64| Usage::new(vec![Segment { span: window, rate }]);
        let pod = |name: &str, bytes: Option<f64>, cpu: f64, start: i64| Pod {
            name: name.to_owned(),
            life: Span::new(start, window.end),
            received: bytes.map(always).unwrap_or_default(),
            containers: vec![Container {
                lives: vec![window],
                cpu_request: Steps::constant(1.0),
                ram_request: Steps::constant(GIB),
                cpu_usage: always(cpu),
                ..Container::default()
            }],
            ..Pod::default()
        };
        let cluster = Cluster {
            pods: vec![
                pod("loud", Some(501.0), 0.0, 0),
                pod("unknown", None, 0.0, 0),
                pod("young", Some(0.0), 0.0, window.end - 24 * HOUR),
                pod("safe", Some(10.0), 0.01, 0),
                pod("busy", Some(10.0), 0.5, 0),
            ],
            ..Cluster::default()
        };
        let found = abandoned(&cluster, &Book::default(), window, Rule::default());
        let told: Vec<(&str, bool)> = found.iter().map(|a| (a.pod.as_str(), a.safe)).collect();
        assert_eq!(told, [("safe", true), ("busy", false)]);
        let monthly = (0.031611 + 0.004237) * 730.0;
        assert!(found.iter().all(|a| (a.monthly - monthly).abs() < 1e-9));
    }
}
