//! `/status/…` and `/notifications`: what the server is and how it does.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use obs_collector::HttpError;
use obs_model::family::{Family, Point};
use obs_model::metrics::MetricKind;
use obs_model::{Pattern, TimeRange};
use obs_query::QueryError;
use obs_storage::{Kind, Snapshot};
use obs_tsdb::Metrics;
use serde_json::{Value, json};

use super::{PROMETHEUS_VERSION, Result, labels_json, provided, success};
use crate::api::{Asker, timeout};
use crate::app::App;
use crate::params::{Params, invalid};
use crate::{clock, metrics, process};

/// As Prometheus: entries of a list of `/status/tsdb`.
const CARDINALITY_LIMIT_DEFAULT: usize = 10;
/// As Prometheus: most entries of a list of `/status/tsdb`.
const CARDINALITY_LIMIT_MAX: usize = 10_000;
/// Milliseconds after which a client should ask for notifications again.
const NOTIFICATIONS_RETRY_MS: u32 = 15_000;

/// `/status/config`
pub(super) async fn config(State(app): State<Arc<App>>) -> Response {
    success(&json!({"yaml": app.reload.config(&app.about)}))
}

/// `/status/flags`
pub(super) async fn flags(State(app): State<Arc<App>>) -> Response {
    success(&json!(app.about.flags))
}

/// `/status/runtimeinfo`
pub(super) async fn runtime(State(app): State<Arc<App>>) -> Response {
    let corrupt = app.stores.get().map_or(0, |stores| {
        let logs = stores.logs.quarantined().len();
        let spans = stores.spans.quarantined().len();
        stores.metrics.quarantined().len() + logs + spans
    });
    let started = app.started.to_string();
    success(&json!({
        "startTime": started,
        "CWD": app.about.folder,
        "hostname": app.about.host,
        "serverTime": clock::now().to_string(),
        "reloadConfigSuccess": app.reload.succeeded(),
        "lastConfigTime": app.reload.since().unwrap_or(app.started).to_string(),
        "corruptionCount": corrupt,
        "goroutineCount": process::threads(),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": i64::MAX,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": app.about.retention,
    }))
}

/// `/status/buildinfo`. Without `features`, by which Grafana knows Mimir.
pub(super) async fn build() -> Response {
    success(&build_info())
}

/// What this is, with Prometheus' keys.
pub(in crate::api) fn build_info() -> Value {
    json!({
        "version": PROMETHEUS_VERSION,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "obs",
    })
}

/// `/status/tsdb`
pub(super) async fn cardinality(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let limit = match params.get("limit").map(str::parse::<usize>) {
        None => CARDINALITY_LIMIT_DEFAULT,
        Some(Ok(limit)) if limit > CARDINALITY_LIMIT_MAX => {
            let message = format!("limit must not exceed {CARDINALITY_LIMIT_MAX}");
            return Err(HttpError::bad_data(message));
        }
        Some(Ok(limit)) if limit > 0 => limit,
        Some(_) => return Err(HttpError::bad_data("limit must be a positive number")),
    };
    let snapshot = app.stores()?.metrics_of(&tenant);
    let held = held_range(&snapshot);
    let pieces = snapshot.parts.len() + snapshot.memories.len();
    let read = app.read_for(&tenant, timeout(&params)?, move |budget, _| {
        let stats = obs_tsdb::cardinality(&snapshot, TimeRange::ALL, limit, budget);
        stats.map_err(QueryError::from)
    });
    let stats = read.await?;
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
            "chunkCount": pieces,
            "minTime": held.start.millis(),
            "maxTime": held.end.millis(),
        },
        "seriesCountByMetricName": pairs(&stats.series_by_metric),
        "labelValueCountByLabelName": pairs(&stats.values_by_label),
        "memoryInBytesByLabelName": pairs(&stats.bytes_by_label),
        "seriesCountByLabelValuePair": pairs(&stats.series_by_pair),
    })))
}

/// From the first to the last sample; where there is none, as Prometheus the wrong way round.
fn held_range(snapshot: &Snapshot<Metrics>) -> TimeRange {
    let parts = snapshot.parts.iter().map(|open| open.reader.range());
    let memories = snapshot.memories.iter();
    let memories = memories.filter_map(|memory| Metrics::range(memory));
    let all = parts.chain(memories).reduce(TimeRange::union);
    all.unwrap_or(TimeRange::new(TimeRange::ALL.end, TimeRange::ALL.start))
}

