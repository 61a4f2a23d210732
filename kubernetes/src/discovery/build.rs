//! From objects to target groups, as Prometheus builds them.
//!
//! Invariant: pure functions of the world and a key; an object that is gone gives a group without
//! targets.

mod endpoints;
mod ingress;
mod node;
mod pod;
mod service;
mod slice;

use obs_model::{Labels, TargetGroup};

use super::Role;
use super::names::Set;
use super::world::World;
use crate::object::Key;

/// The group of one object; `None` where the one before stays.
pub(super) fn group(world: &World, key: &Key) -> Option<TargetGroup> {
    let source = match world.role {
        Role::Node => format!("node/{}", key.name),
        Role::Pod => format!("pod/{}/{}", key.namespace, key.name),
        Role::Service => format!("svc/{}/{}", key.namespace, key.name),
        Role::Endpoints => format!("endpoints/{}/{}", key.namespace, key.name),
        Role::EndpointSlice => format!("endpointslice/{}/{}", key.namespace, key.name),
        Role::Ingress => format!("ingress/{}/{}", key.namespace, key.name),
    };
    let built = match world.role {
        Role::Node => match world.nodes.get(key) {
            Some(node) => Some(node::build(node)?),
            None => None,
        },
        Role::Pod => world.pods.get(key).map(|pod| pod::build(world, pod)),
        Role::Service => world.services.get(key).map(|s| service::build(world, s)),
        Role::Endpoints => world.endpoints.get(key).map(|e| endpoints::build(world, e)),
        Role::EndpointSlice => world.slices.get(key).map(|s| slice::build(world, s)),
        Role::Ingress => world.ingresses.get(key).map(|i| ingress::build(world, i)),
    };
    let Some(Built { labels, targets }) = built else {
        return Some(TargetGroup::gone(source));
    };
    Some(TargetGroup {
        source: source.into(),
        labels: labels.labels.build(),
        targets,
    })
}

/// What became of an object.
struct Built {
    labels: Set,
    targets: Vec<Labels>,
}

/// Labels and annotations of the namespace, where they are attached.
fn attach_namespace(world: &World, set: &mut Set, namespace: &str) {
    if world.attach.namespace
        && let Some(found) = world.namespaces.get(&Key::new("", namespace))
    {
        set.labels_and_annotations("namespace", &found.metadata);
    }
}

/// Name, labels and annotations of a node, where they are attached.
fn attach_node(world: &World, set: &mut Set, node: Option<&str>) {
    if world.attach.node
        && let Some(node) = node
        && let Some(found) = world.nodes.get(&Key::new("", node))
    {
        set.object("node", &found.metadata);
    }
}
