//! Pods.

use serde_json::Value;

use super::container;
use super::family::{Family, Rule, alpha, annotations, created, deletion, labels, stable};
use super::object::{at, flag, integer_text, is_set, items, seconds_or_zero, text, text_if};
use super::quantity::Quantity;
use super::resource::{NAMESPACE, Resource, UID, namespaced};
use super::rows::Rows;

pub(super) const PODS: Resource = namespaced(
    "pods",
    ("", "v1", "Pod"),
    &[NAMESPACE, ("pod", "metadata.name"), UID],
    &FAMILIES,
);

/// Those of the containers, then those of the pod itself.
const FAMILIES: [Family; container::FAMILIES.len() + OWN.len()] = {
    let mut all = [OWN[0]; container::FAMILIES.len() + OWN.len()];
    let mut at = 0;
    while at < all.len() {
        let first = container::FAMILIES.len();
        all[at] = if at < first {
            container::FAMILIES[at]
        } else {
            OWN[at - first]
        };
        at += 1;
    }
    all
};

const OWN: [Family; 32] = [
    created("kube_pod_created"),
    deletion("kube_pod_deletion_timestamp"),
    stable(
        "kube_pod_completion_time",
        "When the last container of a pod ended, in seconds since 1970.",
        Rule::Of(completion_time),
    ),
    stable(
        "kube_pod_info",
        "A pod, where it runs and what made it.",
        Rule::Of(info),
    ),
    alpha("kube_pod_ips", "Addresses of a pod.", Rule::Of(ips)),
    annotations("kube_pod_annotations"),
    labels("kube_pod_labels"),
    alpha(
        "kube_pod_overhead_cpu_cores",
        "Cores that running a pod needs beside its containers.",
        Rule::Of(|object, rows| overhead(object, "cpu", Quantity::value, rows)),
    ),
    alpha(
        "kube_pod_overhead_memory_bytes",
        "Memory that running a pod needs beside its containers.",
        Rule::Of(|object, rows| overhead(object, "memory", Quantity::whole, rows)),
    ),
    stable("kube_pod_owner", "Owners of a pod.", Rule::Owners),
    alpha(
        "kube_pod_resourceclaim_info",
        "Resource claims of a pod: the name in the pod and the claim that it stands for.",
        Rule::Of(resource_claims),
    ),
    stable(
        "kube_pod_restart_policy",
        "When containers of a pod are started again.",
        Rule::Info(&[("type", "spec.restartPolicy")]),
    ),
    alpha(
        "kube_pod_runtimeclass_name_info",
        "The runtime class of a pod.",
        Rule::Of(|object, rows| {
            if let Some(class) = text_if(object, "spec.runtimeClassName") {
                rows.put(&[("runtimeclass_name", class)], 1.0);
            }
        }),
    ),
    stable(
        "kube_pod_spec_volumes_persistentvolumeclaims_info",
        "Volume claims of a pod.",
        Rule::Of(|object, rows| claims(object, false, rows)),
    ),
    stable(
        "kube_pod_spec_volumes_persistentvolumeclaims_readonly",
        "Whether a volume claim of a pod is mounted to be read only.",
        Rule::Of(|object, rows| claims(object, true, rows)),
    ),
    stable(
        "kube_pod_start_time",
        "When a pod was taken up by its node, in seconds since 1970.",
        Rule::Time("status.startTime"),
    ),
    stable(
        "kube_pod_status_phase",
        "The phase of a pod.",
        Rule::State(
            "status.phase",
            "phase",
            &["Pending", "Succeeded", "Failed", "Unknown", "Running"],
        ),
    ),
    alpha(
        "kube_pod_status_qos_class",
        "The quality of service of a pod.",
        Rule::State(
            "status.qosClass",
            "qos_class",
            &["BestEffort", "Burstable", "Guaranteed"],
        ),
    ),
    stable(
        "kube_pod_status_ready",
        "Whether a pod is ready.",
        Rule::Condition("Ready"),
    ),
    alpha(
        "kube_pod_status_ready_time",
        "Since when a pod is ready, in seconds since 1970.",
        Rule::Of(|object, rows| since(object, "Ready", "True", rows)),
    ),
    alpha(
        "kube_pod_status_initialized_time",
        "Since when a pod is initialised, in seconds since 1970.",
        Rule::Of(|object, rows| since(object, "Initialized", "True", rows)),
    ),
    alpha(
        "kube_pod_status_container_ready_time",
        "Since when the containers of a pod are ready, in seconds since 1970.",
        Rule::Of(|object, rows| since(object, "ContainersReady", "True", rows)),
    ),
    alpha(
        "kube_pod_status_reason",
        "Why a pod is as it is.",
        Rule::Of(reason),
    ),
    alpha(
        "kube_pod_status_disruption_reason",
        "Why a pod is about to be disrupted.",
        Rule::Of(disruption),
    ),
    stable(
        "kube_pod_status_scheduled",
        "Whether a pod has a node.",
        Rule::Condition("PodScheduled"),
    ),
    stable(
        "kube_pod_status_scheduled_time",
        "When a pod got its node, in seconds since 1970.",
        Rule::Of(|object, rows| since(object, "PodScheduled", "True", rows)),
    ),
    stable(
        "kube_pod_status_unschedulable",
        "A pod for which no node was found.",
        Rule::Of(|object, rows| {
            for _ in with_condition(object, "PodScheduled", "False") {
                rows.put(&[], 1.0);
            }
        }),
    ),
    alpha(
        "kube_pod_status_unscheduled_time",
        "Since when no node is found for a pod, in seconds since 1970.",
        Rule::Of(|object, rows| since(object, "PodScheduled", "False", rows)),
    ),
    alpha(
        "kube_pod_tolerations",
        "Taints that a pod tolerates.",
        Rule::Of(tolerations),
    ),
    alpha(
        "kube_pod_nodeselectors",
        "Labels that a pod's node must have.",
        Rule::AllOf("spec.nodeSelector", "nodeselector"),
    )
    .opted_in(),
    alpha(
        "kube_pod_service_account",
        "The service account of a pod.",
        Rule::Info(&[("service_account", "spec.serviceAccountName")]),
    ),
    alpha(
        "kube_pod_scheduler",
        "The scheduler of a pod.",
        Rule::Info(&[("name", "spec.schedulerName")]),
    ),
];

