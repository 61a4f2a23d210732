//! Objects of the Operator against the configuration that the Operator makes of them.

use serde_json::{Value, json};

use super::*;

/// Rules in one line each: sources, regex, action, target and replacement.
fn brief(rules: &Value) -> Vec<String> {
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or("").to_owned();
    let line = |rule: &Value| {
        let sources: Vec<&str> = rule["source_labels"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let sources = sources.join(",").replace("__meta_kubernetes_", "~");
        let parts = [
            text(rule, "action"),
            sources,
            text(rule, "regex"),
            text(rule, "replacement"),
            text(rule, "target_label"),
        ];
        parts
            .iter()
            .filter(|part| !part.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    rules.as_array().unwrap().iter().map(line).collect()
}

fn one(object: &Value) -> Value {
    let mut entries = convert(object, &References::default()).unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

#[test]
fn a_service_monitor() {
    let object = json!({"kind": "ServiceMonitor", "metadata": {"namespace": "monitoring", "name": "node-exporter"},
        "spec": {"jobLabel": "app.kubernetes.io/name", "selector": {"matchLabels": {"app.kubernetes.io/name": "node-exporter"},
                "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"}]},
            "namespaceSelector": {"matchNames": ["kube-system"]}, "targetLabels": ["team"], "podTargetLabels": ["pod.io/x"],
            "sampleLimit": 5, "attachMetadata": {"node": true},
            "endpoints": [{"port": "https", "scheme": "https", "interval": "15s", "bearerTokenFile": "/token", "honorLabels": true,
                "tlsConfig": {"insecureSkipVerify": true, "serverName": "x"},
                "relabelings": [{"action": "Replace", "sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "instance", "replacement": "$1", "separator": ""}],
                "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "go_.*"}]}]}});
    let entry = one(&object);
    assert_eq!(
        entry["job_name"],
        "serviceMonitor/monitoring/node-exporter/0"
    );
    assert_eq!(
        entry["kubernetes_sd_configs"],
        json!([{"role": "endpoints", "namespaces": {"names": ["kube-system"]}, "attach_metadata": {"node": true}}])
    );
    let settings = json!({"honor_labels": true, "scheme": "https", "scrape_interval": "15s", "sample_limit": 5, "bearer_token_file": "/token"});
    for (name, value) in settings.as_object().unwrap() {
        assert_eq!(&entry[name], value, "{name}");
    }
    assert_eq!(
        entry["tls_config"],
        json!({"insecure_skip_verify": true, "server_name": "x"})
    );
    assert_eq!(
        brief(&entry["relabel_configs"]),
        [
            "job __tmp_prometheus_job_name",
            "keep ~service_label_app_kubernetes_io_name,~service_labelpresent_app_kubernetes_io_name (node-exporter);true",
            "keep ~service_label_tier,~service_labelpresent_tier (a|b);true",
            "drop ~service_labelpresent_old true",
            "keep ~endpoint_port_name https",
            "~endpoint_address_target_kind,~endpoint_address_target_name Node;(.*) ${1} node",
            "~endpoint_address_target_kind,~endpoint_address_target_name Pod;(.*) ${1} pod",
            "~namespace namespace",
            "~service_name service",
            "~pod_name pod",
            "~pod_container_name container",
            "drop ~pod_phase (Failed|Succeeded)",
            "~service_label_team (.+) ${1} team",
            "~pod_label_pod_io_x (.+) ${1} pod_io_x",
            "~service_name ${1} job",
            "~service_label_app_kubernetes_io_name (.+) ${1} job",
            "https endpoint",
            "replace ~pod_node_name $1 instance",
        ]
    );
    assert_eq!(entry["relabel_configs"][17]["separator"], "");
    assert_eq!(
        brief(&entry["metric_relabel_configs"]),
        ["drop __name__ go_.*"]
    );
}

#[test]
fn a_service_monitor_of_slices_by_role_selector() {
    let object = json!({"kind": "ServiceMonitor", "metadata": {"namespace": "a", "name": "b"},
        "spec": {"selectorMechanism": "RoleSelector", "serviceDiscoveryRole": "EndpointSlice", "namespaceSelector": {"any": true},
            "selector": {"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["1", "2"]}]},
            "endpoints": [{"targetPort": 8080}]}});
    let entry = one(&object);
    let label = "app=x,t notin (1,2)";
    assert_eq!(
        entry["kubernetes_sd_configs"],
        json!([{"role": "endpointslice", "selectors": [{"role": "endpointslice", "label": label}, {"role": "service", "label": label}]}])
    );
    let rules = brief(&entry["relabel_configs"]);
    assert_eq!(rules[1], "keep ~pod_container_port_number 8080");
    assert!(
        rules[2].starts_with("~endpointslice_address_target_kind,"),
        "{rules:?}"
    );
    assert!(rules.contains(&"8080 endpoint".to_owned()));
}

#[test]
fn a_pod_monitor() {
    let object = json!({"kind": "PodMonitor", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "jobLabel": "app",
            "podMetricsEndpoints": [{"port": "metrics", "path": "/m", "filterRunning": false}, {"portNumber": 9100}]}});
    let entries = convert(&object, &References::default()).unwrap();
    assert_eq!(entries[0]["job_name"], "podMonitor/shop/web/0");
    assert_eq!(
        entries[0]["kubernetes_sd_configs"],
        json!([{"role": "pod", "namespaces": {"names": ["shop"]}}])
    );
    assert_eq!(
        brief(&entries[0]["relabel_configs"]),
        [
            "job __tmp_prometheus_job_name",
            "keep ~pod_label_app,~pod_labelpresent_app (web);true",
            "keep ~pod_container_port_name metrics",
            "~namespace namespace",
            "~pod_container_name container",
            "~pod_name pod",
            "shop/web job",
            "~pod_label_app (.+) ${1} job",
            "metrics endpoint",
        ]
    );
    let second = brief(&entries[1]["relabel_configs"]);
    assert_eq!(second[1], "drop ~pod_phase (Failed|Succeeded)");
    assert_eq!(second[3], "keep ~pod_container_port_number 9100");
}

#[test]
fn probes() {
    let mut object = json!({"kind": "Probe", "metadata": {"namespace": "shop", "name": "p"},
        "spec": {"jobName": "web", "module": "http_2xx", "interval": "30s", "prober": {"url": "blackbox:9115"},
            "params": [{"name": "debug", "values": ["true"]}],
            "targets": {"staticConfig": {"static": ["https://a.example.com"], "labels": {"env": "x"}}}}});
    let entry = one(&object);
    assert_eq!(entry["job_name"], "probe/shop/p");
    assert_eq!(
        (&entry["metrics_path"], &entry["scrape_interval"]),
        (&json!("/probe"), &json!("30s"))
    );
    assert_eq!(
        entry["params"],
        json!({"debug": ["true"], "module": ["http_2xx"]})
    );
    assert_eq!(
        entry["static_configs"],
        json!([{"targets": ["https://a.example.com"], "labels": {"env": "x", "namespace": "shop"}}])
    );
    assert_eq!(
        brief(&entry["relabel_configs"]),
        [
            "job __tmp_prometheus_job_name",
            "web job",
            "__address__ __param_target",
            "__param_target instance",
            "blackbox:9115 __address__",
        ]
    );
    object["spec"]["targets"] = json!({"ingress": {"selector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {"any": true}}});
    let entry = one(&object);
    assert_eq!(entry["kubernetes_sd_configs"], json!([{"role": "ingress"}]));
    assert_eq!(
        brief(&entry["relabel_configs"])[2..],
        [
            "keep ~ingress_label_a,~ingress_labelpresent_a (b);true",
            "replace ~ingress_scheme,__address__,~ingress_path (.+);(.+);(.+) ${1}://${2}${3} __param_target",
            "~namespace namespace",
            "~ingress_name ingress",
            "replace __address__ (.*) $1 __tmp_ingress_address",
            "__param_target instance",
            "blackbox:9115 __address__",
        ]
    );
}

#[test]
fn a_scrape_config() {
    let object = json!({"kind": "ScrapeConfig", "metadata": {"namespace": "shop", "name": "s"},
        "spec": {"jobName": "ext", "scheme": "HTTPS", "metricsPath": "/x", "staticConfigs": [{"targets": ["a:1"], "labels": {"l": "1"}}],
            "kubernetesSDConfigs": [{"role": "Node", "selectors": [{"role": "Node", "label": "a=b"}], "attachMetadata": {"node": true}}],
            "relabelings": [{"sourceLabels": ["a"], "targetLabel": "b"}]}});
    let entry = one(&object);
    assert_eq!(
        (&entry["job_name"], &entry["scheme"]),
        (&json!("scrapeConfig/shop/s"), &json!("https"))
    );
    assert_eq!(
        entry["static_configs"],
        json!([{"targets": ["a:1"], "labels": {"l": "1"}}])
    );
    assert_eq!(
        entry["kubernetes_sd_configs"],
        json!([{"role": "node", "attach_metadata": {"node": true}, "selectors": [{"role": "node", "label": "a=b", "field": ""}]}])
    );
    assert_eq!(
        brief(&entry["relabel_configs"]),
        ["job __tmp_prometheus_job_name", "replace ext job", "a b"]
    );
    let other = json!({"kind": "ScrapeConfig", "metadata": {}, "spec": {"linodeSDConfigs": [{}]}});
    assert_eq!(
        convert(&other, &References::default()).unwrap_err(),
        "linodeSDConfigs is not supported"
    );
}

#[test]
fn secrets_are_put_in_place() {
    let object = json!({"kind": "ServiceMonitor", "metadata": {"namespace": "shop", "name": "s"}, "spec": {"selector": {},
        "endpoints": [{"basicAuth": {"username": {"name": "auth", "key": "user"}, "password": {"name": "auth", "key": "pass"}},
            "tlsConfig": {"ca": {"configMap": {"name": "ca", "key": "ca.crt"}}, "keySecret": {"name": "gone", "key": "k", "optional": true}}}]}});
    let mut references = References::default();
    assert!(convert(&object, &references).is_err());
    let missing = references.take_missing();
    assert_eq!(
        missing.len(),
        1,
        "asked for one after the other: {missing:?}"
    );
    let reference = |secret, name: &str, key: &str| Reference {
        secret,
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        key: key.to_owned(),
    };
    references.set(reference(true, "auth", "user"), Some("u".to_owned()));
    references.set(reference(true, "auth", "pass"), Some("p".to_owned()));
    references.set(reference(false, "ca", "ca.crt"), Some("PEM".to_owned()));
    let entry = convert(&object, &references).unwrap().remove(0);
    assert_eq!(
        entry["basic_auth"],
        json!({"username": "u", "password": "p"})
    );
    assert_eq!(entry["tls_config"], json!({"ca": "PEM"}));
    references.set(reference(true, "auth", "pass"), None);
    let fault = convert(&object, &references).unwrap_err();
    assert_eq!(fault, "secret shop/auth has no key \"pass\"");
}

#[test]
fn rules_lose_what_only_thanos_reads() {
    let object = json!({"kind": "PrometheusRule", "spec": {"groups": [{"name": "g", "partial_response_strategy": "warn",
        "rules": [{"record": "a", "expr": "b"}]}]}});
    assert_eq!(
        rules(&object).unwrap(),
        json!({"groups": [{"name": "g", "rules": [{"record": "a", "expr": "b"}]}]})
    );
    assert!(rules(&json!({"kind": "PrometheusRule"})).is_err());
}

#[test]
fn nothing_hostile_panics() {
    let hostile = [
        json!(null),
        json!([]),
        json!(5),
        json!({}),
        json!("x"),
        json!([{}]),
        json!({"a": [1, null]}),
    ];
    for kind in ["ServiceMonitor", "PodMonitor", "Probe", "ScrapeConfig"] {
        for value in &hostile {
            for field in [
                "selector",
                "endpoints",
                "podMetricsEndpoints",
                "targets",
                "prober",
                "params",
                "kubernetesSDConfigs",
                "targetLabels",
                "namespaceSelector",
            ] {
                let object = json!({"kind": kind, "metadata": value, "spec": {field: value}});
                let _fault_or_entries = convert(&object, &References::default());
            }
        }
    }
}

#[test]
fn annotations_make_four_jobs() {
    let names: Vec<String> = annotation_jobs()
        .iter()
        .map(|job| job["job_name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "kubernetes-service-endpoints",
            "kubernetes-pods",
            "kubernetes-service-endpoints-slow",
            "kubernetes-pods-slow"
        ]
    );
}

#[test]
fn what_nobody_refers_to_any_more_is_forgotten() {
    let mut references = References::default();
    let reference = |key: &str| Reference {
        secret: true,
        namespace: "shop".to_owned(),
        name: "auth".to_owned(),
        key: key.to_owned(),
    };
    references.set(reference("old"), Some("x".to_owned()));
    references.set(reference("user"), Some("u".to_owned()));
    assert_eq!(references.find(reference("user")), Ok("u".to_owned()));
    assert!(references.find(reference("pass")).is_err());
    let used = references.keep_used();
    assert_eq!(used, [reference("pass"), reference("user")].into());
    assert_eq!(references.known.len(), 1);
    assert!(references.known.contains_key(&reference("user")));
}
