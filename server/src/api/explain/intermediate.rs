//! What each part of a query in PromQL gives: the tree of the expression, every node asked for by
//! itself over the same data and at the same times.
//!
//! Invariants: each part has a budget of its own, all have the deadline of one query; a part that
//! fails says so in its node and the others go on. The caches of answers are neither read nor
//! filled, so that the times are those of computing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use obs_collector::HttpError;
use obs_model::answer::MatrixSeries;
use obs_model::limits::Limits;
use obs_model::{Annotations, Answer, Labels, Reply, Samples};
use obs_query::error::ParseError;
use obs_query::promql::ast::{Expr, Type};
use obs_query::promql::{self, Part};
use obs_query::{Plan, Request, Sources, When};
use obs_wire::prometheus::api as write;
use serde_json::{Value, json};

use crate::app::{App, query_error};
use crate::clock::Stopwatch;
use crate::enforced::Visible;

/// Most parts that are computed; a page shows no more, and each of them is a query.
const PARTS_MAX: usize = 100;
/// Longest text of a part in characters.
const TEXT_CHARS_MAX: usize = 2000;
/// Most points that a series shows; of more, evenly spread ones.
const POINTS_MAX: usize = 120;
/// Most labels that are counted, and most of their values that are shown.
const LABELS_MAX: usize = 50;
const EXAMPLES_MAX: usize = 5;

/// A query whose parts are asked for.
pub(super) struct Asked {
    /// Whose data.
    pub(super) tenant: Visible,
    /// The query.
    pub(super) text: String,
    /// At which times.
    pub(super) request: Request,
    /// How long all parts may take together.
    pub(super) timeout: Option<Duration>,
    /// Series of each part that are shown.
    pub(super) series: usize,
    /// The limits of planning.
    pub(super) limits: Limits,
}

/// The parts as JSON: `{"nodes": […], "cut": false}`. The first node is the whole.
pub(super) async fn tree(app: &App, mut asked: Asked) -> Result<Value, HttpError> {
    let limits = app.rules.limits;
    let fault = |error: ParseError| query_error(&error.into());
    let expr = promql::parse_with(&asked.text, app.features.promql, &limits).map_err(fault)?;
    let mut sources = app.stores()?.sources(&asked.tenant);
    sources.cache = None;
    asked.request.cached = false;
    asked.request.count_samples = false;
    let longest = Duration::from_millis(limits.query_time_ms_max);
    let deadline = asked.timeout.map_or(longest, |t| t.min(longest));
    let (sources, asked) = (Arc::new(sources), Arc::new(asked));
    let watch = Stopwatch::start();
    let (parts, cut) = promql::parts(&expr, PARTS_MAX);
    let mut nodes = Vec::with_capacity(parts.len());
    for (id, part) in parts.iter().enumerate() {
        let mut node = described(id, part, &asked.text);
        if part.value_type() != Type::Text {
            let left = deadline.saturating_sub(watch.elapsed());
            node["result"] = result(app, part.expr, (&sources, &asked), left).await;
        }
        nodes.push(node);
    }
    Ok(json!({"nodes": nodes, "cut": cut, "elapsedMs": millis(watch)}))
}

