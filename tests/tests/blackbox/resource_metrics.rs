//! The resource-metrics APIs behind the API server's aggregation layer: what `kubectl top` and
//! autoscalers ask, who is let in, and what prometheus-adapter's rules find.

use std::process::Command;

use obs_model::MetricBatch;
use obs_tests::kube_api::{
    Aggregated, CLIENT, FRONT_PROXY, FRONT_PROXY_CA, IMPOSTOR, Pair, Rule, SERVER,
};
use serde_json::{Value, json};

use super::kubernetes::Cluster;
use crate::process::{Answer, Obs, now, until};
use crate::send::{remote_write, series};

const SECOND: i64 = 1_000_000_000;
const GROUPS: [(&str, &str); 4] = [
    ("metrics.k8s.io", "v1beta1"),
    ("custom.metrics.k8s.io", "v1beta1"),
    ("custom.metrics.k8s.io", "v1beta2"),
    ("external.metrics.k8s.io", "v1beta1"),
];

/// A cluster with two pods and a node, and obs as the server of its metrics.
struct Stage {
    cluster: Cluster,
    _obs: Obs,
}

fn stage(front: Pair) -> Stage {
    let cluster = Cluster::start();
    cluster.put_pods("a", 0..2);
    cluster.api.put(json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n1", "labels": {"zone": "z1"}},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "capacity": {"cpu": "2", "memory": "4Gi"},
            "allocatable": {"cpu": "2", "memory": "4Gi"}}}));
    let config = format!(
        "obs:
  kubernetes: {{kubeconfig_file: '{}'}}
  resource_metrics:
    listen: 127.0.0.1:0
    tls: {{cert_file: server.pem, key_file: server.key}}
    requestheader: {{client_ca_file: front.pem, allowed_names: [front-proxy-client]}}
    adapter_file: adapter.yml
",
        cluster.kubeconfig()
    );
    let adapter = r#"
rules:
- seriesQuery: 'http_requests_total{namespace!="",pod!=""}'
  resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
  name: {matches: '^(.*)_total$', as: '${1}_per_second'}
  metricsQuery: 'sum(irate(<<.Series>>{<<.LabelMatchers>>}[5m])) by (<<.GroupBy>>)'
externalRules:
- seriesQuery: 'queue_depth'
  resources: {namespaced: false}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (queue)'
"#;
    let obs = Obs::with_files(&[
        ("obs.yml", &config),
        ("adapter.yml", adapter),
        ("server.pem", SERVER.cert),
        ("server.key", SERVER.key),
        ("front.pem", FRONT_PROXY_CA),
    ]);
    let url = format!("https://{}", obs.address("resource_metrics"));
    for (group, version) in GROUPS {
        cluster.api.aggregate(Aggregated {
            identity: front,
            ..Aggregated::new(group, version, &url)
        });
    }
    send(&obs);
    Stage { cluster, _obs: obs }
}

/// Two samples of each counter, 20 s apart, and what is there now.
fn send(obs: &Obs) {
    let end = now();
    let counter = |labels: &[(&str, &str)], speed: f64| {
        series(
            labels,
            [(end - 20 * SECOND, 100.0), (end, 100.0 + 20.0 * speed)],
        )
    };
    let gauge = |labels: &[(&str, &str)], value: f64| series(labels, [(end, value)]);
    let mut all = Vec::new();
    for (pod, container, cores, bytes) in [
        ("p00000", "main", 0.25, 64.0),
        ("p00000", "side", 0.05, 16.0),
        ("p00001", "main", 1.5, 128.0),
    ] {
        let labels = |name| {
            [
                ("__name__", name),
                ("namespace", "a"),
                ("pod", pod),
                ("container", container),
            ]
        };
        all.push(counter(&labels("container_cpu_usage_seconds_total"), cores));
        let bytes = bytes * 1_048_576.0;
        all.push(gauge(&labels("container_memory_working_set_bytes"), bytes));
    }
    let node = [
        ("__name__", "node_cpu_usage_seconds_total"),
        ("instance", "10.0.0.1:10250"),
    ];
    all.push(counter(&node, 0.5));
    let node = [
        ("__name__", "node_memory_working_set_bytes"),
        ("instance", "10.0.0.1:10250"),
    ];
    all.push(gauge(&node, 1_073_741_824.0));
    for (pod, speed) in [("p00000", 2.0), ("p00001", 0.5)] {
        let labels = [
            ("__name__", "http_requests_total"),
            ("namespace", "a"),
            ("pod", pod),
        ];
        all.push(counter(&labels, speed));
    }
    for (queue, depth) in [("mail", 12.0), ("print", 0.5)] {
        all.push(gauge(
            &[("__name__", "queue_depth"), ("queue", queue)],
            depth,
        ));
    }
    let batch = MetricBatch {
        series: all,
        ..MetricBatch::default()
    };
    assert_eq!(remote_write(obs, &batch).status, 204);
}

