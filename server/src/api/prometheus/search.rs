//! `/search/{metric_names,label_names,label_values}`: names that look like what a user types, as
//! lines of JSON: batches of results, then a line that says whether there are more.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;
use obs_collector::HttpError;
use obs_model::metrics::Metadata;
use obs_model::{Budget, Matcher, TimeRange};
use obs_query::QueryError;
use obs_storage::Snapshot;
use obs_tsdb::Metrics;
use serde_json::{Value, json};

use super::fuzzy::{Algorithm, Terms};
use super::labels::{Read, read_all};
use super::{Result, selectors};
use crate::api::{Asker, timeout};
use crate::app::App;
use crate::clock;
use crate::params::{Clock, Params};

/// As Prometheus: how far back is searched without `start`.
const LOOKBACK: i64 = 3600 * obs_model::time::NANOS_PER_SECOND;
/// As Prometheus: results without `limit`, and in a line without `batch_size`.
const RESULTS_DEFAULT: usize = 100;
/// Most terms of a request; each is compared with each name.
const TERMS_MAX: usize = 32;
/// Longest term.
const TERM_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
    Score,
}

/// A search as asked for.
struct Search {
    range: TimeRange,
    selectors: Vec<Vec<Matcher>>,
    terms: Terms,
    order: Order,
    with_score: bool,
    with_metadata: bool,
    limit: usize,
    batch: usize,
}

/// What was found.
struct Found {
    results: Vec<(String, f64)>,
    more: bool,
    metadata: BTreeMap<String, Metadata>,
}

/// `/search/{what}`
pub(super) async fn find(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(what): Path<String>,
    params: Params,
) -> Result<Response> {
    let names: Box<Read<String>> = match what.as_str() {
        "metric_names" => values_of("__name__".to_owned()),
        "label_names" => Box::new(obs_tsdb::label_names),
        "label_values" => match params.get("label") {
            Some(label) => values_of(label.to_owned()),
            None => return Err(HttpError::bad_data("missing required parameter \"label\"")),
        },
        _ => return Err(HttpError::not_found("404 page not found")),
    };
    let mut search = Search::parse(&app, &params, &what)?;
    search.with_metadata &= what == "metric_names";
    let snapshot = app.stores()?.metrics_of(&tenant);
    let lines = app.read_for(&tenant, timeout(&params)?, move |budget, _| {
        let found = search.run(&snapshot, &*names, budget)?;
        Ok(search.lines(&found))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson; charset=utf-8")];
    Ok((kind, lines.await?).into_response())
}

fn values_of(label: String) -> Box<Read<String>> {
    Box::new(move |s, m, range, budget| obs_tsdb::label_values(s, &label, m, range, budget))
}

impl Search {
    fn parse(app: &App, params: &Params, what: &str) -> Result<Self> {
        let now = clock::now();
        let start = params.time("start", Clock::Seconds)?;
        let end = params.time("end", Clock::Seconds)?.unwrap_or(now);
        let selectors = selectors(params, app)?;
        let terms = terms(params)?;
        let with_score = flag(params, "include_score", false)?;
        let order = order(params, &terms, what)?;
        Ok(Self {
            range: TimeRange::new(start.unwrap_or(now.saturating_sub(LOOKBACK)), end),
            selectors,
            terms,
            order,
            with_score,
            with_metadata: flag(params, "include_metadata", false)?,
            limit: count(params, "limit")?,
            batch: count(params, "batch_size")?,
        })
    }

    fn run(
        &self,
        snapshot: &Snapshot<Metrics>,
        names: &Read<String>,
        budget: &Budget,
    ) -> std::result::Result<Found, QueryError> {
        let all = read_all(snapshot, &self.selectors, self.range, budget, names)?;
        let mut results = Vec::new();
        for name in all {
            budget.check()?;
            if let Some(score) = self.terms.score(&name) {
                results.push((name, score));
            }
        }
        // They are in order of name already.
        match self.order {
            Order::Ascending => {}
            Order::Descending => results.reverse(),
            Order::Score => results.sort_by(|a, b| b.1.total_cmp(&a.1)),
        }
        let more = results.len() > self.limit;
        results.truncate(self.limit);
        let mut metadata = BTreeMap::new();
        if self.with_metadata {
            let all = obs_tsdb::metadata(snapshot, budget)?;
            metadata.extend(all.into_iter().map(|m| (m.family.clone(), m)));
        }
        Ok(Found {
            results,
            more,
            metadata,
        })
    }

    fn lines(&self, found: &Found) -> String {
        let mut text = String::new();
        let mut line = |value: Value| text.push_str(&format!("{value}\n"));
        if found.results.is_empty() {
            line(json!({"results": []}));
        }
        for batch in found.results.chunks(self.batch) {
            let results: Vec<Value> = batch
                .iter()
                .map(|(name, score)| self.record(name, *score, found))
                .collect();
            line(json!({"results": results}));
        }
        line(json!({"status": "success", "has_more": found.more}));
        text
    }

    fn record(&self, name: &str, score: f64, found: &Found) -> Value {
        let mut record = json!({"name": name});
        if self.with_score {
            record["score"] = json!(score);
        }
        if let Some(meant) = meaning(name, &found.metadata) {
            record["type"] = json!(meant.kind.as_str());
            for (key, text) in [("help", &meant.help), ("unit", &meant.unit)] {
                if !text.is_empty() {
                    record[key] = json!(text);
                }
            }
        }
        record
    }
}

/// The metadata of the family that a metric belongs to.
fn meaning<'a>(name: &str, metadata: &'a BTreeMap<String, Metadata>) -> Option<&'a Metadata> {
    let suffixes = ["", "_total", "_bucket", "_sum", "_count", "_info"];
    let families = suffixes
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix));
    families.filter_map(|family| metadata.get(family)).next()
}

