//! From an object to what it comes to, and the pieces that all of them share.

use serde_json::{Map, Value, json};

use super::{References, monitors, scrape_config};

/// An entry under construction.
pub(super) type Entry = Map<String, Value>;

/// An object, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) spec: &'a Value,
}

/// The text at this place, empty where there is none.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// The elements of a list that may not be there.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

pub(super) fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    list(value, key).filter_map(Value::as_str).collect()
}

/// Every character that no label has becomes `_`.
pub(super) fn clean(name: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(clean).collect()
}

pub(super) fn convert(object: &Value, references: &References) -> Result<Vec<Value>, String> {
    let own = Object {
        namespace: text(&object["metadata"], "namespace"),
        name: text(&object["metadata"], "name"),
        spec: &object["spec"],
    };
    if !own.spec.is_object() {
        return Err("has no spec".to_owned());
    }
    match text(object, "kind") {
        "ServiceMonitor" => monitors::service_monitor(own, references),
        "PodMonitor" => monitors::pod_monitor(own, references),
        "Probe" => Ok(vec![monitors::probe(own, references)?]),
        "ScrapeConfig" => Ok(vec![scrape_config::convert(own, references)?]),
        kind => Err(format!("{kind:?} is not a kind that is scraped")),
    }
}

/// The groups of a PrometheusRule without what only Thanos reads.
pub(super) fn rules(object: &Value) -> Result<Value, String> {
    let groups = object["spec"]["groups"].as_array();
    let groups = groups.ok_or("spec.groups is not a list")?;
    let own = |group: &Value| {
        let mut group = group.clone();
        if let Some(group) = group.as_object_mut() {
            group.remove("partial_response_strategy");
        }
        group
    };
    let groups: Vec<Value> = groups.iter().map(own).collect();
    Ok(json!({"groups": groups}))
}

/// Takes settings over under other names, where they are set.
pub(super) fn copy(entry: &mut Entry, from: &Value, names: &[(&str, &str)]) {
    for (theirs, ours) in names {
        match &from[*theirs] {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            value => drop(entry.insert((*ours).to_owned(), value.clone())),
        }
    }
}

/// Bounds and formats, which all kinds have in their spec.
pub(super) fn copy_limits(entry: &mut Entry, spec: &Value) {
    copy(
        entry,
        spec,
        &[
            ("sampleLimit", "sample_limit"),
            ("targetLimit", "target_limit"),
            ("labelLimit", "label_limit"),
            ("labelNameLengthLimit", "label_name_length_limit"),
            ("labelValueLengthLimit", "label_value_length_limit"),
            ("keepDroppedTargets", "keep_dropped_targets"),
            ("bodySizeLimit", "body_size_limit"),
            ("scrapeProtocols", "scrape_protocols"),
            ("fallbackScrapeProtocol", "fallback_scrape_protocol"),
            (
                "nativeHistogramBucketLimit",
                "native_histogram_bucket_limit",
            ),
            (
                "nativeHistogramMinBucketFactor",
                "native_histogram_min_bucket_factor",
            ),
            ("scrapeNativeHistograms", "scrape_native_histograms"),
            (
                "convertClassicHistogramsToNHCB",
                "convert_classic_histograms_to_nhcb",
            ),
            (
                "scrapeClassicHistograms",
                "always_scrape_classic_histograms",
            ),
        ],
    );
}

/// Rules as the objects write them.
pub(super) fn relabelings(from: &Value, key: &str) -> Vec<Value> {
    let rule = |rule: &Value| {
        let mut own = Entry::new();
        copy(
            &mut own,
            rule,
            &[
                ("sourceLabels", "source_labels"),
                ("targetLabel", "target_label"),
                ("regex", "regex"),
                ("modulus", "modulus"),
                ("action", "action"),
            ],
        );
        // These two may be empty on purpose.
        for name in ["separator", "replacement"] {
            if !rule[name].is_null() {
                own.insert(name.to_owned(), rule[name].clone());
            }
        }
        if let Some(Value::String(action)) = own.get_mut("action") {
            *action = action.to_lowercase();
        }
        Value::Object(own)
    };
    list(from, key).map(rule).collect()
}

/// The first rule of every entry.
pub(super) fn first_rule() -> Value {
    json!({"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"})
}

/// Copies one label into another.
pub(super) fn rename(from: &str, to: &str) -> Value {
    json!({"source_labels": [from], "target_label": to})
}

/// Copies a label that is there into another.
pub(super) fn rename_present(from: &str, to: &str) -> Value {
    json!({"source_labels": [from], "target_label": to, "regex": "(.+)", "replacement": "${1}"})
}

pub(super) fn keep(label: &str, regex: &Value) -> Value {
    let regex = match regex {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    json!({"action": "keep", "source_labels": [label], "regex": regex})
}

/// Rules that keep what a selector of labels selects, by the labels of `role`.
pub(super) fn select(rules: &mut Vec<Value>, role: &str, selector: &Value) -> Result<(), String> {
    let label = |name: &str| format!("__meta_kubernetes_{role}_label_{}", clean(name));
    let present = |name: &str| format!("__meta_kubernetes_{role}_labelpresent_{}", clean(name));
    for (name, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        let regex = format!("({});true", value.as_str().unwrap_or(""));
        rules.push(json!({"action": "keep", "source_labels": [label(name), present(name)], "regex": regex}));
    }
    for expression in list(selector, "matchExpressions") {
        let (name, values) = (
            text(expression, "key"),
            texts(expression, "values").join("|"),
        );
        let (action, by_value) = match text(expression, "operator") {
            "In" => ("keep", true),
            "NotIn" => ("drop", true),
            "Exists" => ("keep", false),
            "DoesNotExist" => ("drop", false),
            other => return Err(format!("selector has the unknown operator {other:?}")),
        };
        rules.push(match by_value {
            true => json!({"action": action, "source_labels": [label(name), present(name)], "regex": format!("({values});true")}),
            false => json!({"action": action, "source_labels": [present(name)], "regex": "true"}),
        });
    }
    Ok(())
}

/// A selector of labels in the API's own form.
pub(super) fn selector_text(selector: &Value) -> Result<String, String> {
    let mut terms = Vec::new();
    for (name, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        terms.push(format!("{name}={}", value.as_str().unwrap_or("")));
    }
    for expression in list(selector, "matchExpressions") {
        let (name, values) = (
            text(expression, "key"),
            texts(expression, "values").join(","),
        );
        terms.push(match text(expression, "operator") {
            "In" => format!("{name} in ({values})"),
            "NotIn" => format!("{name} notin ({values})"),
            "Exists" => name.to_owned(),
            "DoesNotExist" => format!("!{name}"),
            other => return Err(format!("selector has the unknown operator {other:?}")),
        });
    }
    Ok(terms.join(","))
}

/// An entry of `kubernetes_sd_configs` for the namespaces that an object selects.
pub(super) fn discovery(object: Object<'_>, role: &str, selector: &Value) -> Entry {
    let names = match selector["any"].as_bool() {
        Some(true) => Vec::new(),
        _ => match texts(selector, "matchNames") {
            names if names.is_empty() => vec![object.namespace],
            names => names,
        },
    };
    let mut entry = Entry::new();
    entry.insert("role".to_owned(), json!(role));
    if !names.is_empty() {
        entry.insert("namespaces".to_owned(), json!({"names": names}));
    }
    entry
}
