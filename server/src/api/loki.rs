//! Loki's HTTP API. What its parts share is here: who asks, over which time, with which matchers.
//!
//! Invariants: errors are plain text with Loki's status codes; a read names its tenants (one, or
//! several with `|` between them) and sees nothing of others.

mod delete;
mod explore;
pub(super) mod export;
mod index;
mod labels;
mod query;
mod status;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use http::HeaderMap;
use http::request::Parts;
use obs_collector::receive::{TENANT_HEADER, tenant_of};
use obs_collector::{ErrorKind, HttpError};
use obs_model::{Budget, Matcher, Tenant, TimeRange, Timestamp};
use obs_query::QueryError;
use obs_query::logql::Expr;
use obs_query::logql::ast::LogExpr;
use obs_query::logs::tenants::{TenantLogs, of_tenant};

use super::{Plain, json, timeout};
use crate::app::{App, query_error};
use crate::clock;
use crate::enforced::{Enforced, Visible};
use crate::params::{Clock, Params};
pub(crate) use delete::Deletions;

const HOUR: i64 = 3600 * obs_model::time::NANOS_PER_SECOND;
/// Tenants that one request may read.
const TENANTS_MAX: usize = 64;

type Result<T> = std::result::Result<T, Plain>;
/// Where the caller decides how a fault is told.
type Checked<T> = std::result::Result<T, HttpError>;

/// Below `/loki/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/query", get(query::query).post(query::query))
        .route("/query_range", get(query::range).post(query::range))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label", get(labels::names).post(labels::names))
        .route(
            "/label/{name}/values",
            get(labels::values).post(labels::values),
        )
        .route("/series", get(labels::series).post(labels::series))
        .route("/index/stats", get(index::stats).post(index::stats))
        .route("/index/volume", get(index::volume).post(index::volume))
        .route(
            "/index/volume_range",
            get(index::volume_range).post(index::volume_range),
        )
        .route("/index/shards", get(index::shards).post(index::shards))
        .route("/patterns", get(explore::patterns).post(explore::patterns))
        .route(
            "/detected_labels",
            get(explore::labels).post(explore::labels),
        )
        .route(
            "/detected_fields",
            get(explore::fields).post(explore::fields),
        )
        .route(
            "/detected_field/{name}/values",
            get(explore::values).post(explore::values),
        )
        .route("/tail", get(tail::tail))
        .route(
            "/format_query",
            get(status::format_query).post(status::format_query),
        )
        .merge(changes())
        .route("/status/buildinfo", get(status::build_info))
        .route("/drilldown-limits", get(status::drilldown_limits))
}

/// What changes the store.
fn changes() -> Router<Arc<App>> {
    let all = get(delete::list)
        .post(delete::create)
        .put(delete::create)
        .delete(delete::cancel);
    Router::new()
        .route("/delete", all)
        .layer(from_fn(super::admin::same_site))
}

/// Loki's routes outside of `/loki/api/v1`.
pub(super) fn root_routes() -> Router<Arc<App>> {
    let changes = Router::new()
        .route("/flush", post(status::flush))
        .layer(from_fn(super::admin::same_site));
    Router::new()
        .route("/config/tenant/v1/limits", get(status::tenant_limits))
        .route("/config", get(status::config))
        .route("/services", get(status::services))
        .route("/log_level", get(status::log_level))
        .merge(changes)
}

/// The tenants that a read names, each once, in order.
#[derive(Clone, Debug)]
pub(super) struct Askers(Vec<Visible>);

impl<S: Send + Sync> FromRequestParts<S> for Askers {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Checked<Self> {
        let enforced = Enforced::of(&parts.extensions);
        let tenants = Self::tenants(&parts.headers)?.into_iter();
        let seen = tenants.map(|tenant| enforced.admit(tenant));
        seen.collect::<Checked<_>>().map(Self)
    }
}

