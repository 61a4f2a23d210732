//! The tree of cgroups, and which of them are pods and containers.

use crate::Source;

/// Folders below each other; a pod's container lies at depth 4 or 5.
const DEPTH_MAX: usize = 10;
/// Hexadecimal digits of a container's identifier.
const ID_DIGITS: usize = 64;

/// How the kernel shows cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// One tree per controller.
    First,
    /// One tree.
    Second,
}

impl Hierarchy {
    pub(super) fn find(source: &Source) -> Option<Self> {
        if source.exists("cgroup/cgroup.controllers") {
            return Some(Self::Second);
        }
        source.is_folder("cgroup/memory").then_some(Self::First)
    }

    /// The folder of a cgroup; the first version needs the controller.
    fn folder(self, path: &str) -> String {
        let path = path.trim_end_matches('/');
        match self {
            Self::First => format!("cgroup/memory{path}"),
            Self::Second => format!("cgroup{path}"),
        }
    }
}

/// A cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// From the root: `/kubepods.slice/…`.
    pub(super) path: String,
    pub(super) pod_uid: Option<String>,
    pub(super) container_id: Option<String>,
    /// The first process of it or of what lies below.
    pub(super) first_process: Option<String>,
    /// Processes in it, without those in cgroups below.
    pub(super) processes: usize,
}

impl Cgroup {
    fn new(path: &str) -> Self {
        let last = path.rsplit('/').next().unwrap_or_default();
        Self {
            path: path.to_owned(),
            container_id: container_id(last),
            // The pod is always a cgroup of its own.
            pod_uid: path.split('/').rev().find_map(pod_uid),
            ..Self::default()
        }
    }

    /// The containers of a pod share its network; other containers have their own.
    pub(super) fn has_network(&self) -> bool {
        match (&self.pod_uid, &self.container_id) {
            (Some(_), container) => container.is_none(),
            (None, Some(_)) => true,
            (None, None) => self.path == "/",
        }
    }
}

/// `cri-containerd-<id>.scope`, `docker-<id>.scope`, `libpod-<id>.scope`, or the identifier alone.
fn container_id(name: &str) -> Option<String> {
    // The process that watches a container is not the container.
    if name.contains("conmon") {
        return None;
    }
    let name = name.trim_end_matches(".scope");
    let id = name.rsplit(['-', ':']).next()?;
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// `kubepods-burstable-pod<uid>.slice` with underscores, or `pod<uid>`.
fn pod_uid(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => {
            slice
                .rsplit_once("-pod")
                .filter(|(k, _)| k.contains("kubepods"))?
                .1
        }
        None => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    // Static pods have a hash without dashes.
    let is_uid = uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_uid.then_some(uid)
}

/// All cgroups that are told, the root first.
pub(super) fn walk(source: &Source, hierarchy: Hierarchy, count_max: usize) -> Vec<Cgroup> {
    let mut all = Vec::new();
    let mut open = vec![("/".to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        if all.len() >= count_max {
            break;
        }
        let mut cgroup = Cgroup::new(&path);
        let folder = hierarchy.folder(&path);
        let processes = source
            .read(&format!("{folder}/cgroup.procs"))
            .unwrap_or_default();
        cgroup.first_process = processes.lines().next().map(str::to_owned);
        cgroup.processes = processes.lines().count();
        let is_container = cgroup.container_id.is_some();
        all.push(cgroup);
        if depth == DEPTH_MAX || is_container {
            continue;
        }
        let entries = source.entries(&folder).unwrap_or_default();
        for entry in entries.iter().rev() {
            // Mounts are cgroups of systemd that hold nothing.
            let skip = entry.ends_with(".mount") || entry.contains("conmon");
            if !skip && source.is_folder(&format!("{folder}/{entry}")) {
                open.push((format!("{}/{entry}", path.trim_end_matches('/')), depth + 1));
            }
        }
    }
    pass_processes_up(&mut all);
    all
}

/// A pod has no process of its own: one of its containers stands for it.
fn pass_processes_up(all: &mut [Cgroup]) {
    for at in (0..all.len()).rev() {
        let (path, process) = (all[at].path.clone(), all[at].first_process.clone());
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let parent = all[..at]
            .iter_mut()
            .rev()
            .find(|other| other.path == parent);
        if let Some(parent) = parent
            && parent.first_process.is_none()
        {
            parent.first_process = process;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_and_containers_by_their_paths() {
        let id = "0123456789abcdef".repeat(4);
        let uid = "d5f1a2b3-1111-2222-3333-444455556666";
        let slice = uid.replace('-', "_");
        for (path, pod, is_container) in [
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{id}.scope"
                ),
                true,
                true,
            ),
            (
                format!("/kubepods.slice/kubepods-pod{slice}.slice"),
                true,
                false,
            ),
            (
                format!(
                    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{slice}.slice/crio-{id}.scope"
                ),
                true,
                true,
            ),
            (format!("/kubepods/besteffort/pod{uid}/{id}"), true, true),
            (format!("/kubepods/besteffort/pod{uid}"), true, false),
            (format!("/system.slice/docker-{id}.scope"), false, true),
            (format!("/docker/{id}"), false, true),
            (format!("/machine.slice/libpod-{id}.scope"), false, true),
            (
                format!("/kubepods.slice/crio-conmon-{id}.scope"),
                false,
                false,
            ),
            ("/system.slice/ssh.service".to_owned(), false, false),
            ("/kubepods.slice".to_owned(), false, false),
            ("/".to_owned(), false, false),
        ] {
            let cgroup = Cgroup::new(&path);
            assert_eq!(cgroup.pod_uid.as_deref(), pod.then_some(uid), "{path}");
            let found = cgroup.container_id.as_deref();
            assert_eq!(found, is_container.then_some(id.as_str()), "{path}");
        }
    }
}
