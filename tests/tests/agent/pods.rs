//! Pods of an API server: labels and annotations for what they log, before the first line and after
//! their end; the cluster's events and audit logs as streams.

use std::fs;

use obs_tests::kube_api::KubeApi;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Container, lines, streams};
use crate::process::{Obs, until};

/// The runtime of an API server that runs beside the test.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn pod(name: &str, node: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}"),
            "labels": {"app": "cart", "team": "blue"}, "annotations": annotations,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "cart",
                "uid": "s", "controller": true}]},
        "spec": {"nodeName": node, "containers": [{"name": "web", "image": "cart:1"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.7"},
    })
}

/// A configuration with this API server; `more` are further keys of `obs.collector`.
fn config(server: &Obs, kubernetes: &str, more: &str) -> String {
    let whole = super::config(server, more);
    format!("{whole}  kubernetes: {{kubeconfig_file: kubeconfig, {kubernetes}}}\n")
}

/// An agent on the node `n1`.
fn agent(config: &str, api: &KubeApi) -> Obs {
    let files = [("obs.yml", config), ("kubeconfig", &api.kubeconfig(None))];
    Obs::agent_with(&files, &["--node-name", "n1"])
}

#[test]
fn pods_say_what_becomes_of_their_logs() {
    let runtime = runtime();
    let api = runtime.block_on(KubeApi::start());
    let server = Obs::start();
    let logs = tempfile::tempdir().expect("a folder");
    let root = logs.path();
    api.put(pod("plain", "n1", json!({})));
    api.put(pod("quiet", "n1", json!({"logs.obs.dev/exclude": "true"})));
    api.put(pod("parsed", "n1", json!({"logs.obs.dev/parser": "json"})));
    api.put(pod("other", "n2", json!({})));
    for name in ["plain", "quiet"] {
        Container::new(root, name).write(3);
    }
    let mut parsed = Container::new(root, "parsed");
    parsed.write(1);
    let json = r#"{"level":"error","msg":"no room","trace_id":"0af7651916cd43dd8448eb211c80319c"}"#;
    let line = format!("{} stdout F {json}\n", super::time(1));
    fs::write(parsed.path(), line).expect("written");
    let more = format!("logs: {{pods: {{path: {root:?}, pod_labels: [team]}}}}");
    let config = config(&server, "pods: {}", &more);
    let agent = agent(&config, &api);
    until("the lines of the plain pod", || {
        (lines(&server, "{pod=\"plain\"}").len() == 3).then_some(())
    });
    let found = streams(&server, "{pod=\"plain\", stream=\"stdout\"}");
    let labels = &found[0]["stream"];
    for (name, value) in [
        ("namespace", "shop"),
        ("container", "web"),
        ("app", "cart"),
        ("team", "blue"),
        ("node", "n1"),
        ("statefulset", "cart"),
    ] {
        assert_eq!(labels[name], value, "{labels}");
    }
    let found = until("the parsed line", || {
        streams(&server, "{pod=\"parsed\"} | detected_level=\"error\"").pop()
    });
    assert_eq!(
        found["stream"]["trace_id"], "0af7651916cd43dd8448eb211c80319c",
        "{found}"
    );
    // Only the pods of this node are asked for.
    let seen = api.take_seen();
    let pods: Vec<&str> = seen
        .iter()
        .map(|s| s.path.as_str())
        .filter(|path| path.starts_with("/api/v1/pods"))
        .collect();
    assert!(!pods.is_empty(), "{seen:?}");
    assert!(
        pods.iter().all(|path| path.contains("spec.nodeName%3Dn1")),
        "{pods:?}"
    );
    // A pod that changes its mind, and one that is gone with lines that nobody read.
    agent.pause();
    let mut late = Container::new(root, "plain");
    late.number = 3;
    late.write(3);
    api.delete("Pod", "shop", "plain");
    agent.resume();
    until("the last lines of a deleted pod", || {
        (lines(&server, "{pod=\"plain\", app=\"cart\"}").len() == 6).then_some(())
    });
    api.put(pod("quiet", "n1", json!({})));
    until("the lines of a pod that is not excluded any more", || {
        (lines(&server, "{pod=\"quiet\", app=\"cart\"}").len() == 3).then_some(())
    });
    assert!(lines(&server, "{pod=~\".+\", app!=\"cart\"}").is_empty());
}

