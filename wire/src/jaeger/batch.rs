//! Spans as Jaeger's clients tell them, whatever the encoding, and what they are in the model.
//!
//! Invariant: what OTLP has a field for is taken out of the tags; the query API writes it back.

use std::collections::HashMap;

use obs_model::limits::Limits;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, SpanEvent, SpanKind,
    SpanLink, StatusCode,
};
use obs_model::{Span, SpanBatch, SpanId, Timestamp, TraceId};

use crate::rejects::{Decoded, Rejects};

/// Who sent spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) service: String,
    pub(super) tags: Vec<Attribute>,
}

/// A reference to another span.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reference {
    pub(super) follows: bool,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
}

/// A span; times in nanoseconds, none where they do not fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct JaegerSpan {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent: SpanId,
    pub(super) name: String,
    pub(super) references: Vec<Reference>,
    pub(super) flags: u32,
    pub(super) start: Option<i64>,
    pub(super) duration: Option<i64>,
    pub(super) tags: Vec<Attribute>,
    pub(super) logs: Vec<(Option<i64>, Vec<Attribute>)>,
    /// Its own process, before that of the batch.
    pub(super) process: Option<Process>,
}

/// The spans of a batch by process and scope, in order of appearance.
pub(super) fn batch(
    process: &Process,
    spans: Vec<JaegerSpan>,
    limits: &Limits,
) -> Decoded<SpanBatch> {
    let mut rejects = Rejects::default();
    let mut places: HashMap<String, Vec<(Process, usize)>> = HashMap::new();
    let mut all = SpanBatch::default();
    for mut from in spans {
        let own = from.process.take();
        let process = own.as_ref().unwrap_or(process);
        let (scope, span) = match convert(from, limits).and_then(|converted| {
            bounded(process.tags.len(), limits)?;
            Ok(converted)
        }) {
            Ok(converted) => converted,
            Err(reason) => {
                rejects.add(1, format!("span: {reason}"));
                continue;
            }
        };
        let same = places.entry(process.service.clone()).or_default();
        let place = match same.iter().find(|(known, _)| known == process) {
            Some((_, place)) => *place,
            None => {
                all.resources.push(ResourceSpans {
                    resource: resource(process),
                    scopes: Vec::new(),
                });
                same.push((process.clone(), all.resources.len() - 1));
                all.resources.len() - 1
            }
        };
        let scopes = &mut all.resources[place].scopes;
        match scopes.iter_mut().rev().find(|known| known.scope == scope) {
            Some(known) => known.spans.push(span),
            None => scopes.push(ScopeSpans {
                scope,
                spans: vec![span],
            }),
        }
    }
    rejects.into_decoded(all)
}

fn resource(process: &Process) -> Resource {
    let mut attributes = Vec::with_capacity(process.tags.len() + 1);
    if !process.service.is_empty() {
        attributes.push(Attribute::string("service.name", process.service.clone()));
    }
    attributes.extend(process.tags.iter().cloned());
    Resource {
        attributes,
        ..Resource::default()
    }
}

fn bounded(count: usize, limits: &Limits) -> Result<(), String> {
    if count > limits.attributes_max {
        let max = limits.attributes_max;
        return Err(format!(
            "{count} tags exceed the limit attributes_max of {max}"
        ));
    }
    Ok(())
}

fn convert(from: JaegerSpan, limits: &Limits) -> Result<(Scope, Span), String> {
    if from.trace_id.is_zero() || from.span_id.is_zero() {
        return Err("trace id and span id must be given and not be all zeroes".to_owned());
    }
    bounded(
        from.tags
            .len()
            .max(from.logs.len())
            .max(from.references.len()),
        limits,
    )?;
    let start = from.start.ok_or("its start is out of range")?;
    let duration = from.duration.ok_or("its duration is out of range")?;
    let end = start
        .checked_add(duration)
        .ok_or("its end is out of range")?;
    let mut span = Span {
        trace_id: from.trace_id,
        span_id: from.span_id,
        parent_id: from.parent,
        flags: from.flags,
        name: from.name,
        start: Timestamp::from_nanos(start),
        end: Timestamp::from_nanos(end),
        ..Span::default()
    };
    for reference in from.references {
        refer(&mut span, reference);
    }
    for (time, fields) in from.logs {
        bounded(fields.len(), limits)?;
        span.events.push(event(time, fields)?);
    }
    let mut scope = Scope::default();
    let mut code_told = false;
    for tag in from.tags {
        code_told |= take_tag(&mut span, &mut scope, tag);
    }
    let failed = span.attributes.iter().position(is_error);
    if let Some(place) = failed
        && (!code_told || span.status == StatusCode::Error)
    {
        span.status = StatusCode::Error;
        span.attributes.remove(place);
    }
    Ok((scope, span))
}

/// Whether a tag says that the span failed.
fn is_error(tag: &Attribute) -> bool {
    tag.key == "error"
        && match &tag.value {
            AttributeValue::Bool(truth) => *truth,
            AttributeValue::String(text) => text == "true",
            _ => false,
        }
}

/// The first reference to a span of the same trace is the parent; others are links.
fn refer(span: &mut Span, reference: Reference) {
    let same = reference.trace_id == span.trace_id;
    if same && reference.span_id == span.parent_id {
        return;
    }
    if same && !reference.follows && span.parent_id.is_zero() {
        span.parent_id = reference.span_id;
        return;
    }
    let kind = if reference.follows {
        "follows_from"
    } else {
        "child_of"
    };
    span.links.push(SpanLink {
        trace_id: reference.trace_id,
        span_id: reference.span_id,
        attributes: vec![Attribute::string("opentracing.ref_type", kind)],
        ..SpanLink::default()
    });
}

fn event(time: Option<i64>, mut fields: Vec<Attribute>) -> Result<SpanEvent, String> {
    let nanos = time.ok_or("the time of a log is out of range")?;
    let named = fields.iter().position(|field| field.key == "event");
    let name = match named.map(|place| (place, &fields[place].value)) {
        Some((place, AttributeValue::String(name))) => {
            let name = name.clone();
            fields.remove(place);
            name
        }
        _ => String::new(),
    };
    Ok(SpanEvent {
        time: Timestamp::from_nanos(nanos),
        name,
        attributes: fields,
        dropped_attributes: 0,
    })
}

/// Puts a tag where OTLP has it; says whether it was the code of the status.
fn take_tag(span: &mut Span, scope: &mut Scope, tag: Attribute) -> bool {
    if let AttributeValue::String(text) = &tag.value {
        let kind = match text.as_str() {
            "server" => Some(SpanKind::Server),
            "client" => Some(SpanKind::Client),
            "producer" => Some(SpanKind::Producer),
            "consumer" => Some(SpanKind::Consumer),
            "internal" => Some(SpanKind::Internal),
            _ => None,
        };
        match (tag.key.as_str(), text.as_str(), kind) {
            ("span.kind", _, Some(kind)) => span.kind = kind,
            ("otel.status_code", "OK", _) => span.status = StatusCode::Ok,
            ("otel.status_code", "ERROR", _) => span.status = StatusCode::Error,
            ("otel.status_description", ..) => span.status_message.clone_from(text),
            ("w3c.tracestate", ..) => span.trace_state.clone_from(text),
            ("otel.scope.name" | "otel.library.name", ..) => scope.name.clone_from(text),
            ("otel.scope.version" | "otel.library.version", ..) => scope.version.clone_from(text),
            _ => {
                span.attributes.push(tag);
                return false;
            }
        }
        return tag.key == "otel.status_code";
    }
    span.attributes.push(tag);
    false
}
