//! Deployments, replica sets, replication controllers, stateful sets and daemon sets.

use serde_json::Value;

use super::family::{
    Rule, alpha, annotations, created, deletion, labels, owners, stable, statuses,
};
use super::object::{at, items, number, text};
use super::resource::{NAMESPACE, Resource, namespaced};
use super::rows::Rows;

const GENERATION: &str = "The generation of what is wanted.";
const OBSERVED: &str = "The generation that the controller has seen.";

pub(super) const DEPLOYMENTS: Resource = namespaced(
    "deployments",
    ("apps", "v1", "Deployment"),
    &[NAMESPACE, ("deployment", "metadata.name")],
    &[
        alpha(
            "kube_deployment_owner",
            "Owners of a deployment.",
            Rule::OfMetadata(|object, rows| owners(object, false, rows)),
        ),
        created("kube_deployment_created"),
        stable(
            "kube_deployment_status_replicas",
            "Replicas of a deployment.",
            Rule::Number("status.replicas"),
        ),
        stable(
            "kube_deployment_status_replicas_ready",
            "Ready replicas of a deployment.",
            Rule::Number("status.readyReplicas"),
        ),
        stable(
            "kube_deployment_status_replicas_available",
            "Available replicas of a deployment.",
            Rule::Number("status.availableReplicas"),
        ),
        stable(
            "kube_deployment_status_replicas_unavailable",
            "Replicas of a deployment that are not available.",
            Rule::Number("status.unavailableReplicas"),
        ),
        stable(
            "kube_deployment_status_replicas_updated",
            "Replicas of a deployment that have its newest template.",
            Rule::Number("status.updatedReplicas"),
        ),
        alpha(
            "kube_deployment_status_terminating_replicas",
            "Replicas of a deployment that are ending.",
            Rule::NumberIf("status.terminatingReplicas"),
        ),
        stable(
            "kube_deployment_status_observed_generation",
            OBSERVED,
            Rule::Number("status.observedGeneration"),
        ),
        stable(
            "kube_deployment_status_condition",
            "Conditions of a deployment with their reasons.",
            Rule::Of(deployment_conditions),
        ),
        stable(
            "kube_deployment_spec_replicas",
            "Replicas that a deployment wants.",
            Rule::NumberIf("spec.replicas"),
        ),
        stable(
            "kube_deployment_spec_paused",
            "Whether a deployment is paused.",
            Rule::Flag("spec.paused"),
        ),
        stable(
            "kube_deployment_spec_strategy_rollingupdate_max_unavailable",
            "Replicas that may be unavailable while a deployment is updated.",
            Rule::Of(|object, rows| scaled(object, "maxUnavailable", false, rows)),
        ),
        stable(
            "kube_deployment_spec_strategy_rollingupdate_max_surge",
            "Replicas that may be there above what is wanted while a deployment is updated.",
            Rule::Of(|object, rows| scaled(object, "maxSurge", true, rows)),
        ),
        stable(
            "kube_deployment_metadata_generation",
            GENERATION,
            Rule::Number("metadata.generation"),
        ),
        deletion("kube_deployment_deletion_timestamp"),
        annotations("kube_deployment_annotations"),
        labels("kube_deployment_labels"),
    ],
);

/// The reasons that the deployment controller gives; others count as unknown.
const REASONS: [&str; 11] = [
    "",
    "DeploymentPaused",
    "DeploymentResumed",
    "FoundNewReplicaSet",
    "MinimumReplicasAvailable",
    "MinimumReplicasUnavailable",
    "NewReplicaSetAvailable",
    "NewReplicaSetCreated",
    "ProgressDeadlineExceeded",
    "ReplicaSetCreateError",
    "ReplicaSetUpdated",
];

fn deployment_conditions(object: &Value, rows: &mut Rows) {
    for condition in items(object, "status.conditions") {
        let reason = text(condition, "reason");
        let known = REASONS.contains(&reason);
        let labels = [
            ("reason", if known { reason } else { "unknown" }),
            ("condition", text(condition, "type")),
        ];
        statuses(text(condition, "status"), &labels, "status", rows);
    }
}

