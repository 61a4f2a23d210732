//! The annotations `prometheus.io/*` of services and pods, as the jobs that are used with them
//! everywhere: `scrape`, `scrape-slow`, `scheme`, `path`, `port`, `param_NAME`.

use serde_json::{Value, json};

/// Entries of `scrape_configs` for the annotations of services and of pods, each as it is and
/// every five minutes.
pub fn annotation_jobs() -> Vec<Value> {
    let mut jobs = Vec::new();
    for slow in [false, true] {
        jobs.push(of_services(slow));
        jobs.push(of_pods(slow));
    }
    jobs
}

fn annotation(kind: &str, name: &str) -> String {
    format!("__meta_kubernetes_{kind}_annotation_prometheus_io_{name}")
}

fn job(name: &str, role: &str, slow: bool, rules: Vec<Value>) -> Value {
    let mut job = json!({"honor_labels": true, "kubernetes_sd_configs": [{"role": role}], "relabel_configs": rules});
    job["job_name"] = json!(name);
    if slow {
        job["job_name"] = json!(format!("{name}-slow"));
        job["scrape_interval"] = json!("5m");
        job["scrape_timeout"] = json!("30s");
    }
    job
}

/// Which ones are scraped, by what scheme and under which path.
fn first_rules(kind: &str, slow: bool) -> Vec<Value> {
    let keep = |name: &str| json!({"source_labels": [annotation(kind, name)], "action": "keep", "regex": "true"});
    let drop = |name: &str| json!({"source_labels": [annotation(kind, name)], "action": "drop", "regex": "true"});
    let mut rules = match slow {
        true => vec![keep("scrape_slow")],
        false => vec![keep("scrape"), drop("scrape_slow")],
    };
    rules.extend([
        json!({"source_labels": [annotation(kind, "scheme")], "action": "replace", "regex": "(https?)", "target_label": "__scheme__"}),
        json!({"source_labels": [annotation(kind, "path")], "action": "replace", "regex": "(.+)", "target_label": "__metrics_path__"}),
    ]);
    rules
}

/// Parameters, and the labels of the object.
fn last_rules(kind: &str) -> Vec<Value> {
    vec![
        json!({"action": "labelmap", "regex": annotation(kind, "param_(.+)"), "replacement": "__param_$1"}),
        json!({"action": "labelmap", "regex": format!("__meta_kubernetes_{kind}_label_(.+)")}),
        json!({"source_labels": ["__meta_kubernetes_namespace"], "action": "replace", "target_label": "namespace"}),
    ]
}

fn of_services(slow: bool) -> Value {
    let mut rules = first_rules("service", slow);
    rules.push(
        json!({"source_labels": ["__address__", annotation("service", "port")], "action": "replace",
        "target_label": "__address__", "regex": r"(.+?)(?::\d+)?;(\d+)", "replacement": "$1:$2"}),
    );
    rules.extend(last_rules("service"));
    rules.extend([
        json!({"source_labels": ["__meta_kubernetes_service_name"], "action": "replace", "target_label": "service"}),
        json!({"source_labels": ["__meta_kubernetes_pod_node_name"], "action": "replace", "target_label": "node"}),
    ]);
    job("kubernetes-service-endpoints", "endpoints", slow, rules)
}

fn of_pods(slow: bool) -> Value {
    let mut rules = first_rules("pod", slow);
    let port = |regex: &str, replacement: &str| {
        json!({"source_labels": [annotation("pod", "port"), "__meta_kubernetes_pod_ip"], "action": "replace",
            "regex": regex, "replacement": replacement, "target_label": "__address__"})
    };
    rules.extend([
        port(
            r"(\d+);(([A-Fa-f0-9]{1,4}::?){1,7}[A-Fa-f0-9]{1,4})",
            "[$2]:$1",
        ),
        port(r"(\d+);((([0-9]+?)(\.|$)){4})", "$2:$1"),
    ]);
    rules.extend(last_rules("pod"));
    rules.extend([
        json!({"source_labels": ["__meta_kubernetes_pod_name"], "action": "replace", "target_label": "pod"}),
        json!({"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Pending|Succeeded|Failed|Completed", "action": "drop"}),
        json!({"source_labels": ["__meta_kubernetes_pod_node_name"], "action": "replace", "target_label": "node"}),
    ]);
    job("kubernetes-pods", "pod", slow, rules)
}
