//! The objects that discovery knows, and which targets depend on which of them.
//!
//! Invariants: an object that comes again as it was changes nothing; what a list does not have any
//! more is gone when the list is complete; every target group whose objects changed is built
//! again, and no other.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::{Attach, Role};
use crate::object::network::{
    EndpointsObject, IngressObject, NodeObject, ServiceObject, SliceObject, TargetRef,
};
use crate::object::pod::PodObject;
use crate::object::{Key, Meta, MetaObject};
use crate::watch::Event;

/// The label that says whose endpoint slice it is.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Most objects of one resource: the largest clusters that Kubernetes is made for have 150,000
/// pods. Those beyond are not kept, which is told.
const OBJECTS_MAX: usize = 500_000;

/// Objects of one resource, from one or more watches (one for each namespace).
#[derive(Debug)]
pub(super) struct Table<T> {
    objects: HashMap<Key, Held<T>>,
    objects_max: usize,
    refused: u64,
    /// How often each watch began a list.
    lists: Vec<u32>,
    /// Watches whose first list is complete.
    ready: Vec<bool>,
}

#[derive(Debug)]
struct Held<T> {
    object: T,
    watch: usize,
    seen: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            objects_max: OBJECTS_MAX,
            refused: 0,
            lists: Vec::new(),
            ready: Vec::new(),
        }
    }
}

impl<T: PartialEq> Table<T> {
    /// Adds a watch and gives its number.
    pub(super) fn add_watch(&mut self) -> usize {
        self.lists.push(0);
        self.ready.push(false);
        self.lists.len() - 1
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.iter().all(|ready| *ready)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&T> {
        self.objects.get(key).map(|held| &held.object)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Takes in an event and tells what changed.
    pub(super) fn take(&mut self, watch: usize, event: Event<T>, changed: &mut Vec<Key>) {
        match event {
            Event::Start => self.lists[watch] += 1,
            Event::Put(key, object) => {
                let seen = self.lists[watch];
                let held = Held {
                    object,
                    watch,
                    seen,
                };
                let full = self.objects.len() >= self.objects_max;
                match self.objects.get_mut(&key) {
                    Some(old) => {
                        if old.object != held.object {
                            changed.push(key);
                        }
                        *old = held;
                    }
                    None if full => {
                        self.refused += 1;
                        if self.refused.is_power_of_two() {
                            let (limit, refused) = (self.objects_max, self.refused);
                            tracing::warn!(limit, refused, "objects are not kept: too many");
                        }
                    }
                    None => {
                        changed.push(key.clone());
                        self.objects.insert(key, held);
                    }
                }
            }
            Event::Gone(key) => {
                if self.objects.remove(&key).is_some() {
                    changed.push(key);
                }
            }
            Event::Ready => {
                self.ready[watch] = true;
                let seen = self.lists[watch];
                self.objects.retain(|key, held| {
                    let stays = held.watch != watch || held.seen == seen;
                    if !stays {
                        changed.push(key.clone());
                    }
                    stays
                });
            }
        }
    }
}

/// What a target group depends on beside its own object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    Node(Box<str>),
    Namespace(Box<str>),
    Service(Key),
    Pod(Key),
    ReplicaSet(Key),
    Job(Key),
}

/// One event of one watch.
#[derive(Debug)]
pub(super) enum Change {
    Node(Event<NodeObject>),
    Namespace(Event<MetaObject>),
    Service(Event<ServiceObject>),
    Pod(Event<PodObject>),
    Endpoints(Event<EndpointsObject>),
    Slice(Event<SliceObject>),
    Ingress(Event<IngressObject>),
    ReplicaSet(Event<MetaObject>),
    Job(Event<MetaObject>),
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct World {
    pub(super) role: Role,
    pub(super) attach: Attach,
    pub(super) nodes: Table<NodeObject>,
    pub(super) namespaces: Table<MetaObject>,
    pub(super) services: Table<ServiceObject>,
    pub(super) pods: Table<PodObject>,
    pub(super) endpoints: Table<EndpointsObject>,
    pub(super) slices: Table<SliceObject>,
    pub(super) ingresses: Table<IngressObject>,
    pub(super) replica_sets: Table<MetaObject>,
    pub(super) jobs: Table<MetaObject>,
    /// Which groups to build again when a cause changes.
    dependants: HashMap<Cause, HashSet<Key>>,
    causes: HashMap<Key, Vec<Cause>>,
    /// Groups to build again.
    dirty: HashSet<Key>,
}

impl World {
    pub(super) fn new(role: Role, attach: Attach) -> Self {
        Self {
            role,
            attach,
            nodes: Table::default(),
            namespaces: Table::default(),
            services: Table::default(),
            pods: Table::default(),
            endpoints: Table::default(),
            slices: Table::default(),
            ingresses: Table::default(),
            replica_sets: Table::default(),
            jobs: Table::default(),
            dependants: HashMap::new(),
            causes: HashMap::new(),
            dirty: HashSet::new(),
        }
    }

