//! Allocations added up by properties, with idle and shared costs put where they belong.
//!
//! The order is OpenCost's: parts of nodes, shared things apart, coefficients of everything, filter,
//! idle, keys, shared costs. Invariant: without a filter, the sum of the answer is the sum of what
//! went in and the overhead, however idle and shared costs are shared.

use std::collections::BTreeMap;

use crate::allocation::{Allocation, Properties, Proportion, SharedBreakdown};
use crate::asset::AssetKind;
use crate::csv::sanitized;
use crate::error::CostError;
use crate::filter::Filter;
use crate::ledger::Ledger;
use crate::span::Span;
use crate::{IDLE, MONTH_HOURS, UNALLOCATED, UNMOUNTED};

/// The name of costs that were to be shared and found nobody.
const SHARED: &str = "__shared__";

/// Something by which costs are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// The cluster.
    Cluster,
    /// The node.
    Node,
    /// The namespace.
    Namespace,
    /// The kind of what made the pod.
    ControllerKind,
    /// Kind and name of what made the pod.
    Controller,
    /// The name of what made the pod, where it is of this kind.
    OfKind(&'static str),
    /// The pod.
    Pod,
    /// The container.
    Container,
    /// The first service that leads to the pod.
    Service,
    /// A label.
    Label(String),
    /// An annotation.
    Annotation(String),
    /// A label, or else an annotation.
    Alias(&'static str),
}

/// Reads the parameter `aggregate`: `None` is each container, an empty list is all together.
pub fn properties(text: &str) -> Result<Option<Vec<Property>>, CostError> {
    match text.trim() {
        "" => return Ok(None),
        "all" => return Ok(Some(Vec::new())),
        _ => {}
    }
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let found: Result<Vec<Property>, CostError> = parts.map(property).collect();
    found.map(Some)
}

fn property(text: &str) -> Result<Property, CostError> {
    if let Some(name) = text.strip_prefix("label:") {
        return Ok(Property::Label(sanitized(name.trim())));
    }
    if let Some(name) = text.strip_prefix("annotation:") {
        return Ok(Property::Annotation(sanitized(name.trim())));
    }
    Ok(match text.to_ascii_lowercase().as_str() {
        "cluster" => Property::Cluster,
        "node" => Property::Node,
        "namespace" => Property::Namespace,
        "controllerkind" => Property::ControllerKind,
        "controller" => Property::Controller,
        "deployment" => Property::OfKind("deployment"),
        "statefulset" => Property::OfKind("statefulset"),
        "daemonset" => Property::OfKind("daemonset"),
        "job" => Property::OfKind("job"),
        "pod" => Property::Pod,
        "container" => Property::Container,
        "service" => Property::Service,
        "department" => Property::Alias("department"),
        "environment" => Property::Alias("env"),
        "owner" => Property::Alias("owner"),
        "product" => Property::Alias("app"),
        "team" => Property::Alias("team"),
        _ => return Err(CostError::Property(text.to_owned())),
    })
}

impl Property {
    /// The part of a key.
    fn of(&self, p: &Properties) -> String {
        let named = |text: &str| match text {
            "" => UNALLOCATED.to_owned(),
            text => text.to_owned(),
        };
        let get = |names: &crate::cluster::Names, name: &str| {
            names
                .get(name)
                .map_or_else(|| UNALLOCATED.to_owned(), String::clone)
        };
        match self {
            Self::Cluster => p.cluster.clone(),
            Self::Node => p.node.clone(),
            Self::Namespace => p.namespace.clone(),
            Self::Pod => p.pod.clone(),
            Self::Container => p.container.clone(),
            Self::ControllerKind => named(&p.controller_kind),
            Self::Controller if !p.controller.is_empty() && !p.controller_kind.is_empty() => {
                format!("{}:{}", p.controller_kind, p.controller)
            }
            Self::Controller => named(&p.controller),
            Self::OfKind(kind) if p.controller_kind == *kind => named(&p.controller),
            Self::OfKind(_) => UNALLOCATED.to_owned(),
            Self::Service if p.pod == UNMOUNTED && !p.services.is_empty() => UNMOUNTED.to_owned(),
            Self::Service => named(p.services.first().map_or("", String::as_str)),
            Self::Label(name) => get(&p.labels, name),
            Self::Annotation(name) => get(&p.annotations, name),
            Self::Alias(name) => match p.labels.get(*name) {
                Some(value) => value.clone(),
                None => get(&p.annotations, name),
            },
        }
    }
}

/// How shared costs are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShareSplit {
    /// By what each costs itself.
    #[default]
    Weighted,
    /// The same for each.
    Even,
}

