//! Documents that say what there is: versions, groups, resources; old and new.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::kinds::Kind;
use super::route::{Asked, refuse, reply};
use super::{Aggregated, Api};

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Groups with their versions and the resources of each.
type Groups = BTreeMap<String, BTreeMap<String, Vec<Kind>>>;

pub(super) fn answer(api: &Arc<Api>, asked: &Asked) -> Option<Response> {
    if asked.method != Method::GET {
        return None;
    }
    let path = asked.path.trim_end_matches('/');
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let aggregated = asked.accept().contains("as=APIGroupDiscoveryList")
        && api.settings.lock().aggregated_discovery;
    let document = match parts.as_slice() {
        ["version"] => {
            json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux/amd64"})
        }
        ["healthz" | "livez" | "readyz"] => return Some("ok".into_response()),
        ["api"] if aggregated => return Some(new_document(api, true)),
        ["apis"] if aggregated => return Some(new_document(api, false)),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}]}),
        ["apis"] => {
            let groups = groups(api, false);
            let groups: Vec<Value> = groups
                .iter()
                .map(|(name, versions)| group(name, versions))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", "v1"] => resources(&groups(api, true), "", "v1")?,
        ["apis", name] => match groups(api, false).get(*name) {
            Some(versions) => {
                let mut document = group(name, versions);
                document["kind"] = json!("APIGroup");
                document["apiVersion"] = json!("v1");
                document
            }
            None => {
                return Some(refuse(
                    404,
                    "NotFound",
                    "the server could not find the requested resource",
                ));
            }
        },
        ["apis", name, version] => resources(&groups(api, false), name, version)?,
        _ => return None,
    };
    Some(reply(StatusCode::OK, &document))
}

fn groups(api: &Api, of_core: bool) -> Groups {
    let mut groups = Groups::new();
    let store = api.store.lock();
    for kind in store
        .kinds()
        .iter()
        .filter(|kind| kind.group.is_empty() == of_core)
    {
        let versions = groups.entry(kind.group.clone()).or_default();
        versions
            .entry(kind.version.clone())
            .or_default()
            .push(kind.clone());
    }
    if !of_core {
        for Aggregated { group, version, .. } in &*api.aggregated.lock() {
            let versions = groups.entry(group.clone()).or_default();
            versions.entry(version.clone()).or_default();
        }
        let reviews = [
            ("authentication.k8s.io", "v1"),
            ("authorization.k8s.io", "v1"),
        ];
        for (group, version) in reviews {
            groups
                .entry(group.to_owned())
                .or_default()
                .entry(version.to_owned())
                .or_default();
        }
    }
    groups
}

fn group(name: &str, versions: &BTreeMap<String, Vec<Kind>>) -> Value {
    let version =
        |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let all: Vec<Value> = versions.keys().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

fn resources(groups: &Groups, group: &str, version: &str) -> Option<Value> {
    let kinds = groups.get(group)?.get(version)?;
    let mut resources = Vec::new();
    for kind in kinds {
        resources.push(json!({"name": kind.plural, "singularName": kind.kind.to_lowercase(),
            "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS, "shortNames": kind.short}));
        resources.push(
            json!({"name": format!("{}/status", kind.plural), "singularName": "",
            "namespaced": kind.namespaced, "kind": kind.kind, "verbs": ["get", "patch", "update"]}),
        );
        if kind.kind == "Pod" {
            resources.push(
                json!({"name": "pods/log", "singularName": "", "namespaced": true,
                "kind": "Pod", "verbs": ["get"]}),
            );
        }
    }
    if group == "authentication.k8s.io" {
        resources.push(
            json!({"name": "tokenreviews", "singularName": "tokenreview", "namespaced": false,
            "kind": "TokenReview", "verbs": ["create"]}),
        );
    }
    if group == "authorization.k8s.io" {
        for kind in ["SubjectAccessReview", "SelfSubjectAccessReview"] {
            resources.push(json!({"name": format!("{}s", kind.to_lowercase()), "singularName": kind.to_lowercase(),
                "namespaced": false, "kind": kind, "verbs": ["create"]}));
        }
    }
    let name = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}),
    )
}

/// All groups with all resources in one document.
fn new_document(api: &Api, of_core: bool) -> Response {
    let items: Vec<Value> = groups(api, of_core)
        .iter()
        .map(|(name, versions)| new_group(name, versions))
        .collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items});
    let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, kind)],
        list.to_string(),
    )
        .into_response()
}

fn new_group(name: &str, versions: &BTreeMap<String, Vec<Kind>>) -> Value {
    let resource = |kind: &Kind| {
        json!({"resource": kind.plural, "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": kind.kind.to_lowercase(), "verbs": VERBS, "shortNames": kind.short,
            "subresources": [{"subresource": "status", "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind}, "verbs": ["get", "patch", "update"]}]})
    };
    let version = |(version, kinds): (&String, &Vec<Kind>)| {
        let resources: Vec<Value> = kinds.iter().map(resource).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"metadata": {"name": name, "creationTimestamp": null}, "versions": versions})
}
