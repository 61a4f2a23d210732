//! Containers of pods, those that run and those that initialise, and amounts of resources.

use serde_json::Value;

use super::family::{Family, Rule, alpha, stable};
use super::labels::sanitized;
use super::object::{at, entries, flag, is_set, items, number, seconds_or_zero, text};
use super::quantity::Quantity;
use super::rows::Rows;

/// Which containers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Main,
    Init,
}

impl Which {
    fn specs(self) -> &'static str {
        match self {
            Self::Main => "spec.containers",
            Self::Init => "spec.initContainers",
        }
    }

    fn statuses(self) -> &'static str {
        match self {
            Self::Main => "status.containerStatuses",
            Self::Init => "status.initContainerStatuses",
        }
    }
}

use Which::{Init, Main};

/// Families of both kinds of containers.
pub(super) const FAMILIES: [Family; 28] = [
    stable(
        "kube_pod_container_info",
        "A container of a pod and its image.",
        Rule::Of(|object, rows| info(object, Main, rows)),
    ),
    stable(
        "kube_pod_container_resource_limits",
        "What a container may use of a resource.",
        Rule::Of(|object, rows| resources(object, Main, "limits", rows)),
    ),
    stable(
        "kube_pod_container_resource_requests",
        "What a container asks for of a resource.",
        Rule::Of(|object, rows| resources(object, Main, "requests", rows)),
    ),
    stable(
        "kube_pod_container_state_started",
        "When a container started, in seconds since 1970.",
        Rule::Of(|object, rows| started(object, Main, rows)),
    ),
    alpha(
        "kube_pod_container_status_last_terminated_reason",
        "Why a container ended the last time.",
        Rule::Of(|object, rows| why(object, Main, "lastState.terminated", rows)),
    ),
    alpha(
        "kube_pod_container_status_last_terminated_exitcode",
        "With which code a container ended the last time.",
        Rule::Of(|object, rows| exit_code(object, Main, rows)),
    ),
    alpha(
        "kube_pod_container_status_last_terminated_timestamp",
        "When a container ended the last time, in seconds since 1970.",
        Rule::Of(|object, rows| last_end(object, Main, rows)),
    ),
    stable(
        "kube_pod_container_status_ready",
        "Whether a container is ready.",
        Rule::Of(|object, rows| ready(object, Main, rows)),
    ),
    stable(
        "kube_pod_container_status_restarts_total",
        "How often a container was started again.",
        Rule::Of(|object, rows| restarts(object, Main, rows)),
    )
    .counter(),
    stable(
        "kube_pod_container_status_running",
        "Whether a container runs.",
        Rule::Of(|object, rows| is(object, Main, "state.running", rows)),
    ),
    stable(
        "kube_pod_container_status_terminated",
        "Whether a container has ended.",
        Rule::Of(|object, rows| is(object, Main, "state.terminated", rows)),
    ),
    alpha(
        "kube_pod_container_status_terminated_reason",
        "Why a container has ended.",
        Rule::Of(|object, rows| why(object, Main, "state.terminated", rows)),
    ),
    stable(
        "kube_pod_container_status_waiting",
        "Whether a container waits.",
        Rule::Of(|object, rows| is(object, Main, "state.waiting", rows)),
    ),
    stable(
        "kube_pod_container_status_waiting_reason",
        "Why a container waits.",
        Rule::Of(|object, rows| why(object, Main, "state.waiting", rows)),
    ),
    stable(
        "kube_pod_init_container_info",
        "An init container of a pod and its image.",
        Rule::Of(|object, rows| info(object, Init, rows)),
    ),
    alpha(
        "kube_pod_init_container_resource_limits",
        "What an init container may use of a resource.",
        Rule::Of(|object, rows| resources(object, Init, "limits", rows)),
    ),
    alpha(
        "kube_pod_init_container_resource_requests",
        "What an init container asks for of a resource.",
        Rule::Of(|object, rows| resources(object, Init, "requests", rows)),
    ),
    alpha(
        "kube_pod_init_container_state_started",
        "When an init container started, in seconds since 1970.",
        Rule::Of(|object, rows| started(object, Init, rows)),
    ),
    alpha(
        "kube_pod_init_container_status_last_terminated_reason",
        "Why an init container ended the last time.",
        Rule::Of(|object, rows| why(object, Init, "lastState.terminated", rows)),
    ),
    alpha(
        "kube_pod_init_container_status_last_terminated_exitcode",
        "With which code an init container ended the last time.",
        Rule::Of(|object, rows| exit_code(object, Init, rows)),
    ),
    alpha(
        "kube_pod_init_container_status_last_terminated_timestamp",
        "When an init container ended the last time, in seconds since 1970.",
        Rule::Of(|object, rows| last_end(object, Init, rows)),
    ),
    stable(
        "kube_pod_init_container_status_ready",
        "Whether an init container is ready.",
        Rule::Of(|object, rows| ready(object, Init, rows)),
    ),
    stable(
        "kube_pod_init_container_status_restarts_total",
        "How often an init container was started again.",
        Rule::Of(|object, rows| restarts(object, Init, rows)),
    )
    .counter(),
    stable(
        "kube_pod_init_container_status_running",
        "Whether an init container runs.",
        Rule::Of(|object, rows| is(object, Init, "state.running", rows)),
    ),
    stable(
        "kube_pod_init_container_status_terminated",
        "Whether an init container has ended.",
        Rule::Of(|object, rows| is(object, Init, "state.terminated", rows)),
    ),
    alpha(
        "kube_pod_init_container_status_terminated_reason",
        "Why an init container has ended.",
        Rule::Of(|object, rows| why(object, Init, "state.terminated", rows)),
    ),
    stable(
        "kube_pod_init_container_status_waiting",
        "Whether an init container waits.",
        Rule::Of(|object, rows| is(object, Init, "state.waiting", rows)),
    ),
    alpha(
        "kube_pod_init_container_status_waiting_reason",
        "Why an init container waits.",
        Rule::Of(|object, rows| why(object, Init, "state.waiting", rows)),
    ),
];

