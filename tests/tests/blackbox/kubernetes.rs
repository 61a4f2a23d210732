//! obs beside an API server of Kubernetes: the state of objects as a process of its own and inside
//! the server, discovery through churn and faults, objects of the Prometheus Operator, annotations,
//! problems of a node.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use obs_tests::kube_api::{Fault, KubeApi};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::scraping::Exporter;
use super::{list, vector};
use crate::process::{Answer, Obs, command, until};

/// A cluster that lives as long as its handle.
pub(super) struct Cluster {
    pub(super) api: KubeApi,
    folder: TempDir,
    _runtime: Runtime,
}

impl Cluster {
    pub(super) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let api = runtime.block_on(KubeApi::start());
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kubeconfig"), api.kubeconfig(None)).expect("writable");
        Self {
            api,
            folder,
            _runtime: runtime,
        }
    }

    pub(super) fn kubeconfig(&self) -> String {
        self.folder.path().join("kubeconfig").display().to_string()
    }

    /// Pods with these numbers in a namespace; all are at an address where nobody listens.
    pub(super) fn put_pods(&self, namespace: &str, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.api.put(pod(namespace, number));
        }
    }
}

fn pod(namespace: &str, number: usize) -> Value {
    let name = format!("p{number:05}");
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"),
            "labels": {"app": format!("app-{}", number % 10), "tier": "web"},
            "annotations": {"team": "red", "secret": "no"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "app:1",
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "ports": [{"name": "metrics", "containerPort": 1, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "containerID": format!("containerd://{namespace}-{name}"),
                "restartCount": 3, "ready": true}]}})
}

/// `obs kube-state` that runs.
struct KubeState {
    child: Child,
    metrics: String,
    telemetry: String,
    _errors: BufReader<std::process::ChildStderr>,
}

impl KubeState {
    fn start(cluster: &Cluster, flags: &[&str]) -> Self {
        let kubeconfig = cluster.kubeconfig();
        let first = ["kube-state", "--kubeconfig", &kubeconfig];
        let ports = [
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--telemetry-port",
            "0",
        ];
        let mut command = command(&[&first[..], &ports, flags].concat());
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("obs starts");
        let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
        let (mut line, mut before) = (String::new(), String::new());
        while !line.starts_with("kube-state on ") {
            before.push_str(&line);
            line.clear();
            let read = errors.read_line(&mut line).expect("text");
            assert!(read > 0, "kube-state ended: {before}");
        }
        let urls = line
            .split_whitespace()
            .filter(|word| word.starts_with("http://"));
        let urls: Vec<_> = urls
            .map(|url| url.trim_end_matches(',').to_owned())
            .collect();
        let [metrics, telemetry] = urls.try_into().expect("two addresses");
        Self {
            child,
            metrics,
            telemetry,
            _errors: errors,
        }
    }

    fn text(&self) -> String {
        let answer = Answer::from(&self.metrics, &[]).expect("it listens");
        assert_eq!(answer.status, 200);
        answer.text()
    }

    /// The exposition, once it has this many lines of a family.
    fn with(&self, family: &str, count: usize) -> String {
        until(&format!("{count} of {family}"), || {
            let text = self.text();
            (rows(&text, family).len() == count).then_some(text)
        })
    }
}