#[test]
fn an_excluded_pod_is_never_read() {
    let runtime = runtime();
    let api = runtime.block_on(KubeApi::start());
    let server = Obs::start();
    let logs = tempfile::tempdir().expect("a folder");
    let root = logs.path();
    api.put(pod("quiet", "n1", json!({"fluentbit.io/exclude": "true"})));
    api.put(pod(
        "loud",
        "n1",
        json!({"logs.obs.dev/exclude-containers": "side"}),
    ));
    Container::new(root, "quiet").write(3);
    let mut loud = Container::new(root, "loud");
    loud.write(3);
    let side = root.join("shop_loud_uid-loud/side");
    fs::create_dir_all(&side).expect("made");
    fs::copy(loud.path(), side.join("0.log")).expect("copied");
    let more = format!("logs: {{pods: {{path: {root:?}}}}}");
    let config = config(&server, "pods: {}", &more);
    let agent = agent(&config, &api);
    until("the lines of the loud pod", || {
        (lines(&server, "{pod=\"loud\"}").len() == 3).then_some(())
    });
    // A second round of what is written is behind everything that was there before.
    loud.write(3);
    until("more lines of the loud pod", || {
        (lines(&server, "{pod=\"loud\"}").len() == 6).then_some(())
    });
    assert!(lines(&server, "{container=\"side\"}").is_empty());
    assert!(lines(&server, "{pod=\"quiet\"}").is_empty());
    assert!(super::own(&agent, "obs_tail_files") == 1.0);
}

#[test]
fn a_server_knows_pods_too() {
    let runtime = runtime();
    let api = runtime.block_on(KubeApi::start());
    let logs = tempfile::tempdir().expect("a folder");
    api.put(pod("plain", "n1", json!({})));
    Container::new(logs.path(), "plain").write(2);
    let config = format!(
        "obs:\n  collector: {{logs: {{pods: {{path: {:?}}}}}}}\n  kubernetes: {{kubeconfig_file: \
         kubeconfig, pods: {{}}}}\n",
        logs.path()
    );
    let files = [
        ("obs.yml", config.as_str()),
        ("kubeconfig", &api.kubeconfig(None)),
    ];
    let server = Obs::with_files(&files);
    until("lines with their workload", || {
        (lines(&server, "{statefulset=\"cart\"}").len() == 2).then_some(())
    });
}

#[test]
fn events_and_audit_logs_are_streams() {
    let runtime = runtime();
    let api = runtime.block_on(KubeApi::start());
    let server = Obs::start();
    let event = |name: &str, reason: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": "default", "name": name, "uid": name},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web-1"},
            "type": "Warning", "reason": reason, "message": "it failed", "count": 1,
            "firstTimestamp": super::time(0), "lastTimestamp": super::time(0),
        })
    };
    api.put(event("a", "BackOff"));
    let files = tempfile::tempdir().expect("a folder");
    let audit = files.path().join("audit.log");
    let entry = |id: &str| {
        json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": id,
            "stage": "ResponseComplete", "verb": "delete", "user": {"username": "eve"},
            "objectRef": {"resource": "secrets", "namespace": "shop", "name": "db"},
            "responseStatus": {"code": 403}, "stageTimestamp": super::time(1000)})
    };
    fs::write(&audit, format!("{}\n", entry("f"))).expect("written");
    let more = format!(
        "logs: {{files: [{{paths: [{audit:?}], labels: {{job: kubernetes-audit}}, parser: \
         kubernetes_audit}}]}}"
    );
    let config = config(&server, "events: {labels: {cluster: c1}}", &more);
    let agent = agent(&config, &api);
    let of = |query: &str| until(query, || streams(&server, query).pop());
    let found = of("{job=\"kubernetes-events\", cluster=\"c1\"}");
    let text = found["values"][0][1].as_str().expect("a line");
    assert!(
        text.contains("reason=BackOff") && text.contains("name=web-1"),
        "{text}"
    );
    api.put(event("b", "Unhealthy"));
    of("{job=\"kubernetes-events\"} | k8s_event_reason=\"Unhealthy\"");
    let found = of("{job=\"kubernetes-audit\"} | verb=\"delete\" | user=\"eve\"");
    assert_eq!(found["stream"]["resource"], "secrets", "{found}");
    // The webhook.
    let list = json!({"kind": "EventList", "items": [entry("w")]}).to_string();
    let told = agent.post(
        "/insert/kubernetes-audit",
        &[("content-type", "application/json")],
        list.into_bytes(),
    );
    assert_eq!(told.status, 200, "{}", told.text());
    of("{job=\"kubernetes-audit\", service_name=\"kubernetes-audit\"} | verb=\"delete\"");
}
