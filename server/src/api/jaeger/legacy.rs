//! Jaeger's first JSON: an envelope of data and errors.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use obs_collector::HttpError;
use obs_model::limits::Limits;
use obs_model::spans::{ResourceSpans, ScopeSpans};
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{SpanBatch, TimeRange, TraceId};
use obs_wire::jaeger::ui::{self, Fault};

use super::search::{DEPENDENCIES_LOOKBACK, Search, unix};
use super::{Asking, Result, by_ids, dependencies as calls, find, trace_id};
use crate::api::{Asker, json};
use crate::app::App;
use crate::clock;
use crate::params::{Params, invalid};

/// Largest body that is transformed.
const TRANSFORM_BYTES_MAX: usize = 16 << 20;

/// A fault in the envelope.
pub(super) struct Refused(HttpError);

/// What a route of this generation gives.
pub(super) type Answer = std::result::Result<Response, Refused>;

impl From<HttpError> for Refused {
    fn from(error: HttpError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        super::refused(&self.0, |status, out| {
            let fault = Fault {
                code: Some(status),
                message: self.0.message.clone(),
                trace_id: None,
            };
            ui::envelope(None, 0, &[fault], out);
        })
    }
}

pub(super) async fn services(State(app): State<Arc<App>>, asker: Asking) -> Answer {
    let Asker(tenant) = asker?;
    let mut body = Vec::new();
    ui::names(&super::services(&app, &tenant).await?, &mut body);
    Ok(json(body))
}

pub(super) async fn operations_of(
    State(app): State<Arc<App>>,
    asker: Asking,
    Path(service): Path<String>,
) -> Answer {
    let Asker(tenant) = asker?;
    let found = super::operations(&app, &tenant, &service, "").await?;
    let mut names: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
    names.dedup();
    let mut body = Vec::new();
    ui::names(&names, &mut body);
    Ok(json(body))
}

pub(super) async fn operations(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let service = params
        .get("service")
        .ok_or_else(|| HttpError::bad_data("parameter 'service' is required"))?;
    let kind = params.get("spanKind").unwrap_or_default();
    let found = super::operations(&app, &tenant, service, kind).await?;
    let mut body = Vec::new();
    ui::operations(&found, &mut body);
    Ok(json(body))
}

pub(super) async fn search(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let search = Search::legacy(&params)?;
    let (traces, faults) = if search.ids.is_empty() {
        (find(&app, &tenant, &search).await?, Vec::new())
    } else {
        let found = by_ids(&app, &tenant, search.ids.clone()).await?;
        let missing = |id: &TraceId| !found.iter().any(|(known, _)| known == id);
        let faults = search.ids.iter().filter(|id| missing(id)).map(|id| Fault {
            code: None,
            message: "trace not found".to_owned(),
            trace_id: Some(*id),
        });
        let faults: Vec<Fault> = faults.collect();
        (found.into_iter().map(|(_, trace)| trace).collect(), faults)
    };
    let mut body = Vec::new();
    ui::traces(&traces, &faults, &mut body);
    Ok(json(body))
}

pub(super) async fn trace(
    State(app): State<Arc<App>>,
    asker: Asking,
    Path(id): Path<String>,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let id = trace_id(&id)?;
    unix(&params, "start", 1000)?;
    unix(&params, "end", 1000)?;
    params.flag("raw")?;
    let trace = crate::api::tempo::find(&app, &tenant, id).await?;
    let mut body = Vec::new();
    ui::traces(&[trace], &[], &mut body);
    Ok(json(body))
}

pub(super) async fn dependencies(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let end = unix(&params, "endTs", NANOS_PER_MILLI)?.unwrap_or_else(clock::now);
    let lookback = match params.get("lookback") {
        None => DEPENDENCIES_LOOKBACK / NANOS_PER_MILLI,
        Some(text) => text
            .parse()
            .map_err(|_| invalid("lookback", format!("{text:?} is no number")))?,
    };
    let start = end.saturating_sub(lookback.saturating_mul(NANOS_PER_MILLI));
    let mut links = calls(&app, &tenant, TimeRange::new(start, end)).await?;
    if let Some(service) = params.get("service") {
        links.retain(|link| link.parent == service || link.child == service);
    }
    let mut body = Vec::new();
    ui::dependencies(&links, &mut body);
    Ok(json(body))
}

/// OTLP/JSON of a file, in the shape that the UI shows.
pub(super) async fn transform(body: Body) -> Answer {
    let body = axum::body::to_bytes(body, TRANSFORM_BYTES_MAX).await;
    let body: Bytes = body.map_err(|error| {
        HttpError::too_large(format!(
            "body: {error}, at most {TRANSFORM_BYTES_MAX} bytes are read"
        ))
    })?;
    let limits = Limits {
        decompressed_bytes_max: TRANSFORM_BYTES_MAX,
        ..Limits::default()
    };
    let decoded = obs_wire::otlp::traces::decode_json(&body, &limits);
    let decoded = decoded.map_err(HttpError::from)?;
    let mut out = Vec::new();
    ui::traces(&split(decoded.batch), &[], &mut out);
    Ok(json(out))
}

/// One batch for each trace, in order of appearance.
fn split(batch: SpanBatch) -> Vec<SpanBatch> {
    let mut all: Vec<(TraceId, SpanBatch)> = Vec::new();
    let mut places: std::collections::HashMap<TraceId, usize> = std::collections::HashMap::new();
    for from in batch.resources {
        for scope in from.scopes {
            for span in scope.spans {
                let id = span.trace_id;
                let place = *places.entry(id).or_insert_with(|| {
                    all.push((id, SpanBatch::default()));
                    all.len() - 1
                });
                all[place].1.resources.push(ResourceSpans {
                    resource: from.resource.clone(),
                    scopes: vec![ScopeSpans {
                        scope: scope.scope.clone(),
                        spans: vec![span],
                    }],
                });
            }
        }
    }
    all.into_iter().map(|(_, batch)| batch).collect()
}
