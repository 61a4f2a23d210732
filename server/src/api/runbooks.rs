//! `/runbooks/{alert}`: the pages to which `runbook_url` of the bundled alerts leads.
//!
//! They are embedded, so that they can be read when nothing else can be reached.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

include!(concat!(env!("OUT_DIR"), "/runbooks.rs"));

/// The pages.
pub(super) fn routes() -> Router {
    Router::new().route("/runbooks/{alert}", get(page))
}

async fn page(Path(alert): Path<String>) -> Response {
    let name = alert.strip_suffix(".md").unwrap_or(&alert);
    match RUNBOOKS.binary_search_by(|(known, _)| (*known).cmp(name)) {
        Ok(at) => (
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            RUNBOOKS[at].1,
        )
            .into_response(),
        Err(_) => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_found_by_the_name_of_the_alert() {
        let check = async |alert: &str, expect: StatusCode| {
            assert_eq!(
                page(Path(alert.to_owned())).await.status(),
                expect,
                "{alert}"
            );
        };
        check("KubePodCrashLooping", StatusCode::OK).await;
        check("KubePodCrashLooping.md", StatusCode::OK).await;
        check("../Cargo", StatusCode::NOT_FOUND).await;
        check("", StatusCode::NOT_FOUND).await;
        assert!(RUNBOOKS.len() > 100 && RUNBOOKS.is_sorted());
    }
}
