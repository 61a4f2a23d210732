//! The accounts of a window: what each container cost, and what everything cost that is paid for.
//!
//! Invariants: a container is charged from its begin to its end, to the nanosecond, with the larger
//! of request and usage at each moment and the price of that moment; a volume's cost is shared by
//! the pods that mount it at that moment; for each node and resource, what is allocated and what is
//! idle is what the node cost.

use std::collections::BTreeMap;

use crate::allocation::{Allocation, BalancerShare, Properties, Resource, VolumeShare};
use crate::asset::{Asset, AssetKind, Breakdown};
use crate::cluster::{Balancer, Cluster, Container, Node, Pod, Volume};
use crate::prices::{Book, Rates, is_spot};
use crate::span::Span;
use crate::usage::Usage;
use crate::{GIB, IDLE, UNMOUNTED};

/// The accounts of a window.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The window.
    pub window: Span,
    /// One of each container that ran, and one of what no pod mounts.
    pub allocations: Vec<Allocation>,
    /// What is paid for.
    pub assets: Vec<Asset>,
}

/// Prices of a node by time.
struct NodePrices<'c> {
    node: Option<&'c Node>,
    /// From when on; in order.
    rates: Vec<(i64, Rates)>,
}

impl<'c> NodePrices<'c> {
    fn new(book: &Book, node: Option<&'c Node>, window: Span) -> Self {
        let unknown = Node::default();
        let priced = node.unwrap_or(&unknown);
        let sizes = priced.cpu.edges().chain(priced.ram.edges());
        let edges = sizes.chain(priced.gpu.edges()).chain(book.edges());
        let pieces = window.cut(edges.collect::<Vec<_>>());
        let rates = pieces
            .iter()
            .map(|piece| (piece.start, book.node(priced, piece.start)));
        Self {
            node,
            rates: rates.collect(),
        }
    }

    fn at(&self, at: i64) -> Rates {
        let after = self.rates.partition_point(|rate| rate.0 <= at);
        let found = self.rates.get(after.saturating_sub(1));
        found.map_or_else(Rates::default, |rate| rate.1)
    }

    fn edges(&self) -> impl Iterator<Item = i64> + '_ {
        self.rates.iter().map(|rate| rate.0)
    }
}

type NodeKey<'c> = (&'c str, &'c str);

/// The accounts of a window.
pub fn ledger(cluster: &Cluster, book: &Book, window: Span) -> Ledger {
    let mut made = Ledger {
        window,
        ..Ledger::default()
    };
    let mut prices: BTreeMap<NodeKey<'_>, NodePrices<'_>> = BTreeMap::new();
    for node in &cluster.nodes {
        let key = (node.cluster.as_str(), node.name.as_str());
        prices.insert(key, NodePrices::new(book, Some(node), window));
    }
    for pod in &cluster.pods {
        let key = (pod.cluster.as_str(), pod.node.as_str());
        prices
            .entry(key)
            .or_insert_with(|| NodePrices::new(book, None, window));
    }
    let mut owners: BTreeMap<(&str, &str, &str), Vec<usize>> = BTreeMap::new();
    for (index, pod) in cluster.pods.iter().enumerate() {
        for claim in &pod.claims {
            let key = (&*pod.cluster, &*pod.namespace, claim.as_str());
            owners.entry(key).or_default().push(index);
        }
    }
    let mut accounts = Accounts::default();
    for (index, pod) in cluster.pods.iter().enumerate() {
        let prices = &prices[&(pod.cluster.as_str(), pod.node.as_str())];
        accounts.take_pod(index, pod, prices, book, window);
    }
    for volume in &cluster.volumes {
        let claim = volume.claim.as_ref();
        let key = claim.map(|c| (volume.cluster.as_str(), c.0.as_str(), c.1.as_str()));
        let users = key.and_then(|key| owners.get(&key));
        let users = users.map_or(&[][..], Vec::as_slice);
        made.assets
            .extend(accounts.take_volume(volume, users, cluster, book, window));
    }
    for balancer in &cluster.balancers {
        made.assets
            .extend(accounts.take_balancer(balancer, cluster, book, window));
    }
    for node in &cluster.nodes {
        let prices = &prices[&(node.cluster.as_str(), node.name.as_str())];
        made.assets.extend(node_asset(node, prices, window));
    }
    made.allocations = accounts.finish();
    made.assets
        .extend(other_assets(cluster, &made.allocations, book, window));
    settle_breakdowns(&mut made);
    made
}

