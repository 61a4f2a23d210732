//! Who a pod is: what the log lines, metrics and spans of a pod get to know about it.
//!
//! [`Pods`] asks the directory that the watch of the API server fills ([`obs_kubernetes::pods`]) by
//! uid and by address. Invariants: a lookup never waits for the network; what data says of itself
//! is never written over.

use std::net::IpAddr;
use std::sync::Arc;

use obs_kubernetes::pods::{self, Pod, Workload};
use obs_model::spans::{Attribute, attribute};
use obs_model::{Labels, LogBatch, MetricBatch, SpanBatch};

tokio::task_local! {
    /// The address that the request of this task came from.
    pub static PEER: IpAddr;
}

/// The address that the request of this task came from, where one did.
pub(crate) fn peer() -> Option<IpAddr> {
    PEER.try_with(|peer| *peer).ok()
}

/// Who pods are, where they are watched. Clones share what is known.
#[derive(Clone, Debug, Default)]
pub struct Pods(Option<pods::Pods>);

impl From<pods::Pods> for Pods {
    fn from(watched: pods::Pods) -> Self {
        Self(Some(watched))
    }
}

impl Pods {
    /// Whether anybody watches pods.
    pub fn is_watched(&self) -> bool {
        self.0.is_some()
    }

    /// Whether all pods that there are were told once.
    pub fn is_complete(&self) -> bool {
        let changes = self.0.as_ref().map(pods::Pods::changes);
        changes.is_some_and(|changes| *changes.borrow() > 0)
    }

    /// Whether nothing is known, so that looking up is of no use.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(pods::Pods::is_empty)
    }

    /// By uid, or the hash of the configuration of a static pod.
    pub fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.0.as_ref()?.by_uid(uid)
    }

    /// The pod that has, or had last, this name.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.0.as_ref()?.by_name(namespace, name)
    }

    /// The pod that has the container of this id, and the container's name.
    pub fn by_container(&self, id: &str) -> Option<(Arc<Pod>, Box<str>)> {
        self.0.as_ref()?.by_container_id(id)
    }

    /// By address.
    pub fn by_address(&self, address: IpAddr) -> Option<Arc<Pod>> {
        self.0.as_ref()?.by_ip(&address.to_string())
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
        name.is_none_or(|name| *name == *pod.key.name)
            .then_some(pod)
    }
}

/// Its workload as its metrics name it: `deployment`, `statefulset`, …, and the name.
pub(crate) fn workload(pod: &Pod) -> Option<(String, &str)> {
    let Workload { kind, name, .. } = pod.workload()?;
    Some((kind.to_ascii_lowercase(), name))
}

/// What is known, by the names of OTLP's attributes.
fn facts(pod: &Pod) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("k8s.namespace.name", pod.key.namespace.to_string()),
        ("k8s.pod.name", pod.key.name.to_string()),
        ("k8s.pod.uid", pod.uid.to_string()),
        ("k8s.node.name", pod.node.to_string()),
    ];
    if let Some((kind, name)) = workload(pod) {
        let attribute = match kind.as_str() {
            "deployment" => Some("k8s.deployment.name"),
            "statefulset" => Some("k8s.statefulset.name"),
            "daemonset" => Some("k8s.daemonset.name"),
            "job" => Some("k8s.job.name"),
            "cronjob" => Some("k8s.cronjob.name"),
            _ => None,
        };
        all.extend(attribute.map(|attribute| (attribute, name.to_owned())));
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
        let watched = pods::Pods::new(pods::Settings::default());
        let pod = serde_json::json!({
            "metadata": {"namespace": "shop", "name": "cart-0", "uid": "u1",
                "ownerReferences": [{"kind": "StatefulSet", "name": "cart", "uid": "s",
                    "controller": true}]},
            "spec": {"nodeName": "n1"},
            "status": {"podIP": "10.0.0.7"},
        });
        let pods = Pods::from(watched.clone());
        assert!(pods.is_watched() && !pods.is_complete() && pods.is_empty());
        watched
            .insert_json(pod.to_string().as_bytes())
            .expect("a pod");
        assert!(pods.is_complete() && !pods.is_empty());
        pods
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
