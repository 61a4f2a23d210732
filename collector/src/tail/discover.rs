//! Which logs there are: the containers below the kubelet's folder, and the files that patterns
//! name, each with what it was before it was rotated.
//!
//! Invariants: a scan is linear in the files and folders that there are; each log comes with the
//! folders that its files may be in.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obs_kubernetes::pods::Pod;
use obs_model::Labels;

use super::checkpoint::Entry;
use super::disk;
use super::folders::Folders;
use super::group::{Candidate, Group};
use super::pipeline::{Pipeline, Setting, by_names};
use crate::config::{FileFormat, FilesConfig, LogsConfig, PodsConfig};
use crate::enrich::{self, Pods};
use crate::glob;

/// The label that holds the path.
const FILENAME: &str = "filename";
/// Where the kubelet keeps logs, to which `/var/log/containers` links.
const PODS: &str = "/var/log/pods";
/// Where runtimes keep what the kubelet links to.
const RUNTIMES: [&str; 3] = [
    "/var/lib/docker/containers",
    "/var/lib/containers",
    "/var/lib/containerd",
];

/// Links that are not followed and told of.
const REFUSED_MAX: usize = 1024;

/// Annotations and labels that exclude a pod, with the value that does.
const EXCLUDE: [&str; 3] = [
    "logs.obs.dev/exclude",
    "fluentbit.io/exclude",
    "vector.dev/exclude",
];
/// Annotations that exclude some of its containers, separated by commas.
const EXCLUDE_CONTAINERS: [&str; 2] = [
    "logs.obs.dev/exclude-containers",
    "vector.dev/exclude-containers",
];
/// Annotations that choose a parser; `-CONTAINER` behind it is for one container.
const PARSER: [&str; 2] = ["logs.obs.dev/parser", "fluentbit.io/parser"];
/// The annotation that chooses whose stack traces are put together.
const MULTILINE: &str = "logs.obs.dev/multiline";

/// A log that is there.
#[derive(Debug)]
pub(super) struct Found {
    /// The path that is written.
    pub key: PathBuf,
    pub candidates: Vec<Candidate>,
    pub origin: Origin,
    /// Folders that the files may be in, wherever links lead.
    pub within: Arc<[PathBuf]>,
    /// All of its files were looked for; what is not among them is not there.
    pub complete: bool,
}

/// Where a log is from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Container(Place),
    /// Index of the entry of the configuration.
    Files(usize),
}

/// What the path of a container's log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub restart: String,
}

/// Finds logs.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    pub folders: Folders,
    pipelines: HashMap<String, Arc<Pipeline>>,
    pub faults: Vec<String>,
    /// Links that are not followed, which is told once.
    refused: HashSet<PathBuf>,
}

impl Discovery {
    /// All logs of the configuration; `now` in nanoseconds since 1970.
    /// `remembered` are logs of the last run that were not found yet.
    pub(super) fn find(
        &mut self,
        config: &LogsConfig,
        now: i64,
        remembered: &HashMap<PathBuf, Vec<Entry>>,
    ) -> Vec<Found> {
        let mut all = Vec::new();
        self.folders.begin(now);
        // Whoever writes annotations may think of ever new ones.
        self.pipelines.retain(|_, p| Arc::strong_count(p) > 1);
        if let Some(pods) = &config.pods {
            self.pods(pods, &mut all);
        }
        let mut keys: HashMap<PathBuf, usize> = HashMap::new();
        for (at, found) in all.iter().enumerate() {
            keys.insert(found.key.clone(), at);
        }
        for (index, files) in config.files.iter().enumerate() {
            self.files(files, index, &mut keys, &mut all);
            for (key, entries) in remembered {
                let mine = |pattern: &PathBuf| glob::matches_path(pattern, key);
                if files.paths.iter().any(mine) {
                    self.renamed(key, entries, (files, index), &mut keys, &mut all);
                }
            }
        }
        for found in &mut all {
            let mut paths = found.candidates.iter().map(|candidate| &candidate.path);
            let unknown = |path: &PathBuf| self.folders.is_unknown(path);
            found.complete &= !unknown(&found.key) && !paths.any(unknown);
        }
        // A log of the last run that has no files any more is looked at once, to be forgotten.
        all.retain(|found| {
            let there = !found.candidates.is_empty() || !found.complete;
            there || remembered.contains_key(&found.key)
        });
        all
    }

    /// Names in a folder.
    fn names(&mut self, path: &Path) -> Arc<[OsString]> {
        self.folders.names(path).unwrap_or_else(|error| {
            self.faults.push(format!("{}: {error}", path.display()));
            Arc::default()
        })
    }

