//! Requests that fit: by the rules of KRR's simple strategy or of VPA's recommender.
//!
//! KRR: CPU is the largest 95th percentile of any pod, memory the largest value with 15 % on top,
//! which is request and limit. VPA: percentiles of histograms whose samples count half after a day;
//! CPU weighted by request, memory by daily peaks; 15 % on top. Both as their sources have it.

use std::collections::BTreeMap;

use super::NodeRates;
use crate::cluster::{Cluster, Container, Controller, Pod};
use crate::prices::{Book, Rates};
use crate::span::Span;
use crate::{GIB, HOUR, MONTH_HOURS};

const MIB: f64 = 1_048_576.0;
const DAY: i64 = 24 * HOUR;

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// KRR's `simple`.
    Krr,
    /// The vertical pod autoscaler's recommender.
    Vpa,
}

impl Strategy {
    /// Its name in requests.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "krr" | "simple" => Some(Self::Krr),
            "vpa" => Some(Self::Vpa),
            _ => None,
        }
    }

    /// Days of history that it wants.
    pub fn days(self) -> f64 {
        match self {
            Self::Krr => 14.0,
            Self::Vpa => 8.0,
        }
    }
}

/// Cores and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub ram: f64,
}

/// What was seen of a container's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Stretches of CPU usage.
    pub points: usize,
    /// From the first to the last.
    pub days: f64,
    /// Cores, at the median of all.
    pub cpu_median: f64,
    /// Cores, at the largest 95th percentile of a pod.
    pub cpu_p95: f64,
    /// Most cores.
    pub cpu_max: f64,
    /// Most bytes.
    pub ram_max: f64,
    /// Whether one was killed for want of memory.
    pub killed: bool,
}

/// What a container should request.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// What makes its pods.
    pub controller: Controller,
    /// Its name.
    pub container: String,
    /// How many pods have it at the end of the window.
    pub pods: usize,
    /// What it requests.
    pub current: Size,
    /// What it should request; absent where too little is known.
    pub proposed: Option<Size>,
    /// VPA: the least and the most that would do.
    pub bounds: Option<(Size, Size)>,
    /// What was seen.
    pub evidence: Evidence,
    /// Dollars a month that it saves; less than 0 where it requests too little.
    pub monthly: f64,
    /// From 0 to 1: how much of the history was there that the rules want.
    pub confidence: f64,
}

/// The containers of one name that one thing makes.
struct Group<'c> {
    members: Vec<(&'c Pod, &'c Container)>,
}

type Key = (String, String, Controller, String);

/// What each container should request, by what it used in a window.
pub fn rightsize(
    cluster: &Cluster,
    book: &Book,
    window: Span,
    strategy: Strategy,
) -> Vec<Recommendation> {
    let rates = NodeRates::new(cluster, book, window.end);
    let mut groups: BTreeMap<Key, Group<'_>> = BTreeMap::new();
    for pod in &cluster.pods {
        for container in pod.containers.iter().filter(|c| !c.lives.is_empty()) {
            let controller = match pod.controller.name.as_str() {
                "" => Controller {
                    kind: "pod".to_owned(),
                    name: pod.name.clone(),
                },
                _ => pod.controller.clone(),
            };
            let key = (
                pod.cluster.clone(),
                pod.namespace.clone(),
                controller,
                container.name.clone(),
            );
            let group = groups.entry(key).or_insert_with(|| Group {
                members: Vec::new(),
            });
            group.members.push((pod, container));
        }
    }
    let made = groups
        .into_iter()
        .map(|(key, group)| recommend(key, &group, &rates, window, strategy));
    made.collect()
}