    /// Whether the first list of every watch is complete.
    pub(super) fn is_ready(&self) -> bool {
        self.nodes.is_ready()
            && self.namespaces.is_ready()
            && self.services.is_ready()
            && self.pods.is_ready()
            && self.endpoints.is_ready()
            && self.slices.is_ready()
            && self.ingresses.is_ready()
            && self.replica_sets.is_ready()
            && self.jobs.is_ready()
    }

    /// How many objects are held.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
            + self.namespaces.len()
            + self.services.len()
            + self.pods.len()
            + self.endpoints.len()
            + self.slices.len()
            + self.ingresses.len()
            + self.replica_sets.len()
            + self.jobs.len()
    }

    /// Takes in an event of a watch.
    pub(super) fn take(&mut self, watch: usize, change: Change) {
        let mut changed = Vec::new();
        let cause: fn(Key) -> Cause = match change {
            Change::Node(event) => {
                self.nodes.take(watch, event, &mut changed);
                |key| Cause::Node(key.name)
            }
            Change::Namespace(event) => {
                self.namespaces.take(watch, event, &mut changed);
                |key| Cause::Namespace(key.name)
            }
            Change::Service(event) => {
                self.services.take(watch, event, &mut changed);
                Cause::Service
            }
            Change::Pod(event) => {
                self.pods.take(watch, event, &mut changed);
                Cause::Pod
            }
            Change::ReplicaSet(event) => {
                self.replica_sets.take(watch, event, &mut changed);
                Cause::ReplicaSet
            }
            Change::Job(event) => {
                self.jobs.take(watch, event, &mut changed);
                Cause::Job
            }
            Change::Endpoints(event) => {
                self.endpoints.take(watch, event, &mut changed);
                return self.main_changed(changed);
            }
            Change::Slice(event) => {
                self.slices.take(watch, event, &mut changed);
                return self.main_changed(changed);
            }
            Change::Ingress(event) => {
                self.ingresses.take(watch, event, &mut changed);
                return self.main_changed(changed);
            }
        };
        for key in changed {
            let cause = cause(key.clone());
            if self.is_main(&cause) {
                self.main_changed(vec![key]);
            } else if let Some(keys) = self.dependants.get(&cause) {
                self.dirty.extend(keys.iter().cloned());
            }
        }
    }

    /// Whether objects of this kind are what the role makes groups of.
    fn is_main(&self, cause: &Cause) -> bool {
        match cause {
            Cause::Node(_) => self.role == Role::Node,
            Cause::Service(_) => self.role == Role::Service,
            Cause::Pod(_) => self.role == Role::Pod,
            Cause::Namespace(_) | Cause::ReplicaSet(_) | Cause::Job(_) => false,
        }
    }

    /// Objects changed that are groups of their own.
    fn main_changed(&mut self, keys: Vec<Key>) {
        for key in keys {
            self.forget_causes(&key);
            let causes = self.causes_of(&key);
            for cause in &causes {
                let keys = self.dependants.entry(cause.clone()).or_default();
                keys.insert(key.clone());
            }
            if !causes.is_empty() {
                self.causes.insert(key.clone(), causes);
            }
            self.dirty.insert(key);
        }
    }

