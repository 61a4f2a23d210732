//! Who is behind a log file, an address or a container: the pods of one node, or of all.
//!
//! How: a watch of the pods (of the node, `spec.nodeName`), of which only names, labels,
//! annotations, owners, addresses and containers are kept, found by identity, name, address and
//! container id. Names of deployments and cron jobs are read off the names of their replica sets
//! and jobs, so that no node watches those of the whole cluster.
//!
//! Invariants: a pod that is gone is still found for [`Settings::keep`], for its last lines come
//! after it; a newer pod wins where two claim one address or name; no more than
//! [`Settings::pods_max`] pods are kept, the oldest of those that are gone go first.

mod cache;
mod read;

use std::sync::Arc;
use std::time::Duration;

use obs_model::Timestamp;
use parking_lot::RwLock;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::clock;
use crate::metrics::Counters;
use crate::object::{Key, Pairs};
use crate::resource::{PODS, Query};
use crate::watch::{Event, Watch};
use cache::Cache;
pub(crate) use read::PodObject;

/// Events of the watch that wait to be taken in.
const EVENTS_WAITING: usize = 256;
/// How often pods that are long gone are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// What of the pods is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node whose pods are kept; all pods where `None`.
    pub node: Option<String>,
    /// How long a pod that is gone is still found.
    pub keep: Duration,
    /// Most pods that are kept.
    pub pods_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: None,
            keep: Duration::from_secs(300),
            pods_max: 150_000,
        }
    }
}

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: Key,
    /// Identity over time.
    pub uid: Box<str>,
    /// The node that it runs on.
    pub node: Box<str>,
    /// Its addresses.
    pub ips: Box<[Box<str>]>,
    /// When it was made, RFC 3339.
    pub created: Box<str>,
    /// When the kubelet took it, RFC 3339; empty before.
    pub started: Box<str>,
    /// Labels.
    pub labels: Pairs,
    /// Annotations, without what `kubectl apply` remembers there.
    pub annotations: Pairs,
    /// What made it, from the nearest to the farthest: replica set then deployment, job then cron
    /// job, or one of daemon set, stateful set and others.
    pub owners: Box<[Workload]>,
    /// Its containers: first those of init, then the others, then ephemeral ones.
    pub containers: Box<[Container]>,
}

/// What makes pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment`, `DaemonSet`, …
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its identity, where the pod tells it.
    pub uid: Box<str>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: Box<str>,
    /// The image as the pod asks for it.
    pub image: Box<str>,
    /// Its id without the runtime's name before it; empty before it runs.
    pub id: Box<str>,
    /// How often it was started again.
    pub restarts: u32,
}

impl Pod {
    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| &*c.name == name)
    }

    /// What keeps the pod running: the farthest owner.
    pub fn workload(&self) -> Option<&Workload> {
        self.owners.last()
    }

    /// Resource attributes by OpenTelemetry's names, in a fixed order: `k8s.namespace.name`,
    /// `k8s.pod.name`, `k8s.pod.uid`, `k8s.pod.ip`, `k8s.pod.start_time`, `k8s.node.name`, names
    /// and identities of owners (`k8s.deployment.name`, `k8s.replicaset.name`, …), and with a
    /// container `k8s.container.name`, `k8s.container.restart_count`, `container.id`,
    /// `container.image.name`, `container.image.tag`.
    pub fn attributes(&self, container: Option<&str>) -> Vec<(&'static str, String)> {
        read::attributes(self, container.and_then(|name| self.container(name)))
    }

    /// `service.name` as OpenTelemetry's conventions derive it: annotation, labels
    /// `app.kubernetes.io/instance` and `app.kubernetes.io/name`, the workload, the pod.
    pub fn service_name(&self) -> &str {
        let own = self
            .annotations
            .get("resource.opentelemetry.io/service.name");
        own.or_else(|| self.labels.get("app.kubernetes.io/instance"))
            .or_else(|| self.labels.get("app.kubernetes.io/name"))
            .or_else(|| self.workload().map(|w| &*w.name))
            .unwrap_or(&self.key.name)
    }
}

/// The pods that are known. Clones are the same pods.
#[derive(Clone, Debug)]
pub struct Pods {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    cache: RwLock<Cache>,
    version: watch::Sender<u64>,
}

impl Pods {
    /// No pods yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                cache: RwLock::new(Cache::new(&settings)),
                settings,
                version: watch::Sender::new(0),
            }),
        }
    }

    /// Watches the pods until the token is cancelled.
    pub async fn run(&self, client: Client, counters: &Counters, stop: CancellationToken) {
        let mut query = Query::all(PODS);
        if let Some(node) = &self.shared.settings.node {
            query = query.with_fields(&format!("spec.nodeName={node}"));
        }
        let counters = counters.of("pods", "pods");
        let (sender, mut events) = mpsc::channel(EVENTS_WAITING);
        let watch = Watch::new(client, query, Arc::clone(&counters));
        let watch = watch.run(sender, |event: Event<PodObject>| event, stop.clone());
        let take = async {
            let mut sweep = tokio::time::interval(SWEEP);
            loop {
                tokio::select! {
                    event = events.recv() => match event {
                        Some(event) => self.take(event, clock::now()),
                        None => return,
                    },
                    _ = sweep.tick() => self.sweep(clock::now()),
                }
                counters.objects_are(self.len());
            }
        };
        tokio::join!(watch, take);
    }

    /// Takes in one event of the watch.
    fn take(&self, event: Event<PodObject>, now: Timestamp) {
        let ready = self.shared.cache.write().take(event, now);
        if ready {
            self.shared.version.send_modify(|version| *version += 1);
        }
    }

    fn sweep(&self, now: Timestamp) {
        self.shared.cache.write().sweep(now);
    }

    /// How many pods are kept, with those that are gone.
    pub fn len(&self) -> usize {
        self.shared.cache.read().len()
    }

    /// Whether no pod is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number that changes when pods do; zero until the first list is complete. To wait for a
    /// pod that is not known yet: look, wait for a change for at most some seconds, look again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// The pod of this identity, as in the names of folders below `/var/log/pods`. Static pods are
    /// found by the hash of their configuration as well, which is what their folders have.
    pub fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.shared.cache.read().by_uid(uid)
    }

    /// The pod that has, or had last, this name.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.shared.cache.read().by_name(namespace, name)
    }

    /// The pod with this address. Pods on the network of their node are not found by it.
    pub fn by_ip(&self, ip: &str) -> Option<Arc<Pod>> {
        self.shared.cache.read().by_ip(ip)
    }

    /// The pod that has the container of this id (with or without `containerd://`), and the
    /// container's name.
    pub fn by_container_id(&self, id: &str) -> Option<(Arc<Pod>, Box<str>)> {
        let id = id.rsplit_once("://").map_or(id, |(_, id)| id);
        self.shared.cache.read().by_container_id(id)
    }

    /// Hands in pods from a document of the API: a list or a pod. For tests of what uses this, and
    /// for agents that ask their kubelet's `/pods`.
    pub fn insert_json(&self, bytes: &[u8]) -> Result<usize, serde_json::Error> {
        let pods = read::parse(bytes)?;
        let count = pods.len();
        let now = clock::now();
        for pod in pods {
            self.take(Event::Put(pod.metadata.key(), pod), now);
        }
        self.take(Event::Ready, now);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