/// A count, or a share of the replicas wanted in percent.
fn scaled(object: &Value, field: &str, up: bool, rows: &mut Rows) {
    let update = at(object, "spec.strategy.rollingUpdate");
    let Some(replicas) = number(object, "spec.replicas") else {
        return;
    };
    let value = match at(update, field) {
        Value::Number(count) => count.as_f64(),
        Value::String(share) => {
            let percent = share.strip_suffix('%').and_then(|p| p.parse::<i32>().ok());
            let exact = percent.map(|percent| f64::from(percent) * replicas / 100.0);
            exact.map(|exact| if up { exact.ceil() } else { exact.floor() })
        }
        _ => None,
    };
    if let Some(value) = value {
        rows.put(&[], value);
    }
}

pub(super) const REPLICA_SETS: Resource = namespaced(
    "replicasets",
    ("apps", "v1", "ReplicaSet"),
    &[NAMESPACE, ("replicaset", "metadata.name")],
    &[
        created("kube_replicaset_created"),
        stable(
            "kube_replicaset_status_replicas",
            "Replicas of a replica set.",
            Rule::Number("status.replicas"),
        ),
        stable(
            "kube_replicaset_status_fully_labeled_replicas",
            "Replicas of a replica set with all labels of its template.",
            Rule::Number("status.fullyLabeledReplicas"),
        ),
        stable(
            "kube_replicaset_status_ready_replicas",
            "Ready replicas of a replica set.",
            Rule::Number("status.readyReplicas"),
        ),
        alpha(
            "kube_replicaset_status_terminating_replicas",
            "Replicas of a replica set that are ending.",
            Rule::NumberIf("status.terminatingReplicas"),
        ),
        stable(
            "kube_replicaset_status_observed_generation",
            OBSERVED,
            Rule::Number("status.observedGeneration"),
        ),
        stable(
            "kube_replicaset_spec_replicas",
            "Replicas that a replica set wants.",
            Rule::NumberIf("spec.replicas"),
        ),
        stable(
            "kube_replicaset_metadata_generation",
            GENERATION,
            Rule::Number("metadata.generation"),
        ),
        stable(
            "kube_replicaset_owner",
            "Owners of a replica set.",
            Rule::Owners,
        ),
        annotations("kube_replicaset_annotations"),
        labels("kube_replicaset_labels"),
    ],
);

pub(super) const REPLICATION_CONTROLLERS: Resource = namespaced(
    "replicationcontrollers",
    ("", "v1", "ReplicationController"),
    &[NAMESPACE, ("replicationcontroller", "metadata.name")],
    &[
        created("kube_replicationcontroller_created"),
        stable(
            "kube_replicationcontroller_status_replicas",
            "Replicas of a replication controller.",
            Rule::Number("status.replicas"),
        ),
        stable(
            "kube_replicationcontroller_status_fully_labeled_replicas",
            "Replicas of a replication controller with all labels of its template.",
            Rule::Number("status.fullyLabeledReplicas"),
        ),
        stable(
            "kube_replicationcontroller_status_ready_replicas",
            "Ready replicas of a replication controller.",
            Rule::Number("status.readyReplicas"),
        ),
        stable(
            "kube_replicationcontroller_status_available_replicas",
            "Available replicas of a replication controller.",
            Rule::Number("status.availableReplicas"),
        ),
        stable(
            "kube_replicationcontroller_status_observed_generation",
            OBSERVED,
            Rule::Number("status.observedGeneration"),
        ),
        stable(
            "kube_replicationcontroller_spec_replicas",
            "Replicas that a replication controller wants.",
            Rule::NumberIf("spec.replicas"),
        ),
        stable(
            "kube_replicationcontroller_metadata_generation",
            GENERATION,
            Rule::Number("metadata.generation"),
        ),
        alpha(
            "kube_replicationcontroller_owner",
            "Owners of a replication controller.",
            Rule::Owners,
        ),
    ],
);

