//! `/targets` and `/scrape_pools`: what is scraped, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::routing::get;
use obs_collector::HttpError;
use obs_collector::config::Job;
use obs_collector::relabel::{self, Action, Rule};
use obs_collector::scrape::{Scraper, TargetStatus, TargetsSnapshot};
use obs_model::metrics::Metadata;
use obs_model::{Budget, Labels, Matcher, TimeRange, duration, matcher};
use obs_query::QueryError;
use obs_storage::Snapshot;
use obs_tsdb::Metrics;
use serde_json::{Map, Value, json};

use super::labels::bound;
use super::{Result, labels_json, provided, selector, success};
use crate::api::Asker;
use crate::app::App;
use crate::clock;
use crate::params::Params;

/// How far back a target's series are looked for to say which metrics it has.
const METADATA_LOOKBACK: i64 = 15 * 60 * obs_model::time::NANOS_PER_SECOND;
/// Largest text of labels that `/targets/relabel_steps` takes.
const LABELS_BYTES_MAX: usize = 1 << 20;

/// Who scrapes, of which a server and an agent tell alike.
#[derive(Clone, Debug)]
pub(crate) struct Scraped(pub(crate) Scraper);

impl FromRef<Arc<App>> for Scraped {
    fn from_ref(app: &Arc<App>) -> Self {
        Self(app.scraper.clone())
    }
}

/// What needs no store.
pub(crate) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Scraped: FromRef<S>,
{
    Router::new()
        .route("/targets", get(list))
        .route("/targets/relabel_steps", get(relabel_steps))
        .route("/scrape_pools", get(pools))
}

/// `/targets`
async fn list(State(Scraped(scraper)): State<Scraped>, params: Params) -> Response {
    let state = params.get("state").unwrap_or("any").to_lowercase();
    let pool = params.get("scrapePool");
    let snapshot = scraper.targets().snapshot();
    let mut told = targets_json(&snapshot, &state, pool);
    if params.get("reasons") == Some("true") {
        add_reasons(&scraper.jobs(), &mut told["droppedTargets"]);
    }
    success(&told)
}

/// Says of dropped targets by which rule they were; not in Prometheus, so only where it is asked
/// for.
fn add_reasons(jobs: &[Arc<Job>], dropped: &mut Value) {
    for target in dropped.as_array_mut().into_iter().flatten() {
        let job = jobs
            .iter()
            .find(|job| target["scrapePool"] == job.name.as_str());
        let labels = target["discoveredLabels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let mut builder = Labels::from_pairs(labels).to_builder();
        // A job that was reloaded just now may not drop it any more.
        let why = job.and_then(|job| relabel::dropped_by(&job.relabel, &mut builder));
        if let Some((rule, why)) = why {
            let text = format!("relabel_configs[{rule}]: {why}");
            target["reason"] = json!({"rule": rule, "text": text});
        }
    }
}

fn targets_json(snapshot: &TargetsSnapshot, state: &str, pool: Option<&str>) -> Value {
    let in_pool = |name: &str| pool.is_none_or(|wanted| wanted == name);
    // As Prometheus: any other word shows nothing.
    let show = |what: &str| state == "any" || state == what;
    let active: Vec<Value> = snapshot
        .active
        .iter()
        .filter(|status| show("active") && in_pool(&status.pool))
        .map(target_json)
        .collect();
    let dropped: Vec<Value> = snapshot
        .dropped
        .iter()
        .filter(|(name, _)| show("dropped") && in_pool(name))
        .map(|(name, labels)| json!({"discoveredLabels": labels_json(labels), "scrapePool": name}))
        .collect();
    let counts = show("dropped").then_some(&snapshot.dropped_counts);
    json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": counts,
    })
}

fn target_json(status: &TargetStatus) -> Value {
    let nanos = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    // Prometheus' word for "never" is the zero time of its language.
    let never = || "0001-01-01T00:00:00Z".to_owned();
    let last = status
        .last_scrape
        .map_or_else(never, |time| time.to_string());
    json!({
        "discoveredLabels": labels_json(&status.target.discovered),
        "labels": labels_json(&status.target.labels),
        "scrapePool": status.pool,
        "scrapeUrl": status.target.url,
        "globalUrl": status.target.url,
        "lastError": status.last_error,
        "lastScrape": last,
        "lastScrapeDuration": status.last_seconds,
        "health": status.health.as_str(),
        "scrapeInterval": duration::format(nanos(status.target.interval)),
        "scrapeTimeout": duration::format(nanos(status.target.timeout)),
    })
}

/// `/targets/metadata`
pub(super) async fn metadata(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    let limit = bound(&params, "limit")?;
    let metric = params.get("metric").map(str::to_owned);
    let wanted = params.get("match_target");
    let wanted = wanted.map(|text| selector(&app, "match_target", text));
    let wanted = wanted.transpose()?.unwrap_or_default();
    let mut targets: Vec<Labels> = app
        .scraper
        .targets()
        .snapshot()
        .active
        .into_iter()
        .map(|status| status.target.labels)
        .filter(|labels| matcher::all_match(&wanted, labels))
        .collect();
    targets.sort();
    targets.dedup();
    let now = clock::now();
    let range = TimeRange::new(now.saturating_sub(METADATA_LOOKBACK), now);
    let snapshot = app.stores()?.metrics_of(&tenant);
    let found = app.read_for(&tenant, None, move |budget, _| {
        let mut all = obs_tsdb::metadata(&snapshot, budget)?;
        all.retain(|m| metric.as_deref().is_none_or(|name| name == m.family));
        let mut found = Vec::new();
        for target in &targets {
            // As Prometheus: what a target has is not cut.
            if found.len() >= limit {
                break;
            }
            let of_target = families(&snapshot, target, range, &all, budget)?;
            found.extend(of_target.map(|meant| entry(target, meant, metric.is_none())));
        }
        Ok(found)
    });
    Ok(success(&Value::Array(found.await?)))
}

