//! Prometheus' HTTP API v1.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use obs_collector::HttpError;
use obs_collector::scrape::{TargetStatus, TargetsSnapshot};
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Annotations, Answer, Budget, Labels, Matcher, TimeRange, duration};
use obs_query::{Language, QueryError, Request, When};
use obs_storage::Snapshot;
use obs_tsdb::{Metrics, SelectError};
use obs_wire::prometheus::api as write;
use serde_json::{Value, json};

use super::{Asker, evaluate, json, timeout};
use crate::app::App;
use crate::app::query_error;
use crate::clock;
use crate::params::{Clock, Params};

type Result<T> = std::result::Result<T, HttpError>;

/// The version whose API this is: clients decide by it what they may ask.
const PROMETHEUS_VERSION: &str = "3.14.0";
/// As Prometheus warns about an answer that the parameter `limit` cut.
const CUT: &str = "results truncated due to limit";

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
    if (end - start) / step > i64::try_from(max).unwrap_or(i64::MAX) {
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
    request.cached = params.get("nocache") != Some("1");
    let limit = request.limit;
    let mut reply = evaluate(
        app,
        tenant,
        Language::Promql,
        text,
        request,
        timeout(params)?,
    )
    .await?;
    if cut(&mut reply.answer, limit) {
        reply.annotations.warn(CUT);
    }
    let mut body = Vec::new();
    write::query(&reply, &mut body).map_err(|e| HttpError::bad_data(e.to_string()))?;
    Ok(json(body))
}

/// Keeps the first series up to a limit; says whether there were more.
fn cut(answer: &mut Answer, limit: usize) -> bool {
    fn shorten<T>(series: &mut Vec<T>, limit: usize) -> bool {
        let more = series.len() > limit;
        series.truncate(limit);
        more
    }
    match answer {
        Answer::Vector(series) => shorten(series, limit),
        Answer::Matrix(series) => shorten(series, limit),
        Answer::Scalar(..) | Answer::String(..) | Answer::Streams(_) | Answer::Traces(_) => false,
    }
}

