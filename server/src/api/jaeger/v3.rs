//! Jaeger's `/api/v3`: OTLP/JSON in, as it were, OTLP/JSON out.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use obs_collector::HttpError;
use obs_model::SpanBatch;
use obs_model::time::parse_rfc3339;
use obs_wire::jaeger::v3 as write;

use super::search::{Search, malformed};
use super::{Asking, Result, find, trace_id};
use crate::api::{Asker, json};
use crate::app::App;
use crate::params::Params;

/// A fault in this API's shape.
pub(super) struct Refused(HttpError);

type Answer = std::result::Result<Response, Refused>;

impl From<HttpError> for Refused {
    fn from(error: HttpError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        super::refused(&self.0, |status, out| {
            write::error(status, &self.0.message, out);
        })
    }
}

pub(super) async fn services(State(app): State<Arc<App>>, asker: Asking) -> Answer {
    let Asker(tenant) = asker?;
    let mut body = Vec::new();
    write::services(&super::services(&app, &tenant).await?, &mut body);
    Ok(json(body))
}

pub(super) async fn operations(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let kind = params.get("spanKind").or_else(|| params.get("span_kind"));
    let service = params.get("service").unwrap_or_default();
    let found = super::operations(&app, &tenant, service, kind.unwrap_or_default()).await?;
    let mut body = Vec::new();
    write::operations(&found, &mut body);
    Ok(json(body))
}

fn none_found() -> HttpError {
    HttpError::not_found("No traces found")
}

pub(super) async fn trace(
    State(app): State<Arc<App>>,
    asker: Asking,
    Path(id): Path<String>,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let id = trace_id(&id).map_err(|error| malformed("trace_id", error.message))?;
    for name in ["startTime", "start_time", "endTime", "end_time"] {
        let text = params.get(name);
        if let Some(text) = text.filter(|text| parse_rfc3339(text).is_none()) {
            return Err(malformed(name, format!("parsing time {text:?} as RFC 3339")).into());
        }
    }
    for name in ["rawTraces", "raw_traces"] {
        params
            .flag(name)
            .map_err(|error| malformed(name, error.message))?;
    }
    let found = crate::api::tempo::find(&app, &tenant, id).await;
    let trace = found.map_err(|error| match error.status().as_u16() {
        404 => none_found(),
        _ => error,
    })?;
    let mut body = Vec::new();
    write::traces(&trace, &mut body);
    Ok(json(body))
}

pub(super) async fn search(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let traces = find(&app, &tenant, &Search::v3(&params)?).await?;
    if traces.is_empty() {
        return Err(none_found().into());
    }
    let resources = traces.into_iter().flat_map(|trace| trace.resources);
    let all = SpanBatch {
        resources: resources.collect(),
    };
    let mut body = Vec::new();
    write::traces(&all, &mut body);
    Ok(json(body))
}

pub(super) async fn summaries(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let traces = find(&app, &tenant, &Search::v3(&params)?).await?;
    let mut body = Vec::new();
    write::summaries(&traces, &mut body);
    Ok(json(body))
}
