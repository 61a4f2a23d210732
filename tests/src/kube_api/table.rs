//! Tables, which `kubectl get` prints.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::Kind;
use super::store::text;

/// Columns of a kind: name, and where the value is.
fn columns(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "Pod" => &[
            ("Ready", "@ready"),
            ("Status", "/status/phase"),
            ("Restarts", "@restarts"),
        ],
        "Node" => &[
            ("Status", "@conditions"),
            ("Version", "/status/nodeInfo/kubeletVersion"),
        ],
        "Namespace" | "PersistentVolumeClaim" => &[("Status", "/status/phase")],
        "Service" => &[("Type", "/spec/type"), ("Cluster-IP", "/spec/clusterIP")],
        "Deployment" | "StatefulSet" | "ReplicaSet" => &[
            ("Desired", "/spec/replicas"),
            ("Ready", "/status/readyReplicas"),
            ("Available", "/status/availableReplicas"),
        ],
        "Event" => &[
            ("Type", "/type"),
            ("Reason", "/reason"),
            ("Message", "/message"),
        ],
        _ => &[],
    }
}

fn cell(object: &Value, place: &str) -> Value {
    let statuses = || {
        object
            .pointer("/status/containerStatuses")
            .and_then(Value::as_array)
    };
    let count = |of: &dyn Fn(&Value) -> u64| statuses().map_or(0, |all| all.iter().map(of).sum());
    match place {
        "@ready" => {
            let all = object.pointer("/spec/containers").and_then(Value::as_array);
            let ready: u64 = count(&|status| u64::from(status["ready"] == true));
            json!(format!("{ready}/{}", all.map_or(0, Vec::len)))
        }
        "@restarts" => json!(count(&|status| status["restartCount"]
            .as_u64()
            .unwrap_or(0))),
        "@conditions" => {
            let conditions = object
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            let mut conditions = conditions.into_iter().flatten();
            let ready = conditions.any(|c| c["type"] == "Ready" && c["status"] == "True");
            json!(if ready { "Ready" } else { "NotReady" })
        }
        pointer => object.pointer(pointer).cloned().unwrap_or(json!("")),
    }
}

/// Age as `kubectl` has it, roughly.
fn age(object: &Value) -> String {
    let created: Option<jiff::Timestamp> = text(object, "/metadata/creationTimestamp").parse().ok();
    let Some(created) = created else {
        return "<unknown>".to_owned();
    };
    let seconds = jiff::Timestamp::now().as_second() - created.as_second();
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A table of objects.
pub(super) fn of(kind: &Kind, objects: &[Arc<Value>], version: &str, next: &str) -> Value {
    let own = columns(&kind.kind);
    let name = json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0});
    let column = |name: &str| json!({"name": name, "type": "string", "format": "", "description": "", "priority": 0});
    let mut definitions = vec![name];
    definitions.extend(own.iter().map(|(name, _)| column(name)));
    definitions.push(column("Age"));
    let row = |object: &Arc<Value>| {
        let mut cells = vec![object["metadata"]["name"].clone()];
        cells.extend(own.iter().map(|(_, place)| cell(object, place)));
        cells.push(json!(age(object)));
        json!({"cells": cells, "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object["metadata"]}})
    };
    let rows: Vec<Value> = objects.iter().map(row).collect();
    let mut metadata = json!({"resourceVersion": version});
    if !next.is_empty() {
        metadata["continue"] = json!(next);
    }
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows})
}
