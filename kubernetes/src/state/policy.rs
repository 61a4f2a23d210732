//! Autoscalers, limit ranges, quotas and disruption budgets.

use serde_json::Value;

use super::container::quantity;
use super::family::{Rule, alpha, annotations, created, deletion, labels, stable};
use super::object::{at, entries, items, number, text};
use super::resource::{NAMESPACE, Resource, namespaced};
use super::rows::Rows;

pub(super) const HORIZONTAL_POD_AUTOSCALERS: Resource = namespaced(
    "horizontalpodautoscalers",
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    &[NAMESPACE, ("horizontalpodautoscaler", "metadata.name")],
    &[
        alpha(
            "kube_horizontalpodautoscaler_info",
            "An autoscaler and what it scales.",
            Rule::Of(autoscaler_info),
        ),
        stable(
            "kube_horizontalpodautoscaler_metadata_generation",
            "The generation of what is wanted.",
            Rule::Number("metadata.generation"),
        ),
        stable(
            "kube_horizontalpodautoscaler_spec_max_replicas",
            "Most replicas that an autoscaler makes.",
            Rule::Number("spec.maxReplicas"),
        ),
        stable(
            "kube_horizontalpodautoscaler_spec_min_replicas",
            "Fewest replicas that an autoscaler makes.",
            Rule::Of(|object, rows| {
                rows.put(&[], number(object, "spec.minReplicas").unwrap_or(1.0));
            }),
        ),
        alpha(
            "kube_horizontalpodautoscaler_spec_target_metric",
            "What an autoscaler aims at.",
            Rule::Of(|object, rows| target_metrics(object, "spec.metrics", "target", rows)),
        ),
        alpha(
            "kube_horizontalpodautoscaler_spec_behavior_scale_down_tolerance",
            "How far below its aim a metric may be before replicas are taken away.",
            Rule::Of(|object, rows| tolerance(object, "spec.behavior.scaleDown.tolerance", rows)),
        ),
        alpha(
            "kube_horizontalpodautoscaler_spec_behavior_scale_up_tolerance",
            "How far above its aim a metric may be before replicas are added.",
            Rule::Of(|object, rows| tolerance(object, "spec.behavior.scaleUp.tolerance", rows)),
        ),
        stable(
            "kube_horizontalpodautoscaler_status_target_metric",
            "What an autoscaler sees of what it aims at.",
            Rule::Of(|object, rows| {
                target_metrics(object, "status.currentMetrics", "current", rows);
            }),
        ),
        stable(
            "kube_horizontalpodautoscaler_status_current_replicas",
            "Replicas that an autoscaler sees.",
            Rule::Number("status.currentReplicas"),
        ),
        stable(
            "kube_horizontalpodautoscaler_status_desired_replicas",
            "Replicas that an autoscaler wants.",
            Rule::Number("status.desiredReplicas"),
        ),
        annotations("kube_horizontalpodautoscaler_annotations"),
        labels("kube_horizontalpodautoscaler_labels"),
        stable(
            "kube_horizontalpodautoscaler_status_condition",
            "Conditions of an autoscaler.",
            Rule::Conditions,
        ),
        created("kube_horizontalpodautoscaler_created").unstable(),
        deletion("kube_horizontalpodautoscaler_deletion_timestamp"),
    ],
);

fn autoscaler_info(object: &Value, rows: &mut Rows) {
    let target = at(object, "spec.scaleTargetRef");
    let labels = [
        ("scaletargetref_api_version", text(target, "apiVersion")),
        ("scaletargetref_kind", text(target, "kind")),
        ("scaletargetref_name", text(target, "name")),
    ];
    // Without a version there is no label of it.
    let from = usize::from(labels[0].1.is_empty());
    rows.put(&labels[from..], 1.0);
}

/// Where each type of metric has its source, its name and its container.
const SOURCES: [(&str, &str, &str, &str); 5] = [
    ("Object", "object", "metric.name", ""),
    ("Pods", "pods", "metric.name", ""),
    ("Resource", "resource", "name", ""),
    (
        "ContainerResource",
        "containerResource",
        "name",
        "container",
    ),
    ("External", "external", "metric.name", ""),
];

