//! Costs: OpenCost's API at the root, with its parameters and names, and obs' own below
//! `/api/v1/cost`.
//!
//! Invariant: OpenCost's routes answer in its envelope (`code`, `status`, `data`) and round to five
//! digits as it does; obs' own tell numbers as they are.

mod own;
mod savings;
mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use obs_collector::HttpError;
use obs_cost::{
    Accumulate, Aggregate, Allocation, Asset, CostError, Filter, Ledger, ShareSplit, Span,
};
use serde_json::{Value, json};

use super::{Asker, json};
use crate::app::App;
use crate::enforced::Visible;
use crate::params::Params;
use crate::{clock, cost};

pub(super) use own::routes as own_routes;

/// Most windows of one answer.
const SETS_MAX: i64 = 1_000;

/// OpenCost's routes; Kubecost's clients ask below `/model`.
pub(super) fn routes() -> Router<Arc<App>> {
    let all = Router::new()
        .route("/allocation", get(allocation))
        .route("/allocation/compute", get(allocation))
        .route("/allocation/summary", get(summary))
        .route("/allocation/compute/summary", get(summary))
        .route("/assets", get(assets));
    Router::new().nest("/model", all.clone()).merge(all)
}

/// An error as OpenCost tells it.
struct Fault {
    error: HttpError,
    /// Whether it is told as text.
    plain: bool,
}

impl Fault {
    fn bad(message: impl Into<String>) -> Self {
        HttpError::bad_data(message).into()
    }

    /// One that OpenCost tells as text.
    fn plain(message: String) -> Self {
        Self {
            plain: true,
            ..Self::bad(message)
        }
    }
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        Self {
            error,
            plain: false,
        }
    }
}

