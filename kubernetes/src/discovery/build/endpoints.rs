//! Role `endpoints`: each address of each service, and the other ports of the pods behind them.

use obs_model::Labels;

use super::{Built, attach_namespace, attach_node, pod, service};
use crate::discovery::names::{Set, join};
use crate::discovery::world::World;
use crate::object::Key;
use crate::object::network::{EndpointAddress, EndpointPort, EndpointsObject, TargetRef};
use crate::object::pod::PodObject;

/// The pods behind endpoints in the order in which they were met, with the ports that are theirs.
#[derive(Default)]
pub(super) struct Behind<'a> {
    pods: Vec<(&'a PodObject, Vec<u32>)>,
}

impl<'a> Behind<'a> {
    /// The pod behind an endpoint, if there is one that is known.
    pub(super) fn find(world: &'a World, target: Option<&TargetRef>) -> Option<&'a PodObject> {
        let target = target.filter(|target| &*target.kind == "Pod")?;
        world.pods.get(&Key::new(&target.namespace, &target.name))
    }

    /// Labels of the pod and of the container that has the port, which is noted.
    pub(super) fn meet(
        &mut self,
        world: &World,
        set: &mut Set,
        pod: &'a PodObject,
        port: Option<u32>,
    ) {
        pod::labels(world, set, pod);
        for (container, init) in pod::containers(pod) {
            let found = container
                .ports
                .iter()
                .find(|p| Some(p.container_port) == port);
            if let Some(found) = found {
                pod::port_labels(set, container, found, init);
            }
        }
        let known = self
            .pods
            .iter_mut()
            .find(|(known, _)| std::ptr::eq(*known, pod));
        match known {
            Some((_, ports)) => ports.extend(port),
            None => self.pods.push((pod, port.into_iter().collect())),
        }
    }

    /// Targets of the ports that no endpoint has.
    pub(super) fn finish(self, world: &World, targets: &mut Vec<Labels>) {
        for (pod, ports) in self.pods {
            pod::other_ports(world, pod, &ports, targets);
        }
    }
}

pub(super) fn build(world: &World, endpoints: &EndpointsObject) -> Built {
    let meta = &endpoints.metadata;
    let mut labels = Set::default();
    labels.meta("namespace", &meta.namespace);
    if let Some(found) = world.services.get(&meta.key()) {
        service::labels(&mut labels, found);
    }
    labels.object("endpoints", meta);
    attach_namespace(world, &mut labels, &meta.namespace);
    let (mut targets, mut behind) = (Vec::new(), Behind::default());
    for subset in &endpoints.subsets {
        for port in &subset.ports {
            let kinds = [
                (&subset.addresses, true),
                (&subset.not_ready_addresses, false),
            ];
            for (addresses, ready) in kinds {
                for address in addresses {
                    targets.push(target(world, address, port, ready, &mut behind));
                }
            }
        }
    }
    behind.finish(world, &mut targets);
    Built { labels, targets }
}

fn target<'a>(
    world: &'a World,
    address: &EndpointAddress,
    port: &EndpointPort,
    ready: bool,
    behind: &mut Behind<'a>,
) -> Labels {
    let number = port.port.unwrap_or(0);
    let protocol = port.protocol.as_deref();
    let reference = address.target_ref.as_ref();
    let mut set = Set::default();
    set.plain("__address__", &join(&address.ip, number));
    set.maybe("endpoint_port_name", port.name.as_deref());
    set.maybe("endpoint_port_protocol", protocol);
    set.truth("endpoint_ready", Some(ready));
    set.maybe("endpoint_address_target_kind", reference.map(|r| &*r.kind));
    set.maybe("endpoint_address_target_name", reference.map(|r| &*r.name));
    set.maybe("endpoint_node_name", address.node_name.as_deref());
    set.meta("endpoint_hostname", &address.hostname);
    let of_node = reference.filter(|r| &*r.kind == "Node").map(|r| &*r.name);
    attach_node(world, &mut set, address.node_name.as_deref().or(of_node));
    if let Some(pod) = Behind::find(world, reference) {
        behind.meet(world, &mut set, pod, Some(number));
        if set
            .labels
            .get("__meta_kubernetes_pod_container_port_protocol")
            .is_some()
        {
            // Of the endpoint, not of the container.
            set.maybe("pod_container_port_protocol", protocol);
        }
    }
    set.labels.build()
}