fn completion_time(object: &Value, rows: &mut Rows) {
    let ended = items(object, "status.containerStatuses").iter();
    let ended = ended.filter(|status| is_set(status, "state.terminated"));
    let last = ended
        .map(|status| seconds_or_zero(status, "state.terminated.finishedAt"))
        .fold(0.0, f64::max);
    if last > 0.0 {
        rows.put(&[], last);
    }
}

fn info(object: &Value, rows: &mut Rows) {
    let owners = items(object, "metadata.ownerReferences");
    let maker = owners.iter().find(|owner| flag(owner, "controller"));
    let maker = maker.unwrap_or(&Value::Null);
    let host_network = flag(object, "spec.hostNetwork");
    let labels = [
        ("host_ip", text(object, "status.hostIP")),
        ("pod_ip", text(object, "status.podIP")),
        ("node", text(object, "spec.nodeName")),
        ("created_by_kind", text(maker, "kind")),
        ("created_by_name", text(maker, "name")),
        ("priority_class", text(object, "spec.priorityClassName")),
        ("host_network", if host_network { "true" } else { "false" }),
    ];
    rows.put(&labels, 1.0);
}

fn ips(object: &Value, rows: &mut Rows) {
    for entry in items(object, "status.podIPs") {
        let ip = text(entry, "ip");
        let Ok(address) = ip.parse::<std::net::IpAddr>() else {
            continue;
        };
        let family = if address.to_canonical().is_ipv4() {
            "4"
        } else {
            "6"
        };
        rows.put(&[("ip", ip), ("ip_family", family)], 1.0);
    }
}

fn overhead(object: &Value, resource: &str, read: fn(Quantity) -> f64, rows: &mut Rows) {
    let quantity = at(object, "spec.overhead").get(resource);
    if let Some(quantity) = quantity.and_then(container::quantity) {
        rows.put(&[], read(quantity));
    }
}

