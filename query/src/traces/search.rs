//! A search on one trace, and the collection of the newest traces that match.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use obs_model::answer::{FoundSpan, FoundTrace, ServiceStats, SpanSet};
use obs_model::spans::{Attribute as SpanAttribute, AttributeValue, StatusCode};
use obs_model::{SpanBatch, TimeRange, Timestamp, TraceId};
use obs_tracestore::SelectError;
use obs_tracestore::columns::{Columns, Numbers};

use super::forest::Marked;
use super::spansets::{Set, Trace, run};
use super::value::Value;
use super::view::{SERVICE_NAME, TraceView};
use crate::traceql::ast::{
    Attribute, Element, FieldExpr, Intrinsic, ScalarExpr, Scope, SpansetExpr,
};

/// A pipeline, prepared for many traces.
#[derive(Clone, Debug)]
pub struct TraceMatcher {
    pipeline: Vec<Element>,
    /// Attributes that spans of the answer show.
    shown: Vec<Attribute>,
    spans_per_set: usize,
}

impl TraceMatcher {
    /// Prepares a pipeline; each set of an answer lists at most `spans_per_set` spans.
    pub fn new(pipeline: &[Element], spans_per_set: usize) -> Self {
        let mut shown = Vec::new();
        pipeline
            .iter()
            .for_each(|element| of_element(element, &mut shown));
        // Those have their own fields in an answer.
        shown.retain(|attribute| {
            !matches!(
                attribute,
                Attribute::Intrinsic(
                    Intrinsic::Name
                        | Intrinsic::Duration
                        | Intrinsic::SpanId
                        | Intrinsic::TraceId
                        | Intrinsic::TraceDuration
                        | Intrinsic::RootName
                        | Intrinsic::RootService
                        | Intrinsic::Parent
                )
            )
        });
        Self {
            pipeline: pipeline.to_vec(),
            shown,
            spans_per_set,
        }
    }

    /// The answer's entry for a whole trace; `None` where nothing matches, or where no span has a
    /// point in common with the range, as the store's scan decides it.
    pub fn find(&self, id: TraceId, batch: &SpanBatch, range: TimeRange) -> Option<FoundTrace> {
        let trace = TraceView::new(batch)?;
        if !trace.spans.iter().any(|s| s.span.range().overlaps(range)) {
            return None;
        }
        let sets = run(&self.pipeline, &trace);
        if sets.is_empty() {
            return None;
        }
        let head = |index: usize| {
            let span = trace.spans[index].span;
            FoundSpan {
                span_id: span.span_id,
                name: span.name.clone(),
                start: span.start,
                duration_nanos: span.duration_nanos(),
                attributes: Vec::new(),
            }
        };
        Some(FoundTrace {
            trace_id: id,
            root_service: trace.root_service().map(str::to_owned),
            root_name: trace.root_name().map(str::to_owned),
            start: trace.start,
            duration_nanos: trace.duration,
            span_sets: sets
                .into_iter()
                .map(|set| self.set(&trace, set, &head))
                .collect(),
            services: services(&trace),
        })
    }

    /// What an answer says of a trace, beside what its pipeline looks at.
    pub(super) fn told(&self) -> Vec<Attribute> {
        let mut all = self.shown.clone();
        all.extend(TOLD.map(Attribute::Intrinsic));
        all.push(service_name());
        all
    }

    /// The same as [`TraceMatcher::find`] for the rows of a whole trace in a block, of which a span
    /// is in the range.
    pub(super) fn find_rows(
        &self,
        id: TraceId,
        from: &Columns<'_>,
        rows: &Range<usize>,
        marked: &Marked<'_>,
    ) -> Result<Option<FoundTrace>, SelectError> {
        let starts = from.numbers(Numbers::Start)?;
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows.clone() {
            ids.push(from.ids(row)?.1);
        }
        let start = |index: usize| Timestamp::from_nanos(starts[rows.start + index]);
        marked.sets(from, rows.clone(), |trace, sets| {
            let head = |index: usize| FoundSpan {
                span_id: ids[index],
                name: text(trace, &Attribute::Intrinsic(Intrinsic::Name), index)
                    .unwrap_or_default(),
                start: start(index),
                duration_nanos: nanos(trace, Intrinsic::Duration, index),
                attributes: Vec::new(),
            };
            FoundTrace {
                trace_id: id,
                root_service: text(trace, &Attribute::Intrinsic(Intrinsic::RootService), 0),
                root_name: text(trace, &Attribute::Intrinsic(Intrinsic::RootName), 0),
                // Rows stand in the order in which they begin.
                start: start(0),
                duration_nanos: nanos(trace, Intrinsic::TraceDuration, 0),
                span_sets: sets
                    .into_iter()
                    .map(|set| self.set(trace, set, &head))
                    .collect(),
                services: services(trace),
            }
        })
    }

