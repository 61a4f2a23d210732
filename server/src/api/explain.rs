//! `/api/v1/explain`: what a query would do and cost; with `intermediate`, what its parts give.

mod intermediate;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use obs_collector::HttpError;
use obs_model::limits::Limits;
use obs_query::{Explanation, Language, Query, When};
use serde_json::{Value, json};

use super::{Asker, json, timeout};
use crate::app::App;
use crate::clock;
use crate::params::{Clock, Params, invalid};
use intermediate::Asked;

/// Series of a part that are shown where nothing was said, and at most.
const SERIES: usize = 5;
const SERIES_MAX: usize = 100;

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/explain", get(explain).post(explain))
}

async fn explain(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, HttpError> {
    let language = match params.get("lang").unwrap_or("promql") {
        "promql" => Language::Promql,
        "logql" => Language::Logql,
        "traceql" => Language::Traceql,
        other => {
            let text =
                format!("invalid parameter \"lang\": {other:?}, expected promql, logql or traceql");
            return Err(HttpError::bad_data(text));
        }
    };
    let text = params.need("query")?.to_owned();
    let mut request = app.features.request(when(&params)?);
    if let Some(lookback) = params.duration("lookback_delta")? {
        request.lookback = lookback;
    }
    let sources = app.stores()?.sources(&tenant);
    let limits = app.rules.limits;
    // As the query itself: the limit is of steps between points.
    let between = Limits {
        query_steps_max: limits.query_steps_max.saturating_add(1),
        ..limits
    };
    let features = app.features.promql;
    let timeout = timeout(&params)?;
    let intermediate = parts(&params, language)?.map(|series| Asked {
        tenant: tenant.clone(),
        text: text.clone(),
        request,
        timeout,
        series,
        limits: between,
    });
    let explained = app
        .read_for(&tenant, timeout, move |budget, _| {
            let query = match language {
                Language::Promql => Query::promql(&text, features, &limits)?,
                other => Query::parse(other, &text, &limits)?,
            };
            let plan = query.plan(&request, &between)?;
            obs_query::explain(&plan, &sources, budget)
        })
        .await?;
    let mut data = data(&explained, &limits);
    if let Some(asked) = intermediate {
        data["tree"] = intermediate::tree(&app, asked).await?;
    }
    let body = json!({"status": "success", "data": data});
    Ok(json(body.to_string().into_bytes()))
}

/// How many series of each part are asked for, where parts are asked for at all.
fn parts(params: &Params, language: Language) -> Result<Option<usize>, HttpError> {
    if params.flag("intermediate")? != Some(true) {
        return Ok(None);
    }
    if language != Language::Promql {
        let why = "only queries in PromQL have intermediate results";
        return Err(invalid("intermediate", why));
    }
    let series = params.count("series")?.unwrap_or(SERIES);
    Ok(Some(series.min(SERIES_MAX)))
}

/// A range where `start` is given, else an instant.
fn when(params: &Params) -> Result<When, HttpError> {
    let Some(start) = params.time("start", Clock::Seconds)? else {
        let at = params.time("time", Clock::Seconds)?;
        return Ok(When::At(at.unwrap_or_else(clock::now)));
    };
    let end = params
        .time("end", Clock::Seconds)?
        .unwrap_or_else(clock::now);
    params.need("step")?;
    let step = params.duration("step")?.unwrap_or_default();
    Ok(When::Range { start, end, step })
}

fn data(explained: &Explanation, limits: &Limits) -> Value {
    let reads: Vec<Value> = explained
        .reads
        .iter()
        .map(|read| {
            json!({
                "selector": read.selector,
                "start": read.range.start.seconds_f64(),
                "end": read.range.end.seconds_f64(),
                "series": read.cost.series,
                "samples": read.cost.samples,
                "bytes": read.cost.bytes,
            })
        })
        .collect();
    let total = explained.total();
    json!({
        "plan": explained.plan,
        "text": explained.to_string(),
        "reads": reads,
        "series": total.series,
        "samples": total.samples,
        "bytes": total.bytes,
        "steps": explained.steps,
        "stepsCached": explained.steps_cached,
        "limits": {
            "query_series_max": limits.query_series_max,
            "query_samples_max": limits.query_samples_max,
            "query_bytes_max": limits.query_bytes_max,
            "query_steps_max": limits.query_steps_max,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::{TimeRange, Timestamp};
    use obs_query::Read;

    #[test]
    fn costs_are_summed() {
        let read = |series: u64| Read {
            selector: "metrics {}".to_owned(),
            range: TimeRange::new(Timestamp::from_seconds(1), Timestamp::from_seconds(2)),
            cost: obs_tsdb::Estimate {
                series,
                samples: 10 * series,
                bytes: 100 * series,
            },
        };
        let explained = Explanation {
            plan: "at 0\n".to_owned(),
            reads: vec![read(1), read(2)],
            steps: 7,
            steps_cached: 3,
        };
        let data = data(&explained, &Limits::default());
        let numbers = ["series", "samples", "bytes", "steps", "stepsCached"];
        let found: Vec<u64> = numbers.iter().filter_map(|n| data[n].as_u64()).collect();
        assert_eq!(found, [3, 30, 300, 7, 3]);
        assert_eq!(data["reads"][1]["start"], 1.0);
        let text = data["text"].as_str().unwrap();
        assert!(text.ends_with("cached 3 of 7 steps\n"), "{text}");
    }
}