impl Drop for KubeState {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The lines of a family.
fn rows<'a>(text: &'a str, family: &str) -> Vec<&'a str> {
    let start = format!("{family}{{");
    text.lines()
        .filter(|line| line.starts_with(&start))
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
fn kube_state_is_a_process_with_the_flags_of_kube_state_metrics() {
    let cluster = Cluster::start();
    cluster.put_pods("shop", 0..20);
    cluster.put_pods("other", 0..5);
    cluster.api.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"zone": "a"}},
        "status": {"capacity": {"cpu": "4"}, "allocatable": {"cpu": "3900m"}}}));
    cluster.api.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "s"}}));
    let state = KubeState::start(
        &cluster,
        &[
            "--resources=pods,nodes",
            "--namespaces=shop",
            "--metric-labels-allowlist=pods=[app],nodes=[*]",
            "--metric-annotations-allowlist=pods=[team]",
            "--metric-denylist=^kube_pod_container_resource_.*$",
        ],
    );
    // Every resource is listed on its own.
    let ready = state.metrics.replace("metrics", "readyz");
    until("/readyz", || {
        let answer = Answer::from(&ready, &[]).ok()?;
        (answer.status == 200).then_some(())
    });
    let text = state.with("kube_pod_info", 20);
    let labels = rows(&text, "kube_pod_labels");
    assert_eq!(labels.len(), 20);
    assert!(
        labels[0].contains("label_app=\"app-") && !labels[0].contains("label_tier"),
        "{}",
        labels[0]
    );
    let annotations = rows(&text, "kube_pod_annotations");
    assert!(
        annotations[0].contains("annotation_team=\"red\"") && !annotations[0].contains("secret"),
        "{}",
        annotations[0]
    );
    assert!(
        text.contains("kube_node_labels{node=\"n1\",label_zone=\"a\"} 1"),
        "{text}"
    );
    assert!(rows(&text, "kube_pod_container_resource_requests").is_empty());
    assert_eq!(
        rows(&text, "kube_pod_container_status_restarts_total").len(),
        20
    );
    assert!(rows(&text, "kube_secret_info").is_empty());
    assert!(!text.contains("namespace=\"other\""));
    // What it is asked for only.
    let nodes = Answer::from(&state.metrics, &[("resources", "nodes")]).expect("it listens");
    assert!(nodes.text().contains("kube_node_info") && !nodes.text().contains("kube_pod_info"));

    for line in [
        "kube_state_metrics_list_total{resource=\"*v1.Pod\",result=\"success\"} 1",
        "kube_state_metrics_list_total{resource=\"*v1.Node\",result=\"success\"} 1",
        "kube_state_metrics_watch_total{resource=\"*v1.Pod\",result=\"success\"} 1",
        "kube_state_metrics_total_shards 1",
        "kube_state_metrics_shard_ordinal{shard_ordinal=\"0\"} 0",
        "kube_state_metrics_build_info{",
    ] {
        // A watch is opened after its list was told.
        until(line, || {
            let own = Answer::from(&state.telemetry, &[]).ok()?.text();
            own.contains(line).then_some(())
        });
    }
    for path in ["healthz", "livez", "readyz"] {
        let url = state.metrics.replace("metrics", path);
        assert_eq!(
            Answer::from(&url, &[]).expect("it listens").status,
            200,
            "{path}"
        );
    }
    // What comes, changes and goes.
    cluster.put_pods("shop", 20..21);
    cluster.api.delete("Pod", "shop", "p00000");
    cluster.api.delete("Pod", "shop", "p00001");
    state.with("kube_pod_info", 19);

    for (flags, expect) in [
        (&["--resources=pod"][..], "expected one of"),
        (
            &["--metric-allowlist=a", "--metric-denylist=b"],
            "allowlist",
        ),
        (
            &["--metric-labels-allowlist=pods"],
            "--metric-labels-allowlist",
        ),
        (&["--shard=3", "--total-shards=2"], "shard"),
    ] {
        let refused = command(&[&["kube-state"][..], flags].concat()).output();
        let refused = refused.expect("obs runs");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains(expect),
            "{flags:?}: {said}"
        );
    }
}

#[test]
fn shards_of_kube_state_share_the_objects() {
    let cluster = Cluster::start();
    cluster.put_pods("shop", 0..40);
    let shards = ["--shard=0", "--shard=1"].map(|shard| {
        let flags = [
            shard,
            "--total-shards=2",
            "--resources=pods",
            "--metric-allowlist=^kube_pod_info$",
        ];
        KubeState::start(&cluster, &flags)
    });
    let found = until("all pods", || {
        let texts = shards.each_ref().map(KubeState::text);
        let rows = texts
            .each_ref()
            .map(|text| rows(text, "kube_pod_info").len());
        (rows.iter().sum::<usize>() == 40).then_some(texts)
    });
    let all: BTreeSet<&str> = found
        .iter()
        .flat_map(|text| rows(text, "kube_pod_info"))
        .collect();
    assert_eq!(all.len(), 40);
    assert!(
        found
            .iter()
            .all(|text| rows(text, "kube_pod_info").len() > 5)
    );
}