    fn set<T: Trace>(&self, trace: &T, set: Set, head: &dyn Fn(usize) -> FoundSpan) -> SpanSet {
        let first = set.spans.iter().take(self.spans_per_set);
        SpanSet {
            matched: u32::try_from(set.spans.len()).unwrap_or(u32::MAX),
            spans: first.map(|index| self.span(trace, *index, head)).collect(),
            attributes: set.attributes,
        }
    }

    fn span<T: Trace>(
        &self,
        trace: &T,
        index: usize,
        head: &dyn Fn(usize) -> FoundSpan,
    ) -> FoundSpan {
        let mut found = head(index);
        let attributes = &mut found.attributes;
        for attribute in &self.shown {
            let value = trace.lookup(attribute, index);
            let key = match attribute {
                Attribute::Named { name, .. } => name.as_str(),
                Attribute::Intrinsic(intrinsic) => intrinsic.as_str(),
            };
            if !value.is_missing() && !attributes.iter().any(|a| a.key == key) {
                attributes.push(SpanAttribute {
                    key: key.to_owned(),
                    value: value.to_attribute(),
                });
            }
        }
        found
    }
}

/// What every answer says of traces and their spans.
const TOLD: [Intrinsic; 6] = [
    Intrinsic::Name,
    Intrinsic::Duration,
    Intrinsic::Status,
    Intrinsic::RootName,
    Intrinsic::RootService,
    Intrinsic::TraceDuration,
];

fn service_name() -> Attribute {
    Attribute::Named {
        parent: false,
        scope: Scope::Resource,
        name: SERVICE_NAME.to_owned(),
    }
}

fn text<T: Trace>(trace: &T, attribute: &Attribute, index: usize) -> Option<String> {
    match trace.lookup(attribute, index) {
        Value::Text(text) => Some(text.into_owned()),
        _ => None,
    }
}

fn nanos<T: Trace>(trace: &T, intrinsic: Intrinsic, index: usize) -> i64 {
    match trace.lookup(&Attribute::Intrinsic(intrinsic), index) {
        Value::Duration(nanos) => nanos,
        _ => 0,
    }
}

/// Spans and errors per service, in order of name.
fn services<T: Trace>(trace: &T) -> Vec<ServiceStats> {
    let (service, status) = (service_name(), Attribute::Intrinsic(Intrinsic::Status));
    let mut all: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for index in 0..trace.len() {
        let failed = trace.lookup(&status, index) == Value::Status(StatusCode::Error);
        let name = text(trace, &service, index).unwrap_or_default();
        let (spans, errors) = all.entry(name).or_default();
        *spans += 1;
        *errors += u32::from(failed);
    }
    let stats = |(service, (spans, errors))| ServiceStats {
        service,
        spans,
        errors,
    };
    all.into_iter().map(stats).collect()
}

fn add(attribute: &Attribute, all: &mut Vec<Attribute>) {
    if !all.contains(attribute) {
        all.push(attribute.clone());
    }
}

pub(super) fn of_element(element: &Element, all: &mut Vec<Attribute>) {
    match element {
        Element::Spans(expr) => of_spans(expr, all),
        Element::By(expr) => of_field(expr, all),
        Element::Select(attributes) => attributes.iter().for_each(|a| add(a, all)),
        Element::Scalar(filter) => {
            of_scalar(&filter.left, all);
            of_scalar(&filter.right, all);
        }
        Element::Coalesce => {}
    }
}