/// Allocations while they are made.
#[derive(Default)]
struct Accounts {
    all: Vec<Allocation>,
    /// The containers of each pod that ran in the window.
    of_pod: BTreeMap<usize, Vec<usize>>,
    /// What no pod mounts, by cluster and namespace.
    unmounted: BTreeMap<(String, String), Allocation>,
}

impl Accounts {
    fn take_pod(
        &mut self,
        index: usize,
        pod: &Pod,
        prices: &NodePrices<'_>,
        book: &Book,
        window: Span,
    ) {
        let first = self.all.len();
        for container in &pod.containers {
            let lives = container.lives.iter().map(|life| life.intersect(window));
            let lives: Vec<Span> = lives.filter(|life| !life.is_empty()).collect();
            if lives.is_empty() {
                continue;
            }
            let mut made = charge(container, &lives, prices);
            made.window = window;
            made.properties = properties(pod, &container.name, prices.node);
            made.name = name_of(&made.properties);
            self.of_pod.entry(index).or_default().push(self.all.len());
            self.all.push(made);
        }
        let count = self.all.len() - first;
        if count == 0 {
            return;
        }
        // What is known of the pod only is shared evenly by its containers.
        let part = 1.0 / count as f64;
        let life = pod.life.intersect(window);
        let (sent, received) = (pod.sent.amount(life), pod.received.amount(life));
        let flows = [&pod.flow.zone, &pod.flow.region, &pod.flow.internet];
        let mut network = [0.0; 3];
        for (which, flow) in flows.into_iter().enumerate() {
            network[which] = flow_cost(flow, life, book, which);
        }
        for made in &mut self.all[first..] {
            (made.sent, made.received) = (sent * part, received * part);
            made.network = network.map(|cost| cost * part);
        }
    }

    /// What no pod of a namespace uses.
    fn unmounted(&mut self, cluster: &str, namespace: &str, window: Span) -> &mut Allocation {
        let key = (cluster.to_owned(), namespace.to_owned());
        self.unmounted.entry(key).or_insert_with(|| {
            let properties = Properties {
                cluster: cluster.to_owned(),
                namespace: namespace.to_owned(),
                pod: UNMOUNTED.to_owned(),
                container: UNMOUNTED.to_owned(),
                ..Properties::default()
            };
            Allocation {
                name: name_of(&properties),
                properties,
                window,
                ..Allocation::default()
            }
        })
    }

