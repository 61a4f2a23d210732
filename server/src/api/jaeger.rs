//! Jaeger's query API below `/jaeger`: the JSON that its UI had first and Grafana still reads, and
//! `/api/v3`.
//!
//! Invariant: both generations ask the same functions; a trace that is not there is 404.

mod grpc;
mod legacy;
mod monitor;
mod search;
#[cfg(test)]
pub(in crate::api) mod tests;
mod v3;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use obs_collector::HttpError;
use obs_model::answer::SpanSeries;
use obs_model::spans::{AttributeValue, SpanKind, attribute};
use obs_model::{Answer, SpanBatch, SpanId, TimeRange, Timestamp, TraceId};
use obs_query::traceql::ast::{Attribute, Scope};
use obs_query::{Language, QueryError, Request, When, traces};
use obs_tracestore::SpanFilter;
use obs_wire::jaeger::ui::{Dependency, service, trace_id_base64};

use super::{Asker, evaluate};
use crate::app::App;
use crate::enforced::Visible;
pub(super) use grpc::routes as grpc_routes;
use search::{Search, quoted};

/// Operations of a service that are told.
const OPERATIONS_MAX: usize = 10_000;

type Result<T> = std::result::Result<T, HttpError>;
/// Who asks, or why that is not known; told in the shape of the route.
type Asking = Result<Asker>;

/// Below `/jaeger`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/services", get(legacy::services))
        .route(
            "/api/services/{service}/operations",
            get(legacy::operations_of),
        )
        .route("/api/operations", get(legacy::operations))
        .route("/api/traces", get(legacy::search))
        .route("/api/traces/{id}", get(legacy::trace))
        .route("/api/transform", post(legacy::transform))
        .route("/api/dependencies", get(legacy::dependencies))
        .route("/api/metrics/latencies", get(monitor::latencies))
        .route("/api/metrics/calls", get(monitor::calls))
        .route("/api/metrics/errors", get(monitor::errors))
        .route("/api/v3/services", get(v3::services))
        .route("/api/v3/operations", get(v3::operations))
        .route("/api/v3/traces", get(v3::search).post(v3::search_body))
        .route("/api/v3/traces/{id}", get(v3::trace))
        .route(
            "/api/v3/trace-summaries",
            get(v3::summaries).post(v3::summaries_body),
        )
        .route("/api/v3/dependencies", get(v3::dependencies))
}

/// The services that have spans, sorted.
async fn services(app: &App, tenant: &Visible) -> Result<Vec<String>> {
    let snapshot = app.stores()?.spans_of(tenant);
    let name = Attribute::Named {
        parent: false,
        scope: Scope::Resource,
        name: "service.name".to_owned(),
    };
    let read = app.read_for(tenant, None, move |budget, _| {
        traces::tag_values(&snapshot, &name, None, TimeRange::ALL, budget)
    });
    let text = |value| match value {
        AttributeValue::String(name) if !name.is_empty() => Some(name),
        _ => None,
    };
    Ok(read.await?.into_iter().filter_map(text).collect())
}