fn of_spans(expr: &SpansetExpr, all: &mut Vec<Attribute>) {
    match expr {
        SpansetExpr::Filter(None) => {}
        SpansetExpr::Filter(Some(expr)) => of_field(expr, all),
        SpansetExpr::Pipeline(elements) => elements.iter().for_each(|e| of_element(e, all)),
        SpansetExpr::Operation { left, right, .. } => {
            of_spans(left, all);
            of_spans(right, all);
        }
    }
}

fn of_scalar(expr: &ScalarExpr, all: &mut Vec<Attribute>) {
    match expr {
        ScalarExpr::Static(_) | ScalarExpr::Aggregate(_, None) => {}
        ScalarExpr::Aggregate(_, Some(expr)) => of_field(expr, all),
        ScalarExpr::Pipeline(elements, aggregate) => {
            elements.iter().for_each(|e| of_element(e, all));
            of_scalar(aggregate, all);
        }
        ScalarExpr::Operation { left, right, .. } => {
            of_scalar(left, all);
            of_scalar(right, all);
        }
    }
}

pub(super) fn of_field(expr: &FieldExpr, all: &mut Vec<Attribute>) {
    match expr {
        FieldExpr::Static(_) => {}
        FieldExpr::Attribute(attribute) => add(attribute, all),
        FieldExpr::Negate(inner)
        | FieldExpr::Not(inner)
        | FieldExpr::Exists(inner, _)
        | FieldExpr::Matches(inner, ..) => of_field(inner, all),
        FieldExpr::Operation { left, right, .. } => {
            of_field(left, all);
            of_field(right, all);
        }
    }
}

/// Collects the newest traces that match from a scan that gives newest traces first.
#[derive(Debug)]
pub(crate) struct TraceCollector<'a> {
    matcher: &'a TraceMatcher,
    range: TimeRange,
    limit: usize,
    found: Vec<FoundTrace>,
    /// Estimate of what was found since it was last asked.
    bytes: u64,
}

/// Estimate of the bytes of an entry of the answer.
fn bytes_of(found: &FoundTrace) -> u64 {
    let attributes = |all: &[SpanAttribute]| -> usize {
        let one = |a: &SpanAttribute| {
            let text = match &a.value {
                AttributeValue::String(text) => text.len(),
                AttributeValue::Bytes(bytes) => bytes.len(),
                _ => 0,
            };
            size_of::<SpanAttribute>() + a.key.len() + text
        };
        all.iter().map(one).sum()
    };
    let span = |s: &FoundSpan| size_of::<FoundSpan>() + s.name.len() + attributes(&s.attributes);
    let set = |s: &SpanSet| {
        let spans: usize = s.spans.iter().map(span).sum();
        size_of::<SpanSet>() + attributes(&s.attributes) + spans
    };
    let sets: usize = found.span_sets.iter().map(set).sum();
    (size_of::<FoundTrace>() + sets) as u64
}

impl<'a> TraceCollector<'a> {
    pub(crate) fn new(matcher: &'a TraceMatcher, range: TimeRange, limit: usize) -> Self {
        Self {
            matcher,
            range,
            limit,
            found: Vec::new(),
            bytes: 0,
        }
    }

    /// Estimate of the bytes that were found since this was last asked, for the budget.
    pub(crate) fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// Takes a trace; breaks when the answer is complete.
    pub(crate) fn trace(&mut self, id: TraceId, batch: &SpanBatch) -> ControlFlow<()> {
        let wanted = self.found.len() < self.limit;
        let found = wanted.then(|| self.matcher.find(id, batch, self.range));
        self.add(found.flatten())
    }

    /// Takes what was found, if anything was; breaks when the answer is complete.
    pub(super) fn add(&mut self, found: Option<FoundTrace>) -> ControlFlow<()> {
        if self.found.len() < self.limit
            && let Some(found) = found
        {
            self.bytes += bytes_of(&found);
            self.found.push(found);
        }
        if self.found.len() < self.limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    /// The answer, newest first.
    pub(crate) fn finish(mut self) -> Vec<FoundTrace> {
        self.found
            .sort_by_key(|t| std::cmp::Reverse((t.start, t.trace_id)));
        self.found
    }
}
