//! What `obs kubernetes install` prints: objects that Kubernetes' own types take whole, configurations
//! that obs takes, and roles that grant what is asked of the API server and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use k8s_openapi::api::{apps, core, networking, policy, rbac};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use obs_tests::kube_api::{CA, KubeApi, Seen};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{list, vector};
use crate::process::{Obs, command, until};

/// The objects for these flags.
fn install(flags: &[&str]) -> Vec<Value> {
    let first = ["kubernetes", "install", "--dry-run"];
    let output = command(&[&first[..], flags].concat())
        .output()
        .expect("obs runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let objects = documents.map(|document| Value::deserialize(document).expect("YAML"));
    objects.filter(|object| !object.is_null()).collect()
}

fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{kind} {name}"))
}

const SETS: &[&[&str]] = &[
    &[],
    &[
        "--set",
        "kubeState.mode=deployment,server.scrape.monitors=true,server.scrape.controlPlane=true",
    ],
    &[
        "--set",
        "agent.nodeProblems=true,server.persistence.enabled=false,server.events=false",
    ],
];

/// More of the objects, with what has no meaning to a configuration.
const ALL: &[&str] = &[
    "--set",
    "resourceMetrics.enabled=true,resourceMetrics.tlsSecret=t,server.ingress.enabled=true,\
     server.ingress.hosts[0].host=a.example,server.alertmanager.route.receiver=x,\
     networkPolicy.from[0].ipBlock.cidr=10.0.0.0/8,image.pullSecrets[0].name=r",
];

/// An object as a type of Kubernetes reads and writes it: what the type does not know is gone.
fn through<T: DeserializeOwned + serde::Serialize>(object: &Value) -> Value {
    let read: T =
        serde_json::from_value(object.clone()).unwrap_or_else(|e| panic!("{e}: {object}"));
    serde_json::to_value(read).expect("JSON")
}

/// What is in the first and not in the second.
fn lost(object: &Value, read: &Value, place: &str, faults: &mut Vec<String>) {
    match (object, read) {
        (Value::Object(object), Value::Object(read)) => {
            for (name, value) in object {
                let place = format!("{place}.{name}");
                lost(
                    value,
                    read.get(name).unwrap_or(&Value::Null),
                    &place,
                    faults,
                );
            }
        }
        (Value::Array(object), Value::Array(read)) if object.len() == read.len() => {
            for (index, (value, read)) in object.iter().zip(read).enumerate() {
                lost(value, read, &format!("{place}[{index}]"), faults);
            }
        }
        (object, read) if object == read => {}
        (object, read) => faults.push(format!("{place}: {object} is read as {read}")),
    }
}