/// The families of which a target has series.
fn families<'a>(
    snapshot: &Snapshot<Metrics>,
    target: &Labels,
    range: TimeRange,
    all: &'a [Metadata],
    budget: &Budget,
) -> std::result::Result<impl Iterator<Item = &'a Metadata>, QueryError> {
    let of_target: Vec<Matcher> = target
        .iter()
        .map(|(name, value)| Matcher::equal(name, value))
        .collect();
    let names = obs_tsdb::label_values(snapshot, "__name__", &of_target, range, budget)?;
    let meant = move |meant: &&Metadata| obs_tsdb::has_family(&names, &meant.family);
    Ok(all.iter().filter(meant))
}

/// The name is left out where the request names it.
fn entry(target: &Labels, meant: &Metadata, with_name: bool) -> Value {
    let mut entry = json!({
        "target": labels_json(target),
        "type": meant.kind.as_str(),
        "help": meant.help,
        "unit": meant.unit,
    });
    if with_name {
        entry["metric"] = json!(meant.family);
    }
    entry
}

/// `/targets/relabel_steps`: what each rule makes of the labels.
async fn relabel_steps(
    State(Scraped(scraper)): State<Scraped>,
    params: Params,
) -> Result<Response> {
    let pool = provided(&params, "scrapePool")?;
    let text = provided(&params, "labels")?;
    if text.len() > LABELS_BYTES_MAX {
        return Err(HttpError::too_large(format!(
            "labels of {} bytes, at most {LABELS_BYTES_MAX} are read",
            text.len()
        )));
    }
    let labels: BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|e| HttpError::bad_data(format!("error parsing labels: {e}")))?;
    let jobs = scraper.jobs();
    let job = jobs.iter().find(|job| job.name == pool);
    let unknown = || HttpError::bad_data(format!("error getting scrape config: {}", no_pool(pool)));
    let rules = &job.ok_or_else(unknown)?.relabel;
    let labels = Labels::from_pairs(labels);
    let steps: Vec<Value> = (1..=rules.len())
        .map(|count| step(&rules[..count], &labels))
        .collect();
    Ok(success(&json!({"steps": steps})))
}

fn step(rules: &[Rule], labels: &Labels) -> Value {
    let mut builder = labels.to_builder();
    let keep = relabel::apply(rules, &mut builder);
    let output = if keep {
        builder.build()
    } else {
        Labels::empty()
    };
    let rule = rules.last().map_or(Value::Null, rule_json);
    json!({"rule": rule, "output": labels_json(&output), "keep": keep})
}

/// A rule with the configuration's keys.
fn rule_json(rule: &Rule) -> Value {
    /// What Prometheus shows where the action has no use for it.
    const DEFAULT: &str = "$1";
    let (action, target, replacement, modulus) = match &rule.action {
        Action::Replace {
            target,
            replacement,
        } => ("replace", target.as_str(), replacement.as_str(), 0),
        Action::Keep => ("keep", "", DEFAULT, 0),
        Action::Drop => ("drop", "", DEFAULT, 0),
        Action::KeepEqual(target) => ("keepequal", target.as_str(), DEFAULT, 0),
        Action::DropEqual(target) => ("dropequal", target.as_str(), DEFAULT, 0),
        Action::HashMod { target, modulus } => ("hashmod", target.as_str(), DEFAULT, *modulus),
        Action::LabelMap(replacement) => ("labelmap", "", replacement.as_str(), 0),
        Action::LabelDrop => ("labeldrop", "", DEFAULT, 0),
        Action::LabelKeep => ("labelkeep", "", DEFAULT, 0),
        Action::Lowercase(target) => ("lowercase", target.as_str(), DEFAULT, 0),
        Action::Uppercase(target) => ("uppercase", target.as_str(), DEFAULT, 0),
    };
    let mut json = Map::new();
    let mut put = |name: &str, value: Value| drop(json.insert(name.to_owned(), value));
    put("action", action.into());
    put("regex", rule.regex.source().into());
    if !rule.source_labels.is_empty() {
        put("source_labels", rule.source_labels.clone().into());
    }
    let separator = rule.separator.as_str();
    for (name, value) in [
        ("separator", separator),
        ("target_label", target),
        ("replacement", replacement),
    ] {
        if !value.is_empty() {
            put(name, value.into());
        }
    }
    if modulus > 0 {
        put("modulus", modulus.into());
    }
    Value::Object(json)
}

/// `/scrape_pools`
async fn pools(State(Scraped(scraper)): State<Scraped>) -> Response {
    let mut names: Vec<String> = scraper.jobs().iter().map(|j| j.name.clone()).collect();
    names.sort();
    success(&json!({"scrapePools": names}))
}

/// `/scrape_pools/config`
pub(super) async fn pool_config(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    let pool = provided(&params, "scrapePool")?;
    let text = app.reload.pool(&app.about, pool);
    let text = text.ok_or_else(|| HttpError::not_found(no_pool(pool)))?;
    Ok(success(&json!({"yaml": text})))
}

fn no_pool(name: &str) -> String {
    format!("scrape pool {name:?} not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_were_never_scraped() {
        let snapshot = TargetsSnapshot::default();
        let check = |state: &str, counts: Value| {
            let json = targets_json(&snapshot, state, None);
            assert_eq!(json["activeTargets"], json!([]), "{state}");
            assert_eq!(json["droppedTargetCounts"], counts, "{state}");
        };
        check("any", json!({}));
        check("active", Value::Null);
        check("dropped", json!({}));
        check("other", Value::Null);
    }
}
