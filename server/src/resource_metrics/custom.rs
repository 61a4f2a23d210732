//! `custom.metrics.k8s.io` in both versions: metrics of objects, by prometheus-adapter's rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use obs_kubernetes::selector::Selector;
use obs_model::Timestamp;
use obs_model::time::NANOS_PER_SECOND;
use serde_json::{Value, json};

use super::read::{matcher, vector};
use super::rules::{NAMESPACES, Resource};
use super::status::Status;
use super::{Served, quantity};
use crate::clock;
use crate::params::Params;

/// Names of one request: a list in a regular expression has to end.
const NAMES_MAX: usize = 10_000;

pub(super) fn routes() -> Router<Arc<Served>> {
    let base = "/apis/custom.metrics.k8s.io";
    Router::new()
        .route(&format!("{base}/v1beta1/{{*rest}}"), get(old))
        .route(&format!("{base}/v1beta2/{{*rest}}"), get(new))
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    resource: Resource,
    namespace: Option<String>,
    /// One object, or `*` for those of the selector.
    name: String,
    metric: String,
}

impl Asked {
    fn of(rest: &str) -> Option<Self> {
        let parts: Vec<_> = rest.split('/').collect();
        let asked = |resource: &str, namespace: Option<&str>, name: &str, metric: &str| {
            Some(Self {
                resource: Resource::parse(resource)?,
                namespace: namespace.map(str::to_owned),
                name: name.to_owned(),
                metric: metric.to_owned(),
            })
        };
        match parts[..] {
            ["namespaces", namespace, "metrics", metric] => {
                asked("namespaces", None, namespace, metric)
            }
            ["namespaces", namespace, resource, name, metric] => {
                let found = asked(resource, Some(namespace), name, metric)?;
                found.resource.namespaced.then_some(found)
            }
            [resource, name, metric] => asked(resource, None, name, metric),
            _ => None,
        }
    }
}

async fn old(
    State(served): State<Arc<Served>>,
    Path(rest): Path<String>,
    params: Params,
) -> Result<Json<Value>, Status> {
    answer(&served, &rest, &params, "v1beta1").await.map(Json)
}

async fn new(
    State(served): State<Arc<Served>>,
    Path(rest): Path<String>,
    params: Params,
) -> Result<Json<Value>, Status> {
    answer(&served, &rest, &params, "v1beta2").await.map(Json)
}

/// A selector of a parameter.
pub(super) fn selector(params: &Params, name: &str) -> Result<Selector, Status> {
    let text = params.get(name).unwrap_or_default();
    let parsed = Selector::labels(text);
    parsed.map_err(|error| Status::bad_request(format!("{name}: {error}")))
}

/// Matchers of a selector.
pub(super) fn matchers(selector: &Selector) -> Result<Vec<String>, Status> {
    let parts = selector.matchers().map_err(Status::bad_request)?;
    let parts = parts.into_iter();
    Ok(parts
        .map(|(name, op, value)| matcher(&name, op, &value))
        .collect())
}

/// The names that are meant: one, those of a selector, or all that there are (`None`).
async fn names(
    served: &Served,
    asked: &Asked,
    selector: &Selector,
) -> Result<Option<Vec<String>>, Status> {
    if asked.name != "*" {
        return Ok(Some(vec![asked.name.clone()]));
    }
    if !served.objects.are_known() {
        return match selector.is_empty() {
            true => Ok(None),
            false => Err(Status::unavailable(
                "labels of objects are not known: no cluster is configured (obs.kubernetes)",
            )),
        };
    }
    let path = asked.resource.list_path(asked.namespace.as_deref());
    let names = served.objects.named(&path, selector).await?;
    if names.len() > NAMES_MAX {
        return Err(Status::bad_request(format!(
            "{} objects are selected, at most {NAMES_MAX} are asked for",
            names.len()
        )));
    }
    Ok(Some(names))
}

