//! ServiceMonitor, PodMonitor and Probe, rule by rule as the Operator writes them.

use serde_json::{Value, json};

use super::References;
use super::convert::{
    Entry, Object, clean, copy, copy_limits, discovery, first_rule, keep, list, relabelings,
    rename, rename_present, select, selector_text, text, texts,
};
use super::http::copy_http;

/// Settings of one endpoint that are taken over as they are.
const ENDPOINT: &[(&str, &str)] = &[
    ("interval", "scrape_interval"),
    ("scrapeTimeout", "scrape_timeout"),
    ("path", "metrics_path"),
    ("params", "params"),
    ("scheme", "scheme"),
    ("honorTimestamps", "honor_timestamps"),
    ("trackTimestampsStaleness", "track_timestamps_staleness"),
];

/// A scheme may be written in capitals in newer objects.
fn lower_scheme(entry: &mut Entry) {
    if let Some(Value::String(scheme)) = entry.get_mut("scheme") {
        *scheme = scheme.to_lowercase();
    }
}

fn begin(
    name: String,
    object: Object<'_>,
    endpoint: &Value,
    references: &References,
) -> Result<Entry, String> {
    let mut entry = Entry::new();
    entry.insert("job_name".to_owned(), json!(name));
    entry.insert(
        "honor_labels".to_owned(),
        json!(endpoint["honorLabels"] == true),
    );
    copy(&mut entry, endpoint, ENDPOINT);
    lower_scheme(&mut entry);
    copy_http(&mut entry, object, endpoint, references)?;
    copy_limits(&mut entry, object.spec);
    Ok(entry)
}

fn finish(
    mut entry: Entry,
    discovered: Option<Entry>,
    rules: Vec<Value>,
    metric_rules: Vec<Value>,
) -> Value {
    if let Some(discovered) = discovered {
        entry.insert("kubernetes_sd_configs".to_owned(), json!([discovered]));
    }
    entry.insert("relabel_configs".to_owned(), Value::Array(rules));
    if !metric_rules.is_empty() {
        entry.insert(
            "metric_relabel_configs".to_owned(),
            Value::Array(metric_rules),
        );
    }
    Value::Object(entry)
}

/// Which objects are looked at by the API server itself.
fn by_role(object: Object<'_>) -> bool {
    text(object.spec, "selectorMechanism") == "RoleSelector"
}

fn set_discovery(object: Object<'_>, entry: &mut Entry, roles: &[&str]) -> Result<(), String> {
    if object.spec["attachMetadata"]["node"] == true {
        entry.insert("attach_metadata".to_owned(), json!({"node": true}));
    }
    if by_role(object) {
        let label = selector_text(&object.spec["selector"])?;
        let selectors = roles
            .iter()
            .map(|role| json!({"role": role, "label": label}));
        entry.insert("selectors".to_owned(), selectors.collect());
    }
    Ok(())
}

fn running(endpoint: &Value) -> Option<Value> {
    let rule = json!({"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"});
    (endpoint["filterRunning"] != false).then_some(rule)
}

/// The rule that keeps the port of the endpoint; `by_name` is the label of a named port.
fn port(endpoint: &Value, by_name: &str) -> Option<Value> {
    let target = &endpoint["targetPort"];
    let number = &endpoint["portNumber"];
    if !text(endpoint, "port").is_empty() {
        return Some(keep(by_name, &endpoint["port"]));
    }
    if number.as_u64().is_some_and(|number| number > 0) {
        return Some(keep("__meta_kubernetes_pod_container_port_number", number));
    }
    match target {
        Value::String(name) if !name.is_empty() => {
            Some(keep("__meta_kubernetes_pod_container_port_name", target))
        }
        Value::Number(number) if number.as_u64() != Some(0) => {
            Some(keep("__meta_kubernetes_pod_container_port_number", target))
        }
        _ => None,
    }
}

/// The label `endpoint`: the port's name or what stands for it.
fn endpoint_label(endpoint: &Value) -> Option<Value> {
    let value = match (text(endpoint, "port"), &endpoint["targetPort"]) {
        ("", Value::String(name)) if !name.is_empty() => name.clone(),
        ("", Value::Number(number)) => number.to_string(),
        ("", _) => return None,
        (port, _) => port.to_owned(),
    };
    Some(json!({"target_label": "endpoint", "replacement": value}))
}

