//! What a change would cost: more or fewer replicas, another type of nodes, growth.
//!
//! Invariant: what is paid changes only by whole nodes, and only as far as requests do not fit into
//! what is free; the estimate says both what is allocated and what is paid.

use crate::cluster::{Cluster, Node, Pod};
use crate::prices::Book;
use crate::{GIB, MONTH_HOURS};

/// A change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Another number of replicas: namespace, name of what makes the pods, how many.
    pub replicas: Option<(String, String, u32)>,
    /// All nodes become such: cores, GiB, dollars an hour.
    pub node: Option<(f64, f64, f64)>,
    /// Everything requests so much more: 0.2 is a fifth.
    pub growth: f64,
}

/// What it would cost, in dollars a month.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// What pods are charged for now and then.
    pub allocated: (f64, f64),
    /// What nodes cost now and then.
    pub paid: (f64, f64),
    /// Nodes now and then.
    pub nodes: (u32, u32),
    /// Cores requested now and then.
    pub cores: (f64, f64),
    /// Bytes requested now and then.
    pub bytes: (f64, f64),
}

/// Cores and bytes of a pod.
fn requests(pod: &Pod, at: i64) -> (f64, f64) {
    let all = pod.containers.iter().filter(|c| !c.lives.is_empty());
    all.fold((0.0, 0.0), |sum, c| {
        (sum.0 + c.cpu_request.at(at), sum.1 + c.ram_request.at(at))
    })
}

/// All nodes together.
#[derive(Clone, Copy, Debug, Default)]
struct Fleet {
    count: f64,
    /// Cores and bytes that may be requested.
    room: (f64, f64),
    /// Dollars an hour.
    paid: f64,
    /// What a core and a GiB cost on average.
    rates: (f64, f64),
}

impl Fleet {
    fn new(cluster: &Cluster, book: &Book, at: i64) -> Self {
        let mut fleet = Self::default();
        let (mut cores, mut gib, mut cpu, mut ram) = (0.0, 0.0, 0.0, 0.0);
        for node in cluster.nodes.iter().filter(|n| n.life.end >= at) {
            let rates = book.node(node, at);
            let size = (node.cpu.at(at), node.ram.at(at) / GIB);
            (cores, gib) = (cores + size.0, gib + size.1);
            (cpu, ram) = (cpu + size.0 * rates.cpu, ram + size.1 * rates.ram);
            fleet.paid += node.gpu.at(at) * rates.gpu;
            fleet.room.0 += node.allocatable.0;
            fleet.room.1 += node.allocatable.1;
            fleet.count += 1.0;
        }
        fleet.paid += cpu + ram;
        let other = book.node(&Node::default(), at);
        let mean = |cost: f64, size: f64, other: f64| if size > 0.0 { cost / size } else { other };
        fleet.rates = (mean(cpu, cores, other.cpu), mean(ram, gib, other.ram));
        fleet
    }

    /// Dollars an hour and nodes for what is requested, with whole nodes of the mean size added.
    fn grown(&self, wanted: (f64, f64)) -> (f64, f64) {
        if self.count == 0.0 {
            return (self.paid, 0.0);
        }
        let size = (self.room.0 / self.count, self.room.1 / self.count);
        let more = needed((wanted.0 - self.room.0, wanted.1 - self.room.1), size);
        (self.paid * (1.0 + more / self.count), self.count + more)
    }

    /// Dollars a month for what is requested.
    fn charged(&self, (cores, bytes): (f64, f64)) -> f64 {
        (cores * self.rates.0 + bytes / GIB * self.rates.1) * MONTH_HOURS
    }
}

/// How many nodes of a size carry so much.
fn needed(wanted: (f64, f64), size: (f64, f64)) -> f64 {
    let of = |wanted: f64, size: f64| {
        if size > 0.0 {
            (wanted.max(0.0) / size).ceil()
        } else {
            0.0
        }
    };
    of(wanted.0, size.0).max(of(wanted.1, size.1))
}

