//! `external.metrics.k8s.io/v1beta1`: metrics that are of no object, by external rules.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use obs_model::Timestamp;
use obs_model::time::NANOS_PER_SECOND;
use serde_json::{Map, Value, json};

use super::custom::{matchers, selector};
use super::read::{matcher, vector};
use super::rules::NAMESPACES;
use super::status::Status;
use super::{Served, quantity};
use crate::clock;
use crate::params::Params;

pub(super) fn routes() -> Router<Arc<Served>> {
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}";
    Router::new().route(path, get(values))
}

async fn values(
    State(served): State<Arc<Served>>,
    Path((namespace, metric)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, Status> {
    let unknown = || {
        Status::not_found(format!(
            "the server could not find the external metric {metric} in namespace {namespace}"
        ))
    };
    let known = served.external.of(&served).await?;
    let (index, series) = known.find(&metric).ok_or_else(unknown)?;
    let rule = served.external.rule(*index).ok_or_else(unknown)?;
    let mut parts = Vec::new();
    if rule.namespaced
        && let Some(label) = rule.label(NAMESPACES)
    {
        parts.push(matcher(label, "=", &namespace));
    }
    parts.extend(matchers(&selector(&params, "labelSelector")?)?);
    let query = rule.query(series, &parts, &[], "")?;
    let at = clock::now().nanos().div_euclid(NANOS_PER_SECOND);
    let at = Timestamp::from_seconds(at).to_string();
    let found = vector(&served, &query).await?;
    let items = found.into_iter().filter_map(|sample| {
        let value = quantity::number(sample.value)?;
        let labels = sample.labels.iter().filter(|(name, _)| *name != "__name__");
        let labels: Map<_, _> = labels.map(|(n, v)| (n.to_owned(), v.into())).collect();
        Some(json!({
            "metricName": metric,
            "metricLabels": labels,
            "timestamp": at,
            "value": value,
        }))
    });
    Ok(Json(json!({
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })))
}
