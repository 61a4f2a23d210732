//! `/api/v1/export/logs`: every line that a query gives, in order of time, without a limit, as JSON
//! lines that the push API takes back.
//!
//! Invariants: the answer is made page by page while the client reads, each page under a budget and
//! a deadline of its own, so that memory is bounded by one page whatever is exported; all pages see
//! the stores as they were at the begin; a line is told once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use http_body::Frame;
use obs_collector::HttpError;
use obs_model::answer::LogLines;
use obs_model::{Budget, BudgetError, Labels, LogRecord, TimeRange, Timestamp};
use obs_query::logs::LogPlan;
use obs_query::logs::tenants::TenantLogs;
use obs_query::{Direction, QueryError};
use obs_wire::loki::api as write;

use super::query::{direction, page};
use super::{Askers, Checked, Result, log_query};
use crate::api::Told;
use crate::app::App;
use crate::clock;
use crate::params::{Clock, Params};

/// Lines of a page; where they are too large for the budget, fewer.
const PAGE_LINES: usize = 20_000;

/// Below `/api/v1`.
pub(in crate::api) fn routes() -> Router<Arc<App>> {
    Router::new().route("/export/logs", get(export).post(export))
}

async fn export(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let logs = log_query(&app, &params, "an export is of lines, expected a log query")?;
    let end = params.time("end", Clock::Nanoseconds)?;
    let start = params.time("start", Clock::Nanoseconds)?;
    let range = TimeRange::new(
        start.unwrap_or(Timestamp::MIN),
        end.map_or(Timestamp::MAX, |end| end.saturating_sub(1)),
    );
    let plan = LogPlan {
        logs,
        range,
        limit: PAGE_LINES,
        direction: direction(&params, Direction::Forward)?,
        now: clock::now(),
    };
    let pages = Pages {
        logs: Arc::new(askers.logs(&app)?),
        askers,
        app,
        plan,
    };
    // What is wrong with the query shows in the first page, before the status is sent.
    let (first, rest) = pages.next().await?;
    let body = Exported {
        ready: Some(first),
        making: rest.map(Pages::boxed),
    };
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::new(body)).into_response())
}

/// What is still to be read.
struct Pages {
    app: Arc<App>,
    askers: Askers,
    logs: Arc<Vec<TenantLogs>>,
    plan: LogPlan,
}

type Made = Checked<(Bytes, Option<Pages>)>;

impl Pages {
    fn boxed(self) -> Pin<Box<dyn Future<Output = Made> + Send>> {
        Box::pin(self.next())
    }

    /// One page, and what is left behind it.
    async fn next(mut self) -> Made {
        let (logs, plan, several) = (
            Arc::clone(&self.logs),
            self.plan.clone(),
            self.askers.several(),
        );
        let read = move |budget: &Budget, _: &rayon::ThreadPool| cut(&logs, plan, several, budget);
        let (bytes, rest) = self.app.read_for(&self.askers.first(), None, read).await?;
        Ok(match rest {
            Some(plan) => {
                self.plan = plan;
                (bytes, Some(self))
            }
            None => (bytes, None),
        })
    }
}

/// Reads a page and ends it where a time ends, so that the next one begins with another time.
fn cut(
    logs: &[TenantLogs],
    mut plan: LogPlan,
    several: bool,
    budget: &Budget,
) -> std::result::Result<(Bytes, Option<LogPlan>), QueryError> {
    // A page whose lines have one time only must hold them all.
    let mut one_time = false;
    loop {
        let found = match page(logs, &plan, several, budget) {
            Err(QueryError::Budget(BudgetError::Exceeded { .. }))
                if plan.limit > 1 && !one_time =>
            {
                plan.limit = (plan.limit / 4).max(1);
                return Ok((Bytes::new(), Some(plan)));
            }
            found => found?,
        };
        let mut lines = in_order(&found, plan.direction);
        let whole = lines.len() < plan.limit;
        let last = lines.last().map(|(record, ..)| record.time);
        let Some(last) = last.filter(|_| !whole) else {
            return Ok((encode(&lines), None));
        };
        let before = lines.iter().position(|(record, ..)| record.time == last);
        if before == Some(0) {
            one_time = true;
            plan.limit = plan.limit.saturating_mul(2);
            continue;
        }
        lines.truncate(before.unwrap_or(lines.len()));
        let TimeRange { start, end } = plan.range;
        plan.range = match plan.direction {
            Direction::Forward => TimeRange::new(last, end),
            Direction::Backward => TimeRange::new(start, last),
        };
        plan.limit = plan.limit.saturating_mul(2).min(PAGE_LINES);
        return Ok((encode(&lines), Some(plan)));
    }
}

/// A record, its stream and what the query's parsers made.
type Line<'a> = (&'a LogRecord, &'a Labels, &'a Labels);

fn in_order(found: &[LogLines], direction: Direction) -> Vec<Line<'_>> {
    let lines = found.iter().flat_map(|lines| {
        let records = lines.stream.records.iter().zip(&lines.parsed);
        records.map(|(record, parsed)| (record, &lines.stream.labels, parsed))
    });
    let mut lines: Vec<Line<'_>> = lines.collect();
    match direction {
        Direction::Forward => lines.sort_by_key(|(record, ..)| record.time),
        Direction::Backward => lines.sort_by_key(|(record, ..)| std::cmp::Reverse(record.time)),
    }
    lines
}

fn encode(lines: &[Line<'_>]) -> Bytes {
    let mut out = Vec::new();
    for (record, stream, parsed) in lines {
        write::export_line(stream, record, parsed, &mut out);
    }
    out.into()
}

/// The body: a page is made when the one before was taken.
struct Exported {
    ready: Option<Bytes>,
    making: Option<Pin<Box<dyn Future<Output = Made> + Send>>>,
}

impl HttpBody for Exported {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, HttpError>>> {
        loop {
            if let Some(ready) = self.ready.take().filter(|bytes| !bytes.is_empty()) {
                return Poll::Ready(Some(Ok(Frame::data(ready))));
            }
            let Some(making) = &mut self.making else {
                return Poll::Ready(None);
            };
            match making.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok((bytes, rest))) => {
                    self.ready = Some(bytes);
                    self.making = rest.map(Pages::boxed);
                }
                Poll::Ready(Err(error)) => {
                    // The status is sent; the client sees that the body was cut off.
                    tracing::warn!(%error, "an export of logs was cut off");
                    self.making = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}