    /// Shares a volume among those who mount it, moment by moment.
    fn take_volume(
        &mut self,
        volume: &Volume,
        users: &[usize],
        cluster: &Cluster,
        book: &Book,
        window: Span,
    ) -> Option<Asset> {
        let life = volume.life.intersect(window);
        if life.is_empty() {
            return None;
        }
        let lives = |user: &usize| (*user, cluster.pods[*user].life.intersect(life));
        let users: Vec<(usize, Span)> = users.iter().map(lives).collect();
        let edges = users.iter().flat_map(|(_, life)| [life.start, life.end]);
        let edges: Vec<i64> = edges.chain(book.edges()).collect();
        let mut asset = Asset::new(AssetKind::Disk, &volume.cluster, &volume.name, life);
        let namespace = volume.claim.as_ref().map_or(UNMOUNTED, |claim| &claim.0);
        let key = (volume.cluster.clone(), volume.name.clone());
        for piece in life.cut(edges) {
            let byte_hours = volume.bytes * piece.hours();
            let cost = byte_hours / GIB * book.volume(volume, piece.start);
            asset.byte_hours += byte_hours;
            asset.cost += cost;
            let mounts = users.iter().filter(|(_, life)| life.contains(piece.start));
            let mounts = mounts.filter_map(|(user, _)| self.of_pod.get(user));
            let mounts: Vec<Vec<usize>> = mounts.cloned().collect();
            let pods = mounts.len().max(1) as f64;
            let give = |to: &mut Allocation, part: f64| {
                let share = to
                    .volumes
                    .entry(key.clone())
                    .or_insert_with(|| VolumeShare {
                        provider_id: volume.provider_id.clone(),
                        ..VolumeShare::default()
                    });
                share.byte_hours += byte_hours * part;
                share.cost += cost * part;
            };
            if mounts.is_empty() {
                let account = self.unmounted(&volume.cluster, namespace, window);
                account.life = account.life.union(piece);
                give(account, 1.0);
            }
            for containers in &mounts {
                let part = 1.0 / (pods * containers.len() as f64);
                for index in containers {
                    give(&mut self.all[*index], part);
                }
            }
        }
        asset.provider_id.clone_from(&volume.provider_id);
        asset.class.clone_from(&volume.class);
        asset.claim.clone_from(&volume.claim);
        if !volume.used.is_empty() {
            asset.used = Some((volume.used.amount(life) / 3600.0, volume.used.max(life)));
        }
        Some(asset)
    }

    /// Shares a load balancer among the pods of its service by how long they ran.
    fn take_balancer(
        &mut self,
        balancer: &Balancer,
        cluster: &Cluster,
        book: &Book,
        window: Span,
    ) -> Option<Asset> {
        let life = balancer.life.intersect(window);
        if life.is_empty() {
            return None;
        }
        let service = format!("{}/{}", balancer.namespace, balancer.service);
        let key = format!("{}/{service}", balancer.cluster);
        let cost = book.integrate(life, |at| book.at(at).load_balancer);
        let share = |cost: f64, hours: f64| BalancerShare {
            service: service.clone(),
            cost,
            private: balancer.is_private(),
            ip: balancer.address.clone(),
            hours,
        };
        let mut used = Vec::new();
        for (index, containers) in &self.of_pod {
            let pod = &cluster.pods[*index];
            let leads = pod.cluster == balancer.cluster
                && pod.namespace == balancer.namespace
                && pod.services.contains(&balancer.service);
            if leads {
                used.extend(containers.iter().copied());
            }
        }
        let hours = |index: &usize| (*index, self.all[*index].life.intersect(life).hours());
        let used: Vec<(usize, f64)> = used.iter().map(hours).filter(|u| u.1 > 0.0).collect();
        let all: f64 = used.iter().map(|(_, hours)| hours).sum();
        for (index, hours) in &used {
            let part = share(cost * hours / all, *hours);
            self.all[*index].balancers.insert(key.clone(), part);
        }
        if used.is_empty() {
            let account = self.unmounted(&balancer.cluster, UNMOUNTED, window);
            account.life = account.life.union(life);
            account.properties.services.push(balancer.service.clone());
            account
                .balancers
                .insert(key.clone(), share(cost, life.hours()));
        }
        let mut asset = Asset::new(AssetKind::LoadBalancer, &balancer.cluster, &service, life);
        asset.cost = cost;
        asset.address = (balancer.address.clone(), balancer.is_private());
        Some(asset)
    }

    fn finish(mut self) -> Vec<Allocation> {
        self.all.extend(self.unmounted.into_values());
        self.all.retain(|made| !made.life.is_empty());
        self.all
    }
}

fn name_of(properties: &Properties) -> String {
    let p = properties;
    [&p.cluster, &p.node, &p.namespace, &p.pod, &p.container]
        .map(String::as_str)
        .join("/")
}

