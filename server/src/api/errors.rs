//! `/api/v1/errors`: groups of exceptions, computed from the stored spans.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use obs_collector::HttpError;
use obs_model::TimeRange;
use obs_model::time::NANOS_PER_SECOND;
use obs_query::exceptions::{ErrorFilter, ErrorGroup, error_groups, frames};
use serde_json::{Value, json};

use super::{Asker, json, timeout};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::{Clock, Params, invalid};

/// Without `start` the last day is looked at.
const SINCE: i64 = 24 * 3600 * NANOS_PER_SECOND;
/// Groups without a `limit`.
const GROUPS_DEFAULT: usize = 50;

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/errors", get(list))
        .route("/errors/{fingerprint}", get(one))
}

/// How groups are ordered.
#[derive(Clone, Copy, Debug)]
enum Order {
    Last,
    First,
    Count,
}

fn filter(params: &Params) -> Result<ErrorFilter, HttpError> {
    let end = params
        .time("end", Clock::Seconds)?
        .unwrap_or_else(clock::now);
    let start = params.time("start", Clock::Seconds)?;
    let start = start.unwrap_or(end.saturating_sub(SINCE));
    if end < start {
        return Err(HttpError::bad_data("invalid start: must be before end"));
    }
    let text = |name| params.get(name).map(str::to_owned);
    let failed_only = match params.get("status") {
        None | Some("any") => false,
        Some("error") => true,
        Some(other) => {
            let why = format!("{other:?}, expected any or error");
            return Err(invalid("status", why));
        }
    };
    Ok(ErrorFilter {
        range: TimeRange::new(start, end),
        service: text("service"),
        kind: text("type"),
        text: text("q"),
        fingerprint: None,
        failed_only,
    })
}

async fn read(
    app: &App,
    tenant: &Visible,
    params: &Params,
    filter: ErrorFilter,
) -> Result<Vec<ErrorGroup>, HttpError> {
    let snapshot = app.stores()?.spans_of(tenant);
    app.read_for(tenant, timeout(params)?, move |budget, _| {
        error_groups(&snapshot, &filter, budget)
    })
    .await
}

async fn list(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, HttpError> {
    let order = match params.get("sort").unwrap_or("last") {
        "last" => Order::Last,
        "first" => Order::First,
        "count" => Order::Count,
        other => {
            let why = format!("{other:?}, expected last, first or count");
            return Err(invalid("sort", why));
        }
    };
    let limit = params.positive("limit")?.unwrap_or(GROUPS_DEFAULT);
    let offset = params.count("offset")?.unwrap_or(0);
    let mut groups = read(&app, &tenant, &params, filter(&params)?).await?;
    match order {
        Order::Last => {}
        Order::First => groups.sort_by_key(|g| std::cmp::Reverse(g.first)),
        Order::Count => groups.sort_by_key(|g| std::cmp::Reverse(g.count)),
    }
    let total = groups.len();
    let page: Vec<Value> = groups.iter().skip(offset).take(limit).map(shown).collect();
    let next = offset.saturating_add(page.len());
    let mut data = json!({"total": total, "groups": page});
    if next < total {
        data["nextOffset"] = next.into();
    }
    Ok(answer(&data))
}

async fn one(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(fingerprint): Path<String>,
    params: Params,
) -> Result<Response, HttpError> {
    let number = u64::from_str_radix(&fingerprint, 16)
        .map_err(|_| invalid("fingerprint", "expected 16 hexadecimal digits"))?;
    let filter = ErrorFilter {
        fingerprint: Some(number),
        ..filter(&params)?
    };
    let groups = read(&app, &tenant, &params, filter).await?;
    let group = groups
        .first()
        .ok_or_else(|| HttpError::not_found("no such error in this time"))?;
    let mut data = shown(group);
    data["stacktrace"] = group.stacktrace.as_str().into();
    Ok(answer(&data))
}

fn answer(data: &Value) -> Response {
    let body = json!({"status": "success", "data": data});
    json(body.to_string().into_bytes())
}

fn shown(group: &ErrorGroup) -> Value {
    let services = group.services.iter();
    let traces = group.newest.iter().map(|n| {
        json!({
            "traceId": n.trace.to_string(),
            "spanId": n.span.to_string(),
            "time": n.time.to_string(),
        })
    });
    json!({
        "fingerprint": format!("{:016x}", group.fingerprint),
        "type": group.kind,
        "message": group.message,
        "frames": frames(&group.stacktrace),
        "spanName": group.span_name,
        "count": group.count,
        "firstSeen": group.first.to_string(),
        "lastSeen": group.last.to_string(),
        "services": services
            .map(|(name, count)| json!({"name": name, "count": count}))
            .collect::<Vec<_>>(),
        "traces": traces.collect::<Vec<_>>(),
    })
}
