//! `/federate`: the last samples of chosen series, for another server to scrape.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use obs_model::{Budget, Labels, Matcher, TimeRange, Timestamp, Value};
use obs_query::{QueryError, Request, When};
use obs_storage::Snapshot;
use obs_tsdb::Metrics;
use obs_wire::prometheus::federation::{Escaping, encode};

use super::selectors;
use crate::api::{Asker, Plain, Told};
use crate::app::App;
use crate::clock;
use crate::params::Params;

/// `/federate`
pub(in crate::api) async fn federate(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response, Plain> {
    let selectors = selectors(&params, &app)?;
    let snapshot = app.stores()?.metrics.snapshot(&tenant);
    let now = clock::now();
    let lookback = Request::new(When::At(now)).lookback;
    // As everywhere in PromQL: what is exactly as old as the look back is too old.
    let range = TimeRange::new(now.saturating_sub(lookback).saturating_add(1), now);
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let escaping = Escaping::of_accept(accept.unwrap_or_default());
    let mut external = app.about.external_labels.clone();
    external.entry("instance".to_owned()).or_default();
    let text = app.read_for(&tenant, None, move |budget, _| {
        let samples = last(&snapshot, &selectors, range, budget)?;
        let mut text = Vec::new();
        encode(&samples, &external, escaping, &mut text);
        Ok(text)
    });
    let kind = [(header::CONTENT_TYPE, escaping.content_type())];
    Ok((kind, text.await?).into_response())
}

/// The last sample of each series, sorted by name and labels. Series that ended are left out, and
/// native histograms, for which the text format has no words.
fn last(
    snapshot: &Snapshot<Metrics>,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<(Labels, Timestamp, f64)>, QueryError> {
    let mut found: BTreeMap<(String, Labels), (Timestamp, f64)> = BTreeMap::new();
    for matchers in selectors {
        for series in obs_tsdb::select(snapshot, matchers, range, budget)? {
            let Some(at) = series.samples.len().checked_sub(1) else {
                continue;
            };
            let (time, value) = (series.samples.times[at], series.samples.value(at));
            if let Value::Float(number) = value
                && !value.is_stale()
            {
                let name = series.labels.metric_name().unwrap_or_default().to_owned();
                found.insert((name, series.labels), (time, number));
            }
        }
    }
    let samples = found.into_iter();
    Ok(samples
        .map(|((_, labels), (time, value))| (labels, time, value))
        .collect())
}