    fn forget_causes(&mut self, key: &Key) {
        for cause in self.causes.remove(key).unwrap_or_default() {
            if let Some(keys) = self.dependants.get_mut(&cause) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependants.remove(&cause);
                }
            }
        }
    }

    /// What the group of this object depends on.
    fn causes_of(&self, key: &Key) -> Vec<Cause> {
        let mut causes = Vec::new();
        let exists = match self.role {
            Role::Node => return causes,
            Role::Service => self.services.get(key).is_some(),
            Role::Ingress => self.ingresses.get(key).is_some(),
            Role::Pod => self.pods.get(key).is_some_and(|pod| {
                if self.attach.node {
                    causes.push(Cause::Node(pod.spec.node_name.clone()));
                }
                causes.extend(self.cause_of_owner(&pod.metadata));
                true
            }),
            Role::Endpoints => self.endpoints.get(key).is_some_and(|endpoints| {
                causes.push(Cause::Service(key.clone()));
                let subsets = endpoints.subsets.iter();
                let addresses =
                    subsets.flat_map(|s| s.addresses.iter().chain(&s.not_ready_addresses));
                for address in addresses {
                    self.causes_of_endpoint(
                        address.target_ref.as_ref(),
                        address.node_name.as_deref(),
                        &mut causes,
                    );
                }
                true
            }),
            Role::EndpointSlice => self.slices.get(key).is_some_and(|slice| {
                if let Some(service) = slice.metadata.labels.get(SERVICE_NAME) {
                    causes.push(Cause::Service(Key::new(&key.namespace, service)));
                }
                for endpoint in &slice.endpoints {
                    self.causes_of_endpoint(
                        endpoint.target_ref.as_ref(),
                        endpoint.node_name.as_deref(),
                        &mut causes,
                    );
                }
                true
            }),
        };
        if exists && self.attach.namespace {
            causes.push(Cause::Namespace(key.namespace.clone()));
        }
        causes
    }

    fn causes_of_endpoint(
        &self,
        target: Option<&TargetRef>,
        node: Option<&str>,
        causes: &mut Vec<Cause>,
    ) {
        match target {
            Some(target) if &*target.kind == "Pod" => {
                causes.push(Cause::Pod(Key::new(&target.namespace, &target.name)));
            }
            Some(target) if &*target.kind == "Node" && self.attach.node => {
                causes.push(Cause::Node(target.name.clone()));
            }
            _ => {}
        }
        if let Some(node) = node.filter(|_| self.attach.node) {
            causes.push(Cause::Node(node.into()));
        }
    }

    fn cause_of_owner(&self, meta: &Meta) -> Option<Cause> {
        let owner = meta.controller()?;
        let key = Key::new(&meta.namespace, &owner.name);
        match &*owner.kind {
            "ReplicaSet" if self.attach.deployment => Some(Cause::ReplicaSet(key)),
            "Job" if self.attach.cronjob => Some(Cause::Job(key)),
            _ => None,
        }
    }

    /// The groups to build again.
    pub(super) fn drain_dirty(&mut self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.dirty.drain().collect();
        keys.sort();
        keys
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_bound() {
        let mut table: Table<u8> = Table {
            objects_max: 2,
            ..Table::default()
        };
        let watch = table.add_watch();
        let mut changed = Vec::new();
        for name in ["a", "b", "c"] {
            let put = Event::Put(Key::new("", name), 1);
            table.take(watch, put, &mut changed);
        }
        assert_eq!((table.len(), table.refused, changed.len()), (2, 1, 2));
        // What is known goes on.
        table.take(watch, Event::Put(Key::new("", "a"), 2), &mut changed);
        assert_eq!(table.get(&Key::new("", "a")), Some(&2));
        table.take(watch, Event::Gone(Key::new("", "b")), &mut changed);
        table.take(watch, Event::Put(Key::new("", "c"), 1), &mut changed);
        assert_eq!((table.len(), changed.len()), (2, 5));
    }
}