/// What a change would cost, as things are at a time.
pub fn what_if(cluster: &Cluster, book: &Book, at: i64, change: &Change) -> Estimate {
    let running =
        |pod: &&Pod| pod.life.end >= at && pod.containers.iter().any(|c| !c.lives.is_empty());
    let pods: Vec<&Pod> = cluster.pods.iter().filter(running).collect();
    let mut now = (0.0, 0.0);
    for pod in &pods {
        let wanted = requests(pod, at);
        now = (now.0 + wanted.0, now.1 + wanted.1);
    }
    let mut then = now;
    if let Some((namespace, name, count)) = &change.replicas {
        let of = |pod: &&&Pod| pod.namespace == *namespace && pod.controller.name == *name;
        let replicas: Vec<&&Pod> = pods.iter().filter(of).collect();
        if let Some(one) = replicas.first().map(|pod| requests(pod, at)) {
            let more = f64::from(*count) - replicas.len() as f64;
            then = (then.0 + more * one.0, then.1 + more * one.1);
        }
    }
    let growth = 1.0 + change.growth;
    then = (then.0 * growth, then.1 * growth);
    let fleet = Fleet::new(cluster, book, at);
    let ((paid, count), scale) = match change.node {
        Some((cores, gib, price)) => {
            let count = needed(then, (cores, gib * GIB)).max(1.0);
            let usual = cores * fleet.rates.0 + gib * fleet.rates.1;
            let scale = if usual > 0.0 { price / usual } else { 1.0 };
            ((count * price, count), scale)
        }
        None => (fleet.grown(then), 1.0),
    };
    Estimate {
        allocated: (fleet.charged(now), fleet.charged(then) * scale),
        paid: (fleet.paid * MONTH_HOURS, paid * MONTH_HOURS),
        nodes: (fleet.count as u32, count as u32),
        cores: (now.0, then.0),
        bytes: (now.1, then.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Container, Controller};
    use crate::span::{Span, Steps};

    fn cluster() -> Cluster {
        let life = Span::new(0, 10);
        let node = |name: &str| Node {
            name: name.to_owned(),
            life,
            cpu: Steps::constant(4.0),
            ram: Steps::constant(16.0 * GIB),
            allocatable: (4.0, 16.0 * GIB),
            ..Node::default()
        };
        let pod = |name: &str| Pod {
            namespace: "a".to_owned(),
            name: name.to_owned(),
            life,
            controller: Controller {
                kind: "deployment".to_owned(),
                name: "web".to_owned(),
            },
            containers: vec![Container {
                lives: vec![life],
                cpu_request: Steps::constant(2.0),
                ram_request: Steps::constant(GIB),
                ..Container::default()
            }],
            ..Pod::default()
        };
        Cluster {
            nodes: vec![node("n1"), node("n2")],
            pods: vec![pod("p"), pod("q")],
            ..Cluster::default()
        }
    }

    #[test]
    fn changes() {
        let node = 4.0 * 0.031611 + 16.0 * 0.004237;
        let pod = 2.0 * 0.031611 + 0.004237;
        let check = |change: Change, allocated: f64, paid: f64, nodes: u32| {
            let found = what_if(&cluster(), &Book::default(), 5, &change);
            let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{found:?}, {b}");
            near(found.allocated.0, 2.0 * pod * 730.0);
            near(found.paid.0, 2.0 * node * 730.0);
            near(found.allocated.1, allocated * 730.0);
            near(found.paid.1, paid * 730.0);
            assert_eq!(found.nodes, (2, nodes));
        };
        let replicas = |count: u32| Change {
            replicas: Some(("a".to_owned(), "web".to_owned(), count)),
            ..Change::default()
        };
        check(Change::default(), 2.0 * pod, 2.0 * node, 2);
        check(replicas(4), 4.0 * pod, 2.0 * node, 2);
        check(replicas(5), 5.0 * pod, 3.0 * node, 3);
        check(replicas(0), 0.0, 2.0 * node, 2);
        let growth = Change {
            growth: 1.5,
            ..Change::default()
        };
        check(growth, 5.0 * pod, 3.0 * node, 3);
        // One node of twice the size at the usual price.
        let other = Change {
            node: Some((8.0, 32.0, 2.0 * node)),
            ..Change::default()
        };
        check(other, 2.0 * pod, 2.0 * node, 1);
    }
}