fn target_labels(rules: &mut Vec<Value>, role: &str, names: Vec<&str>) {
    for name in names {
        let from = format!("__meta_kubernetes_{role}_label_{}", clean(name));
        rules.push(rename_present(&from, &clean(name)));
    }
}

pub(super) fn service_monitor(
    object: Object<'_>,
    references: &References,
) -> Result<Vec<Value>, String> {
    let spec = object.spec;
    let mut entries = Vec::new();
    for (index, endpoint) in list(spec, "endpoints").enumerate() {
        let name = format!(
            "serviceMonitor/{}/{}/{index}",
            object.namespace, object.name
        );
        let entry = begin(name, object, endpoint, references)?;
        // The older resource is what the Operator asks for unless it is told otherwise.
        let slices = text(spec, "serviceDiscoveryRole") == "EndpointSlice";
        let (role, of_port, of_target) = match slices {
            true => (
                "endpointslice",
                "endpointslice_port_name",
                "endpointslice_address_target",
            ),
            false => ("endpoints", "endpoint_port_name", "endpoint_address_target"),
        };
        let mut discovered = discovery(object, role, &spec["namespaceSelector"]);
        set_discovery(object, &mut discovered, &[role, "service"])?;
        let mut rules = vec![first_rule()];
        if !by_role(object) {
            select(&mut rules, "service", &spec["selector"])?;
        }
        rules.extend(port(endpoint, &format!("__meta_kubernetes_{of_port}")));
        let target = ["kind", "name"].map(|part| format!("__meta_kubernetes_{of_target}_{part}"));
        for (kind, label) in [("Node", "node"), ("Pod", "pod")] {
            rules.push(
                json!({"source_labels": target, "separator": ";", "regex": format!("{kind};(.*)"),
                "replacement": "${1}", "target_label": label}),
            );
        }
        rules.extend([
            rename("__meta_kubernetes_namespace", "namespace"),
            rename("__meta_kubernetes_service_name", "service"),
            rename("__meta_kubernetes_pod_name", "pod"),
            rename("__meta_kubernetes_pod_container_name", "container"),
        ]);
        rules.extend(running(endpoint));
        target_labels(&mut rules, "service", texts(spec, "targetLabels"));
        target_labels(&mut rules, "pod", texts(spec, "podTargetLabels"));
        rules.push(json!({"source_labels": ["__meta_kubernetes_service_name"], "target_label": "job", "replacement": "${1}"}));
        if !text(spec, "jobLabel").is_empty() {
            let from = format!(
                "__meta_kubernetes_service_label_{}",
                clean(text(spec, "jobLabel"))
            );
            rules.push(rename_present(&from, "job"));
        }
        rules.extend(endpoint_label(endpoint));
        rules.extend(relabelings(endpoint, "relabelings"));
        let metric_rules = relabelings(endpoint, "metricRelabelings");
        entries.push(finish(entry, Some(discovered), rules, metric_rules));
    }
    Ok(entries)
}

pub(super) fn pod_monitor(
    object: Object<'_>,
    references: &References,
) -> Result<Vec<Value>, String> {
    let spec = object.spec;
    let mut entries = Vec::new();
    for (index, endpoint) in list(spec, "podMetricsEndpoints").enumerate() {
        let name = format!("podMonitor/{}/{}/{index}", object.namespace, object.name);
        let entry = begin(name, object, endpoint, references)?;
        let mut discovered = discovery(object, "pod", &spec["namespaceSelector"]);
        set_discovery(object, &mut discovered, &["pod"])?;
        let mut rules = vec![first_rule()];
        rules.extend(running(endpoint));
        if !by_role(object) {
            select(&mut rules, "pod", &spec["selector"])?;
        }
        rules.extend(port(endpoint, "__meta_kubernetes_pod_container_port_name"));
        rules.extend([
            rename("__meta_kubernetes_namespace", "namespace"),
            rename("__meta_kubernetes_pod_container_name", "container"),
            rename("__meta_kubernetes_pod_name", "pod"),
        ]);
        target_labels(&mut rules, "pod", texts(spec, "podTargetLabels"));
        let job = format!("{}/{}", object.namespace, object.name);
        rules.push(json!({"target_label": "job", "replacement": job}));
        if !text(spec, "jobLabel").is_empty() {
            let from = format!(
                "__meta_kubernetes_pod_label_{}",
                clean(text(spec, "jobLabel"))
            );
            rules.push(rename_present(&from, "job"));
        }
        rules.extend(endpoint_label(endpoint));
        rules.extend(relabelings(endpoint, "relabelings"));
        let metric_rules = relabelings(endpoint, "metricRelabelings");
        entries.push(finish(entry, Some(discovered), rules, metric_rules));
    }
    Ok(entries)
}

