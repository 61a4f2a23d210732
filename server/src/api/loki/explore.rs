//! `patterns`, `detected_labels`, `detected_fields` and the values of a field: what the logs views
//! of Grafana offer to choose from.
//!
//! Invariant: fields are found in a sample of the newest `line_limit` lines, so their cost does not
//! grow with what is stored.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use obs_model::{Budget, Labels, Matcher, TimeRange};
use obs_query::Direction;
use obs_query::logs::LogPlan;
use obs_query::logs::detected;
use obs_query::logs::patterns::{FoundPattern, PATTERNS_MAX, patterns as mine};
use obs_query::logs::tenants::TenantLogs;
use obs_wire::loki::explore as write;

use super::query::page;
use super::{
    Askers, Checked, HOUR, Result, as_loki, check_lines, gather, half_open, json, log_query,
    matchers, positive, range, step,
};
use crate::api::{Told, timeout};
use crate::app::App;
use crate::clock;
use crate::params::Params;

/// Lines that fields are found in where `line_limit` is not given, as Loki.
const SAMPLE_DEFAULT: usize = 100;
/// Fields and values where `limit` is not given, as Loki.
const FIELDS_DEFAULT: usize = 1000;

pub(super) async fn patterns(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let logs = log_query(&app, &params, "patterns are of lines, expected a log query")?;
    let selector = logs.matchers.clone();
    let times = range(&params, HOUR)?;
    let step = step(&app, &params, times)?;
    let range = half_open(&params, HOUR)?;
    let read = move |tenant: &TenantLogs, matchers: &[Matcher], budget: &Budget| {
        let mut own = logs.clone();
        own.matchers = matchers.to_vec();
        mine(&tenant.snapshot, &own, range, step, budget)
    };
    let selectors = vec![selector];
    let mut found: Vec<FoundPattern> = gather(&app, &askers, &params, selectors, read).await?;
    found.sort_by_key(|pattern| std::cmp::Reverse(pattern.total()));
    found.truncate(PATTERNS_MAX);
    let told = found.into_iter().map(|found| write::Pattern {
        pattern: found.pattern,
        level: found.level,
        samples: found.counts.into_iter().collect(),
    });
    let mut body = Vec::new();
    write::patterns(&told.collect::<Vec<_>>(), &mut body);
    Ok(json(body))
}

pub(super) async fn labels(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let selectors = vec![matchers(&app, params.get("query"))?];
    let (start, end) = range(&params, 6 * HOUR)?;
    let read = move |tenant: &TenantLogs, matchers: &[Matcher], budget: &Budget| {
        let range = TimeRange::new(start, end);
        Ok(obs_logstore::streams(
            &tenant.snapshot,
            matchers,
            range,
            budget,
        )?)
    };
    let streams: Vec<Labels> = gather(&app, &askers, &params, selectors, read).await?;
    let found = detected::labels(&streams);
    let mut body = Vec::new();
    let told = found
        .iter()
        .map(|label| (label.name.as_str(), label.cardinality));
    write::detected_labels(told, &mut body);
    Ok(json(body))
}

/// Fields by name.
type Fields = std::collections::BTreeMap<String, detected::DetectedField>;

/// The fields of a sample of the newest lines, and the limit that held.
async fn detect(app: &App, askers: &Askers, params: &Params, fields_max: usize) -> Checked<Fields> {
    let logs = log_query(app, params, "fields are of lines, expected a log query")?;
    let sample = positive(params, "line_limit")?.unwrap_or(SAMPLE_DEFAULT);
    let plan = LogPlan {
        logs,
        range: half_open(params, HOUR)?,
        limit: check_lines(app, sample)?,
        direction: Direction::Backward,
        now: clock::now(),
    };
    let (tenants, several) = (askers.logs(app)?, askers.several());
    let read = move |budget: &Budget, _: &rayon::ThreadPool| {
        let lines = page(&tenants, &plan, several, budget)?;
        detected::fields(&lines, fields_max)
    };
    app.read_for(&askers.first(), timeout(params)?, read)
        .await
        .map_err(as_loki)
}

fn limit(params: &Params) -> Checked<usize> {
    let limit = match positive(params, "limit")? {
        Some(limit) => Some(limit),
        None => positive(params, "field_limit")?,
    };
    Ok(limit.unwrap_or(FIELDS_DEFAULT))
}

pub(super) async fn fields(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let limit = limit(&params)?;
    let found = detect(&app, &askers, &params, limit).await?;
    let told = found.into_iter().map(|(label, field)| write::Field {
        label,
        kind: field.kind.as_str(),
        cardinality: field.values.len(),
        parsers: field.parsers,
        json_path: field.json_path,
    });
    let mut body = Vec::new();
    write::detected_fields(&told.collect::<Vec<_>>(), limit, &mut body);
    Ok(json(body))
}

pub(super) async fn values(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Path(name): Path<String>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let limit = limit(&params)?;
    let mut found = detect(&app, &askers, &params, usize::MAX).await?;
    let values = found.remove(&name).map(|field| field.told_values());
    let mut body = Vec::new();
    let told = values.into_iter().flatten().take(limit);
    write::detected_values(told, limit, &mut body);
    Ok(json(body))
}
