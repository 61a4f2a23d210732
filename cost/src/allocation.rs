//! What something cost: a container in a window, or many of them added up.
//!
//! Invariant: sums are kept as integrals (core-hours, byte-hours, dollars), so that adding in any
//! order gives the same; averages are made of them only when they are asked for.

use std::collections::BTreeMap;

use crate::cluster::Names;
use crate::span::Span;
use crate::{IDLE, UNALLOCATED, UNMOUNTED};

/// Who it is about. What differs between what was added up is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// The cluster.
    pub cluster: String,
    /// The node.
    pub node: String,
    /// The container.
    pub container: String,
    /// The name of what made the pod.
    pub controller: String,
    /// Its kind, in lower case.
    pub controller_kind: String,
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Services that lead to the pod.
    pub services: Vec<String>,
    /// The cloud's name of the node.
    pub provider_id: String,
    /// Labels.
    pub labels: Names,
    /// Annotations.
    pub annotations: Names,
    /// Labels of the namespace.
    pub namespace_labels: Names,
    /// Annotations of the namespace.
    pub namespace_annotations: Names,
}

/// A resource: amounts are in unit-hours.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resource {
    /// What is charged: the larger of request and usage at each moment.
    pub hours: f64,
    /// Requested.
    pub requested: f64,
    /// Used.
    pub used: f64,
    /// Dollars.
    pub cost: f64,
}

impl Resource {
    fn add(&mut self, other: &Self) {
        self.hours += other.hours;
        self.requested += other.requested;
        self.used += other.used;
        self.cost += other.cost;
    }

    /// Used of requested. Where nothing is requested, what is used and paid for is used well.
    pub fn efficiency(&self) -> f64 {
        if self.requested > 0.0 {
            self.used / self.requested
        } else if self.used == 0.0 || self.cost == 0.0 {
            0.0
        } else {
            1.0
        }
    }
}

/// A volume: cluster and name.
pub type VolumeKey = (String, String);

/// A part of a volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumeShare {
    /// Bytes × hours.
    pub byte_hours: f64,
    /// Dollars.
    pub cost: f64,
    /// The cloud's name of it.
    pub provider_id: String,
}

/// A part of a load balancer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BalancerShare {
    /// `namespace/service`
    pub service: String,
    /// Dollars.
    pub cost: f64,
    /// Whether its address is one of private networks.
    pub private: bool,
    /// Its address.
    pub ip: String,
    /// How long it led there.
    pub hours: f64,
}

/// The part of a node's (or a cluster's) cost that something has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proportion {
    /// The cluster.
    pub cluster: String,
    /// The node; empty where it is about the cluster.
    pub name: String,
    /// The cloud's name of it.
    pub provider_id: String,
    /// Dollars of CPU, memory and GPU that were allocated.
    pub costs: [f64; 3],
    /// What they cost as a whole.
    pub totals: [f64; 3],
}

/// Of what shared costs are made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SharedBreakdown {
    /// CPU, GPU, memory, volumes, network and load balancers, in dollars.
    pub parts: [f64; 6],
    /// All together, with what has no such part.
    pub total: f64,
}

/// What something cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    /// The key by which it was added up.
    pub name: String,
    /// Who it is about.
    pub properties: Properties,
    /// What was asked about.
    pub window: Span,
    /// When it was there.
    pub life: Span,
    /// Cores.
    pub cpu: Resource,
    /// Bytes of memory.
    pub ram: Resource,
    /// GPUs.
    pub gpu: Resource,
    /// Highest cores and bytes used; only of a single container.
    pub peak: Option<(f64, f64)>,
    /// Bytes sent and received.
    pub sent: f64,
    /// Bytes received.
    pub received: f64,
    /// Dollars for bytes to other zones, other regions, and out of the cloud.
    pub network: [f64; 3],
    /// Volumes.
    pub volumes: BTreeMap<VolumeKey, VolumeShare>,
    /// Load balancers.
    pub balancers: BTreeMap<String, BalancerShare>,
    /// Dollars of what was shared.
    pub shared: f64,
    /// Of what that is made, by name.
    pub shared_breakdown: BTreeMap<String, SharedBreakdown>,
    /// Parts of nodes; only where they were asked for.
    pub proportions: BTreeMap<String, Proportion>,
}

impl Allocation {
    /// Hours from begin to end.
    pub fn hours(&self) -> f64 {
        self.life.hours()
    }

    /// A mean over its life of what is summed over time.
    pub fn mean(&self, sum: f64) -> f64 {
        let hours = self.hours();
        if hours > 0.0 { sum / hours } else { 0.0 }
    }

    /// Dollars for the network.
    pub fn network_cost(&self) -> f64 {
        self.network.iter().sum()
    }

    /// Dollars for volumes.
    pub fn volume_cost(&self) -> f64 {
        self.volumes.values().map(|share| share.cost).sum()
    }

    /// Bytes of volumes × hours.
    pub fn volume_byte_hours(&self) -> f64 {
        self.volumes.values().map(|share| share.byte_hours).sum()
    }

    /// Dollars for load balancers.
    pub fn balancer_cost(&self) -> f64 {
        self.balancers.values().map(|share| share.cost).sum()
    }

    /// All dollars.
    pub fn total(&self) -> f64 {
        self.cpu.cost
            + self.ram.cost
            + self.gpu.cost
            + self.network_cost()
            + self.volume_cost()
            + self.balancer_cost()
            + self.shared
    }

    /// The efficiencies of CPU and memory, weighted by what they cost.
    pub fn efficiency(&self) -> f64 {
        let paid = self.cpu.cost + self.ram.cost;
        if paid <= 0.0 {
            return 0.0;
        }
        (self.cpu.efficiency() * self.cpu.cost + self.ram.efficiency() * self.ram.cost) / paid
    }