impl Askers {
    fn tenants(headers: &HeaderMap) -> Checked<Vec<Tenant>> {
        let text = headers.get(TENANT_HEADER).and_then(|v| v.to_str().ok());
        let Some(text) = text.filter(|text| text.contains('|')) else {
            return tenant_of(headers).map(|tenant| vec![tenant]);
        };
        let tenants = text.split('|').map(|name| {
            let fault = |e| HttpError::bad_data(format!("X-Scope-OrgID: {e}"));
            Tenant::new(name).map_err(fault)
        });
        let mut tenants = tenants.collect::<Checked<Vec<Tenant>>>()?;
        tenants.sort();
        tenants.dedup();
        if tenants.len() > TENANTS_MAX {
            return Err(HttpError::bad_data(format!(
                "X-Scope-OrgID: {} tenants, at most {TENANTS_MAX} are read at one time",
                tenants.len()
            )));
        }
        Ok(tenants)
    }

    /// Who waits in the queue for this read.
    fn first(&self) -> Visible {
        let first = self.0.first();
        first.expect("no header is a tenant too").clone()
    }

    /// Whether lines tell their tenant.
    fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// The only tenant of a change; changes are not made for several.
    fn only(&self) -> Checked<&Visible> {
        match self.0.as_slice() {
            [tenant] => Ok(tenant),
            _ => Err(HttpError::bad_data("multiple org IDs present")),
        }
    }

    /// Their logs.
    fn logs(&self, app: &App) -> Checked<Vec<TenantLogs>> {
        let stores = app.stores()?;
        let logs = self.0.iter().map(|tenant| TenantLogs {
            name: tenant.to_string(),
            snapshot: stores.logs_of(tenant),
        });
        Ok(logs.collect())
    }

    /// What is read of each tenant, where its matchers mean it.
    fn read(
        &self,
        logs: &[TenantLogs],
        matchers: &[Matcher],
        mut read: impl FnMut(&TenantLogs, &[Matcher]) -> std::result::Result<(), QueryError>,
    ) -> std::result::Result<(), QueryError> {
        for tenant in logs {
            if !self.several() {
                read(tenant, matchers)?;
            } else if let Some(own) = of_tenant(matchers, &tenant.name) {
                read(tenant, &own)?;
            }
        }
        Ok(())
    }
}

/// A point of time; what is none is told in Loki's words.
fn time(params: &Params, name: &str) -> Checked<Option<Timestamp>> {
    params.time(name, Clock::Nanoseconds).map_err(|_| {
        let text = params.get(name).unwrap_or_default();
        HttpError::bad_data(format!(
            "could not parse '{name}' parameter: strconv.ParseInt: parsing {text:?}: invalid syntax"
        ))
    })
}

/// A number of at least 1; what is none is told in Loki's words.
fn positive(params: &Params, name: &str) -> Checked<Option<usize>> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let fault = |why: String| Err(HttpError::bad_data(why));
    match text.parse::<i64>() {
        Ok(number) if number <= 0 => fault("limit must be a positive value".to_owned()),
        Ok(number) => match u32::try_from(number) {
            Ok(number) => Ok(Some(number as usize)),
            Err(_) => fault(format!(
                "{name} value {number} is out of range [0, {}]",
                u32::MAX
            )),
        },
        Err(_) => fault(format!("strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

/// A duration, and what is told where it is negative.
fn duration(params: &Params, name: &str, negative: &str) -> Checked<Option<i64>> {
    let text = params.get(name).unwrap_or_default();
    match text.parse::<f64>() {
        Ok(seconds) if seconds < 0.0 => Err(HttpError::bad_data(negative)),
        _ => params.duration(name),
    }
}

/// `start` (or `since`) to `end`; Loki's defaults reach back from now.
fn range(params: &Params, default_since: i64) -> Checked<(Timestamp, Timestamp)> {
    let now = clock::now();
    let end = time(params, "end")?.unwrap_or(now);
    let since = params.duration("since")?.unwrap_or(default_since);
    let start = time(params, "start")?.unwrap_or(end.min(now).saturating_sub(since));
    if end < start {
        return Err(HttpError::bad_data(
            "end timestamp must not be before or equal to start time",
        ));
    }
    Ok((start, end))
}

/// As [`range`]; the end does not belong to it.
fn half_open(params: &Params, default_since: i64) -> Checked<TimeRange> {
    let (start, end) = range(params, default_since)?;
    Ok(TimeRange::new(start, end.saturating_sub(1)))
}

/// Points of a range query without a step, as Loki.
const POINTS_DEFAULT: i64 = 250;

/// The parameter `step`, by default as long as Loki's; it does not make more points than may be.
fn step(app: &App, params: &Params, (start, end): (Timestamp, Timestamp)) -> Checked<i64> {
    use obs_model::time::{NANOS_PER_MILLI, NANOS_PER_SECOND};
    let zero =
        "zero or negative query resolution step widths are not accepted. Try a positive integer";
    let step = match duration(params, "step", zero)? {
        Some(0) => return Err(HttpError::bad_data(zero)),
        Some(step) => step.max(NANOS_PER_MILLI),
        None => ((end - start) / POINTS_DEFAULT / NANOS_PER_SECOND).max(1) * NANOS_PER_SECOND,
    };
    let max = app.rules.limits.query_steps_max;
    if (end - start).unsigned_abs() / step.unsigned_abs() > max {
        return Err(HttpError::bad_data(format!(
            "exceeded maximum resolution of {} points per time series. Try increasing the value of \
             the step parameter, or raise obs.limits.query_steps_max",
            thousands(max)
        )));
    }
    Ok(step)
}

/// A number as Loki writes it in texts: `11,000`.
fn thousands(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1000), number % 1000),
    }
}

