//! Who a pod is: what the log lines, metrics and spans of a pod get to know about it.
//!
//! [`Pods`] is a small directory that the watch of the API server fills and that lookups by uid,
//! by name and by address read. Invariants: a pod that was deleted stays for
//! [`KEPT_SECONDS`], because its last lines come after its end; the directory holds at most
//! [`PODS_MAX`] pods; a lookup never waits for the network.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use obs_model::spans::{Attribute, attribute};
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, LogBatch, MetricBatch, SpanBatch, Timestamp};

/// How long a deleted pod is remembered.
pub const KEPT_SECONDS: i64 = 300;
/// Far more pods than a node has; enough for an agent that serves a small cluster.
const PODS_MAX: usize = 65_536;

tokio::task_local! {
    /// The address that the request of this task came from.
    pub static PEER: IpAddr;
}

/// The address that the request of this task came from, where one did.
pub(crate) fn peer() -> Option<IpAddr> {
    PEER.try_with(|peer| *peer).ok()
}

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; for static pods also the hash that their folder has.
    pub uid: String,
    /// Another uid that names it, as the hash of the configuration of a static pod.
    pub alias: Option<String>,
    /// The node it runs on.
    pub node: String,
    /// Its addresses; none for pods with the network of the host.
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Kind and name of what it belongs to: `deployment`, `statefulset`, `daemonset`, `job`,
    /// `cronjob`.
    pub workload: Option<(String, String)>,
    /// Images by container.
    pub images: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Known {
    by_uid: HashMap<String, Arc<Pod>>,
    alias: HashMap<String, String>,
    by_address: HashMap<IpAddr, String>,
    /// When pods were deleted.
    gone: HashMap<String, Timestamp>,
}

/// The directory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pods(Arc<RwLock<Known>>);

impl Pods {
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod as it is now.
    pub fn put(&self, pod: Pod) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.by_uid.len() >= PODS_MAX && !known.by_uid.contains_key(&pod.uid) {
            return;
        }
        known.gone.remove(&pod.uid);
        if let Some(alias) = &pod.alias {
            known.alias.insert(alias.clone(), pod.uid.clone());
        }
        for address in &pod.addresses {
            known.by_address.insert(*address, pod.uid.clone());
        }
        known.by_uid.insert(pod.uid.clone(), Arc::new(pod));
    }

    /// A pod is gone; it is forgotten after a while.
    pub fn remove(&self, uid: &str, now: Timestamp) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.gone.insert(uid.to_owned(), now);
        let limit = now.saturating_sub(KEPT_SECONDS * NANOS_PER_SECOND);
        let old = known.gone.iter().filter(|(_, at)| **at < limit);
        let old: Vec<String> = old.map(|(uid, _)| uid.clone()).collect();
        for uid in old {
            known.gone.remove(&uid);
            known.by_uid.remove(&uid);
            known.alias.retain(|_, of| *of != uid);
            known.by_address.retain(|_, of| *of != uid);
        }
    }

    /// By uid, or the hash of a static pod.
    pub fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        let known = self.read();
        let uid = known.alias.get(uid).map_or(uid, String::as_str);
        known.by_uid.get(uid).cloned()
    }

    /// By address.
    pub fn by_address(&self, address: IpAddr) -> Option<Arc<Pod>> {
        let known = self.read();
        known.by_uid.get(known.by_address.get(&address)?).cloned()
    }

    /// Whether nothing is known, so that looking up is of no use.
    pub fn is_empty(&self) -> bool {
        self.read().by_uid.is_empty()
    }

    /// Adds who they are from to spans whose resource says a pod's uid or address, or says nothing
    /// of a pod and came from one.
    pub fn spans(&self, batch: &mut SpanBatch, peer: Option<IpAddr>) {
        if self.is_empty() {
            return;
        }
        for from in &mut batch.resources {
            let attributes = &mut from.resource.attributes;
            let text = |name: &str| match attribute(attributes, name) {
                Some(obs_model::spans::AttributeValue::String(text)) => Some(text.clone()),
                Some(_) | None => None,
            };
            let address = text("k8s.pod.ip").and_then(|ip| ip.parse().ok());
            let Some(pod) = self.find(text("k8s.pod.uid"), address, text("k8s.pod.name"), peer)
            else {
                continue;
            };
            for (name, value) in facts(&pod) {
                if attribute(attributes, name).is_none() {
                    attributes.push(Attribute::string(name, value));
                }
            }
        }
    }

    /// The same for log records: names of OTLP's attributes as labels.
    pub fn logs(&self, batch: &mut LogBatch, peer: Option<IpAddr>) {
        if self.is_empty() {
            return;
        }
        for stream in &mut batch.streams {
            let first = stream.records.first().map(|r| r.metadata.clone());
            let first = first.unwrap_or_default();
            let text = |name: &str| {
                let of = stream.labels.get(name).or_else(|| first.get(name));
                of.map(str::to_owned)
            };
            let address = text("k8s_pod_ip").and_then(|ip| ip.parse().ok());
            let name = text("k8s_pod_name").or_else(|| text("pod"));
            let Some(pod) = self.find(text("k8s_pod_uid"), address, name, peer) else {
                continue;
            };
            stream.labels = with_facts(&stream.labels, &pod);
        }
    }

    /// The same for series that were pushed.
    pub fn metrics(&self, batch: &mut MetricBatch, peer: Option<IpAddr>) {
        if self.is_empty() {
            return;
        }
        for series in &mut batch.series {
            let text = |name: &str| series.labels.get(name).map(str::to_owned);
            let address = text("k8s_pod_ip").and_then(|ip| ip.parse().ok());
            let name = text("k8s_pod_name").or_else(|| text("pod"));
            if let Some(pod) = self.find(text("k8s_pod_uid"), address, name, peer) {
                series.labels = with_facts(&series.labels, &pod);
                series.key = None;
            }
        }
    }

    /// The pod that data is of: by its uid or address, else by the address it came from where it
    /// names no pod itself.
    fn find(
        &self,
        uid: Option<String>,
        address: Option<IpAddr>,
        name: Option<String>,
        peer: Option<IpAddr>,
    ) -> Option<Arc<Pod>> {
        if let Some(uid) = uid {
            return self.by_uid(&uid);
        }
        if let Some(address) = address {
            return self.by_address(address);
        }
        let pod = self.by_address(peer?)?;
        name.is_none_or(|name| name == pod.name).then_some(pod)
    }
}

