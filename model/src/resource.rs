//! One table of who sends telemetry: how each signal names the same thing.
//!
//! OTLP's resource attributes, the labels of log streams and the labels of metrics say the same in
//! other words. Invariant: this is the only place that knows which words belong together.

use crate::matcher::Matcher;
use crate::spans::{Attribute, AttributeValue, attribute};

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

/// Whether a resource meets conditions on labels, which it does not have: its attributes stand for
/// them. A label means the attribute of its name, with `_` for what labels cannot have, and what the
/// table says of it; `job` means the service, as where OTLP's metrics get labels. Of several
/// attributes all must meet the condition; where there is none, the empty value must. What is
/// neither text nor number nor truth meets no condition.
pub fn meets(matchers: &[Matcher], attributes: &[Attribute]) -> bool {
    matchers
        .iter()
        .all(|matcher| meets_one(matcher, attributes))
}

fn meets_one(matcher: &Matcher, attributes: &[Attribute]) -> bool {
    let naming = of_label(&matcher.name);
    let known = |key: &str| naming.is_some_and(|n| n.attribute == key || n.aliases.contains(&key));
    let mut there = false;
    for attribute in attributes {
        let key = attribute.key.as_str();
        if !(key == matcher.name || is_label_of(&matcher.name, key) || known(key)) {
            continue;
        }
        let met = match &attribute.value {
            AttributeValue::Empty => continue,
            AttributeValue::String(text) => matcher.matches(text),
            AttributeValue::Bool(truth) => matcher.matches(&truth.to_string()),
            AttributeValue::Int(number) => matcher.matches(&number.to_string()),
            AttributeValue::Double(number) => matcher.matches(&number.to_string()),
            AttributeValue::Bytes(_) | AttributeValue::Array(_) | AttributeValue::Map(_) => false,
        };
        if !met {
            return false;
        }
        there = true;
    }
    if there {
        return true;
    }
    match matcher.name.as_str() {
        "job" => matcher.matches(&job(attributes)),
        _ => matcher.matches(""),
    }
}

/// Whether a label is what becomes of an attribute's name.
fn is_label_of(label: &str, attribute: &str) -> bool {
    let legal = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '_',
    };
    attribute.chars().map(legal).eq(label.chars())
}

/// The service behind its namespace, as Prometheus names what sends OTLP.
fn job(attributes: &[Attribute]) -> String {
    let text = |key: &str| match attribute(attributes, key) {
        Some(AttributeValue::String(text)) => text.as_str(),
        _ => "",
    };
    match (text("service.namespace"), text(SERVICE)) {
        (_, "") => String::new(),
        ("", service) => service.to_owned(),
        (namespace, service) => format!("{namespace}/{service}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::MatchOp;

    #[test]
    fn attributes_stand_for_labels() {
        let check = |name: &str, op: MatchOp, value: &str, expect: bool| {
            let shop = [
                Attribute::string("k8s.namespace.name", "shop"),
                Attribute::string("service.name", "cart"),
                Attribute::string("service.namespace", "eu"),
                Attribute::string("my.own-key", "x"),
                Attribute {
                    key: "process.pid".to_owned(),
                    value: AttributeValue::Int(7),
                },
                Attribute {
                    key: "args".to_owned(),
                    value: AttributeValue::Array(Vec::new()),
                },
            ];
            let matcher = Matcher::new(name, op, value).unwrap();
            assert_eq!(meets(&[matcher], &shop), expect, "{name} {op:?} {value}");
        };
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        for name in ["namespace", "k8s_namespace_name", "k8s.namespace.name"] {
            check(name, Equal, "shop", true);
            check(name, NotEqual, "shop", false);
            check(name, Regex, "sh.*", true);
            check(name, Equal, "", false);
        }
        check("job", Equal, "eu/cart", true);
        check("job", Equal, "", false);
        check("service", Equal, "cart", true);
        check("my_own_key", Equal, "x", true);
        check("process_pid", Equal, "7", true);
        check("pod", Equal, "", true);
        check("pod", NotRegex, "a.+", true);
        check("pod", Equal, "a", false);
        check("args", NotEqual, "x", false);
    }

    #[test]
    fn all_names_of_one_thing_must_agree() {
        let both = [
            Attribute::string("namespace", "mine"),
            Attribute::string("k8s.namespace.name", "yours"),
        ];
        for value in ["mine", "yours"] {
            assert!(!meets(&[Matcher::equal("namespace", value)], &both));
        }
        assert!(meets(
            &[Matcher::equal("k8s_namespace_name", "yours")],
            &both[1..]
        ));
    }

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
