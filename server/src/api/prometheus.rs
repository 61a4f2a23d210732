//! Prometheus' HTTP API v1.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use obs_collector::HttpError;
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Budget, Matcher, TimeRange, Timestamp};
use obs_query::{Language, Request, When};
use obs_storage::Snapshot;
use obs_tsdb::{Metrics, SelectError};
use obs_wire::prometheus::api as write;
use serde_json::json;

use super::{Asker, evaluate, json, query_error, timeout};
use crate::app::App;
use crate::clock;
use crate::params::{Clock, Params};

type Result<T> = std::result::Result<T, HttpError>;

/// The version whose API this is: clients decide by it what they may ask.
const PROMETHEUS_VERSION: &str = "3.14.0";

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/query", get(query).post(query))
        .route("/query_range", get(query_range).post(query_range))
        .route("/labels", get(labels).post(labels))
        .route("/label/{name}/values", get(label_values))
        .route("/series", get(series).post(series))
        .route("/metadata", get(metadata))
        .route("/targets", get(targets))
        .route("/status/buildinfo", get(build_info))
        .route("/status/tsdb", get(cardinality))
}

async fn query(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let at = params
        .time("time", Clock::Seconds)?
        .unwrap_or_else(clock::now);
    answer(&app, &tenant, When::At(at), &params).await
}

async fn query_range(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let need = |name| {
        params
            .need(name)
            .and_then(|_| params.time(name, Clock::Seconds))
            .map(Option::unwrap_or_default)
    };
    let (start, end) = (need("start")?, need("end")?);
    params.need("step")?;
    let step = params.duration("step")?.unwrap_or_default();
    let step = step / NANOS_PER_MILLI * NANOS_PER_MILLI;
    if end < start {
        return Err(HttpError::bad_data(
            "invalid parameter \"end\": end timestamp must not be before start time",
        ));
    }
    if step <= 0 {
        return Err(HttpError::bad_data(
            "invalid parameter \"step\": zero or negative query resolution step widths are not \
             accepted. Try a positive integer",
        ));
    }
    let max = app.rules.limits.query_steps_max;
    if (end - start) / step >= i64::try_from(max).unwrap_or(i64::MAX) {
        return Err(HttpError::bad_data(format!(
            "exceeded maximum resolution of {max} points per timeseries. Try decreasing the query \
             resolution (?step=XX)"
        )));
    }
    answer(&app, &tenant, When::Range { start, end, step }, &params).await
}

async fn answer(
    app: &App,
    tenant: &obs_model::Tenant,
    when: When,
    params: &Params,
) -> Result<Response> {
    let mut request = Request::new(when);
    if let Some(lookback) = params.duration("lookback_delta")? {
        request.lookback = lookback;
    }
    request.limit = params
        .count("limit")?
        .filter(|n| *n > 0)
        .unwrap_or(usize::MAX);
    let text = params.need("query")?;
    let reply = evaluate(
        app,
        tenant,
        Language::Promql,
        text,
        request,
        timeout(params)?,
    )
    .await?;
    let mut body = Vec::new();
    write::reply(&reply, &mut body);
    Ok(json(body))
}

/// Series selectors from `match[]`.
fn selectors(params: &Params, app: &App) -> Result<Vec<Vec<Matcher>>> {
    params
        .all("match[]")
        .map(|text| {
            obs_query::promql::selector(text, &app.rules.limits).map_err(|error| {
                let mut error = query_error(&error.into());
                error.message = format!("invalid parameter \"match[]\": {}", error.message);
                error
            })
        })
        .collect()
}

/// Reads something of each selector (of everything where there is none), sorted and once.
async fn gather<T, F>(
    app: &App,
    tenant: &obs_model::Tenant,
    params: &Params,
    read: F,
) -> Result<(Vec<T>, bool)>
where
    T: Ord + Send + 'static,
    F: Fn(
            &Snapshot<Metrics>,
            &[Matcher],
            TimeRange,
            &Budget,
        ) -> std::result::Result<Vec<T>, SelectError>
        + Send
        + 'static,
{
    let mut selectors = selectors(params, app)?;
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let range = params.open_range(Clock::Seconds)?;
    let limit = params
        .count("limit")?
        .filter(|n| *n > 0)
        .unwrap_or(usize::MAX);
    let snapshot = app.stores()?.metrics.snapshot(tenant);
    app.reader
        .run(timeout(params)?, move |budget, _| {
            let mut found = Vec::new();
            for matchers in &selectors {
                let more = read(&snapshot, matchers, range, budget);
                found.extend(more.map_err(|e| query_error(&e.into()))?);
            }
            found.sort();
            found.dedup();
            let cut = found.len() > limit;
            found.truncate(limit);
            Ok((found, cut))
        })
        .await
}