fn properties(pod: &Pod, container: &str, node: Option<&Node>) -> Properties {
    Properties {
        cluster: pod.cluster.clone(),
        node: pod.node.clone(),
        container: container.to_owned(),
        controller: pod.controller.name.clone(),
        controller_kind: pod.controller.kind.clone(),
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        services: pod.services.clone(),
        provider_id: node.map_or_else(String::new, |node| node.provider_id.clone()),
        labels: pod.labels.clone(),
        annotations: pod.annotations.clone(),
        namespace_labels: pod.namespace_labels.clone(),
        namespace_annotations: pod.namespace_annotations.clone(),
    }
}

/// What a container cost while it ran.
fn charge(container: &Container, lives: &[Span], prices: &NodePrices<'_>) -> Allocation {
    let mut made = Allocation::default();
    let mut peak = (0.0f64, 0.0f64);
    for life in lives {
        made.life = made.life.union(*life);
        let of =
            |request: &crate::span::Steps, usage: &Usage, scale: f64, rate: fn(Rates) -> f64| {
                let edges = request.edges().chain(prices.edges()).collect::<Vec<_>>();
                let edges = edges.into_iter().chain(usage.edges(*life));
                let mut sum = Resource::default();
                for piece in life.cut(edges) {
                    let (hours, at) = (piece.hours(), piece.start);
                    let (requested, used) = (request.at(at), usage.at(at));
                    let charged = requested.max(used) * hours;
                    sum.hours += charged;
                    sum.requested += requested * hours;
                    sum.used += used * hours;
                    sum.cost += charged / scale * rate(prices.at(at));
                }
                sum
            };
        let (cpu, ram) = (&container.cpu_usage, &container.ram_usage);
        for (sum, more) in [
            (
                &mut made.cpu,
                of(&container.cpu_request, cpu, 1.0, |rates| rates.cpu),
            ),
            (
                &mut made.ram,
                of(&container.ram_request, ram, GIB, |rates| rates.ram),
            ),
            (
                &mut made.gpu,
                of(&container.gpu_request, &container.gpu_usage, 1.0, |r| r.gpu),
            ),
        ] {
            sum.hours += more.hours;
            sum.requested += more.requested;
            sum.used += more.used;
            sum.cost += more.cost;
        }
        peak = (peak.0.max(cpu.max(*life)), peak.1.max(ram.max(*life)));
    }
    made.peak = Some(peak);
    made
}

/// Dollars for bytes that left: `which` is zone, region or internet.
fn flow_cost(flow: &Usage, life: Span, book: &Book, which: usize) -> f64 {
    if flow.is_empty() {
        return 0.0;
    }
    let pieces = life.cut(book.edges());
    let cost = pieces.iter().map(|piece| {
        let prices = book.at(piece.start);
        let price = [
            prices.zone_egress,
            prices.region_egress,
            prices.internet_egress,
        ][which];
        flow.amount(*piece) / GIB * price
    });
    cost.sum()
}

fn node_asset(node: &Node, prices: &NodePrices<'_>, window: Span) -> Option<Asset> {
    let life = node.life.intersect(window);
    if life.is_empty() {
        return None;
    }
    let mut asset = Asset::new(AssetKind::Node, &node.cluster, &node.name, life);
    let sizes = node
        .cpu
        .edges()
        .chain(node.ram.edges())
        .chain(node.gpu.edges());
    for piece in life.cut(sizes.chain(prices.edges()).collect::<Vec<_>>()) {
        let (at, hours) = (piece.start, piece.hours());
        let rates = prices.at(at);
        let amounts = [node.cpu.at(at), node.ram.at(at), node.gpu.at(at)].map(|n| n * hours);
        let costs = [
            amounts[0] * rates.cpu,
            amounts[1] / GIB * rates.ram,
            amounts[2] * rates.gpu,
        ];
        for resource in 0..3 {
            asset.amounts[resource] += amounts[resource];
            asset.costs[resource] += costs[resource];
        }
    }
    asset.provider_id.clone_from(&node.provider_id);
    asset.labels.clone_from(&node.labels);
    node.instance_type().clone_into(&mut asset.class);
    asset.preemptible = is_spot(node);
    Some(asset)
}

