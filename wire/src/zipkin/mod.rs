//! Zipkin's spans: version 2 in JSON and protobuf, version 1 in JSON and thrift.
//!
//! Invariant: all forms become [`ZipkinSpan`] first, and only that becomes spans of the model. The
//! server's half of a shared span gets an id of its own below the client's half
//! (`docs/decisions/0135-shared-spans-of-zipkin.md`). Specification: <https://zipkin.io/zipkin-api/>.

mod json;
mod proto;
mod v1;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use obs_model::limits::Limits;
use obs_model::spans::{
    Attribute, AttributeValue, Resource, ResourceSpans, Scope, ScopeSpans, SpanEvent, SpanKind,
    StatusCode,
};
use obs_model::{Span, SpanBatch, SpanId, Timestamp, TraceId};

use crate::rejects::{Decoded, Rejects, shown};

pub use json::decode as decode_json;
pub use proto::decode as decode_protobuf;
pub use v1::{decode_json as decode_json_v1, decode_thrift as decode_thrift_v1};
pub(crate) use v1::{read_spans, wide};

/// Who sent or received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) service: String,
    pub(crate) ipv4: String,
    pub(crate) ipv6: String,
    pub(crate) port: i64,
}

impl Endpoint {
    fn address(&self) -> &str {
        if self.ipv4.is_empty() {
            &self.ipv6
        } else {
            &self.ipv4
        }
    }
}

/// The address in 4 or 16 bytes; nothing for zeroes.
pub(crate) fn address(bytes: &[u8]) -> String {
    let address: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(bytes).map(|b| Ipv6Addr::from(b).into()),
        _ => return String::new(),
    }
    .expect("the length was looked at");
    if address.is_unspecified() {
        String::new()
    } else {
        address.to_string()
    }
}

/// A span as version 2 has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ZipkinSpan {
    pub(crate) trace_id: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: SpanId,
    pub(crate) kind: SpanKind,
    pub(crate) name: String,
    /// Microseconds; 0 where it is not told.
    pub(crate) timestamp: i64,
    /// Microseconds.
    pub(crate) duration: i64,
    pub(crate) local: Option<Endpoint>,
    pub(crate) remote: Option<Endpoint>,
    pub(crate) annotations: Vec<(i64, String)>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) debug: bool,
    pub(crate) shared: bool,
}

/// Time from microseconds.
fn time(micros: i64) -> Result<Timestamp, String> {
    let nanos = micros.checked_mul(1000);
    nanos
        .map(Timestamp::from_nanos)
        .ok_or_else(|| format!("time {micros} µs is after the year 2262"))
}

/// The id of the server's half of a shared span: of the client's, and always the same.
fn server_half(id: SpanId) -> SpanId {
    // Odd multiplication is a permutation; no id becomes itself but for few.
    let mixed = u64::from_be_bytes(id.0)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
        ^ 0x5a49_504b_494e_5632;
    let mixed = if mixed == 0 || mixed == u64::from_be_bytes(id.0) {
        !mixed
    } else {
        mixed
    };
    SpanId(mixed.to_be_bytes())
}

/// Spans by resource, in order of appearance.
pub(crate) fn batch(
    spans: Vec<ZipkinSpan>,
    limits: &Limits,
    rejects: Rejects,
) -> Decoded<SpanBatch> {
    let mut rejects = rejects;
    let service = |span: &ZipkinSpan| {
        span.local
            .as_ref()
            .map_or_else(String::new, |local| local.service.clone())
    };
    // Whose children hang below the server's half: those that the same service tells in this batch.
    let halves: std::collections::HashSet<(TraceId, SpanId, String)> = spans
        .iter()
        .filter(|span| span.shared && span.kind == SpanKind::Server)
        .map(|span| (span.trace_id, span.id, service(span)))
        .collect();
    let mut batch = SpanBatch::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for mut span in spans {
        let service = service(&span);
        if span.shared && span.kind == SpanKind::Server {
            span.parent = span.id;
            span.id = server_half(span.id);
        } else if halves.contains(&(span.trace_id, span.parent, service.clone())) {
            span.parent = server_half(span.parent);
        }
        let converted = match convert(span, limits) {
            Ok(span) => span,
            Err(reason) => {
                rejects.add(1, format!("span: {reason}"));
                continue;
            }
        };
        let place = *places.entry(service).or_insert_with_key(|service| {
            let mut resource = Resource::default();
            if !service.is_empty() {
                let name = Attribute::string("service.name", service.clone());
                resource.attributes.push(name);
            }
            batch.resources.push(ResourceSpans {
                resource,
                scopes: vec![ScopeSpans {
                    scope: Scope::default(),
                    spans: Vec::new(),
                }],
            });
            batch.resources.len() - 1
        });
        batch.resources[place].scopes[0].spans.push(converted);
    }
    rejects.into_decoded(batch)
}