/// What is known, by the names of OTLP's attributes.
fn facts(pod: &Pod) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("k8s.namespace.name", pod.namespace.clone()),
        ("k8s.pod.name", pod.name.clone()),
        ("k8s.pod.uid", pod.uid.clone()),
        ("k8s.node.name", pod.node.clone()),
    ];
    if let Some((kind, name)) = &pod.workload {
        let attribute = match kind.as_str() {
            "deployment" => Some("k8s.deployment.name"),
            "statefulset" => Some("k8s.statefulset.name"),
            "daemonset" => Some("k8s.daemonset.name"),
            "job" => Some("k8s.job.name"),
            "cronjob" => Some("k8s.cronjob.name"),
            _ => None,
        };
        all.extend(attribute.map(|attribute| (attribute, name.clone())));
    }
    all.retain(|(_, value)| !value.is_empty());
    all
}

/// Labels with what is known of a pod; a uid is no label, there are too many.
fn with_facts(labels: &Labels, pod: &Pod) -> Labels {
    let mut builder = labels.to_builder();
    for (name, value) in facts(pod) {
        let name = name.replace('.', "_");
        if name != "k8s_pod_uid" && labels.get(&name).is_none() {
            builder.set(&name, &value);
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{AttributeValue, ResourceSpans};
    use obs_model::{LogStream, metrics::Series};

    use super::*;

    fn directory() -> Pods {
        let pods = Pods::default();
        pods.put(Pod {
            namespace: "shop".into(),
            name: "cart-0".into(),
            uid: "u1".into(),
            alias: Some("hash".into()),
            node: "n1".into(),
            addresses: vec![IpAddr::from([10, 0, 0, 7])],
            workload: Some(("statefulset".into(), "cart".into())),
            ..Pod::default()
        });
        pods
    }

    #[test]
    fn found_by_uid_address_and_after_the_end() {
        let pods = directory();
        assert_eq!(pods.by_uid("hash"), pods.by_uid("u1"));
        assert!(pods.by_address(IpAddr::from([10, 0, 0, 7])).is_some());
        pods.remove("u1", Timestamp::from_seconds(1000));
        assert!(pods.by_uid("u1").is_some());
        pods.remove("other", Timestamp::from_seconds(1000 + KEPT_SECONDS + 1));
        assert!(pods.by_uid("u1").is_none() && pods.by_uid("hash").is_none());
        assert!(pods.by_address(IpAddr::from([10, 0, 0, 7])).is_none());
    }

    #[test]
    fn all_signals_get_to_know_their_pod() {
        let pods = directory();
        let peer = Some(IpAddr::from([10, 0, 0, 7]));
        let mut spans = SpanBatch {
            resources: vec![ResourceSpans::default()],
        };
        pods.spans(&mut spans, peer);
        let value = attribute(
            &spans.resources[0].resource.attributes,
            "k8s.statefulset.name",
        );
        assert_eq!(value, Some(&AttributeValue::String("cart".into())));
        let mut logs = LogBatch {
            streams: vec![LogStream {
                labels: Labels::from_pairs([("k8s_pod_uid", "u1"), ("k8s_node_name", "own")]),
                records: Vec::new(),
            }],
        };
        pods.logs(&mut logs, None);
        assert_eq!(logs.streams[0].labels.get("k8s_pod_name"), Some("cart-0"));
        assert_eq!(logs.streams[0].labels.get("k8s_node_name"), Some("own"));
        let series = |labels: &[(&str, &str)]| Series {
            labels: Labels::from_pairs(labels.iter().copied()),
            ..Series::default()
        };
        let mut metrics = MetricBatch {
            series: vec![series(&[("a", "b")]), series(&[("pod", "another")])],
            ..MetricBatch::default()
        };
        pods.metrics(&mut metrics, peer);
        let of = |at: usize| metrics.series[at].labels.get("k8s_namespace_name");
        assert_eq!((of(0), of(1)), (Some("shop"), None));
    }
}
