//! `labels`, `label/<name>/values` and `series`: what streams there are.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use obs_model::{Budget, Labels, Matcher, TimeRange};
use obs_query::QueryError;
use obs_query::logs::tenants::{TENANT_LABEL, TenantLogs, with_tenant};
use obs_wire::loki::api as write;

use super::{Askers, HOUR, Result, gather, json, matchers, range};
use crate::api::Told;
use crate::app::App;
use crate::params::Params;

const SINCE: i64 = 6 * HOUR;

fn sorted<T: Ord>(mut found: Vec<T>) -> Vec<T> {
    found.sort();
    found.dedup();
    found
}

pub(super) async fn names(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let matchers = vec![matchers(&app, params.get("query"))?];
    let (start, end) = range(&params, SINCE)?;
    let several = askers.several();
    let read = move |tenant: &TenantLogs, matchers: &[Matcher], budget: &Budget| {
        let range = TimeRange::new(start, end);
        let names = obs_logstore::label_names(&tenant.snapshot, matchers, range, budget);
        let mut names = names.map_err(QueryError::from)?;
        if several && !names.is_empty() {
            names.push(TENANT_LABEL.to_owned());
        }
        Ok(names)
    };
    let names = sorted(gather(&app, &askers, &params, matchers, read).await?);
    let mut body = Vec::new();
    write::strings(&names, &mut body);
    Ok(json(body))
}

pub(super) async fn values(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Path(name): Path<String>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let matchers = vec![matchers(&app, params.get("query"))?];
    let (start, end) = range(&params, SINCE)?;
    let several = askers.several();
    let read = move |tenant: &TenantLogs, matchers: &[Matcher], budget: &Budget| {
        if several && name == TENANT_LABEL {
            return Ok(vec![tenant.name.clone()]);
        }
        let range = TimeRange::new(start, end);
        let values = obs_logstore::label_values(&tenant.snapshot, &name, matchers, range, budget);
        Ok(values?)
    };
    let values = sorted(gather(&app, &askers, &params, matchers, read).await?);
    let mut body = Vec::new();
    write::strings(&values, &mut body);
    Ok(json(body))
}

pub(super) async fn series(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let texts = params.all("match[]").chain(params.all("match"));
    let mut selectors: Vec<Vec<Matcher>> = texts
        .map(|text| matchers(&app, Some(text)))
        .collect::<super::Checked<_>>()?;
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let (start, end) = range(&params, SINCE)?;
    let several = askers.several();
    let read = move |tenant: &TenantLogs, matchers: &[Matcher], budget: &Budget| {
        let range = TimeRange::new(start, end);
        let mut found = obs_logstore::streams(&tenant.snapshot, matchers, range, budget)?;
        if several {
            found = found.iter().map(|l| with_tenant(l, &tenant.name)).collect();
        }
        Ok(found)
    };
    let found: Vec<Labels> = sorted(gather(&app, &askers, &params, selectors, read).await?);
    let mut body = Vec::new();
    write::series(&found, &mut body);
    Ok(json(body))
}
