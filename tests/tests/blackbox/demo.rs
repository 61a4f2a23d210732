//! Everything that comes with obs over demo data: this machine's own metrics, a small cluster, own
//! logs and traces, spans of two services, an objective. Every query of every bundled dashboard
//! parses and has data, but for those named here and why; every bundled rule is evaluated.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use obs_tests::kube_api::KubeApi;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::alertmanager::Hook;
use super::derived::{CLIENT, SERVER, Told, send};
use super::list;
use super::scraping::Exporter;
use crate::process::{Obs, command, now, until};
use crate::send::{SECOND, loki_json};

/// What this machine or the demo does not have, by dashboard and words of the query; nothing else may
/// be without data.
const WITHOUT_DATA: &[(&str, &str, &str)] = &[
    (
        "obs-apiserver",
        "",
        "the API server of the demo has no metrics",
    ),
    ("obs-coredns", "", "the demo has no DNS server"),
    ("obs-kubelet", "", "the demo has no kubelet"),
    (
        "obs-cluster",
        "kubelet_volume_stats",
        "the demo has no kubelet",
    ),
    (
        "obs-namespaces",
        "kubelet_volume_stats",
        "the demo has no kubelet",
    ),
    (
        "obs-cluster",
        "device!~\"lo|veth",
        "a machine may have no network but loopback",
    ),
    (
        "obs-node",
        "device!~\"lo|veth",
        "a machine may have no network but loopback",
    ),
    (
        "obs-node",
        "node_disk_",
        "a machine may have no disk that it shows",
    ),
    (
        "obs-use",
        "node_disk_",
        "a machine may have no disk that it shows",
    ),
    (
        "obs-use",
        "device!=\"lo\"",
        "a machine may have no network but loopback",
    ),
    (
        "obs-node",
        "node_pressure_",
        "a kernel may be built without pressure",
    ),
    (
        "obs-node",
        "node_filesystem_",
        "a container may show none of its file systems",
    ),
    (
        "obs-use",
        "node_filesystem_",
        "a container may show none of its file systems",
    ),
    (
        "obs-node",
        "node_nf_conntrack",
        "a kernel may not track connections",
    ),
    (
        "obs-node",
        "node_systemd_unit_state",
        "nothing has failed, or there is no systemd",
    ),
    ("obs-cost", "pv_hourly_cost", "the demo has no volumes"),
    (
        "obs-cost",
        "kubecost_load_balancer_cost",
        "the demo has no load balancer",
    ),
    ("obs-cost", "node_gpu_hourly_cost", "the demo has no GPU"),
    ("obs-self", "up{} == 0", "no target is away"),
    (
        "obs-self",
        "obs_ship_queue_bytes",
        "the demo forwards nothing",
    ),
    (
        "obs-slo",
        "slo:period_",
        "rules over the whole window are evaluated every two minutes",
    ),
];

/// Evaluated in a moment; so are the metrics of spans made.
const CONFIG: &str = "
global: {scrape_interval: 2s, evaluation_interval: 1s}
scrape_configs:
- {job_name: containers, static_configs: [{targets: [CONTAINERS]}]}
obs:
  node_exporter: {listen: '127.0.0.1:0'}
  kubernetes: {kubeconfig_file: kubeconfig, kube_state: {}}
  cost: {}
  rules: {bundled: true}
  slo_files: [slo.yml]
  telemetry: {logs: true, traces: true}
  traces: {collection_interval: 500ms, service_graph: {wait: 1s}}
  alertmanager:
    route: {receiver: hook, group_wait: 0s}
    receivers: [{name: hook, webhook_configs: [{url: 'http://HOOK/'}]}]