/// How allocations are added up.
#[derive(Clone, Debug, Default)]
pub struct Aggregate {
    /// By what; without it each container stands alone.
    pub by: Option<Vec<Property>>,
    /// Which.
    pub filter: Option<Filter>,
    /// Which are shared by the others.
    pub share: Option<Filter>,
    /// Dollars per month that all share.
    pub overhead: f64,
    /// How these two are shared.
    pub split: ShareSplit,
    /// Whether idle costs are there at all.
    pub idle: bool,
    /// Whether they are shared by those on the same node or cluster, by what each costs.
    pub share_idle: bool,
    /// Whether idle costs are those of single nodes, not of clusters.
    pub idle_by_node: bool,
    /// Whether idle costs stand apart for each node or cluster.
    pub split_idle: bool,
    /// Whether parts of nodes are told.
    pub proportions: bool,
    /// Whether labels and annotations that all have are kept.
    pub keep_metadata: bool,
}

/// Idle costs belong to a cluster or a node of it.
type IdleKey = (String, String);
/// Dollars of CPU, memory and GPU.
type Costs = [f64; 3];

impl Aggregate {
    fn idle_key(&self, p: &Properties) -> IdleKey {
        let node = if self.idle_by_node {
            p.node.clone()
        } else {
            String::new()
        };
        (p.cluster.clone(), node)
    }

    fn key(&self, allocation: &Allocation) -> String {
        match &self.by {
            None => allocation.name.clone(),
            Some(by) => {
                let parts: Vec<String> = by.iter().map(|p| p.of(&allocation.properties)).collect();
                parts.join("/")
            }
        }
    }

    /// Adds up the accounts of a window.
    pub fn run(&self, ledger: &Ledger) -> BTreeMap<String, Allocation> {
        let mut all = ledger.allocations.clone();
        if self.proportions {
            self.set_proportions(&mut all, ledger);
        }
        let mut idle: BTreeMap<IdleKey, Allocation> = BTreeMap::new();
        for one in if self.idle { ledger.idle() } else { Vec::new() } {
            add_to(
                &mut idle,
                self.idle_key(&one.properties),
                one,
                self.keep_metadata,
            );
        }
        let totals = self.totals(&all);
        let coefficients = self.share_coefficients(&all);
        let is_shared = |one: &Allocation| self.share.as_ref().is_some_and(|f| f.matches(one));
        let (mut shared, mut kept): (Vec<_>, Vec<_>) = all.into_iter().partition(is_shared);
        if let Some(filter) = &self.filter {
            kept.retain(|one| filter.matches(one));
        }
        if self.share_idle {
            for one in kept.iter_mut().chain(&mut shared) {
                self.give_idle(one, &idle, &totals);
            }
            for (key, one) in &mut idle {
                keep_undistributed(one, totals.get(key));
            }
            idle.retain(|_, one| one.total() != 0.0);
        } else if self.filter.is_some() {
            self.narrow_idle(&mut idle, &kept, &shared, &totals);
        }
        let mut made: BTreeMap<String, Allocation> = BTreeMap::new();
        for mut one in kept {
            let key = self.key(&one);
            one.name.clone_from(&key);
            add_to(&mut made, key, one, self.keep_metadata);
        }
        self.give_shared(&mut made, &shared, &coefficients, ledger.window);
        for ((cluster, node), mut one) in idle {
            let name = match (self.split_idle, self.idle_by_node) {
                (false, _) => IDLE.to_owned(),
                (true, false) => format!("{cluster}/{IDLE}"),
                (true, true) => format!("{cluster}/{node}/{IDLE}"),
            };
            one.name.clone_from(&name);
            add_to(&mut made, name, one, self.keep_metadata);
        }
        made
    }