/// The operations of a service by name and kind, sorted; of one kind only, if asked so.
async fn operations(
    app: &App,
    tenant: &Visible,
    service: &str,
    kind: &str,
) -> Result<Vec<(String, SpanKind)>> {
    const KINDS: [SpanKind; 6] = [
        SpanKind::Unspecified,
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];
    let text = format!(
        "{{ resource.service.name = {} }} | count_over_time() by (name, kind)",
        quoted(service)
    );
    // All times that spans can have.
    let range = TimeRange::new(
        Timestamp::from_nanos(1),
        Timestamp::from_nanos(i64::MAX - 2),
    );
    let series = span_series(app, tenant, &text, range, None).await?;
    let of = |series: &SpanSeries, key: &str| match attribute(&series.labels, key) {
        Some(AttributeValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let mut found: Vec<(String, SpanKind)> = series
        .iter()
        .map(|series| {
            let word = of(series, "kind");
            let kind = KINDS.into_iter().find(|kind| kind.as_str() == word);
            (of(series, "name"), kind.unwrap_or_default())
        })
        .filter(|(_, found)| kind.is_empty() || found.as_str() == kind)
        .collect();
    found.sort();
    found.truncate(OPERATIONS_MAX);
    Ok(found)
}

/// Series of a TraceQL query; over the whole range where no step is given.
async fn span_series(
    app: &App,
    tenant: &Visible,
    text: &str,
    range: TimeRange,
    step: Option<i64>,
) -> Result<Vec<SpanSeries>> {
    let mut request = Request::new(When::Range {
        start: range.start,
        end: range.end,
        step: step.unwrap_or(i64::MAX),
    });
    request.whole_range = step.is_none();
    let reply = evaluate(app, tenant, Language::Traceql, text, request, None).await?;
    match reply.answer {
        Answer::SpanSeries(series) => Ok(series),
        _ => Err(HttpError::internal("a metrics query gave no series")),
    }
}

/// The whole traces that a search finds, newest first.
async fn find(app: &App, tenant: &Visible, search: &Search) -> Result<Vec<SpanBatch>> {
    if search.limit == 0 {
        return Ok(Vec::new());
    }
    let mut request = Request::new(When::Range {
        start: search.range.start,
        end: search.range.end,
        step: i64::MAX,
    });
    request.limit = search.limit;
    request.spans_per_set = 0;
    let text = search.traceql();
    let reply = evaluate(app, tenant, Language::Traceql, &text, request, None).await?;
    let Answer::Traces(found) = reply.answer else {
        return Err(HttpError::internal("a search gave no traces"));
    };
    let ids = found.iter().map(|trace| trace.trace_id).collect();
    Ok(by_ids(app, tenant, ids)
        .await?
        .into_iter()
        .map(|(_, trace)| trace)
        .collect())
}

/// The whole traces of these ids, in their order; those that are not there are left out.
async fn by_ids(
    app: &App,
    tenant: &Visible,
    ids: Vec<TraceId>,
) -> Result<Vec<(TraceId, SpanBatch)>> {
    let snapshot = app.stores()?.spans_of(tenant);
    let read = app.read_for(tenant, None, move |budget, _| {
        let mut all = Vec::new();
        for id in ids {
            if let Some(trace) = traces::trace(&snapshot, id, budget)? {
                all.push((id, trace));
            }
        }
        Ok(all)
    });
    read.await
}

/// Calls between services in a range, from the traces themselves.
async fn dependencies(app: &App, tenant: &Visible, range: TimeRange) -> Result<Vec<Dependency>> {
    let snapshot = app.stores()?.spans_of(tenant);
    let read = app.read_for(tenant, None, move |budget, _| {
        let filter = SpanFilter {
            range,
            conditions: Vec::new(),
        };
        let mut links: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut visit = |_, batch: SpanBatch| {
            budget.check()?;
            count_links(&batch, &mut links);
            Ok(ControlFlow::Continue(()))
        };
        obs_tracestore::scan(&snapshot, &filter, budget, &mut visit).map_err(QueryError::from)?;
        Ok(links)
    });
    let links = read.await?.into_iter();
    Ok(links
        .map(|((parent, child), calls)| Dependency {
            parent,
            child,
            calls,
        })
        .collect())
}

/// Adds the pairs of spans of one trace of which one is the parent of the other in another service.
fn count_links(batch: &SpanBatch, links: &mut BTreeMap<(String, String), u64>) {
    let services: std::collections::HashMap<SpanId, &str> = batch
        .iter()
        .map(|(resource, _, span)| (span.span_id, service(resource)))
        .collect();
    for (resource, _, span) in batch.iter() {
        let child = service(resource);
        match services.get(&span.parent_id) {
            Some(parent) if *parent != child => {
                *links
                    .entry(((*parent).to_owned(), child.to_owned()))
                    .or_default() += 1;
            }
            _ => {}
        }
    }
}

/// A fault in a generation's shape. Jaeger knows no 422: what cannot be run is a bad request.
fn refused(error: &HttpError, write: impl FnOnce(u16, &mut Vec<u8>)) -> Response {
    let status = match error.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    let mut body = Vec::new();
    write(status.as_u16(), &mut body);
    let mut response = super::json(body);
    *response.status_mut() = status;
    if let Some(seconds) = error.retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A trace id as clients of Jaeger write it: in hexadecimal, or in base64.
fn trace_id(text: &str) -> Result<TraceId> {
    let id = TraceId::from_hex(text).or_else(|| trace_id_base64(text));
    id.ok_or_else(|| {
        HttpError::bad_data(format!(
            "malformed trace id {text:?}, expected 1 to 32 hexadecimal digits"
        ))
    })
}