";
const OBJECTIVE: &str = "
version: prometheus/v1
service: obs
slos:
- name: scrapes
  objective: 99
  sli:
    events:
      error_query: sum(rate(obs_queries_total{outcome!=\"answered\"}[{{.window}}]))
      total_query: sum(rate(obs_queries_total[{{.window}}]))
  alerting: {name: Scrapes}
";
/// Between two pushes of the same.
const PUSH: Duration = Duration::from_secs(5);
const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const UID: &str = "11111111-2222-3333-4444-555555555555";
const POD: &str = "cart-5d8f9c7b6d-x2x9z";

struct Demo {
    obs: Obs,
    /// How often it was pushed.
    pushes: Cell<u32>,
    _api: KubeApi,
    _runtime: Runtime,
}

impl Demo {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let api = runtime.block_on(KubeApi::start());
        objects().into_iter().for_each(|object| {
            api.put(object);
        });
        let (exporter, hook) = (Exporter::serve(&containers()), Hook::serve());
        let config = CONFIG.replace("CONTAINERS", &format!("{:?}", exporter.address));
        let config = config.replace("HOOK", &hook.address);
        let kubeconfig = api.kubeconfig(None);
        let obs = Obs::with_files(&[
            ("obs.yml", &config),
            ("kubeconfig", &kubeconfig),
            ("slo.yml", OBJECTIVE),
        ]);
        let demo = Self {
            obs,
            pushes: Cell::new(0),
            _api: api,
            _runtime: runtime,
        };
        demo.push();
        // Parts have sizes only once there are some.
        demo.obs.force("flush");
        demo
    }

    /// Calls between two services, one of which fails, and lines of a pod.
    fn push(&self) {
        let trace = self.pushes.get() + 1;
        self.pushes.set(trace);
        let told = |service, id, parent, kind| Told {
            service,
            trace,
            id,
            parent,
            kind,
            millis: 700,
            failed: true,
            ..Told::default()
        };
        let spans = [
            told("shop", 1, 0, SERVER),
            told("shop", 2, 1, CLIENT),
            told("pay", 3, 2, SERVER),
        ];
        send(&self.obs, &spans, now() - 2 * SECOND);
        let stream = [
            ("namespace", "shop"),
            ("pod", POD),
            ("container", "app"),
            ("service_name", "shop"),
        ];
        let line = (now(), "level=error msg=\"no answer\"", &[][..]);
        assert_eq!(loki_json(&self.obs, &stream, &[line]).status, 204);
    }
}

/// What the exporter says of a container, once.
fn containers() -> String {
    let tree = tempfile::tempdir().expect("a folder");
    let pod = format!(
        "cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
        UID.replace('-', "_")
    );
    let scope = format!("{pod}/cri-containerd-{CONTAINER}.scope");
    let process = std::process::id().to_string();
    let cpu = "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 5\n\
               nr_throttled 2\nthrottled_usec 1000\n";
    let log = format!("root/var/log/pods/shop_{POD}_{UID}/app/0.log");
    let link = format!("root/var/log/containers/{POD}_shop_app-{CONTAINER}.log");
    let files = [
        ("cgroup/cgroup.controllers", "cpu memory io\n"),
        (&format!("{scope}/cpu.stat"), cpu),
        (&format!("{pod}/cpu.stat"), cpu),
        (&format!("{scope}/cpu.max"), "20000 100000\n"),
        (&format!("{scope}/memory.current"), "4096000\n"),
        (&format!("{scope}/memory.max"), "8192000\n"),
        (&format!("{scope}/memory.swap.current"), "0\n"),
        (
            &format!("{scope}/memory.stat"),
            "anon 1000000\nfile 2000000\ninactive_file 96000\n",
        ),
        (
            &format!("{scope}/io.stat"),
            "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2\n",
        ),
        (&format!("{scope}/cgroup.procs"), &process),
        (&log, ""),
        (&link, ""),
    ];
    for (path, text) in files {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        std::fs::write(path, text).expect("writable");
    }
    let at = |flag: &str, name: &str| format!("--path.{flag}={}", tree.path().join(name).display());
    let flags = [
        "node-exporter",
        "--once",
        "--collector.disable-defaults",
        "--collector.containers",
        &at("cgroup", "cgroup"),
        &at("rootfs", "root"),
    ];
    let output = command(&flags).output().expect("obs runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// A node, and a namespace with something of each kind that dashboards show.
#[expect(clippy::too_many_lines, reason = "a table of objects")]
fn objects() -> Vec<Value> {
    let of = |kind: &str, api: &str, name: &str, spec: Value, status: Value| {
        json!({"apiVersion": api, "kind": kind, "spec": spec, "status": status, "metadata": {
            "namespace": "shop", "name": name, "uid": format!("{kind}-{name}"), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"}})
    };
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let mut node = of(
        "Node",
        "v1",
        "n1",
        json!({}),
        json!({"capacity": room, "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"kubeletVersion": "v1.33.0"}}),
    );
    if let Some(metadata) = node["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"},
        "limits": {"cpu": "200m", "memory": "128Mi"}});
    let ended = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
    let owner = |kind: &str, name: &str| {
        json!([{"apiVersion": "apps/v1", "kind": kind,
        "name": name, "uid": format!("{kind}-{name}"), "controller": true}])
    };
    let pod = |name: &str, uid: &str, owner: Value| {
        let mut pod = of(
            "Pod",
            "v1",
            name,
            json!({"nodeName": "n1", "containers": [{"name": "app", "image": "app:1",
                "resources": resources}]}),
            json!({"phase": "Running", "podIP": "127.0.0.1", "startTime": "2026-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "app", "image": "app:1", "ready": true,
                    "containerID": format!("containerd://{CONTAINER}"), "restartCount": 3,
                    "lastState": ended, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}),
        );
        pod["metadata"]["uid"] = uid.into();
        pod["metadata"]["ownerReferences"] = owner;
        pod
    };
    let mut set = of(
        "ReplicaSet",
        "apps/v1",
        "cart-5d8f9c7b6d",
        json!({"replicas": 1}),
        json!({"replicas": 1, "readyReplicas": 1, "observedGeneration": 1}),
    );
    set["metadata"]["ownerReferences"] = owner("Deployment", "cart");
    let replicas = json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "updatedReplicas": 1, "currentReplicas": 1, "unavailableReplicas": 0,
        "observedGeneration": 1});
    let selector = json!({"matchLabels": {"app": "x"}});
    vec![
        node,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"},
            "status": {"phase": "Active"}}),
        pod(POD, UID, owner("ReplicaSet", "cart-5d8f9c7b6d")),
        set,
        of(
            "Deployment",
            "apps/v1",
            "cart",
            json!({"replicas": 1, "selector": selector}),
            replicas.clone(),
        ),
        of(
            "StatefulSet",
            "apps/v1",
            "db",
            json!({"replicas": 1, "serviceName": "db",
            "selector": selector}),
            replicas,
        ),
        of(
            "DaemonSet",
            "apps/v1",
            "agent",
            json!({"selector": selector}),
            json!({"desiredNumberScheduled": 1, "currentNumberScheduled": 1, "numberReady": 1,
                "numberAvailable": 1, "updatedNumberScheduled": 1, "observedGeneration": 1}),
        ),
        of(
            "Job",
            "batch/v1",
            "once",
            json!({"completions": 1, "parallelism": 1}),
            json!({"active": 0, "succeeded": 1, "failed": 1,
                "startTime": "2026-01-01T00:00:00Z"}),
        ),
        of(
            "CronJob",
            "batch/v1",
            "nightly",
            json!({"schedule": "0 1 * * *"}),
            json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}),
        ),
        of(
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            "cart",
            json!({"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef":
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cart"}}),
            json!({"currentReplicas": 1, "desiredReplicas": 1}),
        ),
        of(
            "ResourceQuota",
            "v1",
            "all",
            json!({"hard": {"cpu": "2"}}),
            json!({"hard": {"cpu": "2"}, "used": {"cpu": "1"}}),
        ),
        of(
            "PersistentVolumeClaim",
            "v1",
            "data",
            json!({"storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}}}),
            json!({"phase": "Bound"}),
        ),
    ]
}

/// A query of a dashboard, as it is asked.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    dashboard: String,
    panel: String,
    kind: String,
    text: String,
}

impl Asked {
    fn has_data(&self, obs: &Obs) -> bool {
        let query = ("query", self.text.as_str());
        let found = |answer: Value| !list(&answer["data"]["result"]).is_empty();
        match self.kind.as_str() {
            "prometheus" => found(obs.get("/api/v1/query", &[query]).json()),
            "loki" => found(obs.get("/loki/api/v1/query_range", &[query]).json()),
            "tempo" => {
                let answer = obs.get("/tempo/api/search", &[("q", self.text.as_str())]);
                !list(&answer.json()["traces"]).is_empty()
            }
            other => panic!("{}: a source of the kind {other}", self.dashboard),
        }
    }

    fn reason(&self) -> Option<usize> {
        WITHOUT_DATA.iter().position(|(dashboard, words, _)| {
            *dashboard == self.dashboard && self.text.contains(words)
        })
    }
}

fn dashboards() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|end| end == "json") {
            let text = std::fs::read_to_string(path).expect("it can be read");
            all.push(serde_json::from_str(&text).expect("JSON"));
        }
    }
    all
}

fn name(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Puts values in place of variables.
fn filled(text: &str, values: &BTreeMap<String, String>) -> String {
    let times = [
        ("__rate_interval", "1m"),
        ("__interval", "1m"),
        ("__range", "5m"),
        ("__auto", "1m"),
    ];
    let times = times.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut all: Vec<_> = times.into_iter().chain(values.clone()).collect();
    all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    all.iter().fold(text.to_owned(), |text, (name, value)| {
        let text = text.replace(&format!("${{{name}}}"), value);
        text.replace(&format!("${name}"), value)
    })
}

/// The value that a variable has when somebody opens the dashboard.
fn chosen(obs: &Obs, variable: &Value, before: &BTreeMap<String, String>) -> Option<String> {
    match name(&variable["type"]) {
        "query" if variable["includeAll"] == true => Some(name(&variable["allValue"]).to_owned()),
        "query" => {
            let asked = name(&variable["definition"]);
            let inner = asked.strip_prefix("label_values(")?.strip_suffix(')')?;
            let (selector, label) = inner.rsplit_once(',')?;
            let path = format!("/api/v1/label/{}/values", label.trim());
            let selector = filled(selector.trim(), before);
            let answer = obs.get(&path, &[("match[]", &selector)]).json();
            let values = super::texts(&answer["data"]).into_iter();
            // Whoever looks at a namespace looks at one with something in it.
            let values: Vec<&str> = values.filter(|value| *value != "default").collect();
            let shop = values.iter().find(|value| **value == "shop");
            shop.or(values.first()).map(|value| (*value).to_owned())
        }
        "custom" | "textbox" => Some(name(&variable["current"]["value"]).to_owned()),
        "datasource" => Some(name(&variable["name"]).to_owned()),
        other => panic!("a variable of the kind {other}"),
    }
}

/// The queries of a dashboard; nothing while a variable has no value.
fn queries(obs: &Obs, dashboard: &Value) -> Option<Vec<Asked>> {
    let uid = name(&dashboard["uid"]);
    let mut values = BTreeMap::new();
    for variable in list(&dashboard["templating"]["list"]) {
        let known = chosen(obs, variable, &values);
        // Those without any data need not have one.
        let without = WITHOUT_DATA
            .iter()
            .any(|(of, words, _)| *of == uid && words.is_empty());
        let value = known.or_else(|| without.then(|| ".*".to_owned()))?;
        values.insert(name(&variable["name"]).to_owned(), value);
    }
    let mut found = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let kind = name(&target["datasource"]["type"]).to_owned();
            let (kind, text) = match (target.get("expr"), target.get("query")) {
                // The page makes it of these.
                _ if target["queryType"] == "serviceMap" => (
                    "prometheus".to_owned(),
                    "traces_service_graph_request_total".to_owned(),
                ),
                (Some(text), _) | (None, Some(text)) => (kind, filled(name(text), &values)),
                (None, None) => panic!("{uid}: {target} asks nothing"),
            };
            found.push(Asked {
                dashboard: uid.to_owned(),
                panel: name(&panel["title"]).to_owned(),
                kind,
                text,
            });
        }
    }
    Some(found)
}

