//! What costs are made of: nodes, pods, containers, volumes and load balancers with their lives.

use std::collections::BTreeMap;

use crate::span::{Span, Steps};
use crate::usage::Usage;

/// Names and values, as labels and annotations are.
pub type Names = BTreeMap<String, String>;

/// Everything that was there.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Machines.
    pub nodes: Vec<Node>,
    /// Pods with their containers.
    pub pods: Vec<Pod>,
    /// Persistent volumes.
    pub volumes: Vec<Volume>,
    /// Services of the type LoadBalancer.
    pub balancers: Vec<Balancer>,
    /// Disruption budgets: how many pods may go at one time, by cluster and namespace.
    pub budgets: Vec<Budget>,
}

/// A disruption budget.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many pods may be disrupted now.
    pub allowed: f64,
    /// How many pods it is about.
    pub expected: f64,
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// The cloud's name of it.
    pub provider_id: String,
    /// Its labels; names as in metrics (`node_kubernetes_io_instance_type`).
    pub labels: Names,
    /// When it was there.
    pub life: Span,
    /// Cores.
    pub cpu: Steps,
    /// Bytes of memory.
    pub ram: Steps,
    /// GPUs.
    pub gpu: Steps,
    /// Cores and bytes that pods may request.
    pub allocatable: (f64, f64),
    /// Whether pods are not put there by default: it has taints, or is cordoned.
    pub reserved: bool,
}

impl Node {
    /// The value of the first of some labels that is there.
    pub fn label(&self, names: &[&str]) -> &str {
        let mut found = names.iter().filter_map(|name| self.labels.get(*name));
        found.next().map_or("", String::as_str)
    }

    /// What the cloud sells it as.
    pub fn instance_type(&self) -> &str {
        self.label(&[
            "node_kubernetes_io_instance_type",
            "beta_kubernetes_io_instance_type",
        ])
    }

    /// Where it is.
    pub fn region(&self) -> &str {
        self.label(&[
            "topology_kubernetes_io_region",
            "failure_domain_beta_kubernetes_io_region",
        ])
    }
}

/// What made a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Controller {
    /// In lower case: `deployment`, `statefulset`, `daemonset`, `job`, …
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Where bytes went.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// To another zone of the region.
    pub zone: Usage,
    /// To another region.
    pub region: Usage,
    /// Out of the cloud.
    pub internet: Usage,
}

/// A pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from others of its name.
    pub uid: String,
    /// The node that it ran on.
    pub node: String,
    /// When it was on its node.
    pub life: Span,
    /// What made it, if anything did.
    pub controller: Controller,
    /// Services that lead to it.
    pub services: Vec<String>,
    /// Its labels and those of its namespace.
    pub labels: Names,
    /// Its annotations.
    pub annotations: Names,
    /// Labels of its namespace.
    pub namespace_labels: Names,
    /// Annotations of its namespace.
    pub namespace_annotations: Names,
    /// Names of the claims that it mounts.
    pub claims: Vec<String>,
    /// Labels that its node must have.
    pub node_selector: Names,
    /// What it runs.
    pub containers: Vec<Container>,
    /// Bytes sent.
    pub sent: Usage,
    /// Bytes received.
    pub received: Usage,
    /// Bytes that are paid for.
    pub flow: Flow,
}

/// A container.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// When it ran: once for each start.
    pub lives: Vec<Span>,
    /// Cores that it requests.
    pub cpu_request: Steps,
    /// Bytes that it requests.
    pub ram_request: Steps,
    /// GPUs that it requests.
    pub gpu_request: Steps,
    /// Cores that it may use at most, if it has a limit.
    pub cpu_limit: Option<f64>,
    /// Bytes that it may use at most, if it has a limit.
    pub ram_limit: Option<f64>,
    /// Cores used.
    pub cpu_usage: Usage,
    /// Bytes used.
    pub ram_usage: Usage,
    /// GPUs used.
    pub gpu_usage: Usage,
    /// Whether it was killed for want of memory.
    pub killed_for_memory: bool,
}

/// A persistent volume.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// The cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Its storage class.
    pub class: String,
    /// The cloud's name of it.
    pub provider_id: String,
    /// Namespace and name of the claim that it is bound to.
    pub claim: Option<(String, String)>,
    /// When it was there.
    pub life: Span,
    /// Its size.
    pub bytes: f64,
    /// Bytes in use, where the kubelet says so.
    pub used: Usage,
}

/// A service of the type LoadBalancer.
#[derive(Clone, Debug, Default)]
pub struct Balancer {
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The name of the service.
    pub service: String,
    /// Its address, where it has one.
    pub address: String,
    /// When it was there.
    pub life: Span,
}

impl Balancer {
    /// Whether its address is one of private networks.
    pub fn is_private(&self) -> bool {
        let address = self.address.parse::<std::net::IpAddr>();
        match address {
            Ok(std::net::IpAddr::V4(address)) => address.is_private(),
            Ok(std::net::IpAddr::V6(address)) => address.is_unique_local(),
            Err(_) => false,
        }
    }
}