#[test]
fn kube_state_never_shows_a_part_of_a_list() {
    let cluster = Cluster::start();
    cluster.put_pods("shop", 0..600);
    // The first pages come, the next ones do not for a while.
    let next = "/api/v1/pods?limit=250&continue";
    cluster.api.fail(next, 2, Fault::Status(500));
    cluster
        .api
        .fail(next, 1, Fault::Slow(Duration::from_secs(1)));
    let flags = ["--resources=pods", "--metric-allowlist=^kube_pod_info$"];
    let state = KubeState::start(&cluster, &flags);
    let first = until("pods", || {
        Some(rows(&state.text(), "kube_pod_info").len()).filter(|count| *count > 0)
    });
    assert_eq!(first, 600);
    // A list that begins again takes nothing away before it is complete.
    cluster.api.fail(next, 2, Fault::Status(500));
    cluster.api.delete("Pod", "shop", "p00000");
    cluster.api.expire();
    let second = until("a shorter list", || {
        Some(rows(&state.text(), "kube_pod_info").len()).filter(|count| *count != 600)
    });
    assert_eq!(second, 599);
}

fn query(obs: &Obs, query: &str) -> Vec<(String, f64)> {
    vector(&obs.get("/api/v1/query", &[("query", query)]).json())
}

/// The first value of a query that has one.
fn value(obs: &Obs, text: &str) -> f64 {
    until(text, || query(obs, text).first().map(|(_, value)| *value))
}

#[test]
fn ten_thousand_pods_are_all_in_the_server() {
    let cluster = Cluster::start();
    cluster.put_pods("shop", 0..10_000);
    let config = format!(
        "global: {{scrape_interval: 5s}}\nobs:\n  kubernetes:\n    kubeconfig_file: {:?}\n    \
         kube_state: {{resources: [pods], metric_allowlist: ['^kube_pod_(info|status_phase)$'], \
         labels_allow_list: {{pods: [app]}}}}\n",
        cluster.kubeconfig()
    );
    let obs = Obs::with_config(&config);
    // Whatever is there first is all of it.
    assert_eq!(value(&obs, "count(kube_pod_info)"), 10_000.0);
    let running = "sum(kube_pod_status_phase{phase=\"Running\"})";
    assert_eq!(value(&obs, running), 10_000.0);
    let labels = "count by (job, namespace) (kube_pod_info)";
    let labels = until(labels, || {
        Some(query(&obs, labels)).filter(|found| !found.is_empty())
    });
    assert_eq!(
        labels,
        [(
            "{job=\"kube-state-metrics\",namespace=\"shop\"}".to_owned(),
            10_000.0
        )]
    );
    for number in 0..1000 {
        cluster.api.delete("Pod", "shop", &format!("p{number:05}"));
    }
    until("what is left", || {
        (query(&obs, "count(kube_pod_info)").first()?.1 == 9000.0).then_some(())
    });
}

/// The active targets of a job: address and labels.
fn targets(obs: &Obs, job: &str) -> Vec<(String, Value)> {
    let parameters = [("state", "active"), ("scrapePool", job)];
    let answer = obs.get("/api/v1/targets", &parameters).json();
    let targets = list(&answer["data"]["activeTargets"]).iter();
    let targets = targets.filter(|target| target["scrapePool"] == job);
    let of = |target: &Value| {
        let address = target["discoveredLabels"]["__address__"].as_str();
        (address.unwrap_or_default().to_owned(), target.clone())
    };
    targets.map(of).collect()
}

