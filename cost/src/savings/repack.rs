//! Fewer nodes: which could be drained, by putting their pods elsewhere in a simulation.
//!
//! Invariants: a pod goes only where its requests fit into what is allocatable, where the labels
//! that it selects are, and where its tolerations are not needed; a namespace with a disruption
//! budget that allows nothing keeps its pods; pods that nothing would make again stay.

use std::collections::BTreeMap;

use crate::cluster::{Cluster, Node, Pod};
use crate::prices::Book;
use crate::{GIB, MONTH_HOURS};

/// A pod that would move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Where to.
    pub to: String,
}

/// A node that could go.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// The cluster.
    pub cluster: String,
    /// The node.
    pub node: String,
    /// Where its pods would go.
    pub moves: Vec<Move>,
    /// Dollars a month.
    pub monthly: f64,
}

/// A node that has to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The cluster.
    pub cluster: String,
    /// The node.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Nodes in the order in which they could be drained.
    pub drains: Vec<Drain>,
    /// The others.
    pub kept: Vec<Kept>,
    /// From 0 to 1: what is known that decides, such as budgets and selectors.
    pub confidence: f64,
}

/// A pod's requests.
fn requests(pod: &Pod, at: i64) -> (f64, f64, f64) {
    let all = pod.containers.iter().filter(|c| !c.lives.is_empty());
    all.fold((0.0, 0.0, 0.0), |sum, c| {
        let (cpu, ram, gpu) = (&c.cpu_request, &c.ram_request, &c.gpu_request);
        (sum.0 + cpu.at(at), sum.1 + ram.at(at), sum.2 + gpu.at(at))
    })
}

/// Nodes and what is on them while pods are moved.
struct Packing<'c> {
    at: i64,
    nodes: Vec<&'c Node>,
    /// Free cores, bytes and GPUs of each.
    free: Vec<(f64, f64, f64)>,
    pods: Vec<Vec<&'c Pod>>,
    /// Nodes that went.
    gone: Vec<bool>,
}

fn fits(free: (f64, f64, f64), wanted: (f64, f64, f64)) -> bool {
    wanted.0 <= free.0 && wanted.1 <= free.1 && wanted.2 <= free.2
}

impl<'c> Packing<'c> {
    fn new(cluster: &'c Cluster, at: i64) -> Self {
        let nodes: Vec<&Node> = cluster.nodes.iter().filter(|n| n.life.end >= at).collect();
        let places: BTreeMap<(&str, &str), usize> = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| ((node.cluster.as_str(), node.name.as_str()), index))
            .collect();
        let size = |node: &&Node| (node.allocatable.0, node.allocatable.1, node.gpu.at(at));
        let mut packing = Self {
            at,
            free: nodes.iter().map(size).collect(),
            pods: vec![Vec::new(); nodes.len()],
            gone: vec![false; nodes.len()],
            nodes,
        };
        for pod in &cluster.pods {
            let running = pod
                .containers
                .iter()
                .any(|c| c.lives.iter().any(|l| l.end >= at));
            let place = places.get(&(pod.cluster.as_str(), pod.node.as_str()));
            if let Some(index) = place.filter(|_| running) {
                packing.put(*index, pod);
            }
        }
        packing
    }

    fn put(&mut self, node: usize, pod: &'c Pod) {
        let wanted = requests(pod, self.at);
        let free = &mut self.free[node];
        *free = (free.0 - wanted.0, free.1 - wanted.1, free.2 - wanted.2);
        self.pods[node].push(pod);
    }

    /// How full a node is.
    fn share(&self, node: usize) -> f64 {
        let size = self.nodes[node].allocatable;
        let used = |free: f64, size: f64| if size > 0.0 { 1.0 - free / size } else { 1.0 };
        used(self.free[node].0, size.0).max(used(self.free[node].1, size.1))
    }

    /// Where the pods of a node would go: the fullest places that have room.
    fn places(
        &self,
        from: usize,
        budgets: &[(&str, &str)],
    ) -> Result<Vec<(&'c Pod, usize)>, String> {
        let mut free = self.free.clone();
        let mut moving: Vec<&Pod> = Vec::new();
        for pod in &self.pods[from] {
            let name = format!("{}/{}", pod.namespace, pod.name);
            match pod.controller.kind.as_str() {
                "daemonset" => continue,
                "" => return Err(format!("nothing would make {name} again")),
                _ => {}
            }
            if budgets.contains(&(pod.cluster.as_str(), pod.namespace.as_str())) {
                return Err(format!("a disruption budget in its namespace keeps {name}"));
            }
            moving.push(pod);
        }
        moving.sort_by(|a, b| {
            let (a, b) = (requests(a, self.at), requests(b, self.at));
            let size = |r: (f64, f64, f64)| r.0 + r.1 / GIB / 4.0;
            size(b).total_cmp(&size(a))
        });
        let mut made = Vec::new();
        for pod in moving {
            let wanted = requests(pod, self.at);
            let may = |index: &usize| {
                let node = self.nodes[*index];
                let selected =
                    |(name, value): (&String, &String)| node.labels.get(name) == Some(value);
                *index != from
                    && !self.gone[*index]
                    && !node.reserved
                    && node.cluster == pod.cluster
                    && pod.node_selector.iter().all(selected)
                    && fits(free[*index], wanted)
            };
            let best = (0..self.nodes.len()).filter(may);
            let best = best.min_by(|a, b| free[*a].0.total_cmp(&free[*b].0));
            let Some(to) = best else {
                return Err(format!(
                    "no other node has room for {}/{}",
                    pod.namespace, pod.name
                ));
            };
            let left = &mut free[to];
            *left = (left.0 - wanted.0, left.1 - wanted.1, left.2 - wanted.2);
            made.push((pod, to));
        }
        Ok(made)
    }
}