fn resource_claims(object: &Value, rows: &mut Rows) {
    for claim in items(object, "spec.resourceClaims") {
        let own = text_if(claim, "resourceClaimName");
        let template = text_if(claim, "resourceClaimTemplateName");
        if own.is_none() && template.is_none() {
            continue;
        }
        let name = text(claim, "name");
        let made = items(object, "status.resourceClaimStatuses").iter();
        let mut made = made.filter(|status| text(status, "name") == name);
        let made = || {
            made.next_back()
                .map(|status| text(status, "resourceClaimName"))
        };
        let labels = [
            ("claim_name", name),
            ("resourceclaim_name", own.or_else(made).unwrap_or("")),
            ("resourceclaim_template_name", template.unwrap_or("")),
        ];
        rows.put(&labels, 1.0);
    }
}

/// Claims of volumes: each as a line of 1, or whether it is read only.
fn claims(object: &Value, read_only: bool, rows: &mut Rows) {
    for volume in items(object, "spec.volumes") {
        let name = text(volume, "name");
        let claim = at(volume, "persistentVolumeClaim");
        let mut put = |claim: &str, ephemeral, value| {
            let labels = [
                ("volume", name),
                ("persistentvolumeclaim", claim),
                ("ephemeral", ephemeral),
            ];
            rows.put(&labels, if read_only { value } else { 1.0 });
        };
        if claim.is_object() {
            put(
                text(claim, "claimName"),
                "false",
                f64::from(flag(claim, "readOnly")),
            );
        } else if is_set(volume, "ephemeral") {
            let pod = text(object, "metadata.name");
            put(&format!("{pod}-{name}"), "true", 0.0);
        }
    }
}

fn with_condition<'a>(
    object: &'a Value,
    kind: &'a str,
    status: &'a str,
) -> impl Iterator<Item = &'a Value> {
    let conditions = items(object, "status.conditions").iter();
    conditions.filter(move |c| text(c, "type") == kind && text(c, "status") == status)
}

fn since(object: &Value, kind: &str, status: &str, rows: &mut Rows) {
    for condition in with_condition(object, kind, status) {
        rows.put(&[], seconds_or_zero(condition, "lastTransitionTime"));
    }
}

const REASONS: [&str; 8] = [
    "Evicted",
    "NodeAffinity",
    "NodeLost",
    "PreemptionByScheduler",
    "SchedulingGated",
    "Shutdown",
    "TerminationByKubelet",
    "UnexpectedAdmissionError",
];

fn reason(object: &Value, rows: &mut Rows) {
    let own = text(object, "status.reason");
    for reason in REASONS {
        let conditions = items(object, "status.conditions").iter();
        let containers = items(object, "status.containerStatuses").iter();
        let has = own == reason
            || conditions.map(|c| text(c, "reason")).any(|r| r == reason)
            || containers
                .map(|c| text(c, "state.terminated.reason"))
                .any(|r| r == reason);
        if has {
            rows.put(&[("reason", reason)], 1.0);
        }
    }
    if !own.is_empty() && !REASONS.contains(&own) {
        rows.put(&[("reason", "Other")], 1.0);
    }
}

const DISRUPTIONS: [&str; 5] = [
    "PreemptionByScheduler",
    "DeletionByTaintManager",
    "EvictionByEvictionAPI",
    "DeletionByPodGC",
    "TerminationByKubelet",
];

fn disruption(object: &Value, rows: &mut Rows) {
    for condition in items(object, "status.conditions") {
        if text(condition, "type") == "DisruptionTarget" {
            let reason = text(condition, "reason");
            let known = DISRUPTIONS.contains(&reason);
            rows.put(&[("reason", if known { reason } else { "Other" })], 1.0);
        }
    }
}

fn tolerations(object: &Value, rows: &mut Rows) {
    let mut seen: Vec<[String; 5]> = Vec::new();
    for toleration in items(object, "spec.tolerations") {
        let part = |path| text(toleration, path).to_owned();
        let parts = [
            part("key"),
            part("operator"),
            part("value"),
            part("effect"),
            integer_text(toleration, "tolerationSeconds").unwrap_or_default(),
        ];
        if seen.contains(&parts) {
            continue;
        }
        let names = ["key", "operator", "value", "effect", "toleration_seconds"];
        let mut labels = [("", ""); 5];
        for (at, (name, part)) in names.into_iter().zip(&parts).enumerate() {
            labels[at] = (name, part.as_str());
        }
        rows.put(&labels, 1.0);
        seen.push(parts);
    }
}