impl From<CostError> for Fault {
    fn from(error: CostError) -> Self {
        match error {
            CostError::Window(_) => Self::plain(format!("Invalid 'window' parameter: {error}")),
            CostError::Property(_) => {
                Self::plain(format!("Invalid 'aggregate' parameter: {error}"))
            }
            error => Self::bad(error.to_string()),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, message) = (self.error.status(), &self.error.message);
        if self.plain {
            return (status, format!("{message}\n")).into_response();
        }
        let body = json!({
            "code": status.as_u16(),
            "status": "",
            "data": null,
            "message": format!("Error: {message}"),
        });
        let mut response = (status, body.to_string()).into_response();
        let kind = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// What OpenCost answers.
fn wrapped(data: &Value) -> Response {
    let body = json!({"code": 200, "status": "success", "data": data});
    json(body.to_string().into_bytes())
}

/// Accounts of windows, each added up.
pub(super) type Sets = Vec<(Span, BTreeMap<String, Allocation>)>;

/// What is asked of allocations.
struct Asked {
    window: Span,
    step: i64,
    resolution: Option<i64>,
    accumulate: Option<Accumulate>,
    aggregate: Aggregate,
}

/// The window that must be given.
fn window(params: &Params) -> Result<Span, CostError> {
    let text = params.get("window").unwrap_or_default();
    obs_cost::parse_window(text, clock::now().nanos())
}

fn length(params: &Params, name: &str) -> Result<Option<i64>, CostError> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let found = obs_cost::parse_duration(text);
    let fault = || CostError::Invalid(format!("invalid parameter {name:?}: {text:?}, expected 1d"));
    found.map(Some).ok_or_else(fault)
}

/// What is shared: namespaces, and labels as `name:value`.
fn shared(params: &Params) -> Result<Option<Filter>, CostError> {
    let list = |name: &str| -> Vec<String> {
        let text = params.get(name).unwrap_or_default().split(',');
        let parts = text.map(|part| part.trim().replace('"', ""));
        parts.filter(|part| !part.is_empty()).collect()
    };
    let quoted = |part: String| format!("\"{part}\"");
    let mut parts = Vec::new();
    let namespaces: Vec<String> = list("shareNamespaces").into_iter().map(quoted).collect();
    if !namespaces.is_empty() {
        parts.push(format!("namespace:{}", namespaces.join(",")));
    }
    for label in list("shareLabels") {
        let Some((name, value)) = label.split_once(':') else {
            let message =
                format!("invalid parameter \"shareLabels\": {label:?}, expected name:value");
            return Err(CostError::Invalid(message));
        };
        parts.push(format!("label[{name}]:\"{value}\""));
    }
    if parts.is_empty() {
        return Ok(None);
    }
    Filter::parse::<Allocation>(&parts.join("|")).map(Some)
}

fn accumulation(params: &Params) -> Result<Option<Accumulate>, Fault> {
    if let Some(by) = params.get("accumulateBy") {
        return Ok(Some(match by {
            "all" => Accumulate::All,
            "hour" => Accumulate::Hour,
            "day" => Accumulate::Day,
            "week" => Accumulate::Week,
            "month" => Accumulate::Month,
            "none" => return Ok(None),
            _ => return Err(Fault::bad(format!("illegal accumulateBy: {by:?}"))),
        }));
    }
    // Kubecost also takes the length here: `accumulate=day`.
    match params.get("accumulate") {
        Some("hour") => return Ok(Some(Accumulate::Hour)),
        Some("day") => return Ok(Some(Accumulate::Day)),
        Some("week") => return Ok(Some(Accumulate::Week)),
        Some("month") => return Ok(Some(Accumulate::Month)),
        _ => {}
    }
    let all = params.flag("accumulate")?.unwrap_or(false);
    Ok(all.then_some(Accumulate::All))
}

fn asked(params: &Params) -> Result<Asked, Fault> {
    let window = window(params)?;
    let step = length(params, "step")?.unwrap_or_else(|| window.nanos());
    if window.nanos() / step >= SETS_MAX {
        return Err(Fault::bad(format!("more than {SETS_MAX} steps")));
    }
    let flag = |name: &str| params.flag(name).map(|flag| flag.unwrap_or(false));
    let idle = flag("includeIdle")?;
    let proportions = flag("includeProportionalAssetResourceCosts")?;
    if proportions && !idle {
        return Err(Fault::bad(
            "bad request - includeIdle must be set true if includeProportionalAssetResourceCosts is true",
        ));
    }
    let filter = params.get("filter").map(Filter::parse::<Allocation>);
    let overhead = match params.get("shareCost") {
        None => 0.0,
        Some(text) => {
            let cost: Option<f64> = text.parse().ok();
            let cost = cost.filter(|cost| cost.is_finite() && *cost >= 0.0);
            let fault =
                || format!("invalid parameter \"shareCost\": {text:?}, expected dollars a month");
            cost.ok_or_else(|| Fault::bad(fault()))?
        }
    };
    let share_idle = flag("shareIdle")?;
    Ok(Asked {
        window,
        step,
        resolution: length(params, "resolution")?,
        accumulate: accumulation(params)?,
        aggregate: Aggregate {
            by: obs_cost::properties(params.get("aggregate").unwrap_or_default())?,
            filter: filter.transpose()?,
            share: shared(params)?,
            overhead,
            split: match params.get("shareSplit") {
                Some("even") => ShareSplit::Even,
                None | Some("weighted") => ShareSplit::Weighted,
                Some(other) => return Err(Fault::bad(format!("illegal shareSplit: {other:?}"))),
            },
            idle: idle || share_idle,
            share_idle,
            idle_by_node: flag("idleByNode")?,
            split_idle: flag("splitIdle")?,
            proportions,
            keep_metadata: flag("includeAggregatedMetadata")?,
        },
    })
}

/// The accounts that are asked for.
async fn sets(app: &App, tenant: &Visible, asked: Asked) -> Result<Sets, HttpError> {
    let read = (asked.window, asked.resolution);
    cost::read(app, tenant, read, move |cluster, book| {
        let mut sets = Sets::new();
        let mut start = asked.window.start;
        while start < asked.window.end {
            let end = start.saturating_add(asked.step).min(asked.window.end);
            let ledger = obs_cost::ledger(cluster, book, Span::new(start, end));
            sets.push((ledger.window, asked.aggregate.run(&ledger)));
            start = end;
        }
        match asked.accumulate {
            Some(by) => obs_cost::accumulate(sets, by, asked.aggregate.keep_metadata),
            None => sets,
        }
    })
    .await
}

async fn allocation(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, Fault> {
    let sets = sets(&app, &tenant, asked(&params)?).await?;
    let told: Vec<Value> = sets.iter().map(|(_, set)| shape::set(set)).collect();
    Ok(wrapped(&Value::Array(told)))
}

async fn summary(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, Fault> {
    let asked = asked(&params)?;
    let window = asked.window;
    let step = asked.step;
    let sets = sets(&app, &tenant, asked).await?;
    Ok(wrapped(&shape::summaries(&sets, window, step)))
}

/// What is paid for in a window.
async fn paid(app: &App, tenant: &Visible, params: &Params) -> Result<(Span, Vec<Asset>), Fault> {
    let window = window(params)?;
    let filter = params
        .get("filter")
        .map(Filter::parse::<Asset>)
        .transpose()?;
    let read = (window, length(params, "resolution")?);
    let made = cost::read(app, tenant, read, move |cluster, book| {
        obs_cost::ledger(cluster, book, window)
    });
    let Ledger { mut assets, .. } = made.await?;
    assets.retain(|asset| filter.as_ref().is_none_or(|filter| filter.matches(asset)));
    Ok((window, assets))
}

async fn assets(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, Fault> {
    let (window, assets) = paid(&app, &tenant, &params).await?;
    let told = assets.iter().map(|asset| shape::asset(asset, window));
    Ok(wrapped(&Value::Object(told.collect())))
}

#[cfg(test)]
mod tests;
