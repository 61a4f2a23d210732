//! Spans between OTLP and the model, without loss.
//!
//! Invariant: what `encode` writes, `decode` reads back equal. A span whose ids are not ids, whose
//! times do not exist or that exceeds a limit is rejected with a reason; its siblings are taken.

mod read;

use obs_model::limits::Limits;
use obs_model::packed::PackedSpans;
use obs_model::spans::{
    Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanBatch, SpanEvent, SpanId, SpanKind,
    SpanLink, StatusCode, TraceId,
};
use prost::Message as _;

use super::attributes;
use super::json::{Dialect, write_spans};
use super::proto::{trace, values};
use super::{Decoded, Rejects, check_size, from_json, shape, timestamp};
use crate::error::WireError;
use crate::protobuf::Message;

/// Reads `ExportTraceServiceRequest` or `TracesData`.
pub fn decode_protobuf(body: &[u8], limits: &Limits) -> Result<Decoded<SpanBatch>, WireError> {
    let decoded = decode_packed(body, limits)?;
    Ok(Decoded {
        batch: decoded.batch.to_batch(),
        rejected: decoded.rejected,
        message: decoded.message,
    })
}

/// Reads the same without putting every span together.
pub fn decode_packed(body: &[u8], limits: &Limits) -> Result<Decoded<PackedSpans>, WireError> {
    const FORMAT: &str = "OTLP traces";
    check_size(FORMAT, body, limits)?;
    if u32::try_from(body.len()).is_err() {
        let max = u32::MAX as usize;
        return Err(WireError::too_large(FORMAT, "decompressed_bytes_max", max));
    }
    shape::check_protobuf(FORMAT, body, &shape::TRACES, limits)?;
    let mut rejects = Rejects::default();
    let batch = read::batch(Message::new(FORMAT, body), limits, &mut rejects)?;
    Ok(rejects.into_decoded(batch))
}

/// Reads the same in OTLP/JSON.
pub fn decode_json(body: &[u8], limits: &Limits) -> Result<Decoded<SpanBatch>, WireError> {
    let data = from_json("OTLP traces in JSON", body, limits)?;
    Ok(convert(data, limits))
}

/// Writes `TracesData`, the same bytes as `ExportTraceServiceRequest` and Tempo's `Trace`.
pub fn encode_protobuf(batch: &SpanBatch, out: &mut Vec<u8>) {
    to_proto(batch)
        .encode(out)
        .expect("a vector has room for every message");
}

/// Writes `TracesData` in OTLP/JSON.
pub fn encode_json(batch: &SpanBatch, out: &mut Vec<u8>) {
    write_spans(out, "resourceSpans", batch, Dialect::Otlp);
}

pub(super) fn convert(data: trace::TracesData, limits: &Limits) -> Decoded<SpanBatch> {
    let mut rejects = Rejects::default();
    let mut batch = SpanBatch::default();
    for from in data.resource_spans {
        let count = from.scope_spans.iter().map(|s| s.spans.len()).sum();
        match resource(from.resource.unwrap_or_default(), from.schema_url, limits) {
            Ok(resource) => batch.resources.push(ResourceSpans {
                resource,
                scopes: scopes(from.scope_spans, limits, &mut rejects),
            }),
            Err(reason) => rejects.add(count, format!("resource: {reason}")),
        }
    }
    rejects.into_decoded(batch)
}

fn resource(
    from: values::Resource,
    schema_url: String,
    limits: &Limits,
) -> Result<Resource, String> {
    Ok(Resource {
        attributes: attributes::from_proto(from.attributes, limits)?,
        dropped_attributes: from.dropped_attributes_count,
        schema_url,
    })
}

fn scopes(from: Vec<trace::ScopeSpans>, limits: &Limits, rejects: &mut Rejects) -> Vec<ScopeSpans> {
    let mut scopes = Vec::with_capacity(from.len());
    for from in from {
        let scope = from.scope.unwrap_or_default();
        let attributes = match attributes::from_proto(scope.attributes, limits) {
            Ok(attributes) => attributes,
            Err(reason) => {
                rejects.add(from.spans.len(), format!("scope: {reason}"));
                continue;
            }
        };
        let scope = Scope {
            name: scope.name,
            version: scope.version,
            attributes,
            dropped_attributes: scope.dropped_attributes_count,
            schema_url: from.schema_url,
        };
        let mut spans = Vec::with_capacity(from.spans.len());
        for from in from.spans {
            match span(from, limits) {
                Ok(span) => spans.push(span),
                Err(reason) => rejects.add(1, format!("span: {reason}")),
            }
        }
        scopes.push(ScopeSpans { scope, spans });
    }
    scopes
}

/// An id of exactly N bytes; none at all is all zeroes.
fn id<const N: usize>(bytes: &[u8], name: &str) -> Result<[u8; N], String> {
    if bytes.is_empty() {
        return Ok([0; N]);
    }
    bytes
        .try_into()
        .map_err(|_| format!("{name} has {} bytes, expected {N}", bytes.len()))
}

