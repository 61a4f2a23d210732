//! The metrics that OpenCost exports, by its names, as things are at a time.

use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind::Gauge;

use crate::GIB;
use crate::cluster::{Cluster, Node, Pod};
use crate::prices::{Book, is_spot};

/// Families in the order of their names.
pub fn exported(cluster: &Cluster, book: &Book, at: i64) -> Vec<Family> {
    let mut all = nodes(cluster, book, at);
    all.extend(pods(cluster, at));
    all.extend(volumes(cluster, book, at));
    let prices = book.at(at);
    for (name, help, value) in [
        (
            "kubecost_network_zone_egress_cost",
            "Dollars for a GiB to another zone.",
            prices.zone_egress,
        ),
        (
            "kubecost_network_region_egress_cost",
            "Dollars for a GiB to another region.",
            prices.region_egress,
        ),
        (
            "kubecost_network_internet_egress_cost",
            "Dollars for a GiB out of the cloud.",
            prices.internet_egress,
        ),
    ] {
        all.push(Family::new(name, Gauge, help).with(value));
    }
    let help = "Dollars an hour for the cluster's management.";
    let mut management = Family::new("kubecost_cluster_management_cost", Gauge, help);
    let labels = Labels::from_pairs([("provisioner_name", "")]);
    management.push(labels, prices.cluster_management);
    all.push(management);
    all.retain(|family| !family.points.is_empty());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn nodes(cluster: &Cluster, book: &Book, at: i64) -> Vec<Family> {
    const FAMILIES: [(&str, &str); 6] = [
        (
            "node_cpu_hourly_cost",
            "Dollars an hour for a core of a node.",
        ),
        (
            "node_ram_hourly_cost",
            "Dollars an hour for a GiB of a node's memory.",
        ),
        (
            "node_gpu_hourly_cost",
            "Dollars an hour for a GPU of a node.",
        ),
        ("node_total_hourly_cost", "Dollars an hour for a node."),
        ("node_gpu_count", "GPUs of a node."),
        (
            "kubecost_node_is_spot",
            "Whether a node can be taken away for being cheap.",
        ),
    ];
    let mut all = FAMILIES.map(|(name, help)| Family::new(name, Gauge, help));
    for node in cluster.nodes.iter().filter(|node| node.life.end >= at) {
        let rates = book.node(node, at);
        let (cpu, ram, gpu) = (node.cpu.at(at), node.ram.at(at) / GIB, node.gpu.at(at));
        let total = cpu * rates.cpu + ram * rates.ram + gpu * rates.gpu;
        let spot = f64::from(u8::from(is_spot(node)));
        let values = [rates.cpu, rates.ram, rates.gpu, total, gpu, spot];
        for (family, value) in all.iter_mut().zip(values) {
            family.push(node_labels(node), value);
        }
    }
    all.into()
}

fn node_labels(node: &Node) -> Labels {
    Labels::from_pairs([
        ("instance", node.name.as_str()),
        ("node", &node.name),
        ("instance_type", node.instance_type()),
        ("region", node.region()),
        ("provider_id", &node.provider_id),
        (
            "arch",
            node.label(&["kubernetes_io_arch", "beta_kubernetes_io_arch"]),
        ),
    ])
}

fn pods(cluster: &Cluster, at: i64) -> Vec<Family> {
    let cores = "Cores that a container is charged for.";
    let mut cpu = Family::new("container_cpu_allocation", Gauge, cores);
    let bytes = "Bytes of memory that a container is charged for.";
    let mut ram = Family::new("container_memory_allocation_bytes", Gauge, bytes);
    let gpus = "GPUs that a container is charged for.";
    let mut gpu = Family::new("container_gpu_allocation", Gauge, gpus);
    for pod in &cluster.pods {
        let running = |lives: &[crate::Span]| lives.iter().any(|life| life.end >= at);
        for container in pod.containers.iter().filter(|c| running(&c.lives)) {
            let labels = || {
                Labels::from_pairs([
                    ("namespace", pod.namespace.as_str()),
                    ("pod", &pod.name),
                    ("container", &container.name),
                    ("instance", &pod.node),
                    ("node", &pod.node),
                ])
            };
            // What is used now is what was used just before.
            let before = at - 1;
            cpu.push(
                labels(),
                container
                    .cpu_request
                    .at(at)
                    .max(container.cpu_usage.at(before)),
            );
            ram.push(
                labels(),
                container
                    .ram_request
                    .at(at)
                    .max(container.ram_usage.at(before)),
            );
            let count = container.gpu_request.at(at);
            if count > 0.0 {
                gpu.push(labels(), count);
            }
        }
    }
    vec![cpu, ram, gpu]
}

fn volumes(cluster: &Cluster, book: &Book, at: i64) -> Vec<Family> {
    let dollars = "Dollars an hour for a GiB of a volume.";
    let mut price = Family::new("pv_hourly_cost", Gauge, dollars);
    let bytes = "Bytes of a volume that a pod mounts.";
    let mut mounted = Family::new("pod_pvc_allocation", Gauge, bytes);
    for volume in cluster.volumes.iter().filter(|v| v.life.end >= at) {
        let labels = [
            ("volumename", volume.name.as_str()),
            ("persistentvolume", &volume.name),
            ("provider_id", &volume.provider_id),
        ];
        price.push(Labels::from_pairs(labels), book.volume(volume, at));
        let Some((namespace, claim)) = &volume.claim else {
            continue;
        };
        let mounts = |pod: &&Pod| {
            pod.cluster == volume.cluster
                && pod.namespace == *namespace
                && pod.life.end >= at
                && pod.claims.contains(claim)
        };
        for pod in cluster.pods.iter().filter(mounts) {
            let labels = [
                ("namespace", namespace.as_str()),
                ("pod", &pod.name),
                ("persistentvolumeclaim", claim),
                ("persistentvolume", &volume.name),
            ];
            mounted.push(Labels::from_pairs(labels), volume.bytes);
        }
    }
    let help = "Dollars an hour for a load balancer.";
    let mut balancers = Family::new("kubecost_load_balancer_cost", Gauge, help);
    for balancer in cluster.balancers.iter().filter(|b| b.life.end >= at) {
        let labels = [
            ("ingress_ip", balancer.address.as_str()),
            ("namespace", &balancer.namespace),
            ("service_name", &balancer.service),
        ];
        balancers.push(Labels::from_pairs(labels), book.at(at).load_balancer);
    }
    vec![price, mounted, balancers]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Balancer, Container, Volume};
    use crate::span::{Span, Steps};

    #[test]
    fn metrics_of_a_small_cluster() {
        let life = Span::new(0, 10);
        let cluster = Cluster {
            nodes: vec![Node {
                name: "n1".to_owned(),
                life,
                cpu: Steps::constant(2.0),
                ram: Steps::constant(4.0 * GIB),
                ..Node::default()
            }],
            pods: vec![Pod {
                namespace: "a".to_owned(),
                name: "p".to_owned(),
                life,
                claims: vec!["data".to_owned()],
                containers: vec![Container {
                    lives: vec![life],
                    cpu_request: Steps::constant(0.5),
                    ..Container::default()
                }],
                ..Pod::default()
            }],
            volumes: vec![Volume {
                life,
                claim: Some(("a".to_owned(), "data".to_owned())),
                bytes: 7.0,
                ..Volume::default()
            }],
            balancers: vec![Balancer {
                life,
                ..Balancer::default()
            }],
            ..Cluster::default()
        };
        let all = exported(&cluster, &Book::default(), 10);
        let value = |name: &str| {
            let family = all.iter().find(|family| family.name == name);
            family.map(|family| family.points[0].value)
        };
        assert_eq!(value("node_cpu_hourly_cost"), Some(0.031611));
        assert_eq!(
            value("node_total_hourly_cost"),
            Some(2.0 * 0.031611 + 4.0 * 0.004237)
        );
        assert_eq!(value("container_cpu_allocation"), Some(0.5));
        assert_eq!(value("container_gpu_allocation"), None);
        assert_eq!(value("pod_pvc_allocation"), Some(7.0));
        assert_eq!(value("kubecost_load_balancer_cost"), Some(0.025));
        assert_eq!(value("kubecost_network_internet_egress_cost"), Some(0.12));
        assert!(all.is_sorted_by(|a, b| a.name < b.name));
    }
}
