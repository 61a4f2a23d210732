//! `tempopb.StreamingQuerier` over gRPC. Answers are cumulative: each message replaces the one before
//! it, the last is whole.
//!
//! Invariant: the last message is what the HTTP API answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use obs_model::TimeRange;
use obs_model::time::NANOS_PER_SECOND;
use obs_wire::tempo::requests::{MetricsRequest, SearchRequest, TagValuesRequest, TagsRequest};
use obs_wire::tempo::{messages, series};

use super::search::Asked;
use super::{metrics, search, tags};
use crate::api::streams::{Asking, Step, answer, one};
use crate::app::App;
use crate::enforced::Visible;

/// A search over more than this tells its newest part first.
const AHEAD_FROM: i64 = 3600 * NANOS_PER_SECOND;
/// How much of the range that part is.
const AHEAD_SHARE: i64 = 16;

/// The methods, at the root.
pub(in crate::api) fn routes(app: &Arc<App>) -> Router {
    let path = |method: &str| format!("/tempopb.StreamingQuerier/{method}");
    Router::new()
        .route(&path("Search"), post(search_call))
        .route(&path("SearchTags"), post(tags_v1))
        .route(&path("SearchTagsV2"), post(tags_v2))
        .route(&path("SearchTagValues"), post(values_v1))
        .route(&path("SearchTagValuesV2"), post(values_v2))
        .route(&path("MetricsQueryRange"), post(metrics_range))
        .route(&path("MetricsQueryInstant"), post(metrics_instant))
        .with_state(Arc::clone(app))
}

async fn search_call(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = Asked::new(&SearchRequest::decode(bytes)?)?;
        let mut steps: Vec<Step> = Vec::new();
        let length = asked.range.end - asked.range.start;
        if length > AHEAD_FROM {
            let start = asked.range.end.saturating_sub(length / AHEAD_SHARE);
            let newest = TimeRange::new(start, asked.range.end);
            steps.push(search_step(&app, &tenant, &asked, newest, false));
        }
        steps.push(search_step(&app, &tenant, &asked, asked.range, true));
        Ok(steps)
    })
    .await
}

fn search_step(
    app: &Arc<App>,
    tenant: &Visible,
    asked: &Asked,
    range: TimeRange,
    whole: bool,
) -> Step {
    let (app, tenant, asked) = (Arc::clone(app), tenant.clone(), asked.clone());
    Box::pin(async move {
        let (traces, mut metrics) = search::find(&app, &tenant, &asked, range).await?;
        if !whole {
            (metrics.completed_jobs, metrics.total_jobs) = (1, 2);
        }
        Ok(vec![messages::search(&traces, &metrics)])
    })
}

async fn tags_v1(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = TagsRequest::decode(bytes)?;
        one(async move {
            let scopes = tags::names(&app, &tenant, &asked).await?;
            Ok(messages::tags_v1(&tags::flat(scopes)))
        })
    })
    .await
}

async fn tags_v2(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = TagsRequest::decode(bytes)?;
        one(async move {
            let scopes = tags::names(&app, &tenant, &asked).await?;
            Ok(messages::tags_v2(&scopes, 0))
        })
    })
    .await
}

async fn values_v1(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = TagValuesRequest::decode(bytes)?;
        one(async move {
            let values = tags::values(&app, &tenant, &asked).await?;
            Ok(messages::tag_values_v1(&values))
        })
    })
    .await
}

async fn values_v2(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = TagValuesRequest::decode(bytes)?;
        one(async move {
            let values = tags::values(&app, &tenant, &asked).await?;
            Ok(messages::tag_values_v2(&values, 0))
        })
    })
    .await
}

async fn metrics_range(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = metrics::with_times(MetricsRequest::decode(bytes)?);
        one(async move {
            let found = metrics::find(&app, &tenant, &asked, false).await?;
            let partial = found.partial.as_deref();
            Ok(series::range_protobuf(
                &found.series,
                &found.metrics,
                partial,
            ))
        })
    })
    .await
}

async fn metrics_instant(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let asked = metrics::with_times(MetricsRequest::decode(bytes)?);
        one(async move {
            let found = metrics::find(&app, &tenant, &asked, true).await?;
            let partial = found.partial.as_deref();
            Ok(series::instant_protobuf(
                &found.series,
                &found.metrics,
                partial,
            ))
        })
    })
    .await
}