    fn pods(&mut self, config: &PodsConfig, all: &mut Vec<Found>) {
        let within: Arc<[PathBuf]> = pods_targets(config).into();
        for pod in self.names(&config.path).iter() {
            let Some((namespace, name, uid)) = pod_of(pod) else {
                continue;
            };
            if !wanted_namespace(config, &namespace) {
                continue;
            }
            let folder = config.path.join(pod);
            for container in self.names(&folder).iter() {
                let place = Place {
                    namespace: namespace.clone(),
                    pod: name.clone(),
                    uid: uid.clone(),
                    container: container.to_string_lossy().into_owned(),
                    restart: String::new(),
                };
                self.container_logs(&folder.join(container), &place, &within, all);
            }
        }
    }

    /// The logs of one container, one for each of its starts.
    fn container_logs(
        &mut self,
        folder: &Path,
        place: &Place,
        within: &Arc<[PathBuf]>,
        all: &mut Vec<Found>,
    ) {
        let names = self.names(folder);
        let mut logs = BTreeMap::<&str, Vec<Candidate>>::new();
        for name in names.iter().filter_map(|n| n.to_str()) {
            let Some((restart, rest)) = name.split_once(".log") else {
                continue;
            };
            let number = !restart.is_empty() && restart.bytes().all(|b| b.is_ascii_digit());
            let mine = rest.is_empty() || rest.starts_with('.');
            if number && mine && !rest.ends_with(".tmp") {
                logs.entry(restart).or_default().push(Candidate {
                    path: folder.join(name),
                    rotated: !rest.is_empty(),
                });
            }
        }
        for (restart, mut candidates) in logs {
            // Names of rotated files have their time, so this is their order too.
            candidates.sort_by(|a, b| (!a.rotated, &a.path).cmp(&(!b.rotated, &b.path)));
            let key = folder.join(format!("{restart}.log"));
            let complete = self.beside_target(within, &mut candidates);
            let complete = complete.unwrap_or_else(|fault| {
                self.refuse(&key, fault);
                true
            });
            let mut place = place.clone();
            restart.clone_into(&mut place.restart);
            all.push(Found {
                key,
                candidates,
                origin: Origin::Container(place),
                within: Arc::clone(within),
                complete,
            });
        }
    }

    /// Tells of a log that is not followed, once.
    fn refuse(&mut self, key: &Path, fault: String) {
        if self.refused.len() < REFUSED_MAX && self.refused.insert(key.to_owned()) {
            tracing::warn!("{fault}");
            self.faults.push(fault);
        }
    }

    fn files(
        &mut self,
        config: &FilesConfig,
        index: usize,
        keys: &mut HashMap<PathBuf, usize>,
        all: &mut Vec<Found>,
    ) {
        for pattern in &config.paths {
            let within: Arc<[PathBuf]> = files_targets(pattern, config).into();
            let folders = RefCell::new(&mut self.folders);
            let list = |path: &Path| folders.borrow_mut().names(path);
            let (paths, faults) = glob::expand_with(pattern, list);
            self.faults.extend(faults);
            for path in paths {
                let excluded = config.exclude.iter().any(|e| glob::matches_path(e, &path));
                let file = disk::stat(&path).is_some_and(|s| s.regular);
                if excluded || !file || keys.contains_key(&path) {
                    continue;
                }
                if let Err(fault) = self.folders.leads_within(&path, &within, "files") {
                    self.refuse(&path, fault);
                    continue;
                }
                let mut candidates = self.siblings(&path, &config.paths);
                candidates.push(Candidate {
                    path: path.clone(),
                    rotated: false,
                });
                keys.insert(path.clone(), all.len());
                all.push(Found {
                    key: path,
                    candidates,
                    origin: Origin::Files(index),
                    within: Arc::clone(&within),
                    complete: true,
                });
            }
        }
    }

    fn siblings(&mut self, path: &Path, patterns: &[PathBuf]) -> Vec<Candidate> {
        let rotated = self.folders.rotated(path, patterns).into_iter();
        let rotated = rotated.map(|path| Candidate {
            path,
            rotated: true,
        });
        rotated.collect()
    }