fn span(from: trace::Span, limits: &Limits) -> Result<Span, String> {
    let trace_id = TraceId(id(&from.trace_id, "trace id")?);
    let span_id = SpanId(id(&from.span_id, "span id")?);
    if trace_id.is_zero() || span_id.is_zero() {
        return Err("trace id and span id must be given and not be all zeroes".to_owned());
    }
    let events = from.events.into_iter().map(|e| event(e, limits));
    let links = from.links.into_iter().map(|l| link(l, limits));
    let status = from.status.unwrap_or_default();
    Ok(Span {
        trace_id,
        span_id,
        parent_id: SpanId(id(&from.parent_span_id, "parent span id")?),
        trace_state: from.trace_state,
        flags: from.flags,
        name: from.name,
        kind: SpanKind::from_number(from.kind),
        start: timestamp(from.start_time_unix_nano)?,
        end: timestamp(from.end_time_unix_nano)?,
        attributes: attributes::from_proto(from.attributes, limits)?,
        dropped_attributes: from.dropped_attributes_count,
        events: events.collect::<Result<_, _>>()?,
        dropped_events: from.dropped_events_count,
        links: links.collect::<Result<_, _>>()?,
        dropped_links: from.dropped_links_count,
        status: StatusCode::from_number(status.code),
        status_message: status.message,
    })
}

fn event(from: trace::Event, limits: &Limits) -> Result<SpanEvent, String> {
    Ok(SpanEvent {
        time: timestamp(from.time_unix_nano)?,
        name: from.name,
        attributes: attributes::from_proto(from.attributes, limits)?,
        dropped_attributes: from.dropped_attributes_count,
    })
}

fn link(from: trace::Link, limits: &Limits) -> Result<SpanLink, String> {
    Ok(SpanLink {
        trace_id: TraceId(id(&from.trace_id, "trace id of a link")?),
        span_id: SpanId(id(&from.span_id, "span id of a link")?),
        trace_state: from.trace_state,
        attributes: attributes::from_proto(from.attributes, limits)?,
        dropped_attributes: from.dropped_attributes_count,
        flags: from.flags,
    })
}

/// The schema's structs of a batch.
pub(crate) fn to_proto(batch: &SpanBatch) -> trace::TracesData {
    let resource_spans = batch.resources.iter().map(resource_to_proto).collect();
    trace::TracesData { resource_spans }
}

fn resource_to_proto(from: &ResourceSpans) -> trace::ResourceSpans {
    trace::ResourceSpans {
        resource: Some(values::Resource {
            attributes: attributes::to_proto(&from.resource.attributes),
            dropped_attributes_count: from.resource.dropped_attributes,
        }),
        scope_spans: from.scopes.iter().map(scope_to_proto).collect(),
        schema_url: from.resource.schema_url.clone(),
    }
}

fn scope_to_proto(from: &ScopeSpans) -> trace::ScopeSpans {
    trace::ScopeSpans {
        scope: Some(values::InstrumentationScope {
            name: from.scope.name.clone(),
            version: from.scope.version.clone(),
            attributes: attributes::to_proto(&from.scope.attributes),
            dropped_attributes_count: from.scope.dropped_attributes,
        }),
        spans: from.spans.iter().map(span_to_proto).collect(),
        schema_url: from.scope.schema_url.clone(),
    }
}

/// The bytes of an id; none where it is all zeroes.
fn id_to_proto(bytes: &[u8]) -> Vec<u8> {
    if bytes.iter().all(|b| *b == 0) {
        Vec::new()
    } else {
        bytes.to_vec()
    }
}

/// OTLP's times are unsigned.
fn nanos(time: obs_model::Timestamp) -> u64 {
    u64::try_from(time.nanos()).unwrap_or(0)
}

fn span_to_proto(from: &Span) -> trace::Span {
    trace::Span {
        trace_id: id_to_proto(&from.trace_id.0),
        span_id: id_to_proto(&from.span_id.0),
        trace_state: from.trace_state.clone(),
        parent_span_id: id_to_proto(&from.parent_id.0),
        name: from.name.clone(),
        kind: from.kind.number(),
        start_time_unix_nano: nanos(from.start),
        end_time_unix_nano: nanos(from.end),
        attributes: attributes::to_proto(&from.attributes),
        dropped_attributes_count: from.dropped_attributes,
        events: from.events.iter().map(event_to_proto).collect(),
        dropped_events_count: from.dropped_events,
        links: from.links.iter().map(link_to_proto).collect(),
        dropped_links_count: from.dropped_links,
        status: Some(trace::Status {
            message: from.status_message.clone(),
            code: from.status.number(),
        }),
        flags: from.flags,
    }
}

fn event_to_proto(from: &SpanEvent) -> trace::Event {
    trace::Event {
        time_unix_nano: nanos(from.time),
        name: from.name.clone(),
        attributes: attributes::to_proto(&from.attributes),
        dropped_attributes_count: from.dropped_attributes,
    }
}

fn link_to_proto(from: &SpanLink) -> trace::Link {
    trace::Link {
        trace_id: id_to_proto(&from.trace_id.0),
        span_id: id_to_proto(&from.span_id.0),
        trace_state: from.trace_state.clone(),
        attributes: attributes::to_proto(&from.attributes),
        dropped_attributes_count: from.dropped_attributes,
        flags: from.flags,
    }
}

#[cfg(test)]
mod tests;