fn until_targets(obs: &Obs, job: &str, count: usize) -> Vec<(String, Value)> {
    until(&format!("{count} targets of {job}"), || {
        Some(targets(obs, job)).filter(|targets| targets.len() == count)
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
fn six_roles_are_discovered_through_faults() {
    let cluster = Cluster::start();
    let api = &cluster.api;
    cluster.put_pods("shop", 0..300);
    api.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"zone": "a"}},
        "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}));
    api.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
        "spec": {"type": "ClusterIP", "clusterIP": "127.0.0.1", "ports": [{"name": "http", "port": 1, "protocol": "TCP"}]}}));
    let reference = json!({"kind": "Pod", "namespace": "shop", "name": "p00001"});
    api.put(json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"namespace": "shop", "name": "web"},
        "subsets": [{"addresses": [{"ip": "127.0.0.1", "targetRef": reference}], "ports": [{"name": "http", "port": 1, "protocol": "TCP"}]}]}));
    api.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "shop", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}, "targetRef": reference}],
        "ports": [{"name": "http", "port": 1, "protocol": "TCP"}]}));
    api.put(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"rules": [{"host": "localhost", "http": {"paths": [{"path": "/shop", "pathType": "Prefix"}]}}]}}));
    let kubeconfig = cluster.kubeconfig();
    let mut config = "global: {scrape_interval: 1d}\nscrape_configs:\n".to_owned();
    for role in [
        "node",
        "service",
        "pod",
        "endpoints",
        "endpointslice",
        "ingress",
    ] {
        config.push_str(&format!(
            "- job_name: {role}\n  kubernetes_sd_configs: [{{role: {role}, kubeconfig_file: {kubeconfig:?}}}]\n  \
             relabel_configs:\n  - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}\n"
        ));
    }
    let obs = Obs::with_config(&config);
    until_targets(&obs, "pod", 300);
    let discovered = |job: &str, count: usize, labels: &[(&str, &str)]| {
        let targets = until_targets(&obs, job, count);
        let (_, target) = &targets[0];
        for (name, expect) in labels {
            let found = &target["discoveredLabels"][format!("__meta_kubernetes_{name}")];
            assert_eq!(found, expect, "{job}: {name} of {target}");
        }
    };
    discovered("node", 1, &[("node_name", "n1"), ("node_label_zone", "a")]);
    let service = [
        ("namespace", "shop"),
        ("service_name", "web"),
        ("service_port_name", "http"),
    ];
    discovered("service", 1, &service);
    let backing = [
        ("service_name", "web"),
        ("pod_name", "p00001"),
        ("pod_container_name", "main"),
    ];
    discovered("endpoints", 1, &backing);
    discovered("endpointslice", 1, &backing);
    let path = [
        ("ingress_host", "localhost"),
        ("ingress_path", "/shop"),
        ("ingress_scheme", "http"),
    ];
    discovered("ingress", 1, &path);

    // Watches break off while things change.
    api.drop_watches();
    cluster.put_pods("shop", 300..400);
    until_targets(&obs, "pod", 400);
    // Versions are forgotten.
    for number in 0..50 {
        api.delete("Pod", "shop", &format!("p{number:05}"));
    }
    api.expire();
    until_targets(&obs, "pod", 350);
    // The server is away: what was known stays.
    api.set_away(true);
    for number in 50..100 {
        api.delete("Pod", "shop", &format!("p{number:05}"));
    }
    assert_eq!(targets(&obs, "pod").len(), 350);
    api.set_away(false);
    until_targets(&obs, "pod", 300);
    let names: BTreeSet<_> = targets(&obs, "pod")
        .into_iter()
        .map(|(_, t)| t["labels"]["pod"].to_string())
        .collect();
    let expect: BTreeSet<_> = (100..400)
        .map(|number| format!("\"p{number:05}\""))
        .collect();
    assert_eq!(names, expect);
    // The pod behind the service is gone: its address stays, its labels do not.
    until("an endpoint without its pod", || {
        let targets = targets(&obs, "endpointslice");
        let (_, target) = targets.first()?;
        target["discoveredLabels"]["__meta_kubernetes_pod_ip"]
            .is_null()
            .then_some(())
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
fn objects_of_the_operator_and_annotations_are_scraped() {
    let cluster = Cluster::start();
    let api = &cluster.api;
    let exporter = Exporter::serve("up_and_running 1\n");
    let (host, port) = exporter.address.split_once(':').expect("host and port");
    let port: u16 = port.parse().expect("a port");
    let mut web = pod("shop", 1);
    web["metadata"]["annotations"] = json!({"prometheus.io/scrape": "true", "prometheus.io/port": port.to_string(), "prometheus.io/path": "/own"});
    web["metadata"]["labels"] = json!({"app": "web"});
    web["spec"]["containers"][0]["ports"] =
        json!([{"name": "http", "containerPort": port, "protocol": "TCP"}]);
    api.put(web);
    api.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
        "spec": {"type": "ClusterIP", "clusterIP": host, "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}}));
    let reference = json!({"kind": "Pod", "namespace": "shop", "name": "p00001"});
    api.put(json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
        "subsets": [{"addresses": [{"ip": host, "targetRef": reference}], "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}]}));
    api.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "shop", "name": "web-x", "labels": {"kubernetes.io/service-name": "web", "app": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [host], "conditions": {"ready": true}, "targetRef": reference}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}));
    let selector = json!({"matchLabels": {"app": "web"}});
    let v1 = "monitoring.coreos.com/v1";
    api.put(json!({"apiVersion": v1, "kind": "ServiceMonitor", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": selector, "endpoints": [{"port": "http", "path": "/metrics", "interval": "1s"}]}}));
    api.put(json!({"apiVersion": v1, "kind": "PodMonitor", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": selector, "podMetricsEndpoints": [{"port": "http", "interval": "1s"}]}}));
    api.put(json!({"apiVersion": v1, "kind": "Probe", "metadata": {"namespace": "shop", "name": "ping"},
        "spec": {"interval": "1s", "prober": {"url": exporter.address}, "targets": {"staticConfig": {"static": ["example"]}}}}));
    api.put(json!({"apiVersion": "monitoring.coreos.com/v1alpha1", "kind": "ScrapeConfig", "metadata": {"namespace": "shop", "name": "fixed"},
        "spec": {"scrapeInterval": "1s", "staticConfigs": [{"targets": [exporter.address], "labels": {"kind": "fixed"}}]}}));
    let config = format!(
        "global: {{scrape_interval: 1s}}\nobs:\n  kubernetes:\n    kubeconfig_file: {:?}\n    monitors: {{}}\n    annotations: true\n",
        cluster.kubeconfig()
    );
    let obs = Obs::with_config(&config);
    let jobs = [
        "serviceMonitor/shop/web/0",
        "podMonitor/shop/web/0",
        "probe/shop/ping",
        "scrapeConfig/shop/fixed",
        "kubernetes-pods",
    ];
    for job in jobs {
        until(&format!("{job} to be up"), || {
            targets(&obs, job)
                .into_iter()
                .find(|(_, target)| target["health"] == "up")
        });
    }
    let one = |job: &str| until(job, || targets(&obs, job).into_iter().next()).1;
    let labels = |job: &str| one(job)["labels"].clone();
    let of_service = labels("serviceMonitor/shop/web/0");
    for (name, expect) in [
        ("namespace", "shop"),
        ("service", "web"),
        ("pod", "p00001"),
        ("container", "main"),
        ("endpoint", "http"),
        ("job", "web"),
    ] {
        assert_eq!(of_service[name], expect, "{of_service}");
    }
    let of_pod = labels("podMonitor/shop/web/0");
    assert_eq!(
        (&of_pod["pod"], &of_pod["job"]),
        (&json!("p00001"), &json!("shop/web")),
        "{of_pod}"
    );
    assert_eq!(labels("probe/shop/ping")["instance"], "example");
    assert_eq!(labels("scrapeConfig/shop/fixed")["kind"], "fixed");
    let annotated = one("kubernetes-pods");
    assert!(
        annotated["scrapeUrl"]
            .as_str()
            .is_some_and(|url| url.ends_with("/own")),
        "{annotated}"
    );
    assert_eq!(annotated["labels"]["pod"], "p00001");
    until("the samples", || {
        // Of all scrapes: one that had not enough time ends the series until the next one.
        let all = "count(last_over_time(up_and_running[10m]))";
        (query(&obs, all).first()?.1 >= 5.0).then_some(())
    });
    api.delete("ServiceMonitor", "shop", "web");
    until("the end of a job", || {
        targets(&obs, jobs[0]).is_empty().then_some(())
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
fn problems_of_a_node_reach_the_logs_the_metrics_and_the_api_server() {
    let cluster = Cluster::start();
    let api = &cluster.api;
    api.put(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    let kmsg = cluster.folder.path().join("kmsg");
    std::fs::write(&kmsg, "").expect("writable");
    let monitor = json!({
        "plugin": "kmsg", "logPath": kmsg, "lookback": "100y", "source": "kernel-monitor",
        "conditions": [{"type": "KernelDeadlock", "reason": "KernelHasNoDeadlock", "message": "kernel has no deadlock"}],
        "rules": [
            {"type": "temporary", "reason": "OOMKilling", "pattern": "Killed process \\d+ (.+) total-vm:.*"},
            {"type": "permanent", "condition": "KernelDeadlock", "reason": "DockerHung", "pattern": "task docker:\\w+ blocked for more than \\w+ seconds\\."},
        ],
    });
    std::fs::write(
        cluster.folder.path().join("kernel.json"),
        monitor.to_string(),
    )
    .expect("writable");
    let server = Obs::start();
    let config = format!(
        "obs:\n  kubernetes: {{kubeconfig_file: {:?}}}\n  collector:\n    \
         node_problems: {{default_rules: false, node_name: n1, config_files: [{:?}]}}\n    \
         destinations: [{{obs: {{url: '{}'}}}}]\n",
        cluster.kubeconfig(),
        cluster.folder.path().join("kernel.json"),
        server.url()
    );
    let agent = Obs::agent(&config);
    let condition = |status: &str| {
        until(&format!("the condition to be {status}"), || {
            let node = api.get("Node", "", "n1")?;
            let all = list(node.pointer("/status/conditions")?).to_vec();
            all.into_iter()
                .find(|c| c["type"] == "KernelDeadlock" && c["status"] == status)
        })
    };
    assert_eq!(condition("False")["reason"], "KernelHasNoDeadlock");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux tells");
    let seconds: f64 = uptime
        .split(' ')
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    let micros = (seconds * 1e6) as u64;
    let (oom, hung) = (
        "Killed process 7 (stress) total-vm:9kB, anon-rss:8kB",
        "task docker:7 blocked for more than 120 seconds.",
    );
    std::fs::write(
        &kmsg,
        format!("6,1,{micros},-;all is well\n4,2,{micros},-;{oom}\n3,3,{micros},-;{hung}\n"),
    )
    .expect("writable");
    let holds = condition("True");
    assert_eq!(
        (&holds["reason"], &holds["message"]),
        (&json!("DockerHung"), &json!(hung))
    );
    let reasons = until("two events", || {
        let events = api.all("Event");
        let reasons: BTreeSet<_> = events
            .iter()
            .map(|event| event["reason"].to_string())
            .collect();
        (events.len() == 2).then_some(reasons)
    });
    assert_eq!(
        reasons,
        ["\"DockerHung\"".to_owned(), "\"OOMKilling\"".to_owned()].into()
    );
    let lines = until("two lines", || {
        let parameters = [(
            "query",
            "{job=\"node-problems\", node=\"n1\", source=\"kernel-monitor\"}",
        )];
        let answer = server.get("/loki/api/v1/query_range", &parameters).json();
        let streams = list(&answer["data"]["result"]).iter();
        let lines: BTreeSet<_> = streams
            .flat_map(|stream| list(&stream["values"]))
            .map(|value| value[1].to_string())
            .collect();
        (lines.len() == 2).then_some(lines)
    });
    assert!(
        lines
            .iter()
            .any(|line| line.contains("reason=OOMKilling") && line.contains("(stress)")),
        "{lines:?}"
    );
    for line in [
        "problem_counter{reason=\"OOMKilling\"} 1",
        "problem_counter{reason=\"DockerHung\"} 1",
        "problem_gauge{reason=\"DockerHung\",type=\"KernelDeadlock\"} 1",
        "obs_kubernetes_node_events_total{result=\"told\"} 2",
    ] {
        until(line, || {
            agent
                .get("/metrics", &[])
                .text()
                .contains(line)
                .then_some(())
        });
    }
}
