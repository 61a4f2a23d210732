//! `metrics.k8s.io/v1beta1`: what pods and nodes use, as metrics-server tells it.
//!
//! How: CPU is the difference of the last two samples of a container's counter, memory its working
//! set. Containers are those of the kubelet's or cAdvisor's metrics, or obs' own with the same
//! names; nodes come from the kubelet, the root cgroup or the node exporter, in this order.
//!
//! Invariant: what has no memory now is not told, so that pods that are gone leave with the next
//! lookback, although their counters are still in the window.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use obs_kubernetes::Pairs;
use obs_kubernetes::selector::Selector;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, Timestamp};
use serde_json::{Map, Value, json};

use super::read::{Found, Speed, matcher, speeds, vector};
use super::status::Status;
use super::{Served, quantity};
use crate::clock;
use crate::params::Params;

type Result<T> = std::result::Result<T, Status>;

pub(super) fn routes() -> Router<Arc<Served>> {
    let base = "/apis/metrics.k8s.io/v1beta1";
    Router::new()
        .route(&format!("{base}/nodes"), get(nodes))
        .route(&format!("{base}/nodes/{{name}}"), get(node))
        .route(&format!("{base}/pods"), get(all_pods))
        .route(&format!("{base}/namespaces/{{namespace}}/pods"), get(pods))
        .route(
            &format!("{base}/namespaces/{{namespace}}/pods/{{name}}"),
            get(pod),
        )
}

/// What something uses.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    at: Timestamp,
    window: i64,
    cores: f64,
    bytes: f64,
}

impl Usage {
    fn document(self) -> Value {
        json!({"cpu": quantity::cores(self.cores), "memory": quantity::bytes(self.bytes)})
    }
}

/// Selectors of a request.
struct Wanted {
    labels: Selector,
    fields: Selector,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self> {
        let text = |name: &str| params.get(name).unwrap_or_default();
        let fault = |name: &str, error: String| Status::bad_request(format!("{name}: {error}"));
        let labels = Selector::labels(text("labelSelector"));
        let fields = Selector::fields(text("fieldSelector"));
        let fields = fields.map_err(|error| fault("fieldSelector", error))?;
        let known = ["metadata.name", "metadata.namespace"];
        if let Some(name) = fields.names().find(|name| !known.contains(name)) {
            let message = format!(
                "fieldSelector: {name:?} is not supported, expected metadata.name or metadata.namespace"
            );
            return Err(Status::bad_request(message));
        }
        Ok(Self {
            labels: labels.map_err(|error| fault("labelSelector", error))?,
            fields,
        })
    }

    fn takes(&self, labels: &Pairs, namespace: &str, name: &str) -> bool {
        let field = |field: &str| match field {
            "metadata.name" => Some(name.to_owned()),
            _ => Some(namespace.to_owned()),
        };
        self.labels.matches(labels) && self.fields.matches_by(field)
    }
}

/// Labels as an object has them.
fn labels_document(labels: &Pairs) -> Value {
    let pairs = labels.iter().map(|(n, v)| (n.to_owned(), Value::from(v)));
    Value::Object(pairs.collect())
}

/// The newest of speeds that have the same key.
fn newest<K: Ord>(speeds: Vec<Speed>, key: impl Fn(&Labels) -> Option<K>) -> BTreeMap<K, Speed> {
    let mut found = BTreeMap::<K, Speed>::new();
    for speed in speeds {
        let Some(key) = key(&speed.labels) else {
            continue;
        };
        match found.get(&key) {
            Some(known) if known.at >= speed.at => {}
            _ => {
                found.insert(key, speed);
            }
        }
    }
    found
}

/// Joins what is used of processors with what is used of memory.
fn joined<K: Ord>(
    cpu: Vec<Speed>,
    memory: Vec<Found>,
    key: impl Fn(&Labels) -> Option<K>,
) -> BTreeMap<K, Usage> {
    let mut cpu = newest(cpu, &key);
    let mut found = BTreeMap::new();
    for memory in memory {
        let Some(key) = key(&memory.labels) else {
            continue;
        };
        let Some((key, speed)) = cpu.remove_entry(&key) else {
            continue;
        };
        let usage = Usage {
            at: speed.at,
            window: speed.window,
            cores: speed.value,
            bytes: memory.value,
        };
        found.insert(key, usage);
    }
    found
}

// ---- pods

type Container = (String, String, String);

fn container_of(labels: &Labels) -> Option<Container> {
    let text = |name: &str| labels.get(name).filter(|text| !text.is_empty());
    let container = text("container").filter(|name| *name != "POD")?;
    let (namespace, pod) = (text("namespace")?, text("pod")?);
    Some((namespace.to_owned(), pod.to_owned(), container.to_owned()))
}

