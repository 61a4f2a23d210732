//! `/api/v1/correlate`: from an exemplar, a trace, a log record or the labels of a sender to the
//! other signals, as queries that are ready to be asked.
//!
//! Invariant: only the trace, exemplars and the index of logs are read; the queries are not run.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use obs_collector::HttpError;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Matcher, SpanBatch, TimeRange, Timestamp, TraceId};
use obs_query::correlate::{Prepared, Sender, everywhere, trace_ids};
use obs_query::{Language, QueryError};
use serde_json::{Value, json};

use super::prometheus::exemplars_of;
use super::{Asker, json, timeout};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::{Clock, Params, invalid};

/// So much before and after a moment is looked at.
const AROUND: i64 = 300 * NANOS_PER_SECOND;
/// Without times, the last hour is looked at.
const RECENT: i64 = 3600 * NANOS_PER_SECOND;
/// Senders of one trace that are told.
const SENDERS_MAX: usize = 50;
/// Exemplars of one answer.
const EXEMPLARS_MAX: usize = 100;
/// Points of the queries of metrics.
const POINTS: i64 = 120;

type Result<T> = std::result::Result<T, HttpError>;

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/correlate/trace/{id}", get(trace))
        .route("/correlate/exemplars", get(exemplars).post(exemplars))
        .route("/correlate/log", get(log).post(log))
        .route("/correlate/resource", get(resource).post(resource))
}

fn id(text: &str) -> Result<TraceId> {
    TraceId::from_hex(text).ok_or_else(|| {
        HttpError::bad_data(format!(
            "invalid trace id {text:?}, expected 1 to 32 hexadecimal digits"
        ))
    })
}

async fn read(
    app: &App,
    tenant: &Visible,
    params: &Params,
    id: TraceId,
) -> Result<Option<SpanBatch>> {
    let snapshot = app.stores()?.spans_of(tenant);
    app.read_for(tenant, timeout(params)?, move |budget, _| {
        obs_query::traces::trace(&snapshot, id, budget)
    })
    .await
}

/// `/correlate/trace/{id}`: logs by its id and by its resources, metrics of its pods and nodes.
async fn trace(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(text): Path<String>,
    params: Params,
) -> Result<Response> {
    let id = id(&text)?;
    let found = read(&app, &tenant, &params, id).await?;
    let batch = found.ok_or_else(|| HttpError::not_found("trace not found"))?;
    let spans = || batch.iter().map(|(_, _, span)| span);
    let start = spans().map(|s| s.start).min().unwrap_or_default();
    let end = spans().map(|s| s.end.max(s.start)).max().unwrap_or(start);
    let around = TimeRange::new(start.saturating_sub(AROUND), end.saturating_add(AROUND));
    let mut senders: Vec<(Sender, usize)> = Vec::new();
    for group in &batch.resources {
        let sender = Sender::of_attributes(&group.resource.attributes);
        let spans: usize = group.scopes.iter().map(|s| s.spans.len()).sum();
        match senders.iter().position(|(known, _)| *known == sender) {
            Some(place) => senders[place].1 += spans,
            None if senders.len() < SENDERS_MAX => senders.push((sender, spans)),
            None => {}
        }
    }
    let mut told = Vec::new();
    for (sender, spans) in senders {
        let mut one = signals(&app, &tenant, &params, (&sender, Some(id)), around).await?;
        one["spans"] = spans.into();
        told.push(one);
    }
    let mut data = shown_trace(id, true);
    let mut logs = Vec::new();
    for one in everywhere(id) {
        logs.push(prepared(&one, around));
    }
    data["logs"] = logs.into();
    data["start"] = start.to_string().into();
    data["end"] = end.to_string().into();
    data["senders"] = told.into();
    Ok(answer(&data))
}

fn shown_trace(id: TraceId, stored: bool) -> Value {
    json!({
        "traceId": id.to_string(),
        "stored": stored,
        "href": format!("/tempo/api/traces/{id}"),
        "correlate": format!("/api/v1/correlate/trace/{id}"),
    })
}

/// What is to be asked about a sender.
async fn signals(
    app: &App,
    tenant: &Visible,
    params: &Params,
    (sender, trace): (&Sender, Option<TraceId>),
    range: TimeRange,
) -> Result<Value> {
    let mut logs = Vec::new();
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    for one in sender.logs(trace) {
        let selector = one.selector.clone().unwrap_or_default();
        let stored = match known.get(&selector) {
            Some(stored) => *stored,
            None => {
                let stored = has_streams(app, tenant, params, (&selector, range)).await?;
                known.insert(selector, stored);
                stored
            }
        };
        let mut told = prepared(&one, range);
        told["stored"] = stored.into();
        logs.push((stored, told));
    }
    // What finds something comes first; else in the order of likeliness.
    logs.sort_by_key(|(stored, _)| !stored);
    let shown =
        |all: Vec<Prepared>| -> Vec<Value> { all.iter().map(|one| prepared(one, range)).collect() };
    let attributes: serde_json::Map<String, Value> = sender
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    Ok(json!({
        "resource": attributes,
        "logs": logs.into_iter().map(|(_, told)| told).collect::<Vec<_>>(),
        "metrics": shown(sender.metrics()),
        "traces": shown(sender.traces()),
    }))
}

