//! One table of who sends telemetry: how each signal names the same thing.
//!
//! OTLP's resource attributes, the labels of log streams and the labels of metrics say the same in
//! other words. Invariant: this is the only place that knows which words belong together.

/// What is known by several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The resource attribute.
    pub attribute: &'static str,
    /// Older names of the attribute.
    pub aliases: &'static [&'static str],
    /// Labels of log streams: as OTLP logs have it first, then as agents that read files write it.
    pub logs: &'static [&'static str],
    /// The label that metrics of clusters have.
    pub metrics: &'static str,
}

const fn naming(
    attribute: &'static str,
    aliases: &'static [&'static str],
    logs: &'static [&'static str],
    metrics: &'static str,
) -> Naming {
    Naming {
        attribute,
        aliases,
        logs,
        metrics,
    }
}

/// The attribute that names a service.
pub const SERVICE: &str = "service.name";
/// The attribute that names a pod.
pub const POD: &str = "k8s.pod.name";
/// The attribute that names a namespace.
pub const NAMESPACE: &str = "k8s.namespace.name";
/// The attribute that names a container.
pub const CONTAINER: &str = "k8s.container.name";
/// The attribute that names a node.
pub const NODE: &str = "k8s.node.name";
/// The attribute that names a machine.
pub const HOST: &str = "host.name";

/// The table.
pub const NAMINGS: &[Naming] = &[
    naming(SERVICE, &[], &["service_name"], "service"),
    naming(
        "service.namespace",
        &[],
        &["service_namespace"],
        "service_namespace",
    ),
    naming(
        "service.instance.id",
        &[],
        &["service_instance_id"],
        "instance",
    ),
    naming(
        "deployment.environment.name",
        &["deployment.environment"],
        &["deployment_environment_name", "deployment_environment"],
        "environment",
    ),
    naming(
        "k8s.cluster.name",
        &[],
        &["k8s_cluster_name", "cluster"],
        "cluster",
    ),
    naming(
        NAMESPACE,
        &[],
        &["k8s_namespace_name", "namespace"],
        "namespace",
    ),
    naming(POD, &[], &["k8s_pod_name", "pod"], "pod"),
    naming(
        CONTAINER,
        &["container.name"],
        &["k8s_container_name", "container_name", "container"],
        "container",
    ),
    naming(NODE, &[], &["k8s_node_name", "node_name", "node"], "node"),
    naming(HOST, &[], &["host_name", "hostname", "host"], "nodename"),
    naming(
        "k8s.deployment.name",
        &[],
        &["k8s_deployment_name", "deployment"],
        "deployment",
    ),
    naming(
        "k8s.statefulset.name",
        &[],
        &["k8s_statefulset_name", "statefulset"],
        "statefulset",
    ),
    naming(
        "k8s.daemonset.name",
        &[],
        &["k8s_daemonset_name", "daemonset"],
        "daemonset",
    ),
    naming(
        "k8s.job.name",
        &[],
        &["k8s_job_name", "job_name"],
        "job_name",
    ),
    naming(
        "k8s.cronjob.name",
        &[],
        &["k8s_cronjob_name", "cronjob"],
        "cronjob",
    ),
];

/// What an attribute is known by.
pub fn of_attribute(name: &str) -> Option<&'static Naming> {
    NAMINGS
        .iter()
        .find(|n| n.attribute == name || n.aliases.contains(&name))
}

/// What a label of logs or metrics is known by.
pub fn of_label(name: &str) -> Option<&'static Naming> {
    NAMINGS
        .iter()
        .find(|n| n.metrics == name || n.logs.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_means_one_thing() {
        let attributes = |n: &Naming| [&[n.attribute], n.aliases].concat();
        let all: Vec<&str> = NAMINGS.iter().flat_map(attributes).collect();
        for (index, word) in all.iter().enumerate() {
            assert!(!all[..index].contains(word), "{word}");
        }
        for (index, naming) in NAMINGS.iter().enumerate() {
            for word in naming.logs.iter().chain([&naming.metrics]) {
                let others = NAMINGS.iter().enumerate().filter(|(at, _)| *at != index);
                for (_, other) in others {
                    assert!(
                        !other.logs.contains(word) && other.metrics != *word,
                        "{word}"
                    );
                }
            }
        }
        assert_eq!(
            of_attribute("deployment.environment"),
            of_label("environment")
        );
        assert_eq!(of_label("pod").map(|n| n.attribute), Some(POD));
        assert_eq!(of_label("le"), None);
    }
}
