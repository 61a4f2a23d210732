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
use obs_wire::prometheus::federation::{Form, Last, encode, of_accept};

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
    let snapshot = app.stores()?.metrics_of(&tenant);
    let now = clock::now();
    let lookback = Request::new(When::At(now)).lookback;
    // As everywhere in PromQL: what is exactly as old as the look back is too old.
    let range = TimeRange::new(now.saturating_sub(lookback).saturating_add(1), now);
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let (form, escaping) = of_accept(accept.unwrap_or_default());
    let external = app.external_labels.get();
    let external = external.iter();
    let external = external.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut external: BTreeMap<String, String> = external.collect();
    external.entry("instance".to_owned()).or_default();
    let text = app.read_for(&tenant, None, move |budget, _| {
        let samples = last(&snapshot, &selectors, range, form, budget)?;
        let mut text = Vec::new();
        encode(form, &samples, &external, escaping, &mut text);
        Ok(text)
    });
    let kind = [(header::CONTENT_TYPE, form.content_type(escaping))];
    Ok((kind, text.await?).into_response())
}

/// The last sample of each series, sorted by name and labels. Series that ended are left out, and
/// from text native histograms, for which it has no words.
fn last(
    snapshot: &Snapshot<Metrics>,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    form: Form,
    budget: &Budget,
) -> Result<Vec<Last>, QueryError> {
    let mut found: BTreeMap<(String, Labels), (Timestamp, Value)> = BTreeMap::new();
    for matchers in selectors {
        for series in obs_tsdb::select(snapshot, matchers, range, budget)? {
            let Some(at) = series.samples.len().checked_sub(1) else {
                continue;
            };
            let (time, value) = (series.samples.times[at], series.samples.value(at));
            let has_place = form == Form::Protobuf || matches!(value, Value::Float(_));
            if has_place && !value.is_stale() {
                let name = series.labels.metric_name().unwrap_or_default().to_owned();
                found.insert((name, series.labels), (time, value));
            }
        }
    }
    let samples = found.into_iter();
    Ok(samples
        .map(|((_, labels), (time, value))| (labels, time, value))
        .collect())
}