impl Stage {
    fn get(&self, path: &str) -> Answer {
        Answer::from(&format!("{}{path}", self.cluster.api.url()), &[]).expect("an answer")
    }

    /// The items of a list, once the watch of pods has told their labels.
    fn items(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["items"].as_array().expect("a list").clone()
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let config = self.cluster.kubeconfig();
        let output = Command::new("kubectl")
            .args(["--kubeconfig", &config])
            .args(arguments)
            .output()
            .expect("kubectl runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn names(items: &[Value]) -> Vec<&str> {
    let named = items.iter();
    named
        .map(|item| item["metadata"]["name"].as_str().expect("a name"))
        .collect()
}

/// The document of a refusal.
fn refusal(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text()).expect("a Status")
}

#[test]
fn autoscalers_and_kubectl_read_what_pods_and_nodes_use() {
    let stage = stage(FRONT_PROXY);
    let base = "/apis/metrics.k8s.io/v1beta1";
    // The labels come from a watch that begins beside the listener.
    let labelled = until("labels of pods", || {
        let found = stage.items(&format!(
            "{base}/namespaces/a/pods?labelSelector=app%3Dapp-1"
        ));
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(names(&labelled), ["p00001"]);
    let pods = stage.items(&format!("{base}/pods"));
    assert_eq!(names(&pods), ["p00000", "p00001"]);
    let first = &pods[0];
    assert_eq!(first["kind"], "PodMetrics");
    assert_eq!(first["window"], "20s");
    assert_eq!(first["metadata"]["labels"]["tier"], "web");
    let containers = json!([
        {"name": "main", "usage": {"cpu": "250000000n", "memory": "65536Ki"}},
        {"name": "side", "usage": {"cpu": "50000000n", "memory": "16384Ki"}},
    ]);
    assert_eq!(first["containers"], containers);
    let one = stage
        .get(&format!("{base}/namespaces/a/pods/p00001"))
        .json();
    assert_eq!(one["containers"][0]["usage"]["cpu"], "1500000000n");
    let missing = stage.get(&format!("{base}/namespaces/a/pods/nobody"));
    assert_eq!(
        (missing.status, &refusal(&missing)["reason"]),
        (404, &json!("NotFound"))
    );
    let nodes = stage.items(&format!("{base}/nodes"));
    assert_eq!(names(&nodes), ["n1"]);
    assert_eq!(
        nodes[0]["usage"],
        json!({"cpu": "500000000n", "memory": "1048576Ki"})
    );
    let none = stage.items(&format!("{base}/nodes?labelSelector=zone%3Dz2"));
    assert!(none.is_empty());
    let named = stage.items(&format!("{base}/nodes?fieldSelector=metadata.name%3Dn1"));
    assert_eq!(names(&named), ["n1"]);
    if Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_err()
    {
        eprintln!("skipped: kubectl is not here");
        return;
    }
    let top = stage.kubectl(&["top", "pods", "-n", "a", "--containers", "--no-headers"]);
    let rows: Vec<Vec<_>> = top
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert!(
        rows.contains(&vec!["p00000", "main", "250m", "64Mi"]),
        "{top}"
    );
    assert!(
        rows.contains(&vec!["p00001", "main", "1500m", "128Mi"]),
        "{top}"
    );
    let top = stage.kubectl(&["top", "nodes", "--no-headers"]);
    let row: Vec<_> = top.split_whitespace().collect();
    assert_eq!(row, ["n1", "500m", "25%", "1024Mi", "25%"]);
    let raw = stage.kubectl(&["get", "--raw", &format!("{base}/namespaces/a/pods")]);
    assert!(raw.contains("PodMetricsList"), "{raw}");
}

#[test]
fn metrics_of_objects_and_of_none_follow_the_adapters_rules() {
    let stage = stage(FRONT_PROXY);
    let custom = "/apis/custom.metrics.k8s.io";
    let list = stage.get(&format!("{custom}/v1beta2")).json();
    let named = |list: &Value| -> Vec<String> {
        let resources = list["resources"].as_array().expect("resources").iter();
        resources
            .filter_map(|r| r["name"].as_str().map(str::to_owned))
            .collect()
    };
    let expect = [
        "namespaces/http_requests_per_second",
        "pods/http_requests_per_second",
    ];
    assert_eq!(named(&list), expect);
    let path = format!("{custom}/v1beta2/namespaces/a/pods/*/http_requests_per_second");
    let items = stage.items(&path);
    let values: Vec<_> = items.iter().map(|item| item["value"].as_str()).collect();
    assert_eq!(values, [Some("2"), Some("500m")]);
    let described = json!({"kind": "Pod", "name": "p00000", "apiVersion": "/v1", "namespace": "a"});
    assert_eq!(items[0]["describedObject"], described);
    assert_eq!(items[0]["metric"]["name"], "http_requests_per_second");
    // The labels come from a watch that begins beside the listener.
    let selected = until("labels of pods", || {
        let found = stage.items(&format!("{path}?labelSelector=app%3Dapp-1"));
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(selected.len(), 1);
    assert_eq!(selected[0]["describedObject"]["name"], "p00001");
    let old = format!("{custom}/v1beta1/namespaces/a/pods/p00001/http_requests_per_second");
    let old = stage.items(&old);
    assert_eq!(old[0]["metricName"], "http_requests_per_second");
    assert_eq!(old[0]["value"], "500m");
    let whole = format!("{custom}/v1beta2/namespaces/a/metrics/http_requests_per_second");
    assert_eq!(stage.items(&whole)[0]["value"], "2500m");
    let unknown = stage.get(&format!("{custom}/v1beta2/namespaces/a/pods/*/unicorns"));
    assert_eq!(unknown.status, 404);

    let external = "/apis/external.metrics.k8s.io/v1beta1";
    assert_eq!(named(&stage.get(external).json()), ["queue_depth"]);
    let path = format!("{external}/namespaces/a/queue_depth");
    let items = stage.items(&format!("{path}?labelSelector=queue%3Dmail"));
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["value"], "12");
    assert_eq!(items[0]["metricLabels"], json!({"queue": "mail"}));
    assert_eq!(stage.items(&path).len(), 2);
}

#[test]
fn nobody_speaks_for_users_but_the_front_proxy() {
    let impostor = stage(IMPOSTOR);
    let path = "/apis/metrics.k8s.io/v1beta1/nodes";
    let answer = impostor.get(path);
    assert_eq!(
        (answer.status, &refusal(&answer)["kind"]),
        (401, &json!("Status"))
    );
    // A certificate of the cluster's users is none of the front proxy.
    let user = stage(CLIENT);
    assert_eq!(user.get(path).status, 401);
}

#[test]
fn the_api_server_says_who_may_read() {
    let stage = stage(FRONT_PROXY);
    let api = &stage.cluster.api;
    api.allow(Rule::new("*", "list", "pods", "*"));
    api.allow(Rule::new("*", "watch", "pods", "*"));
    let pods = stage.get("/apis/metrics.k8s.io/v1beta1/namespaces/a/pods");
    assert_eq!(pods.status, 200, "{}", pods.text());
    let nodes = stage.get("/apis/metrics.k8s.io/v1beta1/nodes");
    assert_eq!(nodes.status, 403);
    let status = refusal(&nodes);
    assert_eq!(
        (&status["kind"], &status["reason"]),
        (&json!("Status"), &json!("Forbidden"))
    );
    let message = status["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("cannot list resource \"nodes\""),
        "{message}"
    );
}
