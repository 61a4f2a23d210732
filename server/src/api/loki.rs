//! Loki's HTTP API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use obs_collector::{ErrorKind, HttpError};
use obs_logstore::{Logs, SelectError};
use obs_model::time::{NANOS_PER_MILLI, NANOS_PER_SECOND};
use obs_model::{Budget, Matcher, Tenant, TimeRange, Timestamp};
use obs_query::{Direction, Language, Request, When};
use obs_storage::Snapshot;
use obs_wire::loki::api::{self as write, LabelEncoding, Timing};
use serde_json::json;

use super::{Asker, Plain, Told, evaluate, json, timeout};
use crate::app::App;
use crate::app::query_error;
use crate::clock;
use crate::params::{Clock, Params};

/// The version whose API this is: clients decide by it what they may ask.
const LOKI_VERSION: &str = "3.8.0";
const HOUR: i64 = 3600 * NANOS_PER_SECOND;
/// Lines without a `limit`, as Loki.
const LINES_DEFAULT: usize = 100;
/// Points of a range query without a step, as Loki.
const POINTS_DEFAULT: i64 = 250;

type Result<T> = std::result::Result<T, Plain>;

/// Below `/loki/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/query", get(query).post(query))
        .route("/query_range", get(query_range).post(query_range))
        .route("/labels", get(labels).post(labels))
        .route("/label", get(labels).post(labels))
        .route("/label/{name}/values", get(label_values).post(label_values))
        .route("/series", get(series).post(series))
        .route("/status/buildinfo", get(build_info))
}

/// `start` (or `since`) to `end`; Loki's defaults reach back from now.
fn range(
    params: &Params,
    default_since: i64,
) -> std::result::Result<(Timestamp, Timestamp), HttpError> {
    let end = params
        .time("end", Clock::Nanoseconds)?
        .unwrap_or_else(clock::now);
    let since = params.duration("since")?.unwrap_or(default_since);
    let start = params
        .time("start", Clock::Nanoseconds)?
        .unwrap_or(end.saturating_sub(since));
    if end < start {
        return Err(HttpError::bad_data(
            "end timestamp must not be before or equal to start time",
        ));
    }
    Ok((start, end))
}

fn request(params: &Params, when: When) -> std::result::Result<Request, HttpError> {
    let mut request = Request::new(when);
    request.limit = params.positive("limit")?.unwrap_or(LINES_DEFAULT);
    request.direction = match params
        .get("direction")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None | Some("backward") => Direction::Backward,
        Some("forward") => Direction::Forward,
        Some(other) => {
            return Err(HttpError::bad_data(format!(
                "invalid parameter \"direction\": {other:?}, expected forward or backward"
            )));
        }
    };
    Ok(request)
}

async fn query(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let at = params
        .time("time", Clock::Nanoseconds)?
        .unwrap_or_else(clock::now);
    let request = request(&params, When::At(at))?;
    answer(&app, &tenant, &headers, &params, request).await
}

async fn query_range(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let (start, end) = range(&params, HOUR)?;
    let step = match params.duration("step")? {
        Some(0) => return Err(HttpError::bad_data("zero or negative query resolution step widths are not accepted. Try a positive integer").into()),
        Some(step) => step.max(NANOS_PER_MILLI),
        None => ((end - start) / POINTS_DEFAULT / NANOS_PER_SECOND).max(1) * NANOS_PER_SECOND,
    };
    let request = request(&params, When::Range { start, end, step })?;
    answer(&app, &tenant, &headers, &params, request).await
}

/// Loki tells everything that is wrong with a query, limits included, by 400; it has no 422.
fn as_loki(mut error: HttpError) -> HttpError {
    if error.kind == ErrorKind::Execution {
        error.kind = ErrorKind::BadData;
    }
    error
}

async fn answer(
    app: &App,
    tenant: &Tenant,
    headers: &HeaderMap,
    params: &Params,
    request: Request,
) -> Result<Response> {
    let started = clock::Stopwatch::start();
    let text = params.need("query")?;
    let reply = evaluate(
        app,
        tenant,
        Language::Logql,
        text,
        request,
        timeout(params)?,
    )
    .await
    .map_err(as_loki)?;
    let flags: Vec<&str> = headers
        .get_all(write::ENCODING_FLAGS_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let encoding = LabelEncoding::from_header(&flags.join(","));
    let timing = Timing {
        exec_seconds: started.elapsed_seconds(),
        ..Timing::default()
    };
    let mut body = Vec::new();
    write::query(&reply, encoding, timing, &mut body)
        .map_err(|e| HttpError::bad_data(e.to_string()))?;
    Ok(json(body))
}

/// Matchers of the optional `query` parameter.
fn matchers(app: &App, text: Option<&str>) -> std::result::Result<Vec<Matcher>, HttpError> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    obs_query::logql::parse_matchers(text, &app.rules.limits).map_err(|e| query_error(&e.into()))
}

async fn gather<T, F>(
    app: &App,
    tenant: &Tenant,
    params: &Params,
    selectors: Vec<Vec<Matcher>>,
    read: F,
) -> std::result::Result<Vec<T>, HttpError>
where
    T: Ord + Send + 'static,
    F: Fn(
            &Snapshot<Logs>,
            &[Matcher],
            TimeRange,
            &Budget,
        ) -> std::result::Result<Vec<T>, SelectError>
        + Send
        + 'static,
{
    let (start, end) = range(params, 6 * HOUR)?;
    let snapshot = app.stores()?.logs.snapshot(tenant);
    app.read_for(tenant, timeout(params)?, move |budget, _| {
        let mut found = Vec::new();
        for matchers in &selectors {
            let more = read(&snapshot, matchers, TimeRange::new(start, end), budget);
            found.extend(more?);
        }
        found.sort();
        found.dedup();
        Ok(found)
    })
    .await
}

async fn labels(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let matchers = matchers(&app, params.get("query"))?;
    let names = gather(
        &app,
        &tenant,
        &params,
        vec![matchers],
        obs_logstore::label_names,
    )
    .await?;
    let mut body = Vec::new();
    write::strings(&names, &mut body);
    Ok(json(body))
}

async fn label_values(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(name): Path<String>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let matchers = matchers(&app, params.get("query"))?;
    let read = move |s: &Snapshot<Logs>, m: &[Matcher], r, b: &Budget| {
        obs_logstore::label_values(s, &name, m, r, b)
    };
    let values = gather(&app, &tenant, &params, vec![matchers], read).await?;
    let mut body = Vec::new();
    write::strings(&values, &mut body);
    Ok(json(body))
}

async fn series(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let texts = params.all("match[]").chain(params.all("match"));
    let mut selectors: Vec<Vec<Matcher>> = texts
        .map(|text| matchers(&app, Some(text)))
        .collect::<std::result::Result<_, _>>()?;
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let found = gather(&app, &tenant, &params, selectors, obs_logstore::streams).await?;
    let mut body = Vec::new();
    write::series(&found, &mut body);
    Ok(json(body))
}

async fn build_info() -> Response {
    let body = json!({
        "version": LOKI_VERSION,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    json(body.to_string().into_bytes())
}
