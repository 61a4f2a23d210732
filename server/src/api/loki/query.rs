//! `query` and `query_range`: lines and numbers.
//!
//! Invariant: a log query's `end` does not belong to it and its lines are at most `limit`; lines
//! that are thinned out by `interval` are found one after the other, so that nothing is read that
//! is not told.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use obs_collector::HttpError;
use obs_model::answer::LogLines;
use obs_model::limits::Limits;
use obs_model::{Annotations, Answer, Budget, Reply, TimeRange};
use obs_query::logql::Expr;
use obs_query::logs::LogPlan;
use obs_query::logs::tenants::{TenantLogs, grouped, lines_of_tenants, run_over_tenants};
use obs_query::{Direction, Language, Plan, Query, QueryError, Request, When};
use obs_wire::loki::api::{self as write, LabelEncoding, Timing};

use super::{
    Askers, Checked, HOUR, Result, as_loki, check_lines, duration, json, positive, range as times,
    step, time,
};
use crate::api::{Told, evaluate, timeout};
use crate::app::App;
use crate::clock;
use crate::params::Params;

/// Lines without a `limit`, as Loki.
const LINES_DEFAULT: usize = 100;

pub(super) fn direction(params: &Params, default: Direction) -> Checked<Direction> {
    let text = params.get("direction").map(str::to_ascii_lowercase);
    match text.as_deref() {
        None => Ok(default),
        Some("backward") => Ok(Direction::Backward),
        Some("forward") => Ok(Direction::Forward),
        Some(_) => {
            let text = params.get("direction").unwrap_or_default();
            let message = format!("invalid direction '{text}', expected forward or backward");
            Err(HttpError::bad_data(message))
        }
    }
}

/// Whether the query asks for numbers. What is wrong with it is told when it runs.
fn is_metric(app: &App, params: &Params) -> Checked<bool> {
    let parsed = obs_query::logql::parse(params.need("query")?, &app.rules.limits);
    Ok(matches!(parsed, Ok(Expr::Metric(_))))
}

fn request(app: &App, params: &Params, when: When) -> Checked<Request> {
    let mut request = Request::new(when);
    let limit = positive(params, "limit")?.unwrap_or(LINES_DEFAULT);
    request.limit = match is_metric(app, params)? {
        // There are no lines to limit.
        true => limit,
        false => check_lines(app, limit)?,
    };
    request.now = clock::now();
    request.direction = direction(params, Direction::Backward)?;
    Ok(request)
}