fn list(body: Vec<u8>) -> Result<Response> {
    Ok(json(body))
}

async fn labels(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let (names, cut) = gather(&app, &tenant, &params, obs_tsdb::label_names).await?;
    let mut body = Vec::new();
    write::strings(&names, cut, &mut body);
    list(body)
}

async fn label_values(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response> {
    let name = write::unescape_name(&name);
    if name.is_empty() {
        return Err(HttpError::bad_data("invalid label name: it is empty"));
    }
    let read = move |s: &Snapshot<Metrics>, m: &[Matcher], r, b: &Budget| {
        obs_tsdb::label_values(s, &name, m, r, b)
    };
    let (values, cut) = gather(&app, &tenant, &params, read).await?;
    let mut body = Vec::new();
    write::strings(&values, cut, &mut body);
    list(body)
}

async fn series(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    if params.all("match[]").next().is_none() {
        return Err(HttpError::bad_data("no match[] parameter provided"));
    }
    let (found, cut) = gather(&app, &tenant, &params, obs_tsdb::series).await?;
    let mut body = Vec::new();
    write::series(&found, cut, &mut body);
    list(body)
}

async fn metadata(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let metric = params.get("metric").map(str::to_owned);
    let limit = params
        .count("limit")?
        .filter(|n| *n > 0)
        .unwrap_or(usize::MAX);
    let snapshot = app.stores()?.metrics.snapshot(&tenant);
    let mut found = app
        .reader
        .run(None, move |_, _| {
            obs_tsdb::metadata(&snapshot).map_err(|e| query_error(&e.into()))
        })
        .await?;
    found.retain(|m| metric.as_deref().is_none_or(|name| name == m.family));
    found.truncate(limit);
    let mut body = Vec::new();
    write::metadata(&found, &mut body);
    list(body)
}

async fn targets(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    let state = params.get("state").unwrap_or("any");
    if !["any", "active", "dropped"].contains(&state) {
        return Err(HttpError::bad_data(format!(
            "invalid parameter \"state\": {state:?}, expected any, active or dropped"
        )));
    }
    let pool = params.get("scrapePool");
    let data = app.targets.to_json(state, pool);
    Ok(json(
        json!({"status": "success", "data": data})
            .to_string()
            .into_bytes(),
    ))
}

async fn build_info() -> Response {
    let data = json!({
        "version": PROMETHEUS_VERSION,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "obs",
    });
    json(
        json!({"status": "success", "data": data})
            .to_string()
            .into_bytes(),
    )
}

async fn cardinality(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let limit = params.count("limit")?.unwrap_or(10).clamp(1, 10_000);
    let snapshot = app.stores()?.metrics.snapshot(&tenant);
    let stats = app
        .reader
        .run(None, move |budget, _| {
            obs_tsdb::cardinality(&snapshot, limit, budget).map_err(|e| query_error(&e.into()))
        })
        .await?;
    let pairs = |list: &[(String, u64)]| -> Vec<serde_json::Value> {
        list.iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    let millis = |time: Option<Timestamp>| time.map_or(0, Timestamp::millis);
    let data = json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": stats.label_pairs,
            "chunkCount": stats.chunks,
            "minTime": millis(stats.range.map(|r| r.start)),
            "maxTime": millis(stats.range.map(|r| r.end)),
        },
        "seriesCountByMetricName": pairs(&stats.series_by_metric),
        "labelValueCountByLabelName": pairs(&stats.values_by_label),
        "memoryInBytesByLabelName": pairs(&stats.bytes_by_label),
        "seriesCountByLabelValuePair": pairs(&stats.series_by_pair),
    });
    Ok(json(
        json!({"status": "success", "data": data})
            .to_string()
            .into_bytes(),
    ))
}