fn convert(from: ZipkinSpan, limits: &Limits) -> Result<Span, String> {
    if from.trace_id.is_zero() || from.id.is_zero() {
        return Err("trace id and span id must be given and not be all zeroes".to_owned());
    }
    let count = from.tags.len().max(from.annotations.len());
    if count > limits.attributes_max {
        let max = limits.attributes_max;
        return Err(format!(
            "{count} attributes exceed the limit attributes_max of {max}"
        ));
    }
    let first = from.annotations.iter().map(|(at, _)| *at).min();
    let begin = if from.timestamp > 0 {
        from.timestamp
    } else {
        first.unwrap_or(0)
    };
    if begin <= 0 {
        return Err("it has no timestamp".to_owned());
    }
    let start = time(begin)?;
    let end = time(begin.saturating_add(from.duration.max(0)))?;
    let mut span = Span {
        trace_id: from.trace_id,
        span_id: from.id,
        parent_id: from.parent,
        flags: if from.debug { 1 } else { 0 },
        name: from.name,
        kind: from.kind,
        start,
        end,
        ..Span::default()
    };
    for (at, value) in from.annotations {
        span.events.push(SpanEvent {
            time: time(at)?,
            name: value,
            ..SpanEvent::default()
        });
    }
    if let Some(local) = &from.local {
        endpoint(&mut span, local, ["", "net.host.ip", "net.host.port"]);
    }
    if let Some(remote) = &from.remote {
        endpoint(
            &mut span,
            remote,
            ["peer.service", "net.peer.ip", "net.peer.port"],
        );
    }
    for (key, value) in from.tags {
        tag(&mut span, key, value);
    }
    Ok(span)
}

fn endpoint(span: &mut Span, from: &Endpoint, [service, ip, port]: [&str; 3]) {
    let mut text = |key: &str, value: &str| {
        if !key.is_empty() && !value.is_empty() {
            span.attributes.push(Attribute::string(key, value));
        }
    };
    text(service, &from.service);
    text(ip, from.address());
    if from.port != 0 {
        span.attributes.push(Attribute {
            key: port.to_owned(),
            value: AttributeValue::Int(from.port),
        });
    }
}

/// A tag, or the field that OTLP has for it.
fn tag(span: &mut Span, key: String, value: String) {
    match (key.as_str(), value.as_str()) {
        ("otel.status_code", "OK" | "STATUS_CODE_OK") => span.status = StatusCode::Ok,
        ("otel.status_code", "ERROR" | "STATUS_CODE_ERROR") => span.status = StatusCode::Error,
        ("otel.status_description", _) => span.status_message = value,
        ("w3c.tracestate", _) => span.trace_state = value,
        ("error", "false") => span.attributes.push(Attribute::string(key, value)),
        // As Zipkin: that the tag is there says it failed; its text says why.
        ("error", _) => {
            span.status = StatusCode::Error;
            if !value.is_empty() && value != "true" && span.status_message.is_empty() {
                span.status_message.clone_from(&value);
            }
            span.attributes.push(Attribute::string(key, value));
        }
        _ => span.attributes.push(Attribute::string(key, value)),
    }
}

/// An id in hexadecimal.
fn trace_id(text: &str) -> Result<TraceId, String> {
    // Longer ones were once told; their last digits count.
    let text = text.get(text.len().saturating_sub(32)..).unwrap_or(text);
    TraceId::from_hex(text).ok_or_else(|| format!("trace id {} is not hexadecimal", shown(text)))
}

fn span_id(text: &str) -> Result<SpanId, String> {
    SpanId::from_hex(text).ok_or_else(|| format!("span id {} is not hexadecimal", shown(text)))
}

#[cfg(test)]
mod tests;
