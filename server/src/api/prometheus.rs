//! Prometheus' HTTP API v1: the routes, and what they share. `openapi` lists them for readers.

mod admin;
mod exemplars;
mod features;
mod federate;
mod fuzzy;
mod labels;
mod language;
mod openapi;
mod query;
mod rules;
mod search;
mod status;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use obs_collector::HttpError;
use obs_model::{Annotations, Labels, Matcher};
use serde_json::{Value, json};

use super::json;
use crate::app::{App, query_error};
use crate::params::{Params, invalid};

pub(super) use admin::{delete_error, run};
pub(super) use exemplars::exemplars_of;
pub(super) use federate::federate;
pub(super) use rules::groups_of;
pub(super) use status::build_info;

pub(crate) use targets::{Scraped, routes as target_routes};

type Result<T> = std::result::Result<T, HttpError>;

/// The version whose API this is: clients decide by it what they may ask.
const PROMETHEUS_VERSION: &str = "3.14.0";
/// As Prometheus warns about an answer that the parameter `limit` cut.
const CUT: &str = "results truncated due to limit";

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route(
            "/query_exemplars",
            get(exemplars::find).post(exemplars::find),
        )
        .route(
            "/format_query",
            get(language::format).post(language::format),
        )
        .route("/parse_query", get(language::parse).post(language::parse))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values))
        .route("/series", get(labels::series).post(labels::series))
        .route("/metadata", get(labels::metadata))
        .route("/search/{what}", get(search::find).post(search::find))
        .merge(targets::routes())
        .route("/targets/metadata", get(targets::metadata))
        .route("/scrape_pools/config", get(targets::pool_config))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(rules::alertmanagers))
        .route("/features", get(features::list))
        .route("/notifications", get(status::notifications))
        .route("/notifications/live", get(status::live_notifications))
        .route("/openapi.yaml", get(openapi::document))
        .nest("/status", status_routes())
        .nest("/admin/tsdb", admin_routes())
}

/// What Loki's ruler shows of itself below `/prometheus/api/v1`: groups with rules over logs.
pub(super) fn log_rule_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/rules", get(rules::log_rules))
        .route("/alerts", get(rules::log_alerts))
}

fn status_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/config", get(status::config))
        .route("/flags", get(status::flags))
        .route("/runtimeinfo", get(status::runtime))
        .route("/buildinfo", get(status::build))
        .route("/tsdb", get(status::cardinality))
        .route("/tsdb/blocks", get(status::blocks))
        .route("/walreplay", get(status::replay))
        .route("/self_metrics", get(status::self_metrics))
}

fn admin_routes() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/delete_series",
            post(admin::delete_series).put(admin::delete_series),
        )
        .route(
            "/clean_tombstones",
            post(admin::clean_tombstones).put(admin::clean_tombstones),
        )
        .route("/snapshot", post(admin::snapshot).put(admin::snapshot))
        .layer(axum::middleware::from_fn(super::admin::same_site))
}

/// The envelope of success around data.
fn success(data: &Value) -> Response {
    json(
        json!({"status": "success", "data": data})
            .to_string()
            .into_bytes(),
    )
}

/// The parameter that is given and not empty, or Prometheus' words for one that is missing.
fn provided<'a>(params: &'a Params, name: &str) -> Result<&'a str> {
    let missing = || HttpError::bad_data(format!("no {name} parameter provided"));
    params.get(name).ok_or_else(missing)
}

/// Series selectors from `match[]`.
fn selectors(params: &Params, app: &App) -> Result<Vec<Vec<Matcher>>> {
    let texts = params.all("match[]");
    texts.map(|text| selector(app, "match[]", text)).collect()
}

/// A series selector that a parameter holds.
fn selector(app: &App, name: &str, text: &str) -> Result<Vec<Matcher>> {
    let parsed = obs_query::promql::parse_selector(text, &app.rules.limits);
    parsed.map_err(|error| invalid(name, query_error(&error.into()).message))
}

/// The note of a list that was cut.
fn cut_note(cut: bool) -> Annotations {
    let mut notes = Annotations::default();
    if cut {
        notes.warn(CUT);
    }
    notes
}

fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}

fn labels_json(labels: &Labels) -> Value {
    map(labels)
}
