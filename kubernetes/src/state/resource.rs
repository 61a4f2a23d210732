//! The resources that have metrics, and where the API server serves them.
//!
//! Invariant: names are the plural names of the API; the list is sorted by them.

use super::family::{Family, Field};
use super::{access, admission, batch, cluster, network, node, pod, policy, storage, workload};

/// A resource and its families.
#[derive(Debug)]
pub(super) struct Resource {
    /// Plural name, as `--resources` has it.
    pub(super) name: &'static str,
    /// API group; empty for the first API.
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespaced: bool,
    /// Watched unless `--resources` says otherwise.
    pub(super) default: bool,
    /// Labels of every line.
    pub(super) shared: &'static [Field],
    pub(super) families: &'static [Family],
}

/// All resources.
pub(super) static RESOURCES: [&Resource; 39] = [
    &cluster::CERTIFICATE_SIGNING_REQUESTS,
    &access::CLUSTER_ROLE_BINDINGS,
    &access::CLUSTER_ROLES,
    &cluster::CONFIG_MAPS,
    &batch::CRON_JOBS,
    &workload::DAEMON_SETS,
    &workload::DEPLOYMENTS,
    &network::ENDPOINTS,
    &network::ENDPOINT_SLICES,
    &policy::HORIZONTAL_POD_AUTOSCALERS,
    &network::INGRESS_CLASSES,
    &network::INGRESSES,
    &batch::JOBS,
    &cluster::LEASES,
    &policy::LIMIT_RANGES,
    &admission::MUTATING_POLICIES,
    &admission::MUTATING_POLICY_BINDINGS,
    &admission::MUTATING_WEBHOOKS,
    &cluster::NAMESPACES,
    &network::NETWORK_POLICIES,
    &node::NODES,
    &storage::CLAIMS,
    &storage::VOLUMES,
    &policy::POD_DISRUPTION_BUDGETS,
    &pod::PODS,
    &workload::REPLICA_SETS,
    &workload::REPLICATION_CONTROLLERS,
    &policy::RESOURCE_QUOTAS,
    &access::ROLE_BINDINGS,
    &access::ROLES,
    &cluster::SECRETS,
    &access::SERVICE_ACCOUNTS,
    &network::SERVICES,
    &workload::STATEFUL_SETS,
    &storage::CLASSES,
    &admission::VALIDATING_POLICIES,
    &admission::VALIDATING_POLICY_BINDINGS,
    &admission::VALIDATING_WEBHOOKS,
    &storage::ATTACHMENTS,
];

/// A resource that is watched by default, in a namespace.
pub(super) const fn namespaced(
    name: &'static str,
    api: (&'static str, &'static str, &'static str),
    shared: &'static [Field],
    families: &'static [Family],
) -> Resource {
    let (group, version, kind) = api;
    Resource {
        name,
        group,
        version,
        kind,
        namespaced: true,
        default: true,
        shared,
        families,
    }
}

/// A resource that is watched by default, of the whole cluster.
pub(super) const fn clustered(
    name: &'static str,
    api: (&'static str, &'static str, &'static str),
    shared: &'static [Field],
    families: &'static [Family],
) -> Resource {
    Resource {
        namespaced: false,
        ..namespaced(name, api, shared, families)
    }
}

impl Resource {
    /// The same, watched only where `--resources` names it.
    pub(super) const fn by_wish(self) -> Self {
        Self {
            default: false,
            ..self
        }
    }

    /// The resource of a name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|r| r.name == name).copied()
    }

    /// As client-go's type is printed, which is what the telemetry of kube-state-metrics says.
    pub(super) fn go_type(&self) -> String {
        format!("*{}.{}", self.version, self.kind)
    }
}

pub(super) const NAMESPACE: Field = ("namespace", "metadata.namespace");
pub(super) const UID: Field = ("uid", "metadata.uid");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn resources_are_sorted_and_families_distinct() {
        assert!(RESOURCES.is_sorted_by_key(|r| r.name));
        let mut names = BTreeSet::new();
        for resource in RESOURCES {
            for family in resource.families {
                assert!(names.insert(family.name), "{}", family.name);
                assert!(family.name.starts_with("kube_"));
            }
        }
        assert_eq!(RESOURCES.iter().filter(|r| r.default).count(), 32);
    }
}
