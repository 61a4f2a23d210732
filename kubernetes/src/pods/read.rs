//! From a pod of the API to what is kept of it, and from that to attributes.

use serde::Deserialize;

use super::{Container, Pod, Workload};
pub(crate) use crate::object::pod::PodObject;
use crate::object::pod::{ContainerSpec, ContainerStatus};
use crate::object::{Meta, Pairs};

/// What `kubectl apply` remembers: as large as the object, and of no use here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    List { items: Vec<PodObject> },
    One(Box<PodObject>),
}

/// The pods of a list, or the one pod.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<PodObject>, serde_json::Error> {
    Ok(match serde_json::from_slice(bytes)? {
        Document::List { items } => items,
        Document::One(pod) => vec![*pod],
    })
}

/// What is kept of a pod.
pub(super) fn pod(object: PodObject) -> Pod {
    let PodObject {
        metadata,
        spec,
        status,
    } = object;
    let key = metadata.key();
    let owners = owners(&metadata);
    let annotations = metadata.annotations.iter();
    let annotations: Pairs = annotations
        .filter(|(name, _)| *name != LAST_APPLIED)
        .collect();
    let mut containers = Vec::new();
    let kinds = [
        (spec.init_containers, status.init_container_statuses),
        (spec.containers, status.container_statuses),
        (
            spec.ephemeral_containers,
            status.ephemeral_container_statuses,
        ),
    ];
    for (specs, statuses) in kinds {
        containers.extend(specs.into_iter().map(|spec| container(spec, &statuses)));
    }
    // The address of the node is not one by which a pod can be found.
    let ips = match spec.host_network {
        true => Box::default(),
        false if status.pod_ips.is_empty() && !status.pod_ip.is_empty() => [status.pod_ip].into(),
        false => status.pod_ips.into_iter().map(|ip| ip.ip).collect(),
    };
    Pod {
        key,
        uid: metadata.uid,
        node: spec.node_name,
        ips,
        created: metadata.creation_timestamp.unwrap_or_default(),
        started: status.start_time.unwrap_or_default(),
        labels: metadata.labels,
        annotations,
        owners,
        containers: containers.into(),
    }
}

fn container(spec: ContainerSpec, statuses: &[ContainerStatus]) -> Container {
    let status = statuses.iter().find(|status| status.name == spec.name);
    let id = status.map_or("", |status| &status.container_id);
    Container {
        id: id.rsplit_once("://").map_or(id, |(_, id)| id).into(),
        restarts: status.map_or(0, |status| status.restart_count),
        name: spec.name,
        image: spec.image,
    }
}

fn owners(meta: &Meta) -> Box<[Workload]> {
    let Some(owner) = meta.controller() else {
        return Box::default();
    };
    let nearest = Workload {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    };
    let farther = match &*owner.kind {
        "ReplicaSet" => {
            // The controller of deployments names replica sets after their template's hash.
            let hash = meta.labels.get("pod-template-hash");
            let name = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
            name.map(|name| ("Deployment", name))
        }
        "Job" => {
            // The controller of cron jobs names jobs after the minute for which they were due.
            let split = owner.name.rsplit_once('-');
            let timed =
                |digits: &str| digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit());
            split
                .filter(|(_, minute)| timed(minute))
                .map(|(name, _)| ("CronJob", name))
        }
        _ => None,
    };
    let farther = farther
        .filter(|(_, name)| !name.is_empty())
        .map(|(kind, name)| Workload {
            kind: kind.into(),
            name: name.into(),
            uid: Box::default(),
        });
    std::iter::once(nearest).chain(farther).collect()
}

/// The attributes of the name and the identity of a kind of owner.
fn owner_attributes(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "Deployment" => ("k8s.deployment.name", "k8s.deployment.uid"),
        "ReplicaSet" => ("k8s.replicaset.name", "k8s.replicaset.uid"),
        "StatefulSet" => ("k8s.statefulset.name", "k8s.statefulset.uid"),
        "DaemonSet" => ("k8s.daemonset.name", "k8s.daemonset.uid"),
        "Job" => ("k8s.job.name", "k8s.job.uid"),
        "CronJob" => ("k8s.cronjob.name", "k8s.cronjob.uid"),
        "ReplicationController" => (
            "k8s.replicationcontroller.name",
            "k8s.replicationcontroller.uid",
        ),
        _ => return None,
    })
}

/// Name and tag of an image, the registry being part of the name.
fn split_image(image: &str) -> (&str, Option<&str>) {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    }
}

pub(super) fn attributes(pod: &Pod, container: Option<&Container>) -> Vec<(&'static str, String)> {
    let mut all = Vec::with_capacity(16);
    let mut push = |name: &'static str, value: &str| {
        if !value.is_empty() {
            all.push((name, value.to_owned()));
        }
    };
    push("k8s.namespace.name", &pod.key.namespace);
    push("k8s.pod.name", &pod.key.name);
    push("k8s.pod.uid", &pod.uid);
    push("k8s.pod.ip", pod.ips.first().map_or("", |ip| ip));
    push("k8s.pod.start_time", &pod.started);
    push("k8s.node.name", &pod.node);
    for owner in &pod.owners {
        if let Some((name, uid)) = owner_attributes(&owner.kind) {
            push(name, &owner.name);
            push(uid, &owner.uid);
        }
    }
    if let Some(container) = container {
        push("k8s.container.name", &container.name);
        push(
            "k8s.container.restart_count",
            &container.restarts.to_string(),
        );
        push("container.id", &container.id);
        let (name, tag) = split_image(&container.image);
        push("container.image.name", name);
        push("container.image.tag", tag.unwrap_or(""));
    }
    all
}