/// Waits until all that can have data has it; gives the queries. What is pushed is pushed again now
/// and then, so that windows that end now see it however slow the machine is; and each query that
/// has data at last gives the others as much time again.
fn await_data(demo: &Demo, dashboards: &[Value]) -> Vec<Asked> {
    let obs = &demo.obs;
    let of = |dashboard: &Value| {
        let uid = name(&dashboard["uid"]);
        until(&format!("the variables of {uid}"), || {
            queries(obs, dashboard)
        })
    };
    let all: Vec<Asked> = dashboards.iter().flat_map(of).collect();
    let mut left: Vec<&Asked> = all.iter().collect();
    left.retain(|asked| asked.reason().is_none());
    let mut pushed = Instant::now();
    while !left.is_empty() {
        let before = left.len();
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("data for one query more", || {
                if pushed.elapsed() > PUSH {
                    demo.push();
                    pushed = Instant::now();
                }
                left.retain(|asked| !asked.has_data(obs));
                (left.len() < before).then_some(())
            });
        }));
        let mut told = String::new();
        for asked in &left {
            let (uid, panel) = (&asked.dashboard, &asked.panel);
            writeln!(told, "{uid}: {panel}: {}", asked.text).expect("a text");
        }
        assert!(waited.is_ok(), "there is no data for\n{told}");
    }
    all
}

