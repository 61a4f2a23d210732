//! The web UI: files that were embedded when the binary was built.
//!
//! File names carry a hash of their content, so they may be cached for ever; the page itself is
//! asked for anew each time. Addresses of [`PAGES`] are the page's own and get the page, whose
//! `<base>` leads from that address to the root: so it works below any path.

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Request, State};
use axum::middleware::map_request_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri, header};
use tower::Layer;

/// A file of the UI: address, content type, content.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/ui.rs"));

/// Nothing from elsewhere, nothing inline but styles that the graph library sets.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'";

const NOT_BUILT: &str = "This binary was built without the web UI; `make ui` before `cargo build` \
     adds it. All APIs work.\n";

/// Addresses that the page itself draws; the same as in `ui/src/pages.ts`.
const PAGES: &[&str] = &[
    "/explore",
    "/graph",
    "/dashboards",
    "/d/{uid}",
    "/d/{uid}/{slug}",
    "/service-map",
    "/trace/{id}",
    "/compare/{a}/{b}",
    "/kubernetes",
    "/kubernetes/{*path}",
    "/alerts",
    "/errors",
    "/errors/{fingerprint}",
    "/targets",
    "/cardinality",
    "/status",
];

/// Everything that no API route takes.
pub(super) fn routes() -> Router {
    let pages = PAGES.iter().fold(Router::new(), |router, path| {
        router.route(path, get(|uri: Uri| async move { page(uri.path()) }))
    });
    pages
        .route("/", get(root))
        .route(
            "/assets/{*file}",
            get(|uri: Uri| async move { asset(uri.path()) }),
        )
        .route("/favicon.svg", get(|| async { asset("/favicon.svg") }))
}

/// The page asks relative to its own address, which therefore ends with a slash.
async fn root(OriginalUri(uri): OriginalUri) -> Response {
    match uri.path().ends_with('/') {
        true => page("/"),
        false => Redirect::permanent(&format!("{}/", uri.path())).into_response(),
    }
}

/// All routes, at the root and below a path: it is taken away before a route is looked for, so that
/// `/prometheus` and `/loki`, with which routes of their own begin, can be such paths too.
pub(crate) fn below(prefix: &str, all: Router) -> Router {
    if prefix.is_empty() {
        return all;
    }
    let prefix: Arc<str> = prefix.into();
    let all = map_request_with_state(prefix, without_prefix).layer(all);
    Router::new().fallback_service(all)
}

async fn without_prefix(State(prefix): State<Arc<str>>, mut request: Request) -> Request {
    let rest = request.uri().path().strip_prefix(&*prefix);
    let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return request;
    };
    let path = if rest.is_empty() { "/" } else { rest };
    let target = match request.uri().query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = request.uri().clone().into_parts();
    // A part of an address is one too.
    if let Ok(target) = target {
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            let whole = OriginalUri(std::mem::replace(request.uri_mut(), uri));
            request.extensions_mut().insert(whole);
        }
    }
    request
}

/// The way from a page to the root: `./`, and `../` for each folder that it seems to be in.
fn way_up(path: &str) -> String {
    let folders = path.matches('/').count().saturating_sub(1);
    format!("./{}", "../".repeat(folders))
}

/// The page for an address below the root.
fn page(path: &str) -> Response {
    let Some(page) = ASSETS.iter().find(|a| a.path == "/index.html") else {
        return (StatusCode::NOT_FOUND, NOT_BUILT).into_response();
    };
    let base = format!("<base href=\"{}\"", way_up(path));
    let text = String::from_utf8_lossy(page.bytes).replacen("<base href=\"./\"", &base, 1);
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(page.content_type),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    response
}

fn asset(path: &str) -> Response {
    let Some(asset) = ASSETS.iter().find(|a| a.path == path) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let mut response = asset.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(asset.content_type),
    );
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, forever);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lead_to_the_root() {
        for (path, expect) in [
            ("/", "./"),
            ("/explore", "./"),
            ("/d/uid", "./../"),
            ("/kubernetes/pod/shop/cart-0", "./../../../"),
        ] {
            assert_eq!(way_up(path), expect, "{path}");
        }
    }
}
