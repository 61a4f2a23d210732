//! Tempo's HTTP API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, header};
use obs_collector::HttpError;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Answer, SpanBatch, Tenant, TimeRange, Timestamp, TraceId};
use obs_query::traceql::ast::{self, Attribute};
use obs_query::{Language, QueryError, Request, When};
use obs_tracestore::Scope;
use obs_wire::tempo::api as write;
use serde_json::json;

use super::{Asker, Plain, Told, evaluate, json};
use crate::app::App;
use crate::clock;
use crate::params::{Clock, Params};

/// The version whose API this is: clients decide by it what they may ask.
const TEMPO_VERSION: &str = "3.0.0";
/// Without `start` and `end` a search looks at what is recent.
const RECENT: i64 = 3600 * NANOS_PER_SECOND;
/// Traces without a `limit`, as Tempo.
const TRACES_DEFAULT: usize = 20;

type Result<T> = std::result::Result<T, Plain>;

/// Below `/tempo/api`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/echo", get(|| async { "echo" }))
        .route("/status/buildinfo", get(build_info))
        .route("/search", get(search))
        .route("/traces/{id}", get(trace_v1))
        .route("/v2/traces/{id}", get(trace_v2))
        .route("/search/tags", get(tags_v1))
        .route("/v2/search/tags", get(tags_v2))
        .route("/search/tag/{name}/values", get(tag_values_v1))
        .route("/v2/search/tag/{name}/values", get(tag_values_v2))
}

fn range(params: &Params) -> std::result::Result<TimeRange, HttpError> {
    let end = params.time("end", Clock::Seconds)?;
    let start = params.time("start", Clock::Seconds)?;
    let end = end.unwrap_or_else(clock::now);
    let start = start.unwrap_or(end.saturating_sub(RECENT));
    if end < start {
        return Err(HttpError::bad_data("invalid start: must be before end"));
    }
    Ok(TimeRange::new(start, end))
}

async fn search(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let range = range(&params)?;
    let text = match params.get("q") {
        Some(text) => text.to_owned(),
        None => from_tags(
            params.get("tags").unwrap_or_default(),
            params.get("minDuration"),
            params.get("maxDuration"),
        )?,
    };
    let when = When::Range {
        start: range.start,
        end: range.end,
        step: NANOS_PER_SECOND,
    };
    let mut request = Request::new(when);
    request.limit = params.positive("limit")?.unwrap_or(TRACES_DEFAULT);
    if let Some(spans) = params.count("spss")? {
        request.spans_per_set = spans;
    }
    let reply = evaluate(&app, &tenant, Language::Traceql, &text, request, None).await?;
    let Answer::Traces(traces) = &reply.answer else {
        return Err(HttpError::bad_data(
            "this is a metrics query; ask /api/metrics/query_range for it",
        )
        .into());
    };
    let metrics = write::SearchMetrics {
        inspected_traces: u32::try_from(traces.len()).unwrap_or(u32::MAX),
        inspected_bytes: reply.bytes_read,
        ..write::SearchMetrics::default()
    };
    let mut body = Vec::new();
    write::search(traces, &metrics, &mut body);
    Ok(json(body))
}

async fn find(app: &App, tenant: &Tenant, id: &str) -> std::result::Result<SpanBatch, HttpError> {
    let id = TraceId::from_hex(id).ok_or_else(|| {
        HttpError::bad_data(format!(
            "invalid trace id {id:?}, expected 1 to 32 hexadecimal digits"
        ))
    })?;
    let snapshot = app.stores()?.spans.snapshot(tenant);
    let found = app
        .read_for(tenant, None, move |budget, _| {
            obs_tracestore::trace(&snapshot, id, budget).map_err(QueryError::from)
        })
        .await?;
    found.ok_or_else(|| HttpError::not_found("trace not found"))
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|a| a.to_str().ok())
        .unwrap_or_default();
    accept.starts_with("application/protobuf") || accept.starts_with("application/x-protobuf")
}

fn protobuf(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/protobuf")], body).into_response()
}

async fn trace_v1(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let trace = find(&app, &tenant, &id).await?;
    let mut body = Vec::new();
    if wants_protobuf(&headers) {
        write::trace_v1_protobuf(&trace, &mut body);
        return Ok(protobuf(body));
    }
    write::trace_v1_json(&trace, &mut body);
    Ok(json(body))
}

async fn trace_v2(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let trace = find(&app, &tenant, &id).await?;
    let notes = write::TraceNotes::default();
    let mut body = Vec::new();
    if wants_protobuf(&headers) {
        write::trace_v2_protobuf(&trace, &notes, &mut body);
        return Ok(protobuf(body));
    }
    write::trace_v2_json(&trace, &notes, &mut body);
    Ok(json(body))
}

/// Names by scope, in Tempo's order of scopes.
async fn tag_names(
    app: &App,
    tenant: &Tenant,
    params: &Params,
) -> std::result::Result<Vec<(&'static str, Vec<String>)>, HttpError> {
    let range = tag_range(params)?;
    let only = params
        .get("scope")
        .filter(|s| *s != "none")
        .map(str::to_owned);
    let snapshot = app.stores()?.spans.snapshot(tenant);
    let mut found = app
        .read_for(tenant, None, move |budget, _| {
            obs_tracestore::tag_names(&snapshot, range, budget).map_err(QueryError::from)
        })
        .await?;
    let intrinsics = INTRINSICS.iter().map(|s| (*s).to_owned()).collect();
    found.push(("intrinsic", intrinsics));
    found.retain(|(scope, _)| only.as_deref().is_none_or(|o| o == *scope));
    Ok(found)
}