/// `/status/tsdb/blocks`: parts are what is closest to Prometheus' blocks.
pub(super) async fn blocks(State(app): State<Arc<App>>, Asker(tenant): Asker) -> Result<Response> {
    tenant.must_be_whole("the list of blocks")?;
    let snapshot = app.stores()?.metrics_of(&tenant);
    let blocks = snapshot.parts.iter().map(|open| {
        let (reader, range) = (&open.reader, open.reader.range());
        json!({
            "ulid": reader.name(),
            "minTime": range.start.millis(),
            "maxTime": range.end.millis().saturating_add(1), // not included, there
            "stats": {"numSamples": reader.rows(), "numBytes": reader.bytes()},
            "compaction": {"level": 1, "sources": [reader.name()]},
            "version": 1,
        })
    });
    let blocks: Vec<Value> = blocks.collect();
    Ok(success(&json!({"blocks": blocks})))
}

/// `/status/walreplay`: in bytes of the journal that is replayed now.
pub(super) async fn replay(State(app): State<Arc<App>>) -> Response {
    let last = app.opening.last().map(|(_, progress)| progress);
    let done = app.stores.get().is_some();
    let state = match (done, last) {
        (true, _) => "done",
        (false, Some(_)) => "in progress",
        (false, None) => "waiting",
    };
    success(&json!({
        "min": 0,
        "max": last.map_or(0, |progress| progress.journal_bytes_total),
        "current": last.map_or(0, |progress| progress.journal_bytes),
        "state": state,
    }))
}

/// `/status/self_metrics`: obs' own metrics as the protobuf format's JSON.
pub(super) async fn self_metrics(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    let pattern = provided(&params, "metric_name_pattern").ok();
    let pattern = pattern.map(Pattern::anchored).transpose();
    let pattern = pattern.map_err(|e| invalid("metric_name_pattern", e))?;
    let wanted = |name: &str| {
        let pattern = pattern.as_ref();
        pattern.is_none_or(|pattern| pattern.is_match(name.as_bytes()))
    };
    let families = metrics::families(&app);
    let found: Vec<Value> = families
        .iter()
        .filter(|family| wanted(&family.name))
        .map(family_json)
        .collect();
    Ok(success(&json!(found)))
}

fn family_json(family: &Family) -> Value {
    let (kind, field) = match family.kind {
        MetricKind::Counter => ("COUNTER", "counter"),
        MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet => ("GAUGE", "gauge"),
        MetricKind::Unknown
        | MetricKind::Histogram
        | MetricKind::GaugeHistogram
        | MetricKind::Summary => ("UNTYPED", "untyped"),
    };
    let metric = |point: &Point| {
        let labels = labels_json(&point.labels);
        let labels = labels.as_object().into_iter().flatten();
        let labels: Vec<Value> = labels
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        // JSON has no words for what is not finite: the protobuf format's JSON makes texts of it.
        let value = match point.value {
            value if value.is_finite() => json!(value),
            value if value.is_nan() => json!("NaN"),
            value if value > 0.0 => json!("Infinity"),
            _ => json!("-Infinity"),
        };
        json!({"label": labels, field: {"value": value}})
    };
    let metrics: Vec<Value> = family.points.iter().map(metric).collect();
    json!({"name": family.name, "help": family.help, "type": kind, "metric": metrics})
}

/// What a user should know of the server now.
fn notes(app: &App) -> Vec<Value> {
    let starting = app.stores.get().is_none();
    let note = starting.then(|| {
        json!({
            "text": app.opening.tell(),
            "date": app.started.to_string(),
            "active": true,
        })
    });
    note.into_iter().collect()
}

/// `/notifications`
pub(super) async fn notifications(State(app): State<Arc<App>>) -> Response {
    success(&json!(notes(&app)))
}

/// `/notifications/live`: server-sent events. The stream ends with what is to be said now, and
/// tells the client when to come back, so that nobody's connection holds up a stop.
pub(super) async fn live_notifications(State(app): State<Arc<App>>) -> Response {
    let mut text = format!("retry: {NOTIFICATIONS_RETRY_MS}\n\n");
    for note in notes(&app) {
        text.push_str(&format!("data: {note}\n\n"));
    }
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