/// Which nodes could be drained at a time.
pub fn repack(cluster: &Cluster, book: &Book, at: i64) -> Plan {
    let mut packing = Packing::new(cluster, at);
    let closed = cluster
        .budgets
        .iter()
        .filter(|b| b.allowed < 1.0 && b.expected > 0.0);
    let closed: Vec<(&str, &str)> = closed.map(|b| (&*b.cluster, &*b.namespace)).collect();
    let mut order: Vec<usize> = (0..packing.nodes.len()).collect();
    order.sort_by(|a, b| packing.share(*a).total_cmp(&packing.share(*b)));
    let mut plan = Plan {
        confidence: if cluster.budgets.is_empty() { 0.6 } else { 0.8 },
        ..Plan::default()
    };
    for index in order {
        let node = packing.nodes[index];
        let kept = |reason: String| Kept {
            cluster: node.cluster.clone(),
            node: node.name.clone(),
            reason,
        };
        if node.reserved {
            plan.kept
                .push(kept("it is reserved by a taint or cordoned".to_owned()));
            continue;
        }
        let left = packing.nodes.iter().zip(&packing.gone);
        let left = left.filter(|(other, gone)| !**gone && other.cluster == node.cluster);
        if left.count() < 2 {
            plan.kept
                .push(kept("it is the last of its cluster".to_owned()));
            continue;
        }
        let places = match packing.places(index, &closed) {
            Ok(places) => places,
            Err(reason) => {
                plan.kept.push(kept(reason));
                continue;
            }
        };
        packing.gone[index] = true;
        let moves = places.iter().map(|(pod, to)| Move {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            to: packing.nodes[*to].name.clone(),
        });
        let rates = book.node(node, at);
        let hourly = node.cpu.at(at) * rates.cpu
            + node.ram.at(at) / GIB * rates.ram
            + node.gpu.at(at) * rates.gpu;
        plan.drains.push(Drain {
            cluster: node.cluster.clone(),
            node: node.name.clone(),
            moves: moves.collect(),
            monthly: hourly * MONTH_HOURS,
        });
        for (pod, to) in places {
            packing.put(to, pod);
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Budget, Container, Controller};
    use crate::span::{Span, Steps};
    use proptest::prelude::*;

    fn node(name: &str, cpu: f64) -> Node {
        Node {
            name: name.to_owned(),
            life: Span::new(0, 10),
            cpu: Steps::constant(cpu),
            ram: Steps::constant(16.0 * GIB),
            allocatable: (cpu, 16.0 * GIB),
            ..Node::default()
        }
    }

    fn pod(name: &str, node: &str, kind: &str, cpu: f64) -> Pod {
        Pod {
            namespace: "a".to_owned(),
            name: name.to_owned(),
            node: node.to_owned(),
            life: Span::new(0, 10),
            controller: Controller {
                kind: kind.to_owned(),
                name: kind.to_owned(),
            },
            containers: vec![Container {
                lives: vec![Span::new(0, 10)],
                cpu_request: Steps::constant(cpu),
                ram_request: Steps::constant(GIB),
                ..Container::default()
            }],
            ..Pod::default()
        }
    }

    fn check(cluster: &Cluster, drains: &[&str], reasons: &[&str]) {
        let plan = repack(cluster, &Book::default(), 5);
        let found: Vec<&str> = plan.drains.iter().map(|d| d.node.as_str()).collect();
        assert_eq!(found, drains, "{plan:?}");
        for (kept, reason) in plan.kept.iter().zip(reasons) {
            assert!(kept.reason.contains(reason), "{kept:?}");
        }
    }

    #[test]
    fn what_keeps_nodes() {
        let mut cluster = Cluster {
            nodes: vec![node("n1", 4.0), node("n2", 4.0), node("n3", 4.0)],
            pods: vec![
                pod("p", "n1", "deployment", 1.0),
                pod("d", "n1", "daemonset", 1.0),
                pod("q", "n2", "deployment", 3.0),
                pod("r", "n3", "deployment", 2.5),
            ],
            ..Cluster::default()
        };
        check(
            &cluster,
            &["n1"],
            &["no other node has room for a/r", "no other node"],
        );
        cluster.pods[0]
            .node_selector
            .insert("disk".to_owned(), "fast".to_owned());
        check(&cluster, &[], &["room for a/p"]);
        cluster.nodes[2]
            .labels
            .insert("disk".to_owned(), "fast".to_owned());
        check(&cluster, &["n1"], &[]);
        cluster.budgets = vec![Budget {
            namespace: "a".to_owned(),
            expected: 1.0,
            ..Budget::default()
        }];
        check(&cluster, &[], &["budget", "budget", "budget"]);
        cluster.budgets.clear();
        cluster.pods[0].controller.kind.clear();
        check(&cluster, &[], &["nothing would make a/p again"]);
        cluster.nodes[0].reserved = true;
        check(&cluster, &[], &["reserved"]);
        check(
            &Cluster {
                nodes: vec![node("n1", 1.0)],
                ..Cluster::default()
            },
            &[],
            &["last"],
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// After all moves every pod is on a node that stays, and none is overfull.
        #[test]
        fn plans_hold(
            sizes in proptest::collection::vec(1.0..8.0f64, 1..6),
            pods in proptest::collection::vec((0..6usize, 0.1..2.0f64), 0..20),
        ) {
            let mut cluster = Cluster::default();
            for (index, size) in sizes.iter().enumerate() {
                cluster.nodes.push(node(&index.to_string(), *size));
            }
            let mut used = vec![0.0; sizes.len()];
            for (index, (on, cpu)) in pods.iter().enumerate() {
                let on = on % sizes.len();
                if used[on] + cpu <= sizes[on] {
                    used[on] += cpu;
                    cluster.pods.push(pod(&index.to_string(), &on.to_string(), "job", *cpu));
                }
            }
            let plan = repack(&cluster, &Book::default(), 5);
            let mut places: BTreeMap<String, String> =
                cluster.pods.iter().map(|p| (p.name.clone(), p.node.clone())).collect();
            for drain in &plan.drains {
                for step in &drain.moves {
                    prop_assert_eq!(&places[&step.pod], &drain.node);
                    places.insert(step.pod.clone(), step.to.clone());
                }
                prop_assert!(!places.values().any(|on| *on == drain.node));
            }
            for (index, size) in sizes.iter().enumerate() {
                let on = index.to_string();
                let mine = cluster.pods.iter().filter(|p| places[&p.name] == on);
                let sum: f64 = mine.map(|p| requests(p, 5).0).sum();
                prop_assert!(sum <= size + 1e-9);
            }
            prop_assert!(plan.drains.len() < sizes.len());
        }
    }
}