pub(super) const STATEFUL_SETS: Resource = namespaced(
    "statefulsets",
    ("apps", "v1", "StatefulSet"),
    &[NAMESPACE, ("statefulset", "metadata.name")],
    &[
        created("kube_statefulset_created"),
        stable(
            "kube_statefulset_status_replicas",
            "Replicas of a stateful set.",
            Rule::Number("status.replicas"),
        ),
        stable(
            "kube_statefulset_status_replicas_available",
            "Available replicas of a stateful set.",
            Rule::Number("status.availableReplicas"),
        ),
        stable(
            "kube_statefulset_status_replicas_current",
            "Replicas of a stateful set that have its current revision.",
            Rule::Number("status.currentReplicas"),
        ),
        stable(
            "kube_statefulset_status_replicas_ready",
            "Ready replicas of a stateful set.",
            Rule::Number("status.readyReplicas"),
        ),
        stable(
            "kube_statefulset_status_replicas_updated",
            "Replicas of a stateful set that have its newest revision.",
            Rule::Number("status.updatedReplicas"),
        ),
        stable(
            "kube_statefulset_status_observed_generation",
            OBSERVED,
            Rule::Number("status.observedGeneration"),
        ),
        stable(
            "kube_statefulset_replicas",
            "Replicas that a stateful set wants.",
            Rule::NumberIf("spec.replicas"),
        ),
        stable(
            "kube_statefulset_ordinals_start",
            "The first ordinal of a stateful set.",
            Rule::Of(|object, rows| {
                if at(object, "spec.ordinals").is_object() {
                    rows.put(&[], number(object, "spec.ordinals.start").unwrap_or(0.0));
                }
            }),
        ),
        stable(
            "kube_statefulset_metadata_generation",
            GENERATION,
            Rule::Number("metadata.generation"),
        ),
        stable(
            "kube_statefulset_persistentvolumeclaim_retention_policy",
            "What becomes of the volume claims of a stateful set.",
            Rule::Of(retention_policy),
        ),
        annotations("kube_statefulset_annotations").promised(),
        labels("kube_statefulset_labels"),
        stable(
            "kube_statefulset_status_current_revision",
            "The revision of the replicas that are not updated yet.",
            Rule::Info(&[("revision", "status.currentRevision")]),
        ),
        stable(
            "kube_statefulset_status_update_revision",
            "The revision of the replicas that are updated.",
            Rule::Info(&[("revision", "status.updateRevision")]),
        ),
        deletion("kube_statefulset_deletion_timestamp").promised(),
    ],
);

fn retention_policy(object: &Value, rows: &mut Rows) {
    let policy = at(object, "spec.persistentVolumeClaimRetentionPolicy");
    let (deleted, scaled) = (text(policy, "whenDeleted"), text(policy, "whenScaled"));
    if !deleted.is_empty() || !scaled.is_empty() {
        rows.put(&[("when_deleted", deleted), ("when_scaled", scaled)], 1.0);
    }
}

pub(super) const DAEMON_SETS: Resource = namespaced(
    "daemonsets",
    ("apps", "v1", "DaemonSet"),
    &[NAMESPACE, ("daemonset", "metadata.name")],
    &[
        created("kube_daemonset_created"),
        stable(
            "kube_daemonset_status_current_number_scheduled",
            "Nodes that run a pod of a daemon set and should.",
            Rule::Number("status.currentNumberScheduled"),
        ),
        stable(
            "kube_daemonset_status_desired_number_scheduled",
            "Nodes that should run a pod of a daemon set.",
            Rule::Number("status.desiredNumberScheduled"),
        ),
        stable(
            "kube_daemonset_status_number_available",
            "Nodes where a pod of a daemon set is available.",
            Rule::Number("status.numberAvailable"),
        ),
        stable(
            "kube_daemonset_status_number_misscheduled",
            "Nodes that run a pod of a daemon set and should not.",
            Rule::Number("status.numberMisscheduled"),
        ),
        stable(
            "kube_daemonset_status_number_ready",
            "Nodes where a pod of a daemon set is ready.",
            Rule::Number("status.numberReady"),
        ),
        stable(
            "kube_daemonset_status_number_unavailable",
            "Nodes where no pod of a daemon set is available and one should be.",
            Rule::Number("status.numberUnavailable"),
        ),
        stable(
            "kube_daemonset_status_observed_generation",
            OBSERVED,
            Rule::Number("status.observedGeneration"),
        ),
        stable(
            "kube_daemonset_status_updated_number_scheduled",
            "Nodes that run a pod of a daemon set's newest template.",
            Rule::Number("status.updatedNumberScheduled"),
        ),
        stable(
            "kube_daemonset_metadata_generation",
            GENERATION,
            Rule::Number("metadata.generation"),
        ),
        deletion("kube_daemonset_deletion_timestamp"),
        annotations("kube_daemonset_annotations"),
        labels("kube_daemonset_labels"),
    ],
);