    /// Files that a log of the last run was renamed to while nothing ran, by their inodes and how
    /// they begin; also where the log has no file under its own name any more.
    fn renamed(
        &mut self,
        key: &Path,
        entries: &[Entry],
        (config, index): (&FilesConfig, usize),
        keys: &mut HashMap<PathBuf, usize>,
        all: &mut Vec<Found>,
    ) {
        let Some(folder) = key.parent().filter(|_| !self.folders.is_unknown(key)) else {
            return;
        };
        // A link that leads nowhere yet is looked at again.
        if !keys.contains_key(key) && disk::is_link(key) {
            return;
        }
        let at = match keys.get(key) {
            Some(at) => *at,
            None => {
                let pattern = config.paths.iter().find(|p| glob::matches_path(p, key));
                let within = pattern
                    .map(|p| files_targets(p, config))
                    .unwrap_or_default();
                let candidates = self.siblings(key, &config.paths);
                keys.insert(key.to_owned(), all.len());
                all.push(Found {
                    key: key.to_owned(),
                    candidates,
                    origin: Origin::Files(index),
                    within: within.into(),
                    complete: true,
                });
                all.len() - 1
            }
        };
        for entry in entries {
            for path in self.folders.with_inode(folder, entry.id) {
                let known = all[at].candidates.iter().any(|c| c.path == path);
                if path == key || known || !is_same(&path, &all[at].within, entry) {
                    continue;
                }
                // A name that the patterns have is a log of its own now, but these lines are the
                // old one's.
                if let Some(other) = keys.get(&path).filter(|other| **other != at) {
                    all[*other].candidates.retain(|c| c.path != path);
                }
                let rotated = true;
                all[at].candidates.insert(0, Candidate { path, rotated });
            }
        }
    }

    /// Where the kubelet's file is a link, as with Docker, rotated files are beside what it names.
    /// A file that a link must not lead to is left out, which is told. False where a link leads
    /// nowhere yet.
    fn beside_target(
        &mut self,
        within: &[PathBuf],
        candidates: &mut Vec<Candidate>,
    ) -> Result<bool, String> {
        let mut rotated = Vec::new();
        let (mut refused, mut complete) = (Ok(()), true);
        candidates.retain_mut(|candidate| {
            let path = &candidate.path;
            if !disk::is_link(path) {
                return true;
            }
            // A link that leads nowhere yet is looked at again.
            let Ok(target) = std::fs::canonicalize(path) else {
                complete = false;
                return false;
            };
            if let Err(fault) = self.folders.leads_within(path, within, "pods") {
                refused = Err(fault);
                return false;
            }
            if !candidate.rotated {
                rotated.extend(self.siblings(&target, &[]));
            }
            candidate.path = target;
            true
        });
        candidates.splice(0..0, rotated);
        refused.map(|()| complete)
    }

    /// A log that is followed from now on; `None` where its pod does not want it.
    pub(super) fn group(
        &mut self,
        found: &Found,
        config: &LogsConfig,
        pods: &Pods,
    ) -> Option<Group> {
        match &found.origin {
            Origin::Files(index) => {
                let entry = config.files.get(*index)?;
                let configured = entry.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                let mut labels = Labels::from_pairs(configured).to_builder();
                labels.set(FILENAME, &found.key.to_string_lossy());
                let pipeline = self.pipeline(format!("files {index}"), || Setting {
                    format: entry.format,
                    parser: entry.parser.clone(),
                    multiline: entry.multiline.clone(),
                    drop: entry.drop.clone(),
                    detect_level: entry.detect_level,
                });
                let mut group = Group::new(&labels.build(), Labels::empty(), pipeline);
                group.unknown = false;
                Some(group)
            }
            Origin::Container(place) => {
                let config = config.pods.as_ref()?;
                let pod = pods.by_uid(&place.uid);
                let mut group = self.container(config, place, pod.as_deref())?;
                group.rotated_max = config.rotated_files_max;
                group.pod = pod;
                Some(group)
            }
        }
    }

    /// Goes with what became known of the log's pod, and what its annotations say now. False where
    /// it does not want to be followed any more.
    pub(super) fn renew(
        &mut self,
        group: &mut Group,
        found: &Found,
        config: &LogsConfig,
        pods: &Pods,
    ) -> bool {
        let Origin::Container(place) = &found.origin else {
            return true;
        };
        let same = |now: &Arc<Pod>| {
            group
                .pod
                .as_ref()
                .is_some_and(|told| Arc::ptr_eq(told, now))
        };
        // What was known of a pod that nobody knows any more still holds for its last lines.
        if pods.by_uid(&place.uid).is_none_or(|now| same(&now)) {
            return true;
        }
        let Some(fresh) = self.group(found, config, pods) else {
            return false;
        };
        group.labels = fresh.labels;
        group.metadata = fresh.metadata;
        group.pipeline = fresh.pipeline;
        group.pod = fresh.pod;
        true
    }