/// Every bundled rule is evaluated, or can be: some groups wait two minutes for their turn.
fn assert_rules(obs: &Obs) {
    let groups = until("the first evaluations", || {
        let answer = obs.get("/api/v1/rules", &[]).json();
        let groups = list(&answer["data"]["groups"]).to_vec();
        let often = groups.iter().filter(|group| group["interval"] == 1.0);
        let mut rules = often.flat_map(|group| list(&group["rules"]));
        rules
            .all(|rule| rule["health"] != "unknown")
            .then_some(groups)
    });
    let rules: Vec<&Value> = groups
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .collect();
    assert!(rules.len() > 150, "{}", rules.len());
    let alerts = rules
        .iter()
        .filter(|rule| rule["type"] == "alerting")
        .count();
    assert!(alerts > 100, "{alerts}");
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
        let answer = obs.get("/api/v1/query", &[("query", name(&rule["query"]))]);
        assert_eq!(answer.status, 200, "{rule}: {}", answer.text());
    }
}

#[test]
fn bundled_dashboards_and_rules_work_over_the_demo() {
    let demo = Demo::start();
    let dashboards = dashboards();
    assert!(dashboards.len() >= 16, "{}", dashboards.len());
    let asked = await_data(&demo, &dashboards);
    assert!(asked.len() > 300, "{}", asked.len());
    let used: BTreeSet<usize> = asked.iter().filter_map(Asked::reason).collect();
    let idle = (0..WITHOUT_DATA.len()).filter(|reason| !used.contains(reason));
    let idle: Vec<_> = idle.map(|reason| WITHOUT_DATA[reason]).collect();
    assert!(idle.is_empty(), "no query needs these reasons: {idle:?}");
    assert_rules(&demo.obs);
}
