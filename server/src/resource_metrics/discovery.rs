//! Documents that tell what is served: in the old form, and in the one of API servers since 1.30.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::Served;
use super::status::Status;

/// Groups and their versions, the preferred one first.
const GROUPS: [(&str, &[&str]); 3] = [
    ("metrics.k8s.io", &["v1beta1"]),
    ("custom.metrics.k8s.io", &["v1beta2", "v1beta1"]),
    ("external.metrics.k8s.io", &["v1beta1"]),
];

/// The form that lists everything at once.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub(super) fn routes() -> Router<Arc<Served>> {
    let mut routes = Router::new()
        .route("/apis", get(groups))
        .route("/api", get(core))
        .route("/version", get(version));
    for (group, versions) in GROUPS {
        routes = routes.route(
            &format!("/apis/{group}"),
            get(move || async move { Json(group_document(group, versions)) }),
        );
        for version in versions {
            let list = move |State(served): State<Arc<Served>>| async move {
                let resources = resources(&served, group, version).await?;
                Ok::<_, Status>(Json(json!({
                    "kind": "APIResourceList",
                    "apiVersion": "v1",
                    "groupVersion": format!("{group}/{version}"),
                    "resources": resources,
                })))
            };
            routes = routes.route(&format!("/apis/{group}/{version}"), get(list));
        }
    }
    routes
}

async fn version() -> Json<Value> {
    Json(json!({
        "major": "1",
        "minor": "34",
        "gitVersion": concat!("v1.34.0+obs-", env!("CARGO_PKG_VERSION")),
    }))
}

async fn core() -> Json<Value> {
    Json(json!({"kind": "APIVersions", "versions": [], "serverAddressByClientCIDRs": []}))
}

fn version_document(group: &str, version: &str) -> Value {
    json!({"groupVersion": format!("{group}/{version}"), "version": version})
}

fn group_document(group: &str, versions: &[&str]) -> Value {
    let all: Vec<_> = versions
        .iter()
        .map(|v| version_document(group, v))
        .collect();
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": group,
        "preferredVersion": all[0],
        "versions": all,
    })
}

async fn groups(State(served): State<Arc<Served>>, headers: HeaderMap) -> Result<Response, Status> {
    let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    let wants = |part: &str| {
        let part = part.replace(' ', "");
        part.contains("as=APIGroupDiscoveryList") && part.contains("v=v2;")
            || part.contains("as=APIGroupDiscoveryList") && part.ends_with("v=v2")
    };
    if !accept.unwrap_or_default().split(',').any(wants) {
        let groups: Vec<_> = GROUPS.iter().map(|(g, v)| group_document(g, v)).collect();
        let body = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups});
        return Ok(Json(body).into_response());
    }
    let mut items = Vec::new();
    for (group, versions) in GROUPS {
        let mut told = Vec::new();
        for version in versions {
            let resources = resources(&served, group, version).await?;
            let resources: Vec<_> = resources.iter().map(aggregated).collect();
            told.push(json!({"version": version, "resources": resources, "freshness": "Current"}));
        }
        items.push(
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": told}),
        );
    }
    let body = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    Ok(([(header::CONTENT_TYPE, AGGREGATED)], body.to_string()).into_response())
}

/// A resource in the form of aggregated discovery.
fn aggregated(resource: &Value) -> Value {
    let scope = match resource["namespaced"].as_bool() {
        Some(true) => "Namespaced",
        _ => "Cluster",
    };
    json!({
        "resource": resource["name"],
        "responseKind": {"group": "", "version": "", "kind": resource["kind"]},
        "scope": scope,
        "singularResource": resource["singularName"],
        "verbs": resource["verbs"],
    })
}

fn resource(name: &str, singular: &str, namespaced: bool, kind: &str, verbs: &[&str]) -> Value {
    json!({
        "name": name,
        "singularName": singular,
        "namespaced": namespaced,
        "kind": kind,
        "verbs": verbs,
    })
}

async fn resources(served: &Served, group: &str, _: &str) -> Result<Vec<Value>, Status> {
    // Before there are stores nothing can be told of them; the groups are there nevertheless.
    let is_open = served.app.stores().is_ok();
    Ok(match group {
        "metrics.k8s.io" => vec![
            resource("nodes", "", false, "NodeMetrics", &["get", "list"]),
            resource("pods", "", true, "PodMetrics", &["get", "list"]),
        ],
        "custom.metrics.k8s.io" if is_open => {
            let names: BTreeSet<_> = served.custom.of(served).await?.names();
            let list = names.into_iter();
            list.map(|(name, namespaced)| {
                resource(&name, "", namespaced, "MetricValueList", &["get"])
            })
            .collect()
        }
        "external.metrics.k8s.io" if is_open => {
            let names: BTreeSet<_> = served.external.of(served).await?.names();
            let list = names.into_iter();
            list.map(|name| resource(&name, "", true, "ExternalMetricValueList", &["get"]))
                .collect()
        }
        _ => Vec::new(),
    })
}
