//! Nodes: their size, their labels and their lives.

use std::collections::BTreeMap;

use super::Read;
use super::answers::{Answers, Seen, Series};
use crate::cluster::{Cluster, Node};
use crate::span::{Span, Steps};

type Key = (String, String);

/// Cores, bytes and GPUs.
type Size = [Option<f64>; 3];

fn sizes(read: &Read, answers: &Answers, name: &str) -> BTreeMap<Key, Size> {
    let mut found: BTreeMap<Key, Size> = BTreeMap::new();
    for series in answers.get(name) {
        let resource = series.label("resource");
        let which = match resource {
            "cpu" => 0,
            "memory" => 1,
            other if is_gpu(other) => 2,
            _ => continue,
        };
        let key = (read.cluster_of(series), series.label("node").to_owned());
        found.entry(key).or_default()[which] = Some(series.value());
    }
    found
}

/// Whether a resource is of GPUs: `nvidia_com_gpu`, `amd_com_gpu`, …
pub(super) fn is_gpu(resource: &str) -> bool {
    resource.ends_with("gpu") || resource.ends_with("gpu_shared")
}

/// All nodes.
pub(super) fn nodes(read: &Read, answers: &Answers) -> Vec<Node> {
    let mut drafts: BTreeMap<Key, (Node, Seen)> = BTreeMap::new();
    for (series, seen) in answers.seen("nodes") {
        let key = (read.cluster_of(&series), series.label("node").to_owned());
        let node = Node {
            cluster: key.0.clone(),
            name: key.1.clone(),
            provider_id: series.label("provider_id").to_owned(),
            ..Node::default()
        };
        let found = drafts.entry(key).or_insert((node, seen));
        found.1 = found.1.with(seen);
    }
    let capacities = sizes(read, answers, "node_capacity");
    let allocatable = sizes(read, answers, "node_allocatable");
    // Nodes of which only the size is told were there as long as it is asked.
    for key in capacities.keys().filter(|key| !key.1.is_empty()) {
        drafts.entry(key.clone()).or_insert_with(|| {
            let node = Node {
                cluster: key.0.clone(),
                name: key.1.clone(),
                ..Node::default()
            };
            let (first, last) = (read.window.start, read.end());
            let seen = Seen {
                first,
                last,
                count: 1.0,
                unmarked: true,
            };
            (node, seen)
        });
    }
    let cadvisor = |name: &str, node: &Node| {
        let fits = |series: &&Series| {
            let named = [series.label("node"), series.label("instance")];
            let host = named[1].rsplit_once(':').map_or(named[1], |parts| parts.0);
            read.cluster_of(series) == node.cluster && (named[0] == node.name || host == node.name)
        };
        answers.get(name).iter().find(fits).map(Series::value)
    };
    let mut made = Vec::with_capacity(drafts.len());
    for (key, (mut node, seen)) in drafts {
        let size = capacities.get(&key).copied().unwrap_or_default();
        let may = allocatable.get(&key).copied().unwrap_or_default();
        let cpu = size[0]
            .or_else(|| cadvisor("machine_cores", &node))
            .or(may[0]);
        let ram = size[1]
            .or_else(|| cadvisor("machine_memory", &node))
            .or(may[1]);
        node.cpu = Steps::constant(cpu.unwrap_or(0.0));
        node.ram = Steps::constant(ram.unwrap_or(0.0));
        node.gpu = Steps::constant(size[2].or(may[2]).unwrap_or(0.0));
        node.allocatable = (may[0].or(cpu).unwrap_or(0.0), may[1].or(ram).unwrap_or(0.0));
        let of = |name: &str| {
            let mine = |series: &&Series| {
                series.label("node") == key.1 && read.cluster_of(series) == key.0
            };
            answers.get(name).iter().find(mine)
        };
        node.labels = of("node_labels")
            .map(|s| s.names("label_"))
            .unwrap_or_default();
        node.reserved = of("node_taint").is_some()
            || of("node_unschedulable").is_some_and(|series| series.value() == 1.0);
        let start = of("node_created")
            .and_then(Series::time)
            .unwrap_or(seen.first);
        let deletion = of("node_deletion").and_then(Series::time);
        let end = read.gone(&seen, deletion);
        node.life = Span::new(start, end.unwrap_or_else(|| read.end()));
        made.push(node);
    }
    made
}

/// A node is there as long as a container runs on it.
pub(super) fn extend(cluster: &mut Cluster) {
    let mut ran: BTreeMap<(&str, &str), Span> = BTreeMap::new();
    for pod in &cluster.pods {
        let span = ran.entry((&pod.cluster, &pod.node)).or_default();
        for life in pod.containers.iter().flat_map(|c| &c.lives) {
            *span = span.union(*life);
        }
    }
    for node in &mut cluster.nodes {
        if let Some(span) = ran.get(&(node.cluster.as_str(), node.name.as_str())) {
            node.life = node.life.union(*span);
        }
    }
}
