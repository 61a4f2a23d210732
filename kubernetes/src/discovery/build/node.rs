//! Role `node`: the kubelet of each node.

use super::Built;
use crate::discovery::names::{Set, join};
use crate::object::network::NodeObject;

/// Kinds of addresses, the best one first.
const ADDRESSES: [&str; 6] = [
    "InternalIP",
    "InternalDNS",
    "ExternalIP",
    "ExternalDNS",
    "LegacyHostIP",
    "Hostname",
];

/// `None` for a node without an address, which is one that is only being made.
pub(super) fn build(node: &NodeObject) -> Option<Built> {
    let mut labels = Set::default();
    labels.meta("node_provider_id", &node.spec.provider_id);
    for condition in &node.status.conditions {
        let (kind, status) = (&condition.kind, condition.status.to_lowercase());
        labels.named(&["node_condition_"], Some(&kind.to_lowercase()), &status);
    }
    labels.object("node", &node.metadata);

    let addresses = || node.status.addresses.iter();
    let of_kind = |kind: &&str| addresses().find(|a| &*a.kind == *kind);
    let Some(best) = ADDRESSES.iter().find_map(of_kind) else {
        tracing::warn!(node = %node.metadata.name, "node has no address");
        return None;
    };
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    let mut target = Set::default();
    target.plain("__address__", &join(&best.address, port));
    target.plain("instance", &node.metadata.name);
    // Of several addresses of one kind the first one counts.
    for address in addresses().rev() {
        target.named(&["node_address_"], Some(&address.kind), &address.address);
    }
    Some(Built {
        labels,
        targets: vec![target.labels.build()],
    })
}
