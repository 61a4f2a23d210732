//! `/query_exemplars`: the exemplars of every series that a query selects.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_collector::HttpError;
use obs_model::metrics::Exemplar;
use obs_model::{Labels, Matcher, TimeRange};
use obs_query::plan::Leaf;
use obs_query::{Plan, Query, QueryError, Request, When};
use obs_wire::prometheus::api as write;

use super::Result;
use super::query::of_query;
use crate::api::{Asker, json, timeout};
use crate::app::{App, query_error};
use crate::enforced::Visible;
use crate::params::{Clock, Params};

/// `/query_exemplars`
pub(super) async fn find(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let range = params.open_range(Clock::Seconds)?;
    if range.is_empty() {
        return Err(HttpError::bad_data(
            "end timestamp must not be before start timestamp",
        ));
    }
    let text = params.get("query").unwrap_or_default();
    let found = exemplars_of(&app, &tenant, &params, (text, range)).await?;
    let mut body = Vec::new();
    write::exemplars(&found, &mut body);
    Ok(json(body))
}

/// The exemplars of every series that a query selects, by series.
pub(in crate::api) async fn exemplars_of(
    app: &App,
    tenant: &Visible,
    params: &Params,
    (text, range): (&str, TimeRange),
) -> Result<Vec<(Labels, Vec<Exemplar>)>> {
    let selectors = selectors(app, text).map_err(|e| of_query(query_error(&e)))?;
    let snapshot = app.stores()?.metrics_of(tenant);
    let found = app.read_for(tenant, timeout(params)?, move |budget, _| {
        // Selectors may share series: each is told once.
        let mut all: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for matchers in &selectors {
            all.extend(obs_tsdb::exemplars(&snapshot, matchers, range, budget)?);
        }
        Ok(all.into_iter().collect::<Vec<_>>())
    });
    found.await
}

/// The series that a query reads.
fn selectors(app: &App, text: &str) -> std::result::Result<Vec<Vec<Matcher>>, QueryError> {
    let limits = &app.rules.limits;
    let query = Query::promql(text, app.features.promql, limits)?;
    let at = When::At(obs_model::Timestamp::from_nanos(0));
    let Plan::Metric(plan) = query.plan(&Request::new(at), limits)? else {
        return Ok(Vec::new());
    };
    let leaves = plan.leaves.into_iter().filter_map(|read| match read.leaf {
        Leaf::Metrics(matchers) => Some(matchers),
        Leaf::Logs(_) => None,
    });
    Ok(leaves.collect())
}
