//! Tests of the pods that are known.

use serde_json::{Value, json};

use super::*;

fn pod(name: &str, uid: &str, ip: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": uid,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "web", "pod-template-hash": "5d9"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d9", "uid": "rs", "controller": true}]},
        "spec": {"nodeName": "n1",
            "initContainers": [{"name": "prepare", "image": "busybox"}],
            "containers": [{"name": "web", "image": "registry:5000/web:1.2@sha256:ab",
                "env": [{"name": "PASSWORD", "value": "x"}], "ports": [{"containerPort": 80}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "10.0.0.1",
            "startTime": "2026-01-01T00:00:01Z",
            "containerStatuses": [{"name": "web", "containerID": format!("containerd://c-{uid}"), "restartCount": 2}]}
    })
}

fn known(pods: &[Value]) -> Pods {
    let known = Pods::new(Settings::default());
    put(&known, pods);
    known
}

fn put(known: &Pods, pods: &[Value]) {
    let text = json!({"kind": "PodList", "items": pods}).to_string();
    assert_eq!(known.insert_json(text.as_bytes()).unwrap(), pods.len());
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

#[test]
fn a_pod_is_found_in_every_way() {
    let known = known(&[pod("web-5d9-x", "u1", "10.1.0.1")]);
    let found = known.by_uid("u1").unwrap();
    assert_eq!(Some(&found), known.by_name("shop", "web-5d9-x").as_ref());
    assert_eq!(Some(&found), known.by_ip("10.1.0.1").as_ref());
    let (by_container, name) = known.by_container_id("containerd://c-u1").unwrap();
    assert_eq!((by_container, &*name), (found, "web"));
    assert!(known.by_container_id("c-u1").is_some());
    assert!(known.by_uid("u2").is_none());
    assert!(known.by_ip("").is_none());
    assert_eq!(*known.changes().borrow(), 2);
}

#[test]
fn attributes_have_the_names_of_opentelemetry() {
    let known = known(&[pod("web-5d9-x", "u1", "10.1.0.1")]);
    let pod = known.by_uid("u1").unwrap();
    let attributes = pod.attributes(Some("web"));
    let attributes: Vec<(&str, &str)> = attributes.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert_eq!(
        attributes,
        [
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "web-5d9-x"),
            ("k8s.pod.uid", "u1"),
            ("k8s.pod.ip", "10.1.0.1"),
            ("k8s.pod.start_time", "2026-01-01T00:00:01Z"),
            ("k8s.node.name", "n1"),
            ("k8s.replicaset.name", "web-5d9"),
            ("k8s.replicaset.uid", "rs"),
            ("k8s.deployment.name", "web"),
            ("k8s.container.name", "web"),
            ("k8s.container.restart_count", "2"),
            ("container.id", "c-u1"),
            ("container.image.name", "registry:5000/web"),
            ("container.image.tag", "1.2"),
        ]
    );
    assert_eq!(pod.annotations.iter().collect::<Vec<_>>(), [("team", "a")]);
    assert_eq!(pod.service_name(), "web");
}

#[test]
fn owners_are_followed_by_their_names() {
    let check = |kind: &str, name: &str, hash: &str, expect: &[(&str, &str)]| {
        let object = json!({"metadata": {"uid": "u", "name": "p", "labels": {"pod-template-hash": hash},
            "ownerReferences": [{"kind": kind, "name": name, "uid": "o", "controller": true}]}});
        let known = known(&[object]);
        let pod = known.by_uid("u").unwrap();
        let owners: Vec<(&str, &str)> = pod.owners.iter().map(|o| (&*o.kind, &*o.name)).collect();
        assert_eq!(owners, expect);
    };
    check(
        "ReplicaSet",
        "web-abc",
        "abc",
        &[("ReplicaSet", "web-abc"), ("Deployment", "web")],
    );
    check("ReplicaSet", "web-abc", "xyz", &[("ReplicaSet", "web-abc")]);
    check(
        "Job",
        "tidy-29384756",
        "",
        &[("Job", "tidy-29384756"), ("CronJob", "tidy")],
    );
    check("Job", "migrate-2", "", &[("Job", "migrate-2")]);
    check("DaemonSet", "agent", "", &[("DaemonSet", "agent")]);
}

#[test]
fn static_pods_are_found_by_the_name_of_their_folder() {
    let object = json!({"metadata": {"uid": "u", "name": "etcd-n1", "namespace": "kube-system",
        "annotations": {"kubernetes.io/config.hash": "abcd"}}, "spec": {"hostNetwork": true},
        "status": {"podIP": "10.0.0.1"}});
    let known = known(&[object]);
    assert_eq!(
        known.by_uid("abcd").unwrap().key.to_string(),
        "kube-system/etcd-n1"
    );
    assert!(known.by_ip("10.0.0.1").is_none());
}

#[test]
fn what_is_gone_is_found_for_a_while() {
    let known = known(&[pod("a", "u1", "10.1.0.1")]);
    known.take(Event::Gone(Key::new("shop", "a")), seconds(1000));
    known.sweep(seconds(1300));
    assert!(known.by_uid("u1").is_some());
    // A new pod of the same name and address wins at once.
    put(&known, &[pod("a", "u2", "10.1.0.1")]);
    assert_eq!(&*known.by_ip("10.1.0.1").unwrap().uid, "u2");
    assert_eq!(&*known.by_name("shop", "a").unwrap().uid, "u2");
    assert!(known.by_uid("u1").is_some());
    known.sweep(seconds(1301));
    assert!(known.by_uid("u1").is_none());
    assert_eq!(&*known.by_ip("10.1.0.1").unwrap().uid, "u2");
    assert_eq!(known.len(), 1);
}

#[test]
fn a_new_list_tells_what_is_gone() {
    let known = known(&[pod("a", "u1", "10.1.0.1"), pod("b", "u2", "10.1.0.2")]);
    let object = |name, uid| {
        let object: PodObject = serde_json::from_value(pod(name, uid, "10.1.0.3")).unwrap();
        Event::Put(object.metadata.key(), object)
    };
    known.take(Event::Start, seconds(1));
    known.take(object("b", "u2"), seconds(1));
    // A list that begins again says nothing yet.
    known.take(Event::Start, seconds(2));
    known.sweep(seconds(10_000));
    assert_eq!(known.len(), 2);
    known.take(object("b", "u2"), seconds(2));
    known.take(Event::Ready, seconds(2));
    known.sweep(seconds(10_000));
    assert!(known.by_uid("u1").is_none() && known.by_uid("u2").is_some());
}

#[test]
fn there_are_never_too_many() {
    let known = Pods::new(Settings {
        pods_max: 2,
        ..Settings::default()
    });
    put(
        &known,
        &[
            pod("a", "u1", "1"),
            pod("b", "u2", "2"),
            pod("c", "u3", "3"),
        ],
    );
    assert_eq!(known.len(), 2);
    assert!(known.by_uid("u3").is_none());
    known.take(Event::Gone(Key::new("shop", "a")), seconds(1));
    put(&known, &[pod("c", "u3", "3")]);
    assert!(known.by_uid("u3").is_some() && known.by_uid("u1").is_none());
    assert!(known.by_container_id("c-u1").is_none());
}