fn recommend(
    (cluster, namespace, controller, container): Key,
    group: &Group<'_>,
    rates: &NodeRates<'_>,
    window: Span,
    strategy: Strategy,
) -> Recommendation {
    let evidence = group.evidence(window);
    let last = group.members.iter().max_by_key(|(pod, _)| pod.life.end);
    let current = last.map_or_else(Size::default, |(_, c)| Size {
        cpu: c.cpu_request.at(window.end),
        ram: c.ram_request.at(window.end),
    });
    let alive = |pod: &Pod| pod.life.end >= window.end;
    let pods = group.members.iter().filter(|(pod, _)| alive(pod)).count();
    let (proposed, bounds) = match strategy {
        Strategy::Krr => (krr(group, &evidence), None),
        Strategy::Vpa => vpa(group, &evidence, window).unzip(),
    };
    let rate = |(pod, _): &(&Pod, &Container)| rates.of(pod);
    let rate = last.map_or_else(Rates::default, rate);
    let monthly = proposed.map_or(0.0, |proposed| {
        let cpu = (current.cpu - proposed.cpu) * rate.cpu;
        let ram = (current.ram - proposed.ram) / GIB * rate.ram;
        (cpu + ram) * MONTH_HOURS * pods as f64
    });
    let seen = (evidence.days / strategy.days()).min(1.0);
    Recommendation {
        cluster,
        namespace,
        controller,
        container,
        pods,
        current,
        proposed,
        bounds,
        evidence,
        monthly,
        confidence: if proposed.is_some() { seen } else { 0.0 },
    }
}

impl Group<'_> {
    fn evidence(&self, window: Span) -> Evidence {
        let mut found = Evidence::default();
        let mut whole = Span::default();
        let mut all = Vec::new();
        for (_, container) in &self.members {
            let mut own = rates_of(container, window);
            found.points += own.len();
            all.extend_from_slice(&own);
            own.sort_by(f64::total_cmp);
            found.cpu_p95 = found.cpu_p95.max(quantile(&own, 0.95));
            found.cpu_max = found.cpu_max.max(container.cpu_usage.max(window));
            found.ram_max = found.ram_max.max(container.ram_usage.max(window));
            found.killed |= container.killed_for_memory;
            for segment in container.cpu_usage.segments() {
                whole = whole.union(segment.span.intersect(window));
            }
        }
        all.sort_by(f64::total_cmp);
        found.cpu_median = quantile(&all, 0.5);
        found.days = whole.hours() / 24.0;
        found
    }

    /// What it may use at most, or requests.
    fn memory_bound(&self) -> f64 {
        let bounds = self.members.iter();
        let bounds = bounds.map(|(_, c)| c.ram_limit.unwrap_or_else(|| c.ram_request.max()));
        bounds.fold(0.0, f64::max)
    }
}

/// Rates of CPU in a window.
fn rates_of(container: &Container, window: Span) -> Vec<f64> {
    let segments = container.cpu_usage.segments().iter();
    let inside = segments.filter(|s| !s.span.intersect(window).is_empty());
    inside.map(|s| s.rate).collect()
}

/// A quantile of values in order, as PromQL's.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = q * last as f64;
    let low = (rank.floor() as usize).min(last);
    let weight = rank - rank.floor();
    sorted[low] * (1.0 - weight) + sorted[(low + 1).min(last)] * weight
}

/// Points that KRR wants to see.
const KRR_POINTS: usize = 100;

fn krr(group: &Group<'_>, evidence: &Evidence) -> Option<Size> {
    if evidence.points < KRR_POINTS {
        return None;
    }
    let mut ram = evidence.ram_max * 1.15;
    if evidence.killed {
        ram = ram.max(group.memory_bound() * 1.25);
    }
    // Whole millicores and MiB, and not less than KRR's least.
    Some(Size {
        cpu: ((evidence.cpu_p95 * 1000.0).ceil() / 1000.0).max(0.01),
        ram: ((ram / MIB).ceil() * MIB).max(100.0 * MIB),
    })
}

/// A histogram with buckets that grow by 5 %.
struct Histogram {
    first: f64,
    weights: BTreeMap<u32, f64>,
    total: f64,
}

impl Histogram {
    const GROWTH: f64 = 1.05;

    fn new(first: f64) -> Self {
        Self {
            first,
            weights: BTreeMap::new(),
            total: 0.0,
        }
    }

    /// Where a bucket begins.
    fn start(&self, bucket: u32) -> f64 {
        self.first * (Self::GROWTH.powf(f64::from(bucket)) - 1.0) / (Self::GROWTH - 1.0)
    }