fn info(object: &Value, which: Which, rows: &mut Rows) {
    for spec in items(object, which.specs()) {
        let name = text(spec, "name");
        for status in items(object, which.statuses()) {
            if text(status, "name") != name {
                continue;
            }
            let labels = [
                ("container", name),
                ("image_spec", text(spec, "image")),
                ("image", text(status, "image")),
                ("image_id", text(status, "imageID")),
                ("container_id", text(status, "containerID")),
                ("restart_policy", text(spec, "restartPolicy")),
            ];
            let count = if which == Init { 6 } else { 5 };
            rows.put(&labels[..count], 1.0);
        }
    }
}

fn resources(object: &Value, which: Which, what: &str, rows: &mut Rows) {
    let node = text(object, "spec.nodeName");
    for spec in items(object, which.specs()) {
        for (resource, amount) in entries(at(spec, "resources"), what) {
            let (Some(unit), Some(amount)) = (unit(resource), quantity(amount)) else {
                continue;
            };
            let value = if unit == CORE {
                amount.value()
            } else {
                amount.whole()
            };
            let labels = [
                ("container", text(spec, "name")),
                ("node", node),
                ("resource", &sanitized(resource)),
                ("unit", unit),
            ];
            rows.put(&labels, value);
        }
    }
}

fn each(object: &Value, which: Which, mut put: impl FnMut(&Value, &[(&str, &str)])) {
    for status in items(object, which.statuses()) {
        put(status, &[("container", text(status, "name"))]);
    }
}

fn started(object: &Value, which: Which, rows: &mut Rows) {
    each(object, which, |status, labels| {
        for state in ["state.running", "state.terminated"] {
            if is_set(status, state) {
                rows.put(labels, seconds_or_zero(at(status, state), "startedAt"));
                return;
            }
        }
    });
}