/// What a part is, without its value.
fn described(id: usize, part: &Part<'_>, text: &str) -> Value {
    let place = |bytes: usize| text.get(..bytes).map_or(0, |t| t.encode_utf16().count());
    json!({
        "id": id,
        "parent": part.parent,
        "children": part.children,
        "kind": part.kind(),
        "head": shortened(&part.head()),
        "expr": shortened(&part.expr.to_string()),
        // As JavaScript counts.
        "start": place(part.expr.span.start),
        "end": place(part.expr.span.end),
        "type": part.value_type().value_name(),
    })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn millis(watch: Stopwatch) -> f64 {
    (watch.elapsed_seconds() * 1e6).round() / 1e3
}

/// The value of a part, or why there is none.
async fn result(
    app: &App,
    expr: &Expr,
    (sources, asked): (&Arc<Sources>, &Arc<Asked>),
    left: Duration,
) -> Value {
    let (expr, sources, asked) = (expr.clone(), Arc::clone(sources), Arc::clone(asked));
    let tenant = asked.tenant.clone();
    let work = move |budget: &_, pool: &_| {
        let mut request = asked.request;
        if expr.value_type() == Type::Range {
            // No query over a range has ranges as its values: those of its end stand for them.
            request.when = When::At(request.when.bounds().1);
        }
        let watch = Stopwatch::start();
        let plan = promql::plan(&expr, &asked.text, &request, &asked.limits).map(Plan::Metric)?;
        let reply = obs_query::run(&plan, &sources, budget, pool)?;
        let elapsed = millis(watch);
        Ok(shown(reply, asked.series, elapsed))
    };
    match app.read_for(&tenant, Some(left), work).await {
        Ok(shown) => shown,
        Err(error) => json!({
            "error": error.message,
            "errorType": error.kind.prometheus(),
        }),
    }
}

/// Counts of an answer, its labels, and the first of its series as the API of queries shows them.
fn shown(mut reply: Reply, series_max: usize, elapsed: f64) -> Value {
    let (series, points) = match &reply.answer {
        Answer::Vector(vector) => (vector.len(), vector.len()),
        Answer::Matrix(matrix) => (
            matrix.len(),
            matrix.iter().map(|s| s.samples.len()).sum::<usize>(),
        ),
        _ => (1, 1),
    };
    let labels = match &reply.answer {
        Answer::Vector(vector) => counted(vector.iter().map(|s| &s.labels)),
        Answer::Matrix(matrix) => counted(matrix.iter().map(|s| &s.labels)),
        _ => Value::Array(Vec::new()),
    };
    match &mut reply.answer {
        Answer::Vector(vector) => vector.truncate(series_max),
        Answer::Matrix(matrix) => {
            matrix.truncate(series_max);
            matrix.iter_mut().for_each(thin);
        }
        _ => {}
    }
    let Annotations { warnings, infos } = std::mem::take(&mut reply.annotations);
    let mut body = Vec::new();
    let written = write::query(&reply, None, &mut body).map_err(|e| e.to_string());
    let parsed = written
        .and_then(|()| serde_json::from_slice::<Value>(&body).map_err(|error| error.to_string()));
    let data = match parsed {
        Ok(mut envelope) => envelope["data"].take(),
        Err(error) => return json!({"error": error, "errorType": "internal"}),
    };
    json!({
        "resultType": data["resultType"],
        "result": data["result"],
        "series": series,
        "points": points,
        "labels": labels,
        "elapsedMs": elapsed,
        "samplesRead": reply.samples_read,
        "bytesRead": reply.bytes_read,
        "warnings": warnings,
        "infos": infos,
    })
}

/// How many values each label has, the one with most first.
fn counted<'a>(all: impl Iterator<Item = &'a Labels>) -> Value {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in all.flat_map(IntoIterator::into_iter) {
        found.entry(name).or_default().insert(value);
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(name, values)| (std::cmp::Reverse(values.len()), *name));
    found.truncate(LABELS_MAX);
    let labels = found.into_iter().map(|(name, values)| {
        let examples: Vec<&str> = values.iter().take(EXAMPLES_MAX).copied().collect();
        json!({"name": name, "values": values.len(), "examples": examples})
    });
    labels.collect()
}

/// Keeps evenly spread points, the last one among them.
fn thin(series: &mut MatrixSeries) {
    let count = series.samples.len();
    let every = count.div_ceil(POINTS_MAX);
    if every <= 1 {
        return;
    }
    let mut kept = Samples::default();
    for (index, (time, value)) in series.samples.iter().enumerate() {
        if (count - 1 - index).is_multiple_of(every) {
            kept.push(time, value);
        }
    }
    series.samples = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::{Timestamp, Value as Point};

    #[test]
    fn answers_are_counted_and_cut() {
        let series = |pod: usize| {
            let mut samples = Samples::default();
            for step in 0..1000 {
                samples.push(Timestamp::from_seconds(step), Point::Float(step as f64));
            }
            let pod = format!("p{pod}");
            let labels = [("job", "a"), ("pod", pod.as_str())];
            MatrixSeries {
                labels: Labels::from_pairs(labels),
                samples,
            }
        };
        let reply = Reply {
            answer: Answer::Matrix((0..9).map(series).collect()),
            annotations: Annotations::default(),
            samples_read: 9000,
            bytes_read: 7,
            samples_by_step: None,
        };
        let shown = shown(reply, 2, 1.5);
        let numbers = ["series", "points", "samplesRead", "bytesRead"];
        let found: Vec<u64> = numbers.iter().filter_map(|n| shown[n].as_u64()).collect();
        assert_eq!(found, [9, 9000, 9000, 7], "{shown}");
        assert_eq!(shown["resultType"], "matrix");
        assert_eq!(shown["result"].as_array().map(Vec::len), Some(2));
        let values = shown["result"][0]["values"].as_array().unwrap();
        assert!(values.len() <= POINTS_MAX && values.len() > POINTS_MAX / 2);
        assert_eq!(values.last(), Some(&json!([999, "999"])));
        let labels = &shown["labels"];
        assert_eq!(
            labels[0],
            json!({"name": "pod", "values": 9, "examples": ["p0", "p1", "p2", "p3", "p4"]})
        );
        assert_eq!(labels[1]["values"], 1);
    }

    #[test]
    fn places_count_as_javascript_does() {
        let text = "label_replace(up, \"a\", \"🦀\", \"\", \"\") + up";
        let expr = promql::parse(text, &Limits::default()).unwrap();
        let (parts, _) = promql::parts(&expr, PARTS_MAX);
        let nodes: Vec<Value> = parts
            .iter()
            .enumerate()
            .map(|(id, part)| described(id, part, text))
            .collect();
        let right = nodes
            .iter()
            .find(|n| n["parent"] == 0 && n["kind"] == "vectorSelector");
        let right = right.unwrap();
        let utf16: Vec<u16> = text.encode_utf16().collect();
        let (start, end) = (
            right["start"].as_u64().unwrap(),
            right["end"].as_u64().unwrap(),
        );
        let found = &utf16[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
        assert_eq!(String::from_utf16(found).unwrap(), "up");
        assert_eq!(
            shortened(&"ä".repeat(3000)).chars().count(),
            TEXT_CHARS_MAX + 1
        );
    }
}