/// Whether the index of logs has something in the range that a selector takes.
async fn has_streams(
    app: &App,
    tenant: &Visible,
    params: &Params,
    (selector, range): (&str, TimeRange),
) -> Result<bool> {
    let limits = &app.rules.limits;
    let matchers: Vec<Matcher> = obs_query::logql::parse_matchers(selector, limits)
        .map_err(|e| crate::app::query_error(&e.into()))?;
    let snapshot = app.stores()?.logs_of(tenant);
    app.read_for(tenant, timeout(params)?, move |budget, _| {
        let stats = obs_logstore::stats(&snapshot, &matchers, range, budget);
        Ok(stats.map_err(QueryError::from)?.streams > 0)
    })
    .await
}

fn prepared(one: &Prepared, range: TimeRange) -> Value {
    let nanos = |time: Timestamp| time.nanos().to_string();
    let seconds = |time: Timestamp| time.millis().div_euclid(1000);
    let query = escaped(&one.query);
    let (lang, href) = match one.language {
        Language::Logql => {
            let (start, end) = (nanos(range.start), nanos(range.end));
            let path = "/loki/api/v1/query_range";
            (
                "logql",
                format!("{path}?query={query}&start={start}&end={end}"),
            )
        }
        Language::Promql => {
            let (start, end) = (seconds(range.start), seconds(range.end));
            let step = ((end - start) / POINTS).max(15);
            let path = "/api/v1/query_range";
            (
                "promql",
                format!("{path}?query={query}&start={start}&end={end}&step={step}"),
            )
        }
        Language::Traceql => {
            let (start, end) = (seconds(range.start), seconds(range.end) + 1);
            (
                "traceql",
                format!("/tempo/api/search?q={query}&start={start}&end={end}"),
            )
        }
    };
    json!({
        "title": one.title,
        "lang": lang,
        "query": one.query,
        "start": range.start.to_string(),
        "end": range.end.to_string(),
        "href": href,
    })
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn answer(data: &Value) -> Response {
    let body = json!({"status": "success", "data": data});
    json(body.to_string().into_bytes())
}

/// Labels as a JSON object of texts.
fn labels(params: &Params) -> Result<BTreeMap<String, String>> {
    let Some(text) = params.get("labels") else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(text).map_err(|error| {
        invalid(
            "labels",
            format!("expected a JSON object of texts: {error}"),
        )
    })
}

/// Around `time`, or from `start` to `end`, or the last hour.
fn range(params: &Params) -> Result<TimeRange> {
    if let Some(time) = params.time("time", Clock::Seconds)? {
        return Ok(TimeRange::new(
            time.saturating_sub(AROUND),
            time.saturating_add(AROUND),
        ));
    }
    let end = params
        .time("end", Clock::Seconds)?
        .unwrap_or_else(clock::now);
    let start = params.time("start", Clock::Seconds)?;
    let start = start.unwrap_or(end.saturating_sub(RECENT));
    if end < start {
        return Err(HttpError::bad_data("invalid start: must be before end"));
    }
    Ok(TimeRange::new(start, end))
}

/// `/correlate/log?line=…&labels={…}`: the traces that a log record names, and its sender.
async fn log(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let labels = labels(&params)?;
    let pairs = || labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let ids = trace_ids(pairs(), params.get("line").unwrap_or_default());
    let mut traces = Vec::new();
    for id in ids {
        let stored = read(&app, &tenant, &params, id).await?.is_some();
        traces.push(shown_trace(id, stored));
    }
    let sender = Sender::of_labels(pairs());
    let around = range(&params)?;
    let mut data = signals(&app, &tenant, &params, (&sender, None), around).await?;
    let of_sender = std::mem::replace(&mut data["traces"], traces.into());
    data["senderTraces"] = of_sender;
    Ok(answer(&data))
}

/// `/correlate/resource?labels={…}`: all signals of a sender.
async fn resource(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let labels = labels(&params)?;
    let sender = Sender::of_labels(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    if sender.is_empty() {
        let why = "expected labels that name a service, pod, node or the like";
        return Err(invalid("labels", why));
    }
    let around = range(&params)?;
    let data = signals(&app, &tenant, &params, (&sender, None), around).await?;
    Ok(answer(&data))
}

/// `/correlate/exemplars?query=…`: the traces that are examples of what a query selects, the
/// slowest first.
async fn exemplars(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let text = params.need("query")?.to_owned();
    let range = range(&params)?;
    let found = exemplars_of(&app, &tenant, &params, (&text, range)).await?;
    let mut all = Vec::new();
    for (labels, exemplars) in &found {
        for one in exemplars {
            if let Some(id) = trace_ids(one.labels.iter(), "").first() {
                all.push((labels, one, *id));
            }
        }
    }
    all.sort_by(|a, b| {
        b.1.value
            .total_cmp(&a.1.value)
            .then(b.1.time.cmp(&a.1.time))
    });
    // Several buckets of one histogram tell the same trace.
    let mut seen = std::collections::HashSet::new();
    all.retain(|(_, _, id)| seen.insert(*id));
    all.truncate(EXEMPLARS_MAX);
    let mut told = Vec::new();
    for (labels, one, id) in all {
        let mut data = shown_trace(id, read(&app, &tenant, &params, id).await?.is_some());
        data["value"] = one.value.into();
        data["time"] = one.time.to_string().into();
        let labels = labels.iter().map(|(n, v)| (n.to_owned(), v.into()));
        data["labels"] = Value::Object(labels.collect());
        told.push(data);
    }
    Ok(answer(&json!({ "exemplars": told })))
}

#[cfg(test)]
mod tests;