/// Series selectors from `match[]`.
fn selectors(params: &Params, app: &App) -> Result<Vec<Vec<Matcher>>> {
    params
        .all("match[]")
        .map(|text| {
            obs_query::promql::parse_selector(text, &app.rules.limits).map_err(|error| {
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
    app.read_for(tenant, timeout(params)?, move |budget, _| {
        let mut found = Vec::new();
        for matchers in &selectors {
            let more = read(&snapshot, matchers, range, budget);
            found.extend(more?);
        }
        found.sort();
        found.dedup();
        let cut = found.len() > limit;
        found.truncate(limit);
        Ok((found, cut))
    })
    .await
}

/// The note of a list that was cut.
fn cut_note(cut: bool) -> Annotations {
    let mut notes = Annotations::default();
    if cut {
        notes.warn(CUT);
    }
    notes
}

async fn labels(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let (names, cut) = gather(&app, &tenant, &params, obs_tsdb::label_names).await?;
    let mut body = Vec::new();
    write::strings(&names, &cut_note(cut), &mut body);
    Ok(json(body))
}

async fn label_values(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response> {
    let name = unescape(&name);
    if name.is_empty() {
        return Err(HttpError::bad_data("invalid label name: it is empty"));
    }
    let read = move |s: &Snapshot<Metrics>, m: &[Matcher], r, b: &Budget| {
        obs_tsdb::label_values(s, &name, m, r, b)
    };
    let (values, cut) = gather(&app, &tenant, &params, read).await?;
    let mut body = Vec::new();
    write::strings(&values, &cut_note(cut), &mut body);
    Ok(json(body))
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
    write::series(&found, &cut_note(cut), &mut body);
    Ok(json(body))
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
        .read(None, move |_, _| {
            obs_tsdb::metadata(&snapshot).map_err(|e| QueryError::Corrupt(e.to_string()))
        })
        .await?;
    found.retain(|m| metric.as_deref().is_none_or(|name| name == m.family));
    found.truncate(limit);
    let mut body = Vec::new();
    write::metadata(&found, &Annotations::default(), &mut body);
    Ok(json(body))
}

async fn targets(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    let state = params.get("state").unwrap_or("any");
    if !["any", "active", "dropped"].contains(&state) {
        return Err(HttpError::bad_data(format!(
            "invalid parameter \"state\": {state:?}, expected any, active or dropped"
        )));
    }
    let pool = params.get("scrapePool");
    let data = targets_json(&app.scraper.targets().snapshot(), state, pool);
    Ok(success(&data))
}

fn success(data: &Value) -> Response {
    json(
        json!({"status": "success", "data": data})
            .to_string()
            .into_bytes(),
    )
}

fn targets_json(snapshot: &TargetsSnapshot, state: &str, pool: Option<&str>) -> Value {
    let in_pool = |name: &str| pool.is_none_or(|wanted| wanted == name);
    let active: Vec<Value> = snapshot
        .active
        .iter()
        .filter(|status| state != "dropped" && in_pool(&status.pool))
        .map(target_json)
        .collect();
    let dropped: Vec<Value> = snapshot
        .dropped
        .iter()
        .filter(|(name, _)| state != "active" && in_pool(name))
        .map(|(name, labels)| json!({"discoveredLabels": map(labels), "scrapePool": name}))
        .collect();
    json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": snapshot.dropped_counts,
    })
}

fn target_json(status: &TargetStatus) -> Value {
    let nanos = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    // Prometheus' word for "never" is the zero time of its language.
    let never = || "0001-01-01T00:00:00Z".to_owned();
    let last = status
        .last_scrape
        .map_or_else(never, |time| time.to_string());
    json!({
        "discoveredLabels": map(&status.target.discovered),
        "labels": map(&status.target.labels),
        "scrapePool": status.pool,
        "scrapeUrl": status.target.url,
        "globalUrl": status.target.url,
        "lastError": status.last_error,
        "lastScrape": last,
        "lastScrapeDuration": status.last_seconds,
        "health": status.health.as_str(),
        "scrapeInterval": duration::format(nanos(status.target.interval)),
        "scrapeTimeout": duration::format(nanos(status.target.timeout)),
    })
}

fn map(labels: &Labels) -> Value {
    labels
        .iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
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
        .read(None, move |budget, _| {
            obs_tsdb::cardinality(&snapshot, TimeRange::ALL, limit, budget)
                .map_err(QueryError::from)
        })
        .await?;
    let pairs = |list: &[(String, u64)]| -> Vec<Value> {
        list.iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    Ok(success(&json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": stats.pairs,
            "numSamples": stats.samples,
        },
        "seriesCountByMetricName": pairs(&stats.series_by_metric),
        "labelValueCountByLabelName": pairs(&stats.values_by_label),
        "memoryInBytesByLabelName": pairs(&stats.bytes_by_label),
        "seriesCountByLabelValuePair": pairs(&stats.series_by_pair),
    })))
}

/// A label name as paths carry it: `U__` marks one whose characters outside the old alphabet are
/// written as `_HEX_` and whose `_` is doubled. Anything else stands for itself.
fn unescape(text: &str) -> String {
    let Some(escaped) = text.strip_prefix("U__") else {
        return text.to_owned();
    };
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, tail)) = rest.split_once('_') {
        name.push_str(before);
        if let Some(after) = tail.strip_prefix('_') {
            name.push('_');
            rest = after;
            continue;
        }
        let character = tail.split_once('_').and_then(|(hex, after)| {
            let code = u32::from_str_radix(hex, 16).ok()?;
            Some((char::from_u32(code)?, after))
        });
        // Not an escape: then the whole text is a name of its own.
        let Some((character, after)) = character else {
            return text.to_owned();
        };
        name.push(character);
        rest = after;
    }
    name.push_str(rest);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names() {
        for (text, expect) in [
            ("job", "job"),
            ("U__service_2e_name", "service.name"),
            ("U__a__b", "a_b"),
            ("U__a_zz_b", "U__a_zz_b"),
            ("U__", ""),
        ] {
            assert_eq!(unescape(text), expect);
        }
    }

    #[test]
    fn targets_that_were_never_scraped() {
        let json = targets_json(&TargetsSnapshot::default(), "any", None);
        assert_eq!(json["activeTargets"], json!([]));
        assert_eq!(json["droppedTargetCounts"], json!({}));
        assert_eq!(map(&Labels::from_pairs([("a", "b")])), json!({"a": "b"}));
    }
}