fn why(object: &Value, which: Which, state: &str, rows: &mut Rows) {
    each(object, which, |status, labels| {
        if is_set(status, state) {
            let reason = text(at(status, state), "reason");
            rows.put(&[labels[0], ("reason", reason)], 1.0);
        }
    });
}

fn exit_code(object: &Value, which: Which, rows: &mut Rows) {
    each(object, which, |status, labels| {
        let ended = at(status, "lastState.terminated");
        if ended.is_object() {
            rows.put(labels, number(ended, "exitCode").unwrap_or(0.0));
        }
    });
}

fn last_end(object: &Value, which: Which, rows: &mut Rows) {
    each(object, which, |status, labels| {
        let ended = at(status, "lastState.terminated");
        if ended.is_object() {
            rows.put(labels, seconds_or_zero(ended, "finishedAt"));
        }
    });
}

fn ready(object: &Value, which: Which, rows: &mut Rows) {
    each(object, which, |status, labels| {
        rows.put(labels, f64::from(flag(status, "ready")));
    });
}

fn restarts(object: &Value, which: Which, rows: &mut Rows) {
    each(object, which, |status, labels| {
        rows.put(labels, number(status, "restartCount").unwrap_or(0.0));
    });
}

fn is(object: &Value, which: Which, state: &str, rows: &mut Rows) {
    each(object, which, |status, labels| {
        rows.put(labels, f64::from(is_set(status, state)));
    });
}

pub(super) const CORE: &str = "core";
const BYTE: &str = "byte";
const INTEGER: &str = "integer";

/// An amount as JSON has it: mostly text, but a bare number is legal.
pub(super) fn quantity(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}

/// The unit of a resource; nothing for those without metrics.
pub(super) fn unit(resource: &str) -> Option<&'static str> {
    match resource {
        "cpu" => Some(CORE),
        "storage" | "ephemeral-storage" | "memory" => Some(BYTE),
        other if other.starts_with("hugepages-") => Some(BYTE),
        other if other.starts_with("attachable-volumes-") => Some(BYTE),
        other if is_extended(other) => Some(INTEGER),
        _ => None,
    }
}

/// A resource of a device: qualified by a domain that is not Kubernetes' own.
fn is_extended(resource: &str) -> bool {
    let Some((domain, name)) = resource.split_once('/') else {
        return false;
    };
    if resource.contains("kubernetes.io/") || resource.starts_with("requests.") {
        return false;
    }
    let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let name_fits = name.len() <= 63
        && alphanumeric(name.as_bytes().first())
        && alphanumeric(name.as_bytes().last())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let label_fits = |label: &str| {
        let small = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        label.as_bytes().first().is_some_and(small)
            && label.as_bytes().last().is_some_and(small)
            && label.bytes().all(|b| small(&b) || b == b'-')
    };
    // A quota has it behind `requests.`, and that must be a legal name, too.
    name_fits && "requests.".len() + domain.len() <= 253 && domain.split('.').all(label_fits)
}

/// Amounts of a node: all are told in full, with the number of pods among them.
pub(super) fn amounts(object: &Value, path: &str, rows: &mut Rows) {
    for (resource, amount) in entries(object, path) {
        let unit = if resource == "pods" {
            Some(INTEGER)
        } else {
            unit(resource)
        };
        if let (Some(unit), Some(amount)) = (unit, quantity(amount)) {
            let labels = [("resource", &*sanitized(resource)), ("unit", unit)];
            rows.put(&labels, amount.value());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (resource, expect) in [
            ("cpu", Some("core")),
            ("memory", Some("byte")),
            ("hugepages-2Mi", Some("byte")),
            ("attachable-volumes-aws-ebs", Some("byte")),
            ("nvidia.com/gpu", Some("integer")),
            ("example.com/a_b.C", Some("integer")),
            ("pods", None),
            ("kubernetes.io/batch-cpu", None),
            ("requests.nvidia.com/gpu", None),
            ("Upper.com/x", None),
            ("a/b/c", None),
            ("/x", None),
            ("x.com/", None),
        ] {
            assert_eq!(unit(resource), expect, "{resource}");
        }
    }
}