/// How the request's header wants labels to be told.
pub(super) fn encoding(headers: &HeaderMap) -> LabelEncoding {
    let flags: Vec<&str> = headers
        .get_all(write::ENCODING_FLAGS_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    LabelEncoding::from_header(&flags.join(","))
}

pub(super) async fn query(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let at = time(&params, "time")?.unwrap_or_else(clock::now);
    let asked = Asked {
        request: request(&app, &params, When::At(at))?,
        interval: 0,
    };
    answer(&app, &askers, &headers, &params, asked).await
}

pub(super) async fn range(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let (start, end) = times(&params, HOUR)?;
    let step = step(&app, &params, (start, end))?;
    let asked = Asked {
        request: request(&app, &params, When::Range { start, end, step })?,
        interval: duration(&params, "interval", "interval must be >= 0")?.unwrap_or(0),
    };
    answer(&app, &askers, &headers, &params, asked).await
}

#[derive(Clone, Copy)]
struct Asked {
    request: Request,
    /// Nanoseconds that lie between two lines at least.
    interval: i64,
}

async fn answer(
    app: &App,
    askers: &Askers,
    headers: &HeaderMap,
    params: &Params,
    asked: Asked,
) -> Result<Response> {
    let started = clock::Stopwatch::start();
    let text = params.need("query")?;
    let timeout = timeout(params)?;
    let reply = if askers.several() || asked.interval > 0 {
        apart(app, askers, text, asked, timeout).await
    } else {
        let tenant = askers.first();
        evaluate(app, &tenant, Language::Logql, text, asked.request, timeout).await
    };
    let reply = reply.map_err(as_loki)?;
    let timing = Timing {
        exec_seconds: started.elapsed_seconds(),
        ..Timing::default()
    };
    let mut body = Vec::new();
    write::query(&reply, encoding(headers), timing, &mut body)
        .map_err(|e| HttpError::bad_data(e.to_string()))?;
    Ok(json(body))
}

/// What the shared way does not know: several tenants, and lines thinned out.
async fn apart(
    app: &App,
    askers: &Askers,
    text: &str,
    asked: Asked,
    timeout: Option<std::time::Duration>,
) -> Checked<Reply> {
    let logs = askers.logs(app)?;
    let (text, limits, several) = (text.to_owned(), app.rules.limits, askers.several());
    let between = Limits {
        query_steps_max: limits.query_steps_max.saturating_add(1),
        ..limits
    };
    app.read_for(&askers.first(), timeout, move |budget, pool| {
        let query = Query::parse(Language::Logql, &text, &limits)?;
        let plan = query.plan(&asked.request, &between)?;
        let lines = match &plan {
            Plan::Logs(plan) if asked.interval > 0 => {
                thinned(&logs, plan, asked.interval, several, budget)?
            }
            _ if several => return run_over_tenants(&plan, &logs, budget, pool),
            Plan::Logs(plan) => page(&logs, plan, several, budget)?,
            // The interval is for lines only.
            Plan::Metric(_) | Plan::Traces(_) | Plan::SpanMetrics(_) => {
                return run_alone(&plan, logs, budget, pool);
            }
        };
        let (samples_read, bytes_read, _) = budget.spent();
        Ok(Reply {
            answer: Answer::Streams(lines),
            annotations: Annotations::default(),
            samples_read,
            bytes_read,
            samples_by_step: None,
        })
    })
    .await
}

fn run_alone(
    plan: &Plan,
    mut logs: Vec<TenantLogs>,
    budget: &Budget,
    pool: &rayon::ThreadPool,
) -> std::result::Result<Reply, QueryError> {
    let sources = obs_query::Sources {
        logs: logs.pop().map(|tenant| tenant.snapshot),
        ..obs_query::Sources::default()
    };
    obs_query::run(plan, &sources, budget, pool)
}

/// Lines of one tenant as they are, or of several with their tenants.
pub(super) fn page(
    logs: &[TenantLogs],
    plan: &LogPlan,
    several: bool,
    budget: &Budget,
) -> std::result::Result<Vec<LogLines>, QueryError> {
    match logs {
        [only] if !several => obs_query::logs::lines(&only.snapshot, plan, budget),
        _ => lines_of_tenants(logs, plan, budget),
    }
}

/// Lines with at least `interval` between two of them: each is asked for by itself.
fn thinned(
    logs: &[TenantLogs],
    plan: &LogPlan,
    interval: i64,
    several: bool,
    budget: &Budget,
) -> std::result::Result<Vec<LogLines>, QueryError> {
    let mut next = LogPlan {
        limit: 1,
        ..plan.clone()
    };
    let mut found = Vec::new();
    while found.len() < plan.limit && !next.range.is_empty() {
        let lines = page(logs, &next, several, budget)?;
        let Some(mut line) = lines.into_iter().find(|l| !l.stream.records.is_empty()) else {
            break;
        };
        let (record, parsed) = (line.stream.records.swap_remove(0), line.parsed.pop());
        let TimeRange { start, end } = next.range;
        next.range = match plan.direction {
            Direction::Forward => TimeRange::new(record.time.saturating_add(interval), end),
            Direction::Backward => TimeRange::new(start, record.time.saturating_sub(interval)),
        };
        found.push((record, line.stream.labels, parsed.unwrap_or_default()));
    }
    Ok(grouped(found))
}
