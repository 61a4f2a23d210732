//! Nodes.

use serde_json::Value;

use super::container::amounts;
use super::family::{Rule, alpha, annotations, created, deletion, labels, stable};
use super::object::{items, text, text_entries};
use super::resource::{Resource, clustered};
use super::rows::Rows;

pub(super) const NODES: Resource = clustered(
    "nodes",
    ("", "v1", "Node"),
    &[("node", "metadata.name")],
    &[
        annotations("kube_node_annotations"),
        created("kube_node_created"),
        deletion("kube_node_deletion_timestamp"),
        stable(
            "kube_node_info",
            "A node and what runs on it.",
            Rule::Of(info),
        ),
        labels("kube_node_labels"),
        alpha(
            "kube_node_role",
            "Roles of a node.",
            Rule::OfMetadata(roles),
        ),
        alpha(
            "kube_node_spec_pod_cidrs",
            "Ranges of addresses for a node's pods.",
            Rule::EachText("spec.podCIDRs", "pod_cidr"),
        ),
        stable(
            "kube_node_spec_taint",
            "Taints of a node.",
            Rule::Each(
                "spec.taints",
                &[("key", "key"), ("value", "value"), ("effect", "effect")],
            ),
        ),
        stable(
            "kube_node_spec_unschedulable",
            "Whether a node takes no new pods.",
            Rule::Flag("spec.unschedulable"),
        ),
        stable(
            "kube_node_status_allocatable",
            "What of a node pods can have.",
            Rule::Of(|object, rows| amounts(object, "status.allocatable", rows)),
        ),
        stable(
            "kube_node_status_capacity",
            "What a node has.",
            Rule::Of(|object, rows| amounts(object, "status.capacity", rows)),
        ),
        stable(
            "kube_node_status_condition",
            "Conditions of a node.",
            Rule::Conditions,
        ),
        alpha(
            "kube_node_status_addresses",
            "Addresses of a node.",
            Rule::Each(
                "status.addresses",
                &[("type", "type"), ("address", "address")],
            ),
        ),
    ],
);

fn info(object: &Value, rows: &mut Rows) {
    let addresses = items(object, "status.addresses").iter();
    let mut internal = addresses.filter(|address| text(address, "type") == "InternalIP");
    let internal = internal
        .next_back()
        .map_or("", |address| text(address, "address"));
    let labels = [
        (
            "kernel_version",
            text(object, "status.nodeInfo.kernelVersion"),
        ),
        ("os_image", text(object, "status.nodeInfo.osImage")),
        (
            "container_runtime_version",
            text(object, "status.nodeInfo.containerRuntimeVersion"),
        ),
        (
            "kubelet_version",
            text(object, "status.nodeInfo.kubeletVersion"),
        ),
        // The API no longer tells it; the label stays for those who match it.
        ("kubeproxy_version", "deprecated"),
        ("provider_id", text(object, "spec.providerID")),
        ("pod_cidr", text(object, "spec.podCIDR")),
        ("system_uuid", text(object, "status.nodeInfo.systemUUID")),
        ("internal_ip", internal),
    ];
    rows.put(&labels, 1.0);
}

fn roles(object: &Value, rows: &mut Rows) {
    for (label, _) in text_entries(object, "metadata.labels") {
        if let Some(role) = label.strip_prefix("node-role.kubernetes.io/") {
            rows.put(&[("role", role)], 1.0);
        }
    }
}