/// Loki tells everything that is wrong with a query, limits included, by 400; it has no 422. What
/// took too long is 504 with what helps.
fn as_loki(mut error: HttpError) -> HttpError {
    match error.kind {
        ErrorKind::Execution => error.kind = ErrorKind::BadData,
        ErrorKind::Timeout => {
            let help = "request timed out, decrease the duration of the request or add more label \
                        matchers (prefer exact match over regex match) to reduce the amount of data \
                        processed";
            error = HttpError::new(ErrorKind::Deadline, format!("{help}: {}", error.message));
        }
        _ => {}
    }
    error
}

/// Matchers of an optional parameter; none where it is absent or `{}`.
fn matchers(app: &App, text: Option<&str>) -> Checked<Vec<Matcher>> {
    let Some(text) = text.filter(|text| !is_empty_selector(text)) else {
        return Ok(Vec::new());
    };
    obs_query::logql::parse_matchers(text, &app.rules.limits).map_err(|e| query_error(&e.into()))
}

fn is_empty_selector(text: &str) -> bool {
    let inside = text.trim().strip_prefix('{');
    inside
        .and_then(|t| t.strip_suffix('}'))
        .is_some_and(|t| t.trim().is_empty())
}

/// The parameter `query`, which must be for lines.
fn log_query(app: &App, params: &Params, refused: &str) -> Checked<LogExpr> {
    let text = params.need("query")?;
    let parsed = obs_query::logql::parse(text, &app.rules.limits);
    match parsed.map_err(|e| query_error(&e.into()))? {
        Expr::Logs(logs) => Ok(logs),
        Expr::Metric(_) => Err(HttpError::bad_data(refused)),
    }
}

/// The limit of lines of one answer, in Loki's words.
fn check_lines(app: &App, limit: usize) -> Checked<usize> {
    let max = app.rules.limits.query_lines_max;
    if limit > max {
        return Err(HttpError::bad_data(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > \
             {max}); read in pages, or raise obs.limits.query_lines_max"
        )));
    }
    Ok(limit)
}

/// Reads from every tenant's logs in the query pool.
async fn gather<T, F>(
    app: &App,
    askers: &Askers,
    params: &Params,
    selectors: Vec<Vec<Matcher>>,
    mut read: F,
) -> Checked<Vec<T>>
where
    T: Send + 'static,
    F: FnMut(&TenantLogs, &[Matcher], &Budget) -> std::result::Result<Vec<T>, QueryError>
        + Send
        + 'static,
{
    let logs = askers.logs(app)?;
    let (tenant, askers) = (askers.first(), askers.clone());
    let work = move |budget: &Budget, _: &rayon::ThreadPool| {
        let mut found = Vec::new();
        for matchers in &selectors {
            askers.read(&logs, matchers, |tenant, matchers| {
                found.extend(read(tenant, matchers, budget)?);
                Ok(())
            })?;
        }
        Ok(found)
    };
    app.read_for(&tenant, timeout(params)?, work)
        .await
        .map_err(as_loki)
}