    fn container(
        &mut self,
        config: &PodsConfig,
        place: &Place,
        pod: Option<&Pod>,
    ) -> Option<Group> {
        let rule = config.rules.iter().position(|rule| {
            let fits = |pattern: &Option<String>, name: &str| {
                let pattern = pattern.as_deref();
                pattern.is_none_or(|p| glob::matches(p.as_bytes(), name.as_bytes()))
            };
            fits(&rule.namespace, &place.namespace)
                && fits(&rule.pod, &place.pod)
                && fits(&rule.container, &place.container)
        });
        let chosen = rule.and_then(|index| config.rules.get(index));
        if chosen.is_some_and(|rule| rule.exclude) {
            return None;
        }
        let pod = pod.filter(|_| config.annotations);
        if pod.is_some_and(|pod| excluded(pod, &place.container)) {
            return None;
        }
        let parser = pod.and_then(|pod| annotation(pod, &PARSER, &place.container));
        let multiline = pod.and_then(|pod| annotation(pod, &[MULTILINE], &place.container));
        let key = format!("pods {rule:?} {parser:?} {multiline:?}");
        let pipeline = self.pipeline(key, || {
            let mut setting = match chosen {
                Some(rule) => Setting {
                    format: FileFormat::Container,
                    parser: rule.parser.clone(),
                    multiline: rule.multiline.clone(),
                    drop: rule.drop.clone(),
                    detect_level: rule.detect_level,
                },
                None => Setting {
                    format: FileFormat::Container,
                    parser: config.parser.clone(),
                    multiline: config.multiline.clone(),
                    drop: config.drop.clone(),
                    detect_level: config.detect_level,
                },
            };
            by_names(&mut setting, parser, multiline);
            setting
        });
        let metadata = Labels::from_pairs([
            ("k8s_pod_uid", place.uid.as_str()),
            ("k8s_container_restart_count", place.restart.as_str()),
        ]);
        Some(Group::new(
            &pod_labels(config, place, pod),
            metadata,
            pipeline,
        ))
    }

    fn pipeline(&mut self, key: String, setting: impl FnOnce() -> Setting) -> Arc<Pipeline> {
        let made = self.pipelines.entry(key);
        Arc::clone(made.or_insert_with(|| Arc::new(Pipeline::new(setting()))))
    }
}

/// Whether a file that has the inode of one of the last run is that file. Where that cannot be
/// told now, it is taken for it, and told apart when it is opened.
fn is_same(path: &Path, within: &[PathBuf], entry: &Entry) -> bool {
    let print = entry.fingerprint;
    if print.length == 0 {
        return false;
    }
    let same = disk::open(path, within).and_then(|opened| match opened {
        Some((found, mut reader)) => {
            Ok(found.id == entry.id && reader.fingerprint(print.length)? == print)
        }
        None => Ok(false),
    });
    same.unwrap_or_else(|error| error.raw_os_error().is_some())
}

/// Labels of a container's streams.
fn pod_labels(config: &PodsConfig, place: &Place, pod: Option<&Pod>) -> Labels {
    let configured = config.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let mut labels = Labels::from_pairs(configured).to_builder();
    labels.set("namespace", &place.namespace);
    labels.set("pod", &place.pod);
    labels.set("container", &place.container);
    let Some(pod) = pod else {
        return labels.build();
    };
    if !pod.node.is_empty() {
        labels.set("node", &pod.node);
    }
    if let Some((kind, name)) = enrich::workload(pod) {
        let kind = match kind.as_str() {
            // `job` is the name of a scrape job everywhere else.
            "job" => "job_name",
            known @ ("deployment" | "statefulset" | "daemonset" | "cronjob" | "replicaset") => {
                known
            }
            // What others make pods with may be called anything.
            _ => "workload",
        };
        labels.set(kind, name);
    }
    let app = ["app.kubernetes.io/name", "app", "k8s-app"];
    if let Some(app) = app.iter().find_map(|name| pod.labels.get(name)) {
        labels.set("app", app);
    }
    for name in &config.pod_labels {
        if let Some(value) = pod.labels.get(name) {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            labels.set(&name.chars().map(plain).collect::<String>(), value);
        }
    }
    labels.build()
}

fn excluded(pod: &Pod, container: &str) -> bool {
    let says = |name: &str| {
        let value = pod.annotations.get(name).or(pod.labels.get(name));
        value == Some("true")
    };
    let listed = EXCLUDE_CONTAINERS
        .iter()
        .filter_map(|name| pod.annotations.get(name));
    EXCLUDE.iter().any(|name| says(name))
        || listed
            .flat_map(|list| list.split(','))
            .any(|name| name.trim() == container)
}

