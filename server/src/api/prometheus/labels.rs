//! `/labels`, `/label/{name}/values`, `/series` and `/metadata`: what there is.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use obs_collector::HttpError;
use obs_model::{Annotations, Budget, Matcher, TimeRange};
use obs_query::QueryError;
use obs_storage::Snapshot;
use obs_tsdb::{Metrics, SelectError};
use obs_wire::prometheus::api as write;

use super::{Result, cut_note, selectors};
use crate::api::{Asker, json, timeout};
use crate::app::App;
use crate::enforced::Visible;
use crate::params::{Clock, Params};

/// What [`gather`] reads with.
pub(super) type Read<T> = dyn Fn(
        &Snapshot<Metrics>,
        &[Matcher],
        TimeRange,
        &Budget,
    ) -> std::result::Result<Vec<T>, SelectError>
    + Send;

/// Reads something of each selector (of everything where there is none), sorted and once.
pub(super) fn read_all<T: Ord>(
    snapshot: &Snapshot<Metrics>,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
    read: &Read<T>,
) -> std::result::Result<Vec<T>, SelectError> {
    if selectors.is_empty() {
        return read(snapshot, &[], range, budget);
    }
    let mut found = Vec::new();
    for matchers in selectors {
        found.extend(read(snapshot, matchers, range, budget)?);
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Reads what the parameters ask for; whether it was cut.
async fn gather<T: Ord + Send + 'static>(
    app: &App,
    tenant: &Visible,
    params: &Params,
    read: Box<Read<T>>,
) -> Result<(Vec<T>, bool)> {
    let limit = params.limit()?;
    let range = params.open_range(Clock::Seconds)?;
    let selectors = selectors(params, app)?;
    let snapshot = app.stores()?.metrics_of(tenant);
    app.read_for(tenant, timeout(params)?, move |budget, _| {
        let mut found = read_all(&snapshot, &selectors, range, budget, &*read)?;
        let cut = found.len() > limit;
        found.truncate(limit);
        Ok((found, cut))
    })
    .await
}

/// `/labels`
pub(super) async fn names(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let read = Box::new(obs_tsdb::label_names);
    let (names, cut) = gather(&app, &tenant, &params, read).await?;
    let mut body = Vec::new();
    write::strings(&names, &cut_note(cut), &mut body);
    Ok(json(body))
}

/// `/label/{name}/values`
pub(super) async fn values(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response> {
    let name = unescape(&name);
    if name.is_empty() {
        return Err(HttpError::bad_data("invalid label name: \"\""));
    }
    let read = move |s: &Snapshot<Metrics>, m: &[Matcher], r, b: &Budget| {
        obs_tsdb::label_values(s, &name, m, r, b)
    };
    let (values, cut) = gather(&app, &tenant, &params, Box::new(read)).await?;
    let mut body = Vec::new();
    write::strings(&values, &cut_note(cut), &mut body);
    Ok(json(body))
}

/// `/series`
pub(super) async fn series(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    if params.all("match[]").next().is_none() {
        return Err(HttpError::bad_data("no match[] parameter provided"));
    }
    let read = Box::new(obs_tsdb::series);
    let (found, cut) = gather(&app, &tenant, &params, read).await?;
    let mut body = Vec::new();
    write::series(&found, &cut_note(cut), &mut body);
    Ok(json(body))
}

/// `/metadata`
pub(super) async fn metadata(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let metric = params.get("metric").map(str::to_owned);
    let limit = bound(&params, "limit")?;
    // Here a family has one meaning, the last one told, so that this only has to be a number.
    bound(&params, "limit_per_metric")?;
    let snapshot = app.stores()?.metrics_of(&tenant);
    let read = app.read_for(&tenant, timeout(&params)?, move |budget, _| {
        obs_tsdb::metadata(&snapshot, budget).map_err(QueryError::from)
    });
    let mut found = read.await?;
    found.retain(|m| metric.as_deref().is_none_or(|name| name == m.family));
    found.truncate(limit);
    let mut body = Vec::new();
    write::metadata(&found, &Annotations::default(), &mut body);
    Ok(json(body))
}

/// A bound of Prometheus' lists of metadata: negative numbers are none, 0 is 0.
pub(super) fn bound(params: &Params, name: &str) -> Result<usize> {
    let Some(text) = params.get(name) else {
        return Ok(usize::MAX);
    };
    let number: i64 = text
        .parse()
        .map_err(|_| HttpError::bad_data(format!("{name} must be a number")))?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// A label name as paths carry it: `U__` marks one whose characters outside the old alphabet are
/// written as `_HEX_` and whose `_` is doubled. Anything else stands for itself.
fn unescape(text: &str) -> String {
    let Some(escaped) = text.strip_prefix("U__") else {
        return text.to_owned();
    };
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, tail)) = rest.split_once('_') {
        name.push_str(before);
        if let Some(after) = tail.strip_prefix('_') {
            name.push('_');
            rest = after;
            continue;
        }
        let character = tail.split_once('_').and_then(|(hex, after)| {
            let code = u32::from_str_radix(hex, 16).ok()?;
            Some((char::from_u32(code)?, after))
        });
        // Not an escape: then the whole text is a name of its own.
        let Some((character, after)) = character else {
            return text.to_owned();
        };
        name.push(character);
        rest = after;
    }
    name.push_str(rest);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names() {
        for (text, expect) in [
            ("job", "job"),
            ("U__service_2e_name", "service.name"),
            ("U__a__b", "a_b"),
            ("U__a_zz_b", "U__a_zz_b"),
            ("U__", ""),
        ] {
            assert_eq!(unescape(text), expect);
        }
    }
}