/// Tags are asked for without a range to fill menus: then all of time counts.
fn tag_range(params: &Params) -> std::result::Result<TimeRange, HttpError> {
    let start = params
        .time("start", Clock::Seconds)?
        .unwrap_or(Timestamp::MIN);
    let end = params
        .time("end", Clock::Seconds)?
        .unwrap_or(Timestamp::MAX);
    Ok(TimeRange::new(start, end))
}

async fn tags_v1(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let scopes = tag_names(&app, &tenant, &params).await?;
    let mut names: Vec<String> = scopes.into_iter().flat_map(|(_, names)| names).collect();
    names.sort();
    names.dedup();
    let mut body = Vec::new();
    write::tags_v1(&names, &mut body);
    Ok(json(body))
}

async fn tags_v2(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let scopes = tag_names(&app, &tenant, &params).await?;
    let mut body = Vec::new();
    write::tags_v2(&scopes, 0, &mut body);
    Ok(json(body))
}

async fn tag_values(
    app: &App,
    tenant: &Tenant,
    params: &Params,
    name: &str,
) -> std::result::Result<Vec<write::TagValue>, HttpError> {
    let range = tag_range(params)?;
    let Some((scope, name)) = tag(name) else {
        return Ok(Vec::new());
    };
    let snapshot = app.stores()?.spans.snapshot(tenant);
    let values = app
        .read_for(tenant, None, move |budget, _| {
            obs_tracestore::tag_values(&snapshot, scope, &name, range, budget)
                .map_err(QueryError::from)
        })
        .await?;
    Ok(values
        .iter()
        .filter_map(write::TagValue::from_attribute)
        .collect())
}

async fn tag_values_v1(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(name): Path<String>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let values = tag_values(&app, &tenant, &params, &name).await?;
    let mut body = Vec::new();
    write::tag_values_v1(&values, &mut body);
    Ok(json(body))
}

async fn tag_values_v2(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(name): Path<String>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let values = tag_values(&app, &tenant, &params, &name).await?;
    let mut body = Vec::new();
    write::tag_values_v2(&values, 0, &mut body);
    Ok(json(body))
}

async fn build_info() -> Response {
    let body = json!({"status": "success", "data": {"version": TEMPO_VERSION}});
    json(body.to_string().into_bytes())
}

/// Intrinsics that have values to choose from, or that menus list.
const INTRINSICS: [&str; 11] = [
    "duration",
    "event:name",
    "instrumentation:name",
    "kind",
    "name",
    "rootName",
    "rootServiceName",
    "status",
    "statusMessage",
    "traceDuration",
    "instrumentation:version",
];

/// What a tag's name asks for; clients encode it once more than the address needs.
fn tag(text: &str) -> Option<(Option<Scope>, String)> {
    let escaped = text.replace('+', "%2B");
    let decoded = form_urlencoded::parse(escaped.as_bytes()).next();
    let text = decoded.map_or_else(|| text.to_owned(), |(name, _)| name.into_owned());
    let stripped = text.strip_prefix('.').unwrap_or(&text).to_owned();
    match obs_query::traceql::parse_attribute(&text) {
        Some(Attribute::Named { scope, name, .. }) => {
            let scope = match scope {
                ast::Scope::Any => None,
                ast::Scope::Span => Some(Scope::Span),
                ast::Scope::Resource => Some(Scope::Resource),
                ast::Scope::Event => Some(Scope::Event),
                ast::Scope::Link => Some(Scope::Link),
                ast::Scope::Instrumentation => Some(Scope::Instrumentation),
            };
            Some((scope, name))
        }
        // The old form names attributes without a scope.
        Some(Attribute::Intrinsic(_)) | None => (!stripped.is_empty()).then_some((None, stripped)),
    }
}

/// The TraceQL query of a search by tags (`a=b c="d e"`) and durations.
fn from_tags(
    tags: &str,
    min: Option<&str>,
    max: Option<&str>,
) -> std::result::Result<String, HttpError> {
    let mut conditions = Vec::new();
    let mut rest = tags.trim_start();
    while !rest.is_empty() {
        let fault = || HttpError::bad_data(format!("invalid tags: {rest:?}, expected key=value"));
        let (key, tail) = rest.split_once('=').ok_or_else(fault)?;
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(fault)?,
            None => tail.split_once(' ').unwrap_or((tail, "")),
        };
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || "{}()\"".contains(c)) {
            return Err(fault());
        }
        conditions.push(match key {
            "status" => format!("status = {value}"),
            "name" => format!("name = {value:?}"),
            key => format!(".{key} = {value:?}"),
        });
        rest = tail.trim_start();
    }
    conditions.extend(min.map(|d| format!("duration >= {d}")));
    conditions.extend(max.map(|d| format!("duration <= {d}")));
    Ok(format!("{{ {} }}", conditions.join(" && ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_by_tags() {
        let check = |tags: &str, expect: &str| {
            assert_eq!(from_tags(tags, Some("1s"), None).unwrap(), expect);
        };
        check("", "{ duration >= 1s }");
        check(
            "a=b c=\"d e\"",
            "{ .a = \"b\" && .c = \"d e\" && duration >= 1s }",
        );
        check("status=error", "{ status = error && duration >= 1s }");
        assert!(from_tags("a", None, None).is_err());
        assert!(from_tags("a} || {b=1", None, None).is_err());
    }

    #[test]
    fn names_of_tags() {
        let check = |text: &str, scope, name: &str| {
            assert_eq!(tag(text), Some((scope, name.to_owned())));
        };
        check(
            "resource.service.name",
            Some(Scope::Resource),
            "service.name",
        );
        check("span.http%2Eroute", Some(Scope::Span), "http.route");
        check(".a", None, "a");
        check("name", None, "name");
        assert_eq!(tag("."), None);
    }
}
