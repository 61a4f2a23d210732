//! `POST /api/v1/read`: Prometheus remote read, with samples or streamed chunks.
//!
//! Invariants: series come sorted by labels; external labels are on every series and matchers on
//! them mean this server, as Prometheus has it; the answer is bounded by the query's budget.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderValue, header};
use obs_collector::{ErrorKind, HttpError};
use obs_model::limits::Limits;
use obs_model::matcher::MatchOp;
use obs_model::{Budget, Labels, Matcher};
use obs_query::QueryError;
use obs_storage::Snapshot;
use obs_tsdb::{Metrics, SelectedSeries};
use obs_wire::prometheus::remote_read::{self, ReadQuery, ReadRequest};
use obs_wire::snappy;

use super::{Asker, Plain, Told};
use crate::app::App;

/// Bytes of a request, compressed and not: it holds matchers only.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest wait for a request to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/read", post(read))
}

async fn read(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    request: Request,
) -> Result<Response, Plain> {
    let body = body(request.into_body()).await?;
    let limits = Limits {
        decompressed_bytes_max: BODY_BYTES_MAX,
        ..app.rules.limits
    };
    let body = snappy::decode(&body, BODY_BYTES_MAX).map_err(HttpError::from)?;
    let request = remote_read::decode(&body, &limits).map_err(HttpError::from)?;
    let snapshot = app.stores()?.metrics_of(&tenant);
    let (external, streamed) = (app.external_labels.get(), request.streamed);
    let answer = app
        .read_for(&tenant, None, move |budget, _| {
            answer(&request, &snapshot, &external, budget)
        })
        .await?;
    let mut response = Response::new(Body::from(answer));
    let content_type = if streamed {
        remote_read::STREAMED_TYPE
    } else {
        let encoding = HeaderValue::from_static("snappy");
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, encoding);
        remote_read::SAMPLES_TYPE
    };
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

async fn body(body: Body) -> Result<axum::body::Bytes, HttpError> {
    let read = axum::body::to_bytes(body, BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_DEADLINE, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(HttpError::too_large(format!(
            "remote read request of more than {BODY_BYTES_MAX} bytes, or not received: {error}"
        ))),
        Err(_) => {
            let message = "the remote read request did not arrive in time";
            Err(HttpError::new(ErrorKind::Timeout, message))
        }
    }
}

fn answer(
    request: &ReadRequest,
    snapshot: &Snapshot<Metrics>,
    external: &Labels,
    budget: &Budget,
) -> Result<Vec<u8>, QueryError> {
    let mut out = Vec::new();
    for (index, query) in request.queries.iter().enumerate() {
        let found = select(query, snapshot, external, budget)?;
        if request.streamed {
            for series in &found {
                let before = out.len();
                remote_read::put_frames(index, &series.labels, &series.samples, &mut out);
                budget.bytes((out.len() - before) as u64)?;
            }
        } else {
            let before = out.len();
            let series = found.iter().map(|s| (&s.labels, &s.samples));
            remote_read::put_result(series, &mut out);
            budget.bytes((out.len() - before) as u64)?;
        }
    }
    if request.streamed {
        return Ok(out);
    }
    budget.bytes(out.len() as u64)?;
    Ok(snappy::encode(&out))
}

fn select(
    query: &ReadQuery,
    snapshot: &Snapshot<Metrics>,
    external: &Labels,
    budget: &Budget,
) -> Result<Vec<SelectedSeries>, QueryError> {
    let matchers: Vec<Matcher> = query.matchers.iter().map(|m| own(m, external)).collect();
    let mut found = obs_tsdb::select(snapshot, &matchers, query.range, budget)?;
    if !external.is_empty() {
        for series in &mut found {
            let mut labels = series.labels.to_builder();
            for (name, value) in external {
                if series.labels.get(name).is_none() {
                    labels.set(name, value);
                }
            }
            series.labels = labels.build();
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    Ok(found)
}

/// A matcher as it is meant for the series here, which do not have the external labels.
fn own(matcher: &Matcher, external: &Labels) -> Matcher {
    let names_this =
        matcher.op == MatchOp::Equal && external.get(&matcher.name) == Some(matcher.value.as_str());
    if names_this {
        Matcher::equal(matcher.name.clone(), "")
    } else {
        matcher.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_on_external_labels_mean_this_server() {
        let external = Labels::from_pairs([("cluster", "a")]);
        let check = |name: &str, value: &str, expect: &str| {
            assert_eq!(own(&Matcher::equal(name, value), &external).value, expect);
        };
        check("cluster", "a", "");
        check("cluster", "b", "b");
        check("job", "a", "a");
    }
}
