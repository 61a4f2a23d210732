//! Jaeger's `/api/v3`: OTLP/JSON in, as it were, OTLP/JSON out.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use obs_collector::{ErrorKind, HttpError};
use obs_model::time::parse_rfc3339;
use obs_model::{SpanBatch, TimeRange, Timestamp};
use obs_wire::jaeger::v3 as write;

use super::search::{DEPENDENCIES_LOOKBACK, Search, malformed, of_body};
use super::{Asking, Result, find, trace_id};
use crate::api::{Asker, json};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::Params;

/// Largest body of a search.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest wait for it.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

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
    found(&app, &tenant, &Search::v3(&params)?).await
}

pub(super) async fn search_body(State(app): State<Arc<App>>, asker: Asking, body: Body) -> Answer {
    let Asker(tenant) = asker?;
    let params = of_body(&read(body).await?)?;
    found(&app, &tenant, &Search::v3(&params)?).await
}

async fn found(app: &App, tenant: &Visible, search: &Search) -> Answer {
    let traces = find(app, tenant, search).await?;
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
    summed(&app, &tenant, &Search::v3(&params)?).await
}

pub(super) async fn summaries_body(
    State(app): State<Arc<App>>,
    asker: Asking,
    body: Body,
) -> Answer {
    let Asker(tenant) = asker?;
    let params = of_body(&read(body).await?)?;
    summed(&app, &tenant, &Search::v3(&params)?).await
}

async fn summed(app: &App, tenant: &Visible, search: &Search) -> Answer {
    let traces = find(app, tenant, search).await?;
    let mut body = Vec::new();
    write::summaries(&traces, &mut body);
    Ok(json(body))
}

async fn read(body: Body) -> Result<Bytes> {
    let read = tokio::time::timeout(BODY_DEADLINE, axum::body::to_bytes(body, BODY_BYTES_MAX));
    let Ok(read) = read.await else {
        let why = "the body did not arrive in time";
        return Err(HttpError::new(ErrorKind::Timeout, why));
    };
    read.map_err(|error| {
        HttpError::too_large(format!(
            "body: {error}, at most {BODY_BYTES_MAX} bytes are read"
        ))
    })
}

/// `/api/v3/dependencies?startTime=…&endTime=…`
pub(super) async fn dependencies(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let time = |name: &'static str, older: &'static str| -> Result<Option<Timestamp>> {
        let told = params.get(name).map(|text| (name, text));
        let told = told.or_else(|| params.get(older).map(|text| (older, text)));
        let read = |(name, text): (&str, &str)| {
            parse_rfc3339(text)
                .ok_or_else(|| malformed(name, format!("parsing time {text:?} as RFC 3339")))
        };
        told.map(read).transpose()
    };
    let end = time("endTime", "end_time")?.unwrap_or_else(clock::now);
    let start = time("startTime", "start_time")?;
    let start = start.unwrap_or_else(|| end.saturating_sub(DEPENDENCIES_LOOKBACK));
    let found = super::dependencies(&app, &tenant, TimeRange::new(start, end)).await?;
    let mut body = Vec::new();
    write::dependencies(&found, &mut body);
    Ok(json(body))
}
