//! The chart rendered with values as people give them, its schema, and the manifests in the
//! repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::chart::{PARTS, Release, TEMPLATES, VALUES, render};
use super::{manifests, name, schema, values};

fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/obs")
}

const RELEASE: Release<'_> = Release {
    name: "obs",
    namespace: "monitoring",
};

/// The objects that values come to.
fn objects(over: Value) -> Vec<Value> {
    use serde::Deserialize;
    let files = render(&RELEASE, over).expect("the chart renders");
    let texts = files.iter().filter(|file| file.is_manifest());
    let documents = texts.flat_map(|file| serde_yaml_ng::Deserializer::from_str(&file.text));
    let objects = documents.map(|document| Value::deserialize(document).expect("YAML"));
    objects.filter(|object| !object.is_null()).collect()
}

fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{kind} {name}"))
}

#[test]
fn every_template_is_embedded() {
    let known: BTreeSet<_> = PARTS
        .iter()
        .chain(TEMPLATES)
        .map(|(name, _)| *name)
        .collect();
    let folder = fs::read_dir(chart().join("templates")).unwrap();
    let there = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<_> = there.collect();
    assert_eq!(
        there.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
}

#[test]
fn defaults_are_a_server_an_agent_and_what_they_need() {
    let objects = objects(json!({}));
    let kinds: Vec<_> = objects
        .iter()
        .map(|o| o["kind"].as_str().unwrap())
        .collect();
    let expect = [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "ConfigMap",
        "Service",
        "Service",
        "PodDisruptionBudget",
        "StatefulSet",
        "DaemonSet",
        "NetworkPolicy",
    ];
    assert_eq!(kinds, expect);
    for object in &objects {
        let place = &object["metadata"]["namespace"];
        let of_cluster = object["kind"].as_str().unwrap().starts_with("Cluster");
        assert_eq!(
            place.as_str(),
            (!of_cluster).then_some("monitoring"),
            "{object}"
        );
    }
    let set = find(&objects, "StatefulSet", "obs");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["image"],
        concat!("obs:", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    let agent = find(&objects, "DaemonSet", "obs-agent");
    let pod = &agent["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    for mount in mounts.iter().filter(|mount| mount["name"] != "data") {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
}

#[test]
fn values_reach_the_objects() {
    let mut over = json!({});
    for text in [
        "image.repository=r.example/obs,image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "kubeState.mode=deployment,kubeState.resources={pods,nodes},kubeState.labelsAllowList.pods={app}",
        "agent.tolerations[0].key=gpu,agent.nodeSelector.kubernetes\\.io/os=linux",
        "server.config.obs.limits.series_max=5,server.ingress.enabled=true,server.ingress.hosts[0].host=obs.example",
        "resourceMetrics.enabled=true,resourceMetrics.tlsSecret=tls,serviceMonitor.enabled=true",
        "server.alertmanager.route.receiver=none,server.alertmanager.receivers[0].name=none",
    ] {
        values::set(&mut over, text, true).unwrap();
    }
    let objects = objects(over);
    let deployment = find(&objects, "Deployment", "obs-kube-state");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap();
    assert!(image.starts_with("r.example/obs@sha256:0000"), "{image}");
    let arguments = container["args"].to_string();
    assert!(arguments.contains("--resources=pods,nodes"), "{arguments}");
    assert!(
        arguments.contains("--metric-labels-allowlist=pods=[app]"),
        "{arguments}"
    );
    let rules = &find(&objects, "ClusterRole", "monitoring-obs-kube-state")["rules"];
    assert_eq!(
        *rules,
        json!([{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list", "watch"]}])
    );
    let agent = &find(&objects, "DaemonSet", "obs-agent")["spec"]["template"]["spec"];
    assert_eq!(agent["tolerations"], json!([{"key": "gpu"}]));
    assert_eq!(agent["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    let text = find(&objects, "ConfigMap", "obs")["data"]["obs.yml"]
        .as_str()
        .unwrap();
    let config = values::parse(text).unwrap();
    assert_eq!(
        config["obs"]["limits"],
        json!({"series_max": 5, "query_bytes_max": 268_435_456})
    );
    assert_eq!(
        config["obs"]["alertmanager_file"],
        "/etc/obs/alertmanager/alertmanager.yml"
    );
    find(&objects, "Secret", "obs-alertmanager");
    find(&objects, "Ingress", "obs");
    find(&objects, "ServiceMonitor", "obs");
    find(&objects, "APIService", "v1beta2.custom.metrics.k8s.io");
}

#[test]
fn values_that_there_are_not_are_refused() {
    let check = |over: Value, expect: &str| {
        let error = render(&RELEASE, over).unwrap_err();
        assert_eq!(format!("{error:#}"), expect);
    };
    check(json!({"sever": {}}), "values: sever is not known");
    check(
        json!({"server": {"retention": "long", "scrape": {"kubelet": "yes"}}}),
        "values: server.retention: expected what fits ^([0-9]+(ms|s|m|h|d|w|y))+$|^0$, found \"long\"; \
         server.scrape.kubelet: expected \"boolean\", found \"yes\"",
    );
    check(
        json!({"kubeState": {"resources": ["pods", "cats"]}, "agent": {"port": 0}}),
        "values: agent.port: expected at least 1, found 0; kubeState.resources[1]: expected one of \
         [\"certificatesigningrequests\",\"clusterrolebindings\",\"clusterroles\",\"configmaps\",\"cronjobs\",\
         \"daemonsets\",\"deployments\",\"endpoints\",\"endpointslices\",\"horizontalpodautoscalers\",\
         \"ingressclasses\",\"ingresses\",\"jobs\",\"leases\",\"limitranges\",\"mutatingadmissionpolicies\",\
         \"mutatingadmissionpolicybindings\",\"mutatingwebhookconfigurations\",\"namespaces\",\
         \"networkpolicies\",\"nodes\",\"persistentvolumeclaims\",\"persistentvolumes\",\
         \"poddisruptionbudgets\",\"pods\",\"replicasets\",\"replicationcontrollers\",\"resourcequotas\",\
         \"rolebindings\",\"roles\",\"secrets\",\"serviceaccounts\",\"services\",\"statefulsets\",\
         \"storageclasses\",\"validatingadmissionpolicies\",\"validatingadmissionpolicybindings\",\
         \"validatingwebhookconfigurations\",\"volumeattachments\"], found \"cats\"",
    );
    let missing = render(&RELEASE, json!({"server": {"ingress": {"enabled": true}}})).unwrap_err();
    let missing = format!("{missing:#}");
    assert!(
        missing.contains("server.ingress.hosts: which hosts?"),
        "{missing}"
    );
}

#[test]
fn every_value_is_in_the_schema_and_examples_hold() {
    let schema = fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let defaults = values::parse(VALUES).unwrap();
    assert_eq!(schema::check(&schema, &defaults), Vec::<String>::new());
    // The schema has no values that values.yaml does not describe.
    fn same(schema: &Value, value: &Value, place: &str) {
        let (Some(known), Some(value)) = (schema["properties"].as_object(), value.as_object())
        else {
            return;
        };
        for (name, schema) in known.iter().filter(|(name, _)| *name != "global") {
            let place = format!("{place}.{name}");
            same(
                schema,
                value.get(name).unwrap_or_else(|| panic!("{place}")),
                &place,
            );
        }
    }
    same(&schema, &defaults, "");
    let mut examples = 0;
    for entry in fs::read_dir(chart().join("examples")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!objects(values::parse(&text).unwrap()).is_empty());
        examples += 1;
    }
    assert!(examples > 0);
}

#[test]
fn a_schema_with_words_that_are_not_known_is_a_fault() {
    let faults = schema::check(&json!({"maxItems": 1}), &json!([1, 2]));
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn flags_set_values_in_helms_words() {
    let check = |text: &str, expect: Value| {
        let mut all = json!({"a": {"b": 1}});
        values::set(&mut all, text, true).unwrap();
        assert_eq!(all, expect, "{text}");
    };
    check("a.c=2", json!({"a": {"b": 1, "c": 2}}));
    check("a=x,d=true", json!({"a": "x", "d": true}));
    check("a.b={1,two,\\,}", json!({"a": {"b": [1, "two", ","]}}));
    check("a.b={}", json!({"a": {"b": []}}));
    check(
        "a.l[1].k=v,a.b=null",
        json!({"a": {"b": null, "l": [null, {"k": "v"}]}}),
    );
    check("a\\.b=0123", json!({"a": {"b": 1}, "a.b": "0123"}));
    check("a.b=", json!({"a": {"b": ""}}));
    check("a.b=x\\,y", json!({"a": {"b": "x,y"}}));
    let mut all = json!({});
    values::set(&mut all, "a=1", false).unwrap();
    assert_eq!(all, json!({"a": "1"}));
    for wrong in [
        "",
        "a",
        "=1",
        "a,b=1",
        "a[x]=1",
        "a[99999999999]=1",
        "a[1001]=1",
    ] {
        assert!(values::set(&mut json!({}), wrong, true).is_err(), "{wrong}");
    }
}

#[test]
fn null_takes_a_value_away() {
    let mut all = json!({"a": {"b": 1, "c": 2}});
    values::merge(&mut all, json!({"a": {"b": null, "d": [3]}}));
    assert_eq!(all, json!({"a": {"c": 2, "d": [3]}}));
}

#[test]
fn names_are_those_of_objects() {
    for fits in ["obs", "a", "a-1"] {
        assert!(name("--name", fits).is_ok());
    }
    for wrong in ["", "-a", "a-", "A", "a.b", "a/b", &"a".repeat(54)] {
        assert!(name("--name", wrong).is_err(), "{wrong}");
    }
}

/// `UPDATE_EXPECT=1` writes them anew.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "files of the repository, when asked to"
)]
fn manifests_are_what_the_chart_says() {
    let release = Release {
        name: "obs",
        namespace: "obs",
    };
    let files = render(&release, json!({"namespace": {"create": true}})).unwrap();
    let folder = chart().join("../../manifests");
    let made: Vec<_> = manifests(&files).collect();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        for entry in fs::read_dir(&folder).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (name, text) in &made {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let there = fs::read_dir(&folder).unwrap();
    let there = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<_> = made.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(there.collect::<BTreeSet<_>>(), names);
    for (name, text) in &made {
        assert_eq!(
            fs::read_to_string(folder.join(name)).unwrap(),
            *text,
            "{name}"
        );
    }
}
