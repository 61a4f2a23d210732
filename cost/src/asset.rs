//! What is paid for: nodes, disks, load balancers, the network and the cluster's management.

use crate::cluster::Names;
use crate::span::Span;

/// What an asset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AssetKind {
    /// A machine.
    Node,
    /// A volume.
    Disk,
    /// A load balancer.
    LoadBalancer,
    /// Bytes that left a node.
    Network,
    /// The control plane.
    ClusterManagement,
}

impl AssetKind {
    /// As OpenCost writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Disk => "Disk",
            Self::LoadBalancer => "LoadBalancer",
            Self::Network => "Network",
            Self::ClusterManagement => "ClusterManagement",
        }
    }

    /// Its category, as OpenCost writes it.
    pub fn category(self) -> &'static str {
        match self {
            Self::Node => "Compute",
            Self::Disk => "Storage",
            Self::LoadBalancer | Self::Network => "Network",
            Self::ClusterManagement => "Management",
        }
    }
}

/// For what a node's resource was used: shares that add up to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Breakdown {
    /// For nothing.
    pub idle: f64,
    /// For what has no name.
    pub other: f64,
    /// By the system.
    pub system: f64,
    /// By pods.
    pub user: f64,
}

/// Something that is paid for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asset {
    /// What it is.
    pub kind: AssetKind,
    /// The cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// The cloud's name of it.
    pub provider_id: String,
    /// Its labels.
    pub labels: Names,
    /// When it was there.
    pub life: Span,
    /// Cores × hours, memory in bytes × hours, GPUs × hours.
    pub amounts: [f64; 3],
    /// Dollars of CPU, memory and GPU.
    pub costs: [f64; 3],
    /// Dollars of what is no node.
    pub cost: f64,
    /// What the cloud sells a node as; the storage class of a disk.
    pub class: String,
    /// Whether a node is one that can be taken away.
    pub preemptible: bool,
    /// For what CPU and memory were used.
    pub breakdowns: [Breakdown; 2],
    /// Bytes × hours of a disk.
    pub byte_hours: f64,
    /// Bytes × hours that were in use, and the most bytes in use, where that is known.
    pub used: Option<(f64, f64)>,
    /// Namespace and name of a disk's claim.
    pub claim: Option<(String, String)>,
    /// The address of a load balancer, and whether it is one of private networks.
    pub address: (String, bool),
}

impl Asset {
    /// An asset that cost nothing.
    pub(crate) fn new(kind: AssetKind, cluster: &str, name: &str, life: Span) -> Self {
        Self {
            kind,
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            provider_id: String::new(),
            labels: Names::new(),
            life,
            amounts: [0.0; 3],
            costs: [0.0; 3],
            cost: 0.0,
            class: String::new(),
            preemptible: false,
            breakdowns: [Breakdown::default(); 2],
            byte_hours: 0.0,
            used: None,
            claim: None,
            address: (String::new(), false),
        }
    }

    /// All dollars.
    pub fn total(&self) -> f64 {
        self.costs.iter().sum::<f64>() + self.cost
    }

    /// Whose cloud it is, by the cloud's name of it.
    pub fn provider(&self) -> &'static str {
        match self.provider_id.split_once("://").map(|parts| parts.0) {
            Some("aws") => "AWS",
            Some("gce") => "GCP",
            Some("azure") => "Azure",
            Some("digitalocean") => "DigitalOcean",
            Some("ocid1" | "oci") => "Oracle",
            _ => "",
        }
    }
}
