//! The node exporter over HTTP: `/metrics` as node_exporter serves it.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::header;
use obs_collector::{Dialect, HttpError};
use obs_node_exporter::{Options, Source, exposition, gather};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The content type of the text format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Scrapes that may run at one time. One that meets a hung mount never ends, and the threads that
/// it may hold are those that queries and decoders need.
const SCRAPES_MAX: usize = 4;

/// Serves until `stop` is ready.
pub async fn serve(
    listener: TcpListener,
    source: Arc<Source>,
    options: Arc<Options>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let exporter = Exporter {
        source,
        options,
        places: Arc::new(Semaphore::new(SCRAPES_MAX)),
    };
    let metrics = move || {
        let exporter = exporter.clone();
        async move { exporter.scrape().await }
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

#[derive(Clone, Debug)]
struct Exporter {
    source: Arc<Source>,
    options: Arc<Options>,
    places: Arc<Semaphore>,
}

impl Exporter {
    /// Reading `/proc` blocks for milliseconds, a hung mount for ever: not on the event loop.
    #[expect(
        clippy::disallowed_methods,
        reason = "reads kernel files; a door off the event loop"
    )]
    async fn scrape(self) -> Response {
        let Ok(place) = self.places.try_acquire_owned() else {
            let text = format!("{SCRAPES_MAX} scrapes have not ended, a mount may hang");
            return HttpError::unavailable(text, 1).render(Dialect::Plain);
        };
        let text = tokio::task::spawn_blocking(move || {
            let _place = place;
            let gathered = gather(&self.source, &self.options);
            for (collector, fault) in &gathered.faults {
                tracing::debug!(collector, %fault, "node exporter collector failed");
            }
            exposition(&gathered)
        });
        match text.await {
            Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
            Err(error) => HttpError::internal(error.to_string()).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn scrapes_that_do_not_end_are_few() {
        let exporter = Exporter {
            source: Arc::default(),
            options: Arc::default(),
            places: Arc::new(Semaphore::new(1)),
        };
        assert_eq!(exporter.clone().scrape().await.status(), 200);
        let held = Arc::clone(&exporter.places).try_acquire_owned();
        let held = held.expect("the place came back");
        let refused = exporter.clone().scrape().await;
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        drop(held);
        assert_eq!(exporter.scrape().await.status(), 200);
    }
}