    /// What was allocated of each node or cluster.
    fn totals(&self, all: &[Allocation]) -> BTreeMap<IdleKey, Costs> {
        let mut totals: BTreeMap<IdleKey, Costs> = BTreeMap::new();
        for one in all {
            let sums = totals.entry(self.idle_key(&one.properties)).or_default();
            for (sum, cost) in sums.iter_mut().zip(costs(one)) {
                *sum += cost;
            }
        }
        totals
    }

    fn give_idle(
        &self,
        one: &mut Allocation,
        idle: &BTreeMap<IdleKey, Allocation>,
        totals: &BTreeMap<IdleKey, Costs>,
    ) {
        let key = self.idle_key(&one.properties);
        let (Some(rest), Some(totals)) = (idle.get(&key), totals.get(&key)) else {
            return;
        };
        let resources = [&mut one.cpu, &mut one.ram, &mut one.gpu];
        let rests = [&rest.cpu, &rest.ram, &rest.gpu];
        for ((own, rest), total) in resources.into_iter().zip(rests).zip(totals) {
            if *total > 0.0 {
                let part = own.cost / total;
                own.hours += rest.hours * part;
                own.cost += rest.cost * part;
            }
        }
    }

    /// Of idle costs only what would have been shared with those that the filter lets pass.
    fn narrow_idle(
        &self,
        idle: &mut BTreeMap<IdleKey, Allocation>,
        kept: &[Allocation],
        shared: &[Allocation],
        totals: &BTreeMap<IdleKey, Costs>,
    ) {
        let mut left: BTreeMap<IdleKey, Costs> = BTreeMap::new();
        for one in kept.iter().chain(shared) {
            let sums = left.entry(self.idle_key(&one.properties)).or_default();
            for (sum, cost) in sums.iter_mut().zip(costs(one)) {
                *sum += cost;
            }
        }
        for (key, one) in idle.iter_mut() {
            let left = left.get(key).copied().unwrap_or_default();
            let totals = totals.get(key).copied().unwrap_or_default();
            let resources = [&mut one.cpu, &mut one.ram, &mut one.gpu];
            for ((own, left), total) in resources.into_iter().zip(left).zip(totals) {
                let part = if total > 0.0 { left / total } else { 0.0 };
                own.hours *= part;
                own.cost *= part;
            }
        }
        idle.retain(|_, one| one.total() != 0.0);
    }

    /// Which part of shared costs each key has, those included that the filter takes away.
    fn share_coefficients(&self, all: &[Allocation]) -> BTreeMap<String, f64> {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        if self.share.is_none() && self.overhead <= 0.0 {
            return sums;
        }
        for one in all {
            let shared = self
                .share
                .as_ref()
                .is_some_and(|filter| filter.matches(one));
            if !shared && !one.is_unmounted() {
                *sums.entry(self.key(one)).or_default() += one.total();
            }
        }
        let (count, whole) = (sums.len() as f64, sums.values().sum::<f64>());
        for sum in sums.values_mut() {
            let even = self.split == ShareSplit::Even || whole <= 0.0;
            *sum = if even { 1.0 / count } else { *sum / whole };
        }
        sums
    }

    fn give_shared(
        &self,
        made: &mut BTreeMap<String, Allocation>,
        shared: &[Allocation],
        coefficients: &BTreeMap<String, f64>,
        window: Span,
    ) {
        let mut parts: BTreeMap<String, SharedBreakdown> = BTreeMap::new();
        for one in shared {
            let name = one.properties.namespace.clone();
            parts.entry(name).or_default().add(&SharedBreakdown {
                parts: [
                    one.cpu.cost,
                    one.gpu.cost,
                    one.ram.cost,
                    one.volume_cost(),
                    one.network_cost(),
                    one.balancer_cost(),
                ],
                total: one.total(),
            });
        }
        if self.overhead > 0.0 {
            let total = self.overhead / MONTH_HOURS * window.hours();
            let part = SharedBreakdown {
                total,
                ..SharedBreakdown::default()
            };
            parts
                .entry("overheadCost".to_owned())
                .or_default()
                .add(&part);
        }
        if parts.is_empty() {
            return;
        }
        if coefficients.is_empty() {
            let mut alone = Allocation {
                name: SHARED.to_owned(),
                window,
                life: window,
                ..Allocation::default()
            };
            give(&mut alone, &parts, 1.0);
            made.insert(SHARED.to_owned(), alone);
        }
        for (key, one) in made.iter_mut() {
            if let Some(part) = coefficients.get(key) {
                give(one, &parts, *part);
            }
        }
    }