async fn answer(
    served: &Served,
    rest: &str,
    params: &Params,
    version: &str,
) -> Result<Value, Status> {
    let missing = || Status::not_found("the server could not find the requested resource");
    let asked = Asked::of(rest).ok_or_else(missing)?;
    let unknown = || {
        let (metric, resource) = (&asked.metric, asked.resource.path_name());
        Status::not_found(format!(
            "the server could not find the metric {metric} for {resource}"
        ))
    };
    let known = served.custom.of(served).await?;
    let (index, series) = known
        .find(asked.resource, &asked.metric)
        .ok_or_else(unknown)?;
    let rule = served.custom.rule(*index).ok_or_else(unknown)?;
    let label = rule.label(asked.resource).ok_or_else(unknown)?;
    let selected = selector(params, "labelSelector")?;
    let names = names(served, &asked, &selected).await?;
    let told = params.get("metricLabelSelector").unwrap_or_default();
    let narrowed = selector(params, "metricLabelSelector")?;
    let mut parts = Vec::new();
    let mut values = Vec::new();
    if let Some(namespace) = &asked.namespace
        && let Some(label) = rule.label(NAMESPACES)
    {
        parts.push(matcher(label, "=", namespace));
        values.push((label, namespace.clone()));
    }
    match names.as_deref() {
        None => parts.push(matcher(label, "!=", "")),
        Some([]) => return Ok(document(version, Vec::new())),
        Some([one]) => {
            parts.push(matcher(label, "=", one));
            values.push((label, one.clone()));
        }
        Some(several) => {
            let escaped: Vec<_> = several.iter().map(|name| regex::escape(name)).collect();
            parts.push(matcher(label, "=~", &escaped.join("|")));
            values.push((label, several.join("|")));
        }
    }
    parts.extend(matchers(&narrowed)?);
    let query = rule.query(series, &parts, &values, label)?;
    let mut found = BTreeMap::new();
    for sample in vector(served, &query).await? {
        let name = sample.labels.get(label).unwrap_or_default().to_owned();
        let is_asked = names.as_ref().is_none_or(|names| names.contains(&name));
        if let Some(value) = quantity::number(sample.value).filter(|_| is_asked) {
            found.insert(name, value);
        }
    }
    if found.is_empty() && asked.name != "*" {
        let (metric, resource, name) = (&asked.metric, asked.resource.path_name(), &asked.name);
        return Err(Status::not_found(format!(
            "the server could not find the metric {metric} for {resource} {name}"
        )));
    }
    let now = clock::now();
    let items = found
        .into_iter()
        .map(|(name, value)| item(&asked, &name, value, (version, told, now)));
    Ok(document(version, items.collect()))
}

fn document(version: &str, items: Vec<Value>) -> Value {
    json!({
        "kind": "MetricValueList",
        "apiVersion": format!("custom.metrics.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn item(
    asked: &Asked,
    name: &str,
    value: String,
    (version, selector, now): (&str, &str, Timestamp),
) -> Value {
    let mut described = json!({
        "kind": asked.resource.kind,
        "name": name,
        "apiVersion": asked.resource.described_version(),
    });
    if let Some(namespace) = &asked.namespace {
        described["namespace"] = namespace.as_str().into();
    }
    let at = Timestamp::from_seconds(now.nanos().div_euclid(NANOS_PER_SECOND)).to_string();
    if version == "v1beta1" {
        return json!({
            "describedObject": described,
            "metricName": asked.metric,
            "timestamp": at,
            "value": value,
            "selector": null,
        });
    }
    let requirements = match selector {
        "" => Value::Null,
        text => labels_of(text),
    };
    json!({
        "describedObject": described,
        "metric": {"name": asked.metric, "selector": requirements},
        "timestamp": at,
        "value": value,
    })
}

/// A selector of equalities as an object; others are told by no object.
fn labels_of(text: &str) -> Value {
    let pairs: Option<serde_json::Map<_, _>> = text
        .split(',')
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let value = value.strip_prefix('=').unwrap_or(value).trim();
            let plain = !name.ends_with('!') && !name.contains(' ');
            plain.then(|| (name.trim().to_owned(), Value::from(value)))
        })
        .collect();
    pairs.map_or(Value::Null, |pairs| json!({"matchLabels": pairs}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked_for() {
        let check = |rest: &str, expect: Option<(&str, Option<&str>, &str, &str)>| {
            let asked = Asked::of(rest);
            let found = asked.as_ref().map(|a| {
                (
                    a.resource.plural,
                    a.namespace.as_deref(),
                    a.name.as_str(),
                    a.metric.as_str(),
                )
            });
            assert_eq!(found, expect, "{rest}");
        };
        check("namespaces/a/pods/*/m", Some(("pods", Some("a"), "*", "m")));
        check(
            "namespaces/a/deployments.apps/web/m",
            Some(("deployments", Some("a"), "web", "m")),
        );
        check(
            "namespaces/a/metrics/m",
            Some(("namespaces", None, "a", "m")),
        );
        check("nodes/n1/m", Some(("nodes", None, "n1", "m")));
        check("namespaces/a/nodes/n1/m", None);
        check("namespaces/a/unicorns/u/m", None);
        check("pods", None);
    }
}
