//! Datadog's log intake under `/datadog` and `/insert/datadog`.
//!
//! Invariant: the agent is told that its items are taken only after the sink said so; keys are not
//! looked at.

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use obs_wire::datadog;

use super::elastic::in_context;
use super::{Receiver, RequestTenant, content_encoding};
use crate::http_error::{Dialect, HttpError};
use crate::metrics::Door;

/// The routes below a prefix.
pub(super) fn routes(prefix: &str) -> Router<Receiver> {
    Router::new()
        .route(&format!("{prefix}/api/v2/logs"), post(current))
        .route(&format!("{prefix}/v1/input"), post(former))
        .route(&format!("{prefix}/v1/input/{{*key}}"), post(former))
        .route(&format!("{prefix}/api/v1/validate"), get(validate))
}

async fn validate() -> Response {
    json(StatusCode::OK, r#"{"valid":true}"#)
}

async fn current(receiver: State<Receiver>, tenant: RequestTenant, request: Request) -> Response {
    take(receiver, tenant, request, StatusCode::ACCEPTED).await
}

async fn former(receiver: State<Receiver>, tenant: RequestTenant, request: Request) -> Response {
    take(receiver, tenant, request, StatusCode::OK).await
}

async fn take(
    State(receiver): State<Receiver>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
    good: StatusCode,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let defaults = query.map(|Query(pairs)| pairs).unwrap_or_default();
        let work = in_context(&parts, move |body, context| {
            datadog::decode(body, &defaults, context)
        });
        let encoding = content_encoding(&parts.headers);
        receiver
            .store_logs(tenant, &mut body, &encoding, work)
            .await
    }
    .await;
    receiver.count(Door::Datadog, bytes, &outcome);
    match outcome {
        Ok(told) if told.refused == 0 => json(good, "{}"),
        Ok(told) => {
            // The agent drops what is answered with 400, so it is told only what is gone anyway.
            let reason = format!("{} items refused: {}", told.refused, told.reason);
            receiver.counters.lines_refused(Door::Datadog, told.refused);
            HttpError::bad_data(reason).render(Dialect::Plain)
        }
        Err(error) => error.render(Dialect::Plain),
    }
}

fn json(status: StatusCode, body: &'static str) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}
