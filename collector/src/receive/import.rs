//! `POST /api/v1/import` and `/api/v1/import/csv`: VictoriaMetrics' ways to bring samples.
//!
//! Invariant: a line that cannot be taken does not cost the others, and the sender is told.

use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use obs_model::MetricBatch;
use obs_model::limits::Limits;
use obs_wire::{Decoded, WireError, victoria};
use serde::Deserialize;

use super::{Receiver, RequestTenant, content_encoding};
use crate::clock;
use crate::http_error::{Dialect, HttpError};
use crate::metrics::Door;

/// What the address says.
#[derive(Debug, Deserialize)]
pub(super) struct CsvParams {
    /// What the columns are.
    format: Option<String>,
}

pub(super) async fn lines(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Response {
    store(receiver, tenant, request, victoria::decode_lines).await
}

pub(super) async fn csv(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    Query(params): Query<CsvParams>,
    request: Request,
) -> Response {
    let now = clock::now();
    let columns = victoria::columns(params.format.as_deref().unwrap_or(""));
    let work = move |body: &[u8], limits: &Limits| {
        columns.and_then(|columns| victoria::decode_csv_lines(body, &columns, now, limits))
    };
    store(receiver, tenant, request, work).await
}

async fn store(
    receiver: Receiver,
    RequestTenant(tenant): RequestTenant,
    request: Request,
    work: impl FnOnce(&[u8], &Limits) -> Result<Decoded<MetricBatch>, WireError> + Send + 'static,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let compression = content_encoding(&parts.headers);
        let form = (compression.as_str(), usize::MAX);
        let decoded = receiver.decode(&mut body, form, work).await?;
        let mut refused = decoded.message;
        if !decoded.batch.series.is_empty() {
            let accepted = receiver.sink.metrics(tenant, decoded.batch).await?;
            if accepted.refused > 0 {
                let told = format!("{} samples: {}", accepted.refused, accepted.reason);
                refused = [refused, told].join("; ");
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        Err(HttpError::bad_data(format!(
            "the rest is stored, but not {}",
            refused.trim_start_matches("; ")
        )))
    }
    .await;
    receiver.count(Door::Import, bytes, &outcome);
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}
