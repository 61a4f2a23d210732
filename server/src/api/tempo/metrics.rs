//! `/api/metrics/query_range` and `/api/metrics/query`: series of spans.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use obs_collector::HttpError;
use obs_model::answer::SpanSeries;
use obs_model::time::{NANOS_PER_MILLI, NANOS_PER_SECOND};
use obs_model::{Answer, Timestamp};
use obs_query::{Language, Request, When};
use obs_wire::tempo::api::SearchMetrics;
use obs_wire::tempo::requests::MetricsRequest;
use obs_wire::tempo::series as write;

use super::{RECENT, Result, answered, count, told};
use crate::api::{Asker, Told, evaluate};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::{Clock, Params, invalid};

/// Series and what they cost.
pub(super) struct Found {
    pub(super) series: Vec<SpanSeries>,
    pub(super) metrics: SearchMetrics,
    /// Why series are missing.
    pub(super) partial: Option<String>,
}

fn request(params: &Params) -> std::result::Result<MetricsRequest, HttpError> {
    let query = params.get("q").or_else(|| params.get("query"));
    let query = query.ok_or_else(|| HttpError::bad_data("parameter \"q\" is missing"))?;
    let now = clock::now();
    let end = params.time("end", Clock::Nanoseconds)?;
    let since = params.duration("since")?.unwrap_or(RECENT);
    let until = end.map_or(now, |end| end.min(now));
    let start = params.time("start", Clock::Nanoseconds)?;
    let start = start.unwrap_or_else(|| until.saturating_sub(since));
    let nanos = |time: Timestamp| u64::try_from(time.nanos()).unwrap_or(0);
    let step = match params.duration("step")? {
        Some(0) => return Err(invalid("step", "must be positive")),
        Some(step) => step.unsigned_abs(),
        None => 0,
    };
    Ok(MetricsRequest {
        query: query.to_owned(),
        start: nanos(start),
        end: nanos(end.unwrap_or(now)),
        step,
        exemplars: count(params, "exemplars")?,
        series_max: count(params, "maxSeries")?,
    })
}

/// A request of gRPC, which may leave times out as one of HTTP may: the last hour.
pub(super) fn with_times(mut asked: MetricsRequest) -> MetricsRequest {
    let nanos = |time: Timestamp| u64::try_from(time.nanos()).unwrap_or(0);
    if asked.end == 0 {
        asked.end = nanos(clock::now());
    }
    if asked.start == 0 {
        asked.start = asked.end.saturating_sub(RECENT.unsigned_abs());
    }
    asked
}

pub(super) async fn range(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let found = find(&app, &tenant, &request(&params)?, false).await?;
    let partial = found.partial.as_deref();
    Ok(answered(
        &headers,
        || write::range_protobuf(&found.series, &found.metrics, partial),
        |body| write::range_json(&found.series, &found.metrics, partial, body),
    ))
}

pub(super) async fn instant(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let found = find(&app, &tenant, &request(&params)?, true).await?;
    let partial = found.partial.as_deref();
    Ok(answered(
        &headers,
        || write::instant_protobuf(&found.series, &found.metrics, partial),
        |body| write::instant_json(&found.series, &found.metrics, partial, body),
    ))
}

/// Runs a query, over steps or for the whole range at once.
pub(super) async fn find(
    app: &App,
    tenant: &Visible,
    asked: &MetricsRequest,
    whole_range: bool,
) -> std::result::Result<Found, HttpError> {
    let time = |nanos: u64| Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX));
    let (start, end) = (time(asked.start), time(asked.end));
    if end <= start {
        return Err(HttpError::bad_data("end must be greater than start"));
    }
    let step = match i64::try_from(asked.step).unwrap_or(i64::MAX) {
        0 => default_step(end - start),
        step => step,
    };
    let mut request = Request::new(When::Range { start, end, step });
    request.whole_range = whole_range;
    request.exemplars = asked.exemplars as usize;
    let evaluated = evaluate(app, tenant, Language::Traceql, &asked.query, request, None);
    let reply = evaluated.await.map_err(told)?;
    let Answer::SpanSeries(mut series) = reply.answer else {
        return Err(HttpError::bad_data(
            "not a metrics query; ask /api/search for traces",
        ));
    };
    let most = asked.series_max as usize;
    let partial = (most > 0 && series.len() > most).then(|| {
        series.truncate(most);
        format!(
            "Response exceeds maximum series limit of {most}, a partial response is returned. \
             Warning: the accuracy of each individual value is not guaranteed."
        )
    });
    let metrics = SearchMetrics {
        inspected_bytes: reply.bytes_read,
        inspected_spans: reply.samples_read,
        completed_jobs: 1,
        total_jobs: 1,
        ..SearchMetrics::default()
    };
    Ok(Found {
        series,
        metrics,
        partial,
    })
}

/// About 240 steps, of a round length; as Tempo.
fn default_step(range: i64) -> i64 {
    const MINUTE: i64 = 60 * NANOS_PER_SECOND;
    const ROUND: [i64; 6] = [
        60 * MINUTE,
        5 * MINUTE,
        MINUTE,
        15 * NANOS_PER_SECOND,
        5 * NANOS_PER_SECOND,
        NANOS_PER_SECOND,
    ];
    const SMALL: i64 = 50 * NANOS_PER_MILLI;
    let wished = range / 240;
    if range < MINUTE {
        return (wished / SMALL * SMALL).max(SMALL);
    }
    let unit = ROUND.iter().find(|unit| wished > **unit);
    unit.map_or(NANOS_PER_SECOND, |unit| wished / unit * unit)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn steps_are_round() {
        let check = |seconds: i64, expect_millis: i64| {
            let step = default_step(seconds * NANOS_PER_SECOND);
            assert_eq!(step, expect_millis * NANOS_PER_MILLI, "{seconds} s");
        };
        check(30, 100);
        check(1, 50);
        check(300, 1000);
        check(3600, 15_000);
        check(6 * 3600, 60_000);
        check(24 * 3600, 300_000);
        check(7 * 24 * 3600, 2_400_000);
        check(30 * 24 * 3600, 10_800_000);
    }
}