    fn add(&mut self, value: f64, weight: f64) {
        let within = (value / self.first * (Self::GROWTH - 1.0) + 1.0).max(1.0);
        let bucket = (within.ln() / Self::GROWTH.ln()).floor().min(1000.0) as u32;
        *self.weights.entry(bucket).or_default() += weight;
        self.total += weight;
    }

    /// The end of the bucket with the percentile; 0 of nothing.
    fn percentile(&self, share: f64) -> f64 {
        let mut sum = 0.0;
        for (bucket, weight) in &self.weights {
            sum += weight;
            if sum >= share * self.total {
                return self.start(bucket + 1);
            }
        }
        self.weights
            .keys()
            .next_back()
            .map_or(0.0, |bucket| self.start(bucket + 1))
    }
}

/// What counts half: a day.
fn decay(at: i64, end: i64) -> f64 {
    (-((end - at) as f64 / DAY as f64)).exp2()
}

/// The target, and the bounds.
fn vpa(group: &Group<'_>, evidence: &Evidence, window: Span) -> Option<(Size, (Size, Size))> {
    if evidence.points == 0 {
        return None;
    }
    let mut cpu = Histogram::new(0.01);
    let mut ram = Histogram::new(1e7);
    let mut samples = 0usize;
    for (_, container) in &group.members {
        for segment in container.cpu_usage.segments() {
            let span = segment.span.intersect(window);
            if span.is_empty() {
                continue;
            }
            let request = container.cpu_request.at(span.start);
            cpu.add(
                segment.rate,
                request.max(0.1) * decay(span.start, window.end),
            );
            samples += 1;
        }
        let days = window.nanos().div_euclid(DAY) + 1;
        for day in 0..days.min(366) {
            let end = window.end - day * DAY;
            let span = Span::new(end - DAY, end).intersect(window);
            let mut peak = container.ram_usage.max(span);
            if day == 0 && container.killed_for_memory {
                let bound = peak.max(group.memory_bound());
                peak = (bound * 1.2).max(bound + 100.0 * MIB);
            }
            if peak > 0.0 {
                ram.add(peak, decay(end, window.end));
            }
        }
    }
    let containers = group
        .members
        .iter()
        .map(|(pod, _)| pod.containers.len())
        .max();
    let share = 1.0 / containers.unwrap_or(1).max(1) as f64;
    let size = |percentile: f64, factor: f64| Size {
        cpu: (cpu.percentile(percentile) * 1.15 * factor).max(0.025 * share),
        ram: (ram.percentile(percentile) * 1.15 * factor).max(250.0 * MIB * share),
    };
    // A sample a minute is what it counts with.
    let days = evidence.days.min(samples as f64 / 1440.0).max(1e-6);
    let lower = size(0.5, (1.0 + 0.001 / days).powi(-2));
    let upper = size(0.95, 1.0 + 1.0 / days);
    Some((size(0.9, 1.0), (lower, upper)))
}

impl Recommendation {
    /// What `kubectl patch --type strategic` would set; nothing for pods that nothing makes again.
    pub fn patch(&self) -> Option<String> {
        let proposed = self.proposed?;
        let known = ["deployment", "statefulset", "daemonset", "replicaset"];
        if !known.contains(&self.controller.kind.as_str()) {
            return None;
        }
        let cpu = format!("{}m", (proposed.cpu * 1000.0).ceil());
        let ram = format!("{}Mi", (proposed.ram / MIB).ceil());
        // Names of containers are labels of DNS, which need no escapes.
        let name: String = self
            .container
            .chars()
            .filter(|c| *c != '"' && *c != '\\')
            .collect();
        Some(format!(
            "{{\"spec\":{{\"template\":{{\"spec\":{{\"containers\":[{{\"name\":\"{name}\",\"resources\":{{\
             \"limits\":{{\"memory\":\"{ram}\"}},\"requests\":{{\"cpu\":\"{cpu}\",\"memory\":\"{ram}\"}}}}}}]}}}}}}}}"
        ))
    }
}

#[cfg(test)]
mod tests;
