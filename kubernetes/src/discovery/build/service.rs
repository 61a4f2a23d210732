//! Role `service`: each port of each service.

use super::{Built, attach_namespace};
use crate::discovery::names::{Set, join};
use crate::discovery::world::World;
use crate::object::network::ServiceObject;

/// Labels of a service, which its endpoints have too.
pub(super) fn labels(set: &mut Set, service: &ServiceObject) {
    set.meta("namespace", &service.metadata.namespace);
    set.object("service", &service.metadata);
}

pub(super) fn build(world: &World, service: &ServiceObject) -> Built {
    let (meta, spec) = (&service.metadata, &service.spec);
    let mut group = Set::default();
    labels(&mut group, service);
    attach_namespace(world, &mut group, &meta.namespace);
    let host = format!("{}.{}.svc", meta.name, meta.namespace);
    let target = |port: &crate::object::network::ServicePort| {
        let mut set = Set::default();
        set.plain("__address__", &join(&host, port.port));
        set.meta("service_port_name", &port.name);
        set.meta("service_port_number", &port.port.to_string());
        set.meta("service_port_protocol", &port.protocol);
        set.meta("service_type", &spec.kind);
        match &*spec.kind {
            "ExternalName" => set.meta("service_external_name", &spec.external_name),
            _ => set.meta("service_cluster_ip", &spec.cluster_ip),
        }
        if &*spec.kind == "LoadBalancer" {
            set.meta("service_loadbalancer_ip", &load_balancer_ips(service));
        }
        set.labels.build()
    };
    Built {
        targets: spec.ports.iter().map(target).collect(),
        labels: group,
    }
}

fn load_balancer_ips(service: &ServiceObject) -> String {
    let ingress = service.status.load_balancer.ingress.iter();
    let ips: Vec<&str> = ingress
        .map(|i| &*i.ip)
        .filter(|ip| !ip.is_empty())
        .collect();
    match ips.is_empty() {
        true => service.spec.load_balancer_ip.clone().into(),
        false => ips.join(","),
    }
}
