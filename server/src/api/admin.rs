//! Health, own metrics and the admin calls.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use obs_collector::HttpError;
use obs_storage::Force;

use crate::app::App;
use crate::node_exporter::TEXT_FORMAT;

/// Below `/api/v1/admin/storage`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/flush", post(flush))
        .route("/merge", post(merge))
}

/// `/-/healthy`, `/-/ready` and `/metrics`.
pub(super) fn health(app: &Arc<App>) -> Router {
    Router::new()
        .route("/-/healthy", get(|| async { "obs is healthy.\n" }))
        .route("/-/ready", get(ready))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(app))
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.stores() {
        Ok(_) => "obs is ready.\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = Vec::new();
    obs_wire::prometheus::text::encode(&crate::metrics::families(&app), &mut text);
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
}

async fn flush(State(app): State<Arc<App>>) -> Result<StatusCode, HttpError> {
    force(&app, Force::Flush).await
}

async fn merge(State(app): State<Arc<App>>) -> Result<StatusCode, HttpError> {
    force(&app, Force::Merge).await
}

/// Runs to its end although the client may leave; answers when it is done.
#[expect(
    clippy::disallowed_methods,
    reason = "an admin call runs jobs as long as they take, outside the query pool"
)]
async fn force(app: &App, what: Force) -> Result<StatusCode, HttpError> {
    let stores = app.stores()?.clone();
    let done = tokio::task::spawn_blocking(move || stores.force(what)).await;
    done.map_err(|e| HttpError::internal(e.to_string()))?
        .map_err(|e| HttpError::internal(e.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}