/// Network and management, by cluster.
fn other_assets(
    cluster: &Cluster,
    allocations: &[Allocation],
    book: &Book,
    window: Span,
) -> Vec<Asset> {
    let mut lives: BTreeMap<&str, Span> = BTreeMap::new();
    for node in &cluster.nodes {
        let life = lives.entry(&node.cluster).or_default();
        *life = life.union(node.life.intersect(window));
    }
    let mut made = Vec::new();
    for (name, life) in lives {
        let of = allocations.iter().filter(|a| a.properties.cluster == name);
        let network: f64 = of.map(Allocation::network_cost).sum();
        let management = book.integrate(life, |at| book.at(at).cluster_management);
        for (kind, cost) in [
            (AssetKind::Network, network),
            (AssetKind::ClusterManagement, management),
        ] {
            if cost > 0.0 {
                let mut asset = Asset::new(kind, name, name, life);
                asset.cost = cost;
                made.push(asset);
            }
        }
    }
    made
}

/// What pods used of each node, as a share.
fn settle_breakdowns(made: &mut Ledger) {
    let mut used: BTreeMap<(&str, &str), [f64; 2]> = BTreeMap::new();
    for allocation in &made.allocations {
        let p = &allocation.properties;
        let sum = used.entry((&p.cluster, &p.node)).or_default();
        sum[0] += allocation.cpu.used;
        sum[1] += allocation.ram.used;
    }
    for asset in made.assets.iter_mut().filter(|a| a.kind == AssetKind::Node) {
        let Some(sums) = used.get(&(asset.cluster.as_str(), asset.name.as_str())) else {
            let idle = Breakdown {
                idle: 1.0,
                ..Breakdown::default()
            };
            asset.breakdowns = [idle; 2];
            continue;
        };
        for ((told, used), whole) in asset.breakdowns.iter_mut().zip(sums).zip(asset.amounts) {
            let user = if whole > 0.0 {
                (used / whole).min(1.0)
            } else {
                0.0
            };
            *told = Breakdown {
                idle: 1.0 - user,
                user,
                ..Breakdown::default()
            };
        }
    }
}

impl Ledger {
    /// What each node cost and nobody was charged for.
    pub fn idle(&self) -> Vec<Allocation> {
        let mut charged: BTreeMap<(&str, &str), [Resource; 3]> = BTreeMap::new();
        for allocation in &self.allocations {
            let p = &allocation.properties;
            let sums = charged.entry((&p.cluster, &p.node)).or_default();
            for (sum, own) in
                sums.iter_mut()
                    .zip([&allocation.cpu, &allocation.ram, &allocation.gpu])
            {
                sum.hours += own.hours;
                sum.cost += own.cost;
            }
        }
        let nodes = self.assets.iter().filter(|a| a.kind == AssetKind::Node);
        let idle = nodes.map(|asset| {
            let key = (asset.cluster.as_str(), asset.name.as_str());
            let charged = charged.get(&key).copied().unwrap_or_default();
            let rest = |which: usize| Resource {
                hours: asset.amounts[which] - charged[which].hours,
                cost: asset.costs[which] - charged[which].cost,
                ..Resource::default()
            };
            Allocation {
                name: format!("{}/{}/{IDLE}", asset.cluster, asset.name),
                properties: Properties {
                    cluster: asset.cluster.clone(),
                    node: asset.name.clone(),
                    provider_id: asset.provider_id.clone(),
                    ..Properties::default()
                },
                window: self.window,
                life: asset.life,
                cpu: rest(0),
                ram: rest(1),
                gpu: rest(2),
                ..Allocation::default()
            }
        });
        idle.collect()
    }

    /// All dollars that are paid.
    pub fn paid(&self) -> f64 {
        self.assets.iter().map(Asset::total).sum()
    }
}

#[cfg(test)]
mod tests;
