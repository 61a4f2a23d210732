//! `/query` and `/query_range`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_collector::{ErrorKind, HttpError};
use obs_model::limits::Limits;
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Answer, Reply};
use obs_query::{Query, Request, SourceResolution, When};
use obs_wire::prometheus::api::{self as write, QueryStats};

use super::{CUT, Result};
use crate::api::{Asker, json, timeout};
use crate::app::App;
use crate::clock::{self, Stopwatch};
use crate::enforced::Visible;
use crate::params::{Clock, Params, invalid};

/// `/query`
pub(super) async fn instant(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let at = params.time("time", Clock::Seconds)?;
    let at = at.unwrap_or_else(clock::now);
    answer(&app, &tenant, When::At(at), &params).await
}

/// `/query_range`
pub(super) async fn range(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let start = params.need_time("start", Clock::Seconds)?;
    let end = params.need_time("end", Clock::Seconds)?;
    if end < start {
        return Err(invalid(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step = params.need_duration("step")? / NANOS_PER_MILLI * NANOS_PER_MILLI;
    if step <= 0 {
        return Err(invalid(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    let max = app.rules.limits.query_steps_max;
    if end.nanos().abs_diff(start.nanos()) / step.unsigned_abs() > max {
        return Err(HttpError::bad_data(format!(
            "exceeded maximum resolution of {} points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
            grouped(max)
        )));
    }
    answer(&app, &tenant, When::Range { start, end, step }, &params).await
}

/// How coarse samples may be, as Thanos is asked: `auto`, `raw` (or `0s`) or a duration.
pub(crate) fn resolution(params: &Params) -> Result<SourceResolution> {
    Ok(match params.get("max_source_resolution") {
        None | Some("" | "auto") => SourceResolution::Same,
        Some("raw") => SourceResolution::Raw,
        Some(_) => match params.duration("max_source_resolution")? {
            Some(nanos) if nanos > 0 => SourceResolution::UpTo(nanos),
            _ => SourceResolution::Raw,
        },
    })
}

/// A number with its thousands apart, as Prometheus writes this limit.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

async fn answer(app: &App, tenant: &Visible, when: When, params: &Params) -> Result<Response> {
    let limit = params.limit()?;
    let mut request = app.features.request(when);
    request.limit = limit;
    if let Some(lookback) = params.duration("lookback_delta")?.filter(|d| *d > 0) {
        request.lookback = lookback;
    }
    request.cached = params.get("nocache") != Some("1");
    let asked = params.get("stats");
    request.count_samples = asked.is_some();
    let per_step = asked == Some("all") && app.features.per_step_stats;
    request.resolution = resolution(params)?;
    let text = params.get("query").unwrap_or_default().to_owned();
    let (mut reply, stats) = evaluate(app, tenant, text, request, params).await?;
    if cut(&mut reply.answer, limit) {
        reply.annotations.warn(CUT);
    }
    let mut body = Vec::new();
    let stats = QueryStats { per_step, ..stats };
    let stats = asked.map(|_| &stats);
    write::query(&reply, stats, &mut body).map_err(|e| HttpError::bad_data(e.to_string()))?;
    Ok(json(body))
}

/// Parses and runs a query in the pool, with a clock on each stage.
async fn evaluate(
    app: &App,
    tenant: &Visible,
    text: String,
    request: Request,
    params: &Params,
) -> Result<(Reply, QueryStats)> {
    let mut sources = app.stores()?.sources(tenant);
    if !request.cached {
        sources.cache = None;
    }
    let limits = app.rules.limits;
    // Prometheus bounds the steps between the points; Grafana asks for as many as may be.
    let between = Limits {
        query_steps_max: limits.query_steps_max.saturating_add(1),
        ..limits
    };
    let features = app.features.promql;
    let span = tracing::info_span!("query", query.language = "promql", query.text = text);
    let watch = Stopwatch::start();
    let work = move |budget: &_, pool: &_| {
        span.in_scope(|| {
            let queue = watch.elapsed_seconds();
            let query = Query::promql(&text, features, &limits)?;
            let plan = query.plan(&request, &between)?;
            let planned = watch.elapsed_seconds();
            let reply = obs_query::run(&plan, &sources, budget, pool)?;
            let stats = QueryStats {
                queue,
                preparation: planned - queue,
                evaluation: watch.elapsed_seconds() - planned,
                samples: reply.samples_read,
                per_step: false,
            };
            Ok((reply, stats))
        })
    };
    app.read_for(tenant, timeout(params)?, work)
        .await
        .map_err(of_query)
}

/// What is wrong with a query is wrong with its parameter.
pub(super) fn of_query(mut error: HttpError) -> HttpError {
    if error.kind == ErrorKind::BadData {
        error.message = invalid("query", &error.message).message;
    }
    error
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
        Answer::Scalar(..)
        | Answer::String(..)
        | Answer::Streams(_)
        | Answer::Traces(_)
        | Answer::SpanSeries(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (number, expect) in [(0, "0"), (999, "999"), (11_000, "11,000")] {
            assert_eq!(grouped(number), expect);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
