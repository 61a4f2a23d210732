//! One trace by its id, whole or the spans that a filter keeps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use obs_collector::HttpError;
use obs_model::limits::Limits;
use obs_model::{SpanBatch, SpanId, TimeRange, TraceId};
use obs_query::traceql::ast::{Attribute, Element, FieldExpr, Intrinsic, Root, SpansetExpr};
use obs_query::traces::{self, TraceMatcher};
use obs_wire::tempo::api as write;

use super::{Result, answered};
use crate::api::{Asker, Told};
use crate::app::App;
use crate::enforced::Visible;
use crate::params::{Clock, Params, invalid};

/// One whole trace; 404 where no span of it is there.
pub(crate) async fn find(
    app: &App,
    tenant: &Visible,
    id: TraceId,
) -> std::result::Result<SpanBatch, HttpError> {
    let snapshot = app.stores()?.spans_of(tenant);
    let read = app.read_for(tenant, None, move |budget, _| {
        traces::trace(&snapshot, id, budget)
    });
    let found = read.await?;
    found.ok_or_else(|| HttpError::not_found("trace not found"))
}

fn trace_id(text: &str) -> std::result::Result<TraceId, HttpError> {
    TraceId::from_hex(text).ok_or_else(|| {
        HttpError::bad_data(format!(
            "invalid trace id {text:?}, expected 1 to 32 hexadecimal digits"
        ))
    })
}

/// Where to look is known here; that the times are times is checked all the same.
fn check_times(params: &Params) -> std::result::Result<(), HttpError> {
    let start = params.time("start", Clock::Seconds)?;
    let end = params.time("end", Clock::Seconds)?;
    match (start, end) {
        (Some(start), Some(end)) if end <= start => Err(HttpError::bad_data(
            "http parameter start must be before end",
        )),
        _ => Ok(()),
    }
}

pub(super) async fn v1(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    check_times(&params)?;
    let trace = find(&app, &tenant, trace_id(&id)?).await?;
    let protobuf = || {
        let mut body = Vec::new();
        write::trace_v1_protobuf(&trace, &mut body);
        body
    };
    Ok(answered(&headers, protobuf, |body| {
        write::trace_v1_json(&trace, body);
    }))
}

pub(super) async fn v2(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    check_times(&params)?;
    let id = trace_id(&id)?;
    let filter = Filter::new(&params, &app.rules.limits)?;
    let mut trace = find(&app, &tenant, id).await?;
    let mut notes = write::TraceNotes::default();
    if let Some(filter) = filter {
        let before = trace.span_count();
        filter.apply(id, &mut trace);
        let dropped = before - trace.span_count();
        if dropped > 0 {
            notes.partial = Some(format!("{dropped} spans do not match the query"));
        }
    }
    let protobuf = || {
        let mut body = Vec::new();
        write::trace_v2_protobuf(&trace, &notes, &mut body);
        body
    };
    Ok(answered(&headers, protobuf, |body| {
        write::trace_v2_json(&trace, &notes, body);
    }))
}

/// Which spans of a trace are told.
#[derive(Debug)]
struct Filter {
    matcher: TraceMatcher,
    /// Levels above a match; none where the hierarchy is not kept.
    above: usize,
    /// Levels below it.
    below: usize,
}

