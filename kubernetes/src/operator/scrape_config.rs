//! ScrapeConfig: an entry of `scrape_configs` in the words of the Operator.

use serde_json::{Value, json};

use super::References;
use super::convert::{Entry, Object, copy, copy_limits, first_rule, list, relabelings, text};
use super::http::copy_http;

/// Kinds of discovery that are taken over; all others are faults.
const DISCOVERIES: &[&str] = &[
    "staticConfigs",
    "fileSDConfigs",
    "httpSDConfigs",
    "kubernetesSDConfigs",
    "dnsSDConfigs",
];

pub(super) fn convert(object: Object<'_>, references: &References) -> Result<Value, String> {
    let spec = object.spec;
    for (name, value) in spec.as_object().into_iter().flatten() {
        let is_other = name.ends_with("SDConfigs") && !DISCOVERIES.contains(&name.as_str());
        if is_other && value.as_array().is_some_and(|all| !all.is_empty()) {
            return Err(format!("{name} is not supported"));
        }
    }
    let mut entry = Entry::new();
    let name = format!("scrapeConfig/{}/{}", object.namespace, object.name);
    entry.insert("job_name".to_owned(), json!(name));
    copy(
        &mut entry,
        spec,
        &[
            ("honorLabels", "honor_labels"),
            ("honorTimestamps", "honor_timestamps"),
            ("trackTimestampsStaleness", "track_timestamps_staleness"),
            ("metricsPath", "metrics_path"),
            ("params", "params"),
            ("enableCompression", "enable_compression"),
            ("scrapeInterval", "scrape_interval"),
            ("scrapeTimeout", "scrape_timeout"),
            ("scheme", "scheme"),
        ],
    );
    if let Some(Value::String(scheme)) = entry.get_mut("scheme") {
        *scheme = scheme.to_lowercase();
    }
    copy_http(&mut entry, object, spec, references)?;
    copy_limits(&mut entry, spec);
    let own = [
        ("staticConfigs", "static_configs"),
        ("fileSDConfigs", "file_sd_configs"),
        ("httpSDConfigs", "http_sd_configs"),
        ("dnsSDConfigs", "dns_sd_configs"),
        ("kubernetesSDConfigs", "kubernetes_sd_configs"),
    ];
    for (theirs, ours) in own {
        let mut configs = Vec::new();
        for from in list(spec, theirs) {
            configs.push(match theirs {
                "kubernetesSDConfigs" => kubernetes(object, from, references)?,
                _ => discovery(object, from, references)?,
            });
        }
        if !configs.is_empty() {
            entry.insert(ours.to_owned(), Value::Array(configs));
        }
    }
    let mut rules = vec![first_rule()];
    if !text(spec, "jobName").is_empty() {
        rules.push(json!({"target_label": "job", "action": "replace", "replacement": text(spec, "jobName")}));
    }
    rules.extend(relabelings(spec, "relabelings"));
    entry.insert("relabel_configs".to_owned(), Value::Array(rules));
    let metric_rules = relabelings(spec, "metricRelabelings");
    if !metric_rules.is_empty() {
        entry.insert(
            "metric_relabel_configs".to_owned(),
            Value::Array(metric_rules),
        );
    }
    Ok(Value::Object(entry))
}

/// Static targets, files, addresses and names.
fn discovery(object: Object<'_>, from: &Value, references: &References) -> Result<Value, String> {
    let mut entry = Entry::new();
    copy_http(&mut entry, object, from, references)?;
    copy(
        &mut entry,
        from,
        &[
            ("targets", "targets"),
            ("labels", "labels"),
            ("files", "files"),
            ("refreshInterval", "refresh_interval"),
            ("url", "url"),
            ("names", "names"),
            ("type", "type"),
            ("port", "port"),
        ],
    );
    Ok(Value::Object(entry))
}

fn kubernetes(object: Object<'_>, from: &Value, references: &References) -> Result<Value, String> {
    let mut entry = Entry::new();
    copy_http(&mut entry, object, from, references)?;
    copy(&mut entry, from, &[("apiServer", "api_server")]);
    entry.insert("role".to_owned(), json!(text(from, "role").to_lowercase()));
    if from["namespaces"].is_object() {
        let mut namespaces = Entry::new();
        copy(
            &mut namespaces,
            &from["namespaces"],
            &[("names", "names"), ("ownNamespace", "own_namespace")],
        );
        entry.insert("namespaces".to_owned(), Value::Object(namespaces));
    }
    if from["attachMetadata"].is_object() {
        let mut attach = Entry::new();
        copy(
            &mut attach,
            &from["attachMetadata"],
            &[("node", "node"), ("namespace", "namespace")],
        );
        entry.insert("attach_metadata".to_owned(), Value::Object(attach));
    }
    let selectors: Vec<Value> = list(from, "selectors")
        .map(|selector| {
            json!({"role": text(selector, "role").to_lowercase(), "label": text(selector, "label"),
                "field": text(selector, "field")})
        })
        .collect();
    if !selectors.is_empty() {
        entry.insert("selectors".to_owned(), Value::Array(selectors));
    }
    Ok(Value::Object(entry))
}
