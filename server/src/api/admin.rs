//! Health, own metrics and the admin calls.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, Uri, header};
use obs_collector::{Dialect, ErrorKind, HttpError};
use obs_storage::Force;

use crate::app::App;
use crate::node_exporter::TEXT_FORMAT;

/// Below `/api/v1/admin/storage`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/flush", post(flush))
        .route("/merge", post(merge))
        .layer(from_fn(same_site))
}

/// A page of another site must not make a browser call these.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    if is_foreign(request.headers(), request.uri()) {
        let message = "a page of another site may not call the admin API";
        return HttpError::new(ErrorKind::Forbidden, message).into_response();
    }
    next.run(request).await
}

/// Browsers say where a request comes from: new ones with `Sec-Fetch-Site`, old ones with
/// `Origin`. Other clients say nothing.
fn is_foreign(headers: &HeaderMap, uri: &Uri) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return !["same-origin", "none"].contains(&site);
    }
    let Some(origin) = text("origin") else {
        return false;
    };
    let host = uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| text("host")).unwrap_or("");
    origin
        .split_once("://")
        .is_none_or(|(_, from)| from != host)
}

/// `/-/healthy`, `/-/ready` and `/metrics`.
pub(super) fn health(app: &Arc<App>) -> Router {
    Router::new()
        .route("/-/healthy", get(|| async { "obs is healthy.\n" }))
        .route("/-/ready", get(ready))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/-/reload", post(lifecycle).put(lifecycle))
        .route("/-/quit", post(lifecycle).put(lifecycle))
        .with_state(Arc::clone(app))
}

/// As Prometheus without `--web.enable-lifecycle`.
async fn lifecycle() -> (StatusCode, &'static str) {
    (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n")
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.stores() {
        Ok(_) => "obs is ready.\n".into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}

/// As Prometheus' `/version`, which older clients ask.
async fn version() -> Response {
    let mut response = super::prometheus::build_info().to_string().into_response();
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
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
pub(super) async fn force(app: &App, what: Force) -> Result<StatusCode, HttpError> {
    let stores = app.stores()?.clone();
    let done = tokio::task::spawn_blocking(move || stores.force(what)).await;
    done.map_err(|e| HttpError::internal(e.to_string()))?
        .map_err(|e| HttpError::internal(e.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_foreign() {
        let check = |pairs: &[(&'static str, &str)], expect: bool| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, value.parse().expect("a header value"))
            });
            let headers: HeaderMap = pairs.collect();
            assert_eq!(
                is_foreign(&headers, &Uri::from_static("/x")),
                expect,
                "{headers:?}"
            );
        };
        let host = ("host", "obs:9090");
        check(&[host], false);
        check(&[host, ("origin", "http://obs:9090")], false);
        check(&[host, ("origin", "http://evil")], true);
        check(&[host, ("origin", "null")], true);
        check(
            &[
                host,
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://proxy"),
            ],
            false,
        );
        check(&[host, ("sec-fetch-site", "none")], false);
        check(&[host, ("sec-fetch-site", "cross-site")], true);
        check(&[host, ("sec-fetch-site", "same-site")], true);
    }
}