pub(super) fn probe(object: Object<'_>, references: &References) -> Result<Value, String> {
    let (spec, prober) = (object.spec, &object.spec["prober"]);
    if text(prober, "url").is_empty() {
        return Err("spec.prober.url is empty".to_owned());
    }
    let mut entry = Entry::new();
    let name = format!("probe/{}/{}", object.namespace, object.name);
    entry.insert("job_name".to_owned(), json!(name));
    entry.insert("honor_timestamps".to_owned(), json!(true));
    let path = match text(prober, "path") {
        "" => "/probe",
        path => path,
    };
    entry.insert("metrics_path".to_owned(), json!(path));
    copy(
        &mut entry,
        spec,
        &[
            ("interval", "scrape_interval"),
            ("scrapeTimeout", "scrape_timeout"),
        ],
    );
    copy(
        &mut entry,
        prober,
        &[
            ("scheme", "scheme"),
            ("proxyUrl", "proxy_url"),
            ("noProxy", "no_proxy"),
            ("proxyFromEnvironment", "proxy_from_environment"),
        ],
    );
    lower_scheme(&mut entry);
    let mut params = Entry::new();
    for param in list(spec, "params") {
        params.insert(text(param, "name").to_owned(), param["values"].clone());
    }
    if !text(spec, "module").is_empty() {
        params.insert("module".to_owned(), json!([text(spec, "module")]));
    }
    if !params.is_empty() {
        entry.insert("params".to_owned(), Value::Object(params));
    }
    copy_http(&mut entry, object, spec, references)?;
    copy_limits(&mut entry, spec);
    let mut rules = vec![first_rule()];
    if !text(spec, "jobName").is_empty() {
        rules.push(json!({"target_label": "job", "replacement": text(spec, "jobName")}));
    }
    let targets = &spec["targets"];
    let discovered = if targets["staticConfig"].is_object() {
        static_targets(&mut entry, &mut rules, object, &targets["staticConfig"]);
        None
    } else if targets["ingress"].is_object() {
        ingress_rules(&mut rules, &targets["ingress"])?;
        Some(discovery(
            object,
            "ingress",
            &targets["ingress"]["namespaceSelector"],
        ))
    } else {
        return Err("spec.targets has neither staticConfig nor ingress".to_owned());
    };
    rules.push(rename("__param_target", "instance"));
    rules.push(json!({"target_label": "__address__", "replacement": text(prober, "url")}));
    let own = if discovered.is_some() {
        "ingress"
    } else {
        "staticConfig"
    };
    rules.extend(relabelings(&targets[own], "relabelingConfigs"));
    let metric_rules = relabelings(spec, "metricRelabelings");
    Ok(finish(entry, discovered, rules, metric_rules))
}

fn static_targets(entry: &mut Entry, rules: &mut Vec<Value>, object: Object<'_>, from: &Value) {
    let mut labels = from["labels"].as_object().cloned().unwrap_or_default();
    labels.entry("namespace").or_insert(json!(object.namespace));
    let targets = texts(from, "static");
    let group = json!([{"targets": targets, "labels": labels}]);
    entry.insert("static_configs".to_owned(), group);
    rules.push(rename("__address__", "__param_target"));
}

fn ingress_rules(rules: &mut Vec<Value>, from: &Value) -> Result<(), String> {
    select(rules, "ingress", &from["selector"])?;
    rules.extend([
        json!({"source_labels": ["__meta_kubernetes_ingress_scheme", "__address__", "__meta_kubernetes_ingress_path"],
            "separator": ";", "regex": "(.+);(.+);(.+)", "target_label": "__param_target",
            "replacement": "${1}://${2}${3}", "action": "replace"}),
        rename("__meta_kubernetes_namespace", "namespace"),
        rename("__meta_kubernetes_ingress_name", "ingress"),
        json!({"source_labels": ["__address__"], "separator": ";", "regex": "(.*)",
            "target_label": "__tmp_ingress_address", "replacement": "$1", "action": "replace"}),
    ]);
    Ok(())
}
