//! The node exporter over HTTP: `/metrics` as node_exporter serves it.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use http::header;
use obs_node_exporter::{Options, Source, exposition, gather};
use tokio::net::TcpListener;

/// The content type of the text format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until `stop` is ready.
pub async fn serve(
    listener: TcpListener,
    source: Arc<Source>,
    options: Arc<Options>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let metrics = move || {
        let (source, options) = (Arc::clone(&source), Arc::clone(&options));
        async move { scrape(source, options).await }
    };
    let home = || async { Html("<h1>Node Exporter</h1><a href=\"/metrics\">Metrics</a>") };
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/", get(home));
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .await
        .context("serve the node exporter")
}

/// Reading `/proc` blocks for milliseconds, a hung mount for ever: not on the event loop.
#[expect(
    clippy::disallowed_methods,
    reason = "reads kernel files; a door off the event loop"
)]
async fn scrape(source: Arc<Source>, options: Arc<Options>) -> impl IntoResponse {
    let text = tokio::task::spawn_blocking(move || {
        let gathered = gather(&source, &options);
        for (collector, fault) in &gathered.faults {
            tracing::debug!(collector, %fault, "node exporter collector failed");
        }
        exposition(&gathered)
    });
    match text.await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => obs_collector::HttpError::internal(error.to_string()).into_response(),
    }
}