/// An annotation for a container, or for all of the pod's.
fn annotation<'a>(pod: &'a Pod, names: &[&str], container: &str) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let own = pod.annotations.get(&format!("{name}-{container}"));
        own.or_else(|| pod.annotations.get(name))
    })
}

fn wanted_namespace(config: &PodsConfig, namespace: &str) -> bool {
    let fits = |pattern: &String| glob::matches(pattern.as_bytes(), namespace.as_bytes());
    let included = &config.include_namespaces;
    (included.is_empty() || included.iter().any(fits))
        && !config.exclude_namespaces.iter().any(fits)
}

/// `<namespace>_<pod>_<uid>`
fn pod_of(folder: &OsString) -> Option<(String, String, String)> {
    let mut parts = folder.to_str()?.splitn(3, '_');
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = !namespace.is_empty() && !pod.is_empty() && !uid.is_empty();
    whole.then(|| (namespace.to_owned(), pod.to_owned(), uid.to_owned()))
}

/// Where files of the kubelet's folder may be: who may write there must not have the agent read
/// anything it pleases.
fn pods_targets(config: &PodsConfig) -> Vec<PathBuf> {
    let parent = config.path.parent().filter(|p| p.parent().is_some());
    let own = [config.path.as_path()].into_iter().chain(parent);
    resolved(own.chain(RUNTIMES.map(Path::new)), &config.link_targets)
}

/// Where files of a pattern may be: below the folder that its literal elements name, and where
/// runtimes and the kubelet keep logs.
fn files_targets(pattern: &Path, config: &FilesConfig) -> Vec<PathBuf> {
    let base = glob::literal_folder(pattern);
    let own = [base.as_path(), Path::new(PODS)].into_iter();
    resolved(own.chain(RUNTIMES.map(Path::new)), &config.link_targets)
}

fn resolved<'a>(own: impl Iterator<Item = &'a Path>, configured: &'a [PathBuf]) -> Vec<PathBuf> {
    own.chain(configured.iter().map(PathBuf::as_path))
        .filter_map(|path| std::fs::canonicalize(path).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_pods() {
        let check = |name: &str, expect: Option<(&str, &str, &str)>| {
            let found = pod_of(&OsString::from(name));
            let expect = expect.map(|(n, p, u)| (n.to_owned(), p.to_owned(), u.to_owned()));
            assert_eq!(found, expect, "{name}");
        };
        check("shop_cart-0_1234-ab", Some(("shop", "cart-0", "1234-ab")));
        check(
            "kube-system_etcd-n1_0a1b2c",
            Some(("kube-system", "etcd-n1", "0a1b2c")),
        );
        check("nothing", None);
        check("a__b", None);
    }

    #[test]
    fn annotations_and_rules_choose() {
        let config: PodsConfig = serde_yaml_ng::from_str(
            "{rules: [{namespace: 'kube-*', exclude: true}, {container: web, parser: combined}], \
             pod_labels: [team], labels: {cluster: c}}",
        )
        .unwrap();
        let place = |namespace: &str, container: &str| Place {
            namespace: namespace.into(),
            pod: "p".into(),
            uid: "u".into(),
            container: container.into(),
            restart: "3".into(),
        };
        let mut pod = Pod {
            node: "n1".into(),
            ..Pod::default()
        };
        let pairs = |all: &[(&str, &str)]| all.iter().copied().collect();
        pod.labels = pairs(&[("app", "cart"), ("team", "a")]);
        let mut discovery = Discovery::default();
        let mut make = |place: &Place, pod: &Pod| discovery.container(&config, place, Some(pod));
        assert!(make(&place("kube-system", "x"), &pod).is_none());
        let group = make(&place("shop", "web"), &pod).unwrap();
        assert_eq!(
            group.labels[1].to_string(),
            r#"{app="cart", cluster="c", container="web", namespace="shop", node="n1", pod="p", stream="stdout", team="a"}"#
        );
        assert_eq!(group.metadata.get("k8s_container_restart_count"), Some("3"));
        pod.annotations = pairs(&[("logs.obs.dev/exclude-containers", "a, web")]);
        assert!(make(&place("shop", "web"), &pod).is_none());
        assert!(make(&place("shop", "other"), &pod).is_some());
        pod.annotations = pairs(&[("fluentbit.io/exclude", "true")]);
        assert!(make(&place("shop", "other"), &pod).is_none());
        pod.annotations = pairs(&[
            ("logs.obs.dev/parser", "json"),
            ("logs.obs.dev/parser-b", "klog"),
        ]);
        assert_eq!(annotation(&pod, &PARSER, "a"), Some("json"));
        assert_eq!(annotation(&pod, &PARSER, "b"), Some("klog"));
    }
}
