//! `jaeger.api_v2.QueryService` and `jaeger.api_v3.QueryService` over gRPC.
//!
//! Invariant: both give what the HTTP API gives, because both ask the same functions. A trace that
//! is not there is `NOT_FOUND`; a search that finds nothing has no messages.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use obs_collector::{ErrorKind, HttpError};
use obs_model::{TimeRange, TraceId};
use obs_wire::jaeger::query;

use super::search::{DEPENDENCIES_LOOKBACK, Search};
use super::{dependencies, find, operations, services, trace_id};
use crate::api::streams::{Asking, answer, one, several};
use crate::api::tempo;
use crate::app::App;
use crate::clock;

/// The methods, at the root.
pub(in crate::api) fn routes(app: &Arc<App>) -> Router {
    let v2 = |method: &str| format!("/jaeger.api_v2.QueryService/{method}");
    let v3 = |method: &str| format!("/jaeger.api_v3.QueryService/{method}");
    Router::new()
        .route(&v2("GetTrace"), post(trace_v2))
        .route(&v2("ArchiveTrace"), post(archive))
        .route(&v2("FindTraces"), post(find_v2))
        .route(&v2("GetServices"), post(get_services))
        .route(&v2("GetOperations"), post(operations_v2))
        .route(&v2("GetDependencies"), post(get_dependencies))
        .route(&v3("GetTrace"), post(trace_v3))
        .route(&v3("FindTraces"), post(find_v3))
        .route(&v3("FindTraceSummaries"), post(summaries))
        .route(&v3("GetServices"), post(get_services))
        .route(&v3("GetOperations"), post(operations_v3))
        .route(&v3("GetDependencies"), post(get_dependencies))
        .with_state(Arc::clone(app))
}

async fn trace_v2(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let bytes = query::trace_id_bytes(bytes)?;
        let mut id = [0; 16];
        if bytes.is_empty() || bytes.len() > id.len() {
            return Err(HttpError::bad_data("expected a trace id of 1 to 16 bytes"));
        }
        id[16 - bytes.len()..].copy_from_slice(bytes);
        several(async move {
            let trace = tempo::find(&app, &tenant, TraceId(id)).await?;
            Ok(query::traces_v2(&[trace]))
        })
    })
    .await
}

async fn archive(asker: Asking, request: Request) -> Response {
    answer(asker, request, |_, _| {
        let why = "traces are kept as long as obs.storage.retention says; there is no archive";
        Err(HttpError::new(ErrorKind::MethodNotAllowed, why))
    })
    .await
}

async fn find_v2(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let search = Search::grpc_v2(query::find(bytes)?)?;
        several(async move {
            let traces = find(&app, &tenant, &search).await?;
            Ok(query::traces_v2(&traces))
        })
    })
    .await
}

async fn trace_v3(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let id = trace_id(query::trace_id_text(bytes)?)?;
        several(async move {
            let trace = tempo::find(&app, &tenant, id).await?;
            Ok(query::traces_v3(vec![trace]))
        })
    })
    .await
}

async fn find_v3(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let search = Search::grpc_v3(query::find(bytes)?)?;
        several(async move {
            let traces = find(&app, &tenant, &search).await?;
            Ok(query::traces_v3(traces))
        })
    })
    .await
}

async fn summaries(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let search = Search::grpc_v3(query::find(bytes)?)?;
        one(async move {
            let traces = find(&app, &tenant, &search).await?;
            Ok(query::summaries(&traces))
        })
    })
    .await
}

async fn get_services(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, _| {
        one(async move { Ok(query::services(&services(&app, &tenant).await?)) })
    })
    .await
}

async fn operations_v2(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let (service, kind) = query::operations_request(bytes)?;
        one(async move {
            let found = operations(&app, &tenant, &service, &kind).await?;
            Ok(query::operations_v2(&found))
        })
    })
    .await
}

async fn operations_v3(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let (service, kind) = query::operations_request(bytes)?;
        one(async move {
            let found = operations(&app, &tenant, &service, &kind).await?;
            Ok(query::operations_v3(&found))
        })
    })
    .await
}

async fn get_dependencies(
    State(app): State<Arc<App>>,
    asker: Asking,
    request: Request,
) -> Response {
    answer(asker, request, |tenant, bytes| {
        let (start, end) = query::dependencies_request(bytes)?;
        let end = end.unwrap_or_else(clock::now);
        let start = start.unwrap_or_else(|| end.saturating_sub(DEPENDENCIES_LOOKBACK));
        one(async move {
            let found = dependencies(&app, &tenant, TimeRange::new(start, end)).await?;
            Ok(query::dependencies(&found))
        })
    })
    .await
}
