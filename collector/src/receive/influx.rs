//! Influx's line protocol: `POST /write`, `/api/v2/write` and `/influx/write`, and the answers that
//! Telegraf and other clients need before they send.
//!
//! Invariant: a line that cannot be taken does not cost the others, and the sender is told.

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, StatusCode, header};
use obs_model::MetricBatch;
use obs_model::limits::Limits;
use obs_wire::Decoded;
use obs_wire::influx::{Precision, decode};
use serde::Deserialize;
use serde_json::json;

use super::{Receiver, RequestTenant, content_encoding};
use crate::clock;
use crate::http_error::{ErrorKind, HttpError};
use crate::metrics::Door;

/// The version that clients decide by what they may send.
const VERSION: &str = "1.8.10";

pub(super) fn routes() -> Router<Receiver> {
    let ping = || get(alive).head(alive);
    Router::new()
        .route("/write", post(v1))
        .route("/influx/write", post(v1))
        .route("/api/v2/write", post(v2))
        .route("/influx/api/v2/write", post(v2))
        .route("/ping", ping())
        .route("/influx/ping", ping())
        .route("/query", get(query).post(query))
        .route("/influx/query", get(query).post(query))
}

#[derive(Debug, Deserialize)]
struct Params {
    #[serde(default)]
    precision: String,
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    q: String,
}

/// Who answers, as Influx tells it.
fn named(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let headers = response.headers_mut();
    let name = HeaderName::from_static("x-influxdb-version");
    headers.insert(name, HeaderValue::from_static(VERSION));
    response
}

async fn alive() -> Response {
    named(StatusCode::NO_CONTENT)
}

/// Databases are names without meaning here: all of them are there.
async fn query(Query(asked): Query<Asked>, request: Request) -> Response {
    let mut text = asked.q;
    if text.is_empty() {
        // Telegraf asks in the body.
        let body = axum::body::to_bytes(request.into_body(), 64 << 10).await;
        let body = body.unwrap_or_default();
        let mut pairs = form_urlencoded::parse(&body);
        text = pairs
            .find(|(n, _)| n == "q")
            .map_or(String::new(), |(_, v)| v.into_owned());
    }
    let words: Vec<String> = text
        .split_whitespace()
        .map(str::to_ascii_uppercase)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["SHOW", "DATABASES", ..] => json!({"statement_id": 0, "series": [
            {"name": "databases", "columns": ["name"], "values": [["obs"]]}
        ]}),
        ["SHOW", "RETENTION", ..] => json!({"statement_id": 0, "series": [{
            "columns": ["name", "duration", "shardGroupDuration", "replicaN", "default"],
            "values": [["autogen", "0s", "168h0m0s", 1, true]],
        }]}),
        ["CREATE", "DATABASE" | "RETENTION", ..] | ["SHOW", "MEASUREMENTS", ..] => {
            json!({"statement_id": 0})
        }
        _ => {
            let told =
                json!({"error": "InfluxQL is not spoken here: ask with PromQL at /api/v1/query"});
            return named((StatusCode::BAD_REQUEST, axum::Json(told)));
        }
    };
    named(axum::Json(json!({"results": [result]})))
}

async fn v1(
    State(receiver): State<Receiver>,
    Query(params): Query<Params>,
    tenant: RequestTenant,
    request: Request,
) -> Response {
    match store(receiver, &params.precision, tenant, request).await {
        Ok(()) => named(StatusCode::NO_CONTENT),
        Err(error) => told(&error, &json!({"error": error.message})),
    }
}

async fn v2(
    State(receiver): State<Receiver>,
    Query(params): Query<Params>,
    tenant: RequestTenant,
    request: Request,
) -> Response {
    match store(receiver, &params.precision, tenant, request).await {
        Ok(()) => named(StatusCode::NO_CONTENT),
        Err(error) => {
            let code = match error.kind {
                ErrorKind::BadData => "invalid",
                ErrorKind::TooLarge => "request too large",
                ErrorKind::TooMany => "too many requests",
                ErrorKind::Unauthorized => "unauthorized",
                ErrorKind::Unavailable | ErrorKind::Timeout => "unavailable",
                _ => "internal error",
            };
            told(&error, &json!({"code": code, "message": error.message}))
        }
    }
}

fn told(error: &HttpError, body: &serde_json::Value) -> Response {
    let mut response = (error.status(), body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(seconds) = error.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    named(response)
}

async fn store(
    receiver: Receiver,
    precision: &str,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Result<(), HttpError> {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let precision = Precision::from_text(precision).ok_or_else(|| {
            HttpError::bad_data(format!(
                "invalid precision {precision:?}, expected one of n, ns, u, us, ms, s, m, h"
            ))
        })?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let compression = content_encoding(&parts.headers);
        let form = (compression.as_str(), usize::MAX);
        let now = clock::now();
        let work = move |body: &[u8], limits: &Limits| decode(body, precision, now, limits);
        let decoded: Decoded<MetricBatch> = receiver.decode(&mut body, form, work).await?;
        let mut refused = decoded.message;
        if !decoded.batch.series.is_empty() {
            let accepted = receiver.sink.metrics(tenant, decoded.batch).await?;
            if accepted.refused > 0 {
                refused = format!(
                    "{refused}; {} samples: {}",
                    accepted.refused, accepted.reason
                );
            }
        }
        match refused.trim_start_matches("; ") {
            "" => Ok(()),
            refused => Err(HttpError::bad_data(format!("partial write: {refused}"))),
        }
    }
    .await;
    receiver.count(Door::Influx, bytes, &outcome);
    outcome
}
