//! Tempo's API: HTTP below `/tempo`, and the gRPC service `tempopb.StreamingQuerier`.
//!
//! Invariant: both give the same answers, because both make the same requests
//! ([`obs_wire::tempo::requests`]) of the same functions.

mod metrics;
mod search;
mod stream;
mod tags;
#[cfg(test)]
pub(super) mod tests;
mod traces;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, header};
use obs_collector::{ErrorKind, HttpError};
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{TimeRange, Timestamp};
use serde_json::json;

use super::{Plain, json};
use crate::app::App;
use crate::params::{Clock, Params};

pub(super) use stream::routes as grpc_routes;
pub(super) use traces::find;

/// The version whose API this is: clients decide by it what they may ask.
const TEMPO_VERSION: &str = "3.0.0";
/// Without `start` and `end` a search looks at what is recent.
const RECENT: i64 = 3600 * NANOS_PER_SECOND;

type Result<T> = std::result::Result<T, Plain>;

/// Below `/tempo`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/ready", get(super::admin::ready))
        .route("/api/echo", get(|| async { "echo" }))
        .route("/api/status/buildinfo", get(build_info))
        .route("/api/overrides", get(overrides))
        .route("/api/search", get(search::http))
        .route("/api/traces/{id}", get(traces::v1))
        .route("/api/v2/traces/{id}", get(traces::v2))
        .route("/api/search/tags", get(tags::names_v1))
        .route("/api/v2/search/tags", get(tags::names_v2))
        .route("/api/search/tag/{name}/values", get(tags::values_v1))
        .route("/api/v2/search/tag/{name}/values", get(tags::values_v2))
        .route("/api/metrics/query_range", get(metrics::range))
        .route("/api/metrics/query", get(metrics::instant))
}

/// Flat, as Tempo has it, and in the envelope of Prometheus.
async fn build_info() -> Response {
    let plain = json!({
        "version": TEMPO_VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    let mut body = plain.clone();
    body["status"] = "success".into();
    body["data"] = plain;
    json(body.to_string().into_bytes())
}

/// Nothing is overridden: limits are those of the configuration.
async fn overrides() -> Response {
    json(b"{}".to_vec())
}

/// Whether the answer is wanted in protobuf.
fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|a| a.to_str().ok())
        .unwrap_or_default();
    ["application/protobuf", "application/x-protobuf"]
        .iter()
        .any(|kind| accept.contains(kind))
}

/// The answer in the form that is wanted.
fn answered(
    headers: &HeaderMap,
    protobuf: impl FnOnce() -> Vec<u8>,
    write_json: impl FnOnce(&mut Vec<u8>),
) -> Response {
    if wants_protobuf(headers) {
        return ([(header::CONTENT_TYPE, "application/protobuf")], protobuf()).into_response();
    }
    let mut body = Vec::new();
    write_json(&mut body);
    json(body)
}

/// Tempo knows no 422: what cannot be run is a bad request.
fn told(mut error: HttpError) -> HttpError {
    if error.kind == ErrorKind::Execution {
        error.kind = ErrorKind::BadData;
    }
    error
}

/// A whole second of a request, if given.
fn seconds(params: &Params, name: &str) -> std::result::Result<u32, HttpError> {
    let time = params.time(name, Clock::Seconds)?;
    let seconds = time.map_or(0, |t| t.nanos().div_euclid(NANOS_PER_SECOND));
    Ok(u32::try_from(seconds).unwrap_or(if seconds < 0 { 0 } else { u32::MAX }))
}

/// A count of a request; 0 where it is not given.
fn count(params: &Params, name: &str) -> std::result::Result<u32, HttpError> {
    let count = params.count(name)?.unwrap_or(0);
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The range of a menu: all of time where nothing is given.
fn open_range(start: u32, end: u32) -> TimeRange {
    let time = |seconds: u32| Timestamp::from_seconds(i64::from(seconds));
    let start = if start == 0 {
        Timestamp::MIN
    } else {
        time(start)
    };
    let end = if end == 0 { Timestamp::MAX } else { time(end) };
    TimeRange::new(start, end)
}
