//! Names of pods and containers, which their cgroups do not have.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::cgroups::Cgroup;
use crate::Source;

/// What a cgroup's path says of a container or pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerKey<'a> {
    /// The pod's identifier, where it is one of Kubernetes.
    pub pod_uid: Option<&'a str>,
    /// The container's identifier; `None` for the pod itself.
    pub container_id: Option<&'a str>,
}

/// How a container is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerNames {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container in the pod.
    pub container: String,
    /// Image of the container.
    pub image: String,
}

/// Finds names; what knows the pods of this node gives one.
#[derive(Clone)]
pub struct Lookup(Arc<Find>);

type Find = dyn Fn(&ContainerKey<'_>) -> Option<ContainerNames> + Send + Sync;

impl Lookup {
    /// From a function.
    pub fn new(
        find: impl Fn(&ContainerKey<'_>) -> Option<ContainerNames> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(find))
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// Names that the kubelet wrote into paths below `/var/log`.
#[derive(Debug, Default)]
pub(super) struct LogNames {
    pods: BTreeMap<String, ContainerNames>,
    containers: BTreeMap<String, ContainerNames>,
}

impl LogNames {
    /// Reads `pods/<namespace>_<pod>_<uid>` and
    /// `containers/<pod>_<namespace>_<container>-<id>.log`.
    pub(super) fn read(source: &Source) -> Self {
        let entries = |folder: &str| source.entries(folder).unwrap_or_default();
        let mut all = Self::default();
        for entry in entries("root/var/log/pods") {
            let parts: Vec<&str> = entry.split('_').collect();
            if let [namespace, pod, uid] = parts[..] {
                let names = ContainerNames {
                    namespace: namespace.to_owned(),
                    pod: pod.to_owned(),
                    ..ContainerNames::default()
                };
                all.pods.insert(uid.to_owned(), names);
            }
        }
        for entry in entries("root/var/log/containers") {
            let parts: Vec<&str> = entry.trim_end_matches(".log").split('_').collect();
            let [pod, namespace, rest] = parts[..] else {
                continue;
            };
            if let Some((container, id)) = rest.rsplit_once('-') {
                let names = ContainerNames {
                    namespace: namespace.to_owned(),
                    pod: pod.to_owned(),
                    container: container.to_owned(),
                    image: String::new(),
                };
                all.containers.insert(id.to_owned(), names);
            }
        }
        all
    }
}

pub(super) fn of(cgroup: &Cgroup, lookup: Option<&Lookup>, logs: &LogNames) -> ContainerNames {
    let key = ContainerKey {
        pod_uid: cgroup.pod_uid.as_deref(),
        container_id: cgroup.container_id.as_deref(),
    };
    if key.pod_uid.is_none() && key.container_id.is_none() {
        return ContainerNames::default();
    }
    let found = lookup.and_then(|lookup| (lookup.0)(&key));
    let found = found.or_else(|| logs.containers.get(key.container_id?).cloned());
    let found = found.or_else(|| logs.pods.get(key.pod_uid?).cloned());
    found.unwrap_or_default()
}

/// The labels of cAdvisor; empty ones are as none.
pub(super) fn labels(cgroup: &Cgroup, names: &ContainerNames) -> Vec<(&'static str, String)> {
    vec![
        ("id", cgroup.path.clone()),
        ("name", cgroup.container_id.clone().unwrap_or_default()),
        ("namespace", names.namespace.clone()),
        ("pod", names.pod.clone()),
        ("container", names.container.clone()),
        ("image", names.image.clone()),
    ]
}
