//! Browsers that send OTLP: what a page of another origin may do is asked before (CORS).
//!
//! Invariant: without configured origins nothing is allowed, so that no page can make a visitor's
//! browser write; credentials are never allowed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// Headers that are allowed where a browser does not say which it wants.
const HEADERS: &str = "Content-Type, Content-Encoding, X-Scope-OrgID";
/// Seconds for which a browser may remember the answer.
const REMEMBERED: &str = "7200";

/// The origin of a request, where it is one of those; `*` is all.
fn allowed(headers: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let known = |known: &String| known == "*" || known.as_bytes() == origin.as_bytes();
    origins.iter().any(known).then(|| origin.clone())
}

/// Answers what browsers ask before they send, and says to whom the answer may be shown.
pub(super) async fn answer(
    State(origins): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(origin) = allowed(request.headers(), &origins) else {
        return next.run(request).await;
    };
    let asks = request.method() == Method::OPTIONS
        && (request.headers()).contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let wanted = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let wanted = wanted.cloned();
    let wanted = wanted.unwrap_or(HeaderValue::from_static(HEADERS));
    let mut response = if asks {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if asks {
        let post = HeaderValue::from_static("POST");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, post);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static(REMEMBERED),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::Service as _;

    use crate::receive::otlp_routes;
    use crate::receive::tests::Rig;

    use super::*;

    async fn ask(origins: &[&str], origin: &str, method: Method) -> (u16, Option<String>) {
        let rig = Rig::new();
        let origins = origins.iter().map(|o| (*o).to_owned()).collect();
        let mut routes = otlp_routes(rig.receiver.clone().with_origins(origins));
        let mut request = Request::builder()
            .method(method.clone())
            .uri("/v1/traces")
            .header("origin", origin)
            .header("content-type", "application/json");
        if method == Method::OPTIONS {
            request = request.header("access-control-request-method", "POST");
        }
        let request = request.body(Body::from("{}")).expect("a request");
        let response = routes.call(request).await.expect("infallible");
        let told = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        let told = told.and_then(|o| o.to_str().ok()).map(str::to_owned);
        (response.status().as_u16(), told)
    }

    #[tokio::test]
    async fn pages_may_send_where_it_is_configured() {
        let page = "https://shop.example";
        let yes = Some(page.to_owned());
        for (origins, method, expect) in [
            (&[][..], Method::OPTIONS, (405, None)),
            (&[][..], Method::POST, (200, None)),
            (&["https://other.example"][..], Method::OPTIONS, (405, None)),
            (&[page][..], Method::OPTIONS, (204, yes.clone())),
            (&[page][..], Method::POST, (200, yes.clone())),
            (&["*"][..], Method::OPTIONS, (204, yes.clone())),
        ] {
            assert_eq!(ask(origins, page, method).await, expect, "{origins:?}");
        }
    }
}
