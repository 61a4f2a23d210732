//! Version 2 in JSON: a list of spans.
//!
//! Invariant: a span that is no span is rejected with a reason, its siblings are taken.

use std::collections::BTreeMap;

use obs_model::SpanBatch;
use obs_model::limits::Limits;
use obs_model::spans::SpanKind;
use serde::Deserialize;

use super::{Endpoint, ZipkinSpan, batch, span_id, trace_id};
use crate::error::{Position, WireError};
use crate::rejects::{Decoded, Rejects};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Span {
    trace_id: String,
    parent_id: Option<String>,
    id: String,
    kind: Option<String>,
    name: Option<String>,
    timestamp: Option<f64>,
    duration: Option<f64>,
    debug: Option<bool>,
    shared: Option<bool>,
    local_endpoint: Option<JsonEndpoint>,
    remote_endpoint: Option<JsonEndpoint>,
    annotations: Option<Vec<Annotation>>,
    tags: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct JsonEndpoint {
    service_name: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    port: Option<i64>,
}

impl From<JsonEndpoint> for Endpoint {
    fn from(from: JsonEndpoint) -> Self {
        Self {
            service: from.service_name.unwrap_or_default(),
            ipv4: from.ipv4.unwrap_or_default(),
            ipv6: from.ipv6.unwrap_or_default(),
            port: from.port.unwrap_or(0),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Annotation {
    timestamp: f64,
    value: String,
}

/// Reads the elements of a list that are of a type.
pub(super) fn elements<T: for<'de> Deserialize<'de>>(
    format: &'static str,
    body: &[u8],
    limits: &Limits,
) -> Result<Vec<T>, WireError> {
    if body.len() > limits.decompressed_bytes_max {
        let max = limits.decompressed_bytes_max;
        return Err(WireError::too_large(format, "decompressed_bytes_max", max));
    }
    serde_json::from_slice(body).map_err(|error| WireError::Malformed {
        format,
        position: Position::Line {
            line: error.line(),
            column: error.column(),
        },
        expected: format!("a list of spans ({error})"),
    })
}

/// Microseconds; some clients write them as floats.
pub(super) fn micros(number: f64) -> i64 {
    // What does not fit is the largest number, which is no time.
    number as i64
}

/// Reads a list of spans.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Decoded<SpanBatch>, WireError> {
    let mut rejects = Rejects::default();
    let mut spans = Vec::new();
    for from in elements::<Span>("Zipkin spans in JSON", body, limits)? {
        match span(from) {
            Ok(span) => spans.push(span),
            Err(reason) => rejects.add(1, format!("span: {reason}")),
        }
    }
    Ok(batch(spans, limits, rejects))
}

fn span(from: Span) -> Result<ZipkinSpan, String> {
    let kind = match from.kind.as_deref().unwrap_or_default() {
        "CLIENT" => SpanKind::Client,
        "SERVER" => SpanKind::Server,
        "PRODUCER" => SpanKind::Producer,
        "CONSUMER" => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    };
    let parent = match from.parent_id.as_deref() {
        None | Some("") => Default::default(),
        Some(text) => span_id(text)?,
    };
    let annotations = from.annotations.unwrap_or_default().into_iter();
    let tags = from.tags.unwrap_or_default().into_iter();
    Ok(ZipkinSpan {
        trace_id: trace_id(&from.trace_id)?,
        id: span_id(&from.id)?,
        parent,
        kind,
        name: from.name.unwrap_or_default(),
        timestamp: micros(from.timestamp.unwrap_or(0.0)),
        duration: micros(from.duration.unwrap_or(0.0)),
        local: from.local_endpoint.map(Endpoint::from),
        remote: from.remote_endpoint.map(Endpoint::from),
        annotations: annotations
            .map(|a| (micros(a.timestamp), a.value))
            .collect(),
        tags: tags
            .map(|(key, value)| (key, value.unwrap_or_default()))
            .collect(),
        debug: from.debug.unwrap_or(false),
        shared: from.shared.unwrap_or(false),
    })
}