fn selector(metric: &str, namespace: Option<&str>, pod: Option<&str>) -> String {
    let mut parts = vec![
        matcher("container", "!=", ""),
        matcher("container", "!=", "POD"),
        matcher("pod", "!=", ""),
    ];
    parts.extend(namespace.map(|name| matcher("namespace", "=", name)));
    parts.extend(pod.map(|name| matcher("pod", "=", name)));
    format!("{metric}{{{}}}", parts.join(","))
}

/// Documents of pods.
async fn find_pods(
    served: &Served,
    wanted: &Wanted,
    namespace: Option<&str>,
    pod: Option<&str>,
) -> Result<Vec<Value>> {
    let cpu = selector("container_cpu_usage_seconds_total", namespace, pod);
    let memory = selector("container_memory_working_set_bytes", namespace, pod);
    let cpu = speeds(served, &cpu).await?;
    let used = joined(cpu, vector(served, &memory).await?, container_of);
    let mut pods = BTreeMap::<(String, String), Vec<(String, Usage)>>::new();
    for ((namespace, pod, container), usage) in used {
        pods.entry((namespace, pod))
            .or_default()
            .push((container, usage));
    }
    let document = |((namespace, name), containers): ((String, String), Vec<(String, Usage)>)| {
        let labels = served.objects.pod(&namespace, &name);
        let labels = labels.unwrap_or_default();
        if !wanted.takes(&labels, &namespace, &name) {
            return None;
        }
        // The oldest, as what is told must hold for all of them.
        let times = containers.iter().map(|(_, usage)| (usage.at, usage.window));
        let (at, window) = times.min()?;
        let told = containers
            .iter()
            .map(|(name, usage)| json!({"name": name, "usage": usage.document()}));
        let told: Vec<_> = told.collect();
        Some(json!({
            "kind": "PodMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": metadata(&name, Some(&namespace), &labels),
            "timestamp": seconds(at),
            "window": span(window),
            "containers": told,
        }))
    };
    Ok(pods.into_iter().filter_map(document).collect())
}

fn metadata(name: &str, namespace: Option<&str>, labels: &Pairs) -> Value {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), name.into());
    if let Some(namespace) = namespace {
        fields.insert("namespace".to_owned(), namespace.into());
    }
    fields.insert("creationTimestamp".to_owned(), seconds(clock::now()).into());
    if !labels.is_empty() {
        fields.insert("labels".to_owned(), labels_document(labels));
    }
    Value::Object(fields)
}

/// A time as the API writes it: whole seconds.
fn seconds(at: Timestamp) -> String {
    Timestamp::from_seconds(at.nanos().div_euclid(NANOS_PER_SECOND)).to_string()
}

/// A duration as Go writes it.
fn span(nanos: i64) -> String {
    let millis = nanos / 1_000_000;
    let (whole, rest) = (millis / 1000, millis % 1000);
    let (minutes, whole) = (whole / 60, whole % 60);
    let minutes = match minutes {
        0 => String::new(),
        minutes => format!("{minutes}m"),
    };
    let fraction = format!("{rest:03}");
    let fraction = match fraction.trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    };
    format!("{minutes}{whole}{fraction}s")
}

fn list(kind: &str, items: Vec<Value>) -> Json<Value> {
    Json(json!({
        "kind": kind,
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": items,
    }))
}

async fn all_pods(State(served): State<Arc<Served>>, params: Params) -> Result<Json<Value>> {
    let wanted = Wanted::of(&params)?;
    let items = find_pods(&served, &wanted, None, None).await?;
    Ok(list("PodMetricsList", items))
}

async fn pods(
    State(served): State<Arc<Served>>,
    Path(namespace): Path<String>,
    params: Params,
) -> Result<Json<Value>> {
    let wanted = Wanted::of(&params)?;
    let items = find_pods(&served, &wanted, Some(&namespace), None).await?;
    Ok(list("PodMetricsList", items))
}