#[test]
fn every_object_is_what_kubernetes_types_say() {
    let mut faults = Vec::new();
    let mut kinds = BTreeSet::new();
    for flags in SETS.iter().chain([&ALL]) {
        for object in install(flags) {
            let kind = object["kind"].as_str().expect("a kind").to_owned();
            let read = match kind.as_str() {
                "Namespace" => through::<core::v1::Namespace>(&object),
                "ServiceAccount" => through::<core::v1::ServiceAccount>(&object),
                "ConfigMap" => through::<core::v1::ConfigMap>(&object),
                "Secret" => through::<core::v1::Secret>(&object),
                "Service" => through::<core::v1::Service>(&object),
                "StatefulSet" => through::<apps::v1::StatefulSet>(&object),
                "DaemonSet" => through::<apps::v1::DaemonSet>(&object),
                "Deployment" => through::<apps::v1::Deployment>(&object),
                "ClusterRole" => through::<rbac::v1::ClusterRole>(&object),
                "ClusterRoleBinding" => through::<rbac::v1::ClusterRoleBinding>(&object),
                "RoleBinding" => through::<rbac::v1::RoleBinding>(&object),
                "NetworkPolicy" => through::<networking::v1::NetworkPolicy>(&object),
                "Ingress" => through::<networking::v1::Ingress>(&object),
                "PodDisruptionBudget" => through::<policy::v1::PodDisruptionBudget>(&object),
                "APIService" => through::<apiregistration::v1::APIService>(&object),
                kind => panic!("{kind} is of no type that is known here"),
            };
            lost(&object, &read, &kind, &mut faults);
            kinds.insert(kind);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(kinds.len(), 15, "{kinds:?}");
}

#[test]
fn every_configuration_is_one_that_obs_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut checked = 0;
    for flags in SETS {
        let objects = install(flags);
        for object in objects
            .iter()
            .filter(|object| object["kind"] == "ConfigMap")
        {
            for (name, text) in object["data"].as_object().expect("a map") {
                let path = folder.path().join(name);
                std::fs::write(&path, text.as_str().expect("text")).expect("writable");
                let path = path.display().to_string();
                let output = command(&["check", "config", &path])
                    .output()
                    .expect("obs runs");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success(), "{flags:?}: {said}");
                assert_eq!(said, "", "{flags:?}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 2 * SETS.len());
}

/// A verb and what it is used on: `list pods`, `get nodes/metrics`, `list jobs.batch`.
type Grant = String;

/// What a role grants of the API server.
fn granted(objects: &[Value], role: &str) -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    for rule in list(&find(objects, "ClusterRole", role)["rules"]) {
        for verb in list(&rule["verbs"]) {
            let verb = verb.as_str().expect("a verb");
            let groups = rule["apiGroups"].as_array().into_iter().flatten();
            for group in groups.map(|group| group.as_str().expect("a group")) {
                for resource in list(&rule["resources"]) {
                    let resource = resource.as_str().expect("a resource");
                    assert!(![verb, group, resource].contains(&"*"), "{rule}");
                    grants.insert(grant(verb, group, resource));
                }
            }
            for path in rule["nonResourceURLs"].as_array().into_iter().flatten() {
                grants.insert(format!("{verb} {}", path.as_str().expect("a path")));
            }
        }
    }
    grants
}

fn grant(verb: &str, group: &str, resource: &str) -> Grant {
    match group {
        "" => format!("{verb} {resource}"),
        group => format!("{verb} {resource}.{group}"),
    }
}

/// What a request needs.
fn needed(seen: &Seen) -> Grant {
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    let mut parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let group = match parts.first() {
        Some(&"api") => "",
        Some(&"apis") => parts.remove(1),
        _ => return format!("{} {path}", seen.method.to_lowercase()),
    };
    let mut rest = parts.split_off(2);
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let verb = match (seen.method.as_str(), rest.len()) {
        ("GET", _) if query.contains("watch=") => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        (method, _) => method,
    };
    let resource = match rest.get(2) {
        Some(part) => format!("{}/{part}", rest[0]),
        None => rest[0].to_owned(),
    };
    grant(verb, group, &resource)
}

/// Waits until all of this was asked; then nothing else may have been.
fn asks_exactly(api: &KubeApi, expect: &BTreeSet<Grant>) {
    let mut asked = BTreeSet::new();
    until("everything that is granted is used", || {
        asked.extend(api.take_seen().iter().map(needed));
        expect.is_subset(&asked).then_some(())
    });
    let more: Vec<_> = asked.difference(expect).collect();
    assert!(more.is_empty(), "asked for and not granted: {more:?}");
}

/// A cluster, and a folder with the way to it and what a pod has of its service account.
struct Cluster {
    api: KubeApi,
    folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl Cluster {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let api = runtime.block_on(KubeApi::start());
        // Servers that cannot send lists as events are asked for both.
        api.set_initial_events(false);
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = api.kubeconfig(None);
        for (name, text) in [
            ("kubeconfig", kubeconfig.as_str()),
            ("token", "t"),
            ("ca.crt", CA),
        ] {
            std::fs::write(folder.path().join(name), text).expect("writable");
        }
        Self {
            api,
            folder,
            _runtime: runtime,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The configuration of a config map, in this cluster.
    fn config(&self, map: &Value, name: &str, places: &[(&str, &str)]) -> String {
        let mut text = map["data"][name].as_str().expect("text").to_owned();
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        for (place, instead) in places.iter().chain([&(account, self.path("").as_str())]) {
            text = text.replace(place, instead);
        }
        let mut config: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        config["obs"]["kubernetes"]["kubeconfig_file"] = json!(self.path("kubeconfig"));
        config.to_string()
    }
}

/// Of a server: what it asks of others with the same credentials is not asked of the API server.
fn of_api_server(objects: &[Value]) -> BTreeSet<Grant> {
    let mut grants = granted(objects, "obs-obs");
    for of_targets in ["get nodes/metrics", "get /metrics"] {
        assert!(grants.remove(of_targets), "{of_targets} is granted");
    }
    grants
}

#[test]
fn the_server_asks_for_what_its_role_grants() {
    let cluster = Cluster::start();
    let objects = install(&[]);
    let config = cluster.config(find(&objects, "ConfigMap", "obs"), "obs.yml", &[]);
    let grants = of_api_server(&objects);
    assert!(
        grants.contains("watch endpointslices.discovery.k8s.io"),
        "{grants:?}"
    );
    assert!(!grants.contains("list secrets"), "{grants:?}");
    let server = Obs::with_config(&config);
    asks_exactly(&cluster.api, &grants);
    // What serves metrics in the cluster is a target, and the state of objects is scraped.
    cluster.api.put(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}),
    );
    until("the kubelet of the node is scraped by three jobs", || {
        let answer = server.get("/api/v1/query", &[("query", "up{job='kubelet',node='n1'}")]);
        (vector(&answer.json()).len() == 3).then_some(())
    });
    until("the node is among the objects", || {
        let answer = server.get("/api/v1/query", &[("query", "kube_node_info{node='n1'}")]);
        (vector(&answer.json()).len() == 1).then_some(())
    });
}

#[test]
fn with_monitors_secrets_are_read_that_they_name() {
    let cluster = Cluster::start();
    let named = |name: &str| json!({"name": name, "key": "k"});
    cluster.api.put(
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor",
        "metadata": {"name": "m", "namespace": "default"},
        "spec": {"selector": {}, "endpoints": [{"port": "http",
            "basicAuth": {"username": named("s"), "password": named("s")},
            "tlsConfig": {"ca": {"configMap": named("c")}}}]}}),
    );
    for (kind, name) in [("Secret", "s"), ("ConfigMap", "c")] {
        let data = if kind == "Secret" { "aw==" } else { CA };
        cluster.api.put(
            json!({"apiVersion": "v1", "kind": kind, "data": {"k": data},
            "metadata": {"name": name, "namespace": "default"}}),
        );
    }
    let flags = "kubeState.mode=none,server.scrape.monitors=true,server.scrape.annotations=false,\
                 server.scrape.coreDns=false";
    let objects = install(&["--set", flags]);
    let config = cluster.config(find(&objects, "ConfigMap", "obs"), "obs.yml", &[]);
    let _server = Obs::with_config(&config);
    asks_exactly(&cluster.api, &of_api_server(&objects));
}

#[test]
fn kube_state_alone_asks_for_what_its_role_grants() {
    let cluster = Cluster::start();
    let objects = install(&["--set", "kubeState.mode=deployment"]);
    let deployment = find(&objects, "Deployment", "obs-kube-state");
    let pod = &deployment["spec"]["template"]["spec"];
    let arguments = list(&pod["containers"][0]["args"]).iter();
    let arguments = arguments.map(|argument| match argument.as_str().expect("text") {
        "--listen=0.0.0.0:8080" => "--listen=127.0.0.1:0".to_owned(),
        "--telemetry-port=8081" => "--telemetry-port=0".to_owned(),
        argument => argument.to_owned(),
    });
    let kubeconfig = format!("--kubeconfig={}", cluster.path("kubeconfig"));
    let arguments: Vec<_> = arguments.chain([kubeconfig]).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut command = command(&arguments);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = Ended(child.expect("obs starts"));
    asks_exactly(&cluster.api, &granted(&objects, "obs-obs-kube-state"));
    drop(child);
    // The server does not ask for what the other one does.
    let grants = of_api_server(&objects);
    assert!(!grants.contains("list configmaps"), "{grants:?}");
}

/// A process that ends with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_agent_sends_what_its_node_has_by_the_name_of_the_node() {
    let cluster = Cluster::start();
    let server = Obs::start();
    cluster.api.put(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": "web", "uid": "u1", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "web:1"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"}}));
    let log = cluster.folder.path().join("pods/shop_web_u1/main");
    std::fs::create_dir_all(&log).expect("made");
    let line = "2026-01-02T03:04:05.123456789Z stdout F hello from the pod\n";
    std::fs::write(log.join("0.log"), line).expect("writable");
    let objects = install(&[]);
    let pods = cluster.path("pods");
    let url = server.url();
    let places = [
        ("/var/log/pods", pods.as_str()),
        ("http://obs.obs.svc:9090", url.as_str()),
        ("/host/proc", "/proc"),
        ("/host/sys", "/sys"),
        ("/host/root", "/"),
        ("scrape_interval: 30s", "scrape_interval: 1s"),
    ];
    let config = cluster.config(
        find(&objects, "ConfigMap", "obs-agent"),
        "agent.yml",
        &places,
    );
    let _agent = Obs::agent_with(&[("obs.yml", &config)], &["--node-name", "n1"]);
    for (job, sample) in [("node", "node_boot_time_seconds"), ("obs-agent", "up")] {
        let query = format!("{sample}{{job='{job}',instance='n1'}}");
        until(&query, || {
            let answer = server.get("/api/v1/query", &[("query", &query)]).json();
            (vector(&answer).len() == 1).then_some(())
        });
    }
    until("the line of the pod", || {
        let query = "{namespace=\"shop\",pod=\"web\",container=\"main\",app=\"web\"}";
        let answer = server.get(
            "/loki/api/v1/query_range",
            &[("query", query), ("start", "0")],
        );
        answer.text().contains("hello from the pod").then_some(())
    });
    asks_exactly(&cluster.api, &granted(&objects, "obs-obs-agent"));
}

#[test]
fn commands_of_containers_are_ones_that_obs_takes() {
    let objects = install(&["--set", "kubeState.mode=deployment"]);
    let mut seen = BTreeMap::new();
    for object in &objects {
        let pod = &object["spec"]["template"]["spec"];
        for container in pod["containers"].as_array().into_iter().flatten() {
            let arguments = list(&container["args"]).iter();
            let arguments: Vec<_> = arguments.map(|a| a.as_str().expect("text")).collect();
            // `--help` comes after the flags are read, so that a wrong one is told first.
            let asked = [&arguments[..], &["--help"]].concat();
            let output = command(&asked).output().expect("obs runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{arguments:?}: {said}");
            seen.insert(arguments[0].to_owned(), container["image"].clone());
        }
    }
    let roles: Vec<_> = seen.keys().map(String::as_str).collect();
    assert_eq!(roles, ["agent", "kube-state", "serve"]);
}
