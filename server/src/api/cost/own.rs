//! obs' own view of costs, below `/api/v1/cost`: the same accounts, numbers as they are.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use obs_collector::HttpError;
use obs_cost::Allocation;
use obs_model::time::NANOS_PER_SECOND;
use serde_json::{Value, json};

use super::{Asker, Fault, asked, paid, savings, sets, shape};
use crate::api::json;
use crate::app::App;
use crate::params::Params;

/// Below `/api/v1`.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/cost/allocation", get(allocation))
        .route("/cost/assets", get(assets))
        .route("/cost/savings", get(savings::savings))
        .route("/cost/forecast", get(savings::forecast))
        .route("/cost/what-if", get(savings::what_if))
}

/// An error as the other APIs of obs tell it.
pub(super) struct Own(HttpError);

impl From<Fault> for Own {
    fn from(fault: Fault) -> Self {
        Self(fault.error)
    }
}

impl From<HttpError> for Own {
    fn from(error: HttpError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Own {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

pub(super) fn answer(data: &Value) -> Response {
    let body = json!({"status": "success", "data": data});
    json(body.to_string().into_bytes())
}

/// A number that JSON can have.
pub(super) fn number(value: f64) -> Value {
    match value.is_finite() {
        // Nothing is never less than nothing.
        true => Value::from(value + 0.0),
        false => Value::Null,
    }
}

/// An allocation; times are seconds.
fn told(one: &Allocation) -> Value {
    let seconds = |nanos: i64| nanos as f64 / NANOS_PER_SECOND as f64;
    let mut told = json!({
        "name": one.name,
        "properties": shape::properties(one),
        "start": seconds(one.life.start),
        "end": seconds(one.life.end),
        "pvs": shape::volumes(one),
        "lbAllocations": shape::balancers(one),
    });
    for (name, value) in shape::numbers(one) {
        told[name] = number(value);
    }
    told
}

async fn allocation(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, Own> {
    let sets = sets(&app, &tenant, asked(&params)?).await?;
    let all = sets.iter().map(|(span, set)| {
        let total: f64 = set.values().map(Allocation::total).sum();
        json!({
            "window": shape::window(*span),
            "totalCost": number(total),
            "items": set.values().map(told).collect::<Vec<_>>(),
        })
    });
    Ok(answer(
        &json!({"currency": "USD", "sets": all.collect::<Vec<_>>()}),
    ))
}

async fn assets(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, Own> {
    let (window, assets) = paid(&app, &tenant, &params).await?;
    let total: f64 = assets.iter().map(obs_cost::Asset::total).sum();
    let all: Vec<Value> = assets.iter().map(|one| shape::told(one, window)).collect();
    Ok(answer(&json!({
        "currency": "USD",
        "window": shape::window(window),
        "totalCost": number(total),
        "items": all,
    })))
}