    fn set_proportions(&self, all: &mut [Allocation], ledger: &Ledger) {
        let mut totals: BTreeMap<IdleKey, Costs> = BTreeMap::new();
        for node in ledger.assets.iter().filter(|a| a.kind == AssetKind::Node) {
            let name = if self.idle_by_node {
                node.name.clone()
            } else {
                String::new()
            };
            let sums = totals.entry((node.cluster.clone(), name)).or_default();
            for (sum, cost) in sums.iter_mut().zip(node.costs) {
                *sum += cost;
            }
        }
        for one in all.iter_mut().filter(|one| !one.is_unmounted()) {
            let (cluster, node) = self.idle_key(&one.properties);
            let totals = totals.get(&(cluster.clone(), node.clone()));
            let by_node = self.idle_by_node;
            let key = if by_node {
                format!("{cluster},{node}")
            } else {
                cluster.clone()
            };
            let provider = &one.properties.provider_id;
            let part = Proportion {
                cluster,
                name: node,
                provider_id: if by_node {
                    provider.clone()
                } else {
                    String::new()
                },
                costs: costs(one),
                totals: totals.copied().unwrap_or_default(),
            };
            one.proportions.insert(key, part);
        }
    }
}

fn costs(one: &Allocation) -> Costs {
    [one.cpu.cost, one.ram.cost, one.gpu.cost]
}

/// Leaves only what nobody was there to share: idle of a resource that nobody has.
fn keep_undistributed(one: &mut Allocation, totals: Option<&Costs>) {
    let totals = totals.copied().unwrap_or_default();
    for (own, total) in [&mut one.cpu, &mut one.ram, &mut one.gpu]
        .into_iter()
        .zip(totals)
    {
        if total > 0.0 {
            *own = crate::allocation::Resource::default();
        }
    }
}

fn give(one: &mut Allocation, parts: &BTreeMap<String, SharedBreakdown>, part: f64) {
    for (name, whole) in parts {
        let own = SharedBreakdown {
            parts: whole.parts.map(|cost| cost * part),
            total: whole.total * part,
        };
        one.shared += own.total;
        one.shared_breakdown
            .entry(name.clone())
            .or_default()
            .add(&own);
    }
}

fn add_to<K: Ord>(made: &mut BTreeMap<K, Allocation>, key: K, one: Allocation, metadata: bool) {
    match made.entry(key) {
        std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(one)),
        std::collections::btree_map::Entry::Occupied(mut taken) => {
            taken.get_mut().add(&one, metadata);
        }
    }
}

/// Which windows are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// All of them.
    All,
    /// Those of the same hour, day, week or month.
    Hour,
    /// Those of the same day.
    Day,
    /// Those of the same week, which begins on Sunday.
    Week,
    /// Those of the same month.
    Month,
}

/// Adds up windows that follow each other.
pub fn accumulate(
    sets: Vec<(Span, BTreeMap<String, Allocation>)>,
    by: Accumulate,
    keep_metadata: bool,
) -> Vec<(Span, BTreeMap<String, Allocation>)> {
    let group = |span: &Span| {
        let days = span.start.div_euclid(24 * crate::HOUR);
        match by {
            Accumulate::All => 0,
            Accumulate::Hour => span.start.div_euclid(crate::HOUR),
            Accumulate::Day => days,
            Accumulate::Week => (days + 4).div_euclid(7),
            Accumulate::Month => {
                let (year, month, _) = obs_model::time::civil_from_days(days);
                year * 12 + month
            }
        }
    };
    let mut made: Vec<(i64, Span, BTreeMap<String, Allocation>)> = Vec::new();
    for (span, set) in sets {
        let which = group(&span);
        match made.last_mut() {
            Some((last, whole, sums)) if *last == which => {
                *whole = whole.union(span);
                for (key, one) in set {
                    add_to(sums, key, one, keep_metadata);
                }
            }
            _ => made.push((which, span, set)),
        }
    }
    made.into_iter().map(|(_, span, set)| (span, set)).collect()
}

#[cfg(test)]
mod tests;
