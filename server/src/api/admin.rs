//! Health, own metrics and the admin calls.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use obs_collector::{Dialect, ErrorKind, HttpError};
use obs_storage::Force;

use crate::app::App;
use crate::node_exporter::TEXT_FORMAT;

/// Below `/api/v1/admin/storage`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/flush", post(flush))
        .route("/merge", post(merge))
        .merge(super::backup::routes())
        .layer(from_fn(same_site))
}

/// Where the listener is bound that a request came to; told by the server's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound(pub(crate) IpAddr);

/// A page of another site must not make a browser call these.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    let forbidden = |message: &str| HttpError::new(ErrorKind::Forbidden, message).into_response();
    if is_foreign(request.headers(), request.uri()) {
        return forbidden("a page of another site may not call the admin API");
    }
    let bound = request.extensions().get::<Bound>();
    let changes = ![Method::GET, Method::HEAD].contains(request.method());
    if changes && bound.is_some_and(|b| !is_local(b.0, request.headers(), request.uri())) {
        return forbidden(
            "the admin API of a server on loopback is called by the name localhost or by address: \
             another name may be that of a page of another site",
        );
    }
    next.run(request).await
}

/// Whether a request names this machine. A page of another site can give its own name the address
/// of loopback and is then its own site to the browser; only the name that it calls tells it.
fn is_local(bound: IpAddr, headers: &HeaderMap, uri: &Uri) -> bool {
    if !bound.is_loopback() {
        return true;
    }
    let host = headers.get(header::HOST).map(|v| v.to_str().unwrap_or("?"));
    let authority = match uri.authority() {
        Some(authority) => Ok(authority.clone()),
        None => match host {
            // Browsers always say it.
            None => return true,
            Some(host) => host.parse::<Authority>(),
        },
    };
    let Ok(authority) = authority else {
        return false;
    };
    let name = authority.host().trim_end_matches('.');
    let address = name.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == bound,
        Err(_) => {
            let name = name.to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// Browsers say where a request comes from: new ones with `Sec-Fetch-Site`, old ones with
/// `Origin`. Other clients say nothing.
pub(crate) fn is_foreign(headers: &HeaderMap, uri: &Uri) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return !["same-origin", "none"].contains(&site);
    }
    let Some(origin) = text("origin") else {
        return false;
    };
    let host = uri.authority().map(Authority::as_str);
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
        .route("/-/quit", post(lifecycle).put(lifecycle))
        .with_state(Arc::clone(app))
}

/// `/metrics` alone, for the server itself.
pub(crate) fn own_metrics(app: &Arc<App>) -> Router {
    let routes = Router::new().route("/metrics", get(metrics));
    routes.with_state(Arc::clone(app))
}

/// As Prometheus without `--web.enable-lifecycle`.
async fn lifecycle() -> (StatusCode, &'static str) {
    (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n")
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.ready() {
        Ok(()) => "obs is ready.\n".into_response(),
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

#[expect(
    clippy::disallowed_methods,
    reason = "what many alerts come to is computed for long"
)]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let costs = crate::cost::families(&app).await;
    let written = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        let mut families = crate::metrics::families(&app);
        families.extend(costs);
        obs_wire::prometheus::text::encode(&families, &mut text);
        text
    });
    match written.await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
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
    fn a_server_on_loopback_is_called_by_its_own_names() {
        let check = |bound: &str, host: &str, expect: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header value"));
            let bound: IpAddr = bound.parse().expect("an address");
            let told = is_local(bound, &headers, &Uri::from_static("/x"));
            assert_eq!(told, expect, "{bound} {host}");
        };
        for host in [
            "localhost",
            "LocalHost:9090",
            "obs.localhost:1",
            "localhost.:9",
            "127.0.0.1:9090",
            "127.3.2.1",
            "[::1]:9090",
            "[::1]",
        ] {
            check("127.0.0.1", host, true);
        }
        check("::1", "127.0.0.1", true);
        for host in [
            "evil.example:9090",
            "localhost.evil.example",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ] {
            check("127.0.0.1", host, false);
            check("10.0.0.1", host, true);
            check("0.0.0.0", host, true);
        }
        let none = HeaderMap::new();
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(is_local(loopback, &none, &Uri::from_static("/x")));
        let uri = Uri::from_static("http://evil.example/x");
        assert!(!is_local(loopback, &none, &uri));
    }

    #[tokio::test]
    async fn changes_by_a_foreign_name_are_refused() {
        use axum::extract::Extension;
        use axum::routing::any;
        use tower::ServiceExt;
        let routes = Router::<()>::new()
            .route("/x", any(|| async { "done" }))
            .layer(from_fn(same_site))
            .layer(Extension(Bound([127, 0, 0, 1].into())));
        let check = async |method: Method, host: &str, expect: StatusCode| {
            let request = Request::builder().method(&method).uri("/x");
            let request = request.header("host", host).body(axum::body::Body::empty());
            let told = routes.clone().oneshot(request.expect("valid")).await;
            assert_eq!(
                told.expect("infallible").status(),
                expect,
                "{method} {host}"
            );
        };
        check(Method::POST, "localhost:9090", StatusCode::OK).await;
        check(Method::POST, "evil.example:9090", StatusCode::FORBIDDEN).await;
        check(Method::DELETE, "evil.example:9090", StatusCode::FORBIDDEN).await;
        check(Method::GET, "evil.example:9090", StatusCode::OK).await;
    }

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
