//! Role `pod`: each port of each container of each pod; and what endpoints tell of their pods.

use obs_model::Labels;

use super::{Built, attach_namespace, attach_node};
use crate::discovery::names::{Set, join};
use crate::discovery::world::World;
use crate::object::Key;
use crate::object::pod::{ContainerPort, ContainerSpec, PodObject};

/// Labels of a pod.
pub(super) fn labels(world: &World, set: &mut Set, pod: &PodObject) {
    let PodObject {
        metadata,
        spec,
        status,
    } = pod;
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| &*condition.kind == "Ready");
    let ready = ready.map_or("unknown".to_owned(), |ready| ready.status.to_lowercase());
    set.meta("pod_ip", &status.pod_ip);
    set.meta("pod_ready", &ready);
    set.meta("pod_phase", &status.phase);
    set.meta("pod_node_name", &spec.node_name);
    set.meta("pod_host_ip", &status.host_ip);
    set.meta("pod_uid", &metadata.uid);
    set.object("pod", metadata);
    let Some(owner) = metadata.controller() else {
        return;
    };
    set.meta("pod_controller_kind", &owner.kind);
    set.meta("pod_controller_name", &owner.name);
    let key = Key::new(&metadata.namespace, &owner.name);
    match &*owner.kind {
        "ReplicaSet" if world.attach.deployment => {
            let owner = world
                .replica_sets
                .get(&key)
                .and_then(|rs| rs.metadata.controller());
            let owner = owner.filter(|owner| &*owner.kind == "Deployment");
            set.maybe("pod_deployment_name", owner.map(|owner| &*owner.name));
        }
        "Job" => {
            if world.attach.job {
                set.meta("pod_job_name", &owner.name);
            }
            if world.attach.cronjob {
                let owner = world
                    .jobs
                    .get(&key)
                    .and_then(|job| job.metadata.controller());
                let owner = owner.filter(|owner| &*owner.kind == "CronJob");
                set.maybe("pod_cronjob_name", owner.map(|owner| &*owner.name));
            }
        }
        _ => {}
    }
}

/// Containers and init containers, and whether it is one of the latter.
pub(super) fn containers(pod: &PodObject) -> impl Iterator<Item = (&ContainerSpec, bool)> {
    let own = pod
        .spec
        .containers
        .iter()
        .map(|container| (container, false));
    own.chain(
        pod.spec
            .init_containers
            .iter()
            .map(|container| (container, true)),
    )
}

/// Labels of a container's port.
pub(super) fn port_labels(
    set: &mut Set,
    container: &ContainerSpec,
    port: &ContainerPort,
    init: bool,
) {
    set.meta("pod_container_name", &container.name);
    set.meta("pod_container_image", &container.image);
    set.meta("pod_container_port_name", &port.name);
    set.meta(
        "pod_container_port_number",
        &port.container_port.to_string(),
    );
    set.meta("pod_container_port_protocol", &port.protocol);
    set.truth("pod_container_init", Some(init));
}

/// Targets of the ports of a pod that none of its endpoints has.
pub(super) fn other_ports(
    world: &World,
    pod: &PodObject,
    known: &[u32],
    targets: &mut Vec<Labels>,
) {
    // A pod that is starting or was evicted has no address.
    if pod.status.pod_ip.is_empty() {
        return;
    }
    for (container, init) in containers(pod) {
        for port in container
            .ports
            .iter()
            .filter(|p| !known.contains(&p.container_port))
        {
            let mut set = Set::default();
            set.plain(
                "__address__",
                &join(&pod.status.pod_ip, port.container_port),
            );
            port_labels(&mut set, container, port, init);
            labels(world, &mut set, pod);
            targets.push(set.labels.build());
        }
    }
}

pub(super) fn build(world: &World, pod: &PodObject) -> Built {
    let nothing = || Built {
        labels: Set::default(),
        targets: Vec::new(),
    };
    if pod.status.pod_ip.is_empty() {
        return nothing();
    }
    let node = Key::new("", &pod.spec.node_name);
    // Selectors of nodes select their pods.
    if world.attach.node && world.nodes.get(&node).is_none() {
        return nothing();
    }
    let mut group = Set::default();
    labels(world, &mut group, pod);
    group.meta("namespace", &pod.metadata.namespace);
    attach_node(world, &mut group, Some(&pod.spec.node_name));
    attach_namespace(world, &mut group, &pod.metadata.namespace);
    let mut targets = Vec::new();
    for (container, init) in containers(pod) {
        let statuses = match init {
            true => &pod.status.init_container_statuses,
            false => &pod.status.container_statuses,
        };
        let status = statuses.iter().find(|status| status.name == container.name);
        let id = status.map_or("", |status| &status.container_id);
        if container.ports.is_empty() {
            // Whoever wants it adds a port.
            let mut set = Set::default();
            set.plain("__address__", &pod.status.pod_ip);
            set.meta("pod_container_name", &container.name);
            set.meta("pod_container_id", id);
            set.meta("pod_container_image", &container.image);
            set.truth("pod_container_init", Some(init));
            targets.push(set.labels.build());
        }
        for port in &container.ports {
            let mut set = Set::default();
            set.plain(
                "__address__",
                &join(&pod.status.pod_ip, port.container_port),
            );
            set.meta("pod_container_id", id);
            port_labels(&mut set, container, port, init);
            targets.push(set.labels.build());
        }
    }
    Built {
        labels: group,
        targets,
    }
}
