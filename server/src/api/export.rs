//! `/api/v1/export` and `/api/v1/export/csv`: samples as VictoriaMetrics gives them.
//!
//! Invariant: the answer is bounded by the query's budget; native histograms, for which the forms
//! have no place, are refused and not left out. CSV has the labels that were asked for, and no lines
//! of stale markers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use obs_collector::HttpError;
use obs_model::{Budget, Labels, Matcher, Samples, TimeRange};
use obs_query::QueryError;
use obs_storage::Snapshot;
use obs_tsdb::Metrics;
use obs_wire::victoria;

use super::{Asker, evaluate_error};
use crate::app::App;
use crate::enforced::Visible;
use crate::params::{Clock, Params};

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/export", get(lines).post(lines))
        .route("/export/csv", get(csv).post(csv))
}

async fn lines(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, HttpError> {
    let body = export(&app, &tenant, &params, victoria::encode_line).await?;
    Ok(([(header::CONTENT_TYPE, "application/stream+json")], body).into_response())
}

async fn csv(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, HttpError> {
    let columns = victoria::columns(params.need("format")?)?;
    let write = move |labels: &Labels, samples: &Samples, out: &mut Vec<u8>| {
        victoria::encode_csv(labels, samples, &columns, out).histograms
    };
    let body = export(&app, &tenant, &params, write).await?;
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], body).into_response())
}

/// Writes what is selected; `write` gives the number of samples that it has no place for.
async fn export<W>(
    app: &App,
    tenant: &Visible,
    params: &Params,
    write: W,
) -> Result<Body, HttpError>
where
    W: Fn(&Labels, &Samples, &mut Vec<u8>) -> usize + Send + 'static,
{
    let limits = app.rules.limits;
    let selectors: Result<Vec<Vec<Matcher>>, HttpError> = params
        .all("match[]")
        .map(|text| {
            obs_query::promql::parse_selector(text, &limits)
                .map_err(|error| evaluate_error("match[]", error))
        })
        .collect();
    let selectors = selectors?;
    if selectors.is_empty() {
        return Err(HttpError::bad_data("no match[] parameter provided"));
    }
    let range = params.open_range(Clock::Seconds)?;
    let snapshot = app.stores()?.metrics_of(tenant);
    let work = move |budget: &Budget| written(&selectors, &snapshot, range, budget, &write);
    let body = app
        .read_for(tenant, None, move |budget, _| work(budget))
        .await?;
    Ok(Body::from(body))
}

fn written(
    selectors: &[Vec<Matcher>],
    snapshot: &Snapshot<Metrics>,
    range: TimeRange,
    budget: &Budget,
    write: &dyn Fn(&Labels, &Samples, &mut Vec<u8>) -> usize,
) -> Result<Vec<u8>, QueryError> {
    let (mut out, mut left_out) = (Vec::new(), 0);
    let mut seen = std::collections::HashSet::new();
    for matchers in selectors {
        for series in obs_tsdb::select(snapshot, matchers, range, budget)? {
            if selectors.len() > 1 && !seen.insert(series.labels.clone()) {
                continue;
            }
            let before = out.len();
            left_out += write(&series.labels, &series.samples, &mut out);
            budget.bytes((out.len() - before) as u64)?;
        }
    }
    if left_out > 0 {
        return Err(QueryError::Execution(format!(
            "{left_out} native histograms have no place in this form; exclude their series"
        )));
    }
    Ok(out)
}