    /// Whether it is what nothing used.
    pub fn is_idle(&self) -> bool {
        self.name.contains(IDLE)
    }

    /// Whether it has no such property.
    pub fn is_unallocated(&self) -> bool {
        self.name.contains(UNALLOCATED)
    }

    /// Whether it is volumes and load balancers without a pod.
    pub fn is_unmounted(&self) -> bool {
        self.properties.container == UNMOUNTED || self.name.contains(UNMOUNTED)
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self, keep_metadata: bool) {
        self.properties.meet(&other.properties, keep_metadata);
        self.window = self.window.union(other.window);
        self.life = self.life.union(other.life);
        self.cpu.add(&other.cpu);
        self.ram.add(&other.ram);
        self.gpu.add(&other.gpu);
        self.peak = None;
        self.sent += other.sent;
        self.received += other.received;
        for (own, more) in self.network.iter_mut().zip(other.network) {
            *own += more;
        }
        for (key, share) in &other.volumes {
            let own = self.volumes.entry(key.clone()).or_default();
            own.byte_hours += share.byte_hours;
            own.cost += share.cost;
            own.provider_id.clone_from(&share.provider_id);
        }
        for (key, share) in &other.balancers {
            let own = self.balancers.entry(key.clone()).or_default();
            let (cost, hours) = (own.cost + share.cost, own.hours + share.hours);
            *own = BalancerShare {
                cost,
                hours,
                ..share.clone()
            };
        }
        self.shared += other.shared;
        for (name, more) in &other.shared_breakdown {
            self.shared_breakdown
                .entry(name.clone())
                .or_default()
                .add(more);
        }
        for (key, more) in &other.proportions {
            let own = self.proportions.entry(key.clone());
            let own = own.or_insert_with(|| Proportion {
                costs: [0.0; 3],
                ..more.clone()
            });
            for (cost, more) in own.costs.iter_mut().zip(more.costs) {
                *cost += more;
            }
        }
    }
}

impl SharedBreakdown {
    /// Adds another one.
    pub(crate) fn add(&mut self, other: &Self) {
        for (own, more) in self.parts.iter_mut().zip(other.parts) {
            *own += more;
        }
        self.total += other.total;
    }
}

impl Properties {
    /// Keeps what both have.
    fn meet(&mut self, other: &Self, keep_metadata: bool) {
        let same_namespace = self.namespace == other.namespace;
        if !same_namespace {
            self.namespace_labels.clear();
            self.namespace_annotations.clear();
        } else if self.container == UNMOUNTED {
            self.namespace_labels.clone_from(&other.namespace_labels);
            self.namespace_annotations
                .clone_from(&other.namespace_annotations);
        }
        if !(keep_metadata && same_namespace) {
            self.labels.clear();
            self.annotations.clear();
        } else if self.container == UNMOUNTED {
            self.labels.clone_from(&other.labels);
            self.annotations.clone_from(&other.annotations);
        } else if other.container != UNMOUNTED {
            let same = |theirs: &Names, name: &str, value: &str| {
                theirs.get(name).is_some_and(|other| other == value)
            };
            self.labels.retain(|n, v| same(&other.labels, n, v));
            self.annotations
                .retain(|n, v| same(&other.annotations, n, v));
        }
        self.services.clear();
        for (own, theirs) in [
            (&mut self.cluster, &other.cluster),
            (&mut self.node, &other.node),
            (&mut self.container, &other.container),
            (&mut self.controller, &other.controller),
            (&mut self.controller_kind, &other.controller_kind),
            (&mut self.namespace, &other.namespace),
            (&mut self.pod, &other.pod),
            (&mut self.provider_id, &other.provider_id),
        ] {
            if own != theirs {
                own.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_efficiency_of_a_sample() {
        let resource = |cost: f64, efficiency: f64| Resource {
            hours: 1.0,
            requested: 1.0,
            used: efficiency,
            cost,
        };
        let allocation = Allocation {
            cpu: resource(1.43086, 0.02086),
            ram: resource(0.09657, 0.93334),
            ..Allocation::default()
        };
        let found = allocation.efficiency();
        assert!((found - 0.07855).abs() < 5e-6, "{found}");
        assert!((allocation.total() - 1.52743).abs() < 1e-9);
    }

    #[test]
    fn efficiency_without_requests() {
        let check = |requested: f64, used: f64, cost: f64, expect: f64| {
            let resource = Resource {
                hours: 1.0,
                requested,
                used,
                cost,
            };
            assert_eq!(resource.efficiency(), expect);
        };
        check(2.0, 1.0, 1.0, 0.5);
        check(0.0, 1.0, 1.0, 1.0);
        check(0.0, 0.0, 1.0, 0.0);
        check(0.0, 1.0, 0.0, 0.0);
    }

    #[test]
    fn adding_keeps_what_both_have() {
        let one = |pod: &str, label: &str| {
            let mut one = Allocation::default();
            one.properties.namespace = "a".to_owned();
            one.properties.pod = pod.to_owned();
            let labels = [
                ("x".to_owned(), label.to_owned()),
                ("y".to_owned(), "1".to_owned()),
            ];
            one.properties.labels = labels.into();
            one.cpu.cost = 1.0;
            one
        };
        let mut sum = one("p", "1");
        sum.add(&one("q", "2"), true);
        assert_eq!((sum.cpu.cost, sum.properties.pod.as_str()), (2.0, ""));
        assert_eq!(sum.properties.namespace, "a");
        assert_eq!(sum.properties.labels.keys().collect::<Vec<_>>(), ["y"]);
        sum.add(&one("q", "2"), false);
        assert!(sum.properties.labels.is_empty());
    }
}
