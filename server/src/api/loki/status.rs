//! What Loki tells about itself: build, limits, and queries as its printer writes them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use obs_model::duration;
use serde_json::{Value, json};

use super::{Askers, Result};
use crate::api::{Told, json as body};
use crate::app::App;
use crate::params::Params;

/// The version whose API this is: clients decide by it what they may ask.
const LOKI_VERSION: &str = "3.8.0";

pub(super) async fn build_info() -> Response {
    let told = json!({
        "version": LOKI_VERSION,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    body(told.to_string().into_bytes())
}

pub(super) async fn format_query(
    State(app): State<Arc<App>>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let text = params.need("query")?;
    let told = match obs_query::logql::pretty(text, &app.rules.limits) {
        Ok(pretty) => json!({"status": "success", "data": pretty}),
        Err(error) => {
            let told = json!({"status": "invalid-query", "error": error.to_string()});
            let response = body(told.to_string().into_bytes());
            return Ok((StatusCode::BAD_REQUEST, response).into_response());
        }
    };
    Ok(body(told.to_string().into_bytes()))
}

/// The limits under Loki's names, as far as there are such limits here.
fn limits(app: &App) -> Value {
    let (limits, enrich) = (&app.rules.limits, &app.rules.enrich);
    let retention = app
        .rules
        .retention
        .map_or("0s".to_owned(), duration::format);
    let indexed: Vec<Value> = obs_wire::otlp::logs::INDEX_ATTRIBUTES
        .iter()
        .map(|name| json!({"action": "index_label", "attributes": [name]}))
        .collect();
    json!({
        "discover_log_levels": enrich.discover_log_levels,
        "discover_service_name": enrich.discover_service_name,
        "log_level_fields": ["level", "LEVEL", "Level", "Severity", "severity", "SEVERITY", "lvl", "LVL", "Lvl", "severity_text", "Severity_Text", "SEVERITY_TEXT"],
        "max_entries_limit_per_query": limits.query_lines_max,
        "max_line_size": format!("{}B", limits.line_bytes_max),
        "max_line_size_truncate": false,
        "max_label_names_per_series": limits.labels_max,
        "max_label_name_length": limits.label_name_bytes_max,
        "max_label_value_length": limits.label_value_bytes_max,
        "max_structured_metadata_entries_count": limits.metadata_max,
        "max_global_streams_per_user": limits.streams_max,
        "max_query_series": limits.query_series_max,
        "max_query_bytes_read": "0B",
        "max_query_length": "0s",
        "max_query_lookback": retention,
        "max_query_range": "0s",
        "max_concurrent_tail_requests": crate::tails::TAILS_MAX,
        "metric_aggregation_enabled": false,
        "otlp_config": {"resource_attributes": {"attributes_config": indexed}},
        "pattern_persistence_enabled": true,
        "query_timeout": format!("{}ms", limits.query_time_ms_max),
        "reject_old_samples": app.rules.retention.is_some(),
        "reject_old_samples_max_age": retention,
        "retention_period": retention,
        "allow_structured_metadata": true,
        "volume_enabled": true,
        "volume_max_series": limits.query_series_max,
    })
}

pub(super) async fn drilldown_limits(State(app): State<Arc<App>>, _: Told<Askers>) -> Response {
    let told = json!({
        "limits": limits(&app),
        "pattern_ingester_enabled": true,
        "version": LOKI_VERSION,
    });
    body(told.to_string().into_bytes())
}

/// `/config`: the configuration as it is, secrets left out.
pub(super) async fn config(State(app): State<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/yaml; charset=utf-8")];
    (kind, app.reload.config(&app.about)).into_response()
}

/// `/services`: what runs here, as Loki lists its modules.
pub(super) async fn services(State(app): State<Arc<App>>) -> Response {
    let state = match app.stores() {
        Ok(_) => "Running",
        Err(_) => "Starting",
    };
    let names = ["server", "distributor", "ingester", "store", "querier"];
    let text: String = names.map(|name| format!("{name} => {state}\n")).concat();
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// `/log_level`
pub(super) async fn log_level() -> Response {
    let level = tracing::level_filters::LevelFilter::current();
    let told = json!({"message": format!("Current log level is {level}")});
    body(told.to_string().into_bytes())
}

/// `/flush`: returns when what is in memory is in parts.
pub(super) async fn flush(State(app): State<Arc<App>>) -> Result<StatusCode> {
    Ok(crate::api::admin::force(&app, obs_storage::Force::Flush).await?)
}

/// `config/tenant/v1/limits`, in YAML.
pub(super) async fn tenant_limits(
    State(app): State<Arc<App>>,
    _: Told<Askers>,
) -> Result<Response> {
    let text = serde_yaml_ng::to_string(&limits(&app));
    let text = text.map_err(|e| obs_collector::HttpError::internal(e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
