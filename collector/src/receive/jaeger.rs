//! Jaeger's collector over HTTP (`POST /api/traces` in thrift), and the sampling strategies that its
//! clients ask for.
//!
//! Invariant: 202 is answered once the spans are stored.

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use obs_wire::jaeger;
use obs_wire::thrift::Protocol;

use super::{Receiver, RequestTenant, content_encoding, media_type, zipkin};
use crate::http_error::{Dialect, HttpError};
use crate::metrics::Door;

/// What port 14268 serves.
pub(super) fn collector() -> Router<Receiver> {
    Router::new()
        .route("/api/traces", post(push))
        .route("/api/sampling", get(sampling))
}

/// What port 5778 serves.
pub(super) fn strategies() -> Router<Receiver> {
    Router::new()
        .route("/sampling", get(sampling))
        .route("/", get(sampling_by_number))
}

async fn push(
    State(receiver): State<Receiver>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let protocol = match media_type(&parts.headers).as_str() {
            "" | "application/x-thrift" | "application/vnd.apache.thrift.binary" => {
                Protocol::Binary
            }
            "application/vnd.apache.thrift.compact" => Protocol::Compact,
            other => {
                return Err(HttpError::bad_data(format!(
                    "Unsupported content type: {other}"
                )));
            }
        };
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let encoding = content_encoding(&parts.headers);
        let decode = move |bytes: &[u8], limits: &_| jaeger::decode_thrift(bytes, protocol, limits);
        let body = (&mut body, encoding.as_str());
        zipkin::store(&receiver, Door::Jaeger, tenant, body, decode).await
    }
    .await;
    receiver.count(Door::Jaeger, bytes, &outcome);
    match outcome {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}

async fn sampling(State(receiver): State<Receiver>, RawQuery(query): RawQuery) -> Response {
    strategy(&receiver, query, false)
}

async fn sampling_by_number(
    State(receiver): State<Receiver>,
    RawQuery(query): RawQuery,
) -> Response {
    strategy(&receiver, query, true)
}

fn strategy(receiver: &Receiver, query: Option<String>, by_number: bool) -> Response {
    let query = query.unwrap_or_default();
    let services: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, value)| name == "service" && !value.is_empty())
        .map(|(_, value)| value)
        .collect();
    let [service] = services.as_slice() else {
        let error = HttpError::bad_data("'service' parameter must be provided once");
        return error.render(Dialect::Plain);
    };
    let body = receiver.strategies.of(service).json(by_number);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