fn terms(params: &Params) -> Result<Terms> {
    let threshold = match params.get("fuzz_threshold") {
        None => 0,
        Some(text) => match text.parse::<u8>() {
            Ok(number) if number <= 100 => number,
            _ => return Err(wrong("fuzz_threshold", text, "must be 0-100")),
        },
    };
    let algorithm = match params.get("fuzz_alg") {
        None | Some("subsequence") => Algorithm::Subsequence,
        Some("jarowinkler") => Algorithm::JaroWinkler,
        Some(other) => {
            return Err(HttpError::bad_data(format!(
                "unsupported fuzz_alg {other:?}: must be one of [subsequence jarowinkler]"
            )));
        }
    };
    let case_sensitive = flag(params, "case_sensitive", true)?;
    let terms: Vec<&str> = params.all("search[]").collect();
    if terms.len() > TERMS_MAX {
        let message = format!("more than {TERMS_MAX} search[] parameters");
        return Err(HttpError::bad_data(message));
    }
    if let Some(long) = terms.iter().find(|term| term.len() > TERM_BYTES_MAX) {
        let message = format!(
            "search[] of {} bytes, at most {TERM_BYTES_MAX} are compared",
            long.len()
        );
        return Err(HttpError::bad_data(message));
    }
    let threshold = f64::from(threshold) / 100.0;
    Ok(Terms::new(terms, algorithm, threshold, case_sensitive))
}

fn order(params: &Params, terms: &Terms, what: &str) -> Result<Order> {
    let (by, direction) = (params.get("sort_by"), params.get("sort_dir"));
    let told = |text: &str| Err(HttpError::bad_data(text));
    match (by, direction) {
        (None, Some(_)) => return told("sort_dir is only valid when sort_by is set"),
        (Some("score"), Some(_)) => return told("sort_dir is not supported for sort_by=score"),
        (_, None | Some("asc" | "dsc")) => {}
        (_, Some(other)) => {
            return Err(wrong("sort_dir", other, "must be \"asc\" or \"dsc\""));
        }
    }
    match by {
        Some("score") if terms.is_empty() => told("sort_by=score requires search[] to be set"),
        Some("score") => Ok(Order::Score),
        None | Some("alpha") if direction == Some("dsc") => Ok(Order::Descending),
        None | Some("alpha") => Ok(Order::Ascending),
        Some(other) => Err(HttpError::bad_data(format!(
            "invalid sort_by {other:?} for {what}: must be \"alpha\" or \"score\""
        ))),
    }
}

/// A number of which 0 is the default.
fn count(params: &Params, name: &str) -> Result<usize> {
    match params.get(name).map(|text| (text, text.parse())) {
        None | Some((_, Ok(0))) => Ok(RESULTS_DEFAULT),
        Some((_, Ok(count))) => Ok(count),
        Some((text, Err(_))) => Err(wrong(name, text, "must be non-negative integer")),
    }
}

fn flag(params: &Params, name: &str, default: bool) -> Result<bool> {
    match params.flag(name) {
        Ok(flag) => Ok(flag.unwrap_or(default)),
        Err(_) => Err(wrong(
            name,
            params.get(name).unwrap_or_default(),
            "must be boolean",
        )),
    }
}

fn wrong(name: &str, text: &str, why: impl Display) -> HttpError {
    HttpError::bad_data(format!("invalid {name} {text:?}: {why}"))
}