impl Filter {
    /// None where the whole trace is wanted.
    fn new(params: &Params, limits: &Limits) -> std::result::Result<Option<Self>, HttpError> {
        let text = params.get("q").unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(None);
        }
        let query = obs_query::traceql::parse(text, limits)
            .map_err(|error| HttpError::bad_data(error.to_string()))?;
        let Root::Search(pipeline) = query.root else {
            return Err(unsupported());
        };
        match pipeline.as_slice() {
            [Element::Spans(SpansetExpr::Filter(filter))] => {
                if filter.as_ref().is_some_and(is_of_trace) {
                    return Err(unsupported());
                }
            }
            _ => return Err(unsupported()),
        }
        let keep = params.flag("keep_hierarchy")?.unwrap_or(false);
        Ok(Some(Self {
            matcher: TraceMatcher::new(&pipeline, usize::MAX),
            above: if keep {
                levels(params, "ancestor_depth", usize::MAX)?
            } else {
                0
            },
            below: levels(params, "match_depth", 0)?,
        }))
    }

    fn apply(&self, id: TraceId, trace: &mut SpanBatch) {
        let kept = self.kept(id, trace);
        for resource in &mut trace.resources {
            for scope in &mut resource.scopes {
                scope.spans.retain(|span| kept.contains(&span.span_id));
            }
            resource.scopes.retain(|scope| !scope.spans.is_empty());
        }
        trace.resources.retain(|r| !r.scopes.is_empty());
    }

    fn kept(&self, id: TraceId, trace: &SpanBatch) -> HashSet<SpanId> {
        let found = self.matcher.find(id, trace, TimeRange::ALL);
        let sets = found.map(|found| found.span_sets).unwrap_or_default();
        let matched: Vec<SpanId> = sets
            .iter()
            .flat_map(|set| &set.spans)
            .map(|span| span.span_id)
            .collect();
        let mut parents: HashMap<SpanId, SpanId> = HashMap::new();
        let mut children: HashMap<SpanId, Vec<SpanId>> = HashMap::new();
        for (_, _, span) in trace.iter() {
            parents.insert(span.span_id, span.parent_id);
            children
                .entry(span.parent_id)
                .or_default()
                .push(span.span_id);
        }
        let mut kept: HashSet<SpanId> = matched.iter().copied().collect();
        for span in &matched {
            let mut at = *span;
            let mut seen = HashSet::from([at]);
            for _ in 0..self.above {
                match parents.get(&at) {
                    // A cycle of parents ends where it closes.
                    Some(parent) if !parent.is_zero() && seen.insert(*parent) => at = *parent,
                    _ => break,
                }
                kept.insert(at);
            }
        }
        descend(&matched, &children, self.below, &mut kept);
        kept
    }
}

/// Adds so many levels below spans.
fn descend(
    from: &[SpanId],
    children: &HashMap<SpanId, Vec<SpanId>>,
    levels: usize,
    kept: &mut HashSet<SpanId>,
) {
    let mut seen: HashSet<SpanId> = from.iter().copied().collect();
    let mut level: Vec<SpanId> = from.to_vec();
    for _ in 0..levels {
        let below = level.iter().filter_map(|span| children.get(span)).flatten();
        level = below.copied().filter(|span| seen.insert(*span)).collect();
        if level.is_empty() {
            return;
        }
        kept.extend(&level);
    }
}

fn unsupported() -> HttpError {
    HttpError::bad_data(
        "invalid parameter \"q\": only a single spanset filter such as { status = error } is supported",
    )
}

/// Whether a filter asks about the trace and not about its spans.
fn is_of_trace(filter: &FieldExpr) -> bool {
    match filter {
        FieldExpr::Static(_) => false,
        FieldExpr::Attribute(Attribute::Intrinsic(intrinsic)) => matches!(
            intrinsic,
            Intrinsic::TraceDuration | Intrinsic::RootName | Intrinsic::RootService
        ),
        FieldExpr::Attribute(Attribute::Named { .. }) => false,
        FieldExpr::Negate(inner)
        | FieldExpr::Not(inner)
        | FieldExpr::Exists(inner, _)
        | FieldExpr::Matches(inner, ..) => is_of_trace(inner),
        FieldExpr::Operation { left, right, .. } => is_of_trace(left) || is_of_trace(right),
    }
}

/// A number of levels; -1 is all.
fn levels(params: &Params, name: &str, default: usize) -> std::result::Result<usize, HttpError> {
    match params.get(name).map(str::parse::<i64>) {
        None => Ok(default),
        Some(Ok(-1)) => Ok(usize::MAX),
        Some(Ok(number)) if number >= 0 => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
        Some(_) => Err(invalid(name, "must be >= -1")),
    }
}
