//! Role `endpointslice`: each address of each endpoint slice, and the other ports of the pods
//! behind them.

use obs_model::Labels;

use super::endpoints::Behind;
use super::{Built, attach_namespace, attach_node, service};
use crate::discovery::names::{Set, join};
use crate::discovery::world::{SERVICE_NAME, World};
use crate::object::Key;
use crate::object::network::{EndpointPort, ServiceObject, SliceEndpoint, SliceObject};

pub(super) fn build(world: &World, slice: &SliceObject) -> Built {
    let meta = &slice.metadata;
    let mut labels = Set::default();
    labels.meta("namespace", &meta.namespace);
    labels.meta("endpointslice_address_type", &slice.address_type);
    labels.object("endpointslice", meta);
    let name = meta.labels.get(SERVICE_NAME);
    let found = name.and_then(|name| world.services.get(&Key::new(&meta.namespace, name)));
    if let Some(found) = found {
        service::labels(&mut labels, found);
    }
    attach_namespace(world, &mut labels, &meta.namespace);
    let mut targets = Vec::new();
    if found.is_some_and(|service| is_second_family(service, slice)) {
        return Built { labels, targets };
    }
    let mut behind = Behind::default();
    for endpoint in &slice.endpoints {
        for port in &slice.ports {
            for address in &endpoint.addresses {
                targets.push(target(world, endpoint, port, address, &mut behind));
            }
        }
    }
    behind.finish(world, &mut targets);
    Built { labels, targets }
}

/// Whether the slice has the addresses of the second family of a service with two: they are the
/// same endpoints again.
fn is_second_family(service: &ServiceObject, slice: &SliceObject) -> bool {
    let policy = service.spec.ip_family_policy.as_deref();
    let dual = matches!(policy, Some("PreferDualStack" | "RequireDualStack"));
    let first = service.spec.ip_families.first();
    dual && first.is_some_and(|first| *first != slice.address_type)
}

fn target<'a>(
    world: &'a World,
    endpoint: &SliceEndpoint,
    port: &EndpointPort,
    address: &str,
    behind: &mut Behind<'a>,
) -> Labels {
    let mut set = Set::default();
    match port.port {
        Some(number) => {
            set.plain("__address__", &join(address, number));
            set.meta("endpointslice_port", &number.to_string());
        }
        None => set.plain("__address__", address),
    }
    set.maybe("endpointslice_port_name", port.name.as_deref());
    set.maybe("endpointslice_port_protocol", port.protocol.as_deref());
    set.maybe(
        "endpointslice_port_app_protocol",
        port.app_protocol.as_deref(),
    );
    let conditions = &endpoint.conditions;
    set.truth("endpointslice_endpoint_conditions_ready", conditions.ready);
    set.truth(
        "endpointslice_endpoint_conditions_serving",
        conditions.serving,
    );
    set.truth(
        "endpointslice_endpoint_conditions_terminating",
        conditions.terminating,
    );
    set.maybe(
        "endpointslice_endpoint_hostname",
        endpoint.hostname.as_deref(),
    );
    let reference = endpoint.target_ref.as_ref();
    set.maybe(
        "endpointslice_address_target_kind",
        reference.map(|r| &*r.kind),
    );
    set.maybe(
        "endpointslice_address_target_name",
        reference.map(|r| &*r.name),
    );
    set.maybe(
        "endpointslice_endpoint_node_name",
        endpoint.node_name.as_deref(),
    );
    set.maybe("endpointslice_endpoint_zone", endpoint.zone.as_deref());
    set.pairs(
        &["endpointslice_endpoint_topology_"],
        &["endpointslice_endpoint_topology_present_"],
        &endpoint.deprecated_topology,
    );
    let of_node = reference.filter(|r| &*r.kind == "Node").map(|r| &*r.name);
    attach_node(world, &mut set, of_node.or(endpoint.node_name.as_deref()));
    if let Some(pod) = Behind::find(world, reference) {
        behind.meet(world, &mut set, pod, port.port);
    }
    set.labels.build()
}