async fn pod(
    State(served): State<Arc<Served>>,
    Path((namespace, name)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>> {
    let wanted = Wanted::of(&params)?;
    let found = find_pods(&served, &wanted, Some(&namespace), Some(&name)).await?;
    let missing = || {
        Status::not_found(format!(
            "podmetrics.metrics.k8s.io \"{namespace}/{name}\" not found"
        ))
    };
    found.into_iter().next().map(Json).ok_or_else(missing)
}

// ---- nodes

/// Where a node's usage is found: the counter of processors, and memory.
const SOURCES: [(&str, &str); 3] = [
    (
        "node_cpu_usage_seconds_total",
        "node_memory_working_set_bytes",
    ),
    (
        "container_cpu_usage_seconds_total{id=\"/\"}",
        "container_memory_working_set_bytes{id=\"/\"}",
    ),
    (
        "node_cpu_seconds_total{mode!~\"idle|iowait|steal\"}",
        "node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes",
    ),
];

/// The name of a node that a series says, or the host that it was scraped from.
fn host_of(labels: &Labels) -> Option<String> {
    let text = |name: &str| labels.get(name).filter(|text| !text.is_empty());
    if let Some(name) = text("node").or_else(|| text("nodename")) {
        return Some(name.to_owned());
    }
    if let Some(name) = text("kubernetes_node").or_else(|| text("kubernetes_io_hostname")) {
        return Some(name.to_owned());
    }
    let instance = text("instance")?;
    let host = match instance.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => instance,
    };
    Some(host.trim_matches(['[', ']']).to_owned())
}

/// Sums speeds of the same host, as those of many processors and modes.
fn added(speeds: Vec<Speed>) -> Vec<Speed> {
    let mut sums = BTreeMap::<String, Speed>::new();
    for speed in speeds {
        let Some(host) = host_of(&speed.labels) else {
            continue;
        };
        match sums.get_mut(&host) {
            Some(sum) => {
                sum.value += speed.value;
                sum.at = sum.at.min(speed.at);
            }
            None => {
                sums.insert(host, speed);
            }
        }
    }
    sums.into_values().collect()
}

async fn find_nodes(served: &Served, wanted: &Wanted) -> Result<BTreeMap<String, Value>> {
    let mut used = BTreeMap::<String, Usage>::new();
    for (index, (cpu, memory)) in SOURCES.into_iter().enumerate() {
        let mut cpu = speeds(served, cpu).await?;
        if index == 2 {
            cpu = added(cpu);
        }
        let memory = match cpu.is_empty() {
            true => Vec::new(),
            false => vector(served, memory).await?,
        };
        for (host, usage) in joined(cpu, memory, host_of) {
            used.entry(host).or_insert(usage);
        }
    }
    let known = served.objects.list("/api/v1/nodes").await?;
    let mut found = BTreeMap::new();
    for (host, usage) in used {
        let node = known
            .iter()
            .find(|node| node.metadata.name == host)
            .or_else(|| known.iter().find(|node| node.is_at(&host)));
        if node.is_none() && served.objects.are_known() {
            continue;
        }
        let name = node.map_or(host, |node| node.metadata.name.clone());
        let labels = node.map(|node| node.metadata.labels.clone());
        let labels = labels.unwrap_or_default();
        if found.contains_key(&name) || !wanted.takes(&labels, "", &name) {
            continue;
        }
        let document = json!({
            "kind": "NodeMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": metadata(&name, None, &labels),
            "timestamp": seconds(usage.at),
            "window": span(usage.window),
            "usage": usage.document(),
        });
        found.insert(name, document);
    }
    Ok(found)
}

async fn nodes(State(served): State<Arc<Served>>, params: Params) -> Result<Json<Value>> {
    let wanted = Wanted::of(&params)?;
    let found = find_nodes(&served, &wanted).await?;
    Ok(list("NodeMetricsList", found.into_values().collect()))
}

async fn node(
    State(served): State<Arc<Served>>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<Value>> {
    let wanted = Wanted::of(&params)?;
    let mut found = find_nodes(&served, &wanted).await?;
    let missing = || Status::not_found(format!("nodemetrics.metrics.k8s.io {name:?} not found"));
    found.remove(&name).map(Json).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_go_writes_them() {
        for (nanos, expect) in [
            (20_036_000_000, "20.036s"),
            (15_000_000_000, "15s"),
            (60_000_000_000, "1m0s"),
            (90_500_000_000, "1m30.5s"),
        ] {
            assert_eq!(span(nanos), expect);
        }
    }

    #[test]
    fn nodes_are_named_by_labels_or_hosts() {
        let check = |pairs: &[(&str, &str)], expect: Option<&str>| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            assert_eq!(host_of(&labels).as_deref(), expect, "{pairs:?}");
        };
        check(&[("instance", "10.0.0.1:10250")], Some("10.0.0.1"));
        check(&[("instance", "[fe80::1]:9100")], Some("fe80::1"));
        check(&[("instance", "worker-1")], Some("worker-1"));
        check(
            &[("instance", "x:1"), ("node", "worker-2")],
            Some("worker-2"),
        );
        check(&[], None);
    }

    #[test]
    fn the_newest_counter_of_a_container_counts() {
        let labels = |id: &str| {
            Labels::from_pairs([
                ("namespace", "a"),
                ("pod", "p"),
                ("container", "c"),
                ("id", id),
            ])
        };
        let speed = |id: &str, at: i64, value: f64| Speed {
            labels: labels(id),
            at: Timestamp::from_seconds(at),
            window: 15 * NANOS_PER_SECOND,
            value,
        };
        let cpu = vec![speed("old", 10, 9.0), speed("new", 20, 0.25)];
        let memory = vec![Found {
            labels: labels("new"),
            value: 1024.0,
        }];
        let used = joined(cpu, memory, container_of);
        let usage = used.values().next().unwrap();
        assert_eq!((used.len(), usage.cores, usage.bytes), (1, 0.25, 1024.0));
    }
}