fn target_metrics(object: &Value, path: &str, part: &str, rows: &mut Rows) {
    for metric in items(object, path) {
        let kind = text(metric, "type");
        let source = SOURCES.iter().find(|(known, ..)| *known == kind);
        let Some((_, field, name, container)) = source else {
            continue;
        };
        let source = at(metric, field);
        if !source.is_object() {
            continue;
        }
        let container = if container.is_empty() {
            ""
        } else {
            text(source, container)
        };
        let seen = at(source, part);
        let amount = |field| quantity(at(seen, field)).map(|quantity| quantity.value());
        let values = [
            ("value", amount("value")),
            ("utilization", number(seen, "averageUtilization")),
            ("average", amount("averageValue")),
        ];
        for (kind, value) in values {
            if let Some(value) = value {
                let labels = [
                    ("metric_name", text(source, name)),
                    ("metric_target_type", kind),
                    ("container", container),
                ];
                rows.put(&labels, value);
            }
        }
    }
}

fn tolerance(object: &Value, path: &str, rows: &mut Rows) {
    if let Some(tolerance) = quantity(at(object, path)) {
        rows.put(&[], tolerance.approximate());
    }
}

pub(super) const LIMIT_RANGES: Resource = namespaced(
    "limitranges",
    ("", "v1", "LimitRange"),
    &[NAMESPACE, ("limitrange", "metadata.name")],
    &[
        stable(
            "kube_limitrange",
            "Bounds and defaults of resources in a namespace.",
            Rule::Of(limits),
        ),
        created("kube_limitrange_created"),
    ],
);

const CONSTRAINTS: [&str; 5] = [
    "min",
    "max",
    "default",
    "defaultRequest",
    "maxLimitRequestRatio",
];

fn limits(object: &Value, rows: &mut Rows) {
    for limit in items(object, "spec.limits") {
        for constraint in CONSTRAINTS {
            for (resource, amount) in entries(limit, constraint) {
                let labels = [
                    ("resource", resource),
                    ("type", text(limit, "type")),
                    ("constraint", constraint),
                ];
                if let Some(amount) = quantity(amount) {
                    rows.put(&labels, amount.value());
                }
            }
        }
    }
}

pub(super) const RESOURCE_QUOTAS: Resource = namespaced(
    "resourcequotas",
    ("", "v1", "ResourceQuota"),
    &[NAMESPACE, ("resourcequota", "metadata.name")],
    &[
        created("kube_resourcequota_created"),
        stable(
            "kube_resourcequota",
            "What a namespace may have of resources, and what it has.",
            Rule::Of(|object, rows| {
                for kind in ["hard", "used"] {
                    for (resource, amount) in entries(at(object, "status"), kind) {
                        if let Some(amount) = quantity(amount) {
                            let labels = [("resource", resource), ("type", kind)];
                            rows.put(&labels, amount.value());
                        }
                    }
                }
            }),
        ),
        annotations("kube_resourcequota_annotations"),
        labels("kube_resourcequota_labels"),
    ],
);

pub(super) const POD_DISRUPTION_BUDGETS: Resource = namespaced(
    "poddisruptionbudgets",
    ("policy", "v1", "PodDisruptionBudget"),
    &[NAMESPACE, ("poddisruptionbudget", "metadata.name")],
    &[
        annotations("kube_poddisruptionbudget_annotations"),
        labels("kube_poddisruptionbudget_labels").unstable(),
        created("kube_poddisruptionbudget_created"),
        stable(
            "kube_poddisruptionbudget_status_current_healthy",
            "Healthy pods of a budget.",
            Rule::Number("status.currentHealthy"),
        ),
        stable(
            "kube_poddisruptionbudget_status_desired_healthy",
            "Healthy pods that a budget wants at least.",
            Rule::Number("status.desiredHealthy"),
        ),
        stable(
            "kube_poddisruptionbudget_status_pod_disruptions_allowed",
            "Pods that may be disrupted now.",
            Rule::Number("status.disruptionsAllowed"),
        ),
        stable(
            "kube_poddisruptionbudget_status_expected_pods",
            "Pods that a budget counts.",
            Rule::Number("status.expectedPods"),
        ),
        stable(
            "kube_poddisruptionbudget_status_observed_generation",
            "The generation that the controller has seen.",
            Rule::Number("status.observedGeneration"),
        ),
        deletion("kube_poddisruptionbudget_deletion_timestamp"),
    ],
);
